//! What must hold, each as a function named as a sentence.

use crate::world::{Peer, World};
use mesh_node::Message;
use mesh_protocol::frame::TaskFrame;
use mesh_protocol::ids::{EntryId, TaskId};
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Effect, Entry, Payload};
use mesh_protocol::record::{Record, Table};
use std::collections::{BTreeMap, BTreeSet};

/// A guest may live so much longer than its lease: a timer's turn, a slow frame.
const SLACK_MS: u64 = 10_000;

/// What was seen from outside: the reference beside the system.
#[derive(Debug, Default)]
pub struct Seen {
    /// Submissions whose submitters were told that they are taken.
    pub acknowledged: BTreeSet<(PublicKey, TaskId)>,
    /// Pairs that know of each other.
    pub introduced: BTreeSet<(usize, usize)>,
    /// Devices that forked their logs.
    pub forked: BTreeSet<PublicKey>,
    /// Those of them whose fork somebody may have heard of.
    pub forks_shown: BTreeSet<PublicKey>,
    entries: BTreeMap<(PublicKey, u64), EntryId>,
    done: BTreeMap<(PublicKey, TaskId), u32>,
    attempts: BTreeMap<(PublicKey, TaskId), u32>,
    /// When an attempt was followed by a later one.
    fenced: BTreeMap<(TaskId, u32), u64>,
    now: u64,
}

impl Seen {
    /// Looks at what a peer commits.
    pub(crate) fn committed(&mut self, by: &PublicKey, honest: bool, record: &Record) -> Result<(), String> {
        let Record::Entry { author, seq, own: true, bytes } = record else { return Ok(()) };
        let entry = Entry::trusted(bytes).map_err(|error| error.to_string())?;
        if author != by || !honest {
            return Ok(());
        }
        self.no_honest_peer_forks_itself(*author, *seq, &entry)?;
        self.attempt_numbers_only_rise(*author, &entry)?;
        self.no_task_is_done_twice(*author, &entry)
    }

    // spec: LED-5
    fn no_honest_peer_forks_itself(&mut self, author: PublicKey, seq: u64, entry: &Entry) -> Result<(), String> {
        match self.entries.insert((author, seq), entry.id()) {
            Some(before) if before != entry.id() => {
                Err(format!("no_honest_peer_forks_itself: {author:?} wrote entry {seq} twice"))
            }
            _ => Ok(()),
        }
    }

    // spec: DEL-11
    fn attempt_numbers_only_rise(&mut self, author: PublicKey, entry: &Entry) -> Result<(), String> {
        let Payload::Delegated { task, attempt, .. } = entry.payload() else { return Ok(()) };
        let before = self.attempts.insert((author, *task), *attempt).unwrap_or(0);
        if *attempt != before + 1 && *attempt != before {
            return Err(format!("attempt_numbers_only_rise: {task:?} went from {before} to {attempt}"));
        }
        self.fenced.insert((*task, before), self.now);
        Ok(())
    }

    // spec: DEL-4, DEL-11
    fn no_task_is_done_twice(&mut self, author: PublicKey, entry: &Entry) -> Result<(), String> {
        let Payload::Completed(completed) = entry.payload() else { return Ok(()) };
        let statement = &completed.statement;
        if completed.effect != Effect::Done {
            return Ok(());
        }
        let current = self.attempts.get(&(author, statement.task)).copied().unwrap_or(0);
        if statement.attempt != current {
            return Err(format!("only_the_current_attempt_takes_effect: {statement:?}, current is {current}"));
        }
        if !statement.verify(&completed.signature) {
            return Err(format!("a_recorded_result_is_signed_by_who_made_it: {statement:?}"));
        }
        match self.done.insert((author, statement.task), statement.attempt) {
            Some(before) if before != statement.attempt => {
                Err(format!("no_task_is_done_twice: {:?} by attempts {before} and {}", statement.task, statement.attempt))
            }
            _ => Ok(()),
        }
    }
}

fn attempt_key(id: &mesh_protocol::frame::AttemptId) -> (Table, Vec<u8>) {
    (Table::Attempts, [&id.task.0[..], &id.attempt.to_be_bytes()].concat())
}

/// What a frame promises stands on the sender's disk when the frame leaves.
// spec: ARC-3, DEL-11
pub(crate) fn nothing_leaves_before_it_is_durable(peer: &Peer, message: &Message) -> Result<(), String> {
    let Message::Task(id, frame) = message else { return Ok(()) };
    let fails = |what: &str| Err(format!("nothing_leaves_before_it_is_durable: {} of {id:?} by {}", what, peer.name));
    match frame {
        TaskFrame::Offer(offer) => {
            let entry = peer.disk.entries.get(&(peer.key, offer.tip.seq));
            let task = peer.disk.values.contains_key(&(Table::Tasks, id.task.0.to_vec()));
            match entry.and_then(|bytes| Entry::trusted(bytes).ok()) {
                Some(entry) if entry.id() == offer.tip.id && task => Ok(()),
                _ => fails("an offer"),
            }
        }
        TaskFrame::Accepted if !peer.disk.values.contains_key(&attempt_key(id)) => fails("an acceptance"),
        TaskFrame::Ended(_) if !peer.disk.values.contains_key(&attempt_key(id)) => fails("a result"),
        _ => Ok(()),
    }
}

