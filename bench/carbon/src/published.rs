//! Published numbers, computed again to their last printed digit: that proves the harness.
// spec: PLACE-5

use crate::data::{column, files, rows};
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;

/// What came of the comparisons.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Tally {
    fn compare(&mut self, what: &str, expected: f64, got: f64, digits: usize) {
        let (expected, got) = (format!("{expected:.digits$}"), format!("{got:.digits$}"));
        let verdict = if expected == got { "PASS" } else { "FAIL" };
        println!("{what:<64} expected {expected:>12}  got {got:>12}  {verdict}");
        if expected == got { self.passed += 1 } else { self.failed += 1 }
    }

    fn skip(&mut self, what: &str, missing: &Path) {
        println!("{what:<64} skipped: {} is not there", missing.display());
        self.skipped += 1;
    }
}

/// All of them.
pub(crate) fn check(data: &Path) -> Result<Tally> {
    let mut tally = Tally::default();
    lets_wait_awhile(&data.join("lets-wait-awhile-2020"), &mut tally)?;
    potential(&data.join("electricitymaps-2022"), &mut tally)?;
    gaia(data, &mut tally)?;
    Ok(tally)
}

/// A half-hourly year of Let's Wait Awhile, with what ten noise vectors make of it as a forecast.
struct Noisy {
    truth: Vec<f64>,
    /// One a seed.
    forecasts: Vec<Vec<f64>>,
}

const SEEDS: usize = 10;
const NOISE_STEPS: usize = 18_000;

fn noisy(file: &Path, noise: &[u8], error: f64) -> Result<Noisy> {
    let mut table = rows(file)?;
    table.retain(|row| row[0].as_str() >= "2020" && matches!(row[0].get(14..16), Some("00" | "30")));
    let truth = column(file, &table, 1)?;
    let mean = truth.iter().sum::<f64>() / truth.len() as f64;
    let z = |index: usize| {
        let bytes = noise.get(index * 8..index * 8 + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map(f64::from_le_bytes).with_context(|| format!("the noise vectors end before number {index}"))
    };
    let mut forecasts = Vec::new();
    for seed in 0..SEEDS {
        let forecast = truth
            .iter()
            .enumerate()
            .map(|(step, value)| Ok(value + error * mean * z(seed * NOISE_STEPS + step)?));
        forecasts.push(forecast.collect::<Result<_>>()?);
    }
    Ok(Noisy { truth, forecasts })
}

fn lets_wait_awhile(folder: &Path, tally: &mut Tally) -> Result<()> {
    let noise = folder.join("noise_standard_normal_seeds0-9_18000_f64le.bin");
    for needed in [
        "noise_standard_normal_seeds0-9_18000_f64le.bin",
        "published_scenario1_err5_from_fig.json",
        "published_scenario2_from_fig.json",
        "scenario2_jobs_2020.csv",
    ] {
        if !folder.join(needed).is_file() {
            tally.skip("Let's Wait Awhile, scenarios I and II", &folder.join(needed));
            return Ok(());
        }
    }
    let noise = std::fs::read(&noise).with_context(|| format!("{} cannot be read", noise.display()))?;
    let json = |name: &str| -> Result<Value> {
        let file = folder.join(name);
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))
    };
    let first = json("published_scenario1_err5_from_fig.json")?;
    let second = json("published_scenario2_from_fig.json")?;
    let file = folder.join("scenario2_jobs_2020.csv");
    let jobs: Vec<[usize; 4]> = rows(&file)?
        .iter()
        .map(|row| {
            let cell =
                |index: usize| row[index].parse().with_context(|| format!("{}: {row:?}", file.display()));
            Ok([cell(1)?, cell(2)?, cell(3)?, cell(4)?])
        })
        .collect::<Result<_>>()?;
    for country in ["ger", "gb", "fr"] {
        let file = folder.join(format!("{country}_ci.csv"));
        if !file.is_file() {
            tally.skip(&format!("Let's Wait Awhile, {country}"), &file);
            continue;
        }
        let year = noisy(&file, &noise, 0.05)?;
        for (window, expected) in first[country]["ci"].as_array().into_iter().flatten().enumerate() {
            let got = nightly(&year, window);
            let what = format!("Let's Wait Awhile I, {country}, ±{} h, g/kWh", window as f64 / 2.0);
            tally.compare(&what, expected.as_f64().unwrap_or(f64::NAN), got, 3);
        }
        let mut baseline = 0.0;
        for [start, len, ..] in &jobs {
            baseline += project(&year.truth, &year.truth, *start, *len, 0, false);
        }
        for (constraint, slack) in [("next_workday", 2), ("semi_weekly", 3)] {
            for (suffix, interrupting) in [("", false), ("_i", true)] {
                let mut sum = 0.0;
                for forecast in &year.forecasts {
                    for job in &jobs {
                        sum += project(&year.truth, forecast, job[0], job[1], job[slack], interrupting);
                    }
                }
                let got = 100.0 * (1.0 - sum / SEEDS as f64 / baseline);
                let name = format!("{constraint}{suffix}");
                let expected = second["paper2020_ml_err5"][&name][country].as_f64().unwrap_or(f64::NAN);
                tally.compare(&format!("Let's Wait Awhile II, {country}, {name}, % saved"), expected, got, 3);
            }
        }
    }
    Ok(())
}

