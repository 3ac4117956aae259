//! What the entries say of tasks: who has which attempt, what came of it, what it used, and what its submitter makes of
//! that.
//!
//! An attempt's use is counted once, whoever speaks of it: by its statement where the submitter recorded that, else by the
//! word of the device to which the submitter had given it.
// spec: LED-3, CO2-3, CO2-4, DEL-13

use super::conduct::Same;
use mesh_policies::accounting::{Home, Seen, Sum, Taken, saved, span};
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
    /// From when until when.
    span: Option<(u64, u64)>,
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
            span: span(&statement.energy.pieces),
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

/// What a device said of an attempt's use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Spent {
    seq: u64,
    at_ms: u64,
    submitter: PublicKey,
    sum: Option<Sum>,
    /// Milliseconds of all its pieces of energy; none where it has none.
    ran_ms: Option<u64>,
    estimated: bool,
}

/// What a device says of an attempt that was offered to it, each with where in its log, and when if it weighs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Said {
    accepted: Option<(u64, u64)>,
    refused: Option<u64>,
    /// A person ended it.
    vetoed: Option<(u64, u64)>,
    // Seldom there, and large.
    spent: Option<Box<Spent>>,
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
    /// The same work at home.
    pub home: Home,
    /// Energy of moving it, in millijoule.
    pub transfer_mj: u64,
}

/// Most offers of a task of which its submitter's log can tell, refused ones included, and most results: as many as all
/// replicas may begin attempts. More costs all who read the log and says nothing: it does not count.
pub(crate) const MOST_OFFERS: usize = 4_096;
const MOST_RESULTS: usize = 1_600;

/// Something of each attempt at a task, in their order. Most tasks have one or two, and there are many tasks: a map
/// makes room for a dozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ByAttempt<T>(Vec<(u32, T)>);

impl<T> Default for ByAttempt<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> ByAttempt<T> {
    fn place(&self, attempt: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&attempt, |(attempt, _)| *attempt)
    }

    fn get(&self, attempt: u32) -> Option<&T> {
        self.0.get(self.place(attempt).ok()?).map(|(_, it)| it)
    }

    /// What is said first counts, up to so many. Is this it?
    fn add(&mut self, attempt: u32, most: usize, it: impl FnOnce() -> T) -> bool {
        let (Err(place), true) = (self.place(attempt), self.0.len() < most) else { return false };
        if self.0.is_empty() {
            self.0.reserve_exact(1);
        }
        self.0.insert(place, (attempt, it()));
        true
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = (u32, &T)> {
        self.0.iter().map(|(attempt, it)| (*attempt, it))
    }

    fn retain(&mut self, stays: impl Fn(&T) -> bool) {
        self.0.retain(|(_, it)| stays(it));
    }
}

/// A task's life as its submitter's log tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Life {
    /// Where in the log it was submitted, and when.
    submitted: Option<(u64, u64)>,
    /// Its attempts: where in the log, to whom and when.
    delegated: ByAttempt<(u64, PublicKey, u64)>,
    completed: ByAttempt<Ran>,
    account: Option<AccountFact>,
    /// Where in the log it failed or was cancelled, and when.
    ended: Option<(u64, u64)>,
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
    /// The same at home, if that is on record and can be.
    pub account: Option<&'a AccountFact>,
    /// What was saved, if all of it is known.
    pub saved: Option<Saved>,
    /// From submission to the start of the attempt that counts, in milliseconds.
    pub deferred_ms: u64,
}

/// A task: by which device it was submitted, and its id.
pub type TaskKey = (PublicKey, TaskId);

/// What an entry says that its log had not said before. Of what a log says of one thing more than once the first counts,
/// whatever its dates: whoever never had the rest of it, since it was cut off, has that one as well.
// spec: LED-3, REP-1
#[derive(Debug, Default)]
pub(super) struct News {
    /// Does it say something of its task or attempt for the first time?
    pub(super) first: bool,
    /// The device by which a task is done, if none was done before.
    pub(super) done_by: Option<PublicKey>,
}

