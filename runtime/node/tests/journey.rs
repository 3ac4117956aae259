//! Two and three peers without a network between them: the shortest way of a task, step by step.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod room;

use mesh_node::{
    Answer, Capacity, Command, CommandId, Draft, ErrorKind, GrantRequest, HookSays, Input, Message, Now,
    Output, Run, RunEvent, SyncReceived, TaskState,
};
use mesh_policies::donor::Terms;
use mesh_protocol::energy::{How, Metered, Piece};
use mesh_protocol::frame::{
    AttemptId, Beat, Ended, HelloFrame, JoinAnswer, Offer, PeerAddrs, Phase, Released, SyncFrame, TaskFrame,
};
use mesh_protocol::ids::{
    BlobHash, Commitment, CommunityId, Digest, EntryId, InputHash, ModuleHash, ProfileId, TaskId,
};
use mesh_protocol::invite::{DeviceCert, TicketKind};
use mesh_protocol::key::{PublicKey, SecretKey, UserKey};
use mesh_protocol::ledger::{
    DeviceAdded, Effect, Entry, Grant, Pattern, Payload, Spent, Statement, TaskSubmitted, Tip,
};
use mesh_protocol::limits::Limits;
use mesh_protocol::outcome::Outcome;
use mesh_protocol::permissions::{Access, Permissions};
use mesh_protocol::reason::Reason;
use mesh_protocol::receipt::{NotComparable, Receipt};
use mesh_protocol::record::Record;
use mesh_protocol::rules::{Rules, Tier};
use mesh_protocol::task::{Blob, InputFile, Sla, TaskSpec};
use room::*;
use std::collections::BTreeSet;

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
    let key = (room.key(0), task.parse().unwrap());
    let tasks = room.peers[1].node.ledger().facts().tasks();
    assert_eq!((tasks.attempts(&key).len(), tasks.results(&key).count()), (1, 1));
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

/// Bob hears it from Carol that Alice does not wait for him any more.
// spec: DEL-3, DEL-11
#[test]
fn what_counts_no_more_stops_when_its_peer_hears_of_it_from_whomever() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.grant(1, "alice");
    room.apart = true;
    let begins = |room: &mut Room, nonce: u8, on: Option<&str>| {
        room.connect(0, 1);
        room.pass(30_000);
        let draft = Draft { followed: false, on: on.map(str::to_owned), ..draft("word-count", nonce) };
        let task = room.submit_draft(0, draft).unwrap();
        let run = room.peers[1].runs.pop().expect("bob runs it");
        room.handle(1, Input::Run(run.attempt, RunEvent::Started));
        room.disconnect(0, 1);
        room.peers[1].wishes.clear();
        (task, (run.attempt, Wish::Stop))
    };
    let (task, stop) = begins(&mut room, 1, Some("bob-laptop"));
    room.pass(5_000);
    assert_eq!(room.peers[1].wishes, []);
    room.ask(0, Command::Cancel { task }).unwrap();
    room.pass(30_000);
    assert_eq!(room.peers[1].wishes, [stop], "cancelled");
    room.obey(1);
    // In the next attempt she runs it herself.
    let (_, stop) = begins(&mut room, 2, None);
    room.pass(60_000);
    assert_eq!(room.peers[0].runs.len(), 1);
    assert_eq!(room.peers[1].wishes, [stop], "a later attempt");
    assert!(room.peers[1].forgotten.contains(&stop.0));
}

// spec: NET-4, LED-10
#[test]
fn a_log_spread_over_the_past_brings_no_more_than_others_took_time_for() {
    const HOUR: u64 = 3_600_000;
    let mut room = Room::community_by(&["alice", "bob"], Rules { entries_per_hour: 5, ..Rules::default() });
    let mut bob = Forger::of(&room, 1);
    let from = room.key(1);
    let second = SecretKey::from_seed(&[99; 32]);
    let cert = DeviceCert::of(&SecretKey::from_seed(&[12; 32]), bob.community, &second, 0, 0);
    let added = DeviceAdded { cert, name: "second".into() };
    let added = bob.write(room.now.wall_ms + 1000, Payload::DeviceAdded(Box::new(added)));
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

// spec: LED-4, NET-4
#[test]
fn what_somebody_has_no_room_for_is_not_handed_over_again_and_again() {
    const HOUR: u64 = 3_600_000;
    let rules = Rules { entries_per_hour: 5, ..Rules::default() };
    let mut room = Room::community_by(&["alice", "bob", "carol"], rules);
    for other in [0, 1] {
        room.disconnect(other, 2);
    }
    // Bob knows of everything since now, and so has room for less.
    room.sleep(48 * HOUR);
    room.ask(1, Command::SetZone { zone: "Europe/Berlin".into() }).unwrap();
    room.restart(1, "bob");
    room.connect(0, 1);
    let mut carol = Forger::of(&room, 2);
    let second = SecretKey::from_seed(&[99; 32]);
    let cert = DeviceCert::of(&SecretKey::from_seed(&[22; 32]), carol.community, &second, 0, 0);
    let added = DeviceAdded { cert, name: "second".into() };
    let added = carol.write(room.now.wall_ms + 1000, Payload::DeviceAdded(Box::new(added)));
    let mut spread = Forger { key: second, community: carol.community, tip: None };
    let entries = (0..300).map(|at| spread.write((1000 + at) * HOUR, Payload::PeerOnline));
    for number in [0, 1] {
        room.handle(number, Input::Gossip(room.key(2), Box::new(added.clone())));
    }
    for entry in entries {
        room.handle(0, Input::Gossip(room.key(1), Box::new(entry)));
    }
    let log = spread.key.public();
    let len = |room: &Room, number: usize| room.peers[number].node.ledger().len(&log);
    assert_eq!(len(&room, 0), 300);
    room.pass(20_000);
    assert_eq!(len(&room, 1), 120);
    let ignored = room.peers[1].node.counters().entries_ignored;
    room.pass(60_000);
    assert_eq!((len(&room, 1), room.peers[1].node.counters().entries_ignored), (120, ignored));
    // He asks for the rest when he has room.
    room.pass(2 * HOUR);
    assert!((128..=131).contains(&len(&room, 1)), "{}", len(&room, 1));
}

/// Each of them has who belongs folded anew, from the beginning.
// spec: NET-4, LED-3
#[test]
fn one_device_brings_few_entries_about_who_belongs_at_once() {
    const HOUR: u64 = 3_600_000;
    let mut room = Room::community_by(&["alice", "bob"], Rules { entries_per_hour: 5, ..Rules::default() });
    let mut bob = Forger::of(&room, 1);
    let (from, before) = (room.key(1), bob.tip.map_or(0, |tip| tip.seq + 1));
    let cert = DeviceCert::of(
        &SecretKey::from_seed(&[12; 32]),
        bob.community,
        &SecretKey::from_seed(&[99; 32]),
        0,
        0,
    );
    let added = |_| Payload::DeviceAdded(Box::new(DeviceAdded { cert: cert.clone(), name: "again".into() }));
    let entries: Vec<Entry> = (1..=40).map(|at| bob.write(room.now.wall_ms + at, added(at))).collect();
    let say = |room: &mut Room| {
        for entry in &entries {
            room.handle(0, Input::Gossip(from, Box::new(entry.clone())));
        }
        room.peers[0].node.ledger().len(&from) - before
    };
    assert_eq!(say(&mut room), 30, "a fourth of a day's worth");
    room.pass(4 * HOUR);
    assert!((34..=36).contains(&say(&mut room)), "more in time");
}

/// Were it refused by its date, all that follows in its log would wait for it, for ever and on every peer.
// spec: NET-4, LED-3
#[test]
fn an_entry_more_than_an_hour_may_have_ends_no_log() {
    let mut room = Room::community_by(&["alice", "bob"], Rules { entries_per_hour: 5, ..Rules::default() });
    let mut bob = Forger::of(&room, 1);
    let from = room.key(1);
    for at in 1..=12 {
        let entry = bob.write(room.now.wall_ms + at, Payload::PeerOnline);
        room.handle(0, Input::Gossip(from, Box::new(entry)));
    }
    let tip = bob.tip.expect("it wrote");
    assert!(room.peers[0].node.ledger().has(&tip));
}

// spec: LED-5, NET-4, DEL-14
#[test]
fn what_an_hour_had_no_room_for_is_said_when_it_is_over() {
    let mut room = Room::community_by(&["alice"], Rules { entries_per_hour: 20, ..Rules::default() });
    room.submit(0, 1);
    let run = room.peers[0].runs.pop().expect("it runs here");
    let alice = room.key(0);
    let len = |room: &Room| room.peers[0].node.ledger().len(&alice);
    for amount in 1..=20 {
        let given = Command::Contribute { user: "alice".into(), unit: "money".into(), amount, month: None };
        let _spent = room.ask(0, given);
    }
    let before = len(&room);
    room.end(0, &run);
    let said = |room: &Room| {
        let entries = room.peers[0].entries.values().filter_map(|bytes| Entry::verify(bytes).ok());
        entries.filter(|entry| matches!(entry.payload(), Payload::Completed(_))).count()
    };
    assert_eq!((said(&room), len(&room)), (0, before));
    room.pass(2 * 3_600_000);
    assert_eq!(said(&room), 1);
}

/// A task of a peer in the room.
fn spec_by(room: &Room, by: usize, nonce: u8) -> TaskSpec {
    let me = room.key(by);
    let node = &room.peers[by].node;
    TaskSpec {
        version: mesh_protocol::task::VERSION,
        community: node.community().unwrap(),
        submitter: me,
        user: node.ledger().governance().owner(&me).unwrap(),
        nonce: [nonce; 32],
        name: "flood".into(),
        module: ModuleHash([7; 32]),
        module_len: 100,
        args: vec![],
        env: vec![],
        stdin: None,
        inputs: vec![],
        input: InputHash([8; 32]),
        limits: Limits::default(),
        permissions: Permissions::default(),
        sla: Sla::Urgent,
        importance: None,
        followed: true,
        created_ms: 0,
        start_by_ms: None,
        finish_by_ms: None,
        replicas: 1,
        quorum: 1,
    }
}

/// An offer by a peer in the room of a task that it never submitted, and that rests on its log as it is here.
fn offer_by(room: &Room, by: usize, nonce: u8, grant: Option<EntryId>, change: fn(&mut TaskSpec)) -> Offer {
    let mut spec = spec_by(room, by, nonce);
    change(&mut spec);
    let tip = room.peers[by].node.ledger().tip(&room.key(by)).unwrap();
    let task = spec.sign(&SecretKey::from_seed(&[by as u8 * 10 + 1; 32]));
    Offer { task, attempt: 1, grant, lease_ms: 60_000, tip, entries: vec![], resume: None }
}

/// The first peer's answers to an offer of another's that rests on an entry.
fn answers(
    room: &mut Room,
    by: usize,
    spec: &TaskSpec,
    attempt: u32,
    grant: Option<EntryId>,
    tip: Tip,
) -> Vec<TaskFrame> {
    let task = spec.clone().sign(&SecretKey::from_seed(&[by as u8 * 10 + 1; 32]));
    let offer = Offer { task, attempt, grant, lease_ms: 60_000, tip, entries: vec![], resume: None };
    let id = AttemptId { task: spec.id(), attempt };
    answered(room, 0, by, id, TaskFrame::Offer(Box::new(offer)))
}

/// Why it refuses it at once, if it does.
fn offered(
    room: &mut Room,
    by: usize,
    spec: &TaskSpec,
    attempt: u32,
    grant: Option<EntryId>,
    tip: Tip,
) -> Option<Reason> {
    answers(room, by, spec, attempt, grant, tip).into_iter().find_map(|frame| match frame {
        TaskFrame::Refused(reason) => Some(reason),
        _ => None,
    })
}

/// An offer by a peer in the room that rests on an entry which nobody has, and what the first peer answers at once.
fn offer_of_what_nobody_has(room: &mut Room, by: usize, nonce: u8, grant: Option<EntryId>) -> Option<Reason> {
    let spec = spec_by(room, by, nonce);
    let tip = Tip { author: room.key(by), seq: 1_000_000, id: EntryId([nonce; 32]) };
    offered(room, by, &spec, 1, grant, tip)
}

fn submitted(spec: &TaskSpec) -> Payload {
    Payload::TaskSubmitted(Box::new(TaskSubmitted {
        task: spec.id(),
        name: spec.name.clone(),
        module: spec.module,
        input: Commitment([0; 32]),
        duration_ms: spec.limits.duration_ms,
        memory_bytes: spec.limits.memory_bytes,
        sla: spec.sla,
        importance: spec.importance,
        replicas: 1,
    }))
}

/// What somebody's log says of a task before it is offered to these.
fn announced(room: &Room, by: &mut Forger, spec: &TaskSpec, to: &[PublicKey]) -> Vec<Entry> {
    let given = (1..).zip(to).map(|(attempt, device)| Payload::Delegated {
        task: spec.id(),
        attempt,
        device: *device,
        grant: None,
    });
    let said = std::iter::once(submitted(spec)).chain(given);
    (1..).zip(said).map(|(later, payload)| by.write(room.now.wall_ms + later, payload)).collect()
}

fn hears(room: &mut Room, entries: &[Entry]) {
    for entry in entries {
        let from = entry.header().author;
        room.handle(0, Input::Gossip(from, Box::new(entry.clone())));
    }
}

/// The same, and what she says by that reaches nobody.
fn hears_alone(room: &mut Room, entries: &[Entry]) {
    for entry in entries {
        does(room, 0, Input::Gossip(entry.header().author, Box::new(entry.clone())));
    }
}

// spec: QUOTA-4, DEL-2
#[test]
fn one_submission_pays_for_one_task() {
    let rules = Rules { max_attempts: 1, ..Rules::default() };
    let mut room = Room::community_by(&["alice", "bob", "carol"], rules);
    room.grant(0, "bob");
    let grant = room.peers[0].node.ledger().facts().grants().keys().next().copied();
    let (alice, bob, carol) = (room.key(0), room.key(1), room.key(2));
    let (mut log, mut by_carol) = (Forger::of(&room, 1), Forger::of(&room, 2));
    // Signed for more than was submitted.
    let spec = TaskSpec { replicas: 2, quorum: 2, ..spec_by(&room, 1, 1) };
    let said = announced(&room, &mut log, &spec, &[alice]);
    hears(&mut room, &said);
    let answer = offered(&mut room, 1, &spec, 1, grant, log.tip.unwrap());
    assert!(matches!(answer, Some(Reason::Inadmissible(_))), "{answer:?}");
    // Run again and again, with nothing to show for it.
    for (runs, nonce) in [(19, 2), (20, 3)] {
        let spec = spec_by(&room, 1, nonce);
        room.pass(1_000);
        let given = [vec![carol; runs], vec![alice]].concat();
        let said = announced(&room, &mut log, &spec, &given);
        hears(&mut room, &said);
        let ms = spec.limits.duration_ms;
        let piece = Piece { from_ms: room.now.wall_ms, ms, energy_mj: 1, reading: None };
        for attempt in 1..=runs as u32 {
            let energy = Metered { how: How::Modelled, pieces: vec![piece.clone()], ..Metered::default() };
            let spent = Spent { submitter: bob, task: spec.id(), attempt, energy, estimated: false };
            let at_ms = room.now.wall_ms + u64::from(nonce) * 100 + u64::from(attempt);
            let entry = by_carol.write(at_ms, Payload::Spent(Box::new(spent)));
            hears(&mut room, &[entry]);
        }
        let answer = offered(&mut room, 1, &spec, runs as u32 + 1, grant, log.tip.unwrap());
        assert_eq!(answer, (runs == 20).then_some(Reason::OverQuota));
    }
}

/// Until its owner records a result the donor alone knows of it, and an owner may take a week over that.
// spec: QUOTA-4, DEL-2
#[test]
fn what_ran_and_was_never_settled_is_paid_for_as_well() {
    let rules = Rules { max_attempts: 1, ..Rules::default() };
    let mut room = Room::community_by(&["alice", "bob", "carol"], rules);
    room.grant(0, "bob");
    let grant = room.peers[0].node.ledger().facts().grants().keys().next().copied();
    let (alice, bob, mut log) = (room.key(0), room.key(1), Forger::of(&room, 1));
    let spec = spec_by(&room, 1, 1);
    let said = announced(&room, &mut log, &spec, &[]);
    hears_alone(&mut room, &said);
    for number in 1..=21 {
        room.now.wall_ms += 1_000;
        let given = Payload::Delegated { task: spec.id(), attempt: number, device: alice, grant: None };
        let given = log.write(room.now.wall_ms, given);
        hears_alone(&mut room, &[given]);
        let answer = offered(&mut room, 1, &spec, number, grant, log.tip.unwrap());
        assert_eq!(answer, (number == 21).then_some(Reason::OverQuota), "{number}");
        let attempt = AttemptId { task: spec.id(), attempt: number };
        let run = Run { attempt, spec: spec.clone(), owner: bob, resume: None };
        let mut receipt = receipt_for(&run);
        receipt.usage.wall_ms = spec.limits.duration_ms;
        let output = Blob { hash: BlobHash([9; 32]), len: 10 };
        let ended = RunEvent::Ended(Box::new(receipt), output, metering(room.now, 10_000));
        // Bob hears of it, and says nothing.
        for event in [RunEvent::Started, ended] {
            does(&mut room, 0, Input::Run(attempt, event));
        }
    }
}

// spec: QUOTA-4, LED-10
#[test]
fn what_somebody_says_to_have_submitted_long_ago_is_of_the_day_on_which_its_donor_sees_it() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.grant(0, "bob");
    let grant = room.peers[0].node.ledger().facts().grants().keys().next().copied();
    let (alice, mut log) = (room.key(0), Forger::of(&room, 1));
    let tasks: Vec<(TaskSpec, Vec<Entry>, Tip)> = (0..12)
        .map(|nonce| {
            // Two of each day.
            room.now.wall_ms += 43_200_000;
            let spec = spec_by(&room, 1, nonce);
            let said = announced(&room, &mut log, &spec, &[alice]);
            (spec, said, log.tip.unwrap())
        })
        .collect();
    let mut answer = |(spec, said, tip): &(TaskSpec, Vec<Entry>, Tip)| {
        hears(&mut room, said);
        let answer = offered(&mut room, 1, spec, 1, grant, *tip);
        let witnesses = room.peers[0].node.ledger().witnesses(&tip.author, tip.seq);
        (answer, witnesses.contains_key(&alice))
    };
    let answers: Vec<_> = tasks.iter().map(&mut answer).collect();
    assert_eq!(answers[0], (None, true), "for its own word alice waits for nobody");
    assert!(answers[..10].iter().all(|(answer, _)| *answer != Some(Reason::OverQuota)), "{answers:?}");
    assert_eq!(answers[10].0, Some(Reason::OverQuota));
}

// spec: DEL-2, NET-4
#[test]
fn offers_that_wait_for_a_log_take_no_room_from_others() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.grant(0, "bob");
    let grants = room.peers[0].node.ledger().facts().grants();
    let grant = *grants.keys().next().unwrap();
    let answer = offer_of_what_nobody_has(&mut room, 2, 0, None);
    assert_eq!(answer, Some(Reason::NoGrant), "her own grants she knows without carol's log");
    let answers: Vec<Option<Reason>> =
        (0..70).map(|nonce| offer_of_what_nobody_has(&mut room, 1, nonce, Some(grant))).collect();
    assert!(answers[..64].iter().all(Option::is_none), "they wait");
    assert!(answers[64..].iter().all(|answer| *answer == Some(Reason::NoCapacity)));
    room.pass(5_000);
    assert_eq!(offer_of_what_nobody_has(&mut room, 1, 99, Some(grant)), None, "none waits for long");
}