/// Scenario I: 365 jobs of half an hour at 01:00, each moved by up to `window` half hours. Those whose window begins
/// before the trace are left out and yet counted, as in the publication.
fn nightly(year: &Noisy, window: usize) -> f64 {
    let mut sum = 0.0;
    for forecast in &year.forecasts {
        for at in (0..365).map(|day| 48 * day + 2).filter(|at| *at >= window) {
            let best =
                (at - window..=at + window).reduce(|a, b| if forecast[b] < forecast[a] { b } else { a });
            sum += best.map_or(0.0, |best| year.truth[best]);
        }
    }
    sum / SEEDS as f64 / 365.0
}

/// Scenario II: one job of `len` steps that may start up to `slack` steps late, its window inclusive of its end.
fn project(
    truth: &[f64],
    forecast: &[f64],
    start: usize,
    len: usize,
    slack: usize,
    interrupting: bool,
) -> f64 {
    let end = (start + len + slack + 1).min(truth.len());
    if interrupting {
        let mut steps: Vec<usize> = (start..end).collect();
        steps.sort_by(|a, b| forecast[*a].total_cmp(&forecast[*b]));
        return steps.iter().take(len).map(|step| truth[*step]).sum();
    }
    let sum_from = |series: &[f64], from: usize| series[from..from + len].iter().sum::<f64>();
    let mut best = (f64::INFINITY, start);
    let mut window = sum_from(forecast, start);
    for from in start..=end - len {
        if from > start {
            window += forecast[from + len - 1] - forecast[from - 1];
        }
        if window < best.0 {
            best = (window, from);
        }
    }
    sum_from(truth, best.1)
}

/// The best that anybody could do, arrival by arrival (EuroSys'24).
fn potential(folder: &Path, tally: &mut Tally) -> Result<()> {
    let (zones, expected) = (folder.join("zones.csv"), folder.join("expected"));
    if !zones.is_file() || !expected.is_dir() {
        let missing = if zones.is_file() { &expected } else { &zones };
        tally.skip("EuroSys'24, optimum of each arrival", missing);
        return Ok(());
    }
    let regions = crate::data::electricitymaps(folder)?;
    for file in files(&expected, ".csv")? {
        let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let parts: Vec<&str> = name.splitn(5, '_').collect();
        let [_, job, _, slack, zone] = parts[..] else { continue };
        let (Ok(job), Ok(slack)) = (job.parse::<usize>(), slack.parse::<usize>()) else { continue };
        let Some(region) = regions.iter().find(|region| region.name == zone) else {
            tally.skip(&format!("EuroSys'24, {name}"), &zones);
            continue;
        };
        let table = rows(&file)?;
        let published: Vec<Vec<f64>> =
            (0..3).map(|index| column(&file, &table, index)).collect::<Result<_>>()?;
        let values = &region.values;
        let mut agree = 0;
        for arrival in 0..table.len() {
            let window = &values[arrival..(arrival + job + slack).min(values.len())];
            let contiguous = window.windows(job).map(|hours| hours.iter().sum::<f64>());
            let mut sorted = window.to_vec();
            sorted.sort_by(f64::total_cmp);
            let got = [
                window.iter().take(job).sum::<f64>(),
                contiguous.fold(f64::INFINITY, f64::min),
                sorted.iter().take(job).sum::<f64>(),
            ];
            agree += (0..3)
                .filter(|index| format!("{:.2}", published[*index][arrival]) == format!("{:.2}", got[*index]))
                .count();
        }
        let what = format!("EuroSys'24, {zone}, {job} h, slack {slack} h, values that agree");
        tally.compare(&what, (table.len() * 3) as f64, agree as f64, 0);
    }
    Ok(())
}

