//! Who runs where in this hour, if all that waits is planned together with what usually comes.
//!
//! [`decide`](super::decide::decide) answers for one task. Where many wait for little room that is not enough: each
//! would take the hours that are best for itself, and leave to the next what it may not be able to use. Nor are the
//! hours that nobody has a plan for free: tasks that have not come yet will want them, and are planned here as they
//! come in the mean. When more comes than that, there has to be room left for it: so much is kept that only once in a
//! thousand times more will be wanted, and it is those who are there already who make that room.
// spec: PLACE-2, PLACE-6, SLA-2

use super::hours::{HORIZON, first_hours};

const WEEK_H: usize = 7 * 24;
/// Half the natural logarithm of a thousand, in thousandths: the room that is kept falls short once in a thousand times.
const SURE: usize = 3454;

/// A task that waits or runs, and may be interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Hours of work left.
    pub left: usize,
    /// Hours until its deadline, this one included.
    pub within: usize,
    /// The place that has its checkpoint.
    pub on: Option<usize>,
}

/// What comes in a week in the mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usual {
    /// Tasks.
    pub tasks: usize,
    /// Hours of work of all of them.
    pub hours: usize,
    /// Sum of the squares of each one's hours.
    pub squares: usize,
    /// Hours from when one comes to its deadline.
    pub within: usize,
}

/// A slot, as the plan sees it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Expected mg CO2/kWh by the hour, from now on; what it does not reach cannot be used.
    pub path: &'a [u32],
    /// Hours in which it is given.
    pub open: u128,
}

/// Where each of `waiting` runs in this hour.
pub fn now(waiting: &[Waiting], usual: &Usual, places: &[Place<'_>]) -> Vec<Option<usize>> {
    let slots = |hour: usize| {
        let there = places.iter().enumerate().filter(|(_, place)| place.open >> hour & 1 == 1);
        let mut slots: Vec<(u64, usize)> =
            there.filter_map(|(index, place)| Some((u64::from(*place.path.get(hour)?), index))).collect();
        slots.sort_unstable();
        slots
    };
    let here = slots(0);
    let mut prices: Vec<Vec<u64>> =
        (0..HORIZON).map(|hour| slots(hour).into_iter().map(|(price, _)| price).collect()).collect();
    // What has to run now runs at any price.
    let press = pressing(waiting, usual, &prices).min(here.len());
    prices[0][..press].fill(0);
    let asks: Vec<Ask> = waiting.iter().map(|task| ask(task, 0)).chain(usual.coming()).collect();
    let mut plan = Plan::cheapest(&asks, &prices);
    let mut least_spare: Vec<usize> = (0..waiting.len()).collect();
    least_spare.sort_by_key(|index| waiting[*index].within.saturating_sub(waiting[*index].left));
    let mut run = Vec::new();
    for index in least_spare {
        if plan.takes_now(index, &run) {
            run.push(index);
        }
    }
    let mut free: Vec<usize> = here.iter().take(run.len()).map(|(_, place)| *place).collect();
    let mut found = vec![None; waiting.len()];
    // A checkpoint stays where it is if that place is among them.
    for index in &run {
        let stays = free.iter().position(|place| waiting[*index].on == Some(*place));
        found[*index] = stays.map(|at| free.swap_remove(at));
    }
    for index in run {
        found[index] = found[index].or_else(|| free.pop());
    }
    found
}

/// Hours of work that have to be done now, lest what waits and as much more as may come do not fit into the hours after
/// this one.
fn pressing(waiting: &[Waiting], usual: &Usual, prices: &[Vec<u64>]) -> usize {
    let room: usize = prices.iter().map(Vec::len).sum();
    let asks: Vec<Ask> = waiting.iter().map(|task| ask(task, 1)).chain(usual.kept(room)).collect();
    let wanted: usize = asks.iter().map(|ask| ask.hours).sum();
    let fits: u32 = Plan::cheapest(&asks, prices).runs.iter().map(|runs| runs.count_ones()).sum();
    wanted - fits as usize
}

impl Usual {
    /// Tasks as they come in the mean, as far ahead as can be planned.
    fn coming(self) -> impl Iterator<Item = Ask> {
        let comes = move |number: usize| number * WEEK_H / self.tasks;
        let until = move |number: usize| self.hours * number / self.tasks;
        (1..=self.tasks).take_while(move |number| comes(*number) + self.within <= HORIZON).map(
            move |number| Ask {
                hours: until(number) - until(number - 1),
                open: first_hours(comes(number) + self.within) & !first_hours(comes(number).max(1)),
            },
        )
    }

    /// Tasks for whose coming room is kept, as if they all came now. `room`: slots within the horizon.
    ///
    /// Work that comes by chance runs ahead of its mean as a random walk does, and room to spare brings it back: it gets
    /// as far as `x` with a chance of exp(−2 × spare room × x / variance), both of them those of a week.
    fn kept(self, room: usize) -> impl Iterator<Item = Ask> {
        let spare = (room * WEEK_H / HORIZON).saturating_sub(self.hours).max(1);
        // More than all room says no more than all of it.
        let hours = SURE.saturating_mul(self.squares).div_ceil(1000 * spare).min(room);
        let each = self.hours.div_ceil(self.tasks.max(1)).clamp(1, HORIZON);
        let open = first_hours(self.within.min(HORIZON)) & !1;
        (0..hours).step_by(each).map(move |done| Ask { hours: each.min(hours - done), open })
    }
}

/// Work that wants hours, one at a time.
#[derive(Debug, Clone, Copy)]
struct Ask {
    hours: usize,
    /// Hours in which it may run.
    open: u128,
}

fn ask(task: &Waiting, from: usize) -> Ask {
    Ask { hours: task.left, open: first_hours(task.within.min(HORIZON)) & !first_hours(from) }
}

/// Who runs when.
struct Plan<'a> {
    asks: &'a [Ask],
    /// A bit for each hour.
    runs: Vec<u128>,
}