/// By what a device names when it takes an attempt others see whose it is, and whoever's log says that it ended.
// spec: DEL-2, REP-1
#[test]
fn an_offer_is_by_the_entry_of_the_submitters_own_log_that_gives_it() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.grant(0, "bob");
    let grant = room.peers[0].node.ledger().facts().grants().keys().next().copied();
    let (spec, other, device) = (spec_by(&room, 1, 0), spec_by(&room, 1, 1), room.key(0));
    let (mut bob, mut carol) = (Forger::of(&room, 1), Forger::of(&room, 2));
    let says = |room: &mut Room, forger: &mut Forger, payload| {
        room.now.wall_ms += 10;
        let entry = forger.write(room.now.wall_ms, payload);
        let node = &mut room.peers[0].node;
        node.handle(room.now, Input::Gossip(forger.key.public(), Box::new(entry.clone())));
        assert!(node.ledger().has(&entry.tip()));
        entry.tip()
    };
    let gives = |spec: &TaskSpec, device| Payload::Delegated { task: spec.id(), attempt: 1, device, grant };
    let none = says(&mut room, &mut bob, submitted(&spec));
    // A friend's log, where it ends at once and nothing is on record of it.
    let theirs = says(&mut room, &mut carol, gives(&spec, device));
    let answer = answers(&mut room, 1, &spec, 1, grant, theirs);
    assert_eq!(answer, [TaskFrame::Refused(Reason::BadSignature)]);
    // The submitter's own, but it gives nothing, or to somebody else, or another task.
    says(&mut room, &mut bob, submitted(&other));
    let elsewhere = says(&mut room, &mut bob, gives(&other, carol.key.public()));
    for (task, tip) in [(&spec, none), (&other, elsewhere), (&spec, elsewhere)] {
        let answer = answers(&mut room, 1, task, 1, grant, tip);
        assert_eq!(answer, [TaskFrame::Refused(Reason::LogBehind)]);
    }
    let tip = says(&mut room, &mut bob, gives(&spec, device));
    assert_eq!(answers(&mut room, 1, &spec, 1, grant, tip), [TaskFrame::Accepted]);
}

/// Each is an entry in the donor's log, and it may write so many in an hour: one for each attempt that was given to it.
// spec: NET-4, DEL-2
#[test]
fn whoever_offers_the_same_again_and_again_fills_no_log_but_their_own() {
    for revoked in [false, true] {
        let mut room = Room::community(&["alice", "bob", "carol"]);
        room.grant(0, "bob");
        let grant = room.peers[0].node.ledger().facts().grants().keys().next().copied();
        let (spec, device) = (spec_by(&room, 1, 0), room.key(0));
        let mut bob = Forger::of(&room, 1);
        let mut says = |room: &mut Room, payload| {
            room.now.wall_ms += 10;
            let entry = bob.write(room.now.wall_ms, payload);
            room.handle(0, Input::Gossip(bob.key.public(), Box::new(entry.clone())));
            entry.tip()
        };
        says(&mut room, submitted(&spec));
        let tip = says(&mut room, Payload::Delegated { task: spec.id(), attempt: 1, device, grant });
        let refused = match revoked {
            true => {
                let id = room.peers[0].node.ledger().facts().grants().keys().next().unwrap().to_string();
                room.ask(0, Command::Revoke { grant: id }).unwrap();
                Reason::GrantRevoked
            }
            false => {
                room.ask(0, Command::Pause { for_ms: None }).unwrap();
                Reason::DonorPaused
            }
        };
        let written = |room: &Room| {
            let logs = room.peers[0].node.logs();
            logs.iter().find(|tip| tip.author == device).map(|tip| tip.seq).unwrap()
        };
        let before = written(&room);
        for _ in 0..700 {
            let answer = answers(&mut room, 1, &spec, 1, grant, tip);
            assert!(matches!(answer.as_slice(), [TaskFrame::Refused(_)]), "{answer:?}");
        }
        let first = answers(&mut room, 1, &spec, 2, grant, tip);
        let expected = if revoked { refused } else { Reason::LogBehind };
        assert_eq!(first, [TaskFrame::Refused(expected)], "an attempt that is not given to it");
        assert_eq!(written(&room) - before, 1, "revoked: {revoked}");
    }
}

/// Whoever is given something by gossip passes it on before its ledger has judged it.
// spec: NET-4, LED-4
#[test]
fn what_nobody_needs_to_hear_of_goes_no_further_than_here() {
    let mut room = Room::community(&["alice", "bob"]);
    let mut bob = Forger::of(&room, 1);
    let mut twin = Forger::of(&room, 1);
    let stranger = Forger { key: SecretKey::from_seed(&[77; 32]), ..Forger::of(&room, 1) }
        .write(room.now.wall_ms, Payload::PeerOnline);
    let next = bob.write(room.now.wall_ms + 1, Payload::PeerOnline);
    let later = bob.write(room.now.wall_ms + 2, Payload::PeerOffline);
    let instead = twin.write(room.now.wall_ms + 3, Payload::PeerOffline);
    let passes = |room: &Room, entry: &Entry| room.peers[0].node.passes_on(entry);
    assert_eq!(passes(&room, &stranger), None);
    assert_eq!([&next, &later, &instead].map(|entry| passes(&room, entry)), [Some(600); 3]);
    let from = room.key(1);
    room.handle(0, Input::Gossip(from, Box::new(next.clone())));
    let free = Some(u64::MAX);
    assert_eq!(passes(&room, &next), free, "it is going round");
    assert_eq!(passes(&room, &instead), None, "another stands in its place");
    assert_eq!(passes(&room, &later), Some(600));
    let skew = Rules::default().max_skew_ms;
    room.pass(skew + 60_001);
    room.handle(0, Input::Wake);
    assert_eq!(passes(&room, &next), free);
    room.pass(1);
    room.handle(0, Input::Wake);
    assert_eq!(passes(&room, &next), None, "it has gone round");
}

/// What it costs to find out why is more than it costs to ask.
// spec: NET-4, DEL-2
#[test]
fn what_was_refused_just_now_is_refused_again_without_a_second_look() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.grant(0, "bob");
    let grant = room.peers[0].node.ledger().facts().grants().keys().next().copied();
    let (spec, alice, mut bob) = (spec_by(&room, 1, 0), room.key(0), Forger::of(&room, 1));
    let said = announced(&room, &mut bob, &spec, &[alice]);
    hears(&mut room, &said);
    let slots = |room: &mut Room, slots| {
        room.handle(0, Input::Capacity(Capacity { slots, memory: 1 << 30, longest_ms: 3_600_000 }));
    };
    slots(&mut room, 0);
    let tip = bob.tip.unwrap();
    let full = [TaskFrame::Refused(Reason::NoCapacity)];
    assert_eq!(answers(&mut room, 1, &spec, 1, grant, tip), full);
    slots(&mut room, 4);
    room.pass(999);
    assert_eq!(answers(&mut room, 1, &spec, 1, grant, tip), full);
    // It is another offer by another grant.
    assert_eq!(answers(&mut room, 1, &spec, 1, None, tip), [TaskFrame::Refused(Reason::NoGrant)]);
    room.pass(1);
    assert_eq!(answers(&mut room, 1, &spec, 1, grant, tip), [TaskFrame::Accepted]);
}

/// What it takes is an entry in the donor's log, too, and so is what it used.
// spec: NET-4, DEL-2
#[test]
fn whoever_gives_a_device_task_after_task_leaves_it_half_of_its_entries() {
    let free = Tier { tasks: 0, ..Rules::default().free };
    let rules = Rules { entries_per_hour: 60, voting_window_ms: 0, free, ..Rules::default() };
    let mut room = Room::community_by(&["alice", "bob", "carol"], rules);
    room.grant(0, "bob");
    let grant = room.peers[0].node.ledger().facts().grants().keys().next().copied();
    let (alice, mut bob) = (room.key(0), Forger::of(&room, 1));
    let before = room.peers[0].node.ledger().len(&alice);
    let mut taken = Vec::new();
    for nonce in 0..60 {
        room.now.wall_ms += 10;
        let spec = spec_by(&room, 1, nonce);
        let said = announced(&room, &mut bob, &spec, &[alice]);
        hears_alone(&mut room, &said);
        let answer = answers(&mut room, 1, &spec, 1, grant, bob.tip.unwrap());
        taken.push(answer == [TaskFrame::Accepted]);
        let id = AttemptId { task: spec.id(), attempt: 1 };
        answered(&mut room, 0, 1, id, TaskFrame::Stop(Reason::Cancelled));
    }
    let said = room.peers[0].node.ledger().len(&alice);
    assert!(said > before && said <= 31, "{before} and then {said}");
    assert!(taken[0] && !taken[59], "{taken:?}");
    let submits = Command::Submit(Box::new(draft("word-count", 1)));
    let mut outputs = does(&mut room, 0, Input::Command(CommandId(77), Box::new(submits)));
    outputs.extend(does(&mut room, 0, Input::Wake));
    assert!(outputs.iter().any(|output| matches!(output, Output::Run(_))), "her own tasks run");
    room.now.boot_ms += 60_000;
    let ads = does(&mut room, 0, Input::Wake).into_iter().filter_map(|output| match output {
        Output::Send(_, Message::Hello(HelloFrame::Ad(signed))) => Some(signed.ad.free_slots),
        _ => None,
    });
    let ads: Vec<u16> = ads.collect();
    assert!(!ads.is_empty() && ads.iter().all(|free| *free == 0), "{ads:?}");
    room.now = Now { boot_ms: room.now.boot_ms + 3_600_000, wall_ms: room.now.wall_ms + 3_600_000 };
    let spec = spec_by(&room, 1, 99);
    let said = announced(&room, &mut bob, &spec, &[alice]);
    hears_alone(&mut room, &said);
    assert_eq!(answers(&mut room, 1, &spec, 1, grant, bob.tip.unwrap()), [TaskFrame::Accepted]);
}

/// Two entries of the donor's for two small frames.
// spec: NET-4, DEL-7
#[test]
fn an_owner_that_has_its_task_held_again_and_again_has_it_run_on() {
    let (mut room, _, run) = at_bob();
    let alice = room.key(0);
    let hold = || TaskFrame::Hold { for_ms: 3_600_000 };
    let on_record = |room: &Room| {
        let entries = room.peers[1].entries.values().map(|bytes| Entry::trusted(bytes).unwrap());
        entries.filter(|entry| matches!(entry.payload(), Payload::Held { .. })).count()
    };
    for _ in 0..1_000 {
        room.handle(1, Input::Task(alice, run.attempt, hold()));
        room.handle(1, Input::Task(alice, run.attempt, TaskFrame::GoOn));
    }
    assert_eq!(on_record(&room), 6, "three times");
    // Longer for what stands still already is nothing new, and what is asked for seldom is done.
    room.peers[1].wishes.clear();
    room.pass(301_000);
    for _ in 0..1_000 {
        room.handle(1, Input::Task(alice, run.attempt, hold()));
    }
    assert_eq!(room.peers[1].wishes, [(run.attempt, Wish::Hold)]);
    assert_eq!(on_record(&room), 7);
}

// spec: DEL-7, NET-4
#[test]
fn a_hold_that_is_made_shorter_is_over_sooner() {
    let (mut room, _, run) = at_bob();
    let alice = room.key(0);
    let hold = |for_ms| Input::Task(alice, run.attempt, TaskFrame::Hold { for_ms });
    room.peers[1].wishes.clear();
    room.handle(1, hold(3_600_000));
    room.pass(60_000);
    room.handle(1, hold(3_000));
    assert_eq!(room.peers[1].wishes, [(run.attempt, Wish::Hold)]);
    room.pass(3_000);
    assert_eq!(room.peers[1].wishes, [(run.attempt, Wish::Hold), (run.attempt, Wish::GoOn)]);
}

/// What only whose task it is can come to counts for nothing in a donor's mouth.
// spec: DEL-3, DEL-7, PERM-5
#[test]
fn a_donor_says_nothing_that_is_for_the_owner_to_say() {
    for reason in [
        Reason::VetoedByOwner,
        Reason::Expired,
        Reason::CleanerElsewhere,
        Reason::BadResult("it is none".into()),
        Reason::TooManyAttempts(9),
    ] {
        for given_up in [true, false] {
            let (mut room, task, run) = at_bob();
            let bob = room.key(1);
            let frame = match given_up {
                true => TaskFrame::Lost(reason.clone()),
                false => TaskFrame::Beat(Beat {
                    phase: Phase::Paused,
                    permille: 0,
                    note: String::new(),
                    held: Some(reason.clone()),
                }),
            };
            room.handle(0, Input::Task(bob, run.attempt, frame));
            let Answer::Task(view) = room.ask(0, Command::Task { task }).unwrap() else { panic!("no task") };
            let words = format!("{} {:?}", view.why, view.history[0].fate);
            assert!(!words.contains(&reason.to_string()), "{reason}: {words}");
            let unknown = view.history[0].fate.contains(&Reason::Unknown.to_string());
            assert_eq!(unknown, given_up, "{words}");
        }
    }
}

/// What a device answers a peer at once by what it hears of an attempt.
fn answered(room: &mut Room, number: usize, by: usize, id: AttemptId, frame: TaskFrame) -> Vec<TaskFrame> {
    let from = room.key(by);
    let outputs = does(room, number, Input::Task(from, id, frame));
    let said = outputs.into_iter().filter_map(|output| match output {
        Output::Send(to, Message::Task(of, frame)) if (to, of) == (from, id) => Some(frame),
        _ => None,
    });
    said.collect()
}

/// Bob runs a task of alice's.
fn at_bob() -> (Room, String, Run) {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.grant(1, "alice");
    let task = room.submit(0, 1);
    let run = room.peers[1].runs.pop().expect("bob runs it");
    room.handle(1, Input::Run(run.attempt, RunEvent::Started));
    (room, task, run)
}

/// Whoever is to hear of it cannot be reached, and hears it by way of others.
// spec: DEL-6
#[test]
fn a_veto_ends_an_attempt_also_where_only_others_pass_it_on() {
    for by_owner in [true, false] {
        let mut room = Room::community(&["alice", "bob", "carol"]);
        room.grant(1, "alice");
        // Nothing here is clean: what its owner takes back is given to nobody, and its lease is long.
        let task = room.submit_draft(0, Draft { followed: false, ..draft("word-count", 1) }).unwrap();
        let run = room.peers[1].runs.pop().expect("bob runs it");
        room.handle(1, Input::Run(run.attempt, RunEvent::Started));
        room.disconnect(0, 1);
        room.apart = true;
        let by = if by_owner { 0 } else { 1 };
        room.ask(by, Command::Veto { task: task.clone(), why: "mine".into() }).unwrap();
        room.pass(12_000);
        assert_eq!(room.obey(1), [Wish::Stop], "by its owner: {by_owner}");
        let Answer::Task(view) = room.ask(0, Command::Task { task: task.clone() }).unwrap() else {
            panic!("no task")
        };
        let why = if by_owner { Reason::VetoedByOwner } else { Reason::VetoedByDonor };
        assert!(view.history[0].fate.contains(&why.to_string()), "{}", view.history[0].fate);
        // Nor is it given there again.
        room.apart = false;
        room.connect(0, 1);
        room.pass(120_000);
        assert!(room.peers[1].runs.is_empty(), "by its owner: {by_owner}");
        assert_eq!(room.peers[0].runs.len(), usize::from(!by_owner));
    }
}

/// A peer is taken for silent before its word comes by way of others.
// spec: DEL-6
#[test]
fn who_was_silent_when_it_ended_a_task_is_not_asked_for_it_again() {
    let (mut room, task, _) = at_bob();
    room.handle(0, Input::Terms(Box::new(Terms { off: true, ..Terms::default() })));
    for other in [0, 2] {
        room.disconnect(1, other);
    }
    room.apart = true;
    room.ask(1, Command::Veto { task: task.clone(), why: "mine".into() }).unwrap();
    room.pass(20_000);
    assert_eq!(room.state(0, &task).0, "waiting");
    room.apart = false;
    room.connect(1, 2);
    room.pass(12_000);
    room.connect(0, 1);
    room.pass(300_000);
    assert!(room.peers[1].runs.is_empty(), "{}", room.state(0, &task).1);
}

// spec: DEL-4, DEL-5, NET-2
#[test]
fn of_an_attempt_its_owner_alone_says_what_becomes_of_it() {
    let (mut room, _, run) = at_bob();
    let id = run.attempt;
    let hold = TaskFrame::Hold { for_ms: 3_600_000 };
    let unknown = vec![TaskFrame::Lost(Reason::Unknown)];
    let others = |room: &mut Room| {
        for (frame, expected) in [
            (TaskFrame::Renew { lease_ms: 1 }, unknown.clone()),
            (TaskFrame::Stop(Reason::Cancelled), vec![TaskFrame::Lost(Reason::Cancelled)]),
            (TaskFrame::Settled(Effect::Superseded), vec![]),
            (TaskFrame::Status, unknown.clone()),
            (TaskFrame::Reveal, unknown.clone()),
            (hold.clone(), vec![]),
            (TaskFrame::GoOn, vec![]),
        ] {
            let carol = room.key(2);
            let outputs = does(room, 1, Input::Task(carol, id, frame.clone()));
            let said = outputs.into_iter().map(|output| match output {
                Output::Send(to, Message::Task(of, frame)) if (to, of) == (carol, id) => frame,
                other => panic!("carol says {frame:?}, and bob does {other:?}"),
            });
            assert_eq!(said.collect::<Vec<_>>(), expected, "{frame:?}");
        }
        room.pass(1_000);
        assert!(!room.peers[1].node.may_follow(&room.key(2), id));
    };
    others(&mut room);
    let alice = room.key(0);
    assert!(room.peers[1].node.may_follow(&alice, id));
    // She is away, and would not have it wait.
    room.disconnect(0, 1);
    room.handle(1, Input::Task(alice, id, hold.clone()));
    assert_eq!(room.obey(1), [Wish::Hold]);
    others(&mut room);
    assert!(room.obey(1).is_empty());
    room.handle(1, Input::Task(alice, id, TaskFrame::GoOn));
    assert_eq!(room.obey(1), [Wish::GoOn]);
    room.end(1, &run);
    others(&mut room);
    does(&mut room, 1, Input::Connected { peer: alice, addr: addr(0) });
    assert!(matches!(&answered(&mut room, 1, 0, id, TaskFrame::Status)[..], [TaskFrame::Ended(_)]));
    assert!(matches!(&answered(&mut room, 1, 0, id, TaskFrame::Reveal)[..], [TaskFrame::Ended(_)]));
    assert!(room.peers[1].forgotten.is_empty());
}

// spec: NET-2, DEL-2
#[test]
fn a_stranger_is_told_that_it_is_none_where_it_offers_and_nothing_else() {
    let (mut room, _, run) = at_bob();
    room.add("mallory", 3, 3);
    room.connect(1, 3);
    let before = room.peers[1].node.counters().clone();
    let said = answered(&mut room, 1, 3, run.attempt, TaskFrame::Stop(Reason::Cancelled));
    assert!(said.is_empty());
    let offer = TaskFrame::Offer(Box::new(offer_by(&room, 2, 9, None, |_| {})));
    let said = answered(&mut room, 1, 3, run.attempt, offer);
    assert_eq!(said, [TaskFrame::Refused(Reason::NotAMember)]);
    let after = room.peers[1].node.counters();
    assert_eq!((after.strangers - before.strangers, after.offers_refused - before.offers_refused), (2, 1));
}

