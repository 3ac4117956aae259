//! When everything that went wrong has stopped, the community comes to rest, and then more must hold than before.
// spec: DEL-10, DEL-14, LED-4, LED-5

use super::checks::{Verdict, hold};
use super::civics::{
    a_ballot_says_what_its_votes_say_one_of_each_member, all_honest_peers_conclude_the_same,
    no_vote_counts_that_was_made_when_its_ballot_was_closed, nobody_is_in_whom_too_few_let_in,
};
use super::kept;
use super::model::Ask;
use super::net::{Weather, Who};
use super::peer::{Role, clean};
use super::world::{Event, World};
use mesh_node::{Command, Input, TaskState};
use mesh_protocol::energy::Reading;
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Effect, Payload, Tip};
use mesh_protocol::task::Sla;
use std::collections::{BTreeMap, BTreeSet};

/// The longest that a community may take to come to rest: the grace of a detached task's lease, six times over.
const LONGEST_MS: u64 = 3_600_000;
/// How often it is looked.
const LOOK_MS: u64 = 5_000;
/// Three rounds of comparing, each with its jitter, and the time that frames take.
const THREE_ROUNDS_MS: u64 = 3 * 6_250 + 3_000;

impl World {
    /// Members who are what they seem, and still members: those that must agree.
    pub(crate) fn good(&self) -> Vec<Who> {
        (0..self.profile.peers)
            .filter(|who| {
                self.peers[*who].is_honest() && !self.model.expelled.contains(who) && self.is_in(*who)
            })
            .collect()
    }

    /// All faults stop, and everybody is connected to everybody.
    fn heal(&mut self) {
        self.chaos = false;
        self.net.weather = Weather::calm();
        for (from, to) in self.net.blocked_now() {
            self.mend(from, to);
        }
        for who in 0..self.profile.peers {
            let peer = &mut self.peers[who];
            peer.disk.full = false;
            peer.crash = None;
            if peer.role == Role::Liar {
                // Its sandbox, too, is an honest one from now on: what it began dies.
                self.crash(who, 100);
            }
            if self.peers[who].node.is_none() {
                self.after(200, Event::Start(who));
            }
        }
    }

    /// What people would do by and by: go on giving, with clean energy.
    fn invite_work(&mut self) {
        for who in 0..self.profile.peers {
            self.ask(who, Command::Resume, Ask::Other);
            // Who claims sun by night does so for ever; it is as good as none.
            if self.peers[who].awake() && self.peers[who].role != Role::Nightsun {
                self.arrive(who, Input::Energy(Some(Box::new(Reading::of(clean(), "simulated"))), None));
            }
        }
    }

    /// Connects all that are members to each other; whoever lost one dials again by itself.
    fn connect_all(&mut self) {
        for a in 0..self.profile.peers {
            for b in 0..a {
                if self.peers[a].awake() && self.peers[b].awake() && !self.net.is_whole(a, b) {
                    self.connect(a, b);
                }
            }
        }
    }

    /// Runs on until nothing is left to be done, and then looks closely.
    pub(crate) fn come_to_rest(&mut self) {
        self.heal();
        self.run_until(self.now + 2_000);
        while self.broken.is_none() && self.peers.iter().any(|peer| peer.asleep_until.is_some()) {
            self.run_until(self.now + LOOK_MS);
        }
        self.connect_all();
        let healed = self.now;
        let known = self.known();
        self.invite_work();
        let mut spread = None;
        let mut next_connect = self.now + 30_000;
        while self.broken.is_none() && self.now < healed + LONGEST_MS {
            self.run_until(self.now + LOOK_MS);
            if spread.is_none() && self.all_have(&known).is_ok() {
                spread = Some(self.now - healed);
            }
            if spread.is_none() && self.now >= healed + THREE_ROUNDS_MS && self.is_measurable() {
                let verdict = self.all_have(&known);
                self.must(verdict);
            }
            if self.now >= next_connect {
                next_connect += 30_000;
                self.connect_all();
            }
            if self.is_at_rest() && self.look_closely(healed + LONGEST_MS) {
                return;
            }
        }
        self.look_closely(0);
    }

    /// Clocks that are off, and logs that are cut, take longer than rounds of comparing.
    fn is_measurable(&self) -> bool {
        self.model.forks.is_empty()
            && self.model.expelled.is_empty()
            && !self.profile.late
            && !self.profile.skew
    }

    /// The ends of all honest logs, as the honest have them together.
    fn known(&self) -> BTreeMap<PublicKey, Tip> {
        let mut known: BTreeMap<PublicKey, Tip> = BTreeMap::new();
        for who in self.good() {
            let key = self.peers[who].key;
            let tips = self.peers[who].node.iter().flat_map(mesh_node::Node::logs);
            for tip in tips.filter(|tip| tip.author == key) {
                known.insert(tip.author, tip);
            }
        }
        known
    }

