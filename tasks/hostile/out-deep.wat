;; Makes folders within folders for ever, by names as long as may be and by names as short as may be. Must be told where it
;; ends: 1024 bytes of path, or a count of folders; exits with 7.
(module
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $path_create_directory (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 4096) "/out")
  ;; Ends the task with the number of the first step that does not go as it must, and says what came instead.
  (global $step (mut i32) (i32.const 0))
  (func $expect (param $want i32) (param $got i32)
    (global.set $step (i32.add (global.get $step) (i32.const 1)))
    (if (i32.eq (local.get $want) (local.get $got)) (then return))
    (i32.store (i32.const 64) (i32.const 0x20746f67)) ;; "got "
    (i32.store8 (i32.const 68) (i32.add (i32.const 48) (i32.div_u (local.get $got) (i32.const 10))))
    (i32.store8 (i32.const 69) (i32.add (i32.const 48) (i32.rem_u (local.get $got) (i32.const 10))))
    (i32.store8 (i32.const 70) (i32.const 10))
    (i32.store (i32.const 48) (i32.const 64))
    (i32.store (i32.const 52) (i32.const 7))
    (drop (call $fd_write (i32.const 2) (i32.const 48) (i32.const 1) (i32.const 56)))
    (call $proc_exit (global.get $step)))

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

  ;; Opens a path; the descriptor stands at 40 afterwards.
  (func $open (param $dir i32) (param $path i32) (param $len i32) (param $how i32) (param $rights i64) (result i32)
    (call $path_open (local.get $dir) (i32.const 1) (local.get $path) (local.get $len) (local.get $how)
      (local.get $rights) (local.get $rights) (i32.const 0) (i32.const 40)))

  (func (export "_start")
    (local $dir i32) (local $n i32) (local $errno i32)
    (local.set $dir (call $place (i32.const 4096) (i32.const 4)))
    (memory.fill (i32.const 8192) (i32.const 100) (i32.const 255))
    (loop $again
      (local.set $errno (call $path_create_directory (local.get $dir) (i32.const 8192) (i32.const 255)))
      (if (i32.eqz (local.get $errno)) (then
        (call $expect (i32.const 0) (call $open (local.get $dir) (i32.const 8192) (i32.const 255) (i32.const 2) (i64.const 0)))
        (local.set $dir (i32.load (i32.const 40)))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $n) (i32.const 10000))))))
    (call $expect (i32.const 37) (local.get $errno))
    (call $expect (i32.const 1) (i32.gt_u (local.get $n) (i32.const 2)))
    (call $expect (i32.const 1) (i32.lt_u (local.get $n) (i32.const 5)))
    (local.set $dir (call $place (i32.const 4096) (i32.const 4)))
    (local.set $n (i32.const 0))
    (loop $short
      (local.set $errno (call $path_create_directory (local.get $dir) (i32.const 8192) (i32.const 1)))
      (if (i32.eqz (local.get $errno)) (then
        (call $expect (i32.const 0) (call $open (local.get $dir) (i32.const 8192) (i32.const 1) (i32.const 2) (i64.const 0)))
        (local.set $dir (i32.load (i32.const 40)))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $short (i32.lt_u (local.get $n) (i32.const 10000))))))
    (call $expect (i32.const 37) (local.get $errno))
    (call $expect (i32.const 1) (i32.gt_u (local.get $n) (i32.const 10)))
    (call $expect (i32.const 1) (i32.lt_u (local.get $n) (i32.const 2000)))
    (call $proc_exit (i32.const 7))))
