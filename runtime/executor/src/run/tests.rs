//! An executor with real workers and compilers: this test's own program, which a script starts with what it shall be.

use super::*;
use crate::collect::OutTree;
use crate::supervise::{Event, Report};
use crate::wire::{self, FromWorker};
use mesh_protocol::key::PublicKey;
use mesh_protocol::limits::MAX_TREE_PATH;
use mesh_protocol::outcome::{Outcome, TrapKind};
use std::process::{Command, Stdio};

/// Runs as a worker if this program was started for it.
#[test]
fn be_a_worker() {
    if std::env::args().any(|argument| argument == crate::pool::ARGUMENT) {
        std::process::exit(crate::worker::main());
    }
}

fn tell(message: &FromWorker) -> bool {
    send(io::stdin(), message, &[], true).is_ok()
}

fn hear_until(wanted: fn(&ToWorker) -> bool) {
    let mut buffer = Vec::new();
    while !wire::receive(io::stdin(), &mut buffer, true).unwrap().is_some_and(|(message, _)| wanted(&message))
    {
    }
}

/// Takes a task as something that took a worker over, if this program was started for it.
fn is_taken_over() -> bool {
    if !std::env::args().any(|argument| argument == crate::pool::ARGUMENT) {
        return false;
    }
    tell(&FromWorker::Ready { walls: Vec::new() });
    hear_until(|message| matches!(message, ToWorker::Start(_)));
    true
}

/// Says one thing after the other.
fn lie(what: impl Fn(usize) -> Vec<FromWorker>) {
    if !is_taken_over() {
        return;
    }
    let mut messages = (0..).flat_map(what);
    while messages.next().is_some_and(|message| tell(&message)) {}
    std::process::exit(0);
}

#[test]
fn be_a_liar_of_paths() {
    lie(|n| {
        let path = format!("{n}/{}", "a".repeat(MAX_TREE_PATH * 60));
        vec![FromWorker::Tree { tree: 1, entries: vec![(path, wire::OutNode::Dir)] }]
    });
}

#[test]
fn be_a_liar_of_checkpoints() {
    lie(|_| {
        let begin = FromWorker::Checkpoint { fuel_used: 0, clock_ns: 0, random_pos: 0, state_len: 0 };
        vec![begin, FromWorker::CheckpointEnd]
    });
}

/// Never lets its socket become empty, and says what costs whoever hears it more and is told to nobody, so that no
/// reader of events that is behind makes it wait.
#[test]
fn be_a_worker_that_never_falls_silent() {
    use rustix::io::Errno;
    if !is_taken_over() {
        return;
    }
    // Many short names: the few messages that the socket holds take longer to hear than a thread computes at a time.
    let entries = vec![("a".to_owned(), wire::OutNode::Dir); 20_000];
    let tree = postcard::to_stdvec(&FromWorker::Tree { tree: 0, entries }).unwrap();
    let begin = FromWorker::Checkpoint { fuel_used: 0, clock_ns: 0, random_pos: 0, state_len: 0 };
    tell(&begin);
    let begin = postcard::to_stdvec(&begin).unwrap();
    let speak = || {
        let say = |bytes: &[u8]| {
            loop {
                match rustix::net::send(io::stdin(), bytes, rustix::net::SendFlags::DONTWAIT) {
                    Ok(_) => return true,
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(_) => return false,
                }
            }
        };
        while say(&begin) && say(&tree) {}
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(speak);
        }
    });
    std::process::exit(0);
}

#[test]
fn be_a_liar_of_notes() {
    lie(|_| vec![FromWorker::Progress { permille: 0, note: "a".repeat(257) }]);
}

