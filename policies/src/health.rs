//! Is a task a matter of public health, and did the members dispute that?
// spec: HEALTH-1, HEALTH-2, HEALTH-3

use mesh_protocol::key::UserKey;
use std::collections::BTreeSet;

const DAY_MS: u64 = 24 * 3_600_000;
/// A flag can be disputed for so long after the submission.
pub const DISPUTE_MS: u64 = 7 * DAY_MS;
/// Voters that a dispute needs.
pub const DISPUTE_VOTERS: usize = 3;
/// Upheld disputes after which a user's tasks are not flagged for a while.
pub const STRIKES: usize = 3;
/// For how long.
pub const BAN_MS: u64 = 30 * DAY_MS;

fn parts(text: &str) -> Vec<String> {
    text.split(|letter: char| !letter.is_alphanumeric())
        .filter(|part| !part.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Is `said` the word, or its plural?
fn is_form_of(said: &str, word: &str) -> bool {
    let stem = word.strip_suffix('y').unwrap_or("");
    said == word
        || said.strip_suffix('s').is_some_and(|one| one == word)
        || said.strip_suffix("es").is_some_and(|one| one == word)
        || (!stem.is_empty() && said.strip_suffix("ies").is_some_and(|one| one == stem))
}

/// The first of `words` that the text mentions: whole, in any case, between any separators, or in its plural.
// spec: HEALTH-2
pub fn mention<'a>(text: &str, words: &'a [String]) -> Option<&'a str> {
    let said = parts(text);
    let mentions = |word: &&String| {
        let wanted = parts(word);
        let Some((last, before)) = wanted.split_last() else { return false };
        said.windows(wanted.len()).any(|window| {
            window.split_last().is_some_and(|(end, begin)| begin == before && is_form_of(end, last))
        })
    };
    words.iter().find(mentions).map(String::as_str)
}

/// Do the members uphold a dispute? `disputing` say that it is no such matter, `confirming` that it is one. Whoever says
/// both counts as confirming.
// spec: HEALTH-3
pub fn is_upheld(
    disputing: &BTreeSet<UserKey>,
    confirming: &BTreeSet<UserKey>,
    consensus_percent: u8,
) -> bool {
    let against = disputing.difference(confirming).count();
    let voters = against + confirming.len();
    voters >= DISPUTE_VOTERS && against * 100 >= usize::from(consensus_percent) * voters
}

/// Are a user's tasks taken for matters of health now? `upheld`: when each dispute of theirs was upheld.
// spec: HEALTH-3
pub fn is_believed(upheld: &[u64], now_ms: u64) -> bool {
    let mut dates: Vec<u64> = upheld.iter().copied().filter(|at| *at <= now_ms).collect();
    dates.sort_unstable();
    let every_third = dates.chunks_exact(STRIKES).filter_map(|strikes| strikes.last());
    !every_third.into_iter().any(|at| now_ms < at.saturating_add(BAN_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::key::PublicKey;
    use mesh_protocol::rules::Rules;

    fn mentions(text: &str) -> Option<String> {
        let rules = Rules::default();
        mention(text, &rules.health_words).map(str::to_owned)
    }

    // spec: HEALTH-1, HEALTH-2
    #[test]
    fn words_are_matched_whole() {
        for (text, word) in [
            ("hospital-backup-power-test", "hospital"),
            ("water-treatment-safety-check", "water"),
            ("emergency-shelter-heating", "emergency"),
            ("HOSPITAL", "hospital"),
            ("Night_Ambulances.run", "ambulance"),
            ("emergencies", "emergency"),
            ("power grid balance", "power-grid"),
            ("power_grids", "power-grid"),
            ("it sorts vaccines, then stops", "vaccine"),
            ("the fire-brigade", "fire"),
            ("Öl, oxygen", "oxygen"),
            ("two fires", "fire"),
            ("sewages", "sewage"),
            ("three drugs", "drug"),
        ] {
            assert_eq!(mentions(text).as_deref(), Some(word), "{text}");
        }
        for text in [
            "routine-database-cleanup",
            "firefox-cache",
            "firefox-cache-cleanup",
            "watermark-images",
            "power-station grid",
            "powergrid",
            "grid power",
            "healthy-hospitality",
            "",
            "---",
            "ies",
            "s",
        ] {
            assert_eq!(mentions(text), None, "{text}");
        }
        assert_eq!(mention("anything", &["".into(), "-".into()]), None);
        assert_eq!(mention("dresses y ies", &["dress".into(), "y".into()]), Some("dress"));
        assert_eq!(mention("ies", &["y".into()]), None);
    }

    fn users(numbers: std::ops::Range<u8>) -> BTreeSet<UserKey> {
        numbers.map(|number| UserKey(PublicKey([number; 32]))).collect()
    }

    // spec: HEALTH-3
    #[test]
    fn a_dispute_needs_three_voters_and_consensus() {
        for (disputing, confirming, upheld) in [
            (users(0..2), users(9..9), false),
            (users(0..3), users(9..9), true),
            (users(0..2), users(2..3), true),
            (users(0..1), users(1..3), false),
            (users(0..3), users(3..5), true),
            (users(0..2), users(2..4), false),
            (users(0..3), users(0..1), true),
            (users(0..3), users(0..2), false),
            (users(0..0), users(0..0), false),
        ] {
            assert_eq!(is_upheld(&disputing, &confirming, 60), upheld, "{disputing:?} {confirming:?}");
        }
    }

    // spec: HEALTH-3
    #[test]
    fn three_upheld_disputes_take_the_override_away_for_thirty_days() {
        let day = |number: u64| number * DAY_MS;
        assert!(is_believed(&[], day(50)));
        assert!(is_believed(&[day(1), day(2)], day(2)));
        let three = [day(3), day(1), day(2)];
        assert!(is_believed(&three, day(3) - 1), "the third is to come");
        assert!(!is_believed(&three, day(3)));
        assert!(!is_believed(&three, day(33) - 1));
        assert!(is_believed(&three, day(33)));
        let four = [day(1), day(2), day(3), day(34)];
        assert!(is_believed(&four, day(35)), "a fourth begins to count anew");
        let six = [day(1), day(2), day(3), day(34), day(35), day(36)];
        assert!(!is_believed(&six, day(36)));
        assert_eq!((DISPUTE_MS, BAN_MS), (7 * 86_400_000, 30 * 86_400_000));
    }
}
