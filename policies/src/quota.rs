//! How much may a member ask of others today, and what would let them ask for more?
// spec: QUOTA-1, QUOTA-2, QUOTA-3, QUOTA-4

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};
use mesh_protocol::reason::Reason;
use mesh_protocol::rules::{Rules, Tier as Share};
use serde::Serialize;

/// Cents of contribution in a month that make a supporter.
pub const SUPPORT_CENTS: u64 = 500;
/// Completed tasks that make a supporter.
pub const SUPPORT_TASKS: u64 = 50;
/// Votes cast that make a supporter.
pub const SUPPORT_VOTES: u64 = 10;
/// Tasks executed on own devices that a contributor has.
pub const CONTRIBUTE_TASKS: u64 = 100;
/// Votes cast that a contributor has.
pub const CONTRIBUTE_VOTES: u64 = 50;
/// Months of membership, of 30 days, that a contributor has.
pub const CONTRIBUTE_MONTHS: u64 = 3;

/// A member's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Tier {
    /// Everybody.
    Free,
    /// Who gave something back.
    Supporter,
    /// Who keeps giving.
    Contributor,
}

impl Tier {
    /// What the rules give to it.
    // spec: QUOTA-1
    pub fn share(self, rules: &Rules) -> Share {
        match self {
            Self::Free => rules.free,
            Self::Supporter => rules.supporter,
            Self::Contributor => rules.contributor,
        }
    }
}

/// What the ledger proves that a member did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deeds {
    /// Have they been a member for as long as the rules want before tiers count?
    pub settled: bool,
    /// Cents contributed in this month.
    pub cents: u64,
    /// Own tasks that were completed by others.
    pub completed: u64,
    /// Others' tasks executed on own devices.
    pub executed: u64,
    /// Tasks voted on.
    pub votes: u64,
    /// Months of membership, of 30 days.
    pub months: u64,
}

/// The tier that these deeds earn.
// spec: QUOTA-2, PERM-6
pub fn tier(deeds: &Deeds) -> Tier {
    let contributes = deeds.executed >= CONTRIBUTE_TASKS
        && deeds.votes >= CONTRIBUTE_VOTES
        && deeds.months >= CONTRIBUTE_MONTHS;
    let supports =
        deeds.cents >= SUPPORT_CENTS || deeds.completed >= SUPPORT_TASKS || deeds.votes >= SUPPORT_VOTES;
    match () {
        () if !deeds.settled => Tier::Free,
        () if contributes => Tier::Contributor,
        () if supports => Tier::Supporter,
        () => Tier::Free,
    }
}

/// What is missing for the next tier, each with how much of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Next {
    /// Which tier.
    pub tier: Tier,
    /// Is one of them enough, or are all needed?
    pub any: bool,
    /// How many of what are missing; 0 of what is not counted.
    pub missing: Vec<(u64, &'static str)>,
}

/// What is missing for the next tier; none if there is none above.
// spec: QUOTA-4
pub fn next(deeds: &Deeds) -> Option<Next> {
    let lack = |have: u64, need: u64, what: &'static str| (need.saturating_sub(have), what);
    let (tier, any, mut missing) = match tier(deeds) {
        Tier::Free => {
            let any = [
                lack(deeds.cents, SUPPORT_CENTS, "cents contributed this month"),
                lack(deeds.completed, SUPPORT_TASKS, "tasks of yours completed by others"),
                lack(deeds.votes, SUPPORT_VOTES, "votes cast"),
            ];
            (Tier::Supporter, true, any.to_vec())
        }
        Tier::Supporter => {
            let all = [
                lack(deeds.executed, CONTRIBUTE_TASKS, "tasks of others executed on your devices"),
                lack(deeds.votes, CONTRIBUTE_VOTES, "votes cast"),
                lack(deeds.months, CONTRIBUTE_MONTHS, "months of membership"),
            ];
            (Tier::Contributor, false, all.to_vec())
        }
        Tier::Contributor => return None,
    };
    missing.retain(|(lacking, _)| *lacking > 0);
    if !deeds.settled {
        missing = vec![(0, "the first days of membership, which the rules want to pass before tiers count")];
    }
    Some(Next { tier, any, missing })
}

