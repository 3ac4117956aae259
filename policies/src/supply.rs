//! What energy does a device have now, by all that its sources tell together?
//!
//! Own generation beyond what the household takes comes first, then what a battery gives, then what a source says
//! outright, then the owner's word, and at last the grid. Signals of different kind are never mixed: what is marginal
//! decides nothing here.
// spec: EN-1, EN-2, SLA-4

use crate::sun;
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::energy::{Kind, MAX_G_PER_KWH, Scope};
use mesh_protocol::factors::Factors;

/// Grams per kWh of a grid of which nothing is known but that it is one: the world's mean (Ember, 2023).
pub const ANY_GRID: u16 = 480;

/// What the owner says once and for all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Word {
    /// The source.
    pub source: Source,
    /// How much of it is renewable. The rest is as the zone's grid.
    pub percent: f64,
    /// Grams per kWh, if the owner says that, too.
    pub g_per_kwh: Option<u16>,
}

/// The grid there.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Grid {
    /// Grams per kWh.
    pub g_per_kwh: Option<f64>,
    /// How much of it is renewable, in percent.
    pub renewable_percent: Option<f64>,
    /// What the grams cover.
    pub scope: Scope,
    /// Which question they answer.
    pub kind: Kind,
    /// Does its origin call it an estimate?
    pub estimated: bool,
}

/// A battery of the home that gives power now.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cells {
    /// What its energy is, by what it was charged with.
    pub mix: Option<EnergyClaim>,
    /// How full it is, in percent.
    pub charge_percent: Option<f64>,
    /// Watts that it gives; below zero while it is charged.
    pub watts: Option<f64>,
    /// Percent that stay for the household.
    pub floor_percent: u8,
}

/// All that is known now. What is not is none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Supply {
    /// The owner's word.
    pub word: Option<Word>,
    /// Latitude and longitude in whole degrees.
    pub place: Option<(i16, i16)>,
    /// What one source says of all of it.
    pub outright: Option<EnergyClaim>,
    /// Does that source call it an estimate, and of which signal is it?
    pub outright_signal: (bool, Scope, Kind),
    /// The grid there.
    pub grid: Grid,
    /// Grams per kWh that the zone counts with while nothing tells.
    pub zone_g_per_kwh: Option<u16>,
    /// Watts made by sun, wind and water.
    pub made: [Option<f64>; 3],
    /// Watts that the household takes.
    pub household_watts: Option<f64>,
    /// Watts beyond what the household takes, where a meter tells that at once.
    pub surplus_watts: Option<f64>,
    /// A battery.
    pub cells: Cells,
    /// Is this device itself on mains?
    pub on_mains: Option<bool>,
}

/// Whence an answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// Own generation beyond the household's use.
    Surplus,
    /// A battery.
    Battery,
    /// A source that tells all of it.
    Outright,
    /// The owner's word.
    Word,
    /// The grid's figures.
    Grid,
    /// Nothing but that there is a grid.
    AnyGrid,
}

/// What the energy is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixed {
    /// Source, renewable share, grams.
    pub claim: EnergyClaim,
    /// What the grams cover.
    pub scope: Scope,
    /// Which question they answer.
    pub kind: Kind,
    /// Is a part of it an estimate?
    pub estimated: bool,
    /// Whence.
    pub basis: Basis,
}

const OWN: [Source; 3] = [Source::Solar, Source::Wind, Source::Hydro];

impl Supply {
    /// Watts of own generation that the household does not take; none if that is not known.
    // spec: SLA-4
    pub fn surplus(&self) -> Option<f64> {
        let made = self.made.iter().flatten().copied().reduce(|sum, watts| sum + watts);
        self.surplus_watts.or_else(|| Some(made? - self.household_watts?))
    }

    /// Is the sun down at this device's place? None is known to be, where nobody said where that is.
    fn is_night(&self, now_ms: u64) -> bool {
        self.place.is_some_and(|place| sun::is_down(place, now_ms))
    }

