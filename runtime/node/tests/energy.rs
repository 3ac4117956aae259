//! What tasks use and save, from the metering to the ledger of everybody.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod room;

use mesh_node::{Answer, Command, Input, Metering, RunEvent, Sample, StatsView, TaskView};
use mesh_policies::donor::Situation;
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::energy::{How, Reading};
use mesh_protocol::frame::AttemptId;
use mesh_protocol::ledger::{Entry, Payload};
use mesh_protocol::reason::Reason;
use mesh_protocol::record::Record;
use mesh_protocol::task::{Blob, Importance, Sla};
use room::{Room, Wish, draft, equal, receipt_for};

/// A watt-hour in millijoule.
const WH: u64 = 3_600_000;

fn on(room: &mut Room, number: usize, g_per_kwh: u16, renewable_percent: u8) {
    let claim = EnergyClaim { source: Source::Grid, renewable_percent, g_per_kwh };
    room.handle(number, Input::Energy(Some(Box::new(Reading::of(claim, "fixed"))), None));
    room.pass(1000);
}

fn used(room: &Room, energy_mj: u64) -> Metering {
    let sample = Sample { from_ms: room.now.wall_ms - 1_800_000, ms: 1_800_000, energy_mj };
    Metering { how: How::Measured, uncertainty_percent: 20, samples: vec![sample], estimated: false }
}

/// The newest run on a peer computes for half an hour and ends.
fn end(room: &mut Room, number: usize, energy_mj: u64) {
    let run = room.peers[number].runs.last().cloned().unwrap();
    room.handle(number, Input::Run(run.attempt, RunEvent::Started));
    room.pass(1_800_000);
    let (receipt, metering) = (Box::new(receipt_for(&run)), used(room, energy_mj));
    let blob = Blob { hash: mesh_protocol::ids::BlobHash([9; 32]), len: 10 };
    room.handle(number, Input::Run(run.attempt, RunEvent::Ended(receipt, blob, metering)));
    room.pass(20_000);
}

fn task(room: &mut Room, number: usize, id: &str) -> TaskView {
    match room.ask(number, Command::Task { task: id.into() }).unwrap() {
        Answer::Task(view) => *view,
        other => panic!("{other:?}"),
    }
}

fn stats(room: &mut Room, number: usize, user: Option<&str>, peer: Option<&str>) -> StatsView {
    let of = |name: Option<&str>| name.map(str::to_owned);
    match room.ask(number, Command::Stats { user: of(user), peer: of(peer) }).unwrap() {
        Answer::Stats(view) => *view,
        other => panic!("{other:?}"),
    }
}

fn submit(room: &mut Room, nonce: u8, on: &str) -> String {
    let mut draft = draft("word-count", nonce);
    (draft.sla, draft.on, draft.followed) = (Sla::Urgent, Some(on.into()), false);
    draft.limits.duration_ms = 3_600_000;
    room.submit_draft(0, draft).unwrap()
}

fn street() -> Room {
    street_of(&["alice", "bob"])
}

fn street_of(names: &[&str]) -> Room {
    let rules = mesh_protocol::rules::Rules {
        free: mesh_protocol::rules::Tier { tasks: 0, longest_ms: 3_600_000, memory_bytes: 1 << 30 },
        ..mesh_protocol::rules::Rules::default()
    };
    let mut room = Room::community_by(names, rules);
    room.grant(1, "alice");
    on(&mut room, 0, 450, 30);
    on(&mut room, 1, 50, 90);
    room
}

// spec: CO2-2, CO2-3, CO2-4, API-3
#[test]
fn what_ran_elsewhere_saved_what_the_ledger_says() {
    let mut room = street();
    let id = submit(&mut room, 1, "bob-laptop");
    end(&mut room, 1, 200 * WH);
    let energy = task(&mut room, 0, &id).energy.unwrap();
    assert_eq!(
        (energy.energy_mj, energy.how, energy.uncertainty_percent),
        (Some(200 * WH), How::Measured, 20)
    );
    assert_eq!((energy.renewable_bp, energy.carbon_ug), (Some(9000), 10_000_000), "200 Wh at 50 g are 10 g");
    assert_eq!(energy.baseline_ug, Some(90_000_000), "and at home's 450 g 0.09 kg");
    let saved = energy.saved.unwrap();
    assert_eq!((saved.when_ug, saved.where_ug, saved.hardware_ug), (0, 80_000_000, 0));
    assert!(saved.overhead_ug <= 0 && energy.saved_ug == Some(80_000_000 + saved.overhead_ug));
    assert!(!energy.provisional, "{:?}", energy.why);
    for number in 0..2 {
        let all = stats(&mut room, number, None, None);
        assert_eq!((all.tasks_executed, all.tasks_unaccounted, all.attempts_unmeasured), (1, 0, 0));
        assert!((all.total_carbon_saved - 0.08).abs() < 1e-6, "{all:?}");
        assert_eq!(
            (all.energy_used_clean, all.energy_used_dirty, all.renewable_percent),
            (180.0, 20.0, 90.0)
        );
        assert_eq!(stats(&mut room, number, Some("bob"), None).tasks_executed, 0, "it was Alice's");
        assert_eq!(stats(&mut room, number, None, Some("bob-laptop")).tasks_executed, 1);
        assert_eq!(stats(&mut room, number, None, Some("alice-laptop")).energy_used_clean, 0.0);
    }
    equal(&room);
}

