;; A module without `_start`. Must be refused.
(module
  (memory (export "memory") 1)
  (func (export "main")))
