//! Can a number that a source tells be true? What cannot is not taken, and the last good one holds while it is valid.
//! Judged by each peer for itself, so floating point will do here.
// spec: EN-3

use mesh_protocol::energy::MAX_G_PER_KWH;
use serde::{Deserialize, Serialize};

/// Times the year's maximum beyond which a number is none.
const TIMES: f64 = 10.0;
/// For how long a source must have been heard before its maximum says anything: a week has each kind of day.
const A_WEEK_MS: u64 = 7 * 24 * 3_600_000;
/// For how long an intensity without a time of its own may be the same to the last digit. A day: no grid stands still
/// from one noon to the next.
const STILL_MS: u64 = 24 * 3_600_000;
/// The same for a power above what an inverter draws for itself. Six hours: an inverter at its limit tells that for some
/// hours of a summer's noon, and no longer.
const STUCK_MS: u64 = 6 * 3_600_000;
/// By how much a source's clock may be ahead of ours.
const AHEAD_MS: u64 = 15 * 60_000;
/// Watts below zero that an inverter draws for itself by night.
const STANDBY_WATTS: f64 = 50.0;
/// Most watts of a home: a wind turbine of one's own. More is a wrong unit.
const MAX_WATTS: f64 = 10_000_000.0;
/// Most watt hours of a battery.
const MAX_WATT_HOURS: f64 = 100_000_000.0;
/// Milliseconds of a month, as the peaks are kept.
const MONTH_MS: u64 = 30 * 24 * 3_600_000;
/// Months of a year, and one that has begun.
const MONTHS: u64 = 13;

/// What a number is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Quantity {
    /// g CO2/kWh of a grid over the life of its plants.
    LifeCycle,
    /// g CO2/kWh of a grid, of what leaves the chimney or of one kWh more: it can be zero.
    Intensity,
    /// A share in percent.
    Percent,
    /// Watts that are made or used, never below zero.
    Watts,
    /// Watts in one direction or the other.
    Flow,
    /// Watt hours.
    WattHours,
}

/// A number as it was told, in our unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    /// How much.
    pub value: f64,
    /// Since when it is so, by the source's own word; none if it does not say.
    pub at_ms: Option<u64>,
    /// Until when it holds.
    pub until_ms: u64,
}

/// Why a number is not taken.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Fault {
    /// It is none.
    #[error("it is no number")]
    NoNumber,
    /// There is no less than nothing.
    #[error("{0} is below zero")]
    Negative(f64),
    /// It is beyond what can be.
    #[error("{0} is more than {1}, the most that can be: is the unit right?")]
    TooMuch(f64, f64),
    /// No grid is so clean.
    #[error("{0} g/kWh is less than any grid causes: is the unit right?")]
    TooLittle(f64),
    /// It is far beyond what was.
    #[error("{0} is more than ten times the year's maximum, {1}")]
    BeyondYear(f64, f64),
    /// What it tells of is over.
    #[error("what it tells is {} old", age(*.0))]
    Late(u64),
    /// It tells of what is to come.
    #[error("its time lies ahead by {}", age(*.0))]
    Ahead(u64),
    /// It tells always the same.
    #[error("it has told exactly {0} for a day: it stands still")]
    Frozen(f64),
    /// It tells always the same power.
    #[error("it has told exactly {0} W for six hours: it stands still")]
    Stuck(f64),
}

/// A span of time, as people say it.
fn age(ms: u64) -> String {
    match ms / 60_000 {
        0..120 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// What a source has told of one quantity.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Feed {
    last: Option<Told>,
    /// The value that was told last, and since when it is the same.
    still: Option<(f64, u64)>,
    /// What it has told at most.
    pub peaks: Peaks,
}

/// The highest values of a year, by the month.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Peaks {
    /// When the first value came.
    since_ms: u64,
    /// Months since 1970, and the highest value in each. At most a year of them.
    months: Vec<(u64, f64)>,
}

