//! How peers reach each other: mutually authenticated QUIC, blobs, discovery. Knows no tasks.
//!
//! The question this crate answers: *how do bytes get to the peer with this key and back, within bounds that
//! strangers cannot move?* A peer is a key; addresses are hints. What the bytes mean is the caller's affair.
//!
//! ```text
//! net       the handle: Net, and what all its tasks share
//! tls       who is at the other end: raw ed25519 keys, TLS 1.3
//! admit     who may take up room here, before and after the handshake
//! conn      one QUIC connection: preface, streams coming in, its end
//! session   one peer while at least one connection to it lives
//! send recv the two directions of a channel
//! dial      reaching a peer by key, again and again
//! blob serve  verified, resumable transfer of files
//! follow    byte streams that grow while they are read
//! relay tunnel  two peers that reach each other only through a third
//! mdns addrs  finding peers nearby, and what to tell others
//! wire      the bytes of stream heads and frames
//! ```
//! Invariant: nothing here reads a frame's content. Invariant: whatever a remote can make grow has a bound, in
//! [`Bounds`] or beside the thing itself, and each refusal is counted in [`Counters`].

mod addrs;
mod admit;
mod blob;
mod bounds;
mod conn;
mod counters;
mod dial;
mod follow;
mod mdns;
mod net;
mod recv;
mod relay;
mod send;
mod serve;
mod session;
mod tls;
mod tunnel;
mod types;
mod wire;

#[cfg(test)]
mod tests;

pub use blob::FetchError;
pub use bounds::Bounds;
pub use counters::Counters;
pub use follow::FollowError;
pub use net::{BindError, Net};
pub use send::SendError;
pub use types::{Channel, Config, Event, Follow, MdnsConfig, NextPiece, Path, PeerInfo, Provider, Standing};

/// The protocol's name in the TLS handshake. A peer that speaks another is refused before anything is read.
pub const ALPN: &[u8] = b"taskmesh/1";
