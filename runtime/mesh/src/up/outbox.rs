//! What is to be said to peers and did not go out at once: frames that found a full queue, and logs that are sent piece
//! by piece, side by side, as the line takes them.
// spec: ARC-7, LED-4

use bytes::Bytes;
use mesh_net::Channel;
use mesh_protocol::frame::{Frame, MAX_FRAME, SyncFrame};
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Entry, Hlc};
use mesh_store::Store;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Bytes of entries in one frame: half of the longest, which is verified within a few milliseconds at the other end.
const PIECE: usize = MAX_FRAME / 2;
/// Bytes that wait for one channel beyond what the transport itself queues. A peer that is further behind than that is
/// not taking what it is sent.
const MAX_BYTES: usize = 4 << 20;
/// The same for all channels of a peer: four of them. There may be one channel for each attempt that it names.
const MAX_BYTES_OF_PEER: usize = 4 * MAX_BYTES;
/// Channels to one peer on which something waits. The transport itself takes something on as many as there can be
/// attempts between two devices, so on so many more only a peer that takes nothing is behind; each is gone through
/// whenever it is tried again.
const MAX_CHANNELS: usize = 256;
/// What a frame that waits costs beside its bytes.
const OVERHEAD: usize = 64;
/// Bytes read of one log at the least, however many are under way.
const READ: usize = 2 << 10;
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

/// A part of a log that is being sent.
struct Part {
    /// The next entry to be read from the store, and where the part ends.
    next: u64,
    until: u64,
    /// What was read and not sent, each with its date.
    read: VecDeque<(Hlc, Vec<u8>)>,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    /// What they take up.
    bytes: usize,
    parts: BTreeMap<PublicKey, Part>,
    /// Of the parts of which something was read, the date of what comes next.
    heads: BTreeSet<(Hlc, PublicKey)>,
    /// Parts of which nothing was read yet.
    unread: Vec<PublicKey>,
}

/// All of it.
#[derive(Default)]
pub(crate) struct Outbox {
    peers: BTreeMap<PublicKey, BTreeMap<Channel, Queue>>,
}

impl Outbox {
    /// Says something, now or as soon as there is room. False if the peer takes nothing, and should be let go.
    // spec: NET-4
    pub(crate) fn say(&mut self, line: &impl Line, peer: PublicKey, channel: Channel, bytes: Bytes) -> bool {
        let waits = self.peers.get(&peer).is_some_and(|queues| queues.contains_key(&channel));
        if !waits && line.send(peer, channel, bytes.clone()) != Sent::Full {
            return true;
        }
        let queues = self.peers.entry(peer).or_default();
        let queue = queues.entry(channel).or_default();
        queue.push_back(bytes);
        queue.bytes <= MAX_BYTES
            && queues.len() <= MAX_CHANNELS
            && queues.values().map(|queue| queue.bytes).sum::<usize>() <= MAX_BYTES_OF_PEER
    }

    /// Sends a part of a log, as the line takes it. What of the log is under way already is not begun anew.
    pub(crate) fn send_log(&mut self, peer: PublicKey, author: PublicKey, from: u64, until: u64) {
        let queue = self.peers.entry(peer).or_default().entry(Channel::Sync).or_default();
        if let Some(part) = queue.parts.get_mut(&author) {
            part.until = until.max(part.until);
            return;
        }
        if queue.parts.len() >= MAX_LOGS {
            tracing::debug!(peer = %peer.short(), "more logs were asked for than wait at once; the rest waits for the next comparison");
            return;
        }
        queue.parts.insert(author, Part { next: from, until, read: VecDeque::new() });
        queue.unread.push(author);
    }

    /// Nothing more is to be said to this peer.
    pub(crate) fn drop_peer(&mut self, peer: &PublicKey) {
        self.peers.remove(peer);
    }

    /// Sends what there is room for. True if something is left.
    pub(crate) fn go_on(&mut self, line: &impl Line, store: &dyn Store) -> bool {
        self.peers.retain(|peer, queues| {
            queues.retain(|channel, queue| !queue.drain(line, store, *peer, *channel));
            !queues.is_empty()
        });
        !self.peers.is_empty()
    }
}

