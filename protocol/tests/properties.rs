//! What holds of whatever bytes, keys and names somebody comes up with.
// spec: ARC-7, LED-1, LED-5, NET-1, NET-2

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod samples;

use mesh_protocol::ad::SignedAd;
use mesh_protocol::canonical;
use mesh_protocol::frame::{Frame, HelloFrame, SyncFrame, TaskFrame};
use mesh_protocol::ids::{Commitment, CommunityId, EntryId};
use mesh_protocol::invite::{DeviceCert, DeviceRequest, JoinRequest, Ticket, TicketError};
use mesh_protocol::key::{Domain, PublicKey, SecretKey, Signature, UserKey};
use mesh_protocol::ledger::{
    Entry, ForkProof, Hlc, Pattern, Payload, Place, Revocation, Rotation, SignedHeader, Statement,
    check_new_name, is_name,
};
use mesh_protocol::rules::{Rules, Tier};
use mesh_protocol::task::SignedTask;
use proptest::prelude::*;
use samples::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Is no change of a single bit taken for the real thing?
fn every_flip_is_refused<T: Serialize + DeserializeOwned>(value: &T, holds: impl Fn(&T) -> bool) {
    assert!(holds(value));
    let mut bytes = canonical::encode(value);
    for at in 0..bytes.len() * 8 {
        bytes[at / 8] ^= 1 << (at % 8);
        let taken = canonical::decode::<T>(&bytes).is_ok_and(|changed| holds(&changed));
        assert!(!taken, "byte {} bit {}", at / 8, at % 8);
        bytes[at / 8] ^= 1 << (at % 8);
    }
}

fn join() -> JoinRequest {
    let mut request = join_request();
    request.user = UserKey(key(1).public());
    request.cert = DeviceCert::of(&key(1), COMMUNITY, &key(2), 1000, 0);
    request.sign(&key(1), &key(3))
}

// spec: LED-1, NET-1, NET-2
#[test]
fn no_changed_bit_of_anything_signed_is_taken() {
    every_flip_is_refused(&DeviceCert::of(&key(1), COMMUNITY, &key(2), 500, 1), DeviceCert::verify);
    every_flip_is_refused(&join(), |request| request.verify(&COMMUNITY));
    every_flip_is_refused(
        &DeviceRequest::sign("pc".into(), DEVICE, SIGNATURE, &key(3)),
        DeviceRequest::verify,
    );
    let mut ad = ad();
    ad.device = key(2).public();
    every_flip_is_refused(&ad.sign(&key(2)), SignedAd::verify);
    let mut spec = spec();
    spec.submitter = key(2).public();
    every_flip_is_refused(&spec.sign(&key(2)), SignedTask::verify);
    let mut statement = statement();
    statement.executor = key(2).public();
    let signature = statement.sign(&key(2));
    every_flip_is_refused(&(statement, signature), |(statement, signature): &(Statement, Signature)| {
        statement.verify(signature)
    });
    let proof = ForkProof::of(branch(1).signed(), branch(2).signed()).unwrap();
    every_flip_is_refused(&proof, |proof| proof.verify().is_some());
}

// spec: LED-1
#[test]
fn no_changed_bit_of_an_entry_is_taken() {
    for payload in [Payload::PeerOnline, payloads().swap_remove(1), payloads().swap_remove(16)] {
        let entry = entry(1, 3, payload);
        let mut bytes = entry.bytes().to_vec();
        for at in 0..bytes.len() * 8 {
            bytes[at / 8] ^= 1 << (at % 8);
            assert!(Entry::verify(&bytes).is_err(), "byte {} bit {}", at / 8, at % 8);
            bytes[at / 8] ^= 1 << (at % 8);
        }
        assert_eq!(Entry::verify(&bytes).unwrap(), entry);
    }
}

