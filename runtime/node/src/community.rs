//! What this peer makes of votes, health flags, contributions and days, from its own ledger alone.
// spec: VOTE-1, VOTE-8, HEALTH-1, HEALTH-3, QUOTA-4

use crate::ledger::{Dated, Ledger, MOST_PROPOSALS, PROPOSALS_MS, VoteFact};
use crate::node::{Node, Timer};
use mesh_policies::health;
use mesh_policies::importance::{Course, Voice, course};
use mesh_policies::plausible::{Evidence, doubt};
use mesh_policies::profile::{self, Profile};
use mesh_policies::quota::{self, Day, Deeds, Span, Tier};
use mesh_policies::reputation;
use mesh_policies::votes::{Ballot, Merit, State, Tally, Vote, tally, weight};
use mesh_protocol::ad::EnergyClaim;
use mesh_protocol::frame::AttemptId;
use mesh_protocol::ids::{EntryId, TaskId};
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::ledger::{Effect, Entry, Hlc, MAX_VOTES, Payload};
use mesh_protocol::reason::Reason;
use mesh_protocol::rules::Rules;
use mesh_protocol::task::{Importance, Sla, TaskSpec};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// How long what was found of peers' reliability is used: it changes slowly, and finding it looks at thousands of facts.
const RELY_MS: u64 = 60_000;
/// Names of tasks of which it is kept in mind what was learnt: more than a device submits in a day, a few hundred bytes each.
const MOST_NAMES: usize = 1_000;
/// How soon after something that weighs in ballots on rules they are counted again, so that many such make one count; and
/// how much later for each that there is, and at most: counting leaves most of the time to everything else.
const RULES_SOON_MS: u64 = 1000;
const RULES_LATER_MS: (u64, u64) = (20, 60_000);
/// How soon after others' words on a task it is thought about again: with the time until what runs is, what may run no
/// longer stands still within half a second.
const BALLOT_SOON_MS: u64 = 200;
/// How often each of the attempts that the rules allow may be made, with all that is moved, checked or lost on the way:
/// beyond that one submission would pay for any number of runs.
// spec: QUOTA-4
const RUNS: u64 = 20;
/// A month of membership.
const MONTH_MS: u64 = 30 * 24 * 3_600_000;

/// What is known of tasks of a name.
pub(crate) struct Learnt {
    at_ms: u64,
    profile: Option<Profile>,
    usual_mj: Option<u64>,
}

/// A task's ballot as it is counted.
type Counted = (Ballot<Importance>, Tally<Importance>);

/// Members, those who were put out included, each with since when they belonged and when that ended, as others saw it.
pub(crate) type Terms = Vec<(UserKey, u64, Option<u64>)>;

/// A community as its ledger shows it at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Community<'a> {
    pub(crate) ledger: &'a Ledger,
    /// Milliseconds since 1970.
    pub(crate) now_ms: u64,
    pub(crate) misbehaves: Option<Misbehaviour>,
}

