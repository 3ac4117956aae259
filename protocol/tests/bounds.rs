//! Nothing that a peer sends is larger than it may be, and whatever may be written may be read.
// spec: ARC-7

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod samples;

use mesh_protocol::canonical;
use mesh_protocol::energy::{MAX_ATTESTED, MAX_PIECES, MAX_WORD, Metered, Piece, Reading};
use mesh_protocol::frame::{
    Beat, Frame, FrameError, HelloFrame, MAX_ADDRS, MAX_FRAME, MAX_LEASE_MS, MAX_NOTE, MAX_OFFER_ENTRIES,
    MAX_PEERS, MAX_TIPS, PeerAddrs, Phase, SyncFrame, TaskFrame,
};
use mesh_protocol::ids::{CommunityId, Digest, EntryId};
use mesh_protocol::invite::Ticket;
use mesh_protocol::key::{Domain, PublicKey, Signature};
use mesh_protocol::ledger::{
    self, Entry, EntryError, ForkProof, Header, Hlc, MAX_ENTRY, MAX_NAME, MAX_PAYLOAD, MAX_REFS, MAX_TEXT,
    MAX_VOTES, MAX_WALLS, Pattern, Payload, Place, SignedHeader, Tip, payload_hash,
};
use mesh_protocol::limits::MAX_BYTES;
use mesh_protocol::outcome::{Outcome, Refusal};
use mesh_protocol::permissions::{MAX_NAMES, Names, Permissions};
use mesh_protocol::reason::{MAX_WORDS, Reason};
use mesh_protocol::rules::Rules;
use mesh_protocol::task::{Blob, InputFile, MAX_PATH, MAX_TASK, Sla, TaskSpec};
use samples::*;

const FULL: Tip = Tip { seq: u64::MAX, ..TIP };

fn names(count: usize) -> Names {
    Names::Only((0..count).map(|number| number.to_string()).collect())
}

/// The sample of a kind, changed.
fn payload(kind: usize, change: impl FnOnce(&mut Payload)) -> Payload {
    let mut payload = payloads().swap_remove(kind);
    change(&mut payload);
    payload
}

macro_rules! changed {
    ($kind:literal, $($pattern:pat => $change:expr),+ $(,)?) => {
        [$(payload($kind, |payload| match payload {
            $pattern => { $change; }
            other => panic!("{other:?}"),
        })),+]
    };
}

