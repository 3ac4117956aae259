;; Reads the last byte that 32 bits can name, with an offset that goes beyond. Must trap.
(module
  (memory (export "memory") 1)
  (func (export "_start") (drop (i32.load offset=4294967295 (i32.const -1)))))
