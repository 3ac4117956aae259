//! `mesh up`: the shell around the node. Everything that does IO for a running peer stands below this module.

mod handle;

pub(crate) use handle::Handle;
