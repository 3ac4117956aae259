;; Asks for clocks that there are none of. Each must be an error code.
(module
  (import "wasi_snapshot_preview1" "clock_res_get" (func $clock_res_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
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
    (call $expect (i32.const 28) (call $clock_time_get (i32.const 4) (i64.const 0) (i32.const 0)))
    (call $expect (i32.const 28) (call $clock_time_get (i32.const -1) (i64.const 0) (i32.const 0)))
    (call $expect (i32.const 8) (call $clock_time_get (i32.const 2) (i64.const 0) (i32.const 0)))
    (call $expect (i32.const 21) (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 65529)))
    (call $expect (i32.const 28) (call $clock_res_get (i32.const 12345) (i32.const 0)))
    (call $expect (i32.const 21) (call $clock_res_get (i32.const 0) (i32.const -1)))))
