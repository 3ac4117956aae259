//! Keys that are lost, stolen or to be kept better: what their owner does about it, from the command line.

use crate::peers::{Peer, hello, sees_slots, street};
use crate::support::{BOUND, beside, program, until};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Somebody's devices as another member has them, and which of them count no longer.
fn devices(seen_by: &Peer, user: &str) -> Vec<(String, bool)> {
    let members = seen_by.json(&["members"]);
    let member = members.as_array().unwrap().iter().find(|member| member["name"] == user).unwrap();
    let list = member["devices"].as_array().unwrap().iter();
    list.map(|device| (device["name"].as_str().unwrap().to_owned(), !device["counts_until"].is_null()))
        .collect()
}

fn user_key(seen_by: &Peer, user: &str) -> String {
    let members = seen_by.json(&["members"]);
    let member = members.as_array().unwrap().iter().find(|member| member["name"] == user).unwrap();
    member["user"].as_str().unwrap().to_owned()
}

fn add_device(owner: &Peer, name: &'static str) -> Peer {
    let mut device = Peer::device(name);
    device.up(&[]);
    let ticket = owner.ok(&["device", "add"]);
    device.ok(&["join", ticket.trim()]);
    device
}

// spec: NET-1, LED-3
#[test]
fn a_lost_device_and_a_stolen_user_key_are_taken_back() {
    let files = tempfile::tempdir().unwrap();
    let module = hello(files.path());
    let mut peers = street(&["alice", "bob"]);
    peers[0].ok(&["grant", "--user", "bob"]);
    let phone = add_device(&peers[1], "phone");
    sees_slots(&phone, "alice");
    let id = phone.submit(&["--on", "alice-laptop", &module]);
    phone.waits_for(&id, "done", |task| task["state"] == "done");

    // The phone is lost.
    let (alice, bob) = (&peers[0], &peers[1]);
    alice.refused(&["device", "revoke", "phone"], "somebody else's");
    bob.refused(&["device", "revoke", "bob-laptop"], "this one");
    phone.refused(&["device", "revoke", "bob-laptop"], "the user key is not on this device");
    bob.ok(&["device", "revoke", "phone"]);
    let gone = [("bob-laptop".to_owned(), false), ("phone".to_owned(), true)];
    until("alice to know", BOUND, || {
        let mut list = devices(alice, "bob");
        list.sort();
        (list == gone).then_some(())
    });
    assert!(bob.ok(&["device", "ls"]).contains("counts no longer"));
    // It is told so wherever it knocks, and what it submits goes nowhere.
    until("the phone to hear of it", BOUND, || {
        let trouble = phone.json(&["status"])["trouble"].to_string();
        trouble.contains("counts no more").then_some(())
    });
    // Others go on writing, such as whom they witness; nothing may come from the phone.
    let of_the_phone = || {
        let log = alice.ok(&["ledger", "log"]);
        log.lines().filter(|line| line.split('|').nth(1).is_some_and(|peer| peer.trim() == "phone")).count()
    };
    let ran = of_the_phone();
    assert!(ran > 0);
    if phone.run(&["submit", "--name", "late", "--on", "alice-laptop", &module]).status.success() {
        phone.waits_for("late", "waiting", |task| task["state"] == "waiting");
    }
    assert_eq!((alice.runs_now(), of_the_phone()), (0, ran));
    bob.refused(&["device", "revoke", "phone"], "there is none");
    until("the ledger to say so", BOUND, || {
        (alice.ok(&["ledger", "log"]).contains("key revoked")).then_some(())
    });

    // So may be the user key that lay on it.
    let before = user_key(alice, "bob");
    let safe = files.path().join("recovery.key");
    fs::rename(bob.home.join("recovery.key"), &safe).unwrap();
    bob.refused(&["key", "rotate"], "--recovery");
    let alices = alice.home.join("recovery.key");
    bob.refused(&["key", "rotate", "--recovery", alices.to_str().unwrap()], "another recovery key");
    let old = fs::read(bob.home.join("user.key")).unwrap();
    let new = bob.ok(&["key", "rotate", "--recovery", safe.to_str().unwrap()]).trim().to_owned();
    assert_ne!(fs::read(bob.home.join("user.key")).unwrap(), old);
    assert_ne!(new, before);
    until("alice to know bob by his new key", BOUND, || (user_key(alice, "bob") == new).then_some(()));
    // What the peer has in memory is of no use any more; started again it has the new one.
    bob.refused(&["device", "add"], "was replaced");
    peers[1].stop();
    peers[1].up(&[]);
    let (alice, bob) = (&peers[0], &peers[1]);
    let tablet = add_device(bob, "tablet");
    // He is who he was: what he granted and was granted holds.
    sees_slots(alice, "bob");
    sees_slots(&tablet, "alice");
    for (who, at) in [(alice, "bob-laptop"), (bob, "alice-laptop"), (&tablet, "alice-laptop")] {
        let id = who.submit(&["--on", at, "--idempotency-key", who.name, &module]);
        who.waits_for(&id, "done", |task| task["state"] == "done");
    }
    let mut list = devices(alice, "bob");
    list.sort();
    assert_eq!(list.iter().map(|(_, gone)| *gone).collect::<Vec<_>>(), [false, true, false], "{list:?}");
    // Whoever has the old key is nobody by it.
    let mut thief = Peer::new("thief");
    fs::write(thief.home.join("user.key"), &old).unwrap();
    thief.up(&[]);
    let ticket = alice.ok(&["invite"]);
    let _refused_or_in_vain = thief.run(&["join", ticket.trim()]);
    assert_eq!(thief.json(&["status"])["user"], Value::Null);
    let ours = devices(alice, "bob");
    assert!(ours.iter().all(|(name, _)| name != "thief-laptop"), "{ours:?}");
    until("all to have the same ledger, which proves itself", BOUND, || {
        (alice.entries() == bob.entries() && bob.entries() == tablet.entries()).then_some(())
    });
    tablet.ok(&["ledger", "verify"]);
    assert!(alice.ok(&["ledger", "log"]).contains("key rotated"));
}