/// As a worker that is told to end its task while the guest saves.
#[test]
fn be_a_worker_that_saves_when_it_ends() {
    if !is_taken_over() {
        return;
    }
    let dir = |name: &str| vec![(name.to_owned(), wire::OutNode::Dir)];
    tell(&FromWorker::Started);
    tell(&FromWorker::Checkpoint { fuel_used: 0, clock_ns: 0, random_pos: 0, state_len: 10 });
    tell(&FromWorker::Data(vec![0; 5]));
    tell(&FromWorker::Tree { tree: 0, entries: dir("left") });
    hear_until(|message| matches!(message, ToWorker::Cancel));
    tell(&FromWorker::Tree { tree: 0, entries: dir("later") });
    tell(&FromWorker::Tree { tree: 1, entries: dir("left") });
    tell(&FromWorker::Tree { tree: 1, entries: dir("later") });
    tell(&FromWorker::Finished(Box::new(wire::Finished {
        outcome: Outcome::Cancelled,
        fuel: 0,
        peak_memory: 0,
        memory_refused: false,
        cpu_us: 0,
        saw_stop: false,
        missed: Vec::new(),
        reusable: false,
        detail: String::new(),
    })));
    std::process::exit(0);
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// A program that runs `script`. It is written by another process: were it open here for writing, a process that
    /// another test starts at the time would hold it so, and it could not be run.
    fn program(&self, script: &str) -> PathBuf {
        let path = self.dir.path().join("program");
        let text = format!("#!/bin/sh\n{script}\n");
        let mut child = Command::new("/bin/sh")
            .args(["-c", "cat > \"$0\" && chmod 700 \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        path
    }

    /// An executor whose workers run the test `role`.
    fn executor(&self, role: &str, change: impl FnOnce(&mut Config)) -> Executor {
        let this = std::env::current_exe().unwrap();
        let script = format!(
            "exec '{}' --exact run::tests::{role} \"$1\" --test-threads=1 --nocapture",
            this.display()
        );
        let mut config = Config::new(self.program(&script));
        config.scratch = self.dir.path().into();
        change(&mut config);
        Executor::new(config).unwrap()
    }

    /// What becomes of a task whose worker was taken over and does what the test `role` does.
    fn lie(&self, role: &str, checkpoints: bool) -> String {
        let executor = self.executor(role, |_| {});
        let mut task = Task::new(module(NOTHING));
        task.checkpoints = checkpoints;
        match executor.start(task).unwrap().wait().unwrap().outcome {
            Outcome::SandboxCrashed(what) => what,
            other => panic!("{other}"),
        }
    }
}

fn module(text: &str) -> LoadedModule {
    let bytes = wat::parse_str(text).unwrap();
    let Ok(Compiled { summary, code }) = compile::compile(&bytes) else { panic!("it does not compile") };
    let code_bytes = code.len() as u64;
    let code = Arc::new(memory_file("code", &code).unwrap());
    let manifest = summary.manifest().unwrap();
    LoadedModule { hash: ModuleHash::of(&bytes), manifest, summary, code, code_bytes }
}

fn until_started(running: &mut Running) -> Option<Box<Report>> {
    loop {
        match running.next().unwrap() {
            Event::Started => return None,
            Event::Ended(report) => return Some(report),
            _ => {}
        }
    }
}

/// Kills a process and waits until none of its threads is left, which could hold its end of a connection.
fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
    let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    while threads() > 1 || !(state().is_empty() || state().contains(") Z ")) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

const NOTHING: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

// spec: PERM-5, SBX-7
#[test]
fn a_task_has_started_before_the_first_instruction_of_its_start_function() {
    let place = Place::new();
    let executor = place.executor("be_a_worker", |_| {});
    let text = r#"(module (memory (export "memory") 1)
        (func $begin (loop $again (br $again))) (start $begin) (func (export "_start")))"#;
    let mut task = Task::new(module(text));
    task.limits.duration_ms = 20_000;
    let mut running = executor.start(task).unwrap();
    assert!(until_started(&mut running).is_none(), "it ended before it was said to have started");
    running.control().cancel();
    assert_eq!(running.wait().unwrap().outcome, Outcome::Cancelled);

    // What goes wrong meanwhile is told as before.
    let text = r#"(module (memory (export "memory") 1)
        (func $begin unreachable) (start $begin) (func (export "_start")))"#;
    let mut running = executor.start(Task::new(module(text))).unwrap();
    assert!(until_started(&mut running).is_none());
    assert_eq!(running.wait().unwrap().outcome, Outcome::Trapped(TrapKind::Unreachable));
}

fn component(core: &str) -> String {
    format!(
        r#"(component
        (type $thing (resource (rep i32)))
        (core func $drop (canon resource.drop $thing))
        (core instance $host (export "drop" (func $drop)))
        (core module $m {core})
        (core instance $i (instantiate $m (with "host" (instance $host))))
        (func $f (result (result)) (canon lift (core func $i "f")))
        (instance $run (export "run" (func $f)))
        (export "wasi:cli/run@0.2.0" (instance $run)))"#
    )
}

