//! Is energy clean by the community's rules?
// spec: SLA-3

use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::rules::Rules;

/// Unknown energy is not. `low_g_per_kwh`: what the cleanest 30 % of the last 30 days' hours there did not exceed.
pub fn is_clean(energy: Option<&EnergyClaim>, low_g_per_kwh: Option<u16>, rules: &Rules) -> bool {
    energy.is_some_and(|energy| {
        let own = matches!(energy.source, Source::Solar | Source::Wind | Source::Hydro);
        let grid = energy.g_per_kwh <= rules.clean_g_per_kwh.max(low_g_per_kwh.unwrap_or(0))
            && energy.renewable_percent >= rules.clean_renewable_percent;
        own || grid
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SLA-3
    #[test]
    fn energy_is_clean_by_both_bounds_or_if_it_is_ones_own() {
        let rules = Rules::default();
        let claim =
            |source, renewable_percent, g_per_kwh| EnergyClaim { source, renewable_percent, g_per_kwh };
        for (energy, clean) in [
            (claim(Source::Grid, 60, 150), true),
            (claim(Source::Grid, 59, 150), false),
            (claim(Source::Grid, 60, 151), false),
            (claim(Source::Hydro, 0, 999), true),
            (claim(Source::Battery, 59, 10), false),
        ] {
            assert_eq!(is_clean(Some(&energy), None, &rules), clean, "{energy:?}");
        }
        let low = claim(Source::Grid, 60, 300);
        assert!(is_clean(Some(&low), Some(300), &rules) && !is_clean(Some(&low), Some(299), &rules));
        let brown = claim(Source::Grid, 59, 300);
        assert!(!is_clean(Some(&brown), Some(400), &rules), "the least dirty hour of a dirty grid");
        assert!(!is_clean(None, Some(400), &rules));
    }
}
