//! Entries as they are made, spread over trees of peers: `iroh-gossip`'s state machine over our own streams.
//!
//! It knows members' devices that are connected, and nobody else. What it loses, the comparison of logs brings. It does
//! no IO and reads no clock, so that a simulation can drive thousands of them.
// spec: LED-4

use bytes::Bytes;
use iroh_gossip::proto::{
    Command, Config, Event, InEvent, Message, OutEvent, PeerData, Scope, State, Timer, TopicId,
};
use mesh_protocol::ids::{CommunityId, EntryId};
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Entry, EntryError, MAX_ENTRY};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes that a message has beside the entry in it: topic, id, lengths, hops.
const BESIDE: usize = 128;
/// Bytes of the longest message: an entry on its way.
const MAX_MESSAGE: usize = MAX_ENTRY + BESIDE;
/// Peers that entries are exchanged with directly: what the library's paper found to be enough for any community.
const NEIGHBOURS: usize = 5;
/// Below this more are asked to be neighbours. Whoever is asked lets another one go for it, which then lacks one: asked
/// for the last one, too, nobody would ever come to rest.
const TOO_FEW: usize = 3;
/// How often it is looked whether there are enough neighbours.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a message is kept for peers that ask for it: they do so within a second.
const KEEP_MESSAGES: Duration = Duration::from_secs(10);
/// How long an entry that one neighbour announced may take to come from another before it is asked for, and how long the
/// next one that announced it is given. Several hops over a continent: whoever asks sooner gets it twice, and breaks up
/// the tree by which it comes once.
const ASK_AFTER: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(250));
/// Bytes a second that are taken from one peer, and at once. A community's entries are a few hundred bytes each; at
/// this rate they are more than the rules let 256 devices write. What is dropped, the comparison of logs brings.
const RATE: u64 = 512 << 10;
/// Bytes taken from all peers together between two clean-ups of the library's memory of peers and messages, some of
/// which has no bound of its own.
const FRESH_AFTER: u64 = 32 << 20;
/// Bytes of memory that the library takes for one announced message, of which 33 travel: its sender, twice its id in
/// tables with room to grow, and a timer.
const ANNOUNCED: u64 = 240;
/// Timers set at once: one for each message that was announced and not yet sent.
const MAX_TIMERS: usize = 100_000;
/// Of these, such as what one peer announced has set: so many that 256 devices together take no others' place.
const MAX_TIMERS_OF_ONE: usize = MAX_TIMERS / 256;
/// Entries remembered as counted. More than any rules let pass within a minute.
const MAX_COUNTED: usize = 8192;
const HOUR: Duration = Duration::from_secs(3600);
/// Hops that a walk through the community takes, which whoever sets out says: as the library's paper has it. By one that
/// may be longer, one peer would keep all others busy.
const MAX_WALK: u16 = 6;
/// Hops that an entry has made. More than there are in any tree of peers; what came so far is not passed on.
const MAX_ROUND: u16 = 1_000;

/// A peer as the library wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Peer([u8; 32]);

impl From<PublicKey> for Peer {
    fn from(key: PublicKey) -> Self {
        Self(key.0)
    }
}

/// A message that was read. An entry in it was verified, so nobody passes on what does not hold, and whoever sends
/// such a thing can be blamed for it.
#[derive(Debug)]
pub struct Heard {
    message: Message<Peer>,
    entry: Option<Box<Entry>>,
    bytes: usize,
    /// The messages that it announces, of which topic.
    announced: Vec<Announced>,
    topic: [u8; 32],
    /// Has its entry come as far as any may?
    last: bool,
}

impl Heard {
    /// Announces no more than so many, the first of them. Says how many are left out.
    fn announce(&mut self, most: usize) -> Result<usize, postcard::Error> {
        let more = self.announced.len().saturating_sub(most);
        if more > 0 {
            self.announced.truncate(most);
            let layer = Layer::Broadcast(Broadcast::IHave(std::mem::take(&mut self.announced)));
            let bytes = postcard::to_stdvec(&Written { topic: self.topic, layer })?;
            self.message = postcard::from_bytes(&bytes)?;
        }
        Ok(more)
    }

    /// The entry that it brings, if it brings one.
    pub fn entry(&self) -> Option<&Entry> {
        self.entry.as_deref()
    }
}

