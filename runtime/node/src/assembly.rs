//! What a person says and hears of the community's own affairs: votes, quotas, contributions, reputation, rules.
// spec: VOTE-1, VOTE-3, QUOTA-4, REP-1, HEALTH-3

use crate::command::{Answer, CommandError, ErrorKind};
use crate::community::{Community, Terms};
use crate::ledger::{MOST_PROPOSALS, MOST_WORDS};
use crate::names;
use crate::node::{Node, error};
use mesh_policies::importance::Voice;
use mesh_policies::quota::{self, Next, Tier};
use mesh_policies::votes::{Ballot, State};
use mesh_protocol::ids::{EntryId, TaskId};
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::ledger::{Hlc, Payload};
use mesh_protocol::rules::Rules;
use mesh_protocol::task::Importance;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Most that one entry says was given, since a slip of the finger stands there for good: a million of money, and what a
/// month has of minutes.
const MOST_CENTS: u64 = 100_000_000;
const MOST_MINUTES: u64 = 31 * 24 * 60;
/// Ballots told at once, the newest: nobody reads more.
const MAX_BALLOTS: usize = 200;
/// What helps where votes have not begun.
const FIRST_VOTES: &str = "votes start some time after admission: `vote_after_ms` in `mesh community rules`";

/// A task's ballot as this peer counts it.
#[derive(Debug, Clone, Serialize)]
pub struct BallotView {
    /// Which task.
    pub task: TaskId,
    /// Its name.
    pub name: String,
    /// Whose.
    pub user: String,
    /// `open`, `waits for voters`, `decided`, or `none` where nobody need be asked.
    pub state: &'static str,
    /// What was decided; CRITICAL without a vote where it is a matter of public health.
    pub importance: Option<Importance>,
    /// Percent of the weight cast that the strongest level has.
    pub percent: Option<u64>,
    /// The same in words.
    pub confidence: Option<String>,
    /// Weight for each level.
    pub weights: Vec<(Importance, u64)>,
    /// The votes that count.
    pub votes: Vec<VoteView>,
    /// Votes that count once enough others have seen them.
    pub unseen: Vec<UnseenVote>,
    /// When it opened, in milliseconds since 1970.
    pub opened_ms: u64,
    /// When its window closes.
    pub closes_ms: u64,
    /// When it was decided.
    pub decided_ms: Option<u64>,
    /// What its submitter says was decided, where that is not what this peer counts.
    pub disputed_claim: Option<Importance>,
    /// Votes that its submitter left out.
    pub left_out: Vec<EntryId>,
    /// Is it a matter of public health?
    pub health: bool,
    /// Who says that it is none, and why.
    pub disputes: Vec<(String, String)>,
    /// Did the members uphold that?
    pub dispute_upheld: bool,
}

/// A vote.
#[derive(Debug, Clone, Serialize)]
pub struct VoteView {
    /// Whose.
    pub user: String,
    /// For what.
    pub importance: Importance,
    /// Why.
    pub comment: String,
}

/// A vote that does not count yet, since its date is only its author's word so far.
// spec: LED-10
#[derive(Debug, Clone, Serialize)]
pub struct UnseenVote {
    /// Whose.
    pub user: String,
    /// For what.
    pub importance: Importance,
    /// Other members who said that they have seen it.
    pub seen_by: usize,
    /// How many must.
    pub needed: usize,
}

/// What a member may ask of others, and how much of it is left.
#[derive(Debug, Clone, Serialize)]
pub struct QuotaView {
    /// Whose, by name and the beginning of the key.
    pub user: String,
    /// Their tier.
    pub tier: Tier,
    /// Tasks a day on this device; none for no limit.
    pub allowed: Option<u64>,
    /// Tasks submitted on this device today, as far as they count against the quota.
    pub used: u64,
    /// Tasks of public health submitted on this device today beyond the quota, which do not.
    pub health: u64,
    /// Tasks left today; none for no limit.
    pub left: Option<u64>,
    /// Tasks of public health left today; none for no limit.
    pub left_for_health: Option<u64>,
    /// Thousandths of the member's quota that this device has.
    pub share: u16,
    /// Milliseconds of the longest task.
    pub longest_ms: u64,
    /// Bytes of memory of the largest task.
    pub memory_bytes: u64,
    /// When the next day begins, in milliseconds since 1970.
    pub resets_ms: u64,
    /// What is missing for the next tier.
    pub next: Option<Next>,
}

