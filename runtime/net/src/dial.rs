//! Reaching a peer by its key, again and again.

use crate::conn::{self, Origin};
use crate::net::{Shared, lock, own_slot};
use crate::{Event, Path, relay, tls};
use mesh_protocol::key::PublicKey;
use quinn::{Connection, ConnectionError, TransportErrorCode};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

/// The first pause after a failed round, and the longest. 60 s: a peer that comes back is found within a minute, and
/// a hundred peers that are away cost two packets a second.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));
/// What a session must have lived, or the next round comes after a pause, too, which grows. 30 s: as the idle timeout;
/// what breaks sooner, again and again, does so because one side closes it.
const LASTED: Duration = Duration::from_secs(30);
/// Between starting one address and the next. 300 ms: most direct answers are back by then, so that a peer rarely
/// sees more than one of our attempts.
const STAGGER: Duration = Duration::from_millis(300);
/// Addresses kept per peer. 16: a laptop's few interfaces at home, at work and on the road; the oldest go first.
const ADDRESSES: usize = 16;
/// Relays kept per peer, of those that were named. 4: the volunteers of a community.
const RELAYS: usize = 4;
/// Members asked in one round to relay, besides. 8: each that does not costs a round trip; the others' turn is next.
const ASKED: usize = 8;
/// How long a member that would not relay to this peer is not asked again. 60 s: as the longest pause.
const REFUSED: Duration = Duration::from_secs(60);
/// How long the addresses have before relays are tried. 3 s: any direct answer but a satellite's; that one is tried
/// again while the relayed connection serves.
const DIRECT_FIRST: Duration = Duration::from_secs(3);

/// "Access denied", the alert that our own verifier raises for a key that is not the one dialled.
const WRONG_KEY: u8 = 49;

/// A peer that is wanted.
pub(crate) struct Dial {
    /// What to try, the best first.
    ways: Mutex<Ways>,
    /// Why the last round failed, in words.
    failed: Mutex<Option<String>>,
    /// How long the session lived that ended last, until that was looked at.
    lived: Mutex<Option<Duration>>,
    ended: Notify,
    /// There is a new way.
    news: Notify,
    task: Mutex<Option<AbortHandle>>,
}

#[derive(Default)]
struct Ways {
    addrs: Vec<SocketAddr>,
    relays: Vec<PublicKey>,
    /// Members that would not relay, and when. Cleared of the old at each round.
    refused: BTreeMap<PublicKey, Instant>,
}

impl Dial {
    /// The peer was met there: tried first from now on.
    pub(crate) fn met(&self, addr: SocketAddr) {
        first(&mut lock(&self.ways).addrs, addr, ADDRESSES);
    }

    /// A session with it, or a connection of one, ended after so long.
    pub(crate) fn lost(&self, lived: Duration) {
        *lock(&self.lived) = Some(lived);
        self.ended.notify_one();
    }

    /// Why it is not reached, if that is known.
    pub(crate) fn failure(&self) -> Option<String> {
        lock(&self.failed).clone()
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
        Arc::new(Dial {
            ways: Mutex::default(),
            failed: Mutex::default(),
            lived: Mutex::default(),
            ended: Notify::new(),
            news: Notify::new(),
            task: Mutex::default(),
        })
    });
    let mut ways = lock(&dial.ways);
    // What is known already is no reason to hurry: anybody on the local network can say it all the time.
    let new = addrs.iter().any(|addr| !ways.addrs.contains(addr))
        || relay.is_some_and(|relay| !ways.relays.contains(&relay));
    for addr in addrs.iter().rev() {
        first(&mut ways.addrs, *addr, ADDRESSES);
    }
    if let Some(relay) = relay {
        first(&mut ways.relays, relay, RELAYS);
    }
    drop(ways);
    if known.is_some() {
        if new {
            dial.news.notify_one();
        }
    } else {
        let task = tokio::spawn(run(shared.clone(), peer, dial.clone()));
        *lock(&dial.task) = Some(task.abort_handle());
        dials.insert(peer, dial);
    }
}

