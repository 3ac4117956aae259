//! What can be expected of a task by what others of its name did: how long it takes, how much it uses, how it is voted,
//! and how long it could wait.
// spec: REP-3

use mesh_protocol::task::{Importance, Sla};

/// Newest runs of a name that are learnt from: what a task did long ago says little, and a profile is found in a moment.
pub const MOST: usize = 64;
/// Fewer runs teach nothing.
pub const FEWEST: usize = 5;
/// Percent of runs that took no longer than what is expected.
const HIGH: usize = 95;
/// Percent added to that: the next run may be the longest so far.
const SPARE: u64 = 25;
/// A task that could wait so long could have waited for cleaner energy.
const LONG_MS: u64 = 3_600_000;
/// Percent of runs that could wait, from which on it is often safe.
const OFTEN: usize = 80;

/// A run that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// Milliseconds from start to end.
    pub wall_ms: u64,
    /// Most bytes of memory.
    pub memory: u64,
    /// What it used, in millijoule, if that is known.
    pub energy_mj: Option<u64>,
    /// How the members voted it, if they did.
    pub voted: Option<Importance>,
    /// Milliseconds from submission to its start.
    pub waited_ms: u64,
    /// Its submitter's patience.
    pub sla: Sla,
}

impl Past {
    /// Could it wait?
    fn could_wait(&self) -> bool {
        self.waited_ms >= LONG_MS
            || matches!(self.sla, Sla::Eco | Sla::SolarOnly | Sla::WindOnly)
            || self.voted.is_some_and(|level| level <= Importance::Low)
    }
}

/// Millijoule of the run in the middle, of one or two as well: enough to guess what a task costs, which makes nothing
/// late if it is wrong.
// spec: REP-3
pub fn usual_mj(runs: &[Past]) -> Option<u64> {
    let mut energy: Vec<u64> = runs.iter().take(MOST).filter_map(|run| run.energy_mj).collect();
    quantile(&mut energy, 50)
}

/// What was learnt of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Of so many runs.
    pub runs: usize,
    /// Milliseconds: of the run in the middle, and what hardly any needed more than.
    pub wall_ms: (u64, u64),
    /// Bytes of memory that hardly any needed more than.
    pub memory: u64,
    /// Millijoule of the run in the middle of those of which it is known.
    pub energy_mj: Option<u64>,
    /// The level in the middle of those that were voted on.
    pub voted: Option<Importance>,
    /// Milliseconds that the one in the middle waited.
    pub waited_ms: u64,
    /// How many could wait.
    pub could_wait: usize,
}

/// The value that so many percent do not exceed.
fn quantile<T: Ord + Copy>(values: &mut [T], percent: usize) -> Option<T> {
    values.sort_unstable();
    let at = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(at).copied()
}

/// What the newest runs of a name teach, if they are enough.
// spec: REP-3
pub fn learn(runs: &[Past]) -> Option<Profile> {
    let runs = runs.get(..MOST).unwrap_or(runs);
    if runs.len() < FEWEST {
        return None;
    }
    let all = |of: &dyn Fn(&Past) -> u64| -> Vec<u64> { runs.iter().map(of).collect() };
    let mut wall = all(&|run| run.wall_ms);
    let mut energy: Vec<u64> = runs.iter().filter_map(|run| run.energy_mj).collect();
    let mut voted: Vec<Importance> = runs.iter().filter_map(|run| run.voted).collect();
    Some(Profile {
        runs: runs.len(),
        wall_ms: (quantile(&mut wall, 50)?, quantile(&mut wall, HIGH)?),
        memory: quantile(&mut all(&|run| run.memory), HIGH)?,
        energy_mj: quantile(&mut energy, 50),
        voted: quantile(&mut voted, 50),
        waited_ms: quantile(&mut all(&|run| run.waited_ms), 50)?,
        could_wait: runs.iter().filter(|run| run.could_wait()).count(),
    })
}

impl Profile {
    /// How long a run will take for almost sure, and no longer than it may.
    pub fn expected_ms(&self, longest_ms: u64) -> u64 {
        let high = self.wall_ms.1;
        high.saturating_add(high.saturating_mul(SPARE) / 100).clamp(1, longest_ms.max(1))
    }

