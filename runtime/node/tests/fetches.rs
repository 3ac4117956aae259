//! Results and checkpoints on their way to a task's owner: what holds them up says nothing of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod room;

use mesh_node::{Answer, AttemptView, Command, Draft, Input, Run, RunEvent, Unfetched};
use mesh_protocol::frame::{AttemptId, TaskFrame};
use mesh_protocol::ids::{BlobHash, TaskId};
use mesh_protocol::limits::Limits;
use mesh_protocol::reason::Reason;
use mesh_protocol::rules::Rules;
use mesh_protocol::task::{Blob, Sla};
use room::*;

/// Bob runs a task of alice's, to whom nothing comes by itself.
fn at_bob() -> (Room, String, Run) {
    let mut room = Room::community(&["alice", "bob"]);
    room.grant(1, "alice");
    room.slow = true;
    let mut draft = draft("word-count", 1);
    draft.limits.checkpoint_bytes = 1_000;
    let task = room.submit_draft(0, draft).unwrap();
    let run = room.peers[1].runs.pop().expect("bob runs it");
    room.handle(1, Input::Run(run.attempt, RunEvent::Started));
    (room, task, run)
}

fn history(room: &mut Room, task: &str) -> Vec<AttemptView> {
    let Answer::Task(view) = room.ask(0, Command::Task { task: task.into() }).unwrap() else { panic!() };
    view.history
}

fn bad_results(room: &Room) -> u64 {
    room.peers[0].node.counters().bad_results
}

// spec: DEL-8
#[test]
fn an_agreed_result_that_is_under_way_is_not_asked_for_again_unless_whoever_gives_it_goes() {
    let rules = Rules { vote_after_ms: 0, voting_window_ms: 0, ..Rules::default() };
    let mut room = Room::community_by(&["alice", "bob", "carol"], rules);
    room.grant(1, "alice");
    room.grant(2, "alice");
    room.slow = true;
    let limits = Limits { duration_ms: 60_000, ..Limits::default() };
    let draft = Draft { replicas: 3, quorum: 2, sla: Sla::Urgent, limits, ..draft("word-count", 1) };
    let task = room.submit_draft(0, draft).unwrap();
    for number in 0..3 {
        let run = room.peers[number].runs.pop().unwrap();
        // Alice's own is not the one on which the others agree.
        room.end_with(number, &run, if number == 0 { 66 } else { 1 });
    }
    let first = room.peers[0].fetches.clone();
    assert_eq!(first.len(), 1);
    room.pass(120_000);
    assert_eq!((&room.peers[0].fetches, room.peers[0].begun), (&first, 1));
    let from = room.number(first[0].2);
    room.disconnect(0, from);
    room.pass(5_000);
    let second = room.peers[0].fetches.clone();
    assert_eq!(second.len(), 1, "of who is gone nothing more is waited for");
    let other = room.number(second[0].2);
    assert_eq!(other, 3 - from);
    // A line that stutters is nobody's lie: the next time another is asked, and both keep the result.
    room.connect(0, from);
    room.comes(0, Err(Unfetched::Line("the transfer stopped".into())));
    let (state, why) = room.state(0, &task);
    assert_eq!(state, "fetching");
    assert!(why.contains("the transfer stopped; it is asked for again in 1 s"), "{why}");
    room.pass(1_000);
    assert_eq!(room.number(room.peers[0].fetches[0].2), from);
    assert!(room.peers[from].forgotten.is_empty() && room.peers[other].forgotten.is_empty());
    room.comes(0, Ok(()));
    assert_eq!(room.state(0, &task).0, "done");
    assert_eq!(bad_results(&room), 0);
}

// spec: DEL-4, DEL-5, DEL-9
#[test]
fn what_holds_a_result_up_leaves_it_where_it_is() {
    for (held_up, told) in [
        (Unfetched::Line("the peer serves others first".into()), "the peer serves others first"),
        (Unfetched::NoRoom("the disk is full".into()), "this device cannot keep it: the disk is full"),
        (Unfetched::Withheld, "the peer does not hand it out"),
    ] {
        let (mut room, task, run) = at_bob();
        room.end(1, &run);
        room.comes(0, Err(held_up));
        let (state, why) = room.state(0, &task);
        assert_eq!(state, "fetching");
        let expected =
            format!("keeps its result, which is not here yet: {told}; it is asked for again in 1 s");
        assert!(why.ends_with(&expected), "{why}");
        assert!(room.peers[0].fetches.is_empty());
        room.pass(1_000);
        assert!(room.state(0, &task).1.ends_with("is fetched and checked"));
        room.comes(0, Ok(()));
        assert_eq!(room.state(0, &task).0, "done");
        assert_eq!((history(&mut room, &task).len(), bad_results(&room)), (1, 0));
    }
}

