//! All logs as this peer knows them, and what follows from them.
//!
//! The answer does not depend on the order in which entries came. Who belongs to the community is folded anew, in the
//! order of (clock, id), whenever an entry about it arrives late; there are few of those. Everything else is a set of
//! facts that can be added in any order.
// spec: LED-1, LED-3

mod ballots;
pub mod conduct;
mod facts;
mod governance;
pub mod tasks;

pub use ballots::{Ballots, ContributionFact, ProposalFact, Spot, VoteFact};
pub(crate) use ballots::{MOST_PROPOSALS, MOST_WORDS, PROPOSALS_MS};
use facts::Here;
pub(crate) use facts::witnesses_needed;
pub use facts::{Facts, GrantFact};
pub use governance::{Dated, Device, Governance, Member};
pub(crate) use tasks::MOST_OFFERS;

use mesh_protocol::canonical;
use mesh_protocol::frame::MAX_OFFER_ENTRIES;
use mesh_protocol::ids::{CommunityId, Digest, EntryId};
use mesh_protocol::key::{PublicKey, SecretKey, UserKey};
use mesh_protocol::ledger::{Entry, EntryError, ForkProof, Hlc, MAX_REFS, Payload, Place, SignedHeader, Tip};
use mesh_protocol::rules::Rules;
use std::collections::{BTreeMap, BTreeSet, VecDeque, btree_map};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Entries that wait for others. They come again with the next comparison of logs, so dropping some only costs time.
const MAX_WAITING: usize = 4096;
/// The same of entries whose authors nobody has admitted: any key can write such.
const MAX_STRANGERS: usize = 1024;
/// Own entries kept at hand for offers that go out just after they were written.
const RECENT: usize = 256;
/// Bytes of tips that are hashed at once: enough for the hash to be at its fastest.
const HASHED_AT_ONCE: usize = 16 << 10;
/// Words that others have seen an entry which is not here, of which it is kept in mind. What goes beyond costs time: what
/// counts by them is counted when something else is said.
const MAX_AWAITED: usize = 1 << 16;

#[cfg(test)]
thread_local! {
    /// How often it was asked as of when something counts.
    static DATED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// One device's log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Log {
    ids: Vec<EntryId>,
    hlcs: Vec<Hlc>,
}

/// Why an entry waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// Nobody has admitted its author yet.
    Author(PublicKey),
    /// An entry before it is missing.
    Entry(PublicKey, u64),
}

impl Cause {
    /// Which of the two queues waits for such.
    fn queue(&self) -> usize {
        usize::from(matches!(self, Self::Author(_)))
    }
}

/// Entries that wait.
#[derive(Debug, Clone, Default)]
struct Queue {
    /// The latest last.
    by_date: BTreeSet<(Hlc, PublicKey, u64)>,
    /// Those that were not kept, or went, for want of room since all went last.
    turned_away: usize,
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is new, and so are those that had waited for it, in this order.
    New(Vec<Entry>),
    /// It was there.
    Known,
    /// It waits for others.
    Waits,
    /// It does not count, and is not kept.
    Ignored(&'static str),
    /// Its log has another entry at its place, and none lower is known: this peer knows the one it has by its id alone
    /// and must look it up.
    Fork(PublicKey, u64),
}

/// Entries that others have seen and that are not here so far, each as often as it was named.
#[derive(Debug, Clone, Default)]
struct Awaited {
    by_log: BTreeSet<(PublicKey, u64, EntryId, PublicKey)>,
    /// By witness, those first that come first in their logs.
    by_witness: BTreeMap<PublicKey, BTreeSet<(u64, PublicKey, EntryId)>>,
}

impl Awaited {
    /// Where there are too many, whoever named most gives way, so that nobody fills this with what was never written.
    // spec: LED-10, NET-4
    fn add(&mut self, witness: PublicKey, tip: &Tip) {
        self.by_log.insert((tip.author, tip.seq, tip.id, witness));
        self.by_witness.entry(witness).or_default().insert((tip.seq, tip.author, tip.id));
        if self.by_log.len() > MAX_AWAITED {
            let most = self.by_witness.iter_mut().max_by_key(|(_, named)| named.len());
            if let Some((witness, (seq, author, id))) =
                most.and_then(|(by, named)| Some((*by, named.pop_last()?)))
            {
                self.by_log.remove(&(author, seq, id, witness));
            }
        }
    }

    /// There is an entry at that place of a log now. Gives whether it was awaited.
    fn came(&mut self, tip: &Tip) -> bool {
        self.remove(&tip.author, tip.seq..=tip.seq).iter().any(|(_, id)| *id == tip.id)
    }

