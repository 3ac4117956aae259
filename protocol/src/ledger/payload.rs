//! What entries say.
// spec: LED-2

use super::{ForkProof, Hlc, MAX_PAYLOAD, MAX_REFS, Tip};
use crate::energy::{Metered, Piece, check_pieces};
use crate::factors::Factors;
use crate::ids::{Commitment, CommunityId, Digest, EntryId, ModuleHash, ProfileId, TaskId};
use crate::invite::{DeviceCert, JoinRequest};
use crate::key::{Domain, PublicKey, SecretKey, Signature, UserKey};
use crate::manifest::is_task_name;
use crate::outcome::Outcome;
use crate::permissions::Permissions;
use crate::reason::Reason;
use crate::rules::Rules;
use crate::task::{Importance, MAX_REPLICAS, Sla};
use crate::text::sanitise;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most bytes of a person's, device's, task's or community's name.
pub const MAX_NAME: usize = 64;
/// Most bytes of a sentence that a person adds.
pub const MAX_TEXT: usize = 280;
/// Most tips in one entry that names many: they fill a payload.
pub const MAX_TIPS: usize = 50;
/// Most votes that one result names: they fill a payload.
pub const MAX_VOTES: usize = 120;
/// Most walls that a device names: four times what there is.
pub const MAX_WALLS: usize = 16;

/// What an entry says. The order of kinds is part of the format: new ones come last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// A community begins; its author's user is the founder.
    Founded(Box<Founded>),
    /// A member vouches for somebody who asks to join.
    Admitted(Box<JoinRequest>),
    /// A member is a member no longer.
    Expelled {
        /// Who.
        user: UserKey,
        /// For each of their logs, the last entry that counts. Logs not named do not count at all.
        tips: Vec<Tip>,
        /// Why.
        why: String,
    },
    /// A member has one more device, or shares the daily quota out anew.
    DeviceAdded(Box<DeviceAdded>),
    /// What the author's device is and accepts.
    PeerRegistered(Box<PeerRegistered>),
    /// The device is there.
    PeerOnline,
    /// The device goes away.
    PeerOffline,
    /// A device's owner lets a user's tasks run there.
    Granted(Box<Grant>),
    /// A grant ends.
    Revoked {
        /// Which: the entry that gave it.
        grant: EntryId,
    },
    /// A task is to be run.
    TaskSubmitted(Box<TaskSubmitted>),
    /// How important a task is to the author's user.
    Voted {
        /// Which task.
        task: TaskId,
        /// How important.
        importance: Importance,
        /// Why, if they say so.
        comment: String,
    },
    /// A ballot's result as its task's submitter counts it.
    Consensus {
        /// Which task.
        task: TaskId,
        /// The level that won, if one did.
        importance: Option<Importance>,
        /// The votes counted.
        votes: Vec<EntryId>,
    },
    /// An attempt is offered to a device.
    Delegated {
        /// Which task.
        task: TaskId,
        /// Which try.
        attempt: u32,
        /// To whom.
        device: PublicKey,
        /// Under which grant; none on the owner's own device.
        grant: Option<EntryId>,
    },
    /// The author's device takes an attempt of whose offer it names the log first.
    Accepted {
        /// Which task.
        task: TaskId,
        /// Which try.
        attempt: u32,
    },
    /// The author's device refuses an attempt.
    Refused {
        /// Which task.
        task: TaskId,
        /// Which try.
        attempt: u32,
        /// Why.
        reason: Reason,
    },
    /// A person ended an attempt: the task's owner or the device's.
    Vetoed {
        /// Which task.
        task: TaskId,
        /// Which try.
        attempt: u32,
        /// Why, if they say so.
        why: String,
    },
    /// An attempt's result arrived.
    Completed(Box<Completed>),
    /// A task ended without a result.
    Failed {
        /// Which task.
        task: TaskId,
        /// How many tries were made.
        attempts: u32,
        /// Why the last one failed.
        reason: Reason,
    },
    /// Its owner took a task back.
    Cancelled {
        /// Which task.
        task: TaskId,
    },
    /// A treasurer records what a member contributed.
    Contribution {
        /// Who.
        user: UserKey,
        /// Of what: `money` in cents, `hours` in minutes.
        unit: String,
        /// How much.
        amount: u64,
        /// For which month, as 202611.
        month: u32,
    },
    /// Other rules are proposed.
    RulesProposed {
        /// The rules as a whole.
        rules: Box<Rules>,
        /// Why.
        why: String,
    },
    /// For or against proposed rules.
    RulesVoted {
        /// The entry that proposes them.
        proposal: EntryId,
        /// For them?
        yes: bool,
    },
    /// A task is no matter of public health.
    HealthDisputed {
        /// Which task.
        task: TaskId,
        /// Why.
        why: String,
    },
    /// How far the author had seen others' logs, so that nobody can date entries back.
    Witnessed {
        /// For each log the last entry seen; only what is new since the author's last such entry.
        tips: Vec<Tip>,
    },
    /// A user's key is replaced; signed with the recovery key.
    KeyRotated(Box<Rotation>),
    /// A device's key is not to be trusted any more.
    KeyRevoked(Box<Revocation>),
    /// A log has two entries at one place.
    Forked(Box<ForkProof>),
    /// The author's user lives in this time zone; their day begins at its midnight.
    ZoneSet {
        /// By its name in the time zone database, as `Europe/Berlin`.
        zone: String,
    },
    /// The submitter takes a task for a matter of public health. Whether it is one, everybody judges themselves.
    HealthFlagged {
        /// Which task.
        task: TaskId,
        /// The sentence that says so: its name, or of its description what mentions it.
        text: String,
    },
    /// The author's device holds an attempt, or lets it go on.
    Held {
        /// Which task.
        task: TaskId,
        /// Which try.
        attempt: u32,
        /// Why; none if it goes on.
        reason: Option<Reason>,
    },
    /// What an attempt used on the author's device that came to no end there, or whose result nobody took.
    Spent(Box<Spent>),
    /// What a task would have caused at once on its submitter's own device, and what it saved.
    Accounted(Box<Accounted>),
}

