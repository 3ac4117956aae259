//! What this peer is told: `mesh.toml`, over it a `.env` and the environment, over these the flags of `mesh up`. Each value
//! knows where it came from.
// spec: CLI-7

pub(crate) mod dotenv;
mod keys;
pub(crate) mod secret;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use crate::args::{Up, values};
use crate::energy;
use crate::failure::{Failure, Result};
use crate::home::Home;
use keys::{KEYS, Key};
use mesh_executor::Share;
use mesh_policies::donor::Terms;
use mesh_policies::supply::Word;
use mesh_protocol::ad::Source;
use mesh_protocol::ledger::Pattern;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use table::{Table, line_of, plain};
use toml::de::{DeTable, DeValue};

/// The file's name.
pub(crate) const FILE: &str = "mesh.toml";
/// Most bytes of it.
const MAX: u64 = 256 * 1024;
/// How different two names are at most for one to be taken for the other misspelt: two letters.
const NEAR: usize = 2;
/// How the names of this program's variables begin.
const PREFIX: &str = "MESH_";
/// Variables with that beginning that are no settings: where things are, how keys are opened, what tests run.
const OTHERS: [&str; 7] = [
    "MESH_HOME",
    "MESH_PASSPHRASE",
    "MESH_PASSPHRASE_FILE",
    "MESH_NEW_PASSPHRASE",
    "MESH_NEW_PASSPHRASE_FILE",
    "MESH_BIN",
    "MESH_POWER_SUPPLIES",
];

/// What is wrong with a file's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) line: Option<usize>,
    pub(crate) why: String,
    pub(crate) hint: Option<String>,
}

impl Wrong {
    pub(crate) fn at(line: usize, why: impl Into<String>, hint: Option<String>) -> Self {
        Self { line: Some(line), why: why.into(), hint }
    }

    /// As a failure, with the file.
    fn of(self, file: &Path) -> Failure {
        let line = self.line.map(|line| format!(", line {line}")).unwrap_or_default();
        let failure = Failure::new(format!("read {}{line}: {}", file.display(), self.why));
        match self.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// A file's text; none if it is not there.
fn text(path: &Path, most: u64) -> std::result::Result<Option<String>, Wrong> {
    let wrong = |error: std::io::Error| Wrong { line: None, why: error.to_string(), hint: None };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error)),
    };
    let meta = file.metadata().map_err(wrong)?;
    let user = rustix::process::geteuid().as_raw();
    if let Some((why, hint)) = crate::home::unsafe_for(user, path, &meta) {
        return Err(Wrong { line: None, why: format!("it is not used: {why}"), hint: Some(hint) });
    }
    // spec: CLI-5
    let hinted = |why: &str, hint: &str| Wrong { line: None, why: why.into(), hint: Some(hint.into()) };
    if meta.is_dir() {
        return Err(hinted("it is a folder", "put a file of that name in its place, or take it away"));
    }
    let mut text = String::new();
    let read = file.take(most + 1).read_to_string(&mut text).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => hinted("it is not text in UTF-8", "save it as UTF-8"),
        _ => wrong(error),
    })?;
    match read as u64 > most {
        true => Err(Wrong { line: None, why: format!("it has more than {most} bytes"), hint: None }),
        false => Ok(Some(text)),
    }
}

/// A span of time in seconds, within bounds.
pub(crate) fn seconds(text: &str, least: u64, most: u64) -> std::result::Result<u64, String> {
    let seconds = values::duration(text)? / 1000;
    let wrong = || format!("write a duration from {least} s to {} h", most / 3600);
    Some(seconds).filter(|seconds| (least..=most).contains(seconds)).ok_or_else(wrong)
}

