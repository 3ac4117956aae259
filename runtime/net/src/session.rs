//! One peer, while at least one connection to it lives.
//!
//! A session is one on both sides: all its connections carry the same [`Instance`] of the other side and the same of
//! this one. Usually there is one connection. There are two for a moment when both sides dialled at once, or when a
//! direct one joins a relayed one: both sides then prefer the same, and the side with the smaller key closes the other
//! once it is quiet. A peer that comes back as another run, or has lost its end of the session, or dials again, gets a
//! new session; the old one ends first.

use crate::admit::{Bucket, StrangerSlot};
use crate::conn::{self, Conn};
use crate::net::{Shared, lock};
use crate::recv::Held;
use crate::send::{self, Queues};
use crate::wire::Instance;
use crate::{Bounds, Channel, Event, Path, Standing};
use mesh_protocol::key::PublicKey;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedMutexGuard, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

/// A second connection by the same side within this time is a mistake or an attack, and is refused. Later it means
/// that the side lost the first one.
const SETTLED: Duration = Duration::from_secs(1);

/// Why a connection for another session of this side is not taken.
const STALE: &str = "the session that it was for is over";

pub(crate) struct Session {
    pub(crate) peer: PublicKey,
    /// What the other side calls it.
    instance: Instance,
    /// Its number on this side.
    number: u32,
    /// The connection to send on. `None` once the session is over.
    pub(crate) active: watch::Sender<Option<Arc<Conn>>>,
    pub(crate) queues: Mutex<Queues>,
    pub(crate) standing: watch::Sender<Standing>,
    conns: Mutex<Vec<Arc<Conn>>>,
    joins: mpsc::UnboundedSender<Arc<Conn>>,
    gone: watch::Sender<bool>,
    turns: Mutex<HashMap<Channel, Arc<tokio::sync::Mutex<()>>>>,
    stranger: Mutex<Option<StrangerSlot>>,
    /// What it may still send while it is a stranger, on however many streams.
    pub(crate) frames: Mutex<Bucket>,
    pace: Mutex<Pace>,
    /// Who tells the caller of a frame. One at a time, so that a peer with a thousand channels has one place among those
    /// that wait, as one with a single channel has.
    pub(crate) telling: tokio::sync::Mutex<()>,
    pub(crate) held: Held,
    /// Places for what is followed there.
    pub(crate) follows: Arc<Semaphore>,
}

/// What a member sends costs here more than it costs there.
struct Pace {
    frames: Bucket,
    gossip: Bucket,
}