/// Names of the kinds, by number.
pub const KINDS: [&str; 32] = [
    "community founded",
    "member admitted",
    "expelled",
    "device added",
    "peer registered",
    "peer online",
    "peer offline",
    "grant",
    "revoke",
    "task submitted",
    "vote",
    "consensus",
    "delegated",
    "accepted",
    "refused",
    "vetoed",
    "completed",
    "failed",
    "cancelled",
    "contribution",
    "rules proposed",
    "rules vote",
    "health disputed",
    "witnessed",
    "key rotated",
    "key revoked",
    "fork proof",
    "time zone",
    "health",
    "held",
    "spent",
    "accounted",
];

impl Payload {
    /// Its number, which is also its first byte.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Founded(_) => 0,
            Self::Admitted(_) => 1,
            Self::Expelled { .. } => 2,
            Self::DeviceAdded(_) => 3,
            Self::PeerRegistered(_) => 4,
            Self::PeerOnline => 5,
            Self::PeerOffline => 6,
            Self::Granted(_) => 7,
            Self::Revoked { .. } => 8,
            Self::TaskSubmitted(_) => 9,
            Self::Voted { .. } => 10,
            Self::Consensus { .. } => 11,
            Self::Delegated { .. } => 12,
            Self::Accepted { .. } => 13,
            Self::Refused { .. } => 14,
            Self::Vetoed { .. } => 15,
            Self::Completed(_) => 16,
            Self::Failed { .. } => 17,
            Self::Cancelled { .. } => 18,
            Self::Contribution { .. } => 19,
            Self::RulesProposed { .. } => 20,
            Self::RulesVoted { .. } => 21,
            Self::HealthDisputed { .. } => 22,
            Self::Witnessed { .. } => 23,
            Self::KeyRotated(_) => 24,
            Self::KeyRevoked(_) => 25,
            Self::Forked(_) => 26,
            Self::ZoneSet { .. } => 27,
            Self::HealthFlagged { .. } => 28,
            Self::Held { .. } => 29,
            Self::Spent(_) => 30,
            Self::Accounted(_) => 31,
        }
    }

    /// The kind in words.
    pub fn kind_name(&self) -> &'static str {
        KINDS[usize::from(self.kind())]
    }

    /// Does it decide who belongs to the community, or by which rules?
    pub fn governs(&self) -> bool {
        matches!(
            self,
            Self::Founded(_)
                | Self::Admitted(_)
                | Self::Expelled { .. }
                | Self::DeviceAdded(_)
                | Self::RulesProposed { .. }
                | Self::RulesVoted { .. }
                | Self::KeyRotated(_)
                | Self::KeyRevoked(_)
                | Self::Forked(_)
        )
    }

    /// The same, with what errors quote made to fit.
    #[must_use]
    pub fn fit(self) -> Self {
        match self {
            Self::Refused { task, attempt, reason } => Self::Refused { task, attempt, reason: reason.fit() },
            Self::Failed { task, attempts, reason } => Self::Failed { task, attempts, reason: reason.fit() },
            Self::Held { task, attempt, reason } => {
                Self::Held { task, attempt, reason: reason.map(Reason::fit) }
            }
            other => other,
        }
    }

    /// Are its inner bounds kept? Whatever keeps them has at most [`MAX_PAYLOAD`](super::MAX_PAYLOAD) bytes.
    // spec: ARC-7
    pub fn check(&self) -> Result<(), &'static str> {
        let name = |text: &str| match is_name(text) {
            true => Ok(()),
            false => Err("a name in it is empty, too long or not plain text"),
        };
        let text = |text: &str| match text.len() <= MAX_TEXT && sanitise(text, false) == text {
            true => Ok(()),
            false => Err("a text in it is too long or not plain"),
        };
        let counted = |attempt: u32| if attempt > 0 { Ok(()) } else { Err("attempts count from 1") };
        match self {
            Self::Founded(founded) => {
                name(&founded.name)?;
                name(&founded.user_name)?;
                name(&founded.device_name)?;
                founded.rules.check().map_err(|_| "a rule in it is out of its range")
            }
            Self::Admitted(request) => request.check(),
            Self::PeerRegistered(peer) => {
                let (lat, lon) = peer.place.unwrap_or_default();
                if !(-90..=90).contains(&lat) || !(-180..=180).contains(&lon) {
                    return Err("a place in it is not on Earth");
                }
                if peer.walls.len() > MAX_WALLS {
                    return Err("it names more walls than there are");
                }
                peer.walls.iter().chain([&peer.name]).try_for_each(|text| name(text))
            }
            Self::TaskSubmitted(task) => {
                if !is_task_name(&task.name) {
                    return Err("the task's name in it is none");
                }
                match (1..=MAX_REPLICAS).contains(&task.replicas) {
                    true => Ok(()),
                    false => Err("it asks for no peer, or for more than may run one task"),
                }
            }
            Self::Expelled { why, tips, .. } => {
                bounded(tips)?;
                text(why)
            }
            Self::Witnessed { tips } => bounded(tips),
            Self::Vetoed { attempt, why, .. } => {
                counted(*attempt)?;
                text(why)
            }
            Self::HealthDisputed { why, .. } => text(why),
            Self::ZoneSet { zone } => name(zone),
            Self::HealthFlagged { text: said, .. } => text(said),
            Self::Held { attempt, reason, .. } => {
                counted(*attempt)?;
                reason.as_ref().map_or(Ok(()), Reason::check)
            }
            Self::Consensus { votes, .. } if votes.len() > MAX_VOTES => {
                Err("it names more votes than one entry may")
            }
            Self::Delegated { attempt, .. } | Self::Accepted { attempt, .. } => counted(*attempt),
            Self::Refused { attempt, reason, .. } => {
                counted(*attempt)?;
                reason.check()
            }
            Self::Failed { reason, .. } => reason.check(),
            Self::Completed(completed) => {
                counted(completed.statement.attempt)?;
                completed.statement.energy.check()?;
                small(self)
            }
            Self::Spent(spent) => {
                counted(spent.attempt)?;
                spent.energy.check()?;
                small(self)
            }
            Self::Accounted(accounted) => {
                counted(accounted.attempt)?;
                accounted.check()?;
                small(self)
            }
            Self::Contribution { unit, month, .. } => {
                name(unit)?;
                match (200_001..=999_912).contains(month) && (1..=12).contains(&(month % 100)) {
                    true => Ok(()),
                    false => Err("a month in it is none"),
                }
            }
            Self::Forked(proof) => {
                match proof.a.header.refs.len().max(proof.b.header.refs.len()) <= MAX_REFS {
                    true => Ok(()),
                    false => Err("it names more tips of other logs than one entry may"),
                }
            }
            Self::RulesProposed { rules, why } => {
                text(why)?;
                rules.check().map_err(|_| "a rule in it is out of its range")
            }
            Self::Voted { comment, .. } => text(comment),
            Self::Granted(grant) => {
                grant.pattern.check()?;
                grant.permissions.check()?;
                small(self)
            }
            Self::DeviceAdded(added) => name(&added.name),
            Self::KeyRevoked(it) => match it.tip.is_none_or(|tip| tip.author == it.device) {
                true => Ok(()),
                false => Err("the last entry that counts, as it says, is another device's"),
            },
            Self::PeerOnline
            | Self::PeerOffline
            | Self::Revoked { .. }
            | Self::Consensus { .. }
            | Self::Cancelled { .. }
            | Self::RulesVoted { .. }
            | Self::KeyRotated(_) => Ok(()),
        }
    }
}

