//! What runs on this device used of which energy, and what this device's own tasks saved.
//!
//! The device's readings are kept for as long as a task may run and wait, so that it can be said afterwards what energy
//! there was at home when a task was submitted, and when it ran.
// spec: CO2-1, CO2-2, CO2-3, CO2-4, DEL-13

use crate::io::{Metering, Sample};
use crate::node::{Node, Timer};
use mesh_policies::accounting::{Sum, scaled, transfer_mj};
use mesh_protocol::ad::EnergyClaim;
use mesh_protocol::canonical;
use mesh_protocol::energy::{Attestation, How, MAX_ATTESTED, MAX_PIECES, Metered, Piece, Reading};
use mesh_protocol::factors::Factors;
use mesh_protocol::frame::AttemptId;
use mesh_protocol::ids::TaskId;
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Accounted, MAX_COUNTED, Payload, Spent, Statement};
use mesh_protocol::record::Table;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// How long readings are kept: the longest a task without expiry is waited for in practice, and a day.
const HISTORY_MS: u64 = 8 * 24 * 3_600_000;
/// Most readings kept: one every three minutes for that long. Of more, the oldest of a quarter of an hour become one, of
/// which there are less than a thousand: a meter that signs tells another word every few seconds.
const MAX_READINGS: usize = 4_096;
const JOINED_MS: u64 = 15 * 60_000;
/// For how long after it ran an account waits for figures that come late: a feed's hold for three hours, and the next one
/// of them comes within an hour. What is not known then will hardly be.
const LATE_MS: u64 = 4 * HOUR_MS;
/// How often it is looked whether they have come.
const LATE_LOOK_MS: u64 = 10 * 60_000;
/// A start within this time is at once: an offer, a fetch and a compile lie before it, and would have at home.
const AT_ONCE_MS: u64 = 10_000;
/// Fuel after which half of what was learnt of this device is forgotten, so that what it is today counts.
const LEARN: u64 = 1_000_000_000_000;
/// How often it is looked whether a result is on record.
const RECORD_MS: u64 = 10_000;
const HOUR_MS: u64 = 3_600_000;

/// With the moment, highest byte first.
pub(crate) const META_READING: &[u8] = b"reading/";
/// With the attempt's key.
pub(crate) const META_SPENDING: &[u8] = b"spending/";
/// With the task's id.
pub(crate) const META_OWED: &[u8] = b"owed/";
pub(crate) const META_FUEL: &[u8] = b"fuel";

/// What the energy was said to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    /// None if it was not known.
    reading: Option<Reading>,
    /// Since when it was so by its source's own word, if that tells.
    at_ms: Option<u64>,
}

/// What of a history is to be kept anew and forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    /// From when on what was said.
    kept: Vec<(u64, Said)>,
    gone: Vec<u64>,
}

/// What this device's energy was, from when on it was said.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    said: VecDeque<(u64, Said)>,
    /// The newest time that a source has told of.
    newest_ms: u64,
}

impl History {
    /// Takes what is so from now on. Says what is to be kept and forgotten, if that is news.
    fn push(&mut self, now_ms: u64, reading: Option<Reading>, at_ms: Option<u64>) -> Option<Change> {
        // A source's clock may be ahead of ours.
        let said = Said { reading, at_ms: at_ms.map(|at| at.min(now_ms)) };
        self.newest_ms = self.newest_ms.max(said.at_ms.unwrap_or_default());
        let same = |last: &Said| last.reading == said.reading && last.at_ms.is_some() == said.at_ms.is_some();
        if self.said.back().is_some_and(|(_, last)| same(last)) {
            return None;
        }
        // The wall clock may go back; what was, was before.
        let from = self.said.back().map_or(now_ms, |(last, _)| now_ms.max(last + 1));
        self.said.push_back((from, said.clone()));
        let mut change = Change { kept: vec![(from, said)], gone: Vec::new() };
        while self.said.len() > MAX_READINGS {
            match self.join_quarter() {
                Some((joined, gone)) => {
                    change.kept.insert(0, joined);
                    change.gone.extend(gone);
                }
                None => change.gone.extend(self.said.pop_front().map(|(at, _)| at)),
            }
        }
        // One more than is needed: what was so at the beginning of the time.
        while self.said.get(1).is_some_and(|(second, _)| second.saturating_add(HISTORY_MS) < from) {
            change.gone.extend(self.said.pop_front().map(|(at, _)| at));
        }
        Some(change)
    }

