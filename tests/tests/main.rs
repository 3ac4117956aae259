//! What untrusted modules try against the sandbox, through the program that people use.
//!
//! Needs `mesh` beside this binary or named by `MESH_BIN`. Nothing here knows the sandbox's insides: what holds, holds
//! for whoever replaces them.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod assembly;
mod attacks;
mod cache;
mod checkpoints;
mod control;
mod crashes;
mod folders;
mod journeys;
mod keys;
mod limits;
mod many;
mod modules;
mod moves;
mod names;
mod namespaces;
mod networks;
mod peers;
mod replicas;
mod sources;
mod street;
mod support;
