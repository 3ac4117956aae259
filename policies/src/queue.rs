//! Which of the waiting tasks starts next? The vote moves the queue, and nothing in it starves.
// spec: VOTE-9, HEALTH-1

use mesh_protocol::ids::TaskId;
use mesh_protocol::task::Importance;
use std::cmp::Reverse;

/// A task that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub task: TaskId,
    /// Is it public health, which goes before all that is as important?
    pub health: bool,
    /// How important.
    pub rank: Importance,
    /// Its latest start, in milliseconds since 1970; none if no moment is too late.
    pub latest_start_ms: Option<u64>,
    /// When it was submitted.
    pub created_ms: u64,
    /// Starts of tasks submitted later, where it could have run itself.
    pub overtaken: u32,
}

/// What goes before all importance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// Nothing.
    Usual,
    /// It is public health.
    Health,
    /// It was passed over as often as allowed.
    Starved,
}

/// Its place: smaller comes first. Whoever was passed over as often as allowed goes before all others, the oldest first;
/// among those, nobody passes over an older one, so the bound holds for each. Then comes public health.
pub type Place = (Reverse<Turn>, Reverse<Importance>, u64, u64, TaskId);

/// Where a task stands in the queue.
pub fn place(waiting: &Waiting, max_overtaken: u16) -> Place {
    let starved = waiting.overtaken >= u32::from(max_overtaken);
    let age = (waiting.created_ms, waiting.task);
    if starved {
        return (Reverse(Turn::Starved), Reverse(Importance::Critical), 0, age.0, age.1);
    }
    let turn = if waiting.health { Turn::Health } else { Turn::Usual };
    (Reverse(turn), Reverse(waiting.rank), waiting.latest_start_ms.unwrap_or(u64::MAX), age.0, age.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::task::Importance::{Critical, High, Low, NonCritical, Normal};
    use proptest::prelude::*;

    /// Does a start of `started` pass over `waiting`? It does if it was submitted later.
    fn passes_over(started: &Waiting, waiting: &Waiting) -> bool {
        (started.created_ms, started.task) > (waiting.created_ms, waiting.task)
    }

    fn waiting(number: u8, rank: Importance, latest_start_ms: Option<u64>) -> Waiting {
        let task = TaskId([number; 32]);
        Waiting { task, health: false, rank, latest_start_ms, created_ms: u64::from(number), overtaken: 0 }
    }

    // spec: VOTE-9
    #[test]
    fn importance_goes_before_deadline_and_deadline_before_age() {
        let list = [
            waiting(1, Normal, Some(900)),
            waiting(2, High, None),
            waiting(3, Normal, Some(100)),
            waiting(4, Critical, None),
            waiting(5, Normal, Some(900)),
            waiting(6, Low, Some(1)),
            waiting(7, NonCritical, Some(0)),
        ];
        let mut sorted = list;
        sorted.sort_by_key(|it| place(it, 20));
        let order: Vec<u8> = sorted.iter().map(|it| it.task.0[0]).collect();
        assert_eq!(order, [4, 2, 3, 1, 5, 6, 7]);
        let tired = Waiting { overtaken: 20, ..list[6] };
        assert!(place(&tired, 20) < place(&list[3], 20), "it has waited enough");
        assert!(place(&Waiting { overtaken: 19, ..tired }, 20) > place(&list[3], 20));
        let older = Waiting { overtaken: 20, ..waiting(0, NonCritical, None) };
        assert!(place(&older, 20) < place(&tired, 20), "the oldest of those first");
        let health = Waiting { health: true, ..waiting(8, Critical, None) };
        let urgent = waiting(0, Critical, Some(0));
        assert!(place(&health, 20) < place(&urgent, 20), "health goes before what is only urgent");
        assert!(place(&tired, 20) < place(&health, 20), "and nobody waits for ever for it");
        assert!(passes_over(&list[1], &list[0]) && !passes_over(&list[0], &list[1]));
        assert!(!passes_over(&list[0], &list[0]));
    }

    proptest! {
        // spec: VOTE-9
        #[test]
        fn nothing_is_passed_over_more_often_than_allowed(
            arrivals in proptest::collection::vec((0usize..5, any::<bool>(), proptest::option::of(0u64..50)), 1..120),
            max_overtaken in 1u16..8,
        ) {
            const ALL: [Importance; 5] = [NonCritical, Low, Normal, High, Critical];
            let mut queue: Vec<Waiting> = Vec::new();
            for (number, (rank, start, latest)) in (0u8..).zip(arrivals) {
                queue.push(waiting(number, ALL[rank], latest));
                if start {
                    let Some(first) = queue.iter().copied().min_by_key(|it| place(it, max_overtaken)) else { continue };
                    queue.retain(|it| *it != first);
                    for it in &mut queue {
                        it.overtaken += u32::from(passes_over(&first, it));
                        prop_assert!(it.overtaken <= u32::from(max_overtaken), "{it:?}");
                    }
                }
            }
        }
    }
}
