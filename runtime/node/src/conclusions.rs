//! What a peer concludes from its ledger about the community's own affairs. Peers with equal entries conclude the same,
//! which whoever has several of them at hand can compare.
// spec: VOTE-8, DEL-14

use crate::community::Community;
use crate::node::Node;
use mesh_policies::quota::{Span, Tier};
use mesh_policies::votes::State;
use mesh_protocol::ids::{EntryId, TaskId};
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::rules::Rules;
use mesh_protocol::task::Importance;
use std::collections::BTreeMap;

/// A ballot as a peer counts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// When it opened, in milliseconds since 1970.
    pub opened_ms: u64,
    /// For how long.
    pub window_ms: u64,
    /// Is there anybody to ask?
    pub asked: bool,
    /// Can it still go either way, for lack of time or of voters?
    pub open: bool,
    /// What was decided.
    pub decision: Option<Importance>,
    /// When.
    pub decided_ms: Option<u64>,
    /// The votes that count: one a member.
    pub votes: BTreeMap<UserKey, (Importance, EntryId)>,
    /// Weight for each level.
    pub weights: BTreeMap<Importance, u64>,
    /// Is the task a matter of public health?
    pub health: bool,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusions {
    /// The rules in force.
    pub rules: Rules,
    /// Ballots by submitting device and task.
    pub ballots: BTreeMap<(PublicKey, TaskId), Counted>,
    /// Every member's tier and reputation.
    pub tiers: BTreeMap<UserKey, (Tier, u64)>,
    /// Every device's day, the tasks it used of it, and how many of them are matters of public health.
    pub days: BTreeMap<PublicKey, (Span, u64, u64)>,
}

fn counted(circle: Community<'_>, author: &PublicKey, task: &TaskId, name: &str) -> Option<Counted> {
    let (ballot, tally) = circle.tally(author, task)?;
    Some(Counted {
        opened_ms: ballot.opened_ms,
        window_ms: ballot.window_ms,
        asked: Community::can_decide(&ballot),
        open: tally.state == State::Open,
        decision: tally.decision(),
        decided_ms: tally.decided_ms,
        votes: tally.votes,
        weights: tally.weights,
        health: circle.is_health(author, task, name),
    })
}

impl Node {
    /// A ballot as this peer counts it now.
    #[doc(hidden)]
    pub fn counted(&self, author: &PublicKey, task: &TaskId) -> Option<Counted> {
        let (_, _, submitted) = self.ledger.facts().ballots().submission(author, task)?;
        counted(self.circle(), author, task, &submitted.name)
    }

    /// What follows from the ledger at a moment, in milliseconds since 1970: the same for all that hold the same.
    #[doc(hidden)]
    pub fn conclusions(&self, at_ms: u64) -> Conclusions {
        let circle = Community { now_ms: at_ms, ..self.circle() };
        let governance = self.ledger.governance();
        let submissions = self.ledger.facts().ballots().submissions();
        let ballots = submissions.filter_map(|((author, _), (_, task))| {
            Some(((*author, task.task), counted(circle, author, &task.task, &task.name)?))
        });
        let members = governance.members().iter().filter(|(_, member)| member.is_in());
        let tiers = members.map(|(user, _)| (*user, (circle.tier(*user), circle.reputation(*user, at_ms).0)));
        let days = governance.devices().iter().map(|(device, known)| {
            let day = circle.day_of(known.user, at_ms);
            let (used, health) = circle.used(device, day, u64::MAX, u64::MAX);
            (*device, (day, used, health))
        });
        Conclusions {
            rules: governance.rules().clone(),
            ballots: ballots.collect(),
            tiers: tiers.collect(),
            days: days.collect(),
        }
    }
}
