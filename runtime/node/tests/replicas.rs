//! A result is more than one peer's word: replicas that agree or not, and second runs that nobody sees coming.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod room;

use mesh_node::ledger::conduct::Verdict;
use mesh_node::{Answer, Command, Draft, Input, Run, RunEvent, Unfetched};
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::energy::Reading;
use mesh_protocol::frame::{AttemptId, Ended, TaskFrame};
use mesh_protocol::ids::{BlobHash, Digest, TaskId};
use mesh_protocol::key::SecretKey;
use mesh_protocol::ledger::{Effect, Entry, Payload, Statement};
use mesh_protocol::limits::Limits;
use mesh_protocol::permissions::{Access, Permissions};
use mesh_protocol::receipt::{NotComparable, Receipt};
use mesh_protocol::rules::{Rules, Tier};
use mesh_protocol::task::{Blob, Sla};
use room::*;
use std::collections::BTreeMap;

/// Members who have belonged for long enough to earn something, and all of whom let alice's tasks run.
fn street(names: &[&str]) -> Room {
    let rules = Rules { vote_after_ms: 0, voting_window_ms: 0, ..Rules::default() };
    let mut room = Room::community_by(names, rules);
    for number in 1..names.len() {
        room.grant(number, "alice");
    }
    room
}

fn replicated(nonce: u8, replicas: u8, quorum: u8) -> Draft {
    let limits = Limits { duration_ms: 60_000, ..Limits::default() };
    Draft { replicas, quorum, sla: Sla::Urgent, limits, ..draft("word-count", nonce) }
}

fn runs(room: &mut Room) -> BTreeMap<usize, Run> {
    let mut all = BTreeMap::new();
    for number in 0..room.peers.len() {
        let mut of = std::mem::take(&mut room.peers[number].runs);
        assert!(of.len() < 2, "one owner runs one of them");
        all.extend(of.pop().map(|run| (number, run)));
    }
    all
}

/// The results that a peer's ledger has of alice's task.
fn results(room: &Room, at: usize, task: &str) -> BTreeMap<u32, Effect> {
    let key = (room.key(0), task.parse::<TaskId>().unwrap());
    let tasks = room.peers[at].node.ledger().facts().tasks();
    tasks.results(&key).map(|(attempt, ran)| (attempt, ran.effect)).collect()
}

fn verdicts(room: &Room, at: usize, task: &str) -> BTreeMap<u32, Verdict> {
    let ledger = room.peers[at].node.ledger();
    ledger.facts().verdicts(&room.key(0), &task.parse().unwrap(), ledger.governance(), u64::MAX)
}

fn reputation(room: &mut Room, at: usize, user: &str) -> (u64, BTreeMap<&'static str, i64>) {
    match room.ask(at, Command::Reputation { user: Some(user.into()) }).unwrap() {
        Answer::Reputation(view) => (view.sum, view.terms.into_iter().collect()),
        other => panic!("{other:?}"),
    }
}

// spec: DEL-8
#[test]
fn replicas_run_with_different_owners_and_the_result_they_agree_on_takes_effect_once() {
    let mut room = street(&["alice", "bob", "carol"]);
    let task = room.submit_draft(0, replicated(1, 3, 2)).unwrap();
    let all = runs(&mut room);
    assert_eq!(all.keys().copied().collect::<Vec<_>>(), [0, 1, 2]);
    let (first, last) = (all[&1].clone(), all[&2].clone());
    room.end(1, &first);
    room.end(0, &all[&0]);
    let (state, why) = room.state(0, &task);
    assert_eq!(state, "running");
    assert!(why.starts_with("2 of its 3 replicas have ended, 2 must agree"), "{why}");
    assert!(results(&room, 2, &task).is_empty(), "nobody sees a result before all have promised one");
    room.end(2, &last);
    let (state, why) = room.state(0, &task);
    assert_eq!(state, "done", "{why}");
    room.pass(30_000);
    equal(&room);
    let effects = results(&room, 2, &task);
    assert_eq!(effects.len(), 3);
    assert_eq!(effects.values().filter(|effect| **effect == Effect::Done).count(), 1);
    // The submitter's own word about others is none: bob and carol agree with each other.
    let agreed = verdicts(&room, 1, &task);
    assert_eq!(agreed.len(), 2);
    assert!(agreed.values().all(|verdict| *verdict == Verdict::Agreed));
    let (_, terms) = reputation(&mut room, 1, "carol");
    assert_eq!(terms["results on which others agreed"], 2);
    let Answer::Task(view) = room.ask(0, Command::Task { task: task.clone() }).unwrap() else { panic!() };
    assert_eq!(view.history.len(), 3);
    assert_eq!(view.history.iter().filter(|it| it.fate.starts_with("agreed")).count(), 2);
    let Answer::Tasks(list) = room.ask(0, Command::Tasks).unwrap() else { panic!() };
    assert_eq!(list.len(), 1, "replicas are no tasks to anybody else");
}

