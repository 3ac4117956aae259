//! Every frame and every kind of entry as its bytes, so that no change of a format goes unseen.
// spec: ARC-6, LED-1, LED-2, NET-1, NET-2

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod samples;

use mesh_protocol::ad::{SignedAd, Source};
use mesh_protocol::canonical::{self, DecodeError};
use mesh_protocol::frame::{Frame, FrameError, JoinRefusal, MAX_FRAME, Phase};
use mesh_protocol::ids::to_hex;
use mesh_protocol::invite::{Ticket, TicketKind};
use mesh_protocol::ledger::{Effect, Entry, EntryError, KINDS, MAX_ENTRY, Payload};
use mesh_protocol::reason::Reason;
use mesh_protocol::record::Table;
use mesh_protocol::rules::VotingMethod;
use mesh_protocol::task::{Importance, SignedTask, Sla};
use samples::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt::Debug;

/// Hex in which 32 equal bytes, as ids and keys are here, are one `<byte>`. A signature is two such.
fn short(mut bytes: &[u8]) -> String {
    let mut text = String::new();
    while let Some((&first, rest)) = bytes.split_first() {
        match bytes.split_first_chunk::<32>() {
            Some((id, after)) if id.iter().all(|byte| *byte == first) => {
                text.push_str(&format!("<{first:02x}>"));
                bytes = after;
            }
            _ => {
                text.push_str(&to_hex(&[first]));
                bytes = rest;
            }
        }
    }
    text
}

fn same(got: &[String], expected: &[&str]) {
    assert_eq!(got, expected, "\n{}", got.iter().map(|hex| format!("\"{hex}\",\n")).collect::<String>());
}

/// Is this the number of no variant? A known one would be read, or miss its end; the zeros are there for what it holds.
fn is_unknown<T: Serialize + DeserializeOwned>(number: usize) -> bool {
    let bytes = [&[number as u8][..], &[0; 600]].concat();
    matches!(canonical::decode::<T>(&bytes), Err(DecodeError::Shape(_)))
}

/// The bytes of a value, which must give the value again.
fn hex<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> String {
    let bytes = canonical::encode(value);
    assert_eq!(canonical::decode::<T>(&bytes).unwrap(), *value);
    short(&bytes)
}

fn all<T: Serialize + DeserializeOwned + PartialEq + Debug>(values: &[T]) -> Vec<String> {
    values.iter().map(hex).collect()
}

