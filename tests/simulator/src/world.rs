//! The world: peers, links between them, time, and what happens next.

use crate::checks::{self, Seen};
use crate::disk::Disk;
use crate::random::Random;
use crate::tasks;
use crate::wire::{Channel, Packet};
use mesh_node::{
    Answer, Capacity, Command, CommandError, CommandId, Config, Input, Node, Now, Output, RunEvent, SyncReceived,
};
use mesh_protocol::frame::{AttemptId, Frame, SyncFrame, TaskFrame};
use mesh_protocol::key::{PublicKey, SecretKey};
use mesh_protocol::ledger::{Entry, Pattern};
use mesh_protocol::receipt::Receipt;
use mesh_protocol::task::Blob;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// The wall clock at the beginning of every run.
const EPOCH_MS: u64 = 1_790_000_000_000;
/// How long after a link fell silent its ends notice.
const IDLE_MS: u64 = 30_000;
/// How often peers that are apart try to meet.
const MEET_MS: u64 = 1_000;

/// A fault built in on purpose, to see whether the checks find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// Frames leave before what they promise is durable.
    SendBeforePersist,
    /// What is committed is sometimes not kept.
    ForgetCommits,
    /// After a crash the last own entry is gone, and nobody is asked.
    LoseOwnTail,
    /// A stopped guest goes on, and its end is told.
    IgnoreStop,
    /// Results are told for the attempt that counts now, whoever made them.
    RelabelResults,
    /// Disks that are full seem to take everything.
    IgnoreFullDisk,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::SendBeforePersist,
        Self::ForgetCommits,
        Self::LoseOwnTail,
        Self::IgnoreStop,
        Self::RelabelResults,
        Self::IgnoreFullDisk,
    ];
}

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// The check that failed, with what it saw.
    pub failure: Option<String>,
    /// A hash of everything that happened.
    pub trace: [u8; 32],
    /// Everything that happened, if it was to be kept.
    pub log: Vec<String>,
    /// How often each fault struck, and what else was counted.
    pub counts: BTreeMap<&'static str, u64>,
}

/// A run of the executor.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) run: mesh_node::Run,
    pub(crate) number: u64,
    pub(crate) left_ms: u64,
    pub(crate) since: Option<u64>,
    pub(crate) stopped: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Event {
    Wake(usize, u64),
    Packet { from: usize, to: usize, session: u64, packet: Packet },
    Input(usize, u64, Box<Input>),
    Down { at: usize, peer: usize, session: u64 },
    JobDone { at: usize, epoch: u64, number: u64 },
    Restart(usize),
    Retry(usize, u64),
    Meet,
    Act,
    Heal,
}

pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) secret: [u8; 32],
    pub(crate) key: PublicKey,
    pub(crate) node: Option<Node>,
    pub(crate) disk: Disk,
    pub(crate) epoch: u64,
    pub(crate) boot_ms: u64,
    pub(crate) skew_ms: i64,
    pub(crate) asleep_until: u64,
    pub(crate) full: bool,
    pub(crate) held: VecDeque<Vec<Output>>,
    pub(crate) jobs: BTreeMap<AttemptId, Job>,
    pub(crate) honest: bool,
    pub(crate) lies: bool,
    pub(crate) wake_at: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Link {
    pub(crate) session: u64,
    pub(crate) up: bool,
    pub(crate) cut: [bool; 2],
    last: BTreeMap<(usize, Channel), u64>,
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) now: u64,
    pub(crate) peers: Vec<Peer>,
    pub(crate) links: BTreeMap<(usize, usize), Link>,
    queue: BTreeMap<(u64, u64), Event>,
    counter: u64,
    pub(crate) faults: bool,
    pub(crate) seen: Seen,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) bug: Option<Bug>,
    pub(crate) answers: BTreeMap<u64, (usize, Result<Answer, CommandError>)>,
    pub(crate) recorded: Vec<(usize, usize, Packet)>,
    commands: u64,
    jobs: u64,
    verbose: bool,
    log: Vec<String>,
    trace: blake3::Hasher,
    failure: Option<String>,
    pub(crate) rest_ms: u64,
}

pub(crate) fn addr(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 1000 + number as u16))
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

const NAMES: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];

