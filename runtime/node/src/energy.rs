//! What this device knows of its energy: a history of 30 days, and what it expects by it.
// spec: EN-5, SLA-3, SLA-4

use crate::io::Forecast;
use crate::node::{META_FORECASTS, META_HISTORY, Node};
use mesh_policies::donor::Situation;
use mesh_policies::forecast::{HISTORY, Issue, Known};
use mesh_policies::sun;
use mesh_protocol::ad::{EnergyClaim, HOUR_MS, MAX_OUTLOOK, Outlook, Source};
use mesh_protocol::energy::{MAX_WATTS, Reading};
use mesh_protocol::frame::AttemptId;
use mesh_protocol::key::PublicKey;
use mesh_protocol::record::Table;
use mesh_protocol::task::{Sla, TaskSpec};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Hours of history that say something of hours to come: each hour of the day once.
const ENOUGH: usize = 24;
/// Forecasts are kept one for each part of a day, which is how often most are made anew, and for the eighteen days by
/// which their errors are told.
const PART_HOURS: u64 = 6;
const MAX_FORECASTS: usize = 72;
/// Surplus for which what stood still for want of sun goes on, in percent of what it draws.
const CALM_PERCENT: u32 = 120;
/// Hours for which a history is used in place of readings that do not come: three days. After that it says little of what
/// is.
const STANDS_IN: u64 = 72;
/// For how long a clock that shows less than what is on record may be wrong itself: it is put right within minutes of a
/// start, or by nobody.
const AHEAD_MS: u64 = 10 * 60_000;
/// Where a reading is from that nobody read.
const FROM_HISTORY: &str = "history";

/// What the energy was, by the hour.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct History {
    /// The newest hour, since 1970.
    newest: u64,
    /// The newest hour of which something was told within it. What comes later of it, or of hours before, is not what was
    /// used then: there may have been sun.
    prompt: u64,
    /// g CO2/kWh, the newest last. Hours in which nothing was known have the value before them.
    values: VecDeque<u16>,
}

impl History {
    /// Takes a reading into the hour that it is of, which is over if its source is late. Says whether an hour began with
    /// it, or one that was over has another value.
    // spec: EN-5
    fn note(&mut self, now_ms: u64, at_ms: Option<u64>, g_per_kwh: u16) -> bool {
        let now = now_ms / HOUR_MS;
        // A source's clock may be ahead of ours.
        let hour = at_ms.map_or(now, |at| at / HOUR_MS).min(now);
        if hour == now {
            self.prompt = self.prompt.max(hour);
        } else if hour <= self.prompt {
            return false;
        }
        match (self.values.back_mut(), hour.checked_sub(self.newest)) {
            (Some(_), None) if hour < now => {
                let back = usize::try_from(self.newest - hour).unwrap_or(usize::MAX);
                let at = self.values.len().checked_sub(1).and_then(|last| last.checked_sub(back));
                let value = at.and_then(|at| self.values.get_mut(at));
                return value.is_some_and(|value| std::mem::replace(value, g_per_kwh) != g_per_kwh);
            }
            // A clock that went back tells nothing new.
            (Some(_), None) => return false,
            (Some(last), Some(0)) => {
                *last = g_per_kwh;
                return false;
            }
            (Some(last), Some(passed)) if passed < HISTORY as u64 => {
                let last = *last;
                self.values.extend((1..passed).map(|_| last));
            }
            _ => self.values.clear(),
        }
        self.values.push_back(g_per_kwh);
        self.newest = hour;
        self.values.drain(..self.values.len().saturating_sub(HISTORY));
        true
    }

    /// Forgets hours that lie ahead of now. Says whether there were any.
    fn forget_ahead(&mut self, now_ms: u64) -> bool {
        let now = now_ms / HOUR_MS;
        self.prompt = self.prompt.min(now);
        let Some(ahead) = self.newest.checked_sub(now).filter(|ahead| *ahead > 0) else { return false };
        let keep = self.values.len().saturating_sub(usize::try_from(ahead).unwrap_or(usize::MAX));
        self.values.truncate(keep);
        self.newest = now;
        true
    }