    fn remove(&mut self, author: &PublicKey, places: RangeInclusive<u64>) -> Vec<(u64, EntryId)> {
        let first = (*author, *places.start(), EntryId([0; 32]), PublicKey([0; 32]));
        let last = (*author, *places.end(), EntryId([0xff; 32]), PublicKey([0xff; 32]));
        let gone: Vec<_> = self.by_log.range(first..=last).copied().collect();
        for it in &gone {
            self.by_log.remove(it);
            let (author, seq, id, witness) = *it;
            if let btree_map::Entry::Occupied(mut named) = self.by_witness.entry(witness) {
                named.get_mut().remove(&(seq, author, id));
                if named.get().is_empty() {
                    named.remove();
                }
            }
        }
        gone.into_iter().map(|(_, seq, id, _)| (seq, id)).collect()
    }
}

/// The ledger.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    community: Option<CommunityId>,
    logs: BTreeMap<PublicKey, Log>,
    /// Shared by the copies of a ledger, since it is most of one and seldom changes.
    governance: Arc<Governance>,
    facts: Facts,
    clock: Hlc,
    unnamed: BTreeMap<PublicKey, Tip>,
    waiting: BTreeMap<(PublicKey, u64), (Cause, Entry)>,
    blocked: BTreeMap<Cause, BTreeSet<(PublicKey, u64)>>,
    /// What waits for an entry, and what waits for its author.
    queues: [Queue; 2],
    /// Of each log, the other entry at the lowest place that was seen twice; no more than there are devices.
    suspects: BTreeMap<PublicKey, SignedHeader>,
    cuts: Vec<(PublicKey, u64)>,
    /// Of each log, the proof of its lowest end that no entry holds any more; no more than there are devices.
    orphans: BTreeMap<PublicKey, Payload>,
    /// Where logs are known to fork; no more than there are devices.
    forked: BTreeMap<PublicKey, u64>,
    /// Those that this device proved itself, or says again.
    proven: BTreeMap<PublicKey, u64>,
    awaited: Awaited,
    /// Whose logs came that far since this was last asked.
    reached: BTreeSet<PublicKey>,
    /// While restoring: the last entry of each log whose date others should witness.
    weighty: BTreeMap<PublicKey, u64>,
    /// Entries that this device wrote, those that do not count any more included.
    written: u64,
    count: u64,
    recent: VecDeque<(u64, Vec<u8>)>,
    /// The rules and since when they are in force, in milliseconds since 1970.
    rules: Vec<(u64, Rules)>,
}

impl Ledger {
    /// The community, once it is settled.
    pub fn community(&self) -> Option<CommunityId> {
        self.community
    }

    /// Takes no notice of forks: a bug on purpose.
    pub(crate) fn ignore_forks(&mut self, ignore: bool) {
        Arc::make_mut(&mut self.governance).ignore_forks(ignore);
    }

    /// Entries of this community, and of no other, are taken from here on.
    pub fn expect(&mut self, community: CommunityId) {
        self.community = Some(community);
    }

    /// Who belongs to the community, and by which rules.
    pub fn governance(&self) -> &Governance {
        &self.governance
    }

    /// The rules that were in force at a moment.
    pub fn rules_at(&self, wall_ms: u64) -> &Rules {
        let then = self.rules.iter().rev().find(|(from, _)| *from <= wall_ms);
        then.map_or_else(|| self.governance.rules(), |(_, rules)| rules)
    }

    /// By how much clocks might differ when something was dated so. Rules that came into force at that moment do not
    /// count: they may be in force by the very entry that is dated.
    pub(crate) fn skew_ms_before(&self, at: Hlc) -> u64 {
        self.rules_at(at.wall_ms().saturating_sub(1)).max_skew_ms
    }

    /// All of them that were adopted, each with since when.
    pub(crate) fn rules_history(&self) -> &[(u64, Rules)] {
        &self.rules
    }

    /// What the members decided on, from the founding on, each with the moment since which it is in force.
    pub fn adopt(&mut self, history: Vec<(u64, Rules)>) -> bool {
        let last = history.last().filter(|(_, rules)| !self.governance.has_adopted(rules));
        let news = last.is_some_and(|(_, rules)| Arc::make_mut(&mut self.governance).adopt(rules.clone()));
        self.rules = history;
        news
    }