/// A member's reputation and what it is made of.
#[derive(Debug, Clone, Serialize)]
pub struct ReputationView {
    /// Whose, by name and the beginning of the key.
    pub user: String,
    /// From 0 to 100.
    pub sum: u64,
    /// Its terms.
    pub terms: Vec<(&'static str, i64)>,
}

/// Rules that somebody proposed.
#[derive(Debug, Clone, Serialize)]
pub struct ProposalView {
    /// The entry that proposes them.
    pub proposal: EntryId,
    /// By whom.
    pub user: String,
    /// Why.
    pub why: String,
    /// `not witnessed yet`, `one too many of its member`, `open`, `waits for voters`, `adopted` or `rejected`.
    pub state: &'static str,
    /// Weight for and against.
    pub weights: (u64, u64),
    /// The rules that would be in force, were it adopted now.
    pub rules: Rules,
}

/// The ballot counts no more words of this device.
// spec: VOTE-1, VOTE-2
fn spoken_enough(what: &str) -> CommandError {
    error(
        ErrorKind::Conflict,
        format!("{what}: of one device {MOST_WORDS} votes on one ballot count, and they are cast"),
        Some("the last of them stands"),
    )
}

impl Node {
    /// A task of anybody in the community, and the devices whose logs say that it is theirs. An id holds its
    /// submitter's key, and nothing that an entry has shows it, so that anybody can write down another's: what is said
    /// of a task is said of its id, each such log's ballot is counted apart, and nobody's copy hides the original.
    fn find_submitted(&self, text: &str) -> Result<(Vec<PublicKey>, TaskId), CommandError> {
        let ballots = self.ledger.facts().ballots();
        let all = ballots.submissions().map(|(_, (_, task))| task);
        let found: BTreeMap<TaskId, String> = all
            .filter(|task| names::is_meant(&task.task, &task.name, text))
            .map(|task| (task.task, task.name.clone()))
            .collect();
        let found: Vec<(TaskId, String)> = found.into_iter().collect();
        let task = names::one(&found, "task", text, "`mesh ballots` lists them")?;
        Ok((self.claimants(&task), task))
    }

    /// The devices whose logs say that a task is theirs, the likeliest first: the one whose signature this peer has
    /// seen, then whom most of those saw first who claim nothing themselves, by the ledger alone.
    fn claimants(&self, task: &TaskId) -> Vec<PublicKey> {
        let mut spots: Vec<(PublicKey, u64)> =
            self.ledger.facts().ballots().submitters(task).copied().collect();
        spots.dedup_by_key(|(author, _)| *author);
        if spots.len() > 1 {
            let known = self.known_submitter(task);
            let first = self.seen_first(&spots);
            let seen_by = |author: &PublicKey| first.values().filter(|it| *it == author).count();
            spots.sort_by_cached_key(|(author, _)| {
                (known != Some(*author), std::cmp::Reverse(seen_by(author)), *author)
            });
        }
        spots.into_iter().map(|(author, _)| author).collect()
    }

    /// Who signed a task that this device owns or was offered.
    fn known_submitter(&self, task: &TaskId) -> Option<PublicKey> {
        let own = self.tasks.get(task).map(|task| task.spec().submitter);
        own.or_else(|| {
            let mut offered = self.attempts.iter().filter(|(id, _)| id.task == *task);
            offered.next().map(|(_, attempt)| attempt.spec().submitter)
        })
    }

