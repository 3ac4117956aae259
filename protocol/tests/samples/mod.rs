//! One of everything that peers say to each other, with ids that can be told apart in a hex dump.

#![allow(dead_code, reason = "each test program uses a part of it")]

use mesh_protocol::ad::{Ad, EnergyClaim, Outlook, SignedAd, Source};
use mesh_protocol::energy::{Attestation, How, Kind, Metered, Piece, Reading, Scope};
use mesh_protocol::factors::Factors;
use mesh_protocol::frame::{
    Beat, Ended, HelloFrame, JoinAnswer, JoinRefusal, Offer, PeerAddrs, Phase, Released, SyncFrame,
    TaskFrame, VERSION,
};
use mesh_protocol::ids::{
    BlobHash, Commitment, CommunityId, Digest, EntryId, InputHash, ModuleHash, ProfileId, TaskId,
};
use mesh_protocol::invite::{DeviceCert, DeviceRequest, JoinRequest, Ticket, TicketKind};
use mesh_protocol::key::{PublicKey, SecretKey, Signature, UserKey};
use mesh_protocol::ledger::{
    self, Accounted, Completed, DeviceAdded, Effect, Entry, ForkProof, Founded, Grant, Header, Hlc, Pattern,
    Payload, PeerRegistered, Place, Revocation, Rotation, Saved, SignedHeader, Spent, Statement,
    TaskSubmitted, Tip,
};
use mesh_protocol::limits::Limits;
use mesh_protocol::outcome::Outcome;
use mesh_protocol::permissions::Permissions;
use mesh_protocol::profile::EngineProfile;
use mesh_protocol::reason::Reason;
use mesh_protocol::receipt::{self, Receipt, SignedReceipt, Usage};
use mesh_protocol::rules::Rules;
use mesh_protocol::task::{self, Blob, Importance, InputFile, SignedTask, Sla, TaskSpec};

pub(crate) const COMMUNITY: CommunityId = CommunityId([0xc0; 32]);
pub(crate) const TASK: TaskId = TaskId([0xa1; 32]);
pub(crate) const MODULE: ModuleHash = ModuleHash([0xa2; 32]);
pub(crate) const PROFILE: ProfileId = ProfileId([0xa3; 32]);
pub(crate) const ENTRY: EntryId = EntryId([0xe0; 32]);
pub(crate) const DEVICE: PublicKey = PublicKey([0xd0; 32]);
pub(crate) const USER: UserKey = UserKey(PublicKey([0xb0; 32]));
pub(crate) const RECOVERY: PublicKey = PublicKey([0xb1; 32]);
pub(crate) const SIGNATURE: Signature = Signature([0xf5; 64]);
pub(crate) const BLOB: Blob = Blob { hash: BlobHash([0xa4; 32]), len: 300 };
pub(crate) const TIP: Tip = Tip { author: DEVICE, seq: 5, id: ENTRY };

pub(crate) fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

pub(crate) fn cert() -> DeviceCert {
    DeviceCert {
        community: COMMUNITY,
        user: USER,
        device: DEVICE,
        share: 1000,
        serial: 2,
        signature: SIGNATURE,
        consent: Signature([0xf6; 64]),
    }
}

pub(crate) fn join_request() -> JoinRequest {
    JoinRequest {
        user: USER,
        user_name: "bo".into(),
        recovery: RECOVERY,
        device_name: "pc".into(),
        cert: cert(),
        invite: PublicKey([0xd1; 32]),
        word: Signature([0xf7; 64]),
        signature: SIGNATURE,
    }
}

pub(crate) fn device_request() -> DeviceRequest {
    DeviceRequest {
        device_name: "pc".into(),
        device: DEVICE,
        consent: Signature([0xf6; 64]),
        invite: PublicKey([0xd1; 32]),
        signature: SIGNATURE,
    }
}