    /// Since when somebody has belonged, by the dates that others bear out: a member whom two admitted with a date long
    /// past has not belonged for long. None while too few have seen it. The founder's word for the founder's own first
    /// two needs nobody else: there was nobody else.
    // spec: LED-10, PERM-6
    pub fn belongs_since(&self, user: &UserKey) -> Option<Hlc> {
        self.governance.member(user)?;
        self.belonged_since(user)
    }

    /// The same of whoever belonged once.
    pub(crate) fn belonged_since(&self, user: &UserKey) -> Option<Hlc> {
        let governance = &self.governance;
        let member = governance.members().get(user).filter(|member| member.was_admitted())?;
        if member.stands_alone() {
            return Some(member.since);
        }
        // Nobody bears witness to what let themselves in.
        let owner = |device: &PublicKey| {
            let owner = governance.device(device)?.user;
            (owner != *user).then_some(owner)
        };
        let (author, seq) = member.by;
        let members = governance.members_at(&author, member.since);
        let skew = self.skew_ms_before(member.since);
        self.date((&author, seq, member.since), members.saturating_sub(1), skew, owner)
    }

    /// The date as of which an entry counts: its own, if enough other members saw it in time, else that of the last of
    /// them needed; none while too few have seen it.
    // spec: LED-10
    pub(crate) fn date(
        &self,
        entry: (&PublicKey, u64, Hlc),
        members: usize,
        max_skew_ms: u64,
        owner: impl Fn(&PublicKey) -> Option<UserKey>,
    ) -> Option<Hlc> {
        self.dated(entry, members, max_skew_ms, owner).ok()
    }

    /// The same; where too few have seen it, as of when by those who have.
    pub(crate) fn dated(
        &self,
        entry: (&PublicKey, u64, Hlc),
        members: usize,
        max_skew_ms: u64,
        owner: impl Fn(&PublicKey) -> Option<UserKey>,
    ) -> Result<Hlc, Option<Hlc>> {
        #[cfg(test)]
        DATED.with(|dated| dated.set(dated.get() + 1));
        self.facts.dated(entry, members, max_skew_ms, self.here(entry.0), owner)
    }

    /// When others had seen an entry: each witness with the earliest such date.
    // spec: LED-10
    pub fn witnesses(&self, author: &PublicKey, seq: u64) -> BTreeMap<PublicKey, Hlc> {
        self.facts.witnesses(author, seq, self.here(author)).collect()
    }

    /// Could a device date an entry by what it had seen before it wrote at the place `before` of its own log? Only then
    /// it could count it.
    pub(crate) fn could_date(
        &self,
        device: &PublicKey,
        before: u64,
        entry: (&PublicKey, u64),
        needed: usize,
        owner: impl Fn(&PublicKey) -> Option<UserKey>,
    ) -> bool {
        self.facts.could_date(device, before, entry, needed, |author| self.here(author), owner)
    }

