//! What entries say beside who belongs: facts that can be added in any order and taken away again where a log turns out
//! not to count.
// spec: LED-3

use super::ballots::{Ballots, log};
use super::conduct::Conduct;
use super::tasks::Tasks;
use mesh_protocol::ids::{EntryId, TaskId};
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::ledger::{Entry, Grant, Hlc, Payload, PeerRegistered, Tip};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// A grant, as given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GrantFact {
    /// By which device of its owner.
    pub author: PublicKey,
    /// Where in that device's log.
    pub seq: u64,
    /// What was granted.
    pub grant: Grant,
}

/// How many others must have seen an entry before its date counts, in a community of so many.
// spec: LED-10
pub(crate) fn witnesses_needed(members: usize) -> usize {
    members.saturating_sub(1).min(2)
}

/// Who has seen a log, and up to which place, each place that goes beyond all that the witness had named before: where
/// in the witness's log it stands, which entry it was, and when.
type Seen = BTreeMap<(PublicKey, u64), (u64, EntryId, Hlc)>;
/// The same of what goes no further than the witness had been: by witness and the place in its log, up to which place.
type Again = BTreeMap<(PublicKey, u64), (u64, EntryId, Hlc)>;

/// Words of one witness on one log that count although it had named a later entry of it. An honest one says such only
/// where what it had seen was cut off and came again.
const MOST_AGAIN: usize = 16;
/// Entries that one witness names and that are others than those here, after which nothing more is asked of it. An honest
/// one has seen one other branch of a log, if any.
const MOST_TRIED: usize = 16;

/// A log as far as it is here: its entries, and where it was cut off if it was. Does the name of an entry tell that
/// whoever says it had seen the log up to there? Only if the entry is here: two friends could else bear witness to all that
/// a device will ever write, and it could date that back to then. Where a log was cut off, what followed is nowhere to be
/// found, and who saw it honestly has seen what is left as well.
// spec: LED-10
#[derive(Debug, Clone, Copy)]
pub(super) struct Here<'a> {
    pub(super) ids: &'a [EntryId],
    pub(super) cap: Option<u64>,
}

impl Here<'_> {
    fn end(&self) -> u64 {
        self.ids.len() as u64
    }

    fn bears_out(&self, upto: u64, id: &EntryId) -> bool {
        match usize::try_from(upto).ok().and_then(|at| self.ids.get(at)) {
            Some(here) => here == id,
            None => self.cap.is_some_and(|cap| cap <= upto),
        }
    }
}

/// All facts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    grants: BTreeMap<EntryId, GrantFact>,
    revoked: BTreeMap<(EntryId, PublicKey), u64>,
    registered: BTreeMap<PublicKey, Vec<(u64, u64, PeerRegistered)>>,
    online: BTreeMap<PublicKey, Vec<(u64, bool)>>,
    witnessed: BTreeMap<PublicKey, Seen>,
    /// Almost nobody says such.
    witnessed_again: BTreeMap<PublicKey, Again>,
    ballots: Ballots,
    tasks: Tasks,
    conduct: Conduct,
}

impl Facts {
    /// What is said of the community's own affairs.
    pub fn ballots(&self) -> &Ballots {
        &self.ballots
    }

    /// What is said of tasks.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// What is said of how devices kept their word.
    pub fn conduct(&self) -> &Conduct {
        &self.conduct
    }

    /// All grants ever given.
    pub fn grants(&self) -> &BTreeMap<EntryId, GrantFact> {
        &self.grants
    }

    /// The devices that revoked a grant; whether they may is the reader's to judge.
    pub fn revoked_by(&self, grant: &EntryId) -> impl Iterator<Item = &PublicKey> {
        let range = (*grant, PublicKey([0; 32]))..=(*grant, PublicKey([0xff; 32]));
        self.revoked.range(range).map(|((_, author), _)| author)
    }

    /// What a device last told about itself.
    pub fn registered(&self, device: &PublicKey) -> Option<&PeerRegistered> {
        self.registered.get(device)?.last().map(|(.., registered)| registered)
    }

    /// Where a device was, as it had said when it took an attempt: by the order of its own log, which it cannot change
    /// afterwards, or where that does not say, by when its result was on record. Whoever moves has not been there before.
    // spec: REP-1, REP-2
    pub(super) fn place_then(
        &self,
        device: &PublicKey,
        task: &TaskId,
        attempt: u32,
        said_ms: u64,
    ) -> Option<(i16, i16)> {
        let said = self.registered.get(device)?;
        let before = match self.tasks.took_at(task, attempt, device) {
            Some(taken) => said.partition_point(|(seq, ..)| *seq < taken),
            None => said.partition_point(|(_, at_ms, _)| *at_ms <= said_ms),
        };
        said.get(before.checked_sub(1)?)?.2.place
    }

