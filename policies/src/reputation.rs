//! How far has a member kept their word, by what the ledger proves? Never a ban from one event.
// spec: REP-1

/// After so long an event counts half.
pub const HALF_LIFE_MS: u64 = 90 * 24 * 3_600_000;
/// What everybody starts with.
pub const START: i64 = 20;

/// What a member did. Counts are of everything up to now; what decays comes with its dates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Others' tasks executed, whose results were taken.
    pub executed: u64,
    /// Replicas that agreed with the others.
    pub agreed: u64,
    /// Thousandths of the promised time that their devices were there; none if nothing was promised.
    pub uptime_permille: Option<u64>,
    /// Votes cast.
    pub votes: u64,
    /// When leases failed.
    pub failed: Vec<u64>,
    /// When results were wrong.
    pub wrong: Vec<u64>,
    /// When energy claims could not be true.
    pub implausible: Vec<u64>,
    /// Logs that forked, or were revoked.
    pub forks: u64,
}

/// What is left of an event's thousand points after some time: half for each half-life, and straight lines between.
pub fn decayed(age_ms: u64) -> i64 {
    let halves = age_ms / HALF_LIFE_MS;
    // 2^10 is more than a thousand: nothing is left then.
    let whole = if halves < 10 { 1000i64 >> halves } else { 0 };
    let part = i64::try_from(age_ms % HALF_LIFE_MS * 1000 / HALF_LIFE_MS).unwrap_or(0);
    whole - (whole - whole / 2) * part / 1000
}

fn fading(dates: &[u64], now_ms: u64, each: i64) -> i64 {
    let points: i64 = dates.iter().filter(|at| **at <= now_ms).map(|at| decayed(now_ms - at) * each).sum();
    points / 1000
}

/// The sum, from 0 to 100, and each of its terms.
pub fn sum(record: &Record, upheld_disputes: &[u64], now_ms: u64) -> (u64, Vec<(&'static str, i64)>) {
    let capped = |count: u64, each: u64, most: u64| {
        i64::try_from(count.saturating_mul(each).min(most)).unwrap_or(i64::MAX)
    };
    let terms = vec![
        ("for being a member", START),
        ("tasks executed for others", capped(record.executed, 1, 40)),
        ("replicas that agreed", capped(record.agreed, 2, 20)),
        (
            "being there as promised",
            record.uptime_permille.map_or(0, |permille| capped(permille, 1, 1000) / 100),
        ),
        ("votes cast", capped(record.votes, 1, 10)),
        ("leases that failed", -fading(&record.failed, now_ms, 3)),
        ("wrong results", -fading(&record.wrong, now_ms, 15)),
        ("energy claims that could not be true", -fading(&record.implausible, now_ms, 5)),
        ("disputes of health that were upheld", -fading(upheld_disputes, now_ms, 10)),
        ("forked logs", -capped(record.forks, 15, 60)),
    ];
    let sum: i64 = terms.iter().map(|(_, points)| points).sum();
    (sum.clamp(0, 100).unsigned_abs(), terms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // spec: REP-1
    #[test]
    fn what_happened_long_ago_counts_less() {
        assert_eq!(decayed(0), 1000);
        assert_eq!(decayed(HALF_LIFE_MS / 2), 750);
        assert_eq!(decayed(HALF_LIFE_MS), 500);
        assert_eq!(decayed(HALF_LIFE_MS * 3 / 2), 375);
        assert_eq!(decayed(2 * HALF_LIFE_MS), 250);
        assert_eq!((decayed(10 * HALF_LIFE_MS), decayed(u64::MAX)), (0, 0));
        for step in 0..200 {
            let (at, later) = (step * HALF_LIFE_MS / 17, (step + 1) * HALF_LIFE_MS / 17);
            assert!(decayed(at) >= decayed(later), "{step}");
        }
        assert_eq!(HALF_LIFE_MS, 90 * 86_400_000);
    }

    // spec: REP-1
    #[test]
    fn the_sum_is_of_its_terms() {
        let record = Record {
            executed: 30,
            agreed: 4,
            uptime_permille: Some(950),
            votes: 7,
            failed: vec![1000, 1000],
            wrong: vec![1000],
            implausible: vec![1000],
            forks: 1,
        };
        let (total, terms) = sum(&record, &[1000], 1000);
        let points: Vec<i64> = terms.iter().map(|(_, points)| *points).collect();
        assert_eq!(points, [20, 30, 8, 9, 7, -6, -15, -5, -10, -15]);
        assert_eq!(total, 23);
        assert_eq!(sum(&Record::default(), &[], 0).0, 20);
        let best = Record {
            executed: u64::MAX,
            agreed: u64::MAX,
            uptime_permille: Some(u64::MAX),
            votes: u64::MAX,
            ..Record::default()
        };
        assert_eq!(sum(&best, &[], 0).0, 100);
        let worst = Record { forks: u64::MAX, wrong: vec![0; 100], ..Record::default() };
        assert_eq!(sum(&worst, &[0; 10], 0).0, 0);
        assert_eq!(sum(&Record { wrong: vec![500], ..Record::default() }, &[], 499).0, 20, "it is to come");
        assert_eq!(sum(&Record { wrong: vec![0, 0], ..Record::default() }, &[], 2 * HALF_LIFE_MS).0, 13);
    }

    proptest! {
        // spec: REP-1
        #[test]
        fn no_single_event_takes_everything(executed in 0u64..50, votes in 0u64..20) {
            let record = Record { executed, votes, ..Record::default() };
            let before = sum(&record, &[], 0).0;
            let events = [
                sum(&Record { failed: vec![0], ..record.clone() }, &[], 0).0,
                sum(&Record { wrong: vec![0], ..record.clone() }, &[], 0).0,
                sum(&Record { implausible: vec![0], ..record.clone() }, &[], 0).0,
                sum(&Record { forks: 1, ..record.clone() }, &[], 0).0,
                sum(&record, &[0], 0).0,
            ];
            for after in events {
                prop_assert!(after < before && after > 0);
            }
        }
    }
}