    /// Makes one of the oldest that were said within a quarter of an hour, by how long each of them was so. Gives what came
    /// of it, and which are gone.
    // spec: CO2-2, CO2-3
    fn join_quarter(&mut self) -> Option<((u64, Said), Vec<u64>)> {
        let quarter = |ms: u64| ms / JOINED_MS;
        let alike = |at: usize, next: usize| {
            let ((from, one), (then, other)) = (self.said.get(at)?, self.said.get(next)?);
            let (first, second) = (one.reading.as_ref()?, other.reading.as_ref()?);
            let same = quarter(*from) == quarter(*then)
                && one.at_ms.map(quarter) == other.at_ms.map(quarter)
                && (first.scope, first.kind) == (second.scope, second.kind);
            same.then_some(())
        };
        // The last one is so until nobody knows when.
        let ends = self.said.len().saturating_sub(1);
        let first = (1..ends).find(|next| alike(next - 1, *next).is_some())? - 1;
        let after = (first + 1..ends).find(|next| alike(first, *next).is_none()).unwrap_or(ends);
        let said = self.said.range(first..after).zip(self.said.range(first + 1..));
        let parts: Vec<(u64, &Reading)> = said
            .filter_map(|((from, said), (until, _))| {
                Some((until.saturating_sub(*from), said.reading.as_ref()?))
            })
            .collect();
        let reading = mean(&parts)?;
        let gone = self.said.drain(first + 1..after).map(|(from, _)| from).collect();
        let (from, said) = self.said.get_mut(first)?;
        said.reading = Some(reading);
        Some(((*from, said.clone()), gone))
    }

    /// From when on the last was said.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.said.back().map(|(from, _)| *from)
    }

    /// Forgets what was said ahead of now; what was so last was so until then, and is said anew. Gives what is gone.
    fn forget_ahead(&mut self, now_ms: u64) -> Vec<u64> {
        self.newest_ms = self.newest_ms.min(now_ms);
        let first = self.said.partition_point(|(from, _)| *from <= now_ms);
        self.said.drain(first..).map(|(from, _)| from).collect()
    }

    fn restore(&mut self, from_ms: u64, said: Said) {
        self.newest_ms = self.newest_ms.max(said.at_ms.unwrap_or_default());
        let after = self.said.partition_point(|(from, _)| *from < from_ms);
        self.said.insert(after, (from_ms, said));
    }

    /// The parts of a time by what was said in each; nothing was before the first reading.
    fn spans(&self, from_ms: u64, until_ms: u64) -> Vec<(u64, u64, Option<&Said>)> {
        let mut spans = Vec::new();
        let mut at = from_ms;
        let mut next = self.said.partition_point(|(since, _)| *since <= from_ms);
        loop {
            let now = next.checked_sub(1).and_then(|it| self.said.get(it)).map(|(_, said)| said);
            let end = self.said.get(next).map_or(until_ms, |(since, _)| (*since).min(until_ms));
            spans.push((at, end, now));
            if end >= until_ms {
                return spans;
            }
            (at, next) = (end, next + 1);
        }
    }

    /// The parts of a time by what the energy was in each, as far as that is known by now: what came late is of its own
    /// time.
    // spec: CO2-2, CO2-3
    fn parts(&self, from_ms: u64, until_ms: u64) -> Vec<(u64, u64, Option<Reading>)> {
        let mut parts = Vec::new();
        for (from, until, said) in self.spans(from_ms, until_ms) {
            let reading = said.and_then(|said| said.reading.clone());
            if said.is_none_or(|said| said.at_ms.is_none()) {
                parts.push((from, until, reading));
                continue;
            }
            let of_its_time = self.said.iter().filter_map(|(_, said)| Some((said.at_ms?, &said.reading)));
            let (before, mut within): (Vec<_>, Vec<_>) =
                of_its_time.filter(|(at, _)| *at < until).partition(|(at, _)| *at <= from);
            // Of two for the same time, the later word.
            let first = before.into_iter().max_by_key(|(at, _)| *at);
            within.sort_by_key(|(at, _)| *at);
            let (mut at, mut now) = (from, first.map_or(reading, |(_, reading)| reading.clone()));
            for (next, reading) in within {
                if next > at {
                    parts.push((at, next, now));
                }
                (at, now) = (next, reading.clone());
            }
            parts.push((at, until, now));
        }
        parts
    }

    /// Will nothing be told any more of this time? A source that is late has not told of its last hours.
    // spec: CO2-3
    fn is_settled(&self, from_ms: u64, until_ms: u64) -> bool {
        let late = |until: u64| self.newest_ms / HOUR_MS < until.saturating_sub(1) / HOUR_MS;
        let spans = self.spans(from_ms, until_ms);
        !spans.iter().any(|(_, until, said)| said.is_some_and(|it| it.at_ms.is_some()) && late(*until))
    }

    /// So much energy, used evenly over a time, as pieces of what the energy was.
    fn pieces(&self, from_ms: u64, ms: u64, energy_mj: u64) -> Vec<Piece> {
        let until = from_ms.saturating_add(ms);
        // By what is used up to the end of each, so that nothing is lost by rounding.
        let used = |at: u64| match ms {
            0 => energy_mj,
            _ => (u128::from(energy_mj) * u128::from(at - from_ms) / u128::from(ms)) as u64,
        };
        let mut before = 0;
        let mut pieces = Vec::new();
        for (from, end, reading) in self.parts(from_ms, until) {
            let upto = used(end);
            pieces.push(Piece { from_ms: from, ms: end - from, energy_mj: upto - before, reading });
            before = upto;
        }
        pieces
    }
}