    /// Watts of sun that are told although it is down: a meter that stands still. They are taken for none.
    // spec: EN-3
    pub fn sun_by_night(&mut self, now_ms: u64) -> Option<f64> {
        let night = self.is_night(now_ms);
        let told = self.made[0].as_mut().filter(|watts| night && **watts > 0.0)?;
        Some(std::mem::replace(told, 0.0))
    }

    /// What is made most of.
    fn most(&self) -> Source {
        let most = |best: (Source, f64), (source, watts): (Source, Option<f64>)| match watts {
            Some(watts) if watts > best.1 => (source, watts),
            _ => best,
        };
        OWN.into_iter().zip(self.made).fold((Source::Solar, 0.0), most).0
    }

    /// What the energy of a task of so many watts is now; none if nothing is known, which counts as dirty.
    // spec: EN-1, EN-2, SLA-4
    pub fn mix(&self, task_watts: f64, now_ms: u64, factors: Factors) -> Option<Mixed> {
        let own = |claim, basis| Mixed {
            claim,
            scope: Scope::LifeCycle,
            kind: Kind::Average,
            estimated: false,
            basis,
        };
        let mut seen = *self;
        let _none_of_it_is_made = seen.sun_by_night(now_ms);
        let surplus = seen.surplus().is_some_and(|surplus| surplus > 0.0 && surplus >= task_watts);
        let source = seen.most();
        // A meter's surplus that nothing else makes would be the sun's.
        let dark = source == Source::Solar && self.is_night(now_ms);
        if surplus && !dark {
            let claim = EnergyClaim { source, renewable_percent: 100, g_per_kwh: factors.renewable(source) };
            return Some(own(claim, Basis::Surplus));
        }
        let floor = f64::from(self.cells.floor_percent);
        let full = self.cells.charge_percent.is_none_or(|percent| percent > floor);
        let gives = self.on_mains == Some(false) || self.cells.watts.is_some_and(|watts| watts > 0.0) && full;
        if let Some(claim) = self.cells.mix.filter(|_| gives) {
            return Some(own(claim, Basis::Battery));
        }
        let (estimated, scope, kind) = self.outright_signal;
        if let Some(claim) = self.outright.filter(|_| kind == Kind::Average) {
            return Some(Mixed { claim, scope, kind, estimated, basis: Basis::Outright });
        }
        match self.word {
            Some(word) if self.holds(&word, now_ms) => Some(self.by_word(&word, factors)),
            // Where there is a word, there is a grid behind it.
            Some(_) => self.grid(factors).or_else(|| Some(self.any_grid())),
            None => self.grid(factors),
        }
    }

    /// Sun is there only while it is up and its panels give something.
    // spec: EN-1
    fn holds(&self, word: &Word, now_ms: u64) -> bool {
        let up = || self.place.is_none_or(|place| sun::at(place, now_ms).height > 0.0);
        let gives = || self.made[0].is_none_or(|watts| watts > 0.0);
        // The grid's own figures say more than a word that was said once.
        let known = self.average().g_per_kwh.is_some();
        match word.source {
            Source::Solar => up() && gives(),
            Source::Grid => !known || word.g_per_kwh.is_some(),
            Source::Wind | Source::Hydro | Source::Battery => true,
        }
    }

    fn by_word(&self, word: &Word, factors: Factors) -> Mixed {
        let grid = self.average();
        let zone = grid.g_per_kwh.unwrap_or_else(|| f64::from(self.zone_g_per_kwh.unwrap_or(ANY_GRID)));
        let share = word.percent.clamp(0.0, 100.0) / 100.0;
        let own = f64::from(factors.renewable(word.source));
        let mixed = word.g_per_kwh.map_or(own * share + zone * (1.0 - share), f64::from);
        let by_zone = word.g_per_kwh.is_none() && share < 1.0;
        let claim = EnergyClaim {
            source: word.source,
            renewable_percent: (share * 100.0).floor() as u8,
            g_per_kwh: grams(mixed),
        };
        let estimated = by_zone && (grid.g_per_kwh.is_none() || grid.estimated);
        // A word is of the grid's signal where the grid is a part of it.
        let scope = if by_zone && grid.g_per_kwh.is_some() { grid.scope } else { Scope::LifeCycle };
        Mixed { claim, scope, kind: Kind::Average, estimated, basis: Basis::Word }
    }

