;; Reads stdin for ever, whatever comes. Must run out of fuel.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $again 
      (i32.store (i32.const 48) (i32.const 64)) (i32.store (i32.const 52) (i32.const 60000))
      (drop (call $fd_read (i32.const 0) (i32.const 48) (i32.const 1) (i32.const 56))) (br $again))))
