//! What must hold of votes, days and queues, whoever cheats. Each check is a function named as a sentence.

use super::checks::{Verdict, hold};
use super::kept;
use super::model::Ask;
use super::net::Who;
use super::peer::Role;
use super::world::{Event, World};
use mesh_node::{Command, Counted, Run, TaskState, TaskView};
use mesh_protocol::frame::{AttemptId, Offer};
use mesh_protocol::ids::TaskId;
use mesh_protocol::reason::Reason;
use mesh_protocol::rules::VotingMethod;
use mesh_protocol::task::{Importance, Sla, TaskSpec};

/// What a task with a deadline is given beside the time that it may take: it has to be sent, and its result back.
pub(crate) const ROOM_MS: u64 = 60_000;

/// Within this time a task that waits is tried again, and twice.
const LOOK_AGAIN_MS: u64 = 12_000;

/// By how much two peers' clocks may differ: each is off by as much as the simulator makes it, and drifts.
pub(crate) const CLOCKS_MS: u64 = 110_000;

impl World {
    /// An owner begins an attempt: somewhere else, or on its own device.
    pub(crate) fn begins(
        &mut self,
        who: Who,
        id: AttemptId,
        spec: &TaskSpec,
        at: Who,
        offer: Option<&Offer>,
    ) {
        if !self.model.begun.insert((who, id)) {
            return;
        }
        let verdict = no_task_goes_where_sun_is_claimed_by_night(self, who, id, spec, at);
        self.must(verdict);
        for passed in passed_over(self, who, spec, at, offer) {
            let times = self.model.passed.entry((who, passed)).or_default();
            *times += 1;
            let (times, most) = (*times, self.profile.max_overtaken());
            self.must(hold("nothing_is_passed_over_more_often_than_the_rules_allow", times <= most, || {
                format!("{} {passed}: {times} times, of {most} that are allowed", self.peers[who].name)
            }));
        }
    }
}

/// Tasks of a device that wait, were submitted earlier than one that starts, and could have started in its place: nobody
/// was asked for them yet, so nobody has refused them, and what is good for the other is good for them.
// spec: VOTE-9
fn passed_over(world: &World, who: Who, started: &TaskSpec, at: Who, offer: Option<&Offer>) -> Vec<TaskId> {
    let Some(node) = world.peers[who].node.as_ref() else { return Vec::new() };
    // With a ballot that is open, or a result that asks for clean energy, a task may not start where another may.
    if world.profile.civic.is_some_and(|civic| civic.window_ms > 0) {
        return Vec::new();
    }
    let grants = world.model.words.get(&at).map(|word| &word.grants);
    let mut passed = Vec::new();
    for task in kept::tasks(&world.peers[who].disk).filter(|task| task.twin.is_none()) {
        let spec = &task.task.spec;
        let id = spec.id();
        let earlier = (spec.created_ms, id) < (started.created_ms, started.id());
        let tried = world.model.begun.range((who, AttemptId { task: id, attempt: 0 })..).next();
        let untried = tried.is_none_or(|(by, attempt)| *by != who || attempt.task != id);
        let waits = node.task_state(&id).is_some_and(|(state, _)| state == TaskState::Waiting);
        let anywhere = task.on.is_none() && spec.sla != Sla::Eco;
        let granted = offer.is_none_or(|offer| {
            let grant = offer.grant.and_then(|grant| grants?.get(&grant));
            grant.is_some_and(|grant| grant.pattern.matches(&spec.name))
        });
        if earlier && untried && waits && anywhere && granted {
            passed.push(id);
        }
    }
    passed
}

/// Is there no time left to wait in, by its submitter's word or else its service level?
// spec: SLA-1, SLA-2, VOTE-6
fn is_due(spec: &TaskSpec, wall_ms: u64) -> bool {
    const HOUR_MS: u64 = 3_600_000;
    let takes = ROOM_MS + spec.limits.duration_ms;
    match (spec.sla, spec.finish_by_ms) {
        (Sla::Eco, _) | (Sla::SolarOnly | Sla::WindOnly, None) => false,
        (_, Some(by)) => wall_ms + takes >= by,
        (Sla::Urgent, None) => wall_ms >= spec.created_ms + HOUR_MS / 2,
        (Sla::High, None) => wall_ms + takes >= spec.created_ms + 24 * HOUR_MS,
        (Sla::Normal, None) => wall_ms + takes >= spec.created_ms + 48 * HOUR_MS,
    }
}

