//! What a person or program on this machine can ask of the node, and what it answers.
// spec: API-1, API-2

use crate::assembly::{BallotView, ProposalView, QuotaView, ReputationView};
use mesh_protocol::ad::EnergyClaim;
use mesh_protocol::frame::Phase;
use mesh_protocol::ids::{BlobHash, CommunityId, EntryId, InputHash, ModuleHash, TaskId};
use mesh_protocol::invite::TicketKind;
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::ledger::Rotation;
use mesh_protocol::limits::Limits;
use mesh_protocol::permissions::Permissions;
use mesh_protocol::reason::Reason;
use mesh_protocol::receipt::SignedReceipt;
use mesh_protocol::rules::Rules;
use mesh_protocol::task::{Blob, Importance, InputFile, Sla};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// What is asked. Texts that name a task, user, device or grant may be its name or the beginning of its id, as long
/// as that is unique. All digits of a key or id mean that one alone, whatever others are named.
#[derive(Debug, Clone)]
pub enum Command {
    /// Begin a community.
    Found {
        /// Its name.
        name: String,
        /// Its rules.
        rules: Box<Rules>,
    },
    /// Make a ticket.
    Invite {
        /// For what.
        kind: TicketKind,
        /// For how long, in milliseconds.
        valid_ms: u64,
        /// Where this peer can be dialled.
        addrs: Vec<SocketAddr>,
    },
    /// Ask to join with a ticket.
    Join {
        /// The ticket's text.
        ticket: String,
        /// The beginning of the key of whoever made a ticket for one more device of theirs: needed where this device
        /// has another user's key, since it becomes theirs.
        as_device_of: Option<String>,
    },
    /// Vouch, too, for somebody who waits for a second sponsor.
    Sponsor {
        /// Who.
        user: String,
    },
    /// End a membership.
    Expel {
        /// Whose.
        user: String,
        /// Why.
        why: String,
    },
    /// The community: its name, rules and members.
    Community,
    /// Let a user's tasks run here.
    Grant(GrantRequest),
    /// End a grant.
    Revoke {
        /// Which: the beginning of its id.
        grant: String,
    },
    /// A device of this user's is not theirs any more: lost, stolen, given away.
    RevokeDevice {
        /// Which.
        device: String,
    },
    /// A device of this user's gets so much of the daily quota; what changes goes to or comes from this one.
    ShareQuota {
        /// Which.
        device: String,
        /// In thousandths.
        permille: u16,
    },
    /// This user's key is replaced, by the word of their recovery key.
    RotateKey(Box<Rotation>),
    /// All grants.
    Permissions,
    /// Which members' devices this device's tasks may go to; all if none are named.
    Trust {
        /// Their names; none changes nothing, an empty list means all.
        users: Option<Vec<String>>,
    },
    /// Submit a task. What it needs is kept here already.
    Submit(Box<Draft>),
    /// This device's tasks, newest first.
    Tasks,
    /// One task.
    Task {
        /// Which.
        task: String,
    },
    /// Take a task back.
    Cancel {
        /// Which.
        task: String,
    },
    /// End a delegation: by the task's owner, it comes back here; by the device's owner, it goes elsewhere.
    Veto {
        /// Which.
        task: String,
        /// Why.
        why: String,
    },
    /// Submit the same once more.
    Rerun {
        /// Which.
        task: String,
    },
    /// Hold all tasks here and take no more.
    Pause {
        /// For how long, in milliseconds; until told otherwise if none.
        for_ms: Option<u64>,
    },
    /// Go on after [`Command::Pause`] or [`Command::Finish`].
    Resume,
    /// End what runs here and take no more.
    Finish,
    /// Say how important a task is.
    Vote {
        /// Which: anybody's.
        task: String,
        /// How important.
        importance: Importance,
        /// Why.
        comment: String,
    },
    /// Say that a task is no matter of public health.
    Dispute {
        /// Which: anybody's.
        task: String,
        /// Why.
        why: String,
    },
    /// The newest ballots, or one.
    Ballots {
        /// Which task's.
        task: Option<String>,
    },
    /// What a member may ask of others.
    Quota {
        /// Whose; this device's owner's if nobody is named.
        user: Option<String>,
    },
    /// A member's reputation.
    Reputation {
        /// Whose.
        user: Option<String>,
    },
    /// Record what a member contributed.
    Contribute {
        /// Who.
        user: String,
        /// Of what: `money` in cents, `hours` in minutes.
        unit: String,
        /// How much.
        amount: u64,
        /// For which month, as 202611; this one if none.
        month: Option<u32>,
    },
    /// This device's owner lives in another time zone.
    SetZone {
        /// By its name in the time zone database.
        zone: String,
    },
    /// Propose other rules.
    Propose {
        /// The rules as a whole.
        rules: Box<Rules>,
        /// Why.
        why: String,
    },
    /// Vote on proposed rules.
    VoteRules {
        /// Which: the beginning of the proposal's id.
        proposal: String,
        /// For them?
        yes: bool,
    },
    /// Rules that were proposed.
    Proposals,
    /// What tasks used and saved: a user's, those on a peer, or all.
    Stats {
        /// Whose.
        user: Option<String>,
        /// On which device.
        peer: Option<String>,
    },
    /// How this peer is.
    Status,
    /// All peers.
    Peers,
    /// The process is about to end: say so to the others.
    GoOffline,
}

