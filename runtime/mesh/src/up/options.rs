//! What a peer is told when it starts.

use crate::config::{Config, Loader};
use crate::energy::Settings as Energy;
use crate::home::Home;
use crate::keys::Keys;
use mesh_executor::Share;
use mesh_protocol::ledger::Pattern;
use std::net::SocketAddr;

/// What a peer is told when it starts.
#[derive(Debug)]
pub(crate) struct Options {
    /// Where other peers dial; the port of last time on all addresses if none is named, else any port.
    pub(crate) listen: Option<SocketAddr>,
    /// Where this machine's programs ask.
    pub(crate) api: SocketAddr,
    /// Tasks at once.
    pub(crate) slots: u16,
    /// Memory for all of them together, in bytes.
    pub(crate) memory: u64,
    /// Longest task, in milliseconds.
    pub(crate) longest_ms: u64,
    /// Watts of the processor at full load, for where its energy cannot be measured.
    pub(crate) watts: Option<u32>,
    /// Where its energy is read.
    pub(crate) energy: Energy,
    /// Names of others' tasks that it takes at all.
    pub(crate) accepts: Vec<Pattern>,
    /// Folders that tasks may be granted.
    pub(crate) shares: Vec<Share>,
    /// Bytes a day that it relays between peers that cannot reach each other; 0 for none.
    pub(crate) relay_bytes: u64,
    /// Does it look for peers on the local network?
    pub(crate) mdns: bool,
    /// The owner's program that is asked about each offer, as a shell runs it.
    pub(crate) hook: Option<String>,
    /// Most bytes of disk for tasks; 0 for as much as peers keep at all.
    pub(crate) disk: u64,
    /// Latitude and longitude in whole degrees, if it tells.
    pub(crate) place: Option<(i16, i16)>,
    /// All that it was told.
    pub(crate) config: Config,
    /// How to read it anew.
    pub(crate) loader: Loader,
    /// Its folders.
    pub(crate) home: Home,
    /// Who it is.
    pub(crate) keys: Keys,
}
