//! The HTTP API of a running peer, for its owner's programs on this machine; the command line uses it too.
// spec: API-1, API-2

mod door;
mod publish;
mod routes;
pub(crate) mod services;

pub(crate) use publish::{FILE, Published, Unpublish, publish, token};
pub(crate) use services::{Chunks, ImportReport, Later, Services, Stream};

use crate::up::Handle;
use std::io;
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

/// Serves until `stop` resolves.
pub(crate) async fn serve(
    state: State,
    listener: tokio::net::TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(listener, routes::router(state)).with_graceful_shutdown(stop).await
}

#[cfg(test)]
mod tests;
