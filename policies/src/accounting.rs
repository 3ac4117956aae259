//! What did a run cause, and what did it save? In whole numbers, so that everybody comes to the same.
//!
//! Energy is in millijoule, intensity in grams per kWh, carbon in micrograms: 1 mJ at 3600 g per kWh is 1 µg.
// spec: CO2-2, CO2-3

use mesh_protocol::energy::{How, Kind, Metered, Piece, Reading, Scope};
use mesh_protocol::factors::Factors;
use mesh_protocol::ledger::{Accounted, Saved};
use serde::Serialize;

/// Millijoules times grams per kWh that are a microgram.
const PER_UG: u128 = 3600;
/// Microjoules by the byte of moving it: 0.01 kWh a gigabyte, the middle of what is published for fixed lines. No more
/// than an order of magnitude; it is there so that moving is not for free.
pub const TRANSFER_UJ_PER_BYTE: u64 = 36;

/// Pieces added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Sum {
    /// Energy in millijoule.
    pub energy_mj: u64,
    /// Of it, that of which nothing more is known.
    pub unknown_mj: u64,
    /// Each piece's energy by its grams per kWh.
    weighted: u64,
    /// Each piece's energy by its renewable percent.
    renewable: u64,
    /// Which signals the intensities are of: a bit for each.
    signals: u8,
}

/// The bit of a reading's signal.
fn signal(reading: &Reading) -> u8 {
    let direct = u8::from(reading.scope == Scope::Direct);
    let marginal = u8::from(reading.kind == Kind::Marginal);
    1 << (direct * 2 + marginal)
}

impl Sum {
    /// Adds pieces up. What is unknown counts as the dirtiest there is, and as not renewable.
    // spec: CO2-2, EN-3
    pub fn of(pieces: &[Piece], factors: Factors) -> Self {
        let mut sum = Self::default();
        for piece in pieces {
            let (grams, percent) = match &piece.reading {
                Some(reading) => (reading.claim.g_per_kwh, reading.claim.renewable_percent),
                None => (factors.unknown(), 0),
            };
            let by = |factor: u64| piece.energy_mj.saturating_mul(factor);
            sum.energy_mj = sum.energy_mj.saturating_add(piece.energy_mj);
            sum.weighted = sum.weighted.saturating_add(by(grams.into()));
            sum.renewable = sum.renewable.saturating_add(by(percent.into()));
            match &piece.reading {
                Some(reading) => sum.signals |= signal(reading),
                None => sum.unknown_mj = sum.unknown_mj.saturating_add(piece.energy_mj),
            }
        }
        sum
    }

    /// Of what a run used; none if that is not known.
    pub fn metered(metered: &Metered) -> Option<Self> {
        (metered.how != How::Unmeasured).then(|| Self::of(&metered.pieces, metered.factors))
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            energy_mj: self.energy_mj.saturating_add(other.energy_mj),
            unknown_mj: self.unknown_mj.saturating_add(other.unknown_mj),
            weighted: self.weighted.saturating_add(other.weighted),
            renewable: self.renewable.saturating_add(other.renewable),
            signals: self.signals | other.signals,
        }
    }

    /// Are all its intensities, and those of the other, of one scope and kind? What is not known is of none.
    // spec: EN-2
    pub fn is_like(&self, other: &Self) -> bool {
        (self.signals | other.signals).count_ones() <= 1
    }

    /// Its carbon.
    // spec: CO2-2
    pub fn carbon_ug(&self) -> u64 {
        rounded(self.weighted.into(), PER_UG)
    }

    /// The carbon of so much energy of the same mix.
    fn carbon_of_ug(&self, energy_mj: u64) -> u64 {
        let weighted = u128::from(self.weighted) * u128::from(energy_mj);
        rounded(weighted, PER_UG * u128::from(self.energy_mj.max(1)))
    }

    /// Its renewable energy in millijoule.
    pub fn renewable_mj(&self) -> u64 {
        rounded(self.renewable.into(), 100)
    }

    /// Its renewable share in hundredths of a percent.
    pub fn renewable_bp(&self) -> u64 {
        rounded(u128::from(self.renewable) * 100, u128::from(self.energy_mj.max(1)))
    }

    /// Its mean intensity in grams per kWh, to be shown.
    pub fn g_per_kwh(&self) -> u64 {
        rounded(self.weighted.into(), u128::from(self.energy_mj.max(1)))
    }
}

