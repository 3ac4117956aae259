//! A recorded trace, played from some moment on at some speed: for demonstrations and tests.
// spec: EN-1

use super::now_ms;
use super::observed::{Observation, Source as Told, Trouble};
use jiff::Timestamp;
use mesh_protocol::ad::{EnergyClaim, Source};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// First line of a trace's file; a row holds from its time until the next one's.
pub(crate) const HEADER: &str = "time,source,renewable_percent,g_per_kwh";
/// Most bytes of a trace: a year of five-minute rows is 6 MB.
const MAX_BYTES: u64 = 32 << 20;
/// Fastest: a day in less than a second.
const MAX_SPEED: f64 = 100_000.0;

/// A value and how long it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    claim: EnergyClaim,
    /// Until then, in milliseconds since 1970.
    valid_until_ms: u64,
}

/// A trace and how it is played.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    file: PathBuf,
    /// Times in milliseconds since 1970, rising.
    rows: Vec<(i64, EnergyClaim)>,
    /// The trace's time at `began_ms`.
    from: i64,
    began_ms: u64,
    /// Was it said when it begins? Else it does when it is first read.
    at_said: bool,
    speed: f64,
}

/// Where nobody said when it begins, the same trace read again is the same one.
// spec: CLI-7
impl PartialEq for Trace {
    fn eq(&self, other: &Self) -> bool {
        let began = |trace: &Self| trace.at_said.then_some(trace.began_ms);
        (&self.file, &self.rows, self.from, self.speed, began(self))
            == (&other.file, &other.rows, other.from, other.speed, began(other))
    }
}

impl Trace {
    /// Reads `FILE[,start=TIME][,speed=N][,at=UNIX_MS]`: from `start` (the file's first time) on, at `speed` times its
    /// own pace (1), `start` being at the moment `at` (now).
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let file = PathBuf::from(parts.next().unwrap_or_default());
        let (mut start, mut speed, mut at) = (None, 1.0, None);
        for part in parts {
            match part.split_once('=') {
                Some(("start", time)) => start = Some(time_of(time)?),
                Some(("speed", factor)) => {
                    let fits = |factor: &f64| (0.001..=MAX_SPEED).contains(factor);
                    let wrong = format!("the speed of a trace is a number from 0.001 to {MAX_SPEED}");
                    speed = factor.parse().ok().filter(fits).ok_or(wrong)?;
                }
                Some(("at", ms)) => {
                    at = Some(ms.parse().map_err(|_| "at= takes milliseconds since 1970".to_owned())?);
                }
                _ => {
                    return Err(format!(
                        "{part:?} is not known; write start=TIME, speed=NUMBER or at=MILLISECONDS"
                    ));
                }
            }
        }
        let rows = read(&file)?;
        let first = rows.first().map_or(0, |row| row.0);
        Ok(Self {
            file,
            rows,
            from: start.unwrap_or(first),
            began_ms: at.unwrap_or_else(now_ms),
            at_said: at.is_some(),
            speed,
        })
    }

    /// The trace's time at a moment of ours.
    fn time_at(&self, now_ms: u64) -> i64 {
        // Before it begins to play it stands still.
        let passed = now_ms.saturating_sub(self.began_ms);
        self.from + (passed as f64 * self.speed) as i64
    }

    /// What it says at a moment.
    pub(crate) fn at(&self, now_ms: u64) -> Option<EnergyClaim> {
        self.look(now_ms).ok().map(|reading| reading.claim)
    }

    /// Its file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    fn look(&self, now_ms: u64) -> Result<Reading, String> {
        let time = self.time_at(now_ms);
        let after = self.rows.partition_point(|row| row.0 <= time);
        let outside = || format!("the trace {} has nothing for this time", self.file.display());
        let (_, claim) = *after.checked_sub(1).and_then(|at| self.rows.get(at)).ok_or_else(outside)?;
        let until = match self.rows.get(after) {
            Some((next, _)) => *next,
            // The last row holds as long as the one before it did.
            None => {
                let last = self.rows.len() - 1;
                let step =
                    last.checked_sub(1).map_or(3_600_000, |before| self.rows[last].0 - self.rows[before].0);
                self.rows[last].0 + step
            }
        };
        if time >= until {
            return Err(outside());
        }
        let left = ((until - time) as f64 / self.speed).ceil() as u64;
        Ok(Reading { claim, valid_until_ms: now_ms.saturating_add(left.max(1)) })
    }
}