/// The known name that somebody who wrote this may have meant.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = name.to_lowercase().replace('-', "_");
    let distance = |known: &str| strsim::damerau_levenshtein(&plain, &known.to_lowercase());
    let near = known.map(|known| (distance(known), known)).min();
    near.filter(|(distance, _)| *distance <= NEAR).map(|(_, known)| known)
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody set it.
    Default,
    /// `mesh.toml`, and the line.
    File(usize),
    /// `.env`, and the line.
    DotEnv(usize),
    /// The environment.
    Environment(&'static str),
    /// The command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(line) => write!(f, "{FILE}:{line}"),
            Self::DotEnv(line) => write!(f, ".env:{line}"),
            Self::Environment(name) => write!(f, "${name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// All that a peer can be told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// Is this device shared at all?
    pub(crate) enabled: bool,
    /// The key that this device is expected to have, or how it begins.
    pub(crate) peer_id: Option<String>,
    /// What it is called, if not as `mesh init` was told.
    pub(crate) peer_name: Option<String>,
    /// Latitude and longitude in whole degrees.
    pub(crate) place: Option<(i16, i16)>,
    /// Names of others' tasks that it takes at all.
    pub(crate) accepts: Vec<Pattern>,
    /// Longest task, in milliseconds.
    pub(crate) longest_ms: u64,
    /// In which zone its hours are meant; the machine's own if none is named.
    pub(crate) timezone: Option<String>,
    /// Where other peers dial.
    pub(crate) listen: Option<SocketAddr>,
    /// Where this machine's programs ask.
    pub(crate) api: SocketAddr,
    /// May that be an address that others reach?
    pub(crate) api_for_others: bool,
    /// Tasks at once.
    pub(crate) slots: Option<u16>,
    /// Memory for all tasks together, in bytes.
    pub(crate) memory: Option<u64>,
    /// Watts of the processor at full load.
    pub(crate) watts: Option<u32>,
    /// When it is shared.
    pub(crate) hours: Vec<values::Hours>,
    /// Is it shared also while it runs on battery?
    pub(crate) on_battery: bool,
    /// Percent of a battery that stay for its owner.
    pub(crate) battery_floor: u8,
    /// Most percent of the processors that other programs may use.
    pub(crate) most_load: u8,
    /// Only while the own generation gives more than the household takes?
    pub(crate) surplus_only: bool,
    /// Most bytes of disk that tasks may come to need, all together; 0 for as much as peers keep at all.
    pub(crate) disk: u64,
    /// Most bytes sent in a day; 0 for any.
    pub(crate) upload: u64,
    /// The owner's program that is asked about each offer, as a shell runs it.
    pub(crate) hook: Option<String>,
    /// Folders that tasks may be granted.
    pub(crate) shares: Vec<Share>,
    /// Bytes a day that are relayed.
    pub(crate) relay: u64,
    /// Does it look for peers on the local network?
    pub(crate) mdns: bool,
    /// The energy's source, once and for all.
    pub(crate) energy_type: Option<Source>,
    /// How much of it is renewable.
    pub(crate) percent_clean: Option<f64>,
    /// Its grams per kWh.
    pub(crate) g_per_kwh: Option<u16>,
    /// Grams per kWh that the zone counts with while nothing tells.
    pub(crate) zone_g_per_kwh: Option<u16>,
    /// Percent of what goes into a battery that comes out again.
    pub(crate) round_trip_percent: Option<u8>,
    /// Where energy is read.
    pub(crate) sources: Vec<energy::Setting>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            peer_id: None,
            peer_name: None,
            place: None,
            accepts: Pattern::new("*").into_iter().collect(),
            longest_ms: 24 * 3_600_000,
            timezone: None,
            listen: None,
            api: SocketAddr::from(([127, 0, 0, 1], 0)),
            api_for_others: false,
            slots: None,
            memory: None,
            watts: None,
            hours: Vec::new(),
            on_battery: false,
            battery_floor: 0,
            most_load: 0,
            surplus_only: false,
            disk: 0,
            upload: 0,
            hook: None,
            shares: Vec::new(),
            relay: 0,
            mdns: true,
            energy_type: None,
            percent_clean: None,
            g_per_kwh: None,
            zone_g_per_kwh: None,
            round_trip_percent: None,
            sources: Vec::new(),
        }
    }
}

