use super::*;
use mesh_protocol::ids::{Commitment, CommunityId, EntryId, ModuleHash, ProfileId, TaskId};
use mesh_protocol::invite::{DeviceCert, JoinRequest};
use mesh_protocol::key::{PublicKey, SecretKey, Signature, UserKey};
use mesh_protocol::ledger::{
    Accounted, Completed, DeviceAdded, Effect, Entry, ForkProof, Founded, Hlc, Payload, Place, Revocation,
    Rotation, Spent, Statement, Tip,
};
use mesh_protocol::rules::Rules;

fn file<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<u8> {
    encode(entries.into_iter().map(Entry::bytes))
}

fn fault(file: &[u8]) -> Fault {
    match verify(file) {
        Err(Trouble::Bad(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

struct Log {
    key: SecretKey,
    community: CommunityId,
    tip: Option<Tip>,
}

impl Log {
    fn new(number: u8, community: CommunityId) -> Self {
        Self { key: key(number), community, tip: None }
    }

    fn write(&mut self, hlc: u64, refs: Vec<Tip>, payload: Payload) -> Entry {
        let (seq, prev) = self.tip.map_or((0, EntryId::ZERO), |tip| (tip.seq + 1, tip.id));
        let place = Place { community: self.community, seq, prev, refs, hlc: Hlc(hlc) };
        let entry = Entry::write(&self.key, place, payload);
        self.community = entry.header().belongs_to();
        self.tip = Some(entry.tip());
        entry
    }
}

fn founded() -> Payload {
    let user = key(100);
    Payload::Founded(Box::new(Founded {
        name: "Elm Street".into(),
        rules: Rules::default(),
        user: UserKey(user.public()),
        user_name: "alice".into(),
        recovery: key(101).public(),
        device_name: "laptop".into(),
        cert: DeviceCert::of(&user, CommunityId::ZERO, &key(1), 1000, 0),
    }))
}

fn completed(signer: &SecretKey) -> Payload {
    let statement = Statement {
        task: TaskId([1; 32]),
        attempt: 1,
        executor: key(2).public(),
        module: ModuleHash([2; 32]),
        profile: ProfileId([3; 32]),
        outcome: 0,
        fuel: 1,
        fuel_before: 0,
        cpu_us: 1,
        wall_ms: 1,
        peak_memory: 1,
        energy: mesh_protocol::energy::Metered::default(),
        estimated: false,
        output: Commitment([4; 32]),
        receipt: Commitment([5; 32]),
        comparable: true,
    };
    let signature = statement.sign(signer);
    Payload::Completed(Box::new(Completed { statement, signature, effect: Effect::Done }))
}

/// Somebody's wish to join, with a device; each has keys of their own beside that device's.
fn admitted(community: CommunityId, device: u8) -> Payload {
    let (user, invite) = (key(100 + device), key(200 + device));
    let request = JoinRequest {
        user: UserKey(user.public()),
        user_name: "bob".into(),
        recovery: key(150 + device).public(),
        device_name: "desktop".into(),
        cert: DeviceCert::of(&user, community, &key(device), 1000, 0),
        invite: invite.public(),
        word: Signature([0; 64]),
        signature: Signature([0; 64]),
    };
    Payload::Admitted(Box::new(request.sign(&user, &invite)))
}

/// Alice's log, her founding and Bob's admission, and Bob's log.
fn street() -> (Log, [Entry; 2], Log) {
    let mut alice = Log::new(1, CommunityId::ZERO);
    let first = alice.write(10, vec![], founded());
    let second = alice.write(11, vec![], admitted(alice.community, 2));
    let bob = Log::new(2, alice.community);
    (alice, [first, second], bob)
}

/// A third device, Carol's, and the entry of Alice's that lets her in.
fn carol(alice: &mut Log) -> (Entry, Log) {
    let entry = alice.write(12, vec![], admitted(alice.community, 3));
    (entry, Log::new(3, alice.community))
}

fn spent() -> Payload {
    let energy = mesh_protocol::energy::Metered::default();
    let (submitter, task) = (key(1).public(), TaskId([1; 32]));
    Payload::Spent(Box::new(Spent { submitter, task, attempt: 1, energy, estimated: false }))
}

/// The file of a ledger in which somebody accounts for a task that nobody submitted.
pub(crate) fn wrongly_accounted() -> Vec<u8> {
    let (mut alice, [first, second], _) = street();
    let accounted = Accounted {
        task: TaskId([1; 32]),
        attempt: 1,
        factors: mesh_protocol::factors::Factors::default(),
        at_once: vec![],
        then: vec![],
        transfer_mj: 0,
        counted: vec![],
        saved: None,
    };
    let third = alice.write(20, vec![], Payload::Accounted(Box::new(accounted)));
    file([&first, &second, &third])
}

/// A user's key replaced by another, as `by` signs it.
fn rotation(by: u8, community: CommunityId, user: u8, new: u8, from: u64) -> Payload {
    let user = UserKey(key(user).public());
    Payload::KeyRotated(Box::new(Rotation::sign(&key(by), community, user, &key(new), Hlc(from))))
}

/// Whose entries do not count, at which place, why.
fn uncounted(entries: &[&Entry]) -> Vec<(PublicKey, u64, String)> {
    let found = verify(&file(entries.iter().copied())[..]).unwrap();
    found.uncounted.into_iter().map(|it| (it.author, it.seq, it.why)).collect()
}

/// Two logs that name each other.
fn entries() -> Vec<Entry> {
    let (mut alice, [first, second], mut bob) = street();
    let third = bob.write(20, vec![second.tip()], Payload::PeerOnline);
    let fourth = alice.write(30, vec![third.tip()], completed(&key(2)));
    let fifth = bob.write(40, vec![fourth.tip()], Payload::PeerOffline);
    vec![first, second, third, fourth, fifth]
}

// spec: LED-6
#[test]
fn a_sound_file_is_found_sound() {
    let entries = entries();
    let found = verify(&file(&entries)[..]).unwrap();
    assert_eq!((found.entries, found.logs, found.name.as_str()), (5, 2, "Elm Street"));
    assert_eq!(found.community, Some(CommunityId(entries[0].id().0)));
    assert_eq!(found.bytes, file(&entries).len() as u64);
    assert_eq!(verify(&encode([])[..]).unwrap().entries, 0);
}

// spec: LED-6
#[test]
fn every_changed_byte_is_found_in_its_entry() {
    let entries = entries();
    let good = file(&entries);
    let mut frames = vec![];
    let mut at = MAGIC.len();
    for entry in &entries {
        frames.push(at..at + 4 + entry.bytes().len());
        at += 4 + entry.bytes().len();
    }
    for index in 0..good.len() {
        for flip in [1, 0x80] {
            let mut bad = good.clone();
            bad[index] ^= flip;
            let fault = fault(&bad);
            match frames.iter().position(|frame| frame.contains(&index)) {
                None if index < MAGIC.len() => assert_eq!((fault.at, fault.entry), (index as u64, None)),
                None if index < at + 4 => assert_eq!(fault.at, at as u64, "the last length: {fault:?}"),
                None => assert_eq!((fault.at, fault.entry), (at as u64 + 4, None), "the hash: {fault:?}"),
                Some(number) => {
                    assert_eq!(fault.at, frames[number].start as u64, "byte {index}: {fault:?}");
                    assert_eq!(fault.entry, Some(number as u64), "byte {index}: {fault:?}");
                }
            }
        }
    }
}

// spec: LED-6
#[test]
fn a_file_that_is_cut_off_or_goes_on_is_found_so() {
    let good = file(&entries());
    for len in 0..good.len() {
        let fault = fault(&good[..len]);
        assert!(fault.at <= len as u64, "{len}: {fault:?}");
        assert_eq!(fault.what.contains("cut off"), len >= MAGIC.len(), "{len}: {fault:?}");
    }
    let fault = fault(&[&good[..], &good[..]].concat());
    assert_eq!((fault.at, fault.what.as_str()), (good.len() as u64, "something follows the end"));
}

// spec: LED-6
#[test]
fn entries_out_of_place_are_found() {
    let [a, b, c, d, e] = entries().try_into().unwrap();
    assert!(fault(&file([&a, &b, &d, &c, &e])).what.contains("order of clock"));
    assert!(fault(&file([&a, &c, &b])).what.contains("order of clock"));
    let gap = fault(&file([&a, &b, &d, &e]));
    assert!(gap.what.contains("the entry at place 0 of the same log is missing"), "{gap:?}");
    // Names may be made up, so that what is named and not there is shown, and no fault.
    let unnamed = verify(&file([&a, &b, &d])[..]).unwrap().absent;
    assert!(unnamed.len() == 1 && unnamed[0].contains("place 0 in the log of"), "{unnamed:?}");
    assert!(verify(&file([&a, &b, &c, &d, &e])[..]).unwrap().absent.is_empty());
    assert!(fault(&file([&a, &b, &c, &d, &d])).what.contains("twice"));
    assert!(fault(&file([&c])).what.contains("founds the community"));
    assert!(fault(&file([&a, &c])).what.contains("was admitted"), "without the word that let Bob in");
}

// spec: LED-6, NET-2
#[test]
fn who_was_never_admitted_adds_nothing() {
    let (mut alice, [first, second], _) = street();
    let mut stranger = Log::new(9, alice.community);
    let theirs = stranger.write(20, vec![second.tip()], Payload::PeerOnline);
    let after = alice.write(30, vec![], Payload::PeerOnline);
    let found = fault(&file([&first, &second, &theirs, &after]));
    assert!(found.what.contains("was admitted") && found.entry == Some(2), "{found:?}");
    assert!(verify(&file([&first, &second, &after])[..]).is_ok());
}

// spec: LED-3, LED-6
#[test]
fn what_an_expelled_member_said_last_need_not_be_there() {
    let (mut alice, [first, second], mut bob) = street();
    let third = alice.write(12, vec![], admitted(alice.community, 3));
    let mut carol = Log::new(3, alice.community);
    let early = bob.write(20, vec![], Payload::PeerOnline);
    let late = bob.write(21, vec![], Payload::PeerOffline);
    // Carol heard what Alice had not heard when she expelled Bob.
    let named = carol.write(30, vec![late.tip()], Payload::PeerOnline);
    let user = UserKey(key(102).public());
    let expelled = Payload::Expelled { user, tips: vec![early.tip()], why: String::new() };
    let last = alice.write(40, vec![], expelled);
    let found = verify(&file([&first, &second, &third, &early, &named, &last])[..]).unwrap();
    assert_eq!(found.entries, 6);
    let beyond = fault(&file([&first, &second, &third, &early, &late, &named, &last]));
    assert!(beyond.what.contains("does not count this far") && beyond.entry == Some(4), "{beyond:?}");
}

// spec: LED-5, LED-6
#[test]
fn forks_are_found() {
    let (alice, [first, second], mut bob) = street();
    let one = bob.write(20, vec![], Payload::PeerOnline);
    bob.tip = None;
    let other = bob.write(21, vec![], Payload::PeerOffline);
    assert!(fault(&file([&first, &second, &one, &other])).what.contains("forked the log"));
    let proof = ForkProof::of(one.signed(), other.signed()).unwrap();
    let prove = |proof: &ForkProof| {
        let mut alice = Log { key: key(1), community: alice.community, tip: alice.tip };
        let proven = alice.write(30, vec![], Payload::Forked(Box::new(proof.clone())));
        let named = alice.write(40, vec![other.tip()], Payload::PeerOnline);
        (proven, named)
    };
    let (proven, named) = prove(&proof);
    let found = verify(&file([&first, &second, &proven])[..]).unwrap();
    assert_eq!((found.forks.len(), found.forks[0].seq), (1, 0));
    assert!(
        verify(&file([&first, &second, &proven, &named])[..]).is_ok(),
        "the other branch need not be there"
    );
    assert!(fault(&file([&first, &second, &one, &proven])).what.contains("does not count"));
    let mut false_proof = proof;
    false_proof.a.signature = Signature([0; 64]);
    let found = verify(&file([&first, &second, &prove(&false_proof).0])[..]).unwrap();
    assert!(found.uncounted[0].why.contains("proves none") && found.forks.is_empty());
}

// spec: LED-6
#[test]
fn what_is_signed_within_entries_is_checked_too() {
    let (mut alice, [first, second], _) = street();
    let community = alice.community;
    let says = |payload: Payload| Log::new(2, community).write(20, vec![], payload);
    let forged = alice.write(20, vec![], completed(&key(9)));
    let uncounted = |last: &Entry| {
        let found = verify(&file([&first, &second, last])[..]).unwrap();
        assert_eq!(
            (found.uncounted[0].author, found.uncounted[0].seq),
            (last.header().author, last.header().seq)
        );
        found.uncounted[0].why.clone()
    };
    assert!(uncounted(&forged).contains("the statement in it"));
    let mut cert = DeviceCert::of(&key(102), community, &key(7), 500, 0);
    cert.share = 600;
    let device = says(Payload::DeviceAdded(Box::new(DeviceAdded { cert, name: "phone".into() })));
    assert!(uncounted(&device).contains("word for a device"));
    let rotation =
        |by: &SecretKey| Rotation::sign(by, community, UserKey(key(102).public()), &key(99), Hlc(20));
    let rotated = |by: &SecretKey| says(Payload::KeyRotated(Box::new(rotation(by))));
    assert!(verify(&file([&first, &second, &rotated(&key(152))])[..]).is_ok());
    assert!(uncounted(&rotated(&key(102))).contains("recovery key"));
    let theirs = Rotation { consent: Signature([0; 64]), ..rotation(&key(152)) };
    assert!(uncounted(&says(Payload::KeyRotated(Box::new(theirs)))).contains("new key in it did not sign"));
    let elsewhere = Log::new(2, CommunityId([9; 32])).write(20, vec![], Payload::PeerOnline);
    assert!(fault(&file([&first, &second, &elsewhere])).what.contains("another community"));
}

// spec: LED-6
#[test]
fn clocks_rise() {
    let (mut alice, [first, second], mut bob) = street();
    let back = alice.write(11, vec![], Payload::PeerOnline);
    assert!(fault(&file([&first, &second, &back])).what.contains("clock"));
    let early = bob.write(11, vec![second.tip()], Payload::PeerOnline);
    assert!(fault(&file([&first, &second, &early])).what.contains("clock"));
}

// spec: LED-6
#[test]
fn what_was_left_out_is_not_hidden_by_what_need_not_be_there() {
    let (mut alice, [first, second], mut bob) = street();
    let (third, mut carol) = carol(&mut alice);
    let hers = carol.write(20, vec![], Payload::PeerOnline);
    let his = bob.write(21, vec![], Payload::PeerOnline);
    let named = alice.write(30, vec![hers.tip(), his.tip()], Payload::PeerOnline);
    // Of Bob's device nothing counts, so that nobody hands it over.
    let revoked = Revocation::sign(&key(102), alice.community, key(2).public(), None);
    let revoked = alice.write(40, vec![], Payload::KeyRevoked(Box::new(revoked)));
    let absent = verify(&file([&first, &second, &third, &named, &revoked])[..]).unwrap().absent;
    let theirs = format!("place 0 in the log of {}", key(3).public().short());
    assert!(absent.len() == 1 && absent[0].contains(&theirs), "{absent:?}");
    let found = verify(&file([&first, &second, &third, &hers, &named, &revoked])[..]).unwrap();
    assert!(found.absent.is_empty(), "{:?}", found.absent);
}

// spec: LED-6, LED-10
#[test]
fn what_was_witnessed_and_is_left_out_is_shown() {
    let (mut alice, [first, second], mut bob) = street();
    let his = bob.write(20, vec![], Payload::PeerOnline);
    let witnessed = alice.write(30, vec![], Payload::Witnessed { tips: vec![his.tip()] });
    let found = verify(&file([&first, &second, &witnessed])[..]).unwrap();
    assert!(found.absent.len() == 1 && found.absent[0].contains("witnessed"), "{:?}", found.absent);
    assert!(verify(&file([&first, &second, &his, &witnessed])[..]).unwrap().absent.is_empty());
}

// spec: LED-6
#[test]
fn what_is_named_before_it_stands_there_is_there() {
    let (mut alice, [first, second], mut bob) = street();
    let his = bob.write(31, vec![], Payload::PeerOnline);
    let named = alice.write(30, vec![his.tip()], Payload::PeerOnline);
    assert!(verify(&file([&first, &second, &named, &his])[..]).unwrap().absent.is_empty());
}

// spec: LED-6
#[test]
fn who_may_replace_a_key_is_not_changed_by_what_somebody_else_says() {
    let (mut alice, [first, second], mut bob) = street();
    let (third, mut carol) = carol(&mut alice);
    let (community, author) = (alice.community, key(2).public());
    let truly = carol.write(30, vec![], rotation(153, community, 103, 93, 30));
    assert_eq!(uncounted(&[&first, &second, &third, &truly]), []);
    // Bob says that Carol's key is Alice's new one.
    let forged = bob.write(20, vec![], rotation(9, community, 100, 103, 20));
    let why = "it is not signed with the user's recovery key".to_owned();
    assert_eq!(uncounted(&[&first, &second, &third, &forged, &truly]), [(author, 0, why.clone())]);
    // That it is his own new one, to which she agreed, and then that another one has replaced it.
    bob.tip = None;
    let taken = bob.write(20, vec![], rotation(152, community, 102, 103, 20));
    let stolen = bob.write(21, vec![], rotation(152, community, 103, 99, 21));
    let found = uncounted(&[&first, &second, &third, &taken, &stolen, &truly]);
    assert!(found.len() == 2 && found[0].2.starts_with("it replaces no key"), "{found:?}");
    assert_eq!(found[1], (author, 1, why));
    // That she asked to be let in, and gave a recovery key of his.
    bob.tip = None;
    let Payload::Admitted(mut request) = admitted(community, 3) else { panic!() };
    request.recovery = key(152).public();
    let asked = Log { tip: bob.tip, ..Log::new(2, community) }.write(11, vec![], Payload::Admitted(request));
    let mut entries = [&first, &second, &asked, &third, &truly];
    entries[1..3].sort_by_key(|entry| (entry.header().hlc, entry.id()));
    let found = uncounted(&entries);
    assert!(found.len() == 1 && found[0].2.contains("request to join"), "{found:?}");
}

// spec: LED-6
#[test]
fn a_key_that_is_replaced_later_than_it_is_said_ends_the_log_there_and_is_told_once() {
    let (alice, [first, second], mut bob) = street();
    let early = bob.write(20, vec![], rotation(152, alice.community, 102, 99, 21));
    let found = uncounted(&[&first, &second, &early]);
    assert!(found.len() == 1 && found[0].2.contains("for later"), "{found:?}");
}

// spec: CO2-4, LED-6
#[test]
fn nothing_after_what_does_not_count_in_a_log_counts() {
    let (mut alice, [first, second], mut bob) = street();
    let (third, mut carol) = carol(&mut alice);
    let one = carol.write(15, vec![], Payload::PeerOnline);
    carol.tip = None;
    let other = carol.write(16, vec![], Payload::PeerOffline);
    let proof = ForkProof::of(one.signed(), other.signed()).unwrap();
    let used = bob.write(20, vec![], spent());
    let forged = bob.write(21, vec![], completed(&key(9)));
    let more = [spent(), completed(&key(2)), completed(&key(9)), Payload::Forked(Box::new(proof))];
    let more: Vec<Entry> = (22..).zip(more).map(|(hlc, payload)| bob.write(hlc, vec![], payload)).collect();
    let entries = [&first, &second, &third, &one, &used, &forged];
    let found = verify(&file(entries.into_iter().chain(&more))[..]).unwrap();
    let [it] = &found.uncounted[..] else { panic!("{:?}", found.uncounted) };
    assert_eq!((it.author, it.seq, it.after), (key(2).public(), 1, 4));
    assert!(it.why.contains("the statement in it"), "{}", it.why);
    let [carbon] = &found.carbon[..] else { panic!("{:?}", found.carbon) };
    assert_eq!((carbon.by, carbon.attempt), (key(2).public(), 1));
    assert_eq!(found.forks, [], "nobody's log is cut off by what does not count");
}
