//! What the entries say of energy: what each attempt at each task used, and what its submitter makes of it.
//!
//! An attempt is counted once, whoever speaks of it: by its statement where the submitter recorded that, else by the
//! word of the device to which the submitter had given it.
// spec: CO2-3, CO2-4, DEL-13

use super::conduct::Same;
use mesh_policies::accounting::{Sum, Taken, saved};
use mesh_protocol::energy::How;
use mesh_protocol::ids::TaskId;
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Accounted, Effect, Entry, Payload, Saved, Statement};
use serde::Serialize;
use std::collections::BTreeMap;

/// An attempt whose result arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ran {
    seq: u64,
    /// With which effect.
    pub effect: Effect,
    /// By which device.
    pub device: PublicKey,
    /// When that was recorded, in milliseconds since 1970.
    pub at_ms: u64,
    /// Milliseconds from start to end.
    pub wall_ms: u64,
    /// Most bytes of memory.
    pub peak_memory: u64,
    /// How its energy is known, and by how much that may be wrong, in percent.
    pub how: (How, u8),
    /// What it used; none if that is not known.
    pub sum: Option<Sum>,
    /// Fuel of the whole task, and what of it this attempt burnt.
    fuel: (u64, u64),
    /// Engine, outcome and output; none where another run need not come to the same.
    pub same: Option<Same>,
}

impl Ran {
    fn of(seq: u64, at_ms: u64, statement: &Statement, effect: Effect) -> Self {
        Self {
            seq,
            effect,
            device: statement.executor,
            at_ms,
            wall_ms: statement.wall_ms,
            peak_memory: statement.peak_memory,
            how: (statement.energy.how, statement.energy.uncertainty_percent),
            sum: Sum::metered(&statement.energy),
            fuel: (statement.fuel, statement.fuel.saturating_sub(statement.fuel_before)),
            same: (statement.comparable && statement.fuel_before == 0).then_some((
                statement.profile,
                statement.outcome,
                statement.output,
            )),
        }
    }

    /// As what a task's account is held against.
    pub fn taken(&self) -> Option<Taken> {
        Some(Taken { sum: self.sum?, fuel: self.fuel })
    }
}

/// An attempt of which only the device speaks that had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lost {
    seq: u64,
    submitter: PublicKey,
    /// What it used; none if that is not known.
    pub sum: Option<Sum>,
    /// Is a part of that an estimate?
    pub estimated: bool,
}

/// What is on record of an attempt's use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// What it used; none if that is not known.
    pub sum: Option<Sum>,
    /// Is a part of that an estimate?
    pub estimated: bool,
}

/// A task's account, added up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountFact {
    seq: u64,
    /// Against which attempt.
    pub attempt: u32,
    /// The same work at once at home.
    pub at_once: Sum,
    /// The same work at home when it ran.
    pub then: Sum,
    /// Energy of moving it, in millijoule.
    pub transfer_mj: u64,
}

/// A task as far as its energy goes, by its submitter's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TaskEnergy {
    submitted: Option<(u64, u64)>,
    delegated: BTreeMap<u32, (u64, PublicKey, u64)>,
    completed: BTreeMap<u32, Ran>,
    account: Option<AccountFact>,
}

/// What a task caused and saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance<'a> {
    /// The attempt whose result is the task's, and its number.
    pub done: (u32, &'a Ran),
    /// Everything used by all attempts of which it is known.
    pub caused: Sum,
    /// Attempts whose energy is on record and could not be known.
    pub unmeasured: Vec<u32>,
    /// Attempts that others took, and of which it is not on record.
    pub unsaid: Vec<u32>,
    /// Is any part an estimate?
    pub estimated: bool,
    /// The same at home, if that is on record.
    pub account: Option<&'a AccountFact>,
    /// What was saved, if all of it is known.
    pub saved: Option<Saved>,
    /// From submission to the start of the attempt that counts, in milliseconds.
    pub deferred_ms: u64,
}