    /// What the cleanest 30 % of the hours did not exceed.
    fn low(&self) -> Option<u16> {
        let mut sorted: Vec<u16> = self.values.iter().copied().collect();
        sorted.sort_unstable();
        (sorted.len() >= ENOUGH).then(|| sorted[(sorted.len() * 3 / 10).max(1) - 1])
    }

    /// What its grid would be now by the same hour of the days before; none if it says too little of that, or is too old.
    // spec: EN-3
    fn instead(&self, now_ms: u64) -> Option<EnergyClaim> {
        let hour = now_ms / HOUR_MS;
        let fresh = hour.checked_sub(self.newest).is_some_and(|passed| passed <= STANDS_IN);
        if self.values.len() < ENOUGH || !fresh {
            return None;
        }
        let values: Vec<f64> = self.values.iter().map(|grams| f64::from(*grams)).collect();
        let grams = Known { newest: self.newest, values: &values, issues: &[] }.path(hour).first()?.round();
        // How much of it was renewable nobody wrote down, so it is none: what asks for that waits.
        Some(EnergyClaim {
            source: Source::Grid,
            renewable_percent: 0,
            g_per_kwh: grams.clamp(0.0, 2000.0) as u16,
        })
    }

    /// g CO2/kWh expected of now and the hours that follow. `now`: what was told last; `prompt`: of this hour.
    fn path(&self, now_ms: u64, now: u16, prompt: bool, forecasts: &Forecasts) -> Vec<u16> {
        let issues = forecasts.issues();
        if self.values.len() < ENOUGH {
            // Too little to know the source's errors by: it is taken at its word, and as it is now where it ends.
            let at = |lead: u64| forecasts.at(now_ms / HOUR_MS, now_ms / HOUR_MS + lead).unwrap_or(now);
            return std::iter::once(now).chain((1..MAX_OUTLOOK as u64).map(at)).collect();
        }
        let values: Vec<f64> = self.values.iter().map(|grams| f64::from(*grams)).collect();
        let known = Known { newest: self.newest, values: &values, issues: &issues };
        let mut path: Vec<u16> =
            known.path(now_ms / HOUR_MS).into_iter().map(|grams| grams.round() as u16).collect();
        path.truncate(MAX_OUTLOOK);
        // What is late says of this hour what it says of those after it.
        if let Some(first) = path.first_mut().filter(|_| prompt) {
            *first = now;
        }
        path
    }
}

/// What its source expected, oldest first: how wrong it was is told by the days before.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Forecasts(VecDeque<(u64, Vec<u16>)>);

impl Forecasts {
    /// Takes what the source expects now. Says whether that is news.
    fn take(&mut self, mut forecast: Forecast) -> bool {
        forecast.g_per_kwh.truncate(MAX_OUTLOOK);
        let Forecast { hour, g_per_kwh } = forecast;
        let last = self.0.back();
        if g_per_kwh.is_empty() || last.is_some_and(|(at, told)| *at > hour || *told == g_per_kwh) {
            return false;
        }
        // Of those of one part of the day the newest says most.
        if last.is_some_and(|(at, _)| at / PART_HOURS == hour / PART_HOURS) {
            self.0.pop_back();
        }
        self.0.push_back((hour, g_per_kwh));
        self.0.drain(..self.0.len().saturating_sub(MAX_FORECASTS));
        true
    }

    /// Forgets what was expected at hours that lie ahead of now. Says whether there was any.
    fn forget_ahead(&mut self, now_ms: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|(hour, _)| *hour <= now_ms / HOUR_MS);
        self.0.len() < before
    }

    fn issues(&self) -> Vec<Issue> {
        let issue = |(hour, told): &(u64, Vec<u16>)| Issue {
            hour: *hour,
            values: told.iter().map(|grams| f64::from(*grams)).collect(),
        };
        self.0.iter().map(issue).collect()
    }

    /// What the newest that was there at an hour says of a later one.
    fn at(&self, now: u64, hour: u64) -> Option<u16> {
        let (from, told) = self.0.iter().rev().find(|(from, _)| *from <= now)?;
        told.get(usize::try_from(hour.checked_sub(*from)?).ok()?).copied()
    }
}

