//! The way out: a bounded queue per channel, and one task that writes it to a stream.

use crate::conn::Conn;
use crate::net::{Shared, lock};
use crate::session::Session;
use crate::wire::{Head, MOVED, frame_prefix};
use crate::{Channel, Standing};
use bytes::Bytes;
use quinn::{SendStream, WriteError};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// What a queued frame costs beside its bytes, so that many empty frames are bounded too.
const OVERHEAD: usize = 64;
/// How long a channel that moves to another connection waits until the old stream was read. 2 s: several round trips
/// and less than the old connection lives on; after that the order of frames on either side of the move is no longer
/// certain.
const MOVE: Duration = Duration::from_secs(2);

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no session with that peer. Nothing was queued.
    #[error("reach the peer: it is not connected")]
    NotConnected,
    /// The peer is a stranger here, and this channel is for members. Nothing was queued.
    #[error("send to a stranger: only the hello channel is open to it")]
    Stranger,
    /// The frame is longer than the bound. Nothing was queued.
    #[error("send a frame of {size} bytes: at most {bound} fit")]
    TooLarge {
        /// Its length.
        size: usize,
        /// [`Bounds::frame`](crate::Bounds::frame).
        bound: usize,
    },
    /// The peer takes frames more slowly than they come. Nothing was queued.
    #[error("queue the frame: the peer does not keep up")]
    QueueFull,
}

/// The queues of one session.
#[derive(Default)]
pub(crate) struct Queues {
    channels: BTreeMap<Channel, Queue>,
    /// Bytes in all queues of tasks.
    tasks: Arc<AtomicUsize>,
    /// Held by each writer: those of finished channels, too, which may wait for long until the peer takes a stream.
    writers: Arc<()>,
    closed: bool,
}

struct Queue {
    frames: mpsc::UnboundedSender<Queued>,
    /// Bytes in this queue.
    own: Arc<AtomicUsize>,
}

/// A frame that gives its bytes back when it is written or lost.
struct Queued {
    frame: Bytes,
    held: Vec<Arc<AtomicUsize>>,
}

impl Drop for Queued {
    fn drop(&mut self) {
        for held in &self.held {
            held.fetch_sub(self.frame.len() + OVERHEAD, Ordering::Relaxed);
        }
    }
}

/// Queues a frame, starting the channel's task with its first.
// spec: NET-4
pub(crate) fn send(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    channel: Channel,
    frame: Bytes,
) -> Result<(), SendError> {
    let bounds = &shared.config.bounds;
    if frame.len() > bounds.frame {
        return Err(SendError::TooLarge { size: frame.len(), bound: bounds.frame });
    }
    if channel != Channel::Hello && session.standing() == Standing::Stranger {
        return Err(SendError::Stranger);
    }
    let mut queues = lock(&session.queues);
    if queues.closed {
        return Err(SendError::NotConnected);
    }
    let is_task = matches!(channel, Channel::Task { .. });
    let (tasks, writer) = (queues.tasks.clone(), queues.writers.clone());
    // One is the session's own, and one is at hand here.
    let crowded = Arc::strong_count(&writer) - 2 >= bounds.channels_per_peer;
    let full = || {
        shared.counts.queue_full.one();
        SendError::QueueFull
    };
    let size = frame.len() + OVERHEAD;
    if is_task && tasks.load(Ordering::Relaxed) + size > bounds.queue_per_peer {
        return Err(full());
    }
    let queue = match queues.channels.entry(channel) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(_) if crowded && is_task => return Err(full()),
        Entry::Vacant(entry) => {
            // Unbounded in number, bounded in bytes by `own` and `tasks`.
            let (frames, queued) = mpsc::unbounded_channel();
            tokio::spawn(write(shared.clone(), session.clone(), channel, queued, writer));
            entry.insert(Queue { frames, own: Arc::default() })
        }
    };
    if queue.own.load(Ordering::Relaxed) + size > bounds.queue_per_channel {
        return Err(full());
    }
    // All adding happens under the lock; the writers only take away.
    let mut held = vec![queue.own.clone()];
    held.extend(is_task.then_some(tasks));
    for held in &held {
        held.fetch_add(size, Ordering::Relaxed);
    }
    queue.frames.send(Queued { frame, held }).map_err(|_| SendError::NotConnected)
}