// spec: DEL-4
#[test]
fn a_lie_is_a_bad_result() {
    let (mut room, task, run) = at_bob();
    room.end(1, &run);
    room.comes(0, Err(Unfetched::False("the output's /out is not the one in the receipt".into())));
    assert_eq!(bad_results(&room), 1);
    assert!(history(&mut room, &task)[0].fate.contains("/out is not the one in the receipt"));
    assert_eq!(room.peers[1].forgotten, [run.attempt]);
    room.pass(60_000);
    assert!(room.peers[1].runs.is_empty(), "it is not asked again");
    assert_eq!(room.peers[0].runs.len(), 1);
}

// spec: DEL-5, DEL-9
#[test]
fn a_full_disk_of_ones_own_costs_nobody_anything_and_a_peer_that_gives_nothing_is_not_waited_for_without_end()
{
    let (mut room, task, run) = at_bob();
    room.end(1, &run);
    for _ in 0..100 {
        room.comes(0, Err(Unfetched::NoRoom("the disk is full".into())));
        room.pass(60_000);
    }
    assert_eq!(room.state(0, &task).0, "fetching");
    assert!(room.peers[1].forgotten.is_empty());
    let mut asked = 0;
    while !room.peers[0].fetches.is_empty() {
        room.comes(0, Err(Unfetched::Withheld));
        room.pass(60_000);
        asked += 1;
    }
    assert_eq!(asked, 12);
    let told = history(&mut room, &task)[0].fate.clone();
    assert_eq!(told, "lost: its result could not be fetched: the peer does not hand it out");
    assert_eq!((room.peers[1].forgotten.as_slice(), bad_results(&room)), (&[run.attempt][..], 0));
    assert!(history(&mut room, &task).len() > 1, "another tries");
}

// spec: DEL-5
#[test]
fn a_result_is_asked_for_again_when_the_peer_is_back() {
    let (mut room, task, run) = at_bob();
    room.end(1, &run);
    room.disconnect(0, 1);
    room.comes(0, Err(Unfetched::Line("the peer is not connected".into())));
    room.pass(1_000);
    room.connect(0, 1);
    room.pass(1_000);
    assert_eq!(room.peers[0].fetches.len(), 1);
    room.comes(0, Ok(()));
    assert_eq!(room.state(0, &task).0, "done");
    assert_eq!(history(&mut room, &task).len(), 1);
}

fn saved(number: u8) -> Blob {
    Blob { hash: BlobHash([100 + number; 32]), len: 10 }
}

fn saves(room: &mut Room, run: &Run, blob: Blob) {
    room.handle(1, Input::Run(run.attempt, RunEvent::Checkpoint(1, blob)));
}

// spec: DEL-5, ARC-7
#[test]
fn of_many_checkpoints_one_is_under_way_and_the_last_comes_next() {
    let (mut room, task, run) = at_bob();
    for number in 0..100 {
        saves(&mut room, &run, saved(number));
    }
    saves(&mut room, &run, Blob { hash: BlobHash([1; 32]), len: 1 << 40 });
    let under_way = |room: &Room| room.peers[0].fetches.iter().map(|it| it.1).collect::<Vec<_>>();
    assert_eq!(under_way(&room), [saved(0)]);
    room.comes(0, Ok(()));
    assert_eq!(under_way(&room), [saved(99)]);
    room.comes(0, Err(Unfetched::Line("too slow".into())));
    assert!(under_way(&room).is_empty());
    saves(&mut room, &run, saved(101));
    saves(&mut room, &run, saved(102));
    // With the result there is no use for them.
    room.end(1, &run);
    assert_eq!(under_way(&room), [Blob { hash: BlobHash([9; 32]), len: 10 }]);
    room.comes(0, Ok(()));
    assert_eq!(room.state(0, &task).0, "done");
    assert!(under_way(&room).is_empty());
}

// spec: DEL-3, DEL-5
#[test]
fn what_is_under_way_for_an_attempt_ends_when_it_does_not_count_any_more() {
    for cancelled in [true, false] {
        let (mut room, task, run) = at_bob();
        saves(&mut room, &run, saved(1));
        saves(&mut room, &run, saved(2));
        assert_eq!(room.peers[0].fetches.len(), 1);
        if cancelled {
            room.ask(0, Command::Cancel { task }).unwrap();
        } else {
            room.disconnect(0, 1);
            room.pass(60_000);
        }
        assert!(room.peers[0].fetches.is_empty());
    }
}

