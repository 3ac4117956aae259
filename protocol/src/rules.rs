//! The rules a community agreed on, as data.

use serde::{Deserialize, Serialize};

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

/// The rules. Changed only by a vote on a whole new set.
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
}

/// Members who are in on the founder's word alone: with the founder they are three, and can be each other's second
/// sponsor.
pub const FOUNDERS_OWN: usize = 2;

impl Default for Rules {
    fn default() -> Self {
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
            (percent(self.spot_check_percent), "spot_check", "at most 100 %"),
            (
                (1_000_000..=1_000_000_000_000).contains(&self.fuel_per_second),
                "fuel_per_second",
                "from 1 M to 1000 G",
            ),
            (self.entries_per_hour <= 100_000_000, "entries_per_hour", "at most 100 million, 0 for no limit"),
            ((1..=600).contains(&self.ads_per_minute), "ads_per_minute", "from 1 to 600"),
            // A founder and the two whom the founder may let in alone are three: more might never be found.
            ((1..=3).contains(&self.sponsors), "sponsors", "from 1 to 3"),
        ];
        match checks.iter().find(|(fits, ..)| !fits) {
            None => Ok(()),
            Some(&(_, rule, range)) => Err(RuleError { rule, range }),
        }
    }
}
