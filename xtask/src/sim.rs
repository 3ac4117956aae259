//! Runs seeds of the simulator in a release build.
// spec: DEL-10

use crate::run::{Repo, run};
use anyhow::{Context, Result, bail};

/// What is wanted of the simulator.
pub(crate) enum Sim {
    /// So many seeds, from this one on.
    Seeds {
        /// How many.
        seeds: u64,
        /// The first.
        from: u64,
    },
    /// One seed, step by step.
    Replay(u64),
    /// Every bug on purpose, over at most so many seeds each.
    Bugs {
        /// How many.
        seeds: u64,
    },
}

/// What stands behind `cargo xtask sim`.
pub(crate) fn parse(rest: &mut Vec<String>) -> Result<Sim> {
    if rest.first().map(String::as_str) == Some("replay") {
        if rest.len() < 2 {
            bail!("sim replay needs a seed");
        }
        let seed = number("sim replay", &rest.remove(1))?;
        rest.remove(0);
        return Ok(Sim::Replay(seed));
    }
    let bugs = rest.first().map(String::as_str) == Some("bugs");
    if bugs {
        rest.remove(0);
    }
    let mut option = |name: &str, default: u64| match crate::take_value(rest, name)? {
        None => Ok(default),
        Some(text) => number(name, &text),
    };
    if bugs {
        return Ok(Sim::Bugs { seeds: option("--seeds", 400)? });
    }
    Ok(Sim::Seeds { seeds: option("--seeds", 1000)?, from: option("--from", 0)? })
}

fn number(what: &str, text: &str) -> Result<u64> {
    text.parse().with_context(|| format!("{what} takes a whole number, not {text:?}"))
}

pub(crate) fn sim(repo: &Repo, sim: &Sim) -> Result<()> {
    run(repo.cargo().args(["build", "--release", "--package", "mesh-tests", "--bin", "sim"]))?;
    // Started directly, so that its last line is the last.
    let program = repo.target.join("release").join(format!("sim{}", std::env::consts::EXE_SUFFIX));
    let mut program = repo.command(program);
    match sim {
        Sim::Seeds { seeds, from } => {
            program.args(["--counts", "--seeds", &seeds.to_string(), "--from", &from.to_string()]);
        }
        Sim::Replay(seed) => {
            program.args(["replay", &seed.to_string()]);
        }
        Sim::Bugs { seeds } => {
            program.args(["bugs", "--seeds", &seeds.to_string()]);
            return run(&mut program).context("a bug was not caught");
        }
    }
    run(&mut program).context("a seed failed")
}
