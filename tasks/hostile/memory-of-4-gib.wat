;; Asks for 4 GiB to start with. Must be refused.
(module
  (memory (export "memory") 65536)
  (func (export "_start")))