/// A reading without a meter's word.
fn unsigned(reading: &Reading) -> Reading {
    Reading { attestation: None, ..reading.clone() }
}

/// Readings of one kind as one, each by how long it was so; none if there are none.
fn mean(parts: &[(u64, &Reading)]) -> Option<Reading> {
    let (_, longest) = parts.iter().max_by_key(|(ms, _)| *ms)?;
    if parts.iter().all(|(_, reading)| unsigned(reading) == unsigned(longest)) {
        return Some(unsigned(longest));
    }
    let all: u128 = parts.iter().map(|(ms, _)| u128::from(*ms)).sum();
    let of = |value: fn(&EnergyClaim) -> u16| {
        let sum: u128 = parts.iter().map(|(ms, it)| u128::from(*ms) * u128::from(value(&it.claim))).sum();
        u16::try_from((sum + all / 2) / all.max(1)).unwrap_or(u16::MAX)
    };
    let renewable = of(|claim| claim.renewable_percent.into());
    let claim = EnergyClaim {
        source: longest.claim.source,
        renewable_percent: u8::try_from(renewable).unwrap_or(u8::MAX),
        g_per_kwh: of(|claim| claim.g_per_kwh),
    };
    let one = |word: fn(&Reading) -> &String| parts.iter().all(|(_, it)| word(it) == word(longest));
    Some(Reading {
        claim,
        estimated: true,
        origin: if one(|it| &it.origin) { longest.origin.clone() } else { "several".into() },
        zone: if one(|it| &it.zone) { longest.zone.clone() } else { String::new() },
        ..unsigned(longest)
    })
}

/// Two pieces that follow each other as one, whose reading is the mean of theirs; none if they are not of one kind.
fn together(a: &Piece, b: &Piece) -> Option<Piece> {
    let energy_mj = a.energy_mj.saturating_add(b.energy_mj);
    let reading = match (&a.reading, &b.reading) {
        (None, None) => None,
        (Some(one), Some(other)) if one == other => Some(one.clone()),
        // A meter's words for two times are none for both, but what it told is as sure.
        (Some(one), Some(other)) if unsigned(one) == unsigned(other) => Some(unsigned(one)),
        (Some(one), Some(other)) if (one.scope, one.kind) == (other.scope, other.kind) => {
            let mean = |x: u64, y: u64| {
                // Of two that used nothing, neither counts.
                let (p, q) = if energy_mj == 0 { (1, 1) } else { (a.energy_mj, b.energy_mj) };
                let (p, q) = (u128::from(p), u128::from(q));
                let sum = p * u128::from(x) + q * u128::from(y);
                ((sum + (p + q) / 2) / (p + q)) as u64
            };
            let (first, second) = (&one.claim, &other.claim);
            let claim = EnergyClaim {
                source: if a.energy_mj >= b.energy_mj { first.source } else { second.source },
                renewable_percent: mean(first.renewable_percent.into(), second.renewable_percent.into())
                    as u8,
                g_per_kwh: mean(first.g_per_kwh.into(), second.g_per_kwh.into()) as u16,
            };
            Some(Reading {
                claim,
                estimated: true,
                origin: if one.origin == other.origin { one.origin.clone() } else { "several".into() },
                zone: if one.zone == other.zone { one.zone.clone() } else { String::new() },
                attestation: None,
                ..one.clone()
            })
        }
        _ => return None,
    };
    Some(Piece { from_ms: a.from_ms, ms: b.until_ms() - a.from_ms, energy_mj, reading })
}

