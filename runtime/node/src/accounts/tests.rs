use super::{History, MAX_READINGS, together};
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::energy::{Attestation, Piece, Reading};
use mesh_protocol::key::{Domain, SecretKey};

// spec: CO2-1
#[test]
fn readings_of_a_week_are_kept_and_older_ones_are_not() {
    let day = 24 * 3_600_000;
    let mut history = History::default();
    let mut gone = Vec::new();
    for number in 0..20_u64 {
        let claim = EnergyClaim { source: Source::Grid, renewable_percent: 1, g_per_kwh: number as u16 };
        let kept = history.push(number * day, Some(Reading::of(claim, "fixed")), None);
        gone.extend(kept.expect("it is news").gone);
    }
    // One more than is needed: what was so at the beginning of the eight days.
    assert_eq!(gone, (0..10).map(|number| number * day).collect::<Vec<_>>());
}

// spec: CO2-2, CO2-3
#[test]
fn what_is_told_late_is_of_its_own_time_once_it_is_there() {
    const HOUR: u64 = 3_600_000;
    let of = |g_per_kwh| {
        Some(Reading::of(EnergyClaim { source: Source::Grid, renewable_percent: 1, g_per_kwh }, "feed"))
    };
    let mut history = History::default();
    let told = |history: &mut History, now: u64, grams, at: u64| {
        drop(history.push(now * HOUR, of(grams), Some(at * HOUR)));
    };
    let parts = |history: &History, from: u64, until: u64| {
        let mut joined: Vec<(u64, u64, Option<u16>)> = Vec::new();
        for (from, until, reading) in history.parts(from * HOUR, until * HOUR) {
            let (from, until, grams) = (from / HOUR, until / HOUR, reading.map(|it| it.claim.g_per_kwh));
            match joined.last_mut().filter(|last| last.1 == from && last.2 == grams) {
                Some(last) => last.1 = until,
                None => joined.push((from, until, grams)),
            }
        }
        joined
    };
    told(&mut history, 12, 100, 10);
    assert_eq!(parts(&history, 11, 14), [(11, 12, None), (12, 14, Some(100))], "as it is known now");
    assert!(!history.is_settled(12 * HOUR, 13 * HOUR));
    told(&mut history, 13, 110, 11);
    told(&mut history, 14, 120, 12);
    assert!(history.is_settled(12 * HOUR, 13 * HOUR) && !history.is_settled(12 * HOUR, 13 * HOUR + 1));
    told(&mut history, 15, 120, 13);
    told(&mut history, 16, 140, 14);
    assert_eq!(parts(&history, 12, 16), [(12, 14, Some(120)), (14, 16, Some(140))], "the same is no news");
    told(&mut history, 16, 141, 14);
    assert_eq!(parts(&history, 14, 15), [(14, 15, Some(141))], "of two words the later one");
    // What is of now stays what it was, and says nothing of the grid beside it.
    drop(history.push(17 * HOUR, of(41), None));
    assert!(history.is_settled(17 * HOUR, 99 * HOUR));
    told(&mut history, 18, 160, 16);
    told(&mut history, 19, 170, 17);
    told(&mut history, 20, 180, 18);
    let known = [(16, 17, Some(160)), (17, 18, Some(41)), (18, 20, Some(180))];
    assert_eq!(parts(&history, 16, 20), known);
    // The same over a restart.
    let mut again = History::default();
    for (from, said) in history.said.clone() {
        again.restore(from, said);
    }
    assert_eq!((parts(&again, 16, 20), again.newest_ms), (known.to_vec(), 18 * HOUR));
}

/// A meter signs every ten seconds, which is another word each time: what was said a week ago is still there.
// spec: CO2-3, EN-6
#[test]
fn readings_of_a_week_are_kept_however_often_a_meter_signs() {
    const QUARTER: u64 = 15 * 60_000;
    let key = SecretKey::from_seed(&[7; 32]);
    let signature = key.sign(Domain::Meter, b"");
    let mut history = History::default();
    let mut kept = std::collections::BTreeMap::new();
    let (week, grams) = (7 * 96 * QUARTER, |quarter: u64| 100 + (quarter % 90) as u16);
    for now in (0..week).step_by(10_000) {
        // Of each quarter, the first five minutes are thirty grams more.
        let more = if now % QUARTER < 300_000 { 30 } else { 0 };
        let g_per_kwh = grams(now / QUARTER) + more;
        let claim = EnergyClaim { source: Source::Grid, renewable_percent: 40, g_per_kwh };
        let word = Attestation { meter: key.public(), from_ms: now, until_ms: now + 10_000, signature };
        let reading = Reading { attestation: Some(word), ..Reading::of(claim, "meter") };
        let change = history.push(now, Some(reading), None).expect("it is news");
        kept.extend(change.kept);
        for from in change.gone {
            kept.remove(&from);
        }
        assert!(history.said.len() <= MAX_READINGS);
    }
    assert_eq!(
        kept.into_iter().collect::<Vec<_>>(),
        Vec::from(history.said.clone()),
        "the same in the store"
    );
    for quarter in 0..7 * 96 {
        let parts = history.parts(quarter * QUARTER, (quarter + 1) * QUARTER);
        let sum: u64 = parts
            .iter()
            .map(|(from, until, reading)| {
                (until - from) * u64::from(reading.as_ref().expect("it is known").claim.g_per_kwh)
            })
            .sum();
        let mean = sum as f64 / QUARTER as f64 - f64::from(grams(quarter));
        assert!((mean - 10.0).abs() <= 2.0, "quarter {quarter}: {mean}");
    }
    // What was said of the last hours is as it was, with the meter's word.
    let last = history.parts(week - 8 * 3_600_000, week);
    assert!(
        last.len() >= 8 * 360
            && last.iter().all(|(_, _, it)| it.as_ref().is_some_and(|it| it.attestation.is_some()))
    );
}

// spec: CO2-2
#[test]
fn two_pieces_become_one_whose_reading_is_their_mean_by_energy() {
    let piece = |from_ms, energy_mj, source, renewable_percent, g_per_kwh| {
        let claim = EnergyClaim { source, renewable_percent, g_per_kwh };
        Piece { from_ms, ms: 1_000, energy_mj, reading: Some(Reading::of(claim, "feed")) }
    };
    let joined = |a: &Piece, b: &Piece| {
        let one = together(a, b).expect("they are of one kind");
        let Reading { claim, estimated, .. } = one.reading.unwrap();
        let claim = (claim.source, claim.renewable_percent, claim.g_per_kwh);
        (one.from_ms, one.ms, one.energy_mj, claim, estimated)
    };
    let (sun, grid) = (piece(0, 300, Source::Solar, 100, 40), piece(1_000, 100, Source::Grid, 20, 443));
    assert_eq!(joined(&sun, &grid), (0, 2_000, 400, (Source::Solar, 80, 141), true));
    let grid = piece(1_000, 301, Source::Grid, 20, 443);
    assert_eq!(joined(&sun, &grid), (0, 2_000, 601, (Source::Grid, 60, 242), true));
    let (sun, grid) = (piece(0, 0, Source::Solar, 100, 40), piece(1_000, 0, Source::Grid, 20, 443));
    assert_eq!(joined(&sun, &grid), (0, 2_000, 0, (Source::Solar, 60, 242), true));
    let unknown = Piece { reading: None, ..grid };
    assert!(together(&sun, &unknown).is_none(), "nothing is the mean of what is not known");
}
