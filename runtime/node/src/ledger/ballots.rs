//! What entries say about the community's own affairs: submissions, votes, health, contributions, time zones and rules.
//! Facts as those of [`super::Facts`]: they can be added in any order and taken back.
// spec: LED-3, VOTE-8, QUOTA-4

use mesh_protocol::ids::{EntryId, TaskId};
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::ledger::{Entry, Hlc, Payload, TaskSubmitted};
use mesh_protocol::rules::Rules;
use mesh_protocol::task::Importance;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Proposals of rules of one member that count within so many milliseconds: all peers count all of them again, whenever
/// something is said that weighs in one. The same of time zones.
// spec: VOTE-2, QUOTA-3
pub(crate) const MOST_PROPOSALS: usize = 8;
pub(crate) const PROPOSALS_MS: u64 = 30 * 24 * 3_600_000;
/// The same of one log for good, since its dates may begin at any day. So many at once are written in years.
const MOST_OF_A_LOG: usize = 256;

/// Words of one log on one ballot or one dispute that count, the first: each is dated again whenever something is said of
/// it. Nobody changes their mind more often.
// spec: VOTE-1, VOTE-8
pub(crate) const MOST_WORDS: usize = 16;

/// How often a log says what came of one ballot: again where dates that others witnessed have moved the count. More
/// changes nothing.
// spec: VOTE-8
const MOST_CLAIMS: usize = 4;

/// A place in somebody's log.
pub type Spot = (PublicKey, u64);

/// A ballot's result as its submitter says it: where in the log, which level, by which votes.
type Claim = (u64, Option<Importance>, Vec<EntryId>);

/// A vote as it was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VoteFact {
    /// When, by its author.
    pub hlc: Hlc,
    /// The entry.
    pub entry: EntryId,
    /// How important.
    pub importance: Importance,
    /// Why.
    pub comment: String,
}

/// A contribution as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContributionFact {
    /// When.
    pub hlc: Hlc,
    /// Whose.
    pub user: UserKey,
    /// Of what.
    pub unit: String,
    /// How much.
    pub amount: u64,
    /// For which month.
    pub month: u32,
}

/// Rules as they were proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProposalFact {
    /// By which device.
    pub author: PublicKey,
    /// Where in its log.
    pub seq: u64,
    /// When.
    pub hlc: Hlc,
    /// The rules as a whole.
    pub rules: Rules,
    /// Why.
    pub why: String,
}

impl ProposalFact {
    /// When the rules were in force that its author had before them, if others saw it at that moment: whoever was cut off
    /// has not heard of what was adopted since, and does not want to take it back.
    // spec: VOTE-2
    pub(crate) fn written_ms(&self, opened_ms: u64) -> u64 {
        self.hlc.wall_ms().min(opened_ms)
    }
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ballots {
    submitted: BTreeMap<Spot, (Hlc, TaskSubmitted)>,
    by_task: BTreeSet<(TaskId, Spot)>,
    votes: BTreeMap<TaskId, BTreeMap<Spot, VoteFact>>,
    voted: BTreeMap<PublicKey, BTreeMap<TaskId, (u64, Hlc)>>,
    /// As often as it was said, the last time last.
    consensus: BTreeMap<(TaskId, PublicKey), Vec<Claim>>,
    flagged: BTreeMap<(TaskId, PublicKey), (u64, String)>,
    disputed: BTreeMap<TaskId, BTreeMap<Spot, (Hlc, String)>>,
    contributions: BTreeMap<Spot, ContributionFact>,
    zones: BTreeMap<Spot, (Hlc, String)>,
    proposals: BTreeMap<EntryId, ProposalFact>,
    /// When they were proposed, by where that stands.
    proposed: BTreeMap<Spot, u64>,
    rules_votes: BTreeMap<EntryId, BTreeMap<Spot, (Hlc, EntryId, bool)>>,
    /// By executing and submitting device: when tasks were done, and where in the submitter's log that stands.
    done: BTreeMap<(PublicKey, PublicKey), Vec<(u64, u64)>>,
}

/// Everything of one log.
pub(super) fn log(author: &PublicKey) -> std::ops::RangeInclusive<Spot> {
    (*author, 0)..=(*author, u64::MAX)
}

/// May there be one more word of a log on this? As all of one log comes in order, those that count are the same for all,
/// also where its end was cut off.
// spec: LED-3
fn has_room<V>(said: Option<&BTreeMap<Spot, V>>, author: &PublicKey) -> bool {
    said.is_none_or(|said| said.range(log(author)).nth(MOST_WORDS - 1).is_none())
}

/// May a log say one more thing of this date, of which it said these before?
fn is_rare(before: impl DoubleEndedIterator<Item = u64> + Clone, at_ms: u64) -> bool {
    let is_over = |last: u64| last.saturating_add(PROPOSALS_MS) <= at_ms;
    let mut last = before.rev();
    last.clone().nth(MOST_OF_A_LOG - 1).is_none() && last.nth(MOST_PROPOSALS - 1).is_none_or(is_over)
}

impl Ballots {
    /// What a device submitted before a place of its log, in order.
    pub fn submitted_by(
        &self,
        device: &PublicKey,
        upto: u64,
    ) -> impl DoubleEndedIterator<Item = (u64, Hlc, &TaskSubmitted)> {
        self.submitted.range((*device, 0)..(*device, upto)).map(|((_, seq), (hlc, task))| (*seq, *hlc, task))
    }

