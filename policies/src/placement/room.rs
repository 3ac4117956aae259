//! Does all that is due by an hour fit into the room until then?
//!
//! Each task alone may wait for its cheapest hours; all together they may not if more wants to run in them than there
//! is room for. Which tasks have to run now for the rest to be in time is answered by filling the hours from the last
//! to this one, each with those that have most left. Going backwards a task can be done from its deadline on and stays
//! so, so that no other way to fill leaves less: of two tasks that could both have an hour, the one with more left
//! needs it at least as much ever after.
// spec: PLACE-2, PLACE-6, SLA-2

use super::hours::HORIZON;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What is left of a task, in whole hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Work left. It runs in one slot at a time.
    pub hours: usize,
    /// Hours until its deadline, this one included.
    pub within: usize,
}

/// Hours of each task that do not fit into the hours after this one: with none it may wait, with one it has to run now,
/// with more it will be late, or make another late. `room`: slots by the hour, this one the first; after the last there
/// are none.
pub fn left_for_now(due: &[Due], room: &[u32]) -> Vec<usize> {
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
