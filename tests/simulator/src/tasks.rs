//! Tasks to submit, and what an executor would say of them.

use mesh_node::{Draft, Run};
use mesh_protocol::ids::{BlobHash, Digest, InputHash, ModuleHash};
use mesh_protocol::key::PublicKey;
use mesh_protocol::limits::Limits;
use mesh_protocol::outcome::Outcome;
use mesh_protocol::permissions::Permissions;
use mesh_protocol::profile::EngineProfile;
use mesh_protocol::receipt::{self, Receipt, Usage};
use mesh_protocol::task::{Blob, Sla};

/// Longest that a simulated task takes.
pub(crate) const DURATION_MS: u64 = 60_000;

pub(crate) fn profile() -> EngineProfile {
    EngineProfile {
        engine: "simulated".into(),
        features: vec![],
        fuel_table: "1".into(),
        world: "1".into(),
        limits: vec![],
    }
}

pub(crate) fn draft(nonce: [u8; 32], followed: bool) -> Draft {
    Draft {
        name: "simulated".into(),
        module: ModuleHash([7; 32]),
        module_len: 100,
        args: vec![],
        env: vec![],
        stdin: None,
        inputs: vec![],
        input: InputHash([8; 32]),
        limits: Limits { duration_ms: DURATION_MS, ..Limits::default() },
        permissions: Permissions::default(),
        sla: Sla::Normal,
        importance: None,
        followed,
        nonce,
        on: None,
        dry_run: false,
    }
}

/// The result that every honest peer gets.
pub(crate) fn output() -> Blob {
    Blob { hash: BlobHash([9; 32]), len: 10 }
}

pub(crate) fn receipt(run: &Run) -> Receipt {
    let spec = &run.spec;
    let digest = Digest([1; 32]);
    Receipt {
        version: receipt::VERSION,
        task: run.attempt.task,
        attempt: run.attempt.attempt,
        module: spec.module,
        name: spec.name.clone(),
        args: spec.args.clone(),
        env: spec.env.clone(),
        input: receipt::Input { hash: spec.input, stdin: None, streamed: false, named: digest },
        limits: spec.limits.clone(),
        granted: spec.permissions.clone(),
        profile: profile(),
        walls: vec![],
        out_bound: "metered".into(),
        outcome: Outcome::Exited(0),
        usage: Usage { fuel: 5, ..Usage::default() },
        output: receipt::Output {
            stdout_bytes: 0,
            stdout: digest,
            stderr_bytes: 0,
            stderr: digest,
            out_bytes: 0,
            out_files: 0,
            out: digest,
        },
        not_comparable: vec![],
        resumed_from: None,
        last_checkpoint: None,
        executor: PublicKey([0; 32]),
    }
}
