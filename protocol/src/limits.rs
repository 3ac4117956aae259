//! How much of everything a task may use.

use serde::{Deserialize, Serialize};

/// Bounds of one task. All sizes in bytes; a megabyte is 10⁶ bytes.
// spec: SBX-4, SBX-5, SBX-6
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Units of fuel over the whole task, resumed attempts included.
    pub fuel: u64,
    /// Wall-clock milliseconds, pauses not counted.
    pub duration_ms: u64,
    /// All linear memories and tables together.
    pub memory_bytes: u64,
    /// Standard input and named inputs together.
    pub input_bytes: u64,
    /// Bytes to standard output.
    pub stdout_bytes: u64,
    /// Bytes to standard error, log lines included.
    pub stderr_bytes: u64,
    /// Bytes in `/out` at any moment, and in each writable share's changes.
    pub out_bytes: u64,
    /// Files, folders and links in `/out` at any moment.
    pub out_files: u32,
    /// Bytes of the largest state a checkpoint may carry; 0 for no checkpoints.
    pub checkpoint_bytes: u64,
}

/// Fuel for one second of duration: the default of `rules.fuel_per_second`.
pub const FUEL_PER_SECOND: u64 = 10_000_000_000;

/// Bytes in a megabyte.
pub const MB: u64 = 1_000_000;

/// Most memory a task can ask for: what 32-bit wasm can address.
pub const MAX_MEMORY: u64 = 1 << 32;
/// Longest duration: four weeks, the longest any service level lets a task wait.
pub const MAX_DURATION_MS: u64 = 28 * 24 * 3600 * 1000;
/// Most files a task may have in `/out`: the tree is held in the worker's memory.
pub const MAX_OUT_FILES: u32 = 10_000;
/// Most bytes of one stream, input or folder. Large enough for any small job, small enough that sums cannot overflow.
pub const MAX_BYTES: u64 = 1 << 40;
/// Deepest path of a file that a task makes, with the name of the folder it is given: walks over its files are recursive.
pub const MAX_TREE_DEPTH: usize = 64;
/// Longest such path, in bytes: every one is held whole when files are collected.
pub const MAX_TREE_PATH: usize = 1024;
/// Longest target of a link that a task makes, short of what every system can hold.
pub const MAX_LINK_TARGET: usize = 1024;
/// Most bytes in `/out`: the places of its blocks are held in the worker's memory.
pub const MAX_OUT: u64 = 16_000 * MB;
/// Largest checkpoint state: it is held in memory while it travels.
pub const MAX_CHECKPOINT: u64 = 256 * MB;
/// Most bytes of arguments and environment together: they travel in one message.
pub const MAX_ARGS_BYTES: usize = 64 * 1024;
/// Most arguments or environment variables.
pub const MAX_ARGS: usize = 1024;

impl Limits {
    /// The fuel that goes with a duration.
    pub fn fuel_for(duration_ms: u64) -> u64 {
        (u128::from(duration_ms) * u128::from(FUEL_PER_SECOND) / 1000).min(u128::from(MAX_FUEL)) as u64
    }

    /// Of each bound the tighter one.
    // spec: SBX-10
    pub fn narrow(&self, other: &Self) -> Self {
        Self {
            fuel: self.fuel.min(other.fuel),
            duration_ms: self.duration_ms.min(other.duration_ms),
            memory_bytes: self.memory_bytes.min(other.memory_bytes),
            input_bytes: self.input_bytes.min(other.input_bytes),
            stdout_bytes: self.stdout_bytes.min(other.stdout_bytes),
            stderr_bytes: self.stderr_bytes.min(other.stderr_bytes),
            out_bytes: self.out_bytes.min(other.out_bytes),
            out_files: self.out_files.min(other.out_files),
            checkpoint_bytes: self.checkpoint_bytes.min(other.checkpoint_bytes),
        }
    }

    /// The first bound that is out of its range, by the name it has in a manifest, with the range in words.
    pub fn out_of_range(&self) -> Option<(&'static str, &'static str)> {
        let bytes = |value: u64| value <= MAX_BYTES;
        let checks = [
            (self.fuel >= 1 && self.fuel <= MAX_FUEL, "fuel", "from 1 to 2^63 - 1"),
            (self.duration_ms >= 1 && self.duration_ms <= MAX_DURATION_MS, "duration", "from 1ms to 672h"),
            (
                self.memory_bytes >= 65_536 && self.memory_bytes <= MAX_MEMORY,
                "memory",
                "from 65536 bytes to 4294967296",
            ),
            (bytes(self.input_bytes), "input", "at most 2^40 bytes"),
            (bytes(self.stdout_bytes), "stdout", "at most 2^40 bytes"),
            (bytes(self.stderr_bytes), "stderr", "at most 2^40 bytes"),
            (self.out_bytes <= MAX_OUT, "out", "at most 16GB"),
            (self.out_files <= MAX_OUT_FILES, "out_files", "at most 10000"),
            (self.checkpoint_bytes <= MAX_CHECKPOINT, "checkpoint", "at most 256MB"),
        ];
        checks.iter().find(|(fits, ..)| !fits).map(|&(_, name, range)| (name, range))
    }
}

/// Most fuel: the engine counts in signed 64 bits.
pub const MAX_FUEL: u64 = i64::MAX as u64;

/// What a task gets that asks for nothing: ten minutes and 100 MB, the share of a FREE member.
impl Default for Limits {
    fn default() -> Self {
        let duration_ms = 10 * 60 * 1000;
        Self {
            fuel: Self::fuel_for(duration_ms),
            duration_ms,
            memory_bytes: 100 * MB,
            input_bytes: 1000 * MB,
            stdout_bytes: 64 * MB,
            stderr_bytes: 16 * MB,
            out_bytes: 100 * MB,
            out_files: 1000,
            checkpoint_bytes: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SBX-4
    #[test]
    fn fuel_follows_duration() {
        assert_eq!(Limits::fuel_for(1500), 15_000_000_000);
        assert_eq!(Limits::fuel_for(u64::MAX), MAX_FUEL);
        assert_eq!(Limits::default().fuel, 600 * FUEL_PER_SECOND);
        assert_eq!(Limits::default().out_of_range(), None);
        assert_eq!(Limits { fuel: 0, ..Limits::default() }.out_of_range().unwrap().0, "fuel");
        assert_eq!(Limits { memory_bytes: 1 << 33, ..Limits::default() }.out_of_range().unwrap().0, "memory");
    }

    // spec: SBX-10
    #[test]
    fn narrowing_never_widens() {
        let tight = Limits { memory_bytes: 70_000, ..Limits::default() };
        let wide = Limits { memory_bytes: 1 << 30, duration_ms: 5, ..Limits::default() };
        let both = tight.narrow(&wide);
        assert_eq!((both.memory_bytes, both.duration_ms), (70_000, 5));
        assert_eq!(both, wide.narrow(&tight));
    }
}
