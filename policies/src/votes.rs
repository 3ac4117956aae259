//! What did the members decide? Integers only, so that equal votes give an equal tally on every peer.
// spec: VOTE-1, VOTE-2, VOTE-3, VOTE-4, VOTE-8

use mesh_protocol::ids::EntryId;
use mesh_protocol::key::UserKey;
use mesh_protocol::ledger::Hlc;
use mesh_protocol::rules::VotingMethod;
use std::collections::BTreeMap;

/// What a member's vote weighs by, as of a ballot's opening.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merit {
    /// From 0 to 100.
    pub reputation: u64,
    /// Cents and minutes contributed, each counting one.
    pub stake: u64,
    /// Whole months (of 30 days) since admission.
    pub months: u64,
    /// Tasks executed on own devices.
    pub tasks: u64,
    /// Contributions recorded.
    pub contributions: u64,
}

/// What a member's vote weighs.
// spec: VOTE-2
pub fn weight(method: VotingMethod, merit: &Merit) -> u64 {
    match method {
        VotingMethod::OnePerUser => 1,
        VotingMethod::Reputation => merit.reputation,
        VotingMethod::Stake => merit.stake,
        // Tenths, so that 0.5, 0.3 and 0.2 are whole.
        VotingMethod::Hybrid => {
            let parts = [(merit.months, 5), (merit.tasks, 3), (merit.contributions, 2)];
            parts.iter().fold(0, |sum: u64, (part, by)| sum.saturating_add(part.saturating_mul(*by)))
        }
    }
}

/// A question put to the members.
#[derive(Debug, Clone)]
pub struct Ballot<C> {
    /// When, in milliseconds since 1970.
    pub opened_ms: u64,
    /// For how long.
    pub window_ms: u64,
    /// By how much a date may miss the window.
    pub skew_ms: u64,
    /// Percent of the weight cast that decides; 50 to 100.
    pub consensus_percent: u8,
    /// Voters other than the asker that are needed.
    pub quorum: usize,
    /// Who asked.
    pub asker: UserKey,
    /// Who may vote, with their weights, as of the opening.
    pub electorate: BTreeMap<UserKey, u64>,
    /// What holds if nothing has enough weight.
    pub fallback: C,
}

/// A vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote<C> {
    /// As of when it counts.
    pub at: Hlc,
    /// The entry that says it.
    pub entry: EntryId,
    /// Whose.
    pub user: UserKey,
    /// For what.
    pub choice: C,
}

/// What became of a ballot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State<C> {
    /// It can still go either way.
    Open,
    /// Its window is over and too few have voted. It is decided as soon as enough have.
    NoQuorum,
    /// It is decided.
    Decided(C),
}

/// A ballot as counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally<C: Ord> {
    /// What became of it.
    pub state: State<C>,
    /// When it was decided, in milliseconds since 1970.
    pub decided_ms: Option<u64>,
    /// The votes that count: one a member.
    pub votes: BTreeMap<UserKey, (C, EntryId)>,
    /// Weight for each choice.
    pub weights: BTreeMap<C, u64>,
    /// Voters other than the asker.
    pub others: usize,
}

impl<C: Copy + Ord> Tally<C> {
    /// Tenths of a percent of the weight cast that the strongest choice has: the confidence. Nothing while nobody has
    /// voted with any weight.
    // spec: VOTE-3
    pub fn share_permille(&self) -> Option<u64> {
        let cast = total(&self.weights);
        let most = u128::from(*self.weights.values().max()?);
        u64::try_from((most * 1000).checked_div(cast)?).ok()
    }

    /// Did at least two vote, and all alike?
    pub fn unanimous(&self) -> bool {
        self.votes.len() > 1 && self.weights.len() == 1
    }

    /// The decision, if there is one.
    pub fn decision(&self) -> Option<C> {
        match self.state {
            State::Decided(choice) => Some(choice),
            State::Open | State::NoQuorum => None,
        }
    }
}

fn total<C>(weights: &BTreeMap<C, u64>) -> u128 {
    weights.values().map(|weight| u128::from(*weight)).sum()
}

