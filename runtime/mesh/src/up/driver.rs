//! The loop of a running peer: something happens, the node says what is to be done, what it promises is made durable,
//! and only then anything leaves. One thread owns the store and does all that.
// spec: ARC-3

use super::handle::Question;
use mesh_gossip::Heard;
use mesh_node::{CommandError, CommandId, ErrorKind, Input, Node, Now, Output};
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::Entry;
use mesh_protocol::record::Record;
use mesh_store::{CommitError, Store};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// Things that wait for the driver. The largest are frames of 128 KiB, so 32 MiB; when it is full, the network's side
/// takes nothing more from its peers, and runs wait.
// spec: ARC-7
pub(crate) const MAX_WAITING: usize = 256;
/// Arrivals handled before what they promised is made durable together, beside the one that woke the driver. As many as
/// can wait: the more there is to do, the more of it shares one flush of the disk.
const MAX_BATCH: usize = MAX_WAITING;
/// Bytes of records after which a batch is cut off. A commit may have four times that.
const MAX_RECORDS: usize = 8 << 20;
/// Waits are no longer than this, since they stand still while the machine sleeps and what is due does not.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How long after a failed commit it is tried again; then twice as long, up to the longest wait.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Something for the driver.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// It is the node's.
    Node(Box<Input>),
    /// Gossip that was read.
    Gossip(PublicKey, Box<Heard>),
}

impl From<Input> for Arrival {
    fn from(input: Input) -> Self {
        Self::Node(Box::new(input))
    }
}

/// Entries as they stand in the store, or why they cannot be read.
pub(crate) type Entries = Result<Vec<Vec<u8>>, String>;

/// Entries wanted from the store.
pub(crate) struct Read {
    pub(crate) author: PublicKey,
    pub(crate) from: u64,
    pub(crate) max_bytes: usize,
    pub(crate) answer: oneshot::Sender<Entries>,
}

/// What decides: the node.
pub(crate) trait Brain {
    fn handle(&self, now: Now, input: Input);
    fn poll(&self) -> Option<Output>;
    fn deadline(&self) -> Option<u64>;
    /// See [`Node::passes_on`].
    fn passes_on(&self, entry: &Entry) -> Option<u64>;
}

/// The node, also for those on other threads who have a question. Nobody does IO while holding it.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Node>>);

impl Shared {
    pub(crate) fn new(node: Node) -> Self {
        Self(Arc::new(Mutex::new(node)))
    }

    pub(crate) fn node(&self) -> MutexGuard<'_, Node> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Brain for Shared {
    fn handle(&self, now: Now, input: Input) {
        self.node().handle(now, input);
    }

    fn poll(&self) -> Option<Output> {
        self.node().poll()
    }

    fn deadline(&self) -> Option<u64> {
        self.node().deadline()
    }

    fn passes_on(&self, entry: &Entry) -> Option<u64> {
        self.node().passes_on(entry)
    }
}

/// What acts: everything that the node wants done but keeping.
pub(crate) trait Hands {
    /// Something is about to be handled.
    fn saw(&mut self, input: &Input);
    /// Gossip came, of whose author so many entries are passed on in an hour, if any are. What of it is new goes to the
    /// node.
    fn heard(&mut self, peer: PublicKey, heard: Heard, per_hour: Option<u64>, then: &mut VecDeque<Input>);
    /// Carries out anything but a [`Output::Persist`]. What comes of it at once goes to the node.
    fn carry_out(&mut self, output: Output, store: &dyn Store, then: &mut VecDeque<Input>);
    /// A question was asked; its answer will be carried out.
    fn asked(&mut self, question: Question) -> Input;
    /// Goes on with what could not be done at once. Says when to be called again.
    fn go_on(&mut self, store: &dyn Store, then: &mut VecDeque<Input>) -> Option<Instant>;
    /// Nothing can be kept. Says so to whom it concerns; `first`: since now.
    fn cannot_keep(&mut self, why: &str, first: bool);
    /// It can be again.
    fn can_keep_again(&mut self);
    /// What the clocks say.
    fn now(&self) -> Now;
}

