//! Can a peer's claim about its energy be true? Judged by each peer for itself, so floating point will do here.
// spec: REP-2

use crate::sun;
use mesh_protocol::ad::{EnergyClaim, Source};

/// Grams per kWh by which a claim of grid energy may be below the grid's own figure.
const GRID_SLACK: u16 = 100;

/// Why a claim is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Implausible {
    /// Sun, and the sun is down there.
    Night,
    /// More than the device says it can make at most.
    BeyondCapacity,
    /// Far cleaner than the grid's own figure.
    CleanerThanGrid,
}

/// What a claim is held against. What is not known proves nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence {
    /// Latitude and longitude of the device in whole degrees.
    pub place: Option<(i16, i16)>,
    /// Now, in milliseconds since 1970.
    pub now_ms: u64,
    /// Watts it makes now, and at most, as it says.
    pub output_watts: Option<(u32, u32)>,
    /// Grams per kWh of the grid there, by the grid's own figure.
    pub grid_g_per_kwh: Option<u16>,
}

/// The first thing that speaks against a claim.
pub fn doubt(claim: &EnergyClaim, evidence: &Evidence) -> Option<Implausible> {
    let night = || evidence.place.is_some_and(|place| sun::is_down(place, evidence.now_ms));
    let least = |grid: u16| grid.saturating_sub(GRID_SLACK);
    match claim.source {
        Source::Solar if night() => Some(Implausible::Night),
        Source::Solar | Source::Wind if evidence.output_watts.is_some_and(|(now, most)| now > most) => {
            Some(Implausible::BeyondCapacity)
        }
        Source::Grid if evidence.grid_g_per_kwh.is_some_and(|grid| claim.g_per_kwh < least(grid)) => {
            Some(Implausible::CleanerThanGrid)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    /// 2026-06-21 and 2026-12-21, midnight in Greenwich.
    const JUNE: u64 = 1_782_000_000_000;
    const DECEMBER: u64 = 1_797_811_200_000;
    const BERLIN: (i16, i16) = (52, 13);

    // spec: REP-2
    #[test]
    fn sun_by_night_is_not_believed() {
        let sun = EnergyClaim { source: Source::Solar, renewable_percent: 100, g_per_kwh: 40 };
        let at = |place, now_ms| doubt(&sun, &Evidence { place: Some(place), now_ms, ..Evidence::default() });
        assert_eq!(at(BERLIN, JUNE + 11 * HOUR), None);
        assert_eq!(at(BERLIN, DECEMBER + 23 * HOUR), Some(Implausible::Night));
        assert_eq!(at(BERLIN, DECEMBER + 17 * HOUR), Some(Implausible::Night));
        assert_eq!(at((69, 20), DECEMBER + 11 * HOUR), None, "the sun is just below");
        assert_eq!(at((85, 20), DECEMBER + 11 * HOUR), Some(Implausible::Night));
        assert_eq!(
            doubt(&sun, &Evidence { now_ms: DECEMBER, ..Evidence::default() }),
            None,
            "nobody knows where"
        );
        let wind = EnergyClaim { source: Source::Wind, ..sun };
        let night = Evidence { place: Some(BERLIN), now_ms: DECEMBER, ..Evidence::default() };
        assert_eq!(doubt(&wind, &night), None);
    }

    // spec: REP-2
    #[test]
    fn more_than_there_can_be_is_not_believed() {
        let claim = |source, g_per_kwh| EnergyClaim { source, renewable_percent: 90, g_per_kwh };
        let making = |now, most| Evidence { output_watts: Some((now, most)), ..Evidence::default() };
        assert_eq!(doubt(&claim(Source::Wind, 12), &making(500, 500)), None);
        assert_eq!(doubt(&claim(Source::Wind, 12), &making(501, 500)), Some(Implausible::BeyondCapacity));
        assert_eq!(doubt(&claim(Source::Solar, 40), &making(501, 500)), Some(Implausible::BeyondCapacity));
        assert_eq!(doubt(&claim(Source::Grid, 40), &making(501, 500)), None);
        let grid = Evidence { grid_g_per_kwh: Some(400), ..Evidence::default() };
        assert_eq!(doubt(&claim(Source::Grid, 300), &grid), None);
        assert_eq!(doubt(&claim(Source::Grid, 299), &grid), Some(Implausible::CleanerThanGrid));
        assert_eq!(doubt(&claim(Source::Battery, 0), &grid), None);
    }
}
