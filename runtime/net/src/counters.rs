//! Each refusal counted under its reason, so that an attack, or a bound set too low, can be seen.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often each thing was refused or lost since the start.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        #[derive(Debug, Default)]
        pub(crate) struct Counts { $(pub(crate) $name: Count,)* }

        impl Counts {
            pub(crate) fn snapshot(&self) -> Counters {
                Counters { $($name: self.$name.get(),)* }
            }
        }

        impl Counters {
            /// Every counter with its name.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    /// Connections turned away because the table was full.
    connections_total,
    /// Connections turned away because that key had enough or came with others.
    connections_per_peer,
    /// Connections turned away because that address prefix had enough.
    connections_per_prefix,
    /// Handshakes turned away because too many were unfinished.
    half_open,
    /// Handshakes turned away because that prefix made too many a second.
    handshake_rate,
    /// Addresses that had to prove themselves first.
    retries_sent,
    /// Handshakes that failed: another protocol, a bad signature, no answer.
    bad_handshakes,
    /// Dialled addresses where another key answered.
    wrong_keys,
    /// Strangers turned away because enough were here.
    strangers_total,
    /// Strangers that were not made members in time.
    strangers_timed_out,
    /// Streams that a stranger may not open.
    strangers_streams,
    /// Strangers that sent frames too fast.
    strangers_frames,
    /// Streams whose head made no sense.
    bad_streams,
    /// Frames longer than the bound.
    oversized_frames,
    /// Members that began more frames than they ended.
    unfinished_frames,
    /// Frames not taken for sending because the queue was full.
    queue_full,
    /// Channels that the other side refused to read; what was queued on them is lost.
    channels_stopped,
    /// Blobs and follows not handed out.
    not_served,
    /// Requests for blobs that were told to come again, since others were served first, it was
    /// being hashed or could not be read.
    served_later,
    /// Blobs that came with bytes that do not belong to their hash.
    lying_blobs,
    /// Relay wishes refused: not willing, not a member, not reachable, too many.
    relay_refused,
    /// Connections through a relay turned away because too many unknown ones came through it.
    arrivals_refused,
    /// Relayed connections cut because the day's bytes were used up.
    relay_capped,
    /// Bytes forwarded for others.
    relay_bytes,
    /// Relayed packets thrown away because their tunnel was full or their length made no sense.
    tunnel_dropped,
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn one(&self) {
        self.add(1);
    }
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
