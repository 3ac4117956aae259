//! What the world knows beside the peers: what was promised to whom, and what each said. The checks compare the two.

use super::disk::Disk;
use super::known::Known;
use super::net::{Channel, Who};
use super::peer::Peer;
use mesh_node::CommandId;
use mesh_protocol::frame::AttemptId;
use mesh_protocol::ids::{BlobHash, EntryId, TaskId};
use mesh_protocol::invite::TicketKind;
use mesh_protocol::key::{PublicKey, SecretKey, UserKey};
use mesh_protocol::ledger::{Effect, Entry, Grant, Hlc, Payload};
use std::collections::{BTreeMap, BTreeSet};

/// Why something was asked.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    /// A ticket for this peer.
    Invite(Who),
    /// To get in.
    Join,
    /// A task to be run, perhaps until a moment of its owner's clock.
    Submit(Option<u64>),
    /// What a task waits for whose deadline has come.
    Deadline(TaskId),
    /// What a task waits for.
    View(TaskId),
    /// A ticket for a key that somebody makes for themselves.
    Puppet(TicketKind),
    /// Whatever else.
    Other,
}

/// A key that a cheater made, and the end of the log that it writes with it.
#[derive(Debug)]
pub(crate) struct Puppet {
    pub(crate) key: SecretKey,
    pub(crate) next: u64,
    pub(crate) prev: EntryId,
    pub(crate) hlc: Hlc,
}

/// What a peer itself has said of who may do what there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Word {
    pub(crate) grants: BTreeMap<EntryId, Grant>,
    pub(crate) revoked: BTreeSet<EntryId>,
    pub(crate) expelled: BTreeSet<UserKey>,
}

/// Everything recorded beside the system.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) asked: BTreeMap<CommandId, (Who, Ask)>,
    /// States told to people.
    pub(crate) told: BTreeMap<(Who, TaskId), String>,
    /// Own entries as their authors first made them durable.
    pub(crate) truth: BTreeMap<(PublicKey, u64), EntryId>,
    /// Attempts as the logs of their tasks' owners give them: number and device.
    pub(crate) given: BTreeMap<(Who, TaskId), BTreeMap<u32, PublicKey>>,
    /// Attempts offered: number and device.
    pub(crate) offered: BTreeMap<(Who, TaskId), BTreeMap<u32, PublicKey>>,
    /// Submissions that were acknowledged.
    pub(crate) acknowledged: BTreeSet<(Who, TaskId)>,
    /// Effects: which attempt, which output.
    pub(crate) done: BTreeMap<(Who, TaskId), (u32, BlobHash)>,
    /// Results that an owner's log records.
    pub(crate) recorded: BTreeMap<(Who, TaskId, u32), Effect>,
    /// Runs that were begun.
    pub(crate) runs: BTreeSet<(Who, AttemptId)>,
    /// Runs that came to an end with a result.
    pub(crate) produced: BTreeSet<(Who, AttemptId)>,
    /// Attempts of which a device has said what they used without a result.
    pub(crate) spent: BTreeSet<(Who, TaskId, u32)>,
    /// What each sandbox said that a run had used, in millijoule.
    pub(crate) metered: BTreeMap<(Who, AttemptId), u64>,
    /// Leases in offers that were heard, in milliseconds.
    pub(crate) heard: BTreeMap<(Who, AttemptId), u64>,
    /// Until when leases run, by the boot clock of the peer that has them.
    pub(crate) leases: BTreeMap<(Who, AttemptId), u64>,
    /// Since when a peer's energy has been dirty, where it is.
    pub(crate) dirty_since: BTreeMap<Who, u64>,
    /// Since when a run goes on that may not on this energy.
    pub(crate) unfit_since: BTreeMap<(Who, AttemptId), u64>,
    pub(crate) words: BTreeMap<Who, Word>,
    /// Forks that were made: of which log, and where.
    pub(crate) forks: BTreeSet<(PublicKey, u64)>,
    /// Forks that an honest peer has proven in its log: whose, from where on, and by whom.
    pub(crate) proven: BTreeSet<(PublicKey, u64, Who)>,
    pub(crate) expelled: BTreeSet<Who>,
    /// What tasks are said to wait for.
    pub(crate) views: BTreeMap<(Who, TaskId), (String, String)>,
    /// Replicas whose results were asked for, and by whom they were made.
    pub(crate) revealed: BTreeSet<(Who, AttemptId)>,
    /// Replicas for which somebody promised what another had.
    pub(crate) copied: BTreeSet<(Who, AttemptId)>,
    /// When each entry first stood on its author's disk, or was forged.
    pub(crate) born: BTreeMap<EntryId, u64>,
    /// When each task was first announced in a log.
    pub(crate) opened: BTreeMap<(PublicKey, TaskId), u64>,
    /// Tasks that a donor has run for a device.
    pub(crate) ran_for: BTreeMap<(Who, PublicKey), BTreeSet<TaskId>>,
    /// Attempts that an owner has begun.
    pub(crate) begun: BTreeSet<(Who, AttemptId)>,
    /// How often a waiting task was passed over since its device started.
    pub(crate) passed: BTreeMap<(Who, TaskId), u32>,
    /// Keys that a cheater made.
    pub(crate) puppets: Vec<Puppet>,
    /// What a replayer has said, and to whom.
    pub(crate) frames: Vec<(Who, Channel, Vec<u8>)>,
}

impl Model {
    /// A process reads again what it has said.
    pub(crate) fn restored(&mut self, who: Who, peer: &Peer, known: &mut Known) {
        let mut word = Word::default();
        for entry in peer.disk.entries.values().filter_map(|bytes| known.read(bytes)) {
            word.add(&entry, &peer.key);
        }
        self.words.insert(who, word);
    }

    /// A process is gone, and with it what it was asked and what ran there.
    pub(crate) fn crashed(&mut self, who: Who) {
        self.asked.retain(|_, (at, _)| *at != who);
        self.leases.retain(|(at, _), _| *at != who);
        self.heard.retain(|(at, _), _| *at != who);
        self.passed.retain(|(at, _), _| *at != who);
    }

    /// A node wants something kept.
    pub(crate) fn said(&mut self, who: Who, entry: &Entry, key: &PublicKey) {
        self.words.entry(who).or_default().add(entry, key);
    }
}

impl Word {
    fn add(&mut self, entry: &Entry, key: &PublicKey) {
        let own = entry.header().author == *key;
        match entry.payload() {
            Payload::Granted(grant) if own => drop(self.grants.insert(entry.id(), (**grant).clone())),
            Payload::Revoked { grant } if own => drop(self.revoked.insert(*grant)),
            Payload::Expelled { user, .. } => drop(self.expelled.insert(*user)),
            _ => {}
        }
    }
}

/// The id of a kept entry.
pub(crate) fn id_on(disk: &Disk, author: &PublicKey, seq: u64) -> Option<EntryId> {
    let bytes = disk.entries.get(&(*author, seq))?;
    Entry::trusted(bytes).ok().map(|entry| entry.id())
}