/// Lists in it may be long, but not all of them at once.
fn small(payload: &Payload) -> Result<(), &'static str> {
    match crate::canonical::encode(payload).len() <= MAX_PAYLOAD {
        true => Ok(()),
        false => Err("its lists are too long for one entry"),
    }
}

fn bounded(tips: &[Tip]) -> Result<(), &'static str> {
    if tips.len() <= MAX_TIPS { Ok(()) } else { Err("it names more tips than one entry may") }
}

/// Is this a name that a person, device or community may have?
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && text.trim() == text && sanitise(text, false) == text
}

/// Digits from which on a name that has nothing else reads like the beginning of somebody's key.
const LIKE_A_KEY: usize = 8;

/// Could it be taken for the key or id of somebody or something else?
// spec: NET-2
pub fn reads_like_a_key(text: &str) -> bool {
    text.len() >= LIKE_A_KEY && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// May somebody be given this name from now on? What stands in ledgers was named before, so [`is_name`] alone decides
/// there.
// spec: NET-2
pub fn check_new_name(text: &str) -> Result<(), &'static str> {
    if !is_name(text) {
        return Err("use 1 to 64 bytes of plain text without spaces around it");
    }
    if reads_like_a_key(text) {
        return Err(
            "it reads like the beginning of a key: use something beside the digits 0 to 9 and a to f",
        );
    }
    if text.starts_with('-') {
        return Err("it begins like a flag: let it begin with something other than -");
    }
    match is_seen(text) {
        true => Ok(()),
        false => Err("it holds characters that nobody sees, or that look like a space"),
    }
}

