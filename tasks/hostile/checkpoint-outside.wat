;; Saves a state that lies where it has no memory. Must trap when checkpoints are taken, and be an error code when not.
(module
  (import "mesh_v1" "checkpoint_save" (func $checkpoint_save (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (drop (call $checkpoint_save (i32.const 65530) (i32.const 100)))))
