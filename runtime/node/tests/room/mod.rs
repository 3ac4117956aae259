//! Peers in one room: no network between them, and a clock that the test moves.

#![allow(dead_code, reason = "not every suite that has a room uses all of it")]
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    missing_docs,
    reason = "part of tests, which fail where they cannot go on"
)]

use mesh_node::{
    Answer, Capacity, Command, CommandError, CommandId, Config, Draft, GrantRequest, Input, Message,
    Metering, Node, Now, OfferView, Output, Run, RunEvent, Sample, SyncReceived, Unfetched,
};
use mesh_protocol::energy::How;
use mesh_protocol::frame::AttemptId;
use mesh_protocol::ids::{BlobHash, CommunityId, Digest, EntryId, InputHash, ModuleHash};
use mesh_protocol::invite::TicketKind;
use mesh_protocol::key::{PublicKey, SecretKey};
use mesh_protocol::ledger::{Entry, Hlc, Pattern, Payload, Place, Tip};
use mesh_protocol::limits::Limits;
use mesh_protocol::outcome::Outcome;
use mesh_protocol::permissions::{Access, Permissions};
use mesh_protocol::profile::EngineProfile;
use mesh_protocol::receipt::{self, Receipt, Usage};
use mesh_protocol::record::Record;
use mesh_protocol::rules::Rules;
use mesh_protocol::task::{Blob, Sla};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

pub fn profile() -> EngineProfile {
    EngineProfile {
        engine: "test".into(),
        features: vec![],
        fuel_table: "1".into(),
        world: "1".into(),
        limits: vec![],
    }
}

/// What a node wants of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Hold,
    GoOn,
    Stop,
}

pub struct Peer {
    pub node: Node,
    pub entries: BTreeMap<(PublicKey, u64), Vec<u8>>,
    /// Everything else that was made durable, in order.
    pub kept: Vec<Record>,
    pub runs: Vec<Run>,
    /// What the node wants of what runs, in order: to stand still, to go on, to end.
    pub wishes: Vec<(AttemptId, Wish)>,
    /// Attempts whose changes to shares were to be put in place, and those that were forgotten.
    pub releases: Vec<AttemptId>,
    pub forgotten: Vec<AttemptId>,
    /// What is being fetched for which attempt, and from whom, where nothing comes by itself.
    pub fetches: Vec<(AttemptId, Blob, PublicKey)>,
    /// Under which number each was asked for.
    pub numbers: Vec<(AttemptId, Blob, u64)>,
    /// Blobs that are of no use any more.
    pub unneeded: Vec<BlobHash>,
    /// How many fetches were begun.
    pub begun: usize,
    /// Offers that the owner's program was asked about.
    pub asked: Vec<OfferView>,
    pub answers: Vec<(CommandId, Result<Answer, CommandError>)>,
}

/// Peers whose frames arrive at once and in order.
pub struct Room {
    pub peers: Vec<Peer>,
    pub now: Now,
    pub connected: Vec<(usize, usize)>,
    commands: u64,
    /// Nobody who is dialled answers.
    pub apart: bool,
    /// Blobs are under way until a test says what becomes of them.
    pub slow: bool,
    /// Who dialled whom in vain.
    pub dials: Vec<(usize, usize)>,
}

pub fn addr(number: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1000 + number as u16))
}

/// A device of the user whose keys are those of `user`.
pub fn config(number: usize, name: &str, user: usize) -> Config {
    let seed = |what: u8| [number as u8 * 10 + what; 32];
    let of_user = |what: u8| SecretKey::from_seed(&[user as u8 * 10 + what; 32]);
    let device = if number == user { "laptop".into() } else { number.to_string() };
    Config {
        device: SecretKey::from_seed(&seed(1)),
        user: Some(of_user(2)),
        user_name: name.into(),
        recovery: of_user(3).public(),
        device_name: format!("{name}-{device}"),
        profile: profile().id(),
        walls: vec![],
        // Only who is called after it lives in the far north, where the sun is down.
        place: name.starts_with("north").then_some((89, 0)),
        capacity: Capacity { slots: 4, memory: 1 << 30, longest_ms: 3_600_000 },
        slot_watts: 10,
        shares: [("logs".to_owned(), Access::Rw)].into(),
        accepts: vec![Pattern::new("*").unwrap()],
        energy: None,
        // Only who is called after it wants to be asked.
        hook: name.starts_with("picky"),
        addrs: vec![addr(number)],
        seed: seed(4),
    }
}

