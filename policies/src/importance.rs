//! What do a task's service level and its vote make of it? The one place where they combine.
// spec: VOTE-4, VOTE-5, VOTE-6, HEALTH-1

use crate::energy::{Bar, is_clean};
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::reason::Reason;
use mesh_protocol::rules::Rules;
use mesh_protocol::task::{Importance, Sla, TaskSpec};

const HOUR_MS: u64 = 3_600_000;
/// An urgent task starts within this.
pub const URGENT_MS: u64 = HOUR_MS / 2;
/// A task of service level HIGH ends within this.
pub const HIGH_MS: u64 = 24 * HOUR_MS;
/// A task of service level NORMAL ends within this.
pub const NORMAL_MS: u64 = 48 * HOUR_MS;
/// What lies between a start and the first instruction, and between the last and the result at home: an offer, module and
/// inputs over a slow line, a compile.
pub const ROOM_MS: u64 = 60_000;
/// Longest wait of any task.
pub const LONGEST_MS: u64 = 28 * 24 * HOUR_MS;

/// What is known of a task's importance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Voice {
    /// Its ballot is open.
    Pending,
    /// Its ballot closed with too few voters.
    Silent,
    /// There is nobody to ask, or no ballot by the rules.
    NoBallot,
    /// The members decided.
    Level(Importance),
    /// It is a matter of public health.
    Health,
}

/// On which energy it may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Energy {
    /// Any.
    Any,
    /// Clean by the rules.
    Clean,
    /// A peer's own renewable generation.
    OwnRenewable,
    /// The own device's sun.
    OwnSolar,
    /// The own device's wind.
    OwnWind,
}

/// What happens to a task that does not get its energy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Patience {
    /// Any energy will do.
    None,
    /// It starts on any at its latest start, so that it meets the deadline it was submitted with.
    UntilLatestStart,
    /// It waits for as long as it takes.
    Endless,
    /// It fails after four weeks.
    FourWeeks,
}

/// What becomes of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// Is it public health, which goes first?
    pub health: bool,
    /// Its place in a queue.
    pub rank: Importance,
    /// On which energy it may start.
    pub energy: Energy,
    /// For how long it waits for that.
    pub patience: Patience,
    /// Only on the device it was submitted on?
    pub at_home: bool,
    /// Must it wait for the ballot to close, unless a peer's energy is perfect?
    pub waits_for_ballot: bool,
    /// Does it stand still, once it runs, while its energy is not there?
    pub interruptible: bool,
}

/// What a task says of time.
// spec: SLA-1, SLA-2
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How patient its submitter is.
    pub sla: Sla,
    /// When it was submitted, in milliseconds since 1970.
    pub created_ms: u64,
    /// How long it may run: while nobody knows how long it will, room is left for all of that.
    pub duration_ms: u64,
    /// By when it is to have started, if its submitter said.
    pub start_by_ms: Option<u64>,
    /// By when it is to be done, if its submitter said.
    pub finish_by_ms: Option<u64>,
}

impl Times {
    /// A task's.
    pub fn of(spec: &TaskSpec) -> Self {
        Self {
            sla: spec.sla,
            created_ms: spec.created_ms,
            duration_ms: spec.limits.duration_ms,
            start_by_ms: spec.start_by_ms,
            finish_by_ms: spec.finish_by_ms,
        }
    }

    /// What its submitter said, as the moment by which it is to be done.
    fn said_ms(&self) -> Option<u64> {
        let started = self.start_by_ms.map(|by| by.saturating_add(self.duration_ms));
        started.into_iter().chain(self.finish_by_ms).min()
    }

    fn within(&self, ms: u64) -> u64 {
        self.created_ms.saturating_add(ms)
    }

    /// By when it is to be done, by its submitter's word or else its service level; none if it may take for ever.
    // spec: SLA-1
    pub fn due_ms(&self) -> Option<u64> {
        match self.sla {
            Sla::Eco | Sla::SolarOnly | Sla::WindOnly => None,
            Sla::Urgent => Some(
                self.said_ms().unwrap_or_else(|| self.within(URGENT_MS).saturating_add(self.duration_ms)),
            ),
            Sla::High => Some(self.said_ms().unwrap_or_else(|| self.within(HIGH_MS))),
            Sla::Normal => Some(self.said_ms().unwrap_or_else(|| self.within(NORMAL_MS))),
        }
    }