/// Runs one seed. `verbose`: keep everything that happens.
pub fn run(seed: u64, bug: Option<Bug>, verbose: bool) -> Run {
    let mut world = World::new(seed, bug, verbose);
    world.settle();
    world.push(0, Event::Act);
    world.push(0, Event::Meet);
    let chaos = world.random.between(60_000, 240_000);
    world.push(chaos, Event::Heal);
    while world.failure.is_none() && world.step() {}
    if world.failure.is_none() {
        let found = checks::at_rest(&world);
        world.fails(found);
    }
    Run {
        seed,
        failure: world.failure,
        trace: *world.trace.finalize().as_bytes(),
        log: world.log,
        counts: world.counts,
    }
}

impl World {
    fn new(seed: u64, bug: Option<Bug>, verbose: bool) -> Self {
        let mut random = Random::new(seed);
        let count = random.between(3, NAMES.len() as u64) as usize;
        let peers = NAMES[..count].iter().map(|name| {
            let secret = random.bytes();
            Peer {
                name,
                secret,
                key: SecretKey::from_seed(&secret).public(),
                node: None,
                disk: Disk::default(),
                epoch: 0,
                boot_ms: random.below(1_000_000),
                skew_ms: random.below(60_000) as i64 - 30_000,
                asleep_until: 0,
                full: false,
                held: VecDeque::new(),
                jobs: BTreeMap::new(),
                honest: true,
                lies: false,
                wake_at: u64::MAX,
            }
        });
        Self {
            peers: peers.collect(),
            random,
            now: 0,
            links: BTreeMap::new(),
            queue: BTreeMap::new(),
            counter: 0,
            faults: false,
            seen: Seen::default(),
            counts: BTreeMap::new(),
            bug,
            answers: BTreeMap::new(),
            recorded: Vec::new(),
            commands: 0,
            jobs: 0,
            verbose,
            log: Vec::new(),
            trace: blake3::Hasher::new(),
            failure: None,
            rest_ms: u64::MAX,
        }
    }

    // ---- bookkeeping ----

    pub(crate) fn push(&mut self, after_ms: u64, event: Event) {
        self.counter += 1;
        self.queue.insert((self.now + after_ms, self.counter), event);
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        let line = line();
        self.trace.update(&self.now.to_le_bytes()).update(line.as_bytes());
        if self.verbose {
            self.log.push(format!("{:>9} {line}", self.now));
        }
    }

    pub(crate) fn fails(&mut self, found: Result<(), String>) {
        if let Err(what) = found
            && self.failure.is_none()
        {
            self.note(|| format!("FAILED {what}"));
            self.failure = Some(format!("at {} ms: {what}", self.now));
        }
    }

    pub(crate) fn clock(&self, number: usize) -> Now {
        let peer = &self.peers[number];
        let wall = (EPOCH_MS + self.now).saturating_add_signed(peer.skew_ms);
        Now { boot_ms: peer.boot_ms + self.now, wall_ms: wall }
    }

    pub(crate) fn number(&self, key: &PublicKey) -> Option<usize> {
        self.peers.iter().position(|peer| peer.key == *key)
    }

    // ---- life of a peer ----

    pub(crate) fn start(&mut self, number: usize, unclean: bool) {
        let now = self.clock(number);
        let seed = self.random.bytes();
        let peer = &mut self.peers[number];
        peer.epoch += 1;
        let config = Config {
            device: SecretKey::from_seed(&peer.secret),
            user: Some(user_key(&peer.secret)),
            user_name: peer.name.into(),
            recovery: PublicKey([3; 32]),
            device_name: format!("{}-laptop", peer.name),
            profile: tasks::profile().id(),
            walls: vec![],
            place: None,
            capacity: Capacity { slots: 2, memory: 1 << 30, longest_ms: 3_600_000 },
            accepts: Pattern::new("*").into_iter().collect(),
            energy: None,
            addrs: vec![addr(number)],
            seed,
        };
        let mut node = Node::new(config, now);
        for ((table, key), value) in &peer.disk.values {
            node.restore_value(*table, key, value);
        }
        for bytes in peer.disk.entries.values() {
            node.restore_entry(bytes);
        }
        node.start(now, unclean && self.bug != Some(Bug::LoseOwnTail));
        peer.node = Some(node);
        peer.wake_at = u64::MAX;
        self.note(|| format!("{number} starts"));
        self.drain(number);
    }