    /// Where, when and as what a device submitted a task.
    pub fn submission(&self, device: &PublicKey, task: &TaskId) -> Option<(u64, Hlc, &TaskSubmitted)> {
        let (from, to) = log(device).into_inner();
        let (_, spot) = self.by_task.range((*task, from)..=(*task, to)).next()?;
        let (hlc, submitted) = self.submitted.get(spot)?;
        Some((spot.1, *hlc, submitted))
    }

    /// The submissions of all devices, each with where it stands.
    pub fn submissions(&self) -> impl Iterator<Item = (&Spot, &(Hlc, TaskSubmitted))> {
        self.submitted.iter()
    }

    /// The devices that submitted a task of this id, and where.
    pub fn submitters(&self, task: &TaskId) -> impl Iterator<Item = &Spot> {
        let spot = |device| (*task, (PublicKey(device), 0));
        let all = self.by_task.range(spot([0; 32])..);
        all.take_while(move |(of, _)| of == task).map(|(_, spot)| spot)
    }

    /// What was voted on a task.
    pub fn votes_on(&self, task: &TaskId) -> impl Iterator<Item = (&Spot, &VoteFact)> {
        self.votes.get(task).into_iter().flatten()
    }

    /// Would one more vote of a device on a task count?
    // spec: VOTE-1
    pub(crate) fn may_vote(&self, device: &PublicKey, task: &TaskId) -> bool {
        has_room(self.votes.get(task), device)
    }

    /// The same of proposed rules.
    // spec: VOTE-2
    pub(crate) fn may_vote_rules(&self, device: &PublicKey, proposal: &EntryId) -> bool {
        has_room(self.rules_votes.get(proposal), device)
    }

    /// Is this one of the votes or disputes that count?
    pub(crate) fn has_counted(&self, task: &TaskId, spot: &Spot) -> bool {
        let voted = self.votes.get(task).is_some_and(|votes| votes.contains_key(spot));
        voted || self.disputed.get(task).is_some_and(|disputes| disputes.contains_key(spot))
    }

    /// Has a device voted on anything?
    pub(crate) fn votes(&self, device: &PublicKey) -> bool {
        self.voted.contains_key(device)
    }

    /// The tasks on which a device has voted up to a moment, and that were ever submitted.
    pub fn voted_by(&self, device: &PublicKey, upto_ms: u64) -> impl Iterator<Item = &TaskId> {
        let voted = self.voted.get(device).into_iter().flatten();
        let voted = voted.filter(move |(_, (_, hlc))| hlc.wall_ms() <= upto_ms).map(|(task, _)| task);
        voted.filter(|task| self.submitters(task).next().is_some())
    }

