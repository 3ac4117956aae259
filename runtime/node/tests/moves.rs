//! What runs is asked about again: energy gets worse and better while tasks run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod room;

use mesh_node::{Answer, Capacity, Command, Draft, Forecast, Input, RunEvent, StatsView, TaskView};
use mesh_policies::donor::{Situation, Terms};
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::energy::Reading;
use mesh_protocol::frame::{Beat, Phase, TaskFrame};
use mesh_protocol::ids::BlobHash;
use mesh_protocol::invite::TicketKind;
use mesh_protocol::ledger::{Entry, Payload};
use mesh_protocol::reason::Reason;
use mesh_protocol::rules::{Rules, Tier};
use mesh_protocol::task::{Blob, Sla};
use room::*;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const SAVED: Blob = Blob { hash: BlobHash([5; 32]), len: 100 };

fn rules() -> Rules {
    // Nobody is asked, and a member may ask for as much as a test does.
    let free = Tier { tasks: 0, longest_ms: HOUR, memory_bytes: 1 << 30 };
    Rules { voting_window_ms: 0, free, entries_per_hour: 0, ..Rules::default() }
}

/// Alice's tasks may run with all others. Alice's own energy is dirty.
fn street(names: &[&str]) -> Room {
    let mut room = Room::community_by(names, rules());
    for number in 1..names.len() {
        room.grant(number, "alice");
    }
    energy(&mut room, 0, Source::Grid, 10, 700);
    room
}

fn energy(room: &mut Room, number: usize, source: Source, renewable_percent: u8, g_per_kwh: u16) {
    let claim = EnergyClaim { source, renewable_percent, g_per_kwh };
    room.handle(number, Input::Energy(Some(Box::new(Reading::of(claim, "fixed"))), None));
    room.pass(1_000);
}

fn clean(room: &mut Room, number: usize) {
    energy(room, number, Source::Grid, 90, 50);
}

fn dirty(room: &mut Room, number: usize) {
    energy(room, number, Source::Grid, 10, 700);
}

fn task(sla: Sla) -> Draft {
    let mut draft = draft("word-count", 1);
    (draft.sla, draft.followed) = (sla, false);
    draft.limits.duration_ms = 10 * MINUTE;
    draft.limits.checkpoint_bytes = 1_000;
    draft
}

/// The only run that a peer was given begins.
fn begins(room: &mut Room, number: usize) -> mesh_node::Run {
    let run = room.peers[number].runs.pop().unwrap_or_else(|| panic!("{number} runs it"));
    room.handle(number, Input::Run(run.attempt, RunEvent::Started));
    room.pass(MINUTE);
    run
}

fn saves(room: &mut Room, number: usize, run: &mesh_node::Run) {
    room.handle(number, Input::Run(run.attempt, RunEvent::Checkpoint(1, SAVED)));
    room.pass(1_000);
}

fn view(room: &mut Room, id: &str) -> TaskView {
    match room.ask(0, Command::Task { task: id.into() }).unwrap() {
        Answer::Task(view) => *view,
        other => panic!("{other:?}"),
    }
}

fn held(room: &mut Room, number: usize) -> Option<String> {
    match room.ask(number, Command::Status).unwrap() {
        Answer::Status(status) => status.running[0].progress.held.as_ref().map(ToString::to_string),
        other => panic!("{other:?}"),
    }
}

/// What the ledger says of holds, as another member has it, oldest first.
fn on_record(room: &Room) -> Vec<Option<Reason>> {
    let entries = room.peers[0].entries.values().filter_map(|bytes| Entry::verify(bytes).ok());
    let mut said: Vec<_> = entries
        .filter_map(|entry| match entry.payload() {
            Payload::Held { reason, .. } => Some((entry.header().hlc, reason.clone())),
            _ => None,
        })
        .collect();
    said.sort_by_key(|(at, _)| *at);
    said.into_iter().map(|(_, reason)| reason).collect()
}

// spec: SLA-1, DEL-9, DEL-12, PLACE-2
#[test]
fn a_donor_whose_energy_gets_dirty_holds_an_eco_task_until_it_is_clearly_clean_again() {
    let mut room = street(&["alice", "bob"]);
    clean(&mut room, 1);
    let id = room.submit_draft(0, task(Sla::Eco)).unwrap();
    begins(&mut room, 1);
    assert!(room.obey(1).is_empty());
    // The submitter need not be there for that.
    room.disconnect(0, 1);
    dirty(&mut room, 1);
    assert_eq!(room.obey(1), [Wish::Hold]);
    room.connect(0, 1);
    room.pass(5_000);
    let words = Reason::EnergyNotClean.to_string();
    let why = view(&mut room, &id).why;
    assert!(why.starts_with("bob-laptop holds it: ") && why.contains(&words), "{why}");
    assert_eq!(held(&mut room, 1), Some(words));
    assert_eq!(on_record(&room), [Some(Reason::EnergyNotClean)]);
    // What hovers about the bound starts nothing.
    for (renewable, grams) in [(60, 150), (61, 140), (62, 143)] {
        energy(&mut room, 1, Source::Grid, renewable, grams);
        assert!(room.obey(1).is_empty(), "{renewable} % and {grams} g are as good as the bound");
    }
    energy(&mut room, 1, Source::Grid, 62, 142);
    assert_eq!(room.obey(1), [Wish::GoOn]);
    // And what hovers above it stops nothing.
    energy(&mut room, 1, Source::Grid, 60, 150);
    assert!(room.obey(1).is_empty());
    assert_eq!(on_record(&room), [Some(Reason::EnergyNotClean), None]);
    let state = view(&mut room, &id);
    assert!(state.state == "running" && state.why.starts_with("bob-laptop runs it"), "{}", state.why);
}

