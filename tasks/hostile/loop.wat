;; Computes for ever. Must run out of fuel, or of time when it has plenty of fuel.
(module
  (memory (export "memory") 1)
  (func (export "_start") (loop $again (br $again))))
