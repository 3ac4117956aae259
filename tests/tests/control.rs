//! Cancelling, pausing and killing, and a good task beside a hostile one.

use crate::attacks::hostile;
use crate::limits::{GOOD, busy, good_result, is_good};
use crate::support::{BOUND, Feed, Home, Process, Run, Running, SOON, process, until};
use rustix::process::Signal;
use std::time::{Duration, Instant};

const FOR_EVER: [&str; 4] = ["--fuel", "9000000000000000000", "--duration", "1h"];

/// Cancels, and checks that this was soon followed.
fn cancel(running: Running<'_>) -> Run {
    let told = Instant::now();
    running.signal(Signal::INT);
    let run = running.finish();
    run.ends(130, r#""Cancelled""#).says_error("cancel");
    run.holds(told.elapsed() < SOON + SOON, &format!("it took {:?} to follow", told.elapsed()));
    run
}

// Cases 23, 40, 42, 55.
// spec: SBX-7, SBX-8
#[test]
fn a_cancel_reaches_a_task_whatever_it_does() {
    let home = Home::new();
    let out = home.path("files/out");
    for (name, says) in [("memory-fill", "started"), ("links-in-links", "started")] {
        let module = hostile(&home, name);
        let mut running = home.run().args(FOR_EVER).arg("--out").arg(&out).arg(module).start();
        running.says(says);
        cancel(running);
    }
    let mut running = home.run().args(FOR_EVER).arg("--real").arg(hostile(&home, "sleep-long")).start();
    running.says("sleeping");
    cancel(running);
    let mut running =
        home.run().args(FOR_EVER).arg(hostile(&home, "stdin-for-ever")).stdin(Feed::Silent).start();
    running.says("reading");
    cancel(running);
    let mut running = home.run().args(FOR_EVER).arg(busy(&home, "")).start();
    running.says("started");
    cancel(running);
    let mut running = home
        .run()
        .args(FOR_EVER)
        .args(["--stdout-limit", "1000GB"])
        .arg(hostile(&home, "flood-by-single-bytes"))
        .start();
    running.says("xxx");
    cancel(running);
}

// A task that does nothing but call the host must let go of its thread too.
// spec: SBX-7
#[test]
fn what_a_task_wrote_is_seen_while_it_does_nothing_but_call_the_host() {
    let home = Home::new();
    for name in ["clock", "yield"] {
        let import = match name {
            "clock" => "(func $f (param i32 i64 i32) (result i32))",
            _ => "(func $f (result i32))",
        };
        let (field, call) = match name {
            "clock" => ("clock_time_get", "(drop (call $f (i32.const 1) (i64.const 0) (i32.const 32)))"),
            _ => ("sched_yield", "(drop (call $f))"),
        };
        let text = format!(
            r#"(module
              (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
              (import "wasi_snapshot_preview1" "{field}" {import})
              (memory (export "memory") 1)
              (data (i32.const 64) "started\n")
              (func (export "_start")
                (i32.store (i32.const 0) (i32.const 64))
                (i32.store (i32.const 4) (i32.const 8))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
                (loop $again {call} (br $again))))"#
        );
        let mut running = home.run().args(FOR_EVER).arg(home.wat(name, &text)).start();
        running.says("started");
        cancel(running);
    }
}

// spec: SBX-7, SBX-8
#[test]
fn two_cancels_are_one() {
    let home = Home::new();
    let mut running = home.run().args(FOR_EVER).arg(busy(&home, "")).start();
    running.says("started");
    running.signal(Signal::INT);
    cancel(running);
}

// Whether it comes before the module is read, while it compiles, or while it runs: nothing may be left behind.
// spec: SBX-7, SBX-8
#[test]
fn a_cancel_at_any_moment_leaves_nothing_behind() {
    let home = Home::new();
    let module = hostile(&home, "loop-in-start");
    for delay in (0..200).step_by(10) {
        let _fresh = std::fs::remove_dir_all(home.cache());
        let running = home.run().args(FOR_EVER).arg(&module).start();
        std::thread::sleep(Duration::from_millis(delay));
        running.signal(Signal::INT);
        let run = running.finish();
        // Before it can listen, the system ends it.
        run.holds(run.code == Some(130) || run.code.is_none(), "it should be cancelled");
    }
}

/// Pauses, and waits until the worker stands still, and `mesh` too: so a shell sees that it may go on.
fn pause(running: &Running<'_>) -> Process {
    running.signal(Signal::TSTP);
    until("mesh to stop", SOON, || process(running.id()).filter(|mesh| mesh.state == 'T'));
    until("a worker that is stopped", SOON, || running.helpers().into_iter().find(|p| p.state == 'T'))
}

// Case 56.
// spec: SBX-7
#[test]
fn a_paused_task_uses_no_processor_and_its_deadline_stands_still() {
    let home = Home::new();
    let module = busy(&home, "");
    let flags = ["--fuel", "9000000000000000000", "--duration", "1500ms"];
    let mut running = home.run().args(flags).arg(module).start();
    running.says("started");
    let stopped = pause(&running);
    // Longer than its whole duration: time must pass for the deadline to have a chance to be wrong.
    std::thread::sleep(Duration::from_millis(2500));
    let later = process(stopped.id).expect("the paused worker is still there");
    assert_eq!(later.state, 'T');
    assert_eq!(later.ticks, stopped.ticks, "it used the processor while it was paused");
    running.signal(Signal::CONT);
    let run = running.finish();
    run.ends(129, r#""TimedOut""#)
        .holds(run.number("usage.paused_ms") >= 2_000, "the pause should be counted")
        .holds(run.number("usage.wall_ms") >= 1_500, "and all of its duration remain");
}

// spec: SBX-7
#[test]
fn a_paused_task_goes_on_where_it_was() {
    let home = Home::new();
    // The good task, but it says when it starts, and does not end before it was given a byte: so it is there to pause.
    let text = GOOD
        .replace("(memory", "(import \"wasi_snapshot_preview1\" \"fd_read\" (func $read (param i32 i32 i32 i32) (result i32))) (memory")
        .replace("(func (export \"_start\")", "(data (i32.const 256) \"started\\n\") (func (export \"_start\")")
        .replace(
            "(loop $again",
            "(i32.store (i32.const 0) (i32.const 256)) (i32.store (i32.const 4) (i32.const 8))
             (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))) (loop $again",
        )
        .replace(
            "(local.set $n (i32.const 0))",
            "(i32.store (i32.const 0) (i32.const 128)) (i32.store (i32.const 4) (i32.const 1))
             (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16))) (local.set $n (i32.const 0))",
        );
    let mut running = home.run().arg(home.wat("patient", &text)).stdin(Feed::Silent).start();
    running.says("started");
    for _ in 0..3 {
        pause(&running);
        running.signal(Signal::CONT);
        until("the worker to go on", SOON, || running.helpers().iter().all(|p| p.state != 'T').then_some(()));
    }
    running.give(b"x");
    let run = running.finish();
    run.exits(0).holds(run.out() == format!("started\n{}", good_result()), "its result must not change");
}

