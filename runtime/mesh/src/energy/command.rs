//! A program of the owner's that prints a reading: whatever speaks to their inverter, meter or feed.
// spec: EN-1

use super::fields;
use super::observed::{Field, Observation, Signal, Source, Trouble};
use super::trace::claim;
use crate::program::Program;
use mesh_protocol::energy::{Kind, Scope};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// How long it may take: a feed over a slow line. Meanwhile the last value holds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of its answer; a reading is a line.
const MAX_ANSWER: u64 = 64 * 1024;
/// The longest that a value may hold, in seconds: a day.
const LONGEST: u64 = 86_400;

/// What it prints: all that there is to say of the energy, or single quantities.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Answer {
    source: Option<String>,
    renewable_percent: Option<f64>,
    g_per_kwh: Option<f64>,
    solar_watts: Option<f64>,
    wind_watts: Option<f64>,
    hydro_watts: Option<f64>,
    household_watts: Option<f64>,
    surplus_watts: Option<f64>,
    battery_percent: Option<f64>,
    battery_wh: Option<f64>,
    battery_watts: Option<f64>,
    /// Seconds from now.
    valid_s: Option<u64>,
    /// Since when it is so.
    time: Option<Value>,
    zone: Option<String>,
    estimated: bool,
    scope: Option<Scope>,
    signal: Option<Kind>,
    /// A meter's word.
    attestation: Option<Value>,
}

/// The program, as a shell runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) command: String,
}

impl Source for Asked {
    // spec: EN-1
    fn read(&mut self, now_ms: u64) -> Result<Observation, Trouble> {
        let answer = run(&self.command, PATIENCE)?;
        Ok(observation(&answer, now_ms)?)
    }
}

fn observation(answer: &[u8], now_ms: u64) -> Result<Observation, String> {
    let answer: Answer = serde_json::from_slice(answer)
        .map_err(|error| format!("the energy command did not print a reading as JSON: {error}"))?;
    let mut seen = Observation {
        until_ms: answer.valid_s.map(|seconds| now_ms.saturating_add(seconds.clamp(1, LONGEST) * 1000)),
        zone: answer.zone,
        estimated: answer.estimated,
        ..Observation::default()
    };
    if let Some(time) = answer.time {
        let ms = fields::time(&time);
        seen.at_ms = Some(ms.ok_or_else(|| format!("the energy command's time is none: {time}"))?);
    }
    if answer.scope.is_some() || answer.signal.is_some() {
        seen.signal =
            Some(Signal { scope: answer.scope.unwrap_or_default(), kind: answer.signal.unwrap_or_default() });
    }
    seen.attestation = answer.attestation.as_ref().map(fields::attestation).transpose()?;
    let of = |field: Field| match field {
        Field::Grams => answer.g_per_kwh,
        Field::Renewable => answer.renewable_percent,
        Field::Solar => answer.solar_watts,
        Field::Wind => answer.wind_watts,
        Field::Hydro => answer.hydro_watts,
        Field::Household => answer.household_watts,
        Field::Surplus => answer.surplus_watts,
        Field::Charge => answer.battery_percent,
        Field::Capacity => answer.battery_wh,
        Field::Battery => answer.battery_watts,
    };
    let mut fields: Vec<Field> = Field::ALL.into_iter().filter(|field| of(*field).is_some()).collect();
    if let Some(source) = &answer.source {
        let needs = |value: Option<f64>, what: &str| {
            value.ok_or_else(|| format!("the energy command told a source without {what}"))
        };
        let renewable = needs(answer.renewable_percent, "renewable_percent")?;
        seen.outright = Some(claim(source, renewable, needs(answer.g_per_kwh, "g_per_kwh")?)?);
        fields.retain(|field| !matches!(field, Field::Grams | Field::Renewable));
    } else if fields.is_empty() {
        return Err("the energy command told nothing".into());
    }
    seen.values = fields.into_iter().filter_map(|field| Some((field, of(field)?))).collect();
    Ok(seen)
}

fn run(command: &str, patience: Duration) -> Result<Vec<u8>, String> {
    Program { what: "the energy command", command, patience, most: MAX_ANSWER }.run(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: EN-1, EN-2
    #[test]
    fn a_command_tells_the_energy() {
        let asked = |command: &str| Asked { command: command.into() }.read(1000);
        let good =
            asked(r#"echo '{"source":"wind","renewable_percent":92.7,"g_per_kwh":11.6,"valid_s":60}'"#);
        let good = good.unwrap();
        let claim = good.outright.unwrap();
        assert_eq!((claim.renewable_percent, claim.g_per_kwh, good.until_ms), (92, 12, Some(61_000)));
        let unsaid = asked(r#"echo '{"source":"grid","renewable_percent":0,"g_per_kwh":820}'"#).unwrap();
        assert_eq!(unsaid.until_ms, None, "how long it holds is the setting's to say");
        let parts =
            r#"echo '{"solar_watts":812,"household_watts":300.5,"time":"1970-01-01T00:00:01Z","zone":"DE"}'"#;
        let parts = asked(parts).unwrap();
        assert_eq!(parts.values, [(Field::Solar, 812.0), (Field::Household, 300.5)]);
        assert_eq!((parts.at_ms, parts.zone.as_deref(), parts.outright), (Some(1000), Some("DE"), None));
        let marginal = asked(r#"echo '{"g_per_kwh":700,"signal":"marginal","scope":"direct"}'"#).unwrap();
        assert_eq!(marginal.signal, Some(Signal { scope: Scope::Direct, kind: Kind::Marginal }));
    }

    // spec: EN-3
    #[test]
    fn a_command_that_fails_says_how() {
        let asked = |command: &str| Asked { command: command.into() }.read(0).unwrap_err().why;
        assert!(asked("echo '{}'").contains("nothing"));
        assert!(asked(r#"echo '{"solar_wats":3}'"#).contains("solar_wats"));
        assert!(asked(r#"echo '{"solar_watts":3,"time":"noon"}'"#).contains("noon"));
        assert!(asked("exit 3").contains("failed: exit status: 3"));
        assert!(asked("echo hello").contains("JSON"));
        assert!(asked(r#"echo '{"source":"grid","renewable_percent":40}'"#).contains("g_per_kwh"));
        assert!(
            asked(r#"echo '{"source":"grid","renewable_percent":40,"g_per_kwh":1e400}'"#).contains("JSON")
        );
        assert!(
            asked(r#"echo '{"source":"grid","renewable_percent":101,"g_per_kwh":1}'"#).contains("percent")
        );
        let slow = run("sleep 60 & sleep 60", Duration::from_millis(100)).unwrap_err();
        assert!(slow.contains("did not answer"), "{slow}");
        assert!(run("yes", Duration::from_secs(30)).is_err(), "what never ends is cut off");
    }
}
