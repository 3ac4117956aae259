//! When and where does a task run?

pub mod board;
pub mod decide;
pub mod hours;
pub mod room;
pub mod together;

#[cfg(test)]
mod tests {
    use super::decide::{HOUR_MS, Peer, Work, decide};
    use crate::forecast::{Issue, Known, LEADS};
    use crate::sun;
    use mesh_protocol::key::PublicKey;
    use mesh_protocol::task::Sla;

    /// What two thousand decisions, their forecasts and the sun amount to, to the last bit. It is the same on every
    /// machine: forecasts are sums, products and quotients of `f64` in one order, which IEEE 754 rounds in one way, sines
    /// come from `libm`'s own arithmetic, and all else is whole numbers. A change of policy changes it.
    // spec: PLACE-1, ARC-2
    #[test]
    fn the_same_seeds_give_the_same_decisions_on_every_machine() {
        let mut hash = blake3::Hasher::new();
        let mut seed = 1_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let classes = [Sla::Urgent, Sla::High, Sla::Normal, Sla::Eco];
        for round in 0..50_u64 {
            let values: Vec<f64> =
                (0..720).map(|hour| (200 + 20 * (hour % 24) + random(150)) as f64 / 3.0).collect();
            let given = |hour: u64, values: &[f64]| Issue { hour, values: values[..LEADS].to_vec() };
            let issues: Vec<Issue> = (0..30).map(|day| given(24 * day, &values[day as usize..])).collect();
            let known =
                Known { newest: 719, values: &values, issues: if round % 2 == 0 { &issues } else { &[] } };
            let now = 719 + random(3);
            let path = known.path(now);
            for grams in &path {
                hash.update(&grams.to_bits().to_le_bytes());
            }
            let milligrams: Vec<u32> = path.iter().map(|grams| (grams * 1000.0) as u32).collect();
            for task in 0..40 {
                let now_ms = now * HOUR_MS + random(HOUR_MS);
                let peers: Vec<Peer<'_>> = (0..6)
                    .map(|number| Peer {
                        device: PublicKey([number; 32]),
                        permitted: Ok(()),
                        path: &milligrams[random(90) as usize..],
                        there: u128::MAX << random(5),
                        clean: u128::from(random(u64::MAX)) << random(20),
                        work_ms: random(9 * HOUR_MS),
                        work_uwh: random(90_000_000),
                        move_ms: random(HOUR_MS),
                        move_ug: random(400_000),
                        reliable: 900 + random(100) as u16,
                        load: random(300) as u16,
                    })
                    .collect();
                let work = Work {
                    class: classes[random(4) as usize],
                    finish_by_ms: (random(5) > 0).then(|| now_ms + random(90 * HOUR_MS)),
                    since_ms: now_ms,
                    runs_on: (random(3) == 0).then(|| PublicKey([random(6) as u8; 32])),
                    unsaved_ms: random(HOUR_MS),
                    seed: task,
                };
                hash.update(format!("{:?}", decide(&work, now_ms, &peers)).as_bytes());
                let place = (random(180) as i16 - 90, random(360) as i16 - 180);
                let stands = sun::at(place, random(1 << 41));
                hash.update(&stands.height.to_bits().to_le_bytes());
                hash.update(&stands.hours_past_noon.to_bits().to_le_bytes());
            }
        }
        assert_eq!(&hash.finalize().to_hex()[..32], "d89caa4d87f77bd3abdb94c3c57ac666");
    }
}