    /// Everything that is not on the disk is gone.
    pub(crate) fn crash(&mut self, number: usize) {
        if self.peers[number].node.take().is_none() {
            return;
        }
        self.count("crash");
        self.note(|| format!("{number} crashes"));
        let peer = &mut self.peers[number];
        peer.epoch += 1;
        peer.held.clear();
        peer.jobs.clear();
        if self.bug == Some(Bug::LoseOwnTail) {
            let last = peer.disk.entries.range((peer.key, 0)..=(peer.key, u64::MAX)).next_back();
            if let Some((at, _)) = last.map(|(at, bytes)| (*at, bytes.clone()))
                && at.1 > 4
            {
                peer.disk.entries.remove(&at);
            }
        }
        for other in 0..self.peers.len() {
            self.drop_link(number, other, 1, 500);
        }
        let after = self.random.between(50, 20_000);
        self.push(after, Event::Restart(number));
    }

    pub(crate) fn drop_link(&mut self, a: usize, b: usize, from_ms: u64, to_ms: u64) {
        let Some(link) = self.links.get_mut(&pair(a, b)).filter(|link| link.up) else { return };
        link.up = false;
        let session = link.session;
        for (at, peer) in [(a, b), (b, a)] {
            let after = self.random.between(from_ms, to_ms);
            self.push(after, Event::Down { at, peer, session });
        }
    }

    /// Two peers meet, if nothing stands between them.
    pub(crate) fn meet(&mut self, a: usize, b: usize) {
        let alive = |number: usize| {
            self.peers[number].node.is_some() && self.peers[number].asleep_until <= self.now
        };
        if a == b || !alive(a) || !alive(b) {
            return;
        }
        let link = self.links.entry(pair(a, b)).or_default();
        if link.up || link.cut.contains(&true) {
            return;
        }
        let before = link.session;
        *link = Link { session: before + 1, up: true, ..Link::default() };
        let session = before + 1;
        self.note(|| format!("{a} and {b} meet"));
        for (at, peer) in [(a, b), (b, a)] {
            // An end that had not noticed the loss notices now.
            self.input(at, Input::Disconnected { peer: self.peers[peer].key });
            if self.links.get(&pair(a, b)).is_some_and(|link| link.up && link.session == session) {
                self.input(at, Input::Connected { peer: self.peers[peer].key, addr: addr(peer) });
            }
        }
    }

    // ---- input and output ----

    pub(crate) fn input(&mut self, number: usize, input: Input) {
        let now = self.clock(number);
        self.note(|| format!("{number} <- {}", short(&input)));
        let Some(node) = &mut self.peers[number].node else { return };
        node.handle(now, input);
        self.drain(number);
    }

    fn drain(&mut self, number: usize) {
        let mut outputs = Vec::new();
        let Some(node) = &mut self.peers[number].node else { return };
        while let Some(output) = node.poll() {
            outputs.push(output);
        }
        let deadline = node.deadline();
        if !outputs.is_empty() {
            self.peers[number].held.push_back(outputs);
            self.carry_out(number);
        }
        if let Some(at) = deadline {
            let at = at.saturating_sub(self.peers[number].boot_ms).max(self.now);
            if self.peers[number].node.is_some() && at < self.peers[number].wake_at {
                self.peers[number].wake_at = at;
                let epoch = self.peers[number].epoch;
                self.push(at - self.now, Event::Wake(number, epoch));
            }
        }
    }

