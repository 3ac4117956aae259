//! Where and when together: six peers with a slot each, who give it for half of each day, and more work than the best
//! of them has room for.
// spec: PLACE-6

use crate::data::Region;
use crate::flow::Network;
use mesh_policies::placement::hours::HORIZON;
use mesh_policies::placement::together::{self, Place, Usual, Waiting};
use serde_json::{Value, json};

/// Peers of an instance.
const PEERS: usize = 6;
/// Hours of the day in which a peer gives its slot.
const GIVEN_H: usize = 12;
/// Hours of an instance in which work arrives; those after it are for what is left.
const WEEK_H: usize = 7 * 24;
/// Jobs of an instance.
const JOBS: u64 = 84;
/// Hours from arrival to deadline.
const DEADLINE_H: usize = 48;
/// What a policy may know of them: how many come, and that each length from one to eight hours is as likely.
const USUAL: Usual = Usual {
    tasks: JOBS as usize,
    hours: JOBS as usize * 9 / 2,
    squares: JOBS as usize * 51 / 2,
    within: DEADLINE_H,
};
/// Power of a task anywhere, in mW.
const POWER_MW: u64 = 15_000;
/// Energy of starting on a peer that does not have the task's module, inputs or checkpoint yet, in mWh.
const MOVE_MWH: u64 = 500;

/// A job: when it comes, and how many hours of work it is.
#[derive(Debug, Clone, Copy)]
struct Job {
    arrival: usize,
    length: usize,
}

/// A week of work for six peers. Hours count from its first.
struct Instance<'a> {
    regions: Vec<&'a Region>,
    start: usize,
    jobs: Vec<Job>,
}

impl Instance<'_> {
    /// Does this peer give its slot in this hour? Each begins its day four hours after the one before.
    fn gives(peer: usize, hour: usize) -> bool {
        (hour + 24 - 4 * peer) % 24 < GIVEN_H
    }

    fn value(&self, peer: usize, hour: usize) -> f64 {
        self.regions[peer].values[self.start + hour]
    }

    fn json(&self, data: &str) -> Value {
        let hours = WEEK_H + DEADLINE_H;
        let peer = |peer: usize| {
            json!({
                "region": self.regions[peer].name,
                "g_per_kwh": (0..hours).map(|hour| self.value(peer, hour)).collect::<Vec<_>>(),
                "gives": (0..hours).map(|hour| u8::from(Self::gives(peer, hour))).collect::<Vec<_>>(),
            })
        };
        let job = |job: &Job| json!({"arrival_h": job.arrival, "work_h": job.length, "deadline_h": job.arrival + DEADLINE_H});
        json!({
            "data": data, "first_hour": self.start, "power_w": POWER_MW as f64 / 1000.0,
            "move_wh": MOVE_MWH as f64 / 1000.0, "slots": 1,
            "peers": (0..PEERS).map(peer).collect::<Vec<_>>(),
            "jobs": self.jobs.iter().map(job).collect::<Vec<_>>(),
        })
    }
}

/// What a policy made of an instance.
#[derive(Debug, Clone, Copy, Default)]
struct Outcome {
    grams: f64,
    misses: usize,
    segments: usize,
    moves: usize,
}

/// A number that depends on nothing but its two.
fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn jobs(seed: u64) -> Vec<Job> {
    let job = |number: u64| {
        let random = mix(seed, number);
        Job { arrival: (random % WEEK_H as u64) as usize, length: 1 + (random >> 32) as usize % 8 }
    };
    let mut jobs: Vec<Job> = (0..JOBS).map(job).collect();
    jobs.sort_by_key(|job| job.arrival);
    jobs
}

/// The least carbon with which all of it can be done, by somebody who knows the future and moves for nothing: a lower
/// bound of what any policy can reach. In g.
fn optimum(instance: &Instance<'_>) -> f64 {
    let hours = WEEK_H + DEADLINE_H;
    let windows: Vec<usize> = instance
        .jobs
        .iter()
        .scan(0, |next, _| {
            let first = *next;
            *next += DEADLINE_H;
            Some(first)
        })
        .collect();
    let (source, sink) = (0, 1);
    let job_node = |job: usize| 2 + job;
    let hour_node = |job: usize, hour: usize| 2 + instance.jobs.len() + windows[job] + hour;
    let slots = 2 + instance.jobs.len() * (1 + DEADLINE_H);
    let slot_node = |peer: usize, hour: usize| slots + peer * hours + hour;
    let mut network = Network::new(slots + PEERS * hours);
    for peer in 0..PEERS {
        for hour in (0..hours).filter(|hour| Instance::gives(peer, *hour)) {
            network.edge(slot_node(peer, hour), sink, 1, 0.0);
        }
    }
    for (number, job) in instance.jobs.iter().enumerate() {
        network.edge(source, job_node(number), job.length as u32, 0.0);
        for hour in 0..DEADLINE_H {
            // It runs on one peer at a time.
            network.edge(job_node(number), hour_node(number, hour), 1, 0.0);
            let at = job.arrival + hour;
            for peer in (0..PEERS).filter(|peer| Instance::gives(*peer, at)) {
                let grams = instance.value(peer, at) * POWER_MW as f64 / 1e6;
                network.edge(hour_node(number, hour), slot_node(peer, at), 1, grams);
            }
        }
    }
    let (sent, grams) = network.send(source, sink);
    let wanted: usize = instance.jobs.iter().map(|job| job.length).sum();
    // More work than room would make the two sides incomparable.
    if sent as usize == wanted { grams } else { f64::NAN }
}

