;; Says so and sleeps for an hour. For cancelling, pausing and deadlines: give it the real clock.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 4096) "sleeping\0a")
  (data (i32.const 4112) "woke up\0a")
  ;; Writes bytes to a descriptor; the count stands at 56 afterwards.
  (func $write (param $fd i32) (param $ptr i32) (param $len i32) (result i32)
    (i32.store (i32.const 48) (local.get $ptr))
    (i32.store (i32.const 52) (local.get $len))
    (call $fd_write (local.get $fd) (i32.const 48) (i32.const 1) (i32.const 56)))

  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 4096) (i32.const 9)))
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 3600000000000))
    (drop (call $poll_oneoff (i32.const 0) (i32.const 128) (i32.const 1) (i32.const 256)))
    (drop (call $write (i32.const 1) (i32.const 4112) (i32.const 8)))))
