//! Several peers on loopback as people would run them: real processes, real QUIC, real disks.

use crate::peers::{LONG, Peer, endless, found, hello, sees_slots, street};
use crate::support::{BOUND, Process, beside, forget, process, program, run_beside, until};
use serde_json::Value;
use std::io::Write as _;
use std::time::{Duration, Instant};

// spec: NET-2, PERM-1, DEL-1, DEL-3, DEL-9, LED-6
#[test]
fn a_task_moves_to_the_third_peer_when_the_second_is_killed() {
    let files = tempfile::tempdir().unwrap();
    let mut peers = street(&["alice", "bob", "carol"]);

    // The short way first: live output, exit code, receipt.
    let output = peers[0].run(&["submit", "--follow", &hello(files.path())]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello from afar\n");

    // A task that runs long is seen running somewhere, and moves on when that peer is gone.
    let mut follower = peers[0].start(&["submit", "--follow", LONG[0], LONG[1], &endless(files.path())]);
    let id = until("the task to be listed", BOUND, || {
        let tasks = peers[0].json(&["task", "ls"]);
        let task = tasks.as_array()?.iter().find(|task| task["name"] == "endless")?;
        Some(task["task"].as_str()?.to_owned())
    });
    let task = peers[0].waits_for(&id, "running", |task| task["state"] == "running");
    let first = task["attempt"][1].as_str().unwrap().to_owned();
    assert!(first != "alice-laptop", "it runs with those who granted it");
    assert!(peers[0].ok(&["task", "why", &id]).contains(&first));
    let victim = if first == "bob-laptop" { 1 } else { 2 };
    until("the guest to run", BOUND, || (peers[victim].runs_now() == 1).then_some(()));
    peers[victim].kill();
    let task = peers[0].waits_for(&id, "running elsewhere", |task| {
        task["state"] == "running" && task["attempt"][0] == 2 && task["attempt"][1] != first.as_str()
    });
    assert_eq!(task["history"].as_array().unwrap().len(), 2);
    assert!(task["history"][0]["fate"].as_str().unwrap().contains("lost"), "{task}");

    // Back again, the first peer does not go on with it.
    peers[victim].up(&[]);
    peers[0].ok(&["task", "cancel", &id]);
    until("the guest to be gone", BOUND, || peers.iter().all(|peer| peer.runs_now() == 0).then_some(()));
    assert!(!follower.wait().unwrap().success(), "a cancelled task is no success");
    forget(follower.id());

    // Everybody has the same ledger, and it proves itself; a changed one does not.
    let export = files.path().join("ledger");
    let export = export.to_str().unwrap();
    until("the ledgers to be equal", BOUND, || {
        let counts: Vec<u64> = peers.iter().map(|peer| peer.entries()).collect();
        counts.iter().all(|count| *count == counts[0]).then_some(())
    });
    peers[2].ok(&["ledger", "export", export]);
    peers[1].ok(&["ledger", "verify", export]);
    let mut bytes = std::fs::read(export).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(export, bytes).unwrap();
    peers[1].refused(&["ledger", "verify", export], "entry");
}

// spec: DEL-1, DEL-4
#[test]
fn an_acknowledged_submission_survives_its_submitters_death() {
    let files = tempfile::tempdir().unwrap();
    let mut peers = street(&["alice", "bob"]);
    let key = ["--idempotency-key", "once"];
    let module = hello(files.path());
    let id = peers[0].submit(&[key[0], key[1], &module]);
    peers[0].kill();
    peers[0].up(&[]);
    let task = peers[0].waits_for(&id, "done", |task| task["state"] == "done");
    assert_eq!(task["result"]["receipt"]["receipt"]["outcome"]["Exited"], 0, "{task}");
    assert_eq!(peers[0].submit(&[key[0], key[1], &module]), id, "submitted twice it is one task");
    let out = files.path().join("out");
    peers[0].ok(&["task", "result", &id, "-o", out.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(out.join("stdout")).unwrap(), "hello from afar\n");
}

// spec: DEL-6, PERM-4, PERM-5
#[test]
fn owner_and_donor_have_the_last_word() {
    let files = tempfile::tempdir().unwrap();
    let peers = street(&["alice", "bob", "carol"]);
    let module = endless(files.path());
    let at = |name: &str| if name == "bob-laptop" { 1 } else { 2 };
    let running = |id: &str, attempt: u64| {
        let task = peers[0].waits_for(id, "running", |task| {
            task["state"] == "running"
                && task["attempt"][0] == attempt
                && task["progress"]["phase"] == "running"
        });
        task["attempt"][1].as_str().unwrap().to_owned()
    };
    let soon = |what: &str, told: Instant| assert!(told.elapsed() < Duration::from_secs(10), "{what}");

    // The donor ends it: it goes on with somebody else.
    let id = peers[0].submit(&[LONG[0], LONG[1], &module]);
    let first = running(&id, 1);
    let told = Instant::now();
    peers[at(&first)].ok(&["task", "veto", &id, "-m", "my laptop is hot"]);
    until("the guest to end", BOUND, || (peers[at(&first)].runs_now() == 0).then_some(()));
    soon("a donor's veto", told);
    let second = running(&id, 2);
    assert_ne!(first, second);

    // The owner ends the delegation: it comes home.
    peers[0].ok(&["task", "veto", &id, "-m", "I want it back"]);
    until("the guest to end", BOUND, || (peers[at(&second)].runs_now() == 0).then_some(()));
    let task = peers[0].task(&id);
    assert!(task["history"][1]["fate"].as_str().unwrap().contains("owner"), "{task}");
    peers[0].ok(&["task", "cancel", &id]);

    // A paused donor holds its guest; a task that may not wait goes elsewhere.
    let id = peers[0].submit(&["--sla", "urgent", LONG[0], LONG[1], &module]);
    let first = running(&id, 1);
    peers[at(&first)].ok(&["pause"]);
    let second = running(&id, 2);
    assert_ne!(first, second);
    peers[at(&first)].ok(&["resume"]);

    // A grant that is taken back ends what runs under it.
    let grants = peers[0].json(&["permissions"]);
    let grant = grants.as_array().unwrap().iter().find(|grant| grant["device"] == second.as_str()).unwrap();
    peers[at(&second)].ok(&["revoke", &grant["grant"].as_str().unwrap()[..12]]);
    until("the guest to end", BOUND, || (peers[at(&second)].runs_now() == 0).then_some(()));
    peers[0].ok(&["task", "cancel", &id]);
}

// spec: NET-2, NET-4, CLI-5
#[test]
fn strangers_get_nothing_and_are_told_so() {
    let files = tempfile::tempdir().unwrap();
    let peers = street(&["alice", "bob"]);
    let mut mallory = Peer::new("mallory");
    mallory.refused(&["status"], "not running");
    mallory.up(&[]);
    mallory.refused(&["submit", &hello(files.path())], "belongs to no community");
    mallory.refused(&["join", "mesh1abc"], "ticket");
    mallory.refused(&["task", "show", "abcd"], "task");
    // A ticket is good once.
    let ticket = peers[0].ok(&["invite"]);
    let carol = {
        let mut carol = Peer::new("carol");
        carol.up(&[]);
        carol.ok(&["join", ticket.trim()]);
        carol
    };
    mallory.refused(&["join", ticket.trim()], "used before");
    assert_eq!(mallory.json(&["status"])["community"], Value::Null);
    // Without a grant nobody else runs it.
    let id = carol.submit(&["--on", "bob-laptop", &hello(files.path())]);
    let task = carol.waits_for(&id, "waiting", |task| task["state"] == "waiting");
    assert!(
        task["why"].as_str().unwrap().contains("bob") || task["why"].as_str().unwrap().contains("peer"),
        "{task}"
    );
    assert_eq!(peers[1].runs_now(), 0);
    // Garbage on the port changes nothing.
    let net = peers[0].json(&["peers"]);
    assert!(net.as_array().is_some());
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for size in [0usize, 1, 20, 1200, 1400] {
        let garbage: Vec<u8> = (0..size).map(|at| (at * 31 % 251) as u8 | 0xc0).collect();
        socket.send_to(&garbage, peers[0].addr()).unwrap();
    }
    let output = peers[0].run(&["submit", "--follow", &hello(files.path())]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A donor's folder: changed once the result counts, and only if it is as it was.
// spec: DEL-4, PERM-2, SBX-10
#[test]
fn a_share_of_the_donor_is_changed_when_the_result_counts() {
    let files = tempfile::tempdir().unwrap();
    let logs = files.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let line = "2026-01-01 something happened\n";
    std::fs::write(logs.join("app.log"), line.repeat(1000)).unwrap();
    let params = files.path().join("params.json");
    std::fs::write(&params, r#"{"max_bytes":10000,"keep":3}"#).unwrap();
    let params = params.to_str().unwrap();
    let module = crate::journeys::module("log-rotation");
    let module = module.to_str().unwrap();
    let mut peers = street(&["alice", "bob"]);
    let submit = ["--on", "bob-laptop", "--input", params, module];

    let id = peers[0].submit(&submit);
    let task =
        peers[0].waits_for(&id, "refused", |task| task["why"].as_str().unwrap().contains("share logs"));
    assert_eq!(task["state"], "waiting", "a grant for any task gives no share");
    peers[1].ok(&["grant", "--user", "alice", "--module", module, "--share", "logs=rw"]);
    let why = |text: &str| {
        let text = text.to_owned();
        move |task: &Value| task["why"].as_str().unwrap().contains(&text)
    };
    peers[0].waits_for(&id, "refused", why("which this device does not have"));

    peers[1].kill();
    peers[1].up(&["--share", &format!("logs={}:rw", logs.display())]);
    let task = peers[0].waits_for(&id, "released", why("is in place"));
    assert_eq!(task["result"]["receipt"]["receipt"]["outcome"]["Exited"], 0, "{task}");
    let names: Vec<String> = std::fs::read_dir(&logs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().any(|name| name.starts_with("app.log.1")), "{names:?}");
    assert!(std::fs::metadata(logs.join("app.log")).map_or(0, |meta| meta.len()) < 10_000, "{names:?}");
    peers[1].refused(&["up", "--share", "logs=/nowhere"], "/nowhere");
    // Whoever reads there has the keys, and whoever writes there is the device.
    let own = peers[1].home.display().to_string();
    for folder in [own.as_str(), &format!("{own}/store"), "/"] {
        peers[1].refused(&["up", "--share", &format!("logs={folder}")], "this peer's own keys lie there");
    }
}

/// One share to read, one to change, and links in `/out` to wherever a task may make them lead.
// spec: DEL-4, SBX-10, SBX-11
#[test]
fn what_a_task_leaves_comes_whole_beside_a_share_that_it_only_reads() {
    let files = tempfile::tempdir().unwrap();
    let (logs, manual) = (files.path().join("logs"), files.path().join("manual"));
    std::fs::create_dir(&logs).unwrap();
    std::fs::create_dir(&manual).unwrap();
    std::fs::write(manual.join("page"), "as it was").unwrap();
    let text = r#"(module
        (@custom "mesh_manifest_v1" "[task]\nname = \22two-shares\22\n[permissions]\nshares = { logs = \22rw\22, manual = \22ro\22 }\n")
        (import "wasi_snapshot_preview1" "path_open"
          (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_create_directory" (func $folder (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_symlink" (func $link (param i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 100) "share/logs/new")
        (data (i32.const 120) "share/manual/page")
        (data (i32.const 140) "out/a")
        (data (i32.const 150) "out/a/up")
        (data (i32.const 160) "../b")
        (data (i32.const 170) "out/a/far")
        (data (i32.const 180) "../../../far")
        (data (i32.const 200) "out/b")
        (func $ok (param i32) (if (local.get 0) (then unreachable)))
        (func $make (param $path i32) (param $len i32) (result i32)
          (call $open (i32.const 3) (i32.const 0) (local.get $path) (local.get $len) (i32.const 1)
            (i64.const 64) (i64.const 64) (i32.const 0) (i32.const 8)))
        (func (export "_start")
          (if (i32.eqz (call $make (i32.const 120) (i32.const 17))) (then unreachable))
          (call $ok (call $make (i32.const 100) (i32.const 14)))
          (i32.store (i32.const 16) (i32.const 100)) (i32.store (i32.const 20) (i32.const 14))
          (call $ok (call $write (i32.load (i32.const 8)) (i32.const 16) (i32.const 1) (i32.const 24)))
          (call $ok (call $make (i32.const 200) (i32.const 5)))
          (call $ok (call $folder (i32.const 3) (i32.const 140) (i32.const 5)))
          (call $ok (call $link (i32.const 160) (i32.const 4) (i32.const 3) (i32.const 150) (i32.const 8)))
          (call $ok (call $link (i32.const 180) (i32.const 12) (i32.const 3) (i32.const 170) (i32.const 9)))))"#;
    let module = files.path().join("two-shares.wasm");
    std::fs::write(&module, crate::support::assemble("two-shares", text)).unwrap();
    let module = module.to_str().unwrap();
    let mut peers = street(&["alice", "bob"]);
    let shares = ["--share", "logs=rw", "--share", "manual=ro"];
    peers[1].ok(&[&["grant", "--user", "alice", "--module", module], &shares[..]].concat());
    peers[1].stop();
    let given = [
        "--share",
        &format!("logs={}:rw", logs.display()),
        "--share",
        &format!("manual={}", manual.display()),
    ];
    peers[1].up(&given);
    sees_slots(&peers[0], "bob");

    let id = peers[0].submit(&["--on", "bob-laptop", module]);
    let task = peers[0]
        .waits_for(&id, "over", |task| !task["result"].is_null() || task["attempt"][0].as_u64() > Some(1));
    assert_eq!(task["result"]["receipt"]["receipt"]["outcome"]["Exited"], 0, "{task}");
    peers[0].waits_for(&id, "released", |task| task["why"].as_str().unwrap().contains("is in place"));
    assert_eq!(std::fs::read_to_string(logs.join("new")).unwrap(), "share/logs/new");
    assert_eq!(std::fs::read_to_string(manual.join("page")).unwrap(), "as it was");
    let result = files.path().join("result");
    peers[0].ok(&["task", "result", &id, "-o", result.to_str().unwrap()]);
    assert_eq!(std::fs::read_link(result.join("out/a/up")).unwrap(), std::path::Path::new("../b"));
    assert!(result.join("out/a/far").symlink_metadata().is_err(), "it would lead out of the folder");
}

// spec: SBX-8, DEL-9
#[test]
fn a_guest_that_never_comes_out_of_its_beginning_is_held_and_stopped() {
    let files = tempfile::tempdir().unwrap();
    let text = r#"(module (memory (export "memory") 1) (func (export "_start"))
        (func $f (loop $l (br $l))) (start $f))"#;
    let module = files.path().join("begins.wasm");
    std::fs::write(&module, crate::support::assemble("begins", text)).unwrap();
    let peers = street(&["alice", "bob"]);
    let id = peers[0].submit(&["--on", "bob-laptop", LONG[0], LONG[1], module.to_str().unwrap()]);
    let phase = |wanted: &str| {
        until(&format!("the guest to be {wanted}"), BOUND, || {
            let status = peers[1].json(&["status"]);
            let phase = status["running"][0]["progress"]["phase"].as_str()?.to_lowercase();
            (phase == wanted).then_some(())
        });
    };
    phase("running");
    let computes = |helper: &Process| process(helper.id).map_or(0, |now| now.ticks) > helper.ticks;
    until("the guest to compute", BOUND, || peers[1].helpers().iter().any(computes).then_some(()));
    let stands_still = || {
        let before = peers[1].helpers();
        std::thread::sleep(Duration::from_millis(300));
        (!before.iter().any(computes)).then_some(())
    };
    peers[1].ok(&["pause"]);
    phase("paused");
    until("the guest to stand still", BOUND, stands_still);
    peers[1].ok(&["resume"]);
    phase("running");
    until("the guest to compute again", BOUND, || stands_still().is_none().then_some(()));
    peers[0].ok(&["task", "cancel", &id]);
    until("the guest to be gone", BOUND, || (peers[1].runs_now() == 0).then_some(()));
    until("nothing to compute", BOUND, stands_still);
}

/// An update puts a new file in the program's place while it runs.
// spec: SBX-13, ARC-5
#[test]
fn a_peer_whose_program_was_replaced_goes_on_as_it_is() {
    let files = tempfile::tempdir().unwrap();
    let mesh = files.path().join("mesh");
    std::fs::copy(program(), &mesh).unwrap();
    let mut alice = Peer::new("alice");
    alice.up_from(mesh.clone(), &[], &["--slots", "1"]);
    found(std::slice::from_ref(&alice), None);
    std::fs::remove_file(&mesh).unwrap();
    std::fs::write(&mesh, "#!/bin/sh\nexit 0\n").unwrap();
    let may_run = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&mesh, may_run).unwrap();
    // More than there are workers that were started before, each of a module that has to be compiled.
    for number in 0..4 {
        let module = crate::peers::wat(
            files.path(),
            &format!("m{number}"),
            &format!("(call $say) (drop (i32.const {number}))"),
        );
        let output = alice.run(&["submit", "--follow", &module]);
        let (said, why) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(said, "hello from afar\n", "{why}");
    }
    let name =
        |helper: &Process| std::fs::read_to_string(format!("/proc/{}/comm", helper.id)).unwrap_or_default();
    let named =
        |helper: &Process| helper.line.starts_with(mesh.to_str().unwrap()) && name(helper) == "mesh\n";
    let helpers = alice.helpers();
    assert!(!helpers.is_empty() && helpers.iter().all(named), "{helpers:?}");
}

// spec: CLI-2, CLI-3, CLI-5
#[test]
fn a_submitter_is_told_what_to_do_next() {
    let files = tempfile::tempdir().unwrap();
    let peers = street(&["alice"]);
    let module = hello(files.path());
    let kept = || peers[0].get("/v1/net")["blob_bytes"].as_u64().unwrap();
    let before = kept();
    // Asking where it would run sends nothing.
    peers[0].ok(&["submit", "--dry-run", &module]);
    assert_eq!(kept(), before);
    // From a pipe it is the same task as from the file.
    let ids = ["1", "2"].map(|key| peers[0].submit(&["--idempotency-key", key, &module]));
    let piped = {
        let mut child =
            peers[0].start(&["submit", "--id-only", "--idempotency-key", "1", "--name", "hello", "-"]);
        child.stdin.take().unwrap().write_all(&std::fs::read(&module).unwrap()).unwrap();
        let id = child.id();
        let output = child.wait_with_output().unwrap();
        forget(id);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(piped, ids[0]);
    // A name that means two is refused, and both are named.
    for id in &ids {
        peers[0].refused(&["task", "why", "hello"], &id[..10]);
    }
    let text = r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1) (func (export "_start") (call $exit (i32.const 1))))"#;
    let fails = files.path().join("fails.wasm");
    std::fs::write(&fails, crate::support::assemble("fails", text)).unwrap();
    let output = peers[0].run(&["submit", "--wait", fails.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("hint: ") && said.contains("mesh task logs --stderr"), "{said}");
    // Asked to end by the terminal that it was started in, it ends in order.
    let mut alice = peers.into_iter().next().unwrap();
    alice.end(rustix::process::Signal::HUP);
}

// spec: NET-1
#[test]
fn keys_under_a_passphrase_are_of_no_use_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let mesh = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = std::process::Command::new(program());
        command.env_clear().envs(env.iter().copied()).arg("--home").arg(&home).args(args);
        // Of its own session, so that there is no terminal to ask at.
        let mut session = std::process::Command::new("setsid");
        session.arg("--wait").arg(command.get_program()).args(command.get_args());
        session.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        beside(session.envs(env.iter().copied()))
    };
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let right = ("MESH_PASSPHRASE", "correct horse");
    let init = ["init", "--passphrase", "--name", "alice", "--device-name", "laptop"];
    let made = mesh(&init, &[]);
    assert!(
        !made.status.success() && said(&made).contains("hint: set MESH_PASSPHRASE_FILE"),
        "{}",
        said(&made)
    );
    let made = mesh(&init, &[right]);
    assert!(made.status.success(), "{}", said(&made));
    for name in ["user.key", "device.key", "recovery.key"] {
        let text = std::fs::read_to_string(home.join(name)).unwrap();
        assert!(text.starts_with("mesh-key-1 argon2id"), "{name}: {text}");
    }
    let up = ["up", "--no-mdns", "--listen", "127.0.0.1:0"];
    let none = mesh(&up, &[]);
    assert!(!none.status.success() && said(&none).contains("nobody sits at a terminal"), "{}", said(&none));
    let wrong = mesh(&up, &[("MESH_PASSPHRASE", "battery staple")]);
    assert!(!wrong.status.success() && said(&wrong).contains("does not fit"), "{}", said(&wrong));
    // With it everything is as it was: the same device runs a task, from a file that holds the passphrase.
    let file = folder.path().join("phrase");
    std::fs::write(&file, "correct horse\n").unwrap();
    let named = [("MESH_PASSPHRASE_FILE", file.to_str().unwrap())];
    let module = hello(folder.path());
    let receipt = folder.path().join("receipt.json");
    let run = ["run", "--receipt", receipt.to_str().unwrap(), &module];
    let open = mesh(&run, &named);
    assert!(!open.status.success() && said(&open).contains("chmod 600"), "{}", said(&open));
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let ran = mesh(&run, &named);
    assert!(ran.status.success(), "{}", said(&ran));
    let receipt = std::fs::read_to_string(&receipt).unwrap();
    let device = String::from_utf8_lossy(&made.stdout)
        .lines()
        .find_map(|line| Some(line.strip_prefix("device key")?.trim().to_owned()));
    assert!(receipt.contains(&device.unwrap()), "{receipt}");
}

/// What a device's energy is comes from a program of its owner's, and a patient task starts when that says it is clean.
// spec: EN-1, EN-3, SLA-1, DEL-12
#[test]
fn a_patient_task_waits_until_the_energy_read_is_clean() {
    let files = tempfile::tempdir().unwrap();
    let feed = files.path().join("feed.json");
    let says = |grams: u32, renewable: u32| {
        let text =
            format!(r#"{{"source":"grid","renewable_percent":{renewable},"g_per_kwh":{grams},"valid_s":1}}"#);
        // In one step, so that no half of it is read.
        std::fs::write(files.path().join("next"), text).unwrap();
        std::fs::rename(files.path().join("next"), &feed).unwrap();
    };
    says(700, 10);
    let mut alice = Peer::new("alice");
    alice.up(&["--energy", &format!("command:cat {}", feed.display())]);
    found(std::slice::from_ref(&alice), None);
    let grams = || alice.json(&["status"])["energy"]["g_per_kwh"].clone();
    until("the energy to be read", BOUND, || (grams() == 700).then_some(()));
    let id = alice.submit(&["--sla", "eco", &hello(files.path())]);
    alice.waits_for(&id, "waiting", |task| task["why"].as_str().unwrap().contains("not clean"));
    says(20, 95);
    alice.waits_for(&id, "done", |task| task["state"] == "done");
    // A feed that is gone leaves nothing to rely on once its last word has lapsed.
    std::fs::remove_file(&feed).unwrap();
    until("the energy to be unknown", BOUND, || grams().is_null().then_some(()));
    let late = alice.submit(&["--sla", "eco", &hello(files.path())]);
    alice.waits_for(&late, "waiting", |task| task["why"].as_str().unwrap().contains("energy is unknown"));
    alice.refused(&["up", "--energy", "trace:/nowhere.csv"], "/nowhere.csv");
}

/// Whoever has seen enough ends it, and finds nothing left behind.
// spec: CLI-6
#[test]
fn a_demo_that_is_interrupted_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let tasks = crate::journeys::module("mandelbrot");
    let mut command = std::process::Command::new(program());
    command.args(["demo", "--tasks"]).arg(tasks.parent().unwrap()).env("TMPDIR", temporary.path());
    let mut demo =
        run_beside(command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()));
    let mut said = std::io::BufReader::new(demo.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("bob runs it") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0, "it ended before it began");
    }
    let home = std::fs::read_dir(temporary.path()).unwrap().next().expect("its folder").unwrap().path();
    let pid = rustix::process::Pid::from_child(&demo);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    forget(demo.id());
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    let home = home.to_str().unwrap();
    let of_it = |process: &std::path::Path| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(home)
    };
    until("its peers to be gone", BOUND, || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        processes.map(|process| process.path()).all(|process| !of_it(&process)).then_some(())
    });
}