// spec: PLACE-2
#[test]
fn energy_that_flaps_fills_no_ledger() {
    let mut room = street(&["alice", "bob"]);
    clean(&mut room, 1);
    room.submit_draft(0, task(Sla::Eco)).unwrap();
    begins(&mut room, 1);
    for _ in 0..HOUR / 4_000 {
        dirty(&mut room, 1);
        room.obey(1);
        clean(&mut room, 1);
        room.pass(2_000);
        room.obey(1);
    }
    let holds = on_record(&room).len();
    assert!((10..=50).contains(&holds), "{holds} entries in an hour of 900 changes");
}

// spec: SLA-1
#[test]
fn urgent_and_high_are_never_interrupted_by_energy() {
    for sla in [Sla::Urgent, Sla::High] {
        let mut room = street(&["alice", "bob", "carol"]);
        clean(&mut room, 1);
        let id = room.submit_draft(0, task(sla)).unwrap();
        let run = begins(&mut room, 1);
        saves(&mut room, 1, &run);
        energy(&mut room, 2, Source::Wind, 100, 10);
        dirty(&mut room, 1);
        room.pass(5 * MINUTE);
        assert!(room.obey(1).is_empty() && room.peers[2].runs.is_empty(), "{sla:?}");
        assert_eq!(view(&mut room, &id).attempt.unwrap().0, 1);
    }
}

// spec: SLA-1, SLA-4
#[test]
fn sun_and_wind_only_stand_still_when_it_is_gone_and_go_nowhere_else() {
    for (sla, source, gone) in
        [(Sla::SolarOnly, Source::Solar, Reason::NoSun), (Sla::WindOnly, Source::Wind, Reason::NoWind)]
    {
        let mut room = street(&["alice", "bob"]);
        energy(&mut room, 0, source, 100, 20);
        energy(&mut room, 1, source, 100, 20);
        let id = room.submit_draft(0, task(sla)).unwrap();
        let run = begins(&mut room, 0);
        saves(&mut room, 0, &run);
        dirty(&mut room, 0);
        assert_eq!(room.obey(0), [Wish::Hold]);
        room.pass(10 * MINUTE);
        assert!(room.peers[1].runs.is_empty(), "not even to a neighbour who has it");
        let why = view(&mut room, &id).why;
        assert!(why.contains(&gone.to_string()), "{why}");
        energy(&mut room, 0, source, 100, 20);
        assert_eq!(room.obey(0), [Wish::GoOn]);
    }
}

fn stats(room: &mut Room, peer: Option<&str>) -> StatsView {
    match room.ask(0, Command::Stats { user: None, peer: peer.map(str::to_owned) }).unwrap() {
        Answer::Stats(view) => *view,
        other => panic!("{other:?}"),
    }
}

// spec: DEL-7, DEL-13
#[test]
fn what_saved_a_checkpoint_goes_on_where_energy_is_clean_and_both_peers_energy_counts() {
    let mut room = street(&["alice", "bob", "carol"]);
    clean(&mut room, 1);
    let id = room.submit_draft(0, task(Sla::Eco)).unwrap();
    let first = begins(&mut room, 1);
    saves(&mut room, 1, &first);
    energy(&mut room, 2, Source::Wind, 100, 10);
    assert!(room.peers[2].runs.is_empty() || room.obey(1).contains(&Wish::Stop), "cleaner is a reason, too");
    dirty(&mut room, 1);
    room.obey(1);
    room.pass(1_000);
    let second = room.peers[2].runs.pop().expect("carol goes on with it");
    assert_eq!((second.attempt.attempt, second.resume), (2, Some(SAVED)));
    room.obey(1);
    room.end(2, &second);
    room.pass(20_000);
    let done = view(&mut room, &id);
    assert_eq!((done.state.as_str(), done.history.len()), ("done", 2));
    assert!(done.history[0].fate.starts_with("lost: "), "{}", done.history[0].fate);
    // 1 J on Bob's, 10 J on Carol's: each once.
    let total =
        |stats: StatsView| ((stats.energy_used_clean + stats.energy_used_dirty) * 3_600_000.0).round() as u64;
    assert_eq!(total(stats(&mut room, Some("bob-laptop"))), 1_000);
    assert_eq!(total(stats(&mut room, Some("carol-laptop"))), 10_000);
    assert_eq!(total(stats(&mut room, None)), 11_000);
    equal(&room);
}

// spec: DEL-7
#[test]
fn what_saved_nothing_is_paused_in_place_and_goes_on_there() {
    let mut room = street(&["alice", "bob", "carol"]);
    clean(&mut room, 1);
    let id = room.submit_draft(0, task(Sla::Eco)).unwrap();
    let run = begins(&mut room, 1);
    clean(&mut room, 2);
    dirty(&mut room, 1);
    assert_eq!(room.obey(1), [Wish::Hold]);
    room.pass(HOUR / 2);
    assert!(room.peers[2].runs.is_empty(), "what it has computed would be lost");
    let why = view(&mut room, &id).why;
    assert!(why.contains("anew on another peer if waiting would make it late"), "{why}");
    clean(&mut room, 1);
    assert_eq!(room.obey(1), [Wish::GoOn]);
    room.end(1, &run);
    assert_eq!(view(&mut room, &id).history[0].fate, "done", "the first attempt was the one that ended");
}

fn mains(room: &mut Room, number: usize, on_mains: bool) {
    let situation = Situation { on_mains: Some(on_mains), ..Situation::default() };
    room.handle(number, Input::Situation(situation));
}

// spec: DEL-7, PERM-5, EN-4
#[test]
fn a_laptop_that_loses_mains_holds_its_guests_and_a_saved_task_goes_on_elsewhere() {
    let mut room = street(&["alice", "bob", "carol"]);
    let terms = Terms { mains_only: true, ..Terms::default() };
    room.handle(1, Input::Terms(Box::new(terms)));
    clean(&mut room, 1);
    energy(&mut room, 2, Source::Grid, 10, 690);
    let id = room.submit_draft(0, task(Sla::Normal)).unwrap();
    let first = begins(&mut room, 1);
    saves(&mut room, 1, &first);
    let before = room.now;
    mains(&mut room, 1, false);
    assert_eq!((room.peers[1].wishes.last().map(|it| it.1), room.now), (Some(Wish::Hold), before), "at once");
    room.obey(1);
    room.pass(1_000);
    let second = room.peers[2].runs.pop().expect("carol goes on with it");
    assert_eq!(second.resume, Some(SAVED));
    assert!(view(&mut room, &id).history[0].fate.contains("on battery"));
    assert_eq!(on_record(&room), [Some(Reason::OnBattery)]);
}