// spec: LED-5
pub(crate) fn an_entry_is_on_disk_before_it_leaves(peer: &Peer, entry: &Entry) -> Result<(), String> {
    let at = (entry.header().author, entry.header().seq);
    match peer.disk.entries.get(&at) {
        Some(bytes) if bytes == entry.bytes() => Ok(()),
        _ => Err(format!("an_entry_is_on_disk_before_it_leaves: {} spreads {entry:?}", peer.name)),
    }
}

// spec: DEL-12, PERM-1, PERM-4
pub(crate) fn nothing_starts_without_a_grant(peer: &Peer, run: &mesh_node::Run, wall_ms: u64) -> Result<(), String> {
    let own = run.owner == peer.key;
    if own || peer.disk.grants(&peer.key, &run.spec.user, wall_ms) {
        return Ok(());
    }
    Err(format!("nothing_starts_without_a_grant: {:?} on {}", run.attempt, peer.name))
}

/// After every event.
pub(crate) fn always(world: &mut World) -> Result<(), String> {
    world.seen.now = world.now;
    a_fenced_attempt_never_outlives_its_lease(world)
}

// spec: DEL-3, DEL-11
fn a_fenced_attempt_never_outlives_its_lease(world: &World) -> Result<(), String> {
    for peer in &world.peers {
        for (id, job) in &peer.jobs {
            let Some(since) = world.seen.fenced.get(&(id.task, id.attempt)) else { continue };
            let lease = if job.run.spec.followed { 30_000 } else { job.run.spec.limits.duration_ms + 600_000 };
            // A sleeping peer computes nothing.
            let awake = peer.asleep_until <= world.now;
            if awake && job.since.is_some() && world.now > since + lease + SLACK_MS + 120_000 {
                return Err(format!("a_fenced_attempt_never_outlives_its_lease: {id:?} on {}", peer.name));
            }
            if job.stopped && job.since.is_some() {
                return Err(format!("a_stopped_guest_computes_no_more: {id:?} on {}", peer.name));
            }
        }
    }
    Ok(())
}

/// After everything has healed and come to rest.
pub(crate) fn at_rest(world: &World) -> Result<(), String> {
    every_acknowledged_task_has_ended(world)?;
    all_honest_peers_hold_the_same_ledger(world)?;
    every_fork_shown_is_proven_everywhere(world)?;
    no_guest_is_left_over(world)
}

// spec: DEL-10
fn every_acknowledged_task_has_ended(world: &World) -> Result<(), String> {
    for (submitter, task) in &world.seen.acknowledged {
        let Some((_, peer)) = world.honest().find(|(_, peer)| peer.key == *submitter) else { continue };
        let Some(node) = &peer.node else { return Err(format!("{} is not there", peer.name)) };
        match node.task_state(task) {
            None => return Err(format!("no_acknowledged_task_is_lost: {task:?} of {}", peer.name)),
            Some((state, _)) if state.is_over() => {}
            // Its owner took it home and there is no clean energy: that is a reason to wait.
            Some((mesh_node::TaskState::Waiting, why)) if why.contains("not clean enough") => {}
            Some((state, why)) => {
                return Err(format!("every_task_ends: {task:?} of {} is {state:?}: {why}", peer.name));
            }
        }
    }
    Ok(())
}

// spec: DEL-14, LED-3, LED-4
fn all_honest_peers_hold_the_same_ledger(world: &World) -> Result<(), String> {
    let mut first: Option<(&str, _, _)> = None;
    for (_, peer) in world.honest() {
        let Some(node) = &peer.node else { continue };
        let (logs, state) = (node.logs(), node.ledger().state_digest());
        match &first {
            None => first = Some((peer.name, logs, state)),
            Some((name, others, digest)) => {
                if *others != logs {
                    let differ: Vec<_> = logs.iter().filter(|tip| !others.contains(tip)).collect();
                    let lacking: Vec<_> = others.iter().filter(|tip| !logs.contains(tip)).collect();
                    return Err(format!(
                        "all_honest_peers_hold_the_same_ledger: {} has {differ:?} where {name} has {lacking:?}",
                        peer.name
                    ));
                }
                if *digest != state {
                    return Err(format!("all_honest_peers_draw_the_same_conclusions: {} and {name} do not", peer.name));
                }
            }
        }
    }
    Ok(())
}

// spec: LED-5, DEL-14
fn every_fork_shown_is_proven_everywhere(world: &World) -> Result<(), String> {
    let proven: BTreeSet<PublicKey> = world
        .honest()
        .filter_map(|(_, peer)| peer.node.as_ref())
        .flat_map(|node| node.ledger().governance().caps())
        .map(|(device, _)| device)
        .collect();
    for device in &proven {
        if !world.seen.forked.contains(device) {
            return Err(format!("nobody_is_called_a_forger_who_is_none: {device:?}"));
        }
        for (_, peer) in world.honest() {
            if peer.node.as_ref().is_some_and(|node| node.ledger().governance().cap(device).is_none()) {
                return Err(format!("every_fork_is_proven_everywhere: {} knows nothing of {device:?}", peer.name));
            }
        }
    }
    Ok(())
}

fn no_guest_is_left_over(world: &World) -> Result<(), String> {
    match world.peers.iter().find(|peer| !peer.jobs.is_empty()) {
        Some(peer) => Err(format!("no_guest_is_left_over: {} still runs {:?}", peer.name, peer.jobs.keys())),
        None => Ok(()),
    }
}
