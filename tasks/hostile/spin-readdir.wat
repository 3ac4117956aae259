;; Lists a folder into a buffer that no entry fits into, for ever. Must run out of fuel.
(module
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 4096) "/out")
  ;; Finds a folder by its path: as a place of its own (their lengths differ), or below the root.
  (func $place (param $name i32) (param $len i32) (result i32)
    (local $fd i32)
    (local.set $fd (i32.const 3))
    (loop $next
      (if (i32.eqz (call $fd_prestat_get (local.get $fd) (i32.const 32))) (then
        (if (i32.eq (i32.load (i32.const 36)) (local.get $len)) (then (return (local.get $fd))))
        (if (i32.eq (i32.load (i32.const 36)) (i32.const 1)) (then
          (if (i32.eqz (call $path_open (local.get $fd) (i32.const 0)
                (i32.add (local.get $name) (i32.const 1)) (i32.sub (local.get $len) (i32.const 1))
                (i32.const 2) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 40)))
            (then (return (i32.load (i32.const 40)))))))))
      (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $fd) (i32.const 16))))
    (call $proc_exit (i32.const 99))
    unreachable)

  (func (export "_start")
    (local $dir i32)
    (local.set $dir (call $place (i32.const 4096) (i32.const 4)))
    (loop $again 
      (drop (call $fd_readdir (local.get $dir) (i32.const 64) (i32.const 1) (i64.const 0) (i32.const 56))) (br $again))))
