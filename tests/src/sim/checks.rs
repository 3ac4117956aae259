//! What must hold, whatever fails. Each check is a function named as a sentence.

use super::civics::{
    needs_clean, no_donor_runs_more_than_a_day_allows,
    nothing_starts_on_a_claim_that_the_votes_do_not_bear_out,
};
use super::executor::Phase;
use super::kept;
use super::model::id_on;
use super::net::{Channel, Who};
use super::world::World;
use mesh_node::{Answer, AttemptState, Input, Message, Output, Run, TaskState};
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::frame::{AttemptId, HelloFrame, JoinAnswer, Offer, TaskFrame};
use mesh_protocol::ids::{EntryId, TaskId};
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Completed, Effect, Entry, Payload, Spent, Tip};
use mesh_protocol::reason::Reason;
use mesh_protocol::record::{Record, Table};
use mesh_protocol::task::Sla;
use std::collections::BTreeMap;

/// By how much a run may outlive its lease: a timer's grain, a message to the sandbox, its way of stopping.
const LEASE_SLACK_MS: u64 = 500;

/// For how long a run may go on when its energy is gone: a message to the sandbox and its way of standing still.
const ENERGY_SLACK_MS: u64 = 500;

/// Something that must hold does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The check's name.
    pub check: &'static str,
    /// What was seen.
    pub what: String,
}

pub(crate) type Verdict = Result<(), Broken>;

pub(crate) fn hold(check: &'static str, holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Broken { check, what: what() }) }
}

impl World {
    /// A node is about to hear something that a check will want to know of.
    pub(crate) fn heed(&mut self, who: Who, input: &Input) {
        let boot = self.peers[who].clock.boot(self.now);
        match input {
            Input::Task(_, id, TaskFrame::Offer(offer)) => {
                self.model.heard.entry((who, *id)).or_insert(offer.lease_ms);
            }
            Input::Task(from, id, TaskFrame::Renew { lease_ms }) => {
                let owner = self.peers[who].executor.jobs.get(id).map(|job| job.run.owner);
                if owner.is_none_or(|owner| owner == *from)
                    && let Some(until) = self.model.leases.get_mut(&(who, *id))
                {
                    *until = boot.saturating_add(*lease_ms);
                }
            }
            Input::Task(_, id, TaskFrame::Reveal) => drop(self.model.revealed.insert((who, *id))),
            Input::Energy(energy, _) => {
                self.peers[who].energy = energy.as_ref().map(|it| it.claim);
                if is_clean(self.peers[who].energy) {
                    self.model.dirty_since.remove(&who);
                } else {
                    let now = self.now;
                    self.model.dirty_since.entry(who).or_insert(now);
                }
            }
            _ => {}
        }
    }

    /// A node has decided something, at this moment and with what it knows now.
    pub(crate) fn decided(&mut self, who: Who, output: &Output) {
        if let Output::Send(to, Message::Task(id, TaskFrame::Offer(offer))) = output
            && let Some(at) = self.who(to)
        {
            self.begins(who, *id, &offer.task.spec, at, Some(offer));
        }
        let Output::Run(run) = output else { return };
        if run.owner == self.peers[who].key {
            self.begins(who, run.attempt, &run.spec, who, None);
        } else {
            let verdict = no_donor_runs_more_than_a_day_allows(self, who, run);
            self.must(verdict);
        }
        let verdict = nothing_starts_without_a_grant_valid_at_its_start(self, who, run)
            .and_then(|()| nothing_starts_on_energy_that_its_patience_forbids(self, who, run))
            .and_then(|()| nothing_starts_on_a_claim_that_the_votes_do_not_bear_out(self, who, run));
        self.must(verdict);
        if run.owner != self.peers[who].key {
            let lease = self.model.heard.get(&(who, run.attempt)).copied().unwrap_or_default();
            let until = self.peers[who].clock.boot(self.now).saturating_add(lease);
            self.model.leases.insert((who, run.attempt), until);
        }
    }

