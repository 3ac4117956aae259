;; Looks for a NaN that tells the processor it runs on. All must be the canonical one.
(module
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
    (call $expect (i32.const 1) (i32.eq (i32.const 0x7fc00000) (i32.reinterpret_f32 (f32.div (f32.const 0) (call $zero)))))
    (call $expect (i32.const 1) (i32.eq (i32.const 0x7fc00000) (i32.reinterpret_f32 (f32.add (f32.const -nan:0x7abcde) (call $zero)))))
    (call $expect (i32.const 1) (i64.eq (i64.const 0x7ff8000000000000)
      (i64.reinterpret_f64 (f64.sqrt (f64.promote_f32 (f32.sub (call $zero) (f32.const 1))))))))
  (func $zero (result f32) (f32.load (i32.const 1024))))
