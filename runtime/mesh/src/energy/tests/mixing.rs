//! From what sources tell to what is said of it.

use super::server::{Reply, Server, json};
use crate::energy::fields::{Http, Path, Paths};
use crate::energy::http::Asking;
use crate::energy::mixer::Mixer;
use crate::energy::observed::{Ahead, Field, Observation, Signal, Trouble};
use crate::energy::power::Supplies;
use crate::energy::{Look, Remembered, Report, Setting, Settings, Start, Told, Which, wait, watch};
use mesh_policies::supply::Word;
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::energy::{Kind, Reading, Scope};
use mesh_protocol::key::SecretKey;
use serde_json::json as value;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// 2026-06-21, ten in Greenwich.
const NOW: u64 = 1_782_036_000_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const BERLIN: (i16, i16) = (52, 13);

/// A source of which only its name matters here.
fn named(name: &str) -> Setting {
    let folder = std::path::PathBuf::from("/nowhere");
    let setting = Setting::of(Which::Supplies(Supplies { folder }));
    Setting { name: name.into(), holds: Duration::from_secs(600), ..setting }
}

fn settings(names: &[&str]) -> Settings {
    Settings { sources: names.iter().map(|name| named(name)).collect(), ..Settings::default() }
}

struct Rig {
    mixer: Mixer,
    report: Report,
    busy: Arc<AtomicBool>,
}

fn rig(settings: Settings) -> Rig {
    remembering(settings, Remembered::default())
}

fn remembering(settings: Settings, remembered: Remembered) -> Rig {
    let (report, busy) = (Report::default(), Arc::new(AtomicBool::new(false)));
    let runs = busy.clone();
    let start = Start {
        settings,
        place: Some(BERLIN),
        task_watts: 20.0,
        memory: "/nowhere".into(),
        busy: Box::new(move || runs.load(Ordering::Relaxed)),
        report: report.clone(),
    };
    Rig { mixer: Mixer::new(start, remembered), report, busy }
}

impl Rig {
    fn saw(&mut self, source: usize, seen: Result<Observation, Trouble>, at_ms: u64) {
        self.mixer.saw(Look { source, round: 0, seen, at_ms, next_ms: at_ms + MINUTE });
    }

    fn told(&mut self, source: usize, values: &[(Field, f64)], at_ms: u64) {
        let seen = Observation { values: values.to_vec(), ..Observation::default() };
        self.saw(source, Ok(seen), at_ms);
    }

    /// What the energy is, whether or not that is news.
    fn now(&mut self, now_ms: u64) -> Option<(Source, u8, u16, String)> {
        let _news = self.mixer.mix(now_ms);
        let view = serde_json::to_value(self.report.view()).unwrap();
        let energy = &view["energy"];
        let source = serde_json::from_value(energy["source"].clone()).ok()?;
        let number = |name: &str| energy[name].as_u64().unwrap();
        Some((
            source,
            number("renewable_percent") as u8,
            number("g_per_kwh") as u16,
            energy["origin"].as_str().unwrap().into(),
        ))
    }

    fn view(&self) -> serde_json::Value {
        serde_json::to_value(self.report.view()).unwrap()
    }

    fn degraded(&self) -> String {
        self.view()["degraded"].to_string()
    }
}