fn rounded(value: u128, by: u128) -> u64 {
    u64::try_from((value + by / 2) / by.max(1)).unwrap_or(u64::MAX)
}

/// The attempt whose result is the task's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// What it used.
    pub sum: Sum,
    /// Fuel of the whole task, and what of it this attempt burnt: less, if it went on from a checkpoint.
    pub fuel: (u64, u64),
}

impl Taken {
    /// The energy of the whole work by this attempt's measure.
    pub fn whole_mj(&self) -> u64 {
        scaled(self.sum.energy_mj, self.fuel)
    }
}

/// By the whole of the fuel instead of a part.
pub fn scaled(value: u64, (whole, part): (u64, u64)) -> u64 {
    if whole == part || part == 0 {
        value
    } else {
        rounded(u128::from(value) * u128::from(whole), part.into())
    }
}

/// Home is believed to need up to so many times the energy and time that the work was seen to take. Between the thriftiest
/// and the hungriest device that runs such tasks lies a factor of five or so, and between a counter's word and a model's
/// another three; more is no other hardware.
const HOME_TIMES: u64 = 16;
/// Or so much: a milliwatt-hour, of which counters say next to nothing, and which is not worth a lie.
const HOME_LEAST_MJ: u64 = 3_600;
/// Or so long, as hardly anything counts below.
const HOME_LEAST_MS: u64 = 60_000;
/// By so much the date of a submission's entry may differ from when the task was submitted: as much as rules let clocks.
const AROUND_MS: u64 = 3_600_000;

/// What an account says of home, added up.
// spec: CO2-3
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Home {
    /// The same work at once.
    pub at_once: Sum,
    /// The same work when it ran.
    pub then: Sum,
    /// When it would have run at once; none if that is nothing.
    span: Option<(u64, u64)>,
    /// From when until when `then` is.
    then_span: Option<(u64, u64)>,
    /// Is it without a gap?
    unbroken: bool,
}

/// On record of a task that is done: what its account is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Did it run on the device it was submitted on?
    pub at_home: bool,
    /// The attempt whose result is the task's.
    pub taken: Taken,
    /// Energy that is known of the other attempts.
    pub others_mj: u64,
    /// From when until when that attempt used its energy; none if it used none.
    pub span: Option<(u64, u64)>,
    /// When it was submitted, by its entry.
    pub submitted_ms: u64,
    /// When its result came, by its entry.
    pub done_ms: u64,
}

/// From when until when pieces are.
pub fn span(pieces: &[Piece]) -> Option<(u64, u64)> {
    Some((pieces.first()?.from_ms, pieces.last()?.until_ms()))
}

impl Seen {
    /// The most that home can have needed, in millijoule. Where it ran at home that is what it needed there.
    pub fn most_mj(&self) -> u64 {
        let all_mj = self.taken.sum.energy_mj.saturating_add(self.others_mj);
        let most = all_mj.saturating_mul(HOME_TIMES).max(HOME_LEAST_MJ);
        if self.at_home { most.min(self.taken.whole_mj()) } else { most }
    }

    /// The longest that home can have taken.
    pub fn most_ms(&self) -> u64 {
        let took = self.done_ms.saturating_sub(self.submitted_ms);
        took.saturating_mul(HOME_TIMES).max(HOME_LEAST_MS)
    }

    /// When it would have begun at home, for a task that says to have been made then.
    pub fn begins(&self, created_ms: u64) -> u64 {
        created_ms
            .clamp(self.submitted_ms.saturating_sub(AROUND_MS), self.submitted_ms.saturating_add(AROUND_MS))
    }
}

impl Home {
    /// By an account.
    pub fn of(account: &Accounted) -> Self {
        let sum = |pieces: &[Piece]| Sum::of(pieces, account.factors);
        let mut pairs = account.at_once.windows(2);
        Self {
            at_once: sum(&account.at_once),
            then: sum(&account.then),
            span: span(&account.at_once),
            then_span: span(&account.then),
            unbroken: pairs.all(|pair| pair[0].until_ms() == pair[1].from_ms),
        }
    }

