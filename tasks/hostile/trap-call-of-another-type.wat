;; Calls a function by a type that it does not have. Must trap.
(module
  (table funcref (elem $victim))
  (type $f (func (param i64) (result i64)))
  (func $victim (param i32))
  (func (export "_start") (drop (call_indirect (type $f) (i64.const 0xdeadbeef) (i32.const 0)))))
