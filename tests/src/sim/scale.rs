//! How a community grows: the real node and the real gossip of many peers in one thread and virtual time, with nothing
//! going wrong, and every byte that they say to each other counted.
//!
//! What is counted are the bytes of frames, where they arrive; what QUIC and the lines under it add is not in them.
// spec: NET-8

mod founding;
pub mod rumour;

use super::executor::{Way, blob_of, receipt_for, truth};
use super::known::Known;
use super::rng::Rng;
use founding::{Founding, addr_of, gives};
use mesh_gossip::{Effect, Gossip};
use mesh_node::ledger::Ledger;
use mesh_node::{
    Answer, Command, CommandId, Draft, Happening, Input, Message, Metering, Node, Now, Output, Run, RunEvent,
    SyncReceived,
};
use mesh_protocol::canonical;
use mesh_protocol::frame::{AttemptId, Frame, HelloFrame, MAX_FRAME, PeerAddrs, SyncFrame, TaskFrame};
use mesh_protocol::ids::{BlobHash, InputHash, ModuleHash, TaskId};
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Entry, EntryError};
use mesh_protocol::limits::Limits;
use mesh_protocol::permissions::Permissions;
use mesh_protocol::record::{Record, Table};
use mesh_protocol::task::{Importance, Sla};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// When the simulation begins, in milliseconds since 1970.
const BEGINS_MS: u64 = 1_790_000_000_000;
/// Everybody starts within this time.
const STARTING_MS: u64 = 30_000;
/// From then on nothing is left of the start.
const SETTLED_MS: u64 = 120_000;
/// How long each part that is measured takes.
const PART_MS: u64 = 60_000;
/// One task of the whole community in this time, while there is work.
const TASK_EVERY_MS: u64 = 2_000;
/// How long a task runs.
const RUN_MS: u64 = 1_000;
/// What a peer's transport takes at most, as the real one does by default.
const MAX_CONNECTIONS: usize = 256;
/// Peers whose addresses a device remembers from before.
const REMEMBERED: usize = 3;
/// First and longest wait before a peer that was not reached is dialled again.
const DIAL_AGAIN_MS: (u64, u64) = (500, 30_000);

/// How large a community is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Devices of as many members in its ledger.
    pub devices: usize,
    /// Those that are there.
    pub live: usize,
}

/// What a byte was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// An entry, where it was new.
    Entries,
    /// An ad to somebody who holds a grant.
    Ads,
    /// Peers that meet, and who is where.
    Hello,
    /// The comparison of logs, and entries that were there already.
    Compare,
    /// Gossip without the entries that it brought.
    Gossip,
    /// About attempts.
    Tasks,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 6] =
        [Self::Entries, Self::Ads, Self::Hello, Self::Compare, Self::Gossip, Self::Tasks];

    /// Does NET-8 let it grow as it likes?
    fn is_free(self) -> bool {
        matches!(self, Self::Entries | Self::Ads)
    }
}

/// Bytes a second of a peer, sent and received.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traffic {
    /// By what they were for, on average.
    pub of: BTreeMap<Class, f64>,
    /// Everything but entries and ads, on average.
    pub upkeep: f64,
    /// The same of the peer that has most of it.
    pub busiest: f64,
}

/// Milliseconds that something took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Took {
    /// Half of all took no longer.
    pub half: u64,
    /// Of a hundred, 99 took no longer.
    pub most: u64,
    /// The longest.
    pub longest: u64,
    /// How many there were.
    pub count: usize,
}

impl Took {
    fn of(mut all: Vec<u64>) -> Self {
        all.sort_unstable();
        let at = |part: usize| all.get((all.len().saturating_sub(1)) * part / 100).copied().unwrap_or(0);
        Self { half: at(50), most: at(99), longest: at(100), count: all.len() }
    }
}

