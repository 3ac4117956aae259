//! Runs seeds of the simulator: `sim --seeds N [--from K]`, `sim replay SEED`, or `sim bugs`, which switches bugs on and
//! looks whether a check notices.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use mesh_tests::sim::{Bug, Options, Report, run};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

const USAGE: &str = "usage: sim [--seeds N] [--from K] [--bug NAME] [--counts] | sim replay SEED [--bug NAME] | sim bugs [--seeds N] [--from K]";

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(Wish { replay: Some(seed), bug, .. }) => {
            let report = run(seed, &Options { bug, print: true, words: true });
            println!("{}", verdict(&report));
            exit(report.broken.is_none())
        }
        Ok(wish) if wish.bugs => exit(all_are_caught(&wish)),
        Ok(wish) => exit(run_all(&wish)),
        Err(why) => {
            eprintln!("error: {why}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn exit(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Wish {
    from: u64,
    seeds: u64,
    counts: bool,
    bug: Option<Bug>,
    bugs: bool,
    replay: Option<u64>,
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Wish, String> {
    let mut wish = Wish { seeds: 100, ..Wish::default() };
    while let Some(arg) = args.next() {
        let mut number = || {
            let text = args.next().ok_or_else(|| format!("{arg} needs a number"))?;
            text.parse::<u64>().map_err(|_| format!("{arg} needs a number, not {text:?}"))
        };
        match arg.as_str() {
            "--seeds" => wish.seeds = number()?,
            "--from" => wish.from = number()?,
            "replay" => wish.replay = Some(number()?),
            "--counts" => wish.counts = true,
            "bugs" => wish.bugs = true,
            "--bug" => {
                let name = args.next().unwrap_or_default();
                let known = Bug::ALL.into_iter().find(|bug| bug.name() == name);
                wish.bug = Some(known.ok_or_else(|| {
                    format!("there is no bug {name:?}, only {}", Bug::ALL.map(Bug::name).join(", "))
                })?);
            }
            other => return Err(format!("{other:?} is not understood")),
        }
    }
    Ok(wish)
}

/// Every bug, each over as many seeds as it takes until a check notices that does not notice anything without it.
fn all_are_caught(wish: &Wish) -> bool {
    let next = AtomicU64::new(0);
    let missed = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(bug) = Bug::ALL.get(next.fetch_add(1, Ordering::Relaxed) as usize).copied() {
                    let seeds = wish.from..wish.from.saturating_add(wish.seeds);
                    let caught = seeds.clone().find_map(|seed| {
                        let broken = run(seed, &Options { bug: Some(bug), ..Options::default() }).broken?;
                        // A seed that fails anyway says nothing of the bug.
                        let anyway = run(seed, &Options::default()).broken;
                        anyway.is_none().then_some((seed, broken))
                    });
                    match caught {
                        Some((seed, broken)) => {
                            println!("{:<26} seed {seed:>4}  {}", bug.name(), broken.check);
                        }
                        None => {
                            missed.fetch_add(1, Ordering::Relaxed);
                            println!("{:<26} NOT CAUGHT by {} seeds", bug.name(), wish.seeds);
                        }
                    }
                }
            });
        }
    });
    let missed = missed.into_inner();
    println!("{} bugs caught, {missed} missed", Bug::ALL.len() as u64 - missed);
    missed == 0
}

fn verdict(report: &Report) -> String {
    let at = report.virtual_ms as f64 / 1000.0;
    match &report.broken {
        None => format!("seed {} passed: at rest after {at:.1} s, {} events", report.seed, report.events),
        Some(broken) => {
            format!("seed {} FAILED after {at:.3} s: {}: {}", report.seed, broken.check, broken.what)
        }
    }
}

/// Where the logs of seeds that fail go.
fn folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from).join("sim")
}

fn keep(report: &Report) -> std::io::Result<PathBuf> {
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{}.log", report.seed));
    std::fs::write(&path, report.log.join("\n") + "\n" + &verdict(report) + "\n")?;
    Ok(path)
}

fn run_all(wish: &Wish) -> bool {
    let begun = Instant::now();
    let (next, end) = (AtomicU64::new(wish.from), wish.from.saturating_add(wish.seeds));
    let failed = AtomicU64::new(0);
    let (events, virtual_ms) = (AtomicU64::new(0), AtomicU64::new(0));
    let counts: Mutex<BTreeMap<&'static str, (u64, u64)>> = Mutex::default();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let report = run(seed, &Options { bug: wish.bug, ..Options::default() });
                    events.fetch_add(report.events, Ordering::Relaxed);
                    virtual_ms.fetch_add(report.virtual_ms, Ordering::Relaxed);
                    if report.broken.is_some() {
                        failed.fetch_add(1, Ordering::Relaxed);
                        // Once more, for a log that can be read.
                        let options = Options { bug: wish.bug, words: true, ..Options::default() };
                        let kept = match keep(&run(seed, &options)) {
                            Ok(path) => format!("its log is {}", path.display()),
                            Err(error) => format!("its log could not be written: {error}"),
                        };
                        println!("{}; {kept}", verdict(&report));
                    }
                    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
                    for (what, count) in report.counts {
                        let all = counts.entry(what).or_default();
                        *all = (all.0 + count, all.1 + 1);
                    }
                }
            });
        }
    });
    if wish.counts {
        for (what, (count, seeds)) in counts.into_inner().unwrap_or_else(PoisonError::into_inner) {
            println!("{count:>9} in {seeds:>5} seeds  {what}");
        }
    }
    let (seconds, failed) = (begun.elapsed().as_secs_f64(), failed.into_inner());
    println!(
        "{:.1} seeds a second, {} events, {:.1} virtual hours",
        wish.seeds as f64 / seconds,
        events.into_inner(),
        virtual_ms.into_inner() as f64 / 3_600_000.0
    );
    println!("{} passed, {failed} failed", wish.seeds - failed);
    failed == 0
}
