//! The HTTP API of a running peer, for its owner's programs on this machine; the command line uses it too.
// spec: API-1, API-2

mod asked;
mod door;
mod publish;
mod routes;
mod serve;
pub(crate) mod services;

#[cfg(test)]
pub(crate) use publish::Unpublish;
pub(crate) use publish::{FILE, Published, is_served, publish, token};
pub(crate) use serve::serve;
pub(crate) use services::{Chunks, ImportReport, Later, Services, Stream};

use crate::up::Handle;
use std::sync::Arc;

/// What every handler has.
#[derive(Clone)]
pub(crate) struct State {
    /// The node.
    pub(crate) handle: Handle,
    /// Everything beside the node.
    pub(crate) services: Arc<dyn Services>,
    /// Who has this may ask.
    pub(crate) token: Arc<str>,
    /// Was it told to listen to other machines too?
    pub(crate) remote: bool,
}

#[cfg(test)]
mod tests;