/// What a member has used of a day on one device, and what that device may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Day {
    /// Tasks submitted on the device today.
    pub used: u64,
    /// Of those, matters of public health.
    pub health: u64,
    /// Tasks a day that the device may submit; none for no limit.
    pub allowed: Option<u64>,
}

/// The device's part of the day's tasks: `permille` thousandths, rounded down, so that all parts together are never
/// more than the whole.
// spec: QUOTA-4
pub fn part(tasks: u32, permille: u16) -> Option<u64> {
    (tasks > 0).then(|| u64::from(tasks) * u64::from(permille.min(1000)) / 1000)
}

/// May a task of this size be submitted now, as one of `replicas`?
// spec: QUOTA-1, QUOTA-4, HEALTH-3
pub fn allows(
    day: &Day,
    share: &Share,
    wish: (u64, u64),
    replicas: u8,
    health: bool,
    health_extra: u16,
) -> Result<(), Reason> {
    let (duration_ms, memory_bytes) = wish;
    let too_large =
        |what: &str, wanted: u64, given: u64| Reason::TooLarge { what: what.to_owned(), wanted, given };
    // Where nobody counts tasks, nobody measures them either.
    let Some(allowed) = day.allowed else { return Ok(()) };
    if duration_ms > share.longest_ms && !health {
        return Err(too_large(
            "milliseconds of its submitter's tier (`--duration`)",
            duration_ms,
            share.longest_ms,
        ));
    }
    if memory_bytes > share.memory_bytes && !health {
        return Err(too_large(
            "bytes of memory of its submitter's tier (`--memory`)",
            memory_bytes,
            share.memory_bytes,
        ));
    }
    let extra = if health { u64::from(health_extra) } else { beyond(day.health, health_extra) };
    match day.used.saturating_add(u64::from(replicas.max(1))) <= allowed.saturating_add(extra) {
        true => Ok(()),
        false => Err(Reason::OverQuota),
    }
}

/// A day as a member has it, in milliseconds since 1970: from, and up to and without.
pub type Span = (u64, u64);

