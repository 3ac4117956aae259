//! Where and when for all waiting tasks at once: what [`decide`] says of each, at the price of what is different.
//!
//! Which hours are the cheapest depends on a task's length and deadline and on a peer's path and hours alone, not on who
//! the two are, so it is found once for all that have these in common. What is left for each pair of task and peer is a
//! product. After a change only the pairs are looked at that it touches, and only the tasks are decided anew whose
//! choice it can have changed.
// spec: PLACE-7

use super::decide::{
    Decision, HOUR_MS, PG_PER_UG, Peer, Shape, Work, cost, decide, equal_to, find, mix, prices, shape,
    starts_soonest,
};
use super::hours::{HORIZON, first_hours, order};
use mesh_protocol::key::PublicKey;
use mesh_protocol::reason::Reason;
use std::collections::BTreeMap;

/// A peer as it is for every task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// Which.
    pub device: PublicKey,
    /// Index of its zone's path.
    pub zone: usize,
    /// Hours in which it is expected to be there with a free slot: bit 0 is now.
    pub there: u128,
    /// Hours in which its energy is clean.
    pub clean: u128,
    /// Power of a busy slot.
    pub milliwatts: u64,
    /// Is it the submitter's own, so that nothing has to be moved there?
    pub own: bool,
    /// As in [`Peer`].
    pub reliable: u16,
    /// As in [`Peer`].
    pub load: u16,
}

/// A waiting task.
#[derive(Debug, Clone)]
pub struct Ask {
    /// What `decide` is told of it; it runs nowhere.
    pub work: Work,
    /// How long it takes anywhere, in milliseconds.
    pub work_ms: u64,
    /// How long it takes to bring it to a peer, in milliseconds.
    pub move_ms: u64,
    /// Carbon of that, in µg.
    pub move_ug: u64,
    /// Does it run on clean energy only?
    pub needs_clean: bool,
    /// Who may not run it, and why.
    pub barred: BTreeMap<PublicKey, Reason>,
}

impl Ask {
    /// The pair of both, as [`decide`] takes it.
    pub fn peer<'a>(&self, spot: &Spot, path: &'a [u32]) -> Peer<'a> {
        Peer {
            device: spot.device,
            permitted: self.barred.get(&spot.device).map_or(Ok(()), |reason| Err(reason.clone())),
            path,
            there: spot.there,
            clean: if self.needs_clean { spot.clean } else { u128::MAX },
            work_ms: self.work_ms,
            work_uwh: energy(spot.milliwatts, self.work_ms),
            move_ms: if spot.own { 0 } else { self.move_ms },
            move_ug: if spot.own { 0 } else { self.move_ug },
            reliable: spot.reliable,
            load: spot.load,
        }
    }
}

/// In µWh.
fn energy(milliwatts: u64, ms: u64) -> u64 {
    u64::try_from(u128::from(milliwatts) * u128::from(ms) * 1000 / u128::from(HOUR_MS)).unwrap_or(u64::MAX)
}

/// A zone's path, and what is found of it once.
#[derive(Debug)]
struct Zone {
    path: Vec<u32>,
    prices: Vec<u64>,
    order: Vec<u8>,
}

impl Zone {
    fn new(path: Vec<u32>) -> Self {
        let prices: Vec<u64> = prices(&path).collect();
        let order = order(&prices);
        Self { path, prices, order }
    }
}

/// The cheapest hours: do they begin now, and what do they cost in mg/kWh.
#[derive(Debug, Clone, Copy)]
struct Found {
    now: bool,
    sum: u64,
}

/// All cheapest hours of tasks of one shape, by the peers' kinds; found when they are asked for.
#[derive(Debug)]
struct Row {
    shape: Shape,
    needs_clean: bool,
    found: Vec<Option<Option<Found>>>,
}

/// A task, and what became of it.
#[derive(Debug)]
struct Entry {
    ask: Ask,
    /// Rows for peers of one's own, and for those to whom it has to be brought.
    rows: [usize; 2],
    /// Cost up to which a peer is one of those to choose from; none where nobody is.
    up_to: Option<u128>,
    /// Only those are chosen from that can begin now.
    only_now: bool,
    decision: Decision,
}

/// What [`Board::choose`] finds.
type Choice = (Option<u128>, bool, Decision);

/// Waiting tasks, peers and zones, and a decision for each task.
#[derive(Debug)]
pub struct Board {
    now_ms: u64,
    zones: Vec<Zone>,
    spots: Vec<Spot>,
    /// Of each spot: its kind.
    kind: Vec<usize>,
    /// Zone, hours there and clean hours, which some peers have in common.
    kinds: Vec<(usize, u128, u128)>,
    kind_of: BTreeMap<(usize, u128, u128), usize>,
    rows: Vec<Row>,
    row_of: BTreeMap<(Shape, bool), usize>,
    entries: BTreeMap<u64, Entry>,
}