    /// Something leaves an honest peer.
    pub(crate) fn leaves(&mut self, who: Who, output: &Output, records: &[Record]) {
        let verdict = nothing_leaves_before_it_is_durable(self, who, output, records)
            .and_then(|()| a_stranger_learns_nothing(self, output));
        self.must(verdict);
        match output {
            Output::Send(to, Message::Task(id, TaskFrame::Offer(offer))) => {
                let verdict = attempt_numbers_only_rise(self, who, *to, *id, offer.task.spec.is_replicated());
                self.must(verdict);
                self.model.offered.entry((who, id.task)).or_default().insert(id.attempt, *to);
            }
            Output::Send(to, Message::Task(id, TaskFrame::Stop(Reason::BadResult(why)))) => {
                let verdict = no_honest_result_is_called_bad(self, who, *to, *id, why);
                self.must(verdict);
            }
            Output::Send(_, Message::Task(id, TaskFrame::Reveal)) => {
                let verdict = no_result_is_asked_for_before_all_replicas_have_promised(self, who, *id);
                self.must(verdict);
            }
            Output::Send(_, Message::Task(id, TaskFrame::Ended(_))) => {
                let verdict = no_replica_shows_its_result_unasked(self, who, *id);
                self.must(verdict);
            }
            Output::Run(run) => {
                let first = self.model.runs.insert((who, run.attempt));
                self.must(no_attempt_runs_twice_on_one_peer(first, run));
            }
            _ => {}
        }
    }

    /// A peer has made records durable.
    pub(crate) fn committed(&mut self, who: Who, records: &[Record]) {
        for record in records {
            match record {
                Record::Entry { author, seq, bytes, .. } => self.entry_kept(who, author, *seq, bytes),
                Record::Put { table: Table::Tasks, value, .. } if self.peers[who].is_honest() => {
                    self.task_kept(who, value);
                }
                _ => {}
            }
        }
    }

    fn entry_kept(&mut self, who: Who, author: &PublicKey, seq: u64, bytes: &[u8]) {
        let Some(entry) = self.known.read(bytes) else {
            return self.must(hold("every_kept_entry_can_be_read", false, || format!("{author:?}/{seq}")));
        };
        if self.peers[who].key == *author {
            self.model.born.entry(entry.id()).or_insert(self.now);
            if let Payload::TaskSubmitted(task) = entry.payload() {
                self.model.opened.entry((*author, task.task)).or_insert(self.now);
            }
        }
        let Some(writer) = self.who(author) else { return };
        if !self.peers[writer].is_honest() {
            return;
        }
        if writer == who {
            let before = self.model.truth.insert((*author, seq), entry.id());
            self.must(no_honest_peer_forks_itself(before, &entry));
            if let (Payload::Delegated { task, attempt, device, .. }, None) = (entry.payload(), before) {
                let given = self.model.given.entry((who, *task)).or_default();
                let last = given.keys().next_back().copied();
                given.insert(*attempt, *device);
                self.must(attempts_are_given_in_rising_numbers(*task, *attempt, last));
            }
            if let Payload::Forked(proof) = entry.payload()
                && self.model.proven.insert((proof.a.header.author, proof.a.header.seq, who))
            {
                self.count("fork proven");
            }
            if let Payload::Spent(spent) = entry.payload() {
                let verdict = energy_spent_is_energy_metered(self, who, spent);
                self.must(verdict);
                self.count("spent recorded");
                self.model.spent.insert((who, spent.task, spent.attempt));
            }
            if let Payload::Completed(completed) = entry.payload() {
                let verdict = no_result_is_recorded_twice(self, who, completed)
                    .and_then(|()| energy_recorded_is_energy_metered(self, completed));
                self.must(verdict);
                let statement = &completed.statement;
                self.model.recorded.insert((who, statement.task, statement.attempt), completed.effect);
            }
        } else {
            let verdict = no_copy_of_an_entry_exists_before_it_is_on_its_authors_disk(self, writer, &entry);
            self.must(verdict);
        }
    }

    fn task_kept(&mut self, who: Who, value: &[u8]) {
        let Some(task) = kept::task_from(value) else {
            return self.must(hold("the_simulator_reads_what_the_node_keeps", false, String::new));
        };
        if task.twin.is_some() {
            // Only the task itself takes effect.
            return;
        }
        let id = task.task.spec.id();
        let verdict = no_task_is_done_twice(self, who, id, &task)
            .and_then(|()| only_the_current_attempt_takes_effect(self, who, &task))
            .and_then(|()| whoever_copies_or_lies_gains_nothing(self, who, &task));
        self.must(verdict);
        if let (TaskState::Done, Some((attempt, _, output))) = (task.state, &task.result) {
            self.model.done.insert((who, id), (*attempt, output.hash));
        }
    }

