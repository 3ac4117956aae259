;; Says that a note lies where it has no memory. Must trap.
(module
  (import "mesh_v1" "progress" (func $progress (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (drop (call $progress (i32.const 1) (i32.const 65500) (i32.const 100)))))
