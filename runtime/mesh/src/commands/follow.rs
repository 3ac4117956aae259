//! Staying with a task until it ends: its output as it comes, its progress, and every change of what it waits for.
// spec: CLI-4, DEL-5

use super::result;
use super::run::ignored_signals;
use super::screen::{Passed, Screen};
use super::views::{Happening, Progress, Task};
use crate::client::{Client, Download};
use crate::exit_codes;
use crate::failure::{Failure, Result};
use bytes::Bytes;
use mesh_protocol::frame::Phase;
use mesh_protocol::ids::TaskId;
use mesh_protocol::outcome::Outcome;
use mesh_protocol::text::sanitise;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How often the task is looked at, should word of a change have been missed.
const LOOK: Duration = Duration::from_secs(2);
/// How soon a broken stream is asked for again.
const AGAIN: Duration = Duration::from_millis(500);
/// How often in a row the node may not answer: as often as a restart takes.
const MAX_SILENT: u32 = 4;
/// Pieces that wait to be shown, each of some tens of kilobytes.
const PIECES: usize = 16;
/// How long we may take to end after we were told to, should whoever reads our output not read on.
const LAST: Duration = Duration::from_secs(1);
/// Longest line of the node's events that is read.
const MAX_LINE: usize = 1 << 20;

/// How one stays.
pub(super) struct How<'a> {
    /// With what it writes, as it writes it?
    pub(super) stream: bool,
    /// Without a word?
    pub(super) quiet: bool,
    /// Where its result goes.
    pub(super) output: Option<&'a Path>,
    /// Is it shown as JSON in the end?
    pub(super) json: bool,
}

enum Word {
    Stdout(Bytes),
    Stderr(Bytes),
    Progress(Progress),
    Changed,
    /// One of the streams has ended for good.
    Ended,
}

/// Stays until the task has ended, and gives the exit code that says how.
pub(super) fn to_the_end(client: &Client, task: TaskId, how: &How<'_>) -> Result<u8> {
    let screen = Screen::new(how.quiet);
    leave_on_signal(&screen, task)?;
    let (say, hear) = sync_channel(PIECES);
    spawn("events", client, task, &say, events)?;
    if how.stream {
        spawn("stdout", client, task, &say, |client, task, say| {
            stream(client, task, say, "stdout", Word::Stdout)
        })?;
        spawn("stderr", client, task, &say, |client, task, say| {
            stream(client, task, say, "stderr", Word::Stderr)
        })?;
    }
    drop(say);
    let shown = Stay { client, task, how, screen, why: String::new() }.stay(&hear)?;
    let Some(view) = shown else {
        crate::say!(
            "nobody reads its output any more; the task goes on: `mesh task logs -f {}`",
            task.short()
        );
        return Ok(exit_codes::READER_GONE);
    };
    let code = tell(&view);
    let failed = matches!(&view.result, Some(result) if matches!(result.receipt.receipt.outcome, Outcome::Exited(1..)));
    if failed && !how.stream && !how.quiet {
        let id = task.short();
        crate::say!(
            "hint: it ended with exit code {code}; `mesh task logs --stderr {id}` shows what it said"
        );
    }
    if let Some(folder) = how.output
        && view.result.is_some()
    {
        result::fetch(client, &task.to_string(), folder, false, how.quiet)?;
    } else if let Some(result) = &view.result
        && result.receipt.receipt.output.out_files > 0
        && !how.quiet
    {
        let id = task.short();
        crate::say!(
            "note: it left {} files in /out: `mesh task result {id} -o FOLDER` fetches them",
            result.receipt.receipt.output.out_files
        );
    }
    if how.json {
        super::print_json(&client.get(&format!("/v1/tasks/{task}"))?)?;
    }
    Ok(code)
}

fn spawn(
    name: &str,
    client: &Client,
    task: TaskId,
    say: &SyncSender<Word>,
    work: impl FnOnce(&Client, TaskId, &SyncSender<Word>) + Send + 'static,
) -> Result<()> {
    let (client, say) = (client.clone(), say.clone());
    let thread = std::thread::Builder::new().name(name.into()).spawn(move || work(&client, task, &say));
    thread.map(|_| ()).map_err(|error| Failure::because("follow the task", &error))
}

/// Ctrl-C leaves the task alone: it goes on without us.
fn leave_on_signal(screen: &Screen, task: TaskId) -> Result<()> {
    let ignored = ignored_signals();
    let wanted = [SIGINT, SIGTERM].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let failed = |error: io::Error| Failure::because("listen for Ctrl-C", &error);
    let mut signals = Signals::new(wanted).map_err(failed)?;
    let bar = screen.bar();
    let leave = move || {
        if signals.forever().next().is_none() {
            return;
        }
        // Whoever holds the terminal may never let go of it.
        std::thread::spawn(|| {
            std::thread::sleep(LAST);
            std::process::exit(exit_codes::DETACHED.into());
        });
        bar.inspect(indicatif::ProgressBar::finish_and_clear);
        let id = task.short();
        crate::say!(
            "\ndetached: the task goes on; `mesh task logs -f {id}` follows it again, `mesh task cancel {id}` takes it back"
        );
        std::process::exit(exit_codes::DETACHED.into());
    };
    std::thread::Builder::new().name("signals".into()).spawn(leave).map(|_| ()).map_err(failed)
}

