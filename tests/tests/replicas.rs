//! Replicas and checks with real peers: processes, sandboxes, network and disks. A sandbox that lies cannot be had in a
//! real process; the simulator has one.

use crate::peers::{hello, street, wat};
use crate::support::{BOUND, until};
use serde_json::Value;

/// Three owners' peers, of which two must agree, whatever energy there is.
const TWO_OF_THREE: [&str; 6] = ["--sla", "urgent", "--replicas", "3", "--quorum", "2"];

fn fates(task: &Value) -> Vec<String> {
    let history = task["history"].as_array().unwrap();
    history.iter().map(|it| it["fate"].as_str().unwrap().to_owned()).collect()
}

// spec: DEL-8, REP-1
#[test]
fn three_peers_of_three_owners_agree_and_one_result_takes_effect() {
    let files = tempfile::tempdir().unwrap();
    let peers = street(&["alice", "bob", "carol"]);
    let module = hello(files.path());
    let out = files.path().join("out");
    let waits = ["--wait", "-o", out.to_str().unwrap(), &module];
    let output = peers[0].run(&[&["submit"][..], &TWO_OF_THREE, &waits].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_to_string(out.join("stdout")).unwrap(), "hello from afar\n");
    let task = &peers[0].json(&["task", "show", "hello"]);
    let devices: std::collections::BTreeSet<&str> =
        task["history"].as_array().unwrap().iter().map(|it| it["device"].as_str().unwrap()).collect();
    assert_eq!(devices.len(), 3, "{task}");
    let fates = fates(task);
    assert_eq!(fates.iter().filter(|fate| *fate == "done").count(), 1, "{task}");
    assert_eq!(fates.iter().filter(|fate| fate.starts_with("agreed")).count(), 2, "{task}");
    // Everybody sees who agreed with whom, whoever asks.
    until("carol to see that bob agreed", BOUND, || {
        let log = peers[2].ok(&["ledger", "log"]);
        (log.matches("completed").count() == 3).then_some(())
    });
    let said = peers[2].ok(&["reputation", "bob"]);
    assert!(said.contains("results on which others agreed"), "{said}");
    peers[1].refused(&["submit", "--replicas", "2", "--quorum", "3", &module], "quorum");
}

// spec: DEL-8
#[test]
fn where_too_few_replicas_agree_the_task_fails_and_says_so() {
    let files = tempfile::tempdir().unwrap();
    let peers = street(&["alice", "bob", "carol"]);
    // Where it is cut off depends on the machine, so no two of its runs say anything of each other.
    let module = wat(files.path(), "endless", "(loop $l (br $l))");
    let id = peers[0].submit(&[&TWO_OF_THREE[..], &["--duration", "1s", &module]].concat());
    let task = peers[0].waits_for(&id, "failed", |task| task["state"] == "failed");
    let why = task["why"].as_str().unwrap();
    assert!(why.contains("of its 3 replicas 0 agreed on one result, and 2 had to"), "{why}");
    assert!(task["result"].is_null(), "{task}");
}

// spec: DEL-8
#[test]
fn a_new_peers_result_is_checked_by_a_third_owners_peer_after_it_took_effect() {
    let files = tempfile::tempdir().unwrap();
    let peers = street(&["alice", "bob", "carol"]);
    let module = hello(files.path());
    let id = peers[0].submit(&[&module]);
    peers[0].waits_for(&id, "done", |task| task["state"] == "done");
    let task = peers[0].waits_for(&id, "checked", |task| fates(task).len() == 2 && fates(task)[1] != "open");
    assert_eq!(fates(&task)[0], "done");
    assert!(fates(&task)[1].starts_with("agreed"), "{task}");
    assert_eq!(task["attempt"][0], 1, "{task}");
    let (first, second) = (task["history"][0]["device"].as_str(), task["history"][1]["device"].as_str());
    assert!(first != second && second != Some("alice-laptop"), "{task}");
}