// spec: API-3, CO2-2
#[test]
fn attempts_whose_energy_nobody_measured_are_counted() {
    let mut room = street();
    for nonce in [1, 2, 3] {
        submit(&mut room, nonce, "bob-laptop");
        let run = room.peers[1].runs.last().cloned().unwrap();
        room.handle(1, Input::Run(run.attempt, RunEvent::Started));
        room.pass(1_800_000);
        let (receipt, blob) =
            (Box::new(receipt_for(&run)), Blob { hash: mesh_protocol::ids::BlobHash([9; 32]), len: 10 });
        room.handle(1, Input::Run(run.attempt, RunEvent::Ended(receipt, blob, Metering::default())));
        room.pass(20_000);
    }
    let all = stats(&mut room, 0, None, None);
    assert_eq!((all.tasks_executed, all.tasks_unaccounted, all.attempts_unmeasured), (3, 3, 3));
    assert_eq!(stats(&mut room, 0, None, Some("alice-laptop")).attempts_unmeasured, 0);
}

/// A run that Bob was given an hour ago and that came back now, with its energy from so many milliseconds before now, for
/// so long.
fn said_of(from_before: u64, ms: u64) -> (Room, TaskView) {
    let mut room = street();
    let id = submit(&mut room, 1, "bob-laptop");
    let run = room.peers[1].runs.last().cloned().unwrap();
    room.handle(1, Input::Run(run.attempt, RunEvent::Started));
    room.pass(1_800_000);
    let sample = Sample { from_ms: room.now.wall_ms - from_before, ms, energy_mj: WH };
    let metering = Metering { samples: vec![sample], ..used(&room, WH) };
    let blob = Blob { hash: mesh_protocol::ids::BlobHash([9; 32]), len: 10 };
    let receipt = Box::new(receipt_for(&run));
    room.handle(1, Input::Run(run.attempt, RunEvent::Ended(receipt, blob, metering)));
    room.pass(20_000);
    // Of a time that has not come it is asked for again, for ten minutes.
    room.pass(600_000);
    let view = task(&mut room, 0, &id);
    (room, view)
}

// spec: API-3, CO2-4
#[test]
fn what_waited_is_told_by_how_long_and_in_its_month() {
    const MINUTE: u64 = 60_000;
    let mut room = street();
    // The longer two wait for their peer; choosing one takes seconds.
    for (nonce, minutes) in [(1, 0), (2, 30), (3, 90)] {
        if minutes > 0 {
            room.disconnect(0, 1);
        }
        submit(&mut room, nonce, "bob-laptop");
        room.pass(minutes * MINUTE);
        if minutes > 0 {
            room.connect(0, 1);
        }
        room.pass(10_000);
        end(&mut room, 1, 200 * WH);
    }
    let all = stats(&mut room, 0, None, None);
    assert_eq!((all.tasks_executed, all.this_month.tasks_deferred), (3, 2));
    assert!((1.0..1.02).contains(&all.average_deferral_time), "{}", all.average_deferral_time);
    assert!(all.total_carbon_saved > 0.0 && all.this_month.carbon_saved == all.total_carbon_saved);
    room.sleep(32 * 24 * 60 * MINUTE);
    let later = stats(&mut room, 0, None, None);
    assert_eq!((later.this_month.tasks_deferred, later.this_month.carbon_saved), (0, 0.0));
    assert_eq!(later.average_deferral_time, all.average_deferral_time);
}

