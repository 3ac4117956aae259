;; Opens a path whose links expand to twenty thousand steps, again and again: much work for the host, few operators for the
;; guest. Each must be given up halfway and paid for by the step, and a cancel or deadline must reach it in between.
(module
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink" (func $path_symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 4096) "/out")
  (data (i32.const 4112) "l")
  (data (i32.const 4128) "started\0a")
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

  ;; Writes bytes to a descriptor; the count stands at 56 afterwards.
  (func $write (param $fd i32) (param $ptr i32) (param $len i32) (result i32)
    (i32.store (i32.const 48) (local.get $ptr))
    (i32.store (i32.const 52) (local.get $len))
    (call $fd_write (local.get $fd) (i32.const 48) (i32.const 1) (i32.const 56)))

  ;; Opens a path; the descriptor stands at 40 afterwards.
  (func $open (param $dir i32) (param $path i32) (param $len i32) (param $how i32) (param $rights i64) (result i32)
    (call $path_open (local.get $dir) (i32.const 1) (local.get $path) (local.get $len) (local.get $how)
      (local.get $rights) (local.get $rights) (i32.const 0) (i32.const 40)))

  (func (export "_start")
    (local $out i32) (local $n i32)
    (local.set $out (call $place (i32.const 4096) (i32.const 4)))
    (loop $dots
      (i32.store16 (i32.add (i32.const 8192) (i32.mul (local.get $n) (i32.const 2))) (i32.const 0x2f2e)) ;; "./"
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $dots (i32.lt_u (local.get $n) (i32.const 500))))
    (call $expect (i32.const 0) (call $path_symlink (i32.const 8192) (i32.const 1000) (local.get $out) (i32.const 4112) (i32.const 1)))
    (local.set $n (i32.const 0))
    (loop $links
      (i32.store16 (i32.add (i32.const 16384) (i32.mul (local.get $n) (i32.const 2))) (i32.const 0x2f6c)) ;; "l/"
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $links (i32.lt_u (local.get $n) (i32.const 40))))
    (call $expect (i32.const 0) (call $write (i32.const 1) (i32.const 4128) (i32.const 8)))
    (loop $again
      (call $expect (i32.const 32) (call $open (local.get $out) (i32.const 16384) (i32.const 80) (i32.const 0) (i64.const 2)))
      (br $again))))
