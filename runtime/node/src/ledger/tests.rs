//! What must hold of the ledger, whatever the order in which entries come.
// spec: LED-1, LED-3, LED-5, LED-10, NET-1, NET-2

use super::*;
use mesh_protocol::ids::{Commitment, ModuleHash, ProfileId, TaskId};
use mesh_protocol::invite::{DeviceCert, JoinRequest};
use mesh_protocol::key::{Domain, Signature, UserKey};
use mesh_protocol::ledger::{
    Completed, Effect, Founded, Grant, Pattern, PeerRegistered, Statement, TaskSubmitted, rotation_message,
};
use mesh_protocol::permissions::Permissions;
use mesh_protocol::reason::Reason;
use mesh_protocol::rules::Rules;
use mesh_protocol::task::Sla;
use proptest::prelude::*;

/// Users of a world; user 0 founds the community. Each has two devices: `user`, and `USERS + user` for later.
const USERS: usize = 5;

fn key(what: u8, number: usize) -> SecretKey {
    let mut seed = [what; 32];
    seed[31] = number as u8;
    SecretKey::from_seed(&seed)
}

fn ticket(number: usize) -> SecretKey {
    key(4, number)
}

/// Devices, each with its own ledger, and all entries that any of them ever wrote.
struct World {
    ledgers: Vec<Ledger>,
    devices: Vec<SecretKey>,
    /// The keys that each user has had.
    users: Vec<Vec<SecretKey>>,
    all: Vec<Entry>,
    now: u64,
}

impl World {
    /// A community that only its founder belongs to.
    fn new() -> Self {
        let devices: Vec<SecretKey> = (0..USERS * 2).map(|number| key(1, number)).collect();
        let mut world = Self {
            ledgers: vec![Ledger::default(); devices.len()],
            devices,
            users: (0..USERS).map(|number| vec![key(2, number)]).collect(),
            all: Vec::new(),
            now: 1_000_000,
        };
        let founded = Founded {
            name: "Elm Street".into(),
            rules: Rules::default(),
            user: world.user(0),
            user_name: "user 0".into(),
            recovery: key(3, 0).public(),
            device_name: "device 0".into(),
            cert: DeviceCert::sign(&world.users[0][0], CommunityId::ZERO, world.device(0), 1000, 0),
        };
        world.say(0, Payload::Founded(Box::new(founded)));
        let community = world.ledgers[0].community().unwrap();
        for ledger in &mut world.ledgers[1..] {
            ledger.expect(community);
        }
        world
    }

    /// A community of the first `count` users, who all know of each other.
    fn of(count: usize) -> Self {
        let mut world = Self::new();
        for user in 1..count {
            world.admit(0, user, user);
            if user > 2 {
                world.sync(0, 1);
                world.admit(1, user, user);
                world.sync(1, 0);
            }
        }
        world.sync_all();
        world
    }

    fn device(&self, number: usize) -> PublicKey {
        self.devices[number].public()
    }

    fn user(&self, number: usize) -> UserKey {
        UserKey(self.users[number].last().unwrap().public())
    }

    fn community(&self) -> CommunityId {
        self.ledgers[0].community().unwrap()
    }

    fn say(&mut self, device: usize, payload: Payload) -> Entry {
        self.now += 10;
        let entry = self.ledgers[device].write(&self.devices[device], self.now, payload, &[]).unwrap();
        self.all.push(entry.clone());
        entry
    }

    fn request(&self, user: usize, invite: usize) -> JoinRequest {
        let request = JoinRequest {
            user: self.user(user),
            user_name: format!("user {user}"),
            recovery: key(3, user).public(),
            device_name: format!("device {user}"),
            cert: DeviceCert::sign(
                self.users[user].last().unwrap(),
                self.community(),
                self.device(user),
                1000,
                0,
            ),
            invite: PublicKey([0; 32]),
            signature: Signature([0; 64]),
        };
        request.sign(&ticket(invite))
    }

    fn admit(&mut self, by: usize, user: usize, invite: usize) -> Entry {
        let request = self.request(user, invite);
        self.say(by, Payload::Admitted(Box::new(request)))
    }

