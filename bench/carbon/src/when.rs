//! When: one place, all policies, region by region.
// spec: PLACE-4, PLACE-5

use crate::baselines::{self as base, Planned};
use crate::data::Region;
use crate::replay::{Class, Job, Outcome, optimum, optimum_contiguous, replay};
use mesh_policies::forecast::LEADS;
use mesh_policies::placement::decide::{Decision, HOUR_MS, Peer, Work, decide};
use mesh_protocol::key::PublicKey;
use mesh_protocol::task::Sla;
use serde_json::{Value, json};

pub(crate) const CLASSES: [Class; 4] = [
    Class { job_h: 4, deadline_h: 24 },
    Class { job_h: 4, deadline_h: 48 },
    Class { job_h: 12, deadline_h: 48 },
    Class { job_h: 4, deadline_h: 96 },
];

/// A policy's name and whether it knows what nobody can.
pub(crate) const POLICIES: [(&str, bool); 14] = [
    ("run-now", false),
    ("random", false),
    ("plan-once-contiguous", false),
    ("plan-once-interrupting", false),
    ("gaia-lowest-slot", false),
    ("gaia-carbon-time", false),
    ("threshold", false),
    ("threshold-clairvoyant", true),
    ("k-min", false),
    ("re-plan", false),
    ("bar", false),
    ("mesh", false),
    ("optimum-contiguous", true),
    ("optimum", true),
];

/// One policy on one class, over all regions.
pub(crate) struct Line {
    pub(crate) policy: &'static str,
    pub(crate) clairvoyant: bool,
    /// Region, saving in percent, capture.
    pub(crate) regions: Vec<(String, f64, f64)>,
    pub(crate) misses: usize,
    pub(crate) segments: f64,
}

impl Line {
    pub(crate) fn saving(&self) -> f64 {
        self.regions.iter().map(|region| region.1).sum::<f64>() / self.regions.len() as f64
    }

    pub(crate) fn capture(&self) -> f64 {
        self.regions.iter().map(|region| region.2).sum::<f64>() / self.regions.len() as f64
    }

    pub(crate) fn worst(&self) -> (&str, f64) {
        let worst = self.regions.iter().min_by(|a, b| a.2.total_cmp(&b.2));
        worst.map_or(("", 0.0), |worst| (&worst.0, worst.2))
    }

    fn json(&self, data: &str, class: Class, lag: usize) -> Value {
        let (worst_region, worst_capture) = self.worst();
        json!({
            "data": data, "job_h": class.job_h, "deadline_h": class.deadline_h, "lag_h": lag,
            "policy": self.policy, "saving": self.saving(), "capture": self.capture(),
            "worst_region": worst_region, "worst_capture": worst_capture,
            "misses": self.misses, "segments": self.segments,
        })
    }
}

/// What each policy expects at each hour of a region, from `first` on.
struct Paths {
    first: usize,
    plain: Vec<Vec<f64>>,
    bar: Vec<Vec<f64>>,
    /// In mg, as placement takes it.
    mesh: Vec<Vec<u32>>,
}

/// What the node would do with it: a NORMAL task and one peer, asked every hour.
fn ours(path: &[u32], now: usize, job: Job) -> bool {
    let device = PublicKey([1; 32]);
    let peer = Peer {
        device,
        permitted: Ok(()),
        path,
        there: u128::MAX,
        clean: u128::MAX,
        work_ms: job.left as u64 * HOUR_MS,
        // Any power will do: one place has nothing to be compared with.
        work_uwh: job.left as u64 * 10_000_000,
        move_ms: 0,
        move_ug: 0,
        reliable: 1000,
        load: 0,
    };
    let now_ms = now as u64 * HOUR_MS;
    let work = Work {
        class: Sla::Normal,
        finish_by_ms: Some(now_ms + job.slots as u64 * HOUR_MS),
        since_ms: job.arrival as u64 * HOUR_MS,
        runs_on: job.runs.then_some(device),
        unsaved_ms: 0,
        seed: 0,
    };
    matches!(decide(&work, now_ms, &[peer]), Decision::Run(..))
}

/// Replays all of it and prints it; returns what the JSON holds, and whether ours was above every causal baseline, in
/// the mean and in the worst region, and missed nothing.
pub(crate) fn compare(name: &str, regions: &[Region], lag: usize, every: usize) -> (Vec<Value>, bool) {
    let paths: Vec<Paths> = regions
        .iter()
        .map(|region| {
            let span = region.span();
            let hours = || span.start..span.end + LEADS;
            Paths {
                first: span.start,
                plain: hours().map(|now| base::plain_path(region, now, lag)).collect(),
                bar: hours().map(|now| base::bar_path(region, now, lag)).collect(),
                mesh: hours().map(|now| milligrams(&region.known(now, lag).path(now as u64))).collect(),
            }
        })
        .collect();
    let (mut list, mut above) = (Vec::new(), true);
    for class in CLASSES {
        println!(
            "\n{name}, {} h of work in {} h, newest known value {lag} h old, {} regions",
            class.job_h,
            class.deadline_h,
            regions.len()
        );
        println!(
            "{:<24} {:>8} {:>8}  {:<24} {:>6} {:>9}",
            "policy", "saving %", "capture", "worst region", "misses", "segments"
        );
        let lines: Vec<Line> = POLICIES
            .iter()
            .map(|(policy, clairvoyant)| line(policy, *clairvoyant, regions, &paths, class, lag, every))
            .collect();
        let ours = lines.iter().find(|line| line.policy == "mesh");
        for line in &lines {
            let (worst, capture) = line.worst();
            let label = format!("{}{}", line.policy, if line.clairvoyant { " *" } else { "" });
            println!(
                "{label:<24} {:>8.2} {:>8.4}  {:<24} {:>6} {:>9.2}",
                line.saving(),
                line.capture(),
                format!("{worst} {capture:.3}"),
                line.misses,
                line.segments
            );
            if let Some(ours) = ours.filter(|ours| ours.policy != line.policy && !line.clairvoyant) {
                above &= ours.capture() > line.capture() && ours.worst().1 > capture && ours.misses == 0;
            }
            list.push(line.json(name, class, lag));
        }
    }
    println!("* knows the future");
    (list, above)
}

