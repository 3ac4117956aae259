//! What the author of a Task Mesh task links.
//!
//! A task is a program of its own for `wasm32-wasip1`. One attribute makes it:
//!
//! ```ignore
//! use mesh_guest::{Context, Result};
//!
//! #[derive(serde::Deserialize)]
//! struct In { numbers: Vec<f64> }
//!
//! #[derive(serde::Serialize)]
//! struct Out { sum: f64 }
//!
//! #[mesh_guest::task]
//! fn main(ctx: &mut Context, input: In) -> Result<Out> {
//!     ctx.progress(0.5, "adding");
//!     Ok(Out { sum: input.numbers.iter().sum() })
//! }
//! ```
//!
//! - The input is read from stdin and the result written to stdout: JSON for any serde type, raw for [`Text`], [`Bytes`]
//!   and [`Stream`] ([`Input`], [`Output`]). The result is written only when the task succeeds. A task that wants to
//!   print while it works writes to [`std::io::stdout`] itself and returns `()`.
//! - Named inputs lie in [`Context::input_dir`], files to give back go to [`Context::output_dir`], a donor's shares are
//!   found with [`Context::share`]. Plain [`std::fs`] works on all of them.
//! - The exit code is the outcome: 0, or that of the [`ErrorKind`], with the message on stderr.
//! - `task.toml` beside `Cargo.toml` says what the task needs. It travels inside the module.
//!
//! `cargo test` runs the same function natively: see `testing` (not on wasm). `cargo run` does too, with
//! `./in`, `./out` and `./share` (or what `MESH_IN`, `MESH_OUT` and `MESH_SHARE` say) as its folders.
// spec: SDK-1

mod context;
mod entry;
mod error;
mod io;
#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(target_family = "wasm")]
mod raw;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use context::{Context, Level, Meta, Saved};
pub use error::{Error, ErrorKind, Result};
pub use io::{Bytes, Input, Output, Stream, Text};
pub use mesh_guest_macros::task;

/// What the attribute's expansion calls: no part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::entry::run;
    pub use mesh_protocol::abi::MAX_MANIFEST;
}