    /// By member, which of these entries they saw first, as they said themselves; without those who wrote one.
    // spec: LED-10
    fn seen_first(&self, spots: &[(PublicKey, u64)]) -> BTreeMap<UserKey, PublicKey> {
        let governance = self.ledger.governance();
        let authors: BTreeSet<UserKey> =
            spots.iter().filter_map(|(author, _)| governance.device(author).map(|it| it.user)).collect();
        let mut first: BTreeMap<UserKey, (Hlc, PublicKey)> = BTreeMap::new();
        for (author, seq) in spots {
            for (witness, at) in self.ledger.witnesses(author, *seq) {
                let Some(user) = governance.owner(&witness).filter(|user| !authors.contains(user)) else {
                    continue;
                };
                let saw = first.entry(user).or_insert((at, *author));
                *saw = (*saw).min((at, *author));
            }
        }
        first.into_iter().map(|(user, (_, author))| (user, author)).collect()
    }

    fn checked(&self, what: &str, payload: Payload) -> Result<Payload, CommandError> {
        payload.check().map_err(|why| error(ErrorKind::Invalid, format!("{what}: {why}"), None))?;
        Ok(payload)
    }

    // spec: VOTE-1
    pub(crate) fn vote(
        &mut self,
        text: &str,
        importance: Importance,
        comment: String,
    ) -> Result<Answer, CommandError> {
        self.ready_to_say()?;
        let (authors, task) = self.find_submitted(text)?;
        let mut refused = None;
        let open = authors.iter().any(|author| match self.may_vote(author, &task, importance) {
            Ok(()) => true,
            Err(failed) => {
                refused.get_or_insert(failed);
                false
            }
        });
        if let Some(refused) = refused.filter(|_| !open) {
            return Err(refused);
        }
        if !self.ledger.facts().ballots().may_vote(&self.me, &task) {
            return Err(spoken_enough("vote"));
        }
        let payload = self.checked("vote", Payload::Voted { task, importance, comment })?;
        let entry = self.write(payload, &[])?.id;
        Ok(Answer::About { entry, about: self.task_shown(&authors, &task) })
    }

    /// A task of anybody's, by its name and id, and whose it is.
    fn task_shown(&self, authors: &[PublicKey], task: &TaskId) -> String {
        let Some(author) = authors.first() else { return names::with_key("", task) };
        let of = self.ledger.governance().owner(author).map(|user| format!(" of {}", self.user_shown(&user)));
        format!("{}{}", names::with_key(&self.name_of(author, task), task), of.unwrap_or_default())
    }

    fn may_vote(
        &self,
        author: &PublicKey,
        task: &TaskId,
        importance: Importance,
    ) -> Result<(), CommandError> {
        let circle = self.circle();
        let (Some((ballot, tally)), Some(me)) = (circle.tally(author, task), self.my_user()) else {
            return Ok(());
        };
        if !ballot.electorate.contains_key(&me) {
            return Err(error(
                ErrorKind::Forbidden,
                "vote: you had no vote yet when this ballot opened",
                Some(FIRST_VOTES),
            ));
        }
        let late = matches!(tally.state, State::Decided(_))
            && (tally.votes.contains_key(&me)
                || self.now.wall_ms > ballot.opened_ms.saturating_add(ballot.window_ms));
        // A flag of health can still be stood by.
        let flagged = circle.ledger.facts().ballots().disputes_of(task).next().is_some();
        match late && !(flagged && importance == Importance::Critical) {
            true => Err(error(
                ErrorKind::Conflict,
                "vote: the ballot is closed",
                Some("`mesh ballots` shows what was decided"),
            )),
            false => Ok(()),
        }
    }

    // spec: HEALTH-3
    pub(crate) fn dispute(&mut self, text: &str, why: String) -> Result<Answer, CommandError> {
        self.ready_to_say()?;
        let (authors, task) = self.find_submitted(text)?;
        let is_health = |author| self.circle().is_health(author, &task, &self.name_of(author, &task));
        if !authors.iter().any(is_health) {
            return Err(error(
                ErrorKind::Conflict,
                "dispute: that task is not taken for a matter of public health",
                Some("its importance is voted on with `mesh vote`"),
            ));
        }
        let payload = self.checked("dispute", Payload::HealthDisputed { task, why })?;
        let entry = self.write(payload, &[])?.id;
        Ok(Answer::About { entry, about: self.task_shown(&authors, &task) })
    }