/// What a task that wants sun draws now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Draws {
    /// It computes: it is a part of what the household takes, so that anything above is enough for it.
    Already,
    /// What a slot draws has to be there for it.
    Nothing,
    /// It stood still for want of sun, and needs more of it, so that a cloud does not stop it twice.
    NothingForWantOfSun,
}

/// What anybody is believed of the watts that a busy slot draws.
pub(crate) fn bound_watts(watts: u16) -> u16 {
    watts.clamp(1, u16::try_from(MAX_WATTS).unwrap_or(u16::MAX))
}

impl Node {
    /// Its source expects something.
    // spec: EN-5
    pub(crate) fn forecast_is(&mut self, forecast: Forecast) {
        self.forget_what_is_ahead();
        if self.forecasts.take(forecast) {
            let forecasts = self.forecasts.clone();
            self.keep(Table::Meta, META_FORECASTS.to_vec(), &forecasts);
            self.expected_for = None;
            self.regard_energy();
        }
    }

    /// Takes what was read; where nothing is, history stands in for it.
    // spec: EN-3
    pub(crate) fn energy_read(&mut self, reading: Option<Reading>, at_ms: Option<u64>) {
        self.forget_what_is_ahead();
        self.reads = reading.is_some();
        let at_ms = at_ms.filter(|_| self.reads);
        let reading = reading.or_else(|| self.by_history());
        let energy = reading.as_ref().map(|reading| reading.claim);
        self.energy_is(reading, at_ms);
        let before = std::mem::replace(&mut self.config.energy, energy);
        let before_at = std::mem::replace(&mut self.energy_at, at_ms);
        if (before, before_at) != (energy, at_ms) {
            self.regard_energy();
        }
        if before != energy {
            self.regard_donor();
            self.advertise_soon();
            self.place_soon();
            self.regard_soon();
        }
    }

    /// Takes how the device is.
    // spec: PERM-5, SLA-4
    pub(crate) fn situation_is(&mut self, situation: Situation) {
        let had = self.has_sun(&self.me, Draws::Nothing, None);
        // It comes with everything else that changes: the same figure again was most likely not read anew.
        if self.situation.surplus_watts != situation.surplus_watts {
            self.surplus_at = self.now.boot_ms;
        }
        self.situation = situation;
        self.regard_energy();
        self.regard_donor();
        if self.has_sun(&self.me, Draws::Nothing, None) != had {
            self.advertise_soon();
            self.place_soon();
        }
    }

    /// Takes what one busy slot draws from now on.
    // spec: PLACE-1, SLA-4
    pub(crate) fn slot_draws(&mut self, watts: u16) {
        self.config.slot_watts = watts;
        self.expected_for = None;
        self.regard_energy();
        self.advertise_soon();
        self.place_soon();
        self.regard_soon();
    }

    /// Watts of a busy slot, as far as that can be.
    fn slot_watts(&self) -> u16 {
        bound_watts(self.config.slot_watts)
    }

    fn by_history(&self) -> Option<Reading> {
        let claim = self.history.instead(self.now.wall_ms)?;
        Some(Reading { estimated: true, ..Reading::of(claim, FROM_HISTORY) })
    }

    /// Forgets what a clock that was wrong has dated ahead, so that it goes on from now. A clock that is wrong now, as where
    /// the time is not known before the network is, is given time to be put right.
    // spec: EN-5, EN-3
    fn forget_what_is_ahead(&mut self) {
        let (now, boot) = (self.now.wall_ms, self.now.boot_ms);
        let most = now.saturating_add(HOUR_MS);
        let is_ahead = |ms: u64| ms > most;
        let hours = [Some(self.history.newest), self.forecasts.0.back().map(|(hour, _)| *hour)];
        let mut stamps = hours.into_iter().flatten().map(|hour| hour.saturating_mul(HOUR_MS));
        if !stamps.any(is_ahead) && !self.accounts.history.newest().is_some_and(is_ahead) {
            self.ahead_since = None;
            return;
        }
        if boot.saturating_sub(*self.ahead_since.get_or_insert(boot)) < AHEAD_MS {
            return;
        }
        self.ahead_since = None;
        self.expected_for = None;
        if self.history.forget_ahead(now) {
            let history = self.history.clone();
            self.keep(Table::Meta, META_HISTORY.to_vec(), &history);
        }
        if self.forecasts.forget_ahead(now) {
            let forecasts = self.forecasts.clone();
            self.keep(Table::Meta, META_FORECASTS.to_vec(), &forecasts);
        }
        self.forget_readings_ahead();
    }