    /// A log as far as it is here.
    fn here(&self, author: &PublicKey) -> Here<'_> {
        let ids = self.logs.get(author).map_or(&[][..], |log| &log.ids);
        Here { ids, cap: self.governance.cap(author) }
    }

    /// Whose logs came, since this was last asked, up to an entry that others had said to have seen: what they say, and
    /// have said before, may count from now on.
    // spec: LED-10
    pub(crate) fn reached(&mut self) -> BTreeSet<PublicKey> {
        std::mem::take(&mut self.reached)
    }

    /// What else the entries say.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// How many entries there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many entries of `author` there are.
    pub fn len(&self, author: &PublicKey) -> u64 {
        self.logs.get(author).map_or(0, |log| log.ids.len() as u64)
    }

    /// The end of `author`'s log.
    pub fn tip(&self, author: &PublicKey) -> Option<Tip> {
        let log = self.logs.get(author)?;
        let id = *log.ids.last()?;
        Some(Tip { author: *author, seq: log.ids.len() as u64 - 1, id })
    }

    /// An entry of `author`, as others name it.
    pub fn tip_at(&self, author: &PublicKey, seq: u64) -> Option<Tip> {
        Some(Tip { author: *author, seq, id: self.id_at(author, seq)? })
    }

    /// The last entries that this device wrote up to `seq`, as far as they are still at hand.
    pub fn recent(&self, upto: u64) -> Vec<Vec<u8>> {
        let fit = self.recent.iter().filter(|(seq, _)| *seq <= upto && seq + MAX_OFFER_ENTRIES as u64 > upto);
        fit.map(|(_, bytes)| bytes.clone()).collect()
    }

    /// Is this entry here?
    pub fn has(&self, tip: &Tip) -> bool {
        self.id_at(&tip.author, tip.seq) == Some(tip.id)
    }

    fn id_at(&self, author: &PublicKey, seq: u64) -> Option<EntryId> {
        let log = self.logs.get(author)?;
        log.ids.get(usize::try_from(seq).ok()?).copied()
    }

    fn hlc_at(&self, author: &PublicKey, seq: u64) -> Option<Hlc> {
        let log = self.logs.get(author)?;
        log.hlcs.get(usize::try_from(seq).ok()?).copied()
    }

    /// How many more entries `author` may date within the hour that ends at `wall_ms`.
    // spec: NET-4
    pub fn room_in_hour(&self, author: &PublicKey, wall_ms: u64, limit: u64) -> u64 {
        let Some(log) = self.logs.get(author) else { return limit };
        let since = Hlc::at(wall_ms.saturating_sub(3_600_000));
        let before = log.hlcs.partition_point(|hlc| *hlc < since);
        limit.saturating_sub((log.hlcs.len() - before) as u64)
    }

    /// The ends of all logs that count, by author.
    pub fn tips(&self) -> impl Iterator<Item = Tip> + '_ {
        self.logs.keys().filter_map(|author| self.tip(author))
    }

    /// The ends of all logs whose authors' keys begin with these half-bytes.
    pub fn tips_within(&self, prefix: &[u8]) -> impl Iterator<Item = Tip> {
        let first = first_with(prefix);
        let authors = self.logs.range(first..).map(|(author, _)| author);
        authors.take_while(move |author| starts_with(author, prefix)).filter_map(|author| self.tip(author))
    }

    /// The hash of what [`Self::tips_within`] gives, and how many there are.
    // spec: LED-4
    pub fn digest(&self, prefix: &[u8]) -> (u64, Digest) {
        let mut hasher = blake3::Hasher::new_derive_key("taskmesh frontier v1");
        let (mut count, mut bytes) = (0, Vec::new());
        for tip in self.tips_within(prefix) {
            bytes = canonical::append(&tip, bytes);
            count += 1;
            if bytes.len() >= HASHED_AT_ONCE {
                hasher.update(&bytes);
                bytes.clear();
            }
        }
        hasher.update(&bytes);
        (count, Digest(*hasher.finalize().as_bytes()))
    }

    /// The hash of everything that follows from the entries: equal on peers with equal entries.
    // spec: LED-3, DEL-14
    pub fn state_digest(&self) -> Digest {
        let bytes = canonical::encode(&(self.governance.state(), &self.facts));
        Digest(*blake3::hash(&bytes).as_bytes())
    }

    /// Writes the next entry of the key's own log, which is the caller's to make durable before it leaves.
    ///
    /// Entries that `about` names are named by the new one, so that whoever has it has those first. What others would
    /// not take is not written.
    pub fn write(
        &mut self,
        key: &SecretKey,
        wall_ms: u64,
        payload: Payload,
        about: &[Tip],
    ) -> Result<Entry, EntryError> {
        let payload = payload.fit();
        payload.check().map_err(EntryError::Bounds)?;
        let author = key.public();
        if !self.is_whole(&author) {
            return Err(EntryError::Bounds("the end of this device's log is not here"));
        }
        let founding = matches!(payload, Payload::Founded(_));
        self.unnamed.retain(|_, tip| self.forked.get(&tip.author).is_none_or(|fork| tip.seq < *fork));
        let mut refs: Vec<Tip> = about.iter().filter(|tip| tip.author != author).copied().collect();
        refs.truncate(MAX_REFS);
        for tip in &refs {
            if self.unnamed.get(&tip.author).is_some_and(|unnamed| unnamed.seq <= tip.seq) {
                self.unnamed.remove(&tip.author);
            }
        }
        while refs.len() < MAX_REFS
            && let Some((_, tip)) = self.unnamed.pop_first()
        {
            refs.push(tip);
        }
        let seq = self.len(&author);
        let place = Place {
            community: match self.community {
                Some(community) if !founding => community,
                _ => CommunityId::ZERO,
            },
            seq,
            prev: self.tip(&author).map_or(EntryId::ZERO, |tip| tip.id),
            refs,
            hlc: self.clock.next(wall_ms),
        };
        let entry = Entry::try_write(key, place, payload)?;
        if !governance::is_signed(entry.payload(), &entry) {
            return Err(EntryError::Bounds("what it says is not signed by whom it names"));
        }
        self.written = seq + 1;
        if founding {
            self.community = Some(entry.header().belongs_to());
        }
        self.apply(&entry, false);
        self.unnamed.remove(&author);
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((seq, entry.bytes().to_vec()));
        Ok(entry)
    }

    /// Is all here that this device ever wrote? If some of it was cut off, and its log counts again, then another entry
    /// in its place would be a fork.
    // spec: LED-5
    pub fn is_whole(&self, me: &PublicKey) -> bool {
        self.len(me) >= self.written
    }

    /// Takes an entry from the store, where everything was checked before. One that does not follow what is here is
    /// left out; others have it.
    pub fn restore(&mut self, entry: &Entry) {
        let header = entry.header();
        let community = *self.community.get_or_insert_with(|| header.belongs_to());
        let ids = self.logs.get(&header.author).map_or(&[][..], |log| &log.ids);
        let prev = ids.last().copied().unwrap_or(EntryId::ZERO);
        if community == header.belongs_to() && header.seq == ids.len() as u64 && header.prev == prev {
            self.apply(entry, true);
        }
    }

    /// Brings what depends on the order of restoring into order; to be called when all is restored.
    pub fn restored(&mut self, me: &PublicKey) {
        self.written = self.len(me);
        self.settle();
        self.unnamed = self.tips().filter(|tip| tip.author != *me).map(|tip| (tip.author, tip)).collect();
        let devices: Vec<PublicKey> = self.governance.devices().keys().copied().collect();
        devices.iter().for_each(|device| self.await_named(device));
    }

    /// What this device kept and never said to have seen, though others should: it may have ended before its turn came.
    /// To be asked once, when all is restored.
    // spec: LED-10
    pub(crate) fn unseen_by(&mut self, me: &PublicKey) -> BTreeMap<PublicKey, Tip> {
        let weighty = std::mem::take(&mut self.weighty);
        let tips = weighty.into_iter().filter(|(author, _)| author != me).filter_map(|(author, seq)| {
            // Where the end was cut off, what is left of it may have to be seen as well.
            let seq = seq.min(self.len(&author).checked_sub(1)?);
            let seen = self.facts.had_seen(me, u64::MAX, (&author, seq), self.here(&author));
            if seen { None } else { self.tip_at(&author, seq) }
        });
        tips.map(|tip| (tip.author, tip)).collect()
    }

    /// What will never be here is not awaited: what follows the end of a log that was cut off, and logs of nobody's devices.
    fn await_one(&mut self, witness: PublicKey, tip: &Tip) {
        if self.id_at(&tip.author, tip.seq).is_none() && tip.seq < self.governance.end(&tip.author) {
            self.awaited.add(witness, tip);
        }
    }

    /// Awaits what others named of a log, whose device may not have been known then.
    fn await_named(&mut self, author: &PublicKey) {
        self.awaited.remove(author, 0..=u64::MAX);
        let named = self.facts.named(author);
        let named: Vec<_> = named.map(|(by, seq, id)| (*by, Tip { author: *author, seq, id: *id })).collect();
        named.iter().for_each(|(witness, tip)| self.await_one(*witness, tip));
    }

    /// Takes an entry from somebody.
    pub fn take(&mut self, entry: Entry) -> Taken {
        let mut ready = VecDeque::new();
        if let Payload::Forked(proof) = entry.payload()
            && let Some((author, seq)) = proof.verify()
        {
            self.note_fork(author, seq);
        }
        let held_up = match self.fits(&entry) {
            Ok(()) => {
                ready.push_front(entry);
                Taken::Known
            }
            Err(Unfit::Known) => Taken::Known,
            Err(Unfit::Ignored(why)) => {
                self.learn(&entry);
                Taken::Ignored(why)
            }
            Err(Unfit::Fork) => self.suspect(&entry),
            Err(Unfit::Waits(cause)) => {
                self.hold(cause, entry);
                Taken::Waits
            }
        };
        let new = self.take_ready(ready);
        if new.is_empty() { held_up } else { Taken::New(new) }
    }

    /// Another entry is at this place. Of one log the lowest such place is kept, since nothing after it counts anyway:
    /// whoever writes a second entry for each place makes no more to be looked up than whoever writes one.
    // spec: LED-5, NET-4
    fn suspect(&mut self, entry: &Entry) -> Taken {
        let (author, seq) = (entry.header().author, entry.header().seq);
        if self.proven.get(&author).is_some_and(|proven| *proven <= seq) {
            return Taken::Ignored("its author's log is known to fork before it");
        }
        if self.suspects.get(&author).is_none_or(|other| seq < other.header.seq) {
            self.suspects.insert(author, entry.signed().clone());
        }
        Taken::Fork(author, self.suspects.get(&author).map_or(seq, |lowest| lowest.header.seq))
    }

    /// The lowest place at which two entries of a log were seen, and whether the log parts there: whether both follow the
    /// same entry.
    pub(crate) fn suspected(&mut self, author: &PublicKey) -> Option<(u64, bool)> {
        let other = &self.suspects.get(author)?.header;
        let (seq, prev) = (other.seq, other.prev);
        if self.id_at(author, seq).is_none() {
            self.suspects.remove(author);
            return None;
        }
        let before = seq.checked_sub(1).and_then(|before| self.id_at(author, before));
        Some((seq, before.unwrap_or(EntryId::ZERO) == prev))
    }

    /// From where on a log does not count, or will not once it is heard what this device has proven.
    pub(crate) fn known_end(&self, author: &PublicKey) -> Option<u64> {
        self.governance.cap(author).into_iter().chain(self.proven.get(author).copied()).min()
    }

    /// Would a proof of a fork make less of a log count than does now?
    pub(crate) fn is_news(&self, proof: &Payload) -> bool {
        self.governance.is_news(proof)
    }

    /// Takes entries that may fit now, and those that had waited for them. Gives what is new, in this order.
    fn take_ready(&mut self, mut ready: VecDeque<Entry>) -> Vec<Entry> {
        let mut new = Vec::new();
        while let Some(entry) = ready.pop_front() {
            match self.fits(&entry) {
                Ok(()) => {}
                Err(Unfit::Waits(cause)) => {
                    self.hold(cause, entry);
                    continue;
                }
                Err(_) => continue,
            }
            let changed = self.apply(&entry, false);
            let (author, seq) = (entry.header().author, entry.header().seq);
            self.release((author, seq));
            let here = Cause::Entry(author, seq);
            let causes = changed.into_iter().flat_map(|author| self.causes(author)).chain([here]);
            for cause in causes.collect::<BTreeSet<_>>() {
                ready.extend(self.unblock(cause));
            }
            new.push(entry);
        }
        new
    }

    fn unblock(&mut self, cause: Cause) -> Vec<Entry> {
        let keys = self.blocked.remove(&cause).unwrap_or_default();
        keys.iter().filter_map(|key| self.unwait(key)).map(|(_, entry)| entry).collect()
    }

    fn unwait(&mut self, key: &(PublicKey, u64)) -> Option<(Cause, Entry)> {
        let waited = self.waiting.remove(key)?;
        self.queues[waited.0.queue()].by_date.remove(&(waited.1.header().hlc, key.0, key.1));
        Some(waited)
    }

    /// A log is known to have forked, whether or not an entry that says so counts yet. No entry of this device names what
    /// comes after.
    // spec: LED-5
    fn note_fork(&mut self, author: PublicKey, seq: u64) {
        if self.governance.device(&author).is_some() {
            self.forked.entry(author).and_modify(|noted| *noted = seq.min(*noted)).or_insert(seq);
        }
    }

    /// Keeps an entry until what it waits for is here. Those of the latest date go when there are too many, since what
    /// comes next is what follows the earliest.
    // spec: LED-4, ARC-7
    fn hold(&mut self, cause: Cause, entry: Entry) {
        let key = (entry.header().author, entry.header().seq);
        if self.waiting.contains_key(&key) {
            return;
        }
        let date = entry.header().hlc;
        let queue = cause.queue();
        let most = if matches!(cause, Cause::Author(_)) { MAX_STRANGERS } else { MAX_WAITING };
        if self.queues[queue].by_date.len() >= most {
            self.queues[queue].turned_away += 1;
            // What waits for something that never comes must not keep others out for good.
            if self.queues[queue].turned_away > most {
                for (_, author, seq) in std::mem::take(&mut self.queues[queue]).by_date {
                    self.release((author, seq));
                }
            } else {
                match self.queues[queue].by_date.last() {
                    Some(&(latest, author, seq)) if latest > date => self.release((author, seq)),
                    _ => return,
                }
            }
        }
        self.blocked.entry(cause).or_default().insert(key);
        self.queues[queue].by_date.insert((date, key.0, key.1));
        self.waiting.insert(key, (cause, entry));
    }

    /// Whatever waits at this place need not wait any more.
    fn release(&mut self, key: (PublicKey, u64)) {
        let Some((cause, _)) = self.unwait(&key) else { return };
        if let Some(keys) = self.blocked.get_mut(&cause) {
            keys.remove(&key);
            if keys.is_empty() {
                self.blocked.remove(&cause);
            }
        }
    }

    /// What entries wait for that wait for this author.
    fn causes(&self, author: PublicKey) -> Vec<Cause> {
        let entries = Cause::Entry(author, 0)..=Cause::Entry(author, u64::MAX);
        let entries = self.blocked.range(entries).map(|(cause, _)| *cause);
        entries.chain([Cause::Author(author)]).collect()
    }

    /// A proof that a log forked holds, and so does a user's revocation of a device, whoever hands it over and whatever
    /// became of them: it is not lost.
    // spec: LED-3, LED-5
    fn learn(&mut self, entry: &Entry) {
        let payload = entry.payload();
        let community = match payload {
            Payload::Forked(proof) => proof.a.header.belongs_to(),
            Payload::KeyRevoked(it) => it.community,
            _ => return,
        };
        if Some(community) == self.community && self.governance.is_news(payload) {
            self.keep_proofs(vec![payload.clone()]);
        }
    }

    fn keep_proofs(&mut self, proofs: Vec<Payload>) {
        for proof in proofs {
            let Some((author, end)) = governance::end_by(&proof) else { continue };
            if self.orphan_end(&author).is_none_or(|lowest| end < lowest) {
                self.orphans.insert(author, proof);
            }
        }
    }

    /// Logs of which there is a proof of a fork, or a revocation, that no entry holds which counts.
    pub(crate) fn orphaned(&self) -> impl Iterator<Item = PublicKey> {
        self.orphans.keys().copied()
    }

    /// Where a log ends by it.
    pub(crate) fn orphan_end(&self, author: &PublicKey) -> Option<u64> {
        Some(governance::end_by(self.orphans.get(author)?)?.1)
    }

    /// It is for this device to say again, unless somebody did meanwhile.
    // spec: LED-3, LED-5
    pub(crate) fn take_orphan(&mut self, author: &PublicKey) -> Option<Payload> {
        let orphan = self.orphans.remove(author).filter(|proof| self.governance.is_news(proof))?;
        let (author, end) = governance::end_by(&orphan)?;
        self.proven.entry(author).and_modify(|proven| *proven = end.min(*proven)).or_insert(end);
        Some(orphan)
    }

    /// Logs that were cut off since this was last asked, and the first entry of each that is not kept any more.
    pub fn cuts(&mut self) -> Vec<(PublicKey, u64)> {
        std::mem::take(&mut self.cuts)
    }

    fn fits(&self, entry: &Entry) -> Result<(), Unfit> {
        let header = entry.header();
        if self.community != Some(header.belongs_to()) {
            return Err(Unfit::Ignored("it belongs to another community"));
        }
        let author = header.author;
        let founding = matches!(entry.payload(), Payload::Founded(_));
        if self.governance.cap(&author).is_some_and(|cap| header.seq >= cap) {
            return Err(Unfit::Ignored("its author's log does not count this far"));
        }
        if !founding && self.governance.device(&author).is_none() {
            return Err(Unfit::Waits(Cause::Author(author)));
        }
        if let Some(id) = self.id_at(&author, header.seq) {
            return Err(if id == entry.id() { Unfit::Known } else { Unfit::Fork });
        }
        if header.seq > self.len(&author) {
            return Err(Unfit::Waits(Cause::Entry(author, header.seq - 1)));
        }
        if let Some(last) = self.tip(&author)
            && last.id != header.prev
        {
            // The author signed an entry that follows another one than we have: somewhere before, the log forked.
            return Err(Unfit::Waits(Cause::Entry(author, u64::MAX)));
        }
        // spec: LED-6
        if !governance::is_signed(entry.payload(), entry) {
            return Err(Unfit::Ignored("what it says is not signed by whom it names"));
        }
        // What it names besides decides nothing: names may be made up, or of what nobody hands over, and whether an entry
        // counts must not depend on what came first.
        // spec: LED-3
        let before = match header.seq {
            0 => Hlc::default(),
            seq => self.hlc_at(&author, seq - 1).unwrap_or_default(),
        };
        if header.hlc <= before {
            return Err(Unfit::Ignored("its clock is not later than what it follows"));
        }
        Ok(())
    }

    /// Adds an entry that fits, and gives the devices of whose logs more or less counts since.
    fn apply(&mut self, entry: &Entry, restoring: bool) -> Vec<PublicKey> {
        let header = entry.header();
        let log = self.logs.entry(header.author).or_default();
        log.ids.push(entry.id());
        log.hlcs.push(header.hlc);
        self.count += 1;
        self.clock = self.clock.max(header.hlc);
        // What is restored is gathered at the end.
        if !restoring {
            self.unnamed.insert(header.author, entry.tip());
        }
        self.facts.add(entry);
        if restoring {
            if weighs(entry.payload()) {
                self.weighty.insert(header.author, header.seq);
            }
        } else if self.awaited.came(&entry.tip()) {
            self.reached.insert(header.author);
        }
        if let (Payload::Witnessed { tips }, false) = (entry.payload(), restoring) {
            tips.iter().for_each(|tip| self.await_one(header.author, tip));
        }
        if !entry.payload().governs() {
            return Vec::new();
        }
        Arc::make_mut(&mut self.governance).add_later(entry);
        if restoring {
            return Vec::new();
        }
        let changed = self.settle();
        changed.iter().for_each(|device| self.await_named(device));
        changed
    }

    /// Folds who belongs, and cuts logs off where they do not count any more: where they are capped, and altogether
    /// where their device is not a member's any more. Gives the devices of whose logs more or less counts since.
    // spec: LED-3
    fn settle(&mut self) -> Vec<PublicKey> {
        let ends = |governance: &Governance| -> BTreeMap<PublicKey, u64> {
            let devices = governance.devices().keys().copied();
            let all = devices.chain(governance.caps().into_iter().map(|(device, _)| device));
            all.map(|device| (device, governance.end(&device))).collect()
        };
        let before = ends(&self.governance);
        if !self.governance.is_settled() {
            let orphans = Arc::make_mut(&mut self.governance).settle();
            self.keep_proofs(orphans);
        }
        let after = ends(&self.governance);
        for (author, log) in &mut self.logs {
            let end = after.get(author).copied().unwrap_or_default();
            let len = usize::try_from(end).unwrap_or(usize::MAX);
            if log.ids.len() > len {
                self.count -= (log.ids.len() - len) as u64;
                log.ids.truncate(len);
                log.hlcs.truncate(len);
                self.facts.cut(author, end);
                self.unnamed.remove(author);
                self.cuts.push((*author, end));
            }
        }
        self.logs.retain(|_, log| !log.ids.is_empty());
        let devices: BTreeSet<PublicKey> = before.keys().chain(after.keys()).copied().collect();
        devices.into_iter().filter(|device| before.get(device) != after.get(device)).collect()
    }

    /// The proof that a log forked, from the entry that was looked up.
    // spec: LED-5
    pub fn prove_fork(&mut self, stored: &Entry) -> Option<ForkProof> {
        let key = (stored.header().author, stored.header().seq);
        let other = match self.suspects.entry(key.0) {
            btree_map::Entry::Occupied(lowest) if lowest.get().header.seq == key.1 => lowest.remove(),
            _ => return None,
        };
        let proof = ForkProof::of(stored.signed(), &other)?;
        self.note_fork(key.0, key.1);
        // Once is enough: a proof that rests on the fork itself does not count, however often it is said.
        let before = self.proven.get(&key.0).is_some_and(|proven| *proven <= key.1);
        self.proven.entry(key.0).and_modify(|proven| *proven = key.1.min(*proven)).or_insert(key.1);
        (!before).then_some(proof)
    }

    /// The latest clock reading seen.
    pub fn clock(&self) -> Hlc {
        self.clock
    }
}

