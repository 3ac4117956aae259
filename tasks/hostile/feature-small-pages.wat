;; Has a memory whose pages are single bytes. Must be refused.
(module
  (memory 1 (pagesize 1))
  (func (export "_start")))