/// A message as the library writes it; its own types keep this to themselves.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    topic: [u8; 32],
    #[serde(borrow)]
    layer: Layer<'a>,
}

#[derive(Serialize, Deserialize)]
enum Layer<'a> {
    #[serde(borrow)]
    Swarm(Swarm<'a>),
    #[serde(borrow)]
    Broadcast(Broadcast<'a>),
}

#[derive(Serialize, Deserialize)]
struct Named<'a> {
    _peer: [u8; 32],
    #[serde(borrow)]
    _data: Option<&'a [u8]>,
}

#[derive(Serialize, Deserialize)]
enum Swarm<'a> {
    // Of these no more is read than what they are: the library reads them.
    Join,
    ForwardJoin {
        #[serde(borrow)]
        _peer: Named<'a>,
        hops: u16,
    },
    Shuffle {
        _origin: [u8; 32],
        #[serde(borrow)]
        _nodes: Vec<Named<'a>>,
        hops: u16,
    },
    ShuffleReply,
    Neighbor,
    Disconnect,
}

#[derive(Serialize, Deserialize)]
enum Broadcast<'a> {
    Content { _id: [u8; 32], content: &'a [u8], scope: Reach },
    Prune,
    Graft { _id: Option<[u8; 32]>, round: u16 },
    IHave(Vec<Announced>),
}

#[derive(Serialize, Deserialize)]
enum Reach {
    Swarm(u16),
    Neighbours,
}

#[derive(Debug, Serialize, Deserialize)]
struct Announced {
    _id: [u8; 32],
    round: u16,
}

impl Layer<'_> {
    /// Hops that it is to make, and that it says were made.
    fn hops(&self) -> (u16, u16) {
        match self {
            Self::Swarm(Swarm::ForwardJoin { hops, .. } | Swarm::Shuffle { hops, .. }) => (*hops, 0),
            Self::Broadcast(
                Broadcast::Content { scope: Reach::Swarm(round), .. } | Broadcast::Graft { round, .. },
            ) => (0, *round),
            Self::Broadcast(Broadcast::IHave(all)) => {
                (0, all.iter().map(|one| one.round).max().unwrap_or_default())
            }
            Self::Swarm(Swarm::Join | Swarm::ShuffleReply | Swarm::Neighbor | Swarm::Disconnect)
            | Self::Broadcast(Broadcast::Content { scope: Reach::Neighbours, .. } | Broadcast::Prune) => {
                (0, 0)
            }
        }
    }
}

/// Why bytes are no message. Nothing of them was taken.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Longer than any message.
    #[error("read gossip: it has {0} bytes, at most {MAX_MESSAGE} are allowed")]
    TooLong(usize),
    /// Not a message's encoding.
    #[error("read gossip")]
    Decode(#[source] postcard::Error),
    /// It is to go further, or says that it came from further, than anything goes.
    #[error("read gossip: no peer sends anything so far")]
    TooFar,
    /// The entry in it is none.
    #[error("read gossip: the entry in it")]
    Entry(#[source] EntryError),
}

/// Reads a message. `entry` reads the entry in it, and must let nothing through that nobody signed.
pub fn read(bytes: &[u8], entry: impl Fn(&[u8]) -> Result<Entry, EntryError>) -> Result<Heard, ReadError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(ReadError::TooLong(bytes.len()));
    }
    let message: Message<Peer> = postcard::from_bytes(bytes).map_err(ReadError::Decode)?;
    let (written, _rest) = postcard::take_from_bytes::<Written<'_>>(bytes).map_err(ReadError::Decode)?;
    // spec: NET-4
    let (walk, round) = written.layer.hops();
    if walk > MAX_WALK || round > MAX_ROUND {
        return Err(ReadError::TooFar);
    }
    let (mut announced, mut content) = (Vec::new(), None);
    match written.layer {
        Layer::Broadcast(Broadcast::Content { content: it, .. }) => content = Some(it),
        Layer::Broadcast(Broadcast::IHave(all)) => announced = all,
        Layer::Swarm(_) | Layer::Broadcast(Broadcast::Prune | Broadcast::Graft { .. }) => {}
    }
    let entry = content.map(entry).transpose().map_err(ReadError::Entry)?.map(Box::new);
    let (bytes, last) = (bytes.len(), round == MAX_ROUND);
    Ok(Heard { message, entry, bytes, announced, topic: written.topic, last })
}