/// Does each character of it show, so that two names that look alike are alike?
fn is_seen(text: &str) -> bool {
    let letters: Vec<char> = text.chars().collect();
    letters.iter().enumerate().all(|(at, letter)| match letter {
        // Emoji and some scripts join letters by these, and nobody needs them beside a Latin one.
        '\u{200c}' | '\u{200d}' => {
            let beside = [at.checked_sub(1).and_then(|at| letters.get(at)), letters.get(at + 1)];
            beside.iter().all(|it| it.is_some_and(|it| !it.is_ascii()))
        }
        '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}' | '\u{200b}' => false,
        '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}' => false,
        '\u{e0000}'..='\u{e0fff}' | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}' => false,
        other => *other == ' ' || !other.is_whitespace(),
    })
}

/// How a community begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founded {
    /// Its name.
    pub name: String,
    /// Its first rules.
    pub rules: Rules,
    /// The founder.
    pub user: UserKey,
    /// What the founder is called.
    pub user_name: String,
    /// The only key that can replace the founder's.
    pub recovery: PublicKey,
    /// What the founder's first device is called.
    pub device_name: String,
    /// The founder's word for the device that writes this entry.
    pub cert: DeviceCert,
}

/// What a device tells about itself for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRegistered {
    /// What it is called.
    pub name: String,
    /// Latitude and longitude in whole degrees, if it tells.
    pub place: Option<(i16, i16)>,
    /// Its engine, so that it is known whose results can be compared.
    pub profile: ProfileId,
    /// Walls around its tasks, by name, sorted.
    pub walls: Vec<String>,
    /// Tasks it runs at once.
    pub slots: u16,
}

