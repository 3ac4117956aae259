//! What travels: frames through the real codecs, gossip as a flood, and connections that come and go.
// spec: NET-3, LED-4

use super::checks;
use super::net::{Channel, IDLE_MS, Packet, Who};
use super::peer::addr_of;
use super::world::{Event, World};
use mesh_node::{Input, SyncReceived};
use mesh_protocol::frame::{Frame, HelloFrame, SyncFrame, TaskFrame};
use mesh_protocol::ledger::Entry;

/// First and longest wait before a peer that was not reached is dialled again.
const DIAL_AGAIN_MS: (u64, u64) = (500, 30_000);

impl World {
    // ---- frames ----

    /// Puts bytes on a connection, if there is one.
    pub(crate) fn post(&mut self, from: Who, to: Who, channel: Channel, bytes: Vec<u8>) {
        let Some(conn) = self.net.conn(from, to).filter(|conn| conn.up.contains(&from)).map(|conn| conn.id)
        else {
            return self.count("frame said to nobody");
        };
        self.remember_frame(from, to, channel, &bytes);
        let packet = Packet { conn, from, to, channel, bytes };
        if self.net.blocked_since(from, to).is_some() {
            self.count("frame held by a partition");
            return self.net.hold(packet);
        }
        let weather = self.net.weather;
        if self.chaos && self.rng.chance(weather.loss) {
            return self.count("frame lost");
        }
        if self.chaos && self.rng.chance(weather.doubling) {
            self.count("frame doubled");
            self.launch(packet.clone());
        }
        self.launch(packet);
    }

    fn launch(&mut self, packet: Packet) {
        let weather = self.net.weather;
        let at = self.now + 1 + weather.delay + self.rng.below(weather.jitter + 1);
        let at = self.net.arrival(&packet, at);
        self.at(at, Event::Arrive(packet));
    }

    pub(crate) fn deliver(&mut self, packet: Packet) {
        let Packet { conn, from, to, channel, bytes } = packet;
        if self.net.conn(from, to).is_none_or(|now| now.id != conn || !now.up.contains(&to)) {
            return self.count("frame lost with its connection");
        }
        if self.net.blocked_since(from, to).is_some() {
            // It was under way when the line was cut.
            return self.net.hold(Packet { conn, from, to, channel, bytes });
        }
        let peer = self.peers[from].key;
        let input = match channel {
            Channel::Hello => HelloFrame::decode(&bytes).ok().map(|frame| Input::Hello(peer, frame)),
            Channel::Sync => match SyncFrame::decode(&bytes) {
                Ok(SyncFrame::Entries(entries)) => {
                    let verified: Option<Vec<Entry>> =
                        entries.iter().map(|bytes| self.known.read(bytes)).collect();
                    verified.map(|entries| Input::Sync(peer, SyncReceived::Entries(entries)))
                }
                Ok(frame) => Some(Input::Sync(peer, SyncReceived::Frame(frame))),
                Err(_) => None,
            },
            Channel::Task(attempt) => {
                TaskFrame::decode(&bytes).ok().map(|frame| Input::Task(peer, attempt, frame))
            }
            Channel::Gossip => match self.known.read(&bytes) {
                Some(entry) => {
                    if !self.peers[to].seen.insert(entry.id()) && !self.rng.chance(50) {
                        return;
                    }
                    self.flood(to, &bytes, Some(from));
                    Some(Input::Gossip(peer, Box::new(entry)))
                }
                None => None,
            },
        };
        match input {
            Some(input) => self.arrive(to, input),
            None => {
                let honest = self.peers[from].is_honest();
                self.must(checks::what_an_honest_peer_says_can_be_read(honest, channel));
            }
        }
    }

    /// Passes an entry on to every member that is connected, but not back.
    pub(crate) fn flood(&mut self, who: Who, bytes: &[u8], from: Option<Who>) {
        let to: Vec<Who> = self.peers[who].there.iter().copied().filter(|to| Some(*to) != from).collect();
        for to in to {
            self.post(who, to, Channel::Gossip, bytes.to_vec());
        }
    }

