//! What do all sources together say, how good is that, and what of it is news?
// spec: EN-1, EN-2, EN-3, EN-4, EN-6

use super::observed::{Ahead, Field, Observation, Signal, by_hour};
use super::settings::{Setting, Settings};
use super::{Look, Remembered, Start};
use mesh_policies::battery::{Inventory, ROUND_TRIP_PERCENT};
use mesh_policies::feed::{Feed, Quantity, Told as Number};
use mesh_policies::supply::{Basis, Cells, Grid, Mixed, Supply};
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::energy::{Attestation, Kind, Reading};
use mesh_protocol::factors::Factors;
use mesh_protocol::key::PublicKey;
use mesh_protocol::text::sanitise;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Watt hours that a battery counts with which has never said what it holds: what its energy is does not depend on it.
const SOME_WH: f64 = 100.0;
/// What the owner's word is called in records.
const FIXED: &str = "fixed";

/// News of the energy.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    /// What it is; none if nothing is known.
    pub(crate) reading: Option<Reading>,
    /// Since when it is so by its source's own word, in milliseconds since 1970; none if that is now, or nobody says.
    pub(crate) at_ms: Option<u64>,
    /// The hour that is now, since 1970, and what a source expects of it and those after it in g/kWh, if one does.
    pub(crate) forecast: Option<(u64, Vec<u16>)>,
}

/// What is known, for those who ask.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report(Arc<Mutex<View>>);

impl Report {
    /// All of it.
    pub(crate) fn view(&self) -> View {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Watts of own generation that the household does not take.
    pub(crate) fn surplus(&self) -> Option<i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).surplus_watts
    }

    fn set(&self, view: View) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = view;
    }
}

/// What is known, as it is shown.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct View {
    /// What it is now.
    energy: Option<Now>,
    /// Own generation beyond the household's use, in watts.
    surplus_watts: Option<i64>,
    /// Is this device on mains, as far as a source tells?
    on_mains: Option<bool>,
    /// What a battery holds, and of what.
    battery: Option<Stored>,
    /// A marginal signal, beside; it decides nothing.
    marginal_g_per_kwh: Option<f64>,
    /// Why it is not as good as it could be.
    degraded: Vec<String>,
    /// Where it is read.
    sources: Vec<SourceView>,
}

/// What it is now.
#[derive(Debug, Clone, Serialize)]
struct Now {
    source: Source,
    renewable_percent: u8,
    g_per_kwh: u16,
    scope: mesh_protocol::energy::Scope,
    kind: Kind,
    estimated: bool,
    origin: String,
    zone: String,
    /// The meter whose signature holds for it.
    attested_by: Option<PublicKey>,
    /// Whence it follows.
    basis: &'static str,
    /// Until when it holds, if it ends.
    valid_until_ms: Option<u64>,
}

/// What a battery holds.
#[derive(Debug, Clone, Serialize)]
struct Stored {
    percent: f64,
    wh: Option<f64>,
    watts: Option<f64>,
    /// What its energy is by what it was charged with.
    g_per_kwh: Option<u16>,
    renewable_percent: Option<u8>,
    floor_percent: u8,
}

/// A source, as it is shown.
#[derive(Debug, Clone, Serialize)]
struct SourceView {
    name: String,
    kind: &'static str,
    place: String,
    /// What it told last that could be, by field.
    values: BTreeMap<&'static str, f64>,
    zone: Option<String>,
    signal: Kind,
    scope: mesh_protocol::energy::Scope,
    estimated: bool,
    /// When it was last heard with something good.
    good_ms: Option<u64>,
    /// Until when that holds.
    valid_until_ms: Option<u64>,
    /// When it is looked at next.
    next_ms: Option<u64>,
    /// What is the matter with it.
    trouble: Option<String>,
    /// Hours for which it has a forecast.
    forecast_hours: u64,
}

/// What one source has told.
#[derive(Debug, Default)]
struct Slot {
    feeds: BTreeMap<Field, Feed>,
    outright: Option<(EnergyClaim, u64)>,
    outright_feed: Feed,
    zone: Option<String>,
    estimated: bool,
    signal: Signal,
    on_mains: Option<(bool, u64)>,
    ahead: Vec<Ahead>,
    attestation: Option<Attestation>,
    trouble: Option<String>,
    heard: bool,
    good_ms: Option<u64>,
    next_ms: Option<u64>,
}

