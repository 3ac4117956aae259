//! What a peer keeps: the one shape in which a node hands its state to whatever stores it.

use crate::key::PublicKey;
use serde::{Deserialize, Serialize};

/// Where a kept value belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum Table {
    /// Single values: this peer's settings and counters.
    Meta,
    /// Tasks this device submitted.
    Tasks,
    /// Attempts at others' and own tasks that this device runs or ran.
    Attempts,
    /// Invites this device gave out.
    Invites,
    /// What is remembered of other peers.
    Peers,
}

impl Table {
    /// All tables, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Meta, Self::Tasks, Self::Attempts, Self::Invites, Self::Peers];
}

/// One change of what a peer keeps. Records given together take effect together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A ledger entry, as it travels.
    Entry {
        /// Whose log it belongs to.
        author: PublicKey,
        /// Its place in that log, from 0.
        seq: u64,
        /// Did this device write it?
        own: bool,
        /// The signed entry.
        bytes: Vec<u8>,
    },
    /// Entries from `seq` on do not count any more and are forgotten.
    Truncate {
        /// Whose log it is.
        author: PublicKey,
        /// The first entry to forget.
        seq: u64,
    },
    /// A value, in place of what stood there.
    Put {
        /// Where.
        table: Table,
        /// Under which key, at most 64 bytes.
        key: Vec<u8>,
        /// What.
        value: Vec<u8>,
    },
    /// A value is forgotten.
    Delete {
        /// Where.
        table: Table,
        /// Under which key.
        key: Vec<u8>,
    },
}
