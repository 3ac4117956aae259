//! Replays recorded carbon intensity, and compares when and where Task Mesh runs work with what others do.
// spec: PLACE-4, PLACE-5, PLACE-6, PLACE-7

mod baselines;
mod community;
mod data;
mod fit;
mod flow;
mod places;
mod published;
mod replay;
mod scale;
mod when;
mod year;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: bench_carbon --data DIR [--json FILE] [--instances FILE] [--lag HOURS] \
     [--only PART | --seeds COUNT | --fit | --hold-out]";
/// What can be run by itself; a verdict is that of all.
const PARTS: [&str; 6] = ["published", "when", "places", "year", "community", "scale"];

struct Args {
    data: PathBuf,
    json: Option<PathBuf>,
    instances: Option<PathBuf>,
    lag: usize,
    only: Option<String>,
    seeds: Option<u64>,
    fit: bool,
    hold_out: bool,
}

impl Args {
    fn runs(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == part)
    }
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)).and_then(|args| bench(&args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args> {
    let (mut data, mut json, mut instances, mut lag, mut only, mut seeds, mut fit, mut hold_out) =
        (None, None, None, 2, None, None, false, false);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value; {USAGE}"));
        match word.as_str() {
            "--data" => data = Some(PathBuf::from(value()?)),
            "--json" => json = Some(PathBuf::from(value()?)),
            "--instances" => instances = Some(PathBuf::from(value()?)),
            "--lag" => {
                let text = value()?;
                lag = match text.parse() {
                    Ok(lag @ 0..=24) => lag,
                    _ => bail!("--lag takes 0 to 24 hours, not {text:?}"),
                };
            }
            "--only" => {
                let part = value()?;
                if !PARTS.contains(&part.as_str()) {
                    bail!("--only takes one of {}, not {part:?}", PARTS.join(", "));
                }
                only = Some(part);
            }
            "--seeds" => {
                let text = value()?;
                seeds = match text.parse() {
                    Ok(count @ 1..=1000) => Some(count),
                    _ => bail!("--seeds takes 1 to 1000, not {text:?}"),
                };
            }
            "--fit" => fit = true,
            "--hold-out" => hold_out = true,
            _ => bail!("there is no option {word:?}; {USAGE}"),
        }
    }
    let data = data.context(USAGE)?;
    if !data.is_dir() {
        bail!(
            "{} is no folder; --data takes one that holds carboncast/ or electricitymaps-YEAR/",
            data.display()
        );
    }
    let of_these = [only.is_some(), seeds.is_some(), fit, hold_out];
    if of_these.into_iter().filter(|given| *given).count() > 1 {
        bail!("--only, --seeds, --fit and --hold-out exclude each other; {USAGE}");
    }
    Ok(Args { data, json, instances, lag, only, seeds, fit, hold_out })
}

/// The folders of real traces in it, by name.
fn traces(folder: &Path) -> Result<Vec<(String, Vec<data::Region>)>> {
    let mut names = Vec::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("{} cannot be listed", folder.display()))?
    {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && (name == "carboncast" || name.starts_with("electricitymaps-")) {
            names.push(name);
        }
    }
    names.sort();
    let read = |name: String| {
        let folder = folder.join(&name);
        let regions =
            if name == "carboncast" { data::carboncast(&folder)? } else { data::electricitymaps(&folder)? };
        Ok((name, regions))
    };
    names.into_iter().map(read).collect()
}

/// Did everything hold?
fn bench(args: &Args) -> Result<bool> {
    let traces = traces(&args.data)?;
    if args.fit {
        let of = |name: &str| traces.iter().find(|trace| trace.0 == name).map(|trace| trace.1.as_slice());
        let (Some(given), Some(history)) = (of("carboncast"), of("electricitymaps-2022")) else {
            bail!("--fit needs carboncast/ and electricitymaps-2022/ in {}", args.data.display())
        };
        fit::print(given, history);
        return Ok(true);
    }
    if args.hold_out {
        for (_, regions) in &traces {
            fit::hold_out(regions);
        }
        return Ok(true);
    }
    if let Some(seeds) = args.seeds {
        for (name, regions) in &traces {
            places::vary(name, regions, args.lag, seeds);
        }
        return Ok(true);
    }
    let (mut list, mut instances, mut holds) = (Vec::new(), Vec::new(), true);
    if args.runs("published") {
        let tally = published::check(&args.data)?;
        println!(
            "published numbers: {} PASS, {} FAIL, {} skipped",
            tally.passed, tally.failed, tally.skipped
        );
        holds &= tally.failed == 0;
    }
    for (name, regions) in &traces {
        if args.runs("when") {
            // Of a hundred zones every third day's hours are enough; with forecasts every hour counts.
            let every = match regions.len() {
                _ if name == "carboncast" => 1,
                0..=30 => 3,
                _ => 25,
            };
            let (lines, above) = when::compare(name, regions, args.lag, every);
            let verdict = if above { "PASS" } else { "FAIL" };
            println!(
                "{name}: mesh above every causal baseline, in the mean and in the worst region, no misses: {verdict}"
            );
            holds &= above;
            list.extend(lines);
        }
        if args.runs("places") {
            let (lines, instance, well) = places::compare(name, regions, args.lag);
            holds &= well;
            list.extend(lines);
            instances.push(instance);
        }
        if name == "electricitymaps-2023" {
            let folder = args.data.join(name);
            if args.runs("year") {
                holds &= year::compare(&folder, regions)?;
            }
            if args.runs("community") {
                let (line, well) = community::compare(&folder, regions)?;
                holds &= well;
                list.extend(line);
            }
        }
    }
    if args.runs("scale") {
        let (line, well) = scale::measure();
        holds &= well;
        list.push(line);
    }
    if !traces.iter().any(|trace| trace.0 == "electricitymaps-2023") {
        println!("year of service levels, community: skipped: electricitymaps-2023/ is not there");
    }
    if traces.is_empty() {
        println!(
            "when: skipped: {} holds neither carboncast/ nor electricitymaps-YEAR/",
            args.data.display()
        );
    }
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&list)? + "\n";
        std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    if let Some(file) = &args.instances {
        let text = serde_json::to_string(&instances)? + "\n";
        std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(holds)
}
