;; Fills and copies all of a large memory for ever: few operators, much work. Each byte costs, so it must run out of
;; fuel, and a cancel must reach it in between.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 960)
  (func (export "_start")
    (call $started)
    (loop $again
      (memory.fill (i32.const 0) (i32.const 1) (i32.const 62914560))
      (memory.copy (i32.const 1) (i32.const 0) (i32.const 62914559))
      (br $again)))
  (func $started
    (i32.store (i32.const 48) (i32.const 64))
    (i32.store (i32.const 52) (i32.const 8))
    (i64.store (i32.const 64) (i64.const 0x0a64657472617473)) ;; "started\n"
    (drop (call $fd_write (i32.const 1) (i32.const 48) (i32.const 1) (i32.const 56)))))