/// For each hour, who could take it, and which hour that one would leave for it.
struct Chain {
    reached: u128,
    by: [(usize, Option<usize>); HORIZON],
}

impl<'a> Plan<'a> {
    /// The hours that cost least together. Who comes first in the list has its hours if not all can have theirs.
    /// `prices`: of the slots of each hour, the cheapest first.
    ///
    /// Each hour more is the cheapest that can be had if others change theirs: shortest paths one after another, which
    /// is the least for all since a slot costs the same for everybody.
    fn cheapest(asks: &'a [Ask], prices: &[Vec<u64>]) -> Self {
        let mut plan = Self { asks, runs: vec![0; asks.len()] };
        let mut used = [0; HORIZON];
        for (index, ask) in asks.iter().enumerate() {
            for _ in 0..ask.hours {
                let chain = plan.chain(index, 0, None);
                let price = |hour: usize| Some((*prices[hour].get(used[hour])?, hour));
                let Some((_, hour)) = bits(chain.reached).filter_map(price).min() else { break };
                used[hour] += 1;
                plan.pass(&chain, hour);
            }
        }
        plan
    }

    /// The hours that can be had for `index` if others but `except` change theirs, none of which takes one of `barred`.
    fn chain(&self, index: usize, barred: u128, except: Option<usize>) -> Chain {
        let mut chain = Chain {
            reached: self.asks[index].open & !self.runs[index] & !barred,
            by: [(index, None); HORIZON],
        };
        let mut asked = vec![false; self.asks.len()];
        for index in except.into_iter().chain([index]) {
            asked[index] = true;
        }
        loop {
            let before = chain.reached;
            for (other, ask) in self.asks.iter().enumerate() {
                let shared = self.runs[other] & chain.reached;
                if shared == 0 || std::mem::replace(&mut asked[other], true) {
                    continue;
                }
                let new = ask.open & !self.runs[other] & !barred & !chain.reached;
                for hour in bits(new) {
                    chain.by[hour] = (other, Some(shared.trailing_zeros() as usize));
                }
                chain.reached |= new;
            }
            if chain.reached == before {
                return chain;
            }
        }
    }

    /// Each along the chain takes the hour that the one after it leaves; the last takes `hour`.
    fn pass(&mut self, chain: &Chain, mut hour: usize) {
        loop {
            let (who, leaves) = chain.by[hour];
            self.runs[who] |= 1 << hour;
            let Some(left) = leaves else { return };
            self.runs[who] &= !(1 << left);
            hour = left;
        }
    }