pub(crate) fn ad() -> Ad {
    Ad {
        community: COMMUNITY,
        device: DEVICE,
        serial: 9,
        holds_ms: 60_000,
        energy: Some(EnergyClaim { source: Source::Wind, renewable_percent: 98, g_per_kwh: 11 }),
        outlook: Outlook {
            hour: 3,
            g_per_kwh: vec![11, 300],
            low_g_per_kwh: Some(40),
            surplus_watts: Some(500),
            slot_watts: 25,
        },
        free_slots: 2,
        free_memory: 1000,
        longest_ms: 600_000,
        profile: PROFILE,
        closed: Some(Reason::DonorPaused),
    }
}

pub(crate) fn piece() -> Piece {
    let claim = EnergyClaim { source: Source::Grid, renewable_percent: 40, g_per_kwh: 450 };
    let reading = Reading {
        scope: Scope::Direct,
        kind: Kind::Marginal,
        estimated: true,
        zone: "DE".into(),
        attestation: Some(Attestation { meter: DEVICE, from_ms: 1, until_ms: 2, signature: SIGNATURE }),
        ..Reading::of(claim, "http")
    };
    Piece { from_ms: 60, ms: 30, energy_mj: 50, reading: Some(reading) }
}

pub(crate) fn metered() -> Metered {
    Metered {
        how: How::Modelled,
        uncertainty_percent: 40,
        factors: Factors::IpccAr5,
        pieces: vec![piece(), Piece { from_ms: 90, reading: None, ..piece() }],
    }
}

pub(crate) fn accounted() -> Accounted {
    Accounted {
        task: TASK,
        attempt: 2,
        factors: Factors::IpccAr5,
        at_once: vec![Piece { reading: None, ..piece() }],
        then: vec![Piece { reading: None, ..piece() }],
        transfer_mj: 7,
        counted: vec![1, 2],
        saved: Some(Saved { when_ug: -1, where_ug: 2, hardware_ug: 3, overhead_ug: -4 }),
    }
}

pub(crate) fn statement() -> Statement {
    Statement {
        task: TASK,
        attempt: 1,
        executor: DEVICE,
        module: MODULE,
        profile: PROFILE,
        outcome: 0,
        fuel: 10,
        fuel_before: 1,
        cpu_us: 20,
        wall_ms: 30,
        peak_memory: 40,
        energy: metered(),
        estimated: false,
        output: Commitment([0xa6; 32]),
        receipt: Commitment([0xa7; 32]),
        comparable: true,
    }
}

pub(crate) fn spec() -> TaskSpec {
    TaskSpec {
        version: task::VERSION,
        community: COMMUNITY,
        submitter: DEVICE,
        user: USER,
        nonce: [0xa8; 32],
        name: "word-count".into(),
        module: MODULE,
        module_len: 200,
        args: vec!["-v".into()],
        env: vec![("LANG".into(), "C".into())],
        stdin: Some(BLOB),
        inputs: vec![InputFile { path: "a/b".into(), blob: BLOB }],
        input: InputHash([0xa9; 32]),
        limits: Limits::default(),
        permissions: Permissions::default(),
        sla: Sla::Eco,
        importance: Some(Importance::High),
        followed: true,
        created_ms: 1000,
        start_by_ms: Some(2000),
        finish_by_ms: Some(3000),
        replicas: 3,
        quorum: 2,
    }
}

