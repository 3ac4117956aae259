;; Calls itself for ever without using stack. Must be refused.
(module
  (func $f (export "_start") (return_call $f)))