impl Board {
    /// A board without tasks.
    pub fn new(now_ms: u64, paths: Vec<Vec<u32>>, spots: Vec<Spot>) -> Self {
        let mut board = Self {
            now_ms,
            zones: paths.into_iter().map(Zone::new).collect(),
            spots: Vec::new(),
            kind: Vec::new(),
            kinds: Vec::new(),
            kind_of: BTreeMap::new(),
            rows: Vec::new(),
            row_of: BTreeMap::new(),
            entries: BTreeMap::new(),
        };
        for spot in spots {
            let kind = board.kind(&spot);
            board.spots.push(spot);
            board.kind.push(kind);
        }
        board
    }

    /// What becomes of a task.
    pub fn decision(&self, task: u64) -> Option<&Decision> {
        self.entries.get(&task).map(|entry| &entry.decision)
    }

    /// A task is there, or is another than before.
    pub fn set_task(&mut self, task: u64, ask: Ask) {
        // Rows of tasks that are gone may not pile up; each task has two.
        if self.rows.len() > 4 * self.entries.len() + 64 {
            self.sort_rows();
        }
        let rows = [true, false].map(|own| self.row(&ask, own));
        let (up_to, only_now, decision) = self.choose(&ask, rows);
        self.entries.insert(task, Entry { ask, rows, up_to, only_now, decision });
    }

    /// A task waits no longer.
    pub fn remove_task(&mut self, task: u64) {
        self.entries.remove(&task);
    }

    /// A peer is other than before: its hours, its load, or anything else. Says how many tasks were decided anew.
    pub fn set_spot(&mut self, index: usize, spot: Spot) -> usize {
        let Some(before) = self.spots.get(index).cloned() else { return 0 };
        if before == spot {
            return 0;
        }
        let touched = self.touched(&[index]);
        self.kind[index] = self.kind(&spot);
        self.spots[index] = spot;
        // Kinds that no peer has any more may not pile up.
        if self.kinds.len() > 4 * self.spots.len() + 64 {
            self.sort_kinds();
        }
        self.again(touched, &[index])
    }

    /// A zone is expected to be other than before. Says how many tasks were decided anew.
    pub fn set_path(&mut self, zone: usize, path: Vec<u32>) -> usize {
        if self.zones.get(zone).is_none_or(|zone| zone.path == path) {
            return 0;
        }
        let there: Vec<usize> = (0..self.spots.len()).filter(|spot| self.spots[*spot].zone == zone).collect();
        let touched = self.touched(&there);
        self.zones[zone] = Zone::new(path);
        for row in &mut self.rows {
            for (found, kind) in row.found.iter_mut().zip(&self.kinds) {
                if kind.0 == zone {
                    *found = None;
                }
            }
        }
        self.again(touched, &there)
    }

    /// Tasks that could choose one of these peers as things are.
    fn touched(&mut self, spots: &[usize]) -> Vec<u64> {
        let entries = std::mem::take(&mut self.entries);
        let near = |entry: &Entry, board: &mut Self| {
            let soonest = starts_soonest(&entry.ask.work);
            spots.iter().any(|spot| match (board.cost(&entry.ask, entry.rows, *spot), entry.up_to) {
                (Some((cost, now)), Some(up_to)) => match entry.only_now {
                    true => now && cost <= up_to,
                    // Whoever can begin such a task now is taken before those who cannot.
                    false => cost <= up_to || soonest && now,
                },
                (Some(_), None) => true,
                // Where nobody can do it, the answer names each.
                (None, up_to) => up_to.is_none(),
            })
        };
        let touched = entries.iter().filter(|(_, entry)| near(entry, self)).map(|(task, _)| *task).collect();
        self.entries = entries;
        touched
    }

    /// Decides those anew that could choose one of these peers before, or can now.
    fn again(&mut self, mut tasks: Vec<u64>, spots: &[usize]) -> usize {
        tasks.extend(self.touched(spots));
        tasks.sort_unstable();
        tasks.dedup();
        for task in &tasks {
            if let Some(entry) = self.entries.remove(task) {
                let (up_to, only_now, decision) = self.choose(&entry.ask, entry.rows);
                self.entries.insert(*task, Entry { up_to, only_now, decision, ..entry });
            }
        }
        tasks.len()
    }

    fn kind(&mut self, spot: &Spot) -> usize {
        let kind = (spot.zone, spot.there & first_hours(HORIZON), spot.clean & first_hours(HORIZON));
        let next = self.kinds.len();
        let number = *self.kind_of.entry(kind).or_insert(next);
        if number == next {
            self.kinds.push(kind);
        }
        number
    }