// spec: DEL-7, SLA-2
#[test]
fn what_saved_nothing_is_begun_anew_elsewhere_only_when_waiting_would_make_it_late() {
    let mut room = street(&["alice", "bob", "carol"]);
    room.handle(1, Input::Terms(Box::new(Terms { mains_only: true, ..Terms::default() })));
    clean(&mut room, 1);
    let finish_by = room.now.wall_ms + 3 * HOUR;
    let id = room.submit_draft(0, Draft { finish_by_ms: Some(finish_by), ..task(Sla::Normal) }).unwrap();
    assert_eq!(view(&mut room, &id).finish_by_ms, Some(finish_by));
    begins(&mut room, 1);
    mains(&mut room, 1, false);
    room.obey(1);
    // It needs ten minutes at most, and a minute for the way.
    let latest = finish_by - 11 * MINUTE;
    room.pass(latest - room.now.wall_ms - MINUTE);
    let runs = |room: &Room| room.peers[0].runs.len() + room.peers[2].runs.len();
    assert_eq!(runs(&room), 0, "it may still go on where it is");
    room.pass(2 * MINUTE);
    assert_eq!(runs(&room), 1, "{}", view(&mut room, &id).why);
    assert!(room.now.wall_ms + 10 * MINUTE <= finish_by, "and is done in time");
    assert_eq!(room.obey(1), [Wish::Stop]);
}

/// Nobody votes: tasks wait for clean energy as ECO does, until their latest start. Alice burns coal, Bob and Carol have
/// wind, one slot each.
fn unheard() -> Room {
    let rules = Rules { voting_window_ms: MINUTE, vote_after_ms: 0, ..rules() };
    let mut room = Room::community_by(&["alice", "bob", "carol"], rules);
    energy(&mut room, 0, Source::Grid, 5, 500);
    for number in [1, 2] {
        room.grant(number, "alice");
        let one = Capacity { slots: 1, memory: 1 << 30, longest_ms: HOUR };
        room.handle(number, Input::Capacity(one));
        energy(&mut room, number, Source::Wind, 100, 30);
    }
    room
}

/// A task of the slot's whole hour takes it.
fn fill(room: &mut Room, number: usize, name: &str) {
    let mut urgent = Draft { on: Some(name.into()), nonce: [number as u8; 32], ..task(Sla::Urgent) };
    urgent.limits.duration_ms = HOUR;
    room.submit_draft(0, urgent).unwrap();
    begins(room, number);
}

// spec: SLA-2, VOTE-6
#[test]
fn at_its_latest_start_a_task_that_nobody_voted_on_waits_for_no_cleaner_peer_that_is_full() {
    let mut room = unheard();
    fill(&mut room, 1, "bob-laptop");
    fill(&mut room, 2, "carol-laptop");
    let finish_by = room.now.wall_ms + 40 * MINUTE;
    let draft = Draft { finish_by_ms: Some(finish_by), nonce: [3; 32], ..task(Sla::Normal) };
    let id = room.submit_draft(0, draft).unwrap();
    let latest = finish_by - 11 * MINUTE;
    room.pass(latest - room.now.wall_ms - MINUTE);
    assert!(room.peers[0].runs.is_empty(), "it has the time to wait for wind");
    room.pass(MINUTE + 10_000);
    let state = view(&mut room, &id);
    assert_eq!(room.peers[0].runs.len(), 1, "{}: {}", state.state, state.why);
    assert!(state.why.contains("there is no time left to wait"), "{}", state.why);
}

// spec: SLA-2, VOTE-6, DEL-7
#[test]
fn what_stands_still_at_its_latest_start_is_begun_anew_where_there_is_room() {
    let mut room = unheard();
    room.handle(1, Input::Terms(Box::new(Terms { mains_only: true, ..Terms::default() })));
    fill(&mut room, 2, "carol-laptop");
    let finish_by = room.now.wall_ms + 40 * MINUTE;
    let draft = Draft { finish_by_ms: Some(finish_by), nonce: [3; 32], ..task(Sla::Normal) };
    let id = room.submit_draft(0, draft).unwrap();
    room.pass(2 * MINUTE);
    begins(&mut room, 1);
    mains(&mut room, 1, false);
    room.obey(1);
    let latest = finish_by - 11 * MINUTE;
    room.pass(latest - room.now.wall_ms - MINUTE);
    assert!(room.peers[0].runs.is_empty(), "it may still go on where it is");
    room.pass(MINUTE + 10_000);
    let state = view(&mut room, &id);
    assert_eq!(room.peers[0].runs.len(), 1, "{}: {}", state.state, state.why);
    assert_eq!(room.obey(1), [Wish::Stop]);
}

// spec: SLA-2, CLI-3
#[test]
fn what_waits_behind_others_past_its_latest_start_tells_of_no_plan_of_before() {
    let mut room = street(&["alice", "bob"]);
    let slots = |slots| Input::Capacity(Capacity { slots, memory: 1 << 30, longest_ms: HOUR });
    room.handle(0, slots(0));
    room.handle(1, slots(0));
    clean(&mut room, 1);
    room.submit_draft(0, Draft { nonce: [2; 32], ..task(Sla::Urgent) }).unwrap();
    let finish_by = room.now.wall_ms + 3 * HOUR;
    let draft = Draft { finish_by_ms: Some(finish_by), nonce: [3; 32], ..task(Sla::Normal) };
    let id = room.submit_draft(0, draft).unwrap();
    room.pass(MINUTE);
    let why = view(&mut room, &id).why;
    assert!(why.starts_with("waits for bob-laptop"), "{why}");
    room.pass(finish_by - 11 * MINUTE - room.now.wall_ms);
    room.handle(0, Input::Wake);
    let why = view(&mut room, &id).why;
    assert!(!why.starts_with("waits for") && why.contains("no free slot"), "{why}");
}

