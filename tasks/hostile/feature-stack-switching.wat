;; Makes a stack of its own to run on. Must be refused.
(module
  (type $f (func))
  (type $c (cont $f))
  (elem declare func $g)
  (func $g)
  (func (export "_start") (drop (cont.new $c (ref.func $g)))))