    /// Takes what the energy is now into its history, and finds anew what is expected.
    pub(crate) fn regard_energy(&mut self) {
        self.forget_what_is_ahead();
        let now_ms = self.now.wall_ms;
        let hour = u32::try_from(now_ms / HOUR_MS).unwrap_or(u32::MAX);
        if !self.reads && self.expected_for.is_some_and(|(before, ..)| before != hour) {
            // What stands in is another one in each hour, and at last none.
            let reading = self.by_history();
            self.config.energy = reading.as_ref().map(|reading| reading.claim);
            self.energy_is(reading, None);
        }
        if let Some(claim) = self.config.energy.filter(|_| self.reads)
            && self.history.note(now_ms, self.energy_at, claim.g_per_kwh)
        {
            let history = self.history.clone();
            self.keep(Table::Meta, META_HISTORY.to_vec(), &history);
        }
        // Whole watts, at least those that a task needs: less changes nothing.
        let surplus =
            self.situation.surplus_watts.map(|watts| u32::try_from(watts.max(0)).unwrap_or(u32::MAX));
        let of_hour = self.energy_at.map_or_else(|| hour.into(), |at| at / HOUR_MS);
        let expected_for = Some((hour, self.config.energy, of_hour, surplus));
        if self.expected_for == expected_for {
            return;
        }
        self.expected_for = expected_for;
        let prompt = of_hour >= u64::from(hour);
        let path = |claim: EnergyClaim| self.history.path(now_ms, claim.g_per_kwh, prompt, &self.forecasts);
        self.outlook = Outlook {
            hour,
            g_per_kwh: self.config.energy.map_or_else(Vec::new, path),
            low_g_per_kwh: self.history.low(),
            surplus_watts: surplus,
            slot_watts: self.slot_watts(),
        };
    }

    /// What a device expects of its energy, by its own word.
    pub(crate) fn outlook_of(&self, device: &PublicKey) -> Option<&Outlook> {
        if *device == self.me { Some(&self.outlook) } else { Some(&self.ad_of(device)?.outlook) }
    }

    /// Is there sun for a task on that device: by its place, and by what its panels give beside its household?
    // spec: SLA-4, PLACE-2
    pub(crate) fn has_sun_for(
        &self,
        spec: &TaskSpec,
        device: &PublicKey,
        task: Draws,
        runs: Option<AttemptId>,
    ) -> bool {
        // No other asks for it.
        spec.sla != Sla::SolarOnly || self.has_sun(device, task, runs)
    }

    /// Where a device's own generation is more than its household takes: is that so by what a task draws? What is less is
    /// judged by what the energy is then.
    // spec: SLA-3
    pub(crate) fn has_spare(&self, device: &PublicKey, task: Draws, runs: Option<AttemptId>) -> bool {
        let surplus = self.outlook_of(device).and_then(|outlook| outlook.surplus_watts);
        surplus.is_none_or(|watts| watts == 0) || self.has_watts(device, task, runs)
    }

    fn has_sun(&self, device: &PublicKey, task: Draws, runs: Option<AttemptId>) -> bool {
        let place = match *device == self.me {
            true => self.config.place,
            false => self.ledger.facts().registered(device).and_then(|registered| registered.place),
        };
        self.has_watts(device, task, runs) && place.is_none_or(|place| sun::shines(place, self.now.wall_ms))
    }

    /// `runs`: the attempt that asks, if it has begun. What others began to draw since the surplus was read is theirs.
    fn has_watts(&self, device: &PublicKey, task: Draws, runs: Option<AttemptId>) -> bool {
        let enough = |outlook: &Outlook| {
            let slot = u32::from(outlook.slot_watts);
            let needed = match task {
                Draws::Already => 1,
                Draws::Nothing => slot,
                Draws::NothingForWantOfSun => slot * CALM_PERCENT / 100,
            };
            let unread = || match task {
                Draws::Already => 0,
                _ if *device != self.me => 0,
                _ => slot.saturating_mul(self.began_since(self.surplus_at, runs)),
            };
            outlook.surplus_watts.is_none_or(|watts| watts >= needed.saturating_add(unread()))
        };
        self.outlook_of(device).is_none_or(enough)
    }
}

