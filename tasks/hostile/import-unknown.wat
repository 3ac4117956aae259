;; Imports what nobody offers. Must be refused, and the imports named.
(module
  (import "env" "system" (func (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_fork" (func (result i32)))
  (func (export "_start")))