// spec: DEL-8, DEL-4
#[test]
fn a_result_that_is_shown_twice_is_recorded_once_and_not_forgotten_before_all_are_compared() {
    let mut room = street(&["alice", "bob", "carol"]);
    let task = room.submit_draft(0, replicated(1, 3, 2)).unwrap();
    let all = runs(&mut room);
    room.end(1, &all[&1]);
    room.end(2, &all[&2]);
    // Carol's word is to come when Bob's is heard, and heard again.
    room.disconnect(0, 2);
    room.end(0, &all[&0]);
    let alice = room.key(0);
    room.handle(1, Input::Task(alice, all[&1].attempt, TaskFrame::Reveal));
    assert!(results(&room, 0, &task).is_empty());
    room.connect(0, 2);
    room.pass(30_000);
    assert_eq!(room.state(0, &task).0, "done");
    let said = room.peers[0].entries.values().filter_map(|bytes| Entry::verify(bytes).ok());
    let said = said.filter(|entry| matches!(entry.payload(), Payload::Completed(_)));
    assert_eq!(said.count(), 3);
}

// spec: DEL-8, REP-1
#[test]
fn a_lying_replica_is_recorded_by_all_and_its_result_is_not_used() {
    let mut room = street(&["alice", "bob", "carol", "dave"]);
    let task = room.submit_draft(0, replicated(1, 4, 2)).unwrap();
    let all = runs(&mut room);
    assert_eq!(all.len(), 4);
    let (before, _) = reputation(&mut room, 3, "bob");
    for number in [1, 0, 3, 2] {
        room.end_with(number, &all[&number], if number == 1 { 66 } else { 1 });
    }
    assert_eq!(room.state(0, &task).0, "done");
    room.pass(30_000);
    equal(&room);
    let liar = all[&1].attempt.attempt;
    for at in 0..4 {
        assert_eq!(results(&room, at, &task)[&liar], Effect::Superseded);
        assert_eq!(verdicts(&room, at, &task)[&liar], Verdict::Wrong);
        assert_eq!(verdicts(&room, at, &task).values().filter(|it| **it == Verdict::Agreed).count(), 2);
        let (after, terms) = reputation(&mut room, at, "bob");
        assert_eq!((after, terms["wrong results"]), (before - 15, -15), "never a ban from one event");
        assert!(reputation(&mut room, at, "carol").0 > before);
    }
    let Answer::Task(view) = room.ask(0, Command::Task { task }).unwrap() else { panic!() };
    assert_eq!(view.result.unwrap().receipt.receipt.output.stdout, Digest([1; 32]));
    let told = view.history.iter().find(|it| it.attempt == liar).unwrap();
    assert_eq!(told.fate, "differed: others agreed on another result");
}

// spec: DEL-8
#[test]
fn without_a_quorum_the_task_fails_and_says_so() {
    let mut room = street(&["alice", "bob", "carol"]);
    let task = room.submit_draft(0, replicated(1, 3, 3)).unwrap();
    let all = runs(&mut room);
    for (number, run) in &all {
        room.end_with(*number, run, if *number == 1 { 66 } else { 1 });
    }
    let (state, why) = room.state(0, &task);
    assert_eq!(
        (state.as_str(), why.as_str()),
        ("failed", "it failed: of its 3 replicas 2 agreed on one result, and 3 had to",)
    );
    room.pass(30_000);
    equal(&room);
    assert!(results(&room, 2, &task).values().all(|effect| *effect == Effect::Superseded));
    // Two results as often as each other decide nothing.
    let task = room.submit_draft(0, replicated(2, 2, 1)).unwrap();
    let all = runs(&mut room);
    for ((number, run), output) in all.iter().zip(5..) {
        room.end_with(*number, run, output);
    }
    assert!(room.state(0, &task).1.contains("0 agreed") || room.state(0, &task).1.contains("1 agreed"));
    assert_eq!(room.state(0, &task).0, "failed");
}

// spec: DEL-8
#[test]
fn a_replica_that_does_not_end_is_not_waited_for_beyond_its_time() {
    let mut room = street(&["alice", "bob", "carol"]);
    let draft = Draft { followed: false, ..replicated(1, 3, 2) };
    let task = room.submit_draft(0, draft).unwrap();
    let all = runs(&mut room);
    room.handle(2, Input::Run(all[&2].attempt, RunEvent::Started));
    room.ask(2, Command::Pause { for_ms: None }).unwrap();
    room.obey(2);
    room.end(0, &all[&0]);
    room.end(1, &all[&1]);
    room.pass(20 * 60_000);
    assert_eq!(room.state(0, &task).0, "running");
    // The last moment to start, the duration and the grace of a lease.
    room.pass(21 * 60_000 + 1000);
    assert_eq!(room.state(0, &task).0, "done", "{}", room.state(0, &task).1);
    assert_eq!(room.peers[2].forgotten, [all[&2].attempt], "whoever is late is told");
    let effects = results(&room, 0, &task);
    assert_eq!(effects.len(), 2);
    room.end(2, &all[&2]);
    room.pass(30_000);
    assert_eq!(results(&room, 0, &task), effects);
    equal(&room);
}

