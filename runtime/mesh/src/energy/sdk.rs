//! The Carbon Aware SDK's WebApi: what the intensity at a location was last, and what is expected there.
//!
//! Which signal that is depends on where the WebApi gets it from, and it does not say: so its owner must.
// spec: EN-1, EN-2

use super::fields;
use super::http::Asking;
use super::observed::{Ahead, Field, MAX_AHEAD, Observation, Source, Trouble};
use jiff::Timestamp;
use serde_json::Value;

/// How far back it is asked: what it has of a location may be some hours old.
const BACK_MS: u64 = 6 * 3_600_000;
/// Milliseconds of a minute.
const MINUTE: u64 = 60_000;

/// The service, and for where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sdk {
    pub(crate) asking: Asking,
    /// A location by the name that the WebApi has for it.
    pub(crate) location: String,
    /// Does it forecast? Some of what it reads from does not.
    pub(crate) forecasts: bool,
}

impl Source for Sdk {
    // spec: EN-1
    fn read(&mut self, now_ms: u64) -> Result<Observation, Trouble> {
        let moment = |ms: u64| {
            let moment = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
            moment.map(|moment| moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        };
        let (from, to) = (moment(now_ms.saturating_sub(BACK_MS)), moment(now_ms));
        let (from, to) = from.zip(to).ok_or("the clock of this machine shows no time")?;
        let location = encoded(&self.location);
        let below = format!("/emissions/bylocation?location={location}&time={from}&toTime={to}");
        let answer = self.asking.get_if_any(&below)?;
        let mut seen = newest(answer.as_ref().unwrap_or(&Value::Null), &self.location)?;
        seen.zone = Some(self.location.clone());
        if self.forecasts {
            match self.asking.get(&format!("/emissions/forecasts/current?location={location}")) {
                Ok(answer) => seen.ahead = ahead(&answer),
                // Many have none; what is known of now is worth as much without.
                Err(trouble) => tracing::debug!(why = trouble.why, "there is no forecast"),
            }
        }
        Ok(seen)
    }
}

/// What may stand in a query as it is; of the rest, each byte is written as its number.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().fold(String::new(), |mut text, byte| {
        match plain(byte) {
            true => text.push(byte.into()),
            false => text.push_str(&format!("%{byte:02X}")),
        }
        text
    })
}

/// A span as .NET writes it: `[DAYS.]HH:MM:SS`.
fn span(text: &str) -> Option<u64> {
    let (days, clock) = match text.split_once('.') {
        Some((days, clock)) if clock.contains(':') => (days.parse::<u64>().ok()?, clock),
        _ => (0, text),
    };
    let parts: Vec<u64> = clock
        .split(':')
        .map(|part| part.split('.').next().unwrap_or(part).parse().ok())
        .collect::<Option<_>>()?;
    let [hours, minutes, seconds] = parts[..] else { return None };
    let hours = days.checked_mul(24)?.checked_add(hours)?;
    let seconds = hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?.checked_add(seconds)?;
    seconds.checked_mul(1000)
}

fn newest(answer: &Value, location: &str) -> Result<Observation, Trouble> {
    let list = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |one: &Value| {
        let at = fields::time(&one["time"])?;
        let lasts = one["duration"].as_str().and_then(span).unwrap_or(0);
        Some((at, lasts, one["rating"].as_f64()?))
    };
    let newest = list.iter().filter_map(of).max_by_key(|(at, ..)| *at);
    let nothing = || format!("it has nothing of {location:?} for the last hours");
    let (at, _, grams) = newest.ok_or_else(nothing)?;
    Ok(Observation { values: vec![(Field::Grams, grams)], at_ms: Some(at), ..Observation::default() })
}

fn ahead(answer: &Value) -> Vec<Ahead> {
    let of = |one: &Value| {
        let from_ms = fields::time(&one["timestamp"])?;
        let minutes = one["duration"].as_u64().filter(|minutes| (1..=24 * 60).contains(minutes))?;
        Some(Ahead {
            from_ms,
            until_ms: from_ms.saturating_add(minutes * MINUTE),
            g_per_kwh: one["value"].as_f64()?,
        })
    };
    let list = answer[0]["forecastData"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(of).take(MAX_AHEAD).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: EN-3, ARC-7
    #[test]
    fn what_it_expects_of_the_end_of_time_is_bounded() {
        let answer = |timestamp: Value| {
            serde_json::json!([{ "forecastData": [
                { "timestamp": timestamp, "duration": 1440, "value": 1.0 },
            ] }])
        };
        assert_eq!(ahead(&answer(serde_json::json!(1e300))), [], "that is no time");
        let last = ahead(&answer(serde_json::json!("9999-12-30T00:00:00Z")));
        assert_eq!(last[0].until_ms - last[0].from_ms, 1440 * MINUTE);
    }

    #[test]
    fn spans_and_names_are_written_as_it_does() {
        assert_eq!(span("00:30:00"), Some(30 * MINUTE));
        assert_eq!(span("1.12:24:02"), Some(131_042_000));
        assert_eq!(span("00:05:00.5"), Some(5 * MINUTE));
        assert_eq!(span("18446744073709551615.00:00:00"), None, "no span is so long");
        assert_eq!(span("00:18446744073709551615:00"), None);
        assert_eq!((span("5"), span("a:b:c"), span("")), (None, None, None));
        assert_eq!(encoded("west us/2"), "west%20us%2F2");
    }
}