    /// Did a device last say that it is there?
    pub fn online(&self, device: &PublicKey) -> bool {
        self.online.get(device).and_then(|said| said.last()).is_some_and(|(_, online)| *online)
    }

    /// Who said to have seen a log, each once.
    fn witnesses_of(&self, author: &PublicKey) -> impl Iterator<Item = PublicKey> {
        let seen = self.witnessed.get(author);
        let after = move |last: Option<PublicKey>| {
            let from = last.map_or(Bound::Unbounded, |last| Bound::Excluded((last, u64::MAX)));
            seen?.range((from, Bound::Unbounded)).next().map(|((witness, _), _)| *witness)
        };
        std::iter::successors(after(None), move |last| after(Some(*last)))
    }

    /// When a witness first said to have seen an entry, and where in its log that stands. What it names rises with its log,
    /// so the first that reaches so far is the earliest, unless it is not here: what lies beyond the end is passed over at
    /// once, and there is no more than so much of what is another than the one here.
    // spec: LED-10
    fn saw(&self, witness: &PublicKey, author: &PublicKey, seq: u64, here: Here<'_>) -> Option<(u64, Hlc)> {
        let seen = self.witnessed.get(author)?;
        let within = (seq < here.end()).then(|| seen.range((*witness, seq)..(*witness, here.end())));
        let within = within.into_iter().flatten().take(MOST_TRIED);
        let beyond = here.cap.map(|cap| (*witness, seq.max(cap).max(here.end()))..=(*witness, u64::MAX));
        let beyond = beyond.and_then(|beyond| seen.range(beyond).next());
        let again = self.witnessed_again.get(author).map(|again| again.range(log(witness)));
        let again =
            again.into_iter().flatten().map(|((_, place), (upto, id, at))| (*upto, (*place, *id, *at)));
        let rising = within.chain(beyond).map(|((_, upto), said)| (*upto, *said));
        let rising = rising.filter(|(upto, (_, id, _))| here.bears_out(*upto, id)).take(1);
        let again = again.filter(|(upto, (_, id, _))| *upto >= seq && here.bears_out(*upto, id));
        rising.chain(again).map(|(_, (place, _, at))| (place, at)).min()
    }

    /// When others had seen an entry: each witness with the earliest such date. `here` is the entry's log: nobody bears
    /// witness to what is written later.
    // spec: LED-10
    pub(super) fn witnesses(
        &self,
        author: &PublicKey,
        seq: u64,
        here: Here<'_>,
    ) -> impl Iterator<Item = (PublicKey, Hlc)> {
        let others = self.witnesses_of(author).filter(move |witness| witness != author);
        others.filter_map(move |witness| Some((witness, self.saw(&witness, author, seq, here)?.1)))
    }

    /// Had a device seen an entry before it wrote at the place `before` of its own log?
    pub(super) fn had_seen(
        &self,
        device: &PublicKey,
        before: u64,
        (author, seq): (&PublicKey, u64),
        here: Here<'_>,
    ) -> bool {
        match device == author {
            true => seq < before,
            false => self.saw(device, author, seq, here).is_some_and(|(place, _)| place < before),
        }
    }

