;; Has a table of ten million slots. Must be refused.
(module
  (table 10000000 funcref)
  (func (export "_start")))
