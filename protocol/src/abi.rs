//! The guest ABI: what a task that knows Task Mesh may import beside WASI.
//!
//! One core module, [`MODULE`]. Pointers and lengths are `i32` offsets into the guest's own memory, taken as unsigned.
//! A call returns a count or [`OK`] when it worked and one of the negative codes below when it did not; a pointer
//! outside the guest's memory traps. Every call burns fuel: a fixed part and one unit for each byte that crosses.
//!
//! | import | shape |
//! | --- | --- |
//! | `progress(permille, note_ptr, note_len) -> i32` | permille 0…1000, note UTF-8, at most [`MAX_NOTE`] bytes |
//! | `log(level, ptr, len) -> i32` | level 0 error, 1 warn, 2 info, 3 debug; UTF-8, at most [`MAX_LOG`] bytes |
//! | `checkpoint_save(ptr, len) -> i32` | state of at most the manifest's `checkpoint` bytes |
//! | `checkpoint_len() -> i32` | bytes of the state this run resumes from, [`NONE`] when it starts afresh |
//! | `checkpoint_load(ptr, len) -> i32` | copies up to `len` bytes of that state, returns how many |
//! | `should_stop() -> i32` | 1 when the host wants the task to save and end soon, else 0 |
//! | `meta(key_ptr, key_len, ptr, len) -> i32` | copies up to `len` bytes of the value, returns its whole length |
// spec: SDK-2

/// Name of the module whose functions a task imports.
pub const MODULE: &str = "mesh_v1";

/// Custom section that carries the task's manifest, as the TOML text of `task.toml`.
// spec: SDK-3
pub const MANIFEST_SECTION: &str = "mesh_manifest_v1";

/// Most bytes a manifest section may have.
pub const MAX_MANIFEST: usize = 64 * 1024;

/// The call did what it says.
pub const OK: i32 = 0;
/// There is no such thing (no checkpoint to resume from, no such meta key).
pub const NONE: i32 = -1;
/// More bytes than allowed.
pub const TOO_LARGE: i32 = -2;
/// A value out of its range (permille over 1000, unknown log level, text that is not UTF-8).
pub const INVALID: i32 = -3;
/// This run was not given what the call needs (checkpoints are off, or the task has a writable share).
pub const DENIED: i32 = -4;
/// Called more often than allowed; try again later.
pub const TOO_OFTEN: i32 = -5;

/// Most bytes in a progress note: one line on a terminal, and then some.
pub const MAX_NOTE: usize = 256;
/// Most bytes in a log line.
pub const MAX_LOG: usize = 4096;
/// Most bytes in a meta key.
pub const MAX_META_KEY: usize = 64;

/// Keys that `meta` answers: the task's id in hex, the attempt's number (1 at each that must come to the same as any
/// other), the task's name, bytes of memory allowed, and units of fuel allowed, each as text.
pub const META_KEYS: [&str; 5] = ["task_id", "attempt", "name", "memory_bytes", "fuel"];

/// Where a task finds its named inputs, read-only.
pub const INPUT_DIR: &str = "/in";
/// Where a task leaves its files.
pub const OUTPUT_DIR: &str = "/out";
/// Under which the shares granted to a task lie, each by its name.
pub const SHARE_DIR: &str = "/share";