impl<'a> Community<'a> {
    fn rules(&self) -> &'a Rules {
        self.ledger.governance().rules()
    }

    /// Whose a device is, under the key that stands for them now.
    pub(crate) fn user_of(&self, device: &PublicKey) -> Option<UserKey> {
        self.ledger.governance().device(device).map(|device| device.user)
    }

    fn devices_of(&self, user: UserKey) -> impl Iterator<Item = &'a PublicKey> {
        let devices = self.ledger.governance().devices().iter();
        devices.filter(move |(_, device)| device.user == user).map(|(key, _)| key)
    }

    /// As of when an entry counts.
    // spec: LED-10
    pub(crate) fn date(&self, author: &PublicKey, seq: u64, own: Hlc) -> Option<Hlc> {
        self.dated(author, seq, own).ok()
    }

    fn dated(&self, author: &PublicKey, seq: u64, own: Hlc) -> Result<Hlc, Option<Hlc>> {
        if self.misbehaves == Some(Misbehaviour::BelievesClaimedDates) {
            return Ok(own);
        }
        // Whoever came later had no say in what was settled before.
        let members = self.ledger.governance().members_at(author, own);
        let owner = |device: &PublicKey| self.user_of(device);
        let skew_ms = self.ledger.skew_ms_before(own);
        self.ledger.dated((author, seq, own), members, skew_ms, owner)
    }

    /// The same, or what its author says as long as too few have seen it.
    fn date_or_own(&self, author: &PublicKey, seq: u64, own: Hlc) -> Hlc {
        self.date(author, seq, own).unwrap_or(own)
    }

    /// Has nobody but its author said since when an old entry is there, as far as a device may count on: enough others, or
    /// that device itself?
    // spec: LED-10, QUOTA-4
    pub(crate) fn is_dated_back(&self, by: &PublicKey, author: &PublicKey, seq: u64, own: Hlc) -> bool {
        let old = own.wall_ms().saturating_add(self.ledger.skew_ms_before(own)) < self.now_ms;
        old && self.date(author, seq, own).is_none() && !self.ledger.witnesses(author, seq).contains_key(by)
    }

    // ---- ballots ----

    /// When somebody was put out, if they were: as others saw it, so that nobody dates it back before what it would
    /// undo.
    fn left_ms(&self, user: &UserKey) -> Option<u64> {
        let (own, author, seq) = self.ledger.governance().members().get(user)?.left?;
        Some(self.date(&author, seq, own).map_or(u64::MAX, Hlc::wall_ms))
    }

    /// When members came and went: to be found once where many ballots are counted.
    pub(crate) fn terms(&self) -> Terms {
        let members = self.ledger.governance().members().keys();
        let term =
            |user: &UserKey| Some((*user, self.ledger.belonged_since(user)?.wall_ms(), self.left_ms(user)));
        members.filter_map(term).collect()
    }

    /// Members who may vote on what opens at a moment, those who were put out since included.
    // spec: VOTE-1, PERM-6
    fn entitled(terms: &Terms, rules: &Rules, opened_ms: u64) -> BTreeSet<UserKey> {
        let entitled = terms.iter().filter(|(_, since, left)| {
            since.saturating_add(rules.vote_after_ms) <= opened_ms && left.is_none_or(|left| left > opened_ms)
        });
        entitled.map(|(user, ..)| *user).collect()
    }

    /// Counts. Whoever was put out after the decision had their say; before it, they have none.
    // spec: VOTE-1
    fn count<C: Copy + Ord>(&self, mut ballot: Ballot<C>, votes: &[Vote<C>]) -> (Ballot<C>, Tally<C>) {
        let left = |user: &UserKey| Some((self.left_ms(user)?, *user));
        let mut left: Vec<(u64, UserKey)> = ballot.electorate.keys().filter_map(left).collect();
        left.sort_unstable();
        let mut left = left.into_iter();
        loop {
            let tally = tally(&ballot, votes, self.now_ms);
            match left.next() {
                Some((at, user)) if tally.decided_ms.is_none_or(|decided| at <= decided) => {
                    ballot.electorate.remove(&user);
                }
                _ => return (ballot, tally),
            }
        }
    }

    /// The same, each with what their vote weighs.
    // spec: VOTE-2
    fn electorate(&self, terms: &Terms, rules: &Rules, opened_ms: u64) -> BTreeMap<UserKey, u64> {
        let weigh = |user| (user, weight(rules.voting_method, &self.merit(user, opened_ms, rules)));
        Self::entitled(terms, rules, opened_ms).into_iter().map(weigh).collect()
    }

    fn merit(&self, user: UserKey, at_ms: u64, rules: &Rules) -> Merit {
        use mesh_protocol::rules::VotingMethod::{Hybrid, OnePerUser, Reputation, Stake};
        let given = || self.contributions_of(user).filter(|(at, _)| *at <= at_ms).map(|(_, said)| said);
        match rules.voting_method {
            OnePerUser => Merit::default(),
            Reputation => Merit { reputation: self.reputation(user, at_ms).0, ..Merit::default() },
            Stake => Merit {
                stake: given().fold(0, |sum: u64, said| sum.saturating_add(said.amount)),
                ..Merit::default()
            },
            Hybrid => Merit {
                months: self.months(user, at_ms),
                tasks: Self { now_ms: at_ms, ..*self }.executed(user),
                contributions: given().count() as u64,
                ..Merit::default()
            },
        }
    }

    fn months(&self, user: UserKey, at_ms: u64) -> u64 {
        let since = self.ledger.belonged_since(&user).map(Hlc::wall_ms);
        since.map_or(0, |since| at_ms.saturating_sub(since) / MONTH_MS)
    }

    /// Ballots are counted by the rules under which they opened.
    pub(crate) fn ballot(&self, device: &PublicKey, task: &TaskId) -> Option<Ballot<Importance>> {
        let (seq, own, _) = self.ledger.facts().ballots().submission(device, task)?;
        Some(self.ballot_from(self.date_or_own(device, seq, own).wall_ms(), self.user_of(device)?))
    }

    fn ballot_from(&self, opened_ms: u64, asker: UserKey) -> Ballot<Importance> {
        let rules = self.ledger.rules_at(opened_ms);
        // Where there are no ballots nobody need be counted.
        let electorate = match rules.voting_window_ms {
            0 => BTreeMap::new(),
            _ => self.electorate(&self.terms(), rules, opened_ms),
        };
        Ballot {
            opened_ms,
            window_ms: rules.voting_window_ms,
            skew_ms: rules.max_skew_ms,
            consensus_percent: rules.consensus_percent,
            quorum: usize::from(rules.quorum),
            asker,
            electorate,
            fallback: Importance::Normal,
        }
    }

    /// How long the members would have to vote on a task that somebody submits now; none where there is nobody to ask.
    // spec: CLI-3, VOTE-4
    pub(crate) fn would_ask_ms(&self, asker: UserKey) -> Option<u64> {
        let ballot = self.ballot_from(self.now_ms, asker);
        Self::can_decide(&ballot).then_some(ballot.window_ms)
    }

    /// The votes on a task that others have seen, each as of when it counts, of those who may. Of nobody else's is it asked
    /// who has seen them.
    fn votes(&self, task: &TaskId, may: impl Fn(&UserKey) -> bool) -> Vec<Vote<Importance>> {
        let said = self.ledger.facts().ballots().votes_on(task);
        let vote = |(author, seq): (PublicKey, u64), fact: &VoteFact| {
            let user = self.user_of(&author).filter(&may)?;
            let at = self.date(&author, seq, fact.hlc)?;
            Some(Vote { at, entry: fact.entry, user, choice: fact.importance })
        };
        said.filter_map(|(spot, fact)| vote(*spot, fact)).collect()
    }

    /// Votes on a task whose date too few have witnessed: whose, for what, how many others have seen it, how many must.
    // spec: LED-10
    pub(crate) fn unseen(&self, task: &TaskId) -> impl Iterator<Item = (UserKey, Importance, usize, usize)> {
        let this = *self;
        let said = self.ledger.facts().ballots().votes_on(task);
        said.filter_map(move |((author, seq), fact)| {
            let user = this.user_of(author)?;
            if this.date(author, *seq, fact.hlc).is_some() {
                return None;
            }
            let needed =
                crate::ledger::witnesses_needed(this.ledger.governance().members_at(author, fact.hlc));
            let witnesses = this.ledger.witnesses(author, *seq);
            let others: BTreeSet<UserKey> =
                witnesses.keys().filter_map(|by| this.user_of(by)).filter(|by| *by != user).collect();
            Some((user, fact.importance, others.len(), needed))
        })
    }

    /// A task's ballot as this peer counts it.
    // spec: VOTE-8
    pub(crate) fn tally(&self, device: &PublicKey, task: &TaskId) -> Option<Counted> {
        let ballot = self.ballot(device, task)?;
        let votes = self.votes(task, |user| ballot.electorate.contains_key(user));
        Some(self.count(ballot, &votes))
    }

    /// Can a ballot decide anything? Where nobody but its submitter may vote, or fewer than the quorum, asking would
    /// only hold tasks up.
    // spec: VOTE-4
    pub(crate) fn can_decide(ballot: &Ballot<Importance>) -> bool {
        let others = ballot.electorate.keys().filter(|user| **user != ballot.asker).count();
        ballot.window_ms > 0 && others > 0 && others >= ballot.quorum
    }

    /// What is known of the importance of a device's task.
    pub(crate) fn voice(&self, device: &PublicKey, task: &TaskId, name: &str) -> Voice {
        self.heard(device, task, name).0
    }

    /// The same, with the ballot that says so, if one does.
    fn heard(&self, device: &PublicKey, task: &TaskId, name: &str) -> (Voice, Option<Counted>) {
        if self.is_health(device, task, name) {
            return (Voice::Health, None);
        }
        // Where the rules never knew ballots there is nothing to look for.
        let history = self.ledger.rules_history().iter().map(|(_, rules)| rules);
        if history.chain([self.rules()]).all(|rules| rules.voting_window_ms == 0) {
            return (Voice::NoBallot, None);
        }
        let counted = self.tally(device, task).filter(|(ballot, _)| Self::can_decide(ballot));
        let voice = match counted.as_ref().map(|(_, tally)| tally.state) {
            None => Voice::NoBallot,
            Some(State::Open) => Voice::Pending,
            Some(State::NoQuorum) => Voice::Silent,
            Some(State::Decided(level)) => Voice::Level(level),
        };
        (voice, counted)
    }

    /// What becomes of a device's task.
    pub(crate) fn course(&self, device: &PublicKey, task: &TaskId, name: &str, sla: Sla) -> Course {
        course(sla, self.voice(device, task, name))
    }

    // ---- rules ----

    /// A proposal's ballot as this peer counts it, under the rules in force when it opened.
    pub(crate) fn rules_tally(
        &self,
        terms: &Terms,
        (opened_ms, proposal): (u64, &EntryId),
        rules: &Rules,
    ) -> Option<Tally<bool>> {
        let ballots = self.ledger.facts().ballots();
        let said = ballots.proposals().get(proposal)?;
        let electorate = self.electorate(terms, rules, opened_ms);
        let asker = self.user_of(&said.author)?;
        let others = electorate.keys().filter(|user| **user != asker).count();
        let may: BTreeSet<UserKey> = electorate.keys().copied().collect();
        let ballot = Ballot {
            opened_ms,
            window_ms: rules.voting_window_ms,
            skew_ms: rules.max_skew_ms,
            consensus_percent: rules.consensus_percent,
            // A lone member may change the rules of a community of one.
            quorum: usize::from(rules.quorum).min(others),
            asker,
            electorate,
            fallback: false,
        };
        // Whoever proposes rules is for them, unless they say otherwise.
        let own = Vote { at: Hlc::at(opened_ms), entry: *proposal, user: asker, choice: true };
        let votes = ballots.rules_votes(proposal).filter_map(|((author, seq), (hlc, entry, yes))| {
            // Of nobody else's is it asked who has seen them.
            let user = self.user_of(author).filter(|user| may.contains(user))?;
            let at = self.date(author, *seq, *hlc)?;
            Some(Vote { at, entry: *entry, user, choice: *yes })
        });
        Some(self.count(ballot, &votes.chain([own]).collect::<Vec<_>>()).1)
    }

    /// Has a member, or anybody at all, a vote on rules that are proposed at a moment?
    // spec: VOTE-2
    pub(crate) fn has_vote(&self, user: Option<&UserKey>, terms: &Terms, opened_ms: u64) -> bool {
        let entitled = Self::entitled(terms, self.ledger.rules_at(opened_ms), opened_ms);
        user.map_or(!entitled.is_empty(), |user| entitled.contains(user))
    }

    /// Have as many voted on a proposal as it takes? What is left alone is not weighed, however much of it there is.
    fn has_voters(&self, terms: &Terms, (opened_ms, proposal): (u64, &EntryId), rules: &Rules) -> bool {
        let ballots = self.ledger.facts().ballots();
        let asker = ballots.proposals().get(proposal).and_then(|said| self.user_of(&said.author));
        let mut others = Self::entitled(terms, rules, opened_ms);
        others.retain(|user| Some(*user) != asker);
        let voters = ballots.rules_votes(proposal).filter_map(|((author, _), _)| self.user_of(author));
        let voters: BTreeSet<UserKey> = voters.filter(|user| others.contains(user)).collect();
        voters.len() >= usize::from(rules.quorum).min(others.len())
    }

    /// Proposals that count and when each opened, in that order. Those that nobody witnessed bind nobody, and of one
    /// member's too many the first count.
    // spec: VOTE-2
    pub(crate) fn proposals(&self) -> Vec<(u64, EntryId)> {
        let said = self.ledger.facts().ballots().proposals().iter();
        let dated = said.filter_map(|(id, it)| {
            Some((self.date(&it.author, it.seq, it.hlc)?.wall_ms(), *id, self.user_of(&it.author)?))
        });
        let mut list: Vec<(u64, EntryId, UserKey)> = dated.collect();
        list.sort_unstable();
        let mut lately: BTreeMap<UserKey, Vec<u64>> = BTreeMap::new();
        list.retain(|(opened, _, user)| {
            let theirs = lately.entry(*user).or_default();
            theirs.retain(|before| before.saturating_add(PROPOSALS_MS) > *opened);
            let counts = theirs.len() < MOST_PROPOSALS;
            if counts {
                theirs.push(*opened);
            }
            counts
        });
        list.into_iter().map(|(opened, id, _)| (opened, id)).collect()
    }

    /// May a device propose rules now, or has its user done so too often lately?
    // spec: VOTE-2
    pub(crate) fn may_propose(&self, device: &PublicKey) -> bool {
        let ballots = self.ledger.facts().ballots();
        let user = self.user_of(device);
        let lately = ballots.proposals().values().filter(|said| {
            let since = said.hlc.wall_ms().saturating_add(PROPOSALS_MS);
            since > self.now_ms && self.user_of(&said.author) == user
        });
        lately.count() < MOST_PROPOSALS && ballots.may_propose(device, self.now_ms)
    }

    // ---- health ----

    /// Does a task's name, or the sentence that its submitter flagged it by, mention public health; is its submitter
    /// believed, and is the flag not taken away?
    // spec: HEALTH-1, HEALTH-3
    pub(crate) fn is_health(&self, device: &PublicKey, task: &TaskId, name: &str) -> bool {
        let ballots = self.ledger.facts().ballots();
        let now = &self.rules().health_words;
        // Dating looks at all who have seen the log: not where the words were always these.
        let changed = self.ledger.rules_history().iter().any(|(_, rules)| rules.health_words != *now);
        let words = match ballots.submission(device, task).filter(|_| changed) {
            Some((seq, own, _)) => {
                &self.ledger.rules_at(self.date_or_own(device, seq, own).wall_ms()).health_words
            }
            None => now,
        };
        let flag = ballots.flag(device, task);
        let mentions = health::mention(name, words).is_some()
            || flag.is_some_and(|text| health::mention(text, words).is_some());
        mentions && self.dispute_upheld(device, task, u64::MAX).is_none() && self.is_believed(device)
    }

    /// Is a user taken at their word in matters of health?
    pub(crate) fn is_believed(&self, device: &PublicKey) -> bool {
        let Some(user) = self.user_of(device) else { return false };
        health::is_believed(&self.upheld_against(user, u64::MAX), self.now_ms)
    }

    /// When disputes of a user's flags were upheld, by what was said up to a moment.
    pub(crate) fn upheld_against(&self, user: UserKey, upto_ms: u64) -> Vec<u64> {
        let ballots = self.ledger.facts().ballots();
        let upheld = ballots.disputed().filter_map(|task| {
            let spots = ballots.submitters(task);
            let mut of_user = spots.filter(|(author, _)| self.user_of(author) == Some(user));
            of_user.find_map(|(author, _)| self.dispute_upheld(author, task, upto_ms))
        });
        upheld.collect()
    }

    /// When the members took a flag away, if they did by what was said up to a moment. Whoever votes a disputed task
    /// CRITICAL stands by it. The rules are those under which it was submitted, as for its ballot.
    // spec: HEALTH-3
    pub(crate) fn dispute_upheld(&self, device: &PublicKey, task: &TaskId, upto_ms: u64) -> Option<u64> {
        let ballots = self.ledger.facts().ballots();
        // Few are.
        ballots.disputes_of(task).next()?;
        let (seq, own, _) = ballots.submission(device, task)?;
        let since = self.date_or_own(device, seq, own).wall_ms();
        let (mut disputing, mut confirming) = (BTreeSet::new(), BTreeSet::new());
        let mut last = 0;
        // Not by weight: what members weigh may itself depend on disputes.
        let rules = self.ledger.rules_at(since);
        let mut entitled = Self::entitled(&self.terms(), rules, since);
        entitled.retain(|user| {
            self.left_ms(user).is_none_or(|left| left > since.saturating_add(health::DISPUTE_MS).min(upto_ms))
        });
        for ((author, seq), (hlc, _)) in ballots.disputes_of(task) {
            let Some(user) = self.user_of(author).filter(|user| entitled.contains(user)) else {
                continue;
            };
            let Some(at) = self.date(author, *seq, *hlc).map(Hlc::wall_ms) else { continue };
            let in_time = at <= since.saturating_add(health::DISPUTE_MS).min(upto_ms);
            if in_time && disputing.insert(user) {
                last = last.max(at);
            }
        }
        if disputing.is_empty() {
            return None;
        }
        for vote in self.votes(task, |user| entitled.contains(user)) {
            let said = vote.at.wall_ms() <= upto_ms;
            if said && vote.choice == Importance::Critical {
                confirming.insert(vote.user);
            }
        }
        health::is_upheld(&disputing, &confirming, rules.consensus_percent).then_some(last)
    }

    // ---- what a member did ----

    /// Contributions of a user that one who might record them then recorded, each with when.
    // spec: QUOTA-2
    pub(crate) fn contributions_of(
        &self,
        user: UserKey,
    ) -> impl Iterator<Item = (u64, &'a crate::ledger::ContributionFact)> {
        let this = *self;
        let all = self.ledger.facts().ballots().contributions().iter();
        // Of what is said by those who never might it is not asked who has seen it.
        let history = self.ledger.rules_history().iter().map(|(_, rules)| rules);
        let rules: Vec<&Rules> = history.chain([self.rules()]).collect();
        let by: BTreeSet<UserKey> = all.clone().filter_map(|((author, _), _)| self.user_of(author)).collect();
        let ever = |by: &UserKey| rules.iter().any(|rules| self.is_treasurer(*by, rules));
        let ever: BTreeSet<UserKey> = by.into_iter().filter(ever).collect();
        all.filter_map(move |((author, seq), said)| {
            let by = this.user_of(author).filter(|by| ever.contains(by))?;
            if this.ledger.governance().current(said.user) != user {
                return None;
            }
            let at_ms = this.date_or_own(author, *seq, said.hlc).wall_ms();
            this.is_treasurer(by, this.ledger.rules_at(at_ms)).then_some((at_ms, said))
        })
    }

    /// May a user record contributions by these rules?
    pub(crate) fn is_treasurer(&self, user: UserKey, rules: &Rules) -> bool {
        let governance = self.ledger.governance();
        match rules.treasurers.as_slice() {
            [] => governance.founder() == Some(user),
            named => named.iter().any(|named| governance.current(*named) == user),
        }
    }

    /// Others' tasks that a user's devices executed.
    // spec: PERM-6
    fn executed(&self, user: UserKey) -> u64 {
        self.earned(|by, whose| by == user && whose != user)
    }

    /// Tasks that devices of one user did for another, of those pairs that are wanted, and that earn them anything.
    // spec: PERM-6
    fn earned(&self, wanted: impl Fn(UserKey, UserKey) -> bool) -> u64 {
        let since = self.since();
        let done = self.ledger.facts().ballots().done(self.now_ms);
        let earned = done.filter_map(|(by, whose, dates)| {
            let (by, whose) = (self.user_of(by)?, self.user_of(whose)?);
            let earns = |(at_ms, _): &&(u64, u64)| !self.came_together(by, whose, *at_ms, &since);
            wanted(by, whose).then(|| dates.iter().filter(earns).count() as u64)
        });
        earned.sum()
    }

    /// Tasks on which a user has voted, each once, whichever of their devices said it.
    // spec: QUOTA-2
    fn votes_cast(&self, user: UserKey) -> u64 {
        let ballots = self.ledger.facts().ballots();
        let voted = self.devices_of(user).flat_map(|device| ballots.voted_by(device, self.now_ms));
        voted.collect::<BTreeSet<_>>().len() as u64
    }

    pub(crate) fn deeds(&self, user: UserKey) -> Deeds {
        let month = quota::month(self.now_ms);
        let money = self
            .contributions_of(user)
            .map(|(_, said)| said)
            .filter(|said| said.unit == "money" && said.month == month);
        let since = self.ledger.belongs_since(&user).map_or(u64::MAX, Hlc::wall_ms);
        Deeds {
            settled: since.saturating_add(self.rules().vote_after_ms) <= self.now_ms,
            cents: money.fold(0, |sum, said| sum.saturating_add(said.amount)),
            completed: self.earned(|by, whose| whose == user && by != user),
            executed: self.executed(user),
            votes: self.votes_cast(user),
            months: self.months(user, self.now_ms),
        }
    }

    /// A user's reputation at a moment, from 0 to 100, and what it is made of. Only what was said up to then counts in
    /// it, so that what members weighed when a ballot opened is never another number later.
    // spec: REP-1, VOTE-1
    pub(crate) fn reputation(&self, user: UserKey, at_ms: u64) -> (u64, Vec<(&'static str, i64)>) {
        reputation::sum(&self.record(user, at_ms), at_ms)
    }

    fn record(&self, user: UserKey, upto_ms: u64) -> reputation::Record {
        let mut record = reputation::Record {
            upheld: self.upheld_against(user, upto_ms),
            votes: self.votes_near(user, upto_ms),
            declared: self.declared_in_vain(user, upto_ms),
            ..reputation::Record::default()
        };
        for device in self.devices_of(user) {
            let mut of = self.conduct_of(device, upto_ms);
            record.executed.append(&mut of.executed);
            record.agreed.append(&mut of.agreed);
            record.stayed.append(&mut of.stayed);
            record.vanished.append(&mut of.vanished);
            record.failed.append(&mut of.failed);
            record.wrong.append(&mut of.wrong);
            record.implausible.append(&mut of.implausible);
            record.forks.append(&mut of.forks);
        }
        record
    }

    /// What a device did, as far as it proved anything at a moment.
    // spec: REP-1
    pub(crate) fn conduct_of(&self, device: &PublicKey, upto_ms: u64) -> reputation::Record {
        self.ledger.facts().dates(device, self.ledger.governance(), upto_ms, self.earns(device))
    }

    /// How many of a device's results in a row were right, up to as many as it takes to be believed.
    // spec: DEL-8
    pub(crate) fn streak(&self, device: &PublicKey) -> u64 {
        self.ledger.facts().streak(device, self.ledger.governance(), self.earns(device))
    }

    /// Does what a device did for a submitter, as of when, credit it? None where it proves nothing at all.
    // spec: REP-1, PERM-6
    fn earns(&self, device: &PublicKey) -> impl Fn(&PublicKey, u64) -> Option<bool> {
        let owner = self.user_of(device);
        let since = self.since();
        move |submitter, at_ms| {
            let (theirs, owner) = (self.user_of(submitter)?, owner?);
            (theirs != owner).then(|| !self.came_together(theirs, owner, at_ms, &since))
        }
    }

    /// Since when users belong: of few users, and asked for each of thousands of results.
    fn since(&self) -> impl Fn(UserKey) -> u64 {
        let found = RefCell::new(BTreeMap::new());
        move |user| {
            let find = || self.ledger.belonged_since(&user).map_or(u64::MAX, Hlc::wall_ms);
            *found.borrow_mut().entry(user).or_insert_with(find)
        }
    }

    /// Did one sponsor let both in so lately that they may be one?
    // spec: PERM-6
    fn came_together(&self, a: UserKey, b: UserKey, at_ms: u64, since: impl Fn(UserKey) -> u64) -> bool {
        let governance = self.ledger.governance();
        // Also of those who were put out since: what earned them nothing earns them nothing afterwards.
        let members = governance.members();
        let (Some(one), Some(other)) = (members.get(&a), members.get(&b)) else { return false };
        let new =
            |user: UserKey| since(user).saturating_add(self.ledger.rules_at(at_ms).vote_after_ms) > at_ms;
        !one.sponsors.is_disjoint(&other.sponsors) && new(a) && new(b)
    }

    /// The last word of each member on a task up to a moment, and when they said it.
    fn last_words(&self, task: &TaskId, upto_ms: u64) -> BTreeMap<UserKey, (Hlc, Importance)> {
        let mut last: BTreeMap<UserKey, (Hlc, Importance)> = BTreeMap::new();
        for vote in self.votes(task, |_| true).into_iter().filter(|vote| vote.at.wall_ms() <= upto_ms) {
            let said = last.entry(vote.user).or_insert((vote.at, vote.choice));
            if vote.at >= said.0 {
                *said = (vote.at, vote.choice);
            }
        }
        last
    }

    /// When a user voted near what the others said up to a moment. Not by weight: what members weigh may itself depend
    /// on this.
    // spec: REP-1
    fn votes_near(&self, user: UserKey, upto_ms: u64) -> Vec<u64> {
        let ballots = self.ledger.facts().ballots();
        let voted = self.devices_of(user).flat_map(|device| ballots.voted_by(device, u64::MAX));
        let tasks: BTreeSet<TaskId> = voted.copied().collect();
        let near = tasks.iter().filter_map(|task| {
            let mut last = self.last_words(task, upto_ms);
            let (at, own) = last.remove(&user)?;
            let others: Vec<u8> = last.values().map(|(_, level)| *level as u8).collect();
            reputation::is_near(own as u8, &others).then(|| at.wall_ms())
        });
        near.collect()
    }

    /// When a user declared a task CRITICAL that the members took for less, by what they said up to a moment.
    // spec: VOTE-7
    fn declared_in_vain(&self, user: UserKey, upto_ms: u64) -> Vec<u64> {
        let ballots = self.ledger.facts().ballots();
        let declared = self.devices_of(user).flat_map(|device| {
            let submitted =
                ballots.submitted_by(device, u64::MAX).map(move |(seq, own, task)| (device, seq, own, task));
            submitted.filter(|(.., task)| task.importance == Some(Importance::Critical))
        });
        let vain = declared.filter_map(|(device, seq, own, task)| {
            let mut last = self.last_words(&task.task, upto_ms);
            last.remove(&user);
            let critical = last.values().filter(|(_, level)| *level == Importance::Critical).count() as u64;
            let others = last.len() as u64 - critical;
            let opened = self.date_or_own(device, seq, own).wall_ms();
            let percent = self.ledger.rules_at(opened).consensus_percent;
            reputation::disagrees(critical, others, percent).then_some(opened)
        });
        vain.collect()
    }

    // ---- days ----

    /// The day that a user is in.
    // spec: QUOTA-3
    pub(crate) fn day_of(&self, user: UserKey, at_ms: u64) -> Span {
        let ballots = self.ledger.facts().ballots();
        let mut zones: Vec<(u64, String)> = self
            .devices_of(user)
            .flat_map(|device| ballots.zones(device))
            .map(|(hlc, zone)| (hlc.wall_ms(), zone.to_owned()))
            .collect();
        zones.sort();
        quota::day(&zones, at_ms)
    }

    /// What a device has used of a day before the place `upto` of its log, as of the witnessed days, up to `most`.
    // spec: QUOTA-4, LED-10
    pub(crate) fn used(&self, device: &PublicKey, day: Span, upto: u64, most: u64) -> (u64, u64) {
        let (mut used, mut health) = (0u64, 0u64);
        let ballots = self.ledger.facts().ballots();
        let skew_ms = self.ledger.rules_history().iter().map(|(_, rules)| rules.max_skew_ms).max();
        for (seq, hlc, task) in ballots.submitted_by(device, upto).rev() {
            if used >= most {
                break;
            }
            let (at, seen) = match self.dated(device, seq, hlc) {
                Ok(at) | Err(Some(at)) => (at.wall_ms(), true),
                Err(None) => (hlc.wall_ms(), false),
            };
            // Whoever has seen an entry has seen those before it: none of them is of a later date by more than that.
            if seen && at.saturating_add(skew_ms.unwrap_or_default()) < day.0 {
                break;
            }
            // Said again it is no other task.
            let first = ballots.submission(device, &task.task).is_some_and(|(first, ..)| first == seq);
            if first && at >= day.0 && at < day.1 {
                let replicas = u64::from(task.replicas.max(1));
                used += replicas;
                if self.is_health(device, &task.task, &task.name) {
                    health += replicas;
                }
            }
        }
        (used, health)
    }

    /// The thousandths of its user's quota that are a device's on a day. What a device had that was taken back on that
    /// day is free from the next one on.
    // spec: QUOTA-4
    pub(crate) fn share(&self, device: &PublicKey, day: Span) -> u16 {
        let gave_back =
            |(own, author, seq): Dated| self.date(&author, seq, own).is_some_and(|at| at.wall_ms() < day.0);
        self.ledger.governance().share(device, gave_back)
    }

    pub(crate) fn tier(&self, user: UserKey) -> Tier {
        quota::tier(&self.deeds(user))
    }

    /// May a device submit a task of this size at this place of its log, on its witnessed day?
    // spec: QUOTA-4
    pub(crate) fn within_quota(
        &self,
        device: &PublicKey,
        place: (u64, u64),
        wish: (u64, u64),
        replicas: u8,
        health: bool,
    ) -> Result<(), Reason> {
        let (upto, at_ms) = place;
        // What a tier gave when it was submitted, it gave.
        let rules = self.ledger.rules_at(at_ms);
        let governance = self.ledger.governance();
        let Some(known) = governance.device(device) else { return Err(Reason::NotAMember) };
        let share = Self { now_ms: at_ms, ..*self }.tier(known.user).share(rules);
        let day = self.day_of(known.user, at_ms);
        let allowed = quota::part(share.tasks, self.share(device, day));
        if allowed.is_none() {
            return Ok(());
        }
        let allows = |(used, spent), allowed| {
            let day = Day { used, health: spent, allowed };
            quota::allows(&day, &share, wish, replicas, health, rules.health_extra)
        };
        // Beyond that nothing is allowed any more, however much it is.
        let most = u64::from(share.tasks) + u64::from(rules.health_extra) + 1;
        let own = self.used(device, day, upto, most);
        allows(own, allowed)?;
        // Shares that were changed within the day sum up to more than one.
        let others = self.devices_of(known.user).filter(|other| *other != device);
        let all = others.map(|other| self.used(other, day, u64::MAX, most));
        let all = all.fold(own, |sum, more| (sum.0 + more.0, sum.1 + more.1));
        allows(all, quota::part(share.tasks, 1000))
    }
}