/// Which task names a grant is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pattern(String);

impl Pattern {
    /// `*`, a name, or the beginning of one followed by `*`.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let pattern = Self(text.to_owned());
        pattern.check().map(|()| pattern)
    }

    fn check(&self) -> Result<(), &'static str> {
        let stem = self.0.strip_suffix('*').unwrap_or(&self.0);
        let fits = stem.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && stem.len() <= MAX_NAME;
        if fits && !self.0.is_empty() {
            Ok(())
        } else {
            Err("a task pattern is `*`, a task's name, or the beginning of names followed by `*`")
        }
    }

    /// Is it for tasks of this name?
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(stem) => name.starts_with(stem),
            None => name == self.0,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A device owner's permission for a user's tasks to run there.
// spec: PERM-1
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Where.
    pub device: PublicKey,
    /// Whose tasks.
    pub user: UserKey,
    /// Which tasks, by their names.
    pub pattern: Pattern,
    /// Only this code.
    pub module: Option<ModuleHash>,
    /// Until when, in milliseconds since 1970; for good if none.
    pub until_ms: Option<u64>,
    /// What such tasks may touch there at most.
    pub permissions: Permissions,
}

/// What everybody may know of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSubmitted {
    /// Its id, which its submitter's log alone may use from here on.
    pub task: TaskId,
    /// Its name.
    pub name: String,
    /// Its code.
    pub module: ModuleHash,
    /// Its input, hidden by the task's own salt.
    pub input: Commitment,
    /// Longest duration in milliseconds.
    pub duration_ms: u64,
    /// Most memory in bytes.
    pub memory_bytes: u64,
    /// The submitter's patience.
    pub sla: Sla,
    /// What the submitter says of its importance.
    pub importance: Option<Importance>,
    /// Peers that shall run it.
    pub replicas: u8,
}

/// What became of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// It is the task's result.
    Done,
    /// A later attempt had been made, or the task had ended: it counts as spent, nothing else.
    Superseded,
}

/// An executing peer's statement for everybody, with the effect that it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completed {
    /// What the executing peer states.
    pub statement: Statement,
    /// Its signature.
    pub signature: Signature,
    /// What became of it.
    pub effect: Effect,
}

/// What the ledger holds of a receipt: nothing of the input, arguments or output can be guessed from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Which task.
    pub task: TaskId,
    /// Which try.
    pub attempt: u32,
    /// Who ran it.
    pub executor: PublicKey,
    /// Which code.
    pub module: ModuleHash,
    /// Under which engine.
    pub profile: ProfileId,
    /// How it ended: [`outcome_number`].
    pub outcome: u8,
    /// Units of fuel, those before a checkpoint included.
    pub fuel: u64,
    /// Fuel of those before the checkpoint it went on from.
    pub fuel_before: u64,
    /// Microseconds of CPU time, of this attempt.
    pub cpu_us: u64,
    /// Milliseconds from start to end, of this attempt.
    pub wall_ms: u64,
    /// Most bytes of memory.
    pub peak_memory: u64,
    /// What it used of which energy.
    pub energy: Metered,
    /// Is the use an estimate, since the worker could not report it?
    pub estimated: bool,
    /// What came out, hidden by the task's own salt.
    pub output: Commitment,
    /// The whole receipt, hidden alike.
    pub receipt: Commitment,
    /// Must another run of the same task have come to the same?
    pub comparable: bool,
}