    /// The grid, as far as its signal may decide.
    // spec: EN-2
    fn average(&self) -> Grid {
        match self.grid.kind {
            Kind::Average => self.grid,
            Kind::Marginal => Grid { g_per_kwh: None, kind: Kind::Average, ..self.grid },
        }
    }

    fn grid(&self, factors: Factors) -> Option<Mixed> {
        let grid = self.average();
        let renewable = grid.renewable_percent;
        let share = renewable.unwrap_or(0.0).clamp(0.0, 100.0) / 100.0;
        let (value, counted) = match (grid.g_per_kwh, renewable) {
            (Some(value), _) => (value, false),
            (None, Some(_)) => {
                let rest = f64::from(self.zone_g_per_kwh.unwrap_or(ANY_GRID));
                (f64::from(factors.renewable(Source::Grid)) * share + rest * (1.0 - share), true)
            }
            (None, None) => return None,
        };
        let claim = EnergyClaim {
            source: Source::Grid,
            renewable_percent: (share * 100.0).floor() as u8,
            g_per_kwh: grams(value),
        };
        let scope = if counted { Scope::LifeCycle } else { grid.scope };
        Some(Mixed {
            claim,
            scope,
            kind: Kind::Average,
            estimated: grid.estimated || counted,
            basis: Basis::Grid,
        })
    }

    fn any_grid(&self) -> Mixed {
        let g_per_kwh = self.zone_g_per_kwh.unwrap_or(ANY_GRID);
        let claim = EnergyClaim { source: Source::Grid, renewable_percent: 0, g_per_kwh };
        Mixed { claim, scope: Scope::LifeCycle, kind: Kind::Average, estimated: true, basis: Basis::AnyGrid }
    }
}