    fn add_device(&mut self, by: usize, device: usize) -> Entry {
        let user = self.users[by % USERS].last().unwrap();
        let cert = DeviceCert::sign(user, self.community(), self.device(device), 500, 0);
        self.say(by, Payload::DeviceAdded(cert))
    }

    /// Expels a user; of each of their logs all counts that `by` knows, but for the last `less`.
    fn expel(&mut self, by: usize, user: usize, less: u64) -> Entry {
        let ledger = &self.ledgers[by];
        let tips = [user, USERS + user].into_iter().filter_map(|device| {
            let device = self.device(device);
            ledger.tip_at(&device, ledger.len(&device).checked_sub(1 + less)?)
        });
        let tips = tips.collect();
        let known = ledger.governance.device(&self.device(user)).map(|device| device.user);
        let user = known.unwrap_or(self.user(user));
        self.say(by, Payload::Expelled { user, tips, why: String::new() })
    }

    fn revoke(&mut self, by: usize, device: usize, less: u64) -> Entry {
        let (ledger, device) = (&self.ledgers[by], self.device(device));
        let tip = ledger.len(&device).checked_sub(1 + less).and_then(|seq| ledger.tip_at(&device, seq));
        self.say(by, Payload::KeyRevoked { device, tip })
    }

    fn rotate(&mut self, by: usize, user: usize) -> Entry {
        let new = key(5, USERS * self.users[user].len() + user);
        let (old, new_user) = (self.user(user), UserKey(new.public()));
        let signature = key(3, user).sign(Domain::Rotation, &rotation_message(&old, &new_user));
        let entry = self.say(by, Payload::KeyRotated { user: old, new: new_user, signature });
        self.users[user].push(new);
        entry
    }

    /// Writes two entries at one place of a log, and gives the one that the device itself forgets.
    fn fork(&mut self, device: usize) -> (Entry, Entry) {
        let mut twin = self.ledgers[device].clone();
        let one = twin.write(&self.devices[device], self.now + 5, Payload::PeerOffline, &[]).unwrap();
        self.all.push(one.clone());
        (one, self.say(device, Payload::PeerOnline))
    }

    /// What a device keeps.
    fn kept(&self, device: usize) -> Vec<Entry> {
        self.all.iter().filter(|entry| self.ledgers[device].has(&entry.tip())).cloned().collect()
    }

    /// One device hears all that another keeps.
    fn sync(&mut self, from: usize, to: usize) {
        let entries = self.kept(from);
        take_all(&mut self.ledgers[to], &entries);
    }

    fn sync_all(&mut self) {
        for ledger in &mut self.ledgers {
            take_all(ledger, &self.all);
        }
    }

    /// A peer that hears everything in this order.
    fn observer(&self, entries: &[Entry]) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.expect(self.community());
        take_all(&mut ledger, entries);
        ledger
    }

    /// Everybody hears everything, and the founder says what was found out about forks, until nothing is new.
    fn heal(&mut self) {
        for _ in 0..20 {
            let mut proofs = Vec::new();
            for at in 0..self.ledgers.len() {
                let forks = take_all(&mut self.ledgers[at], &self.all);
                proofs.extend(forks.into_iter().filter_map(|(author, seq)| self.prove(at, author, seq)));
                proofs.extend(self.ledgers[at].orphans());
            }
            let Some(proof) = proofs.pop() else { return };
            self.say(0, Payload::Forked(Box::new(proof)));
        }
        panic!("the ledgers do not come to rest");
    }

    fn prove(&mut self, at: usize, author: PublicKey, seq: u64) -> Option<ForkProof> {
        let tip = self.ledgers[at].tip_at(&author, seq)?;
        let stored = self.all.iter().find(|entry| entry.tip() == tip)?;
        self.ledgers[at].prove_fork(stored)
    }
}

/// Offers entries in their order, again and again, as comparing logs does, until nothing is new. Gives the forks seen.
fn take_all(ledger: &mut Ledger, entries: &[Entry]) -> Vec<(PublicKey, u64)> {
    for _ in 0..100 {
        let mut news = false;
        let mut forks = Vec::new();
        for entry in entries {
            match ledger.take(entry.clone()) {
                Taken::New(_) => news = true,
                Taken::Fork(author, seq) => forks.push((author, seq)),
                _ => {}
            }
        }
        if !news {
            return forks;
        }
    }
    panic!("a ledger does not come to rest");
}