/// All that is said of energy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Energies {
    tasks: BTreeMap<(PublicKey, TaskId), TaskEnergy>,
    lost: BTreeMap<(TaskId, u32, PublicKey), Lost>,
    accepted: BTreeMap<(TaskId, u32, PublicKey), u64>,
}

impl Energies {
    /// All tasks by submitting device and id.
    pub fn tasks(&self) -> impl Iterator<Item = &(PublicKey, TaskId)> {
        self.tasks.keys()
    }

    /// The results of a task.
    pub fn results(&self, key: &(PublicKey, TaskId)) -> impl Iterator<Item = (u32, &Ran)> {
        let task = self.tasks.get(key);
        task.into_iter().flat_map(|task| task.completed.iter().map(|(attempt, ran)| (*attempt, ran)))
    }

    /// Did a device take an attempt?
    pub fn took(&self, task: &TaskId, attempt: u32, device: &PublicKey) -> bool {
        self.accepted.contains_key(&(*task, attempt, *device))
    }

    /// Is a device's word of what an attempt used an estimate, if there is such a word?
    pub fn word_of(&self, task: &TaskId, attempt: u32, device: &PublicKey) -> Option<bool> {
        self.lost.get(&(*task, attempt, *device)).map(|lost| lost.estimated)
    }

    /// What is on record of an attempt's use.
    fn attempt(&self, key: &(PublicKey, TaskId), attempt: u32) -> Option<Word> {
        let task = self.tasks.get(key)?;
        if let Some(ran) = task.completed.get(&attempt) {
            return Some(Word { sum: ran.sum, estimated: false });
        }
        let (_, device, _) = task.delegated.get(&attempt)?;
        let lost = self.lost.get(&(key.1, attempt, *device)).filter(|lost| lost.submitter == key.0)?;
        Some(Word { sum: lost.sum, estimated: lost.estimated })
    }

    /// All attempts at a task: which, where, and what is on record of its use.
    pub fn attempts(&self, key: &(PublicKey, TaskId)) -> Vec<(u32, PublicKey, Option<Word>)> {
        let Some(task) = self.tasks.get(key) else { return Vec::new() };
        let given = task.delegated.iter().map(|(attempt, (_, device, _))| (*attempt, *device));
        let ran = task.completed.iter().map(|(attempt, ran)| (*attempt, ran.device));
        let all: BTreeMap<u32, PublicKey> = given.chain(ran).collect();
        all.into_iter().map(|(attempt, device)| (attempt, device, self.attempt(key, attempt))).collect()
    }

    /// The attempts of a task whose energy is on record.
    pub fn counted(&self, key: &(PublicKey, TaskId)) -> Vec<u32> {
        let told = self.attempts(key).into_iter().filter(|(_, _, word)| word.is_some());
        told.map(|(attempt, ..)| attempt).collect()
    }

