//! What must hold of the ledger, whatever the order in which entries come.
// spec: LED-1, LED-3, LED-5, LED-10, NET-1, NET-2

mod days;

use super::governance::MAX_DEVICES;
use super::*;
use crate::command::{Command, Draft};
use crate::community::Community;
use crate::io::{Capacity, CommandId, Input, Now};
use crate::node::{Config, Node};
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::energy::{How, Metered, Piece, Reading};
use mesh_protocol::ids::{Commitment, InputHash, ModuleHash, ProfileId, TaskId};
use mesh_protocol::invite::{DeviceCert, JoinRequest};
use mesh_protocol::key::{Domain, Signature, UserKey};
use mesh_protocol::ledger::{
    Accounted, Completed, DeviceAdded, Effect, Founded, Grant, Pattern, PeerRegistered, Revocation, Rotation,
    Statement, TaskSubmitted,
};
use mesh_protocol::limits::Limits;
use mesh_protocol::permissions::Permissions;
use mesh_protocol::reason::Reason;
use mesh_protocol::rules::Rules;
use mesh_protocol::task::{Importance, Sla};
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
        Self::by(Rules::default())
    }

    fn by(rules: Rules) -> Self {
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
            rules,
            user: world.user(0),
            user_name: "user 0".into(),
            recovery: key(3, 0).public(),
            device_name: "device 0".into(),
            cert: DeviceCert::of(&world.users[0][0], CommunityId::ZERO, &world.devices[0], 1000, 0),
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
        Self::new().with(count)
    }

    /// The same, where each member lets in whom they like.
    fn open(count: usize) -> Self {
        Self::by(Rules { sponsors: 1, ..Rules::default() }).with(count)
    }

    fn with(self, count: usize) -> Self {
        let mut world = self;
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
            cert: DeviceCert::of(
                self.users[user].last().unwrap(),
                self.community(),
                &self.devices[user],
                1000,
                0,
            ),
            invite: PublicKey([0; 32]),
            word: Signature([0; 64]),
            signature: Signature([0; 64]),
        };
        request.sign(self.users[user].last().unwrap(), &ticket(invite))
    }

    fn admit(&mut self, by: usize, user: usize, invite: usize) -> Entry {
        let request = self.request(user, invite);
        self.say(by, Payload::Admitted(Box::new(request)))
    }

    fn add_device(&mut self, by: usize, device: usize) -> Entry {
        let user = self.users[device % USERS].last().unwrap();
        let cert = DeviceCert::of(user, self.community(), &self.devices[device], 500, 0);
        self.say(by, added(cert))
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
        let user = known.unwrap_or_else(|| self.user(user));
        self.say(by, Payload::Expelled { user, tips, why: String::new() })
    }

    fn revoke(&mut self, by: usize, of: usize, less: u64) -> Entry {
        let (ledger, device) = (&self.ledgers[by], self.device(of));
        let tip = ledger.len(&device).checked_sub(1 + less).and_then(|seq| ledger.tip_at(&device, seq));
        let user = self.users[of % USERS].last().unwrap();
        self.say(by, Payload::KeyRevoked(Box::new(Revocation::sign(user, self.community(), device, tip))))
    }

    fn rotate(&mut self, by: usize, user: usize) -> Entry {
        let new = key(5, USERS * self.users[user].len() + user);
        let rotation =
            Rotation::sign(&key(3, user), self.community(), self.user(user), &new, Hlc::at(self.now));
        let entry = self.say(by, Payload::KeyRotated(Box::new(rotation)));
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
        take_all(&mut self.ledgers[to], &entries, &self.all);
    }

    fn sync_all(&mut self) {
        for ledger in &mut self.ledgers {
            take_all(ledger, &self.all, &self.all);
        }
    }

    /// A peer that hears everything in this order.
    fn observer(&self, entries: &[Entry]) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.expect(self.community());
        take_all(&mut ledger, entries, &self.all);
        ledger
    }

    /// Everybody hears everything, and the founder says what was found out about forks, until nothing is new.
    fn heal(&mut self) {
        let mut proofs = Vec::new();
        for _ in 0..40 {
            for at in 0..self.ledgers.len() {
                let forks = take_all(&mut self.ledgers[at], &self.all, &self.all);
                proofs.extend(forks.into_iter().map(|proof| Payload::Forked(Box::new(proof))));
                proofs.extend(orphans(&mut self.ledgers[at]));
            }
            // Everybody has found out the same things; each is said once.
            proofs.retain(|proof| self.ledgers[0].governance.is_news(proof));
            let Some(proof) = proofs.pop() else { return };
            self.say(0, proof);
        }
        panic!("the ledgers do not come to rest");
    }
}

/// What proves itself and is for a device to say again.
fn orphans(ledger: &mut Ledger) -> Vec<Payload> {
    let logs: Vec<PublicKey> = ledger.orphaned().collect();
    logs.iter().filter_map(|author| ledger.take_orphan(author)).collect()
}

