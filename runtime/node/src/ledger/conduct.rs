//! How members kept their word, as far as the entries prove it: results beside the results of others, leases, being
//! there, claims of sun. Facts as those of [`super::Facts`]: they can be added in any order and taken back.
// spec: LED-3, REP-1, DEL-8

use super::facts::Facts;
use super::governance::Governance;
use super::tasks::{News, Ran, TaskKey};
use mesh_policies::plausible::{Evidence, doubt};
use mesh_policies::profile::{self, Past};
use mesh_policies::reputation::{MUST_AGREE, Record};
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::energy::Piece;
use mesh_protocol::ids::{Commitment, ProfileId, TaskId};
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::ledger::{Effect, Entry, Payload};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Newest results and leases of one device, and tasks of one name, that are looked at: of what is older hardly anything is left anyway.
const MOST: usize = 2_000;
/// Of these so many that devices of one submitter's owner say of it: with a friend's log full of them, a device would hide
/// what it did to others.
const MOST_OF_ONE: usize = 200;

/// By device of which it is said, and by device whose log says it.
type Said<V> = BTreeMap<PublicKey, BTreeMap<PublicKey, V>>;

/// A result that came to its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Told {
    /// Where in the owner's log that stands.
    seq: u64,
    at_ms: u64,
    task: TaskId,
    attempt: u32,
}

/// By who proved a fork and where: when it was, and when it was proven.
type Proofs = BTreeMap<(PublicKey, u64), (u64, u64)>;

/// What two runs must have in common to agree: engine, outcome, output.
pub type Same = (ProfileId, u8, Commitment);

/// A claim of sun for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Sun {
    from_ms: u64,
    until_ms: u64,
    estimated: bool,
    claim: EnergyClaim,
}

impl Sun {
    fn of(piece: &Piece) -> Option<Self> {
        let reading = piece.reading.as_ref().filter(|it| it.claim.source == Source::Solar)?;
        let (from_ms, until_ms) = (piece.from_ms, piece.until_ms());
        Some(Self { from_ms, until_ms, estimated: reading.estimated, claim: reading.claim })
    }

    /// Was there none there then? A mean, which is marked as an estimate, may have begun before sunrise.
    // spec: REP-2
    fn is_doubtful(&self, place: Option<(i16, i16)>) -> bool {
        let doubtful = |now_ms| {
            let evidence = Evidence { place, now_ms, ..Evidence::default() };
            doubt(&self.claim, &evidence).is_some()
        };
        doubtful(self.from_ms) && (!self.estimated || doubtful(self.until_ms))
    }
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Conduct {
    /// Results that came to their owners, in the order of the owners' logs.
    results: Said<Vec<Told>>,
    /// The results whose statements claim sun, each with what it claims.
    suns: Said<Vec<(Told, Vec<Sun>)>>,
    /// By device: when it came and went.
    presence: BTreeMap<PublicKey, BTreeMap<u64, (u64, bool)>>,
    /// By name: tasks as they were submitted.
    named: BTreeMap<String, BTreeMap<(u64, PublicKey, TaskId), u64>>,
    /// By device whose log forked.
    forks: BTreeMap<PublicKey, Proofs>,
}

/// What came of comparing a result with others' of the same task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Another owner's peer came to the same, and none more often to anything else.
    Agreed,
    /// Others agreed on something else.
    Wrong,
}

impl Conduct {
    /// `news`: what is new in it.
    // spec: LED-3
    pub(super) fn add(&mut self, entry: &Entry, news: &News) {
        let header = entry.header();
        let (author, seq, at_ms) = (header.author, header.seq, header.hlc.wall_ms());
        match entry.payload() {
            Payload::TaskSubmitted(it) if news.first => {
                let spot = (at_ms, author, it.task);
                match self.named.get_mut(&it.name) {
                    Some(spots) => drop(spots.insert(spot, seq)),
                    None => drop(self.named.insert(it.name.clone(), [(spot, seq)].into())),
                }
            }
            Payload::Completed(completed) if news.first => {
                let it = &completed.statement;
                let told = || Told { seq, at_ms, task: it.task, attempt: it.attempt };
                self.results.entry(it.executor).or_default().entry(author).or_default().push(told());
                let suns: Vec<Sun> = it.energy.pieces.iter().filter_map(Sun::of).collect();
                if !suns.is_empty() {
                    let claims = self.suns.entry(it.executor).or_default().entry(author).or_default();
                    claims.push((told(), suns));
                }
            }
            Payload::PeerOnline => {
                self.presence.entry(author).or_default().insert(seq, (at_ms, true));
            }
            Payload::PeerOffline => {
                self.presence.entry(author).or_default().insert(seq, (at_ms, false));
            }
            Payload::Forked(proof) => {
                let header = &proof.a.header;
                let proofs = self.forks.entry(header.author).or_default();
                proofs.insert((author, seq), (header.hlc.wall_ms(), at_ms));
            }
            _ => {}
        }
    }

