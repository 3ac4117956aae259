//! What units do sources speak in, and what is a number of theirs in ours? Converted once, where it enters.
// spec: EN-2

use super::observed::Field;

/// Kilograms of a pound.
const KG_PER_LB: f64 = 0.453_592;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dimension {
    /// Carbon by energy; ours is g/kWh.
    Intensity,
    /// A share; ours is percent.
    Share,
    /// Power; ours is watts.
    Power,
    /// Energy; ours is watt hours.
    Energy,
}

impl Dimension {
    /// The units that are known, the one that is meant if none is named first.
    pub(crate) fn units(self) -> &'static [&'static str] {
        match self {
            Self::Intensity => &["g/kWh", "kg/kWh", "g/MWh", "kg/MWh", "t/MWh", "lb/MWh"],
            Self::Share => &["%", "fraction"],
            Self::Power => &["W", "kW", "MW"],
            Self::Energy => &["Wh", "kWh", "MWh"],
        }
    }
}

/// By what a number in this unit is multiplied to be in ours.
pub(crate) fn factor(unit: &str, dimension: Dimension) -> Result<f64, String> {
    let plain = plain(unit);
    let factor = match (dimension, plain.as_str()) {
        (Dimension::Intensity, "g/kwh" | "kg/mwh") => 1.0,
        (Dimension::Intensity, "kg/kwh" | "t/mwh") => 1000.0,
        (Dimension::Intensity, "g/mwh") => 0.001,
        (Dimension::Intensity, "lb/mwh") => KG_PER_LB,
        (Dimension::Share, "%" | "percent") => 1.0,
        (Dimension::Share, "fraction" | "ratio" | "1") => 100.0,
        (Dimension::Power, "w" | "watt" | "watts") => 1.0,
        (Dimension::Power, "kw") => 1000.0,
        (Dimension::Power, "mw") => 1_000_000.0,
        (Dimension::Energy, "wh") => 1.0,
        (Dimension::Energy, "kwh") => 1000.0,
        (Dimension::Energy, "mwh") => 1_000_000.0,
        _ => {
            return Err(format!("{unit:?} is no unit that is known for it; write {}", {
                dimension.units().join(", ")
            }));
        }
    };
    Ok(factor)
}

/// The unit without what is said of it: the same in `gCO2eq/kWh`, `gCO₂/kWh`, `lbs_co2_per_mwh` and `lb/MWh`.
fn plain(unit: &str) -> String {
    let mut text = unit.to_lowercase().replace('₂', "2").replace("_per_", "/").replace(" per ", "/");
    for said in ["co2eq", "co2e", "co2-eq", "co2", " ", "_", "-"] {
        text = text.replace(said, "");
    }
    match text.strip_prefix("lbs/") {
        Some(rest) => format!("lb/{rest}"),
        None => text,
    }
}

/// A field's number in its unit. Watts are `W` and `w`, but milliwatts are none of a home's.
pub(crate) fn converted(value: f64, unit: Option<&str>, field: Field) -> Result<f64, String> {
    let dimension = field.dimension();
    match unit {
        // `mW` in small letters is what megawatts become; nobody's inverter tells either by accident.
        Some("mW") => Err("\"mW\" is a thousandth of a watt; write W, kW, MW".into()),
        Some(unit) => Ok(value * factor(unit, dimension)?),
        None => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: EN-2
    #[test]
    fn units_are_converted_where_they_enter() {
        for (value, unit, field, ours) in [
            (380.0, "g/kWh", Field::Grams, 380.0),
            (380.0, "kg/MWh", Field::Grams, 380.0),
            (380.0, "gCO2eq/kWh", Field::Grams, 380.0),
            (380.0, "g CO₂/kWh", Field::Grams, 380.0),
            (0.38, "kg/kWh", Field::Grams, 380.0),
            (0.38, "tCO2/MWh", Field::Grams, 380.0),
            (1000.0, "lb/MWh", Field::Grams, 453.592),
            (1000.0, "lbs_co2_per_mwh", Field::Grams, 453.592),
            (1000.0, "lbs CO2/MWh", Field::Grams, 453.592),
            (380_000.0, "g/MWh", Field::Grams, 380.0),
            (0.81, "fraction", Field::Renewable, 81.0),
            (81.0, "%", Field::Charge, 81.0),
            (3.2, "kW", Field::Solar, 3200.0),
            (3.2, "W", Field::Household, 3.2),
            (0.5, "MW", Field::Wind, 500_000.0),
            (10.0, "kWh", Field::Capacity, 10_000.0),
        ] {
            let converted = converted(value, Some(unit), field).unwrap();
            assert!((converted - ours).abs() < 1e-9 * ours, "{value} {unit}: {converted}");
        }
        assert_eq!(converted(380.0, None, Field::Grams), Ok(380.0));
    }

    // spec: EN-2, CLI-5
    #[test]
    fn a_unit_of_something_else_is_refused_with_those_that_fit() {
        for (unit, field, says) in [
            ("W", Field::Grams, "lb/MWh"),
            ("g/kWh", Field::Solar, "kW"),
            ("kWh", Field::Solar, "kW"),
            ("mW", Field::Solar, "thousandth"),
            ("€/kWh", Field::Grams, "g/kWh"),
            ("", Field::Renewable, "fraction"),
        ] {
            let why = converted(1.0, Some(unit), field).unwrap_err();
            assert!(why.contains(says), "{unit}: {why}");
        }
        let all = [Dimension::Intensity, Dimension::Share, Dimension::Power, Dimension::Energy];
        for dimension in all {
            assert!(dimension.units().iter().all(|unit| factor(unit, dimension).is_ok()), "{dimension:?}");
        }
    }
}