// spec: ARC-7, LED-1
#[test]
fn an_entry_says_no_more_than_fits() {
    let long = || "x".repeat(MAX_NAME + 1);
    let text = || "x".repeat(MAX_TEXT + 1);
    let words = || Reason::NotFetched("x".repeat(MAX_WORDS + 1));
    let too_much: Vec<Payload> = [
        changed!(0, Payload::Founded(it) => it.name = String::new()).to_vec(),
        changed!(0, Payload::Founded(it) => it.user_name = long()).to_vec(),
        changed!(0, Payload::Founded(it) => it.device_name = "a\nb".into()).to_vec(),
        changed!(0, Payload::Founded(it) => it.rules.quorum = 1001).to_vec(),
        changed!(1, Payload::Admitted(it) => it.user_name = long()).to_vec(),
        changed!(1, Payload::Admitted(it) => it.device_name = "a\u{202e}b".into()).to_vec(),
        changed!(2, Payload::Expelled { tips, .. } => *tips = vec![FULL; ledger::MAX_TIPS + 1]).to_vec(),
        changed!(2, Payload::Expelled { why, .. } => *why = text()).to_vec(),
        changed!(3, Payload::DeviceAdded(it) => it.name = long()).to_vec(),
        changed!(25, Payload::KeyRevoked(it) => it.tip = Some(Tip { author: RECOVERY, ..FULL })).to_vec(),
        changed!(4, Payload::PeerRegistered(it) => it.name = " x".into()).to_vec(),
        changed!(4, Payload::PeerRegistered(it) => it.place = Some((91, 0))).to_vec(),
        changed!(4, Payload::PeerRegistered(it) => it.place = Some((0, -181))).to_vec(),
        changed!(4, Payload::PeerRegistered(it) => it.walls = vec!["w".into(); MAX_WALLS + 1]).to_vec(),
        changed!(4, Payload::PeerRegistered(it) => it.walls = vec![long()]).to_vec(),
        changed!(7, Payload::Granted(it) => it.permissions.inputs = names(MAX_NAMES + 1)).to_vec(),
        changed!(7, Payload::Granted(it) => it.permissions.env = names(MAX_NAMES)).to_vec(),
        changed!(7, Payload::Granted(it) => it.permissions.http = [String::new()].into()).to_vec(),
        changed!(7, Payload::Granted(it) => it.permissions.http = ["x".repeat(256)].into()).to_vec(),
        changed!(9, Payload::TaskSubmitted(it) => it.name = "Word".into()).to_vec(),
        changed!(9, Payload::TaskSubmitted(it) => it.replicas = 0).to_vec(),
        changed!(9, Payload::TaskSubmitted(it) => it.replicas = 17).to_vec(),
        changed!(10, Payload::Voted { comment, .. } => *comment = text()).to_vec(),
        changed!(11, Payload::Consensus { votes, .. } => *votes = vec![ENTRY; MAX_VOTES + 1]).to_vec(),
        changed!(12, Payload::Delegated { attempt, .. } => *attempt = 0).to_vec(),
        changed!(13, Payload::Accepted { attempt, .. } => *attempt = 0).to_vec(),
        changed!(14, Payload::Refused { attempt, .. } => *attempt = 0).to_vec(),
        changed!(14, Payload::Refused { reason, .. } => *reason = words()).to_vec(),
        changed!(15, Payload::Vetoed { attempt, .. } => *attempt = 0).to_vec(),
        changed!(15, Payload::Vetoed { why, .. } => *why = "\u{1b}[31m".into()).to_vec(),
        changed!(16, Payload::Completed(it) => it.statement.attempt = 0).to_vec(),
        changed!(16, Payload::Completed(it) => it.statement.energy.pieces.clear()).to_vec(),
        changed!(30, Payload::Spent(it) => it.attempt = 0).to_vec(),
        changed!(30, Payload::Spent(it) => it.energy.pieces[0].ms = u64::MAX).to_vec(),
        changed!(31, Payload::Accounted(it) => it.attempt = 0).to_vec(),
        changed!(31, Payload::Accounted(it) => it.then = vec![piece(); MAX_PIECES + 1]).to_vec(),
        changed!(31, Payload::Accounted(it) => it.counted = vec![2, 2]).to_vec(),
        changed!(31, Payload::Accounted(it) => it.counted = (1..=65).collect()).to_vec(),
        changed!(17, Payload::Failed { reason, .. } => *reason = words()).to_vec(),
        changed!(19, Payload::Contribution { unit, .. } => *unit = long()).to_vec(),
        changed!(19, Payload::Contribution { month, .. } => *month = 202_613).to_vec(),
        changed!(20, Payload::RulesProposed { why, .. } => *why = text()).to_vec(),
        changed!(20, Payload::RulesProposed { rules, .. } => rules.max_attempts = 0).to_vec(),
        changed!(22, Payload::HealthDisputed { why, .. } => *why = text()).to_vec(),
        changed!(23, Payload::Witnessed { tips } => *tips = vec![FULL; ledger::MAX_TIPS + 1]).to_vec(),
        changed!(26, Payload::Forked(it) => it.b.header.refs = vec![FULL; MAX_REFS + 1]).to_vec(),
    ]
    .concat();
    for payload in too_much {
        assert!(payload.check().is_err(), "{payload:?}");
        let written = entry(1, 1, payload.clone());
        assert!(
            matches!(Entry::verify(written.bytes()), Err(EntryError::Bounds(_) | EntryError::TooLong(_))),
            "{payload:?}"
        );
        let place = Place { community: COMMUNITY, seq: 0, prev: EntryId::ZERO, refs: vec![], hlc: Hlc(1) };
        assert!(matches!(Entry::try_write(&key(1), place, payload), Err(EntryError::Bounds(_))));
    }
}

