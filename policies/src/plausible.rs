//! Can a peer's claim about its energy be true? Judged by each peer for itself, so floating point will do here.
// spec: REP-2

use mesh_protocol::ad::{EnergyClaim, Source};

/// Degrees by which the sun may be below the horizon for a claim of sun to be believed: places are whole degrees, panels
/// stand on hills, and clocks differ.
const TWILIGHT: f64 = -3.0;
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

/// Height of the sun's centre above the horizon in degrees, refraction not counted. Right to a third of a degree until
/// 2050 (the almanac's low-precision formula).
pub fn sun_height(place: (i16, i16), now_ms: u64) -> f64 {
    // Days since noon of 2000-01-01, universal time.
    let days = now_ms as f64 / 86_400_000.0 - 10_957.5;
    let anomaly = (357.528 + 0.985_600_3 * days).to_radians();
    let mean = 280.460 + 0.985_647_4 * days;
    let longitude = (mean + 1.915 * anomaly.sin() + 0.020 * (2.0 * anomaly).sin()).to_radians();
    let tilt = (23.439 - 0.000_000_4 * days).to_radians();
    let declination = (tilt.sin() * longitude.sin()).asin();
    let ascension = (tilt.cos() * longitude.sin()).atan2(longitude.cos());
    // Greenwich sidereal time in degrees.
    let sidereal = 280.460_618 + 360.985_647_4 * days;
    let hour = (sidereal + f64::from(place.1)).to_radians() - ascension;
    let latitude = f64::from(place.0).to_radians();
    let height = latitude.sin() * declination.sin() + latitude.cos() * declination.cos() * hour.cos();
    height.asin().to_degrees()
}

/// The first thing that speaks against a claim.
pub fn doubt(claim: &EnergyClaim, evidence: &Evidence) -> Option<Implausible> {
    let night = || evidence.place.is_some_and(|place| sun_height(place, evidence.now_ms) < TWILIGHT);
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
    fn the_sun_stands_where_the_almanac_has_it() {
        // At Greenwich's noon (two minutes off at most in June and December) the height is 90° - latitude ± tilt.
        for (latitude, day, height) in [
            (52, JUNE, 61.4),
            (52, DECEMBER, 14.6),
            (0, JUNE, 66.6),
            (-34, DECEMBER, 79.4),
            (80, DECEMBER, -13.4),
        ] {
            let noon = sun_height((latitude, 0), day + 12 * HOUR);
            assert!((noon - height).abs() < 0.5, "{latitude}: {noon}");
        }
        // A quarter of a day later, a quarter of the world further west.
        let (east, west) = (sun_height((40, 0), JUNE + 12 * HOUR), sun_height((40, -90), JUNE + 18 * HOUR));
        assert!((east - west).abs() < 0.2, "{east} {west}");
        assert!(sun_height(BERLIN, JUNE) < 0.0 && sun_height((70, 20), JUNE) > 0.0, "the midnight sun");
    }

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