    /// When it must have started; none if no moment is too late. One that started may be that late with so much left.
    // spec: SLA-2
    pub fn latest_ms(&self, left_ms: u64) -> Option<u64> {
        let finish = match (self.sla, self.start_by_ms, self.finish_by_ms) {
            // Asked to start, it need not have ended.
            (_, Some(_), None) => self.due_ms(),
            (Sla::Urgent, None, None) => self.due_ms(),
            _ => self.due_ms().map(|due| due.saturating_sub(ROOM_MS)),
        };
        Some(finish?.saturating_sub(left_ms).max(self.created_ms))
    }

    /// When a task that waits for its energy without end is given up, if its submitter said.
    pub fn expires_ms(&self) -> Option<u64> {
        let patient = matches!(self.sla, Sla::Eco | Sla::SolarOnly | Sla::WindOnly);
        self.start_by_ms.into_iter().chain(self.finish_by_ms).min().filter(|_| patient)
    }
}

/// What becomes of a task of this service level and importance.
// spec: VOTE-6
pub fn course(sla: Sla, voice: Voice) -> Course {
    let at_home = matches!(sla, Sla::SolarOnly | Sla::WindOnly);
    let rank = match voice {
        Voice::Health => Importance::Critical,
        Voice::Level(level) => level,
        Voice::Silent => Importance::Low,
        Voice::Pending | Voice::NoBallot => match sla {
            Sla::Urgent => Importance::Critical,
            Sla::High => Importance::High,
            Sla::Normal => Importance::Normal,
            Sla::Eco | Sla::SolarOnly | Sla::WindOnly => Importance::Low,
        },
    };
    let (energy, patience) = match (sla, voice) {
        (_, Voice::Health) => (Energy::Any, Patience::None),
        (Sla::SolarOnly, _) => (Energy::OwnSolar, Patience::Endless),
        (Sla::WindOnly, _) => (Energy::OwnWind, Patience::Endless),
        (_, Voice::Level(Importance::Critical | Importance::High)) => (Energy::Any, Patience::None),
        (_, Voice::Level(Importance::NonCritical)) => (Energy::OwnRenewable, Patience::FourWeeks),
        // Nobody said anything: that hurries nothing, and holds nothing up that cannot wait.
        (Sla::Urgent, Voice::Silent) => (Energy::Any, Patience::None),
        (Sla::Eco, _) => (Energy::Clean, Patience::Endless),
        (_, Voice::Level(Importance::Low) | Voice::Silent) => (Energy::Clean, Patience::UntilLatestStart),
        (_, Voice::Level(Importance::Normal) | Voice::Pending | Voice::NoBallot) => {
            (Energy::Any, Patience::None)
        }
    };
    let waits_for_ballot = voice == Voice::Pending && matches!(sla, Sla::High | Sla::Normal | Sla::Eco);
    let hurried = patience == Patience::None && rank >= Importance::High;
    let interruptible = !matches!(sla, Sla::Urgent | Sla::High) && !hurried;
    Course {
        health: voice == Voice::Health,
        rank,
        energy,
        patience,
        at_home,
        waits_for_ballot,
        interruptible,
    }
}

/// How placement treats it: of which class it is, and by when it is to be done, in milliseconds since 1970.
// spec: VOTE-6, SLA-1
pub fn haste(course: &Course, times: &Times) -> (Sla, Option<u64>) {
    // A vote hurries, and what the submitter said hurries more.
    let sooner = |within: u64| times.due_ms().into_iter().chain([times.within(within)]).min();
    let at_once = URGENT_MS.saturating_add(times.duration_ms);
    match (course.patience, times.sla, course.rank) {
        // It waits for energy, and `may_start` says when it waits no longer.
        (Patience::Endless | Patience::FourWeeks | Patience::UntilLatestStart, ..) => (Sla::Eco, None),
        (Patience::None, Sla::Urgent, _) => (Sla::Urgent, times.due_ms()),
        (Patience::None, _, Importance::Critical) => (Sla::Urgent, sooner(at_once)),
        (Patience::None, Sla::High, _) => (Sla::High, times.due_ms()),
        (Patience::None, _, Importance::High) => (Sla::High, sooner(HIGH_MS)),
        (Patience::None, ..) => (Sla::Normal, times.due_ms().or_else(|| Some(times.within(NORMAL_MS)))),
    }
}