    /// Entries at one place of a log that honest peers have or have proven.
    fn branches(&self, author: &PublicKey, seq: u64) -> usize {
        let good = self.good();
        let ids: BTreeSet<_> =
            good.iter().filter_map(|who| super::model::id_on(&self.peers[*who].disk, author, seq)).collect();
        let proven = self.proven().any(|(by, from)| by == *author && from <= seq);
        if proven { ids.len() + 2 } else { ids.len() }
    }

    /// Forks that are proven by somebody whose word counts still: what an expelled peer alone had seen of the other
    /// branch nobody can know.
    fn proven(&self) -> impl Iterator<Item = (PublicKey, u64)> {
        let good = self.good();
        let by_good = self.model.proven.iter().filter(move |(_, _, by)| good.contains(by));
        by_good.map(|(author, seq, _)| (*author, *seq))
    }

    // spec: LED-4
    fn all_have(&self, known: &BTreeMap<PublicKey, Tip>) -> Verdict {
        for who in self.good() {
            let Some(node) = self.peers[who].node.as_ref() else { continue };
            for tip in known.values() {
                hold(
                    "frontiers_are_equal_within_three_pull_rounds_after_healing",
                    node.ledger().has(tip),
                    || format!("{} has not {}/{}", self.peers[who].name, self.name(&tip.author), tip.seq),
                )?;
            }
        }
        Ok(())
    }

    fn is_at_rest(&self) -> bool {
        let working = self.good().into_iter().any(|who| {
            self.peers[who].busy.is_some()
                || kept::tasks(&self.peers[who].disk).any(|task| !self.may_wait(&task))
        });
        !working
            && everybody_invited_is_in(self).is_ok()
            && all_honest_peers_hold_the_same_ledger(self).is_ok()
            && every_fork_made_is_proven_everywhere(self).is_ok()
    }

    /// Is it over, or does it wait for what will not come?
    fn may_wait(&self, task: &kept::Task) -> bool {
        let bound = |device: PublicKey| {
            self.who(&device).is_none_or(|at| {
                !self.peers[at].is_honest()
                    || self.model.expelled.contains(&at)
                    || device != task.task.spec.submitter
            })
        };
        // A result may be here, and its check still run.
        (task.state.is_over() && task.group.is_none())
            || (task.state == TaskState::Waiting && task.on.is_some_and(bound))
    }

    /// Whether it was at rest still, so that what was seen counts.
    fn look_closely(&mut self, until: u64) -> bool {
        if self.broken.is_some() {
            return true;
        }
        // Rules come into force by each peer's own clock, and some clocks are slow.
        let proposed = self.good().iter().any(|who| {
            let node = self.peers[*who].node.as_ref();
            node.is_some_and(|node| !node.ledger().facts().ballots().proposals().is_empty())
        });
        if let Some(civic) = self.profile.civic.filter(|_| proposed && until > 0) {
            self.run_until(self.now + super::civics::CLOCKS_MS + civic.window_ms + civic.skew_ms);
        }
        for who in self.good() {
            let open: Vec<_> = kept::tasks(&self.peers[who].disk)
                .filter(|task| !task.state.is_over())
                .map(|task| task.task.spec.id())
                .collect();
            for id in open {
                self.ask(who, Command::Task { task: id.to_string() }, Ask::View(id));
            }
        }
        self.run_until(self.now + 100);
        // Those who are not honest never rest: what one of them says or lets go of at this very moment sets the others
        // going once more.
        if !self.is_at_rest() && self.now < until {
            return false;
        }
        let verdict = everybody_invited_is_in(self)
            .and_then(|()| all_honest_peers_hold_the_same_ledger(self))
            .and_then(|()| every_fork_made_is_proven_everywhere(self))
            .and_then(|()| all_honest_peers_conclude_the_same(self))
            .and_then(|()| no_vote_counts_that_was_made_when_its_ballot_was_closed(self))
            .and_then(|()| a_ballot_says_what_its_votes_say_one_of_each_member(self))
            .and_then(|()| nobody_is_in_whom_too_few_let_in(self))
            .and_then(|()| every_result_that_had_its_effect_is_in_its_owners_log(self))
            .and_then(|()| every_task_has_ended_or_says_why_it_waits(self));
        self.must(verdict);
        true
    }
}

/// Who holds a ticket gets in.
// spec: NET-2
pub(crate) fn everybody_invited_is_in(world: &World) -> Verdict {
    for who in 0..world.profile.peers {
        let out = world.model.expelled.contains(&who) || !world.peers[who].is_honest();
        hold("everybody_invited_is_in", out || world.is_in(who), || world.peers[who].name.clone())?;
    }
    Ok(())
}

