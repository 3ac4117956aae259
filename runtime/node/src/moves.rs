//! What runs is thought about again when energy changes: it goes on, waits in place for a cleaner hour, or goes on from
//! its checkpoint elsewhere.
//!
//! Whoever runs a task holds it by themselves for their own reasons and for their energy ([`crate::holds`]); this is the
//! side of the task's owner, who knows the deadline and the other peers.
// spec: DEL-7, PLACE-1, PLACE-2, SLA-2

use crate::command::Progress;
use crate::node::{Node, Timer};
use crate::owner::{Candidate, Task, TaskState};
use mesh_policies::importance::{
    Course, Energy, Patience, Start, Times, haste, is_lack_of_energy, may_start,
};
use mesh_policies::placement::decide::{Decision, HOUR_MS, interruptible};
use mesh_policies::quota;
use mesh_protocol::frame::{AttemptId, MAX_LEASE_MS, Phase, TaskFrame};
use mesh_protocol::ids::TaskId;
use mesh_protocol::key::PublicKey;
use mesh_protocol::reason::Reason;
use mesh_protocol::task::{Sla, TaskSpec};
use std::ops::Bound;

/// How often what runs is thought about, whatever happened: forecasts change by the hour.
const REGARD_EVERY_MS: u64 = 2 * 60_000;
/// How soon after a change, so that the ads of several peers make one round.
const REGARD_SOON_MS: u64 = 500;
/// How soon the next of many are thought about, and how many at once, so that one turn stays short.
const REGARD_NEXT_MS: u64 = 10;
const REGARD_AT_ONCE: usize = 64;
/// After a task was moved, or let go on, by plan, it is left alone for so long: plans are by the hour, and each change
/// costs more than its gain within minutes.
pub(crate) const REST_MS: u64 = 15 * 60_000;
/// Holds shorter than this are not worth their two entries in the ledger.
const SHORTEST_HOLD_MS: u64 = 5 * 60_000;
/// What is said of a task that goes on for the sake of others.
const CROWDED: &str = "not all tasks fit into the cleaner hours";
/// What stands still is begun anew elsewhere so long before that would be too late.
const LATE_MS: u64 = 30_000;

/// What is planned with a task while it runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// Until when its peer was asked to hold it, in milliseconds since 1970.
    held_until: Option<u64>,
    /// Until when it is left alone, by the boot clock.
    rest_until: u64,
    /// What earlier attempts have computed that this one goes on from, in milliseconds.
    carried_ms: u64,
    /// What its last checkpoint holds of all that was computed.
    saved_ms: u64,
}

impl Plan {
    /// The next attempt begins.
    pub(crate) fn begins(&mut self, resumes: bool) {
        self.carried_ms = if resumes { self.saved_ms } else { 0 };
        self.saved_ms = self.carried_ms;
        self.held_until = None;
    }

    pub(crate) fn held_until(&self) -> Option<u64> {
        self.held_until
    }

    /// Does it stand still for a reason that is looked at? A peer's mere word that it does would leave the task there for
    /// ever, as if it took no time: [`Node::regard_held`] asks whether to move what is held by its peer's will, and for a
    /// cleaner hour only this device has it wait.
    // spec: DEL-3, DEL-7
    pub(crate) fn is_held(&self, progress: &Progress) -> bool {
        progress.phase == Phase::Paused
            && match &progress.held {
                None => false,
                Some(Reason::CleanerLater) => self.held_until.is_some(),
                Some(_) => true,
            }
    }
}

/// Where a task stands, for a decision about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stand {
    /// Where it runs.
    pub(crate) runs_on: Option<PublicKey>,
    /// What is left of the time that it may take.
    pub(crate) left_ms: u64,
    /// What would be computed again if it went on elsewhere.
    pub(crate) unsaved_ms: u64,
}

