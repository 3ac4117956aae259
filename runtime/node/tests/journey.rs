//! Two and three peers without a network between them: the shortest way of a task, step by step.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use mesh_node::{
    Answer, Capacity, Command, CommandError, CommandId, Config, Draft, GrantRequest, Input, Message, Node,
    Now, Output, Run, RunEvent, SyncReceived,
};
use mesh_protocol::frame::{AttemptId, SyncFrame};
use mesh_protocol::ids::{BlobHash, CommunityId, Digest, EntryId, InputHash, ModuleHash, ProfileId};
use mesh_protocol::invite::{DeviceCert, TicketKind};
use mesh_protocol::key::{PublicKey, SecretKey};
use mesh_protocol::ledger::{DeviceAdded, Entry, Hlc, Pattern, Payload, Place, Tip};
use mesh_protocol::limits::Limits;
use mesh_protocol::outcome::Outcome;
use mesh_protocol::permissions::Permissions;
use mesh_protocol::profile::EngineProfile;
use mesh_protocol::receipt::{self, Receipt, Usage};
use mesh_protocol::record::Record;
use mesh_protocol::rules::Rules;
use mesh_protocol::task::{Blob, Sla};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

fn profile() -> EngineProfile {
    EngineProfile {
        engine: "test".into(),
        features: vec![],
        fuel_table: "1".into(),
        world: "1".into(),
        limits: vec![],
    }
}

struct Peer {
    node: Node,
    entries: BTreeMap<(PublicKey, u64), Vec<u8>>,
    /// Everything else that was made durable, in order.
    kept: Vec<Record>,
    runs: Vec<Run>,
    answers: Vec<(CommandId, Result<Answer, CommandError>)>,
}

/// Peers whose frames arrive at once and in order.
struct Room {
    peers: Vec<Peer>,
    now: Now,
    connected: Vec<(usize, usize)>,
    commands: u64,
    /// Nobody who is dialled answers.
    apart: bool,
}

fn addr(number: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1000 + number as u16))
}

/// A device of the user whose keys are those of `user`.
fn config(number: usize, name: &str, user: usize) -> Config {
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
        place: None,
        capacity: Capacity { slots: 4, memory: 1 << 30, longest_ms: 3_600_000 },
        shares: Default::default(),
        accepts: vec![Pattern::new("*").unwrap()],
        energy: None,
        addrs: vec![addr(number)],
        seed: seed(4),
    }
}

impl Room {
    fn new(names: &[&str]) -> Self {
        let now = Now { boot_ms: 1000, wall_ms: 1_790_000_000_000 };
        let mut room = Self { peers: vec![], now, connected: vec![], commands: 0, apart: false };
        for (number, name) in names.iter().enumerate() {
            room.add(name, number, number);
        }
        room
    }

    /// One more device, of the user whose keys are those of `user`.
    fn add(&mut self, name: &str, number: usize, user: usize) {
        let mut node = Node::new(config(number, name, user), self.now);
        node.start(self.now, false);
        self.peers.push(Peer { node, entries: BTreeMap::new(), kept: vec![], runs: vec![], answers: vec![] });
    }

    fn key(&self, number: usize) -> PublicKey {
        SecretKey::from_seed(&[number as u8 * 10 + 1; 32]).public()
    }

    fn number(&self, key: PublicKey) -> usize {
        (0..self.peers.len()).find(|number| self.key(*number) == key).unwrap()
    }

    fn connect(&mut self, a: usize, b: usize) {
        if self.connected.contains(&(a, b)) || a == b {
            return;
        }
        self.connected.extend([(a, b), (b, a)]);
        self.handle(a, Input::Connected { peer: self.key(b), addr: addr(b) });
        self.handle(b, Input::Connected { peer: self.key(a), addr: addr(a) });
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        self.connected.retain(|pair| *pair != (a, b) && *pair != (b, a));
        self.handle(a, Input::Disconnected { peer: self.key(b) });
        self.handle(b, Input::Disconnected { peer: self.key(a) });
    }