// spec: DEL-8
#[test]
fn a_clock_that_went_back_gives_a_replica_no_more_time() {
    const DAYS: u64 = 3 * 24 * 3_600_000;
    let mut room = street(&["alice", "bob", "carol", "dave"]);
    let draft = Draft { followed: false, ..replicated(1, 4, 2) };
    let task = room.submit_draft(0, draft).unwrap();
    let all = runs(&mut room);
    room.handle(3, Input::Run(all[&3].attempt, RunEvent::Started));
    room.handle(3, Input::Run(all[&3].attempt, RunEvent::Paused));
    // Alice's clock is ahead when bob promises something.
    room.now.wall_ms += DAYS;
    let bob = room.key(1);
    room.handle(0, Input::Task(bob, all[&1].attempt, TaskFrame::Promised(Digest([7; 32]))));
    room.now.wall_ms -= DAYS;
    room.handle(0, Input::Wake);
    room.end(0, &all[&0]);
    room.end(2, &all[&2]);
    room.pass(42 * 60_000);
    assert_eq!(room.state(0, &task).0, "done", "{}", room.state(0, &task).1);
}

// spec: DEL-3, DEL-8
#[test]
fn a_replica_that_is_let_go_for_its_silence_is_stopped_by_its_tasks_name() {
    let mut room = street(&["alice", "bob", "carol"]);
    let task = room.submit_draft(0, replicated(1, 3, 2)).unwrap();
    let all = runs(&mut room);
    room.end(2, &all[&2]);
    // Nothing of carol's comes any more.
    room.connected.retain(|pair| *pair != (2, 0));
    room.pass(10_000);
    room.end(1, &all[&1]);
    room.end(0, &all[&0]);
    assert!(room.peers[2].forgotten.is_empty());
    room.pass(7_000);
    assert_eq!(room.state(0, &task).0, "done");
    assert_eq!(room.peers[2].forgotten, [all[&2].attempt]);
}

// spec: DEL-8
#[test]
fn an_owner_has_one_replica_however_many_devices_they_have() {
    let mut room = street(&["alice", "bob", "carol", "dave"]);
    let ticket = mesh_protocol::invite::TicketKind::Device;
    room.add("bob", 4, 1);
    let Answer::Ticket(ticket) =
        room.ask(1, Command::Invite { kind: ticket, valid_ms: 60_000, addrs: vec![addr(1)] }).unwrap()
    else {
        panic!()
    };
    room.ask(4, Command::Join { ticket, as_device_of: None }).unwrap();
    for other in 0..3 {
        room.connect(4, other);
    }
    room.pass(5000);
    room.grant(4, "alice");
    for other in [0, 1, 2, 4] {
        room.disconnect(3, other);
    }
    let task = room.submit_draft(0, replicated(1, 4, 2)).unwrap();
    let all = runs(&mut room);
    assert_eq!(all.len(), 3);
    assert!(all.contains_key(&1) != all.contains_key(&4));
    let why = room.state(0, &task).1;
    assert!(why.contains("that owner's peers run, or ran, another replica of it"), "{why}");
}

/// What bob says of his attempt, with carol's output in it.
fn copied(room: &Room, run: &Run, of: &Ended) -> Ended {
    let bob = SecretKey::from_seed(&[11; 32]);
    let mut receipt = receipt_for(run);
    receipt.output = of.receipt.receipt.output.clone();
    let receipt = receipt.sign(&bob);
    assert_eq!(receipt.receipt.executor, room.key(1));
    let statement = Statement::of(&receipt, &run.spec.nonce, of.statement.energy.clone());
    Ended { signature: statement.sign(&bob), receipt, statement, output: of.output }
}

// spec: DEL-8
#[test]
fn whoever_copies_the_first_answer_gains_nothing() {
    for way in 0..3 {
        let mut room = street(&["alice", "bob", "carol", "dave"]);
        let task = room.submit_draft(0, replicated(1, 4, 2)).unwrap();
        let all = runs(&mut room);
        let bob = room.key(1);
        let (copy, first) = (all[&1].clone(), all[&2].clone());
        for number in [0, 2, 3] {
            room.end(number, &all[&number]);
        }
        // Suppose bob overhears all that carol says to alice.
        let mut receipt = receipt_for(&first);
        receipt.output.stdout = Digest([1; 32]);
        let receipt = receipt.sign(&SecretKey::from_seed(&[21; 32]));
        let statement = Statement::of(&receipt, &first.spec.nonce, Default::default());
        let blob = Blob { hash: BlobHash([9; 32]), len: 10 };
        let signature = statement.sign(&SecretKey::from_seed(&[21; 32]));
        let carols = Ended { receipt, statement, signature, output: blob };
        let own = copied(&room, &copy, &carols);
        let promise = match way {
            // Carol's promise as his own, and anything at all; the third way he promises nothing.
            0 => Some(carols.statement.promise()),
            1 => Some(Digest([7; 32])),
            _ => None,
        };
        if let Some(promise) = promise {
            room.handle(0, Input::Task(bob, copy.attempt, TaskFrame::Promised(promise)));
        }
        room.handle(0, Input::Task(bob, copy.attempt, TaskFrame::Ended(Box::new(own))));
        room.pass(60 * 60_000);
        let mut expected: BTreeMap<u32, Effect> =
            all.values().map(|run| (run.attempt.attempt, Effect::Superseded)).collect();
        expected.remove(&copy.attempt.attempt);
        let told = results(&room, 3, &task);
        assert_eq!(told.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "way {way}");
        assert_eq!(room.state(0, &task).0, "done", "way {way}");
        assert_eq!(reputation(&mut room, 3, "bob").1["results on which others agreed"], 0);
        assert_eq!(reputation(&mut room, 3, "carol").1["results on which others agreed"], 2);
    }
}

