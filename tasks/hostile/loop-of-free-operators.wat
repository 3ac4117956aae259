;; Loops over operators that cost nothing. The jump back costs, so it must run out of fuel.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $again nop nop (block) (drop (i32.const 0)) (br $again))))