    fn handle(&mut self, number: usize, input: Input) {
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
                        if !self.apart && !self.connected.contains(&(number, to)) {
                            self.connected.extend([(number, to), (to, number)]);
                            inputs
                                .push_back((number, Input::Connected { peer: self.key(to), addr: addr(to) }));
                            inputs.push_back((to, Input::Connected { peer: me, addr: addr(number) }));
                        }
                    }
                    Output::Run(run) => self.peers[number].runs.push(*run),
                    Output::Answer(id, answer) => self.peers[number].answers.push((id, answer)),
                    Output::Fetch { attempt, blob, .. } => {
                        inputs.push_back((number, Input::Fetched(attempt, blob.hash, Ok(()))));
                    }
                    _ => {}
                }
            }
        }
    }

    /// A peer dies, and comes back with what it had kept.
    fn restart(&mut self, number: usize, name: &str) {
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

    fn pass(&mut self, ms: u64) {
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

    fn ask(&mut self, number: usize, command: Command) -> Result<Answer, CommandError> {
        self.commands += 1;
        let id = CommandId(self.commands);
        self.handle(number, Input::Command(id, Box::new(command)));
        self.pass(10);
        let at = self.peers[number].answers.iter().position(|(answered, _)| *answered == id);
        self.peers[number].answers.remove(at.expect("the command is answered")).1
    }

    fn community(names: &[&str]) -> Self {
        Self::by(Rules::default(), names)
    }

    fn by(rules: Rules, names: &[&str]) -> Self {
        let mut room = Self::new(names);
        room.ask(0, Command::Found { name: "Street".into(), rules: Box::new(rules) }).unwrap();
        for number in 1..names.len() {
            let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
            let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
            let joined = room.ask(number, Command::Join { ticket }).unwrap();
            assert!(matches!(joined, Answer::Joined { pending: false, .. }), "{joined:?}");
        }
        for a in 0..names.len() {
            for b in 0..a {
                room.connect(a, b);
            }
        }
        room.pass(1000);
        room
    }

    fn grant(&mut self, on: usize, user: &str) {
        let request = GrantRequest {
            user: user.into(),
            device: None,
            task: "*".into(),
            module: None,
            until_ms: None,
            permissions: None,
        };
        self.ask(on, Command::Grant(request)).unwrap();
        self.pass(1000);
    }

    fn submit(&mut self, number: usize, nonce: u8) -> String {
        let draft = Draft {
            name: "word-count".into(),
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
            nonce: [nonce; 32],
            on: None,
            dry_run: false,
        };
        match self.ask(number, Command::Submit(Box::new(draft))).unwrap() {
            Answer::Submitted { task, .. } => task.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self, number: usize, task: &str) -> (String, String) {
        match self.ask(number, Command::Task { task: task.into() }).unwrap() {
            Answer::Task(view) => (view.state, view.why),
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, number: usize, run: &Run) {
        self.handle(number, Input::Run(run.attempt, RunEvent::Started));
        let receipt = receipt_for(run);
        let blob = Blob { hash: BlobHash([9; 32]), len: 10 };
        self.handle(number, Input::Run(run.attempt, RunEvent::Ended(Box::new(receipt), blob)));
    }
}

/// A log of somebody who plays by no rules.
struct Forger {
    key: SecretKey,
    community: CommunityId,
    tip: Option<Tip>,
}

impl Forger {
    /// Goes on with the log of a peer in the room.
    fn of(room: &Room, number: usize) -> Self {
        let key = SecretKey::from_seed(&[number as u8 * 10 + 1; 32]);
        let node = &room.peers[number].node;
        Self { tip: node.ledger().tip(&key.public()), community: node.community().unwrap(), key }
    }

    fn write(&mut self, wall_ms: u64, payload: Payload) -> Entry {
        let (seq, prev) = self.tip.map_or((0, EntryId::ZERO), |tip| (tip.seq + 1, tip.id));
        let place = Place { community: self.community, seq, prev, refs: vec![], hlc: Hlc::at(wall_ms) };
        let entry = Entry::write(&self.key, place, payload);
        self.tip = Some(entry.tip());
        entry
    }
}

fn receipt_for(run: &Run) -> Receipt {
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
        usage: Usage { fuel: 5, ..Usage::default() },
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

fn equal(room: &Room) {
    let state = |peer: &Peer| (peer.node.logs(), peer.node.ledger().state_digest());
    let first = state(&room.peers[0]);
    for peer in &room.peers[1..] {
        assert_eq!(state(peer), first);
    }
}

// spec: NET-2, DEL-1, DEL-2, DEL-4
#[test]
fn a_task_runs_on_the_peer_that_granted_it_and_ends_once() {
    let mut room = Room::community(&["alice", "bob"]);
    room.grant(1, "alice");
    let task = room.submit(0, 1);
    let run = room.peers[1].runs.pop().expect("bob runs it");
    assert!(room.peers[0].runs.is_empty());
    room.end(1, &run);
    assert_eq!(room.state(0, &task).0, "done");
    // Said again, it changes nothing.
    room.end(1, &run);
    room.pass(20_000);
    equal(&room);
    let key = room.key(0);
    let facts = room.peers[1].node.ledger().facts().tasks();
    let told = &facts[&(key, task.parse().unwrap())];
    assert_eq!((told.delegated.len(), told.completed.len()), (1, 1));
}

// spec: PERM-1
#[test]
fn without_a_grant_it_runs_at_home() {
    let mut room = Room::community(&["alice", "bob"]);
    let task = room.submit(0, 1);
    assert!(room.peers[1].runs.is_empty());
    let run = room.peers[0].runs.pop().expect("alice runs it herself");
    room.end(0, &run);
    assert_eq!(room.state(0, &task).0, "done");
}

// spec: DEL-3
#[test]
fn a_silent_peer_loses_the_task_to_the_next() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.grant(1, "alice");
    room.grant(2, "alice");
    let task = room.submit(0, 1);
    let (lost, other) = if room.peers[1].runs.is_empty() { (2, 1) } else { (1, 2) };
    let first = room.peers[lost].runs.pop().unwrap();
    room.handle(lost, Input::Run(first.attempt, RunEvent::Started));
    room.disconnect(0, lost);
    assert!(room.state(0, &task).1.contains("not connected"));
    room.pass(20_000);
    let second = room.peers[other].runs.pop().expect("the next attempt");
    assert_eq!(second.attempt, AttemptId { task: first.attempt.task, attempt: 2 });
    // The first one's result comes late: it is recorded and changes nothing.
    room.end(lost, &first);
    room.connect(0, lost);
    room.end(other, &second);
    assert_eq!(room.state(0, &task).0, "done");
    room.pass(30_000);
    equal(&room);
}

// spec: NET-4, LED-10
#[test]
fn a_log_spread_over_the_past_brings_no_more_than_others_took_time_for() {
    const HOUR: u64 = 3_600_000;
    let mut room = Room::by(Rules { entries_per_hour: 5, ..Rules::default() }, &["alice", "bob"]);
    let mut bob = Forger::of(&room, 1);
    let from = room.key(1);
    let second = SecretKey::from_seed(&[99; 32]);
    let cert = DeviceCert::of(&SecretKey::from_seed(&[12; 32]), bob.community, &second, 0, 0);
    let added = DeviceAdded { cert, name: "second".into() };
    let added = bob.write(room.now.wall_ms + 1000, Payload::DeviceAdded(Box::new(added)));
    room.handle(0, Input::Gossip(from, Box::new(added)));
    let mut spread = Forger { key: second, community: bob.community, tip: None };
    let entries: Vec<Entry> =
        (0..125).map(|at| spread.write((1000 + at) * HOUR, Payload::PeerOnline)).collect();
    let say = |room: &mut Room| {
        for entry in &entries {
            room.handle(0, Input::Gossip(from, Box::new(entry.clone())));
        }
        room.peers[0].node.ledger().len(&entries[0].header().author)
    };
    assert_eq!(say(&mut room), 120, "a day's worth");
    room.pass(HOUR / 2);
    assert_eq!(say(&mut room), 122);
    room.pass(HOUR / 2);
    assert_eq!(say(&mut room), 125, "what is true comes in time");
}

// spec: NET-1, LED-5
#[test]
fn a_member_comes_back_with_a_new_device_by_anybodys_ticket() {
    let mut room = Room::community(&["alice", "bob", "spare"]);
    // Bob's one device forks its log, and everybody knows.
    let from = room.key(0);
    let mut bob = Forger::of(&room, 1);
    for at in [1000, 2000] {
        let mut branch = Forger { key: SecretKey::from_seed(&[11; 32]), ..bob };
        let entry = branch.write(room.now.wall_ms + at, Payload::PeerOnline);
        room.handle(0, Input::Gossip(from, Box::new(entry.clone())));
        bob = Forger { key: SecretKey::from_seed(&[11; 32]), ..bob };
        if at == 2000 {
            let stored = room.peers[0].entries[&(entry.header().author, entry.header().seq)].clone();
            room.handle(0, Input::Stored(Box::new(Entry::trusted(&stored).unwrap())));
        }
    }
    room.pass(20_000);
    let forked = room.key(1);
    assert!(room.peers[0].node.ledger().governance().owner(&forked).is_none());
    let Answer::Status(status) = room.ask(1, Command::Status).unwrap() else { panic!("no status") };
    assert!(status.trouble.iter().any(|it| it.contains("counts no more")), "{:?}", status.trouble);
    // With his user key he joins anew, by a ticket of Alice's.
    room.add("bob", 3, 1);
    let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
    let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
    let joined = room.ask(3, Command::Join { ticket }).unwrap();
    assert!(matches!(joined, Answer::Joined { pending: false, .. }), "{joined:?}");
    let governance = room.peers[0].node.ledger().governance();
    let device = governance.device(&room.key(3)).unwrap();
    assert_eq!((device.name.as_str(), governance.owner(&room.key(3))), ("bob-3", Some(device.user)));
    assert_eq!(governance.device(&forked).map(|it| it.user), Some(device.user));
    assert_eq!((governance.share(&forked), governance.share(&room.key(3))), (0, 1000));
    // One more beside one that counts is no second quota.
    room.add("bob", 4, 1);
    let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
    let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
    room.ask(4, Command::Join { ticket }).unwrap();
    let governance = room.peers[0].node.ledger().governance();
    assert!(governance.owner(&room.key(4)).is_some());
    assert_eq!((governance.share(&room.key(3)), governance.share(&room.key(4))), (1000, 0));
}

#[test]
fn equal_peers_have_nothing_to_tell() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.pass(200_000);
    equal(&room);
    let (logs, digest) = room.peers[0].node.ledger().digest(&[]);
    let frame = SyncFrame::Digest { prefix: vec![], logs, digest };
    let before: usize = room.peers.iter().map(|peer| peer.entries.len()).sum();
    let from = room.key(0);
    room.handle(1, Input::Sync(from, SyncReceived::Frame(frame)));
    assert_eq!(room.peers.iter().map(|peer| peer.entries.len()).sum::<usize>(), before);
    assert_eq!(room.peers[0].node.community(), room.peers[2].node.community());
    assert_ne!(profile().id(), ProfileId::ZERO);
}

// spec: NET-5
#[test]
fn two_who_came_in_by_the_same_member_are_told_of_each_other() {
    let mut room = Room::new(&["alice", "bob", "carol"]);
    room.ask(0, Command::Found { name: "Street".into(), rules: Box::new(Rules::default()) }).unwrap();
    for number in 1..3 {
        let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
        let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
        room.ask(number, Command::Join { ticket }).unwrap();
    }
    room.pass(1000);
    assert!(room.connected.contains(&(1, 2)));
}

// spec: LED-5, DEL-1, DEL-14
#[test]
fn what_waits_to_be_numbered_outlives_a_death() {
    let mut room = Room::community(&["alice", "bob"]);
    // Nobody is there to say how long its log is.
    room.apart = true;
    room.restart(0, "alice");
    let task = room.submit(0, 1);
    room.ask(0, Command::Cancel { task: task.clone() }).unwrap();
    let said = |room: &Room| {
        let entries = room.peers[1].entries.values();
        let payloads = entries.map(|bytes| Entry::trusted(bytes).unwrap().payload().clone());
        payloads
            .filter(|payload| matches!(payload, Payload::Cancelled { task: it } if it.to_string() == task))
            .count()
    };
    room.restart(0, "alice");
    assert_eq!(said(&room), 0);
    room.connect(0, 1);
    room.pass(10_000);
    assert_eq!(said(&room), 1);
    // Said once, it is forgotten.
    room.restart(0, "alice");
    room.connect(0, 1);
    room.pass(10_000);
    assert_eq!(said(&room), 1);
    equal(&room);
}
