;; Wants the host to give it a memory and a table. Must be refused.
(module
  (import "env" "memory" (memory 1))
  (import "env" "table" (table 1 funcref))
  (func (export "_start")))
