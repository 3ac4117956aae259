//! What peers say to each other, by the kind of stream it travels on. Bytes of modules, inputs and outputs travel as
//! blobs and are not here.
// spec: NET-3, ARC-6

use crate::ad::SignedAd;
use crate::canonical::{self, DecodeError};
use crate::ids::{CommunityId, Digest, EntryId, TaskId};
use crate::invite::{DeviceCert, DeviceRequest, JoinRequest};
use crate::key::{PublicKey, Signature};
use crate::ledger::{Effect, MAX_ENTRY, Statement, Tip};
use crate::limits::{MAX_BYTES, MAX_DURATION_MS};
use crate::reason::Reason;
use crate::receipt::SignedReceipt;
use crate::task::{Blob, SignedTask};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Version of all frames; said first of all in [`HelloFrame::Hello`].
pub const VERSION: u8 = 1;
/// Most bytes of any frame.
pub const MAX_FRAME: usize = 128 * 1024;
/// Most addresses of one peer that are told.
pub const MAX_ADDRS: usize = 8;
/// Most peers told at once.
pub const MAX_PEERS: usize = 64;
/// Most peers asked for at once.
pub const MAX_SOUGHT: usize = 16;
/// Most entries that come with an offer: the submission, the delegation and a few more.
pub const MAX_OFFER_ENTRIES: usize = 8;
/// Most tips in one frame: they fill it.
pub const MAX_TIPS: usize = 1000;
/// Longest lease in milliseconds: the longest duration, the longest grace that rules may give, and a day.
pub const MAX_LEASE_MS: u64 = MAX_DURATION_MS + 8 * 24 * 3_600_000;
/// Most bytes of a task's own words for how far it is.
pub const MAX_NOTE: usize = 256;

/// An attempt at a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttemptId {
    /// Which task.
    pub task: TaskId,
    /// Which try, from 1.
    pub attempt: u32,
}

/// Where a peer was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerAddrs {
    /// Which peer.
    pub peer: PublicKey,
    /// Where.
    pub addrs: Vec<SocketAddr>,
}

/// On the stream on which peers meet. A stranger may say nothing but the first four.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HelloFrame {
    /// Said first by both sides.
    Hello {
        /// [`VERSION`].
        version: u8,
        /// Which community; all zeros if none yet.
        community: CommunityId,
        /// Where this peer thinks it can be dialled.
        addrs: Vec<SocketAddr>,
    },
    /// A ticket's holder asks to become a member.
    Join(Box<JoinRequest>),
    /// A ticket's holder asks to become a member's device.
    JoinDevice(Box<DeviceRequest>),
    /// What became of the request to join.
    JoinAnswer(JoinAnswer),
    /// What the sender has and offers now.
    Ad(Box<SignedAd>),
    /// Where other peers were reached.
    Peers(Vec<PeerAddrs>),
    /// How long is my log, as far as you know? Asked after an unclean start.
    TipQuery,
    /// The end of your log as I know it; none if I know nothing of it.
    TipAnswer(Option<Tip>),
    /// Where are these? Answered with [`HelloFrame::Peers`] by whoever knows of some.
    Seek(Vec<PublicKey>),
}

/// What became of a request to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinAnswer {
    /// You are in, by this entry.
    Admitted(EntryId),
    /// A member vouched for you; one more must.
    Pending,
    /// Your device is certified.
    Device(Box<DeviceCert>),
    /// No.
    Refused(JoinRefusal),
    /// This peer cannot write entries now. Whoever asks again is let in when it can.
    NotYet,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum JoinRefusal {
    /// The ticket is not one of this peer's.
    #[error("the ticket is not known here; ask for a new one")]
    UnknownTicket,
    /// The ticket was used.
    #[error("the ticket was used before; ask for a new one")]
    Used,
    /// The ticket is too old.
    #[error("the ticket has expired; ask for a new one")]
    Expired,
    /// The request does not hold.
    #[error("the request's signatures do not hold")]
    Invalid,
    /// The peer has not yet the right to vouch.
    #[error("the member who made the ticket may not vouch for others")]
    NotEntitled,
    /// The device's key does not count: its log forked, it was revoked, or it is somebody else's.
    #[error(
        "this device's key does not count any more; run `mesh init` in a new --home with the same user key"
    )]
    Device,
    /// The founder ended the user's membership.
    // spec: NET-2
    #[error(
        "the founder ended this user's membership, and no device with its user key comes in again; whoever is invited \
         anew comes with new keys: `mesh init` in a new --home"
    )]
    Expelled,
    /// Such a name would be taken for somebody else's key, or for somebody else's name.
    #[error(
        "a name of eight or more digits 0 to 9 and a to f, one that begins with -, and one with characters that nobody \
         sees, is let in nowhere; run `mesh init` with another --name or --device-name in a new --home"
    )]
    Name,
}

