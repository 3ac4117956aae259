//! Ten thousand tasks, a thousand peers: how long until each has its place?
// spec: PLACE-7

use mesh_policies::placement::board::{Ask, Board, Spot};
use mesh_policies::placement::decide::{HOUR_MS, Peer, Work, decide};
use mesh_policies::placement::hours::HORIZON;
use mesh_protocol::key::PublicKey;
use mesh_protocol::task::Sla;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

const TASKS: u64 = 10_000;
const PEERS: u64 = 1_000;
const ZONES: u64 = 120;
/// Tasks that are also decided one by one: enough for a mean, and for a difference to show.
const SAMPLE: u64 = 200;
/// Changes of each kind that are measured.
const CHANGES: u64 = 50;
/// Seconds that all of it may take.
const MOST_S: f64 = 1.0;
const NOW_MS: u64 = 470_000 * HOUR_MS;

/// A number that depends on nothing but its two.
fn random(a: u64, b: u64, below: u64) -> u64 {
    let mut z = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_mul(0xd6e8_feb8_6659_fd93);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % below
}

/// A zone with a level of its own and a valley at its noon.
fn path(zone: u64, day: u64) -> Vec<u32> {
    let level = 60_000 + random(1, zone, 600_000);
    let depth = random(2, zone, 70);
    let hour = |hour: u64| {
        let from_noon = (hour + zone) % 24;
        let sun = 6_u64.saturating_sub(from_noon.abs_diff(12));
        let noise = random(zone + 1000 * day, hour, 20);
        (level * (100 - depth * sun / 6) / 100 * (90 + noise) / 100) as u32
    };
    (0..HORIZON as u64).map(hour).collect()
}

fn spot(number: u64, paths: &[Vec<u32>], load: u64) -> Spot {
    let mut device = [0; 32];
    device[..8].copy_from_slice(&number.to_le_bytes());
    let zone = (number % ZONES) as usize;
    // A third is always there, the others for half of each day, whichever.
    let begins = random(3, number, 36) as usize;
    let there = (0..HORIZON).filter(|hour| begins >= 24 || (hour + begins) % 24 < 12);
    let clean = (0..HORIZON).filter(|hour| paths[zone][*hour] < 150_000);
    Spot {
        device: PublicKey(device),
        zone,
        there: there.fold(0, |mask, hour| mask | 1 << hour),
        clean: clean.fold(0, |mask, hour| mask | 1 << hour),
        milliwatts: 4_000 + 1_000 * random(4, number, 16),
        own: number == 0,
        reliable: 900 + random(5, number, 101) as u16,
        load: (100 * load) as u16,
    }
}

fn ask(number: u64) -> Ask {
    let class = match random(6, number, 20) {
        0 => Sla::Urgent,
        1..=5 => Sla::High,
        6..=7 => Sla::Eco,
        _ => Sla::Normal,
    };
    let within = match class {
        Sla::Urgent => 13,
        Sla::High => 24,
        _ => 24 + random(7, number, 73),
    };
    Ask {
        work: Work {
            class,
            finish_by_ms: (class != Sla::Eco).then_some(NOW_MS + within * HOUR_MS),
            since_ms: NOW_MS,
            runs_on: None,
            unsaved_ms: 0,
            seed: number,
        },
        // No two are alike.
        work_ms: 60_000 + random(8, number, 10 * HOUR_MS) / TASKS * TASKS + number,
        move_ms: random(9, number, 600_000),
        move_ug: random(10, number, 200_000),
        needs_clean: class == Sla::Eco,
        barred: BTreeMap::new(),
    }
}

/// Seconds that this thread has had a processor for, where the system tells; a machine that is busy with something else
/// does not count.
fn busy_s(since: Instant) -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    nanos.map_or_else(|| since.elapsed().as_secs_f64(), |nanos| nanos / 1e9)
}

/// Measures and prints it. Gives what the JSON holds, and whether it was fast enough and right.
pub(crate) fn measure() -> (Value, bool) {
    let begun = Instant::now();
    let mut last = busy_s(begun);
    let mut lap = || {
        let now = busy_s(begun);
        now - std::mem::replace(&mut last, now)
    };
    let paths: Vec<Vec<u32>> = (0..ZONES).map(|zone| path(zone, 0)).collect();
    let spots: Vec<Spot> = (0..PEERS).map(|peer| spot(peer, &paths, random(11, peer, 5))).collect();
    let asks: Vec<Ask> = (0..TASKS).map(ask).collect();
    lap();
    let mut board = Board::new(NOW_MS, paths.clone(), spots.clone());
    for (number, ask) in (0..).zip(&asks) {
        board.set_task(number, ask.clone());
    }
    let all_s = lap();
    let mut same = true;
    for number in (0..SAMPLE).map(|sample| sample * (TASKS / SAMPLE)) {
        let ask = &asks[number as usize];
        let peers: Vec<Peer<'_>> = spots.iter().map(|spot| ask.peer(spot, &paths[spot.zone])).collect();
        same &= board.decision(number) == Some(&decide(&ask.work, NOW_MS, &peers));
    }
    let one_by_one_s = lap() * (TASKS / SAMPLE) as f64;
    let mut anew = 0;
    for change in 0..CHANGES {
        let peer = random(12, change, PEERS);
        anew += board.set_spot(peer as usize, spot(peer, &paths, 5 + change % 5));
    }
    let peer_ms = lap() * 1000.0 / CHANGES as f64;
    let peer_anew = anew / CHANGES as usize;
    anew = 0;
    for change in 0..CHANGES {
        let zone = random(13, change, ZONES);
        anew += board.set_path(zone as usize, path(zone, 1));
    }
    let zone_ms = lap() * 1000.0 / CHANGES as f64;
    let zone_anew = anew / CHANGES as usize;
    for change in 0..CHANGES {
        board.set_task(random(14, change, TASKS), ask(TASKS + change));
    }
    let task_ms = lap() * 1000.0 / CHANGES as f64;
    let well = same && all_s < MOST_S;
    println!(
        "\n{TASKS} waiting tasks, {PEERS} peers in {ZONES} zones, {HORIZON} hours; processor time of one core"
    );
    println!("{:<44} {all_s:>10.3} s, {:.0} decisions/s", "all of them placed", TASKS as f64 / all_s);
    println!("{:<44} {one_by_one_s:>10.3} s (from {SAMPLE} of them)", "one by one");
    println!("{:<44} {peer_ms:>10.3} ms, {peer_anew} tasks decided anew", "a peer changes");
    println!("{:<44} {zone_ms:>10.3} ms, {zone_anew} tasks decided anew", "a zone's forecast changes");
    println!("{:<44} {task_ms:>10.3} ms", "a task comes");
    println!(
        "all placed within {MOST_S} s, each as `decide` alone would have it: {}",
        if well { "PASS" } else { "FAIL" }
    );
    let line = json!({
        "data": "scale", "job_h": Value::Null, "deadline_h": Value::Null, "lag_h": Value::Null, "policy": "mesh",
        "saving": Value::Null, "capture": Value::Null, "worst_region": Value::Null, "worst_capture": Value::Null,
        "misses": Value::Null, "segments": Value::Null,
        "tasks": TASKS, "peers": PEERS, "zones": ZONES, "hours": HORIZON, "all_s": all_s,
        "decisions_per_s": TASKS as f64 / all_s, "one_by_one_s": one_by_one_s, "peer_change_ms": peer_ms,
        "zone_change_ms": zone_ms, "task_change_ms": task_ms, "same_as_one_by_one": same,
    });
    (line, well)
}
