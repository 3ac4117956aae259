;; Executes `unreachable`. Must trap as such.
(module
  (memory (export "memory") 1)
  (func (export "_start") unreachable))