/// Of its own session, so that there is no terminal to ask at.
fn mesh(home: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut session = Command::new("setsid");
    session.arg("--wait").arg(program()).arg("--home").arg(home).args(args);
    session.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    beside(session.envs(env.iter().copied()))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

// spec: NET-1
#[test]
fn a_passphrase_is_changed_taken_away_and_given() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let (old, new) = (("MESH_PASSPHRASE", "correct horse"), ("MESH_NEW_PASSPHRASE", "battery staple"));
    let change = ["key", "passphrase"];
    assert!(said(&mesh(&home, &change, &[old, new])).contains("hint: mesh init"));
    assert!(mesh(&home, &["init", "--passphrase", "--name", "alice"], &[old]).status.success());
    let names = ["user.key", "device.key", "recovery.key"];
    let texts = || names.map(|name| fs::read_to_string(home.join(name)).unwrap());
    let device = |phrase: &[(&str, &str)]| {
        let receipt = folder.path().join("receipt.json");
        let _old = fs::remove_file(&receipt);
        let output =
            mesh(&home, &["run", "--receipt", receipt.to_str().unwrap(), &hello(folder.path())], phrase);
        let receipt: Option<Value> =
            fs::read(&receipt).ok().map(|bytes| serde_json::from_slice(&bytes).unwrap());
        (output.status.success(), receipt.map(|receipt| receipt["receipt"]["executor"].clone()))
    };
    let (_, key) = device(&[old]);
    assert!(key.is_some());
    let before = texts();
    // Whoever does not know the present one changes nothing, nor does who names no other.
    let wrong = mesh(&home, &change, &[("MESH_PASSPHRASE", "x"), new]);
    assert!(!wrong.status.success() && said(&wrong).contains("does not fit"), "{}", said(&wrong));
    let none = mesh(&home, &change, &[old]);
    assert!(!none.status.success() && said(&none).contains("MESH_NEW_PASSPHRASE_FILE"), "{}", said(&none));
    let empty = mesh(&home, &change, &[old, ("MESH_NEW_PASSPHRASE_FILE", "/dev/null")]);
    assert!(!empty.status.success() && said(&empty).contains("it is empty"), "{}", said(&empty));
    assert_eq!(texts(), before);

    let changed = mesh(&home, &change, &[old, new]);
    assert!(changed.status.success(), "{}", said(&changed));
    assert!(!device(&[old]).0);
    assert_eq!(device(&[("MESH_PASSPHRASE", new.1)]), (true, key.clone()), "the keys are the same");

    let open = mesh(&home, &["key", "passphrase", "--none"], &[("MESH_PASSPHRASE", new.1)]);
    assert!(open.status.success(), "{}", said(&open));
    assert!(texts().iter().all(|text| text.trim().len() == 64));
    assert_eq!(device(&[]), (true, key.clone()));

    fs::remove_file(home.join("recovery.key")).unwrap();
    let locked = mesh(&home, &change, &[new]);
    assert!(
        locked.status.success() && said(&locked).contains("the recovery key is not here"),
        "{}",
        said(&locked)
    );
    assert!(!device(&[]).0);
    assert_eq!(device(&[("MESH_PASSPHRASE", new.1)]), (true, key));
    let left: Vec<_> = fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".new")), "{left:?}");
}
