//! What will an hour of electricity cost in carbon, as far as a peer can know?
//!
//! The mean of the same hour over the last seven days, blended with a given forecast where there is one, and corrected
//! by what is observed: by how the newest hours differ, and by how wrong the same blend was at this lead and this hour
//! on the days before. How much each correction counts depends on the lead alone; docs/placement.md says how the
//! weights were found and what each gives. Only +, −, × and ÷ of `f64`, so that every peer gets the same numbers.
// spec: EN-5

mod weights;

/// Hours that are looked ahead: the longest deadline worth planning for, and what forecasts cover.
pub const LEADS: usize = 96;
/// Hours of history that are used, 30 days.
pub const HISTORY: usize = 30 * 24;
/// Quantities that correct the blend.
pub const INPUTS: usize = 10;
/// Share of the given forecast in the blend, in percent. Chosen in the reference experiments, kept as it is.
const GIVEN_PERCENT: f64 = 70.0;
/// The least of the week's mean that a corrected hour can be, so that a correction never makes carbon negative.
const FLOOR: f64 = 0.05;

/// A forecast that somebody gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Issue {
    /// The hour it was given for first, since 1970; it is usable from that hour on.
    pub hour: u64,
    /// g CO2/kWh of that hour and those after it.
    pub values: Vec<f64>,
}

/// What is known of one zone.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The newest hour with a value, since 1970.
    pub newest: u64,
    /// g CO2/kWh by the hour, the newest last. Gaps are closed by whoever reads the source.
    pub values: &'a [f64],
    /// By their hour, oldest first; empty for most people.
    pub issues: &'a [Issue],
}

/// What a lead is judged by: an expectation is `blend + scale × Σ weight × input`.
#[derive(Debug, Clone, Copy)]
pub struct Judged {
    /// Mean of the last seven days, in g/kWh.
    pub scale: f64,
    /// Week and given forecast, in g/kWh.
    pub blend: f64,
    /// Is a given forecast in it?
    pub given: bool,
    /// Corrections, as parts of `scale`.
    pub inputs: [f64; INPUTS],
}

impl Known<'_> {
    fn value(&self, hour: u64) -> Option<f64> {
        let back = usize::try_from(self.newest.checked_sub(hour)?).ok().filter(|back| *back < HISTORY)?;
        Some(self.values[self.values.len().checked_sub(back + 1)?])
    }

    /// What the newest issue that was there at `now` says of hour `at`.
    fn issued(&self, now: u64, at: u64) -> Option<f64> {
        let later = self.issues.partition_point(|issue| issue.hour <= now.min(at));
        let issue = &self.issues[later.checked_sub(1)?];
        issue.values.get(usize::try_from(at - issue.hour).ok()?).copied()
    }

    /// Mean of the same hour over seven days that were known when `known` was the newest.
    fn week(&self, known: u64, at: u64) -> Option<f64> {
        let first = days_back(known, at);
        mean((first..first + 7).filter_map(|day| self.value(at.checked_sub(24 * day)?)))
    }

    /// Week and issue, as they were known then.
    fn blend(&self, known: u64, now: u64, at: u64) -> Option<(f64, bool)> {
        let week = self.week(known, at);
        match (self.issued(now, at), week) {
            (Some(given), Some(week)) => {
                Some(((GIVEN_PERCENT * given + (100.0 - GIVEN_PERCENT) * week) / 100.0, true))
            }
            (Some(given), None) => Some((given, true)),
            (None, week) => week.map(|week| (week, false)),
        }
    }

    /// What each hour from `now` on is judged by; nothing while there is no value at all.
    pub fn judge(&self, now: u64) -> Vec<Judged> {
        let newest = self.newest.min(now);
        let Some(last) = self.value(newest) else { return Vec::new() };
        let lag = now - newest;
        let scale = mean((0..168).filter_map(|back| self.value(newest.checked_sub(back)?))).unwrap_or(last);
        // A zone without any carbon has nothing to scale by.
        let scale = if scale > 0.001 { scale } else { 0.001 };
        // How the last eight days differ from what the blend says of them.
        let off: Vec<f64> = (0..192)
            .map(|back| {
                let hour = newest.checked_sub(back)?;
                Some((self.value(hour)? - self.blend(newest, now, hour)?.0) / scale)
            })
            .map(Option::unwrap_or_default)
            .collect();
        let off_mean = |hours: std::ops::Range<usize>| mean(off[hours].iter().copied()).unwrap_or_default();
        let (off_3, off_24, off_96) = (off_mean(0..4), off_mean(0..24), off_mean(0..96));
        let judge = |lead: usize| {
            let at = now + lead as u64;
            let first = days_back(newest, at);
            let week = self.week(newest, at);
            let (blend, given) = self.blend(newest, now, at).unwrap_or((last, false));
            let same = |day: u64| {
                let hour = at.checked_sub(24 * (first + day))?;
                off.get(usize::try_from(newest.checked_sub(hour)?).ok()?).copied()
            };
            // How wrong the blend was a day before, at this lead and this hour.
            let wrong = |day: u64| {
                let (then, hour) = (now.checked_sub(24 * day)?, at.checked_sub(24 * day)?);
                let known = then.checked_sub(lag)?;
                // A day whose own week is hardly there says more of the gap than of the blend.
                self.value(hour.checked_sub(24 * (days_back(known, hour) + 3))?)?;
                Some((self.value(hour)? - self.blend(known, then, hour)?.0) / scale)
            };
            let weeks_back = 168 * (at.saturating_sub(newest)).div_ceil(168).max(1);
            let weekday = at.checked_sub(weeks_back).and_then(|hour| Some(self.value(hour)? - week?));
            let issue = self.issued(now, at).and_then(|given| Some(given - week?));
            let inputs = [
                off[0],
                issue.unwrap_or_default() / scale,
                off_3,
                off_24,
                off_96,
                same(0).unwrap_or_default(),
                mean((0..7).filter_map(same)).unwrap_or_default(),
                weekday.unwrap_or_default() / scale,
                mean((first..first + 7).filter_map(wrong)).unwrap_or_default(),
                mean((first + 7..first + 17).filter_map(wrong)).unwrap_or_default(),
            ];
            Judged { scale, blend, given, inputs }
        };
        (0..LEADS).map(judge).collect()
    }

    /// g CO2/kWh expected of the hour `now` and those after it; nothing while there is no value at all.
    // spec: EN-5
    pub fn path(&self, now: u64) -> Vec<f64> {
        let age = now.saturating_sub(self.newest);
        let expect = |(lead, judged): (usize, Judged)| {
            if let (0, 0, Some(value)) = (age, lead, self.value(now)) {
                return value;
            }
            let weights =
                weights::at(usize::try_from(age).unwrap_or(LEADS).saturating_add(lead), judged.given);
            let terms = judged.inputs.iter().zip(weights).map(|(input, weight)| input * weight);
            let expected = judged.blend + judged.scale * terms.sum::<f64>();
            if expected > FLOOR * judged.scale { expected } else { FLOOR * judged.scale }
        };
        self.judge(now).into_iter().enumerate().map(expect).collect()
    }
}