// spec: SBX-12
#[test]
fn a_compiled_component_serves_any_number_of_workers() {
    let place = Place::new();
    let executor = place.executor("be_a_worker", |_| {});
    let module = module(&component(r#"(memory 1) (func (export "f") (result i32) (i32.const 0))"#));
    // Each submitter's tasks have workers of their own.
    for submitter in 1..4 {
        let mut task = Task::new(module.clone());
        task.submitter = PublicKey([submitter; 32]);
        let report = executor.start(task).unwrap().wait().unwrap();
        assert_eq!(report.outcome, Outcome::Exited(0), "{}", report.detail);
    }
}

// spec: SBX-9
#[test]
fn the_first_content_of_a_components_memory_is_no_file_of_its_own() {
    let place = Place::new();
    let executor = place.executor("be_a_worker", |_| {});
    let data = "a".repeat(20 << 20);
    let mut task = Task::new(module(&component(&format!(
        r#"(memory 400) (data (i32.const 0) "{data}") (func (export "f") (result i32) (i32.const 0))"#
    ))));
    (task.limits.out_bytes, task.limits.out_files) = (0, 0);
    let report = executor.start(task).unwrap().wait().unwrap();
    assert_eq!(report.outcome, Outcome::Exited(0), "{}", report.detail);
}

// spec: SBX-9
#[test]
fn a_hard_limit_of_this_process_stays_that_of_its_workers() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // Larger than any file of any test.
    let most = 1 << 40;
    setrlimit(Resource::Fsize, Rlimit { current: Some(most), maximum: Some(most) }).unwrap();
    let place = Place::new();
    let executor = place.executor("be_a_worker", |_| {});
    let text = r#"(module (memory (export "memory") 1) (func (export "_start") (loop $again (br $again))))"#;
    let mut running = executor.start(Task::new(module(text))).unwrap();
    assert!(until_started(&mut running).is_none());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.worker_pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max file size")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let Limits { out_bytes, out_files, .. } = Limits::default();
    let soft = out_bytes + (u64::from(out_files) + crate::engine::HANDLES as u64) * 4096;
    assert_eq!(words[..2], [soft.to_string(), most.to_string()]);
    running.control().cancel();
    assert!(running.wait().unwrap().receipt.walls.contains(&"rlimits".to_owned()));
}

// spec: SBX-3
#[test]
fn a_file_in_a_folder_of_this_machine_may_be_larger_than_any_out() {
    let place = Place::new();
    let executor = place.executor("be_a_worker", |_| {});
    // Writes a byte far from the beginning, and ends with the error number of it.
    let text = r#"(module
        (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_pwrite"
            (func $write (param i32 i32 i32 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "file") (data (i32.const 8) "\00\00\00\00\01\00\00\00")
        (func $checked (param i32) (if (local.get 0) (then (call $exit (local.get 0)))))
        (func (export "_start")
            (call $checked (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 1)
                (i64.const 0x44) (i64.const 0) (i32.const 0) (i32.const 16)))
            (call $checked (call $write (i32.load (i32.const 16)) (i32.const 8) (i32.const 1)
                (i64.const 500000000) (i32.const 20)))))"#;
    let host = tempfile::tempdir().unwrap();
    let mut task = Task::new(module(text));
    let path = host.path().to_str().unwrap().to_owned();
    task.dirs = vec![HostDir { host: path, guest: "/".into(), writable: true }];
    let report = executor.start(task).unwrap().wait().unwrap();
    assert_eq!(report.outcome, Outcome::Exited(0), "{}", report.detail);
    assert_eq!(std::fs::metadata(host.path().join("file")).unwrap().len(), 500_000_001);
}

// spec: SBX-13
#[test]
fn a_mistake_in_a_components_start_function_is_its_own() {
    let place = Place::new();
    let executor = place.executor("be_a_worker", |_| {});
    let task = Task::new(module(&component(
        r#"(import "host" "drop" (func $drop (param i32)))
        (func $begin (call $drop (i32.const 7))) (start $begin)
        (func (export "f") (result i32) (i32.const 0))"#,
    )));
    let report = executor.start(task).unwrap().wait().unwrap();
    assert_eq!(report.outcome, Outcome::Trapped(TrapKind::HostCall), "{}", report.detail);
}

// spec: SBX-15
#[test]
fn a_task_does_not_fail_for_a_worker_that_died_while_it_waited() {
    let place = Place::new();
    let executor =
        place.executor("be_a_worker", |config| (config.ready_workers, config.keep_workers) = (1, 1));
    let module = module(NOTHING);
    let run = || executor.start(Task::new(module.clone())).unwrap().wait().unwrap().outcome;
    kill(executor.waiting_workers()[0]);
    assert_eq!(run(), Outcome::Exited(0), "a fresh one was gone");
    for pid in executor.waiting_workers() {
        kill(pid);
    }
    assert_eq!(run(), Outcome::Exited(0), "a used one was gone");
}

// spec: CO2-1
#[test]
fn a_worker_counts_for_each_task_what_that_task_used() {
    let place = Place::new();
    let executor = place.executor("be_a_worker", |config| config.keep_workers = 1);
    // With an argument it fills much memory and computes for a while, without it waits for ever.
    let module = module(
        r#"(module
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start") (local $n i32)
            (drop (call $sizes (i32.const 0) (i32.const 4)))
            (if (i32.eq (i32.load (i32.const 0)) (i32.const 1))
                (then (i32.store (i32.const 8) (i32.const 16)) (i32.store (i32.const 12) (i32.const 1))
                    (drop (call $read (i32.const 0) (i32.const 8) (i32.const 1) (i32.const 20))))
                (else
                    (drop (memory.grow (i32.const 1000)))
                    (memory.fill (i32.const 0) (i32.const 1) (i32.const 64000000))
                    (local.set $n (i32.const 1000000000))
                    (loop $again
                        (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                        (br_if $again (local.get $n)))))))"#,
    );
    let mut task = Task::new(module.clone());
    task.args = vec!["much".into()];
    let much = executor.start(task).unwrap().wait().unwrap();
    assert_eq!(much.outcome, Outcome::Exited(0));
    let [worker] = executor.waiting_workers()[..] else { panic!("it is kept") };

    let mut task = Task::new(module);
    let (_open, input) = std::os::unix::net::UnixStream::pair().unwrap();
    task.stdin = Stdin::Stream(Box::new(input));
    let mut running = executor.start(task).unwrap();
    assert_eq!(running.worker_pid(), worker);
    assert!(until_started(&mut running).is_none());
    kill(worker);
    let little = running.wait().unwrap();
    assert!(matches!(little.outcome, Outcome::SandboxCrashed(_)));
    let (much, little) = (much.receipt.usage, little.receipt.usage);
    assert!(much.cpu_us > 100_000 && little.cpu_us < much.cpu_us / 2, "{} {}", much.cpu_us, little.cpu_us);
}

