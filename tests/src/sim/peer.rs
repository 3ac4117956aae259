//! A simulated peer: the real node, a simulated disk and sandbox, and what else would be in its process.

use super::clock::Clock;
use super::disk::Disk;
use super::executor::{self, Executor};
use super::net::Who;
use mesh_node::{Capacity, Config, Input, Misbehaviour, Node, Output};
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::frame::AttemptId;
use mesh_protocol::ids::{BlobHash, Digest, EntryId};
use mesh_protocol::key::{PublicKey, SecretKey, UserKey};
use mesh_protocol::ledger::Pattern;
use mesh_protocol::record::Record;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

/// What a peer is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Honest,
    /// Its sandbox lies.
    Liar,
    /// What it says of results nobody signed.
    Forger,
    /// It writes two entries at one place of its log.
    Forker,
    /// It speaks of attempts that are not its own.
    Thief,
    /// It offers tasks where nobody granted it anything.
    Grantless,
    /// It says again what it said long ago.
    Replayer,
    /// Its frames about attempts never leave.
    Mute,
    /// As a replica it overhears all that others promise and show, and says the same.
    Copier,
    /// It submits more than its day allows.
    Spender,
    /// So does this one, and it hides from each donor what it asked of the others.
    Hider,
    /// It says of all its tasks that the members voted them CRITICAL.
    Boaster,
    /// It offers patient tasks to whoever has any energy.
    Wasteful,
    /// It votes with ten devices.
    Stuffer,
    /// It votes when ballots are closed, and twice.
    Latecomer,
    /// It dates such votes back.
    Backdater,
    /// It lets in fifty keys of its own.
    Host,
    /// It claims sun by night.
    Nightsun,
    /// It was never admitted.
    Stranger,
}

/// Where the next crash comes, counted in a round that promises something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CrashPoint {
    BeforeCommit,
    /// After the commit and so many of the outputs that follow it.
    After(u32),
}

/// A round whose records are not durable yet, or whose outputs have not all left.
#[derive(Debug)]
pub(crate) struct Busy {
    pub(crate) records: Vec<Record>,
    pub(crate) rest: Vec<Output>,
    pub(crate) tries: u32,
}

pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) key: PublicKey,
    seed: [u8; 32],
    pub(crate) role: Role,
    pub(crate) clock: Clock,
    pub(crate) disk: Disk,
    /// None while the process does not run.
    pub(crate) node: Option<Node>,
    pub(crate) incarnation: u64,
    pub(crate) started_at: u64,
    pub(crate) inbox: VecDeque<Input>,
    pub(crate) busy: Option<Busy>,
    pub(crate) executor: Executor,
    pub(crate) blobs: BTreeMap<BlobHash, Digest>,
    /// What is fetched for which attempt, and by which process.
    pub(crate) fetching: BTreeMap<u64, (AttemptId, u64)>,
    pub(crate) asleep_until: Option<u64>,
    pub(crate) crash: Option<CrashPoint>,
    pub(crate) unclean: bool,
    pub(crate) energy: Option<EnergyClaim>,
    /// Entries that gossip brought before.
    pub(crate) seen: BTreeSet<EntryId>,
    /// Members that gossip goes to.
    pub(crate) there: BTreeSet<Who>,
    /// Whom it wants to be connected to.
    pub(crate) wanted: BTreeSet<Who>,
    pub(crate) wake_at: Option<u64>,
    /// Until when what should have left was held back by the disk.
    pub(crate) stuck_until: u64,
    /// Its wall clock was set, and it has not looked at it since.
    pub(crate) clock_set: bool,
    /// An old copy of the disk.
    pub(crate) backup: Option<Disk>,
    pub(crate) ticket: Option<String>,
}

/// Where a peer is dialled.
pub(crate) fn addr_of(who: Who) -> SocketAddr {
    SocketAddr::from(([10, 0, (who >> 8) as u8, who as u8], 4000))
}

pub(crate) fn who_at(addr: &SocketAddr) -> Option<Who> {
    match addr.ip() {
        std::net::IpAddr::V4(ip) => Some(usize::from(ip.octets()[2]) << 8 | usize::from(ip.octets()[3])),
        std::net::IpAddr::V6(_) => None,
    }
}

