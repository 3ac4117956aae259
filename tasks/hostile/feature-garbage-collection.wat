;; Allocates objects that the host would have to collect. Must be refused.
(module
  (type $list (struct (field (mut (ref null $list))) (field (mut i64))))
  (func (export "_start")
    (local $l (ref null $list))
    (loop $again
      (local.set $l (struct.new $list (local.get $l) (i64.const 1)))
      (br $again))))