impl Slot {
    fn new(setting: &Setting, remembered: &Remembered) -> Self {
        let mut slot = Self { signal: setting.signal, ..Self::default() };
        for field in Field::ALL {
            let name = format!("{} {}", setting.name, field.name());
            if let Some((_, peaks)) = remembered.peaks.iter().find(|(key, _)| *key == name) {
                slot.feeds.entry(field).or_default().peaks = peaks.clone();
            }
        }
        slot
    }

    fn now(&self, field: Field, now_ms: u64) -> Option<f64> {
        self.feeds.get(&field)?.now(now_ms)
    }

    /// Since when what it told of a field is so.
    fn at(&self, field: Field) -> Option<u64> {
        self.feeds.get(&field)?.last()?.at_ms
    }

    fn valid_until(&self, now_ms: u64) -> Option<u64> {
        let feeds = self.feeds.values().filter_map(|feed| feed.last().map(|last| last.until_ms));
        let rest =
            self.outright.map(|(_, until)| until).into_iter().chain(self.on_mains.map(|(_, until)| until));
        feeds.chain(rest).filter(|until| *until > now_ms).min()
    }

    /// Takes what could be of a look, and gives what could not.
    // spec: EN-2, EN-3
    fn take(&mut self, seen: Observation, setting: &Setting, at_ms: u64) -> Vec<String> {
        let mut faults: Vec<String> =
            seen.missing.iter().map(|(field, why)| format!("{}: {why}", field.name())).collect();
        let holds = u64::try_from(setting.holds.as_millis()).unwrap_or(u64::MAX);
        let until_ms = seen.until_ms.unwrap_or_else(|| seen.at_ms.unwrap_or(at_ms).saturating_add(holds));
        self.signal = seen.signal.unwrap_or(setting.signal);
        for (field, value) in seen.values {
            let number = Number { value, at_ms: seen.at_ms, until_ms };
            let feed = self.feeds.entry(field).or_default();
            if let Err(fault) = feed.take(number, field.quantity(self.signal), setting.constant, at_ms) {
                faults.push(format!("{}: {fault}", field.name()));
            }
        }
        if let Some(claim) = seen.outright {
            let number = Number { value: f64::from(claim.g_per_kwh), at_ms: seen.at_ms, until_ms };
            // Its grams are of a source, not of a grid: they may stand still, and be as few as they like.
            match self.outright_feed.take(number, Quantity::Intensity, true, at_ms) {
                Ok(()) => self.outright = Some((claim, until_ms)),
                Err(fault) => faults.push(format!("{}: {fault}", Field::Grams.name())),
            }
        }
        if let Some(on_mains) = seen.on_mains {
            self.on_mains = Some((on_mains, until_ms));
        }
        if !seen.ahead.is_empty() {
            let fits = |ahead: &Ahead| (0.0..=2000.0).contains(&ahead.g_per_kwh);
            self.ahead = seen.ahead.into_iter().filter(fits).collect();
        }
        self.zone = seen.zone.map(|zone| short(&zone)).or_else(|| self.zone.take());
        (self.estimated, self.attestation) = (seen.estimated, seen.attestation);
        if faults.is_empty() {
            self.good_ms = Some(at_ms);
        }
        faults
    }
}

/// A stranger's word, plain and short enough for a record.
fn short(text: &str) -> String {
    let mut text = sanitise(text, false);
    text.truncate(text.floor_char_boundary(mesh_protocol::energy::MAX_WORD));
    text
}

/// What all sources told, and what was made of it.
pub(super) struct Mixer {
    settings: Settings,
    place: Option<(i16, i16)>,
    /// Watts of one task.
    pub(super) task_watts: f64,
    busy: Box<dyn Fn() -> bool + Send>,
    slots: Vec<Slot>,
    battery: Option<Inventory>,
    /// Watt hours that it holds when it is full, as it was told last.
    capacity_wh: Option<f64>,
    /// Until when the gauge's last word on it holds.
    gauged_until: Option<u64>,
    remembered: Remembered,
    said: Option<Told>,
    report: Report,
}