/// Are two peers of one mind?
fn equal(a: &Ledger, b: &Ledger) {
    assert!(a.logs == b.logs, "other entries are kept:\n{:?}\n{:?}", a.logs.keys(), b.logs.keys());
    let devices = |ledger: &Ledger| format!("{:?}", ledger.governance.devices());
    assert_eq!(devices(a), devices(b), "others belong");
    assert!(a.governance.state() == b.governance.state(), "others belong");
    assert!(a.facts == b.facts, "other facts");
    assert_eq!(a.state_digest(), b.state_digest());
    assert_eq!(a.digest(&[]), b.digest(&[]));
    assert_eq!(a.count, b.count);
    assert_eq!(a.count, a.logs.values().map(|log| log.ids.len() as u64).sum::<u64>());
}

fn shuffled(entries: &[Entry], mut seed: u64) -> Vec<Entry> {
    let mut entries = entries.to_vec();
    for at in (1..entries.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        entries.swap(at, (seed >> 33) as usize % (at + 1));
    }
    entries
}

/// Nobody's view depends on the order in which they heard.
fn same_in_any_order(world: &mut World, seed: u64) {
    world.heal();
    let turned: Vec<Entry> = world.all.iter().rev().cloned().collect();
    let first = world.observer(&world.all);
    for order in [turned, shuffled(&world.all, seed), shuffled(&world.all, seed ^ 1)] {
        equal(&world.observer(&order), &first);
    }
    for ledger in &world.ledgers {
        equal(ledger, &first);
    }
    equal(&restored(world, &first, seed), &first);
}

/// What a peer knows after a restart: each log from its store in order, one log after the other.
fn restored(world: &World, before: &Ledger, seed: u64) -> Ledger {
    let mut kept: Vec<Entry> = world.all.iter().filter(|entry| before.has(&entry.tip())).cloned().collect();
    kept.sort_by_key(|entry| {
        (entry.header().author.0[0] ^ seed as u8, entry.header().author, entry.header().seq)
    });
    let mut ledger = Ledger::default();
    ledger.expect(world.community());
    for entry in &kept {
        ledger.restore(entry);
    }
    ledger.restored(&PublicKey([0; 32]));
    ledger
}

// ---- random histories ----

/// One thing that happens; numbers choose among what there is.
#[derive(Debug, Clone, Copy)]
enum Step {
    Sync(usize, usize),
    Admit(usize, usize, usize),
    AddDevice(usize),
    Expel(usize, usize, u64),
    Revoke(usize, u64),
    Rotate(usize, usize),
    Fork(usize, usize),
    Fact(usize, u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let device = 0..USERS * 2;
    let user = 0..USERS;
    prop_oneof![
        6 => (device.clone(), device.clone()).prop_map(|(a, b)| Step::Sync(a, b)),
        3 => (device.clone(), user.clone(), 0usize..8).prop_map(|(a, b, c)| Step::Admit(a, b, c)),
        1 => user.clone().prop_map(Step::AddDevice),
        2 => (device.clone(), user.clone(), 0u64..3).prop_map(|(a, b, c)| Step::Expel(a, b, c)),
        1 => (user.clone(), 0u64..4).prop_map(|(a, b)| Step::Revoke(a, b)),
        1 => (device.clone(), user).prop_map(|(a, b)| Step::Rotate(a, b)),
        1 => (device.clone(), device.clone()).prop_map(|(a, b)| Step::Fork(a, b)),
        5 => (device, any::<u8>(), any::<u8>()).prop_map(|(a, b, c)| Step::Fact(a, b, c)),
    ]
}

impl World {
    /// May this device write, as it sees things?
    fn speaks(&self, device: usize) -> bool {
        let (me, ledger) = (self.device(device), &self.ledgers[device]);
        ledger.governance.owner(&me).is_some() && ledger.is_whole(&me)
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Sync(from, to) => self.sync(from, to),
            Step::Admit(by, user, invite) if self.speaks(by) => drop(self.admit(by, user, invite)),
            // An entry that is not the founder's is there as well, and does not count.
            Step::Expel(by, user, less) if self.speaks(by) && user != 0 => {
                // Nobody takes back the very entry by which they know whom they expel.
                let less = if self.users[user].len() == 1 { less } else { 0 };
                self.expel(by, user, less);
            }
            Step::AddDevice(user) if self.speaks(user) => drop(self.add_device(user, USERS + user)),
            // The first device revokes the second. Two that revoke each other are a case of their own.
            Step::Revoke(user, less) if self.speaks(user) => drop(self.revoke(user, USERS + user, less)),
            Step::Rotate(by, user) if self.speaks(by) && self.users[user].len() < 4 => {
                drop(self.rotate(by, user))
            }
            Step::Fork(device, to) if self.speaks(device) && device != 0 => {
                let (one, _) = self.fork(device);
                self.ledgers[to].take(one);
            }
            Step::Fact(by, kind, about) if self.speaks(by) => {
                let payload = self.fact(by, kind, about);
                self.say(by, payload);
            }
            _ => {}
        }
    }