/// Offers entries in their order, again and again, as comparing logs does, until nothing is new. Forks are looked up
/// among `stored`, as a node does. Gives the proofs.
fn take_all(ledger: &mut Ledger, entries: &[Entry], stored: &[Entry]) -> Vec<ForkProof> {
    let mut proofs = Vec::new();
    for _ in 0..100 {
        let mut news = false;
        for entry in entries {
            match ledger.take(entry.clone()) {
                Taken::New(_) => news = true,
                Taken::Fork(author, seq) => {
                    let tip = ledger.tip_at(&author, seq).unwrap();
                    let stored = stored.iter().find(|entry| entry.tip() == tip).unwrap();
                    if let Some(proof) = ledger.prove_fork(stored) {
                        proofs.push(proof);
                        news = true;
                    }
                }
                _ => {}
            }
        }
        if !news {
            return proofs;
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

/// Of a fork that everybody has cut off, a late one hears only that others named it and that it is proven.
// spec: LED-3, LED-5, DEL-14
#[test]
fn whoever_missed_both_branches_of_a_fork_is_not_held_up_by_those_who_named_one() {
    let mut world = World::open(3);
    let (one, other) = world.fork(1);
    world.ledgers[2].take(one.clone());
    let naming = world.say(2, Payload::PeerOnline);
    assert!(naming.header().refs.contains(&one.tip()));
    // The founder hears of both branches and says so, having heard of the one that names one of them.
    for entry in [&one, &naming, &other] {
        let heard = std::slice::from_ref(entry);
        for proof in take_all(&mut world.ledgers[0], heard, &world.all.clone()) {
            world.say(0, Payload::Forked(Box::new(proof)));
        }
    }
    let kept = world.kept(0);
    assert!(!kept.contains(&one) && !kept.contains(&other) && kept.contains(&naming));
    equal(&world.observer(&kept), &world.ledgers[0]);
}

// ---- random histories ----

/// One thing that happens; numbers choose among what there is.
#[derive(Debug, Clone, Copy)]
enum Step {
    Sync(usize, usize),
    Admit(usize, usize, usize),
    AddDevice(usize, usize),
    Expel(usize, usize, u64),
    Revoke(usize, usize, u64),
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
        1 => (device.clone(), user.clone()).prop_map(|(a, b)| Step::AddDevice(a, b)),
        2 => (device.clone(), user.clone(), 0u64..3).prop_map(|(a, b, c)| Step::Expel(a, b, c)),
        1 => (device.clone(), device.clone(), 0u64..4).prop_map(|(a, b, c)| Step::Revoke(a, b, c)),
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
            Step::Expel(by, user, less) if self.speaks(by) && user != 0 => drop(self.expel(by, user, less)),
            Step::AddDevice(by, user) if self.speaks(by) => drop(self.add_device(by, USERS + user)),
            // Also of two that revoke each other; but the founder's first device stays, to say what was found out.
            // No device writes, and nobody takes, that it takes back itself.
            Step::Revoke(by, of, less) if self.speaks(by) && of != 0 && of != by => {
                drop(self.revoke(by, of, less))
            }
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
            10 => completed(task, attempt, &self.devices[usize::from(about) % (USERS * 2)]),
            11 => Payload::Cancelled { task },
            _ => Payload::Witnessed { tips: self.ledgers[by].tips().take(8).collect() },
        }
    }
}

fn added(cert: DeviceCert) -> Payload {
    Payload::DeviceAdded(Box::new(DeviceAdded { cert, name: "another".into() }))
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

fn completed(task: TaskId, attempt: u32, by: &SecretKey) -> Payload {
    let executor = by.public();
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
        energy: Metered::default(),
        estimated: false,
        output: Commitment::ZERO,
        receipt: Commitment::ZERO,
        comparable: true,
    };
    let signature = statement.sign(by);
    Payload::Completed(Box::new(Completed { statement, signature, effect: Effect::Done }))
}

// spec: REP-2
#[test]
fn each_claim_of_sun_of_a_run_is_judged_and_not_its_first_alone() {
    const HOUR: u64 = 3_600_000;
    let mut world = World::of(2);
    let Payload::PeerRegistered(mut berlin) = registered(1) else { panic!("not registered") };
    berlin.place = Some((52, 13));
    world.say(1, Payload::PeerRegistered(berlin));
    let sun = |from_h: u64, hours: u64, estimated: bool| {
        let claim = EnergyClaim { source: Source::Solar, renewable_percent: 100, g_per_kwh: 41 };
        let reading = Some(Reading { estimated, ..Reading::of(claim, "fixed") });
        Piece { from_ms: from_h * HOUR, ms: hours * HOUR, energy_mj: 1, reading }
    };
    // The first of January 1970.
    let cases = [
        (vec![sun(11, 1, false), sun(12, 1, false)], vec![]),
        (vec![sun(11, 1, false), sun(20, 1, false), sun(22, 1, false)], vec![20 * HOUR]),
        (vec![sun(4, 8, false)], vec![4 * HOUR]),
        // The mean of a night and a morning, most of which was sun.
        (vec![sun(4, 8, true)], vec![]),
        (vec![sun(19, 4, true)], vec![19 * HOUR]),
    ];
    let mut expected = Vec::new();
    for (number, (pieces, implausible)) in cases.into_iter().enumerate() {
        let task = TaskId([number as u8; 32]);
        world.say(0, submitted(task));
        let Payload::Completed(mut ran) = completed(task, 1, &key(1, 1)) else { panic!("no result") };
        ran.statement.energy = Metered { how: How::Measured, pieces, ..Metered::default() };
        ran.signature = ran.statement.sign(&key(1, 1));
        world.say(0, Payload::Completed(ran));
        expected.extend(implausible);
    }
    world.sync_all();
    let device = world.device(1);
    for ledger in &world.ledgers[..2] {
        let dates = ledger.facts().dates(&device, ledger.governance(), u64::MAX, |_, _| Some(true));
        let mut implausible = dates.implausible;
        implausible.sort_unstable();
        expected.sort_unstable();
        assert_eq!(implausible, expected);
    }
}

// spec: CO2-3, CO2-4, API-3
#[test]
fn an_account_that_cannot_be_adds_nothing_and_is_named() {
    const WH: u64 = 3_600_000;
    let mut world = World::of(2);
    let (submitter, device) = (world.device(0), world.device(1));
    let grid = |g_per_kwh| {
        let claim = EnergyClaim { source: Source::Grid, renewable_percent: 0, g_per_kwh };
        Some(Reading::of(claim, "fixed"))
    };
    let piece =
        |start, energy_mj, g_per_kwh| Piece { from_ms: start, ms: WH, energy_mj, reading: grid(g_per_kwh) };
    for (number, home_mj, grams) in [(1, 2 * WH, Some(2)), (2, 16 * WH, Some(16)), (3, 10_000 * WH, None)] {
        let (task, start) = (TaskId([number; 32]), world.now);
        world.say(0, submitted(task));
        world.say(0, Payload::Delegated { task, attempt: 1, device, grant: None });
        let Payload::Completed(mut ran) = completed(task, 1, &key(1, 1)) else { panic!("no result") };
        let pieces = vec![piece(start, WH, 0)];
        ran.statement.energy = Metered { how: How::Measured, pieces, ..Metered::default() };
        ran.signature = ran.statement.sign(&key(1, 1));
        world.now += WH;
        world.say(0, Payload::Completed(ran));
        let mut account = Accounted {
            task,
            attempt: 1,
            factors: mesh_protocol::factors::Factors::default(),
            at_once: vec![piece(start, home_mj, 1000)],
            then: vec![piece(start, home_mj, 1000)],
            transfer_mj: 0,
            counted: vec![1],
            saved: None,
        };
        account.saved = mesh_policies::accounting::saved_by(
            &account,
            &world.ledgers[0].facts().tasks().result(&(submitter, task), 1).unwrap().taken().unwrap(),
            &[],
        );
        world.say(0, Payload::Accounted(Box::new(account.clone())));
        world.sync_all();
        let tasks = world.ledgers[1].facts().tasks();
        let checked = tasks.check(&submitter, &account);
        let balance = tasks.balance(&(submitter, task)).unwrap();
        let saved = balance.saved.map(|saved| saved.total_ug());
        assert_eq!(saved, grams.map(|grams| grams * 1_000_000), "{number}");
        match grams {
            Some(_) => assert_eq!(checked, Ok(account.saved)),
            None => assert!(checked.is_err() && balance.account.is_none(), "{checked:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() })]

    // spec: LED-3, LED-5, DEL-14
    #[test]
    fn all_that_hear_the_same_are_of_one_mind_whatever_the_order(
        members in 1..=USERS,
        sponsors in 1u8..=3,
        steps in proptest::collection::vec(step(), 0..60),
        seed: u64,
    ) {
        let mut world = World::by(Rules { sponsors, ..Rules::default() }).with(members);
        for step in steps {
            world.run(step);
            for ledger in &world.ledgers {
                let governance = &ledger.governance;
                prop_assert!(*governance.state() == governance.folded_anew(), "not as folded anew");
            }
        }
        same_in_any_order(&mut world, seed);
    }
}

// ---- one by one ----

// spec: NET-2, LED-3
#[test]
fn members_who_expel_each_other_both_stay_and_the_founder_decides() {
    let mut world = World::of(3);
    world.expel(1, 2, 0);
    world.expel(2, 1, 0);
    same_in_any_order(&mut world, 1);
    assert!([0, 1, 2].iter().all(|user| world.ledgers[0].governance.member(&world.user(*user)).is_some()));
    // The founder expels one who at the same time tries to expel the founder.
    world.expel(1, 0, 0);
    world.expel(0, 1, 0);
    same_in_any_order(&mut world, 2);
    let governance = &world.ledgers[2].governance;
    assert!(governance.member(&world.user(0)).is_some() && governance.member(&world.user(1)).is_none());
    assert_eq!(governance.owner(&world.device(1)), None);
}

// spec: LED-3
#[test]
fn an_expulsion_beats_what_is_concurrent_with_it() {
    let mut world = World::open(2);
    world.add_device(0, USERS);
    world.sync_all();
    // User 1 lets user 2 in, whose word is heard and named by the founder's second device.
    let admission = world.admit(1, 2, 7);
    world.sync(1, 2);
    let word = world.say(2, registered(1));
    world.sync(2, USERS);
    let after = world.say(USERS, registered(2));
    assert!(after.header().refs.contains(&word.tip()));
    assert_eq!(world.ledgers[USERS].len(&world.device(2)), 1);
    // The founder's first device has heard none of it.
    let expulsion = world.expel(0, 1, 0);
    same_in_any_order(&mut world, 3);
    let ledger = &world.ledgers[0];
    assert!(ledger.governance.member(&world.user(2)).is_none());
    assert!(ledger.governance.device(&world.device(2)).is_none());
    assert!(!ledger.has(&admission.tip()) && !ledger.has(&word.tip()) && ledger.has(&expulsion.tip()));
    assert!(ledger.has(&after.tip()), "what names their words stands");
    assert!(ledger.facts.registered(&world.device(2)).is_none());
}

// spec: LED-3
#[test]
fn what_an_expelled_member_says_later_is_neither_kept_nor_counted() {
    let mut world = World::of(2);
    world.say(1, registered(1));
    world.sync(1, 0);
    let late = [
        world.say(1, registered(2)),
        world.say(1, Payload::PeerOnline),
        world.say(1, grant(world.device(1), world.user(0))),
        world.say(1, submitted(TaskId([1; 32]))),
        world.say(
            1,
            Payload::Delegated { task: TaskId([1; 32]), attempt: 1, device: world.device(0), grant: None },
        ),
        world.say(1, Payload::Accepted { task: TaskId([2; 32]), attempt: 1 }),
        world.say(1, Payload::Revoked { grant: EntryId::ZERO }),
    ];
    let mut had_all = world.observer(&world.all);
    let expulsion = world.expel(0, 1, 0);
    had_all.take(expulsion);
    assert_eq!(had_all.len(&world.device(1)), 1);
    assert_eq!(had_all.cuts(), [(world.device(1), 1)]);
    let first = had_all.facts.registered(&world.device(1)).unwrap();
    assert_eq!(first.slots, 1, "what they said before stands");
    assert!(had_all.facts.grants().is_empty() && had_all.facts.tasks().keys().next().is_none());
    assert!(!had_all.facts.online(&world.device(1)));
    assert!(!had_all.facts.tasks().has_answered(&TaskId([2; 32]), 1, &world.device(1)));
    for entry in late {
        assert!(matches!(had_all.take(entry), Taken::Ignored(_)));
    }
    same_in_any_order(&mut world, 4);
    equal(&had_all, &world.ledgers[0]);
}

// spec: LED-3
#[test]
fn what_a_device_said_of_a_task_it_never_submitted_stays_when_its_log_is_cut_behind_that() {
    let mut world = World::of(2);
    let task = TaskId([1; 32]);
    world.say(1, Payload::Delegated { task, attempt: 1, device: world.device(0), grant: None });
    world.sync(1, 0);
    world.say(1, Payload::PeerOnline);
    world.expel(0, 1, 0);
    same_in_any_order(&mut world, 5);
    assert!(world.ledgers[0].facts.tasks().keys().any(|key| key == (world.device(1), task)));
}

// spec: LED-5
#[test]
fn a_fork_counts_on_nobodys_ledger_and_all_prove_the_same() {
    let mut world = World::of(3);
    let (one, other) = world.fork(1);
    world.ledgers[2].take(one.clone());
    world.sync(1, 0);
    // The founder names one branch before it hears of the other.
    let before = world.say(0, Payload::PeerOnline);
    assert!(before.header().refs.contains(&other.tip()));
    assert_eq!(world.ledgers[0].take(one.clone()), Taken::Fork(world.device(1), 0));
    assert_eq!(world.ledgers[2].take(other.clone()), Taken::Fork(world.device(1), 0));
    let proof = world.ledgers[0].prove_fork(&other).unwrap();
    assert_eq!(world.ledgers[2].prove_fork(&one).unwrap(), proof);
    assert!(world.ledgers[2].prove_fork(&one).is_none(), "once");
    // Whoever holds the other branch hears of the proof all the same, and of who named what it lacks.
    let mut stuck = world.observer(&[&world.all[..3], std::slice::from_ref(&one)].concat());
    let said = world.say(0, Payload::Forked(Box::new(proof)));
    assert!(said.header().refs.iter().all(|tip| tip.author != world.device(1)));
    assert_eq!(stuck.take(before.clone()), Taken::New(vec![before]));
    assert_eq!(stuck.take(said.clone()), Taken::New(vec![said]));
    for ledger in world.ledgers.iter().chain([&stuck]) {
        if ledger.governance.cap(&world.device(1)).is_some() {
            assert_eq!((ledger.governance.cap(&world.device(1)), ledger.len(&world.device(1))), (Some(0), 0));
        }
    }
    same_in_any_order(&mut world, 6);
    equal(&stuck, &world.ledgers[0]);
    assert!(world.ledgers[0].governance.owner(&world.device(1)).is_none(), "a forked key is not trusted");
}

// spec: LED-5, DEL-14
#[test]
fn a_proof_of_a_fork_outlives_whoever_said_it() {
    let mut world = World::of(3);
    let (one, other) = world.fork(1);
    world.sync(1, 2);
    world.ledgers[2].take(one);
    let proof = world.ledgers[2].prove_fork(&other).unwrap();
    let said = world.say(2, Payload::Forked(Box::new(proof.clone())));
    // Somebody has heard it when its author turns out to be expelled, and somebody hears it later.
    let mut early = world.observer(&world.all);
    assert_eq!(early.governance.cap(&world.device(1)), Some(0));
    let expulsion = world.expel(0, 2, 0);
    early.take(expulsion);
    let proof = Payload::Forked(Box::new(proof));
    assert_eq!(orphans(&mut early), std::slice::from_ref(&proof));
    assert!(orphans(&mut early).is_empty(), "once");
    assert!(orphans(&mut world.ledgers[0]).is_empty());
    assert!(matches!(world.ledgers[0].take(said), Taken::Ignored(_)));
    assert_eq!(orphans(&mut world.ledgers[0]), [proof]);
    same_in_any_order(&mut world, 7);
    assert_eq!(world.ledgers[0].governance.cap(&world.device(1)), Some(0));
}

// spec: NET-2
#[test]
fn nothing_of_a_key_that_nobody_admitted_is_kept() {
    let mut world = World::of(2);
    let before = world.ledgers[0].state_digest();
    let place = Place {
        community: world.community(),
        seq: 0,
        prev: EntryId::ZERO,
        refs: vec![],
        hlc: Hlc::at(2_000_000),
    };
    for payload in [Payload::PeerOnline, Payload::Admitted(Box::new(world.request(4, 4)))] {
        let stranger = Entry::write(&key(9, 9), place.clone(), payload);
        assert_eq!(world.ledgers[0].take(stranger), Taken::Waits);
    }
    assert_eq!((world.ledgers[0].state_digest(), world.ledgers[0].len(&key(9, 9).public())), (before, 0));
    // Somebody admitted says something, and all of it that was heard too early is there at once.
    let admission = world.admit(0, 2, 2);
    world.sync(0, 2);
    let word = world.say(2, Payload::PeerOnline);
    let mut peer = world.observer(&world.all[..2]);
    assert_eq!(peer.take(word.clone()), Taken::Waits);
    assert_eq!(peer.take(admission.clone()), Taken::New(vec![admission, word]));
}

// spec: NET-2
#[test]
fn a_ticket_lets_one_in_and_nobody_elses_word_uses_it_up() {
    let mut world = World::of(3);
    world.admit(0, 3, 9);
    world.admit(0, 4, 9);
    let early = world.ledgers[1].clone();
    world.sync(0, 1);
    world.admit(1, 3, 9);
    world.admit(1, 4, 9);
    // Another member says earlier that the same ticket is somebody else's.
    world.ledgers[2] = early;
    world.now = 1_000_100;
    world.admit(2, 4, 9);
    same_in_any_order(&mut world, 8);
    let is_in = |user: usize| world.ledgers[0].governance.member(&world.user(user)).is_some();
    assert_eq!((is_in(3), is_in(4)), (true, false));
}

// spec: NET-2
#[test]
fn the_founder_lets_in_two_alone_and_then_two_must_vouch() {
    let mut world = World::of(3);
    let is_in = |world: &World| world.ledgers[0].governance.member(&world.user(3)).is_some();
    assert!([1, 2].iter().all(|user| world.ledgers[0].governance.members()[&world.user(*user)].needed == 1));
    world.admit(0, 3, 3);
    world.admit(0, 3, 3);
    world.add_device(0, USERS);
    world.sync(0, USERS);
    world.admit(USERS, 3, 3);
    world.sync(USERS, 0);
    // The same person by another key is the same sponsor.
    world.rotate(0, 0);
    world.admit(0, 3, 3);
    assert!(!is_in(&world), "one member, however often");
    assert!(world.ledgers[0].governance.request_of(|_, user| *user == world.user(3)).is_some());
    world.sync(0, 1);
    world.admit(1, 3, 3);
    world.sync(1, 0);
    assert!(is_in(&world));
    same_in_any_order(&mut world, 9);
    // Nobody else lets anybody in alone, even in a community of two; and whoever is expelled makes room again.
    let mut world = World::of(2);
    world.admit(1, 2, 2);
    world.sync(1, 0);
    assert!(world.ledgers[0].governance.member(&world.user(2)).is_none());
    for user in [2, 3, 4] {
        world.admit(0, user, user);
    }
    let is_in = |world: &World, user: usize| world.ledgers[0].governance.member(&world.user(user)).is_some();
    assert_eq!((is_in(&world, 2), is_in(&world, 3), is_in(&world, 4)), (true, false, false));
    world.expel(0, 1, 0);
    world.admit(0, 3, 3);
    assert!(is_in(&world, 3) && !is_in(&world, 4));
    same_in_any_order(&mut world, 9);
}

/// Who belongs, and since when.
fn members(ledger: &Ledger) -> Vec<(UserKey, Hlc)> {
    let members = ledger.governance.members().iter().filter(|(_, member)| member.is_in());
    members.map(|(user, member)| (*user, member.since)).collect()
}

// spec: LED-10, NET-2
#[test]
fn no_date_that_a_member_claims_lets_anybody_in_or_puts_anybody_out() {
    // A friend, by a ticket of their own and by that which let user 3 in.
    for invite in [4, 3] {
        let mut world = World::of(2);
        let certified = world.add_device(1, USERS + 1);
        world.sync_all();
        for (sponsor, user) in [(0, 2), (0, 3), (1, 3)] {
            world.admit(sponsor, user, user);
            world.sync_all();
        }
        world.say(3, registered(1));
        world.sync_all();
        let before = members(&world.ledgers[0]);
        assert_eq!(before.len(), 4);
        // A device that never said anything dates its first word back to when there were two members.
        let place = Place {
            community: world.community(),
            seq: 0,
            prev: EntryId::ZERO,
            refs: vec![],
            hlc: certified.header().hlc.next(0),
        };
        let friend = Payload::Admitted(Box::new(world.request(4, invite)));
        world.all.push(Entry::write(&world.devices[USERS + 1], place, friend));
        same_in_any_order(&mut world, 20);
        assert_eq!(world.ledgers[0].len(&world.device(USERS + 1)), 1, "it is kept");
        assert_eq!(members(&world.ledgers[0]), before);
        assert_eq!(world.ledgers[0].len(&world.device(3)), 1);
    }
}

// spec: LED-10, NET-1
#[test]
fn whoever_claims_anothers_key_as_their_new_one_gains_nothing_at_any_date() {
    // Against whoever was let in later, and against whoever replaced their key by that one.
    for replaces in [false, true] {
        let mut world = World::of(2);
        let certified = world.add_device(1, USERS + 1);
        world.sync_all();
        world.admit(0, 2, 2);
        world.sync_all();
        world.say(2, registered(1));
        if replaces {
            world.rotate(2, 2);
        }
        world.sync_all();
        let (theirs, before) = (world.user(2), members(&world.ledgers[0]));
        // All that one can sign without that key, by a device that never said anything.
        let (community, mallory) = (world.community(), world.user(1));
        let place = Place {
            community,
            seq: 0,
            prev: EntryId::ZERO,
            refs: vec![],
            hlc: certified.header().hlc.next(0),
        };
        let message = canonical::encode(&(community, mallory, theirs, place.hlc));
        let claim = Rotation {
            community,
            user: mallory,
            new: theirs,
            from: place.hlc,
            signature: key(3, 1).sign(Domain::Rotation, &message),
            consent: key(3, 1).sign(Domain::Successor, &message),
        };
        let claim = Payload::KeyRotated(Box::new(claim));
        world.all.push(Entry::write(&world.devices[USERS + 1], place, claim));
        let second = world.device(USERS + 1);
        same_in_any_order(&mut world, 28);
        let ledger = &world.ledgers[0];
        assert_eq!(members(ledger), before);
        assert_eq!(ledger.governance.owner(&world.device(2)), Some(theirs));
        assert_eq!(ledger.len(&world.device(2)), 1 + u64::from(replaces));
        assert_eq!(ledger.governance.current(mallory), mallory);
        assert_eq!(ledger.len(&second), 0, "nobody keeps it");
    }
}

// spec: NET-1, NET-2
#[test]
fn a_replaced_key_is_the_same_member_and_no_way_out_or_in() {
    let mut world = World::of(2);
    let old = world.user(1);
    // Whoever has the old key asks to come in with another device.
    let cert = DeviceCert::of(&world.users[1][0], world.community(), &world.devices[USERS + 1], 1000, 0);
    let request = JoinRequest { cert, ..world.request(1, 8) }.sign(&world.users[1][0], &ticket(8));
    assert!(request.verify(&world.community()));
    world.rotate(1, 1);
    world.sync(1, 0);
    assert_eq!(world.ledgers[0].governance.current(old), world.user(1));
    assert_eq!(world.ledgers[0].governance.owner(&world.device(1)), Some(world.user(1)));
    world.say(0, Payload::Admitted(Box::new(request)));
    assert!(world.ledgers[0].governance.member(&old).is_none(), "not a second time by the old key");
    // Whoever did not hear of it yet expels them by the old key.
    let tips = vec![world.ledgers[0].tip(&world.device(1)).unwrap()];
    world.say(0, Payload::Expelled { user: old, tips, why: String::new() });
    assert!(world.ledgers[0].governance.member(&world.user(1)).is_none());
    same_in_any_order(&mut world, 10);
    // Only the recovery key replaces a key.
    let mut world = World::of(2);
    let (old, new) = (world.user(1), UserKey(key(5, 1).public()));
    let rotation = |by: &SecretKey, community, from| {
        Payload::KeyRotated(Box::new(Rotation::sign(by, community, old, &key(5, 1), from)))
    };
    let (now, community) = (Hlc::at(world.now), world.community());
    world.say(1, rotation(&world.users[1][0], community, now));
    assert!(world.ledgers[1].governance.member(&new).is_none());
    refused(&mut world, 1, rotation(&key(3, 1), CommunityId([1; 32]), now));
    // Nor does anybody say it as of a day before it was said.
    let later = Hlc::at(now.wall_ms() + 1000);
    refused(&mut world, 1, rotation(&key(3, 1), community, later));
    world.say(1, rotation(&key(3, 1), community, now));
    assert!(world.ledgers[1].governance.member(&new).is_some());
}

/// Nobody writes this, and nobody takes it from who wrote it all the same.
fn refused(world: &mut World, by: usize, payload: Payload) {
    let ledger = &mut world.ledgers[by];
    assert!(ledger.write(&world.devices[by], world.now, payload.clone(), &[]).is_err());
    let author = world.devices[by].public();
    let prev = ledger.tip(&author).map_or(EntryId::ZERO, |tip| tip.id);
    let (community, seq) = (ledger.community().unwrap(), ledger.len(&author));
    let hlc = ledger.clock().next(world.now);
    let entry = Entry::write(&world.devices[by], Place { community, seq, prev, refs: vec![], hlc }, payload);
    let taken = ledger.clone().take(entry);
    assert!(matches!(taken, Taken::Ignored(why) if why.contains("signed")), "{taken:?}");
}

// spec: LED-6, DEL-4
#[test]
fn what_is_not_signed_by_whom_it_names_is_nobodys() {
    let mut world = World::of(2);
    let task = TaskId([1; 32]);
    let Payload::Completed(mut forged) = completed(task, 1, &key(1, 1)) else { panic!("no result") };
    forged.statement.executor = world.device(0);
    refused(&mut world, 1, Payload::Completed(forged));
    let mut request = world.request(3, 3);
    request.recovery = key(3, 1).public();
    refused(&mut world, 1, Payload::Admitted(Box::new(request)));
    world.say(1, completed(task, 1, &key(1, 0)));
    same_in_any_order(&mut world, 26);
}

// spec: NET-1
#[test]
fn only_its_user_adds_or_revokes_a_device_and_only_with_its_consent() {
    let mut world = World::of(3);
    let (community, second) = (world.community(), world.device(USERS + 1));
    let mine = DeviceCert::of(&world.users[1][0], community, &world.devices[USERS + 1], 300, 0);
    let mut changed = mine.clone();
    changed.share = 400;
    // Somebody certifies a device that is not theirs, before its user does.
    let theirs = DeviceCert::sign(&world.users[2][0], community, second, mine.consent, 300, 0);
    for (by, cert) in [(1, changed), (2, theirs)] {
        refused(&mut world, by, added(cert));
    }
    // The user's word is enough, whoever passes it on.
    world.say(0, added(mine));
    assert_eq!(world.ledgers[0].governance.owner(&second), Some(world.user(1)));
    assert_eq!(world.ledgers[0].governance.device(&second).unwrap().name, "another");
    world.sync(0, USERS + 1);
    world.say(USERS + 1, Payload::PeerOnline);
    world.sync(USERS + 1, 0);
    let elsewhere = Revocation::sign(&world.users[1][0], CommunityId([9; 32]), second, None);
    refused(&mut world, 0, Payload::KeyRevoked(Box::new(elsewhere)));
    let revocation = Revocation::sign(&world.users[2][0], community, second, None);
    world.say(0, Payload::KeyRevoked(Box::new(revocation)));
    assert!(world.ledgers[0].governance.owner(&second).is_some(), "not by somebody else");
    world.sync(0, 1);
    world.revoke(1, USERS + 1, 99);
    same_in_any_order(&mut world, 11);
    assert_eq!(world.ledgers[0].governance.owner(&second), None);
    assert_eq!(world.ledgers[0].len(&second), 0, "the user said that nothing of it counts");
}

// spec: NET-1
#[test]
fn a_user_has_no_end_of_devices() {
    let mut world = World::of(2);
    for number in 0..MAX_DEVICES + 3 {
        let device = key(7, number);
        let cert = DeviceCert::of(&world.users[1][0], world.community(), &device, 0, 0);
        world.say(1, added(cert));
    }
    let owner = world.user(1);
    let devices = world.ledgers[1].governance.devices().values().filter(|device| device.user == owner);
    assert_eq!(devices.count(), MAX_DEVICES);
    same_in_any_order(&mut world, 22);
}

// spec: LED-3, DEL-14
#[test]
fn two_devices_that_revoke_each_other_are_both_revoked_for_everybody() {
    for less in [0, 99] {
        let mut world = World::of(3);
        world.add_device(1, USERS + 1);
        world.sync_all();
        let words = [(1, USERS + 1), (USERS + 1, 1)].map(|(by, of)| world.revoke(by, of, less));
        let mut early: Vec<Ledger> = Vec::new();
        for word in &words {
            let mut peer = world.observer(&world.all[..world.all.len() - 2]);
            peer.take(word.clone());
            early.push(peer);
        }
        same_in_any_order(&mut world, 23);
        for mut peer in early {
            take_all(&mut peer, &world.all, &world.all);
            equal(&peer, &world.ledgers[0]);
        }
        let governance = &world.ledgers[0].governance;
        assert!([1, USERS + 1].iter().all(|device| governance.owner(&world.device(*device)).is_none()));
        // Their user is a member all the same, and comes back with another device by anybody's help.
        let cert = DeviceCert::of(&world.users[1][0], world.community(), &key(7, 1), 500, 0);
        world.say(2, added(cert));
        same_in_any_order(&mut world, 24);
        assert_eq!(world.ledgers[0].governance.owner(&key(7, 1).public()), Some(world.user(1)));
    }
}

// spec: NET-1, LED-3
#[test]
fn a_revocation_outlives_whoever_passed_it_on() {
    let mut world = World::of(3);
    world.add_device(1, USERS + 1);
    world.sync_all();
    world.revoke(2, USERS + 1, 99);
    world.expel(0, 2, 99);
    same_in_any_order(&mut world, 25);
    assert!(world.ledgers[0].governance.member(&world.user(2)).is_none());
    assert_eq!(world.ledgers[0].governance.owner(&world.device(USERS + 1)), None);
}

// spec: LED-3
#[test]
fn a_revocation_that_rests_on_what_it_takes_back_is_passed_on_once() {
    let mut world = World::by(Rules { sponsors: 1, ..Rules::default() }).with(5);
    // A new user key takes back the device that said it is the new one, in a log which is taken back itself.
    world.rotate(1, 1);
    world.revoke(3, 2, 0);
    world.revoke(2, 1, 0);
    same_in_any_order(&mut world, 27);
    assert_eq!(world.ledgers[0].governance.owner(&world.device(1)), Some(world.user(1)));
}

// spec: LED-3
#[test]
fn what_takes_back_what_it_rests_on_itself_does_not_hold() {
    let mut world = World::of(2);
    world.add_device(0, USERS);
    world.sync_all();
    // By a device which the revoked one added, with no word of that one left: not even the founding.
    let revocation = world.revoke(USERS, 0, 99);
    same_in_any_order(&mut world, 12);
    let ledger = &world.ledgers[1];
    assert!(ledger.has(&revocation.tip()), "it is kept and says nothing");
    assert_eq!(ledger.governance.owner(&world.device(0)), Some(world.user(0)));
    assert_eq!(ledger.governance.owner(&world.device(1)), Some(world.user(1)));
    // With all that was heard of it, it holds.
    let revocation = world.revoke(USERS, 0, 0);
    same_in_any_order(&mut world, 13);
    let ledger = &world.ledgers[1];
    assert!(ledger.has(&revocation.tip()));
    assert_eq!(ledger.governance.owner(&world.device(0)), None);
    assert_eq!(ledger.governance.owner(&world.device(1)), Some(world.user(1)));
}

// spec: LED-3
#[test]
fn what_was_beaten_by_something_void_counts_again() {
    let mut world = World::open(2);
    world.add_device(0, USERS);
    world.sync_all();
    // The founder's second device expels user 1, who lets user 2 in; the first revokes the second, not having heard it.
    let admission = world.admit(1, 2, 2);
    let expulsion = world.expel(USERS, 1, 0);
    let mut peer = world.observer(&world.all);
    assert!(!peer.has(&admission.tip()) && peer.has(&expulsion.tip()));
    let revocation = world.revoke(0, USERS, 0);
    peer.take(revocation);
    assert!(!peer.has(&expulsion.tip()) && peer.governance.member(&world.user(1)).is_some());
    peer.take(admission);
    same_in_any_order(&mut world, 14);
    equal(&peer, &world.ledgers[0]);
    assert!(peer.governance.member(&world.user(2)).is_some());
}

/// An entry of device 1 of `world` that follows what it has, changed.
fn odd(world: &World, change: impl FnOnce(&mut Place)) -> Entry {
    let ledger = &world.ledgers[1];
    let tip = ledger.tip(&world.device(1)).unwrap();
    let hlc = Hlc::at(world.now + 1);
    let mut place = Place { community: world.community(), seq: tip.seq + 1, prev: tip.id, refs: vec![], hlc };
    change(&mut place);
    Entry::write(&world.devices[1], place, Payload::PeerOffline)
}

// spec: LED-1
#[test]
fn an_entry_comes_after_what_it_follows_and_what_it_names_decides_nothing() {
    let mut world = World::of(3);
    let first = world.say(1, Payload::PeerOnline);
    world.sync(1, 0);
    let tip = first.tip();
    let peer = |world: &World| world.ledgers[0].clone();
    let take = |entry: Entry| peer(&world).take(entry);
    assert!(matches!(take(odd(&world, |_| {})), Taken::New(_)));
    assert_eq!(take(first.clone()), Taken::Known);
    assert!(matches!(take(odd(&world, |place| place.hlc = first.header().hlc)), Taken::Ignored(_)));
    assert!(matches!(take(odd(&world, |place| place.community = CommunityId([1; 32]))), Taken::Ignored(_)));
    assert_eq!(take(odd(&world, |place| place.seq += 1)), Taken::Waits);
    assert_eq!(take(odd(&world, |place| place.prev = EntryId([1; 32]))), Taken::Waits);
    let founder = world.ledgers[0].tip(&world.device(0)).unwrap();
    let early = odd(&world, |place| {
        place.hlc = Hlc(first.header().hlc.0 + 1);
        place.refs = vec![founder];
    });
    assert!(matches!(take(early), Taken::New(_)), "the founder's word was before");
    // A gap closes whatever the order: the last comes first.
    let second = world.say(1, Payload::PeerOffline);
    world.sync(1, 2);
    let third = world.say(2, Payload::PeerOnline);
    assert!(third.header().refs.contains(&second.tip()));
    let fourth = world.say(2, Payload::PeerOffline);
    let mut late = peer(&world);
    assert_eq!(late.take(fourth.clone()), Taken::Waits);
    assert_eq!(late.take(third.clone()), Taken::New(vec![third, fourth]));
    assert_eq!(late.take(second.clone()), Taken::New(vec![second.clone()]));
    assert!(
        late.waiting.is_empty()
            && late.blocked.is_empty()
            && late.queues.iter().all(|queue| queue.by_date.is_empty())
    );
    // A clock that does not come after what it names: whoever lacks that could not tell.
    let backdated = odd(&world, |place| {
        place.hlc = Hlc(second.header().hlc.0 + 1);
        place.refs = vec![Tip { seq: 1, ..world.ledgers[2].tip(&world.device(2)).unwrap() }];
    });
    assert!(matches!(world.ledgers[2].clone().take(backdated.clone()), Taken::New(_)));
    let mut lacking = peer(&world);
    lacking.take(second);
    assert!(matches!(lacking.take(backdated), Taken::New(_)));
    assert!(world.ledgers[0].has(&tip) && !world.ledgers[0].has(&Tip { seq: 1, ..tip }));
}

/// Somebody names what a key never wrote, and another of their devices certifies that key afterwards.
// spec: LED-3, LED-4
#[test]
fn what_an_entry_names_never_splits_the_ledger_whoever_is_certified_later() {
    let mut world = World::open(3);
    world.say(1, Payload::PeerOnline);
    world.sync_all();
    let never = key(1, 1 + USERS);
    let made_up = Tip { author: never.public(), seq: 0, id: EntryId([7; 32]) };
    let naming = odd(&world, |place| place.refs = vec![made_up]);
    world.all.push(naming.clone());
    for ledger in &mut world.ledgers[..3] {
        assert!(matches!(ledger.take(naming.clone()), Taken::New(_)));
    }
    // Honest ones follow what it says.
    let following = world.say(2, Payload::PeerOnline);
    assert!(following.header().refs.contains(&naming.tip()));
    world.sync_all();
    world.add_device(1, 1 + USERS);
    world.sync_all();
    assert!(world.ledgers[0].governance().device(&never.public()).is_some());
    for ledger in &world.ledgers[..3] {
        assert!(ledger.has(&naming.tip()) && ledger.has(&following.tip()));
    }
    same_in_any_order(&mut world, 11);
    // Whoever knows the key's certificate first takes the rest all the same.
    let mut late: Vec<Entry> = world.all.clone();
    late.sort_by_key(|entry| (!entry.payload().governs(), entry.header().hlc));
    equal(&world.observer(&late), &world.ledgers[0]);
}

/// The first of the waiting is what comes next, so it must not go when there are many.
// spec: LED-4, ARC-7
#[test]
fn of_too_many_that_wait_the_earliest_stay() {
    let mut world = World::of(2);
    let first = world.say(1, Payload::PeerOnline);
    let rest: Vec<Entry> = (0..MAX_WAITING + 50).map(|_| world.say(1, Payload::PeerOffline)).collect();
    let mut ledger = world.ledgers[0].clone();
    for entry in &rest {
        assert_eq!(ledger.take(entry.clone()), Taken::Waits);
    }
    assert!(ledger.waiting.len() <= MAX_WAITING);
    let Taken::New(new) = ledger.take(first) else { panic!("the first is next") };
    assert_eq!(new.len(), 1 + MAX_WAITING, "all that was kept follows it");
    assert!(
        ledger.waiting.is_empty()
            && ledger.blocked.is_empty()
            && ledger.queues.iter().all(|queue| queue.by_date.is_empty())
    );
    // The other way round, those that come late but are earlier take the places of the others.
    let mut ledger = world.ledgers[0].clone();
    for entry in rest.iter().rev() {
        ledger.take(entry.clone());
    }
    assert!(ledger.waiting.contains_key(&(world.device(1), 1)));
    assert_eq!(ledger.waiting.len(), ledger.queues[0].by_date.len());
}

// spec: ARC-7
#[test]
fn what_waits_in_vain_keeps_nobody_out() {
    let mut world = World::of(2);
    let community = world.community();
    let stranger = key(9, 9);
    let mut ledger = world.ledgers[0].clone();
    for seq in 0..=MAX_WAITING as u64 {
        let prev = if seq == 0 { EntryId::ZERO } else { EntryId([1; 32]) };
        let place = Place { community, seq, prev, refs: vec![], hlc: Hlc::at(seq + 1) };
        assert_eq!(ledger.take(Entry::write(&stranger, place, Payload::PeerOnline)), Taken::Waits);
        assert!(ledger.waiting.len() <= MAX_WAITING);
        assert!(ledger.blocked.values().map(BTreeSet::len).sum::<usize>() <= MAX_WAITING);
    }
    let (first, second) = (world.say(1, Payload::PeerOnline), world.say(1, Payload::PeerOffline));
    assert_eq!(ledger.take(second.clone()), Taken::Waits);
    assert_eq!(ledger.take(first.clone()), Taken::New(vec![first, second]));
    let (one, _) = world.fork(1);
    take_all(&mut ledger, &world.all, &world.all);
    ledger.take(one);
    assert!(ledger.suspects.is_empty(), "what is proven is not looked up again");
}

// spec: NET-4
#[test]
fn an_hour_has_room_for_so_many_entries_of_one_device() {
    const HOUR: u64 = 3_600_000;
    let mut world = World::of(2);
    let me = world.device(1);
    let room = |world: &World, at: u64| world.ledgers[1].room_in_hour(&me, at, 3);
    assert_eq!(room(&world, world.now), 3);
    let start = world.now;
    world.say(1, Payload::PeerOnline);
    world.now += 1000;
    world.say(1, Payload::PeerOffline);
    assert_eq!(room(&world, world.now), 1);
    world.say(1, Payload::PeerOnline);
    world.say(1, Payload::PeerOnline);
    assert_eq!(room(&world, world.now), 0);
    assert_eq!(room(&world, start + 500 + HOUR), 0, "the first has passed, three are left");
    assert_eq!(room(&world, world.now + HOUR + 1), 3);
}

// spec: LED-10
#[test]
fn an_entry_counts_as_of_its_own_date_if_enough_others_saw_it_in_time() {
    let author = key(1, 0).public();
    let device = |number: usize| key(1, number).public();
    // Device 8 is another of the author's user.
    let owner = |device: &PublicKey| {
        let number = (0..10).find(|number| key(1, *number).public() == *device)?;
        Some(UserKey(key(2, if number == 8 { 0 } else { number }).public()))
    };
    let mut facts = Facts::default();
    let mut saw = |witness: usize, place: u64, upto: u64, at_ms: u64| {
        let prev = if place == 0 { EntryId::ZERO } else { EntryId([1; 32]) };
        let community = CommunityId([1; 32]);
        let tips = vec![Tip { author, seq: upto, id: EntryId([2; 32]) }];
        let place = Place { community, seq: place, prev, refs: vec![], hlc: Hlc::at(at_ms) };
        facts.add(&Entry::write(&key(1, witness), place, Payload::Witnessed { tips }));
    };
    // Entry 5 is dated 1000; up to 200 later is in time.
    saw(1, 0, 4, 1010);
    saw(1, 1, 5, 1150);
    saw(1, 2, 9, 1900);
    saw(2, 0, 6, 1500);
    saw(3, 0, 5, 1700);
    saw(8, 0, 5, 1001);
    saw(0, 0, 5, 1002);
    let here = Here { ids: &[EntryId([2; 32]); 11], cap: None };
    let date = |seq: u64, members: usize, skew: u64| {
        let entry = (&author, seq, Hlc::at(1000));
        facts.dated(entry, members, skew, here, owner).ok().map(Hlc::wall_ms)
    };
    // (members, skew) and the date as of which entry 5 counts.
    let table = [
        (1, 200, Some(1000)),
        (2, 200, Some(1000)),
        (2, 100, Some(1150)),
        (3, 200, Some(1500)),
        (9, 200, Some(1500)),
        (9, 499, Some(1500)),
        (9, 500, Some(1000)),
    ];
    for (members, skew, expected) in table {
        assert_eq!(date(5, members, skew), expected, "{members} members, {skew} ms");
    }
    assert_eq!(date(6, 3, 200), Some(1900), "entry 6 was seen by 2 at 1500 and by 1 at 1900");
    assert_eq!(date(9, 3, 9999), None, "only one has seen it");
    assert_eq!(date(9, 2, 9999), Some(1000));
    assert_eq!(date(10, 2, 9999), None, "nobody has");
    let witnesses: BTreeMap<PublicKey, Hlc> = facts.witnesses(&author, 5, here).collect();
    assert_eq!(witnesses.len(), 4, "the author is none of them");
    assert_eq!(witnesses[&device(1)].wall_ms(), 1150, "the first time counts");
}

// spec: LED-10, LED-3
#[test]
fn nobody_bears_witness_to_what_is_not_written_yet() {
    let mut world = World::of(3);
    let device = USERS;
    world.add_device(0, device);
    world.sync_all();
    let author = world.device(device);
    let then = world.now;
    // Two friends see a log that has not begun, up to wherever it may end.
    for witness in [1, 2] {
        let ahead = |seq| Tip { author, seq, id: EntryId([seq as u8; 32]) };
        world.say(witness, Payload::Witnessed { tips: vec![ahead(0)] });
        world.say(witness, Payload::Witnessed { tips: vec![ahead(1 << 40)] });
    }
    world.now = then;
    world.ledgers[device].clock = Hlc::at(then);
    world.say(device, Payload::PeerOnline);
    let vote = world.say(device, submitted(TaskId([1; 32])));
    world.sync_all();
    let date = |ledger: &Ledger| {
        let owner = |device: &PublicKey| ledger.governance.device(device).map(|it| it.user);
        let entry = (&author, vote.header().seq, vote.header().hlc);
        ledger.date(entry, 3, 10, owner).map(Hlc::wall_ms)
    };
    assert_eq!(date(&world.ledgers[0]), None);
    // Once they have seen it, it counts as of then, whether it or their word is heard first.
    world.now += 1000;
    for witness in [1, 2] {
        let tips = vec![world.ledgers[witness].tip(&author).unwrap()];
        world.say(witness, Payload::Witnessed { tips });
    }
    let seen = Some(world.now);
    let (last, before): (Vec<Entry>, Vec<Entry>) =
        world.all.iter().cloned().partition(|entry| entry.id() == vote.id());
    let mut ledger = world.observer(&before);
    assert_eq!((date(&ledger), ledger.reached()), (None, BTreeSet::new()));
    take_all(&mut ledger, &last, &world.all);
    assert_eq!((date(&ledger), ledger.reached()), (seen, BTreeSet::from([author])));
    same_in_any_order(&mut world, 5);
    assert_eq!(date(&world.ledgers[0]), seen);
}

// spec: LED-10, LED-3
#[test]
fn what_was_seen_of_a_log_still_counts_when_its_end_is_cut_off() {
    let mut world = World::of(3);
    let device = USERS;
    world.add_device(0, device);
    world.sync_all();
    let vote = world.say(device, submitted(TaskId([1; 32])));
    let tips = vec![world.say(device, Payload::PeerOffline).tip()];
    world.sync_all();
    for witness in [1, 2] {
        world.say(witness, Payload::Witnessed { tips: tips.clone() });
    }
    world.sync_all();
    let date = |ledger: &Ledger| {
        let owner = |device: &PublicKey| ledger.governance.device(device).map(|it| it.user);
        ledger.date((&vote.header().author, 0, vote.header().hlc), 3, 1000, owner)
    };
    assert_eq!(date(&world.ledgers[0]), Some(vote.header().hlc));
    world.revoke(0, device, 1);
    same_in_any_order(&mut world, 6);
    assert!(!world.ledgers[0].has(&tips[0]));
    assert_eq!(date(&world.ledgers[0]), Some(vote.header().hlc));
}

// spec: VOTE-2, LED-3
#[test]
fn of_proposals_without_end_the_first_of_a_log_count() {
    let mut world = World::of(2);
    let propose = |quorum: u16| {
        let rules = Rules { quorum, ..Rules::default() };
        Payload::RulesProposed { rules: Box::new(rules), why: String::new() }
    };
    let mut counted = Vec::new();
    for number in 0..20 {
        let entry = world.say(1, propose(number));
        counted.extend((number < 8).then(|| entry.id()));
    }
    world.now += 31 * 24 * 3_600_000;
    for number in 20..40 {
        let entry = world.say(1, propose(number));
        counted.extend((number < 28).then(|| entry.id()));
    }
    same_in_any_order(&mut world, 3);
    counted.sort_unstable();
    let proposals = world.ledgers[0].facts.ballots().proposals();
    assert!(proposals.keys().copied().eq(counted.iter().copied()));
    // A made-up past is no way round.
    world.now = 0;
    let device = USERS;
    world.add_device(0, device);
    world.sync_all();
    world.ledgers[device].clock = Hlc::default();
    for number in 0..300 {
        world.now = number * 31 * 24 * 3_600_000;
        world.say(device, propose(1));
    }
    world.sync_all();
    assert_eq!(world.ledgers[1].facts.ballots().proposals().len(), 16 + 256);
}

fn voted(task: TaskId, number: usize) -> Payload {
    let importance = if number.is_multiple_of(2) { Importance::High } else { Importance::Low };
    Payload::Voted { task, importance, comment: String::new() }
}

// spec: VOTE-8, LED-3
#[test]
fn what_a_log_says_of_a_ballot_last_counts_and_of_more_than_four_times_the_fourth() {
    let mut world = World::of(2);
    let (device, task) = (world.device(1), TaskId([7; 32]));
    let claim = |level| Payload::Consensus { task, importance: Some(level), votes: vec![] };
    let now =
        |world: &World| world.ledgers[1].facts().ballots().consensus(&device, &task).and_then(|it| it.0);
    use Importance::{Critical, High, Low, Normal};
    let may = |world: &World| world.ledgers[1].facts().ballots().may_claim(&device, &task);
    for (level, counts) in [(High, High), (Low, Low), (High, High), (Normal, Normal), (Critical, Normal)] {
        assert_eq!(may(&world), level != Critical);
        world.say(1, claim(level));
        assert_eq!(now(&world), Some(counts));
    }
    assert!(!may(&world));
    let seq = world.ledgers[1].facts().ballots().consensus_seq(&device, &task).unwrap();
    let mut facts = world.ledgers[1].facts().clone();
    facts.cut(&device, seq);
    assert_eq!(facts.ballots().consensus(&device, &task).and_then(|it| it.0), Some(High));
}

fn disputed(task: TaskId) -> Payload {
    Payload::HealthDisputed { task, why: String::new() }
}

// spec: VOTE-1, VOTE-8, LED-3
#[test]
fn of_words_without_end_on_one_ballot_the_first_of_a_log_count() {
    let mut world = World::of(2);
    let (task, other, proposal) = (TaskId([1; 32]), TaskId([2; 32]), EntryId([1; 32]));
    let counted = |world: &World, device: usize| {
        let device = world.device(device);
        let ballots = world.ledgers[0].facts.ballots();
        let votes = ballots.votes_on(&task).filter(|((by, _), _)| *by == device);
        let rules = ballots.rules_votes(&proposal).filter(|((by, _), _)| *by == device);
        let disputes = ballots.disputes_of(&task).filter(|((by, _), _)| *by == device);
        (votes.map(|(_, vote)| vote.entry).collect::<Vec<_>>(), rules.count(), disputes.count())
    };
    let talk = |world: &mut World, device: usize| {
        let all = (0..20).map(|number| {
            world.say(device, Payload::RulesVoted { proposal, yes: number % 2 == 0 });
            world.say(device, disputed(task));
            world.say(device, voted(task, number)).id()
        });
        all.collect::<Vec<_>>()
    };
    let all = talk(&mut world, 1);
    world.say(1, voted(other, 0));
    same_in_any_order(&mut world, 8);
    assert_eq!(counted(&world, 1), (all[..16].to_vec(), 16, 16));
    let ballots = world.ledgers[0].facts.ballots();
    assert_eq!(ballots.votes_on(&other).count(), 1, "each ballot for itself");
    assert!(!ballots.may_vote(&world.device(1), &task) && ballots.may_vote(&world.device(0), &task));
    // Of what is left of a log that was cut off the same holds.
    for (device, less, left) in [(USERS, 15, 15), (USERS + 1, 9, 16)] {
        world.add_device(device - USERS, device);
        world.sync_all();
        let all = talk(&mut world, device);
        world.sync_all();
        world.revoke(device - USERS, device, less);
        same_in_any_order(&mut world, 9);
        assert_eq!(counted(&world, device), (all[..left].to_vec(), left, left));
    }
}

/// How often something asks as of when an entry counts.
fn dated<T>(work: impl FnOnce() -> T) -> usize {
    let before = DATED.get();
    work();
    DATED.get() - before
}

// spec: VOTE-8, HEALTH-3, QUOTA-2
#[test]
fn who_has_seen_what_is_not_asked_of_those_who_have_no_say() {
    let mut world = World::by(Rules { vote_after_ms: 0, ..Rules::default() }).with(4);
    let (task, device) = (TaskId([1; 32]), world.device(0));
    world.say(0, submitted(task));
    let proposal = world.say(0, Payload::RulesProposed { rules: Box::default(), why: String::new() }).id();
    let ask = |world: &World| {
        let ledger = &world.ledgers[0];
        let circle = Community { ledger, now_ms: world.now, misbehaves: None };
        let (terms, rules) = (circle.terms(), ledger.governance.rules());
        let opened = world.now;
        [
            dated(|| circle.tally(&device, &task).unwrap()),
            dated(|| circle.rules_tally(&terms, (opened, &proposal), rules).unwrap()),
            dated(|| circle.dispute_upheld(&device, &task, u64::MAX)),
            dated(|| circle.contributions_of(world.user(2)).count()),
        ]
    };
    let all = |world: &mut World, device: usize| {
        let user = world.user(2);
        let given = Payload::Contribution { user, unit: "money".into(), amount: 1, month: 202_001 };
        for payload in [voted(task, 0), Payload::RulesVoted { proposal, yes: true }, disputed(task), given] {
            world.say(device, payload);
        }
        world.sync_all();
    };
    // Nobody has seen yet that this one came in.
    all(&mut world, 3);
    let few = ask(&world);
    (0..12).for_each(|_| all(&mut world, 3));
    assert_eq!(ask(&world), few);
    all(&mut world, 0);
    assert_eq!(ask(&world), few.map(|few| few + 1));
}

/// The founder's device as a peer that has a task waiting, and the moment.
fn peer(world: &World) -> (Node, Now, TaskId) {
    let config = Config {
        device: key(1, 0),
        user: Some(key(2, 0)),
        user_name: "user 0".into(),
        recovery: key(3, 0).public(),
        device_name: "device 0".into(),
        profile: ProfileId::ZERO,
        walls: vec![],
        place: None,
        capacity: Capacity { slots: 0, memory: 1 << 30, longest_ms: 3_600_000 },
        slot_watts: 10,
        accepts: vec![],
        shares: BTreeMap::new(),
        energy: None,
        hook: false,
        addrs: vec![],
        seed: [1; 32],
    };
    let draft = Draft {
        name: "plain".into(),
        description: String::new(),
        module: ModuleHash::ZERO,
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
        nonce: [1; 32],
        on: None,
        dry_run: false,
        replicas: 1,
        quorum: 1,
    };
    let mut now = Now { boot_ms: 1000, wall_ms: world.now };
    let mut node = Node::new(config, now);
    node.restore_ledger(world.ledgers[0].clone());
    node.start(now, false);
    let mut wait = |node: &mut Node| {
        (0..30).for_each(|_| {
            now = Now { boot_ms: now.boot_ms + 1000, wall_ms: now.wall_ms + 1000 };
            node.handle(now, Input::Wake);
        });
        now
    };
    let now = wait(&mut node);
    node.handle(now, Input::Command(CommandId(1), Box::new(Command::Submit(Box::new(draft)))));
    let now = wait(&mut node);
    let task = node.ledger().facts().ballots().submissions().next().unwrap().1.1.task;
    (node, now, task)
}

// spec: VOTE-9
#[test]
fn what_others_say_of_a_task_at_once_is_counted_once() {
    let rules = Rules { vote_after_ms: 0, voting_window_ms: 3_600_000, ..Rules::default() };
    let mut world = World::by(rules).with(2);
    let (mut node, now, task) = peer(&world);
    world.now = now.wall_ms;
    let votes: Vec<Entry> = (0..30).map(|number| world.say(1, voted(task, number))).collect();
    let author = world.device(1);
    let later = |ms| Now { boot_ms: now.boot_ms + ms, wall_ms: now.wall_ms + ms };
    let hear = |node: &mut Node, ms: u64, entry: &Entry| {
        node.handle(later(ms), Input::Gossip(author, Box::new(entry.clone())));
    };
    assert_eq!(dated(|| votes[..29].iter().for_each(|vote| hear(&mut node, 0, vote))), 0);
    assert_eq!(node.ledger().facts().ballots().votes_on(&task).count(), 16);
    assert_eq!(dated(|| node.handle(later(150), Input::Wake)), 0);
    assert!(dated(|| node.handle(later(200), Input::Wake)) > 16);
    // What does not count any more moves nothing.
    node.handle(later(30_000), Input::Wake);
    node.handle(later(32_000), Input::Wake);
    hear(&mut node, 32_000, &votes[29]);
    assert_eq!(dated(|| node.handle(later(32_550), Input::Wake)), 0);
}

// spec: PERM-6, LED-10
#[test]
fn since_when_somebody_belongs_is_found_once_for_all_that_they_did() {
    let mut world = World::of(5);
    let ask = |world: &World| {
        let circle = Community { ledger: &world.ledgers[0], now_ms: world.now, misbehaves: None };
        dated(|| circle.conduct_of(&world.device(4), u64::MAX))
    };
    for number in 0..5 {
        let task = TaskId([number; 32]);
        world.say(3, submitted(task));
        world.say(3, completed(task, 1, &key(1, 4)));
    }
    world.sync_all();
    assert_eq!(ask(&world), 2);
}

proptest! {
    /// What is kept in order, and looked for by halves, is what all words together say.
    // spec: LED-10, LED-3
    #[test]
    fn an_entry_counts_as_of_the_date_that_all_words_of_it_give(
        words in proptest::collection::vec((1usize..5, 0u64..8, 0u8..4), 0..14),
        (seq, len) in (0u64..8, 0u64..8),
        cap in proptest::option::of(0u64..3),
        members in 1usize..4,
        skew in 0u64..20,
    ) {
        let author = key(1, 0).public();
        // Device 4 is another of user 3's.
        let owner = |device: &PublicKey| {
            let number = (0..5).find(|number| key(1, *number).public() == *device)?;
            Some(UserKey(key(2, number.min(3)).public()))
        };
        let right = |upto: u64| EntryId([upto as u8; 32]);
        let ids: Vec<EntryId> = (0..len).map(right).collect();
        let cap = cap.map(|more| len + more);
        let here = Here { ids: &ids, cap };
        let mut facts = Facts::default();
        let mut all: Vec<(PublicKey, u64, u64, Hlc)> = Vec::new();
        for (at, (witness, upto, kind)) in words.iter().enumerate() {
            let (witness, place, at) = (key(1, *witness).public(), at as u64, Hlc::at(100 + at as u64));
            let id = if *kind == 0 { EntryId([99; 32]) } else { right(*upto) };
            facts.witness((witness, place, at), &Tip { author, seq: *upto, id });
            let holds = match *upto < len {
                true => *kind != 0,
                false => cap.is_some_and(|cap| cap <= *upto),
            };
            if holds && *upto >= seq {
                all.push((witness, place, *upto, at));
            }
        }
        let mut first: BTreeMap<UserKey, Hlc> = BTreeMap::new();
        for (witness, .., at) in &all {
            let user = owner(witness).unwrap();
            first.entry(user).and_modify(|first| *first = (*first).min(*at)).or_insert(*at);
        }
        let mut first: Vec<Hlc> = first.into_values().collect();
        first.sort_unstable();
        let own = Hlc::at(95);
        let expected = match witnesses_needed(members) {
            0 => Some(own),
            needed => first.get(needed - 1).map(|at| if at.wall_ms() <= 95 + skew { own } else { *at }),
        };
        prop_assert_eq!(facts.dated((&author, seq, own), members, skew, here, owner).ok(), expected);
        for witness in 1..5 {
            let witness = key(1, witness).public();
            for before in 0..15 {
                let seen = all.iter().any(|(by, place, ..)| *by == witness && *place < before);
                prop_assert_eq!(facts.had_seen(&witness, before, (&author, seq), here), seen);
            }
        }
    }
}

// spec: LED-10, NET-4
#[test]
fn what_a_witness_says_of_a_log_again_and_again_is_kept_once() {
    let (author, witness) = (key(1, 0).public(), key(1, 1).public());
    let right = |seq: u64| Tip { author, seq, id: EntryId([seq as u8; 32]) };
    let mut facts = Facts::default();
    let mut place = 0;
    let mut says = |facts: &mut Facts, tip: Tip| {
        place += 1;
        facts.witness((witness, place, Hlc::at(place)), &tip);
    };
    (0..300).for_each(|_| says(&mut facts, right(40)));
    assert_eq!(facts.named(&author).count(), 1);
    (0..100).for_each(|number| says(&mut facts, right(number % 40)));
    assert_eq!(facts.named(&author).count(), 1 + 16);
    // Whoever names entries that are others than those here is not asked for ever.
    let ids: Vec<EntryId> = (0..100).map(|seq| right(seq).id).collect();
    let here = Here { ids: &ids, cap: None };
    for (wrong, seen) in [(15, true), (16, false)] {
        let mut facts = Facts::default();
        for seq in 0..wrong {
            says(&mut facts, Tip { id: EntryId([99; 32]), ..right(seq) });
        }
        says(&mut facts, right(50));
        assert_eq!(facts.had_seen(&witness, u64::MAX, (&author, 0), here), seen);
        assert!(facts.had_seen(&witness, u64::MAX, (&author, 1), here), "of what comes later it is");
    }
}

// spec: LED-10, NET-4
#[test]
fn a_witness_of_what_nobody_wrote_leaves_room_for_what_others_saw() {
    let mut world = World::of(3);
    world.sync_all();
    let (author, other) = (world.device(1), world.device(0));
    let mut ledger = world.observer(&world.all);
    let more = |ledger: &Ledger| ledger.awaited.by_log.len();
    let made_up = |author, seq, number: usize| {
        let mut id = [9; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Tip { author, seq, id: EntryId(id) }
    };
    // Of devices that nobody knows, and of known ones as many as there is room for.
    let stranger = key(9, 9).public();
    world.say(2, Payload::Witnessed { tips: (0..50).map(|number| made_up(stranger, 0, number)).collect() });
    take_all(&mut ledger, &world.all, &world.all);
    assert_eq!(more(&ledger), 0);
    let soon = ledger.len(&other) + 2;
    for from in (0..MAX_AWAITED + 50).step_by(50) {
        let tips = (from..from + 50).map(|number| made_up(other, soon, number)).collect();
        let entry = world.say(2, Payload::Witnessed { tips });
        ledger.take(entry);
    }
    assert_eq!(more(&ledger), MAX_AWAITED);
    (0..soon + 2).for_each(|_| drop(world.say(1, Payload::PeerOnline)));
    let last = world.say(1, voted(TaskId([1; 32]), 1));
    world.sync(1, 0);
    let witnessed = world.say(0, Payload::Witnessed { tips: vec![last.tip()] });
    ledger.take(witnessed);
    assert_eq!(more(&ledger), MAX_AWAITED);
    take_all(&mut ledger, &world.kept(1), &world.all);
    assert_eq!(ledger.reached(), BTreeSet::from([author]));
    // What stands where something else was named is awaited no more, nor is anything of whoever is put out.
    for _ in 0..2 {
        let said = world.say(0, Payload::PeerOnline);
        ledger.take(said);
    }
    assert_eq!((more(&ledger), ledger.reached()), (0, BTreeSet::new()));
    let tips = vec![made_up(author, ledger.len(&author), 0)];
    let entry = world.say(2, Payload::Witnessed { tips });
    ledger.take(entry);
    assert_eq!(more(&ledger), 1);
    let expelled = world.expel(0, 1, 0);
    ledger.take(expelled);
    assert_eq!((more(&ledger), ledger.governance.owner(&author)), (0, None));
}

// spec: LED-10
#[test]
fn whoever_is_known_later_than_seen_is_awaited_from_then_on() {
    let mut world = World::of(3);
    let before = world.all.clone();
    let added = world.add_device(1, USERS + 1);
    world.sync_all();
    let said = world.say(USERS + 1, voted(TaskId([1; 32]), 1));
    world.sync(USERS + 1, 2);
    let witnessed = world.say(2, Payload::Witnessed { tips: vec![said.tip()] });
    let mut ledger = world.observer(&before);
    ledger.take(witnessed);
    ledger.take(added);
    ledger.take(said);
    assert_eq!(ledger.reached(), BTreeSet::from([world.device(USERS + 1)]));
}

// spec: LED-10
#[test]
fn whose_log_comes_up_to_what_others_saw_is_known_whatever_waited() {
    let mut world = World::of(3);
    let author = world.device(1);
    let all: Vec<Entry> = (0..10).map(|number| world.say(1, voted(TaskId([1; 32]), number))).collect();
    world.sync_all();
    let begin = all[0].header().seq;
    for witness in [0, 2] {
        let tips = vec![world.ledgers[witness].tip_at(&author, begin + 8).unwrap()];
        world.say(witness, Payload::Witnessed { tips });
    }
    // One is missing, and what follows it waits: also what goes beyond that which they saw.
    let heard: Vec<Entry> = world.all.iter().filter(|entry| entry.id() != all[5].id()).cloned().collect();
    let mut ledger = world.observer(&heard);
    assert_eq!((ledger.len(&author), ledger.reached()), (begin + 5, BTreeSet::new()));
    let Taken::New(new) = ledger.take(all[5].clone()) else { panic!("it is new") };
    assert_eq!((new.len(), ledger.reached()), (5, BTreeSet::from([author])));
    // What nobody wrote is awaited for ever, and nothing is counted anew for it.
    for seq in [u64::MAX, begin + 10, begin + 11] {
        world.say(2, Payload::Witnessed { tips: vec![Tip { author, seq, id: EntryId([9; 32]) }] });
    }
    world.say(1, voted(TaskId([1; 32]), 0));
    world.say(1, voted(TaskId([1; 32]), 0));
    world.sync_all();
    assert_eq!(world.ledgers[2].len(&author), begin + 12);
    take_all(&mut ledger, &world.all, &world.all);
    assert_eq!(ledger.reached(), BTreeSet::new());
    // Also after a restart.
    let tips = vec![world.ledgers[2].tip(&author).unwrap()];
    world.say(2, Payload::Witnessed { tips: tips.clone() });
    let (last, before): (Vec<Entry>, Vec<Entry>) =
        world.all.iter().cloned().partition(|entry| entry.tip() == tips[0]);
    let mut ledger = restored(&world, &world.observer(&before), 3);
    take_all(&mut ledger, &last, &world.all);
    assert_eq!(ledger.reached(), BTreeSet::from([author]));
}

// spec: LED-10
#[test]
fn what_was_kept_and_never_said_to_be_seen_is_known_after_a_restart() {
    let mut world = World::of(3);
    let unseen = |world: &World| {
        let mut ledger = restored(world, &world.ledgers[2], 1);
        ledger.unseen_by(&world.device(2))
    };
    let tips: Vec<Tip> = world.ledgers[2].tips().collect();
    world.say(2, Payload::Witnessed { tips });
    world.sync_all();
    assert_eq!(unseen(&world), BTreeMap::new());
    let vote = world.say(1, voted(TaskId([1; 32]), 0)).tip();
    // Nobody need see this.
    world.say(1, Payload::PeerOnline);
    world.say(2, voted(TaskId([1; 32]), 0));
    world.sync_all();
    assert_eq!(unseen(&world), BTreeMap::from([(vote.author, vote)]));
    let tips = vec![world.ledgers[2].tip(&vote.author).unwrap()];
    world.say(2, Payload::Witnessed { tips });
    assert_eq!(unseen(&world), BTreeMap::new());
}

// spec: LED-3, NET-4
#[test]
fn what_is_said_again_and_again_is_not_folded_anew() {
    let mut world = World::of(3);
    world.add_device(1, USERS + 1);
    world.sync_all();
    world.revoke(1, USERS + 1, 0);
    let said = world.all.last().unwrap().payload().clone();
    // Each for itself goes through all of them: this took minutes.
    for _ in 0..1_500 {
        world.say(1, said.clone());
    }
    let folds = world.ledgers[1].governance.folds();
    world.say(1, said);
    world.say(1, Payload::RulesVoted { proposal: EntryId([1; 32]), yes: true });
    assert_eq!(world.ledgers[1].governance.folds(), folds);
    // And where something comes late, what they beat is looked for once.
    world.now -= 20;
    world.ledgers[0].clock = Hlc::at(world.now);
    world.say(0, Payload::RulesVoted { proposal: EntryId([1; 32]), yes: true });
    world.sync(0, 1);
    assert_eq!(world.ledgers[1].governance.folds(), (folds.0 + 1, 1));
    equal(&world.observer(&world.kept(1)), &world.ledgers[1]);
}

// spec: LED-3, REP-1
#[test]
fn of_what_a_log_says_twice_the_first_counts_whatever_became_of_the_second() {
    let mut world = World::of(3);
    let task = TaskId([7; 32]);
    world.say(1, submitted(task));
    let first = world.say(1, completed_in_the_sun(task));
    // A third who never hears of what follows, and those who do.
    world.sync(1, 2);
    let before = world.kept(2);
    let at = first.header().hlc;
    world.now = at.wall_ms() - 10;
    for payload in [completed_in_the_sun(task), submitted(task), delegated(task), delegated(task)] {
        world.now -= 10;
        let entry = world.say(1, payload);
        assert_eq!(entry.header().hlc.wall_ms(), at.wall_ms(), "in the same millisecond");
    }
    world.sync(1, 0);
    let end = first.header().seq;
    let expelled = Payload::Expelled { user: world.user(1), tips: vec![first.tip()], why: String::new() };
    let expelled = world.say(0, expelled);
    world.sync_all();
    let knew_all = &world.ledgers[0];
    assert_eq!(knew_all.len(&world.device(1)), end + 1);
    let mut heard = before.clone();
    heard.extend(world.kept(0).into_iter().filter(|entry| !before.contains(entry)));
    let never_heard = world.observer(&heard);
    assert!(never_heard.has(&expelled.tip()));
    equal(&never_heard, knew_all);
    equal(&restored(&world, knew_all, 1), knew_all);
    let dates = |ledger: &Ledger| {
        let executor = key(1, 2).public();
        ledger.facts().dates(&executor, ledger.governance(), u64::MAX, |_, _| Some(true)).executed
    };
    assert_eq!((dates(knew_all), dates(&never_heard)), (vec![at.wall_ms()], vec![at.wall_ms()]));
}

/// What the founder's ledger knows of a device's conduct.
fn conduct(world: &World, device: usize) -> mesh_policies::reputation::Record {
    let ledger = &world.ledgers[0];
    ledger.facts().dates(&world.device(device), ledger.governance(), u64::MAX, |_, _| Some(true))
}

/// How many results of a device in a row others agreed with, whoever wanted them.
fn believed(world: &World, device: usize) -> u64 {
    let ledger = &world.ledgers[0];
    ledger.facts().streak(&world.device(device), ledger.governance(), |_, _| Some(true))
}

impl World {
    /// A device takes an attempt that the last entry of that submitter's log offers.
    fn takes(&mut self, device: usize, submitter: usize, task: TaskId, attempt: u32) {
        self.sync(submitter, device);
        self.now += 10;
        let tip = self.ledgers[submitter].tip(&self.device(submitter)).unwrap();
        let said = Payload::Accepted { task, attempt };
        let key = &self.devices[device];
        let entry = self.ledgers[device].write(key, self.now, said, &[tip]).unwrap();
        self.all.push(entry);
    }

    /// A task of the second user's that ends without what the third one's device had taken. Gives when that was given.
    fn broken_lease(&mut self, task: TaskId) -> u64 {
        self.say(1, submitted(task));
        let given = self.say(1, delegated(task));
        self.takes(2, 1, task, 1);
        self.say(1, Payload::Cancelled { task });
        given.header().hlc.wall_ms()
    }
}

// spec: REP-1, LED-3
#[test]
fn one_broken_lease_is_one_however_often_it_is_said_and_by_whom() {
    let mut world = World::of(3);
    let task = TaskId([7; 32]);
    let given = world.broken_lease(task);
    for _ in 0..5 {
        world.say(1, delegated(task));
    }
    world.sync_all();
    assert_eq!(conduct(&world, 2).failed, [given]);
    // Whose task it is not cannot say that it was given away and ended.
    for _ in 0..2 {
        world.say(0, delegated(task));
        world.say(0, Payload::Cancelled { task });
    }
    world.sync_all();
    assert_eq!(conduct(&world, 2).failed, [given]);
    same_in_any_order(&mut world, 3);
    // What is left of a log says it as well.
    world.expel(0, 1, 3);
    world.sync_all();
    assert_eq!(conduct(&world, 2).failed, [given]);
    same_in_any_order(&mut world, 4);
}

// spec: REP-1, LED-3
#[test]
fn a_lease_is_none_any_more_where_the_log_is_cut_off_before_it() {
    for (user, less) in [(1, 2), (2, 1)] {
        let mut world = World::of(3);
        world.broken_lease(TaskId([7; 32]));
        world.sync_all();
        assert_eq!(conduct(&world, 2).failed.len(), 1);
        world.expel(0, user, less);
        world.sync_all();
        assert_eq!(conduct(&world, 2).failed.len(), 0, "{user}");
        let device = world.device(2);
        let leases = world.ledgers[0].facts.tasks().leases(&device, u64::MAX);
        assert_eq!(leases.map(|(_, leases)| leases.count()).sum::<usize>(), 0, "{user}");
        same_in_any_order(&mut world, 5);
    }
}

// spec: REP-1, LED-3
#[test]
fn one_result_is_one_however_often_it_is_said_and_by_whom() {
    let mut world = World::of(4);
    let Payload::PeerRegistered(mut north) = registered(1) else { panic!("not registered") };
    north.place = Some((89, 0));
    world.say(2, Payload::PeerRegistered(north));
    world.sync_all();
    let results = [1, 2].map(|number| completed_in_the_sun(TaskId([number; 32])));
    let first = world.now + 10;
    for _ in 0..4 {
        for by in [1, 3] {
            results.iter().for_each(|result| drop(world.say(by, result.clone())));
        }
    }
    world.sync_all();
    let dates = conduct(&world, 2);
    assert_eq!(dates.executed, [first, first + 10]);
    assert_eq!(dates.implausible, [1, 1]);
    same_in_any_order(&mut world, 6);
    // Nor has somebody else come to it whom the submitter names afterwards.
    world.say(1, completed_as(TaskId([1; 32]), 1, 3, 1));
    world.sync(1, 0);
    assert!(conduct(&world, 3).executed.is_empty());
    // And a task that was submitted is one.
    let task = TaskId([1; 32]);
    (0..3).for_each(|_| drop(world.say(1, submitted(task))));
    world.sync(1, 0);
    assert_eq!(world.ledgers[0].facts().past("word-count").len(), 1);
}

// spec: DEL-8
#[test]
fn one_run_that_others_agreed_with_makes_nobody_believed_by_being_said_again() {
    let mut world = World::of(5);
    for by in [1, 0] {
        for ran in 2..5 {
            world.say(by, completed_as(TaskId([9; 32]), ran as u32, ran, 1));
        }
    }
    world.sync(1, 0);
    assert_eq!(believed(&world, 2), 1);
    assert_eq!(conduct(&world, 2).agreed.len(), 1);
}

// spec: DEL-8, PERM-6
#[test]
fn members_who_came_together_make_one_another_neither_believed_nor_right() {
    let mut world = World::open(5);
    let streak = |world: &World| {
        let circle = Community { ledger: &world.ledgers[0], now_ms: world.now, misbehaves: None };
        circle.streak(&world.device(2))
    };
    let agree = |world: &mut World, by: usize, with: usize, tasks: std::ops::Range<u8>| {
        for number in tasks {
            world.say(by, completed_as(TaskId([number; 32]), 1, 2, 1));
            world.say(by, completed_as(TaskId([number; 32]), 2, with, 1));
        }
        world.sync(by, 0);
    };
    // The founder let all of them in on one day, and they agree on what was never run.
    agree(&mut world, 1, 3, 0..10);
    assert_eq!((believed(&world, 2), streak(&world)), (10, 0));
    // What members do for the founder counts at once, also in a community of few.
    agree(&mut world, 0, 3, 20..25);
    assert_eq!(streak(&world), 5);
    let task = TaskId([30; 32]);
    for (attempt, device, output) in [(1, 2, 2), (2, 3, 1), (3, 4, 1)] {
        world.say(0, completed_as(task, attempt, device, output));
    }
    agree(&mut world, 1, 3, 40..50);
    assert_eq!((believed(&world, 2), streak(&world)), (10, 0), "what was wrong is not hidden by it");
    // Nor is what one of them says against another nothing.
    agree(&mut world, 0, 3, 60..63);
    assert_eq!(streak(&world), 3);
    let task = TaskId([70; 32]);
    for (attempt, device, output) in [(1, 2, 2), (2, 3, 1), (3, 4, 1)] {
        world.say(1, completed_as(task, attempt, device, output));
    }
    world.sync(1, 0);
    assert_eq!(streak(&world), 0);
}

/// By a user's first device, with this output.
fn completed_as(task: TaskId, attempt: u32, by: usize, output: u8) -> Payload {
    let Payload::Completed(mut ran) = completed(task, attempt, &key(1, by)) else { panic!("no result") };
    ran.statement.output = Commitment([output; 32]);
    ran.signature = ran.statement.sign(&key(1, by));
    Payload::Completed(ran)
}

// spec: REP-1, DEL-8
#[test]
fn a_friends_flood_hides_nothing_of_what_others_say() {
    let mut world = World::of(5);
    let Payload::PeerRegistered(mut north) = registered(1) else { panic!("not registered") };
    north.place = Some((89, 0));
    world.say(2, Payload::PeerRegistered(north));
    let given = world.broken_lease(TaskId([7; 32]));
    world.say(1, completed_in_the_sun(TaskId([8; 32])));
    let task = TaskId([9; 32]);
    let wrong = world.say(1, completed_as(task, 1, 2, 1)).header().hlc.wall_ms();
    world.say(1, completed_as(task, 2, 3, 2));
    world.say(1, completed_as(task, 3, 4, 2));
    world.sync(1, 0);
    world.sync(2, 0);
    let before = conduct(&world, 2);
    assert_eq!((before.failed, before.wrong, before.implausible.len()), (vec![given], vec![wrong], 1));
    for number in 0..2_100_u32 {
        let mut task = [11; 32];
        task[..4].copy_from_slice(&number.to_be_bytes());
        world.say(0, delegated(TaskId(task)));
        let Payload::Completed(mut ran) = completed_in_the_sun(TaskId(task)) else { panic!("no result") };
        ran.statement.energy.pieces[0].from_ms = 1_000 + u64::from(number);
        ran.signature = ran.statement.sign(&key(1, 2));
        world.say(0, Payload::Completed(ran));
    }
    let after = conduct(&world, 2);
    assert_eq!((after.failed, after.wrong), (vec![given], vec![wrong]));
    assert!(after.implausible.contains(&1), "the claim is not forgotten");
    assert!(after.executed.len() < 1_000, "nor is one member's word more than a part");
    assert_eq!(believed(&world, 2), 0);
}

/// By the third user's device.
fn completed_in_the_sun(task: TaskId) -> Payload {
    let Payload::Completed(mut ran) = completed(task, 1, &key(1, 2)) else { panic!("no result") };
    let claim = EnergyClaim { source: Source::Solar, renewable_percent: 100, g_per_kwh: 41 };
    let piece = Piece { from_ms: 1, ms: 1, energy_mj: 1, reading: Some(Reading::of(claim, "fixed")) };
    ran.statement.energy = Metered { how: How::Measured, pieces: vec![piece], ..Metered::default() };
    ran.signature = ran.statement.sign(&key(1, 2));
    Payload::Completed(ran)
}

fn delegated(task: TaskId) -> Payload {
    Payload::Delegated { task, attempt: 1, device: key(1, 2).public(), grant: None }
}

// spec: REP-1, REP-2
#[test]
fn whoever_moves_has_not_been_there_before() {
    const HOUR: u64 = 3_600_000;
    // On the first of January 1970 it is noon in Berlin at 11, and night on the other side.
    let mut world = World::of(2);
    let device = world.device(1);
    let live_in = |world: &mut World, place| {
        let Payload::PeerRegistered(mut it) = registered(1) else { panic!("not registered") };
        it.place = Some(place);
        world.say(1, Payload::PeerRegistered(it));
    };
    let run = |world: &mut World, number: u8, taken: bool| {
        let task = TaskId([number; 32]);
        world.say(0, submitted(task));
        if taken {
            world.say(1, Payload::Accepted { task, attempt: 1 });
        }
        let Payload::Completed(mut ran) = completed(task, 1, &key(1, 1)) else { panic!("no result") };
        let claim = EnergyClaim { source: Source::Solar, renewable_percent: 100, g_per_kwh: 41 };
        let piece =
            Piece { from_ms: 11 * HOUR, ms: HOUR, energy_mj: 1, reading: Some(Reading::of(claim, "fixed")) };
        ran.statement.energy = Metered { how: How::Measured, pieces: vec![piece], ..Metered::default() };
        ran.signature = ran.statement.sign(&key(1, 1));
        ran
    };
    let doubted = |world: &World| {
        let ledger = &world.ledgers[0];
        let dates = ledger.facts().dates(&device, ledger.governance(), u64::MAX, |_, _| Some(true));
        dates.implausible.len()
    };
    live_in(&mut world, (52, 13));
    for (number, taken) in [(1, true), (2, false)] {
        let ran = run(&mut world, number, taken);
        world.say(0, Payload::Completed(ran));
    }
    let under_way = run(&mut world, 3, true);
    world.sync_all();
    assert_eq!(doubted(&world), 0);
    live_in(&mut world, (-40, -170));
    world.sync_all();
    assert_eq!(doubted(&world), 0, "what was true stays so");
    world.say(0, Payload::Completed(under_way));
    world.sync_all();
    assert_eq!(doubted(&world), 0, "it was taken before");
    let there = run(&mut world, 4, true);
    world.say(0, Payload::Completed(there));
    live_in(&mut world, (52, 13));
    world.sync_all();
    assert_eq!(doubted(&world), 1, "and what was false stays so");
    same_in_any_order(&mut world, 9);
}

// spec: LED-10, PERM-6
#[test]
fn somebody_has_belonged_since_others_saw_it() {
    let mut world = World::of(3);
    let since = |world: &World, user: usize| {
        let date = world.ledgers[0].belongs_since(&world.user(user));
        date.map(|date| date.wall_ms())
    };
    assert!((0..3).all(|user| since(&world, user).is_some()), "on the founder's word");
    world.admit(0, 3, 3);
    world.sync_all();
    let second = world.admit(1, 3, 3).header().hlc;
    let skew = Rules::default().max_skew_ms;
    for (witness, later) in [(3, 1), (0, 2), (2, skew + 1000)] {
        assert_eq!(since(&world, 3), None, "nobody bears witness to oneself, and one is not enough");
        world.sync_all();
        world.now = second.wall_ms() + later;
        let tips = vec![world.ledgers[witness].tip(&world.device(1)).unwrap()];
        world.say(witness, Payload::Witnessed { tips });
        world.sync_all();
    }
    assert_eq!(since(&world, 3), Some(second.wall_ms() + skew + 1010), "as of the second witness");
    same_in_any_order(&mut world, 21);
}

/// Two devices say something of each kind, of their own and of each other's, twice.
fn say_of_everything(world: &mut World) {
    for (round, (by, other)) in [(1, 2), (2, 1), (1, 2), (2, 1)].into_iter().enumerate() {
        let named = |kind: u8| TaskId([10 * (1 + round as u8) + kind; 32]);
        let (task, elsewhere, failed) = (named(1), named(2), named(3));
        world.say(other, Payload::PeerOnline);
        let given = world.say(
            other,
            Payload::Delegated { task: elsewhere, attempt: 1, device: world.device(by), grant: None },
        );
        world.sync(other, by);
        let rules = Rules { quorum: 10 + round as u16, ..Rules::default() };
        let granted = world.say(by, grant(world.device(by), world.user(0)));
        let proposed = world.say(by, Payload::RulesProposed { rules: Box::new(rules), why: String::new() });
        let early = world.ledgers[by].tip_at(&world.device(other), round as u64 / 2).unwrap();
        let account = Accounted {
            task,
            attempt: 1,
            factors: mesh_protocol::factors::Factors::default(),
            at_once: vec![],
            then: vec![],
            transfer_mj: 0,
            counted: vec![1],
            saved: None,
        };
        let spent = mesh_protocol::ledger::Spent {
            submitter: world.device(other),
            task: elsewhere,
            attempt: 1,
            energy: Metered::default(),
            estimated: false,
        };
        let all = [
            Payload::Revoked { grant: granted.id() },
            registered(round as u8),
            Payload::PeerOnline,
            Payload::PeerOffline,
            Payload::Witnessed { tips: vec![given.tip()] },
            Payload::Witnessed { tips: vec![early] },
            submitted(task),
            Payload::Delegated { task, attempt: 1, device: world.device(other), grant: None },
            completed_in_the_sun(task),
            Payload::Accounted(Box::new(account)),
            Payload::Failed { task: failed, attempts: 1, reason: Reason::NoCapacity },
            // Of what nobody is known to have given, and of what the other gave.
            Payload::Accepted { task, attempt: 2 },
            Payload::Refused { task: elsewhere, attempt: 2, reason: Reason::NoCapacity },
            Payload::Vetoed { task: elsewhere, attempt: 3, why: String::new() },
            Payload::Spent(Box::new(spent)),
            voted(elsewhere, 0),
            Payload::Consensus { task, importance: Some(Importance::High), votes: vec![] },
            Payload::HealthFlagged { task, text: "for health".into() },
            disputed(elsewhere),
            Payload::Contribution { user: world.user(0), unit: "money".into(), amount: 1, month: 202_611 },
            Payload::ZoneSet { zone: "Europe/Berlin".into() },
            Payload::RulesVoted { proposal: proposed.id(), yes: true },
        ];
        all.into_iter().for_each(|payload| drop(world.say(by, payload)));
        world.now += 10;
        let taken = Payload::Accepted { task: elsewhere, attempt: 1 };
        let taken = world.ledgers[by].write(&world.devices[by], world.now, taken, &[given.tip()]).unwrap();
        world.all.push(taken);
    }
    world.sync_all();
}

// spec: LED-3, DEL-14
#[test]
fn wherever_a_log_is_cut_off_what_was_said_before_stays_and_nothing_of_the_rest() {
    let mut world = World::of(3);
    say_of_everything(&mut world);
    for user in [1, 2] {
        let device = world.device(user);
        for end in 0..=world.ledgers[0].len(&device) {
            let mut had_all = world.ledgers[0].clone();
            let tips = end.checked_sub(1).and_then(|last| had_all.tip_at(&device, last));
            let tips = tips.into_iter().collect();
            let expelled = Payload::Expelled { user: world.user(user), tips, why: String::new() };
            let expelled = had_all.write(&world.devices[0], world.now + 10, expelled, &[]).unwrap();
            let stays = |entry: &&Entry| entry.header().author != device || entry.header().seq < end;
            let mut left: Vec<Entry> = world.all.iter().filter(stays).cloned().collect();
            left.push(expelled);
            equal(&had_all, &world.observer(&left));
        }
    }
}

// spec: REP-1
#[test]
fn whoever_went_without_a_word_vanished_and_whoever_said_so_stayed_until_then() {
    let mut world = World::of(2);
    let at = |entry: Entry| entry.header().hlc.wall_ms();
    let came = at(world.say(1, Payload::PeerOnline));
    let went = at(world.say(1, Payload::PeerOffline));
    at(world.say(1, Payload::PeerOffline));
    let again = at(world.say(1, Payload::PeerOnline));
    let after_a_crash = at(world.say(1, Payload::PeerOnline));
    world.sync_all();
    let said = |upto_ms: u64| {
        let ledger = &world.ledgers[0];
        let dates = ledger.facts().dates(&world.device(1), ledger.governance(), upto_ms, |_, _| Some(true));
        (dates.stayed, dates.vanished)
    };
    assert_eq!(said(went - 1), (vec![], vec![]), "that was not on record then");
    assert_eq!(said(went), (vec![came], vec![]));
    assert_eq!(said(after_a_crash - 1), (vec![came], vec![]));
    assert_eq!(said(u64::MAX), (vec![came], vec![again]));
    assert!(world.ledgers[0].facts().online(&world.device(1)));
    world.say(1, Payload::PeerOffline);
    world.sync_all();
    assert!(!world.ledgers[0].facts().online(&world.device(1)));
}

// spec: REP-1, LED-5
#[test]
fn a_fork_is_held_against_its_device_from_when_it_was_proven_and_once() {
    let mut world = World::of(3);
    let (one, other) = world.fork(1);
    let forked = one.header().hlc.wall_ms();
    let proof = ForkProof::of(one.signed(), other.signed()).unwrap();
    let proven = world.say(0, Payload::Forked(Box::new(proof.clone()))).header().hlc.wall_ms();
    world.sync(0, 2);
    world.say(2, Payload::Forked(Box::new(proof)));
    world.sync_all();
    let forks = |upto_ms: u64| {
        let ledger = &world.ledgers[0];
        ledger.facts().dates(&world.device(1), ledger.governance(), upto_ms, |_, _| Some(true)).forks
    };
    let date = forked.min(other.header().hlc.wall_ms());
    assert!(forks(proven - 1).is_empty());
    for upto_ms in [proven, u64::MAX] {
        let found = forks(upto_ms);
        assert!(found.len() == 1 && found[0] >= date && found[0] <= proven, "{found:?}");
    }
}

// spec: REP-1, DEL-13
#[test]
fn what_leaves_a_word_of_its_use_broke_no_lease() {
    let spent = |world: &World, estimated: bool| {
        Payload::Spent(Box::new(mesh_protocol::ledger::Spent {
            submitter: world.device(1),
            task: TaskId([7; 32]),
            attempt: 1,
            energy: Metered::default(),
            estimated,
        }))
    };
    let veto = |attempt| Payload::Vetoed { task: TaskId([7; 32]), attempt, why: String::new() };
    type Word = Box<dyn Fn(&World) -> Payload>;
    let words: [(usize, Word, bool); 6] = [
        (2, Box::new(|_| Payload::PeerOnline), true),
        (2, Box::new(move |_| veto(1)), false),
        (0, Box::new(move |_| veto(1)), false),
        (2, Box::new(move |_| veto(2)), true),
        (2, Box::new(move |world| spent(world, false)), false),
        (2, Box::new(move |world| spent(world, true)), true),
    ];
    for (case, (by, word, broke)) in words.into_iter().enumerate() {
        let mut world = World::of(3);
        let task = TaskId([7; 32]);
        let given = world.broken_lease(task);
        world.sync_all();
        let ended = world.now;
        let payload = word(&world);
        let said = world.say(by, payload).header().hlc.wall_ms();
        world.sync_all();
        let failed = |upto_ms: u64| {
            let ledger = &world.ledgers[0];
            let device = world.device(2);
            ledger.facts().dates(&device, ledger.governance(), upto_ms, |_, _| Some(true)).failed
        };
        assert!(failed(ended - 1).is_empty(), "{case}: its task had not ended");
        assert_eq!(failed(ended), [given], "{case}");
        assert_eq!(failed(said - 1), [given], "{case}: nothing was said so far");
        assert_eq!(failed(said).is_empty(), !broke, "{case}");
        let tasks = world.ledgers[0].facts().tasks();
        assert!(tasks.took(&task, 1, &world.device(2)) && tasks.has_answered(&task, 1, &world.device(2)));
        assert!(!tasks.took(&task, 1, &world.device(0)) && !tasks.took(&task, 2, &world.device(2)));
    }
}

#[test]
fn whoever_takes_refuses_or_ends_an_attempt_has_answered_it() {
    let mut world = World::of(2);
    let task = TaskId([7; 32]);
    let (attempt, reason) = (1, Reason::NoCapacity);
    world.say(1, Payload::Refused { task, attempt, reason });
    world.say(1, Payload::Vetoed { task, attempt: 2, why: String::new() });
    world.say(1, Payload::Accepted { task, attempt: 3 });
    world.say(1, completed(task, 4, &key(1, 1)));
    world.sync_all();
    let tasks = world.ledgers[0].facts().tasks();
    let answered = |attempt| tasks.has_answered(&task, attempt, &world.device(1));
    assert_eq!([1, 2, 3, 4].map(answered), [true, true, true, false]);
    assert!(!tasks.has_answered(&task, 1, &world.device(0)));
}

// spec: DEL-8
#[test]
fn another_engine_may_come_to_something_else() {
    let mut world = World::of(5);
    let task = TaskId([9; 32]);
    world.say(1, completed_as(task, 1, 2, 1));
    world.say(1, completed_as(task, 2, 3, 1));
    let agreed = world.now;
    let wrong = world.say(1, completed_as(task, 3, 4, 2)).header().hlc.wall_ms();
    let Payload::Completed(mut elsewhere) = completed_as(task, 4, 0, 2) else { panic!("no result") };
    elsewhere.statement.profile = ProfileId([1; 32]);
    elsewhere.signature = elsewhere.statement.sign(&key(1, 0));
    world.say(1, Payload::Completed(elsewhere));
    world.sync(1, 0);
    let ledger = &world.ledgers[0];
    let verdicts =
        |upto_ms: u64| ledger.facts().verdicts(&world.device(1), &task, ledger.governance(), upto_ms);
    let both = [(1, conduct::Verdict::Agreed), (2, conduct::Verdict::Agreed)];
    assert_eq!(verdicts(agreed - 1), [].into(), "one word is nobody's agreement");
    assert_eq!(verdicts(agreed), both.into());
    assert_eq!(verdicts(u64::MAX), both.into_iter().chain([(3, conduct::Verdict::Wrong)]).collect());
    assert_eq!(conduct(&world, 4).wrong, [wrong]);
    assert!(conduct(&world, 0).wrong.is_empty());
    // Whoever it was done for may have nothing to credit, or prove nothing at all.
    let earned = |earns: Option<bool>| {
        let dates = ledger.facts().dates(&world.device(2), ledger.governance(), u64::MAX, |_, _| earns);
        (dates.executed.len(), dates.agreed.len())
    };
    assert_eq!([Some(true), Some(false), None].map(earned), [(1, 1), (0, 0), (0, 0)]);
    let blamed = |earns: Option<bool>| {
        let dates = ledger.facts().dates(&world.device(4), ledger.governance(), u64::MAX, |_, _| earns);
        dates.wrong.len()
    };
    assert_eq!([Some(true), Some(false), None].map(blamed), [1, 1, 0]);
}

// spec: LED-10
#[test]
fn whoever_had_heard_of_both_witnesses_could_date_it() {
    let mut world = World::of(4);
    let word = world.say(3, Payload::PeerOnline);
    let witnessed = [1, 2].map(|by| {
        world.sync(3, by);
        world.say(by, Payload::Witnessed { tips: vec![word.tip()] })
    });
    // What the asked one says to have seen, in this order.
    let tips = [witnessed[0].tip(), word.tip(), witnessed[1].tip()];
    let places = tips.map(|tip| {
        world.sync_all();
        world.say(0, Payload::Witnessed { tips: vec![tip] }).header().seq
    });
    world.sync_all();
    let ledger = &world.ledgers[1];
    let owner = |device: &PublicKey| ledger.governance.device(device).map(|it| it.user);
    let could = |before: u64, needed: usize| {
        let author = world.device(3);
        ledger.could_date(&world.device(0), before, (&author, word.header().seq), needed, owner)
    };
    assert!(!could(places[1], 1), "it had not seen the entry");
    assert!(could(places[1] + 1, 2), "one witness had, and so had it");
    assert_eq!([places[2], places[2] + 1].map(|before| could(before, 3)), [false, true]);
    assert!(!could(u64::MAX, 4), "nobody bears witness to their own word");
    let by_itself = |before: u64| {
        let author = world.device(3);
        ledger.could_date(&author, before, (&author, word.header().seq), 0, owner)
    };
    let seq = word.header().seq;
    assert_eq!([seq, seq + 1].map(by_itself), [false, true]);
}

// spec: LED-3, LED-5, NET-1
#[test]
fn a_revocation_is_news_where_it_cuts_more_off_than_is_cut_off_already() {
    let mut world = World::of(2);
    (0..5).for_each(|_| drop(world.say(1, Payload::PeerOnline)));
    world.sync_all();
    let (device, community) = (world.device(1), world.community());
    let by = |key: &SecretKey, end: u64| {
        let tip = end.checked_sub(1).and_then(|last| world.ledgers[0].tip_at(&device, last));
        Payload::KeyRevoked(Box::new(Revocation::sign(key, community, device, tip)))
    };
    let revokes: Vec<Payload> = (0..=5).map(|end| by(&world.users[1][0], end)).collect();
    let is_news =
        |ledger: &Ledger| revokes.iter().map(|it| ledger.governance.is_news(it)).collect::<Vec<_>>();
    assert_eq!(is_news(&world.ledgers[0]), [true; 6]);
    let of_another = by(&world.users[0][0], 1);
    assert!(!world.ledgers[0].governance.is_news(&of_another), "the device is not theirs");
    let Payload::KeyRevoked(mut forged) = revokes[1].clone() else { panic!("no revocation") };
    forged.tip = world.ledgers[0].tip_at(&device, 2);
    assert!(!world.ledgers[0].governance.is_news(&Payload::KeyRevoked(forged)), "they did not sign that");
    let tips = vec![world.ledgers[0].tip_at(&device, 2).unwrap()];
    world.say(0, Payload::Expelled { user: world.user(1), tips, why: String::new() });
    assert_eq!(world.ledgers[0].governance.cap(&device), Some(3));
    assert_eq!(is_news(&world.ledgers[0]), [true, true, true, false, false, false]);
}

// spec: NET-1
#[test]
fn of_the_certificates_of_one_device_the_one_of_the_highest_number_counts() {
    let mut world = World::of(2);
    let share = |world: &World| world.ledgers[0].governance.device(&world.device(USERS)).map(|it| it.share);
    let certify = |world: &mut World, user: usize, share: u16, serial: u32| {
        let device = &world.devices[USERS];
        let cert = DeviceCert::of(&world.users[user][0], world.community(), device, share, serial);
        world.say(0, added(cert));
    };
    for (user, given, serial, counts) in
        [(0, 500, 1, 500), (0, 400, 1, 500), (0, 300, 0, 500), (0, 200, 2, 200), (1, 100, 3, 200)]
    {
        certify(&mut world, user, given, serial);
        assert_eq!(share(&world), Some(counts), "{given} by number {serial}");
    }
    assert_eq!(world.ledgers[0].governance.owner(&world.device(USERS)), Some(world.user(0)));
    world.sync_all();
    same_in_any_order(&mut world, 11);
}

/// All go when as many were turned away since as there is room for.
// spec: ARC-7
#[test]
fn what_waits_in_vain_goes_once_as_many_others_were_turned_away() {
    let world = World::of(1);
    let stranger = key(9, 9);
    let mut ledger = world.ledgers[0].clone();
    let mut seq = 0;
    let mut take = |ledger: &mut Ledger| {
        let place = Place {
            community: world.community(),
            seq,
            prev: if seq == 0 { EntryId::ZERO } else { EntryId([1; 32]) },
            refs: vec![],
            hlc: Hlc::at(seq + 1),
        };
        seq += 1;
        assert_eq!(ledger.take(Entry::write(&stranger, place, Payload::PeerOnline)), Taken::Waits);
        ledger.waiting.len()
    };
    for round in 0..2 {
        let first = usize::from(round > 0);
        for waiting in first..MAX_STRANGERS {
            assert_eq!(take(&mut ledger), waiting + 1);
        }
        for _ in 0..MAX_STRANGERS {
            assert_eq!(take(&mut ledger), MAX_STRANGERS);
        }
        assert_eq!(take(&mut ledger), 1, "the next one begins anew");
    }
}

// spec: LED-4
#[test]
fn the_logs_within_a_prefix_are_those_whose_keys_begin_with_it() {
    let mut world = World::of(USERS);
    (0..USERS).for_each(|device| drop(world.say(device, Payload::PeerOnline)));
    world.sync_all();
    let ledger = &world.ledgers[0];
    let all: Vec<PublicKey> = ledger.tips().map(|tip| tip.author).collect();
    assert_eq!(all.len(), USERS);
    for key in &all {
        let halves: Vec<u8> = key.0.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
        for len in [0, 1, 2, 3, 4, 7, 64] {
            let within = ledger.tips_within(&halves[..len]).map(|tip| tip.author);
            let begin = |other: &&PublicKey| {
                let other = other.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
                other.take(len).eq(halves[..len].iter().copied())
            };
            assert!(within.eq(all.iter().filter(begin).copied()), "{len} half-bytes");
        }
    }
}

// spec: LED-4
#[test]
fn the_digest_of_a_range_changes_with_its_tips_and_with_no_others() {
    let mut world = World::of(3);
    for device in 0..3 {
        world.say(device, Payload::PeerOnline);
    }
    world.sync_all();
    let digests = |ledger: &Ledger| (0..16).map(|half| ledger.digest(&[half])).collect::<Vec<_>>();
    let before = digests(&world.ledgers[2]);
    assert_eq!(before.iter().map(|(count, _)| count).sum::<u64>(), 3);
    assert_eq!(world.ledgers[2].digest(&[]).0, 3);
    let half = world.device(1).0[0] >> 4;
    let entry = world.say(1, Payload::PeerOffline);
    let mut peer = world.ledgers[2].clone();
    peer.take(entry.clone());
    for (at, (old, new)) in before.iter().zip(digests(&peer)).enumerate() {
        assert_eq!(*old == new, at != usize::from(half));
    }
    assert_ne!(peer.digest(&[]), world.ledgers[2].digest(&[]));
    peer.take(entry);
    let again = digests(&peer);
    peer.take(world.all[0].clone());
    assert_eq!(digests(&peer), again, "nothing was new");
    let key = world.device(1);
    assert!(starts_with(&key, &[]) && starts_with(&key, &[key.0[0] >> 4, key.0[0] & 15]));
    assert!(!starts_with(&key, &[key.0[0] >> 4, (key.0[0] & 15) ^ 1]));
    assert_eq!(peer.tips_within(&[key.0[0] >> 4, key.0[0] & 15]).filter(|tip| tip.author == key).count(), 1);
}

// spec: LED-5
#[test]
fn a_device_whose_log_was_cut_says_nothing_until_it_is_whole() {
    let mut world = World::open(2);
    let admission = world.admit(1, 2, 2);
    world.sync(1, 2);
    let (one, two) = (world.say(2, Payload::PeerOnline), world.add_device(2, USERS + 2));
    assert!(world.ledgers[2].governance.device(&world.device(USERS + 2)).is_some());
    let expulsion = world.expel(0, 1, 0);
    world.ledgers[2].take(expulsion);
    assert!(!world.ledgers[2].has(&one.tip()) && !world.ledgers[2].is_whole(&world.device(2)));
    assert!(!world.ledgers[2].has(&admission.tip()));
    // It is let in again, and has not all of its own log back.
    world.admit(0, 2, 5);
    world.sync(0, 2);
    assert!(world.ledgers[2].governance.owner(&world.device(2)).is_some());
    assert!(
        world.ledgers[2].governance.device(&world.device(USERS + 2)).is_none(),
        "nothing of it is folded either"
    );
    let said = |world: &mut World| {
        let ledger = &mut world.ledgers[2];
        ledger.write(&world.devices[2], 9_000_000, Payload::PeerOnline, &[])
    };
    assert!(said(&mut world).is_err());
    world.ledgers[2].take(one);
    assert!(said(&mut world).is_err());
    world.ledgers[2].take(two);
    assert_eq!(said(&mut world).unwrap().header().seq, 2);
}

// spec: ARC-7
#[test]
fn what_others_would_not_take_is_not_written() {
    let mut world = World::of(1);
    let len = world.ledgers[0].len(&world.device(0));
    let long = Payload::Vetoed { task: TaskId([1; 32]), attempt: 1, why: "x".repeat(281) };
    assert!(world.ledgers[0].write(&world.devices[0], 2_000_000, long, &[]).is_err());
    assert_eq!(world.ledgers[0].len(&world.device(0)), len);
    // What an error quotes is shortened instead.
    let reason = Reason::NotFetched("x\n".repeat(400));
    let entry = world.say(0, Payload::Refused { task: TaskId([1; 32]), attempt: 1, reason });
    assert!(Entry::verify(entry.bytes()).is_ok());
}

// spec: LED-3
#[test]
fn a_store_with_a_hole_gives_what_is_before_it() {
    let mut world = World::of(1);
    for _ in 0..4 {
        world.say(0, Payload::PeerOnline);
    }
    let mut ledger = Ledger::default();
    for entry in world.all.iter().filter(|entry| entry.header().seq != 2) {
        ledger.restore(entry);
    }
    ledger.restored(&world.device(0));
    assert_eq!((ledger.len(&world.device(0)), ledger.count()), (2, 2));
}

// spec: LED-1, LED-5
#[test]
fn what_is_written_names_what_was_heard_and_recent_entries_go_with_offers() {
    let mut world = World::of(3);
    let word = world.say(1, Payload::PeerOnline);
    world.sync(1, 0);
    let about = world.ledgers[0].tip(&world.device(1)).unwrap();
    let first = world.say(0, Payload::PeerOnline);
    let second = world.say(0, Payload::PeerOnline);
    assert!(first.header().refs.contains(&word.tip()) && second.header().refs.is_empty());
    assert!(first.header().hlc > word.header().hlc);
    let named = world.ledgers[0].write(&world.devices[0], 0, Payload::PeerOnline, &[about]).unwrap();
    assert_eq!(named.header().refs, [about]);
    assert!(named.header().hlc > second.header().hlc, "whatever the wall clock says");
    let recent = world.ledgers[0].recent(second.header().seq);
    assert_eq!(recent.last().map(Vec::as_slice), Some(second.bytes()));
    assert!(recent.len() <= MAX_OFFER_ENTRIES);
}
