;; Turns a float that is too large into an integer. Must trap.
(module
  (func (export "_start") (drop (i32.trunc_f64_u (f64.const 1e300)))))
