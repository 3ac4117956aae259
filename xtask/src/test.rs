//! Runs the tests and the benchmarks, with the program and the modules they need.

use crate::run::{Repo, run};
use crate::tasks::{Built, Profile, build_with};
use crate::{pure, setup};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// The same targets, and so the same features of shared dependencies, as `cargo test --workspace` builds.
const TESTED: [&str; 3] = ["--workspace", "--bins", "--tests"];

pub(crate) fn test(repo: &Repo, filters: &[String]) -> Result<()> {
    setup::setup(repo)?;
    let built = build_with(repo, Profile::Dev, &TESTED, false)?;
    pure::check(repo)?;
    let mut cargo = repo.cargo();
    cargo.args(["test", "--workspace", "--features", "xtask/mutants"]);
    if !filters.is_empty() {
        cargo.arg("--").args(filters);
    }
    run(tell(&mut cargo, &built))
}

/// Tests named `fuzz` look at random input for a second or so; here they get the time to find something.
pub(crate) fn fuzz(repo: &Repo, seconds: u32) -> Result<()> {
    let built = build_with(repo, Profile::Dev, &TESTED, false)?;
    let mut cargo = repo.cargo();
    cargo.args(["test", "--workspace", "--tests", "fuzz"]).env("MESH_FUZZ_SECONDS", seconds.to_string());
    run(tell(&mut cargo, &built))
}

/// What is measured.
#[derive(Clone, Copy)]
pub(crate) enum Bench {
    Sandbox,
    Mesh,
}

/// The test that kills peers, for as long as that takes.
// spec: LED-8
pub(crate) fn crash(repo: &Repo, kills: u32, seed: Option<u64>) -> Result<()> {
    let built = build_with(repo, Profile::Dev, &TESTED, false)?;
    let mut cargo = repo.cargo();
    cargo.args([
        "test",
        "--workspace",
        "--test",
        "main",
        "--",
        "--nocapture",
        "--include-ignored",
        "crashes::",
    ]);
    cargo.env("MESH_CRASH_KILLS", kills.to_string());
    if let Some(seed) = seed {
        cargo.env("MESH_CRASH_SEED", seed.to_string());
    }
    run(tell(&mut cargo, &built))
}

pub(crate) fn bench(repo: &Repo, what: Bench, json: Option<&str>) -> Result<()> {
    setup::setup(repo)?;
    let program = match what {
        Bench::Sandbox => "bench",
        Bench::Mesh => "bench_mesh",
    };
    let programs = [
        "--package",
        "mesh",
        "--package",
        "mesh-tests",
        "--features",
        "mesh-tests/bench",
        "--bin",
        "mesh",
        "--bin",
        program,
    ];
    let built = build_with(repo, Profile::Release, &programs, false)?;
    // Started directly: `cargo run` of one package might build the sandbox again with other features.
    let bench = repo.target.join("release").join(format!("{program}{}", std::env::consts::EXE_SUFFIX));
    let mut bench = repo.command(bench);
    if let Bench::Sandbox = what {
        bench.arg("sandbox");
    }
    if let Some(json) = json {
        bench.arg("--json").arg(repo.typed(json));
    }
    run(tell(&mut bench, &built)).context("the benchmark did not come to its end")
}

/// Needs neither `mesh` nor the tasks: it replays traces through the policies alone.
// spec: PLACE-4
pub(crate) fn carbon(
    repo: &Repo,
    data: Option<&str>,
    json: Option<&str>,
    handed_on: &[(&str, Option<String>)],
) -> Result<()> {
    let data = match data {
        Some(data) => repo.typed(data),
        None => repo.root.join("../shared/data"),
    };
    if !data.is_dir() {
        bail!(
            "there are no traces in {}; name a folder that holds carboncast/ or electricitymaps-YEAR/ with --data",
            data.display()
        );
    }
    run(repo.cargo().args(["build", "--release", "--package", "mesh-bench-carbon"]))?;
    let bench = repo.target.join("release").join(format!("bench_carbon{}", std::env::consts::EXE_SUFFIX));
    let mut bench = repo.command(bench);
    bench.arg("--data").arg(data);
    if let Some(json) = json {
        bench.arg("--json").arg(repo.typed(json));
    }
    for (option, value) in handed_on {
        bench.args(value.iter().flat_map(|value| [option, value.as_str()]));
    }
    run(&mut bench).context("not everything that the benchmark promises holds")
}

fn tell<'a>(command: &'a mut Command, built: &Built) -> &'a mut Command {
    command.env("MESH_BIN", &built.mesh).env("MESH_TASKS", &built.tasks)
}
