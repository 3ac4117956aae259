//! Values as people type them, checked where they are typed.
// spec: CLI-5

use crate::energy;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use mesh_executor::{HostDir, NamedInput, Share};
use mesh_policies::supply::Word;
use mesh_protocol::ad::Source;
use mesh_protocol::ledger::{MAX_TEXT, Pattern, check_new_name, reads_like_a_key};
use mesh_protocol::manifest::{is_env_key, is_file_name, is_task_name, parse_duration_ms, parse_size};
use mesh_protocol::permissions::Access;
use mesh_protocol::task::{Importance, Sla};
use mesh_protocol::text::sanitise;
use std::net::SocketAddr;

const DAY_MS: u64 = 24 * 3_600_000;
/// Ten years. Who asks for more has slipped, and clocks that far ahead have no date.
const LONGEST_MS: u64 = 3653 * DAY_MS;

pub(crate) fn task_name(text: &str) -> Result<String, String> {
    match is_task_name(text) {
        true if reads_like_a_key(text) => {
            Err("it reads like the beginning of an id: use something beside the digits 0 to 9 and a to f"
                .into())
        }
        true => Ok(text.into()),
        false => Err("use 1 to 64 lower-case letters, digits and inner hyphens".into()),
    }
}

/// Why something is done that others should understand.
pub(crate) fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("write a sentence: all members read it".into()),
        _ => message(text),
    }
}

/// Words for all to read, as one entry holds them.
pub(crate) fn message(text: &str) -> Result<String, String> {
    match text.len() {
        len if len > MAX_TEXT => Err(format!("it has {len} bytes, and one message has at most {MAX_TEXT}")),
        _ if sanitise(text, false) != text => Err("write it on one line, in plain text".into()),
        _ => Ok(text.to_owned()),
    }
}

/// A submitter's own name for a submission.
pub(crate) fn key(text: &str) -> Result<String, String> {
    match text {
        "" => Err("write what tells this submission from others, such as report-2026-11-28".into()),
        _ => Ok(text.to_owned()),
    }
}

/// A name that a person, device or community is given now.
// spec: NET-2
pub(crate) fn name(text: &str) -> Result<String, String> {
    check_new_name(text).map(|()| text.to_owned()).map_err(Into::into)
}

pub(crate) fn named_input(text: &str) -> Result<NamedInput, String> {
    let (name, path) = text.split_once('=').ok_or("write NAME=PATH, such as photo.png=holiday/1.png")?;
    if !is_file_name(name) {
        return Err(format!(
            "{name:?} cannot be a file's name in /in: use one without / and other than . and .."
        ));
    }
    Ok(NamedInput { name: name.into(), path: path.into() })
}

pub(crate) fn share(text: &str) -> Result<Share, String> {
    let (name, path) = text.split_once('=').ok_or("write NAME=FOLDER or NAME=FOLDER:rw")?;
    if !is_task_name(name) {
        return Err(format!(
            "{name:?} cannot be a share's name: use lower-case letters, digits and inner hyphens"
        ));
    }
    let (path, access) = match (path.strip_suffix(":rw"), path.strip_suffix(":ro")) {
        (Some(path), _) => (path, Access::Rw),
        (None, Some(path)) => (path, Access::Ro),
        (None, None) => (path, Access::Ro),
    };
    Ok(Share { name: name.into(), path: path.into(), access })
}

/// A share that a grant gives: by the donor's name for it, never by a path.
pub(crate) fn granted_share(text: &str) -> Result<(String, Access), String> {
    let (name, access) = text.split_once('=').ok_or("write NAME=ro or NAME=rw")?;
    if !is_task_name(name) {
        return Err(format!(
            "{name:?} cannot be a share's name: use lower-case letters, digits and inner hyphens"
        ));
    }
    let access = match access {
        "ro" => Access::Ro,
        "rw" => Access::Rw,
        _ => return Err("write NAME=ro to let it be read, or NAME=rw to let it be changed too".into()),
    };
    Ok((name.into(), access))
}

