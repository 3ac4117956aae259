//! The bytes of stream heads and frames.
//!
//! A stream starts with one byte that says its kind, then what that kind needs, fixed in length. On a channel's
//! stream frames follow, each a little-endian u32 length and that many bytes. Lengths are checked before anything
//! is allocated.

use crate::Channel;
use bytes::{Bytes, BytesMut};
use mesh_protocol::key::PublicKey;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Names a session by the side that speaks: the other side notices by it that the session it has is over here, be it
/// by a restart or because the connection was lost on one side only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Instance {
    /// This run of this peer.
    pub(crate) run: [u8; 12],
    /// Sessions with that member before this one, in this run.
    pub(crate) session: u32,
}

impl Instance {
    fn bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..12].copy_from_slice(&self.run);
        bytes[12..].copy_from_slice(&self.session.to_le_bytes());
        bytes
    }
}

/// Bytes of a follow's name.
pub(crate) const MAX_WHAT: usize = 1024;

/// The start of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Head {
    // One direction.
    Hello { instance: Instance },
    Gossip,
    Sync,
    Task { task: [u8; 32], attempt: u32 },
    // Request and answer.
    Blob { hash: [u8; 32], from_group: u64 },
    Follow { from: u64, what: Vec<u8> },
    Relay { to: PublicKey },
    Relayed { from: PublicKey },
}

const HELLO: u8 = 0;
const GOSSIP: u8 = 1;
const SYNC: u8 = 2;
const TASK: u8 = 3;
const BLOB: u8 = 16;
const FOLLOW: u8 = 17;
const RELAY: u8 = 18;
const RELAYED: u8 = 19;

/// The answer to a request: no (and no word about why), or yes; to one for a blob also: later, since others are served
/// first, it is being hashed or could not be read.
pub(crate) const NO: u8 = 0;
pub(crate) const YES: u8 = 1;
pub(crate) const LATER: u8 = 2;

impl Head {
    pub(crate) fn of(channel: Channel, instance: Instance) -> Self {
        match channel {
            Channel::Hello => Self::Hello { instance },
            Channel::Gossip => Self::Gossip,
            Channel::Sync => Self::Sync,
            Channel::Task { task, attempt } => Self::Task { task, attempt },
        }
    }