impl Mixer {
    pub(super) fn new(start: Start, remembered: Remembered) -> Self {
        let mut mixer = Self {
            settings: Settings::default(),
            place: start.place,
            task_watts: start.task_watts,
            busy: start.busy,
            slots: Vec::new(),
            battery: remembered.battery,
            // The file is anybody's who can write there.
            capacity_wh: remembered.capacity_wh.filter(|wh| wh.is_finite() && *wh > 0.0),
            gauged_until: None,
            remembered,
            said: None,
            report: start.report,
        };
        mixer.set(start.settings);
        mixer
    }

    /// From now on these are read. What was known of a source that stays as it is remains known.
    // spec: CLI-7
    pub(super) fn set(&mut self, settings: Settings) {
        let mut old: Vec<_> = self.settings.sources.drain(..).zip(self.slots.drain(..)).collect();
        let slot = |setting: &Setting| match old.iter().position(|(before, _)| before == setting) {
            Some(at) => Slot { heard: false, ..old.swap_remove(at).1 },
            None => Slot::new(setting, &self.remembered),
        };
        self.slots = settings.sources.iter().map(slot).collect();
        self.settings = settings;
    }

    /// From which it is read.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Was each source heard once?
    pub(super) fn is_complete(&self) -> bool {
        self.slots.iter().all(|slot| slot.heard)
    }

    pub(super) fn saw(&mut self, look: Look) {
        let (Some(slot), Some(setting)) =
            (self.slots.get_mut(look.source), self.settings.sources.get(look.source))
        else {
            return;
        };
        (slot.heard, slot.next_ms) = (true, Some(look.next_ms));
        let trouble = match look.seen {
            Ok(seen) => {
                let faults = slot.take(seen, setting, look.at_ms);
                (!faults.is_empty()).then(|| faults.join("; "))
            }
            Err(trouble) => Some(trouble.why),
        };
        let trouble = trouble.map(|why| sanitise(&why, false));
        match (&trouble, &slot.trouble) {
            (Some(why), None) => tracing::warn!(
                source = setting.name,
                why,
                "the energy could not be read; the last value is used while it is valid"
            ),
            (Some(why), Some(before)) if why != before => {
                tracing::info!(source = setting.name, why, "the energy still cannot be read");
            }
            (None, Some(after)) => {
                tracing::info!(source = setting.name, after, "the energy is known again");
            }
            _ => {}
        }
        slot.trouble = trouble;
    }

    /// The first source that tells a field now.
    fn pick(&self, field: Field, now_ms: u64) -> Option<(f64, usize)> {
        let mut slots = self.slots.iter().enumerate();
        slots.find_map(|(at, slot)| Some((slot.now(field, now_ms)?, at)))
    }

    fn grams(&self, kind: Kind, now_ms: u64) -> Option<(f64, usize)> {
        let of_kind = |(_, slot): &(usize, &Slot)| slot.signal.kind == kind;
        let mut slots = self.slots.iter().enumerate().filter(of_kind);
        slots.find_map(|(at, slot)| Some((slot.now(Field::Grams, now_ms)?, at)))
    }

    /// What a source had forecast for now, once it tells no more.
    // spec: EN-3
    fn forecast(&self, now_ms: u64) -> Option<(f64, usize)> {
        let of_kind = |(_, slot): &(usize, &Slot)| slot.signal.kind == Kind::Average;
        let now = |ahead: &&Ahead| (ahead.from_ms..ahead.until_ms).contains(&now_ms);
        let mut slots = self.slots.iter().enumerate().filter(of_kind);
        slots.find_map(|(at, slot)| Some((slot.ahead.iter().find(now)?.g_per_kwh, at)))
    }

