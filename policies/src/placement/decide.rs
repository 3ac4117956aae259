//! What becomes of one task now: run, wait, pause, move, or tell that it cannot be done in time.
//!
//! For each peer that may run it, the cheapest hours until the deadline are found by what its zone is expected to
//! cost, in whole runs and not in moments: its energy there, its chance to come to an end, and what moving would add.
//! The best peer's plan says what happens now. It is asked again whenever something changes, so that a plan is a
//! reason, never a promise.
// spec: PLACE-1, PLACE-2

use super::hours::{HORIZON, Hours, first_hours, order, piece, pieces};
use mesh_protocol::key::PublicKey;
use mesh_protocol::reason::Reason;
use mesh_protocol::task::Sla;

/// Milliseconds of an hour, the grain of plans.
pub const HOUR_MS: u64 = 3_600_000;
/// What another plan must save of a running task's carbon before the task is paused, in thousandths: less than the
/// error of any forecast, enough for equal hours not to flap.
const STAY: u64 = 5;
/// The same for moving to another peer: a tenth, since what a move costs is known least.
const MOVE: u64 = 100;
/// Picograms of a microgram.
pub(super) const PG_PER_UG: u128 = 1_000_000;
/// Peers within so many thousandths of the best are equals, among which tasks spread.
const EQUAL: u64 = 10;

/// A task as placement sees it.
#[derive(Debug, Clone)]
pub struct Work {
    /// How patient.
    pub class: Sla,
    /// When it is to be done, in milliseconds of the same clock as `now`; none for those that may wait for ever.
    pub finish_by_ms: Option<u64>,
    /// When it was submitted.
    pub since_ms: u64,
    /// Where it runs.
    pub runs_on: Option<PublicKey>,
    /// What would have to be computed again if it stopped now, in milliseconds.
    pub unsaved_ms: u64,
    /// Any number of the task's own, by which equals are spread.
    pub seed: u64,
}

/// A peer as placement sees it.
#[derive(Debug, Clone)]
pub struct Peer<'a> {
    /// Which.
    pub device: PublicKey,
    /// May it run the task? The reason if not.
    pub permitted: Result<(), Reason>,
    /// Expected mg CO2/kWh there, by the hour, from now on. Empty if nothing is known, which counts as the dirtiest.
    pub path: &'a [u32],
    /// Hours in which it is expected to be there with a free slot: bit 0 is now.
    pub there: u128,
    /// Hours in which its energy is good enough for the task's class.
    pub clean: u128,
    /// How long the work left takes there, in milliseconds.
    pub work_ms: u64,
    /// Energy that the work left usually takes there, in µWh.
    pub work_uwh: u64,
    /// How long it takes to bring module, inputs and checkpoint there, in milliseconds.
    pub move_ms: u64,
    /// Carbon of that, in µg, as the accounts count it: at what the owner's energy is now.
    pub move_ug: u64,
    /// Attempts there that come to their end, of a thousand: its reputation and how often it goes away.
    pub reliable: u16,
    /// Share of its zone's slots that is promised already, in thousandths: what makes a crowded place dearer.
    pub load: u16,
}

/// What is behind a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// Carbon expected of the whole run by this plan, in µg.
    pub planned_ug: u64,
    /// The same if it ran from now on on this peer; none where it cannot.
    pub at_once_ug: Option<u64>,
    /// Expected mg CO2/kWh there now.
    pub now_mg_per_kwh: u32,
    /// Expected mg CO2/kWh in the hour in which the plan next runs.
    pub then_mg_per_kwh: u32,
    /// The hours of the plan, bit 0 is now.
    pub hours: u128,
    /// When it must run at the latest, in milliseconds; none without a deadline.
    pub latest_ms: Option<u64>,
}

