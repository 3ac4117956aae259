;; Fills as many bytes as 32 bits can count. Must trap, since it has no such memory.
(module
  (memory (export "memory") 1)
  (func (export "_start") (memory.fill (i32.const 0) (i32.const 1) (i32.const -1))))