    /// The driver's rule: first everything that is to be kept, as one; then the rest, in order.
    fn carry_out(&mut self, number: usize) {
        while let Some(outputs) = self.peers[number].held.pop_front() {
            let epoch = self.peers[number].epoch;
            if self.faults && self.random.once_in(2_000) {
                return self.crash(number);
            }
            let persists = outputs.iter().any(|output| matches!(output, Output::Persist(_)));
            let full = self.peers[number].full && self.bug != Some(Bug::IgnoreFullDisk);
            if persists && full {
                self.count("commit refused by a full disk");
                self.peers[number].held.push_front(outputs);
                return self.push(1_000, Event::Retry(number, epoch));
            }
            let really = !self.peers[number].full;
            let (records, rest): (Vec<Output>, Vec<Output>) =
                outputs.into_iter().partition(|output| matches!(output, Output::Persist(_)));
            let forget = self.bug == Some(Bug::ForgetCommits) && self.random.once_in(20);
            let early = self.bug == Some(Bug::SendBeforePersist);
            if early {
                self.release(number, rest.clone());
                if self.peers[number].epoch != epoch {
                    return;
                }
            }
            for output in records {
                if let Output::Persist(record) = output
                    && !forget
                    && really
                {
                    let me = self.peers[number].key;
                    let honest = self.peers[number].honest;
                    let found = self.seen.committed(&me, honest, &record);
                    self.peers[number].disk.commit(record);
                    self.fails(found);
                }
            }
            if self.faults && self.random.once_in(2_000) {
                return self.crash(number);
            }
            if !early {
                self.release(number, rest);
            }
            if self.peers[number].epoch != epoch {
                return;
            }
        }
    }

    fn release(&mut self, number: usize, outputs: Vec<Output>) {
        let epoch = self.peers[number].epoch;
        for output in outputs {
            if self.faults && self.random.once_in(4_000) {
                self.crash(number);
            }
            if self.peers[number].epoch != epoch {
                return;
            }
            self.do_one(number, output);
        }
    }

    fn do_one(&mut self, number: usize, output: Output) {
        let me = self.peers[number].key;
        match output {
            Output::Send(to, message) => {
                let Some(to) = self.number(&to) else { return };
                let found = checks::nothing_leaves_before_it_is_durable(&self.peers[number], &message);
                self.fails(found);
                let mut packet = Packet::of(&message);
                if self.peers[number].lies {
                    packet = self.lie(packet);
                }
                if self.random.once_in(50) && self.recorded.len() < 200 {
                    self.recorded.push((number, to, packet.clone()));
                }
                self.send(number, to, packet);
            }
            Output::Spread(entry) => {
                let found = checks::an_entry_is_on_disk_before_it_leaves(&self.peers[number], &entry);
                self.fails(found);
                for to in 0..self.peers.len() {
                    // Gossip may lose what finds no room.
                    if to != number && !(self.faults && self.random.once_in(10)) {
                        self.send(number, to, Packet { channel: Channel::Gossip, bytes: entry.bytes().to_vec() });
                    }
                }
            }
            Output::SendEntries { to, author, from, until } => {
                let Some(to) = self.number(&to) else { return };
                let entries: Vec<Vec<u8>> = (from..until)
                    .map_while(|seq| self.peers[number].disk.entries.get(&(author, seq)).cloned())
                    .collect();
                for piece in entries.chunks(20) {
                    let bytes = SyncFrame::Entries(piece.to_vec()).encode();
                    self.send(number, to, Packet { channel: Channel::Sync, bytes });
                }
            }
            Output::Read { author, seq } => {
                let entry = self.peers[number].disk.entries.get(&(author, seq)).cloned();
                if let Some(entry) = entry.and_then(|bytes| Entry::trusted(&bytes).ok()) {
                    let epoch = self.peers[number].epoch;
                    self.push(1, Event::Input(number, epoch, Box::new(Input::Stored(Box::new(entry)))));
                }
            }
            Output::Run(run) => self.begin(number, *run),
            Output::Pause(id) => self.hold(number, id, true),
            Output::Resume(id) => self.hold(number, id, false),
            Output::Stop(id) => {
                let ignore = self.bug == Some(Bug::IgnoreStop);
                if let Some(job) = self.peers[number].jobs.get_mut(&id) {
                    job.stopped = true;
                    if !ignore {
                        self.peers[number].jobs.remove(&id);
                    }
                }
            }
            Output::Fetch { attempt, blob, from, check } => self.fetch(number, attempt, blob, &from, check),
            Output::Dial(peer, _) => {
                if let Some(peer) = self.number(&peer) {
                    self.meet(number, peer);
                }
            }
            Output::Close(peer, _) => {
                if let Some(peer) = self.number(&peer) {
                    self.drop_link(number, peer, 1, 10);
                }
            }
            Output::Answer(id, answer) => {
                self.note(|| format!("{number} answers {answer:?}"));
                if let Ok(Answer::Submitted { task, .. }) = &answer {
                    self.seen.acknowledged.insert((me, *task));
                    self.count("submission acknowledged");
                }
                self.answers.insert(id.0, (number, answer));
            }
            _ => {}
        }
    }