/// From nothing to nothing left, in half of the usual time.
// spec: CLI-6, VOTE-3, VOTE-9, CO2-3
#[test]
fn a_demo_ends_with_what_ran_where_and_a_ballot_in_its_ledger() {
    let temporary = tempfile::tempdir().unwrap();
    let tasks = crate::journeys::module("mandelbrot");
    let mut command = std::process::Command::new(program());
    command.args(["demo", "--speed", "2880", "--tasks"]).arg(tasks.parent().unwrap());
    let output = beside(command.env("TMPDIR", temporary.path()));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}\n{complained}");
    let (lines, table) = said.split_once("\nTASK ").unwrap_or_else(|| panic!("no table: {said}"));
    for part in [
        "vetoes",
        "loses power",
        "is back",
        "votes HIGH on \"draw the way to school\": the children start on Monday",
    ] {
        assert!(lines.contains(part), "{part}: {said}");
    }
    for level in ["URGENT", "HIGH", "NORMAL", "ECO", "SOLAR_ONLY", "WIND_ONLY"] {
        let done = |line: &&str| line.contains(level) && line.trim_end().ends_with("done");
        assert!(table.lines().any(|line| done(&line)), "{level}: {said}");
    }
    for part in [
        "vote       alice  LOW: it can wait",
        "vote       bob    HIGH: the children start on Monday",
        "consensus  alice  HIGH by 3 votes",
        "\"draw the way to school\" was submitted after \"draw a chart\" and ran before it",
        "By the ledger's accounts of ",
        "by where it ran",
        "RENEWABLE IN THE COMMUNITY",
        "Bob checks the ledger",
    ] {
        assert!(table.contains(part), "{part}: {said}");
    }
    assert!(!said.contains('\x1b'), "plain lines where no terminal is");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}