/// The same entries, and the same that follows from them.
// spec: LED-3, DEL-14
fn all_honest_peers_hold_the_same_ledger(world: &World) -> Verdict {
    const NAME: &str = "all_honest_peers_hold_the_same_ledger";
    let mut first: Option<(Who, Vec<Tip>)> = None;
    let good = world.good();
    for who in &good {
        let Some(node) = world.peers[*who].node.as_ref() else { continue };
        let logs = node.logs();
        match &first {
            None => first = Some((*who, logs)),
            Some((one, expected)) => hold(NAME, logs == *expected, || {
                let differ: Vec<String> = logs
                    .iter()
                    .filter(|tip| !expected.contains(tip))
                    .chain(expected.iter().filter(|tip| !logs.contains(tip)))
                    .map(|tip| format!("{}/{}", world.name(&tip.author), tip.seq))
                    .collect();
                format!(
                    "{} and {} differ in {}",
                    world.peers[*one].name,
                    world.peers[*who].name,
                    differ.join(" ")
                )
            })?,
        }
    }
    let mut digests = good
        .iter()
        .filter_map(|who| world.peers[*who].node.as_ref().map(|node| (*who, node.ledger().state_digest())));
    let Some((one, digest)) = digests.next() else { return Ok(()) };
    for (who, other) in digests {
        hold(NAME, digest == other, || {
            format!("{} and {} conclude differently", world.peers[one].name, world.peers[who].name)
        })?;
    }
    Ok(())
}

/// Where one honest peer knows of a fork, all do; and nobody counts what follows.
// spec: LED-5, DEL-14
fn every_fork_made_is_proven_everywhere(world: &World) -> Verdict {
    const NAME: &str = "every_fork_made_is_proven_everywhere";
    let proven: BTreeSet<(PublicKey, u64)> =
        world.proven().chain(world.model.forks.iter().copied()).collect();
    for (author, seq) in &proven {
        for who in world.good() {
            let Some(node) = world.peers[who].node.as_ref() else { continue };
            let cap = node.ledger().governance().cap(author);
            // A branch that reached nobody is none: what counts is whether two entries of one place are about.
            let about = world.branches(author, *seq) > 1;
            hold(NAME, !about || cap.is_some_and(|cap| cap <= *seq), || {
                format!("{} does not know that {} forked at {seq}", world.peers[who].name, world.name(author))
            })?;
            let counted = node.ledger().len(author);
            hold(NAME, cap.is_none_or(|cap| counted <= cap), || {
                format!("{} counts {counted} entries of {}", world.peers[who].name, world.name(author))
            })?;
        }
    }
    Ok(())
}

/// What was taken as a task's result is said to all, with the signature of whoever made it: nobody takes an entry without.
// spec: DEL-8, DEL-13
fn every_result_that_had_its_effect_is_in_its_owners_log(world: &World) -> Verdict {
    let good = world.good();
    for ((who, task), (attempt, _)) in world.model.done.iter().filter(|((who, _), _)| good.contains(who)) {
        let said = world.model.recorded.get(&(*who, *task, *attempt));
        let will_be = || {
            kept::drafts(&world.peers[*who].disk).any(|payload| {
                matches!(payload, Payload::Completed(completed)
                    if completed.statement.task == *task && completed.statement.attempt == *attempt)
            })
        };
        let holds = said == Some(&Effect::Done) || will_be();
        hold("every_result_that_had_its_effect_is_in_its_owners_log", holds, || {
            format!("{} {task} attempt {attempt}: {said:?}", world.peers[*who].name)
        })?;
    }
    Ok(())
}

/// Nothing is left open without a lease, a retry or a reason to wait.
// spec: DEL-9, DEL-10
fn every_task_has_ended_or_says_why_it_waits(world: &World) -> Verdict {
    const NAME: &str = "every_task_has_ended_or_says_why_it_waits";
    for who in world.good() {
        for task in kept::tasks(&world.peers[who].disk).filter(|task| !task.state.is_over()) {
            let id = task.task.spec.id();
            let (state, why) = world.model.views.get(&(who, id)).cloned().unwrap_or_default();
            let waits = state == "waiting"
                && ["no peer can take it now (", "waits for ", "may end late"]
                    .iter()
                    .any(|words| why.starts_with(words));
            let may = world.may_wait(&task) || task.task.spec.sla == Sla::Eco;
            hold(NAME, waits && may, || format!("{} {id}: {state}: {why}", world.peers[who].name))?;
        }
    }
    Ok(())
}