/// What a peer gone bad does: the same program with one check less. The first three are what cheaters want; the others are
/// bugs on purpose, to see that tests notice when a check is missing.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misbehaviour {
    /// It submits as much as it likes.
    SubmitsOverQuota,
    /// It says of every task that the members voted it CRITICAL.
    ClaimsCritical,
    /// It offers its tasks whatever energy they ask for.
    OffersOnAnyEnergy,
    /// It takes the result of an attempt that does not count any more.
    TakesStaleResults,
    /// It runs attempts that it has heard to be over.
    RunsFencedAttempts,
    /// It runs for whoever asks.
    SkipsTheGrantCheck,
    /// It counts what follows a fork.
    CountsForkedLogs,
    /// It runs tasks whoever has used up their day.
    SkipsTheQuotaCheck,
    /// It runs tasks on any energy.
    IgnoresEnergy,
    /// It believes a result whoever signed it.
    BelievesUnsignedResults,
    /// Grants hold for ever.
    IgnoresRevocations,
    /// It lets tasks run on when their lease has ended.
    ForgetsLeases,
    /// It counts votes as of the date that they claim.
    BelievesClaimedDates,
    /// It believes what submitters say was decided.
    BelievesClaimedTallies,
    /// It believes in sun by night.
    BelievesAnyEnergy,
    /// Tasks wait for votes and energy, whatever their deadline.
    ForgetsDeadlines,
    /// A second attempt has the first one's number.
    ReusesAttemptNumbers,
}