    /// What is looked at after every event.
    pub(crate) fn check_peer(&mut self, who: Who) {
        if self.broken.is_some() || !self.peers[who].is_honest() {
            return;
        }
        let verdict = no_acknowledged_task_is_lost(self, who)
            .and_then(|()| a_fenced_attempt_never_outlives_its_lease(self, who))
            .and_then(|()| no_eco_task_computes_on_dirty_energy(self, who));
        self.must(verdict);
    }
}

// ---- durability ----

fn deleted(records: &[Record], table: Table, key: &[u8]) -> bool {
    records.iter().any(
        |record| matches!(record, Record::Delete { table: of, key: gone } if *of == table && *gone == key),
    )
}

fn has_tip(world: &World, who: Who, tip: &Tip, records: &[Record]) -> bool {
    let disk = &world.peers[who].disk;
    let cut = records.iter().any(|record| {
        matches!(record, Record::Truncate { author, seq } if *author == tip.author && *seq <= tip.seq)
    });
    cut || id_on(disk, &tip.author, tip.seq) == Some(tip.id)
}

/// What a frame, an answer or an entry promises is on the disk when it leaves.
// spec: ARC-3, LED-5, DEL-1, DEL-11
fn nothing_leaves_before_it_is_durable(
    world: &World,
    who: Who,
    output: &Output,
    records: &[Record],
) -> Verdict {
    let peer = &world.peers[who];
    let holds = match output {
        Output::Send(_, Message::Task(id, frame)) => return promise_is_kept(world, who, *id, frame, records),
        Output::Send(_, Message::Hello(HelloFrame::JoinAnswer(JoinAnswer::Admitted(entry)))) => {
            *entry == EntryId::ZERO || has_own(world, who, entry)
        }
        Output::Spread(entry) => {
            entry.header().author != peer.key || has_tip(world, who, &entry.tip(), records)
        }
        Output::SendEntries { author, until, .. } if *author == peer.key => {
            peer.disk.len_of(author) >= *until
        }
        Output::Answer(_, Ok(Answer::Entry(entry))) => has_own(world, who, entry),
        Output::Answer(_, Ok(Answer::Submitted { task, .. })) => {
            peer.disk.value(Table::Tasks, &task.0).is_some()
        }
        _ => true,
    };
    hold("nothing_leaves_before_it_is_durable", holds, || {
        format!("{}: {}", peer.name, super::log::brief(output))
    })
}

fn has_own(world: &World, who: Who, entry: &EntryId) -> bool {
    let peer = &world.peers[who];
    peer.disk
        .log(&peer.key)
        .rev()
        .any(|(_, bytes)| Entry::trusted(bytes).is_ok_and(|kept| kept.id() == *entry))
}

fn promise_is_kept(world: &World, who: Who, id: AttemptId, frame: &TaskFrame, records: &[Record]) -> Verdict {
    const NAME: &str = "nothing_leaves_before_it_is_durable";
    let peer = &world.peers[who];
    let gone = deleted(records, Table::Attempts, &kept::attempt_key(id));
    let owns = |offer: &Offer| {
        has_tip(world, who, &offer.tip, records)
            && kept::task(&peer.disk, &id.task).is_some_and(|task| task.tries.len() >= id.attempt as usize)
    };
    let holds = match frame {
        TaskFrame::Offer(offer) => owns(offer),
        TaskFrame::Accepted => gone || kept::attempt(&peer.disk, id).is_some(),
        TaskFrame::Ended(_) | TaskFrame::Promised(_) => {
            gone || kept::attempt(&peer.disk, id)
                .is_some_and(|kept| kept.ended.is_some() && kept.state == AttemptState::Ended)
        }
        TaskFrame::Settled(_) => kept::task(&peer.disk, &id.task).is_some_and(|task| {
            let fate = task.tries.get(id.attempt as usize - 1).map(|it| it.fate.clone());
            task.state.is_over() || matches!(fate, Some(fate) if fate != kept::Fate::Open)
        }),
        _ => true,
    };
    hold(NAME, holds, || format!("{}: {:?} {}", peer.name, id, super::log::frame_name(frame)))
}