/// The longest payload of each kind that has parts of different length.
fn longest() -> Vec<Payload> {
    let name = || "x".repeat(MAX_NAME);
    let text = || "x".repeat(MAX_TEXT);
    let max = Rules {
        voting_window_ms: 604_800_000,
        vote_after_ms: 365 * 86_400_000,
        fuel_per_second: 1_000_000_000_000,
        entries_per_hour: 100_000_000,
        lease_grace_ms: 604_800_000,
        retain_result_ms: 90 * 86_400_000,
        ..Rules::default()
    };
    let headers: Vec<SignedHeader> = [1, 2]
        .map(|hash| {
            let mut signed = signed_header(hash);
            signed.header =
                Header { seq: u64::MAX, refs: vec![FULL; MAX_REFS], hlc: Hlc(u64::MAX), ..signed.header };
            signed
        })
        .to_vec();
    let mut grant = match payloads().swap_remove(7) {
        Payload::Granted(grant) => grant,
        other => panic!("{other:?}"),
    };
    grant.until_ms = Some(u64::MAX);
    grant.pattern = Pattern::new(&"x".repeat(MAX_NAME)).unwrap();
    grant.permissions.inputs = Names::Only((0..15).map(|number| format!("{number:0>255}")).collect());
    let mut all = vec![
        Payload::Granted(grant),
        Payload::Forked(Box::new(ForkProof { a: headers[0].clone(), b: headers[1].clone() })),
    ];
    let [founded] = changed!(0, Payload::Founded(it) => {
        (it.name, it.user_name, it.device_name) = (name(), name(), name());
        it.rules = max.clone();
        it.cert.serial = u32::MAX;
    });
    let [admitted] = changed!(1, Payload::Admitted(it) => (it.user_name, it.device_name) = (name(), name()));
    let [expelled] = changed!(2, Payload::Expelled { tips, why, .. } => {
        (*tips, *why) = (vec![FULL; ledger::MAX_TIPS], text());
    });
    let [registered] = changed!(4, Payload::PeerRegistered(it) => it.walls = vec![name(); MAX_WALLS]);
    let [consensus] = changed!(11, Payload::Consensus { votes, .. } => *votes = vec![ENTRY; MAX_VOTES]);
    let [refused] = changed!(14, Payload::Refused { attempt, reason, .. } => {
        *attempt = u32::MAX;
        *reason = Reason::TooLarge { what: "x".repeat(MAX_WORDS), wanted: u64::MAX, given: u64::MAX };
    });
    let [proposed] =
        changed!(20, Payload::RulesProposed { rules, why } => (**rules, *why) = (max.clone(), text()));
    let [witnessed] = changed!(23, Payload::Witnessed { tips } => *tips = vec![FULL; ledger::MAX_TIPS]);
    let pieces: Vec<Piece> = (0..MAX_PIECES)
        .map(|at| {
            let mut piece = piece();
            let word = || "x".repeat(MAX_WORD);
            let attestation = || piece.reading.as_ref().and_then(|it| it.attestation.clone());
            let attestation = if at < MAX_ATTESTED { attestation() } else { None };
            piece.from_ms = u64::MAX - 1_000_000 + at as u64 * 1000;
            piece.reading =
                piece.reading.map(|it| Reading { origin: word(), zone: word(), attestation, ..it });
            piece
        })
        .collect();
    let [completed] = changed!(16, Payload::Completed(it) => {
        (it.statement.fuel, it.statement.cpu_us, it.statement.wall_ms) = (u64::MAX, u64::MAX, u64::MAX);
        it.statement.energy = Metered { pieces: pieces.clone(), ..metered() };
    });
    all.extend([founded, admitted, expelled, registered, consensus, refused, proposed, witnessed, completed]);
    all
}

// spec: ARC-7, LED-1
#[test]
fn whatever_keeps_its_bounds_fits_into_an_entry_and_can_be_read() {
    for payload in longest().into_iter().chain(payloads()) {
        assert_eq!(payload.check(), Ok(()), "{payload:?}");
        assert!(canonical::encode(&payload).len() <= MAX_PAYLOAD, "{payload:?}");
        let founding = matches!(payload, Payload::Founded(_));
        let community = if founding { CommunityId::ZERO } else { COMMUNITY };
        let refs = vec![FULL; MAX_REFS];
        let place = Place { community, seq: u64::MAX, prev: ENTRY, refs, hlc: Hlc(u64::MAX) };
        let entry = Entry::try_write(&key(1), place, payload).unwrap();
        assert!(entry.bytes().len() <= MAX_ENTRY);
        assert_eq!(Entry::verify(entry.bytes()).unwrap(), entry);
    }
}

