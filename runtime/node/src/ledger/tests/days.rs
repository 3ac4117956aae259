//! What counts for quotas and tiers, and of which day it is.

use super::*;
use mesh_policies::quota::Tier;

const DAY: u64 = 86_400_000;
const MINUTE: u64 = 60_000;

fn circle(world: &World) -> Community<'_> {
    Community { ledger: &world.ledgers[0], now_ms: world.now, misbehaves: None }
}

fn task(number: u8) -> TaskId {
    TaskId([number; 32])
}

/// What a device used on the day that it is.
fn used(world: &World, device: usize, most: u64) -> u64 {
    let circle = circle(world);
    let day = circle.day_of(world.user(device), world.now);
    circle.used(&world.device(device), day, u64::MAX, most).0
}

/// A device says to have seen all of another's log.
fn witness(world: &mut World, by: usize, of: usize) {
    world.sync_all();
    let tip = world.ledgers[by].tip(&world.device(of)).unwrap();
    world.say(by, Payload::Witnessed { tips: vec![tip] });
    world.sync_all();
}

fn delegated(task: TaskId, attempt: u32, device: PublicKey) -> Payload {
    Payload::Delegated { task, attempt, device, grant: None }
}

// spec: QUOTA-4, LED-10
#[test]
fn what_is_dated_back_is_of_the_day_on_which_somebody_saw_it() {
    let mut world = World::of(4);
    let device = world.device(1);
    for number in 0..5 {
        world.say(1, submitted(task(number)));
    }
    let own = Hlc::at(world.now);
    let last = world.ledgers[1].len(&device) - 1;
    world.now += 20 * DAY;
    world.sync_all();
    assert_eq!(used(&world, 1, u64::MAX), 0, "by its author's word alone");
    let dated_back = |world: &World| circle(world).is_dated_back(&world.device(0), &device, last, own);
    assert!(dated_back(&world), "nobody has to take that");
    witness(&mut world, 2, 1);
    assert!(dated_back(&world), "nor one other's");
    assert_eq!(used(&world, 1, u64::MAX), 5);
    witness(&mut world, 0, 1);
    assert!(!dated_back(&world));
    assert_eq!(used(&world, 1, u64::MAX), 5);
    assert_eq!(used(&world, 1, 3), 3, "nobody counts on");
    // An entry of now needs nobody.
    world.now += DAY;
    let own = world.say(1, submitted(task(9))).header().hlc;
    world.sync_all();
    assert!(!circle(&world).is_dated_back(&world.device(0), &device, last + 1, own));
    assert_eq!(used(&world, 1, u64::MAX), 1);
    // Said again it is the same task.
    world.say(1, submitted(task(9)));
    world.say(1, submitted(task(0)));
    world.sync_all();
    assert_eq!(used(&world, 1, u64::MAX), 1);
}

// spec: QUOTA-4
#[test]
fn of_a_log_as_long_as_they_get_no_more_is_dated_than_what_may_be_of_the_day() {
    let mut world = World::of(3);
    let skew = Rules::default().max_skew_ms;
    for number in 0..50 {
        world.say(1, submitted(task(number)));
    }
    witness(&mut world, 2, 1);
    witness(&mut world, 0, 1);
    world.now += DAY + skew;
    assert_eq!(dated(|| assert_eq!(used(&world, 1, u64::MAX), 0)), 1);
}

// spec: QUOTA-4, LED-10
#[test]
fn what_nobody_has_seen_hides_nothing_of_the_day_that_comes_before_it_in_its_log() {
    let mut world = World::of(3);
    let device = world.device(1);
    let seen = world.say(1, submitted(task(0))).tip();
    // Of the day before, by its author's word alone.
    world.say(1, submitted(task(1)));
    world.sync_all();
    world.now += DAY;
    for by in [0, 2] {
        world.say(by, Payload::Witnessed { tips: vec![seen] });
    }
    world.sync_all();
    assert!(world.ledgers[0].witnesses(&device, seen.seq + 1).is_empty());
    assert_eq!(used(&world, 1, u64::MAX), 1);
}

// spec: QUOTA-3
#[test]
fn of_one_log_eight_time_zones_in_thirty_days_count() {
    let mut world = World::of(2);
    let device = world.device(1);
    let zones = |world: &World| world.ledgers[1].facts().ballots().zones(&device).count();
    for _ in 0..10 {
        world.say(1, Payload::ZoneSet { zone: "Europe/Berlin".into() });
    }
    assert_eq!(zones(&world), 8);
    let may = |world: &World, at_ms: u64| world.ledgers[1].facts().ballots().may_set_zone(&device, at_ms);
    let first = world.ledgers[1].facts().ballots().zones(&device).next().unwrap().0.wall_ms();
    assert!(!may(&world, first + 30 * DAY - 1) && may(&world, first + 30 * DAY));
}