/// Others have of an honest log only what its author would find again.
// spec: LED-5
fn no_copy_of_an_entry_exists_before_it_is_on_its_authors_disk(
    world: &World,
    writer: Who,
    entry: &Entry,
) -> Verdict {
    let known = world.model.truth.get(&(entry.header().author, entry.header().seq));
    hold("no_copy_of_an_entry_exists_before_it_is_on_its_authors_disk", known == Some(&entry.id()), || {
        format!("{}/{}", world.peers[writer].name, entry.header().seq)
    })
}

/// Two entries at one place of a log are for liars.
// spec: LED-5
fn no_honest_peer_forks_itself(before: Option<EntryId>, entry: &Entry) -> Verdict {
    hold("no_honest_peer_forks_itself", before.is_none_or(|id| id == entry.id()), || {
        format!("{:?} was {before:?}", entry.tip())
    })
}

// ---- tasks ----

/// What was acknowledged is on the disk until somebody wants it gone.
// spec: DEL-1, DEL-10
fn no_acknowledged_task_is_lost(world: &World, who: Who) -> Verdict {
    let peer = &world.peers[who];
    let mine = world.model.acknowledged.range((who, TaskId([0; 32]))..=(who, TaskId([0xff; 32])));
    for (_, task) in mine {
        let there = peer.disk.value(Table::Tasks, &task.0).is_some();
        hold("no_acknowledged_task_is_lost", there, || format!("{} {task}", peer.name))?;
    }
    Ok(())
}

/// One effect for good.
// spec: DEL-4, DEL-11
fn no_task_is_done_twice(world: &World, who: Who, id: TaskId, task: &kept::Task) -> Verdict {
    const NAME: &str = "no_task_is_done_twice";
    let now = task.result.as_ref().map(|(attempt, _, output)| (*attempt, output.hash));
    match world.model.done.get(&(who, id)) {
        None => Ok(()),
        Some(before) => hold(NAME, task.state == TaskState::Done && now == Some(*before), || {
            format!("{} {id}: was {before:?}, is {:?} {now:?}", world.peers[who].name, task.state)
        }),
    }
}

/// The effect is the last attempt's, and that of the device which had it and truly made it.
// spec: DEL-4, DEL-11
fn only_the_current_attempt_takes_effect(world: &World, who: Who, task: &kept::Task) -> Verdict {
    const NAME: &str = "only_the_current_attempt_takes_effect";
    let (TaskState::Done, Some((attempt, receipt, output))) = (task.state, &task.result) else {
        return Ok(());
    };
    let id = AttemptId { task: task.task.spec.id(), attempt: *attempt };
    // Replicas and checks run beside it; of its own attempts the last one counts.
    let last = task.tries.iter().rev().find(|it| !it.twin);
    let by = receipt.receipt.executor;
    let device = world.who(&by);
    let made =
        device.is_none_or(|by| !world.peers[by].is_honest() || world.model.produced.contains(&(by, id)));
    let kept = world.peers[who].blobs.get(&output.hash) == Some(&receipt.receipt.output.out);
    let current = last.is_some_and(|it| it.number == *attempt && it.device == by)
        && receipt.receipt.attempt == *attempt;
    hold(NAME, current && made && kept, || {
        format!(
            "{} {id:?} of {} attempts: current {current}, made {made}, its output kept {kept}",
            world.peers[who].name,
            task.tries.len()
        )
    })?;
    let limits = &task.task.spec.limits;
    let signed = receipt.verify().is_ok();
    let about = receipt.receipt.task == id.task && receipt.receipt.usage.fuel <= limits.fuel;
    hold("no_result_is_believed_that_is_not_signed_for_its_task", signed && about, || {
        format!(
            "{} {id:?}: signed {signed}, of this task and within its limits {about}",
            world.peers[who].name
        )
    })
}

/// None can copy: what one says is known when all have spoken, or had their time.
// spec: DEL-8
fn no_result_is_asked_for_before_all_replicas_have_promised(
    world: &World,
    who: Who,
    id: AttemptId,
) -> Verdict {
    let left = kept::unpromised(&world.peers[who].disk, id.task);
    hold("no_result_is_asked_for_before_all_replicas_have_promised", left == 0, || {
        format!("{} asks for {id:?} while {left} have not", world.peers[who].name)
    })
}