    /// Takes back what `author` said from `cap` on.
    pub(super) fn cut(&mut self, author: &PublicKey, cap: u64) {
        fn cut_in<V>(said: &mut Said<Vec<V>>, author: &PublicKey, stays: impl Fn(&V) -> bool) {
            said.retain(|_, lists| {
                if let Some(list) = lists.get_mut(author) {
                    list.retain(&stays);
                }
                lists.retain(|_, list| !list.is_empty());
                !lists.is_empty()
            });
        }
        cut_in(&mut self.results, author, |told| told.seq < cap);
        cut_in(&mut self.suns, author, |(told, _)| told.seq < cap);
        self.named.retain(|_, spots| {
            spots.retain(|(_, by, _), seq| by != author || *seq < cap);
            !spots.is_empty()
        });
        if let Some(said) = self.presence.get_mut(author) {
            said.retain(|seq, _| *seq < cap);
        }
        self.presence.retain(|_, said| !said.is_empty());
        self.forks.retain(|_, proofs| {
            proofs.retain(|(by, seq), _| by != author || *seq < cap);
            !proofs.is_empty()
        });
    }
}

/// The newest of what several logs say of one device, each log's given newest first and with its dates.
// spec: REP-1
fn newest<'a, T, I: Iterator<Item = (u64, T)>>(
    logs: impl Iterator<Item = (&'a PublicKey, I)>,
    governance: &Governance,
) -> impl Iterator<Item = (&'a PublicKey, T)> {
    let mut heads: BTreeMap<(u64, &PublicKey), (T, I)> = BTreeMap::new();
    for (by, mut rest) in logs {
        if let Some((at_ms, first)) = rest.next() {
            heads.insert((at_ms, by), (first, rest));
        }
    }
    let mut of_one: BTreeMap<Option<UserKey>, usize> = BTreeMap::new();
    let next = std::iter::from_fn(move || {
        while let Some(((_, by), (it, mut rest))) = heads.pop_last() {
            let before = of_one.entry(owner(by, governance)).or_default();
            if *before >= MOST_OF_ONE {
                continue;
            }
            *before += 1;
            if let Some((at_ms, next)) = rest.next() {
                heads.insert((at_ms, by), (next, rest));
            }
            return Some((by, it));
        }
        None
    });
    next.take(MOST)
}

/// What is said up to a moment in the order of a log, newest first.
fn upto<T>(list: &[T], upto_ms: u64, told: impl Fn(&T) -> &Told) -> impl Iterator<Item = (u64, &T)> {
    let end = list.partition_point(|it| told(it).at_ms <= upto_ms);
    list.iter().take(end).rev().map(move |it| (told(it).at_ms, it))
}

fn owner(device: &PublicKey, governance: &Governance) -> Option<UserKey> {
    governance.device(device).map(|device| governance.current(device.user))
}

/// The word of whoever ran an attempt, if it weighs: that of its submitter's own devices is no stranger's.
// spec: DEL-8, REP-1
fn word(ran: &Ran, submitter: Option<UserKey>, governance: &Governance) -> Option<(UserKey, Same)> {
    let (same, by) = (ran.same?, owner(&ran.device, governance)?);
    (Some(by) != submitter).then_some((by, same))
}

/// What others agreed on says so of what one came to.
fn verdict(same: &Same, agreed: &Same) -> Option<Verdict> {
    match () {
        () if same == agreed => Some(Verdict::Agreed),
        // Other engines may come to something else and be right.
        () if same.0 == agreed.0 => Some(Verdict::Wrong),
        () => None,
    }
}

/// What came of one run, each with when the first said so of those who have it on record.
#[derive(Debug, Default)]
struct Judged {
    executed: Option<u64>,
    agreed: Option<u64>,
    wrong: Option<u64>,
}