/// Attempts that a device took from one submitter. A name is no secret, and anybody can say to have given away somebody
/// else's task, and that it ended: from whom a device took something, it says by whose log it names first.
// spec: REP-1
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Leases {
    /// By when they were given: where in the submitter's log, and where in the device's.
    given: BTreeMap<(u64, TaskId, u32), (u64, u64)>,
    /// Those of which the submitter says nothing so far, by where in the device's log. Seldom there are any, and what is
    /// given need not be looked for among all that was ever taken.
    alone: BTreeMap<(TaskId, u32), u64>,
}

impl Leases {
    fn given(&mut self, task: TaskId, attempt: u32, at_ms: u64, seq: u64) {
        if let Some(taken) = self.alone.remove(&(task, attempt)) {
            self.given.insert((at_ms, task, attempt), (seq, taken));
        }
    }

    /// What the submitter said from `cap` on does not count.
    fn cut_given(&mut self, cap: u64) {
        let alone = &mut self.alone;
        self.given.retain(|(_, task, attempt), (seq, taken)| {
            let stays = *seq < cap;
            if !stays {
                alone.insert((*task, *attempt), *taken);
            }
            stays
        });
    }

    fn cut_taken(&mut self, cap: u64) {
        self.given.retain(|_, (_, taken)| *taken < cap);
        self.alone.retain(|_, taken| *taken < cap);
    }
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tasks {
    /// By submitting device.
    lives: BTreeMap<PublicKey, BTreeMap<TaskId, Life>>,
    /// By what was said of what, and by whom.
    said: BTreeMap<(TaskId, u32, PublicKey), Said>,
    /// By device and submitter.
    leases: BTreeMap<PublicKey, BTreeMap<PublicKey, Leases>>,
}

impl Tasks {
    /// All tasks by submitting device and id.
    pub fn keys(&self) -> impl Iterator<Item = TaskKey> {
        self.lives.iter().flat_map(|(author, tasks)| tasks.keys().map(|task| (*author, *task)))
    }

    fn life(&self, (author, task): &TaskKey) -> Option<&Life> {
        self.lives.get(author)?.get(task)
    }

    /// The results of a task.
    pub fn results(&self, key: &TaskKey) -> impl Iterator<Item = (u32, &Ran)> {
        let task = self.life(key);
        task.into_iter().flat_map(|task| task.completed.iter())
    }

    /// The result of an attempt.
    pub fn result(&self, key: &TaskKey, attempt: u32) -> Option<&Ran> {
        self.life(key)?.completed.get(attempt)
    }

    /// The last attempt that its submitter gave to somebody.
    pub fn last_attempt(&self, key: &TaskKey) -> Option<u32> {
        self.life(key)?.delegated.iter().next_back().map(|(attempt, _)| attempt)
    }

    /// When an attempt was given to somebody, by its submitter's log.
    pub fn given_ms(&self, key: &TaskKey, attempt: u32) -> Option<u64> {
        self.life(key)?.delegated.get(attempt).map(|(_, _, at_ms)| *at_ms)
    }

    /// Is it this place of its submitter's log that gives an attempt to a device?
    pub fn gives(&self, key: &TaskKey, attempt: u32, device: &PublicKey, at: u64) -> bool {
        let given = self.life(key).and_then(|life| life.delegated.get(attempt));
        given.is_some_and(|(seq, to, _)| *seq == at && to == device)
    }

    /// Has a task come to an end?
    pub fn is_over(&self, key: &TaskKey) -> bool {
        let is_over = |task: &Life| task.ended.is_some() || task.done().is_some();
        self.life(key).is_some_and(is_over)
    }

