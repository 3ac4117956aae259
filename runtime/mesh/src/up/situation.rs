//! How this device is, for the donor's terms: the hour, mains and battery, what other programs use, what was sent.
// spec: PERM-5

use super::driver::Arrival;
use crate::energy::{Report, SUPPLIES, mains_and_charge};
use jiff::Zoned;
use jiff::tz::TimeZone;
use mesh_node::Input;
use mesh_policies::donor::{Situation, Terms};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often it is looked: twice within the second in which a change must take effect.
const EVERY: Duration = Duration::from_millis(400);
/// Looks over which other programs' use is averaged: about two seconds, so that no single page load stops a guest.
const LOOKS: usize = 5;
/// The variable that names another folder of power supplies than Linux's own: for tests, and for containers in which that
/// is elsewhere.
const SUPPLIES_VARIABLE: &str = "MESH_POWER_SUPPLIES";

/// On which terms the device is shared, and in which time zone its hours are meant: both may change while it runs.
#[derive(Debug, Clone)]
pub(super) struct Wanted(Arc<Mutex<(Terms, Option<String>)>>);

impl Wanted {
    pub(super) fn new(terms: Terms, zone: Option<String>) -> Self {
        Self(Arc::new(Mutex::new((terms, zone))))
    }

    pub(super) fn set(&self, terms: Terms, zone: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (terms, zone);
    }

    fn now(&self) -> (Terms, Option<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Tells the node on which terms the device is shared, and how it is whenever that changes.
pub(super) fn watch(
    wanted: Wanted,
    energy: Report,
    mut uploads: Uploads,
    arrivals: mpsc::Sender<Arrival>,
) -> std::io::Result<()> {
    let supplies = std::env::var_os(SUPPLIES_VARIABLE).map_or_else(|| SUPPLIES.into(), PathBuf::from);
    let work = move || {
        let (mut terms, mut last) = (None, None);
        // Other programs' use takes reading all of /proc, and says something else at every look.
        let mut meter = None;
        loop {
            let (now_terms, zone) = wanted.now();
            meter = (now_terms.most_load > 0).then(|| meter.take().unwrap_or_default());
            let mut now = look(meter.as_mut(), zone.as_deref(), &supplies);
            now.surplus_watts = energy.surplus();
            if now_terms.upload_bytes > 0 {
                let today = here(zone.as_deref()).date().to_string();
                now.uploaded = uploads.count(&today, now_terms.upload_bytes);
            }
            if now_terms.hours.is_empty() {
                // What nobody asks for is no news.
                (now.weekday, now.minute) = (0, 0);
            }
            // How it is first: terms alone would be held against a device of which nothing is known.
            if last.replace(now) != Some(now) && arrivals.blocking_send(Input::Situation(now).into()).is_err()
            {
                return;
            }
            if terms.as_ref() != Some(&now_terms) {
                terms = Some(now_terms.clone());
                if arrivals.blocking_send(Input::Terms(Box::new(now_terms)).into()).is_err() {
                    return;
                }
            }
            std::thread::sleep(EVERY);
            if arrivals.is_closed() {
                return;
            }
        }
    };
    // A thread of its own: these files may take their time, which the network's threads have not.
    std::thread::Builder::new().name("situation".into()).spawn(work).map(|_| ())
}

/// Now, in the zone that was named, else in this machine's.
// spec: CLI-7, PERM-5
fn here(zone: Option<&str>) -> Zoned {
    // Checked where it was read; a machine that forgot the zone has its own.
    let zone = zone.and_then(|zone| TimeZone::get(zone).ok());
    zone.map_or_else(Zoned::now, |zone| Zoned::now().with_time_zone(zone))
}

fn look(meter: Option<&mut Meter>, zone: Option<&str>, supplies: &Path) -> Situation {
    let now = here(zone);
    let minutes = i32::from(now.hour()) * 60 + i32::from(now.minute());
    let (on_mains, battery) = mains_and_charge(supplies);
    Situation {
        weekday: now.weekday().to_monday_zero_offset().unsigned_abs(),
        minute: u16::try_from(minutes).unwrap_or(0),
        on_mains,
        battery,
        other_load: meter.and_then(Meter::read),
        surplus_watts: None,
        uploaded: 0,
    }
}

/// What was sent today.
pub(super) struct Uploads {
    path: PathBuf,
    /// What the transport has sent since the start.
    sent: Box<dyn Fn() -> u64 + Send>,
    /// The local date, and the bytes sent on it.
    kept: (String, u64),
    /// What the transport had sent when it was looked last.
    seen: u64,
}

impl Uploads {
    const FILE: &'static str = "uploaded.json";

    /// What was sent before the start is remembered in this folder. What cannot be read is as if nothing was sent: a
    /// damaged file must not keep a device from being shared for ever.
    pub(super) fn read(data: &Path, sent: Box<dyn Fn() -> u64 + Send>) -> Self {
        let path = data.join(Self::FILE);
        let kept = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path, sent, kept: kept.unwrap_or_default(), seen: 0 }
    }

    /// What was sent today, in hundredths of what may be, so that not each packet is news.
    fn count(&mut self, today: &str, most: u64) -> u64 {
        let (step, sent) = ((most / 100).max(1), (self.sent)());
        let before = (self.kept.0.clone(), self.kept.1 / step);
        let (day, bytes) = &mut self.kept;
        if day.as_str() != today {
            (*day, *bytes) = (today.to_owned(), 0);
        }
        *bytes = bytes.saturating_add(sent.saturating_sub(self.seen));
        self.seen = self.seen.max(sent);
        let now = *bytes / step;
        if (self.kept.0.as_str(), now) != (before.0.as_str(), before.1) {
            self.write();
        }
        now * step
    }

    fn write(&self) {
        let new = self.path.with_extension("new");
        let written = serde_json::to_vec(&self.kept)
            .map_err(std::io::Error::other)
            .and_then(|bytes| fs::write(&new, bytes))
            .and_then(|()| fs::rename(&new, &self.path));
        if let Err(error) = written {
            tracing::info!(%error, "what was sent today could not be remembered");
        }
    }
}

/// What other programs use of the processors.
#[derive(Debug, Default)]
struct Meter {
    /// All ticks, busy ticks, and those of this program and what it started.
    seen: Vec<(u64, u64, u64)>,
}

impl Meter {
    fn read(&mut self) -> Option<u8> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let (all, busy) = ticks(stat.lines().next()?)?;
        self.seen.push((all, busy, own_ticks(std::process::id())));
        if self.seen.len() > LOOKS {
            self.seen.remove(0);
        }
        let (first, last) = (self.seen.first()?, self.seen.last()?);
        let all = last.0.saturating_sub(first.0);
        let others = last.1.saturating_sub(first.1).saturating_sub(last.2.saturating_sub(first.2));
        u8::try_from((others * 100).checked_div(all)?.min(100)).ok()
    }
}

