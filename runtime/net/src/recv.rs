//! The way in: one task per stream, which turns frames into events.

use crate::conn::{self, Conn};
use crate::net::{Shared, lock};
use crate::session::Session;
use crate::wire::{FrameError, read_length, read_rest};
use crate::{Channel, Event, Standing};
use bytes::Bytes;
use quinn::{RecvStream, VarInt};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

/// Why a moved stream is stopped: it was read.
const READ: VarInt = VarInt::from_u32(0);

/// Bytes of frames that a session's readers hold.
#[derive(Default)]
pub(crate) struct Held {
    /// Of frames that have begun and not ended.
    unfinished: AtomicUsize,
    /// Of frames for which the caller has no room yet.
    untold: watch::Sender<usize>,
}

/// A frame that is being read.
struct Unfinished<'a>(&'a Held, usize);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.0.unfinished.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// A frame that is being handed over.
struct Untold<'a>(&'a Held, usize);

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        self.0.untold.send_modify(|held| *held = held.saturating_sub(self.1));
    }
}

impl Held {
    /// A frame of this length begins. `None`: it is beyond the bound. Not waited for, since the ends of the others may
    /// be what waits behind it.
    fn begin(&self, length: usize, bound: usize) -> Option<Unfinished<'_>> {
        let unfinished = Unfinished(self, length);
        let before = self.unfinished.fetch_add(length, Ordering::Relaxed);
        (before + length <= bound).then_some(unfinished)
    }

    fn tell(&self, length: usize) -> Untold<'_> {
        self.untold.send_modify(|held| *held += length);
        Untold(self, length)
    }

    /// Has the caller no room for something that came?
    pub(crate) fn is_behind(&self) -> bool {
        *self.untold.borrow() > 0
    }

    /// Bytes of frames for which the caller has no room.
    #[cfg(test)]
    pub(crate) fn untold(&self) -> usize {
        *self.untold.borrow()
    }

    /// Waits while the caller is far behind.
    async fn told(&self, bound: usize) {
        // The sender is in self, so this cannot fail.
        let _ = self.untold.subscribe().wait_for(|held| *held < bound).await;
    }
}

/// Reads a channel's stream to its end.
// spec: NET-3
pub(crate) async fn read(
    shared: Arc<Shared>,
    session: Arc<Session>,
    conn: Arc<Conn>,
    channel: Channel,
    mut stream: RecvStream,
) {
    // A channel that moved to another connection: the old stream's frames come first.
    let _turn = session.turn(channel).await;
    loop {
        let bytes = match next(&shared, &session, &mut stream).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) | Err(Refused::Frame(FrameError::Lost)) => return,
            Err(Refused::Frame(FrameError::Moved)) => {
                // An error means that the connection is gone, which tells the sender as well.
                let _ = stream.stop(READ);
                return;
            }
            Err(Refused::Frame(FrameError::Oversized)) => {
                shared.counts.oversized_frames.one();
                conn.close(conn::MISBEHAVED, "a frame beyond the bound");
                return;
            }
            Err(Refused::Unfinished) => {
                shared.counts.unfinished_frames.one();
                conn.close(conn::MISBEHAVED, "too many unfinished frames");
                return;
            }
        };
        // spec: NET-4
        if session.standing() == Standing::Stranger
            && !lock(&session.frames).take(shared.config.bounds.stranger_frames)
        {
            shared.counts.strangers_frames.one();
            conn.close(conn::MISBEHAVED, "too many frames for a stranger");
            return;
        }
        let _untold = session.held.tell(bytes.len());
        if session.standing() == Standing::Member {
            session.keep_pace(&shared.config.bounds, channel, bytes.len()).await;
        }
        let _place = session.telling.lock().await;
        if !shared.tell(Event::Frame { peer: session.peer, channel, bytes }).await {
            return;
        }
    }
}

/// Why there is no next frame.
enum Refused {
    Frame(FrameError),
    Unfinished,
}

// spec: NET-4
async fn next(shared: &Shared, session: &Session, stream: &mut RecvStream) -> Result<Option<Bytes>, Refused> {
    let bounds = &shared.config.bounds;
    session.held.told(usize::try_from(bounds.window).unwrap_or(usize::MAX)).await;
    let Some(length) = read_length(stream, bounds.frame).await.map_err(Refused::Frame)? else {
        return Ok(None);
    };
    // Others may have brought much while this one was waited for.
    session.held.told(usize::try_from(bounds.window).unwrap_or(usize::MAX)).await;
    let _unfinished = session.held.begin(length, bounds.unfinished).ok_or(Refused::Unfinished)?;
    read_rest(stream, length).await.map(Some).map_err(Refused::Frame)
}