/// As few pieces as an entry takes: neighbours under one reading become one, then those of one hour, then the shortest.
// spec: CO2-2, ARC-7
fn fit(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut fitted: Vec<Piece> = Vec::new();
    for piece in pieces {
        let last = fitted.last_mut();
        match last.filter(|last| last.until_ms() == piece.from_ms && last.reading == piece.reading) {
            Some(last) => {
                last.ms = last.ms.saturating_add(piece.ms);
                last.energy_mj = last.energy_mj.saturating_add(piece.energy_mj);
            }
            None => fitted.push(piece),
        }
    }
    let hour = |piece: &Piece| piece.from_ms / HOUR_MS;
    while fitted.len() > MAX_PIECES {
        let pairs = fitted.windows(2).enumerate();
        let pair = pairs.filter_map(|(at, pair)| {
            let both = together(&pair[0], &pair[1])?;
            Some(((hour(&pair[0]) != hour(&pair[1]), both.ms, at), both))
        });
        match pair.min_by_key(|(key, _)| *key) {
            Some(((_, _, at), both)) => {
                fitted.remove(at);
                if let Some(place) = fitted.get_mut(at) {
                    *place = both;
                }
            }
            // Signals of different kinds take turns: of the two shortest one is not told.
            None => {
                let shortest = (0..fitted.len()).min_by_key(|at| fitted[*at].ms).unwrap_or_default();
                if fitted[shortest].reading.take().is_none() {
                    // All that is left is unknown and apart: it cannot be, since two unknowns are joined.
                    fitted.truncate(MAX_PIECES);
                }
            }
        }
    }
    let mut words = 0;
    for reading in fitted.iter_mut().filter_map(|piece| piece.reading.as_mut()) {
        let word: &mut Option<Attestation> = &mut reading.attestation;
        words += usize::from(word.is_some());
        if words > MAX_ATTESTED {
            *word = None;
        }
    }
    fitted
}

/// What this device learnt of itself.
// spec: CO2-1
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Learnt {
    fuel: u64,
    energy_mj: u64,
    wall_ms: u64,
}

impl Learnt {
    fn learn(&mut self, fuel: u64, energy_mj: u64, wall_ms: u64) {
        // Starting a task costs what no fuel pays for: what burnt next to none says nothing.
        if fuel < 1_000_000 || energy_mj == 0 {
            return;
        }
        self.fuel = self.fuel.saturating_add(fuel);
        self.energy_mj = self.energy_mj.saturating_add(energy_mj);
        self.wall_ms = self.wall_ms.saturating_add(wall_ms);
        if self.fuel > LEARN {
            (self.fuel, self.energy_mj, self.wall_ms) = (self.fuel / 2, self.energy_mj / 2, self.wall_ms / 2);
        }
    }

    /// Energy and time that so much fuel takes here; none while nothing was learnt.
    pub(crate) fn estimate(&self, fuel: u64) -> Option<(u64, u64)> {
        let by = |value: u64| scaled(value, (fuel, self.fuel));
        (self.fuel > 0).then(|| (by(self.energy_mj), by(self.wall_ms)))
    }
}

/// An attempt that ran here and of whose end nothing is said yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Spending {
    owner: PublicKey,
    attempt: AttemptId,
    metered: Metered,
}

/// A task of this device that is done and whose account is not written yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Owed {
    task: TaskId,
    attempt: u32,
    device: PublicKey,
    submitted_ms: u64,
    fuel: (u64, u64),
    pieces: Vec<Piece>,
    transfer_mj: u64,
}

/// What a node knows of energy used.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    pub(crate) history: History,
    pub(crate) learnt: Learnt,
    spending: BTreeMap<AttemptId, Spending>,
    owed: BTreeMap<TaskId, Owed>,
}

fn spending_key(id: AttemptId) -> Vec<u8> {
    [META_SPENDING, &id.task.0, &id.attempt.to_be_bytes()].concat()
}

