//! What goes into a node and what comes out: closed lists, so that everything that can happen is seen in one place.
// spec: ARC-2

use crate::command::{Answer, Command, CommandError, Happening};
use mesh_policies::donor::{Situation, Terms};
use mesh_protocol::energy::{How, Reading};
use mesh_protocol::frame::{AttemptId, HelloFrame, Released, SyncFrame, TaskFrame};
use mesh_protocol::ids::{BlobHash, CommunityId, ModuleHash, ProfileId};
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::ledger::{Entry, Pattern};
use mesh_protocol::limits::Limits;
use mesh_protocol::permissions::Permissions;
use mesh_protocol::reason::Reason;
use mesh_protocol::receipt::Receipt;
use mesh_protocol::record::Record;
use mesh_protocol::task::{Blob, Importance, Sla, TaskSpec};
use serde::Serialize;
use std::net::SocketAddr;

/// A moment, as both clocks show it. Whoever drives a node moves time; it never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now {
    /// Milliseconds since the machine started, those asleep counted in: leases and timers.
    pub boot_ms: u64,
    /// Milliseconds since 1970: dates for people and for the ledger.
    pub wall_ms: u64,
}

/// Tells answers apart; whoever asks chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandId(pub u64);

/// What happens to a node.
#[derive(Debug, Clone)]
pub enum Input {
    /// A peer, whose key the handshake has proven, can be sent to.
    Connected {
        /// Which.
        peer: PublicKey,
        /// Where it was reached. Port 0 if that is through another peer.
        addr: SocketAddr,
    },
    /// It was dialled and not reached. It is tried again until told otherwise.
    Unreachable {
        /// Which.
        peer: PublicKey,
        /// Why, in words.
        why: String,
    },
    /// It cannot be sent to any more.
    Disconnected {
        /// Which.
        peer: PublicKey,
    },
    /// Peers meet.
    Hello(PublicKey, HelloFrame),
    /// An entry was spread.
    Gossip(PublicKey, Box<Entry>),
    /// Logs are compared.
    Sync(PublicKey, SyncReceived),
    /// About an attempt.
    Task(PublicKey, AttemptId, TaskFrame),
    /// A person or program on this machine wants something.
    Command(CommandId, Box<Command>),
    /// The executor tells.
    Run(AttemptId, RunEvent),
    /// What was asked for under this number is here and is what was wanted, or will not come by itself.
    Fetched(u64, AttemptId, BlobHash, Result<(), Unfetched>),
    /// A stored entry that was asked for.
    Stored(Box<Entry>),
    /// What the device's energy is now, as far as it is known, and since when it is so by its source's own word, in
    /// milliseconds since 1970; none if it is of now.
    // spec: EN-2, EN-5
    Energy(Option<Box<Reading>>, Option<u64>),
    /// What its source expects of it.
    // spec: EN-5
    Forecast(Forecast),
    /// What this machine can give to tasks.
    Capacity(Capacity),
    /// Watts that one busy slot draws, where that is another number now.
    // spec: PLACE-1, SLA-4
    SlotWatts(u16),
    /// Names of others' tasks that this device takes at all.
    Accepts(Vec<Pattern>),
    /// On which terms the device's owner shares it.
    Terms(Box<Terms>),
    /// Where this device can be reached, where that is elsewhere now.
    // spec: NET-5
    Addrs(Vec<SocketAddr>),
    /// Bytes that are kept here for this device's own tasks: others' have the rest of the room.
    // spec: PERM-5, ARC-7
    Kept(u64),
    /// How the device is: mains, battery, load, the hour.
    Situation(Situation),
    /// What the owner's program says to an offer.
    Hook(AttemptId, HookSays),
    /// Time has passed.
    Wake,
}

/// What a blob must be to be taken from whoever made it.
// spec: DEL-4, DEL-5
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The output that this receipt speaks of.
    Output(Box<Receipt>),
    /// A checkpoint of this task, made by this engine.
    Checkpoint(Box<TaskSpec>, ProfileId),
}

