//! The rules a community agreed on, as data.

use crate::key::UserKey;
use crate::limits::{MAX_DURATION_MS, MAX_MEMORY, MB};
use serde::{Deserialize, Serialize};

/// Most words of public health, and most bytes of one: the rules as a whole fit into one entry.
pub const MAX_WORDS: usize = 64;
/// Most bytes of a word of public health.
pub const MAX_WORD: usize = 32;
/// Most treasurers.
pub const MAX_TREASURERS: usize = 8;

/// What a member of some standing may ask of others in a day.
// spec: QUOTA-1
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Tasks a day; 0 for no limit.
    pub tasks: u32,
    /// Milliseconds of the longest task.
    pub longest_ms: u64,
    /// Bytes of memory of the largest task.
    pub memory_bytes: u64,
}

/// How votes are weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VotingMethod {
    /// Every member one.
    OnePerUser,
    /// By reputation.
    Reputation,
    /// By contribution.
    Stake,
    /// By time, tasks and contributions.
    Hybrid,
}

/// The rules. Changed only by a vote on a new set, of which counts what differs from the rules it was proposed for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Milliseconds a ballot stays open.
    pub voting_window_ms: u64,
    /// Percent of the weight cast that decides.
    pub consensus_percent: u8,
    /// Voters other than the submitter that a ballot needs.
    pub quorum: u16,
    /// How votes are weighed.
    pub voting_method: VotingMethod,
    /// Milliseconds from admission to the first vote that counts.
    pub vote_after_ms: u64,
    /// Starts that may pass over a waiting task.
    pub max_overtaken: u16,
    /// Percent of renewable energy at which no vote is needed.
    pub perfect_energy_percent: u8,
    /// Grams of CO2 per kWh up to which energy is clean.
    pub clean_g_per_kwh: u16,
    /// Percent of renewable energy from which on it is clean.
    pub clean_renewable_percent: u8,
    /// Tasks of public health a day above the quota.
    pub health_extra: u16,
    /// Milliseconds by which a date may differ from its witnesses'.
    pub max_skew_ms: u64,
    /// Milliseconds of silence after which a peer is suspect.
    pub suspect_after_ms: u64,
    /// Milliseconds that a detached task's lease outlasts its duration.
    pub lease_grace_ms: u64,
    /// Tries at a task.
    pub max_attempts: u32,
    /// Milliseconds that an executing peer keeps a result.
    pub retain_result_ms: u64,
    /// Percent of comparable tasks that are run twice.
    pub spot_check_percent: u8,
    /// Fuel for one second of duration.
    pub fuel_per_second: u64,
    /// Ledger entries of one device that are taken in an hour; 0 for no limit.
    pub entries_per_hour: u32,
    /// Ads of one device that are taken in a minute.
    pub ads_per_minute: u16,
    /// Members who must vouch for a new one; the founder alone lets in the first [`FOUNDERS_OWN`].
    pub sponsors: u8,
    /// What every member may ask of others.
    pub free: Tier,
    /// What a supporter may.
    pub supporter: Tier,
    /// What a contributor may.
    pub contributor: Tier,
    /// Words that make a task a matter of public health, in lower case.
    pub health_words: Vec<String>,
    /// Who records contributions; the founder if nobody is named.
    pub treasurers: Vec<UserKey>,
}

