//! What a peer keeps, durably: what it has promised, still there after anything short of a burning disk.
//!
//! [`DiskStore`] is one `sled` database and, beside it, one plain journal of what only this peer can know:
//! its own entries and all values. A commit waits for exactly one of the two to be on the disk: for the journal if
//! it holds anything of one's own (the database follows lazily and is brought up from the journal at the next
//! start), else for the database. So either flush is the only thing between a promise and its loss, and the tests
//! can tell when it is missing.
//!
//! Invariant: the database never knows more than the journal about what is one's own, unless the journal was damaged.
// spec: LED-8

mod beside;
mod change;
mod database;
mod disk;
mod errors;
mod files;
mod journal;
mod memory;
#[cfg(test)]
mod tests;

pub use beside::load_beside;
pub use disk::{DiskStore, Opened, Rebuilt};
pub use errors::{CloseError, CommitError, Fault, LoadError, OpenError};
pub use memory::MemoryStore;

use mesh_protocol::key::PublicKey;
use mesh_protocol::record::{Record, Table};

/// Longest key of a value, in bytes: what [`Record::Put`] promises. Hashes and public keys have 32.
pub const MAX_KEY: usize = 64;

/// Longest value or entry, in bytes. The largest known is a task whose sixteen replicas showed results of the size of
/// a frame (128 KiB) each: 2 MiB, and half as much for its tries and itself. Nothing larger can be written, so whatever
/// others add to such a record must be bounded well below.
pub const MAX_VALUE: usize = 4 << 20;

/// Most bytes of one commit. It is held in memory three times over while it is written, and a peer that syncs a
/// whole ledger loses nothing by doing so in pieces of this size.
pub const MAX_COMMIT: usize = 32 << 20;

/// Where a peer keeps its state.
pub trait Store: Send {
    /// All records take effect together and are durable when this returns.
    ///
    /// After an error nothing of it is kept in this process. Should the disk have refused even to take a failed write
    /// back, the next start may find the commit as a whole, as after a crash in its midst.
    fn commit(&mut self, records: &[Record]) -> Result<(), CommitError>;

    /// Everything kept, for a node that starts: first all values of every table, by table and key, then all entries,
    /// by author and seq.
    fn load(&self, each: &mut dyn FnMut(Loaded<'_>)) -> Result<(), LoadError>;

    /// The entries of `author` from `from` on, consecutive and in order, up to `max_bytes` together, but at least one
    /// if there is one, so that a reader always gets on. Empty if `from` itself is not kept.
    fn entries(&self, author: &PublicKey, from: u64, max_bytes: usize) -> Result<Vec<Vec<u8>>, LoadError>;

    /// How much room it takes.
    fn size(&self) -> Size;
}

/// One thing that was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded<'a> {
    /// A value of a table.
    Value {
        /// Where it belongs.
        table: Table,
        /// Under which key.
        key: &'a [u8],
        /// What was put there last.
        value: &'a [u8],
    },
    /// A ledger entry.
    Entry {
        /// Whose log it belongs to.
        author: PublicKey,
        /// Its place in that log.
        seq: u64,
        /// The signed entry.
        bytes: &'a [u8],
    },
}

/// Bytes that a store takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Files of the database.
    pub database: u64,
    /// The journal.
    pub journal: u64,
    /// Keys and values that are kept, without what it costs to keep them.
    pub live: u64,
}
