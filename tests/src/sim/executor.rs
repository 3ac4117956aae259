//! A simulated sandbox: after a while it has started, saved its state, ended. It may also lie.
// spec: ARC-2

use mesh_node::Run;
use mesh_protocol::frame::AttemptId;
use mesh_protocol::ids::{BlobHash, Digest, ProfileId, TaskId};
use mesh_protocol::key::PublicKey;
use mesh_protocol::outcome::Outcome;
use mesh_protocol::profile::EngineProfile;
use mesh_protocol::receipt::{self, Receipt, Usage};
use mesh_protocol::task::Blob;
use std::collections::BTreeMap;

/// How a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As it should.
    Well,
    /// What it needs is not to be had.
    NotFetched,
    /// The sandbox crashes.
    Crash,
    /// It uses up its time.
    TimeOut,
    /// The receipt speaks of another output than there is.
    WrongOutput,
    /// The receipt is for another task.
    OtherTask,
    /// It claims more fuel than there was.
    TooMuchFuel,
    /// It never ends and never says anything.
    Silent,
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Preparing,
    Running,
    Paused,
}

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) run: Run,
    pub(crate) way: Way,
    pub(crate) phase: Phase,
    /// Work that is left, in milliseconds, when it last started to run.
    pub(crate) left: u64,
    pub(crate) since: u64,
    /// Held as soon as it has started.
    pub(crate) hold: bool,
    /// What the node wants of it.
    pub(crate) wish: Step,
    pub(crate) ticks: u32,
    /// Makes what was planned before the last change void.
    pub(crate) token: u64,
}

/// What a sandbox does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Start,
    Tick,
    End,
    Pause,
    Resume,
    Stop,
}

/// All runs of a peer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Executor {
    pub(crate) jobs: BTreeMap<AttemptId, Job>,
}

pub(crate) fn profile() -> EngineProfile {
    EngineProfile {
        engine: "simulated".into(),
        features: vec![],
        fuel_table: "1".into(),
        world: "1".into(),
        limits: vec![],
    }
}

pub(crate) fn profile_id() -> ProfileId {
    profile().id()
}

/// What a task truly computes.
pub(crate) fn truth(run: &Run) -> Digest {
    truth_of(&run.attempt.task)
}

pub(crate) fn truth_of(task: &TaskId) -> Digest {
    Digest(*blake3::hash(&task.0).as_bytes())
}

/// The output of a run as bytes that somebody keeps.
pub(crate) fn blob_of(content: Digest) -> Blob {
    Blob { hash: BlobHash(*blake3::hash(&content.0).as_bytes()), len: 32 }
}

pub(crate) fn receipt_for(run: &Run, way: Way) -> Receipt {
    let spec = &run.spec;
    let none = Digest([0; 32]);
    let mut receipt = Receipt {
        version: receipt::VERSION,
        task: run.attempt.task,
        attempt: run.attempt.attempt,
        module: spec.module,
        name: spec.name.clone(),
        args: spec.args.clone(),
        env: spec.env.clone(),
        input: receipt::Input { hash: spec.input, stdin: None, streamed: false, named: none },
        limits: spec.limits.clone(),
        granted: spec.permissions.clone(),
        profile: profile(),
        walls: vec![],
        out_bound: "metered".into(),
        outcome: if way == Way::TimeOut { Outcome::TimedOut } else { Outcome::Exited(0) },
        usage: Usage { fuel: 5, wall_ms: 10, ..Usage::default() },
        output: receipt::Output {
            stdout_bytes: 0,
            stdout: none,
            stderr_bytes: 0,
            stderr: none,
            out_bytes: 32,
            out_files: 1,
            out: truth(run),
        },
        not_comparable: vec![],
        resumed_from: None,
        last_checkpoint: None,
        executor: PublicKey([0; 32]),
    };
    match way {
        Way::Crash => receipt.outcome = Outcome::SandboxCrashed("simulated".into()),
        Way::WrongOutput => receipt.output.out = Digest([0xbb; 32]),
        Way::OtherTask => receipt.task.0[0] ^= 1,
        Way::TooMuchFuel => receipt.usage.fuel = u64::MAX,
        Way::Well | Way::NotFetched | Way::TimeOut | Way::Silent => {}
    }
    receipt
}

/// What a run of an attempt uses on a peer, in millijoule.
pub(crate) fn energy_of(who: usize, attempt: AttemptId) -> u64 {
    let hash =
        blake3::hash(&[&attempt.task.0[..], &attempt.attempt.to_be_bytes(), &who.to_be_bytes()].concat());
    1 + u64::from(hash.as_bytes()[0])
}
