//! The counters of processors and processes, as Linux shows them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Each package's counter in microjoule, and where it begins again from 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counters(BTreeMap<String, (u64, u64)>);

impl Counters {
    /// Those that can be read. Only root may on most systems, and then there are none, which is not 0.
    pub(super) fn read(root: &Path) -> Self {
        let mut packages = BTreeMap::new();
        for zone in fs::read_dir(root).into_iter().flatten().flatten() {
            let folder = zone.path();
            let number = |name: &str| -> Option<u64> {
                fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()
            };
            let Ok(name) = fs::read_to_string(folder.join("name")) else { continue };
            // `psys` holds packages, `core`, `uncore` and `dram` lie beneath them.
            let name = name.trim();
            if !name.starts_with("package-") {
                continue;
            }
            if let (Some(energy), Some(range)) = (number("energy_uj"), number("max_energy_range_uj")) {
                // The same package shows up under the bus and under memory: once is enough.
                packages.entry(name.to_owned()).or_insert((energy, range));
            }
        }
        Self(packages)
    }

    /// What all packages used since; none if one of them cannot be read, or came since.
    pub(super) fn since(&self, before: &Self) -> Option<u64> {
        if self.0.is_empty() || !self.0.keys().eq(before.0.keys()) {
            return None;
        }
        let used = |(name, (now, range)): (&String, &(u64, u64))| {
            let (before, _) = before.0.get(name)?;
            // It has gone round once.
            now.checked_sub(*before).or_else(|| now.checked_add(range.checked_sub(*before)?))
        };
        self.0.iter().map(used).try_fold(0, |sum: u64, used| sum.checked_add(used?))
    }
}

/// Microseconds of a tick in which Linux counts time: hundredths of a second on every system there is.
fn tick_us() -> u64 {
    1_000_000 / rustix::param::clock_ticks_per_second().max(1)
}

/// Microseconds for which all processors together were busy.
pub(super) fn busy_us(proc: &Path) -> Option<u64> {
    let text = fs::read_to_string(proc.join("stat")).ok()?;
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    // user, nice, system; idle and waiting left out; then interrupts and what the host took.
    let busy = [0, 1, 2, 5, 6, 7].iter().map(|at| ticks.get(*at).copied().unwrap_or(0)).sum::<u64>();
    (ticks.len() > 3).then_some(busy * tick_us())
}

/// Microseconds of CPU time of a process; none if it is gone.
pub(super) fn cpu_us(proc: &Path, pid: u32) -> Option<u64> {
    let text = fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?;
    // The name in parentheses may hold anything; what follows does not.
    let mut fields = text.rsplit_once(") ")?.1.split(' ').skip(11).map(|word| word.parse::<u64>().ok());
    Some((fields.next()?? + fields.next()??) * tick_us())
}