const PAYLOADS: [(&str, &str); 32] = [
    (
        "community founded",
        concat!(
            "0003456c6de0a7123c01008088b2a002145f96013c0ac0a9079875c0cf24058088b2a0020580c8afa025d80404",
            "020ac0cf2480c2d72f32c0ee6d80cab5ee01c80180dddb0180a8d6b90713066865616c7468076d65646963616c08",
            "686f73706974616c09656d657267656e637909616d62756c616e636504647275670776616363696e65066f7879",
            "67656e08736563757269747906706f6c6963650466697265067265736375650668617a6d6174076e75636c6561",
            "720a706f7765722d67726964057761746572067365776167650870616e64656d696308646973617374657200<b",
            "0>02616c<b1>027063<c0><b0><d0>e80702<f5><f5><f6><f6>",
        ),
    ),
    ("member admitted", "01<b0>02626f<b1>027063<c0><b0><d0>e80702<f5><f5><f6><f6><d1><f7><f7><f5><f5>"),
    ("expelled", "02<b0>01<d0>05<e0>03776879"),
    ("device added", "03<c0><b0><d0>e80702<f5><f5><f6><f6>027063"),
    ("peer registered", "04027063016819<a3>0107736563636f6d7002"),
    ("peer online", "05"),
    ("peer offline", "06"),
    ("grant", "07<d0><b0>06776f72642d2a01<a2>01070100000100010000"),
    ("revoke", "08<e0>"),
    ("task submitted", "09<a1>0a776f72642d636f756e74<a2><a6>e807808004040001"),
    ("vote", "0a<a1>0403776879"),
    ("consensus", "0b<a1>010101<e0>"),
    ("delegated", "0c<a1>02<d0>01<e0>"),
    ("accepted", "0d<a1>02"),
    ("refused", "0e<a1>02070468747470"),
    ("vetoed", "0f<a1>0203776879"),
    (
        "completed",
        "10<a1>01<d0><a2><a3>000a01141e28022800023c1e32010428c203010101046874747002444501<d0>0102<f5><f5>5a1e320000<a6><a7>01<f5><f5>01",
    ),
    ("failed", "11<a1>051c05"),
    ("cancelled", "12<a1>"),
    ("contribution", "13<b0>05686f7572735af3ae0c"),
    (
        "rules proposed",
        concat!(
            "14e0a7123c01008088b2a002145f96013c0ac0a9079875c0cf24058088b2a0020580c8afa025d80404020ac0cf24",
            "80c2d72f32c0ee6d80cab5ee01c80180dddb0180a8d6b90713066865616c7468076d65646963616c08686f7370",
            "6974616c09656d657267656e637909616d62756c616e636504647275670776616363696e65066f787967656e08",
            "736563757269747906706f6c6963650466697265067265736375650668617a6d6174076e75636c6561720a706f",
            "7765722d67726964057761746572067365776167650870616e64656d69630864697361737465720003776879",
        ),
    ),
    ("rules vote", "15<e0>01"),
    ("health disputed", "16<a1>03776879"),
    ("witnessed", "1701<d0>05<e0>"),
    ("key rotated", "18<c0><b0><b1>03<f5><f5><f5><f5>"),
    ("key revoked", "19<c0><b0><d0>00<f5><f5>"),
    ("fork proof", "1a01<c0><d0>04<e0>00030501<a5><f5><f5>01<c0><d0>04<e0>00030501<a6><f5><f5>"),
    ("time zone", "1b0d4575726f70652f4265726c696e"),
    ("health", "1c<a1>0466697265"),
    ("held", "1d<a1>020127"),
    ("spent", "1e<d0><a1>02022800023c1e32010428c203010101046874747002444501<d0>0102<f5><f5>5a1e320001"),
    ("accounted", "1f<a1>0200013c1e3200013c1e3200070201020101040607"),
];
const HELLO: [&str; 13] = [
    "0001<c0>0200c0000201d8360120010db8000000000000000000000001d836",
    "01<b0>02626f<b1>027063<c0><b0><d0>e80702<f5><f5><f6><f6><d1><f7><f7><f5><f5>",
    "02027063<d0><f6><f6><d1><f5><f5>",
    "0300<e0>",
    "0301",
    "0302<c0><b0><d0>e80702<f5><f5><f6><f6>",
    "030304",
    "0304",
    "04<c0><d0>09e0d4030101620b03020bac02012801f4031902e807c0cf24<a3>010e<f5><f5>",
    "0501<d0>0200c0000201d8360120010db8000000000000000000000001d836",
    "06",
    "0701<d0>05<e0>",
    "0801<d0>",
];
const SYNC: [&str; 5] = ["00020f00ac02<aa>", "010101", "020001<d0>05<e0>", "0301<d0>07", "040103010203"];
const TASK: [&str; 16] = [
    concat!(
        "0002<c0><d0><b0><a8>0a776f72642d636f756e74<a2>c80101022d7601044c414e47014301<a4>ac020103612f",
        "62<a4>ac02<a9>80c0f9decfae01c0cf2480c2d72f8094ebdc0380a0c21e80c8d00780c2d72fe807000100000100",
        "00000003010301e80701d00f01b8170302<f5><f5>0101<e0>b0ea01<d0>05<e0>010301020300",
    ),
    "01",
    "020d",
    "03b0ea01",
    "0402f4030468616c66010d",
    "0501<a4>ac02",
    concat!(
        "0601<a1>01<a2>0a776f72642d636f756e740000<a9>0000<aa>80c0f9decfae01c0cf2480c2d72f8094ebdc0380",
        "a0c21e80c8d00780c2d72fe80700010000010000000001650001310131000107736563636f6d70076d6574657265",
        "64000000000000000000000000<ab>00<ab>0000<ab>000000<d0><f5><f5><a1>01<d0><a2><a3>000a01141e28",
        "022800023c1e32010428c203010101046874747002444501<d0>0102<f5><f5>5a1e320000<a6><a7>01<f5><f5><a4>ac02",
    ),
    "071404676f6e65",
    "0810",
    "0900",
    "0a",
    "0b01076368616e676564",
    "0cb0ea01",
    "0d",
    "0e<aa>",
    "0f",
];
/// A device cert, a join request, a device request, a task, a signed task, a statement, an ad, a signed ad, a receipt.
const SIGNED: [&str; 9] = [
    "<c0><b0><d0>e80702<f5><f5><f6><f6>",
    "<b0>02626f<b1>027063<c0><b0><d0>e80702<f5><f5><f6><f6><d1><f7><f7><f5><f5>",
    "027063<d0><f6><f6><d1><f5><f5>",
    concat!(
        "02<c0><d0><b0><a8>0a776f72642d636f756e74<a2>c80101022d7601044c414e47014301<a4>ac020103612f62",
        "<a4>ac02<a9>80c0f9decfae01c0cf2480c2d72f8094ebdc0380a0c21e80c8d00780c2d72fe80700010000010000",
        "000003010301e80701d00f01b8170302",
    ),
    concat!(
        "02<c0><d0><b0><a8>0a776f72642d636f756e74<a2>c80101022d7601044c414e47014301<a4>ac020103612f62",
        "<a4>ac02<a9>80c0f9decfae01c0cf2480c2d72f8094ebdc0380a0c21e80c8d00780c2d72fe80700010000010000",
        "000003010301e80701d00f01b8170302<f5><f5>",
    ),
    "<a1>01<d0><a2><a3>000a01141e28022800023c1e32010428c203010101046874747002444501<d0>0102<f5><f5>5a1e320000<a6><a7>01",
    "<c0><d0>09e0d4030101620b03020bac02012801f4031902e807c0cf24<a3>010e",
    "<c0><d0>09e0d4030101620b03020bac02012801f4031902e807c0cf24<a3>010e<f5><f5>",
    concat!(
        "01<a1>01<a2>0a776f72642d636f756e740000<a9>0000<aa>80c0f9decfae01c0cf2480c2d72f8094ebdc0380a0",
        "c21e80c8d00780c2d72fe80700010000010000000001650001310131000107736563636f6d70076d657465726564",
        "000000000000000000000000<ab>00<ab>0000<ab>000000<d0>",
    ),
];
/// Lists that stand inside others, each with all its values in order.
const LISTS: [&str; 9] = [
    "050001020304",
    "06000102030405",
    "050001020304",
    "03000102",
    "020001",
    "080001020304050607",
    "020001",
    "0400010203",
    "050001020304",
];
const REASONS: [&str; 57] = [
    "00",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "070178",
    "08",
    "09",
    "0a",
    "0b",
    "0c01780201",
    "0d",
    "0e",
    "0f",
    "10",
    "11",
    "12",
    "13",
    "140178",
    "150178",
    "160178",
    "170178",
    "18",
    "19",
    "1a",
    "1b",
    "1c03",
    "1d",
    "1e0178",
    "1f",
    "20",
    "21",
    "22",
    "23",
    "24",
    "25",
    "26",
    "27",
    "28091e",
    "295019",
    "2a",
    "2b",
    "2c",
    "2d",
    "2e",
    "2f",
    "30",
    "310178",
    "320178",
    "33",
    "34010203",
    "35",
    "36",
    "370178",
    "38",
];

