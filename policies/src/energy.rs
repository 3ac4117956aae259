//! Is energy clean by the community's rules?
// spec: SLA-3

use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::rules::Rules;

/// What a task wants of energy for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bar {
    /// To start.
    Start,
    /// To go on.
    Stay,
    /// To go on after it stood still: a little better than the bounds, so that what hovers about them stops nothing twice.
    Resume,
}

/// By how much carbon must be below its bound before what stood still goes on, in percent of the bound, and how many
/// percent more must be renewable. More than feeds change by within minutes, less than they do within hours.
const CALM: (u16, u8) = (5, 2);

/// Unknown energy is not. A source of one's own is, where it covers all: what the grid adds to it is judged as a grid is.
/// `low_g_per_kwh`: what the cleanest 30 % of the last 30 days' hours there did not exceed.
pub fn is_clean(energy: Option<&EnergyClaim>, low_g_per_kwh: Option<u16>, bar: Bar, rules: &Rules) -> bool {
    let most = rules.clean_g_per_kwh.max(low_g_per_kwh.unwrap_or(0));
    let (most, least) = match bar {
        Bar::Start | Bar::Stay => (most, rules.clean_renewable_percent),
        Bar::Resume => {
            let calm = u32::from(most) * u32::from(100 - CALM.0) / 100;
            (
                u16::try_from(calm).unwrap_or(most),
                rules.clean_renewable_percent.saturating_add(CALM.1).min(100),
            )
        }
    };
    energy.is_some_and(|energy| {
        let own = matches!(energy.source, Source::Solar | Source::Wind | Source::Hydro)
            && energy.renewable_percent == 100;
        let grid = energy.g_per_kwh <= most && energy.renewable_percent >= least;
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
            (claim(Source::Hydro, 100, 999), true),
            // The word alone makes no coal clean.
            (claim(Source::Hydro, 0, 999), false),
            (claim(Source::Wind, 10, 433), false),
            (claim(Source::Solar, 99, 151), false),
            (claim(Source::Solar, 60, 150), true),
            (claim(Source::Battery, 100, 151), false),
            (claim(Source::Battery, 59, 10), false),
        ] {
            assert_eq!(is_clean(Some(&energy), None, Bar::Start, &rules), clean, "{energy:?}");
        }
        let low = claim(Source::Grid, 60, 300);
        let clean = |energy: Option<&EnergyClaim>, low| is_clean(energy, Some(low), Bar::Stay, &rules);
        assert!(clean(Some(&low), 300) && !clean(Some(&low), 299));
        let brown = claim(Source::Grid, 59, 300);
        assert!(!clean(Some(&brown), 400), "the least dirty hour of a dirty grid");
        assert!(!clean(None, 400));
    }
}