/// Seconds of one tick of the GAIA simulator.
const TICK_S: f64 = 5.0;
const TICKS_PER_HOUR: usize = 720;
/// Jobs of fewer seconds wait in its short queue.
const SHORT_S: f64 = 7200.0;

fn gaia(data: &Path, tally: &mut Tally) -> Result<()> {
    let (zones, jobs) = (data.join("electricitymaps-2022/zones.csv"), data.join("workloads/gaia_pai_1k.csv"));
    for needed in [&zones, &jobs] {
        if !needed.is_file() {
            tally.skip("GAIA, South Australia, 1,000 jobs", needed);
            return Ok(());
        }
    }
    let regions = crate::data::electricitymaps(&data.join("electricitymaps-2022"))?;
    let Some(region) = regions.iter().find(|region| region.name == "AU-SA") else {
        tally.skip("GAIA, South Australia, 1,000 jobs", &zones);
        return Ok(());
    };
    let Some(hours) = region.values.get(7000..7720) else {
        tally.skip("GAIA, South Australia, 1,000 jobs", &zones);
        return Ok(());
    };
    let table = rows(&jobs)?;
    let column = |index| column(&jobs, &table, index);
    let (arrivals, lengths, cpus) = (column(0)?, column(1)?, column(2)?);
    let totals = gaia_totals(hours, &arrivals, &lengths, &cpus);
    for ((what, expected, digits), got) in [
        ("NoWait", 562.171, 3),
        ("Lowest-Slot", 438.515, 3),
        ("Lowest-Window", 384.359, 3),
        ("Carbon-Time", 407.511_325, 6),
    ]
    .into_iter()
    .zip(totals)
    {
        tally.compare(&format!("GAIA, {what}, total of 1,000 jobs"), expected, got, digits);
    }
    Ok(())
}

/// NoWait, Lowest-Slot, Lowest-Window, Carbon-Time. As its simulator does, the two that plan with a queue's average
/// length look at starts a whole number of hours after arrival only, and whoever is at the bound between the queues
/// counts for both averages. Intensities have two decimals, so that sums of hundredths are exact and ties are ties.
fn gaia_totals(hours: &[f64], arrivals: &[f64], lengths: &[f64], cpus: &[f64]) -> [f64; 4] {
    let hundredths: Vec<i64> = hours.iter().map(|hour| (hour * 100.0).round() as i64).collect();
    let ends = hundredths.len() * TICKS_PER_HOUR;
    let mut prefix = vec![0_i64];
    for tick in 0..ends {
        prefix.push(prefix[tick] + hundredths[tick / TICKS_PER_HOUR]);
    }
    let window = |from: usize, len: usize| prefix[(from + len).min(ends)] - prefix[from.min(ends)];
    let mean = |of: &dyn Fn(f64) -> bool| {
        let those: Vec<f64> = lengths.iter().copied().filter(|length| of(*length)).collect();
        (those.iter().sum::<f64>() / those.len() as f64 / TICK_S) as usize
    };
    let means = [mean(&|length| length <= SHORT_S), mean(&|length| length >= SHORT_S)];
    let mut totals = [0_i64; 4];
    for ((arrival, length), cpus) in arrivals.iter().zip(lengths).zip(cpus) {
        let (arrival, ticks) = ((arrival / TICK_S) as usize, (length / TICK_S) as usize);
        let (wait, average) = if *length < SHORT_S { (6, means[0]) } else { (24, means[1]) };
        let hourly = || (0..=wait).map(|hour| hour * TICKS_PER_HOUR);
        let now = window(arrival, average);
        // Saved for each tick until completion; as fractions, compared without dividing.
        let rate = |delay: usize| {
            (i128::from(now - window(arrival + delay, average)), (delay + average).max(1) as i128)
        };
        let better = |best: usize, next: usize| {
            let (a, b) = (rate(best), rate(next));
            if b.0 * a.1 > a.0 * b.1 { next } else { best }
        };
        let slot = |delay: &usize| hundredths[((arrival + delay) / TICKS_PER_HOUR).min(hours.len() - 1)];
        let starts = [
            0,
            (0..=wait * TICKS_PER_HOUR).min_by_key(slot).unwrap_or_default(),
            hourly().min_by_key(|delay| window(arrival + delay, average)).unwrap_or_default(),
            hourly().reduce(better).unwrap_or_default(),
        ];
        for (total, delay) in totals.iter_mut().zip(starts) {
            *total += window(arrival + delay, ticks) * *cpus as i64;
        }
    }
    // Thousandths of the given unit for each core and hour.
    totals.map(|total| total as f64 / 100.0 / 1000.0 / TICKS_PER_HOUR as f64)
}