pub(crate) fn host_dir(text: &str) -> Result<HostDir, String> {
    let (text, writable) = match text.strip_suffix(":ro") {
        Some(text) => (text, false),
        None => (text, true),
    };
    let (host, guest) = text.split_once("::").unwrap_or((text, text));
    if host.is_empty() || guest.is_empty() {
        return Err("write HOST::GUEST, such as data::/data".into());
    }
    Ok(HostDir { host: host.into(), guest: guest.into(), writable })
}

pub(crate) fn env_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    if !is_env_key(key) {
        return Err(format!("{key:?} cannot be a variable's name: use letters, digits and underscores"));
    }
    Ok((key.into(), value.into()))
}

pub(crate) fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "write a size such as 500kB, 64MB or 2GB".into())
}

/// The smallest task there is, with room to spare.
const LEAST_MEMORY: u64 = 1_000_000;

/// Memory for tasks. A number without its unit would be bytes, in which no task fits.
pub(crate) fn shared_memory(text: &str) -> Result<u64, String> {
    let some = size(text)?;
    let enough = (some >= LEAST_MEMORY).then_some(some);
    enough.ok_or_else(|| format!("{some} B hold no task: write 1MB or more, such as 500MB or 2GB"))
}

pub(crate) fn duration(text: &str) -> Result<u64, String> {
    let some = parse_duration_ms(text).filter(|ms| (1..=LONGEST_MS).contains(ms));
    some.ok_or_else(|| {
        let units = "write a duration above 0 such as 500ms, 30s, 10m or 2h";
        match long_duration(text) {
            Some(0) | None => units.into(),
            Some(_) => format!("{units}; its units are ms, s, m and h, and ten years are the longest"),
        }
    })
}

/// A duration that may be long, as of a grant.
fn long_duration(text: &str) -> Option<u64> {
    let days = |unit: char, days: u64| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(days)?.checked_mul(DAY_MS)
    };
    days('d', 1).or_else(|| days('w', 7)).or_else(|| parse_duration_ms(text))
}

pub(crate) fn span(text: &str) -> Result<u64, String> {
    let some = long_duration(text).filter(|ms| (1..=LONGEST_MS).contains(ms));
    some.ok_or_else(|| "write a duration above 0 and up to ten years, such as 30m, 24h, 7d or 2w".into())
}

/// A moment in milliseconds since 1970: a date (to its end, here), a moment of RFC 3339, or so long from now.
pub(crate) fn moment(text: &str) -> Result<u64, String> {
    moment_from(text, Timestamp::now(), TimeZone::system())
}

fn moment_from(text: &str, now: Timestamp, here: TimeZone) -> Result<u64, String> {
    let wrong =
        || "write a date such as 2027-02-20, a moment such as 2027-02-20T12:00Z, or a duration such as 30d";
    let ms = if let Some(ms) = long_duration(text) {
        i64::try_from(ms).ok().and_then(|ms| now.as_millisecond().checked_add(ms))
    } else if let Ok(date) = text.parse::<Date>()
        && !text.contains(['T', 't', ' '])
    {
        let next = date.checked_add(1.day()).map_err(|_| wrong())?;
        Some(next.to_zoned(here).map_err(|_| wrong())?.timestamp().as_millisecond())
    } else {
        Some(text.parse::<Timestamp>().map_err(|_| wrong())?.as_millisecond())
    };
    let ms = ms.and_then(|ms| u64::try_from(ms).ok()).ok_or_else(wrong)?;
    let latest = u64::try_from(now.as_millisecond()).unwrap_or(0).saturating_add(LONGEST_MS);
    match ms <= latest {
        true => Ok(ms),
        false => Err(
            "it is more than ten years from now; write a date such as 2027-02-20 or a duration such as 30d"
                .into(),
        ),
    }
}

/// A deadline: a moment, or the next time that clocks here show this.
// spec: SLA-1
pub(super) fn deadline(text: &str) -> Result<u64, String> {
    deadline_from(text, Timestamp::now(), TimeZone::system())
}