impl Stand {
    /// Nothing of it is done.
    pub(crate) fn fresh(spec: &TaskSpec) -> Self {
        Self { runs_on: None, left_ms: spec.limits.duration_ms, unsaved_ms: 0 }
    }

    /// A task's: where it runs now, if it is to be asked whether it stays there; else from its last checkpoint.
    pub(crate) fn of(task: &Task, stays: Option<(PublicKey, u64)>) -> Self {
        let whole = task.spec().limits.duration_ms;
        let saved = if task.kept.resume.is_some() { task.stands.saved_ms } else { 0 };
        // Whoever goes on may need as long again as it was thought to: there is always something left.
        let left = |done: u64| whole.saturating_sub(done).max(whole / 100).max(1);
        match stays {
            None => Self { runs_on: None, left_ms: left(saved), unsaved_ms: 0 },
            Some((device, now)) => {
                let done = task.stands.carried_ms.saturating_add(task.ran_ms_at(now));
                Self { runs_on: Some(device), left_ms: left(done), unsaved_ms: done.saturating_sub(saved) }
            }
        }
    }
}

/// Was the attempt ended by somebody's will, or for the energy? Nothing failed then, and it counts as no try.
pub(crate) fn is_planned(reason: &Reason) -> bool {
    is_lack_of_energy(reason)
        || is_power(reason)
        || matches!(
            reason,
            Reason::VetoedByDonor
                | Reason::VetoedByOwner
                | Reason::NoCapacity
                | Reason::DonorPaused
                | Reason::OutsideHours
                | Reason::DeviceBusy { .. }
                | Reason::UploadUsedUp
                | Reason::CleanerElsewhere
                | Reason::Expired
        )
}

/// Is it held since energy there got worse: the grid, the weather, the mains?
fn is_power(reason: &Reason) -> bool {
    is_lack_of_energy(reason)
        || matches!(reason, Reason::OnBattery | Reason::BatteryLow { .. } | Reason::NoSurplus)
}

impl Task {
    /// How long the attempt that counts has computed, as far as is known.
    fn ran_ms_at(&self, now: u64) -> u64 {
        let runs = self.progress.as_ref().is_some_and(|progress| progress.phase == Phase::Running);
        let since = if runs { now.saturating_sub(self.renew_at) } else { 0 };
        self.ran_ms.saturating_add(since)
    }

    /// A checkpoint of it is here.
    pub(crate) fn saved(&mut self, now: u64) {
        self.stands.saved_ms = self.stands.carried_ms.saturating_add(self.ran_ms_at(now));
    }
}

impl Node {
    /// Energy or peers have changed.
    pub(crate) fn regard_soon(&mut self) {
        if !self.out.is_empty() {
            self.arm_within(Timer::Regard, REGARD_SOON_MS);
        }
    }

    /// Something runs, and will be thought about.
    pub(crate) fn regard_later(&mut self) {
        self.arm_within(Timer::Regard, REGARD_EVERY_MS);
    }

    /// Thinks about what runs, a part of it at a time.
    // spec: DEL-7, PLACE-1
    pub(crate) fn regard_running(&mut self) {
        let after = self.regarded_last.map_or(Bound::Unbounded, Bound::Excluded);
        let part: Vec<(u64, TaskId)> =
            self.out.range((after, Bound::Unbounded)).take(REGARD_AT_ONCE).copied().collect();
        let more = part.len() == REGARD_AT_ONCE;
        self.regarded_last = part.last().copied().filter(|_| more);
        for (_, id) in part {
            self.regard_task(id);
        }
        if !self.out.is_empty() {
            self.arm_within(Timer::Regard, if more { REGARD_NEXT_MS } else { REGARD_EVERY_MS });
        }
    }