// spec: EN-1
#[test]
fn sources_are_mixed_and_the_first_that_tells_goes_first() {
    let mut rig = rig(settings(&["meter", "grid", "other grid"]));
    rig.told(1, &[(Field::Grams, 300.0), (Field::Renewable, 45.5)], NOW);
    rig.told(2, &[(Field::Grams, 900.0), (Field::Renewable, 5.0)], NOW);
    assert_eq!(rig.now(NOW), Some((Source::Grid, 45, 300, "grid".into())));
    rig.told(0, &[(Field::Solar, 700.0), (Field::Household, 400.0)], NOW);
    assert_eq!(rig.now(NOW), Some((Source::Solar, 100, 41, "meter".into())));
    assert_eq!(rig.report.surplus(), Some(300));
    rig.told(0, &[(Field::Solar, 410.0), (Field::Household, 400.0)], NOW);
    assert_eq!(rig.now(NOW).unwrap().0, Source::Grid, "ten watts are not enough for a task");
    rig.busy.store(true, Ordering::Relaxed);
    assert_eq!(rig.now(NOW).unwrap().0, Source::Solar, "a task that runs is in the load already");
    // The better one goes silent; the other stands in, and the first is first again.
    assert_eq!(rig.now(NOW + 11 * MINUTE), None, "neither holds any more");
    rig.told(2, &[(Field::Grams, 910.0)], NOW + 11 * MINUTE);
    assert_eq!(rig.now(NOW + 11 * MINUTE), Some((Source::Grid, 0, 910, "other grid".into())));
    rig.told(1, &[(Field::Grams, 310.0)], NOW + 12 * MINUTE);
    assert_eq!(rig.now(NOW + 12 * MINUTE), Some((Source::Grid, 0, 310, "grid".into())));
}

// spec: EN-3
#[test]
fn a_source_that_fails_degrades_with_its_reason_and_is_known_again() {
    let mut rig = rig(settings(&["feed"]));
    assert_eq!(rig.mixer.mix(NOW).unwrap().reading, None, "unknown from the start is said");
    rig.saw(0, Err("status 503: it is in trouble itself".into()), NOW);
    assert_eq!((rig.mixer.mix(NOW), rig.now(NOW)), (None, None), "and said once");
    assert!(rig.degraded().contains("feed: status 503") && rig.degraded().contains("counts as dirty"));
    rig.told(0, &[(Field::Grams, 300.0)], NOW);
    assert_eq!(rig.mixer.mix(NOW).unwrap().reading.unwrap().claim.g_per_kwh, 300);
    assert_eq!(rig.degraded(), "[]");
    for (wrong, says) in [
        (f64::NAN, "it is no number"),
        (-5.0, "-5 is below zero"),
        (300_000.0, "300000 is more than 2000"),
        (0.3, "less than any grid causes"),
    ] {
        rig.told(0, &[(Field::Grams, wrong)], NOW + MINUTE);
        assert_eq!(rig.mixer.mix(NOW + MINUTE), None, "the last good value holds, so nothing is new");
        let degraded = rig.degraded();
        assert!(degraded.contains(says) && degraded.contains("holds for 9 min"), "{wrong}: {degraded}");
    }
    let late = Observation {
        values: vec![(Field::Grams, 100.0)],
        at_ms: Some(NOW - 3 * HOUR),
        ..Observation::default()
    };
    rig.saw(0, Ok(late), NOW + MINUTE);
    assert_eq!(rig.now(NOW + MINUTE).unwrap().2, 300);
    assert!(rig.degraded().contains("3 h old"), "{}", rig.degraded());
    assert_eq!(rig.mixer.mix(NOW + 10 * MINUTE).unwrap().reading, None, "its last good value is over");
    rig.told(0, &[(Field::Grams, 80.0)], NOW + 11 * MINUTE);
    assert_eq!(rig.mixer.mix(NOW + 11 * MINUTE).unwrap().reading.unwrap().claim.g_per_kwh, 80);
}

// spec: EN-3
#[test]
fn what_a_source_had_forecast_stands_in_once_it_tells_no_more() {
    let mut rig = rig(settings(&["feed"]));
    let hour =
        |at: u64, g_per_kwh| Ahead { from_ms: NOW + at * HOUR, until_ms: NOW + (at + 1) * HOUR, g_per_kwh };
    let seen = Observation {
        values: vec![(Field::Grams, 300.0)],
        ahead: vec![hour(0, 290.0), hour(1, 120.0), hour(2, 1e9)],
        ..Observation::default()
    };
    rig.saw(0, Ok(seen), NOW);
    let told = rig.mixer.mix(NOW).unwrap();
    assert_eq!(told.forecast, Some((NOW / HOUR, vec![290, 120])), "what cannot be is none");
    assert_eq!(rig.now(NOW + 9 * MINUTE).unwrap().2, 300);
    let later = rig.mixer.mix(NOW + HOUR).unwrap().reading.unwrap();
    assert_eq!((later.claim.g_per_kwh, later.estimated), (120, true));
    assert!(rig.degraded().contains("forecast"), "{}", rig.degraded());
    assert_eq!(rig.now(NOW + 2 * HOUR), None);
}

