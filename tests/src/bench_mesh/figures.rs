//! Figures as they are printed and written.

use crate::processes::busy;
use serde_json::{Map, Value};
use std::time::Duration;

/// What is written, and nothing else: others read it by these names.
const WRITTEN: [&str; 8] = [
    "submit_to_result_ms_p50",
    "delegations_per_s",
    "blob_vs_quinn",
    "idle50_cpu_pct",
    "idle50_rss_mib",
    "ledger_open_1m_s",
    "ledger_fold_per_s",
    "traffic_per_peer_bytes_per_s",
];
/// Percent of all cores that others may have used just before, so that a figure is worth anything.
const QUIET_PCT: f64 = 5.0;

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// Whatever it is.
    Any,
    Below(f64),
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    fn holds(self, value: f64) -> Option<bool> {
        match self {
            Self::Any => None,
            Self::Below(most) => Some(value < most),
            Self::AtMost(most) => Some(value <= most),
            Self::AtLeast(least) => Some(value >= least),
        }
    }

    fn words(self) -> String {
        match self {
            Self::Any => String::new(),
            Self::Below(most) => format!("< {most}"),
            Self::AtMost(most) => format!("<= {}", shown(most)),
            Self::AtLeast(least) => format!(">= {least}"),
        }
    }
}

pub(crate) struct Figures {
    written: Map<String, Value>,
    /// Percent of all cores that others used just before what is measured now.
    busy: f64,
    missed: Vec<String>,
    held: usize,
}

impl Figures {
    pub(crate) fn new() -> Self {
        println!("{:<72} {:>10}   target", "mesh", "measured");
        Self { written: Map::new(), busy: 0.0, missed: Vec::new(), held: 0 }
    }

    /// Begins a part: looks how busy the machine is before this adds to it.
    pub(crate) fn part(&mut self, name: &str) {
        self.busy = busy();
        let word = if self.busy > QUIET_PCT { "; what follows is slower than it could be" } else { "" };
        println!("\n{name}: others use {:.0} % of this machine's cores{word}", self.busy);
    }

    /// Prints a figure beside its target, and keeps it under `key`.
    pub(crate) fn put(&mut self, key: &str, what: &str, value: f64, target: Target) {
        self.print(what, value, target);
        if WRITTEN.contains(&key) {
            self.written.insert(key.into(), value.into());
        }
    }

    /// The same of a community of so many peers.
    pub(crate) fn put_of(&mut self, key: &str, peers: usize, what: &str, value: f64, target: Target) {
        self.print(what, value, target);
        if WRITTEN.contains(&key) {
            let by_number = self.written.entry(key).or_insert_with(|| Value::Object(Map::new()));
            by_number[peers.to_string()] = value.into();
        }
    }

    fn print(&mut self, what: &str, value: f64, target: Target) {
        let verdict = match target.holds(value) {
            None => String::new(),
            Some(true) => {
                self.held += 1;
                "   pass".to_owned()
            }
            Some(false) => {
                let busy = if self.busy > QUIET_PCT { " on a busy machine" } else { "" };
                self.missed.push(format!("{}: {} ({}){busy}", what.trim(), shown(value), target.words()));
                format!("   FAIL{busy}")
            }
        };
        let line = format!("{what:<72} {:>10}   {}{verdict}", shown(value), target.words());
        println!("{}", line.trim_end());
    }

    /// Says which targets were missed.
    pub(crate) fn sum_up(&self) {
        println!("\n{} targets held, {} missed", self.held, self.missed.len());
        for missed in &self.missed {
            println!("  {missed}");
        }
    }

    pub(crate) fn write(&self, file: &str) {
        std::fs::write(file, serde_json::to_string_pretty(&self.written).unwrap() + "\n").unwrap();
        println!("wrote {file}");
    }
}

fn shown(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// A word on how what follows is measured.
pub(crate) fn note(text: &str) {
    println!("-- {text}");
}

pub(crate) fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
