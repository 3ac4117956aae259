//! What the members decide among themselves, seen by three peers without a network.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod room;

use mesh_node::{
    Answer, BallotView, Capacity, Command, ErrorKind, HOOK_MS, HookSays, Input, Misbehaviour, Run, RunEvent,
};
use mesh_policies::donor::{Situation, Terms};
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::frame::{AttemptId, TaskFrame};
use mesh_protocol::ids::TaskId;
use mesh_protocol::invite::TicketKind;
use mesh_protocol::key::{SecretKey, UserKey};
use mesh_protocol::ledger::{Effect, Entry, Payload};
use mesh_protocol::reason::Reason;
use mesh_protocol::rules::{Rules, Tier, VotingMethod};
use mesh_protocol::task::{Importance, Sla};
use room::*;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// Ballots of ten seconds, in which everybody has a vote at once.
fn rules() -> Rules {
    Rules { voting_window_ms: 10_000, vote_after_ms: 0, ..Rules::default() }
}

/// Three peers; carol has one slot and lets alice's tasks run there, alice herself runs nothing.
fn street(rules: Rules) -> Room {
    let mut room = Room::community_by(&["alice", "bob", "carol"], rules);
    room.handle(0, Input::Capacity(Capacity { slots: 0, memory: 1 << 30, longest_ms: HOUR }));
    room.handle(2, Input::Capacity(Capacity { slots: 1, memory: 1 << 30, longest_ms: HOUR }));
    room.grant(2, "alice");
    room
}

fn coal() -> EnergyClaim {
    EnergyClaim { source: Source::Grid, renewable_percent: 5, g_per_kwh: 700 }
}

fn sun() -> EnergyClaim {
    EnergyClaim { source: Source::Solar, renewable_percent: 100, g_per_kwh: 30 }
}

impl Room {
    fn vote(&mut self, number: usize, task: &str, importance: Importance) {
        let comment = String::new();
        self.ask(number, Command::Vote { task: task.into(), importance, comment }).unwrap();
    }