impl Room {
    pub fn new(names: &[&str]) -> Self {
        let now = Now { boot_ms: 1000, wall_ms: 1_790_000_000_000 };
        let mut room = Self {
            peers: vec![],
            now,
            connected: vec![],
            commands: 0,
            apart: false,
            slow: false,
            dials: vec![],
        };
        for (number, name) in names.iter().enumerate() {
            room.add(name, number, number);
        }
        room
    }

    /// One more device, of the user whose keys are those of `user`.
    pub fn add(&mut self, name: &str, number: usize, user: usize) {
        let mut node = Node::new(config(number, name, user), self.now);
        node.start(self.now, false);
        self.peers.push(Peer {
            node,
            entries: BTreeMap::new(),
            kept: vec![],
            runs: vec![],
            wishes: vec![],
            releases: vec![],
            forgotten: vec![],
            fetches: vec![],
            numbers: vec![],
            unneeded: vec![],
            begun: 0,
            asked: vec![],
            answers: vec![],
        });
    }

    pub fn key(&self, number: usize) -> PublicKey {
        SecretKey::from_seed(&[number as u8 * 10 + 1; 32]).public()
    }

    pub fn number(&self, key: PublicKey) -> usize {
        (0..self.peers.len()).find(|number| self.key(*number) == key).unwrap()
    }

    pub fn connect(&mut self, a: usize, b: usize) {
        if self.connected.contains(&(a, b)) || a == b {
            return;
        }
        self.connected.extend([(a, b), (b, a)]);
        self.handle(a, Input::Connected { peer: self.key(b), addr: addr(b) });
        self.handle(b, Input::Connected { peer: self.key(a), addr: addr(a) });
    }

    pub fn disconnect(&mut self, a: usize, b: usize) {
        self.connected.retain(|pair| *pair != (a, b) && *pair != (b, a));
        self.handle(a, Input::Disconnected { peer: self.key(b) });
        self.handle(b, Input::Disconnected { peer: self.key(a) });
    }