impl Facts {
    /// What most runs of a task came to by the results that were on record at a moment, if more than one owner's did: an
    /// owner has one word.
    // spec: DEL-8, REP-1
    fn agreed(&self, key: &TaskKey, governance: &Governance, upto_ms: u64) -> Option<Same> {
        let submitter = owner(&key.0, governance);
        let mut words: BTreeMap<(ProfileId, u8, [u8; 32]), BTreeSet<UserKey>> = BTreeMap::new();
        for (_, ran) in self.tasks().results(key).filter(|(_, ran)| ran.at_ms <= upto_ms) {
            if let Some((by, (profile, outcome, output))) = word(ran, submitter, governance) {
                words.entry((profile, outcome, output.0)).or_default().insert(by);
            }
        }
        let most = words.values().map(BTreeSet::len).max().filter(|most| *most > 1)?;
        let mut winners = words.iter().filter(|(_, owners)| owners.len() == most);
        match (winners.next(), winners.next()) {
            (Some(((profile, outcome, output), _)), None) => Some((*profile, *outcome, Commitment(*output))),
            _ => None,
        }
    }

    /// What the results of a task that were on record at a moment say of each other.
    // spec: DEL-8, REP-1
    pub fn verdicts(
        &self,
        submitter: &PublicKey,
        task: &TaskId,
        governance: &Governance,
        upto_ms: u64,
    ) -> BTreeMap<u32, Verdict> {
        let key = (*submitter, *task);
        let Some(agreed) = self.agreed(&key, governance, upto_ms) else { return BTreeMap::new() };
        let said = self.tasks().results(&key).filter(|(_, ran)| ran.at_ms <= upto_ms);
        let judged = said.filter_map(|(attempt, ran)| {
            let (_, same) = word(ran, owner(submitter, governance), governance)?;
            Some((attempt, verdict(&same, &agreed)?))
        });
        judged.collect()
    }

