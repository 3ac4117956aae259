//! `cargo xtask`: what is done to Task Mesh rather than with it.

mod ci;
mod demo;
mod foreign;
#[cfg(feature = "mutants")]
mod mutants;
mod pure;
mod run;
mod setup;
mod sim;
mod tasks;
mod test;
mod wasm;

use anyhow::{Result, bail};
use run::{Repo, say};
use std::process::ExitCode;
use tasks::Profile;
use test::Bench;

const HELP: &str = "\
What is done to Task Mesh rather than with it.

Usage: cargo xtask COMMAND [OPTIONS]

Commands:
  setup                            Install what building everything takes. May be run again at any time
  build-tasks [--release] [--force]
                                   Build `mesh`, the tasks and the test modules into target/tasks/;
                                   --force also those that are up to date
  test [FILTER...]                 Set up, build the tasks, check the pure crates, run the tests
                                   whose name contains a FILTER (all of them without one)
  fuzz [--seconds N]               Run the fuzz tests for N seconds each (60 without --seconds)
  crash [--kills N] [--seed S]     Kill peers that work for each other, N times (1000), and check that what they
                                   acknowledged was done once. Prints its seed, with which whom it kills and how
                                   long it waits is the same again
  bench sandbox [--json FILE]      Measure the sandbox in a release build; --json writes the figures too
  bench mesh [--json FILE]         The same for peers, transport and ledger. The first time it makes a ledger
                                   of a million entries, 1 GB in target/bench-ledger/
  bench carbon [--data DIR] [--json FILE] [--only PART | --seeds N]
                                   Replay recorded carbon intensity and compare when and where work is run with what
                                   others do. Without --data it takes ../shared/data, seen from the workspace. --only
                                   runs published, when, places, year, community or scale; --seeds the weeks of places
                                   with N times other jobs
  sim [--seeds N] [--from K]       Run N seeds (1000) of the simulator, from seed K (0) on, in a release build
  sim replay SEED                  Run one seed and print every event and what came of it
  sim bugs [--seeds N]             Switch on one bug after the other and look which check notices, over N seeds (400) each
  mutants [SET] [--one-of N]       Break the code of policies, protocol and node (or of SET alone) on purpose, in all places
                                   of policies and protocol and in one of 4 of node, or of N, and count what no test
                                   notices; fails above 5 % (10 %). Takes cargo-mutants, and an hour
  demo [--speed N]                 Show a community of three at work over two recorded days of sun, wind and grid, in a
                                   release build, in two minutes; --speed 1440 is an hour in 2.5 s. Leaves nothing
  demo sandbox                     Run three example tasks visibly, in a release build. Leaves target/demo/
  ci                               Everything that must hold before a change is merged; what .ci/run calls
  help                             Print this