// spec: DEL-2, DEL-12, PERM-1, PERM-2
#[test]
fn an_offer_that_is_wrong_in_one_thing_is_refused_for_that_and_members_with_a_grant_find_it_on_record() {
    type Change = fn(&mut TaskSpec);
    let cases: [(Change, Option<Reason>, bool); 9] = [
        (|_| {}, None, false),
        (|spec| spec.community = CommunityId([9; 32]), Some(Reason::OtherCommunity), false),
        (|spec| spec.limits.fuel = 0, Some(Reason::BadSignature), false),
        (|spec| spec.user = UserKey(spec.submitter), Some(Reason::NotAMember), false),
        (|spec| spec.name = "other".into(), Some(Reason::NameNotAccepted), true),
        (|spec| spec.permissions.real_clock = true, Some(Reason::NotGranted("the real clock".into())), true),
        (
            |spec| spec.permissions.shares = [("photos".to_owned(), Access::Ro)].into(),
            Some(Reason::NotGranted("the share photos (ro)".into())),
            true,
        ),
        (|spec| spec.sla = Sla::Eco, Some(Reason::EnergyNotClean), true),
        (|spec| spec.sla = Sla::SolarOnly, Some(Reason::Elsewhere), true),
    ];
    for (number, (change, expected, on_record)) in cases.into_iter().enumerate() {
        let (mut room, grant) = alice_takes_bobs();
        let (id, offer) = offer_by_bob(&mut room, Some(grant), change);
        assert_eq!(taken(&mut room, id, offer), (expected, on_record), "case {number}");
    }
    // What is signed by another, named by another grant or by none, or comes while its owner shares nothing.
    let (mut room, grant) = alice_takes_bobs();
    let (id, mut offer) = offer_by_bob(&mut room, Some(grant), |_| {});
    offer.task = offer.task.spec.clone().sign(&SecretKey::from_seed(&[1; 32]));
    assert_eq!(taken(&mut room, id, offer), (Some(Reason::BadSignature), false));
    for grant in [None, Some(EntryId([9; 32]))] {
        let (id, offer) = offer_by_bob(&mut room, grant, |_| {});
        assert_eq!(taken(&mut room, id, offer), (Some(Reason::NoGrant), false), "{grant:?}");
    }
    let (mut room, grant) = alice_takes_bobs();
    room.ask(0, Command::Pause { for_ms: None }).unwrap();
    let (id, offer) = offer_by_bob(&mut room, Some(grant), |_| {});
    assert_eq!(taken(&mut room, id, offer), (Some(Reason::DonorPaused), true));
}

/// Alice takes tasks of bob's of one name.
fn alice_takes_bobs() -> (Room, EntryId) {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.grant(0, "bob");
    room.handle(0, Input::Accepts(vec![Pattern::new("flood").unwrap()]));
    let grant = *room.peers[0].node.ledger().facts().grants().keys().next().unwrap();
    (room, grant)
}

/// An offer of a task that bob has submitted, as alice knows. He himself does not.
fn offer_by_bob(room: &mut Room, grant: Option<EntryId>, change: fn(&mut TaskSpec)) -> (AttemptId, Offer) {
    let mut offer = offer_by(room, 1, 1, grant, change);
    let spec = &offer.task.spec;
    let id = AttemptId { task: spec.id(), attempt: 1 };
    let submitted = TaskSubmitted {
        task: id.task,
        name: spec.name.clone(),
        module: spec.module,
        input: Commitment::new(&spec.nonce, &spec.input.0),
        duration_ms: spec.limits.duration_ms,
        memory_bytes: spec.limits.memory_bytes,
        sla: spec.sla,
        importance: None,
        replicas: spec.replicas,
    };
    says_to_alice(room, Payload::TaskSubmitted(Box::new(submitted)));
    offer = given(room, offer, 1);
    (id, offer)
}

/// The next entry of bob's log as alice has it.
fn says_to_alice(room: &mut Room, payload: Payload) -> Tip {
    let (bob, tip) = (room.key(1), room.peers[0].node.ledger().tip(&room.key(1)));
    let later = tip.map_or(0, |tip| tip.seq);
    let entry = Forger { tip, ..Forger::of(room, 1) }.write(room.now.wall_ms + later, payload);
    let tip = entry.tip();
    does(room, 0, Input::Gossip(bob, Box::new(entry)));
    tip
}

/// The same offer as that attempt, which bob's log gives to alice.
fn given(room: &mut Room, offer: Offer, attempt: u32) -> Offer {
    let (task, device, grant) = (offer.task.spec.id(), room.key(0), offer.grant);
    let tip = says_to_alice(room, Payload::Delegated { task, attempt, device, grant });
    Offer { attempt, tip, ..offer }
}

/// Why alice refuses an offer of bob's, if she does, and whether that stands in the ledger.
fn taken(room: &mut Room, id: AttemptId, offer: Offer) -> (Option<Reason>, bool) {
    let bob = room.key(1);
    let before = room.peers[0].node.counters().offers_refused;
    let outputs = does(room, 0, Input::Task(bob, id, TaskFrame::Offer(Box::new(offer.clone()))));
    let on_record = outputs.iter().any(|output| {
        matches!(output, Output::Spread(entry) if matches!(entry.payload(), Payload::Refused { .. }))
    });
    let said = outputs.into_iter().find_map(|output| match output {
        Output::Send(to, Message::Task(of, frame)) if (to, of) == (bob, id) => Some(frame),
        _ => None,
    });
    let refused = match said {
        Some(TaskFrame::Accepted) => None,
        Some(TaskFrame::Refused(reason)) => Some(reason),
        other => panic!("{other:?} to {offer:?}"),
    };
    let counted = room.peers[0].node.counters().offers_refused - before;
    assert_eq!(counted, u64::from(refused.is_some()), "each refusal is counted once");
    (refused, on_record)
}

// spec: DEL-2, DEL-11
#[test]
fn an_offer_is_of_the_attempt_that_it_comes_as_and_by_whoever_brings_it() {
    let (mut room, grant) = alice_takes_bobs();
    let (id, offer) = offer_by_bob(&mut room, Some(grant), |_| {});
    let of = |room: &mut Room, by: usize, id: AttemptId| {
        let before = room.peers[0].node.counters().offers_refused;
        let said = answered(room, 0, by, id, TaskFrame::Offer(Box::new(offer.clone())));
        assert_eq!(said, [TaskFrame::Refused(Reason::BadSignature)]);
        assert_eq!(room.peers[0].node.counters().offers_refused, before + 1);
    };
    of(&mut room, 1, AttemptId { task: TaskId([9; 32]), ..id });
    of(&mut room, 1, AttemptId { attempt: 2, ..id });
    of(&mut room, 2, id);
    // A later attempt is no earlier one, and after it the earlier one comes too late.
    let second = AttemptId { attempt: 2, ..id };
    let later = given(&mut room, offer.clone(), 2);
    assert_eq!(taken(&mut room, second, later.clone()), (None, false));
    assert_eq!(taken(&mut room, id, offer.clone()), (Some(Reason::Fenced), true));
    // Said again it is no other.
    let refused = room.peers[0].node.counters().offers_refused;
    let said = answered(&mut room, 0, 1, second, TaskFrame::Offer(Box::new(later)));
    assert_eq!((said, room.peers[0].node.counters().offers_refused), (vec![TaskFrame::Accepted], refused));
}

// spec: DEL-2, NET-4
#[test]
fn what_rests_on_a_log_that_is_not_here_is_refused_at_once_where_that_changes_nothing_and_else_in_three_seconds()
 {
    type Change = fn(&mut TaskSpec);
    let unheard_of = Some(EntryId([9; 32]));
    let (_, known) = alice_takes_bobs();
    let cases: [(Change, Option<EntryId>, Option<Reason>); 6] = [
        (|spec| spec.community = CommunityId([9; 32]), Some(known), Some(Reason::OtherCommunity)),
        (|spec| spec.limits.fuel = 0, Some(known), Some(Reason::BadSignature)),
        (|spec| spec.name = "other".into(), Some(known), Some(Reason::NameNotAccepted)),
        (|_| {}, None, Some(Reason::NoGrant)),
        // It may be a grant that is on its way.
        (|_| {}, unheard_of, None),
        (|_| {}, Some(known), None),
    ];
    for (number, (change, grant, expected)) in cases.into_iter().enumerate() {
        let (mut room, _) = alice_takes_bobs();
        let bob = room.key(1);
        let tip = Tip { author: bob, seq: 1_000_000, id: EntryId([7; 32]) };
        let offer = Offer { tip, ..offer_by(&room, 1, 1, grant, change) };
        let id = AttemptId { task: offer.task.spec.id(), attempt: 1 };
        let before = room.peers[0].node.counters().offers_refused;
        let said = answered(&mut room, 0, 1, id, TaskFrame::Offer(Box::new(offer)));
        let refusals = room.peers[0].node.counters().offers_refused - before;
        let expected_frames: Vec<TaskFrame> = expected.clone().into_iter().map(TaskFrame::Refused).collect();
        assert_eq!((said, refusals), (expected_frames, u64::from(expected.is_some())), "case {number}");
        if expected.is_none() {
            // While it waits, nothing is said of it.
            assert_eq!(answered(&mut room, 0, 1, id, TaskFrame::Status), []);
            let refused = |room: &mut Room, ms: u64| {
                room.now = Now { boot_ms: room.now.boot_ms + ms, wall_ms: room.now.wall_ms + ms };
                let of = |output: &Output| {
                    matches!(output, Output::Send(to, Message::Task(of, TaskFrame::Refused(Reason::LogBehind)))
                        if (*to, *of) == (bob, id))
                };
                does(room, 0, Input::Wake).iter().any(of)
            };
            assert!(!refused(&mut room, 2_999));
            assert!(refused(&mut room, 1));
        }
    }
}

// spec: DEL-3
#[test]
fn who_slept_for_more_than_a_third_of_a_lease_has_what_runs_stand_still_until_it_is_renewed() {
    let (mut room, _, run) = at_bob();
    let (id, alice) = (run.attempt, room.key(0));
    let renew = TaskFrame::Renew { lease_ms: 30_000 };
    let sleeps = |room: &mut Room, ms: u64| {
        room.now = Now { boot_ms: room.now.boot_ms + ms, wall_ms: room.now.wall_ms + ms };
        let outputs = does(room, 1, Input::Wake);
        let of = |wanted: fn(&Output) -> bool| outputs.iter().any(wanted);
        (of(|it| matches!(it, Output::Pause(_))), of(|it| matches!(it, Output::Stop(_))))
    };
    let renewed = |room: &mut Room| {
        let outputs = does(room, 1, Input::Task(alice, id, renew.clone()));
        outputs.iter().any(|output| matches!(output, Output::Resume(of) if *of == id))
    };
    assert!(!renewed(&mut room));
    assert_eq!(sleeps(&mut room, 10_000), (false, false), "a third of thirty seconds");
    assert!(!renewed(&mut room));
    assert_eq!(sleeps(&mut room, 10_001), (true, false));
    assert_eq!(sleeps(&mut room, 10_001), (false, false), "it stands still already");
    assert!(renewed(&mut room), "and goes on when its owner is heard of");
    assert_eq!(sleeps(&mut room, 29_999), (true, false));
    assert!(renewed(&mut room));
    // What stands still for another reason goes on for no renewal.
    does(&mut room, 1, Input::Task(alice, id, TaskFrame::Hold { for_ms: 3_600_000 }));
    assert_eq!(sleeps(&mut room, 10_001), (true, false));
    assert!(!renewed(&mut room));
    assert_eq!(sleeps(&mut room, 30_000), (false, true), "its lease is over");
}

// spec: DEL-3
#[test]
fn who_slept_for_half_of_what_a_peer_may_be_silent_counts_no_silence_from_before() {
    for (slept, lost) in [(7_499, true), (7_500, false)] {
        let (mut room, task, _) = at_bob();
        room.disconnect(0, 1);
        for _ in 0..3 {
            room.now = Now { boot_ms: room.now.boot_ms + slept, wall_ms: room.now.wall_ms + slept };
            room.handle(0, Input::Wake);
        }
        let Answer::Task(view) = room.ask(0, Command::Task { task }).unwrap() else { panic!("no task") };
        let fate = view.history[0].fate.clone();
        assert_eq!(fate, if lost { "lost: the peer is not connected" } else { "open" }, "slept {slept} ms");
    }
}

// spec: DEL-5, DEL-9, DEL-13
#[test]
fn what_an_executor_tells_is_passed_on_within_its_bounds_and_what_failed_is_lost() {
    let (mut room, _, run) = at_bob();
    let (id, alice) = (run.attempt, room.key(0));
    let said = |room: &mut Room, event: RunEvent| -> Vec<TaskFrame> {
        let outputs = does(room, 1, Input::Run(id, event));
        let frames = outputs.into_iter().filter_map(|output| match output {
            Output::Send(to, Message::Task(of, frame)) if (to, of) == (alice, id) => Some(frame),
            _ => None,
        });
        frames.collect()
    };
    let beat = |permille, note: String| {
        vec![TaskFrame::Beat(Beat { phase: Phase::Running, permille, note, held: None })]
    };
    for (permille, note, told) in [
        (0, String::new(), (0, String::new())),
        (1_000, "a".repeat(256), (1_000, "a".repeat(256))),
        (1_001, "a".repeat(257), (1_000, "a".repeat(256))),
        // No letter is cut in two.
        (7, format!("a{}", "ä".repeat(200)), (7, format!("a{}", "ä".repeat(127)))),
    ] {
        assert_eq!(said(&mut room, RunEvent::Progress(permille, note)), beat(told.0, told.1));
    }
    let saved = Blob { hash: BlobHash([5; 32]), len: 7 };
    let checkpoint = TaskFrame::Checkpoint { number: 3, blob: saved };
    assert_eq!(said(&mut room, RunEvent::Checkpoint(3, saved)), [checkpoint]);
    for (outcome, why) in [
        (Outcome::SandboxCrashed("it fell over".into()), "it fell over"),
        (Outcome::Cancelled, "it was cancelled"),
    ] {
        let (mut room, _, run) = at_bob();
        let receipt = Receipt { outcome, ..receipt_for(&run) };
        let output = Blob { hash: BlobHash([9; 32]), len: 10 };
        let ended = RunEvent::Ended(Box::new(receipt), output, metering(room.now, 10));
        assert_eq!(said(&mut room, ended), [TaskFrame::Lost(Reason::SandboxFailed(why.into()))]);
    }
    // What comes after it was stopped says still what it used, once.
    let spends = |event: fn(&Room, &Run) -> RunEvent| {
        let (mut room, task, run) = at_bob();
        room.ask(0, Command::Cancel { task }).unwrap();
        let event = event(&room, &run);
        let outputs = does(&mut room, 1, Input::Run(run.attempt, event));
        let spent = outputs.iter().filter_map(|output| match output {
            Output::Spread(entry) => match entry.payload() {
                Payload::Spent(spent) => spent.energy.energy_mj(),
                _ => None,
            },
            _ => None,
        });
        spent.collect::<Vec<u64>>()
    };
    assert_eq!(spends(|room, _| RunEvent::Spent(Some(metering(room.now, 500)))), [500]);
    assert_eq!(
        spends(|room, run| RunEvent::Ended(
            Box::new(receipt_for(run)),
            Blob { hash: BlobHash([9; 32]), len: 10 },
            metering(room.now, 600)
        )),
        [600]
    );
    assert!(spends(|_, _| RunEvent::Paused).is_empty());
}

// spec: DEL-3, PERM-5
#[test]
fn what_is_to_stand_still_when_it_begins_is_held_at_once() {
    let prepared = || {
        let mut room = Room::community(&["alice", "bob"]);
        room.grant(1, "alice");
        room.submit(0, 1);
        let run = room.peers[1].runs.pop().expect("bob runs it");
        (room, run.attempt)
    };
    let is_held = |room: &mut Room, id: AttemptId| {
        let outputs = does(room, 1, Input::Run(id, RunEvent::Started));
        outputs.iter().any(|output| matches!(output, Output::Pause(of) if *of == id))
    };
    let (mut room, id) = prepared();
    assert!(!is_held(&mut room, id));
    let (mut room, id) = prepared();
    room.ask(1, Command::Pause { for_ms: None }).unwrap();
    assert!(is_held(&mut room, id));
    let (mut room, id) = prepared();
    room.now = Now { boot_ms: room.now.boot_ms + 12_000, wall_ms: room.now.wall_ms + 12_000 };
    does(&mut room, 1, Input::Wake);
    assert!(is_held(&mut room, id));
}

// spec: DEL-3
#[test]
fn an_owner_who_is_back_is_told_how_its_attempts_are_and_nobody_elses() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.grant(1, "alice");
    room.grant(1, "carol");
    let runs = [(0, 1), (0, 2), (2, 3)].map(|(by, nonce)| {
        let on = Some("bob-laptop".into());
        room.submit_draft(by, Draft { on, ..draft("word-count", nonce) }).unwrap();
        let run = room.peers[1].runs.pop().expect("bob runs it");
        room.handle(1, Input::Run(run.attempt, RunEvent::Started));
        run
    });
    room.disconnect(0, 1);
    room.end(1, &runs[1]);
    let (alice, address) = (room.key(0), addr(0));
    let outputs = does(&mut room, 1, Input::Connected { peer: alice, addr: address });
    let mut told = Vec::new();
    for output in outputs {
        if let Output::Send(to, Message::Task(of, frame)) = output {
            assert_eq!(to, alice);
            told.push((of, matches!(frame, TaskFrame::Beat(_)), matches!(frame, TaskFrame::Ended(_))));
        }
    }
    let mut expected = [(runs[0].attempt, true, false), (runs[1].attempt, false, true)];
    expected.sort_unstable();
    assert_eq!(told, expected);
}

// spec: LED-2, ARC-7
#[test]
fn bytes_are_for_whoever_runs_the_task_and_its_result_for_its_owner() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.add("mallory", 3, 3);
    room.grant(1, "alice");
    let blob = |number: u8| Blob { hash: BlobHash([number; 32]), len: 10 };
    let inputs = vec![InputFile { path: "a".into(), blob: blob(21) }];
    let mut draft = Draft { stdin: Some(blob(20)), inputs, ..draft("word-count", 1) };
    draft.limits.checkpoint_bytes = 1_000;
    let module: BlobHash = draft.module.into();
    room.submit_draft(0, draft).unwrap();
    let run = room.peers[1].runs.pop().expect("bob runs it");
    room.handle(1, Input::Run(run.attempt, RunEvent::Started));
    let may = |room: &Room, of: usize, number: u8| -> Vec<usize> {
        let blob = if number == 0 { module } else { blob(number).hash };
        (0..4).filter(|by| *by != of && room.peers[of].node.may_fetch(&room.key(*by), &blob)).collect()
    };
    let needs = |room: &Room, of: usize| -> Vec<BlobHash> {
        let (in_use, results) = room.peers[of].node.needed();
        in_use.union(&results).copied().collect()
    };
    // The module, which all members may know; stdin, an input file; a checkpoint and the output, which are not there yet.
    let all = |room: &Room, of: usize| [0, 20, 21, 22, 9].map(|number| may(room, of, number));
    assert_eq!(all(&room, 0), [vec![1, 2], vec![1], vec![1], vec![], vec![]]);
    assert_eq!(all(&room, 1), [const { vec![] }; 5]);
    assert_eq!(needs(&room, 0), [module, blob(20).hash, blob(21).hash]);
    assert_eq!(needs(&room, 1), [module, blob(20).hash, blob(21).hash]);
    room.handle(1, Input::Run(run.attempt, RunEvent::Checkpoint(1, blob(22))));
    assert_eq!(all(&room, 0), [vec![1, 2], vec![1], vec![1], vec![1], vec![]]);
    assert_eq!(all(&room, 1), [vec![], vec![], vec![], vec![0], vec![]]);
    assert!(needs(&room, 0).contains(&blob(22).hash) && needs(&room, 1).contains(&blob(22).hash));
    room.slow = true;
    room.end(1, &run);
    assert_eq!(all(&room, 1), [vec![], vec![], vec![], vec![0], vec![0]]);
    assert!(needs(&room, 0).contains(&blob(9).hash) && needs(&room, 1).contains(&blob(9).hash));
    room.comes(0, Ok(()));
    assert_eq!(all(&room, 0), [const { vec![] }; 5], "what is done is nobody's business");
    assert_eq!(needs(&room, 0), [blob(9).hash], "what cannot run again needs nothing that it was given");
    assert_eq!(room.peers[0].node.needed().1.len(), 1, "which is a result");
}

