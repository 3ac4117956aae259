//! A result is more than one peer's word: replicas that must agree, and second runs that check the first.
//!
//! A task's *twins* are runs of it beside each other. Each is kept as a task of its own, under a key that nobody else
//! ever sees, and goes through the same life as any: it is placed, offered, renewed, lost and tried again. To the
//! others it is the task itself: all its attempts are the task's, numbered in one row, on record in the task itself.
//!
//! * A task with `replicas` does not run itself, its twins do, each with another owner. Each promises its result
//!   ([`Statement::promise`](mesh_protocol::ledger::Statement::promise)) and shows it when all have promised or had
//!   their time. The result on which the quorum agrees is fetched, and is the task's one effect.
//! * Any other task runs itself, and takes effect as soon as its result is here. If that is to be checked, one twin runs
//!   it once more, where neither its submitter nor whoever ran it is the owner. What the ledger says of the first result
//!   waits until then, so that nobody can tell a check from a task that was lost and is tried again. If the two differ,
//!   a third decides.
//!
//! Who agreed with whom, everybody sees by the signed statements that the ledger has of each: see
//! [`crate::ledger::conduct`].
// spec: DEL-8

use crate::command::Happening;
use crate::community::Misbehaviour;
use crate::node::{Node, Timer};
use crate::owner::{Fate, Kept, Task, TaskEvent, TaskState, Try, genuine};
use mesh_policies::importance::Times;
use mesh_policies::reputation::{MUST_AGREE, is_due};
use mesh_protocol::frame::{AttemptId, Ended, TaskFrame};
use mesh_protocol::ids::{Commitment, Digest, EntryId, ProfileId, TaskId};
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::ledger::Effect;
use mesh_protocol::reason::Reason;
use mesh_protocol::rules::Rules;
use mesh_protocol::task::TaskSpec;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How soon a result on which the quorum agrees is asked for again, when none of those who have it is there.
const FETCH_AGAIN_MS: u64 = 5_000;
/// After how many times the span in which a silent peer becomes suspect those that are still there are back.
const BACK_IN: u64 = 4;

/// What makes a kept task a twin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Twin {
    /// Whose.
    pub(crate) of: TaskId,
    /// Under which key it is kept.
    key: TaskId,
    /// What its executor committed to.
    pub(crate) promise: Option<Digest>,
}

/// How far a task with twins is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// They run.
    Running,
    /// Those that promised a result show it.
    Showing,
    /// The result of the attempt with this number is fetched.
    Fetching(u32),
}

/// The twins of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Group {
    /// Those that are not over.
    twins: Vec<TaskId>,
    /// Twins made so far.
    made: u8,
    stage: Stage,
    /// When whoever has not promised, or ended a check, had time to, in milliseconds since 1970; none while nobody has.
    until_ms: Option<u64>,
    /// Results that were shown. At most one for each twin.
    results: Vec<Ended>,
    /// The task's result, of which the ledger says nothing until it is checked.
    checked: Option<Box<Ended>>,
}

/// Tries of a task of which whole reasons are kept; of older ones there may be thousands.
const FULL_TRIES: usize = 50;
/// Tries of which the last may still be open, however many replicas there are.
const OPEN_TRIES: usize = 32;

/// One more try. The words of old ones go, so that the record stays one that can be kept: donors choose them.
// spec: ARC-7
fn go_on(tries: &mut Vec<Try>, next: Try) {
    tries.push(next);
    let old = tries.len().saturating_sub(FULL_TRIES);
    for it in tries.iter_mut().take(old).skip(old.saturating_sub(OPEN_TRIES)) {
        if let Fate::Refused(reason) | Fate::Lost(reason) = &mut it.fate {
            reason.shorten();
        }
    }
}

/// What two runs must have in common to agree; none where it depends on more than the task.
// spec: DEL-8, SBX-13
pub(crate) fn outcome_of(ended: &Ended) -> Option<(ProfileId, u8, Commitment)> {
    let it = &ended.statement;
    (it.comparable && it.fuel_before == 0).then_some((it.profile, it.outcome, it.output))
}