/// How many days before `at` the same hour was known.
fn days_back(known: u64, at: u64) -> u64 {
    at.saturating_sub(known).div_ceil(24).max(1)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += value;
        count += 1.0;
    }
    (count > 0.0).then(|| sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A zone with a sunny noon, `level` g at night.
    fn day(hour: u64, level: f64) -> f64 {
        if (10..16).contains(&(hour % 24)) { level / 2.0 } else { level }
    }

    // spec: EN-5
    #[test]
    fn the_same_hour_of_the_last_week_is_expected_and_what_is_observed_corrects_it() {
        let steady: Vec<f64> = (0..720).map(|hour| day(hour, 400.0)).collect();
        let known = Known { newest: 719, values: &steady, issues: &[] };
        let path = known.path(721);
        assert_eq!(path.len(), LEADS);
        for (lead, expected) in path.iter().enumerate() {
            let right = day(721 + lead as u64, 400.0);
            assert!((expected - right).abs() < 1.0, "{lead}: {expected} where it has always been {right}");
        }
        let windy: Vec<f64> =
            (0..720).map(|hour| day(hour, 400.0) * if hour >= 708 { 0.5 } else { 1.0 }).collect();
        let corrected = Known { values: &windy, ..known }.path(721);
        assert!(corrected[0] < path[0] * 0.75, "half of it was observed: {}", corrected[0]);
        let gain = |lead: usize| 1.0 - corrected[lead] / path[lead];
        assert!(gain(0) > gain(26) && gain(26) > gain(90), "what is observed counts less and less");
    }

    // spec: EN-5
    #[test]
    fn a_given_forecast_is_blended_in_and_its_constant_error_is_unlearned() {
        let values: Vec<f64> = (0..720).map(|hour| day(hour, 400.0)).collect();
        let sunny = |hour: u64, error: f64| Issue {
            hour,
            values: (hour..hour + 96)
                .map(|at| day(at, 400.0) * error * if at >= 730 { 0.5 } else { 1.0 })
                .collect(),
        };
        let issues: Vec<Issue> = (0..31).map(|day| sunny(24 * day, 1.0)).collect();
        let known = Known { newest: 719, values: &values, issues: &issues };
        let told = known.path(721);
        assert!(told[12] < day(733, 400.0) * 0.75, "the change it tells of is believed: {}", told[12]);
        let later = Issue { hour: 744, values: vec![1.0; 96] };
        let knows_more: Vec<Issue> = issues.iter().cloned().chain([later]).collect();
        assert_eq!(Known { issues: &knows_more, ..known }.path(721), told, "not usable before its hour");
        let high: Vec<Issue> = (0..31).map(|day| sunny(24 * day, 1.3)).collect();
        let path = Known { issues: &high, ..known }.path(721);
        assert!(path[2] < day(723, 400.0) * 1.1, "it was always too high: {}", path[2]);
    }

    // spec: EN-3
    #[test]
    fn little_history_gives_a_plain_answer_and_none_gives_none() {
        assert!(Known { newest: 0, values: &[], issues: &[] }.path(5).is_empty());
        assert_eq!(Known { newest: 7, values: &[300.0], issues: &[] }.path(7), vec![300.0; LEADS]);
        let zero = [0.0; 48];
        assert!(Known { newest: 47, values: &zero, issues: &[] }.path(50).iter().all(|g| *g < 1.0));
    }
}
