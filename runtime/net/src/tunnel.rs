//! QUIC packets carried inside a stream of another QUIC connection.
//!
//! One socket without a wire under it: each tunnel has a made-up address, packets sent to that address go into its
//! stream, packets from its stream come from that address. The endpoint on top runs the same handshake as on the
//! real socket, so whoever forwards the stream can read and change nothing.

use crate::Bounds;
use crate::counters::Counts;
use crate::net::{BindError, lock};
use crate::serve::Place;
use crate::tls::{self, Identity};
use bytes::Bytes;
use mesh_protocol::key::PublicKey;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    AsyncUdpSocket, Endpoint, EndpointConfig, RecvStream, SendStream, TokioRuntime, TransportConfig,
    UdpPoller,
};
use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{mpsc, watch};

/// The size of inner packets. 4,096: a stream has no small MTU, and fewer packets cost less; still small enough that
/// one does not hold up the others.
const PACKET: u16 = 4096;
/// Packets that wait in either direction. 256 are 1 MiB, a stream's window; more are dropped, as a network would.
const QUEUE: usize = 256;
/// How long a tunnel waits for the connection it is for.
const UNUSED: Duration = Duration::from_secs(20);
/// How long a tunnel carries on after its connection, for the goodbye.
const LINGER: Duration = Duration::from_millis(500);

/// All tunnels of this peer.
#[derive(Debug)]
pub(crate) struct Tunnels {
    socket: Arc<Socket>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Tunnel {
    outgoing: mpsc::Sender<Bytes>,
    /// For the one connection that this tunnel carries.
    ticket: Option<Ticket>,
}

/// The right to one connection in a tunnel, which ends when `closed` is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    /// The relay.
    pub(crate) by: PublicKey,
    pub(crate) closed: watch::Receiver<bool>,
    /// What it takes up of what may come through that relay.
    pub(crate) place: Option<Place>,
}

/// A tunnel's end of its stream.
pub(crate) struct End {
    pub(crate) addr: SocketAddr,
    socket: Arc<Socket>,
    counts: Arc<Counts>,
    outgoing: mpsc::Receiver<Bytes>,
    closed: watch::Sender<bool>,
}

impl Drop for End {
    fn drop(&mut self) {
        lock(&self.socket.tunnels).remove(&self.addr);
        self.closed.send_replace(true);
    }
}

impl Tunnels {
    pub(crate) fn new(counts: Arc<Counts>) -> Arc<Self> {
        let (arrived, incoming) = mpsc::channel(QUEUE);
        let socket = Arc::new(Socket {
            tunnels: Mutex::default(),
            arrived,
            incoming: Mutex::new(incoming),
            made: AtomicU64::new(0),
            counts: counts.clone(),
        });
        Arc::new(Self { socket, counts })
    }

    /// The endpoint on top of the tunnels.
    pub(crate) fn endpoint(&self, identity: &Identity, bounds: &Bounds) -> Result<Endpoint, BindError> {
        let failed = |source| BindError::Socket { addr: self.socket.address(0), source };
        let mut config = EndpointConfig::default();
        config.max_udp_payload_size(PACKET).map_err(|e| failed(io::Error::other(e)))?;
        let server = identity.server(Arc::new(transport(bounds)))?;
        let runtime = Arc::new(TokioRuntime);
        Endpoint::new_with_abstract_socket(config, Some(server), self.socket.clone(), runtime).map_err(failed)
    }

    /// A new tunnel over what that peer forwards.
    pub(crate) fn open(&self, by: PublicKey, place: Option<Place>) -> End {
        let (outgoing, queued) = mpsc::channel(QUEUE);
        let (closed, closes) = watch::channel(false);
        let ticket = Ticket { by, closed: closes, place };
        let addr = self.socket.address(self.socket.made.fetch_add(1, Ordering::Relaxed) + 1);
        lock(&self.socket.tunnels).insert(addr, Tunnel { outgoing, ticket: Some(ticket) });
        End { addr, socket: self.socket.clone(), counts: self.counts.clone(), outgoing: queued, closed }
    }

    /// The ticket of a tunnel. Given out once: a tunnel carries one connection.
    pub(crate) fn of(&self, addr: SocketAddr) -> Option<Ticket> {
        lock(&self.socket.tunnels).get_mut(&addr)?.ticket.take()
    }
}

/// As outside, with larger packets.
pub(crate) fn transport(bounds: &Bounds) -> TransportConfig {
    let mut transport = tls::transport(bounds);
    transport.initial_mtu(PACKET).mtu_discovery_config(None);
    transport
}

impl End {
    /// Carries packets until the stream or the connection ends.
    pub(crate) async fn run(mut self, mut send: SendStream, mut recv: RecvStream) {
        let (addr, socket, counts, closed) =
            (self.addr, self.socket.clone(), self.counts.clone(), self.closed.clone());
        let inward = async {
            while let Ok(length) = recv.read_u16_le().await {
                if length == 0 || length > PACKET {
                    counts.tunnel_dropped.one();
                    return;
                }
                let mut packet = vec![0; usize::from(length)];
                if recv.read_exact(&mut packet).await.is_err()
                    || socket.arrived.send((addr, packet.into())).await.is_err()
                {
                    return;
                }
            }
        };
        let outward = async {
            while let Some(packet) = self.outgoing.recv().await {
                // The endpoint makes none larger than PACKET.
                let length = u16::try_from(packet.len()).unwrap_or_default().to_le_bytes();
                if send.write_all_chunks(&mut [Bytes::copy_from_slice(&length), packet]).await.is_err() {
                    return;
                }
            }
        };
        let ended = async {
            if tokio::time::timeout(UNUSED, closed.closed()).await.is_err() {
                // A ticket that nobody took by now is void; one that was taken is waited for.
                if let Some(tunnel) = lock(&socket.tunnels).get_mut(&addr) {
                    tunnel.ticket = None;
                }
                closed.closed().await;
            }
            tokio::time::sleep(LINGER).await;
        };
        tokio::select! {
            () = inward => {}
            () = outward => {}
            () = ended => {}
        }
        let _ = send.finish();
    }
}

#[derive(Debug)]
struct Socket {
    tunnels: Mutex<HashMap<SocketAddr, Tunnel>>,
    arrived: mpsc::Sender<(SocketAddr, Bytes)>,
    incoming: Mutex<mpsc::Receiver<(SocketAddr, Bytes)>>,
    made: AtomicU64,
    counts: Arc<Counts>,
}

impl Socket {
    /// From the range for documentation, so that it can be no real peer's.
    #[allow(clippy::unused_self, reason = "reads as what it is: an address on this socket")]
    fn address(&self, number: u64) -> SocketAddr {
        let ip = Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) | u128::from(number));
        SocketAddr::new(ip.into(), 1)
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let tunnel = lock(&self.tunnels).get(&transmit.destination).map(|tunnel| tunnel.outgoing.clone());
        // Nowhere to go, or too much at once: lost, and QUIC sends it again if it matters.
        if tunnel.is_none_or(|out| out.try_send(Bytes::copy_from_slice(transmit.contents)).is_err()) {
            self.counts.tunnel_dropped.one();
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut incoming = lock(&self.incoming);
        let mut filled = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta.iter_mut()) {
            match incoming.poll_recv(cx) {
                Poll::Ready(Some((addr, packet))) => {
                    let len = packet.len().min(buf.len());
                    buf[..len].copy_from_slice(&packet[..len]);
                    *meta = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: None };
                    filled += 1;
                }
                // The sender is in this socket, so there is always one.
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if filled > 0 { Poll::Ready(Ok(filled)) } else { Poll::Pending }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address(0))
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
