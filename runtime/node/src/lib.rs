//! A whole peer as a state machine: what it knows, what it promised, and what it does next. No IO, no clock, no
//! randomness of its own.
//!
//! See [`Node`] for the contract between it and whoever drives it.
// spec: ARC-1, ARC-2

mod command;
mod io;

pub use command::*;
pub use io::*;