/// How long after ballots on rules were counted they are not counted again.
fn rules_later_ms(proposals: u64) -> u64 {
    RULES_LATER_MS.0.saturating_mul(proposals).min(RULES_LATER_MS.1)
}

impl Node {
    /// A device's energy as it says, as far as that can be true: what cannot is as good as unknown.
    // spec: REP-2
    pub(crate) fn energy_of(&self, device: &PublicKey) -> Option<EnergyClaim> {
        if *device == self.me {
            return self.config.energy;
        }
        let claim = self.ad_of(device)?.energy?;
        let place = self.ledger.facts().registered(device).and_then(|registered| registered.place);
        let evidence = Evidence { place, now_ms: self.now.wall_ms, ..Evidence::default() };
        let believed = doubt(&claim, &evidence).is_none() || self.has_bug(Misbehaviour::BelievesAnyEnergy);
        believed.then_some(claim)
    }

    /// From now on this peer misbehaves; to be said before [`Node::start`].
    #[doc(hidden)]
    pub fn misbehave(&mut self, how: Misbehaviour) {
        self.misbehaves = Some(how);
        self.ledger.ignore_forks(how == Misbehaviour::CountsForkedLogs);
    }

    pub(crate) fn has_bug(&self, how: Misbehaviour) -> bool {
        self.misbehaves == Some(how)
    }

