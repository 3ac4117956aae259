//! The handle, and what all its tasks share.

use crate::admit::{Admission, Slot, Verdict};
use crate::conn::{self, Conn, Origin};
use crate::counters::Counts;
use crate::dial::Dial;
use crate::relay::Relay;
use crate::serve::{Outboards, Places};
use crate::session::Session;
use crate::tls::Identity;
use crate::tunnel::Tunnels;
use crate::wire::Instance;
use crate::{
    Channel, Config, Counters, Event, FetchError, FollowError, MdnsConfig, Path, PeerInfo, Provider,
    SendError, Standing, addrs, blob, dial, follow, mdns, send, tls,
};
use bytes::Bytes;
use mesh_protocol::key::PublicKey;
use quinn::{Endpoint, TokioRuntime, VarInt};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::IntoFuture as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// The kernel's buffers. 2 MiB: what arrives in 16 ms at 1 Gbit/s, while the machine is busy with a guest. The
/// kernel gives less if its own limit is lower.
const SOCKET_BUFFER: usize = 2 << 20;
/// How long closing waits for the other sides to hear of it.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a [`Net`] could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The socket could not be opened or bound.
    #[error("bind the socket to {addr}")]
    Socket {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The key or the cipher suites cannot be used.
    #[error("prepare the handshake")]
    Tls(#[from] rustls::Error),
    /// There is no randomness to be had.
    #[error("draw randomness: {0}")]
    Random(getrandom::Error),
}

/// Locks, whatever became of the thread that held it last: no code here leaves a broken state behind a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
pub(crate) struct Peers {
    pub(crate) sessions: BTreeMap<PublicKey, Arc<Session>>,
    pub(crate) members: BTreeSet<PublicKey>,
    /// The number of the next session with a member, where it is not 0. Strangers have no numbers, since there is no
    /// end of them.
    next: BTreeMap<PublicKey, u32>,
}

impl Peers {
    /// The number of the session that a new connection to this peer is for.
    pub(crate) fn number(&self, peer: &PublicKey) -> u32 {
        match self.sessions.get(peer) {
            Some(session) => session.number(),
            None => self.next.get(peer).copied().unwrap_or_default(),
        }
    }

    /// A session is over, and another may begin.
    pub(crate) fn ended(&mut self, session: &Session) {
        self.sessions.remove(&session.peer);
        if self.members.contains(&session.peer) {
            self.next.insert(session.peer, session.number());
        }
    }
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    /// What this run calls itself. Its session number counts for nothing.
    pub(crate) instance: Instance,
    pub(crate) counts: Arc<Counts>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) peers: Mutex<Peers>,
    pub(crate) dials: Mutex<BTreeMap<PublicKey, Arc<Dial>>>,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) outboards: Outboards,
    /// Blobs being served.
    pub(crate) places: Arc<Places>,
    /// Connections that come through relays, until it is known that a member is at the other end.
    pub(crate) arriving: Arc<Places>,
    /// Files being fetched into, so that no two fetches write the same one.
    pub(crate) fetching: Mutex<HashSet<PathBuf>>,
    pub(crate) endpoint: Endpoint,
    pub(crate) tunnels: Arc<Tunnels>,
    /// Carries the connections inside tunnels.
    pub(crate) relayed: Endpoint,
    pub(crate) relay: Relay,
    mdns: OnceLock<mdns::Announced>,
    /// Bytes that connections sent which are over.
    pub(crate) sent: AtomicU64,
    events: mpsc::Sender<Event>,
}

impl Shared {
    /// Waits until the caller has room. False: the caller is gone.
    pub(crate) async fn tell(&self, event: Event) -> bool {
        self.events.send(event).await.is_ok()
    }

    pub(crate) fn session(&self, peer: PublicKey) -> Option<Arc<Session>> {
        lock(&self.peers).sessions.get(&peer).filter(|session| !session.is_over()).cloned()
    }

    pub(crate) fn is_member(&self, peer: PublicKey) -> bool {
        lock(&self.peers).members.contains(&peer)
    }

    /// The connection in use to this peer.
    pub(crate) fn active(&self, peer: PublicKey) -> Option<Arc<Conn>> {
        self.session(peer)?.active.borrow().clone()
    }

    /// A peer that is being dialled was met at this address: one more to try. Its socket is the one it listens on.
    pub(crate) fn learn(&self, peer: PublicKey, conn: &Conn) {
        if conn.is_direct()
            && let Some(dial) = lock(&self.dials).get(&peer)
        {
            dial.met(conn.addr());
        }
    }

