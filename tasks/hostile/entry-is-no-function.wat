;; Its `_start` is a global. Must be refused.
(module
  (memory (export "memory") 1)
  (global (export "_start") i32 (i32.const 0)))
