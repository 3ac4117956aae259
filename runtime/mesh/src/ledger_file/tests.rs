use super::*;
use mesh_protocol::ids::{Commitment, CommunityId, EntryId, ModuleHash, ProfileId, TaskId};
use mesh_protocol::invite::DeviceCert;
use mesh_protocol::key::{SecretKey, Signature, UserKey};
use mesh_protocol::ledger::{
    Completed, Effect, Entry, ForkProof, Founded, Hlc, Payload, Place, Statement, Tip,
};
use mesh_protocol::rules::Rules;

fn file<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    for entry in entries {
        file.extend_from_slice(&(entry.bytes().len() as u32).to_le_bytes());
        file.extend_from_slice(entry.bytes());
    }
    file
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
        cert: DeviceCert::sign(&user, CommunityId::ZERO, key(1).public(), 1000, 0),
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
        energy_mj: 0,
        estimated: false,
        output: Commitment([4; 32]),
        receipt: Commitment([5; 32]),
    };
    let signature = statement.sign(signer);
    Payload::Completed(Box::new(Completed { statement, signature, effect: Effect::Done }))
}

/// Two logs that name each other.
fn entries() -> Vec<Entry> {
    let mut alice = Log::new(1, CommunityId::ZERO);
    let first = alice.write(10, vec![], founded());
    let mut bob = Log::new(2, alice.community);
    let second = bob.write(20, vec![first.tip()], Payload::PeerOnline);
    let third = alice.write(30, vec![second.tip()], completed(&key(2)));
    let fourth = bob.write(40, vec![third.tip()], Payload::PeerOffline);
    vec![first, second, third, fourth]
}

// spec: LED-6
#[test]
fn a_sound_file_is_found_sound() {
    let entries = entries();
    let found = verify(&file(&entries)[..]).unwrap();
    assert_eq!((found.entries, found.logs, found.name.as_str()), (4, 2, "Elm Street"));
    assert_eq!(found.community, Some(CommunityId(entries[0].id().0)));
    assert_eq!(found.bytes, file(&entries).len() as u64);
    assert_eq!(verify(MAGIC).unwrap().entries, 0);
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
                None => assert_eq!((fault.at, fault.entry), (index as u64, None)),
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
fn a_file_that_is_cut_off_within_an_entry_is_found_so() {
    let entries = entries();
    let good = file(&entries);
    let ends: Vec<usize> = (0..=entries.len()).map(|count| file(&entries[..count]).len()).collect();
    for len in 0..good.len() {
        match verify(&good[..len]) {
            Ok(found) => {
                assert!(ends.contains(&len), "{len}");
                assert_eq!(found.bytes, len as u64);
            }
            Err(Trouble::Bad(fault)) => {
                assert!(fault.at <= len as u64 && !ends.contains(&len), "{len}: {fault:?}");
            }
            Err(Trouble::Read(error)) => panic!("{error}"),
        }
    }
}

// spec: LED-6
#[test]
fn entries_out_of_place_are_found() {
    let [a, b, c, d] = entries().try_into().unwrap();
    assert!(fault(&file([&a, &c, &b, &d])).what.contains("which is missing before it"));
    assert!(fault(&file([&a, &b, &d])).what.contains("names place 1"));
    assert!(fault(&file([&a, &c, &d])).what.contains("names place 0"));
    assert!(fault(&file([&a, &b, &c, &c])).what.contains("twice"));
    assert!(fault(&file([&b, &c])).what.contains("names place 0"));
    let mut other = Log::new(1, CommunityId::ZERO);
    other.write(1, vec![], founded());
    let gap = {
        other.write(2, vec![], Payload::PeerOnline);
        other.write(3, vec![], Payload::PeerOffline)
    };
    assert!(fault(&file([&gap])).what.contains("place 0 of the same log is missing"));

    let mut alice = Log::new(1, CommunityId::ZERO);
    let first = alice.write(10, vec![], founded());
    let mut bob = Log::new(2, alice.community);
    let (late, early) =
        (bob.write(30, vec![], Payload::PeerOnline), alice.write(20, vec![], Payload::PeerOnline));
    assert!(fault(&file([&first, &late, &early])).what.contains("order of clock"));
}

// spec: LED-5, LED-6
#[test]
fn forks_are_found() {
    let mut alice = Log::new(1, CommunityId::ZERO);
    let first = alice.write(10, vec![], founded());
    let (tip, community) = (alice.tip, alice.community);
    let one = alice.write(20, vec![], Payload::PeerOnline);
    alice.tip = tip;
    let other = alice.write(21, vec![], Payload::PeerOffline);
    assert!(fault(&file([&first, &one, &other])).what.contains("forked the log"));
    let proof = ForkProof::of(one.signed(), other.signed()).unwrap();
    let mut bob = Log::new(2, community);
    let proven = bob.write(30, vec![], Payload::Forked(Box::new(proof.clone())));
    let found = verify(&file([&first, &one, &proven])[..]).unwrap();
    assert_eq!((found.forks.len(), found.forks[0].seq), (1, 1));
    let named = bob.write(40, vec![other.tip()], Payload::PeerOnline);
    assert!(fault(&file([&first, &one, &proven, &named])).what.contains("forked"));
    let mut false_proof = proof;
    false_proof.a.signature = Signature([0; 64]);
    let lie = Log::new(3, community).write(50, vec![], Payload::Forked(Box::new(false_proof)));
    assert!(fault(&file([&first, &one, &proven, &lie])).what.contains("proves none"));
}

// spec: LED-6
#[test]
fn what_is_signed_within_entries_is_checked_too() {
    let mut alice = Log::new(1, CommunityId::ZERO);
    let first = alice.write(10, vec![], founded());
    let community = alice.community;
    let forged = alice.write(20, vec![], completed(&key(9)));
    assert!(fault(&file([&first, &forged])).what.contains("the statement in it"));
    let mut cert = DeviceCert::sign(&key(100), community, key(7).public(), 500, 0);
    cert.share = 600;
    let device = Log::new(2, community).write(20, vec![], Payload::DeviceAdded(cert));
    assert!(fault(&file([&first, &device])).what.contains("word for a device"));
    let (user, new) = (UserKey(key(100).public()), UserKey(key(102).public()));
    let rotated = |by: &SecretKey| {
        let signature = by.sign(mesh_protocol::key::Domain::Rotation, &[user.0.0, new.0.0].concat());
        Log::new(2, community).write(20, vec![], Payload::KeyRotated { user, new, signature })
    };
    assert!(verify(&file([&first, &rotated(&key(101))])[..]).is_ok());
    assert!(fault(&file([&first, &rotated(&key(100))])).what.contains("recovery key"));
    let stranger = Log::new(5, CommunityId([9; 32])).write(20, vec![], Payload::PeerOnline);
    assert!(fault(&file([&first, &stranger])).what.contains("another community"));
}

// spec: LED-6
#[test]
fn clocks_rise() {
    let mut alice = Log::new(1, CommunityId::ZERO);
    let first = alice.write(10, vec![], founded());
    let back = alice.write(10, vec![], Payload::PeerOnline);
    assert!(fault(&file([&first, &back])).what.contains("clock"));
    let mut bob = Log::new(2, alice.community);
    let early = bob.write(10, vec![first.tip()], Payload::PeerOnline);
    assert!(fault(&file([&first, &early])).what.contains("clock"));
}