// spec: DEL-8
fn no_replica_shows_its_result_unasked(world: &World, who: Who, id: AttemptId) -> Verdict {
    let replicated = kept::attempt(&world.peers[who].disk, id).is_some_and(|it| it.is_replicated());
    let holds = !replicated || world.model.revealed.contains(&(who, id));
    hold("no_replica_shows_its_result_unasked", holds, || format!("{} {id:?}", world.peers[who].name))
}

/// A replica that said what another had is not among those that agree, and what the quorum took is true.
// spec: DEL-8
fn whoever_copies_or_lies_gains_nothing(world: &World, who: Who, task: &kept::Task) -> Verdict {
    const NAME: &str = "whoever_copies_or_lies_gains_nothing";
    let spec = &task.task.spec;
    if !spec.is_replicated() {
        return Ok(());
    }
    let id = spec.id();
    for it in &task.tries {
        let Some(by) = world.who(&it.device) else { continue };
        let copied = world.model.copied.contains(&(by, AttemptId { task: id, attempt: it.number }));
        let gains = matches!(it.fate, kept::Fate::Agreed | kept::Fate::Done);
        hold(NAME, !(copied && gains), || format!("{} {id} attempt {}", world.peers[who].name, it.number))?;
    }
    let output = task.result.as_ref().map(|(_, receipt, _)| receipt.receipt.output.out);
    hold(NAME, output.is_none_or(|output| output == super::executor::truth_of(&id)), || {
        format!("{} {id}: {output:?}", world.peers[who].name)
    })
}

/// A number is offered to the device to which the own log gives it, and the next is higher.
// spec: DEL-11
fn attempt_numbers_only_rise(
    world: &World,
    who: Who,
    to: PublicKey,
    id: AttemptId,
    replicated: bool,
) -> Verdict {
    let given = world.model.given.get(&(who, id.task)).and_then(|given| given.get(&id.attempt));
    let offered = world.model.offered.get(&(who, id.task));
    let highest = offered.and_then(|before| before.keys().next_back().copied()).unwrap_or_default();
    // Of replicas several are open at once: whoever crashed between two offers makes them when it is connected again,
    // whichever comes first.
    let holds = given == Some(&to) && (replicated || id.attempt >= highest);
    hold("attempt_numbers_only_rise", holds, || {
        format!(
            "{} offers {id:?} to {} after attempt {highest}; by its log it is for {:?}",
            world.peers[who].name,
            world.name(&to),
            given.map(|device| world.name(device))
        )
    })
}

/// Whatever becomes of the attempts, an owner's log counts them.
// spec: DEL-11
fn attempts_are_given_in_rising_numbers(task: TaskId, attempt: u32, last: Option<u32>) -> Verdict {
    hold("attempts_are_given_in_rising_numbers", last.is_none_or(|last| attempt > last), || {
        format!("attempt {attempt} of {task} is given after attempt {last:?}")
    })
}

/// A try is made once.
// spec: DEL-11
fn no_attempt_runs_twice_on_one_peer(first: bool, run: &Run) -> Verdict {
    hold("no_attempt_runs_twice_on_one_peer", first, || format!("{:?}", run.attempt))
}

/// An owner's log says once what became of an attempt, and of one attempt alone that it was the task's result.
// spec: DEL-11, DEL-13
fn no_result_is_recorded_twice(world: &World, who: Who, completed: &Completed) -> Verdict {
    let statement = &completed.statement;
    let all = world.model.recorded.range((who, statement.task, 0)..=(who, statement.task, u32::MAX));
    let clash = all.into_iter().find(|((_, _, attempt), effect)| {
        *attempt == statement.attempt || (**effect == Effect::Done && completed.effect == Effect::Done)
    });
    hold("no_result_is_recorded_twice", clash.is_none(), || {
        format!("{} {} attempt {}: {clash:?}", world.peers[who].name, statement.task, statement.attempt)
    })
}

