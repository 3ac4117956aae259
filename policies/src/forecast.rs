//! What will an hour of electricity cost in carbon, as far as a peer can know?
//!
//! The mean of the same hour over the last seven days, blended with a given forecast where there is one, and corrected
//! by what is observed: by how the newest hours differ, by how wrong the same blend was at this lead and this hour on
//! the days before, and by what the weeks before were like. How much each correction counts depends on the lead and on
//! how long the zone's deviations have lasted in the last month: where they pass within hours, hardly at all.
//! docs/placement.md says how the weights were found and what each gives. Only +, −, ×, ÷ and √ of `f64`, so that every
//! peer gets the same numbers.
// spec: EN-5

mod weights;

/// Hours that are looked ahead: the longest deadline worth planning for, and what forecasts cover.
pub const LEADS: usize = 96;
/// Hours of history that are used, 30 days.
pub const HISTORY: usize = 30 * 24;
/// Quantities that correct the blend.
const CORRECTIONS: usize = 13;
/// Hours after which a zone's deviations are compared with themselves: within one weather, and at the same time of day.
const LASTS_H: [usize; 2] = [3, 24];
/// What is left of a deviation after these, as a part of it, in a zone like most.
const LASTS: [f64; 2] = [0.8, 0.4];
/// Hours of deviations that it takes to say that a zone is not like most: a week.
const ENOUGH: usize = 7 * 24;
/// The corrections as they are, and times by how much more of a deviation is left after each of `LASTS_H` than usual.
pub const INPUTS: usize = CORRECTIONS * (1 + LASTS_H.len());
/// Share of the given forecast in the blend, in percent. Chosen in the reference experiments, kept as it is.
const GIVEN_PERCENT: f64 = 70.0;
/// How much better the farthest hour counts than it is expected to be, in parts of the zone's spread; one nearer, less in
/// proportion. It is used only if it still seems good when it comes, so that waiting for it is worth more than its mean:
/// the value of an option.
const OPTION: f64 = 0.2;
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
    /// By how much the zone's hours differ from their weeks, root mean square, as a part of `scale`.
    pub spread: f64,
    /// Corrections, as parts of `scale`.
    pub inputs: [f64; INPUTS],
}