// spec: ARC-7
#[test]
fn what_a_task_was_given_is_needed_until_it_has_ended_in_whatever_way() {
    let mut room = Room::community(&["alice", "bob"]);
    let input = Blob { hash: BlobHash([20; 32]), len: 10 };
    let task = room.submit_draft(0, Draft { stdin: Some(input), ..draft("word-count", 1) }).unwrap();
    let needed = |room: &Room| room.peers[0].node.needed().0.contains(&input.hash);
    assert!(needed(&room), "it waits");
    room.ask(0, Command::Cancel { task }).unwrap();
    assert!(!needed(&room));
}

// spec: NET-5
#[test]
fn who_is_reached_elsewhere_tells_those_who_are_there_once() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.disconnect(0, 2);
    let elsewhere = vec!["192.0.2.9:7".parse().unwrap()];
    let mut told = || -> Vec<(PublicKey, Vec<std::net::SocketAddr>)> {
        let outputs = does(&mut room, 0, Input::Addrs(elsewhere.clone()));
        let said = outputs.into_iter().filter_map(|output| match output {
            Output::Send(to, Message::Hello(HelloFrame::Hello { addrs, .. })) => Some((to, addrs)),
            _ => None,
        });
        said.collect()
    };
    let first = told();
    assert!(told().is_empty());
    assert_eq!(first, [(room.key(1), elsewhere)]);
}

// spec: PERM-5, ARC-7
#[test]
fn what_a_donor_keeps_of_its_own_is_no_room_for_others() {
    let mut room = Room::community(&["alice", "bob"]);
    room.grant(1, "alice");
    let gives = Terms { disk_bytes: 10_000_000, ..Terms::default() };
    room.handle(1, Input::Terms(Box::new(gives)));
    let mut wants = Draft { on: Some("bob-laptop".into()), ..draft("word-count", 1) };
    (wants.limits.out_bytes, wants.limits.stdout_bytes, wants.limits.stderr_bytes) = (4_000_000, 0, 0);
    room.handle(1, Input::Kept(6_500_000));
    let task = room.submit_draft(0, wants).unwrap();
    assert!(room.peers[1].runs.is_empty());
    let why = room.state(0, &task).1;
    assert!(why.contains("and at most 3500000 are given"), "{why}");
    room.handle(1, Input::Kept(0));
    room.pass(20 * 60_000);
    assert_eq!(room.peers[1].runs.len(), 1);
}

/// Results that nobody may take away leave no room for the next: it would compute, and have nowhere to put its own.
// spec: PERM-5, ARC-7
#[test]
fn an_own_task_begins_where_what_it_may_leave_has_room_beside_what_is_kept() {
    let mut room = Room::community(&["alice"]);
    let gives = Terms { disk_bytes: 10_000_000, ..Terms::default() };
    room.handle(0, Input::Terms(Box::new(gives)));
    let wants = |nonce| {
        let mut wants = draft("word-count", nonce);
        (wants.limits.out_bytes, wants.limits.stdout_bytes, wants.limits.stderr_bytes) = (4_000_000, 0, 0);
        wants
    };
    // Its module of 100 bytes is among what is kept.
    room.handle(0, Input::Kept(6_000_101));
    let task = room.submit_draft(0, wants(1)).unwrap();
    assert!(room.peers[0].runs.is_empty());
    let why = room.state(0, &task).1;
    assert!(why.contains("and at most 3999999 are given"), "{why}");
    room.handle(0, Input::Kept(2_000_000));
    room.pass(20 * 60_000);
    assert_eq!(room.peers[0].runs.len(), 1);
    room.submit_draft(0, wants(2)).unwrap();
    assert_eq!(room.peers[0].runs.len(), 2, "what the first was given is counted once");
}

// spec: DEL-4, DEL-11
#[test]
fn what_is_said_of_an_attempt_that_does_not_count_changes_nothing_and_is_counted() {
    let (mut room, task, run) = at_bob();
    let id = run.attempt;
    let beat =
        || TaskFrame::Beat(Beat { phase: Phase::Running, permille: 1, note: String::new(), held: None });
    let stop = |reason| vec![TaskFrame::Stop(reason)];
    let says = |room: &mut Room, by: usize, id: AttemptId, frame: TaskFrame| {
        let before = room.peers[0].node.counters().stale_frames;
        let said = answered(room, 0, by, id, frame);
        (said, room.peers[0].node.counters().stale_frames - before)
    };
    // Of a task that is nobody's here, whoever has it may forget it.
    let nobodys = AttemptId { task: TaskId([9; 32]), attempt: 1 };
    assert_eq!(says(&mut room, 1, nobodys, beat()), (stop(Reason::Unknown), 1));
    assert_eq!(says(&mut room, 1, nobodys, TaskFrame::Lost(Reason::Restarted)), (vec![], 1));
    assert_eq!(says(&mut room, 1, nobodys, TaskFrame::Refused(Reason::NoGrant)), (vec![], 1));
    // One that was given to another.
    assert_eq!(says(&mut room, 2, id, TaskFrame::Lost(Reason::Restarted)), (vec![], 1));
    assert_eq!(says(&mut room, 1, AttemptId { attempt: 2, ..id }, beat()), (vec![], 1));
    assert_eq!(room.state(0, &task).0, "running");
    assert_eq!(says(&mut room, 1, id, beat()), (vec![], 0));
    // One that was lost, and one that was taken back.
    room.handle(0, Input::Task(room.key(1), id, TaskFrame::Lost(Reason::Restarted)));
    for frame in [beat(), TaskFrame::Accepted, TaskFrame::Promised(Digest([1; 32]))] {
        assert_eq!(says(&mut room, 1, id, frame), (stop(Reason::Fenced), 1));
    }
    assert_eq!(says(&mut room, 1, id, TaskFrame::Lost(Reason::Restarted)), (vec![], 0));
    assert_eq!(says(&mut room, 1, id, TaskFrame::Released(Released::Released)), (vec![], 1));
    room.ask(0, Command::Cancel { task }).unwrap();
    assert_eq!(says(&mut room, 1, id, beat()), (stop(Reason::Cancelled), 1));
}

/// Bob has ended alice's task, and she has not heard of it yet: what he would say.
fn ended_at_bob() -> (Room, String, AttemptId, Ended, SecretKey) {
    let (mut room, task, run) = at_bob();
    let output = Blob { hash: BlobHash([9; 32]), len: 10 };
    let ends = RunEvent::Ended(Box::new(receipt_for(&run)), output, metering(room.now, 10));
    let said =
        does(&mut room, 1, Input::Run(run.attempt, ends)).into_iter().find_map(|output| match output {
            Output::Send(_, Message::Task(_, TaskFrame::Ended(ended))) => Some(*ended),
            _ => None,
        });
    (room, task, run.attempt, said.expect("he says so"), SecretKey::from_seed(&[11; 32]))
}

/// The same with another receipt, signed as it has to be.
fn with(ended: &Ended, nonce: &[u8; 32], key: &SecretKey, change: impl FnOnce(&mut Receipt)) -> Ended {
    let mut receipt = ended.receipt.receipt.clone();
    change(&mut receipt);
    let receipt = receipt.sign(key);
    let statement = Statement::of(&receipt, nonce, ended.statement.energy.clone());
    let signature = statement.sign(key);
    Ended { receipt, statement, signature, ..ended.clone() }
}

// spec: DEL-4, REP-2
#[test]
fn a_result_that_cannot_be_true_of_what_was_given_is_none_and_its_maker_is_told_why() {
    type Change = fn(&mut Receipt);
    let cases: [(&str, Change); 17] = [
        ("", |_| {}),
        ("the receipt is for another attempt", |it| it.task = TaskId([9; 32])),
        ("the receipt is for another attempt", |it| it.attempt = 2),
        ("another module was run", |it| it.module = ModuleHash([9; 32])),
        ("it was run on another input", |it| it.input.hash = InputHash([9; 32])),
        ("it was run with other arguments", |it| it.args.push("-v".into())),
        ("it was run with other arguments", |it| it.env.push(("A".into(), "1".into()))),
        ("it was run within other limits", |it| it.limits.out_files += 1),
        ("it went on from a checkpoint that it was not given", |it| {
            it.resumed_from = Some((1, Digest([1; 32])))
        }),
        ("it went on from a checkpoint that it was not given", |it| it.usage.fuel_before = 1),
        ("it was given more than it asked for", |it| it.granted.real_clock = true),
        ("", |it| it.usage.fuel = it.limits.fuel),
        ("more fuel was used than there was", |it| it.usage.fuel = it.limits.fuel + 1),
        ("two runs of it must agree, and it says not", |it| it.not_comparable = vec![NotComparable::Network]),
        ("two runs of it must agree, and it says not", |it| it.not_comparable = vec![NotComparable::Resumed]),
        ("two runs of it must agree, and it says not", |it| {
            it.not_comparable = vec![NotComparable::Inconclusive]
        }),
        ("", |it| {
            it.outcome = Outcome::TimedOut;
            it.not_comparable = vec![NotComparable::Inconclusive];
        }),
    ];
    let nonce = [1; 32];
    for (number, (why, change)) in cases.into_iter().enumerate() {
        let (mut room, task, id, ended, key) = ended_at_bob();
        says_its_end(&mut room, &task, id, with(&ended, &nonce, &key, change), why, number);
    }
    // Nor is one that another made, or signed, or of which something else is said in public.
    for number in 0..4 {
        let (mut room, task, id, ended, key) = ended_at_bob();
        let other = SecretKey::from_seed(&[21; 32]);
        let (it, why) = match number {
            0 => (with(&ended, &nonce, &other, |_| {}), "another peer signed the receipt"),
            1 => {
                let mut it = ended.clone();
                it.statement.fuel += 1;
                (it, "the public statement is not the receipt's")
            }
            2 => {
                let mut receipt = ended.receipt.clone();
                receipt.signature = with(&ended, &nonce, &key, |it| it.usage.fuel += 1).receipt.signature;
                let statement = Statement::of(&receipt, &nonce, ended.statement.energy.clone());
                let signature = statement.sign(&key);
                let it = Ended { receipt, statement, signature, ..ended.clone() };
                (it, "the receipt's signature does not hold")
            }
            _ => {
                let signature = ended.statement.sign(&other);
                (Ended { signature, ..ended.clone() }, "the statement's signature does not hold")
            }
        };
        says_its_end(&mut room, &task, id, it, why, 100 + number);
    }
}

fn says_its_end(room: &mut Room, task: &str, id: AttemptId, ended: Ended, why: &str, number: usize) {
    let said = answered(room, 0, 1, id, TaskFrame::Ended(Box::new(ended)));
    let bad = room.peers[0].node.counters().bad_results;
    let view = match room.ask(0, Command::Task { task: task.into() }).unwrap() {
        Answer::Task(view) => *view,
        other => panic!("{other:?}"),
    };
    if why.is_empty() {
        assert_eq!((said, bad), (vec![], 0), "case {number}");
        assert_eq!(view.state, "fetching", "case {number}: {}", view.why);
    } else {
        assert_eq!(said, [TaskFrame::Stop(Reason::BadResult(why.into()))], "case {number}");
        assert_eq!(
            (bad, view.history[0].fate.as_str()),
            (1, &*format!("lost: its result does not hold: {why}"))
        );
    }
}

// spec: DEL-4, DEL-13
#[test]
fn a_result_that_comes_too_late_is_recorded_once_and_settled_whenever_it_is_said() {
    let (mut room, task, id, ended, key) = ended_at_bob();
    room.handle(0, Input::Task(room.key(1), id, TaskFrame::Lost(Reason::Restarted)));
    let late = |room: &mut Room, ended: &Ended| {
        let (bob, before) = (room.key(1), room.peers[0].node.counters().bad_results);
        let outputs = does(room, 0, Input::Task(bob, id, TaskFrame::Ended(Box::new(ended.clone()))));
        let recorded = outputs.iter().filter(|output| {
            matches!(output, Output::Spread(entry) if matches!(entry.payload(), Payload::Completed(_)))
        });
        let recorded = recorded.count();
        let settled = outputs.iter().any(|output| {
            matches!(output, Output::Send(to, Message::Task(of, TaskFrame::Settled(Effect::Superseded)))
                if (*to, *of) == (bob, id))
        });
        (recorded, settled, room.peers[0].node.counters().bad_results - before)
    };
    let false_one = with(&ended, &[1; 32], &key, |it| it.module = ModuleHash([9; 32]));
    assert_eq!(late(&mut room, &false_one), (0, true, 1));
    assert_eq!(late(&mut room, &ended), (1, true, 0));
    assert_eq!(late(&mut room, &ended), (0, true, 0));
    assert_eq!(late(&mut room, &false_one), (0, true, 0), "what is on record is judged no more");
    assert_ne!(room.state(0, &task).0, "done");
}

/// A peer's word that it is cleaner elsewhere would have the task offered again at once.
// spec: DEL-3
#[test]
fn a_donor_that_gives_a_task_back_at_once_is_asked_less_and_less() {
    let mut room = Room::community(&["alice", "bob"]);
    room.grant(1, "alice");
    let draft = Draft { on: Some("bob-laptop".into()), ..draft("give-back", 1) };
    room.submit_draft(0, draft).unwrap();
    for _ in 0..50 {
        let Some(run) = room.peers[1].runs.pop() else { break };
        let peer = room.key(1);
        room.handle(0, Input::Task(peer, run.attempt, TaskFrame::Lost(Reason::CleanerElsewhere)));
    }
    let entries = room.peers[0].entries.values().map(|bytes| Entry::verify(bytes).unwrap());
    let offers = entries.filter(|entry| entry.payload().kind_name() == "delegated").count();
    assert_eq!(offers, 1, "the next one is later");
    room.pass(60_000);
    assert!(!room.peers[1].runs.is_empty(), "and it comes");
}

// spec: NET-1, LED-5
#[test]
fn a_member_comes_back_with_a_new_device_by_anybodys_ticket() {
    let mut room = Room::community(&["alice", "bob", "spare"]);
    // Bob's one device forks its log, and everybody knows.
    let from = room.key(0);
    let mut bob = Forger::of(&room, 1);
    for at in [1000, 2000] {
        let mut branch = Forger { key: SecretKey::from_seed(&[11; 32]), ..bob };
        let entry = branch.write(room.now.wall_ms + at, Payload::PeerOnline);
        room.handle(0, Input::Gossip(from, Box::new(entry.clone())));
        bob = Forger { key: SecretKey::from_seed(&[11; 32]), ..bob };
        if at == 2000 {
            let stored = room.peers[0].entries[&(entry.header().author, entry.header().seq)].clone();
            room.handle(0, Input::Stored(Box::new(Entry::trusted(&stored).unwrap())));
        }
    }
    room.pass(20_000);
    let forked = room.key(1);
    assert!(room.peers[0].node.ledger().governance().owner(&forked).is_none());
    let Answer::Status(status) = room.ask(1, Command::Status).unwrap() else { panic!("no status") };
    assert!(status.trouble.iter().any(|it| it.contains("counts no more")), "{:?}", status.trouble);
    // With his user key he joins anew, by a ticket of Alice's.
    room.add("bob", 3, 1);
    let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
    let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
    let joined = room.ask(3, Command::Join { ticket, as_device_of: None }).unwrap();
    assert!(matches!(joined, Answer::Joined { pending: false, .. }), "{joined:?}");
    let governance = room.peers[0].node.ledger().governance();
    let device = governance.device(&room.key(3)).unwrap();
    assert_eq!((device.name.as_str(), governance.owner(&room.key(3))), ("bob-3", Some(device.user)));
    assert_eq!(governance.device(&forked).map(|it| it.user), Some(device.user));
    assert_eq!((governance.share(&forked, |_| true), governance.share(&room.key(3), |_| true)), (0, 1000));
    // One more beside one that counts is no second quota.
    room.add("bob", 4, 1);
    let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
    let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
    room.ask(4, Command::Join { ticket, as_device_of: None }).unwrap();
    let governance = room.peers[0].node.ledger().governance();
    assert!(governance.owner(&room.key(4)).is_some());
    assert_eq!(
        (governance.share(&room.key(3), |_| true), governance.share(&room.key(4), |_| true)),
        (1000, 0)
    );
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

/// What a device does at once by what it hears. Nothing of it comes to others.
fn does(room: &mut Room, number: usize, input: Input) -> Vec<Output> {
    let node = &mut room.peers[number].node;
    node.handle(room.now, input);
    std::iter::from_fn(|| node.poll()).collect()
}

/// What one tells another of logs.
#[derive(Debug, PartialEq)]
enum OfLogs {
    Frame(SyncFrame),
    Entries { of: PublicKey, from: u64, until: u64 },
}

/// What alice answers bob who compares logs with her.
fn compared(room: &mut Room, frame: SyncFrame) -> Vec<OfLogs> {
    told_of_logs(room, SyncReceived::Frame(frame))
}

fn told_of_logs(room: &mut Room, received: SyncReceived) -> Vec<OfLogs> {
    let bob = room.key(1);
    let outputs = does(room, 0, Input::Sync(bob, received));
    let of_logs = outputs.into_iter().filter_map(|output| match output {
        Output::Send(to, Message::Sync(frame)) => {
            assert_eq!(to, bob);
            Some(OfLogs::Frame(frame))
        }
        Output::SendEntries { to, author, from, until } => {
            assert_eq!(to, bob);
            Some(OfLogs::Entries { of: author, from, until })
        }
        _ => None,
    });
    of_logs.collect()
}

fn half_bytes(key: &PublicKey, count: usize) -> Vec<u8> {
    key.0.iter().flat_map(|byte| [byte / 16, byte % 16]).take(count).collect()
}

// spec: LED-4, NET-8
#[test]
fn logs_that_differ_are_told_by_their_ends_where_they_are_few_and_by_ranges_where_they_are_many() {
    let mut room = Room::community(&["alice", "bob"]);
    let (alice, me) = (room.key(0), room.peers[0].node.ledger().digest(&[]));
    let (logs, digest) = me;
    let same = SyncFrame::Digest { prefix: vec![], logs, digest };
    assert_eq!(compared(&mut room, same), [OfLogs::Frame(SyncFrame::Same { prefix: vec![] })]);
    let own = room.peers[0].node.logs().into_iter().filter(|tip| tip.author == alice).collect::<Vec<Tip>>();
    for (depth, logs, by_ranges) in [(0, 32, false), (0, 33, true), (7, 33, true), (8, 33, false)] {
        let prefix = half_bytes(&alice, depth);
        let frame = SyncFrame::Digest { prefix: prefix.clone(), logs, digest: Digest([9; 32]) };
        let answer = compared(&mut room, frame);
        let ledger = room.peers[0].node.ledger();
        let expected: Vec<OfLogs> = if by_ranges {
            let longer = (0..16).map(|half| [&prefix[..], &[half]].concat());
            let frames = longer.map(|prefix| {
                let (logs, digest) = ledger.digest(&prefix);
                OfLogs::Frame(SyncFrame::Digest { prefix, logs, digest })
            });
            frames.collect()
        } else {
            let tips = if depth == 0 { room.peers[0].node.logs() } else { own.clone() };
            vec![OfLogs::Frame(SyncFrame::Tips { prefix, tips })]
        };
        assert_eq!(answer, expected, "{logs} logs whose keys begin with {depth} half-bytes");
    }
}

/// Does it name places of a log up to there, to find where two branches part? How that goes on: the tests of forks.
fn is_search(answer: &OfLogs, of: &PublicKey, upto: u64) -> bool {
    let OfLogs::Frame(SyncFrame::Tips { prefix, tips }) = answer else { return false };
    let inside = |tip: &Tip| tip.author == *of && tip.seq <= upto;
    *prefix == half_bytes(of, 16) && (2..=16).contains(&tips.len()) && tips.iter().all(inside)
}

/// Carol's log is longer here than one hands over unasked. What bob says of its end, and what he is answered.
// spec: LED-4, NET-4
#[test]
fn whoever_tells_the_end_of_a_log_is_handed_what_it_lacks_and_asked_for_what_is_lacking_here() {
    let rules = Rules { entries_per_hour: 0, ..Rules::default() };
    let mut room = Room::community_by(&["alice", "bob", "carol"], rules);
    let carol = room.key(2);
    let mut forger = Forger::of(&room, 2);
    for at in 0..40 {
        let entry = forger.write(room.now.wall_ms + at, Payload::PeerOnline);
        room.handle(0, Input::Gossip(room.key(1), Box::new(entry)));
    }
    let len = room.peers[0].node.ledger().len(&carol);
    let mine = room.peers[0].node.ledger().tip(&carol).unwrap();
    let of = |from, until| OfLogs::Entries { of: carol, from, until };
    let want = |from| OfLogs::Frame(SyncFrame::Want(vec![(carol, from)]));
    let known = |room: &Room, seq: u64| Some(room.peers[0].node.ledger().tip_at(&carol, seq).unwrap());
    let other = |seq: u64| Some(Tip { author: carol, seq, id: EntryId([9; 32]) });
    let only_mine = SyncFrame::Tips { prefix: half_bytes(&carol, 16), tips: vec![mine] };
    let cases = [
        ("knows it all", known(&room, len - 1), vec![]),
        ("lacks one", known(&room, len - 2), vec![of(len - 1, len)]),
        ("lacks a few", known(&room, len - 17), vec![of(len - 16, len)]),
        ("lacks more than a few", known(&room, len - 18), vec![OfLogs::Frame(only_mine)]),
        ("has never heard of it", None, vec![of(0, len)]),
        ("has more", other(len), vec![want(len)]),
    ];
    for (what, tip, expected) in cases {
        let others = room.peers[0].node.logs().into_iter().filter(|tip| tip.author != carol);
        let frame = SyncFrame::Tips { prefix: vec![], tips: others.chain(tip).collect() };
        assert_eq!(compared(&mut room, frame), expected, "bob {what}");
    }
    // Of other ranges nothing was said.
    let prefix = vec![(carol.0[0] / 16 + 1) % 16];
    let within = room.peers[0].node.logs().into_iter().filter(|tip| half_bytes(&tip.author, 1) == prefix);
    let frame = SyncFrame::Tips { tips: within.collect(), prefix };
    assert_eq!(compared(&mut room, frame), []);
    // And whoever told as many as a frame takes may know the rest as well.
    let mine = room.peers[0].node.ledger().tip(&room.key(0)).unwrap();
    let bobs = room.peers[0].node.ledger().tip(&room.key(1)).unwrap();
    let full =
        |count: usize| SyncFrame::Tips { prefix: vec![], tips: [vec![bobs], vec![mine; count - 1]].concat() };
    assert_eq!(compared(&mut room, full(1000)), []);
    assert_eq!(compared(&mut room, full(999)), [of(0, len)]);
    // Who asks gets all from there on.
    for (from, expected) in [(0, vec![of(0, len)]), (len - 1, vec![of(len - 1, len)]), (len, vec![])] {
        assert_eq!(compared(&mut room, SyncFrame::Want(vec![(carol, from)])), expected);
    }
    // Whoever has another branch looks with this device for where they part.
    for seq in [len - 1, len - 4, len - 30] {
        let others = room.peers[0].node.logs().into_iter().filter(|tip| tip.author != carol);
        let frame = SyncFrame::Tips { prefix: vec![], tips: others.chain(other(seq)).collect() };
        let answer = compared(&mut room, frame);
        assert!(matches!(&answer[..], [it] if is_search(it, &carol, seq)), "{answer:?}");
    }
}

// spec: LED-4, NET-2
#[test]
fn of_a_member_who_was_put_out_nothing_more_is_asked_for_than_counts() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    let carol = room.key(2);
    room.disconnect(0, 2);
    room.disconnect(1, 2);
    room.ask(0, Command::Expel { user: "carol".into(), why: "noise".into() }).unwrap();
    room.pass(5_000);
    let len = room.peers[0].node.ledger().len(&carol);
    assert_eq!(room.peers[0].node.ledger().governance().cap(&carol), Some(len));
    let others: Vec<Tip> = room.peers[0].node.logs().into_iter().filter(|tip| tip.author != carol).collect();
    let end = Tip { author: carol, seq: len + 5, id: EntryId([9; 32]) };
    let tips = others.into_iter().chain([end]).collect();
    assert_eq!(compared(&mut room, SyncFrame::Tips { prefix: vec![], tips }), []);
}

