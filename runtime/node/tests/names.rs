//! Who is meant by what somebody typed, where somebody wants to be taken for another.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod room;

use mesh_node::{
    Answer, Command, CommandError, ErrorKind, GrantRequest, Input, Message, Output, SyncReceived,
};
use mesh_protocol::frame::{HelloFrame, JoinAnswer, JoinRefusal};
use mesh_protocol::ids::{Commitment, TaskId};
use mesh_protocol::invite::{DeviceCert, JoinRequest, Ticket, TicketKind};
use mesh_protocol::key::{PublicKey, SecretKey, Signature, UserKey};
use mesh_protocol::ledger::{DeviceAdded, Hlc, Payload, PeerRegistered, Rotation, TaskSubmitted};
use mesh_protocol::permissions::Permissions;
use mesh_protocol::rules::Rules;
use mesh_protocol::task::{Importance, Sla};
use room::*;

fn user_key(number: usize) -> UserKey {
    UserKey(SecretKey::from_seed(&[number as u8 * 10 + 2; 32]).public())
}

fn rules() -> Rules {
    Rules { sponsors: 1, voting_window_ms: 10_000, vote_after_ms: 0, ..Rules::default() }
}

/// What somebody asked who lets nobody check their name.
fn request(room: &Room, seed: u8, name: &str) -> JoinRequest {
    let key = |what: u8| SecretKey::from_seed(&[seed + what; 32]);
    let community = room.peers[0].node.community().unwrap();
    let request = JoinRequest {
        user: UserKey(key(2).public()),
        user_name: name.into(),
        recovery: key(3).public(),
        device_name: name.into(),
        cert: DeviceCert::of(&key(2), community, &key(1), 1000, 0),
        invite: key(4).public(),
        word: Signature([0; 64]),
        signature: Signature([0; 64]),
    };
    request.sign(&key(2), &key(4))
}

fn about(answer: Result<Answer, CommandError>) -> String {
    match answer {
        Ok(Answer::About { about, .. }) => about,
        other => panic!("{other:?}"),
    }
}

impl Room {
    /// Everybody but its author takes in what somebody wrote who plays by no rules.
    fn forge(&mut self, forger: &mut Forger, payload: Payload) {
        let entry = forger.write(self.now.wall_ms, payload);
        let author = forger.key.public();
        for number in 0..self.peers.len() {
            if self.key(number) != author {
                let from = self.key(if number == 0 { 2 } else { 0 });
                self.handle(number, Input::Sync(from, SyncReceived::Entries(vec![entry.clone()])));
            }
        }
        self.pass(3_000);
    }
}

/// Alice, bob and carol; bob lets in whom he likes, by whatever name.
fn street() -> (Room, Forger) {
    let mut room = Room::community_by(&["alice", "bob", "carol"], rules());
    // His own peer is off meanwhile, so that only what he writes by hand is in his log.
    room.apart = true;
    for other in [0, 2] {
        room.disconnect(1, other);
    }
    let forger = Forger::of(&room, 1);
    (room, forger)
}

// spec: NET-2, PERM-1
#[test]
fn a_whole_key_beats_whoever_calls_themselves_by_it() {
    let (mut room, mut bob) = street();
    let victim = user_key(2).to_string();
    let posing = request(&room, 150, &victim);
    room.forge(&mut bob, Payload::Admitted(Box::new(posing)));
    let meant = format!("carol ({})", &victim[..10]);
    assert_eq!(about(room.ask(0, anything_of(&victim))), meant);
    let trusted = room.ask(0, Command::Trust { users: Some(vec![victim.clone()]) }).unwrap();
    assert!(matches!(&trusted, Answer::Trust(Some(names)) if names.contains(&meant)), "{trusted:?}");
    let Answer::Quota(view) = room.ask(0, Command::Quota { user: Some(victim.clone()) }).unwrap() else {
        panic!()
    };
    assert_eq!(view.user, meant);
    let on = Some(room.key(2).to_string());
    let submitted =
        room.ask(0, Command::Submit(Box::new(mesh_node::Draft { on, ..draft("there", 1) }))).unwrap();
    let Answer::Submitted { on: Some(on), .. } = submitted else { panic!("{submitted:?}") };
    assert!(on.starts_with("carol-laptop ("), "{on}");
    let expelled = room.ask(0, Command::Expel { user: victim, why: "a test".into() });
    assert_eq!(about(expelled), meant);
    // A whole key that nobody has is nobody's name either.
    let nobody = "ab".repeat(32);
    let posing = request(&room, 160, &nobody);
    room.forge(&mut bob, Payload::Admitted(Box::new(posing)));
    assert_eq!(room.ask(0, anything_of(&nobody)).unwrap_err().kind, ErrorKind::NotFound);
}

