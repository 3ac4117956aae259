//! What runs when energy changes under it: real processes, a feed and a folder of power supplies that the test changes.

use crate::peers::{LONG, Peer, found, sees_slots};
use crate::support::{BOUND, assemble, until};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Without a checkpoint it saves one, says so, and computes for far longer than any test; from its checkpoint it says what
/// it had saved, and ends.
const SAVER: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "mesh_v1" "checkpoint_save" (func $save (param i32 i32) (result i32)))
  (import "mesh_v1" "checkpoint_len" (func $len (result i32)))
  (import "mesh_v1" "checkpoint_load" (func $load (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "the state")
  (func (export "_start")
    (local $n i64)
    (if (i32.ge_s (call $len) (i32.const 0)) (then
      (if (i32.ne (call $load (i32.const 128) (i32.const 1024)) (i32.const 9)) (then (call $exit (i32.const 3))))
      (i32.store (i32.const 0) (i32.const 128))
      (i32.store (i32.const 4) (i32.const 9))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
      (call $exit (i32.const 0))))
    ;; Long enough for the meter to see it.
    (loop $work
      (local.set $n (i64.add (local.get $n) (i64.const 1)))
      (br_if $work (i64.lt_s (local.get $n) (i64.const 300000000))))
    (if (call $save (i32.const 64) (i32.const 9)) (then (call $exit (i32.const 4))))
    (loop $again (br $again))))"#;

/// What an owner's program tells of a peer's energy, and what the test makes of it.
struct Feed(PathBuf);

impl Feed {
    fn new(folder: &Path, name: &str) -> Self {
        Self(folder.join(name))
    }

    fn says(&self, grams: u32, renewable: u32) {
        let text =
            format!(r#"{{"source":"grid","renewable_percent":{renewable},"g_per_kwh":{grams},"valid_s":1}}"#);
        // In one step, so that no half of it is read.
        let next = self.0.with_extension("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }

    fn source(&self) -> String {
        format!("command:cat {}", self.0.display())
    }
}

fn saver(folder: &Path) -> String {
    let path = folder.join("saver.wasm");
    std::fs::write(&path, assemble("saver", SAVER)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A checkpoint of the task is at home: its owner wants to fetch no other.
fn runs_and_saved(alice: &Peer, id: &str, on: &str) {
    alice.waits_for(id, "running", |task| {
        task["attempt"][1] == on && task["progress"]["phase"] == "running" && task["saved"] == true
    });
}

/// Everything that any peer says of energy, by its attempt: used, and whether it came to a result.
fn used(peer: &Peer) -> Vec<(String, u64)> {
    let log = peer.json(&["ledger", "log"]);
    let of = |event: &Value| {
        let kind = event["event"].as_str()?.to_owned();
        matches!(kind.as_str(), "spent" | "completed").then(|| (kind, event["data"].to_string().len() as u64))
    };
    log.as_array().unwrap().iter().filter_map(of).collect()
}

// spec: DEL-7, DEL-13, SLA-1, DEL-9, EN-4, PERM-5
#[test]
fn a_laptop_that_loses_mains_holds_its_guest_which_goes_on_from_its_checkpoint_elsewhere() {
    let files = tempfile::tempdir().unwrap();
    let supplies = files.path().join("power_supply");
    let mains = supplies.join("AC");
    std::fs::create_dir_all(&mains).unwrap();
    std::fs::write(mains.join("type"), "Mains\n").unwrap();
    std::fs::write(mains.join("online"), "1\n").unwrap();
    let mut peers: Vec<Peer> = ["alice", "bob", "carol"].map(Peer::new).into();
    peers[0].up(&["--energy", "grid:5:900"]);
    peers[1].up_in(&[("MESH_POWER_SUPPLIES", &supplies)], &["--energy", "grid:50:100"]);
    peers[2].up(&["--energy", "grid:50:800"]);
    found(&peers, None);
    let id = peers[0].submit(&[LONG[0], LONG[1], &saver(files.path())]);
    runs_and_saved(&peers[0], &id, "bob-laptop");

    let lost = Instant::now();
    std::fs::write(mains.join("online"), "0\n").unwrap();
    until("the guest to stand still or be gone", BOUND, || {
        let status = peers[1].json(&["status"]);
        let running = status["running"].as_array()?;
        running.iter().all(|it| it["progress"]["phase"] == "paused").then_some(())
    });
    assert!(lost.elapsed() < Duration::from_secs(10), "{:?}", lost.elapsed());
    let task = peers[0].waits_for(&id, "done", |task| task["state"] == "done");
    assert_eq!(task["attempt"][1], "carol-laptop", "{task}");
    assert!(task["history"][0]["fate"].as_str().unwrap().contains("on battery"), "{task}");
    let receipt = &task["result"]["receipt"]["receipt"];
    assert_eq!(receipt["outcome"]["Exited"], 0, "{task}");
    assert!(receipt["usage"]["fuel_before"].as_u64() > Some(0), "it went on from its checkpoint: {task}");
    let out = files.path().join("out");
    peers[0].ok(&["task", "result", &id, "-o", out.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(out.join("stdout")).unwrap(), "the state");

    // The same words in the ledger, and what both used on record, once each.
    until("both to be on record", BOUND, || {
        let kinds = used(&peers[0]);
        let count = |kind: &str| kinds.iter().filter(|(it, _)| it == kind).count();
        (count("spent") == 1 && count("completed") == 1).then_some(())
    });
    assert!(peers[0].ok(&["ledger", "log"]).contains("on battery"));
    assert!(peers[1].json(&["status"])["donor"].as_str().unwrap().contains("on battery"));
    peers[0].ok(&["ledger", "verify", "--carbon"]);
    until("the whole to be accounted", BOUND, || {
        let of = |peer: &str| energy(&peers[0].json(&["stats", "--peer", peer]));
        let (bob, carol) = (of("bob-laptop"), of("carol-laptop"));
        let all = energy(&peers[0].json(&["stats"]));
        (bob > 0.0 && (all - bob - carol).abs() < 1e-9).then_some(())
    });
}

fn energy(stats: &Value) -> f64 {
    let part = |name: &str| stats[name].as_f64().unwrap();
    part("energyUsedClean") + part("energyUsedDirty")
}

// spec: SLA-1, DEL-7, DEL-9, PLACE-2
#[test]
fn an_eco_task_stands_still_on_dirty_energy_and_goes_on_when_it_is_clean_or_where_it_is() {
    let files = tempfile::tempdir().unwrap();
    let (bob, carol) = (Feed::new(files.path(), "bob"), Feed::new(files.path(), "carol"));
    bob.says(50, 90);
    carol.says(700, 10);
    let mut peers: Vec<Peer> = ["alice", "bob", "carol"].map(Peer::new).into();
    peers[0].up(&["--energy", "grid:5:900"]);
    peers[1].up(&["--energy", &bob.source()]);
    peers[2].up(&["--energy", &carol.source()]);
    found(&peers, None);
    sees_slots(&peers[0], "bob");
    let id = peers[0].submit(&["--sla", "eco", LONG[0], LONG[1], &saver(files.path())]);
    runs_and_saved(&peers[0], &id, "bob-laptop");

    bob.says(700, 10);
    let words = "the energy there is not clean enough for it";
    let task = peers[0].waits_for(&id, "held", |task| task["progress"]["phase"] == "paused");
    assert!(task["why"].as_str().unwrap().contains(words), "{task}");
    assert!(peers[0].ok(&["task", "why", &id]).contains(words));
    assert!(peers[1].ok(&["status"]).contains(words));
    bob.says(60, 80);
    peers[0].waits_for(&id, "running again", |task| task["progress"]["phase"] == "running");
    until("the hold to be on record", BOUND, || {
        peers[0].ok(&["ledger", "log"]).contains(words).then_some(())
    });

    bob.says(700, 10);
    peers[0].waits_for(&id, "held again", |task| task["progress"]["phase"] == "paused");
    carol.says(20, 95);
    let task = peers[0].waits_for(&id, "done", |task| task["state"] == "done");
    assert!(task["attempt"][1] == "carol-laptop" && task["attempt"][0] == 2, "{task}");
    assert!(task["history"][0]["fate"].as_str().unwrap().contains(words), "{task}");
}

// spec: SLA-1, SLA-2, CLI-3, PLACE-3
#[test]
fn deadlines_are_the_submitters_and_one_that_nobody_can_meet_is_told_at_once() {
    let files = tempfile::tempdir().unwrap();
    let mut alice = Peer::new("alice");
    alice.up(&["--energy", "grid:40:300"]);
    found(std::slice::from_ref(&alice), None);
    let module = saver(files.path());
    let output = alice.run(&["submit", "--finish-by", "5m", LONG[0], LONG[1], &module]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("warning: it may end late"), "{said}");
    let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(alice.ok(&["task", "why", &id]).contains("may end late"));
    let shown = alice.ok(&["task", "show", &id]);
    assert!(shown.contains("done by") && shown.contains("starts by"), "{shown}");
    alice.ok(&["task", "cancel", &id]);
    let plan = alice.ok(&["submit", "--dry-run", "--finish-by", "8h", LONG[0], LONG[1], &module]);
    for said in ["it would go to alice-laptop: 300 g per kWh now", "any energy", "no daily limit", "done by"]
    {
        assert!(plan.contains(said), "{said}: {plan}");
    }
    alice.refused(&["submit", "--finish-by", "2020-01-01", &module], "before its submission");
    alice.refused(&["submit", "--start-by", "soon", &module], "18:30");
    let eco = alice.submit(&["--sla", "eco", "--finish-by", "1h", &module]);
    assert!(alice.ok(&["task", "show", &eco]).contains("given up"));
}
