//! Throws changed copies of good input at every decoder of what peers send: none may panic, hang, or take what it would
//! not write.
//!
//! Two seconds each, or as many as `MESH_FUZZ_SECONDS` says. A failure prints the seed that repeats it, which
//! `MESH_FUZZ_SEED` takes. Mutation without feedback; it finds slips, not proofs.
// spec: ARC-7, LED-1, NET-2, NET-3

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "a fuzzer runs for a time that its caller chooses")]

mod samples;

use mesh_protocol::canonical;
use mesh_protocol::frame::Frame;
use mesh_protocol::ids::{from_hex, to_hex};
use mesh_protocol::invite::Ticket;
use mesh_protocol::key::Domain;
use mesh_protocol::ledger::{Entry, ForkProof, MAX_ENTRY, MAX_PAYLOAD, Payload, SignedHeader, payload_hash};
use mesh_protocol::task::SignedTask;
use samples::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// splitmix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Bytes that decoders stumble over: ends of ranges, lengths that lie, text that is none.
const TELLING: [&[u8]; 7] = [
    b"\0",
    b"\xff",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\xff\xff\xff\xff\x0f",
    b"\x7f",
    b"\xf0\x9f\x8c\x9e",
    b"\xe2\x80\xae",
];

fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 => bytes.truncate(at),
            3 => {
                let telling = TELLING[random.below(TELLING.len())];
                bytes.splice(at..at, telling.iter().copied());
            }
            4 => {
                let end = (at + random.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                let to = (from + random.below(64)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    bytes
}

fn fuzz(name: &str, corpus: &[Vec<u8>], check: impl Fn(&[u8])) {
    let end = Instant::now() + Duration::from_secs(setting("MESH_FUZZ_SECONDS").unwrap_or(2));
    let mut seed = setting("MESH_FUZZ_SEED").unwrap_or(1);
    let mut rounds = 0u64;
    while Instant::now() < end {
        let bytes = mutate(&mut Random(seed), corpus);
        let began = Instant::now();
        let survived = catch_unwind(AssertUnwindSafe(|| check(&bytes)));
        assert!(survived.is_ok(), "{name} panicked: MESH_FUZZ_SEED={seed}, {} bytes", bytes.len());
        assert!(began.elapsed() < Duration::from_secs(5), "{name} hung: MESH_FUZZ_SEED={seed}");
        seed += 1;
        rounds += 1;
    }
    println!("{name}: {rounds} rounds");
    assert!(rounds > 0);
}

fn frames<F: Frame>(name: &str, corpus: &[F]) {
    let corpus: Vec<Vec<u8>> = corpus.iter().map(F::encode).collect();
    fuzz(name, &corpus, |bytes| {
        if let Ok(frame) = F::decode(bytes) {
            assert_eq!(frame.encode(), bytes, "one frame, one spelling");
        }
    });
}

#[test]
fn fuzz_frames() {
    frames("hello frames", &hello_frames());
    frames("sync frames", &sync_frames());
    frames("task frames", &task_frames());
}

#[test]
fn fuzz_entries() {
    let good: Vec<Vec<u8>> =
        payloads().into_iter().map(|payload| entry(1, 3, payload).bytes().to_vec()).collect();
    fuzz("entries", &good, |bytes| {
        assert!(Entry::verify(bytes).is_err() || good.iter().any(|good| good == bytes));
        if let Ok(entry) = Entry::trusted(bytes) {
            assert_eq!(entry.bytes(), bytes);
            assert!(bytes.len() <= MAX_ENTRY && entry.payload().check().is_ok());
        }
    });
}

/// Past the signature, which whoever writes an entry can make as well.
#[test]
fn fuzz_payloads() {
    let corpus: Vec<Vec<u8>> = payloads().iter().map(canonical::encode).collect();
    let header = entry(1, 3, Payload::PeerOnline).header().clone();
    fuzz("payloads", &corpus, |body| {
        let kind = body.first().copied().unwrap_or_default();
        let (len, hash) = (body.len().min(u16::MAX.into()) as u16, payload_hash(body));
        let header =
            mesh_protocol::ledger::Header { kind, payload_len: len, payload_hash: hash, ..header.clone() };
        let signature = key(1).sign(Domain::Entry, &canonical::encode(&header));
        let bytes = canonical::encode(&(SignedHeader { header, signature }, body.to_vec()));
        if let Ok(entry) = Entry::verify(&bytes) {
            assert_eq!(canonical::encode(entry.payload()), body);
            assert!(body.len() <= MAX_PAYLOAD);
            if let Payload::Forked(proof) = entry.payload() {
                proof.verify();
            }
        }
    });
}

#[test]
fn fuzz_tasks_and_proofs() {
    let task = canonical::encode(&SignedTask { spec: spec(), signature: SIGNATURE });
    fuzz("tasks", &[task], |bytes| {
        if let Ok(task) = canonical::decode::<SignedTask>(bytes)
            && task.spec.check().is_ok()
        {
            assert_eq!(canonical::encode(&task), bytes);
            assert!(!task.verify(), "nobody signed it");
        }
    });
    let proof = ForkProof { a: signed_header(1), b: signed_header(2) };
    fuzz("fork proofs", &[canonical::encode(&proof)], |bytes| {
        assert!(canonical::decode::<ForkProof>(bytes).ok().and_then(|proof| proof.verify()).is_none());
    });
}

#[test]
fn fuzz_tickets() {
    let text = ticket().to_string();
    fuzz("tickets", &[text.clone().into_bytes()], |bytes| {
        if let Ok(ticket) = String::from_utf8_lossy(bytes).parse::<Ticket>() {
            assert_eq!(ticket.to_string(), String::from_utf8_lossy(bytes).trim());
        }
    });
    // Past the checksum.
    let bytes: Vec<u8> =
        (5..text.len() - 8).step_by(2).map(|at| from_hex::<1>(&text[at..at + 2]).unwrap()[0]).collect();
    fuzz("ticket bodies", &[bytes], |body| {
        let check = blake3::hash(body);
        let text = format!("mesh1{}{}", to_hex(body), to_hex(&check.as_bytes()[..4]));
        if let Ok(ticket) = text.parse::<Ticket>() {
            assert_eq!(ticket.to_string(), text, "one ticket, one spelling");
        }
    });
}