/// Each job on the first peer with room from its arrival on, without a thought for carbon.
fn at_once(instance: &Instance<'_>) -> Outcome {
    run(instance, |open, now| {
        let mut taken = [false; PEERS];
        let choose = |state: &State| {
            let free = |peer: &usize| Instance::gives(*peer, now) && !taken[*peer];
            let chosen = match state.on {
                Some(peer) if free(&peer) => Some(peer),
                _ => (0..PEERS)
                    .filter(free)
                    .min_by_key(|peer| mix(*peer as u64, instance.jobs[state.job].arrival as u64)),
            };
            if let Some(peer) = chosen {
                taken[peer] = true;
            }
            chosen
        };
        open.iter().map(choose).collect()
    })
}

/// A job under way.
#[derive(Debug, Clone, Copy)]
struct State {
    job: usize,
    left: usize,
    /// Hours to its deadline, this one included.
    within: usize,
    /// Where it ran last.
    on: Option<usize>,
    /// Did it run in the hour before?
    runs: bool,
}

/// Goes through the hours; a policy says of all jobs, those with least to spare first, where each runs in this hour.
fn run(instance: &Instance<'_>, mut policy: impl FnMut(&[State], usize) -> Vec<Option<usize>>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut open: Vec<State> = Vec::new();
    let mut next = 0;
    for now in 0..WEEK_H + DEADLINE_H {
        while let Some(job) = instance.jobs.get(next).filter(|job| job.arrival == now) {
            open.push(State { job: next, left: job.length, within: DEADLINE_H, on: None, runs: false });
            next += 1;
        }
        open.sort_by_key(|state| state.within.saturating_sub(state.left));
        let chosen = policy(&open, now);
        let mut taken = [false; PEERS];
        for (state, peer) in open.iter_mut().zip(chosen) {
            let peer = peer.filter(|peer| Instance::gives(*peer, now) && !taken[*peer]);
            outcome.segments += usize::from(peer.is_some() && !state.runs);
            state.runs = peer.is_some();
            state.within -= 1;
            let Some(peer) = peer else { continue };
            taken[peer] = true;
            let moved = state.on != Some(peer);
            outcome.moves += usize::from(moved && state.on.is_some());
            let mwh = POWER_MW + if moved { MOVE_MWH } else { 0 };
            outcome.grams += instance.value(peer, now) * mwh as f64 / 1e6;
            state.on = Some(peer);
            state.left -= 1;
        }
        outcome.misses += open.iter().filter(|state| state.left > 0 && state.within == 0).count();
        open.retain(|state| state.left > 0 && state.within > 0);
    }
    outcome
}

/// The policy: all jobs are planned together, with what comes in the mean.
fn ours(instance: &Instance<'_>, paths: &[Vec<Vec<u32>>]) -> Outcome {
    run(instance, |open, now| {
        let waiting: Vec<Waiting> = open
            .iter()
            .map(|state| Waiting { left: state.left, within: state.within, on: state.on })
            .collect();
        let place = |peer: usize| {
            let gives = (0..HORIZON).filter(|hour| Instance::gives(peer, now + hour));
            Place { path: &paths[peer][now], open: gives.fold(0, |mask, hour| mask | 1 << hour) }
        };
        together::now(&waiting, &USUAL, &(0..PEERS).map(place).collect::<Vec<_>>())
    })
}

/// Six regions of a trace.
fn chosen(regions: &[Region]) -> Vec<&Region> {
    (0..PEERS).map(|peer| &regions[peer * regions.len() / PEERS]).collect()
}

/// The first hours of all weeks.
fn starts(chosen: &[&Region]) -> Vec<usize> {
    let span = chosen.iter().fold(0..usize::MAX, |all, region| {
        let span = region.span();
        all.start.max(span.start)..all.end.min(span.end)
    });
    span.clone().step_by(WEEK_H).filter(|start| start + WEEK_H + DEADLINE_H <= span.end).collect()
}

/// What is expected at each peer in each hour of it.
fn paths(instance: &Instance<'_>, lag: usize) -> Vec<Vec<Vec<u32>>> {
    let of = |region: &&Region| {
        let path = |hour: usize| {
            let now = instance.start + hour;
            super::when::milligrams(&region.known(now, lag).expected(now as u64))
        };
        (0..WEEK_H + DEADLINE_H).map(path).collect()
    };
    instance.regions.iter().map(of).collect()
}