/// The result that most of them have, and how many; none where another is as frequent.
fn most(results: &[&Ended]) -> Option<((ProfileId, u8, Commitment), usize)> {
    let mut counts: BTreeMap<(ProfileId, u8, [u8; 32]), usize> = BTreeMap::new();
    for (profile, outcome, output) in results.iter().filter_map(|ended| outcome_of(ended)) {
        *counts.entry((profile, outcome, output.0)).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    let mut first = counts.iter().filter(|(_, count)| **count == most);
    let ((profile, outcome, output), _) = first.next()?;
    first.next().is_none().then_some(((*profile, *outcome, Commitment(*output)), most))
}

/// What becomes of a result that is not the task's, beside the one that most have.
fn verdict(result: &Ended, most: Option<(ProfileId, u8, Commitment)>) -> Fate {
    match (outcome_of(result), most) {
        (Some(it), Some(same)) if it == same => Fate::Agreed,
        // Other engines may come to something else and be right.
        (Some(it), Some(same)) if it.0 == same.0 => Fate::Differed,
        _ => Fate::Superseded,
    }
}

impl Task {
    /// Under which id others know it.
    pub(crate) fn wire(&self, key: TaskId) -> TaskId {
        self.kept.twin.as_ref().map_or(key, |twin| twin.of)
    }

    pub(crate) fn is_twin(&self) -> bool {
        self.kept.twin.is_some()
    }

    /// Is the result of this attempt here, and compared with others'?
    pub(crate) fn compares(&self, attempt: u32) -> bool {
        let group = self.kept.group.as_ref();
        group.is_some_and(|group| group.results.iter().any(|it| it.statement.attempt == attempt))
    }

    /// Do its twins run in its place?
    pub(crate) fn has_replicas(&self) -> bool {
        !self.is_twin() && self.spec().is_replicated()
    }
}

impl Kept {
    /// Under which key it is kept.
    pub(crate) fn key(&self) -> TaskId {
        self.twin.as_ref().map_or_else(|| self.task.spec.id(), |twin| twin.key)
    }
}

impl Node {
    // ---- names ----

    /// An attempt as others know it.
    pub(crate) fn wired(&self, id: AttemptId) -> AttemptId {
        let task = self.tasks.get(&id.task).map_or(id.task, |task| task.wire(id.task));
        AttemptId { task, ..id }
    }

    /// An attempt as it is kept here: a twin's, if a twin has it now.
    pub(crate) fn unwired(&self, id: AttemptId) -> AttemptId {
        let group = self.tasks.get(&id.task).and_then(|task| task.kept.group.as_ref());
        let has = |key: &&TaskId| self.tasks.get(key).is_some_and(|twin| twin.current() == id.attempt);
        let twin = group.and_then(|group| group.twins.iter().find(has));
        AttemptId { task: twin.copied().unwrap_or(id.task), ..id }
    }

    pub(crate) fn twins_of(&self, of: &TaskId) -> Vec<TaskId> {
        let group = self.tasks.get(of).and_then(|task| task.kept.group.as_ref());
        group.map(|group| group.twins.clone()).unwrap_or_default()
    }

    /// Twins of a task are placed as it is.
    pub(crate) fn requeue_twins(&mut self, of: TaskId) {
        for key in self.twins_of(&of) {
            self.requeue(key);
        }
    }

    /// Where a twin of a task can be followed.
    pub(crate) fn twin_to_follow(&self, of: &TaskId) -> Option<(AttemptId, PublicKey)> {
        let twins = self.twins_of(of).into_iter().filter_map(|key| self.tasks.get(&key));
        let out = twins.filter(|twin| twin.kept.state.is_out());
        let (number, device) = out.filter_map(|twin| Some((twin.current(), twin.device()?))).min()?;
        Some((AttemptId { task: *of, attempt: number }, device))
    }

    /// What a task with replicas waits for.
    // spec: DEL-9
    pub(crate) fn why_replicas(&self, id: TaskId) -> Option<String> {
        let task = self.tasks.get(&id)?;
        let group = task.kept.group.as_ref().filter(|_| task.has_replicas())?;
        let (replicas, quorum) = (task.spec().replicas, task.spec().quorum);
        match group.stage {
            Stage::Fetching(number) => {
                let from = task.try_of(number).map(|it| it.device);
                let at = from.map(|device| self.device_name(&device)).unwrap_or_default();
                let there = from.is_some_and(|device| device == self.me || self.is_connected(&device));
                return Some(match self.why_unfetched(task) {
                    Some(why) => format!(
                        "its replicas agreed, and {at} keeps the result, which is not here yet: {why}"
                    ),
                    None if there => format!("its replicas agreed, and the result is fetched from {at}"),
                    None => {
                        format!("its replicas agreed, and {at}, which keeps the result, is not connected")
                    }
                });
            }
            Stage::Showing => return Some("its replicas have ended, and their results are compared".into()),
            Stage::Running => {}
        }
        let promised = |key: &&TaskId| {
            self.tasks
                .get(key)
                .and_then(|twin| twin.kept.twin.as_ref())
                .is_some_and(|it| it.promise.is_some())
        };
        let ended = group.twins.iter().filter(promised).count();
        let others: BTreeSet<String> =
            group.twins.iter().filter(|key| !promised(key)).map(|key| self.why(*key)).collect();
        let others: Vec<String> = others.into_iter().collect();
        Some(format!(
            "{ended} of its {replicas} replicas have ended, {quorum} must agree; of the others: {}",
            others.join("; ")
        ))
    }

    // ---- attempts ----

    /// Puts an attempt on record where it belongs: with the task, and with the twin that makes it.
    // spec: DEL-4, DEL-11
    pub(crate) fn record_try(
        &mut self,
        key: TaskId,
        device: PublicKey,
        grant: Option<EntryId>,
    ) -> Option<u32> {
        let of = self.tasks.get(&key)?.wire(key);
        let before = u32::try_from(self.tasks.get(&of)?.kept.tries.len()).ok()?;
        let number = match self.has_bug(Misbehaviour::ReusesAttemptNumbers) {
            true => before.max(1),
            false => before.checked_add(1)?,
        };
        // Another engine cannot go on from it.
        let engine = self.ledger.facts().registered(&device).map(|it| it.profile);
        let task = self.tasks.get(&key)?;
        // Of a state of which that is not kept, it is most likely that of who had the task last.
        let begun = |it: &&Try| !it.twin && !matches!(it.fate, Fate::Refused(_));
        let last = || task.kept.tries.iter().rev().find(begun);
        let state_of =
            task.kept.state_of.or_else(|| Some(self.ledger.facts().registered(&last()?.device)?.profile));
        let resumed = task.kept.resume.is_some() && (state_of.is_none() || state_of == engine);
        let it = Try { device, grant, tip_seq: 0, fate: Fate::Open, number, twin: of != key, resumed };
        if of != key {
            go_on(&mut self.tasks.get_mut(&key)?.kept.tries, Try { twin: false, ..it.clone() });
        }
        go_on(&mut self.tasks.get_mut(&of)?.kept.tries, it);
        Some(number)
    }

    /// What became of the attempt that counts.
    pub(crate) fn set_fate(&mut self, key: TaskId, fate: Fate) {
        let Some(task) = self.tasks.get_mut(&key) else { return };
        let of = task.wire(key);
        let Some(last) = task.last_mut() else { return };
        last.fate = fate.clone();
        let number = last.number;
        if of != key {
            self.set_fate_of(of, number, fate);
        }
    }

    fn set_fate_of(&mut self, of: TaskId, number: u32, fate: Fate) {
        if let Some(it) = self.tasks.get_mut(&of).and_then(|task| task.try_of_mut(number)) {
            it.fate = fate;
        }
    }

    /// Keeps a twin and what its task says of it.
    pub(crate) fn keep_both(&mut self, key: TaskId) {
        self.keep_task(key);
        if let Some(of) = self.tasks.get(&key).map(|task| task.wire(key)).filter(|of| *of != key) {
            self.keep_task(of);
        }
    }

    /// Owners whose peers may not run this twin, with those peers: each replica is another owner's.
    pub(crate) fn taken_by_twins(&self, key: TaskId) -> Vec<PublicKey> {
        let Some(task) = self.tasks.get(&key).filter(|task| task.is_twin()) else { return Vec::new() };
        let Some(whole) = self.tasks.get(&task.wire(key)) else { return Vec::new() };
        let governance = self.ledger.governance();
        let runs = |it: &&Try| !matches!(it.fate, Fate::Refused(_) | Fate::Lost(_));
        let mut owners: BTreeSet<UserKey> =
            whole.kept.tries.iter().filter(runs).filter_map(|it| governance.owner(&it.device)).collect();
        // The first to check a result is neither its maker nor the one it was made for.
        let first = whole.kept.group.as_ref().is_some_and(|group| group.results.is_empty());
        if first && !whole.has_replicas() {
            owners.extend(self.my_user());
        }
        // Only one engine's results can be compared.
        let facts = self.ledger.facts();
        let engine = |device: &PublicKey| facts.registered(device).map(|it| it.profile);
        let same = whole.kept.tries.iter().find(runs).and_then(|it| engine(&it.device));
        let other = |device: &PublicKey| same.is_some() && engine(device) != same;
        let taken = |device: &&PublicKey| {
            other(device) || governance.owner(device).is_some_and(|it| owners.contains(&it))
        };
        governance.devices().keys().filter(taken).copied().collect()
    }

    // ---- their lives ----

    /// A task that asks for replicas is given them.
    pub(crate) fn make_replicas(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id).filter(|task| task.has_replicas()) else { return };
        if task.kept.group.is_some() {
            return;
        }
        let replicas = task.spec().replicas;
        task.kept.group = Some(Group::new(None));
        for _ in 0..replicas {
            self.make_twin(id);
        }
    }

    fn make_twin(&mut self, of: TaskId) {
        let Some(task) = self.tasks.get_mut(&of) else { return };
        let course = task.course;
        let Some(group) = &mut task.kept.group else { return };
        group.made = group.made.saturating_add(1);
        let mut hasher = blake3::Hasher::new_derive_key("taskmesh twin of a task v1");
        let key = TaskId(*hasher.update(&of.0).update(&[group.made]).finalize().as_bytes());
        group.twins.push(key);
        let kept = Kept::twin(&task.kept, Twin { of, key, promise: None });
        let mut twin = Task::new(kept);
        twin.course = course;
        self.tasks.insert(key, twin);
        self.sort_task(key);
        self.requeue(key);
        self.keep_both(key);
        self.place_soon();
    }

    /// A twin was taken: so is its task.
    pub(crate) fn twin_accepted(&mut self, key: TaskId) {
        let Some(of) = self.tasks.get(&key).filter(|task| task.is_twin()).map(|task| task.wire(key)) else {
            return;
        };
        if self.tasks.get(&of).is_some_and(Task::has_replicas)
            && self.step_task(of, TaskEvent::Offer)
            && self.step_task(of, TaskEvent::Accept)
        {
            self.keep_task(of);
        }
        self.tell_task(of);
    }

    /// A twin's record goes; what is on record of its attempts stays with its task.
    fn drop_twin(&mut self, key: TaskId) {
        let Some(twin) = self.tasks.remove(&key) else { return };
        let of = twin.wire(key);
        self.forget_place(key, &twin);
        self.disarm(Timer::Task(key));
        self.disarm(Timer::Ballot(key));
        self.open_ballots.remove(&key);
        self.drop_kept(mesh_protocol::record::Table::Tasks, key.0.to_vec());
        if let Some(group) = self.tasks.get_mut(&of).and_then(|task| task.kept.group.as_mut()) {
            group.twins.retain(|twin| *twin != key);
        }
        self.keep_task(of);
    }

    /// Ends a twin that has no result yet.
    fn stop_twin(&mut self, key: TaskId, reason: Reason) {
        let Some(twin) = self.tasks.get(&key) else { return };
        let (out, device, attempt) = (twin.kept.state.is_out(), twin.device(), twin.current());
        let of = twin.wire(key);
        if let (true, Some(device)) = (out, device) {
            self.set_fate(key, Fate::Lost(reason.clone()));
            self.drop_twin(key);
            self.slot_freed(device);
            self.send_task(device, AttemptId { task: of, attempt }, TaskFrame::Stop(reason));
        } else {
            self.drop_twin(key);
        }
    }

    /// A twin came to nothing, and will not be tried again.
    pub(crate) fn twin_failed(&mut self, key: TaskId) {
        let Some(of) = self.tasks.get(&key).map(|twin| twin.wire(key)) else { return };
        self.drop_twin(key);
        self.regard_group(of);
    }

    /// A task is over, or goes: so do its twins.
    pub(crate) fn stop_twins(&mut self, of: TaskId, reason: Reason) {
        for key in self.twins_of(&of) {
            self.stop_twin(key, reason.clone());
        }
        self.disarm(Timer::Group(of));
        let Some(group) = self.tasks.get_mut(&of).and_then(|task| task.kept.group.take()) else { return };
        if let Some(first) = group.checked {
            self.completed(&first, Effect::Done);
        }
        for result in group.results {
            self.supersede(of, &result, Fate::Superseded);
        }
        self.keep_task(of);
    }

    /// Is a twin to be let go rather than tried again?
    pub(crate) fn is_too_late(&self, key: TaskId) -> bool {
        let Some(of) = self.tasks.get(&key).filter(|task| task.is_twin()).map(|task| task.wire(key)) else {
            return false;
        };
        let group = self.tasks.get(&of).and_then(|task| task.kept.group.as_ref());
        group.is_none_or(|group| group.stage != Stage::Running)
    }

    /// This device was not there for a while: whoever has a result to show, or has promised one, is given the time to come
    /// back to it before anybody is late.
    // spec: DEL-3, DEL-8
    pub(crate) fn grant_groups(&mut self) {
        let back = self.ledger.governance().rules().suspect_after_ms.saturating_mul(BACK_IN);
        let least = self.now.wall_ms.saturating_add(back);
        let rules = self.ledger.governance().rules();
        let mut due = Vec::new();
        for (id, task) in &mut self.tasks {
            let Kept { group: Some(group), task, .. } = &mut task.kept else { continue };
            // What was reckoned by a clock that was ahead is no later than if it began now.
            let most = group.time(&task.spec, rules, self.now.wall_ms);
            let Some(until) = &mut group.until_ms else { continue };
            *until = (*until).min(most).max(least);
            // A result that is fetched is looked after every few seconds anyway.
            if !matches!(group.stage, Stage::Fetching(_)) {
                due.push((*id, *until));
            }
        }
        // Anew for all: the clock by which they were reckoned may have been set.
        for (id, until) in due {
            let at = self.boot_of(until);
            self.arm(Timer::Group(id), at);
        }
    }

    pub(crate) fn start_groups(&mut self) {
        self.grant_groups();
        let groups = self.tasks.iter().filter(|(_, task)| task.kept.group.is_some());
        let ids: Vec<TaskId> = groups.map(|(id, _)| *id).collect();
        for id in ids {
            self.arm_in(Timer::Group(id), 0);
            // One that was dropped, or cannot be read, ends for nobody.
            let there: Vec<TaskId> =
                self.twins_of(&id).into_iter().filter(|key| self.tasks.contains_key(key)).collect();
            if let Some(group) = self.tasks.get_mut(&id).and_then(|task| task.kept.group.as_mut()) {
                group.twins = there;
            }
        }
        // Nothing but a crash between two records could leave a twin without its task.
        let lone = self
            .tasks
            .iter()
            .filter(|(key, task)| task.is_twin() && !self.twins_of(&task.wire(**key)).contains(key));
        let lone: Vec<TaskId> = lone.map(|(key, _)| *key).collect();
        for key in lone {
            self.stop_twin(key, Reason::Unknown);
        }
    }

    // ---- hearing of them ----

    /// A replica has ended, and says so without showing its result.
    pub(crate) fn promised(&mut self, id: AttemptId, promise: Digest) {
        let Some(task) = self.tasks.get_mut(&id.task) else { return };
        // Nobody asked for a promise: whoever gives one runs the task as before, and is as late as before.
        if !task.spec().is_replicated() {
            self.counters.stale_frames += 1;
            return;
        }
        // Nothing of it computes any more.
        task.progress = None;
        let (of, device) = (task.wire(id.task), task.device());
        if self.is_showing(&of) {
            // What was promised stands, whatever others have shown since.
            if let Some(device) = device {
                self.send_task(device, id, TaskFrame::Reveal);
            }
            return;
        }
        self.accepted(id.task);
        let Some(task) = self.tasks.get_mut(&id.task) else { return };
        let Some(twin) = task.kept.twin.as_mut().filter(|twin| twin.promise.is_none()) else { return };
        twin.promise = Some(promise);
        self.set_time(of, false);
        self.keep_both(id.task);
        self.tell_task(of);
        self.regard_group(of);
    }

    /// The time that a task's twins have begins, if it has not yet or begins `anew`.
    fn set_time(&mut self, of: TaskId, anew: bool) {
        let rules = self.ledger.governance().rules();
        let Some(task) = self.tasks.get_mut(&of) else { return };
        let Kept { group: Some(group), task, .. } = &mut task.kept else { return };
        if anew || group.until_ms.is_none() {
            group.until_ms = Some(group.time(&task.spec, rules, self.now.wall_ms));
        }
    }

    fn is_showing(&self, of: &TaskId) -> bool {
        let group = self.tasks.get(of).and_then(|task| task.kept.group.as_ref());
        group.is_some_and(|group| group.stage != Stage::Running)
    }

    /// A twin's result is of a time that has not come by this clock: while it is asked for again, nobody is late.
    // spec: DEL-4, DEL-8
    pub(crate) fn twin_is_early(&mut self, key: TaskId) {
        let back = self.ledger.governance().rules().suspect_after_ms.saturating_mul(BACK_IN);
        let least = self.now.wall_ms.saturating_add(back);
        let Some(of) = self.tasks.get(&key).filter(|task| task.is_twin()).map(|task| task.wire(key)) else {
            return;
        };
        let group = self.tasks.get_mut(&of).and_then(|task| task.kept.group.as_mut());
        if let Some(until) = group.and_then(|group| group.until_ms.as_mut()).filter(|until| **until < least) {
            *until = least;
            let at = self.boot_of(least);
            self.arm(Timer::Group(of), at);
        }
    }

    /// A twin's result.
    pub(crate) fn twin_ended(&mut self, peer: PublicKey, id: AttemptId, ended: &Ended) {
        let Some(task) = self.tasks.get(&id.task) else { return };
        let of = task.wire(id.task);
        let promise = task.kept.twin.as_ref().and_then(|twin| twin.promise);
        let replicated = task.spec().is_replicated();
        let resumed = task.try_of(id.attempt).is_some_and(|it| it.resumed);
        let of_id = AttemptId { task: of, ..id };
        let judged = match genuine(ended, task.spec(), of_id, peer, resumed, self.ran_within(id, peer)) {
            Err(why) => Err(why),
            Ok(()) if replicated && promise.is_none() => Err("it was shown before it was promised"),
            Ok(()) if replicated && promise != Some(ended.statement.promise()) => {
                Err("it is not the one that was promised")
            }
            Ok(()) => Ok(()),
        };
        if let Err(why) = judged {
            self.counters.bad_results += 1;
            self.send_task(peer, id, TaskFrame::Stop(Reason::BadResult(why.into())));
            return self.lost(id.task, Reason::BadResult(why.into()));
        }
        if replicated && !self.is_showing(&of) {
            return;
        }
        // Of one that was given up already, the place was, too.
        let device = task.device().filter(|_| task.kept.state.is_out());
        // Whether it agrees is known when all are here.
        if let Some(group) = self.tasks.get_mut(&of).and_then(|task| task.kept.group.as_mut()) {
            group.results.push(ended.clone());
        }
        self.drop_twin(id.task);
        if let Some(device) = device {
            self.slot_freed(device);
        }
        self.regard_group(of);
    }

    /// Puts a result on record that is not the task's, and lets its maker forget it.
    // spec: DEL-4, DEL-8
    fn supersede(&mut self, of: TaskId, result: &Ended, fate: Fate) {
        let number = result.statement.attempt;
        self.set_fate_of(of, number, fate);
        self.completed(result, Effect::Superseded);
        self.keep_task(of);
        let attempt = AttemptId { task: of, attempt: number };
        self.send_task(result.statement.executor, attempt, TaskFrame::Settled(Effect::Superseded));
    }

    pub(crate) fn group_due(&mut self, of: TaskId) {
        let Some(task) = self.tasks.get(&of) else { return };
        let Some(group) = &task.kept.group else { return };
        if let Stage::Fetching(number) = group.stage {
            if group.until_ms.is_some_and(|until| until <= self.now.wall_ms) {
                // What they ran they ran, and may forget.
                for result in group.results.clone() {
                    self.supersede(of, &result, Fate::Agreed);
                }
                let why = "whoever had the result that was agreed on did not come back with it";
                return self.no_quorum(of, Reason::ResultNotFetched(why.into()));
            }
            let from = group.results.iter().find(|it| it.statement.attempt == number);
            let there = from.is_some_and(|it| self.is_connected(&it.statement.executor));
            if there && task.fetches.has_begun() {
                // One transfer of it is enough.
                return self.arm_in(Timer::Group(of), FETCH_AGAIN_MS);
            }
            return self.fetch_agreed(of);
        }
        if group.until_ms.is_some_and(|until| until <= self.now.wall_ms) {
            let promised = |key: &TaskId| {
                let twin = self.tasks.get(key).and_then(|twin| twin.kept.twin.as_ref());
                twin.is_some_and(|twin| twin.promise.is_some())
            };
            // A check promises nothing that it could be waited for.
            let all = group.stage == Stage::Showing || group.checked.is_some();
            let late: Vec<TaskId> = group.twins.iter().filter(|key| all || !promised(key)).copied().collect();
            for key in late {
                self.stop_twin(key, Reason::TooLate);
            }
        }
        self.regard_group(of);
    }

    /// Is there something to do for a task's twins?
    fn regard_group(&mut self, of: TaskId) {
        let Some(task) = self.tasks.get(&of) else { return };
        let Some(group) = &task.kept.group else { return };
        if let Some(until) = group.until_ms {
            let at = self.boot_of(until);
            self.arm(Timer::Group(of), at);
        }
        let Some(group) = self.tasks.get(&of).and_then(|task| task.kept.group.as_ref()) else { return };
        if group.checked.is_some() {
            if group.twins.is_empty() {
                self.regard_check(of);
            }
            return;
        }
        match group.stage {
            Stage::Fetching(_) => {}
            Stage::Showing if group.twins.is_empty() => self.count_replicas(of),
            Stage::Showing => {}
            Stage::Running => {
                let waits = |key: &TaskId| {
                    let twin = self.tasks.get(key).and_then(|twin| twin.kept.twin.as_ref());
                    twin.is_some_and(|twin| twin.promise.is_none())
                };
                if group.twins.is_empty() {
                    self.count_replicas(of);
                } else if !group.twins.iter().any(waits) {
                    self.show(of);
                }
            }
        }
    }

    /// All have promised, or had time to: each shows its result.
    fn show(&mut self, of: TaskId) {
        let Some(group) = self.tasks.get_mut(&of).and_then(|task| task.kept.group.as_mut()) else { return };
        group.stage = Stage::Showing;
        self.set_time(of, true);
        self.keep_task(of);
        self.arm_in(Timer::Group(of), self.ledger.governance().rules().suspect_after_ms);
        self.tell_task(of);
        for key in self.twins_of(&of) {
            let Some(twin) = self.tasks.get(&key) else { continue };
            if let Some(device) = twin.device() {
                let attempt = AttemptId { task: of, attempt: twin.current() };
                self.send_task(device, attempt, TaskFrame::Reveal);
            }
        }
    }

    // ---- replicas ----

    /// What was shown is compared.
    fn count_replicas(&mut self, of: TaskId) {
        let Some(task) = self.tasks.get(&of) else { return };
        let (replicas, quorum) = (task.spec().replicas, task.spec().quorum);
        let Some(group) = &task.kept.group else { return };
        let results = group.results.clone();
        let most = most(&results.iter().collect::<Vec<_>>());
        let agreed = most.map_or(0, |(_, count)| count);
        let Some((same, _)) = most.filter(|(_, count)| *count >= usize::from(quorum)) else {
            for result in &results {
                self.supersede(of, result, Fate::Superseded);
            }
            return self.no_quorum(
                of,
                Reason::NoQuorum { agreed: u8::try_from(agreed).unwrap_or(u8::MAX), quorum, replicas },
            );
        };
        let (agree, differ): (Vec<Ended>, Vec<Ended>) =
            results.into_iter().partition(|result| outcome_of(result) == Some(same));
        let mut names: Vec<String> = Vec::new();
        for result in &differ {
            let fate = verdict(result, Some(same));
            if fate == Fate::Differed {
                names.push(self.device_name(&result.statement.executor));
            }
            self.supersede(of, result, fate);
        }
        if !names.is_empty() {
            self.tell(Happening::Warning {
                text: format!(
                    "the task {}: the result of {} is not the one on which {agreed} agreed, and is not used",
                    self.task_name(&of),
                    names.join(", ")
                ),
            });
        }
        for result in &agree {
            self.set_fate_of(of, result.statement.attempt, Fate::Agreed);
        }
        self.step_task(of, TaskEvent::End);
        if let Some(group) = self.tasks.get_mut(&of).and_then(|task| task.kept.group.as_mut()) {
            // That they agreed stands, also while none of them is there: it is counted once.
            group.stage = Stage::Fetching(agree.first().map_or(0, |it| it.statement.attempt));
            group.results = agree;
        }
        self.set_time(of, true);
        self.keep_task(of);
        self.tell_task(of);
        self.fetch_agreed(of);
    }

    fn task_name(&self, id: &TaskId) -> String {
        self.tasks.get(id).map(|task| task.spec().name.clone()).unwrap_or_default()
    }

    /// Fetches the result on which the quorum agrees, from this device or whoever has it and is there.
    pub(crate) fn fetch_agreed(&mut self, of: TaskId) {
        self.stop_fetching(of);
        self.arm_in(Timer::Group(of), FETCH_AGAIN_MS);
        let Some(task) = self.tasks.get(&of) else { return };
        let Some(group) = &task.kept.group else { return };
        if group.results.is_empty() {
            return self.no_quorum(of, Reason::BadResult("nobody gave the result that was agreed on".into()));
        }
        let of_here = |it: &&Ended| it.statement.executor == self.me;
        let there = |it: &&Ended| self.is_connected(&it.statement.executor);
        let next = group.results.iter().find(of_here).or_else(|| group.results.iter().find(there)).cloned();
        let Some(ended) = next else { return };
        let (number, from) = (ended.statement.attempt, ended.statement.executor);
        let Some(task) = self.tasks.get_mut(&of) else { return };
        if task.kept.state == TaskState::Running {
            task.kept.state = TaskState::Fetching;
        }
        for it in &mut task.kept.tries {
            it.twin = it.number != number;
        }
        task.expect(Box::new(ended));
        if let Some(group) = &mut task.kept.group {
            group.stage = Stage::Fetching(number);
        }
        self.keep_task(of);
        self.tell_task(of);
        if from == self.me {
            self.settle(of);
        } else {
            self.fetch_result(of);
        }
    }

    /// The result on which the quorum agrees did not come, through no fault of whoever has it: the next time another
    /// is asked, if another has it.
    pub(crate) fn another_agreed(&mut self, of: TaskId, wait_ms: u64) {
        let Some(task) = self.tasks.get_mut(&of) else { return };
        let number = task.current();
        if let Some(group) = &mut task.kept.group
            && let Some(at) = group.results.iter().position(|it| it.statement.attempt == number)
        {
            let last = group.results.remove(at);
            group.results.push(last);
        }
        self.keep_task(of);
        self.arm_in(Timer::Group(of), wait_ms);
    }

    /// Whoever had the result on which the quorum agrees does not give it, or gives another.
    pub(crate) fn agreed_unfetched(&mut self, of: TaskId, why: Reason) {
        let Some(task) = self.tasks.get_mut(&of) else { return };
        let number = task.current();
        let Some(group) = &mut task.kept.group else { return };
        let at = group.results.iter().position(|it| it.statement.attempt == number);
        // The next one has done nothing wrong yet.
        let result = at.map(|at| group.results.remove(at));
        self.fetch_no_more(of);
        if let Some(result) = result {
            self.counters.bad_results += u64::from(matches!(why, Reason::BadResult(_)));
            self.supersede(of, &result, Fate::Lost(why));
        }
        self.fetch_agreed(of);
    }

    fn no_quorum(&mut self, of: TaskId, reason: Reason) {
        self.disarm(Timer::Group(of));
        if let Some(task) = self.tasks.get_mut(&of) {
            task.kept.group = None;
        }
        self.step_task(of, TaskEvent::Lose);
        self.give_up(of, reason);
    }

    /// The task is done: its other replicas may forget their results.
    pub(crate) fn replicas_settled(&mut self, of: TaskId) {
        let Some(task) = self.tasks.get_mut(&of).filter(|task| task.has_replicas()) else { return };
        let number = task.current();
        let Some(group) = task.kept.group.take() else { return };
        self.disarm(Timer::Group(of));
        for result in group.results.iter().filter(|it| it.statement.attempt != number) {
            self.supersede(of, result, Fate::Agreed);
        }
        self.keep_task(of);
    }

    // ---- checks ----

    /// Is the result of a task that is about to take effect to be checked? Nobody knows before it is here.
    fn wants_check(&mut self, id: TaskId, ended: &Ended) -> bool {
        let Some(task) = self.tasks.get(&id) else { return false };
        let by = ended.statement.executor;
        let theirs = self.ledger.governance().owner(&by);
        let own = theirs.is_none() || theirs == self.my_user();
        if own || task.kept.on.is_some() || !task.spec().is_comparable() || outcome_of(ended).is_none() {
            return false;
        }
        if !self.can_say() || !self.somebody_else_could(id, &by, ended.statement.profile) {
            return false;
        }
        let streak = self.circle().streak(&by);
        let percent = self.ledger.governance().rules().spot_check_percent;
        is_due(streak, percent, if streak < MUST_AGREE { 0 } else { self.random.below(100) })
    }

    /// The ledger says of a result that it took effect, now or when it is checked.
    // spec: DEL-4, DEL-8
    pub(crate) fn tell_done(&mut self, id: TaskId, ended: Box<Ended>) {
        let replicated = self.tasks.get(&id).is_some_and(Task::has_replicas);
        if replicated || !self.wants_check(id, &ended) {
            return self.completed(&ended, Effect::Done);
        }
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.kept.group = Some(Group::new(Some(ended)));
        self.set_time(id, true);
        self.make_twin(id);
        self.regard_group(id);
    }

    /// Once the check has come to an end.
    fn regard_check(&mut self, of: TaskId) {
        let Some(group) = self.tasks.get(&of).and_then(|task| task.kept.group.as_ref()) else { return };
        let Some(first) = group.checked.clone() else { return };
        let results = group.results.clone();
        let all: Vec<&Ended> = std::iter::once(&*first).chain(&results).collect();
        let differ = outcome_of(&first).is_some_and(|first| {
            all.iter().filter_map(|it| outcome_of(it)).any(|it| it.0 == first.0 && it != first)
        });
        let made = group.made;
        if differ && made < 2 {
            // Two words against each other: a third decides.
            self.set_time(of, true);
            self.make_twin(of);
            return self.regard_group(of);
        }
        let same = most(&all).filter(|(_, count)| *count > 1).map(|(same, _)| same);
        if let Some(same) = same
            && outcome_of(&first) != Some(same)
        {
            let at = self.device_name(&first.statement.executor);
            self.tell(Happening::Warning {
                text: format!(
                    "the task {}: two others came to another result than {at}, whose result was taken; run it again, or with `--replicas 3 --quorum 2`",
                    self.task_name(&of)
                ),
            });
        }
        self.disarm(Timer::Group(of));
        if let Some(task) = self.tasks.get_mut(&of) {
            task.kept.group = None;
        }
        self.completed(&first, Effect::Done);
        for result in &results {
            let fate = verdict(result, same);
            self.supersede(of, result, fate);
        }
        self.keep_task(of);
        self.tell_task(of);
    }
}