// spec: NET-2
#[test]
fn a_device_named_like_anothers_key_is_not_taken_for_it() {
    let (mut room, mut bob) = street();
    let carols = room.key(2).to_string();
    let registered = PeerRegistered {
        name: carols.clone(),
        place: None,
        profile: profile().id(),
        walls: vec![],
        slots: 1,
    };
    room.forge(&mut bob, Payload::PeerRegistered(Box::new(registered)));
    let Answer::Stats(view) = room.ask(0, Command::Stats { user: None, peer: Some(carols.clone()) }).unwrap()
    else {
        panic!()
    };
    assert_eq!(view.of.unwrap(), format!("carol-laptop ({})", &carols[..10]));
}

// spec: NET-2
#[test]
fn a_name_and_the_beginning_of_a_key_that_mean_two_are_ambiguous() {
    let (mut room, mut bob) = street();
    let beginning = user_key(2).to_string()[..12].to_owned();
    let posing = request(&room, 150, &beginning);
    room.forge(&mut bob, Payload::Admitted(Box::new(posing)));
    let refused = room.ask(0, anything_of(&beginning)).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Ambiguous);
    let both = ["carol (", &format!("{beginning} (")];
    assert!(both.iter().all(|shown| refused.message.contains(*shown)), "{refused}");
}

// spec: NET-2
#[test]
fn nobody_comes_in_by_a_name_that_reads_like_a_key_or_hides_something() {
    for name in ["0123456789abcdef", "deadbeef", "bo\u{200b}b", "-x"] {
        let mut room = Room::community_by(&["alice", "bob"], rules());
        room.add(name, 2, 2);
        let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
        let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
        let refused = room.ask(2, Command::Join { ticket, as_device_of: None }).unwrap_err();
        assert!(refused.message.contains("name"), "{name:?}: {refused}");
        let mut alone = Room::new(&[name]);
        let found = Command::Found { name: "Street".into(), rules: Box::new(rules()) };
        assert_eq!(alone.ask(0, found).unwrap_err().kind, ErrorKind::Invalid, "{name:?}");
    }
    let mut room = Room::community_by(&["alice"], rules());
    let refused = room.submit_draft(0, draft("0123456789abcdef", 1)).unwrap_err();
    assert!(refused.hint.unwrap().contains("--name"));
}