// spec: DEL-8, DEL-4, DEL-11
#[test]
fn replicas_outlive_their_owners_crash_at_every_step() {
    for crash in 0..5 {
        let mut room = street(&["alice", "bob", "carol", "dave"]);
        let task = room.submit_draft(0, replicated(1, 3, 3)).unwrap();
        let all = runs(&mut room);
        let own = all.contains_key(&0);
        for (ended, (number, run)) in all.iter().enumerate() {
            if ended == crash {
                restart(&mut room, own);
            }
            if *number != 0 || crash > 1 {
                room.end(*number, run);
            }
        }
        if crash >= 3 {
            restart(&mut room, own);
        }
        for _ in 0..20 {
            room.pass(10_000);
            for (number, run) in runs(&mut room) {
                room.end(number, &run);
            }
        }
        let (state, why) = room.state(0, &task);
        assert_eq!(state, "done", "crash {crash}: {why}");
        room.pass(60_000);
        equal(&room);
        let done = results(&room, 3, &task).values().filter(|effect| **effect == Effect::Done).count();
        assert_eq!(done, 1, "crash {crash}");
    }
}

// spec: DEL-3, DEL-8
#[test]
fn who_was_away_while_results_were_to_be_shown_has_them_shown() {
    // It also may start before it is told the time.
    for (asleep, untold) in [(false, false), (true, false), (false, true)] {
        let mut room = street(&["alice", "bob", "carol", "dave"]);
        let task = room.submit_draft(0, replicated(1, 3, 3)).unwrap();
        let all = runs(&mut room);
        let last = *all.keys().last().unwrap();
        for (number, run) in &all {
            if *number == last {
                // All have promised now, and only this one is there to hear that it may show.
                for other in 1..last {
                    room.disconnect(0, other);
                }
            }
            room.end(*number, run);
        }
        assert_eq!(room.state(0, &task).0, "running");
        room.now.boot_ms += 3_600_000;
        room.now.wall_ms += 3_600_000;
        room.now.wall_ms -= if untold { 7_200_000 } else { 0 };
        if !asleep {
            room.restart(0, "alice");
        }
        room.handle(0, Input::Wake);
        room.now.wall_ms += if untold { 7_200_000 } else { 0 };
        room.handle(0, Input::Wake);
        for other in 1..room.peers.len() {
            room.connect(0, other);
        }
        room.pass(20_000);
        let (state, why) = room.state(0, &task);
        assert_eq!(state, "done", "asleep: {asleep}, untold: {untold}: {why}");
    }
}

// spec: DEL-8, DEL-9
#[test]
fn an_agreed_result_is_waited_for_as_long_as_it_is_kept_and_not_longer() {
    let rules =
        Rules { vote_after_ms: 0, voting_window_ms: 0, retain_result_ms: 3_600_000, ..Rules::default() };
    let mut room = Room::community_by(&["alice", "bob", "carol"], rules);
    room.grant(1, "alice");
    room.grant(2, "alice");
    room.slow = true;
    let task = room.submit_draft(0, Draft { on: None, ..replicated(1, 3, 2) }).unwrap();
    for (number, run) in runs(&mut room) {
        room.end_with(number, &run, if number == 0 { 66 } else { 1 });
    }
    assert_eq!(room.peers[0].fetches.len(), 1);
    room.disconnect(0, 1);
    room.disconnect(0, 2);
    // Also over a restart, in which nobody is there at once.
    room.restart(0, "alice");
    room.pass(3_000_000);
    assert!(["running", "fetching"].contains(&room.state(0, &task).0.as_str()), "{:?}", room.state(0, &task));
    room.pass(700_000);
    let (state, why) = room.state(0, &task);
    assert_eq!(state, "failed");
    assert!(why.contains("did not come back with it"), "{why}");
}

// spec: DEL-8, DEL-9
#[test]
fn what_was_agreed_on_while_nobody_was_there_is_waited_for_and_not_longer_than_it_is_kept() {
    for back in [false, true] {
        let rules =
            Rules { vote_after_ms: 0, voting_window_ms: 0, retain_result_ms: 3_600_000, ..Rules::default() };
        let mut room = Room::community_by(&["alice", "bob", "carol", "dave"], rules);
        for number in 1..4 {
            room.grant(number, "alice");
        }
        room.apart = true;
        let task = room.submit_draft(0, replicated(1, 4, 2)).unwrap();
        let all = runs(&mut room);
        room.end(3, &all[&3]);
        room.end(1, &all[&1]);
        room.end_with(0, &all[&0], 66);
        // All have promised, and dave is not there to show his.
        room.disconnect(0, 3);
        room.end(2, &all[&2]);
        room.disconnect(0, 1);
        room.disconnect(0, 2);
        room.pass(20_000);
        let (_, why) = room.state(0, &task);
        assert!(why.contains("its replicas agreed") && why.ends_with("is not connected"), "{why}");
        // However often this device starts meanwhile.
        room.pass(1_500_000);
        room.restart(0, "alice");
        room.pass(1_500_000);
        room.restart(0, "alice");
        assert!(["running", "fetching"].contains(&room.state(0, &task).0.as_str()));
        if back {
            room.connect(0, 2);
            room.pass(10_000);
            assert_eq!(room.state(0, &task).0, "done");
            continue;
        }
        room.pass(700_000);
        let (state, why) = room.state(0, &task);
        assert_eq!(state, "failed", "{why}");
        assert!(why.contains("did not come back with it"), "{why}");
        for other in 1..4 {
            room.connect(0, other);
        }
        room.pass(10_000);
        let told = results(&room, 0, &task);
        for number in [1, 2] {
            assert_eq!(told.get(&all[&number].attempt.attempt), Some(&Effect::Superseded), "{told:?}");
        }
    }
}