    pub fn handle(&mut self, number: usize, input: Input) {
        let mut inputs = VecDeque::from([(number, input)]);
        let mut rounds = 0;
        while let Some((number, input)) = inputs.pop_front() {
            rounds += 1;
            assert!(rounds < 10_000, "the peers talk without end; last: {input:?}");
            self.peers[number].node.handle(self.now, input);
            let me = self.key(number);
            while let Some(output) = self.peers[number].node.poll() {
                match output {
                    Output::Persist(Record::Entry { author, seq, bytes, .. }) => {
                        self.peers[number].entries.insert((author, seq), bytes);
                    }
                    Output::Persist(record) => self.peers[number].kept.push(record),
                    Output::Send(to, message) => {
                        let to = self.number(to);
                        if self.connected.contains(&(number, to)) {
                            let input = match message {
                                Message::Hello(frame) => Input::Hello(me, frame),
                                Message::Sync(frame) => Input::Sync(me, SyncReceived::Frame(frame)),
                                Message::Task(id, frame) => Input::Task(me, id, frame),
                            };
                            inputs.push_back((to, input));
                        }
                    }
                    Output::Spread(entry) => {
                        for to in 0..self.peers.len() {
                            if self.connected.contains(&(number, to)) {
                                inputs.push_back((to, Input::Gossip(me, entry.clone())));
                            }
                        }
                    }
                    Output::SendEntries { to, author, from, until } => {
                        let entries = (from..until).map(|seq| {
                            let bytes = &self.peers[number].entries[&(author, seq)];
                            Entry::verify(bytes).unwrap()
                        });
                        let input = Input::Sync(me, SyncReceived::Entries(entries.collect()));
                        inputs.push_back((self.number(to), input));
                    }
                    Output::Dial(to, _) => {
                        let to = self.number(to);
                        if self.apart {
                            self.dials.push((number, to));
                        } else if !self.connected.contains(&(number, to)) {
                            self.connected.extend([(number, to), (to, number)]);
                            inputs
                                .push_back((number, Input::Connected { peer: self.key(to), addr: addr(to) }));
                            inputs.push_back((to, Input::Connected { peer: me, addr: addr(number) }));
                        }
                    }
                    Output::Read { author, seq } => {
                        let bytes = self.peers[number].entries.get(&(author, seq));
                        let entry = bytes.map(|bytes| Entry::trusted(bytes).unwrap());
                        inputs.extend(entry.map(|entry| (number, Input::Stored(Box::new(entry)))));
                    }
                    Output::Run(run) => self.peers[number].runs.push(*run),
                    Output::Ask(offer) => self.peers[number].asked.push(*offer),
                    Output::Pause(attempt) => self.peers[number].wishes.push((attempt, Wish::Hold)),
                    Output::Resume(attempt) => self.peers[number].wishes.push((attempt, Wish::GoOn)),
                    Output::Stop(attempt) => self.peers[number].wishes.push((attempt, Wish::Stop)),
                    Output::Release(attempt) => self.peers[number].releases.push(attempt),
                    Output::Forget(attempt) => self.peers[number].forgotten.push(attempt),
                    Output::Tell(mesh_node::Happening::Unneeded(blob)) => {
                        self.peers[number].unneeded.push(blob)
                    }
                    Output::Answer(id, answer) => self.peers[number].answers.push((id, answer)),
                    Output::Fetch { number: fetch, attempt, blob, from, .. } if self.slow => {
                        self.peers[number].begun += 1;
                        self.peers[number].fetches.push((attempt, blob, from));
                        self.peers[number].numbers.push((attempt, blob, fetch));
                    }
                    Output::Unfetch(attempt) => {
                        self.peers[number].fetches.retain(|(of, ..)| *of != attempt);
                    }
                    Output::Fetch { number: fetch, attempt, blob, .. } => {
                        inputs.push_back((number, Input::Fetched(fetch, attempt, blob.hash, Ok(()))));
                    }
                    _ => {}
                }
            }
        }
    }

    /// What becomes of the blob that is under way longest.
    pub fn comes(&mut self, number: usize, result: Result<(), Unfetched>) {
        let (attempt, blob, _) = self.peers[number].fetches.remove(0);
        let mut numbers = self.peers[number].numbers.iter().rev();
        let fetch =
            numbers.find(|(of, it, _)| (*of, *it) == (attempt, blob)).map(|(.., fetch)| *fetch).unwrap();
        self.handle(number, Input::Fetched(fetch, attempt, blob.hash, result));
    }

    /// A peer dies, and comes back with what it had kept.
    pub fn restart(&mut self, number: usize, name: &str) {
        for other in 0..self.peers.len() {
            self.disconnect(number, other);
        }
        let peer = &mut self.peers[number];
        let mut values = BTreeMap::new();
        for record in &peer.kept {
            match record {
                Record::Put { table, key, value } => drop(values.insert((*table as u8, key), (table, value))),
                Record::Delete { table, key } => drop(values.remove(&(*table as u8, key))),
                _ => {}
            }
        }
        peer.node = Node::new(config(number, name, number), self.now);
        for ((_, key), (table, value)) in values {
            peer.node.restore_value(*table, key, value);
        }
        for bytes in peer.entries.values() {
            peer.node.restore_entry(bytes);
        }
        peer.node.start(self.now, true);
        self.handle(number, Input::Wake);
    }

    /// So much time passes while everybody sleeps.
    pub fn sleep(&mut self, ms: u64) {
        self.now = Now { boot_ms: self.now.boot_ms + ms, wall_ms: self.now.wall_ms + ms };
        self.pass(1000);
    }