/// Why a decision was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// No later hour is better.
    Cleanest,
    /// There is no time left to wait.
    Deadline,
    /// An urgent task waits for no energy.
    Urgent,
    /// Others need the room that is left until then.
    Crowded,
    /// It runs already, and what is better is not better enough.
    Stays,
    /// A later hour is better.
    CleanerLater,
    /// Nobody who may run it is there, or has room, before then.
    Busy,
    /// Its class waits for energy that is not there yet.
    EnergyNotClean,
    /// Another place is better.
    CleanerElsewhere,
    /// It cannot go on where it runs.
    LosesPeer,
}

/// What becomes of a task now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It runs there now.
    Run(PublicKey, Why, Numbers),
    /// It waits for that peer, until about then.
    Wait {
        /// For whom; nobody where no peer is expected to fit within the horizon.
        on: Option<PublicKey>,
        /// About when, in milliseconds.
        until_ms: Option<u64>,
        /// Why.
        why: Why,
        /// The plan, where there is one.
        numbers: Option<Numbers>,
    },
    /// It stops where it runs, and goes on about then.
    Pause {
        /// Where it is to go on.
        on: PublicKey,
        /// About when, in milliseconds.
        until_ms: u64,
        /// Why.
        why: Why,
        /// The plan.
        numbers: Numbers,
    },
    /// It goes on elsewhere now.
    Move(PublicKey, Why, Numbers),
    /// Nobody can do it in time.
    Impossible {
        /// The soonest that anybody could be done, in milliseconds; none if nobody could at all.
        soonest_ms: Option<u64>,
        /// What stands against each peer.
        reasons: Vec<(PublicKey, Reason)>,
    },
}

/// One peer's plan.
struct Plan<'a> {
    peer: &'a Peer<'a>,
    hours: Hours,
    /// Comparable among peers.
    cost: u128,
    numbers: Numbers,
    forced: bool,
}

/// May a task of this class be interrupted once it runs?
// spec: SLA-1
pub fn interruptible(class: Sla) -> bool {
    !matches!(class, Sla::Urgent | Sla::High)
}

/// Is who can begin now taken before whoever could later, however clean that would be? Where nothing has to be done by
/// any time a later hour can always be put off once more, so that a task would wait for ever beside energy that is clean.
// spec: PLACE-1, SLA-3
pub(super) fn starts_soonest(work: &Work) -> bool {
    work.class == Sla::Urgent || (work.finish_by_ms.is_none() && work.runs_on.is_none())
}

