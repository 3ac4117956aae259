//! Results and checkpoints on their way here: one of a task's at a time. Where only the line or this device stood in
//! the way, the result stays where it is and is asked for again.
// spec: DEL-4, DEL-5

use crate::command::Happening;
use crate::community::Misbehaviour;
use crate::io::{Output, Unfetched, Wanted};
use crate::node::{Node, Timer};
use crate::owner::{Task, TaskState};
use mesh_protocol::frame::{AttemptId, TaskFrame};
use mesh_protocol::ids::{BlobHash, TaskId};
use mesh_protocol::reason::Reason;
use mesh_protocol::task::Blob;

/// How soon a result that did not come is asked for again, at first and at most.
const AGAIN_MS: (u64, u64) = (1_000, 60_000);
/// How often whoever has a result, and is there, may fail to give it: six minutes of pauses, in each of which a transfer
/// was tried several times. Then somebody else runs the task.
const MOST_FAILURES: u32 = 12;
/// How often one device that is given a task's state may fail before the task has run, until the state is what is wrong; of
/// two devices, once each.
const MOST_IN_VAIN: usize = 3;
/// How often a checkpoint is fetched, and how many are at once beside: whoever runs a task may save its state, or say so, as
/// often as they like, and each is looked at and kept here. Of those between, the last counts.
const SAVED_EVERY_MS: u64 = 10_000;
const SAVED_AT_ONCE: u64 = 3;
/// Who has run for so long has gone on from the state.
const RAN_MS: u64 = 60_000;

/// What of a task is on its way here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fetches {
    /// Of which attempt the result is, and the number of the fetch.
    result: Option<(u32, u64)>,
    /// The checkpoint, of which attempt, and the number of the fetch.
    saving: Option<(u32, u64, Blob)>,
    /// The one that is fetched after it: a later one takes its place.
    next: Option<Blob>,
    /// Up to when there were as many as there may be.
    saved_upto: u64,
    /// How often the result did not come in a row, and how often of these for something that whoever has it can mend.
    tries: u32,
    failures: u32,
    /// Why it did not come, and when it is asked for again, by the boot clock.
    hindered: Option<(Unfetched, u64)>,
}

impl Fetches {
    /// The checkpoint that is on its way.
    pub(crate) fn saving(&self) -> Option<Blob> {
        self.saving.map(|(.., blob)| blob)
    }

    /// Is the result on its way?
    pub(crate) fn has_begun(&self) -> bool {
        self.result.is_some()
    }
}

impl Node {
    /// Asks for the result that a task expects, unless it is on its way.
    pub(crate) fn fetch_result(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let Some(ended) = task.fetching.as_ref().filter(|_| !task.fetches.has_begun()) else { return };
        let (number, from, blob) = (ended.statement.attempt, ended.statement.executor, ended.output);
        let wanted = Wanted::Output(Box::new(ended.receipt.receipt.clone()));
        let saving = task.fetches.saving.take();
        self.disarm(Timer::Fetch(id));
        let Some(task) = self.tasks.get_mut(&id) else { return };
        self.fetches_begun += 1;
        (task.fetches.next, task.fetches.hindered) = (None, None);
        task.fetches.result = Some((number, self.fetches_begun));
        let fetch = self.fetches_begun;
        if let Some((attempt, ..)) = saving {
            // With the result here nobody goes on from it, and the line is the result's.
            self.output(Output::Unfetch(AttemptId { task: id, attempt }));
        }
        let attempt = AttemptId { task: id, attempt: number };
        self.output(Output::Fetch { number: fetch, attempt, blob, from, wanted });
    }

