//! Which sources are read, and how: from `[[energy.source]]` tables and from `--energy`.
// spec: EN-1, CLI-7

use super::command::Asked;
use super::fields::{Http, Path as JsonPath, Paths};
use super::gb::{self, Gb};
use super::http::{self, Asking};
use super::observed::{Field, Signal, Source};
use super::power::{FOLDER, Supplies};
use super::sdk::Sdk;
use super::trace::Trace;
use super::units;
use crate::config::secret::Secret;
use crate::config::table::{Table, plain};
use crate::config::{Wrong, seconds};
use mesh_policies::supply::Word;
use mesh_protocol::energy::{Kind, Scope};
use mesh_protocol::text::sanitise;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// Most sources of one device: each has a thread.
pub(crate) const MAX_SOURCES: usize = 16;
/// How often a service is asked that does not say how often it changes.
const EVERY: Duration = Duration::from_secs(300);
/// How often a battery is looked at.
const EVERY_BATTERY: Duration = Duration::from_secs(10);
/// For how long a figure of a grid holds, from the time that it is of: feeds are two hours late.
const HOLDS_GRID: Duration = Duration::from_secs(3 * 3600);
/// For how many looks anything else holds: two may fail.
const HOLDS_LOOKS: u32 = 3;
/// How often a source can be asked at most and at least, and for how long a value can hold.
const SPANS: (u64, u64) = (1, 24 * 3600);

/// All that energy is read from.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Settings {
    /// What the owner says once and for all.
    pub(crate) word: Option<Word>,
    /// Grams per kWh that the zone counts with while nothing tells.
    pub(crate) zone_g_per_kwh: Option<u16>,
    /// Percent of what goes into a battery that comes out again.
    pub(crate) round_trip_percent: Option<u8>,
    /// Percent of a home's battery that stay for the household.
    pub(crate) battery_floor: u8,
    /// The sources, the first that tells something going before the others.
    pub(crate) sources: Vec<Setting>,
}

impl Settings {
    /// A recorded day that was being played plays on where it is, whatever else has changed.
    // spec: CLI-7
    pub(super) fn play_on(&mut self, before: &Self) {
        for setting in &mut self.sources {
            let Which::Trace(trace) = &mut setting.kind else { continue };
            let played = before.sources.iter().find_map(|before| match &before.kind {
                Which::Trace(played) if *played == *trace => Some(played),
                _ => None,
            });
            if let Some(played) = played {
                trace.clone_from(played);
            }
        }
    }
}

/// One source.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    /// What it is called where it is shown, and in records.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kind: Which,
    /// How often it is looked at; whenever it says if it tells until when a value holds.
    pub(crate) every: Option<Duration>,
    /// For how long a value holds that does not say so.
    pub(crate) holds: Duration,
    /// Which signal its intensity is.
    pub(crate) signal: Signal,
    /// May it always say the same?
    pub(crate) constant: bool,
}

/// The kinds of sources.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Which {
    Trace(Trace),
    Command(Asked),
    Http(Http),
    Gb(Gb),
    Sdk(Sdk),
    Supplies(Supplies),
}

impl Which {
    /// What it is, in a word.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Trace(_) => "trace",
            Self::Command(_) => "command",
            Self::Http(_) => "http",
            Self::Gb(_) => "gb",
            Self::Sdk(_) => "carbon-aware-sdk",
            Self::Supplies(_) => "power-supply",
        }
    }

    /// Where it reads, as it may be shown.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Trace(trace) => trace.file().display().to_string(),
            Self::Command(asked) => asked.command.clone(),
            Self::Http(http) => http::shown(&http.asking.url).to_owned(),
            Self::Gb(gb) => http::shown(&gb.asking.url).to_owned(),
            Self::Sdk(sdk) => format!("{} {}", http::shown(&sdk.asking.url), sdk.location),
            Self::Supplies(supplies) => supplies.folder.display().to_string(),
        }
    }

    /// Itself, to be read.
    // spec: EN-1
    pub(crate) fn source(&self) -> Box<dyn Source> {
        match self.clone() {
            Self::Trace(trace) => Box::new(trace),
            Self::Command(asked) => Box::new(asked),
            Self::Http(http) => Box::new(http),
            Self::Gb(gb) => Box::new(gb),
            Self::Sdk(sdk) => Box::new(sdk),
            Self::Supplies(supplies) => Box::new(supplies),
        }
    }
}

