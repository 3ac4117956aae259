;; Has an element segment that lies outside its table. Must trap before its first instruction.
(module
  (table 1 funcref)
  (elem (i32.const 1) func $f)
  (func $f)
  (func (export "_start")))
