;; Calls an empty slot of a table. Must trap.
(module
  (table 2 funcref)
  (type $f (func))
  (func (export "_start") (call_indirect (type $f) (i32.const 1))))