    /// The channel whose stream this starts, if it is one.
    pub(crate) fn channel(&self) -> Option<Channel> {
        Some(match *self {
            Self::Hello { .. } => Channel::Hello,
            Self::Gossip => Channel::Gossip,
            Self::Sync => Channel::Sync,
            Self::Task { task, attempt } => Channel::Task { task, attempt },
            _ => return None,
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello { instance } => [&[HELLO], &instance.bytes()[..]].concat(),
            Self::Gossip => vec![GOSSIP],
            Self::Sync => vec![SYNC],
            Self::Task { task, attempt } => [&[TASK], &task[..], &attempt.to_le_bytes()].concat(),
            Self::Blob { hash, from_group } => [&[BLOB], &hash[..], &from_group.to_le_bytes()].concat(),
            Self::Follow { from, what } => {
                // Checked where the request is made; cut rather than lie about the length.
                let what = &what[..what.len().min(MAX_WHAT)];
                let length = u16::try_from(what.len()).unwrap_or_default();
                [&[FOLLOW], &from.to_le_bytes()[..], &length.to_le_bytes(), what].concat()
            }
            Self::Relay { to } => [&[RELAY], &to.0[..]].concat(),
            Self::Relayed { from } => [&[RELAYED], &from.0[..]].concat(),
        }
    }

    /// Reads a head. [`io::ErrorKind::InvalidData`] if it makes no sense.
    pub(crate) async fn read<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<Self> {
        Ok(match stream.read_u8().await? {
            HELLO => {
                let run = array(stream).await?;
                Self::Hello { instance: Instance { run, session: stream.read_u32_le().await? } }
            }
            GOSSIP => Self::Gossip,
            SYNC => Self::Sync,
            TASK => Self::Task { task: array(stream).await?, attempt: stream.read_u32_le().await? },
            BLOB => Self::Blob { hash: array(stream).await?, from_group: stream.read_u64_le().await? },
            FOLLOW => {
                let from = stream.read_u64_le().await?;
                let length = usize::from(stream.read_u16_le().await?);
                if length > MAX_WHAT {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let mut what = vec![0; length];
                stream.read_exact(&mut what).await?;
                Self::Follow { from, what }
            }
            RELAY => Self::Relay { to: PublicKey(array(stream).await?) },
            RELAYED => Self::Relayed { from: PublicKey(array(stream).await?) },
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

async fn array<const N: usize, R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// What came instead of a frame.
#[derive(Debug)]
pub(crate) enum FrameError {
    /// The length is beyond the bound.
    Oversized,
    /// The stream broke, in the middle of a frame or before.
    Lost,
    /// Not a frame, but word that the next one comes on another connection.
    Moved,
}

/// In place of a frame's length: the channel goes on on another connection. It is stopped once it is read, so that the
/// sender knows when nothing sent here can come later than what it sends there.
pub(crate) const MOVED: u32 = u32::MAX;

/// The prefix of a frame.
pub(crate) fn frame_prefix(frame: &[u8]) -> Option<Bytes> {
    u32::try_from(frame.len()).ok().map(|n| Bytes::copy_from_slice(&n.to_le_bytes()))
}

/// Reads the length of the next frame; `None` at the stream's end.
// spec: NET-4
pub(crate) async fn read_length<R: AsyncRead + Unpin>(
    stream: &mut R,
    bound: usize,
) -> Result<Option<usize>, FrameError> {
    let mut prefix = [0; 4];
    match stream.read(&mut prefix).await {
        Ok(0) => return Ok(None),
        Ok(n) => stream.read_exact(&mut prefix[n..]).await.map_err(|_| FrameError::Lost)?,
        Err(_) => return Err(FrameError::Lost),
    };
    let length = u32::from_le_bytes(prefix);
    if length == MOVED {
        return Err(FrameError::Moved);
    }
    let length = usize::try_from(length).map_err(|_| FrameError::Oversized)?;
    if length > bound {
        return Err(FrameError::Oversized);
    }
    Ok(Some(length))
}

/// Reads the frame after its length.
pub(crate) async fn read_rest<R: AsyncRead + Unpin>(
    stream: &mut R,
    length: usize,
) -> Result<Bytes, FrameError> {
    let mut frame = BytesMut::zeroed(length);
    stream.read_exact(&mut frame).await.map_err(|_| FrameError::Lost)?;
    Ok(frame.freeze())
}

/// Reads a whole frame; `None` at the stream's end.
pub(crate) async fn read_frame<R: AsyncRead + Unpin>(
    stream: &mut R,
    bound: usize,
) -> Result<Option<Bytes>, FrameError> {
    match read_length(stream, bound).await? {
        Some(length) => read_rest(stream, length).await.map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// Reads from memory never wait.
    fn now<F: Future>(future: F) -> F::Output {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("a read from memory waited"),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn heads_are_these_bytes() {
        let key = PublicKey([0xab; 32]);
        let (a1, ab) = ("a1".repeat(32), "ab".repeat(32));
        for (head, bytes) in [
            (
                Head::Hello { instance: Instance { run: [7; 12], session: 258 } },
                format!("00{}02010000", "07".repeat(12)),
            ),
            (Head::Gossip, "01".to_owned()),
            (Head::Sync, "02".to_owned()),
            (Head::Task { task: [0xa1; 32], attempt: 258 }, format!("03{a1}02010000")),
            (Head::Blob { hash: [0xa1; 32], from_group: 3 }, format!("10{a1}0300000000000000")),
            (Head::Follow { from: 5, what: b"log".to_vec() }, "11050000000000000003006c6f67".to_owned()),
            (Head::Relay { to: key }, format!("12{ab}")),
            (Head::Relayed { from: key }, format!("13{ab}")),
        ] {
            assert_eq!(hex(&head.encode()), bytes);
            assert_eq!(now(Head::read(&mut &head.encode()[..])).unwrap(), head);
        }
    }

    // spec: NET-4
    #[test]
    fn a_length_beyond_the_bound_is_refused_before_it_is_believed() {
        let claim = [&(MOVED - 1).to_le_bytes()[..], b"x"].concat();
        assert!(matches!(now(read_frame(&mut &claim[..], 64)), Err(FrameError::Oversized)));
        assert!(matches!(now(read_frame(&mut &MOVED.to_le_bytes()[..], 64)), Err(FrameError::Moved)));
        let long = Head::Follow { from: 0, what: vec![1; MAX_WHAT] };
        let mut bytes = long.encode();
        bytes[9..11].copy_from_slice(&u16::MAX.to_le_bytes());
        assert_eq!(now(Head::read(&mut &bytes[..])).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn no_bytes_upset_the_decoders(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(head) = now(Head::read(&mut &bytes[..])) {
                prop_assert!(bytes.starts_with(&head.encode()));
            }
            let mut rest = &bytes[..];
            while let Ok(Some(frame)) = now(read_frame(&mut rest, 64)) {
                prop_assert!(frame.len() <= 64);
            }
        }
        #[test]
        fn frames_survive(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..8)) {
            let bytes: Vec<u8> = frames.iter().flat_map(|f| [&frame_prefix(f).unwrap()[..], f].concat()).collect();
            let mut rest = &bytes[..];
            let mut back = Vec::new();
            while let Some(frame) = now(read_frame(&mut rest, 64)).unwrap() {
                back.push(frame.to_vec());
            }
            prop_assert_eq!(back, frames);
        }
    }
}
