//! Connections to the API, bounded: whoever can reach its port is not yet whoever has the token.
// spec: API-1, NET-4

use super::{State, routes};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

/// Connections at once: many programs that watch, and far from all the files that a process may have open.
const MAX_CONNECTIONS: usize = 256;
/// Headers of a request: those of any browser, several times.
const MAX_HEADERS: usize = 100;
/// How long a connection may be without a request that has begun and whose headers are whole, and how long it may be
/// there at all before it has shown the token.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait when no connection can be had, as when all files are open.
const AGAIN: Duration = Duration::from_millis(200);

/// Who is at the other end of a connection, as far as it has been shown. Every request of it brings this along.
#[derive(Debug, Clone, Default)]
pub(super) struct Guest(Arc<AtomicU8>);

const UNKNOWN: u8 = 0;
const KNOWN: u8 = 1;
const SENT_AWAY: u8 = 2;

impl Guest {
    fn becomes(&self, what: u8) -> bool {
        let was = self.0.compare_exchange(UNKNOWN, what, Ordering::Relaxed, Ordering::Relaxed);
        was.map_or_else(|was| was == what, |_| true)
    }

    /// It has shown the token. False if it was sent away before, and what it asks for must not be begun any more.
    pub(super) fn shows_token(&self) -> bool {
        self.becomes(KNOWN)
    }

    /// False if it has shown the token, and stays.
    fn send_away(&self) -> bool {
        self.becomes(SENT_AWAY)
    }

    fn is_unknown(&self) -> bool {
        self.0.load(Ordering::Relaxed) == UNKNOWN
    }
}

/// The places for connections. Those that have not shown the token can be taken away again.
struct Places {
    room: Arc<Semaphore>,
    unknown: VecDeque<(Guest, AbortHandle)>,
}

impl Places {
    /// A place for one more. If there is none, whoever has been here for longest without showing the token gives theirs.
    async fn take(&mut self) -> io::Result<OwnedSemaphorePermit> {
        self.unknown.retain(|(guest, connection)| guest.is_unknown() && !connection.is_finished());
        while self.room.available_permits() == 0
            && let Some((guest, connection)) = self.unknown.pop_front()
        {
            if guest.send_away() {
                connection.abort();
                break;
            }
        }
        self.room.clone().acquire_owned().await.map_err(io::Error::other)
    }
}

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
    let router = TowerToHyperService::new(routes::router(state));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience).max_headers(MAX_HEADERS);
    let mut places = Places { room: Arc::new(Semaphore::new(MAX_CONNECTIONS)), unknown: VecDeque::new() };
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let (stream, _) = listener.accept().await?;
            Ok::<_, io::Error>((stream, places.take().await?))
        };
        let (stream, place) = tokio::select! {
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
        let guest = Guest::default();
        let (router, brought) = (router.clone(), guest.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(brought.clone());
            router.call(request)
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let seen = guest.clone();
        let connection = tokio::spawn(async move {
            let _place = place;
            // Whoever reads no answers could else stay for ever: only headers that do not come end a connection by
            // themselves.
            let overstays = async {
                tokio::time::sleep(patience).await;
                if !seen.send_away() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to the API broke");
                },
                () = overstays => tracing::debug!("a connection to the API never showed the token"),
            }
        });
        places.unknown.push_back((guest, connection.abort_handle()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: API-1
    #[test]
    fn a_guest_is_sent_away_or_known_and_never_both() {
        let known = Guest::default();
        assert!(known.is_unknown() && known.shows_token());
        assert!(!known.send_away() && known.shows_token() && !known.is_unknown());
        let gone = Guest::default();
        assert!(gone.send_away() && !gone.shows_token() && gone.send_away());
    }
}
