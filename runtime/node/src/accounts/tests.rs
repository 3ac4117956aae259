use super::History;
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::energy::Reading;

// spec: CO2-1
#[test]
fn readings_of_a_week_are_kept_and_older_ones_are_not() {
    let day = 24 * 3_600_000;
    let mut history = History::default();
    let mut gone = Vec::new();
    for number in 0..20_u64 {
        let claim = EnergyClaim { source: Source::Grid, renewable_percent: 1, g_per_kwh: number as u16 };
        let kept = history.push(number * day, Some(Reading::of(claim, "fixed")));
        gone.extend(kept.expect("it is news").1);
    }
    // One more than is needed: what was so at the beginning of the eight days.
    assert_eq!(gone, (0..10).map(|number| number * day).collect::<Vec<_>>());
}
