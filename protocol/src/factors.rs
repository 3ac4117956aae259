//! Emission factors: what a kWh causes over the life of what makes it, by its kind. Versioned, since records that were
//! made with other numbers cannot be added up.
// spec: CO2-5

use crate::ad::Source;
use serde::{Deserialize, Serialize};

/// A published table. New ones come last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Factors {
    /// IPCC, Fifth Assessment Report, Working Group III, annex III (2014): medians, life cycle.
    #[default]
    IpccAr5,
}

/// Kinds of fuel that the tables know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fuel {
    /// Hard coal and lignite.
    Coal,
    /// Natural gas in a combined cycle.
    Gas,
    /// Wood and the like.
    Biomass,
    /// Cells in a field.
    SolarField,
    /// Cells on a roof.
    SolarRoof,
    /// On land.
    Wind,
    /// Dams and rivers.
    Hydro,
    /// Fission.
    Nuclear,
    /// Heat of the ground.
    Geothermal,
}

impl Factors {
    /// Its name, as records show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::IpccAr5 => "IPCC AR5 2014 medians",
        }
    }

    /// Grams of CO2 per kWh.
    pub fn g_per_kwh(self, fuel: Fuel) -> u16 {
        match self {
            Self::IpccAr5 => match fuel {
                Fuel::Coal => 820,
                Fuel::Gas => 490,
                Fuel::Biomass => 230,
                Fuel::SolarField => 48,
                Fuel::SolarRoof => 41,
                Fuel::Wind => 11,
                Fuel::Hydro => 24,
                Fuel::Nuclear => 12,
                Fuel::Geothermal => 38,
            },
        }
    }

    /// Of energy of which nothing is known: it counts as the dirtiest.
    // spec: EN-3
    pub fn unknown(self) -> u16 {
        self.g_per_kwh(Fuel::Coal)
    }

    /// Of the renewable part of a source. What a grid or a battery holds of it is of no one kind: the highest of sun,
    /// wind and water.
    pub fn renewable(self, source: Source) -> u16 {
        self.g_per_kwh(match source {
            Source::Solar => Fuel::SolarRoof,
            Source::Wind => Fuel::Wind,
            Source::Hydro => Fuel::Hydro,
            Source::Battery | Source::Grid => Fuel::SolarField,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: CO2-5
    #[test]
    fn the_table_is_the_one_it_names() {
        let table = Factors::default();
        let all = [
            (Fuel::Coal, 820),
            (Fuel::Gas, 490),
            (Fuel::Biomass, 230),
            (Fuel::SolarField, 48),
            (Fuel::SolarRoof, 41),
            (Fuel::Wind, 11),
            (Fuel::Hydro, 24),
            (Fuel::Nuclear, 12),
            (Fuel::Geothermal, 38),
        ];
        assert!(table.name().contains("AR5"));
        for (fuel, grams) in all {
            assert_eq!(table.g_per_kwh(fuel), grams, "{fuel:?}");
            assert!(grams <= table.unknown());
        }
    }
}
