//! One QUIC connection, from the end of its handshake to its own.
//!
//! Each side opens its hello stream first of all and says its instance on it, the side that dialled first: the other
//! answers when the session that this connection is for can be joined. So the single stream that a stranger may open
//! is the hello, and whatever else an honest peer wants to send waits in QUIC until it is a member.

use crate::admit::Slot;
use crate::net::{Shared, lock};
use crate::serve::Place;
use crate::session::{self, Joined, Session};
use crate::wire::{Head, Instance};
use crate::{Bounds, Channel, Path, Standing, follow, recv, relay, serve, tls};
use mesh_protocol::key::PublicKey;
use quinn::{ConnectionError, RecvStream, SendStream, VarInt};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// Close codes, for whoever debugs the other side. The text beside them is what people read.
pub(crate) const GOODBYE: u32 = 0;
pub(crate) const BUSY: u32 = 1;
pub(crate) const MISBEHAVED: u32 = 2;
pub(crate) const UNWELCOME: u32 = 3;
pub(crate) const REPLACED: u32 = 4;

/// How long the connection that is not used lives on after what was under way on it: nothing comes or goes on its
/// streams any more. 3 s: longer than most losses take to be mended.
const RETIRE: Duration = Duration::from_secs(3);
/// The longest that it lives on. 5 min: a blob of usual size; a longer one goes on where it stopped.
const RETIRED: Duration = Duration::from_secs(5 * 60);
/// How long a stream may take to say what it is.
const HEAD: Duration = Duration::from_secs(10);

pub(crate) struct Conn {
    pub(crate) quic: quinn::Connection,
    pub(crate) peer: PublicKey,
    /// This side dialled.
    pub(crate) dialled: bool,
    pub(crate) path: Path,
    /// When its handshake was done.
    pub(crate) born: Instant,
    /// Our hello stream, until its first frame.
    pub(crate) hello: Mutex<Option<SendStream>>,
    pub(crate) retire: Notify,
    hello_in: Mutex<Option<RecvStream>>,
    /// Closes when the tunnel under a relayed connection does.
    tunnel: Option<watch::Receiver<bool>>,
    /// What we said when we closed it.
    farewell: OnceLock<String>,
    /// Is what it sent added to what ended connections did?
    pub(crate) counted: AtomicBool,
    _slot: Slot,
}

impl Conn {
    pub(crate) fn close(&self, code: u32, reason: &str) {
        // Only the first word counts, as with QUIC.
        let _ = self.farewell.set(reason.to_owned());
        self.quic.close(VarInt::from_u32(code), reason.as_bytes());
    }

    /// Bytes that went into the network for it; those of a relayed one are its tunnel's.
    pub(crate) fn sent(&self) -> u64 {
        if self.is_direct() { self.quic.stats().udp_tx.bytes } else { 0 }
    }

    /// A number that changes while anything of its streams comes or goes, losses that are mended included.
    fn moved(&self) -> u64 {
        let stats = self.quic.stats();
        stats.frame_rx.stream.wrapping_add(stats.frame_tx.stream)
    }

