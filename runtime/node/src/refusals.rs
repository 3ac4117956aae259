//! Devices that refuse what they are offered, whatever task it is.
// spec: DEL-3, NET-4

use crate::node::Node;
use crate::owner::{OFFER_MS, back_off};
use mesh_protocol::ids::TaskId;
use mesh_protocol::key::PublicKey;
use mesh_protocol::reason::Reason;
use std::collections::BTreeMap;

/// So many refusals in a row may each be of the task they were said of.
const MOST_IN_A_ROW: u32 = 8;
/// For so long it is remembered.
const REMEMBERED_MS: u64 = 3_600_000;

/// A device that has taken nothing since it refused something.
#[derive(Debug, Clone)]
pub(crate) struct Refusing {
    in_a_row: u32,
    /// How often it was left alone since, each time for longer.
    times: u32,
    /// Until when it is.
    until: u64,
    /// Was it asked once more?
    asked: bool,
    why: Reason,
}

impl Node {
    /// A device refused a task. Each offer is an entry in this device's log, so where that says something of the device, or
    /// happens with whatever task it is offered, it is left alone with all of them. Gives until when it is.
    pub(crate) fn refused_by(&mut self, device: PublicKey, why: &Reason) -> Option<u64> {
        let now = self.now.boot_ms;
        if device == self.me {
            return None;
        }
        self.refusing.retain(|_, it| now < it.until.saturating_add(REMEMBERED_MS));
        let new = || Refusing { in_a_row: 0, times: 0, until: now, asked: false, why: why.clone() };
        let it = self.refusing.entry(device).or_insert_with(new);
        it.in_a_row = it.in_a_row.saturating_add(1);
        // What was offered together is refused together, and says no more than one refusal.
        let again = it.asked || it.until <= now;
        if again && (why.is_of_device() || it.in_a_row > MOST_IN_A_ROW) {
            it.times = it.times.saturating_add(1);
            it.until = now.saturating_add(back_off(it.times));
            it.asked = false;
            it.why = why.clone();
        }
        (it.times > 0).then_some(it.until)
    }

    /// It is offered a task. If it refused others, it answers first before it is offered more.
    pub(crate) fn asked_again(&mut self, device: &PublicKey) {
        let now = self.now.boot_ms;
        if let Some(it) = self.refusing.get_mut(device).filter(|it| it.times > 0) {
            it.until = now.saturating_add(OFFER_MS);
            it.asked = true;
        }
    }

    /// It took a task.
    pub(crate) fn taken_by(&mut self, task: TaskId) {
        let device = self.tasks.get(&task).and_then(|task| task.device());
        if device.is_some_and(|device| self.refusing.remove(&device).is_some()) {
            self.place_soon();
        }
    }

    /// Leaves those alone, too, that refuse whatever it is.
    pub(crate) fn block_refusing(&self, blocked: &mut BTreeMap<PublicKey, (u64, Reason)>) {
        for (device, it) in self.refusing.iter().filter(|(_, it)| it.until > self.now.boot_ms) {
            let known = blocked.entry(*device).or_insert_with(|| (it.until, it.why.clone()));
            known.0 = known.0.max(it.until);
        }
    }
}