/// Why the driver ended otherwise than it was told to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriverError {
    /// The node wants something kept that is not kept, so nothing after it may happen.
    #[error("keep what the node has promised")]
    Commit(#[source] CommitError),
    /// It was told to end while nothing could be kept.
    #[error("end in order: nothing could be kept, so what was not kept is lost")]
    Unkept,
}

/// The state of the loop.
pub(crate) struct Driver<B, H, S> {
    pub(crate) brain: B,
    pub(crate) hands: H,
    pub(crate) store: S,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    pub(crate) questions: mpsc::Receiver<Question>,
    pub(crate) reads: mpsc::Receiver<Read>,
    pub(crate) stop: watch::Receiver<bool>,
}

enum Woken {
    Arrived(Arrival),
    Asked(Question),
    Wanted(Read),
    Time,
    Stop,
}

impl<B: Brain, H: Hands, S: Store> Driver<B, H, S> {
    /// Goes on until it is told to stop, and gives the store back.
    pub(crate) fn run(mut self) -> Result<S, DriverError> {
        // What the node wanted done when it started.
        let mut then = VecDeque::new();
        self.settle(&mut then)?;
        let mut again = None;
        loop {
            let mut asked = Vec::new();
            match self.wait(again) {
                Woken::Arrived(arrival) => self.take(arrival, &mut then),
                Woken::Asked(question) => asked.push(question),
                Woken::Wanted(read) => self.read(read),
                Woken::Time => {}
                Woken::Stop => break,
            }
            self.gather(asked, &mut then);
            // One of them: however much there is to do, who reads gets a turn, and holds nobody up for longer.
            if let Ok(read) = self.reads.try_recv() {
                self.read(read);
            }
            if self.brain.deadline().is_some_and(|at| at <= self.hands.now().boot_ms) {
                then.push_back(Input::Wake);
            }
            again = self.round(&mut then)?;
        }
        self.round(&mut then)?;
        Ok(self.store)
    }

