//! Checkpoints as attackers would like them.

use crate::limits::GOOD;
use crate::support::{Home, Run};
use rustix::process::Signal;
use std::path::{Path, PathBuf};

/// Starts by saving, saying so, and waiting to be cancelled; goes on by printing what it had saved.
const SAVER: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "mesh_v1" "checkpoint_save" (func $save (param i32 i32) (result i32)))
  (import "mesh_v1" "checkpoint_len" (func $len (result i32)))
  (import "mesh_v1" "checkpoint_load" (func $load (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "the state")
  (data (i32.const 96) "saved\n")
  (func $print (param $at i32) (param $len i32)
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (local.get $len))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))))
  (func (export "_start")
    (if (i32.ge_s (call $len) (i32.const 0)) (then
      (if (i32.ne (call $load (i32.const 128) (i32.const 1024)) (i32.const 9)) (then (call $exit (i32.const 3))))
      (call $print (i32.const 128) (i32.const 9)))
    (else
      (if (call $save (i32.const 64) (i32.const 9)) (then (call $exit (i32.const 4))))
      (call $print (i32.const 96) (i32.const 6))
      (loop $again (br $again))))))"#;

fn saved(home: &Home, module: &Path) -> PathBuf {
    let path = home.path("files/checkpoint");
    let mut running = home.run().arg("--checkpoint").arg(&path).arg(module).start();
    running.says("saved");
    running.signal(Signal::INT);
    running.finish().ends(130, r#""Cancelled""#);
    assert!(path.is_file(), "a checkpoint should have been kept");
    path
}

fn resume(home: &Home, checkpoint: &Path, module: &Path) -> Run {
    home.run().arg("--resume").arg(checkpoint).arg(module).go()
}

// spec: SDK-6, SBX-13
#[test]
fn a_task_goes_on_from_its_own_checkpoint() {
    let home = Home::new();
    let module = home.wat("saver", SAVER);
    let run = resume(&home, &saved(&home, &module), &module);
    run.exits(0).says("the state");
    run.holds(run.number("usage.fuel_before") > 0, "the fuel adds up");
    run.holds(run.field("not_comparable").to_string().contains("resumed"), "the receipt should say so");
}

// Case 57.
// spec: SDK-6
#[test]
fn a_damaged_checkpoint_is_refused() {
    let home = Home::new();
    let module = home.wat("saver", SAVER);
    let whole = std::fs::read(saved(&home, &module)).unwrap();
    let step = (whole.len() / 40).max(1);
    for at in (0..whole.len()).step_by(step) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        resume(&home, &home.file("flipped", bytes), &module).refused("checkpoint");
        resume(&home, &home.file("cut", &whole[..at]), &module).refused("checkpoint");
    }
    resume(&home, &home.file("longer", [&whole[..], b"x"].concat()), &module).refused("checkpoint");
    resume(&home, &home.file("text", "not a checkpoint"), &module).refused("checkpoint");
}

// Case 57.
// spec: SDK-6
#[test]
fn a_checkpoint_of_another_task_module_or_input_is_refused() {
    let home = Home::new();
    let module = home.wat("saver", SAVER);
    let checkpoint = saved(&home, &module);
    resume(&home, &checkpoint, &home.wat("good", GOOD)).refused("checkpoint");
    let nearly = home.wat("nearly", &SAVER.replace("saved\\n", "SAVED\\n"));
    resume(&home, &checkpoint, &nearly).refused("checkpoint");
    let input = home.file("input", "something else");
    let run = home.run().arg("--resume").arg(&checkpoint).arg("--input").arg(input).arg(&module).go();
    run.refused("checkpoint");
    home.run()
        .arg("--resume")
        .arg(&checkpoint)
        .arg(&module)
        .arg("another argument")
        .go()
        .refused("checkpoint");
}
