//! Who may take up room here. Every place taken is a guard; dropping it gives the place back.

use crate::Bounds;
use crate::conn::BUSY;
use crate::counters::Counts;
use crate::net::lock;
use crate::serve::Place;
use mesh_protocol::key::PublicKey;
use quinn::{Connection, VarInt};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Prefixes remembered for their rate. 1,024 are 128 KiB; beyond that those without connections are forgotten, and
/// a flood from so many prefixes meets Retry by its number of unfinished handshakes instead.
const PREFIXES: usize = 1024;

/// The part of an address that one party usually holds: an IPv4 /24 or an IPv6 /48. For what comes through a relay, whose
/// address this peer made up, the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Prefix {
    V4([u8; 3]),
    V6([u8; 6]),
    Relay([u8; 32]),
}

impl Prefix {
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }
}

/// So many a second, and as many at once.
#[derive(Debug)]
pub(crate) struct Bucket {
    left: f64,
    refilled: Instant,
}

impl Bucket {
    pub(crate) fn new(rate: u32) -> Self {
        Self { left: rate.into(), refilled: Instant::now() }
    }

    /// Takes one out, if there is one.
    pub(crate) fn take(&mut self, rate: u32) -> bool {
        let (now, rate) = (Instant::now(), f64::from(rate));
        self.left = rate.min(self.left + rate * now.duration_since(self.refilled).as_secs_f64());
        self.refilled = now;
        let some = self.left >= 1.0;
        if some {
            self.left -= 1.0;
        }
        some
    }

    /// Takes so much out, whether it is there or not, where at most twice the rate is. Says how long to wait until what
    /// was lent is made up for.
    pub(crate) fn lend(&mut self, wanted: u32, rate: u32, now: Instant) -> Option<Duration> {
        let rate = f64::from(rate).max(1.0);
        let gained = rate * now.saturating_duration_since(self.refilled).as_secs_f64();
        self.left = (2.0 * rate).min(self.left + gained) - f64::from(wanted);
        self.refilled = now;
        (self.left < 0.0).then(|| Duration::from_secs_f64(-self.left / rate))
    }
}

#[derive(Debug)]
struct PrefixUse {
    connections: usize,
    /// Handshakes it may still make now: with addresses that are proven, and with bare first packets. Apart, since the
    /// sender of those may be forged, and would use up the handshakes of somebody else.
    proven: Bucket,
    unproven: Bucket,
}

#[derive(Debug, Default)]
struct Table {
    connections: usize,
    half_open: usize,
    strangers: usize,
    prefixes: HashMap<Prefix, PrefixUse>,
    /// Connections of each key that have not joined its session, the oldest first.
    arriving: BTreeMap<PublicKey, Vec<Connection>>,
}

/// The book of places.
#[derive(Debug)]
pub(crate) struct Admission {
    bounds: Bounds,
    counts: Arc<Counts>,
    table: Mutex<Table>,
}

/// What to do with a first packet.
pub(crate) enum Verdict {
    Admit(Slot),
    /// Let the address prove itself first.
    Retry,
    Refuse,
}

impl Admission {
    pub(crate) fn new(bounds: Bounds, counts: Arc<Counts>) -> Arc<Self> {
        Arc::new(Self { bounds, counts, table: Mutex::default() })
    }

    /// A first packet came from `from`. `proven`: it has shown that it receives there.
    // spec: NET-4
    pub(crate) fn knock(self: &Arc<Self>, from: SocketAddr, proven: bool) -> Verdict {
        let mut table = lock(&self.table);
        if table.connections >= self.bounds.connections_total {
            self.counts.connections_total.one();
            return Verdict::Refuse;
        }
        if !proven && table.half_open >= self.bounds.half_open_before_retry {
            return Verdict::Retry;
        }
        if table.half_open >= self.bounds.half_open_total {
            self.counts.half_open.one();
            return Verdict::Refuse;
        }
        let prefix = self.prefix(from);
        if let Some(prefix) = prefix {
            let used = self.entry(&mut table, prefix);
            if used.connections >= self.bounds.connections_per_prefix {
                self.counts.connections_per_prefix.one();
                return Verdict::Refuse;
            }
            let handshakes = if proven { &mut used.proven } else { &mut used.unproven };
            if !handshakes.take(self.bounds.handshakes_per_prefix) {
                if !proven {
                    return Verdict::Retry;
                }
                self.counts.handshake_rate.one();
                return Verdict::Refuse;
            }
        }
        table.connections += 1;
        table.half_open += 1;
        let mut slot = Slot { admission: self.clone(), prefix: None, half_open: true };
        if proven {
            slot.take_prefix(&mut table, prefix);
        }
        Verdict::Admit(slot)
    }