/// A statement says what the sandbox metered, to the millijoule.
// spec: DEL-13
fn energy_recorded_is_energy_metered(world: &World, completed: &Completed) -> Verdict {
    let statement = &completed.statement;
    let Some(by) = world.who(&statement.executor).filter(|by| world.peers[*by].is_honest()) else {
        return Ok(());
    };
    let id = AttemptId { task: statement.task, attempt: statement.attempt };
    let metered = world.model.metered.get(&(by, id)).copied();
    hold("energy_recorded_is_energy_metered", metered == statement.energy.energy_mj(), || {
        format!("{id:?}: {metered:?} metered, {:?} recorded", statement.energy.energy_mj())
    })
}

/// A device says once what an attempt used there that came to no end: what was metered, or where the sandbox died with
/// the device no number that it made up.
// spec: DEL-13
fn energy_spent_is_energy_metered(world: &World, who: Who, spent: &Spent) -> Verdict {
    const NAME: &str = "energy_spent_is_energy_metered";
    let id = AttemptId { task: spent.task, attempt: spent.attempt };
    let again = world.model.spent.contains(&(who, spent.task, spent.attempt));
    let recorded = spent.energy.energy_mj();
    let metered = world.model.metered.get(&(who, id)).copied();
    let right = recorded == metered || (spent.estimated && recorded.is_none());
    hold(NAME, right && !again, || {
        format!("{} {id:?}: {metered:?} metered, {recorded:?} recorded, again {again}", world.peers[who].name)
    })
}

/// A line that breaks does not make a liar of who ran the task.
// spec: DEL-5, DEL-8
fn no_honest_result_is_called_bad(
    world: &World,
    who: Who,
    to: PublicKey,
    id: AttemptId,
    why: &str,
) -> Verdict {
    let honest = world
        .who(&to)
        .is_some_and(|to| world.peers[to].is_honest() && world.model.produced.contains(&(to, id)));
    // Who was expelled, and has not heard of it yet, is rightly given nothing.
    let heard = !world.model.expelled.contains(&who);
    hold("no_honest_result_is_called_bad", !(honest && heard), || {
        format!("{} calls what {} made of {id:?} bad: {why}", world.peers[who].name, world.name(&to))
    })
}

/// Whoever runs a task may: by the word of the device's own owner, as it stands on that device.
// spec: DEL-12
fn nothing_starts_without_a_grant_valid_at_its_start(world: &World, who: Who, run: &Run) -> Verdict {
    let peer = &world.peers[who];
    if run.owner == peer.key {
        return Ok(());
    }
    let wall = peer.clock.at(world.now).wall_ms;
    let word = world.model.words.get(&who);
    let spec = &run.spec;
    let granted = word.is_some_and(|word| {
        !word.expelled.contains(&spec.user)
            && word.grants.iter().any(|(id, grant)| {
                grant.user == spec.user
                    && grant.device == peer.key
                    && grant.pattern.matches(&spec.name)
                    && grant.until_ms.is_none_or(|until| until > wall)
                    && !word.revoked.contains(id)
            })
    });
    hold("nothing_starts_without_a_grant_valid_at_its_start", granted, || {
        format!("{} starts {:?} of {}", peer.name, run.attempt, world.name(&run.owner))
    })
}

/// By the rules that every community begins with.
// spec: SLA-3
fn is_clean(energy: Option<EnergyClaim>) -> bool {
    energy.is_some_and(|energy| {
        let own = matches!(energy.source, Source::Solar | Source::Wind | Source::Hydro);
        own && energy.renewable_percent == 100 || (energy.g_per_kwh <= 150 && energy.renewable_percent >= 60)
    })
}