/// All weeks of a trace with other jobs, so many times: how often is something late, however they fall?
pub(crate) fn vary(name: &str, regions: &[Region], lag: usize, seeds: u64) {
    if regions.len() < PEERS {
        return;
    }
    let chosen = chosen(regions);
    let mut totals = vec![(Outcome::default(), 0.0); seeds as usize];
    let (starts, mut beyond) = (starts(&chosen), 0);
    for start in &starts {
        let mut instance = Instance { regions: chosen.clone(), start: *start, jobs: Vec::new() };
        let paths = paths(&instance, lag);
        for (seed, (sum, best)) in (0..).zip(&mut totals) {
            instance.jobs = jobs(*start as u64 + (seed << 32));
            let bound = optimum(&instance);
            if bound.is_nan() {
                beyond += 1;
                continue;
            }
            add(sum, ours(&instance, &paths));
            *best += bound;
        }
    }
    println!(
        "\n{name}, places, {} weeks with the jobs of {seeds} seeds; {beyond} that nobody could do left out",
        starts.len()
    );
    let line = |of: &str, sum: Outcome, best: f64| {
        println!("{of:<8} {:>8.2} % over, {} misses", 100.0 * (sum.grams / best - 1.0), sum.misses);
    };
    let (mut all, mut bound) = (Outcome::default(), 0.0);
    for (seed, (sum, best)) in totals.into_iter().enumerate() {
        line(&format!("seed {seed}"), sum, best);
        add(&mut all, sum);
        bound += best;
    }
    line("all", all, bound);
}

/// Replays weeks of it and prints what came of them. Gives what the JSON holds, and whether carbon was within a tenth
/// of the optimum with nothing missed.
pub(crate) fn compare(name: &str, regions: &[Region], lag: usize) -> (Vec<Value>, Value, bool) {
    if regions.len() < PEERS {
        println!("\n{name}, places: skipped: it has {} regions, not {PEERS}", regions.len());
        return (Vec::new(), Value::Null, true);
    }
    let chosen = chosen(regions);
    let (mut sums, mut best, mut now, mut first) = (Outcome::default(), 0.0, Outcome::default(), Value::Null);
    let starts = starts(&chosen);
    // Months apart where the trace is a whole year, so that all seasons are there.
    let step = if starts.len() > 36 { 4 } else { 1 };
    let weeks = starts.len().div_ceil(step) as u64;
    for start in starts.into_iter().step_by(step) {
        let instance = Instance { regions: chosen.clone(), start, jobs: jobs(start as u64) };
        let paths = paths(&instance, lag);
        if first.is_null() {
            first = instance.json(name);
        }
        let (ours, plain) = (ours(&instance, &paths), at_once(&instance));
        add(&mut sums, ours);
        add(&mut now, plain);
        best += optimum(&instance);
    }
    let over = sums.grams / best - 1.0;
    let well = over <= 0.10 && sums.misses == 0;
    let names: Vec<&str> = chosen.iter().map(|region| region.name.as_str()).collect();
    println!(
        "\n{name}, {JOBS} jobs of 1 to 8 h a week in {DEADLINE_H} h on {PEERS} peers ({}) with a slot each for {GIVEN_H} h a day, {weeks} weeks",
        names.join(", ")
    );
    println!(
        "{:<24} {:>10} {:>12} {:>8} {:>8} {:>8}",
        "policy", "g CO2", "over bound %", "misses", "segments", "moves"
    );
    for (policy, outcome) in [("run-now, anywhere", now), ("mesh", sums)] {
        println!(
            "{policy:<24} {:>10.0} {:>12.2} {:>8} {:>8.2} {:>8}",
            outcome.grams,
            100.0 * (outcome.grams / best - 1.0),
            outcome.misses,
            outcome.segments as f64 / (weeks * JOBS) as f64,
            outcome.moves
        );
    }
    println!("{:<24} {best:>10.0} {:>12.2}", "lower bound *", 0.0);
    println!(
        "{name}: carbon within 10 % of the optimum of places under capacity, no misses: {}",
        if well { "PASS" } else { "FAIL" }
    );
    let line = json!({
        "data": format!("{name} places"), "job_h": Value::Null, "deadline_h": DEADLINE_H, "lag_h": lag, "policy": "mesh",
        "saving": 100.0 * (1.0 - sums.grams / now.grams),
        "capture": (now.grams - sums.grams) / (now.grams - best),
        "worst_region": Value::Null, "worst_capture": Value::Null,
        "misses": sums.misses, "segments": sums.segments as f64 / (weeks * JOBS) as f64,
        "over_optimum_pct": 100.0 * over,
    });
    (vec![line], first, well)
}

fn add(sum: &mut Outcome, of: Outcome) {
    sum.grams += of.grams;
    sum.misses += of.misses;
    sum.segments += of.segments;
    sum.moves += of.moves;
}
