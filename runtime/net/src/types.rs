//! What goes in and out of this crate.

use crate::Bounds;
use bytes::Bytes;
use mesh_protocol::key::PublicKey;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

/// How to bind a [`Net`](crate::Net).
#[derive(Clone)]
pub struct Config {
    /// The secret this peer's key grows from.
    pub key_seed: [u8; 32],
    /// The UDP address to listen on and dial from. One socket does both, so that a NAT's mapping serves both.
    pub listen: SocketAddr,
    /// What others may take up here.
    pub bounds: Bounds,
    /// Find peers on the local network, and be found.
    pub mdns: Option<MdnsConfig>,
    /// How many bytes a day this peer forwards between others. 0: it does not relay.
    pub relay_bytes: u64,
}

impl Config {
    /// A peer with this secret at this address: default bounds, no mDNS, no relaying.
    pub fn new(key_seed: [u8; 32], listen: SocketAddr) -> Self {
        Self { key_seed, listen, bounds: Bounds::default(), mdns: None, relay_bytes: 0 }
    }
}

/// Never shows the secret.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("bounds", &self.bounds)
            .field("mdns", &self.mdns)
            .field("relay_bytes", &self.relay_bytes)
            .finish_non_exhaustive()
    }
}

/// What to say on the local network.
#[derive(Debug, Clone)]
pub struct MdnsConfig {
    /// Announced beside the key, and only peers that announce the same are reported. Up to 64 hex digits, made
    /// from the community's id in a way that does not give it away.
    pub community: String,
}

/// What a peer may do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not known: may use [`Channel::Hello`] and nothing else, and not for long.
    Stranger,
    /// Known: may use every channel, ask for blobs and follows, and be relayed to.
    Member,
}

/// A kind of traffic. Frames of one channel keep their order; channels do not wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Who is there and may they come in. The only one open to strangers.
    Hello,
    /// Entries as they are made.
    Gossip,
    /// Entries that were missed.
    Sync,
    /// One attempt of one task.
    Task {
        /// The task.
        task: [u8; 32],
        /// Which attempt.
        attempt: u32,
    },
}

/// How a peer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Packets go to its address.
    Direct,
    /// Packets go through a peer that both reach, which cannot read them.
    Relayed {
        /// The peer that forwards.
        by: PublicKey,
    },
}

/// What happened. For one peer: `Connected`, then its `Frame`s, then `Disconnected`, and never otherwise.
#[derive(Debug, Clone)]
pub enum Event {
    /// A session with this peer began. Nothing of an earlier session carries over: greet again.
    Connected {
        /// The peer, proven to hold this key.
        peer: PublicKey,
        /// Where it is. For a relayed peer: a made-up address.
        addr: SocketAddr,
        /// True if this side dialled.
        dialled: bool,
        /// How it is reached.
        path: Path,
    },
    /// The last connection to this peer is gone, and with it what was queued for it.
    Disconnected {
        /// The peer.
        peer: PublicKey,
        /// Why, for people.
        reason: String,
    },
    /// A frame came.
    Frame {
        /// From whom.
        peer: PublicKey,
        /// On which channel.
        channel: Channel,
        /// The content, at most [`Bounds::frame`] bytes.
        bytes: Bytes,
    },
    /// A peer announced itself on the local network. The announcement is not signed: a hint to dial, no more.
    Found {
        /// Who it says it is.
        peer: PublicKey,
        /// Where it says it is.
        addrs: Vec<SocketAddr>,
    },
    /// Every known way to this peer was tried once and failed. The next round comes by itself.
    DialFailed {
        /// Who was dialled.
        peer: PublicKey,
        /// Why, for people.
        reason: String,
    },
}

/// One connected peer.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    /// The peer.
    pub peer: PublicKey,
    /// Where it is now.
    pub addr: SocketAddr,
    /// How it is reached.
    pub path: Path,
    /// Time to it and back.
    pub rtt: Duration,
    /// What it may do here.
    pub standing: Standing,
    /// Bytes received over the connections that live now, packet headers included.
    pub bytes_in: u64,
    /// Bytes sent over the connections that live now, packet headers included.
    pub bytes_out: u64,
}

/// What this peer hands out when asked.
pub trait Provider: Send + Sync + 'static {
    /// The file with this BLAKE3 hash. `None`: that peer may not have it, or it is not here; on the wire the two
    /// look the same. Called on a thread that may block.
    fn blob(&self, peer: PublicKey, hash: [u8; 32]) -> Option<PathBuf>;

    /// Whose places for blobs a peer takes up: those with one owner share them. Called as [`Self::blob`] is.
    fn owner(&self, peer: PublicKey) -> PublicKey {
        peer
    }

    /// A byte stream from offset `from` on, which may still grow. `None`: not for that peer, or not here. Called on
    /// the network's threads: must not block; what takes time belongs into [`Follow::next`].
    fn follow(&self, peer: PublicKey, what: &[u8], from: u64) -> Option<Box<dyn Follow>>;
}

/// The next piece of a followed stream.
pub type NextPiece<'a> = Pin<Box<dyn Future<Output = io::Result<Option<Bytes>>> + Send + 'a>>;

/// A growing byte stream. Dropped when the reader goes away.
pub trait Follow: Send {
    /// The next bytes once there are any; `None` when the stream is complete. Called again only after the bytes
    /// before were accepted by the transport, so a slow reader slows the source and fills no memory.
    fn next(&mut self) -> NextPiece<'_>;
}
