//! `simulator --seeds N [--from K] [--bug NAME] [--logs FOLDER]` runs seeds; `simulator replay SEED [--bug NAME]`
//! prints everything that happens in one.

use mesh_simulator::{Bug, run};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const USAGE: &str = "usage: simulator --seeds N [--from K] [--bug NAME] [--logs FOLDER]\n       simulator replay SEED [--bug NAME]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match go(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(what) => {
            eprintln!("error: {what}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn option<'a>(args: &'a [String], name: &str) -> Option<&'a str> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1).map(String::as_str)
}

fn number(text: Option<&str>, what: &str) -> Result<u64, String> {
    text.and_then(|text| text.parse().ok()).ok_or_else(|| format!("{what} must be a number"))
}

fn go(args: &[String]) -> Result<bool, String> {
    let bug = match option(args, "--bug") {
        None => None,
        Some(name) => {
            let known = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
            Some(known.ok_or_else(|| format!("there is no bug {name}; there are {:?}", Bug::ALL))?)
        }
    };
    let mut out = std::io::stdout().lock();
    if args.first().is_some_and(|arg| arg == "replay") {
        let run = run(number(args.get(1).map(String::as_str), "the seed")?, bug, true);
        for line in &run.log {
            writeln!(out, "{line}").map_err(|error| error.to_string())?;
        }
        let how = run.failure.as_deref().unwrap_or("passed");
        writeln!(out, "seed {}: {how}", run.seed).map_err(|error| error.to_string())?;
        return Ok(run.failure.is_none());
    }
    let seeds = number(option(args, "--seeds"), "--seeds")?;
    let from = option(args, "--from").map_or(Ok(0), |from| number(Some(from), "--from"))?;
    let (next, failed) = (AtomicU64::new(from), AtomicU64::new(0));
    let counts = Mutex::new(BTreeMap::<&str, u64>::new());
    drop(out);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let run = run(seed, bug, false);
                    if let Ok(mut counts) = counts.lock() {
                        for (what, count) in run.counts {
                            *counts.entry(what).or_default() += count;
                        }
                    }
                    if let Some(failure) = run.failure {
                        failed.fetch_add(1, Ordering::Relaxed);
                        println!("seed {seed} failed: {failure}");
                        keep_log(args, seed, bug);
                    }
                }
            });
        }
    });
    let failed = failed.load(Ordering::Relaxed);
    for (what, count) in counts.lock().map_err(|error| error.to_string())?.iter() {
        println!("{count:>9} {what}");
    }
    println!("{} passed, {failed} failed", seeds - failed);
    Ok(failed == 0)
}

/// The whole story of a failure, for reading.
fn keep_log(args: &[String], seed: u64, bug: Option<Bug>) {
    let Some(folder) = option(args, "--logs") else { return };
    let log = run(seed, bug, true).log.join("\n");
    let kept = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(format!("{folder}/{seed}.log"), log));
    if let Err(error) = kept {
        eprintln!("error: keep the log of seed {seed} in {folder}: {error}");
    }
}
