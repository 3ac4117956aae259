//! Watches over one running task: hands on what it says, keeps its deadline, ends it when told.
//!
//! One thread a task, which waits for its worker and for its owner's word. Stopping is done by signals to the worker
//! process, so that it holds in a sleep, a host call or a loop alike.
// spec: SBX-4, SBX-7, SBX-8

use crate::collect::OutTree;
use crate::guest::blocks::BLOCK;
use crate::guest::vfs::MAX_RUNS;
use crate::pool::Worker;
use crate::run::{Inner, Reserved, scratch_file};
use crate::stage::Staged;
use crate::wire::{self, Finished, FromWorker, OutContent, OutNode, ToWorker};
use mesh_protocol::abi::{MAX_LOG, MAX_NOTE};
use mesh_protocol::checkpoint::{self, Checkpoint};
use mesh_protocol::digest;
use mesh_protocol::ids::Digest;
use mesh_protocol::limits::{Limits, MAX_CHECKPOINT, MAX_LINK_TARGET, MAX_TREE_PATH};
use mesh_protocol::outcome::{Outcome, Refusal};
use mesh_protocol::receipt::{NotComparable, Receipt};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What a running task says.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Its first instruction is next.
    Started,
    /// The next bytes of its stdout.
    Stdout(Vec<u8>),
    /// The next bytes of its stderr.
    Stderr(Vec<u8>),
    /// How far it is (0 to 1000) and a note, fit for a terminal.
    Progress(u16, String),
    /// A log line of level 0 (error) to 3 (debug), fit for a terminal.
    Log(u8, String),
    /// At least so much fuel is gone.
    Meter(u64),
    /// It saved its state; from here it can go on anywhere.
    Checkpoint(Box<Checkpoint>),
    /// It ended; nothing comes after.
    Ended(Box<Report>),
}

/// How a task ended.
#[derive(Debug)]
pub struct Report {
    /// The outcome.
    pub outcome: Outcome,
    /// Everything about the run, not yet signed.
    pub receipt: Receipt,
    /// What it left in `/out`.
    pub out: Option<OutTree>,
    /// What it left in each writable share, in order.
    pub shares: Vec<Option<OutTree>>,
    /// Files it looked for and was not given, as paths it knows.
    pub missed: Vec<String>,
    /// Does the module import what opens files?
    pub wants_files: bool,
    /// What the engine said of a trap.
    pub detail: String,
}

/// Events waiting for their reader: with 64 KiB at most in each, 2 MiB a task, and one checkpoint beside.
// spec: ARC-7
const MAX_EVENTS: usize = 32;

/// How long a worker has to end a task by itself before it is killed.
const GRACE: Duration = Duration::from_millis(50);

/// How long a worker is heard before time and its owner are looked at again.
// spec: SBX-4, SBX-7, SBX-8
const LISTEN: Duration = Duration::from_millis(10);

enum Command {
    Cancel,
    Pause(SyncSender<()>),
    Resume,
    Stop,
    Stdin(io::Result<Vec<u8>>),
}

struct Mailbox {
    /// None once nobody reads them any more.
    commands: Mutex<Option<VecDeque<Command>>>,
    bell: OwnedFd,
    checkpoint_unread: AtomicBool,
}