    /// Did a device take an attempt and bring nothing, though its task ended, by what was said up to a moment? A person
    /// may end one, energy may, and its owner may take it back: all these leave a word of what was used until then, which
    /// a device that just went does not say, or only estimates afterwards.
    // spec: REP-1
    pub(super) fn broke_lease(&self, device: &PublicKey, key: &TaskKey, attempt: u32, upto_ms: u64) -> bool {
        let Some(life) = self.life(key) else { return false };
        let said = |at_ms: u64| at_ms <= upto_ms;
        let is_done = |ran: &Ran| ran.effect == Effect::Done && said(ran.at_ms);
        let is_over =
            life.ended.is_some_and(|(_, at)| said(at)) || life.completed.iter().any(|(_, ran)| is_done(ran));
        let words = self.said.get(&(key.1, attempt, *device));
        let took = words.and_then(|said| said.accepted).is_some_and(|(_, at)| said(at));
        is_over
            && took
            && life.completed.get(attempt).is_none_or(|ran| !said(ran.at_ms))
            && !self.was_vetoed(&key.1, attempt, upto_ms)
            && words
                .and_then(|words| words.spent.as_deref())
                .is_none_or(|spent| !said(spent.at_ms) || spent.estimated)
    }

    /// Did a device take an attempt?
    pub fn took(&self, task: &TaskId, attempt: u32, device: &PublicKey) -> bool {
        self.said.get(&(*task, attempt, *device)).is_some_and(|said| said.accepted.is_some())
    }

    /// Where in its log a device took an attempt.
    pub(super) fn took_at(&self, task: &TaskId, attempt: u32, device: &PublicKey) -> Option<u64> {
        self.said.get(&(*task, attempt, *device))?.accepted.map(|(seq, _)| seq)
    }

    /// Did a device take an attempt, refuse it or end it?
    pub fn has_answered(&self, task: &TaskId, attempt: u32, device: &PublicKey) -> bool {
        let said = self.said.get(&(*task, attempt, *device));
        said.is_some_and(|said| said.accepted.is_some() || said.refused.is_some() || said.vetoed.is_some())
    }

    /// Did a device's owner end an attempt?
    pub fn vetoed(&self, task: &TaskId, attempt: u32, by: &PublicKey) -> bool {
        self.said.get(&(*task, attempt, *by)).is_some_and(|said| said.vetoed.is_some())
    }

    /// Did a person end an attempt up to a moment?
    fn was_vetoed(&self, task: &TaskId, attempt: u32, upto_ms: u64) -> bool {
        let key = |device| (*task, attempt, PublicKey(device));
        let mut said = self.said.range(key([0; 32])..=key([0xff; 32]));
        said.any(|(_, said)| said.vetoed.is_some_and(|(_, at)| at <= upto_ms))
    }

    fn spent(&self, task: &TaskId, attempt: u32, device: &PublicKey) -> Option<&Spent> {
        self.said.get(&(*task, attempt, *device))?.spent.as_deref()
    }

    /// What is on record of an attempt's use.
    fn attempt(&self, key: &TaskKey, attempt: u32) -> Option<Word> {
        let task = self.life(key)?;
        if let Some(ran) = task.completed.get(attempt) {
            return Some(Word { sum: ran.sum, estimated: false });
        }
        let (_, device, _) = task.delegated.get(attempt)?;
        let spent = self.spent(&key.1, attempt, device).filter(|spent| spent.submitter == key.0)?;
        Some(Word { sum: spent.sum, estimated: spent.estimated })
    }

    /// All attempts at a task: which, where, and what is on record of its use.
    pub fn attempts(&self, key: &TaskKey) -> Vec<(u32, PublicKey, Option<Word>)> {
        let Some(task) = self.life(key) else { return Vec::new() };
        let given = task.delegated.iter().map(|(attempt, (_, device, _))| (attempt, *device));
        let ran = task.completed.iter().map(|(attempt, ran)| (attempt, ran.device));
        let all: BTreeMap<u32, PublicKey> = given.chain(ran).collect();
        all.into_iter().map(|(attempt, device)| (attempt, device, self.attempt(key, attempt))).collect()
    }