/// Why a blob that was asked for is not here.
// spec: DEL-4, DEL-5
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfetched {
    /// What came is not what its maker said, or cannot be: the only one of these that says something of the blob.
    #[error("{0}")]
    False(String),
    /// The peer does not hand it out.
    #[error("the peer does not hand it out")]
    Withheld,
    /// The line broke or was too slow, or the peer serves others first.
    #[error("{0}")]
    Line(String),
    /// This device cannot keep it.
    #[error("this device cannot keep it: {0}")]
    NoRoom(String),
}

/// What a source of energy expects of hours to come.
// spec: EN-5
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forecast {
    /// The first hour, since 1970.
    pub hour: u64,
    /// g CO2/kWh of that hour and those after it; more than [`MAX_OUTLOOK`](mesh_protocol::ad::MAX_OUTLOOK) are left out.
    pub g_per_kwh: Vec<u16>,
}

/// A sync frame with its entries verified: the driver does that, on as many cores as there are.
#[derive(Debug, Clone)]
pub enum SyncReceived {
    /// Anything but entries.
    Frame(SyncFrame),
    /// Entries, in the order they came.
    Entries(Vec<Entry>),
}

/// What this machine can give to tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Tasks at once.
    pub slots: u16,
    /// Memory for all of them together, in bytes.
    pub memory: u64,
    /// Longest task, in milliseconds.
    pub longest_ms: u64,
}

/// What the executor says of an attempt.
#[derive(Debug, Clone)]
pub enum RunEvent {
    /// Its first instruction is next.
    Started,
    /// How far it is, from 0 to 1000, and a note.
    Progress(u16, String),
    /// It saved its state, which is kept under this hash.
    Checkpoint(u32, Blob),
    /// It was held, as told.
    Paused,
    /// It goes on, as told.
    Resumed,
    /// It ended; its output is kept under this hash.
    Ended(Box<Receipt>, Blob, Metering),
    /// What it used so far, since it started.
    Metered(Metering),
    /// It is over without a result, and this is what it had used; none if it never started.
    Spent(Option<Metering>),
    /// It came to no end: what it needs could not be had, the sandbox refused it or failed.
    Lost(Reason),
    /// What it changed in this device's shares is in place, or will never be.
    Released(Released),
}

/// How often a running attempt's use is read, at least.
pub const SAMPLE_MS: u64 = 10_000;

/// What an attempt used, as the device metered it.
// spec: CO2-1
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metering {
    /// How it is known.
    pub how: How,
    /// By how much it may be wrong, in percent of itself.
    pub uncertainty_percent: u8,
    /// What was read, one after another.
    pub samples: Vec<Sample>,
    /// Is a part an estimate, since the worker could not report it?
    pub estimated: bool,
}

/// Energy used in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When it began, in milliseconds since 1970.
    pub from_ms: u64,
    /// How long it was.
    pub ms: u64,
    /// Energy used in it, in millijoule.
    pub energy_mj: u64,
}

