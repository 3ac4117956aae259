//! What energy this device has now: read from where its owner says, mixed, and handed to the node whenever it changes.
//!
//! Each source has a thread, which looks and waits; one more thread holds what they told against what can be, mixes it,
//! and tells what came of it. A source that fails degrades with a reason: its last good value while that is valid, then
//! what it had forecast, then "unknown", which counts as dirty. None of them holds up anything else.
// spec: EN-1, EN-3

mod command;
mod fields;
mod gb;
mod http;
mod mixer;
mod observed;
mod power;
mod sdk;
mod settings;
mod trace;
mod units;

#[cfg(test)]
mod tests;

pub(crate) use command::Asked;
pub(crate) use mixer::{Report, Told};
pub(crate) use power::{FOLDER as SUPPLIES, mains_and_charge};
pub(crate) use settings::{MAX_SOURCES, Setting, Settings, Which, setting, truth};
pub(crate) use trace::{Trace, claim};

use mixer::Mixer;
use observed::{Observation, Trouble};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

/// A trace played fast changes often; more often than this nobody could act on it.
const SHORTEST: Duration = Duration::from_millis(100);
/// Between two looks at a source that does not say when it changes, and between two thoughts about what is known. 60 s:
/// feeds change every five minutes or slower, and the sun moves a quarter of a degree.
const USUAL: Duration = Duration::from_secs(60);
/// Longest wait after looks that failed.
const LONGEST: Duration = Duration::from_secs(1800);
/// How long all sources have to be heard once, before what some of them told counts as all there is.
const FIRST: Duration = Duration::from_secs(3);
/// Looks that wait to be thought about: a few of each source.
const MAX_LOOKS: usize = 4 * MAX_SOURCES;

pub(crate) fn now_ms() -> u64 {
    crate::up::now().wall_ms
}

/// What a source told at a look.
struct Look {
    /// Which, and of which settings: what of earlier ones is still on its way is none of these.
    source: usize,
    round: u64,
    seen: Result<Observation, Trouble>,
    at_ms: u64,
    next_ms: u64,
}

enum Word {
    Seen(Box<Look>),
    /// From now on it is read from elsewhere.
    Settings(Box<Settings>),
    /// From now on a task draws so many watts.
    Draws(f64),
}

/// How the reading of energy is told of a change.
#[derive(Debug, Clone)]
pub(crate) struct Watch(SyncSender<Word>);

impl Watch {
    /// From now on, read from here.
    pub(crate) fn set(&self, settings: Settings) {
        let _gone_with_the_node = self.0.send(Word::Settings(Box::new(settings)));
    }

    /// From now on, a task draws so many watts.
    pub(crate) fn draws(&self, task_watts: f64) {
        let _gone_with_the_node = self.0.send(Word::Draws(task_watts));
    }
}

/// What is remembered from one start to the next: what a battery holds, and what was the most of a year.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Remembered {
    battery: Option<mesh_policies::battery::Inventory>,
    /// Watt hours that it holds when it is full, as it was told last.
    capacity_wh: Option<f64>,
    /// By source and field.
    peaks: Vec<(String, mesh_policies::feed::Peaks)>,
}