/// What the node remembers to have expected: in which hour, by which energy, of which hour that is, and surplus.
pub(crate) type ExpectedFor = Option<(u32, Option<EnergyClaim>, u64, Option<u32>)>;

#[cfg(test)]
mod tests {
    use super::*;

    // spec: EN-5, EN-3
    #[test]
    fn thirty_days_are_kept_by_the_hour_and_gaps_are_closed() {
        let (mut history, none) = (History::default(), Forecasts::default());
        assert!(history.note(10 * HOUR_MS, None, 300) && !history.note(10 * HOUR_MS + 1, None, 310));
        assert!(
            history.note(13 * HOUR_MS, None, 100) && !history.note(12 * HOUR_MS, None, 5),
            "the clock went back"
        );
        assert_eq!(history.values, [310, 310, 310, 100]);
        assert_eq!(
            history.path(13 * HOUR_MS, 100, true, &none),
            [100; MAX_OUTLOOK],
            "too little to expect a change by"
        );
        assert_eq!(history.low(), None);
        for hour in 14..2000 {
            history.note(hour * HOUR_MS, None, 100 + (hour % 24) as u16);
        }
        assert_eq!((history.values.len(), history.newest), (HISTORY, 1999));
        assert_eq!(history.low(), Some(107), "8 of 24 hours are lower, and 30 % are 7.2");
        let of = |hours: u16| History { values: (100..100 + hours).collect(), ..History::default() }.low();
        assert_eq!([23, 24, 26, 27].map(of), [None, Some(106), Some(106), Some(107)]);
        let path = history.path(1999 * HOUR_MS, 107, true, &none);
        assert_eq!((path.len(), path[0]), (MAX_OUTLOOK, 107));
        assert!((path[24].abs_diff(107)) <= 3, "the same hour of the next day: {}", path[24]);
        history.note(9000 * HOUR_MS, None, 50);
        assert_eq!(history.values, [50], "nothing is known of the time between");
    }

    // spec: EN-5
    #[test]
    fn what_comes_late_is_filed_under_the_hour_that_it_is_of() {
        let (mut history, none) = (History::default(), Forecasts::default());
        let grams = |hour: u64| if (10..14).contains(&(hour % 24)) { 100 } else { 400 };
        let late = |history: &mut History, now: u64| {
            history.note(now * HOUR_MS, Some((now - 2) * HOUR_MS + 1), grams(now - 2))
        };
        for now in 1000..1600 {
            assert!(late(&mut history, now) && !late(&mut history, now), "an hour begins with it, once");
        }
        assert_eq!((history.newest, history.values.len()), (1597, 600));
        let by_hour = |history: &History, hour: u64| history.values[(hour - 998) as usize];
        assert!((998..1598).all(|hour| by_hour(&history, hour) == grams(hour)), "none is shifted");
        // Two hours before it gets clean, what was told last is dirty, and says so of its own hour only.
        let path = history.path(1599 * HOUR_MS, 400, false, &none);
        let ahead = |lead: u64| path[lead as usize].abs_diff(grams(1599 + lead));
        assert!((0..24).all(|lead| ahead(lead) <= 60), "{:?}", &path[..24]);
        assert_eq!(history.path(1599 * HOUR_MS, 401, true, &none)[0], 401, "what is of now is so");
        // A better figure of an hour that is over takes its place, and is kept.
        assert!(history.note(1599 * HOUR_MS, Some(1590 * HOUR_MS), 77) && by_hour(&history, 1590) == 77);
        assert!(!history.note(1599 * HOUR_MS, Some(1590 * HOUR_MS), 77), "once");
        assert!(!history.note(1599 * HOUR_MS, Some(5 * HOUR_MS), 77), "of that nothing is kept");
        // Own sun was of now. What the grid was meanwhile is told later, and nobody used it.
        assert!(history.note(1600 * HOUR_MS, None, 41));
        assert!(!history.note(1601 * HOUR_MS, Some(1599 * HOUR_MS), 400));
        assert!(!history.note(1602 * HOUR_MS, Some(1600 * HOUR_MS), 400) && by_hour(&history, 1600) == 41);
        assert!(history.note(1603 * HOUR_MS, Some(1601 * HOUR_MS), 399));
        assert_eq!((by_hour(&history, 1601), history.newest), (399, 1601));
        assert!(history.note(1604 * HOUR_MS, Some(1604 * HOUR_MS + 900_000), 50), "clocks differ");
        assert_eq!(history.newest, 1604);
    }