/// What is to be done.
#[derive(Debug)]
pub enum Effect {
    /// Send this on the peer's gossip channel.
    Send(PublicKey, Bytes),
    /// An entry came that was not known to have been spread.
    Entry(PublicKey, Box<Entry>),
}

/// How much a peer may send now, or of an author's is passed on now.
#[derive(Debug, Clone, Copy)]
struct Allowance {
    left: u64,
    since: Instant,
}

impl Allowance {
    /// Takes some, if there is so much. In `every` as much comes back as there may be at most.
    fn take(&mut self, wanted: u64, most: u64, every: Duration, now: Instant) -> bool {
        let passed = now.duration_since(self.since).as_millis();
        let gained = passed.saturating_mul(most.into()) / every.as_millis().max(1);
        if gained > 0 {
            let left = u128::from(self.left).saturating_add(gained).min(most.into());
            *self = Self { left: u64::try_from(left).unwrap_or(most), since: now };
        }
        let enough = wanted <= self.left;
        if enough {
            self.left -= wanted;
        }
        enough
    }
}

/// This peer's part in the gossip of its community.
pub struct Gossip {
    me: PublicKey,
    seed: StdRng,
    topic: Option<TopicId>,
    state: State<Peer, StdRng>,
    /// Connected members' devices.
    there: BTreeMap<PublicKey, Allowance>,
    /// Entries that are passed on of each author.
    authors: BTreeMap<PublicKey, Allowance>,
    /// Which of them were counted lately: one comes by several ways, and whoever sends somebody else's again and again uses
    /// up nothing.
    counted: BTreeSet<EntryId>,
    neighbours: BTreeSet<PublicKey>,
    /// By when and number, each with the peer that set it off.
    timers: BTreeMap<(Instant, u64), (Timer<Peer>, Option<PublicKey>)>,
    /// How many of them each peer set off.
    set_off: BTreeMap<PublicKey, usize>,
    number: u64,
    look: Instant,
    /// Bytes taken since the last clean-up.
    taken: u64,
    dropped: u64,
}

impl std::fmt::Debug for Gossip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gossip").field("neighbours", &self.neighbours).finish_non_exhaustive()
    }
}

impl Gossip {
    /// One that knows nobody. `seed` is where its randomness comes from.
    pub fn new(me: PublicKey, seed: [u8; 32], now: Instant) -> Self {
        let mut seed = StdRng::from_seed(seed);
        Self {
            me,
            state: fresh(me, &mut seed),
            seed,
            topic: None,
            there: BTreeMap::new(),
            authors: BTreeMap::new(),
            counted: BTreeSet::new(),
            neighbours: BTreeSet::new(),
            timers: BTreeMap::new(),
            set_off: BTreeMap::new(),
            number: 0,
            look: now,
            taken: 0,
            dropped: 0,
        }
    }

    /// The community is settled.
    pub fn belongs(&mut self, community: CommunityId, now: Instant) -> Vec<Effect> {
        self.topic = Some(community.0.into());
        self.start_anew(now)
    }

    /// Is the community settled?
    pub fn is_in(&self) -> bool {
        self.topic.is_some()
    }

    /// A member's device can be sent to.
    pub fn up(&mut self, peer: PublicKey, now: Instant) -> Vec<Effect> {
        self.there.entry(peer).or_insert(Allowance { left: RATE, since: now });
        self.join(vec![peer], now)
    }

    /// It cannot be sent to any more, or is no member's any more.
    pub fn down(&mut self, peer: PublicKey, now: Instant) -> Vec<Effect> {
        self.neighbours.remove(&peer);
        if self.there.remove(&peer).is_none() {
            return Vec::new();
        }
        self.step(InEvent::PeerDisconnected(peer.into()), None, now)
    }

    /// Tells everyone of an entry.
    pub fn spread(&mut self, entry: &Entry, now: Instant) -> Vec<Effect> {
        let Some(topic) = self.topic else { return Vec::new() };
        let bytes = Bytes::copy_from_slice(entry.bytes());
        self.step(InEvent::Command(topic, Command::Broadcast(bytes, Scope::Swarm)), None, now)
    }

