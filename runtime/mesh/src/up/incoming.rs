//! What peers send, read and verified before the node sees it: signatures of many entries on other threads, everything
//! in the order in which it came.
// spec: NET-4, ARC-5

use super::causes;
use super::driver::Arrival;
use bytes::Bytes;
use mesh_net::{Channel, Event, Net};
use mesh_node::{Input, SyncReceived};
use mesh_protocol::frame::{AttemptId, Frame, FrameError, HelloFrame, SyncFrame, TaskFrame};
use mesh_protocol::ids::TaskId;
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::Entry;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Frames verified at once. Enough for every core of a small machine; what is behind them waits a few milliseconds for
/// each, so more would make heartbeats late.
const VERIFYING: usize = 8;
/// Entries verified where they are read. Handing over costs about as much as one signature.
const FEW: usize = 2;

/// What came and was not taken.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// Frames that are none, or that say what does not hold.
    pub(crate) frames: AtomicU64,
    /// Gossip from peers that sent too much of it at once.
    pub(crate) gossip: AtomicU64,
}

/// Reads what comes.
pub(crate) struct Incoming {
    pub(crate) net: Net,
    pub(crate) arrivals: mpsc::Sender<Arrival>,
    pub(crate) refused: Arc<Refused>,
    /// Is this key a member's device?
    pub(crate) is_member: Box<dyn Fn(&PublicKey) -> bool + Send>,
}

/// Something that came, perhaps still being verified.
enum Step {
    Ready(Arrival),
    Verifying(PublicKey, JoinHandle<Result<Arrival, String>>),
}

impl Incoming {
    /// Goes on until the transport is closed or the driver is gone.
    pub(crate) async fn run(self, mut events: mpsc::Receiver<Event>) {
        let mut steps: VecDeque<Step> = VecDeque::new();
        loop {
            // What stands first goes out first.
            while let Some(Step::Ready(_)) = steps.front() {
                let Some(Step::Ready(arrival)) = steps.pop_front() else { break };
                if self.arrivals.send(arrival).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                verified = first(&mut steps), if !steps.is_empty() => {
                    if let Some(step) = self.verified(verified) {
                        steps.push_front(step);
                    }
                }
                event = events.recv(), if steps.len() < VERIFYING => match event {
                    Some(event) => steps.extend(self.event(event)),
                    None => return,
                },
            }
        }
    }

    fn verified(&self, (peer, result): (PublicKey, Result<Arrival, String>)) -> Option<Step> {
        match result {
            Ok(arrival) => Some(Step::Ready(arrival)),
            Err(why) => {
                self.refuse(peer, &why);
                None
            }
        }
    }

    fn event(&self, event: Event) -> Option<Step> {
        let input = match event {
            Event::Connected { peer, addr, dialled, path } => {
                tracing::debug!(peer = %peer.short(), %addr, dialled, ?path, "connected");
                Input::Connected { peer, addr }
            }
            Event::Disconnected { peer, reason } => {
                tracing::debug!(peer = %peer.short(), reason, "disconnected");
                Input::Disconnected { peer }
            }
            Event::Frame { peer, channel, bytes } => {
                return self.frame(peer, channel, bytes).unwrap_or_else(|why| {
                    self.refuse(peer, &why);
                    None
                });
            }
            Event::Found { peer, addrs } => {
                // Anybody may announce anything; who answers must hold the key.
                if (self.is_member)(&peer) {
                    self.net.connect(peer, addrs);
                }
                return None;
            }
            Event::DialFailed { peer, reason } => {
                tracing::debug!(peer = %peer.short(), reason, "a peer was not reached");
                Input::Unreachable { peer, why: reason }
            }
        };
        Some(Step::Ready(input.into()))
    }

    fn frame(&self, peer: PublicKey, channel: Channel, bytes: Bytes) -> Result<Option<Step>, String> {
        let wrong = |error: FrameError| causes(&error);
        let input = match channel {
            Channel::Hello => Input::Hello(peer, HelloFrame::decode(&bytes).map_err(wrong)?),
            Channel::Gossip => {
                let heard = Box::new(mesh_gossip::read(&bytes, Entry::verify).map_err(|error| causes(&error))?);
                return Ok(Some(Step::Ready(Arrival::Gossip(peer, heard))));
            }
            Channel::Sync => match SyncFrame::decode(&bytes).map_err(wrong)? {
                SyncFrame::Entries(entries) if entries.len() > FEW => {
                    let verify = move || verify(&entries).map(|entries| arrival(peer, entries));
                    return Ok(Some(Step::Verifying(peer, tokio::task::spawn_blocking(verify))));
                }
                SyncFrame::Entries(entries) => {
                    return Ok(Some(Step::Ready(arrival(peer, verify(&entries)?))));
                }
                frame => Input::Sync(peer, SyncReceived::Frame(frame)),
            },
            Channel::Task { task, attempt } => {
                let attempt = AttemptId { task: TaskId(task), attempt };
                Input::Task(peer, attempt, TaskFrame::decode(&bytes).map_err(wrong)?)
            }
        };
        Ok(Some(Step::Ready(input.into())))
    }

    /// A peer that says such things is broken or bad: either way there is no talking to it now.
    fn refuse(&self, peer: PublicKey, why: &str) {
        self.refused.frames.fetch_add(1, Ordering::Relaxed);
        if (self.is_member)(&peer) {
            tracing::warn!(peer = %peer.short(), why, "a member's device sent what no peer sends");
        } else {
            // Strangers send what they like, and nobody is to be woken by it.
            tracing::debug!(peer = %peer.short(), why, "a stranger sent what no peer sends");
        }
        self.net.disconnect(peer, "it sent what no peer sends");
    }
}

/// Waits for the first of what is being verified.
async fn first(steps: &mut VecDeque<Step>) -> (PublicKey, Result<Arrival, String>) {
    let Some(Step::Verifying(peer, verifying)) = steps.front_mut() else {
        return std::future::pending().await;
    };
    let (peer, result) = (*peer, verifying.await);
    steps.pop_front();
    (peer, result.unwrap_or_else(|error| Err(error.to_string())))
}

fn arrival(peer: PublicKey, entries: Vec<Entry>) -> Arrival {
    Input::Sync(peer, SyncReceived::Entries(entries)).into()
}

fn verify(entries: &[Vec<u8>]) -> Result<Vec<Entry>, String> {
    entries.iter().map(|bytes| Entry::verify(bytes).map_err(|error| causes(&error))).collect()
}