impl Setting {
    /// A source of which only this is known.
    pub(crate) fn of(kind: Which) -> Self {
        let every = match &kind {
            Which::Trace(_) | Which::Command(_) => None,
            Which::Supplies(_) => Some(EVERY_BATTERY),
            Which::Http(_) | Which::Gb(_) | Which::Sdk(_) => Some(EVERY),
        };
        let signal = match &kind {
            Which::Gb(_) => Signal { scope: Scope::Direct, kind: Kind::Average },
            _ => Signal::default(),
        };
        let holds = holds(&kind, every);
        // A trace is what it is, and a demo plays it fast.
        let constant = matches!(kind, Which::Trace(_));
        Self { name: kind.word().to_owned(), kind, every, holds, signal, constant }
    }
}

fn holds(kind: &Which, every: Option<Duration>) -> Duration {
    let grid = |(field, _): &(Field, JsonPath)| matches!(field, Field::Grams | Field::Renewable);
    match kind {
        Which::Gb(_) | Which::Sdk(_) => HOLDS_GRID,
        Which::Http(http) if http.paths.fields.iter().any(grid) && http.paths.time.is_some() => HOLDS_GRID,
        _ => every.unwrap_or(EVERY) * HOLDS_LOOKS,
    }
}

/// Reads one `[[energy.source]]`. `folder`: what its paths start from; `env`: where a `.env` would be.
// spec: EN-1, CLI-7
pub(crate) fn setting(table: &Table<'_>, folder: &Path, env: &Path) -> Result<Setting, Wrong> {
    let (kind, line) = table.needs("kind", "http")?;
    let path = |text: &str| -> Result<PathBuf, String> { Ok(folder.join(text)) };
    let kind = match kind.as_str() {
        "trace" => {
            let (file, line) = table.needs("file", "day.csv")?;
            let mut text = folder.join(file).display().to_string();
            for key in ["start", "speed", "at"] {
                if let Some((value, _)) = table.said(key)? {
                    text = format!("{text},{key}={value}");
                }
            }
            Which::Trace(Trace::parse(&text).map_err(|why| Wrong::at(line, why, None))?)
        }
        "command" => Which::Command(Asked { command: table.needs("run", "read-meter --json")?.0 }),
        "http" => Which::Http(Http { asking: asking(table, None, folder, env)?, paths: paths(table)? }),
        "gb" => {
            let region = table.read("region", |text| {
                let fits = text.parse().ok().filter(|region| gb::REGIONS.contains(region));
                fits.ok_or_else(|| "a region is a number from 1 to 17".into())
            })?;
            Which::Gb(Gb { asking: asking(table, Some(gb::ADDRESS), folder, env)?, region })
        }
        "carbon-aware-sdk" => Which::Sdk(Sdk {
            asking: asking(table, None, folder, env)?,
            location: table.needs("location", "westeurope")?.0,
            forecasts: table.read("forecasts", truth)?.unwrap_or(true),
        }),
        "power-supply" => {
            Which::Supplies(Supplies { folder: table.read("folder", path)?.unwrap_or_else(|| FOLDER.into()) })
        }
        other => {
            let all = "trace, command, http, gb, carbon-aware-sdk and power-supply";
            return Err(Wrong::at(
                line,
                format!("{other:?} is no kind of source"),
                Some(format!("there are {all}")),
            ));
        }
    };
    let mut setting = Setting::of(kind);
    let span = |text: &str| seconds(text, SPANS.0, SPANS.1).map(Duration::from_secs);
    if let Some(every) = table.read("every", span)? {
        setting.every = Some(every);
        setting.holds = holds(&setting.kind, setting.every);
    }
    setting.holds = table.read("holds", span)?.unwrap_or(setting.holds);
    setting.name = table.read("name", name)?.unwrap_or(setting.name);
    setting.constant = table.read("constant", truth)?.unwrap_or(setting.constant);
    if matches!(setting.kind, Which::Gb(_)) {
        for key in ["scope", "signal"] {
            if let Some((_, line)) = table.said(key)? {
                let why = format!("{key} cannot be set for gb: its grams are direct and average");
                return Err(Wrong::at(line, why, Some(format!("take {key} away"))));
            }
        }
    }
    setting.signal.scope = table.read("scope", scope)?.unwrap_or(setting.signal.scope);
    let kind = table.read("signal", signal)?;
    // Its own documentation had it wrong for years: nobody but the owner knows what it reads from.
    if matches!(setting.kind, Which::Sdk(_)) && kind.is_none() {
        let hint = "add signal = \"average\" if it reads from Electricity Maps, or signal = \"marginal\" if from WattTime";
        return Err(Wrong::at(
            table.line,
            "signal is missing: the WebApi does not say which it gives",
            Some(hint.into()),
        ));
    }
    setting.signal.kind = kind.unwrap_or(setting.signal.kind);
    table.done("such a source")?;
    Ok(setting)
}