// Case 56.
// spec: SBX-7, SBX-8
#[test]
fn a_paused_task_can_be_cancelled() {
    let home = Home::new();
    let mut running = home.run().args(FOR_EVER).arg(busy(&home, "")).start();
    running.says("started");
    pause(&running);
    running.signal(Signal::INT);
    // A shell does the same for a job that it stopped.
    running.signal(Signal::CONT);
    let run = running.finish();
    run.ends(130, r#""Cancelled""#);
}

// spec: SBX-8, SBX-9
#[test]
fn nothing_is_left_when_mesh_itself_is_killed() {
    let home = Home::new();
    // Computing, doing nothing but calling the host, and stopped.
    let spin = "(drop (call $write (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 16)))";
    for (body, paused) in [("", false), (spin, false), ("", true)] {
        let running =
            home.run().args(FOR_EVER).arg("--out").arg(home.path("files/out")).arg(busy(&home, body)).start();
        // What it wrote may not come while it spins, but its worker works.
        let helpers = until("a worker that works", BOUND, || {
            let helpers = running.helpers();
            helpers.iter().any(|helper| helper.ticks >= 20).then_some(helpers)
        });
        if paused {
            pause(&running);
        }
        running.signal(Signal::KILL);
        let run = running.finish();
        run.holds(run.code.is_none(), "it was killed");
        for helper in helpers {
            until("the worker to end", SOON, || {
                process(helper.id).is_none_or(|p| p.state == 'Z').then_some(())
            });
        }
    }
}

// spec: SBX-8, SBX-9
#[test]
fn nothing_is_left_when_mesh_is_killed_during_a_long_host_call_or_while_it_compiles() {
    let home = Home::new();
    let out = home.path("files/out");
    let functions: String = (0..20_000)
        .map(|n| format!("(func (param i64) (result i64) (i64.mul (local.get 0) (i64.add (local.get 0) (i64.const {n}))))"))
        .collect();
    let costly =
        home.wat("costly", &format!("(module {functions} (func (export \"_start\") (loop (br 0))))"));
    // All but a moment of its time passes within calls that write eighty million bytes each.
    let long = home.wat(
        "long-call",
        r#"(module
          (import "wasi_snapshot_preview1" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_pwrite" (func $pwrite (param i32 i32 i32 i64 i32) (result i32)))
          (memory (export "memory") 2)
          (data (i32.const 64) "out/f")
          (func (export "_start")
            (local $at i32)
            ;; Below the root, or in `/out` as a place of its own.
            (if (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 5)
                  (i32.const 1) (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 0)) (then
              (if (call $open (i32.const 3) (i32.const 0) (i32.const 68) (i32.const 1)
                (i32.const 1) (i64.const 66) (i64.const 0) (i32.const 0) (i32.const 0)) (then unreachable))))
            (loop $buffers
              (i32.store (i32.add (local.get $at) (i32.const 1024)) (i32.const 16384))
              (i32.store (i32.add (local.get $at) (i32.const 1028)) (i32.const 80000))
              (local.set $at (i32.add (local.get $at) (i32.const 8)))
              (br_if $buffers (i32.lt_u (local.get $at) (i32.const 8192))))
            (loop $again
              (if (call $pwrite (i32.load (i32.const 0)) (i32.const 1024) (i32.const 1024) (i64.const 0) (i32.const 16))
                (then unreachable))
              (br $again))))"#,
    );
    for module in [long, hostile(&home, "links-in-links"), hostile(&home, "memory-fill"), costly] {
        let running = home.run().args(FOR_EVER).arg("--out").arg(&out).arg(module).start();
        until("a helper that works", BOUND, || {
            running.helpers().iter().any(|helper| helper.ticks >= 20).then_some(())
        });
        running.signal(Signal::KILL);
        running.finish().holds(true, "the check for leftovers is in `finish`");
    }
}