// spec: DEL-8, DEL-4
#[test]
fn an_agreed_result_that_one_does_not_give_comes_from_the_next_who_has_it() {
    // Of the two on which the quorum agrees none is bad, one is, or both are.
    for bad in 0..3 {
        let mut room = street(&["alice", "bob", "carol", "dave"]);
        room.slow = true;
        let task = room.submit_draft(0, replicated(1, 4, 2)).unwrap();
        let all = runs(&mut room);
        for (number, run) in &all {
            room.end_with(*number, run, if [0, 2].contains(number) { 60 + *number as u8 } else { 1 });
        }
        let from = |room: &Room| room.number(room.peers[0].fetches[0].2);
        let first = from(&room);
        assert!([1, 3].contains(&first));
        let second = 4 - first;
        // A line that breaks is nobody's fault: the other is asked, and then the first again.
        for other in [second, first] {
            room.comes(0, Err(Unfetched::Line("it broke".into())));
            room.pass(700_000);
            assert_eq!(from(&room), other);
        }
        let told = |room: &Room| room.peers[0].node.counters().bad_results;
        assert_eq!(told(&room), 0);
        for number in [first, second].into_iter().take(bad) {
            assert_eq!(from(&room), number);
            room.comes(0, Err(Unfetched::False("another blob".into())));
        }
        assert_eq!(told(&room), bad as u64);
        let (state, why) = match bad {
            2 => room.state(0, &task),
            _ => {
                room.comes(0, Ok(()));
                room.state(0, &task)
            }
        };
        assert_eq!(state, if bad == 2 { "failed" } else { "done" }, "{why}");
        assert!(bad < 2 || why.contains("nobody gave the result that was agreed on"), "{why}");
        room.pass(30_000);
        assert!(room.peers[0].fetches.is_empty());
        let effects = results(&room, 2, &task);
        let done = [Some(first), Some(second), None][bad];
        for (number, run) in &all {
            let effect = if done == Some(*number) { Effect::Done } else { Effect::Superseded };
            assert_eq!(effects[&run.attempt.attempt], effect, "{bad} bad, of peer {number}");
        }
    }
}

// spec: DEL-8, DEL-11
#[test]
fn an_agreed_result_is_not_given_up_after_a_start_because_its_holder_goes_again() {
    let mut room = street(&["alice", "bob", "carol"]);
    (room.slow, room.apart) = (true, true);
    let task = room.submit_draft(0, replicated(1, 3, 2)).unwrap();
    for (number, run) in runs(&mut room) {
        room.end_with(number, &run, if number == 0 { 66 } else { 1 });
    }
    let from = room.number(room.peers[0].fetches[0].2);
    room.restart(0, "alice");
    room.peers[0].fetches.clear();
    room.connect(0, from);
    room.disconnect(0, from);
    room.pass(60_000);
    assert_ne!(room.state(0, &task).0, "failed");
    room.connect(0, from);
    room.pass(10_000);
    assert_eq!(room.peers[0].fetches.len(), 1);
    room.comes(0, Ok(()));
    let (state, why) = room.state(0, &task);
    assert_eq!(state, "done", "{why}");
    let Answer::Task(view) = room.ask(0, Command::Task { task }).unwrap() else { panic!() };
    assert!(view.history.iter().all(|it| !it.fate.contains("lost")), "{:?}", view.history);
}

// spec: DEL-4, DEL-8
#[test]
fn whoever_is_not_told_the_time_for_minutes_has_results_shown_when_it_is() {
    let mut room = street(&["alice", "bob", "carol", "dave"]);
    let task = room.submit_draft(0, replicated(1, 3, 3)).unwrap();
    let all = runs(&mut room);
    let last = *all.keys().last().unwrap();
    for (number, run) in &all {
        if *number == last {
            room.disconnect(0, last);
        }
        room.end(*number, run);
    }
    room.now.wall_ms -= 7_200_000;
    room.restart(0, "alice");
    for other in 1..room.peers.len() {
        room.connect(0, other);
    }
    room.pass(300_000);
    let (state, why) = room.state(0, &task);
    assert_eq!(state, "running", "{why}");
    room.now.wall_ms += 7_200_000;
    room.handle(0, Input::Wake);
    room.pass(20_000);
    let (state, why) = room.state(0, &task);
    assert_eq!(state, "done", "{why}");
    assert_eq!(room.peers[0].node.counters().bad_results, 0);
}

fn restart(room: &mut Room, _own: bool) {
    room.restart(0, "alice");
    for other in 1..room.peers.len() {
        room.connect(0, other);
    }
}