    /// Does it run now, or can it have this hour from one that is not in `firm`, with all others in time as before?
    fn takes_now(&mut self, index: usize, firm: &[usize]) -> bool {
        if self.runs[index] & 1 == 1 {
            return true;
        }
        let holders: Vec<usize> = (0..self.asks.len())
            .filter(|other| self.runs[*other] & 1 == 1 && !firm.contains(other))
            .collect();
        for holder in holders {
            let chain = self.chain(holder, 1, Some(index));
            let Some(hour) = bits(chain.reached & self.runs[index]).next() else { continue };
            self.runs[index] ^= 1 | 1 << hour;
            self.pass(&chain, hour);
            self.runs[holder] &= !1;
            return true;
        }
        false
    }
}

fn bits(mut mask: u128) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let first = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOTHING: Usual = Usual { tasks: 0, hours: 0, squares: 0, within: 48 };

    fn waiting(tasks: &[(usize, usize)]) -> Vec<Waiting> {
        tasks.iter().map(|(left, within)| Waiting { left: *left, within: *within, on: None }).collect()
    }

    fn place(path: &[u32]) -> Place<'_> {
        Place { path, open: u128::MAX }
    }

    // spec: PLACE-2, PLACE-6
    #[test]
    fn who_has_no_other_hour_has_the_cheap_one_and_a_checkpoint_stays_where_it_is() {
        let path = [100, 10, 200, 200];
        let run = |tasks: &[(usize, usize)]| now(&waiting(tasks), &NOTHING, &[place(&path)]);
        assert_eq!(run(&[(1, 4)]), [None]);
        assert_eq!(
            run(&[(1, 4), (1, 2)]),
            [None, Some(0)],
            "two hours for two, and one cannot have a later one"
        );
        assert_eq!(run(&[(1, 4), (1, 4), (1, 4), (1, 4), (1, 4)]).iter().flatten().count(), 1);
        let (dear, cheap) = ([90], [80]);
        let mut two = waiting(&[(1, 1), (1, 1)]);
        two[1].on = Some(1);
        assert_eq!(now(&two, &NOTHING, &[place(&dear), place(&cheap)]), [Some(0), Some(1)]);
        two[0].on = Some(1);
        assert_eq!(
            now(&two[..1], &NOTHING, &[place(&cheap), place(&dear)]),
            [Some(0)],
            "the cheapest all the same"
        );
        let closed = Place { open: 0b10, ..place(&path) };
        assert_eq!(now(&waiting(&[(1, 4)]), &NOTHING, &[closed]), [None]);
        assert!(now(&[], &NOTHING, &[]).is_empty());
    }

    // spec: PLACE-6
    #[test]
    fn an_hour_that_tasks_to_come_will_want_is_not_free() {
        // One hour's work comes in twelve hours' time, and can also be done in hour 20, or for 50.
        let usual = Usual { tasks: 14, hours: 14, squares: 14, within: 10 };
        let run = |price: u32, usual: &Usual| {
            let path: Vec<u32> = (0..HORIZON)
                .map(|hour| match hour {
                    0 => price,
                    20 => 10,
                    1..12 => 1000,
                    _ => 50,
                })
                .collect();
            now(&waiting(&[(1, 22)]), usual, &[place(&path)])
        };
        assert_eq!(run(30, &NOTHING), [None], "10 in hour 20");
        assert_eq!(run(30, &usual), [Some(0)], "30 and 10, beside 10 and 50");
        assert_eq!(run(60, &usual), [None], "60 and 10, beside 10 and 50");
    }

    /// Ten tasks of eight hours in a week of one slot: 3.454 × 640 ÷ 88 hours are kept.
    const TEN: Usual = Usual { tasks: 10, hours: 80, squares: 640, within: 48 };

    // spec: PLACE-6
    #[test]
    fn room_for_more_than_usual_is_kept_and_made_by_those_who_wait() {
        let falls: Vec<u32> = (0..HORIZON as u32).map(|hour| 1000 - hour).collect();
        let running = |tasks: &[(usize, usize)]| {
            now(&waiting(tasks), &TEN, &[place(&falls)]).into_iter().flatten().count()
        };
        assert_eq!(TEN.kept(HORIZON).map(|ask| ask.hours).collect::<Vec<_>>(), [8, 8, 8, 2]);
        // Of the 47 hours after this one 26 are kept.
        assert_eq!(running(&[(7, 48), (7, 48), (7, 48)]), 0);
        assert_eq!(running(&[(7, 48), (7, 48), (8, 48)]), 1, "it was the room kept that had nowhere to go");
        assert_eq!(TEN.kept(0).count(), 0);
        assert_eq!(NOTHING.kept(HORIZON).count(), 0);
    }

    // spec: PLACE-6, SLA-2
    #[test]
    fn however_much_better_later_always_seems_nothing_is_late() {
        let falls: Vec<u32> = (0..HORIZON as u32).map(|hour| 1000 - hour).collect();
        let mut seed = 1_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let (mut open, mut done, mut idle): (Vec<Waiting>, usize, usize) = (Vec::new(), 0, 0);
        for hour in 0..12 * WEEK_H {
            if random(WEEK_H) < TEN.tasks {
                open.push(Waiting { left: 8, within: TEN.within, on: None });
            }
            let runs = now(&open, &TEN, &[place(&falls)]);
            idle += usize::from(runs.iter().all(Option::is_none));
            for (task, runs) in open.iter_mut().zip(runs) {
                task.left -= usize::from(runs.is_some());
                task.within -= 1;
                done += usize::from(task.left == 0);
            }
            open.retain(|task| task.left > 0);
            assert!(open.iter().all(|task| task.left <= task.within), "hour {hour}: {open:?}");
        }
        assert!(done > 90 && idle > 600, "{done} done, {idle} hours idle");
    }

    /// The least that any way to give the hours costs; nothing if they cannot be given.
    fn least(asks: &[Ask], prices: &[Vec<u64>], used: &mut [usize]) -> Option<u64> {
        let Some((ask, rest)) = asks.split_first() else {
            let each = used.iter().zip(prices).map(|(used, prices)| prices[..*used].iter().sum::<u64>());
            return Some(each.sum());
        };
        let choices = (0_u128..1 << prices.len())
            .filter(|hours| hours & !ask.open == 0 && hours.count_ones() as usize == ask.hours);
        let mut best = None;
        for hours in choices {
            bits(hours).for_each(|hour| used[hour] += 1);
            if bits(hours).all(|hour| used[hour] <= prices[hour].len()) {
                best = [best, least(rest, prices, used)].into_iter().flatten().min();
            }
            bits(hours).for_each(|hour| used[hour] -= 1);
        }
        best
    }

    proptest! {
        // spec: PLACE-6
        #[test]
        fn nobody_could_plan_for_less_and_who_goes_first_delays_nobody(
            tasks in proptest::collection::vec((0usize..4, 1u128..16), 1..5),
            prices in proptest::collection::vec(proptest::collection::vec(1u64..50, 0..3), 4),
        ) {
            let asks: Vec<Ask> = tasks.iter().map(|(hours, open)| Ask { hours: *hours, open: *open }).collect();
            let mut prices = prices;
            prices.iter_mut().for_each(|slots| slots.sort_unstable());
            let best = least(&asks, &prices, &mut [0; 4]);
            prices.resize(HORIZON, Vec::new());
            let mut plan = Plan::cheapest(&asks, &prices);
            let costs = |plan: &Plan<'_>| {
                let used = |hour: usize| plan.runs.iter().filter(|runs| *runs >> hour & 1 == 1).count();
                let fits = plan.runs.iter().zip(&asks).all(|(runs, ask)| runs & !ask.open == 0);
                let all = plan.runs.iter().zip(&asks).all(|(runs, ask)| runs.count_ones() as usize == ask.hours);
                let cost = (0..HORIZON).map(|hour| prices[hour][..used(hour)].iter().sum::<u64>()).sum::<u64>();
                (fits, all.then_some(cost))
            };
            prop_assert_eq!(costs(&plan), (true, best));
            let first = (0..asks.len()).rev().find(|index| asks[*index].open & 1 == 1 && asks[*index].hours > 0);
            if let (Some(first), Some(_)) = (first, best) {
                let runs = plan.takes_now(first, &[]);
                prop_assert_eq!(runs, plan.runs[first] & 1 == 1);
                prop_assert_eq!(costs(&plan), (true, best));
            }
        }
    }
}