// spec: EN-5
#[test]
fn since_when_it_is_so_is_told_of_a_feed_that_is_late_and_own_energy_is_of_now() {
    let holds = |name| Setting { holds: Duration::from_secs(3 * 3600), ..named(name) };
    let mut rig = rig(Settings { sources: vec![holds("feed"), holds("meter")], ..Settings::default() });
    let seen = |values: &[(Field, f64)], at: u64| Observation {
        values: values.to_vec(),
        at_ms: Some(at),
        ..Observation::default()
    };
    rig.saw(0, Ok(seen(&[(Field::Grams, 300.0)], NOW - 2 * HOUR)), NOW);
    assert_eq!(rig.mixer.mix(NOW).unwrap().at_ms, Some(NOW - 2 * HOUR));
    rig.saw(0, Ok(seen(&[(Field::Grams, 300.0)], NOW - HOUR)), NOW + HOUR);
    assert_eq!(
        rig.mixer.mix(NOW + HOUR).unwrap().at_ms,
        Some(NOW - HOUR),
        "the same of another hour is news"
    );
    rig.saw(1, Ok(seen(&[(Field::Solar, 500.0), (Field::Household, 100.0)], NOW)), NOW + HOUR);
    let told = rig.mixer.mix(NOW + HOUR).unwrap();
    assert_eq!((told.reading.unwrap().claim.source, told.at_ms), (Source::Solar, None));
    let claim = EnergyClaim { source: Source::Wind, renewable_percent: 99, g_per_kwh: 12 };
    rig.saw(
        1,
        Ok(Observation { outright: Some(claim), ..seen(&[(Field::Solar, 0.0)], NOW - 1) }),
        NOW + HOUR,
    );
    let told = rig.mixer.mix(NOW + HOUR).unwrap();
    assert_eq!((told.reading.unwrap().claim, told.at_ms), (claim, Some(NOW - 1)));
    let mut share = self::rig(Settings { sources: vec![holds("mix")], ..Settings::default() });
    share.saw(0, Ok(seen(&[(Field::Renewable, 60.0)], NOW - HOUR)), NOW);
    assert_eq!(share.mixer.mix(NOW).unwrap().at_ms, Some(NOW - HOUR));
}

// spec: EN-2, EN-3
#[test]
fn a_marginal_signal_stands_beside_and_decides_nothing() {
    let signal = Signal { scope: Scope::LifeCycle, kind: Kind::Marginal };
    let marginal = Setting { signal, ..named("moer") };
    let mut rig = rig(Settings { sources: vec![marginal, named("grid")], ..Settings::default() });
    rig.told(0, &[(Field::Grams, 700.0)], NOW);
    assert_eq!(rig.now(NOW), None, "it is no average");
    rig.told(1, &[(Field::Grams, 300.0)], NOW);
    assert_eq!(rig.now(NOW).unwrap().2, 300);
    assert_eq!(rig.view()["marginal_g_per_kwh"], 700.0);
    let reading = rig.mixer.mix(NOW + MINUTE).map(|told| told.reading);
    assert_eq!(reading, None, "nothing is new");
}

