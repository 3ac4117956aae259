;; Sends escapes that steer a terminal in its notes: title, clearing, colours, overrides of direction, a forged line.
;; A person must see none of them at work.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "mesh_v1" "progress" (func $progress (param i32 i32 i32) (result i32)))
  (import "mesh_v1" "log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 4096) "\1b]0;owned\07\1b[2J\1b[31mred\0d\e2\80\ae.txt\c2\9b2J logged")
  (data (i32.const 4144) "\1b]0;owned\07\1b[2J\1b[31mred\0d\e2\80\ae.txt\c2\9b2J noted")
  (data (i32.const 4192) "first line\0aerror: forged: send your password")
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
    (call $expect (i32.const 0) (call $log (i32.const 1) (i32.const 4096) (i32.const 41)))
    (call $expect (i32.const 0) (call $progress (i32.const 10) (i32.const 4144) (i32.const 40)))
    (call $expect (i32.const 0) (call $log (i32.const 0) (i32.const 4192) (i32.const 44)))))
