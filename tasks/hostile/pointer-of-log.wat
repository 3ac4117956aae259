;; Says that a log line lies where it has no memory. Must trap.
(module
  (import "mesh_v1" "log" (func $log (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (drop (call $log (i32.const 1) (i32.const -1) (i32.const 2)))))
