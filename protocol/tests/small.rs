//! The small functions that everything else goes by: units, sets, names, what a number of bytes comes to.

use mesh_protocol::canonical;
use mesh_protocol::checkpoint::largest;
use mesh_protocol::energy::source_name;
use mesh_protocol::factors::Factors;
use mesh_protocol::ids::{InputHash, TaskId};
use mesh_protocol::key::{Domain, SecretKey, UserKey};
use mesh_protocol::ledger::Saved;
use mesh_protocol::limits::Limits;
use mesh_protocol::manifest::{Manifest, parse_size};
use mesh_protocol::permissions::{Access, Names, Permissions};
use mesh_protocol::reason::Reason;
use mesh_protocol::rules::Rules;

use mesh_protocol::ad::Source;

// spec: SBX-2
#[test]
fn sizes_are_read_in_units_of_ten_and_of_two() {
    for (text, bytes) in [
        ("7", 7),
        ("7B", 7),
        ("7kB", 7_000),
        ("7KB", 7_000),
        ("7MB", 7_000_000),
        ("7GB", 7_000_000_000),
        ("7KiB", 7 << 10),
        ("7MiB", 7 << 20),
        ("7GiB", 7 << 30),
        ("7 MB", 7_000_000),
    ] {
        assert_eq!(parse_size(text), Some(bytes), "{text}");
    }
    for wrong in ["", "MB", "7TB", "7mb", "-7", "7.5MB", "99999999999GB"] {
        assert_eq!(parse_size(wrong), None, "{wrong}");
    }
}

// spec: SBX-2
#[test]
fn what_carries_no_manifest_asks_for_its_inputs_and_environment_alone() {
    let plain = Manifest::plain();
    assert_eq!(plain.limits.checkpoint_bytes, 16_000_000);
    assert_eq!(plain.limits, Limits { checkpoint_bytes: 16_000_000, ..Limits::default() });
    let asked = Permissions { inputs: Names::Any, env: Names::Any, ..Permissions::default() };
    assert_eq!(plain.permissions, asked);
}

// spec: SBX-10
#[test]
fn what_is_left_of_two_permissions_is_what_both_allow() {
    let only = |names: &[&str]| Names::Only(names.iter().map(|name| (*name).to_owned()).collect());
    assert!(Names::Any.contains("a") && only(&["a", "b"]).contains("a") && !only(&["b"]).contains("a"));
    let asked = Permissions {
        inputs: only(&["a", "b"]),
        shares: [("logs".to_owned(), Access::Rw), ("music".to_owned(), Access::Ro)].into(),
        env: Names::Any,
        real_clock: true,
        real_random: true,
        http: ["a.example".to_owned()].into(),
    };
    let given = Permissions {
        inputs: only(&["b", "c"]),
        shares: [("logs".to_owned(), Access::Ro)].into(),
        env: only(&["LANG"]),
        real_clock: true,
        ..Permissions::default()
    };
    let left = Permissions {
        inputs: only(&["b"]),
        shares: [("logs".to_owned(), Access::Ro)].into(),
        env: only(&["LANG"]),
        real_clock: true,
        ..Permissions::default()
    };
    assert_eq!((asked.narrow(&given), given.narrow(&asked)), (left.clone(), left.clone()));
    assert!(left.within(&asked) && left.within(&given) && asked.within(&asked));
    assert!(!asked.within(&given) && !given.within(&asked));
}

// spec: NET-1
#[test]
fn keys_are_told_by_their_hex_and_secrets_not_at_all() {
    let secret = SecretKey::from_seed(&[7; 32]);
    let key = secret.public();
    let hex: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let first = &hex[..10];
    assert_eq!((key.to_string(), UserKey(key).to_string()), (hex.clone(), hex.clone()));
    assert_eq!((key.short().as_str(), secret.seed()), (first, [7; 32]));
    assert_eq!(format!("{key:?}, {:?}", UserKey(key)), format!("PublicKey({first}), UserKey({first})"));
    assert_eq!(format!("{secret:?}"), format!("SecretKey(of PublicKey({first}))"));
    let signature = secret.sign(Domain::Revocation, b"x");
    let told = format!("{signature:?}");
    assert!(told.starts_with("Signature(") && told.len() < 25, "{told}");
}

// spec: EN-1, CO2-1
#[test]
fn sources_have_their_names_and_their_renewable_part_its_grams() {
    let all = [Source::Solar, Source::Wind, Source::Hydro, Source::Battery, Source::Grid];
    assert_eq!(all.map(source_name), ["solar", "wind", "hydro", "battery", "grid"]);
    let grams = all.map(|source| Factors::default().renewable(source));
    assert_eq!(grams[3], grams[4], "of no one kind");
    assert!(grams.iter().all(|grams| (2..100).contains(grams)), "{grams:?}");
    assert!(grams[0] > grams[1] && Factors::default().unknown() > 10 * grams[0]);
}

// spec: DEL-5, SBX-16
#[test]
fn a_checkpoint_has_room_for_what_is_saved_and_said_and_for_its_names() {
    let none = Limits { checkpoint_bytes: 0, ..Limits::default() };
    assert_eq!(largest(&none), 0);
    let (out_bytes, stdout_bytes, stderr_bytes) = (20, 30, 40);
    let some = Limits { checkpoint_bytes: 10, out_bytes, stdout_bytes, stderr_bytes, out_files: 2, ..none };
    assert_eq!(largest(&some), 10 + 20 + 30 + 40 + 3 * 10_000);
}

#[test]
fn what_is_appended_stands_behind_what_is_there() {
    assert_eq!(canonical::append(&(1_u8, "a"), vec![9, 8]), [9, 8, 1, 1, b'a']);
}

// spec: VOTE-2
#[test]
fn a_proposal_changes_what_it_was_made_to_change_and_nothing_else() {
    let base = Rules::default();
    let now = Rules { quorum: base.quorum + 1, max_overtaken: base.max_overtaken + 1, ..base.clone() };
    let proposed = Rules { max_overtaken: base.max_overtaken + 2, ..base.clone() };
    let expected = Rules { max_overtaken: base.max_overtaken + 2, ..now.clone() };
    assert_eq!(proposed.applied(&base, &now), expected);
}

// spec: CO2-1
#[test]
fn what_was_saved_is_the_sum_of_its_parts() {
    let saved = Saved { when_ug: 1_000, where_ug: 200, hardware_ug: -30, overhead_ug: -4 };
    assert_eq!(saved.total_ug(), 1_166);
    assert_eq!(Saved { when_ug: i64::MAX, ..saved }.total_ug(), i64::MAX - 34);
}

// spec: SBX-13
#[test]
fn what_is_random_follows_from_the_task_and_its_input() {
    let seed = |task: u8, input: u8| TaskId([task; 32]).random_seed(&InputHash([input; 32]));
    assert_eq!(seed(1, 2), seed(1, 2));
    assert!(seed(1, 2) != seed(2, 2) && seed(1, 2) != seed(1, 1));
}

// spec: NET-4
#[test]
fn of_long_words_the_beginning_stays_and_short_ones_stay_whole() {
    for (length, kept) in [(39, 39), (40, 40), (41, 43), (280, 43)] {
        let mut reason = Reason::Inadmissible("a".repeat(length));
        reason.shorten();
        let Reason::Inadmissible(words) = reason else { panic!("another reason") };
        assert_eq!((words.len(), words.ends_with('…')), (kept, length > 40));
    }
}
