//! What time does a task see?

use mesh_protocol::limits::FUEL_PER_SECOND;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// 2026-01-01T00:00:00Z, in nanoseconds: when every task starts, unless it may see the real clock.
pub(crate) const EPOCH_NS: u64 = 1_767_225_600 * 1_000_000_000;

/// The clock of one task.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    /// Moves with the fuel used and with every sleep, so it says the same on every machine and measures none.
    // spec: SBX-13
    Virtual {
        /// Nanoseconds slept, and what a resumed task had on its clock.
        ahead: u64,
        /// Fuel used before this attempt began.
        fuel_before: u64,
    },
    /// The machine's own.
    Real { start: Instant },
}

impl Clock {
    /// Nanoseconds since the task began, by the fuel it has used in all.
    pub(crate) fn monotonic(&self, fuel_used: u64) -> u64 {
        match self {
            Self::Virtual { ahead, fuel_before } => {
                let fuel = fuel_used.saturating_sub(*fuel_before);
                ahead.saturating_add(fuel / (FUEL_PER_SECOND / 1_000_000_000))
            }
            Self::Real { start } => coarse(start.elapsed()),
        }
    }

    /// Nanoseconds since 1970.
    pub(crate) fn wall(&self, fuel_used: u64) -> u64 {
        match self {
            Self::Virtual { .. } => EPOCH_NS.saturating_add(self.monotonic(fuel_used)),
            Self::Real { .. } => {
                coarse(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
            }
        }
    }

    /// Moves a virtual clock on to at least `at`; a real one does not obey.
    pub(crate) fn advance_to(&mut self, at: u64, fuel_used: u64) {
        let now = self.monotonic(fuel_used);
        if let Self::Virtual { ahead, .. } = self {
            *ahead = ahead.saturating_add(at.saturating_sub(now));
        }
    }

    pub(crate) fn is_virtual(&self) -> bool {
        matches!(self, Self::Virtual { .. })
    }

    /// Nanoseconds between two readings that differ.
    pub(crate) fn resolution(&self) -> u64 {
        if self.is_virtual() { 1 } else { COARSE_NS }
    }
}

/// The real clock's step, a millisecond: finer ones help attacks that time this machine.
const COARSE_NS: u64 = 1_000_000;

fn coarse(time: Duration) -> u64 {
    let ns = time.as_nanos() as u64;
    ns - ns % COARSE_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SBX-13
    #[test]
    fn a_virtual_clock_moves_with_fuel_and_sleep_only() {
        let mut clock = Clock::Virtual { ahead: 5, fuel_before: 1000 };
        assert_eq!(clock.monotonic(1000), 5);
        assert_eq!(clock.monotonic(1000 + 10 * 1_000_000), 1_000_005);
        clock.advance_to(2_000_000, 1000);
        assert_eq!(clock.monotonic(1000), 2_000_000);
        clock.advance_to(7, 1000);
        assert_eq!(clock.monotonic(1000), 2_000_000, "never back");
        clock.advance_to(u64::MAX, 1000);
        assert_eq!(clock.monotonic(u64::MAX), u64::MAX, "never over");
    }
}