    /// It is over: what it sent stays counted.
    fn count(&self, shared: &Shared) {
        if !self.counted.swap(true, Ordering::Relaxed) {
            shared.sent.fetch_add(self.sent(), Ordering::Relaxed);
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        let addr = self.quic.remote_address();
        SocketAddr::new(addr.ip().to_canonical(), addr.port())
    }

    /// Gives a member its share of streams and bytes.
    pub(crate) fn welcome(&self, bounds: &Bounds) {
        self.quic.set_receive_window(VarInt::from_u32(bounds.window));
        self.quic.set_max_concurrent_uni_streams(VarInt::from_u32(bounds.channels));
        self.quic.set_max_concurrent_bi_streams(VarInt::from_u32(bounds.requests));
    }
}

/// How a finished handshake came about.
pub(crate) struct Origin {
    pub(crate) dialled: bool,
    pub(crate) path: Path,
    pub(crate) tunnel: Option<watch::Receiver<bool>>,
    pub(crate) slot: Slot,
    /// Its place among what comes through its relay.
    pub(crate) through: Option<Place>,
}

/// Takes a connection whose handshake is done into its peer's session. The error is for people.
pub(crate) async fn establish(
    shared: &Arc<Shared>,
    quic: quinn::Connection,
    mut origin: Origin,
) -> Result<PublicKey, String> {
    let refuse = |code: u32, reason: &str| {
        quic.close(VarInt::from_u32(code), reason.as_bytes());
        reason.to_owned()
    };
    let peer = tls::peer_key(&quic).ok_or_else(|| refuse(MISBEHAVED, "no key"))?;
    if peer == shared.identity.key {
        return Err(refuse(BUSY, "this is the same peer"));
    }
    // spec: NET-4
    if !origin.dialled && origin.path == Path::Direct && !origin.slot.prove(quic.remote_address()) {
        return Err(refuse(BUSY, "too many connections from this network"));
    }
    let (_arrival, born) = (shared.admission.arrive(peer, &quic), Instant::now());
    let mut stranger = None;
    if !origin.dialled && !lock(&shared.peers).members.contains(&peer) {
        stranger = Some(
            shared
                .admission
                .stranger(origin.through.take())
                .ok_or_else(|| refuse(BUSY, "too many strangers at once"))?,
        );
    }
    let mut said = origin.dialled.then(|| lock(&shared.peers).number(&peer));
    let (hello, hello_in, theirs) =
        match tokio::time::timeout(shared.config.bounds.handshake_time, preface(shared, &quic, said)).await {
            Ok(Ok(preface)) => preface,
            Ok(Err(reason)) => return Err(refuse(MISBEHAVED, &reason)),
            Err(_) => return Err(refuse(MISBEHAVED, "said nothing")),
        };
    origin.slot.settle();
    origin.through = None;
    let conn = Arc::new(Conn {
        quic: quic.clone(),
        peer,
        dialled: origin.dialled,
        path: origin.path,
        born,
        hello: Mutex::new(Some(hello)),
        retire: Notify::new(),
        hello_in: Mutex::new(Some(hello_in)),
        tunnel: origin.tunnel,
        farewell: OnceLock::new(),
        counted: AtomicBool::new(false),
        _slot: origin.slot,
    });
    loop {
        match session::join(shared, &conn, theirs, said, &mut stranger) {
            Joined::Yes(_) if said.is_some() => return Ok(peer),
            Joined::Yes(number) => {
                let stream = lock(&conn.hello).take();
                let Some(mut stream) = stream else { return Err(refuse(BUSY, "greeted twice")) };
                let greeting = greeting(shared, number);
                let said_it = stream.write_all(&greeting);
                match tokio::time::timeout(shared.config.bounds.handshake_time, said_it).await {
                    Ok(written) => written.map_err(|e| e.to_string())?,
                    Err(_) => return Err(refuse(MISBEHAVED, "took no greeting")),
                }
                *lock(&conn.hello) = Some(stream);
                said = Some(number);
            }
            Joined::After(session) => session.gone().await,
            Joined::Refused(reason) => return Err(refuse(BUSY, reason)),
        }
        if let Some(lost) = quic.close_reason() {
            return Err(lost.to_string());
        }
    }
}

fn greeting(shared: &Shared, session: u32) -> Vec<u8> {
    Head::Hello { instance: Instance { session, ..shared.instance } }.encode()
}

async fn preface(
    shared: &Shared,
    quic: &quinn::Connection,
    said: Option<u32>,
) -> Result<(SendStream, RecvStream, Instance), String> {
    let ours = async {
        let mut stream = quic.open_uni().await.map_err(|e| e.to_string())?;
        if let Some(session) = said {
            stream.write_all(&greeting(shared, session)).await.map_err(|e| e.to_string())?;
        }
        Ok(stream)
    };
    let theirs = async {
        let mut stream = quic.accept_uni().await.map_err(|e| e.to_string())?;
        match Head::read(&mut stream).await {
            Ok(Head::Hello { instance }) => Ok((stream, instance)),
            Ok(_) => {
                shared.counts.strangers_streams.one();
                Err("did not greet first".to_owned())
            }
            Err(e) => {
                shared.counts.bad_streams.one();
                Err(quic.close_reason().map_or_else(|| e.to_string(), |lost| lost.to_string()))
            }
        }
    };
    let (ours, (theirs, instance)) = tokio::try_join!(ours, theirs)?;
    Ok((ours, theirs, instance))
}

/// Serves the connection until it ends, and says why it did.
pub(crate) async fn run(shared: Arc<Shared>, session: Arc<Session>, conn: Arc<Conn>) -> String {
    let mut readers = JoinSet::new();
    // Cut off at the connection's end: nobody waits for their answers any more.
    let mut answers = JoinSet::new();
    let hello = lock(&conn.hello_in).take();
    if let Some(hello) = hello {
        readers.spawn(recv::read(shared.clone(), session.clone(), conn.clone(), Channel::Hello, hello));
    }
    let mut retired: Option<Retired> = None;
    let patience = tokio::time::sleep(shared.config.bounds.stranger_stay);
    let mut patience = std::pin::pin!(patience);
    let mut waiting = !conn.dialled;
    let mut tunnel = conn.tunnel.clone();
    let retiring = tokio::time::sleep(RETIRE);
    let mut retiring = std::pin::pin!(retiring);
    let reason = loop {
        tokio::select! {
            lost = conn.quic.closed() => break lost,
            Ok(stream) = conn.quic.accept_uni() => {
                readers.spawn(take_uni(shared.clone(), session.clone(), conn.clone(), stream));
            }
            Ok((send, recv)) = conn.quic.accept_bi() => {
                answers.spawn(take_bi(shared.clone(), session.clone(), conn.clone(), send, recv));
            }
            Some(_) = readers.join_next() => {}
            Some(_) = answers.join_next() => {}
            () = &mut patience, if waiting => {
                waiting = false;
                // spec: NET-4
                if session.standing() == Standing::Stranger {
                    shared.counts.strangers_timed_out.one();
                    conn.close(UNWELCOME, "still a stranger");
                }
            }
            () = conn.retire.notified(), if retired.is_none() => {
                retired = Some(Retired { since: Instant::now(), moved: conn.moved() });
                retiring.as_mut().reset(tokio::time::Instant::now() + RETIRE);
            }
            () = &mut retiring, if retired.is_some() => {
                retired = retired.and_then(|retired| retired.go_on(&session, &conn));
                retiring.as_mut().reset(tokio::time::Instant::now() + RETIRE);
            }
            () = tunnel_closed(&mut tunnel) => {
                tunnel = None;
                conn.close(GOODBYE, "the relay is gone");
            }
        }
    };
    answers.shutdown().await;
    // What had arrived is still told before the end is.
    while readers.join_next().await.is_some() {}
    conn.count(&shared);
    match (reason, conn.farewell.get()) {
        (ConnectionError::LocallyClosed, Some(farewell)) => farewell.clone(),
        (reason, _) => reason.to_string(),
    }
}

/// A connection that another took over from.
struct Retired {
    since: Instant,
    /// What had moved on it when that was looked at last.
    moved: u64,
}

impl Retired {
    /// Closes it, unless something is under way on it or it is in use again.
    fn go_on(self, session: &Session, conn: &Arc<Conn>) -> Option<Self> {
        // The other one may be gone meanwhile.
        if session.active.borrow().as_ref().is_none_or(|active| Arc::ptr_eq(active, conn)) {
            return None;
        }
        // What is lost with it would be lost in a session that goes on.
        let moved = conn.moved();
        if self.since.elapsed() < RETIRED && (moved != self.moved || session.held.is_behind()) {
            return Some(Self { moved, ..self });
        }
        conn.close(REPLACED, "another connection is in use");
        None
    }
}

async fn tunnel_closed(tunnel: &mut Option<watch::Receiver<bool>>) {
    match tunnel {
        Some(tunnel) => {
            let _ = tunnel.wait_for(|closed| *closed).await;
        }
        None => std::future::pending().await,
    }
}

async fn take_uni(shared: Arc<Shared>, session: Arc<Session>, conn: Arc<Conn>, mut stream: RecvStream) {
    let head = tokio::time::timeout(HEAD, Head::read(&mut stream)).await;
    let Ok(Ok(head)) = head else {
        if conn.quic.close_reason().is_none() {
            shared.counts.bad_streams.one();
        }
        return;
    };
    let Some(channel) = head.channel() else {
        shared.counts.bad_streams.one();
        return;
    };
    // spec: NET-2
    if channel != Channel::Hello && session.standing() == Standing::Stranger {
        shared.counts.strangers_streams.one();
        conn.close(MISBEHAVED, "this is for members");
        return;
    }
    recv::read(shared, session, conn, channel, stream).await;
}

async fn take_bi(
    shared: Arc<Shared>,
    session: Arc<Session>,
    conn: Arc<Conn>,
    mut send: SendStream,
    mut recv: RecvStream,
) {
    let Ok(Ok(head)) = tokio::time::timeout(HEAD, Head::read(&mut recv)).await else {
        shared.counts.bad_streams.one();
        return;
    };
    // spec: NET-2
    if session.standing() == Standing::Stranger {
        shared.counts.strangers_streams.one();
        conn.close(MISBEHAVED, "this is for members");
        return;
    }
    let stopped = send.stopped();
    let answer = async {
        match head {
            Head::Blob { hash, from_group } => {
                serve::blob(&shared, &session, hash, from_group, &mut send).await
            }
            Head::Follow { from, what } => follow::serve(&shared, &session, &what, from, &mut send).await,
            Head::Relay { to } => relay::forward(&shared, session.peer, to, &mut send, &mut recv).await,
            Head::Relayed { from } => relay::arrive(&shared, session.peer, from, send, recv).await,
            _ => shared.counts.bad_streams.one(),
        }
    };
    // A reader that goes away ends the work for it.
    tokio::select! {
        () = answer => {}
        _ = stopped => {}
    }
}