// spec: EN-2
#[test]
fn a_reading_says_all_that_is_known_of_it() {
    let signal = Signal { scope: Scope::Direct, kind: Kind::Average };
    let mut rig = rig(Settings { sources: vec![Setting { signal, ..named("neso") }], ..Settings::default() });
    let seen = Observation {
        values: vec![(Field::Grams, 176.4), (Field::Renewable, 35.4)],
        zone: Some("GB a name that is too long for a record\n".into()),
        estimated: true,
        until_ms: Some(NOW + 5 * MINUTE),
        ..Observation::default()
    };
    rig.saw(0, Ok(seen), NOW);
    let reading = rig.mixer.mix(NOW).unwrap().reading.unwrap();
    assert_eq!(reading.check(), Ok(()));
    assert_eq!(
        (reading.claim.g_per_kwh, reading.scope, reading.kind, reading.estimated, reading.origin.as_str()),
        (176, Scope::Direct, Kind::Average, true, "neso")
    );
    assert_eq!(reading.zone, "GB a name that is too lo");
    assert_eq!(rig.view()["energy"]["valid_until_ms"], NOW + 5 * MINUTE);
    assert_eq!(rig.mixer.next(NOW), Duration::from_millis(5 * MINUTE));
}

// spec: EN-1, SLA-4
#[test]
fn a_fixed_sun_sets() {
    let word = Some(Word { source: Source::Solar, percent: 100.0, g_per_kwh: None });
    let mut rig = rig(Settings { word, ..settings(&["grid"]) });
    rig.told(0, &[(Field::Grams, 350.0), (Field::Renewable, 40.0)], NOW);
    assert_eq!(rig.now(NOW), Some((Source::Solar, 100, 41, "fixed".into())));
    let night = NOW + 12 * HOUR;
    rig.told(0, &[(Field::Grams, 420.0), (Field::Renewable, 20.0)], night);
    assert_eq!(rig.now(night), Some((Source::Grid, 20, 420, "grid".into())));
    assert_eq!(
        rig.now(night + HOUR),
        Some((Source::Grid, 0, 480, "fixed".into())),
        "nobody tells of the grid"
    );
    assert!(rig.degraded().contains("there is no sun now"), "{}", rig.degraded());
}

// spec: EN-3, SLA-4
#[test]
fn panels_that_tell_of_sun_by_night_are_not_believed() {
    let mut rig = rig(settings(&["grid", "pv"]));
    let night = NOW + 12 * HOUR;
    for (now, made, source, surplus) in [(NOW, 710.0, Source::Solar, 310), (night, 700.0, Source::Grid, -401)]
    {
        let household = if now == NOW { 400.0 } else { 401.0 };
        let made = [(Field::Solar, made), (Field::Household, household)];
        rig.told(0, &[(Field::Grams, 350.0), (Field::Renewable, 40.0)], now);
        rig.told(1, &made, now);
        assert_eq!((rig.now(now).unwrap().0, rig.report.surplus()), (source, Some(surplus)));
    }
    assert!(
        rig.degraded().contains("pv: it tells of 700 W of sun, which is down here"),
        "{}",
        rig.degraded()
    );
}

// spec: EN-4
#[test]
fn a_battery_gives_back_what_it_was_charged_with() {
    let mut rig = rig(Settings { battery_floor: 20, ..settings(&["grid", "home"]) });
    let home = |percent: f64, watts: f64| {
        [(Field::Charge, percent), (Field::Capacity, 10_000.0), (Field::Battery, watts)]
    };
    rig.told(0, &[(Field::Grams, 500.0), (Field::Renewable, 30.0)], NOW);
    rig.told(1, &home(0.0, 0.0), NOW);
    assert_eq!(rig.now(NOW).unwrap().0, Source::Grid);
    // Half of it is charged of clean grid, the other half of dirty, each with a tenth lost on the way.
    rig.told(0, &[(Field::Grams, 90.0), (Field::Renewable, 90.0)], NOW);
    rig.told(1, &home(50.0, -3000.0), NOW);
    assert_eq!(rig.now(NOW).unwrap().2, 90, "while it is charged, the grid is what there is");
    rig.told(0, &[(Field::Grams, 450.0), (Field::Renewable, 30.0)], NOW);
    rig.told(1, &home(100.0, -3000.0), NOW);
    assert_eq!(rig.now(NOW).unwrap().2, 450);
    rig.told(1, &home(99.0, 400.0), NOW);
    // (90 + 450) / 2 / 0.9, by hand.
    assert_eq!(rig.now(NOW), Some((Source::Battery, 60, 300, "home".into())));
    rig.told(1, &home(20.0, 400.0), NOW);
    assert_eq!(rig.now(NOW).unwrap().0, Source::Grid, "the floor is the household's");
    let battery = rig.view()["battery"].clone();
    assert_eq!((battery["g_per_kwh"].as_u64(), battery["wh"].as_f64()), (Some(300), Some(10_000.0)));
    // It is remembered over a restart.
    let remembered = serde_json::to_string(rig.mixer.remember().unwrap()).unwrap();
    assert!(rig.mixer.remember().is_none());
    let again: Remembered = serde_json::from_str(&remembered).unwrap();
    assert_eq!(again.battery.unwrap().claim().unwrap().g_per_kwh, 300);
}