    /// Milliseconds that a task's attempts ran as far as that is on record, none longer than it may: nobody's word makes
    /// more of one.
    // spec: QUOTA-4
    pub(crate) fn ran_ms(&self, key: &TaskKey, longest_ms: u64) -> u64 {
        let Some(task) = self.life(key) else { return 0 };
        let ran = task.delegated.iter().filter_map(|(attempt, (_, device, given_ms))| {
            let ran = match task.completed.get(attempt) {
                Some(ran) => ran.wall_ms,
                None => {
                    let spent = self.spent(&key.1, attempt, device).filter(|it| it.submitter == key.0)?;
                    spent.ran_ms.unwrap_or_else(|| spent.at_ms.saturating_sub(*given_ms))
                }
            };
            Some(ran.min(longest_ms))
        });
        ran.fold(0, u64::saturating_add)
    }

    /// The attempts of a task whose energy is on record.
    pub fn counted(&self, key: &TaskKey) -> Vec<u32> {
        let told = self.attempts(key).into_iter().filter(|(_, _, word)| word.is_some());
        told.map(|(attempt, ..)| attempt).collect()
    }

    /// What a task that is done caused and saved, by what is on record now.
    // spec: CO2-3, DEL-13
    pub fn balance(&self, key: &TaskKey) -> Option<Balance<'_>> {
        let task = self.life(key)?;
        let (number, done) = task.done()?;
        let mut balance = Balance {
            done: (number, done),
            caused: Sum::default(),
            unmeasured: Vec::new(),
            unsaid: Vec::new(),
            estimated: false,
            account: task.account.as_ref().filter(|account| account.attempt == number),
            saved: None,
            deferred_ms: 0,
        };
        let mut others = Vec::new();
        for (attempt, device, word) in self.attempts(key) {
            match word {
                None if self.took(&key.1, attempt, &device) => balance.unsaid.push(attempt),
                None => {}
                Some(Word { sum: None, .. }) => balance.unmeasured.push(attempt),
                Some(Word { sum: Some(sum), estimated }) => {
                    balance.caused = balance.caused.and(sum);
                    balance.estimated |= estimated;
                    if attempt != number {
                        others.push(sum);
                    }
                }
            }
        }
        let seen = self.seen(key, number, &others);
        balance.account =
            balance.account.filter(|account| seen.is_none_or(|seen| account.home.check(&seen).is_ok()));
        if let (Some(account), Some(taken), true) =
            (balance.account, done.taken(), balance.unmeasured.is_empty())
        {
            let Home { at_once, then, .. } = &account.home;
            balance.saved = saved(at_once, then, &taken, &others, account.transfer_mj);
        }
        if let (Some((_, submitted)), Some((_, _, given))) = (task.submitted, task.delegated.get(number)) {
            balance.deferred_ms = given.saturating_sub(submitted);
        }
        Some(balance)
    }

    /// What an account against this attempt is held against, beside these others; none where the attempt's energy is not
    /// known, so that nothing is saved.
    fn seen(&self, key: &TaskKey, attempt: u32, others: &[Sum]) -> Option<Seen> {
        let life = self.life(key)?;
        let ran = life.completed.get(attempt)?;
        Some(Seen {
            at_home: ran.device == key.0,
            taken: ran.taken()?,
            others_mj: others.iter().fold(0, |sum, other| sum.saturating_add(other.energy_mj)),
            span: ran.span,
            // Of a task that was never submitted nothing is known, and nothing was saved by it.
            submitted_ms: life.submitted.map_or(ran.at_ms, |(_, at_ms)| at_ms),
            done_ms: ran.at_ms,
        })
    }

    /// What is on record now for an account against this attempt that names these.
    // spec: CO2-3
    pub fn seen_of(&self, key: &TaskKey, attempt: u32, counted: &[u32]) -> Option<Seen> {
        let others = counted.iter().filter(|it| **it != attempt);
        let others: Vec<Sum> = others.filter_map(|it| self.attempt(key, *it)?.sum).collect();
        self.seen(key, attempt, &others)
    }