impl Settings {
    /// On which terms the device is shared.
    // spec: PERM-5, EN-4
    pub(crate) fn terms(&self) -> std::result::Result<Terms, &'static str> {
        let mut hours = vec![Vec::new(); if self.hours.is_empty() { 0 } else { 7 }];
        for (days, span) in &self.hours {
            for day in days {
                if let Some(day) = hours.get_mut(usize::from(*day)) {
                    day.push(*span);
                }
            }
        }
        let terms = Terms {
            hours,
            off: !self.enabled,
            mains_only: !self.on_battery,
            battery_floor: self.battery_floor,
            most_load: self.most_load,
            surplus_only: self.surplus_only,
            upload_bytes: self.upload,
            disk_bytes: self.disk,
        };
        terms.check().map(|()| terms)
    }

    /// All that energy is read from.
    pub(crate) fn energy(&self) -> energy::Settings {
        let word = self.energy_type.map(|source| {
            let own = matches!(source, Source::Solar | Source::Wind | Source::Hydro);
            let percent = self.percent_clean.unwrap_or(if own { 100.0 } else { 0.0 });
            Word { source, percent, g_per_kwh: self.g_per_kwh }
        });
        energy::Settings {
            word,
            zone_g_per_kwh: self.zone_g_per_kwh,
            round_trip_percent: self.round_trip_percent,
            battery_floor: self.battery_floor,
            sources: self.sources.clone(),
        }
    }
}

/// The settings, and where each came from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    /// What is so.
    pub(crate) settings: Settings,
    /// By the key's name.
    origins: BTreeMap<&'static str, Origin>,
}

/// One value, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Shown {
    /// Its key in `mesh.toml`.
    pub(crate) key: &'static str,
    /// What it is.
    pub(crate) value: String,
    /// Where it came from.
    pub(crate) from: String,
    /// The variable that can set it.
    pub(crate) variable: Option<&'static str>,
    /// Is a change of it taken up while the peer runs?
    pub(crate) live: bool,
    /// The value that it will have after a restart, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after_restart: Option<String>,
}

impl Config {
    /// All values.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        let shown = |key: &Key| Shown {
            key: key.name,
            value: (key.show)(&self.settings),
            from: self.origin(key.name).to_string(),
            variable: key.variable,
            live: key.live,
            after_restart: None,
        };
        KEYS.iter().map(shown).collect()
    }

    pub(crate) fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).cloned().unwrap_or(Origin::Default)
    }

    /// What runs if the files say `new` now: what can change while the peer runs does, the rest stays as it is. Gives
    /// the keys that have to wait for a restart, too.
    // spec: CLI-7
    pub(crate) fn taking_up(&self, new: &Self) -> (Self, Vec<&'static str>) {
        let (mut taken, mut wait) = (self.clone(), Vec::new());
        for key in KEYS {
            if key.live {
                (key.copy)(&mut taken.settings, &new.settings);
            } else if (key.show)(&self.settings) != (key.show)(&new.settings) {
                wait.push(key.name);
                continue;
            }
            taken.origins.insert(key.name, new.origin(key.name));
        }
        (taken, wait)
    }
}

/// What was said of a key: one text, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    One(String),
    Many(Vec<String>),
}

impl Said {
    fn one(&self) -> std::result::Result<&str, String> {
        match self {
            Self::One(text) => Ok(text),
            Self::Many(_) => Err("it is one value, not a list".into()),
        }
    }

    fn many(&self) -> Vec<&str> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts.iter().map(String::as_str).collect(),
        }
    }
}

/// Reads the configuration anew whenever it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Loader {
    home: Home,
    flags: Option<Box<Up>>,
    /// The environment, as it was when the process began: it does not change.
    environment: Vec<(String, String)>,
    /// Names of ours in it whose value is no text.
    garbled: Vec<String>,
}

/// What a file was when it was read: a change of any of these is one of the file.
pub(crate) type Stamp = Option<(u64, std::time::SystemTime, u64)>;

impl Loader {
    /// For a home, and the flags of `mesh up` if there are any.
    pub(crate) fn new(home: Home, flags: Option<&Up>) -> Self {
        Self::among(std::env::vars_os(), home, flags)
    }

    fn among(variables: impl Iterator<Item = (OsString, OsString)>, home: Home, flags: Option<&Up>) -> Self {
        let (mut environment, mut garbled) = (Vec::new(), Vec::new());
        for (name, value) in variables {
            let Some(name) = name.into_string().ok().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            match value.into_string() {
                Ok(value) => environment.push((name, value)),
                // A path may be anything.
                Err(_) if OTHERS.contains(&name.as_str()) => {}
                Err(_) => garbled.push(name),
            }
        }
        Self { home, flags: flags.cloned().map(Box::new), environment, garbled }
    }