/// A battery of 10 kWh, half full of clean grid.
fn charged() -> Rig {
    let mut rig = rig(settings(&["grid", "home", "cells"]));
    rig.told(0, &[(Field::Grams, 90.0), (Field::Renewable, 90.0)], NOW);
    rig.told(1, &[(Field::Charge, 0.0)], NOW);
    rig.told(2, &[(Field::Capacity, 10_000.0)], NOW);
    rig.now(NOW);
    rig.told(1, &[(Field::Charge, 50.0)], NOW);
    rig.now(NOW);
    assert_eq!(stored(&rig), Some((100, 90)));
    rig
}

/// Grams and renewable percent of what a battery holds.
fn stored(rig: &Rig) -> Option<(u64, u64)> {
    let battery = &rig.view()["battery"];
    Some((battery["g_per_kwh"].as_u64()?, battery["renewable_percent"].as_u64()?))
}

// spec: EN-4
#[test]
fn what_a_battery_holds_stays_what_it_is_while_its_capacity_is_not_told() {
    let mut rig = charged();
    // Home Assistant restarts: how full it is comes back first, and what it holds half an hour later.
    for minutes in (0..60).step_by(5) {
        let now = NOW + minutes * MINUTE;
        rig.told(0, &[(Field::Grams, 700.0), (Field::Renewable, 5.0)], now);
        rig.told(1, &[(Field::Charge, 50.0)], now);
        if minutes >= 30 {
            rig.told(2, &[(Field::Capacity, 10_000.0)], now);
        }
        rig.now(now);
        assert_eq!(stored(&rig), Some((100, 90)), "after {minutes} min");
    }
    // What it holds is told for the first time, after it was charged for a while.
    let mut late = self::rig(settings(&["grid", "home", "cells"]));
    late.told(0, &[(Field::Grams, 90.0), (Field::Renewable, 90.0)], NOW);
    late.told(1, &[(Field::Charge, 0.0)], NOW);
    late.now(NOW);
    late.told(1, &[(Field::Charge, 50.0)], NOW);
    late.now(NOW);
    late.told(0, &[(Field::Grams, 700.0), (Field::Renewable, 5.0)], NOW);
    late.told(2, &[(Field::Capacity, 10_000.0)], NOW);
    late.now(NOW);
    assert_eq!(stored(&late), Some((100, 90)));
    // Over a restart, what it holds is known before it is told again.
    let remembered = serde_json::to_string(rig.mixer.remember().unwrap()).unwrap();
    let remembered = serde_json::from_str(&remembered).unwrap();
    let mut again = remembering(settings(&["grid", "home", "cells"]), remembered);
    again.told(1, &[(Field::Charge, 50.0)], NOW);
    again.now(NOW);
    assert_eq!(stored(&again), Some((100, 90)));
}