// spec: NET-2
#[test]
fn no_mistyped_ticket_is_taken() {
    let text = ticket().to_string();
    for at in 0..text.len() * 8 {
        let mut bytes = text.clone().into_bytes();
        bytes[at / 8] ^= 1 << (at % 8);
        if let Ok(changed) = String::from_utf8(bytes) {
            let expected = if at < 5 * 8 { TicketError::NotATicket } else { TicketError::Damaged };
            assert!(changed.parse::<Ticket>().is_err_and(|error| error == expected), "{changed}");
        }
    }
    assert!(text[..text.len() - 2].parse::<Ticket>().is_err_and(|error| error == TicketError::Damaged));
    assert!(format!(" {text}\n").parse::<Ticket>().unwrap() == ticket());
    assert!(!format!("{:?}", ticket()).contains("a8a8"), "a ticket's secret is not printed");
}

// spec: NET-2
#[test]
fn a_request_to_join_is_for_one_user_one_device_one_community_and_one_ticket() {
    let request = join();
    assert!(request.verify(&COMMUNITY));
    assert!(!request.verify(&CommunityId([1; 32])));
    let mut other = join_request();
    other.user = UserKey(key(9).public());
    other.cert = request.cert.clone();
    assert!(!other.sign(&key(9), &key(3)).verify(&COMMUNITY), "another user's device");
    let elsewhere = DeviceCert::of(&key(1), CommunityId([1; 32]), &key(2), 1000, 0);
    assert!(!JoinRequest { cert: elsewhere, ..request.clone() }.sign(&key(1), &key(3)).verify(&COMMUNITY));
    let unsaid = JoinRequest { recovery: key(5).public(), ..request.clone() }.sign(&key(5), &key(3));
    assert!(!unsaid.verify(&COMMUNITY), "a recovery key that the user did not name");
    let mut stolen = request;
    stolen.invite = key(4).public();
    assert!(!stolen.verify(&COMMUNITY), "another ticket");
    // What a ticket's key signs for a member says nothing for a device.
    let device = DeviceRequest::sign("pc".into(), DEVICE, SIGNATURE, &key(3));
    let message = canonical::encode(&(&device.device_name, &device.device, &device.consent, &device.invite));
    assert!(device.invite.verify(Domain::Invite, &message, &device.signature).is_err());
}

// spec: NET-1
#[test]
fn a_rotation_and_a_revocation_are_for_one_community_and_one_key() {
    let rotation = Rotation::sign(&key(3), COMMUNITY, UserKey(key(1).public()), &key(2), Hlc(5));
    every_flip_is_refused(&rotation, |rotation| rotation.verify(&key(3).public()));
    // Whose key it is not cannot agree for it, and what one key signs is not what the other has to.
    let mut theirs = rotation.clone();
    theirs.new = UserKey(key(4).public());
    assert!(!theirs.is_agreed() && !theirs.verify(&key(3).public()));
    let mut turned = Rotation::sign(&key(2), COMMUNITY, rotation.user, &key(2), Hlc(5));
    turned.consent = turned.signature;
    assert!(!turned.is_agreed());
    every_flip_is_refused(&Revocation::sign(&key(1), COMMUNITY, DEVICE, Some(TIP)), Revocation::verify);
}

fn place(seq: u64, hlc: u64) -> Place {
    let prev = if seq == 0 { EntryId::ZERO } else { ENTRY };
    Place { community: COMMUNITY, seq, prev, refs: vec![], hlc: Hlc(hlc) }
}

fn branch(hlc: u64) -> Entry {
    Entry::write(&key(1), place(3, hlc), Payload::PeerOnline)
}

