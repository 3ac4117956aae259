//! What energy is where, and what a run used of it: readings, and the pieces of a run under each.
// spec: EN-2, CO2-1, CO2-2

use crate::ad::{EnergyClaim, Source};
use crate::canonical;
use crate::factors::Factors;
use crate::key::{Domain, PublicKey, SecretKey, Signature};
use crate::limits::MAX_DURATION_MS;
use crate::text::sanitise;
use serde::{Deserialize, Serialize};

/// Most pieces of one run: a day by the hour. Longer runs have longer pieces.
pub const MAX_PIECES: usize = 24;
/// Most pieces of one run whose readings carry a signature: with them a statement still fits into an entry.
pub const MAX_ATTESTED: usize = 8;
/// Most bytes of the names of a reading's origin and zone.
pub const MAX_WORD: usize = 24;
/// Most grams of CO2 per kWh: coal and its ash, twice over. More is a wrong unit.
pub const MAX_G_PER_KWH: u16 = 2000;
/// Most watts that any device draws for one task: a room full of heaters. More is no measurement.
pub const MAX_WATTS: u64 = 10_000;
/// Longest time for which a meter's signature may hold: a day.
pub const MAX_ATTESTED_MS: u64 = 24 * 3_600_000;

/// What an intensity covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// What making a kWh causes, and what building and fuelling the plant did.
    #[default]
    LifeCycle,
    /// What comes out of the chimney.
    Direct,
}

/// Which question an intensity answers. The two are never added, compared or subtracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// What a kWh of the mix carries.
    #[default]
    Average,
    /// What one kWh more would cause.
    Marginal,
}

/// What a device's energy is for a while, and who says so.
// spec: EN-2
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// Source, renewable part, grams per kWh.
    pub claim: EnergyClaim,
    /// What the grams cover.
    pub scope: Scope,
    /// Which question they answer.
    pub kind: Kind,
    /// Is it an estimate, by the word of who gave it?
    pub estimated: bool,
    /// Where it was read: `fixed`, `trace`, `command`, a service's name.
    pub origin: String,
    /// Which grid, if its origin tells.
    pub zone: String,
    /// A meter's own word for it.
    pub attestation: Option<Attestation>,
}

/// A meter's signature of a reading.
// spec: EN-6
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// The meter's key.
    pub meter: PublicKey,
    /// From when, in milliseconds since 1970.
    pub from_ms: u64,
    /// Until when.
    pub until_ms: u64,
    /// Over the reading and these times.
    pub signature: Signature,
}

impl Reading {
    /// What an owner or a source says of energy, and nothing more is known.
    pub fn of(claim: EnergyClaim, origin: &str) -> Self {
        Self {
            claim,
            scope: Scope::default(),
            kind: Kind::default(),
            estimated: false,
            origin: origin.to_owned(),
            zone: String::new(),
            attestation: None,
        }
    }

    /// The bytes that a meter signs.
    pub fn message(&self, from_ms: u64, until_ms: u64) -> Vec<u8> {
        canonical::encode(&(self.claim, self.scope, self.kind, self.estimated, &self.zone, from_ms, until_ms))
    }

    /// Signs as a meter.
    #[must_use]
    pub fn attest(mut self, meter: &SecretKey, from_ms: u64, until_ms: u64) -> Self {
        let signature = meter.sign(Domain::Meter, &self.message(from_ms, until_ms));
        self.attestation = Some(Attestation { meter: meter.public(), from_ms, until_ms, signature });
        self
    }

    /// The meter whose word for this reading holds for this whole time, if one's does.
    // spec: EN-6
    pub fn attested_by(&self, from_ms: u64, until_ms: u64) -> Option<PublicKey> {
        let word = self.attestation.as_ref()?;
        let covers = word.from_ms <= from_ms && until_ms <= word.until_ms;
        let short = word.until_ms.saturating_sub(word.from_ms) <= MAX_ATTESTED_MS;
        let message = self.message(word.from_ms, word.until_ms);
        let holds = || word.meter.verify(Domain::Meter, &message, &word.signature).is_ok();
        (covers && short && holds()).then_some(word.meter)
    }

    /// Can it be, and is it of bounded size?
    // spec: ARC-7, EN-3
    pub fn check(&self) -> Result<(), &'static str> {
        let word = |text: &str| text.len() <= MAX_WORD && sanitise(text, false) == text;
        if self.claim.renewable_percent > 100 || self.claim.g_per_kwh > MAX_G_PER_KWH {
            Err("an energy in it cannot be")
        } else if !word(&self.origin) || !word(&self.zone) {
            Err("the origin or zone of an energy in it is too long or not plain text")
        } else {
            Ok(())
        }
    }
}

/// How an energy is known.
// spec: CO2-1
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It is not.
    #[default]
    Unmeasured,
    /// By counters of the processor, and the task's part of its time.
    Measured,
    /// As watts of the processor by its load.
    Modelled,
}

/// A part of a run under one reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// When it began, in milliseconds since 1970.
    pub from_ms: u64,
    /// How long it was.
    pub ms: u64,
    /// Energy used in it, in millijoule.
    pub energy_mj: u64,
    /// What that energy was; none if it is not known.
    pub reading: Option<Reading>,
}

impl Piece {
    /// When it ended.
    pub fn until_ms(&self) -> u64 {
        self.from_ms.saturating_add(self.ms)
    }

    fn check(&self) -> Result<(), &'static str> {
        // A millisecond more, since times are rounded down.
        let most = self.ms.saturating_add(1).saturating_mul(MAX_WATTS);
        if self.ms > MAX_DURATION_MS || self.energy_mj > most {
            return Err("it claims more energy than any device draws, or for longer than any task runs");
        }
        self.reading.as_ref().map_or(Ok(()), Reading::check)
    }
}

