//! Where does the sun stand? By universal time and place alone: no zone, no daylight saving. Sines are computed by `libm`'s
//! own arithmetic and not by the system's, whose last bits differ from machine to machine.
// spec: SLA-4, REP-2

use libm::{asin, atan2, cos, sin};

/// Degrees that the sun moves in an hour.
const DEGREES_AN_HOUR: f64 = 15.0;
/// Hours of solar time before and after noon in which there is sun worth using: from 9 to 15 h.
const AROUND_NOON: f64 = 3.0;

/// Degrees by which the sun may be below the horizon for sun to be believed: places are whole degrees, panels stand on
/// hills, and clocks differ.
const TWILIGHT: f64 = -3.0;

/// The sun as seen from a place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sun {
    /// Of its centre above the horizon in degrees, refraction not counted.
    pub height: f64,
    /// Hours since it stood highest, from -12 to 12.
    pub hours_past_noon: f64,
}

/// Seen from this latitude and longitude, in whole degrees, at this moment (milliseconds since 1970). Right to a third
/// of a degree until 2050 (the almanac's low-precision formula).
pub fn at(place: (i16, i16), now_ms: u64) -> Sun {
    // Days since noon of 2000-01-01, universal time.
    let days = now_ms as f64 / 86_400_000.0 - 10_957.5;
    let anomaly = (357.528 + 0.985_600_3 * days).to_radians();
    let mean = 280.460 + 0.985_647_4 * days;
    let longitude = (mean + 1.915 * sin(anomaly) + 0.020 * sin(2.0 * anomaly)).to_radians();
    let tilt = (23.439 - 0.000_000_4 * days).to_radians();
    let declination = asin(sin(tilt) * sin(longitude));
    let ascension = atan2(cos(tilt) * sin(longitude), cos(longitude));
    // Greenwich sidereal time in degrees.
    let sidereal = 280.460_618 + 360.985_647_4 * days;
    let past_noon = sidereal + f64::from(place.1) - ascension.to_degrees();
    let past_noon = (past_noon + 180.0).rem_euclid(360.0) - 180.0;
    let latitude = f64::from(place.0).to_radians();
    let height =
        sin(latitude) * sin(declination) + cos(latitude) * cos(declination) * cos(past_noon.to_radians());
    Sun { height: asin(height).to_degrees(), hours_past_noon: past_noon / DEGREES_AN_HOUR }
}

/// Is it so far below the horizon there that no panel can make anything of it?
// spec: EN-3, REP-2
pub fn is_down(place: (i16, i16), now_ms: u64) -> bool {
    at(place, now_ms).height < TWILIGHT
}

/// Is it between 9 and 15 h solar time there, and the sun up?
// spec: SLA-4
pub fn shines(place: (i16, i16), now_ms: u64) -> bool {
    let sun = at(place, now_ms);
    sun.height > 0.0 && sun.hours_past_noon.abs() <= AROUND_NOON
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;
    /// 2026-06-21 and 2026-12-21, midnight in Greenwich.
    const JUNE: u64 = 1_782_000_000_000;
    const DECEMBER: u64 = 1_797_811_200_000;

    // spec: REP-2, SLA-4
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
            let noon = at((latitude, 0), day + 12 * HOUR);
            assert!((noon.height - height).abs() < 0.5, "{latitude}: {noon:?}");
            assert!(noon.hours_past_noon.abs() < 0.1, "{noon:?}");
        }
        // A quarter of a day later, a quarter of the world further west.
        let (east, west) = (at((40, 0), JUNE + 12 * HOUR), at((40, -90), JUNE + 18 * HOUR));
        assert!((east.height - west.height).abs() < 0.2, "{east:?} {west:?}");
        assert!(at((52, 13), JUNE).height < 0.0 && at((70, 20), JUNE).height > 0.0, "the midnight sun");
    }

    // spec: REP-2, SLA-4
    #[test]
    fn the_seasons_and_the_equation_of_time_are_those_of_the_almanac() {
        // At the pole the sun stands as high as its declination, all day long: the equinoxes and solstices of 2026 and 2049.
        for (moment, height) in [
            (1_774_017_960_000, 0.0),
            (1_782_030_300_000, 23.436),
            (1_790_121_900_000, 0.0),
            (1_797_886_200_000, -23.436),
            (2_499_827_280_000, 0.0),
            (2_507_838_420_000, 23.433),
        ] {
            let pole = at((90, 0), moment);
            assert!((pole.height - height).abs() < 0.02, "{moment}: {pole:?}");
        }
        // Noon by the sun against noon by the clock in Greenwich: its four extremes of a year, in minutes.
        for (day, minutes) in [
            (1_770_768_000_000, -14.2),
            (1_778_716_800_000, 3.65),
            (1_785_024_000_000, -6.55),
            (1_793_664_000_000, 16.45),
            (2_496_614_400_000, -14.2),
        ] {
            let noon = at((0, 0), day + 12 * HOUR);
            assert!((noon.hours_past_noon * 60.0 - minutes).abs() < 0.2, "{day}: {noon:?}");
        }
    }

    // spec: SLA-4
    #[test]
    fn it_shines_from_nine_to_three_by_the_sun_in_every_zone_and_season() {
        // Across both changes of the clocks in Europe and America: by the sun nothing changes on those days.
        for (longitude, noon) in [(0, 12.0), (13, 11.13), (-74, 16.93), (151, 1.93), (179, 0.07)] {
            for day in (0..365).map(|day| JUNE + day * 24 * HOUR) {
                let hours = (0..24 * 4).filter(|quarter| shines((40, longitude), day + quarter * HOUR / 4));
                let times: Vec<f64> = hours.map(|quarter| quarter as f64 / 4.0).collect();
                assert!((23..=25).contains(&times.len()), "six hours: {times:?}");
                // The equation of time is 17 minutes at most.
                let off = |time: &f64| ((time - noon + 36.0).rem_euclid(24.0) - 12.0).abs();
                assert!(times.iter().all(|time| off(time) <= 3.3), "{longitude}: {times:?}");
            }
        }
        assert!((0..24).all(|hour| !shines((80, 20), DECEMBER + hour * HOUR)), "the polar night");
        assert!(!shines((70, 20), JUNE + 23 * HOUR), "the midnight sun is none to count on");
    }
}