// spec: DEL-4
#[test]
fn who_has_not_been_told_the_time_yet_judges_nobody_by_it() {
    const MINUTE: u64 = 60_000;
    let mut room = street();
    let id = submit(&mut room, 1, "bob-laptop");
    let run = room.peers[1].runs.last().cloned().unwrap();
    room.handle(1, Input::Run(run.attempt, RunEvent::Started));
    let sample = Sample { from_ms: room.now.wall_ms, ms: 8 * MINUTE, energy_mj: WH };
    let metering = Metering { samples: vec![sample], ..used(&room, WH) };
    let blob = Blob { hash: mesh_protocol::ids::BlobHash([9; 32]), len: 10 };
    room.handle(1, Input::Run(run.attempt, RunEvent::Ended(Box::new(receipt_for(&run)), blob, metering)));
    room.pass(3 * MINUTE);
    let view = task(&mut room, 0, &id);
    assert_eq!((view.state.as_str(), view.history.len()), ("running", 1));
    assert_eq!(room.peers[0].node.counters().bad_results, 0);
    room.pass(2 * MINUTE);
    let view = task(&mut room, 0, &id);
    assert_eq!((view.state.as_str(), view.history.len()), ("done", 1));
}

// spec: DEL-4
#[test]
fn entries_dated_ahead_make_no_run_one_of_before_it_was_given() {
    let mut room = street();
    // The clock of Alice's device is two hours ahead when it writes something, and is then set right.
    let right = room.now.wall_ms;
    room.now.wall_ms = right + 7_200_000;
    let first = submit(&mut room, 1, "bob-laptop");
    end(&mut room, 1, WH);
    assert_eq!(task(&mut room, 0, &first).state, "done");
    room.now.wall_ms = right + 1_000;
    // What is dated ahead others take when its time comes, and the device itself runs on.
    let id = submit(&mut room, 2, "alice-laptop");
    end(&mut room, 0, WH);
    let view = task(&mut room, 0, &id);
    assert_eq!((view.state.as_str(), view.history.len()), ("done", 1), "{:?}", view.history);
}

// spec: REP-2, CO2-3, CO2-4
#[test]
fn a_run_used_its_energy_while_its_peer_had_the_task_and_at_no_other_time() {
    const MINUTE: u64 = 60_000;
    // Half an hour; clocks may differ by four minutes on either side.
    for (from_before, ms) in
        [(30 * MINUTE, 30 * MINUTE), (33 * MINUTE, 30 * MINUTE), (30 * MINUTE, 33 * MINUTE)]
    {
        assert_eq!(said_of(from_before, ms).1.state, "done", "{from_before} {ms}");
    }
    // At the last noon; from it on; a week on end, for which the account would have been kept open.
    for (from_before, ms) in [
        (12 * 60 * MINUTE, 30 * MINUTE),
        (12 * 60 * MINUTE, 12 * 60 * MINUTE),
        (30 * MINUTE, 7 * 24 * 60 * MINUTE),
    ] {
        let (mut room, view) = said_of(from_before, ms);
        assert_ne!(view.state, "done", "{from_before} {ms}");
        let fate = &view.history[0].fate;
        assert!(fate.contains("a time when the task was not there"), "{fate}");
        assert_eq!(stats(&mut room, 0, None, None).tasks_executed, 0);
    }
}

// spec: CO2-3
#[test]
fn what_ran_at_once_at_home_saved_nothing() {
    let mut room = street();
    let id = submit(&mut room, 1, "alice-laptop");
    end(&mut room, 0, 200 * WH);
    let energy = task(&mut room, 0, &id).energy.unwrap();
    assert_eq!(
        (energy.carbon_ug, energy.baseline_ug, energy.saved_ug),
        (90_000_000, Some(90_000_000), Some(0))
    );
}

// spec: PLACE-2, REP-3
#[test]
fn what_is_known_to_be_short_stays_where_bringing_it_away_would_cost_more() {
    let mut room = street();
    let submit = |room: &mut Room, nonce, module_len| {
        let mut draft = draft("word-count", nonce);
        (draft.sla, draft.followed, draft.module_len) = (Sla::Urgent, false, module_len);
        draft.limits.duration_ms = 3_600_000;
        let id = room.submit_draft(0, draft).unwrap();
        let number = (0..2).find(|number| {
            room.peers[*number].runs.last().is_some_and(|run| run.attempt.task.to_string() == id)
        });
        let number = number.unwrap();
        end(room, number, 1);
        number
    };
    assert_eq!(submit(&mut room, 1, 100_000), 1, "nothing is known of it, and Bob has a ninth of the carbon");
    assert_eq!(submit(&mut room, 2, 100_000), 0, "it took less than a millisecond");
    assert_eq!(submit(&mut room, 3, 10), 1, "hardly anything travels");
}

