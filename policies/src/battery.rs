//! What is in a battery: energy, and the carbon that it came with. In whole numbers, so that none of it is lost.
//!
//! Energy is in milliwatt hours, carbon in micrograms: 1 mWh at 1 g per kWh is 1 µg. What charging loses is lost when it
//! is charged, and its carbon stays with what is stored: so what comes out carries the whole loss of the round trip.
// spec: EN-4

use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::energy::MAX_G_PER_KWH;
use mesh_protocol::factors::Factors;
use serde::{Deserialize, Serialize};

/// Percent of what goes in that comes out again, where nobody says: lithium cells with their electronics.
pub const ROUND_TRIP_PERCENT: u8 = 90;
/// Most milliwatt hours that are kept account of: a ship full of cells. More is a wrong unit.
pub const MAX_MWH: u64 = 100_000_000_000;

/// What is stored, and what it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Inventory {
    stored_mwh: u64,
    carbon_ug: u64,
    renewable_mwh: u64,
}

/// What was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drawn {
    /// Energy.
    pub mwh: u64,
    /// The carbon that it came with.
    pub carbon_ug: u64,
    /// Of it, what was renewable.
    pub renewable_mwh: u64,
}

/// A part of a whole in the ratio of two energies, the odd part staying behind.
fn part(of: u64, taken: u64, all: u64) -> u64 {
    let share = u128::from(of) * u128::from(taken) / u128::from(all.max(1));
    u64::try_from(share).unwrap_or(u64::MAX).min(of)
}

impl Inventory {
    /// A battery of which nobody saw how it was charged: it counts as the dirtiest.
    // spec: EN-3
    pub fn unknown(stored_mwh: u64, factors: Factors) -> Self {
        let stored_mwh = stored_mwh.min(MAX_MWH);
        Self { stored_mwh, carbon_ug: stored_mwh * u64::from(factors.unknown()), renewable_mwh: 0 }
    }

    /// What is stored.
    pub fn stored_mwh(&self) -> u64 {
        self.stored_mwh
    }

    /// The carbon of what is stored.
    pub fn carbon_ug(&self) -> u64 {
        self.carbon_ug
    }

    /// Takes so much energy of this mix from outside. Says how much of it is stored; the rest is lost.
    pub fn charge(&mut self, taken_mwh: u64, mix: &EnergyClaim, round_trip_percent: u8) -> u64 {
        let room = MAX_MWH.saturating_sub(self.stored_mwh);
        let kept = part(taken_mwh.min(MAX_MWH), u64::from(round_trip_percent.min(100)), 100).min(room);
        self.stored_mwh += kept;
        let carbon = taken_mwh.min(MAX_MWH).saturating_mul(u64::from(mix.g_per_kwh));
        self.carbon_ug = self.carbon_ug.saturating_add(carbon);
        self.renewable_mwh += part(kept, u64::from(mix.renewable_percent.min(100)), 100);
        kept
    }

    /// Gives so much energy, or all there is: each part of it carries the same.
    pub fn draw(&mut self, wanted_mwh: u64) -> Drawn {
        let mwh = wanted_mwh.min(self.stored_mwh);
        let drawn = match mwh == self.stored_mwh {
            true => Drawn { mwh, carbon_ug: self.carbon_ug, renewable_mwh: self.renewable_mwh },
            false => Drawn {
                mwh,
                carbon_ug: part(self.carbon_ug, mwh, self.stored_mwh),
                renewable_mwh: part(self.renewable_mwh, mwh, self.stored_mwh),
            },
        };
        self.stored_mwh -= drawn.mwh;
        self.carbon_ug -= drawn.carbon_ug;
        self.renewable_mwh -= drawn.renewable_mwh;
        drawn
    }

    /// Takes a gauge's word for what is stored: more than there was has been charged, of what the energy is now (the
    /// dirtiest if that is not known), and less has been drawn.
    pub fn gauge(
        &mut self,
        stored_mwh: u64,
        mix: Option<&EnergyClaim>,
        round_trip_percent: u8,
        factors: Factors,
    ) -> Drawn {
        let stored_mwh = stored_mwh.min(MAX_MWH);
        let Some(more) = stored_mwh.checked_sub(self.stored_mwh) else {
            return self.draw(self.stored_mwh - stored_mwh);
        };
        let unknown =
            EnergyClaim { source: Source::Grid, renewable_percent: 0, g_per_kwh: factors.unknown() };
        let percent = u64::from(round_trip_percent.clamp(1, 100));
        let taken = more.saturating_mul(100).div_ceil(percent);
        self.charge(taken, mix.unwrap_or(&unknown), round_trip_percent.clamp(1, 100));
        // What rounding adds beyond the gauge's word is none of ours.
        self.stored_mwh = stored_mwh;
        self.renewable_mwh = self.renewable_mwh.min(stored_mwh);
        Drawn::default()
    }