// spec: SBX-16
#[test]
fn a_worker_forgets_how_much_memory_the_task_before_had() {
    let place = Place::new();
    let executor = place.executor("be_a_worker", |config| config.keep_workers = 1);
    let module = module(
        r#"(module
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (drop (call $sizes (i32.const 0) (i32.const 4)))
            (if (i32.ne (i32.load (i32.const 0)) (i32.const 1))
                (then (drop (memory.grow (i32.const 1000)))
                    (memory.fill (i32.const 0) (i32.const 1) (i32.const 64000000))))))"#,
    );
    let peak = |args: Vec<String>| {
        let mut task = Task::new(module.clone());
        task.args = args;
        let report = executor.start(task).unwrap().wait().unwrap();
        assert_eq!(report.outcome, Outcome::Exited(0));
        report.receipt.usage.peak_resident
    };
    let (much, little) = (peak(vec!["much".into()]), peak(Vec::new()));
    assert!(much > 64_000_000 && little < much - 48_000_000, "{much}, then {little}");
}

// spec: ARC-7
#[test]
fn a_worker_that_was_taken_over_cannot_fill_the_executors_memory() {
    let place = Place::new();
    let said = place.lie("be_a_liar_of_paths", false);
    assert!(said.contains("more files"), "{said}");
    let said = place.lie("be_a_liar_of_checkpoints", true);
    assert!(said.contains("before the last one was taken"), "{said}");
}