    /// What everything is now, and what is news of it.
    pub(super) fn mix(&mut self, now_ms: u64) -> Option<Told> {
        let factors = Factors::default();
        let mut degraded = Vec::new();
        let told = self.grams(Kind::Average, now_ms);
        let forecast = if told.is_none() { self.forecast(now_ms) } else { None };
        if let Some((_, at)) = forecast {
            degraded.push(format!("{}: what it had forecast for now is used", self.name(at)));
        }
        let grams = told.or(forecast);
        let renewable = self.pick(Field::Renewable, now_ms);
        let signal = grams.map(|(_, at)| self.slots[at].signal).unwrap_or_default();
        let estimated = forecast.is_some()
            || [grams, renewable].iter().flatten().any(|(_, at)| self.slots[*at].estimated);
        let grid = Grid {
            g_per_kwh: grams.map(|(grams, _)| grams),
            renewable_percent: renewable.map(|(percent, _)| percent),
            scope: signal.scope,
            kind: Kind::Average,
            estimated,
        };
        let outright = self.slots.iter().enumerate().find_map(|(at, slot)| {
            slot.outright.filter(|(_, until)| now_ms < *until).map(|(claim, _)| (claim, at))
        });
        let outright_signal =
            outright.map(|(_, at)| (self.slots[at].estimated, self.slots[at].signal)).unwrap_or_default();
        let value = |field| self.pick(field, now_ms).map(|(value, _)| value);
        let on_mains = self
            .slots
            .iter()
            .find_map(|slot| slot.on_mains.filter(|(_, until)| now_ms < *until))
            .map(|it| it.0);
        let mut supply = Supply {
            word: self.settings.word,
            place: self.place,
            outright: outright.map(|(claim, _)| claim),
            outright_signal: (outright_signal.0, outright_signal.1.scope, outright_signal.1.kind),
            grid,
            zone_g_per_kwh: self.settings.zone_g_per_kwh,
            made: [value(Field::Solar), value(Field::Wind), value(Field::Hydro)],
            household_watts: value(Field::Household),
            surplus_watts: value(Field::Surplus),
            cells: Cells::default(),
            on_mains,
        };
        if let (Some(watts), Some((_, at))) = (supply.sun_by_night(now_ms), self.pick(Field::Solar, now_ms)) {
            let name = self.name(at);
            degraded.push(format!(
                "{name}: it tells of {watts} W of sun, which is down here; that counts as none"
            ));
        }
        let cells = self.store(&supply, now_ms, factors);
        supply.cells = cells;
        // A task that runs is in the household's load already.
        let needed = if (self.busy)() { 0.0 } else { self.task_watts };
        let mixed = supply.mix(needed, now_ms, factors);
        self.degradation(&mut degraded, mixed.as_ref(), now_ms);
        let reading = mixed.map(|mixed| self.reading(&mixed, grams.or(renewable), outright, now_ms));
        // Feeds are hours late, and what they tell is of then. What is one's own is of now.
        // spec: EN-5
        let at_ms = match mixed.map(|mixed| mixed.basis) {
            Some(Basis::Grid) if grams.is_some() => told.and_then(|(_, at)| self.slots[at].at(Field::Grams)),
            Some(Basis::Grid) => renewable.and_then(|(_, at)| self.slots[at].at(Field::Renewable)),
            Some(Basis::Outright) => outright.and_then(|(_, at)| self.slots[at].outright_feed.last()?.at_ms),
            _ => None,
        };
        let forecast = match mixed.map(|mixed| mixed.basis) {
            // A forecast is of the grid. Of what is one's own it says nothing.
            None | Some(Basis::Grid | Basis::AnyGrid | Basis::Outright) => {
                let mut slots = self.slots.iter().filter(|slot| slot.signal.kind == Kind::Average);
                let told = slots.find(|slot| !slot.ahead.is_empty());
                told.map(|slot| by_hour(&slot.ahead, now_ms)).filter(|(_, hours)| !hours.is_empty())
            }
            Some(_) => None,
        };
        self.show(&supply, reading.as_ref(), mixed.as_ref(), degraded, now_ms);
        let told = Told { reading, at_ms, forecast };
        (self.said.as_ref() != Some(&told)).then(|| self.said.insert(told).clone())
    }

    fn name(&self, at: usize) -> &str {
        self.settings.sources.get(at).map_or(FIXED, |setting| &setting.name)
    }

