//! This device's own battery and mains, as Linux tells them: `/sys/class/power_supply`.
// spec: EN-1, EN-4

use super::observed::{Field, Observation, Source, Trouble};
use std::path::{Path, PathBuf};

/// Where Linux tells it.
pub(crate) const FOLDER: &str = "/sys/class/power_supply";

/// The folder of supplies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Supplies {
    pub(crate) folder: PathBuf,
}

/// One battery.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Cell {
    /// How full, in percent.
    percent: f64,
    /// What it holds when full, in Wh, if it says so.
    full_wh: Option<f64>,
    /// What it gives; below zero while it is charged.
    watts: Option<f64>,
}

/// Is there mains, and what batteries, by the kernel's own list of supplies? Those of a mouse are not this device's.
fn look(folder: &Path) -> std::io::Result<(Option<bool>, Vec<Cell>)> {
    let (mut mains, mut cells) = (None::<bool>, Vec::new());
    let mut supplies = std::fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    supplies.sort_by_key(std::fs::DirEntry::file_name);
    for supply in supplies {
        let said = |name: &str| std::fs::read_to_string(supply.path().join(name)).unwrap_or_default();
        // In the kernel's millionths, some of them with a sign, some without.
        let number = |name: &str| said(name).trim().parse::<f64>().ok().map(|micro| micro / 1e6);
        match said("type").trim() {
            "Mains" | "USB" => {
                if let Ok(online) = said("online").trim().parse::<u8>() {
                    mains = Some(mains.unwrap_or(false) || online > 0);
                }
            }
            "Battery" if said("scope").trim() != "Device" => {
                // Either energy or charge is told; charge is energy by its voltage, as it was designed or as it is.
                let volts = number("voltage_min_design").or_else(|| number("voltage_now"));
                let by_volts = |name: &str| Some(number(name)? * volts?);
                let full = number("energy_full").or_else(|| by_volts("charge_full"));
                let now = number("energy_now").or_else(|| by_volts("charge_now"));
                let said_percent = said("capacity").trim().parse::<f64>().ok();
                let by_energy =
                    now.zip(full).filter(|(_, full)| *full > 0.0).map(|(now, full)| now * 100.0 / full);
                let Some(percent) = by_energy.or(said_percent) else { continue };
                let flow =
                    number("power_now").or_else(|| Some(number("current_now")? * number("voltage_now")?));
                let sign = match said("status").trim() {
                    "Discharging" => Some(1.0),
                    "Charging" => Some(-1.0),
                    "Full" | "Not charging" => Some(0.0),
                    _ => None,
                };
                let watts = flow.zip(sign).map(|(flow, sign)| flow.abs() * sign);
                cells.push(Cell { percent: percent.clamp(0.0, 100.0), full_wh: full, watts });
            }
            _ => {}
        }
    }
    Ok((mains, cells))
}

/// Is there mains, and how full is the emptiest battery?
// spec: PERM-5
pub(crate) fn mains_and_charge(folder: &Path) -> (Option<bool>, Option<u8>) {
    let (mains, cells) = look(folder).unwrap_or_default();
    let least = cells.iter().map(|cell| cell.percent).reduce(f64::min);
    (mains, least.map(|percent| percent.floor() as u8))
}