    /// Results of a device up to a moment, newest first, each with its submitter and what others' say of it by then; of
    /// those that `count`.
    fn judged<'a>(
        &'a self,
        device: &PublicKey,
        governance: &'a Governance,
        upto_ms: u64,
        count: impl Fn(&PublicKey, &Told) -> bool + Copy + 'a,
    ) -> impl Iterator<Item = (&'a PublicKey, &'a Told, Option<Verdict>)> {
        let logs = self.conduct().results.get(device).into_iter().flatten();
        let logs = logs.map(move |(by, list)| {
            let newest = upto(list, upto_ms, |told| told).take(MOST);
            (by, newest.filter(move |(_, told)| count(by, told)))
        });
        // Many results may be of one task.
        let mut tasks: BTreeMap<TaskKey, Option<Same>> = BTreeMap::new();
        newest(logs, governance).map(move |(submitter, told)| {
            let key = (*submitter, told.task);
            let agreed = tasks.entry(key).or_insert_with(|| self.agreed(&key, governance, upto_ms));
            let judged = agreed.and_then(|agreed| {
                let ran = self.tasks().result(&key, told.attempt)?;
                let (_, same) = word(ran, owner(submitter, governance), governance)?;
                verdict(&same, &agreed)
            });
            (submitter, told, judged)
        })
    }

    /// How many of a device's results in a row others agreed with, up to as many as it takes to be believed. `earns` is that
    /// of [`Self::dates`]: what credits nothing makes nobody believed, and is held against them all the same if it is wrong.
    // spec: DEL-8, PERM-6
    pub fn streak(
        &self,
        device: &PublicKey,
        governance: &Governance,
        earns: impl Fn(&PublicKey, u64) -> Option<bool>,
    ) -> u64 {
        // What several logs have on record of one run is one result.
        let mut seen = BTreeSet::new();
        // However many results of one submitter's are compared with nobody's, those that are stand for themselves.
        let can_compare = |submitter: &PublicKey, told: &Told| {
            let key = (*submitter, told.task);
            let ran = self.tasks().result(&key, told.attempt);
            ran.is_some_and(|ran| ran.same.is_some()) && self.tasks().results(&key).nth(1).is_some()
        };
        let judged = self.judged(device, governance, u64::MAX, can_compare);
        let compared = judged.filter_map(|(submitter, told, verdict)| {
            let earns = earns(submitter, told.at_ms)?;
            let mut counts = || earns && seen.insert((told.task, told.attempt));
            verdict.filter(|verdict| *verdict == Verdict::Wrong || counts())
        });
        let right = compared.take_while(|verdict| *verdict == Verdict::Agreed);
        right.take(usize::try_from(MUST_AGREE).unwrap_or(usize::MAX)).count() as u64
    }

    /// All that was on record at a moment of how a device kept its word. `earns` says whether what it did for somebody, as of when,
    /// does it credit; none where it proves nothing at all.
    // spec: REP-1
    pub fn dates(
        &self,
        device: &PublicKey,
        governance: &Governance,
        upto_ms: u64,
        earns: impl Fn(&PublicKey, u64) -> Option<bool>,
    ) -> Record {
        let mut dates = Record::default();
        // Others may have a run on record that was not for them: it is one run all the same. Newest first, so that the
        // first one's date stays.
        let mut runs: BTreeMap<(TaskId, u32), Judged> = BTreeMap::new();
        for (submitter, told, verdict) in self.judged(device, governance, upto_ms, |_, _| true) {
            let Some(earns) = earns(submitter, told.at_ms) else { continue };
            let run = runs.entry((told.task, told.attempt)).or_default();
            match verdict {
                Some(Verdict::Wrong) => run.wrong = Some(told.at_ms),
                Some(Verdict::Agreed) if earns => run.agreed = Some(told.at_ms),
                _ => {}
            }
            let effect = self.tasks().result(&(*submitter, told.task), told.attempt).map(|ran| ran.effect);
            if earns && effect == Some(Effect::Done) {
                run.executed = Some(told.at_ms);
            }
        }
        for run in runs.into_values() {
            match run.wrong {
                Some(at_ms) => dates.wrong.push(at_ms),
                None => {
                    dates.executed.extend(run.executed);
                    dates.agreed.extend(run.agreed);
                }
            }
        }
        let conduct = self.conduct();
        let taken = self.tasks().leases(device, upto_ms);
        let taken = taken.map(|(by, leases)| (by, leases.map(|lease| (lease.0, lease))));
        for (submitter, (at_ms, task, attempt)) in newest(taken, governance) {
            let key = (*submitter, *task);
            if earns(submitter, *at_ms).is_some() && self.tasks().broke_lease(device, &key, *attempt, upto_ms)
            {
                dates.failed.push(*at_ms);
            }
        }
        let mut came = None;
        let presence = conduct.presence.get(device).into_iter().flatten().map(|(_, said)| said);
        for (at_ms, online) in presence.take_while(|(at_ms, _)| *at_ms <= upto_ms) {
            match (came, online) {
                (Some(since), true) => dates.vanished.push(since),
                (Some(since), false) => dates.stayed.push(since),
                (None, _) => {}
            }
            came = online.then_some(*at_ms);
        }
        let suns = conduct.suns.get(device).into_iter().flatten();
        let suns = suns.map(|(by, list)| (by, upto(list, upto_ms, |(told, _)| told)));
        let mut false_ones = BTreeMap::new();
        for (_, (told, suns)) in newest(suns, governance) {
            let place = self.place_then(device, &told.task, told.attempt, told.at_ms);
            // What one run claims is one claim, however many pieces it is in.
            if let Some(sun) = suns.iter().find(|sun| sun.is_doubtful(place)) {
                false_ones.insert((told.task, told.attempt), sun.from_ms);
            }
        }
        dates.implausible.extend(false_ones.into_values().filter(|from_ms| *from_ms <= upto_ms));
        // Whoever proves a fork again proves nothing new.
        let proven = conduct.forks.get(device).into_iter().flat_map(BTreeMap::values);
        let proven = proven.filter(|(_, proven_ms)| *proven_ms <= upto_ms);
        dates.forks.extend(proven.map(|(at_ms, _)| *at_ms).min());
        dates
    }

    /// What the newest tasks of a name did, newest first.
    // spec: REP-3
    pub fn past(&self, name: &str) -> Vec<Past> {
        let named = self.conduct().named.get(name).into_iter().flatten().rev();
        let done = named.take(MOST).filter_map(|((_, submitter, task), _)| {
            let balance = self.tasks().balance(&(*submitter, *task))?;
            let (_, ran) = balance.done;
            let (_, _, submitted) = self.ballots().submission(submitter, task)?;
            Some(Past {
                wall_ms: ran.wall_ms,
                memory: ran.peak_memory,
                energy_mj: ran.sum.map(|sum| sum.energy_mj),
                voted: self.ballots().consensus(submitter, task).and_then(|(level, _)| level),
                waited_ms: balance.deferred_ms,
                sla: submitted.sla,
            })
        });
        done.take(profile::MOST).collect()
    }
}