    // spec: EN-5
    #[test]
    fn hours_ahead_of_now_are_forgotten_and_it_goes_on_from_now() {
        let mut history = History::default();
        for hour in 1000..1050 {
            history.note(hour * HOUR_MS, None, 300);
        }
        history.note(1100 * HOUR_MS, None, 50);
        assert!(history.forget_ahead(1049 * HOUR_MS) && !history.forget_ahead(1049 * HOUR_MS));
        assert_eq!((history.newest, history.prompt), (1049, 1049));
        assert_eq!(history.values, [300; 50], "what was before is as it was");
        assert!(history.note(1050 * HOUR_MS, None, 310) && history.values.back() == Some(&310));
        // So far ahead that all before was given up.
        history.note(9000 * HOUR_MS, None, 50);
        assert!(history.forget_ahead(1051 * HOUR_MS) && history.values.is_empty());
        assert!(history.note(1051 * HOUR_MS, None, 320) && history.values == [320]);
        let mut forecasts = Forecasts::default();
        let given = |hour, grams| Forecast { hour, g_per_kwh: vec![grams; 9] };
        assert!(forecasts.take(given(1000, 80)) && forecasts.take(given(1100, 70)));
        assert!(forecasts.forget_ahead(1001 * HOUR_MS) && !forecasts.forget_ahead(1001 * HOUR_MS));
        assert!(forecasts.0.len() == 1 && forecasts.take(given(1007, 60)));
    }

    // spec: EN-5
    #[test]
    fn a_given_forecast_is_blended_in_and_kept_as_long_as_it_says_something_of_the_next() {
        let mut forecasts = Forecasts::default();
        let given = |hour: u64, grams: u16| Forecast { hour, g_per_kwh: vec![grams; 200] };
        assert!(!forecasts.take(Forecast { hour: 1, g_per_kwh: vec![] }), "nothing says nothing");
        assert!(forecasts.take(given(13, 80)) && !forecasts.take(given(14, 80)), "the same is no news");
        assert!(!forecasts.take(given(12, 70)), "an older one");
        assert!(forecasts.take(given(13, 81)) && forecasts.take(given(13, 80)), "another of the same hour");
        let mut history = History::default();
        history.note(13 * HOUR_MS, None, 300);
        let path = history.path(13 * HOUR_MS, 300, true, &forecasts);
        assert_eq!((path[0], path[1], path[95], path.len()), (300, 80, 80, MAX_OUTLOOK));
        assert!(forecasts.take(given(17, 60)) && forecasts.take(given(18, 90)));
        assert_eq!(forecasts.0.len(), 2, "the newest of each six hours");
        for hour in 14..600 {
            history.note(hour * HOUR_MS, None, 300);
        }
        for hour in 19..600 {
            forecasts.take(given(hour, if hour < 599 { 300 } else { 100 }));
        }
        assert!(forecasts.0.len() <= MAX_FORECASTS);
        let (told, untold) = (&forecasts, &Forecasts::default());
        let at = |forecasts: &Forecasts| history.path(599 * HOUR_MS, 300, true, forecasts)[6];
        assert!(at(untold) > 290 && at(told) < 200, "{} and {}", at(untold), at(told));
        let mut many = Forecasts::default();
        for day in 0..100 {
            for part in 0..4 {
                many.take(given(day * 24 + part * 6, (day * 4 + part) as u16));
            }
        }
        assert_eq!((many.0.len(), many.0[0].1.len()), (MAX_FORECASTS, MAX_OUTLOOK));
    }
}