struct Stay<'a> {
    client: &'a Client,
    task: TaskId,
    how: &'a How<'a>,
    screen: Screen,
    why: String,
}

impl Stay<'_> {
    /// The task as it ended; none if nobody reads its output any more.
    fn stay(mut self, hear: &Receiver<Word>) -> Result<Option<Task>> {
        let mut out = Passed::new(io::stdout());
        let mut err = Passed::new(io::stderr());
        let mut open = if self.how.stream { 2 } else { 0 };
        let mut silent = 0;
        let mut looked: Option<Instant> = None;
        let mut ended = None;
        loop {
            if ended.is_none() && looked.is_none_or(|at| at.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                match self.client.read::<Task>(&format!("/v1/tasks/{}", self.task)) {
                    Ok(view) => {
                        silent = 0;
                        self.tell(&view);
                        ended = view.ended().then_some(view);
                    }
                    Err(failure)
                        if failure.exit_code() == exit_codes::NODE_NOT_RUNNING && silent < MAX_SILENT =>
                    {
                        silent += 1;
                    }
                    Err(failure) => {
                        self.screen.clear();
                        let gone = failure.exit_code() == exit_codes::NODE_NOT_RUNNING;
                        let id = self.task.short();
                        return Err(match gone {
                            true => failure.hint(format!(
                                "start it with `mesh up`, and the task goes on; `mesh task logs -f {id}` follows it again"
                            )),
                            false => failure,
                        });
                    }
                }
            }
            if open == 0 && ended.is_some() {
                self.screen.clear();
                return Ok(ended);
            }
            let until = looked.map_or(LOOK, |at| LOOK.saturating_sub(at.elapsed()));
            match hear.recv_timeout(until) {
                Ok(Word::Stdout(bytes)) => {
                    if let Err(error) = self.screen.aside(|| out.write(&bytes)) {
                        self.screen.clear();
                        return match error.kind() {
                            io::ErrorKind::BrokenPipe => Ok(None),
                            _ => Err(Failure::because("write the task's output", &error)),
                        };
                    }
                }
                Ok(Word::Stderr(bytes)) => {
                    let _nobody_reads = self.screen.aside(|| err.write(&bytes));
                }
                Ok(Word::Progress(progress)) => {
                    // What begins has been said already.
                    let begun = progress.permille > 0 || !progress.note.is_empty();
                    if progress.phase == Phase::Running && begun {
                        self.screen.progress(progress.permille.min(1000), &sanitise(&progress.note, false));
                    }
                }
                Ok(Word::Changed) => looked = None,
                Ok(Word::Ended) => {
                    open -= 1;
                    looked = None;
                }
                Err(RecvTimeoutError::Timeout) => {}
                // The threads have nothing more to say; the task is still looked at.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(AGAIN),
            }
        }
    }

    /// Says what has changed.
    // spec: DEL-9
    fn tell(&mut self, view: &Task) {
        let why = sanitise(&view.why, false);
        if !self.how.quiet && why != self.why && !view.ended() {
            self.screen.tell(&format!("{}: {why}", view.state));
        }
        self.why = why;
    }
}

/// Hands on what a task writes until it has ended, over broken connections too.
fn stream(client: &Client, task: TaskId, say: &SyncSender<Word>, which: &str, word: fn(Bytes) -> Word) {
    let mut at = 0;
    loop {
        let whole = client.download(&format!("/v1/tasks/{task}/logs?stream={which}&from={at}")).and_then(
            |mut from| {
                loop {
                    match from.next(None) {
                        Ok(None) => return Ok(true),
                        Ok(Some(bytes)) => {
                            at += bytes.len() as u64;
                            if say.send(word(bytes)).is_err() {
                                return Ok(true);
                            }
                        }
                        Err(_) => return Ok(false),
                    }
                }
            },
        );
        // A node that ends may end its streams as if the task had ended.
        let over = || client.read::<Task>(&format!("/v1/tasks/{task}")).is_ok_and(|view| view.ended());
        let lost = whole.as_ref().is_err_and(|failure| failure.exit_code() != exit_codes::NODE_NOT_RUNNING);
        if lost || (matches!(whole, Ok(true)) && over()) {
            let _nobody_hears = say.send(Word::Ended);
            return;
        }
        std::thread::sleep(AGAIN);
    }
}