    /// A peer that lies about its results.
    fn lie(&mut self, packet: Packet) -> Packet {
        let Channel::Task(id) = packet.channel else { return packet };
        let Ok(TaskFrame::Ended(mut ended)) = TaskFrame::decode(&packet.bytes) else { return packet };
        self.count("lie told");
        match self.random.below(4) {
            0 => ended.receipt.receipt.output.stdout_bytes ^= 1,
            1 => ended.statement.fuel ^= 1,
            2 => ended.receipt.receipt.task.0[0] ^= 1,
            _ => ended.statement.attempt ^= 1,
        }
        Packet { channel: Channel::Task(id), bytes: TaskFrame::Ended(ended).encode() }
    }

    pub(crate) fn send(&mut self, from: usize, to: usize, packet: Packet) {
        let way = usize::from(from > to);
        let now = self.now;
        let latency = match self.faults && self.random.once_in(20) {
            true => self.random.between(100, 5_000),
            false => self.random.between(1, 50),
        };
        let doubled = self.faults && self.random.once_in(100);
        let Some(link) = self.links.get_mut(&pair(from, to)).filter(|link| link.up) else { return };
        if link.cut[way] {
            return;
        }
        let last = link.last.entry((from, packet.channel)).or_default();
        let at = (now + latency).max(*last + 1);
        *last = at;
        let session = link.session;
        if doubled {
            self.count("frame doubled");
            self.push(at - now + 40, Event::Packet { from, to, session, packet: packet.clone() });
        }
        self.push(at - now, Event::Packet { from, to, session, packet });
    }

    // ---- the executor ----

    fn begin(&mut self, number: usize, run: mesh_node::Run) {
        let wall_ms = self.clock(number).wall_ms;
        let id = run.attempt;
        let found = checks::nothing_starts_without_a_grant(&self.peers[number], &run, wall_ms);
        self.fails(found);
        self.jobs += 1;
        let (started, epoch) = (self.random.between(1, 100), self.peers[number].epoch);
        if self.faults && self.random.once_in(20) {
            self.count("sandbox failed");
            let lost = RunEvent::Lost(mesh_protocol::reason::Reason::SandboxFailed("simulated".into()));
            return self.push(started, Event::Input(number, epoch, Box::new(Input::Run(id, lost))));
        }
        let left_ms = started + if self.random.once_in(3) { self.random.between(5_000, 50_000) } else { self.random.between(5, 800) };
        let job = Job { run, number: self.jobs, left_ms, since: Some(self.now), stopped: false };
        self.push(started, Event::Input(number, epoch, Box::new(Input::Run(id, RunEvent::Started))));
        self.push(left_ms, Event::JobDone { at: number, epoch, number: job.number });
        self.peers[number].jobs.insert(id, job);
        self.count("attempt started");
    }

    fn hold(&mut self, number: usize, id: AttemptId, hold: bool) {
        let (now, epoch) = (self.now, self.peers[number].epoch);
        let Some(job) = self.peers[number].jobs.get_mut(&id) else { return };
        let event = match (hold, job.since) {
            (true, Some(since)) => {
                job.left_ms = job.left_ms.saturating_sub(now - since).max(1);
                job.since = None;
                RunEvent::Paused
            }
            (false, None) => {
                job.since = Some(now);
                let (left, number_of_job) = (job.left_ms, job.number);
                self.push(left, Event::JobDone { at: number, epoch, number: number_of_job });
                RunEvent::Resumed
            }
            _ => return,
        };
        self.push(5, Event::Input(number, epoch, Box::new(Input::Run(id, event))));
    }