// spec: DEL-8
#[test]
fn what_cannot_be_compared_is_not_replicated() {
    let mut room = street(&["alice", "bob", "carol"]);
    let refused = |room: &mut Room, draft: Draft| room.submit_draft(0, draft).unwrap_err().to_string();
    let share = Permissions { shares: [("logs".to_owned(), Access::Rw)].into(), ..Permissions::default() };
    let draft = Draft { permissions: share, ..replicated(1, 2, 2) };
    assert!(refused(&mut room, draft).contains("replicas need not agree"));
    assert!(refused(&mut room, replicated(1, 2, 3)).contains("its quorum must be from 1 to its replicas"));
    assert!(refused(&mut room, replicated(1, 17, 3)).contains("from 1 to 16"));
    let draft = Draft { on: Some("bob-laptop".into()), ..replicated(1, 2, 2) };
    assert!(refused(&mut room, draft).contains("one peer is named"));
    let draft = Draft { sla: Sla::SolarOnly, ..replicated(1, 2, 2) };
    assert!(refused(&mut room, draft).contains("own device"));
}

// spec: DEL-8, SBX-13
#[test]
fn a_lie_that_excuses_itself_from_comparison_is_no_result() {
    let excuses: [fn(&mut Receipt); 4] = [
        |it| it.not_comparable.push(NotComparable::ToldToStop),
        |it| it.not_comparable.push(NotComparable::OpenInput),
        |it| {
            it.resumed_from = Some((1, Digest([3; 32])));
            it.not_comparable.push(NotComparable::Resumed);
        },
        |it| it.usage.fuel_before = 1,
    ];
    for (nonce, excuse) in (1..).zip(excuses) {
        let mut room = street(&["alice", "bob", "carol"]);
        let (task, first, run) = plain(&mut room, nonce);
        let mut receipt = receipt_for(&run);
        receipt.output.stdout = Digest([7; 32]);
        excuse(&mut receipt);
        room.handle(first, Input::Run(run.attempt, RunEvent::Started));
        let blob = Blob { hash: BlobHash([9; 32]), len: 10 };
        let ended = RunEvent::Ended(Box::new(receipt), blob, metering(room.now, 10_000));
        room.handle(first, Input::Run(run.attempt, ended));
        assert_ne!(room.state(0, &task).0, "done", "excuse {nonce}");
        room.pass(30_000);
        let (other, again) = runs(&mut room).pop_first().unwrap();
        assert_eq!(again.attempt.attempt, 2);
        room.end(other, &again);
        assert_eq!(room.state(0, &task).0, "done", "excuse {nonce}");
    }
}

// spec: QUOTA-4
#[test]
fn replicas_count_each() {
    let rules = Rules { vote_after_ms: 0, voting_window_ms: 0, ..Rules::default() };
    let mut room = Room::community_by(&["alice", "bob", "carol"], rules);
    let limits = Limits { duration_ms: 60_000, memory_bytes: 1 << 20, ..Limits::default() };
    for nonce in 1..4 {
        room.submit_draft(0, Draft { limits: limits.clone(), ..replicated(nonce, 3, 2) }).unwrap();
    }
    let more = Draft { limits: limits.clone(), ..replicated(4, 3, 2) };
    assert!(room.submit_draft(0, more).unwrap_err().to_string().contains("quota"), "nine of ten are used");
    room.submit_draft(0, Draft { limits, ..draft("word-count", 5) }).unwrap();
    let Answer::Quota(view) = room.ask(0, Command::Quota { user: None }).unwrap() else { panic!() };
    assert_eq!((view.used, view.left), (10, Some(0)));
}

/// Submits an ordinary task, which somebody else runs.
fn plain(room: &mut Room, nonce: u8) -> (String, usize, Run) {
    let task = room.submit_draft(0, replicated(nonce, 1, 1)).unwrap();
    let (number, run) = runs(room).pop_first().unwrap();
    assert_ne!(number, 0);
    (task, number, run)
}

// spec: DEL-8, CO2-3
#[test]
fn a_new_peers_results_are_run_twice_and_nobody_can_tell() {
    let mut room = street(&["alice", "bob", "carol"]);
    let (task, first, run) = plain(&mut room, 1);
    let other = 3 - first;
    room.end(first, &run);
    assert_eq!(room.state(0, &task).0, "done", "it takes effect at once");
    assert!(results(&room, other, &task).is_empty(), "and whoever runs it again takes it for lost");
    let again = runs(&mut room).remove(&other).expect("it is run again");
    assert_eq!(again.attempt, AttemptId { attempt: 2, ..run.attempt });
    assert_eq!(again.spec, run.spec);
    room.end(other, &again);
    room.pass(30_000);
    equal(&room);
    assert_eq!(results(&room, other, &task), [(1, Effect::Done), (2, Effect::Superseded)].into());
    assert!(verdicts(&room, 1, &task).values().all(|verdict| *verdict == Verdict::Agreed));
    let ledger = room.peers[1].node.ledger();
    for device in [room.key(1), room.key(2)] {
        assert_eq!(ledger.facts().streak(&device, ledger.governance(), |_, _| Some(true)), 1);
    }
    // What the second run used counts as spent for the task.
    let key = (room.key(0), run.attempt.task);
    let balance = ledger.facts().tasks().balance(&key).unwrap();
    assert_eq!((balance.done.0, balance.caused.energy_mj), (1, 20_000));
    let Answer::Quota(view) = room.ask(0, Command::Quota { user: None }).unwrap() else { panic!() };
    assert_eq!(view.used, 1, "it is one submission");
}

