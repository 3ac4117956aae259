//! What others do. Each decides hour by hour on what was known; the clairvoyant ones say so in their names.
// spec: PLACE-4

use crate::data::Region;
use crate::replay::Job;
use mesh_policies::forecast::LEADS;
use std::collections::BTreeMap;

/// Hours in which the bar's correction falls to 1/e.
const TAU_H: f64 = 24.0;
/// Share of the given forecast in the bar's mix.
const ALPHA: f64 = 0.7;

/// Mean of the same hour over the seven days known last.
fn week(region: &Region, known: usize, at: usize) -> f64 {
    let first = at.saturating_sub(known).div_ceil(24).max(1);
    (first..first + 7).map(|day| region.values[at - 24 * day]).sum::<f64>() / 7.0
}

/// What the newest issue at `now` says of hour `at`.
fn issued(region: &Region, now: usize, at: usize) -> Option<f64> {
    let later = region.issues.partition_point(|issue| issue.hour as usize <= now.min(at));
    let issue = &region.issues[later.checked_sub(1)?];
    issue.values.get(at - issue.hour as usize).copied()
}

/// The forecast as it is, where there is one, and else the week's mean.
pub(crate) fn plain_path(region: &Region, now: usize, lag: usize) -> Vec<f64> {
    (now..now + LEADS)
        .map(|at| issued(region, now, at).unwrap_or_else(|| week(region, now - lag, at)))
        .collect()
}

/// The re-planning bar: forecast and week mixed by their logarithms, corrected by what is observed.
pub(crate) fn bar_path(region: &Region, now: usize, lag: usize) -> Vec<f64> {
    let known = now - lag;
    // A hundredth of a gram: the logarithm of nothing is no number.
    let ln = |value: f64| value.max(0.01).ln();
    let mix = |at: usize| {
        let week = ln(week(region, known, at));
        issued(region, now, at).map_or(week, |given| ALPHA * ln(given) + (1.0 - ALPHA) * week)
    };
    let off = ln(region.values[known]) - mix(known);
    let expected = |lead: usize| (mix(now + lead) + off * (-((lead + lag) as f64) / TAU_H).exp()).exp();
    (0..LEADS).map(expected).collect()
}

/// Run now if fewer than `left` of the later hours are expected to be cleaner, or no slack is left.
pub(crate) fn rank(path: &[f64], job: Job) -> bool {
    job.left >= job.slots || path[1..job.slots].iter().filter(|later| **later < path[0]).count() < job.left
}

/// A policy that settles at arrival when to run: hours after arrival.
pub(crate) struct Planned<F: Fn(usize) -> Vec<bool>> {
    plan: F,
    made: BTreeMap<usize, Vec<bool>>,
}

impl<F: Fn(usize) -> Vec<bool>> Planned<F> {
    pub(crate) fn new(plan: F) -> Self {
        Self { plan, made: BTreeMap::new() }
    }

    pub(crate) fn decide(&mut self, now: usize, job: Job) -> bool {
        let plan = self.made.entry(job.arrival).or_insert_with(|| (self.plan)(job.arrival));
        plan[now - job.arrival]
    }
}

/// In one piece from `start` on.
pub(crate) fn piece(start: usize, job_h: usize, deadline_h: usize) -> Vec<bool> {
    (0..deadline_h).map(|hour| (start..start + job_h).contains(&hour)).collect()
}

fn first_min(scores: impl Iterator<Item = f64>) -> usize {
    let better = |best: (usize, f64), next: (usize, f64)| if next.1 < best.1 { next } else { best };
    scores.enumerate().fold((0, f64::INFINITY), better).0
}

/// The start with the cleanest contiguous run: Carbon Aware SDK and CATS; GAIA's Lowest-Window with the true length.
pub(crate) fn contiguous(path: &[f64], job_h: usize, deadline_h: usize) -> Vec<bool> {
    let start = first_min(path[..deadline_h].windows(job_h).map(|hours| hours.iter().sum()));
    piece(start, job_h, deadline_h)
}

/// The cleanest hours: Let's Wait Awhile.
pub(crate) fn interrupting(path: &[f64], job_h: usize, deadline_h: usize) -> Vec<bool> {
    let mut hours: Vec<usize> = (0..deadline_h).collect();
    hours.sort_by(|a, b| path[*a].total_cmp(&path[*b]));
    let mut plan = vec![false; deadline_h];
    for hour in hours.into_iter().take(job_h) {
        plan[hour] = true;
    }
    plan
}

/// GAIA's Lowest-Slot: starts in the cleanest hour that leaves room.
pub(crate) fn lowest_slot(path: &[f64], job_h: usize, deadline_h: usize) -> Vec<bool> {
    piece(first_min(path[..=deadline_h - job_h].iter().copied()), job_h, deadline_h)
}

/// GAIA's Carbon-Time: most saved for each hour until completion.
pub(crate) fn carbon_time(path: &[f64], job_h: usize, deadline_h: usize) -> Vec<bool> {
    let now: f64 = path[..job_h].iter().sum();
    let score = |(delay, hours): (usize, &[f64])| -(now - hours.iter().sum::<f64>()) / (delay + job_h) as f64;
    piece(first_min(path[..deadline_h].windows(job_h).enumerate().map(score)), job_h, deadline_h)
}

/// A start by chance, the same in every run.
pub(crate) fn random(arrival: usize, job_h: usize, deadline_h: usize) -> Vec<bool> {
    // SplitMix64 of the hour.
    let mut z = (arrival as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    piece(((z ^ (z >> 31)) % (deadline_h - job_h + 1) as u64) as usize, job_h, deadline_h)
}

/// The value below which `percent` of them lie.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) * percent / 100]
}

/// k-min search: the thresholds of each of `k` hours for intensities within `low` and `high`.
pub(crate) fn k_min(low: f64, high: f64, k: usize) -> Vec<f64> {
    let k_f = k as f64;
    // (1 − L/U) / (1 − 1/α) falls and (1 + 1/(αk))^k falls slower, so their difference changes its sign once.
    let (mut from, mut to) = (1.000_001, (high / low).max(1.000_002));
    for _ in 0..100 {
        let alpha = f64::midpoint(from, to);
        let left = (1.0 - low / high) / (1.0 - 1.0 / alpha);
        let right = (1.0 + 1.0 / (alpha * k_f)).powi(k as i32);
        if left > right { from = alpha } else { to = alpha }
    }
    (0..k).map(|i| high * (1.0 - (1.0 - 1.0 / from) * (1.0 + 1.0 / (from * k_f)).powi(i as i32))).collect()
}
