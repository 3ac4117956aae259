//! The smallest task there is, as often as it is wanted.

use mesh_node::Draft;
use mesh_protocol::digest;
use mesh_protocol::ids::{Digest, ModuleHash};
use mesh_protocol::limits::Limits;
use mesh_protocol::permissions::Permissions;
use mesh_protocol::task::{Importance, Sla};

/// A module that ends at once, in WebAssembly's text format.
pub const MODULE: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

/// The task that runs it on that device, as the API takes it. Those of other numbers are other tasks.
pub fn draft(module: &[u8], number: u32, on: &str) -> Vec<u8> {
    let mut nonce = [0; 32];
    nonce[..4].copy_from_slice(&number.to_le_bytes());
    let draft = Draft {
        description: String::new(),
        name: "trivial".into(),
        module: ModuleHash::of(module),
        module_len: module.len() as u64,
        args: vec![],
        env: vec![],
        stdin: None,
        inputs: vec![],
        input: digest::input(Some(Digest(*blake3::hash(b"").as_bytes())), digest::tree(&[])),
        limits: Limits { duration_ms: 10_000, memory_bytes: 1 << 20, ..Limits::default() },
        permissions: Permissions::default(),
        sla: Sla::Normal,
        importance: Some(Importance::Normal),
        followed: false,
        start_by_ms: None,
        finish_by_ms: None,
        nonce,
        on: Some(on.into()),
        dry_run: false,
        replicas: 1,
        quorum: 1,
    };
    serde_json::to_vec(&draft).expect("it is plain data")
}
