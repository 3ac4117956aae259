;; Writes the same memory a thousand times over in one call. Must be stopped at its limit.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (local $n i32)
    (memory.fill (i32.const 16384) (i32.const 121) (i32.const 49152))
    (loop $list
      (i32.store (i32.mul (local.get $n) (i32.const 8)) (i32.const 16384))
      (i32.store offset=4 (i32.mul (local.get $n) (i32.const 8)) (i32.const 49152))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $list (i32.lt_u (local.get $n) (i32.const 1024))))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1024) (i32.const 16380)))
    (call $proc_exit (i32.const 1))))
