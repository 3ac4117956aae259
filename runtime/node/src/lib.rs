//! A whole peer as a state machine: what it knows, what it promised, and what it does next. No IO, no clock, no
//! randomness of its own.
//!
//! See [`Node`] for the contract between it and whoever drives it.
// spec: ARC-1, ARC-2

mod accounts;
mod assembly;
mod attempts;
mod command;
mod commands;
mod community;
mod compare;
mod conclusions;
mod crowd;
mod energy;
mod fetches;
mod forks;
mod holds;
mod io;
pub mod ledger;
mod meet;
mod moves;
mod names;
mod node;
mod owner;
mod random;
mod replicas;
mod stats;
mod views;

pub use assembly::{BallotView, ProposalView, QuotaView, ReputationView, UnseenVote, VoteView};
pub use attempts::{AttemptEvent, AttemptState};
pub use command::*;
#[doc(hidden)]
pub use community::Misbehaviour;
#[doc(hidden)]
pub use conclusions::{Conclusions, Counted};
pub use io::*;
pub use node::{Config, Counters, Node};
pub use owner::{TaskEvent, TaskState};
pub use stats::{EnergyView, MonthView, StatsView};