/// However energy changes under it, and whatever its owner says: its donor holds it.
// spec: SLA-1, DEL-12
fn no_eco_task_computes_on_dirty_energy(world: &mut World, who: Who) -> Verdict {
    let peer = &world.peers[who];
    if !world.model.dirty_since.contains_key(&who) {
        world.model.unfit_since.retain(|(at, _), _| *at != who);
        return Ok(());
    }
    let mut unfit = BTreeMap::new();
    // What the node decides cannot be carried out while its disk takes nothing, nobody computes asleep, and no clock says
    // by itself that it was set.
    if peer.node.is_none() || peer.asleep_until.is_some() || peer.busy.is_some() || peer.clock_set {
        return Ok(());
    }
    for (attempt, job) in &peer.executor.jobs {
        let (owner, spec) = (&job.run.owner, &job.run.spec);
        // What was voted to hurry runs on any.
        let counted = || peer.node.as_ref().and_then(|node| node.counted(owner, &attempt.task));
        if job.phase != Phase::Running
            || spec.sla != Sla::Eco
            || !needs_clean(spec, peer.clock.at(world.now).wall_ms, counted().as_ref())
        {
            continue;
        }
        // Votes that come late change what it may run on, too.
        let seen = world.model.unfit_since.get(&(who, *attempt)).copied().unwrap_or(world.now);
        let from = seen.max(job.since).max(peer.stuck_until);
        hold("no_eco_task_computes_on_dirty_energy", world.now <= from + ENERGY_SLACK_MS, || {
            format!("{} runs {attempt:?} for {} ms on {:?}", peer.name, world.now - from, peer.energy)
        })?;
        unfit.insert((who, *attempt), seen);
    }
    world.model.unfit_since.retain(|(at, _), _| *at != who);
    world.model.unfit_since.extend(unfit);
    Ok(())
}

/// Patience is kept to.
// spec: DEL-12
fn nothing_starts_on_energy_that_its_patience_forbids(world: &World, who: Who, run: &Run) -> Verdict {
    let peer = &world.peers[who];
    let counted = peer.node.as_ref().and_then(|node| node.counted(&run.owner, &run.attempt.task));
    let wall = peer.clock.at(world.now).wall_ms;
    let holds = is_clean(peer.energy) || !needs_clean(&run.spec, wall, counted.as_ref());
    hold("nothing_starts_on_energy_that_its_patience_forbids", holds, || {
        format!("{} starts {:?} on {:?}", peer.name, run.attempt, peer.energy)
    })
}

/// The lease is the sandbox's end, whatever the owner or the network does.
// spec: DEL-3, DEL-11
fn a_fenced_attempt_never_outlives_its_lease(world: &World, who: Who) -> Verdict {
    let peer = &world.peers[who];
    // What the node decides cannot be carried out while its disk takes nothing, and nobody computes asleep.
    if peer.node.is_none() || peer.asleep_until.is_some() || peer.busy.is_some() {
        return Ok(());
    }
    let boot = peer.clock.boot(world.now);
    let grace = peer.clock.boot(peer.stuck_until).saturating_add(LEASE_SLACK_MS);
    for (attempt, job) in &peer.executor.jobs {
        let Some(until) = world.model.leases.get(&(who, *attempt)) else { continue };
        let holds = job.phase != Phase::Running || boot <= until + LEASE_SLACK_MS || boot <= grace;
        hold("a_fenced_attempt_never_outlives_its_lease", holds, || {
            format!("{} runs {attempt:?} {} ms after its lease", peer.name, boot.saturating_sub(*until))
        })?;
    }
    Ok(())
}

// ---- the wire ----

/// The codecs of both ends agree.
// spec: ARC-6
pub(crate) fn what_an_honest_peer_says_can_be_read(honest: bool, channel: Channel) -> Verdict {
    hold("what_an_honest_peer_says_can_be_read", !honest, || format!("{channel:?}"))
}

/// A key that nobody admitted hears that it is not let in, and nothing else.
// spec: NET-2
fn a_stranger_learns_nothing(world: &World, output: &Output) -> Verdict {
    let (to, harmless) = match output {
        Output::Send(
            to,
            Message::Hello(HelloFrame::JoinAnswer(_)) | Message::Task(_, TaskFrame::Refused(_)),
        ) => (to, true),
        Output::Send(to, _) | Output::SendEntries { to, .. } => (to, false),
        _ => return Ok(()),
    };
    let stranger = world.who(to).is_some_and(|to| world.peers[to].role == super::peer::Role::Stranger);
    hold("a_stranger_learns_nothing", harmless || !stranger, || super::log::brief(output))
}

/// A key that nobody admitted gets through the handshake and no further.
// spec: NET-2
pub(crate) fn what_a_stranger_says_leaves_no_trace(records: &[Record]) -> Verdict {
    hold("what_a_stranger_says_leaves_no_trace", records.is_empty(), || format!("{} records", records.len()))
}