// spec: VOTE-1, HEALTH-3
#[test]
fn nobody_takes_a_tasks_id_away_from_whoever_submitted_it() {
    let (mut room, mut bob) = street();
    let task = room.submit(0, 1);
    let id: TaskId = task.parse().unwrap();
    // Others have said that they saw it before anybody copies it.
    room.pass(61_000);
    let copy = |name: &str, task| {
        Payload::TaskSubmitted(Box::new(TaskSubmitted {
            task,
            name: name.into(),
            module: draft("x", 1).module,
            input: Commitment([3; 32]),
            duration_ms: 1000,
            memory_bytes: 1 << 20,
            sla: Sla::Normal,
            importance: None,
            replicas: 1,
        }))
    };
    // His own task is named by the id of hers, and hers stands in his log as well.
    room.forge(&mut bob, copy(&task, TaskId([9; 32])));
    room.forge(&mut bob, copy("mine", id));
    let vote = |importance| Command::Vote { task: task.clone(), importance, comment: String::new() };
    for number in [0, 2] {
        let Answer::Ballots(views) = room.ask(number, Command::Ballots { task: Some(task.clone()) }).unwrap()
        else {
            panic!()
        };
        assert_eq!(
            (views[0].task, views[0].user.as_str(), views[0].name.as_str()),
            (id, "alice", "word-count")
        );
        let voted = about(room.ask(number, vote(Importance::High)));
        assert!(voted.starts_with("word-count (") && voted.contains("of alice ("), "{voted}");
    }
    room.pass(12_000);
    let Answer::Ballots(views) = room.ask(0, Command::Ballots { task: Some(task.clone()) }).unwrap() else {
        panic!()
    };
    // With bob away none of them has been seen by enough.
    assert_eq!(views[0].votes.len() + views[0].unseen.len(), 2);
    // No health, and so not ambiguous: it is found.
    let dispute = Command::Dispute { task, why: "no".into() };
    assert_eq!(room.ask(2, dispute).unwrap_err().kind, ErrorKind::Conflict);
}

// spec: NET-2
#[test]
fn nobody_is_vouched_for_by_chance() {
    let mut room = Room::community(&["alice", "bob", "dave", "erin"]);
    for (number, name) in [(4, "carol"), (5, "carol")] {
        room.add(name, number, number);
        let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
        let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
        room.ask(number, Command::Join { ticket, as_device_of: None }).unwrap();
    }
    room.pass(3_000);
    let sponsor = |user: &str| Command::Sponsor { user: user.into() };
    let two = room.ask(1, sponsor("carol")).unwrap_err();
    assert_eq!(two.kind, ErrorKind::Ambiguous);
    assert!(two.message.matches("carol (").count() == 2, "{two}");
    // Who is in already, or was put out, waits for nobody.
    room.ask(0, Command::Expel { user: "dave".into(), why: "noise".into() }).unwrap();
    room.pass(3_000);
    for other in ["alice", "dave"] {
        let none = room.ask(1, sponsor(other)).unwrap_err();
        assert!(none.message.contains("there is none of that name"), "{other}: {none}");
    }
    let key = user_key(5).to_string();
    for short in ["", &key[..1], &key[..3]] {
        assert!(room.ask(1, sponsor(short)).is_err(), "{short:?}");
    }
    assert_eq!(about(room.ask(1, sponsor(&key[..10]))), format!("carol ({})", &key[..10]));
}

// spec: NET-1, NET-2
#[test]
fn a_ticket_for_a_device_makes_nobody_else_a_device_by_surprise() {
    let mut room = Room::community_by(&["alice", "bob"], rules());
    room.add("mallory", 2, 2);
    let ticket = |room: &mut Room| {
        let invite = Command::Invite { kind: TicketKind::Device, valid_ms: 60_000, addrs: vec![addr(0)] };
        let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
        ticket
    };
    let given = ticket(&mut room);
    let refused = room.ask(2, Command::Join { ticket: given.clone(), as_device_of: None }).unwrap_err();
    let alices = user_key(0).to_string()[..10].to_owned();
    assert!(refused.message.contains(&alices), "{refused}");
    assert!(refused.hint.unwrap().contains(&format!("--as-device-of {alices}")));
    let others = Some(user_key(1).to_string());
    assert!(room.ask(2, Command::Join { ticket: given.clone(), as_device_of: others }).is_err());
    let joined = room.ask(2, Command::Join { ticket: given, as_device_of: Some(alices.clone()) }).unwrap();
    let Answer::Joined { of, .. } = joined else { panic!("{joined:?}") };
    assert_eq!(of, Some(format!("alice ({alices})")));
}