    /// Another measure of how much is stored, as where its capacity becomes known: what it is made of does not change.
    // spec: EN-4
    pub fn measured_anew(&mut self, stored_mwh: u64) {
        let stored_mwh = stored_mwh.min(MAX_MWH);
        let of = |part: u64| {
            let whole = u128::from(self.stored_mwh.max(1));
            let scaled = (u128::from(part) * u128::from(stored_mwh) + whole / 2) / whole;
            u64::try_from(scaled).unwrap_or(u64::MAX)
        };
        let (carbon_ug, renewable_mwh) = (of(self.carbon_ug), of(self.renewable_mwh).min(stored_mwh));
        // Of an empty one nothing is known.
        if self.stored_mwh > 0 {
            *self = Self { stored_mwh, carbon_ug, renewable_mwh };
        }
    }

    /// What its energy is, if there is any.
    pub fn claim(&self) -> Option<EnergyClaim> {
        let grams = (self.carbon_ug + self.stored_mwh / 2).checked_div(self.stored_mwh)?;
        let percent = (self.renewable_mwh * 100).checked_div(self.stored_mwh)?;
        Some(EnergyClaim {
            source: Source::Battery,
            renewable_percent: u8::try_from(percent).unwrap_or(100),
            g_per_kwh: u16::try_from(grams).unwrap_or(u16::MAX).min(MAX_G_PER_KWH),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mix(renewable_percent: u8, g_per_kwh: u16) -> EnergyClaim {
        EnergyClaim { source: Source::Grid, renewable_percent, g_per_kwh }
    }

    // spec: EN-4
    #[test]
    fn another_measure_of_it_changes_nothing_of_what_it_is_made_of() {
        let mut battery = Inventory::default();
        battery.charge(80_000, &mix(100, 41), 100);
        battery.charge(20_000, &mix(0, 700), 100);
        let claim = battery.claim();
        assert_eq!(claim.map(|it| (it.renewable_percent, it.g_per_kwh)), Some((80, 173)));
        for stored in [10_000_000, 3, 77_777, MAX_MWH, u64::MAX, 100_000] {
            battery.measured_anew(stored);
            assert_eq!(battery.stored_mwh(), stored.min(MAX_MWH));
            assert!(battery.claim().unwrap().g_per_kwh.abs_diff(173) <= 1, "{stored}: {:?}", battery.claim());
        }
        battery.measured_anew(0);
        assert_eq!((battery.claim(), battery.carbon_ug()), (None, 0));
        battery.measured_anew(50);
        assert_eq!(battery.stored_mwh(), 0, "what is charged into an empty one is for the gauge to say");
    }

    // spec: EN-4
    #[test]
    fn what_comes_out_is_what_went_in_and_the_loss() {
        let mut battery = Inventory::default();
        assert_eq!(battery.claim(), None, "nothing is in it");
        // 1 kWh of sun at 41 g and 1 kWh of grid at 441 g: 1.8 kWh are stored, with all of 482 g.
        assert_eq!(battery.charge(1_000_000, &mix(100, 41), 90), 900_000);
        assert_eq!(battery.charge(1_000_000, &mix(20, 441), 90), 900_000);
        assert_eq!((battery.stored_mwh(), battery.carbon_ug()), (1_800_000, 482_000_000));
        let claim = battery.claim().unwrap();
        assert_eq!((claim.source, claim.renewable_percent, claim.g_per_kwh), (Source::Battery, 60, 268));
        let half = battery.draw(900_000);
        assert_eq!((half.mwh, half.carbon_ug), (900_000, 241_000_000), "by hand: half of 482 g");
        assert_eq!(battery.claim(), Some(claim), "drawing does not change what is left");
        let rest = battery.draw(u64::MAX);
        assert_eq!((rest.mwh, rest.carbon_ug), (900_000, 241_000_000));
        assert_eq!(battery, Inventory::default());
    }

    // spec: EN-4, EN-3
    #[test]
    fn a_gauge_tells_what_was_charged_and_drawn() {
        let factors = Factors::default();
        let mut battery = Inventory::unknown(40_000, factors);
        assert_eq!(battery.claim().unwrap().g_per_kwh, 820, "nobody saw what it was charged with");
        assert_eq!(battery.gauge(40_000, Some(&mix(100, 0)), 90, factors), Drawn::default());
        assert_eq!(battery.claim().unwrap().g_per_kwh, 820, "nothing came, nothing changed");
        assert_eq!(battery.gauge(20_000, None, 90, factors).carbon_ug, 20_000 * 820);
        // 18 Wh more took 20 Wh of sun at 41 g.
        battery.gauge(38_000, Some(&mix(100, 41)), 90, factors);
        assert_eq!(battery.carbon_ug(), 20_000 * 820 + 20_000 * 41);
        assert_eq!(battery.claim().unwrap().renewable_percent, 47);
        battery.gauge(47_000, None, 90, factors);
        assert_eq!(battery.carbon_ug(), 20_000 * 820 + 20_000 * 41 + 10_000 * 820, "unknown is dirty");
        assert_eq!(battery.gauge(0, None, 90, factors).mwh, 47_000);
        assert_eq!(battery.claim(), None);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Charge(u64, u8, u16),
        Draw(u64),
        Gauge(u64, Option<(u8, u16)>),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let charge =
            (0u64..1_000_000_000, 0u8..=100, 0u16..=2000).prop_map(|(e, r, g)| Step::Charge(e, r, g));
        let draw = (0u64..1_000_000_000).prop_map(Step::Draw);
        let gauge = (0u64..1_000_000_000, proptest::option::of((0u8..=100, 0u16..=2000)))
            .prop_map(|(e, mix)| Step::Gauge(e, mix));
        proptest::collection::vec(prop_oneof![charge, draw, gauge], 0..40)
    }

    proptest! {
        // spec: EN-4
        #[test]
        fn energy_and_grams_are_conserved(steps in steps(), trip in 1u8..=100) {
            let factors = Factors::default();
            let mut battery = Inventory::default();
            let (mut grams_in, mut grams_out, mut kept, mut out) = (0u64, 0u64, 0u64, 0u64);
            for step in steps {
                match step {
                    Step::Charge(taken, renewable, grams) => {
                        let stored = battery.charge(taken, &mix(renewable, grams), trip);
                        prop_assert!(stored <= taken && taken - stored <= taken * u64::from(100 - trip) / 100 + 1);
                        grams_in += taken * u64::from(grams);
                        kept += stored;
                    }
                    Step::Draw(wanted) => {
                        let before = battery.claim();
                        let drawn = battery.draw(wanted);
                        prop_assert!(drawn.mwh <= wanted && drawn.renewable_mwh <= drawn.mwh);
                        if let (Some(before), true) = (before, drawn.mwh > 1_000_000) {
                            let grams = drawn.carbon_ug / drawn.mwh;
                            prop_assert!(grams.abs_diff(u64::from(before.g_per_kwh)) <= 1 || before.g_per_kwh == MAX_G_PER_KWH);
                        }
                        grams_out += drawn.carbon_ug;
                        out += drawn.mwh;
                    }
                    Step::Gauge(stored, with) => {
                        let (before, carbon) = (battery.stored_mwh(), battery.carbon_ug());
                        let with = with.map(|(renewable, grams)| mix(renewable, grams));
                        let drawn = battery.gauge(stored, with.as_ref(), trip, factors);
                        grams_out += drawn.carbon_ug;
                        out += drawn.mwh;
                        if stored >= before {
                            kept += stored - before;
                            let grams = with.map_or_else(|| factors.unknown(), |with| with.g_per_kwh);
                            let taken = ((stored - before) * 100).div_ceil(u64::from(trip));
                            prop_assert_eq!(battery.carbon_ug() - carbon, taken * u64::from(grams));
                            grams_in += taken * u64::from(grams);
                        }
                        prop_assert_eq!(battery.stored_mwh(), stored);
                    }
                }
                prop_assert_eq!(kept, out + battery.stored_mwh(), "no energy is made or lost");
                prop_assert_eq!(grams_in, grams_out + battery.carbon_ug(), "no gram is made or lost");
                prop_assert!(battery.renewable_mwh <= battery.stored_mwh);
            }
            let rest = battery.draw(u64::MAX);
            prop_assert_eq!((kept, grams_in), (out + rest.mwh, grams_out + rest.carbon_ug));
        }
    }
}