impl Known<'_> {
    /// The month's deviations from their weeks' means: root mean square, as a part of `scale`, and autocorrelation at each
    /// of [`LASTS_H`], above [`LASTS`]. One zone's errors of a few weeks say too little of what each correction is worth there; these say
    /// enough of it to choose among what all zones have taught.
    fn deviations(&self, newest: u64, scale: f64) -> (f64, [f64; LASTS_H.len()]) {
        let off = |back: usize| {
            let hour = newest.checked_sub(back as u64)?;
            let value = self.value(hour)?;
            let week = mean((1..8).filter_map(|day| self.value(hour.checked_sub(24 * day)?)))?;
            Some((value - week) / scale)
        };
        let off: Vec<f64> = (0..HISTORY - 7 * 24).map_while(off).collect();
        let squares: f64 = off.iter().map(|off| off * off).sum();
        let lasting = std::array::from_fn(|index| {
            let products = off.iter().zip(off.iter().skip(LASTS_H[index])).map(|(off, before)| off * before);
            // Where nothing deviates, or little is known, it is like most.
            if squares > 1e-9 && off.len() >= ENOUGH {
                products.sum::<f64>() / squares - LASTS[index]
            } else {
                0.0
            }
        });
        let spread = if off.is_empty() { 0.0 } else { (squares / off.len() as f64).sqrt() };
        (spread, lasting)
    }

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
        let (off_3, off_24, off_96, off_168) =
            (off_mean(0..4), off_mean(0..24), off_mean(0..96), off_mean(0..168));
        let (spread, lasting) = self.deviations(newest, scale);
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
            // What the weekday is like beside the week around it, in four weeks.
            let weekdays = mean((0..4).filter_map(|back| {
                let hour = at.checked_sub(weeks_back + 168 * back)?;
                let days = first + 7 * back..first + 7 * back + 7;
                Some(self.value(hour)? - mean(days.filter_map(|day| self.value(at.checked_sub(24 * day)?)))?)
            }));
            let month = mean((first + 7..first + 28).filter_map(|day| self.value(at.checked_sub(24 * day)?)));
            let issue = self.issued(now, at).and_then(|given| Some(given - week?));
            let corrections: [f64; CORRECTIONS] = [
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
                month.and_then(|month| Some(month - week?)).unwrap_or_default() / scale,
                weekdays.unwrap_or_default() / scale,
                off_168,
            ];
            let inputs = std::array::from_fn(|input| {
                let correction = corrections[input % CORRECTIONS];
                match input / CORRECTIONS {
                    0 => correction,
                    lasts => correction * lasting[lasts - 1],
                }
            });
            Judged { scale, blend, given, spread, inputs }
        };
        (0..LEADS).map(judge).collect()
    }

    /// g CO2/kWh by which the hour `now` and those after it are to be planned: what is expected of each, and a little less
    /// the longer it can be waited for. Nothing while there is no value at all.
    // spec: EN-5, PLACE-2
    pub fn path(&self, now: u64) -> Vec<f64> {
        self.ahead(now, OPTION)
    }

    /// g CO2/kWh expected of the hour `now` and those after it; nothing while there is no value at all. An hour that others
    /// may take first is no option.
    // spec: EN-5
    pub fn expected(&self, now: u64) -> Vec<f64> {
        self.ahead(now, 0.0)
    }

    fn ahead(&self, now: u64, option: f64) -> Vec<f64> {
        let age = now.saturating_sub(self.newest);
        let expect = |(lead, judged): (usize, Judged)| {
            if let (0, 0, Some(value)) = (age, lead, self.value(now)) {
                return value;
            }
            let weights =
                weights::at(usize::try_from(age).unwrap_or(LEADS).saturating_add(lead), judged.given);
            let terms = judged.inputs.iter().zip(weights).map(|(input, weight)| input * weight);
            let option = option * judged.spread * lead as f64 / LEADS as f64;
            let expected = judged.blend + judged.scale * (terms.sum::<f64>() - option);
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

    /// Four hundred grams, and by so much more or less as nobody could say, for so many hours at a time.
    fn by_chance(hour: u64, lasts: u64) -> f64 {
        let week = (hour / 168).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The second half of a week makes good for the first, so that each is as the others in the mean.
        let mixed = (hour % 84 / lasts).wrapping_add(week).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        if (mixed >> 40).is_multiple_of(2) == (hour % 168 < 84) { 80.0 } else { -80.0 }
    }

    // spec: EN-5
    #[test]
    fn what_is_observed_counts_for_longer_where_deviations_last() {
        let gain = |lasts: u64| {
            let zone = |more: f64| -> Vec<f64> {
                let late = |hour: u64| if hour >= 668 { more } else { 0.0 };
                (0..672).map(|hour| 400.0 + by_chance(hour, lasts) + late(hour)).collect()
            };
            let path = |values: &[f64]| Known { newest: 671, values, issues: &[] }.path(673)[6];
            path(&zone(120.0)) - path(&zone(0.0))
        };
        let (passes, lasts) = (gain(1), gain(42));
        assert!(
            passes * 2.0 < lasts,
            "{passes} g of 120 are expected to be left where they pass, {lasts} where not"
        );
    }

    // spec: EN-5, PLACE-2
    #[test]
    fn an_hour_that_can_be_waited_for_counts_a_little_less_where_much_is_left_to_chance() {
        let path = |sign: f64| {
            let values: Vec<f64> = (0..672).map(|hour| 400.0 + sign * by_chance(hour, 6)).collect();
            Known { newest: 671, values: &values, issues: &[] }.path(671)
        };
        // Whatever is expected of one is expected of the other with the other sign.
        let (high, low) = (path(1.0), path(-1.0));
        let both: Vec<f64> = high.iter().zip(&low).map(|(high, low)| (high + low) / 2.0).collect();
        assert!((both[0] - 400.0).abs() < 0.1, "it is known: {}", both[0]);
        assert!((380.0..390.0).contains(&both[95]), "a fifth of the spread: {}", both[95]);
        assert!((390.0..395.0).contains(&both[47]), "and half of that in half the time: {}", both[47]);
        let steady = [400.0; 720];
        let sure = Known { newest: 719, values: &steady, issues: &[] }.path(719);
        assert!(sure.iter().all(|grams| (grams - 400.0).abs() < 0.1), "nothing is left to chance: {sure:?}");
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