    fn fact(&self, by: usize, kind: u8, about: u8) -> Payload {
        let task = TaskId([about % 3; 32]);
        let attempt = u32::from(about % 2) + 1;
        let other = self.device(usize::from(about) % (USERS * 2));
        let grants: Vec<EntryId> = self.ledgers[by].facts.grants().keys().copied().collect();
        match kind % 13 {
            0 => Payload::PeerOnline,
            1 => Payload::PeerOffline,
            2 => registered(about),
            3 => grant(self.device(by), self.user(usize::from(about) % USERS)),
            4 if !grants.is_empty() => Payload::Revoked { grant: grants[usize::from(about) % grants.len()] },
            5 => submitted(task),
            6 => Payload::Delegated { task, attempt, device: other, grant: None },
            7 => Payload::Accepted { task, attempt },
            8 => Payload::Refused { task, attempt, reason: Reason::NoCapacity },
            9 => Payload::Vetoed { task, attempt, why: String::new() },
            10 => completed(task, attempt, other),
            11 => Payload::Cancelled { task },
            _ => Payload::Witnessed { tips: self.ledgers[by].tips().take(8).collect() },
        }
    }
}

fn registered(slots: u8) -> Payload {
    Payload::PeerRegistered(Box::new(PeerRegistered {
        name: "pc".into(),
        place: None,
        profile: ProfileId::ZERO,
        walls: vec![],
        slots: slots.into(),
    }))
}

fn grant(device: PublicKey, user: UserKey) -> Payload {
    Payload::Granted(Box::new(Grant {
        device,
        user,
        pattern: Pattern::new("*").unwrap(),
        module: None,
        until_ms: None,
        permissions: Permissions::default(),
    }))
}

fn submitted(task: TaskId) -> Payload {
    Payload::TaskSubmitted(Box::new(TaskSubmitted {
        task,
        name: "word-count".into(),
        module: ModuleHash::ZERO,
        input: Commitment::ZERO,
        duration_ms: 1,
        memory_bytes: 1,
        sla: Sla::Normal,
        importance: None,
        replicas: 1,
    }))
}

fn completed(task: TaskId, attempt: u32, executor: PublicKey) -> Payload {
    let statement = Statement {
        task,
        attempt,
        executor,
        module: ModuleHash::ZERO,
        profile: ProfileId::ZERO,
        outcome: 0,
        fuel: 0,
        fuel_before: 0,
        cpu_us: 0,
        wall_ms: 0,
        peak_memory: 0,
        energy_mj: 0,
        estimated: false,
        output: Commitment::ZERO,
        receipt: Commitment::ZERO,
    };
    Payload::Completed(Box::new(Completed { statement, signature: Signature([0; 64]), effect: Effect::Done }))
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() })]

    // spec: LED-3, LED-5, DEL-14
    #[test]
    fn all_that_hear_the_same_are_of_one_mind_whatever_the_order(
        members in 1..=USERS,
        steps in proptest::collection::vec(step(), 0..60),
        seed: u64,
    ) {
        let mut world = World::of(members);
        for step in steps {
            world.run(step);
        }
        same_in_any_order(&mut world, seed);
    }
}