// spec: EN-4
#[test]
fn what_was_charged_while_nobody_looked_counts_as_unknown() {
    let mut rig = charged();
    let later = NOW + 11 * MINUTE;
    rig.told(0, &[(Field::Grams, 90.0), (Field::Renewable, 90.0)], later);
    rig.told(1, &[(Field::Charge, 100.0)], later);
    rig.now(later);
    // Half of it is of 100 g, the other of 820 g with a tenth lost on the way.
    assert_eq!(stored(&rig), Some((506, 45)));
    rig.told(1, &[(Field::Charge, 50.0)], later);
    rig.now(later);
    rig.told(1, &[(Field::Charge, 100.0)], later + MINUTE);
    rig.now(later + MINUTE);
    assert_eq!(stored(&rig), Some((303, 67)), "this half was looked at again");
}

// spec: EN-6
#[test]
fn a_meters_word_is_kept_for_what_it_saw_and_nothing_else() {
    let meter = SecretKey::from_seed(&[7; 32]);
    let claim = EnergyClaim { source: Source::Wind, renewable_percent: 100, g_per_kwh: 11 };
    let signed = Reading::of(claim, "").attest(&meter, NOW, NOW + HOUR);
    let seen = |claim| Observation {
        outright: Some(claim),
        attestation: signed.attestation.clone(),
        ..Observation::default()
    };
    let mut rig = rig(settings(&["turbine"]));
    rig.saw(0, Ok(seen(claim)), NOW);
    let reading = rig.mixer.mix(NOW).unwrap().reading.unwrap();
    assert_eq!(reading.attested_by(NOW, NOW + HOUR), Some(meter.public()));
    assert_eq!(rig.view()["energy"]["attested_by"], meter.public().to_string());
    rig.saw(0, Ok(seen(EnergyClaim { g_per_kwh: 4, ..claim })), NOW);
    let cleaner = rig.mixer.mix(NOW).unwrap().reading.unwrap();
    assert_eq!((cleaner.claim.g_per_kwh, cleaner.attestation), (4, None));
    rig.saw(0, Ok(seen(claim)), NOW + 2 * HOUR);
    assert_eq!(
        rig.mixer.mix(NOW + 2 * HOUR).unwrap().reading.unwrap().attestation,
        None,
        "it was for an hour"
    );
}

// spec: CLI-7
#[test]
fn sources_that_stay_keep_what_they_told() {
    let mut rig = rig(settings(&["a", "b"]));
    rig.told(0, &[(Field::Grams, 300.0)], NOW);
    rig.told(1, &[(Field::Renewable, 60.0)], NOW);
    rig.mixer.set(settings(&["b", "c"]));
    assert!(!rig.mixer.is_complete());
    assert_eq!(rig.now(NOW).unwrap(), (Source::Grid, 60, 221, "b".into()), "the rest counts at 480 g");
    rig.told(1, &[(Field::Grams, 200.0)], NOW);
    assert_eq!(rig.now(NOW).unwrap(), (Source::Grid, 60, 200, "c".into()));
}

// spec: EN-3
#[test]
fn a_source_in_trouble_is_left_alone_for_longer_each_time() {
    let setting = Setting { every: Some(Duration::from_secs(300)), ..named("feed") };
    let trouble = |rest| Err::<Observation, _>(Trouble { why: "x".into(), rest });
    let waits: Vec<u64> =
        (1..6).map(|failed| wait(&trouble(None), &setting, failed, NOW).as_secs()).collect();
    assert_eq!(waits, [300, 600, 1200, 1800, 1800]);
    let rest = Some(Duration::from_secs(3600));
    assert_eq!(wait(&trouble(rest), &setting, 1, NOW).as_secs(), 3600, "as it asks for");
    let until = |at: u64| Ok(Observation { until_ms: Some(at), ..Observation::default() });
    assert_eq!(wait(&until(NOW + 20_000), &setting, 0, NOW).as_secs(), 20, "it is over before");
    assert_eq!(wait(&until(NOW), &setting, 0, NOW).as_secs(), 1, "and never at once");
    assert_eq!(wait(&until(NOW + HOUR), &setting, 0, NOW).as_secs(), 300);
    assert_eq!(wait(&Ok(Observation::default()), &setting, 0, NOW).as_secs(), 300);
}