// spec: ARC-6, LED-2
#[test]
fn every_kind_of_entry_has_fixed_bytes_and_a_number_and_a_name() {
    same(&all(&payloads()), &PAYLOADS.map(|(_, hex)| hex));
    for (number, payload) in payloads().into_iter().enumerate() {
        let bytes = canonical::encode(&payload);
        assert_eq!((usize::from(payload.kind()), usize::from(bytes[0])), (number, number));
        assert_eq!((payload.kind_name(), KINDS[number]), (PAYLOADS[number].0, PAYLOADS[number].0));
        assert_eq!(payload.check(), Ok(()), "{payload:?}");
    }
    assert!(
        is_unknown::<Payload>(32) && (0..32).all(|kind| !is_unknown::<Payload>(kind)),
        "there are no more kinds than these"
    );
}

fn frames<F: Frame + PartialEq + Debug>(frames: &[F], expected: &[&str]) {
    same(&all(frames), expected);
    for frame in frames {
        let bytes = frame.encode();
        assert_eq!(F::decode(&bytes).unwrap(), *frame);
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(
            matches!(F::decode(&longer), Err(FrameError::Decode(DecodeError::NotCanonical))),
            "a byte too many: {frame:?}"
        );
        assert!(
            matches!(F::decode(&bytes[..bytes.len() - 1]), Err(FrameError::Decode(DecodeError::Shape(_)))),
            "a byte too few: {frame:?}"
        );
    }
    let kinds: BTreeSet<u8> = frames.iter().map(|frame| frame.encode()[0]).collect();
    assert!(
        kinds.iter().copied().eq(0..kinds.len() as u8) && is_unknown::<F>(kinds.len()),
        "each kind is here"
    );
    let unknown = [kinds.len() as u8];
    assert!(matches!(F::decode(&unknown), Err(FrameError::Decode(DecodeError::Shape(_)))));
    assert!(matches!(F::decode(&vec![0; MAX_FRAME + 1]), Err(FrameError::TooLong(_))));
    assert!(matches!(F::decode(&[]), Err(FrameError::Decode(DecodeError::Shape(_)))));
}

