//! Connections and what is under way on them. Order is kept within a channel, as a stream of QUIC keeps it, and not
//! between channels; a disconnect loses what was under way.

use mesh_protocol::frame::AttemptId;
use std::collections::{BTreeMap, BTreeSet};

/// A peer's number.
pub(crate) type Who = usize;

/// What an idle connection is given before it counts as lost.
pub(crate) const IDLE_MS: u64 = 30_000;

/// A stream of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Channel {
    Hello,
    Sync,
    Gossip,
    Task(AttemptId),
}

/// Bytes on their way.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) conn: u64,
    pub(crate) from: Who,
    pub(crate) to: Who,
    pub(crate) channel: Channel,
    pub(crate) bytes: Vec<u8>,
}

/// A connection as its two ends see it: with one-way faults they differ for a while.
#[derive(Debug, Clone)]
pub(crate) struct Conn {
    pub(crate) id: u64,
    /// By whom it is thought to be up.
    pub(crate) up: BTreeSet<Who>,
    /// When the last packet of a channel arrives.
    last: BTreeMap<(Who, Channel), u64>,
}

/// How bad the lines are. Thousandths, and milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) delay: u64,
    pub(crate) jitter: u64,
    pub(crate) loss: u64,
    pub(crate) doubling: u64,
}

/// All lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Net {
    conns: BTreeMap<(Who, Who), Conn>,
    /// Directions in which nothing passes, and since when.
    blocked: BTreeMap<(Who, Who), u64>,
    /// What waits for such a direction: QUIC says it again until it arrives or the connection is given up.
    held: BTreeMap<(Who, Who), Vec<Packet>>,
    next: u64,
    pub(crate) weather: Weather,
}

fn pair(a: Who, b: Who) -> (Who, Who) {
    (a.min(b), a.max(b))
}

impl Net {
    pub(crate) fn new(weather: Weather) -> Self {
        Self { weather, ..Self::default() }
    }

    pub(crate) fn conn(&self, a: Who, b: Who) -> Option<&Conn> {
        self.conns.get(&pair(a, b))
    }

    /// Does `a` think that it is connected to `b`?
    pub(crate) fn is_up(&self, a: Who, b: Who) -> bool {
        self.conn(a, b).is_some_and(|conn| conn.up.contains(&a))
    }

    /// Do both think so?
    pub(crate) fn is_whole(&self, a: Who, b: Who) -> bool {
        self.is_up(a, b) && self.is_up(b, a)
    }

    pub(crate) fn is_open(&self, a: Who, b: Who) -> bool {
        !self.blocked.contains_key(&(a, b)) && !self.blocked.contains_key(&(b, a))
    }

    pub(crate) fn connect(&mut self, a: Who, b: Who) -> u64 {
        self.next += 1;
        self.held.remove(&(a, b));
        self.held.remove(&(b, a));
        let conn = Conn { id: self.next, up: BTreeSet::from([a, b]), last: BTreeMap::new() };
        self.conns.insert(pair(a, b), conn);
        self.next
    }

    /// `at`'s end goes. True if it was there.
    pub(crate) fn end(&mut self, at: Who, other: Who) -> bool {
        let key = pair(at, other);
        let Some(conn) = self.conns.get_mut(&key) else { return false };
        let was = conn.up.remove(&at);
        if conn.up.is_empty() {
            self.conns.remove(&key);
            self.held.remove(&(at, other));
            self.held.remove(&(other, at));
        }
        was
    }

    pub(crate) fn ends_of(&self, at: Who) -> Vec<Who> {
        let of = self.conns.iter().filter(|(_, conn)| conn.up.contains(&at));
        of.map(|((a, b), _)| if *a == at { *b } else { *a }).collect()
    }

    pub(crate) fn block(&mut self, from: Who, to: Who, now: u64) {
        self.blocked.entry((from, to)).or_insert(now);
    }

    /// Since when nothing passes from one to the other.
    pub(crate) fn blocked_since(&self, from: Who, to: Who) -> Option<u64> {
        self.blocked.get(&(from, to)).copied()
    }

    pub(crate) fn blocked_now(&self) -> Vec<(Who, Who)> {
        self.blocked.keys().copied().collect()
    }

    /// Opens a direction and gives what waited for it.
    pub(crate) fn unblock(&mut self, from: Who, to: Who) -> Vec<Packet> {
        self.blocked.remove(&(from, to));
        self.held.remove(&(from, to)).unwrap_or_default()
    }

    pub(crate) fn hold(&mut self, packet: Packet) {
        self.held.entry((packet.from, packet.to)).or_default().push(packet);
    }

    /// The moment at which a packet that would take `delay` arrives: not before the one before it.
    pub(crate) fn arrival(&mut self, packet: &Packet, at: u64) -> u64 {
        let Some(conn) = self.conns.get_mut(&pair(packet.from, packet.to)) else { return at };
        let last = conn.last.entry((packet.from, packet.channel)).or_default();
        *last = at.max(*last);
        *last
    }
}