    /// Forgets the kinds that no peer has.
    fn sort_kinds(&mut self) {
        self.kinds.clear();
        self.kind_of.clear();
        let spots = std::mem::take(&mut self.spots);
        self.kind = spots.iter().map(|spot| self.kind(spot)).collect();
        self.spots = spots;
        for row in &mut self.rows {
            row.found.clear();
        }
    }

    /// Forgets the rows that no task has.
    fn sort_rows(&mut self) {
        self.rows.clear();
        self.row_of.clear();
        let mut entries = std::mem::take(&mut self.entries);
        for entry in entries.values_mut() {
            entry.rows = [true, false].map(|own| self.row(&entry.ask, own));
        }
        self.entries = entries;
    }

    /// A zone's path; of one that is not there nothing is known.
    fn path(&self, zone: usize) -> &[u32] {
        self.zones.get(zone).map_or(&[], |zone| &zone.path)
    }

    fn row(&mut self, ask: &Ask, own: bool) -> usize {
        let length_ms = ask.work_ms.saturating_add(if own { 0 } else { ask.move_ms });
        let hours = usize::try_from(length_ms.div_ceil(HOUR_MS)).unwrap_or(usize::MAX).max(1);
        let shape = shape(&ask.work, self.now_ms, hours, length_ms, false);
        let next = self.rows.len();
        let row = *self.row_of.entry((shape, ask.needs_clean)).or_insert(next);
        if row == next {
            self.rows.push(Row { shape, needs_clean: ask.needs_clean, found: Vec::new() });
        }
        row
    }

    /// What a task would cost on a peer, and whether it would run now; nothing where it does not fit.
    fn cost(&mut self, ask: &Ask, rows: [usize; 2], index: usize) -> Option<(u128, bool)> {
        let (spot, kind) = (&self.spots[index], self.kind[index]);
        if !ask.barred.is_empty() && ask.barred.contains_key(&spot.device) {
            return None;
        }
        let row = &mut self.rows[rows[usize::from(!spot.own)]];
        if row.found.len() <= kind {
            row.found.resize(self.kinds.len(), None);
        }
        let found = match row.found[kind] {
            Some(found) => found,
            None => {
                let (zone, there, clean) = self.kinds[kind];
                let zone = self.zones.get(zone)?;
                let open = there & if row.needs_clean { clean } else { u128::MAX };
                let hours = find(row.shape, &zone.prices, &zone.order, open);
                let price = |mask: u128| {
                    (0..HORIZON)
                        .filter(|hour| mask >> hour & 1 == 1)
                        .map(|hour| zone.prices[hour] / 1000)
                        .sum()
                };
                let found = hours.map(|hours| Found { now: hours.mask & 1 == 1, sum: price(hours.mask) });
                row.found[kind] = Some(found);
                found
            }
        }?;
        let each = energy(spot.milliwatts, ask.work_ms) / row.shape.hours as u64;
        let moved = if spot.own { 0 } else { u128::from(ask.move_ug) * PG_PER_UG };
        let planned = u128::from(found.sum) * u128::from(each) + moved;
        Some((cost(planned, spot.reliable, spot.load), found.now))
    }