/// Nobody had room at its latest start. It is late then, and not for ever where it stands still.
// spec: SLA-2, DEL-7
#[test]
fn what_stands_still_past_its_latest_start_goes_where_there_is_room_at_last() {
    let mut room = street(&["alice", "bob"]);
    let slots = |slots| Input::Capacity(Capacity { slots, memory: 1 << 30, longest_ms: HOUR });
    room.handle(0, slots(0));
    clean(&mut room, 1);
    room.handle(1, Input::Terms(Box::new(Terms { mains_only: true, ..Terms::default() })));
    let finish_by = room.now.wall_ms + 3 * HOUR;
    let mut long = Draft { finish_by_ms: Some(finish_by), ..task(Sla::High) };
    long.limits.duration_ms = HOUR;
    let id = room.submit_draft(0, long).unwrap();
    room.pass(2 * MINUTE);
    begins(&mut room, 1);
    mains(&mut room, 1, false);
    room.obey(1);
    room.pass(finish_by - room.now.wall_ms - 30 * MINUTE);
    assert_eq!(view(&mut room, &id).state, "running");
    room.handle(0, slots(1));
    room.pass(3 * MINUTE);
    let state = view(&mut room, &id);
    assert_eq!(room.peers[0].runs.len(), 1, "{}: {}", state.state, state.why);
    assert_eq!(room.obey(1), [Wish::Stop]);
}

/// A peer's source expects so much of the next hours, and after them so much.
fn expects(room: &mut Room, number: usize, hours: usize, grams: u16, then: u16) {
    let hour = room.now.wall_ms / HOUR;
    let g_per_kwh = (0..96).map(|lead| if lead < hours { grams } else { then }).collect();
    room.handle(number, Input::Forecast(Forecast { hour, g_per_kwh }));
    room.pass(1_000);
}

// spec: PLACE-1, PLACE-3, DEL-7, EN-5
#[test]
fn a_running_normal_task_waits_in_place_for_an_hour_that_is_much_cleaner_and_goes_on_by_itself() {
    let mut room = street(&["alice", "bob"]);
    clean(&mut room, 1);
    let id = room.submit_draft(0, task(Sla::Normal)).unwrap();
    begins(&mut room, 1);
    let why = view(&mut room, &id).why;
    assert!(why.contains("50 g per kWh there and 700 g here now (no later hour is cleaner)"), "{why}");
    // The grid fails, and is to be well again in five hours.
    expects(&mut room, 1, 5, 600, 60);
    energy(&mut room, 1, Source::Grid, 50, 600);
    room.pass(10_000);
    assert_eq!(room.obey(1), [Wish::Hold], "{}", view(&mut room, &id).why);
    let why = view(&mut room, &id).why;
    assert!(
        why.contains(&Reason::CleanerLater.to_string()) && why.contains("60 g per kWh expected"),
        "{why}"
    );
    assert_eq!(held(&mut room, 1), Some(Reason::CleanerLater.to_string()));
    assert_eq!(on_record(&room), [Some(Reason::CleanerLater)]);
    // What is a little better or worse changes nothing of that.
    for grams in [590, 610, 595] {
        energy(&mut room, 1, Source::Grid, 50, grams);
        room.pass(5 * MINUTE);
        assert!(room.obey(1).is_empty());
    }
    // The owner is gone: it goes on at its hour all the same.
    room.disconnect(0, 1);
    let at = (HOUR - room.now.wall_ms % HOUR) + 4 * HOUR;
    room.pass(at - MINUTE);
    assert!(room.obey(1).is_empty());
    room.pass(MINUTE + 1_000);
    assert_eq!(room.obey(1), [Wish::GoOn]);
}

/// So many tasks of an hour each, due in ten hours, and one slot that is much cleaner in five: those that run now.
fn crowd(tasks: u8, replicas: u8) -> (Room, Vec<String>) {
    let mut room = street(&["alice", "bob"]);
    for (number, slots) in [(0, 0), (1, 1)] {
        room.handle(number, Input::Capacity(Capacity { slots, memory: 1 << 30, longest_ms: HOUR }));
    }
    energy(&mut room, 1, Source::Grid, 50, 600);
    expects(&mut room, 1, 5, 600, 60);
    let finish_by = room.now.wall_ms + 10 * HOUR;
    for nonce in 1..=tasks {
        let mut draft = Draft { nonce: [nonce; 32], finish_by_ms: Some(finish_by), ..task(Sla::Normal) };
        (draft.replicas, draft.quorum) = (replicas, replicas);
        draft.limits.duration_ms = HOUR;
        room.submit_draft(0, draft).unwrap();
    }
    room.pass(10_000);
    let ids = room.peers[1].runs.iter().map(|run| run.attempt.task.to_string()).collect();
    (room, ids)
}

// spec: PLACE-2, PLACE-3, SLA-2
#[test]
fn tasks_that_would_all_wait_for_the_same_hours_start_now_as_far_as_those_hours_do_not_hold_them() {
    // Nine whole hours are left with this one.
    let (_, runs) = crowd(8, 1);
    assert!(runs.is_empty(), "each can wait, and so can all: {runs:?}");
    let (_, runs) = crowd(4, 2);
    assert!(runs.is_empty(), "two replicas are two, and their task is none beside them: {runs:?}");
    let (mut room, runs) = crowd(9, 1);
    let [id] = &runs[..] else { panic!("one of them has to go first: {runs:?}") };
    begins(&mut room, 1);
    let why = view(&mut room, id).why;
    assert!(why.contains("not all tasks fit into the cleaner hours"), "{why}");
    room.pass(5 * MINUTE);
    assert!(room.obey(1).is_empty(), "nor does it stand in the slot that the others need");
    let why = view(&mut room, id).why;
    assert!(why.contains("not all tasks fit into the cleaner hours"), "{why}");
}

