;; Says that the place for a value lies where it has no memory. Must trap.
(module
  (import "mesh_v1" "meta" (func $meta (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 4096) "task_id")
  (func (export "_start") (drop (call $meta (i32.const 4096) (i32.const 7) (i32.const 65530) (i32.const 64)))))
