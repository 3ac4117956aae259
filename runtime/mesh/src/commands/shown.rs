//! How lists, times and strangers' words are shown.
// spec: CLI-1, SBX-11

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::text::sanitise;
use std::io;

/// Narrowest table that is worth folding to a terminal's width.
const NARROWEST: u16 = 40;

/// Carbon in micrograms, as people read it.
pub(super) fn grams(ug: i64) -> String {
    let magnitude = ug.unsigned_abs();
    match ug as f64 {
        ug if magnitude >= 1_000_000_000 => format!("{:.3} kg", ug / 1e9),
        ug if magnitude >= 1_000_000 => format!("{:.3} g", ug / 1e6),
        ug => format!("{:.3} mg", ug / 1e3),
    }
}

/// Energy in millijoule, as people read it.
pub(super) fn wh(mj: u64) -> String {
    match mj as f64 / 3_600_000.0 {
        wh if wh >= 1000.0 => format!("{:.3} kWh", wh / 1000.0),
        wh if wh >= 1.0 => format!("{wh:.3} Wh"),
        wh => format!("{:.3} mWh", wh * 1000.0),
    }
}

/// A table of texts, each of which a stranger may have written.
pub(super) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| sanitise(cell, false)));
    }
    if let Ok(size) = rustix::termios::tcgetwinsize(io::stdout())
        && size.ws_col >= NARROWEST
    {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(size.ws_col);
    }
    // Every cell is padded; what is outside of the first and the last is of no use.
    table.lines().map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(&line).trim_end())).collect()
}

/// A thing's properties, one a line.
pub(super) fn sheet(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    lines.iter().map(|(key, value)| format!("{key:<width$}  {}\n", sanitise(value, false))).collect()
}

/// Whom or what it was about, as the node says it; what was typed only where it does not.
pub(super) fn about(answer: &serde_json::Value, typed: &str) -> String {
    sanitise(answer["about"].as_str().unwrap_or(typed), false)
}

/// So many of something.
pub(super) fn count(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A moment as clocks here show it.
pub(super) fn time(ms: u64) -> String {
    let moment = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match moment {
        Some(moment) => moment.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("{ms} ms"),
    }
}

/// How long ago.
pub(super) fn ago(ms: u64) -> String {
    format!("{} ago", span(ms))
}

/// How long.
pub(super) fn span(ms: u64) -> String {
    match ms / 1000 {
        0..120 => format!("{} s", ms / 1000),
        120..7200 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// A device's energy.
pub(super) fn energy(claim: Option<&EnergyClaim>) -> String {
    let Some(claim) = claim else { return "unknown".into() };
    let source = match claim.source {
        Source::Solar => "solar",
        Source::Wind => "wind",
        Source::Hydro => "hydro",
        Source::Battery => "battery",
        Source::Grid => "grid",
    };
    format!("{source}, {} % renewable, {} g/kWh", claim.renewable_percent, claim.g_per_kwh)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: CLI-1, SBX-11
    #[test]
    fn a_table_holds_nothing_that_steers_a_terminal() {
        let text = table(&["NAME", "WHY"], [vec!["a\x1b[2J".into(), "two\nlines".into()]]);
        assert_eq!(text, "NAME   WHY\na\u{fffd}[2J  two\u{fffd}lines\n");
        assert_eq!(table(&["NAME"], []), "NAME\n");
    }

    #[test]
    fn a_moment_that_no_calendar_has_is_shown_all_the_same() {
        assert_eq!(time(u64::MAX), format!("{} ms", u64::MAX));
        assert_eq!([ago(1000), ago(130_000), ago(8_000_000)], ["1 s ago", "2 min ago", "2 h ago"]);
    }
}