Environment:
  CARGO_TARGET_DIR                 Where everything is built (target/ without it)
  WASI_SDK_PATH                    A WASI SDK whose clang compiles the C test modules (Debian's clang without it)

Exit code: 0 done, 1 failed, 2 wrong usage.
";

enum Command {
    Help,
    Setup,
    BuildTasks { profile: Profile, force: bool },
    Test { filters: Vec<String> },
    Fuzz { seconds: u32 },
    Crash { kills: u32, seed: Option<u64> },
    Bench { what: Bench, json: Option<String> },
    Carbon { data: Option<String>, json: Option<String>, only: Option<String>, seeds: Option<String> },
    Sim(sim::Sim),
    Mutants { one_of: Option<u64>, only: Option<String> },
    Demo { speed: Option<String> },
    DemoSandbox,
    Ci,
}

fn main() -> ExitCode {
    let command = match parse(std::env::args().skip(1).collect()) {
        Ok(command) => command,
        Err(error) => {
            eprintln!("error: {error:#}\nhint: `cargo xtask help` lists the commands");
            return ExitCode::from(2);
        }
    };
    match execute(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: Vec<String>) -> Result<Command> {
    if args.is_empty() || args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--help" || arg == "-h")
    {
        return Ok(Command::Help);
    }
    let mut args = args.into_iter();
    let name = args.next().unwrap_or_default();
    let mut rest: Vec<String> = args.collect();
    let command = match name.as_str() {
        "help" => Command::Help,
        "setup" => Command::Setup,
        "build-tasks" => {
            let profile = if take_flag(&mut rest, "--release") { Profile::Release } else { Profile::Dev };
            Command::BuildTasks { profile, force: take_flag(&mut rest, "--force") }
        }
        "test" => {
            let filters: Vec<String> = rest.drain(..).filter(|arg| arg != "--").collect();
            Command::Test { filters }
        }
        "fuzz" => {
            let seconds = match take_value(&mut rest, "--seconds")? {
                None => 60,
                Some(text) => match text.parse() {
                    Ok(seconds) => seconds,
                    Err(_) => bail!("--seconds takes a whole number, not {text:?}"),
                },
            };
            Command::Fuzz { seconds }
        }
        "crash" => {
            let mut number = |option: &str| match take_value(&mut rest, option)? {
                None => Ok(None),
                Some(text) => match text.parse() {
                    Ok(number) => Ok(Some(number)),
                    Err(_) => bail!("{option} takes a whole number, not {text:?}"),
                },
            };
            let kills = number("--kills")?.unwrap_or(1000);
            let Ok(kills) = u32::try_from(kills) else {
                bail!("--kills takes a smaller number than {kills}")
            };
            Command::Crash { kills, seed: number("--seed")? }
        }
        "bench" => {
            let json = take_value(&mut rest, "--json")?;
            if rest.first().map(String::as_str) == Some("carbon") {
                let data = take_value(&mut rest, "--data")?;
                let only = take_value(&mut rest, "--only")?;
                let seeds = take_value(&mut rest, "--seeds")?;
                rest.remove(0);
                return match rest.first() {
                    None => Ok(Command::Carbon { data, json, only, seeds }),
                    Some(extra) => bail!("bench carbon does not take {extra:?}"),
                };
            }
            let what = match rest.first().map(String::as_str) {
                Some("sandbox") => Bench::Sandbox,
                Some("mesh") => Bench::Mesh,
                _ => bail!(
                    "bench needs to be told what to measure: `cargo xtask bench sandbox`, `bench mesh` or \
                     `bench carbon`"
                ),
            };
            rest.remove(0);
            Command::Bench { what, json }
        }
        "sim" => Command::Sim(sim::parse(&mut rest)?),
        "mutants" => {
            let one_of = match take_value(&mut rest, "--one-of")? {
                None => None,
                Some(text) => match text.parse() {
                    Ok(one_of) if one_of > 0 => Some(one_of),
                    _ => bail!("--one-of takes a whole number above 0, not {text:?}"),
                },
            };
            Command::Mutants { one_of, only: rest.pop() }
        }
        "demo" if rest.first().is_some_and(|what| what == "sandbox") => {
            rest.remove(0);
            Command::DemoSandbox
        }
        "demo" => Command::Demo { speed: take_value(&mut rest, "--speed")? },
        "ci" => Command::Ci,
        other => bail!("there is no command {other:?}"),
    };
    match rest.first() {
        None => Ok(command),
        Some(extra) => bail!("{name} does not take {extra:?}"),
    }
}

fn take_flag(args: &mut Vec<String>, flag: &str) -> bool {
    let before = args.len();
    args.retain(|arg| arg != flag);
    args.len() < before
}

fn take_value(args: &mut Vec<String>, option: &str) -> Result<Option<String>> {
    let Some(at) = args.iter().position(|arg| arg == option) else { return Ok(None) };
    if at + 1 == args.len() {
        bail!("{option} needs a value");
    }
    args.remove(at);
    Ok(Some(args.remove(at)))
}

fn execute(command: Command) -> Result<()> {
    if let Command::Help = command {
        say(HELP.trim_end());
        return Ok(());
    }
    let repo = Repo::find()?;
    match command {
        Command::Help => Ok(()),
        Command::Setup => setup::setup(&repo),
        Command::BuildTasks { profile, force } => tasks::build(&repo, profile, force).map(drop),
        Command::Test { filters } => test::test(&repo, &filters),
        Command::Fuzz { seconds } => test::fuzz(&repo, seconds),
        Command::Bench { what, json } => test::bench(&repo, what, json.as_deref()),
        Command::Carbon { data, json, only, seeds } => {
            test::carbon(&repo, data.as_deref(), json.as_deref(), &[("--only", only), ("--seeds", seeds)])
        }
        Command::Crash { kills, seed } => test::crash(&repo, kills, seed),
        Command::Sim(sim) => sim::sim(&repo, &sim),
        #[cfg(feature = "mutants")]
        Command::Mutants { one_of, only } => mutants::mutants(&repo, one_of, only.as_deref()),
        // It reads code, and no other command should have to be built with what that takes.
        #[cfg(not(feature = "mutants"))]
        Command::Mutants { one_of, only } => {
            let mut cargo = repo.cargo();
            cargo.args(["run", "--quiet", "--package", "xtask", "--features", "mutants", "--", "mutants"]);
            cargo.args(only).args(one_of.iter().flat_map(|it| ["--one-of".to_owned(), it.to_string()]));
            run::run(&mut cargo)
        }
        Command::Demo { speed } => demo::community(&repo, speed.as_deref()),
        Command::DemoSandbox => demo::sandbox(&repo),
        Command::Ci => ci::ci(&repo),
    }
}