    /// A ballot's result as the submitting device counts it.
    pub fn consensus(&self, device: &PublicKey, task: &TaskId) -> Option<(Option<Importance>, &[EntryId])> {
        self.claim(device, task).map(|(_, level, votes)| (*level, votes.as_slice()))
    }

    fn claim(&self, device: &PublicKey, task: &TaskId) -> Option<&Claim> {
        self.consensus.get(&(*task, *device))?.last()
    }

    /// May a device say what came of a ballot, or has it said so too often?
    // spec: VOTE-8
    pub(crate) fn may_claim(&self, device: &PublicKey, task: &TaskId) -> bool {
        self.consensus.get(&(*task, *device)).is_none_or(|said| said.len() < MOST_CLAIMS)
    }

    /// Where in its log the submitting device says so.
    pub fn consensus_seq(&self, device: &PublicKey, task: &TaskId) -> Option<u64> {
        self.claim(device, task).map(|(seq, ..)| *seq)
    }

    /// The sentence by which a submitting device takes its task for a matter of public health.
    pub fn flag(&self, device: &PublicKey, task: &TaskId) -> Option<&str> {
        self.flagged.get(&(*task, *device)).map(|(_, text)| text.as_str())
    }

    /// Who disputes that, and why.
    pub fn disputes_of(&self, task: &TaskId) -> impl Iterator<Item = (&Spot, &(Hlc, String))> {
        self.disputed.get(task).into_iter().flatten()
    }

    /// Tasks whose flags were disputed.
    pub fn disputed(&self) -> impl Iterator<Item = &TaskId> {
        self.disputed.keys()
    }

    /// All contributions, each with where it was recorded.
    pub fn contributions(&self) -> &BTreeMap<Spot, ContributionFact> {
        &self.contributions
    }

    /// The time zones that a device has set, in order.
    pub fn zones(&self, device: &PublicKey) -> impl Iterator<Item = (Hlc, &str)> {
        self.zones.range(log(device)).map(|(_, (hlc, zone))| (*hlc, zone.as_str()))
    }

    /// May a device's log hold one more proposal of this date? What goes beyond does not count.
    // spec: VOTE-2
    pub(crate) fn may_propose(&self, device: &PublicKey, at_ms: u64) -> bool {
        is_rare(self.proposed.range(log(device)).map(|(_, at_ms)| *at_ms), at_ms)
    }

    /// May it hold one more time zone? All that were set are gone through for each task that is counted.
    // spec: QUOTA-3
    pub(crate) fn may_set_zone(&self, device: &PublicKey, at_ms: u64) -> bool {
        is_rare(self.zones.range(log(device)).map(|(_, (hlc, _))| hlc.wall_ms()), at_ms)
    }

    /// All rules ever proposed, as far as they may count.
    pub fn proposals(&self) -> &BTreeMap<EntryId, ProposalFact> {
        &self.proposals
    }

    /// What was voted on proposed rules.
    pub fn rules_votes(&self, proposal: &EntryId) -> impl Iterator<Item = (&Spot, &(Hlc, EntryId, bool))> {
        self.rules_votes.get(proposal).into_iter().flatten()
    }

    /// For each pair of executing and submitting devices, when tasks were done up to a moment, and where that stands.
    pub(crate) fn done(&self, upto_ms: u64) -> impl Iterator<Item = (&PublicKey, &PublicKey, &[(u64, u64)])> {
        self.done.iter().map(move |((by, of), dates)| {
            (by, of, dates.split_at(dates.partition_point(|(at_ms, _)| *at_ms <= upto_ms)).0)
        })
    }