pub(crate) fn truth(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "write true or false".into())
}

fn scope(text: &str) -> Result<Scope, String> {
    match text {
        "life-cycle" | "lifecycle" => Ok(Scope::LifeCycle),
        "direct" => Ok(Scope::Direct),
        _ => Err("write life-cycle or direct".into()),
    }
}

fn signal(text: &str) -> Result<Kind, String> {
    match text {
        "average" => Ok(Kind::Average),
        "marginal" => Ok(Kind::Marginal),
        _ => Err("write average or marginal".into()),
    }
}

/// A name that stands in records: short and plain.
fn name(text: &str) -> Result<String, String> {
    let fits =
        !text.is_empty() && text.len() <= mesh_protocol::energy::MAX_WORD && sanitise(text, false) == text;
    match fits {
        true => Ok(text.to_owned()),
        false => Err(format!("a name is plain text of at most {} bytes", mesh_protocol::energy::MAX_WORD)),
    }
}

fn asking(table: &Table<'_>, usual: Option<&str>, folder: &Path, env: &Path) -> Result<Asking, Wrong> {
    let (url, line) = match (table.said("url")?, usual) {
        (Some(said), _) => said,
        (None, Some(usual)) => (usual.to_owned(), table.line),
        (None, None) => table.needs("url", "http://homeassistant.local:8123/api/states/sensor.pv_power")?,
    };
    http::check(&url).map_err(|why| Wrong::at(line, why, None))?;
    if let Some((_, line)) = table.said("token")? {
        let why = "a token does not belong into this file, which others may read";
        let hint = "write it into a file and name that with token_file, or name a variable with token_env";
        return Err(Wrong::at(line, why, Some(hint.into())));
    }
    let file = table.said("token_file")?.map(|(name, _)| Secret::File(folder.join(name)));
    let variable = table.said("token_env")?;
    let token = match (file, variable) {
        (Some(_), Some((_, line))) => {
            return Err(Wrong::at(
                line,
                "there are two tokens, token_file and token_env",
                Some("keep one".into()),
            ));
        }
        (file, variable) => file.or_else(|| variable.map(|(name, _)| Secret::Variable(name, env.to_owned()))),
    };
    let header = table.read("token_header", |text| {
        ureq::http::HeaderName::try_from(text)
            .map(|header| header.to_string())
            .map_err(|_| "it is no name of a header, such as auth-token".into())
    })?;
    Ok(Asking { url: url.trim_end_matches('/').to_owned(), token, header })
}

fn pointer(text: &str) -> Result<String, String> {
    match text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err(format!("a path begins with a slash: /{}", text.replace('.', "/"))),
    }
}

fn paths(table: &Table<'_>) -> Result<Paths, Wrong> {
    let hint = "add [energy.source.fields] with lines such as solar_watts = \"/state\"";
    let missing = || Wrong::at(table.line, "fields is missing: nothing would be read", Some(hint.into()));
    let fields = table.table("fields")?.ok_or_else(missing)?;
    let mut found = Vec::new();
    for field in Field::ALL {
        if let Some((value, line)) = fields.value(field.name()) {
            found.push((field, path(&fields, field, line, value)?));
        }
    }
    fields.done("fields")?;
    if found.is_empty() {
        return Err(missing());
    }
    Ok(Paths {
        fields: found,
        time: table.read("time", pointer)?,
        zone: table.read("zone", pointer)?,
        estimated: table.read("estimated", pointer)?,
        attestation: table.read("attestation", pointer)?,
    })
}

/// A path alone, or with its unit.
fn path<'a>(
    fields: &Table<'a>,
    field: Field,
    line: usize,
    value: &'a Spanned<DeValue<'a>>,
) -> Result<JsonPath, Wrong> {
    let wrong = |why: String| Wrong::at(line, format!("{}: {why}", field.name()), None);
    let (path, unit) = match (plain(value.get_ref()), fields.inside(value)) {
        (Some(path), _) => (path, None),
        (None, Some(inside)) => {
            let path = inside.needs("path", "/state")?.0;
            let unit = inside.said("unit")?.map(|(unit, _)| unit);
            inside.done(field.name())?;
            (path, unit)
        }
        (None, None) => return Err(wrong("it is a path, or a table with path and unit".into())),
    };
    let path = pointer(&path).map_err(wrong)?;
    if let Some(unit) = unit.as_deref().filter(|unit| !unit.starts_with('/')) {
        units::converted(1.0, Some(unit), field).map_err(wrong)?;
    }
    Ok(JsonPath { path, unit })
}
