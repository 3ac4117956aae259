//! What entries say beside who belongs: facts that can be added in any order and taken away again where a log turns out
//! not to count.
// spec: LED-3

use super::ballots::Ballots;
use super::conduct::Conduct;
use super::tasks::Tasks;
use mesh_protocol::ids::{EntryId, TaskId};
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::ledger::{Entry, Grant, Hlc, Payload, PeerRegistered, Tip};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

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

/// Who has seen a log: the witness and the place in its log, up to which place and entry, and when.
type Seen = BTreeMap<(PublicKey, u64), (u64, EntryId, Hlc)>;

/// All facts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    grants: BTreeMap<EntryId, GrantFact>,
    revoked: BTreeMap<(EntryId, PublicKey), u64>,
    registered: BTreeMap<PublicKey, Vec<(u64, u64, PeerRegistered)>>,
    online: BTreeMap<PublicKey, Vec<(u64, bool)>>,
    witnessed: BTreeMap<PublicKey, Seen>,
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

    /// When others had seen an entry: each witness with the earliest such date. `exists` says whether the entry is there
    /// up to which they say to have seen the log: nobody bears witness to what is written later.
    // spec: LED-10
    pub(super) fn witnesses(
        &self,
        author: &PublicKey,
        seq: u64,
        exists: impl Fn(&Tip) -> bool,
    ) -> BTreeMap<PublicKey, Hlc> {
        let mut seen: BTreeMap<PublicKey, Hlc> = BTreeMap::new();
        for ((witness, _), (upto, id, at)) in self.witnessed.get(author).into_iter().flatten() {
            let tip = Tip { author: *author, seq: *upto, id: *id };
            if *upto >= seq && witness != author && exists(&tip) {
                seen.entry(*witness).and_modify(|first| *first = (*first).min(*at)).or_insert(*at);
            }
        }
        seen
    }

    /// Had a device seen an entry before it wrote at the place `before` of its own log?
    fn had_seen(
        &self,
        device: &PublicKey,
        before: u64,
        (author, seq): (&PublicKey, u64),
        exists: impl Fn(&Tip) -> bool,
    ) -> bool {
        if device == author {
            return seq < before;
        }
        let saw = |(upto, id, _): &(u64, EntryId, Hlc)| {
            *upto >= seq && exists(&Tip { author: *author, seq: *upto, id: *id })
        };
        let seen = self.witnessed.get(author);
        seen.is_some_and(|seen| seen.range((*device, 0)..(*device, before)).any(|(_, it)| saw(it)))
    }

    /// Could a device date an entry by what it had seen before it wrote at the place `before` of its own log? Only then
    /// it could count it.
    pub(super) fn could_date(
        &self,
        device: &PublicKey,
        before: u64,
        (author, seq): (&PublicKey, u64),
        needed: usize,
        exists: impl Fn(&Tip) -> bool,
        owner: impl Fn(&PublicKey) -> Option<UserKey>,
    ) -> bool {
        let witnesses = self.witnessed.get(author).into_iter().flatten();
        let known = witnesses.filter(|((by, place), (upto, id, _))| {
            *upto >= seq
                && owner(by) != owner(author)
                && exists(&Tip { author: *author, seq: *upto, id: *id })
                && self.had_seen(device, before, (by, *place), &exists)
        });
        let known: BTreeSet<UserKey> = known.filter_map(|((by, _), _)| owner(by)).collect();
        known.len() >= needed && self.had_seen(device, before, (author, seq), &exists)
    }

    /// The date as of which an entry counts: its own, if enough other members saw it in time, else that of the last of
    /// them needed; none while too few have seen it. `owner` says whose a device is, so that nobody's second device
    /// witnesses what their first one says.
    // spec: LED-10
    pub(super) fn date(
        &self,
        (author, seq, own): (&PublicKey, u64, Hlc),
        members: usize,
        max_skew_ms: u64,
        exists: impl Fn(&Tip) -> bool,
        owner: impl Fn(&PublicKey) -> Option<UserKey>,
    ) -> Option<Hlc> {
        let needed = witnesses_needed(members);
        let mut others: BTreeMap<UserKey, Hlc> = BTreeMap::new();
        for (witness, at) in self.witnesses(author, seq, exists) {
            if let Some(user) = owner(&witness).filter(|user| owner(author) != Some(*user)) {
                others.entry(user).and_modify(|first| *first = (*first).min(at)).or_insert(at);
            }
        }
        let mut seen: Vec<Hlc> = others.into_values().collect();
        seen.sort_unstable();
        match needed.checked_sub(1) {
            None => Some(own),
            Some(last) => {
                let last = *seen.get(last)?;
                let in_time = last.wall_ms() <= own.wall_ms().saturating_add(max_skew_ms);
                Some(if in_time { own } else { last })
            }
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
                    let seen = self.witnessed.entry(tip.author).or_default();
                    seen.insert((author, seq), (tip.seq, tip.id, header.hlc));
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
            seen.retain(|(by, seq), _| by != author || *seq < cap);
        }
        self.witnessed.retain(|_, seen| !seen.is_empty());
        self.registered.retain(|_, registered| !registered.is_empty());
        self.online.retain(|_, online| !online.is_empty());
    }
}