impl Source for Supplies {
    // spec: EN-1, EN-4
    fn read(&mut self, _: u64) -> Result<Observation, Trouble> {
        let failed = |error| format!("{} cannot be read: {error}", self.folder.display());
        let (on_mains, cells) = look(&self.folder).map_err(failed)?;
        if cells.is_empty() {
            return Err(format!("{} tells of no battery", self.folder.display()).into());
        }
        let mut values = Vec::new();
        let all = |part: fn(&Cell) -> Option<f64>| cells.iter().map(part).sum::<Option<f64>>();
        let count = cells.len() as f64;
        match all(|cell| cell.full_wh).filter(|full| *full > 0.0) {
            Some(full) => {
                let stored: f64 = cells.iter().map(|cell| cell.percent * cell.full_wh.unwrap_or(0.0)).sum();
                values.extend([(Field::Charge, stored / full), (Field::Capacity, full)]);
            }
            None => {
                let percent = cells.iter().map(|cell| cell.percent).sum::<f64>() / count;
                values.push((Field::Charge, percent));
            }
        }
        values.extend(all(|cell| cell.watts).map(|watts| (Field::Battery, watts)));
        Ok(Observation { values, on_mains, ..Observation::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supply(folder: &Path, name: &str, files: &[(&str, &str)]) {
        let path = folder.join(name);
        std::fs::create_dir_all(&path).unwrap();
        for (file, text) in files {
            std::fs::write(path.join(file), format!("{text}\n")).unwrap();
        }
    }

    /// Values, and whether it is on mains.
    type Values = (Vec<(Field, f64)>, Option<bool>);

    fn seen(folder: &Path) -> Result<Values, String> {
        let read = Supplies { folder: folder.to_owned() }.read(0);
        read.map(|seen| (seen.values, seen.on_mains)).map_err(|trouble| trouble.why)
    }

    // spec: EN-1, EN-4
    #[test]
    fn a_battery_is_read_by_energy_or_by_charge() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(seen(path).unwrap_err().contains("no battery"));
        supply(path, "AC", &[("type", "Mains"), ("online", "0")]);
        supply(path, "hid-mouse", &[("type", "Battery"), ("scope", "Device"), ("capacity", "3")]);
        let by_energy = [
            ("type", "Battery"),
            ("status", "Discharging"),
            ("capacity", "49"),
            ("energy_now", "25000000"),
            ("energy_full", "50000000"),
            ("power_now", "12500000"),
        ];
        supply(path, "BAT0", &by_energy);
        let values = vec![(Field::Charge, 50.0), (Field::Capacity, 50.0), (Field::Battery, 12.5)];
        assert_eq!(seen(path), Ok((values, Some(false))));
        assert_eq!(mains_and_charge(path), (Some(false), Some(50)));
        // A second one that tells charge, in µAh, and a current with a sign: 2 Ah of 4 Ah at 10 V.
        let by_charge = [
            ("type", "Battery"),
            ("status", "Charging"),
            ("charge_now", "1000000"),
            ("charge_full", "5000000"),
            ("voltage_min_design", "10000000"),
            ("voltage_now", "12000000"),
            ("current_now", "-2000000"),
        ];
        supply(path, "BAT1", &by_charge);
        let values = vec![(Field::Charge, 35.0), (Field::Capacity, 100.0), (Field::Battery, 12.5 - 24.0)];
        assert_eq!(seen(path), Ok((values, Some(false))));
        assert_eq!(mains_and_charge(path).1, Some(20), "the emptiest counts for the floor");
        supply(path, "USBC", &[("type", "USB"), ("online", "1")]);
        assert_eq!(seen(path).unwrap().1, Some(true));
    }

    // spec: EN-3, EN-4
    #[test]
    fn what_a_battery_does_not_tell_is_unknown_and_not_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        supply(path, "BAT0", &[("type", "Battery"), ("status", "Unknown"), ("capacity", "41")]);
        assert_eq!(seen(path), Ok((vec![(Field::Charge, 41.0)], None)));
        supply(path, "BAT0", &[("power_now", "7000000"), ("energy_full", "oops")]);
        assert_eq!(seen(path).unwrap().0, [(Field::Charge, 41.0)], "which way it flows is not known");
        supply(path, "BAT1", &[("type", "Battery"), ("status", "Full"), ("capacity", "100")]);
        assert_eq!(seen(path).unwrap().0, [(Field::Charge, 70.5)]);
        supply(path, "BAT2", &[("type", "Battery"), ("status", "Full")]);
        assert_eq!(seen(path).unwrap().0, [(Field::Charge, 70.5)], "one that tells nothing is none");
        assert!(seen(Path::new("/nowhere")).unwrap_err().contains("/nowhere"));
        assert_eq!(mains_and_charge(Path::new("/nowhere")), (None, None));
    }
}