    /// Can it be, by what is on record of the task? An account is its submitter's word alone, and adds to what the
    /// community saved.
    // spec: CO2-3, CO2-4
    pub fn check(&self, seen: &Seen) -> Result<(), &'static str> {
        if self.at_once.energy_mj > seen.most_mj() {
            return Err("home would not need so much more than the work was measured to use");
        }
        if let Some((from, until)) = self.span {
            if seen.begins(from) != from {
                return Err("home would have begun when the task was submitted, and not at another time");
            }
            if !self.unbroken || until.saturating_sub(from) > seen.most_ms() {
                return Err("home would have computed in one go, and not for so long");
            }
        }
        let within =
            |(from, until): (u64, u64)| seen.span.is_some_and(|(first, last)| first <= from && until <= last);
        match self.then_span {
            Some(then) if !within(then) => Err("the same work at home is not of when it ran"),
            _ => Ok(()),
        }
    }
}

/// What a task saved: home at once, less everything that it really caused, in parts that are all of it. None where
/// home's energy is not known, since what is unknown must help nobody, and where the intensities are not of one kind.
///
/// `at_once` and `then` are the same work at home, at once and when it ran; `others` are all other attempts.
// spec: CO2-3
pub fn saved(at_once: &Sum, then: &Sum, taken: &Taken, others: &[Sum], transfer_mj: u64) -> Option<Saved> {
    let all = others.iter().fold(taken.sum, |all, other| all.and(*other));
    let known = at_once.unknown_mj == 0 && then.unknown_mj == 0 && at_once.energy_mj == then.energy_mj;
    if !known || !at_once.and(*then).is_like(&all) {
        return None;
    }
    let ug = |carbon: u64| i64::try_from(carbon).unwrap_or(i64::MAX);
    // From one end to the other in steps, each rounded once, so that the parts are the whole to the microgram.
    let home_at_once = ug(at_once.carbon_ug());
    let home_then = ug(then.carbon_ug());
    let there_then = ug(taken.sum.carbon_of_ug(at_once.energy_mj));
    let whole_there = ug(taken.sum.carbon_of_ug(taken.whole_mj()));
    let caused = ug(all.carbon_ug()).saturating_add(ug(then.carbon_of_ug(transfer_mj)));
    Some(Saved {
        when_ug: home_at_once.saturating_sub(home_then),
        where_ug: home_then.saturating_sub(there_then),
        hardware_ug: there_then.saturating_sub(whole_there),
        overhead_ug: whole_there.saturating_sub(caused),
    })
}

/// The same by an account, recomputed.
pub fn saved_by(account: &Accounted, taken: &Taken, others: &[Sum]) -> Option<Saved> {
    let sum = |pieces: &[Piece]| Sum::of(pieces, account.factors);
    saved(&sum(&account.at_once), &sum(&account.then), taken, others, account.transfer_mj)
}

/// Energy of moving so many bytes, in millijoule.
pub fn transfer_mj(bytes: u64) -> u64 {
    rounded(u128::from(bytes) * u128::from(TRANSFER_UJ_PER_BYTE), 1000)
}

#[cfg(test)]
mod tests {
    use super::saved as save;
    use super::*;
    use mesh_protocol::ad::{EnergyClaim, Source};
    use mesh_protocol::ids::TaskId;
    use proptest::prelude::*;

    /// A watt-hour in millijoule.
    const WH: u64 = 3_600_000;

    fn on(energy_mj: u64, g_per_kwh: u16, renewable_percent: u8) -> Piece {
        let claim = EnergyClaim { source: Source::Grid, renewable_percent, g_per_kwh };
        Piece { from_ms: 0, ms: 1, energy_mj, reading: Some(Reading::of(claim, "fixed")) }
    }

    fn sum(pieces: &[Piece]) -> Sum {
        Sum::of(pieces, Factors::default())
    }

    fn whole(sum: Sum) -> Taken {
        Taken { sum, fuel: (10, 10) }
    }

