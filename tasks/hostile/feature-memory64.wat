;; Has a memory with 64-bit addresses. Must be refused.
(module
  (memory i64 1)
  (func (export "_start")))
