//! Takes up changes of the settings while the peer runs, as far as that can be, and says what has to wait for a restart.
// spec: CLI-7

use super::driver::Arrival;
use super::situation::Wanted;
use crate::commands::cores;
use crate::config::{Config, Loader, Shown};
use crate::energy;
use crate::meter::{Place, whole_watts};
use mesh_node::{Capacity, Input};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// How often it is looked whether a file has changed: a person who saves one looks up about as soon.
const EVERY: Duration = Duration::from_secs(1);

/// What takes changes up.
pub(super) struct TakeUp {
    pub(super) wanted: Wanted,
    pub(super) energy: energy::Watch,
    pub(super) arrivals: mpsc::Sender<Arrival>,
    /// Memory for all tasks together, as it was set when the peer started.
    pub(super) memory: u64,
    /// What a task draws here.
    pub(super) place: Place,
}

impl TakeUp {
    /// Hands on what differs. False if nobody is there any more.
    fn take(&self, old: &Config, new: &Config) -> bool {
        let (before, now) = (&old.settings, &new.settings);
        let tell = |input: Input| self.arrivals.blocking_send(input.into()).is_ok();
        if let Ok(terms) = now.terms() {
            self.wanted.set(terms, now.timezone.clone());
        }
        if before.energy() != now.energy() {
            self.energy.set(now.energy());
        }
        let mut there = true;
        if before.accepts != now.accepts {
            there &= tell(Input::Accepts(now.accepts.clone()));
        }
        if (before.slots, before.longest_ms) != (now.slots, now.longest_ms) {
            let slots = now.slots.unwrap_or_else(cores);
            let (memory, longest_ms) = (self.memory, now.longest_ms);
            there &= tell(Input::Capacity(Capacity { slots, memory, longest_ms }));
            // Of fewer at once, each has a larger part of the processor.
            // spec: PLACE-1, SLA-4
            let watts = self.place.watts_per_slot(slots);
            self.energy.draws(watts);
            there &= tell(Input::SlotWatts(whole_watts(watts)));
        }
        there
    }
}

/// Looks again and again whether the files have changed.
pub(super) fn watch(
    loader: Loader,
    config: Config,
    shown: Arc<Mutex<Vec<Shown>>>,
    take_up: TakeUp,
) -> std::io::Result<()> {
    show(&shown, &config, &config);
    let mut runs = config;
    let mut stamps = loader.stamps();
    let work = move || {
        loop {
            std::thread::sleep(EVERY);
            if take_up.arrivals.is_closed() {
                return;
            }
            let now = loader.stamps();
            if now == stamps {
                continue;
            }
            stamps = now;
            match loader.load() {
                Ok(read) => {
                    let (new, wait) = runs.taking_up(&read);
                    if !wait.is_empty() {
                        let keys = wait.join(", ");
                        tracing::warn!(keys, "the settings have changed; these take effect after a restart");
                    }
                    if !take_up.take(&runs, &new) {
                        return;
                    }
                    show(&shown, &new, &read);
                    runs = new;
                }
                // What runs goes on; a file that is half written is right at the next look.
                Err(why) => {
                    tracing::warn!(%why, "the settings have changed, and cannot be read; those before hold")
                }
            }
        }
    };
    std::thread::Builder::new().name("settings".into()).spawn(work).map(|_| ())
}

/// What runs, and what the files say beyond that.
fn show(shown: &Mutex<Vec<Shown>>, runs: &Config, read: &Config) {
    let mut list = runs.shown();
    for (now, then) in list.iter_mut().zip(read.shown()) {
        now.after_restart = (now.value != then.value).then_some(then.value);
    }
    *shown.lock().unwrap_or_else(PoisonError::into_inner) = list;
}