/// An outcome as one byte.
pub fn outcome_number(outcome: &Outcome) -> u8 {
    crate::canonical::encode(outcome).first().copied().unwrap_or(u8::MAX)
}

impl Statement {
    /// What `receipt` says in public.
    pub fn of(receipt: &crate::receipt::SignedReceipt, salt: &[u8; 32], energy: Metered) -> Self {
        let body = &receipt.receipt;
        Self {
            task: body.task,
            attempt: body.attempt,
            executor: body.executor,
            module: body.module,
            profile: body.profile.id(),
            outcome: outcome_number(&body.outcome),
            fuel: body.usage.fuel,
            fuel_before: body.usage.fuel_before,
            cpu_us: body.usage.cpu_us,
            wall_ms: body.usage.wall_ms,
            peak_memory: body.usage.peak_memory,
            energy,
            estimated: body.usage.estimated,
            output: Commitment::new(salt, &crate::canonical::encode(&body.output)),
            receipt: Commitment::new(salt, &crate::canonical::encode(receipt)),
            comparable: body.not_comparable.is_empty(),
        }
    }

    /// What its executor commits to before any replica shows its result: nobody can find the result from it, and nobody
    /// else's is the same.
    // spec: DEL-8
    pub fn promise(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("taskmesh replica promise v1");
        hasher.update(&self.output.0).update(&[self.outcome]).update(&self.executor.0);
        // The whole receipt with its signature is what nobody but the executor has before it is shown.
        Digest(*hasher.update(&self.receipt.0).finalize().as_bytes())
    }

    /// The executing peer's signature.
    pub fn sign(&self, key: &SecretKey) -> Signature {
        key.sign(Domain::Statement, &crate::canonical::encode(self))
    }

    /// Did the executor named in it sign it?
    pub fn verify(&self, signature: &Signature) -> bool {
        self.executor.verify(Domain::Statement, &crate::canonical::encode(self), signature).is_ok()
    }
}

/// What an attempt used that came to no end, or whose result nobody took.
// spec: CO2-3, DEL-13
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Whose task.
    pub submitter: PublicKey,
    /// Which task.
    pub task: TaskId,
    /// Which try.
    pub attempt: u32,
    /// What it used of which energy.
    pub energy: Metered,
    /// Is a part of it an estimate, since the worker could not report it?
    pub estimated: bool,
}

/// What a task saved, in micrograms of CO2. Each part may be negative; together they are all of it.
// spec: CO2-3
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Saved {
    /// By running later: home at once against home at the time it ran.
    pub when_ug: i64,
    /// By running elsewhere: home against where it ran, at the time it ran.
    pub where_ug: i64,
    /// By a device that needs less, or more, for the same work.
    pub hardware_ug: i64,
    /// Lost attempts, replicas, transfer: negative, as it saves nothing.
    pub overhead_ug: i64,
}

impl Saved {
    /// All of it.
    pub fn total_ug(&self) -> i64 {
        [self.when_ug, self.where_ug, self.hardware_ug, self.overhead_ug]
            .into_iter()
            .fold(0, i64::saturating_add)
    }
}

/// A task's account, once it is known what running at once at home would have caused.
// spec: CO2-3, CO2-4
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounted {
    /// Which task.
    pub task: TaskId,
    /// The attempt whose result is the task's.
    pub attempt: u32,
    /// By which table what is unknown counts.
    pub factors: Factors,
    /// The same work at once on the submitter's own device, on the energy that was there.
    pub at_once: Vec<Piece>,
    /// The same work there at the time when the attempt ran.
    pub then: Vec<Piece>,
    /// Energy of moving module, inputs and output, in millijoule: an estimate by the byte.
    pub transfer_mj: u64,
    /// Attempts whose energy was on record by then, in order.
    pub counted: Vec<u32>,
    /// What that saved; none where a part of it is not known.
    pub saved: Option<Saved>,
}