    fn name_of(&self, author: &PublicKey, task: &TaskId) -> String {
        let known = self.ledger.facts().ballots().submission(author, task);
        known.map(|(_, _, task)| task.name.clone()).unwrap_or_default()
    }

    // spec: QUOTA-2
    pub(crate) fn contribute(
        &mut self,
        user: &str,
        unit: String,
        amount: u64,
        month: Option<u32>,
    ) -> Result<Answer, CommandError> {
        self.ready_to_say()?;
        let user = self.find_user(user)?;
        if !self.my_user().is_some_and(|me| self.circle().is_treasurer(me, self.ledger.governance().rules()))
        {
            return Err(error(
                ErrorKind::Forbidden,
                "record a contribution: only a treasurer may",
                Some("`mesh community rules` names the treasurers; if it names none, the founder is one"),
            ));
        }
        if !matches!(unit.as_str(), "money" | "hours") || amount == 0 {
            return Err(error(
                ErrorKind::Invalid,
                format!(
                    "record a contribution of {amount} {unit}: it is of money, in cents, or of hours, in minutes"
                ),
                None,
            ));
        }
        let most = if unit == "money" { MOST_CENTS } else { MOST_MINUTES };
        if amount > most {
            return Err(error(
                ErrorKind::Invalid,
                format!("record a contribution of {amount} {unit}: {most} is the most that one entry says"),
                Some("money is given in cents and time in minutes; check the number"),
            ));
        }
        let month = month.unwrap_or_else(|| quota::month(self.now.wall_ms));
        // In the Pacific a month begins fourteen hours earlier.
        if month > quota::month(self.now.wall_ms.saturating_add(14 * 3_600_000)) {
            return Err(error(
                ErrorKind::Invalid,
                format!("record a contribution for the month {month}: it has not begun"),
                Some("write it as 202611, and record it when it was made"),
            ));
        }
        let payload =
            self.checked("record a contribution", Payload::Contribution { user, unit, amount, month })?;
        let entry = self.write(payload, &[])?.id;
        Ok(Answer::About { entry, about: self.user_shown(&user) })
    }

    // spec: QUOTA-3
    pub(crate) fn set_zone(&mut self, zone: String) -> Result<Answer, CommandError> {
        self.ready_to_say()?;
        if !quota::is_zone(&zone) {
            return Err(error(
                ErrorKind::Invalid,
                format!("set the time zone {zone:?}: there is none of that name"),
                Some("names are those of the time zone database, such as Europe/Berlin"),
            ));
        }
        if !self.ledger.facts().ballots().may_set_zone(&self.me, self.now.wall_ms) {
            return Err(error(
                ErrorKind::Conflict,
                format!(
                    "set the time zone: {MOST_PROPOSALS} in 30 days count, and this device has set as many"
                ),
                Some("days stay as they are until the first of them is 30 days old; 256 count for good"),
            ));
        }
        let payload = self.checked("set the time zone", Payload::ZoneSet { zone })?;
        Ok(Answer::Entry(self.write(payload, &[])?.id))
    }

    // spec: VOTE-2
    pub(crate) fn propose(&mut self, rules: Rules, why: String) -> Result<Answer, CommandError> {
        self.ready_to_say()?;
        rules.check().map_err(|why| error(ErrorKind::Invalid, why.to_string(), None))?;
        if rules == *self.ledger.governance().rules() {
            return Err(error(ErrorKind::Conflict, "propose rules: these are in force already", None));
        }
        if rules.sponsors != self.ledger.governance().rules().sponsors {
            return Err(error(
                ErrorKind::Invalid,
                "propose rules: how many sponsors a newcomer needs is settled when a community is founded",
                Some("leave sponsors as it is"),
            ));
        }
        if !self.circle().may_propose(&self.me) {
            return Err(error(
                ErrorKind::Conflict,
                format!(
                    "propose rules: of one member {MOST_PROPOSALS} in 30 days count, and yours are proposed"
                ),
                Some("have another member propose them, or wait"),
            ));
        }
        let circle = self.circle();
        if !circle.has_vote(None, &circle.terms(), self.now.wall_ms) {
            return Err(error(
                ErrorKind::Conflict,
                "propose rules: nobody has a vote yet, so they could only be rejected",
                Some(FIRST_VOTES),
            ));
        }
        let payload =
            self.checked("propose rules", Payload::RulesProposed { rules: Box::new(rules), why })?;
        Ok(Answer::Entry(self.write(payload, &[])?.id))
    }

