//! What did a source tell at one look?
// spec: EN-1, EN-2

use super::units::Dimension;
use mesh_policies::feed::Quantity;
use mesh_protocol::ad::{EnergyClaim, HOUR_MS, MAX_OUTLOOK};
use mesh_protocol::energy::{Attestation, Kind, Scope};
use std::time::Duration;

/// One quantity that a source can tell, under the name that configuration has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    /// The grid's carbon intensity.
    Grams,
    /// The grid's renewable share.
    Renewable,
    /// What own panels make.
    Solar,
    /// What an own wind turbine makes.
    Wind,
    /// What own water makes.
    Hydro,
    /// What the household takes.
    Household,
    /// What is made beyond what the household takes.
    Surplus,
    /// How full a battery is.
    Charge,
    /// How much it holds when it is full.
    Capacity,
    /// What it gives; below zero while it is charged.
    Battery,
}

impl Field {
    /// All of them.
    pub(crate) const ALL: [Self; 10] = [
        Self::Grams,
        Self::Renewable,
        Self::Solar,
        Self::Wind,
        Self::Hydro,
        Self::Household,
        Self::Surplus,
        Self::Charge,
        Self::Capacity,
        Self::Battery,
    ];

    /// Its name in configuration and in what a command prints.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Grams => "g_per_kwh",
            Self::Renewable => "renewable_percent",
            Self::Solar => "solar_watts",
            Self::Wind => "wind_watts",
            Self::Hydro => "hydro_watts",
            Self::Household => "household_watts",
            Self::Surplus => "surplus_watts",
            Self::Charge => "battery_percent",
            Self::Capacity => "battery_wh",
            Self::Battery => "battery_watts",
        }
    }

    pub(crate) fn dimension(self) -> Dimension {
        match self {
            Self::Grams => Dimension::Intensity,
            Self::Renewable | Self::Charge => Dimension::Share,
            Self::Capacity => Dimension::Energy,
            Self::Solar | Self::Wind | Self::Hydro | Self::Household | Self::Surplus | Self::Battery => {
                Dimension::Power
            }
        }
    }

    /// What its numbers are judged as.
    pub(crate) fn quantity(self, signal: Signal) -> Quantity {
        match self {
            Self::Grams if signal == Signal::default() => Quantity::LifeCycle,
            Self::Grams => Quantity::Intensity,
            Self::Renewable | Self::Charge => Quantity::Percent,
            Self::Solar | Self::Wind | Self::Hydro | Self::Household => Quantity::Watts,
            Self::Surplus | Self::Battery => Quantity::Flow,
            Self::Capacity => Quantity::WattHours,
        }
    }
}

/// Which signal an intensity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Signal {
    pub(crate) scope: Scope,
    pub(crate) kind: Kind,
}

/// What a source expects of a time to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ahead {
    /// From when.
    pub(crate) from_ms: u64,
    /// Until when.
    pub(crate) until_ms: u64,
    /// Grams per kWh.
    pub(crate) g_per_kwh: f64,
}

/// The hour that is now, since 1970, and what is expected of it and those after it, in g/kWh: each by the parts of it that
/// are told, up to the first of which nothing is.
// spec: EN-5
pub(crate) fn by_hour(ahead: &[Ahead], now_ms: u64) -> (u64, Vec<u16>) {
    let first = now_ms / HOUR_MS;
    let of = |hour: u64| {
        let (from, until) = (hour * HOUR_MS, (hour + 1) * HOUR_MS);
        let parts = ahead.iter().map(|it| {
            let ms = it.until_ms.min(until).saturating_sub(it.from_ms.max(from));
            (ms as f64, ms as f64 * it.g_per_kwh)
        });
        let (ms, sum) = parts.fold((0.0, 0.0), |(ms, sum), (more, part)| (ms + more, sum + part));
        (ms > 0.0).then(|| (sum / ms).round().clamp(0.0, f64::from(u16::MAX)) as u16)
    };
    (first, (first..first + MAX_OUTLOOK as u64).map_while(of).collect())
}

/// Most pieces of a forecast that are kept: four days in five-minute steps.
pub(crate) const MAX_AHEAD: usize = 96 * 12;

/// What a source told at one look.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Observation {
    /// All that there is to say of the energy, if it says that.
    pub(crate) outright: Option<EnergyClaim>,
    /// Numbers in our units.
    pub(crate) values: Vec<(Field, f64)>,
    /// Since when this is so, by its own word.
    pub(crate) at_ms: Option<u64>,
    /// Until when, by its own word.
    pub(crate) until_ms: Option<u64>,
    /// Which grid.
    pub(crate) zone: Option<String>,
    /// Does it call this an estimate?
    pub(crate) estimated: bool,
    /// Which signal, where it says that.
    pub(crate) signal: Option<Signal>,
    /// Is this device on mains?
    pub(crate) on_mains: Option<bool>,
    /// What it expects.
    pub(crate) ahead: Vec<Ahead>,
    /// A meter's own word.
    pub(crate) attestation: Option<Attestation>,
    /// What it does not tell although it should, and why.
    pub(crate) missing: Vec<(Field, String)>,
}

/// Why a source told nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// In words, without any secret.
    pub(crate) why: String,
    /// How long it wants to be left alone, if it says so.
    pub(crate) rest: Option<Duration>,
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self { why, rest: None }
    }
}

impl From<&str> for Trouble {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

/// Whatever energy is read from.
// spec: EN-1
pub(crate) trait Source: Send + std::fmt::Debug {
    /// Looks once. It may take its time; it has a thread of its own.
    fn read(&mut self, now_ms: u64) -> Result<Observation, Trouble>;
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: EN-5
    #[test]
    fn a_forecast_is_told_by_the_hour_up_to_its_first_gap() {
        let piece = |from: u64, until: u64, g_per_kwh| Ahead {
            from_ms: 100 * HOUR_MS + from * 60_000,
            until_ms: 100 * HOUR_MS + until * 60_000,
            g_per_kwh,
        };
        let half = [piece(0, 30, 100.0), piece(30, 60, 200.0), piece(60, 90, 50.0), piece(180, 240, 9.0)];
        assert_eq!(by_hour(&half, 100 * HOUR_MS + 5), (100, vec![150, 50]));
        assert_eq!(by_hour(&half, 103 * HOUR_MS), (103, vec![9]));
        assert_eq!(by_hour(&half, 99 * HOUR_MS), (99, vec![]));
        let day = [piece(0, 60 * 24 * 10, 70.0)];
        assert_eq!(by_hour(&day, 100 * HOUR_MS).1.len(), MAX_OUTLOOK, "no more than is looked ahead");
    }

    // spec: EN-2
    #[test]
    fn each_field_has_a_name_and_is_judged_as_what_it_is() {
        let names: std::collections::BTreeSet<_> = Field::ALL.map(Field::name).into();
        assert_eq!(names.len(), Field::ALL.len());
        let direct = Signal { scope: Scope::Direct, kind: Kind::Average };
        let marginal = Signal { scope: Scope::LifeCycle, kind: Kind::Marginal };
        assert_eq!(Field::Grams.quantity(Signal::default()), Quantity::LifeCycle);
        assert_eq!(Field::Grams.quantity(direct), Quantity::Intensity, "a chimney can be cold");
        assert_eq!(Field::Grams.quantity(marginal), Quantity::Intensity);
    }
}
