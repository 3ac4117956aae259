;; Logs lines for ever. They count as stderr, so it must be stopped at that limit.
(module
  (import "mesh_v1" "log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (memory.fill (i32.const 4096) (i32.const 46) (i32.const 4096))
    (loop $again (drop (call $log (i32.const 0) (i32.const 4096) (i32.const 4096))) (br $again))))