// spec: PLACE-1, PLACE-2
#[test]
fn who_says_that_it_draws_a_great_deal_keeps_nobodys_tasks_at_home() {
    let mut room = street_of(&["alice", "bob", "carol"]);
    room.grant(2, "alice");
    on(&mut room, 2, 500, 10);
    room.handle(2, Input::SlotWatts(u16::MAX));
    room.pass(60_000);
    submit(&mut room, 1, "bob-laptop");
    end(&mut room, 1, WH);
    let mut draft = draft("word-count", 2);
    (draft.sla, draft.followed, draft.module_len) = (Sla::Urgent, false, 1_000_000);
    draft.limits.duration_ms = 3_600_000;
    room.submit_draft(0, draft).unwrap();
    let runs = |number: usize| room.peers[number].runs.len();
    assert_eq!((runs(0), runs(1), runs(2)), (0, 2, 0), "Bob has a ninth of the carbon");
}

// spec: CO2-1, CO2-3
#[test]
fn what_was_learnt_of_other_tasks_claims_no_more_of_home_than_anybody_believes() {
    let mut room = street();
    // Here so much fuel took a hundred times the energy that it takes on Bob's.
    let mut run = |nonce, number: usize, name: &str, energy_mj| {
        let id = submit(&mut room, nonce, name);
        let run = room.peers[number].runs.last().cloned().unwrap();
        room.handle(number, Input::Run(run.attempt, RunEvent::Started));
        room.pass(1_800_000);
        let mut receipt = receipt_for(&run);
        (receipt.usage.fuel, receipt.usage.wall_ms) = (2_000_000, 1_800_000);
        let blob = Blob { hash: mesh_protocol::ids::BlobHash([9; 32]), len: 10 };
        let metering = used(&room, energy_mj);
        room.handle(number, Input::Run(run.attempt, RunEvent::Ended(Box::new(receipt), blob, metering)));
        room.pass(20_000);
        task(&mut room, 0, &id).energy.unwrap()
    };
    run(1, 0, "alice-laptop", 100 * WH);
    let energy = run(2, 1, "bob-laptop", WH);
    // Sixteen watt-hours at 450 g.
    assert_eq!(energy.baseline_ug, Some(7_200_000));
    assert!(energy.saved_ug > Some(7_000_000) && !energy.provisional, "{:?}", energy.why);
    assert_eq!(stats(&mut room, 1, None, None).tasks_unaccounted, 0);
}

// spec: CO2-3, DEL-13
#[test]
fn a_stopped_attempt_says_once_what_it_used_and_is_overhead() {
    let mut room = street();
    let id = submit(&mut room, 1, "bob-laptop");
    let run = room.peers[1].runs.last().cloned().unwrap();
    room.handle(1, Input::Run(run.attempt, RunEvent::Started));
    room.pass(1_800_000);
    room.ask(0, Command::Cancel { task: id }).unwrap();
    let metering = used(&room, 10 * WH);
    for _ in 0..2 {
        room.handle(1, Input::Run(run.attempt, RunEvent::Spent(Some(metering.clone()))));
    }
    room.pass(1000);
    let spent = |room: &Room| {
        let entries = room.peers[0].entries.values().filter_map(|bytes| Entry::verify(bytes).ok());
        let said = entries.filter_map(|entry| match entry.payload() {
            Payload::Spent(spent) => Some((spent.energy.energy_mj(), spent.estimated)),
            _ => None,
        });
        said.collect::<Vec<_>>()
    };
    assert_eq!(spent(&room), [(Some(10 * WH), false)]);
    let all = stats(&mut room, 0, None, None);
    assert_eq!((all.tasks_executed, all.energy_used_clean, all.energy_used_dirty), (0, 9.0, 1.0));
}

// spec: DEL-13
#[test]
fn what_was_cut_off_is_the_last_reading_and_a_marked_estimate() {
    let mut room = street();
    submit(&mut room, 1, "bob-laptop");
    let run = room.peers[1].runs.last().cloned().unwrap();
    room.handle(1, Input::Run(run.attempt, RunEvent::Started));
    room.pass(1_800_000);
    let metering = used(&room, 720_000);
    room.handle(1, Input::Run(run.attempt, RunEvent::Metered(metering)));
    room.restart(1, "bob");
    room.connect(0, 1);
    room.pass(60_000);
    let all = stats(&mut room, 0, None, None);
    // 0.2 Wh in half an hour, and of the next ten seconds half: 2 J.
    let total = all.energy_used_clean + all.energy_used_dirty;
    assert!((total - 722_000.0 / WH as f64).abs() < 1e-9, "{all:?}");
}