// spec: PLACE-1, PLACE-2, DEL-7
#[test]
fn a_saved_normal_task_moves_to_where_it_is_much_cleaner_and_not_for_little_and_not_to_and_fro() {
    let mut room = street(&["alice", "bob", "carol"]);
    clean(&mut room, 1);
    let id = room.submit_draft(0, task(Sla::Normal)).unwrap();
    let first = begins(&mut room, 1);
    energy(&mut room, 2, Source::Grid, 90, 10);
    room.pass(MINUTE);
    assert!(room.obey(1).is_empty(), "what has saved nothing is not moved for a better place");
    energy(&mut room, 2, Source::Grid, 90, 47);
    saves(&mut room, 1, &first);
    room.pass(MINUTE);
    let wishes = room.obey(1);
    assert!(wishes.is_empty(), "not for less than a tenth: {wishes:?} {}", view(&mut room, &id).why);
    energy(&mut room, 2, Source::Grid, 90, 10);
    assert_eq!(room.obey(1), [Wish::Stop]);
    let second = begins(&mut room, 2);
    assert_eq!((second.attempt.attempt, second.resume), (2, Some(SAVED)));
    assert!(view(&mut room, &id).history[0].fate.contains(&Reason::CleanerElsewhere.to_string()));
    for _ in 0..4 {
        energy(&mut room, 2, Source::Grid, 90, 60);
        energy(&mut room, 1, Source::Grid, 90, 5);
        energy(&mut room, 1, Source::Grid, 90, 60);
        energy(&mut room, 2, Source::Grid, 90, 5);
    }
    assert!(room.obey(2).is_empty(), "it was moved a moment ago");
}

// spec: SLA-2, SLA-1
#[test]
fn a_submitter_is_told_at_once_when_nobody_can_end_it_in_time() {
    let mut room = street(&["alice", "bob"]);
    clean(&mut room, 1);
    let by = Some(room.now.wall_ms + 5 * MINUTE);
    let warned = |room: &mut Room, draft: Draft| match room.ask(0, Command::Submit(Box::new(draft))).unwrap()
    {
        Answer::Submitted { warning, task, .. } => (warning, task.to_string()),
        other => panic!("{other:?}"),
    };
    let (warning, id) = warned(&mut room, Draft { finish_by_ms: by, ..task(Sla::Normal) });
    let warning = warning.unwrap();
    assert!(warning.starts_with("it may end late"), "{warning}");
    let late = view(&mut room, &id);
    assert!(late.state != "waiting" && late.why.contains("may end late"), "{}", late.why);
    let enough = Draft { finish_by_ms: by.map(|by| by + 10 * MINUTE), nonce: [2; 32], ..task(Sla::Normal) };
    assert_eq!(warned(&mut room, enough).0, None);
    let past = Draft { start_by_ms: Some(room.now.wall_ms - 1), nonce: [3; 32], ..task(Sla::Normal) };
    let refused = room.ask(0, Command::Submit(Box::new(past))).unwrap_err();
    assert!(refused.message.contains("before its submission"), "{refused:?}");
    // One that nobody may run is told so, too.
    room.ask(0, Command::Pause { for_ms: None }).unwrap();
    room.ask(1, Command::Pause { for_ms: None }).unwrap();
    room.pass(1_000);
    let (warning, _) = warned(&mut room, Draft { nonce: [4; 32], ..task(Sla::High) });
    assert!(warning.unwrap().starts_with("nobody who may run it is there now"));
}

// spec: PLACE-3, CLI-3, SLA-1, QUOTA-4
#[test]
fn a_trial_says_by_which_rule_a_place_is_chosen_and_what_it_costs() {
    let mut room = Room::community(&["alice", "bob", "carol"]);
    let plan = |room: &mut Room, draft: Draft| {
        let draft = Draft { dry_run: true, ..draft };
        match room.ask(0, Command::Submit(Box::new(draft))).unwrap() {
            Answer::Plan(view) => view,
            other => panic!("{other:?}"),
        }
    };
    let clean = "it runs on the own sun, wind or water of whoever runs it, or on a grid of at most 150 g per kWh (or as in its cleanest 30 % of 30 days) that is at least 60 % renewable";
    for (sla, rule) in [
        (Sla::Urgent, "URGENT: it starts at once, where energy is cleanest; it is not interrupted".to_owned()),
        (
            Sla::High,
            "HIGH: it runs on any energy, in the hours and at the place that cost least carbon; it is not interrupted"
                .to_owned(),
        ),
        (
            Sla::Normal,
            "NORMAL: it runs on any energy, in the hours and at the place that cost least carbon; it may stand still in between"
                .to_owned(),
        ),
        (Sla::Eco, format!("ECO: {clean}; it may stand still in between")),
        (
            Sla::SolarOnly,
            "SOLAR_ONLY: it runs on this device's own sun, from 9 to 15 h by the sun; it may stand still in between"
                .to_owned(),
        ),
        (
            Sla::WindOnly,
            "WIND_ONLY: it runs on this device's own wind; it may stand still in between".to_owned(),
        ),
    ] {
        let view = plan(&mut room, task(sla));
        assert_eq!((view.rule, view.quota.as_str()), (rule, "1 task of the 10 left today of 10"));
    }
    let three = Draft { replicas: 3, quorum: 2, ..task(Sla::Normal) };
    assert_eq!(plan(&mut room, three).quota, "3 tasks (one for each replica) of the 10 left today of 10");
    for nonce in 10..13 {
        room.submit_draft(0, Draft { nonce: [nonce; 32], ..task(Sla::Eco) }).unwrap();
    }
    assert_eq!(plan(&mut room, task(Sla::Normal)).quota, "1 task of the 7 left today of 10");
    let health = Draft { description: "tests the water works".into(), ..task(Sla::Normal) };
    let quota = plan(&mut room, health.clone()).quota;
    assert_eq!(quota, "1 task of the 17 left today for public health");
    for nonce in 13..20 {
        room.submit_draft(0, Draft { nonce: [nonce; 32], ..task(Sla::Eco) }).unwrap();
    }
    let refused = plan(&mut room, task(Sla::Normal)).quota;
    let words = "it would be refused: the day's quota is used up: 10 of 10 tasks of today are used; resets ";
    assert!(refused.starts_with(words), "{refused}");
    let quota = plan(&mut room, health).quota;
    assert_eq!(quota, "1 task of the 10 left today for public health");
    // Where there is no limit none is told.
    let mut free = street(&["alice"]);
    assert_eq!(plan(&mut free, task(Sla::Normal)).quota, "1 task; your tier has no daily limit");
}

