//! How much energy does a running task use here? Read from the processor's own counters by the task's part of its time,
//! or modelled from that time where there are none.
//!
//! The counters are those of whole packages: what is nested in them, or counts them again, is left out. A part of the
//! energy of an idle machine goes to whatever runs on it.
// spec: CO2-1

mod counters;

use counters::{Counters, busy_us, cpu_us};
use mesh_node::{Metering, SAMPLE_MS, Sample};
use mesh_protocol::energy::How;
use mesh_protocol::frame::AttemptId;
use mesh_protocol::receipt::Usage;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Watts of a thread of an unknown processor (CodeCarbon's value).
const WATTS_PER_THREAD: f64 = 4.0;
/// Shorter than this the system's own count of busy time, in hundredths of a second, is no measure.
const SHORTEST: Duration = Duration::from_millis(100);
/// Longer than this a counter may have gone round: at a kilowatt the smallest holds for four minutes.
const LONGEST: Duration = Duration::from_secs(200);
/// More watts than this no processor draws: the counter was reset, or has just become readable.
const MOST_WATTS: f64 = 2_000.0;
/// Most samples kept of one run; of more, two and two become one. A day at the usual pace is eight times that.
const MAX_SAMPLES: usize = 1_024;
/// By how much each way of knowing may be wrong, in percent: the share of a package by CPU time, watts that the owner
/// gave, watts of an unknown processor.
const UNCERTAIN: [u8; 3] = [20, 40, 75];

/// Where a meter reads.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// As `/sys/class/powercap`.
    pub(crate) counters: PathBuf,
    /// As `/proc`.
    pub(crate) proc: PathBuf,
    /// Watts of the processor at full load, as its owner knows them.
    pub(crate) watts: Option<u32>,
    /// Threads of the processor.
    pub(crate) threads: usize,
}

impl Place {
    pub(crate) fn here(watts: Option<u32>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { counters: "/sys/class/powercap".into(), proc: "/proc".into(), watts, threads }
    }

    /// Watts of one of its threads at full load.
    pub(crate) fn watts_per_thread(&self) -> f64 {
        self.watts.map_or(WATTS_PER_THREAD, |watts| f64::from(watts) / self.threads.max(1) as f64)
    }

    /// Watts that one of so many tasks at once draws: its part of the processor's, and no less than a thread's.
    // spec: PLACE-1, SLA-4
    pub(crate) fn watts_per_slot(&self, slots: u16) -> f64 {
        let threads = f64::from(u32::try_from(self.threads).unwrap_or(u32::MAX));
        self.watts_per_thread() * (threads / f64::from(slots.max(1))).max(1.0)
    }
}

/// Watts as they are advertised: whole ones, of which there is at least one and no more than any task draws.
pub(crate) fn whole_watts(watts: f64) -> u16 {
    watts.round().clamp(1.0, mesh_protocol::energy::MAX_WATTS as f64) as u16
}

/// One run.
#[derive(Debug)]
struct Gauge {
    pid: u32,
    counters: Counters,
    busy_us: Option<u64>,
    /// CPU time of the worker when the run began, and what of the run's was counted.
    cpu_before: Option<u64>,
    counted_us: u64,
    at: Instant,
    at_ms: u64,
    samples: Vec<Sample>,
    /// Microjoules that are no whole millijoule yet.
    rest_uj: u64,
    measured_uj: u64,
    modelled_uj: u64,
}

/// All runs of this device.
#[derive(Debug)]
pub(crate) struct Meter {
    place: Place,
    live: Mutex<BTreeMap<AttemptId, Gauge>>,
}

impl Meter {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, live: Mutex::default() }
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<AttemptId, Gauge>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker begins to compute for an attempt.
    pub(crate) fn begin(&self, attempt: AttemptId, pid: u32, now_ms: u64) {
        let gauge = Gauge {
            pid,
            counters: Counters::read(&self.place.counters),
            busy_us: busy_us(&self.place.proc),
            cpu_before: cpu_us(&self.place.proc, pid),
            counted_us: 0,
            at: Instant::now(),
            at_ms: now_ms,
            samples: Vec::new(),
            rest_uj: 0,
            measured_uj: 0,
            modelled_uj: 0,
        };
        self.live().insert(attempt, gauge);
    }

    /// What each run used so far.
    pub(crate) fn sample(&self, now_ms: u64) -> Vec<(AttemptId, Metering)> {
        let mut live = self.live();
        let read = live.iter_mut().map(|(attempt, gauge)| {
            let cpu = cpu_us(&self.place.proc, gauge.pid).zip(gauge.cpu_before);
            if let Some((now, before)) = cpu {
                gauge.step(&self.place, now.saturating_sub(before), now_ms);
            }
            (*attempt, gauge.metering(&self.place))
        });
        read.collect()
    }

    /// A run is over, and its worker said what it used, or did not. None if it never began.
    // spec: CO2-1, DEL-13
    pub(crate) fn end(&self, attempt: AttemptId, usage: Option<&Usage>, now_ms: u64) -> Option<Metering> {
        let mut gauge = self.live().remove(&attempt)?;
        // Of a killed worker it is not known: what was read last stands.
        let told = usage.filter(|usage| usage.cpu_us > 0 || !usage.estimated);
        if let Some(usage) = told {
            gauge.step(&self.place, usage.cpu_us.max(gauge.counted_us), now_ms);
        }
        let mut metering = gauge.metering(&self.place);
        metering.estimated = usage.is_none_or(|usage| usage.estimated);
        Some(metering)
    }
}

