//! What a task's owner decides and says, piece by piece.

use super::*;
use crate::io::{Capacity, Now};
use crate::node::Config;
use mesh_protocol::ad::Source;
use mesh_protocol::ids::{CommunityId, Digest, InputHash, ModuleHash};
use mesh_protocol::key::{SecretKey, UserKey};
use mesh_protocol::limits::Limits;
use mesh_protocol::outcome::Outcome;
use mesh_protocol::permissions::Permissions;
use mesh_protocol::profile::EngineProfile;
use mesh_protocol::receipt::Usage;

const DAY_MS: u64 = 24 * HOUR_MS;
const MINUTE_MS: u64 = 60_000;
/// 10:17 of some day.
const NOW_MS: u64 = 20_000 * DAY_MS + 10 * HOUR_MS + 17 * MINUTE_MS;

fn key(what: u8) -> SecretKey {
    SecretKey::from_seed(&[what; 32])
}

/// A device of its own, in no community.
fn node() -> Node {
    let config = Config {
        device: key(1),
        user: Some(key(2)),
        user_name: "alice".into(),
        recovery: key(3).public(),
        device_name: "alice-laptop".into(),
        profile: ProfileId::ZERO,
        walls: vec![],
        place: None,
        capacity: Capacity { slots: 4, memory: 1 << 30, longest_ms: HOUR_MS },
        slot_watts: 10,
        accepts: vec![],
        shares: BTreeMap::new(),
        energy: None,
        hook: false,
        addrs: vec![],
        seed: [1; 32],
    };
    Node::new(config, Now { boot_ms: 1_000, wall_ms: NOW_MS })
}

fn spec(sla: Sla) -> TaskSpec {
    TaskSpec {
        version: VERSION,
        community: CommunityId([1; 32]),
        submitter: key(1).public(),
        user: UserKey(key(2).public()),
        nonce: [1; 32],
        name: "plain".into(),
        module: ModuleHash([7; 32]),
        module_len: 100,
        args: vec![],
        env: vec![],
        stdin: None,
        inputs: vec![],
        input: InputHash([8; 32]),
        limits: Limits::default(),
        permissions: Permissions::default(),
        sla,
        importance: None,
        followed: true,
        created_ms: NOW_MS,
        start_by_ms: None,
        finish_by_ms: None,
        replicas: 1,
        quorum: 1,
    }
}

/// A peer with free slots that expects this of the hours to come, in g/kWh.
fn candidate(what: u8, path: &[u32]) -> Candidate {
    let claim = EnergyClaim { source: Source::Grid, renewable_percent: 60, g_per_kwh: 100 };
    Candidate {
        device: key(what).public(),
        own: what == 1,
        permitted: Ok(()),
        energy: Some(claim),
        free_slots: 4,
        grant: None,
        path: path.iter().map(|grams| grams * 1_000).collect(),
        low: None,
        slots: 4,
        watts: 10,
    }
}

fn decided(spec: &TaskSpec, voice: Voice, candidates: &[Candidate]) -> Decision {
    node().ask(spec, &course(spec.sla, voice), None, candidates, Stand::fresh(spec))
}

// spec: DEL-3, NET-4
#[test]
fn each_refusal_doubles_the_time_until_the_next_offer_up_to_a_minute() {
    let waits = [0, 1, 2, 7, 8, 20, 21, u32::MAX].map(back_off);
    assert_eq!(waits, [250, 500, 1_000, 32_000, 60_000, 60_000, 60_000, 60_000]);
}

// spec: SBX-4
#[test]
fn what_is_fetched_for_a_task_is_its_module_its_inputs_and_what_it_reads() {
    let file = |len| mesh_protocol::task::InputFile {
        path: "a".into(),
        blob: Blob { hash: BlobHash([1; 32]), len },
    };
    let mut spec = spec(Sla::Normal);
    assert_eq!(bytes_of(&spec), 100);
    spec.inputs = vec![file(20), file(3)];
    spec.stdin = Some(Blob { hash: BlobHash([2; 32]), len: 4_000 });
    assert_eq!(bytes_of(&spec), 4_123);
    spec.inputs.push(file(u64::MAX));
    assert_eq!(bytes_of(&spec), u64::MAX);
}

