//! A JSON path for each field: what of a service's answer is which quantity, and in which unit.
// spec: EN-1, EN-2, EN-3

use super::http::Asking;
use super::observed::{Field, Observation, Source, Trouble};
use super::units;
use jiff::Timestamp;
use mesh_protocol::energy::Attestation;
use serde_json::Value;

/// Seconds since 1970 that are milliseconds: the year 5138 in one, 1973 in the other.
const SECONDS_BELOW: f64 = 1e11;
/// The end of the year 9999, in milliseconds since 1970: what is later is no time. Written as text it could not be, either.
const LATEST: f64 = 253_402_300_799_999.0;

/// Where a number stands, and in which unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    /// A JSON pointer, such as `/attributes/power`.
    pub(crate) path: String,
    /// Its unit, or the pointer to it.
    pub(crate) unit: Option<String>,
}

/// Where everything stands in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Paths {
    /// The numbers.
    pub(crate) fields: Vec<(Field, Path)>,
    /// Since when they are so.
    pub(crate) time: Option<String>,
    /// The zone.
    pub(crate) zone: Option<String>,
    /// Whether they are an estimate.
    pub(crate) estimated: Option<String>,
    /// A meter's word: an object as a command prints it.
    pub(crate) attestation: Option<String>,
}

/// A service whose answer is one JSON document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Http {
    pub(crate) asking: Asking,
    pub(crate) paths: Paths,
}

impl Source for Http {
    // spec: EN-1
    fn read(&mut self, _: u64) -> Result<Observation, Trouble> {
        let answer = self.asking.get("")?;
        self.paths.read(&answer)
    }
}

impl Paths {
    /// What an answer tells. A field that is not there leaves the others as they are; where none is, that is trouble.
    pub(crate) fn read(&self, answer: &Value) -> Result<Observation, Trouble> {
        let mut seen = Observation::default();
        for (field, path) in &self.fields {
            match number(answer, path, *field) {
                Ok(value) => seen.values.push((*field, value)),
                Err(why) => seen.missing.push((*field, why)),
            }
        }
        if let Some((field, why)) = seen.missing.first()
            && seen.values.is_empty()
        {
            return Err(format!("{}: {why}", field.name()).into());
        }
        if let Some(path) = &self.time {
            let text = at(answer, path)?;
            seen.at_ms = Some(time(text).ok_or_else(|| format!("{path} is no time: {}", short(text)))?);
        }
        if let Some(path) = &self.zone {
            seen.zone = at(answer, path)?.as_str().map(str::to_owned);
        }
        if let Some(path) = &self.estimated {
            // What does not say so is none.
            seen.estimated = answer.pointer(path).and_then(Value::as_bool).unwrap_or(false);
        }
        if let Some(path) = &self.attestation {
            seen.attestation = Some(attestation(at(answer, path)?)?);
        }
        Ok(seen)
    }
}

/// A meter's word as JSON: its key and signature in hexadecimal, and from when until when it holds.
// spec: EN-6
pub(super) fn attestation(value: &Value) -> Result<Attestation, String> {
    serde_json::from_value(value.clone()).map_err(|error| format!("the meter's word cannot be read: {error}"))
}

fn at<'a>(answer: &'a Value, path: &str) -> Result<&'a Value, String> {
    match answer.pointer(path) {
        Some(Value::Null) => Err(format!("{path} is null")),
        Some(value) => Ok(value),
        None => Err(format!("there is no {path} in the answer")),
    }
}

/// The beginning of a value, to be shown.
fn short(value: &Value) -> String {
    let text = value.to_string();
    text.chars().take(40).collect()
}