    fn job_done(&mut self, at: usize, number: u64) {
        let now = self.now;
        let done = self.peers[at].jobs.iter().find(|(_, job)| {
            job.number == number && job.since.is_some_and(|since| since + job.left_ms <= now)
        });
        let Some((id, job)) = done.map(|(id, job)| (*id, job.clone())) else { return };
        self.peers[at].jobs.remove(&id);
        let mut receipt: Receipt = tasks::receipt(&job.run);
        let mut told = id;
        if self.bug == Some(Bug::RelabelResults) {
            let newest = self.peers[at].jobs.keys().find(|other| other.task == id.task && **other != id);
            if let Some(newest) = newest {
                told = *newest;
                receipt.attempt = newest.attempt;
            }
        }
        self.input(at, Input::Run(told, RunEvent::Ended(Box::new(receipt), tasks::output())));
    }

    fn fetch(&mut self, number: usize, attempt: AttemptId, blob: Blob, from: &PublicKey, check: Option<Box<Receipt>>) {
        let epoch = self.peers[number].epoch;
        let there = self.number(from).is_some_and(|from| {
            self.links.get(&pair(number, from)).is_some_and(|link| link.up && link.cut == [false, false])
                && self.peers[from].node.as_ref().is_some_and(|node| node.may_fetch(&self.peers[number].key, &blob.hash))
        });
        let _checked_by_the_driver = check;
        let broken = self.faults && self.random.once_in(30);
        let result = if there && !broken { Ok(()) } else { Err("the transfer broke off".to_owned()) };
        let after = self.random.between(1, 300);
        self.push(after, Event::Input(number, epoch, Box::new(Input::Fetched(attempt, blob.hash, result))));
    }

    // ---- what happens ----

    /// Asks a peer and waits, in virtual time, until it has answered.
    pub(crate) fn ask(&mut self, number: usize, command: Command) -> Option<Result<Answer, CommandError>> {
        let id = self.tell(number, command);
        let end = self.now + 20_000;
        while !self.answers.contains_key(&id) && self.now < end && self.step() {}
        self.answers.remove(&id).map(|(_, answer)| answer)
    }

    /// Asks a peer; the answer comes when it comes.
    pub(crate) fn tell(&mut self, number: usize, command: Command) -> u64 {
        self.commands += 1;
        let id = self.commands;
        self.input(number, Input::Command(CommandId(id), Box::new(command)));
        id
    }

    /// One event. False when all is over.
    pub(crate) fn step(&mut self) -> bool {
        let Some(((at, _), event)) = self.queue.pop_first() else { return false };
        if at > self.rest_ms {
            return false;
        }
        self.now = at;
        if let Some((sleeper, until)) = self.sleeper(&event) {
            self.push(until - self.now + 1, event);
            let _ = sleeper;
            return true;
        }
        match event {
            Event::Wake(number, epoch) => {
                if self.peers[number].epoch == epoch {
                    self.peers[number].wake_at = u64::MAX;
                    self.input(number, Input::Wake);
                }
            }
            Event::Packet { from, to, session, packet } => {
                let link = self.links.get(&pair(from, to));
                if link.is_some_and(|link| link.session == session && (link.up || !self.faults)) {
                    match packet.input(self.peers[from].key) {
                        Some(input) => self.input(to, input),
                        None => self.fails(Err("a frame of our own did not decode".into())),
                    }
                }
            }
            Event::Input(number, epoch, input) => {
                if self.peers[number].epoch == epoch {
                    self.input(number, *input);
                }
            }
            Event::Down { at, peer, session } => {
                let link = self.links.get(&pair(at, peer));
                if link.is_some_and(|link| link.session == session && !link.up) {
                    self.input(at, Input::Disconnected { peer: self.peers[peer].key });
                }
            }
            Event::JobDone { at, epoch, number } => {
                if self.peers[at].epoch == epoch {
                    self.job_done(at, number);
                }
            }
            Event::Restart(number) => {
                if self.peers[number].node.is_none() {
                    self.start(number, true);
                }
            }
            Event::Retry(number, epoch) => {
                if self.peers[number].epoch == epoch {
                    self.carry_out(number);
                }
            }
            Event::Meet => {
                for a in 0..self.peers.len() {
                    for b in 0..a {
                        if self.seen.introduced.contains(&pair(a, b)) {
                            self.meet(a, b);
                        }
                    }
                }
                self.push(MEET_MS, Event::Meet);
            }
            Event::Act => {
                if self.faults {
                    self.act();
                }
            }
            Event::Heal => self.heal(),
        }
        let found = checks::always(self);
        self.fails(found);
        self.failure.is_none()
    }

