;; Imports a function of WASI by a type that it does not have. Must be refused.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func (param i64 i64) (result i64)))
  (func (export "_start")))
