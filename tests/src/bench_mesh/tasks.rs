//! Two peers on loopback: how long a task takes there and back, and how many get through.

use crate::figures::{Figures, Target, ms, note, percentile};
use crate::peers::{Ends, Http, Peer, until};
use crate::processes::cpu_s;
use mesh_protocol::rules::Rules;
use mesh_tests::trivial;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Tasks before anything is measured: workers started, module compiled, connections at speed.
const WARM_UP: u32 = 50;
const ONE_BY_ONE: u32 = 200;
const AT_ONCE: usize = 64;
const MANY: u32 = 2000;
/// Tasks that the other peer runs at once. Far more than cores: a trivial task mostly waits for its begin and end to be
/// durable, and the more wait together, the more share one flush.
const SLOTS: &str = "16";

pub(crate) fn measure(figures: &mut Figures) {
    let folder = tempfile::tempdir().unwrap();
    note(
        "two peers, each a process with store, journal and sandbox; all checks; one task at a time, by HTTP",
    );
    let mut sync = fsync_ms(folder.path());
    let sync = percentile(&mut sync, 0.5);
    figures.put("fsync_ms_p50", "fdatasync of 4 KiB appended on this disk (ms, p50)", sync, Target::Any);
    let (here, there) = couple(folder.path());
    let ends = Ends::of(&here);
    let tasks = Tasks::new(&here);
    let mut http = here.http();
    for _ in 0..WARM_UP {
        one(&tasks, &mut http, &ends);
    }
    let (mut told, mut done): (Vec<f64>, Vec<f64>) =
        (0..ONE_BY_ONE).map(|_| one(&tasks, &mut http, &ends)).unzip();
    figures.put(
        "submit_to_result_ms_p50",
        "submit to result of a trivial warm task at the other peer (ms, p50)",
        percentile(&mut done, 0.5),
        Target::Below(10.0),
    );
    figures.put("submit_to_result_ms_p90", "  the same (ms, p90)", percentile(&mut done, 0.9), Target::Any);
    figures.put("submit_to_result_ms_p99", "  the same (ms, p99)", percentile(&mut done, 0.99), Target::Any);
    let told = percentile(&mut told, 0.5);
    figures.put(
        "submit_to_answer_ms_p50",
        "  until the submission was durable and answered (ms, p50)",
        told,
        Target::Any,
    );
    many(figures, &here, &there, &tasks, &ends);
    let runs: u32 = here
        .get("/v1/tasks")
        .as_array()
        .unwrap()
        .iter()
        .map(|task| u32::from(task["attempt"][1] == "there" && task["attempt"][0] == 1))
        .sum();
    assert_eq!(
        runs,
        tasks.submitted.load(Ordering::Relaxed),
        "every task ran at the other peer at first try"
    );
}

/// Submits one, and gives the milliseconds until the answer and until the result was seen.
fn one(tasks: &Tasks, http: &mut Http, ends: &Ends) -> (f64, f64) {
    let draft = tasks.draft();
    let began = Instant::now();
    let task = submit(http, &draft);
    let answered = began.elapsed();
    let (seen, state) = ends.wait(&task);
    assert_eq!(state, "done");
    (ms(answered), ms(seen - began))
}

fn many(figures: &mut Figures, here: &Peer, there: &Peer, tasks: &Tasks, ends: &Ends) {
    let cpu = || [cpu_s(here.pid()), cpu_s(there.pid()), cpu_s(std::process::id())];
    let left = AtomicU32::new(MANY);
    let (before, began) = (cpu(), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let mut http = here.http();
                let take = |left: u32| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                    one(tasks, &mut http, ends);
                }
            });
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    let shares: Vec<f64> =
        cpu().iter().zip(before).map(|(after, before)| (after - before) / seconds * 100.0).collect();
    figures.put(
        "delegations_per_s",
        "delegations a second, 64 tasks in flight, 2,000 tasks",
        f64::from(MANY) / seconds,
        Target::AtLeast(500.0),
    );
    figures.put("delegations_cpu_here_pct", "  CPU of the peer that submits (%)", shares[0], Target::Any);
    figures.put(
        "delegations_cpu_there_pct",
        "  CPU of the peer that runs them, with its workers (%)",
        shares[1],
        Target::Any,
    );
    // The children of this process are those two.
    let own = shares[2] - shares[0] - shares[1];
    figures.put(
        "delegations_cpu_bench_pct",
        "  CPU of this program, which asks and listens (%)",
        own,
        Target::Any,
    );
}

/// What a disk takes to make an append durable.
fn fsync_ms(folder: &Path) -> Vec<f64> {
    let mut file = File::create(folder.join("sync")).unwrap();
    let append = |_| {
        file.write_all(&[1; 4096]).unwrap();
        let began = Instant::now();
        file.sync_data().unwrap();
        ms(began.elapsed())
    };
    (0..200).map(append).collect()
}

/// Two members of a community without ballots or limits; the second lets the first one's tasks run.
fn couple(folder: &Path) -> (Peer, Peer) {
    let rules = folder.join("rules.toml");
    let most = u64::from(Rules::default().ads_per_minute).max(600);
    let text = format!(
        "voting_window_ms = 0\nentries_per_hour = 0\nads_per_minute = {most}\nfree = {{ tasks = 0, longest_ms = 600000, memory_bytes = 100000000 }}\n"
    );
    std::fs::write(&rules, text).unwrap();
    let here = Peer::start(folder, "here", &["--name", "anna"], &["--slots", "1"]);
    let there = Peer::start(folder, "there", &["--name", "ben"], &["--slots", SLOTS]);
    here.ok(&["community", "new", "Bench", "--rules", rules.to_str().unwrap()]);
    there.ok(&["join", &here.ok(&["invite"])]);
    there.ok(&["grant", "--user", "anna"]);
    until("the peers to know each other", || {
        let peers = here.get("/v1/peers");
        peers
            .as_array()?
            .iter()
            .find(|peer| peer["name"] == "there" && peer["free_slots"].as_u64() > Some(0))?;
        Some(())
    });
    (here, there)
}

/// Tasks that differ in nothing but their nonce.
struct Tasks {
    module: Vec<u8>,
    submitted: AtomicU32,
}

impl Tasks {
    fn new(here: &Peer) -> Self {
        let module = wat::parse_str(trivial::MODULE).unwrap();
        let (status, answer) = here.http().ask("POST", "/v1/blobs", "application/wasm", &module);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        Self { module, submitted: AtomicU32::new(0) }
    }

    fn draft(&self) -> Vec<u8> {
        trivial::draft(&self.module, self.submitted.fetch_add(1, Ordering::Relaxed), "there")
    }
}

fn submit(http: &mut Http, draft: &[u8]) -> String {
    http.json("POST", "/v1/tasks", draft)["task"].as_str().unwrap().to_owned()
}