/// No more frames on this channel: its stream ends after what is queued.
pub(crate) fn finish(session: &Session, channel: Channel) {
    lock(&session.queues).channels.remove(&channel);
}

/// The session is over.
pub(crate) fn close(session: &Session) {
    let mut queues = lock(&session.queues);
    queues.closed = true;
    queues.channels.clear();
}

/// A channel's stream, and which connection it is on. Not the connection itself: a channel that is quiet would keep
/// the places of one that is closed.
struct Stream {
    conn: usize,
    stream: SendStream,
}

async fn write(
    shared: Arc<Shared>,
    session: Arc<Session>,
    channel: Channel,
    mut queued: mpsc::UnboundedReceiver<Queued>,
    _writer: Arc<()>,
) {
    let mut open: Option<Stream> = None;
    while let Some(next) = queued.recv().await {
        if let Err(()) = write_frame(&shared, &session, channel, &mut open, &next.frame).await {
            // Either the session is over, or the peer does not want this channel. What is queued is lost; a later
            // frame starts afresh.
            finish(&session, channel);
            return;
        }
    }
    if let Some(mut open) = open {
        // An error means that it is closed already, which is what is wanted.
        let _ = open.stream.finish();
    }
}

/// Writes one frame to the connection in use, and again to the next one if that was lost in the middle.
async fn write_frame(
    shared: &Shared,
    session: &Session,
    channel: Channel,
    open: &mut Option<Stream>,
    frame: &Bytes,
) -> Result<(), ()> {
    let Some(prefix) = frame_prefix(frame) else { return Err(()) };
    let mut active = session.active.subscribe();
    loop {
        let conn = session.active.borrow().clone().ok_or(())?;
        if let Some(mut old) = open.take_if(|old| old.conn != conn.quic.stable_id()) {
            // It arriving is not enough: the other side's tasks may get to the new stream first.
            let read = async {
                if old.stream.write_all(&MOVED.to_le_bytes()).await.is_ok() {
                    let _ = old.stream.stopped().await;
                }
            };
            let _ = tokio::time::timeout(MOVE, read).await;
        }
        if open.is_none() {
            // Opening waits while the peer takes no more streams, as it does until it made us a member.
            let stream = tokio::select! {
                stream = open_stream(shared, &conn, channel) => stream,
                _ = conn.quic.closed() => Err(()),
            };
            if let Ok(stream) = stream {
                *open = Some(Stream { conn: conn.quic.stable_id(), stream });
            }
        }
        let written = match open {
            Some(open) => open.stream.write_all_chunks(&mut [prefix.clone(), frame.clone()]).await,
            None => Err(WriteError::ClosedStream),
        };
        match written {
            Ok(()) => return Ok(()),
            Err(WriteError::Stopped(_)) => {
                shared.counts.channels_stopped.one();
                return Err(());
            }
            Err(_) => {
                *open = None;
                if session.is_over() {
                    return Err(());
                }
                // This connection is lost; the session picks another or ends.
                active
                    .wait_for(|now| now.as_ref().is_none_or(|now| !Arc::ptr_eq(now, &conn)))
                    .await
                    .map_err(|_| ())?;
                if session.is_over() {
                    return Err(());
                }
            }
        }
    }
}

async fn open_stream(shared: &Shared, conn: &Conn, channel: Channel) -> Result<SendStream, ()> {
    // The connection's preface opened the hello's stream already.
    if channel == Channel::Hello
        && let Some(stream) = lock(&conn.hello).take()
    {
        return Ok(stream);
    }
    let mut stream = conn.quic.open_uni().await.map_err(|_| ())?;
    stream.write_all(&Head::of(channel, shared.instance).encode()).await.map_err(|_| ())?;
    Ok(stream)
}
