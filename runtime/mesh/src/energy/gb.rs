//! Great Britain's carbon intensity API, and whatever speaks like it: the national figure, or a region's with its mix.
//!
//! Its grams are of what leaves the chimneys, and its figure for now is an estimate until the half hour is over.
// spec: EN-1, EN-2

use super::fields;
use super::http::Asking;
use super::observed::{Ahead, Field, MAX_AHEAD, Observation, Signal, Source, Trouble};
use jiff::Timestamp;
use mesh_protocol::energy::{Kind, Scope};
use serde_json::Value;

/// Where it is.
pub(crate) const ADDRESS: &str = "https://api.carbonintensity.org.uk";
/// Its regions: fourteen of the distribution networks, England, Scotland and Wales.
pub(crate) const REGIONS: std::ops::RangeInclusive<u8> = 1..=17;
/// What of its mix is renewable.
const RENEWABLE: [&str; 4] = ["biomass", "hydro", "solar", "wind"];

/// The service, and for which part of the country.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gb {
    pub(crate) asking: Asking,
    /// A region, or the whole country.
    pub(crate) region: Option<u8>,
}

impl Source for Gb {
    // spec: EN-1
    fn read(&mut self, now_ms: u64) -> Result<Observation, Trouble> {
        let now = i64::try_from(now_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let now = now.ok_or("the clock of this machine shows no time")?.strftime("%Y-%m-%dT%H:%MZ");
        match self.region {
            Some(region) => {
                let answer =
                    self.asking.get(&format!("/regional/intensity/{now}/fw48h/regionid/{region}"))?;
                let of_region = &answer["data"];
                let mut seen = observed(&of_region["data"], now_ms)?;
                let zone = of_region["shortname"].as_str().map(|name| format!("GB {name}"));
                seen.zone = zone.or_else(|| Some(format!("GB {region}")));
                Ok(seen)
            }
            None => {
                let answer = self.asking.get(&format!("/intensity/{now}/fw48h"))?;
                let mut seen = observed(&answer["data"], now_ms)?;
                seen.zone = Some("GB".into());
                match self.asking.get("/generation").map(|mix| renewable(&mix["data"]["generationmix"])) {
                    Ok(Some(percent)) => seen.values.push((Field::Renewable, percent)),
                    Ok(None) => seen.missing.push((Field::Renewable, "there is no mix in its answer".into())),
                    Err(trouble) => seen.missing.push((Field::Renewable, trouble.why)),
                }
                Ok(seen)
            }
        }
    }
}

/// A half hour's figure: what was measured, else what is expected.
fn intensity(slot: &Value) -> Option<(f64, bool)> {
    let of = |name: &str| slot["intensity"][name].as_f64();
    of("actual").map(|grams| (grams, false)).or_else(|| of("forecast").map(|grams| (grams, true)))
}

fn renewable(mix: &Value) -> Option<f64> {
    let parts = mix.as_array()?;
    let of = |part: &Value| RENEWABLE.contains(&part["fuel"].as_str()?).then(|| part["perc"].as_f64())?;
    Some(parts.iter().filter_map(of).sum::<f64>().min(100.0))
}

fn observed(slots: &Value, now_ms: u64) -> Result<Observation, Trouble> {
    let slots = slots.as_array().ok_or("there is no list of half hours in its answer")?;
    let span = |slot: &Value| Some((fields::time(&slot["from"])?, fields::time(&slot["to"])?));
    let now = slots.iter().find(|slot| span(slot).is_some_and(|(from, to)| (from..to).contains(&now_ms)));
    let now = now.ok_or("it tells of no half hour that is now")?;
    let (grams, estimated) = intensity(now).ok_or("there is no intensity of now in its answer")?;
    let (from, to) = span(now).ok_or("its half hours have no times")?;
    let ahead = slots.iter().filter_map(|slot| {
        let (from_ms, until_ms) = span(slot)?;
        Some(Ahead { from_ms, until_ms, g_per_kwh: intensity(slot)?.0 })
    });
    let mut values = vec![(Field::Grams, grams)];
    values.extend(renewable(&now["generationmix"]).map(|percent| (Field::Renewable, percent)));
    Ok(Observation {
        values,
        at_ms: Some(from),
        // Its figure of now holds to the end of its half hour; the next is asked for before.
        until_ms: Some(to),
        estimated,
        signal: Some(Signal { scope: Scope::Direct, kind: Kind::Average }),
        ahead: ahead.take(MAX_AHEAD).collect(),
        ..Observation::default()
    })
}
