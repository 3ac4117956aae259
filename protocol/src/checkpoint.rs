//! A checkpoint: all that another process or peer needs to go on with a task, bound to what it belongs to.
//!
//! It is hostile input to whoever resumes it. The guest's state is only ever given back to the same guest; everything
//! else is checked against what is resumed before anything starts.
// spec: SDK-6

use crate::canonical;
use crate::digest::{self, TreeEntry, TreeNode};
use crate::ids::{Digest, InputHash, ModuleHash, ProfileId, TaskId};
use crate::limits::{Limits, MAX_CHECKPOINT, MAX_LINK_TARGET, MAX_OUT_FILES, MAX_TREE_DEPTH, MAX_TREE_PATH};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

const MAGIC: &[u8; 8] = b"MESHCK1\n";

/// What a checkpoint belongs to and where in the task it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Which task.
    pub task: TaskId,
    /// Of which module.
    pub module: ModuleHash,
    /// On which input.
    pub input: InputHash,
    /// Under which engine.
    pub profile: ProfileId,
    /// Its number within the task, from 1, going on over resumed attempts.
    pub seq: u32,
    /// The hash of the one before it, or zero.
    pub parent: Digest,
    /// Fuel used up to here by all attempts it builds on.
    pub fuel_used: u64,
    /// The virtual clock's nanoseconds.
    pub clock_ns: u64,
    /// Bytes drawn from the seeded random stream.
    pub random_pos: u64,
    /// Bytes of a streamed stdin handed over so far; 0 where the input is part of the hash above.
    pub stdin_read: u64,
    /// Their digest.
    pub stdin: Digest,
    /// Digest of stdout so far.
    pub stdout: Digest,
    /// Digest of stderr so far.
    pub stderr: Digest,
    /// Digest of the tree in `/out`.
    pub out: Digest,
    /// Digest of the guest's own state.
    pub state: Digest,
}

impl Header {
    /// The checkpoint's hash, by which the next one and receipts name it.
    pub fn hash(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("taskmesh checkpoint v1");
        Digest(*hasher.update(&canonical::encode(self)).finalize().as_bytes())
    }
}

/// A file, folder or link of `/out` with its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutNode {
    /// A folder.
    Dir,
    /// A file's bytes.
    File(#[serde(with = "byte_vec")] Vec<u8>),
    /// A link's target.
    Link(String),
}

/// A whole checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// What it belongs to.
    pub header: Header,
    /// The guest's own state.
    #[serde(with = "byte_vec")]
    pub state: Vec<u8>,
    /// Stdout so far.
    #[serde(with = "byte_vec")]
    pub stdout: Vec<u8>,
    /// Stderr so far.
    #[serde(with = "byte_vec")]
    pub stderr: Vec<u8>,
    /// `/out` by path, sorted as a depth-first walk gives it.
    #[serde(deserialize_with = "out_nodes")]
    pub out: Vec<(String, OutNode)>,
}

/// No more nodes than any `/out` may have. The shortest has two bytes, and many times as many in memory: without a bound,
/// a file of the size that the limits allow would take all there is.
// spec: SDK-6
fn out_nodes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, OutNode)>, D::Error> {
    struct Nodes;
    impl<'de> Visitor<'de> for Nodes {
        type Value = Vec<(String, OutNode)>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {MAX_OUT_FILES} files, folders and links")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut nodes = Vec::new();
            while let Some(node) = list.next_element()? {
                if nodes.len() == MAX_OUT_FILES as usize {
                    return Err(A::Error::invalid_length(nodes.len() + 1, &self));
                }
                nodes.push(node);
            }
            Ok(nodes)
        }
    }
    deserializer.deserialize_seq(Nodes)
}

/// Most bytes of any checkpoint: its state and its files, standard output and standard error have a largest size each, and
/// names take some.
const MAX_FILE: u64 = 4 * MAX_CHECKPOINT;
/// For a file's name and a link's target.
const NAME_BYTES: u64 = 10_000;

