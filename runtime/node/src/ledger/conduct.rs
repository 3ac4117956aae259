//! How members kept their word, as far as the entries prove it: results beside the results of others, leases, being
//! there, claims of sun. Facts as those of [`super::Facts`]: they can be added in any order and taken back.
// spec: LED-3, REP-1, DEL-8

use super::facts::Facts;
use super::governance::Governance;
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

/// An attempt: when, whose, which task, which try.
pub type Spot = (u64, PublicKey, TaskId, u32);

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

/// Those of a statement: where in the log it is on record, when, and what they are.
type Suns = (u64, u64, Vec<Sun>);

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
    /// By executing device: results that came to their owners.
    results: BTreeMap<PublicKey, BTreeMap<Spot, u64>>,
    /// By executing device: attempts that were given to it.
    given: BTreeMap<PublicKey, BTreeMap<Spot, u64>>,
    /// By executing device: the claims of sun in each statement, as of when the first is for, and when it was on record.
    suns: BTreeMap<PublicKey, BTreeMap<Spot, Suns>>,
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
    /// Of what a log says of one thing more than once the first counts: whoever never had the rest of it, since it was
    /// cut off, has that one as well.
    // spec: LED-3
    pub(super) fn add(&mut self, entry: &Entry) {
        let header = entry.header();
        let (author, seq, at_ms) = (header.author, header.seq, header.hlc.wall_ms());
        match entry.payload() {
            Payload::TaskSubmitted(it) => {
                let spot = (at_ms, author, it.task);
                match self.named.get_mut(&it.name) {
                    Some(spots) => drop(spots.entry(spot).or_insert(seq)),
                    None => drop(self.named.insert(it.name.clone(), [(spot, seq)].into())),
                }
            }
            Payload::Delegated { task, attempt, device, .. } => {
                let spot = (at_ms, author, *task, *attempt);
                self.given.entry(*device).or_default().entry(spot).or_insert(seq);
            }
            Payload::Completed(completed) => {
                let it = &completed.statement;
                let spot = (at_ms, author, it.task, it.attempt);
                self.results.entry(it.executor).or_default().entry(spot).or_insert(seq);
                let suns: Vec<Sun> = it.energy.pieces.iter().filter_map(Sun::of).collect();
                if let Some(first) = suns.first() {
                    let spot = (first.from_ms, author, it.task, it.attempt);
                    let claims = self.suns.entry(it.executor).or_default();
                    claims.entry(spot).or_insert((seq, at_ms, suns));
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
        fn cut_in<V>(
            map: &mut BTreeMap<PublicKey, BTreeMap<Spot, V>>,
            author: &PublicKey,
            stays: impl Fn(&V) -> bool,
        ) {
            map.retain(|_, spots| {
                spots.retain(|(_, by, ..), value| by != author || stays(value));
                !spots.is_empty()
            });
        }
        cut_in(&mut self.results, author, |seq| *seq < cap);
        cut_in(&mut self.given, author, |seq| *seq < cap);
        cut_in(&mut self.suns, author, |(seq, ..)| *seq < cap);
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

/// The newest up to a moment.
fn upto<V>(spots: Option<&BTreeMap<Spot, V>>, upto_ms: u64) -> impl Iterator<Item = (&Spot, &V)> {
    let newest = spots.into_iter().flatten().rev();
    newest.skip_while(move |(spot, _)| spot.0 > upto_ms).take(MOST)
}

impl Facts {
    /// What the results of a task that were on record at a moment say of each other: those of its submitter's own devices
    /// are no stranger's word, and an owner has one word.
    // spec: DEL-8, REP-1
    pub fn verdicts(
        &self,
        submitter: &PublicKey,
        task: &TaskId,
        governance: &Governance,
        upto_ms: u64,
    ) -> BTreeMap<u32, Verdict> {
        let user =
            |device: &PublicKey| governance.device(device).map(|device| governance.current(device.user));
        let key = (*submitter, *task);
        let results: Vec<(u32, UserKey, Same)> = self
            .tasks()
            .results(&key)
            .filter(|(_, ran)| ran.at_ms <= upto_ms)
            .filter_map(|(attempt, ran)| Some((attempt, user(&ran.device)?, ran.same?)))
            .filter(|(_, owner, _)| Some(*owner) != user(submitter))
            .collect();
        if results.len() < 2 {
            return BTreeMap::new();
        }
        let mut words: BTreeMap<(ProfileId, u8, [u8; 32]), BTreeSet<UserKey>> = BTreeMap::new();
        for (_, owner, (profile, outcome, output)) in &results {
            words.entry((*profile, *outcome, output.0)).or_default().insert(*owner);
        }
        let most = words.values().map(BTreeSet::len).max().unwrap_or(0);
        let mut winners = words.iter().filter(|(_, owners)| owners.len() == most);
        let (Some((winner, _)), None, true) = (winners.next(), winners.next(), most > 1) else {
            return BTreeMap::new();
        };
        let verdict = |(attempt, _, (profile, outcome, output)): &(u32, UserKey, Same)| {
            let same = (*profile, *outcome, output.0);
            match () {
                () if same == *winner => Some((*attempt, Verdict::Agreed)),
                // Other engines may come to something else and be right.
                () if *profile == winner.0 => Some((*attempt, Verdict::Wrong)),
                () => None,
            }
        };
        results.iter().filter_map(verdict).collect()
    }

    /// Results of a device up to a moment, newest first, with what others' say of each by then.
    fn judged<'a>(
        &'a self,
        device: &PublicKey,
        governance: &'a Governance,
        upto_ms: u64,
    ) -> impl Iterator<Item = (&'a Spot, Option<Verdict>)> {
        upto(self.conduct().results.get(device), upto_ms).map(move |(spot, _)| {
            let (_, submitter, task, attempt) = spot;
            (spot, self.verdicts(submitter, task, governance, upto_ms).get(attempt).copied())
        })
    }

    /// How many of a device's results in a row others agreed with, up to as many as it takes to be believed.
    // spec: DEL-8
    pub fn streak(&self, device: &PublicKey, governance: &Governance) -> u64 {
        let compared = self.judged(device, governance, u64::MAX).filter_map(|(_, verdict)| verdict);
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
        for (spot, verdict) in self.judged(device, governance, upto_ms) {
            let (at_ms, submitter, task, attempt) = spot;
            let Some(earns) = earns(submitter, *at_ms) else { continue };
            match verdict {
                Some(Verdict::Wrong) => dates.wrong.push(*at_ms),
                Some(Verdict::Agreed) if earns => dates.agreed.push(*at_ms),
                _ => {}
            }
            let effect = self.tasks().result(&(*submitter, *task), *attempt).map(|ran| ran.effect);
            if earns && effect == Some(Effect::Done) && verdict != Some(Verdict::Wrong) {
                dates.executed.push(*at_ms);
            }
        }
        let conduct = self.conduct();
        for (spot, _) in upto(conduct.given.get(device), upto_ms) {
            let (at_ms, submitter, task, attempt) = spot;
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
        for ((_, _, task, attempt), (_, said_ms, suns)) in upto(conduct.suns.get(device), upto_ms) {
            if *said_ms > upto_ms {
                continue;
            }
            let place = self.place_then(device, task, *attempt, *said_ms);
            // What one run claims is one claim, however many pieces it is in.
            let false_one = suns.iter().find(|sun| sun.is_doubtful(place));
            dates.implausible.extend(false_one.map(|sun| sun.from_ms));
        }
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