    // spec: CO2-2
    #[test]
    fn the_records_that_were_computed_by_hand() {
        let one = sum(&[on(200 * WH, 450, 30)]);
        assert_eq!(one.carbon_ug(), 90_000_000, "200 Wh at 450 kg per MWh are 0.09 kg");
        assert_eq!((one.renewable_mj(), one.renewable_bp()), (60 * WH, 3000));
        // An hour of 10 Wh at 100 g, one of 30 Wh at 300 g: 1 g and 9 g; 10 % of 10 and 50 % of 30 are 16 of 40.
        let two = sum(&[on(10 * WH, 100, 10), on(30 * WH, 300, 50)]);
        assert_eq!((two.carbon_ug(), two.g_per_kwh(), two.renewable_bp()), (10_000_000, 250, 4000));
        // 1 Wh of nothing that is known is a Wh of coal.
        let unknown = sum(&[Piece { reading: None, ..on(WH, 0, 0) }]);
        assert_eq!((unknown.carbon_ug(), unknown.unknown_mj, unknown.renewable_mj()), (820_000, WH, 0));
        // A gigabyte is a hundredth of a kWh.
        assert_eq!(transfer_mj(1_000_000_000), 10 * WH);
        assert_eq!(Sum::metered(&Metered::default()), None, "unmeasured is not 0");
    }

    // spec: CO2-3
    #[test]
    fn run_at_once_at_home_saves_nothing() {
        let run = sum(&[on(1234, 450, 30), on(567, 389, 40)]);
        let saved = save(&run, &run, &whole(run), &[], 0).unwrap();
        assert_eq!((saved, saved.total_ug()), (Saved::default(), 0));
    }

    // spec: CO2-3
    #[test]
    fn each_part_is_what_its_name_says() {
        let home = |grams| sum(&[on(100 * WH, grams, 0)]);
        // 100 Wh at 500 g now, 400 g when it ran; there at 50 g, on a device that needs 80 Wh for it; a lost attempt had
        // used 10 Wh at 50 g, and 5 Wh at home's 400 g moved it: 10 g, 35 g, 1 g, and 0.5 + 2 g for nothing.
        let taken = whole(sum(&[on(80 * WH, 50, 95)]));
        let lost = sum(&[on(10 * WH, 50, 95)]);
        let saved = save(&home(500), &home(400), &taken, &[lost], 5 * WH).unwrap();
        let parts = (saved.when_ug, saved.where_ug, saved.hardware_ug, saved.overhead_ug);
        assert_eq!(parts, (10_000_000, 35_000_000, 1_000_000, -2_500_000));
        assert_eq!(saved.total_ug(), 43_500_000, "50 g at once at home, less 6.5 g in all");
    }

    // spec: CO2-3
    #[test]
    fn a_loss_is_shown_as_one() {
        let clean = sum(&[on(WH, 20, 90)]);
        let dirty = whole(sum(&[on(2 * WH, 700, 0)]));
        let saved = save(&clean, &clean, &dirty, &[], 0).unwrap();
        assert_eq!(saved.total_ug(), 20_000 - 1_400_000);
        assert_eq!((saved.where_ug, saved.hardware_ug), (-680_000, -700_000));
    }

    // spec: CO2-3
    #[test]
    fn what_went_on_from_a_checkpoint_is_compared_as_a_whole() {
        let home = sum(&[on(10 * WH, 400, 0)]);
        // The first attempt burnt 6 of 10 units at 6 Wh and was lost, the second went on with 4.
        let second = Taken { sum: sum(&[on(4 * WH, 100, 0)]), fuel: (10, 4) };
        let first = sum(&[on(6 * WH, 100, 0)]);
        let saved = save(&home, &home, &second, &[first], 0).unwrap();
        assert_eq!((saved.where_ug, saved.overhead_ug), (3_000_000, 0), "nothing was done twice");
    }

    // spec: CO2-3, EN-3
    #[test]
    fn what_is_unknown_at_home_is_no_saving() {
        let unknown = sum(&[Piece { reading: None, ..on(WH, 0, 0) }]);
        let known = sum(&[on(WH, 450, 0)]);
        let taken = whole(sum(&[on(WH, 20, 0)]));
        assert_eq!(save(&unknown, &known, &taken, &[], 0), None);
        assert_eq!(save(&known, &unknown, &taken, &[], 0), None);
    }

    // spec: CO2-2
    #[test]
    fn carbon_is_whole_micrograms_to_the_nearest() {
        // 1 mJ at 3600 g per kWh is 1 µg.
        for (energy_mj, g_per_kwh, ug) in
            [(1, 1799, 0), (1, 1800, 1), (2, 1800, 1), (3, 1799, 1), (3, 1800, 2), (3600, 1, 1)]
        {
            assert_eq!(
                sum(&[on(energy_mj, g_per_kwh, 0)]).carbon_ug(),
                ug,
                "{energy_mj} mJ at {g_per_kwh} g"
            );
        }
        assert_eq!((transfer_mj(13), transfer_mj(14)), (0, 1), "0.47 and 0.5 mJ");
    }