/// Most bytes of a checkpoint of a task with these limits; of one that saves nothing, there is none.
pub fn largest(limits: &Limits) -> u64 {
    if limits.checkpoint_bytes == 0 {
        return 0;
    }
    let names = u64::from(limits.out_files).saturating_mul(NAME_BYTES).saturating_add(NAME_BYTES);
    // So much an executor lets a task save of both.
    let saved = limits.checkpoint_bytes.saturating_add(limits.out_bytes).min(MAX_CHECKPOINT);
    let parts = [saved, limits.stdout_bytes, limits.stderr_bytes];
    parts.iter().fold(names, |sum, part| sum.saturating_add(*part)).min(MAX_FILE)
}

/// `Vec<u8>` as one run of bytes instead of a list of numbers.
mod byte_vec {
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Why a checkpoint cannot be resumed from. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It does not begin as a checkpoint does.
    #[error("it is not a checkpoint file")]
    NotACheckpoint,
    /// Its checksum does not fit: damaged or cut off.
    #[error("it is damaged or cut off")]
    Damaged,
    /// It fits its checksum and still cannot be read.
    #[error("it cannot be read")]
    Unreadable(#[source] canonical::DecodeError),
    /// A part is not what its header says.
    #[error("its {0} does not fit its header")]
    Inconsistent(&'static str),
    /// It belongs to another task, module, input or engine.
    #[error("it belongs to another {0}")]
    Foreign(&'static str),
    /// A part is larger than the task's limits allow.
    #[error("its {0} is larger than the task's limit")]
    TooLarge(&'static str),
    /// `/out` holds a path that no guest could have made.
    #[error("it holds a file name that cannot be: {0:?}")]
    BadPath(String),
}

/// What a checkpoint must belong to in order to be resumed.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The task.
    pub task: &'a TaskId,
    /// The module.
    pub module: &'a ModuleHash,
    /// The input.
    pub input: &'a InputHash,
    /// The engine.
    pub profile: &'a ProfileId,
    /// The task's limits.
    pub limits: &'a Limits,
}

/// The digest of an `/out` tree given with its contents.
pub fn out_digest(out: &[(String, OutNode)]) -> Digest {
    let entries: Vec<TreeEntry> = out
        .iter()
        .map(|(path, node)| TreeEntry {
            path: path.clone(),
            node: match node {
                OutNode::Dir => TreeNode::Dir,
                OutNode::File(bytes) => {
                    TreeNode::File { len: bytes.len() as u64, content: digest::bytes(bytes) }
                }
                OutNode::Link(target) => TreeNode::Link(target.clone()),
            },
        })
        .collect();
    digest::tree(&entries)
}

impl Checkpoint {
    /// The bytes that travel and are kept.
    pub fn encode(&self) -> Vec<u8> {
        let body = canonical::encode(self);
        [MAGIC.as_slice(), blake3::hash(&body).as_bytes(), &body].concat()
    }

    /// Reads what [`Checkpoint::encode`] wrote, and checks every part against the header.
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(CheckpointError::NotACheckpoint)?;
        let (sum, body) = rest.split_at_checked(32).ok_or(CheckpointError::Damaged)?;
        if blake3::hash(body) != *<&[u8; 32]>::try_from(sum).map_err(|_| CheckpointError::Damaged)? {
            return Err(CheckpointError::Damaged);
        }
        let this: Self = canonical::decode(body).map_err(CheckpointError::Unreadable)?;
        let parts = [
            (this.header.state, digest::bytes(&this.state), "state"),
            (this.header.stdout, digest::bytes(&this.stdout), "stdout"),
            (this.header.stderr, digest::bytes(&this.stderr), "stderr"),
            (this.header.out, out_digest(&this.out), "/out"),
        ];
        if let Some((.., part)) = parts.iter().find(|(said, is, _)| said != is) {
            return Err(CheckpointError::Inconsistent(part));
        }
        if this.header.seq == 0 {
            return Err(CheckpointError::Inconsistent("number"));
        }
        Ok(this)
    }

    /// Checks that it belongs to what is resumed and lies within its limits.
    pub fn check(&self, expected: &Expected<'_>) -> Result<(), CheckpointError> {
        let header = &self.header;
        let belongs = [
            (header.module == *expected.module, "module"),
            (header.input == *expected.input, "input"),
            (header.task == *expected.task, "task (module, input, arguments or environment differ)"),
            (header.profile == *expected.profile, "engine profile"),
        ];
        if let Some((_, what)) = belongs.iter().find(|(fits, _)| !fits) {
            return Err(CheckpointError::Foreign(what));
        }
        let limits = expected.limits;
        let file_bytes = self.out.iter().map(|(_, node)| match node {
            OutNode::File(bytes) => bytes.len() as u64,
            OutNode::Dir | OutNode::Link(_) => 0,
        });
        let sizes = [
            (self.state.len() as u64 <= limits.checkpoint_bytes.min(MAX_CHECKPOINT), "state"),
            (self.stdout.len() as u64 <= limits.stdout_bytes, "stdout"),
            (self.stderr.len() as u64 <= limits.stderr_bytes, "stderr"),
            (file_bytes.sum::<u64>() <= limits.out_bytes, "/out"),
            (self.out.len() as u64 <= u64::from(limits.out_files.min(MAX_OUT_FILES)), "number of files"),
            (header.fuel_used < limits.fuel, "fuel used"),
        ];
        if let Some((_, what)) = sizes.iter().find(|(fits, _)| !fits) {
            return Err(CheckpointError::TooLarge(what));
        }
        let mut folders = std::collections::BTreeSet::from([""]);
        let mut last: Option<Vec<&str>> = None;
        for (path, node) in &self.out {
            let bad = || CheckpointError::BadPath(crate::text::sanitise(path, false));
            let parts: Vec<&str> = path.split('/').collect();
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            let sorted = last.as_ref().is_none_or(|last| *last < parts);
            // What no guest can make could not be walked over or packed again, and its donor would be blamed for it.
            let within = parts.len() < MAX_TREE_DEPTH && "out/".len() + path.len() <= MAX_TREE_PATH;
            if !within
                || !parts.iter().all(|part| crate::manifest::is_file_name(part))
                || !folders.contains(parent)
                || !sorted
            {
                return Err(bad());
            }
            if matches!(node, OutNode::Dir) {
                folders.insert(path);
            }
            if let OutNode::Link(target) = node
                && (target.is_empty()
                    || target.len() > MAX_LINK_TARGET
                    || target.starts_with('/')
                    || target.contains('\0'))
            {
                return Err(bad());
            }
            last = Some(parts);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Checkpoint {
        let out = vec![
            ("a".into(), OutNode::File(b"xyz".to_vec())),
            ("d".into(), OutNode::Dir),
            ("d/l".into(), OutNode::Link("../a".into())),
        ];
        Checkpoint {
            header: Header {
                task: TaskId([1; 32]),
                module: ModuleHash([2; 32]),
                input: InputHash([3; 32]),
                profile: ProfileId([4; 32]),
                seq: 2,
                parent: Digest([5; 32]),
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

    fn check(checkpoint: &Checkpoint, limits: &Limits) -> Result<(), CheckpointError> {
        let header = sample().header;
        let (task, module, input, profile) = (&header.task, &header.module, &header.input, &header.profile);
        checkpoint.check(&Expected { task, module, input, profile, limits })
    }

    fn limits() -> Limits {
        Limits { checkpoint_bytes: 100, ..Limits::default() }
    }

    // spec: SDK-6, ARC-6
    #[test]
    fn a_checkpoint_survives_the_journey_and_nothing_else_does() {
        let bytes = sample().encode();
        assert_eq!(Checkpoint::decode(&bytes).unwrap(), sample());
        check(&sample(), &limits()).unwrap();
        for len in 0..bytes.len() {
            assert!(Checkpoint::decode(&bytes[..len]).is_err(), "cut at {len}");
        }
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 0x10;
            assert!(Checkpoint::decode(&changed).is_err(), "bit flipped at {index}");
        }
        assert_eq!(&bytes[..8], b"MESHCK1\n");
        let body = crate::ids::to_hex(&bytes[40..]);
        assert!(body.starts_with(&format!(
            "{}{}{}{}02",
            "01".repeat(32),
            "02".repeat(32),
            "03".repeat(32),
            "04".repeat(32)
        )));
        assert!(
            body.ends_with(
                "057374617465036f757400030161010378797a0164000364 2f6c02042e2e2f61".replace(' ', "").as_str()
            ),
            "{body}"
        );
    }

    // spec: SDK-6
    #[test]
    fn a_consistent_forgery_is_bound_to_its_task() {
        let foreign = |change: fn(&mut Header)| {
            let mut forged = sample();
            change(&mut forged.header);
            check(&Checkpoint::decode(&forged.encode()).unwrap(), &limits()).unwrap_err().to_string()
        };
        assert_eq!(foreign(|h| h.module = ModuleHash([9; 32])), "it belongs to another module");
        assert_eq!(foreign(|h| h.input = InputHash([9; 32])), "it belongs to another input");
        assert!(foreign(|h| h.task = TaskId([9; 32])).starts_with("it belongs to another task"));
        assert_eq!(foreign(|h| h.profile = ProfileId([9; 32])), "it belongs to another engine profile");
        assert_eq!(foreign(|h| h.fuel_used = u64::MAX), "its fuel used is larger than the task's limit");
        let mut forged = sample();
        forged.stdout = b"uto".to_vec();
        assert!(matches!(Checkpoint::decode(&forged.encode()), Err(CheckpointError::Inconsistent("stdout"))));
    }

    /// Two bytes for each in the file, and more than a hundred in memory.
    // spec: SDK-6, ARC-7
    #[test]
    fn a_checkpoint_of_more_nodes_than_may_be_is_refused_while_it_is_read() {
        let of = |nodes: u32| {
            let out = vec![(String::new(), OutNode::Dir); nodes as usize];
            let header = Header { out: out_digest(&out), ..sample().header };
            Checkpoint::decode(&Checkpoint { header, out, ..sample() }.encode())
        };
        assert!(of(MAX_OUT_FILES).is_ok());
        assert!(matches!(of(MAX_OUT_FILES + 1), Err(CheckpointError::Unreadable(_))));
    }

    // spec: SDK-6, SBX-11
    #[test]
    fn no_path_in_a_checkpoint_leaves_out() {
        for path in ["..", "/etc/passwd", "a/../b", "", "a/", "none/x", "a\0", "."] {
            let mut forged = sample();
            forged.out = vec![(path.into(), OutNode::Dir)];
            forged.header.out = out_digest(&forged.out);
            let error = check(&forged, &limits()).unwrap_err();
            assert!(matches!(error, CheckpointError::BadPath(_)), "{path:?}: {error}");
        }
        let mut twice = sample();
        twice.out = vec![("a".into(), OutNode::Dir), ("a".into(), OutNode::File(vec![]))];
        assert!(matches!(check(&twice, &limits()), Err(CheckpointError::BadPath(_))));
        // One folder more, one byte more than a guest can make, and a link that it cannot.
        let nested = |depth: usize| -> Vec<(String, OutNode)> {
            (1..=depth).map(|depth| (vec!["d"; depth].join("/"), OutNode::Dir)).collect()
        };
        let long = |bytes: usize| {
            let mut out = Vec::new();
            let mut path = "n".repeat(200);
            while path.len() < bytes {
                out.push((path.clone(), OutNode::Dir));
                path = format!("{path}/{}", "n".repeat((bytes - path.len() - 1).min(200)));
            }
            out.push((path, OutNode::Dir));
            out
        };
        let link = |target: &str| vec![("l".into(), OutNode::Link(target.into()))];
        let most = "t".repeat(1024);
        let cases = [
            (nested(63), true),
            (nested(64), false),
            (long(1020), true),
            (long(1021), false),
            (link(&most), true),
            (link(&format!("{most}t")), false),
            (link("/etc/passwd"), false),
            (link(""), false),
            (link("../../x"), true),
        ];
        for (out, sound) in cases {
            let mut forged = sample();
            let last = out.last().cloned();
            forged.out = out;
            assert_eq!(check(&forged, &limits()).is_ok(), sound, "{last:?}");
        }
        let mut through_file = sample();
        through_file.out = vec![("a".into(), OutNode::File(vec![])), ("a/b".into(), OutNode::Dir)];
        assert!(matches!(check(&through_file, &limits()), Err(CheckpointError::BadPath(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut framed = [MAGIC.as_slice(), blake3::hash(&bytes).as_bytes(), &bytes].concat();
            let _either = Checkpoint::decode(&framed).and_then(|c| check(&c, &limits()));
            framed.truncate(50);
            prop_assert!(Checkpoint::decode(&framed).is_err() || bytes.len() <= 10);
        }
    }
}