/// Has a choice of weight `mine`, with the next strongest at `rival`, enough of `cast`? A tie decides nothing.
fn enough(mine: u128, rival: u128, cast: u128, percent: u8) -> bool {
    mine > rival && mine * 100 >= u128::from(percent) * cast
}

fn rival<C: Copy + Ord>(weights: &BTreeMap<C, u64>, of: C) -> u128 {
    let others = weights.iter().filter(|(choice, _)| **choice != of);
    others.map(|(_, weight)| u128::from(*weight)).max().unwrap_or(0)
}

/// The choice with enough weight.
// spec: VOTE-3
fn winner<C: Copy + Ord>(weights: &BTreeMap<C, u64>, percent: u8) -> Option<C> {
    let cast = total(weights);
    let wins =
        |(choice, weight): &(&C, &u64)| enough(u128::from(**weight), rival(weights, **choice), cast, percent);
    weights.iter().find(wins).map(|(choice, _)| *choice)
}

/// Is the result the same however the weight not yet cast falls, or does not?
// spec: VOTE-1
fn is_settled<C: Copy + Ord>(weights: &BTreeMap<C, u64>, rest: u128, percent: u8, fallback: C) -> bool {
    let cast = total(weights);
    match winner(weights, percent) {
        Some(won) if won != fallback => {
            let mine = u128::from(weights.get(&won).copied().unwrap_or(0));
            enough(mine, rival(weights, won) + rest, cast + rest, percent)
        }
        // It stands unless something else can still win. A choice that nobody has voted for needs all the rest.
        _ => {
            let known = weights.iter().filter(|(choice, _)| **choice != fallback);
            let strongest = known.map(|(choice, weight)| (u128::from(*weight), rival(weights, *choice)));
            let unknown = (0, weights.values().max().copied().map_or(0, u128::from));
            let can = |(mine, rival): (u128, u128)| enough(mine + rest, rival, cast + rest, percent);
            !strongest.chain([unknown]).any(can)
        }
    }
}