    /// Could a device date an entry by what it had seen before it wrote at the place `before` of its own log? Only then
    /// it could count it.
    pub(super) fn could_date<'a>(
        &self,
        device: &PublicKey,
        before: u64,
        (author, seq): (&PublicKey, u64),
        needed: usize,
        here: impl Fn(&PublicKey) -> Here<'a>,
        owner: impl Fn(&PublicKey) -> Option<UserKey>,
    ) -> bool {
        let (theirs, whose) = (here(author), owner(author));
        let known = self.witnesses_of(author).filter(|by| {
            owner(by) != whose
                && self
                    .saw(by, author, seq, theirs)
                    .is_some_and(|(place, _)| self.had_seen(device, before, (by, place), here(by)))
        });
        let known: BTreeSet<UserKey> = known.filter_map(|by| owner(&by)).collect();
        known.len() >= needed && self.had_seen(device, before, (author, seq), theirs)
    }

    /// The date as of which an entry counts: its own, if enough other members saw it in time, else that of the last of
    /// them needed; where too few have seen it, as of when by those who have. `owner` says whose a device is, so that nobody's second device
    /// witnesses what their first one says.
    // spec: LED-10
    pub(super) fn dated(
        &self,
        (author, seq, own): (&PublicKey, u64, Hlc),
        members: usize,
        max_skew_ms: u64,
        here: Here<'_>,
        owner: impl Fn(&PublicKey) -> Option<UserKey>,
    ) -> Result<Hlc, Option<Hlc>> {
        let Some(last) = witnesses_needed(members).checked_sub(1) else { return Ok(own) };
        let whose = owner(author);
        let in_time = own.wall_ms().saturating_add(max_skew_ms);
        let mut others: BTreeMap<UserKey, Hlc> = BTreeMap::new();
        let mut punctual: BTreeSet<UserKey> = BTreeSet::new();
        for (witness, at) in self.witnesses(author, seq, here) {
            let Some(user) = owner(&witness).filter(|user| whose != Some(*user)) else { continue };
            others.entry(user).and_modify(|first| *first = (*first).min(at)).or_insert(at);
            // Whoever else saw it and when changes nothing then.
            if at.wall_ms() <= in_time && punctual.insert(user) && punctual.len() > last {
                return Ok(own);
            }
        }
        let mut seen: Vec<Hlc> = others.into_values().collect();
        seen.sort_unstable();
        let so_far = || if punctual.is_empty() { seen.last().copied() } else { Some(own) };
        seen.get(last).copied().ok_or_else(so_far)
    }

    /// Up to which entries others say to have seen a log, and who does.
    pub(super) fn named(&self, author: &PublicKey) -> impl Iterator<Item = (&PublicKey, u64, &EntryId)> {
        let seen = self.witnessed.get(author).into_iter().flatten();
        let again = self.witnessed_again.get(author).into_iter().flatten();
        let seen = seen.map(|((by, upto), (_, id, _))| (by, *upto, id));
        seen.chain(again.map(|((by, _), (upto, id, _))| (by, *upto, id)))
    }

    pub(super) fn witness(&mut self, (witness, place, at): (PublicKey, u64, Hlc), tip: &Tip) {
        let seen = self.witnessed.entry(tip.author).or_default();
        let last = seen.range(log(&witness)).next_back();
        if last.is_none_or(|((_, upto), _)| *upto < tip.seq) {
            seen.insert((witness, tip.seq), (place, tip.id, at));
            return;
        }
        // Said twice, the first says all.
        if seen.get(&(witness, tip.seq)).is_some_and(|(_, id, _)| *id == tip.id) {
            return;
        }
        let again = self.witnessed_again.entry(tip.author).or_default();
        if again.range(log(&witness)).nth(MOST_AGAIN - 1).is_none() {
            again.entry((witness, place)).or_insert((tip.seq, tip.id, at));
        }
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        let header = entry.header();
        let (author, seq) = (header.author, header.seq);
        let news = self.tasks.add(entry);
        self.ballots.add(entry, news.done_by);
        self.conduct.add(entry, &news);
        match entry.payload() {
            Payload::PeerRegistered(peer) => {
                let said = (seq, header.hlc.wall_ms(), (**peer).clone());
                self.registered.entry(author).or_default().push(said);
            }
            Payload::PeerOnline => self.online.entry(author).or_default().push((seq, true)),
            Payload::PeerOffline => self.online.entry(author).or_default().push((seq, false)),
            Payload::Granted(grant) => {
                self.grants.insert(entry.id(), GrantFact { author, seq, grant: (**grant).clone() });
            }
            Payload::Revoked { grant } => {
                self.revoked.entry((*grant, author)).or_insert(seq);
            }
            Payload::Witnessed { tips } => {
                for tip in tips {
                    self.witness((author, seq, header.hlc), tip);
                }
            }
            // Who belongs is folded apart; what the members decide among themselves stands with the ballots.
            _ => {}
        }
    }

    /// Takes back what `author` said from `cap` on.
    pub(super) fn cut(&mut self, author: &PublicKey, cap: u64) {
        self.ballots.cut(author, cap);
        self.tasks.cut(author, cap);
        self.conduct.cut(author, cap);
        self.grants.retain(|_, grant| grant.author != *author || grant.seq < cap);
        self.revoked.retain(|(_, by), seq| by != author || *seq < cap);
        if let Some(registered) = self.registered.get_mut(author) {
            registered.retain(|(seq, ..)| *seq < cap);
        }
        if let Some(online) = self.online.get_mut(author) {
            online.retain(|(seq, _)| *seq < cap);
        }
        for seen in self.witnessed.values_mut() {
            seen.retain(|(by, _), (seq, ..)| by != author || *seq < cap);
        }
        for again in self.witnessed_again.values_mut() {
            again.retain(|(by, seq), _| by != author || *seq < cap);
        }
        self.witnessed.retain(|_, seen| !seen.is_empty());
        self.witnessed_again.retain(|_, again| !again.is_empty());
        self.registered.retain(|_, registered| !registered.is_empty());
        self.online.retain(|_, online| !online.is_empty());
    }
}