    /// Could a task of this name, as its submitter wants it now, wait as others did?
    pub fn is_safe_to_defer(&self, sla: Sla, importance: Option<Importance>) -> bool {
        matches!(sla, Sla::Urgent | Sla::High | Sla::Normal)
            && importance.is_none_or(|level| level < Importance::Critical)
            && self.could_wait * 100 >= self.runs * OFTEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn past(wall_ms: u64) -> Past {
        Past {
            wall_ms,
            memory: 1000,
            energy_mj: Some(wall_ms * 2),
            voted: None,
            waited_ms: 0,
            sla: Sla::Normal,
        }
    }

    // spec: REP-3
    #[test]
    fn few_runs_teach_nothing_and_old_ones_are_forgotten() {
        let runs: Vec<Past> = (1..=4).map(past).collect();
        assert_eq!(learn(&runs), None);
        assert_eq!(usual_mj(&runs), Some(4), "what it costs is guessed by as few");
        assert_eq!(usual_mj(&[]), None);
        let mut runs = vec![past(10); MOST];
        runs.extend([past(9999); 100]);
        let profile = learn(&runs).unwrap();
        assert_eq!((profile.runs, profile.wall_ms), (MOST, (10, 10)));
    }

    // spec: REP-3
    #[test]
    fn a_profile_says_what_the_middle_and_almost_all_needed() {
        let runs: Vec<Past> = (1..=20).map(|at| Past { memory: at, ..past(at * 100) }).collect();
        let profile = learn(&runs).unwrap();
        assert_eq!(profile.wall_ms, (1000, 1900));
        assert_eq!((profile.memory, profile.energy_mj), (19, Some(2000)));
        assert_eq!((profile.voted, profile.waited_ms, profile.could_wait), (None, 0, 0));
        assert_eq!((profile.expected_ms(60_000), profile.expected_ms(2000)), (2375, 2000));
        let unknown: Vec<Past> = runs.iter().map(|run| Past { energy_mj: None, ..*run }).collect();
        assert_eq!(learn(&unknown).unwrap().energy_mj, None);
    }

    // spec: REP-3
    #[test]
    fn what_others_could_wait_with_is_safe_to_defer() {
        let safe = |patient: usize, sla, importance| {
            let patient = [Past { waited_ms: LONG_MS, ..past(1) }].repeat(patient);
            let runs: Vec<Past> = patient.into_iter().chain([past(1); 10]).take(10).collect();
            learn(&runs).unwrap().is_safe_to_defer(sla, importance)
        };
        assert!(safe(8, Sla::Normal, None) && safe(10, Sla::Urgent, Some(Importance::High)));
        assert!(!safe(7, Sla::Normal, None), "not often");
        assert!(!safe(10, Sla::Eco, None), "it is deferred already");
        assert!(!safe(10, Sla::Normal, Some(Importance::Critical)), "its submitter says it matters");
        for could in [
            Past { sla: Sla::Eco, ..past(1) },
            Past { voted: Some(Importance::Low), ..past(1) },
            Past { voted: Some(Importance::NonCritical), ..past(1) },
        ] {
            assert!(learn(&[could; 5]).unwrap().is_safe_to_defer(Sla::Normal, None), "{could:?}");
        }
        let normal = Past { voted: Some(Importance::Normal), waited_ms: LONG_MS - 1, ..past(1) };
        let profile = learn(&[normal; 5]).unwrap();
        assert!(!profile.is_safe_to_defer(Sla::Normal, None));
        assert_eq!((profile.voted, profile.waited_ms), (Some(Importance::Normal), LONG_MS - 1));
    }

    proptest! {
        // spec: REP-3
        #[test]
        fn what_is_expected_covers_almost_all_and_never_more_than_allowed(
            walls in proptest::collection::vec(0u64..1_000_000, FEWEST..MOST),
            longest in 1u64..2_000_000,
        ) {
            let runs: Vec<Past> = walls.iter().copied().map(past).collect();
            let profile = learn(&runs).unwrap();
            let expected = profile.expected_ms(longest);
            prop_assert!(expected <= longest);
            let covered = walls.iter().filter(|wall| **wall <= expected || expected == longest).count();
            prop_assert!(covered * 100 >= walls.len() * 95);
            let mut reversed = runs;
            reversed.reverse();
            prop_assert_eq!(learn(&reversed), Some(profile));
        }
    }
}