// spec: EN-3, CO2-3
#[test]
fn where_homes_energy_is_unknown_nothing_is_claimed() {
    let mut room = street();
    room.handle(0, Input::Energy(None, None));
    let id = submit(&mut room, 1, "bob-laptop");
    end(&mut room, 1, 200 * WH);
    let energy = task(&mut room, 0, &id).energy.unwrap();
    assert_eq!((energy.saved_ug, energy.baseline_ug), (None, None));
    assert!(energy.why.unwrap().contains("not known"));
    let all = stats(&mut room, 0, None, None);
    assert_eq!((all.tasks_unaccounted, all.total_carbon_saved), (1, 0.0));
}

fn energy(room: &mut Room, number: usize) -> Option<EnergyClaim> {
    match room.ask(number, Command::Status).unwrap() {
        Answer::Status(view) => view.energy,
        other => panic!("{other:?}"),
    }
}

/// What nobody reads any more is what the same hour was before, as dirty as a grid whose mix nobody knows; and after three
/// days it is unknown.
// spec: EN-3
#[test]
fn history_stands_in_for_readings_that_do_not_come_and_then_nothing_does() {
    const HOUR: u64 = 3_600_000;
    let mut room = street();
    on(&mut room, 0, 100, 90);
    room.handle(0, Input::Energy(None, None));
    assert_eq!(energy(&mut room, 0), None, "an hour is no history");
    let first = room.now.wall_ms / HOUR;
    let grams = |hour: u64| 100 + 10 * (hour % 24) as u16;
    while room.now.wall_ms / HOUR < first + 8 * 24 {
        let now = grams(room.now.wall_ms / HOUR);
        on(&mut room, 0, now, 90);
        // The date alone: what else happens in a week is none of this.
        room.now.wall_ms += HOUR - 1000;
    }
    room.handle(0, Input::Energy(None, None));
    let claim = energy(&mut room, 0).unwrap();
    assert_eq!((claim.source, claim.renewable_percent), (Source::Grid, 0), "its mix nobody wrote down");
    assert!(claim.g_per_kwh.abs_diff(grams(room.now.wall_ms / HOUR)) <= 15, "{claim:?}");
    room.now.wall_ms += 12 * HOUR;
    room.pass(600_000);
    let later = energy(&mut room, 0).unwrap();
    assert!(later.g_per_kwh.abs_diff(grams(room.now.wall_ms / HOUR)) <= 15, "{later:?}: another hour");
    room.now.wall_ms += 62 * HOUR;
    room.pass(600_000);
    assert_eq!(energy(&mut room, 0), None, "three days ago says nothing of now");
    on(&mut room, 0, 300, 20);
    assert_eq!(energy(&mut room, 0).unwrap().g_per_kwh, 300, "and it is read again");
}

/// A SOLAR_ONLY task waits for what its power needs beyond the household, wherever the sun stands.
// spec: SLA-4, SLA-1
#[test]
fn sun_for_a_task_is_what_the_household_leaves() {
    let mut room = street();
    let sun = EnergyClaim { source: Source::Solar, renewable_percent: 100, g_per_kwh: 41 };
    room.handle(0, Input::Energy(Some(Box::new(Reading::of(sun, "meter"))), None));
    let surplus = |room: &mut Room, watts: i64| {
        let situation = Situation { surplus_watts: Some(watts), ..Situation::default() };
        room.handle(0, Input::Situation(situation));
        room.pass(60_000);
    };
    surplus(&mut room, 9);
    let mut task = draft("word-count", 1);
    (task.sla, task.on, task.followed) = (Sla::SolarOnly, Some("alice-laptop".into()), false);
    let _id = room.submit_draft(0, task).unwrap();
    room.pass(600_000);
    assert_eq!(room.peers[0].runs.len(), 0, "nine watts are not enough for ten");
    surplus(&mut room, -500);
    assert_eq!(room.peers[0].runs.len(), 0);
    surplus(&mut room, 10);
    room.pass(600_000);
    assert_eq!(room.peers[0].runs.len(), 1, "ten are");
}