// spec: LED-4, LED-5
#[test]
fn where_something_follows_another_branch_it_is_looked_for_where_it_parted() {
    let rules = Rules { entries_per_hour: 0, ..Rules::default() };
    let mut room = Room::community_by(&["alice", "bob", "carol"], rules);
    let carol = room.key(2);
    let (mut mine, mut other) = (Forger::of(&room, 2), Forger::of(&room, 2));
    for at in 0..70 {
        let entry = mine.write(room.now.wall_ms + at, Payload::PeerOnline);
        room.handle(0, Input::Gossip(room.key(1), Box::new(entry)));
    }
    let branch: Vec<Entry> =
        (0..72).map(|at| other.write(room.now.wall_ms + 1_000 + at, Payload::PeerOnline)).collect();
    let len = room.peers[0].node.ledger().len(&carol);
    let [.., follows, after] = &branch[..] else { panic!("it has two") };
    assert_eq!(follows.header().seq, len);
    let mut say = |entry: &Entry| told_of_logs(&mut room, SyncReceived::Entries(vec![entry.clone()]));
    let wants = |told: Vec<OfLogs>| -> Vec<OfLogs> {
        told.into_iter().filter(|it| matches!(it, OfLogs::Frame(SyncFrame::Want(_)))).collect()
    };
    let told = say(follows);
    assert!(told.iter().any(|it| is_search(it, &carol, len)), "{told:?}");
    // What leaves a gap follows nobody knows what, and what follows this branch is no other.
    assert_eq!(wants(say(after)), []);
    let next = mine.write(1_790_000_100_000, Payload::PeerOnline);
    let told = say(&next);
    assert!(wants(told).is_empty());
    assert_eq!(room.peers[0].node.ledger().len(&carol), len + 1);
}

// spec: LED-4, NET-4
#[test]
fn a_peer_that_knows_more_is_compared_with_at_once_and_not_for_each_of_its_entries() {
    let rules = Rules { entries_per_hour: 0, ..Rules::default() };
    let mut room = Room::community_by(&["alice", "bob", "carol"], rules);
    let mut carol = Forger::of(&room, 2);
    let mut hears = |room: &mut Room| {
        let entry = carol.write(room.now.wall_ms, Payload::PeerOnline);
        let told = told_of_logs(room, SyncReceived::Entries(vec![entry]));
        told.iter().filter(|it| matches!(it, OfLogs::Frame(SyncFrame::Digest { .. }))).count()
    };
    room.pass(200);
    assert_eq!((hears(&mut room), hears(&mut room)), (1, 0));
    let later = |room: &mut Room, ms| room.now.boot_ms += ms;
    later(&mut room, 49);
    assert_eq!(hears(&mut room), 0);
    later(&mut room, 1);
    assert_eq!(hears(&mut room), 1);
}

// spec: LED-4, NET-2
#[test]
fn every_few_seconds_logs_are_compared_with_a_member_who_is_there_and_with_nobody_else() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.disconnect(0, 2);
    room.add("mallory", 3, 3);
    room.connect(0, 3);
    room.apart = true;
    room.pass(10_000);
    let mut asked: Vec<(u64, PublicKey)> = Vec::new();
    let end = room.now.boot_ms + 300_000;
    while let Some(at) = room.peers[0].node.deadline().filter(|at| *at <= end) {
        let step = at.saturating_sub(room.now.boot_ms);
        room.now.boot_ms += step;
        room.now.wall_ms += step;
        for output in does(&mut room, 0, Input::Wake) {
            if let Output::Send(to, Message::Sync(SyncFrame::Digest { .. })) = output {
                asked.push((room.now.boot_ms, to));
            }
        }
    }
    assert!(asked.iter().all(|(_, to)| *to == room.key(1)), "{asked:?}");
    assert!(asked.len() >= 300_000 / 6_250, "{} times in five minutes", asked.len());
    let between: Vec<u64> = asked.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(between.iter().all(|ms| (5_000..6_250).contains(ms)), "{between:?}");
}

// spec: NET-5
#[test]
fn two_who_came_in_by_the_same_member_are_told_of_each_other() {
    let mut room = Room::new(&["alice", "bob", "carol"]);
    room.ask(0, Command::Found { name: "Street".into(), rules: Box::new(Rules::default()) }).unwrap();
    for number in 1..3 {
        let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
        let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
        room.ask(number, Command::Join { ticket, as_device_of: None }).unwrap();
    }
    room.pass(1000);
    assert!(room.connected.contains(&(1, 2)));
}

// spec: NET-5
#[test]
fn who_is_told_of_before_it_is_known_as_a_member_is_dialled_once_it_is() {
    let mut room = Room::new(&["alice", "bob", "carol"]);
    room.ask(0, Command::Found { name: "Street".into(), rules: Box::new(Rules::default()) }).unwrap();
    let join = |room: &mut Room, number| {
        let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
        let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
        room.ask(number, Command::Join { ticket, as_device_of: None }).unwrap();
    };
    join(&mut room, 1);
    let told = HelloFrame::Peers(vec![PeerAddrs { peer: room.key(2), addrs: vec![addr(2)] }]);
    room.handle(1, Input::Hello(room.key(0), told));
    room.disconnect(0, 1);
    // The one who joins hears of nobody else either.
    room.apart = true;
    room.connect(0, 2);
    join(&mut room, 2);
    room.apart = false;
    let entries = room.peers[0].entries.values().map(|bytes| Entry::verify(bytes).unwrap()).collect();
    assert!(!room.connected.contains(&(1, 2)));
    room.handle(1, Input::Sync(room.key(0), SyncReceived::Entries(entries)));
    assert!(room.connected.contains(&(1, 2)));
}

// spec: NET-5
#[test]
fn who_lets_somebody_in_is_heard_when_it_tells_of_others() {
    let mut room = Room::community(&["alice", "bob"]);
    room.add("carol", 2, 2);
    room.apart = true;
    room.connect(0, 2);
    let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
    let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
    room.ask(2, Command::Join { ticket, as_device_of: None }).unwrap();
    assert!(room.dials.contains(&(2, 1)), "carol looks for bob: {:?}", room.dials);
}

// spec: NET-5
#[test]
fn who_comes_by_itself_is_told_of_to_those_who_have_not_met_it() {
    let mut room = Room::community_by(&["alice", "bob", "dave"], Rules { sponsors: 1, ..Rules::default() });
    room.add("carol", 3, 3);
    room.disconnect(0, 1);
    room.disconnect(0, 2);
    room.apart = true;
    room.connect(0, 3);
    let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
    let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
    room.ask(3, Command::Join { ticket, as_device_of: None }).unwrap();
    let entries: Vec<Entry> =
        room.peers[0].entries.values().map(|bytes| Entry::verify(bytes).unwrap()).collect();
    for number in [1, 2] {
        room.handle(number, Input::Sync(room.key(0), SyncReceived::Entries(entries.clone())));
    }
    room.dials.clear();
    // Where it is met is where it says that it is, so its greeting brings nothing new.
    room.connect(3, 1);
    assert!(room.dials.contains(&(2, 3)), "dave hears from bob where carol is: {:?}", room.dials);
}

// spec: NET-5
#[test]
fn neither_many_devices_of_one_member_nor_strangers_keep_a_peer_from_others() {
    for of_bob in [true, false] {
        let mut room = Room::community_by(&["alice", "bob", "carol"], Rules::default());
        for number in 3..16 {
            room.add("bob", number, if of_bob { 1 } else { number });
            if of_bob {
                let invite =
                    Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
                let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
                room.ask(number, Command::Join { ticket, as_device_of: None }).unwrap();
            } else {
                room.connect(number, 0);
            }
            assert!(room.connected.contains(&(0, number)));
        }
        room.disconnect(0, 2);
        room.apart = true;
        let told = HelloFrame::Peers(vec![PeerAddrs { peer: room.key(2), addrs: vec![addr(2)] }]);
        room.handle(0, Input::Hello(room.key(1), told));
        assert_eq!(room.dials, [(0, 2)], "{of_bob}");
    }
}

// spec: NET-5
#[test]
fn of_many_that_could_be_dialled_each_member_comes_before_anybodys_second_device() {
    let mut room = Room::community_by(&["alice", "bob", "carol"], Rules::default());
    for number in 3..25 {
        room.add("bob", number, 1);
        let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
        let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
        room.ask(number, Command::Join { ticket, as_device_of: None }).unwrap();
    }
    room.apart = true;
    room.restart(0, "alice");
    let dialled: BTreeSet<usize> = room.dials.iter().map(|(_, to)| *to).collect();
    assert!(dialled.len() == 12 && dialled.contains(&2), "{dialled:?}");
    // As long as there is nobody else, whom she did not reach she tries on, and no further device of Bob's instead.
    room.dials.clear();
    room.handle(0, Input::Unreachable { peer: room.key(2), why: "away".into() });
    assert_eq!(room.dials, [], "carol is still dialled");
    let bobs = *dialled.iter().find(|to| **to != 2).unwrap();
    room.handle(0, Input::Unreachable { peer: room.key(bobs), why: "away".into() });
    let now: BTreeSet<usize> = room.dials.iter().map(|(_, to)| *to).collect();
    assert!(now.len() == 12 && now.contains(&2) && !now.contains(&bobs), "{now:?}");
}

// spec: LED-5, DEL-1, DEL-14
#[test]
fn what_waits_to_be_numbered_outlives_a_death() {
    let mut room = Room::community(&["alice", "bob"]);
    // Nobody is there to say how long its log is.
    room.apart = true;
    room.restart(0, "alice");
    let task = room.submit(0, 1);
    room.ask(0, Command::Cancel { task: task.clone() }).unwrap();
    let said = |room: &Room| {
        let entries = room.peers[1].entries.values();
        let payloads = entries.map(|bytes| Entry::trusted(bytes).unwrap().payload().clone());
        payloads
            .filter(|payload| matches!(payload, Payload::Cancelled { task: it } if it.to_string() == task))
            .count()
    };
    room.restart(0, "alice");
    assert_eq!(said(&room), 0);
    room.connect(0, 1);
    room.pass(10_000);
    assert_eq!(said(&room), 1);
    // Said once, it is forgotten.
    room.restart(0, "alice");
    room.connect(0, 1);
    room.pass(10_000);
    assert_eq!(said(&room), 1);
    equal(&room);
}

// spec: DEL-1, QUOTA-4
#[test]
fn what_was_submitted_before_entries_could_be_numbered_is_announced_once() {
    let mut room = Room::community(&["alice", "bob"]);
    room.apart = true;
    room.restart(0, "alice");
    // Nothing here is clean, so that it waits and nothing else has it kept.
    let task = room.submit_draft(0, Draft { sla: Sla::Eco, ..draft("word-count", 1) }).unwrap();
    let said = |room: &Room| {
        let entries = room.peers[1].entries.values();
        let payloads = entries.map(|bytes| Entry::trusted(bytes).unwrap().payload().clone());
        payloads
            .filter(|payload| matches!(payload, Payload::TaskSubmitted(it) if it.task.to_string() == task))
            .count()
    };
    assert_eq!(said(&room), 0);
    for _ in 0..3 {
        room.connect(0, 1);
        room.pass(10_000);
        assert_eq!((said(&room), room.state(0, &task).0.as_str()), (1, "waiting"));
        room.restart(0, "alice");
    }
}

// spec: LED-5, LED-8
#[test]
fn who_lost_the_entries_that_admitted_it_takes_its_own_log_up_again() {
    let mut room = Room::community(&["alice", "bob"]);
    let (alice, bob) = (room.key(0), room.key(1));
    room.apart = true;
    room.disconnect(0, 1);
    // Nobody else has what it says now.
    let task = room.submit(1, 1);
    let said = |room: &Room, on: usize| room.peers[on].entries.keys().filter(|(by, _)| *by == bob).count();
    let before = said(&room, 1);
    assert!(before > said(&room, 0));
    // The power goes, and with it what others wrote, except the beginning.
    room.peers[1].entries.retain(|(by, seq), _| *by == bob || (*by == alice && *seq == 0));
    room.restart(1, "bob");
    let (_, why) = room.state(1, &task);
    assert!(why.contains("the ledger in which this device came in was lost"), "{why}");
    room.connect(0, 1);
    room.pass(60_000);
    assert!(said(&room, 0) >= before);
    let (_, why) = room.state(1, &task);
    assert!(why.contains("has taken it"), "{why}");
    equal(&room);
}

// spec: LED-6, LED-8
#[test]
fn an_export_brings_back_who_lost_the_entries_that_admitted_it() {
    let mut room = Room::community(&["alice", "bob"]);
    room.apart = true;
    room.disconnect(0, 1);
    let (alice, bob) = (room.key(0), room.key(1));
    let stranger = SecretKey::from_seed(&[99; 32]).public();
    room.peers[1].entries.retain(|(by, seq), _| *by == bob || (*by == alice && *seq == 0));
    room.restart(1, "bob");
    assert!(room.peers[1].node.ledger().governance().owner(&bob).is_none());
    let exported: Vec<Entry> =
        room.peers[0].entries.values().map(|bytes| Entry::verify(bytes).unwrap()).collect();
    let imported = |by: PublicKey| Input::Sync(by, SyncReceived::Entries(exported.clone()));
    room.handle(1, imported(stranger));
    assert!(room.peers[1].node.ledger().governance().owner(&bob).is_none());
    room.handle(1, imported(bob));
    assert!(room.peers[1].node.ledger().governance().owner(&bob).is_some());
    room.apart = false;
    room.connect(0, 1);
    room.pass(60_000);
    equal(&room);
    // Whoever belongs nowhere joins nowhere by it.
    room.add("carol", 2, 2);
    let carol = room.key(2);
    room.handle(2, imported(carol));
    assert_eq!(room.peers[2].node.community(), None);
}

// spec: LED-8, NET-5
#[test]
fn who_lost_the_whole_ledger_finds_back_by_those_that_it_remembers() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    let bob = room.key(1);
    let task = room.submit(1, 1);
    room.pass(1000);
    // Its founder, by whose ticket it came in, is gone for good, and then the power is, with all that others wrote.
    room.restart(0, "alice");
    room.apart = true;
    room.peers[1].entries.retain(|(by, _), _| *by == bob);
    room.restart(1, "bob");
    assert!(room.peers[1].node.logs().is_empty(), "nobody admitted it, as far as it knows");
    assert!(room.dials.contains(&(1, 2)), "it looks for those that it remembers: {:?}", room.dials);
    room.connect(1, 2);
    room.pass(60_000);
    let (_, why) = room.state(1, &task);
    assert!(!why.contains("was lost"), "{why}");
    let state =
        |number: usize| (room.peers[number].node.logs(), room.peers[number].node.ledger().state_digest());
    assert_eq!(state(1), state(2));
    assert!(
        room.peers[1].node.logs().iter().any(|tip| tip.author == bob),
        "what it said itself is there again"
    );
}

// spec: LED-8, NET-2
#[test]
fn who_lost_the_whole_ledger_asks_no_stranger_for_it() {
    let mut room = Room::community(&["alice", "bob"]);
    let bob = room.key(1);
    let lost: Vec<Entry> = {
        let others = room.peers[1].entries.iter().filter(|((by, _), _)| *by != bob);
        others.map(|(_, bytes)| Entry::verify(bytes).unwrap()).collect()
    };
    room.apart = true;
    room.peers[1].entries.retain(|(by, _), _| *by == bob);
    room.restart(1, "bob");
    room.add("mallory", 2, 2);
    room.connect(1, 2);
    let mallory = room.key(2);
    room.handle(1, Input::Sync(mallory, SyncReceived::Entries(lost)));
    assert!(room.peers[1].node.logs().is_empty());
    assert!(room.peers[1].node.counters().strangers > 0);
}