impl Peaks {
    fn highest(&self, now_ms: u64) -> Option<f64> {
        let old_enough = !self.months.is_empty() && now_ms.saturating_sub(self.since_ms) >= A_WEEK_MS;
        let highest = self.months.iter().map(|(_, peak)| *peak).fold(0.0, f64::max);
        old_enough.then_some(highest)
    }

    fn note(&mut self, value: f64, now_ms: u64) {
        let month = now_ms / MONTH_MS;
        if self.months.is_empty() {
            self.since_ms = now_ms;
        }
        self.months.retain(|(old, _)| old + MONTHS > month);
        match self.months.iter_mut().find(|(at, _)| *at == month) {
            Some((_, peak)) => *peak = peak.max(value),
            None => self.months.push((month, value)),
        }
    }
}

impl Feed {
    /// Takes what a source tells, if it can be. `constant`: it is known to be always the same.
    // spec: EN-3
    pub fn take(&mut self, told: Told, of: Quantity, constant: bool, now_ms: u64) -> Result<(), Fault> {
        let Told { value, .. } = told;
        let value = match possible(value, of)? {
            value if matches!(of, Quantity::Percent | Quantity::Flow) => value,
            value => match self.peaks.highest(now_ms).filter(|peak| *peak > 0.0 && value > peak * TIMES) {
                Some(peak) => return Err(Fault::BeyondYear(value, peak)),
                None => value,
            },
        };
        if let Some(ahead) = told.at_ms.and_then(|at| at.checked_sub(now_ms + AHEAD_MS)).filter(|by| *by > 0)
        {
            return Err(Fault::Ahead(ahead + AHEAD_MS));
        }
        if told.until_ms <= now_ms {
            return Err(Fault::Late(now_ms - told.at_ms.unwrap_or(told.until_ms).min(now_ms)));
        }
        let same = self.still.is_some_and(|(last, _)| last == value);
        if !same {
            self.still = Some((value, now_ms));
        }
        let since = self.still.map_or(now_ms, |(_, since)| since);
        let intensity = matches!(of, Quantity::LifeCycle | Quantity::Intensity);
        if intensity && !constant && told.at_ms.is_none() && now_ms.saturating_sub(since) >= STILL_MS {
            return Err(Fault::Frozen(value));
        }
        let power = matches!(of, Quantity::Watts | Quantity::Flow) && value.abs() > STANDBY_WATTS;
        if power && !constant && told.at_ms.is_none() && now_ms.saturating_sub(since) >= STUCK_MS {
            return Err(Fault::Stuck(value));
        }
        self.peaks.note(value, now_ms);
        self.last = Some(Told { value, ..told });
        Ok(())
    }

    /// The last good value, while it is valid.
    // spec: EN-3
    pub fn now(&self, now_ms: u64) -> Option<f64> {
        self.last.filter(|last| now_ms < last.until_ms).map(|last| last.value)
    }

    /// What was taken last, valid or not.
    pub fn last(&self) -> Option<&Told> {
        self.last.as_ref()
    }
}

