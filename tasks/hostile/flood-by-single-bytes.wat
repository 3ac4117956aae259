;; Writes to stdout byte by byte, for ever. Must be stopped at its limit.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 4096) "x")
  ;; Writes bytes to a descriptor; the count stands at 56 afterwards.
  (func $write (param $fd i32) (param $ptr i32) (param $len i32) (result i32)
    (i32.store (i32.const 48) (local.get $ptr))
    (i32.store (i32.const 52) (local.get $len))
    (call $fd_write (local.get $fd) (i32.const 48) (i32.const 1) (i32.const 56)))

  (func (export "_start")
    (loop $again (drop (call $write (i32.const 1) (i32.const 4096) (i32.const 1))) (br $again))))