/// A grant as it is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    /// Whose tasks: a name or the beginning of a key.
    pub user: String,
    /// On which of the asking user's devices; this one if none is named.
    #[serde(default)]
    pub device: Option<String>,
    /// Which task names: `*`, a name, or a beginning followed by `*`.
    #[serde(default = "any_task")]
    pub task: String,
    /// Only this code.
    #[serde(default)]
    pub module: Option<ModuleHash>,
    /// Until when, in milliseconds since 1970.
    #[serde(default)]
    pub until_ms: Option<u64>,
    /// What such tasks may touch beyond inputs, environment and `/out`; needs `module`.
    #[serde(default)]
    pub permissions: Option<Permissions>,
}

fn any_task() -> String {
    "*".into()
}

/// A task to submit: everything of a [`TaskSpec`](mesh_protocol::task::TaskSpec) that the node does not know itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// A label.
    pub name: String,
    /// What its manifest says of it; only looked at for matters of public health.
    #[serde(default)]
    pub description: String,
    /// What to run; its bytes are kept here.
    pub module: ModuleHash,
    /// Bytes of the module.
    pub module_len: u64,
    /// Arguments.
    pub args: Vec<String>,
    /// Environment, sorted by key.
    pub env: Vec<(String, String)>,
    /// Standard input, kept here.
    pub stdin: Option<Blob>,
    /// Files, sorted by path, kept here.
    pub inputs: Vec<InputFile>,
    /// Hash of stdin and files together.
    pub input: InputHash,
    /// Bounds: the manifest's, narrowed.
    pub limits: Limits,
    /// What it wants to touch: the manifest's wish, narrowed.
    pub permissions: Permissions,
    /// The submitter's patience.
    pub sla: Sla,
    /// What the submitter says of its importance.
    pub importance: Option<Importance>,
    /// Does the submitter stay to follow it?
    pub followed: bool,
    /// By when it is to have started, in milliseconds since 1970; as its service level says if none.
    #[serde(default)]
    pub start_by_ms: Option<u64>,
    /// By when it is to be done.
    #[serde(default)]
    pub finish_by_ms: Option<u64>,
    /// Tells submissions apart: 32 random bytes, or a hash of the submitter's own key for it.
    pub nonce: [u8; 32],
    /// Only on this device: its name or the beginning of its key.
    pub on: Option<String>,
    /// Only say what would happen.
    pub dry_run: bool,
    /// Different owners' peers that shall run it.
    #[serde(default = "one_replica")]
    pub replicas: u8,
    /// How many of them must agree.
    #[serde(default = "one_replica")]
    pub quorum: u8,
}

fn one_replica() -> u8 {
    1
}

/// Why a command was not carried out. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    /// What kind of error.
    pub kind: ErrorKind,
    /// What went wrong.
    pub message: String,
    /// What would mend it.
    pub hint: Option<String>,
}

/// Kinds of [`CommandError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// What was asked for is malformed.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// More than one thing is meant.
    Ambiguous,
    /// It is not possible as things stand.
    Conflict,
    /// The asking user may not do it.
    Forbidden,
    /// Not now.
    Unavailable,
}

/// What is answered.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done.
    Done,
    /// It is done, by this entry.
    Entry(EntryId),
    /// It is done, by this entry, and concerns somebody.
    About {
        /// The entry.
        entry: EntryId,
        /// Whom or what, by name and the beginning of the key: not what was typed.
        about: String,
    },
    /// A community begins.
    Founded(CommunityId),
    /// A ticket's text.
    Ticket(String),
    /// In, by this community's name; or waiting.
    Joined {
        /// The community's name.
        community: String,
        /// Must somebody else vouch first, or can its sponsor not write entries now?
        pending: bool,
        /// Whose device this one is now, where the ticket was for a device.
        of: Option<String>,
    },
    /// The community.
    Community(Box<CommunityView>),
    /// All grants.
    Permissions(Vec<GrantView>),
    /// Whom this device's tasks may go to, by name and the beginning of the key; none for everybody.
    Trust(Option<BTreeSet<String>>),
    /// It is submitted, or was before under the same nonce.
    Submitted {
        /// Its id.
        task: TaskId,
        /// Was it submitted before?
        again: bool,
        /// What its submitter should know at once: that it will be late.
        warning: Option<String>,
        /// What others' experience with such tasks suggests.
        advice: Option<String>,
        /// The one device that it may run on, if one was named, by name and the beginning of the key.
        on: Option<String>,
    },
    /// What would happen.
    Plan(PlanView),
    /// Tasks.
    Tasks(Vec<TaskView>),
    /// A task.
    Task(Box<TaskView>),
    /// Ballots.
    Ballots(Vec<BallotView>),
    /// What a member may ask of others.
    Quota(Box<QuotaView>),
    /// A member's reputation.
    Reputation(ReputationView),
    /// Rules that were proposed.
    Proposals(Vec<ProposalView>),
    /// What tasks used and saved.
    Stats(Box<crate::stats::StatsView>),
    /// This peer.
    Status(Box<StatusView>),
    /// All peers.
    Peers(Vec<PeerView>),
}