    /// A first packet came through that relay. `None`: there is no place, or it brings too many.
    // spec: NET-4
    pub(crate) fn knock_relayed(self: &Arc<Self>, by: PublicKey) -> Option<Slot> {
        let mut table = lock(&self.table);
        let refused = if table.connections >= self.bounds.connections_total {
            &self.counts.connections_total
        } else if table.half_open >= self.bounds.half_open_total {
            &self.counts.half_open
        } else if !self.entry(&mut table, Prefix::Relay(by.0)).proven.take(self.bounds.handshakes_per_prefix)
        {
            &self.counts.handshake_rate
        } else {
            table.connections += 1;
            table.half_open += 1;
            return Some(Slot { admission: self.clone(), prefix: None, half_open: true });
        };
        refused.one();
        None
    }

    /// A place for a connection that this peer dials: bound by the total only, since it is its own wish.
    pub(crate) fn dial(self: &Arc<Self>) -> Option<Slot> {
        let mut table = lock(&self.table);
        if table.connections >= self.bounds.connections_total {
            self.counts.connections_total.one();
            return None;
        }
        table.connections += 1;
        Some(Slot { admission: self.clone(), prefix: None, half_open: false })
    }

    /// A place for one more connection of this key, until it has joined the key's session. The key is proven, so the
    /// newest is the one that counts: the oldest may be of a run that is dead.
    pub(crate) fn arrive(self: &Arc<Self>, peer: PublicKey, quic: &Connection) -> Arrival {
        let mut table = lock(&self.table);
        let arriving = table.arriving.entry(peer).or_default();
        if arriving.len() >= self.bounds.connections_per_peer {
            self.counts.connections_per_peer.one();
            arriving.remove(0).close(VarInt::from_u32(BUSY), b"too many connections of this key");
        }
        arriving.push(quic.clone());
        Arrival { admission: self.clone(), peer, id: quic.stable_id() }
    }

    /// A place for a stranger that dialled, `through` a relay perhaps.
    pub(crate) fn stranger(self: &Arc<Self>, through: Option<Place>) -> Option<StrangerSlot> {
        let mut table = lock(&self.table);
        if table.strangers >= self.bounds.strangers_total {
            self.counts.strangers_total.one();
            return None;
        }
        table.strangers += 1;
        Some(StrangerSlot { admission: self.clone(), _through: through })
    }

    fn prefix(&self, from: SocketAddr) -> Option<Prefix> {
        let exempt = self.bounds.loopback_exempt && from.ip().to_canonical().is_loopback();
        (!exempt).then(|| Prefix::of(from.ip()))
    }

    fn entry<'a>(&self, table: &'a mut Table, prefix: Prefix) -> &'a mut PrefixUse {
        if table.prefixes.len() >= PREFIXES && !table.prefixes.contains_key(&prefix) {
            table.prefixes.retain(|_, used| used.connections > 0);
        }
        table.prefixes.entry(prefix).or_insert_with(|| PrefixUse {
            connections: 0,
            proven: Bucket::new(self.bounds.handshakes_per_prefix),
            unproven: Bucket::new(self.bounds.handshakes_per_prefix),
        })
    }
}

/// One connection's place.
#[derive(Debug)]
pub(crate) struct Slot {
    admission: Arc<Admission>,
    prefix: Option<Prefix>,
    half_open: bool,
}

impl Slot {
    /// The handshake proved `from`. Only now does an address that sent a bare first packet count for its prefix:
    /// a forged sender could otherwise use up the prefix of someone else. False: its prefix had enough meanwhile.
    pub(crate) fn prove(&mut self, from: SocketAddr) -> bool {
        let admission = self.admission.clone();
        let Some(prefix) = admission.prefix(from).filter(|_| self.prefix.is_none()) else { return true };
        let mut table = lock(&admission.table);
        if admission.entry(&mut table, prefix).connections >= admission.bounds.connections_per_prefix {
            admission.counts.connections_per_prefix.one();
            return false;
        }
        self.take_prefix(&mut table, Some(prefix));
        true
    }

    /// The handshake is over.
    pub(crate) fn settle(&mut self) {
        if std::mem::take(&mut self.half_open) {
            lock(&self.admission.table).half_open -= 1;
        }
    }

    fn take_prefix(&mut self, table: &mut Table, prefix: Option<Prefix>) {
        if let Some(used) = prefix.and_then(|prefix| table.prefixes.get_mut(&prefix)) {
            used.connections += 1;
            self.prefix = prefix;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.settle();
        let mut table = lock(&self.admission.table);
        table.connections -= 1;
        if let Some(used) = self.prefix.and_then(|prefix| table.prefixes.get_mut(&prefix)) {
            used.connections -= 1;
        }
    }
}

/// One connection's place among those of its key that arrive.
#[derive(Debug)]
pub(crate) struct Arrival {
    admission: Arc<Admission>,
    peer: PublicKey,
    id: usize,
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut table = lock(&self.admission.table);
        if let Some(arriving) = table.arriving.get_mut(&self.peer) {
            arriving.retain(|quic| quic.stable_id() != self.id);
            if arriving.is_empty() {
                table.arriving.remove(&self.peer);
            }
        }
    }
}