    /// A session ended after so long: whoever wants that peer dials again.
    pub(crate) fn redial(&self, peer: PublicKey, lived: Duration) {
        if let Some(dial) = lock(&self.dials).get(&peer) {
            dial.lost(lived);
        }
    }

    fn shut(&self, reason: &str) {
        for dial in std::mem::take(&mut *lock(&self.dials)).into_values() {
            dial.stop();
        }
        if let Some(mdns) = self.mdns.get() {
            mdns.stop();
        }
        for endpoint in [&self.relayed, &self.endpoint] {
            endpoint.close(VarInt::from_u32(conn::GOODBYE), reason.as_bytes());
        }
    }
}

/// This peer's end of every connection. Cheap to clone; when the last clone goes, everything closes.
#[derive(Clone)]
pub struct Net(Arc<Owner>);

/// The tasks hold `Shared`; only handles hold this, so that dropping them ends the tasks.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.shut("gone");
    }
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Net({:?} at {})", self.key(), self.local_addr())
    }
}

#[cfg(test)]
impl Net {
    /// Bytes of a peer's frames for which the caller has no room.
    pub(crate) fn untold(&self, peer: PublicKey) -> usize {
        self.0.0.session(peer).map_or(0, |session| session.held.untold())
    }
}

impl Net {
    /// Opens the socket and starts to listen, inside a tokio runtime. The receiver must be read: when it is full,
    /// peers are slowed down, and nothing else is lost.
    ///
    /// # Errors
    /// Those of [`BindError`]; nothing is left running then. That mDNS does not start is a warning in the log.
    #[allow(clippy::unused_async, reason = "must be called inside a runtime, which async makes plain")]
    pub async fn bind(
        config: Config,
        provider: Arc<dyn Provider>,
    ) -> Result<(Self, mpsc::Receiver<Event>), BindError> {
        let identity = Identity::new(&config.key_seed)?;
        let mut instance = Instance::default();
        getrandom::fill(&mut instance.run).map_err(BindError::Random)?;
        let counts = Arc::new(Counts::default());
        let bound = |source| BindError::Socket { addr: config.listen, source };
        let socket = socket(config.listen).map_err(bound)?;
        let server = identity.server(Arc::new(tls::transport(&config.bounds)))?;
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new(identity.endpoint(), Some(server), socket, runtime).map_err(bound)?;
        let tunnels = Tunnels::new(counts.clone());
        let relayed = tunnels.endpoint(&identity, &config.bounds)?;
        let (events, receiver) = mpsc::channel(config.bounds.events);
        let shared = Arc::new(Shared {
            admission: Admission::new(config.bounds.clone(), counts.clone()),
            peers: Mutex::default(),
            dials: Mutex::default(),
            outboards: Outboards::default(),
            places: Places::new(config.bounds.served_at_once, config.bounds.served_per_owner),
            arriving: Places::new(config.bounds.arriving, config.bounds.arriving_per_relay),
            fetching: Mutex::default(),
            relay: Relay::new(&config),
            mdns: OnceLock::new(),
            sent: AtomicU64::new(0),
            config,
            identity,
            instance,
            counts,
            provider,
            endpoint,
            tunnels,
            relayed,
            events,
        });
        tokio::spawn(accept(shared.clone()));
        tokio::spawn(accept_relayed(shared.clone()));
        let net = Self(Arc::new(Owner(shared)));
        if let Some(config) = net.0.0.config.mdns.clone() {
            net.find_nearby(&config);
        }
        Ok((net, receiver))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    /// This peer's key.
    pub fn key(&self) -> PublicKey {
        self.shared().identity.key
    }

    /// The address of the socket.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared().endpoint.local_addr().unwrap_or(self.shared().config.listen)
    }