/// A task that wants to start somewhere now.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The energy there, if it is known and can be believed.
    pub energy: Option<&'a EnergyClaim>,
    /// What the cleanest 30 % of the last 30 days' hours there did not exceed, in g/kWh, if it is known.
    pub low_g_per_kwh: Option<u16>,
    /// Is there sun, by the device's place and by what its panels give beside its household? True where neither is known.
    pub sun: bool,
    /// Where its own generation is more than its household takes: is it so by what the task draws? True elsewhere.
    pub spare: bool,
    /// Is it the device the task was submitted on?
    pub own: bool,
    /// Did its submitter declare it CRITICAL?
    pub declared_critical: bool,
    /// Now, in milliseconds since 1970.
    pub now_ms: u64,
    /// When it was submitted.
    pub created_ms: u64,
    /// [`Times::latest_ms`].
    pub latest_start_ms: Option<u64>,
}

impl Start<'_> {
    fn is_due(&self) -> bool {
        self.latest_start_ms.is_some_and(|latest| self.now_ms >= latest)
    }

    /// Is the energy there, and what is missing if not? With less to spare where the task runs on it already.
    fn energy_fits(&self, energy: Energy, bar: Bar, rules: &Rules) -> Result<(), Reason> {
        let from = |source: Source| self.energy.is_some_and(|energy| energy.source == source);
        // What runs is in the household's load; what starts or goes on is not, and may take more than is left over.
        // spec: SLA-3
        let covered = bar == Bar::Stay || self.spare;
        let clean = || covered && is_clean(self.energy, self.low_g_per_kwh, bar, rules);
        let own_renewable = || {
            covered
                && [Source::Solar, Source::Wind, Source::Hydro].into_iter().any(from)
                && self.energy.is_some_and(|energy| energy.renewable_percent == 100)
        };
        let (fits, missing) = match energy {
            Energy::Any => (true, Reason::EnergyNotClean),
            Energy::Clean => (clean(), Reason::EnergyNotClean),
            Energy::OwnRenewable => (own_renewable(), Reason::EnergyNotClean),
            // spec: SLA-3, SLA-5
            // A source's name says nothing of how much of the energy is from it.
            Energy::OwnSolar => (from(Source::Solar) && self.sun && clean(), Reason::NoSun),
            Energy::OwnWind => (from(Source::Wind) && clean(), Reason::NoWind),
        };
        if fits { Ok(()) } else { Err(missing) }
    }
}

/// Is that what a task waits for, which no peer can change but the weather and the grid?
pub fn is_lack_of_energy(reason: &Reason) -> bool {
    matches!(reason, Reason::EnergyNotClean | Reason::NoSun | Reason::NoWind)
}

/// Did a task that its members let wait for the sun and wind of whoever runs it wait for as long as any may?
// spec: VOTE-6
pub fn has_waited_too_long(course: &Course, created_ms: u64, now_ms: u64) -> bool {
    course.patience == Patience::FourWeeks && now_ms >= created_ms.saturating_add(LONGEST_MS)
}

/// May it start there now?
// spec: VOTE-5, VOTE-6, VOTE-7, DEL-12
pub fn may_start(course: &Course, start: &Start<'_>, rules: &Rules) -> Result<(), Reason> {
    if course.at_home && !start.own {
        return Err(Reason::Elsewhere);
    }
    if start.declared_critical && start.own {
        return Ok(());
    }
    let due = start.is_due();
    let perfect = start.energy.is_some_and(|energy| energy.renewable_percent >= rules.perfect_energy_percent);
    if course.waits_for_ballot && !perfect && !due {
        return Err(Reason::BallotOpen);
    }
    let fits = start.energy_fits(course.energy, Bar::Start, rules);
    let over = has_waited_too_long(course, start.created_ms, start.now_ms);
    match (fits, course.patience) {
        _ if over => Err(Reason::NeverEnoughEnergy),
        (Ok(()), _) => Ok(()),
        (Err(_), Patience::UntilLatestStart) if due => Ok(()),
        (missing, _) => missing,
    }
}

