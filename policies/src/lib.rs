//! What Task Mesh decides, as pure functions: each policy is one file with an input, a verdict that carries its reason
//! as data, and one function. Here is the one place where their order of combination stands.
// spec: ARC-1, ARC-4

pub mod accounting;
pub mod battery;
pub mod donor;
pub mod energy;
pub mod feed;
pub mod forecast;
pub mod health;
pub mod importance;
pub mod permission;
pub mod placement;
pub mod plausible;
pub mod profile;
pub mod queue;
pub mod quota;
pub mod reputation;
pub mod sun;
pub mod supply;
pub mod votes;

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
    /// Has its submitter any of the day's quota left, by the donor's own count?
    Quota,
    /// Is its importance what the votes say, by the donor's own tally?
    Importance,
    /// May a task of its service level and importance run on this energy?
    Energy,
    /// Is there a free slot, and enough memory and time?
    Capacity,
    /// Does the device's owner share it now?
    Donor,
}

/// Asks each check in order.
pub fn first_failure(mut check: impl FnMut(Check) -> Verdict) -> Verdict {
    use Check::{
        Capabilities, Capacity, Community, Donor, Energy, Grant, Importance, Member, Quota, Signature,
        TaskType,
    };
    let order = [
        Community,
        Signature,
        Member,
        Grant,
        TaskType,
        Capabilities,
        Quota,
        Importance,
        Energy,
        Capacity,
        Donor,
    ];
    order.into_iter().try_for_each(&mut check)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: DEL-2
    #[test]
    fn an_offer_is_checked_in_the_order_in_which_checks_are_listed() {
        let mut asked = Vec::new();
        assert_eq!(
            first_failure(|check| {
                asked.push(check);
                Ok(())
            }),
            Ok(())
        );
        assert_eq!(asked.len(), 11);
        assert!(asked.is_sorted() && asked.first() == Some(&Check::Community));
        let failing = |check| if check >= Check::Quota { Err(Reason::OverQuota) } else { Ok(()) };
        assert_eq!(first_failure(failing), Err(Reason::OverQuota));
    }

    // spec: ARC-4
    #[test]
    fn whatever_else_fails_the_first_in_the_order_is_the_answer() {
        use Check::{
            Capabilities, Capacity, Community, Donor, Energy, Grant, Importance, Member, Quota, Signature,
            TaskType,
        };
        // Who it is for, who speaks, and what they may; then what the members say; then what this device has.
        let order = [
            Community,
            Signature,
            Member,
            Grant,
            TaskType,
            Capabilities,
            Quota,
            Importance,
            Energy,
            Capacity,
            Donor,
        ];
        for failing in 0u32..1 << order.len() {
            let fails = |check: Check| {
                order.iter().position(|it| *it == check).is_some_and(|at| failing >> at & 1 == 1)
            };
            let mut asked = 0;
            let verdict = first_failure(|check| {
                asked += 1;
                if fails(check) { Err(Reason::TooManyAttempts(check as u32)) } else { Ok(()) }
            });
            match order.iter().find(|check| fails(**check)) {
                // What comes after it is not even asked.
                Some(first) => {
                    assert_eq!(verdict, Err(Reason::TooManyAttempts(*first as u32)), "{failing:b}");
                    assert_eq!(asked, failing.trailing_zeros() + 1);
                }
                None => assert_eq!((verdict, asked), (Ok(()), 11)),
            }
        }
    }
}
