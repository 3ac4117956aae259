//! Bounds in time and input, exits, and what a run says of itself.

use crate::attacks::hostile;
use crate::support::{Feed, Home, Run, SOON};
use std::path::PathBuf;
use std::time::Duration;

/// A task as it should be: computes, prints what it found, and ends.
pub(crate) const GOOD: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (local $n i32) (local $value i32)
    (loop $again
      (local.set $value (i32.add (i32.mul (local.get $value) (i32.const 1664525)) (i32.const 1013904223)))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $n) (i32.const 3000000))))
    (local.set $n (i32.const 0))
    (loop $digit
      (i32.store8 (i32.add (i32.const 64) (local.get $n))
        (i32.add (i32.const 97) (i32.and (local.get $value) (i32.const 15))))
      (local.set $value (i32.shr_u (local.get $value) (i32.const 4)))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $digit (i32.lt_u (local.get $n) (i32.const 8))))
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 8))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#;

/// What the good task prints.
pub(crate) fn good_result() -> String {
    let value =
        (0..3_000_000).fold(0u32, |value, _| value.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    (0..8).map(|digit| char::from(b'a' + (value >> (4 * digit) & 15) as u8)).collect()
}

pub(crate) fn is_good(run: &Run) {
    let expected = good_result();
    run.exits(0).holds(run.out() == expected, &format!("the good task should print {expected}"));
}

/// Says so, and then does what stands in for `BODY` for ever.
pub(crate) fn busy(home: &Home, body: &str) -> PathBuf {
    home.wat(
        "busy",
        &format!(
            r#"(module
              (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
              (memory (export "memory") 1)
              (data (i32.const 64) "started\n")
              (func (export "_start")
                (i32.store (i32.const 0) (i32.const 64))
                (i32.store (i32.const 4) (i32.const 8))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
                (loop $again {body} (br $again))))"#
        ),
    )
}

// Case 10.
// spec: SBX-4, SBX-7
#[test]
fn whoever_has_fuel_for_ever_runs_out_of_time() {
    let home = Home::new();
    for name in [
        "loop",
        "loop-in-start",
        "memory-fill",
        "spin-clock",
        "spin-poll",
        "links-in-links",
        "flood-progress",
    ] {
        let mut mesh = home.run().args(["--fuel", "9000000000000000000", "--duration", "500ms"]);
        if name == "links-in-links" {
            mesh = mesh.arg("--out").arg(home.path("files/out"));
        }
        let run = mesh.arg(hostile(&home, name)).go();
        run.ends(129, r#""TimedOut""#)
            .says_error("time")
            .holds(run.number("usage.wall_ms") >= 500, "it should have had its time")
            .holds(run.number("usage.wall_ms") < 500 + SOON.as_millis() as u64, "it should not have had more")
            .holds(run.field("not_comparable").to_string().contains("inconclusive"), "this is no result");
    }
}

// Case 40.
// spec: SBX-4, SBX-13
#[test]
fn sleep_is_over_at_once_on_the_virtual_clock_and_ends_at_the_deadline_on_the_real_one() {
    let home = Home::new();
    let module = hostile(&home, "sleep-for-ever");
    let run = home.run().arg(&module).go();
    run.exits(0).holds(run.took < Duration::from_secs(60), "584 years must not be waited for");
    let run = home.run().args(["--real", "--duration", "500ms"]).arg(&module).go();
    run.ends(129, r#""TimedOut""#);
    let run = home.run().arg(hostile(&home, "sleep-long")).go();
    run.exits(0).says("woke up");
}

// Case 43.
// spec: SBX-4, SBX-6
#[test]
fn stdin_that_ends_never_or_not_at_all_is_bounded_like_everything_else() {
    let home = Home::new();
    let run = home
        .run()
        .args(["--duration", "500ms"])
        .arg(hostile(&home, "stdin-for-ever"))
        .stdin(Feed::Silent)
        .go();
    run.ends(129, r#""TimedOut""#);
    let run =
        home.run().args(["--fuel", "100000000"]).arg(hostile(&home, "spin-stdin")).stdin(Feed::Endless).go();
    run.ends(128, r#""OutOfFuel""#);
    let run = home.run().arg(hostile(&home, "stdin-for-ever")).stdin(Feed::Bytes(b"hello".to_vec())).go();
    run.exits(0).says("read\n");
}

// spec: SBX-6
#[test]
fn input_larger_than_allowed_is_refused() {
    let home = Home::new();
    let module = home.wat("good", GOOD);
    let large = home.path("files/large");
    std::fs::File::create(&large).unwrap().set_len(5_000_000_000).unwrap();
    home.run().arg("--input").arg(&large).arg(&module).go().refused("input");
    home.run().arg("--in").arg(format!("large={}", large.display())).arg(&module).go().refused("input");
}

// At ten billion units a second this is two milliseconds of computing; a debug build on a slow machine gets a thousand
// times as much.
// spec: SBX-4, SBX-7
#[test]
fn a_call_costs_the_task_what_it_costs_the_host() {
    let home = Home::new();
    let mut cheap = Vec::new();
    for name in [
        "links-in-links",
        "spin-readdir",
        "spin-files",
        "spin-random",
        "spin-poll",
        "spin-clock",
        "spin-empty-writes",
    ] {
        let module = hostile(&home, name);
        let out = home.path("files/out");
        let run = home.run().args(["--fuel", "20000000"]).arg("--out").arg(out).arg(module).go();
        run.ends(128, r#""OutOfFuel""#);
        let spent = run.number("usage.cpu_us");
        if spent > 2_000_000 {
            cheap.push(format!("{name}: 20,000,000 units of fuel bought {spent} µs of the host's processor"));
        }
    }
    assert!(cheap.is_empty(), "{}", cheap.join("\n"));
}

// spec: SBX-4, SBX-10
#[test]
fn limits_out_of_range_are_refused() {
    let home = Home::new();
    let module = home.wat("good", GOOD);
    for flags in [
        ["--fuel", "0"],
        ["--fuel", "99999999999999999999999"],
        ["--memory", "1B"],
        ["--memory", "5GB"],
        ["--memory", "-1MB"],
        ["--memory", "lots"],
        ["--duration", "0s"],
        ["--duration", "10000h"],
        ["--out-files", "1000000"],
        ["--out-limit", "99999999999GB"],
        ["--env", "no-equals-sign"],
        ["--in", "../x=/etc/passwd"],
        ["--in", "x=/no/such/file"],
        ["--share", "../x=/tmp"],
    ] {
        let run = home.run().args(flags).arg(&module).go();
        run.holds(matches!(run.code, Some(2 | 126 | 134)), &format!("{flags:?} should not be accepted"))
            .says_error("error")
            .holds(run.stdout_bytes == 0, "nothing may run");
    }
}

// Case 47.
// spec: SBX-3, SBX-8
#[test]
fn exit_codes_up_to_125_are_the_tasks_and_all_others_are_traps() {
    let home = Home::new();
    let exit = |code: i64| {
        let text = format!(
            r#"(module
              (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
              (memory (export "memory") 1)
              (func (export "_start") (call $exit (i32.const {code}))))"#
        );
        home.run().arg(home.wat("exit", &text)).go()
    };
    for code in [0, 1, 2, 42, 124, 125] {
        exit(code.into()).exits(code);
    }
    for code in [126, 127, 128, 130, 134, 255, 256, 0x7fff_ffff, -1, -2_147_483_648] {
        exit(code).ends(127, r#"{"Trapped":"BadExitStatus"}"#).says_error("exit");
    }
}

// spec: SBX-5, SBX-8
#[test]
fn a_receipt_tells_what_was_used_and_refused() {
    let home = Home::new();
    let run = home.run().args(["--memory", "10MB"]).arg(hostile(&home, "memory-grow")).go();
    run.exits(7);
    run.holds(*run.field("usage.memory_refused") == true, "it was refused memory");
    // 152 pages fit into ten million bytes.
    run.holds(run.number("usage.peak_memory") == 152 * 65_536, "it should have had every page that fits");
    let run = home.run().args(["--fuel", "100000000"]).arg(hostile(&home, "loop")).go();
    run.ends(128, r#""OutOfFuel""#).holds(run.number("usage.fuel") == 100_000_000, "all fuel was used");
    run.says_error("fuel");
    let walls = run.field("walls").to_string();
    run.holds(walls.contains("process"), "a task has a process of its own");
    run.holds(run.field("out_bound").is_string(), "it should say how /out is bounded");
}

// Case 61.
// spec: SBX-13
#[test]
fn a_task_cannot_tell_one_run_from_another() {
    let home = Home::new();
    let text = r#"(module
      (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "_start")
        (drop (call $random (i32.const 64) (i32.const 64)))
        (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 128)))
        (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 136)))
        (i32.store (i32.const 0) (i32.const 64))
        (i32.store (i32.const 4) (i32.const 80))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#;
    let module = home.wat("look-around", text);
    let (one, two) = (home.run().arg(&module).go(), home.run().arg(&module).go());
    one.exits(0).holds(one.stdout == two.stdout, "clock and randomness must be the same");
    for field in ["usage.fuel", "usage.peak_memory", "task"] {
        one.holds(one.field(field) == two.field(field), &format!("{field} must be the same"));
    }
    let (one, two) = (home.run().arg("--real").arg(&module).go(), home.run().arg("--real").arg(&module).go());
    one.exits(0).holds(one.stdout != two.stdout, "real randomness must differ");
    one.holds(one.field("not_comparable").to_string().contains("real-clock"), "and the receipt must say so");
}

// spec: SBX-5
#[test]
fn the_largest_quota_does_not_let_the_worker_grow_and_a_larger_one_is_refused() {
    let home = Home::new();
    let text = r#"(module
      (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $size (param i32 i64) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 64) "out/big")
      (func (export "_start")
        ;; Below the root, or in `/out` as a place of its own.
        (if (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 7)
              (i32.const 1) (i64.const 4194626) (i64.const 0) (i32.const 0) (i32.const 0)) (then
          (drop (call $open (i32.const 3) (i32.const 0) (i32.const 68) (i32.const 3)
            (i32.const 1) (i64.const 4194626) (i64.const 0) (i32.const 0) (i32.const 0)))))
        (if (call $size (i32.load (i32.const 0)) (i64.const 16000000000)) (then unreachable))
        (if (i32.ne (i32.const 51) (call $size (i32.load (i32.const 0)) (i64.const 16000000001))) (then unreachable))
        ;; What is collected is written out, holes too, and shall not fill the disk.
        (if (call $size (i32.load (i32.const 0)) (i64.const 1000000)) (then unreachable))))"#;
    let module = home.wat("sparse", text);
    for limit in ["1000GB", "16000000001B"] {
        home.run().args(["--out-limit", limit]).arg(&module).go().refused("16GB").says_error("`out`");
    }
    let out = home.path("files/out");
    let run = home.run().args(["--out-limit", "16GB", "--out"]).arg(out).arg(module).go();
    run.exits(0).holds(run.number("output.out_bytes") == 1_000_000, "the file should be there");
    let (limit, peak) = (run.number("limits.memory_bytes"), run.number("usage.peak_resident"));
    run.holds(
        peak <= limit + (64 << 20),
        &format!("a file of holes took {peak} bytes of the worker's memory"),
    );
}
