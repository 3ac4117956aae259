//! The engine profile: everything of an executor that could change a task's output or fuel.

use crate::ids::ProfileId;
use serde::{Deserialize, Serialize};

/// What two receipts must share to be comparable.
// spec: SBX-13
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineProfile {
    /// Engine and exact version, as `wasmtime 48.0.8`.
    pub engine: String,
    /// Wasm features that are on, sorted.
    pub features: Vec<String>,
    /// Names the table of what each operator and host call costs in fuel.
    pub fuel_table: String,
    /// Names the rules of the virtual clock, seeded randomness and file metadata.
    pub world: String,
    /// Structural limits that can change an outcome: table elements, open files, stack bytes, host-call bytes.
    pub limits: Vec<(String, u64)>,
}

impl EngineProfile {
    /// The profile's name.
    pub fn id(&self) -> ProfileId {
        let mut hasher = blake3::Hasher::new_derive_key("taskmesh engine profile v1");
        ProfileId(*hasher.update(&crate::canonical::encode(self)).finalize().as_bytes())
    }
}