    // spec: VOTE-2
    pub(crate) fn vote_rules(&mut self, text: &str, yes: bool) -> Result<Answer, CommandError> {
        self.ready_to_say()?;
        let proposals = self.ledger.facts().ballots().proposals();
        let found: Vec<EntryId> = proposals
            .keys()
            .filter(|id| text.len() >= 2 && id.to_string().starts_with(text))
            .copied()
            .collect();
        match found.as_slice() {
            [proposal] => {
                if !self.ledger.facts().ballots().may_vote_rules(&self.me, proposal) {
                    return Err(spoken_enough(&format!("vote on the rules {text:?}")));
                }
                let circle = self.circle();
                let terms = circle.terms();
                let opened = circle.proposals().into_iter().find(|(_, id)| id == proposal);
                if let Some(decided) = opened.and_then(|opened| self.proposal_decided(&terms, opened)) {
                    return Err(error(
                        ErrorKind::Conflict,
                        format!("vote on the rules {text:?}: they are {decided} already"),
                        Some("`mesh community proposals` shows what became of them"),
                    ));
                }
                let may = |(at, _)| circle.has_vote(self.my_user().as_ref(), &terms, at);
                if !opened.is_none_or(may) {
                    return Err(error(
                        ErrorKind::Forbidden,
                        format!("vote on the rules {text:?}: you had no vote yet when they were proposed"),
                        Some(FIRST_VOTES),
                    ));
                }
                let payload = Payload::RulesVoted { proposal: *proposal, yes };
                Ok(Answer::Entry(self.write(payload, &[])?.id))
            }
            [] => Err(error(
                ErrorKind::NotFound,
                format!("vote on the rules {text:?}: nobody has proposed them"),
                Some("`mesh community proposals` lists what was proposed"),
            )),
            _ => Err(error(
                ErrorKind::Ambiguous,
                format!("vote on the rules {text:?}: that begins more than one proposal"),
                Some("give more of its id"),
            )),
        }
    }

    // ---- questions ----

    /// The newest ballots.
    pub(crate) fn ballot_views(&self) -> Vec<BallotView> {
        let ballots = self.ledger.facts().ballots();
        let mut newest: Vec<_> =
            ballots.submissions().map(|((author, _), (hlc, task))| (*hlc, *author, task.task)).collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        newest.dedup_by_key(|(_, author, task)| (*author, *task));
        newest.truncate(MAX_BALLOTS);
        newest.iter().filter_map(|(_, author, task)| self.ballot_view(author, task)).collect()
    }

    /// One ballot.
    pub(crate) fn ballot_of(&self, text: &str) -> Result<Answer, CommandError> {
        let (authors, task) = self.find_submitted(text)?;
        let views = authors.iter().filter_map(|author| self.ballot_view(author, &task));
        Ok(Answer::Ballots(views.collect()))
    }