// spec: DEL-4, ARC-7
#[test]
fn what_somebody_calls_a_checkpoint_is_none_if_it_is_kept_here_for_something_else() {
    let (mut room, task, run) = at_bob();
    let module = Blob { hash: run.spec.module.into(), len: 10 };
    saves(&mut room, &run, module);
    assert_eq!((room.peers[0].begun, bad_results(&room)), (0, 1));
    // His result's, which he names before it is one.
    let output = Blob { hash: BlobHash([9; 32]), len: 10 };
    saves(&mut room, &run, output);
    room.comes(0, Ok(()));
    saves(&mut room, &run, saved(1));
    room.comes(0, Ok(()));
    assert_eq!(room.peers[0].unneeded, [output.hash]);
    saves(&mut room, &run, output);
    room.comes(0, Ok(()));
    assert_eq!(room.peers[0].unneeded, [output.hash, saved(1).hash]);
    room.peers[0].unneeded.clear();
    room.end(1, &run);
    room.comes(0, Ok(()));
    assert_eq!(room.state(0, &task).0, "done");
    assert!(room.peers[0].unneeded.is_empty(), "the result stays");
    assert!(room.peers[0].node.needed().1.contains(&output.hash));
}

// spec: DEL-4
#[test]
fn a_result_that_came_as_a_checkpoint_was_not_held_against_its_receipt() {
    let (mut room, task, run) = at_bob();
    let output = Blob { hash: BlobHash([9; 32]), len: 10 };
    saves(&mut room, &run, output);
    let as_checkpoint = room.peers[0].numbers.last().unwrap().2;
    room.end(1, &run);
    // It was whole when it was to be ended.
    room.handle(0, Input::Fetched(as_checkpoint, run.attempt, output.hash, Ok(())));
    assert_eq!(room.state(0, &task).0, "fetching");
    assert!(room.peers[0].unneeded.is_empty());
    room.comes(0, Err(Unfetched::False("the output's /out is not the one in the receipt".into())));
    assert_eq!(bad_results(&room), 1);
    assert_ne!(room.state(0, &task).0, "done");
}

// spec: DEL-5, DEL-9
#[test]
fn a_result_that_does_not_come_is_asked_for_ever_more_seldom_and_at_least_every_minute() {
    let (mut room, task, run) = at_bob();
    room.end(1, &run);
    let mut waits = Vec::new();
    for _ in 0..11 {
        room.comes(0, Err(Unfetched::Withheld));
        let why = room.state(0, &task).1;
        // Ten milliseconds of the first second are over when it is asked.
        let words = why.split("again in ").nth(1).and_then(|words| words.strip_suffix(" s"));
        let seconds: u64 = words.unwrap_or_else(|| panic!("{why}")).parse().unwrap();
        waits.push(seconds);
        room.pass(seconds * 1_000 - 11);
        assert!(room.peers[0].fetches.is_empty(), "not before");
        room.pass(11);
        assert_eq!(room.peers[0].fetches.len(), 1);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]);
    room.comes(0, Ok(()));
    assert_eq!(room.state(0, &task).0, "done");
}

// spec: DEL-4, ARC-7
#[test]
fn what_comes_when_nobody_wants_it_goes_again_and_settles_nothing() {
    let output = BlobHash([9; 32]);
    let (mut room, task, run) = at_bob();
    room.end(1, &run);
    let number = room.peers[0].numbers.last().unwrap().2;
    let other = BlobHash([77; 32]);
    let came = |room: &mut Room, number, attempt, hash, result| {
        room.peers[0].unneeded.clear();
        room.handle(0, Input::Fetched(number, attempt, hash, result));
        room.peers[0].unneeded.clone()
    };
    let gone = || Err(Unfetched::Line("it broke".into()));
    // As another fetch, of another attempt, or as other bytes.
    assert!(
        came(&mut room, number + 1, run.attempt, output, Ok(())).is_empty(),
        "the result is still wanted"
    );
    let earlier = AttemptId { attempt: 7, ..run.attempt };
    assert_eq!(came(&mut room, number, earlier, other, Ok(())), [other]);
    assert_eq!(came(&mut room, number, run.attempt, other, Ok(())), [other]);
    assert!(came(&mut room, number, run.attempt, other, gone()).is_empty());
    assert_eq!(room.state(0, &task).0, "fetching");
    assert_eq!(room.peers[0].fetches.len(), 1, "and it is under way as it was");
    // Of a task that is over, and of one that was never here.
    room.ask(0, Command::Cancel { task: task.clone() }).unwrap();
    assert_eq!(came(&mut room, number, run.attempt, output, Ok(())), [output]);
    assert!(came(&mut room, number, run.attempt, output, gone()).is_empty());
    let nobodys = AttemptId { task: TaskId([9; 32]), attempt: 1 };
    assert_eq!(came(&mut room, number, nobodys, output, Ok(())), [output]);
    assert!(came(&mut room, number, nobodys, output, gone()).is_empty());
    assert_eq!((room.state(0, &task).0.as_str(), bad_results(&room)), ("cancelled", 0));
}

