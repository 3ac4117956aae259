//! Throws changed copies of good input at every decoder: none may panic, hang, or take what it would not write.
//!
//! Two seconds each, or as many as `MESH_FUZZ_SECONDS` says. A failure prints the seed that repeats it, which
//! `MESH_FUZZ_SEED` takes. Mutation without feedback; it finds slips, not proofs.
// spec: SBX-1, SBX-12, SDK-3, SDK-6, ARC-7

use mesh_protocol::checkpoint::{Checkpoint, Header, OutNode, out_digest};
use mesh_protocol::ids::{Digest, InputHash, ModuleHash, ProfileId, TaskId};
use mesh_protocol::manifest::Manifest;
use mesh_protocol::{canonical, digest};
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

/// Bytes that decoders stumble over.
const TELLING: [&[u8]; 10] = [
    b"\0",
    b"\xff",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\xff\xff\xff\xff\x0f",
    b"\x7f",
    b"\0asm",
    b"\xf0\x9f\x8c\x9e",
    b"\"",
    b"[task]\n",
    b"= 99999999999999999999999\n",
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

#[test]
fn fuzz_manifest() {
    let good = br#"[task]
name = "log-rotation"
description = "x"
[limits]
duration = "30s"
memory = "64MB"
out_files = 3
[permissions]
inputs = ["*"]
shares = { logs = "rw" }
env = ["LANG"]
clock = "real"
http = ["api.example.org"]
"#;
    fuzz("manifest", &[good.to_vec(), b"[task]\nname = \"x\"\n".to_vec()], |bytes| {
        if let Ok(manifest) = Manifest::parse(bytes) {
            assert_eq!(manifest.limits.out_of_range(), None);
        }
    });
}

#[test]
fn fuzz_admission() {
    let modules = [
        r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1) (table 3 funcref) (global i32 (i32.const 1)) (data (i32.const 0) "hello")
            (elem (i32.const 0) 1 1) (func (export "_start") (local i64 f32) (loop (br_if 0 (i32.const 0)))))"#,
        r#"(module (@custom "mesh_manifest_v1" "[task]\nname = \"x\"\n") (func (export "_start") (drop (f64.const 1))))"#,
        r#"(component (core module (func (export "f"))) (component (import "a" (func))) (type (list string)))"#,
    ];
    let corpus: Vec<Vec<u8>> = modules.iter().map(|text| wat::parse_str(text).unwrap()).collect();
    fuzz("admission", &corpus, |bytes| {
        if let Ok(summary) = mesh_executor::examine(bytes) {
            assert_eq!(summary.bytes, bytes.len() as u64);
        }
    });
}

#[test]
fn fuzz_worker_protocol() {
    // Messages have one byte for their kind; what follows is text, numbers and lists.
    let corpus: Vec<Vec<u8>> =
        (0u8..14).map(|kind| [&[kind][..], b"\x03abc\x05\x01\x02\x80\x01\x00hello"].concat()).collect();
    fuzz("worker protocol", &corpus, |bytes| {
        mesh_executor::fuzz::from_worker(bytes);
        mesh_executor::fuzz::to_worker(bytes);
    });
}

fn checkpoint() -> Checkpoint {
    let out = vec![("a".to_owned(), OutNode::File(b"xyz".to_vec())), ("d".to_owned(), OutNode::Dir)];
    Checkpoint {
        header: Header {
            task: TaskId([1; 32]),
            module: ModuleHash([2; 32]),
            input: InputHash([3; 32]),
            profile: ProfileId([4; 32]),
            seq: 1,
            parent: Digest::ZERO,
            fuel_used: 300,
            clock_ns: 7,
            random_pos: 8,
            stdin_read: 0,
            stdin: digest::bytes(b""),
            stdout: digest::bytes(b"out"),
            stderr: digest::bytes(b""),
            out: out_digest(&out),
            state: digest::bytes(b"state"),
        },
        state: b"state".to_vec(),
        stdout: b"out".to_vec(),
        stderr: vec![],
        out,
    }
}

#[test]
fn fuzz_checkpoint() {
    let whole = checkpoint().encode();
    fuzz("checkpoint", std::slice::from_ref(&whole), |bytes| {
        if let Ok(decoded) = Checkpoint::decode(bytes) {
            assert_eq!(decoded.encode(), bytes, "one checkpoint, one spelling");
        }
    });
    // Past the checksum, which a forger can make as well.
    fuzz("checkpoint body", &[whole[40..].to_vec()], |body| {
        let framed = [&whole[..8], blake3::hash(body).as_bytes(), body].concat();
        if let Ok(decoded) = Checkpoint::decode(&framed) {
            assert_eq!(canonical::encode(&decoded), body);
        }
    });
}
