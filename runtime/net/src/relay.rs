//! Two peers that reach each other only through a third.
//!
//! The dialling peer asks the relay on a stream (`relay{to}`), the relay asks the other peer on a stream of its own
//! (`relayed{from}`), and then copies bytes between the two, which are packets of a connection of their own. The
//! relay sees who, when and how much.

use crate::conn::{self, Origin};
use crate::net::{Shared, lock, own_slot};
use crate::wire::{Head, NO, YES};
use crate::{Config, Path, Standing, dial, tls, tunnel};
use mesh_protocol::key::PublicKey;
use quinn::{RecvStream, SendStream};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the other peer may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// How long one that comes through a relay waits for those before it. 5 s: half of what the relay waits, and long enough
/// for all who dial a peer that was away.
const ROOM: Duration = Duration::from_secs(5);
/// Copied at once.
const PIECE: usize = 64 << 10;

/// What this peer gives as a relay.
#[derive(Debug)]
pub(crate) struct Relay {
    per_day: u64,
    circuits: usize,
    circuits_per_owner: usize,
    used: Mutex<Used>,
}

#[derive(Debug)]
struct Used {
    since: Instant,
    bytes: BTreeMap<PublicKey, u64>,
    circuits: BTreeMap<PublicKey, usize>,
}

/// A place for one pair of peers.
struct Circuit<'a> {
    relay: &'a Relay,
    /// Of who dialled, whose place it is, and of who was dialled: each sends by its own share.
    owners: (PublicKey, PublicKey),
}

impl Drop for Circuit<'_> {
    fn drop(&mut self) {
        let mut used = lock(&self.relay.used);
        if let Some(n) = used.circuits.get_mut(&self.owners.0) {
            *n -= 1;
            if *n == 0 {
                used.circuits.remove(&self.owners.0);
            }
        }
    }
}

impl Relay {
    pub(crate) fn new(config: &Config) -> Self {
        let used = Used { since: Instant::now(), bytes: BTreeMap::new(), circuits: BTreeMap::new() };
        Self {
            per_day: config.relay_bytes,
            circuits: config.bounds.circuits,
            circuits_per_owner: config.bounds.circuits_per_owner,
            used: Mutex::new(used),
        }
    }

    /// Takes bytes from the day's share for whoever sends them. False: no more are theirs. One owner's devices together get
    /// a quarter of what others have left, so that nobody uses up everybody's day.
    // spec: NET-4, NET-6
    fn take(&self, owner: PublicKey, bytes: u64) -> bool {
        let mut used = lock(&self.used);
        if used.since.elapsed() >= DAY {
            (used.since, used.bytes) = (Instant::now(), BTreeMap::new());
        }
        let mine = used.bytes.get(&owner).copied().unwrap_or_default();
        let others = used.bytes.values().fold(0, |sum: u64, of| sum.saturating_add(*of)).saturating_sub(mine);
        let sum = mine.saturating_add(bytes);
        if sum > self.per_day.saturating_sub(others) / 4 {
            return false;
        }
        used.bytes.insert(owner, sum);
        true
    }

    /// One of the places of all devices of whoever dials. `mine`: whose relay it is, who has them all.
    // spec: NET-4, NET-6
    fn circuit(&self, owners: (PublicKey, PublicKey), mine: PublicKey) -> Option<Circuit<'_>> {
        if self.per_day == 0 {
            return None;
        }
        let mut used = lock(&self.used);
        if used.circuits.values().sum::<usize>() >= self.circuits {
            return None;
        }
        let own = used.circuits.entry(owners.0).or_default();
        if owners.0 != mine && *own >= self.circuits_per_owner {
            return None;
        }
        *own += 1;
        Some(Circuit { relay: self, owners })
    }
}

/// The relay's part: forwards between `from`, whose stream this is, and `to`.
// spec: NET-6
pub(crate) async fn forward(
    shared: &Arc<Shared>,
    from: PublicKey,
    to: PublicKey,
    send: &mut SendStream,
    recv: &mut RecvStream,
) {
    let Some((circuit, (mut far_send, mut far_recv))) = arrange(shared, from, to).await else {
        shared.counts.relay_refused.one();
        let _ = send.write_all(&[NO]).await;
        let _ = send.finish();
        return;
    };
    // Whoever leaves no room even for this would hold the circuit for good.
    // spec: NET-4
    let told = tokio::time::timeout(shared.config.bounds.stall, send.write_all(&[YES])).await;
    if !matches!(told, Ok(Ok(()))) {
        return;
    }
    tokio::select! {
        () = copy(shared, circuit.owners.0, recv, &mut far_send) => {}
        () = copy(shared, circuit.owners.1, &mut far_recv, send) => {}
    }
    // Both streams end with this; what is under way is lost, which packets may be.
    let _ = far_send.finish();
    let _ = send.finish();
}

