//! Does all that is due by an hour fit into the room until then?
//!
//! Each task alone may wait for its cheapest hours; all together they may not if more wants to run in them than there
//! is room for. Which tasks have to run now for the rest to be in time is answered by filling the hours from the last
//! to this one, each with those that have most left. Going backwards a task can be done from its deadline on and stays
//! so, so that no other way to fill leaves less: of two tasks that could both have an hour, the one with more left
//! needs it at least as much ever after.
// spec: PLACE-2, PLACE-6, SLA-2

use super::decide::HOUR_MS;
use super::hours::HORIZON;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What is left of a task, in whole hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Due {
    /// Work left. It runs in one slot at a time.
    hours: usize,
    /// Hours until its deadline, this one included.
    within: usize,
}

/// Hours of each task that do not fit into the hours after this one: with none it may wait, with one it has to run now,
/// with more it will be late, or make another late. `room`: slots by the hour, this one the first; after the last there
/// are none.
fn left_for_now(due: &[Due], room: &[u32]) -> Vec<usize> {
    let mut left: Vec<usize> = due.iter().map(|task| task.hours).collect();
    let mut by_deadline: Vec<usize> = (0..due.len()).collect();
    by_deadline.sort_by_key(|task| due[*task].within);
    let mut open: BinaryHeap<(usize, Reverse<usize>)> = BinaryHeap::new();
    let mut taken = Vec::new();
    for hour in (1..room.len().min(HORIZON)).rev() {
        while let Some(task) = by_deadline.pop_if(|task| due[*task].within > hour) {
            open.push((left[task], Reverse(task)));
        }
        let slots = usize::try_from(room[hour]).unwrap_or(usize::MAX);
        taken.extend(std::iter::from_fn(|| open.pop()).take(slots));
        for (hours, Reverse(task)) in taken.drain(..).filter(|task| task.0 > 0) {
            left[task] = hours - 1;
            open.push((hours - 1, Reverse(task)));
        }
    }
    left
}

/// What is left of a task, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Work left.
    pub left_ms: u64,
    /// Time until its deadline.
    pub within_ms: u64,
}