// spec: NET-2
#[test]
fn whoever_is_expelled_is_told_so_and_what_can_be_done() {
    let mut room = Room::community_by(&["alice", "bob", "carol"], rules());
    room.ask(0, Command::Expel { user: "carol".into(), why: "sells our sun".into() }).unwrap();
    room.pass(3_000);
    let Answer::Status(view) = room.ask(2, Command::Status).unwrap() else { panic!() };
    let trouble = view.trouble.join("; ");
    assert!(trouble.contains("ended your membership") && !trouble.contains("two entries"), "{trouble}");
    // Where she learns it from a member alone, and where she asks again with her old key.
    let mut away = Room::community_by(&["alice", "bob", "carol"], rules());
    for other in [0, 1] {
        away.disconnect(2, other);
    }
    away.ask(0, Command::Expel { user: "carol".into(), why: "sells our sun".into() }).unwrap();
    away.pass(3_000);
    let told = HelloFrame::JoinAnswer(JoinAnswer::Refused(JoinRefusal::Expelled));
    let member = away.key(0);
    away.handle(2, Input::Hello(member, told));
    let Answer::Status(view) = away.ask(2, Command::Status).unwrap() else { panic!() };
    assert!(view.trouble.join("; ").contains("ended your membership"), "{:?}", view.trouble);
    away.add("carol", 3, 2);
    let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
    let Answer::Ticket(ticket) = away.ask(0, invite).unwrap() else { panic!("no ticket") };
    let refused = away.ask(3, Command::Join { ticket, as_device_of: None }).unwrap_err();
    assert!(refused.message.contains("new keys"), "{refused}");
    // What she did still counts, and can be asked for.
    let Answer::Reputation(view) = away.ask(0, Command::Reputation { user: Some("carol".into()) }).unwrap()
    else {
        panic!()
    };
    assert!(view.user.starts_with("carol ("), "{}", view.user);
    let silent = room.ask(0, Command::Expel { user: "bob".into(), why: " ".into() }).unwrap_err();
    assert!(silent.hint.unwrap().contains("-m"));
}

/// Alice is asked by one of her tickets to let a user in with a device. Says what she answers, and how long her log is then.
fn asks(room: &mut Room, ticket: &str, user: u8, device: u8) -> (JoinAnswer, u64) {
    let key = |seed: u8| SecretKey::from_seed(&[seed; 32]);
    let (ticket, peer) = (ticket.parse::<Ticket>().unwrap(), key(device).public());
    let request = JoinRequest {
        user: UserKey(key(user).public()),
        user_name: "zoe".into(),
        recovery: key(3).public(),
        device_name: "zoe".into(),
        cert: DeviceCert::of(&key(user), ticket.community, &key(device), 1000, 0),
        invite: PublicKey([0; 32]),
        word: Signature([0; 64]),
        signature: Signature([0; 64]),
    };
    let request = request.sign(&key(user), &SecretKey::from_seed(&ticket.secret));
    let node = &mut room.peers[0].node;
    node.handle(room.now, Input::Hello(peer, HelloFrame::Join(Box::new(request))));
    let mut answer = None;
    while let Some(output) = node.poll() {
        if let Output::Send(to, Message::Hello(HelloFrame::JoinAnswer(said))) = output {
            answer = Some(said).filter(|_| to == peer);
        }
    }
    (answer.unwrap(), room.peers[0].node.ledger().len(&room.key(0)))
}