    /// A message came. `per_hour`: how many entries of the author whose entry it brings are passed on in an hour, if any
    /// are: the library passes on at once what it was given, and nobody asks a ledger before that.
    // spec: NET-4
    pub fn hear(
        &mut self,
        peer: PublicKey,
        mut heard: Heard,
        per_hour: Option<u64>,
        now: Instant,
    ) -> Vec<Effect> {
        let Some(allowance) = self.there.get_mut(&peer) else { return Vec::new() };
        // What is announced counts by what it takes here.
        let weight = (heard.bytes as u64).max(ANNOUNCED.saturating_mul(heard.announced.len() as u64));
        let free = MAX_TIMERS_OF_ONE.saturating_sub(self.set_off.get(&peer).copied().unwrap_or_default());
        let too_many = !heard.announced.is_empty() && free == 0;
        let full = self.timers.len() >= MAX_TIMERS || too_many;
        if full || !allowance.take(weight, RATE, Duration::from_secs(1), now) {
            self.dropped += 1;
            return Vec::new();
        }
        self.taken += weight;
        match heard.announce(free) {
            Ok(more) => self.dropped += more as u64,
            Err(error) => {
                tracing::error!(%error, "gossip could not be written");
                return Vec::new();
            }
        }
        let of = heard.entry.as_ref().map(|entry| (entry.header().author, entry.id()));
        if heard.last || of.is_some_and(|(author, entry)| !self.passes(author, entry, per_hour, now)) {
            return heard.entry.map(|entry| Effect::Entry(peer, entry)).into_iter().collect();
        }
        self.step(InEvent::RecvMessage(peer.into(), heard.message), heard.entry, now)
    }

    fn passes(&mut self, author: PublicKey, entry: EntryId, per_hour: Option<u64>, now: Instant) -> bool {
        let Some(most) = per_hour else { return false };
        if most == u64::MAX || self.counted.contains(&entry) {
            return true;
        }
        let fresh = Allowance { left: most, since: now };
        let passes = self.authors.entry(author).or_insert(fresh).take(1, most, HOUR, now);
        self.dropped += u64::from(!passes);
        if passes {
            if self.counted.len() >= MAX_COUNTED {
                self.counted.clear();
            }
            self.counted.insert(entry);
        }
        passes
    }