/// Does it matter when this was said, so that others should witness it?
// spec: LED-10
pub(crate) fn weighs(payload: &Payload) -> bool {
    matches!(
        payload,
        Payload::Admitted(_)
            | Payload::TaskSubmitted(_)
            | Payload::Voted { .. }
            | Payload::RulesProposed { .. }
            | Payload::RulesVoted { .. }
            | Payload::Contribution { .. }
            | Payload::HealthDisputed { .. }
            | Payload::Expelled { .. }
            | Payload::KeyRevoked(_)
            | Payload::Forked(_)
    )
}

enum Unfit {
    Known,
    Fork,
    Ignored(&'static str),
    Waits(Cause),
}

/// The first of the keys that begin with these half-bytes.
fn first_with(prefix: &[u8]) -> PublicKey {
    let mut key = [0; 32];
    for (at, half) in prefix.iter().enumerate() {
        if let Some(byte) = key.get_mut(at / 2) {
            *byte |= if at % 2 == 0 { half << 4 } else { *half };
        }
    }
    PublicKey(key)
}

/// Does a key begin with these half-bytes?
pub fn starts_with(key: &PublicKey, prefix: &[u8]) -> bool {
    prefix.iter().enumerate().all(|(at, &half)| {
        let byte = key.0.get(at / 2).copied().unwrap_or_default();
        half == if at % 2 == 0 { byte >> 4 } else { byte & 15 }
    })
}

#[cfg(test)]
mod tests;