/// Each answer may be an entry in the log of whoever made it, and governing ones at that.
// spec: NET-2, NET-4
#[test]
fn by_one_ticket_nothing_is_written_in_vain_however_often_it_is_asked() {
    // Alice knows bob by his second key, and of all devices that he may have.
    let mut room = Room::community_by(&["alice", "bob", "carol"], Rules { sponsors: 2, ..rules() });
    room.apart = true;
    for other in [0, 2] {
        room.disconnect(1, other);
    }
    let mut bob = Forger::of(&room, 1);
    let key = |seed: u8| SecretKey::from_seed(&[seed; 32]);
    for number in 0..32 {
        let device = DeviceCert::of(&key(12), bob.community, &key(100 + number), 0, 0);
        let added = DeviceAdded { cert: device, name: number.to_string() };
        room.forge(&mut bob, Payload::DeviceAdded(Box::new(added)));
    }
    let (old, from) = (UserKey(key(22).public()), Hlc::at(room.now.wall_ms));
    let rotation = Rotation::sign(&key(23), bob.community, old, &key(200), from);
    room.forge(&mut bob, Payload::KeyRotated(Box::new(rotation)));
    for (what, users) in [("new keys", 210..230), ("a device too many", 12..13), ("a replaced key", 22..23)] {
        let invite = Command::Invite { kind: TicketKind::Member, valid_ms: 60_000, addrs: vec![addr(0)] };
        let Answer::Ticket(ticket) = room.ask(0, invite).unwrap() else { panic!("no ticket") };
        let before = room.peers[0].node.ledger().len(&room.key(0));
        let asked = users.cycle().take(20);
        let answers: Vec<_> = asked.map(|user| asks(&mut room, &ticket, user, 240)).collect();
        let written = answers.last().map(|(_, len)| len - before);
        let expected = match what {
            "new keys" => (JoinAnswer::Pending, JoinAnswer::Refused(JoinRefusal::Used), 1),
            _ => {
                let refused = JoinAnswer::Refused(JoinRefusal::NotEntitled);
                (refused.clone(), refused, 0)
            }
        };
        let said = (answers[0].0.clone(), answers[19].0.clone(), written.unwrap());
        assert_eq!(said, expected, "{what}");
        if what == "new keys" {
            // Whoever lost the answer asks again.
            let last = answers.last().map(|(_, len)| *len);
            assert_eq!(asks(&mut room, &ticket, 210, 240), (JoinAnswer::Pending, last.unwrap()));
        }
    }
}

/// What `mesh grant` is asked for.
fn granting(task: &str) -> GrantRequest {
    GrantRequest {
        user: "alice".into(),
        device: None,
        task: task.into(),
        module: None,
        until_ms: None,
        permissions: None,
    }
}

// spec: PERM-1, SBX-10
#[test]
fn a_grant_ends_later_than_now_and_gives_what_reaches_further_to_pinned_code_alone() {
    let mut room = Room::community_by(&["alice", "bob", "carol"], rules());
    let now = room.now.wall_ms;
    let refused = room.ask(1, Command::Grant(GrantRequest { until_ms: Some(now), ..granting("*") }));
    assert!(refused.unwrap_err().message.contains("lies in the past"));
    let until = room.now.wall_ms + 1;
    about(room.ask(1, Command::Grant(GrantRequest { until_ms: Some(until), ..granting("*") })));
    let clock = Some(Permissions { real_clock: true, ..Permissions::default() });
    let refused = room
        .ask(1, Command::Grant(GrantRequest { permissions: clock.clone(), ..granting("*") }))
        .unwrap_err();
    assert!(refused.hint.is_some_and(|hint| hint.contains("--module")), "{}", refused.message);
    let module = Some(draft("x", 1).module);
    about(room.ask(1, Command::Grant(GrantRequest { permissions: clock, module, ..granting("*") })));
    // What every task may do anyway needs no code to be named.
    let least = Some(Permissions::default());
    about(room.ask(1, Command::Grant(GrantRequest { permissions: least, ..granting("*") })));
    for (request, kind) in [
        (GrantRequest { device: Some("carol-laptop".into()), ..granting("*") }, ErrorKind::Forbidden),
        (granting("a*b"), ErrorKind::Invalid),
    ] {
        assert_eq!(room.ask(1, Command::Grant(request)).unwrap_err().kind, kind);
    }
}