    /// An entry that was written here or came from somebody may move the queue.
    pub(crate) fn said_here(&mut self, entry: &Entry) {
        let author = entry.header().author;
        match entry.payload() {
            Payload::Delegated { task, .. } | Payload::Failed { task, .. } | Payload::Cancelled { task } => {
                self.fence(author, *task);
            }
            Payload::Vetoed { task, attempt, .. } => {
                self.fence(author, *task);
                self.heard_veto(author, AttemptId { task: *task, attempt: *attempt });
            }
            Payload::Voted { task, .. } | Payload::HealthDisputed { task, .. } => {
                let header = entry.header();
                let ballots = self.ledger.facts().ballots();
                if ballots.has_counted(task, &(header.author, header.seq)) {
                    self.weigh_soon(*task, header.author);
                }
            }
            Payload::HealthFlagged { task, .. } => self.weigh_soon(*task, entry.header().author),
            // What was done, given or disputed before a ballot on rules opened weighs in it, however late it is heard.
            Payload::RulesProposed { .. }
            | Payload::RulesVoted { .. }
            | Payload::Contribution { .. }
            | Payload::Completed(_) => {
                self.count_rules_soon();
                // Whom to rely on may have changed.
                if let Payload::Completed(it) = entry.payload() {
                    if it.effect == Effect::Superseded {
                        self.relied_at = None;
                    }
                    if it.statement.executor == self.me {
                        let (task, attempt) = (it.statement.task, it.statement.attempt);
                        self.came_on_record(AttemptId { task, attempt });
                    }
                    self.fence(author, it.statement.task);
                }
            }
            Payload::Witnessed { tips } => {
                self.were_seen(tips.iter().map(|tip| tip.author).collect());
            }
            _ => {}
        }
        // All that came together is here by now, also what follows this entry.
        let reached = self.ledger.reached();
        if !reached.is_empty() {
            self.were_seen(reached);
        }
    }