impl Told for Trace {
    // spec: EN-1
    fn read(&mut self, now_ms: u64) -> Result<Observation, Trouble> {
        let reading = self.look(now_ms)?;
        let until_ms = Some(reading.valid_until_ms);
        Ok(Observation { outright: Some(reading.claim), until_ms, ..Observation::default() })
    }
}

fn time_of(text: &str) -> Result<i64, String> {
    let time: Result<Timestamp, _> = text.parse();
    time.map(Timestamp::as_millisecond)
        .map_err(|_| format!("{text:?} is no time; write it as 2021-06-01T00:00:00Z"))
}

fn read(file: &Path) -> Result<Vec<(i64, EnergyClaim)>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", file.display());
    // Not every file says how much comes out of it.
    let mut text = String::new();
    let open = std::fs::File::open(file).map_err(failed)?;
    open.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("{}: a trace has at most {MAX_BYTES} bytes, and this has more", file.display()));
    }
    rows(&text).map_err(|(line, why)| format!("{}, line {line}: {why}", file.display()))
}

/// The rows of a trace's text; an error says in which line, from 1.
fn rows(text: &str) -> Result<Vec<(i64, EnergyClaim)>, (usize, String)> {
    let mut lines =
        text.lines().zip(1..).filter(|(line, _)| !line.starts_with('#') && !line.trim().is_empty());
    match lines.next() {
        Some((HEADER, _)) => {}
        Some((_, line)) => return Err((line, format!("the first line is {HEADER:?}"))),
        None => return Err((1, "it is empty".into())),
    }
    let mut rows: Vec<(i64, EnergyClaim)> = Vec::new();
    for (text, line) in lines {
        let row = row(text).map_err(|why| (line, why))?;
        if rows.last().is_some_and(|last| last.0 >= row.0) {
            return Err((line, "its time is not later than that of the row before it".into()));
        }
        rows.push(row);
    }
    if rows.is_empty() { Err((1, "it has no row".into())) } else { Ok(rows) }
}

fn row(text: &str) -> Result<(i64, EnergyClaim), String> {
    let cells: Vec<&str> = text.split(',').map(str::trim).collect();
    let [time, source, renewable, grams] = cells[..] else {
        return Err(format!("it has {} cells, not 4", cells.len()));
    };
    let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no number"));
    Ok((time_of(time)?, claim(source, number(renewable)?, number(grams)?)?))
}

