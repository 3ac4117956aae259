//! May a task of this service level run on this energy now?
//!
//! What its patience allows; when it is worth waiting for cleaner energy comes with the energy issue.
// spec: DEL-12

use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::reason::Reason;
use mesh_protocol::rules::Rules;
use mesh_protocol::task::Sla;

/// Is energy clean by the community's rules? Unknown energy is not.
pub fn is_clean(energy: Option<&EnergyClaim>, rules: &Rules) -> bool {
    energy.is_some_and(|energy| {
        let own = matches!(energy.source, Source::Solar | Source::Wind | Source::Hydro);
        let grid = energy.g_per_kwh <= rules.clean_g_per_kwh
            && energy.renewable_percent >= rules.clean_renewable_percent;
        own || grid
    })
}

/// May it start? `own`: on the device it was submitted on.
pub fn allows(sla: Sla, energy: Option<&EnergyClaim>, own: bool, rules: &Rules) -> Result<(), Reason> {
    let only = |source: Source| own && energy.is_some_and(|energy| energy.source == source);
    let fits = match sla {
        Sla::Urgent | Sla::High | Sla::Normal => true,
        Sla::Eco => is_clean(energy, rules),
        Sla::SolarOnly => only(Source::Solar),
        Sla::WindOnly => only(Source::Wind),
    };
    if fits { Ok(()) } else { Err(Reason::EnergyNotClean) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: DEL-12
    #[test]
    fn each_level_has_its_energy() {
        let rules = Rules::default();
        let claim =
            |source, renewable_percent, g_per_kwh| EnergyClaim { source, renewable_percent, g_per_kwh };
        let (coal, sun, wind) =
            (claim(Source::Grid, 10, 800), claim(Source::Solar, 100, 40), claim(Source::Wind, 100, 12));
        for (energy, clean) in [
            (claim(Source::Grid, 60, 150), true),
            (claim(Source::Grid, 59, 150), false),
            (claim(Source::Grid, 60, 151), false),
            (claim(Source::Hydro, 0, 999), true),
            (claim(Source::Battery, 59, 10), false),
        ] {
            assert_eq!(is_clean(Some(&energy), &rules), clean, "{energy:?}");
        }
        let ok = |sla, energy: Option<&EnergyClaim>, own| allows(sla, energy, own, &rules).is_ok();
        for own in [true, false] {
            for energy in [None, Some(&coal), Some(&sun), Some(&wind)] {
                assert!(
                    ok(Sla::Urgent, energy, own)
                        && ok(Sla::Normal, energy, own)
                        && ok(Sla::High, energy, own)
                );
                assert_eq!(ok(Sla::Eco, energy, own), energy == Some(&sun) || energy == Some(&wind));
                assert_eq!(ok(Sla::SolarOnly, energy, own), own && energy == Some(&sun));
                assert_eq!(ok(Sla::WindOnly, energy, own), own && energy == Some(&wind));
            }
        }
    }
}
