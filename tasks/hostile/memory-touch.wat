;; Takes all memory there is and writes to every page, round and round. Must run out of fuel, and never be
;; resident beyond its limit.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (local $at i32)
    (loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (loop $again
      (i32.store (local.get $at) (i32.const -1))
      (local.set $at (i32.add (local.get $at) (i32.const 4096)))
      (if (i32.ge_u (local.get $at) (i32.mul (memory.size) (i32.const 65536))) (then (local.set $at (i32.const 0))))
      (br $again))))