impl Mailbox {
    fn put(&self, command: Command) {
        if let Some(commands) = &mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner) {
            commands.push_back(command);
        }
        self.ring();
    }

    fn ring(&self) {
        let _full = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    fn take(&self) -> VecDeque<Command> {
        let mut count = [0; 8];
        let _empty = rustix::io::read(&self.bell, &mut count);
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn close(&self) {
        *self.commands.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Tells a running task what to do. Cheap to clone; may be called any number of times, also after its end.
#[derive(Clone)]
pub struct Control(Arc<Mailbox>);

impl Control {
    /// End it now.
    pub fn cancel(&self) {
        self.0.put(Command::Cancel);
    }

    /// Hold it where it is: no CPU, and its deadline stands still. Returns when its worker was told to stand,
    /// or the task has ended.
    pub fn pause(&self) {
        let (done, wait) = sync_channel(1);
        self.0.put(Command::Pause(done));
        let _ended = wait.recv();
    }

    /// Let it go on.
    pub fn resume(&self) {
        self.0.put(Command::Resume);
    }

    /// Let it know that it should save and end soon; it is not forced.
    pub fn stop(&self) {
        self.0.put(Command::Stop);
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Control")
    }
}

/// A task that runs. Dropping it cancels the task.
#[derive(Debug)]
pub struct Running {
    events: Receiver<Event>,
    control: Control,
    supervisor: Option<thread::JoinHandle<()>>,
    worker: u32,
}

impl Running {
    /// The worker's process id.
    pub fn worker_pid(&self) -> u32 {
        self.worker
    }

    /// A handle to tell it what to do.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Waits for the next event; none after the end.
    #[expect(clippy::should_implement_trait, reason = "waits, which an iterator's reader would not expect")]
    pub fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().ok();
        if let Some(Event::Checkpoint(_)) = event {
            self.control.0.checkpoint_unread.store(false, Ordering::Release);
        }
        // A supervisor that waits for room hears of it.
        self.control.0.ring();
        event
    }

    /// Waits for the end, leaving all else unread.
    pub fn wait(mut self) -> Option<Box<Report>> {
        while let Some(event) = self.next() {
            if let Event::Ended(report) = event {
                return Some(report);
            }
        }
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.control.cancel();
        while self.next().is_some() {}
        if let Some(supervisor) = self.supervisor.take() {
            let _ended = supervisor.join();
        }
    }
}

pub(crate) struct Setup {
    pub(crate) worker: Worker,
    pub(crate) receipt: Receipt,
    pub(crate) stream: Option<Box<dyn Read + Send>>,
    pub(crate) blocks: Option<Arc<File>>,
    pub(crate) staged: Arc<Staged>,
    pub(crate) shares: usize,
    pub(crate) resume: Option<Checkpoint>,
    pub(crate) keep_checkpoints: bool,
    pub(crate) wants_files: bool,
    pub(crate) executor: Arc<Inner>,
    pub(crate) _reserved: Reserved,
}

pub(crate) fn start(setup: Setup) -> io::Result<Running> {
    let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
    let mailbox = Arc::new(Mailbox {
        commands: Mutex::new(Some(VecDeque::new())),
        bell,
        checkpoint_unread: AtomicBool::new(false),
    });
    let (sender, events) = sync_channel(MAX_EVENTS);
    let worker = setup.worker.child.id();
    let for_supervisor = mailbox.clone();
    let supervisor = thread::Builder::new()
        .name("task".into())
        .spawn(move || Supervisor::new(setup, for_supervisor, sender).run())?;
    Ok(Running { events, control: Control(mailbox), supervisor: Some(supervisor), worker })
}

/// Bytes of a stream kept in memory: more of it, which a task may say over weeks, lies on the disk.
const IN_MEMORY: usize = 64 * 1024;

/// What was said on a stream so far.
// spec: ARC-7
struct Said {
    scratch: PathBuf,
    /// Without a name. What comes before the rest.
    file: Option<File>,
    rest: Vec<u8>,
}

impl Said {
    fn new(scratch: PathBuf) -> Self {
        Self { scratch, file: None, rest: Vec::new() }
    }

    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.rest.len() + bytes.len() <= IN_MEMORY {
            self.rest.extend_from_slice(bytes);
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(scratch_file(&self.scratch)?),
        };
        file.write_all(&self.rest)?;
        self.rest.clear();
        file.write_all(bytes)
    }

    fn all(&self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        if let Some(mut file) = self.file.as_ref() {
            file.rewind()?;
            // To its end, where what comes next goes.
            file.read_to_end(&mut all)?;
        }
        all.extend_from_slice(&self.rest);
        Ok(all)
    }
}

/// Bytes of a stream counted and hashed, and kept if a checkpoint may need them.
struct Hashed {
    hasher: blake3::Hasher,
    count: u64,
    kept: Option<Said>,
}

impl Hashed {
    /// Kept in that folder, if it is to be kept.
    fn new(keep: Option<&Path>) -> Self {
        let kept = keep.map(|scratch| Said::new(scratch.to_owned()));
        Self { hasher: blake3::Hasher::new(), count: 0, kept }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.count += bytes.len() as u64;
        let Some(kept) = &mut self.kept else { return };
        // Too much for any checkpoint, there is none.
        let fits = self.count <= MAX_CHECKPOINT;
        if !fits || kept.add(bytes).inspect_err(unkept).is_err() {
            self.kept = None;
        }
    }

    /// All of it; none if it was not kept.
    fn said(&mut self) -> Option<Vec<u8>> {
        let all = self.kept.as_ref()?.all().inspect_err(unkept).ok();
        if all.is_none() {
            self.kept = None;
        }
        all
    }

    fn digest(&self) -> Digest {
        Digest(*self.hasher.finalize().as_bytes())
    }
}

fn unkept(error: &io::Error) {
    tracing::warn!(%error, "what a task said was not kept; it goes on, and its state is not saved from here on");
}

/// A checkpoint that is coming in.
struct Incoming {
    fuel_used: u64,
    clock_ns: u64,
    random_pos: u64,
    state_len: u64,
    state: Vec<u8>,
    out: Vec<(String, OutNode)>,
    heard: Heard,
}

/// How much of trees came in that nobody has checked yet.
#[derive(Default)]
struct Heard {
    entries: usize,
    bytes: u64,
}

impl Heard {
    /// Counts more of it; false if it is more than there can be.
    fn admits(&mut self, entries: &[(String, OutNode)], room: u64) -> bool {
        let size = |(path, node): &(String, OutNode)| {
            path.len()
                + match node {
                    OutNode::File { content: OutContent::Runs(runs), .. } | OutNode::More(runs) => {
                        size_of_val(&**runs)
                    }
                    OutNode::Link(target) => target.len(),
                    OutNode::Dir | OutNode::File { content: OutContent::Origin(_), .. } => 0,
                }
        };
        self.entries += entries.len();
        self.bytes += entries.iter().map(size).sum::<usize>() as u64;
        self.entries <= MAX_TREE_ENTRIES && self.bytes <= room
    }
}

/// Bytes that trees of so many files take as they come in, whose paths are no longer than `path`.
fn tree_room(limits: &Limits, handed_in: usize, path: usize) -> u64 {
    let files = u64::from(limits.out_files) + handed_in as u64;
    // No run is shorter than a block, but for the last of a file.
    let runs = limits.out_bytes / BLOCK + files;
    // What is in many pieces names its path with each; the last piece of a file may be a small one.
    let pieces = files + runs.div_ceil(MAX_RUNS as u64 / 2);
    pieces * (path.max(MAX_TREE_PATH) + MAX_LINK_TARGET) as u64 + runs * size_of::<(u32, u32)>() as u64
}

struct Supervisor {
    setup: Setup,
    mailbox: Arc<Mailbox>,
    events: SyncSender<Event>,
    waiting: VecDeque<Event>,
    started: Instant,
    /// Time spent paused, and since when it is paused now.
    paused: Duration,
    paused_since: Option<Instant>,
    /// When to kill the worker, and with which outcome the task then ends.
    ending: Option<(Instant, Outcome)>,
    streams: [Hashed; 2],
    stdin: Option<(blake3::Hasher, u64)>,
    stdin_asked: bool,
    stdin_ended: bool,
    ask: Option<SyncSender<()>>,
    incoming: Option<Incoming>,
    owes_checkpoint: bool,
    trees: Vec<Vec<(String, OutNode)>>,
    heard: Heard,
    seq: u32,
    parent: Digest,
    fuel: u64,
    /// What the attempts used up that it goes on from.
    fuel_before: u64,
    finished: Option<Box<Finished>>,
    broken: Option<String>,
}

/// Most tree entries that a worker may send, over all trees or in a checkpoint: the files handed in and those the task
/// may make, and the pieces of large ones.
const MAX_TREE_ENTRIES: usize = 200_000;

impl Supervisor {
    fn new(mut setup: Setup, mailbox: Arc<Mailbox>, events: SyncSender<Event>) -> Self {
        let keep = setup.keep_checkpoints.then_some(&*setup.executor.config.scratch);
        let mut streams = [Hashed::new(keep), Hashed::new(keep)];
        let mut waiting = VecDeque::new();
        let (mut seq, mut parent, mut fuel) = (0, Digest::ZERO, 0);
        // Its state is with the worker. All of it would lie here until the end.
        // spec: ARC-7
        if let Some(Checkpoint { header, stdout, stderr, .. }) = setup.resume.take() {
            // What was written before stands before what comes now, once.
            // spec: SDK-6
            for (stream, bytes) in streams.iter_mut().zip([&stdout, &stderr]) {
                stream.take(bytes);
            }
            if !stdout.is_empty() {
                waiting.push_back(Event::Stdout(stdout));
            }
            if !stderr.is_empty() {
                waiting.push_back(Event::Stderr(stderr));
            }
            (seq, parent, fuel) = (header.seq, header.hash(), header.fuel_used);
        }
        let trees = vec![Vec::new(); 1 + setup.shares];
        Self {
            mailbox,
            events,
            waiting,
            started: Instant::now(),
            paused: Duration::ZERO,
            paused_since: None,
            ending: None,
            streams,
            stdin: setup.stream.is_some().then(Default::default),
            stdin_asked: false,
            stdin_ended: false,
            ask: None,
            incoming: None,
            owes_checkpoint: false,
            trees,
            heard: Heard::default(),
            seq,
            parent,
            fuel,
            fuel_before: fuel,
            finished: None,
            broken: None,
            setup,
        }
    }

    fn run(mut self) {
        if let Some(stream) = self.setup.stream.take() {
            self.ask = pump(stream, self.mailbox.clone());
        }
        let mut buffer = Vec::new();
        // What an earlier try said waits already, and nobody rings for it.
        self.hand_on();
        while self.finished.is_none() && self.broken.is_none() {
            if !self.wait() {
                break;
            }
            for command in self.mailbox.take() {
                self.obey(command);
            }
            self.keep_time();
            self.hand_on();
            self.answer_checkpoint();
            // A worker that always has more to say must not keep its owner's word and the clock from being heard.
            let since = Instant::now();
            while self.waiting.is_empty()
                && self.finished.is_none()
                && self.broken.is_none()
                && since.elapsed() < LISTEN
            {
                match wire::receive::<FromWorker>(&self.setup.worker.socket, &mut buffer, false) {
                    Ok(Some((message, _))) => {
                        self.hear(message);
                        self.answer_checkpoint();
                    }
                    Ok(None) => break,
                    Err(error) => {
                        self.broken = Some(error.to_string());
                        break;
                    }
                }
                self.hand_on();
            }
        }
        self.end();
    }

    fn deadline(&self) -> Duration {
        Duration::from_millis(self.setup.receipt.limits.duration_ms)
    }

    /// Time that counts against the deadline.
    fn elapsed(&self) -> Duration {
        let paused_now = self.paused_since.map_or(Duration::ZERO, |since| since.elapsed());
        self.started.elapsed().saturating_sub(self.paused + paused_now)
    }

    /// Sleeps until there is something to do. False if the task was killed.
    fn wait(&mut self) -> bool {
        let now = Instant::now();
        let until = match (&self.ending, self.paused_since) {
            (Some((at, _)), _) => Some(at.saturating_duration_since(now)),
            (None, Some(_)) => None,
            (None, None) => Some(self.deadline().saturating_sub(self.elapsed())),
        };
        let timeout =
            until.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        let mut fds = vec![PollFd::new(&self.mailbox.bell, PollFlags::IN)];
        // While its reader is behind, the worker is not heard, and so in time has to wait itself.
        if self.waiting.is_empty() {
            fds.push(PollFd::new(&self.setup.worker.socket, PollFlags::IN));
        }
        let _interrupted = poll(&mut fds, timeout.as_ref());
        if let Some((at, outcome)) = &self.ending
            && Instant::now() >= *at
        {
            // It had its chance to end by itself.
            let outcome = outcome.clone();
            let cpu_us = self.setup.worker.cpu_us();
            self.killed(outcome, cpu_us);
            return false;
        }
        true
    }

    fn signal(&self, signal: Signal) {
        let _gone = kill_process(Pid::from_child(&self.setup.worker.child), signal);
    }

    fn tell(&self, message: &ToWorker) {
        // A worker that does not read will be killed in time; waiting for it here would give it power over us.
        let _full = wire::send(&self.setup.worker.socket, message, &[], false);
    }

    /// Says what the worker waits for. One that asked and does not read is no worker of ours any more.
    fn insist(&mut self, message: &ToWorker) {
        match wire::send(&self.setup.worker.socket, message, &[], false) {
            Ok(true) => {}
            Ok(false) => self.distrust("more than it reads answers to"),
            // Its end is heard on the way in.
            Err(_) => {}
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Cancel => self.begin_end(Outcome::Cancelled),
            Command::Pause(done) => {
                if self.paused_since.is_none() && self.ending.is_none() {
                    self.signal(Signal::STOP);
                    self.paused_since = Some(Instant::now());
                }
                let _nobody_waits = done.send(());
            }
            Command::Resume => self.go_on(),
            Command::Stop => self.tell(&ToWorker::Stop),
            Command::Stdin(Ok(bytes)) => {
                if let Some((hasher, count)) = &mut self.stdin {
                    hasher.update(&bytes);
                    *count += bytes.len() as u64;
                }
                self.stdin_ended |= bytes.is_empty();
                // spec: SBX-6
                let actual = self.setup.staged.bytes + self.stdin.as_ref().map_or(0, |(_, count)| *count);
                let limit = self.setup.receipt.limits.input_bytes;
                if actual > limit {
                    return self.begin_end(Outcome::Refused(Refusal::InputTooLarge { actual, limit }));
                }
                self.insist(&ToWorker::Stdin(bytes));
            }
            Command::Stdin(Err(error)) => {
                tracing::warn!(%error, "the task's input broke off");
                self.insist(&ToWorker::Stdin(Vec::new()));
            }
        }
    }

    fn go_on(&mut self) {
        if let Some(since) = self.paused_since.take() {
            self.paused += since.elapsed();
            self.signal(Signal::CONT);
        }
    }

    fn begin_end(&mut self, outcome: Outcome) {
        if self.ending.is_none() {
            self.go_on();
            self.tell(&ToWorker::Cancel);
            self.ending = Some((Instant::now() + GRACE, outcome));
        }
    }

    fn keep_time(&mut self) {
        if self.paused_since.is_none() && self.ending.is_none() && self.elapsed() >= self.deadline() {
            self.begin_end(Outcome::TimedOut);
        }
    }

    fn hand_on(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => self.begin_end(Outcome::Cancelled),
            }
        }
    }

    fn distrust(&mut self, what: &str) {
        self.broken = Some(format!("the worker said what no worker says: {what}"));
    }

    fn hear(&mut self, message: FromWorker) {
        match message {
            FromWorker::Started => self.waiting.push_back(Event::Started),
            FromWorker::Stdout(bytes) => self.stream(0, bytes),
            FromWorker::Stderr(bytes) => self.stream(1, bytes),
            FromWorker::WantStdin => {
                self.stdin_asked = true;
                match &self.ask {
                    Some(ask) => {
                        let _asked_already = ask.try_send(());
                    }
                    None => self.insist(&ToWorker::Stdin(Vec::new())),
                }
            }
            FromWorker::Progress { note, .. } if note.len() > MAX_NOTE => self.distrust("a longer note"),
            FromWorker::Log { text, .. } if text.len() > MAX_LOG => self.distrust("a longer log line"),
            FromWorker::Progress { permille, note } => {
                let note = mesh_protocol::text::sanitise(&note, false);
                self.waiting.push_back(Event::Progress(permille.min(1000), note));
            }
            FromWorker::Log { level, text } => {
                self.waiting.push_back(Event::Log(level.min(3), mesh_protocol::text::sanitise(&text, true)));
            }
            FromWorker::Meter { fuel } => {
                self.fuel = self.fuel.max(fuel.min(self.setup.receipt.limits.fuel));
                self.waiting.push_back(Event::Meter(self.fuel));
            }
            FromWorker::Checkpoint { fuel_used, clock_ns, random_pos, state_len } => {
                if !self.setup.keep_checkpoints || state_len > self.setup.receipt.limits.checkpoint_bytes {
                    return self.distrust("a checkpoint that was not asked for");
                }
                // One that goes on before it may would fill memory with them.
                if self.owes_checkpoint {
                    return self.distrust("a checkpoint before the last one was taken");
                }
                let (state, out, heard) = (Vec::new(), Vec::new(), Heard::default());
                self.incoming =
                    Some(Incoming { fuel_used, clock_ns, random_pos, state_len, state, out, heard });
            }
            FromWorker::Data(bytes) => match &mut self.incoming {
                Some(incoming) if (incoming.state.len() + bytes.len()) as u64 <= incoming.state_len => {
                    incoming.state.extend(bytes);
                }
                _ => self.distrust("more state than it announced"),
            },
            FromWorker::Tree { tree, entries } => self.tree(tree, entries),
            FromWorker::CheckpointEnd => self.checkpoint(),
            FromWorker::Finished(finished) => self.finished = Some(finished),
            FromWorker::Ready { .. } | FromWorker::Failed(_) => self.distrust("that it is ready"),
        }
    }

    fn stream(&mut self, index: usize, bytes: Vec<u8>) {
        let limits = &self.setup.receipt.limits;
        let limit = [limits.stdout_bytes, limits.stderr_bytes][index];
        if self.streams[index].count + bytes.len() as u64 > limit {
            return self.distrust("more than its limit");
        }
        self.streams[index].take(&bytes);
        self.waiting.push_back(if index == 0 { Event::Stdout(bytes) } else { Event::Stderr(bytes) });
    }

    fn tree(&mut self, tree: u16, entries: Vec<(String, OutNode)>) {
        // Its guest was ended while it saved.
        if tree > 0 && self.ending.is_some() {
            self.incoming = None;
        }
        let limits = &self.setup.receipt.limits;
        let (heard, room) = match &mut self.incoming {
            Some(incoming) => (&mut incoming.heard, tree_room(limits, 0, 0)),
            None => {
                let handed_in = &self.setup.staged.entries;
                let longest = handed_in.iter().map(|entry| entry.path.len()).max().unwrap_or(0);
                (&mut self.heard, tree_room(limits, handed_in.len(), longest))
            }
        };
        if !heard.admits(&entries, room) {
            return self.distrust("more files than any task may have");
        }
        match (&mut self.incoming, usize::from(tree).checked_sub(1)) {
            (Some(incoming), None) => incoming.out.extend(entries),
            (None, Some(index)) if index < self.trees.len() => self.trees[index].extend(entries),
            _ => self.distrust("files of no tree"),
        }
    }

    /// Checks a tree that the worker told of: the share of this number among the trees handed in, or `/out`.
    fn check_tree(
        &self,
        entries: Vec<(String, OutNode)>,
        share: Option<u16>,
    ) -> Result<OutTree, &'static str> {
        let limits = &self.setup.receipt.limits;
        // What was handed in may be there beside what the task may make; nothing was for `/out`.
        let handed_in = if share.is_some() { self.setup.staged.entries.len() } else { 0 };
        let (blocks, staged) = (self.setup.blocks.clone(), self.setup.staged.clone());
        let max_files = limits.out_files as usize + handed_in;
        OutTree::check(entries, blocks, staged, share, limits.out_bytes, max_files)
    }

    /// Makes a whole checkpoint of what came in, and lets the guest go on.
    // spec: SDK-6
    fn checkpoint(&mut self) {
        let Some(incoming) = self.incoming.take() else { return self.distrust("the end of no checkpoint") };
        if incoming.state.len() as u64 != incoming.state_len || incoming.fuel_used < self.fuel {
            return self.distrust("a checkpoint that does not add up");
        }
        let tree = match self.check_tree(incoming.out, None) {
            Ok(tree) if tree.bytes().saturating_add(incoming.state_len) <= MAX_CHECKPOINT => tree,
            Ok(_) => return self.distrust("a checkpoint larger than any may be"),
            Err(what) => return self.distrust(what),
        };
        let out = match tree.contents() {
            Ok(out) => out,
            Err(error) => {
                self.broken = Some(format!("read the task's files: {error}"));
                return;
            }
        };
        self.fuel = incoming.fuel_used;
        let [stdout, stderr] = &mut self.streams;
        if let (Some(said_out), Some(said_err)) = (stdout.said(), stderr.said()) {
            let receipt = &self.setup.receipt;
            self.seq += 1;
            let header = checkpoint::Header {
                task: receipt.task,
                module: receipt.module,
                input: receipt.input.hash,
                profile: receipt.profile.id(),
                seq: self.seq,
                parent: self.parent,
                fuel_used: incoming.fuel_used,
                clock_ns: incoming.clock_ns,
                random_pos: incoming.random_pos,
                stdin_read: self.stdin.as_ref().map_or(0, |(_, count)| *count),
                stdin: self
                    .stdin
                    .as_ref()
                    .map_or_else(|| digest::bytes(b""), |(hasher, _)| Digest(*hasher.finalize().as_bytes())),
                stdout: stdout.digest(),
                stderr: stderr.digest(),
                out: checkpoint::out_digest(&out),
                state: digest::bytes(&incoming.state),
            };
            self.parent = header.hash();
            let whole = Checkpoint { header, state: incoming.state, stdout: said_out, stderr: said_err, out };
            self.mailbox.checkpoint_unread.store(true, Ordering::Release);
            self.waiting.push_back(Event::Checkpoint(Box::new(whole)));
        }
        self.owes_checkpoint = true;
    }

    /// Lets a guest go on that saved, once its checkpoint was read: so there is never more than one in memory.
    fn answer_checkpoint(&mut self) {
        if self.owes_checkpoint && !self.mailbox.checkpoint_unread.load(Ordering::Acquire) {
            self.owes_checkpoint = false;
            self.insist(&ToWorker::CheckpointTaken);
        }
    }

    fn killed(&mut self, outcome: Outcome, cpu_us: u64) {
        let _gone = self.setup.worker.child.kill();
        // What came of its files is not all of them, and nobody vouches for it.
        self.trees.iter_mut().for_each(Vec::clear);
        self.finished = Some(Box::new(Finished {
            outcome,
            fuel: self.fuel,
            peak_memory: 0,
            memory_refused: false,
            cpu_us,
            saw_stop: false,
            missed: Vec::new(),
            reusable: false,
            detail: String::new(),
        }));
        self.setup.receipt.usage.estimated = true;
    }

    fn end(mut self) {
        self.mailbox.close();
        let mut resident = None;
        if let Some(broken) = self.broken.take() {
            let cpu_us = self.setup.worker.cpu_us();
            resident = Some(self.setup.worker.peak_resident());
            let status = self.setup.worker.child.try_wait().ok().flatten();
            // Its number may be another process's from here on.
            if let Some(since) = self.paused_since.take() {
                self.paused += since.elapsed();
            }
            // A worker that dies while it is being ended has been ended.
            let outcome = match self.ending.take() {
                Some((_, outcome)) => outcome,
                None => Outcome::SandboxCrashed(match status {
                    Some(status) => format!("the worker died: {status}"),
                    None => broken,
                }),
            };
            self.killed(outcome, cpu_us);
        }
        let Some(mut finished) = self.finished.take() else { return };
        if finished.outcome == Outcome::Cancelled
            && let Some((_, outcome)) = &self.ending
        {
            finished.outcome = outcome.clone();
        }
        let wall = self.elapsed();
        self.go_on();
        let peak_resident = resident.unwrap_or_else(|| self.setup.worker.peak_resident());
        let mut trees: Vec<Option<OutTree>> = Vec::new();
        for (number, entries) in (1..).zip(std::mem::take(&mut self.trees)) {
            // The first is `/out`; the others are shares.
            match self.check_tree(entries, (number > 1).then_some(number)) {
                Ok(tree) => trees.push(Some(tree)),
                Err(what) => {
                    finished.outcome =
                        Outcome::SandboxCrashed(format!("the worker's files are not sound: {what}"));
                    trees.push(None);
                }
            }
        }
        let out = if trees.is_empty() { None } else { trees.remove(0) };
        let receipt = &mut self.setup.receipt;
        let usage = &mut receipt.usage;
        usage.fuel = finished.fuel.min(receipt.limits.fuel);
        usage.fuel_before = self.fuel_before;
        usage.cpu_us = finished.cpu_us;
        usage.wall_ms = wall.as_millis() as u64;
        usage.paused_ms = self.paused.as_millis() as u64;
        usage.peak_memory = finished.peak_memory;
        usage.peak_resident = peak_resident;
        usage.memory_refused = finished.memory_refused;
        let [stdout, stderr] = &self.streams;
        receipt.output.stdout_bytes = stdout.count;
        receipt.output.stdout = stdout.digest();
        receipt.output.stderr_bytes = stderr.count;
        receipt.output.stderr = stderr.digest();
        if let Some(out) = &out {
            receipt.output.out_bytes = out.bytes();
            receipt.output.out_files = out.len() as u32;
            match out.digest() {
                Ok(digest) => receipt.output.out = digest,
                Err(error) => {
                    finished.outcome = Outcome::SandboxCrashed(format!("read the task's files: {error}"))
                }
            }
        }
        if let (Some((hasher, _)), true) = (&self.stdin, self.stdin_ended) {
            receipt.input.stdin = Some(Digest(*hasher.finalize().as_bytes()));
        }
        let mut mark = |yes: bool, why| {
            if yes {
                receipt.not_comparable.push(why);
            }
        };
        // What nobody asked for made no difference.
        let open = self.stdin.is_some() && self.stdin_asked && !self.stdin_ended;
        mark(finished.saw_stop, NotComparable::ToldToStop);
        mark(open || self.setup.staged.changed(), NotComparable::OpenInput);
        mark(!finished.outcome.is_conclusive(), NotComparable::Inconclusive);
        receipt.not_comparable.sort_unstable();
        receipt.last_checkpoint = (self.seq > 0).then_some((self.seq, self.parent));
        receipt.outcome = finished.outcome.clone();

        let Setup { worker, receipt, executor, wants_files, _reserved, .. } = self.setup;
        let reusable = finished.reusable && self.ending.is_none() && worker.last.is_some();
        let report = Report {
            outcome: finished.outcome,
            receipt,
            out,
            shares: trees,
            wants_files,
            missed: finished.missed.iter().map(|path| mesh_protocol::text::sanitise(path, false)).collect(),
            detail: mesh_protocol::text::sanitise(&finished.detail, true),
        };
        // All of it is gone before its owner hears of the end.
        if reusable {
            executor.keep(worker);
        } else {
            drop(worker);
        }
        drop(_reserved);
        self.waiting.push_back(Event::Ended(Box::new(report)));
        for event in self.waiting {
            if self.events.send(event).is_err() {
                break;
            }
        }
        drop(self.events);
        executor.refill();
    }
}