impl Group {
    fn new(checked: Option<Box<Ended>>) -> Self {
        Self {
            twins: Vec::new(),
            made: 0,
            stage: Stage::Running,
            until_ms: None,
            results: Vec::new(),
            checked,
        }
    }

    /// Until when whoever is waited for has time, if that begins now.
    fn time(&self, spec: &TaskSpec, rules: &Rules, now_ms: u64) -> u64 {
        let (duration, retain) = (spec.limits.duration_ms, rules.retain_result_ms);
        let whole = |from: u64| from.saturating_add(duration).saturating_add(rules.lease_grace_ms);
        match self.stage {
            // So long they keep it.
            Stage::Fetching(_) => now_ms.saturating_add(retain),
            Stage::Showing => now_ms.saturating_add(rules.suspect_after_ms),
            Stage::Running if self.checked.is_some() => whole(now_ms),
            // As long as if they started at the last moment, and no longer than the first one's result is kept for sure.
            Stage::Running => {
                let latest = Times::of(spec).latest_ms(duration).unwrap_or(u64::MAX);
                whole(latest.max(now_ms)).min(now_ms.saturating_add(retain / 2))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Draft};
    use crate::io::{Capacity, CommandId, Input, Now};
    use crate::node::Config;
    use crate::owner::MAX_OFFERS;
    use mesh_protocol::ids::{BlobHash, InputHash, ModuleHash};
    use mesh_protocol::key::SecretKey;
    use mesh_protocol::limits::Limits;
    use mesh_protocol::permissions::Permissions;
    use mesh_protocol::task::{Blob, Sla};

    /// A node with a task whose twins' time is over, and one of which is not here.
    fn without_its_twin() -> (Node, TaskId, Now) {
        let now = Now { boot_ms: 100_000, wall_ms: 1_790_000_000_000 };
        let key = |number| SecretKey::from_seed(&[number; 32]);
        let config = Config {
            device: key(1),
            user: Some(key(2)),
            user_name: "alice".into(),
            recovery: key(3).public(),
            device_name: "laptop".into(),
            profile: ProfileId::ZERO,
            walls: vec![],
            place: None,
            capacity: Capacity { slots: 4, memory: 1 << 30, longest_ms: 3_600_000 },
            slot_watts: 10,
            shares: BTreeMap::new(),
            accepts: vec![],
            energy: None,
            hook: false,
            addrs: vec![],
            seed: [4; 32],
        };
        let mut node = Node::new(config, now);
        node.start(now, false);
        let found = Command::Found { name: "Street".into(), rules: Box::default() };
        node.handle(now, Input::Command(CommandId(1), Box::new(found)));
        let draft = Draft {
            name: "word-count".into(),
            description: String::new(),
            module: ModuleHash([7; 32]),
            module_len: 100,
            args: vec![],
            env: vec![],
            stdin: None,
            inputs: vec![],
            input: InputHash([8; 32]),
            limits: Limits::default(),
            permissions: Permissions::default(),
            sla: Sla::Normal,
            importance: None,
            followed: true,
            start_by_ms: None,
            finish_by_ms: None,
            nonce: [1; 32],
            on: None,
            dry_run: false,
            replicas: 1,
            quorum: 1,
        };
        node.handle(now, Input::Command(CommandId(2), Box::new(Command::Submit(Box::new(draft)))));
        let id = *node.tasks.keys().next().expect("it was submitted");
        let mut group = Group::new(None);
        group.stage = Stage::Showing;
        group.until_ms = Some(now.wall_ms - 1);
        group.twins.push(TaskId([9; 32]));
        node.tasks.get_mut(&id).expect("it is there").kept.group = Some(group);
        node.arm_in(Timer::Group(id), 0);
        (node, id, now)
    }

    // spec: NET-4
    #[test]
    fn what_is_due_again_and_again_holds_nothing_else_up() {
        let (mut node, ..) = without_its_twin();
        let mut now = node.now;
        for _ in 0..3 {
            node.handle(now, Input::Wake);
            let at = node.deadline().expect("something is due");
            assert!(at > now.boot_ms);
            now.boot_ms += 1_000;
            now.wall_ms += 1_000;
        }
    }

    // spec: DEL-8, DEL-11
    #[test]
    fn a_twin_that_is_not_here_any_more_is_not_waited_for_after_a_start() {
        let (mut node, id, now) = without_its_twin();
        node.start_groups();
        node.handle(now, Input::Wake);
        assert!(node.tasks[&id].kept.group.is_none());
    }

    // spec: DEL-7
    #[test]
    fn of_which_engine_a_state_is_is_known_after_a_start() {
        let (mut node, id, _) = without_its_twin();
        let me = node.me;
        let mine = node.ledger.facts().registered(&me).map(|it| it.profile);
        let kept = &mut node.tasks.get_mut(&id).expect("it is there").kept;
        kept.resume = Some(Blob { hash: BlobHash([5; 32]), len: 10 });
        assert_eq!((mine, kept.tries.len()), (Some(ProfileId::ZERO), 1));
        // Another engine's, while this device had the task last and began anew.
        kept.state_of = Some(ProfileId([6; 32]));
        let resumed = |node: &mut Node, value: &[u8]| {
            node.restore_task(value).expect("it can be read");
            node.record_try(id, me, None).expect("it is there");
            node.tasks[&id].last().is_some_and(|last| last.resumed)
        };
        let value = mesh_protocol::canonical::encode(&node.tasks[&id].kept);
        assert!(!resumed(&mut node, &value));
        // What an earlier version kept did not say.
        node.tasks.get_mut(&id).expect("it is there").kept.state_of = None;
        let value = mesh_protocol::canonical::encode(&node.tasks[&id].kept);
        assert!(resumed(&mut node, &value[..value.len() - 1]));
    }

    // spec: ARC-7
    #[test]
    fn donors_that_refuse_with_many_words_make_no_record_that_cannot_be_kept() {
        let words = || Reason::PutOffByOwner("later ".repeat(42)).fit();
        let mut tries = Vec::new();
        for number in 1..=MAX_OFFERS as u32 {
            let device = PublicKey([7; 32]);
            let fate = Fate::Open;
            let next =
                Try { device, grant: None, tip_seq: u64::MAX, fate, number, twin: false, resumed: false };
            go_on(&mut tries, next);
            tries.last_mut().expect("it was pushed").fate = Fate::Refused(words());
        }
        assert_eq!(tries.len(), MAX_OFFERS);
        assert!(mesh_protocol::canonical::encode(&tries).len() < 600 << 10);
        assert!(matches!(&tries[MAX_OFFERS - 1].fate, Fate::Refused(reason) if *reason == words()));
    }
}
