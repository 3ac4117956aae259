use super::{History, LEARN, Learnt, MAX_PIECES, MAX_READINGS, estimate_rest, fit, mean, together};
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::energy::{Attestation, How, Metered, Piece, Reading};
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
    assert_eq!(parts(&history, 13, 15), [(13, 14, Some(120)), (14, 15, Some(141))], "also on the way");
    assert!(history.parts(13 * HOUR, 15 * HOUR).iter().all(|(from, until, _)| from < until));
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

fn grid(g_per_kwh: u16) -> Reading {
    Reading::of(EnergyClaim { source: Source::Grid, renewable_percent: 20, g_per_kwh }, "feed")
}

fn word(from_ms: u64) -> Option<Attestation> {
    let key = SecretKey::from_seed(&[7; 32]);
    let signature = key.sign(Domain::Meter, b"");
    Some(Attestation { meter: key.public(), from_ms, until_ms: from_ms + 1, signature })
}

// spec: CO2-2
#[test]
fn pieces_of_one_kind_are_told_as_what_they_have_in_common() {
    let piece = |from_ms, reading| Piece { from_ms, ms: 1_000, energy_mj: 100, reading };
    // The second begins a second after the first one ended.
    let joined = |one: Option<Reading>, other: Option<Reading>| {
        together(&piece(0, one), &piece(2_000, other)).map(|both| {
            assert_eq!((both.from_ms, both.ms, both.energy_mj), (0, 3_000, 200));
            both.reading
        })
    };
    let signed = |from_ms| Reading { attestation: word(from_ms), ..grid(300) };
    assert_eq!(joined(None, None), Some(None));
    assert_eq!(joined(Some(signed(1)), Some(signed(1))), Some(Some(signed(1))));
    assert_eq!(joined(Some(signed(1)), Some(signed(2))), Some(Some(grid(300))), "as sure, and unsigned");
    let mean = Reading { estimated: true, ..grid(200) };
    assert_eq!(joined(Some(signed(1)), Some(grid(100))), Some(Some(mean.clone())));
    let zoned = |reading: Reading, zone: &str, origin: &str| Reading {
        zone: zone.into(),
        origin: origin.into(),
        ..reading
    };
    let both =
        |zone, origin| joined(Some(zoned(grid(300), "DE", "feed")), Some(zoned(grid(100), zone, origin)));
    assert_eq!(both("DE", "feed"), Some(Some(zoned(mean.clone(), "DE", "feed"))));
    assert_eq!(both("FR", "feed"), Some(Some(zoned(mean.clone(), "", "feed"))));
    assert_eq!(both("DE", "meter"), Some(Some(zoned(mean, "DE", "several"))));
    assert_eq!(joined(Some(grid(300)), None), None);
    let marginal = Reading { kind: mesh_protocol::energy::Kind::Marginal, ..grid(100) };
    assert_eq!(joined(Some(grid(300)), Some(marginal)), None, "these are of two kinds");
}

// spec: CO2-2, CO2-3
#[test]
fn readings_of_one_kind_are_told_as_their_mean_by_time() {
    let zoned =
        |grams, zone: &str, origin: &str| Reading { zone: zone.into(), origin: origin.into(), ..grid(grams) };
    let of = |parts: &[(u64, Reading)]| mean(&parts.iter().map(|(ms, it)| (*ms, it)).collect::<Vec<_>>());
    assert_eq!(of(&[]), None);
    let signed = Reading { attestation: word(1), ..grid(300) };
    assert_eq!(of(&[(5, signed), (7, grid(300))]), Some(grid(300)), "that is no estimate");
    // Half a gram is told as a whole one, and less as none.
    for (short, long, grams) in [(1, 3, 101), (1, 4, 100), (2, 5, 101), (0, 7, 100)] {
        let told = of(&[(short, grid(102)), (long, grid(100))]).unwrap();
        assert_eq!((told.claim.g_per_kwh, told.claim.renewable_percent, told.estimated), (grams, 20, true));
    }
    let parts = [(1, zoned(1, "DE", "feed")), (2, zoned(2, "DE", "feed")), (3, zoned(3, "DE", "feed"))];
    let told = of(&parts).unwrap();
    assert_eq!((told.zone.as_str(), told.origin.as_str()), ("DE", "feed"));
    for (zone, origin, expected) in [("FR", "feed", ("", "feed")), ("DE", "meter", ("DE", "several"))] {
        let told = of(&[(1, zoned(1, zone, origin)), (2, zoned(2, "DE", "feed"))]).unwrap();
        assert_eq!((told.zone.as_str(), told.origin.as_str()), expected);
    }
    let sun = EnergyClaim { source: Source::Solar, renewable_percent: 100, g_per_kwh: 40 };
    let sun = Reading::of(sun, "feed");
    for (first, second, source) in [(2, 3, Source::Grid), (3, 2, Source::Solar)] {
        assert_eq!(of(&[(first, sun.clone()), (second, grid(300))]).unwrap().claim.source, source);
    }
}

