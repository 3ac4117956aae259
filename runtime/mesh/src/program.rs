//! Programs of this device's owner: each may take so long and say so much, and leaves nothing behind.
// spec: EN-1, PERM-5

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long its answer may take to be read once it ended. It is there then, unless something that it started holds the
/// other end.
const LATEST: Duration = Duration::from_secs(1);

/// What a shell runs, and within which bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program<'a> {
    /// What it is called where it fails.
    pub(crate) what: &'a str,
    /// The line that a shell runs.
    pub(crate) command: &'a str,
    /// How long it may take.
    pub(crate) patience: Duration,
    /// Most bytes of its answer that are read.
    pub(crate) most: u64,
}

impl Program<'_> {
    /// Runs it, and what it started in its group, for no longer than its time; gives what it said.
    pub(crate) fn run(self, input: Option<Vec<u8>>) -> Result<Vec<u8>, String> {
        let what = self.what;
        let mut child = Command::new("/bin/sh")
            .args(["-c", self.command])
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A group of its own, so that all of it can be ended.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("{what} could not be started: {error}"))?;
        crate::descriptors::lower(&child);
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            // Whoever does not read it all has no use for it.
            std::thread::spawn(move || stdin.write_all(&input).is_ok());
        }
        let (stdout, most) = (child.stdout.take(), self.most);
        let (answer, answered) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.map(|stdout| stdout.take(most).read_to_end(&mut bytes));
            let _nobody_waits = answer.send(read.transpose().map(|_| bytes));
        });
        let ended = self.wait(&mut child);
        // Also where it ended by itself: what it left behind could hold its output open.
        end_group(&child);
        let _reaped = child.wait();
        let status = ended?;
        if !status.success() {
            return Err(format!("{what} failed: {status}"));
        }
        match answered.recv_timeout(LATEST) {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) => Err(format!("{what}'s answer could not be read: {error}")),
            Err(_) => Err(format!("{what} left its output open behind it")),
        }
    }

    fn wait(&self, child: &mut Child) -> Result<ExitStatus, String> {
        let begun = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if begun.elapsed() < self.patience => std::thread::sleep(Duration::from_millis(20)),
                Ok(None) => {
                    return Err(format!(
                        "{} did not answer within {} s",
                        self.what,
                        self.patience.as_secs_f32()
                    ));
                }
                Err(error) => return Err(format!("{} was lost: {error}", self.what)),
            }
        }
    }
}

fn end_group(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _gone_already = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &str, patience_ms: u64, input: Option<&str>) -> Result<String, String> {
        let patience = Duration::from_millis(patience_ms);
        let program = Program { what: "the program", command, patience, most: 64 };
        let answer = program.run(input.map(|text| text.as_bytes().to_vec()))?;
        Ok(String::from_utf8(answer).unwrap())
    }

    // spec: EN-1, PERM-5
    #[test]
    fn a_program_hears_and_answers_within_its_bounds() {
        assert_eq!(run("tr a-z A-Z", 30_000, Some("hello")).unwrap(), "HELLO");
        assert_eq!(run("cat", 30_000, None).unwrap(), "", "nothing is there to be read");
        let long = "x".repeat(1 << 20);
        assert_eq!(run("echo no", 30_000, Some(&long)).unwrap(), "no\n", "it need not read what it is given");
        assert!(run("exit 3", 30_000, None).unwrap_err().contains("failed: exit status: 3"));
        let slow = run("sleep 60 & sleep 60", 100, None).unwrap_err();
        assert!(slow.contains("did not answer within 0.1 s"), "{slow}");
        assert!(run("yes", 30_000, None).is_err(), "what never ends is cut off");
        // It answers once the one that it leaves behind is out of its reach, and not before.
        let leaves = "trap 'echo {}; exit 0' USR1; setsid sh -c 'kill -USR1 $PPID; exec sleep 30' & wait";
        let left = run(leaves, 30_000, None).unwrap_err();
        assert!(left.contains("left its output open"), "{left}");
    }
}