/// A claim from what traces, commands and people say.
// spec: EN-2
pub(crate) fn claim(source: &str, renewable: f64, grams: f64) -> Result<EnergyClaim, String> {
    let source = match source.to_ascii_lowercase().as_str() {
        "solar" => Source::Solar,
        "wind" => Source::Wind,
        "hydro" => Source::Hydro,
        "battery" => Source::Battery,
        "grid" => Source::Grid,
        other => return Err(format!("{other:?} is no source; it is solar, wind, hydro, battery or grid")),
    };
    // More than coal alone causes is a wrong unit or a broken feed; what is no number is within no bounds.
    let within = |value: f64, most: f64, what: &str| {
        let fits = (0.0..=most).contains(&value);
        fits.then_some(value).ok_or_else(|| format!("{what} is a number from 0 to {most}, not {value}"))
    };
    let renewable = within(renewable, 100.0, "the renewable part, in percent,")?;
    let grams = within(grams, 2000.0, "the carbon intensity, in g CO2 per kWh,")?;
    Ok(EnergyClaim { source, renewable_percent: renewable.floor() as u8, g_per_kwh: grams.round() as u16 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# recorded somewhere
time,source,renewable_percent,g_per_kwh
2021-06-01T00:00:00Z,grid,20.9,700.4
2021-06-01T01:00:00Z,solar,100,41
2021-06-01T02:00:00Z,battery,80,90
";

    fn trace(more: &str) -> Trace {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), TEXT).unwrap();
        Trace::parse(&format!("{}{more}", file.path().display())).unwrap()
    }

    // spec: EN-1
    #[test]
    fn a_trace_is_played_from_its_start_at_its_speed() {
        let trace = trace(",at=1000000,speed=3600");
        let at = |ms: u64| {
            trace.look(1_000_000 + ms).map(|reading| {
                (reading.claim.g_per_kwh, reading.claim.renewable_percent, reading.valid_until_ms - 1_000_000)
            })
        };
        assert_eq!(at(0), Ok((700, 20, 1000)), "an hour in a second; rounded down what is better");
        assert_eq!(at(999), Ok((700, 20, 1000)));
        assert_eq!(at(1000), Ok((41, 100, 2000)));
        assert_eq!(at(2999), Ok((90, 80, 3000)), "the last row holds as long as the one before");
        assert!(at(3000).unwrap_err().contains("nothing for this time"));
        assert_eq!(trace.look(0).unwrap().claim.g_per_kwh, 700, "it has not begun to play");
    }

    // spec: CLI-7
    #[test]
    fn a_trace_that_is_read_again_is_another_one_only_if_something_of_it_is() {
        let first = trace(",speed=3600");
        let again = |change: fn(&mut Trace)| {
            let mut trace = Trace { began_ms: first.began_ms + 5_000, ..first.clone() };
            change(&mut trace);
            trace == first
        };
        assert!(again(|_| {}), "nobody said when it begins");
        assert!(!again(|trace| trace.at_said = true));
        assert!(!again(|trace| trace.speed = 1.0) && !again(|trace| trace.from += 1));
        assert!(!again(|trace| trace.rows.truncate(1)) && !again(|trace| trace.file = "other".into()));
        assert!(trace(",at=1").at_said && !first.at_said);
    }

    // spec: CLI-7
    #[test]
    fn a_trace_plays_on_where_it_is_when_another_setting_changes() {
        use crate::energy::{Setting, Settings, Which};
        let settings = |trace: Trace| Settings {
            sources: vec![Setting { constant: false, ..Setting::of(Which::Trace(trace)) }],
            ..Settings::default()
        };
        let first = trace(",speed=3600");
        let began_ms = first.began_ms + 1_000;
        let mut same = settings(Trace { began_ms, ..first.clone() });
        let mut slower = settings(Trace { began_ms, speed: 1.0, ..first.clone() });
        let grams = |settings: &Settings, ms: u64| match &settings.sources[0].kind {
            Which::Trace(trace) => trace.at(first.began_ms + ms).map(|claim| claim.g_per_kwh),
            _ => None,
        };
        assert_eq!(grams(&same, 1_000), Some(700), "it would begin again");
        let before = Settings { battery_floor: 30, ..settings(first.clone()) };
        same.play_on(&before);
        slower.play_on(&before);
        assert_eq!((grams(&same, 1_000), grams(&slower, 1_000)), (Some(41), Some(700)));
    }

    // spec: EN-1, EN-3, CLI-5
    #[test]
    fn a_wrong_trace_is_refused_with_its_line() {
        for (text, line, says) in [
            ("", 1, "empty"),
            ("a,b\n", 1, "first line"),
            ("time,source,renewable_percent,g_per_kwh\n", 1, "no row"),
            ("time,source,renewable_percent,g_per_kwh\n2021-06-01T00:00:00Z,grid,20\n", 2, "cells"),
            ("time,source,renewable_percent,g_per_kwh\nyesterday,grid,20,1\n", 2, "no time"),
            ("time,source,renewable_percent,g_per_kwh\n2021-06-01T00:00:00Z,coal,20,1\n", 2, "no source"),
            ("time,source,renewable_percent,g_per_kwh\n2021-06-01T00:00:00Z,grid,NaN,1\n", 2, "renewable"),
            ("time,source,renewable_percent,g_per_kwh\n2021-06-01T00:00:00Z,grid,20,-1\n", 2, "intensity"),
            (
                "time,source,renewable_percent,g_per_kwh\n2021-06-01T00:00:00Z,grid,20,380000\n",
                2,
                "intensity",
            ),
            (
                "time,source,renewable_percent,g_per_kwh\n2021-06-01T00:00:00Z,grid,1,1\n2021-06-01T00:00:00Z,grid,1,1\n",
                3,
                "not later",
            ),
        ] {
            let (at, why) = rows(text).unwrap_err();
            assert!(at == line && why.contains(says), "{text:?}: {at}: {why}");
        }
        assert!(Trace::parse("/nowhere/x.csv").unwrap_err().contains("/nowhere/x.csv"));
    }

    // spec: EN-1
    #[test]
    fn a_trace_that_has_no_end_is_none() {
        let why = read(Path::new("/dev/zero")).unwrap_err();
        assert!(why.contains("at most"), "{why}");
    }
}
