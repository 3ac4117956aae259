//! What energy this device has now: read from where its owner says, and handed to the node whenever it changes.
//!
//! A source that fails degrades with a reason: its last good value while that is valid, then "unknown", which counts as
//! dirty.
// spec: EN-1, EN-3

mod command;
mod trace;

pub(crate) use command::Asked;
pub(crate) use trace::{Trace, claim};

use mesh_node::Input;
use mesh_protocol::ad::EnergyClaim;
use mesh_protocol::energy::Reading as Told;
use std::time::Duration;
use tokio::sync::mpsc;

use crate::up::Arrival;

/// A trace played fast changes often; more often than this nobody could act on it.
const SHORTEST: Duration = Duration::from_millis(100);
/// Between two looks at a source that does not say when it changes. 60 s: feeds change every five minutes or slower.
const USUAL: Duration = Duration::from_secs(60);

/// A value and how long it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    /// What the energy is.
    pub(crate) claim: EnergyClaim,
    /// Until then, in milliseconds since 1970.
    pub(crate) valid_until_ms: u64,
}

/// Where readings come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// The owner's word, for as long as this peer runs.
    Fixed(EnergyClaim),
    /// A recorded trace, played.
    Trace(Trace),
    /// A program of the owner's.
    Command(Asked),
}

impl Source {
    /// Its name, as records show it.
    // spec: EN-2
    fn name(&self) -> &'static str {
        match self {
            Self::Fixed(_) => "fixed",
            Self::Trace(_) => "trace",
            Self::Command(_) => "command",
        }
    }

    fn read(&mut self, now_ms: u64) -> Result<Reading, String> {
        match self {
            Self::Fixed(claim) => Ok(Reading { claim: *claim, valid_until_ms: u64::MAX }),
            Self::Trace(trace) => trace.read(now_ms),
            Self::Command(asked) => asked.read(now_ms),
        }
    }
}

/// What is known of a source, and what is told of it.
#[derive(Debug, Default)]
struct Watched {
    last: Option<Reading>,
    told: Option<Option<EnergyClaim>>,
    /// Why there is nothing new, so that it is said once.
    trouble: Option<String>,
}

impl Watched {
    /// Takes what the source gave, and gives what is to be told, if that is news.
    // spec: EN-3
    fn take(&mut self, read: Result<Reading, String>, now_ms: u64) -> Option<Option<EnergyClaim>> {
        match read {
            Ok(reading) => {
                if let Some(trouble) = self.trouble.take() {
                    tracing::info!(after = trouble, "the energy is known again");
                }
                self.last = Some(reading);
            }
            Err(why) => {
                if self.trouble.as_ref() != Some(&why) {
                    tracing::warn!(
                        why,
                        "the energy could not be read; the last value is used while it is valid"
                    );
                }
                self.trouble = Some(why);
            }
        }
        let now = self.last.as_ref().filter(|last| now_ms < last.valid_until_ms).map(|last| last.claim);
        (self.told.replace(now) != Some(now)).then_some(now)
    }

    /// When to look again.
    fn next(&self, now_ms: u64) -> Duration {
        let change = self
            .last
            .as_ref()
            .filter(|last| now_ms < last.valid_until_ms)
            .map(|last| Duration::from_millis(last.valid_until_ms.saturating_sub(now_ms)));
        change.unwrap_or(USUAL).clamp(SHORTEST, USUAL)
    }
}

pub(crate) fn now_ms() -> u64 {
    crate::up::now().wall_ms
}

/// Reads the source again and again, and tells the node what changes, until the node is gone.
pub(crate) fn watch(mut source: Source, arrivals: mpsc::Sender<Arrival>) -> std::io::Result<()> {
    let origin = source.name();
    let work = move || {
        let mut watched = Watched::default();
        loop {
            let now = now_ms();
            let read = source.read(now);
            if let Some(news) = watched.take(read, now)
                && arrivals
                    .blocking_send(Input::Energy(news.map(|claim| Box::new(Told::of(claim, origin)))).into())
                    .is_err()
            {
                return;
            }
            std::thread::sleep(watched.next(now_ms()));
            if arrivals.is_closed() {
                return;
            }
        }
    };
    // A thread of its own: a command may take seconds to answer.
    std::thread::Builder::new().name("energy".into()).spawn(work).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::ad;

    fn reading(g_per_kwh: u16, valid_until_ms: u64) -> Reading {
        let claim = EnergyClaim { source: ad::Source::Grid, renewable_percent: 50, g_per_kwh };
        Reading { claim, valid_until_ms }
    }

    // spec: EN-3
    #[test]
    fn a_source_that_fails_degrades_and_is_known_again() {
        let mut watched = Watched::default();
        let grams = |told: Option<Option<EnergyClaim>>| told.map(|claim| claim.map(|claim| claim.g_per_kwh));
        assert_eq!(
            grams(watched.take(Err("no feed".into()), 0)),
            Some(None),
            "unknown from the start is said"
        );
        assert_eq!(grams(watched.take(Ok(reading(300, 100)), 1)), Some(Some(300)));
        assert_eq!(grams(watched.take(Ok(reading(300, 200)), 2)), None, "the same is no news");
        assert_eq!(grams(watched.take(Err("no feed".into()), 150)), None, "the last good value holds");
        assert_eq!(grams(watched.take(Err("no feed".into()), 200)), Some(None), "and then it does not");
        assert_eq!(grams(watched.take(Ok(reading(80, 400)), 201)), Some(Some(80)));
        assert_eq!(watched.next(300), SHORTEST.max(Duration::from_millis(100)));
        assert_eq!(watched.next(500), USUAL);
    }
}