// spec: DEL-8
#[test]
fn ten_right_results_in_a_row_make_a_peer_believed_and_chance_checks_it_still() {
    let rules = Rules {
        vote_after_ms: 0,
        voting_window_ms: 0,
        free: Tier { tasks: 0, ..Rules::default().free },
        supporter: Tier { tasks: 0, ..Rules::default().supporter },
        contributor: Tier { tasks: 0, ..Rules::default().contributor },
        entries_per_hour: 0,
        spot_check_percent: 20,
        ..Rules::default()
    };
    let mut room = Room::community_by(&["alice", "bob", "carol"], rules);
    room.grant(1, "alice");
    room.grant(2, "alice");
    let (mut checked, mut unchecked) = (0, 0);
    for nonce in 0..120 {
        let (_, first, run) = plain(&mut room, nonce);
        room.end(first, &run);
        let again = runs(&mut room);
        let ledger = room.peers[0].node.ledger();
        let streak = ledger.facts().streak(&room.key(first), ledger.governance(), |_, _| Some(true));
        match again.get(&(3 - first)) {
            Some(again) => {
                checked += u32::from(streak == 10);
                room.end(3 - first, again);
            }
            None => {
                unchecked += 1;
                assert_eq!(streak, 10, "{nonce}");
            }
        }
    }
    assert!(unchecked > 60 && checked > 5, "{checked} of {}", checked + unchecked);
    equal(&room);
}

// spec: DEL-8
#[test]
fn where_two_differ_a_third_decides() {
    let mut room = street(&["alice", "bob", "carol", "dave"]);
    let (task, first, run) = plain(&mut room, 1);
    room.end_with(first, &run, 66);
    assert_eq!(room.state(0, &task).0, "done");
    let (second, again) = runs(&mut room).pop_first().unwrap();
    assert!(second != first && second != 0);
    room.end(second, &again);
    let (third, again) = runs(&mut room).pop_first().expect("two words against each other");
    assert!(third != first && third != second);
    room.end(third, &again);
    room.pass(30_000);
    equal(&room);
    assert_eq!(results(&room, 1, &task).len(), 3);
    let told = verdicts(&room, 1, &task);
    // The submitter's own device convinces its owner, and nobody else.
    match third {
        0 => assert!(told.is_empty()),
        _ => assert_eq!(told, [(1, Verdict::Wrong), (2, Verdict::Agreed), (3, Verdict::Agreed)].into()),
    }
    assert_eq!(room.state(0, &task).0, "done", "what took effect stays");
    if third != 0 {
        // Others are preferred from now on.
        for nonce in 2..8 {
            let (_, number, run) = plain(&mut room, nonce);
            assert_ne!(number, first, "{nonce}");
            room.end(number, &run);
            for (number, run) in runs(&mut room) {
                room.end(number, &run);
            }
        }
    }
}

// spec: REP-3
#[test]
fn what_tasks_of_a_name_did_says_what_to_expect_and_that_it_can_wait() {
    let rules = Rules { voting_window_ms: 0, ..Rules::default() };
    let mut room = Room::community_by(&["alice"], rules);
    let wind = EnergyClaim { source: Source::Wind, renewable_percent: 100, g_per_kwh: 11 };
    room.handle(0, Input::Energy(Some(Box::new(Reading::of(wind, "fixed"))), None));
    let plan = |room: &mut Room, sla| {
        let asked = Draft { sla, dry_run: true, ..draft("word-count", 99) };
        match room.ask(0, Command::Submit(Box::new(asked))).unwrap() {
            Answer::Plan(view) => view,
            other => panic!("{other:?}"),
        }
    };
    for nonce in 0..5 {
        assert!(plan(&mut room, Sla::Normal).expected.is_none());
        room.submit_draft(0, Draft { sla: Sla::Eco, ..draft("word-count", nonce) }).unwrap();
        let run = runs(&mut room).remove(&0).expect("its energy is clean");
        room.end(0, &run);
    }
    // What was learnt a moment ago will do for a minute.
    room.pass(61_000);
    let view = plan(&mut room, Sla::Normal);
    let expected = view.expected.unwrap();
    assert_eq!((expected.runs, expected.energy_mj), (5, Some(10_000)));
    let advice = view.advice.unwrap();
    assert!(advice.starts_with("often safe to defer: 5 of the last 5 tasks called word-count"), "{advice}");
    assert!(plan(&mut room, Sla::Eco).advice.is_none());
    let other = Draft { dry_run: true, ..draft("image", 99) };
    let Answer::Plan(view) = room.ask(0, Command::Submit(Box::new(other))).unwrap() else { panic!() };
    assert!(view.expected.is_none() && view.advice.is_none());
    let answer = room.ask(0, Command::Submit(Box::new(draft("word-count", 100)))).unwrap();
    assert!(matches!(answer, Answer::Submitted { advice: Some(_), .. }));
}

