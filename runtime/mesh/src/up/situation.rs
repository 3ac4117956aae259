//! How this device is, for the donor's terms: the hour, mains and battery, and what other programs use.
// spec: PERM-5

use super::driver::Arrival;
use jiff::Zoned;
use mesh_node::Input;
use mesh_policies::donor::{Situation, Terms};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often it is looked: twice within the second in which a change must take effect.
const EVERY: Duration = Duration::from_millis(400);
/// Looks over which other programs' use is averaged: about two seconds, so that no single page load stops a guest.
const LOOKS: usize = 5;

/// The variable that names another folder of power supplies than Linux's own: for tests, and for containers in which that
/// is elsewhere.
const SUPPLIES_VARIABLE: &str = "MESH_POWER_SUPPLIES";
/// Where Linux tells of them.
const SUPPLIES: &str = "/sys/class/power_supply";

/// Tells the node on which terms the device is shared, and how it is whenever that changes.
pub(super) fn watch(terms: Terms, arrivals: mpsc::Sender<Arrival>) -> std::io::Result<()> {
    let nothing_to_watch = terms == Terms::default();
    // Other programs' use takes reading all of /proc, and says something else at every look.
    let mut meter = (terms.most_load > 0).then(Meter::default);
    let supplies = std::env::var_os(SUPPLIES_VARIABLE).map_or_else(|| SUPPLIES.into(), PathBuf::from);
    let work = move || {
        if arrivals.blocking_send(Input::Terms(Box::new(terms)).into()).is_err() || nothing_to_watch {
            return;
        }
        let mut last = None;
        loop {
            let now = look(meter.as_mut(), &supplies);
            if last.replace(now) != Some(now) && arrivals.blocking_send(Input::Situation(now).into()).is_err()
            {
                return;
            }
            std::thread::sleep(EVERY);
        }
    };
    // A thread of its own: these files may take their time, which the network's threads have not.
    std::thread::Builder::new().name("situation".into()).spawn(work).map(|_| ())
}

fn look(meter: Option<&mut Meter>, supplies: &Path) -> Situation {
    let now = Zoned::now();
    let minutes = i32::from(now.hour()) * 60 + i32::from(now.minute());
    let (on_mains, battery) = power(supplies);
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

/// Is there mains, and how full are the batteries, by the kernel's own list of supplies?
fn power(folder: &Path) -> (Option<bool>, Option<u8>) {
    let (mut mains, mut charges): (Option<bool>, Vec<u8>) = (None, Vec::new());
    for supply in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let said = |name: &str| std::fs::read_to_string(supply.path().join(name)).unwrap_or_default();
        match said("type").trim() {
            "Mains" | "USB" => {
                if let Ok(online) = said("online").trim().parse::<u8>() {
                    mains = Some(mains.unwrap_or(false) || online > 0);
                }
            }
            // A mouse has a battery, too.
            "Battery" if said("scope").trim() != "Device" => {
                charges.extend(said("capacity").trim().parse::<u8>())
            }
            _ => {}
        }
    }
    (mains, charges.into_iter().min())
}

/// What other programs use of the processors.
#[derive(Debug, Default)]
struct Meter {
    /// All ticks, busy ticks, and those of this program and what it started.
    seen: Vec<(u64, u64, u64)>,
}

impl Meter {
    fn read(&mut self) -> Option<u8> {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
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
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
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

    // spec: PERM-5
    #[test]
    fn mains_and_battery_are_read_as_the_kernel_tells_them() {
        let folder = tempfile::tempdir().unwrap();
        let supply = |name: &str, files: &[(&str, &str)]| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            for (file, text) in files {
                std::fs::write(path.join(file), text).unwrap();
            }
        };
        assert_eq!(power(folder.path()), (None, None));
        supply("BAT0", &[("type", "Battery\n"), ("capacity", "41\n")]);
        supply("mouse", &[("type", "Battery\n"), ("capacity", "3\n"), ("scope", "Device\n")]);
        supply("AC", &[("type", "Mains\n"), ("online", "0\n")]);
        assert_eq!(power(folder.path()), (Some(false), Some(41)));
        supply("usb", &[("type", "USB\n"), ("online", "1\n")]);
        assert_eq!(power(folder.path()).0, Some(true));
        assert_eq!(power(Path::new("/nowhere")), (None, None));
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
