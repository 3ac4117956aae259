//! What this device knows of its energy: a history of 30 days, and what it expects by it.
// spec: EN-5, SLA-3, SLA-4

use crate::node::{META_HISTORY, Node};
use mesh_policies::donor::Situation;
use mesh_policies::forecast::{HISTORY, Known};
use mesh_policies::sun;
use mesh_protocol::ad::{EnergyClaim, HOUR_MS, MAX_OUTLOOK, Outlook, Source};
use mesh_protocol::energy::Reading;
use mesh_protocol::key::PublicKey;
use mesh_protocol::record::Table;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Hours of history that say something of hours to come: each hour of the day once.
const ENOUGH: usize = 24;
/// Watts of a busy slot where nothing measured it: half a laptop's processor.
const SLOT_WATTS: u16 = 10;

/// Hours for which a history is used in place of readings that do not come: three days. After that it says little of what
/// is.
const STANDS_IN: u64 = 72;
/// Where a reading is from that nobody read.
const FROM_HISTORY: &str = "history";

/// What the energy was, by the hour.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct History {
    /// The newest hour, since 1970.
    newest: u64,
    /// g CO2/kWh, the newest last. Hours in which nothing was known have the value before them.
    values: VecDeque<u16>,
}

impl History {
    /// Takes a reading. Says whether an hour began with it.
    fn note(&mut self, now_ms: u64, g_per_kwh: u16) -> bool {
        let hour = now_ms / HOUR_MS;
        match (self.values.back_mut(), hour.checked_sub(self.newest)) {
            // A clock that went back tells nothing new.
            (Some(_), None) => return false,
            (Some(last), Some(0)) => {
                *last = g_per_kwh;
                return false;
            }
            (Some(last), Some(passed)) if passed < HISTORY as u64 => {
                let last = *last;
                self.values.extend((1..passed).map(|_| last));
            }
            _ => self.values.clear(),
        }
        self.values.push_back(g_per_kwh);
        self.newest = hour;
        self.values.drain(..self.values.len().saturating_sub(HISTORY));
        true
    }

    /// What the cleanest 30 % of the hours did not exceed.
    fn low(&self) -> Option<u16> {
        let mut sorted: Vec<u16> = self.values.iter().copied().collect();
        sorted.sort_unstable();
        (sorted.len() >= ENOUGH).then(|| sorted[(sorted.len() * 3 / 10).max(1) - 1])
    }

    /// What its grid would be now by the same hour of the days before; none if it says too little of that, or is too old.
    // spec: EN-3
    fn instead(&self, now_ms: u64) -> Option<EnergyClaim> {
        let hour = now_ms / HOUR_MS;
        let fresh = hour.checked_sub(self.newest).is_some_and(|passed| passed <= STANDS_IN);
        if self.values.len() < ENOUGH || !fresh {
            return None;
        }
        let values: Vec<f64> = self.values.iter().map(|grams| f64::from(*grams)).collect();
        let grams = Known { newest: self.newest, values: &values, issues: &[] }.path(hour).first()?.round();
        // How much of it was renewable nobody wrote down, so it is none: what asks for that waits.
        Some(EnergyClaim {
            source: Source::Grid,
            renewable_percent: 0,
            g_per_kwh: grams.clamp(0.0, 2000.0) as u16,
        })
    }

    /// g CO2/kWh expected of now and the hours that follow.
    fn path(&self, now_ms: u64, now: u16) -> Vec<u16> {
        if self.values.len() < ENOUGH {
            return vec![now; MAX_OUTLOOK];
        }
        let values: Vec<f64> = self.values.iter().map(|grams| f64::from(*grams)).collect();
        let known = Known { newest: self.newest, values: &values, issues: &[] };
        let mut path: Vec<u16> =
            known.path(now_ms / HOUR_MS).into_iter().map(|grams| grams.round() as u16).collect();
        path.truncate(MAX_OUTLOOK);
        if let Some(first) = path.first_mut() {
            *first = now;
        }
        path
    }
}

impl Node {
    /// Takes what was read; where nothing is, history stands in for it.
    // spec: EN-3
    pub(crate) fn energy_read(&mut self, reading: Option<Reading>) {
        self.reads = reading.is_some();
        let reading = reading.or_else(|| self.by_history());
        let energy = reading.as_ref().map(|reading| reading.claim);
        self.energy_is(reading);
        if self.config.energy != energy {
            self.config.energy = energy;
            self.regard_energy();
            self.advertise_soon();
            self.place_soon();
        }
    }