    /// What a task that is done caused and saved, by what is on record now.
    // spec: CO2-3, DEL-13
    pub fn balance(&self, key: &(PublicKey, TaskId)) -> Option<Balance<'_>> {
        let task = self.tasks.get(key)?;
        let (number, done) = task.completed.iter().find(|(_, ran)| ran.effect == Effect::Done)?;
        let mut balance = Balance {
            done: (*number, done),
            caused: Sum::default(),
            unmeasured: Vec::new(),
            unsaid: Vec::new(),
            estimated: false,
            account: task.account.as_ref().filter(|account| account.attempt == *number),
            saved: None,
            deferred_ms: 0,
        };
        let mut others = Vec::new();
        for (attempt, device, word) in self.attempts(key) {
            match word {
                None if self.accepted.contains_key(&(key.1, attempt, device)) => balance.unsaid.push(attempt),
                None => {}
                Some(Word { sum: None, .. }) => balance.unmeasured.push(attempt),
                Some(Word { sum: Some(sum), estimated }) => {
                    balance.caused = balance.caused.and(sum);
                    balance.estimated |= estimated;
                    if attempt != *number {
                        others.push(sum);
                    }
                }
            }
        }
        if let (Some(account), Some(taken), true) =
            (balance.account, done.taken(), balance.unmeasured.is_empty())
        {
            balance.saved = saved(&account.at_once, &account.then, &taken, &others, account.transfer_mj);
        }
        if let (Some((_, submitted)), Some((_, _, given))) = (task.submitted, task.delegated.get(number)) {
            balance.deferred_ms = given.saturating_sub(submitted);
        }
        Some(balance)
    }

    /// What an account should say was saved, by the attempts that it names.
    // spec: CO2-4
    pub fn check(&self, submitter: &PublicKey, account: &Accounted) -> Result<Option<Saved>, &'static str> {
        let key = (*submitter, account.task);
        let task = self.tasks.get(&key).ok_or("its task was never submitted")?;
        let done = task.completed.get(&account.attempt).filter(|ran| ran.effect == Effect::Done);
        let done = done.ok_or("the attempt that it names had no effect")?;
        let mut others = Vec::new();
        for attempt in account.counted.iter().filter(|it| **it != account.attempt) {
            match self.attempt(&key, *attempt).ok_or("an attempt that it counts is not on record")?.sum {
                Some(sum) => others.push(sum),
                None => return Ok(None),
            }
        }
        Ok(done.taken().and_then(|taken| mesh_policies::accounting::saved_by(account, &taken, &others)))
    }

    fn task(&mut self, author: PublicKey, task: TaskId) -> &mut TaskEnergy {
        self.tasks.entry((author, task)).or_default()
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        let header = entry.header();
        let (author, seq, at_ms) = (header.author, header.seq, header.hlc.wall_ms());
        match entry.payload() {
            Payload::TaskSubmitted(task) => {
                self.task(author, task.task).submitted.get_or_insert((seq, at_ms));
            }
            Payload::Delegated { task, attempt, device, .. } => {
                self.task(author, *task).delegated.entry(*attempt).or_insert((seq, *device, at_ms));
            }
            Payload::Completed(completed) => {
                let statement = &completed.statement;
                self.task(author, statement.task)
                    .completed
                    .entry(statement.attempt)
                    .or_insert_with(|| Ran::of(seq, at_ms, statement, completed.effect));
            }
            Payload::Accepted { task, attempt } => {
                self.accepted.entry((*task, *attempt, author)).or_insert(seq);
            }
            Payload::Spent(spent) => {
                self.lost.entry((spent.task, spent.attempt, author)).or_insert_with(|| Lost {
                    seq,
                    submitter: spent.submitter,
                    sum: Sum::metered(&spent.energy),
                    estimated: spent.estimated,
                });
            }
            Payload::Accounted(account) => {
                self.task(author, account.task).account.get_or_insert_with(|| AccountFact {
                    seq,
                    attempt: account.attempt,
                    at_once: Sum::of(&account.at_once, account.factors),
                    then: Sum::of(&account.then, account.factors),
                    transfer_mj: account.transfer_mj,
                });
            }
            _ => {}
        }
    }

    /// Takes back what `author` said from `cap` on.
    pub(super) fn cut(&mut self, author: &PublicKey, cap: u64) {
        self.lost.retain(|(_, _, by), lost| by != author || lost.seq < cap);
        self.accepted.retain(|(_, _, by), seq| by != author || *seq < cap);
        self.tasks.retain(|(by, _), task| {
            if by != author {
                return true;
            }
            task.submitted = task.submitted.filter(|(seq, _)| *seq < cap);
            task.delegated.retain(|_, (seq, ..)| *seq < cap);
            task.completed.retain(|_, ran| ran.seq < cap);
            task.account = task.account.take().filter(|account| account.seq < cap);
            *task != TaskEnergy::default()
        });
    }
}