// spec: PLACE-1, DEL-9
#[test]
fn where_only_the_place_is_lacking_another_task_fares_no_better() {
    for reason in [
        Reason::NotConnected,
        Reason::DonorPaused,
        Reason::DonorFinishing,
        Reason::OutsideHours,
        Reason::OnBattery,
        Reason::BatteryLow { percent: 1, floor: 2 },
        Reason::DeviceBusy { percent: 90, most: 50 },
        Reason::NoSurplus,
        Reason::UploadUsedUp,
    ] {
        assert!(!worth_waiting(&Err(reason.clone())), "{reason}");
    }
    // A smaller one may find room.
    let others = [Reason::NoCapacity, Reason::NoGrant, Reason::EnergyNotClean, Reason::BallotOpen];
    for permitted in [Ok(())].into_iter().chain(others.map(Err)) {
        assert!(worth_waiting(&permitted), "{permitted:?}");
    }
}

// spec: DEL-7, SLA-2
#[test]
fn what_is_left_of_a_task_is_what_nobody_has_computed_yet_and_elsewhere_what_was_not_saved() {
    let mut task = Task::new(Kept::new(spec(Sla::Normal).sign(&key(1)), None, None));
    let device = key(9).public();
    let runs = |phase| Some(Progress { phase, permille: 0, note: String::new(), held: None });
    let at = |task: &Task, now: u64| {
        let stand = Stand::of(task, Some((device, now)));
        assert_eq!(stand.runs_on, Some(device));
        (stand.left_ms / 1_000, stand.unsaved_ms / 1_000)
    };
    let elsewhere = |task: &Task| {
        let stand = Stand::of(task, None);
        assert_eq!((stand.runs_on, stand.unsaved_ms), (None, 0));
        stand.left_ms / 1_000
    };
    // It may take ten minutes, and has run for a hundred seconds when it was looked at last, which was at five.
    (task.ran_ms, task.renew_at, task.progress) = (100_000, 5_000, runs(Phase::Running));
    assert_eq!((at(&task, 25_000), elsewhere(&task)), ((480, 120), 600));
    task.saved(25_000);
    assert_eq!(elsewhere(&task), 600, "where its checkpoint is not here yet");
    task.kept.resume = Some(Blob { hash: BlobHash([5; 32]), len: 7 });
    assert_eq!((at(&task, 35_000), elsewhere(&task)), ((470, 10), 480));
    task.progress = runs(Phase::Paused);
    assert_eq!(at(&task, 35_000), (500, 0), "while it stands still it computes nothing");
    // What goes on has done all that before.
    task.stands.begins(true);
    (task.ran_ms, task.progress) = (30_000, None);
    assert_eq!((at(&task, 99_000), elsewhere(&task)), ((450, 30), 480));
    // And there is always something left.
    task.ran_ms = 900_000;
    assert_eq!(at(&task, 99_000), (6, 900));
}