// spec: ARC-7
#[test]
fn long_words_of_an_error_are_cut_off_before_they_travel() {
    let long = Reason::NotFetched("é\u{1b}".repeat(MAX_WORDS));
    let fitted = long.clone().fit();
    assert_eq!((long.check().is_err(), fitted.check()), (true, Ok(())));
    assert!(fitted.to_string().starts_with("its module or inputs could not be fetched: é\u{fffd}é"));
    assert_eq!(fitted.clone().fit(), fitted);
    for reason in reasons() {
        assert_eq!((reason.check(), reason.clone().fit()), (Ok(()), reason));
    }
    let refused = Payload::Refused { task: TASK, attempt: 1, reason: long.clone() }.fit();
    let failed = Payload::Failed { task: TASK, attempts: 1, reason: long.clone() }.fit();
    assert_eq!((refused.check(), failed.check()), (Ok(()), Ok(())));
    let frames = [
        (TaskFrame::Refused(long.clone()), TaskFrame::Refused(fitted.clone())),
        (TaskFrame::Lost(long.clone()), TaskFrame::Lost(fitted.clone())),
        (TaskFrame::Stop(long), TaskFrame::Stop(fitted)),
    ];
    for (frame, arrives) in frames {
        assert!(frame.check().is_err());
        assert_eq!(TaskFrame::decode(&frame.encode()).unwrap(), arrives);
    }
}

fn refused<F: Frame + std::fmt::Debug>(frames: Vec<F>) {
    for frame in frames {
        // Not by its own `encode`, which may shorten it.
        let bytes = canonical::encode(&frame);
        assert!(bytes.len() <= MAX_FRAME, "another bound refuses it: {frame:?}");
        assert!(matches!(F::decode(&bytes), Err(FrameError::Bounds(_))), "{frame:?}");
    }
}

// spec: ARC-7, NET-4
#[test]
fn a_frame_says_no_more_than_it_may() {
    let addr: std::net::SocketAddr = "[2001:db8::1]:7000".parse().unwrap();
    let huge = Blob { len: MAX_BYTES + 1, ..BLOB };
    let mut join = join_request();
    join.user_name = "x".repeat(MAX_NAME + 1);
    let mut device = device_request();
    device.device_name = String::new();
    refused(vec![
        HelloFrame::Hello { version: 1, community: COMMUNITY, addrs: vec![addr; MAX_ADDRS + 1] },
        HelloFrame::Join(Box::new(join)),
        HelloFrame::JoinDevice(Box::new(device)),
        HelloFrame::Peers(vec![PeerAddrs { peer: DEVICE, addrs: vec![] }; MAX_PEERS + 1]),
        HelloFrame::Peers(vec![PeerAddrs { peer: DEVICE, addrs: vec![addr; MAX_ADDRS + 1] }]),
    ]);
    refused(vec![
        SyncFrame::Digest { prefix: vec![0; 17], logs: 0, digest: Digest::ZERO },
        SyncFrame::Same { prefix: vec![16] },
        SyncFrame::Tips { prefix: vec![16], tips: vec![] },
        SyncFrame::Tips { prefix: vec![], tips: vec![TIP; MAX_TIPS + 1] },
        SyncFrame::Want(vec![(DEVICE, 0); MAX_TIPS + 1]),
        SyncFrame::Entries(vec![vec![]; MAX_TIPS + 1]),
        SyncFrame::Entries(vec![vec![0; MAX_ENTRY + 1]]),
    ]);
    let offer = |change: fn(&mut mesh_protocol::frame::Offer)| {
        let mut offer = offer();
        change(&mut offer);
        TaskFrame::Offer(Box::new(offer))
    };
    let beat = |change: fn(&mut Beat)| {
        let mut beat = Beat { phase: Phase::Running, permille: 0, note: String::new(), held: None };
        change(&mut beat);
        TaskFrame::Beat(beat)
    };
    let ended = |change: fn(&mut mesh_protocol::frame::Ended)| match task_frames().swap_remove(6) {
        TaskFrame::Ended(mut ended) => {
            change(&mut ended);
            TaskFrame::Ended(ended)
        }
        other => panic!("{other:?}"),
    };
    let mut frames = vec![
        offer(|it| it.attempt = 0),
        offer(|it| it.entries = vec![vec![]; MAX_OFFER_ENTRIES + 1]),
        offer(|it| it.entries = vec![vec![0; MAX_ENTRY + 1]]),
        offer(|it| it.lease_ms = MAX_LEASE_MS + 1),
        offer(|it| it.resume = Some(Blob { len: MAX_BYTES + 1, ..BLOB })),
        TaskFrame::Refused(Reason::StorageFailed("x".repeat(MAX_WORDS + 1))),
        TaskFrame::Renew { lease_ms: MAX_LEASE_MS + 1 },
        beat(|it| it.permille = 1001),
        beat(|it| it.note = "x".repeat(MAX_NOTE + 1)),
        beat(|it| it.held = Some(Reason::BadResult("a\nb".into()))),
        TaskFrame::Hold { for_ms: MAX_LEASE_MS + 1 },
        TaskFrame::Checkpoint { number: 0, blob: BLOB },
        TaskFrame::Checkpoint { number: 1, blob: huge },
        TaskFrame::Lost(Reason::BadResult("a\nb".into())),
        TaskFrame::Stop(Reason::NotGranted("x".repeat(MAX_WORDS + 1))),
    ];
    frames.extend([
        ended(|it| it.output.len = MAX_BYTES + 1),
        ended(|it| it.receipt.receipt.version = 2),
        ended(|it| it.receipt.receipt.name = "x".repeat(256)),
        ended(|it| it.receipt.receipt.args = vec![String::new(); 1025]),
        ended(|it| it.receipt.receipt.env = vec![("x".repeat(65_537), String::new())]),
        ended(|it| it.receipt.receipt.walls = vec![String::new(); 65]),
        ended(|it| it.receipt.receipt.profile.features = vec!["x".repeat(256)]),
        ended(|it| it.receipt.receipt.profile.limits = vec![(String::new(), 0); 65]),
        ended(|it| it.receipt.receipt.granted.inputs = names(MAX_NAMES + 1)),
        ended(|it| it.receipt.receipt.outcome = Outcome::Refused(Refusal::Invalid("x".repeat(20_000)))),
    ]);
    refused(frames);
}

