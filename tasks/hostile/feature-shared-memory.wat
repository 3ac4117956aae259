;; Has a memory to share among threads. Must be refused.
(module
  (memory 1 1 shared)
  (func (export "_start")))