// spec: LED-5
#[test]
fn two_entries_at_one_place_prove_a_fork_and_nothing_else_does() {
    let (a, b) = (branch(1), branch(2));
    let proof = ForkProof::of(a.signed(), b.signed()).unwrap();
    assert_eq!(ForkProof::of(b.signed(), a.signed()).unwrap(), proof, "whoever makes it makes the same");
    assert_eq!(proof.verify(), Some((key(1).public(), 3)));
    assert!(ForkProof::of(a.signed(), a.signed()).is_none(), "the same entry");
    let other_place = Entry::write(&key(1), place(4, 2), Payload::PeerOnline);
    assert!(ForkProof::of(a.signed(), other_place.signed()).is_none());
    let other_author = Entry::write(&key(2), place(3, 2), Payload::PeerOnline);
    assert!(ForkProof::of(a.signed(), other_author.signed()).is_none());
    let elsewhere = Place { community: CommunityId([1; 32]), ..place(3, 2) };
    let elsewhere = Entry::write(&key(1), elsewhere, Payload::PeerOnline);
    assert!(ForkProof::of(a.signed(), elsewhere.signed()).is_none(), "one device in two communities");
    let unsigned = SignedHeader { signature: Signature([0; 64]), ..b.signed().clone() };
    assert!(ForkProof::of(a.signed(), &unsigned).unwrap().verify().is_none(), "nobody signed one of them");
    let turned = ForkProof { a: proof.b, b: proof.a };
    assert!(turned.verify().is_none(), "one proof has one spelling");
    // Two foundings are two communities, and a founding and another first entry of its community are a fork.
    let found = |hlc| {
        let place = Place { community: CommunityId::ZERO, ..place(0, hlc) };
        Entry::write(&key(1), place, payloads().swap_remove(0))
    };
    let (one, two) = (found(1), found(2));
    assert!(ForkProof::of(one.signed(), two.signed()).is_none());
    let within = Place { community: one.header().belongs_to(), ..place(0, 2) };
    let within = Entry::write(&key(1), within, Payload::PeerOnline);
    assert!(ForkProof::of(one.signed(), within.signed()).unwrap().verify().is_some());
}

// spec: ARC-7
#[test]
fn names_are_short_plain_and_not_deceptive() {
    for good in ["a", "Elm Street", "Grüße 世界 🌞", &"x".repeat(64)] {
        assert!(is_name(good), "{good:?}");
    }
    let bad =
        ["", " a", "a ", "a\nb", "a\0", "\u{202e}a", "a\u{200f}b", "a\u{2066}b", "a\u{061c}b", "a\u{2028}b"];
    for bad in bad.into_iter().chain([&"x".repeat(65)[..], "\u{feff}a", "a\u{9b}b"]) {
        assert!(!is_name(bad), "{bad:?}");
    }
}

// spec: NET-2
#[test]
fn nobody_is_newly_named_like_a_key_or_like_somebody_else_to_the_eye() {
    for good in
        ["a", "Elm Street", "Grüße 世界 🌞", "👨\u{200d}👩", "facade", "0123456", "deadbeef-pi", "dead beef"]
    {
        assert_eq!(check_new_name(good), Ok(()), "{good:?}");
    }
    let hidden = [
        "bo\u{200b}b",
        "bo\u{ad}b",
        "bob\u{e0041}",
        "bo\u{a0}b",
        "bob\u{e001}",
        "bo\u{200d}b",
        "bob\u{3164}",
    ];
    for bad in hidden.into_iter().chain(["deadbeef", "12345678", &"Ab".repeat(32), "-x", "--help", "", " a"])
    {
        assert!(check_new_name(bad).is_err(), "{bad:?}");
        // What somebody wrote into a ledger before is still read.
        assert!(is_name(bad) || bad.trim() != bad || bad.is_empty(), "{bad:?}");
    }
}

// spec: PERM-1
#[test]
fn a_pattern_is_a_name_or_the_beginning_of_one() {
    let matches = |pattern: &str, name: &str| Pattern::new(pattern).unwrap().matches(name);
    assert!(matches("*", "anything") && matches("word-*", "word-count") && matches("word-*", "word-"));
    assert!(matches("word-count", "word-count") && !matches("word-count", "word-counts"));
    assert!(!matches("word-*", "word") && !matches("word-count", "word"));
    for bad in ["", "**", "a*b", "*a", "A", "a b", "a/b", "ä", "a\0", &"x".repeat(65)] {
        assert!(Pattern::new(bad).is_err(), "{bad:?}");
    }
    assert_eq!(Pattern::new("a-1*").unwrap().to_string(), "a-1*");
}

