;; Reports progress for ever. Must run out of fuel; nobody is drowned in notes.
(module
  (import "mesh_v1" "progress" (func $progress (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 4096) "still here")
  (func (export "_start")
    (loop $again (drop (call $progress (i32.const 500) (i32.const 4096) (i32.const 10))) (br $again))))
