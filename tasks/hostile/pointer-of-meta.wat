;; Says that a key lies where it has no memory. Must trap.
(module
  (import "mesh_v1" "meta" (func $meta (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (drop (call $meta (i32.const 65530) (i32.const 16) (i32.const 0) (i32.const 0)))))