/// Energy that every service level allows.
pub(crate) fn clean() -> EnergyClaim {
    EnergyClaim { source: Source::Solar, renewable_percent: 100, g_per_kwh: 30 }
}

/// Energy that is clean enough, and not so clean that nobody need be asked.
pub(crate) fn fair() -> EnergyClaim {
    EnergyClaim { source: Source::Grid, renewable_percent: 80, g_per_kwh: 100 }
}

/// A place where it is night at this moment: where the sun stands lowest.
fn nightly(now_ms: u64) -> (i16, i16) {
    let hours = (now_ms / 3_600_000 % 24) as i16;
    let east = (24 - hours) * 15;
    (0, if east > 180 { east - 360 } else { east })
}

impl Peer {
    pub(crate) fn new(who: Who, seed: [u8; 32], role: Role, clock: Clock) -> Self {
        let mut peer = Self {
            name: format!("peer{who}"),
            key: PublicKey([0; 32]),
            seed,
            role,
            clock,
            disk: Disk::default(),
            node: None,
            incarnation: 0,
            started_at: 0,
            inbox: VecDeque::new(),
            busy: None,
            executor: Executor::default(),
            blobs: BTreeMap::new(),
            fetching: BTreeMap::new(),
            asleep_until: None,
            crash: None,
            unclean: false,
            energy: None,
            seen: BTreeSet::new(),
            there: BTreeSet::new(),
            wanted: BTreeSet::new(),
            wake_at: None,
            stuck_until: 0,
            clock_set: false,
            backup: None,
            ticket: None,
        };
        peer.key = peer.device().public();
        peer
    }

    fn secret(&self, what: &str) -> SecretKey {
        SecretKey::from_seed(&self.derived(what))
    }

    pub(crate) fn derived(&self, what: &str) -> [u8; 32] {
        *blake3::Hasher::new_keyed(&self.seed).update(what.as_bytes()).finalize().as_bytes()
    }

    pub(crate) fn device(&self) -> SecretKey {
        self.secret("device")
    }

    pub(crate) fn user(&self) -> UserKey {
        UserKey(self.secret("user").public())
    }

    pub(crate) fn is_honest(&self) -> bool {
        self.role == Role::Honest
    }

    /// How its node differs from everybody's.
    pub(crate) fn misbehaviour(&self) -> Option<Misbehaviour> {
        match self.role {
            Role::Spender | Role::Hider => Some(Misbehaviour::SubmitsOverQuota),
            Role::Boaster => Some(Misbehaviour::ClaimsCritical),
            Role::Wasteful => Some(Misbehaviour::OffersOnAnyEnergy),
            _ => None,
        }
    }

    pub(crate) fn awake(&self) -> bool {
        self.node.is_some() && self.asleep_until.is_none()
    }

    /// What the process is told when it starts. Its randomness is fresh with each start.
    pub(crate) fn config(&self, who: Who, begins: u64) -> Config {
        Config {
            device: self.device(),
            user: Some(self.secret("user")),
            user_name: self.name.clone(),
            recovery: self.secret("recovery").public(),
            device_name: format!("{}-laptop", self.name),
            profile: executor::profile_id(),
            walls: vec![],
            place: (self.role == Role::Nightsun).then(|| nightly(begins)),
            capacity: Capacity { slots: 3, memory: 1 << 30, longest_ms: 3_600_000 },
            slot_watts: 10,
            shares: Default::default(),
            accepts: Pattern::new("*").into_iter().collect(),
            energy: self.energy,
            hook: false,
            addrs: vec![addr_of(who)],
            seed: self.derived(&format!("start {}", self.incarnation)),
        }
    }

    /// Everything that goes with the process.
    pub(crate) fn forget_process(&mut self) {
        self.node = None;
        self.incarnation += 1;
        self.inbox.clear();
        self.busy = None;
        self.executor = Executor::default();
        self.seen.clear();
        self.there.clear();
        self.wanted.clear();
        self.wake_at = None;
        self.crash = None;
        self.asleep_until = None;
    }
}