/// What was measured of a community.
#[derive(Debug, Clone, PartialEq)]
pub struct Grown {
    /// How large it is.
    pub size: Size,
    /// While nothing happens.
    pub idle: Traffic,
    /// While the community has something to do: as much, however large it is.
    pub busy: Traffic,
    /// Entries written while it was busy.
    pub written: usize,
    /// From an entry's writing until a peer had it.
    pub heard: Took,
    /// From its writing until the last peer had it.
    pub spread: Took,
    /// From a task's submission until its run began to be prepared on another peer.
    pub placed: Took,
    /// Tasks submitted, and those that ended as they should.
    pub tasks: (usize, usize),
    /// Connections of a peer, on average, and of the one that has most.
    pub connections: (f64, usize),
    /// Do all have the same ledger in the end?
    pub equal: bool,
    /// Events of the simulation.
    pub events: u64,
}

/// Lets a community live for some minutes, and counts.
pub fn grow(size: Size, seed: u64) -> Grown {
    let mut world = World::new(size, seed);
    for number in 0..size.live {
        let at = world.rng.below(STARTING_MS);
        world.at(at, Event::Start(number));
    }
    world.run_until(SETTLED_MS);
    world.count_anew();
    world.run_until(SETTLED_MS + PART_MS);
    let idle = world.traffic();
    world.count_anew();
    world.measuring = true;
    for task in 0..PART_MS / TASK_EVERY_MS {
        world.at(world.now + task * TASK_EVERY_MS, Event::Submit);
    }
    world.run_until(SETTLED_MS + 2 * PART_MS);
    world.measuring = false;
    let busy = world.traffic();
    world.run_until(SETTLED_MS + 3 * PART_MS);
    world.told(idle, busy)
}

/// The ledger of a community, and its entries: each log in order, one log after another.
pub fn written(size: Size) -> (Ledger, Vec<Vec<u8>>) {
    let founding = Founding::new(size, &mut Rng::new(1));
    let entries = founding.entries.into_values().flatten().collect();
    (founding.ledger, entries)
}

type Number = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Hello,
    Sync,
    Gossip,
    Task(AttemptId),
}

#[derive(Debug)]
enum Event {
    Start(Number),
    Wake(Number),
    Arrive { from: Number, to: Number, channel: Channel, bytes: Vec<u8> },
    Dial { from: Number, to: Number, tries: u32 },
    Run(Number, AttemptId, RunEvent),
    Fetched(Number, u64, AttemptId, BlobHash),
    Submit,
}

#[derive(Default)]
struct Peer {
    node: Option<(Node, Gossip)>,
    /// Whom it is connected to.
    with: BTreeSet<Number>,
    wanted: BTreeSet<Number>,
    wake_at: Option<u64>,
    bytes: BTreeMap<Class, u64>,
}

struct World {
    rng: Rng,
    now: u64,
    base: Instant,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    size: Size,
    founding: Founding,
    index: BTreeMap<PublicKey, Number>,
    peers: Vec<Peer>,
    known: RefCell<Known>,
    measuring: bool,
    counted_since: u64,
    /// When an entry was written, and when each peer had it.
    written: BTreeMap<(PublicKey, u64), (u64, Vec<u64>)>,
    submitted: BTreeMap<TaskId, u64>,
    placed: BTreeMap<TaskId, u64>,
    done: BTreeSet<TaskId>,
    commands: u64,
}

impl World {
    fn new(size: Size, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let founding = Founding::new(size, &mut rng);
        let index = founding.devices.iter().enumerate().map(|(number, it)| (it.public, number)).collect();
        Self {
            rng,
            now: 0,
            base: Instant::now(),
            queue: BTreeMap::new(),
            events: 0,
            size,
            founding,
            index,
            peers: (0..size.live).map(|_| Peer::default()).collect(),
            known: RefCell::default(),
            measuring: false,
            counted_since: 0,
            written: BTreeMap::new(),
            submitted: BTreeMap::new(),
            placed: BTreeMap::new(),
            done: BTreeSet::new(),
            commands: 0,
        }
    }

    fn at(&mut self, at: u64, event: Event) {
        self.events += 1;
        self.queue.insert((at.max(self.now), self.events), event);
    }

    fn run_until(&mut self, end: u64) {
        while let Some(first) = self.queue.first_entry().filter(|first| first.key().0 <= end) {
            let ((at, _), event) = first.remove_entry();
            self.now = self.now.max(at);
            self.apply(event);
        }
        self.now = end;
    }