// spec: PLACE-2, DEL-7
#[test]
fn a_hold_of_less_than_five_minutes_is_not_worth_its_entries() {
    for (before_the_hour, held) in [(4 * MINUTE, false), (7 * MINUTE, true)] {
        let mut room = street(&["alice", "bob"]);
        clean(&mut room, 1);
        let finish_by = room.now.wall_ms + 10 * HOUR;
        let mut long = Draft { finish_by_ms: Some(finish_by), ..task(Sla::Normal) };
        long.limits.duration_ms = HOUR;
        room.submit_draft(0, long).unwrap();
        begins(&mut room, 1);
        let left = HOUR - room.now.wall_ms % HOUR;
        room.pass(left - before_the_hour - 10_000);
        expects(&mut room, 1, 1, 600, 60);
        energy(&mut room, 1, Source::Grid, 50, 600);
        room.pass(5_000);
        let expected: &[Wish] = if held { &[Wish::Hold] } else { &[] };
        assert_eq!(room.obey(1), expected, "{} minutes before it is cleaner", before_the_hour / MINUTE);
    }
}

// spec: PLACE-2, DEL-7
#[test]
fn what_was_moved_is_left_alone_for_a_quarter_of_an_hour() {
    let mut room = street(&["alice", "bob", "carol"]);
    clean(&mut room, 1);
    let mut long = task(Sla::Normal);
    long.limits.duration_ms = HOUR;
    room.submit_draft(0, long).unwrap();
    let first = begins(&mut room, 1);
    saves(&mut room, 1, &first);
    energy(&mut room, 2, Source::Grid, 90, 10);
    assert_eq!(room.obey(1), [Wish::Stop]);
    let moved = room.now.boot_ms;
    let second = begins(&mut room, 2);
    saves(&mut room, 2, &second);
    energy(&mut room, 1, Source::Grid, 90, 3);
    room.pass(moved + 14 * MINUTE - room.now.boot_ms);
    assert!(room.obey(2).is_empty());
    // What runs is thought about every other minute.
    room.pass(3 * MINUTE + 1_000);
    assert_eq!(room.obey(2), [Wish::Stop]);
    assert_eq!(room.peers[1].runs.pop().map(|run| run.attempt.attempt), Some(3));
}

// spec: VOTE-9, DEL-9
#[test]
fn what_can_run_is_found_at_once_behind_a_hundred_tasks_that_cannot() {
    let mut room = Room::community_by(&["alice", "bob"], rules());
    energy(&mut room, 0, Source::Grid, 10, 700);
    let capacity = |slots| Input::Capacity(Capacity { slots, memory: 1 << 30, longest_ms: HOUR });
    room.handle(0, capacity(0));
    for nonce in 0..100 {
        let on = Some("bob-laptop".to_owned());
        room.submit_draft(0, Draft { on, nonce: [nonce; 32], ..task(Sla::Urgent) }).unwrap();
    }
    let last = room.submit_draft(0, Draft { nonce: [200; 32], ..task(Sla::Urgent) }).unwrap();
    room.handle(0, capacity(1));
    room.pass(200);
    let runs: Vec<String> = room.peers[0].runs.iter().map(|run| run.attempt.task.to_string()).collect();
    assert_eq!(runs, [last]);
}

// spec: SLA-3, PLACE-1, PLACE-3
#[test]
fn an_eco_task_waits_for_no_low_carbon_grid_that_is_hardly_renewable() {
    let mut room = street(&["alice", "bob"]);
    // Nuclear: it has few grams at all hours, and will have no more sun or wind in any of them.
    energy(&mut room, 1, Source::Grid, 25, 40);
    let id = room.submit_draft(0, task(Sla::Eco)).unwrap();
    room.pass(MINUTE);
    let waits = view(&mut room, &id);
    assert!(waits.state == "waiting" && !waits.why.contains("expected"), "{}", waits.why);
    energy(&mut room, 0, Source::Grid, 65, 140);
    room.pass(MINUTE);
    assert_eq!(room.peers[0].runs.len(), 1, "{}", view(&mut room, &id).why);
}

// spec: SLA-3, PLACE-1
#[test]
fn an_eco_task_takes_a_clean_peer_that_is_free_before_a_cleaner_one_that_is_not() {
    let mut room = street(&["alice", "bob"]);
    room.handle(1, Input::Capacity(Capacity { slots: 1, memory: 1 << 30, longest_ms: HOUR }));
    energy(&mut room, 1, Source::Wind, 100, 30);
    fill(&mut room, 1, "bob-laptop");
    energy(&mut room, 0, Source::Grid, 65, 140);
    let id = room.submit_draft(0, Draft { nonce: [9; 32], ..task(Sla::Eco) }).unwrap();
    room.pass(MINUTE);
    assert_eq!(room.peers[0].runs.len(), 1, "{} {:?}", view(&mut room, &id).why, room.peers[1].runs);
}

