//! Byte streams that grow while they are read: logs, progress, results.
//!
//! Answer: yes or no, then frames; an empty frame is the end. A stream that just stops broke.

use crate::net::Shared;
use crate::session::Session;
use crate::wire::{FrameError, Head, MAX_WHAT, NO, YES, frame_prefix, read_frame};
use bytes::Bytes;
use mesh_protocol::key::PublicKey;
use quinn::{SendStream, VarInt};
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

/// Pieces that wait for the caller. 8 of at most 64 KiB; beyond that QUIC slows the other side.
const WAITING: usize = 8;

/// Why a followed stream did not begin or broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// There is no session with that peer.
    #[error("follow: the peer is not connected")]
    NotConnected,
    /// The name is too long to send.
    #[error("follow: the name is longer than {MAX_WHAT} bytes")]
    NameTooLong,
    /// The peer does not have it, or not for us.
    #[error("follow: the peer does not hand this out")]
    NotThere,
    /// The connection or the source broke. What came before is good; ask again from there.
    #[error("follow: the stream broke before its end")]
    Lost,
}

pub(crate) async fn follow(
    shared: &Arc<Shared>,
    peer: PublicKey,
    what: Vec<u8>,
    from: u64,
) -> Result<mpsc::Receiver<Result<Bytes, FollowError>>, FollowError> {
    if what.len() > MAX_WHAT {
        return Err(FollowError::NameTooLong);
    }
    let session = shared.session(peer).ok_or(FollowError::NotConnected)?;
    // Waited for as long as it takes: what is followed goes on for hours.
    // spec: DEL-5
    let (place, gone) = match session.follows.clone().try_acquire_owned() {
        Ok(place) => (place, FollowError::NotConnected),
        Err(_) => tokio::select! {
            biased;
            () = session.gone() => return Err(FollowError::Lost),
            place = session.follows.clone().acquire_owned() => {
                (place.map_err(|_| FollowError::Lost)?, FollowError::Lost)
            }
        },
    };
    let conn = session.active.borrow().clone().ok_or(gone)?;
    let bounds = &shared.config.bounds;
    let (frame, stall) = (bounds.frame, bounds.stall);
    let ask = async {
        let (mut send, mut recv) = conn.quic.open_bi().await.map_err(|_| FollowError::Lost)?;
        send.write_all(&Head::Follow { from, what }.encode()).await.map_err(|_| FollowError::Lost)?;
        send.finish().map_err(|_| FollowError::Lost)?;
        match recv.read_u8().await {
            Ok(YES) => Ok(recv),
            Ok(_) => Err(FollowError::NotThere),
            Err(_) => Err(FollowError::Lost),
        }
    };
    let mut recv = tokio::time::timeout(stall, ask).await.map_err(|_| FollowError::Lost)??;
    let (pieces, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let _held = place;
        loop {
            let next = tokio::select! {
                next = read_frame(&mut recv, frame) => next,
                () = pieces.closed() => return,
            };
            let piece = match next {
                Ok(Some(piece)) if piece.is_empty() => return,
                Ok(Some(piece)) => Ok(piece),
                Ok(None) | Err(FrameError::Lost | FrameError::Oversized | FrameError::Moved) => {
                    Err(FollowError::Lost)
                }
            };
            let broken = piece.is_err();
            if pieces.send(piece).await.is_err() || broken {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Answers a follow request. Ends with the connection, or when the reader stops.
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    what: &[u8],
    from: u64,
    send: &mut SendStream,
) {
    // A follow may stay open for hours, mostly waiting: it takes no place among those that read disks, and the
    // peer's streams bound it.
    let Some(mut source) = shared.provider.follow(session.peer, what, from) else {
        shared.counts.not_served.one();
        let _ = send.write_all(&[NO]).await;
        let _ = send.finish();
        return;
    };
    let bound = shared.config.bounds.frame;
    let outcome: Result<(), ()> = async {
        send.write_all(&[YES]).await.map_err(|_| ())?;
        while let Some(mut piece) = source.next().await.map_err(|_| ())? {
            while !piece.is_empty() {
                let part = piece.split_to(piece.len().min(bound));
                let prefix = frame_prefix(&part).ok_or(())?;
                send.write_all_chunks(&mut [prefix, part]).await.map_err(|_| ())?;
            }
        }
        send.write_all(&0_u32.to_le_bytes()).await.map_err(|_| ())
    }
    .await;
    match outcome {
        Ok(()) => drop(send.finish()),
        Err(()) => drop(send.reset(VarInt::from_u32(0))),
    }
}