impl Remembered {
    fn read(path: &Path) -> Self {
        let text = std::fs::read(path).unwrap_or_default();
        // A file that cannot be read costs a week of plausibility and a battery's past; nothing is held up for it.
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn write(&self, path: &Path) {
        let next = path.with_extension("next");
        let written = serde_json::to_vec(self)
            .map_err(std::io::Error::other)
            .and_then(|bytes| std::fs::write(&next, bytes))
            .and_then(|()| std::fs::rename(&next, path));
        if let Err(error) = written {
            tracing::debug!(%error, "what is remembered of the energy could not be written");
        }
    }
}

/// What the thread that mixes is given.
pub(crate) struct Start {
    pub(crate) settings: Settings,
    pub(crate) place: Option<(i16, i16)>,
    /// Watts of one task.
    pub(crate) task_watts: f64,
    /// Where it is remembered what a battery holds.
    pub(crate) memory: PathBuf,
    /// Does a task compute now? Its power is then a part of what the household takes.
    pub(crate) busy: Box<dyn Fn() -> bool + Send>,
    /// What is known, for those who ask.
    pub(crate) report: Report,
}

/// Reads the sources again and again and says what changes, until `tell` says that nobody listens.
pub(crate) fn watch(start: Start, tell: impl FnMut(Told) -> bool + Send + 'static) -> std::io::Result<Watch> {
    let (words, heard) = sync_channel(MAX_LOOKS);
    let watch = Watch(words.clone());
    std::thread::Builder::new().name("energy".into()).spawn(move || think(start, words, &heard, tell))?;
    Ok(watch)
}

/// What the energy is before any source was heard: the owner's word.
pub(crate) fn at_once(
    settings: &Settings,
    place: Option<(i16, i16)>,
    now_ms: u64,
) -> Option<mesh_protocol::ad::EnergyClaim> {
    let supply = mesh_policies::supply::Supply {
        word: settings.word,
        place,
        zone_g_per_kwh: settings.zone_g_per_kwh,
        ..Default::default()
    };
    Some(supply.mix(0.0, now_ms, mesh_protocol::factors::Factors::default())?.claim)
}

/// The sources' threads; they end when this is dropped.
struct Looking(#[expect(dead_code, reason = "it is there to be dropped")] Vec<Sender<()>>);

fn look_at(settings: &Settings, round: u64, words: &SyncSender<Word>) -> Looking {
    let begin = |(source, setting): (usize, &Setting)| {
        let (stop, stopped) = channel();
        let (setting, words) = (setting.clone(), words.clone());
        let work = move || look_again(source, round, &setting, &words, &stopped);
        let name = format!("energy-{source}");
        match std::thread::Builder::new().name(name).spawn(work) {
            Ok(_) => Some(stop),
            Err(error) => {
                tracing::warn!(%error, "a source of energy cannot be read: it has no thread");
                None
            }
        }
    };
    Looking(settings.sources.iter().enumerate().filter_map(begin).collect())
}

fn look_again(
    source: usize,
    round: u64,
    setting: &Setting,
    words: &SyncSender<Word>,
    stopped: &Receiver<()>,
) {
    let mut from = setting.kind.source();
    let mut failed = 0u32;
    loop {
        let at_ms = now_ms();
        let seen = from.read(at_ms);
        failed = if seen.is_ok() { 0 } else { failed.saturating_add(1) };
        let wait = wait(&seen, setting, failed, now_ms());
        let next_ms = now_ms() + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX / 2);
        let look = Look { source, round, seen, at_ms, next_ms };
        if words.send(Word::Seen(Box::new(look))).is_err() {
            return;
        }
        match stopped.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// How long until the next look.
// spec: EN-3
fn wait(seen: &Result<Observation, Trouble>, setting: &Setting, failed: u32, now_ms: u64) -> Duration {
    let usual = setting.every.unwrap_or(USUAL);
    match seen {
        Ok(seen) => {
            let over = seen.until_ms.map(|until| Duration::from_millis(until.saturating_sub(now_ms)));
            let least = if setting.every.is_some() { Duration::from_secs(1) } else { SHORTEST };
            over.map_or(usual, |over| over.clamp(least, usual.max(least)))
        }
        // The first failure changes nothing, as it is mostly the line's; then it is left alone for longer each time.
        Err(trouble) => {
            let longer =
                usual.saturating_mul(1 << (failed.saturating_sub(1)).min(10)).min(LONGEST.max(usual));
            longer.max(trouble.rest.unwrap_or_default())
        }
    }
}

fn think(start: Start, words: SyncSender<Word>, heard: &Receiver<Word>, mut tell: impl FnMut(Told) -> bool) {
    let memory = start.memory.clone();
    let mut round = 0;
    let mut looking = look_at(&start.settings, round, &words);
    let mut mixer = Mixer::new(start, Remembered::read(&memory));
    let mut waiting = Some(std::time::Instant::now());
    loop {
        let complete = mixer.is_complete();
        if complete || waiting.is_some_and(|since| since.elapsed() >= FIRST) {
            waiting = None;
        }
        if waiting.is_none()
            && let Some(told) = mixer.mix(now_ms())
        {
            if let Some(remembered) = mixer.remember() {
                remembered.write(&memory);
            }
            if !tell(told) {
                return;
            }
        }
        let wait = if waiting.is_some() { FIRST } else { mixer.next(now_ms()).clamp(SHORTEST, USUAL) };
        match heard.recv_timeout(wait) {
            Ok(Word::Seen(look)) if look.round == round => mixer.saw(*look),
            Ok(Word::Seen(_)) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Word::Draws(task_watts)) => mixer.task_watts = task_watts,
            Ok(Word::Settings(mut settings)) => {
                settings.play_on(mixer.settings());
                // Those that look now end; what they still say is of an earlier round.
                round += 1;
                drop(looking);
                looking = look_at(&settings, round, &words);
                mixer.set(*settings);
                waiting = Some(std::time::Instant::now());
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