/// What a submitter's energy rule makes of a ballot: may the task start on energy that is not clean?
// spec: VOTE-6, DEL-12
pub(crate) fn needs_clean(spec: &TaskSpec, wall_ms: u64, counted: Option<&Counted>) -> bool {
    let sla = spec.sla;
    if is_due(spec, wall_ms) {
        return false;
    }
    let Some(counted) = counted.filter(|counted| counted.asked || counted.health) else {
        return sla == Sla::Eco;
    };
    match (sla, counted.decision) {
        _ if counted.health => false,
        (_, Some(Importance::High | Importance::Critical)) => false,
        (_, Some(Importance::Low | Importance::NonCritical)) | (Sla::Eco, _) => true,
        (Sla::High | Sla::Normal, None) => !counted.open,
        _ => false,
    }
}

/// A submitter's word for what was decided opens nothing at a donor who counts otherwise.
// spec: DEL-2, VOTE-8
pub(crate) fn nothing_starts_on_a_claim_that_the_votes_do_not_bear_out(
    world: &World,
    who: Who,
    run: &Run,
) -> Verdict {
    let peer = &world.peers[who];
    let Some(node) = peer.node.as_ref().filter(|_| run.owner != peer.key) else { return Ok(()) };
    let task = &run.attempt.task;
    let ballots = node.ledger().facts().ballots();
    // What it says after it gave the attempt is no word that this was taken on.
    let (tasks, key) = (node.ledger().facts().tasks(), (run.owner, *task));
    let given = |upto: u64| (0..upto).any(|at| tasks.gives(&key, run.attempt.attempt, &peer.key, at));
    let before = ballots.consensus_seq(&run.owner, task).is_some_and(|seq| !given(seq));
    let claimed = ballots.consensus(&run.owner, task).filter(|_| before).and_then(|(level, _)| level);
    let counted = node.counted(&run.owner, task).map(|counted| counted.decision);
    let holds = claimed.is_none() || counted.is_none_or(|counted| counted == claimed);
    hold("nothing_starts_on_a_claim_that_the_votes_do_not_bear_out", holds, || {
        format!("{} starts {task}: {claimed:?} is claimed, and {counted:?} is what the votes say", peer.name)
    })
}

/// Whatever a device claims, nobody sends a task there for a sun that is down.
// spec: REP-2
fn no_task_goes_where_sun_is_claimed_by_night(
    world: &World,
    who: Who,
    id: AttemptId,
    spec: &TaskSpec,
    at: Who,
) -> Verdict {
    let Some(node) = world.peers[who].node.as_ref() else { return Ok(()) };
    let registered = node.ledger().facts().registered(&world.peers[at].key);
    let known = registered.is_some_and(|registered| registered.place.is_some());
    if world.peers[at].role != Role::Nightsun || !known {
        return Ok(());
    }
    let counted = node.counted(&world.peers[who].key, &id.task);
    let asks = |counted: &Counted| counted.asked && counted.open && !counted.health;
    let wall = world.peers[who].clock.at(world.now).wall_ms;
    let early = spec.sla != Sla::Urgent && !is_due(spec, wall) && counted.as_ref().is_some_and(asks);
    let holds = !early && !needs_clean(spec, wall, counted.as_ref());
    hold("no_task_goes_where_sun_is_claimed_by_night", holds, || {
        let (name, to) = (&world.peers[who].name, &world.peers[at].name);
        let age = wall.saturating_sub(spec.created_ms);
        format!("{name} sends {id:?}, {:?} and {age} ms old, to {to}: {counted:?}", spec.sla)
    })
}