/// Reads a stream as it is asked to, on a thread of its own, since a read may wait for ever.
fn pump(mut stream: Box<dyn Read + Send>, mailbox: Arc<Mailbox>) -> Option<SyncSender<()>> {
    let (ask, asked) = sync_channel(1);
    let reader = thread::Builder::new().name("task input".into()).spawn(move || {
        let mut chunk = vec![0; wire::MAX_CHUNK];
        while asked.recv().is_ok() {
            let read = loop {
                match stream.read(&mut chunk) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => break read,
                }
            };
            let ended = !matches!(read, Ok(count) if count > 0);
            mailbox.put(Command::Stdin(read.map(|count| chunk[..count].to_vec())));
            if ended {
                return;
            }
        }
    });
    reader.is_ok().then_some(ask)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: ARC-7, SDK-6
    #[test]
    fn what_was_said_comes_back_whole_and_little_of_it_is_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let (mut stream, mut all) = (Hashed::new(Some(dir.path())), Vec::new());
        let lengths = [10, IN_MEMORY, 3, 5 * IN_MEMORY, IN_MEMORY - 3, 0, 4];
        for (byte, length) in (0..).zip(lengths) {
            let bytes = vec![byte; length];
            stream.take(&bytes);
            all.extend(bytes);
            assert!(stream.kept.as_ref().unwrap().rest.capacity() <= 2 * IN_MEMORY);
            assert_eq!(stream.said().unwrap(), all);
        }
        assert_eq!((stream.count, stream.digest()), (all.len() as u64, digest::bytes(&all)));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "it has no name");
    }

    // spec: SDK-6
    #[test]
    fn what_is_not_kept_to_the_last_byte_is_in_no_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("no-folder");
        std::fs::write(&file, "").unwrap();
        let mut full = Hashed::new(Some(&file));
        full.take(&[1; IN_MEMORY]);
        assert!(full.said().is_some(), "it needs no file yet");
        full.take(&[2]);
        full.take(&[3]);
        assert_eq!((full.said(), full.count), (None, IN_MEMORY as u64 + 2));
        let mut much = Hashed::new(Some(dir.path()));
        much.count = MAX_CHECKPOINT - 1;
        much.take(&[1]);
        assert!(much.said().is_some());
        much.take(&[2]);
        assert_eq!(much.said(), None);
        assert_eq!(Hashed::new(None).said(), None);
    }
}