    /// What an account should say was saved, by the attempts that it names.
    // spec: CO2-4
    pub fn check(&self, submitter: &PublicKey, account: &Accounted) -> Result<Option<Saved>, &'static str> {
        let key = (*submitter, account.task);
        let task = self.life(&key).ok_or("its task was never submitted")?;
        let done = task.completed.get(account.attempt).filter(|ran| ran.effect == Effect::Done);
        done.ok_or("the attempt that it names had no effect")?;
        let mut others = Vec::new();
        for attempt in account.counted.iter().filter(|it| **it != account.attempt) {
            match self.attempt(&key, *attempt).ok_or("an attempt that it counts is not on record")?.sum {
                Some(sum) => others.push(sum),
                None => return Ok(None),
            }
        }
        let Some(seen) = self.seen(&key, account.attempt, &others) else { return Ok(None) };
        Home::of(account).check(&seen)?;
        Ok(mesh_policies::accounting::saved_by(account, &seen.taken, &others))
    }

    fn task(&mut self, author: PublicKey, task: TaskId) -> &mut Life {
        self.lives.entry(author).or_default().entry(task).or_default()
    }

    fn said(&mut self, task: TaskId, attempt: u32, author: PublicKey) -> &mut Said {
        self.said.entry((task, attempt, author)).or_default()
    }

    /// Gives what is new in it.
    pub(super) fn add(&mut self, entry: &Entry) -> News {
        let mut news = News::default();
        let header = entry.header();
        let (author, seq, at_ms) = (header.author, header.seq, header.hlc.wall_ms());
        match entry.payload() {
            Payload::TaskSubmitted(task) => {
                let submitted = &mut self.task(author, task.task).submitted;
                news.first = submitted.is_none();
                submitted.get_or_insert((seq, at_ms));
            }
            Payload::Delegated { task, attempt, device, .. } => {
                let given = || (seq, *device, at_ms);
                news.first = self.task(author, *task).delegated.add(*attempt, MOST_OFFERS, given);
                if news.first
                    && let Some(leases) = self.leases.get_mut(device)
                    && let Some(leases) = leases.get_mut(&author)
                {
                    leases.given(*task, *attempt, at_ms, seq);
                }
            }
            Payload::Completed(completed) => {
                let statement = &completed.statement;
                let life = self.task(author, statement.task);
                // Of what was never asked for nobody has done anything.
                let given = life.delegated.get(statement.attempt).map(|(_, device, _)| *device);
                let asked = life.submitted.is_some() && given == Some(statement.executor);
                let is_done = asked && completed.effect == Effect::Done && life.done().is_none();
                let ran = || Ran::of(seq, at_ms, statement, completed.effect);
                news.first = life.completed.add(statement.attempt, MOST_RESULTS, ran);
                news.done_by = (news.first && is_done).then_some(statement.executor);
            }
            Payload::Failed { task, .. } | Payload::Cancelled { task } => {
                self.task(author, *task).ended.get_or_insert((seq, at_ms));
            }
            Payload::Accepted { task, attempt } => {
                let said = self.said(*task, *attempt, author);
                if said.accepted.is_none() {
                    said.accepted = Some((seq, at_ms));
                    // The offer that it accepts is what it names first.
                    if let Some(by) = header.refs.first().map(|tip| tip.author) {
                        let given = self.life(&(by, *task)).and_then(|life| life.delegated.get(*attempt));
                        let given = given.filter(|(_, to, _)| *to == author).map(|(seq, _, at)| (*at, *seq));
                        let leases = self.leases.entry(author).or_default().entry(by).or_default();
                        if let Some((at, given)) = given {
                            leases.given.insert((at, *task, *attempt), (given, seq));
                        } else {
                            leases.alone.insert((*task, *attempt), seq);
                        }
                    }
                }
            }
            Payload::Refused { task, attempt, .. } => {
                self.said(*task, *attempt, author).refused.get_or_insert(seq);
            }
            Payload::Vetoed { task, attempt, .. } => {
                self.said(*task, *attempt, author).vetoed.get_or_insert((seq, at_ms));
            }
            Payload::Spent(spent) => {
                self.said(spent.task, spent.attempt, author).spent.get_or_insert_with(|| {
                    Box::new(Spent {
                        seq,
                        at_ms,
                        submitter: spent.submitter,
                        sum: Sum::metered(&spent.energy),
                        ran_ms: (!spent.energy.pieces.is_empty()).then(|| {
                            spent.energy.pieces.iter().fold(0, |sum, piece| piece.ms.saturating_add(sum))
                        }),
                        estimated: spent.estimated,
                    })
                });
            }
            Payload::Accounted(account) => {
                self.task(author, account.task).account.get_or_insert_with(|| AccountFact {
                    seq,
                    attempt: account.attempt,
                    home: Home::of(account),
                    transfer_mj: account.transfer_mj,
                });
            }
            _ => {}
        }
        news
    }

    /// What a device took up to a moment, by submitter, the newest first: when it was given, which task, which try.
    pub(super) fn leases(
        &self,
        device: &PublicKey,
        upto_ms: u64,
    ) -> impl Iterator<Item = (&PublicKey, impl Iterator<Item = &(u64, TaskId, u32)>)> {
        let leases = self.leases.get(device).into_iter().flatten();
        let last = (upto_ms, TaskId([0xff; 32]), u32::MAX);
        leases.map(move |(by, leases)| (by, leases.given.range(..=last).rev().map(|(lease, _)| lease)))
    }

    /// Takes back what `author` said from `cap` on.
    pub(super) fn cut(&mut self, author: &PublicKey, cap: u64) {
        self.said.retain(|(_, _, by), said| {
            if by != author {
                return true;
            }
            for place in [&mut said.accepted, &mut said.vetoed] {
                *place = place.filter(|(seq, _)| *seq < cap);
            }
            said.refused = said.refused.filter(|seq| *seq < cap);
            said.spent = said.spent.take().filter(|spent| spent.seq < cap);
            *said != Said::default()
        });
        self.leases.retain(|device, leases| {
            leases.retain(|submitter, leases| {
                if device == author {
                    leases.cut_taken(cap);
                }
                if submitter == author {
                    leases.cut_given(cap);
                }
                *leases != Leases::default()
            });
            !leases.is_empty()
        });
        let Some(tasks) = self.lives.get_mut(author) else { return };
        tasks.retain(|_, task| {
            task.submitted = task.submitted.filter(|(seq, _)| *seq < cap);
            task.delegated.retain(|(seq, ..)| *seq < cap);
            task.completed.retain(|ran| ran.seq < cap);
            task.account = task.account.take().filter(|account| account.seq < cap);
            task.ended = task.ended.filter(|(seq, _)| *seq < cap);
            *task != Life::default()
        });
        if tasks.is_empty() {
            self.lives.remove(author);
        }
    }
}