    fn ballot(&mut self, number: usize, task: &str) -> BallotView {
        match self.ask(number, Command::Ballots { task: Some(task.into()) }).unwrap() {
            Answer::Ballots(views) => views[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    /// What runs on a peer next.
    fn next_run(&mut self, number: usize) -> Option<Run> {
        if self.peers[number].runs.is_empty() { None } else { Some(self.peers[number].runs.remove(0)) }
    }

    fn said(&self, number: usize, kind: &str) -> Vec<Payload> {
        let entries = self.peers[number].entries.values().map(|bytes| Entry::verify(bytes).unwrap());
        entries
            .filter(|entry| entry.payload().kind_name() == kind)
            .map(|entry| entry.payload().clone())
            .collect()
    }

    fn energy(&mut self, number: usize, energy: EnergyClaim) {
        self.handle(
            number,
            Input::Energy(Some(Box::new(mesh_protocol::energy::Reading::of(energy, "fixed"))), None),
        );
        self.pass(2000);
    }
}

/// Who was added last comes in by a ticket of Alice's.
fn joins(room: &mut Room, number: usize) {
    let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
    let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
    room.ask(number, Command::Join { ticket, as_device_of: None }).unwrap();
    for other in 0..number {
        room.connect(number, other);
    }
    room.pass(2_000);
}

// spec: VOTE-6
#[test]
fn a_task_voted_non_critical_is_given_up_after_four_weeks_without_sun_or_wind() {
    let mut room = street(rules());
    room.energy(2, coal());
    let id = room.submit_draft(0, draft("plain", 1)).unwrap();
    for number in 0..3 {
        room.vote(number, &id, Importance::NonCritical);
    }
    room.pass(12_000);
    room.sleep(28 * 24 * HOUR - MINUTE);
    assert_eq!(room.state(0, &id).0, "waiting", "{}", room.state(0, &id).1);
    room.sleep(MINUTE);
    room.pass(10_000);
    let (state, why) = room.state(0, &id);
    assert_eq!(state, "failed");
    assert!(why.contains(&Reason::NeverEnoughEnergy.to_string()), "{why}");
}

// spec: VOTE-1, VOTE-3, VOTE-8, VOTE-9
#[test]
fn a_task_voted_high_overtakes_one_that_was_there_before() {
    let mut room = street(rules());
    // Something runs on the one slot there is.
    let urgent = mesh_node::Draft { sla: Sla::Urgent, ..draft("first", 1) };
    room.submit_draft(0, urgent).unwrap();
    let first = room.next_run(2).expect("what is urgent waits for no ballot");
    let normal = room.submit_draft(0, draft("plain", 2)).unwrap();
    let high = room.submit_draft(0, draft("backup", 3)).unwrap();
    for task in [&normal, &high] {
        assert!(room.state(0, task).1.contains("ballot is still open"), "{}", room.state(0, task).1);
    }
    room.vote(0, &normal, Importance::Normal);
    room.vote(1, &normal, Importance::Normal);
    room.vote(0, &high, Importance::Low);
    room.vote(1, &high, Importance::High);
    room.vote(2, &high, Importance::High);
    room.pass(12_000);
    let views: Vec<BallotView> = (0..3).map(|number| room.ballot(number, &high)).collect();
    for view in &views {
        assert_eq!(
            (view.state, view.importance, view.percent),
            ("decided", Some(Importance::High), Some(66))
        );
        assert_eq!((view.disputed_claim, view.left_out.len()), (None, 0));
        assert_eq!(format!("{view:?}"), format!("{:?}", views[0]), "every peer counts the same");
    }
    room.end(2, &first);
    room.pass(1000);
    let second = room.next_run(2).expect("the slot is free");
    assert_eq!(second.attempt.task.to_string(), high, "the one voted HIGH goes first");
    room.end(2, &second);
    room.pass(1000);
    assert_eq!(room.next_run(2).expect("then the other").attempt.task.to_string(), normal);
    // One result a task, in everybody's ledger.
    assert_eq!(room.said(1, "consensus").len(), 2);
    equal(&room);
}

/// Half of six peers are cut off from the others, and each half votes and hears no more than its own until the ballot closes.
fn votes_apart(room: &mut Room, task: &str) {
    room.apart = true;
    let (here, there) = ([0, 2, 4], [1, 3, 5]);
    for other in here {
        there.iter().for_each(|apart| room.disconnect(*apart, other));
    }
    here.iter().for_each(|voter| room.vote(*voter, task, Importance::High));
    there.iter().for_each(|voter| room.vote(*voter, task, Importance::Low));
    room.pass(12_000);
}

// spec: SLA-1, VOTE-6
#[test]
fn votes_that_come_late_hold_at_once_what_they_allow_no_more() {
    // At a donor's, and at home.
    for at in [2, 0] {
        let mut room = Room::community_by(&["alice", "bob", "carol", "dave", "erin", "frank"], rules());
        if at != 0 {
            room.handle(0, Input::Capacity(Capacity { slots: 0, memory: 1 << 30, longest_ms: HOUR }));
            room.grant(at, "alice");
        }
        let eco = mesh_node::Draft { sla: Sla::Eco, ..draft("backup", 1) };
        let task = room.submit_draft(0, eco).unwrap();
        room.pass(1000);
        room.energy(at, coal());
        votes_apart(&mut room, &task);
        let run = room.next_run(at).expect("as far as is known here it is voted HIGH");
        room.handle(at, Input::Run(run.attempt, RunEvent::Started));
        // It is looked at every ten seconds anyway.
        room.pass(10_100);
        assert!(room.peers[at].wishes.is_empty());
        room.connect(at, 1);
        room.pass(2_000);
        assert_eq!(room.ballot(at, &task).importance, Some(Importance::Normal));
        assert_eq!(room.peers[at].wishes, [(run.attempt, Wish::Hold)]);
    }
}

/// Counting others' votes is put off by a moment; giving a task away is not.
// spec: SLA-1, VOTE-6
#[test]
fn what_is_given_away_goes_by_all_votes_that_are_here() {
    let mut room = Room::community_by(&["alice", "bob", "carol", "dave", "erin", "frank"], rules());
    let slots = |slots| Input::Capacity(Capacity { slots, memory: 1 << 30, longest_ms: HOUR });
    room.handle(0, slots(0));
    let eco = mesh_node::Draft { sla: Sla::Eco, ..draft("backup", 1) };
    let task = room.submit_draft(0, eco).unwrap();
    room.pass(1000);
    room.energy(0, coal());
    votes_apart(&mut room, &task);
    assert_eq!(room.ballot(0, &task).importance, Some(Importance::High));
    // The other votes and a free place come in the same moment.
    room.connect(0, 1);
    room.handle(0, slots(1));
    room.pass(5_000);
    assert_eq!(room.ballot(0, &task).importance, Some(Importance::Normal));
    assert!(room.next_run(0).is_none(), "{}", room.state(0, &task).1);
}

/// A device that started ahead of the time is told it: what was decided is not yet.
// spec: SLA-1, VOTE-6
#[test]
fn what_a_clock_that_is_set_takes_away_holds_at_once() {
    let mut room = street(rules());
    room.energy(2, coal());
    let eco = mesh_node::Draft { sla: Sla::Eco, ..draft("backup", 1) };
    let task = room.submit_draft(0, eco).unwrap();
    room.vote(1, &task, Importance::High);
    room.pass(12_000);
    let run = room.next_run(2).expect("it is voted HIGH");
    room.handle(2, Input::Run(run.attempt, RunEvent::Started));
    room.now.wall_ms -= 10_000;
    room.handle(2, Input::Wake);
    assert_eq!(room.ballot(2, &task).state, "open");
    assert_eq!(room.peers[2].wishes, [(run.attempt, Wish::Hold)]);
}

// spec: VOTE-3, VOTE-4, VOTE-6
#[test]
fn a_split_vote_is_normal_and_none_waits_for_clean_energy() {
    let mut room = street(rules());
    room.energy(2, coal());
    let split = room.submit_draft(0, draft("split", 1)).unwrap();
    room.vote(0, &split, Importance::Low);
    room.vote(1, &split, Importance::High);
    room.vote(2, &split, Importance::Critical);
    room.pass(12_000);
    let run = room.next_run(2).expect("NORMAL runs on any energy");
    assert_eq!(run.attempt.task.to_string(), split);
    room.end(2, &run);
    let silent = room.submit_draft(0, draft("silent", 2)).unwrap();
    room.pass(60_000);
    assert!(room.next_run(2).is_none());
    let why = room.state(0, &silent).1;
    assert!(why.contains("not clean enough"), "{why}");
    assert!(why.contains("nobody voted on it") && why.contains("as ECO does"), "{why}");
    assert_eq!(room.ballot(1, &silent).state, "waits for voters");
    // Somebody votes later after all.
    room.vote(1, &silent, Importance::High);
    room.pass(5_000);
    assert_eq!(room.next_run(2).expect("voted late").attempt.task.to_string(), silent);
    let eco = room.submit_draft(0, draft("eco", 3)).unwrap();
    room.pass(60_000);
    assert!(room.next_run(2).is_none());
    room.handle(2, Input::Capacity(Capacity { slots: 2, memory: 1 << 30, longest_ms: HOUR }));
    room.energy(2, EnergyClaim { source: Source::Grid, renewable_percent: 70, g_per_kwh: 100 });
    room.pass(5_000);
    assert_eq!(room.next_run(2).expect("clean now").attempt.task.to_string(), eco);
}

// spec: VOTE-5
#[test]
fn perfect_energy_needs_no_vote() {
    let mut room = street(rules());
    room.energy(2, sun());
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    assert_eq!(room.next_run(2).expect("at once").attempt.task.to_string(), task);
}

// spec: VOTE-4, PERM-6
#[test]
fn where_nobody_else_has_a_vote_yet_nobody_is_asked() {
    let mut room = street(Rules { voting_window_ms: 10_000, ..Rules::default() });
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    assert!(room.next_run(2).is_some());
    assert_eq!(room.ballot(1, &task).state, "none");
    let refused = room.ask(1, Command::Vote { task, importance: Importance::Low, comment: String::new() });
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Forbidden);
}

// spec: VOTE-7
#[test]
fn what_is_declared_critical_starts_at_home_and_elsewhere_by_vote() {
    let mut room = street(rules());
    let declare = |nonce| mesh_node::Draft { importance: Some(Importance::Critical), ..draft("mine", nonce) };
    let away = room.submit_draft(0, declare(1)).unwrap();
    assert!(room.next_run(2).is_none() && room.next_run(0).is_none());
    room.handle(0, Input::Capacity(Capacity { slots: 1, memory: 1 << 30, longest_ms: HOUR }));
    room.pass(10);
    assert_eq!(room.next_run(0).expect("at home it starts").attempt.task.to_string(), away);
    let second = room.submit_draft(0, declare(2)).unwrap();
    room.vote(1, &second, Importance::Critical);
    room.vote(2, &second, Importance::Critical);
    room.pass(2_000);
    assert_eq!(room.next_run(2).expect("voted").attempt.task.to_string(), second);
}

// spec: VOTE-7, REP-1
#[test]
fn declaring_critical_what_the_members_take_for_less_costs_reputation() {
    let mut room = street(rules());
    let terms = |room: &mut Room, user: &str| match room
        .ask(1, Command::Reputation { user: Some(user.into()) })
        .unwrap()
    {
        Answer::Reputation(view) => view.terms.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        other => panic!("{other:?}"),
    };
    let declare = |nonce| mesh_node::Draft { importance: Some(Importance::Critical), ..draft("mine", nonce) };
    let task = room.submit_draft(0, declare(1)).unwrap();
    room.vote(1, &task, Importance::Low);
    room.pass(2_000);
    const TERM: &str = "declared CRITICAL, and the members disagreed";
    assert_eq!(terms(&mut room, "alice")[TERM], 0, "one alone is no community");
    room.vote(2, &task, Importance::Normal);
    room.pass(2_000);
    assert_eq!(terms(&mut room, "alice")[TERM], -5);
    let task = room.submit_draft(0, declare(2)).unwrap();
    room.vote(1, &task, Importance::Critical);
    room.vote(2, &task, Importance::Critical);
    room.pass(2_000);
    assert_eq!(terms(&mut room, "alice")[TERM], -5, "the members agreed");
    equal(&room);
}

// spec: REP-1
#[test]
fn votes_near_what_the_others_say_earn_reputation() {
    let mut room = Room::community_by(&["alice", "bob", "carol", "dave"], rules());
    room.handle(0, Input::Capacity(Capacity { slots: 0, memory: 1 << 30, longest_ms: HOUR }));
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    room.vote(1, &task, Importance::Low);
    room.vote(2, &task, Importance::Normal);
    room.vote(3, &task, Importance::Critical);
    room.pass(2_000);
    for (user, near) in [("bob", 1), ("carol", 1), ("dave", 0), ("alice", 0)] {
        let Answer::Reputation(view) = room.ask(0, Command::Reputation { user: Some(user.into()) }).unwrap()
        else {
            panic!()
        };
        let term = view.terms.iter().find(|(term, _)| *term == "votes near the consensus").unwrap();
        assert_eq!(term.1, near, "{user}");
    }
}

// spec: VOTE-1
#[test]
fn a_vote_can_be_changed_until_nothing_can_change_the_result() {
    let mut room = street(rules());
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    room.vote(1, &task, Importance::Low);
    room.vote(1, &task, Importance::High);
    room.vote(2, &task, Importance::High);
    room.pass(2_000);
    let view = room.ballot(0, &task);
    assert_eq!((view.state, view.importance), ("decided", Some(Importance::High)));
    let late = room.ask(1, Command::Vote { task, importance: Importance::Low, comment: String::new() });
    assert_eq!(late.unwrap_err().kind, ErrorKind::Conflict);
}

// spec: HEALTH-1, HEALTH-2
#[test]
fn health_goes_first_on_any_energy_and_is_on_record() {
    let mut room = street(rules());
    room.energy(2, coal());
    let cache = room.submit_draft(0, draft("firefox-cache-cleanup", 1)).unwrap();
    assert!(room.next_run(2).is_none());
    let hospital = room.submit_draft(0, draft("hospital-backup-power-test", 2)).unwrap();
    assert_eq!(room.next_run(2).expect("at once").attempt.task.to_string(), hospital);
    assert!(room.ballot(1, &hospital).health && !room.ballot(1, &cache).health);
    assert_eq!(room.ballot(1, &hospital).importance, Some(Importance::Critical));
    assert_eq!(room.said(1, "health").len(), 1);
}

// spec: CLI-3, VOTE-4, HEALTH-1
#[test]
fn a_trial_says_who_would_be_asked_and_whether_it_would_go_first() {
    let mut room = street(rules());
    let plan = |room: &mut Room, name: &str, sla| {
        let draft = mesh_node::Draft { sla, dry_run: true, ..draft(name, 9) };
        let Answer::Plan(view) = room.ask(0, Command::Submit(Box::new(draft))).unwrap() else { panic!() };
        view
    };
    let window = rules().voting_window_ms;
    for (sla, waits) in [(Sla::Normal, true), (Sla::Eco, true), (Sla::Urgent, false)] {
        let view = plan(&mut room, "plain", sla);
        assert_eq!((view.ballot_ms, view.waits_for_ballot, view.health), (Some(window), waits, None));
    }
    let view = plan(&mut room, "hospital-backup-power-test", Sla::Normal);
    assert_eq!((view.ballot_ms, view.health.as_deref()), (None, Some("hospital")));
    // Alone there is nobody to ask.
    let mut room = Room::community_by(&["alice"], rules());
    assert_eq!(plan(&mut room, "plain", Sla::Normal).ballot_ms, None);
}

// spec: HEALTH-1
#[test]
fn a_description_that_mentions_health_counts_too() {
    let mut room = street(rules());
    room.energy(2, coal());
    let told =
        mesh_node::Draft { description: "Tests the pumps of the WATER works".into(), ..draft("pumps", 1) };
    room.submit_draft(0, told).unwrap();
    assert!(room.next_run(2).is_some());
}

// spec: HEALTH-1, HEALTH-2
#[test]
fn what_made_a_task_a_matter_of_public_health_is_said_in_few_words() {
    let mut room = street(rules());
    let mut said = |name: &str, description: String, nonce: u8| {
        let draft = mesh_node::Draft { description, ..draft(name, nonce) };
        room.submit_draft(0, draft).unwrap();
        let texts = room.said(0, "health").into_iter().filter_map(|payload| match payload {
            Payload::HealthFlagged { text, .. } => Some(text),
            _ => None,
        });
        texts.collect::<Vec<String>>().pop().unwrap()
    };
    let long = |bytes: usize| format!("water {}", "a".repeat(bytes - 6));
    assert_eq!(said("pumps", long(280), 1), long(280));
    assert_eq!(said("pumps", long(281), 2), "water");
    assert_eq!(said("water-works", long(200), 3), "water-works");
}

// spec: HEALTH-3
#[test]
fn members_can_take_a_flag_away() {
    let mut room = Room::community_by(&["alice", "bob", "carol", "dave"], rules());
    room.handle(0, Input::Capacity(Capacity { slots: 0, memory: 1 << 30, longest_ms: HOUR }));
    let task = room.submit_draft(0, draft("fire-drill-photos", 1)).unwrap();
    let sum = |room: &mut Room| match room.ask(1, Command::Reputation { user: Some("alice".into()) }).unwrap()
    {
        Answer::Reputation(view) => view.sum,
        other => panic!("{other:?}"),
    };
    let before = sum(&mut room);
    for number in [1, 2] {
        room.ask(number, Command::Dispute { task: task.clone(), why: "holiday photos".into() }).unwrap();
    }
    room.pass(3_000);
    assert!(room.ballot(1, &task).health, "two are not enough");
    room.ask(3, Command::Dispute { task: task.clone(), why: "photos".into() }).unwrap();
    room.pass(3_000);
    let view = room.ballot(1, &task);
    assert!(view.dispute_upheld && !view.health);
    assert_eq!(view.disputes.len(), 3);
    assert!(sum(&mut room) < before, "and it shows in the submitter's reputation");
    equal(&room);
}

// spec: HEALTH-3
#[test]
fn whoever_votes_a_disputed_task_critical_stands_by_its_flag_and_nobody_else_does() {
    // Who votes, and for what; then whether the flag is taken away.
    let votes: [(&[(usize, Importance)], bool); 4] = [
        (&[], true),
        (&[(3, Importance::Critical)], true),
        (&[(3, Importance::Critical), (4, Importance::Critical)], false),
        (&[(3, Importance::Critical), (4, Importance::High)], true),
    ];
    for (votes, upheld) in votes {
        let mut room = Room::community_by(&["alice", "bob", "carol", "dave", "erin"], rules());
        room.handle(0, Input::Capacity(Capacity { slots: 0, memory: 1 << 30, longest_ms: HOUR }));
        let task = room.submit_draft(0, draft("fire-drill-photos", 1)).unwrap();
        for number in [1, 2, 3] {
            room.ask(number, Command::Dispute { task: task.clone(), why: "photos".into() }).unwrap();
        }
        votes.iter().for_each(|(number, level)| room.vote(*number, &task, *level));
        room.pass(3_000);
        let view = room.ballot(1, &task);
        assert_eq!((view.dispute_upheld, view.health), (upheld, !upheld), "{votes:?}");
        equal(&room);
    }
}

// spec: HEALTH-3
#[test]
fn of_who_is_put_out_a_dispute_counts_once_its_time_was_over() {
    for (days, upheld) in [(6, false), (8, true)] {
        let mut room = Room::community_by(&["alice", "bob", "carol", "dave"], rules());
        room.handle(0, Input::Capacity(Capacity { slots: 0, memory: 1 << 30, longest_ms: HOUR }));
        let task = room.submit_draft(0, draft("fire-drill-photos", 1)).unwrap();
        for number in [1, 2, 3] {
            room.ask(number, Command::Dispute { task: task.clone(), why: "photos".into() }).unwrap();
        }
        room.pass(3_000);
        assert!(room.ballot(1, &task).dispute_upheld);
        room.sleep(days * 24 * HOUR);
        room.ask(0, Command::Expel { user: "dave".into(), why: "noise".into() }).unwrap();
        room.pass(130_000);
        assert_eq!(room.ballot(1, &task).dispute_upheld, upheld, "after {days} days");
    }
}

// spec: VOTE-2, VOTE-8, QUOTA-2
#[test]
fn what_a_vote_weighs_is_what_its_member_had_done_when_the_ballot_opened() {
    let bobs = UserKey(SecretKey::from_seed(&[12; 32]).public());
    for (voting_method, carols, bobs_weight) in
        [(VotingMethod::Hybrid, 2 * 5 + 3 + 2 * 2, 2 * 5), (VotingMethod::Stake, 500, 0)]
    {
        let mut room = street(Rules { voting_method, treasurers: vec![bobs], ..rules() });
        room.sleep(61 * 24 * HOUR);
        let give = |room: &mut Room, by: usize, amount| {
            let (user, unit) = ("carol".into(), "money".into());
            room.ask(by, Command::Contribute { user, unit, amount, month: None })
        };
        assert_eq!(give(&mut room, 0, 700).unwrap_err().kind, ErrorKind::Forbidden, "others are named");
        give(&mut room, 1, 300).unwrap();
        give(&mut room, 1, 200).unwrap();
        let urgent = |nonce| mesh_node::Draft { sla: Sla::Urgent, ..draft("plain", nonce) };
        room.submit_draft(0, urgent(1)).unwrap();
        assert_eq!(run_all(&mut room, 2), 1);
        room.pass(61_000);
        let task = room.submit_draft(0, draft("plain", 2)).unwrap();
        room.pass(2_000);
        // What comes later weighs in later ballots.
        give(&mut room, 1, 100).unwrap();
        room.submit_draft(0, urgent(3)).unwrap();
        assert_eq!(run_all(&mut room, 2), 1);
        room.vote(1, &task, Importance::Low);
        room.vote(2, &task, Importance::High);
        room.pass(61_000);
        let key = (room.key(0), task.parse::<TaskId>().unwrap());
        for number in 0..3 {
            let counted = room.peers[number].node.counted(&key.0, &key.1).unwrap();
            let weight = |level| counted.weights.get(&level).copied().unwrap_or_default();
            assert_eq!((weight(Importance::High), weight(Importance::Low)), (carols, bobs_weight));
        }
        equal(&room);
    }
}

// spec: VOTE-8, DEL-14, QUOTA-4
#[test]
fn peers_that_heard_the_same_conclude_the_same_of_any_moment() {
    let mut room = street(rules());
    let open = room.submit_draft(0, draft("plain", 1)).unwrap();
    room.submit_draft(0, draft("hospital-test", 2)).unwrap();
    room.vote(1, &open, Importance::High);
    room.pass(2_000);
    let key = (room.key(0), open.parse::<TaskId>().unwrap());
    let now = room.now.wall_ms;
    for (at, is_open, decision) in [(now, true, None), (now + HOUR, false, Some(Importance::High))] {
        let all: Vec<_> = room.peers.iter().map(|peer| peer.node.conclusions(at)).collect();
        assert!(all.iter().all(|one| *one == all[0]));
        let ballot = &all[0].ballots[&key];
        assert_eq!((ballot.asked, ballot.open, ballot.decision), (true, is_open, decision));
        assert_eq!((all[0].ballots.len(), all[0].tiers.len()), (2, 3));
        assert_eq!(all[0].ballots.values().filter(|ballot| ballot.health).count(), 1);
        // Of all that were submitted, with how many are of public health.
        let ((from, until), used, health) = all[0].days[&key.0];
        assert!(from <= at && at < until && (used, health) == (2, 1), "{used}, {health}");
        assert_eq!(all[0].days.len(), 3);
    }
    let node = &room.peers[2].node;
    assert_eq!(node.counted(&key.0, &key.1).as_ref(), node.conclusions(now).ballots.get(&key));
    assert_eq!(node.counted(&room.key(1), &key.1), None, "bob submitted none such");
}

/// A community without ballots, where tasks end at once.
fn quiet() -> Rules {
    Rules { voting_window_ms: 0, vote_after_ms: 0, ..Rules::default() }
}

fn run_all(room: &mut Room, number: usize) -> usize {
    let mut count = 0;
    while let Some(run) = room.next_run(number) {
        room.end(number, &run);
        room.pass(10);
        count += 1;
    }
    count
}

// spec: QUOTA-1, QUOTA-4
#[test]
fn the_eleventh_task_of_the_day_is_refused_where_it_is_submitted() {
    let mut room = street(quiet());
    for nonce in 0..10 {
        room.submit_draft(0, draft("plain", nonce)).unwrap();
        assert_eq!(run_all(&mut room, 2), 1);
    }
    let refused = room.submit_draft(0, draft("plain", 10)).unwrap_err();
    assert!(refused.message.contains("quota") && refused.hint.is_some(), "{refused:?}");
    let quota = |room: &mut Room| match room.ask(0, Command::Quota { user: None }).unwrap() {
        Answer::Quota(view) => *view,
        other => panic!("{other:?}"),
    };
    let view = quota(&mut room);
    assert_eq!((view.used, view.allowed, view.left), (10, Some(10), Some(0)));
    assert_eq!(view.next.unwrap().missing.len(), 3);
    // Health has its own, and the next day is a new one.
    room.submit_draft(0, draft("hospital-test", 11)).unwrap();
    assert_eq!(run_all(&mut room, 2), 1);
    // Until others have seen them, nobody knows on which day they were submitted.
    room.pass(61_000);
    room.sleep(view.resets_ms - room.now.wall_ms);
    assert_eq!(quota(&mut room).used, 0);
    room.submit_draft(0, draft("plain", 12)).unwrap();
    // A larger task than the tier allows.
    let mut large = draft("plain", 13);
    large.limits.duration_ms = 601_000;
    assert!(room.submit_draft(0, large).unwrap_err().message.contains("tier"));
}

// spec: QUOTA-4, HEALTH-3
#[test]
fn the_quota_that_is_shown_is_the_one_that_is_enforced() {
    let mut room = street(quiet());
    room.submit_draft(0, draft("hospital-test", 100)).unwrap();
    for nonce in 0..10 {
        let Answer::Quota(view) = room.ask(0, Command::Quota { user: None }).unwrap() else { panic!() };
        let left = 10 - u64::from(nonce);
        assert_eq!((view.used, view.health, view.left), (u64::from(nonce), 1, Some(left)));
        assert_eq!(view.left_for_health, Some(left + 9));
        let dry = mesh_node::Draft { dry_run: true, ..draft("plain", nonce) };
        let Answer::Plan(plan) = room.ask(0, Command::Submit(Box::new(dry))).unwrap() else { panic!() };
        assert_eq!(plan.quota, format!("1 task of the {left} left today of 10"));
        room.submit_draft(0, draft("plain", nonce)).unwrap();
    }
    let refused = room.submit_draft(0, draft("plain", 10)).unwrap_err().message;
    assert!(refused.contains("10 of 10 tasks of today are used, and 1 more of public health"), "{refused}");
    assert!(refused.contains("; resets 20") && refused.ends_with("00:00 UTC"), "{refused}");
}

// spec: VOTE-1, SLA-2
#[test]
fn a_task_that_waits_for_its_ballot_is_not_said_to_have_nobody() {
    let mut room = street(rules());
    let by = Some(room.now.wall_ms + 6 * HOUR);
    let on = Some("carol-laptop".into());
    let task = mesh_node::Draft { finish_by_ms: by, on, ..draft("plain", 1) };
    let Answer::Submitted { warning, task, .. } = room.ask(0, Command::Submit(Box::new(task))).unwrap()
    else {
        panic!()
    };
    let warning = warning.unwrap();
    assert!(warning.starts_with("it waits for its ballot, until 20"), "{warning}");
    let why = room.state(0, &task.to_string()).1;
    assert!(why.contains("ballot is still open, until 20"), "{why}");
}

// spec: QUOTA-4
#[test]
fn the_eleventh_task_is_refused_by_the_donor_if_its_submitter_does_not_count() {
    let mut room = street(quiet());
    room.peers[0].node.misbehave(Misbehaviour::SubmitsOverQuota);
    for nonce in 0..10 {
        room.submit_draft(0, draft("plain", nonce)).unwrap();
        assert_eq!(run_all(&mut room, 2), 1);
    }
    let task = room.submit_draft(0, draft("plain", 10)).unwrap();
    assert_eq!(run_all(&mut room, 2), 0);
    assert!(room.state(0, &task).1.contains("quota"), "{}", room.state(0, &task).1);
    assert!(
        room.said(0, "refused")
            .iter()
            .any(|said| matches!(said, Payload::Refused { reason: Reason::OverQuota, .. }))
    );
}

/// Donors take it no more, and would be asked for ever.
// spec: QUOTA-4
#[test]
fn a_task_whose_submission_is_spent_by_its_owners_own_count_fails_and_says_so() {
    let mut room = street(Rules { max_attempts: 1, ..quiet() });
    let mut task = draft("plain", 1);
    task.limits.duration_ms = 1_000;
    let id = room.submit_draft(0, task).unwrap();
    for runs in 0..=20 {
        assert_eq!(room.state(0, &id).0 == "failed", runs == 20, "after {runs}: {}", room.state(0, &id).1);
        if runs == 20 {
            break;
        }
        let run = room.next_run(2).unwrap_or_else(|| panic!("{}", room.state(0, &id).1));
        room.handle(2, Input::Run(run.attempt, RunEvent::Started));
        room.handle(2, Input::Run(run.attempt, RunEvent::Lost(Reason::DonorPaused)));
        room.handle(2, Input::Run(run.attempt, RunEvent::Spent(Some(metering(room.now, 10)))));
        for _ in 0..200 {
            if room.peers[2].runs.is_empty() {
                room.pass(5_000);
            }
        }
    }
    let why = room.state(0, &id).1;
    assert!(why.contains("as long as one submission pays for"), "{why}");
    assert_eq!(room.said(1, "failed").len(), 1);
}

/// Who was away voted in time, and their votes came when the result had been claimed.
// spec: VOTE-8, LED-10
#[test]
fn a_claim_is_said_again_where_its_owners_own_count_has_moved() {
    let mut room = Room::community_by(&["alice", "bob", "carol", "dave"], Rules { sponsors: 1, ..rules() });
    for number in 0..4 {
        room.handle(number, Input::Terms(Box::new(Terms { off: true, ..Terms::default() })));
    }
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    room.vote(1, &task, Importance::High);
    room.pass(3_000);
    for other in 1..4 {
        room.disconnect(0, other);
    }
    for number in [2, 3] {
        room.vote(number, &task, Importance::Low);
    }
    room.pass(20_000);
    let claimed = |room: &Room| -> Vec<Option<Importance>> {
        let said = room.said(0, "consensus").into_iter();
        said.map(|it| if let Payload::Consensus { importance, .. } = it { importance } else { None })
            .collect()
    };
    assert_eq!(claimed(&room), [Some(Importance::High)]);
    for other in 1..4 {
        room.connect(0, other);
    }
    room.pass(20_000);
    assert_eq!(claimed(&room), [Some(Importance::High), Some(Importance::Low)]);
    for number in 0..4 {
        let view = room.ballot(number, &task);
        assert_eq!((view.importance, view.disputed_claim), (Some(Importance::Low), None), "{number}");
    }
}

// spec: VOTE-8
#[test]
fn a_donor_believes_its_own_tally_and_no_claim() {
    let mut room = street(rules());
    room.energy(2, coal());
    room.peers[0].node.misbehave(Misbehaviour::ClaimsCritical);
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    room.pass(20_000);
    assert!(room.next_run(2).is_none());
    assert!(room.peers[2].node.counters().offers_refused > 0, "it was offered");
    let view = room.ballot(1, &task);
    assert_eq!((view.importance, view.disputed_claim), (None, Some(Importance::Critical)));
}

// spec: QUOTA-2
#[test]
fn reaching_a_tier_changes_it_on_every_peer() {
    let mut room = street(quiet());
    let tier = |room: &mut Room, number| match room
        .ask(number, Command::Quota { user: Some("alice".into()) })
        .unwrap()
    {
        Answer::Quota(view) => (view.tier, view.allowed),
        other => panic!("{other:?}"),
    };
    let give = |user: &str, amount| Command::Contribute {
        user: user.into(),
        unit: "money".into(),
        amount,
        month: None,
    };
    assert_eq!(
        room.ask(1, give("alice", 500)).unwrap_err().kind,
        ErrorKind::Forbidden,
        "bob is no treasurer"
    );
    room.ask(0, give("alice", 499)).unwrap();
    for number in 0..3 {
        assert_eq!(tier(&mut room, number), (mesh_policies::quota::Tier::Free, Some(10)));
    }
    room.ask(0, give("alice", 1)).unwrap();
    for number in 0..3 {
        assert_eq!(tier(&mut room, number), (mesh_policies::quota::Tier::Supporter, Some(50)));
    }
    // It lapses with its month.
    room.sleep(32 * 24 * HOUR);
    assert_eq!(tier(&mut room, 1), (mesh_policies::quota::Tier::Free, Some(10)));
}

// spec: QUOTA-2
#[test]
fn one_entry_says_no_more_than_anybody_gives() {
    let mut room = street(quiet());
    let give = |unit: &str, amount, month| Command::Contribute {
        user: "alice".into(),
        unit: unit.into(),
        amount,
        month,
    };
    let this_month = mesh_policies::quota::month(room.now.wall_ms);
    for (unit, amount, month, holds) in [
        ("money", 0, None, false),
        ("money", 100_000_000, None, true),
        ("money", 100_000_001, None, false),
        ("hours", 0, None, false),
        ("hours", 1, None, true),
        ("hours", 44_640, None, true),
        ("hours", 44_641, None, false),
        ("beans", 1, None, false),
        ("money", 1, Some(this_month), true),
        ("money", 1, Some(this_month + 1), false),
    ] {
        let said = room.ask(0, give(unit, amount, month)).map_err(|failed| failed.kind);
        match holds {
            true => assert!(said.is_ok(), "{amount} {unit} {month:?}"),
            false => assert_eq!(said.err(), Some(ErrorKind::Invalid), "{amount} {unit} {month:?}"),
        }
    }
    assert_eq!(room.said(0, "contribution").len(), 4);
}

// spec: PERM-1, PERM-4
#[test]
fn of_each_grant_it_is_said_whether_it_holds_and_why_not() {
    let mut room = street(quiet());
    let until_ms = room.now.wall_ms + HOUR;
    let of_bob = |task: &str, until_ms| {
        let Command::Grant(any) = anything_of("bob") else { panic!("no grant") };
        Command::Grant(mesh_node::GrantRequest { task: task.into(), until_ms, ..any })
    };
    let shown = |room: &mut Room| match room.ask(0, Command::Permissions).unwrap() {
        Answer::Permissions(views) => views,
        other => panic!("{other:?}"),
    };
    let brief = |room: &mut Room| {
        let views = shown(room).into_iter();
        views.map(|it| (it.user, it.task, it.valid, it.why_not)).collect::<Vec<_>>()
    };
    room.ask(2, of_bob("z*", Some(until_ms))).unwrap();
    room.ask(2, of_bob("a*", None)).unwrap();
    room.pass(1_000);
    let holds = |user: &str, task: &str| (user.to_owned(), task.to_owned(), true, None);
    let all = [holds("alice", "*"), holds("bob", "a*"), holds("bob", "z*")];
    assert_eq!(brief(&mut room), all);
    assert!(shown(&mut room).iter().all(|it| it.device == "carol-laptop"));
    // Bob can neither take back nor give what is Carol's.
    let mut views = shown(&mut room).into_iter();
    let of_alice = views.next().unwrap();
    let granted = room.peers[2].node.ledger().facts().grants()[&of_alice.grant].grant.clone();
    let mut bob = Forger::of(&room, 1);
    let key = room.key(1);
    for payload in [Payload::Revoked { grant: of_alice.grant }, Payload::Granted(Box::new(granted))] {
        room.pass(1);
        let entry = bob.write(room.now.wall_ms, payload);
        room.handle(0, Input::Gossip(key, Box::new(entry)));
    }
    let not_his = "its author does not own the device".to_owned();
    let forged = ("alice".to_owned(), "*".to_owned(), false, Some(not_his));
    let mut now = brief(&mut room);
    assert!(now.contains(&forged) && now.contains(&all[0]), "{now:?}");
    now.retain(|it| *it != forged);
    assert_eq!(now, all);
    room.ask(2, Command::Revoke { grant: of_alice.grant.to_string() }).unwrap();
    room.pass(1_000);
    room.pass(until_ms - 1 - room.now.wall_ms);
    let why = |room: &mut Room| {
        let mut views = brief(room);
        views.retain(|it| *it != forged);
        views.into_iter().map(|(.., why)| why).collect::<Vec<_>>()
    };
    let revoked = Some(Reason::GrantRevoked.to_string());
    assert_eq!(why(&mut room), [revoked.clone(), None, None]);
    room.pass(1);
    assert_eq!(why(&mut room), [revoked, None, Some(Reason::GrantExpired.to_string())]);
}

// spec: NET-2, API-1
#[test]
fn who_waits_who_belongs_and_who_was_put_out_is_shown() {
    let mut room = street(quiet());
    room.add("dave", 3, 3);
    let shown = |room: &mut Room, number: usize| {
        let Answer::Community(view) = room.ask(number, Command::Community).unwrap() else { panic!() };
        let mut members: Vec<_> = view
            .members
            .into_iter()
            .map(|it| {
                let devices = it.devices.into_iter().map(|it| (it.name, it.counts_until.is_some()));
                (it.name, it.me, it.pending, it.expelled, devices.collect::<Vec<_>>())
            })
            .collect();
        members.sort();
        members
    };
    let member = |name: &str, me, pending, expelled, cut: bool| {
        let devices = if pending { vec![] } else { vec![(format!("{name}-laptop"), cut)] };
        (name.to_owned(), me, pending, expelled, devices)
    };
    joins(&mut room, 3);
    let (alice, carol) =
        (member("alice", true, false, false, false), member("carol", false, false, false, false));
    let bob = |out: bool| member("bob", false, false, out, out);
    let dave = member("dave", false, true, false, false);
    assert_eq!(shown(&mut room, 0), [alice.clone(), bob(false), carol.clone(), dave.clone()]);
    room.ask(0, Command::Expel { user: "bob".into(), why: "sold our sun".into() }).unwrap();
    room.pass(1_000);
    assert_eq!(shown(&mut room, 0), [alice, bob(true), carol, dave]);
    assert!(shown(&mut room, 2).iter().all(|(name, me, ..)| *me == (name == "carol")));
    // Who is left of them is there as a peer, and each sees itself.
    room.disconnect(0, 2);
    let Answer::Peers(peers) = room.ask(0, Command::Peers).unwrap() else { panic!("no peers") };
    let mut peers: Vec<_> = peers.into_iter().map(|it| (it.name, it.user, it.me, it.connected)).collect();
    peers.sort();
    let peer = |name: &str, me| (format!("{name}-laptop"), name.to_owned(), me, me);
    assert_eq!(peers, [peer("alice", true), peer("carol", false)]);
    // Bob is told by whom and why, and not that his device is damaged.
    let Answer::Status(status) = room.ask(1, Command::Status).unwrap() else { panic!("no status") };
    let trouble = status.trouble.join("; ");
    assert!(
        trouble.contains("the founder ended your membership") && trouble.contains("sold our sun"),
        "{trouble}"
    );
    assert!(trouble.contains("alice") && !trouble.contains("two entries"), "{trouble}");
}

// spec: CLI-1
#[test]
fn how_many_tasks_are_in_which_state_is_shown() {
    let mut room = street(quiet());
    let first = room.submit_draft(0, draft("first", 1)).unwrap();
    for nonce in 2..4 {
        room.submit_draft(0, draft("plain", nonce)).unwrap();
    }
    let run = room.next_run(2).unwrap();
    assert_eq!(run.attempt.task.to_string(), first);
    room.handle(2, Input::Run(run.attempt, RunEvent::Started));
    room.pass(2_000);
    let Answer::Status(status) = room.ask(0, Command::Status).unwrap() else { panic!("no status") };
    let tasks: Vec<(&str, usize)> =
        status.tasks.iter().map(|(state, count)| (state.as_str(), *count)).collect();
    assert_eq!(tasks, [("running", 1), ("waiting", 2)]);
    assert_eq!(status.connected, 2);
}

// spec: QUOTA-3
#[test]
fn a_day_begins_at_midnight_where_its_user_lives() {
    let mut room = street(quiet());
    let bad = room.ask(0, Command::SetZone { zone: "Moon/Base".into() }).unwrap_err();
    assert!(bad.message.contains("Moon/Base") && bad.hint.is_some());
    let resets = |room: &mut Room, number| match room
        .ask(number, Command::Quota { user: Some("alice".into()) })
        .unwrap()
    {
        Answer::Quota(view) => view.resets_ms,
        other => panic!("{other:?}"),
    };
    let before = resets(&mut room, 1);
    room.ask(0, Command::SetZone { zone: "Asia/Tokyo".into() }).unwrap();
    let after = resets(&mut room, 1);
    assert!(after >= before, "a change of zone gives no second day");
    assert_eq!((after + 9 * HOUR) % (24 * HOUR), 0, "midnight in Tokyo");
    assert_eq!(resets(&mut room, 0), after);
}

fn propose(rules: Rules) -> Command {
    Command::Propose { rules: Box::new(rules), why: "fairer".into() }
}

// spec: VOTE-2
#[test]
fn the_rules_change_by_vote_and_from_then_on() {
    let mut room = street(rules());
    let method = |room: &mut Room, number| match room.ask(number, Command::Community).unwrap() {
        Answer::Community(view) => view.rules.voting_method,
        other => panic!("{other:?}"),
    };
    assert_eq!(room.ask(0, propose(rules())).unwrap_err().kind, ErrorKind::Conflict, "nothing would change");
    let alone = room.ask(0, propose(Rules { sponsors: 1, ..rules() })).unwrap_err();
    assert!(alone.kind == ErrorKind::Invalid && alone.message.contains("sponsors"), "{alone:?}");
    for voting_method in [VotingMethod::Reputation, VotingMethod::Hybrid, VotingMethod::OnePerUser] {
        let proposed = room.ask(0, propose(Rules { voting_method, ..rules() })).unwrap();
        let Answer::Entry(proposal) = proposed else { panic!("{proposed:?}") };
        room.pass(2_000);
        assert_ne!(method(&mut room, 1), voting_method);
        for number in [1, 2] {
            room.ask(number, Command::VoteRules { proposal: proposal.to_string(), yes: true }).unwrap();
        }
        room.pass(12_000);
        for number in 0..3 {
            // By hybrid weights nobody here weighs anything, so nothing is decided any more: see the last turn.
            let expected =
                if voting_method == VotingMethod::OnePerUser { VotingMethod::Hybrid } else { voting_method };
            assert_eq!(method(&mut room, number), expected, "on peer {number}");
        }
    }
    equal(&room);
}

/// Else one member could have everybody count for ever.
// spec: VOTE-2
#[test]
fn of_the_proposals_of_one_member_so_many_count_whichever_of_their_devices_makes_them() {
    let mut room = street(rules());
    room.add("alice", 3, 0);
    joins(&mut room, 3);
    for (by, tasks) in [(0, 31), (0, 32), (0, 33), (0, 34), (0, 35), (3, 36), (3, 37), (3, 38)] {
        proposed(&mut room, by, more_tasks(tasks));
    }
    for by in [0, 3] {
        let refused = room.ask(by, propose(more_tasks(39))).unwrap_err();
        assert!(refused.kind == ErrorKind::Conflict && refused.message.contains("30 days"), "{refused:?}");
    }
    proposed(&mut room, 1, more_tasks(40));
    // One who does not care about that is not counted.
    let mut forger = Forger::of(&room, 3);
    let too_many = Payload::RulesProposed { rules: Box::new(more_tasks(41)), why: String::new() };
    let too_many = forger.write(room.now.wall_ms, too_many);
    for number in 0..3 {
        room.handle(number, Input::Gossip(room.key(3), Box::new(too_many.clone())));
    }
    room.pass(5_000);
    for number in [1, 2] {
        votes_rules(&mut room, number, &too_many.id().to_string(), true);
    }
    room.pass(60_000);
    let Answer::Proposals(views) = room.ask(1, Command::Proposals).unwrap() else { panic!("no proposals") };
    let state = |id| views.iter().find(|view| view.proposal == id).map(|view| view.state);
    assert_eq!(state(too_many.id()), Some("one too many of its member"));
    assert_eq!(views.iter().filter(|view| view.state == "waits for voters").count(), 9);
    assert_eq!(free_tasks(&mut room, 2), rules().free.tasks);
    // A month later there may be more.
    room.sleep(31 * 24 * HOUR);
    proposed(&mut room, 0, more_tasks(42));
}

/// One of eight proposals would be gone, and its list would say that 0 were against it.
// spec: VOTE-2
#[test]
fn nobody_proposes_or_votes_on_rules_before_there_are_votes() {
    let later = Rules { vote_after_ms: 24 * HOUR, sponsors: 1, ..rules() };
    let mut room = street(later.clone());
    let fewer = |percent| Rules { consensus_percent: percent, ..later.clone() };
    let early = room.ask(0, propose(fewer(90))).unwrap_err();
    assert!(early.kind == ErrorKind::Conflict && early.message.contains("nobody has a vote"), "{early:?}");
    // One who does not look is not counted, and it is said why.
    let mut forger = Forger::of(&room, 2);
    let early = Payload::RulesProposed { rules: Box::new(fewer(80)), why: String::new() };
    let early = forger.write(room.now.wall_ms, early);
    for number in 0..2 {
        room.handle(number, Input::Gossip(room.key(2), Box::new(early.clone())));
    }
    room.pass(20_000);
    let Answer::Proposals(views) = room.ask(1, Command::Proposals).unwrap() else { panic!("no proposals") };
    assert_eq!(views[0].state, "rejected: nobody had a vote");
    room.sleep(25 * HOUR);
    room.add("alice", 3, 0);
    room.add("dora", 4, 4);
    for newcomer in [3, 4] {
        joins(&mut room, newcomer);
    }
    let proposal = proposed(&mut room, 0, fewer(70));
    let vote = |yes| Command::VoteRules { proposal: proposal.clone(), yes };
    let newcomer = room.ask(4, vote(false)).unwrap_err();
    assert!(
        newcomer.kind == ErrorKind::Forbidden && newcomer.message.contains("no vote yet"),
        "{newcomer:?}"
    );
    // A new device of who has one votes for them.
    room.ask(3, vote(true)).unwrap();
    room.ask(1, vote(true)).unwrap();
}

// spec: VOTE-2
#[test]
fn rules_that_most_are_against_do_not_come() {
    let mut room = street(rules());
    let proposed = room.ask(0, propose(Rules { consensus_percent: 100, ..rules() })).unwrap();
    let Answer::Entry(proposal) = proposed else { panic!("{proposed:?}") };
    room.pass(2_000);
    for number in [1, 2] {
        room.ask(number, Command::VoteRules { proposal: proposal.to_string(), yes: false }).unwrap();
    }
    room.pass(12_000);
    let Answer::Proposals(views) = room.ask(1, Command::Proposals).unwrap() else { panic!("no proposals") };
    assert_eq!((views[0].state, views[0].weights), ("rejected", (1, 2)));
}

// spec: REP-2
#[test]
fn sun_where_it_is_night_counts_for_nothing() {
    // It is the end of September 2026: at 89° north the sun is about to set for half a year; two months on it is down.
    let mut room = Room::community_by(&["alice", "northerner"], quiet());
    room.sleep(60 * 24 * HOUR);
    room.grant(1, "alice");
    room.energy(1, sun());
    let eco = mesh_node::Draft { sla: Sla::Eco, ..draft("plain", 1) };
    let task = room.submit_draft(0, eco).unwrap();
    room.pass(2_000);
    assert!(room.next_run(1).is_none());
    assert!(room.state(0, &task).1.contains("its energy is unknown"), "{}", room.state(0, &task).1);
    room.energy(1, EnergyClaim { source: Source::Wind, ..sun() });
    assert!(room.next_run(1).is_some());
}

// spec: PERM-5
#[test]
fn a_donors_word_and_terms_stop_what_runs_and_the_reason_is_the_same_everywhere() {
    let mut room = street(quiet());
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    let run = room.next_run(2).unwrap();
    room.handle(2, Input::Run(run.attempt, RunEvent::Started));
    let terms = Terms { mains_only: true, battery_floor: 30, ..Terms::default() };
    room.handle(2, Input::Terms(Box::new(terms)));
    let plugged = Situation { on_mains: Some(true), battery: Some(20), ..Situation::default() };
    let unplugged = Situation { on_mains: Some(false), ..plugged };
    let status = |room: &mut Room| match room.ask(2, Command::Status).unwrap() {
        Answer::Status(view) => view.donor,
        other => panic!("{other:?}"),
    };
    room.handle(2, Input::Situation(plugged));
    assert_eq!(status(&mut room), "takes tasks");
    room.handle(2, Input::Situation(unplugged));
    room.handle(2, Input::Run(run.attempt, RunEvent::Paused));
    let words = Reason::OnBattery.to_string();
    assert!(status(&mut room).contains(&words));
    assert!(room.state(0, &task).1.contains(&words), "{}", room.state(0, &task).1);
    let held = |room: &Room| -> Vec<Option<Reason>> {
        let said = room.said(0, "held").into_iter();
        said.map(|said| if let Payload::Held { reason, .. } = said { reason } else { panic!() }).collect()
    };
    assert_eq!(held(&room), [Some(Reason::OnBattery)]);
    // Said again it changes nothing, and a pause by hand on top of it has its own words.
    room.handle(2, Input::Situation(Situation { battery: Some(19), ..unplugged }));
    room.ask(2, Command::Pause { for_ms: Some(7_200_000) }).unwrap();
    assert!(room.state(0, &task).1.contains(&Reason::DonorPaused.to_string()));
    room.handle(2, Input::Situation(plugged));
    assert!(status(&mut room).contains("paused"), "mains alone does not end it");
    room.ask(2, Command::Resume).unwrap();
    room.handle(2, Input::Run(run.attempt, RunEvent::Resumed));
    assert_eq!(held(&room), [Some(Reason::OnBattery), Some(Reason::DonorPaused), None]);
    assert!(room.state(0, &task).1.contains("runs it"));
    // Finishing lets it end, and takes no more.
    room.ask(2, Command::Finish).unwrap();
    let other = room.submit_draft(0, draft("plain", 2)).unwrap();
    room.end(2, &run);
    room.pass(1_000);
    assert_eq!(room.state(0, &task).0, "done");
    assert!(room.next_run(2).is_none());
    assert_eq!(room.state(0, &other).0, "waiting");
}

// spec: VOTE-9
#[test]
fn a_flood_of_critical_tasks_passes_over_nobody_for_ever() {
    let unlimited = Tier { tasks: 0, ..Rules::default().free };
    let mut room = street(Rules { max_overtaken: 5, free: unlimited, ..rules() });
    let urgent = |nonce| mesh_node::Draft { sla: Sla::Urgent, ..draft("first", nonce) };
    room.submit_draft(0, urgent(0)).unwrap();
    let mut run = room.next_run(2).unwrap();
    let patient = room.submit_draft(0, draft("patient", 1)).unwrap();
    room.vote(1, &patient, Importance::Normal);
    room.vote(2, &patient, Importance::Normal);
    room.pass(11_000);
    let mut before = 0;
    for nonce in 2..30 {
        // Two more of them for each that starts.
        room.submit_draft(0, urgent(nonce)).unwrap();
        room.submit_draft(0, urgent(nonce + 100)).unwrap();
        room.end(2, &run);
        room.pass(100);
        run = room.next_run(2).unwrap();
        if run.attempt.task.to_string() == patient {
            break;
        }
        before += 1;
    }
    assert_eq!(before, 5, "starts that passed over it");
}

// A vote that others turn out to have seen in time decides how a task waits, though it was out in between.
// spec: VOTE-6, VOTE-8, LED-10
#[test]
fn a_task_that_came_back_is_still_moved_by_its_ballot() {
    let mut room = street(rules());
    room.energy(2, coal());
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    let reading = mesh_protocol::energy::Reading::of(sun(), "fixed");
    room.handle(2, Input::Energy(Some(Box::new(reading)), None));
    room.pass(150);
    room.vote(1, &task, Importance::High);
    room.pass(100);
    assert!(room.next_run(2).is_some(), "with perfect energy nobody need be asked");
    // Carol sees the vote in time, and nobody hears of it.
    for other in [0, 1] {
        room.disconnect(other, 2);
    }
    room.energy(2, coal());
    room.pass(60_000);
    assert_eq!(room.state(0, &task).0, "waiting");
    assert_eq!(room.ballot(0, &task).importance, None, "one has seen it");
    for other in [0, 1] {
        room.connect(other, 2);
    }
    room.pass(5_000);
    assert_eq!(room.ballot(0, &task).importance, Some(Importance::High));
    assert!(room.next_run(2).is_some(), "on any energy");
}

// However much room there is all at once, and whoever comes just then.
// spec: VOTE-9
#[test]
fn nobody_is_passed_over_too_often_where_many_start_in_one_turn() {
    let unlimited = Tier { tasks: 0, ..Rules::default().free };
    let mut room = street(Rules { max_overtaken: 2, free: unlimited, ..quiet() });
    let urgent = |nonce| mesh_node::Draft { sla: Sla::Urgent, ..draft("first", nonce) };
    room.submit_draft(0, urgent(0)).unwrap();
    room.pass(1_000);
    let patient = room.submit_draft(0, draft("patient", 1)).unwrap();
    for nonce in 2..8 {
        room.pass(1);
        room.submit_draft(0, urgent(nonce)).unwrap();
    }
    assert_eq!(room.peers[2].runs.len(), 1);
    room.handle(2, Input::Capacity(Capacity { slots: 5, memory: 1 << 30, longest_ms: HOUR }));
    room.pass(1_000);
    let started: Vec<String> = room.peers[2].runs.iter().map(|run| run.attempt.task.to_string()).collect();
    assert_eq!(started.len(), 5);
    assert_eq!(started.iter().position(|task| *task == patient), Some(3), "two passed over it");
}

// Reputation counts disputes, and disputes count members.
// spec: VOTE-2, HEALTH-3
#[test]
fn a_dispute_is_counted_where_reputation_weighs() {
    let mut room = street(Rules { voting_method: VotingMethod::Reputation, ..rules() });
    let task = room.submit_draft(0, draft("hospital-test", 1)).unwrap();
    for number in [1, 2] {
        room.ask(number, Command::Dispute { task: task.clone(), why: "it is a game".into() }).unwrap();
    }
    room.pass(20_000);
    assert_eq!(room.said(0, "health disputed").len(), 2);
    let _counted = room.ballot(0, &task);
    let reputation =
        |room: &mut Room| room.ask(1, Command::Reputation { user: Some("alice".into()) }).is_ok();
    assert!(reputation(&mut room));
    equal(&room);
}

// spec: VOTE-1, VOTE-2, VOTE-3
#[test]
fn what_was_decided_by_reputation_stays_so_whatever_is_said_of_something_else() {
    let by_reputation = Rules {
        voting_method: VotingMethod::Reputation,
        voting_window_ms: 60_000,
        consensus_percent: 66,
        ..rules()
    };
    let mut room = street(by_reputation.clone());
    let first = room.submit_draft(0, draft("first", 1)).unwrap();
    room.vote(2, &first, Importance::High);
    room.pass(2_000);
    let second = room.submit_draft(0, draft("second", 2)).unwrap();
    let proposal = proposed(&mut room, 0, Rules { max_overtaken: 7, ..by_reputation });
    room.vote(0, &second, Importance::High);
    room.vote(1, &second, Importance::High);
    room.vote(2, &second, Importance::Low);
    votes_rules(&mut room, 2, &proposal, false);
    votes_rules(&mut room, 1, &proposal, true);
    let stands = |room: &mut Room| {
        (0..3)
            .map(|number| {
                let view = room.ballot(number, &second);
                let Answer::Community(community) = room.ask(number, Command::Community).unwrap() else {
                    panic!()
                };
                (view.importance, view.percent, view.disputed_claim, community.rules.max_overtaken)
            })
            .collect::<Vec<_>>()
    };
    let before = stands(&mut room);
    assert_eq!(before[0], (Some(Importance::High), Some(66), None, 7));
    // Carol's word on the first was near the others', as is known from now on.
    room.vote(0, &first, Importance::High);
    room.vote(1, &first, Importance::High);
    room.pass(70_000);
    assert_eq!(stands(&mut room), before);
    // Nor does what she did before and is proven now.
    room.ask(2, Command::GoOffline).unwrap();
    room.pass(3_000);
    assert_eq!(room.said(0, "peer offline").len(), 1);
    assert_eq!(stands(&mut room)[..2], before[..2]);
    equal(&room);
}

// spec: VOTE-2, VOTE-6
#[test]
fn what_was_voted_holds_where_there_are_no_ballots_any_more() {
    let mut room = street(rules());
    room.energy(2, coal());
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    for number in [0, 1, 2] {
        room.vote(number, &task, Importance::NonCritical);
    }
    room.pass(12_000);
    assert!(room.next_run(2).is_none());
    let proposal = proposed(&mut room, 0, Rules { voting_window_ms: 0, ..rules() });
    votes_rules(&mut room, 1, &proposal, true);
    room.pass(30_000);
    let Answer::Community(view) = room.ask(0, Command::Community).unwrap() else { panic!() };
    assert_eq!(view.rules.voting_window_ms, 0);
    assert!(room.next_run(2).is_none(), "only what is renewable is good enough for it");
    let later = room.submit_draft(0, draft("plain", 2)).unwrap();
    assert_eq!(room.next_run(2).unwrap().attempt.task.to_string(), later);
}

// spec: VOTE-8, LED-10
#[test]
fn nobody_is_told_to_have_left_out_what_they_could_not_date() {
    let mut room = street(Rules { voting_window_ms: 20_000, ..rules() });
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    room.vote(2, &task, Importance::High);
    room.pass(2_000);
    // Carol is away: that Bob voted in time has one witness only when the ballot closes.
    for number in [0, 1] {
        room.disconnect(number, 2);
    }
    room.vote(1, &task, Importance::Low);
    room.pass(60_000);
    assert_eq!(room.said(0, "consensus").len(), 1);
    for number in [0, 1] {
        room.connect(number, 2);
    }
    room.pass(10_000);
    let view = room.ballot(0, &task);
    assert_eq!((view.votes.len(), view.left_out.len()), (2, 0), "{view:?}");
}

// spec: HEALTH-3, LED-3
#[test]
fn a_flag_that_was_taken_away_does_not_come_back_with_other_rules() {
    let mut room = Room::community_by(&["alice", "bob", "carol", "dave"], rules());
    let task = room.submit_draft(0, draft("fire-drill-photos", 1)).unwrap();
    let other = room.submit_draft(0, draft("ambulance-roster", 2)).unwrap();
    for number in 1..4 {
        room.ask(number, Command::Dispute { task: task.clone(), why: "photos".into() }).unwrap();
    }
    room.pass(3_000);
    assert!(room.ballot(1, &task).dispute_upheld);
    let later = Rules { vote_after_ms: 7 * 24 * HOUR, health_words: vec!["flood".into()], ..rules() };
    let proposal = proposed(&mut room, 0, later);
    (1..3).for_each(|number| votes_rules(&mut room, number, &proposal, true));
    room.pass(12_000);
    for number in 0..4 {
        let Answer::Community(view) = room.ask(number, Command::Community).unwrap() else { panic!() };
        assert_eq!(view.rules.vote_after_ms, 7 * 24 * HOUR, "on peer {number}");
        let view = room.ballot(number, &task);
        assert!(view.dispute_upheld && !view.health, "on peer {number}");
        assert!(room.ballot(number, &other).health, "by the words of its day, on peer {number}");
    }
}

// spec: VOTE-8
#[test]
fn nobody_is_told_to_have_left_out_what_they_had_not_heard() {
    let mut room = street(Rules { voting_method: VotingMethod::Stake, ..rules() });
    for (user, amount) in [("alice", 10), ("bob", 10), ("carol", 1000)] {
        let unit = "money".into();
        room.ask(0, Command::Contribute { user: user.into(), unit, amount, month: None }).unwrap();
    }
    room.pass(3_000);
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    room.pass(2_000);
    // Bob votes where nobody hears it yet; without him it is decided.
    room.disconnect(0, 1);
    room.disconnect(1, 2);
    room.vote(1, &task, Importance::High);
    room.vote(2, &task, Importance::Low);
    room.pass(12_000);
    let early = room.ballot(0, &task);
    room.connect(0, 1);
    room.connect(1, 2);
    room.pass(12_000);
    let view = room.ballot(2, &task);
    assert_eq!((view.importance, view.disputed_claim), (Some(Importance::Low), None), "{early:?}");
    assert_eq!(view.left_out, [], "{view:?}");
}

// spec: HEALTH-1, VOTE-9
#[test]
fn health_goes_before_what_is_only_urgent() {
    let mut room = street(rules());
    let urgent = |name: &str, nonce| mesh_node::Draft { sla: Sla::Urgent, ..draft(name, nonce) };
    room.submit_draft(0, urgent("first", 1)).unwrap();
    let first = room.next_run(2).unwrap();
    room.submit_draft(0, urgent("cache-cleanup", 2)).unwrap();
    let late = 24 * HOUR + room.now.wall_ms;
    let hospital = mesh_node::Draft { finish_by_ms: Some(late), ..draft("hospital-records", 3) };
    room.submit_draft(0, hospital).unwrap();
    room.end(2, &first);
    room.pass(1_000);
    assert_eq!(room.next_run(2).unwrap().spec.name, "hospital-records");
}

// spec: QUOTA-4, NET-1
#[test]
fn a_second_device_is_no_second_quota() {
    let mut room = street(quiet());
    room.add("alice", 3, 0);
    room.handle(3, Input::Capacity(Capacity { slots: 0, memory: 1 << 30, longest_ms: HOUR }));
    joins(&mut room, 3);
    let refused = room.submit_draft(3, draft("plain", 1)).unwrap_err();
    assert!(refused.message.contains("quota"), "{refused:?}");
    // Nor does the donor believe in one.
    room.peers[3].node.misbehave(Misbehaviour::SubmitsOverQuota);
    let task = room.submit_draft(3, draft("plain", 2)).unwrap();
    assert_eq!(run_all(&mut room, 2), 0);
    assert!(room.state(3, &task).1.contains("quota"), "{}", room.state(3, &task).1);
}

// spec: QUOTA-2
#[test]
fn votes_on_tasks_that_are_not_there_earn_nothing() {
    let mut room = street(quiet());
    let (mut bob, from) = (Forger::of(&room, 1), room.key(1));
    for number in 0..12 {
        let vote = Payload::Voted {
            task: TaskId([number; 32]),
            importance: Importance::High,
            comment: String::new(),
        };
        let vote = bob.write(room.now.wall_ms + 1000 + u64::from(number), vote);
        room.handle(0, Input::Gossip(from, Box::new(vote)));
    }
    assert_eq!(room.said(0, "vote").len(), 12);
    let Answer::Quota(view) = room.ask(0, Command::Quota { user: Some("bob".into()) }).unwrap() else {
        panic!("no quota")
    };
    assert_eq!(format!("{:?}", view.tier), "Free");
}

// spec: PLACE-1, PLACE-3, SLA-2, EN-5
#[test]
fn a_patient_task_waits_for_the_hour_that_was_clean_on_every_day_and_an_urgent_one_does_not() {
    let mut room = street(Rules { voting_window_ms: 0, ..Rules::default() });
    // Carol's grid: 60 g in the six hours from 10:00, 600 g else.
    let grid = |hour: u64| {
        let g_per_kwh = if (10..16).contains(&(hour % 24)) { 60 } else { 600 };
        EnergyClaim { source: Source::Grid, renewable_percent: 50, g_per_kwh }
    };
    let begun = room.now.wall_ms / HOUR;
    let until = begun + 10 * 24 + (30 - begun % 24) % 24;
    for hour in begun..=until {
        room.now.boot_ms += HOUR;
        room.now.wall_ms = hour * HOUR + 1;
        room.handle(
            2,
            Input::Energy(Some(Box::new(mesh_protocol::energy::Reading::of(grid(hour), "fixed"))), None),
        );
    }
    room.pass(30_000);
    let task = room.submit_draft(0, draft("patient", 1)).unwrap();
    let why = room.state(0, &task).1;
    assert!(room.next_run(2).is_none(), "it is 06:00");
    assert!(
        why.contains("carol-laptop") && why.contains("600 g there") && why.contains("at the latest"),
        "{why}"
    );
    let urgent = mesh_node::Draft { sla: Sla::Urgent, ..draft("urgent", 2) };
    room.submit_draft(0, urgent).unwrap();
    let run = room.next_run(2).expect("at once");
    room.end(2, &run);
    for hour in until + 1..=until + 12 {
        room.now.boot_ms += HOUR;
        room.now.wall_ms = hour * HOUR + 1;
        room.handle(
            2,
            Input::Energy(Some(Box::new(mesh_protocol::energy::Reading::of(grid(hour), "fixed"))), None),
        );
        room.pass(30_000);
        if let Some(run) = room.next_run(2) {
            assert_eq!(
                (run.attempt.task.to_string(), grid(hour).g_per_kwh),
                (task, 60),
                "at {}:00",
                hour % 24
            );
            return;
        }
    }
    panic!("{}", room.state(0, &task).1);
}

// spec: PERM-3
#[test]
fn a_task_goes_to_nobody_whom_its_submitter_does_not_trust() {
    let mut room = street(quiet());
    room.handle(1, Input::Capacity(Capacity { slots: 1, memory: 1 << 30, longest_ms: HOUR }));
    room.grant(1, "alice");
    let trust =
        |users: &[&str]| Command::Trust { users: Some(users.iter().map(|it| (*it).into()).collect()) };
    let told = room.ask(0, trust(&["bob"])).unwrap();
    assert!(
        matches!(&told, Answer::Trust(Some(names)) if names.len() == 1 && names.iter().all(|name| name.starts_with("bob ("))),
        "{told:?}"
    );
    let first = room.submit_draft(0, draft("first", 1)).unwrap();
    assert_eq!(room.next_run(1).expect("bob is trusted").attempt.task.to_string(), first);
    // Bob is busy now, and carol's free slot is not for her.
    let second = room.submit_draft(0, draft("second", 2)).unwrap();
    assert!(room.next_run(2).is_none());
    let words = format!("carol-laptop: {}", Reason::NotTrusted);
    assert!(room.state(0, &second).1.contains(&words), "{}", room.state(0, &second).1);
    // It is her own word for her own tasks: nobody else's go by it, and it is kept over a restart.
    room.grant(2, "bob");
    let bobs = room.submit_draft(1, draft("bobs", 3)).unwrap();
    assert_eq!(room.next_run(2).expect("bob trusts all").attempt.task.to_string(), bobs);
    assert_eq!(room.ask(0, trust(&["nobody"])).unwrap_err().kind, ErrorKind::NotFound);
    room.restart(0, "alice");
    let kept = room.ask(0, Command::Trust { users: None }).unwrap();
    assert!(
        matches!(&kept, Answer::Trust(Some(names)) if names.iter().all(|name| name.starts_with("bob ("))),
        "{kept:?}"
    );
    let everybody = room.ask(0, trust(&[])).unwrap();
    assert!(matches!(everybody, Answer::Trust(None)), "{everybody:?}");
}

/// Alice's tasks go to a donor who is asked about each.
fn picky() -> Room {
    let mut room = Room::community_by(&["alice", "picky", "bob"], quiet());
    room.handle(0, Input::Capacity(Capacity { slots: 0, memory: 1 << 30, longest_ms: HOUR }));
    room.handle(1, Input::Capacity(Capacity { slots: 1, memory: 1 << 30, longest_ms: HOUR }));
    room.grant(1, "alice");
    room
}

// spec: PERM-5
#[test]
fn an_offer_waits_for_its_donors_own_program() {
    let mut room = picky();
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    assert!(room.next_run(1).is_none(), "nothing runs before the answer");
    let offer = room.peers[1].asked.remove(0);
    assert_eq!((offer.name.as_str(), offer.user.as_str(), offer.sla), ("plain", "alice", Sla::Normal));
    assert_eq!((offer.importance, offer.health), (Importance::Normal, false));
    let says = |says: HookSays| Input::Hook(offer.attempt, says);
    room.handle(1, says(HookSays::Accept));
    let run = room.next_run(1).expect("it said yes");
    // Said again it says nothing.
    room.handle(1, says(HookSays::Refuse("no".into())));
    room.end(1, &run);
    room.pass(10);
    assert_eq!(room.state(0, &task).0, "done");

    // The device's own tasks are its owner's, and nobody is asked.
    room.submit_draft(1, draft("own", 2)).unwrap();
    let own = room.next_run(1).expect("at once");
    assert!(room.peers[1].asked.is_empty());
    room.end(1, &own);
    room.pass(10);

    // A no is one for this task, in the program's words, and stands in the ledger.
    let refused = room.submit_draft(0, draft("refused", 3)).unwrap();
    let offer = room.peers[1].asked.remove(0);
    room.handle(1, Input::Hook(offer.attempt, HookSays::Refuse("not on a sunday".into())));
    room.pass(300_000);
    assert!(room.peers[1].asked.is_empty(), "it is not asked about it again");
    let words = "the device's owner refuses it: not on a sunday";
    assert!(room.state(0, &refused).1.contains(words), "{}", room.state(0, &refused).1);
    let reason = Reason::RefusedByOwner("not on a sunday".into());
    assert!(
        room.said(2, "refused")
            .iter()
            .any(|said| matches!(said, Payload::Refused { reason: it, .. } if *it == reason))
    );

    // Later means that it is asked again.
    let later = room.submit_draft(0, draft("later", 4)).unwrap();
    let offer = room.peers[1].asked.remove(0);
    room.handle(1, Input::Hook(offer.attempt, HookSays::Later("homework".into())));
    assert!(room.state(0, &later).1.contains("says later: homework"), "{}", room.state(0, &later).1);
    room.pass(1_000);
    let offer = room.peers[1].asked.remove(0);
    // What was true when it was asked is looked at once more when it answers.
    room.ask(1, Command::Pause { for_ms: None }).unwrap();
    room.handle(1, Input::Hook(offer.attempt, HookSays::Accept));
    assert!(room.next_run(1).is_none());
    assert!(
        room.state(0, &later).1.contains(&Reason::DonorPaused.to_string()),
        "{}",
        room.state(0, &later).1
    );
}

// spec: PERM-5
#[test]
fn a_program_that_never_answers_is_a_no() {
    let mut room = picky();
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    assert_eq!(room.peers[1].asked.len(), 1);
    room.pass(2 * HOOK_MS + 100);
    assert!(room.next_run(1).is_none());
    let offer = room.peers[1].asked.remove(0);
    room.handle(1, Input::Hook(offer.attempt, HookSays::Accept));
    assert!(room.next_run(1).is_none(), "too late");
    assert_eq!(room.state(0, &task).0, "waiting");
}

// spec: PERM-5, DEL-9
#[test]
fn why_a_device_is_not_shared_is_known_to_those_who_wait_for_it() {
    let mut room = street(quiet());
    let on = |nonce| mesh_node::Draft { on: Some("carol-laptop".into()), ..draft("plain", nonce) };
    let waits = |room: &mut Room, task: &str, reason: &Reason| {
        room.pass(1_000);
        let why = room.state(0, task).1;
        assert!(why.contains(&reason.to_string()), "{why}");
        assert!(room.next_run(2).is_none());
    };
    room.ask(2, Command::Finish).unwrap();
    let task = room.submit_draft(0, on(1)).unwrap();
    waits(&mut room, &task, &Reason::DonorFinishing);
    room.ask(2, Command::Pause { for_ms: None }).unwrap();
    waits(&mut room, &task, &Reason::DonorPaused);
    // Only on what would be wasted: its own sun.
    room.ask(2, Command::Resume).unwrap();
    let run = room.next_run(2).expect("it is shared");
    room.end(2, &run);
    room.handle(2, Input::Terms(Box::new(Terms { surplus_only: true, ..Terms::default() })));
    let task = room.submit_draft(0, on(2)).unwrap();
    waits(&mut room, &task, &Reason::NoSurplus);
    room.energy(2, coal());
    waits(&mut room, &task, &Reason::NoSurplus);
    room.energy(2, sun());
    let run = room.next_run(2).expect("the sun shines");
    room.handle(2, Input::Run(run.attempt, RunEvent::Started));
    room.energy(2, coal());
    room.handle(2, Input::Run(run.attempt, RunEvent::Paused));
    assert!(room.state(0, &task).1.contains(&Reason::NoSurplus.to_string()), "{}", room.state(0, &task).1);
    room.energy(2, sun());
    room.handle(2, Input::Run(run.attempt, RunEvent::Resumed));
    assert!(room.state(0, &task).1.contains("runs it"));
}

// spec: PERM-5
#[test]
fn tasks_take_no_more_disk_than_their_donor_gives() {
    let mut room = street(quiet());
    room.handle(2, Input::Capacity(Capacity { slots: 4, memory: 1 << 30, longest_ms: HOUR }));
    let sized = |nonce, out_bytes| {
        let mut it = draft("plain", nonce);
        (it.limits.out_bytes, it.limits.stdout_bytes, it.limits.stderr_bytes) = (out_bytes, 1_000, 1_000);
        it
    };
    room.handle(2, Input::Terms(Box::new(Terms { disk_bytes: 1_000_000, ..Terms::default() })));
    // Until its next ad.
    room.pass(20_000);
    let large = room.submit_draft(0, sized(1, 1_000_000)).unwrap();
    assert!(room.next_run(2).is_none());
    let why = room.state(0, &large).1;
    assert!(why.contains("bytes of disk, and at most 1000000 are given"), "{why}");
    let half = room.submit_draft(0, sized(2, 600_000)).unwrap();
    let run = room.next_run(2).expect("it fits");
    assert_eq!(run.attempt.task.to_string(), half);
    // Two of them do not, and a smaller one does beside it.
    let other = room.submit_draft(0, sized(3, 600_000)).unwrap();
    assert!(room.next_run(2).is_none());
    let why = room.state(0, &other).1;
    assert!(why.contains("bytes of disk beside what runs there"), "{why}");
    let small = room.submit_draft(0, sized(4, 100_000)).unwrap();
    let beside = room.next_run(2).unwrap_or_else(|| panic!("{}", room.state(0, &small).1));
    assert_eq!(beside.attempt.task.to_string(), small);
    room.end(2, &run);
    room.pass(60_000);
    assert_eq!(room.next_run(2).expect("there is room again").attempt.task.to_string(), other);
}

/// States that a task saves lie on the disk, too, and what it said once more until the next one is made.
// spec: PERM-5
#[test]
fn what_a_task_may_save_counts_for_the_disk_that_it_takes() {
    let mut room = street(quiet());
    let sized = |nonce, checkpoint_bytes| {
        let mut it = draft("plain", nonce);
        (it.limits.out_bytes, it.limits.stdout_bytes, it.limits.stderr_bytes) = (0, 1_000, 1_000);
        (it.limits.out_files, it.limits.checkpoint_bytes) = (0, checkpoint_bytes);
        it
    };
    // A module of 100 bytes, and two streams: once, and in each of two states and beside them.
    let saves = 100 + 2_000 + 2 * (10_000 + 5_000 + 2_000) + 2_000;
    for (nonce, checkpoint_bytes, given, fits) in
        [(1, 5_000, saves - 1, false), (2, 5_000, saves, true), (3, 0, 2_100, true), (4, 0, 2_099, false)]
    {
        room.handle(2, Input::Terms(Box::new(Terms { disk_bytes: given, ..Terms::default() })));
        room.pass(20_000);
        let task = room.submit_draft(0, sized(nonce, checkpoint_bytes)).unwrap();
        let run = room.next_run(2);
        assert_eq!(run.is_some(), fits, "{nonce}: {}", room.state(0, &task).1);
        match run {
            Some(run) => room.end(2, &run),
            None => drop(room.ask(0, Command::Cancel { task }).unwrap()),
        }
    }
}

// spec: PERM-5, ARC-7
#[test]
fn who_sets_no_bound_gives_no_more_disk_than_is_kept_there() {
    let mut room = street(quiet());
    room.handle(2, Input::Capacity(Capacity { slots: 4, memory: 1 << 30, longest_ms: HOUR }));
    room.pass(20_000);
    let written = |nonce, stdout_bytes| {
        let mut it = draft("plain", nonce);
        it.limits.stdout_bytes = stdout_bytes;
        it
    };
    let endless = room.submit_draft(0, written(1, 1 << 40)).unwrap();
    assert!(room.next_run(2).is_none());
    let why = room.state(0, &endless).1;
    assert!(why.contains("bytes of disk, and at most 64000000000 are given"), "{why}");
    let much = room.submit_draft(0, written(2, 40_000_000_000)).unwrap();
    assert_eq!(room.next_run(2).expect("it fits").attempt.task.to_string(), much);
    let as_much = room.submit_draft(0, written(3, 40_000_000_000)).unwrap();
    assert!(room.next_run(2).is_none());
    let why = room.state(0, &as_much).1;
    assert!(why.contains("bytes of disk beside what runs there"), "{why}");
}

// spec: LED-10, VOTE-4
#[test]
fn a_vote_that_too_few_have_seen_is_shown_and_counts_once_they_have() {
    let mut room = street(rules());
    room.disconnect(2, 0);
    room.disconnect(2, 1);
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    room.vote(1, &task, Importance::High);
    room.pass(5_000);
    let unseen = |view: &BallotView| -> Vec<(String, usize, usize)> {
        view.unseen.iter().map(|it| (it.user.clone(), it.seen_by, it.needed)).collect()
    };
    let view = room.ballot(0, &task);
    assert_eq!(unseen(&view), [("bob".to_owned(), 1, 2)], "carol is away");
    assert_eq!((view.state, view.votes.len()), ("open", 0));
    // She is back before the window closes, and within the skew of the vote's own date.
    room.connect(2, 0);
    room.connect(2, 1);
    room.pass(60_000);
    let view = room.ballot(0, &task);
    assert_eq!((unseen(&view), view.votes.len()), (vec![], 1));
    assert_eq!((view.state, view.importance), ("decided", Some(Importance::High)));
    equal(&room);
}

// spec: LED-10
#[test]
fn a_vote_that_was_heard_just_before_a_crash_is_seen_after_it() {
    let mut room = street(rules());
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    room.pass(2_000);
    room.vote(1, &task, Importance::High);
    room.restart(2, "carol");
    room.connect(2, 0);
    room.connect(2, 1);
    room.pass(130_000);
    let view = room.ballot(0, &task);
    assert_eq!((view.unseen.len(), view.state, view.importance), (0, "decided", Some(Importance::High)));
    equal(&room);
}

// spec: VOTE-1, VOTE-2
#[test]
fn of_one_device_so_many_votes_on_one_ballot_count_and_it_says_so() {
    let mut room = street(rules());
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    let proposal = proposed(&mut room, 0, more_tasks(20));
    let vote = |task: &str| Command::Vote {
        task: task.into(),
        importance: Importance::High,
        comment: String::new(),
    };
    let votes = [vote(&task), Command::VoteRules { proposal, yes: true }];
    for _ in 0..16 {
        votes.iter().for_each(|vote| drop(room.ask(1, vote.clone()).unwrap()));
    }
    for vote in votes {
        let refused = room.ask(1, vote).unwrap_err();
        assert!(refused.kind == ErrorKind::Conflict && refused.message.contains("16 votes"), "{refused:?}");
    }
    room.pass(2_000);
    assert_eq!(room.ballot(0, &task).votes.len(), 1);
    equal(&room);
}

/// Lets a device in by a ticket of the first peer's, and connects it to all who are there.
fn comes_in(room: &mut Room, number: usize) {
    let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
    let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
    room.ask(number, Command::Join { ticket, as_device_of: None }).unwrap();
    for other in 0..number {
        room.connect(number, other);
    }
    room.pass(2_000);
}

fn free_tasks(room: &mut Room, number: usize) -> u32 {
    match room.ask(number, Command::Community).unwrap() {
        Answer::Community(view) => view.rules.free.tasks,
        other => panic!("{other:?}"),
    }
}

fn used(room: &mut Room, number: usize, user: &str) -> u64 {
    match room.ask(number, Command::Quota { user: Some(user.into()) }).unwrap() {
        Answer::Quota(view) => view.used,
        other => panic!("{other:?}"),
    }
}

fn more_tasks(tasks: u32) -> Rules {
    let mut rules = rules();
    rules.free.tasks = tasks;
    rules
}

fn proposed(room: &mut Room, by: usize, rules: Rules) -> String {
    let proposed = room.ask(by, propose(rules)).unwrap();
    let Answer::Entry(proposal) = proposed else { panic!("{proposed:?}") };
    room.pass(2_000);
    proposal.to_string()
}

fn votes_rules(room: &mut Room, number: usize, proposal: &str, yes: bool) {
    room.ask(number, Command::VoteRules { proposal: proposal.into(), yes }).unwrap();
    room.pass(2_000);
}

// spec: VOTE-2
#[test]
fn of_two_proposals_that_are_open_at_once_neither_undoes_the_other() {
    let mut room = street(rules());
    let first = proposed(&mut room, 0, more_tasks(33));
    let second = proposed(&mut room, 1, Rules { consensus_percent: 75, ..rules() });
    let third = proposed(&mut room, 2, Rules { consensus_percent: 80, clean_g_per_kwh: 99, ..rules() });
    // Whoever proposes is for it.
    for (number, proposal) in [(0, &second), (1, &first), (0, &third)] {
        votes_rules(&mut room, number, proposal, true);
    }
    room.pass(15_000);
    for number in 0..3 {
        let Answer::Community(view) = room.ask(number, Command::Community).unwrap() else {
            panic!("no view")
        };
        let is = (view.rules.free.tasks, view.rules.consensus_percent, view.rules.clean_g_per_kwh);
        assert_eq!(is, (33, 80, 99), "on peer {number}");
    }
    equal(&room);
}

// spec: VOTE-2, LED-10
#[test]
fn rules_that_the_end_of_the_window_decides_are_in_force_once_no_vote_can_count_any_more() {
    let mut room = Room::community_by(&["alice", "bob", "carol", "dave"], rules());
    // Under it, a vote that made it fail would be late, and it would be adopted: no peer could count to an end.
    let proposal = proposed(&mut room, 0, Rules { max_skew_ms: 1_000, ..more_tasks(33) });
    votes_rules(&mut room, 1, &proposal, true);
    votes_rules(&mut room, 2, &proposal, false);
    room.pass(rules().voting_window_ms + rules().max_skew_ms - 10_000);
    assert_eq!(free_tasks(&mut room, 0), 10, "what is said now still counts");
    room.pass(25_000);
    for number in 0..4 {
        assert_eq!(free_tasks(&mut room, number), 33, "on peer {number}");
    }
    equal(&room);
}

// spec: VOTE-2
#[test]
fn whoever_was_cut_off_takes_nothing_back_that_was_adopted_since() {
    let mut room = Room::community_by(&["alice", "bob", "carol", "dave"], Rules { sponsors: 1, ..rules() });
    let rules = || Rules { sponsors: 1, ..rules() };
    for other in [0, 1, 3] {
        room.disconnect(2, other);
    }
    let late = proposed(&mut room, 2, Rules { clean_g_per_kwh: 99, ..rules() });
    let mut more = rules();
    more.free.tasks = 33;
    let soon = proposed(&mut room, 0, more);
    for number in [1, 3] {
        votes_rules(&mut room, number, &soon, true);
    }
    room.pass(5 * 60_000);
    assert_eq!((free_tasks(&mut room, 0), free_tasks(&mut room, 2)), (33, 10));
    for other in [0, 1, 3] {
        room.connect(2, other);
    }
    // It opens when they see it.
    room.pass(5_000);
    let Answer::Proposals(views) = room.ask(1, Command::Proposals).unwrap() else { panic!("no proposals") };
    let shown = views.iter().find(|view| view.proposal.to_string() == late).unwrap();
    assert_eq!((shown.rules.free.tasks, shown.rules.clean_g_per_kwh), (33, 99));
    for number in [0, 1] {
        votes_rules(&mut room, number, &late, true);
    }
    room.pass(3 * 60_000);
    for number in 0..4 {
        let Answer::Community(view) = room.ask(number, Command::Community).unwrap() else {
            panic!("no view")
        };
        assert_eq!((view.rules.free.tasks, view.rules.clean_g_per_kwh), (33, 99), "on peer {number}");
    }
    equal(&room);
}

// spec: LED-10, VOTE-1, QUOTA-4
#[test]
fn whoever_comes_later_changes_nothing_that_was_settled() {
    let mut room = Room::community_by(&["alice"], rules());
    proposed(&mut room, 0, more_tasks(33));
    room.pass(12_000);
    assert_eq!(free_tasks(&mut room, 0), 33, "alone she decides");
    room.pass(10 * 60_000);
    room.add("bob", 1, 1);
    comes_in(&mut room, 1);
    room.pass(3 * 60_000);
    assert_eq!((free_tasks(&mut room, 0), free_tasks(&mut room, 1)), (33, 33));
    // Two, one for and one against.
    let proposal = proposed(&mut room, 0, more_tasks(44));
    votes_rules(&mut room, 1, &proposal, false);
    room.pass(70_000);
    room.handle(0, Input::Capacity(Capacity { slots: 0, memory: 1 << 30, longest_ms: HOUR }));
    for nonce in 0..3 {
        room.submit_draft(0, draft("plain", nonce)).unwrap();
    }
    room.pass(3 * 60_000);
    // To the day after, when a third comes in.
    room.sleep(24 * HOUR);
    room.pass(1_000);
    assert_eq!(used(&mut room, 0, "alice"), 0);
    room.add("carol", 2, 2);
    comes_in(&mut room, 2);
    room.pass(3 * 60_000);
    for number in 0..3 {
        assert_eq!(free_tasks(&mut room, number), 33, "on peer {number}");
        assert_eq!(used(&mut room, number, "alice"), 0, "on peer {number}");
        let Answer::Proposals(views) = room.ask(number, Command::Proposals).unwrap() else { panic!() };
        let states: Vec<_> = views.iter().map(|view| view.state).collect();
        assert!(states.contains(&"rejected") && states.contains(&"adopted"), "{states:?}");
    }
    equal(&room);
}

// spec: VOTE-1, VOTE-8
#[test]
fn putting_a_member_out_undoes_no_vote() {
    let mut room = street(rules());
    let proposal = proposed(&mut room, 1, more_tasks(77));
    votes_rules(&mut room, 0, &proposal, false);
    votes_rules(&mut room, 2, &proposal, true);
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    room.vote(1, &task, Importance::High);
    room.vote(2, &task, Importance::High);
    room.pass(12_000);
    // One more ballot is open while she is put out.
    let open = room.submit_draft(0, draft("other", 2)).unwrap();
    room.vote(2, &open, Importance::High);
    room.pass(100);
    room.ask(0, Command::Expel { user: "carol".into(), why: "no reason".into() }).unwrap();
    room.pass(3 * 60_000);
    for number in 0..2 {
        assert_eq!(free_tasks(&mut room, number), 77, "on peer {number}");
        let ballot = room.ballot(number, &task);
        assert_eq!(
            (ballot.state, ballot.importance),
            ("decided", Some(Importance::High)),
            "on peer {number}"
        );
        assert_eq!(room.ballot(number, &open).votes.len(), 0, "before the decision she has no say any more");
    }
}

// spec: QUOTA-4, NET-1
#[test]
fn a_device_that_is_taken_back_leaves_no_second_quota_for_the_day() {
    let mut room = street(quiet());
    room.add("bob", 3, 1);
    room.grant(2, "bob");
    for nonce in 0..10 {
        room.submit_draft(1, draft("plain", nonce)).unwrap();
        run_all(&mut room, 2);
    }
    comes_in(&mut room, 3);
    room.ask(3, Command::RevokeDevice { device: "bob-laptop".into() }).unwrap();
    room.pass(3 * 60_000);
    let refused = room.submit_draft(3, draft("plain", 1)).unwrap_err();
    assert!(refused.message.contains("quota"), "{refused:?}");
    room.peers[3].node.misbehave(Misbehaviour::SubmitsOverQuota);
    room.submit_draft(3, draft("plain", 2)).unwrap();
    assert_eq!(run_all(&mut room, 2), 0, "nor does a donor believe in it");
    // The next day it has all of it.
    room.sleep(24 * HOUR);
    room.pass(3_000);
    room.submit_draft(3, draft("plain", 3)).unwrap();
    room.pass(3_000);
    assert!(run_all(&mut room, 2) > 0);
}

// spec: DEL-4, NET-2
#[test]
fn what_a_member_who_is_put_out_runs_for_others_ends_there() {
    let mut room = street(quiet());
    let task = room.submit_draft(0, draft("plain", 1)).unwrap();
    let run = room.next_run(2).unwrap();
    room.handle(2, Input::Run(run.attempt, RunEvent::Started));
    room.pass(2_000);
    assert_eq!(room.state(0, &task).0, "running");
    room.ask(0, Command::Expel { user: "carol".into(), why: "no reason".into() }).unwrap();
    room.pass(10_000);
    assert_eq!(room.state(0, &task).0, "waiting");
    let Answer::Task(view) = room.ask(0, Command::Task { task }).unwrap() else { panic!("no task") };
    assert!(view.history[0].fate.contains("no member's any more"), "{}", view.history[0].fate);
}

// spec: LED-10
#[test]
fn whose_clock_is_wrong_is_said_on_both_sides() {
    let mut room = street(quiet());
    let trouble = |room: &mut Room, number: usize| match room.ask(number, Command::Status).unwrap() {
        Answer::Status(status) => status.trouble.join("; "),
        other => panic!("{other:?}"),
    };
    assert_eq!(trouble(&mut room, 0), "");
    let carol = room.key(2);
    let entry = Forger::of(&room, 2).write(room.now.wall_ms + HOUR, Payload::PeerOnline);
    room.handle(0, Input::Gossip(carol, Box::new(entry)));
    let said = trouble(&mut room, 0);
    assert!(said.contains("what carol-laptop writes is dated 60 min ahead"), "{said}");
    // It is true no more as soon as the time has come.
    room.sleep(HOUR);
    assert_eq!(trouble(&mut room, 0), "");
    room.submit_draft(0, draft("plain", 1)).unwrap();
    room.now.wall_ms -= HOUR;
    let said = trouble(&mut room, 0);
    assert!(said.contains("this device's log is dated 60 min ahead of its clock"), "{said}");
}

// spec: PERM-4, ARC-7
#[test]
fn a_grant_that_its_donor_says_to_hold_no_more_is_not_offered_on_task_by_task() {
    let mut room = picky();
    let donor = room.key(1);
    let first = room.submit_draft(0, draft("plain", 1)).unwrap();
    let attempt = AttemptId { task: first.parse().unwrap(), attempt: 1 };
    // By the donor's clock, which is ahead, the grant has expired.
    room.handle(0, Input::Task(donor, attempt, TaskFrame::Refused(Reason::GrantExpired)));
    let offers = |room: &Room| room.said(0, "delegated").len();
    let before = offers(&room);
    for nonce in 2..8 {
        room.submit_draft(0, draft("plain", nonce)).unwrap();
    }
    room.pass(30_000);
    assert_eq!(offers(&room), before);
    assert!(room.state(0, &first).1.contains("the grant for it has expired"), "{}", room.state(0, &first).1);
    room.pass(40_000);
    assert!(offers(&room) > before, "and later it is asked again");
}

// spec: QUOTA-4, NET-1
#[test]
fn a_part_of_the_quota_is_given_to_another_device() {
    let mut room = street(quiet());
    // One that holds no user key of its own to share by.
    room.add("alice", 3, 0);
    comes_in(&mut room, 3);
    room.handle(3, Input::Capacity(Capacity { slots: 0, memory: 1 << 30, longest_ms: HOUR }));
    let share = |room: &mut Room, device: &str, permille| {
        room.ask(0, Command::ShareQuota { device: device.into(), permille })
    };
    let named = room.peers[0].node.ledger().governance().device(&room.key(3)).unwrap().name.clone();
    let refused = room.submit_draft(3, draft("plain", 9)).unwrap_err();
    assert!(refused.hint.as_deref().is_some_and(|hint| hint.contains("mesh device share")), "{refused:?}");
    assert_eq!(share(&mut room, "bob-laptop", 300).unwrap_err().kind, ErrorKind::Forbidden);
    assert_eq!(share(&mut room, "alice-laptop", 300).unwrap_err().kind, ErrorKind::Invalid);
    assert!(share(&mut room, &named, 1001).unwrap_err().message.contains("100 % together"));
    for (permille, mine, theirs) in [(300, 7, 3), (200, 8, 2)] {
        share(&mut room, &named, permille).unwrap();
        room.pass(2_000);
        let allowed = |room: &mut Room, number| match room.ask(number, Command::Quota { user: None }).unwrap()
        {
            Answer::Quota(view) => view.allowed,
            other => panic!("{other:?}"),
        };
        assert_eq!((allowed(&mut room, 0), allowed(&mut room, 3)), (Some(mine), Some(theirs)));
    }
    let mut ran = 0;
    for nonce in 0..2 {
        room.submit_draft(3, draft("plain", nonce)).unwrap();
        ran += run_all(&mut room, 2);
    }
    assert_eq!(ran, 2);
    assert!(room.submit_draft(3, draft("plain", 2)).unwrap_err().message.contains("quota"));
    // What was used before is not had again by sharing anew.
    for nonce in 0..8 {
        room.submit_draft(0, draft("plain", nonce)).unwrap();
        run_all(&mut room, 2);
    }
    share(&mut room, &named, 500).unwrap();
    room.pass(2_000);
    let refused = room.submit_draft(3, draft("plain", 3)).unwrap_err();
    assert!(refused.message.contains("quota"), "{refused:?}");
    equal(&room);
}

// spec: VOTE-1, VOTE-5
#[test]
fn the_ballot_of_what_runs_already_closes_by_the_date_where_the_clock_was_set() {
    let mut room = street(Rules { voting_window_ms: 3_600_000, ..rules() });
    room.handle(0, Input::Capacity(Capacity { slots: 1, memory: 1 << 30, longest_ms: HOUR }));
    let declared = mesh_node::Draft { importance: Some(Importance::Critical), ..draft("mine", 1) };
    let task = room.submit_draft(0, declared).unwrap();
    room.next_run(0).expect("at home it starts");
    room.vote(1, &task, Importance::Low);
    room.pass(2_000);
    assert_eq!(room.ballot(0, &task).state, "open");
    room.now.wall_ms += 3_600_000;
    for number in 0..3 {
        room.handle(number, Input::Wake);
    }
    assert_ne!(room.ballot(0, &task).state, "open");
    assert_eq!(room.said(0, "consensus").len(), 1, "what the members said is said at once");
}

// spec: PERM-5
#[test]
fn a_pause_lasts_as_long_as_was_said_however_the_clock_is_set() {
    for (by_ms, back) in [(5 * HOUR, false), (5 * HOUR, true)] {
        let mut room = street(rules());
        let paused = |room: &mut Room| match room.ask(2, Command::Status).unwrap() {
            Answer::Status(view) => view.donor.contains("paused"),
            other => panic!("{other:?}"),
        };
        room.ask(2, Command::Pause { for_ms: Some(2 * HOUR) }).unwrap();
        room.pass(HOUR);
        match back {
            true => room.now.wall_ms -= by_ms,
            false => room.now.wall_ms += by_ms,
        }
        room.handle(2, Input::Wake);
        assert!(paused(&mut room), "back: {back}");
        // After a start its date holds, which is another one now.
        for start in [false, true] {
            if start {
                room.restart(2, "carol");
            }
            room.pass(HOUR / 2 - 1_000);
            assert!(paused(&mut room), "back: {back}, started: {start}");
        }
        room.pass(3_000);
        assert!(!paused(&mut room), "back: {back}");
    }
}

// spec: PERM-5
#[test]
fn a_pause_from_before_a_start_ends_at_its_date() {
    let mut room = street(rules());
    room.ask(2, Command::Pause { for_ms: Some(2 * HOUR) }).unwrap();
    room.restart(2, "carol");
    // It starts without knowing the time, and is told.
    room.now.wall_ms -= 5 * HOUR;
    room.restart(2, "carol");
    room.now.wall_ms += 5 * HOUR;
    room.handle(2, Input::Wake);
    let donor = |room: &mut Room| match room.ask(2, Command::Status).unwrap() {
        Answer::Status(view) => view.donor,
        other => panic!("{other:?}"),
    };
    assert!(donor(&mut room).contains("paused"));
    room.pass(2 * HOUR);
    assert!(!donor(&mut room).contains("paused"));
}

// spec: DEL-13, REP-1
#[test]
fn whoever_settles_a_result_and_records_nothing_has_it_said_what_was_used() {
    let mut room = street(rules());
    room.energy(2, sun());
    let ends = |room: &mut Room, nonce: u8, connected: bool| {
        room.submit_draft(0, draft("plain", nonce)).unwrap();
        let run = room.next_run(2).unwrap();
        if !connected {
            room.disconnect(0, 2);
        }
        room.end(2, &run);
        run.attempt
    };
    let honest = ends(&mut room, 1, true);
    room.pass(2_000);
    assert!(room.peers[2].forgotten.contains(&honest), "it holds no place until a minute is over");
    room.pass(120_000);
    assert!(room.peers[2].forgotten.contains(&honest) && room.said(2, "spent").is_empty());
    let id = ends(&mut room, 2, false);
    let settled = |room: &Room| Input::Task(room.key(0), id, TaskFrame::Settled(Effect::Done));
    for _ in 0..5 {
        // Said again it is put off no further.
        let settled = settled(&room);
        room.handle(2, settled);
        room.pass(13_000);
    }
    let said = room.said(2, "spent");
    let [Payload::Spent(spent)] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!((spent.task, spent.attempt, spent.estimated), (id.task, id.attempt, false));
    assert!(room.peers[2].forgotten.contains(&id));
}

// spec: VOTE-1, VOTE-5
#[test]
fn a_ballot_closes_by_the_date_also_where_the_clock_was_set_meanwhile() {
    let mut room = street(Rules { voting_window_ms: 3_600_000, ..rules() });
    room.energy(2, coal());
    let on = Some("carol-laptop".into());
    let task = room.submit_draft(0, mesh_node::Draft { on, ..draft("plain", 1) }).unwrap();
    room.pass(1_000);
    assert_eq!(room.state(0, &task).0, "waiting");
    assert!(room.state(0, &task).1.contains("ballot is still open"));
    // The device had started an hour behind, and is told the time.
    room.now.wall_ms += 3_600_000;
    for number in 0..3 {
        room.handle(number, Input::Wake);
    }
    room.pass(10_000);
    let why = room.state(0, &task).1;
    assert!(!why.contains("ballot is still open"), "{why}");
    assert_ne!(room.ballot(0, &task).state, "open", "{why}");
}