/// The community as this peer knows it.
#[derive(Debug, Clone, Serialize)]
pub struct CommunityView {
    /// Its id.
    pub id: CommunityId,
    /// Its name.
    pub name: String,
    /// Its rules.
    pub rules: Rules,
    /// Its members.
    pub members: Vec<MemberView>,
}

/// A member.
#[derive(Debug, Clone, Serialize)]
pub struct MemberView {
    /// Their key.
    pub user: UserKey,
    /// Their name.
    pub name: String,
    /// This peer's owner?
    pub me: bool,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// Who vouched for them.
    pub sponsors: Vec<String>,
    /// Must somebody else vouch before they are in?
    pub pending: bool,
    /// Are they a member no longer?
    pub expelled: bool,
    /// Their devices.
    pub devices: Vec<DeviceView>,
}

/// A member's device.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceView {
    /// Its key.
    pub device: PublicKey,
    /// Its name.
    pub name: String,
    /// Thousandths of the daily quota.
    pub share: u16,
    /// Does its log count no further than this?
    pub counts_until: Option<u64>,
}

/// A grant.
#[derive(Debug, Clone, Serialize)]
pub struct GrantView {
    /// The entry that gave it.
    pub grant: EntryId,
    /// On which device.
    pub device: String,
    /// Whose tasks.
    pub user: String,
    /// Which tasks.
    pub task: String,
    /// Only this code.
    pub module: Option<ModuleHash>,
    /// Until when, in milliseconds since 1970.
    pub until_ms: Option<u64>,
    /// Is it in force?
    pub valid: bool,
    /// Why not.
    pub why_not: Option<String>,
}

/// Who could take a task, and who could not and why.
#[derive(Debug, Clone, Serialize)]
pub struct PlanView {
    /// Where it would go.
    pub choice: Option<String>,
    /// What it would wait for or run on, and with which numbers.
    pub plan: Option<String>,
    /// By which rule its place and hour are chosen.
    pub rule: String,
    /// What it would cost of the day's quota, or why that does not allow it.
    pub quota: String,
    /// The word for which it would run at once as a matter of public health.
    pub health: Option<String>,
    /// How many milliseconds the members would have to vote on it, if they were asked.
    pub ballot_ms: Option<u64>,
    /// Would it wait for that?
    pub waits_for_ballot: bool,
    /// By when it would be done, if it has a deadline, in milliseconds since 1970.
    pub finish_by_ms: Option<u64>,
    /// Every peer with what speaks for or against it.
    pub peers: Vec<(String, String)>,
    /// What tasks of its name did so far, if there were enough.
    pub expected: Option<ExpectedView>,
    /// What that suggests.
    pub advice: Option<String>,
}

/// What can be expected of a task by others of its name.
// spec: REP-3
#[derive(Debug, Clone, Serialize)]
pub struct ExpectedView {
    /// Of so many runs.
    pub runs: usize,
    /// Milliseconds that hardly any took longer than.
    pub wall_ms: u64,
    /// Bytes of memory that hardly any needed more than.
    pub memory: u64,
    /// Millijoule of the run in the middle, if known.
    pub energy_mj: Option<u64>,
    /// The level in the middle of those that were voted on.
    pub voted: Option<Importance>,
    /// Milliseconds that the one in the middle waited for its start.
    pub waited_ms: u64,
}