fn owed_key(task: TaskId) -> Vec<u8> {
    [META_OWED, &task.0].concat()
}

impl Node {
    pub(crate) fn restore_accounts(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        if key == META_FUEL {
            self.accounts.learnt = canonical::decode(value).ok()?;
        } else if let Some(at) = key.strip_prefix(META_READING) {
            let at = u64::from_be_bytes(at.try_into().ok()?);
            self.accounts.history.restore(at, canonical::decode(value).ok()?);
        } else if key.starts_with(META_SPENDING) {
            let spending: Spending = canonical::decode(value).ok()?;
            self.accounts.spending.insert(spending.attempt, spending);
        } else if key.starts_with(META_OWED) {
            let owed: Owed = canonical::decode(value).ok()?;
            self.accounts.owed.insert(owed.task, owed);
        }
        Some(())
    }

    /// What ran when the last run of this program ended used at least what was last read.
    // spec: DEL-13
    pub(crate) fn start_accounts(&mut self) {
        let reading = self.config.energy.map(|claim| Reading::of(claim, "fixed"));
        self.energy_is(reading, None);
        let cut_off: Vec<AttemptId> = self.accounts.spending.keys().copied().collect();
        for id in cut_off {
            self.spent(id, None);
        }
        let owed: Vec<TaskId> = self.accounts.owed.keys().copied().collect();
        for task in owed {
            self.arm_in(Timer::Account(task), 0);
        }
    }

    pub(crate) fn energy_is(&mut self, reading: Option<Reading>, at_ms: Option<u64>) {
        let news = self.accounts.history.push(self.now.wall_ms, reading, at_ms);
        let Some(Change { kept, gone }) = news else { return };
        let key = |at: u64| [META_READING, &at.to_be_bytes()].concat();
        for (from, said) in kept {
            self.keep(Table::Meta, key(from), &said);
        }
        for at in gone {
            self.drop_kept(Table::Meta, key(at));
        }
    }

    /// Forgets what was said of the energy at times that lie ahead of now. What it is now is so from now on.
    pub(crate) fn forget_readings_ahead(&mut self) {
        let now = self.now.wall_ms;
        let last = self.accounts.history.said.back().map(|(_, said)| said.clone());
        let gone = self.accounts.history.forget_ahead(now);
        if gone.is_empty() {
            return;
        }
        for from in gone {
            self.drop_kept(Table::Meta, [META_READING, &from.to_be_bytes()].concat());
        }
        if let Some(last) = last {
            self.energy_is(last.reading, last.at_ms);
        }
    }

    /// What was metered here, on the energy that there was.
    // spec: CO2-2
    pub(crate) fn metered(&self, metering: &Metering) -> Metered {
        if metering.how == How::Unmeasured || metering.samples.is_empty() {
            return Metered::default();
        }
        let history = &self.accounts.history;
        let part = |sample: &Sample| history.pieces(sample.from_ms, sample.ms, sample.energy_mj);
        Metered {
            how: metering.how,
            uncertainty_percent: metering.uncertainty_percent,
            factors: Factors::default(),
            pieces: fit(metering.samples.iter().flat_map(part).collect()),
        }
    }

    /// An attempt computes: from now on it owes a word of what it used.
    pub(crate) fn spends(&mut self, id: AttemptId, owner: PublicKey, metering: &Metering) {
        let spending = Spending { owner, attempt: id, metered: self.metered(metering) };
        self.keep(Table::Meta, spending_key(id), &spending);
        self.accounts.spending.insert(id, spending);
    }

    /// An attempt's use is told by its statement, or by what is said here of it.
    fn settled_spending(&mut self, id: AttemptId) -> Option<Spending> {
        let spending = self.accounts.spending.remove(&id)?;
        self.drop_kept(Table::Meta, spending_key(id));
        Some(spending)
    }

    /// What an attempt used that came to no end. Without a last word of the worker it is the last reading, and half of
    /// what it would have used until the next one.
    // spec: DEL-13, CO2-3
    pub(crate) fn spent(&mut self, id: AttemptId, metering: Option<&Metering>) {
        let Some(spending) = self.settled_spending(id) else { return };
        let (energy, estimated) = match metering {
            Some(metering) => (self.metered(metering), metering.estimated),
            None => (estimate_rest(spending.metered), true),
        };
        self.say_spent(id, spending.owner, energy, estimated);
    }