impl Rules {
    /// What these rules change of those they were proposed for, applied to the rules of now. Two proposals that were open at
    /// once do not undo each other, unless they change the same rule; then the one that is adopted later holds.
    // spec: VOTE-2
    #[must_use]
    pub fn applied(&self, base: &Self, now: &Self) -> Self {
        fn pick<T: Clone + PartialEq>(now: &T, base: &T, proposed: &T) -> T {
            if proposed == base { now.clone() } else { proposed.clone() }
        }
        let rules = Self {
            voting_window_ms: pick(&now.voting_window_ms, &base.voting_window_ms, &self.voting_window_ms),
            consensus_percent: pick(&now.consensus_percent, &base.consensus_percent, &self.consensus_percent),
            quorum: pick(&now.quorum, &base.quorum, &self.quorum),
            voting_method: pick(&now.voting_method, &base.voting_method, &self.voting_method),
            vote_after_ms: pick(&now.vote_after_ms, &base.vote_after_ms, &self.vote_after_ms),
            max_overtaken: pick(&now.max_overtaken, &base.max_overtaken, &self.max_overtaken),
            perfect_energy_percent: pick(
                &now.perfect_energy_percent,
                &base.perfect_energy_percent,
                &self.perfect_energy_percent,
            ),
            clean_g_per_kwh: pick(&now.clean_g_per_kwh, &base.clean_g_per_kwh, &self.clean_g_per_kwh),
            clean_renewable_percent: pick(
                &now.clean_renewable_percent,
                &base.clean_renewable_percent,
                &self.clean_renewable_percent,
            ),
            health_extra: pick(&now.health_extra, &base.health_extra, &self.health_extra),
            max_skew_ms: pick(&now.max_skew_ms, &base.max_skew_ms, &self.max_skew_ms),
            suspect_after_ms: pick(&now.suspect_after_ms, &base.suspect_after_ms, &self.suspect_after_ms),
            lease_grace_ms: pick(&now.lease_grace_ms, &base.lease_grace_ms, &self.lease_grace_ms),
            max_attempts: pick(&now.max_attempts, &base.max_attempts, &self.max_attempts),
            retain_result_ms: pick(&now.retain_result_ms, &base.retain_result_ms, &self.retain_result_ms),
            spot_check_percent: pick(
                &now.spot_check_percent,
                &base.spot_check_percent,
                &self.spot_check_percent,
            ),
            fuel_per_second: pick(&now.fuel_per_second, &base.fuel_per_second, &self.fuel_per_second),
            entries_per_hour: pick(&now.entries_per_hour, &base.entries_per_hour, &self.entries_per_hour),
            ads_per_minute: pick(&now.ads_per_minute, &base.ads_per_minute, &self.ads_per_minute),
            sponsors: pick(&now.sponsors, &base.sponsors, &self.sponsors),
            free: pick(&now.free, &base.free, &self.free),
            supporter: pick(&now.supporter, &base.supporter, &self.supporter),
            contributor: pick(&now.contributor, &base.contributor, &self.contributor),
            health_words: pick(&now.health_words, &base.health_words, &self.health_words),
            treasurers: pick(&now.treasurers, &base.treasurers, &self.treasurers),
        };
        // What each changed may not fit together.
        if rules.check().is_ok() { rules } else { self.clone() }
    }
}

/// Members who are in on the founder's word alone: with the founder they are three, and can be each other's second
/// sponsor.
pub const FOUNDERS_OWN: usize = 2;

/// Words that make a task a matter of public health until a community says otherwise.
// spec: HEALTH-1
const HEALTH_WORDS: [&str; 19] = [
    "health",
    "medical",
    "hospital",
    "emergency",
    "ambulance",
    "drug",
    "vaccine",
    "oxygen",
    "security",
    "police",
    "fire",
    "rescue",
    "hazmat",
    "nuclear",
    "power-grid",
    "water",
    "sewage",
    "pandemic",
    "disaster",
];

impl Default for Rules {
    fn default() -> Self {
        const MINUTE: u64 = 60_000;
        Self {
            voting_window_ms: 5 * 60_000,
            consensus_percent: 60,
            quorum: 1,
            voting_method: VotingMethod::OnePerUser,
            vote_after_ms: 7 * 24 * 3_600_000,
            max_overtaken: 20,
            perfect_energy_percent: 95,
            clean_g_per_kwh: 150,
            clean_renewable_percent: 60,
            health_extra: 10,
            max_skew_ms: 2 * 60_000,
            suspect_after_ms: 15_000,
            lease_grace_ms: 10 * 60_000,
            max_attempts: 5,
            retain_result_ms: 7 * 24 * 3_600_000,
            spot_check_percent: 5,
            fuel_per_second: crate::limits::FUEL_PER_SECOND,
            entries_per_hour: 600,
            ads_per_minute: 4,
            sponsors: 2,
            free: Tier { tasks: 10, longest_ms: 10 * MINUTE, memory_bytes: 100 * MB },
            supporter: Tier { tasks: 50, longest_ms: 30 * MINUTE, memory_bytes: 500 * MB },
            contributor: Tier { tasks: 200, longest_ms: 60 * MINUTE, memory_bytes: 2000 * MB },
            health_words: HEALTH_WORDS.map(str::to_owned).into(),
            treasurers: Vec::new(),
        }
    }
}