pub(crate) fn receipt() -> Receipt {
    Receipt {
        version: receipt::VERSION,
        task: TASK,
        attempt: 1,
        module: MODULE,
        name: "word-count".into(),
        args: vec![],
        env: vec![],
        input: receipt::Input {
            hash: InputHash([0xa9; 32]),
            stdin: None,
            streamed: false,
            named: Digest([0xaa; 32]),
        },
        limits: Limits::default(),
        granted: Permissions::default(),
        profile: EngineProfile {
            engine: "e".into(),
            features: vec![],
            fuel_table: "1".into(),
            world: "1".into(),
            limits: vec![],
        },
        walls: vec!["seccomp".into()],
        out_bound: "metered".into(),
        outcome: Outcome::Exited(0),
        usage: Usage::default(),
        output: receipt::Output {
            stdout_bytes: 0,
            stdout: Digest([0xab; 32]),
            stderr_bytes: 0,
            stderr: Digest([0xab; 32]),
            out_bytes: 0,
            out_files: 0,
            out: Digest([0xab; 32]),
        },
        not_comparable: vec![],
        resumed_from: None,
        last_checkpoint: None,
        executor: DEVICE,
    }
}

pub(crate) fn signed_header(hash: u8) -> SignedHeader {
    let header = Header {
        version: ledger::VERSION,
        community: COMMUNITY,
        author: DEVICE,
        seq: 4,
        prev: ENTRY,
        refs: vec![],
        hlc: Hlc(3),
        kind: 5,
        payload_len: 1,
        payload_hash: Digest([hash; 32]),
    };
    SignedHeader { header, signature: SIGNATURE }
}

/// One payload of each kind, in the order of kinds.
pub(crate) fn payloads() -> Vec<Payload> {
    let why = String::from("why");
    let founded = Founded {
        name: "Elm".into(),
        rules: Rules::default(),
        user: USER,
        user_name: "al".into(),
        recovery: RECOVERY,
        device_name: "pc".into(),
        cert: cert(),
    };
    let registered = PeerRegistered {
        name: "pc".into(),
        place: Some((52, -13)),
        profile: PROFILE,
        walls: vec!["seccomp".into()],
        slots: 2,
    };
    let grant = Grant {
        device: DEVICE,
        user: USER,
        pattern: Pattern::new("word-*").unwrap(),
        module: Some(MODULE),
        until_ms: Some(7),
        permissions: Permissions { real_clock: true, ..Permissions::default() },
    };
    let submitted = TaskSubmitted {
        task: TASK,
        name: "word-count".into(),
        module: MODULE,
        input: Commitment([0xa6; 32]),
        duration_ms: 1000,
        memory_bytes: 65_536,
        sla: Sla::SolarOnly,
        importance: None,
        replicas: 1,
    };
    let proof = ForkProof { a: signed_header(0xa5), b: signed_header(0xa6) };
    vec![
        Payload::Founded(Box::new(founded)),
        Payload::Admitted(Box::new(join_request())),
        Payload::Expelled { user: USER, tips: vec![TIP], why: why.clone() },
        Payload::DeviceAdded(Box::new(DeviceAdded { cert: cert(), name: "pc".into() })),
        Payload::PeerRegistered(Box::new(registered)),
        Payload::PeerOnline,
        Payload::PeerOffline,
        Payload::Granted(Box::new(grant)),
        Payload::Revoked { grant: ENTRY },
        Payload::TaskSubmitted(Box::new(submitted)),
        Payload::Voted { task: TASK, importance: Importance::Critical, comment: why.clone() },
        Payload::Consensus { task: TASK, importance: Some(Importance::Low), votes: vec![ENTRY] },
        Payload::Delegated { task: TASK, attempt: 2, device: DEVICE, grant: Some(ENTRY) },
        Payload::Accepted { task: TASK, attempt: 2 },
        Payload::Refused { task: TASK, attempt: 2, reason: Reason::NotGranted("http".into()) },
        Payload::Vetoed { task: TASK, attempt: 2, why: why.clone() },
        Payload::Completed(Box::new(Completed {
            statement: statement(),
            signature: SIGNATURE,
            effect: Effect::Superseded,
        })),
        Payload::Failed { task: TASK, attempts: 5, reason: Reason::TooManyAttempts(5) },
        Payload::Cancelled { task: TASK },
        Payload::Contribution { user: USER, unit: "hours".into(), amount: 90, month: 202_611 },
        Payload::RulesProposed { rules: Box::new(Rules::default()), why: why.clone() },
        Payload::RulesVoted { proposal: ENTRY, yes: true },
        Payload::HealthDisputed { task: TASK, why },
        Payload::Witnessed { tips: vec![TIP] },
        Payload::KeyRotated(Box::new(Rotation {
            community: COMMUNITY,
            user: USER,
            new: UserKey(RECOVERY),
            from: Hlc(3),
            signature: SIGNATURE,
            consent: SIGNATURE,
        })),
        Payload::KeyRevoked(Box::new(Revocation {
            community: COMMUNITY,
            user: USER,
            device: DEVICE,
            tip: None,
            signature: SIGNATURE,
        })),
        Payload::Forked(Box::new(proof)),
        Payload::ZoneSet { zone: "Europe/Berlin".into() },
        Payload::HealthFlagged { task: TASK, text: "fire".into() },
        Payload::Held { task: TASK, attempt: 2, reason: Some(Reason::OnBattery) },
        Payload::Spent(Box::new(Spent {
            submitter: DEVICE,
            task: TASK,
            attempt: 2,
            energy: metered(),
            estimated: true,
        })),
        Payload::Accounted(Box::new(accounted())),
    ]
}