/// Bob runs a task of alice's that changes a share of his.
fn rotates_at_bob() -> (Room, String, Run) {
    let mut room = Room::community(&["alice", "bob"]);
    let mut rotate = draft("log-rotation", 1);
    rotate.permissions.shares = [("logs".to_owned(), Access::Rw)].into();
    let grant = GrantRequest {
        user: "alice".into(),
        device: None,
        task: "*".into(),
        module: Some(rotate.module),
        until_ms: None,
        permissions: Some(rotate.permissions.clone()),
    };
    room.ask(1, Command::Grant(grant)).unwrap();
    room.pass(1000);
    let task = room.submit_draft(0, rotate).unwrap();
    let run = room.peers[1].runs.pop().expect("bob runs it");
    (room, task, run)
}

// spec: DEL-4
#[test]
fn only_a_task_that_ended_well_and_whose_result_counts_changes_shares_and_once() {
    for (outcome, effect, released) in [
        (Outcome::Exited(0), Effect::Done, true),
        (Outcome::Exited(1), Effect::Done, false),
        (Outcome::Exited(0), Effect::Superseded, false),
    ] {
        let (mut room, _, run) = rotates_at_bob();
        room.disconnect(0, 1);
        let receipt = Receipt { outcome: outcome.clone(), ..receipt_for(&run) };
        let output = Blob { hash: BlobHash([9; 32]), len: 10 };
        let ends = RunEvent::Ended(Box::new(receipt), output, metering(room.now, 10));
        room.handle(1, Input::Run(run.attempt, RunEvent::Started));
        room.handle(1, Input::Run(run.attempt, ends));
        room.handle(1, Input::Task(room.key(0), run.attempt, TaskFrame::Settled(effect)));
        let expected: &[AttemptId] = if released { &[run.attempt] } else { &[] };
        assert_eq!(room.peers[1].releases, expected, "{outcome:?} {effect:?}");
    }
    let (mut room, task, run) = rotates_at_bob();
    room.end(1, &run);
    let stale = |room: &Room| room.peers[0].node.counters().stale_frames;
    let (bob, before) = (room.key(1), stale(&room));
    room.handle(0, Input::Task(bob, run.attempt, TaskFrame::Released(Released::Released)));
    assert!(room.state(0, &task).1.ends_with("what it changed in shares there is in place"));
    assert_eq!(stale(&room), before);
    room.handle(0, Input::Task(bob, run.attempt, TaskFrame::Released(Released::Conflict("late".into()))));
    assert!(room.state(0, &task).1.ends_with("what it changed in shares there is in place"));
    assert_eq!(stale(&room), before + 1);
}

// spec: PERM-4
#[test]
fn a_grant_that_is_taken_back_ends_what_runs_by_it_and_nothing_else() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.grant(1, "alice");
    room.grant(1, "carol");
    let on = || Some("bob-laptop".to_owned());
    let task = room.submit_draft(0, Draft { on: on(), ..draft("word-count", 1) }).unwrap();
    room.submit_draft(2, Draft { on: on(), ..draft("word-count", 2) }).unwrap();
    room.submit_draft(1, draft("word-count", 3)).unwrap();
    assert_eq!(room.peers[1].runs.len(), 3);
    for run in room.peers[1].runs.clone() {
        room.handle(1, Input::Run(run.attempt, RunEvent::Started));
    }
    let alice = room.peers[0].node.ledger().governance().owner(&room.key(0));
    let grants = room.peers[1].node.ledger().facts().grants();
    let (grant, _) = grants.iter().find(|(_, fact)| Some(fact.grant.user) == alice).unwrap();
    let grant = *grant;
    room.ask(1, Command::Revoke { grant: grant.to_string() }).unwrap();
    room.pass(1_000);
    assert_eq!(room.peers[1].wishes, [(room.peers[1].runs[0].attempt, Wish::Stop)]);
    let Answer::Task(view) = room.ask(0, Command::Task { task }).unwrap() else { panic!("no task") };
    assert_eq!(view.history[0].fate, "lost: the grant for it was revoked");
}

// spec: PERM-5, DEL-2
#[test]
fn a_program_that_was_not_asked_decides_nothing() {
    let (mut room, _, run) = at_bob();
    let outputs = does(&mut room, 1, Input::Hook(run.attempt, HookSays::Refuse("no".into())));
    assert!(outputs.is_empty(), "{outputs:?}");
    let (mut room, grant) = alice_takes_bobs();
    let tip = Tip { author: room.key(1), seq: 1_000_000, id: EntryId([7; 32]) };
    let offer = Offer { tip, ..offer_by(&room, 1, 1, Some(grant), |_| {}) };
    let id = AttemptId { task: offer.task.spec.id(), attempt: 1 };
    assert!(answered(&mut room, 0, 1, id, TaskFrame::Offer(Box::new(offer))).is_empty(), "it waits");
    for says in [HookSays::Accept, HookSays::Refuse("no".into()), HookSays::Later("no".into())] {
        let outputs = does(&mut room, 0, Input::Hook(id, says));
        assert!(outputs.is_empty(), "{outputs:?}");
    }
}

// spec: DEL-6, DEL-9
#[test]
fn what_is_taken_back_ends_where_it_runs_and_what_is_over_cannot_be() {
    let (mut room, task, run) = at_bob();
    let view = |room: &mut Room, task: &str| match room.ask(0, Command::Task { task: task.into() }).unwrap() {
        Answer::Task(view) => view,
        other => panic!("{other:?}"),
    };
    room.ask(0, Command::Cancel { task: task.clone() }).unwrap();
    assert_eq!(room.peers[1].wishes, [(run.attempt, Wish::Stop)]);
    assert_eq!(view(&mut room, &task).history[0].fate, "lost: its owner cancelled it");
    let refused = room.ask(0, Command::Cancel { task }).unwrap_err();
    assert_eq!(
        (refused.kind, refused.message.as_str()),
        (ErrorKind::Conflict, "cancel the task: it has ended")
    );
    // One that is done keeps what became of it.
    let (mut room, task, run) = at_bob();
    room.end(1, &run);
    assert_eq!(room.ask(0, Command::Cancel { task: task.clone() }).unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(view(&mut room, &task).history[0].fate, "done");
    // A veto ends a delegation, and where there is none there is nothing to end.
    let veto = |task: &str| Command::Veto { task: task.into(), why: String::new() };
    assert_eq!(room.ask(0, veto(&task)).unwrap_err().kind, ErrorKind::Conflict);
    let (mut room, task, _) = at_bob();
    room.ask(0, veto(&task)).unwrap();
    assert_eq!(view(&mut room, &task).history[0].fate, "lost: its owner ended the delegation");
    assert_eq!(room.ask(0, veto(&task)).unwrap_err().kind, ErrorKind::Conflict, "it is here");
}

// spec: DEL-3, DEL-11
#[test]
fn a_peer_that_is_back_is_offered_again_what_it_did_not_hear_and_asked_how_the_rest_is() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.grant(1, "alice");
    let on = Some("bob-laptop".to_owned());
    let submits = Command::Submit(Box::new(Draft { on, ..draft("word-count", 1) }));
    does(&mut room, 0, Input::Command(CommandId(77), Box::new(submits)));
    let back = |room: &mut Room, number: usize| {
        let peer = room.key(number);
        let outputs = does(room, 0, Input::Connected { peer, addr: addr(number) });
        let frames = outputs.into_iter().filter_map(|output| match output {
            Output::Send(to, Message::Task(id, frame)) => Some((room.number(to), id, frame)),
            _ => None,
        });
        frames.collect::<Vec<_>>()
    };
    let told = back(&mut room, 1);
    let [(1, id, TaskFrame::Offer(offer))] = &told[..] else { panic!("{told:?}") };
    assert_eq!((id.attempt, offer.attempt), (1, 1));
    assert_eq!(back(&mut room, 2), []);
    let bob = room.key(1);
    does(&mut room, 0, Input::Task(bob, *id, TaskFrame::Accepted));
    assert_eq!(back(&mut room, 1), [(1, *id, TaskFrame::Status)]);
    assert_eq!(back(&mut room, 2), []);
}

// spec: DEL-3
#[test]
fn an_owner_who_died_goes_on_waiting_for_whoever_has_its_task_and_no_longer_than_for_anybody() {
    let (mut room, task, _) = at_bob();
    room.apart = true;
    room.restart(0, "alice");
    room.pass(14_000);
    assert_eq!(room.state(0, &task).0, "running");
    room.pass(2_000);
    assert_eq!(room.state(0, &task).0, "waiting");
}

// spec: DEL-4
#[test]
fn what_is_being_put_in_place_is_put_there_to_the_end() {
    let (mut room, task, run) = rotates_at_bob();
    room.end(1, &run);
    assert_eq!(room.state(0, &task).0, "done");
    assert_eq!((room.peers[1].releases.len(), room.peers[1].forgotten.len()), (1, 0));
    // Its owner says otherwise too late, and a restart begins it anew.
    let from = room.key(0);
    room.handle(1, Input::Task(from, run.attempt, TaskFrame::Stop(Reason::Cancelled)));
    assert!(room.peers[1].forgotten.is_empty());
    room.restart(1, "bob");
    assert_eq!(room.peers[1].releases, [run.attempt; 2]);
    room.connect(0, 1);
    room.handle(1, Input::Run(run.attempt, RunEvent::Released(Released::Conflict("changed".into()))));
    assert_eq!(room.peers[1].forgotten, [run.attempt]);
    assert!(room.state(0, &task).1.contains("not put in place: changed"), "{}", room.state(0, &task).1);
}

// spec: PERM-5, DEL-12
#[test]
fn what_a_device_gives_is_given_to_the_last_byte_and_no_more() {
    let limits = Limits { memory_bytes: 1_000_000, duration_ms: 60_000, ..Limits::default() };
    let disk = 100 + limits.out_bytes + limits.stdout_bytes + limits.stderr_bytes;
    let two = Capacity { slots: 2, memory: 2_000_000, longest_ms: 60_000 };
    let large =
        |what: &str, wanted: u64, given: u64| Some(Reason::TooLarge { what: what.into(), wanted, given });
    let cases = [
        (two, 2 * disk, 2, None),
        (Capacity { longest_ms: 59_999, ..two }, 2 * disk, 0, large("milliseconds", 60_000, 59_999)),
        (Capacity { memory: 1_999_999, ..two }, 2 * disk, 1, Some(Reason::NoCapacity)),
        (Capacity { memory: 1_000_000, ..two }, 2 * disk, 1, Some(Reason::NoCapacity)),
        (Capacity { memory: 999_999, ..two }, 2 * disk, 0, large("bytes of memory", 1_000_000, 999_999)),
        (Capacity { slots: 1, ..two }, 2 * disk, 1, Some(Reason::NoCapacity)),
        (Capacity { slots: 0, ..two }, 2 * disk, 0, Some(Reason::NoCapacity)),
        (two, 2 * disk - 1, 1, large("bytes of disk beside what runs there", disk, disk - 1)),
        (two, disk, 1, large("bytes of disk beside what runs there", disk, 0)),
        (two, disk - 1, 0, large("bytes of disk", disk, disk - 1)),
    ];
    for (capacity, disk_bytes, runs, why) in cases {
        let mut room = Room::community(&["alice"]);
        room.handle(0, Input::Capacity(capacity));
        room.handle(0, Input::Terms(Box::new(Terms { disk_bytes, ..Terms::default() })));
        let tasks = [1, 2].map(|nonce| {
            let draft = Draft { limits: limits.clone(), ..draft("word-count", nonce) };
            room.submit_draft(0, draft).unwrap()
        });
        room.pass(100);
        let told = room.state(0, &tasks[1]).1;
        assert_eq!(room.peers[0].runs.len(), runs, "{capacity:?}, {disk_bytes}: {told}");
        if let Some(why) = why {
            assert!(told.contains(&format!("this device: {why}")), "{capacity:?}, {disk_bytes}: {told}");
        }
    }
}

// spec: DEL-1, DEL-8, CLI-5
#[test]
fn what_cannot_be_submitted_is_refused_with_what_would_help() {
    let mut room = Room::community(&["alice", "bob"]);
    let mut refused = |draft: Draft| {
        let error = room.ask(0, Command::Submit(Box::new(draft))).unwrap_err();
        (error.message, error.hint.unwrap_or_default())
    };
    let named = Draft { on: Some("bob-laptop".into()), ..draft("word-count", 1) };
    let (message, hint) = refused(Draft { replicas: 2, quorum: 2, ..named.clone() });
    assert!(message.contains("one peer is named") && hint.contains("--replicas"), "{message}; {hint}");
    let (message, hint) = refused(Draft { replicas: 3, quorum: 2, ..draft("word-count", 1) });
    let words = "3 replicas run on devices of as many different owners, and 2 members have devices here";
    assert!(message.contains(words) && hint.contains("mesh members"), "{message}; {hint}");
    let mut alone = Room::community(&["alice"]);
    let two = Draft { replicas: 2, quorum: 2, ..draft("word-count", 1) };
    let message = alone.ask(0, Command::Submit(Box::new(two.clone()))).unwrap_err().message;
    assert!(message.ends_with("and one member has a device here"), "{message}");
    let (message, _) = refused(Draft { name: "No Name".into(), ..draft("word-count", 1) });
    assert!(message.starts_with("submit: its name must be"), "{message}");
    room.submit_draft(0, two).unwrap();
    // Said again it is the same.
    let named = Draft { nonce: [2; 32], ..named };
    let first = room.submit_draft(0, named.clone()).unwrap();
    let again = room.ask(0, Command::Submit(Box::new(named))).unwrap();
    let Answer::Submitted { task, again: true, .. } = again else { panic!("{again:?}") };
    assert_eq!(task.to_string(), first);
}

// spec: DEL-3, DEL-9
#[test]
fn an_offer_is_waited_for_for_five_seconds_and_a_peer_that_took_it_for_as_long_as_the_rules_say() {
    let mut room = Room::community(&["alice", "bob"]);
    room.grant(1, "alice");
    let on = Some("bob-laptop".to_owned());
    let submits = Command::Submit(Box::new(Draft { on, ..draft("word-count", 1) }));
    let outputs = does(&mut room, 0, Input::Command(CommandId(77), Box::new(submits)));
    let offered = |outputs: &[Output]| -> Vec<u32> {
        let offers = outputs.iter().filter_map(|output| match output {
            Output::Send(_, Message::Task(id, TaskFrame::Offer(_))) => Some(id.attempt),
            _ => None,
        });
        offers.collect()
    };
    let task = outputs.iter().find_map(|output| match output {
        Output::Send(_, Message::Task(id, TaskFrame::Offer(_))) => Some(id.task),
        _ => None,
    });
    let task = task.expect("bob is asked at once");
    let bob = room.key(1);
    let wait = |room: &mut Room, until: u64| {
        let mut all = Vec::new();
        while room.now.boot_ms < until {
            let step = room.peers[0].node.deadline().unwrap_or(until).clamp(room.now.boot_ms, until)
                - room.now.boot_ms;
            room.now = Now { boot_ms: room.now.boot_ms + step, wall_ms: room.now.wall_ms + step };
            all.extend(does(room, 0, Input::Wake));
        }
        all
    };
    let state = |room: &Room| room.peers[0].node.task_state(&task).unwrap().0;
    let begun = room.now.boot_ms;
    wait(&mut room, begun + 4_999);
    assert_eq!(state(&room), TaskState::Offered);
    let stops = |outputs: &[Output]| {
        let of = |output: &Output| matches!(output, Output::Send(to, Message::Task(_, TaskFrame::Stop(Reason::Fenced))) if *to == bob);
        outputs.iter().any(of)
    };
    let outputs = wait(&mut room, begun + 5_000);
    assert!(stops(&outputs) && state(&room) == TaskState::Waiting);
    // It is asked again, and takes it.
    let mut second = Vec::new();
    while second.is_empty() {
        let next = room.now.boot_ms + 1_000;
        second = offered(&wait(&mut room, next));
    }
    assert_eq!(second, [2]);
    let id = AttemptId { task, attempt: 2 };
    does(&mut room, 0, Input::Task(bob, id, TaskFrame::Accepted));
    let taken = room.now.boot_ms;
    let outputs = wait(&mut room, taken + 14_999);
    let renewals = outputs.iter().filter(|output| {
        matches!(output, Output::Send(_, Message::Task(of, TaskFrame::Renew { lease_ms: 30_000 })) if *of == id)
    });
    assert_eq!((renewals.count(), state(&room)), (2, TaskState::Running), "every five seconds");
    let outputs = wait(&mut room, taken + 15_000);
    assert!(stops(&outputs) && state(&room) == TaskState::Waiting);
}