/// A feed that is two hours late tells of the hour in which a task ran when that is over: the account waits for it, and
/// not for ever.
// spec: CO2-3, EN-5
#[test]
fn an_account_counts_home_by_what_comes_late_of_it() {
    const HOUR: u64 = 3_600_000;
    let mut room = street();
    room.now.wall_ms += HOUR - room.now.wall_ms % HOUR + 60_000;
    let began = room.now.wall_ms;
    let late = |room: &mut Room, g_per_kwh: u16, at_ms: u64| {
        let claim = EnergyClaim { source: Source::Grid, renewable_percent: 30, g_per_kwh };
        room.handle(0, Input::Energy(Some(Box::new(Reading::of(claim, "feed"))), Some(at_ms)));
    };
    late(&mut room, 450, began - 2 * HOUR);
    let first = submit(&mut room, 1, "bob-laptop");
    end(&mut room, 1, 200 * WH);
    let energy = task(&mut room, 0, &first).energy.unwrap();
    assert!(energy.provisional && energy.baseline_ug == Some(90_000_000), "by what is known: {energy:?}");
    room.pass(2 * HOUR);
    late(&mut room, 100, began);
    room.pass(HOUR / 2);
    let energy = task(&mut room, 0, &first).energy.unwrap();
    assert_eq!((energy.provisional, energy.baseline_ug), (false, Some(20_000_000)), "200 Wh at 100 g");
    let second = submit(&mut room, 2, "bob-laptop");
    end(&mut room, 1, 200 * WH);
    room.pass(4 * HOUR - 60_000);
    assert!(task(&mut room, 0, &second).energy.unwrap().provisional, "it may still come");
    room.pass(HOUR / 2);
    let energy = task(&mut room, 0, &second).energy.unwrap();
    assert_eq!((energy.provisional, energy.baseline_ug), (false, Some(20_000_000)), "the last that was told");
}

/// Watts of own sun that nobody else takes, and a task that wants them.
fn surplus(room: &mut Room, watts: i64) {
    room.handle(0, Input::Situation(Situation { surplus_watts: Some(watts), ..Situation::default() }));
    room.pass(60_000);
}

fn sunny(room: &mut Room, nonce: u8) {
    let mut task = draft("word-count", nonce);
    (task.sla, task.on, task.followed) = (Sla::SolarOnly, Some("alice-laptop".into()), false);
    let _id = room.submit_draft(0, task).unwrap();
}

/// Was it told to stand still, and not to go on since?
fn is_held(room: &Room, run: AttemptId) -> bool {
    let last = room.peers[0].wishes.iter().rfind(|(id, _)| *id == run);
    last.is_some_and(|(_, wish)| *wish == Wish::Hold)
}

fn under_the_sun() -> Room {
    let mut room = street();
    let sun = EnergyClaim { source: Source::Solar, renewable_percent: 100, g_per_kwh: 41 };
    room.handle(0, Input::Energy(Some(Box::new(Reading::of(sun, "meter"))), None));
    room
}

/// What a slot really draws is what has to be there for it, also once that is another number.
// spec: SLA-4, PLACE-1, PLACE-2
#[test]
fn sun_is_enough_once_it_gives_what_a_slot_of_this_device_draws() {
    let mut room = under_the_sun();
    room.handle(0, Input::SlotWatts(64));
    surplus(&mut room, 63);
    sunny(&mut room, 1);
    room.pass(600_000);
    assert_eq!(room.peers[0].runs.len(), 0, "63 watts are not enough for 64");
    surplus(&mut room, 64);
    room.pass(600_000);
    assert_eq!(room.peers[0].runs.len(), 1);
    let run = room.peers[0].runs[0].attempt;
    room.handle(0, Input::Run(run, RunEvent::Started));
    surplus(&mut room, 1);
    assert!(!is_held(&room, run), "it is in the household's load");
    surplus(&mut room, 0);
    assert!(is_held(&room, run));
    room.handle(0, Input::Run(run, RunEvent::Paused));
    surplus(&mut room, 75);
    assert!(is_held(&room, run), "a fifth more than 64 watts is calm");
    surplus(&mut room, 76);
    assert!(!is_held(&room, run));
}

/// The first task's power is in the household's load; the second one's is not.
// spec: SLA-4
#[test]
fn sun_for_one_task_is_not_enough_for_two() {
    let mut room = under_the_sun();
    surplus(&mut room, 10);
    sunny(&mut room, 1);
    room.pass(60_000);
    assert_eq!(room.peers[0].runs.len(), 1);
    let run = room.peers[0].runs[0].attempt;
    room.handle(0, Input::Run(run, RunEvent::Started));
    surplus(&mut room, 9);
    sunny(&mut room, 2);
    room.pass(60_000);
    assert_eq!(room.peers[0].runs.len(), 1, "nine watts are left, and it draws ten");
    assert!(!is_held(&room, run));
    surplus(&mut room, 10);
    assert_eq!(room.peers[0].runs.len(), 2);
}

