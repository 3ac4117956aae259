;; Asks for 65,535 pages at once, again and again. Must be told no each time until its fuel is gone.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $again (br_if $again (i32.eq (memory.grow (i32.const 65535)) (i32.const -1))))))
