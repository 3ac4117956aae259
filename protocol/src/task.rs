//! A task as it travels: what its submitter asks for, signed.

use crate::canonical;
use crate::ids::{BlobHash, CommunityId, InputHash, ModuleHash, TaskId};
use crate::key::{Domain, PublicKey, SecretKey, Signature, UserKey};
use crate::limits::{Limits, MAX_ARGS, MAX_ARGS_BYTES, MAX_BYTES};
use crate::manifest::{is_env_key, is_file_name, is_task_name};
use crate::permissions::{Access, Permissions};
use serde::{Deserialize, Serialize};

/// Version of [`TaskSpec`]'s shape.
pub const VERSION: u8 = 2;
/// Most files given to one task: the list travels in one frame.
pub const MAX_INPUT_FILES: usize = 256;
/// Most bytes of a task as it travels. An offer holds it beside eight ledger entries, and must fit into a frame.
pub const MAX_TASK: usize = 80 * 1024;
/// Most bytes of an input's path: deeper trees are no use to a small job.
pub const MAX_PATH: usize = 1024;
/// Most replicas.
pub const MAX_REPLICAS: u8 = 16;

/// How important the community, or the submitter, says a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Importance {
    /// Only on energy that would be wasted otherwise.
    NonCritical,
    /// When energy is clean.
    Low,
    /// As its service level says.
    Normal,
    /// Soon.
    High,
    /// Now.
    Critical,
}

/// How patient the submitter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Sla {
    /// At once, anywhere.
    Urgent,
    /// Soon.
    High,
    /// Within the day.
    #[default]
    Normal,
    /// When energy is clean.
    Eco,
    /// Only on the own device's sun.
    SolarOnly,
    /// Only on the own device's wind.
    WindOnly,
}

/// Bytes that somebody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Blob {
    /// BLAKE3 of the bytes.
    pub hash: BlobHash,
    /// How many.
    pub len: u64,
}

/// A file that a task is given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Where it lies under `/in`: names joined by `/`.
    pub path: String,
    /// Its bytes.
    pub blob: Blob,
}

/// What a submitter asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// [`VERSION`].
    pub version: u8,
    /// In which community.
    pub community: CommunityId,
    /// The device that submits it and owns it until it ends.
    pub submitter: PublicKey,
    /// That device's owner.
    pub user: UserKey,
    /// Tells it apart from the same task asked for before; the salt of what the ledger hides.
    pub nonce: [u8; 32],
    /// A label.
    pub name: String,
    /// What to run.
    pub module: ModuleHash,
    /// Bytes of the module.
    pub module_len: u64,
    /// Arguments.
    pub args: Vec<String>,
    /// Environment, sorted by key.
    pub env: Vec<(String, String)>,
    /// Standard input.
    pub stdin: Option<Blob>,
    /// Files, sorted by path.
    pub inputs: Vec<InputFile>,
    /// Hash of stdin and files together.
    pub input: InputHash,
    /// Bounds: the manifest's, narrowed.
    pub limits: Limits,
    /// What it wants to touch: the manifest's wish, narrowed.
    pub permissions: Permissions,
    /// The submitter's patience.
    pub sla: Sla,
    /// What the submitter says of its importance; to be voted if none.
    pub importance: Option<Importance>,
    /// Does the submitter stay to follow it, so that its lease is short?
    pub followed: bool,
    /// When it was submitted, in milliseconds since 1970.
    pub created_ms: u64,
    /// By when it is to have started, in milliseconds since 1970; as its service level says if none.
    pub start_by_ms: Option<u64>,
    /// By when it is to be done; as its service level says if none.
    pub finish_by_ms: Option<u64>,
    /// Different owners' peers that shall run it.
    pub replicas: u8,
    /// How many of them must agree.
    pub quorum: u8,
}

impl TaskSpec {
    /// May it change a folder of whoever runs it?
    pub fn changes_shares(&self) -> bool {
        self.permissions.shares.values().any(|access| *access == Access::Rw)
    }

    /// Is it run by several, each of whom commits to its result before any of them shows it?
    // spec: DEL-8
    pub fn is_replicated(&self) -> bool {
        self.replicas > 1
    }

    /// Must two runs of it agree, as far as can be said before it runs?
    // spec: DEL-8, SBX-13
    pub fn is_comparable(&self) -> bool {
        let Permissions { real_clock, real_random, http, shares, .. } = &self.permissions;
        !*real_clock && !*real_random && http.is_empty() && shares.is_empty()
    }