// spec: SLA-1
#[test]
fn an_eco_task_with_an_end_is_given_up_then_and_says_why() {
    let mut room = street(&["alice"]);
    let end = room.now.wall_ms + 2 * HOUR;
    let id = room.submit_draft(0, Draft { finish_by_ms: Some(end), ..task(Sla::Eco) }).unwrap();
    assert_eq!(view(&mut room, &id).expires_ms, Some(end));
    room.pass(2 * HOUR - MINUTE);
    assert_eq!(view(&mut room, &id).state, "waiting");
    room.pass(2 * MINUTE);
    let gone = view(&mut room, &id);
    assert!(gone.state == "failed" && gone.why.contains(&Reason::Expired.to_string()), "{}", gone.why);
}

fn offers(room: &Room) -> usize {
    let entries = room.peers[0].entries.values().filter_map(|bytes| Entry::verify(bytes).ok());
    entries.filter(|entry| matches!(entry.payload(), Payload::Delegated { .. })).count()
}

/// A peer says that the attempt that it has stands still.
fn stands_still(room: &mut Room, id: &str, held: Option<Reason>) {
    let Some((attempt, device)) = room.peers[0].node.attempt_of(&id.parse().unwrap()) else { return };
    let beat = Beat { phase: Phase::Paused, permille: 0, note: String::new(), held };
    room.handle(0, Input::Task(device, attempt, TaskFrame::Beat(beat)));
}

/// Each time is an entry in the submitter's log, and it may write so many in an hour.
// spec: DEL-3, NET-4
#[test]
fn a_task_that_its_peers_give_up_at_once_is_offered_ever_more_seldom() {
    for held in [Reason::DonorPaused, Reason::EnergyNotClean] {
        let mut room = street(&["alice", "bob", "carol"]);
        for number in [1, 2] {
            clean(&mut room, number);
        }
        let id = room.submit_draft(0, task(Sla::Urgent)).unwrap();
        for _ in 0..3_600 {
            stands_still(&mut room, &id, Some(held.clone()));
            room.pass(1_000);
        }
        let often = offers(&room);
        assert!((5..=16).contains(&often), "{held}: {often} offers in an hour");
    }
}

// spec: DEL-3, NET-4
#[test]
fn a_donor_that_takes_tasks_and_has_no_room_is_asked_ever_more_seldom() {
    let mut room = street(&["alice", "bob"]);
    clean(&mut room, 1);
    room.ask(0, Command::Pause { for_ms: None }).unwrap();
    for _ in 0..20 {
        room.submit_draft(0, task(Sla::Urgent)).unwrap();
    }
    for _ in 0..600 {
        while let Some(run) = room.peers[1].runs.pop() {
            room.handle(1, Input::Run(run.attempt, RunEvent::Lost(Reason::NoCapacity)));
        }
        room.pass(1_000);
    }
    let often = offers(&room);
    assert!((3..=20).contains(&often), "{often} offers in ten minutes");
}

// spec: DEL-3, DEL-7
#[test]
fn who_says_that_a_task_stands_still_for_no_reason_that_was_asked_for_uses_up_its_time() {
    for held in [None, Some(Reason::CleanerLater)] {
        let mut room = street(&["alice", "bob"]);
        clean(&mut room, 1);
        let id = room.submit_draft(0, task(Sla::Urgent)).unwrap();
        room.pass(1_000);
        // From here on nothing comes of bob but that.
        room.disconnect(0, 1);
        for _ in 0..30 * 12 {
            stands_still(&mut room, &id, held.clone());
            room.pass(5_000);
        }
        let fate = view(&mut room, &id).history[0].fate.clone();
        assert!(fate.contains("run for longer than it may"), "held {held:?}: {fate}");
    }
    // And so does who says that it took the task and nothing more.
    let mut room = street(&["alice", "bob"]);
    clean(&mut room, 1);
    let id = room.submit_draft(0, task(Sla::Urgent)).unwrap();
    let (attempt, device) = room.peers[0].node.attempt_of(&id.parse().unwrap()).unwrap();
    room.disconnect(0, 1);
    for _ in 0..30 * 12 {
        room.handle(0, Input::Task(device, attempt, TaskFrame::Accepted));
        room.pass(5_000);
    }
    let fate = view(&mut room, &id).history[0].fate.clone();
    assert!(fate.contains("run for longer than it may"), "{fate}");
}

/// Bob has several devices whose energy is better than that of Carol, who alone runs what she takes.
fn bobs(devices: usize) -> Room {
    let mut room = street(&["alice", "bob", "carol"]);
    for number in 3..2 + devices {
        room.add("bob", number, 1);
        let invite = Command::Invite { kind: TicketKind::Member, valid_ms: MINUTE, addrs: vec![addr(0)] };
        let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
        room.ask(number, Command::Join { ticket, as_device_of: None }).unwrap();
        for other in 0..number {
            room.connect(number, other);
        }
        room.pass(2_000);
        room.grant(number, "alice");
    }
    for number in (0..room.peers.len()).filter(|number| ![0, 2].contains(number)) {
        energy(&mut room, number, Source::Solar, 100, 0);
    }
    clean(&mut room, 2);
    room
}

/// Whoever but one has the task gives it up within a second, for so long. Says after how many attempts that one had it.
fn who_is_left(room: &mut Room, id: &str, honest: usize, seconds: u64) -> Option<u32> {
    for _ in 0..seconds {
        for number in (1..room.peers.len()).filter(|number| *number != honest) {
            while let Some(run) = room.peers[number].runs.pop() {
                room.handle(number, Input::Run(run.attempt, RunEvent::Lost(Reason::DonorPaused)));
            }
        }
        let (attempt, device) = room.peers[0].node.attempt_of(&id.parse().unwrap()).unwrap();
        if device == room.key(honest) {
            return Some(attempt.attempt);
        }
        room.pass(1_000);
    }
    None
}