/// A donor counts a device's tasks itself: never does it run more of them than the most generous day allows, and of a
/// device that has not forked its log all donors together run no more.
// spec: QUOTA-4, DEL-12
pub(crate) fn no_donor_runs_more_than_a_day_allows(world: &mut World, who: Who, run: &Run) -> Verdict {
    let Some(civic) = world.profile.civic.filter(|civic| civic.quota > 0) else { return Ok(()) };
    world.model.ran_for.entry((who, run.owner)).or_default().insert(run.attempt.task);
    let days = if civic.zones || civic.midnight { 2 } else { 1 };
    let most = u64::from(civic.quota + super::civic::MORE) * days;
    let ran = |at: Who| world.model.ran_for.get(&(at, run.owner)).into_iter().flatten();
    let here = ran(who).count() as u64;
    let all: std::collections::BTreeSet<_> = (0..world.peers.len()).flat_map(ran).collect();
    let forked = world.model.forks.iter().any(|(author, _)| *author == run.owner);
    hold("no_donor_runs_more_than_a_day_allows", here <= most && (forked || all.len() as u64 <= most), || {
        format!(
            "{} has run {here} tasks of {}, all together {}, and {most} are the most",
            world.peers[who].name,
            world.name(&run.owner),
            all.len()
        )
    })
}

impl World {
    /// A task was to be done by now, and could be when it was submitted.
    pub(crate) fn due(&mut self, who: Who, task: TaskId, by: u64) {
        let peer = &self.peers[who];
        let set_back = by.saturating_sub(peer.clock.at(self.now).wall_ms);
        if set_back > 0 {
            return self.after(set_back, Event::Due(who, task, by));
        }
        // Why it waits is found anew every few seconds; a device that sleeps, restarts or cannot write finds nothing.
        if peer.awake() && self.now >= peer.started_at.max(peer.stuck_until) + LOOK_AGAIN_MS {
            self.count("deadline looked at");
            self.ask(who, Command::Task { task: task.to_string() }, Ask::Deadline(task));
        }
    }
}

/// For those there is time as long as there is time, and no longer: other reasons may keep a task, and are told.
// spec: SLA-2, DEL-9
pub(crate) fn nothing_waits_for_votes_or_energy_at_its_deadline(
    world: &World,
    who: Who,
    task: TaskId,
    view: &TaskView,
) -> Verdict {
    let patience = [Reason::EnergyNotClean, Reason::BallotOpen].map(|reason| reason.to_string());
    // Another device refuses by a clock of its own.
    let mut here = view.why.split("; ").filter(|part| part.contains("this device"));
    let waits = view.state == "waiting"
        && (view.why.starts_with("waits for ")
            || here.any(|part| patience.iter().any(|why| part.contains(why))));
    hold("nothing_waits_for_votes_or_energy_at_its_deadline", !waits, || {
        format!("{} {task}: {}", world.peers[who].name, view.why)
    })
}

// ---- at rest ----

/// Equal ledgers give equal tallies, tiers, days and rules.
// spec: VOTE-8, QUOTA-4, DEL-14
pub(crate) fn all_honest_peers_conclude_the_same(world: &World) -> Verdict {
    const NAME: &str = "all_honest_peers_conclude_the_same";
    // One moment for all: late enough for the clock that is fast.
    let at_ms = world.profile.begins + world.now + CLOCKS_MS;
    let mut first = None;
    for who in world.good() {
        let Some(node) = world.peers[who].node.as_ref() else { continue };
        let mine = node.conclusions(at_ms);
        let Some((one, theirs)) = &first else {
            first = Some((who, mine));
            continue;
        };
        let (one, other) = (&world.peers[*one].name, &world.peers[who].name);
        hold(NAME, *theirs == mine, || {
            let what = match () {
                () if theirs.rules != mine.rules => {
                    let told = |rules: &mesh_protocol::rules::Rules| {
                        format!("{:?} at {} %", rules.voting_method, rules.consensus_percent)
                    };
                    format!("rules: {}, {}", told(&theirs.rules), told(&mine.rules))
                }
                () if theirs.tiers != mine.tiers => format!("tiers: {:?} {:?}", theirs.tiers, mine.tiers),
                () if theirs.days != mine.days => format!("days: {:?} {:?}", theirs.days, mine.days),
                () => {
                    let differ = |(key, counted): &(_, &Counted)| mine.ballots.get(*key) != Some(*counted);
                    let at = theirs.ballots.iter().find(differ);
                    format!("ballots: {at:?} {:?}", at.and_then(|(key, _)| mine.ballots.get(key)))
                }
            };
            format!("{one} and {other} differ in {what}")
        })?;
    }
    Ok(())
}