// spec: NET-5
async fn run(shared: Arc<Shared>, peer: PublicKey, dial: Arc<Dial>) {
    // After a round that failed, and after a session that did not last.
    let (mut pause, mut brief) = (BACK_OFF.0, BACK_OFF.0);
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
        *lock(&dial.failed) = tried.as_ref().err().cloned();
        if let Err(reason) = tried
            && reached(&shared, peer) == Reached::No
        {
            shared.tell(Event::DialFailed { peer, reason }).await;
        }
        if reached(&shared, peer) == Reached::Directly {
            pause = BACK_OFF.0;
        }
        let lived = tokio::select! {
            lived = lost(&shared, peer, &dial) => lived,
            () = tokio::time::sleep(jittered(pause)), if reached(&shared, peer) != Reached::Directly => {
                pause = BACK_OFF.1.min(pause * 2);
                continue;
            }
            () = dial.news.notified() => {
                pause = BACK_OFF.0;
                continue;
            }
        };
        // As a stranger it lives no longer than that, and is to be back soon after it was let in.
        if lived >= LASTED.min(shared.config.bounds.stranger_stay) {
            brief = BACK_OFF.0;
            continue;
        }
        // Whoever lets a session begin and closes it, or whom we cannot understand, costs a handshake each time.
        tokio::select! {
            () = tokio::time::sleep(jittered(brief)) => brief = BACK_OFF.1.min(brief * 2),
            () = dial.news.notified() => brief = BACK_OFF.0,
        }
    }
}

/// Waits until a session ends and none reaches the peer directly, and says how long it lived.
async fn lost(shared: &Shared, peer: PublicKey, dial: &Dial) -> Duration {
    loop {
        dial.ended.notified().await;
        let lived = lock(&dial.lived).take();
        if let Some(lived) = lived.filter(|_| reached(shared, peer) != Reached::Directly) {
            return lived;
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
    let addrs = lock(&dial.ways).addrs.clone();
    let relays = if relayed { relays(shared, peer, dial) } else { Vec::new() };
    let mut reason = "no address is known".to_owned();
    let patience = if relays.is_empty() { shared.config.bounds.handshake_time } else { DIRECT_FIRST };
    match any(shared, peer, addrs, patience).await {
        Some(Ok(quic)) => {
            let slot = own_slot(shared)?;
            let origin = Origin { dialled: true, path: Path::Direct, tunnel: None, slot, through: None };
            match conn::establish(shared, quic, origin).await {
                Ok(_) => return Ok(()),
                Err(why) => reason = why,
            }
        }
        Some(Err(why)) => reason = why,
        None => {}
    }
    // spec: NET-6
    for by in relays {
        match relay::dial(shared, peer, by).await {
            Ok(()) => return Ok(()),
            Err(why) => {
                lock(&dial.ways).refused.insert(by, Instant::now());
                reason = format!("{reason}; by relay {}: {why}", by.short());
            }
        }
    }
    Err(reason)
}

/// Who might relay to this peer: those named for it, and members reached directly. Nobody says beforehand whether they
/// volunteer; whoever does not says no at once, and is not asked again for a while.
// spec: NET-6
fn relays(shared: &Shared, peer: PublicKey, dial: &Dial) -> Vec<PublicKey> {
    let members: Vec<PublicKey> = {
        let peers = lock(&shared.peers);
        let direct = peers.sessions.values().filter(|session| {
            let active = session.active.borrow();
            active.as_ref().is_some_and(|conn| conn.is_direct()) && peers.members.contains(&session.peer)
        });
        direct.map(|session| session.peer).filter(|by| *by != peer).collect()
    };
    let mut ways = lock(&dial.ways);
    ways.refused.retain(|_, at| at.elapsed() < REFUSED);
    let asked = members.into_iter().filter(|by| !ways.relays.contains(by));
    let asked = asked.filter(|by| !ways.refused.contains_key(by)).take(ASKED);
    ways.relays.iter().copied().chain(asked).collect()
}

/// The first of these addresses where the peer answers. Only one connection comes out of it, so that the other side
/// never has to choose between two of ours.
async fn any(
    shared: &Arc<Shared>,
    peer: PublicKey,
    addrs: Vec<SocketAddr>,
    patience: Duration,
) -> Option<Result<Connection, String>> {
    let mut attempts = JoinSet::new();
    for (i, addr) in addrs.into_iter().enumerate() {
        let shared = shared.clone();
        attempts.spawn(async move {
            tokio::time::sleep(STAGGER.saturating_mul(u32::try_from(i).unwrap_or(u32::MAX))).await;
            one(&shared, peer, addr, patience).await.map_err(|why| format!("{addr}: {why}"))
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

async fn one(
    shared: &Shared,
    peer: PublicKey,
    addr: SocketAddr,
    patience: Duration,
) -> Result<Connection, String> {
    let transport = Arc::new(tls::transport(&shared.config.bounds));
    let client = shared.identity.client(peer, transport).map_err(|e| e.to_string())?;
    let connecting = shared.endpoint.connect_with(client, addr, tls::NAME).map_err(|e| e.to_string())?;
    match tokio::time::timeout(patience, connecting).await {
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