/// Who has to run now, with so many slots from now on, lest it or another be late?
///
/// Short tasks have hours in common, else a minute's work would take an hour's room. They count as due with the first of
/// them, so that only those share whose deadlines differ by no more than the time that the first has.
pub fn presses(tasks: &[Load], slots: u32) -> Vec<bool> {
    let hours =
        |ms: u64, rounded: fn(u64, u64) -> u64| usize::try_from(rounded(ms, HOUR_MS)).unwrap_or(HORIZON);
    let within = |task: &Load| hours(task.within_ms, |ms, hour| ms / hour);
    let mut by_deadline: Vec<usize> = (0..tasks.len()).collect();
    by_deadline.sort_by_key(|task| tasks[*task].within_ms);
    let (mut due, mut shared): (Vec<Due>, Option<(usize, u64)>) = (Vec::new(), None);
    let mut part_of = vec![0; tasks.len()];
    for index in by_deadline {
        let task = &tasks[index];
        let fits = |(part, filled): &(usize, u64)| {
            filled + task.left_ms <= HOUR_MS && within(task) <= 2 * due[*part].within
        };
        part_of[index] = match shared.filter(|_| task.left_ms < HOUR_MS).filter(fits) {
            Some((part, filled)) => {
                shared = Some((part, filled + task.left_ms));
                part
            }
            None => {
                due.push(Due { hours: hours(task.left_ms, u64::div_ceil), within: within(task) });
                if task.left_ms < HOUR_MS {
                    shared = Some((due.len() - 1, task.left_ms));
                }
                due.len() - 1
            }
        };
    }
    let left = left_for_now(&due, &[slots; HORIZON]);
    part_of.into_iter().map(|part| left[part] > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn due(tasks: &[(usize, usize)]) -> Vec<Due> {
        tasks.iter().map(|(hours, within)| Due { hours: *hours, within: *within }).collect()
    }

    // spec: PLACE-6
    #[test]
    fn who_could_wait_alone_must_run_now_if_others_need_the_hours_after() {
        let one_slot = [1; 8];
        assert_eq!(left_for_now(&due(&[(2, 8)]), &one_slot), [0]);
        assert_eq!(
            left_for_now(&due(&[(2, 3), (2, 4)]), &one_slot).iter().sum::<usize>(),
            1,
            "3 of 4 hours fit"
        );
        assert_eq!(left_for_now(&due(&[(2, 3), (2, 3)]), &one_slot).iter().sum::<usize>(), 2, "one is late");
        assert_eq!(left_for_now(&due(&[(3, 3)]), &[2; 8]), [1], "more slots do not make one task faster");
        assert_eq!(left_for_now(&due(&[(1, 1), (1, 90)]), &[0; 96]), [1, 1]);
        assert_eq!(left_for_now(&due(&[(1, 200)]), &[1; 96]), [0]);
        assert!(left_for_now(&[], &[]).is_empty());
    }

    // spec: PLACE-2, SLA-2
    #[test]
    fn many_short_tasks_share_hours_and_press_only_when_those_are_short() {
        let minutes = |left: u64, within: u64| Load { left_ms: left * 60_000, within_ms: within * 60_000 };
        let count = |tasks: &[Load], slots| presses(tasks, slots).iter().filter(|presses| **presses).count();
        assert_eq!(count(&[minutes(60, 600); 9], 1), 0, "nine of nine hours after this one");
        assert_eq!(count(&[minutes(60, 600); 10], 1), 1);
        assert_eq!(count(&[minutes(60, 600); 10], 2), 0);
        assert_eq!(count(&[minutes(5, 600); 9 * 12], 1), 0);
        assert_eq!(count(&[minutes(5, 600); 9 * 12 + 1], 1), 1);
        // One comes in each hour: what is due first does not drag the others along.
        let trickle: Vec<Load> = (0..48).map(|hour| minutes(1, 1 + 60 * hour)).collect();
        assert_eq!(presses(&trickle, 1).iter().position(|presses| !presses), Some(3));
        assert_eq!(count(&trickle, 1), 3, "only those that are due soon");
        assert_eq!(count(&[minutes(120, 6000); 40], 0), 40, "without room nobody may wait for it");
        assert!(presses(&[], 1).is_empty());
    }

    /// The most hours that can be done after this one: augmenting paths, hour by hour of work.
    fn most(due: &[Due], room: &[u32]) -> usize {
        let mut runs: Vec<Vec<bool>> = due.iter().map(|_| vec![false; room.len()]).collect();
        fn find(task: usize, due: &[Due], room: &[u32], runs: &mut [Vec<bool>], seen: &mut [bool]) -> bool {
            for hour in 1..room.len().min(due[task].within) {
                if runs[task][hour] || std::mem::replace(&mut seen[hour], true) {
                    continue;
                }
                let there: Vec<usize> = (0..due.len()).filter(|other| runs[*other][hour]).collect();
                if there.len() < room[hour] as usize {
                    runs[task][hour] = true;
                    return true;
                }
                for other in there {
                    runs[other][hour] = false;
                    runs[task][hour] = true;
                    if find(other, due, room, runs, seen) {
                        return true;
                    }
                    runs[other][hour] = true;
                    runs[task][hour] = false;
                }
            }
            false
        }
        let mut done = 0;
        for task in 0..due.len() {
            for _ in 0..due[task].hours {
                done += usize::from(find(task, due, room, &mut runs, &mut vec![false; room.len()]));
            }
        }
        done
    }

    proptest! {
        // spec: PLACE-6
        #[test]
        fn nobody_could_leave_less_for_now(
            tasks in proptest::collection::vec((0usize..5, 0usize..9), 0..7),
            room in proptest::collection::vec(0u32..4, 1..9),
        ) {
            let due = due(&tasks);
            let left: usize = left_for_now(&due, &room).iter().sum();
            let all: usize = due.iter().map(|task| task.hours).sum();
            prop_assert_eq!(left, all - most(&due, &room));
        }
    }
}