    #[cfg(test)]
    fn with(home: Home, environment: &[(&str, &str)], flags: Option<&Up>) -> Self {
        let own = |text: &str| text.to_owned();
        let environment = environment.iter().map(|(name, value)| (own(name), own(value))).collect();
        Self { home, flags: flags.cloned().map(Box::new), environment, garbled: Vec::new() }
    }

    /// The files that are read.
    pub(crate) fn files(&self) -> [PathBuf; 2] {
        [self.home.config().join(FILE), self.home.config().join(".env")]
    }

    /// What the files are now.
    pub(crate) fn stamps(&self) -> [Stamp; 2] {
        use std::os::unix::fs::MetadataExt as _;
        let stamp = |path: PathBuf| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.len(), meta.modified().ok()?, meta.ino()))
        };
        self.files().map(stamp)
    }

    /// Reads everything.
    // spec: CLI-7
    pub(crate) fn load(&self) -> Result<Config> {
        let mut config = Config { settings: Settings::default(), origins: BTreeMap::new() };
        let [file, dotenv] = self.files();
        if let Some(text) = text(&file, MAX).map_err(|wrong| wrong.of(&file))? {
            from_file(&mut config, &text, self.home.config(), &dotenv).map_err(|wrong| wrong.of(&file))?;
        }
        for line in dotenv::read(&dotenv).map_err(|wrong| wrong.of(&dotenv))? {
            let origin = Origin::DotEnv(line.number);
            let set = from_variable(&mut config, &line.name, &line.value, origin, true);
            set.map_err(|(why, hint)| Wrong::at(line.number, why, hint).of(&dotenv))?;
        }
        if let Some(name) = self.garbled.first() {
            return Err(Failure::new(format!(
                "read the environment: the value of {name} is not text in UTF-8"
            ))
            .hint(format!("set it anew, or take it away: unset {name}")));
        }
        for (name, value) in &self.environment {
            let key = KEYS.iter().find_map(|key| key.variable.filter(|variable| variable == name));
            let origin = key.map_or(Origin::Default, Origin::Environment);
            from_variable(&mut config, name, value, origin, false).map_err(|(why, hint)| {
                let failure = Failure::new(format!("read the environment: {why}"));
                match hint {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            })?;
        }
        if let Some(up) = &self.flags {
            keys::from_flags(&mut config.settings, up, |key, flag| {
                config.origins.insert(key, Origin::Flag(flag));
            });
        }
        check(&config)?;
        Ok(config)
    }
}

/// What only all values together show.
fn check(config: &Config) -> Result<()> {
    let settings = &config.settings;
    let of_type = |key: &str| {
        let from = config.origin(key);
        Failure::new(format!("read the settings: {key} ({from}) says nothing without energy.type")).hint(
            "set MESH_CURRENT_ENERGY_TYPE, or type below [energy], to solar, wind, hydro, battery or grid",
        )
    };
    if settings.energy_type.is_none() {
        for (key, set) in [
            ("energy.percent_clean", settings.percent_clean.is_some()),
            ("energy.g_per_kwh", settings.g_per_kwh.is_some()),
        ] {
            if set {
                return Err(of_type(key));
            }
        }
    }
    settings.terms().map_err(|why| Failure::new(format!("take the terms of this device: {why}")))?;
    Ok(())
}

fn set(
    config: &mut Config,
    key: &'static Key,
    said: &Said,
    origin: Origin,
) -> std::result::Result<(), String> {
    (key.set)(&mut config.settings, said)?;
    config.origins.insert(key.name, origin);
    Ok(())
}

fn from_file(
    config: &mut Config,
    text: &str,
    folder: &Path,
    dotenv: &Path,
) -> std::result::Result<(), Wrong> {
    let document = DeTable::parse(text).map_err(|error| Wrong {
        line: error.span().map(|span| line_of(text, span.start)),
        why: error.message().trim().replace('\n', "; "),
        hint: None,
    })?;
    let top = Table::new(text, document.get_ref(), 0);
    from_table(config, &top, "", folder, dotenv)
}

