//! What is to be said to peers and did not go out at once: frames that found a full queue, and logs that are sent piece
//! by piece as the line takes them.
// spec: ARC-7, LED-4

use bytes::Bytes;
use mesh_net::Channel;
use mesh_protocol::frame::{Frame, MAX_FRAME, SyncFrame};
use mesh_protocol::key::PublicKey;
use mesh_store::Store;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Bytes of entries in one frame: half of the longest, which is verified within a few milliseconds at the other end.
const PIECE: usize = MAX_FRAME / 2;
/// Bytes that wait for one channel beyond what the transport itself queues. A peer that is further behind than that is
/// not taking what it is sent.
const MAX_BYTES: usize = 4 << 20;
/// Logs that wait to be sent to one peer: it asks for as many as a frame names, and comparing anew asks for the rest.
const MAX_LOGS: usize = 1000;
/// How soon it is tried again.
pub(crate) const AGAIN: Duration = Duration::from_millis(5);

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is on its way.
    Yes,
    /// There is no room at the moment.
    Full,
    /// That peer cannot be sent to.
    Gone,
}

/// What frames go out on.
pub(crate) trait Line {
    fn send(&self, peer: PublicKey, channel: Channel, bytes: Bytes) -> Sent;
}

enum Item {
    Frame(Bytes),
    Log { author: PublicKey, from: u64, until: u64 },
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    logs: usize,
}

/// All of it.
#[derive(Default)]
pub(crate) struct Outbox {
    queues: BTreeMap<(PublicKey, Channel), Queue>,
}

impl Outbox {
    /// Says something, now or as soon as there is room. False if the peer takes nothing, and should be let go.
    pub(crate) fn say(&mut self, line: &impl Line, peer: PublicKey, channel: Channel, bytes: Bytes) -> bool {
        let queue = self.queues.get_mut(&(peer, channel));
        if queue.is_none() && line.send(peer, channel, bytes.clone()) != Sent::Full {
            return true;
        }
        let queue = self.queues.entry((peer, channel)).or_default();
        queue.bytes += bytes.len();
        queue.items.push_back(Item::Frame(bytes));
        queue.bytes <= MAX_BYTES
    }

    /// Sends a part of a log, behind what waits already.
    pub(crate) fn send_log(&mut self, peer: PublicKey, author: PublicKey, from: u64, until: u64) {
        let queue = self.queues.entry((peer, Channel::Sync)).or_default();
        if queue.logs >= MAX_LOGS {
            tracing::debug!(peer = %peer.short(), "more logs were asked for than wait at once; the rest waits for the next comparison");
            return;
        }
        queue.logs += 1;
        queue.items.push_back(Item::Log { author, from, until });
    }

    /// Nothing more is to be said to this peer.
    pub(crate) fn drop_peer(&mut self, peer: &PublicKey) {
        self.queues.retain(|(to, _), _| to != peer);
    }

    /// Sends what there is room for. True if something is left.
    pub(crate) fn go_on(&mut self, line: &impl Line, store: &dyn Store) -> bool {
        self.queues.retain(|(peer, channel), queue| !queue.drain(line, store, *peer, *channel));
        !self.queues.is_empty()
    }
}

impl Queue {
    /// Sends from the front. True once it is empty.
    fn drain(&mut self, line: &impl Line, store: &dyn Store, peer: PublicKey, channel: Channel) -> bool {
        while let Some(item) = self.items.pop_front() {
            match item {
                Item::Frame(bytes) => match line.send(peer, channel, bytes.clone()) {
                    Sent::Yes => self.bytes = self.bytes.saturating_sub(bytes.len()),
                    Sent::Full => {
                        self.items.push_front(Item::Frame(bytes));
                        return false;
                    }
                    Sent::Gone => return true,
                },
                Item::Log { author, from, until } => {
                    self.logs -= 1;
                    let Some((frame, next)) = piece(store, &author, from, until) else { continue };
                    if next < until {
                        self.logs += 1;
                        self.items.push_front(Item::Log { author, from: next, until });
                    }
                    self.bytes += frame.len();
                    self.items.push_front(Item::Frame(frame));
                }
            }
        }
        true
    }
}

