;; Uses 128-bit arithmetic, which is no part of the standard yet. Must be refused.
(module
  (func (export "_start")
    (i64.add128 (i64.const 1) (i64.const 1) (i64.const 1) (i64.const 1)) drop drop))