pub(crate) fn hello_frames() -> Vec<HelloFrame> {
    let addrs = vec!["192.0.2.1:7000".parse().unwrap(), "[2001:db8::1]:7000".parse().unwrap()];
    vec![
        HelloFrame::Hello { version: VERSION, community: COMMUNITY, addrs: addrs.clone() },
        HelloFrame::Join(Box::new(join_request())),
        HelloFrame::JoinDevice(Box::new(device_request())),
        HelloFrame::JoinAnswer(JoinAnswer::Admitted(ENTRY)),
        HelloFrame::JoinAnswer(JoinAnswer::Pending),
        HelloFrame::JoinAnswer(JoinAnswer::Device(Box::new(cert()))),
        HelloFrame::JoinAnswer(JoinAnswer::Refused(JoinRefusal::NotEntitled)),
        HelloFrame::JoinAnswer(JoinAnswer::NotYet),
        HelloFrame::Ad(Box::new(SignedAd { ad: ad(), signature: SIGNATURE })),
        HelloFrame::Peers(vec![PeerAddrs { peer: DEVICE, addrs }]),
        HelloFrame::TipQuery,
        HelloFrame::TipAnswer(Some(TIP)),
        HelloFrame::Seek(vec![DEVICE]),
    ]
}

pub(crate) fn sync_frames() -> Vec<SyncFrame> {
    vec![
        SyncFrame::Digest { prefix: vec![15, 0], logs: 300, digest: Digest([0xaa; 32]) },
        SyncFrame::Same { prefix: vec![1] },
        SyncFrame::Tips { prefix: vec![], tips: vec![TIP] },
        SyncFrame::Want(vec![(DEVICE, 7)]),
        SyncFrame::Entries(vec![vec![1, 2, 3]]),
    ]
}

pub(crate) fn offer() -> Offer {
    Offer {
        task: SignedTask { spec: spec(), signature: SIGNATURE },
        attempt: 1,
        grant: Some(ENTRY),
        lease_ms: 30_000,
        tip: TIP,
        entries: vec![vec![1, 2, 3]],
        resume: None,
    }
}