/// Decides.
// spec: PLACE-1, PLACE-2
pub fn decide(work: &Work, now_ms: u64, peers: &[Peer<'_>]) -> Decision {
    let may: Vec<&Peer<'_>> = peers.iter().filter(|peer| peer.permitted.is_ok()).collect();
    let mut plans: Vec<Plan<'_>> = may.iter().filter_map(|peer| plan(work, now_ms, peer)).collect();
    if starts_soonest(work) && plans.iter().any(|plan| plan.hours.mask & 1 == 1) {
        plans.retain(|plan| plan.hours.mask & 1 == 1);
    }
    let current = plans.iter().position(|plan| Some(plan.peer.device) == work.runs_on);
    let best = plans.iter().map(|plan| plan.cost).min();
    let Some(best) = best else { return nobody(work, now_ms, peers) };
    let equals = plans.iter().filter(|plan| plan.cost <= equal_to(best));
    let spread = |plan: &&Plan<'_>| (mix(work.seed, &plan.peer.device), plan.peer.device);
    let Some(chosen) = equals.max_by_key(spread) else { return nobody(work, now_ms, peers) };
    let Some(current) = current.map(|index| &plans[index]) else {
        if work.runs_on.is_some() && chosen.hours.mask & 1 == 1 {
            return Decision::Move(chosen.peer.device, Why::LosesPeer, chosen.numbers);
        }
        return fresh(work, now_ms, chosen);
    };
    let better = chosen.cost < current.cost - current.cost * u128::from(MOVE) / 1000;
    if better
        && chosen.peer.device != current.peer.device
        && chosen.hours.mask & 1 == 1
        && interruptible(work.class)
    {
        return Decision::Move(chosen.peer.device, Why::CleanerElsewhere, chosen.numbers);
    }
    if current.hours.mask & 1 == 1 {
        let why = if current.forced { Why::Deadline } else { Why::Stays };
        return Decision::Run(current.peer.device, why, current.numbers);
    }
    let until_ms = now_ms + current.hours.first() as u64 * HOUR_MS;
    let clean_now = current.peer.clean & 1 == 1;
    let why = if clean_now { Why::CleanerLater } else { Why::EnergyNotClean };
    Decision::Pause { on: current.peer.device, until_ms, why, numbers: current.numbers }
}

/// It does not run yet.
fn fresh(work: &Work, now_ms: u64, plan: &Plan<'_>) -> Decision {
    let device = plan.peer.device;
    if plan.hours.mask & 1 == 1 {
        let why = match (work.class, plan.forced) {
            (Sla::Urgent, _) => Why::Urgent,
            (_, true) => Why::Deadline,
            _ => Why::Cleanest,
        };
        return Decision::Run(device, why, plan.numbers);
    }
    let why = match plan.peer {
        peer if peer.there & 1 == 0 => Why::Busy,
        peer if peer.clean & 1 == 0 => Why::EnergyNotClean,
        _ => Why::CleanerLater,
    };
    let until_ms = Some(now_ms + plan.hours.first() as u64 * HOUR_MS);
    Decision::Wait { on: Some(device), until_ms, why, numbers: Some(plan.numbers) }
}

/// No peer's plan fits: is that for now, or for good?
fn nobody(work: &Work, now_ms: u64, peers: &[Peer<'_>]) -> Decision {
    let may = || peers.iter().filter(|peer| peer.permitted.is_ok());
    if work.finish_by_ms.is_none() && may().next().is_some() {
        let why = if may().any(|peer| peer.there != 0) { Why::EnergyNotClean } else { Why::Busy };
        return Decision::Wait { on: None, until_ms: None, why, numbers: None };
    }
    let soonest = |peer: &Peer<'_>| {
        let open = peer.there & peer.clean & first_hours(HORIZON);
        let (_, length_ms) = length(work, peer);
        let start = (open != 0).then(|| now_ms + u64::from(open.trailing_zeros()) * HOUR_MS);
        start.map(|start| start.saturating_add(length_ms))
    };
    let reason = |peer: &Peer<'_>| match &peer.permitted {
        Err(reason) => reason.clone(),
        Ok(()) if peer.there & first_hours(HORIZON) == 0 => Reason::NoCapacity,
        Ok(()) if peer.there & peer.clean & first_hours(HORIZON) == 0 => Reason::EnergyNotClean,
        Ok(()) => {
            let given = work.finish_by_ms.unwrap_or(now_ms).saturating_sub(now_ms);
            Reason::TooLarge {
                what: "time until its deadline, in ms".into(),
                wanted: length(work, peer).1,
                given,
            }
        }
    };
    Decision::Impossible {
        soonest_ms: may().filter_map(soonest).min(),
        reasons: peers.iter().map(|peer| (peer.device, reason(peer))).collect(),
    }
}

/// What the work left would take on this peer: hours and milliseconds.
fn length(work: &Work, peer: &Peer<'_>) -> (usize, u64) {
    let stays = Some(peer.device) == work.runs_on;
    let extra = match (stays, work.runs_on) {
        (true, _) => 0,
        (false, None) => peer.move_ms,
        (false, Some(_)) => peer.move_ms.saturating_add(work.unsaved_ms),
    };
    let ms = peer.work_ms.saturating_add(extra);
    (usize::try_from(ms.div_ceil(HOUR_MS)).unwrap_or(usize::MAX).max(1), ms)
}

/// How the hours of a plan are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// No whole hour can be spared: now, or it is late.
    Forced,
    /// The first that are good enough: a better hour may always follow.
    Endless,
    /// The cheapest, in pieces.
    Pieces,
    /// From now on, since it runs and is not interrupted.
    Stays,
    /// As soon as somebody is there.
    Soonest,
    /// The cheapest in one piece.
    Piece,
}