// spec: ARC-7
#[test]
fn the_longest_offer_fits_into_a_frame() {
    let mut offer = offer();
    offer.task.spec.args = vec!["x".repeat(60_000)];
    let rest = MAX_TASK - canonical::encode(&offer.task.spec).len();
    let count = rest / 1_100;
    let file = |number: usize| InputFile { path: format!("{number:0>199}/{}", "x".repeat(200)), blob: BLOB };
    offer.task.spec.inputs = (0..count * 2).map(file).collect();
    offer.task.spec.limits.input_bytes = MAX_BYTES;
    let spec_bytes = canonical::encode(&offer.task.spec).len();
    assert!(spec_bytes <= MAX_TASK && spec_bytes > MAX_TASK * 9 / 10, "{spec_bytes}");
    assert_eq!(offer.task.spec.check(), Ok(()));
    offer.entries = vec![vec![0; MAX_ENTRY]; MAX_OFFER_ENTRIES];
    offer.resume = Some(BLOB);
    let bytes = TaskFrame::Offer(Box::new(offer)).encode();
    assert!(bytes.len() + (MAX_TASK - spec_bytes) <= MAX_FRAME, "{}", bytes.len());
    assert!(TaskFrame::decode(&bytes).is_ok());
}

// spec: ARC-7
#[test]
fn full_frames_of_tips_and_addresses_fit() {
    let addr: std::net::SocketAddr = "[2001:db8::1]:65535".parse().unwrap();
    let sync = [
        SyncFrame::Tips { prefix: vec![15; 16], tips: vec![FULL; MAX_TIPS] },
        SyncFrame::Want(vec![(DEVICE, u64::MAX); MAX_TIPS]),
    ];
    for frame in sync {
        assert!(SyncFrame::decode(&frame.encode()).is_ok());
    }
    let peer = PeerAddrs { peer: DEVICE, addrs: vec![addr; MAX_ADDRS] };
    assert!(HelloFrame::decode(&HelloFrame::Peers(vec![peer; MAX_PEERS]).encode()).is_ok());
}