    fn ballot_view(&self, author: &PublicKey, task: &TaskId) -> Option<BallotView> {
        let circle = self.circle();
        let ballots = self.ledger.facts().ballots();
        let (_, _, submitted) = ballots.submission(author, task)?;
        let (ballot, tally) = circle.tally(author, task)?;
        let comments = |entry: &EntryId| {
            let said = ballots.votes_on(task).find(|(_, vote)| vote.entry == *entry);
            said.map(|(_, vote)| vote.comment.clone()).unwrap_or_default()
        };
        let votes = tally.votes.iter().map(|(user, (importance, entry))| VoteView {
            user: self.user_name(user),
            importance: *importance,
            comment: comments(entry),
        });
        let state = match tally.state {
            State::Decided(_) => "decided",
            _ if !Community::can_decide(&ballot) => "none",
            State::Open => "open",
            State::NoQuorum => "waits for voters",
        };
        let percent = tally.share_permille().map(|permille| permille / 10);
        let confidence = percent.map(|percent| match tally.unanimous() {
            true => format!("very high: all {} agree", tally.votes.len()),
            false => format!("{percent} %"),
        });
        let claim = ballots.consensus(author, task);
        let disputed_claim =
            claim.and_then(|(level, _)| level).filter(|level| tally.decision() != Some(*level));
        // What its owner had not heard of yet was not kept back.
        let told = ballots.consensus_seq(author, task).unwrap_or(0);
        let knew = |entry: &EntryId| {
            let spot = ballots.votes_on(task).find(|(_, vote)| vote.entry == *entry);
            spot.is_some_and(|((by, seq), vote)| {
                let members = self.ledger.governance().members_at(by, vote.hlc);
                let needed = crate::ledger::witnesses_needed(members);
                let owner = |device: &PublicKey| circle.user_of(device);
                self.ledger.could_date(author, told, (by, *seq), needed, owner)
            })
        };
        let left_out = claim.map(|(_, listed)| {
            let counted = tally.votes.values().map(|(_, entry)| *entry);
            counted.filter(|entry| !listed.contains(entry) && knew(entry)).collect()
        });
        let health = circle.voice(author, task, &submitted.name) == Voice::Health;
        let disputes = ballots.disputes_of(task).map(|((by, _), (_, why))| {
            let user = circle.user_of(by).map_or_else(|| by.short(), |user| self.user_name(&user));
            (user, why.clone())
        });
        Some(BallotView {
            task: *task,
            name: submitted.name.clone(),
            user: self.user_name(&ballot.asker),
            state,
            // spec: HEALTH-1
            importance: if health { Some(Importance::Critical) } else { tally.decision() },
            percent,
            confidence,
            weights: tally.weights.iter().map(|(level, weight)| (*level, *weight)).collect(),
            votes: votes.collect(),
            unseen: self.unseen_votes(task, &ballot),
            opened_ms: ballot.opened_ms,
            closes_ms: ballot.opened_ms.saturating_add(ballot.window_ms),
            decided_ms: tally.decided_ms,
            disputed_claim,
            left_out: left_out.unwrap_or_default(),
            health,
            disputes: disputes.collect(),
            dispute_upheld: circle.dispute_upheld(author, task, u64::MAX).is_some(),
        })
    }

    // spec: LED-10
    fn unseen_votes(&self, task: &TaskId, ballot: &Ballot<Importance>) -> Vec<UnseenVote> {
        let circle = self.circle();
        let unseen = circle.unseen(task).filter(|unseen| ballot.electorate.contains_key(&unseen.0));
        let view = |(user, importance, seen_by, needed): (UserKey, Importance, usize, usize)| UnseenVote {
            user: self.user_name(&user),
            importance,
            seen_by,
            needed,
        };
        unseen.map(view).collect()
    }

    fn user_or_me(&self, text: Option<&str>) -> Result<UserKey, CommandError> {
        match text {
            Some(text) => self.find_user(text),
            None => self.my_user().ok_or_else(|| self.outside("show that")),
        }
    }

