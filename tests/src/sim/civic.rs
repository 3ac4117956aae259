//! Communities that vote, count days and are cheated. Not every seed has one: the others are about everything else.
// spec: VOTE-1, QUOTA-3, QUOTA-4, LED-10, PERM-6, REP-2

use super::actions::{Kind, Profile, SETUP_MS};
use super::peer::Role;
use super::rng::Rng;
use mesh_protocol::rules::{Rules, Tier};

/// The first midnight after the simulation's usual beginning, in milliseconds since 1970.
const MIDNIGHT: u64 = 1_790_035_200_000;

/// What such a community has agreed on, and what happens to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Civic {
    /// How long ballots stay open; 0 where nobody is asked.
    pub(crate) window_ms: u64,
    /// The rule `max_skew`.
    pub(crate) skew_ms: u64,
    /// Tasks a day; 0 for as many as anybody likes.
    pub(crate) quota: u32,
    /// Do people move to other time zones?
    pub(crate) zones: bool,
    /// Does a day end meanwhile?
    pub(crate) midnight: bool,
    /// Does one of them submit matters of public health without end?
    pub(crate) flood: bool,
}

/// The rule `max_overtaken` under a flood.
const FLOODED: u16 = 3;
/// Tasks a day of whoever gave something, above everybody's.
pub(crate) const MORE: u32 = 2;

impl Civic {
    /// Changes the profile of some seeds. From a stream of its own, so that all others stay what they were.
    pub(crate) fn draw(seed: u64, profile: &mut Profile, begins: &mut u64) -> Option<Self> {
        const CHEATS: [Role; 9] = [
            Role::Spender,
            Role::Hider,
            Role::Boaster,
            Role::Wasteful,
            Role::Stuffer,
            Role::Latecomer,
            Role::Backdater,
            Role::Host,
            Role::Nightsun,
        ];
        let mut rng = Rng::new(seed ^ 0x00c1_71c0_0000_0000);
        if !rng.chance(400) {
            return None;
        }
        let flood = rng.chance(200);
        let cheat = rng.chance(850) && !flood;
        profile.adversary = if cheat { CHEATS[rng.index(CHEATS.len())] } else { Role::Honest };
        profile.peers = profile.peers.max(4);
        profile.late &= !cheat;
        // Where clocks are off, a late vote cannot be told from one that was made in time for minutes.
        profile.skew &= !matches!(profile.adversary, Role::Latecomer | Role::Backdater);
        let skew_ms = if profile.skew { 120_000 } else { 5_000 };
        let spends = matches!(profile.adversary, Role::Spender | Role::Hider);
        let civic = Self {
            window_ms: if flood || spends { 0 } else { rng.within(8_000, 25_000) },
            skew_ms,
            quota: if spends || (!flood && rng.chance(300)) { rng.within(3, 7) as u32 } else { 0 },
            zones: rng.chance(200),
            midnight: rng.chance(300),
            flood,
        };
        if civic.midnight {
            *begins = MIDNIGHT - SETUP_MS - rng.below(profile.chaos_ms);
        }
        profile.civic_actions(&civic, &mut rng);
        Some(civic)
    }

    /// Its rules.
    pub(crate) fn rules(&self) -> Rules {
        let rules = Rules::default();
        let more = if self.quota == 0 { 0 } else { self.quota + MORE };
        Rules {
            voting_window_ms: self.window_ms,
            vote_after_ms: 0,
            max_skew_ms: self.skew_ms,
            max_overtaken: if self.flood { FLOODED } else { rules.max_overtaken },
            free: Tier { tasks: self.quota, ..rules.free },
            supporter: Tier { tasks: more, ..rules.supporter },
            contributor: Tier { tasks: more, ..rules.contributor },
            ..rules
        }
    }
}

impl Profile {
    fn civic_actions(&mut self, civic: &Civic, rng: &mut Rng) {
        use Kind as K;
        if civic.flood {
            // Everybody lets the one run anything, and goes on doing so.
            self.actions.retain(|(kind, _)| {
                matches!(
                    kind,
                    K::Submit | K::Crash | K::Disconnect | K::Cut | K::Pause | K::Resume | K::Energy
                )
            });
            self.longest_run = self.longest_run.clamp(5_000, 40_000);
            self.bad_runs = 0;
            return;
        }
        if !self.skew {
            self.actions.retain(|(kind, _)| *kind != K::SetClock);
        }
        self.actions.retain(|(kind, _)| *kind != K::Trick);
        let own = [(K::Vote, 40), (K::Contribute, 2), (K::Propose, 1), (K::VoteRules, 4)];
        self.actions.extend(own);
        if civic.window_ms > 0 && rng.chance(500) {
            self.actions.push((K::SplitBallot, 4));
        }
        if civic.zones {
            self.actions.push((K::MoveZone, 3));
        }
        if self.adversary != Role::Honest {
            self.actions.push((K::Trick, 40));
        }
        // A claim opens nothing where energy is clean.
        if self.adversary == Role::Boaster {
            self.actions.retain(|(kind, _)| *kind != K::Energy);
            self.actions.push((K::Energy, 30));
        }
        // Where energy is always clean nothing has to wait until there is no time left.
        if self.adversary == Role::Honest && civic.window_ms > 0 && rng.chance(600) {
            self.actions.retain(|(kind, _)| *kind != K::Energy);
            self.actions.extend([(K::Energy, 20), (K::Deadline, 30)]);
            self.chaos_ms = self.chaos_ms.max(150_000);
        }
        self.many += 30;
    }
}
