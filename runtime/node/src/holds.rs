//! Does what runs here go on now? By the word of the device's owner and their terms, by the energy that its class wants,
//! and by what its own owner plans with it.
// spec: PERM-5, SLA-1, DEL-7

use crate::attempts::Attempt;
use crate::community::Misbehaviour;
use crate::energy::Draws;
use crate::io::Output;
use crate::node::{Donor, Node, Timer};
use mesh_policies::importance::{Course, Times, is_lack_of_energy, may_go_on};
use mesh_protocol::frame::AttemptId;
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::Payload;
use mesh_protocol::reason::Reason;
use mesh_protocol::task::TaskSpec;

/// How often it is looked whether the sun still shines, and whether what waits for good energy has time left to: often
/// enough for hours that change, seldom enough to cost nothing.
const LOOK_MS: u64 = 10_000;
/// How soon after the votes changed, so that several of them make one look.
const SOON_MS: u64 = 100;
/// Holds for lack of energy that follow each other within this time count together.
const FLAP_MS: u64 = 5 * 60_000;
/// So many of them are weather, after which what stood still goes on at once when its energy is back.
const WEATHER: u32 = 3;
/// After more it waits for this long, twice as long after each further one, up to the most. Each hold is two entries in
/// the ledger, and a device may write hundreds in an hour.
const CALM_MS: (u64, u64) = (1_000, 5 * 60_000);

/// How an attempt stands with its owner's plan and its energy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stand {
    /// Its owner would have it wait until then, by the boot clock.
    planned: Option<u64>,
    /// How long it has computed, and since when it does.
    ran_ms: u64,
    since: Option<u64>,
    /// Holds for lack of energy shortly after each other, and until when the last of them lasts at least.
    flaps: Option<u32>,
    calm_at: u64,
    /// How often its owner had it held shortly after each other, and when last.
    asked: u32,
    asked_at: u64,
}

impl Stand {
    fn ran_ms(&self, now: u64) -> u64 {
        self.ran_ms.saturating_add(self.since.map_or(0, |since| now.saturating_sub(since)))
    }

    /// Its owner would have it held. That is two entries in this device's log; whoever wants it again and again has it run on.
    // spec: NET-4, DEL-7
    fn is_asked_too_often(&mut self, now: u64) -> bool {
        let again = self.asked > 0 && now.saturating_sub(self.asked_at) < FLAP_MS;
        self.asked = if again { self.asked.saturating_add(1) } else { 1 };
        self.asked_at = now;
        self.asked > WEATHER
    }

    /// It is held for lack of energy once more.
    // spec: PLACE-2
    fn flap(&mut self, now: u64) {
        let again = now.saturating_sub(self.calm_at) < FLAP_MS;
        let flaps = self.flaps.filter(|_| again).map_or(0, |flaps| flaps.saturating_add(1));
        let more = flaps.checked_sub(WEATHER);
        let wait = more.map_or(0, |more| CALM_MS.0.saturating_mul(1 << more.min(20)).min(CALM_MS.1));
        self.flaps = Some(flaps);
        self.calm_at = now.saturating_add(wait);
    }
}

impl Node {
    /// What becomes of a task that runs here, by this device's own count.
    // spec: VOTE-8
    pub(crate) fn course_of(&self, owner: PublicKey, id: AttemptId, spec: &TaskSpec) -> Course {
        let mine = self.tasks.get(&id.task).filter(|_| owner == self.me).map(|task| task.course);
        let claimed = self.claimed_course(&owner, &id.task, spec.sla);
        let known = mine.or(claimed);
        known.unwrap_or_else(|| self.circle().course(&owner, &id.task, &spec.name, spec.sla))
    }

    /// It computes, or does so no longer.
    pub(crate) fn computes(&mut self, id: AttemptId, now_runs: bool) {
        let now = self.now.boot_ms;
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let stand = &mut attempt.stand;
        stand.ran_ms = stand.ran_ms(now);
        stand.since = now_runs.then_some(now);
    }

    /// How many of the others here began to draw power at a moment or since, or are about to. What stands still, also since
    /// this device slept, draws none.
    // spec: SLA-4
    pub(crate) fn began_since(&self, at: u64, but: Option<AttemptId>) -> u32 {
        let began = |(id, attempt): &(&AttemptId, &Attempt)| {
            but != Some(**id)
                && attempt.state().is_live()
                && attempt.progress.held.is_none()
                && !attempt.slept
                && attempt.stand.since.is_none_or(|since| since >= at)
        };
        u32::try_from(self.attempts.iter().filter(began).count()).unwrap_or(u32::MAX)
    }