    /// The attempt that counts saved its state where it runs.
    // spec: DEL-5, DEL-7
    pub(crate) fn saved_there(&mut self, id: TaskId, blob: Blob) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        // A twin goes on from nobody's state, and of what has ended only the result is wanted.
        if task.is_twin() || task.kept.state == TaskState::Fetching {
            return;
        }
        if task.kept.resume == Some(blob) {
            return;
        }
        if blob.len == 0 || blob.len > mesh_protocol::checkpoint::largest(&task.spec().limits) {
            self.counters.bad_results += 1;
            return;
        }
        task.fetches.next = Some(blob);
        self.fetch_checkpoint(id);
    }

    fn fetch_checkpoint(&mut self, id: TaskId) {
        let now = self.now.boot_ms;
        let Some(task) = self.tasks.get_mut(&id).filter(|task| task.fetches.saving.is_none()) else { return };
        let at = task.fetches.saved_upto.saturating_sub(SAVED_AT_ONCE * SAVED_EVERY_MS);
        if task.fetches.next.is_some() && at > now {
            return self.arm(Timer::Fetch(id), at);
        }
        let (Some(from), attempt) = (task.device(), task.current()) else { return };
        let Some(blob) = task.fetches.next.take() else { return };
        task.fetches.saved_upto = task.fetches.saved_upto.max(now).saturating_add(SAVED_EVERY_MS);
        // Nothing that is kept here for another use is a checkpoint: as one, it would go when the next one comes.
        if self.is_needed(&blob.hash) {
            self.counters.bad_results += 1;
            return;
        }
        let Some(task) = self.tasks.get_mut(&id) else { return };
        // Its maker's, who never said which engine it has: then nobody could go on from it either.
        let Some(profile) = self.ledger.facts().registered(&from).map(|it| it.profile) else { return };
        let wanted = Wanted::Checkpoint(Box::new(task.spec().clone()), profile);
        self.fetches_begun += 1;
        let number = self.fetches_begun;
        task.fetches.saving = Some((attempt, number, blob));
        let attempt = AttemptId { task: id, attempt };
        self.output(Output::Fetch { number, attempt, blob, from, wanted });
    }

    /// Ends what is on its way.
    pub(crate) fn stop_fetching(&mut self, id: TaskId) {
        self.disarm(Timer::Fetch(id));
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let saving = task.fetches.saving.take().map(|(attempt, ..)| attempt);
        let under_way = task.fetches.result.take().map(|(attempt, _)| attempt).or(saving);
        task.fetches.next = None;
        if let Some(attempt) = under_way {
            self.output(Output::Unfetch(AttemptId { task: id, attempt }));
        }
    }

    /// The attempt counts no more: nothing of it is wanted.
    pub(crate) fn fetch_no_more(&mut self, id: TaskId) {
        self.stop_fetching(id);
        if let Some(task) = self.tasks.get_mut(&id) {
            task.fetches = Fetches::default();
        }
    }

    pub(crate) fn fetch_due(&mut self, id: TaskId) {
        match self.tasks.get(&id).map(|task| task.kept.state) {
            Some(TaskState::Fetching) => {
                self.fetch_result(id);
                self.tell_task(id);
            }
            Some(TaskState::Running) => self.fetch_checkpoint(id),
            _ => {}
        }
    }

    pub(crate) fn fetched(
        &mut self,
        number: u64,
        id: AttemptId,
        hash: BlobHash,
        result: Result<(), Unfetched>,
    ) {
        let stale_counts = self.has_bug(Misbehaviour::TakesStaleResults);
        let Some(task) = self.tasks.get_mut(&id.task) else {
            return self.came_in_vain(hash, result.is_ok());
        };
        if id.attempt != task.current() && !stale_counts || !task.kept.state.is_out() {
            return self.came_in_vain(hash, result.is_ok());
        }
        if let Some((.., blob)) = task.fetches.saving.filter(|(_, saving, _)| *saving == number) {
            task.fetches.saving = None;
            match result {
                Ok(()) => self.checkpointed(id.task, blob),
                Err(Unfetched::False(_)) => self.counters.bad_results += 1,
                Err(_) => {}
            }
            return self.fetch_checkpoint(id.task);
        }
        // What was looked at as something else was not held against the receipt.
        let asked = task.fetches.result.is_some_and(|(_, asked)| asked == number || stale_counts);
        if !asked || task.fetching.as_ref().is_none_or(|it| it.output.hash != hash) {
            return self.came_in_vain(hash, result.is_ok());
        }
        task.fetches.result = None;
        match result {
            Ok(()) => self.settle(id.task),
            Err(Unfetched::False(why)) => self.result_is_bad(id, why),
            Err(why) => self.result_waits(id, why),
        }
    }

    /// What came when nobody wanted it any more goes again.
    // spec: ARC-7
    fn came_in_vain(&mut self, hash: BlobHash, came: bool) {
        if came {
            self.unneeded(hash);
        }
    }

    /// A blob has lost one use. If it has no other, it goes: whoever makes checkpoints and results may name any blob.
    // spec: ARC-7
    pub(crate) fn unneeded(&mut self, hash: BlobHash) {
        if !self.is_needed(&hash) {
            self.tell(Happening::Unneeded(hash));
        }
    }

    /// A try that was given the task's state came to nothing: from a state that nobody can go on from, nobody is to be
    /// asked to go on, and the task begins anew. Nobody's word alone is enough for that.
    // spec: DEL-3, DEL-7
    pub(crate) fn resumed_in_vain(&mut self, id: TaskId, reason: &Reason) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let given = task.last().is_some_and(|last| last.resumed) && task.kept.resume.is_some();
        let blamed = match reason {
            Reason::Inadmissible(_) | Reason::SandboxFailed(_) => true,
            // Other files may be what does not come.
            Reason::NotFetched(words) => words.contains("its checkpoint"),
            _ => false,
        };
        let Some(device) = task.device().filter(|_| given && blamed && task.ran_ms < RAN_MS) else { return };
        task.in_vain.push(device);
        if task.in_vain.iter().any(|other| *other != device) || task.in_vain.len() >= MOST_IN_VAIN {
            task.in_vain.clear();
            task.kept.state_of = None;
            if let Some(state) = task.kept.resume.take() {
                self.unneeded(state.hash);
            }
        }
    }

    fn result_is_bad(&mut self, id: AttemptId, why: String) {
        let Some(task) = self.tasks.get(&id.task) else { return };
        if task.has_replicas() {
            return self.agreed_unfetched(id.task, Reason::BadResult(why));
        }
        self.counters.bad_results += 1;
        if let Some(device) = task.device() {
            self.send_task(device, id, TaskFrame::Stop(Reason::BadResult(why.clone())));
        }
        self.lost(id.task, Reason::BadResult(why));
    }

    /// Nothing is known against a result, and yet it is not here.
    // spec: DEL-4, DEL-5, DEL-9
    fn result_waits(&mut self, id: AttemptId, why: Unfetched) {
        let (now, replicated) = (self.now.boot_ms, self.tasks.get(&id.task).is_some_and(Task::has_replicas));
        let Some(task) = self.tasks.get_mut(&id.task) else { return };
        let Some(from) = task.fetching.as_ref().map(|ended| ended.statement.executor) else { return };
        let there = self.peers.get(&from).is_some_and(|peer| peer.connected);
        if !there && !replicated {
            // It is asked for again when the peer is back.
            task.fetching = None;
            task.kept.state = TaskState::Running;
            return;
        }
        let fetches = &mut task.fetches;
        let wait = AGAIN_MS.0.saturating_mul(1 << fetches.tries.min(20)).min(AGAIN_MS.1);
        fetches.tries = fetches.tries.saturating_add(1);
        // A full disk of its own this device cannot lay at anybody's door.
        fetches.failures += u32::from(there && !matches!(why, Unfetched::NoRoom(_)));
        if fetches.failures >= MOST_FAILURES {
            let reason = Reason::ResultNotFetched(why.to_string()).fit();
            if replicated {
                return self.agreed_unfetched(id.task, reason);
            }
            self.send_task(from, id, TaskFrame::Stop(reason.clone()));
            return self.lost(id.task, reason);
        }
        fetches.hindered = Some((why, now.saturating_add(wait)));
        if replicated {
            self.another_agreed(id.task, wait);
        } else {
            self.arm_in(Timer::Fetch(id.task), wait);
        }
        self.tell_task(id.task);
    }

    /// Why a result is not here yet, and when it is asked for again.
    // spec: DEL-9
    pub(crate) fn why_unfetched(&self, task: &Task) -> Option<String> {
        let (why, at) = task.fetches.hindered.as_ref()?;
        let seconds = at.saturating_sub(self.now.boot_ms).div_ceil(1000);
        Some(format!("{why}; it is asked for again in {seconds} s"))
    }
}