    /// Keeps account of what a battery holds.
    // spec: EN-4
    fn store(&mut self, supply: &Supply, now_ms: u64, factors: Factors) -> Cells {
        let value = |field| self.pick(field, now_ms).map(|(value, _)| value);
        let (charge, watts) = (value(Field::Charge), value(Field::Battery));
        let told = value(Field::Capacity).filter(|wh| *wh > 0.0);
        // What holds more or less than was thought has the same in it.
        let before = self.capacity_wh.unwrap_or(SOME_WH);
        self.capacity_wh = told.or(self.capacity_wh);
        let capacity = self.capacity_wh.unwrap_or(SOME_WH);
        if let Some(battery) = self.battery.as_mut().filter(|_| capacity != before) {
            battery.measured_anew((battery.stored_mwh() as f64 * (capacity / before)).round() as u64);
        }
        if let Some(percent) = charge {
            let stored = (percent / 100.0 * capacity * 1000.0).round() as u64;
            let trip = self.settings.round_trip_percent.unwrap_or(ROUND_TRIP_PERCENT);
            // What it was charged with while nobody looked is not what the energy is now.
            let seen = self.gauged_until.is_some_and(|until| now_ms <= until);
            let mixed = seen.then(|| supply.mix(0.0, now_ms, factors)).flatten();
            let charged_of = mixed.map(|mixed| mixed.claim);
            self.gauged_until = self
                .pick(Field::Charge, now_ms)
                .and_then(|(_, at)| Some(self.slots[at].feeds.get(&Field::Charge)?.last()?.until_ms));
            match &mut self.battery {
                Some(battery) => drop(battery.gauge(stored, charged_of.as_ref(), trip, factors)),
                None => self.battery = Some(Inventory::unknown(stored, factors)),
            }
        }
        Cells {
            mix: charge.and(self.battery.as_ref()).and_then(Inventory::claim),
            charge_percent: charge,
            watts,
            floor_percent: self.settings.battery_floor,
        }
    }

    fn degradation(&self, degraded: &mut Vec<String>, mixed: Option<&Mixed>, now_ms: u64) {
        for (slot, setting) in self.slots.iter().zip(&self.settings.sources) {
            let Some(trouble) = &slot.trouble else { continue };
            let meanwhile = match slot.valid_until(now_ms) {
                Some(until) => {
                    let minutes = (until - now_ms).div_ceil(60_000);
                    format!("; what it told before holds for {minutes} min")
                }
                None => String::new(),
            };
            degraded.push(format!("{}: {trouble}{meanwhile}", setting.name));
        }
        match (mixed.map(|mixed| mixed.basis), self.settings.word.map(|word| word.source)) {
            (Some(Basis::Word), Some(Source::Solar)) if self.place.is_none() => degraded.push(
                "nobody said where this device is, so its sun counts by night, too: set location".into(),
            ),
            (Some(Basis::AnyGrid), Some(Source::Solar)) => {
                degraded.push("there is no sun now, and no source tells of the grid".into());
            }
            (None, _) if !self.settings.sources.is_empty() || self.settings.word.is_some() => {
                degraded.push("nothing is known now, which counts as dirty".into());
            }
            (None, _) => {
                degraded.push("nobody said where its energy comes from: set [energy] in mesh.toml".into())
            }
            _ => {}
        }
    }

    fn reading(
        &self,
        mixed: &Mixed,
        grid: Option<(f64, usize)>,
        outright: Option<(EnergyClaim, usize)>,
        now_ms: u64,
    ) -> Reading {
        let of =
            |fields: &[Field]| fields.iter().find_map(|field| self.pick(*field, now_ms)).map(|(_, at)| at);
        let at = match mixed.basis {
            Basis::Surplus => of(&[Field::Surplus, Field::Solar, Field::Wind, Field::Hydro]),
            Basis::Battery => of(&[Field::Charge]),
            Basis::Outright => outright.map(|(_, at)| at),
            Basis::Grid => grid.map(|(_, at)| at),
            Basis::Word | Basis::AnyGrid => None,
        };
        let slot = at.and_then(|at| self.slots.get(at));
        let mut reading = Reading {
            claim: mixed.claim,
            scope: mixed.scope,
            kind: mixed.kind,
            estimated: mixed.estimated,
            origin: short(at.map_or(FIXED, |at| self.name(at))),
            zone: slot.and_then(|slot| slot.zone.clone()).unwrap_or_default(),
            attestation: slot.and_then(|slot| slot.attestation.clone()),
        };
        // A meter's word is for what it saw. What was mixed of more is not that.
        // spec: EN-6
        if reading.attested_by(now_ms, now_ms).is_none() {
            reading.attestation = None;
        }
        reading
    }