    /// Something was said that may move a task. What others say moves it soon, and all that they say within that time at
    /// once: who has seen each vote is looked at whenever they are counted.
    // spec: VOTE-9
    fn weigh_soon(&mut self, task: TaskId, by: PublicKey) {
        match by == self.me {
            true => self.requeue(task),
            false => self.requeue_soon(task),
        }
        self.regard_attempts_soon();
        self.count_rules_soon();
    }

    fn requeue_soon(&mut self, task: TaskId) {
        if self.tasks.contains_key(&task) {
            self.arm_within(Timer::Ballot(task), BALLOT_SOON_MS);
        }
    }

    /// What is about to be given away goes by all that is known of its votes: what was to be counted soon is counted now.
    /// Did that change what it may run on?
    // spec: SLA-1, VOTE-6
    pub(crate) fn recounted(&mut self, id: TaskId) -> bool {
        let of = self.wire_of(id);
        if ![of, id].iter().any(|task| self.is_due_within(Timer::Ballot(*task), BALLOT_SOON_MS)) {
            return false;
        }
        let course = |node: &Self| node.tasks.get(&id).map(|task| task.course);
        let before = course(self);
        self.requeue(of);
        before != course(self)
    }

    /// Votes of those whose logs were seen count now; ballots open when one's own log was.
    // spec: LED-10
    fn were_seen(&mut self, authors: BTreeSet<PublicKey>) {
        self.count_rules_soon();
        let mut moved: BTreeSet<TaskId> = BTreeSet::new();
        if authors.contains(&self.me) {
            moved.extend(&self.open_ballots);
            moved.extend(self.running());
        }
        // Asked of the tasks that are open here: on how many others somebody votes is up to them.
        let ballots = self.ledger.facts().ballots();
        if authors.iter().any(|author| *author != self.me && ballots.votes(author)) {
            let voted = |task: &&TaskId| ballots.votes_on(task).any(|((by, _), _)| authors.contains(by));
            let waiting = self.waiting_by_age.iter().map(|(_, id)| id).chain(&self.open_ballots);
            let waiting = waiting.map(|id| self.wire_of(*id));
            let open: BTreeSet<TaskId> = waiting.chain(self.running()).collect();
            moved.extend(open.iter().filter(voted));
        }
        for task in moved {
            self.requeue_soon(task);
        }
        self.regard_attempts_soon();
    }

