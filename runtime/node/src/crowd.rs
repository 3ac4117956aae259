//! All tasks of this device together: do they fit into the room that is left?
//!
//! Each waiting task chooses its hours for itself, and all like the same. Those that would not fit into them start at
//! once, so that what waits is in time.
// spec: PLACE-2, SLA-2

use crate::moves::Stand;
use crate::node::Node;
use crate::owner::Candidate;
use mesh_policies::importance::{ROOM_MS, Times, haste};
use mesh_policies::placement::room::{Load, presses};
use mesh_protocol::ids::TaskId;
use mesh_protocol::key::PublicKey;
use mesh_protocol::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};

/// How long it is believed: with thousands of tasks it is too much to be found for each.
const HOLDS_MS: u64 = 5_000;

/// What all tasks with a deadline amount to.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    /// By the boot clock; none before the first time.
    found_at: Option<u64>,
    /// By the only device that they may run on, if there is one.
    loads: BTreeMap<Option<PublicKey>, Vec<(TaskId, Load)>>,
    /// Slots that they have.
    taken: BTreeMap<PublicKey, u32>,
    /// Those that have to run now, by how many slots there are.
    presses: BTreeMap<(Option<PublicKey>, u32), BTreeSet<TaskId>>,
}

impl Node {
    /// Does it have to run now, lest it or another of this device's tasks be late?
    pub(crate) fn presses(&mut self, id: TaskId, candidates: &[Candidate]) -> bool {
        self.pressing(id, candidates).is_some_and(|pressing| pressing.contains(&id))
    }

    /// Does any that could run where this one does?
    pub(crate) fn is_crowded(&mut self, id: TaskId, candidates: &[Candidate]) -> bool {
        self.pressing(id, candidates).is_some_and(|pressing| !pressing.is_empty())
    }

    fn pressing(&mut self, id: TaskId, candidates: &[Candidate]) -> Option<&BTreeSet<TaskId>> {
        let now = self.now.boot_ms;
        if self.crowd.found_at.is_none_or(|at| now.saturating_sub(at) >= HOLDS_MS) {
            self.crowd = self.all_together();
        }
        let on = self.tasks.get(&id)?.kept.on;
        let crowd = &mut self.crowd;
        // What others run there may stay: only what is free, or this device's own, is counted on.
        let slots = candidates.iter().filter(|it| matches!(it.permitted, Ok(()) | Err(Reason::NoCapacity)));
        let slots = slots.map(|it| {
            let taken = crowd.taken.get(&it.device).copied().unwrap_or_default();
            (u32::from(it.free_slots) + taken).min(u32::from(it.slots.max(1)))
        });
        let slots: u32 = slots.sum();
        let loads = crowd.loads.get(&on)?;
        Some(crowd.presses.entry((on, slots)).or_insert_with(|| {
            let all: Vec<Load> = loads.iter().map(|(_, load)| *load).collect();
            let pressing = loads.iter().zip(presses(&all, slots)).filter(|(_, presses)| *presses);
            pressing.map(|((id, _), _)| *id).collect()
        }))
    }

    fn all_together(&self) -> Crowd {
        let mut crowd = Crowd { found_at: Some(self.now.boot_ms), ..Crowd::default() };
        let waiting = self.waiting_by_age.iter().map(|(_, id)| (*id, false));
        for (id, runs) in waiting.chain(self.out.iter().map(|(_, id)| (*id, true))) {
            // A task with replicas runs nowhere itself: its twins stand here beside it.
            let Some(task) = self.tasks.get(&id).filter(|task| !task.has_replicas()) else { continue };
            let device = task.device().filter(|_| runs);
            if let Some(device) = device {
                *crowd.taken.entry(device).or_default() += 1;
            }
            let Some(finish_by) = haste(&task.course, &Times::of(task.spec())).1 else { continue };
            let stand = Stand::of(task, device.map(|device| (device, self.now.boot_ms)));
            let within_ms = finish_by.saturating_sub(ROOM_MS).saturating_sub(self.now.wall_ms);
            let load = Load { left_ms: stand.left_ms, within_ms };
            crowd.loads.entry(task.kept.on).or_default().push((id, load));
        }
        crowd
    }
}