// spec: PERM-6, QUOTA-2
#[test]
fn what_was_never_asked_for_earns_no_tier_and_nor_do_new_members_for_each_other() {
    let mut world = World::of(3);
    let deeds = |world: &World| {
        let circle = circle(world);
        (circle.deeds(world.user(1)).executed, circle.deeds(world.user(2)).completed)
    };
    let say = |world: &mut World, payload: Payload| {
        world.say(2, payload);
        world.sync_all();
    };
    let (one, other) = (key(1, 1), world.device(0));
    let run = |world: &mut World, number: u8, asked: bool, to: PublicKey| {
        if asked {
            say(world, submitted(task(number)));
        }
        say(world, delegated(task(number), 1, to));
        say(world, completed(task(number), 1, &one));
    };
    // Both were let in by the founder just now.
    run(&mut world, 1, true, one.public());
    assert_eq!(deeds(&world), (0, 0));
    world.now += Rules::default().vote_after_ms + DAY;
    assert_eq!(deeds(&world), (0, 0), "what earned nothing earns nothing later");
    run(&mut world, 2, false, one.public());
    run(&mut world, 3, true, other);
    say(&mut world, submitted(task(4)));
    say(&mut world, completed(task(4), 1, &one));
    assert_eq!(deeds(&world), (0, 0), "nobody asked that device");
    run(&mut world, 5, true, one.public());
    assert_eq!(deeds(&world), (1, 1));
}

// spec: QUOTA-2, QUOTA-4
#[test]
fn what_a_tier_gave_when_a_task_was_submitted_it_gave() {
    let rules = Rules { vote_after_ms: 0, ..Rules::default() };
    let mut world = World::by(rules.clone()).with(2);
    world.now = 1_796_083_200_000;
    let month = mesh_policies::quota::month(world.now);
    let user = world.user(1);
    world.say(0, Payload::Contribution { user, unit: "money".into(), amount: 500, month });
    for number in 0..rules.free.tasks as u8 + 1 {
        world.say(1, submitted(task(number)));
    }
    world.sync_all();
    let place = (u64::MAX, world.now);
    let may = |world: &World, place: (u64, u64)| {
        circle(world).within_quota(&world.device(1), place, (1, 1), 1, false)
    };
    assert_eq!(circle(&world).tier(user), Tier::Supporter);
    assert_eq!(may(&world, place), Ok(()));
    // The month and with it the tier is over, and the task still waits.
    world.now += 40 * DAY;
    assert_eq!(circle(&world).tier(user), Tier::Free);
    assert_eq!(may(&world, place), Ok(()));
}

// spec: QUOTA-4
#[test]
fn what_all_attempts_ran_is_added_up_and_none_of_them_by_more_than_it_may() {
    use mesh_protocol::ledger::Spent;
    let mut world = World::of(3);
    let (id, owner) = (task(1), world.device(0));
    world.say(0, submitted(id));
    let spent = |attempt: u32, pieces: Vec<Piece>| {
        let how = if pieces.is_empty() { How::Unmeasured } else { How::Modelled };
        let energy = Metered { how, pieces, ..Metered::default() };
        Payload::Spent(Box::new(Spent { submitter: owner, task: id, attempt, energy, estimated: false }))
    };
    let piece = |from_ms: u64, ms: u64| Piece { from_ms, ms, energy_mj: 1, reading: None };
    let ran = |world: &mut World| {
        world.sync_all();
        world.ledgers[0].facts().tasks().ran_ms(&(owner, id), 10 * MINUTE)
    };
    let (one, two) = (world.device(1), world.device(2));
    for (attempt, device) in [(1, one), (2, two), (3, one)] {
        world.say(0, delegated(id, attempt, device));
    }
    assert_eq!(ran(&mut world), 0);
    world.say(1, spent(1, vec![piece(world.now, MINUTE), piece(world.now + MINUTE, MINUTE)]));
    assert_eq!(ran(&mut world), 2 * MINUTE);
    // Of whom was not asked nothing counts, and no word makes more of an attempt than it may run.
    world.say(1, spent(2, vec![piece(world.now, MINUTE)]));
    assert_eq!(ran(&mut world), 2 * MINUTE);
    world.say(2, spent(2, vec![piece(world.now, 60 * MINUTE)]));
    assert_eq!(ran(&mut world), 12 * MINUTE);
    // Without a word of its energy it is the time since it was given.
    world.now += 3 * MINUTE;
    world.say(1, spent(3, vec![]));
    assert!((15 * MINUTE..16 * MINUTE).contains(&ran(&mut world)));
}