// spec: ARC-7, DEL-1
#[test]
fn a_task_asks_for_no_more_than_fits() {
    type Case = (&'static str, fn(&mut TaskSpec));
    let cases: Vec<Case> = vec![
        ("version", |it| it.version = 3),
        ("name", |it| it.name = "x".repeat(65)),
        ("arguments", |it| it.args = vec![String::new(); 1025]),
        ("arguments", |it| it.args = vec!["x".repeat(65_537)]),
        ("environment", |it| it.env = vec![("1".into(), String::new())]),
        ("input files", |it| it.inputs = vec![InputFile { path: "a".into(), blob: BLOB }; 257]),
        ("no name", |it| it.inputs[0].path = "a//b".into()),
        ("no name", |it| it.inputs[0].path = "../b".into()),
        ("no name", |it| it.inputs[0].path = "a/".repeat(MAX_PATH / 2) + "bb"),
        ("sorted", |it| it.env = vec![("B".into(), String::new()), ("A".into(), String::new())]),
        ("sorted", |it| it.inputs = vec![InputFile { path: "a".into(), blob: BLOB }; 2]),
        ("inputs have", |it| it.limits.input_bytes = 599),
        ("memory", |it| it.limits.memory_bytes = 0),
        ("deadline", |it| it.start_by_ms = Some(1000)),
        ("deadline", |it| it.finish_by_ms = Some(1000)),
        ("module", |it| it.module_len = MAX_BYTES + 1),
        ("permissions", |it| it.permissions.env = names(MAX_NAMES + 1)),
        ("too long together", |it| {
            it.inputs = (0..100)
                .map(|number| InputFile { path: format!("{number:0>200}/").repeat(5) + "x", blob: BLOB })
                .collect();
            it.limits.input_bytes = MAX_BYTES;
        }),
        ("its replicas must be from 1 to 16", |it| it.replicas = 17),
        ("its replicas must be from 1 to 16", |it| it.replicas = 0),
        ("its quorum must be from 1 to its replicas, which are 3", |it| it.quorum = 4),
        ("its quorum must be from 1 to its replicas, which are 3", |it| it.quorum = 0),
        ("replicas need not agree", |it| it.permissions.real_clock = true),
        ("replicas need not agree", |it| it.permissions.real_random = true),
        ("replicas need not agree", |it| it.permissions.http = ["example.org".into()].into()),
        ("own device", |it| it.sla = Sla::WindOnly),
    ];
    assert_eq!(spec().check(), Ok(()));
    let alone = TaskSpec { replicas: 1, quorum: 1, ..spec() };
    assert_eq!(TaskSpec { sla: Sla::SolarOnly, ..alone }.check(), Ok(()));
    for (why, change) in cases {
        let mut spec = spec();
        change(&mut spec);
        let said = spec.check().unwrap_err();
        assert!(said.contains(why), "{why}: {said}");
    }
}

// spec: ARC-7
#[test]
fn permissions_of_any_list_are_bounded() {
    let wrong: [fn(&mut Permissions); 5] = [
        |it| it.inputs = names(MAX_NAMES + 1),
        |it| it.env = names(MAX_NAMES + 1),
        |it| it.shares = [("a\0".into(), mesh_protocol::permissions::Access::Ro)].into(),
        |it| it.http = (0..=MAX_NAMES).map(|number| number.to_string()).collect(),
        |it| it.inputs = Names::Only(["x".repeat(256)].into()),
    ];
    for change in wrong {
        let mut permissions = Permissions::default();
        assert_eq!(permissions.check(), Ok(()));
        change(&mut permissions);
        assert!(permissions.check().is_err());
    }
    assert_eq!(
        Permissions { inputs: Names::Any, env: names(MAX_NAMES), ..Permissions::default() }.check(),
        Ok(())
    );
}

/// An entry that its author forged, signature and all.
fn forged(change: impl FnOnce(&mut Header, &mut Vec<u8>)) -> Result<Entry, EntryError> {
    let entry = entry(1, 6, Payload::PeerOnline);
    let (mut header, mut body) = (entry.header().clone(), canonical::encode(entry.payload()));
    change(&mut header, &mut body);
    if header.payload_hash == entry.header().payload_hash && header.payload_len == 1 {
        (header.payload_hash, header.payload_len) = (payload_hash(&body), body.len() as u16);
    }
    let signature = key(1).sign(Domain::Entry, &canonical::encode(&header));
    let bytes = canonical::encode(&(SignedHeader { header, signature }, body));
    let read = Entry::verify(&bytes);
    // What is wrong with it is seen without its signature, too.
    assert_eq!(Entry::trusted(&bytes).is_ok(), read.is_ok());
    read
}

// spec: LED-1, ARC-7
#[test]
fn what_its_author_forged_is_refused_for_what_it_is() {
    assert!(forged(|_, _| {}).is_ok());
    assert!(matches!(forged(|header, _| header.version = 2), Err(EntryError::Version(2))));
    assert!(matches!(forged(|header, _| header.refs = vec![TIP; 9]), Err(EntryError::Bounds(_))));
    assert!(matches!(forged(|header, _| header.seq = 0), Err(EntryError::Bounds(_))));
    assert!(matches!(forged(|header, _| header.prev = EntryId::ZERO), Err(EntryError::Bounds(_))));
    assert!(matches!(forged(|header, _| header.payload_len = 2), Err(EntryError::Payload)));
    assert!(matches!(forged(|header, _| header.payload_hash = Digest::ZERO), Err(EntryError::Payload)));
    assert!(matches!(forged(|header, _| header.kind = 6), Err(EntryError::Bounds(_))));
    assert!(matches!(forged(|header, _| header.community = CommunityId::ZERO), Err(EntryError::Bounds(_))));
    let unknown = forged(|header, body| {
        header.kind = 27;
        *body = vec![27];
    });
    assert!(matches!(unknown, Err(EntryError::Kind { kind: 27, .. })));
    assert!(matches!(forged(|_, body| body.push(0)), Err(EntryError::Kind { kind: 5, .. })));
    assert!(matches!(forged(|_, body| *body = vec![0; MAX_PAYLOAD + 1]), Err(EntryError::Bounds(_))));
    let founding = forged(|header, body| {
        header.kind = 0;
        *body = canonical::encode(&payloads()[0]);
    });
    assert!(matches!(founding, Err(EntryError::Bounds(_))), "a community is founded in no other");
    // Somebody else's signature: all is well but that.
    let entry = entry(1, 6, Payload::PeerOnline);
    let signature = key(2).sign(Domain::Entry, &canonical::encode(entry.header()));
    let signed = SignedHeader { header: entry.header().clone(), signature };
    let bytes = canonical::encode(&(signed, canonical::encode(entry.payload())));
    assert!(matches!(Entry::verify(&bytes), Err(EntryError::Signature(_))));
    assert!(Entry::trusted(&bytes).is_ok());
}

// spec: NET-2, ARC-7
#[test]
fn a_ticket_holds_no_more_than_it_may() {
    let mut ticket = ticket();
    ticket.addrs = vec!["[2001:db8::1]:7000".parse().unwrap(); 16];
    ticket.name = "x".repeat(MAX_NAME);
    assert!(ticket.to_string().parse::<Ticket>().unwrap() == ticket);
    ticket.addrs.push("[2001:db8::1]:7000".parse().unwrap());
    assert!(ticket.to_string().parse::<Ticket>().is_err());
    ticket.addrs.clear();
    ticket.name = "a\u{1b}b".into();
    assert!(ticket.to_string().parse::<Ticket>().is_err());
    assert!(format!("mesh1{}", "0".repeat(5000)).parse::<Ticket>().is_err());
}

// spec: NET-3, ARC-7
#[test]
fn an_ad_claims_what_can_be() {
    let signed = |change: fn(&mut mesh_protocol::ad::Ad)| {
        let mut ad = ad();
        ad.device = key(3).public();
        change(&mut ad);
        ad.sign(&key(3)).verify()
    };
    assert!(signed(|_| {}));
    assert!(signed(|it| it.energy = None));
    assert!(!signed(|it| it.holds_ms = mesh_protocol::ad::MAX_HOLDS_MS + 1));
    assert!(!signed(|it| it.energy.as_mut().unwrap().renewable_percent = 101));
    assert!(!signed(|it| it.device = PublicKey([0xd0; 32])));
    assert!(signed(|it| it.outlook.g_per_kwh = vec![u16::MAX; mesh_protocol::ad::MAX_OUTLOOK]));
    assert!(!signed(|it| it.outlook.g_per_kwh = vec![0; mesh_protocol::ad::MAX_OUTLOOK + 1]));
}

// spec: PLACE-1
#[test]
fn an_outlook_begins_with_the_hour_that_is_now() {
    let hour = mesh_protocol::ad::HOUR_MS;
    let outlook = mesh_protocol::ad::Outlook { hour: 10, g_per_kwh: vec![5, 6, 7], ..ad().outlook };
    assert_eq!(outlook.path(10 * hour + 1), [5000, 6000, 7000]);
    assert_eq!(outlook.path(12 * hour), [7000]);
    assert!(outlook.path(13 * hour).is_empty() && outlook.path(9 * hour).is_empty());
}

// spec: NET-1
#[test]
fn a_cert_gives_no_more_than_there_is() {
    use mesh_protocol::invite::DeviceCert;
    assert!(DeviceCert::of(&key(1), COMMUNITY, &key(2), 1000, 0).verify());
    assert!(!DeviceCert::of(&key(1), COMMUNITY, &key(2), 1001, 0).verify());
    let mut other = DeviceCert::of(&key(1), COMMUNITY, &key(2), 500, 0);
    other.signature = Signature([0; 64]);
    assert!(!other.verify());
}

/// Whose task it is comes to some things by themselves, whatever a peer says.
// spec: DEL-3, DEL-7, PERM-5
#[test]
fn of_a_reason_only_that_is_heard_which_a_donor_can_know() {
    let heard =
        |hear: fn(Reason) -> bool| reasons().into_iter().filter(|reason| hear(reason.clone())).count();
    assert_eq!(heard(|it| it.clone().heard_of_attempt() == it), 57 - 16);
    assert_eq!(heard(|it| it.heard_of_hold().is_some()), 4 + 8);
    assert_eq!(heard(|it| it.clone().heard_of_device() == it), 8);
    for theirs in [Reason::VetoedByOwner, Reason::Expired, Reason::CleanerElsewhere, Reason::NotTrusted] {
        assert_eq!(theirs.clone().heard_of_attempt(), Reason::Unknown);
        assert_eq!(theirs.clone().heard_of_hold(), None);
        assert_eq!(theirs.heard_of_device(), Reason::DonorPaused);
    }
    // It takes no more for want of sun, and says so of each attempt; of itself it says what its owner said.
    assert_eq!(Reason::NoSun.heard_of_hold(), Some(Reason::NoSun));
    assert_eq!(Reason::NoSun.heard_of_device(), Reason::DonorPaused);
    assert_eq!(Reason::NoCapacity.heard_of_hold(), None);
    assert_eq!(Reason::OnBattery.heard_of_device(), Reason::OnBattery);
}

// spec: LED-2, NET-1
#[test]
fn who_belongs_and_by_which_rules_is_decided_by_nine_kinds_of_entries() {
    let all = payloads();
    let governs: Vec<&str> = all.iter().filter(|it| it.governs()).map(Payload::kind_name).collect();
    assert_eq!(governs.len(), 9, "{governs:?}");
    assert!(all.iter().all(|it| !matches!(it, Payload::Voted { .. } | Payload::Granted(_)) || !it.governs()));
    let revoked = all.iter().find_map(|it| if let Payload::KeyRevoked(it) = it { Some(it) } else { None });
    let mut revoked = (*revoked.unwrap()).clone();
    revoked.tip = Some(Tip { seq: 5, ..TIP });
    assert_eq!(revoked.end(), 6);
    revoked.tip = None;
    assert_eq!(revoked.end(), 0);
}

// spec: DEL-4
#[test]
fn a_task_changes_shares_only_if_it_may_write_one() {
    use mesh_protocol::permissions::Access;
    let mut spec = spec();
    for (shares, changes) in [
        (vec![], false),
        (vec![("logs", Access::Ro)], false),
        (vec![("logs", Access::Ro), ("music", Access::Rw)], true),
    ] {
        spec.permissions.shares =
            shares.into_iter().map(|(name, access)| (name.to_owned(), access)).collect();
        assert_eq!(spec.changes_shares(), changes);
    }
}