/// A device on which something runs says that its energy is the sun's as long as anything is left over.
// spec: SLA-3, SLA-4
#[test]
fn what_waits_for_clean_energy_starts_on_ones_own_where_that_is_enough_for_it() {
    let mut room = under_the_sun();
    let eco = |room: &mut Room, nonce| {
        let mut task = draft("word-count", nonce);
        (task.sla, task.on, task.followed) = (Sla::Eco, Some("alice-laptop".into()), false);
        room.submit_draft(0, task).unwrap()
    };
    surplus(&mut room, 10);
    let (first, _second) = (eco(&mut room, 1), eco(&mut room, 2));
    room.pass(60_000);
    assert_eq!(room.peers[0].runs.len(), 1, "there is sun for one");
    let run = room.peers[0].runs[0].attempt;
    room.handle(0, Input::Run(run, RunEvent::Started));
    surplus(&mut room, 1);
    room.pass(600_000);
    assert_eq!(room.peers[0].runs.len(), 1, "one watt is left, and it draws ten");
    assert!(!is_held(&room, run), "what runs is in the household's load");
    assert_eq!(task(&mut room, 0, &first).state, "running");
    surplus(&mut room, 10);
    assert_eq!(room.peers[0].runs.len(), 2);
}

/// Nobody's sun is kept for what stands still since its device slept.
// spec: SLA-4, DEL-3
#[test]
fn what_stands_still_since_its_device_slept_needs_no_sun() {
    let mut room = under_the_sun();
    room.grant(0, "bob");
    surplus(&mut room, 20);
    let mut theirs = draft("word-count", 1);
    theirs.on = Some("alice-laptop".into());
    room.submit_draft(1, theirs).unwrap();
    room.pass(1_000);
    let run = room.peers[0].runs.pop().expect("alice runs it").attempt;
    room.handle(0, Input::Run(run, RunEvent::Started));
    // Nobody renews its lease.
    room.disconnect(0, 1);
    room.apart = true;
    room.sleep(12_000);
    assert_eq!(room.obey(0), [Wish::Hold]);
    room.handle(0, Input::Situation(Situation { surplus_watts: Some(10), ..Situation::default() }));
    sunny(&mut room, 2);
    room.pass(1_000);
    assert_eq!(room.peers[0].runs.len(), 1);
}

/// What began since the surplus was read is not in it. All that waited would start at once in its first light, and stop
/// and go on together.
// spec: SLA-4, PLACE-2
#[test]
fn as_many_start_or_go_on_as_there_is_sun_for_until_it_is_read_anew() {
    let mut room = under_the_sun();
    surplus(&mut room, 0);
    for nonce in 1..=4 {
        sunny(&mut room, nonce);
    }
    let offers = |room: &Room| {
        let entries = room.peers[0].entries.values().filter_map(|bytes| Entry::verify(bytes).ok());
        entries.filter(|entry| matches!(entry.payload(), Payload::Delegated { .. })).count()
    };
    let start = |room: &mut Room| {
        let runs = std::mem::take(&mut room.peers[0].runs);
        for run in &runs {
            room.handle(0, Input::Run(run.attempt, RunEvent::Started));
        }
        room.pass(1_000);
        runs.len()
    };
    surplus(&mut room, 10);
    assert_eq!((start(&mut room), offers(&room)), (1, 1), "there is sun for one");
    // Its power is in the household's load from here on.
    surplus(&mut room, 9);
    assert_eq!((start(&mut room), offers(&room)), (0, 1));
    // That a minute has passed is no word of the sun.
    let read = Situation { minute: 7, surplus_watts: Some(29), ..Situation::default() };
    for situation in [read, Situation { minute: 8, ..read }] {
        room.handle(0, Input::Situation(situation));
        room.pass(60_000);
    }
    assert_eq!((start(&mut room), offers(&room)), (2, 3));
    surplus(&mut room, 28);
    assert_eq!((start(&mut room), offers(&room)), (1, 4));
    let wishes = |room: &mut Room, watts: i64| {
        surplus(room, watts);
        let wishes = room.obey(0);
        room.pass(1_000);
        wishes
    };
    assert_eq!(wishes(&mut room, 0), [Wish::Hold; 4]);
    assert_eq!(wishes(&mut room, 12), [Wish::GoOn], "a fifth more than one draws");
    assert_eq!(wishes(&mut room, 31), [Wish::GoOn; 2], "the last would need one watt more");
    assert_eq!(wishes(&mut room, 30), [Wish::GoOn]);
}

