//! What the API needs of a running peer beyond the node's own answers.

use bytes::Bytes;
use mesh_protocol::ids::{BlobHash, TaskId};
use mesh_protocol::task::Blob;
use serde::Serialize;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use tokio::sync::mpsc;

/// An answer that takes a while.
pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Bytes as they come; ends without an error when they are complete. Bounded: whoever sends waits for the reader.
pub(crate) type Chunks = mpsc::Receiver<io::Result<Bytes>>;

/// Which of a task's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What became of entries that were read from a file.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ImportReport {
    /// New, and taken.
    pub(crate) taken: usize,
    /// Here already.
    pub(crate) known: usize,
    /// Not taken, and why.
    pub(crate) refused: Vec<String>,
    /// How many more were not taken.
    pub(crate) refused_more: usize,
}

/// Implemented by the running peer.
pub(crate) trait Services: Send + Sync {
    /// Keeps bytes as they come, at most `most` of them.
    fn put_blob(&self, body: Chunks, most: u64) -> Later<'_, io::Result<Blob>>;
    /// How long a blob is that a task is to be given, if it is here; it stays from now on.
    fn need_blob(&self, hash: BlobHash) -> Later<'_, io::Result<Option<u64>>>;
    /// What a task was given.
    fn given_to(&self, task: TaskId) -> Vec<Blob>;
    /// Where a kept blob lies.
    fn blob_path(&self, hash: BlobHash) -> Option<PathBuf>;
    /// All entries of the ledger as they travel, in the order of clock and id.
    fn ledger(&self) -> Later<'_, io::Result<Vec<Vec<u8>>>>;
    /// What a task says, from byte `from` on, until it has ended; across attempts where one takes over.
    fn follow(&self, task: TaskId, stream: Stream, from: u64) -> Later<'_, io::Result<Chunks>>;
    /// Connections, ways and counters of the transport.
    fn net_status(&self) -> serde_json::Value;
    /// What is known of this device's energy, and how.
    fn energy(&self) -> serde_json::Value;
    /// What this peer was told, and whence.
    fn config(&self) -> serde_json::Value;
    /// Takes entries from a file as if a peer had sent them.
    fn import(&self, entries: Vec<Vec<u8>>) -> Later<'_, ImportReport>;
    /// Addresses at which others could dial this peer.
    fn addrs(&self) -> Vec<std::net::SocketAddr>;
}