fn deadline_from(text: &str, now: Timestamp, here: TimeZone) -> Result<u64, String> {
    let clock = || {
        let (hour, minute) =
            text.split_once(':').filter(|(hour, minute)| hour.len() <= 2 && minute.len() == 2)?;
        let (hour, minute) = (hour.parse().ok()?, minute.parse().ok()?);
        jiff::civil::Time::new(hour, minute, 0, 0).ok()
    };
    let Some(time) = clock() else {
        return moment_from(text, now, here)
            .map_err(|_| "write, within ten years, a time such as 18:30, a date such as 2027-02-20, a moment such as 2027-02-20T12:00Z, or how long from now, such as 6h".into());
    };
    let today = now.to_zoned(here.clone()).date();
    let at = |date: Date| date.to_datetime(time).to_zoned(here.clone()).map(|at| at.timestamp());
    let found = match at(today) {
        Ok(moment) if moment > now => Ok(moment),
        _ => today.checked_add(1.day()).and_then(at),
    };
    let ms = found.ok().and_then(|moment| u64::try_from(moment.as_millisecond()).ok());
    ms.ok_or_else(|| format!("{text:?} is no time of any day"))
}

pub(crate) fn fuel(text: &str) -> Result<u64, String> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    plain
        .parse()
        .ok()
        .filter(|fuel| *fuel > 0)
        .ok_or_else(|| "write a whole number above 0, such as 1_000_000_000".into())
}

/// The same, as it was typed.
pub(crate) fn some_pattern(text: &str) -> Result<String, String> {
    match pattern(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(why) => Err(format!("{why}: write *, a name, or a beginning and *, such as database-*")),
    }
}

pub(crate) fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).map_err(Into::into)
}

/// One spelling for all of `SOLAR_ONLY`, `solar_only` and `solar-only`.
fn plain(text: &str) -> String {
    text.to_ascii_lowercase().replace('_', "-")
}

pub(crate) fn sla(text: &str) -> Result<Sla, String> {
    Ok(match plain(text).as_str() {
        "urgent" => Sla::Urgent,
        "high" => Sla::High,
        "normal" => Sla::Normal,
        "eco" => Sla::Eco,
        "solar-only" => Sla::SolarOnly,
        "wind-only" => Sla::WindOnly,
        _ => return Err("write urgent, high, normal, eco, solar-only or wind-only".into()),
    })
}

/// Weekdays from Monday, and from which minute of the day up to which.
pub(crate) type Hours = (Vec<u8>, (u16, u16));

/// Hours as `mon-fri:9:00-17:00`.
pub(crate) fn hours(text: &str) -> Result<Hours, String> {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let wrong =
        || format!("{text:?}: write days and hours, such as mon-fri:9:00-17:00 or sat,sun:22:00-6:00");
    let (days, span) = text.split_once(':').ok_or_else(wrong)?;
    let number = |day: &str| DAYS.iter().position(|it| *it == day.to_lowercase());
    let mut list = Vec::new();
    for part in days.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first).ok_or_else(wrong)?, number(last).ok_or_else(wrong)?);
        // Friday to Monday goes over Sunday.
        let count = (last + 7 - first) % 7;
        list.extend((first..=first + count).map(|day| u8::try_from(day % 7).unwrap_or(0)));
    }
    let minute = |text: &str| {
        let (hour, minute) = text.split_once(':').unwrap_or((text, "0"));
        let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?);
        (hour <= 24 && minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 60 + minute)
    };
    let (from, to) = span.split_once('-').ok_or_else(wrong)?;
    let (from, to) = (minute(from).ok_or_else(wrong)?, minute(to).ok_or_else(wrong)?);
    if from == to || from == 24 * 60 {
        return Err(wrong());
    }
    Ok((list, (from, to)))
}

pub(crate) fn importance(text: &str) -> Result<Importance, String> {
    Ok(match plain(text).as_str() {
        "critical" => Importance::Critical,
        "high" => Importance::High,
        "normal" => Importance::Normal,
        "low" => Importance::Low,
        "non-critical" => Importance::NonCritical,
        _ => return Err("write critical, high, normal, low or non-critical".into()),
    })
}