// spec: DEL-5
#[test]
fn a_checkpoint_that_is_here_is_not_fetched_again_and_an_empty_one_is_none() {
    let (mut room, _, run) = at_bob();
    saves(&mut room, &run, Blob { len: 0, ..saved(1) });
    assert_eq!((room.peers[0].begun, bad_results(&room)), (0, 1));
    saves(&mut room, &run, saved(1));
    room.comes(0, Ok(()));
    saves(&mut room, &run, saved(1));
    assert_eq!((room.peers[0].begun, bad_results(&room)), (1, 1));
    // A false one is counted, and the next is fetched all the same.
    saves(&mut room, &run, saved(2));
    saves(&mut room, &run, saved(3));
    room.comes(0, Err(Unfetched::False("it is no checkpoint".into())));
    assert_eq!((room.peers[0].fetches[0].1, bad_results(&room)), (saved(3), 2));
    // With the result under way none is.
    room.comes(0, Ok(()));
    room.end(1, &run);
    let begun = room.peers[0].begun;
    let (bob, late) = (room.key(1), TaskFrame::Checkpoint { number: 4, blob: saved(4) });
    room.handle(0, Input::Task(bob, run.attempt, late));
    assert_eq!((room.peers[0].begun, bad_results(&room)), (begun, 2));
}

/// Each is looked at and kept by whose task it is, and costs whoever says to have it a few bytes.
// spec: DEL-5, NET-4
#[test]
fn a_task_that_is_saved_without_end_is_fetched_a_few_times_a_minute_and_the_last_state_counts() {
    let (mut room, _, run) = at_bob();
    for turn in 0..1_200 {
        let number = if turn == 1_199 { 150 } else { (turn % 100) as u8 };
        saves(&mut room, &run, saved(number));
        while !room.peers[0].fetches.is_empty() {
            room.comes(0, Ok(()));
        }
        room.pass(50);
    }
    // Three at once, and one in ten seconds.
    assert!((8..=11).contains(&room.peers[0].begun), "{}", room.peers[0].begun);
    room.pass(10_000);
    assert_eq!(room.peers[0].fetches.last().map(|it| it.1), Some(saved(150)));
}

/// Bob gives alice's task up with its state saved, has it again, and says this after it ran for so long. Does he get the
/// state once more?
fn is_given_again(ran_ms: u64, reason: &Reason) -> bool {
    let (mut room, _, run) = at_bob();
    room.ask(0, Command::Pause { for_ms: None }).unwrap();
    saves(&mut room, &run, saved(1));
    room.comes(0, Ok(()));
    room.handle(1, Input::Run(run.attempt, RunEvent::Lost(Reason::Restarted)));
    for _ in 0..3 {
        let mut waited = 0;
        while room.peers[1].runs.is_empty() {
            room.pass(1_000);
            waited += 1;
            assert!(waited < 600, "{reason:?}");
        }
        let run = room.peers[1].runs.pop().unwrap();
        if run.resume.is_none() {
            return false;
        }
        room.handle(1, Input::Run(run.attempt, RunEvent::Started));
        room.pass(ran_ms);
        room.handle(1, Input::Run(run.attempt, RunEvent::Lost(reason.clone())));
    }
    room.peers[0].unneeded.is_empty()
}

// spec: DEL-3, DEL-7
#[test]
fn a_state_is_given_up_for_what_can_be_its_fault_alone_and_before_anything_went_on_from_it() {
    let failed = Reason::SandboxFailed("it fell over".into());
    assert!(!is_given_again(0, &failed));
    assert!(!is_given_again(0, &Reason::NotFetched("its checkpoint: the line broke".into())));
    assert!(is_given_again(0, &Reason::NotFetched("its module: the line broke".into())));
    assert!(is_given_again(0, &Reason::Restarted));
    assert!(is_given_again(70_000, &failed), "what ran for a minute went on from it");
}