    pub fn pass(&mut self, ms: u64) {
        let end = self.now.boot_ms + ms;
        loop {
            let next = (0..self.peers.len())
                .filter_map(|number| self.peers[number].node.deadline().map(|at| (at, number)))
                .min();
            let Some((at, number)) = next.filter(|(at, _)| *at <= end) else { break };
            let step = at.saturating_sub(self.now.boot_ms);
            self.now = Now { boot_ms: self.now.boot_ms + step, wall_ms: self.now.wall_ms + step };
            self.handle(number, Input::Wake);
        }
        let step = end - self.now.boot_ms;
        self.now = Now { boot_ms: end, wall_ms: self.now.wall_ms + step };
    }

    pub fn ask(&mut self, number: usize, command: Command) -> Result<Answer, CommandError> {
        self.commands += 1;
        let id = CommandId(self.commands);
        self.handle(number, Input::Command(id, Box::new(command)));
        self.pass(10);
        let at = self.peers[number].answers.iter().position(|(answered, _)| *answered == id);
        self.peers[number].answers.remove(at.expect("the command is answered")).1
    }

    pub fn community(names: &[&str]) -> Self {
        Self::community_by(names, Rules::default())
    }

    pub fn community_by(names: &[&str], rules: Rules) -> Self {
        let mut room = Self::new(names);
        let sponsors = rules.sponsors;
        room.ask(0, Command::Found { name: "Street".into(), rules: Box::new(rules) }).unwrap();
        for (number, name) in names.iter().enumerate().skip(1) {
            let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
            let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
            let joined = room.ask(number, Command::Join { ticket, as_device_of: None }).unwrap();
            let Answer::Joined { pending, .. } = joined else { panic!("{joined:?}") };
            // The founder alone lets two in, whoever comes later needs a second member's word.
            assert_eq!(pending, number > 2 && sponsors > 1);
            if pending {
                room.connect(0, 1);
                room.connect(1, number);
                room.pass(1000);
                room.ask(1, Command::Sponsor { user: (*name).into() }).unwrap();
            }
        }
        for a in 0..names.len() {
            for b in 0..a {
                room.connect(a, b);
            }
        }
        room.pass(1000);
        room
    }

    pub fn grant(&mut self, on: usize, user: &str) {
        self.ask(on, anything_of(user)).unwrap();
        self.pass(1000);
    }

    pub fn submit(&mut self, number: usize, nonce: u8) -> String {
        self.submit_draft(number, draft("word-count", nonce)).unwrap()
    }

    pub fn submit_draft(&mut self, number: usize, draft: Draft) -> Result<String, CommandError> {
        match self.ask(number, Command::Submit(Box::new(draft)))? {
            Answer::Submitted { task, .. } => Ok(task.to_string()),
            other => panic!("{other:?}"),
        }
    }

    pub fn state(&mut self, number: usize, task: &str) -> (String, String) {
        match self.ask(number, Command::Task { task: task.into() }).unwrap() {
            Answer::Task(view) => (view.state, view.why),
            other => panic!("{other:?}"),
        }
    }

    /// The sandbox does what is wanted of it. Says what that was.
    pub fn obey(&mut self, number: usize) -> Vec<Wish> {
        let wishes = std::mem::take(&mut self.peers[number].wishes);
        for (attempt, wish) in &wishes {
            let event = match wish {
                Wish::Hold => RunEvent::Paused,
                Wish::GoOn => RunEvent::Resumed,
                Wish::Stop => RunEvent::Spent(Some(metering(self.now, 1_000))),
            };
            self.handle(number, Input::Run(*attempt, event));
        }
        wishes.into_iter().map(|(_, wish)| wish).collect()
    }

    pub fn end(&mut self, number: usize, run: &Run) {
        self.end_with(number, run, 1);
    }