fn number(answer: &Value, path: &Path, field: Field) -> Result<f64, String> {
    let value = at(answer, &path.path)?;
    let number = match value {
        Value::Number(number) => number.as_f64(),
        // Home Assistant writes numbers as text, and `unavailable` where it has none.
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let number = number.ok_or_else(|| format!("{} is no number: {}", path.path, short(value)))?;
    let unit = match &path.unit {
        Some(unit) if unit.starts_with('/') => {
            let unit = at(answer, unit)?;
            Some(unit.as_str().ok_or_else(|| format!("the unit is no text: {}", short(unit)))?)
        }
        unit => unit.as_deref(),
    };
    units::converted(number, unit, field)
}

/// A moment in milliseconds since 1970, from RFC 3339 or from seconds or milliseconds.
pub(super) fn time(value: &Value) -> Option<u64> {
    let ms = match value {
        Value::String(text) => text.parse::<Timestamp>().ok()?.as_millisecond(),
        Value::Number(number) => {
            let number = number.as_f64().filter(|number| number.is_finite() && *number >= 0.0)?;
            let ms = if number < SECONDS_BELOW { number * 1000.0 } else { number };
            return (ms <= LATEST).then_some(ms as u64);
        }
        _ => return None,
    };
    u64::try_from(ms).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(path: &str, unit: Option<&str>) -> Path {
        Path { path: path.into(), unit: unit.map(Into::into) }
    }

    // spec: EN-1, EN-2
    #[test]
    fn each_field_has_its_path_and_its_unit() {
        // As Home Assistant answers for one entity.
        let entity = json!({
            "entity_id": "sensor.pv_power", "state": "3.21",
            "attributes": { "unit_of_measurement": "kW", "device_class": "power" },
            "last_changed": "2026-06-21T10:00:00.123456+00:00",
            "last_reported": "2026-06-21T10:04:30.000001+00:00",
        });
        let paths = Paths {
            fields: vec![(Field::Solar, path("/state", Some("/attributes/unit_of_measurement")))],
            time: Some("/last_reported".into()),
            ..Paths::default()
        };
        let seen = paths.read(&entity).unwrap();
        assert_eq!((seen.values, seen.at_ms), (vec![(Field::Solar, 3210.0)], Some(1_782_036_270_000)));
        // As Electricity Maps does for a zone.
        let zone = json!({
            "zone": "DE", "carbonIntensity": 302, "datetime": "2026-06-21T10:00:00.000Z",
            "updatedAt": "2026-06-21T09:47:07.350Z", "emissionFactorType": "lifecycle",
            "isEstimated": true, "estimationMethod": "TIME_SLICER_AVERAGE",
        });
        let paths = Paths {
            fields: vec![(Field::Grams, path("/carbonIntensity", None))],
            time: Some("/datetime".into()),
            zone: Some("/zone".into()),
            estimated: Some("/isEstimated".into()),
            ..Paths::default()
        };
        let seen = paths.read(&zone).unwrap();
        assert_eq!((seen.values, seen.zone.as_deref()), (vec![(Field::Grams, 302.0)], Some("DE")));
        assert!(seen.estimated && seen.at_ms == Some(1_782_036_000_000));
        // As an inverter does.
        let inverter = json!({ "Body": { "Data": { "Site": { "P_PV": 812.5, "P_Load": -431.2, "P_Akku": null } } },
            "Head": { "Timestamp": "2026-06-21T12:00:00+02:00" } });
        let paths = Paths {
            fields: vec![
                (Field::Solar, path("/Body/Data/Site/P_PV", None)),
                (Field::Battery, path("/Body/Data/Site/P_Akku", None)),
            ],
            time: Some("/Head/Timestamp".into()),
            ..Paths::default()
        };
        let seen = paths.read(&inverter).unwrap();
        assert_eq!(seen.values, [(Field::Solar, 812.5)], "one that is missing leaves the other");
        assert!(seen.missing[0].1.contains("null"), "{:?}", seen.missing);
        assert_eq!(seen.at_ms, Some(1_782_036_000_000));
    }

    // spec: EN-3
    #[test]
    fn an_answer_without_the_value_says_what_is_there() {
        let paths = Paths { fields: vec![(Field::Grams, path("/value", Some("/unit")))], ..Paths::default() };
        for (answer, says) in [
            (json!({ "value": "unavailable", "unit": "g/kWh" }), "no number: \"unavailable\""),
            (json!({ "value": null }), "null"),
            (json!({ "val": 3 }), "no /value"),
            (json!([1, 2]), "no /value"),
            (json!({ "value": { "a": 1 } }), "no number"),
            (json!({ "value": 3 }), "no /unit"),
            (json!({ "value": 3, "unit": 4 }), "unit is no text"),
            (json!({ "value": 3, "unit": "€/MWh" }), "no unit that is known"),
        ] {
            let why = paths.read(&answer).unwrap_err().why;
            assert!(why.starts_with("g_per_kwh: ") && why.contains(says), "{answer}: {why}");
        }
        let timed = Paths { time: Some("/at".into()), ..Paths::default() };
        assert!(timed.read(&json!({ "at": "noon" })).unwrap_err().why.contains("no time"));
        assert!(timed.read(&json!({})).unwrap_err().why.contains("no /at"));
        let long = json!({ "value": "x".repeat(5000) });
        assert!(paths.read(&long).unwrap_err().why.len() < 120, "not all of it is repeated");
    }

    // spec: EN-2
    #[test]
    fn times_are_read_in_the_spellings_that_there_are() {
        for (text, ms) in [
            (json!("1970-01-02T00:00Z"), Some(86_400_000)),
            (json!("1970-01-02T01:00:00+01:00"), Some(86_400_000)),
            (json!(86_400), Some(86_400_000)),
            (json!(1_782_036_000), Some(1_782_036_000_000)),
            (json!(1_782_036_000_000u64), Some(1_782_036_000_000)),
            (json!(253_402_300_799_999u64), Some(253_402_300_799_999)),
            (json!(253_402_300_800_000u64), None),
            (json!(1e300), None),
            (json!(u64::MAX), None),
            (json!("1969-01-01T00:00Z"), None),
            (json!("today"), None),
            (json!(-5), None),
            (json!(true), None),
        ] {
            assert_eq!(time(&text), ms, "{text}");
        }
    }
}
