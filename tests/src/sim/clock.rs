//! What a peer's clocks show when the simulator's shows something else.

use super::rng::Rng;
use mesh_node::Now;

/// When the simulation begins as a rule, in milliseconds since 1970.
pub(crate) const BEGINS: u64 = 1_790_000_000_000;

/// A peer's two clocks.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    begins: u64,
    boot_base: u64,
    /// Parts in a million by which the boot clock runs fast, or slow.
    drift_ppm: i64,
    /// How far the wall clock is off.
    pub(crate) skew_ms: i64,
}

impl Clock {
    pub(crate) fn new(rng: &mut Rng, skewed: bool, begins: u64) -> Self {
        let mut off = |most: u64| rng.within(0, 2 * most + 1) as i64 - most as i64;
        // Quartz is good to some fifty parts in a million; a bad one to a few hundred.
        let (drift_ppm, skew_ms) = if skewed { (off(500), off(50_000)) } else { (0, 0) };
        Self { begins, boot_base: 1_000_000 + rng.below(1_000_000), drift_ppm, skew_ms }
    }

    pub(crate) fn boot(&self, now: u64) -> u64 {
        let drift = now as i64 * self.drift_ppm / 1_000_000;
        (self.boot_base + now).saturating_add_signed(drift)
    }

    pub(crate) fn at(&self, now: u64) -> Now {
        let drift = now as i64 * self.drift_ppm / 1_000_000;
        Now {
            boot_ms: self.boot(now),
            wall_ms: (self.begins + now).saturating_add_signed(self.skew_ms + drift),
        }
    }

    /// The first moment at which the boot clock shows `boot_ms` or more.
    pub(crate) fn when(&self, boot_ms: u64) -> u64 {
        let mut now = boot_ms.saturating_sub(self.boot_base);
        now = now.saturating_add_signed(-(now as i64 * self.drift_ppm / 1_000_000)).saturating_sub(2);
        while self.boot(now) < boot_ms {
            now += 1;
        }
        now
    }
}