/// What became of a new connection.
pub(crate) enum Joined {
    /// It is in use, or will be if the other one fails, in the session with this number on this side.
    Yes(u32),
    /// The session that stands in the way is ending; try again when it is gone.
    After(Arc<Session>),
    /// It is not needed, for this reason.
    Refused(&'static str),
}

/// Gives a new connection to its peer's session, or begins one. `theirs`: what the other side calls the session;
/// `said`: its number on this side, if the other side was told already; else this only says which one to tell.
pub(crate) fn join(
    shared: &Arc<Shared>,
    conn: &Arc<Conn>,
    theirs: Instance,
    said: Option<u32>,
    stranger: &mut Option<StrangerSlot>,
) -> Joined {
    let mut peers = lock(&shared.peers);
    let number = peers.number(&conn.peer);
    let stale = said.is_some_and(|said| said != number);
    let standing = if peers.members.contains(&conn.peer) { Standing::Member } else { Standing::Stranger };
    let Some(session) = peers.sessions.get(&conn.peer) else {
        if stale {
            return Joined::Refused(STALE);
        }
        if said.is_none() {
            return Joined::Yes(number);
        }
        let (joins, joined) = mpsc::unbounded_channel();
        let session = Arc::new(Session {
            peer: conn.peer,
            instance: theirs,
            number,
            active: watch::Sender::new(Some(conn.clone())),
            queues: Mutex::default(),
            standing: watch::Sender::new(standing),
            conns: Mutex::new(vec![conn.clone()]),
            joins,
            gone: watch::Sender::new(false),
            turns: Mutex::default(),
            stranger: Mutex::new(stranger.take()),
            frames: Mutex::new(Bucket::new(shared.config.bounds.stranger_frames)),
            pace: Mutex::new(Pace {
                frames: Bucket::new(shared.config.bounds.member_frames),
                gossip: Bucket::new(shared.config.bounds.member_gossip),
            }),
            telling: tokio::sync::Mutex::default(),
            held: Held::default(),
            follows: Arc::new(Semaphore::new(shared.config.bounds.follows)),
        });
        session.set_standing(shared, standing);
        peers.sessions.insert(conn.peer, session.clone());
        tokio::spawn(run(shared.clone(), session, conn.clone(), joined));
        return Joined::Yes(number);
    };
    let mut conns = lock(&session.conns);
    if conns.is_empty() {
        drop(conns);
        return Joined::After(session.clone());
    }
    let twin = conns.iter().find(|c| c.dialled == conn.dialled && c.is_direct() == conn.is_direct());
    if session.instance != theirs {
        // Of two runs, or of two sessions of one, the later is the one that lives.
        if conns.iter().any(|other| other.born > conn.born) {
            return Joined::Refused("the peer came back meanwhile");
        }
    } else if twin.is_some_and(|twin| twin.born.elapsed() < SETTLED) {
        shared.counts.connections_per_peer.one();
        return Joined::Refused("connected already");
    } else if twin.is_none() {
        if stale {
            return Joined::Refused(STALE);
        }
        if said.is_none() {
            return Joined::Yes(number);
        }
        conns.push(conn.clone());
        session.choose(shared, &conns);
        // The session's task takes it up; it lives as long as `conns` is not empty, which the lock guarantees.
        let _ = session.joins.send(conn.clone());
        return Joined::Yes(number);
    }
    for old in conns.iter() {
        old.close(conn::REPLACED, "the peer dialled again");
    }
    drop(conns);
    Joined::After(session.clone())
}

impl Session {
    /// Waits until a member may have sent so much.
    // spec: NET-4
    pub(crate) async fn keep_pace(&self, bounds: &Bounds, channel: Channel, bytes: usize) {
        let now = Instant::now();
        let wait = {
            let mut pace = lock(&self.pace);
            let frames = pace.frames.lend(1, bounds.member_frames, now);
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            let gossip = match channel {
                Channel::Gossip => pace.gossip.lend(bytes, bounds.member_gossip, now),
                Channel::Hello | Channel::Sync | Channel::Task { .. } => None,
            };
            frames.max(gossip)
        };
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Its number, and the next one's once it is over.
    pub(crate) fn number(&self) -> u32 {
        self.number.wrapping_add(self.is_over().into())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.active.borrow().is_none()
    }

    pub(crate) async fn gone(&self) {
        // The sender is in self, so this cannot fail.
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }

    pub(crate) fn conns(&self) -> Vec<Arc<Conn>> {
        lock(&self.conns).clone()
    }

    pub(crate) fn set_standing(&self, shared: &Shared, standing: Standing) {
        // First, since what the other side has been waiting to send comes as soon as it is let in.
        let was = self.standing.send_replace(standing);
        if standing == Standing::Member {
            lock(&self.stranger).take();
            for conn in lock(&self.conns).iter() {
                conn.welcome(&shared.config.bounds);
            }
        } else if was == Standing::Member {
            // What a member has open cannot be taken back stream by stream.
            for conn in lock(&self.conns).iter() {
                conn.close(conn::UNWELCOME, "no longer a member");
            }
        }
    }

    /// Waits until no other stream of this channel is being read.
    pub(crate) async fn turn(self: &Arc<Self>, channel: Channel) -> Turn {
        let queue = lock(&self.turns).entry(channel).or_default().clone();
        Turn { session: self.clone(), channel, held: Some(queue.lock_owned().await) }
    }

    /// Both sides must come to the same choice: direct before relayed, then the one that the smaller key dialled.
    fn choose(&self, shared: &Shared, conns: &[Arc<Conn>]) {
        let we_are_smaller = shared.identity.key < self.peer;
        let best = conns.iter().max_by_key(|conn| (conn.is_direct(), conn.dialled == we_are_smaller));
        self.active.send_replace(best.cloned());
        if we_are_smaller {
            for conn in conns.iter().filter(|conn| best.is_some_and(|best| !Arc::ptr_eq(best, conn))) {
                conn.retire.notify_one();
            }
        }
    }
}

/// The right to read a channel.
pub(crate) struct Turn {
    session: Arc<Session>,
    channel: Channel,
    held: Option<OwnedMutexGuard<()>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.held = None;
        let mut turns = lock(&self.session.turns);
        if turns.get(&self.channel).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            turns.remove(&self.channel);
        }
    }
}

async fn run(
    shared: Arc<Shared>,
    session: Arc<Session>,
    first: Arc<Conn>,
    mut joined: mpsc::UnboundedReceiver<Arc<Conn>>,
) {
    let (addr, dialled, path, begun) = (first.addr(), first.dialled, first.path, first.born);
    shared.tell(Event::Connected { peer: session.peer, addr, dialled, path }).await;
    shared.learn(session.peer, &first);
    let mut running = JoinSet::new();
    let start = |conn: Arc<Conn>| {
        let (shared, session) = (shared.clone(), session.clone());
        async move { (conn.clone(), conn::run(shared, session, conn).await) }
    };
    running.spawn(start(first));
    let reason = loop {
        tokio::select! {
            Some(conn) = joined.recv() => {
                shared.learn(session.peer, &conn);
                // It joined while the standing may have been changing.
                if session.standing() == Standing::Member {
                    conn.welcome(&shared.config.bounds);
                }
                running.spawn(start(conn));
            }
            Some(ended) = running.join_next() => {
                let Ok((conn, reason)) = ended else { break "an internal error".to_owned() };
                let mut conns = lock(&session.conns);
                conns.retain(|other| !Arc::ptr_eq(other, &conn));
                session.choose(&shared, &conns);
                if conns.is_empty() {
                    break reason;
                }
                // A direct one may be gone and a relayed one left.
                shared.redial(session.peer, conn.born.elapsed());
            }
        }
    };
    session.active.send_replace(None);
    send::close(&session);
    shared.tell(Event::Disconnected { peer: session.peer, reason }).await;
    lock(&shared.peers).ended(&session);
    session.gone.send_replace(true);
    shared.redial(session.peer, begun.elapsed());
}

impl Conn {
    pub(crate) fn is_direct(&self) -> bool {
        self.path == Path::Direct
    }
}