    /// A run comes to this output; honest ones to 1.
    pub fn end_with(&mut self, number: usize, run: &Run, output: u8) {
        self.handle(number, Input::Run(run.attempt, RunEvent::Started));
        let mut receipt = receipt_for(run);
        receipt.output.stdout = Digest([output; 32]);
        let blob = Blob { hash: BlobHash([9; 32]), len: 10 };
        self.handle(
            number,
            Input::Run(run.attempt, RunEvent::Ended(Box::new(receipt), blob, metering(self.now, 10_000))),
        );
    }
}

/// So much energy, used in the last second.
pub fn metering(now: Now, energy_mj: u64) -> Metering {
    let sample = Sample { from_ms: now.wall_ms - 1000, ms: 1000, energy_mj };
    Metering { how: How::Measured, uncertainty_percent: 10, samples: vec![sample], estimated: false }
}

pub fn receipt_for(run: &Run) -> Receipt {
    let spec = &run.spec;
    let digest = Digest([1; 32]);
    Receipt {
        version: receipt::VERSION,
        task: run.attempt.task,
        attempt: run.attempt.attempt,
        module: spec.module,
        name: spec.name.clone(),
        args: spec.args.clone(),
        env: spec.env.clone(),
        input: receipt::Input { hash: spec.input, stdin: None, streamed: false, named: digest },
        limits: spec.limits.clone(),
        granted: spec.permissions.clone(),
        profile: profile(),
        walls: vec![],
        out_bound: "metered".into(),
        outcome: Outcome::Exited(0),
        // What goes on from a checkpoint had burnt some before.
        usage: Usage { fuel: 5, fuel_before: if run.resume.is_some() { 2 } else { 0 }, ..Usage::default() },
        output: receipt::Output {
            stdout_bytes: 0,
            stdout: digest,
            stderr_bytes: 0,
            stderr: digest,
            out_bytes: 0,
            out_files: 0,
            out: digest,
        },
        not_comparable: vec![],
        resumed_from: None,
        last_checkpoint: None,
        executor: PublicKey([0; 32]),
    }
}

/// All tasks of a user may run.
pub fn anything_of(user: &str) -> Command {
    Command::Grant(GrantRequest {
        user: user.into(),
        device: None,
        task: "*".into(),
        module: None,
        until_ms: None,
        permissions: None,
    })
}

pub fn equal(room: &Room) {
    let state = |peer: &Peer| (peer.node.logs(), peer.node.ledger().state_digest());
    let first = state(&room.peers[0]);
    for peer in &room.peers[1..] {
        assert_eq!(state(peer), first);
    }
}

pub fn draft(name: &str, nonce: u8) -> Draft {
    Draft {
        name: name.into(),
        description: String::new(),
        module: ModuleHash([7; 32]),
        module_len: 100,
        args: vec![],
        env: vec![],
        stdin: None,
        inputs: vec![],
        input: InputHash([8; 32]),
        limits: Limits::default(),
        permissions: Permissions::default(),
        sla: Sla::Normal,
        importance: None,
        followed: true,
        start_by_ms: None,
        finish_by_ms: None,
        nonce: [nonce; 32],
        on: None,
        dry_run: false,
        replicas: 1,
        quorum: 1,
    }
}

/// A log of somebody who plays by no rules.
pub struct Forger {
    pub key: SecretKey,
    pub community: CommunityId,
    pub tip: Option<Tip>,
}

impl Forger {
    /// Goes on with the log of a peer in the room.
    pub fn of(room: &Room, number: usize) -> Self {
        let key = SecretKey::from_seed(&[number as u8 * 10 + 1; 32]);
        let node = &room.peers[number].node;
        Self { tip: node.ledger().tip(&key.public()), community: node.community().unwrap(), key }
    }

    pub fn write(&mut self, wall_ms: u64, payload: Payload) -> Entry {
        let (seq, prev) = self.tip.map_or((0, EntryId::ZERO), |tip| (tip.seq + 1, tip.id));
        let place = Place { community: self.community, seq, prev, refs: vec![], hlc: Hlc::at(wall_ms) };
        let entry = Entry::write(&self.key, place, payload);
        self.tip = Some(entry.tip());
        entry
    }
}