// spec: ARC-7
#[test]
fn every_rule_has_a_range_and_is_refused_beyond_it() {
    const DAY: u64 = 86_400_000;
    macro_rules! range {
        ($($rule:ident $low:expr, $high:expr;)*) => {$(
            let check = |value: u64| Rules { $rule: value.try_into().unwrap(), ..Rules::default() }.check();
            assert_eq!((check($low), check($high)), (Ok(()), Ok(())), stringify!($rule));
            assert!(check($high + 1).is_err(), stringify!($rule));
            if $low > 0 {
                assert!(check($low - 1).is_err(), stringify!($rule));
            }
        )*
            // A rule without a range would be missing above.
            let Rules { $($rule: _,)* voting_method: _, free: _, supporter: _, contributor: _, health_words: _, treasurers: _ } =
                Rules::default();
        };
    }
    assert_eq!(Rules::default().check(), Ok(()));
    range! {
        voting_window_ms 0, 7 * DAY;
        consensus_percent 50, 100;
        quorum 0, 1000;
        vote_after_ms 0, 365 * DAY;
        max_overtaken 1, 1000;
        perfect_energy_percent 0, 100;
        clean_g_per_kwh 0, 2000;
        clean_renewable_percent 0, 100;
        health_extra 0, 1000;
        max_skew_ms 1000, 3_600_000;
        suspect_after_ms 500, 3_600_000;
        lease_grace_ms 0, 7 * DAY;
        max_attempts 1, 100;
        retain_result_ms 60_000, 90 * DAY;
        spot_check_percent 1, 100;
        fuel_per_second 1_000_000, 1_000_000_000_000;
        entries_per_hour 0, 100_000_000;
        ads_per_minute 1, 600;
        sponsors 1, 3;
    }
}

// spec: ARC-7, QUOTA-1, HEALTH-3
#[test]
fn tiers_and_words_have_ranges_and_all_rules_fit_into_an_entry() {
    let tier = |tier: Tier| {
        let rules = [
            Rules { free: tier, ..Rules::default() },
            Rules { supporter: tier, ..Rules::default() },
            Rules { contributor: tier, ..Rules::default() },
        ];
        let fits: Vec<bool> = rules.iter().map(|rules| rules.check().is_ok()).collect();
        assert!(fits.iter().all(|fit| *fit == fits[0]));
        fits[0]
    };
    let free = Rules::default().free;
    for (tasks, longest_ms, memory_bytes, fits) in [
        (0, 1, 65_536, true),
        (1_000_000, 28 * 86_400_000, 1 << 32, true),
        (1_000_001, 1, 65_536, false),
        (0, 0, 65_536, false),
        (0, 28 * 86_400_000 + 1, 65_536, false),
        (0, 1, 65_535, false),
        (0, 1, (1 << 32) + 1, false),
    ] {
        assert_eq!(
            tier(Tier { tasks, longest_ms, memory_bytes }),
            fits,
            "{tasks} {longest_ms} {memory_bytes}"
        );
    }
    assert_eq!((free.tasks, free.longest_ms, free.memory_bytes), (10, 600_000, 100_000_000));
    let words = |words: &[&str]| {
        Rules { health_words: words.iter().map(|word| (*word).to_owned()).collect(), ..Rules::default() }
            .check()
            .is_ok()
    };
    let long = "x".repeat(32);
    assert!(words(&[]) && words(&["power-grid", "h5", &long]));
    assert!(!words(&["Fire"]) && !words(&["a"]) && !words(&["two words"]) && !words(&[&"x".repeat(33)]));
    let most = Rules {
        health_words: vec![long; 64],
        treasurers: vec![UserKey(PublicKey([7; 32])); 8],
        ..Rules::default()
    };
    assert_eq!(most.check(), Ok(()));
    let why = "w".repeat(mesh_protocol::ledger::MAX_TEXT);
    let payload = Payload::RulesProposed { rules: Box::new(most.clone()), why };
    assert!(canonical::encode(&payload).len() <= mesh_protocol::ledger::MAX_PAYLOAD);
    assert!(Rules { health_words: vec!["fire".into(); 65], ..most.clone() }.check().is_err());
    assert!(Rules { treasurers: vec![UserKey(PublicKey([7; 32])); 9], ..most }.check().is_err());
}