async fn arrange(
    shared: &Arc<Shared>,
    from: PublicKey,
    to: PublicKey,
) -> Option<(Circuit<'_>, (SendStream, RecvStream))> {
    let of = shared.clone();
    let me = shared.identity.key;
    let owners = move || ((of.provider.owner(from), of.provider.owner(to)), of.provider.owner(me));
    let (owners, mine) = tokio::task::spawn_blocking(owners).await.ok()?;
    let circuit = shared.relay.circuit(owners, mine)?;
    let far = shared.session(to).filter(|far| far.standing() == Standing::Member)?;
    let conn = far.active.borrow().clone()?;
    // Relays do not chain: nobody's bytes are forwarded twice.
    if to == from || !conn.is_direct() {
        return None;
    }
    let ask = async {
        let (mut send, mut recv) = conn.quic.open_bi().await.ok()?;
        send.write_all(&Head::Relayed { from }.encode()).await.ok()?;
        (recv.read_u8().await.ok()? == YES).then_some((send, recv))
    };
    Some((circuit, tokio::time::timeout(ANSWER, ask).await.ok()??))
}

/// Until it ends, or is silent: both ends of a connection that lives say so more often.
// spec: NET-4
async fn copy(shared: &Shared, owner: PublicKey, from: &mut RecvStream, to: &mut SendStream) {
    let stall = shared.config.bounds.stall;
    while let Ok(Ok(Some(chunk))) = tokio::time::timeout(stall, from.read_chunk(PIECE, true)).await {
        let bytes = chunk.bytes.len() as u64;
        if !shared.relay.take(owner, bytes) {
            shared.counts.relay_capped.one();
            return;
        }
        if !matches!(tokio::time::timeout(stall, to.write_chunk(chunk.bytes)).await, Ok(Ok(()))) {
            return;
        }
        shared.counts.relay_bytes.add(bytes);
    }
}

/// The far peer's part: somebody comes through that relay. Who it is, the handshake inside tells.
// spec: NET-4
pub(crate) async fn arrive(
    shared: &Arc<Shared>,
    by: PublicKey,
    from: PublicKey,
    mut send: SendStream,
    recv: RecvStream,
) {
    tracing::debug!(%by, %from, "a relayed connection arrives");
    let Ok(Some(place)) = tokio::time::timeout(ROOM, shared.arriving.take(by)).await else {
        shared.counts.arrivals_refused.one();
        let _ = send.write_all(&[NO]).await;
        let _ = send.finish();
        return;
    };
    let end = shared.tunnels.open(by, Some(place));
    if send.write_all(&[YES]).await.is_ok() {
        end.run(send, recv).await;
    }
}

/// The dialling peer's part.
// spec: NET-6
pub(crate) async fn dial(shared: &Arc<Shared>, peer: PublicKey, by: PublicKey) -> Result<(), String> {
    let relay = shared.active(by).ok_or_else(|| "the relay is not connected".to_owned())?;
    if !relay.is_direct() || !shared.is_member(by) {
        return Err("the relay is no direct member".to_owned());
    }
    let ask = async {
        let (mut send, mut recv) = relay.quic.open_bi().await.map_err(|e| e.to_string())?;
        send.write_all(&Head::Relay { to: peer }.encode()).await.map_err(|e| e.to_string())?;
        match recv.read_u8().await {
            Ok(YES) => Ok((send, recv)),
            _ => Err("the relay refused".to_owned()),
        }
    };
    let (send, recv) =
        tokio::time::timeout(ANSWER, ask).await.map_err(|_| "the relay did not answer".to_owned())??;
    let end = shared.tunnels.open(by, None);
    let addr = end.addr;
    let ticket = shared.tunnels.of(addr).ok_or_else(|| "the tunnel is gone".to_owned())?;
    tokio::spawn(end.run(send, recv));
    let transport = Arc::new(tunnel::transport(&shared.config.bounds));
    let client = shared.identity.client(peer, transport).map_err(|e| e.to_string())?;
    let connecting = shared.relayed.connect_with(client, addr, tls::NAME).map_err(|e| e.to_string())?;
    let quic = match tokio::time::timeout(shared.config.bounds.handshake_time, connecting).await {
        Ok(Ok(quic)) => quic,
        Ok(Err(e)) => return Err(dial::explain(shared, e)),
        Err(_) => return Err("no answer".to_owned()),
    };
    let origin = Origin {
        dialled: true,
        path: Path::Relayed { by },
        tunnel: Some(ticket.closed),
        slot: own_slot(shared)?,
        through: None,
    };
    conn::establish(shared, quic, origin).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: NET-4, NET-6
    #[test]
    fn nobody_uses_up_the_bytes_of_all_others_for_a_day() {
        let key = |n| PublicKey([n; 32]);
        let used = Used { since: Instant::now(), bytes: BTreeMap::new(), circuits: BTreeMap::new() };
        let relay = Relay { per_day: 1_600, circuits: 1, circuits_per_owner: 1, used: Mutex::new(used) };
        assert!((0..4).all(|_| relay.take(key(1), 100)));
        assert!(!relay.take(key(1), 1), "a quarter");
        assert!((0..3).all(|_| relay.take(key(2), 100)) && !relay.take(key(2), 1), "a quarter of the rest");
        let sum: u64 = (0..=255).map(|n| (0..400).filter(|_| relay.take(key(n), 1)).count() as u64).sum();
        assert!((800..=900).contains(&sum), "{sum}");
    }
}
