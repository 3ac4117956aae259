//! What Task Mesh decides, as pure functions: each policy is one file with an input, a verdict that carries its reason
//! as data, and one function. Here is the one place where their order of combination stands.
// spec: ARC-1, ARC-4

pub mod energy;
pub mod forecast;
pub mod permission;
pub mod placement;

use mesh_protocol::reason::Reason;

/// What a device says to an offer.
pub type Verdict = Result<(), Reason>;

/// The order in which an offer is checked: the first reason that fails is the answer.
// spec: DEL-2
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// Is it for this community?
    Community,
    /// Did its submitter sign it?
    Signature,
    /// Is its submitter a member?
    Member,
    /// Is there a grant?
    Grant,
    /// Are tasks of this name taken at all?
    TaskType,
    /// Does it ask for no more than it may touch?
    Capabilities,
    /// May a task of its service level run on this energy?
    Energy,
    /// Is there a free slot, and enough memory and time?
    Capacity,
    /// Does the device's owner share it now?
    Donor,
}

/// Asks each check in order.
pub fn first_failure(mut check: impl FnMut(Check) -> Verdict) -> Verdict {
    use Check::{Capabilities, Capacity, Community, Donor, Energy, Grant, Member, Signature, TaskType};
    [Community, Signature, Member, Grant, TaskType, Capabilities, Energy, Capacity, Donor]
        .into_iter()
        .try_for_each(&mut check)
}
