//! Two and three peers without a network between them: the shortest way of a task, step by step.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod room;

use mesh_node::{Input, RunEvent, SyncReceived};
use mesh_protocol::frame::{AttemptId, SyncFrame};
use mesh_protocol::ids::{CommunityId, EntryId, ProfileId};
use mesh_protocol::invite::DeviceCert;
use mesh_protocol::key::SecretKey;
use mesh_protocol::ledger::{Entry, Hlc, Payload, Place, Tip};
use mesh_protocol::rules::Rules;
use room::*;

/// A log of somebody who plays by no rules.
struct Forger {
    key: SecretKey,
    community: CommunityId,
    tip: Option<Tip>,
}

impl Forger {
    /// Goes on with the log of a peer in the room.
    fn of(room: &Room, number: usize) -> Self {
        let key = SecretKey::from_seed(&[number as u8 * 10 + 1; 32]);
        let node = &room.peers[number].node;
        Self { tip: node.ledger().tip(&key.public()), community: node.community().unwrap(), key }
    }

    fn write(&mut self, wall_ms: u64, payload: Payload) -> Entry {
        let (seq, prev) = self.tip.map_or((0, EntryId::ZERO), |tip| (tip.seq + 1, tip.id));
        let place = Place { community: self.community, seq, prev, refs: vec![], hlc: Hlc::at(wall_ms) };
        let entry = Entry::write(&self.key, place, payload);
        self.tip = Some(entry.tip());
        entry
    }
}

// spec: NET-2, DEL-1, DEL-2, DEL-4
#[test]
fn a_task_runs_on_the_peer_that_granted_it_and_ends_once() {
    let mut room = Room::community(&["alice", "bob"]);
    room.grant(1, "alice");
    let task = room.submit(0, 1);
    let run = room.peers[1].runs.pop().expect("bob runs it");
    assert!(room.peers[0].runs.is_empty());
    room.end(1, &run);
    assert_eq!(room.state(0, &task).0, "done");
    // Said again, it changes nothing.
    room.end(1, &run);
    room.pass(20_000);
    equal(&room);
    let key = room.key(0);
    let facts = room.peers[1].node.ledger().facts().tasks();
    let told = &facts[&(key, task.parse().unwrap())];
    assert_eq!((told.delegated.len(), told.completed.len()), (1, 1));
}

// spec: PERM-1
#[test]
fn without_a_grant_it_runs_at_home() {
    let mut room = Room::community(&["alice", "bob"]);
    let task = room.submit(0, 1);
    assert!(room.peers[1].runs.is_empty());
    let run = room.peers[0].runs.pop().expect("alice runs it herself");
    room.end(0, &run);
    assert_eq!(room.state(0, &task).0, "done");
}

// spec: DEL-3
#[test]
fn a_silent_peer_loses_the_task_to_the_next() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.grant(1, "alice");
    room.grant(2, "alice");
    let task = room.submit(0, 1);
    let (lost, other) = if room.peers[1].runs.is_empty() { (2, 1) } else { (1, 2) };
    let first = room.peers[lost].runs.pop().unwrap();
    room.handle(lost, Input::Run(first.attempt, RunEvent::Started));
    room.disconnect(0, lost);
    assert!(room.state(0, &task).1.contains("not connected"));
    room.pass(20_000);
    let second = room.peers[other].runs.pop().expect("the next attempt");
    assert_eq!(second.attempt, AttemptId { task: first.attempt.task, attempt: 2 });
    // The first one's result comes late: it is recorded and changes nothing.
    room.end(lost, &first);
    room.connect(0, lost);
    room.end(other, &second);
    assert_eq!(room.state(0, &task).0, "done");
    room.pass(30_000);
    equal(&room);
}

// spec: NET-4, LED-10
#[test]
fn a_log_spread_over_the_past_brings_no_more_than_others_took_time_for() {
    const HOUR: u64 = 3_600_000;
    let mut room = Room::community_by(&["alice", "bob"], Rules { entries_per_hour: 5, ..Rules::default() });
    let mut bob = Forger::of(&room, 1);
    let from = room.key(1);
    let second = SecretKey::from_seed(&[99; 32]);
    let cert = DeviceCert::sign(&SecretKey::from_seed(&[12; 32]), bob.community, second.public(), 0, 0);
    let added = bob.write(room.now.wall_ms + 1000, Payload::DeviceAdded(cert));
    room.handle(0, Input::Gossip(from, Box::new(added)));
    let mut spread = Forger { key: second, community: bob.community, tip: None };
    let entries: Vec<Entry> =
        (0..125).map(|at| spread.write((1000 + at) * HOUR, Payload::PeerOnline)).collect();
    let say = |room: &mut Room| {
        for entry in &entries {
            room.handle(0, Input::Gossip(from, Box::new(entry.clone())));
        }
        room.peers[0].node.ledger().len(&entries[0].header().author)
    };
    assert_eq!(say(&mut room), 120, "a day's worth");
    room.pass(HOUR / 2);
    assert_eq!(say(&mut room), 122);
    room.pass(HOUR / 2);
    assert_eq!(say(&mut room), 125, "what is true comes in time");
}

#[test]
fn equal_peers_have_nothing_to_tell() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.pass(200_000);
    equal(&room);
    let (logs, digest) = room.peers[0].node.ledger().digest(&[]);
    let frame = SyncFrame::Digest { prefix: vec![], logs, digest };
    let before: usize = room.peers.iter().map(|peer| peer.entries.len()).sum();
    let from = room.key(0);
    room.handle(1, Input::Sync(from, SyncReceived::Frame(frame)));
    assert_eq!(room.peers.iter().map(|peer| peer.entries.len()).sum::<usize>(), before);
    assert_eq!(room.peers[0].node.community(), room.peers[2].node.community());
    assert_ne!(profile().id(), ProfileId::ZERO);
}
