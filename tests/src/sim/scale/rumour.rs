//! Gossip alone, among more peers than whole nodes of them would fit into memory: each is connected to a few others at
//! random, as nodes are, and nobody compares logs.

use super::{Known, Rng, Took};
use mesh_gossip::{Effect, Gossip};
use mesh_protocol::ids::{CommunityId, EntryId};
use mesh_protocol::key::{PublicKey, SecretKey};
use mesh_protocol::ledger::{Entry, EntryError, Hlc, Payload, Place};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// Peers that each one dials; as many dial it.
const DIALLED: usize = 6;
/// When the views have settled.
const SETTLED_MS: u64 = 60_000;
/// How long nothing happens then, and how long entries are written.
const PART_MS: u64 = 60_000;
/// One entry of the whole community in this time.
const ENTRY_EVERY_MS: u64 = 3_000;

/// What was measured of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rumour {
    /// Peers.
    pub peers: usize,
    /// Bytes a second that a peer sends and receives while nothing is written.
    pub idle: f64,
    /// Bytes that a peer sends and receives for an entry, beside the entry once in and as often out.
    pub around_an_entry: f64,
    /// From an entry's writing until a peer had it.
    pub heard: Took,
    /// From its writing until the last peer had it.
    pub spread: Took,
    /// Peers that missed an entry, all entries together; the comparison of logs would bring them.
    pub missed: usize,
}

enum Event {
    Up(usize),
    Wake(usize),
    Arrive { from: usize, to: usize, bytes: bytes::Bytes },
    Write,
}

struct World {
    rng: Rng,
    now: u64,
    base: Instant,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    keys: Vec<SecretKey>,
    index: BTreeMap<PublicKey, usize>,
    links: Vec<BTreeSet<usize>>,
    peers: Vec<Gossip>,
    wake_at: Vec<Option<u64>>,
    known: RefCell<Known>,
    bytes: u64,
    /// When each entry was written, and heard.
    heard: BTreeMap<EntryId, (u64, Vec<u64>)>,
}

/// Lets entries go round among so many.
pub fn spread(peers: usize, seed: u64) -> Rumour {
    let mut world = World::new(peers, seed);
    for peer in 0..peers {
        let at = world.rng.below(10_000);
        world.at(at, Event::Up(peer));
    }
    world.run_until(SETTLED_MS);
    world.bytes = 0;
    world.run_until(SETTLED_MS + PART_MS);
    let idle = world.bytes;
    world.bytes = 0;
    let entries = PART_MS / ENTRY_EVERY_MS;
    for entry in 0..entries {
        world.at(world.now + entry * ENTRY_EVERY_MS, Event::Write);
    }
    world.run_until(SETTLED_MS + 2 * PART_MS);
    let busy = world.bytes;
    // So that nothing is still under way.
    world.run_until(SETTLED_MS + 3 * PART_MS);
    let per = |bytes: u64| 2.0 * bytes as f64 / peers as f64;
    let all = |(at, heard): &(u64, Vec<u64>)| heard.iter().map(|then| then - at).collect::<Vec<u64>>();
    let missed = world.heard.values().map(|(_, heard)| peers - 1 - heard.len()).sum();
    Rumour {
        peers,
        idle: per(idle) / (PART_MS as f64 / 1000.0),
        around_an_entry: per(busy.saturating_sub(idle)) / entries as f64,
        heard: Took::of(world.heard.values().flat_map(all).collect()),
        spread: Took::of(world.heard.values().filter_map(|it| all(it).into_iter().max()).collect()),
        missed,
    }
}

impl World {
    fn new(peers: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let base = Instant::now();
        let keys: Vec<SecretKey> = (0..peers).map(|_| SecretKey::from_seed(&rng.bytes())).collect();
        let index = keys.iter().enumerate().map(|(peer, key)| (key.public(), peer)).collect();
        let mut links = vec![BTreeSet::new(); peers];
        for peer in 0..peers {
            for _ in 0..DIALLED {
                let other = rng.index(peers);
                if other != peer {
                    links[peer].insert(other);
                    links[other].insert(peer);
                }
            }
        }
        let gossip = keys.iter().map(|key| Gossip::new(key.public(), rng.bytes(), base)).collect();
        Self {
            rng,
            now: 0,
            base,
            queue: BTreeMap::new(),
            events: 0,
            wake_at: vec![None; peers],
            keys,
            index,
            links,
            peers: gossip,
            known: RefCell::default(),
            bytes: 0,
            heard: BTreeMap::new(),
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

    fn apply(&mut self, event: Event) {
        match event {
            Event::Up(peer) => {
                self.act(peer, |gossip, now| gossip.belongs(CommunityId([1; 32]), now));
                // A link is there once both ends are.
                let there: Vec<usize> =
                    self.links[peer].iter().copied().filter(|other| self.peers[*other].is_in()).collect();
                for other in there {
                    for (at, with) in [(peer, other), (other, peer)] {
                        let key = self.keys[with].public();
                        self.act(at, |gossip, now| gossip.up(key, now));
                    }
                }
            }
            Event::Wake(peer) => {
                if self.wake_at[peer].is_some_and(|at| at <= self.now) {
                    self.wake_at[peer] = None;
                    self.act(peer, Gossip::wake);
                }
            }
            Event::Arrive { from, to, bytes } => {
                let read = |bytes: &[u8]| -> Result<Entry, EntryError> {
                    self.known.borrow_mut().read(bytes).map_or_else(|| Entry::verify(bytes), Ok)
                };
                let heard = mesh_gossip::read(&bytes, read).expect("an honest peer's gossip");
                self.bytes += bytes.len() as u64;
                let key = self.keys[from].public();
                self.act(to, |gossip, now| gossip.hear(key, heard, Some(u64::MAX), now));
            }
            Event::Write => self.write(),
        }
    }

    fn write(&mut self) {
        let peer = self.rng.index(self.peers.len());
        let place = Place {
            community: CommunityId([1; 32]),
            seq: 0,
            prev: EntryId::ZERO,
            refs: vec![],
            hlc: Hlc::at(self.now),
        };
        let entry = Entry::write(&self.keys[peer], place, Payload::PeerOnline);
        self.heard.insert(entry.id(), (self.now, Vec::new()));
        self.act(peer, |gossip, now| gossip.spread(&entry, now));
    }

    fn act(&mut self, peer: usize, act: impl FnOnce(&mut Gossip, Instant) -> Vec<Effect>) {
        let now = self.base + Duration::from_millis(self.now);
        for effect in act(&mut self.peers[peer], now) {
            match effect {
                Effect::Send(to, bytes) => {
                    let Some(to) = self.index.get(&to).copied() else { continue };
                    self.at(
                        self.now + super::World::delay(peer, to),
                        Event::Arrive { from: peer, to, bytes },
                    );
                }
                Effect::Entry(_, entry) => {
                    // The entry itself is free where it is new: once in, and once out at the other end.
                    self.bytes = self.bytes.saturating_sub(entry.bytes().len() as u64);
                    if let Some((_, heard)) = self.heard.get_mut(&entry.id()) {
                        heard.push(self.now);
                    }
                }
            }
        }
        let Some(at) = self.peers[peer].deadline() else { return };
        let wait = at.saturating_duration_since(self.base).as_micros().div_ceil(1000);
        let at = u64::try_from(wait).unwrap_or(u64::MAX).max(self.now + 1);
        if self.wake_at[peer].is_none_or(|before| before > at) {
            self.wake_at[peer] = Some(at);
            self.at(at, Event::Wake(peer));
        }
    }
}
