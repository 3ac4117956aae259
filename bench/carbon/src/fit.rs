//! Finds the weights of the forecaster: one ridge regression for each hour of lead, pooled over regions.
// spec: EN-5

use crate::baselines::rank;
use crate::data::Region;
use crate::replay::{optimum, replay};
use crate::when::CLASSES;
use anyhow::Result;
use mesh_policies::forecast::{INPUTS, Judged, LEADS};

/// Hours for which weights are written.
pub(crate) const HOURS: [usize; 18] = [2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 30, 36, 48, 60, 72, 84, 97];
/// With the newest known value so old: what real feeds do.
const LAG: usize = 2;
/// Weight of "no correction", in squared parts of the mean: a thousandth of what one region brings.
const RIDGE: f64 = 3.0;
/// Hours between samples; with no common divisor with 24, so that every hour of the day comes up.
const EVERY: usize = 7;

/// What the regions say: weights by [`HOURS`], of those whose hours are judged with a given forecast, or without.
pub(crate) fn weights(regions: &[&Region], given: bool) -> Vec<[f64; INPUTS]> {
    let mut sums = vec![([[0.0; INPUTS]; INPUTS], [0.0; INPUTS]); LEADS];
    for (number, region) in regions.iter().enumerate() {
        for now in region.span().skip(number % EVERY).step_by(EVERY) {
            for (lead, judged) in region.known(now, LAG).judge(now as u64).iter().enumerate() {
                if judged.given != given {
                    continue;
                }
                let wrong = (region.values[now + lead] - judged.blend) / judged.scale;
                let (squares, products) = &mut sums[lead];
                for (i, x) in judged.inputs.iter().enumerate() {
                    products[i] += x * wrong;
                    for (j, y) in judged.inputs.iter().enumerate() {
                        squares[i][j] += x * y;
                    }
                }
            }
        }
    }
    let by_lead: Vec<[f64; INPUTS]> =
        sums.into_iter().map(|(squares, products)| solve(squares, products)).collect();
    let around = |(index, hour): (usize, &usize)| {
        // The mean of the leads that are nearer to this hour than to the next.
        let from = if index == 0 { *hour } else { (HOURS[index - 1] + hour).div_ceil(2) };
        let to = HOURS.get(index + 1).map_or(*hour, |next| (hour + next - 1) / 2).max(from.max(*hour));
        let leads = &by_lead[from - LAG..=(to - LAG).min(LEADS - 1)];
        std::array::from_fn(|input| leads.iter().map(|lead| lead[input]).sum::<f64>() / leads.len() as f64)
    };
    HOURS.iter().enumerate().map(around).collect()
}

fn solve(mut a: [[f64; INPUTS]; INPUTS], mut b: [f64; INPUTS]) -> [f64; INPUTS] {
    for (i, row) in a.iter_mut().enumerate() {
        row[i] += RIDGE;
    }
    // Positive definite, so no pivoting.
    for i in 0..INPUTS {
        for row in i + 1..INPUTS {
            let part = a[row][i] / a[i][i];
            let above = a[i];
            for (cell, value) in a[row].iter_mut().zip(above) {
                *cell -= part * value;
            }
            b[row] -= part * b[i];
        }
    }
    for i in (0..INPUTS).rev() {
        let known: f64 = (i + 1..INPUTS).map(|j| a[i][j] * b[j]).sum();
        b[i] = (b[i] - known) / a[i][i];
    }
    b
}

/// The tables of `policies/src/forecast/weights.rs`, as they stand there.
pub(crate) fn print(with_forecasts: &[Region], without: &[Region]) -> Result<()> {
    println!("pub(super) const HOURS: [usize; {}] = {HOURS:?};", HOURS.len());
    for (name, regions, given) in [("GIVEN", with_forecasts, true), ("HISTORY_ONLY", without, false)] {
        println!("\nconst {name}: [[i16; INPUTS]; {}] = [", HOURS.len());
        for row in weights(&regions.iter().collect::<Vec<_>>(), given) {
            println!("    {:?},", row.map(|weight| (weight * 1000.0).round() as i16));
        }
        println!("];");
    }
    Ok(())
}

/// Capture in each region with weights found in the others alone: what the weights are worth where nobody has tuned.
pub(crate) fn hold_out(regions: &[Region]) {
    println!(
        "weights found without the region they run on, newest known value {LAG} h old, rank rule, capture"
    );
    let given = regions.iter().any(|region| !region.issues.is_empty());
    let mut means = [0.0; CLASSES.len()];
    for (out, region) in regions.iter().enumerate() {
        let others: Vec<&Region> =
            regions.iter().enumerate().filter(|other| other.0 != out).map(|other| other.1).collect();
        let table = weights(&others, given);
        let span = region.span();
        let paths: Vec<Vec<f64>> =
            (span.start..span.end + LEADS).map(|now| path(region, now, &table, given)).collect();
        let arrivals: Vec<usize> = span.clone().step_by(3).collect();
        print!("{:<12}", region.name);
        for (mean, class) in means.iter_mut().zip(CLASSES) {
            let now = replay(&region.values, &arrivals, class, |_, _| true).carbon;
            let best = optimum(&region.values, &arrivals, class);
            let ours = replay(&region.values, &arrivals, class, |at, job| rank(&paths[at - span.start], job));
            let capture = (now - ours.carbon) / (now - best);
            *mean += capture / regions.len() as f64;
            print!("  {capture:.4}");
        }
        println!();
    }
    println!("{:<12}  {}", "mean", means.map(|mean| format!("{mean:.4}")).join("  "));
}

fn path(region: &Region, now: usize, table: &[[f64; INPUTS]], given: bool) -> Vec<f64> {
    let known = region.known(now, LAG);
    let expect = |(lead, judged): (usize, Judged)| {
        let right = HOURS.iter().position(|hour| *hour >= lead + LAG).unwrap_or(HOURS.len() - 1);
        let left = right.saturating_sub(1);
        let width = (HOURS[right] - HOURS[left]).max(1) as f64;
        let part = (lead + LAG - HOURS[left]) as f64 / width;
        let weight = |input: usize| table[left][input] + (table[right][input] - table[left][input]) * part;
        let correction: f64 = (0..INPUTS).map(|input| weight(input) * judged.inputs[input]).sum();
        // Where there is no issue, only the shipped weights exist.
        if judged.given == given { judged.blend + judged.scale * correction } else { judged.blend }
    };
    known.judge(now as u64).into_iter().enumerate().map(expect).collect()
}