// spec: DEL-8
#[test]
fn what_nobody_else_could_run_or_need_not_agree_is_not_run_twice() {
    let mut room = street(&["alice", "bob"]);
    let (task, first, run) = plain(&mut room, 1);
    room.end(first, &run);
    room.pass(60_000);
    assert!(runs(&mut room).is_empty());
    assert_eq!(results(&room, 1, &task).len(), 1);
    let mut room = street(&["alice", "bob", "carol"]);
    let clock = Permissions { real_clock: true, ..Permissions::default() };
    let grant = |room: &mut Room, on: usize| {
        let request = mesh_node::GrantRequest {
            user: "alice".into(),
            device: None,
            task: "*".into(),
            module: Some(draft("x", 0).module),
            until_ms: None,
            permissions: Some(clock.clone()),
        };
        room.ask(on, Command::Grant(request)).unwrap();
        room.pass(1000);
    };
    grant(&mut room, 1);
    grant(&mut room, 2);
    let draft = Draft { permissions: clock.clone(), on: Some("bob-laptop".into()), ..replicated(3, 1, 1) };
    let task = room.submit_draft(0, draft).unwrap();
    let run = runs(&mut room).remove(&1).unwrap();
    room.end(1, &run);
    room.pass(60_000);
    assert!(runs(&mut room).is_empty());
    assert_eq!(results(&room, 2, &task).len(), 1);
}

// spec: DEL-8, DEL-10
#[test]
fn a_check_that_comes_to_nothing_holds_nothing_up() {
    for restarts in [false, true] {
        let mut room = street(&["alice", "bob", "carol"]);
        let (task, first, run) = plain(&mut room, 1);
        room.end(first, &run);
        let (other, again) = runs(&mut room).pop_first().unwrap();
        room.handle(other, Input::Run(again.attempt, RunEvent::Started));
        if restarts {
            restart(&mut room, false);
        }
        assert!(results(&room, 1, &task).is_empty());
        for _ in 0..15 {
            room.pass(60_000);
            // It never ends.
            runs(&mut room);
        }
        assert_eq!(results(&room, 1, &task)[&1], Effect::Done, "restarts: {restarts}");
        assert_eq!(room.state(0, &task).0, "done");
        equal(&room);
    }
}

// spec: DEL-8, DEL-4
#[test]
fn a_check_whose_donor_was_away_counts_when_it_is_back() {
    for differs in [false, true] {
        let mut room = street(&["alice", "bob", "carol"]);
        room.apart = true;
        let (task, first, run) = plain(&mut room, 1);
        room.end(first, &run);
        let (other, again) = runs(&mut room).pop_first().unwrap();
        room.handle(other, Input::Run(again.attempt, RunEvent::Started));
        room.disconnect(0, other);
        room.pass(20_000);
        room.end_with(other, &again, if differs { 66 } else { 1 });
        assert!(results(&room, 0, &task).is_empty());
        room.connect(0, other);
        room.pass(30_000);
        assert_eq!(room.peers[0].node.counters().bad_results, 0);
        if differs {
            // A third decides, and neither of the two is asked to.
            let (third, run) = runs(&mut room).pop_first().expect("two words against each other");
            assert_eq!(third, 0);
            room.end(third, &run);
            room.pass(1000);
        }
        assert!(runs(&mut room).is_empty(), "it is not run once more");
        let effects = results(&room, 0, &task);
        assert_eq!((effects[&1], effects[&2]), (Effect::Done, Effect::Superseded));
        equal(&room);
        let told = verdicts(&room, other, &task);
        if !differs {
            assert!(told.len() == 2 && told.values().all(|it| *it == Verdict::Agreed), "{told:?}");
        }
    }
}

// spec: DEL-8
#[test]
fn more_replicas_than_there_are_owners_are_refused() {
    let mut room = Room::community(&["alice", "bob"]);
    let refused = room.submit_draft(0, replicated(1, 3, 2)).unwrap_err();
    assert!(refused.message.contains("2 members have devices here"), "{refused:?}");
    let Answer::Quota(view) = room.ask(0, Command::Quota { user: None }).unwrap() else { panic!("no quota") };
    assert_eq!(view.used, 0);
    assert!(room.submit_draft(0, replicated(1, 2, 2)).is_ok());
}

// spec: DEL-8, NET-4
#[test]
fn a_check_that_promises_a_result_is_as_late_as_one_that_does_not() {
    let mut room = street(&["alice", "bob", "carol"]);
    let (task, first, run) = plain(&mut room, 1);
    room.end(first, &run);
    let (other, again) = runs(&mut room).pop_first().unwrap();
    room.handle(other, Input::Run(again.attempt, RunEvent::Started));
    let by = room.key(other);
    for _ in 0..60 {
        room.handle(0, Input::Task(by, again.attempt, TaskFrame::Promised(Digest([7; 32]))));
        room.pass(15_000);
        runs(&mut room);
    }
    assert_eq!(results(&room, 0, &task)[&1], Effect::Done);
    // Nor does a promise keep a task that runs itself from being overdue.
    let (task, first, run) = plain(&mut room, 2);
    room.handle(first, Input::Run(run.attempt, RunEvent::Started));
    let by = room.key(first);
    for _ in 0..60 {
        room.handle(0, Input::Task(by, run.attempt, TaskFrame::Promised(Digest([7; 32]))));
        room.pass(15_000);
    }
    let Answer::Task(view) = room.ask(0, Command::Task { task }).unwrap() else { panic!() };
    assert_ne!(view.history[0].fate, "open", "{:?}", view.history[0]);
    assert!(!runs(&mut room).is_empty(), "somebody else runs it");
}