/// A time zone as all peers of this version know it, whatever their machines know.
fn zone_of(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

/// Is this the name of a time zone?
pub fn is_zone(name: &str) -> bool {
    zone_of(name).is_some()
}

fn midnights(zone: &TimeZone, at_ms: u64) -> Option<Span> {
    let at = Timestamp::from_millisecond(i64::try_from(at_ms).ok()?).ok()?.to_zoned(zone.clone());
    let start = at.start_of_day().ok()?;
    let end = at.tomorrow().and_then(|next| next.start_of_day()).ok()?;
    let ms = |at: &Zoned| u64::try_from(at.timestamp().as_millisecond()).ok();
    Some((ms(&start).unwrap_or(0), ms(&end)?))
}

/// The day that `at_ms` lies in, for a member who has set these zones at these moments, in order. Before the first, and
/// in a zone that is not known, days are those of UTC.
///
/// Whoever changes the zone stays in the day they are in until the first midnight of the new zone that is not before
/// the old one's: nobody has a second day.
// spec: QUOTA-3
pub fn day(zones: &[(u64, String)], at_ms: u64) -> Span {
    let within =
        |zone: &TimeZone, at: u64| midnights(zone, at).unwrap_or_else(|| (at, at.saturating_add(86_400_000)));
    let mut zone = TimeZone::UTC;
    let mut current: Option<Span> = None;
    for (since, name) in zones.iter().filter(|(since, _)| *since <= at_ms) {
        let old = current.filter(|(_, end)| since < end).unwrap_or_else(|| within(&zone, *since));
        zone = zone_of(name).unwrap_or(TimeZone::UTC);
        let (start, end) = within(&zone, old.1);
        // The old day's end is a midnight of the new zone only if it is the start of a day there.
        current = Some((old.0, if start == old.1 { old.1 } else { end }));
    }
    current.filter(|(_, end)| at_ms < *end).unwrap_or_else(|| within(&zone, at_ms))
}

/// What of a day's health counts beyond the quota, and is not taken from everything else.
// spec: HEALTH-3
pub fn beyond(health: u64, health_extra: u16) -> u64 {
    health.min(u64::from(health_extra))
}

/// A moment in UTC, to the minute.
pub fn utc(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| "never".into(), |at| at.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// The month that a moment lies in, in UTC, as 202611.
pub fn month(at_ms: u64) -> u32 {
    let at = i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.map_or(0, |at| {
        let date = at.to_zoned(TimeZone::UTC).date();
        u32::from(date.year().unsigned_abs()) * 100 + u32::from(date.month().unsigned_abs())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: u64 = 3_600_000;

    fn at(text: &str) -> u64 {
        text.parse::<Timestamp>().unwrap().as_millisecond().unsigned_abs()
    }

    fn zones(list: &[(&str, &str)]) -> Vec<(u64, String)> {
        list.iter().map(|(since, zone)| (at(since), (*zone).to_owned())).collect()
    }

    fn hours((start, end): Span) -> u64 {
        (end - start) / HOUR
    }

    // spec: QUOTA-3
    #[test]
    fn a_day_begins_at_midnight_in_the_zone_and_is_as_long_as_it_is_there() {
        let berlin = zones(&[("2026-01-01T00:00:00Z", "Europe/Berlin")]);
        assert_eq!(
            day(&berlin, at("2026-11-23T04:00:00Z")),
            (at("2026-11-22T23:00:00Z"), at("2026-11-23T23:00:00Z"))
        );
        assert_eq!(hours(day(&berlin, at("2026-03-29T12:00:00Z"))), 23, "the shortest day");
        assert_eq!(hours(day(&berlin, at("2026-10-25T12:00:00Z"))), 25, "the longest day");
        // One moment before midnight, and midnight.
        let end = day(&berlin, at("2026-10-25T12:00:00Z")).1;
        assert_eq!(day(&berlin, end - 1).1, end);
        assert_eq!(day(&berlin, end).0, end);
        assert_eq!(hours(day(&[], at("2026-03-29T12:00:00Z"))), 24, "in no zone it is UTC");
        // Where the clocks change at midnight, the day begins at one.
        let beirut = zones(&[("2026-01-01T00:00:00Z", "Asia/Beirut")]);
        assert_eq!(day(&beirut, at("2026-03-29T12:00:00Z")).0, at("2026-03-28T22:00:00Z"));
        assert_eq!(hours(day(&beirut, at("2026-03-29T12:00:00Z"))), 23);
        assert!(is_zone("Pacific/Kiritimati") && !is_zone("Moon/Tranquility") && !is_zone(""));
        assert_eq!(day(&zones(&[("2026-01-01T00:00:00Z", "Moon/Base")]), 5 * HOUR), (0, 24 * HOUR));
    }

    // spec: QUOTA-3
    #[test]
    fn a_change_of_zone_gives_nobody_a_second_day() {
        // At noon in Berlin, somebody moves to where a new day begins in an hour, or has just begun.
        let noon = "2026-11-23T11:00:00Z";
        let until = |zone: &str| {
            let moved = zones(&[("2026-01-01T00:00:00Z", "Europe/Berlin"), (noon, zone)]);
            let span = day(&moved, at(noon));
            assert_eq!(span.0, at("2026-11-22T23:00:00Z"), "it is still the same day");
            assert_eq!(day(&moved, span.1 - 1), span);
            assert_eq!(day(&moved, span.1).0, span.1);
            span.1
        };
        assert_eq!(until("Pacific/Auckland"), at("2026-11-24T11:00:00Z"));
        assert_eq!(until("Pacific/Honolulu"), at("2026-11-24T10:00:00Z"));
        assert_eq!(until("Europe/Paris"), at("2026-11-23T23:00:00Z"), "whose midnight is the same");
        assert_eq!(until("Europe/Berlin"), at("2026-11-23T23:00:00Z"));
        let back = zones(&[
            ("2026-01-01T00:00:00Z", "Europe/Berlin"),
            (noon, "Pacific/Auckland"),
            ("2026-11-23T11:01:00Z", "Europe/Berlin"),
        ]);
        assert!(day(&back, at("2026-11-23T12:00:00Z")).1 >= at("2026-11-23T23:00:00Z"));
        // Long after a change it is forgotten.
        let later = day(&back, at("2026-12-24T12:00:00Z"));
        assert_eq!(later, (at("2026-12-23T23:00:00Z"), at("2026-12-24T23:00:00Z")));
    }

    proptest! {
        // Each case asks for hundreds of days, and each of those for a time zone's rules.
        #![proptest_config(ProptestConfig::with_cases(64))]

        // spec: QUOTA-3
        #[test]
        fn whatever_the_changes_there_are_no_more_days_than_time_for_them(
            moves in proptest::collection::vec((0u64..10 * 24, 0usize..6), 0..8),
        ) {
            const ZONES: [&str; 6] = ["UTC", "Europe/Berlin", "Pacific/Auckland", "Pacific/Honolulu", "Asia/Kathmandu", "America/New_York"];
            let begin = at("2026-03-20T00:00:00Z");
            let mut zones: Vec<(u64, String)> =
                moves.iter().map(|(hour, zone)| (begin + hour * HOUR, ZONES[*zone].to_owned())).collect();
            zones.sort();
            let mut days: Vec<Span> = (0..12 * 24 * 2).map(|half| day(&zones, begin + half * HOUR / 2)).collect();
            days.dedup_by_key(|span| span.0);
            for pair in days.windows(2) {
                prop_assert!(pair[0].1 <= pair[1].0, "two days at once: {:?}", pair);
            }
            for (start, end) in &days[1..] {
                prop_assert!(end - start >= 23 * HOUR, "a day of {} h", (end - start) / HOUR);
            }
        }
    }

    // spec: QUOTA-2
    #[test]
    fn tiers_are_earned() {
        let new = Deeds { settled: true, ..Deeds::default() };
        let all = Deeds { executed: 100, votes: 50, months: 3, ..new };
        for (deeds, expected) in [
            (new, Tier::Free),
            (Deeds { cents: 499, completed: 49, votes: 9, ..new }, Tier::Free),
            (Deeds { cents: 500, ..new }, Tier::Supporter),
            (Deeds { completed: 50, ..new }, Tier::Supporter),
            (Deeds { votes: 10, ..new }, Tier::Supporter),
            (all, Tier::Contributor),
            (Deeds { executed: 99, ..all }, Tier::Supporter),
            (Deeds { months: 2, ..all }, Tier::Supporter),
            (Deeds { votes: 49, ..all }, Tier::Supporter),
            (Deeds { settled: false, ..all }, Tier::Free),
        ] {
            assert_eq!(tier(&deeds), expected, "{deeds:?}");
        }
    }

    // spec: QUOTA-4
    #[test]
    fn what_is_missing_for_the_next_tier_is_told_and_having_it_reaches_that_tier() {
        let new = Deeds { settled: true, cents: 120, votes: 4, ..Deeds::default() };
        let told = next(&new).unwrap();
        assert_eq!((told.tier, told.any), (Tier::Supporter, true));
        assert_eq!(
            told.missing,
            [
                (380, "cents contributed this month"),
                (50, "tasks of yours completed by others"),
                (6, "votes cast")
            ]
        );
        assert_eq!(tier(&Deeds { votes: 4 + 6, ..new }), Tier::Supporter);
        let more = Deeds { votes: 60, months: 1, executed: 20, ..new };
        let told = next(&more).unwrap();
        assert_eq!((told.tier, told.any), (Tier::Contributor, false));
        assert_eq!(
            told.missing,
            [(80, "tasks of others executed on your devices"), (2, "months of membership")]
        );
        let there = Deeds { executed: 100, months: 3, ..more };
        assert_eq!((tier(&there), next(&there)), (Tier::Contributor, None));
        let young = next(&Deeds { settled: false, ..there }).unwrap();
        assert_eq!((young.tier, young.missing.len()), (Tier::Supporter, 1));
    }

    // spec: QUOTA-1, QUOTA-4
    #[test]
    fn the_eleventh_task_of_a_free_member_is_over_the_quota() {
        let rules = Rules::default();
        let share = Tier::Free.share(&rules);
        let size = (600_000, 100_000_000);
        let ask = |used, replicas, health, spent| {
            let day = Day { used, health: spent, allowed: part(share.tasks, 1000) };
            allows(&day, &share, size, replicas, health, rules.health_extra)
        };
        assert_eq!(ask(9, 1, false, 0), Ok(()));
        assert_eq!(ask(10, 1, false, 0), Err(Reason::OverQuota));
        assert_eq!(ask(8, 3, false, 0), Err(Reason::OverQuota), "each replica counts");
        assert_eq!(ask(7, 3, false, 0), Ok(()));
        assert_eq!(ask(10, 0, false, 0), Err(Reason::OverQuota), "at least one counts");
        // Health has ten more, and takes nothing from the rest.
        assert_eq!(ask(19, 1, true, 9), Ok(()));
        assert_eq!(ask(20, 1, true, 10), Err(Reason::OverQuota));
        assert_eq!(ask(19, 1, false, 10), Ok(()), "nine others and ten of health");
        assert_eq!(ask(20, 1, false, 10), Err(Reason::OverQuota));
        assert_eq!(ask(20, 1, false, 15), Err(Reason::OverQuota));
        let unlimited = Day { used: 1_000_000, health: 0, allowed: part(0, 1000) };
        assert_eq!(allows(&unlimited, &share, (u64::MAX, u64::MAX), 1, false, 0), Ok(()));
        for (duration, memory, fits) in
            [(600_000, 100_000_000, true), (600_001, 1, false), (1, 100_000_001, false)]
        {
            let day = Day { used: 0, health: 0, allowed: Some(10) };
            assert_eq!(allows(&day, &share, (duration, memory), 1, false, 0).is_ok(), fits);
            assert_eq!(allows(&day, &share, (duration, memory), 1, true, 0), Ok(()), "health may be larger");
        }
        assert_eq!((Tier::Supporter.share(&rules).tasks, Tier::Contributor.share(&rules).tasks), (50, 200));
    }

    proptest! {
        // spec: QUOTA-4
        #[test]
        fn all_parts_together_are_no_more_than_the_whole(tasks in 1u32..1000, a in 0u16..=1000, b in 0u16..=1000) {
            let c = 1000u16.saturating_sub(a).saturating_sub(b);
            let parts: u64 = if a + b > 1000 { 0 } else { [a, b, c].iter().filter_map(|share| part(tasks, *share)).sum() };
            prop_assert!(parts <= u64::from(tasks));
            prop_assert_eq!(part(tasks, 2000), Some(u64::from(tasks)));
        }
    }

    #[test]
    fn months_are_told_as_the_ledger_writes_them() {
        assert_eq!(month(at("2026-11-30T23:59:59Z")), 202_611);
        assert_eq!(month(at("2026-12-01T00:00:00Z")), 202_612);
        assert_eq!(month(u64::MAX), 0);
    }

    // spec: QUOTA-4
    #[test]
    fn a_moment_is_told_in_utc_to_the_minute() {
        assert_eq!(utc(at("2026-11-28T23:05:59Z")), "2026-11-28 23:05 UTC");
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(u64::MAX), "never");
    }
}
