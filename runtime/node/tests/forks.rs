//! Logs with two entries at one place.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails where it cannot go on")]

mod room;

use mesh_node::{Input, SyncReceived};
use mesh_protocol::key::SecretKey;
use mesh_protocol::ledger::{Entry, ForkProof, Payload, Revocation, Tip};
use room::*;

/// Alice, bob and carol; bob, whose log is to fork, says nothing more.
fn street() -> Room {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.pass(60_000);
    for other in [0, 2] {
        room.disconnect(1, other);
    }
    room
}

/// Bob's device as it was at `tip`.
fn bob(room: &Room, tip: Option<Tip>) -> Forger {
    Forger { key: SecretKey::from_seed(&[11; 32]), tip, ..Forger::of(room, 1) }
}

impl Room {
    /// One of them hears of entries from another, at once.
    fn hears(&mut self, number: usize, from: usize, entries: &[Entry]) {
        let from = self.key(from);
        self.handle(number, Input::Sync(from, SyncReceived::Entries(entries.to_vec())));
    }

    /// How often anybody has proven a fork, as one of them knows it.
    fn proofs(&self, number: usize) -> usize {
        let entries = self.peers[number].entries.values().map(|bytes| Entry::verify(bytes).unwrap());
        entries.filter(|entry| matches!(entry.payload(), Payload::Forked(_))).count()
    }

    /// From where on bob's log does not count.
    fn counts_up_to(&self, number: usize) -> Option<u64> {
        self.peers[number].node.ledger().governance().cap(&self.key(1))
    }
}

/// Entries that go on from where bob's log ends.
fn branch(room: &Room, count: u64, payload: &Payload) -> Vec<Entry> {
    let mut forger = Forger::of(room, 1);
    (1..=count).map(|ms| forger.write(room.now.wall_ms + ms, payload.clone())).collect()
}

// spec: LED-5, NET-4
#[test]
fn whoever_writes_a_second_entry_for_each_place_makes_nobody_say_so_of_each() {
    let mut room = street();
    let before = Forger::of(&room, 1).tip;
    let first = before.map_or(0, |tip| tip.seq + 1);
    let log = branch(&room, 300, &Payload::PeerOnline);
    room.hears(0, 2, &log);
    assert_eq!(room.peers[0].node.ledger().len(&room.key(1)), first + 300);
    // Another entry for each place, the last places first, as many as a frame holds.
    let follows = std::iter::once(before).chain(log.iter().map(|entry| Some(entry.tip())));
    let twins: Vec<Entry> = follows
        .zip(&log)
        .map(|(tip, one)| bob(&room, tip).write(one.header().hlc.wall_ms(), Payload::PeerOffline))
        .collect();
    let turned: Vec<Entry> = twins.into_iter().rev().collect();
    let said = room.peers[0].node.ledger().len(&room.key(0));
    for frame in turned.chunks(64) {
        room.hears(0, 2, frame);
        room.pass(1_000);
    }
    for one in &turned {
        room.hears(0, 2, std::slice::from_ref(one));
        room.pass(100);
    }
    room.pass(120_000);
    // What counts of it ends at the lowest place all the same.
    assert_eq!((room.counts_up_to(0), room.counts_up_to(2)), (Some(first), Some(first)));
    assert!(room.proofs(0) <= 10, "{} proofs", room.proofs(0));
    let said = room.peers[0].node.ledger().len(&room.key(0)) - said;
    assert!(said < 20, "alice wrote {said} entries by it");
}

/// What proves itself holds whoever hands it over, also in an entry that does not count: here carol's, of a log of bob's.
// spec: LED-3, LED-5, NET-4
#[test]
fn whoever_hands_over_what_proves_itself_for_each_place_of_a_log_makes_nobody_say_so_of_each() {
    for revoked in [false, true] {
        let mut room = street();
        let before = Forger::of(&room, 1).tip;
        let first = before.map_or(0, |tip| tip.seq + 1);
        let log = branch(&room, 300, &Payload::PeerOnline);
        room.hears(0, 2, &log);
        let follows = std::iter::once(before).chain(log.iter().map(|entry| Some(entry.tip())));
        let proofs = follows.zip(&log).map(|(tip, one)| match revoked {
            true => {
                let (user, community) = (SecretKey::from_seed(&[12; 32]), Forger::of(&room, 1).community);
                Payload::KeyRevoked(Box::new(Revocation::sign(&user, community, room.key(1), tip)))
            }
            false => {
                let other = bob(&room, tip).write(one.header().hlc.wall_ms(), Payload::PeerOffline);
                Payload::Forked(Box::new(ForkProof::of(one.signed(), other.signed()).unwrap()))
            }
        });
        let proofs: Vec<Payload> = proofs.collect();
        let said = room.peers[0].node.ledger().len(&room.key(0));
        for proof in proofs.into_iter().rev() {
            // Its clock is not later than what it follows.
            let carols = Forger::of(&room, 2).write(1, proof);
            room.hears(0, 2, &[carols]);
            room.pass(100);
        }
        room.pass(3_600_000);
        assert_eq!((room.counts_up_to(0), room.counts_up_to(2)), (Some(first), Some(first)), "{revoked}");
        // What it says by itself in an hour is not much.
        let said = room.peers[0].node.ledger().len(&room.key(0)) - said;
        assert!(said < 20, "alice wrote {said} entries by it");
    }
}

// spec: LED-4, LED-5
#[test]
fn a_log_that_forked_a_thousand_entries_ago_is_found_to_by_one_comparison() {
    for (there, here) in [(1_000, 1_000), (1_000, 700), (700, 1_000), (1, 1), (2, 1)] {
        let mut room = street();
        room.disconnect(0, 2);
        let common = branch(&room, 90, &Payload::PeerOnline);
        for number in [0, 2] {
            room.hears(number, 1, &common);
        }
        let (tip, last) = (common.last().map(Entry::tip), common.last().unwrap().header().hlc.wall_ms());
        for (number, count, payload) in [(0, there, Payload::PeerOnline), (2, here, Payload::PeerOffline)] {
            let mut forger = bob(&room, tip);
            let log: Vec<Entry> = (1..=count).map(|ms| forger.write(last + ms, payload.clone())).collect();
            room.hears(number, 1, &log);
            assert_eq!(room.peers[number].node.ledger().tip(&room.key(1)), forger.tip);
        }
        room.connect(0, 2);
        // Three rounds of comparing logs.
        room.pass(20_000);
        let end = tip.map(|tip| tip.seq + 1);
        assert_eq!((room.counts_up_to(0), room.counts_up_to(2)), (end, end), "{there} and {here}");
        assert!((1..=2).contains(&room.proofs(0)), "{} proofs", room.proofs(0));
        for number in [0, 2] {
            assert_eq!(room.peers[number].node.ledger().tip(&room.key(1)), tip);
        }
    }
}

// spec: LED-5
#[test]
fn an_entry_of_another_branch_whose_beginning_nobody_shows_is_proven_to_fork_as_well() {
    let mut room = street();
    let log = branch(&room, 20, &Payload::PeerOnline);
    room.hears(0, 2, &log);
    let hidden = branch(&room, 20, &Payload::PeerOffline);
    room.hears(0, 2, &hidden[12..13]);
    room.pass(5_000);
    assert_eq!(room.counts_up_to(0), None, "who brought it may have what is before it");
    room.pass(15_000);
    let end = Some(hidden[12].header().seq);
    assert_eq!((room.counts_up_to(0), room.counts_up_to(2)), (end, end));
}
