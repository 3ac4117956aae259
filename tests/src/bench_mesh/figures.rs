//! Figures as they are printed and written.

use serde_json::{Map, Value};
use std::time::Duration;

pub(crate) struct Figures(Map<String, Value>);

impl Figures {
    pub(crate) fn new() -> Self {
        println!("{:<72} {:>10}   target", "mesh", "measured");
        Self(Map::new())
    }

    /// Prints a figure beside its target, and keeps it under `key`.
    pub(crate) fn put(&mut self, key: &str, what: &str, value: f64, target: &str) {
        let digits = match value.abs() {
            100.0.. => 0,
            10.0.. => 1,
            _ => 2,
        };
        println!("{what:<72} {value:>10.digits$}   {target}");
        self.0.insert(key.into(), value.into());
    }

    pub(crate) fn write(&self, file: &str) {
        std::fs::write(file, serde_json::to_string_pretty(&self.0).unwrap() + "\n").unwrap();
        println!("wrote {file}");
    }
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