// spec: ARC-6, NET-3
#[test]
fn every_frame_has_fixed_bytes_and_nothing_else_is_one() {
    frames(&hello_frames(), &HELLO);
    frames(&sync_frames(), &SYNC);
    frames(&task_frames(), &TASK);
}

// spec: ARC-6, NET-1, NET-2
#[test]
fn what_is_signed_has_fixed_bytes() {
    let got = [
        hex(&cert()),
        hex(&join_request()),
        hex(&device_request()),
        hex(&spec()),
        hex(&SignedTask { spec: spec(), signature: SIGNATURE }),
        hex(&statement()),
        hex(&ad()),
        hex(&SignedAd { ad: ad(), signature: SIGNATURE }),
        hex(&receipt()),
    ];
    same(&got, &SIGNED);
}

// spec: ARC-6
#[test]
fn what_is_chosen_from_a_list_has_fixed_numbers() {
    use Importance::{Critical, High, Low, NonCritical, Normal};
    let got = [
        hex(&vec![NonCritical, Low, Normal, High, Critical]),
        hex(&vec![Sla::Urgent, Sla::High, Sla::Normal, Sla::Eco, Sla::SolarOnly, Sla::WindOnly]),
        hex(&vec![Source::Solar, Source::Wind, Source::Hydro, Source::Battery, Source::Grid]),
        hex(&vec![Phase::Preparing, Phase::Running, Phase::Paused]),
        hex(&vec![Effect::Done, Effect::Superseded]),
        hex(&vec![
            JoinRefusal::UnknownTicket,
            JoinRefusal::Used,
            JoinRefusal::Expired,
            JoinRefusal::Invalid,
            JoinRefusal::NotEntitled,
            JoinRefusal::Device,
            JoinRefusal::Expelled,
            JoinRefusal::Name,
        ]),
        hex(&vec![TicketKind::Member, TicketKind::Device]),
        hex(&vec![
            VotingMethod::OnePerUser,
            VotingMethod::Reputation,
            VotingMethod::Stake,
            VotingMethod::Hybrid,
        ]),
        hex(&Table::ALL.to_vec()),
    ];
    same(&got, &LISTS);
    same(&all(&reasons()), &REASONS);
    let complete = [
        is_unknown::<Importance>(5),
        is_unknown::<Sla>(6),
        is_unknown::<Source>(5),
        is_unknown::<Phase>(3),
        is_unknown::<Effect>(2),
        is_unknown::<JoinRefusal>(8),
        is_unknown::<TicketKind>(2),
        is_unknown::<VotingMethod>(4),
        is_unknown::<Table>(5),
        is_unknown::<Reason>(REASONS.len()),
    ];
    assert_eq!(complete, [true; 10], "a list has a value that is not here");
    assert!(!is_unknown::<Reason>(REASONS.len() - 1));
}

// spec: ARC-6, LED-1
#[test]
fn an_entry_has_fixed_bytes_and_nothing_else_is_one() {
    let entry = entry(1, 6, Payload::Accepted { task: samples::TASK, attempt: 2 });
    let header = entry.header();
    let hex = short(entry.bytes())
        .replace(&to_hex(&header.author.0), "<author>")
        .replace(&to_hex(&header.payload_hash.0), "<hash>")
        .replace(&to_hex(&entry.signed().signature.0), "<signature>");
    assert_eq!(hex, "01<c0><author>06<e0>01<d0>05<e0>8080a01f0d22<hash><signature>220d<a1>02");
    assert_eq!(entry.id().to_string(), "5e43e5e2c8ab1e61e27f719d21150df9a1186665d7d32b66a02a822e9247f16c");
    assert_eq!(Entry::verify(entry.bytes()).unwrap(), entry);
    assert_eq!(Entry::trusted(entry.bytes()).unwrap(), entry);
    let mut longer = entry.bytes().to_vec();
    longer.push(0);
    assert!(matches!(Entry::verify(&longer), Err(EntryError::Decode(DecodeError::NotCanonical))));
    assert!(matches!(
        Entry::verify(&longer[..longer.len() - 2]),
        Err(EntryError::Decode(DecodeError::Shape(_)))
    ));
    assert!(matches!(Entry::verify(&vec![0; MAX_ENTRY + 1]), Err(EntryError::TooLong(_))));
}

// spec: ARC-6, NET-2
#[test]
fn a_ticket_has_a_fixed_text() {
    let text = ticket().to_string();
    assert_eq!(
        text,
        "mesh101c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c003456c6da8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8a8d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b00100c0000201d83680a0f1c2b1343c0e44b8"
    );
    assert!(text.parse::<Ticket>().unwrap() == ticket());
}