    // ---- connections ----

    pub(crate) fn dial(&mut self, from: Who, to: Who, tries: u32) {
        if self.net.is_up(from, to) || !self.peers[from].wanted.contains(&to) {
            return;
        }
        if !self.peers[to].awake() || !self.net.is_open(from, to) {
            let wait = DIAL_AGAIN_MS.0.saturating_mul(1 << tries.min(10)).min(DIAL_AGAIN_MS.1);
            let wait = wait + self.rng.below(wait / 4);
            let incarnation = self.peers[from].incarnation;
            return self.after(wait, Event::Dial { from, to, incarnation, tries: tries + 1 });
        }
        self.connect(from, to);
    }

    pub(crate) fn connect(&mut self, from: Who, to: Who) {
        for (at, other) in [(from, to), (to, from)] {
            // A new connection from the same key takes the old one's place.
            if self.net.end(at, other) {
                self.lost(at, other);
            }
        }
        if self.peers[from].node.is_none() || self.peers[to].node.is_none() {
            return;
        }
        self.count("connection made");
        let id = self.net.connect(from, to);
        for (at, other) in [(from, to), (to, from)] {
            let still = self.net.conn(from, to).is_some_and(|conn| conn.id == id);
            if still {
                let peer = self.peers[other].key;
                self.arrive(at, Input::Connected { peer, addr: addr_of(other) });
            }
        }
    }

    /// An end gives a connection up, if it is still that one.
    pub(crate) fn down(&mut self, at: Who, other: Who, conn: u64) {
        if self.net.conn(at, other).is_some_and(|now| now.id == conn) && self.net.end(at, other) {
            self.count("connection lost");
            self.lost(at, other);
        }
    }

    /// Both ends go in order.
    pub(crate) fn disconnect(&mut self, a: Who, b: Who) {
        let Some(conn) = self.net.conn(a, b).map(|conn| conn.id) else { return };
        if self.net.end(a, b) {
            self.lost(a, b);
        }
        let delay = self.net.weather.delay + 1;
        self.after(delay, Event::Down { at: b, other: a, conn });
    }

    fn lost(&mut self, at: Who, other: Who) {
        self.peers[at].there.remove(&other);
        let peer = self.peers[other].key;
        self.arrive(at, Input::Disconnected { peer });
        if self.peers[at].wanted.contains(&other) {
            let incarnation = self.peers[at].incarnation;
            let wait = self.rng.within(100, DIAL_AGAIN_MS.0);
            self.after(wait, Event::Dial { from: at, to: other, incarnation, tries: 0 });
        }
    }

    // ---- partitions ----

    /// Nothing passes in this direction from now on.
    pub(crate) fn cut(&mut self, from: Who, to: Who) {
        self.net.block(from, to, self.now);
        self.after(IDLE_MS, Event::Idle { from, to, since: self.now });
    }

    pub(crate) fn mend(&mut self, from: Who, to: Who) {
        for packet in self.net.unblock(from, to) {
            self.launch(packet);
        }
        // Whoever still believes in a connection that the other end gave up is told so by the next packet.
        for (at, other) in [(from, to), (to, from)] {
            if self.net.is_up(at, other)
                && !self.net.is_up(other, at)
                && self.net.is_open(from, to)
                && let Some(conn) = self.net.conn(at, other).map(|conn| conn.id)
            {
                self.after(50, Event::Down { at, other, conn });
            }
        }
    }

    /// `to` has heard nothing of `from` for as long as it waits; then `from` hears nothing of `to` either.
    pub(crate) fn idle(&mut self, from: Who, to: Who, since: u64) {
        if self.net.blocked_since(from, to) != Some(since) {
            return;
        }
        let Some(conn) = self.net.conn(from, to).map(|conn| conn.id) else { return };
        self.count("connection starved by a partition");
        self.down(to, from, conn);
        let wait = self.rng.below(IDLE_MS);
        self.after(wait, Event::Down { at: from, other: to, conn });
    }
}