impl Gauge {
    /// The run has used so much CPU time up to now.
    fn step(&mut self, place: &Place, cpu_us: u64, now_ms: u64) {
        let passed = self.at.elapsed();
        let used_us = cpu_us.saturating_sub(self.counted_us);
        let counters = Counters::read(&place.counters);
        let busy = busy_us(&place.proc);
        let package = counters.since(&self.counters);
        let all = busy.zip(self.busy_us).map(|(now, before)| now.saturating_sub(before));
        let measured =
            package.zip(all).and_then(|(package_uj, all_us)| part(package_uj, used_us, all_us, passed));
        let uj = match measured {
            Some(uj) => {
                self.measured_uj = self.measured_uj.saturating_add(uj);
                uj
            }
            None => {
                let uj = (used_us as f64 * place.watts_per_thread()) as u64;
                self.modelled_uj = self.modelled_uj.saturating_add(uj);
                uj
            }
        };
        let whole = self.rest_uj.saturating_add(uj);
        self.rest_uj = whole % 1000;
        let ms = now_ms.saturating_sub(self.at_ms);
        self.samples.push(Sample { from_ms: self.at_ms, ms, energy_mj: whole / 1000 });
        if self.samples.len() > MAX_SAMPLES {
            self.samples = halved(&self.samples);
        }
        (self.counters, self.busy_us, self.counted_us) = (counters, busy, cpu_us);
        (self.at, self.at_ms) = (Instant::now(), self.at_ms.saturating_add(ms));
    }

    fn metering(&self, place: &Place) -> Metering {
        // It is measured only if nearly all of it was.
        let (measured, all) = (self.measured_uj, self.measured_uj.saturating_add(self.modelled_uj));
        let (how, uncertainty_percent) = match () {
            () if self.samples.is_empty() => (How::Unmeasured, 0),
            () if measured >= all / 10 * 9 && measured > 0 => (How::Measured, UNCERTAIN[0]),
            () if place.watts.is_some() => (How::Modelled, UNCERTAIN[1]),
            () => (How::Modelled, UNCERTAIN[2]),
        };
        let mut samples = self.samples.clone();
        if how != How::Unmeasured
            && let Some(last) = samples.last_mut()
        {
            // Whatever computed used something.
            last.energy_mj = last.energy_mj.max(u64::from(all > 0 && self.rest_uj >= 500));
        }
        Metering { how, uncertainty_percent, samples, estimated: false }
    }
}

/// A task's part of what all packages used, in microjoule; none where that cannot be right.
fn part(package_uj: u64, used_us: u64, all_us: u64, passed: Duration) -> Option<u64> {
    if passed < SHORTEST || passed > LONGEST || all_us == 0 {
        return None;
    }
    let watts = package_uj as f64 / passed.as_micros() as f64;
    // Two clocks: the task's own may be a little ahead of the whole machine's.
    let all_us = all_us.max(used_us);
    (watts <= MOST_WATTS).then(|| (u128::from(package_uj) * u128::from(used_us) / u128::from(all_us)) as u64)
}

fn halved(samples: &[Sample]) -> Vec<Sample> {
    let both = |pair: &[Sample]| {
        let (first, last) = (pair[0], pair[pair.len() - 1]);
        let ms = last.from_ms + last.ms - first.from_ms;
        Sample { from_ms: first.from_ms, ms, energy_mj: pair.iter().map(|sample| sample.energy_mj).sum() }
    };
    samples.chunks(2).map(both).collect()
}

/// Between two readings.
pub(crate) const EVERY: Duration = Duration::from_millis(SAMPLE_MS);

#[cfg(test)]
mod tests;