    fn wait(&mut self, again: Option<Instant>) -> Woken {
        let now = self.hands.now().boot_ms;
        let due = self.brain.deadline().map(|at| Duration::from_millis(at.saturating_sub(now)));
        let again = again.map(|at| at.saturating_duration_since(Instant::now()));
        let wait = due.into_iter().chain(again).chain([LONGEST_WAIT]).min().unwrap_or(LONGEST_WAIT);
        let Self { runtime, arrivals, questions, reads, stop, .. } = self;
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => Woken::Stop,
                Some(arrival) = arrivals.recv() => Woken::Arrived(arrival),
                Some(question) = questions.recv() => Woken::Asked(question),
                Some(read) = reads.recv() => Woken::Wanted(read),
                () = tokio::time::sleep(wait) => Woken::Time,
            }
        })
    }

    /// Takes up what waits. Questions get their turn however much arrives, and come after what arrived before they were
    /// asked: that is no more than can wait.
    fn gather(&mut self, mut asked: Vec<Question>, then: &mut VecDeque<Input>) {
        while asked.len() < super::MAX_QUESTIONS
            && let Ok(question) = self.questions.try_recv()
        {
            asked.push(question);
        }
        for _ in 0..MAX_BATCH {
            let Ok(arrival) = self.arrivals.try_recv() else { break };
            self.take(arrival, then);
        }
        then.extend(asked.into_iter().map(|question| self.hands.asked(question)));
    }

    fn take(&mut self, arrival: Arrival, then: &mut VecDeque<Input>) {
        match arrival {
            Arrival::Node(input) => then.push_back(*input),
            Arrival::Gossip(peer, heard) => {
                let per_hour = heard.entry().and_then(|entry| self.brain.passes_on(entry));
                self.hands.heard(peer, *heard, per_hour, then);
            }
        }
    }

    fn read(&mut self, read: Read) {
        let entries = self.store.entries(&read.author, read.from, read.max_bytes);
        let _nobody_waits = read.answer.send(entries.map_err(|error| super::causes(&error)));
    }

    /// Handles everything that waits and all that follows from it.
    fn round(&mut self, then: &mut VecDeque<Input>) -> Result<Option<Instant>, DriverError> {
        loop {
            self.settle(then)?;
            let again = self.hands.go_on(&self.store, then);
            if then.is_empty() {
                return Ok(again);
            }
        }
    }

    /// Handles inputs, makes durable what is promised, and then carries out the rest, in this order.
    // spec: ARC-3
    fn settle(&mut self, then: &mut VecDeque<Input>) -> Result<(), DriverError> {
        loop {
            let (mut records, mut rest, mut bytes) = (Vec::new(), Vec::new(), 0);
            loop {
                while let Some(output) = self.brain.poll() {
                    match output {
                        Output::Persist(record) => {
                            bytes += weight(&record);
                            records.push(record);
                        }
                        output => rest.push(output),
                    }
                }
                if bytes >= MAX_RECORDS {
                    break;
                }
                let Some(input) = then.pop_front() else { break };
                self.hands.saw(&input);
                self.brain.handle(self.hands.now(), input);
            }
            if records.is_empty() && rest.is_empty() {
                return Ok(());
            }
            if !records.is_empty() {
                self.keep(&records, &mut rest, then)?;
            }
            // What is spread comes last: a frame that brings its entries along should not wait, at the other end, for
            // the same entries to be kept as gossip.
            let (spread, rest): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|output| matches!(output, Output::Spread(_)));
            for output in rest.into_iter().chain(spread) {
                self.hands.carry_out(output, &self.store, then);
            }
        }
    }

    /// Makes records durable, however long it takes: nothing of the rest may happen before. Whoever waits for an answer is
    /// told that it takes longer.
    fn keep(
        &mut self,
        records: &[Record],
        rest: &mut Vec<Output>,
        then: &mut VecDeque<Input>,
    ) -> Result<(), DriverError> {
        let mut wait = FIRST_RETRY;
        let mut failed = false;
        loop {
            match self.store.commit(records) {
                Ok(()) => {
                    if failed {
                        tracing::warn!("what was promised could be written again; going on");
                        self.hands.can_keep_again();
                    }
                    return Ok(());
                }
                Err(error @ (CommitError::TooLarge { .. } | CommitError::Lost(_))) => {
                    return Err(DriverError::Commit(error));
                }
                Err(error) => {
                    let why = super::causes(&error);
                    if !failed {
                        tracing::warn!(error = %why, "what was promised cannot be written; nothing is said to peers until it is");
                    }
                    self.hands.cannot_keep(&why, !failed);
                    failed = true;
                    for output in rest.extract_if(.., |output| matches!(output, Output::Answer(..))) {
                        if let Output::Answer(id, _) = output {
                            let late = Output::Answer(id, Err(cannot_keep(&why, LATER)));
                            self.hands.carry_out(late, &self.store, then);
                        }
                    }
                    if !self.hold(wait, &why) {
                        return Err(DriverError::Unkept);
                    }
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// Waits before trying again. Questions are answered with what is the matter, and who reads goes on reading. False if
    /// it is time to end.
    fn hold(&mut self, wait: Duration, why: &str) -> bool {
        let until = Instant::now() + wait;
        loop {
            let Self { runtime, questions, reads, stop, .. } = self;
            let woken = runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => Woken::Stop,
                    () = tokio::time::sleep_until(until) => Woken::Time,
                    Some(question) = questions.recv() => Woken::Asked(question),
                    Some(read) = reads.recv() => Woken::Wanted(read),
                }
            });
            match woken {
                Woken::Stop => return false,
                Woken::Asked(Question { answer, .. }) => {
                    let _nobody_waits = answer.send(Err(cannot_keep(why, "it goes on by itself")));
                }
                Woken::Wanted(read) => self.read(read),
                Woken::Time | Woken::Arrived(_) => return true,
            }
        }
    }
}

/// What becomes of a command whose records could not be kept yet.
const LATER: &str = "it goes on by itself, and does this, too: look whether it did before you say it again";

