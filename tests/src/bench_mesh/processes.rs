//! What the system says of processes.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Seconds of CPU time of a process with all its children, those that ended included.
pub(crate) fn cpu_s(pid: u32) -> f64 {
    // Threads of the waited-for children come with their parent's third and fourth number.
    let of = |pid: u32, numbers: usize| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').skip(11).take(numbers));
        fields.into_iter().flatten().filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
    };
    let ticks = of(pid, 4) + children(pid).into_iter().map(|child| of(child, 4)).sum::<f64>();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// The living descendants of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let parent_of = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parents: BTreeMap<u32, u32> = pids.filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

/// MiB in physical memory, those shared with others included.
pub(crate) fn rss_mib(pid: u32) -> f64 {
    line_mib(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// MiB in physical memory, shared ones in parts.
pub(crate) fn pss_mib(pid: u32) -> f64 {
    line_mib(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

fn line_mib(file: &str, name: &str) -> f64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap_or_default() / 1024.0
}

/// Percent of all cores that somebody uses while this waits for a second.
pub(crate) fn busy() -> f64 {
    let times = || -> (f64, f64) {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let of_all = text.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = of_all.split_whitespace().skip(1).filter_map(|it| it.parse().ok()).collect();
        // Idle, and waiting for the disk.
        let idle: f64 = ticks.iter().skip(3).take(2).sum();
        (ticks.iter().take(8).sum(), idle)
    };
    let before = times();
    std::thread::sleep(Duration::from_secs(1));
    let after = times();
    let all = after.0 - before.0;
    (all - (after.1 - before.1)) / all.max(1.0) * 100.0
}

/// Seconds of CPU time of this thread.
pub(crate) fn thread_cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