    fn sleeper(&self, event: &Event) -> Option<(usize, u64)> {
        let number = match event {
            Event::Wake(number, _) | Event::Input(number, ..) | Event::Retry(number, _) => *number,
            Event::Packet { to, .. } => *to,
            Event::Down { at, .. } | Event::JobDone { at, .. } => *at,
            _ => return None,
        };
        let until = self.peers[number].asleep_until;
        (until > self.now).then_some((number, until))
    }

    /// Founds a community, lets everybody in, and gives grants.
    fn settle(&mut self) {
        use mesh_protocol::invite::TicketKind;
        for number in 0..self.peers.len() {
            self.start(number, false);
        }
        let rules = mesh_protocol::rules::Rules { max_attempts: 20, entries_per_hour: 0, ..Default::default() };
        self.ask(0, Command::Found { name: "Street".into(), rules: Box::new(rules) });
        for number in 1..self.peers.len() {
            let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 600_000, addrs: vec![addr(0)] };
            let Some(Ok(Answer::Ticket(ticket))) = self.ask(0, invite) else {
                return self.fails(Err("a founder could not invite".into()));
            };
            self.seen.introduced.insert(pair(0, number));
            let joined = self.ask(number, Command::Join { ticket: ticket.clone() });
            let pending = match joined {
                Some(Ok(Answer::Joined { pending, .. })) => pending,
                other => return self.fails(Err(format!("{number} could not join: {other:?}"))),
            };
            if pending {
                // The fourth member on needs two who vouch.
                let name = self.peers[number].name.to_owned();
                self.pass(2_000);
                self.ask(1, Command::Sponsor { user: name });
                self.pass(8_000);
                if !self.peers[number].node.as_ref().is_some_and(|node| node.ledger().governance().owner(&self.peers[number].key).is_some()) {
                    return self.fails(Err(format!("{number} was vouched for twice and is not in")));
                }
            }
            for other in 0..number {
                self.seen.introduced.insert(pair(other, number));
                self.meet(other, number);
            }
            self.pass(3_000);
        }
        for on in 0..self.peers.len() {
            for user in 0..self.peers.len() {
                if on != user && self.random.once_in(2) {
                    self.grant(on, user, None);
                }
            }
        }
        self.pass(2_000);
        self.faults = true;
    }

    /// Lets virtual time pass.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= end) && self.step() {}
        self.now = self.now.max(end);
    }

    /// All faults end, and what is left must come to rest.
    fn heal(&mut self) {
        self.note(|| "everything heals".into());
        self.faults = false;
        for link in self.links.values_mut() {
            link.cut = [false, false];
        }
        for number in 0..self.peers.len() {
            self.peers[number].full = false;
            self.peers[number].asleep_until = 0;
            self.peers[number].lies = false;
            if self.peers[number].node.is_none() {
                self.start(number, true);
            }
            self.carry_out(number);
            self.input(number, Input::Command(CommandId(0), Box::new(Command::Resume)));
        }
        self.rest_ms = self.now + 30 * 60_000;
    }

    pub(crate) fn cut(&mut self, a: usize, b: usize, ways: [bool; 2], for_ms: u64) {
        let link = self.links.entry(pair(a, b)).or_default();
        link.cut = ways;
        let _ = for_ms;
        if link.up {
            self.drop_link(a, b, IDLE_MS, IDLE_MS + 5_000);
        }
    }

    pub(crate) fn honest(&self) -> impl Iterator<Item = (usize, &Peer)> {
        self.peers.iter().enumerate().filter(|(_, peer)| peer.honest)
    }
}

pub(crate) fn user_key(secret: &[u8; 32]) -> SecretKey {
    SecretKey::from_seed(blake3::hash(secret).as_bytes())
}

fn short(input: &Input) -> String {
    match input {
        Input::Sync(peer, SyncReceived::Entries(entries)) => format!("{} entries of {peer:?}", entries.len()),
        input => {
            let mut text = format!("{input:?}");
            let end = (0..=220.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            text.truncate(end);
            text
        }
    }
}