    /// `done_by`: the device that did a task which is done by this entry.
    pub(super) fn add(&mut self, entry: &Entry, done_by: Option<PublicKey>) {
        let header = entry.header();
        let (author, seq, hlc) = (header.author, header.seq, header.hlc);
        let spot = (author, seq);
        if let Some(by) = done_by {
            // In order, as all of one log comes.
            self.done.entry((by, author)).or_default().push((hlc.wall_ms(), seq));
        }
        match entry.payload() {
            Payload::TaskSubmitted(task) => {
                self.submitted.insert(spot, (hlc, (**task).clone()));
                self.by_task.insert((task.task, spot));
            }
            Payload::Voted { task, importance, comment } if self.may_vote(&author, task) => {
                let vote =
                    VoteFact { hlc, entry: entry.id(), importance: *importance, comment: comment.clone() };
                self.votes.entry(*task).or_default().insert(spot, vote);
                self.voted.entry(author).or_default().entry(*task).or_insert((seq, hlc));
            }
            Payload::Consensus { task, importance, votes } if self.may_claim(&author, task) => {
                let said = self.consensus.entry((*task, author)).or_default();
                said.push((seq, *importance, votes.clone()));
            }
            Payload::HealthFlagged { task, text } => {
                self.flagged.entry((*task, author)).or_insert_with(|| (seq, text.clone()));
            }
            Payload::HealthDisputed { task, why } if has_room(self.disputed.get(task), &author) => {
                self.disputed.entry(*task).or_default().insert(spot, (hlc, why.clone()));
            }
            Payload::Contribution { user, unit, amount, month } => {
                let said =
                    ContributionFact { hlc, user: *user, unit: unit.clone(), amount: *amount, month: *month };
                self.contributions.insert(spot, said);
            }
            Payload::ZoneSet { zone } if self.may_set_zone(&author, hlc.wall_ms()) => {
                self.zones.insert(spot, (hlc, zone.clone()));
            }
            Payload::RulesProposed { rules, why } if self.may_propose(&author, hlc.wall_ms()) => {
                self.proposed.insert(spot, hlc.wall_ms());
                let said = ProposalFact { author, seq, hlc, rules: (**rules).clone(), why: why.clone() };
                self.proposals.insert(entry.id(), said);
            }
            Payload::RulesVoted { proposal, yes } if self.may_vote_rules(&author, proposal) => {
                self.rules_votes.entry(*proposal).or_default().insert(spot, (hlc, entry.id(), *yes));
            }
            _ => {}
        }
    }

    /// Takes back what `author` said from `cap` on.
    pub(super) fn cut(&mut self, author: &PublicKey, cap: u64) {
        let stays = |(by, seq): &Spot| by != author || *seq < cap;
        self.submitted.retain(|spot, _| stays(spot));
        self.by_task.retain(|(_, spot)| stays(spot));
        self.contributions.retain(|spot, _| stays(spot));
        self.zones.retain(|spot, _| stays(spot));
        self.consensus.retain(|(_, by), said| {
            said.retain(|(seq, ..)| stays(&(*by, *seq)));
            !said.is_empty()
        });
        self.flagged.retain(|(_, by), (seq, _)| stays(&(*by, *seq)));
        self.proposals.retain(|_, proposal| stays(&(proposal.author, proposal.seq)));
        self.proposed.retain(|spot, _| stays(spot));
        fn cut_in<K: Ord, V>(map: &mut BTreeMap<K, BTreeMap<Spot, V>>, stays: impl Fn(&Spot) -> bool) {
            map.retain(|_, spots| {
                spots.retain(|spot, _| stays(spot));
                !spots.is_empty()
            });
        }
        cut_in(&mut self.votes, stays);
        cut_in(&mut self.disputed, stays);
        cut_in(&mut self.rules_votes, stays);
        self.voted.retain(|by, tasks| {
            tasks.retain(|_, (seq, _)| stays(&(*by, *seq)));
            !tasks.is_empty()
        });
        self.done.retain(|(_, of), dates| {
            dates.retain(|(_, seq)| stays(&(*of, *seq)));
            !dates.is_empty()
        });
    }
}