/// What `--energy` says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Energy {
    /// What it is, once and for all.
    Word(Word),
    /// Where it is read.
    Source(Box<energy::Setting>),
}

pub(crate) fn energy(text: &str) -> Result<Energy, String> {
    let read = |which| Ok(Energy::Source(Box::new(energy::Setting::of(which))));
    if let Some(trace) = text.strip_prefix("trace:") {
        return read(energy::Which::Trace(energy::Trace::parse(trace)?));
    }
    if let Some(command) = text.strip_prefix("command:") {
        return read(energy::Which::Command(energy::Asked { command: command.to_owned() }));
    }
    word(text).map(Energy::Word)
}

fn word(text: &str) -> Result<Word, String> {
    let form = "write SOURCE:PERCENT or SOURCE:PERCENT:GRAMS_PER_KWH, such as solar:90 or grid:40:300; or trace:FILE or command:PROGRAM";
    let mut parts = text.split(':');
    let (Some(source), Some(percent), grams, None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(form.into());
    };
    let percent = percent.strip_suffix('%').unwrap_or(percent);
    let number = |text: &str| text.parse::<f64>().map_err(|_| form.to_owned());
    let (percent, grams) = (number(percent)?, grams.map(number).transpose()?);
    let claim = energy::claim(source, percent, grams.unwrap_or(0.0))?;
    Ok(Word { source: claim.source, percent, g_per_kwh: grams.map(|_| claim.g_per_kwh) })
}

/// Where energy comes from, in the words that there are for it.
pub(crate) fn energy_type(text: &str) -> Result<Source, String> {
    energy::claim(text, 0.0, 0.0).map(|claim| claim.source)
}

/// A share in percent.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
    number
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| "write a number from 0 to 100".into())
}

/// A number within bounds.
pub(crate) fn whole<T: std::str::FromStr + PartialOrd + std::fmt::Display>(
    text: &str,
    least: T,
    most: T,
) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| *number >= least && *number <= most);
    number.ok_or_else(|| format!("write a whole number from {least} to {most}"))
}

/// Money, in cents.
pub(crate) fn cents(text: &str) -> Result<u64, String> {
    whole(text, 1, 100_000_000).map_err(|why| format!("{why}: it is in cents, so 500 is 5.00"))
}

/// Time given in a month, in minutes.
pub(crate) fn minutes(text: &str) -> Result<u64, String> {
    whole(text, 1, 31 * 24 * 60)
        .map_err(|why| format!("{why}: it is in minutes, so 90 is an hour and a half"))
}

/// A month, as 202611.
pub(crate) fn month(text: &str) -> Result<u32, String> {
    let month = text.parse().ok().filter(|_| text.len() == 6);
    let month = month.filter(|month| (1..=12).contains(&(month % 100)));
    month.ok_or_else(|| "write the year and the month, such as 202611".into())
}

/// How many of the last.
pub(crate) fn last(text: &str) -> Result<usize, String> {
    whole(text, 0, 1_000_000_000)
}

/// A share in whole percent.
pub(crate) fn share_of(text: &str) -> Result<u8, String> {
    whole(text, 0, 100)
}

/// Tasks at once.
pub(crate) fn slots(text: &str) -> Result<u16, String> {
    whole(text, 1, 1024)
}

/// A program with its arguments, as a shell takes them.
pub(crate) fn command(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("write a command, such as ./ask-me.sh".into()),
        _ => Ok(text.to_owned()),
    }
}

/// The owner's program that is asked about offers. One that is named by its path is there now.
pub(crate) fn hook(text: &str) -> Result<String, String> {
    let program = command(text)?;
    let first = program.split_whitespace().next().unwrap_or_default();
    // What a shell would make something else of is the shell's to find.
    let is_path = first.contains('/') && first.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
    match is_path && !std::path::Path::new(first).exists() {
        true => Err(format!("there is no {first}: name a program that is there, such as ./ask-me.sh")),
        false => Ok(program),
    }
}

/// Most watts of a processor.
pub(crate) const MAX_WATTS: u32 = 2000;

/// Watts of a processor.
pub(crate) fn watts(text: &str) -> Result<u32, String> {
    whole(text, 1, MAX_WATTS)
}

