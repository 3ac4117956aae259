;; Hands over lists of buffers that are too long, overlap, sum to more than 32 bits, or lie outside its memory. Each must be
;; an error code, and the task goes on.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
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

  (func (export "_start")
    (local $n i32)
    (call $expect (i32.const 28) (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1000000) (i32.const 56)))
    (call $expect (i32.const 28) (call $fd_write (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 56)))
    (call $expect (i32.const 28) (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1000000) (i32.const 56)))
    (call $expect (i32.const 21) (call $fd_write (i32.const 1) (i32.const 65532) (i32.const 1) (i32.const 56)))              ;; the list is cut off
    (call $expect (i32.const 21) (call $fd_write (i32.const 1) (i32.const -4) (i32.const 1) (i32.const 56)))
    (i32.store (i32.const 48) (i32.const -16))                                              ;; a buffer past the end of 32 bits
    (i32.store (i32.const 52) (i32.const 32))
    (call $expect (i32.const 21) (call $fd_write (i32.const 1) (i32.const 48) (i32.const 1) (i32.const 56)))
    (call $expect (i32.const 21) (call $fd_read (i32.const 0) (i32.const 48) (i32.const 1) (i32.const 56)))
    (i32.store (i32.const 48) (i32.const 0))
    (i32.store (i32.const 52) (i32.const -1))
    (call $expect (i32.const 21) (call $fd_write (i32.const 1) (i32.const 48) (i32.const 1) (i32.const 56)))
    (i32.store (i32.const 48) (i32.const 65536))                                            ;; empty, at the very end
    (i32.store (i32.const 52) (i32.const 0))
    (call $expect (i32.const 0) (call $fd_write (i32.const 1) (i32.const 48) (i32.const 1) (i32.const 56)))
    (call $expect (i32.const 21) (call $fd_write (i32.const 1) (i32.const 48) (i32.const 1) (i32.const -1)))                 ;; no place for the count
    (loop $fill                                                       ;; overlapping: the list reads over itself
      (i32.store (i32.add (i32.const 1024) (i32.mul (local.get $n) (i32.const 8))) (i32.const 1024))
      (i32.store (i32.add (i32.const 1028) (i32.mul (local.get $n) (i32.const 8))) (i32.const 512))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $fill (i32.lt_u (local.get $n) (i32.const 64))))
    (call $expect (i32.const 0) (call $fd_read (i32.const 0) (i32.const 1024) (i32.const 64) (i32.const 56)))))
