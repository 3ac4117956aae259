;; Fills its stack and calls the host at every depth, so that some host call finds as little stack as possible.
;; Must trap with a stack overflow; the host must not abort.
(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $down (param i64 i64 i64 i64 i64 i64 i64 i64) (result i64)
    (drop (call $clock_time_get (i32.const 1) (i64.const 1) (i32.const 0)))
    (drop (call $random_get (i32.const 0) (i32.const 16)))
    (i64.add (local.get 7)
      (call $down (i64.load (i32.const 0)) (local.get 0) (local.get 1) (local.get 2)
        (local.get 3) (local.get 4) (local.get 5) (local.get 6))))
  (func (export "_start")
    (drop (call $down (i64.const 0) (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4) (i64.const 5) (i64.const 6) (i64.const 7)))))