    pub(crate) fn say_spent(
        &mut self,
        id: AttemptId,
        submitter: PublicKey,
        energy: Metered,
        estimated: bool,
    ) {
        let spent = Spent { submitter, task: id.task, attempt: id.attempt, energy, estimated };
        self.say(Payload::Spent(Box::new(spent)), &[]);
    }

    /// An attempt ended well: its statement says what it used, and this device has learnt what fuel costs.
    pub(crate) fn metered_end(
        &mut self,
        id: AttemptId,
        usage: &mesh_protocol::receipt::Usage,
        energy: &Metered,
    ) {
        let _said_by_its_statement = self.settled_spending(id);
        if let (Some(energy_mj), false) = (energy.energy_mj(), usage.estimated) {
            let fuel = usage.fuel.saturating_sub(usage.fuel_before);
            let before = self.accounts.learnt;
            self.accounts.learnt.learn(fuel, energy_mj, usage.wall_ms);
            if before != self.accounts.learnt {
                let learnt = self.accounts.learnt;
                self.keep(Table::Meta, META_FUEL.to_vec(), &learnt);
            }
        }
    }

    /// A task of this device is done: its account is written once it is known what home's energy would have been.
    // spec: CO2-3
    pub(crate) fn owes_account(&mut self, statement: &Statement, moved: u64) {
        let Some(task) = self.tasks.get(&statement.task) else { return };
        let burnt = statement.fuel.saturating_sub(statement.fuel_before);
        let owed = Owed {
            task: statement.task,
            attempt: statement.attempt,
            device: statement.executor,
            submitted_ms: task.spec().created_ms,
            fuel: (statement.fuel, burnt),
            pieces: statement.energy.pieces.clone(),
            transfer_mj: transfer_mj(moved),
        };
        self.keep(Table::Meta, owed_key(owed.task), &owed);
        let id = owed.task;
        self.accounts.owed.insert(id, owed);
        self.account_due(id);
    }

    pub(crate) fn account_due(&mut self, id: TaskId) {
        let Some(owed) = self.accounts.owed.get(&id).cloned() else { return };
        let (at_once, then, settled) = self.at_home(&owed);
        let known_at = at_once.last().map_or(0, Piece::until_ms);
        // While entries cannot be numbered, not even the result is on record.
        let on_record = self.ledger.facts().tasks().balance(&(self.me, id)).is_some();
        let now = self.now.wall_ms;
        let over = at_once.iter().chain(&then).map(Piece::until_ms).max().unwrap_or_default();
        let wait = match on_record {
            false => RECORD_MS,
            true if settled || over.saturating_add(LATE_MS) <= now => known_at.saturating_sub(now),
            true => known_at.saturating_sub(now).max(LATE_LOOK_MS),
        };
        if wait > 0 {
            return self.arm_in(Timer::Account(id), wait);
        }
        self.accounts.owed.remove(&id);
        self.drop_kept(Table::Meta, owed_key(id));
        let account = self.account(&owed, at_once, then);
        self.say(Payload::Accounted(Box::new(account)), &[]);
    }

    /// A task's account by what is on record now; provisional while home's energy of that time is still to come.
    fn account(&self, owed: &Owed, at_once: Vec<Piece>, then: Vec<Piece>) -> Accounted {
        let key = (self.me, owed.task);
        let tasks = self.ledger.facts().tasks();
        let mut counted = tasks.counted(&key);
        counted.truncate(MAX_COUNTED);
        let mut account = Accounted {
            task: owed.task,
            attempt: owed.attempt,
            factors: Factors::default(),
            at_once,
            then,
            transfer_mj: owed.transfer_mj,
            counted,
            saved: None,
        };
        account.saved = tasks.check(&self.me, &account).unwrap_or_default();
        let fits = |account: &Accounted| Payload::Accounted(Box::new(account.clone())).check().is_ok();
        if !fits(&account) {
            // Too long for an entry with all signatures: the numbers stay.
            for reading in
                account.at_once.iter_mut().chain(&mut account.then).filter_map(|it| it.reading.as_mut())
            {
                (reading.attestation, reading.zone) = (None, String::new());
            }
        }
        if !fits(&account) {
            // Energy that no device draws, by somebody else's statement.
            (account.at_once, account.then) = (Vec::new(), Vec::new());
            // What it says is what anybody finds who recomputes it.
            account.saved = tasks.check(&self.me, &account).unwrap_or_default();
        }
        account
    }