/// As many as give it up are asked before the one that would run it, for what they say of their energy.
// spec: DEL-3
#[test]
fn whoever_gives_a_task_up_does_not_keep_it_from_others() {
    // One that is late in any case is in more of a hurry, and no more theirs.
    for late in [false, true] {
        let mut room = street(&["alice", "bob", "carol", "dave", "erin", "frank"]);
        for number in 1..5 {
            energy(&mut room, number, Source::Solar, 100, 0);
        }
        clean(&mut room, 5);
        let in_time = task(if late { Sla::Normal } else { Sla::Urgent });
        let finish_by_ms = late.then_some(room.now.wall_ms + 5 * MINUTE);
        let id = room.submit_draft(0, Draft { finish_by_ms, ..in_time }).unwrap();
        assert_eq!(who_is_left(&mut room, &id, 5, 120), Some(5), "late: {late}");
    }
}

// spec: DEL-3
#[test]
fn all_devices_of_a_member_who_gives_a_task_up_come_after_others() {
    let mut room = bobs(6);
    let id = room.submit_draft(0, task(Sla::Urgent)).unwrap();
    assert_eq!(who_is_left(&mut room, &id, 2, 120), Some(5), "and not after all six of bob's");
}

// spec: DEL-3, DEL-7
#[test]
fn two_devices_of_a_member_do_not_hold_a_task_in_turns() {
    let mut room = bobs(2);
    let id = room.submit_draft(0, task(Sla::Urgent)).unwrap();
    let carol = room.key(2);
    let (mut last, mut since) = (0, 0);
    let at = |room: &Room| room.peers[0].node.attempt_of(&id.parse().unwrap()).unwrap();
    for second in 0..600 {
        let (attempt, device) = at(&room);
        if device == carol {
            break;
        }
        if attempt.attempt != last {
            (last, since) = (attempt.attempt, second);
        }
        // Longer than one that gave it up is not asked.
        if second < since + 20 {
            let beat = Beat { phase: Phase::Running, permille: 0, note: String::new(), held: None };
            room.handle(0, Input::Task(device, attempt, TaskFrame::Beat(beat)));
        } else {
            stands_still(&mut room, &id, Some(Reason::DonorPaused));
        }
        room.pass(1_000);
    }
    assert_eq!(at(&room).1, carol, "after {last} attempts");
}

/// What a peer says of its own reasons is no word about the task.
// spec: DEL-3, VOTE-6
#[test]
fn nobody_ends_anothers_task_by_saying_that_there_never_was_enough_energy() {
    let mut room = street(&["alice", "bob", "carol"]);
    for number in [1, 2] {
        clean(&mut room, number);
    }
    let id = room.submit_draft(0, task(Sla::Urgent)).unwrap();
    let (attempt, device) = room.peers[0].node.attempt_of(&id.parse().unwrap()).unwrap();
    room.handle(0, Input::Task(device, attempt, TaskFrame::Lost(Reason::NeverEnoughEnergy)));
    room.pass(1_000);
    let next = room.peers[0].node.attempt_of(&id.parse().unwrap()).unwrap();
    let view = view(&mut room, &id);
    assert_eq!((next.0.attempt, view.state.as_str()), (2, "running"), "{}", view.why);
    assert_ne!(next.1, device);
}

fn of_mib(nonce: u8, mib: u64) -> Draft {
    let mut draft = Draft { nonce: [nonce; 32], ..task(Sla::Urgent) };
    draft.limits.memory_bytes = mib << 20;
    draft
}

// spec: VOTE-9
#[test]
fn smaller_tasks_pass_one_that_waits_for_memory_as_often_as_they_may_and_not_for_ever() {
    let mut room = street(&["alice"]);
    let started = |room: &Room, mib: u64| {
        room.peers[0].runs.iter().filter(|run| run.spec.limits.memory_bytes >> 20 == mib).count()
    };
    for (nonce, mib) in [(1, 700), (2, 600)] {
        room.submit_draft(0, of_mib(nonce, mib)).unwrap();
        room.pass(1_000);
    }
    assert_eq!((started(&room, 700), started(&room, 600)), (1, 0));
    for nonce in 3..60 {
        let before = started(&room, 200);
        room.submit_draft(0, of_mib(nonce, 200)).unwrap();
        room.pass(2_000);
        if started(&room, 200) > before {
            let run = room.peers[0].runs.last().cloned().unwrap();
            room.end(0, &run);
            room.pass(1_000);
        }
    }
    assert_eq!(started(&room, 200), usize::from(rules().max_overtaken));
    let large = room.peers[0].runs[0].clone();
    room.end(0, &large);
    room.pass(10_000);
    assert_eq!(started(&room, 600), 1, "its turn has come");
}

// spec: DEL-9
#[test]
fn a_task_for_which_there_is_too_little_memory_here_holds_no_smaller_one_up() {
    let mut room = street(&["alice"]);
    for (nonce, mib) in [(1, 700), (2, 200), (3, 600), (4, 300)] {
        room.submit_draft(0, of_mib(nonce, mib)).unwrap();
    }
    let runs = |room: &Room| -> Vec<u64> {
        room.peers[0].runs.iter().map(|run| run.spec.limits.memory_bytes >> 20).collect()
    };
    assert_eq!(runs(&room), [700, 200]);
    let second = room.peers[0].runs[1].clone();
    room.end(0, &second);
    room.pass(10_000);
    assert_eq!(runs(&room), [700, 200, 300], "there is a place for it, and memory enough");
}

// spec: DEL-9
#[test]
fn a_task_that_its_peer_has_no_room_for_holds_no_other_up() {
    let mut room = street(&["alice", "bob"]);
    clean(&mut room, 1);
    let on = Some("bob-laptop".to_owned());
    room.submit_draft(0, Draft { on: on.clone(), ..task(Sla::Urgent) }).unwrap();
    room.pass(1_000);
    let run = room.peers[1].runs.pop().unwrap();
    room.handle(1, Input::Run(run.attempt, RunEvent::Lost(Reason::DonorPaused)));
    room.submit_draft(0, Draft { on, nonce: [2; 32], ..task(Sla::Normal) }).unwrap();
    room.pass(5_000);
    let run = room.peers[1].runs.pop().expect("what waits behind it is asked for");
    assert_eq!(run.spec.sla, Sla::Normal);
}