/// The number, if it can be one of these.
fn possible(value: f64, of: Quantity) -> Result<f64, Fault> {
    let (least, most) = match of {
        Quantity::LifeCycle | Quantity::Intensity => (0.0, f64::from(MAX_G_PER_KWH)),
        Quantity::Percent => (0.0, 100.0),
        Quantity::Watts => (-STANDBY_WATTS, MAX_WATTS),
        Quantity::Flow => (-MAX_WATTS, MAX_WATTS),
        Quantity::WattHours => (0.0, MAX_WATT_HOURS),
    };
    match value {
        _ if !value.is_finite() => Err(Fault::NoNumber),
        _ if value < least && of == Quantity::Flow => Err(Fault::TooMuch(value.abs(), most)),
        _ if value < least => Err(Fault::Negative(value)),
        _ if value > most => Err(Fault::TooMuch(value, most)),
        _ if of == Quantity::LifeCycle && value > 0.0 && value < 1.0 => Err(Fault::TooLittle(value)),
        _ if of == Quantity::Watts => Ok(value.max(0.0)),
        _ => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    const DAY: u64 = 24 * HOUR;
    /// A moment like any other.
    const NOW: u64 = 1_790_000_000_000;

    fn told(value: f64) -> Told {
        Told { value, at_ms: Some(NOW), until_ms: NOW + HOUR }
    }

    fn fault(value: f64, of: Quantity) -> Option<Fault> {
        Feed::default().take(told(value), of, false, NOW).err()
    }

    // spec: EN-3
    #[test]
    fn what_cannot_be_is_not_taken() {
        use Quantity::{Flow, Intensity, LifeCycle, Percent, WattHours, Watts};
        for (value, of, wrong) in [
            (380.0, LifeCycle, None),
            (0.0, LifeCycle, None),
            (f64::INFINITY, LifeCycle, Some(Fault::NoNumber)),
            (-1.0, LifeCycle, Some(Fault::Negative(-1.0))),
            (380_000.0, LifeCycle, Some(Fault::TooMuch(380_000.0, 2000.0))),
            (0.38, LifeCycle, Some(Fault::TooLittle(0.38))),
            (1.0, LifeCycle, None),
            (0.38, Intensity, None),
            (2000.1, Intensity, Some(Fault::TooMuch(2000.1, 2000.0))),
            (100.0, Percent, None),
            (100.1, Percent, Some(Fault::TooMuch(100.1, 100.0))),
            (-0.1, Percent, Some(Fault::Negative(-0.1))),
            (-3.0, Watts, None),
            (-51.0, Watts, Some(Fault::Negative(-51.0))),
            (-51.0, Flow, None),
            (-1e7, Flow, None),
            (-2e7, Flow, Some(Fault::TooMuch(2e7, 1e7))),
            (1e9, WattHours, Some(Fault::TooMuch(1e9, 1e8))),
        ] {
            assert_eq!(fault(value, of), wrong, "{value} {of:?}");
        }
        assert_eq!(fault(f64::NAN, Watts), Some(Fault::NoNumber));
        let mut night = Feed::default();
        night.take(told(-3.0), Watts, false, NOW).unwrap();
        assert_eq!(night.now(NOW), Some(0.0), "what an inverter draws by night is not made");
    }

    // spec: EN-3
    #[test]
    fn the_last_good_value_holds_while_it_is_valid() {
        let mut feed = Feed::default();
        feed.take(told(300.0), Quantity::LifeCycle, false, NOW).unwrap();
        let wrong = Told { value: -1.0, at_ms: Some(NOW + 1), until_ms: NOW + 9 * HOUR };
        assert!(feed.take(wrong, Quantity::LifeCycle, false, NOW + 1).is_err());
        assert_eq!(feed.now(NOW + HOUR - 1), Some(300.0));
        assert_eq!(feed.now(NOW + HOUR), None);
    }

    // spec: EN-3
    #[test]
    fn what_is_late_or_ahead_is_not_taken() {
        let at = |at_ms: u64, until_ms: u64| Told { value: 300.0, at_ms: Some(at_ms), until_ms };
        let take = |told| Feed::default().take(told, Quantity::LifeCycle, false, NOW).err();
        assert_eq!(take(at(NOW - 3 * HOUR, NOW)), Some(Fault::Late(3 * HOUR)));
        assert_eq!(take(at(NOW - 3 * HOUR, NOW + 1)), None);
        assert_eq!(take(at(NOW + 15 * 60_000, NOW + HOUR)), None, "clocks differ");
        assert_eq!(take(at(NOW + HOUR, NOW + 2 * HOUR)), Some(Fault::Ahead(HOUR)));
        for (ms, age) in [(0, "0 min"), (HOUR - 1, "59 min"), (2 * HOUR - 1, "119 min"), (3 * HOUR, "3 h")] {
            assert_eq!(Fault::Late(ms).to_string(), format!("what it tells is {age} old"));
        }
    }

    // spec: EN-3
    #[test]
    fn what_stands_still_for_a_day_is_frozen_unless_it_says_when_it_is_from() {
        let of_value = |value: f64, timed: bool, constant: bool, of: Quantity| {
            let mut feed = Feed::default();
            (0..=48).find_map(|half_hour| {
                let now = NOW + half_hour * HOUR / 2;
                let told = Told { value, at_ms: timed.then_some(now), until_ms: now + HOUR };
                feed.take(told, of, constant, now).err().map(|fault| (half_hour, fault))
            })
        };
        let run = |timed, constant, of| of_value(300.0, timed, constant, of);
        assert_eq!(run(false, false, Quantity::LifeCycle), Some((48, Fault::Frozen(300.0))));
        assert_eq!(run(true, false, Quantity::LifeCycle), None);
        assert_eq!(run(false, true, Quantity::LifeCycle), None);
        for of in [Quantity::Watts, Quantity::Flow] {
            assert_eq!(of_value(0.0, false, false, of), None, "a night is as long, and longer");
            assert_eq!(of_value(50.0, false, false, of), None, "what an inverter or a router draws");
            // Panels, and what a home takes, are never the same for so long.
            assert_eq!(run(false, false, of), Some((12, Fault::Stuck(300.0))));
            assert_eq!((run(true, false, of), run(false, true, of)), (None, None));
        }
        assert_eq!(of_value(-300.0, false, false, Quantity::Flow), Some((12, Fault::Stuck(-300.0))));
        assert_eq!(of_value(100.0, false, false, Quantity::Percent), None, "a full battery");
        let mut feed = Feed::default();
        let mut take = |value: f64, hour: u64| {
            let now = NOW + hour * HOUR;
            feed.take(Told { value, at_ms: None, until_ms: now + HOUR }, Quantity::Intensity, false, now)
        };
        assert!(take(300.0, 0).is_ok() && take(300.0, 24).is_err(), "it stood still");
        assert!(take(301.0, 25).is_ok() && take(301.0, 26).is_ok(), "and goes on");
    }

    // spec: EN-3
    #[test]
    fn ten_times_the_years_maximum_is_no_value() {
        let take = |feed: &mut Feed, value: f64, day: u64| {
            let now = NOW + day * DAY;
            let told = Told { value, at_ms: Some(now), until_ms: now + HOUR };
            feed.take(told, Quantity::LifeCycle, false, now)
        };
        for (day, taken) in [(6, Ok(())), (7, Err(Fault::BeyondYear(301.0, 30.0)))] {
            let mut feed = Feed::default();
            take(&mut feed, 30.0, 0).unwrap();
            assert_eq!(
                take(&mut feed, 301.0, day),
                taken,
                "until a week has passed it may be the first real one"
            );
        }
        let mut calm = Feed::default();
        for day in 0..9 {
            take(&mut calm, 0.0, day).unwrap();
        }
        assert_eq!(take(&mut calm, 300.0, 9), Ok(()), "ten times nothing bounds nothing");
        let mut feed = Feed::default();
        let mut take = |value: f64, day: u64| take(&mut feed, value, day);
        for day in 0..60 {
            take(30.0 + (day % 7) as f64, day).unwrap();
        }
        assert_eq!(take(361.0, 60), Err(Fault::BeyondYear(361.0, 36.0)));
        assert!(take(360.0, 60).is_ok());
        for day in 61..61 + 400 {
            take(20.0, day).unwrap();
        }
        assert!(take(201.0, 461).is_err(), "what was more than a year ago is forgotten");
        assert!(feed.peaks.months.len() <= MONTHS as usize);
    }

    // spec: EN-3
    #[test]
    fn what_was_taken_last_is_known_also_when_it_is_valid_no_more() {
        let mut feed = Feed::default();
        assert!(feed.last().is_none());
        feed.take(told(120.0), Quantity::Intensity, false, NOW).unwrap();
        assert_eq!(feed.last().map(|told| told.value), Some(120.0));
        assert_eq!((feed.now(NOW), feed.now(NOW + HOUR)), (Some(120.0), None));
        assert!(feed.last().is_some());
    }
}
