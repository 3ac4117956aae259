//! What others may take up here, and why that much.

use std::time::Duration;

/// Every bound a remote runs into. The defaults suit a home machine on a home line.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Connections in all. 256: a community's active peers several times over, at under 0.5 MB each when quiet.
    pub connections_total: usize,
    /// Connections of one key that have not joined its session yet; a further one takes the place of the oldest. 2:
    /// both sides dialled at once. A session holds four at most, dialled by either side, directly or over a relay.
    pub connections_per_peer: usize,
    /// Connections from one /24 or /48. 8: a household or an office; one landlord of addresses cannot fill the
    /// table. Does not bind what this peer dialled itself.
    pub connections_per_prefix: usize,
    /// Leave 127.0.0.0/8 and ::1 out of the two bounds per prefix. True: whoever is there is on this machine.
    pub loopback_exempt: bool,
    /// Unfinished handshakes after which an address must first prove itself (Retry), before any signature work.
    /// 8: more at once is rare for honest peers, and Retry costs those one round trip.
    pub half_open_before_retry: usize,
    /// Unfinished handshakes after which even proven addresses are turned away. 64: at 10 s each, about 6 a second.
    pub half_open_total: usize,
    /// Handshakes per second from one prefix, after which Retry and then refusal. 20: a house that comes back after
    /// a power cut, and about 1 % of a core in signatures.
    pub handshakes_per_prefix: u32,
    /// How long a handshake with its preface may take. 10 s: a satellite line with losses.
    pub handshake_time: Duration,
    /// Strangers connected at once. 32: joining is rare; the rest of the table stays for members.
    pub strangers_total: usize,
    /// How long a peer that dialled us may stay a stranger. 20 s: a hello and its answer, even with a slow disk.
    pub stranger_stay: Duration,
    /// Frames per second from a stranger, the same number at once. 16: a hello takes two or three.
    pub stranger_frames: u32,
    /// Frames per second from a member, twice as many at once; what comes faster waits. 10,000: 500 tasks a second with
    /// their entries are 3,000, 1,024 attempts that all tell of their progress 4,000, and logs that are compared 340.
    pub member_frames: u32,
    /// Bytes per second of gossip from a member, twice as many at once; what comes faster waits. 1 MiB: twice what is
    /// taken of it, and so much can be verified beside everything else.
    pub member_gossip: u32,
    /// Bytes a stranger may have in flight. 128 KiB: two frames.
    pub stranger_window: u32,
    /// Requests that a member may have open: blobs, follows, relayed connections. 48: the follows of an honest peer, 4
    /// blobs, 4 relayed connections, and 6 that it may not know yet to have back, since that is told in steps of an
    /// eighth. Each costs a task and a buffer.
    pub requests: u32,
    /// Streams of one peer that are followed at once; the next ones wait. 32: both streams of each task on a device with
    /// 16 places. Fewer than `requests`, so that whatever is followed, results can be fetched.
    pub follows: usize,
    /// Channels that a member may have open. 1,200: three, and one for each attempt of a device with as many places as
    /// there can be (1,024), since what is given back is told in steps of an eighth. Each costs a task; what it takes
    /// up beside that, [`window`](Self::window) and [`unfinished`](Self::unfinished) bound.
    pub channels: u32,
    /// Bytes of one frame. 64 KiB: the largest entry (4 KiB) many times; bigger things are blobs. Who has longer frames
    /// raises it, as `mesh up` does to 128 KiB; the bounds that count in frames are then of half as many.
    pub frame: usize,
    /// Bytes of a member's frames that have begun to come and not ended. 16 MiB: twice what can be in flight, so that an
    /// honest peer whose frames all come at once stays below it; a bad one could else begin the longest frame on every
    /// channel.
    pub unfinished: usize,
    /// Bytes a member may have in flight on all its streams, received but not yet taken. 8 MiB: a full line of
    /// 1 Gbit/s at 60 ms, and 2 GB if all 256 were members gone bad at once.
    pub window: u32,
    /// The same for one stream. 1 MiB: one blocked stream leaves seven eighths to the others.
    pub stream_window: u32,
    /// Bytes queued to send on one channel. 1 MiB: sixteen largest frames.
    pub queue_per_channel: usize,
    /// Bytes queued to send on all task channels of one peer. 4 MiB. Hello, gossip and sync have their own
    /// [`queue_per_channel`](Self::queue_per_channel) each, so that tasks cannot starve them.
    pub queue_per_peer: usize,
    /// Channels to one peer that are being written, or were finished and wait for the peer to take what was said.
    /// 1,200: as many as the peer lets be open at once. Those for tasks are refused beyond it.
    pub channels_per_peer: usize,
    /// Events waiting for the caller. 256 of the largest frames are 16 MiB; a full queue slows the senders down.
    pub events: usize,
    /// Blobs served at once, to all. 16: a disk reads no faster for more.
    pub served_at_once: usize,
    /// Blobs served at once to all peers of one owner. 4: nobody takes all 16, with however many devices.
    pub served_per_owner: usize,
    /// How long a request for a blob waits for a place, and then for the blob to be hashed if it was not handed out
    /// before, until it is told to come again. 2 s each: a blob of usual size goes in that time, and whoever asks has no place of its own taken up by one who is busy.
    pub serve_wait: Duration,
    /// How long a blob's or follow's other side may not move before it is given up. 30 s: the idle timeout.
    pub stall: Duration,
    /// Bytes of a blob that must come in so long, or its sender counts as not moving. 32 KiB, 1 KiB a second: less than
    /// any line gives to a fourth of its transfers.
    pub slowest: u64,
    /// Connections forwarded between others at once. 32: each holds two streams and up to 2 MiB.
    pub circuits: usize,
    /// Connections forwarded at the wish of one owner's peers. 4: nobody takes all 32, with however many devices.
    pub circuits_per_owner: usize,
    /// Connections that come through relays, of which nobody knows yet that a member is at the other end. 32: as many
    /// as there may be strangers.
    pub arriving: usize,
    /// Of those, through one relay. 4: no relay takes all the places of strangers, and a handshake takes a few round
    /// trips, so that those who dial at once wait for little.
    pub arriving_per_relay: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_total: 256,
            connections_per_peer: 2,
            connections_per_prefix: 8,
            loopback_exempt: true,
            half_open_before_retry: 8,
            half_open_total: 64,
            handshakes_per_prefix: 20,
            handshake_time: Duration::from_secs(10),
            strangers_total: 32,
            stranger_stay: Duration::from_secs(20),
            stranger_frames: 16,
            member_frames: 10_000,
            member_gossip: 1 << 20,
            stranger_window: 128 << 10,
            requests: 48,
            follows: 32,
            channels: 1200,
            unfinished: 16 << 20,
            frame: 64 << 10,
            window: 8 << 20,
            stream_window: 1 << 20,
            queue_per_channel: 1 << 20,
            queue_per_peer: 4 << 20,
            channels_per_peer: 1200,
            events: 256,
            served_at_once: 16,
            served_per_owner: 4,
            serve_wait: Duration::from_secs(2),
            stall: Duration::from_secs(30),
            slowest: 32 << 10,
            circuits: 32,
            circuits_per_owner: 4,
            arriving: 32,
            arriving_per_relay: 4,
        }
    }
}