fn grams(value: f64) -> u16 {
    value.round().clamp(0.0, f64::from(MAX_G_PER_KWH)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: u64 = 3_600_000;
    /// 2026-06-21 and 2026-12-21, midnight in Greenwich.
    const JUNE: u64 = 1_782_000_000_000;
    const DECEMBER: u64 = 1_797_811_200_000;
    const BERLIN: (i16, i16) = (52, 13);

    fn word(source: Source, percent: f64) -> Option<Word> {
        Some(Word { source, percent, g_per_kwh: None })
    }

    fn feed(g_per_kwh: f64, renewable: f64) -> Grid {
        Grid { g_per_kwh: Some(g_per_kwh), renewable_percent: Some(renewable), ..Grid::default() }
    }

    fn at(supply: &Supply, now_ms: u64) -> Option<(Source, u8, u16, Basis)> {
        let mixed = supply.mix(20.0, now_ms, Factors::default())?;
        let claim = mixed.claim;
        Some((claim.source, claim.renewable_percent, claim.g_per_kwh, mixed.basis))
    }

    // spec: EN-1
    #[test]
    fn fixed_values_count_the_rest_at_the_zones_intensity() {
        let none = Supply::default();
        assert_eq!(at(&none, JUNE), None, "nothing is known of it");
        for (word, zone, grid, expected) in [
            // 0.9 × 41 + 0.1 × 480, by hand.
            (word(Source::Solar, 90.0), None, Grid::default(), (Source::Solar, 90, 85, Basis::Word)),
            (word(Source::Solar, 90.0), Some(300), Grid::default(), (Source::Solar, 90, 67, Basis::Word)),
            (word(Source::Wind, 81.5), Some(412), feed(100.0, 3.0), (Source::Wind, 81, 27, Basis::Word)),
            (word(Source::Hydro, 100.0), None, feed(900.0, 0.0), (Source::Hydro, 100, 24, Basis::Word)),
            (word(Source::Grid, 40.0), Some(300), Grid::default(), (Source::Grid, 40, 199, Basis::Word)),
            (word(Source::Grid, 40.0), Some(300), feed(512.4, 33.9), (Source::Grid, 33, 512, Basis::Grid)),
        ] {
            let supply = Supply { word, zone_g_per_kwh: zone, grid, ..none };
            assert_eq!(at(&supply, JUNE + 11 * HOUR), Some(expected));
        }
        let outright = EnergyClaim { source: Source::Wind, renewable_percent: 99, g_per_kwh: 12 };
        let supply = Supply { outright: Some(outright), word: word(Source::Solar, 90.0), ..none };
        assert_eq!(at(&supply, JUNE).unwrap().3, Basis::Outright, "what is read goes before what was said");
    }

    // spec: EN-1, EN-2
    #[test]
    fn a_word_is_as_sure_as_what_its_rest_is_counted_with() {
        let direct = Grid { scope: Scope::Direct, ..feed(400.0, 40.0) };
        let guessed = Grid { estimated: true, ..direct };
        let said = |percent, g_per_kwh| Some(Word { source: Source::Wind, percent, g_per_kwh });
        let (life, chimney) = (Scope::LifeCycle, Scope::Direct);
        for (word, grid, grams, estimated, scope) in [
            // All of it is wind, or the owner says what it costs: the grid has no part in it.
            (said(100.0, None), guessed, 11, false, life),
            (said(50.0, Some(70)), guessed, 70, false, life),
            (said(50.0, Some(70)), Grid::default(), 70, false, life),
            // Half of it is the grid: 0.5 × 11 + 0.5 × 400, and 480 where nobody tells.
            (said(50.0, None), direct, 206, false, chimney),
            (said(50.0, None), guessed, 206, true, chimney),
            (said(50.0, None), Grid::default(), 246, true, life),
        ] {
            let mixed =
                Supply { word, grid, ..Supply::default() }.mix(20.0, JUNE, Factors::default()).unwrap();
            let found = (mixed.claim.g_per_kwh, mixed.estimated, mixed.scope, mixed.basis);
            assert_eq!(found, (grams, estimated, scope, Basis::Word), "{word:?} {grid:?}");
        }
        // What the owner says of the grid itself goes before its figures only with grams.
        let grid = |g_per_kwh| Some(Word { source: Source::Grid, percent: 40.0, g_per_kwh });
        for (word, grams, basis) in [(grid(None), 400, Basis::Grid), (grid(Some(90)), 90, Basis::Word)] {
            let supply = Supply { word, grid: direct, ..Supply::default() };
            assert_eq!(at(&supply, JUNE), Some((Source::Grid, 40, grams, basis)));
        }
    }

    // spec: EN-1
    #[test]
    fn what_the_grid_tells_is_an_estimate_where_a_part_of_it_is_reckoned() {
        let (whole, share) = (feed(400.0, 40.0), Grid { g_per_kwh: None, ..feed(0.0, 40.0) });
        for (grid, grams, estimated) in [
            (whole, 400, false),
            (Grid { estimated: true, ..whole }, 400, true),
            // 0.6 × 480, and what renewables of a grid cost over their lives.
            (share, 307, true),
            (Grid { estimated: true, ..share }, 307, true),
        ] {
            let mixed = Supply { grid, ..Supply::default() }.mix(20.0, JUNE, Factors::default()).unwrap();
            assert_eq!((mixed.claim.g_per_kwh, mixed.estimated), (grams, estimated), "{grid:?}");
        }
    }

    // spec: EN-1, SLA-4
    #[test]
    fn fixed_sun_holds_only_while_it_is_up_there_and_else_it_is_the_zones_grid() {
        let home = Supply { word: word(Source::Solar, 100.0), place: Some(BERLIN), ..Supply::default() };
        let with_feed = Supply { grid: feed(350.0, 44.0), ..home };
        for (day, rises, sets) in [(JUNE, 3, 19), (DECEMBER, 8, 14)] {
            for hour in 0..24 {
                let now = day + hour * HOUR;
                let up = (rises..=sets).contains(&hour);
                // Around sunrise and sunset it may be either.
                if hour.abs_diff(rises) > 1 && hour.abs_diff(sets) > 1 {
                    let (sun, any) =
                        ((Source::Solar, 100, 41, Basis::Word), (Source::Grid, 0, 480, Basis::AnyGrid));
                    assert_eq!(at(&home, now), Some(if up { sun } else { any }), "{day} {hour}");
                    let grid = (Source::Grid, 44, 350, Basis::Grid);
                    assert_eq!(at(&with_feed, now), Some(if up { sun } else { grid }), "{day} {hour}");
                }
            }
        }
        let dark = Supply { made: [Some(0.0), None, None], ..home };
        assert_eq!(at(&dark, JUNE + 11 * HOUR).unwrap().0, Source::Grid, "the panels give nothing");
        assert!(home.mix(1.0, JUNE, Factors::default()).unwrap().estimated, "nobody told of that grid");
    }

    // spec: SLA-4
    #[test]
    fn own_generation_counts_once_it_is_more_than_the_household_and_the_task_take() {
        let grid = Supply { grid: feed(400.0, 40.0), ..Supply::default() };
        let home = |sun: f64, wind: Option<f64>, load: f64| Supply {
            made: [Some(sun), wind, None],
            household_watts: Some(load),
            ..grid
        };
        let sun = Some((Source::Solar, 100, 41, Basis::Surplus));
        let brown = Some((Source::Grid, 40, 400, Basis::Grid));
        for (supply, expected) in [
            (home(620.0, None, 600.0), sun),
            (home(619.9, None, 600.0), brown),
            (home(300.0, None, 600.0), brown),
            (home(300.0, Some(400.0), 600.0), Some((Source::Wind, 100, 11, Basis::Surplus))),
            (Supply { surplus_watts: Some(20.0), ..grid }, sun),
            (Supply { surplus_watts: Some(-300.0), ..home(9000.0, None, 0.0) }, brown),
            (Supply { made: [Some(900.0), None, None], ..grid }, brown),
        ] {
            assert_eq!(at(&supply, JUNE), expected, "{supply:?}");
        }
        assert_eq!(home(100.0, None, 600.0).surplus(), Some(-500.0));
        assert_eq!(grid.surplus(), None);
        let none = home(600.0, None, 600.0);
        assert_eq!(
            none.mix(0.0, JUNE, Factors::default()).unwrap().basis,
            Basis::Grid,
            "nothing is left over"
        );
    }

    // spec: EN-3, SLA-4
    #[test]
    fn no_surplus_is_the_suns_while_it_is_down() {
        let home = Supply {
            place: Some(BERLIN),
            made: [Some(620.0), None, None],
            household_watts: Some(300.0),
            grid: feed(400.0, 40.0),
            ..Supply::default()
        };
        let (noon, night, dusk) = (JUNE + 11 * HOUR, JUNE + 23 * HOUR, JUNE + 19 * HOUR + HOUR / 2);
        let basis = |supply: Supply, now| at(&supply, now).unwrap().3;
        assert_eq!((basis(home, noon), basis(home, night)), (Basis::Surplus, Basis::Grid));
        assert!((-3.0..0.0).contains(&sun::at(BERLIN, dusk).height));
        assert_eq!(basis(home, dusk), Basis::Surplus, "as sure as anybody can be of a place");
        assert_eq!(basis(Supply { place: None, ..home }, night), Basis::Surplus, "nobody knows where");
        let windy = |wind| Supply { made: [Some(620.0), Some(wind), None], ..home };
        assert_eq!(at(&windy(330.0), night).unwrap(), (Source::Wind, 100, 11, Basis::Surplus));
        assert_eq!(basis(windy(290.0), night), Basis::Grid, "only what the wind makes counts");
        let metered = Supply { surplus_watts: Some(320.0), ..home };
        assert_eq!((basis(metered, noon), basis(metered, night)), (Basis::Surplus, Basis::Grid));
        let mut told = home;
        assert_eq!((told.sun_by_night(noon), told.sun_by_night(night)), (None, Some(620.0)));
        assert_eq!((told.surplus(), told.sun_by_night(night)), (Some(-300.0), None));
    }

    // spec: EN-4
    #[test]
    fn a_battery_gives_what_it_was_charged_with_down_to_its_floor() {
        let mix = EnergyClaim { source: Source::Battery, renewable_percent: 88, g_per_kwh: 70 };
        let cells =
            Cells { mix: Some(mix), charge_percent: Some(50.0), watts: Some(300.0), floor_percent: 20 };
        let home = Supply { grid: feed(400.0, 40.0), cells, ..Supply::default() };
        let stored = Some((Source::Battery, 88, 70, Basis::Battery));
        let basis = |cells: Cells| at(&Supply { cells, ..home }, JUNE).unwrap().3;
        assert_eq!(at(&home, JUNE), stored);
        assert_eq!(basis(Cells { charge_percent: Some(20.0), ..cells }), Basis::Grid, "the floor");
        assert_eq!(basis(Cells { watts: Some(-300.0), ..cells }), Basis::Grid, "it is being charged");
        assert_eq!(basis(Cells { watts: Some(0.0), ..cells }), Basis::Grid, "it rests");
        assert_eq!(basis(Cells { watts: None, ..cells }), Basis::Grid);
        let laptop = Cells { watts: None, ..cells };
        assert_eq!(at(&Supply { cells: laptop, on_mains: Some(false), ..home }, JUNE), stored);
        assert_eq!(at(&Supply { cells: laptop, on_mains: Some(true), ..home }, JUNE).unwrap().3, Basis::Grid);
    }

    // spec: EN-2
    #[test]
    fn signals_of_different_kind_are_never_mixed() {
        let marginal = Grid { kind: Kind::Marginal, ..feed(700.0, 40.0) };
        let only = |grid| Supply { grid, ..Supply::default() };
        // Its renewable share is no signal of carbon, and counts.
        let mixed = only(marginal).mix(1.0, JUNE, Factors::default()).unwrap();
        assert_eq!((mixed.claim.g_per_kwh, mixed.kind, mixed.estimated), (307, Kind::Average, true));
        let bare = Grid { renewable_percent: None, ..marginal };
        assert_eq!(at(&only(bare), JUNE), None, "a marginal figure is no average one");
        let sun = Supply { word: word(Source::Solar, 50.0), ..only(bare) };
        assert_eq!(at(&sun, JUNE + 11 * HOUR).unwrap().2, 261, "41 and 480, not 700");
        let claim = EnergyClaim { source: Source::Grid, renewable_percent: 1, g_per_kwh: 1 };
        let told = Supply {
            outright: Some(claim),
            outright_signal: (false, Scope::LifeCycle, Kind::Marginal),
            ..only(feed(400.0, 40.0))
        };
        assert_eq!(at(&told, JUNE).unwrap().2, 400);
        let direct = Grid { scope: Scope::Direct, ..feed(300.0, 40.0) };
        let mixed = only(direct).mix(1.0, JUNE, Factors::default()).unwrap();
        assert_eq!(mixed.scope, Scope::Direct, "what it covers is said");
    }

    proptest! {
        // spec: EN-2, EN-3
        #[test]
        fn whatever_is_told_the_answer_can_be(
            grams in proptest::option::of(-1e6f64..1e6), share in proptest::option::of(-1e3f64..1e3),
            percent in -1e3f64..1e3, made in proptest::option::of(-1e6f64..1e6), load in proptest::option::of(-1e6f64..1e6),
            task in 0.0f64..1e4, hour in 0u64..24,
        ) {
            let grid = Grid { g_per_kwh: grams, renewable_percent: share, ..Grid::default() };
            let supply = Supply { grid, word: word(Source::Wind, percent), made: [made, None, None], household_watts: load, ..Supply::default() };
            let mixed = supply.mix(task, JUNE + hour * HOUR, Factors::default()).unwrap();
            prop_assert!(mixed.claim.renewable_percent <= 100 && mixed.claim.g_per_kwh <= MAX_G_PER_KWH);
            // More sun never makes it dirtier, nor does a smaller household.
            let more = Supply { made: [made.map(|watts| watts + 1e5), None, None], household_watts: load.map(|watts| watts - 1e5), ..supply };
            let better = more.mix(task, JUNE + hour * HOUR, Factors::default()).unwrap();
            prop_assert!(better.basis <= mixed.basis);
        }
    }
}
