//! On which peer does a task start now?
//!
//! The first policy of its kind: of the peers that may run it and have room, the one with the cleanest energy by its
//! ad, and of equals the one with most room. Which hour is better than now, and whether another place is worth a move,
//! `decide` answers.

pub mod decide;
pub mod hours;

use mesh_protocol::ad::EnergyClaim;
use mesh_protocol::key::PublicKey;
use mesh_protocol::reason::Reason;

/// A peer as placement sees it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Which.
    pub device: PublicKey,
    /// Is it the submitter's own?
    pub own: bool,
    /// May it run the task now? The reason if not.
    pub permitted: Result<(), Reason>,
    /// What it says of its energy.
    pub energy: Option<EnergyClaim>,
    /// Tasks it could start now.
    pub free_slots: u16,
}

/// Where to, or why nowhere: each peer with its reason.
pub type Choice = Result<PublicKey, Vec<(PublicKey, Reason)>>;

/// Chooses.
pub fn choose(candidates: &[Candidate]) -> Choice {
    let able = |candidate: &&Candidate| candidate.permitted.is_ok() && candidate.free_slots > 0;
    // Unknown energy counts as the dirtiest. Of equals a peer goes before the own device, which its owner is using.
    let rank = |candidate: &&Candidate| {
        let dirt = candidate.energy.map_or(u16::MAX, |energy| energy.g_per_kwh);
        (dirt, candidate.own, std::cmp::Reverse(candidate.free_slots), candidate.device)
    };
    match candidates.iter().filter(able).min_by_key(rank) {
        Some(best) => Ok(best.device),
        None => {
            let why = |candidate: &Candidate| match &candidate.permitted {
                Err(reason) => (candidate.device, reason.clone()),
                Ok(()) => (candidate.device, Reason::NoCapacity),
            };
            Err(candidates.iter().map(why).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::ad::Source;

    fn peer(number: u8, g_per_kwh: Option<u16>, free_slots: u16) -> Candidate {
        let claim = |g_per_kwh| EnergyClaim { source: Source::Grid, renewable_percent: 0, g_per_kwh };
        Candidate {
            device: PublicKey([number; 32]),
            own: false,
            permitted: Ok(()),
            energy: g_per_kwh.map(claim),
            free_slots,
        }
    }

    #[test]
    fn the_cleanest_peer_with_room_that_may_is_chosen() {
        let chosen = |peers: &[Candidate]| choose(peers).map(|device| device.0[0]);
        assert_eq!(chosen(&[peer(1, Some(400), 4), peer(2, Some(20), 1)]), Ok(2), "cleaner before roomier");
        assert_eq!(chosen(&[peer(1, Some(400), 4), peer(2, Some(20), 0)]), Ok(1), "no room");
        let forbidden = Candidate { permitted: Err(Reason::NoGrant), ..peer(2, Some(20), 1) };
        assert_eq!(chosen(&[peer(1, Some(400), 4), forbidden.clone()]), Ok(1), "no grant");
        assert_eq!(chosen(&[peer(1, None, 1), peer(2, Some(900), 1)]), Ok(2), "unknown is dirtiest");
        assert_eq!(chosen(&[peer(1, None, 1), peer(2, None, 3)]), Ok(2), "of equals the roomier");
        let own = Candidate { own: true, ..peer(1, None, 9) };
        assert_eq!(chosen(&[own, peer(2, None, 1)]), Ok(2), "of equals the peer before the own device");
        let nowhere = choose(&[forbidden, peer(3, None, 0)]).unwrap_err();
        assert_eq!(
            nowhere.iter().map(|(_, why)| why.clone()).collect::<Vec<_>>(),
            [Reason::NoGrant, Reason::NoCapacity]
        );
    }
}