/// Alice's task is for bob, who answers each offer at once with this: how long after each the next one comes.
fn asked_again_after(answer: fn() -> TaskFrame, most: usize) -> Vec<u64> {
    let mut room = Room::community_by(&["alice", "bob"], Rules { entries_per_hour: 0, ..Rules::default() });
    room.grant(1, "alice");
    let on = Some("bob-laptop".to_owned());
    let submits = Command::Submit(Box::new(Draft { on, ..draft("word-count", 1) }));
    let mut outputs = does(&mut room, 0, Input::Command(CommandId(77), Box::new(submits)));
    let (bob, end) = (room.key(1), room.now.boot_ms + 3_600_000);
    let mut asked = Vec::new();
    loop {
        let offered = outputs.iter().find_map(|output| match output {
            Output::Send(to, Message::Task(id, TaskFrame::Offer(_))) if *to == bob => Some(*id),
            _ => None,
        });
        if let Some(id) = offered {
            asked.push(room.now.boot_ms);
            outputs = does(&mut room, 0, Input::Task(bob, id, answer()));
            continue;
        }
        let next = room.peers[0].node.deadline().filter(|at| asked.len() <= most && *at <= end);
        let Some(next) = next else { break };
        let step = next.saturating_sub(room.now.boot_ms);
        room.now = Now { boot_ms: room.now.boot_ms + step, wall_ms: room.now.wall_ms + step };
        outputs = does(&mut room, 0, Input::Wake);
    }
    asked.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// The same of bob who takes it and loses it at once for this reason.
fn given_again_after(reason: &Reason, most: usize) -> Vec<u64> {
    let mut room = Room::community_by(&["alice", "bob"], Rules { entries_per_hour: 0, ..Rules::default() });
    room.grant(1, "alice");
    let on = Some("bob-laptop".to_owned());
    room.submit_draft(0, Draft { on, ..draft("word-count", 1) }).unwrap();
    let mut waits = Vec::new();
    while waits.len() < most {
        let run = room.peers[1].runs.pop().expect("bob has it");
        room.handle(1, Input::Run(run.attempt, RunEvent::Lost(reason.clone())));
        let lost = room.now.boot_ms;
        while room.peers[1].runs.is_empty() {
            room.pass(100);
            if room.now.boot_ms > lost + 600_000 {
                return waits;
            }
        }
        waits.push((room.now.boot_ms - lost) / 1_000);
    }
    waits
}

// spec: DEL-3, NET-4, PERM-5
#[test]
fn who_refuses_or_loses_a_task_is_asked_again_ever_later_and_never_where_that_would_change_nothing() {
    let refused = asked_again_after(|| TaskFrame::Refused(Reason::OverQuota), 6);
    assert_eq!(refused, [500, 1_000, 2_000, 4_000, 8_000, 16_000]);
    let later = asked_again_after(|| TaskFrame::Refused(Reason::PutOffByOwner("tea".into())), 2);
    assert_eq!(later, [500, 1_000]);
    let no = || TaskFrame::Refused(Reason::RefusedByOwner("no".into()));
    assert_eq!(asked_again_after(no, 1), []);
    // After the fifth failure it is given up.
    assert_eq!(given_again_after(&Reason::Restarted, 8), [32, 60, 60, 60]);
    for never in [Reason::VetoedByDonor, Reason::Inadmissible("its module".into())] {
        assert_eq!(given_again_after(&never, 1), [], "{never}");
    }
}

// spec: LED-10, NET-8
#[test]
fn what_five_others_say_that_they_have_seen_nobody_else_need_say() {
    let names: Vec<String> = (0..12).map(|number| format!("member-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut room = Room::community_by(&names, Rules { sponsors: 1, ..Rules::default() });
    room.pass(130_000);
    let task: TaskId = room.submit(0, 1).parse().unwrap();
    room.pass(130_000);
    let alice = room.key(0);
    let entries = room.peers[0].entries.values().map(|bytes| Entry::trusted(bytes).unwrap());
    let entries: Vec<Entry> = entries.collect();
    let submitted = entries
        .iter()
        .find(|entry| matches!(entry.payload(), Payload::TaskSubmitted(submitted) if submitted.task == task));
    let seq = submitted.unwrap().header().seq;
    let witnesses = room.peers[0].node.ledger().witnesses(&alice, seq).len();
    assert!((5..=8).contains(&witnesses), "{witnesses} of eleven");
}

// spec: DEL-11, DEL-8
#[test]
fn an_offer_of_what_is_over_by_its_owners_own_word_comes_too_late_and_one_of_another_replica_does_not() {
    type Change = fn(&mut TaskSpec);
    type Word<'a> = &'a dyn Fn(TaskId) -> Payload;
    let delegated = |task, attempt| {
        let device = SecretKey::from_seed(&[21; 32]).public();
        Payload::Delegated { task, attempt, device, grant: None }
    };
    let plain: Change = |_| {};
    let replicated: Change = |spec| (spec.replicas, spec.quorum) = (2, 2);
    let cases: [(Change, Word<'_>, bool); 7] = [
        (plain, &|task| Payload::Cancelled { task }, true),
        (plain, &|task| Payload::Failed { task, attempts: 1, reason: Reason::Expired }, true),
        (plain, &|_| Payload::Cancelled { task: TaskId([9; 32]) }, false),
        (plain, &|task| delegated(task, 1), false),
        (plain, &|task| delegated(task, 2), true),
        (replicated, &|task| delegated(task, 2), false),
        (replicated, &|task| Payload::Cancelled { task }, true),
    ];
    for (number, (change, word, too_late)) in cases.into_iter().enumerate() {
        let (mut room, grant) = alice_takes_bobs();
        let (id, offer) = offer_by_bob(&mut room, Some(grant), change);
        says_to_alice(&mut room, word(id.task));
        let (refused, _) = taken(&mut room, id, offer);
        assert_eq!(refused, too_late.then_some(Reason::Fenced), "case {number}");
    }
}

// spec: DEL-3
#[test]
fn a_task_that_fails_wherever_it_runs_is_given_up_after_as_many_attempts_as_the_rules_allow() {
    let mut room = Room::community(&["alice", "bob"]);
    room.grant(1, "alice");
    let task = room.submit(0, 1);
    let mut begun = 0;
    for _ in 0..100 {
        for number in 0..2 {
            if let Some(run) = room.peers[number].runs.pop() {
                begun += 1;
                room.handle(number, Input::Run(run.attempt, RunEvent::Started));
                room.handle(
                    number,
                    Input::Run(run.attempt, RunEvent::Lost(Reason::StorageFailed("full".into()))),
                );
            }
        }
        room.pass(60_000);
    }
    let (state, why) = room.state(0, &task);
    assert_eq!((state.as_str(), begun), ("failed", Rules::default().max_attempts), "{why}");
}

// spec: NET-4, NET-5
#[test]
fn words_of_addresses_are_kept_and_passed_on_so_often_and_not_as_fast_as_a_line_allows() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    let (bob, community) = (room.key(1), room.peers[0].node.community().unwrap());
    let hello = |port: u16| HelloFrame::Hello {
        version: mesh_protocol::frame::VERSION,
        community,
        addrs: vec![std::net::SocketAddr::from(([192, 0, 2, 1], port))],
    };
    let before = room.peers[0].kept.len();
    for number in 0..1000 {
        room.handle(0, Input::Hello(bob, hello(1 + number % 2)));
    }
    let kept = room.peers[0].kept.len() - before;
    assert!((100..=120).contains(&kept), "{kept}");
    assert!(room.peers[0].node.counters().hellos_dropped >= 880);
    room.pass(60_000);
    room.handle(0, Input::Hello(bob, hello(3)));
    assert_eq!(room.peers[0].kept.len() - before, kept + 1, "each minute anew");
    // Where it is connected now it is known by, though it does not know that itself.
    let Some(Record::Put { value, .. }) = room.peers[0].kept.last() else { panic!("nothing was kept") };
    let known: PeerAddrs = mesh_protocol::canonical::decode(value).unwrap();
    assert_eq!(known.addrs, [addr(1), std::net::SocketAddr::from(([192, 0, 2, 1], 3))]);
}

// spec: NET-4, NET-5
#[test]
fn so_many_words_of_addresses_are_heard_in_a_minute_and_no_more() {
    let mut room = Room::community(&["alice", "bob"]);
    room.pass(61_000);
    let (bob, community) = (room.key(1), room.peers[0].node.community().unwrap());
    let dropped = |room: &mut Room, after_ms: u64| {
        room.pass(after_ms);
        let (version, addrs) = (mesh_protocol::frame::VERSION, vec![addr(1)]);
        room.handle(0, Input::Hello(bob, HelloFrame::Hello { version, community, addrs }));
        room.peers[0].node.counters().hellos_dropped
    };
    let told: Vec<u64> = (0..121).map(|_| dropped(&mut room, 0)).collect();
    assert_eq!((told[119], told[120]), (0, 1));
    assert_eq!(dropped(&mut room, 59_999), 2);
    assert_eq!(dropped(&mut room, 1), 2, "a minute after the first");
}

// spec: NET-4, NET-8
#[test]
fn ads_are_taken_from_whoever_they_are_of_while_they_are_new_and_few() {
    let mut room = Room::community(&["alice", "bob"]);
    room.pass(61_000);
    let (bob, key) = (room.key(1), SecretKey::from_seed(&[11; 32]));
    let ad = |room: &Room, serial: u64| mesh_protocol::ad::Ad {
        community: room.peers[0].node.community().unwrap(),
        device: bob,
        serial,
        holds_ms: 60_000,
        energy: None,
        outlook: Default::default(),
        free_slots: 3,
        free_memory: 1 << 30,
        longest_ms: 3_600_000,
        profile: profile().id(),
        closed: None,
    };
    let hear = |room: &mut Room, signed| {
        room.handle(0, Input::Hello(bob, HelloFrame::Ad(Box::new(signed))));
        room.peers[0].node.counters().ads_dropped
    };
    let first = ad(&room, 10).sign(&key);
    assert_eq!(hear(&mut room, first.clone()), 0);
    let elsewhere = mesh_protocol::ad::Ad { community: CommunityId([7; 32]), ..ad(&room, 11) };
    let other = mesh_protocol::ad::Ad { device: room.key(0), ..ad(&room, 11) };
    let unsigned = mesh_protocol::ad::SignedAd { signature: first.signature, ad: ad(&room, 11) };
    let wrong = [first, ad(&room, 9).sign(&key), elsewhere.sign(&key), other.sign(&key), unsigned];
    for (ad, dropped) in wrong.into_iter().zip(1..) {
        assert_eq!(hear(&mut room, ad), dropped);
    }
    // Four a minute by the rules, and eight beside; six have come.
    for serial in 11..17 {
        let signed = ad(&room, serial).sign(&key);
        assert_eq!(hear(&mut room, signed), 5);
    }
    for (later_ms, serial, dropped) in [(0, 17, 6), (59_999, 18, 7), (1, 19, 7)] {
        room.pass(later_ms);
        let signed = ad(&room, serial).sign(&key);
        assert_eq!(hear(&mut room, signed), dropped, "after {later_ms} ms");
    }
    // It holds so long.
    let slots = |room: &mut Room| match room.ask(0, Command::Peers).unwrap() {
        Answer::Peers(views) => views.iter().find(|view| view.device == bob).unwrap().free_slots,
        other => panic!("{other:?}"),
    };
    let until = room.now.boot_ms + 60_000;
    assert_eq!(slots(&mut room), Some(3));
    room.pass(until - room.now.boot_ms);
    assert_eq!(slots(&mut room), Some(3));
    room.pass(1 + until.saturating_sub(room.now.boot_ms));
    assert_eq!(slots(&mut room), None);
}

// spec: NET-2, NET-4
#[test]
fn so_many_tickets_are_open_at_once_and_one_is_until_its_end() {
    let mut room = Room::community(&["alice", "bob"]);
    room.pass(61_000);
    let invite = |room: &mut Room| {
        let ticket = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
        room.ask(0, ticket)
    };
    let until = room.now.wall_ms + 60_000;
    let Ok(Answer::Ticket(first)) = invite(&mut room) else { panic!("no ticket") };
    for _ in 1..256 {
        invite(&mut room).unwrap();
    }
    let refused = invite(&mut room).unwrap_err();
    assert!(refused.message.contains("256 are open"), "{refused:?}");
    room.pass(until - 1 - room.now.wall_ms);
    invite(&mut room).unwrap_err();
    room.now.wall_ms = until;
    // Whoever would join by the first learns the same.
    room.add("carol", 2, 2);
    let join = Command::Join { ticket: first, as_device_of: None };
    assert!(room.ask(2, join).unwrap_err().message.contains("expired"));
    room.now.wall_ms = until;
    invite(&mut room).unwrap();
    room.now.wall_ms = until;
    invite(&mut room).unwrap_err();
}

// spec: LED-10, NET-4
#[test]
fn what_is_dated_too_far_ahead_or_belongs_elsewhere_is_counted_and_not_taken() {
    let mut room = Room::community(&["alice", "bob"]);
    let (bob, skew) = (room.key(1), Rules::default().max_skew_ms);
    let ignored = |room: &mut Room, entry: Entry| {
        room.handle(0, Input::Gossip(bob, Box::new(entry.clone())));
        (room.peers[0].node.counters().entries_ignored, room.peers[0].node.ledger().has(&entry.tip()))
    };
    let at = room.now.wall_ms + skew;
    let ahead = Forger::of(&room, 1).write(at + 1, Payload::PeerOnline);
    assert_eq!(ignored(&mut room, ahead), (1, false));
    let community = CommunityId([7; 32]);
    let elsewhere = Forger { community, ..Forger::of(&room, 1) }.write(at, Payload::PeerOnline);
    assert_eq!(ignored(&mut room, elsewhere), (2, false));
    let as_far_as_may_be = Forger::of(&room, 1).write(at, Payload::PeerOnline);
    assert_eq!(ignored(&mut room, as_far_as_may_be), (2, true));
}

// spec: LED-5
#[test]
fn who_asks_where_its_log_ends_writes_nothing_until_two_have_answered_and_then_at_once() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.apart = true;
    room.restart(0, "alice");
    let write = |room: &mut Room, zone: &str| room.ask(0, Command::SetZone { zone: zone.into() });
    for answered in 0..2 {
        let refused = write(&mut room, "Europe/Berlin").unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Unavailable);
        assert!(refused.message.contains(&format!("; {answered} have answered")), "{refused:?}");
        room.connect(0, 1 + answered);
    }
    write(&mut room, "Europe/Paris").unwrap();
}

// spec: EN-5, ARC-3
#[test]
fn what_is_expected_of_energy_outlives_a_restart() {
    let mut room = Room::community(&["alice"]);
    let claim = mesh_protocol::ad::EnergyClaim {
        source: mesh_protocol::ad::Source::Grid,
        renewable_percent: 40,
        g_per_kwh: 300,
    };
    let reads = |room: &mut Room| {
        let reading = mesh_protocol::energy::Reading::of(claim, "fixed");
        room.handle(0, Input::Energy(Some(Box::new(reading)), None));
        let node = &room.peers[0].node;
        assert_eq!(node.energy(), Some(claim));
        node.outlook().clone()
    };
    let before = reads(&mut room);
    let hour = room.now.wall_ms / 3_600_000;
    room.handle(0, Input::Forecast(mesh_node::Forecast { hour, g_per_kwh: vec![70; 24] }));
    let expected = room.peers[0].node.outlook().clone();
    assert_ne!(expected, before);
    room.restart(0, "alice");
    assert_eq!(reads(&mut room), expected);
}

// spec: NET-2, CLI-5
#[test]
fn who_waits_for_a_second_sponsor_waits_on_after_a_restart() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.add("dora", 3, 3);
    let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
    let Answer::Ticket(ticket) = room.ask(0, invite.clone()).unwrap() else { panic!("no ticket") };
    let joined = room.ask(3, Command::Join { ticket, as_device_of: None }).unwrap();
    assert!(matches!(joined, Answer::Joined { pending: true, .. }), "{joined:?}");
    let trouble = |room: &mut Room| match room.ask(3, Command::Status).unwrap() {
        Answer::Status(status) => status.trouble.join("; "),
        other => panic!("{other:?}"),
    };
    for _ in 0..2 {
        let told = trouble(&mut room);
        assert!(told.contains("\"Street\"") && told.contains("mesh members sponsor dora"), "{told}");
        // Longer than its ticket is good, and another was made since.
        room.pass(100_000);
        room.ask(0, invite.clone()).unwrap();
        room.restart(3, "dora");
        assert!(trouble(&mut room).contains("Street"));
        room.connect(0, 3);
        room.pass(1000);
    }
    room.ask(1, Command::Sponsor { user: "dora".into() }).unwrap();
    room.pass(5000);
    for number in [0, 3] {
        let governance = room.peers[number].node.ledger().governance();
        assert!(governance.owner(&room.key(3)).is_some(), "as peer {number} has it");
    }
    let is_kept = |room: &Room| {
        let of = |record: &&Record| matches!(record, Record::Put { key, .. } | Record::Delete { key, .. } if key == b"joining");
        matches!(room.peers[3].kept.iter().rev().find(of), Some(Record::Put { .. }))
    };
    assert!(!is_kept(&room), "the ticket is forgotten");
    room.restart(3, "dora");
    assert!(!trouble(&mut room).contains("join"));
}

