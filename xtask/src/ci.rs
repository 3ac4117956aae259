//! Everything that must hold before a change is merged.

use crate::run::{Repo, find_program, output_of, run, run_within, say, took};
use crate::test;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const CARGO_DENY: &str = "0.20.2";
/// Where rustup's server is out of reach it is often not refused but never answered.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);
/// The database is a few MB.
const ADVISORIES_LIMIT: Duration = Duration::from_secs(90);
/// A change should not find out by fuzzing what nobody has found in weeks; this is a look, not a hunt.
const FUZZ_SECONDS: u32 = 30;

type Step = (&'static str, fn(&Repo) -> Result<()>);

/// The quick ones first. What is compiled for one is there for the next: the test build is that of `fuzz`, and the
/// documentation needs of the dependencies no more than clippy does.
const STEPS: [Step; 7] = [
    ("format", format),
    ("clippy", clippy),
    ("documentation", documentation),
    ("dependencies", dependencies),
    ("advisories", advisories),
    ("test", |repo| test::test(repo, &[])),
    ("fuzz", |repo| test::fuzz(repo, FUZZ_SECONDS)),
];

pub(crate) fn ci(repo: &Repo) -> Result<()> {
    let begun = Instant::now();
    for (name, step) in STEPS {
        let step_begun = Instant::now();
        say(format_args!("\n== {name}"));
        step(repo).with_context(|| format!("the step {name:?} failed after {}", took(step_begun)))?;
        say(format_args!("== {name}: done in {}", took(step_begun)));
    }
    say(format_args!("\n== All steps done in {}", took(begun)));
    Ok(())
}

fn format(repo: &Repo) -> Result<()> {
    let has = |tool: &str| output_of(repo.cargo().args([tool, "--version"])).is_some();
    if !(has("fmt") && has("clippy")) && find_program("rustup").is_some() {
        say("rustfmt or clippy is not there: adding them with rustup");
        run_within(repo.command("rustup").args(["component", "add", "rustfmt", "clippy"]), RUSTUP_LIMIT)
            .context("rustfmt and clippy are needed; type `rustup component add rustfmt clippy`")?;
    }
    run(repo.cargo().args(["fmt", "--all", "--check"])).context("`cargo fmt --all` puts the code in shape")
}

fn clippy(repo: &Repo) -> Result<()> {
    let mut cargo = repo.cargo();
    cargo.args(["clippy", "--workspace", "--all-targets", "--features", "xtask/mutants"]);
    run(cargo.args(["--", "-D", "warnings"]))
}

fn documentation(repo: &Repo) -> Result<()> {
    run(repo.cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn dependencies(repo: &Repo) -> Result<()> {
    let deny = cargo_deny(repo)?;
    // Who needs a doubled crate, `cargo tree --duplicates` says in fewer lines.
    run(repo.command(deny).args([
        "--workspace",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]))
    .context("deny.toml says what is allowed; an exception takes a reason and a date")
}

fn advisories(repo: &Repo) -> Result<()> {
    let deny = cargo_deny(repo)?;
    // Being offline is no fault of the change, so that alone is forgiven.
    if let Err(error) = run_within(repo.command(&deny).args(["fetch", "db"]), ADVISORIES_LIMIT) {
        say(format_args!("advisories not checked: the database cannot be fetched ({error:#})"));
        return Ok(());
    }
    run(repo.command(deny).args(["--workspace", "check", "--disable-fetch", "advisories"]))
}

/// The installed one, else one of our own.
fn cargo_deny(repo: &Repo) -> Result<PathBuf> {
    if let Some(installed) = find_program("cargo-deny") {
        return Ok(installed);
    }
    let tools = repo.target.join("tools");
    let own = tools.join("bin").join(format!("cargo-deny{}", std::env::consts::EXE_SUFFIX));
    let is_pinned = |version: String| version.split_whitespace().any(|word| word == CARGO_DENY);
    if output_of(repo.command(&own).arg("--version")).is_some_and(is_pinned) {
        return Ok(own);
    }
    say("cargo-deny is not there: building it");
    let mut install = repo.cargo();
    install.args(["install", "cargo-deny", "--locked", "--version", CARGO_DENY, "--root"]).arg(&tools);
    // It runs for a second: optimising it would take far longer than it ever saves.
    install.args(["--debug", "--force"]).env("CARGO_PROFILE_DEV_DEBUG", "0");
    // Without a target folder cargo uses a temporary one, and nothing of its 1 GB stays.
    run(install.env_remove("CARGO_TARGET_DIR"))?;
    if !own.is_file() {
        bail!("cargo-deny was installed, but is not at {}", own.display());
    }
    Ok(own)
}