/// A task of this device.
#[derive(Debug, Clone, Serialize)]
pub struct TaskView {
    /// Its id.
    pub task: TaskId,
    /// Its name.
    pub name: String,
    /// Its code.
    pub module: ModuleHash,
    /// Where it is in its life: one of the states of `docs/task-states.md`.
    pub state: String,
    /// What it waits for, what would change that, when it is expected to run.
    pub why: String,
    /// When it was submitted, in milliseconds since 1970.
    pub created_ms: u64,
    /// By when it must have started, with room for all that it may take; none if no moment is too late.
    pub start_by_ms: Option<u64>,
    /// By when it is to be done.
    pub finish_by_ms: Option<u64>,
    /// When it is given up if it found no energy until then.
    pub expires_ms: Option<u64>,
    /// The attempt that counts, and where it is.
    pub attempt: Option<(u32, String)>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// Is a checkpoint of it here, from which it can go on elsewhere?
    pub saved: bool,
    /// Every attempt and what became of it.
    pub history: Vec<AttemptView>,
    /// Its result.
    pub result: Option<ResultView>,
    /// What it used and saved, once it is done.
    pub energy: Option<crate::stats::EnergyView>,
}

/// An attempt and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct AttemptView {
    /// Which.
    pub attempt: u32,
    /// Where.
    pub device: String,
    /// What became of it, in words.
    pub fate: String,
}

/// A task's result.
#[derive(Debug, Clone, Serialize)]
pub struct ResultView {
    /// By which attempt.
    pub attempt: u32,
    /// The signed receipt.
    pub receipt: SignedReceipt,
    /// Stdout, stderr and `/out`, kept here.
    pub output: Blob,
}

/// This peer.
#[derive(Debug, Clone, Serialize)]
pub struct StatusView {
    /// Its key.
    pub device: PublicKey,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub user: Option<String>,
    /// Its community's name.
    pub community: Option<String>,
    /// What keeps it from taking part, if anything does.
    pub trouble: Vec<String>,
    /// Peers connected.
    pub connected: usize,
    /// Its energy.
    pub energy: Option<EnergyClaim>,
    /// Is it paused, finishing, or does it take tasks?
    pub donor: String,
    /// Attempts that run here.
    pub running: Vec<RunningView>,
    /// Tasks of this device by state.
    pub tasks: Vec<(String, usize)>,
    /// Entries in the ledger.
    pub entries: u64,
    /// What was refused or dropped.
    pub counters: crate::node::Counters,
}

/// An attempt that runs here.
#[derive(Debug, Clone, Serialize)]
pub struct RunningView {
    /// Which.
    pub task: TaskId,
    /// Which try.
    pub attempt: u32,
    /// Its name.
    pub name: String,
    /// Whose.
    pub user: String,
    /// How far it is.
    pub progress: Progress,
}

/// A peer.
#[derive(Debug, Clone, Serialize)]
pub struct PeerView {
    /// Its key.
    pub device: PublicKey,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub user: String,
    /// Is it this one?
    pub me: bool,
    /// Is it connected?
    pub connected: bool,
    /// Its energy, if its ad is fresh.
    pub energy: Option<EnergyClaim>,
    /// Slots free by its ad.
    pub free_slots: Option<u16>,
    /// Milliseconds since it was heard of.
    pub heard_ms: Option<u64>,
}

/// How far an attempt is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// What it does.
    pub phase: Phase,
    /// How far it is, from 0 to 1000.
    pub permille: u16,
    /// The task's own words for it.
    pub note: String,
    /// Why it stands still, if it does for a reason.
    #[serde(serialize_with = "in_words")]
    pub held: Option<Reason>,
}

fn in_words<S: serde::Serializer>(reason: &Option<Reason>, to: S) -> Result<S::Ok, S::Error> {
    reason.as_ref().map(ToString::to_string).serialize(to)
}

/// What a watcher on this machine is told.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Happening {
    /// A task of this device changed.
    Task {
        /// Which.
        task: TaskId,
        /// Its state now.
        state: String,
        /// Its sentence now.
        why: String,
        /// Has it ended?
        ended: bool,
    },
    /// An attempt that runs here changed.
    Attempt {
        /// Which task.
        task: TaskId,
        /// Which try.
        attempt: u32,
        /// Its state now.
        state: &'static str,
    },
    /// How far a task is.
    Progress {
        /// Which.
        task: TaskId,
        /// How far.
        progress: Progress,
    },
    /// An entry is new in the ledger.
    Entry {
        /// Which.
        entry: EntryId,
        /// Its kind.
        kind: &'static str,
    },
    /// A peer came or went.
    Peer {
        /// Which.
        device: PublicKey,
        /// Is it there?
        connected: bool,
    },
    /// Something a person should see.
    Warning {
        /// What.
        text: String,
    },
    /// What became of a request to join.
    Joined {
        /// The community's name.
        community: String,
        /// Was it refused, and why?
        refused: Option<String>,
    },
    /// A blob kept for nothing any more.
    #[serde(skip)]
    Unneeded(BlobHash),
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: API-1
    #[test]
    fn a_grant_of_no_named_task_is_of_all() {
        let request: GrantRequest = serde_json::from_str(r#"{"user": "alice"}"#).unwrap();
        assert_eq!((request.task.as_str(), request.module), ("*", None));
    }
}