    /// Addresses that others could dial: that of the socket, or those of the interfaces if it listens on all.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        addrs::dialable(self.local_addr())
    }

    /// The same for whoever is elsewhere: where the socket listens on all interfaces, loopback is none of them.
    // spec: NET-5
    pub fn addrs_for_others(&self) -> Vec<SocketAddr> {
        addrs::elsewhere(self.local_addr(), self.addrs())
    }

    /// Queues a frame. Never waits.
    ///
    /// # Errors
    /// Those of [`SendError`]; the frame is not queued then. A frame that is queued is lost only with the session,
    /// which an [`Event::Disconnected`] tells, or if the peer stops the channel.
    pub fn send(&self, peer: PublicKey, channel: Channel, frame: Bytes) -> Result<(), SendError> {
        let session = self.shared().session(peer).ok_or(SendError::NotConnected)?;
        send::send(self.shared(), &session, channel, frame)
    }

    /// No more frames on this channel: its stream ends after what is queued.
    pub fn finish(&self, peer: PublicKey, channel: Channel) {
        if let Some(session) = self.shared().session(peer) {
            send::finish(&session, channel);
        }
    }

    /// Says what this peer may do, now and when it comes back. A member that becomes a stranger is disconnected.
    pub fn set_standing(&self, peer: PublicKey, standing: Standing) {
        let mut peers = lock(&self.shared().peers);
        match standing {
            Standing::Member => peers.members.insert(peer),
            Standing::Stranger => {
                peers.next.remove(&peer);
                peers.members.remove(&peer)
            }
        };
        // Under the lock, so that a session that begins now sees either this call or the set.
        if let Some(session) = peers.sessions.get(&peer) {
            session.set_standing(self.shared(), standing);
        }
    }

    /// Finds peers on the local network and is found from now on, for one community: what is announced first stays.
    // spec: NET-5
    pub fn find_nearby(&self, config: &MdnsConfig) {
        let shared = self.shared();
        if shared.mdns.get().is_none()
            && let Some(announced) = mdns::start(shared, &config.community, self.local_addr())
            && let Err(twice) = shared.mdns.set(announced)
        {
            twice.stop();
        }
    }

    /// Keeps a connection to this peer: dials now, again after failures with growing pauses, and again after a loss (with
    /// growing pauses, too, while no session lasts), until [`forget`](Self::forget). Called again, it adds addresses,
    /// and tries at once if one of them is new.
    pub fn connect(&self, peer: PublicKey, addrs: Vec<SocketAddr>) {
        dial::want(self.shared(), peer, &addrs, None);
    }

    /// Like [`connect`](Self::connect), through this peer, when nothing direct works. Members that are connected are
    /// asked to relay without being named.
    pub fn connect_via(&self, peer: PublicKey, relay: PublicKey) {
        dial::want(self.shared(), peer, &[], Some(relay));
    }

    /// No longer dials this peer. A connection that exists stays.
    pub fn forget(&self, peer: PublicKey) {
        if let Some(dial) = lock(&self.shared().dials).remove(&peer) {
            dial.stop();
        }
    }

    /// Closes the connections to this peer. It is dialled again if [`connect`](Self::connect) asked for it.
    pub fn disconnect(&self, peer: PublicKey, reason: &str) {
        if let Some(session) = self.shared().session(peer) {
            for conn in session.conns() {
                conn.close(conn::GOODBYE, reason);
            }
        }
    }

    /// Who is connected now.
    pub fn connected(&self) -> Vec<PeerInfo> {
        let sessions: Vec<_> = lock(&self.shared().peers).sessions.values().cloned().collect();
        let info = |session: Arc<Session>| {
            let conn = session.active.borrow().clone()?;
            let (mut bytes_in, mut bytes_out) = (0, 0);
            for conn in session.conns() {
                let stats = conn.quic.stats();
                bytes_in += stats.udp_rx.bytes;
                bytes_out += stats.udp_tx.bytes;
            }
            Some(PeerInfo {
                peer: session.peer,
                addr: conn.addr(),
                path: conn.path,
                rtt: conn.quic.rtt(),
                standing: session.standing(),
                bytes_in,
                bytes_out,
            })
        };
        sessions.into_iter().filter_map(info).collect()
    }

    /// Bytes sent to all peers since the start, headers of packets included.
    pub fn sent(&self) -> u64 {
        let sessions: Vec<_> = lock(&self.shared().peers).sessions.values().cloned().collect();
        let conns = sessions.iter().flat_map(|session| session.conns());
        let live = conns.filter(|conn| !conn.counted.load(Ordering::Relaxed)).map(|conn| conn.sent());
        live.fold(self.shared().sent.load(Ordering::Relaxed), u64::saturating_add)
    }

    /// Who is dialled and not connected, and why, in words, once a round has failed.
    pub fn unreached(&self) -> Vec<(PublicKey, Option<String>)> {
        let dials: Vec<_> =
            lock(&self.shared().dials).iter().map(|(peer, dial)| (*peer, dial.clone())).collect();
        let peers = lock(&self.shared().peers);
        let gone = dials.into_iter().filter(|(peer, _)| !peers.sessions.contains_key(peer));
        gone.map(|(peer, dial)| (peer, dial.failure())).collect()
    }

    #[cfg(test)]
    pub(crate) fn open_connections(&self) -> usize {
        self.shared().endpoint.open_connections()
    }

    #[cfg(test)]
    pub(crate) fn relayed_connections(&self) -> usize {
        self.shared().relayed.open_connections()
    }

    #[cfg(test)]
    pub(crate) fn hashed(&self) -> usize {
        self.shared().outboards.begun.load(Ordering::Relaxed)
    }

    /// What was refused or lost so far, by reason.
    pub fn counters(&self) -> Counters {
        self.shared().counts.snapshot()
    }

    /// Gets the file with this BLAKE3 hash from a connected peer and puts it at `into`, complete and verified.
    /// Whoever needs it after a power cut syncs it; most can be had again. What arrives before an interruption stays beside it (`into` with `.part` and `.obao` added) and is
    /// not asked for again, whichever peer is asked next. Returns the file's size.
    ///
    /// # Errors
    /// Those of [`FetchError`]; `into` is not touched then.
    pub async fn fetch(
        &self,
        peer: PublicKey,
        hash: [u8; 32],
        max: u64,
        into: &std::path::Path,
    ) -> Result<u64, FetchError> {
        blob::fetch(self.shared(), peer, hash, max, into).await
    }

    /// How many bytes are there of a file that is fetched to this place, more or less: a number that grows as they come.
    pub fn progress(into: &std::path::Path) -> u64 {
        blob::progress(into)
    }

    /// Reads a growing stream from offset `from` on. The receiver ends after the last piece if the stream is
    /// complete, and with an error if it broke. Dropping it stops the other side. Waits where as much of this peer is
    /// followed as may be at once, for hours perhaps.
    ///
    /// # Errors
    /// Those of [`FollowError`]: the peer is not there, or does not hand that out.
    pub async fn follow(
        &self,
        peer: PublicKey,
        what: Vec<u8>,
        from: u64,
    ) -> Result<mpsc::Receiver<Result<Bytes, FollowError>>, FollowError> {
        follow::follow(self.shared(), peer, what, from).await
    }

    /// Closes every connection and stops listening, and waits a moment for the others to hear of it.
    pub async fn close(&self) {
        let shared = self.shared();
        shared.shut("goodbye");
        let idle = async {
            shared.relayed.wait_idle().await;
            shared.endpoint.wait_idle().await;
        };
        let _ = tokio::time::timeout(FAREWELL, idle).await;
    }
}