/// What a node wants done.
///
/// Everything drained after one [`Input`] belongs together: first all [`Output::Persist`] are made durable, as one,
/// and only then anything else leaves the process.
// spec: ARC-3
#[derive(Debug, Clone)]
#[must_use]
pub enum Output {
    /// Keep this.
    Persist(Record),
    /// Say this to a peer.
    Send(PublicKey, Message),
    /// Tell everyone of this entry.
    Spread(Box<Entry>),
    /// Send a peer the entries of a log from here up to and without there, which the store has.
    SendEntries {
        /// To whom.
        to: PublicKey,
        /// Whose log.
        author: PublicKey,
        /// The first.
        from: u64,
        /// The first not to be sent.
        until: u64,
    },
    /// Read an entry from the store: its log forked, and this is the other branch.
    Read {
        /// Whose log.
        author: PublicKey,
        /// Which entry.
        seq: u64,
    },
    /// Run an attempt: fetch what it needs from its owner, then run it.
    Run(Box<Run>),
    /// Put an offer to the owner's program, within [`HOOK_MS`].
    Ask(Box<OfferView>),
    /// Hold it.
    Pause(AttemptId),
    /// Let it go on.
    Resume(AttemptId),
    /// End it at once. Nothing more is said of it.
    Stop(AttemptId),
    /// Fetch a blob from a peer and keep it, if it is what is wanted.
    Fetch {
        /// By which number the answer is known: a peer may name one blob for two things, which are checked otherwise.
        number: u64,
        /// For which attempt.
        attempt: AttemptId,
        /// Which blob.
        blob: Blob,
        /// From whom.
        from: PublicKey,
        /// What it must be.
        wanted: Wanted,
    },
    /// End at once what is being fetched for an attempt. Nothing more is said of it; what came may be of use later.
    Unfetch(AttemptId),
    /// Put what it changed in this device's shares in place; said again after a restart that cut it off.
    Release(AttemptId),
    /// What was kept for an attempt can go: its blobs, its logs.
    Forget(AttemptId),
    /// Be connected to this peer.
    Dial(PublicKey, Vec<SocketAddr>),
    /// This peer is a member, or is none any more.
    Standing(PublicKey, bool),
    /// Close the connection to this peer.
    Close(PublicKey, String),
    /// The community this peer belongs to is settled.
    Belongs(CommunityId),
    /// Answer a command.
    Answer(CommandId, Result<Answer, CommandError>),
    /// Tell whoever listens on this machine.
    Tell(Happening),
}

/// How long the owner's program may take: an offer waits for five seconds, entries that it rests on and the way there
/// and back included.
pub const HOOK_MS: u64 = 2_500;

/// Bytes of disk for modules, inputs and outputs where no other bound is set: an output of the largest size four times,
/// and small enough for any disk that holds an operating system.
// spec: ARC-7
pub const DEFAULT_DISK: u64 = 64_000_000_000;

/// What a donor's own program says to an offer.
// spec: PERM-5
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookSays {
    /// It may run.
    Accept,
    /// It may not, for this reason.
    Refuse(String),
    /// Not now, for this reason.
    Later(String),
}

/// An offer, as a donor's own program reads it.
// spec: PERM-5
#[derive(Debug, Clone, Serialize)]
pub struct OfferView {
    /// Which attempt of which task.
    pub attempt: AttemptId,
    /// What its submitter calls it.
    pub name: String,
    /// Who submitted it, by name.
    pub user: String,
    /// The same by key, which nobody else can have.
    pub user_key: UserKey,
    /// On which device.
    pub device: PublicKey,
    /// What it runs.
    pub module: ModuleHash,
    /// Bytes of module and inputs.
    pub bytes: u64,
    /// Its arguments.
    pub args: Vec<String>,
    /// How patient its submitter is.
    pub sla: Sla,
    /// How important it is by this device's own tally.
    pub importance: Importance,
    /// Is it a matter of public health?
    pub health: bool,
    /// Its bounds.
    pub limits: Limits,
    /// What it wants to touch.
    pub permissions: Permissions,
    /// When it was submitted, in milliseconds since 1970.
    pub created_ms: u64,
    /// Does it go on from a checkpoint?
    pub resumes: bool,
}

/// What is said to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// On the stream on which peers meet.
    Hello(HelloFrame),
    /// On the stream on which logs are compared.
    Sync(SyncFrame),
    /// On an attempt's stream.
    Task(AttemptId, TaskFrame),
}

/// An attempt to run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Which.
    pub attempt: AttemptId,
    /// What to run, checked; its permissions and limits narrowed to what is granted here.
    pub spec: TaskSpec,
    /// Who has its module and inputs.
    pub owner: PublicKey,
    /// A checkpoint to go on from.
    pub resume: Option<Blob>,
}