    /// Its name for good.
    // spec: DEL-1
    pub fn id(&self) -> TaskId {
        TaskId::new(&self.submitter, &self.module, &self.input, &self.args, &self.env, &self.nonce)
    }

    /// Signs as the submitting device.
    pub fn sign(self, key: &SecretKey) -> SignedTask {
        let signature = key.sign(Domain::Task, &canonical::encode(&self));
        SignedTask { spec: self, signature }
    }

    // spec: DEL-8
    fn check_replicas(&self) -> Result<(), String> {
        if !(1..=MAX_REPLICAS).contains(&self.replicas) {
            return Err(format!("its replicas must be from 1 to {MAX_REPLICAS}"));
        }
        if !(1..=self.replicas).contains(&self.quorum) {
            return Err(format!("its quorum must be from 1 to its replicas, which are {}", self.replicas));
        }
        if self.is_replicated() && !self.is_comparable() {
            return Err(
                "replicas need not agree on what depends on the real clock, real randomness, the network or a share"
                    .into(),
            );
        }
        match self.sla {
            Sla::SolarOnly | Sla::WindOnly if self.is_replicated() => {
                Err("it stays on the submitter's own device, which can be one replica at most".into())
            }
            _ => Ok(()),
        }
    }

    /// Is every bound kept?
    // spec: ARC-7
    pub fn check(&self) -> Result<(), String> {
        let texts = self.args.iter().chain(self.env.iter().flat_map(|(key, value)| [key, value]));
        let bytes: usize = texts.map(String::len).sum();
        if self.version != VERSION {
            return Err(format!("it has version {}, this program knows {VERSION}", self.version));
        }
        if !is_task_name(&self.name) {
            return Err("its name must be 1 to 64 lower-case letters, digits and inner hyphens".into());
        }
        if self.args.len() > MAX_ARGS || self.env.len() > MAX_ARGS || bytes > MAX_ARGS_BYTES {
            return Err(format!(
                "arguments and environment are more than {MAX_ARGS} or longer than {MAX_ARGS_BYTES} bytes"
            ));
        }
        if let Some((key, _)) = self.env.iter().find(|(key, _)| !is_env_key(key)) {
            return Err(format!("{key:?} is no name for an environment variable"));
        }
        if self.inputs.len() > MAX_INPUT_FILES {
            return Err(format!(
                "it has {} input files, at most {MAX_INPUT_FILES} are allowed",
                self.inputs.len()
            ));
        }
        let is_path = |path: &str| path.len() <= MAX_PATH && path.split('/').all(is_file_name);
        if let Some(file) = self.inputs.iter().find(|file| !is_path(&file.path)) {
            return Err(format!("{:?} is no name for an input", file.path));
        }
        let sorted =
            |ordered: bool| if ordered { Ok(()) } else { Err("its lists are not sorted".to_owned()) };
        sorted(self.inputs.is_sorted_by(|a, b| a.path < b.path))?;
        sorted(self.env.is_sorted_by(|a, b| a.0 < b.0))?;
        let total = self.inputs.iter().map(|file| file.blob).chain(self.stdin);
        let total = total.fold(0u64, |sum, blob| sum.saturating_add(blob.len));
        if total > self.limits.input_bytes {
            return Err(format!(
                "its inputs have {total} bytes, at most {} are allowed",
                self.limits.input_bytes
            ));
        }
        if let Some((name, range)) = self.limits.out_of_range() {
            return Err(format!("its {name} must be {range}"));
        }
        if self.start_by_ms.into_iter().chain(self.finish_by_ms).any(|by| by <= self.created_ms) {
            return Err("its deadline lies before its submission".into());
        }
        self.check_replicas()?;
        if self.module_len > MAX_BYTES {
            return Err("its module is larger than any".into());
        }
        self.permissions.check()?;
        match canonical::encode(self).len() {
            len if len > MAX_TASK => Err(format!(
                "its arguments, environment and input names are too long together: {len} bytes, at most {MAX_TASK} are allowed"
            )),
            _ => Ok(()),
        }
    }
}

/// A task with its submitter's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTask {
    /// What is asked for.
    pub spec: TaskSpec,
    /// By the submitting device.
    pub signature: Signature,
}

impl SignedTask {
    /// Did the device named in it sign it?
    pub fn verify(&self) -> bool {
        self.spec.submitter.verify(Domain::Task, &canonical::encode(&self.spec), &self.signature).is_ok()
    }
}
