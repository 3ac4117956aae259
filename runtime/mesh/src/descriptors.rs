//! How many files this process may have open at once.
//!
//! What a login gives is little, for the sake of old programs that cannot count further. A peer has many connections, and
//! holds each large input open for as long as its task runs.
// spec: ARC-7

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use std::process::Child;
use std::sync::OnceLock;

/// As many as we ever take: the most files that 16 tasks may be handed, and as much again for all else.
const MOST: u64 = 65_536;

/// What we were given ourselves.
static GIVEN: OnceLock<Option<u64>> = OnceLock::new();

/// Takes what we may have.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let _again = GIVEN.set(limit.current);
    let Some(current) = raised(&limit) else { return };
    let limit = Rlimit { current: Some(current), maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "no more files can be opened at once than a login may");
    }
}

/// None if there is enough.
fn raised(limit: &Rlimit) -> Option<u64> {
    let most = limit.maximum.map_or(MOST, |maximum| maximum.min(MOST));
    limit.current.filter(|current| *current < most).map(|_| most)
}

/// Gives a program of the owner's what we were given: it may be one of the old ones.
pub(crate) fn lower(child: &Child) {
    let (Some(current), Some(pid)) = (GIVEN.get(), i32::try_from(child.id()).ok().and_then(Pid::from_raw))
    else {
        return;
    };
    let limit = Rlimit { current: *current, maximum: getrlimit(Resource::Nofile).maximum };
    // One that has ended needs none.
    let _ended = prlimit(Some(pid), Resource::Nofile, limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_taken_as_may_be_and_can_be_used() {
        let raised = |current, maximum| raised(&Rlimit { current, maximum });
        assert_eq!(raised(Some(1024), Some(4096)), Some(4096));
        assert_eq!(raised(Some(1024), Some(1 << 30)), Some(65_536));
        assert_eq!(raised(Some(1024), None), Some(65_536));
        assert_eq!(raised(Some(4096), Some(4096)), None);
        assert_eq!(raised(Some(1 << 20), Some(1 << 30)), None, "it is never lowered");
        assert_eq!(raised(None, None), None);
    }
}