fn from_table(
    config: &mut Config,
    table: &Table<'_>,
    prefix: &str,
    folder: &Path,
    dotenv: &Path,
) -> std::result::Result<(), Wrong> {
    for (name, line, value) in table.keys() {
        let full = format!("{prefix}{name}");
        let inside = table.inside(value);
        if let Some(inside) =
            inside.filter(|_| KEYS.iter().any(|key| key.name.starts_with(&format!("{full}."))))
        {
            from_table(config, &inside, &format!("{full}."), folder, dotenv)?;
            continue;
        }
        let Some(key) = KEYS.iter().find(|key| key.name == full) else {
            let of = if prefix.is_empty() {
                FILE.to_owned()
            } else {
                format!("[{}]", prefix.trim_end_matches('.'))
            };
            let known = KEYS.iter().filter_map(|key| key.name.strip_prefix(prefix)).map(|rest| {
                // Of a table only its name: what it holds is not known here.
                rest.split_once('.').map_or(rest, |(table, _)| table)
            });
            let hint = match nearest(name, known.clone()) {
                Some(near) => format!("did you mean {near}?"),
                // Not by a verb that would fail at the same place.
                None => {
                    let mut known: Vec<&str> = known.collect();
                    known.dedup();
                    format!("its keys are {}", known.join(", "))
                }
            };
            return Err(Wrong::at(line, format!("{of} has no key {name:?}"), Some(hint)));
        };
        if key.name == keys::SOURCES {
            let list = value.get_ref().as_array();
            let wrong = || Wrong::at(line, "energy.source is written as [[energy.source]]", None);
            let list = list.ok_or_else(wrong)?;
            if list.len() > energy::MAX_SOURCES {
                let why = format!("there are more than {} sources", energy::MAX_SOURCES);
                return Err(Wrong::at(line, why, None));
            }
            for one in list.iter() {
                let source = table.inside(one).ok_or_else(wrong)?;
                config.settings.sources.push(energy::setting(&source, folder, dotenv)?);
            }
            config.origins.insert(key.name, Origin::File(line));
            continue;
        }
        let said = match value.get_ref() {
            DeValue::Array(list) => {
                list.iter().map(|one| plain(one.get_ref())).collect::<Option<_>>().map(Said::Many)
            }
            one => plain(one).map(Said::One),
        };
        let said = said.ok_or_else(|| Wrong::at(line, format!("{full} cannot be a table"), None))?;
        let relative = (key.resolve)(&said, folder);
        set(config, key, &relative, Origin::File(line))
            .map_err(|why| Wrong::at(line, format!("{full}: {why}"), None))?;
    }
    Ok(())
}

/// Takes a variable. Of a `.env` of ours each name that begins like ours must be known; the environment is everybody's,
/// so that there only what is all but known is an error.
fn from_variable(
    config: &mut Config,
    name: &str,
    value: &str,
    origin: Origin,
    ours: bool,
) -> std::result::Result<(), (String, Option<String>)> {
    if !name.starts_with(PREFIX) || OTHERS.contains(&name) {
        return Ok(());
    }
    let Some(key) = KEYS.iter().find(|key| key.variable == Some(name)) else {
        let near = nearest(name, KEYS.iter().filter_map(|key| key.variable));
        let why = format!("there is no setting {name}");
        return match near {
            Some(near) => Err((why, Some(format!("did you mean {near}?")))),
            None if ours => {
                let known: Vec<&str> = KEYS.iter().filter_map(|key| key.variable).collect();
                Err((why, Some(format!("there are {}", known.join(", ")))))
            }
            None => Ok(()),
        };
    };
    // An empty one is none, as everywhere; an empty list has nothing in it.
    if value.trim().is_empty() && !key.list {
        return Ok(());
    }
    let said = match key.list {
        true if value.trim().is_empty() => Said::Many(Vec::new()),
        true => Said::Many(value.split(',').map(|part| part.trim().to_owned()).collect()),
        false => Said::One(format!("{}{}", value.trim(), key.suffix)),
    };
    set(config, key, &said, origin).map_err(|why| (format!("{name}={value}: {why}"), None))
}