/// An address with its port.
pub(crate) fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write ADDRESS:PORT, such as 0.0.0.0:4433".into())
}

/// A time zone that this machine knows.
pub(crate) fn zone(text: &str) -> Result<String, String> {
    let known = TimeZone::get(text).map(|_| text.to_owned());
    known.map_err(|_| "there is no such time zone; write one such as Europe/Berlin".into())
}

/// How fast recorded time is played.
pub(crate) fn speed(text: &str) -> Result<f64, String> {
    // Slower nobody would wait for it, faster no task would find the time to run.
    let fits = |speed: &f64| (60.0..=7200.0).contains(speed);
    text.parse().ok().filter(fits).ok_or_else(|| "it is a number from 60 to 7200".into())
}

/// A place in whole degrees: nobody needs to know it better.
pub(crate) fn place(text: &str) -> Result<(i16, i16), String> {
    let wrong = "write LATITUDE,LONGITUDE in degrees, such as 52.5,13.4; whole degrees are told";
    let (lat, lon) = text.split_once(',').ok_or(wrong)?;
    let degrees = |text: &str, most: f64| {
        let degrees: f64 = text.trim().parse().ok()?;
        (degrees.abs() <= most).then(|| degrees.round() as i16)
    };
    Ok((degrees(lat, 90.0).ok_or(wrong)?, degrees(lon, 180.0).ok_or(wrong)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PERM-1
    #[test]
    fn a_grant_ends_with_a_day_at_a_moment_or_after_a_while() {
        let now = Timestamp::from_millisecond(1_000_000).unwrap();
        let at = |text: &str| moment_from(text, now, TimeZone::UTC);
        assert_eq!(at("1970-01-02"), Ok(2 * DAY_MS), "the day itself counts");
        assert_eq!(at("1970-01-02T00:00Z"), Ok(DAY_MS));
        assert_eq!(at("2h"), Ok(1_000_000 + 2 * 3_600_000));
        assert_eq!(at("2w"), Ok(1_000_000 + 14 * DAY_MS));
        for wrong in ["", "tomorrow", "2027-02-30", "1969-01-01", "99999999999999999d", "9999999d", "2027"] {
            assert!(at(wrong).unwrap_err().contains("2027-02-20"), "{wrong}");
        }
    }

    // spec: SLA-1
    #[test]
    fn a_deadline_is_the_next_time_that_clocks_show_it() {
        // 1970-01-02, 10:00 in UTC.
        let now = Timestamp::from_millisecond(DAY_MS as i64 + 36_000_000).unwrap();
        let at = |text: &str| deadline_from(text, now, TimeZone::UTC);
        assert_eq!(at("18:30"), Ok(DAY_MS + 18 * 3_600_000 + 1_800_000));
        assert_eq!(at("9:00"), Ok(2 * DAY_MS + 9 * 3_600_000), "it is past that today");
        assert_eq!(at("10:00"), Ok(2 * DAY_MS + 10 * 3_600_000));
        assert_eq!(at("6h"), Ok(DAY_MS + 16 * 3_600_000));
        assert_eq!(at("1970-01-05T00:00Z"), Ok(4 * DAY_MS));
        for wrong in ["", "soon", "25:00", "12:60", "1:2", "123:00"] {
            assert!(at(wrong).unwrap_err().contains("18:30"), "{wrong}");
        }
    }

    // spec: CLI-5
    #[test]
    fn no_time_and_more_than_ten_years_are_slips() {
        for wrong in ["0s", "0ms", "30500568904w", "3654d", ""] {
            assert!(span(wrong).unwrap_err().contains("30m"), "{wrong}");
            assert!(duration(wrong).unwrap_err().contains("30s"), "{wrong}");
        }
        assert!(duration("1d").unwrap_err().contains("units are ms, s, m and h"), "days are known elsewhere");
        assert_eq!((span("520w"), duration("1ms")), (Ok(520 * 7 * DAY_MS), Ok(1)));
    }

    // spec: CLI-5
    #[test]
    fn what_is_wrong_with_a_value_is_said_in_its_own_words() {
        assert!(
            cents("5.00").unwrap_err().contains("cents") && cents("0").is_err() && cents("500") == Ok(500)
        );
        assert!(minutes("-5").unwrap_err().contains("minutes"));
        assert!(month("202613").is_err() && month("12").is_err() && month("202611") == Ok(202_611));
        assert!(last("99999999999999999999").unwrap_err().contains("whole number"));
        assert!(message(&"x".repeat(281)).unwrap_err().contains("280"));
        assert!(message("two\nlines").is_err() && message("").is_ok() && reason(" ").is_err());
        assert!(some_pattern("**").unwrap_err().contains("database-*") && some_pattern("log-*").is_ok());
        assert!(key("").is_err() && key("monday").is_ok());
        assert!(hook("/nope --all").unwrap_err().contains("/nope"));
        assert!(hook("sh -c true").is_ok() && hook("/bin/sh").is_ok() && hook("$HOME/ask").is_ok());
    }

    // spec: CLI-5
    #[test]
    fn a_number_below_nothing_is_a_value_and_no_flag() {
        use clap::Parser as _;
        let typed = |args: &[&str]| {
            let failed = crate::args::Args::try_parse_from(["mesh"].iter().chain(args)).unwrap_err();
            failed.to_string()
        };
        for args in [
            &["pause", "-2h"][..],
            &["submit", "x.wasm", "--duration", "-5s"],
            &["contribute", "bob", "--money", "-5"],
        ] {
            let said = typed(args);
            assert!(said.contains("invalid value") && !said.contains("tip:"), "{said}");
        }
        assert!(crate::args::Args::try_parse_from(["mesh", "pause", "--help"]).is_err());
        assert!(crate::args::Args::try_parse_from(["mesh", "pause"]).is_ok());
    }

    // spec: NET-2
    #[test]
    fn a_name_is_not_taken_for_a_key_or_a_flag() {
        let key = "ab".repeat(32);
        for wrong in [&key[..], "12345678", "-rf", "bo\u{200b}b"] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
        assert!(task_name(&key).unwrap_err().contains("id") && task_name("tidy").is_ok());
    }

    #[test]
    fn energy_is_told_in_one_word() {
        let said = |percent, g_per_kwh| Word { source: Source::Solar, percent, g_per_kwh };
        assert_eq!(word("Solar:90"), Ok(said(90.0, None)), "the rest is as the grid is");
        assert_eq!(word("solar:40.5%:300").unwrap(), said(40.5, Some(300)));
        for wrong in ["", "solar", "solar:101", "solar:-1", "coal:3", "grid:1:2:3", "grid:1:x"] {
            assert!(energy(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_place_is_told_in_whole_degrees() {
        assert_eq!(place("52.51, -13.4"), Ok((53, -13)));
        for wrong in ["", "91,0", "0,181", "NaN,0", "52"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn levels_have_the_words_of_the_rules() {
        assert_eq!(sla("SOLAR_ONLY"), Ok(Sla::SolarOnly));
        assert_eq!(sla("eco"), Ok(Sla::Eco));
        assert_eq!(importance("non-critical"), Ok(Importance::NonCritical));
        assert_eq!(hours("mon-fri:9:00-17:30"), Ok((vec![0, 1, 2, 3, 4], (540, 1050))));
        assert_eq!(hours("sat,SUN:22-6"), Ok((vec![5, 6], (1320, 360))));
        assert_eq!(hours("fri-mon:0-24:00").unwrap().0, [4, 5, 6, 0]);
        for wrong in ["mon", "mon:9", "mo:9-17", "mon:9-9", "mon:24-9", "mon:9-25", "mon:9:60-10", ""] {
            assert!(hours(wrong).unwrap_err().contains("mon-fri"), "{wrong}");
        }
        assert!(sla("soon").is_err() && importance("very").is_err());
        assert_eq!(granted_share("logs=rw"), Ok(("logs".into(), Access::Rw)));
        assert!(granted_share("logs=/var/log").is_err() && granted_share("../x=ro").is_err());
    }
}
