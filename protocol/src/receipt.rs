//! The receipt: an executing peer's signed statement of what ran, what it used and what came out.

use crate::canonical;
use crate::ids::{Digest, InputHash, ModuleHash, TaskId};
use crate::key::{BadSignature, Domain, PublicKey, SecretKey, Signature};
use crate::limits::{Limits, MAX_ARGS, MAX_ARGS_BYTES};
use crate::outcome::Outcome;
use crate::permissions::Permissions;
use crate::profile::EngineProfile;
use serde::{Deserialize, Serialize};

/// Version of [`Receipt`]'s shape.
pub const VERSION: u8 = 1;

/// Most walls, engine features or the like in one list: thrice what there is.
const MAX_LIST: usize = 64;
/// Most bytes of an outcome with what it quotes: some names of imports, or a compiler's complaint.
const MAX_OUTCOME: usize = 16 * 1024;

/// What ran, what it used and what came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// [`VERSION`].
    pub version: u8,
    /// Which task.
    pub task: TaskId,
    /// Which try at it, from 1.
    pub attempt: u32,
    /// Which module.
    pub module: ModuleHash,
    /// The task's label.
    pub name: String,
    /// Arguments after the module.
    pub args: Vec<String>,
    /// Environment given, sorted by key.
    pub env: Vec<(String, String)>,
    /// What it could read.
    pub input: Input,
    /// Bounds in force.
    pub limits: Limits,
    /// What it could touch.
    pub granted: Permissions,
    /// Under which engine.
    pub profile: EngineProfile,
    /// Walls around it beyond wasm itself, by name, sorted.
    pub walls: Vec<String>,
    /// How `/out` was bounded: `metered` (a file system of the executor's own).
    pub out_bound: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// What came out.
    pub output: Output,
    /// Why another peer cannot be expected to get the same; empty where it must.
    pub not_comparable: Vec<NotComparable>,
    /// The checkpoint it went on from: its number and its hash.
    pub resumed_from: Option<(u32, Digest)>,
    /// The last checkpoint it saved: its number and its hash.
    pub last_checkpoint: Option<(u32, Digest)>,
    /// Who ran it.
    pub executor: PublicKey,
}

/// What a task could read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The hash the task's id and seed were made with.
    pub hash: InputHash,
    /// Standard input's digest: before the start when it was given whole, after the end when it was streamed and read
    /// to its end, none when it was streamed and left unfinished.
    pub stdin: Option<Digest>,
    /// Was stdin streamed, so that its digest was not known at the start?
    pub streamed: bool,
    /// The tree of named inputs.
    pub named: Digest,
}

/// What a task used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Units of fuel, those before the checkpoint it resumed from included.
    pub fuel: u64,
    /// Fuel of those before the checkpoint.
    pub fuel_before: u64,
    /// Microseconds of CPU time of the worker, for this attempt.
    pub cpu_us: u64,
    /// Milliseconds from start to end, pauses not counted, for this attempt.
    pub wall_ms: u64,
    /// Milliseconds paused.
    pub paused_ms: u64,
    /// Most bytes in all memories and tables at once.
    pub peak_memory: u64,
    /// Most bytes resident in the worker, its own code and data included; 0 where it is not known.
    pub peak_resident: u64,
    /// Was it ever refused memory?
    pub memory_refused: bool,
    /// Is this an estimate because the worker could not report itself?
    pub estimated: bool,
}

/// What came out of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Bytes to stdout.
    pub stdout_bytes: u64,
    /// Their digest.
    pub stdout: Digest,
    /// Bytes to stderr.
    pub stderr_bytes: u64,
    /// Their digest.
    pub stderr: Digest,
    /// Bytes in `/out`.
    pub out_bytes: u64,
    /// Files, folders and links in `/out`.
    pub out_files: u32,
    /// The digest of its tree.
    pub out: Digest,
}

/// Why two runs need not agree.
// spec: SBX-13
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum NotComparable {
    /// It saw the real clock.
    #[error("it was given the real clock")]
    RealClock,
    /// It saw real randomness.
    #[error("it was given real randomness")]
    RealRandom,
    /// It could reach the network.
    #[error("it was given the network")]
    Network,
    /// It worked on folders of this machine.
    #[error("it was given folders of the machine it ran on")]
    Shares,
    /// It was told to stop and could know it.
    #[error("it was told to stop")]
    ToldToStop,
    /// It went on from a checkpoint.
    #[error("it was resumed from a checkpoint")]
    Resumed,
    /// Its stdin was streamed and not read to its end, so nobody knows all it could have read.
    #[error("its input was streamed and not read to the end")]
    OpenInput,
    /// It ended in a way that depends on the machine.
    #[error("how it ended depends on the machine")]
    Inconclusive,
}

/// A receipt with its executor's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedReceipt {
    /// The statement.
    pub receipt: Receipt,
    /// Its executor's signature over the statement's canonical bytes.
    pub signature: Signature,
}

impl Receipt {
    /// Signs as the executor; sets [`Receipt::executor`].
    pub fn sign(mut self, key: &SecretKey) -> SignedReceipt {
        self.executor = key.public();
        let signature = key.sign(Domain::Receipt, &canonical::encode(&self));
        SignedReceipt { receipt: self, signature }
    }