/// Hands on what happens to a task, as long as somebody hears it.
fn events(client: &Client, task: TaskId, say: &SyncSender<Word>) {
    loop {
        if let Ok(mut from) = client.download("/v1/events")
            // What happened before is seen by looking.
            && (say.send(Word::Changed).is_err() || heard(&mut from, task, say).is_none())
        {
            return;
        }
        std::thread::sleep(AGAIN);
    }
}

/// None if nobody hears any more.
fn heard(from: &mut Download, task: TaskId, say: &SyncSender<Word>) -> Option<()> {
    let mut lines = Lines::default();
    while let Ok(Some(bytes)) = from.next(None) {
        lines.feed(&bytes);
        while let Some(line) = lines.next() {
            if let Some(word) = line.strip_prefix("data:").and_then(|data| word(data.trim(), task)) {
                say.send(word).ok()?;
            }
        }
    }
    Some(())
}

fn word(data: &str, task: TaskId) -> Option<Word> {
    match serde_json::from_str(data).ok()? {
        Happening::Task { task: which } => (which == task).then_some(Word::Changed),
        Happening::Progress { task: which, progress } => (which == task).then_some(Word::Progress(progress)),
        Happening::Missed => Some(Word::Changed),
        Happening::Other => None,
    }
}

/// Whole lines of what comes in pieces.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn feed(&mut self, bytes: &[u8]) {
        // A line that never ends is dropped.
        if self.0.len() > MAX_LINE {
            self.0.clear();
        }
        self.0.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.0.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

/// Says on stderr how it ended, if not well, and gives the exit code.
fn tell(view: &Task) -> u8 {
    let outcome = view.result.as_ref().map(|result| &result.receipt.receipt.outcome);
    let code = match (view.state.as_str(), outcome) {
        ("cancelled", _) => exit_codes::CANCELLED,
        ("done", Some(outcome)) => exit_code(outcome),
        _ => exit_codes::NOT_DONE,
    };
    if !matches!(outcome, Some(Outcome::Exited(_))) || code == exit_codes::NOT_DONE {
        let why = outcome.map_or_else(|| view.why.clone(), ToString::to_string);
        crate::say!("error: {}: {}", sanitise(&view.name, false), sanitise(&why, false));
        crate::say!("hint: `mesh task show {}` lists its attempts", view.task.short());
    }
    code
}

/// The exit code of an outcome, as `mesh run` has it.
// spec: SBX-3
fn exit_code(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Exited(code) => u8::try_from(*code).unwrap_or(exit_codes::TRAPPED),
        Outcome::Trapped(_) => exit_codes::TRAPPED,
        Outcome::OutOfFuel => exit_codes::OUT_OF_FUEL,
        Outcome::TimedOut => exit_codes::TIMED_OUT,
        Outcome::MemoryExceeded => exit_codes::MEMORY_EXCEEDED,
        Outcome::OutputExceeded(_) => exit_codes::OUTPUT_EXCEEDED,
        Outcome::Cancelled => exit_codes::CANCELLED,
        Outcome::Refused(_) => exit_codes::REFUSED,
        Outcome::SandboxCrashed(_) => exit_codes::SANDBOX_CRASHED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_node::Happening as Told;

    // spec: API-2
    #[test]
    fn the_nodes_events_are_understood() {
        let (mine, other) = (TaskId([1; 32]), TaskId([2; 32]));
        let told = |happening: &Told| serde_json::to_string(happening).unwrap();
        let changed = |task| Told::Task { task, state: "running".into(), why: "x".into(), ended: false };
        assert!(matches!(word(&told(&changed(mine)), mine), Some(Word::Changed)));
        assert!(word(&told(&changed(other)), mine).is_none());
        let progress =
            mesh_node::Progress { phase: Phase::Running, permille: 30, note: "n".into(), held: None };
        let progress = told(&Told::Progress { task: mine, progress });
        assert!(matches!(word(&progress, mine), Some(Word::Progress(progress)) if progress.permille == 30));
        assert!(word(&told(&Told::Warning { text: "x".into() }), mine).is_none());
        assert!(matches!(word("{\"event\":\"missed\",\"count\":3}", mine), Some(Word::Changed)));
        assert!(word("nonsense", mine).is_none());
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let mut lines = Lines::default();
        lines.feed(b"data: {\"a\"");
        assert_eq!(lines.next(), None);
        lines.feed(b":1}\r\n\n: keep");
        assert_eq!((lines.next().unwrap().as_str(), lines.next().unwrap().as_str()), ("data: {\"a\":1}", ""));
        assert_eq!(lines.next(), None);
    }

    // spec: SBX-3, CLI-1
    #[test]
    fn outcomes_have_the_codes_of_mesh_run() {
        assert_eq!(exit_code(&Outcome::Exited(7)), 7);
        assert_eq!(exit_code(&Outcome::Exited(700)), exit_codes::TRAPPED);
        assert_eq!(exit_code(&Outcome::OutOfFuel), 128);
        assert_eq!(exit_code(&Outcome::SandboxCrashed(String::new())), 133);
    }
}