// spec: PLACE-3
#[test]
fn a_decision_is_told_with_its_numbers() {
    let node = node();
    let (here, there) = (candidate(1, &[700]), candidate(9, &[600]));
    let (own, on) = (here.device, there.device);
    let name = node.device_name(&on);
    let numbers = |now, then, latest_ms| Numbers {
        planned_ug: 0,
        at_once_ug: None,
        now_mg_per_kwh: now,
        then_mg_per_kwh: then,
        hours: 1,
        latest_ms,
    };
    let (later, tomorrow) = (NOW_MS + 5 * HOUR_MS, (NOW_MS / DAY_MS + 1) * DAY_MS + 65 * MINUTE_MS);
    let midnight = (NOW_MS / DAY_MS + 1) * DAY_MS;
    let waits =
        |why, numbers| Decision::Wait { on: Some(on), until_ms: Some(later), why, numbers: Some(numbers) };
    let pauses = |why, until_ms, numbers| Decision::Pause { on, until_ms, why, numbers };
    let unknown = u32::MAX;
    let cases: Vec<(Decision, Option<String>)> = vec![
        (
            waits(Why::CleanerLater, numbers(600_999, 60_000, None)),
            Some(format!(
                "waits for {name}: 60 g per kWh expected 15:00 UTC, 600 g there and 700 g here now (a later hour is cleaner)"
            )),
        ),
        (
            waits(Why::Busy, numbers(unknown, unknown - 1, Some(midnight - 1))),
            Some(format!(
                "waits for {name}: 4294967 g per kWh expected 15:00 UTC, unknown there and 700 g here now (it has no free slot); it starts by 23:59 UTC at the latest"
            )),
        ),
        (
            waits(Why::EnergyNotClean, numbers(600_000, 0, Some(midnight))),
            Some(format!(
                "waits for {name}: 0 g per kWh expected 15:00 UTC, 600 g there and 700 g here now (its energy is not clean enough now); it starts by 00:00 UTC in 1 d at the latest"
            )),
        ),
        (waits(Why::CleanerLater, numbers(600_000, unknown, None)), None),
        (
            Decision::Run(own, Why::Cleanest, numbers(700_000, 0, None)),
            Some("700 g per kWh now (no later hour is cleaner)".into()),
        ),
        (
            Decision::Run(on, Why::Deadline, numbers(600_000, 0, Some(tomorrow + DAY_MS))),
            Some("600 g per kWh there and 700 g here now (there is no time left to wait); it could have waited until 01:05 UTC in 2 d".into()),
        ),
        (
            Decision::Run(on, Why::Urgent, numbers(600_000, 0, Some(tomorrow))),
            Some("600 g per kWh there and 700 g here now (it waits for no energy)".into()),
        ),
        (
            Decision::Run(on, Why::Crowded, numbers(600_000, 0, Some(tomorrow))),
            Some("600 g per kWh there and 700 g here now (not all tasks fit into the cleaner hours)".into()),
        ),
        (
            Decision::Run(on, Why::Stays, numbers(unknown - 1, 0, None)),
            Some("4294967 g per kWh there and 700 g here now (nothing is so much cleaner that it should stop)".into()),
        ),
        (
            Decision::Move(on, Why::CleanerElsewhere, numbers(600_000, 0, None)),
            Some("600 g per kWh there and 700 g here now (it is cleaner there)".into()),
        ),
        (Decision::Run(on, Why::Cleanest, numbers(unknown, 0, None)), None),
        (
            pauses(Why::CleanerLater, later, numbers(600_000, 60_000, Some(tomorrow))),
            Some("waits until 15:00 UTC: 60 g per kWh expected then, 600 g there now (a later hour is cleaner); it goes on by 01:05 UTC in 1 d at the latest".into()),
        ),
        (
            pauses(Why::EnergyNotClean, tomorrow, numbers(unknown, 60_000, None)),
            Some("waits until 01:00 UTC in 1 d: 60 g per kWh expected then, unknown there now (its energy is not clean enough now)".into()),
        ),
        (pauses(Why::CleanerLater, later, numbers(600_000, unknown, None)), None),
        (
            Decision::Impossible { soonest_ms: Some(later), reasons: vec![] },
            Some("may end late: by what it may take, the soonest end is 15:17 UTC".into()),
        ),
        (Decision::Impossible { soonest_ms: None, reasons: vec![] }, None),
        (Decision::Wait { on: None, until_ms: None, why: Why::Busy, numbers: None }, None),
    ];
    let candidates = [here, there];
    for (decision, told) in cases {
        assert_eq!(node.told(&decision, &candidates), told, "{decision:?}");
    }
    let unknown_here = [candidate(1, &[]), candidate(9, &[600])];
    let told =
        node.told(&Decision::Move(on, Why::CleanerElsewhere, numbers(600_000, 0, None)), &unknown_here);
    assert_eq!(told.unwrap(), "600 g per kWh there and unknown here now (it is cleaner there)");
}

