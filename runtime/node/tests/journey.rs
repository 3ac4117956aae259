//! Two and three peers without a network between them: the shortest way of a task, step by step.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod room;

use mesh_node::{Input, RunEvent, SyncReceived};
use mesh_protocol::frame::{AttemptId, SyncFrame};
use mesh_protocol::ids::ProfileId;
use room::*;

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
