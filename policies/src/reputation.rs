//! How far has a member kept their word, by what the ledger proves? Never a ban from one event.
// spec: REP-1, DEL-8, VOTE-7

/// After so long an event counts half.
pub const HALF_LIFE_MS: u64 = 90 * 24 * 3_600_000;
/// What everybody starts with.
pub const START: i64 = 20;
/// A device whose results agreed with others' so often in a row is believed, and checked now and then.
// spec: DEL-8
pub const MUST_AGREE: u64 = 10;

/// What a member did, each with when, in milliseconds since 1970. Nothing counts before its date.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Others' tasks executed, whose results were taken.
    pub executed: Vec<u64>,
    /// Results on which others agreed with theirs.
    pub agreed: Vec<u64>,
    /// Times that a device of theirs was there, and said when it went.
    pub stayed: Vec<u64>,
    /// Times that one went without a word.
    pub vanished: Vec<u64>,
    /// Votes near what the others voted.
    pub votes: Vec<u64>,
    /// Leases that failed.
    pub failed: Vec<u64>,
    /// Results that were wrong.
    pub wrong: Vec<u64>,
    /// Energy claims that could not be true.
    pub implausible: Vec<u64>,
    /// Disputes of health that were upheld against them.
    pub upheld: Vec<u64>,
    /// Tasks that they declared CRITICAL, and the members did not.
    pub declared: Vec<u64>,
    /// Forks of their logs.
    pub forks: Vec<u64>,
}

/// What is left of an event's thousand points after some time: half for each half-life, and straight lines between.
pub fn decayed(age_ms: u64) -> i64 {
    let halves = age_ms / HALF_LIFE_MS;
    // 2^10 is more than a thousand: nothing is left then.
    let whole = if halves < 10 { 1000i64 >> halves } else { 0 };
    let part = i64::try_from(age_ms % HALF_LIFE_MS * 1000 / HALF_LIFE_MS).unwrap_or(0);
    whole - (whole - whole / 2) * part / 1000
}

/// What is left of events, each of so many points, in thousandths.
fn left(dates: &[u64], now_ms: u64) -> i64 {
    let each = dates.iter().filter(|at| **at <= now_ms).map(|at| decayed(now_ms - at));
    each.fold(0, i64::saturating_add)
}

fn gained(dates: &[u64], now_ms: u64, each: i64, most: i64) -> i64 {
    (left(dates, now_ms).saturating_mul(each) / 1000).min(most)
}

fn lost(dates: &[u64], now_ms: u64, each: i64) -> i64 {
    -(left(dates, now_ms).saturating_mul(each) / 1000)
}

