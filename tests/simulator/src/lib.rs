//! Many peers in one thread, in virtual time, with faults that a seed chooses.
//!
//! Each peer is the real node behind a simulated disk, executor and network. After every event the checks of
//! [`checks`] look at all of it; after the faults have healed everything must come to rest. One seed gives one run,
//! always the same.
// spec: DEL-10, DEL-11, DEL-12, DEL-14

mod chaos;
pub mod checks;
mod disk;
mod random;
mod tasks;
mod wire;
mod world;

pub use world::{Bug, Run, run};