/// The whole way: a service on loopback, its thread, the mixing, the news; and other settings while it runs.
// spec: EN-1, EN-3, CLI-7
#[test]
fn a_service_is_read_again_and_again_and_another_one_once_that_is_said() {
    let grams = Arc::new(AtomicU64::new(300));
    let now = grams.clone();
    let server = Server::new(move |request| match (request.path.as_str(), now.load(Ordering::Relaxed)) {
        ("/one", 0) => Reply::HangUp,
        ("/one", grams) => json(200, &value!({ "grams": grams })),
        _ => json(200, &value!({ "grams": 77 })),
    });
    let setting = |path: &str| {
        let fields = vec![(Field::Grams, Path { path: "/grams".into(), unit: None })];
        let asking = Asking { url: server.url(path), token: None, header: None };
        let http = Http { asking, paths: Paths { fields, ..Paths::default() } };
        let every = Some(Duration::from_millis(50));
        let holds = Duration::from_millis(400);
        let setting = Setting { every, holds, name: path.into(), ..Setting::of(Which::Http(http)) };
        Settings { sources: vec![setting], ..Settings::default() }
    };
    let folder = tempfile::tempdir().unwrap();
    let start = Start {
        settings: setting("/one"),
        place: None,
        task_watts: 20.0,
        memory: folder.path().join("energy.json"),
        busy: Box::new(|| false),
        report: Report::default(),
    };
    let (send, news) = mpsc::channel();
    let watch = watch(start, move |told| send.send(told).is_ok()).unwrap();
    let next = || {
        let told: Told = news.recv_timeout(Duration::from_secs(60)).expect("some news");
        told.reading.map(|reading| (reading.claim.g_per_kwh, reading.origin))
    };
    let of = |grams: u16, origin: &str| Some((grams, origin.to_owned()));
    assert_eq!(next(), of(300, "/one"));
    grams.store(310, Ordering::Relaxed);
    assert_eq!(next(), of(310, "/one"));
    grams.store(0, Ordering::Relaxed);
    assert_eq!(next(), None, "once its last word is over");
    watch.set(setting("/two"));
    assert_eq!(next(), of(77, "/two"));
    grams.store(320, Ordering::Relaxed);
    watch.set(setting("/one"));
    assert_eq!(next(), of(320, "/one"), "nothing of before is said again");
    assert!(folder.path().join("energy.json").exists());
}

// spec: SLA-4, CLI-7
#[test]
fn what_a_task_draws_can_change_while_it_is_read() {
    let server = Server::new(|_| json(200, &value!({ "surplus": 15, "grams": 400 })));
    let path = |path: &str| Path { path: path.into(), unit: None };
    let fields = vec![(Field::Surplus, path("/surplus")), (Field::Grams, path("/grams"))];
    let asking = Asking { url: server.url("/"), token: None, header: None };
    let source = Setting::of(Which::Http(Http { asking, paths: Paths { fields, ..Paths::default() } }));
    let folder = tempfile::tempdir().unwrap();
    let start = Start {
        settings: Settings { sources: vec![source], ..Settings::default() },
        place: None,
        task_watts: 20.0,
        memory: folder.path().join("energy.json"),
        busy: Box::new(|| false),
        report: Report::default(),
    };
    let (send, news) = mpsc::channel();
    let watch = watch(start, move |told| send.send(told).is_ok()).unwrap();
    let next = || {
        let told: Told = news.recv_timeout(Duration::from_secs(60)).expect("some news");
        told.reading.map(|reading| reading.claim.source)
    };
    assert_eq!(next(), Some(Source::Grid));
    watch.draws(10.0);
    assert_eq!(next(), Some(Source::Solar), "fifteen watts are enough for ten");
}