    /// Are its inner bounds kept? A frame bounds the whole; this bounds what is shown and stored of it.
    // spec: ARC-7
    pub fn check(&self) -> Result<(), &'static str> {
        let texts = self.args.iter().chain(self.env.iter().flat_map(|(key, value)| [key, value]));
        let bytes: usize = texts.map(String::len).sum();
        let few = |list: usize| list <= MAX_LIST;
        let profile = &self.profile;
        let names = [&self.name, &self.out_bound, &profile.engine, &profile.fuel_table, &profile.world];
        let names = names.into_iter().chain(&self.walls).chain(&profile.features);
        let names = names.chain(profile.limits.iter().map(|(name, _)| name));
        if self.version != VERSION {
            Err("its receipt has another version")
        } else if self.args.len() > MAX_ARGS || self.env.len() > MAX_ARGS || bytes > MAX_ARGS_BYTES {
            Err("the arguments and environment in its receipt are too long")
        } else if !few(self.walls.len())
            || !few(profile.features.len())
            || !few(profile.limits.len())
            || !few(self.not_comparable.len())
            || names.into_iter().any(|name| name.len() > 255)
        {
            Err("a list or a name in its receipt is too long")
        } else if canonical::encode(&self.outcome).len() > MAX_OUTCOME {
            Err("the outcome in its receipt is too long")
        } else {
            self.granted.check()
        }
    }

    /// What differs between two receipts of one task, in words, where both should agree.
    // spec: SBX-14
    pub fn differences(&self, other: &Self) -> Vec<String> {
        fn line<T: PartialEq + std::fmt::Display>(what: &str, a: &T, b: &T) -> Option<String> {
            (a != b).then(|| format!("{what}: {a} in the receipt, {b} here"))
        }
        let (a, b) = (&self.output, &other.output);
        [
            line("outcome", &self.outcome, &other.outcome),
            line("fuel", &self.usage.fuel, &other.usage.fuel),
            line("peak memory", &self.usage.peak_memory, &other.usage.peak_memory),
            line("stdout bytes", &a.stdout_bytes, &b.stdout_bytes),
            line("stdout", &a.stdout, &b.stdout),
            line("stderr", &a.stderr, &b.stderr),
            line("/out bytes", &a.out_bytes, &b.out_bytes),
            line("/out files", &a.out_files, &b.out_files),
            line("/out", &a.out, &b.out),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl SignedReceipt {
    /// Checks that the executor named in the receipt signed it.
    pub fn verify(&self) -> Result<(), BadSignature> {
        self.receipt.executor.verify(Domain::Receipt, &canonical::encode(&self.receipt), &self.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::to_hex;

    pub(crate) fn sample() -> Receipt {
        Receipt {
            version: VERSION,
            task: TaskId([1; 32]),
            attempt: 1,
            module: ModuleHash([2; 32]),
            name: "word-count".into(),
            args: vec!["-v".into()],
            env: vec![("LANG".into(), "C".into())],
            input: Input {
                hash: InputHash([3; 32]),
                stdin: Some(Digest([4; 32])),
                streamed: false,
                named: Digest([5; 32]),
            },
            limits: Limits::default(),
            granted: Permissions::default(),
            profile: EngineProfile {
                engine: "wasmtime 48.0.8".into(),
                features: vec!["simd".into()],
                fuel_table: "1".into(),
                world: "1".into(),
                limits: vec![("open-files".into(), 256)],
            },
            walls: vec!["seccomp".into()],
            out_bound: "metered".into(),
            outcome: Outcome::Exited(0),
            usage: Usage { fuel: 10, ..Usage::default() },
            output: Output {
                stdout_bytes: 1,
                stdout: Digest([6; 32]),
                stderr_bytes: 0,
                stderr: Digest([7; 32]),
                out_bytes: 0,
                out_files: 0,
                out: Digest([8; 32]),
            },
            not_comparable: vec![],
            resumed_from: None,
            last_checkpoint: None,
            executor: PublicKey([0; 32]),
        }
    }

    // spec: ARC-6
    #[test]
    fn a_receipt_has_fixed_bytes() {
        let bytes = canonical::encode(&sample());
        // Ids are 32 equal bytes each; shortened here to one, so that the rest can be read.
        let hex =
            (1..=8).fold(to_hex(&bytes), |hex, n: u8| hex.replace(&to_hex(&[n; 32]), &format!("<{n}>")));
        let hex = hex.replace(&"00".repeat(32), "<0>");
        assert_eq!(
            hex,
            concat!(
                "<1>0101<2>0a776f72642d636f756e7401022d7601044c414e470143<3>01<4>00<5>80c0f9decfae01c0cf248",
                "0c2d72f8094ebdc0380a0c21e80c8d00780c2d72fe8070001000001000000000f7761736d74696d652034382e3",
                "02e38010473696d6401310131010a6f70656e2d66696c657380020107736563636f6d70076d657465726564000",
                "00a000000000000000001<6>00<7>0000<8><0>000000",
            )
        );
        assert_eq!(canonical::decode::<Receipt>(&bytes).unwrap(), sample());
    }

    #[test]
    fn any_changed_field_breaks_the_signature() {
        let signed = sample().sign(&SecretKey::from_seed(&[9; 32]));
        assert_eq!(signed.verify(), Ok(()));
        let mut bytes = canonical::encode(&signed);
        for index in 0..bytes.len() {
            bytes[index] ^= 1;
            if let Ok(changed) = canonical::decode::<SignedReceipt>(&bytes) {
                assert_eq!(changed.verify(), Err(BadSignature), "byte {index}");
            }
            bytes[index] ^= 1;
        }
    }

    // spec: SBX-14
    #[test]
    fn differences_are_named() {
        let (a, mut b) = (sample(), sample());
        b.usage.cpu_us = 99;
        assert!(a.differences(&b).is_empty(), "time is no difference");
        b.usage.fuel = 11;
        b.output.stdout = Digest([9; 32]);
        let differences = a.differences(&b);
        assert_eq!(differences.len(), 2);
        assert_eq!(differences[0], "fuel: 10 in the receipt, 11 here");
    }
}