/// Waits for the end, but not for ever.
fn hear_out(running: Running) -> Box<Report> {
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || ended.send(running.wait()));
    end.recv_timeout(Duration::from_secs(40)).expect("it ends").unwrap()
}

// spec: SBX-4, SBX-7, SBX-8
#[test]
fn a_worker_that_never_falls_silent_is_held_and_ended_like_others() {
    let place = Place::new();
    let executor = place.executor("be_a_worker_that_never_falls_silent", |_| {});
    let start = |duration_ms| {
        let mut task = Task::new(module(NOTHING));
        task.limits.duration_ms = duration_ms;
        task.checkpoints = true;
        executor.start(task).unwrap()
    };
    assert_eq!(hear_out(start(1000)).outcome, Outcome::TimedOut);

    let running = start(60_000);
    let control = running.control();
    let owner = std::thread::spawn(move || {
        control.pause();
        control.resume();
        control.cancel();
    });
    assert_eq!(hear_out(running).outcome, Outcome::Cancelled);
    owner.join().unwrap();
    let said = place.lie("be_a_liar_of_notes", false);
    assert!(said.contains("a longer note"), "{said}");
}

// spec: SBX-8
#[test]
fn who_is_ended_while_it_saves_keeps_what_it_left() {
    let place = Place::new();
    let executor = place.executor("be_a_worker_that_saves_when_it_ends", |_| {});
    let module = module(NOTHING);
    let run = || {
        let mut task = Task::new(module.clone());
        task.limits.duration_ms = 1000;
        task.checkpoints = true;
        executor.start(task).unwrap().wait().unwrap()
    };
    // On a busy machine it may be killed before it gets to say so.
    let report = (0..20).map(|_| run()).find(|report| !report.receipt.usage.estimated).unwrap();
    assert_eq!(report.outcome, Outcome::TimedOut);
    let names: Vec<String> = report.out.iter().flat_map(OutTree::entries).map(|(name, _)| name).collect();
    assert_eq!(names, ["later", "left"]);
    assert_eq!(report.receipt.output.out_files, 2);
}

// spec: SDK-6
#[test]
fn what_is_in_out_is_saved_and_left_as_well() {
    let place = Place::new();
    let executor = place.executor("be_a_worker", |_| {});
    let text = r#"(module
        (import "wasi_snapshot_preview1" "path_create_directory" (func $make (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "mesh_v1" "checkpoint_save" (func $save (param i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 0) "out/dout/e")
        (func $checked (param i32) (if (local.get 0) (then (call $exit (local.get 0)))))
        (func (export "_start")
            (call $checked (call $make (i32.const 3) (i32.const 0) (i32.const 5)))
            (call $checked (call $save (i32.const 0) (i32.const 5)))
            (call $checked (call $make (i32.const 3) (i32.const 5) (i32.const 5)))))"#;
    let mut task = Task::new(module(text));
    task.limits.checkpoint_bytes = 100;
    task.checkpoints = true;
    let mut running = executor.start(task).unwrap();
    let saved = loop {
        match running.next() {
            Some(Event::Checkpoint(checkpoint)) => break checkpoint,
            Some(Event::Started | Event::Meter(_)) => {}
            other => panic!("it saves first: {other:?}"),
        }
    };
    assert_eq!((&*saved.state, saved.out), (&b"out/d"[..], vec![("d".to_owned(), OutNode::Dir)]));
    let report = running.wait().unwrap();
    assert_eq!(report.outcome, Outcome::Exited(0), "{}", report.detail);
    let names: Vec<String> = report.out.iter().flat_map(OutTree::entries).map(|(name, _)| name).collect();
    assert_eq!(names, ["d", "e"]);
}

// spec: SDK-6
#[test]
fn what_was_said_before_it_was_saved_comes_first_when_it_goes_on() {
    let place = Place::new();
    let executor = place.executor("be_a_worker", |_| {});
    let module = module(
        r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "mesh_v1" "checkpoint_save" (func $save (param i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 0) "\08\00\00\00\02\00\00\00ab")
        (func (export "_start")
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 100)))
            (drop (call $save (i32.const 8) (i32.const 2)))))"#,
    );
    let run = |resume: Option<Checkpoint>| {
        let mut task = Task::new(module.clone());
        task.limits.checkpoint_bytes = 100;
        task.checkpoints = true;
        task.resume = resume;
        let mut running = executor.start(task).unwrap();
        let (mut said, mut saved) = (Vec::new(), None);
        while let Some(event) = running.next() {
            match event {
                Event::Stdout(bytes) => said.extend(bytes),
                Event::Checkpoint(checkpoint) => saved = Some(*checkpoint),
                Event::Ended(report) => return (said, saved.unwrap(), report.receipt),
                _ => {}
            }
        }
        panic!("it never ended");
    };
    let (said, first, _) = run(None);
    assert_eq!((&*said, &*first.stdout), (&b"ab"[..], &b"ab"[..]));
    let (said, second, receipt) = run(Some(first.clone()));
    assert_eq!((&*said, &*second.stdout), (&b"abab"[..], &b"abab"[..]));
    assert_eq!(receipt.output.stdout, digest::bytes(b"abab"));
    assert_eq!((second.header.seq, second.header.parent), (2, first.header.hash()));
    assert_eq!(receipt.usage.fuel_before, first.header.fuel_used);
}

