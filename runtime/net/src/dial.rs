//! Reaching a peer by its key, again and again.

use crate::conn::{self, Origin};
use crate::net::{Shared, lock, own_slot};
use crate::{Event, Path, relay, tls};
use mesh_protocol::key::PublicKey;
use quinn::{Connection, ConnectionError, TransportErrorCode};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

/// The first pause after a failed round, and the longest. 60 s: a peer that comes back is found within a minute, and
/// a hundred peers that are away cost two packets a second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));
/// Between starting one address and the next. 300 ms: most direct answers are back by then, so that a peer rarely
/// sees more than one of our attempts.
const STAGGER: Duration = Duration::from_millis(300);
/// Addresses kept per peer. 16: a laptop's few interfaces at home, at work and on the road; the oldest go first.
const ADDRESSES: usize = 16;
/// Relays kept per peer. 4: the volunteers of a community.
const RELAYS: usize = 4;

/// "Access denied", the alert that our own verifier raises for a key that is not the one dialled.
const WRONG_KEY: u8 = 49;

/// A peer that is wanted.
pub(crate) struct Dial {
    /// What to try, the best first.
    ways: Mutex<Ways>,
    /// Something changed: a session ended, or there is a new way.
    pub(crate) wake: Notify,
    task: Mutex<Option<AbortHandle>>,
}

#[derive(Default)]
struct Ways {
    addrs: Vec<SocketAddr>,
    relays: Vec<PublicKey>,
}

impl Dial {
    /// The peer was met there: tried first from now on.
    pub(crate) fn met(&self, addr: SocketAddr) {
        first(&mut lock(&self.ways).addrs, addr, ADDRESSES);
    }

    pub(crate) fn stop(&self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

fn first<T: PartialEq>(list: &mut Vec<T>, item: T, bound: usize) {
    list.retain(|other| *other != item);
    list.insert(0, item);
    list.truncate(bound);
}

/// Starts to dial, or adds ways to it.
// spec: NET-5
pub(crate) fn want(shared: &Arc<Shared>, peer: PublicKey, addrs: &[SocketAddr], relay: Option<PublicKey>) {
    if peer == shared.identity.key {
        return;
    }
    let mut dials = lock(&shared.dials);
    let known = dials.get(&peer).cloned();
    let dial = known.clone().unwrap_or_else(|| {
        Arc::new(Dial { ways: Mutex::default(), wake: Notify::new(), task: Mutex::default() })
    });
    let mut ways = lock(&dial.ways);
    for addr in addrs.iter().rev() {
        first(&mut ways.addrs, *addr, ADDRESSES);
    }
    if let Some(relay) = relay {
        first(&mut ways.relays, relay, RELAYS);
    }
    drop(ways);
    if known.is_some() {
        dial.wake.notify_one();
    } else {
        let task = tokio::spawn(run(shared.clone(), peer, dial.clone()));
        *lock(&dial.task) = Some(task.abort_handle());
        dials.insert(peer, dial);
    }
}

async fn run(shared: Arc<Shared>, peer: PublicKey, dial: Arc<Dial>) {
    let mut pause = BACK_OFF.0;
    let mut was = Reached::No;
    loop {
        let now = reached(&shared, peer);
        if now != was {
            (pause, was) = (BACK_OFF.0, now);
        }
        let tried = match now {
            Reached::Directly => Ok(()),
            Reached::Otherwise => round(&shared, peer, &dial, false).await,
            Reached::No => round(&shared, peer, &dial, true).await,
        };
        match tried {
            Ok(()) if reached(&shared, peer) == Reached::Directly => {
                dial.wake.notified().await;
                continue;
            }
            Err(reason) if reached(&shared, peer) == Reached::No => {
                shared.tell(Event::DialFailed { peer, reason }).await;
            }
            // Relayed, or it dialled us meanwhile.
            _ => {}
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(pause)) => pause = BACK_OFF.1.min(pause * 2),
            () = dial.wake.notified() => pause = BACK_OFF.0,
        }
    }
}

/// Whether there is anything left to wish for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    Directly,
    /// Through a relay, or by a session that is ending.
    Otherwise,
    No,
}

