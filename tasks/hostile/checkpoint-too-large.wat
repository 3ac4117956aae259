;; Saves states of a gigabyte, and loads one that there is none of. Each must be an error code.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "mesh_v1" "checkpoint_save" (func $checkpoint_save (param i32 i32) (result i32)))
  (import "mesh_v1" "checkpoint_len" (func $checkpoint_len (result i32)))
  (import "mesh_v1" "checkpoint_load" (func $checkpoint_load (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; Ends the task with the number of the first step that does not go as it must, and says what came instead.
  (global $step (mut i32) (i32.const 0))
  (func $expect (param $want i32) (param $got i32)
    (global.set $step (i32.add (global.get $step) (i32.const 1)))
    (if (i32.eq (local.get $want) (local.get $got)) (then return))
    (i32.store (i32.const 64) (i32.const 0x20746f67)) ;; "got "
    (i32.store8 (i32.const 68) (i32.add (i32.const 48) (i32.div_u (local.get $got) (i32.const 10))))
    (i32.store8 (i32.const 69) (i32.add (i32.const 48) (i32.rem_u (local.get $got) (i32.const 10))))
    (i32.store8 (i32.const 70) (i32.const 10))
    (i32.store (i32.const 48) (i32.const 64))
    (i32.store (i32.const 52) (i32.const 7))
    (drop (call $fd_write (i32.const 2) (i32.const 48) (i32.const 1) (i32.const 56)))
    (call $proc_exit (global.get $step)))

  (func (export "_start")
    (local $r i32)
    (call $expect (i32.const -1) (call $checkpoint_len))
    (call $expect (i32.const -1) (call $checkpoint_load (i32.const 0) (i32.const -1)))
    (call $expect (i32.const 1) (i32.lt_s (call $checkpoint_save (i32.const 0) (i32.const 1000000000)) (i32.const 0)))
    (call $expect (i32.const 1) (i32.lt_s (call $checkpoint_save (i32.const 0) (i32.const -1)) (i32.const 0)))))