/// On the stream on which logs are compared.
// spec: LED-4
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncFrame {
    /// The sender's logs whose authors' keys begin with `prefix`, as one hash. Answered with the same for sixteen
    /// longer prefixes, or with the tips, or with [`SyncFrame::Same`].
    Digest {
        /// Half-bytes that the keys begin with.
        prefix: Vec<u8>,
        /// How many logs.
        logs: u64,
        /// Hash of their tips.
        digest: Digest,
    },
    /// Nothing differs within `prefix`.
    Same {
        /// Half-bytes that the keys begin with.
        prefix: Vec<u8>,
    },
    /// All tips of the sender's logs within `prefix`. The receiver sends what the sender lacks, and asks for what it
    /// lacks itself.
    Tips {
        /// Half-bytes that the keys begin with.
        prefix: Vec<u8>,
        /// The tips.
        tips: Vec<Tip>,
    },
    /// Send me entries from these on.
    Want(Vec<(PublicKey, u64)>),
    /// Entries of any logs, each after the one before it in its log.
    Entries(Vec<Vec<u8>>),
}

/// On the stream of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskFrame {
    /// The owner offers an attempt.
    Offer(Box<Offer>),
    /// The executing peer takes it, and will stop by itself when the lease ends.
    Accepted,
    /// The executing peer does not take it.
    Refused(Reason),
    /// The owner is there and renews the lease.
    Renew {
        /// Milliseconds from receipt.
        lease_ms: u64,
    },
    /// The executing peer is there; how far the attempt is.
    Beat(Beat),
    /// The task saved its state.
    Checkpoint {
        /// Counted from 1.
        number: u32,
        /// The state.
        blob: Blob,
    },
    /// The attempt ended with a result.
    Ended(Box<Ended>),
    /// The attempt ended without one.
    Lost(Reason),
    /// The owner ends the attempt.
    Stop(Reason),
    /// The owner has recorded the result, and this is what it counts for. The executing peer puts what the task changed
    /// in its shares in place, if it is the task's result, and may forget the attempt.
    Settled(Effect),
    /// What has become of the attempt? Asked after a restart or a lost connection.
    Status,
    /// What came of the changes to the executing peer's shares.
    Released(Released),
    /// The owner expects cleaner energy later: the attempt stands still for so long, or until told otherwise.
    Hold {
        /// Milliseconds from receipt, after which it goes on by itself: an owner that is gone holds up nothing.
        for_ms: u64,
    },
    /// What the owner held goes on.
    GoOn,
    /// The attempt is one of several replicas and ended with a result, which this names without showing it:
    /// [`Statement::promise`].
    // spec: DEL-8
    Promised(Digest),
    /// All replicas have promised, or had time to: the result may be shown.
    Reveal,
}

/// What came of what a task changed in the executing peer's shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Released {
    /// It is in place.
    Released,
    /// It is not, and why: the originals changed meanwhile, or could not be written.
    Conflict(String),
}

/// Longest text of why a release came to nothing.
pub const MAX_CONFLICT: usize = 300;

/// How an attempt is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// What it does.
    pub phase: Phase,
    /// How far it is, from 0 to 1000.
    pub permille: u16,
    /// The task's own words for it.
    pub note: String,
    /// Why it stands still, if it does for a reason.
    pub held: Option<Reason>,
}

/// What an attempt does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Its module and inputs are fetched.
    Preparing,
    /// It computes.
    Running,
    /// It is held.
    Paused,
}

/// An offer of an attempt.
// spec: DEL-2
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The task.
    pub task: SignedTask,
    /// Which try.
    pub attempt: u32,
    /// The grant it rests on; none on the owner's own device.
    pub grant: Option<EntryId>,
    /// Milliseconds from receipt until the executing peer stops by itself.
    pub lease_ms: u64,
    /// The end of the submitter's log: the entry that delegates this attempt.
    pub tip: Tip,
    /// The last entries up to there, since an offer may be faster than gossip.
    pub entries: Vec<Vec<u8>>,
    /// A checkpoint to go on from.
    pub resume: Option<Blob>,
}

/// An attempt's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// What ran, what it used, what came out.
    pub receipt: SignedReceipt,
    /// The part that goes into the ledger.
    pub statement: Statement,
    /// The executing peer's signature of that part.
    pub signature: Signature,
    /// Stdout, stderr and `/out`.
    pub output: Blob,
}

