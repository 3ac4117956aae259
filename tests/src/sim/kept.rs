//! What a node keeps of tasks and attempts, as the checks read it from the disk: the same fields in the same order. The
//! node keeps these shapes to itself; what cannot be read in this way any more fails the first seed.

use super::disk::Disk;
use mesh_node::{AttemptState, TaskState};
use mesh_protocol::canonical;
use mesh_protocol::frame::{AttemptId, Ended, Offer, Released};
use mesh_protocol::ids::{Digest, EntryId, ProfileId, TaskId};
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Payload, Tip};
use mesh_protocol::reason::Reason;
use mesh_protocol::receipt::SignedReceipt;
use mesh_protocol::record::Table;
use mesh_protocol::task::{Blob, SignedTask};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Fate {
    Open,
    Refused(Reason),
    Lost(Reason),
    Done,
    Superseded,
    Agreed,
    Differed,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Try {
    pub(crate) device: PublicKey,
    pub(crate) grant: Option<EntryId>,
    tip_seq: u64,
    pub(crate) fate: Fate,
    pub(crate) number: u32,
    pub(crate) twin: bool,
    resumed: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) task: SignedTask,
    pub(crate) on: Option<PublicKey>,
    pub(crate) state: TaskState,
    pub(crate) tries: Vec<Try>,
    resume: Option<Blob>,
    pub(crate) result: Option<(u32, SignedReceipt, Blob)>,
    failed: Option<Reason>,
    released: Option<Released>,
    announced: bool,
    eco: bool,
    health: Option<String>,
    pub(crate) twin: Option<Twin>,
    pub(crate) group: Option<Group>,
    state_of: Option<ProfileId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Twin {
    of: TaskId,
    key: TaskId,
    promise: Option<Digest>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Stage {
    Running,
    Showing,
    Fetching(u32),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Group {
    twins: Vec<TaskId>,
    made: u8,
    stage: Stage,
    until_ms: Option<u64>,
    results: Vec<Ended>,
    checked: Option<Box<Ended>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attempt {
    offer: Offer,
    pub(crate) state: AttemptState,
    pub(crate) ended: Option<Ended>,
    until_ms: u64,
}

impl Attempt {
    pub(crate) fn is_replicated(&self) -> bool {
        self.offer.task.spec.is_replicated()
    }
}

pub(crate) fn task_from(value: &[u8]) -> Option<Task> {
    canonical::decode(value).ok()
}

pub(crate) fn task(disk: &Disk, id: &TaskId) -> Option<Task> {
    task_from(disk.value(Table::Tasks, &id.0)?)
}

pub(crate) fn tasks(disk: &Disk) -> impl Iterator<Item = Task> {
    disk.values
        .iter()
        .filter(|((table, _), _)| *table == Table::Tasks)
        .filter_map(|(_, value)| task_from(value))
}

pub(crate) fn attempt_key(id: AttemptId) -> Vec<u8> {
    [&id.task.0[..], &id.attempt.to_be_bytes()].concat()
}

pub(crate) fn attempt(disk: &Disk, id: AttemptId) -> Option<Attempt> {
    canonical::decode(disk.value(Table::Attempts, &attempt_key(id))?).ok()
}

/// What waits to be written into the own log: an hour holds only so many entries.
pub(crate) fn drafts(disk: &Disk) -> impl Iterator<Item = Payload> {
    let of_drafts = |(table, key): &(Table, Vec<u8>)| *table == Table::Meta && key.starts_with(b"draft/");
    let values = disk.values.iter().filter(move |(key, _)| of_drafts(key)).map(|(_, value)| value);
    values
        .filter_map(|value| canonical::decode::<(Payload, Vec<Tip>)>(value).ok())
        .map(|(payload, _)| payload)
}

/// The salt of an attempt's task.
pub(crate) fn attempt_nonce(disk: &Disk, id: AttemptId) -> Option<[u8; 32]> {
    Some(attempt(disk, id)?.offer.task.spec.nonce)
}

/// All attempts at a task that are kept.
pub(crate) fn attempts(disk: &Disk, task: TaskId) -> impl Iterator<Item = (AttemptId, Attempt)> {
    let all = disk.values.iter().filter(|((table, _), _)| *table == Table::Attempts);
    let read = all.filter_map(|(_, value)| canonical::decode::<Attempt>(value).ok());
    read.filter(move |attempt| attempt.offer.task.spec.id() == task)
        .map(move |attempt| (AttemptId { task, attempt: attempt.offer.attempt }, attempt))
}

/// Has the replica that makes this attempt promised a result?
pub(crate) fn is_promised(disk: &Disk, id: AttemptId) -> bool {
    let makes = |it: &Task| it.tries.last().is_some_and(|last| last.number == id.attempt);
    let twins = tasks(disk).filter(makes).filter_map(|it| it.twin);
    twins.filter(|twin| twin.of == id.task).any(|twin| twin.promise.is_some())
}

/// The twins of a task that have not promised a result.
pub(crate) fn unpromised(disk: &Disk, task: TaskId) -> usize {
    tasks(disk).filter_map(|it| it.twin).filter(|twin| twin.of == task && twin.promise.is_none()).count()
}
