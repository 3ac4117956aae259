//! What peers send, read and verified before the node sees it: signatures of many entries on other threads, everything
//! in the order in which it came.
// spec: NET-4, ARC-5

use super::causes;
use super::driver::Arrival;
use bytes::Bytes;
use mesh_net::{Channel, Event, Net, Path};
use mesh_node::{Input, SyncReceived};
use mesh_protocol::frame::{AttemptId, Frame, FrameError, HelloFrame, SyncFrame, TaskFrame};
use mesh_protocol::ids::TaskId;
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Entry, EntryError};
use std::collections::{HashSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Frames verified at once. Enough for every core of a small machine; what is behind them waits a few milliseconds for
/// each, so more would make heartbeats late.
const VERIFYING: usize = 8;
/// Entries verified where they are read. Handing over costs about as much as one signature.
const FEW: usize = 2;

/// Entries remembered as verified. An entry comes by several ways within seconds, and at more than any rules allow this
/// is a minute of them, in half a megabyte.
const VERIFIED: usize = 8192;

/// The entries whose signatures were verified last, by the hash of all their bytes: the same entry comes with an offer,
/// from several peers as gossip, and where logs are compared.
// spec: NET-7
#[derive(Default)]
pub(crate) struct Verified(Mutex<Hashes>);

#[derive(Default)]
struct Hashes {
    all: HashSet<[u8; 32]>,
    /// The oldest first.
    by_age: VecDeque<[u8; 32]>,
}

impl Verified {
    fn knows(&self, hash: &[u8; 32]) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).all.contains(hash)
    }

    /// Reads an entry that somebody signed, now or when it came before.
    fn read(&self, bytes: &[u8]) -> Result<Entry, EntryError> {
        let hash = *blake3::hash(bytes).as_bytes();
        if self.knows(&hash) {
            return Entry::trusted(bytes);
        }
        let entry = Entry::verify(bytes)?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.all.insert(hash) {
            known.by_age.push_back(hash);
            if known.by_age.len() > VERIFIED
                && let Some(oldest) = known.by_age.pop_front()
            {
                known.all.remove(&oldest);
            }
        }
        Ok(entry)
    }
}

/// What came and was not taken.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    /// Frames that are none, or that say what does not hold.
    pub(crate) frames: AtomicU64,
    /// Gossip from peers that sent too much of it at once.
    pub(crate) gossip: AtomicU64,
}

/// Reads what comes.
pub(crate) struct Incoming {
    pub(crate) net: Net,
    pub(crate) arrivals: mpsc::Sender<Arrival>,
    pub(crate) refused: Arc<Refused>,
    pub(crate) verified: Arc<Verified>,
    /// Is this key a member's device?
    pub(crate) is_member: Box<dyn Fn(&PublicKey) -> bool + Send>,
}

/// Something that came, perhaps still being verified.
enum Step {
    Ready(Arrival),
    Verifying(PublicKey, JoinHandle<Result<Arrival, String>>),
}

impl Incoming {
    /// Goes on until the transport is closed or the driver is gone.
    pub(crate) async fn run(self, mut events: mpsc::Receiver<Event>) {
        let mut steps: VecDeque<Step> = VecDeque::new();
        loop {
            // What stands first goes out first.
            while let Some(Step::Ready(_)) = steps.front() {
                let Some(Step::Ready(arrival)) = steps.pop_front() else { break };
                if self.arrivals.send(arrival).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                verified = first(&mut steps), if !steps.is_empty() => {
                    if let Some(step) = self.verified(verified) {
                        steps.push_front(step);
                    }
                }
                event = events.recv(), if steps.len() < VERIFYING => match event {
                    Some(event) => steps.extend(self.event(event)),
                    None => return,
                },
            }
        }
    }

    fn verified(&self, (peer, result): (PublicKey, Result<Arrival, String>)) -> Option<Step> {
        match result {
            Ok(arrival) => Some(Step::Ready(arrival)),
            Err(why) => {
                self.refuse(peer, &why);
                None
            }
        }
    }