    /// The same work on this device: at once when it was submitted, and when it really ran; and whether nothing more will
    /// be known of home's energy then.
    // spec: CO2-3
    fn at_home(&self, owed: &Owed) -> (Vec<Piece>, Vec<Piece>, bool) {
        let ran: u64 = owed.pieces.iter().fold(0, |sum, piece| sum.saturating_add(piece.energy_mj));
        let computed: u64 = owed.pieces.iter().fold(0, |sum, piece| sum.saturating_add(piece.ms));
        let Some(first) = owed.pieces.first() else { return (Vec::new(), Vec::new(), true) };
        let here = owed.device == self.me;
        let as_there = (scaled(ran, owed.fuel), scaled(computed, owed.fuel));
        let learnt = self.accounts.learnt.estimate(owed.fuel.0).filter(|_| !here);
        let (mut energy_mj, mut ms) = learnt.unwrap_or(as_there);
        let tasks = self.ledger.facts().tasks();
        let key = (self.me, owed.task);
        let mut counted = tasks.counted(&key);
        counted.truncate(MAX_COUNTED);
        let mut begins = owed.submitted_ms;
        // What fuel costs here is learnt from other tasks, and may be far off for one of another kind: more than anybody
        // would believe is not claimed.
        if let Some(seen) = tasks.seen_of(&key, owed.attempt, &counted) {
            (energy_mj, ms) = (energy_mj.min(seen.most_mj()), ms.min(seen.most_ms()));
            begins = seen.begins(begins);
        }
        // Each piece's part of the whole, in the same proportions as it really was.
        let part = |whole: u64, value: u64, of: u64| match of {
            0 => whole,
            _ => (u128::from(whole) * u128::from(value) / u128::from(of)) as u64,
        };
        let (mut at_once, mut then, mut settled) = (Vec::new(), Vec::new(), true);
        let (mut used, mut passed, mut used_here, mut passed_here) = (0u64, 0u64, 0, 0);
        for piece in &owed.pieces {
            used = used.saturating_add(piece.energy_mj);
            passed = passed.saturating_add(piece.ms);
            let (upto_mj, upto_ms) = (part(energy_mj, used, ran), part(ms, passed, computed));
            let (mj, took) = (upto_mj - used_here, upto_ms - passed_here);
            let history = &self.accounts.history;
            let begun = begins.saturating_add(passed_here);
            at_once.extend(history.pieces(begun, took, mj));
            settled &= history.is_settled(begun, begun.saturating_add(took));
            if here {
                then.push(Piece { energy_mj: mj, ..piece.clone() });
            } else {
                then.extend(history.pieces(piece.from_ms, piece.ms, mj));
                settled &= history.is_settled(piece.from_ms, piece.until_ms());
            }
            (used_here, passed_here) = (upto_mj, upto_ms);
        }
        let prompt = first.from_ms.saturating_sub(owed.submitted_ms) <= AT_ONCE_MS;
        let unbroken = owed.pieces.windows(2).all(|pair| pair[0].until_ms() == pair[1].from_ms);
        if here && prompt && unbroken {
            at_once.clone_from(&then);
            settled = true;
        }
        (fit(at_once), fit(then), settled)
    }

    /// What an account would say now of a task whose account is still owed.
    pub(crate) fn provisional(&self, id: &TaskId) -> Option<(Accounted, Sum)> {
        let owed = self.accounts.owed.get(id)?;
        let (at_once, then, _) = self.at_home(owed);
        let sum = Sum::of(&at_once, Factors::default());
        Some((self.account(owed, at_once, then), sum))
    }
}

/// The last reading, and at its mean power what half the time until the next one would have used.
fn estimate_rest(mut metered: Metered) -> Metered {
    let ms: u64 = metered.pieces.iter().map(|piece| piece.ms).sum();
    let used: u64 = metered.pieces.iter().map(|piece| piece.energy_mj).sum();
    if let Some(last) = metered.pieces.last_mut() {
        let rest = crate::io::SAMPLE_MS / 2;
        last.ms += rest;
        last.energy_mj += (u128::from(used) * u128::from(rest) / u128::from(ms.max(1))) as u64;
    }
    metered
}

#[cfg(test)]
mod tests;
