//! The keys that there are: how each is read, shown, and whether a change of it is taken up while the peer runs.
// spec: CLI-7

use super::{Said, Settings};
use crate::args::{Up, values};
use crate::energy::truth;
use mesh_executor::Share;
use mesh_policies::supply::ANY_GRID;
use mesh_protocol::energy::{MAX_G_PER_KWH, source_name};
use mesh_protocol::ledger::Pattern;
use mesh_protocol::permissions::Access;
use std::path::Path;

/// The list of sources.
pub(super) const SOURCES: &str = "energy.source";

/// One of them.
pub(super) struct Key {
    /// Its name in `mesh.toml`, its table's name before it.
    pub(super) name: &'static str,
    /// The variable that sets it, too.
    pub(super) variable: Option<&'static str>,
    /// Is a change taken up while the peer runs?
    pub(super) live: bool,
    /// Does it take several, in a variable with commas between them?
    pub(super) list: bool,
    /// What a variable's number is followed by.
    pub(super) suffix: &'static str,
    pub(super) set: fn(&mut Settings, &Said) -> Result<(), String>,
    pub(super) show: fn(&Settings) -> String,
    pub(super) copy: fn(&mut Settings, &Settings),
    /// Makes what is a path start from the file's folder.
    pub(super) resolve: fn(&Said, &Path) -> Said,
}

/// A key of one value.
macro_rules! one {
    ($name:literal, $variable:expr, $live:literal, $field:ident, $read:expr, $show:expr) => {
        Key {
            name: $name,
            variable: $variable,
            live: $live,
            list: false,
            suffix: "",
            set: |settings, said| {
                let text = said.one()?;
                settings.$field = $read(text).map_err(|why: String| format!("{text:?}: {why}"))?;
                Ok(())
            },
            show: |settings| $show(&settings.$field),
            copy: |to, from| to.$field = from.$field.clone(),
            resolve: |said, _| said.clone(),
        }
    };
}

/// A key of several values.
macro_rules! many {
    ($name:literal, $variable:expr, $live:literal, $field:ident, $read:expr, $show:expr) => {
        Key {
            set: |settings, said| {
                let read = |text: &str| $read(text).map_err(|why: String| format!("{text:?}: {why}"));
                settings.$field = said.many().into_iter().map(read).collect::<Result<_, _>>()?;
                Ok(())
            },
            list: true,
            ..one!($name, $variable, $live, $field, |_: &str| Ok(Vec::new()), |list: &Vec<_>| {
                let texts = list.iter().map($show).collect::<Vec<String>>();
                if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
            })
        }
    };
}

fn some<T>(read: Result<T, String>) -> Result<Option<T>, String> {
    read.map(Some)
}

fn or<T: ToString>(value: &Option<T>, nothing: &str) -> String {
    value.as_ref().map_or_else(|| nothing.to_owned(), ToString::to_string)
}