/// Counts. `votes` may be in any order and hold anything that anybody said.
// spec: VOTE-1, VOTE-4, VOTE-8
pub fn tally<C: Copy + Ord>(ballot: &Ballot<C>, votes: &[Vote<C>], now_ms: u64) -> Tally<C> {
    let closes = ballot.opened_ms.saturating_add(ballot.window_ms);
    let first = ballot.opened_ms.saturating_sub(ballot.skew_ms);
    let last = closes.saturating_add(ballot.skew_ms);
    let mut sorted: Vec<&Vote<C>> = votes
        .iter()
        .filter(|vote| ballot.electorate.contains_key(&vote.user) && vote.at.wall_ms() >= first)
        .collect();
    sorted.sort_by_key(|vote| (vote.at, vote.entry));

    let mut cast: BTreeMap<UserKey, (C, EntryId)> = BTreeMap::new();
    let mut decided = None;
    let weights = |cast: &BTreeMap<UserKey, (C, EntryId)>| {
        let mut weights: BTreeMap<C, u64> = BTreeMap::new();
        for (user, (choice, _)) in cast {
            let weight = weights.entry(*choice).or_default();
            *weight = weight.saturating_add(ballot.electorate.get(user).copied().unwrap_or(0));
        }
        weights
    };
    let others =
        |cast: &BTreeMap<UserKey, (C, EntryId)>| cast.keys().filter(|user| **user != ballot.asker).count();
    for vote in sorted {
        let at = vote.at.wall_ms();
        let late = at > last;
        if decided.is_some() {
            // Nobody changes their mind any more; who had not voted is shown, and cannot change the result.
            if !late {
                cast.entry(vote.user).or_insert((vote.choice, vote.entry));
            }
            continue;
        }
        if late && others(&cast) >= ballot.quorum {
            break;
        }
        cast.insert(vote.user, (vote.choice, vote.entry));
        if others(&cast) < ballot.quorum {
            continue;
        }
        let not_cast = ballot.electorate.iter().filter(|(user, _)| !cast.contains_key(user));
        let rest = not_cast.map(|(_, weight)| u128::from(*weight)).sum();
        if late || is_settled(&weights(&cast), rest, ballot.consensus_percent, ballot.fallback) {
            decided = Some(at);
        }
        if late {
            break;
        }
    }
    let weights = weights(&cast);
    let others = others(&cast);
    if decided.is_none() && now_ms >= closes && others >= ballot.quorum {
        decided = Some(closes);
    }
    let state = match decided {
        Some(_) => State::Decided(winner(&weights, ballot.consensus_percent).unwrap_or(ballot.fallback)),
        None if now_ms >= closes => State::NoQuorum,
        None => State::Open,
    };
    Tally { state, decided_ms: decided, votes: cast, weights, others }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::key::PublicKey;
    use mesh_protocol::task::Importance::{self, Critical, High, Low, NonCritical, Normal};
    use proptest::prelude::*;

    const ALL: [Importance; 5] = [NonCritical, Low, Normal, High, Critical];

    fn user(number: u8) -> UserKey {
        UserKey(PublicKey([number; 32]))
    }

    /// Opened at 10 s for 10 s; user 0 asks.
    fn ballot(weights: &[u64]) -> Ballot<Importance> {
        let electorate = weights.iter().zip(0..).map(|(weight, number)| (user(number), *weight)).collect();
        Ballot {
            opened_ms: 10_000,
            window_ms: 10_000,
            skew_ms: 1000,
            consensus_percent: 60,
            quorum: 1,
            asker: user(0),
            electorate,
            fallback: Normal,
        }
    }

    fn vote(number: u8, choice: Importance, at_ms: u64) -> Vote<Importance> {
        let at = Hlc::at(at_ms);
        let entry = EntryId(*blake3::hash(&[&[number][..], &at_ms.to_be_bytes()].concat()).as_bytes());
        Vote { at, entry, user: user(number), choice }
    }

    fn result(weights: &[u64], votes: &[Vote<Importance>], now_ms: u64) -> State<Importance> {
        tally(&ballot(weights), votes, now_ms).state
    }

    // spec: VOTE-3
    #[test]
    fn two_of_three_decide_with_66_percent() {
        let votes = [vote(0, Low, 11_000), vote(1, High, 12_000), vote(2, High, 13_000)];
        let tally = tally(&ballot(&[1, 1, 1]), &votes, 13_000);
        assert_eq!(tally.state, State::Decided(High));
        assert_eq!(tally.share_permille(), Some(666));
        assert!(!tally.unanimous());
    }

    // spec: VOTE-3
    #[test]
    fn a_split_vote_is_normal_and_all_alike_is_unanimous() {
        let split = [vote(0, Low, 11_000), vote(1, High, 12_000), vote(2, Critical, 13_000)];
        assert_eq!(result(&[1, 1, 1], &split, 13_000), State::Decided(Normal));
        let even = [vote(1, High, 12_000), vote(2, Low, 13_000)];
        let half = Ballot { consensus_percent: 50, ..ballot(&[1, 1, 1]) };
        assert_eq!(tally(&half, &even, 20_000).state, State::Decided(Normal), "a tie decides nothing");
        let alike = tally(&ballot(&[1, 1, 1]), &[vote(1, Low, 12_000), vote(2, Low, 13_000)], 20_000);
        assert!(alike.unanimous());
        assert_eq!((alike.state, alike.share_permille()), (State::Decided(Low), Some(1000)));
        let alone = tally(&ballot(&[1, 1, 1]), &[vote(1, Low, 12_000)], 20_000);
        assert!(!alone.unanimous(), "one voice is not unanimous");
    }

    // spec: VOTE-1
    #[test]
    fn it_closes_early_once_nothing_can_change_it() {
        let two = [vote(1, High, 11_000), vote(2, High, 12_000)];
        assert_eq!(result(&[1, 1, 1], &two, 12_000), State::Decided(High));
        assert_eq!(result(&[1, 1, 1, 1], &two, 12_000), State::Open, "two of four may be outvoted");
        assert_eq!(tally(&ballot(&[1, 1, 1]), &two, 12_000).decided_ms, Some(12_000));
        // Who votes afterwards is shown; who changes their mind afterwards is not.
        let after = [two[0], two[1], vote(0, Low, 13_000), vote(1, Low, 14_000)];
        let tally = tally(&ballot(&[1, 1, 1]), &after, 15_000);
        assert_eq!((tally.state, tally.share_permille()), (State::Decided(High), Some(666)));
    }

    // spec: VOTE-1
    #[test]
    fn a_vote_can_be_changed_while_the_ballot_is_open() {
        let votes = [vote(1, High, 11_000), vote(1, Low, 12_000)];
        assert_eq!(result(&[1, 1, 1, 1], &votes, 20_000), State::Decided(Low));
    }

    // spec: VOTE-4
    #[test]
    fn without_a_quorum_it_waits_and_can_be_decided_later() {
        assert_eq!(result(&[1, 1, 1], &[], 19_999), State::Open);
        assert_eq!(result(&[1, 1, 1], &[], 20_000), State::NoQuorum);
        assert_eq!(result(&[1, 1, 1], &[vote(0, Critical, 11_000)], 20_000), State::NoQuorum, "the asker");
        let late = [vote(0, High, 11_000), vote(1, High, 50_000), vote(2, Low, 60_000)];
        let tally = tally(&ballot(&[1, 1, 1]), &late, 70_000);
        assert_eq!((tally.state, tally.decided_ms), (State::Decided(High), Some(50_000)));
        assert_eq!(tally.votes.len(), 2, "what comes after the decision does not count");
    }

    // spec: VOTE-8
    #[test]
    fn what_is_dated_outside_the_window_does_not_count() {
        for (at, counts) in [(8_999, false), (9_000, true), (21_000, true), (21_001, false)] {
            let votes = [vote(1, Normal, 12_000), vote(2, Low, at)];
            let tally = tally(&ballot(&[1, 1, 1, 1, 1]), &votes, 30_000);
            assert_eq!(tally.votes.contains_key(&user(2)), counts, "{at}");
        }
        let stranger = [vote(9, Critical, 12_000)];
        assert_eq!(result(&[1, 1, 1], &stranger, 20_000), State::NoQuorum);
    }

    // spec: VOTE-2
    #[test]
    fn each_method_weighs_in_its_own_way() {
        let merit = Merit { reputation: 70, stake: 500, months: 4, tasks: 10, contributions: 3 };
        let weights = [
            (VotingMethod::OnePerUser, 1),
            (VotingMethod::Reputation, 70),
            (VotingMethod::Stake, 500),
            (VotingMethod::Hybrid, 20 + 30 + 6),
        ];
        for (method, expected) in weights {
            assert_eq!(weight(method, &merit), expected, "{method:?}");
        }
        let endless = Merit { months: u64::MAX, tasks: u64::MAX, ..merit };
        assert_eq!(weight(VotingMethod::Hybrid, &endless), u64::MAX);
        // One heavy member outweighs two light ones.
        let votes = [vote(0, Low, 11_000), vote(1, High, 11_500), vote(2, Low, 12_000)];
        assert_eq!(result(&[1, 9, 2], &votes, 20_000), State::Decided(High));
        // Nobody has any weight: nothing is decided against the submitter.
        assert_eq!(result(&[0, 0, 0], &votes, 20_000), State::Decided(Normal));
        assert_eq!(tally(&ballot(&[0, 0, 0]), &votes, 20_000).share_permille(), None);
    }

    /// Every way in which `rest` can fall on five choices, or not at all.
    fn allotments(rest: u64) -> Vec<[u64; 5]> {
        let mut all = Vec::new();
        for a in 0..=rest {
            for b in 0..=rest - a {
                for c in 0..=rest - a - b {
                    for d in 0..=rest - a - b - c {
                        for e in 0..=rest - a - b - c - d {
                            all.push([a, b, c, d, e]);
                        }
                    }
                }
            }
        }
        all
    }

    // spec: VOTE-1
    #[test]
    fn settled_means_that_no_allotment_of_the_rest_changes_the_result() {
        let weigh = |given: &[u64; 5]| -> BTreeMap<Importance, u64> {
            ALL.into_iter().zip(*given).filter(|(_, weight)| *weight > 0).collect()
        };
        for percent in [50, 60, 67, 100] {
            for cast in allotments(4) {
                for rest in 0..=3 {
                    let now = winner(&weigh(&cast), percent).unwrap_or(Normal);
                    let same = allotments(rest).into_iter().all(|more| {
                        let sum = std::array::from_fn(|at| cast[at] + more[at]);
                        winner(&weigh(&sum), percent).unwrap_or(Normal) == now
                    });
                    let settled = is_settled(&weigh(&cast), u128::from(rest), percent, Normal);
                    assert_eq!(settled, same, "{cast:?} with {rest} to come at {percent} %");
                }
            }
        }
    }

    fn any_votes() -> impl Strategy<Value = Vec<Vote<Importance>>> {
        let one = (0u8..6, 0usize..5, 8_000u64..40_000).prop_map(|(who, what, at)| vote(who, ALL[what], at));
        proptest::collection::vec(one, 0..12)
    }

    proptest! {
        // spec: VOTE-8
        #[test]
        fn a_tally_does_not_depend_on_the_order(votes in any_votes(), weights in proptest::collection::vec(0u64..5, 5), turn in 0usize..12) {
            let straight = tally(&ballot(&weights), &votes, 30_000);
            let mut other = votes;
            other.reverse();
            if !other.is_empty() {
                let by = turn % other.len();
                other.rotate_left(by);
            }
            prop_assert_eq!(straight, tally(&ballot(&weights), &other, 30_000));
        }

        // spec: VOTE-3
        #[test]
        fn one_more_vote_for_it_never_makes_it_lose(
            choices in proptest::collection::vec(0usize..5, 1..6),
            weights in proptest::collection::vec(0u64..5, 7),
            at in 10_000u64..20_000,
            quorum in 0usize..3,
        ) {
            let ballot = Ballot { quorum, ..ballot(&weights) };
            let mut votes: Vec<_> = choices.iter().zip(1u8..).map(|(what, who)| vote(who, ALL[*what], 11_000)).collect();
            if let State::Decided(won) = tally(&ballot, &votes, 30_000).state {
                votes.push(vote(0, won, at));
                prop_assert_eq!(tally(&ballot, &votes, 30_000).state, State::Decided(won));
            }
        }

        #[test]
        fn what_was_decided_early_stays_decided(
            choices in proptest::collection::vec((0usize..5, 10_000u64..20_000), 5),
            weights in proptest::collection::vec(1u64..5, 5),
        ) {
            let votes: Vec<_> = choices.iter().zip(0u8..).map(|((what, at), who)| vote(who, ALL[*what], *at)).collect();
            let end = tally(&ballot(&weights), &votes, 30_000);
            for upto in 0..votes.len() {
                let mut seen = votes.clone();
                seen.sort_by_key(|vote| (vote.at, vote.entry));
                seen.truncate(upto);
                let then = tally(&ballot(&weights), &seen, 10_000);
                if let State::Decided(choice) = then.state {
                    prop_assert_eq!(State::Decided(choice), end.state);
                }
            }
        }
    }

    // spec: VOTE-3
    #[test]
    fn enough_is_the_percentage_of_what_was_cast_and_more_than_the_next() {
        for (mine, rival, cast, percent, expected) in [
            (2, 1, 3, 66, true),
            (2, 1, 3, 67, false),
            (60, 40, 100, 60, true),
            (59, 41, 100, 60, false),
            (1, 1, 2, 50, false),
            (1, 0, 1, 100, true),
            (0, 0, 0, 50, false),
        ] {
            assert_eq!(
                enough(mine, rival, cast, percent),
                expected,
                "{mine} of {cast}, {rival}, {percent} %"
            );
        }
    }

    // spec: VOTE-3, VOTE-4
    #[test]
    fn only_what_is_decided_is_a_decision() {
        let of = |state| Tally {
            state,
            decided_ms: None,
            votes: BTreeMap::new(),
            weights: BTreeMap::new(),
            others: 0,
        };
        assert_eq!(of(State::Decided(High)).decision(), Some(High));
        assert_eq!(of(State::<Importance>::Open).decision(), None);
        assert_eq!(of(State::<Importance>::NoQuorum).decision(), None);
    }
}