    /// Thinks about one task that runs.
    // spec: DEL-7
    pub(crate) fn regard_task(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id).filter(|task| task.kept.state == TaskState::Running) else {
            return;
        };
        let Some(progress) = &task.progress else { return };
        match (progress.phase, progress.held.clone()) {
            (Phase::Preparing, _) => {}
            (Phase::Running, _) | (Phase::Paused, Some(Reason::CleanerLater)) => self.regard_plan(id),
            // It slept, and goes on with the next renewal; or it was let go on at this very moment.
            (Phase::Paused, None) => {}
            (Phase::Paused, Some(held)) => self.regard_held(id, held),
        }
    }

    /// It stands still for its peer's own reasons.
    // spec: DEL-7, SLA-2
    fn regard_held(&mut self, id: TaskId, held: Reason) {
        let now = self.now.wall_ms;
        let Some(task) = self.tasks.get(&id) else { return };
        let Some(device) = task.device() else { return };
        if self.is_expired(id) {
            // Of a replica that is dropped by that, nothing is known afterwards.
            let attempt = self.wired(AttemptId { task: id, attempt: task.current() });
            self.lost(id, Reason::Expired);
            return self.send_task(device, attempt, TaskFrame::Stop(Reason::Expired));
        }
        let (class, _) = haste(&task.course, &Times::of(task.spec()));
        let saved = task.kept.resume.is_some();
        let power = is_power(&held);
        let hurries = !interruptible(class);
        // What has not saved anything waits where it is, rather than waste what it has done.
        let waits = !saved && !hurries && (power || task.course.patience != Patience::None);
        let mut blocked = self.blocked_for(id, task);
        blocked.insert(device, (u64::MAX, Reason::Elsewhere));
        let candidates = self.candidates(task.spec(), &task.course, task.kept.on, &blocked);
        let stand = Stand::of(task, None);
        let decision = self.ask_others_first(task, None, &candidates, stand);
        let latest = match &decision {
            Decision::Run(_, _, numbers) => numbers.latest_ms,
            Decision::Wait { numbers, .. } => numbers.as_ref().and_then(|numbers| numbers.latest_ms),
            _ => None,
        };
        // What waits for clean energy has a latest start all the same, if its submitter was in a hurry.
        let latest = latest.or_else(|| Times::of(task.spec()).latest_ms(stand.left_ms));
        let due = latest.is_some_and(|latest| now.saturating_add(LATE_MS) >= latest);
        let decision = match decision {
            // Whoever is free now is in time, and a better one that is not free may not be.
            Decision::Wait { .. } if due && task.course.patience == Patience::UntilLatestStart => {
                self.ask_others_first(task, Some(()), &candidates, stand)
            }
            // Late is better than never, as for what has not begun.
            Decision::Impossible { .. } if due => self.ask_others_first(task, Some(()), &candidates, stand),
            decision => decision,
        };
        let rests = task.not_before.saturating_sub(self.now.boot_ms);
        match (decision, latest) {
            // It was given up so often lately that it has to wait, wherever it goes.
            (Decision::Run(..), _) if rests > 0 && (!waits || due) => {
                self.arm_within(Timer::Regard, rests.max(REGARD_SOON_MS));
            }
            (Decision::Run(to, ..), _) if !waits || due => {
                self.move_task(id, to, held, false, &candidates);
            }
            // Waiting on may make it late: it is thought about again just before.
            (_, Some(latest)) if now < latest => {
                // At its latest start more may be permitted than just before.
                let look = if due { latest } else { latest.saturating_sub(LATE_MS) };
                let wait = look.saturating_sub(now);
                self.arm_within(Timer::Regard, wait.clamp(REGARD_SOON_MS, REGARD_EVERY_MS));
            }
            _ => {}
        }
    }

    /// It runs, or waits in place as planned here.
    // spec: PLACE-1, PLACE-2
    fn regard_plan(&mut self, id: TaskId) {
        let now = self.now;
        let Some(task) = self.tasks.get(&id) else { return };
        let Some(device) = task.device() else { return };
        let (class, _) = haste(&task.course, &Times::of(task.spec()));
        if !interruptible(class) {
            return self.plan_hold(id, device, None, None);
        }
        let stand = Stand::of(task, Some((device, now.boot_ms)));
        let blocked = self.blocked_for(id, task);
        let mut candidates = self.candidates(task.spec(), &task.course, task.kept.on, &blocked);
        let crowded = !self.waiting.is_empty() && self.is_crowded(id, &candidates);
        let Some(task) = self.tasks.get(&id) else { return };
        let unsteady = self.unsteady_owners(task);
        for peer in &mut candidates {
            // It has its slot there, and whatever kept a new one out keeps this one not: its peer says so itself.
            if peer.device == device {
                peer.free_slots = peer.free_slots.saturating_add(1).min(peer.slots.max(1));
                peer.permitted = match &peer.permitted {
                    // What it draws there is in the household's load.
                    Err(reason) if is_lack_of_energy(reason) => {
                        let start = self.start_of(task.spec(), peer.energy.as_ref(), &device, peer.own);
                        let start = Start { spare: true, ..start };
                        may_start(&task.course, &start, self.ledger.governance().rules())
                    }
                    _ => Ok(()),
                };
            // A full place is nothing to move to, nor one whose owner gave it up again and again.
            } else if peer.permitted == Err(Reason::NoCapacity)
                || unsteady.contains(&self.answerable(&peer.device))
            {
                peer.permitted = Err(Reason::Elsewhere);
            }
        }
        let resting = now.boot_ms < task.stands.rest_until;
        let holds = task.stands.held_until.is_some();
        // What has saved nothing is never moved for a better place.
        let only: Vec<Candidate>;
        let stays = task.kept.resume.is_none() || resting;
        let mut asked = &candidates[..];
        if stays {
            only = candidates.iter().filter(|peer| peer.device == device).cloned().collect();
            asked = &only;
        }
        let mut decision = self.ask(task.spec(), &task.course, None, asked, stand);
        if stays && matches!(decision, Decision::Impossible { .. }) {
            decision = self.ask(task.spec(), &task.course, None, &candidates, stand);
        }
        let plan = self.told(&decision, &candidates);
        let patient = patient(&task.course);
        match decision {
            Decision::Run(..) => self.plan_hold(id, device, None, plan),
            // It would stand in a slot that others of its owner need.
            Decision::Pause { .. } if crowded => {
                self.plan_hold(id, device, None, Some(CROWDED.to_owned()));
            }
            Decision::Pause { until_ms, .. } if patient && (holds || !resting) => {
                // What is expected is expected of the clock's hours.
                self.plan_hold(id, device, Some(until_ms - until_ms % HOUR_MS), plan);
            }
            // There is no time left to wait in.
            Decision::Impossible { .. } if holds => self.plan_hold(id, device, None, plan),
            Decision::Move(to, ..) if to != device => {
                self.move_task(id, to, Reason::CleanerElsewhere, true, &candidates);
                // It may have stayed, and is thought about again.
                if let Some(task) = self.tasks.get_mut(&id).filter(|task| task.device() == Some(to)) {
                    task.stands.rest_until = now.boot_ms.saturating_add(REST_MS);
                }
            }
            _ => {}
        }
    }

    /// Asks its peer to hold it until then, or to let it go on.
    fn plan_hold(&mut self, id: TaskId, device: PublicKey, until: Option<u64>, plan: Option<String>) {
        let now = self.now;
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let attempt = AttemptId { task: id, attempt: task.current() };
        let before = task.stands.held_until;
        let until = match until {
            Some(until) if before.is_none() && until < now.wall_ms.saturating_add(SHORTEST_HOLD_MS) => None,
            until => until,
        };
        let news = task.plan != plan;
        task.plan = plan;
        let waits_for_us = |task: &Task| {
            task.progress.as_ref().is_some_and(|progress| progress.held == Some(Reason::CleanerLater))
        };
        match (before, until) {
            // Since this device started anew, nothing is planned with it.
            (None, None) if waits_for_us(task) => self.send_task(device, attempt, TaskFrame::GoOn),
            (None, None) => {}
            (Some(_), None) => {
                task.stands.held_until = None;
                task.stands.rest_until = now.boot_ms.saturating_add(REST_MS);
                self.send_task(device, attempt, TaskFrame::GoOn);
            }
            (_, Some(until)) => {
                task.stands.held_until = Some(until);
                let lease_ms = self.tasks.get(&id).map_or(0, |task| self.lease_ms(task));
                let for_ms = until.saturating_sub(now.wall_ms).min(MAX_LEASE_MS);
                self.send_task(device, attempt, TaskFrame::Hold { for_ms });
                // Standing still, too, takes its time.
                self.send_task(device, attempt, TaskFrame::Renew { lease_ms });
            }
        }
        if news {
            self.tell_task(id);
        }
    }

    /// It goes on elsewhere: from its checkpoint if it has one. `by_plan`: this device's own, whatever its peer says.
    // spec: DEL-7, DEL-11
    fn move_task(&mut self, id: TaskId, to: PublicKey, why: Reason, by_plan: bool, candidates: &[Candidate]) {
        let Some(task) = self.tasks.get(&id) else { return };
        let Some(device) = task.device() else { return };
        let stopped = AttemptId { task: id, attempt: task.current() };
        let grant = candidates.iter().find(|peer| peer.device == to).and_then(|peer| peer.grant);
        // What could not be offered any more stays where it is.
        if !self.can_say()
            || self.was_offered_out(id, task)
            || self.is_spent(self.me, task.wire(id), task.spec())
        {
            return;
        }
        // It is thought about again, by what it may run on now.
        if self.recounted(id) {
            return self.regard_soon();
        }
        self.lost_by(id, why.clone(), by_plan);
        if self.tasks.get(&id).is_some_and(|task| task.kept.state == TaskState::Waiting) {
            self.passed_over(id, to);
            self.offer(id, to, grant);
        }
        self.send_task(device, stopped, TaskFrame::Stop(why));
    }

    /// Has a task that waits for its energy without end waited for as long as its submitter would have it?
    // spec: SLA-1
    pub(crate) fn is_expired(&self, id: TaskId) -> bool {
        let expires = self.tasks.get(&id).and_then(|task| Times::of(task.spec()).expires_ms());
        expires.is_some_and(|end| self.now.wall_ms >= end)
    }

    /// By which rule a task's place and hour are chosen, in words.
    // spec: PLACE-3, CLI-3
    pub(crate) fn rule(&self, course: &Course, sla: Sla) -> String {
        let rules = self.ledger.governance().rules();
        let energy = match course.energy {
            Energy::Any if sla == Sla::Urgent => "it starts at once, where energy is cleanest".to_owned(),
            Energy::Any => {
                "it runs on any energy, in the hours and at the place that cost least carbon".to_owned()
            }
            Energy::Clean => format!(
                "it runs on the own sun, wind or water of whoever runs it, or on a grid of at most {} g per kWh (or as in its cleanest 30 % of 30 days) that is at least {} % renewable",
                rules.clean_g_per_kwh, rules.clean_renewable_percent
            ),
            Energy::OwnRenewable => "it runs on the own sun, wind or water of whoever runs it".to_owned(),
            Energy::OwnSolar => "it runs on this device's own sun, from 9 to 15 h by the sun".to_owned(),
            Energy::OwnWind => "it runs on this device's own wind".to_owned(),
        };
        let stops =
            if course.interruptible { "; it may stand still in between" } else { "; it is not interrupted" };
        let level = match sla {
            Sla::Urgent => "URGENT",
            Sla::High => "HIGH",
            Sla::Normal => "NORMAL",
            Sla::Eco => "ECO",
            Sla::SolarOnly => "SOLAR_ONLY",
            Sla::WindOnly => "WIND_ONLY",
        };
        format!("{level}: {energy}{stops}")
    }

    /// What a task would cost of the day's quota.
    // spec: PLACE-3, CLI-3, QUOTA-4
    pub(crate) fn costs(&self, spec: &TaskSpec, health: bool) -> String {
        if let Err(reason) = self.may_submit(spec, spec.replicas, health) {
            return format!("it would be refused: {}", self.refusal(&reason, health));
        }
        let tasks = match spec.replicas {
            0 | 1 => "1 task".to_owned(),
            more => format!("{more} tasks (one for each replica)"),
        };
        let quota = self.quota_view(None).ok();
        match quota.and_then(|quota| Some((quota.left?, quota.left_for_health?, quota.allowed?))) {
            // spec: HEALTH-3
            Some((_, left, _)) if health => format!("{tasks} of the {left} left today for public health"),
            Some((left, _, allowed)) => format!("{tasks} of the {left} left today of {allowed}"),
            None => format!("{tasks}; your tier has no daily limit"),
        }
    }

    /// Why a task may not be submitted, with what there is of the quota and when there is more.
    // spec: QUOTA-4
    pub(crate) fn refusal(&self, reason: &Reason, health: bool) -> String {
        let quota = self.quota_view(None).ok().filter(|_| *reason == Reason::OverQuota);
        let Some(quota) = quota else { return reason.to_string() };
        let Some(allowed) = quota.allowed else { return reason.to_string() };
        let of_health = match (health, quota.health) {
            (false, 0) => String::new(),
            (_, more) => format!(", and {more} more of public health"),
        };
        format!(
            "{reason}: {} of {allowed} tasks of today are used{of_health}; resets {}",
            quota.used,
            quota::utc(quota.resets_ms)
        )
    }

    /// When the window of a task's ballot closes, in milliseconds since 1970.
    pub(crate) fn ballot_closes(&self, id: TaskId) -> Option<u64> {
        let wire = self.tasks.get(&id)?.wire(id);
        let ballot = self.circle().ballot(&self.me, &wire)?;
        Some(ballot.opened_ms.saturating_add(ballot.window_ms))
    }

    /// What the submitter of a task should know at once: that it will be late, or that nobody may run it as things stand.
    // spec: SLA-2
    pub(crate) fn late_from_the_start(&self, id: TaskId) -> Option<String> {
        let task = self.tasks.get(&id)?;
        if task.kept.state != TaskState::Waiting {
            return task.plan.as_ref().filter(|_| task.warned).map(|plan| format!("it {plan}"));
        }
        let blocked = self.blocked_for(id, task);
        let candidates = self.candidates(task.spec(), &task.course, task.kept.on, &blocked);
        let decision = self.ask(task.spec(), &task.course, None, &candidates, Stand::fresh(task.spec()));
        let due = haste(&task.course, &Times::of(task.spec())).1;
        let asks = candidates.iter().any(|peer| peer.permitted == Err(Reason::BallotOpen));
        match &decision {
            // spec: VOTE-1
            Decision::Impossible { soonest_ms: None, .. } if due.is_some() && asks => {
                let until = self
                    .ballot_closes(id)
                    .map_or_else(String::new, |at| format!(", until {} at the latest", quota::utc(at)));
                Some(format!("it waits for its ballot{until}"))
            }
            Decision::Impossible { soonest_ms: None, .. } if due.is_some() => {
                Some(format!("nobody who may run it is there now: {}", self.why(id)))
            }
            Decision::Impossible { .. } => self.told(&decision, &candidates).map(|plan| format!("it {plan}")),
            _ => None,
        }
    }
}