/// A time, as flags take it.
fn span(ms: &u64) -> String {
    match *ms {
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

fn hours((days, (from, to)): &values::Hours) -> String {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let days: Vec<&str> = days.iter().filter_map(|day| DAYS.get(usize::from(*day)).copied()).collect();
    let at = |minute: u16| format!("{}:{:02}", minute / 60, minute % 60);
    format!("{}:{}-{}", days.join(","), at(*from), at(*to))
}

fn share(share: &Share) -> String {
    let access = if share.access == Access::Rw { ":rw" } else { "" };
    format!("{}={}{access}", share.name, share.path.display())
}

/// A share's folder, from the folder of the file that names it.
fn below(said: &Said, folder: &Path) -> Said {
    let from = |text: &str| match text.split_once('=') {
        Some((name, path)) => format!("{name}={}", folder.join(path).display()),
        None => text.to_owned(),
    };
    match said {
        Said::One(text) => Said::One(from(text)),
        Said::Many(texts) => Said::Many(texts.iter().map(|text| from(text)).collect()),
    }
}

/// A device's key, or its beginning.
fn key(text: &str) -> Result<String, String> {
    // As short as ids may be told, as long as a key is.
    let fits = (4..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match fits {
        true => Ok(text.to_lowercase()),
        false => Err("write the device's key as `mesh status` shows it, or how it begins".into()),
    }
}

fn grams(text: &str) -> Result<u16, String> {
    values::whole(text, 0, MAX_G_PER_KWH)
}

/// Bytes, of which 0 are any.
fn at_most(bytes: &u64) -> String {
    if *bytes == 0 { "any".to_owned() } else { bytes.to_string() }
}

fn text(value: &impl ToString) -> String {
    value.to_string()
}

/// All keys, in the order in which they are shown.
pub(super) const KEYS: &[Key] = &[
    one!("enabled", Some("MESH_ENABLED"), true, enabled, truth, text),
    one!("peer_id", Some("MESH_PEER_ID"), false, peer_id, |it| some(key(it)), |it| or(it, "any")),
    one!("peer_name", Some("MESH_PEER_NAME"), false, peer_name, |it| some(values::name(it)), |it| or(
        it,
        "as mesh init was told"
    )),
    one!(
        "location",
        Some("MESH_PEER_LOCATION"),
        false,
        place,
        |it| some(values::place(it)),
        |place: &Option<(i16, i16)>| place
            .map_or_else(|| "not told".into(), |(lat, lon)| format!("{lat},{lon}"))
    ),
    many!("allowed_tasks", Some("MESH_ALLOWED_TASKS"), true, accepts, values::pattern, |it: &Pattern| {
        it.to_string()
    }),
    Key {
        suffix: "ms",
        ..one!(
            "max_task_duration",
            Some("MESH_MAX_TASK_DURATION_MS"),
            true,
            longest_ms,
            values::duration,
            span
        )
    },
    one!("timezone", Some("MESH_TIMEZONE"), true, timezone, |it| some(values::zone(it)), |it| or(
        it,
        "this machine's"
    )),
    one!("listen", None, false, listen, |it| some(values::socket(it)), |it| or(it, "the port of last time")),
    one!("api", None, false, api, values::socket, text),
    one!("api_for_others", None, false, api_for_others, truth, text),
    one!("slots", None, true, slots, |it| some(values::slots(it)), |it| or(it, "one for each core")),
    one!("memory", None, false, memory, |it| some(values::shared_memory(it)), |it| or(
        it,
        "half of the machine's"
    )),
    one!("watts", None, false, watts, |it| some(values::watts(it)), |it| or(it, "4 for each thread")),
    Key {
        show: |settings| match settings.hours.is_empty() {
            true => "always".into(),
            false => settings.hours.iter().map(hours).collect::<Vec<_>>().join(", "),
        },
        ..many!("hours", None, true, hours, values::hours, hours)
    },
    one!("on_battery", None, true, on_battery, truth, text),
    one!("most_load", None, true, most_load, values::share_of, text),
    one!("surplus_only", None, true, surplus_only, truth, text),
    one!("disk", None, false, disk, values::size, at_most),
    one!("upload", None, true, upload, values::size, at_most),
    one!("hook", None, false, hook, |it| some(values::command(it)), |it| or(it, "none")),
    Key { resolve: below, ..many!("shares", None, false, shares, values::share, share) },
    one!("relay", None, false, relay, values::size, text),
    one!("mdns", None, false, mdns, truth, text),
    one!(
        "energy.type",
        Some("MESH_CURRENT_ENERGY_TYPE"),
        true,
        energy_type,
        |it| some(values::energy_type(it)),
        |it: &Option<_>| it.map_or_else(|| "not said".into(), |it| source_name(it).to_owned())
    ),
    one!(
        "energy.percent_clean",
        Some("MESH_CURRENT_ENERGY_PERCENT_CLEAN"),
        true,
        percent_clean,
        |it| some(values::percent(it)),
        |it| or(it, "not said")
    ),
    one!("energy.g_per_kwh", None, true, g_per_kwh, |it| some(grams(it)), |it| or(it, "not said")),
    one!("energy.zone_g_per_kwh", None, true, zone_g_per_kwh, |it| some(grams(it)), |it: &Option<u16>| {
        it.unwrap_or(ANY_GRID).to_string()
    }),
    one!(
        "battery.round_trip_percent",
        None,
        true,
        round_trip_percent,
        |it| some(values::whole(it, 1, 100)),
        |it: &Option<u8>| it.unwrap_or(mesh_policies::battery::ROUND_TRIP_PERCENT).to_string()
    ),
    one!("battery.floor_percent", None, true, battery_floor, values::share_of, text),
    many!(
        "energy.source",
        None,
        true,
        sources,
        |_: &str| Err("it is written as [[energy.source]]".to_owned()),
        |it: &crate::energy::Setting| format!("{} ({} {})", it.name, it.kind.word(), it.kind.place())
    ),
];

/// Takes what stands on the command line, and says which keys that sets by which flag.
pub(super) fn from_flags(settings: &mut Settings, up: &Up, mut set: impl FnMut(&'static str, &'static str)) {
    macro_rules! take {
        ($($given:expr => $field:ident, $key:literal, $flag:literal;)*) => {
            $(if let Some(value) = $given {
                settings.$field = value;
                set($key, $flag);
            })*
        };
    }
    let list = |list: &Vec<_>| (!list.is_empty()).then(|| list.clone());
    take! {
        up.listen.map(Some) => listen, "listen", "--listen";
        up.api => api, "api", "--api";
        up.api_for_others.then_some(true) => api_for_others, "api_for_others", "--api-for-others";
        up.slots.map(Some) => slots, "slots", "--slots";
        up.memory.map(Some) => memory, "memory", "--memory";
        up.longest => longest_ms, "max_task_duration", "--longest";
        up.watts.map(Some) => watts, "watts", "--watts";
        list(&up.accepts) => accepts, "allowed_tasks", "--accept";
        (!up.hours.is_empty()).then(|| up.hours.clone()) => hours, "hours", "--hours";
        up.on_battery.then_some(true) => on_battery, "on_battery", "--on-battery";
        up.battery_floor => battery_floor, "battery.floor_percent", "--battery-floor";
        up.most_load => most_load, "most_load", "--most-load";
        up.surplus_only.then_some(true) => surplus_only, "surplus_only", "--surplus-only";
        up.disk => disk, "disk", "--disk";
        up.upload => upload, "upload", "--upload";
        up.hook.clone().map(Some) => hook, "hook", "--hook";
        (!up.shares.is_empty()).then(|| up.shares.clone()) => shares, "shares", "--share";
        up.relay => relay, "relay", "--relay";
        up.no_mdns.then_some(false) => mdns, "mdns", "--no-mdns";
        up.place.map(Some) => place, "location", "--place";
    }
    match &up.energy {
        // What is read may still tell what the grid is.
        Some(values::Energy::Word(word)) => {
            settings.energy_type = Some(word.source);
            settings.percent_clean = Some(word.percent);
            settings.g_per_kwh = word.g_per_kwh;
            for key in ["energy.type", "energy.percent_clean", "energy.g_per_kwh"] {
                set(key, "--energy");
            }
        }
        Some(values::Energy::Source(source)) => {
            (settings.energy_type, settings.percent_clean, settings.g_per_kwh) = (None, None, None);
            settings.sources = vec![source.as_ref().clone()];
            for key in ["energy.type", "energy.percent_clean", "energy.g_per_kwh", SOURCES] {
                set(key, "--energy");
            }
        }
        None => {}
    }
}