fn socket(listen: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    if listen.is_ipv6() && listen.ip().is_unspecified() {
        // One socket for both families where the system can.
        let _ = socket.set_only_v6(false);
    }
    // Smaller buffers cost speed, nothing else.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&listen.into())?;
    Ok(socket.into())
}

// spec: NET-4
async fn accept(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        match shared.admission.knock(incoming.remote_address(), incoming.remote_address_validated()) {
            Verdict::Admit(slot) => {
                let origin = Origin { dialled: false, path: Path::Direct, tunnel: None, slot, through: None };
                tokio::spawn(handshake(shared.clone(), incoming, origin));
            }
            Verdict::Retry => {
                if incoming.retry().is_ok() {
                    shared.counts.retries_sent.one();
                }
            }
            Verdict::Refuse => incoming.refuse(),
        }
    }
}

// spec: NET-4
async fn accept_relayed(shared: Arc<Shared>) {
    while let Some(incoming) = shared.relayed.accept().await {
        // The tunnel's address cannot be forged: our own socket made it up.
        let Some((ticket, slot)) = shared.tunnels.of(incoming.remote_address()).and_then(|ticket| {
            let slot = shared.admission.knock_relayed(ticket.by)?;
            Some((ticket, slot))
        }) else {
            incoming.refuse();
            continue;
        };
        let origin = Origin {
            dialled: false,
            path: Path::Relayed { by: ticket.by },
            tunnel: Some(ticket.closed),
            slot,
            through: ticket.place,
        };
        tokio::spawn(handshake(shared.clone(), incoming, origin));
    }
}

async fn handshake(shared: Arc<Shared>, incoming: quinn::Incoming, origin: Origin) {
    let addr = incoming.remote_address();
    let done = tokio::time::timeout(shared.config.bounds.handshake_time, incoming.into_future()).await;
    let refused = match done {
        Ok(Ok(quic)) => conn::establish(&shared, quic, origin).await.err(),
        failed => {
            shared.counts.bad_handshakes.one();
            Some(failed.map_or_else(
                |_| "timed out".to_owned(),
                |e| e.map_or_else(|e| e.to_string(), |_| String::new()),
            ))
        }
    };
    if let Some(reason) = refused {
        tracing::debug!(%addr, reason, "connection refused");
    }
}

/// A place for a connection we make.
pub(crate) fn own_slot(shared: &Shared) -> Result<Slot, String> {
    shared.admission.dial().ok_or_else(|| "too many connections in all".to_owned())
}
