//! Finds the weights of the forecaster: one ridge regression over all leads, pooled over regions.
// spec: EN-5

use crate::baselines::rank;
use crate::data::Region;
use crate::replay::{optimum, replay};
use crate::when::CLASSES;
use mesh_policies::forecast::{INPUTS, Judged, LEADS};

/// Hours for which weights are written; between them they are straight lines.
pub(crate) const HOURS: [usize; 12] = [0, 1, 2, 4, 7, 11, 16, 24, 36, 48, 72, 98];
/// With the newest known value so old, in turn: two hours is what real feeds do, some are faster.
const LAGS: [usize; 4] = [2, 0, 2, 1];
/// How old it is when the weights are tried.
const LAG: usize = 2;
/// Weight of "no correction", in parts of what all samples bring.
const RIDGE: f64 = 0.0001;
/// Samples of a region: enough for its weather, few enough for a hundred regions.
const SAMPLES: usize = 300;
/// Numbers that are found.
const SIZE: usize = HOURS.len() * INPUTS;

/// What a region says.
struct Sums {
    /// Row by row, SIZE of SIZE.
    squares: Vec<f64>,
    products: Vec<f64>,
    count: f64,
}

impl Sums {
    fn new() -> Self {
        Self { squares: vec![0.0; SIZE * SIZE], products: vec![0.0; SIZE], count: 0.0 }
    }

    /// Of one region, of those hours that are judged with a given forecast, or without.
    fn of(region: &Region, given: bool) -> Self {
        let mut sums = Self::new();
        let mut wrongs = 0.0;
        let span = region.span();
        // With no common divisor with 24, so that every hour of the day comes up.
        let every = (span.len() / SAMPLES).max(1) / 6 * 6 + 5;
        for (now, lag) in span.step_by(every).zip(LAGS.into_iter().cycle()) {
            for (lead, judged) in region.known(now, lag).judge(now as u64).iter().enumerate() {
                if judged.given != given {
                    continue;
                }
                let wrong = (region.values[now + lead] - judged.blend) / judged.scale;
                let terms = terms(lead + lag, judged);
                for (i, x) in terms.iter().filter(|term| term.1 != 0.0) {
                    sums.products[*i] += x * wrong;
                    let row = &mut sums.squares[i * SIZE..(i + 1) * SIZE];
                    for (j, y) in &terms {
                        row[*j] += x * y;
                    }
                }
                wrongs += wrong * wrong;
                sums.count += 1.0;
            }
        }
        // Capture is a share of what a region has to give, be it much or little, so that each counts by its own scatter.
        let part = if wrongs > 0.0 { sums.count / wrongs } else { 0.0 };
        sums.squares.iter_mut().chain(&mut sums.products).for_each(|sum| *sum *= part);
        sums
    }

    fn add(&mut self, other: &Self) {
        let ours = self.squares.iter_mut().chain(&mut self.products);
        ours.zip(other.squares.iter().chain(&other.products)).for_each(|(sum, more)| *sum += more);
        self.count += other.count;
    }
}

/// The hours of [`HOURS`] on both sides of an age, and how near it is to each.
fn around(age: usize) -> [(usize, f64); 2] {
    let right = HOURS.iter().position(|hour| *hour >= age).unwrap_or(HOURS.len() - 1);
    let left = right.saturating_sub(1);
    let part = (age - HOURS[left]) as f64 / (HOURS[right] - HOURS[left]).max(1) as f64;
    [(left, 1.0 - part), (right, part)]
}

/// By index of the number that it is to be multiplied by.
fn terms(age: usize, judged: &Judged) -> Vec<(usize, f64)> {
    let term = |(hour, part): (usize, f64)| {
        judged.inputs.iter().enumerate().map(move |(input, x)| (hour * INPUTS + input, part * x))
    };
    around(age).into_iter().flat_map(term).collect()
}