// spec: DEL-5
#[test]
fn a_task_does_not_run_on_other_inputs_than_it_was_made_with() {
    let place = Place::new();
    let executor = place.executor("be_a_worker", |_| {});
    let module = module(NOTHING);
    let start = |input| {
        let mut task = Task::new(module.clone());
        task.stdin = Stdin::Bytes(b"here".to_vec());
        task.input = Some(digest::input(Some(digest::bytes(input)), digest::tree(&[])));
        executor.start(task).map(|running| running.wait().unwrap().outcome)
    };
    assert_eq!(start(b"here").unwrap(), Outcome::Exited(0));
    assert!(matches!(start(b"gone"), Err(StartError::Stage(StageError::Differs))));
}

// spec: SBX-6
#[test]
fn a_module_is_not_blamed_for_a_machine_that_could_not_compile_it() {
    let place = Place::new();
    let runs = place.dir.path().join("runs");
    let count = || std::fs::read_to_string(&runs).unwrap_or_default().len();
    let bytes = wat::parse_str(NOTHING).unwrap();
    let executor = |end: &str| {
        let mut config = Config::new(place.program(&format!("printf x >> '{}'; {end}", runs.display())));
        config.compile.seconds = 1;
        Executor::new(config).unwrap()
    };
    let load = |executor: &Executor| executor.load(&bytes).unwrap_err();

    for (end, known) in [("kill -KILL $$", true), ("exec sleep 60", true), ("exit 2", false)] {
        let before = count();
        let executor = executor(end);
        for _ in 0..2 {
            let error = load(&executor);
            // What passes says so: whoever gave the task asks again.
            let expected = if known {
                matches!(error, StartError::Overtaxed(_))
            } else {
                matches!(error, StartError::System { .. })
            };
            assert!(expected, "{end}: {error}");
        }
        assert_eq!(count() - before, if known { 1 } else { 2 }, "{end}");
        for failed in executor.0.failed.lock().unwrap().values_mut() {
            let Failed::Until(until, ..) = failed else { panic!("for good: {end}") };
            *until = Instant::now();
        }
        load(&executor);
        assert_eq!(count() - before, if known { 2 } else { 3 }, "{end}");
    }
    // Where that does not pass, it is tried ever more seldom, and never the task's fault.
    let smaller = executor("kill -KILL $$");
    for minutes in [5, 10, 20, 40, 80, 160, 320, 320] {
        assert!(matches!(load(&smaller), StartError::Overtaxed(_)));
        for failed in smaller.0.failed.lock().unwrap().values_mut() {
            let Failed::Until(until, ..) = failed else { panic!("for good") };
            let left = until.duration_since(Instant::now());
            let whole = Duration::from_secs(minutes * 60);
            assert!(left <= whole && left > whole / 2, "{left:?} of {minutes} min");
            *until = Instant::now();
        }
    }
    let before = count();
    let executor = executor("kill -XCPU $$");
    for _ in 0..2 {
        assert!(matches!(load(&executor), StartError::Refused(Refusal::Compile(_))));
    }
    assert_eq!(count() - before, 1);
}
