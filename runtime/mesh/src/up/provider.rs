//! What this peer hands out: blobs and growing output, to whom the node says may have them.
// spec: LED-2, DEL-5

use super::blobs::Blobs;
use super::driver::Shared;
use super::runs::{Runs, Stream};
use mesh_net::{Follow, Provider};
use mesh_protocol::canonical;
use mesh_protocol::frame::AttemptId;
use mesh_protocol::ids::BlobHash;
use mesh_protocol::key::{PublicKey, UserKey};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// Says who may have what.
pub(crate) trait Permits: Send + Sync + 'static {
    fn may_fetch(&self, peer: &PublicKey, blob: &BlobHash) -> bool;
    fn may_follow(&self, peer: &PublicKey, attempt: AttemptId) -> bool;
    /// Whose device it is.
    fn owner(&self, peer: &PublicKey) -> Option<UserKey>;
}

/// The node, once there is one: it is told the transport's addresses, so the transport comes first.
impl Permits for Arc<OnceLock<Shared>> {
    fn may_fetch(&self, peer: &PublicKey, blob: &BlobHash) -> bool {
        self.get().is_some_and(|shared| shared.node().may_fetch(peer, blob))
    }

    fn may_follow(&self, peer: &PublicKey, attempt: AttemptId) -> bool {
        self.get().is_some_and(|shared| shared.node().may_follow(peer, attempt))
    }

    fn owner(&self, peer: &PublicKey) -> Option<UserKey> {
        self.get().and_then(|shared| shared.node().ledger().governance().owner(peer))
    }
}

/// A request to follow, as it travels: which attempt, and which of its streams.
pub(crate) fn what(attempt: AttemptId, stream: Stream) -> Vec<u8> {
    canonical::encode(&(attempt, stream.number()))
}

/// Hands out.
pub(crate) struct Store<P> {
    pub(crate) permits: P,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) runs: Arc<Runs>,
}

impl<P: Permits> Provider for Store<P> {
    fn blob(&self, peer: PublicKey, hash: [u8; 32]) -> Option<PathBuf> {
        let hash = BlobHash(hash);
        if !self.permits.may_fetch(&peer, &hash) {
            tracing::debug!(peer = %peer.short(), blob = %hash.short(), "a blob was not handed out");
            return None;
        }
        self.blobs.path(&hash)
    }

    fn owner(&self, peer: PublicKey) -> PublicKey {
        self.permits.owner(&peer).map_or(peer, |user| user.0)
    }

    fn follow(&self, peer: PublicKey, what: &[u8], from: u64) -> Option<Box<dyn Follow>> {
        let (attempt, stream): (AttemptId, u8) = canonical::decode(what).ok()?;
        let stream = Stream::from_number(stream)?;
        if !self.permits.may_follow(&peer, attempt) {
            tracing::debug!(peer = %peer.short(), task = %attempt.task.short(), "a task's output was not handed out");
            return None;
        }
        Some(Box::new(self.runs.get(attempt)?.follow(stream, from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::blobs::Keeper;
    use mesh_protocol::ids::TaskId;

    const OWNER: PublicKey = PublicKey([1; 32]);
    const OTHER: PublicKey = PublicKey([2; 32]);
    const ATTEMPT: AttemptId = AttemptId { task: TaskId([3; 32]), attempt: 1 };

    struct OnlyOwner;

    impl Permits for OnlyOwner {
        fn may_fetch(&self, peer: &PublicKey, _: &BlobHash) -> bool {
            *peer == OWNER
        }
        fn may_follow(&self, peer: &PublicKey, attempt: AttemptId) -> bool {
            *peer == OWNER && attempt == ATTEMPT
        }
        fn owner(&self, _: &PublicKey) -> Option<UserKey> {
            None
        }
    }

    // spec: LED-2
    #[test]
    fn nobody_gets_what_the_node_does_not_allow() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Blobs::open(&dir.path().join("blobs"), 1000).unwrap());
        let runs = Arc::new(Runs::open(&dir.path().join("runs")).unwrap());
        let blob = blobs.put(Keeper::Own, b"secret").unwrap();
        runs.begin(ATTEMPT).unwrap();
        let store = Store { permits: OnlyOwner, blobs, runs };
        assert!(store.blob(OWNER, blob.hash.0).is_some());
        assert!(store.blob(OTHER, blob.hash.0).is_none());
        assert!(store.blob(OWNER, [0; 32]).is_none(), "it is not here");
        let stdout = what(ATTEMPT, Stream::Stdout);
        assert!(store.follow(OWNER, &stdout, 0).is_some());
        assert!(store.follow(OTHER, &stdout, 0).is_none());
        assert!(store.follow(OWNER, &canonical::encode(&(ATTEMPT, 2u8)), 0).is_none(), "no such stream");
        assert!(store.follow(OWNER, b"nonsense", 0).is_none());
        assert!(store.follow(OWNER, &what(AttemptId { attempt: 2, ..ATTEMPT }, Stream::Stdout), 0).is_none());
    }
}