    fn moment(&self) -> Now {
        Now { boot_ms: self.now + 1, wall_ms: BEGINS_MS + self.now }
    }

    fn instant(&self) -> Instant {
        self.base + Duration::from_millis(self.now)
    }

    /// How long bytes take from one to the other: always the same, so that they stay in order.
    fn delay(a: Number, b: Number) -> u64 {
        let pair = (a.min(b) as u64) << 32 | a.max(b) as u64;
        Rng::new(pair).within(10, 60)
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Start(number) => self.start(number),
            Event::Wake(number) => {
                if self.peers[number].wake_at.is_some_and(|at| at <= self.now) {
                    self.peers[number].wake_at = None;
                    self.handle(number, Input::Wake);
                }
            }
            Event::Arrive { from, to, channel, bytes } => self.arrive(from, to, channel, &bytes),
            Event::Dial { from, to, tries } => self.dial(from, to, tries),
            Event::Run(number, attempt, what) => self.handle(number, Input::Run(attempt, what)),
            Event::Fetched(number, fetch, attempt, hash) => {
                self.handle(number, Input::Fetched(fetch, attempt, hash, Ok(())));
            }
            Event::Submit => self.submit(),
        }
    }

    fn start(&mut self, number: Number) {
        let device = &self.founding.devices[number];
        let now = self.moment();
        let mut node = Node::new(device.config(), now);
        node.restore_ledger(self.founding.ledger.clone());
        let gossip = Gossip::new(device.public, self.rng.bytes(), self.instant());
        let mut known = BTreeSet::new();
        while known.len() < REMEMBERED.min(self.size.live) {
            known.insert(self.rng.index(self.size.live));
        }
        for other in known.into_iter().filter(|other| *other != number) {
            let peer = self.founding.devices[other].public;
            let value = canonical::encode(&PeerAddrs { peer, addrs: vec![addr_of(other)] });
            node.restore_value(Table::Peers, &peer.0, &value);
        }
        node.start(now, false);
        self.peers[number].node = Some((node, gossip));
        self.go_on(number, VecDeque::new());
    }

    // ---- the driver ----

    fn handle(&mut self, number: Number, input: Input) {
        self.go_on(number, VecDeque::from([input]));
    }

    /// Handles inputs and all that follows from them here.
    fn go_on(&mut self, number: Number, mut inputs: VecDeque<Input>) {
        let (now, instant) = (self.moment(), self.instant());
        loop {
            while let Some(output) = self.peers[number].node.as_mut().and_then(|(node, _)| node.poll()) {
                self.carry_out(number, output, &mut inputs);
            }
            if let Some((_, gossip)) = &mut self.peers[number].node
                && gossip.deadline().is_some_and(|at| at <= instant)
            {
                let effects = gossip.wake(instant);
                self.effects(number, effects, &mut inputs);
            }
            let Some(input) = inputs.pop_front() else { break };
            let Some((node, _)) = &mut self.peers[number].node else { return };
            node.handle(now, input);
        }
        self.arm(number);
    }

    fn arm(&mut self, number: Number) {
        let Some((node, gossip)) = &self.peers[number].node else { return };
        let gossip = gossip.deadline().map(|at| {
            let wait = at.saturating_duration_since(self.base);
            u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
        });
        let due = node.deadline().map(|at| at.saturating_sub(1));
        let Some(at) = due.into_iter().chain(gossip).min() else { return };
        let at = at.max(self.now + 1);
        if self.peers[number].wake_at.is_none_or(|before| before > at) {
            self.peers[number].wake_at = Some(at);
            self.at(at, Event::Wake(number));
        }
    }

    fn effects(&mut self, number: Number, effects: Vec<Effect>, inputs: &mut VecDeque<Input>) {
        for effect in effects {
            match effect {
                Effect::Send(to, bytes) => self.post(number, &to, Channel::Gossip, bytes.to_vec()),
                Effect::Entry(from, entry) => inputs.push_back(Input::Gossip(from, entry)),
            }
        }
    }

    fn gossip(
        &mut self,
        number: Number,
        inputs: &mut VecDeque<Input>,
        act: impl FnOnce(&mut Gossip, Instant) -> Vec<Effect>,
    ) {
        let instant = self.instant();
        let Some((_, gossip)) = &mut self.peers[number].node else { return };
        let effects = act(gossip, instant);
        self.effects(number, effects, inputs);
    }

    fn carry_out(&mut self, number: Number, output: Output, inputs: &mut VecDeque<Input>) {
        match output {
            Output::Persist(record) => self.keep(record),
            Output::Send(to, message) => {
                let (channel, bytes) = match message {
                    Message::Hello(frame) => (Channel::Hello, frame.encode()),
                    Message::Sync(frame) => (Channel::Sync, frame.encode()),
                    Message::Task(attempt, frame) => (Channel::Task(attempt), frame.encode()),
                };
                self.post(number, &to, channel, bytes);
            }
            Output::Spread(entry) => {
                self.gossip(number, inputs, |gossip, now| gossip.spread(&entry, now));
            }
            Output::SendEntries { to, author, from, until } => {
                self.send_entries(number, &to, &author, from, until);
            }
            Output::Read { author, seq } => {
                let stored = self.founding.entries.get(&author).and_then(|log| log.get(seq as usize));
                if let Some(entry) = stored.and_then(|bytes| Entry::trusted(bytes).ok()) {
                    inputs.push_back(Input::Stored(Box::new(entry)));
                }
            }
            Output::Run(run) => self.run(number, &run),
            Output::Pause(attempt) => inputs.push_back(Input::Run(attempt, RunEvent::Paused)),
            Output::Resume(attempt) => inputs.push_back(Input::Run(attempt, RunEvent::Resumed)),
            Output::Stop(attempt) => inputs.push_back(Input::Run(attempt, RunEvent::Spent(None))),
            Output::Fetch { number: fetch, attempt, blob, from, .. } => {
                let there = self.index.get(&from).map_or(0, |from| Self::delay(number, *from));
                self.at(self.now + 2 * there, Event::Fetched(number, fetch, attempt, blob.hash));
            }
            Output::Dial(peer, addrs) => {
                let Some(to) = self.index.get(&peer).copied() else { return };
                if to < self.size.live && addrs.contains(&addr_of(to)) && self.peers[number].wanted.insert(to)
                {
                    self.at(
                        self.now + 3 * Self::delay(number, to),
                        Event::Dial { from: number, to, tries: 0 },
                    );
                }
            }
            Output::Standing(peer, member) => {
                let there = self.index.get(&peer).is_some_and(|peer| self.peers[number].with.contains(peer));
                self.gossip(number, inputs, |gossip, now| match member && there {
                    true => gossip.up(peer, now),
                    false => gossip.down(peer, now),
                });
            }
            Output::Belongs(community) => {
                self.gossip(number, inputs, |gossip, now| gossip.belongs(community, now));
            }
            Output::Answer(_, answer) => {
                if let Ok(Answer::Submitted { task, .. }) = answer {
                    self.submitted.insert(task, self.now);
                }
            }
            // Its checks are told of, too, after it ended.
            Output::Tell(Happening::Task { task, state, .. }) if state == "done" => {
                self.done.insert(task);
            }
            Output::Unfetch(_)
            | Output::Close(..)
            | Output::Release(_)
            | Output::Forget(_)
            | Output::Ask(_)
            | Output::Tell(_) => {}
        }
    }

    fn keep(&mut self, record: Record) {
        let Record::Entry { author, seq, own, bytes } = record else { return };
        if own {
            if self.measuring {
                self.written.insert((author, seq), (self.now, Vec::new()));
            }
            let log = self.founding.entries.entry(author).or_default();
            if log.len() as u64 == seq {
                log.push(bytes);
            }
        } else if let Some((_, heard)) = self.written.get_mut(&(author, seq)) {
            heard.push(self.now);
        }
    }

    // ---- work ----

    fn submit(&mut self) {
        let asking: Vec<Number> = (0..self.size.live).filter(|number| !gives(*number)).collect();
        let number = asking[self.rng.index(asking.len())];
        self.commands += 1;
        let draft = Draft {
            description: String::new(),
            name: "word-count".into(),
            module: ModuleHash([7; 32]),
            module_len: 100,
            args: vec![],
            env: vec![],
            stdin: None,
            inputs: vec![],
            input: InputHash([8; 32]),
            limits: Limits { duration_ms: 60_000, ..Limits::default() },
            permissions: Permissions::default(),
            sla: Sla::Normal,
            importance: Some(Importance::Normal),
            followed: false,
            nonce: self.rng.bytes(),
            on: None,
            dry_run: false,
            start_by_ms: None,
            finish_by_ms: None,
            replicas: 1,
            quorum: 1,
        };
        let command = Command::Submit(Box::new(draft));
        self.handle(number, Input::Command(CommandId(self.commands), Box::new(command)));
    }

    fn run(&mut self, number: Number, run: &Run) {
        self.placed.entry(run.attempt.task).or_insert(self.now);
        let blob = blob_of(truth(run));
        let ended = RunEvent::Ended(Box::new(receipt_for(run, Way::Well)), blob, Metering::default());
        self.at(self.now + 20, Event::Run(number, run.attempt, RunEvent::Started));
        self.at(self.now + 20 + RUN_MS, Event::Run(number, run.attempt, ended));
    }

    // ---- lines ----

    fn dial(&mut self, from: Number, to: Number, tries: u32) {
        if self.peers[from].with.contains(&to) {
            return;
        }
        let full = |peer: &Peer| peer.node.is_none() || peer.with.len() >= MAX_CONNECTIONS;
        if full(&self.peers[from]) || full(&self.peers[to]) {
            let wait = DIAL_AGAIN_MS.0.saturating_mul(1 << tries.min(10)).min(DIAL_AGAIN_MS.1);
            let wait = wait + self.rng.below(wait / 4);
            return self.at(self.now + wait, Event::Dial { from, to, tries: tries + 1 });
        }
        for (at, other) in [(from, to), (to, from)] {
            self.peers[at].with.insert(other);
        }
        for (at, other) in [(from, to), (to, from)] {
            let peer = self.founding.devices[other].public;
            self.handle(at, Input::Connected { peer, addr: addr_of(other) });
        }
    }

    fn post(&mut self, from: Number, to: &PublicKey, channel: Channel, bytes: Vec<u8>) {
        let Some(to) = self.index.get(to).copied().filter(|to| self.peers[from].with.contains(to)) else {
            return;
        };
        self.at(self.now + Self::delay(from, to), Event::Arrive { from, to, channel, bytes });
    }

    fn send_entries(&mut self, number: Number, to: &PublicKey, author: &PublicKey, from: u64, until: u64) {
        let log = self.founding.entries.get(author).map_or(&[][..], |log| &log[..]);
        let part = log.iter().take(until as usize).skip(from as usize);
        let (mut frames, mut piece, mut bytes) = (Vec::new(), Vec::new(), 0);
        for entry in part {
            if bytes + entry.len() > MAX_FRAME / 2 {
                frames.push(SyncFrame::Entries(std::mem::take(&mut piece)));
                bytes = 0;
            }
            bytes += entry.len();
            piece.push(entry.clone());
        }
        if !piece.is_empty() {
            frames.push(SyncFrame::Entries(piece));
        }
        for frame in frames {
            self.post(number, to, Channel::Sync, frame.encode());
        }
    }

    fn read(&self, bytes: &[u8]) -> Result<Entry, EntryError> {
        // It says why where it is none.
        self.known.borrow_mut().read(bytes).map_or_else(|| Entry::verify(bytes), Ok)
    }

    fn arrive(&mut self, from: Number, to: Number, channel: Channel, bytes: &[u8]) {
        let peer = self.founding.devices[from].public;
        let mut inputs = VecDeque::new();
        let mut new = 0;
        let class = match channel {
            Channel::Hello => {
                let frame = HelloFrame::decode(bytes).expect("an honest peer's frame");
                let class = if matches!(frame, HelloFrame::Ad(_)) { Class::Ads } else { Class::Hello };
                inputs.push_back(Input::Hello(peer, frame));
                class
            }
            Channel::Sync => {
                let received = match SyncFrame::decode(bytes).expect("an honest peer's frame") {
                    SyncFrame::Entries(entries) => {
                        let read = |bytes: &Vec<u8>| self.read(bytes).expect("an honest peer's entry");
                        let entries: Vec<Entry> = entries.iter().map(read).collect();
                        let node = self.peers[to].node.as_ref().map(|(node, _)| node);
                        let lacks =
                            |entry: &&Entry| node.is_some_and(|node| !node.ledger().has(&entry.tip()));
                        new = entries.iter().filter(lacks).map(|entry| entry.bytes().len()).sum();
                        SyncReceived::Entries(entries)
                    }
                    frame => SyncReceived::Frame(frame),
                };
                inputs.push_back(Input::Sync(peer, received));
                Class::Compare
            }
            Channel::Task(attempt) => {
                let frame = TaskFrame::decode(bytes).expect("an honest peer's frame");
                inputs.push_back(Input::Task(peer, attempt, frame));
                Class::Tasks
            }
            Channel::Gossip => {
                let heard =
                    mesh_gossip::read(bytes, |bytes| self.read(bytes)).expect("an honest peer's gossip");
                let brings = heard.entry().map(|entry| (entry.tip(), entry.bytes().len()));
                let mut per_hour = None;
                if let (Some((tip, len)), Some((node, _))) = (brings, &self.peers[to].node) {
                    new = if node.ledger().has(&tip) { 0 } else { len };
                    per_hour = heard.entry().and_then(|entry| node.passes_on(entry));
                }
                self.gossip(to, &mut inputs, |gossip, now| gossip.hear(peer, heard, per_hour, now));
                Class::Gossip
            }
        };
        for number in [from, to] {
            let counted = &mut self.peers[number].bytes;
            *counted.entry(Class::Entries).or_default() += new as u64;
            *counted.entry(class).or_default() += (bytes.len() - new) as u64;
        }
        self.go_on(to, inputs);
    }

    // ---- what came of it ----

    fn count_anew(&mut self) {
        self.counted_since = self.now;
        self.peers.iter_mut().for_each(|peer| peer.bytes.clear());
    }

    fn traffic(&self) -> Traffic {
        let seconds = (self.now - self.counted_since) as f64 / 1000.0;
        let upkeep = |peer: &Peer| {
            let of = peer.bytes.iter().filter(|(class, _)| !class.is_free());
            of.map(|(_, bytes)| *bytes).sum::<u64>() as f64 / seconds
        };
        let mean = |sum: f64| sum / self.peers.len() as f64;
        let of = |class: &Class| {
            let bytes: u64 = self.peers.iter().filter_map(|peer| peer.bytes.get(class)).sum();
            mean(bytes as f64 / seconds)
        };
        Traffic {
            of: Class::ALL.iter().map(|class| (*class, of(class))).collect(),
            upkeep: mean(self.peers.iter().map(upkeep).sum()),
            busiest: self.peers.iter().map(upkeep).fold(0.0, f64::max),
        }
    }

    fn told(self, idle: Traffic, busy: Traffic) -> Grown {
        let others = self.size.live - 1;
        let heard = self.written.values().flat_map(|(at, heard)| heard.iter().map(move |then| then - at));
        let all = self.written.values().filter(|(_, heard)| heard.len() == others);
        let spread = all.filter_map(|(at, heard)| Some(heard.iter().max()? - at));
        let placed = self.submitted.iter().filter_map(|(task, at)| Some(self.placed.get(task)? - at));
        let nodes = || self.peers.iter().filter_map(|peer| peer.node.as_ref()).map(|(node, _)| node);
        let first = nodes().next().map(|node| node.ledger().digest(&[]));
        let connections = self.peers.iter().map(|peer| peer.with.len());
        Grown {
            size: self.size,
            idle,
            busy,
            written: self.written.len(),
            heard: Took::of(heard.collect()),
            spread: Took::of(spread.collect()),
            placed: Took::of(placed.collect()),
            tasks: (self.submitted.len(), self.done.len()),
            connections: (
                connections.clone().sum::<usize>() as f64 / self.peers.len() as f64,
                connections.max().unwrap_or(0),
            ),
            equal: nodes().all(|node| Some(node.ledger().digest(&[])) == first),
            events: self.events,
        }
    }
}
