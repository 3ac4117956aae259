//! A program of the owner's that prints a reading: whatever speaks to their inverter, meter or feed.
// spec: EN-1

use super::Reading;
use super::trace::claim;
use serde::Deserialize;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take: a feed over a slow line. Meanwhile the last value holds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long its answer may take to be read once it ended. It is there then, unless something that it started holds the
/// other end.
const LATEST: Duration = Duration::from_secs(1);
/// Most bytes of its answer; a reading is a line.
const MAX_ANSWER: u64 = 64 * 1024;
/// How long a value holds that does not say so, and the longest that one may say: five minutes and a day.
const HOLDS: (u64, u64) = (300, 86_400);

/// What it prints.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    source: String,
    renewable_percent: f64,
    g_per_kwh: f64,
    /// Seconds from now.
    valid_s: Option<u64>,
}

/// The program, as a shell runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) command: String,
}

impl Asked {
    pub(super) fn read(&self, now_ms: u64) -> Result<Reading, String> {
        let answer = run(&self.command, PATIENCE)?;
        reading(&answer, now_ms)
    }
}

fn reading(answer: &[u8], now_ms: u64) -> Result<Reading, String> {
    let answer: Answer = serde_json::from_slice(answer)
        .map_err(|error| format!("the energy command did not print a reading as JSON: {error}"))?;
    let claim = claim(&answer.source, answer.renewable_percent, answer.g_per_kwh)?;
    let seconds = answer.valid_s.unwrap_or(HOLDS.0).clamp(1, HOLDS.1);
    Ok(Reading { claim, valid_until_ms: now_ms.saturating_add(seconds * 1000) })
}

/// Runs it, and what it started in its group, for no longer than this.
fn run(command: &str, patience: Duration) -> Result<Vec<u8>, String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // A group of its own, so that all of it can be ended.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("the energy command could not be started: {error}"))?;
    let stdout = child.stdout.take();
    let (answer, answered) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.map(|stdout| stdout.take(MAX_ANSWER).read_to_end(&mut bytes));
        let _nobody_waits = answer.send(read.transpose().map(|_| bytes));
    });
    let ended = wait(&mut child, patience);
    // Also where it ended by itself: what it left behind could hold its output open.
    end_group(&child);
    let _reaped = child.wait();
    let status = ended?;
    if !status.success() {
        return Err(format!("the energy command failed: {status}"));
    }
    match answered.recv_timeout(LATEST) {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(format!("the energy command's answer could not be read: {error}")),
        Err(_) => Err("the energy command left its output open behind it".into()),
    }
}

fn wait(child: &mut Child, patience: Duration) -> Result<std::process::ExitStatus, String> {
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if begun.elapsed() < patience => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                return Err(format!("the energy command did not answer within {} s", patience.as_secs()));
            }
            Err(error) => return Err(format!("the energy command was lost: {error}")),
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

    // spec: EN-1
    #[test]
    fn a_command_tells_the_energy() {
        let asked = |command: &str| Asked { command: command.into() }.read(1000);
        let good =
            asked(r#"echo '{"source":"wind","renewable_percent":92.7,"g_per_kwh":11.6,"valid_s":60}'"#);
        let good = good.unwrap();
        assert_eq!(
            (good.claim.renewable_percent, good.claim.g_per_kwh, good.valid_until_ms),
            (92, 12, 61_000)
        );
        let unsaid = asked(r#"echo '{"source":"grid","renewable_percent":0,"g_per_kwh":820}'"#).unwrap();
        assert_eq!(unsaid.valid_until_ms, 301_000);
    }

    // spec: EN-3
    #[test]
    fn a_command_that_fails_says_how() {
        let asked = |command: &str| Asked { command: command.into() }.read(0).unwrap_err();
        assert!(asked("exit 3").contains("failed: exit status: 3"));
        assert!(asked("echo hello").contains("JSON"));
        assert!(asked(r#"echo '{"source":"grid","renewable_percent":40}'"#).contains("g_per_kwh"));
        assert!(
            asked(r#"echo '{"source":"grid","renewable_percent":40,"g_per_kwh":1e400}'"#).contains("JSON")
        );
        assert!(
            asked(r#"echo '{"source":"grid","renewable_percent":101,"g_per_kwh":1}'"#).contains("percent")
        );
        let slow = run("sleep 60 & sleep 60", Duration::from_millis(100)).unwrap_err();
        assert!(slow.contains("did not answer"), "{slow}");
        assert!(run("yes", Duration::from_secs(30)).is_err(), "what never ends is cut off");
        let left = run("setsid sleep 30 & echo {}", Duration::from_secs(30)).unwrap_err();
        assert!(left.contains("left its output open"), "{left}");
    }
}