/// What of a task decides which hours are its cheapest on a given path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) way: Way,
    /// Of work.
    pub(super) hours: usize,
    /// Whole hours to the deadline, within the horizon.
    pub(super) window: usize,
}

/// The shape of a task that takes so long on a peer.
pub(super) fn shape(work: &Work, now_ms: u64, hours: usize, length_ms: u64, runs: bool) -> Shape {
    let left_ms = work.finish_by_ms.map(|finish| finish.saturating_sub(now_ms));
    let window =
        left_ms.map_or(HORIZON, |left| usize::try_from(left / HOUR_MS).unwrap_or(HORIZON)).min(HORIZON);
    let way = match left_ms {
        // Plans count whole hours, the deadline does not.
        Some(left) if left >= length_ms && left < length_ms.saturating_add(HOUR_MS) => Way::Forced,
        None => Way::Endless,
        _ if interruptible(work.class) => Way::Pieces,
        _ if runs => Way::Stays,
        _ if work.class == Sla::Urgent => Way::Soonest,
        _ => Way::Piece,
    };
    Shape { way, hours, window }
}

/// The hours of a task of this shape; `open`: those in which it may run at all.
pub(super) fn find(shape: Shape, prices: &[u64], order: &[u8], open: u128) -> Option<Hours> {
    let Shape { way, hours, window } = shape;
    let whole = first_hours(hours.min(HORIZON));
    let plain = |mask| Hours { mask, sum: 0 };
    let from = open.trailing_zeros();
    match way {
        Way::Forced => (open & 1 == 1).then(|| plain(whole & first_hours(window.max(1)))),
        Way::Endless => (open != 0).then(|| plain(open & (whole << from))),
        Way::Pieces => pieces(prices, order, open & first_hours(window), hours),
        Way::Stays => Some(plain(whole)),
        Way::Soonest => (open != 0).then(|| plain(whole << from)),
        Way::Piece => piece(prices, open & first_hours(window), hours),
    }
}

/// What a plan of this carbon counts for among peers.
pub(super) fn cost(planned: u128, reliable: u16, load: u16) -> u128 {
    // An attempt that does not come to its end is energy spent for nothing.
    let sure = planned * 1000 / u128::from(reliable.clamp(1, 1000));
    sure + sure * u128::from(load) / 1000
}

fn plan<'a>(work: &Work, now_ms: u64, peer: &'a Peer<'a>) -> Option<Plan<'a>> {
    let (hours, length_ms) = length(work, peer);
    let runs = Some(peer.device) == work.runs_on;
    let latest_ms = work.finish_by_ms.and_then(|finish| finish.checked_sub(length_ms));
    let open = peer.there & peer.clean & first_hours(HORIZON);
    let shape = shape(work, now_ms, hours, length_ms, runs);
    let dirtiest = peer.path.iter().copied().max().unwrap_or(u32::MAX);
    // In pg an hour: mg/kWh × µWh.
    let each = peer.work_uwh / hours as u64;
    let now = u64::from(peer.path.first().copied().unwrap_or(dirtiest));
    let prices: Vec<u64> = prices(peer.path)
        .enumerate()
        .map(|(hour, price)| if runs && hour == 0 { price - price * STAY / 1000 } else { price })
        .collect();
    let order = if shape.way == Way::Pieces { order(&prices) } else { Vec::new() };
    let found = find(shape, &prices, &order, open)?;
    let sum_pg = |mask: u128| {
        let price = |hour: usize| u128::from(peer.path.get(hour).copied().unwrap_or(dirtiest));
        (0..HORIZON).filter(|hour| mask >> hour & 1 == 1).map(price).sum::<u128>() * u128::from(each)
    };
    let moved = if runs { 0 } else { u128::from(peer.move_ug) * PG_PER_UG };
    let repeated = match work.runs_on {
        // What is computed again, at the mean power of the rest.
        Some(_) if !runs && peer.work_ms > 0 => {
            u128::from(now) * u128::from(peer.work_uwh) * u128::from(work.unsaved_ms)
                / u128::from(peer.work_ms)
        }
        _ => 0,
    };
    let planned = sum_pg(found.mask) + moved + repeated;
    let cost = cost(planned, peer.reliable, peer.load);
    let at_once = first_hours(hours.min(HORIZON));
    let micro = |pg: u128| u64::try_from(pg / PG_PER_UG).unwrap_or(u64::MAX);
    let numbers = Numbers {
        planned_ug: micro(planned),
        at_once_ug: (open & at_once == at_once).then(|| micro(sum_pg(at_once) + moved + repeated)),
        now_mg_per_kwh: u32::try_from(now).unwrap_or(u32::MAX),
        then_mg_per_kwh: peer.path.get(found.first()).copied().unwrap_or(dirtiest),
        hours: found.mask,
        latest_ms,
    };
    Some(Plan { peer, hours: found, cost, numbers, forced: shape.way == Way::Forced })
}