    // spec: CO2-4
    #[test]
    fn whoever_reads_an_account_comes_to_what_its_submitter_wrote() {
        let (at_once, then) = (vec![on(10 * WH, 400, 0)], vec![on(10 * WH, 300, 0)]);
        let taken = whole(sum(&[on(9 * WH, 50, 95)]));
        let others = [sum(&[on(WH, 50, 95)])];
        let account = |at_once: &[Piece], factors| Accounted {
            task: TaskId([7; 32]),
            attempt: 1,
            factors,
            at_once: at_once.to_vec(),
            then: then.clone(),
            transfer_mj: WH,
            counted: vec![1, 2],
            saved: None,
        };
        let saved = saved_by(&account(&at_once, Factors::default()), &taken, &others).unwrap();
        assert_eq!(saved, save(&sum(&at_once), &sum(&then), &taken, &others, WH).unwrap());
        assert_eq!(saved.total_ug(), 4_000_000 - 500_000 - 300_000);
        let unknown = [Piece { reading: None, ..at_once[0].clone() }];
        assert_eq!(saved_by(&account(&unknown, Factors::default()), &taken, &others), None);
    }

    // spec: CO2-3, CO2-4
    #[test]
    fn an_account_of_home_is_held_against_what_the_work_was_seen_to_take() {
        const HOUR: u64 = 3_600_000;
        let at = |from_ms: u64, ms: u64, energy_mj: u64| Piece { from_ms, ms, ..on(energy_mj, 2000, 0) };
        let account = |at_once: &[Piece], then: &[Piece]| Accounted {
            task: TaskId([7; 32]),
            attempt: 1,
            factors: Factors::default(),
            at_once: at_once.to_vec(),
            then: then.to_vec(),
            transfer_mj: 0,
            counted: vec![1],
            saved: None,
        };
        // Submitted at 10 o'clock, run from 12 to 13 elsewhere, and its result here a minute later.
        let seen = Seen {
            at_home: false,
            taken: whole(sum(&[on(WH, 50, 95)])),
            others_mj: WH,
            span: Some((12 * HOUR, 13 * HOUR)),
            submitted_ms: 10 * HOUR,
            done_ms: 13 * HOUR + 60_000,
        };
        let ran = |mj: u64| vec![at(12 * HOUR, HOUR, mj)];
        let check = |seen: &Seen, at_once: &[Piece], then: &[Piece]| {
            Home::of(&account(at_once, then)).check(seen).map_err(|why| why.to_owned())
        };
        let much = 32 * WH;
        // Of both attempts sixteen times as much, over the whole of the longest that it can take.
        assert_eq!(check(&seen, &[at(10 * HOUR, 48 * HOUR, much)], &ran(much)), Ok(()));
        assert!(check(&seen, &[at(10 * HOUR, HOUR, much + 1)], &ran(much + 1)).is_err(), "10 kWh for 1 Wh");
        for (from, fits) in
            [(9 * HOUR, true), (11 * HOUR, true), (9 * HOUR - 1, false), (11 * HOUR + 1, false)]
        {
            assert_eq!(check(&seen, &[at(from, HOUR, WH)], &ran(WH)).is_ok(), fits, "{from}");
        }
        let apart = [at(10 * HOUR, HOUR, 1), at(20 * HOUR, HOUR, WH - 1)];
        assert!(check(&seen, &apart, &ran(WH)).is_err(), "the dirtiest hour of the day");
        let joined = [at(10 * HOUR, HOUR, 1), at(11 * HOUR, HOUR, WH - 1)];
        assert_eq!(check(&seen, &joined, &ran(WH)), Ok(()));
        assert!(check(&seen, &[at(10 * HOUR, 49 * HOUR, WH)], &ran(WH)).is_err(), "it waits for a dirty day");
        for then in [at(12 * HOUR - 1, HOUR, WH), at(12 * HOUR, HOUR + 1, WH)] {
            assert!(check(&seen, &[at(10 * HOUR, HOUR, WH)], &[then]).is_err(), "it ran then, and then only");
        }
        // What ran here needed what it needed here.
        let here = Seen { at_home: true, others_mj: 0, ..seen };
        assert_eq!(check(&here, &[at(10 * HOUR, HOUR, WH)], &ran(WH)), Ok(()));
        assert!(check(&here, &[at(10 * HOUR, HOUR, WH + 1)], &ran(WH + 1)).is_err());
        // The smallest and the shortest of all.
        let span = Some((12 * HOUR, 12 * HOUR));
        let tiny =
            Seen { taken: whole(sum(&[on(1, 50, 95)])), others_mj: 0, span, done_ms: 10 * HOUR, ..seen };
        let little = [at(10 * HOUR, 60_000, 3_600)];
        assert_eq!(check(&tiny, &little, &[at(12 * HOUR, 0, 3_600)]), Ok(()));
        assert!(check(&tiny, &[at(10 * HOUR, 60_000, 3_601)], &[at(12 * HOUR, 0, 3_601)]).is_err());
        assert!(check(&tiny, &[at(10 * HOUR, 60_001, 1)], &[at(12 * HOUR, 0, 1)]).is_err());
        assert_eq!(check(&tiny, &[], &[]), Ok(()), "nothing is claimed");
        assert_eq!((tiny.begins(0), tiny.begins(10 * HOUR + 7)), (9 * HOUR, 10 * HOUR + 7));
    }