/// A frame that is not one. Nothing of it was taken.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than any frame.
    #[error("read a frame: it has {0} bytes, at most {MAX_FRAME} are allowed")]
    TooLong(usize),
    /// Not a frame's bytes.
    #[error("read a frame")]
    Decode(#[source] DecodeError),
    /// A bound inside it is broken.
    #[error("read a frame: {0}")]
    Bounds(&'static str),
}

/// What travels on a stream.
pub trait Frame: Serialize + DeserializeOwned {
    /// Are its inner bounds kept?
    // spec: ARC-7
    fn check(&self) -> Result<(), &'static str>;

    /// Reads a frame.
    fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() > MAX_FRAME {
            return Err(FrameError::TooLong(bytes.len()));
        }
        let frame: Self = canonical::decode(bytes).map_err(FrameError::Decode)?;
        frame.check().map_err(FrameError::Bounds)?;
        Ok(frame)
    }

    /// Writes a frame.
    fn encode(&self) -> Vec<u8> {
        canonical::encode(self)
    }
}

fn few<T>(list: &[T], most: usize) -> Result<(), &'static str> {
    if list.len() <= most { Ok(()) } else { Err("a list in it is too long") }
}

fn small(entries: &[Vec<u8>]) -> Result<(), &'static str> {
    match entries.iter().all(|entry| entry.len() <= MAX_ENTRY) {
        true => Ok(()),
        false => Err("an entry in it is too long"),
    }
}

fn size(blob: &Blob) -> Result<(), &'static str> {
    if blob.len <= MAX_BYTES { Ok(()) } else { Err("a blob in it is larger than any") }
}

fn lease(ms: u64) -> Result<(), &'static str> {
    if ms <= MAX_LEASE_MS { Ok(()) } else { Err("a lease in it is longer than any") }
}

fn prefix(prefix: &[u8]) -> Result<(), &'static str> {
    if prefix.len() <= 16 && prefix.iter().all(|half| *half < 16) {
        Ok(())
    } else {
        Err("a prefix in it is wrong")
    }
}

impl Frame for HelloFrame {
    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Hello { addrs, .. } => few(addrs, MAX_ADDRS),
            Self::Join(request) => request.check(),
            Self::JoinDevice(request) => request.check(),
            Self::Peers(peers) => {
                few(peers, MAX_PEERS)?;
                peers.iter().try_for_each(|peer| few(&peer.addrs, MAX_ADDRS))
            }
            Self::Seek(peers) => few(peers, MAX_SOUGHT),
            _ => Ok(()),
        }
    }
}

impl Frame for SyncFrame {
    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Digest { prefix: p, .. } | Self::Same { prefix: p } => prefix(p),
            Self::Tips { prefix: p, tips, .. } => {
                prefix(p)?;
                few(tips, MAX_TIPS)
            }
            Self::Want(wants) => few(wants, MAX_TIPS),
            Self::Entries(entries) => {
                few(entries, MAX_TIPS)?;
                small(entries)
            }
        }
    }
}

impl Frame for TaskFrame {
    fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Beat(beat) if beat.permille > 1000 || beat.note.len() > MAX_NOTE => {
                Err("its progress is out of range")
            }
            Self::Beat(beat) => beat.held.as_ref().map_or(Ok(()), Reason::check),
            Self::Offer(offer) if offer.attempt == 0 => Err("attempts count from 1"),
            Self::Offer(offer) => {
                few(&offer.entries, MAX_OFFER_ENTRIES)?;
                small(&offer.entries)?;
                lease(offer.lease_ms)?;
                offer.resume.as_ref().map_or(Ok(()), size)
            }
            Self::Refused(reason) | Self::Lost(reason) | Self::Stop(reason) => reason.check(),
            Self::Renew { lease_ms } => lease(*lease_ms),
            Self::Hold { for_ms } => lease(*for_ms),
            Self::Checkpoint { number: 0, .. } => Err("checkpoints count from 1"),
            Self::Checkpoint { blob, .. } => size(blob),
            Self::Ended(ended) => {
                ended.receipt.receipt.check()?;
                ended.statement.energy.check()?;
                size(&ended.output)
            }
            Self::Released(Released::Conflict(why)) if why.len() > MAX_CONFLICT => {
                Err("its text is too long")
            }
            Self::Accepted
            | Self::Settled(_)
            | Self::Status
            | Self::Released(_)
            | Self::GoOn
            | Self::Promised(_)
            | Self::Reveal => Ok(()),
        }
    }

    /// Reasons quote what somebody stumbled over, which may be long; the frame must arrive all the same.
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Refused(reason) => canonical::encode(&Self::Refused(reason.clone().fit())),
            Self::Lost(reason) => canonical::encode(&Self::Lost(reason.clone().fit())),
            Self::Stop(reason) => canonical::encode(&Self::Stop(reason.clone().fit())),
            Self::Beat(beat) => {
                let held = beat.held.clone().map(Reason::fit);
                canonical::encode(&Self::Beat(Beat { held, ..beat.clone() }))
            }
            _ => canonical::encode(self),
        }
    }
}