/// Anybody can write a grant for anybody's device.
// spec: PERM-1, NET-8
#[test]
fn a_grant_that_the_owner_of_the_device_did_not_give_makes_it_no_donor() {
    let names: Vec<String> = (0..20).map(|number| format!("member-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut room = Room::community_by(&names, Rules { sponsors: 1, ..Rules::default() });
    let mut forger = Forger::of(&room, 1);
    let user = room.peers[0].node.ledger().governance().owner(&room.key(0)).unwrap();
    for number in 2..20 {
        let (device, permissions) = (room.key(number), Permissions::default());
        let pattern = Pattern::new("*").unwrap();
        let grant = Grant { device, user, pattern, module: None, until_ms: None, permissions };
        let entry = forger.write(room.now.wall_ms + number as u64, Payload::Granted(Box::new(grant)));
        room.handle(0, Input::Gossip(room.key(1), Box::new(entry)));
    }
    room.pass(1_000);
    room.apart = true;
    room.dials.clear();
    room.restart(0, names[0]);
    let dialled = room.dials.iter().filter(|(by, _)| *by == 0).count();
    assert!((1..=12).contains(&dialled), "{dialled} dialled at once");
}

/// Devices that let alice's tasks run are dialled beside the twelve that anybody is.
// spec: PERM-1, NET-8
#[test]
fn a_donor_is_one_until_its_grant_ends_or_its_owner_takes_it_back() {
    let names: Vec<String> = (0..14).map(|number| format!("member-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (left_ms, revoked, dialled) in
        [(1, None, 13), (0, None, 12), (1, Some(false), 13), (1, Some(true), 12)]
    {
        let mut room = Room::community_by(&names, Rules { sponsors: 1, ..Rules::default() });
        room.apart = true;
        let user = room.peers[0].node.ledger().governance().owner(&room.key(0)).unwrap();
        let until_ms = Some(room.now.wall_ms + 60_000);
        for number in 1..14 {
            let (device, permissions) = (room.key(number), Permissions::default());
            let pattern = Pattern::new("*").unwrap();
            let grant = Grant { device, user, pattern, module: None, until_ms, permissions };
            let say = |room: &mut Room, by: usize, payload: Payload| {
                // As her ledger has their log.
                let tip = room.peers[0].node.ledger().tip(&room.key(by));
                let at = room.now.wall_ms + tip.map_or(0, |tip| tip.seq);
                let entry = Forger { tip, ..Forger::of(room, by) }.write(at, payload);
                room.handle(0, Input::Gossip(device, Box::new(entry.clone())));
                entry.id()
            };
            let grant = say(&mut room, number, Payload::Granted(Box::new(grant)));
            if let Some(by_owner) = revoked {
                let other = if number == 1 { 2 } else { number - 1 };
                say(&mut room, if by_owner { number } else { other }, Payload::Revoked { grant });
            }
        }
        room.now.wall_ms += 60_000 - left_ms;
        room.dials.clear();
        room.restart(0, names[0]);
        let by_her = room.dials.iter().filter(|(by, _)| *by == 0).count();
        assert_eq!(by_her, dialled, "{left_ms} ms left, revoked by their owners: {revoked:?}");
    }
}

// spec: PERM-1, NET-8
#[test]
fn who_grants_something_is_dialled_at_once_beside_all_that_are_and_once() {
    let names: Vec<String> = (0..16).map(|number| format!("member-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut room = Room::community_by(&names, Rules { sponsors: 1, ..Rules::default() });
    room.apart = true;
    room.dials.clear();
    room.restart(0, names[0]);
    let dialled: Vec<usize> = room.dials.iter().map(|(_, to)| *to).collect();
    assert_eq!(dialled.len(), 12);
    let left: Vec<usize> = (1..16).filter(|number| !dialled.contains(number)).collect();
    let user = room.peers[0].node.ledger().governance().owner(&room.key(0)).unwrap();
    let grants = |room: &mut Room, by: usize| {
        let (device, permissions) = (room.key(by), Permissions::default());
        let pattern = Pattern::new("*").unwrap();
        let grant = Grant { device, user, pattern, module: None, until_ms: None, permissions };
        let entry = Forger::of(room, by).write(room.now.wall_ms, Payload::Granted(Box::new(grant)));
        room.dials.clear();
        room.handle(0, Input::Gossip(room.key(dialled[0]), Box::new(entry)));
        room.dials.iter().filter(|dial| **dial == (0, by)).count()
    };
    for number in &left {
        assert_eq!(grants(&mut room, *number), 1, "member-{number}");
    }
    // Whoever is dialled already, or there, need not be again.
    assert_eq!(grants(&mut room, dialled[1]), 0);
    room.connect(0, dialled[2]);
    assert_eq!(grants(&mut room, dialled[2]), 0);
}

// spec: NET-5, NET-8
#[test]
fn where_a_donor_is_that_nobody_knows_is_asked_ever_less_often() {
    let mut room = Room::community_by(&["alice", "bob", "carol"], Rules { sponsors: 1, ..Rules::default() });
    room.grant(2, "alice");
    room.apart = true;
    room.disconnect(0, 2);
    room.disconnect(1, 2);
    let carol = room.key(2);
    // Where she is was never heard.
    for (number, name) in [(0, "alice"), (1, "bob")] {
        room.peers[number]
            .kept
            .retain(|record| !matches!(record, Record::Put { key, .. } if *key == carol.0));
        room.restart(number, name);
    }
    room.connect(0, 1);
    let mut asked = Vec::new();
    let (began, end) = (room.now.boot_ms, room.now.boot_ms + 3 * 3_600_000);
    let bob = room.key(1);
    while room.now.boot_ms < end {
        room.now.boot_ms += 1_000;
        room.now.wall_ms += 1_000;
        let now = room.now;
        let node = &mut room.peers[0].node;
        node.handle(now, Input::Wake);
        while let Some(output) = node.poll() {
            if let Output::Send(to, Message::Hello(HelloFrame::Seek(sought))) = output {
                assert_eq!((to, sought), (bob, vec![carol]));
                asked.push(now.boot_ms - began);
            }
        }
    }
    // Logs are compared every few seconds, and it is asked on such an occasion.
    assert!(asked[0] < 20_000, "{asked:?}");
    let waits: Vec<u64> = asked.windows(2).map(|two| two[1] - two[0]).collect();
    for (wait, least) in waits.iter().zip([5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 600_000])
    {
        assert!((least..least + 15_000).contains(wait), "{waits:?}");
    }
    assert!(waits[7..].iter().all(|wait| (600_000..615_000).contains(wait)), "{waits:?}");
    // Somebody new may be there to be asked for.
    let user = room.peers[0].node.ledger().governance().owner(&room.key(0)).unwrap();
    let grant = Grant {
        device: bob,
        user,
        pattern: Pattern::new("*").unwrap(),
        module: None,
        until_ms: None,
        permissions: Permissions::default(),
    };
    let entry = Forger::of(&room, 1).write(room.now.wall_ms, Payload::Granted(Box::new(grant)));
    let now = room.now;
    let node = &mut room.peers[0].node;
    node.handle(now, Input::Gossip(bob, Box::new(entry)));
    let mut again = 0;
    for later in 1..20 {
        let (boot_ms, wall_ms) = (now.boot_ms + later * 1_000, now.wall_ms + later * 1_000);
        node.handle(Now { boot_ms, wall_ms }, Input::Wake);
        while let Some(output) = node.poll() {
            again += usize::from(matches!(output, Output::Send(_, Message::Hello(HelloFrame::Seek(_)))));
        }
    }
    assert!(again > 0);
}

// spec: NET-4, NET-8
#[test]
fn of_a_thousand_remembered_one_that_is_not_needed_makes_way_for_a_donor() {
    let mut room = Room::community_by(&["alice", "bob", "carol"], Rules { sponsors: 1, ..Rules::default() });
    room.apart = true;
    let (bob, carol) = (room.key(1), room.key(2));
    room.peers[0].kept.retain(|record| {
        !matches!(record, Record::Put { key, .. } | Record::Delete { key, .. } if *key == bob.0 || *key == carol.0)
    });
    let stranger = |number: u16| {
        let mut key = [200; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        PublicKey(key)
    };
    // With bob they are as many as are remembered.
    for number in 0..1023 {
        let known = PeerAddrs { peer: stranger(number), addrs: vec![addr(9)] };
        let (key, value) = (known.peer.0.to_vec(), mesh_protocol::canonical::encode(&known));
        room.peers[0].kept.push(Record::Put { table: mesh_protocol::record::Table::Peers, key, value });
    }
    room.restart(0, "alice");
    room.connect(0, 1);
    let now = room.now;
    let told = || HelloFrame::Peers(vec![PeerAddrs { peer: carol, addrs: vec![addr(2)] }]);
    let granted = {
        let user = room.peers[0].node.ledger().governance().owner(&room.key(0)).unwrap();
        let (pattern, permissions) = (Pattern::new("*").unwrap(), Permissions::default());
        let grant = Grant { device: carol, user, pattern, module: None, until_ms: None, permissions };
        Forger::of(&room, 2).write(room.now.wall_ms, Payload::Granted(Box::new(grant)))
    };
    let node = &mut room.peers[0].node;
    let kept = |node: &mut mesh_node::Node, input: Input| {
        node.handle(now, input);
        let outputs: Vec<Output> = std::iter::from_fn(|| node.poll()).collect();
        let records = outputs.into_iter().filter_map(|output| match output {
            Output::Persist(Record::Put { table: mesh_protocol::record::Table::Peers, key, .. }) => {
                Some((true, key))
            }
            Output::Persist(Record::Delete { table: mesh_protocol::record::Table::Peers, key }) => {
                Some((false, key))
            }
            _ => None,
        });
        records.collect::<Vec<_>>()
    };
    // All but one of them are there.
    for number in 1..1023 {
        kept(node, Input::Connected { peer: stranger(number), addr: addr(9) });
    }
    assert_eq!(kept(node, Input::Hello(bob, told())), [], "there is no room for carol");
    kept(node, Input::Gossip(bob, Box::new(granted)));
    assert_eq!(
        kept(node, Input::Hello(bob, told())),
        [(false, stranger(0).0.to_vec()), (true, carol.0.to_vec())]
    );
}

// spec: LED-5
#[test]
fn of_its_own_log_a_device_asks_for_what_follows_the_end_that_it_has() {
    let mut room = Room::community(&["alice", "bob"]);
    let (alice, bob) = (room.key(0), room.key(1));
    room.submit(0, 1);
    let tip = room.peers[0].node.ledger().tip(&alice).unwrap();
    room.apart = true;
    room.peers[0].entries.retain(|(by, seq), _| *by != alice || *seq < tip.seq - 1);
    room.restart(0, "alice");
    let now = room.now;
    let node = &mut room.peers[0].node;
    let mut wanted = |tip: Option<Tip>| {
        node.handle(now, Input::Hello(bob, HelloFrame::TipAnswer(tip)));
        let outputs: Vec<Output> = std::iter::from_fn(|| node.poll()).collect();
        let wants = outputs.into_iter().filter_map(|output| match output {
            Output::Send(to, Message::Sync(SyncFrame::Want(wants))) if to == bob => Some(wants),
            _ => None,
        });
        wants.flatten().collect::<Vec<_>>()
    };
    assert_eq!(wanted(Some(tip)), [(alice, tip.seq - 1)]);
    // Of nobody else's log, and not where it knows as much itself.
    assert_eq!(wanted(Some(Tip { author: bob, ..tip })), []);
    assert_eq!(wanted(Some(Tip { seq: tip.seq - 2, ..tip })), []);
}

// spec: CLI-5
#[test]
fn who_joins_is_told_when_its_sponsor_is_not_reached_and_of_nobody_else() {
    let mut room = Room::community(&["alice", "bob"]);
    room.add("carol", 2, 2);
    let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
    let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
    room.apart = true;
    let id = CommandId(1_000);
    let join = Command::Join { ticket: ticket.clone(), as_device_of: None };
    room.handle(2, Input::Command(id, Box::new(join)));
    let unreached = |room: &mut Room, number: usize| {
        let peer = room.key(number);
        room.handle(2, Input::Unreachable { peer, why: "no route".into() });
        std::mem::take(&mut room.peers[2].answers)
    };
    assert!(unreached(&mut room, 1).is_empty());
    let answers = unreached(&mut room, 0);
    let [(answered, Err(refused))] = answers.as_slice() else { panic!("{answers:?}") };
    assert!(*answered == id && refused.message.contains("no route"), "{refused:?}");
    assert!(refused.hint.as_deref().is_some_and(|hint| hint.contains("mesh up")));
    // Once it is let in the way to its sponsor is no matter of the ticket any more.
    let alice = room.key(0);
    let join = Command::Join { ticket, as_device_of: None };
    room.handle(2, Input::Command(id, Box::new(join)));
    let admitted = HelloFrame::JoinAnswer(JoinAnswer::Admitted(EntryId::ZERO));
    room.handle(2, Input::Hello(alice, admitted));
    assert!(unreached(&mut room, 0).is_empty());
}

// spec: NET-1, NET-2
#[test]
fn a_members_device_is_made_nobody_elses_by_their_ticket() {
    let mut room = Room::community(&["alice", "bob"]);
    let invite = Command::Invite { kind: TicketKind::Device, valid_ms: 60_000, addrs: vec![addr(0)] };
    let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
    let ticket: mesh_protocol::invite::Ticket = ticket.parse().unwrap();
    let key = SecretKey::from_seed(&ticket.secret);
    let device = |room: &mut Room, number: usize| {
        let device = SecretKey::from_seed(&[number as u8 * 10 + 1; 32]);
        let word = mesh_protocol::invite::consent(&device, &ticket.community, &ticket.user);
        let request = mesh_protocol::invite::DeviceRequest::sign("mine".into(), device.public(), word, &key);
        room.handle(0, Input::Hello(device.public(), HelloFrame::JoinDevice(Box::new(request))));
        let refused = room.peers[0].node.counters().joins_refused;
        (refused, room.peers[0].node.ledger().governance().owner(&device.public()))
    };
    let owner = |room: &Room, number| room.peers[0].node.ledger().governance().owner(&room.key(number));
    let (alice, bob) = (owner(&room, 0), owner(&room, 1));
    assert_eq!(device(&mut room, 1), (1, bob));
    // One that nobody has comes in by it, and again, and nobody after it.
    room.add("dora", 2, 2);
    room.add("erin", 3, 3);
    assert_eq!(device(&mut room, 2), (1, alice));
    assert_eq!(device(&mut room, 2), (1, alice));
    assert_eq!(device(&mut room, 3), (2, None));
}

// spec: PERM-4
#[test]
fn what_the_owner_takes_back_on_another_device_ends_here_when_it_is_heard() {
    let mut room = Room::community(&["alice", "bob"]);
    room.add("bob", 2, 1);
    let invite = Command::Invite { kind: TicketKind::Device, valid_ms: 60_000, addrs: vec![addr(1)] };
    let Answer::Ticket(ticket) = room.ask(1, invite).unwrap() else { panic!("no ticket") };
    room.ask(2, Command::Join { ticket, as_device_of: None }).unwrap();
    room.pass(5_000);
    let Command::Grant(request) = anything_of("alice") else { panic!() };
    let device = Some("bob-laptop".into());
    let granted = room.ask(2, Command::Grant(GrantRequest { device, ..request })).unwrap();
    let Answer::About { entry, .. } = granted else { panic!("{granted:?}") };
    room.pass(2_000);
    room.submit(0, 1);
    room.pass(1_000);
    let run = room.peers[1].runs.pop().expect("bob's first device runs it");
    room.handle(1, Input::Run(run.attempt, RunEvent::Started));
    room.ask(2, Command::Revoke { grant: entry.to_string() }).unwrap();
    assert_eq!(room.peers[1].wishes, [(run.attempt, Wish::Stop)]);
}

// spec: NET-5
#[test]
fn in_place_of_who_is_not_reached_others_are_dialled() {
    let names: Vec<String> = (0..20).map(|number| format!("member-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut room = Room::community_by(&names, Rules { sponsors: 1, ..Rules::default() });
    room.apart = true;
    room.dials.clear();
    room.restart(0, names[0]);
    let dialled = |room: &Room| -> Vec<usize> { room.dials.iter().map(|(_, to)| *to).collect() };
    let first = dialled(&room);
    room.dials.clear();
    for number in &first {
        let (peer, why) = (room.key(*number), "nobody answers".to_owned());
        room.handle(0, Input::Unreachable { peer, why });
    }
    let others = dialled(&room);
    assert!(others.iter().any(|number| !first.contains(number)), "{first:?}, then {others:?}");
    // Who is there already is not let go by such a word.
    let there = others[0];
    room.connect(0, there);
    room.dials.clear();
    room.handle(0, Input::Unreachable { peer: room.key(there), why: "late".into() });
    assert!(room.connected.contains(&(0, there)) && dialled(&room).is_empty());
}

// spec: NET-5, CLI-5
#[test]
fn who_belongs_already_learns_from_a_ticket_where_its_maker_is_now() {
    let mut room = Room::community_by(&["alice", "bob"], Rules { sponsors: 1, ..Rules::default() });
    room.apart = true;
    room.restart(1, "bob");
    room.disconnect(0, 1);
    let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(7)] };
    let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
    room.dials.clear();
    let joined = room.ask(1, Command::Join { ticket: ticket.clone(), as_device_of: None }).unwrap();
    assert!(matches!(joined, Answer::Joined { pending: false, .. }), "{joined:?}");
    assert_eq!(room.dials, [(1, 0)]);
    let Some(Record::Put { value, .. }) = room.peers[1].kept.last() else { panic!("it is not kept") };
    assert!(String::from_utf8_lossy(value).len() > 32, "where it is now is remembered");
    // Of another community it is none.
    let mut other = Room::community_by(&["carol"], Rules { sponsors: 1, ..Rules::default() });
    let refused = other.ask(0, Command::Join { ticket, as_device_of: None }).unwrap_err();
    assert!(refused.message.contains("belongs to a community already"), "{refused:?}");
    // Who was put out is told so, and not to begin a community.
    room.connect(0, 1);
    room.pass(5_000);
    room.ask(0, Command::Expel { user: "bob".into(), why: "noise".into() }).unwrap();
    room.pass(5_000);
    let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(1)] };
    let refused = room.ask(1, invite).unwrap_err();
    assert!(!refused.message.contains("no community"), "{refused:?}");
    assert!(refused.hint.is_some_and(|hint| hint.contains("mesh status")));
}

// spec: CLI-5, DEL-6
#[test]
fn who_waits_is_told_of_the_grant_that_is_missing_and_of_the_veto_that_keeps_it_here() {
    let mut room = Room::community_by(&["alice", "bob"], Rules { sponsors: 1, ..Rules::default() });
    let mut eco = draft("word-count", 1);
    eco.sla = Sla::Eco;
    let waits = room.submit_draft(0, eco).unwrap();
    room.pass(1_000);
    let why = room.state(0, &waits).1;
    assert!(why.contains("mesh grant --user"), "{why}");
    let named = Draft { on: Some("bob-laptop".into()), ..draft("word-count", 2) };
    let named = room.submit_draft(0, named).unwrap();
    room.pass(1_000);
    let why = room.state(0, &named).1;
    let words = Reason::NoGrant.to_string();
    assert!(why.contains(&format!("bob-laptop: {words}")), "{why}");
    room.grant(1, "alice");
    let why = room.state(0, &waits).1;
    assert!(!why.contains("mesh grant --user"), "{why}");
    assert!(!room.peers[1].runs.is_empty(), "{}", room.state(0, &named).1);
    room.ask(0, Command::Veto { task: named.clone(), why: String::new() }).unwrap();
    room.pass(1_000);
    let why = room.state(0, &named).1;
    assert!(why.contains("you vetoed it"), "{why}");
}

// spec: NET-2
#[test]
fn who_founds_a_community_waits_for_no_other_any_longer() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.add("dora", 3, 3);
    let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
    let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
    let joined = room.ask(3, Command::Join { ticket, as_device_of: None }).unwrap();
    assert!(matches!(joined, Answer::Joined { pending: true, .. }), "{joined:?}");
    // One that comes to nothing changes nothing.
    room.ask(3, Command::Found { name: "0123456789abcdef".into(), rules: Box::new(Rules::default()) })
        .unwrap_err();
    let Answer::Status(status) = room.ask(3, Command::Status).unwrap() else { panic!("no status") };
    assert!(status.trouble.iter().any(|it| it.contains("must vouch")), "{:?}", status.trouble);
    room.ask(3, Command::Found { name: "Own".into(), rules: Box::new(Rules::default()) }).unwrap();
    room.pass(5_000);
    room.restart(3, "dora");
    let Answer::Status(status) = room.ask(3, Command::Status).unwrap() else { panic!("no status") };
    assert_eq!(status.community.as_deref(), Some("Own"));
    assert_ne!(room.peers[3].node.community(), room.peers[0].node.community());
    let remembered = |record: &&Record| matches!(record, Record::Put { key, .. } if *key == room.key(0).0);
    assert!(
        room.peers[3].kept.iter().find(remembered).is_none(),
        "whoever let it in there is none of its peers"
    );
}

fn ticket(room: &mut Room, by: usize, kind: TicketKind) -> String {
    let invite = Command::Invite { kind, valid_ms: 60_000, addrs: vec![addr(by)] };
    match room.ask(by, invite).unwrap() {
        Answer::Ticket(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

fn trouble(room: &mut Room, number: usize) -> String {
    match room.ask(number, Command::Status).unwrap() {
        Answer::Status(status) => status.trouble.join("; "),
        other => panic!("{other:?}"),
    }
}

// spec: NET-1, NET-2, CLI-5
#[test]
fn who_waits_for_a_sponsor_that_cannot_write_is_told_so_and_of_no_second_sponsor() {
    for kind in [TicketKind::Member, TicketKind::Device] {
        let mut room = Room::community(&["alice", "bob", "carol"]);
        room.add("dora", 3, 3);
        let given = ticket(&mut room, 0, kind);
        // Nobody is there to say how long its log is.
        room.apart = true;
        room.restart(0, "alice");
        room.apart = false;
        let alice = SecretKey::from_seed(&[2; 32]).public().to_string();
        let as_device_of = (kind == TicketKind::Device).then(|| alice[..10].to_owned());
        let joined = room.ask(3, Command::Join { ticket: given, as_device_of }).unwrap();
        assert!(matches!(joined, Answer::Joined { pending: true, .. }), "{joined:?}");
        for _ in 0..2 {
            let told = trouble(&mut room, 3);
            assert!(told.contains("its sponsor cannot let it in yet"), "{told}");
            room.restart(3, "dora");
        }
        for other in [1, 2] {
            room.connect(0, other);
        }
        room.pass(10_000);
        room.disconnect(0, 3);
        room.connect(0, 3);
        room.pass(1_000);
        let told = trouble(&mut room, 3);
        match kind {
            TicketKind::Member => assert!(told.contains("must vouch"), "{told}"),
            TicketKind::Device => {
                let governance = room.peers[3].node.ledger().governance();
                assert_eq!(governance.owner(&room.key(3)), governance.owner(&room.key(0)), "{told}");
            }
        }
    }
}

// spec: NET-2, CLI-5
#[test]
fn who_was_let_in_and_has_no_ledger_yet_waits_for_that_alone() {
    let mut room = Room::community_by(&["alice", "bob"], Rules { sponsors: 1, ..Rules::default() });
    room.add("dora", 2, 2);
    let given = ticket(&mut room, 0, TicketKind::Member);
    // What dora asks is heard, and she is gone before the ledger comes.
    room.apart = true;
    let join = Command::Join { ticket: given, as_device_of: None };
    room.handle(2, Input::Command(CommandId(0), Box::new(join)));
    room.handle(2, Input::Connected { peer: room.key(0), addr: addr(0) });
    let admitted = HelloFrame::JoinAnswer(JoinAnswer::Admitted(EntryId::ZERO));
    room.handle(2, Input::Hello(room.key(0), admitted));
    for _ in 0..2 {
        let told = trouble(&mut room, 2);
        assert!(told.contains("waits for the ledger"), "{told}");
        room.restart(2, "dora");
    }
}

// spec: NET-2, LED-8
#[test]
fn a_sponsor_that_lost_its_ledger_is_asked_again_and_one_that_was_put_out_is_not() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    room.add("dora", 3, 3);
    let given = ticket(&mut room, 1, TicketKind::Member);
    let bob = room.key(1);
    room.apart = true;
    room.peers[1].entries.retain(|(by, _), _| *by == bob);
    room.restart(1, "bob");
    room.apart = false;
    let joined = room.ask(3, Command::Join { ticket: given, as_device_of: None }).unwrap();
    assert!(matches!(joined, Answer::Joined { pending: true, .. }), "{joined:?}");
    let told = trouble(&mut room, 3);
    assert!(told.contains("its sponsor cannot let it in yet"), "{told}");
    room.disconnect(1, 3);
    for other in [0, 2] {
        room.connect(1, other);
    }
    room.pass(60_000);
    room.ask(0, Command::Expel { user: "bob".into(), why: "noise".into() }).unwrap();
    room.pass(5_000);
    room.connect(1, 3);
    room.pass(1_000);
    let told = trouble(&mut room, 3);
    assert!(told.contains("belongs to no community"), "{told}");
    let of = |record: &&Record| matches!(record, Record::Put { key, .. } | Record::Delete { key, .. } if key == b"joining");
    let last = room.peers[3].kept.iter().rev().find(of);
    assert!(matches!(last, Some(Record::Delete { .. })), "nor is it dialled any more");
}