/// Are these pieces one after another, each possible, and few enough?
// spec: ARC-7
pub fn check_pieces(pieces: &[Piece]) -> Result<(), &'static str> {
    let attested = |piece: &&Piece| piece.reading.as_ref().is_some_and(|it| it.attestation.is_some());
    if pieces.len() > MAX_PIECES || pieces.iter().filter(attested).count() > MAX_ATTESTED {
        return Err("a run in it has too many pieces");
    }
    if pieces.windows(2).any(|pair| pair[0].until_ms() > pair[1].from_ms) {
        return Err("the pieces of a run in it overlap");
    }
    pieces.iter().try_for_each(Piece::check)
}

/// What a run used.
// spec: CO2-1, CO2-2
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Metered {
    /// How it is known.
    pub how: How,
    /// By how much it may be wrong, in percent of itself.
    pub uncertainty_percent: u8,
    /// By which table what is unknown counts.
    pub factors: Factors,
    /// What it used, one after another; nothing if it is not known.
    pub pieces: Vec<Piece>,
}

impl Metered {
    /// All of it, in millijoule; none if it is not known, which is not 0.
    pub fn energy_mj(&self) -> Option<u64> {
        let sum = || self.pieces.iter().fold(0, |sum: u64, piece| sum.saturating_add(piece.energy_mj));
        (self.how != How::Unmeasured).then(sum)
    }

    /// Are its inner bounds kept?
    // spec: ARC-7
    pub fn check(&self) -> Result<(), &'static str> {
        if (self.how == How::Unmeasured) != self.pieces.is_empty() {
            return Err("what is unmeasured has no energy, and what is measured has some");
        }
        check_pieces(&self.pieces)
    }
}

/// The source in a word.
pub fn source_name(source: Source) -> &'static str {
    match source {
        Source::Solar => "solar",
        Source::Wind => "wind",
        Source::Hydro => "hydro",
        Source::Battery => "battery",
        Source::Grid => "grid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(g_per_kwh: u16) -> Reading {
        Reading::of(EnergyClaim { source: Source::Grid, renewable_percent: 40, g_per_kwh }, "fixed")
    }

    fn piece(from_ms: u64, ms: u64) -> Piece {
        Piece { from_ms, ms, energy_mj: ms, reading: Some(grid(450)) }
    }

    // spec: EN-6
    #[test]
    fn a_meters_word_holds_for_its_reading_and_its_time() {
        let meter = SecretKey::from_seed(&[1; 32]);
        let signed = grid(450).attest(&meter, 100, 200);
        assert_eq!(signed.attested_by(100, 200), Some(meter.public()));
        assert_eq!(signed.attested_by(99, 200), None);
        assert_eq!(signed.attested_by(100, 201), None);
        assert_eq!(grid(450).attested_by(100, 200), None);
        let mut cleaner = signed.clone();
        cleaner.claim.g_per_kwh = 4;
        assert_eq!(cleaner.attested_by(100, 200), None);
        let mut longer = signed;
        if let Some(word) = &mut longer.attestation {
            word.until_ms = 300;
        }
        assert_eq!(longer.attested_by(100, 200), None);
        let ever = grid(450).attest(&meter, 0, MAX_ATTESTED_MS + 1);
        assert_eq!(ever.attested_by(100, 200), None, "a word for ever is none");
    }

    // spec: CO2-1
    #[test]
    fn what_is_unmeasured_is_not_nothing() {
        assert_eq!(Metered::default().energy_mj(), None);
        assert_eq!(Metered::default().check(), Ok(()));
        let pieces = vec![piece(0, 10), piece(10, 5)];
        let measured = Metered { how: How::Measured, pieces: pieces.clone(), ..Metered::default() };
        assert_eq!(measured.energy_mj(), Some(15));
        assert!(Metered { how: How::Measured, ..Metered::default() }.check().is_err());
        assert!(Metered { pieces, ..Metered::default() }.check().is_err());
    }

    // spec: ARC-7, EN-3
    #[test]
    fn what_cannot_be_is_refused() {
        assert!(check_pieces(&[piece(0, 10), piece(9, 10)]).is_err());
        assert!(check_pieces(&[Piece { energy_mj: 11 * MAX_WATTS + 1, ..piece(0, 10) }]).is_err());
        assert!(check_pieces(&[piece(0, MAX_DURATION_MS + 1)]).is_err());
        let many: Vec<Piece> = (0..=MAX_PIECES as u64).map(|at| piece(at * 10, 10)).collect();
        assert!(check_pieces(&many[..MAX_PIECES]).is_ok() && check_pieces(&many).is_err());
        let meter = SecretKey::from_seed(&[1; 32]);
        let signed = |at: u64| Piece { reading: Some(grid(1).attest(&meter, 0, 9)), ..piece(at * 10, 10) };
        let signed: Vec<Piece> = (0..=MAX_ATTESTED as u64).map(signed).collect();
        assert!(check_pieces(&signed[..MAX_ATTESTED]).is_ok() && check_pieces(&signed).is_err());
        let mut wrong = grid(MAX_G_PER_KWH + 1);
        assert!(wrong.check().is_err());
        wrong.claim.g_per_kwh = 1;
        wrong.claim.renewable_percent = 101;
        assert!(wrong.check().is_err());
        for word in ["x".repeat(MAX_WORD + 1), "\u{1b}[31m".into()] {
            assert!(Reading { zone: word.clone(), ..grid(1) }.check().is_err());
            assert!(Reading { origin: word, ..grid(1) }.check().is_err());
        }
    }
}