pub(crate) fn milligrams(path: &[f64]) -> Vec<u32> {
    path.iter().map(|grams| (grams * 1000.0) as u32).collect()
}

fn line(
    policy: &'static str,
    clairvoyant: bool,
    regions: &[Region],
    paths: &[Paths],
    class: Class,
    lag: usize,
    every: usize,
) -> Line {
    let (mut list, mut misses, mut segments, mut jobs) = (Vec::new(), 0, 0, 0);
    for (region, paths) in regions.iter().zip(paths) {
        let arrivals: Vec<usize> = region.span().step_by(every).collect();
        let values = &region.values;
        let now = replay(values, &arrivals, class, |_, _| true).carbon;
        let best = optimum(values, &arrivals, class);
        let outcome = run(policy, region, paths, &arrivals, class, lag);
        misses += outcome.misses;
        segments += outcome.segments;
        jobs += arrivals.len();
        // Where nothing can be gained, nothing was missed; sums in another order differ in their last bits.
        let capture = if now > best * (1.0 + 1e-9) { (now - outcome.carbon) / (now - best) } else { 1.0 };
        list.push((region.name.clone(), 100.0 * (1.0 - outcome.carbon / now), capture));
    }
    Line { policy, clairvoyant, regions: list, misses, segments: segments as f64 / jobs as f64 }
}

fn run(
    policy: &str,
    region: &Region,
    paths: &Paths,
    arrivals: &[usize],
    class: Class,
    lag: usize,
) -> Outcome {
    let Class { job_h, deadline_h } = class;
    let values = &region.values;
    let (first, plain) = (paths.first, &paths.plain);
    let planned = |plan: &dyn Fn(usize) -> Vec<bool>| {
        let mut planned = Planned::new(plan);
        replay(values, arrivals, class, |now, job| planned.decide(now, job))
    };
    let month = |now: usize| &values[(now - lag).saturating_sub(30 * 24)..=now - lag];
    match policy {
        "run-now" => replay(values, arrivals, class, |_, _| true),
        "random" => planned(&|at| base::random(at, job_h, deadline_h)),
        "plan-once-contiguous" => planned(&|at| base::contiguous(&plain[at - first], job_h, deadline_h)),
        "plan-once-interrupting" => planned(&|at| base::interrupting(&plain[at - first], job_h, deadline_h)),
        "gaia-lowest-slot" => planned(&|at| base::lowest_slot(&plain[at - first], job_h, deadline_h)),
        "gaia-carbon-time" => planned(&|at| base::carbon_time(&plain[at - first], job_h, deadline_h)),
        // Suspend and resume at the 30th percentile of what is expected of the next day.
        "threshold" => replay(values, arrivals, class, |now, job| {
            let path = &plain[now - first];
            job.left >= job.slots || path[0] <= base::percentile(&path[..24], 30)
        }),
        // As GAIA has Ecovisor: of what the next day will really be.
        "threshold-clairvoyant" => replay(values, arrivals, class, |now, job| {
            job.left >= job.slots || values[now] <= base::percentile(&values[now..now + 24], 30)
        }),
        "k-min" => {
            let limits: Vec<Vec<f64>> = arrivals
                .iter()
                .map(|at| {
                    let (low, high) =
                        month(*at).iter().fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
                            (low.min(*value), high.max(*value))
                        });
                    base::k_min(low.max(0.01), high.max(0.02), job_h)
                })
                .collect();
            replay(values, arrivals, class, |now, job| {
                let limits = arrivals.binary_search(&job.arrival).map(|index| &limits[index]);
                let limit = limits.map_or(0.0, |limits| limits[job_h - job.left]);
                job.left >= job.slots || values[now - lag] <= limit
            })
        }
        "re-plan" => replay(values, arrivals, class, |now, job| base::rank(&plain[now - first], job)),
        "bar" => replay(values, arrivals, class, |now, job| base::rank(&paths.bar[now - first], job)),
        "mesh" => replay(values, arrivals, class, |now, job| ours(&paths.mesh[now - first], now, job)),
        "optimum-contiguous" => Outcome {
            carbon: optimum_contiguous(values, arrivals, class),
            segments: arrivals.len(),
            misses: 0,
        },
        // Its segments are counted in the same way as everybody's.
        _ => planned(&|at| base::interrupting(&values[at..at + deadline_h], job_h, deadline_h)),
    }
}