/// What all of them say together.
fn weights<'a>(regions: impl Iterator<Item = &'a Sums>) -> Vec<f64> {
    let mut sums = Sums::new();
    regions.for_each(|region| sums.add(region));
    let (a, b) = (&mut sums.squares, &mut sums.products);
    for i in 0..SIZE {
        a[i * SIZE + i] += RIDGE * sums.count;
    }
    // Positive definite, so no pivoting.
    for i in 0..SIZE {
        let (above, below) = a.split_at_mut((i + 1) * SIZE);
        let above = &above[i * SIZE..];
        for (row, cells) in below.chunks_mut(SIZE).enumerate().filter(|(_, cells)| cells[i] != 0.0) {
            let part = cells[i] / above[i];
            cells.iter_mut().zip(above).skip(i).for_each(|(cell, value)| *cell -= part * value);
            b[i + 1 + row] -= part * b[i];
        }
    }
    for i in (0..SIZE).rev() {
        let known: f64 = (i + 1..SIZE).map(|j| a[i * SIZE + j] * b[j]).sum();
        b[i] = (b[i] - known) / a[i * SIZE + i];
    }
    sums.products
}

/// The tables of `policies/src/forecast/weights.rs`, as they stand there.
pub(crate) fn print(with_forecasts: &[Region], without: &[Region]) {
    println!("const HOURS: [usize; {}] = {HOURS:?};", HOURS.len());
    for (name, regions, given) in [("GIVEN", with_forecasts, true), ("HISTORY_ONLY", without, false)] {
        let sums: Vec<Sums> = regions.iter().map(|region| Sums::of(region, given)).collect();
        println!("\nconst {name}: [[i16; INPUTS]; HOURS.len()] = [");
        for row in weights(sums.iter()).chunks(INPUTS) {
            let row: Vec<i16> = row.iter().map(|weight| (weight * 1000.0).round() as i16).collect();
            println!("    {row:?},");
        }
        println!("];");
    }
}

/// Capture in each region with weights found in the others alone: what the weights are worth where nobody has tuned.
pub(crate) fn hold_out(regions: &[Region]) {
    println!(
        "weights found without the region they run on, newest known value {LAG} h old, rank rule, capture"
    );
    let given = regions.iter().any(|region| !region.issues.is_empty());
    let sums: Vec<Sums> = regions.iter().map(|region| Sums::of(region, given)).collect();
    let mut means = [0.0; CLASSES.len()];
    for (out, region) in regions.iter().enumerate() {
        let table = weights(sums.iter().enumerate().filter(|other| other.0 != out).map(|other| other.1));
        let span = region.span();
        let paths: Vec<Vec<f64>> =
            (span.start..span.end + LEADS).map(|now| path(region, now, &table, given)).collect();
        let arrivals: Vec<usize> = span.clone().step_by(3).collect();
        print!("{:<12}", region.name);
        for (mean, class) in means.iter_mut().zip(CLASSES) {
            let now = replay(&region.values, &arrivals, class, |_, _| true).carbon;
            let best = optimum(&region.values, &arrivals, class);
            let ours = replay(&region.values, &arrivals, class, |at, job| rank(&paths[at - span.start], job));
            let capture = if now > best { (now - ours.carbon) / (now - best) } else { 1.0 };
            *mean += capture / regions.len() as f64;
            print!("  {capture:.4}");
        }
        println!();
    }
    println!("{:<12}  {}", "mean", means.map(|mean| format!("{mean:.4}")).join("  "));
}

fn path(region: &Region, now: usize, table: &[f64], given: bool) -> Vec<f64> {
    let known = region.known(now, LAG);
    let expect = |(lead, judged): (usize, Judged)| {
        let correction: f64 = terms(lead + LAG, &judged).iter().map(|(index, x)| table[*index] * x).sum();
        // Where there is no issue, only the shipped weights exist.
        if judged.given == given { judged.blend + judged.scale * correction } else { judged.blend }
    };
    known.judge(now as u64).into_iter().enumerate().map(expect).collect()
}