    /// Takes how the device is.
    // spec: PERM-5, SLA-4
    pub(crate) fn situation_is(&mut self, situation: Situation) {
        let had = self.has_sun(&self.me);
        self.situation = situation;
        self.regard_donor();
        self.regard_energy();
        if self.has_sun(&self.me) != had {
            self.advertise_soon();
            self.place_soon();
        }
    }

    fn by_history(&self) -> Option<Reading> {
        let claim = self.history.instead(self.now.wall_ms)?;
        Some(Reading { estimated: true, ..Reading::of(claim, FROM_HISTORY) })
    }

    /// Takes what the energy is now into its history, and finds anew what is expected.
    pub(crate) fn regard_energy(&mut self) {
        let now_ms = self.now.wall_ms;
        let hour = u32::try_from(now_ms / HOUR_MS).unwrap_or(u32::MAX);
        if !self.reads && self.expected_for.is_some_and(|(before, ..)| before != hour) {
            // What stands in is another one in each hour, and at last none.
            let reading = self.by_history();
            self.config.energy = reading.as_ref().map(|reading| reading.claim);
            self.energy_is(reading);
        }
        if let Some(claim) = self.config.energy.filter(|_| self.reads)
            && self.history.note(now_ms, claim.g_per_kwh)
        {
            let history = self.history.clone();
            self.keep(Table::Meta, META_HISTORY.to_vec(), &history);
        }
        // Whole watts, at least those that a task needs: less changes nothing.
        let surplus =
            self.situation.surplus_watts.map(|watts| u32::try_from(watts.max(0)).unwrap_or(u32::MAX));
        let expected_for = Some((hour, self.config.energy, surplus));
        if self.expected_for == expected_for {
            return;
        }
        self.expected_for = expected_for;
        self.outlook = Outlook {
            hour,
            g_per_kwh: self
                .config
                .energy
                .map_or_else(Vec::new, |claim| self.history.path(now_ms, claim.g_per_kwh)),
            low_g_per_kwh: self.history.low(),
            surplus_watts: surplus,
            slot_watts: SLOT_WATTS,
        };
    }

    /// What a device expects of its energy, by its own word.
    pub(crate) fn outlook_of(&self, device: &PublicKey) -> Option<&Outlook> {
        if *device == self.me { Some(&self.outlook) } else { Some(&self.ad_of(device)?.outlook) }
    }

    /// Is there sun for a task on that device: by its place, and by what its panels give beside its household?
    // spec: SLA-4
    pub(crate) fn has_sun(&self, device: &PublicKey) -> bool {
        let place = match *device == self.me {
            true => self.config.place,
            false => self.ledger.facts().registered(device).and_then(|registered| registered.place),
        };
        // What runs here is a part of what the household takes already, so that anything above is enough for it.
        let runs_here = *device == self.me && self.room().0 < self.config.capacity.slots;
        let enough = |outlook: &Outlook| {
            let needed = if runs_here { 1 } else { u32::from(outlook.slot_watts) };
            outlook.surplus_watts.is_none_or(|watts| watts >= needed)
        };
        let spare = self.outlook_of(device).is_none_or(enough);
        spare && place.is_none_or(|place| sun::shines(place, self.now.wall_ms))
    }
}

/// What the node remembers to have expected, and of when.
pub(crate) type ExpectedFor = Option<(u32, Option<EnergyClaim>, Option<u32>)>;

#[cfg(test)]
mod tests {
    use super::*;

    // spec: EN-5, EN-3
    #[test]
    fn thirty_days_are_kept_by_the_hour_and_gaps_are_closed() {
        let mut history = History::default();
        assert!(history.note(10 * HOUR_MS, 300) && !history.note(10 * HOUR_MS + 1, 310));
        assert!(history.note(13 * HOUR_MS, 100) && !history.note(12 * HOUR_MS, 5), "the clock went back");
        assert_eq!(history.values, [310, 310, 310, 100]);
        assert_eq!(history.path(13 * HOUR_MS, 100), [100; MAX_OUTLOOK], "too little to expect a change by");
        assert_eq!(history.low(), None);
        for hour in 14..2000 {
            history.note(hour * HOUR_MS, 100 + (hour % 24) as u16);
        }
        assert_eq!((history.values.len(), history.newest), (HISTORY, 1999));
        assert_eq!(history.low(), Some(107), "8 of 24 hours are lower, and 30 % are 7.2");
        let path = history.path(1999 * HOUR_MS, 107);
        assert_eq!((path.len(), path[0]), (MAX_OUTLOOK, 107));
        assert!((path[24].abs_diff(107)) <= 3, "the same hour of the next day: {}", path[24]);
        history.note(9000 * HOUR_MS, 50);
        assert_eq!(history.values, [50], "nothing is known of the time between");
    }
}