// spec: CO2-2, ARC-7
#[test]
fn pieces_are_made_fewer_within_their_hours_first_and_the_shortest_first() {
    const HOUR: u64 = 3_600_000;
    let piece = |from_ms, ms, grams| Piece { from_ms, ms, energy_mj: 10, reading: Some(grid(grams)) };
    // What follows each other under one reading is one; what does not follow, or was another, is not.
    let apart = vec![piece(0, 10, 1), piece(10, 10, 1), piece(21, 10, 1), piece(31, 10, 2)];
    let fitted = fit(apart);
    let told =
        |pieces: &[Piece]| pieces.iter().map(|it| (it.from_ms, it.ms, it.energy_mj)).collect::<Vec<_>>();
    assert_eq!(told(&fitted), [(0, 20, 20), (21, 10, 10), (31, 10, 10)]);
    // An hour's two halves become one though two pieces around a full hour are shorter.
    let mut many: Vec<Piece> =
        (0..MAX_PIECES as u64 - 1).map(|hour| piece(hour * HOUR, HOUR, 100 + hour as u16)).collect();
    let last = MAX_PIECES as u64 - 1;
    many.insert(0, piece(0, HOUR - 10, 99));
    many[1] = piece(HOUR - 10, 20, 100);
    many[2].from_ms += 10;
    many[2].ms -= 10;
    many.push(piece(last * HOUR, HOUR / 2, 7));
    assert_eq!(many.len(), MAX_PIECES + 1);
    let whole: Vec<Piece> = many.clone();
    let fitted = fit(many);
    assert_eq!(fitted.len(), MAX_PIECES);
    assert_eq!((fitted[0].from_ms, fitted[0].ms, fitted[0].energy_mj), (0, HOUR + 10, 20));
    assert_eq!(fitted[1..], whole[2..], "the rest is as it was");
}

// spec: CO2-1
#[test]
fn of_what_was_learnt_half_is_forgotten_once_it_is_much() {
    let mut learnt = Learnt::default();
    learnt.learn(999_999, 5, 5);
    learnt.learn(1_000_000, 0, 5);
    assert_eq!(learnt.estimate(1), None, "starting it says nothing, nor does what used nothing");
    learnt.learn(1_000_000, 500, 40);
    assert_eq!(learnt.estimate(2_000_000), Some((1_000, 80)));
    learnt.learn(LEARN - 1_000_000, 100_000 - 500, 8_000 - 40);
    assert_eq!((learnt.fuel, learnt.energy_mj, learnt.wall_ms), (LEARN, 100_000, 8_000));
    learnt.learn(2_000_000, 300, 60);
    assert_eq!((learnt.fuel, learnt.energy_mj, learnt.wall_ms), (LEARN / 2 + 1_000_000, 50_150, 4_030));
    assert_eq!(learnt.estimate(LEARN), Some((100_300, 8_060)));
}

// spec: DEL-13
#[test]
fn what_was_cut_off_used_half_of_what_the_next_reading_would_have_said() {
    let piece = |from_ms, ms, energy_mj| Piece { from_ms, ms, energy_mj, reading: None };
    let pieces = vec![piece(0, 1_000, 300), piece(1_000, 3_000, 500)];
    let cut_off = estimate_rest(Metered { how: How::Measured, pieces: pieces.clone(), ..Metered::default() });
    let rest = crate::io::SAMPLE_MS / 2;
    assert_eq!(cut_off.pieces, [pieces[0].clone(), piece(1_000, 3_000 + rest, 500 + 800 * rest / 4_000)]);
    assert_eq!(estimate_rest(Metered::default()).pieces, []);
}

// spec: CO2-2, CO2-3
#[test]
fn what_took_no_time_is_of_what_there_was_then() {
    let mut history = History::default();
    drop(history.push(1_000, Some(grid(100)), None));
    drop(history.push(2_000, Some(grid(200)), None));
    let told = |from_ms, ms| {
        let pieces = history.pieces(from_ms, ms, 90).into_iter();
        pieces.map(|it| (it.ms, it.energy_mj, it.reading.map(|it| it.claim.g_per_kwh))).collect::<Vec<_>>()
    };
    assert_eq!(told(1_999, 0), [(0, 90, Some(100))]);
    assert_eq!(told(2_000, 0), [(0, 90, Some(200))]);
    assert_eq!(told(500, 3_000), [(500, 15, None), (1_000, 30, Some(100)), (1_500, 45, Some(200))]);
}

// spec: CO2-3, EN-6
#[test]
fn what_nobody_knew_is_not_joined_with_what_was_known() {
    let mut history = History::default();
    // Within one quarter of an hour: unknown, three of one kind, unknown again, and so on to the end.
    let known = |from: u64| Some(Reading { attestation: word(from), ..grid(100 + from as u16 % 7) });
    drop(history.push(0, None, None));
    for from in 1..MAX_READINGS as u64 {
        drop(history.push(from, if from == 4 { None } else { known(from) }, None));
    }
    assert_eq!(history.said.len(), MAX_READINGS);
    let change = history.push(MAX_READINGS as u64, known(MAX_READINGS as u64), None).unwrap();
    assert_eq!(change.gone, [2, 3]);
    let from: Vec<u64> = history.said.iter().take(4).map(|(from, _)| *from).collect();
    assert_eq!(from, [0, 1, 4, 5]);
    let joined = history.said[1].1.reading.clone().unwrap();
    assert_eq!((joined.claim.g_per_kwh, joined.attestation, joined.estimated), (102, None, true));
    assert_eq!(change.kept.first(), history.said.get(1), "and is kept so");
}