    /// Messages, and announcements of messages, dropped because a peer sent too much at once.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Instant> {
        let timer = self.timers.first_key_value().map(|((at, _), _)| *at);
        let look = self.topic.map(|_| self.look);
        timer.into_iter().chain(look).min()
    }

    /// Does what is due.
    pub fn wake(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(first) = self.timers.first_entry().filter(|first| first.key().0 <= now) {
            let (timer, by) = first.remove();
            if let Some(btree_map::Entry::Occupied(mut set)) = by.map(|by| self.set_off.entry(by)) {
                *set.get_mut() -= 1;
                if *set.get() == 0 {
                    set.remove();
                }
            }
            effects.extend(self.step_for(by, InEvent::TimerExpired(timer), None, now));
        }
        if self.topic.is_some() && self.look <= now {
            if self.taken > FRESH_AFTER {
                effects.extend(self.start_anew(now));
            }
            self.look = now + LOOK_EVERY;
            let missing = TOO_FEW.saturating_sub(self.neighbours.len());
            let others = self.there.keys().filter(|peer| !self.neighbours.contains(peer)).copied();
            let more = others.sample(&mut self.seed, missing);
            effects.extend(self.join(more, now));
        }
        effects
    }

    fn join(&mut self, peers: Vec<PublicKey>, now: Instant) -> Vec<Effect> {
        let Some(topic) = self.topic else { return Vec::new() };
        if self.neighbours.len() >= NEIGHBOURS || peers.is_empty() {
            return Vec::new();
        }
        let peers = peers.into_iter().map(Peer::from).collect();
        self.step(InEvent::Command(topic, Command::Join(peers)), None, now)
    }

    /// Forgets everything but who is there.
    fn start_anew(&mut self, now: Instant) -> Vec<Effect> {
        let Some(topic) = self.topic else { return Vec::new() };
        let mut effects = self.step(InEvent::Command(topic, Command::Quit), None, now);
        self.state = fresh(self.me, &mut self.seed);
        self.timers.clear();
        self.set_off.clear();
        self.neighbours.clear();
        self.taken = 0;
        self.look = now + LOOK_EVERY;
        let some = self.there.keys().copied().sample(&mut self.seed, NEIGHBOURS);
        let peers = some.into_iter().map(Peer::from).collect();
        effects.extend(self.step(InEvent::Command(topic, Command::Join(peers)), None, now));
        effects
    }

    fn step(&mut self, event: InEvent<Peer>, entry: Option<Box<Entry>>, now: Instant) -> Vec<Effect> {
        let from = if let InEvent::RecvMessage(peer, _) = &event { Some(PublicKey(peer.0)) } else { None };
        self.step_for(from, event, entry, now)
    }

    fn set_timer(&mut self, at: Instant, timer: Timer<Peer>, by: Option<PublicKey>) {
        self.number += 1;
        self.timers.insert((at, self.number), (timer, by));
        if let Some(by) = by {
            *self.set_off.entry(by).or_default() += 1;
        }
    }

    /// `from`: whose message set this off.
    fn step_for(
        &mut self,
        from: Option<PublicKey>,
        event: InEvent<Peer>,
        mut entry: Option<Box<Entry>>,
        now: Instant,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let (mut gone, mut timers) = (BTreeSet::new(), Vec::new());
        for out in self.state.handle(event, now, None) {
            match out {
                OutEvent::SendMessage(peer, message) => {
                    let to = PublicKey(peer.0);
                    if !self.there.contains_key(&to) {
                        gone.insert(peer);
                        continue;
                    }
                    match postcard::to_stdvec(&message) {
                        Ok(bytes) => effects.push(Effect::Send(to, bytes.into())),
                        Err(error) => tracing::error!(%error, "gossip could not be written"),
                    }
                }
                OutEvent::EmitEvent(_, Event::NeighborUp(peer)) => {
                    self.neighbours.insert(PublicKey(peer.0));
                }
                OutEvent::EmitEvent(_, Event::NeighborDown(peer)) => {
                    self.neighbours.remove(&PublicKey(peer.0));
                }
                // The entry was read with the message that it came in.
                OutEvent::EmitEvent(_, Event::Received(_)) => {
                    if let (Some(from), Some(entry)) = (from, entry.take()) {
                        effects.push(Effect::Entry(from, entry));
                    }
                }
                OutEvent::ScheduleTimer(delay, timer) => timers.push((now + delay, timer)),
                // Connections serve other things too.
                OutEvent::DisconnectPeer(_) | OutEvent::PeerData(..) => {}
            }
        }
        // It heard of these from others, and they are not connected here.
        for peer in gone {
            for out in self.state.handle(InEvent::PeerDisconnected(peer), now, None) {
                if let OutEvent::ScheduleTimer(delay, timer) = out {
                    timers.push((now + delay, timer));
                }
            }
        }
        for (at, timer) in timers {
            self.set_timer(at, timer, from);
        }
        effects
    }
}