fn reached(shared: &Shared, peer: PublicKey) -> Reached {
    let peers = lock(&shared.peers);
    match peers.sessions.get(&peer) {
        Some(session) if session.active.borrow().as_ref().is_some_and(|conn| conn.is_direct()) => {
            Reached::Directly
        }
        Some(_) => Reached::Otherwise,
        None => Reached::No,
    }
}

/// Three quarters to five quarters of it, so that peers that failed together do not return together.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [128];
    // Without randomness the pause is just not spread.
    let _ = getrandom::fill(&mut byte);
    pause.mul_f64(0.75 + f64::from(byte[0]) / 512.0)
}

/// Tries every way once: addresses side by side, then relays, if wanted, one after the other.
async fn round(shared: &Arc<Shared>, peer: PublicKey, dial: &Dial, relayed: bool) -> Result<(), String> {
    let (addrs, relays) = {
        let ways = lock(&dial.ways);
        (ways.addrs.clone(), ways.relays.clone())
    };
    let mut reason = "no address is known".to_owned();
    match any(shared, peer, addrs).await {
        Some(Ok(quic)) => {
            let slot = own_slot(shared)?;
            let origin = Origin { dialled: true, path: Path::Direct, tunnel: None, slot };
            match conn::establish(shared, quic, origin).await {
                Ok(_) => return Ok(()),
                Err(why) => reason = why,
            }
        }
        Some(Err(why)) => reason = why,
        None => {}
    }
    // spec: NET-6
    for by in relays.into_iter().filter(|_| relayed) {
        match relay::dial(shared, peer, by).await {
            Ok(()) => return Ok(()),
            Err(why) => reason = format!("{reason}; by relay: {why}"),
        }
    }
    Err(reason)
}

/// The first of these addresses where the peer answers. Only one connection comes out of it, so that the other side
/// never has to choose between two of ours.
async fn any(
    shared: &Arc<Shared>,
    peer: PublicKey,
    addrs: Vec<SocketAddr>,
) -> Option<Result<Connection, String>> {
    let mut attempts = JoinSet::new();
    for (i, addr) in addrs.into_iter().enumerate() {
        let shared = shared.clone();
        attempts.spawn(async move {
            tokio::time::sleep(STAGGER.saturating_mul(u32::try_from(i).unwrap_or(u32::MAX))).await;
            one(&shared, peer, addr).await.map_err(|why| format!("{addr}: {why}"))
        });
    }
    let mut reasons = Vec::new();
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            // The others are dropped with the set, and closed with them.
            Ok(Ok(quic)) => return Some(Ok(quic)),
            Ok(Err(why)) => reasons.push(why),
            Err(_) => {}
        }
    }
    (!reasons.is_empty()).then(|| Err(reasons.join("; ")))
}

async fn one(shared: &Shared, peer: PublicKey, addr: SocketAddr) -> Result<Connection, String> {
    let transport = Arc::new(tls::transport(&shared.config.bounds));
    let client = shared.identity.client(peer, transport).map_err(|e| e.to_string())?;
    let connecting = shared.endpoint.connect_with(client, addr, tls::NAME).map_err(|e| e.to_string())?;
    match tokio::time::timeout(shared.config.bounds.handshake_time, connecting).await {
        Ok(Ok(quic)) => Ok(quic),
        Ok(Err(e)) => Err(explain(shared, e)),
        Err(_) => Err("no answer".to_owned()),
    }
}

/// Counts a failed handshake and says what was wrong.
pub(crate) fn explain(shared: &Shared, error: ConnectionError) -> String {
    match error {
        ConnectionError::TransportError(e) if e.code == TransportErrorCode::crypto(WRONG_KEY) => {
            shared.counts.wrong_keys.one();
            "another key answered there".to_owned()
        }
        ConnectionError::TimedOut => "no answer".to_owned(),
        other => other.to_string(),
    }
}
