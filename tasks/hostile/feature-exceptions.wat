;; Throws an exception. Must be refused.
(module
  (tag $e)
  (func (export "_start") (loop $again (block $h (try_table (catch $e $h) (throw $e))) (br $again))))
