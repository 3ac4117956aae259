;; Loops in the start function, before anything was asked of it. Must run out of fuel all the same.
(module
  (memory (export "memory") 1)
  (func $start (loop $again (br $again)))
  (start $start)
  (func (export "_start")))