    /// Its owner would have it wait for so long, or go on. No longer than its deadline lets it: an owner who is gone
    /// must not make it late, and nobody keeps a slot for ever by this.
    // spec: DEL-7, SLA-2
    pub(crate) fn hold_asked(&mut self, id: AttemptId, hold_ms: Option<u64>) {
        let (now, wall) = (self.now.boot_ms, self.now.wall_ms);
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let times = Times::of(attempt.spec());
        let left = times.duration_ms.saturating_sub(attempt.stand.ran_ms(now));
        let most = times.latest_ms(left).map_or(0, |latest| latest.saturating_sub(wall));
        let until = hold_ms.map(|ms| now.saturating_add(ms.min(most))).filter(|until| *until > now);
        let (before, stand) = (attempt.stand.planned, &mut attempt.stand);
        if before.is_none() && until.is_some() && stand.is_asked_too_often(now) {
            return;
        }
        stand.planned = until;
        match until {
            // It stands still as before, for longer or not so long, also where that was over just now.
            Some(until) if before.is_some() => {
                self.arm_within(Timer::Hold, until.saturating_sub(now).max(SOON_MS));
            }
            None if before.is_none() => {}
            _ => self.regard_attempts(),
        }
    }

    /// Why an attempt must not go on now; none if it may.
    fn against(&self, id: AttemptId) -> Option<Reason> {
        let now = self.now.boot_ms;
        let attempt = self.attempts.get(&id)?;
        let by_donor = match self.donor {
            Donor::Paused(_) => Err(Reason::DonorPaused),
            Donor::Taking | Donor::Finishing => self.shared.clone(),
        };
        if let Err(reason) = by_donor {
            return Some(reason);
        }
        let (spec, stand) = (attempt.spec(), &attempt.stand);
        let lacking = attempt.progress.held.as_ref().filter(|held| is_lack_of_energy(held));
        let course = self.course_of(attempt.owner, id, spec);
        let own = attempt.owner == self.me;
        let mut start = self.start_of(spec, self.config.energy.as_ref(), &self.me, own);
        let left = spec.limits.duration_ms.saturating_sub(stand.ran_ms(now));
        start.latest_start_ms = Times::of(spec).latest_ms(left);
        let draws = match lacking {
            Some(_) => Draws::NothingForWantOfSun,
            None if stand.since.is_some() => Draws::Already,
            None => Draws::Nothing,
        };
        start.sun = self.has_sun_for(spec, &self.me, draws, Some(id));
        start.spare = self.has_spare(&self.me, draws, Some(id));
        let rules = self.ledger.governance().rules();
        match may_go_on(&course, &start, lacking.is_some(), rules) {
            Err(reason) if !self.has_bug(Misbehaviour::IgnoresEnergy) => Some(reason),
            Err(_) => None,
            Ok(()) if stand.calm_at > now && lacking.is_some() => lacking.cloned(),
            Ok(()) => stand.planned.filter(|until| *until > now).map(|_| Reason::CleanerLater),
        }
    }

    /// Votes that came late may have taken away what let a task run on this energy.
    // spec: SLA-1, VOTE-6
    pub(crate) fn regard_attempts_soon(&mut self) {
        if self.attempts.values().any(|attempt| attempt.state().is_live()) {
            self.arm_within(Timer::Hold, SOON_MS);
        }
    }

    /// Holds what runs here, or lets it go on, as everything stands now.
    // spec: PERM-5, SLA-1, DEL-7
    pub(crate) fn regard_attempts(&mut self) {
        let now = self.now.boot_ms;
        let mut look = None;
        for id in self.live() {
            let reason = self.against(id);
            let Some(attempt) = self.attempts.get_mut(&id) else { continue };
            let stand = &mut attempt.stand;
            stand.planned = stand.planned.filter(|until| *until > now);
            let calm = Some(stand.calm_at).filter(|at| *at > now);
            let next = [stand.planned, calm].into_iter().flatten().chain([now + LOOK_MS]).min();
            look = look.into_iter().chain(next).min();
            // The figures in a reason change; what it says does not.
            let same = |a: &Reason, b: &Reason| std::mem::discriminant(a) == std::mem::discriminant(b);
            match (&reason, &attempt.progress.held) {
                (Some(why), Some(held)) if same(why, held) => continue,
                (None, None) => continue,
                _ => {}
            }
            if reason.as_ref().is_some_and(is_lack_of_energy) {
                attempt.stand.flap(now);
            }
            let before = std::mem::replace(&mut attempt.progress.held, reason.clone());
            let slept = attempt.slept;
            match (&before, &reason) {
                (None, Some(_)) => self.output(Output::Pause(id)),
                (Some(_), None) if !slept => self.output(Output::Resume(id)),
                _ => {}
            }
            let now_held = reason.clone();
            if self.has_words_for_others() {
                self.say(Payload::Held { task: id.task, attempt: id.attempt, reason }, &[]);
            }
            // That it goes on is told when it does.
            if let (Some(_), Some(_)) = (&before, &now_held) {
                self.beat(id);
            }
        }
        match look {
            Some(at) => self.arm(Timer::Hold, at),
            None => self.disarm(Timer::Hold),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PLACE-2
    #[test]
    fn energy_that_comes_and_goes_holds_for_longer_each_time_and_calm_is_forgotten() {
        let mut stand = Stand::default();
        let mut waits = Vec::new();
        let mut now = 1_000;
        for _ in 0..14 {
            stand.flap(now);
            waits.push((stand.calm_at - now) / 1000);
            now = stand.calm_at + 1_000;
        }
        assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        now += FLAP_MS;
        stand.flap(now);
        assert_eq!(stand.calm_at, now);
    }
}
