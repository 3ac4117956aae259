//! What a node keeps of tasks and attempts, as the checks read it from the disk: the same fields in the same order. The
//! node keeps these shapes to itself; what cannot be read in this way any more fails the first seed.

use super::disk::Disk;
use mesh_node::{AttemptState, TaskState};
use mesh_protocol::canonical;
use mesh_protocol::frame::{AttemptId, Ended, Offer, Released};
use mesh_protocol::ids::{EntryId, TaskId};
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
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Try {
    pub(crate) device: PublicKey,
    pub(crate) grant: Option<EntryId>,
    tip_seq: u64,
    pub(crate) fate: Fate,
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
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attempt {
    offer: Offer,
    pub(crate) state: AttemptState,
    pub(crate) ended: Option<Ended>,
    until_ms: u64,
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