    fn event(&self, event: Event) -> Vec<Step> {
        let input = match event {
            Event::Connected { peer, addr, dialled, path } => {
                tracing::debug!(peer = %peer.short(), %addr, dialled, ?path, "connected");
                Input::Connected { peer, addr: listens_at(addr, path) }
            }
            Event::Disconnected { peer, reason } => {
                tracing::debug!(peer = %peer.short(), reason, "disconnected");
                Input::Disconnected { peer }
            }
            Event::Frame { peer, channel, bytes } => {
                return self.frame(peer, channel, bytes).unwrap_or_else(|why| {
                    self.refuse(peer, &why);
                    Vec::new()
                });
            }
            Event::Found { peer, addrs } => {
                // Anybody may announce anything; who answers must hold the key.
                if (self.is_member)(&peer) {
                    self.net.connect(peer, addrs);
                }
                return Vec::new();
            }
            Event::DialFailed { peer, reason } => {
                tracing::debug!(peer = %peer.short(), reason, "a peer was not reached");
                Input::Unreachable { peer, why: reason }
            }
        };
        vec![Step::Ready(input.into())]
    }

    fn frame(&self, peer: PublicKey, channel: Channel, bytes: Bytes) -> Result<Vec<Step>, String> {
        let wrong = |error: FrameError| causes(&error);
        let input = match channel {
            Channel::Hello => Input::Hello(peer, HelloFrame::decode(&bytes).map_err(wrong)?),
            Channel::Gossip => {
                let heard = mesh_gossip::read(&bytes, |bytes| self.verified.read(bytes));
                let heard = Box::new(heard.map_err(|error| causes(&error))?);
                return Ok(vec![Step::Ready(Arrival::Gossip(peer, heard))]);
            }
            Channel::Sync => match SyncFrame::decode(&bytes).map_err(wrong)? {
                SyncFrame::Entries(entries) if entries.len() > FEW => {
                    let verified = self.verified.clone();
                    let verify = move || verify(&verified, &entries).map(|entries| arrival(peer, entries));
                    return Ok(vec![Step::Verifying(peer, tokio::task::spawn_blocking(verify))]);
                }
                SyncFrame::Entries(entries) => {
                    return Ok(vec![Step::Ready(arrival(peer, verify(&self.verified, &entries)?))]);
                }
                frame => Input::Sync(peer, SyncReceived::Frame(frame)),
            },
            Channel::Task { task, attempt } => {
                let attempt = AttemptId { task: TaskId(task), attempt };
                let mut frame = TaskFrame::decode(&bytes).map_err(wrong)?;
                let mut steps = Vec::new();
                if let TaskFrame::Offer(offer) = &mut frame {
                    steps = self.brought(peer, &mut offer.entries)?;
                }
                steps.push(Step::Ready(Input::Task(peer, attempt, frame).into()));
                return Ok(steps);
            }
        };
        Ok(vec![Step::Ready(input.into())])
    }

    /// The entries that an offer brings and that are new here, each by itself before it: they are verified where the
    /// node is not held up. The others stay with it. One that nobody signed is what no peer sends, as it is where it comes
    /// by any other way: whoever could send such ones with offers, which are refused, would have the node verify them
    /// without end.
    // spec: NET-4
    fn brought(&self, peer: PublicKey, entries: &mut Vec<Vec<u8>>) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        // For strangers nothing is verified.
        if !(self.is_member)(&peer) {
            return Ok(steps);
        }
        for bytes in std::mem::take(entries) {
            if self.verified.knows(blake3::hash(&bytes).as_bytes()) {
                entries.push(bytes);
                continue;
            }
            let entry = self.verified.read(&bytes).map_err(|error| causes(&error))?;
            steps.push(Step::Ready(Input::Gossip(peer, Box::new(entry)).into()));
        }
        Ok(steps)
    }

    /// A peer that says such things is broken or bad: either way there is no talking to it now.
    fn refuse(&self, peer: PublicKey, why: &str) {
        self.refused.frames.fetch_add(1, Ordering::Relaxed);
        if (self.is_member)(&peer) {
            tracing::warn!(peer = %peer.short(), why, "a member's device sent what no peer sends");
        } else {
            // Strangers send what they like, and nobody is to be woken by it.
            tracing::debug!(peer = %peer.short(), why, "a stranger sent what no peer sends");
        }
        self.net.disconnect(peer, "it sent what no peer sends");
    }
}

/// Where others may be told that the peer listens. One that comes through a third has an address that this peer made
/// up; told as port 0, where nobody listens, it is neither remembered nor passed on.
// spec: NET-5
fn listens_at(addr: SocketAddr, path: Path) -> SocketAddr {
    match path {
        Path::Direct => addr,
        Path::Relayed { .. } => SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
    }
}

/// Waits for the first of what is being verified.
async fn first(steps: &mut VecDeque<Step>) -> (PublicKey, Result<Arrival, String>) {
    let Some(Step::Verifying(peer, verifying)) = steps.front_mut() else {
        return std::future::pending().await;
    };
    let (peer, result) = (*peer, verifying.await);
    steps.pop_front();
    (peer, result.unwrap_or_else(|error| Err(error.to_string())))
}