    /// What weighs in ballots on rules was said: they are counted again, but not for each such word.
    // spec: VOTE-2
    pub(crate) fn count_rules_soon(&mut self) {
        let proposals = self.ledger.facts().ballots().proposals().len() as u64;
        if proposals > 0 {
            self.arm_within(Timer::Rules, rules_later_ms(proposals).max(RULES_SOON_MS));
        }
    }

    /// A waiting task's course, and with it its place in the queue, is found anew.
    // spec: VOTE-6, VOTE-9
    pub(crate) fn requeue(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        let (spec, vetoed, before) = (task.spec(), task.is_eco(), task.course);
        let (key, id) = (id, task.wire(id));
        let circle = self.circle();
        let lies = self.misbehaves == Some(Misbehaviour::ClaimsCritical);
        let (voice, counted) = match lies {
            true => (Voice::Level(Importance::Critical), circle.tally(&self.me, &id)),
            false => circle.heard(&self.me, &id, &spec.name),
        };
        let mut closes = None;
        let course = match vetoed {
            true => course(Sla::Eco, Voice::NoBallot),
            false => course(spec.sla, voice),
        };
        let mut claim = None;
        if let Some((ballot, tally)) = counted {
            closes = Some(ballot.opened_ms.saturating_add(ballot.window_ms));
            let ballots = self.ledger.facts().ballots();
            let told = ballots.consensus(&self.me, &id).and_then(|(level, _)| level);
            let state = if lies { State::Decided(Importance::Critical) } else { tally.state };
            let importance = if let State::Decided(level) = state { Some(level) } else { None };
            // Dates that others witnessed later may have moved it.
            if told != importance && ballots.may_claim(&self.me, &id) {
                let votes = tally.votes.values().map(|(_, entry)| *entry).take(MAX_VOTES).collect();
                claim = Some(Payload::Consensus { task: id, importance, votes });
            }
        }
        match matches!(voice, Voice::Pending | Voice::Silent) {
            true => self.open_ballots.insert(key),
            false => self.open_ballots.remove(&key),
        };
        if let Some(closes) = closes.filter(|closes| *closes > self.now.wall_ms) {
            let at = self.boot_of(closes);
            self.arm(Timer::Ballot(key), at);
        } else {
            self.disarm(Timer::Ballot(key));
        }
        if let Some(task) = self.tasks.get_mut(&key) {
            task.course = course;
            if before != course {
                // What kept it waiting may not any more.
                task.why.clear();
            }
        }
        self.sort_task(key);
        // What the members decided is said by whose task it is, and again where the count is another.
        if let Some(claim) = claim.filter(|_| key == id && self.can_say()) {
            self.say(claim, &[]);
        }
        if key == id {
            self.requeue_twins(id);
        }
        if before != course {
            self.tell_task(id);
            self.place_soon();
            self.regard_attempts_soon();
        }
    }

    /// Is there anything left of the day's quota for an offered task, by this donor's own count? Its place in the
    /// submitter's log decides, so every donor counts alike.
    // spec: QUOTA-4
    pub(crate) fn quota_left(&self, owner: PublicKey, id: TaskId, spec: &TaskSpec) -> Result<(), Reason> {
        let circle = self.circle();
        if self.has_bug(Misbehaviour::SkipsTheQuotaCheck) {
            return Ok(());
        }
        // What was never submitted in the ledger counts for nothing and is nobody's.
        let Some((seq, own, said)) = self.ledger.facts().ballots().submission(&owner, &id) else {
            return Err(Reason::LogBehind);
        };
        if circle.is_dated_back(&self.me, &owner, seq, own) {
            return Err(Reason::Unwitnessed);
        }
        // By what was submitted it is counted, and by what is signed it is run.
        if said.replicas != spec.replicas {
            return Err(Reason::Inadmissible("it is signed for other replicas than were submitted".into()));
        }
        if self.is_spent(owner, id, spec) {
            return Err(Reason::OverQuota);
        }
        // As long as too few have seen it, it is of the day on which somebody had.
        let at = circle.dated(&owner, seq, own).unwrap_or_else(|so_far| so_far.unwrap_or(own)).wall_ms();
        let wish = (spec.limits.duration_ms, spec.limits.memory_bytes);
        let health = circle.is_health(&owner, &id, &spec.name);
        circle.within_quota(&owner, (seq, at), wish, said.replicas, health)
    }

    /// Have a task's attempts run for as long as one submission pays for, by what is on record and by the results that are
    /// here and that nobody has recorded yet? Nothing changes that.
    // spec: QUOTA-4
    pub(crate) fn is_spent(&self, owner: PublicKey, id: TaskId, spec: &TaskSpec) -> bool {
        let times = u64::from(self.ledger.governance().rules().max_attempts).saturating_mul(RUNS);
        let longest_ms = spec.limits.duration_ms;
        let most = longest_ms.saturating_mul(u64::from(spec.replicas.max(1))).saturating_mul(times);
        let ran = self.ledger.facts().tasks().ran_ms(&(owner, id), longest_ms);
        ran.saturating_add(self.unrecorded_ms(owner, id, longest_ms)) >= most
    }

    /// Was none of its user's quota shared out to this device?
    // spec: QUOTA-4
    pub(crate) fn has_no_share(&self) -> bool {
        let circle = self.circle();
        let day = self.my_user().map(|user| circle.day_of(user, self.now.wall_ms));
        day.is_some_and(|day| circle.share(&self.me, day) == 0)
    }

    /// May this device submit such a task now?
    // spec: QUOTA-4
    pub(crate) fn may_submit(&self, spec: &TaskSpec, replicas: u8, health: bool) -> Result<(), Reason> {
        if self.misbehaves == Some(Misbehaviour::SubmitsOverQuota) {
            return Ok(());
        }
        let wish = (spec.limits.duration_ms, spec.limits.memory_bytes);
        // Those that could not be announced yet will be.
        let drafts = self
            .waiting_by_age
            .iter()
            .filter(|(_, id)| self.tasks.get(id).is_some_and(|task| !task.is_announced()));
        let drafts = u8::try_from(drafts.count()).unwrap_or(u8::MAX);
        let place = (u64::MAX, self.now.wall_ms);
        self.circle().within_quota(&self.me, place, wish, replicas.saturating_add(drafts), health)
    }

