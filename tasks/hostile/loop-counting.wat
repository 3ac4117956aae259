;; Computes for ever and keeps its registers busy. Must run out of fuel.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (local $n i64)
    (loop $again
      (local.set $n (i64.add (i64.mul (local.get $n) (i64.const 6364136223846793005)) (i64.const 1)))
      (br $again))))