    // spec: EN-2
    #[test]
    fn signals_of_different_kinds_are_not_subtracted() {
        let known = sum(&[on(WH, 450, 0)]);
        let with = |change: &dyn Fn(&mut Reading)| {
            let mut piece = on(WH, 20, 0);
            piece.reading.as_mut().map(change).unwrap();
            whole(sum(&[piece]))
        };
        assert!(save(&known, &known, &with(&|_| {}), &[], 0).is_some());
        assert_eq!(save(&known, &known, &with(&|it| it.scope = Scope::Direct), &[], 0), None);
        let marginal = with(&|it| it.kind = Kind::Marginal);
        assert_eq!(save(&known, &known, &marginal, &[], 0), None);
        assert!(save(&marginal.sum, &marginal.sum, &marginal, &[], 0).is_some());
        assert_eq!(save(&known, &known, &whole(known), &[marginal.sum], 0), None);
    }

    // spec: EN-2
    #[test]
    fn each_scope_and_kind_is_a_signal_of_its_own() {
        let signals = [
            (Scope::LifeCycle, Kind::Average),
            (Scope::LifeCycle, Kind::Marginal),
            (Scope::Direct, Kind::Average),
            (Scope::Direct, Kind::Marginal),
        ];
        let of = |(scope, kind)| {
            let mut piece = on(WH, 20, 0);
            piece.reading = piece.reading.map(|reading| Reading { scope, kind, ..reading });
            sum(&[piece])
        };
        let unknown = sum(&[Piece { reading: None, ..on(WH, 0, 0) }]);
        for one in signals {
            for other in signals {
                assert_eq!(of(one).is_like(&of(other)), one == other, "{one:?} {other:?}");
                assert_eq!(of(one).and(of(other)).is_like(&unknown), one == other, "{one:?} {other:?}");
            }
        }
    }

    fn pieces() -> impl Strategy<Value = Vec<Piece>> {
        let piece = (0..1u64 << 45, 0..=2000u16, 0..=100u8).prop_map(|(mj, g, percent)| on(mj, g, percent));
        proptest::collection::vec(piece, 1..24)
    }

    proptest! {
        // spec: CO2-3
        #[test]
        fn the_parts_are_the_whole(
            home in pieces(), then_grams in 0..=2000u16, taken in pieces(), others in proptest::collection::vec(pieces(), 0..4),
            moved in 0..1u64 << 40, part in 1..=100u64,
        ) {
            let at_once = sum(&home);
            let then = sum(&[on(at_once.energy_mj, then_grams, 0)]);
            let taken = Taken { sum: sum(&taken), fuel: (100, part) };
            let others: Vec<Sum> = others.iter().map(|it| sum(it)).collect();
            let saved = save(&at_once, &then, &taken, &others, moved).unwrap();
            let all = others.iter().fold(taken.sum, |all, it| all.and(*it));
            let caused = all.carbon_ug() + then.carbon_of_ug(moved);
            prop_assert_eq!(saved.total_ug(), at_once.carbon_ug() as i64 - caused as i64);
        }
    }
}