fn arrival(peer: PublicKey, entries: Vec<Entry>) -> Arrival {
    Input::Sync(peer, SyncReceived::Entries(entries)).into()
}

fn verify(verified: &Verified, entries: &[Vec<u8>]) -> Result<Vec<Entry>, String> {
    entries.iter().map(|bytes| verified.read(bytes).map_err(|error| causes(&error))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::ids::{CommunityId, EntryId};
    use mesh_protocol::key::SecretKey;
    use mesh_protocol::ledger::{Hlc, Payload, Place};

    struct Nothing;

    impl mesh_net::Provider for Nothing {
        fn blob(&self, _: PublicKey, _: [u8; 32]) -> Option<std::path::PathBuf> {
            None
        }
        fn follow(&self, _: PublicKey, _: &[u8], _: u64) -> Option<Box<dyn mesh_net::Follow>> {
            None
        }
    }

    // spec: NET-4, ARC-5
    #[tokio::test]
    async fn an_offer_that_brings_what_nobody_signed_is_what_no_peer_sends() {
        let config = mesh_net::Config::new([9; 32], "127.0.0.1:0".parse().unwrap());
        let (net, _events) = Net::bind(config, Arc::new(Nothing)).await.unwrap();
        let (member, stranger) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let incoming = Incoming {
            net,
            arrivals: mpsc::channel(1).0,
            refused: Arc::default(),
            verified: Arc::default(),
            is_member: Box::new(move |peer| *peer == member),
        };
        let good = entry(0).bytes().to_vec();
        let mut forged = entry(1).bytes().to_vec();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        let brought = |from, entries: &[&Vec<u8>]| {
            let mut left: Vec<Vec<u8>> = entries.iter().copied().cloned().collect();
            incoming.brought(from, &mut left).map(|steps| (steps.len(), left.len()))
        };
        assert!(brought(member, &[&good, &forged]).is_err());
        // What was verified stays with the offer; what is new goes before it.
        assert_eq!(brought(member, &[&good, &entry(1).bytes().to_vec()]), Ok((1, 1)));
        assert_eq!(brought(stranger, &[&forged]), Ok((0, 1)), "nothing is verified for strangers");
    }

    fn entry(seq: u64) -> Entry {
        let prev = if seq == 0 { EntryId::ZERO } else { EntryId([1; 32]) };
        let place = Place { community: CommunityId([5; 32]), seq, prev, refs: vec![], hlc: Hlc::at(seq) };
        Entry::write(&SecretKey::from_seed(&[1; 32]), place, Payload::PeerOnline)
    }

    // spec: NET-5
    #[test]
    fn an_address_that_was_made_up_for_a_relayed_peer_is_told_to_nobody() {
        let made_up = "[2001:db8::1]:1".parse().unwrap();
        assert_eq!(listens_at(made_up, Path::Direct), made_up);
        let told = listens_at(made_up, Path::Relayed { by: SecretKey::from_seed(&[1; 32]).public() });
        assert_eq!((told.port(), told.ip().is_unspecified()), (0, true));
    }

    // spec: NET-7, NET-2
    #[test]
    fn what_was_verified_is_known_by_all_its_bytes_and_not_for_ever() {
        let verified = Verified::default();
        let first = entry(0);
        assert_eq!(verified.read(first.bytes()).unwrap(), first);
        assert!(verified.knows(blake3::hash(first.bytes()).as_bytes()));
        assert_eq!(verified.read(first.bytes()).unwrap(), first);
        // The name of an entry does not cover its signature: the same one with another is not the same.
        let mut forged = first.bytes().to_vec();
        let signature = first.signed().signature.0;
        let at = forged.windows(64).position(|part| part == signature).unwrap();
        forged[at] ^= 1;
        assert_eq!(Entry::trusted(&forged).unwrap().id(), first.id());
        assert!(verified.read(&forged).is_err());
        assert!(!verified.knows(blake3::hash(&forged).as_bytes()));
        {
            let mut known = verified.0.lock().unwrap();
            for number in 1..VERIFIED as u64 {
                let mut hash = [0; 32];
                hash[..8].copy_from_slice(&number.to_le_bytes());
                known.all.insert(hash);
                known.by_age.push_back(hash);
            }
        }
        assert!(verified.read(entry(1).bytes()).is_ok());
        assert!(!verified.knows(blake3::hash(first.bytes()).as_bytes()), "the oldest made room");
        assert_eq!(verified.0.lock().unwrap().all.len(), VERIFIED);
    }
}