// spec: SLA-3, PLACE-1
#[test]
fn an_eco_task_waits_for_an_hour_that_is_clean_by_the_rules_or_by_what_is_usual_there() {
    let mut path = [500; 96];
    path[5] = 150;
    let eco = spec(Sla::Eco);
    let until = |change: fn(&mut Candidate, &mut [u32; 96])| {
        let mut path = path;
        let mut peer = candidate(9, &[]);
        peer.permitted = Err(Reason::EnergyNotClean);
        change(&mut peer, &mut path);
        peer.path = path.iter().map(|grams| grams * 1_000).collect();
        match decided(&eco, Voice::NoBallot, &[peer]) {
            Decision::Wait { until_ms, why: Why::EnergyNotClean, .. } => {
                until_ms.map(|at| (at - NOW_MS) / HOUR_MS)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(until(|_, _| {}), Some(5), "150 g are clean enough");
    assert_eq!(until(|_, path| path[5] = 151), None);
    assert_eq!(until(|_, path| path[2] = 10), Some(2), "the first that is");
    assert_eq!(
        until(|peer, path| (peer.low, path[5]) = (Some(200), 200)),
        Some(5),
        "or in its cleanest hours"
    );
    assert_eq!(until(|peer, path| (peer.low, path[5]) = (Some(200), 201)), None);
    assert_eq!(until(|peer, _| peer.low = Some(20)), Some(5), "which make nothing dirty");
    assert_eq!(
        until(|peer, _| peer.energy.as_mut().unwrap().renewable_percent = 59),
        None,
        "nothing says that there will be more sun or wind"
    );
    assert_eq!(until(|peer, _| peer.energy = None), None);
}

// spec: SLA-2, VOTE-6
#[test]
fn what_nobody_voted_on_waits_for_clean_energy_until_its_latest_start_and_not_a_moment_longer() {
    let at = |late_ms: u64, permitted: Result<(), Reason>| {
        let mut normal = spec(Sla::Normal);
        normal.finish_by_ms = Some(NOW_MS + ROOM_MS + normal.limits.duration_ms + late_ms);
        normal.created_ms = NOW_MS - 1;
        decided(&normal, Voice::Silent, &[Candidate { permitted, ..candidate(9, &[500; 96]) }])
    };
    // From then on no energy keeps it out.
    let decision = at(0, Ok(()));
    let Decision::Run(_, Why::Deadline, numbers) = decision else { panic!("{decision:?}") };
    assert_eq!(numbers.latest_ms, Some(NOW_MS));
    let decision = at(1, Err(Reason::EnergyNotClean));
    assert!(!matches!(decision, Decision::Run(..)), "{decision:?}");
    // What waits for no energy does not wait for that moment either, and is told so in other words.
    let mut normal = spec(Sla::Normal);
    normal.finish_by_ms = Some(NOW_MS + DAY_MS);
    let run = decided(&normal, Voice::NoBallot, &[candidate(9, &[500; 96])]);
    assert!(matches!(run, Decision::Run(_, Why::Cleanest, _)), "{run:?}");
}

// spec: PLACE-1, SLA-2
#[test]
fn the_way_to_a_peer_takes_its_time_and_the_way_to_this_device_takes_none() {
    // Ten seconds are to spare: ten megabytes at a slow home's uplink.
    let in_time = |what: u8, module_len: u64, input_len: u64| {
        let mut normal = spec(Sla::Normal);
        normal.module_len = module_len;
        let blob = Blob { hash: BlobHash([1; 32]), len: input_len };
        normal.inputs = vec![mesh_protocol::task::InputFile { path: "a".into(), blob }];
        normal.finish_by_ms = Some(NOW_MS + ROOM_MS + normal.limits.duration_ms + 10_000);
        matches!(decided(&normal, Voice::NoBallot, &[candidate(what, &[100; 96])]), Decision::Run(..))
    };
    assert!(in_time(9, 4_000_000, 6_000_000));
    assert!(!in_time(9, 4_000_000, 6_001_000));
    assert!(!in_time(9, 10_001_000, 0));
    assert!(in_time(1, 10_001_000, 10_000_000));
}

// spec: PLACE-1
#[test]
fn among_equals_the_one_with_more_room_is_taken_and_the_own_device_last() {
    let chosen = |first: Candidate, second: Candidate| match decided(
        &spec(Sla::Urgent),
        Voice::NoBallot,
        &[first, second],
    ) {
        Decision::Run(device, ..) => device,
        other => panic!("{other:?}"),
    };
    let at = |what: u8, free_slots: u16| Candidate { free_slots, ..candidate(what, &[100; 96]) };
    for (fuller, freer) in [(8, 9), (9, 8)] {
        assert_eq!(chosen(at(fuller, 1), at(freer, 4)), key(freer).public());
        assert_eq!(chosen(at(1, 4), at(freer, 4)), key(freer).public(), "its owner is using it");
        // A third of a full one's room counts for less than what makes equals.
        assert_eq!(chosen(at(1, 4), at(freer, 1)), key(1).public(), "and is not using all of it");
    }
}

// spec: DEL-8, REP-2
#[test]
fn whoever_has_a_reason_for_a_run_that_says_nothing_of_others_may_say_so() {
    let plain = spec(Sla::Normal);
    let mut clocked = plain.clone();
    clocked.permissions.real_clock = true;
    let receipt = |outcome: Outcome, why: &[NotComparable]| {
        let digest = Digest([1; 32]);
        Receipt {
            version: mesh_protocol::receipt::VERSION,
            task: plain.id(),
            attempt: 1,
            module: plain.module,
            name: plain.name.clone(),
            args: vec![],
            env: vec![],
            input: mesh_protocol::receipt::Input {
                hash: plain.input,
                stdin: None,
                streamed: false,
                named: digest,
            },
            limits: plain.limits.clone(),
            granted: plain.permissions.clone(),
            profile: EngineProfile {
                engine: "test".into(),
                features: vec![],
                fuel_table: "1".into(),
                world: "1".into(),
                limits: vec![],
            },
            walls: vec![],
            out_bound: "metered".into(),
            outcome,
            usage: Usage::default(),
            output: mesh_protocol::receipt::Output {
                stdout_bytes: 0,
                stdout: digest,
                stderr_bytes: 0,
                stderr: digest,
                out_bytes: 0,
                out_files: 0,
                out: digest,
            },
            not_comparable: why.to_vec(),
            resumed_from: None,
            last_checkpoint: None,
            executor: key(9).public(),
        }
    };
    let well = || receipt(Outcome::Exited(0), &[NotComparable::Resumed]);
    assert!(may_not_compare(&well(), &plain, true), "it went on from what another had done");
    assert!(!may_not_compare(&well(), &plain, false));
    assert!(may_not_compare(&receipt(Outcome::Exited(0), &[]), &clocked, false), "it saw the hour");
    let odd = [NotComparable::Inconclusive];
    assert!(may_not_compare(&receipt(Outcome::TimedOut, &odd), &plain, false));
    assert!(!may_not_compare(&receipt(Outcome::Exited(0), &odd), &plain, true));
    assert!(!may_not_compare(&receipt(Outcome::TimedOut, &[NotComparable::Network]), &plain, true));
}