pub(crate) fn task_frames() -> Vec<TaskFrame> {
    let ended = Ended {
        receipt: SignedReceipt { receipt: receipt(), signature: SIGNATURE },
        statement: statement(),
        signature: SIGNATURE,
        output: BLOB,
    };
    vec![
        TaskFrame::Offer(Box::new(offer())),
        TaskFrame::Accepted,
        TaskFrame::Refused(Reason::NoCapacity),
        TaskFrame::Renew { lease_ms: 30_000 },
        TaskFrame::Beat(Beat {
            phase: Phase::Paused,
            permille: 500,
            note: "half".into(),
            held: Some(Reason::NoCapacity),
        }),
        TaskFrame::Checkpoint { number: 1, blob: BLOB },
        TaskFrame::Ended(Box::new(ended)),
        TaskFrame::Lost(Reason::NotFetched("gone".into())),
        TaskFrame::Stop(Reason::Fenced),
        TaskFrame::Settled(Effect::Done),
        TaskFrame::Status,
        TaskFrame::Released(Released::Conflict("changed".into())),
        TaskFrame::Hold { for_ms: 30_000 },
        TaskFrame::GoOn,
        TaskFrame::Promised(Digest([0xaa; 32])),
        TaskFrame::Reveal,
    ]
}

pub(crate) fn ticket() -> Ticket {
    Ticket {
        kind: TicketKind::Device,
        community: COMMUNITY,
        name: "Elm".into(),
        secret: [0xa8; 32],
        sponsor: DEVICE,
        user: USER,
        addrs: vec!["192.0.2.1:7000".parse().unwrap()],
        until_ms: 1_800_000_000_000,
    }
}

pub(crate) fn entry(number: u8, seq: u64, payload: Payload) -> Entry {
    let founding = matches!(payload, Payload::Founded(_));
    let place = Place {
        community: if founding { CommunityId::ZERO } else { COMMUNITY },
        seq,
        prev: if seq == 0 { EntryId::ZERO } else { ENTRY },
        refs: vec![TIP],
        hlc: Hlc::at(1000),
    };
    Entry::write(&key(number), place, payload)
}

/// Every reason, in the order of their numbers.
pub(crate) fn reasons() -> Vec<Reason> {
    let x = || String::from("x");
    vec![
        Reason::OtherCommunity,
        Reason::BadSignature,
        Reason::NotAMember,
        Reason::NoGrant,
        Reason::GrantExpired,
        Reason::GrantRevoked,
        Reason::NameNotAccepted,
        Reason::NotGranted(x()),
        Reason::LogBehind,
        Reason::OverQuota,
        Reason::ImportanceDisputed,
        Reason::EnergyNotClean,
        Reason::TooLarge { what: x(), wanted: 2, given: 1 },
        Reason::NoCapacity,
        Reason::DonorPaused,
        Reason::DonorFinishing,
        Reason::Fenced,
        Reason::LeaseEnded,
        Reason::PeerSilent,
        Reason::NotConnected,
        Reason::NotFetched(x()),
        Reason::Inadmissible(x()),
        Reason::SandboxFailed(x()),
        Reason::BadResult(x()),
        Reason::VetoedByOwner,
        Reason::VetoedByDonor,
        Reason::Cancelled,
        Reason::NoPeer,
        Reason::TooManyAttempts(3),
        Reason::Unknown,
        Reason::StorageFailed(x()),
        Reason::LogNotReady,
        Reason::Restarted,
        Reason::NotTrusted,
        Reason::Elsewhere,
        Reason::Overdue,
        Reason::BallotOpen,
        Reason::NeverEnoughEnergy,
        Reason::OutsideHours,
        Reason::OnBattery,
        Reason::BatteryLow { percent: 9, floor: 30 },
        Reason::DeviceBusy { percent: 80, most: 25 },
        Reason::NoSurplus,
        Reason::UploadUsedUp,
        Reason::NoSun,
        Reason::NoWind,
        Reason::CleanerLater,
        Reason::CleanerElsewhere,
        Reason::Expired,
        Reason::RefusedByOwner(x()),
        Reason::PutOffByOwner(x()),
        Reason::SameOwner,
        Reason::NoQuorum { agreed: 1, quorum: 2, replicas: 3 },
        Reason::TooLate,
        Reason::NoMembersDevice,
        Reason::ResultNotFetched(x()),
        Reason::Unwitnessed,
    ]
}
