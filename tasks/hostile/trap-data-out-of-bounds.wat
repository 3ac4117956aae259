;; Has a data segment that lies outside its memory. Must trap before its first instruction.
(module
  (memory (export "memory") 1)
  (data (i32.const 65530) "seven..")
  (func (export "_start")))
