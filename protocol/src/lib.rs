//! What Task Mesh peers, tasks and executors say to each other.
//!
//! Pure data: no IO, no clock, no randomness, no hash maps. With `default-features = false` only [`abi`] is left,
//! which is what a task links.
// spec: ARC-1

pub mod abi;

#[cfg(feature = "full")]
pub mod ad;
#[cfg(feature = "full")]
pub mod canonical;
#[cfg(feature = "full")]
pub mod checkpoint;
#[cfg(feature = "full")]
pub mod digest;
#[cfg(feature = "full")]
pub mod energy;
#[cfg(feature = "full")]
pub mod factors;
#[cfg(feature = "full")]
pub mod frame;
#[cfg(feature = "full")]
pub mod ids;
#[cfg(feature = "full")]
pub mod invite;
#[cfg(feature = "full")]
pub mod key;
#[cfg(feature = "full")]
pub mod ledger;
#[cfg(feature = "full")]
pub mod limits;
#[cfg(feature = "full")]
pub mod manifest;
#[cfg(feature = "full")]
pub mod outcome;
#[cfg(feature = "full")]
pub mod permissions;
#[cfg(feature = "full")]
pub mod profile;
#[cfg(feature = "full")]
pub mod reason;
#[cfg(feature = "full")]
pub mod receipt;
#[cfg(feature = "full")]
pub mod record;
#[cfg(feature = "full")]
pub mod rules;
#[cfg(feature = "full")]
pub mod task;
#[cfg(feature = "full")]
pub mod text;