    /// Does the submitter claim another result of a ballot than this peer counts?
    // spec: VOTE-8
    pub(crate) fn is_disputed(&self, owner: &PublicKey, id: &TaskId) -> bool {
        let claimed = self.ledger.facts().ballots().consensus(owner, id).and_then(|(level, _)| level);
        let Some(claimed) = claimed else { return false };
        if self.has_bug(Misbehaviour::BelievesClaimedTallies) {
            return false;
        }
        self.circle().tally(owner, id).is_some_and(|(_, tally)| tally.decision() != Some(claimed))
    }

    /// How far each peer that is there can be relied on is found anew, where it may have changed.
    // spec: REP-1
    pub(crate) fn rely(&mut self) {
        let now = self.now.boot_ms;
        if self.relied_at.is_some_and(|at| now < at.saturating_add(RELY_MS)) {
            return;
        }
        self.relied_at = Some(now);
        let there = self.peers.iter().filter(|(_, peer)| peer.connected && peer.member);
        let circle = self.circle();
        let found = there.map(|(device, _)| {
            (*device, reputation::reliable(&circle.conduct_of(device, u64::MAX), self.now.wall_ms))
        });
        self.reliable = found.collect();
    }

    /// What is known of tasks of a name is found anew, where it may have changed.
    // spec: REP-3
    pub(crate) fn learn(&mut self, name: &str) {
        let now = self.now.boot_ms;
        if self.learnt.get(name).is_some_and(|learnt| now < learnt.at_ms.saturating_add(RELY_MS)) {
            return;
        }
        if self.learnt.len() >= MOST_NAMES {
            self.learnt.clear();
        }
        let past = self.ledger.facts().past(name);
        let (profile, usual_mj) = (profile::learn(&past), profile::usual_mj(&past));
        self.learnt.insert(name.to_owned(), Learnt { at_ms: now, profile, usual_mj });
    }

    /// What the network knows of tasks of this name.
    // spec: REP-3
    pub(crate) fn profile(&self, name: &str) -> Option<&Profile> {
        self.learnt.get(name).and_then(|learnt| learnt.profile.as_ref())
    }

    /// What the task of this name in the middle used, in millijoule, however few there were.
    pub(crate) fn usual_mj(&self, name: &str) -> Option<u64> {
        self.learnt.get(name).and_then(|learnt| learnt.usual_mj)
    }

    /// What others' experience with a task of this name suggests, if its submitter could do better.
    // spec: REP-3
    pub(crate) fn advice(&self, spec: &TaskSpec) -> Option<String> {
        let profile = self.profile(&spec.name)?;
        profile.is_safe_to_defer(spec.sla, spec.importance).then(|| {
            format!(
                "often safe to defer: {} of the last {} tasks called {} could wait; `--sla eco` lets it wait for clean energy",
                profile.could_wait, profile.runs, spec.name
            )
        })
    }

    /// The course by its submitter's word: a bug on purpose.
    pub(crate) fn claimed_course(&self, owner: &PublicKey, id: &TaskId, sla: Sla) -> Option<Course> {
        if !self.has_bug(Misbehaviour::BelievesClaimedTallies) {
            return None;
        }
        let (level, _) = self.ledger.facts().ballots().consensus(owner, id)?;
        Some(course(sla, Voice::Level(level?)))
    }

    /// The community as this peer's ledger shows it now.
    pub(crate) fn circle(&self) -> Community<'_> {
        Community { ledger: &self.ledger, now_ms: self.now.wall_ms, misbehaves: self.misbehaves }
    }

    /// Takes the rules into force that the members decided on.
    // spec: VOTE-2, LED-3
    pub(crate) fn adopt_rules(&mut self) {
        let mut news = false;
        // What was decided under which rules depends on those adopted before. Each turn gets one more of them right.
        for _ in 0..=self.ledger.facts().ballots().proposals().len() {
            let (history, next) = self.adopted();
            if let Some(closes) = next {
                let proposals = self.ledger.facts().ballots().proposals().len() as u64;
                let at = self.boot_of(closes).max(self.now.boot_ms + rules_later_ms(proposals));
                self.arm(Timer::Rules, at);
            }
            let settled = self.ledger.rules_history() == history;
            news |= self.ledger.adopt(history);
            if settled {
                break;
            }
        }
        if news {
            self.standings_changed();
            self.permissions_changed();
        }
    }

    /// The rules that the members decided on, each with since when, by those known so far; and when the next of the open
    /// ballots on rules closes.
    fn adopted(&self) -> (Vec<(u64, Rules)>, Option<u64>) {
        let first = self.ledger.governance().state().rules.clone();
        let sponsors = first.sponsors;
        let mut history: Vec<(u64, Rules)> = vec![(0, first)];
        let (mut next, mut decided) = (None, Vec::new());
        let circle = self.circle();
        let proposals = circle.proposals();
        let terms = if proposals.is_empty() { Terms::new() } else { circle.terms() };
        for (opened, id) in proposals {
            let in_force = |at_ms: u64| history.iter().rev().find(|(from, _)| *from <= at_ms);
            let Some((_, rules)) = in_force(opened) else { continue };
            let closes = opened.saturating_add(rules.voting_window_ms);
            // Votes are dated by the rules in force before them: none that counts may be dated by what it decides.
            let settled = closes.saturating_add(rules.max_skew_ms);
            if settled > self.now.wall_ms {
                next = next.into_iter().chain([settled]).min();
            }
            if !circle.has_voters(&terms, (opened, &id), rules) {
                continue;
            }
            let Some(tally) = circle.rules_tally(&terms, (opened, &id), rules) else { continue };
            let decided_ms = tally.decided_ms.map(|at| if at == closes { settled } else { at });
            let (Some(true), Some(from)) = (tally.decision(), decided_ms) else { continue };
            // Somebody's clock may be ahead.
            if from > self.now.wall_ms {
                next = next.into_iter().chain([from]).min();
                continue;
            }
            if let Some(said) = self.ledger.facts().ballots().proposals().get(&id) {
                let base = in_force(said.written_ms(opened)).map_or(rules, |(_, rules)| rules);
                // Who is in is folded by the founding's rules, from which on nothing but members' words changes it.
                decided.push((
                    from,
                    Rules { sponsors, ..base.clone() },
                    Rules { sponsors, ..said.rules.clone() },
                ));
                decided.sort_by_key(|(from, ..)| *from);
                history.truncate(1);
                for (from, base, proposed) in &decided {
                    let now = history.last().map_or(base, |(_, rules)| rules);
                    let rules = proposed.applied(base, now);
                    history.push((*from, rules));
                }
            }
        }
        (history, next)
    }
}