/// A rule has a value outside its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("set the rule {rule}: it must be {range}")]
pub struct RuleError {
    /// Which rule.
    pub rule: &'static str,
    /// What it may be.
    pub range: &'static str,
}

impl Rules {
    /// Is every rule within its range?
    pub fn check(&self) -> Result<(), RuleError> {
        const DAY: u64 = 24 * 3_600_000;
        let percent = |value: u8| value <= 100;
        let tier = |tier: &Tier| {
            tier.tasks <= 1_000_000
                && (1..=MAX_DURATION_MS).contains(&tier.longest_ms)
                && (65_536..=MAX_MEMORY).contains(&tier.memory_bytes)
        };
        let word = |word: &String| {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            (2..=MAX_WORD).contains(&word.len()) && word.bytes().all(plain)
        };
        let words = self.health_words.len() <= MAX_WORDS && self.health_words.iter().all(word);
        let tier_range =
            "at most 1000000 tasks a day (0 for no limit), from 1 ms to 28 days, from 65536 bytes to 4 GiB";
        let checks = [
            (self.voting_window_ms <= 7 * DAY, "voting_window", "at most 7 days"),
            ((50..=100).contains(&self.consensus_percent), "consensus", "from 50 % to 100 %"),
            (self.quorum <= 1000, "quorum", "at most 1000"),
            (self.vote_after_ms <= 365 * DAY, "vote_after", "at most 365 days"),
            ((1..=1000).contains(&self.max_overtaken), "max_overtaken", "from 1 to 1000"),
            (percent(self.perfect_energy_percent), "perfect_energy", "at most 100 %"),
            (self.clean_g_per_kwh <= 2000, "clean_g_per_kwh", "at most 2000"),
            (percent(self.clean_renewable_percent), "clean_renewable", "at most 100 %"),
            (self.health_extra <= 1000, "health_extra", "at most 1000"),
            ((1000..=3_600_000).contains(&self.max_skew_ms), "max_skew", "from 1 s to 1 h"),
            ((500..=3_600_000).contains(&self.suspect_after_ms), "suspect_after", "from 500 ms to 1 h"),
            (self.lease_grace_ms <= 7 * DAY, "lease_grace", "at most 7 days"),
            ((1..=100).contains(&self.max_attempts), "max_attempts", "from 1 to 100"),
            ((60_000..=90 * DAY).contains(&self.retain_result_ms), "retain_result", "from 1 min to 90 days"),
            ((1..=100).contains(&self.spot_check_percent), "spot_check", "from 1 % to 100 %"),
            (
                (1_000_000..=1_000_000_000_000).contains(&self.fuel_per_second),
                "fuel_per_second",
                "from 1 M to 1000 G",
            ),
            (self.entries_per_hour <= 100_000_000, "entries_per_hour", "at most 100 million, 0 for no limit"),
            ((1..=600).contains(&self.ads_per_minute), "ads_per_minute", "from 1 to 600"),
            // A founder and the two whom the founder may let in alone are three: more might never be found.
            ((1..=3).contains(&self.sponsors), "sponsors", "from 1 to 3"),
            (tier(&self.free), "free", tier_range),
            (tier(&self.supporter), "supporter", tier_range),
            (tier(&self.contributor), "contributor", tier_range),
            (words, "health_words", "at most 64 words of 2 to 32 lower-case letters, digits and hyphens"),
            (self.treasurers.len() <= MAX_TREASURERS, "treasurers", "at most 8 members' keys"),
        ];
        match checks.iter().find(|(fits, ..)| !fits) {
            None => Ok(()),
            Some(&(_, rule, range)) => Err(RuleError { rule, range }),
        }
    }
}
