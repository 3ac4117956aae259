//! A whole community in one thread and virtual time. The peers are the real ones; disks, sandboxes, clocks and the
//! network are simulated, and fail as the seed says. After every event it is checked what must hold.
//!
//! Equal seeds give equal runs, so a seed that fails fails again, and can be looked at step by step.
// spec: DEL-10, DEL-11, DEL-12, DEL-13, DEL-14

mod actions;
mod bugs;
mod cheats;
mod checks;
mod civic;
mod civics;
mod clock;
mod disk;
mod driver;
mod executor;
mod hands;
mod kept;
mod known;
mod log;
mod model;
mod net;
mod peer;
mod rest;
mod rng;
pub mod scale;
mod tricks;
mod wire;
mod world;

pub use bugs::Bug;
pub use checks::Broken;

use std::collections::BTreeMap;

/// How to run a seed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// A bug on purpose.
    pub bug: Option<Bug>,
    /// Print every event as it comes.
    pub print: bool,
    /// Log in words what travels, not only that something does.
    pub words: bool,
}

/// What came of a seed.
#[derive(Debug)]
pub struct Report {
    /// Which.
    pub seed: u64,
    /// The first thing that did not hold.
    pub broken: Option<Broken>,
    /// When that was, or when the community was at rest: virtual milliseconds.
    pub virtual_ms: u64,
    /// Events applied.
    pub events: u64,
    /// Every event and what came of it.
    pub log: Vec<String>,
    /// Equal for equal runs.
    pub trace: String,
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
}

/// Runs one seed to its end, or until something does not hold.
pub fn run(seed: u64, options: &Options) -> Report {
    let mut world = world::World::new(seed, options.bug, log::Log::new(options.print, options.words));
    world.set_up();
    world.run_until(500);
    world.found();
    world.run_until(actions::SETUP_MS);
    if !world.profile.late {
        let verdict = rest::everybody_invited_is_in(&world);
        world.must(verdict);
    }
    if world.broken.is_none() {
        world.let_loose();
        world.run_until(world.now + world.profile.chaos_ms);
    }
    if world.broken.is_none() {
        world.come_to_rest();
    }
    Report {
        seed,
        broken: world.broken.take(),
        virtual_ms: world.now,
        events: world.events,
        trace: world.log.hash(),
        counts: std::mem::take(&mut world.counts),
        log: std::mem::take(&mut world.log.lines),
    }
}
