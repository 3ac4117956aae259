//! The way in: one task per stream, which turns frames into events.

use crate::conn::{self, Conn};
use crate::net::{Shared, lock};
use crate::session::Session;
use crate::wire::{FrameError, read_frame};
use crate::{Channel, Event, Standing};
use quinn::{RecvStream, VarInt};
use std::sync::Arc;

/// Why a moved stream is stopped: it was read.
const READ: VarInt = VarInt::from_u32(0);

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
    let bounds = &shared.config.bounds;
    loop {
        let bytes = match read_frame(&mut stream, bounds.frame).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) | Err(FrameError::Lost) => return,
            Err(FrameError::Moved) => {
                // An error means that the connection is gone, which tells the sender as well.
                let _ = stream.stop(READ);
                return;
            }
            Err(FrameError::Oversized) => {
                shared.counts.oversized_frames.one();
                conn.close(conn::MISBEHAVED, "a frame beyond the bound");
                return;
            }
        };
        // spec: NET-4
        if session.standing() == Standing::Stranger && !lock(&session.frames).take(bounds.stranger_frames) {
            shared.counts.strangers_frames.one();
            conn.close(conn::MISBEHAVED, "too many frames for a stranger");
            return;
        }
        if !shared.tell(Event::Frame { peer: session.peer, channel, bytes }).await {
            return;
        }
    }
}