/// One stranger's place.
#[derive(Debug)]
pub(crate) struct StrangerSlot {
    admission: Arc<Admission>,
    /// Its place among what comes through its relay, as long as nobody vouches for it.
    _through: Option<Place>,
}

impl Drop for StrangerSlot {
    fn drop(&mut self) {
        lock(&self.admission.table).strangers -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(bounds: Bounds) -> Arc<Admission> {
        Admission::new(bounds, Arc::default())
    }

    fn at(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), 1)
    }

    // spec: NET-4
    #[test]
    fn a_prefix_gets_its_share_and_others_theirs() {
        let admission = admission(Bounds { connections_per_prefix: 2, ..Bounds::default() });
        let mut held = Vec::new();
        for ip in ["10.0.0.1", "::ffff:10.0.0.2"] {
            let Verdict::Admit(slot) = admission.knock(at(ip), true) else { panic!("not admitted") };
            held.push(slot);
        }
        assert!(matches!(admission.knock(at("10.0.0.3"), true), Verdict::Refuse));
        assert_eq!(admission.counts.connections_per_prefix.get(), 1);
        assert!(matches!(admission.knock(at("10.0.1.1"), true), Verdict::Admit(_)));
        held.clear();
        assert!(matches!(admission.knock(at("10.0.0.3"), true), Verdict::Admit(_)));
    }

    // spec: NET-4
    #[test]
    fn a_forged_sender_takes_nothing_from_its_prefix() {
        let admission = admission(Bounds { connections_per_prefix: 1, ..Bounds::default() });
        let Verdict::Admit(mut forged) = admission.knock(at("10.0.0.1"), false) else {
            panic!("not admitted")
        };
        let Verdict::Admit(_honest) = admission.knock(at("10.0.0.2"), true) else { panic!("not admitted") };
        assert!(!forged.prove(at("10.0.0.1")), "only one of this prefix fits");
    }

    // spec: NET-4
    #[test]
    fn unfinished_handshakes_lead_to_retry_then_refusal() {
        let admission =
            admission(Bounds { half_open_before_retry: 1, half_open_total: 2, ..Bounds::default() });
        let Verdict::Admit(mut first) = admission.knock(at("127.0.0.1"), false) else {
            panic!("not admitted")
        };
        assert!(matches!(admission.knock(at("127.0.0.1"), false), Verdict::Retry));
        let Verdict::Admit(_second) = admission.knock(at("127.0.0.1"), true) else { panic!("not admitted") };
        assert!(matches!(admission.knock(at("127.0.0.1"), true), Verdict::Refuse));
        first.settle();
        assert!(matches!(admission.knock(at("127.0.0.1"), true), Verdict::Admit(_)));
    }

    // spec: NET-4
    #[test]
    fn what_comes_through_a_relay_is_half_open_and_comes_no_faster_than_from_a_prefix() {
        let bounds = Bounds { half_open_total: 2, handshakes_per_prefix: 3, ..Bounds::default() };
        let admission = admission(bounds);
        let (relay, other) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let mut first = admission.knock_relayed(relay).expect("not admitted");
        let _second = admission.knock_relayed(relay).expect("not admitted");
        assert!(admission.knock_relayed(relay).is_none());
        assert_eq!(admission.counts.half_open.get(), 1);
        first.settle();
        let mut third = admission.knock_relayed(relay).expect("not admitted");
        third.settle();
        assert!(admission.knock_relayed(relay).is_none());
        assert_eq!(admission.counts.handshake_rate.get(), 1);
        assert!(admission.knock_relayed(other).is_some());
    }

    // spec: NET-4
    #[test]
    fn a_prefix_that_hammers_must_prove_itself_and_is_then_refused() {
        let admission = admission(Bounds { handshakes_per_prefix: 1, ..Bounds::default() });
        assert!(matches!(admission.knock(at("10.0.0.1"), false), Verdict::Admit(_)));
        assert!(matches!(admission.knock(at("10.0.0.1"), false), Verdict::Retry));
        // Whoever sent the first packets may be somebody else.
        assert!(matches!(admission.knock(at("10.0.0.1"), true), Verdict::Admit(_)));
        assert!(matches!(admission.knock(at("10.0.0.1"), true), Verdict::Refuse));
        assert_eq!(admission.counts.handshake_rate.get(), 1);
    }

    // spec: NET-4
    #[test]
    fn what_comes_faster_than_it_may_waits_until_it_is_made_up_for() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut bucket = Bucket { left: 20.0, refilled: begun };
        assert_eq!(bucket.lend(20, 10, at(0)), None, "twice the rate at once");
        assert_eq!(bucket.lend(1, 10, at(0)), Some(Duration::from_millis(100)));
        assert_eq!(bucket.lend(4, 10, at(100)), Some(Duration::from_millis(400)));
        assert_eq!(bucket.lend(1, 10, at(1_000)), None);
        // However long nothing came, no more than twice the rate is there.
        assert_eq!(bucket.lend(21, 10, at(100_000)), Some(Duration::from_millis(100)));
    }
}