/// The sum, from 0 to 100, and each of its terms.
pub fn sum(record: &Record, now_ms: u64) -> (u64, Vec<(&'static str, i64)>) {
    let (stayed, vanished) = (left(&record.stayed, now_ms), left(&record.vanished, now_ms));
    // A first time there is no habit yet: it counts as if one more had gone either way.
    let there = 10 * stayed / (stayed + vanished + 1000).max(1);
    let terms = vec![
        ("for being a member", START),
        ("tasks executed for others", gained(&record.executed, now_ms, 1, 40)),
        ("results on which others agreed", gained(&record.agreed, now_ms, 2, 20)),
        ("being there as promised", there),
        ("votes near the consensus", gained(&record.votes, now_ms, 1, 10)),
        ("leases that failed", lost(&record.failed, now_ms, 3)),
        ("wrong results", lost(&record.wrong, now_ms, 15)),
        ("energy claims that could not be true", lost(&record.implausible, now_ms, 5)),
        ("disputes of health that were upheld", lost(&record.upheld, now_ms, 10)),
        ("declared CRITICAL, and the members disagreed", lost(&record.declared, now_ms, 5)),
        ("forked logs", lost(&record.forks, now_ms, 15)),
    ];
    let sum: i64 = terms.iter().map(|(_, points)| points).fold(0, |sum, points| sum.saturating_add(*points));
    (sum.clamp(0, 100).unsigned_abs(), terms)
}

/// Is a vote within one level of what most of the others said, their levels counted from the least important? Where no
/// two others voted there is no consensus to be near to.
// spec: REP-1
pub fn is_near(own: u8, others: &[u8]) -> bool {
    let mut sorted = others.to_vec();
    sorted.sort_unstable();
    let (Some(low), Some(high)) =
        (sorted.get(sorted.len().saturating_sub(1) / 2), sorted.get(sorted.len() / 2))
    else {
        return false;
    };
    // Of an even number the two in the middle, and what lies between.
    sorted.len() > 1 && own.saturating_add(1) >= *low && own <= high.saturating_add(1)
}

/// Do the others who voted on a task that its submitter declared CRITICAL disagree?
// spec: VOTE-7
pub fn disagrees(critical: u64, others: u64, consensus_percent: u8) -> bool {
    let all = critical.saturating_add(others);
    // One alone is no community.
    all > 1 && others.saturating_mul(100) >= all.saturating_mul(u64::from(consensus_percent))
}

/// Is a result to be checked by a second run? Always, until so many in a row were right; then by chance, and never never.
/// `drawn` is from 0 to 99.
// spec: DEL-8
pub fn is_due(in_a_row: u64, percent: u8, drawn: u64) -> bool {
    in_a_row < MUST_AGREE || drawn < u64::from(percent.max(1))
}

/// How often in a thousand a device brings what it took, by what is on record: everything as long as nothing is.
// spec: REP-1, PLACE-4
pub fn reliable(record: &Record, now_ms: u64) -> u16 {
    // As if ten had gone well before: one failure is no habit.
    let well = left(&record.executed, now_ms).saturating_add(10_000);
    // Whoever brings something wrong costs the task and the second run that found it.
    let badly = left(&record.failed, now_ms).saturating_add(left(&record.wrong, now_ms).saturating_mul(3));
    u16::try_from(well.saturating_mul(1000) / well.saturating_add(badly)).unwrap_or(1000).clamp(1, 1000)
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

    fn points(record: &Record, now_ms: u64) -> Vec<i64> {
        sum(record, now_ms).1.iter().map(|(_, points)| *points).collect()
    }

    fn full() -> Record {
        Record {
            executed: vec![1000; 30],
            agreed: vec![1000; 4],
            stayed: vec![1000; 18],
            vanished: vec![1000],
            votes: vec![1000; 7],
            failed: vec![1000, 1000],
            wrong: vec![1000],
            implausible: vec![1000],
            upheld: vec![1000],
            declared: vec![1000],
            forks: vec![1000],
        }
    }

    // spec: REP-1
    #[test]
    fn the_sum_is_of_its_terms() {
        assert_eq!(points(&full(), 1000), [20, 30, 8, 9, 7, -6, -15, -5, -10, -5, -15]);
        assert_eq!(sum(&full(), 1000).0, 18);
        assert_eq!(points(&full(), 999), [20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "it is to come");
        assert_eq!(
            points(&full(), 1000 + HALF_LIFE_MS),
            [20, 15, 4, 8, 3, -3, -7, -2, -5, -2, -7],
            "all of it fades"
        );
        assert_eq!(sum(&Record::default(), 0).0, 20);
        let best = Record {
            executed: vec![0; 1000],
            agreed: vec![0; 1000],
            stayed: vec![0; 1000],
            votes: vec![0; 1000],
            ..Record::default()
        };
        assert_eq!((sum(&best, 0).0, points(&best, 0)[3]), (99, 9));
        let worst = Record { forks: vec![0; 100], wrong: vec![0; 100], ..Record::default() };
        assert_eq!(sum(&worst, 0).0, 0);
        assert_eq!(sum(&Record { wrong: vec![0, 0], ..Record::default() }, 2 * HALF_LIFE_MS).0, 13);
    }

    // spec: REP-1
    #[test]
    fn a_vote_is_near_within_a_level_of_the_middle_of_the_others() {
        assert!(!is_near(2, &[]) && !is_near(2, &[2]), "one is no consensus");
        assert!(is_near(2, &[2, 2]) && is_near(3, &[2, 2]) && is_near(1, &[2, 2]));
        assert!(!is_near(4, &[2, 2]) && !is_near(0, &[2, 2]));
        assert!(
            is_near(2, &[0, 4]) && is_near(0, &[0, 4]) && is_near(4, &[0, 4]),
            "they do not agree themselves"
        );
        assert!(!is_near(4, &[0, 1, 4]) && is_near(2, &[4, 1, 0]) && is_near(3, &[4, 2, 0, 3]));
        assert!(is_near(0, &[0, 0]) && is_near(u8::MAX, &[u8::MAX, u8::MAX]));
    }

    // spec: VOTE-7
    #[test]
    fn a_community_disagrees_by_consensus_and_never_by_one_voice() {
        assert!(!disagrees(0, 0, 60) && !disagrees(0, 1, 60) && disagrees(0, 2, 60));
        assert!(!disagrees(1, 1, 60) && disagrees(1, 2, 60) && !disagrees(1, 2, 67) && disagrees(0, 2, 100));
        assert!(disagrees(40, 60, 60) && !disagrees(41, 59, 60));
    }

    // spec: DEL-8
    #[test]
    fn the_first_results_are_all_checked_and_later_ones_never_none() {
        for drawn in 0..100 {
            assert!((0..10).all(|in_a_row| is_due(in_a_row, 0, drawn)));
            assert_eq!(is_due(10, 5, drawn), drawn < 5);
            assert_eq!(is_due(10, 0, drawn), drawn < 1, "never none");
            assert!(is_due(u64::MAX, 100, drawn));
        }
    }

    // spec: REP-1
    #[test]
    fn a_device_is_relied_on_until_it_fails() {
        assert_eq!(reliable(&Record::default(), 0), 1000);
        assert_eq!(reliable(&Record { failed: vec![0], ..Record::default() }, 0), 909);
        assert_eq!(reliable(&Record { wrong: vec![0], ..Record::default() }, 0), 769);
        assert_eq!(reliable(&Record { wrong: vec![0], ..Record::default() }, 20 * HALF_LIFE_MS), 1000);
        let well = Record { executed: vec![0; 90], failed: vec![0], ..Record::default() };
        assert_eq!(reliable(&well, 0), 990);
        assert_eq!(reliable(&Record { failed: vec![0; 100_000], ..Record::default() }, 0), 1);
    }

    /// The bad things that can happen, each once, at a moment.
    fn events(record: &Record, at: u64) -> Vec<Record> {
        let with = |change: &dyn Fn(&mut Record)| {
            let mut record = record.clone();
            change(&mut record);
            record
        };
        vec![
            with(&|it| it.failed.push(at)),
            with(&|it| it.wrong.push(at)),
            with(&|it| it.implausible.push(at)),
            with(&|it| it.upheld.push(at)),
            with(&|it| it.declared.push(at)),
            with(&|it| it.forks.push(at)),
        ]
    }

    proptest! {
        // spec: REP-1
        #[test]
        fn no_single_event_takes_everything(executed in 0usize..50, votes in 0usize..20) {
            let record = Record { executed: vec![0; executed], votes: vec![0; votes], ..Record::default() };
            let before = sum(&record, 0).0;
            for after in events(&record, 0) {
                let after = sum(&after, 0).0;
                prop_assert!(after < before && after > 0);
            }
        }

        // spec: REP-1
        #[test]
        fn the_order_of_events_does_not_matter_and_good_ones_never_harm(
            mut dates in proptest::collection::vec(0..3 * HALF_LIFE_MS, 0..40),
            now_ms in 0..4 * HALF_LIFE_MS,
        ) {
            let of = |dates: &[u64]| Record { executed: dates.to_vec(), wrong: vec![0], ..Record::default() };
            let one = sum(&of(&dates), now_ms);
            dates.reverse();
            prop_assert_eq!(&one, &sum(&of(&dates), now_ms));
            dates.push(now_ms);
            prop_assert!(sum(&of(&dates), now_ms).0 >= one.0);
        }
    }
}