// spec: LED-1
#[test]
fn the_clock_never_stands_still_nor_goes_back() {
    let mut clock = Hlc::default();
    for wall_ms in [5, 5, 4, 6, 0, u64::MAX, 7, u64::MAX] {
        let next = clock.next(wall_ms);
        assert!(next > clock || clock == Hlc(u64::MAX), "{clock:?} {wall_ms}");
        assert!(next.wall_ms() >= wall_ms.min(u64::MAX >> 16));
        clock = next;
    }
    assert_eq!(Hlc::at(7).wall_ms(), 7);
}

fn same<F: Frame>(bytes: &[u8]) {
    if let Ok(frame) = F::decode(bytes) {
        assert_eq!(frame.encode(), bytes);
    }
}

proptest! {
    // spec: ARC-7
    #[test]
    fn no_bytes_panic_any_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(Entry::verify(&bytes).is_err());
        let _any = Entry::trusted(&bytes);
        same::<HelloFrame>(&bytes);
        same::<SyncFrame>(&bytes);
        same::<TaskFrame>(&bytes);
        let _any = String::from_utf8_lossy(&bytes).parse::<Ticket>();
        let _any = canonical::decode::<Payload>(&bytes).map(|payload| payload.check());
        let _any = canonical::decode::<SignedTask>(&bytes).map(|task| (task.spec.check(), task.spec.id()));
        let _any = canonical::decode::<ForkProof>(&bytes).map(|proof| proof.verify());
    }

    // spec: NET-2
    #[test]
    fn no_text_panics_the_reader_of_tickets(text in "(mesh1)?[0-9a-fé]{0,400}") {
        prop_assert!(text.parse::<Ticket>().is_err());
    }

    // spec: PERM-1
    #[test]
    fn a_pattern_matches_what_begins_like_it(stem in "[a-z0-9-]{0,8}", rest in "[a-z0-9-]{0,8}", star: bool) {
        let text = if star { format!("{stem}*") } else { stem.clone() };
        match Pattern::new(&text) {
            Err(_) => prop_assert!(text.is_empty()),
            Ok(pattern) => {
                prop_assert!(pattern.matches(&stem));
                prop_assert_eq!(pattern.matches(&format!("{stem}{rest}")), star || rest.is_empty());
            }
        }
    }

    // spec: LED-2
    #[test]
    fn a_commitment_is_to_one_content_under_one_salt(a: Vec<u8>, b: Vec<u8>, salt: [u8; 32], other: [u8; 32]) {
        prop_assert_eq!(Commitment::new(&salt, &a) == Commitment::new(&salt, &b), a == b);
        prop_assert_eq!(Commitment::new(&salt, &a) == Commitment::new(&other, &a), salt == other);
        prop_assert_ne!(Commitment::new(&salt, &a).0, *blake3::hash(&a).as_bytes());
    }

    // spec: LED-5
    #[test]
    fn a_fork_is_proven_exactly_where_there_is_one(
        x in (1u8..3, 1u64..3, 1u64..4), y in (1u8..3, 1u64..3, 1u64..4),
    ) {
        let write = |(author, seq, hlc): (u8, u64, u64)| {
            Entry::write(&SecretKey::from_seed(&[author; 32]), place(seq, hlc), Payload::PeerOnline)
        };
        let proof = ForkProof::of(write(x).signed(), write(y).signed());
        let forked = (x.0, x.1) == (y.0, y.1) && x.2 != y.2;
        prop_assert_eq!(proof.is_some(), forked);
        if let Some(proof) = proof {
            prop_assert_eq!(proof.verify(), Some((key(x.0).public(), x.1)));
        }
    }
}