/// All ticks and the busy ones, of the first line of the kernel's statistics.
fn ticks(line: &str) -> Option<(u64, u64)> {
    let numbers: Vec<u64> =
        line.strip_prefix("cpu ")?.split_whitespace().map_while(|it| it.parse().ok()).collect();
    // The time of guests of a virtual machine is in the first two already.
    let all: u64 = numbers.iter().take(8).sum();
    let idle = numbers.get(3)? + numbers.get(4)?;
    Some((all, all.saturating_sub(idle)))
}

/// Ticks of a process and of all that descend from it, also of those that have ended.
fn own_ticks(root: u32) -> u64 {
    let mut processes: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may hold anything, so what follows the last one is read.
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |at: usize| fields.get(at).and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
        processes.insert(id, (u32::try_from(field(1)).unwrap_or(0), (11..=14).map(field).sum()));
    }
    let belongs = |mut id: u32| {
        // As deep as any tree of processes of ours, and no circle.
        for _ in 0..64 {
            if id == root {
                return true;
            }
            match processes.get(&id) {
                Some((parent, _)) => id = *parent,
                None => return false,
            }
        }
        false
    };
    processes.iter().filter(|(id, _)| belongs(**id)).map(|(_, (_, ticks))| ticks).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: PERM-5, CLI-7
    #[test]
    fn the_hour_is_that_of_the_zone_that_was_named() {
        let at = |zone: &str| {
            let now = look(None, Some(zone), Path::new("/nowhere"));
            i64::from(now.weekday) * 24 * 60 + i64::from(now.minute)
        };
        let apart = (at("Pacific/Kiritimati") - at("Etc/GMT+10")).rem_euclid(7 * 24 * 60);
        assert!((apart - 24 * 60).abs() <= 1, "14 hours ahead and ten behind: {apart}");
    }

    // spec: PERM-5, CLI-7
    #[test]
    fn what_was_sent_is_counted_by_the_day_of_the_zone_that_was_named() {
        let (east, west) = (here(Some("Pacific/Kiritimati")), here(Some("Etc/GMT+10")));
        let apart = west.date().until(east.date()).unwrap().get_days();
        assert!((1..=2).contains(&apart), "24 hours apart: {apart} days");
    }

    // spec: PERM-5
    #[test]
    fn what_was_sent_today_is_counted_over_restarts_and_begins_anew_at_midnight() {
        let folder = tempfile::tempdir().unwrap();
        let sent = Arc::new(Mutex::new(0));
        let uploads = |folder: &Path| {
            let sent = sent.clone();
            Uploads::read(folder, Box::new(move || *sent.lock().unwrap()))
        };
        let count = |uploads: &mut Uploads, day: &str, bytes: u64, most: u64| {
            *sent.lock().unwrap() = bytes;
            uploads.count(day, most)
        };
        let mut first = uploads(folder.path());
        let told = [0, 9, 10, 555, 1001].map(|sent| count(&mut first, "monday", sent, 1000));
        assert_eq!(told, [0, 0, 10, 550, 1000]);
        // A count that goes back for a moment takes nothing away.
        assert_eq!(count(&mut first, "monday", 900, 1000), 1000);
        assert_eq!(count(&mut first, "monday", 1001, 1000), 1000);
        let mut again = uploads(folder.path());
        assert_eq!(count(&mut again, "monday", 20, 1000), 1020, "it was sent on the same day");
        assert_eq!(
            count(&mut again, "tuesday", 45, 1000),
            20,
            "and that on the next, but for what was before"
        );
        fs::write(folder.path().join(Uploads::FILE), "{").unwrap();
        assert_eq!(count(&mut uploads(folder.path()), "tuesday", 30, 1000), 30);
        // The least cap there is can be reached.
        assert_eq!(count(&mut uploads(Path::new("/nowhere")), "monday", 1, 1), 1);
    }

    #[test]
    fn ticks_are_read_as_the_kernel_tells_them() {
        assert_eq!(ticks("cpu  10 1 5 80 4 0 0 0 3 0"), Some((100, 16)));
        assert_eq!(ticks("cpu0 1 2"), None);
        assert_eq!(ticks("cpu  1 2"), None);
        // What this program and its children use is its own, also once they have ended.
        let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let before = own_ticks(std::process::id());
        assert!(std::process::Command::new("/bin/sh").args(["-c", spin]).status().unwrap().success());
        assert!(own_ticks(std::process::id()) > before);
    }
}