impl Life {
    /// The attempt whose result is the task's.
    fn done(&self) -> Option<(u32, &Ran)> {
        self.completed.iter().find(|(_, ran)| ran.effect == Effect::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: DEL-11
    #[test]
    fn the_last_attempt_is_the_one_of_the_highest_number() {
        let (author, task) = (PublicKey([1; 32]), TaskId([2; 32]));
        let mut tasks = Tasks::default();
        for attempt in [2, 5, 3] {
            tasks.task(author, task).delegated.add(attempt, 10, || (0, author, 0));
        }
        assert_eq!(tasks.last_attempt(&(author, task)), Some(5));
        assert_eq!(tasks.last_attempt(&(PublicKey([9; 32]), task)), None);
    }

    // spec: LED-9
    #[test]
    fn of_attempts_beyond_all_reason_the_log_tells_nothing() {
        let mut all = ByAttempt::default();
        // In falling order, which moves all that are there.
        for attempt in (10..20).rev() {
            assert!(all.add(attempt, 10, || attempt));
        }
        assert!(!all.add(5, 10, || 5) && !all.add(12, 10, || 0));
        assert_eq!(all.iter().map(|(_, it)| *it).collect::<Vec<u32>>(), (10..20).collect::<Vec<u32>>());
        all.retain(|it| *it < 15);
        assert!(all.add(5, 10, || 5), "what was cut off makes room");
    }
}