/// Is it planned with by the hour? What waits for its energy without end is held by whoever has that energy.
fn patient(course: &Course) -> bool {
    course.patience == Patience::None && course.interruptible
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_policies::importance::{Voice, course};
    use mesh_protocol::task::Importance;

    fn by_power() -> Vec<Reason> {
        let low = Reason::BatteryLow { percent: 1, floor: 2 };
        vec![Reason::EnergyNotClean, Reason::NoSun, Reason::NoWind, Reason::OnBattery, low, Reason::NoSurplus]
    }

    fn by_will() -> Vec<Reason> {
        vec![
            Reason::VetoedByDonor,
            Reason::VetoedByOwner,
            Reason::NoCapacity,
            Reason::DonorPaused,
            Reason::OutsideHours,
            Reason::DeviceBusy { percent: 90, most: 50 },
            Reason::UploadUsedUp,
            Reason::CleanerElsewhere,
            Reason::Expired,
        ]
    }

    fn by_failure() -> Vec<Reason> {
        let words = String::new;
        vec![
            Reason::PeerSilent,
            Reason::NotConnected,
            Reason::LeaseEnded,
            Reason::Restarted,
            Reason::Overdue,
            Reason::SandboxFailed(words()),
            Reason::NotFetched(words()),
            Reason::BadResult(words()),
            Reason::StorageFailed(words()),
            Reason::Inadmissible(words()),
        ]
    }

    // spec: DEL-3, DEL-7
    #[test]
    fn an_attempt_that_ends_by_will_or_for_its_energy_is_no_failed_try() {
        for reason in by_power() {
            assert!(is_power(&reason) && is_planned(&reason), "{reason}");
        }
        for reason in by_will() {
            assert!(!is_power(&reason) && is_planned(&reason), "{reason}");
        }
        for reason in by_failure() {
            assert!(!is_power(&reason) && !is_planned(&reason), "{reason}");
        }
    }

    // spec: DEL-3, DEL-7
    #[test]
    fn what_stands_still_is_held_where_there_is_a_reason_to_look_at() {
        let (planned, plain) = (Plan { held_until: Some(1), ..Plan::default() }, Plan::default());
        for (phase, held, by_plan, without) in [
            (Phase::Paused, None, false, false),
            (Phase::Paused, Some(Reason::CleanerLater), true, false),
            (Phase::Paused, Some(Reason::DonorPaused), true, true),
            (Phase::Running, Some(Reason::DonorPaused), false, false),
            (Phase::Preparing, Some(Reason::CleanerLater), false, false),
        ] {
            let progress = Progress { phase, permille: 0, note: String::new(), held };
            assert_eq!(
                (planned.is_held(&progress), plain.is_held(&progress)),
                (by_plan, without),
                "{progress:?}"
            );
        }
    }

    // spec: DEL-7
    #[test]
    fn what_goes_on_from_a_checkpoint_has_done_what_that_holds_and_what_begins_anew_nothing() {
        let before = Plan { held_until: Some(1), rest_until: 2, carried_ms: 3, saved_ms: 4 };
        for (resumes, done) in [(true, 4), (false, 0)] {
            let mut plan = before.clone();
            plan.begins(resumes);
            assert_eq!(
                (plan.carried_ms, plan.saved_ms, plan.held_until(), plan.rest_until),
                (done, done, None, 2)
            );
        }
    }

    // spec: PLACE-2, SLA-1
    #[test]
    fn hours_are_planned_for_what_waits_for_no_energy_of_its_own_and_may_stand_still() {
        for (sla, voice, planned) in [
            (Sla::Normal, Voice::NoBallot, true),
            (Sla::Normal, Voice::Level(Importance::Normal), true),
            (Sla::Normal, Voice::Level(Importance::High), false),
            (Sla::Normal, Voice::Silent, false),
            (Sla::Urgent, Voice::NoBallot, false),
            (Sla::High, Voice::NoBallot, false),
            (Sla::Eco, Voice::NoBallot, false),
            (Sla::SolarOnly, Voice::NoBallot, false),
        ] {
            assert_eq!(patient(&course(sla, voice)), planned, "{sla:?} {voice:?}");
        }
    }
}