/// Who lost the task had been given it like who brings its result.
// spec: CO2-3
#[test]
fn what_was_given_to_others_travelled_wherever_the_task_ended() {
    let mut room = street();
    let mut draft = draft("word-count", 1);
    (draft.sla, draft.module_len) = (Sla::Urgent, 50_000_000);
    draft.limits.duration_ms = 3_600_000;
    let id = room.submit_draft(0, draft).unwrap();
    let first = room.peers[1].runs.pop().expect("bob runs it");
    room.handle(1, Input::Run(first.attempt, RunEvent::Started));
    room.handle(1, Input::Run(first.attempt, RunEvent::Lost(Reason::SandboxFailed("it fell over".into()))));
    room.pass(1_000);
    assert_eq!(room.peers[0].runs.len(), 1, "then she does so herself");
    end(&mut room, 0, WH);
    assert_eq!(task(&mut room, 0, &id).state, "done");
    room.pass(3_600_000);
    let entries = room.peers[0].entries.values().filter_map(|bytes| Entry::verify(bytes).ok());
    let accounts = entries.filter_map(|entry| match entry.payload() {
        Payload::Accounted(account) => Some(account.transfer_mj),
        _ => None,
    });
    assert_eq!(accounts.collect::<Vec<_>>(), [WH / 2], "fifty megabytes, once");
}

/// Whoever takes a task back has it wait for clean energy at home, whatever they had declared.
// spec: DEL-6, VOTE-7
#[test]
fn a_vetoed_task_that_was_declared_critical_waits_for_clean_energy() {
    for sla in [Sla::Urgent, Sla::Eco] {
        let mut room = street();
        let mut draft = draft("word-count", 1);
        (draft.sla, draft.on, draft.importance) =
            (sla, Some("bob-laptop".into()), Some(Importance::Critical));
        let id = room.submit_draft(0, draft).unwrap();
        assert_eq!(room.peers[1].runs.len(), 1);
        room.ask(0, Command::Veto { task: id, why: String::new() }).unwrap();
        room.pass(600_000);
        assert_eq!(room.peers[0].runs.len(), 0, "{sla:?}: at 450 g");
        on(&mut room, 0, 20, 95);
        room.pass(600_000);
        assert_eq!(room.peers[0].runs.len(), 1, "{sla:?}");
    }
}

/// A device that started before its clock was put right has hours and readings of next week. They are forgotten, here and
/// in the store, once the clock has been right for minutes; and what a clock that is behind has not reached is not.
// spec: EN-5, EN-3, CO2-3
#[test]
fn what_a_wrong_clock_has_dated_ahead_is_forgotten() {
    const HOUR: u64 = 3_600_000;
    let mut room = street();
    // A day of hours, all of them dated a week ahead.
    let right = room.now.wall_ms;
    room.now.wall_ms += 7 * 24 * HOUR;
    let forecast = mesh_node::Forecast { hour: room.now.wall_ms / HOUR, g_per_kwh: vec![70; 24] };
    room.handle(0, Input::Forecast(forecast));
    for hour in 0..30 {
        on(&mut room, 0, 100 + hour, 30);
        room.now.wall_ms += HOUR - 1000;
    }
    // The clock is put right: what is on record lies ahead.
    room.now.wall_ms = right + HOUR;
    on(&mut room, 0, 200, 30);
    room.pass(5 * 60_000);
    assert!(kept_ahead(&room) > 0, "it may be the clock that is wrong now");
    room.pass(30 * 60_000);
    on(&mut room, 0, 200, 30);
    assert_eq!(kept_ahead(&room), 0, "nothing of it is in the store");
    let id = submit(&mut room, 1, "bob-laptop");
    end(&mut room, 1, 200 * WH);
    let energy = task(&mut room, 0, &id).energy.unwrap();
    assert_eq!(energy.baseline_ug, Some(40_000_000), "200 Wh at 200 g, which is what there is now");
    let given = mesh_node::Forecast { hour: room.now.wall_ms / HOUR, g_per_kwh: vec![80; 24] };
    let before = room.peers[0].kept.len();
    room.handle(0, Input::Forecast(given));
    assert!(room.peers[0].kept[before..].iter().any(|it| key_of(it) == b"forecasts"), "it is news");
}

fn key_of(record: &Record) -> &[u8] {
    match record {
        Record::Put { key, .. } | Record::Delete { key, .. } => key,
        _ => &[],
    }
}

/// Readings kept that lie ahead of now by more than an hour.
fn kept_ahead(room: &Room) -> usize {
    let mut kept = std::collections::BTreeSet::new();
    for record in &room.peers[0].kept {
        let Some(at) = key_of(record).strip_prefix(b"reading/") else { continue };
        let at = u64::from_be_bytes(at.try_into().unwrap());
        match record {
            Record::Delete { .. } => kept.remove(&at),
            _ => kept.insert(at),
        };
    }
    kept.into_iter().filter(|at| *at > room.now.wall_ms + 3_600_000).count()
}
