//! `mesh energy`: what this device's energy is, where that is known from, and what is the matter.
// spec: EN-1, EN-2, EN-3, EN-6

use super::shown;
use super::{print, print_json};
use crate::args::Show;
use crate::client::Client;
use crate::exit_codes;
use crate::failure::Result;
use serde_json::Value;

pub(super) fn run(show: &Show) -> Result<u8> {
    let view: Value = Client::find()?.get("/v1/energy")?;
    if show.json {
        print_json(&view)?;
    } else {
        print(&text(&view, crate::energy::now_ms()))?;
    }
    Ok(exit_codes::OK)
}

fn text(view: &Value, now_ms: u64) -> String {
    let now = &view["energy"];
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let watts = |value: &Value| value.as_f64().map(|watts| format!("{watts:.0} W"));
    let mut lines: Vec<(&str, String)> = Vec::new();
    match now.is_null() {
        true => match view["now"]["g_per_kwh"].as_u64() {
            Some(grams) => {
                lines.push(("energy", format!("grid, 0 % renewable, {grams} g/kWh, estimated")));
                lines.push(("read from", "nowhere: by the same hour of the days before".into()));
            }
            None => lines.push(("energy", "unknown, which counts as dirty".into())),
        },
        false => {
            let estimated = if now["estimated"] == true { ", estimated" } else { "" };
            lines.push((
                "energy",
                format!(
                    "{}, {} % renewable, {} g/kWh{estimated}",
                    word(&now["source"]),
                    now["renewable_percent"],
                    now["g_per_kwh"]
                ),
            ));
            lines.push(("signal", format!("{}, {}", word(&now["kind"]), word(&now["scope"]))));
            let zone = word(&now["zone"]);
            let zone = if zone.is_empty() { zone } else { format!(" for {zone}") };
            lines.push(("read from", format!("{}{zone} ({})", word(&now["origin"]), word(&now["basis"]))));
            if let Some(until) = now["valid_until_ms"].as_u64() {
                lines.push(("holds until", shown::time(until)));
            }
            let attested = now["attested_by"].as_str();
            lines.push((
                "attested",
                attested.map_or_else(|| "no".into(), |key| format!("by the meter {key}")),
            ));
        }
    }
    lines.extend(watts(&view["surplus_watts"]).map(|watts| ("surplus", watts)));
    if let Some(battery) = Some(&view["battery"]).filter(|battery| !battery.is_null()) {
        let percent = battery["percent"].as_f64().unwrap_or_default();
        let mut text = format!("{percent:.0} %");
        if let Some(wh) = battery["wh"].as_f64() {
            text.push_str(&format!(" of {wh:.0} Wh"));
        }
        if let Some(grams) = battery["g_per_kwh"].as_u64() {
            text.push_str(&format!(", holds {grams} g/kWh, {} % renewable", battery["renewable_percent"]));
        }
        if let Some(flow) = battery["watts"].as_f64() {
            let way = if flow < 0.0 { "charging" } else { "giving" };
            text.push_str(&format!(", {way} {:.0} W", flow.abs()));
        }
        lines.push(("battery", text));
    }
    if let Some(marginal) = view["marginal_g_per_kwh"].as_f64() {
        lines.push(("marginal", format!("{marginal:.0} g/kWh, beside; it decides nothing")));
    }
    let path: Vec<u64> =
        view["forecast"]["g_per_kwh"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    if let Some(best) = path.iter().take(48).enumerate().min_by_key(|(_, grams)| **grams) {
        let from = view["forecast"]["from_ms"].as_u64().unwrap_or(now_ms) + best.0 as u64 * 3_600_000;
        let when = if best.0 == 0 { "now".into() } else { shown::time(from) };
        lines.push(("expected best of 48 h", format!("{} g/kWh, {when}", best.1)));
    }
    let mut text = shown::sheet(&lines);
    for why in view["degraded"].as_array().into_iter().flatten() {
        text.push_str(&shown::sheet(&[("degraded", word(why))]));
    }
    let rows = view["sources"].as_array().into_iter().flatten().map(|source| {
        let values = source["values"].as_object().into_iter().flatten();
        let values: Vec<String> = values.map(|(name, value)| format!("{name} {value}")).collect();
        let age = source["good_ms"].as_u64();
        vec![
            word(&source["name"]),
            word(&source["kind"]),
            age.map_or_else(|| "never".into(), |at| shown::ago(now_ms.saturating_sub(at))),
            values.join(", "),
            word(&source["trouble"]),
        ]
    });
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        text.push('\n');
        text.push_str(&shown::table(&["SOURCE", "KIND", "HEARD", "TOLD", "TROUBLE"], rows));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // spec: EN-2, EN-3, EN-6
    #[test]
    fn all_that_is_known_is_shown_and_what_is_the_matter() {
        let hour = 3_600_000u64;
        let view = json!({
            "energy": { "source": "grid", "renewable_percent": 44, "g_per_kwh": 302, "scope": "life-cycle",
                "kind": "average", "estimated": true, "origin": "feed", "zone": "DE", "attested_by": "ab12",
                "basis": "grid", "valid_until_ms": 10 * hour },
            "surplus_watts": -300, "marginal_g_per_kwh": 700.4,
            "battery": { "percent": 50.2, "wh": 9000.0, "watts": -250.0, "g_per_kwh": 120, "renewable_percent": 80 },
            "degraded": ["feed: status 503"], "low_g_per_kwh": 150,
            "forecast": { "from_ms": 9 * hour, "g_per_kwh": [302, 200, 90, 120] },
            "sources": [{ "name": "feed", "kind": "http", "good_ms": 9 * hour - 60_000,
                "values": { "g_per_kwh": 302.0 }, "trouble": "status 503" }],
        });
        let shown = text(&view, 9 * hour);
        for part in [
            "grid, 44 % renewable, 302 g/kWh, estimated",
            "average, life-cycle",
            "feed for DE (grid)",
            "by the meter ab12",
            "-300 W",
            "50 % of 9000 Wh, holds 120 g/kWh, 80 % renewable, charging 250 W",
            "700 g/kWh, beside",
            "90 g/kWh, ",
            "degraded  feed: status 503",
            "60 s ago  g_per_kwh 302.0",
        ] {
            assert!(shown.contains(part), "{part}:\n{shown}");
        }
        let nothing = text(&json!({ "energy": null, "now": null, "degraded": ["nothing is known"] }), 0);
        assert!(nothing.contains("unknown, which counts as dirty"), "{nothing}");
        let history = text(&json!({ "energy": null, "now": { "g_per_kwh": 410 } }), 0);
        assert!(history.contains("410 g/kWh, estimated") && history.contains("days before"), "{history}");
    }
}
