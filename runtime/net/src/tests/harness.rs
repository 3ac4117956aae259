//! A peer with its events, files and streams, and a raw QUIC client for what no honest peer does.

use crate::tls::{self, Identity};
use crate::wire::{Head, Instance, frame_prefix};
use crate::{Bounds, Channel, Config, Counters, Event, Follow, Net, NextPiece, Provider, Standing};
use bytes::Bytes;
use mesh_protocol::key::PublicKey;
use quinn::{Connection, Endpoint, SendStream};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// Far longer than anything takes, also on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Serves what a test puts in.
#[derive(Default)]
pub(super) struct Shelf {
    pub(super) blobs: Mutex<HashMap<[u8; 32], PathBuf>>,
    pub(super) streams: Mutex<HashMap<Vec<u8>, mpsc::Receiver<Bytes>>>,
    /// Who is not their own owner.
    pub(super) owners: Mutex<BTreeMap<PublicKey, PublicKey>>,
}

struct Growing(mpsc::Receiver<Bytes>);

impl Follow for Growing {
    fn next(&mut self) -> NextPiece<'_> {
        Box::pin(async { Ok(self.0.recv().await) })
    }
}

impl Provider for Shelf {
    fn blob(&self, _peer: PublicKey, hash: [u8; 32]) -> Option<PathBuf> {
        self.blobs.lock().unwrap().get(&hash).cloned()
    }
    fn owner(&self, peer: PublicKey) -> PublicKey {
        self.owners.lock().unwrap().get(&peer).copied().unwrap_or(peer)
    }
    fn follow(&self, _peer: PublicKey, what: &[u8], _from: u64) -> Option<Box<dyn Follow>> {
        let source = self.streams.lock().unwrap().remove(what)?;
        Some(Box::new(Growing(source)))
    }
}

pub(super) struct Peer {
    pub(super) net: Net,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) shelf: Arc<Shelf>,
}

pub(super) async fn peer(seed: u8) -> Peer {
    peer_with(seed, |_| {}).await
}

pub(super) async fn peer_with(seed: u8, change: impl FnOnce(&mut Config)) -> Peer {
    let mut config = Config::new([seed; 32], local());
    change(&mut config);
    let shelf = Arc::new(Shelf::default());
    let (net, events) = Net::bind(config, shelf.clone()).await.unwrap();
    Peer { net, events, shelf }
}

impl Peer {
    pub(super) fn key(&self) -> PublicKey {
        self.net.key()
    }
    pub(super) fn addr(&self) -> SocketAddr {
        self.net.local_addr()
    }
    pub(super) fn dial(&self, other: &Self) {
        self.net.connect(other.key(), vec![other.addr()]);
    }

    /// The next event for which `want` has an answer; others are passed over.
    pub(super) async fn until<T>(&mut self, mut want: impl FnMut(&Event) -> Option<T>) -> T {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the net is gone");
                if let Some(found) = want(&event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the event never came")
    }

    pub(super) async fn connected(&mut self, other: PublicKey) {
        self.until(|e| matches!(e, Event::Connected { peer, .. } if *peer == other).then_some(())).await;
    }
    pub(super) async fn disconnected(&mut self, other: PublicKey) -> String {
        self.until(|e| match e {
            Event::Disconnected { peer, reason } if *peer == other => Some(reason.clone()),
            _ => None,
        })
        .await
    }
    pub(super) async fn frame(&mut self) -> (Channel, Bytes) {
        self.until(|e| match e {
            Event::Frame { channel, bytes, .. } => Some((*channel, bytes.clone())),
            _ => None,
        })
        .await
    }
    pub(super) async fn dial_failed(&mut self) -> String {
        self.until(|e| match e {
            Event::DialFailed { reason, .. } => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until a counter stands.
    pub(super) async fn counted(&self, what: impl Fn(Counters) -> bool) {
        eventually(|| what(self.net.counters())).await;
    }
}

pub(super) async fn eventually(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it never became true");
}

/// `a` dials `b`, and each takes the other for a member.
pub(super) async fn befriend(a: &mut Peer, b: &mut Peer) {
    a.net.set_standing(b.key(), Standing::Member);
    b.net.set_standing(a.key(), Standing::Member);
    a.dial(b);
    a.connected(b.key()).await;
    b.connected(a.key()).await;
}

pub(super) async fn friends() -> (Peer, Peer) {
    let (mut a, mut b) = (peer(1).await, peer(2).await);
    befriend(&mut a, &mut b).await;
    (a, b)
}

/// A client that speaks our TLS and otherwise does what a test wants.
pub(super) struct Raw {
    pub(super) endpoint: Endpoint,
    pub(super) identity: Identity,
    pub(super) bounds: Bounds,
}

impl Raw {
    pub(super) fn new(seed: u8) -> Self {
        let identity = Identity::new(&[seed; 32]).unwrap();
        Self { endpoint: Endpoint::client(local()).unwrap(), identity, bounds: Bounds::default() }
    }
    pub(super) fn key(&self) -> PublicKey {
        self.identity.key
    }
    /// Gives a member's share from the start, so that only the other side's bounds are seen.
    pub(super) async fn dial(
        &self,
        key: PublicKey,
        addr: SocketAddr,
    ) -> Result<Connection, quinn::ConnectionError> {
        let mut transport = tls::transport(&self.bounds);
        transport.receive_window(self.bounds.window.into());
        transport.max_concurrent_uni_streams(32_u32.into());
        transport.max_concurrent_bidi_streams(32_u32.into());
        let client = self.identity.client(key, Arc::new(transport)).unwrap();
        self.endpoint.connect_with(client, addr, tls::NAME).unwrap().await
    }
    /// Dials and greets.
    pub(super) async fn greet(&self, peer: &Peer) -> (Connection, SendStream) {
        let connection = self.dial(peer.key(), peer.addr()).await.unwrap();
        let mut hello = connection.open_uni().await.unwrap();
        hello
            .write_all(&Head::Hello { instance: Instance { run: [9; 12], session: 0 } }.encode())
            .await
            .unwrap();
        (connection, hello)
    }
}

pub(super) async fn write_frame(stream: &mut SendStream, frame: &[u8]) -> Result<(), quinn::WriteError> {
    stream.write_all(&[&frame_prefix(frame).unwrap()[..], frame].concat()).await
}

/// Why the other side closed.
pub(super) async fn closed(connection: &Connection) -> String {
    tokio::time::timeout(PATIENCE, connection.closed()).await.expect("it stayed open").to_string()
}

pub(super) const fn task(n: u8) -> Channel {
    Channel::Task { task: [n; 32], attempt: 1 }
}