// spec: PERM-1
#[test]
fn a_grant_is_taken_back_by_its_owner_and_by_as_much_of_its_id_as_means_no_other() {
    let mut room = Room::community_by(&["alice", "bob"], rules());
    let ids: Vec<String> = (0..17)
        .map(|number| match room.ask(1, Command::Grant(granting(&format!("task-{number}")))) {
            Ok(Answer::About { entry, .. }) => entry.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    room.pass(2_000);
    let revoke =
        |room: &mut Room, by: usize, grant: &str| room.ask(by, Command::Revoke { grant: grant.into() });
    for (by, grant, kind) in [
        (1, "", ErrorKind::NotFound),
        (1, "no grant", ErrorKind::NotFound),
        (0, ids[0].as_str(), ErrorKind::Forbidden),
        // Seventeen begin with sixteen digits.
        (
            1,
            (0..17)
                .map(|at| &ids[at][..1])
                .find(|digit| ids.iter().filter(|id| id.starts_with(digit)).count() > 1)
                .unwrap(),
            ErrorKind::Ambiguous,
        ),
    ] {
        assert_eq!(revoke(&mut room, by, grant).unwrap_err().kind, kind, "{grant:?} by {by}");
    }
    revoke(&mut room, 1, &ids[3][..20]).unwrap();
    room.pass(2_000);
    for number in 0..2 {
        let Answer::Permissions(views) = room.ask(number, Command::Permissions).unwrap() else { panic!() };
        let ended: Vec<&str> =
            views.iter().filter(|view| !view.valid).map(|view| view.task.as_str()).collect();
        assert_eq!(ended, ["task-3"], "as peer {number} has it");
    }
}

// spec: NET-1, QUOTA-4
#[test]
fn only_a_device_of_ones_own_and_no_other_is_taken_back_or_given_a_share() {
    let mut room = Room::community_by(&["alice", "bob"], rules());
    for command in [
        |device: &str| Command::RevokeDevice { device: device.into() },
        |device: &str| Command::ShareQuota { device: device.into(), permille: 100 },
    ] {
        for (device, kind) in [
            ("nobodys", ErrorKind::NotFound),
            ("bob-laptop", ErrorKind::Forbidden),
            ("alice-laptop", ErrorKind::Invalid),
        ] {
            let refused = room.ask(0, command(device)).unwrap_err();
            assert_eq!(refused.kind, kind, "{refused:?}");
            // It lists what may be named, which `mesh peers` does among everybody's.
            let helps = refused.hint.is_some_and(|hint| hint.contains("mesh device ls"));
            assert_eq!(helps, kind != ErrorKind::Invalid, "{device}");
        }
    }
}

// spec: NET-1
#[test]
fn a_user_key_is_replaced_by_the_recovery_keys_word_for_it_and_a_new_key_alone() {
    let mut room = Room::community_by(&["alice", "bob"], rules());
    let community = room.peers[0].node.community().unwrap();
    let elsewhere = Room::community_by(&["carol"], rules()).peers[0].node.community().unwrap();
    let recovery = SecretKey::from_seed(&[3; 32]);
    let key = |seed: u8| SecretKey::from_seed(&[seed; 32]);
    let from = Hlc::at(room.now.wall_ms);
    let rotate = |room: &mut Room, by: &SecretKey, community, user, new: &SecretKey| {
        let rotation = Rotation::sign(by, community, user, new, from);
        room.ask(0, Command::RotateKey(Box::new(rotation)))
    };
    let (alice, bob) = (user_key(0), user_key(1));
    for (by, community, user, to, why) in [
        (&recovery, elsewhere, alice, key(200), "another community"),
        (&recovery, community, bob, key(200), "another user"),
        (&key(2), community, alice, key(200), "recovery key"),
        (&recovery, community, alice, key(12), "is or was a member's"),
    ] {
        let refused = rotate(&mut room, by, community, user, &to).unwrap_err();
        assert!(refused.kind == ErrorKind::Invalid && refused.message.contains(why), "{refused:?}");
    }
    rotate(&mut room, &recovery, community, alice, &key(200)).unwrap();
    room.pass(2_000);
    let refused = rotate(&mut room, &recovery, community, UserKey(key(200).public()), &key(2)).unwrap_err();
    assert!(refused.message.contains("is or was a member's"), "back to the old one: {refused:?}");
    // The key that this device started with stands for nobody now.
    let device = Command::Invite { kind: TicketKind::Device, valid_ms: 60_000, addrs: vec![addr(0)] };
    let refused = room.ask(0, device.clone()).unwrap_err();
    assert!(refused.kind == ErrorKind::Forbidden && refused.message.contains("was replaced"), "{refused:?}");
    room.ask(1, device).unwrap();
}

// spec: DEL-6
#[test]
fn whoever_runs_a_task_vetoes_the_one_that_is_meant_and_what_runs_no_more_is_none() {
    let mut room = Room::community_by(&["alice", "bob"], rules());
    room.handle(0, Input::Capacity(mesh_node::Capacity { slots: 0, memory: 1 << 30, longest_ms: 3_600_000 }));
    room.grant(1, "alice");
    for nonce in [1, 2] {
        let urgent = mesh_node::Draft { sla: Sla::Urgent, ..draft("word-count", nonce) };
        room.submit_draft(0, urgent).unwrap();
    }
    room.pass(1_000);
    let tasks: Vec<String> = room.peers[1].runs.iter().map(|run| run.attempt.task.to_string()).collect();
    assert_eq!(tasks.len(), 2);
    let veto =
        |room: &mut Room, task: &str| room.ask(1, Command::Veto { task: task.into(), why: "no".into() });
    assert_eq!(veto(&mut room, "image").unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(veto(&mut room, "word-count").unwrap_err().kind, ErrorKind::Ambiguous);
    assert!(matches!(veto(&mut room, &tasks[0][..20]), Ok(Answer::Done)));
    assert_eq!(veto(&mut room, &tasks[0]).unwrap_err().kind, ErrorKind::NotFound, "it runs no more");
    assert!(matches!(veto(&mut room, "word-count"), Ok(Answer::Done)), "the other is the only one");
}

// spec: QUOTA-2
#[test]
fn a_slip_of_the_finger_is_no_contribution() {
    let mut room = Room::community_by(&["alice", "bob"], rules());
    let mut give = |unit: &str, amount, month| {
        room.ask(0, Command::Contribute { user: "bob".into(), unit: unit.into(), amount, month })
    };
    for (unit, amount, month) in
        [("money", u64::MAX, None), ("hours", 100_000, None), ("money", 500, Some(999_912))]
    {
        assert_eq!(give(unit, amount, month).unwrap_err().kind, ErrorKind::Invalid, "{unit} {amount}");
    }
    assert!(about(give("money", 500, None)).starts_with("bob ("));
}

// spec: DEL-1
#[test]
fn an_empty_text_means_nothing_and_a_task_that_runs_for_another_is_said_to_be_theirs() {
    let mut room = Room::community_by(&["alice", "bob"], rules());
    for command in [
        Command::Task { task: String::new() },
        Command::Ballots { task: Some(String::new()) },
        Command::Vote { task: String::new(), importance: Importance::Low, comment: String::new() },
    ] {
        assert_eq!(room.ask(0, command).unwrap_err().kind, ErrorKind::Invalid);
    }
    room.handle(0, Input::Capacity(mesh_node::Capacity { slots: 0, memory: 1 << 30, longest_ms: 3_600_000 }));
    room.grant(1, "alice");
    let task = room.submit_draft(0, mesh_node::Draft { sla: Sla::Urgent, ..draft("word-count", 1) }).unwrap();
    room.pass(1_000);
    assert_eq!(room.peers[1].runs.len(), 1);
    let elsewhere = room.ask(1, Command::Task { task }).unwrap_err();
    assert!(elsewhere.message.contains("another member's"), "{elsewhere}");
    assert!(elsewhere.hint.unwrap().contains("mesh status"));
}