/// Most attempts that an account names: more than rules let a task have.
pub const MAX_COUNTED: usize = 64;

impl Accounted {
    fn check(&self) -> Result<(), &'static str> {
        if self.counted.len() > MAX_COUNTED || self.counted.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err("the attempts in it are too many or out of order");
        }
        check_pieces(&self.at_once)?;
        check_pieces(&self.then)
    }
}

/// One more device of a member. The user's word in it is enough, whoever passes it on: a user whose only device is lost
/// has nobody else to say it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAdded {
    /// The user's and the device's word.
    pub cert: DeviceCert,
    /// What the device is called.
    pub name: String,
}

/// A user's word that a device of theirs is not to be trusted any more. It proves itself, as a proof of a fork does, so
/// it holds whoever passes it on and whatever becomes of their log: a stolen device has no say in it.
// spec: LED-3
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// In which community.
    pub community: CommunityId,
    /// Whose device.
    pub user: UserKey,
    /// Which device.
    pub device: PublicKey,
    /// The last entry of it that counts; none if nothing does.
    pub tip: Option<Tip>,
    /// By the user's key.
    pub signature: Signature,
}

impl Revocation {
    fn message(&self) -> Vec<u8> {
        crate::canonical::encode(&(&self.community, &self.user, &self.device, &self.tip))
    }

    /// Signs as the user.
    pub fn sign(key: &SecretKey, community: CommunityId, device: PublicKey, tip: Option<Tip>) -> Self {
        let user = UserKey(key.public());
        let mut this = Self { community, user, device, tip, signature: Signature([0; 64]) };
        this.signature = key.sign(Domain::Revocation, &this.message());
        this
    }

    /// Did the user named in it sign it?
    pub fn verify(&self) -> bool {
        self.user.0.verify(Domain::Revocation, &self.message(), &self.signature).is_ok()
    }

    /// The first entry of the device that does not count.
    pub fn end(&self) -> u64 {
        self.tip.map_or(0, |tip| tip.seq.saturating_add(1))
    }
}

/// A user's key replaced by another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// In which community.
    pub community: CommunityId,
    /// The old key.
    pub user: UserKey,
    /// The new key.
    pub new: UserKey,
    /// No entry that is dated earlier says it: nobody can say it again as of a day when the old key was good.
    pub from: Hlc,
    /// By the recovery key.
    pub signature: Signature,
    /// By the new key over the same: nobody takes what is somebody else's key, or becomes it.
    pub consent: Signature,
}

impl Rotation {
    fn message(&self) -> Vec<u8> {
        crate::canonical::encode(&(&self.community, &self.user, &self.new, &self.from))
    }

    /// Signs with the recovery key and the new one.
    pub fn sign(
        recovery: &SecretKey,
        community: CommunityId,
        user: UserKey,
        new: &SecretKey,
        from: Hlc,
    ) -> Self {
        let unsigned = Signature([0; 64]);
        let mut this = Self {
            community,
            user,
            new: UserKey(new.public()),
            from,
            signature: unsigned,
            consent: unsigned,
        };
        let message = this.message();
        this.signature = recovery.sign(Domain::Rotation, &message);
        this.consent = new.sign(Domain::Successor, &message);
        this
    }

    /// Did the new key sign it?
    pub fn is_agreed(&self) -> bool {
        self.new.0.verify(Domain::Successor, &self.message(), &self.consent).is_ok()
    }

    /// Did the recovery key sign it, and the new one?
    pub fn verify(&self, recovery: &PublicKey) -> bool {
        recovery.verify(Domain::Rotation, &self.message(), &self.signature).is_ok() && self.is_agreed()
    }
}

/// The hash of a payload's bytes, as a header holds it.
pub fn payload_hash(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}