fn cannot_keep(why: &str, then: &str) -> CommandError {
    CommandError {
        kind: ErrorKind::Unavailable,
        message: format!("do it: the node cannot keep anything: {why}"),
        hint: Some(format!("free some space on the disk that holds its --home; {then}")),
    }
}

/// About how many bytes a record takes.
fn weight(record: &Record) -> usize {
    match record {
        Record::Entry { bytes, .. } => bytes.len() + 64,
        Record::Put { key, value, .. } => key.len() + value.len() + 16,
        Record::Truncate { .. } | Record::Delete { .. } => 64,
    }
}

/// What the clocks say.
pub(crate) fn now() -> Now {
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Now {
        boot_ms: u64::try_from(boot.tv_sec).unwrap_or(0) * 1000
            + u64::try_from(boot.tv_nsec).unwrap_or(0) / 1_000_000,
        wall_ms: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
    }
}

/// Numbers questions.
#[derive(Debug, Default)]
pub(crate) struct Ids(u64);

impl Ids {
    pub(crate) fn next(&mut self) -> CommandId {
        self.0 += 1;
        CommandId(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_node::Happening;
    use mesh_protocol::ledger::{Entry, Payload};
    use mesh_protocol::record::Table;
    use mesh_store::{Fault, LoadError, Loaded, MemoryStore, Size};
    use std::cell::RefCell;
    use std::rc::Rc;

    fn tell(text: &str) -> Output {
        Output::Tell(Happening::Warning { text: text.into() })
    }

    fn keep(key: u8) -> Output {
        Output::Persist(Record::Put { table: Table::Meta, key: vec![key], value: vec![0; 10] })
    }

    /// Answers each wake-up with a promise and its record, the promise first.
    #[derive(Default)]
    struct Script(RefCell<VecDeque<Output>>, RefCell<u8>);

    impl Brain for Script {
        fn handle(&self, _: Now, _: Input) {
            *self.1.borrow_mut() += 1;
            let number = *self.1.borrow();
            self.0.borrow_mut().extend([tell(&number.to_string()), keep(number)]);
        }

        fn poll(&self) -> Option<Output> {
            self.0.borrow_mut().pop_front()
        }

        fn deadline(&self) -> Option<u64> {
            None
        }

        fn passes_on(&self, _: &Entry) -> Option<u64> {
            None
        }
    }

    /// Two ends of one store.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<(MemoryStore, usize)>>);

    impl Kept {
        fn keys(&self) -> Vec<u8> {
            let mut keys = Vec::new();
            self.0
                .lock()
                .unwrap()
                .0
                .load(&mut |loaded| {
                    if let Loaded::Value { key, .. } = loaded {
                        keys.push(key[0]);
                    }
                })
                .unwrap();
            keys
        }
    }

    impl Store for Kept {
        fn commit(&mut self, records: &[Record]) -> Result<(), CommitError> {
            let mut inner = self.0.lock().unwrap();
            inner.1 += 1;
            inner.0.commit(records)
        }

        fn load(&self, each: &mut dyn FnMut(Loaded<'_>)) -> Result<(), LoadError> {
            self.0.lock().unwrap().0.load(each)
        }

        fn entries(&self, author: &PublicKey, from: u64, max: usize) -> Result<Vec<Vec<u8>>, LoadError> {
            self.0.lock().unwrap().0.entries(author, from, max)
        }

        fn size(&self) -> Size {
            self.0.lock().unwrap().0.size()
        }
    }

    /// What was done, and which records were kept at that moment.
    type Lines = Rc<RefCell<Vec<(String, Vec<u8>)>>>;

    /// Writes down what was carried out.
    #[derive(Clone)]
    struct Diary {
        kept: Kept,
        lines: Lines,
    }

    impl Diary {
        fn line(&self, text: &str) {
            self.lines.borrow_mut().push((text.into(), self.kept.keys()));
        }
    }

    impl Hands for Diary {
        fn saw(&mut self, _: &Input) {}
        fn heard(&mut self, _: PublicKey, _: Heard, _: Option<u64>, _: &mut VecDeque<Input>) {}
        fn carry_out(&mut self, output: Output, _: &dyn Store, _: &mut VecDeque<Input>) {
            match output {
                Output::Tell(Happening::Warning { text }) => self.line(&text),
                Output::Spread(_) => self.line("gossip"),
                Output::Answer(_, answer) => self.line(if answer.is_ok() { "done" } else { "later" }),
                _ => {}
            }
        }
        fn asked(&mut self, _: Question) -> Input {
            self.line("asked");
            Input::Disconnected { peer: PublicKey([0; 32]) }
        }
        fn go_on(&mut self, _: &dyn Store, _: &mut VecDeque<Input>) -> Option<Instant> {
            None
        }
        fn cannot_keep(&mut self, _: &str, first: bool) {
            self.line(if first { "full" } else { "still full" });
        }
        fn can_keep_again(&mut self) {
            self.line("room");
        }
        fn now(&self) -> Now {
            Now::default()
        }
    }

    struct Rig {
        driver: Driver<Script, Diary, Kept>,
        lines: Lines,
        kept: Kept,
        stop: watch::Sender<bool>,
        _runtime: tokio::runtime::Runtime,
    }

    fn rig() -> Rig {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let kept = Kept::default();
        let lines = Lines::default();
        let (stop, stopped) = watch::channel(false);
        let driver = Driver {
            brain: Script::default(),
            hands: Diary { kept: kept.clone(), lines: Rc::clone(&lines) },
            store: kept.clone(),
            runtime: runtime.handle().clone(),
            arrivals: mpsc::channel(1).1,
            questions: mpsc::channel(1).1,
            reads: mpsc::channel(1).1,
            stop: stopped,
        };
        Rig { driver, lines, kept, stop, _runtime: runtime }
    }

    // spec: ARC-3
    #[test]
    fn nothing_leaves_before_its_promise_is_kept_and_a_batch_shares_one_commit() {
        let mut rig = rig();
        rig.driver.settle(&mut VecDeque::from([Input::Wake, Input::Wake, Input::Wake])).unwrap();
        let all = vec![1, 2, 3];
        let line = |text: &str| (text.to_owned(), all.clone());
        assert_eq!(*rig.lines.borrow(), [line("1"), line("2"), line("3")]);
        assert_eq!(rig.kept.0.lock().unwrap().1, 1, "one commit for all of them");
    }

    #[test]
    fn frames_go_before_gossip_of_the_entries_that_they_bring_along() {
        let mut rig = rig();
        let key = mesh_protocol::key::SecretKey::from_seed(&[1; 32]);
        let place = mesh_protocol::ledger::Place {
            community: mesh_protocol::ids::CommunityId([1; 32]),
            seq: 0,
            prev: mesh_protocol::ids::EntryId::ZERO,
            refs: vec![],
            hlc: mesh_protocol::ledger::Hlc::at(0),
        };
        let entry = Entry::write(&key, place, Payload::PeerOnline);
        let outputs = [Output::Spread(Box::new(entry)), tell("an offer"), tell("an answer")];
        rig.driver.brain.0.borrow_mut().extend(outputs);
        rig.driver.settle(&mut VecDeque::new()).unwrap();
        let order: Vec<String> = rig.lines.borrow().iter().map(|(text, _)| text.clone()).collect();
        assert_eq!(order, ["an offer", "an answer", "gossip"]);
    }

    // spec: ARC-3, LED-8
    #[test]
    fn on_a_full_disk_nothing_leaves_until_there_is_room() {
        let mut rig = rig();
        rig.kept.0.lock().unwrap().0.fail_next_commit();
        rig.driver.settle(&mut VecDeque::from([Input::Wake])).unwrap();
        assert_eq!(
            *rig.lines.borrow(),
            [("full".to_owned(), vec![]), ("room".to_owned(), vec![1]), ("1".to_owned(), vec![1])]
        );
    }

    // spec: ARC-3, CLI-5
    #[test]
    fn who_asked_for_what_a_full_disk_holds_up_is_told_at_once_and_nothing_is_said_to_be_done() {
        let mut rig = rig();
        let answer = Output::Answer(CommandId(7), Ok(mesh_node::Answer::Done));
        rig.driver.brain.0.borrow_mut().extend([answer, tell("an offer"), keep(1)]);
        rig.kept.0.lock().unwrap().0.fail_next_commit();
        rig.driver.settle(&mut VecDeque::new()).unwrap();
        let line = |text: &str, kept: &[u8]| (text.to_owned(), kept.to_vec());
        let expected = [line("full", &[]), line("later", &[]), line("room", &[1]), line("an offer", &[1])];
        assert_eq!(*rig.lines.borrow(), expected);
    }

    // spec: LED-6
    #[test]
    fn who_reads_goes_on_reading_on_a_full_disk() {
        let mut rig = rig();
        let (wanted, reads) = mpsc::channel(1);
        rig.driver.reads = reads;
        let (answer, mut answered) = oneshot::channel();
        wanted.try_send(Read { author: PublicKey([1; 32]), from: 0, max_bytes: 1, answer }).unwrap();
        rig.kept.0.lock().unwrap().0.fail_next_commit();
        rig.driver.settle(&mut VecDeque::from([Input::Wake])).unwrap();
        assert_eq!(answered.try_recv(), Ok(Ok(vec![])));
    }

    // spec: ARC-3
    #[test]
    fn told_to_end_on_a_full_disk_it_ends_and_says_nothing_that_it_cannot_keep() {
        let mut rig = rig();
        rig.stop.send(true).unwrap();
        rig.kept.0.lock().unwrap().0.fail_next_commit();
        let error = rig.driver.settle(&mut VecDeque::from([Input::Wake])).unwrap_err();
        assert!(matches!(error, DriverError::Unkept));
        assert_eq!(*rig.lines.borrow(), [("full".to_owned(), vec![])]);
    }

    /// A store whose database is lost.
    struct Lost;

    impl Store for Lost {
        fn commit(&mut self, _: &[Record]) -> Result<(), CommitError> {
            Err(CommitError::Lost(Fault::Damaged("its stamp has no meaning".into())))
        }

        fn load(&self, _: &mut dyn FnMut(Loaded<'_>)) -> Result<(), LoadError> {
            Ok(())
        }

        fn entries(&self, _: &PublicKey, _: u64, _: usize) -> Result<Vec<Vec<u8>>, LoadError> {
            Ok(vec![])
        }

        fn size(&self) -> Size {
            Size::default()
        }
    }

    // spec: LED-8
    #[test]
    fn a_lost_database_ends_it_and_nothing_leaves() {
        let Rig { driver, lines, _runtime, stop: _stop, .. } = rig();
        let Driver { brain, hands, runtime, arrivals, questions, reads, stop, .. } = driver;
        let mut driver = Driver { brain, hands, store: Lost, runtime, arrivals, questions, reads, stop };
        let error = driver.settle(&mut VecDeque::from([Input::Wake])).unwrap_err();
        assert!(matches!(error, DriverError::Commit(CommitError::Lost(_))));
        assert!(lines.borrow().is_empty());
    }

    /// Has something more to do whenever it has done something, so often, and then tells the driver to stop.
    struct Busy {
        left: RefCell<u32>,
        more: mpsc::Sender<Arrival>,
        stop: watch::Sender<bool>,
    }

    impl Brain for Busy {
        fn handle(&self, _: Now, input: Input) {
            if !matches!(input, Input::Wake) {
                return;
            }
            let mut left = self.left.borrow_mut();
            *left = left.saturating_sub(1);
            match *left {
                0 => drop(self.stop.send_replace(true)),
                _ => self.more.try_send(Input::Wake.into()).unwrap(),
            }
        }

        fn poll(&self) -> Option<Output> {
            None
        }

        fn deadline(&self) -> Option<u64> {
            None
        }

        fn passes_on(&self, _: &Entry) -> Option<u64> {
            None
        }
    }

    fn question() -> (Question, oneshot::Receiver<Result<mesh_node::Answer, CommandError>>) {
        let (answer, answered) = oneshot::channel();
        (Question { command: mesh_node::Command::Status, answer }, answered)
    }

    // spec: CLI-5
    #[test]
    fn who_asks_gets_a_turn_however_much_there_is_to_do() {
        let Rig { driver, stop, lines, .. } = rig();
        let Driver { hands, store, stop: stopped, .. } = driver;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (more, arrivals) = mpsc::channel(MAX_WAITING);
        for _ in 0..MAX_WAITING {
            more.try_send(Input::Wake.into()).unwrap();
        }
        let (ask, questions) = mpsc::channel(2);
        let ((first, _first), (second, _second)) = (question(), question());
        ask.try_send(first).unwrap();
        ask.try_send(second).unwrap();
        let driver = Driver {
            brain: Busy { left: RefCell::new(3 * MAX_WAITING as u32), more, stop },
            hands,
            store,
            runtime: runtime.handle().clone(),
            arrivals,
            questions,
            reads: mpsc::channel(1).1,
            stop: stopped,
        };
        driver.run().unwrap();
        assert_eq!(lines.borrow().iter().filter(|(text, _)| text == "asked").count(), 2);
    }

    // Whoever imports a ledger asks when it has sent it, and looks at what was taken when that is answered.
    // spec: LED-6
    #[test]
    fn a_question_comes_after_all_that_arrived_before_it() {
        let mut rig = rig();
        let (more, arrivals) = mpsc::channel(MAX_WAITING);
        let (ask, questions) = mpsc::channel(1);
        (rig.driver.arrivals, rig.driver.questions) = (arrivals, questions);
        for _ in 0..MAX_WAITING {
            more.try_send(Input::Wake.into()).unwrap();
        }
        ask.try_send(question().0).unwrap();
        let mut then = VecDeque::new();
        rig.driver.gather(Vec::new(), &mut then);
        assert_eq!(then.len(), MAX_WAITING + 1);
        assert!(matches!(then.back(), Some(Input::Disconnected { .. })));
        // It was taken up before it arrived, and is handled after it.
        more.try_send(Input::Wake.into()).unwrap();
        then.clear();
        rig.driver.gather(vec![question().0], &mut then);
        assert!(matches!(then.make_contiguous(), [Input::Wake, Input::Disconnected { .. }]));
    }

    #[test]
    fn who_reads_gets_a_turn_however_much_there_is_to_do() {
        let Rig { driver, stop, .. } = rig();
        let Driver { hands, store, stop: stopped, .. } = driver;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (more, arrivals) = mpsc::channel(1);
        let (wanted, reads) = mpsc::channel(2);
        more.try_send(Input::Wake.into()).unwrap();
        let mut answers = Vec::new();
        for from in 0..2 {
            let (answer, answered) = oneshot::channel();
            wanted.try_send(Read { author: PublicKey([1; 32]), from, max_bytes: 1, answer }).unwrap();
            answers.push(answered);
        }
        let driver = Driver {
            brain: Busy { left: RefCell::new(10), more, stop },
            hands,
            store,
            runtime: runtime.handle().clone(),
            arrivals,
            questions: mpsc::channel(1).1,
            reads,
            stop: stopped,
        };
        driver.run().unwrap();
        for answered in &mut answers {
            assert_eq!(answered.try_recv(), Ok(Ok(vec![])));
        }
    }

    #[test]
    fn what_can_never_be_kept_ends_it() {
        let mut rig = rig();
        let value = vec![0; mesh_store::MAX_VALUE + 1];
        let record = Record::Put { table: Table::Meta, key: vec![9], value };
        rig.driver.brain.0.borrow_mut().extend([tell("never"), Output::Persist(record)]);
        assert!(matches!(rig.driver.settle(&mut VecDeque::new()), Err(DriverError::Commit(_))));
        assert!(rig.lines.borrow().is_empty());
    }
}