impl Queue {
    fn push_back(&mut self, frame: Bytes) {
        self.bytes += frame.len() + OVERHEAD;
        self.frames.push_back(frame);
    }

    /// Sends from the front. True once it is empty.
    fn drain(&mut self, line: &impl Line, store: &dyn Store, peer: PublicKey, channel: Channel) -> bool {
        loop {
            while let Some(bytes) = self.frames.pop_front() {
                match line.send(peer, channel, bytes.clone()) {
                    Sent::Yes => self.bytes = self.bytes.saturating_sub(bytes.len() + OVERHEAD),
                    Sent::Full => {
                        self.frames.push_front(bytes);
                        return false;
                    }
                    Sent::Gone => return true,
                }
            }
            let Some(frame) = self.piece(store) else { return true };
            self.push_back(frame);
        }
    }

    /// The next entries as a frame, of all logs that are under way in the order of their dates: each comes after what it
    /// rests on, so the other end can take it at once and need not keep it.
    fn piece(&mut self, store: &dyn Store) -> Option<Bytes> {
        for author in std::mem::take(&mut self.unread) {
            self.read_on(store, author);
        }
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while entries.len() < mesh_protocol::frame::MAX_TIPS
            && let Some(&(date, author)) = self.heads.first()
        {
            let Some(part) = self.parts.get_mut(&author) else { break };
            let len = part.read.front().map_or(0, |(_, entry)| entry.len());
            if bytes > 0 && bytes + len > PIECE {
                break;
            }
            self.heads.remove(&(date, author));
            bytes += len;
            entries.extend(part.read.pop_front().map(|(_, entry)| entry));
            match part.read.front() {
                Some((next, _)) => _ = self.heads.insert((*next, author)),
                None => self.read_on(store, author),
            }
        }
        (!entries.is_empty()).then(|| SyncFrame::Entries(entries).encode().into())
    }