    fn choose(&mut self, ask: &Ask, rows: [usize; 2]) -> Choice {
        let all: Vec<Option<(u128, bool)>> =
            (0..self.spots.len()).map(|index| self.cost(ask, rows, index)).collect();
        // Some take those that can begin now, if there are any.
        let only_now = starts_soonest(&ask.work) && all.iter().flatten().any(|found| found.1);
        let best = all.iter().flatten().filter(|found| !only_now || found.1).map(|found| found.0).min();
        let Some(best) = best else {
            let peers: Vec<Peer<'_>> =
                self.spots.iter().map(|spot| ask.peer(spot, self.path(spot.zone))).collect();
            return (None, false, decide(&ask.work, self.now_ms, &peers));
        };
        let up_to = equal_to(best);
        let equals = all
            .iter()
            .enumerate()
            .filter(|(_, found)| found.is_some_and(|(cost, now)| cost <= up_to && (!only_now || now)));
        let spread = |(index, _): &(usize, _)| {
            (mix(ask.work.seed, &self.spots[*index].device), self.spots[*index].device)
        };
        let chosen: Vec<Peer<'_>> = equals
            .max_by_key(spread)
            .map(|(index, _)| &self.spots[index])
            .map(|spot| ask.peer(spot, self.path(spot.zone)))
            .into_iter()
            .collect();
        (Some(up_to), only_now, decide(&ask.work, self.now_ms, &chosen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::task::Sla;

    const NOW: u64 = 1_000 * HOUR_MS + 1234;

    fn random(seed: &mut u64, below: u64) -> u64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 16) % below
    }

    fn path(seed: &mut u64) -> Vec<u32> {
        let hours = random(seed, 97);
        (0..hours).map(|_| 100_000 + random(seed, 20) as u32 * 10_000).collect()
    }

    fn spot(seed: &mut u64, number: u8, zones: usize) -> Spot {
        let masks = [u128::MAX, !1, 0, 0xfff << random(seed, 80), u128::from(random(seed, u64::MAX)) << 20];
        Spot {
            device: PublicKey([number; 32]),
            zone: random(seed, zones as u64) as usize,
            there: masks[random(seed, 5) as usize],
            clean: masks[random(seed, 5) as usize],
            milliwatts: 5_000 + 5_000 * random(seed, 3),
            own: random(seed, 9) == 0,
            reliable: 700 + 100 * random(seed, 4) as u16,
            load: 100 * random(seed, 4) as u16,
        }
    }

    fn ask(seed: &mut u64) -> Ask {
        let class = [Sla::Urgent, Sla::High, Sla::Normal, Sla::Normal, Sla::Eco][random(seed, 5) as usize];
        let finish_by_ms =
            (class != Sla::Eco || random(seed, 2) == 0).then(|| NOW + random(seed, 100 * HOUR_MS));
        let barred: Vec<u8> = (0..random(seed, 3)).map(|_| random(seed, 30) as u8).collect();
        Ask {
            work: Work {
                class,
                finish_by_ms,
                since_ms: NOW,
                runs_on: None,
                unsaved_ms: 0,
                seed: random(seed, 1 << 40),
            },
            work_ms: 60_000 + random(seed, 12 * HOUR_MS),
            move_ms: random(seed, HOUR_MS),
            move_ug: random(seed, 3) * 200_000,
            needs_clean: class == Sla::Eco,
            barred: barred.into_iter().map(|number| (PublicKey([number; 32]), Reason::NotTrusted)).collect(),
        }
    }

    fn same_as_one_by_one(board: &Board) {
        for (task, entry) in &board.entries {
            let peers: Vec<Peer<'_>> =
                board.spots.iter().map(|spot| entry.ask.peer(spot, &board.zones[spot.zone].path)).collect();
            let expected = decide(&entry.ask.work, NOW, &peers);
            assert_eq!(entry.decision, expected, "task {task}: {:?}", entry.ask);
        }
    }

    // spec: PLACE-7
    #[test]
    fn all_at_once_is_what_each_is_told_alone_before_and_after_every_change() {
        let seed = &mut 5;
        let (zones, mut touched) = (4, 0);
        for _ in 0..20 {
            let paths = (0..zones).map(|_| path(seed)).collect();
            let mut board = Board::new(NOW, paths, (0..30).map(|number| spot(seed, number, zones)).collect());
            for task in 0..40 {
                board.set_task(task, ask(seed));
            }
            same_as_one_by_one(&board);
            for _ in 0..10 {
                match random(seed, 4) {
                    0 => touched += board.set_path(random(seed, zones as u64) as usize, path(seed)),
                    1 => board.set_task(random(seed, 45), ask(seed)),
                    2 => board.remove_task(random(seed, 40)),
                    _ => {
                        let number = random(seed, 30) as u8;
                        touched += board.set_spot(number.into(), spot(seed, number, zones));
                    }
                }
                same_as_one_by_one(&board);
            }
        }
        assert!(touched > 0);
    }

    // spec: PLACE-7
    #[test]
    fn a_change_decides_only_those_anew_who_could_have_chosen_it() {
        let seed = &mut 9;
        let cheap = vec![100_000; 96];
        let dear: Vec<u32> = (0..96).map(|hour| 300_000 + hour).collect();
        let even = |number: u8| Spot {
            zone: usize::from(number >= 10),
            there: u128::MAX,
            clean: u128::MAX,
            milliwatts: 10_000,
            own: false,
            reliable: 1000,
            load: 0,
            ..spot(seed, number, 2)
        };
        let mut board = Board::new(NOW, vec![cheap, dear.clone()], (0..20).map(even).collect());
        for task in 0..100 {
            let normal = Ask { barred: BTreeMap::new(), needs_clean: false, ..ask(seed) };
            let work = Work { class: Sla::Normal, finish_by_ms: Some(NOW + 48 * HOUR_MS), ..normal.work };
            board.set_task(task, Ask { work, ..normal });
        }
        let busier = |board: &Board, spot: usize| Spot { load: 300, ..board.spots[spot].clone() };
        let change = busier(&board, 15);
        assert_eq!(board.set_spot(15, change), 0, "nobody looks at a dear peer that becomes dearer");
        let dearer = dear.iter().map(|mg| mg + 1).collect();
        assert_eq!(board.set_path(1, dearer), 0);
        let change = busier(&board, 3);
        assert_eq!(board.set_spot(3, change), 100, "one of ten equals");
        same_as_one_by_one(&board);
    }
}
