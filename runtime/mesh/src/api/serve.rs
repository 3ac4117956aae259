//! Connections to the API, bounded: whoever can reach its port is not yet whoever has the token.
// spec: API-1, NET-4

use super::{State, routes};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at once: many programs that watch, and far from all the files that a process may have open.
const MAX_CONNECTIONS: usize = 256;
/// Headers of a request: those of any browser, several times.
const MAX_HEADERS: usize = 100;
/// How long a connection may be without a request that has begun and whose headers are whole.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait when no connection can be had, as when all files are open.
const AGAIN: Duration = Duration::from_millis(200);

/// Serves until `stop` resolves; what is being answered then is the caller's to wait for or to end.
pub(crate) async fn serve(
    state: State,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    patiently(state, listener, stop, PATIENCE).await
}

pub(super) async fn patiently(
    state: State,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send,
    patience: Duration,
) -> io::Result<()> {
    let router = routes::router(state);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience).max_headers(MAX_HEADERS);
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let place = room.clone().acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((listener.accept().await?, place))
        };
        let ((stream, _), place) = tokio::select! {
            () = &mut stop => return Ok(()),
            next = next => match next {
                Ok(next) => next,
                Err(error) => {
                    tracing::debug!(%error, "a connection to the API failed before it began");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            },
        };
        let connection =
            builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the API broke");
            }
            drop(place);
        });
    }
}
