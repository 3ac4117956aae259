//! Frames as they travel: encoded by one side, decoded by the other.

use mesh_node::{Input, Message, SyncReceived};
use mesh_protocol::frame::{AttemptId, Frame, HelloFrame, SyncFrame, TaskFrame};
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::Entry;

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Channel {
    Hello,
    Gossip,
    Sync,
    Task(AttemptId),
}

/// Bytes on a stream.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) channel: Channel,
    pub(crate) bytes: Vec<u8>,
}

impl Packet {
    pub(crate) fn of(message: &Message) -> Self {
        match message {
            Message::Hello(frame) => Self { channel: Channel::Hello, bytes: frame.encode() },
            Message::Sync(frame) => Self { channel: Channel::Sync, bytes: frame.encode() },
            Message::Task(id, frame) => Self { channel: Channel::Task(*id), bytes: frame.encode() },
        }
    }

    /// What the receiving driver makes of it; none where it does not decode.
    pub(crate) fn input(&self, from: PublicKey) -> Option<Input> {
        Some(match self.channel {
            Channel::Hello => Input::Hello(from, HelloFrame::decode(&self.bytes).ok()?),
            Channel::Gossip => Input::Gossip(from, Box::new(Entry::verify(&self.bytes).ok()?)),
            Channel::Sync => match SyncFrame::decode(&self.bytes).ok()? {
                SyncFrame::Entries(entries) => {
                    let entries = entries.iter().map(|bytes| Entry::verify(bytes).ok()).collect::<Option<_>>()?;
                    Input::Sync(from, SyncReceived::Entries(entries))
                }
                frame => Input::Sync(from, SyncReceived::Frame(frame)),
            },
            Channel::Task(id) => Input::Task(from, id, TaskFrame::decode(&self.bytes).ok()?),
        })
    }
}