    fn show(
        &self,
        supply: &Supply,
        reading: Option<&Reading>,
        mixed: Option<&Mixed>,
        degraded: Vec<String>,
        now_ms: u64,
    ) {
        let basis = mixed.map_or("", |mixed| match mixed.basis {
            Basis::Surplus => "surplus",
            Basis::Battery => "battery",
            Basis::Outright => "source",
            Basis::Word => "fixed",
            Basis::Grid => "grid",
            Basis::AnyGrid => "any grid",
        });
        let from = |reading: &Reading| self.settings.sources.iter().position(|it| it.name == reading.origin);
        let energy = reading.map(|reading| Now {
            source: reading.claim.source,
            renewable_percent: reading.claim.renewable_percent,
            g_per_kwh: reading.claim.g_per_kwh,
            scope: reading.scope,
            kind: reading.kind,
            estimated: reading.estimated,
            origin: reading.origin.clone(),
            zone: reading.zone.clone(),
            attested_by: reading.attested_by(now_ms, now_ms),
            basis,
            valid_until_ms: from(reading).and_then(|at| self.slots[at].valid_until(now_ms)),
        });
        let battery = supply.cells.charge_percent.map(|percent| Stored {
            percent,
            wh: self.pick(Field::Capacity, now_ms).map(|(wh, _)| wh),
            watts: supply.cells.watts,
            g_per_kwh: supply.cells.mix.map(|mix| mix.g_per_kwh),
            renewable_percent: supply.cells.mix.map(|mix| mix.renewable_percent),
            floor_percent: supply.cells.floor_percent,
        });
        let source = |(slot, setting): (&Slot, &Setting)| SourceView {
            name: setting.name.clone(),
            kind: setting.kind.word(),
            place: setting.kind.place(),
            values: slot
                .feeds
                .iter()
                .filter_map(|(field, feed)| Some((field.name(), feed.last()?.value)))
                .chain(slot.outright.iter().flat_map(|(claim, _)| {
                    let grams = (Field::Grams.name(), f64::from(claim.g_per_kwh));
                    [grams, (Field::Renewable.name(), f64::from(claim.renewable_percent))]
                }))
                .collect(),
            zone: slot.zone.clone(),
            signal: slot.signal.kind,
            scope: slot.signal.scope,
            estimated: slot.estimated,
            good_ms: slot.good_ms,
            valid_until_ms: slot.valid_until(now_ms),
            next_ms: slot.next_ms,
            trouble: slot.trouble.clone(),
            forecast_hours: slot
                .ahead
                .iter()
                .map(|ahead| ahead.until_ms.saturating_sub(now_ms) / 3_600_000)
                .max()
                .unwrap_or(0),
        };
        self.report.set(View {
            energy,
            surplus_watts: supply.surplus().map(|watts| watts.round() as i64),
            on_mains: supply.on_mains,
            battery,
            marginal_g_per_kwh: self.grams(Kind::Marginal, now_ms).map(|(grams, _)| grams),
            degraded,
            sources: self.slots.iter().zip(&self.settings.sources).map(source).collect(),
        });
    }

    /// What is to be remembered over a restart, if there is anything new.
    pub(super) fn remember(&mut self) -> Option<&Remembered> {
        let mut peaks = Vec::new();
        for (slot, setting) in self.slots.iter().zip(&self.settings.sources) {
            for (field, feed) in slot.feeds.iter().filter(|(_, feed)| feed.last().is_some()) {
                peaks.push((format!("{} {}", setting.name, field.name()), feed.peaks.clone()));
            }
        }
        let cells = (self.battery, self.capacity_wh);
        let new =
            peaks != self.remembered.peaks || cells != (self.remembered.battery, self.remembered.capacity_wh);
        new.then(|| {
            self.remembered.peaks = peaks;
            (self.remembered.battery, self.remembered.capacity_wh) = cells;
            &self.remembered
        })
    }

    /// How long what is known now stays as it is.
    pub(super) fn next(&self, now_ms: u64) -> Duration {
        let until = self.slots.iter().filter_map(|slot| slot.valid_until(now_ms)).min();
        let ahead = self.slots.iter().flat_map(|slot| &slot.ahead).map(|ahead| ahead.until_ms);
        let next = until.into_iter().chain(ahead.filter(|until| *until > now_ms)).min();
        next.map_or(super::USUAL, |next| Duration::from_millis(next - now_ms))
    }
}