// Case 64.
// spec: SBX-8, SBX-9
#[test]
fn a_worker_that_is_killed_is_a_crash_of_the_sandbox_and_not_of_mesh() {
    let home = Home::new();
    let mut running = home.run().args(FOR_EVER).arg(busy(&home, "")).start();
    running.says("started");
    // The one that works.
    let worker = until("a worker that works", SOON, || {
        let mut helpers = running.helpers();
        helpers.sort_by_key(|helper| helper.ticks);
        helpers.pop()
    });
    for signal in [Signal::SEGV, Signal::KILL] {
        let pid = rustix::process::Pid::from_raw(worker.id as i32).unwrap();
        let _gone = rustix::process::kill_process(pid, signal);
    }
    let run = running.finish();
    run.holds(run.code == Some(133), "the sandbox crashed").says_error("sandbox");
    let outcome = run.field("outcome").to_string();
    run.holds(outcome.contains("SandboxCrashed"), "the receipt should say so");
}

// Whoever reads slowly slows the task; nothing piles up.
// spec: SBX-5, SBX-6
#[test]
fn a_task_that_floods_does_not_grow_its_host() {
    let home = Home::new();
    let flags = ["--stdout-limit", "300MB", "--memory", "10MB"];
    let run = home.run().args(flags).arg(hostile(&home, "flood-stdout")).go();
    run.ends(132, r#"{"OutputExceeded":"Stdout"}"#)
        .holds(run.stdout_bytes == 300_000_000, "every byte should come");
    let peak = run.number("usage.peak_resident");
    run.holds(peak <= 10_000_000 + (64 << 20), &format!("the worker had {peak} bytes resident"));
}

// spec: SBX-8, ARC-5
#[test]
fn a_good_task_beside_a_hostile_one_gives_its_right_result() {
    let home = Home::new();
    let cases: [(&str, &[&str], i32, &str); 5] = [
        ("loop-counting", &["--fuel", "9000000000000000000", "--duration", "3s"], 129, r#""TimedOut""#),
        ("memory-touch", &["--fuel", "9000000000000000000", "--duration", "3s"], 129, r#""TimedOut""#),
        ("memory-fill", &["--fuel", "9000000000000000000", "--duration", "3s"], 129, r#""TimedOut""#),
        ("flood-stdout", &["--stdout-limit", "200MB"], 132, r#"{"OutputExceeded":"Stdout"}"#),
        ("recursion", &[], 127, r#"{"Trapped":"StackOverflow"}"#),
    ];
    for (name, flags, code, outcome) in cases {
        let own = Home::new();
        let bad = own.run().args(flags).arg(hostile(&own, name)).start();
        is_good(&home.run().arg(home.wat("good", GOOD)).go());
        is_good(&home.run().arg(home.wat("good", GOOD)).go());
        bad.finish().ends(code, outcome);
    }
}

// Case 62: each with all the memory it may have.
// spec: SBX-5, SBX-8
#[test]
fn many_tasks_at_their_limits_at_once_all_end_as_they_must() {
    let home = Home::new();
    let module = hostile(&home, "memory-touch");
    let homes: Vec<Home> = (0..6).map(|_| Home::new()).collect();
    let all: Vec<Running<'_>> = homes
        .iter()
        .map(|home| home.run().args(["--memory", "100MB", "--fuel", "1000000000"]).arg(&module).start())
        .collect();
    for running in all {
        running.finish().ends(128, r#""OutOfFuel""#);
    }
}