/// Prices of the hours of a path; what it does not reach counts as its dirtiest.
pub(super) fn prices(path: &[u32]) -> impl Iterator<Item = u64> {
    let dirtiest = path.iter().copied().max().unwrap_or(u32::MAX);
    (0..HORIZON).map(move |hour| u64::from(path.get(hour).copied().unwrap_or(dirtiest)) * 1000)
}

/// The dearest that an equal of the best may be.
pub(super) fn equal_to(best: u128) -> u128 {
    best.saturating_add(best * u128::from(EQUAL) / 1000)
}

/// A number for a pair of task and peer, by which equals are told apart: each task prefers another peer.
pub(super) fn mix(seed: u64, device: &PublicKey) -> u64 {
    // FNV-1a, then SplitMix64's finish: FNV alone leaves the high bits of short inputs alike.
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let mut z = device.0.iter().fold(seed ^ 0xcbf2_9ce4_8422_2325, fold);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000 * HOUR_MS;

    fn peer<'a>(number: u8, path: &'a [u32]) -> Peer<'a> {
        Peer {
            device: PublicKey([number; 32]),
            permitted: Ok(()),
            path,
            there: u128::MAX,
            clean: u128::MAX,
            work_ms: 2 * HOUR_MS,
            work_uwh: 20_000_000,
            move_ms: 0,
            move_ug: 0,
            reliable: 1000,
            load: 0,
        }
    }

    fn work(class: Sla, hours: u64) -> Work {
        let finish_by_ms = Some(NOW + hours * HOUR_MS);
        Work { class, finish_by_ms, since_ms: NOW, runs_on: None, unsaved_ms: 0, seed: 7 }
    }

    /// 400 g, but for the hours of `clean`, which have 100 g.
    fn path(clean: std::ops::Range<usize>) -> Vec<u32> {
        (0..HORIZON).map(|hour| if clean.contains(&hour) { 100_000 } else { 400_000 }).collect()
    }

    // spec: PLACE-1
    #[test]
    fn it_runs_when_no_later_hour_is_better_and_waits_with_its_numbers_when_one_is() {
        let (now, later) = (path(0..4), path(5..9));
        let clean = decide(&work(Sla::Normal, 48), NOW, &[peer(1, &now)]);
        assert!(matches!(clean, Decision::Run(_, Why::Cleanest, _)), "{clean:?}");
        let Decision::Wait { on, until_ms, why, numbers: Some(numbers) } =
            decide(&work(Sla::Normal, 48), NOW, &[peer(1, &later)])
        else {
            panic!("a better hour comes")
        };
        assert_eq!(
            (on, until_ms, why),
            (Some(PublicKey([1; 32])), Some(NOW + 5 * HOUR_MS), Why::CleanerLater)
        );
        // 20 Wh at 100 g are 2 g; at once they would be 8 g.
        assert_eq!((numbers.planned_ug, numbers.at_once_ug), (2_000_000, Some(8_000_000)));
        assert_eq!((numbers.now_mg_per_kwh, numbers.then_mg_per_kwh), (400_000, 100_000));
        assert_eq!(numbers.latest_ms, Some(NOW + 46 * HOUR_MS));
        let urgent = decide(&work(Sla::Urgent, 48), NOW, &[peer(1, &later)]);
        assert!(matches!(urgent, Decision::Run(_, Why::Urgent, _)), "{urgent:?}");
    }

    // spec: PLACE-2, SLA-2
    #[test]
    fn the_deadline_comes_first_and_what_cannot_meet_it_is_told_at_once() {
        let later = path(5..9);
        for class in [Sla::High, Sla::Normal] {
            let forced = decide(&work(class, 2), NOW, &[peer(1, &later)]);
            assert!(matches!(forced, Decision::Run(_, Why::Deadline, _)), "{forced:?}");
            let late = decide(&work(class, 1), NOW, &[peer(1, &later)]);
            let Decision::Impossible { soonest_ms, reasons } = late else { panic!("{late:?}") };
            assert_eq!((soonest_ms, reasons.len()), (Some(NOW + 2 * HOUR_MS), 1));
        }
        // Whoever decides hour by hour, on whatever expectations, is done in time.
        for seed in 0..200_u64 {
            let mut left = 3 * HOUR_MS;
            for hour in 0..7_u64 {
                let noise: Vec<u32> = (0..96_u64)
                    .map(|k| ((seed * 7_919 + hour * 104_729 + k * 1_299_709) % 500_000) as u32)
                    .collect();
                let task = Work { finish_by_ms: Some(NOW + 7 * HOUR_MS), ..work(Sla::Normal, 7) };
                let there = Peer { work_ms: left, ..peer(1, &noise) };
                let runs =
                    left > 0 && matches!(decide(&task, NOW + hour * HOUR_MS, &[there]), Decision::Run(..));
                left -= if runs { HOUR_MS } else { 0 };
            }
            assert_eq!(left, 0, "seed {seed}");
        }
    }

    // spec: PLACE-2
    #[test]
    fn a_running_task_does_not_flap_and_moves_only_for_more_than_a_move_costs() {
        let (even, cleaner, far_cleaner) = ([400_000; 96], [380_000; 96], [100_000; 96]);
        let running = Work { runs_on: Some(PublicKey([1; 32])), ..work(Sla::Normal, 48) };
        let slightly: Vec<u32> = (0..96).map(|hour| if hour == 0 { 400_000 } else { 399_000 }).collect();
        assert!(matches!(decide(&running, NOW, &[peer(1, &slightly)]), Decision::Run(_, Why::Stays, _)));
        assert!(matches!(decide(&running, NOW, &[peer(1, &path(5..9))]), Decision::Pause { .. }));
        let to = |path| decide(&running, NOW, &[peer(1, &even), peer(2, path)]);
        assert!(matches!(to(&cleaner), Decision::Run(..)), "5 % is not worth a move");
        assert!(matches!(to(&far_cleaner), Decision::Move(_, Why::CleanerElsewhere, _)));
        let heavy = Peer { move_ug: 8_000_000, ..peer(2, &far_cleaner) };
        let stays = decide(&running, NOW, &[peer(1, &even), heavy]);
        assert!(matches!(stays, Decision::Run(..)), "moving would cost more than it saves: {stays:?}");
        let high = Work { class: Sla::High, ..running };
        assert!(
            matches!(decide(&high, NOW, &[peer(1, &path(5..9))]), Decision::Run(..)),
            "HIGH is not interrupted"
        );
    }

    // spec: PLACE-2
    #[test]
    fn equals_share_the_load_and_an_unreliable_or_crowded_peer_is_dearer() {
        let even = [400_000; 96];
        let peers: Vec<Peer<'_>> = (1..=10).map(|number| peer(number, &even)).collect();
        let mut counts = [0; 11];
        for seed in 0..1000 {
            if let Decision::Run(on, ..) = decide(&Work { seed, ..work(Sla::Normal, 48) }, NOW, &peers) {
                counts[usize::from(on.0[0])] += 1;
            }
        }
        assert!(counts[1..].iter().all(|count| (50..200).contains(count)), "{counts:?}");
        for worse in [Peer { reliable: 500, ..peer(1, &even) }, Peer { load: 500, ..peer(1, &even) }] {
            for seed in 0..20 {
                let task = Work { seed, ..work(Sla::Normal, 48) };
                let on = decide(&task, NOW, &[worse.clone(), peer(2, &even)]);
                assert!(matches!(on, Decision::Run(on, ..) if on == PublicKey([2; 32])), "{on:?}");
            }
        }
    }

    // spec: PLACE-1
    #[test]
    fn eco_waits_for_clean_hours_for_ever_and_says_for_what() {
        let even = [400_000; 96];
        let eco = Work { finish_by_ms: None, ..work(Sla::Eco, 0) };
        let never = decide(&eco, NOW, &[Peer { clean: 0, ..peer(1, &even) }]);
        let Decision::Wait { until_ms: None, why: Why::EnergyNotClean, .. } = never else {
            panic!("{never:?}")
        };
        let later = decide(&eco, NOW, &[Peer { clean: 0b11 << 9, ..peer(1, &even) }]);
        assert!(matches!(later, Decision::Wait { until_ms: Some(at), .. } if at == NOW + 9 * HOUR_MS));
    }

    // spec: PLACE-1, SLA-3
    #[test]
    fn what_may_wait_for_ever_waits_for_nobody_while_somebody_clean_is_free() {
        let (clean, cleaner) = ([140_000; 96], [30_000; 96]);
        let eco = Work { finish_by_ms: None, ..work(Sla::Eco, 0) };
        for later in [Peer { clean: !1, ..peer(2, &cleaner) }, Peer { there: !1, ..peer(2, &cleaner) }] {
            let on = decide(&eco, NOW, &[peer(1, &clean), later.clone()]);
            assert!(matches!(on, Decision::Run(on, ..) if on == PublicKey([1; 32])), "{on:?}");
            // What runs is not moved for that.
            let runs = Work { runs_on: Some(PublicKey([1; 32])), ..eco.clone() };
            let stays = decide(&runs, NOW, &[peer(1, &clean), later]);
            assert!(matches!(stays, Decision::Run(on, Why::Stays, _) if on == PublicKey([1; 32])));
        }
        let both = decide(&eco, NOW, &[peer(1, &clean), peer(2, &cleaner)]);
        assert!(matches!(both, Decision::Run(on, ..) if on == PublicKey([2; 32])), "{both:?}");
    }

    // spec: PLACE-2, CLI-3
    #[test]
    fn what_stands_against_each_peer_is_said_where_nobody_is_in_time() {
        let hours = path(0..4);
        let free = peer(1, &hours);
        let full = Peer { there: 0, ..peer(2, &hours) };
        let dirty = Peer { clean: 0, ..peer(3, &hours) };
        // Free in the hours in which its energy is not clean, and the other way round.
        let never = Peer { there: 0b01, clean: 0b10, ..peer(4, &hours) };
        let refuses = Peer { permitted: Err(Reason::NoGrant), ..peer(5, &hours) };
        let late = decide(&work(Sla::Normal, 1), NOW, &[free, full, dirty, never, refuses]);
        let Decision::Impossible { soonest_ms, reasons } = late else { panic!("{late:?}") };
        assert_eq!(soonest_ms, Some(NOW + 2 * HOUR_MS));
        let reasons: Vec<Reason> = reasons.into_iter().map(|(_, reason)| reason).collect();
        let too_late = |reason: &Reason| matches!(reason, Reason::TooLarge { wanted, given, .. } if (*wanted, *given) == (2 * HOUR_MS, HOUR_MS));
        assert!(too_late(&reasons[0]), "{reasons:?}");
        let rest = [Reason::NoCapacity, Reason::EnergyNotClean, Reason::EnergyNotClean, Reason::NoGrant];
        assert_eq!(reasons[1..], rest);
    }
}