fn fresh(me: PublicKey, seed: &mut StdRng) -> State<Peer, StdRng> {
    let mut config = Config { max_message_size: MAX_MESSAGE, ..Config::default() };
    config.membership.active_view_capacity = NEIGHBOURS;
    config.membership.active_random_walk_length = MAX_WALK.into();
    config.membership.shuffle_random_walk_length = MAX_WALK.into();
    config.broadcast.message_cache_retention = KEEP_MESSAGES;
    config.broadcast.graft_timeout_1 = ASK_AFTER.0;
    config.broadcast.graft_timeout_2 = ASK_AFTER.1;
    State::new(me.into(), PeerData::default(), config, StdRng::from_rng(seed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::key::SecretKey;
    use mesh_protocol::ledger::{Hlc, Payload, Place};
    use std::collections::VecDeque;

    /// Nothing is known against it.
    const FREE: Option<u64> = Some(u64::MAX);
    const COMMUNITY: CommunityId = CommunityId([5; 32]);

    fn key(number: u8) -> PublicKey {
        SecretKey::from_seed(&[number; 32]).public()
    }

    fn entry(number: u8, seq: u64) -> Entry {
        let prev = if seq == 0 { EntryId::ZERO } else { EntryId([1; 32]) };
        let place = Place { community: COMMUNITY, seq, prev, refs: vec![], hlc: Hlc::at(seq) };
        Entry::write(&SecretKey::from_seed(&[number; 32]), place, Payload::PeerOnline)
    }

    /// Peers that hear each other at once.
    struct Net {
        peers: BTreeMap<PublicKey, Gossip>,
        under_way: VecDeque<(PublicKey, PublicKey, Bytes)>,
        got: BTreeMap<PublicKey, Vec<EntryId>>,
        now: Instant,
    }

    impl Net {
        fn new(count: u8) -> Self {
            let now = Instant::now();
            let peers = (1..=count).map(|n| (key(n), Gossip::new(key(n), [n; 32], now))).collect();
            let mut net = Self { peers, under_way: VecDeque::new(), got: BTreeMap::new(), now };
            let keys: Vec<PublicKey> = net.peers.keys().copied().collect();
            for a in &keys {
                net.act(*a, |gossip, now| gossip.belongs(COMMUNITY, now));
                for b in keys.iter().filter(|b| *b != a) {
                    net.act(*a, |gossip, now| gossip.up(*b, now));
                }
            }
            net.settle();
            net
        }

        fn act(&mut self, peer: PublicKey, act: impl FnOnce(&mut Gossip, Instant) -> Vec<Effect>) {
            let effects = act(self.peers.get_mut(&peer).unwrap(), self.now);
            for effect in effects {
                match effect {
                    Effect::Send(to, bytes) => self.under_way.push_back((peer, to, bytes)),
                    Effect::Entry(_, entry) => self.got.entry(peer).or_default().push(entry.id()),
                }
            }
        }

        /// Lets pass what is under way, and a second after it.
        fn settle(&mut self) {
            for _ in 0..100 {
                while let Some((from, to, bytes)) = self.under_way.pop_front() {
                    let heard = read(&bytes, Entry::verify).unwrap();
                    self.act(to, |gossip, now| gossip.hear(from, heard, FREE, now));
                }
                self.now += Duration::from_millis(10);
                let keys: Vec<PublicKey> = self.peers.keys().copied().collect();
                for peer in keys {
                    self.act(peer, Gossip::wake);
                }
            }
        }
    }

    // spec: LED-4
    #[tokio::test]
    async fn everybody_hears_of_an_entry_once() {
        let mut net = Net::new(12);
        let entry = entry(1, 0);
        net.act(key(1), |gossip, now| gossip.spread(&entry, now));
        net.settle();
        assert_eq!(net.got.len(), 11);
        assert!(net.got.values().all(|got| *got == [entry.id()]));
    }

    #[tokio::test]
    async fn after_a_clean_up_entries_still_go_round() {
        let mut net = Net::new(4);
        for number in 1..=4 {
            net.peers.get_mut(&key(number)).unwrap().taken = FRESH_AFTER + 1;
        }
        net.now += LOOK_EVERY;
        net.settle();
        assert!(net.peers.values().all(|gossip| gossip.taken < FRESH_AFTER && !gossip.neighbours.is_empty()));
        net.act(key(2), |gossip, now| gossip.spread(&entry(2, 0), now));
        net.settle();
        assert_eq!(net.got.len(), 3);
    }

    // spec: NET-4
    #[tokio::test]
    async fn a_peer_that_sends_too_much_is_not_listened_to_for_a_while() {
        let mut net = Net::new(2);
        let now = net.now;
        let heard = |seq| {
            // What a broadcast of peer 2 looks like.
            let mut two = Gossip::new(key(2), [2; 32], now);
            two.belongs(COMMUNITY, now);
            two.there.insert(key(1), Allowance { left: RATE, since: now });
            let mut one = Gossip::new(key(1), [1; 32], now);
            one.belongs(COMMUNITY, now);
            one.there.insert(key(2), Allowance { left: RATE, since: now });
            for effect in one.join(vec![key(2)], now) {
                let Effect::Send(_, bytes) = effect else { continue };
                two.hear(key(1), read(&bytes, Entry::verify).unwrap(), FREE, now);
            }
            let sent = two.spread(&entry(2, seq), now);
            let Some(Effect::Send(_, bytes)) = sent.into_iter().next() else { panic!("nothing was sent") };
            read(&bytes, Entry::verify).unwrap()
        };
        let one = net.peers.get_mut(&key(1)).unwrap();
        one.there.insert(key(2), Allowance { left: 400, since: now });
        let got = |effects: Vec<Effect>| effects.iter().any(|effect| matches!(effect, Effect::Entry(..)));
        assert!(got(one.hear(key(2), heard(0), FREE, now)));
        one.there.insert(key(2), Allowance { left: 0, since: now });
        assert!(!got(one.hear(key(2), heard(1), FREE, now)));
        assert_eq!(one.dropped(), 1);
        assert!(got(one.hear(key(2), heard(1), FREE, now + Duration::from_secs(1))));
    }

    /// A message of this topic.
    fn message(rest: &[u8]) -> Vec<u8> {
        [&COMMUNITY.0[..], rest].concat()
    }

    /// A number of two bytes, as postcard writes it.
    fn number(number: u16) -> Vec<u8> {
        postcard::to_stdvec(&number).unwrap()
    }

    // spec: NET-4
    #[test]
    fn what_is_to_go_further_than_anything_goes_is_refused() {
        let someone = [&[7; 32][..], &[1, 2, 9, 9]].concat();
        let forward = |hops| message(&[&[0, 1][..], &someone, &number(hops)].concat());
        let shuffle = |hops| message(&[&[0, 2][..], &[7; 32], &[1], &someone, &number(hops)].concat());
        let sent = entry(2, 0);
        let id = blake3_of(sent.bytes());
        let len = number(u16::try_from(sent.bytes().len()).unwrap());
        let content = |round| message(&[&[1, 0][..], &id, &len, sent.bytes(), &[0], &number(round)].concat());
        let graft = |round| message(&[&[1, 2][..], &[1], &[7; 32], &number(round)].concat());
        let ihave = |round| message(&[&[1, 3, 1][..], &[7; 32], &number(round)].concat());
        type Write<'a> = &'a dyn Fn(u16) -> Vec<u8>;
        let cases: [(Write<'_>, u16); 5] =
            [(&forward, 6), (&shuffle, 6), (&content, 1_000), (&graft, 1_000), (&ihave, 1_000)];
        for (case, (write, most)) in cases.into_iter().enumerate() {
            assert!(read(&write(0), Entry::verify).is_ok(), "{case}");
            assert!(read(&write(most), Entry::verify).is_ok(), "{case}");
            for hops in [most + 1, u16::MAX] {
                assert!(
                    matches!(read(&write(hops), Entry::verify), Err(ReadError::TooFar)),
                    "{case}: {hops}"
                );
            }
        }
    }

    fn blake3_of(bytes: &[u8]) -> [u8; 32] {
        *blake3::hash(bytes).as_bytes()
    }

    // spec: NET-4
    #[tokio::test]
    async fn what_came_as_far_as_anything_may_is_taken_and_not_passed_on() {
        let mut net = Net::new(3);
        let (sent, now) = (entry(2, 0), net.now);
        let len = number(u16::try_from(sent.bytes().len()).unwrap());
        let content = |round| {
            let id = blake3_of(sent.bytes());
            message(&[&[1, 0][..], &id, &len, sent.bytes(), &[0], &number(round)].concat())
        };
        let one = net.peers.get_mut(&key(1)).unwrap();
        let effects = one.hear(key(2), read(&content(1_000), Entry::verify).unwrap(), FREE, now);
        assert!(matches!(&effects[..], [Effect::Entry(from, _)] if *from == key(2)), "{effects:?}");
        let effects = one.hear(key(2), read(&content(999), Entry::verify).unwrap(), FREE, now);
        let passed = effects.iter().filter_map(|effect| match effect {
            Effect::Send(to, bytes) => Some((*to, read(bytes, Entry::verify).unwrap().last)),
            Effect::Entry(..) => None,
        });
        assert_eq!(passed.collect::<Vec<_>>(), [(key(3), true)]);
    }

    // spec: NET-4
    #[tokio::test]
    async fn what_a_peer_announces_takes_a_bounded_room_and_nobody_elses() {
        let mut net = Net::new(3);
        let now = net.now;
        let one = net.peers.get_mut(&key(1)).unwrap();
        let mut made_up = 0_u64;
        let mut ids = |count: u8| {
            let mut bytes = vec![1, 3, count];
            for _ in 0..count {
                made_up += 1;
                bytes.extend_from_slice(&blake3_of(&made_up.to_le_bytes()));
                bytes.push(0);
            }
            read(&message(&bytes), Entry::verify).unwrap()
        };
        // By what it takes here, one second's worth is 2,184 of them.
        for peer in [2, 3] {
            one.there.insert(key(peer), Allowance { left: RATE, since: now });
        }
        one.hear(key(2), ids(100), FREE, now);
        assert_eq!(one.there[&key(2)].left, RATE - 24_000);
        for _ in 0..100 {
            one.hear(key(2), ids(100), FREE, now);
        }
        assert_eq!(one.set_off[&key(2)], MAX_TIMERS_OF_ONE, "of the fourth, those that there is room for");
        assert!(one.dropped() > 90);
        // Another peer's count for themselves, and each timer gives its room free.
        let before = one.dropped();
        one.hear(key(3), ids(100), FREE, now);
        assert_eq!(one.dropped(), before);
        // Asked for once, and then nobody else is known to have them.
        let later = now + Duration::from_secs(2);
        for at in [now + Duration::from_secs(1), later] {
            one.wake(at);
        }
        assert_eq!(
            one.set_off.values().sum::<usize>(),
            one.timers.values().filter(|(_, by)| by.is_some()).count()
        );
        one.hear(key(2), ids(100), FREE, later);
        assert_eq!(one.dropped(), before);
    }

    // spec: NET-2
    #[test]
    fn what_does_not_hold_is_refused_before_it_is_passed_on() {
        let now = Instant::now();
        let mut gossip = Gossip::new(key(1), [1; 32], now);
        gossip.belongs(COMMUNITY, now);
        gossip.there.insert(key(2), Allowance { left: RATE, since: now });
        let mut two = Gossip::new(key(2), [2; 32], now);
        two.belongs(COMMUNITY, now);
        two.there.insert(key(1), Allowance { left: RATE, since: now });
        for effect in gossip.join(vec![key(2)], now) {
            let Effect::Send(_, bytes) = effect else { continue };
            two.hear(key(1), read(&bytes, Entry::verify).unwrap(), FREE, now);
        }
        let Some(Effect::Send(_, bytes)) = two.spread(&entry(2, 0), now).into_iter().next() else {
            panic!("nothing was sent")
        };
        let mut forged = bytes.to_vec();
        let middle = forged.len() / 2;
        forged[middle] ^= 1;
        assert!(read(&forged, Entry::verify).is_err());
        assert!(read(&[0; MAX_MESSAGE + 1], Entry::verify).is_err());
        assert!(read(&bytes, Entry::verify).is_ok());
        assert!(
            gossip.hear(key(9), read(&bytes, Entry::verify).unwrap(), FREE, now).is_empty(),
            "only connected members are listened to"
        );
    }

    // spec: NET-4
    #[test]
    fn of_one_author_no_more_is_passed_on_in_an_hour_than_the_rules_allow() {
        let mut net = Net::new(3);
        let begun = net.now;
        // What peer 1 spreads comes to peer 2. Is it told there, and does it go on to peer 3?
        let mut passes = |seq, per_hour, at| {
            net.act(key(1), |gossip, now| gossip.spread(&entry(9, seq), now));
            let bytes = std::mem::take(&mut net.under_way).into_iter().find(|(_, to, _)| *to == key(2));
            let bytes = bytes.expect("it goes to the neighbours").2;
            let two = net.peers.get_mut(&key(2)).unwrap();
            let mut hears = || two.hear(key(1), read(&bytes, Entry::verify).unwrap(), per_hour, at);
            let effects = hears();
            let told = effects.iter().any(|effect| matches!(effect, Effect::Entry(..)));
            assert!(told, "the ledger says what it takes");
            // What comes again and again counts once.
            (0..9).for_each(|_| drop(hears()));
            effects.iter().any(|effect| matches!(effect, Effect::Send(to, _) if *to == key(3)))
        };
        assert_eq!([1, 2, 3].map(|seq| passes(seq, Some(2), begun)), [true, true, false]);
        // Half an hour later there is one more; what nobody passes on goes no further, and what is free does.
        let later = begun + Duration::from_secs(1_801);
        assert_eq!([4, 5].map(|seq| passes(seq, Some(2), later)), [true, false]);
        assert_eq!([passes(6, None, later), passes(7, FREE, later)], [false, true]);
    }
}