    /// Reads what comes next of a log; the part is over if there is no more.
    fn read_on(&mut self, store: &dyn Store, author: PublicKey) {
        let at_once = (PIECE / self.parts.len().max(1)).max(READ);
        let Some(part) = self.parts.get_mut(&author) else { return };
        let left = usize::try_from(part.until.saturating_sub(part.next)).unwrap_or(usize::MAX);
        let entries = match left {
            0 => Ok(Vec::new()),
            _ => store.entries(&author, part.next, at_once),
        };
        let entries = entries.unwrap_or_else(|error| {
            tracing::warn!(error = %super::causes(&error), "entries could not be read for a peer");
            Vec::new()
        });
        for entry in entries.into_iter().take(left) {
            part.next += 1;
            let date = Entry::trusted(&entry).map_or_else(|_| Hlc::default(), |entry| entry.header().hlc);
            part.read.push_back((date, entry));
        }
        match part.read.front() {
            Some((date, _)) => _ = self.heads.insert((*date, author)),
            None => _ = self.parts.remove(&author),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_node::ledger::{Ledger, Taken};
    use mesh_protocol::ids::{CommunityId, EntryId};
    use mesh_protocol::invite::DeviceCert;
    use mesh_protocol::key::{SecretKey, UserKey};
    use mesh_protocol::ledger::{DeviceAdded, Founded, Payload, Place, Tip};
    use mesh_protocol::record::Record;
    use mesh_protocol::rules::Rules;
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

    /// Two devices of a founder whose logs name each other at each step, as submitter and executor do.
    struct Pair {
        keys: [SecretKey; 2],
        tips: [Option<Tip>; 2],
        all: Vec<Entry>,
    }

    impl Pair {
        fn new(steps: usize) -> Self {
            let key = |number: u8| SecretKey::from_seed(&[number; 32]);
            let (user, first, second) = (key(1), key(2), key(3));
            let founded = Founded {
                name: "Elm Street".into(),
                rules: Rules::default(),
                user: UserKey(user.public()),
                user_name: "anna".into(),
                recovery: key(4).public(),
                device_name: "first".into(),
                cert: DeviceCert::of(&user, CommunityId::ZERO, &first, 1000, 0),
            };
            let mut pair = Self { keys: [first, second], tips: [None, None], all: Vec::new() };
            pair.say(0, Payload::Founded(Box::new(founded)));
            let cert = DeviceCert::of(&user, pair.community(), &pair.keys[1], 0, 0);
            pair.say(0, Payload::DeviceAdded(Box::new(DeviceAdded { cert, name: "second".into() })));
            for _ in 0..steps {
                pair.say(1, Payload::PeerOnline);
                pair.say(0, Payload::PeerOffline);
            }
            pair
        }

        fn community(&self) -> CommunityId {
            self.all.first().map_or(CommunityId::ZERO, |founding| founding.header().belongs_to())
        }

        fn say(&mut self, which: usize, payload: Payload) {
            let (seq, prev) = self.tips[which].map_or((0, EntryId::ZERO), |tip| (tip.seq + 1, tip.id));
            let refs = self.tips[1 - which].into_iter().collect();
            let hlc = Hlc::at(1_000_000 + self.all.len() as u64);
            let place = Place { community: self.community(), seq, prev, refs, hlc };
            let entry = Entry::write(&self.keys[which], place, payload);
            self.tips[which] = Some(entry.tip());
            self.all.push(entry);
        }
    }

    /// Whoever was away for long, or begins anew, keeps no more than little of what comes until the rest is there.
    // spec: LED-4, LED-8
    #[test]
    fn logs_that_rest_on_each_other_arrive_in_one_go_however_long_they_are() {
        let pair = Pair::new(6000);
        let mut store = MemoryStore::new();
        let record = |entry: &Entry| Record::Entry {
            author: entry.header().author,
            seq: entry.header().seq,
            own: false,
            bytes: entry.bytes().to_vec(),
        };
        let records: Vec<Record> = pair.all.iter().map(record).collect();
        for records in records.chunks(1000) {
            store.commit(records).unwrap();
        }
        let (mut outbox, wire) = (Outbox::default(), Wire::default());
        // The second device's log is asked for first, though it counts only once the first one's has said so.
        for which in [1, 0] {
            let tip = pair.tips[which].unwrap();
            outbox.send_log(PEER, tip.author, 0, tip.seq + 1);
        }
        let mut ledger = Ledger::default();
        ledger.expect(pair.community());
        let mut taken = 0;
        loop {
            wire.room.set(1);
            let more = outbox.go_on(&wire, &store);
            // Comparing anew meanwhile asks for what is under way.
            outbox.send_log(PEER, pair.tips[0].unwrap().author, 0, pair.tips[0].unwrap().seq + 1);
            for (_, bytes) in wire.sent.borrow_mut().drain(..) {
                let SyncFrame::Entries(entries) = SyncFrame::decode(&bytes).unwrap() else {
                    panic!("not entries")
                };
                for bytes in entries {
                    let entry = Entry::trusted(&bytes).unwrap();
                    assert_eq!(ledger.take(entry.clone()), Taken::New(vec![entry]));
                    taken += 1;
                }
            }
            if taken == pair.all.len() {
                break;
            }
            assert!(more);
        }
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
        assert_eq!(taken, MAX_BYTES / (MAX_FRAME + OVERHEAD));
        outbox.drop_peer(&PEER);
        assert!(!outbox.go_on(&wire, &store));
    }

    /// Says something on a channel of its own each time, to a peer that takes nothing, until it is let go.
    fn said_on_channels(outbox: &mut Outbox, frame: &Bytes) -> usize {
        let wire = Wire::default();
        (1..=10_000)
            .take_while(|attempt| {
                outbox.say(&wire, PEER, Channel::Task { task: [7; 32], attempt: *attempt }, frame.clone())
            })
            .count()
    }

    // spec: NET-4
    #[test]
    fn a_peer_that_takes_nothing_is_let_go_however_many_attempts_it_names() {
        let (mut outbox, store) = (Outbox::default(), MemoryStore::new());
        assert_eq!(said_on_channels(&mut outbox, &Bytes::from_static(b"lost")), MAX_CHANNELS);
        outbox.drop_peer(&PEER);
        let frame = Bytes::from(vec![0; MAX_FRAME]);
        let most = MAX_BYTES_OF_PEER / (MAX_FRAME + OVERHEAD);
        assert_eq!(said_on_channels(&mut outbox, &frame), most);
        assert!(most < MAX_CHANNELS);
        outbox.drop_peer(&PEER);
        assert!(!outbox.go_on(&Wire::default(), &store));
    }
}