/// The next entries of a log as a frame, and which one comes after them.
fn piece(store: &dyn Store, author: &PublicKey, from: u64, until: u64) -> Option<(Bytes, u64)> {
    if from >= until {
        return None;
    }
    match store.entries(author, from, PIECE) {
        Ok(mut entries) => {
            entries.truncate(
                usize::try_from(until - from).unwrap_or(usize::MAX).min(mesh_protocol::frame::MAX_TIPS),
            );
            if entries.is_empty() {
                return None;
            }
            let next = from + entries.len() as u64;
            Some((SyncFrame::Entries(entries).encode().into(), next))
        }
        Err(error) => {
            tracing::warn!(error = %super::causes(&error), "entries could not be read for a peer");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::record::Record;
    use mesh_store::MemoryStore;
    use std::cell::{Cell, RefCell};

    #[derive(Default)]
    struct Wire {
        room: Cell<usize>,
        sent: RefCell<Vec<(Channel, Bytes)>>,
    }

    impl Line for Wire {
        fn send(&self, _: PublicKey, channel: Channel, bytes: Bytes) -> Sent {
            if self.room.get() == 0 {
                return Sent::Full;
            }
            self.room.set(self.room.get() - 1);
            self.sent.borrow_mut().push((channel, bytes));
            Sent::Yes
        }
    }

    const PEER: PublicKey = PublicKey([1; 32]);
    const AUTHOR: PublicKey = PublicKey([2; 32]);

    fn seqs(wire: &Wire) -> Vec<u64> {
        let mut seqs = Vec::new();
        for (_, bytes) in wire.sent.borrow().iter() {
            let SyncFrame::Entries(entries) = SyncFrame::decode(bytes).unwrap() else {
                panic!("not entries")
            };
            assert!(bytes.len() <= MAX_FRAME);
            seqs.extend(entries.iter().map(|entry| u64::from_le_bytes(entry[..8].try_into().unwrap())));
        }
        seqs
    }

    // spec: LED-4
    #[test]
    fn a_log_goes_out_whole_and_in_order_however_little_the_line_takes() {
        let mut store = MemoryStore::new();
        let records: Vec<Record> = (0..300u64)
            .map(|seq| {
                let mut bytes = vec![0; 1000];
                bytes[..8].copy_from_slice(&seq.to_le_bytes());
                Record::Entry { author: AUTHOR, seq, own: false, bytes }
            })
            .collect();
        store.commit(&records).unwrap();
        let (mut outbox, wire) = (Outbox::default(), Wire::default());
        outbox.send_log(PEER, AUTHOR, 10, 290);
        let mut rounds = 0;
        while outbox.go_on(&wire, &store) {
            wire.room.set(1);
            rounds += 1;
            assert!(rounds < 100);
        }
        assert!(rounds > 3, "in pieces");
        assert_eq!(seqs(&wire), (10..290).collect::<Vec<u64>>());
    }

    #[test]
    fn frames_keep_their_order_and_a_peer_that_takes_nothing_is_let_go() {
        let (mut outbox, wire, store) = (Outbox::default(), Wire::default(), MemoryStore::new());
        assert!(outbox.say(&wire, PEER, Channel::Hello, Bytes::from_static(b"1")));
        wire.room.set(1);
        assert!(
            outbox.say(&wire, PEER, Channel::Hello, Bytes::from_static(b"2")),
            "it waits behind the first"
        );
        assert!(outbox.go_on(&wire, &store));
        wire.room.set(9);
        assert!(!outbox.go_on(&wire, &store));
        let sent: Vec<Bytes> = wire.sent.borrow().iter().map(|(_, bytes)| bytes.clone()).collect();
        assert_eq!(sent, ["1", "2"]);
        wire.room.set(0);
        let big = Bytes::from(vec![0; MAX_FRAME]);
        let taken = (0..100).take_while(|_| outbox.say(&wire, PEER, Channel::Gossip, big.clone())).count();
        assert_eq!(taken, MAX_BYTES / MAX_FRAME);
        outbox.drop_peer(&PEER);
        assert!(!outbox.go_on(&wire, &store));
    }
}
