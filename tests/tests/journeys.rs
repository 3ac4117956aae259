//! Whole ways through the program, with the tasks and modules that `cargo xtask build-tasks` makes.

use crate::support::{Feed, Home, Run, SOON, beside, until};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A module that was built before; none if it is one of those that need what a machine may lack.
fn find(name: &str) -> Option<PathBuf> {
    let folder =
        std::env::var_os("MESH_TASKS").map_or_else(|| workspace().join("target/tasks"), PathBuf::from);
    Some(folder.join(format!("{name}.wasm"))).filter(|path| path.is_file())
}

pub(crate) fn module(name: &str) -> PathBuf {
    find(name)
        .unwrap_or_else(|| panic!("no {name}.wasm: run `cargo xtask build-tasks` first, or set MESH_TASKS"))
}

const TEXT: &str = "the quick brown fox\njumps over the lazy dog\n";

fn verify(home: &Home, module: &Path, more: &[&str]) -> Run {
    let receipt = home.path("files/receipt.json");
    home.mesh().arg("verify").arg(receipt).arg("--module").arg(module).args(more).go()
}

// spec: SBX-14, SBX-13
#[test]
fn a_receipt_is_verified_and_whatever_was_changed_is_found() {
    let home = Home::new();
    let input = home.file("in.txt", TEXT);
    let input = input.to_str().unwrap();
    let module = module("word-count");
    let run = home.run().args(["--input", input]).arg(&module).go();
    run.exits(0).says(r#""words":9"#);
    let stdout = home.file("stdout", &run.stdout);
    let given = ["--input", input, "--stdout", stdout.to_str().unwrap()];
    let equal = verify(&home, &module, &given);
    equal.holds(equal.code == Some(0), "the same again is equal").says("equal");

    let other = home.file("other.txt", "the quick brown cat\njumps over the lazy dog\n");
    let different = verify(&home, &module, &["--input", other.to_str().unwrap()]);
    different.holds(different.code == Some(1), "another input is found").says("input");
    home.file("stdout", "x");
    let different = verify(&home, &module, &given);
    different.holds(different.code == Some(1), "another output is found").says("given stdout");
    let mut bytes = fs::read(&module).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let changed = home.file("changed.wasm", bytes);
    let different = verify(&home, &changed, &["--input", input]);
    different.holds(different.code == Some(1), "another module is found").says("module");

    let receipt = home.path("files/receipt.json");
    let good = fs::read(&receipt).unwrap();
    for index in (0..good.len()).step_by(29) {
        let mut bytes = good.clone();
        bytes[index] ^= 1;
        fs::write(&receipt, bytes).unwrap();
        let run = home
            .mesh()
            .arg("verify")
            .arg(&receipt)
            .arg("--module")
            .arg(&module)
            .args(["--input", input])
            .go();
        run.holds(run.code == Some(1), &format!("byte {index} of the receipt was changed"));
    }
}

// spec: SBX-14
#[test]
fn a_run_that_saw_this_machine_is_not_comparable() {
    let home = Home::new();
    let module = module("c-hello");
    home.run().arg("--real").arg(&module).go().exits(0);
    let run = verify(&home, &module, &[]);
    run.holds(run.code == Some(3), "real time cannot be had again").says("real clock");
}

// spec: SBX-13
#[test]
fn output_and_fuel_depend_on_names_and_bytes_alone() {
    let documents =
        [("b.txt", "green energy now"), ("a.txt", "energy when the sun shines"), ("c.txt", "the wind")];
    let index = |order: &[usize], age: u64| {
        let home = Home::new();
        let folder = home.path("files/docs");
        fs::create_dir(&folder).unwrap();
        for &number in order {
            let path = folder.join(documents[number].0);
            fs::write(&path, documents[number].1).unwrap();
            let time = SystemTime::now() - Duration::from_secs(age * (number as u64 + 1));
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        }
        let mut run = home.run();
        for (name, _) in documents {
            run = run.arg("--in").arg(format!("{name}={}", folder.join(name).display()));
        }
        let run = run.arg("--out").arg(home.path("files/out")).arg(module("index-optimization")).go();
        run.exits(0);
        let receipt = run.receipt.unwrap();
        let [output, fuel] = ["output", "usage"].map(|key| receipt["receipt"][key].clone());
        (output, fuel["fuel"].clone(), fuel["peak_memory"].clone())
    };
    let first = index(&[0, 1, 2], 0);
    assert_eq!(first, index(&[2, 0, 1], 1000));
    assert_eq!(first, index(&[1, 2, 0], 1_000_000));
}

const PICTURE: &str = r#"{"width":640,"height":480,"max_iterations":400}"#;

fn picture(home: &Home) -> Vec<u8> {
    fs::read(home.path("files/out/mandelbrot.png")).unwrap()
}

// spec: SDK-6
#[test]
fn a_task_goes_on_from_its_checkpoint_in_another_place() {
    let whole = Home::new();
    let params = |home: &Home| home.file("params.json", PICTURE);
    let module = module("mandelbrot");
    let run = |home: &Home, more: &[&str]| {
        let mesh = home.run().arg("--input").arg(params(home)).arg("--out").arg(home.path("files/out"));
        mesh.args(more).arg(&module).go()
    };
    let uninterrupted = run(&whole, &[]);
    uninterrupted.exits(0);
    let needed = uninterrupted.number("usage.fuel");

    // Stopped by its fuel somewhere in the middle, which is the same place on every machine.
    let first = Home::new();
    let checkpoint = first.path("files/checkpoint");
    let half = (needed / 2).to_string();
    let stopped = run(&first, &["--fuel", &half, "--checkpoint", checkpoint.to_str().unwrap()]);
    stopped.ends(128, r#""OutOfFuel""#);
    let saved = stopped.field("last_checkpoint").clone();
    assert!(saved[0].as_u64().unwrap() > 0, "{saved}");

    let second = Home::new();
    let resumed = run(&second, &["--resume", checkpoint.to_str().unwrap()]);
    resumed.exits(0);
    assert_eq!(picture(&second), picture(&whole), "the picture is the same to the byte");
    assert_eq!(resumed.stdout, uninterrupted.stdout, "output is neither lost nor doubled");
    assert_eq!(*resumed.field("resumed_from"), saved);
    let before = resumed.number("usage.fuel_before");
    assert!(before > 0 && before <= needed / 2);
    assert!(resumed.number("usage.fuel") > needed, "what was done twice or for the checkpoint is paid for");
    assert!(resumed.number("usage.fuel") < needed + needed / 2, "what was done before is not done again");
    assert_eq!(*resumed.field("not_comparable"), serde_json::json!(["resumed"]));

    for (what, args) in [
        ("input", vec!["--resume", checkpoint.to_str().unwrap()]),
        ("module", vec!["--resume", checkpoint.to_str().unwrap()]),
    ] {
        let other = if what == "module" { self::module("index-optimization") } else { module.clone() };
        let input = second.file("other.json", r#"{"width":64,"height":48}"#);
        let refused = second.run().arg("--input").arg(input).args(args).arg(other).go();
        refused.refused("checkpoint");
    }
    let mut bytes = fs::read(&checkpoint).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&checkpoint, bytes).unwrap();
    run(&second, &["--resume", checkpoint.to_str().unwrap()]).refused("damaged");
}

// spec: SDK-6, SBX-7, SBX-8
#[test]
fn a_task_is_paused_resumed_killed_and_goes_on_in_another_process() {
    let home = Home::new();
    let params = home.file("params.json", r#"{"width":1200,"height":900,"max_iterations":2000}"#);
    let checkpoint = home.path("files/checkpoint");
    let module = module("mandelbrot");
    let start = || {
        let mesh = home.run().arg("--input").arg(&params).arg("--out").arg(home.path("files/out"));
        mesh.arg("--checkpoint").arg(&checkpoint)
    };
    let running = start().arg(&module).start();
    until("the first checkpoint", crate::support::BOUND, || checkpoint.is_file().then_some(()));
    running.signal(Signal::TSTP);
    let worker = until("the worker to stand", SOON, || {
        running.helpers().into_iter().find(|helper| helper.state == 'T')
    });
    let before = crate::support::process(worker.id).unwrap().ticks;
    // A second is long for a process that computes: it would use a hundred ticks.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(crate::support::process(worker.id).unwrap().ticks, before, "a paused task uses no CPU");
    running.signal(Signal::CONT);
    until("the worker to go on", SOON, || {
        running.helpers().into_iter().find(|helper| helper.id == worker.id && helper.state != 'T')
    });
    let old = fs::read(&checkpoint).unwrap();
    until("a later checkpoint", crate::support::BOUND, || {
        fs::read(&checkpoint).ok().filter(|now| *now != old).map(|_| ())
    });
    running.signal(Signal::KILL);
    let killed = running.finish();
    killed.holds(killed.code.is_none(), "it was killed");

    let kept = home.path("files/kept");
    fs::copy(&checkpoint, &kept).unwrap();
    let resumed = start().arg("--resume").arg(&kept).arg(&module).go();
    resumed.exits(0);
    let other = Home::new();
    let whole =
        other.run().arg("--input").arg(&params).arg("--out").arg(other.path("files/out")).arg(&module).go();
    whole.exits(0);
    assert_eq!(picture(&home), picture(&other));
    assert_eq!(resumed.stdout, whole.stdout);
}

// spec: SBX-1, SBX-2
#[test]
fn programs_of_other_languages_run_as_they_are() {
    let home = Home::new();
    home.run().arg(module("c-hello")).go().exits(0);
    let input = home.file("in.txt", "12\n30\n");
    let output = home.path("files/out");
    let files = home.run().arg("--input").arg(&input).arg("--out").arg(&output).arg(module("c-files")).go();
    files.holds(files.code.is_some_and(|code| code < 126), "a C program that uses files runs to its own end");
    home.run().stdin(Feed::Nothing).arg(module("component")).go().exits(0);
    if let Some(assembly_script) = find("as-stdin-sum") {
        home.run().arg("--input").arg(&input).arg(assembly_script).go().exits(0).says("42");
    }
}

// spec: SDK-5, SBX-10
#[test]
fn a_share_is_changed_only_when_all_went_well() {
    let home = Home::new();
    let logs = home.path("files/logs");
    fs::create_dir(&logs).unwrap();
    let line = "2026-01-01 something happened\n";
    fs::write(logs.join("app.log"), line.repeat(1000)).unwrap();
    fs::write(logs.join("small.log"), line).unwrap();
    let params = home.file("params.json", r#"{"max_bytes":10000,"keep":3}"#);
    let module = module("log-rotation");
    let share = |access: &str| format!("logs={}{access}", logs.display());
    let run = |access: &str| {
        home.run().arg("--input").arg(&params).args(["--share", &share(access)]).arg(&module).go()
    };
    let read_only = run("");
    read_only
        .holds(read_only.code == Some(1), "what may only be read cannot be rotated")
        .says_error("read-only");
    let refused = home.run().arg("--input").arg(&params).arg(&module).go();
    refused.refused("share").says_error("--share logs=FOLDER:rw");
    assert_eq!(fs::read(logs.join("app.log")).unwrap().len(), 1000 * line.len(), "nothing was touched");

    let out_of_fuel = home.run().args(["--fuel", "20000"]).arg("--input").arg(&params);
    out_of_fuel.args(["--share", &share(":rw")]).arg(&module).go().ends(128, r#""OutOfFuel""#);
    assert_eq!(fs::read_dir(&logs).unwrap().count(), 2, "a task that failed changed nothing");

    let done = run(":rw");
    done.exits(0);
    assert_eq!(*done.field("not_comparable"), serde_json::json!(["shares"]));
    assert_eq!(fs::read(logs.join("small.log")).unwrap(), line.as_bytes());
    let names: Vec<_> =
        fs::read_dir(&logs).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("app.log.1")), "{names:?}");
    assert!(fs::metadata(logs.join("app.log")).map_or(0, |meta| meta.len()) < 10_000, "{names:?}");
}

// spec: SBX-10, CLI-5, ARC-8
#[test]
fn errors_say_what_would_mend_them() {
    let home = Home::new();
    let mesh = |args: &[&str]| home.mesh().args(args).go();
    let missing = mesh(&["run", "none.wasm"]);
    missing.holds(missing.code == Some(134), "a missing file").says_error("none.wasm").says_error("hint:");
    let folder = mesh(&["run", "."]);
    folder.holds(folder.code == Some(134), "a folder").says_error("directory").says_error("hint:");
    let text = home.file("notes.txt", "just some notes\n");
    let text = mesh(&["run", text.to_str().unwrap()]);
    text.holds(text.code == Some(126), "a text").says_error("a text file").says_error("mesh build");
    let module = module("word-count");
    let module = module.to_str().unwrap();
    let env = mesh(&["run", "--env", "COLOUR=red", module]);
    env.holds(env.code == Some(126), "not granted").says_error(r#"env = ["COLOUR"]"#);
    let given = mesh(&["run", "--in", &format!("x={module}"), module]);
    given.holds(given.code == Some(126), "not granted").says_error(r#"inputs = ["x"]"#);
    let input = mesh(&["run", "--input", "none.txt", module]);
    input.holds(input.code == Some(134), "no input").says_error("none.txt");
    let usage = mesh(&["run", "--memory", "lots", module]);
    usage.holds(usage.code == Some(2), "wrong usage").says_error("64MB");
    let receipt = mesh(&["run", "--receipt", "no/such/folder/r.json", module]);
    receipt.holds(receipt.code == Some(134), "no folder").says_error("mkdir -p");
    let share = mesh(&["run", "--share", "x=none", module]);
    share.holds(share.code == Some(126), "a share it did not ask for").says_error("shares = {");
    let full = mesh(&["run", "--receipt", "/dev/full", module]);
    full.holds(full.code == Some(134), "a full disk").says_error("/dev/full");
}

// spec: CLI-5
#[test]
fn help_that_cannot_be_written_is_not_given() {
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for args in [&["help"][..], &["--version"], &["submit", "--help"]] {
        let output = Command::new(crate::support::program()).args(args).stdout(full()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains("hint:"), "{args:?}: {said}");
    }
}

// spec: CLI-1, SDK-4, SBX-9, CLI-4
#[test]
fn verbs_tell_people_and_programs() {
    let home = Home::new();
    let module = module("mandelbrot");
    let json = |run: Run| -> Value {
        run.holds(run.code == Some(0), "it should work");
        serde_json::from_slice(&run.stdout).unwrap_or_else(|_| run.fail("its output should be JSON"))
    };
    let inspect = json(home.mesh().arg("inspect").arg(&module).arg("--json").go());
    assert_eq!(inspect["name"], "mandelbrot");
    assert!(inspect["imports"].as_array().unwrap().iter().any(|name| name == "mesh_v1.checkpoint_save"));
    home.mesh().arg("inspect").arg(&module).go().says("mesh_v1: checkpoint_len");
    let params = home.file("params.json", r#"{"width":64,"height":48}"#);
    let profile =
        json(home.mesh().arg("profile").arg(&module).arg("--input").arg(&params).arg("--json").go());
    assert!(profile["fuel"].as_u64().unwrap() > 100_000);
    assert!(profile["proposed"]["fuel"].as_u64() >= profile["fuel"].as_u64());
    home.mesh().arg("profile").arg("--input").arg(&params).arg(&module).go().says("[limits]");
    let doctor = home.mesh().args(["doctor", "--json"]).go();
    let findings: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let says = |what: &str| findings.as_array().unwrap().iter().any(|finding| finding["what"] == what);
    for wall in ["landlock", "seccomp", "rlimits", "process", "no-new-privileges", "no-inherited-descriptors"]
    {
        assert!(says(&format!("wall {wall}")), "{findings}");
    }
    home.mesh().args(["completions", "bash"]).go().says("_mesh");
    let man = home.path("files/man");
    home.mesh().arg("man").arg(&man).go();
    assert!(man.join("mesh-run.1").is_file());
    let progress = home.run().arg("--input").arg(&params).arg(&module).go();
    progress.exits(0).says_error("progress:").says_error("row 48 of 48");
    let quiet = home.run().arg("--quiet").arg("--input").arg(&params).arg(&module).go();
    quiet.exits(0).holds(!quiet.stderr.contains("progress"), "--quiet shows none");
}

// spec: SDK-4, SDK-1
#[test]
fn a_new_crate_builds_tests_and_runs_as_generated() {
    let home = Home::new();
    let made = home.mesh().args(["new", "my-task"]).start().finish_beside();
    made.holds(made.code == Some(0), "`mesh new` works").says("my-task");
    let again = home.mesh().args(["new", "my-task"]).start().finish_beside();
    again.holds(again.code == Some(1), "nothing is overwritten").says_error("hint:");
    home.mesh().args(["new", "../x"]).start().finish_beside().says_error("lower-case");
    let folder = home.path("work/my-task");
    // Where cargo builds is shared by all runs of this test, so that only the first one compiles everything.
    let target = workspace().join("target/new-crate");
    let cargo = beside(
        Command::new(env!("CARGO"))
            .args(["test", "--quiet"])
            .current_dir(&folder)
            .env("CARGO_TARGET_DIR", &target),
    );
    let said = String::from_utf8_lossy(&cargo.stdout);
    assert!(cargo.status.success(), "{said}\n{}", String::from_utf8_lossy(&cargo.stderr));
    assert!(said.contains("1 passed"), "{said}");
    let module = home.path("files/my-task.wasm");
    let build = beside(
        Command::new(crate::support::program())
            .arg("build")
            .arg(&folder)
            .arg("--output")
            .arg(&module)
            .env("CARGO_TARGET_DIR", target.join("wasm")),
    );
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    let said = String::from_utf8_lossy(&build.stdout);
    assert!(said.contains("my-task") && said.contains("imports"), "{said}");
    let sample = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(sample.contains("my-task"));
    let numbers = br#"{"numbers":[1,2.5]}"#.to_vec();
    home.run().stdin(Feed::Bytes(numbers)).arg(&module).start().finish_beside().exits(0).says(r#""sum":3.5"#);
}

// spec: SBX-6
#[test]
fn streamed_input_is_bounded_like_any_other() {
    let home = Home::new();
    let run = |bytes: usize| {
        let mesh = home.run().args(["--input-limit", "1MB"]).stdin(Feed::Bytes(vec![b'x'; bytes]));
        mesh.arg(module("word-count")).go()
    };
    run(1_000_000).exits(0).says(r#""bytes":1000000"#);
    let over = run(5_000_000);
    over.holds(over.code == Some(126), "more than allowed is refused")
        .says_error("input has")
        .says_error("--input-limit");
    assert_eq!(*over.field("not_comparable"), serde_json::json!(["open-input", "inconclusive"]));
}

// spec: SBX-3
#[test]
fn what_is_written_for_others_to_find_is_checked_before_anything_runs() {
    let home = Home::new();
    let folder = home.path("files");
    let run = home.mesh().arg("run").arg("--receipt").arg(&folder).arg(module("word-count")).go();
    run.holds(run.code == Some(134), "a folder is no receipt").says_error("it is a folder");
    let file = home.file("file", "");
    let run = home.mesh().arg("run").arg("--out").arg(file).arg(module("mandelbrot")).go();
    run.holds(run.code == Some(134), "a file is no folder")
        .holds(!run.stderr.contains("progress"), "nothing ran");
}