/// May a task that has started go on there? `held`: it stood still for its energy until now, so that it must be clearly
/// good again: what hovers about a bound must not stop and start it again and again.
// spec: SLA-1, PLACE-2, DEL-12
pub fn may_go_on(course: &Course, start: &Start<'_>, held: bool, rules: &Rules) -> Result<(), Reason> {
    let late = course.patience == Patience::UntilLatestStart && start.is_due();
    if !course.interruptible || late || (start.declared_critical && start.own) {
        return Ok(());
    }
    start.energy_fits(course.energy, if held { Bar::Resume } else { Bar::Stay }, rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::task::Importance::{Critical, High, Low, NonCritical, Normal};

    const SLAS: [Sla; 6] = [Sla::Urgent, Sla::High, Sla::Normal, Sla::Eco, Sla::SolarOnly, Sla::WindOnly];
    const VOICES: [Voice; 9] = [
        Voice::Level(Critical),
        Voice::Level(High),
        Voice::Level(Normal),
        Voice::Level(Low),
        Voice::Level(NonCritical),
        Voice::Silent,
        Voice::Health,
        Voice::Pending,
        Voice::NoBallot,
    ];

    // spec: VOTE-6
    #[test]
    fn the_whole_table() {
        let mut text = String::new();
        for sla in SLAS {
            for voice in VOICES {
                let course = course(sla, voice);
                let voice = match voice {
                    Voice::Level(level) => format!("{level:?}"),
                    other => format!("({other:?})"),
                };
                let place = if course.at_home { "at home" } else { "anywhere" };
                let ballot = if course.waits_for_ballot { ", waits for the ballot" } else { "" };
                let paused = if course.interruptible { ", interruptible" } else { "" };
                text.push_str(&format!(
                    "{:<10}{voice:<12}-> {:<12}{:?} energy, patience {:?}, {place}{ballot}{paused}\n",
                    format!("{sla:?}"),
                    format!("{:?}", course.rank),
                    course.energy,
                    course.patience,
                ));
            }
        }
        insta::assert_snapshot!(text);
    }

    fn times(sla: Sla, created_ms: u64, duration_ms: u64) -> Times {
        Times { sla, created_ms, duration_ms, start_by_ms: None, finish_by_ms: None }
    }

    fn claim(source: Source, renewable_percent: u8, g_per_kwh: u16) -> EnergyClaim {
        EnergyClaim { source, renewable_percent, g_per_kwh }
    }

    fn start(energy: Option<&EnergyClaim>) -> Start<'_> {
        Start {
            energy,
            low_g_per_kwh: None,
            sun: true,
            spare: true,
            own: false,
            declared_critical: false,
            now_ms: 1000,
            created_ms: 0,
            latest_start_ms: Some(2000),
        }
    }

    // spec: VOTE-5, VOTE-6, VOTE-7, DEL-12, SLA-3, SLA-5
    #[test]
    fn each_course_has_its_energy_and_its_moment() {
        let rules = Rules::default();
        let (coal, clean) = (claim(Source::Grid, 10, 800), claim(Source::Grid, 70, 100));
        let (sun, half_sun) = (claim(Source::Solar, 100, 40), claim(Source::Solar, 90, 40));
        let (wind, perfect) = (claim(Source::Wind, 100, 12), claim(Source::Grid, 95, 200));
        let ask = |sla, voice, start: Start<'_>| may_start(&course(sla, voice), &start, &rules);
        let waits = Err(Reason::EnergyNotClean);

        // While the ballot is open only perfect energy lets it start.
        assert_eq!(ask(Sla::Normal, Voice::Pending, start(Some(&clean))), Err(Reason::BallotOpen));
        assert_eq!(ask(Sla::Normal, Voice::Pending, start(Some(&perfect))), Ok(()));
        assert_eq!(ask(Sla::Normal, Voice::Pending, start(None)), Err(Reason::BallotOpen));
        assert_eq!(ask(Sla::Urgent, Voice::Pending, start(None)), Ok(()));
        let due = Start { now_ms: 2000, ..start(Some(&coal)) };
        assert_eq!(ask(Sla::High, Voice::Pending, due), Ok(()));

        assert_eq!(ask(Sla::Normal, Voice::Level(Normal), start(Some(&coal))), Ok(()));
        assert_eq!(ask(Sla::Eco, Voice::Level(High), start(Some(&coal))), Ok(()));
        assert_eq!(ask(Sla::Normal, Voice::Level(Low), start(Some(&coal))), waits);
        assert_eq!(ask(Sla::Normal, Voice::Level(Low), start(Some(&clean))), Ok(()));
        assert_eq!(ask(Sla::Normal, Voice::Level(Low), due), Ok(()), "never past its deadline");
        let nearly = Start { now_ms: 1999, ..due };
        assert_eq!(ask(Sla::Normal, Voice::Silent, nearly), waits);
        let eco = Start { latest_start_ms: None, ..due };
        assert_eq!(ask(Sla::Eco, Voice::Level(Low), eco), waits);

        // Non-critical: the sun and wind of whoever runs it, and all of it.
        for (energy, fits) in
            [(&sun, true), (&wind, true), (&half_sun, false), (&clean, false), (&perfect, false)]
        {
            let answer = ask(Sla::Normal, Voice::Level(NonCritical), start(Some(energy)));
            assert_eq!(answer.is_ok(), fits, "{energy:?}");
        }
        let hydro = claim(Source::Hydro, 100, 10);
        assert_eq!(ask(Sla::Normal, Voice::Level(NonCritical), start(Some(&hydro))), Ok(()));
        let battery = claim(Source::Battery, 100, 10);
        assert_eq!(ask(Sla::Normal, Voice::Level(NonCritical), start(Some(&battery))), waits);
        let old = |now_ms| Start { now_ms, ..start(Some(&coal)) };
        assert_eq!(ask(Sla::Normal, Voice::Level(NonCritical), old(LONGEST_MS - 1)), waits);
        assert_eq!(
            ask(Sla::Normal, Voice::Level(NonCritical), old(LONGEST_MS)),
            Err(Reason::NeverEnoughEnergy)
        );

        // At home, whatever the vote.
        let home = |energy| Start { own: true, ..start(Some(energy)) };
        assert_eq!(ask(Sla::SolarOnly, Voice::Level(Critical), start(Some(&sun))), Err(Reason::Elsewhere));
        assert_eq!(ask(Sla::SolarOnly, Voice::Level(Critical), home(&sun)), Ok(()));
        assert_eq!(ask(Sla::SolarOnly, Voice::Level(Critical), home(&wind)), Err(Reason::NoSun));
        assert_eq!(ask(Sla::WindOnly, Voice::Level(Low), home(&wind)), Ok(()));
        assert_eq!(ask(Sla::WindOnly, Voice::Level(Low), home(&sun)), Err(Reason::NoWind));
        let (breeze, gleam) = (claim(Source::Wind, 10, 433), claim(Source::Solar, 10, 433));
        let (windy, sunny) = (claim(Source::Wind, 90, 59), claim(Source::Solar, 90, 85));
        for (sla, little, much, missing) in [
            (Sla::WindOnly, &breeze, &windy, Reason::NoWind),
            (Sla::SolarOnly, &gleam, &sunny, Reason::NoSun),
            (Sla::Eco, &breeze, &windy, Reason::EnergyNotClean),
        ] {
            let none = Voice::NoBallot;
            assert_eq!(ask(sla, none, home(little)), Err(missing), "{sla:?}: the rest is coal");
            assert_eq!(ask(sla, none, home(much)), Ok(()), "{sla:?}");
        }
        // However much of it is wind by somebody's word, it is the grid.
        let grid = claim(Source::Grid, 100, 11);
        assert_eq!(ask(Sla::WindOnly, Voice::NoBallot, home(&grid)), Err(Reason::NoWind));
        assert_eq!(ask(Sla::SolarOnly, Voice::Health, home(&coal)), Ok(()));
        assert_eq!(ask(Sla::SolarOnly, Voice::Health, start(Some(&coal))), Err(Reason::Elsewhere));

        // Declared critical: at once at home, elsewhere by vote.
        let declared = Start { declared_critical: true, ..start(Some(&coal)) };
        assert_eq!(ask(Sla::Normal, Voice::Pending, declared), Err(Reason::BallotOpen));
        assert_eq!(ask(Sla::Normal, Voice::Pending, Start { own: true, ..declared }), Ok(()));
    }

    // spec: VOTE-6
    #[test]
    fn the_latest_start_leaves_room_for_the_whole_run() {
        for (sla, latest) in [
            (Sla::Urgent, Some(5 + 1_800_000)),
            (Sla::High, Some(5 + 86_400_000 - 60_000 - ROOM_MS)),
            (Sla::Normal, Some(5 + 172_800_000 - 60_000 - ROOM_MS)),
            (Sla::Eco, None),
            (Sla::SolarOnly, None),
            (Sla::WindOnly, None),
        ] {
            assert_eq!(times(sla, 5, 60_000).latest_ms(60_000), latest, "{sla:?}");
        }
        let endless = times(Sla::High, 5, u64::MAX).latest_ms(u64::MAX);
        assert_eq!(endless, Some(5), "longer than there is time: at once");
        assert_eq!(LONGEST_MS, 28 * 86_400_000);
    }

    // spec: SLA-1, SLA-2
    #[test]
    fn the_submitters_own_times_stand_for_those_of_the_level() {
        let (hour, run) = (3_600_000, 600_000);
        for sla in [Sla::Urgent, Sla::High, Sla::Normal] {
            let plain = times(sla, 0, run);
            let finish = Times { finish_by_ms: Some(5 * hour), ..plain };
            assert_eq!((finish.due_ms(), finish.expires_ms()), (Some(5 * hour), None), "{sla:?}");
            assert_eq!(finish.latest_ms(run), Some(5 * hour - run - ROOM_MS));
            assert_eq!(finish.latest_ms(run / 2), Some(5 * hour - run / 2 - ROOM_MS), "half is done");
            let start = Times { start_by_ms: Some(2 * hour), ..plain };
            assert_eq!((start.due_ms(), start.latest_ms(run)), (Some(2 * hour + run), Some(2 * hour)));
            let both = Times { start_by_ms: Some(9 * hour), ..finish };
            assert_eq!(both.due_ms(), Some(5 * hour), "the sooner of two");
            let hurried = haste(&course(sla, Voice::Level(Critical)), &finish);
            let urgent = if sla == Sla::Urgent { 5 * hour } else { URGENT_MS + run };
            assert_eq!(hurried, (Sla::Urgent, Some(urgent)));
        }
        let eco = Times { finish_by_ms: Some(5 * hour), ..times(Sla::Eco, 0, run) };
        assert_eq!((eco.due_ms(), eco.expires_ms()), (None, Some(5 * hour)), "it is no deadline but an end");
        assert_eq!(times(Sla::Eco, 0, run).expires_ms(), None);
    }

    // spec: SLA-1, PLACE-2, DEL-12
    #[test]
    fn what_runs_goes_on_as_its_class_says_and_does_not_flap() {
        let rules = Rules::default();
        let ask = |sla, voice, energy: &EnergyClaim, held| {
            let start = Start { own: true, latest_start_ms: None, ..start(Some(energy)) };
            may_go_on(&course(sla, voice), &start, held, &rules)
        };
        let coal = claim(Source::Grid, 10, 800);
        let sun = claim(Source::Solar, 100, 40);
        for (sla, voice) in [
            (Sla::Urgent, Voice::Silent),
            (Sla::High, Voice::Silent),
            (Sla::High, Voice::Level(Low)),
            (Sla::Normal, Voice::NoBallot),
            (Sla::Eco, Voice::Level(High)),
            (Sla::Eco, Voice::Health),
        ] {
            assert_eq!(ask(sla, voice, &coal, false), Ok(()), "{sla:?} {voice:?}");
        }
        let waits = Err(Reason::EnergyNotClean);
        assert_eq!(ask(Sla::Eco, Voice::NoBallot, &coal, false), waits);
        assert_eq!(ask(Sla::Normal, Voice::Level(Low), &coal, false), waits);
        assert_eq!(ask(Sla::Normal, Voice::Level(NonCritical), &coal, false), waits);
        assert_eq!(ask(Sla::SolarOnly, Voice::NoBallot, &coal, false), Err(Reason::NoSun));
        assert_eq!(ask(Sla::WindOnly, Voice::NoBallot, &sun, false), Err(Reason::NoWind));
        assert_eq!(ask(Sla::SolarOnly, Voice::NoBallot, &sun, true), Ok(()));
        // At the bound it runs on; below it, and held, it waits for more than the bound.
        for (percent, grams, stays, resumes) in
            [(60, 150, true, false), (60, 151, false, false), (62, 142, true, true), (61, 142, true, false)]
        {
            let energy = claim(Source::Grid, percent, grams);
            assert_eq!(ask(Sla::Eco, Voice::NoBallot, &energy, false).is_ok(), stays, "{energy:?}");
            assert_eq!(ask(Sla::Eco, Voice::NoBallot, &energy, true).is_ok(), resumes, "{energy:?}");
        }
        let due = Start { now_ms: 2000, ..start(Some(&coal)) };
        let low = course(Sla::Normal, Voice::Level(Low));
        assert_eq!(may_go_on(&low, &due, true, &rules), Ok(()), "the deadline comes first");
        assert_eq!(may_go_on(&low, &Start { now_ms: 1999, ..due }, true, &rules), waits);
    }

    // spec: VOTE-6, VOTE-9
    #[test]
    fn a_higher_level_never_waits_longer() {
        let levels = [NonCritical, Low, Normal, High, Critical];
        let rules = Rules::default();
        for sla in SLAS {
            for pair in levels.windows(2) {
                for source in [Source::Solar, Source::Wind, Source::Hydro, Source::Battery, Source::Grid] {
                    for (percent, grams) in [(0, 900), (60, 150), (94, 20), (95, 20), (100, 0)] {
                        for now_ms in [0, 1999, 2000, LONGEST_MS] {
                            let energy = claim(source, percent, grams);
                            let start = Start { now_ms, own: true, ..start(Some(&energy)) };
                            let ask = |level| may_start(&course(sla, Voice::Level(level)), &start, &rules);
                            assert!(
                                ask(pair[0]).is_err() || ask(pair[1]).is_ok(),
                                "{sla:?} {pair:?} {start:?}"
                            );
                        }
                    }
                }
            }
        }
    }

    // spec: VOTE-6, SLA-1
    #[test]
    fn a_vote_may_hurry_a_task_and_never_takes_its_deadline_away() {
        let of = |sla, voice| haste(&course(sla, voice), &times(sla, 1000, 10));
        for sla in [Sla::Urgent, Sla::High, Sla::Normal, Sla::Eco] {
            assert_eq!(of(sla, Voice::Level(Critical)), (Sla::Urgent, Some(1000 + URGENT_MS + 10)));
            assert_eq!(of(sla, Voice::Health).0, Sla::Urgent);
        }
        assert_eq!(of(Sla::Normal, Voice::Level(High)), (Sla::High, Some(1000 + HIGH_MS)));
        assert_eq!(of(Sla::High, Voice::Level(Normal)), (Sla::High, Some(1000 + HIGH_MS)));
        assert_eq!(of(Sla::Normal, Voice::NoBallot), (Sla::Normal, Some(1000 + NORMAL_MS)));
        assert_eq!(of(Sla::Urgent, Voice::Silent).0, Sla::Urgent);
        assert_eq!(of(Sla::Eco, Voice::NoBallot), (Sla::Eco, None));
        assert_eq!(of(Sla::SolarOnly, Voice::Level(Critical)), (Sla::Eco, None), "the sun does not vote");
    }

    // spec: DEL-12, SLA-1
    #[test]
    fn each_level_has_its_energy() {
        let rules = Rules::default();
        let claim =
            |source, renewable_percent, g_per_kwh| EnergyClaim { source, renewable_percent, g_per_kwh };
        let (coal, sun, wind) =
            (claim(Source::Grid, 10, 800), claim(Source::Solar, 100, 40), claim(Source::Wind, 100, 12));
        for own in [true, false] {
            for energy in [None, Some(&coal), Some(&sun), Some(&wind)] {
                let start = Start {
                    own,
                    energy,
                    low_g_per_kwh: None,
                    sun: true,
                    spare: true,
                    declared_critical: false,
                    now_ms: 0,
                    created_ms: 0,
                    latest_start_ms: None,
                };
                let ok = |sla| may_start(&course(sla, Voice::NoBallot), &start, &rules).is_ok();
                assert!(ok(Sla::Urgent) && ok(Sla::Normal) && ok(Sla::High));
                assert_eq!(ok(Sla::Eco), energy == Some(&sun) || energy == Some(&wind));
                assert_eq!(ok(Sla::SolarOnly), own && energy == Some(&sun));
                assert_eq!(ok(Sla::WindOnly), own && energy == Some(&wind));
                let dark = Start { sun: false, ..start };
                assert!(may_start(&course(Sla::SolarOnly, Voice::NoBallot), &dark, &rules).is_err());
            }
        }
    }

    // spec: SLA-3, SLA-5
    #[test]
    fn only_the_weather_and_the_grid_are_a_lack_of_energy() {
        for lack in [Reason::EnergyNotClean, Reason::NoSun, Reason::NoWind] {
            assert!(is_lack_of_energy(&lack), "{lack}");
        }
        for other in [Reason::NoSurplus, Reason::NoCapacity, Reason::BallotOpen, Reason::CleanerLater] {
            assert!(!is_lack_of_energy(&other), "{other}");
        }
    }
}