fn anyones_ballots(world: &World) -> Vec<((mesh_protocol::key::PublicKey, TaskId), Counted)> {
    let at_ms = world.profile.begins + world.now + CLOCKS_MS;
    let one = world.good().into_iter().find_map(|who| world.peers[who].node.as_ref());
    one.map_or_else(Vec::new, |node| node.conclusions(at_ms).ballots.into_iter().collect())
}

/// A vote that was cast when the ballot had closed, and everybody had long counted, counts on no date that it claims.
// spec: VOTE-8, LED-10
pub(crate) fn no_vote_counts_that_was_made_when_its_ballot_was_closed(world: &World) -> Verdict {
    let Some(civic) = world.profile.civic else { return Ok(()) };
    let clocks = if world.profile.skew { CLOCKS_MS } else { 0 };
    for ((author, task), counted) in anyones_ballots(world) {
        let Some(opened) = world.model.opened.get(&(author, task)) else { continue };
        // Too few had voted in time: then the vote that makes them enough decides, whenever it comes.
        let closes = counted.opened_ms + counted.window_ms + civic.skew_ms;
        if counted.decided_ms.is_none_or(|decided| decided > closes) {
            continue;
        }
        // A submission that others heard of late opens its ballot when they did.
        let seen = counted.opened_ms.saturating_sub(world.profile.begins);
        let last = seen.max(*opened) + counted.window_ms + 2 * civic.skew_ms + clocks;
        for (user, (importance, entry)) in &counted.votes {
            let born = world.model.born.get(entry).copied().unwrap_or_default();
            hold("no_vote_counts_that_was_made_when_its_ballot_was_closed", born <= last, || {
                let voter = world.users().get(user).map(|who| world.peers[*who].name.clone());
                format!("{task}: {importance:?} of {voter:?} was made {} ms too late", born - last)
            })?;
        }
    }
    Ok(())
}

/// However many devices somebody has, and however many keys: the weight is that of the members who voted, and the level
/// is what those votes make it.
// spec: VOTE-1, VOTE-3, PERM-6
pub(crate) fn a_ballot_says_what_its_votes_say_one_of_each_member(world: &World) -> Verdict {
    const NAME: &str = "a_ballot_says_what_its_votes_say_one_of_each_member";
    // Rules may have been voted on, and other methods weigh otherwise.
    let plain = world.good().iter().all(|who| {
        world.peers[*who]
            .node
            .as_ref()
            .is_some_and(|node| node.ledger().facts().ballots().proposals().is_empty())
    });
    let Some(node) = world.good().into_iter().find_map(|who| world.peers[who].node.as_ref()) else {
        return Ok(());
    };
    let rules = node.ledger().governance().rules();
    if !plain || rules.voting_method != VotingMethod::OnePerUser {
        return Ok(());
    }
    let users = world.users();
    for ((_, task), counted) in anyones_ballots(world).into_iter().filter(|(_, counted)| counted.asked) {
        let known = counted.votes.keys().all(|user| users.contains_key(user));
        let cast: u64 = counted.weights.values().sum();
        let best = counted.weights.iter().map(|(level, weight)| (*weight, *level)).max();
        let tie = |weight| counted.weights.values().filter(|other| **other == weight).count() > 1;
        let expected = match best {
            Some((weight, level)) if weight * 100 >= 60 * cast && !tie(weight) => level,
            _ => Importance::Normal,
        };
        let holds = known
            && cast == counted.votes.len() as u64
            && counted.decision.is_none_or(|decision| decision == expected);
        hold(NAME, holds, || format!("{task}: {counted:?}, and {expected:?} is what they say"))?;
    }
    Ok(())
}

/// Whoever makes keys of their own is alone in vouching for them.
// spec: NET-2, PERM-6
pub(crate) fn nobody_is_in_whom_too_few_let_in(world: &World) -> Verdict {
    let users = world.users();
    for who in world.good() {
        let Some(node) = world.peers[who].node.as_ref() else { continue };
        let members = node.ledger().governance().members().iter().filter(|(_, member)| member.is_in());
        for (user, member) in members {
            hold("nobody_is_in_whom_too_few_let_in", users.contains_key(user), || {
                format!("{} counts {} as a member", world.peers[who].name, member.name)
            })?;
        }
    }
    Ok(())
}