    // spec: QUOTA-4
    pub(crate) fn quota_view(&self, text: Option<&str>) -> Result<QuotaView, CommandError> {
        let user = self.user_or_me(text)?;
        let circle = self.circle();
        let governance = self.ledger.governance();
        let day = circle.day_of(user, self.now.wall_ms);
        // Of another member the first device is shown, which has the whole quota unless they shared it out.
        let of_user = || governance.devices().iter().filter(|(_, device)| device.user == user);
        let device = match self.my_user() == Some(user) {
            true => Some(self.me),
            false => of_user().max_by_key(|(key, _)| circle.share(key, day)).map(|(key, _)| *key),
        };
        let share = device.map_or(0, |device| circle.share(&device, day));
        let deeds = circle.deeds(user);
        let tier = circle.tier(user);
        let given = tier.share(governance.rules());
        let extra = governance.rules().health_extra;
        let own = device.map_or((0, 0), |device| circle.used(&device, day, u64::MAX, u64::MAX));
        let allowed = quota::part(given.tasks, share);
        // Shares that were changed within the day sum up to more than one, and all together have one quota.
        let together = of_user().map(|(device, _)| circle.used(device, day, u64::MAX, u64::MAX));
        let together = together.fold((0, 0), |sum: (u64, u64), more| (sum.0 + more.0, sum.1 + more.1));
        let left = |free: &dyn Fn((u64, u64)) -> u64| {
            let left = |used: (u64, u64), of: u64| (of + free(used)).saturating_sub(used.0);
            let whole = quota::part(given.tasks, 1000);
            Some(left(own, allowed?).min(left(together, whole?)))
        };
        let health = quota::beyond(own.1, extra);
        Ok(QuotaView {
            user: self.user_shown(&user),
            tier,
            allowed,
            used: own.0 - health,
            health,
            left: left(&|used| quota::beyond(used.1, extra)),
            left_for_health: left(&|_| u64::from(extra)),
            share,
            longest_ms: given.longest_ms,
            memory_bytes: given.memory_bytes,
            resets_ms: day.1,
            next: quota::next(&deeds),
        })
    }

    // spec: REP-1
    pub(crate) fn reputation_view(&self, text: Option<&str>) -> Result<ReputationView, CommandError> {
        // Also of somebody expelled: what they did still stands in everybody's ledger.
        let user = match text {
            Some(text) => self.find_user_ever(text)?,
            None => self.user_or_me(None)?,
        };
        let (sum, terms) = self.circle().reputation(user, self.now.wall_ms);
        Ok(ReputationView { user: self.user_shown(&user), sum, terms })
    }

    /// What was decided of proposed rules, if it was.
    fn proposal_decided(&self, terms: &Terms, (opened, id): (u64, EntryId)) -> Option<&'static str> {
        match self.circle().rules_tally(terms, (opened, &id), self.ledger.rules_at(opened))?.state {
            State::Decided(true) => Some("adopted"),
            State::Decided(false) => Some("rejected"),
            State::Open | State::NoQuorum => None,
        }
    }

    pub(crate) fn proposal_views(&self) -> Vec<ProposalView> {
        let circle = self.circle();
        let proposals = self.ledger.facts().ballots().proposals();
        let counted: BTreeMap<EntryId, u64> =
            circle.proposals().into_iter().map(|(opened, id)| (id, opened)).collect();
        let terms = circle.terms();
        let views = proposals.iter().map(|(id, said)| {
            let opened = counted.get(id).copied();
            let tally = opened.and_then(|at| circle.rules_tally(&terms, (at, id), self.ledger.rules_at(at)));
            let is_dated = || circle.date(&said.author, said.seq, said.hlc).is_some();
            let weight = |yes| tally.as_ref().and_then(|tally| tally.weights.get(&yes)).copied().unwrap_or(0);
            let state = match tally.as_ref().map(|tally| tally.state) {
                None if opened.is_none() && is_dated() => "one too many of its member",
                None => "not witnessed yet",
                Some(State::Open) => "open",
                Some(State::NoQuorum) => "waits for voters",
                Some(_) if opened.is_some_and(|at| !circle.has_vote(None, &terms, at)) => {
                    "rejected: nobody had a vote"
                }
                Some(State::Decided(true)) => "adopted",
                Some(State::Decided(false)) => "rejected",
            };
            let user = circle.user_of(&said.author).map(|user| self.user_name(&user)).unwrap_or_default();
            ProposalView {
                proposal: *id,
                user,
                why: said.why.clone(),
                state,
                weights: (weight(true), weight(false)),
                rules: opened.map_or_else(
                    || said.rules.clone(),
                    |at| {
                        let base = self.ledger.rules_at(said.written_ms(at));
                        said.rules.applied(base, self.ledger.governance().rules())
                    },
                ),
            }
        });
        views.collect()
    }
}