// spec: DEL-5, DEL-7
#[test]
fn of_a_task_that_saves_nothing_no_checkpoint_is_taken_and_of_another_none_larger_than_its_limits() {
    let (mut room, _, run) = at_bob();
    let limits = &run.spec.limits;
    let parts = limits.checkpoint_bytes + limits.stdout_bytes + limits.stderr_bytes + limits.out_bytes;
    let most = parts + 10_000 * (u64::from(limits.out_files) + 1);
    saves(&mut room, &run, Blob { len: most + 1, ..saved(1) });
    assert_eq!((room.peers[0].begun, bad_results(&room)), (0, 1));
    saves(&mut room, &run, Blob { len: most, ..saved(1) });
    assert_eq!(room.peers[0].begun, 1);
    room.comes(0, Err(Unfetched::False("it is not a checkpoint file".into())));
    assert_eq!(bad_results(&room), 2);

    let mut room = Room::community(&["alice", "bob"]);
    room.grant(1, "alice");
    room.slow = true;
    room.submit_draft(0, draft("word-count", 1)).unwrap();
    let run = room.peers[1].runs.pop().unwrap();
    room.handle(1, Input::Run(run.attempt, RunEvent::Started));
    saves(&mut room, &run, saved(1));
    assert_eq!((room.peers[0].begun, bad_results(&room)), (0, 1));
}

// spec: DEL-3, DEL-7
#[test]
fn from_a_state_that_nobody_can_go_on_from_nobody_is_asked_to_go_on() {
    for reason in [
        Reason::Inadmissible("its checkpoint: it is damaged".into()),
        Reason::SandboxFailed("it fell over".into()),
        Reason::NotFetched("its checkpoint: the line broke".into()),
    ] {
        let mut room = Room::community(&["alice", "bob", "carol"]);
        room.grant(1, "alice");
        room.grant(2, "alice");
        room.slow = true;
        let mut draft = draft("word-count", 1);
        draft.limits.checkpoint_bytes = 1_000;
        let task = room.submit_draft(0, draft).unwrap();
        let take = |room: &mut Room| {
            for _ in 0..600 {
                if let Some(at) = (0..3).find(|number| !room.peers[*number].runs.is_empty()) {
                    return (at, room.peers[at].runs.pop().unwrap());
                }
                room.pass(1_000);
            }
            panic!("nobody runs it: {:?}", room.state(0, &task));
        };
        let (first, run) = take(&mut room);
        room.handle(first, Input::Run(run.attempt, RunEvent::Started));
        room.handle(first, Input::Run(run.attempt, RunEvent::Checkpoint(1, saved(1))));
        if first != 0 {
            room.comes(0, Ok(()));
        }
        room.handle(first, Input::Run(run.attempt, RunEvent::Lost(Reason::StorageFailed("no room".into()))));
        let mut given = Vec::new();
        let (at, run) = loop {
            let (at, run) = take(&mut room);
            if run.resume.is_none() {
                break (at, run);
            }
            assert!(room.peers[0].unneeded.is_empty());
            given.push(at);
            room.handle(at, Input::Run(run.attempt, RunEvent::Lost(reason.clone())));
        };
        // Two devices, or one three times.
        let several = given.iter().any(|at| *at != given[0]);
        assert_eq!(
            given.len(),
            if several { given.iter().take_while(|at| **at == given[0]).count() + 1 } else { 3 }
        );
        assert_eq!(room.peers[0].unneeded, [saved(1).hash]);
        room.end(at, &run);
        if at != 0 {
            room.comes(0, Ok(()));
        }
        assert_eq!(room.state(0, &task).0, "done");
    }
}

// spec: DEL-3
#[test]
fn a_donor_without_room_is_asked_again_and_the_task_does_not_fail_by_it() {
    let (mut room, task, mut run) = at_bob();
    for _ in 0..20 {
        room.handle(1, Input::Run(run.attempt, RunEvent::Lost(Reason::NoCapacity)));
        room.pass(20 * 60_000);
        let at = (0..2).find(|number| !room.peers[*number].runs.is_empty()).expect("somebody runs it");
        run = room.peers[at].runs.pop().unwrap();
        if at == 0 {
            room.handle(0, Input::Run(run.attempt, RunEvent::Lost(Reason::NoCapacity)));
            room.pass(20 * 60_000);
            run = room.peers[1].runs.pop().unwrap();
        }
    }
    assert_ne!(room.state(0, &task).0, "failed");
}
