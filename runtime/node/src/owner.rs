//! Tasks of this device: each is the device's to look after until it ends.
// spec: DEL-1, DEL-3, DEL-4

use crate::command::{Answer, CommandError, Draft, ErrorKind, ExpectedView, Happening, PlanView, Progress};
use crate::community::Misbehaviour;
use crate::fetches::Fetches;
use crate::moves::{Plan, Stand, is_planned};
use crate::node::{Node, Timer, error};
use crate::replicas::{Group, Twin};
use mesh_policies::accounting::TRANSFER_UJ_PER_BYTE;
use mesh_policies::health;
use mesh_policies::importance::{
    Course, Energy, Patience, ROOM_MS, Start, Times, Voice, course, has_waited_too_long, haste,
    is_lack_of_energy, may_start,
};
use mesh_policies::placement::decide::{Decision, HOUR_MS, Numbers, Peer, Why, Work, decide};
use mesh_policies::placement::hours::HORIZON;
use mesh_policies::queue::{Place, Turn, Waiting, place};
use mesh_protocol::ad::EnergyClaim;
use mesh_protocol::canonical;
use mesh_protocol::frame::{AttemptId, Ended, MAX_LEASE_MS, Offer, Phase, Released, TaskFrame};
use mesh_protocol::ids::{BlobHash, Commitment, EntryId, ProfileId, TaskId};
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Completed, Effect, MAX_TEXT, Payload, Statement, TaskSubmitted};
use mesh_protocol::reason::Reason;
use mesh_protocol::receipt::{NotComparable, Receipt, SignedReceipt};
use mesh_protocol::record::Table;
use mesh_protocol::task::{Blob, Importance, SignedTask, Sla, TaskSpec, VERSION};
use mesh_protocol::text::sanitise;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// How long a peer has to answer an offer.
const OFFER_MS: u64 = 5_000;
/// How soon waiting tasks are tried again after something changed, so that several changes make one try.
const PLACE_SOON_MS: u64 = 0;
/// How soon the next of many waiting tasks are tried.
const PLACE_NEXT_MS: u64 = 10;
/// Waiting tasks tried at once; the next are tried in the next turn, so that one turn stays short.
const PLACE_AT_ONCE: usize = 64;
/// Shortest and longest time before a peer that refused or lost a task is asked again.
const BACK_OFF_MS: (u64, u64) = (250, 60_000);
/// For so long it is remembered that peers gave a task up; so often that costs it no time, and then twice as long each
/// time.
const UNSTEADY_MS: u64 = 3_600_000;
const STEADY_LOSSES: usize = 3;
const UNSTEADY_FIRST_MS: u64 = 8_000;
/// How long a grant is not offered on that its donor says to hold no more.
const STALE_GRANT_MS: u64 = 60_000;
/// Longer than anything lasts, and no overflow when added to a moment.
const NEVER_MS: u64 = u64::MAX >> 1;
/// How often waiting tasks are looked at, whatever happened.
const PLACE_EVERY_MS: u64 = 5_000;
/// Offers made for one task, refused ones included: enough for days of refusals at the longest back-off.
pub(crate) const MAX_OFFERS: usize = 4_000;
const _: () = assert!(MAX_OFFERS <= crate::ledger::MOST_OFFERS, "the ledger tells of each");
/// Why a task ends whose attempts have run for as long as one submission pays for.
const SPENT: &str = "its attempts have run for as long as one submission pays for; submit it again";
/// How long a device may take to be told the time after it started: minutes, where the network comes up late.
const CLOCK_MS: u64 = 600_000;
/// Tasks kept on this device, those that have ended included. Each is some kilobytes. Of more, those that ended first
/// are forgotten.
const MAX_TASKS: usize = 20_000;

/// How much dearer a full device is than an empty one, in thousandths, so that load spreads among equals.
const CROWDED: u64 = 50;
/// How much dearer the own device is, which its owner is using: more than makes equals.
const IN_USE: u64 = 20;
/// How much dearer is a place that has no free slot, or not the energy, now: it is waited for only where it halves
/// what the task costs.
const QUEUED: u64 = 1000;
/// Bytes that travel in a millisecond (1 MB/s, a slow home's uplink).
const BYTES_PER_MS: u64 = 1000;
/// Microjoule of a µWh.
const UJ_PER_UWH: u64 = 3600;

/// A device as its task's owner knows it.
#[derive(Clone)]
pub(crate) struct Candidate {
    pub(crate) device: PublicKey,
    pub(crate) own: bool,
    /// May it run the task now?
    pub(crate) permitted: Result<(), Reason>,
    pub(crate) energy: Option<EnergyClaim>,
    pub(crate) free_slots: u16,
    pub(crate) grant: Option<EntryId>,
    pub(crate) path: Vec<u32>,
    low: Option<u16>,
    pub(crate) slots: u16,
    watts: u16,
}

/// Where a task is in its life.
// spec: DEL-9
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TaskState {
    /// No peer has it.
    Waiting,
    /// A peer was asked and has not answered.
    Offered,
    /// A peer has taken it.
    Running,
    /// Its result is fetched and checked.
    Fetching,
    /// Its result is here.
    Done,
    /// It ended without one.
    Failed,
    /// Its owner took it back.
    Cancelled,
}

/// What happens to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskEvent {
    /// A peer was chosen, and the attempt is on record.
    Offer,
    /// The peer takes it.
    Accept,
    /// The peer does not.
    Refuse,
    /// The attempt came to no end: the peer says so, is silent, or its result does not hold.
    Lose,
    /// The peer has a result.
    End,
    /// The result is here and holds.
    Settle,
    /// There is nothing left to try.
    GiveUp,
    /// Its owner takes it back.
    Cancel,
}

impl TaskState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Offered,
        Self::Running,
        Self::Fetching,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The state after an event; none where it changes nothing.
    // spec: DEL-4, DEL-9, DEL-11
    pub fn on(self, event: TaskEvent) -> Option<Self> {
        use TaskEvent as E;
        Some(match (self, event) {
            (Self::Waiting, E::Offer) => Self::Offered,
            (Self::Offered, E::Accept) => Self::Running,
            (Self::Offered, E::Refuse) | (Self::Offered | Self::Running | Self::Fetching, E::Lose) => {
                Self::Waiting
            }
            (Self::Offered | Self::Running, E::End) => Self::Fetching,
            (Self::Fetching, E::Settle) => Self::Done,
            (Self::Waiting, E::GiveUp) => Self::Failed,
            (Self::Waiting | Self::Offered | Self::Running | Self::Fetching, E::Cancel) => Self::Cancelled,
            _ => return None,
        })
    }

    /// Is it over?
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }

    /// Does a peer have it?
    pub fn is_out(self) -> bool {
        matches!(self, Self::Offered | Self::Running | Self::Fetching)
    }
}

impl TaskEvent {
    /// Every event.
    pub const ALL: [Self; 8] = [
        Self::Offer,
        Self::Accept,
        Self::Refuse,
        Self::Lose,
        Self::End,
        Self::Settle,
        Self::GiveUp,
        Self::Cancel,
    ];
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fate {
    /// Nothing yet.
    Open,
    /// The peer did not take it.
    Refused(Reason),
    /// It came to no end.
    Lost(Reason),
    /// Its result is the task's.
    Done,
    /// Its result came too late.
    Superseded,
    /// Its result is that of the others, one of which is the task's.
    Agreed,
    /// Its result is not the one that most came to.
    Differed,
}

impl Fate {
    /// Does the ledger have its result?
    fn is_recorded(&self) -> bool {
        matches!(self, Self::Done | Self::Superseded | Self::Agreed | Self::Differed)
    }
}

/// An attempt as the owner keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Try {
    pub(crate) device: PublicKey,
    pub(crate) grant: Option<EntryId>,
    pub(crate) tip_seq: u64,
    pub(crate) fate: Fate,
    /// Which of the task's, from 1.
    pub(crate) number: u32,
    /// Is it a twin's, and not the task's own?
    pub(crate) twin: bool,
    /// Did it begin from a checkpoint?
    pub(crate) resumed: bool,
}

/// What is kept of a task over a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) task: SignedTask,
    /// Only there.
    pub(crate) on: Option<PublicKey>,
    pub(crate) state: TaskState,
    pub(crate) tries: Vec<Try>,
    pub(crate) resume: Option<Blob>,
    pub(crate) result: Option<(u32, SignedReceipt, Blob)>,
    pub(crate) failed: Option<Reason>,
    /// What came of its changes to the executing peer's shares.
    pub(crate) released: Option<Released>,
    announced: bool,
    /// Its owner vetoed a delegation: it runs in ECO mode.
    eco: bool,
    /// What makes it a matter of public health.
    pub(crate) health: Option<String>,
    /// What makes it another's twin.
    pub(crate) twin: Option<Twin>,
    /// Its own twins.
    pub(crate) group: Option<Group>,
    /// Which engine `resume` is of, if that is known. It stands last, see [`Node::restore_task`].
    pub(crate) state_of: Option<ProfileId>,
}

impl Kept {
    /// A task that has not been tried yet.
    fn new(task: SignedTask, on: Option<PublicKey>, health: Option<String>) -> Self {
        Self {
            task,
            on,
            state: TaskState::Waiting,
            tries: Vec::new(),
            resume: None,
            result: None,
            failed: None,
            released: None,
            announced: false,
            eco: false,
            health,
            twin: None,
            group: None,
            state_of: None,
        }
    }

    /// A twin of a task, which has not been tried yet. That its task is announced does for it.
    pub(crate) fn twin(of: &Self, twin: Twin) -> Self {
        let new = Self::new(of.task.clone(), of.on, of.health.clone());
        Self { announced: true, eco: of.eco, twin: Some(twin), ..new }
    }
}

/// A task of this device.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) kept: Kept,
    heard_at: u64,
    pub(crate) renew_at: u64,
    /// How long the attempt that counts has computed, as far as was heard.
    pub(crate) ran_ms: u64,
    /// What is planned with it while it runs.
    pub(crate) stands: Plan,
    pub(crate) progress: Option<Progress>,
    /// Peers that are not asked until then, and why.
    pub(crate) blocked: BTreeMap<PublicKey, (u64, Reason)>,
    refusals: u32,
    pub(crate) not_before: u64,
    /// Which peers gave it up lately, and when, the last one last.
    gave_up: Vec<(PublicKey, u64)>,
    /// Why each peer could not take it when it was tried last.
    pub(crate) why: Vec<(PublicKey, Reason)>,
    /// What it waits for by choice.
    pub(crate) plan: Option<String>,
    /// Was its owner told that it will be late?
    pub(crate) warned: bool,
    pub(crate) fetching: Option<Box<Ended>>,
    /// What of it is on its way here.
    pub(crate) fetches: Fetches,
    /// Since when there is a result of a time that has not come, by the boot clock.
    ahead: Option<u64>,
    /// Who was given its state and could not run it, since it was saved.
    pub(crate) in_vain: Vec<PublicKey>,
    /// What its service level and its vote make of it.
    pub(crate) course: Course,
    /// Where it stands in the queue while it waits.
    place: Option<Place>,
    /// Starts of tasks submitted later, where it could have run itself.
    overtaken: u32,
}

impl Task {
    pub(crate) fn new(kept: Kept) -> Self {
        Self {
            course: course(kept.task.spec.sla, Voice::NoBallot),
            place: None,
            overtaken: 0,
            kept,
            heard_at: 0,
            renew_at: 0,
            ran_ms: 0,
            stands: Plan::default(),
            progress: None,
            blocked: BTreeMap::new(),
            refusals: 0,
            not_before: 0,
            gave_up: Vec::new(),
            why: Vec::new(),
            plan: None,
            warned: false,
            fetching: None,
            fetches: Fetches::default(),
            ahead: None,
            in_vain: Vec::new(),
        }
    }

    pub(crate) fn spec(&self) -> &TaskSpec {
        &self.kept.task.spec
    }

    /// The number of the attempt that counts.
    pub(crate) fn current(&self) -> u32 {
        self.last().map_or(0, |attempt| attempt.number)
    }

    pub(crate) fn device(&self) -> Option<PublicKey> {
        self.last().map(|attempt| attempt.device)
    }

    /// The attempt that counts.
    pub(crate) fn last(&self) -> Option<&Try> {
        self.kept.tries.iter().rev().find(|it| !it.twin)
    }

    pub(crate) fn last_mut(&mut self) -> Option<&mut Try> {
        self.kept.tries.iter_mut().rev().find(|it| !it.twin)
    }

    pub(crate) fn try_of(&self, number: u32) -> Option<&Try> {
        self.kept.tries.iter().find(|it| it.number == number)
    }

    pub(crate) fn try_of_mut(&mut self, number: u32) -> Option<&mut Try> {
        self.kept.tries.iter_mut().find(|it| it.number == number)
    }

    /// Its result is fetched.
    pub(crate) fn expect(&mut self, ended: Box<Ended>) {
        self.fetching = Some(ended);
    }

    /// Attempts that began, as far as is known, and were not ended by anybody's will or for the energy.
    fn begun(&self) -> u32 {
        let begun = self.kept.tries.iter().filter(|it| match &it.fate {
            Fate::Refused(_) => false,
            Fate::Lost(reason) => !is_planned(reason),
            Fate::Open | Fate::Done | Fate::Superseded | Fate::Agreed | Fate::Differed => true,
        });
        begun.count() as u32
    }

    /// How often its module and inputs went to another device, those of its replicas included.
    // spec: CO2-3
    fn went_out(&self, me: PublicKey) -> u64 {
        let away = |it: &&Try| it.device != me && !matches!(it.fate, Fate::Refused(_));
        u64::try_from(self.kept.tries.iter().filter(away).count()).unwrap_or(u64::MAX)
    }

    /// Its peer gave it up, or had it taken away, and that counts as no try. Each time is an entry in this device's log,
    /// and peers can do so as fast as the line allows, so the first few come at once and further ones ever later. Says
    /// how long it waits.
    // spec: DEL-3, NET-4
    fn given_up(&mut self, by: PublicKey, now: u64) -> u64 {
        if self.gave_up.last().is_some_and(|(_, at)| now.saturating_sub(*at) >= UNSTEADY_MS) {
            self.gave_up.clear();
        }
        self.gave_up.push((by, now));
        let more = self.gave_up.len().saturating_sub(STEADY_LOSSES).min(20);
        if more == 0 { 0 } else { (UNSTEADY_FIRST_MS << more).min(crate::moves::REST_MS) }
    }

    /// Who gave it up lately, where that happens again and again.
    // spec: DEL-3
    fn unsteady_peers(&self, now: u64) -> impl Iterator<Item = &PublicKey> {
        let often = self.gave_up.len() > STEADY_LOSSES;
        let lately =
            self.gave_up.iter().filter(move |(_, at)| often && now.saturating_sub(*at) < UNSTEADY_MS);
        lately.map(|(peer, _)| peer)
    }

    /// Must it run on clean energy, since its owner ended a delegation?
    pub(crate) fn is_eco(&self) -> bool {
        self.kept.eco && matches!(self.spec().sla, Sla::Urgent | Sla::High | Sla::Normal)
    }

    pub(crate) fn is_announced(&self) -> bool {
        self.kept.announced
    }

    fn as_waiting(&self, id: TaskId) -> Waiting {
        let spec = self.spec();
        Waiting {
            task: id,
            health: self.course.health,
            rank: self.course.rank,
            latest_start_ms: Times::of(spec).latest_ms(spec.limits.duration_ms),
            created_ms: spec.created_ms,
            overtaken: self.overtaken,
        }
    }
}

fn back_off(times: u32) -> u64 {
    BACK_OFF_MS.0.saturating_mul(1 << times.min(20)).min(BACK_OFF_MS.1)
}

impl Node {
    pub(crate) fn restore_task(&mut self, value: &[u8]) -> Option<()> {
        // What was kept before it was known of which engine its state is ends without that.
        let kept: Kept =
            canonical::decode(value).or_else(|_| canonical::decode(&[value, &[0]].concat())).ok()?;
        self.tasks.insert(kept.key(), Task::new(kept));
        Some(())
    }

    pub(crate) fn start_tasks(&mut self) {
        let now = self.now.boot_ms;
        let ids: Vec<TaskId> = self.tasks.keys().copied().collect();
        for id in ids {
            self.requeue(id);
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            task.heard_at = now;
            match task.kept.state {
                // The result was on its way: it is asked for again.
                TaskState::Fetching => {
                    task.kept.state = TaskState::Running;
                    // Of replicas, whoever has it need not be the one that is there first.
                    if !task.has_replicas() {
                        self.arm_in(Timer::Task(id), 0);
                    }
                }
                TaskState::Offered | TaskState::Running if !task.has_replicas() => {
                    self.arm_in(Timer::Task(id), 0);
                }
                _ => {}
            }
        }
        self.start_groups();
        self.place_soon();
    }

    pub(crate) fn step_task(&mut self, id: TaskId, event: TaskEvent) -> bool {
        let Some(task) = self.tasks.get_mut(&id) else { return false };
        let Some(next) = task.kept.state.on(event) else { return false };
        task.kept.state = next;
        self.sort_task(id);
        if next.is_over() || next == TaskState::Waiting {
            self.disarm(Timer::Task(id));
            self.fetch_no_more(id);
        }
        if next == TaskState::Waiting {
            // Its ballot went on while it was out.
            self.requeue(id);
        }
        true
    }

    /// A task that is not kept any more is not looked for either.
    pub(crate) fn forget_place(&mut self, id: TaskId, task: &Task) {
        if let Some(place) = &task.place {
            self.waiting.remove(place);
        }
        let at = (task.spec().created_ms, id);
        self.waiting_by_age.remove(&at);
        self.out.remove(&at);
        self.over.remove(&at);
    }

    /// Tasks that are with somebody.
    pub(crate) fn running(&self) -> impl Iterator<Item = TaskId> {
        self.out.iter().map(|(_, id)| self.wire_of(*id))
    }

    /// Under which number others know a task: a twin under its task's.
    pub(crate) fn wire_of(&self, id: TaskId) -> TaskId {
        self.tasks.get(&id).map_or(id, |task| task.wire(id))
    }

    /// Puts a task where its state says that it is looked for.
    pub(crate) fn sort_task(&mut self, id: TaskId) {
        let most = self.ledger.governance().rules().max_overtaken;
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let (state, at) = (task.kept.state, (task.spec().created_ms, id));
        if let Some(before) = task.place.take() {
            self.waiting.remove(&before);
        }
        if state == TaskState::Waiting {
            let place = place(&task.as_waiting(id), most);
            task.place = Some(place);
            self.waiting.insert(place);
        } else {
            self.open_ballots.remove(&id);
        }
        let put = |set: &mut BTreeSet<(u64, TaskId)>, belongs: bool| {
            if belongs {
                set.insert(at)
            } else {
                set.remove(&at)
            };
        };
        put(&mut self.waiting_by_age, state == TaskState::Waiting);
        put(&mut self.out, state.is_out());
        put(&mut self.over, state.is_over());
    }

    /// Makes room for one more task: the one that ended first is forgotten, if there are too many.
    // spec: ARC-7
    fn make_room(&mut self) -> bool {
        while self.tasks.len() >= MAX_TASKS {
            let Some((_, id)) = self.over.pop_first() else { return false };
            self.stop_twins(id, Reason::Unknown);
            self.tasks.remove(&id);
            self.drop_kept(Table::Tasks, id.0.to_vec());
        }
        true
    }

    pub(crate) fn keep_task(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        let value = canonical::encode(&task.kept);
        self.keep_bytes(Table::Tasks, id.0.to_vec(), value);
    }

    pub(crate) fn tell_task(&mut self, id: TaskId) {
        let Some(id) = self.tasks.get(&id).map(|task| task.wire(id)) else { return };
        let Some(task) = self.tasks.get(&id) else { return };
        let state = crate::views::state_name(task.kept.state).to_owned();
        let ended = task.kept.state.is_over();
        let why = self.why(id);
        self.tell(Happening::Task { task: id, state, why, ended });
    }

    // ---- submitting ----

    // spec: DEL-1
    pub(crate) fn submit(&mut self, draft: Draft) -> Result<Answer, CommandError> {
        let (Some(community), Some(user)) = (self.community(), self.my_user()) else {
            return Err(self.outside("submit"));
        };
        let on = match &draft.on {
            Some(on) => Some(self.find_device(on)?),
            None if matches!(draft.sla, Sla::SolarOnly | Sla::WindOnly) => Some(self.me),
            None => None,
        };
        if draft.replicas > 1 && draft.on.is_some() {
            return Err(error(
                ErrorKind::Invalid,
                "submit: replicas run on different owners' peers, and one peer is named",
                Some("leave out `--on` or `--replicas`"),
            ));
        }
        let spec = TaskSpec {
            version: VERSION,
            community,
            submitter: self.me,
            user,
            nonce: draft.nonce,
            name: draft.name,
            module: draft.module,
            module_len: draft.module_len,
            args: draft.args,
            env: draft.env,
            stdin: draft.stdin,
            inputs: draft.inputs,
            input: draft.input,
            limits: draft.limits,
            permissions: draft.permissions,
            sla: draft.sla,
            importance: draft.importance,
            followed: draft.followed,
            created_ms: self.now.wall_ms,
            start_by_ms: draft.start_by_ms,
            finish_by_ms: draft.finish_by_ms,
            replicas: draft.replicas,
            quorum: draft.quorum,
        };
        spec.check().map_err(|why| error(ErrorKind::Invalid, format!("submit: {why}"), None))?;
        let id = spec.id();
        if self.tasks.contains_key(&id) {
            return Ok(Answer::Submitted { task: id, again: true, warning: None, advice: None, on: None });
        }
        if canonical::encode(&spec).len() > mesh_protocol::task::MAX_TASK {
            return Err(error(
                ErrorKind::Invalid,
                "submit: arguments, environment and input names are too long together",
                Some("put them into an input file"),
            ));
        }
        // spec: DEL-8
        let owners = self.owners();
        if usize::from(spec.replicas) > owners {
            let who = if owners == 1 { "one member has a device" } else { "members have devices" };
            let count = if owners == 1 { String::new() } else { format!("{owners} ") };
            return Err(error(
                ErrorKind::Invalid,
                format!(
                    "submit: {} replicas run on devices of as many different owners, and {count}{who} here",
                    spec.replicas
                ),
                Some("give no more --replicas than that; `mesh members` lists who has devices"),
            ));
        }
        let text = [spec.name.as_str(), &draft.description].join("\n");
        let health = self.flags_health(&text);
        if draft.dry_run {
            self.rely();
            self.learn(&spec.name);
            return Ok(Answer::Plan(self.plan(&spec, on, health)));
        }
        self.may_submit(&spec, spec.replicas, health.is_some()).map_err(|reason| {
            let none = reason == Reason::OverQuota && self.has_no_share();
            let hint = match none {
                true => "this device has no part of your daily quota: `mesh device share` gives it one, on the device that has your user key",
                false => "`mesh quota` shows what you have used, when it resets, and what would give you more",
            };
            let why = self.refusal(&reason, health.is_some());
            error(ErrorKind::Forbidden, format!("submit: {why}"), Some(hint))
        })?;
        if !self.make_room() {
            return Err(error(
                ErrorKind::Unavailable,
                format!("submit: {MAX_TASKS} tasks of this device have not ended yet"),
                None,
            ));
        }
        if let Some(word) = &health {
            tracing::warn!(name = %spec.name, word, "a task runs as a matter of public health, at once and on any energy");
            self.tell(Happening::Warning {
                text: format!(
                    "the task {} mentions {word:?}: it runs as a matter of public health, at once and on any energy",
                    spec.name
                ),
            });
        }
        self.learn(&spec.name);
        let advice = self.advice(&spec).filter(|_| health.is_none());
        let first = health.as_ref().map(|word| {
            format!(
                "it goes first as a matter of public health, since it mentions {word:?}, at once and on any energy; all \
                 members see that, and may dispute it"
            )
        });
        self.accept_task(spec, on, health.map(|_| draft.description));
        let warnings: Vec<String> = first.into_iter().chain(self.late_from_the_start(id)).collect();
        Ok(Answer::Submitted {
            task: id,
            again: false,
            warning: (!warnings.is_empty()).then(|| warnings.join("; ")),
            advice,
            on: None,
        })
    }

    /// Members who have a device that counts.
    fn owners(&self) -> usize {
        let governance = self.ledger.governance();
        let owners: BTreeSet<_> =
            governance.devices().keys().filter_map(|device| governance.owner(device)).collect();
        owners.len()
    }

    /// The word of public health in a text, if it makes a difference for this device's user.
    // spec: HEALTH-1
    fn flags_health(&self, text: &str) -> Option<String> {
        let word = health::mention(text, &self.ledger.governance().rules().health_words)?;
        self.circle().is_believed(&self.me).then(|| word.to_owned())
    }

    pub(crate) fn accept_task(&mut self, spec: TaskSpec, on: Option<PublicKey>, health: Option<String>) {
        let id = spec.id();
        let health = health.map(|described| {
            let words = &self.ledger.governance().rules().health_words;
            let named = health::mention(&spec.name, words).is_some();
            let mut text = sanitise(if named { &spec.name } else { &described }, false);
            if text.len() > MAX_TEXT {
                // What mentions it may stand far behind: the word alone is said then.
                text = health::mention(&text, words).unwrap_or_default().to_owned();
            }
            text
        });
        let kept = Kept::new(spec.sign(&self.config.device), on, health);
        self.tasks.insert(id, Task::new(kept));
        self.sort_task(id);
        self.announce(id);
        self.requeue(id);
        self.make_replicas(id);
        self.keep_task(id);
        self.tell_task(id);
        self.place(id);
        self.place_soon();
    }

    /// That it is kept to have been said, so that it is not said anew after each start, each of which would count.
    // spec: DEL-1, QUOTA-4
    fn announce(&mut self, id: TaskId) {
        if !self.can_say() {
            return;
        }
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if std::mem::replace(&mut task.kept.announced, true) {
            return;
        }
        let spec = task.spec();
        let submitted = TaskSubmitted {
            task: id,
            name: spec.name.clone(),
            module: spec.module,
            input: Commitment::new(&spec.nonce, &spec.input.0),
            duration_ms: spec.limits.duration_ms,
            memory_bytes: spec.limits.memory_bytes,
            sla: spec.sla,
            importance: spec.importance,
            replicas: spec.replicas,
        };
        let health = task.kept.health.clone();
        self.say(Payload::TaskSubmitted(Box::new(submitted)), &[]);
        if let Some(text) = health {
            self.say(Payload::HealthFlagged { task: id, text }, &[]);
        }
        self.keep_task(id);
        self.requeue(id);
    }

    // ---- placing ----

    pub(crate) fn place_soon(&mut self) {
        if !self.waiting.is_empty() {
            self.arm_within(Timer::Place, PLACE_SOON_MS);
        }
    }

    pub(crate) fn place_waiting(&mut self) {
        let now = self.now.boot_ms;
        let is_due = |at: &&Place| self.tasks.get(&at.4).is_some_and(|task| task.not_before <= now);
        // Whatever has become free is for the first of the queue that can use it; the others have their turns after that,
        // from where the last turn ended.
        let first: Vec<Place> = self.waiting.iter().filter(is_due).take(PLACE_AT_ONCE / 2).copied().collect();
        let after = first.last().copied().max(self.placed_last);
        let rest = self.waiting.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let rest: Vec<Place> = rest.filter(is_due).take(PLACE_AT_ONCE / 2).copied().collect();
        let mut more = rest.len() == PLACE_AT_ONCE / 2;
        self.placed_last = rest.last().copied().filter(|_| more);
        for at in first.into_iter().chain(rest) {
            if let Placing::NoRoom = self.place(at.4) {
                self.placed_last = None;
                more = false;
                break;
            }
        }
        if !self.waiting.is_empty() {
            self.arm_within(Timer::Place, if more { PLACE_NEXT_MS } else { PLACE_EVERY_MS });
        }
    }

    /// The first waiting task whose time has come is tried at that time.
    fn wake_for(&mut self, at: u64) {
        self.arm_within(Timer::Place, at.saturating_sub(self.now.boot_ms));
    }

    pub(crate) fn candidates(
        &self,
        spec: &TaskSpec,
        course: &Course,
        on: Option<PublicKey>,
        blocked: &BTreeMap<PublicKey, (u64, Reason)>,
    ) -> Vec<Candidate> {
        let now = self.now.boot_ms;
        let governance = self.ledger.governance();
        let mut list: Vec<Candidate> = Vec::new();
        let mut add =
            |device: PublicKey, grant: Option<EntryId>, permitted: Result<(), Reason>, free_slots: u16| {
                let own = device == self.me;
                let claim = self.energy_of(&device);
                let permitted = match (blocked.get(&device), on) {
                    (_, Some(on)) if on != device => Err(Reason::Elsewhere),
                    (Some((until, reason)), _) if *until > now => Err(reason.clone()),
                    _ => permitted,
                };
                let start = self.start_of(spec, claim.as_ref(), &device, own);
                let permitted = match self.has_bug(Misbehaviour::OffersOnAnyEnergy) {
                    true => permitted,
                    false => permitted.and_then(|()| may_start(course, &start, governance.rules())),
                };
                let permitted = match permitted {
                    Ok(()) if free_slots == 0 => Err(Reason::NoCapacity),
                    other => other,
                };
                let outlook = self.outlook_of(&device);
                let path = claim.and(outlook).map_or_else(Vec::new, |it| it.path(self.now.wall_ms));
                let slots = self.ledger.facts().registered(&device).map_or(free_slots, |it| it.slots);
                let watts = outlook.map_or(0, |it| crate::energy::bound_watts(it.slot_watts));
                let low = start.low_g_per_kwh;
                list.push(Candidate {
                    device,
                    own,
                    permitted,
                    energy: claim,
                    free_slots,
                    grant,
                    path,
                    low,
                    slots,
                    watts,
                });
            };
        let (slots, _) = self.room();
        let mine = self.shares().and_then(|()| self.has_room(spec, None));
        add(self.me, None, mine, slots);
        let mut granted: BTreeMap<PublicKey, (Option<EntryId>, Result<(), Reason>)> = BTreeMap::new();
        for (id, fact) in self.ledger.facts().grants() {
            if governance.current(fact.grant.user) != spec.user || fact.grant.device == self.me {
                continue;
            }
            let device = fact.grant.device;
            let judged = self.judge_grant(id, device, spec).and_then(|given| {
                mesh_policies::permission::excess(&spec.permissions, &given)
                    .map_or(Ok(()), |what| Err(Reason::NotGranted(what)))
            });
            let judged = judged.and_then(|()| match self.stale_grants.get(id) {
                Some((until, reason)) if *until > now => Err(reason.clone()),
                _ => Ok(()),
            });
            let entry = granted.entry(device).or_insert((None, Err(Reason::NoGrant)));
            if entry.1.is_err() {
                *entry = (Some(*id), judged);
            }
        }
        let known: BTreeSet<PublicKey> = granted.keys().copied().collect();
        for (device, (grant, judged)) in granted {
            let Some(owner) = governance.owner(&device) else { continue };
            let trusted =
                self.trust.as_ref().is_none_or(|trusted| trusted.contains(&owner)) || owner == spec.user;
            let peer = self.peers.get(&device);
            let there = peer.is_some_and(|peer| peer.connected);
            let ad = self.ad_of(&device);
            let closed = ad.and_then(|ad| ad.closed.clone());
            let fits = ad.is_none_or(|ad| spec.limits.duration_ms <= ad.longest_ms);
            let permitted = match () {
                () if judged.is_err() => judged,
                () if !trusted => Err(Reason::NotTrusted),
                () if !there || ad.is_none() => Err(Reason::NotConnected),
                () if closed.is_some() => closed.map_or(Ok(()), Err),
                () if !fits => Err(Reason::TooLarge {
                    what: "milliseconds".into(),
                    wanted: spec.limits.duration_ms,
                    given: ad.map_or(0, |ad| ad.longest_ms),
                }),
                () => Ok(()),
            };
            let free = peer.map_or(0, |peer| peer.free_slots);
            add(device, grant, permitted, free);
        }
        // Who names a device should hear what it lacks there, also where that is everything.
        if let Some(on) = on.filter(|on| *on != self.me && governance.owner(on).is_some())
            && !known.contains(&on)
        {
            add(on, None, Err(Reason::NoGrant), 0);
        }
        list
    }

    /// Peers that are not asked for a task now, and why.
    pub(crate) fn blocked_for(&self, id: TaskId, task: &Task) -> BTreeMap<PublicKey, (u64, Reason)> {
        let mut blocked = task.blocked.clone();
        for device in self.taken_by_twins(id) {
            blocked.insert(device, (u64::MAX, Reason::SameOwner));
        }
        blocked
    }

    /// Might a peer that is neither this device's owner's nor the owner's of `by` run a task as `by` did?
    // spec: DEL-8
    pub(crate) fn somebody_else_could(&self, id: TaskId, by: &PublicKey, profile: ProfileId) -> bool {
        let Some(task) = self.tasks.get(&id) else { return false };
        let governance = self.ledger.governance();
        let owners = [governance.owner(by), self.my_user()];
        let candidates = self.candidates(task.spec(), &task.course, None, &BTreeMap::new());
        candidates.iter().any(|peer| {
            let soon = matches!(peer.permitted, Ok(()) | Err(Reason::NoCapacity | Reason::EnergyNotClean));
            let engine = self.ledger.facts().registered(&peer.device).map(|it| it.profile);
            soon && engine == Some(profile) && !owners.contains(&governance.owner(&peer.device))
        })
    }

    fn plan(&self, spec: &TaskSpec, on: Option<PublicKey>, health: Option<String>) -> PlanView {
        // Before it is submitted nobody can have voted on it.
        let may_wait = course(spec.sla, Voice::Pending).waits_for_ballot;
        let course = course(spec.sla, if health.is_some() { Voice::Health } else { Voice::NoBallot });
        let ballot_ms = self.circle().would_ask_ms(spec.user).filter(|_| health.is_none());
        let candidates = self.candidates(spec, &course, on, &BTreeMap::new());
        let decision = self.ask(spec, &course, None, &candidates, Stand::fresh(spec));
        let choice = match &decision {
            Decision::Run(device, ..) | Decision::Move(device, ..) => Some(self.device_name(device)),
            _ => None,
        };
        let plan = self.told(&decision, &candidates);
        let peers = candidates
            .iter()
            .map(|candidate| {
                let verdict = match &candidate.permitted {
                    Err(reason) => reason.to_string(),
                    Ok(()) => match candidate.energy {
                        Some(energy) => {
                            format!("it could take it now, at {} g CO2 per kWh", energy.g_per_kwh)
                        }
                        None => "it could take it now; its energy is unknown".into(),
                    },
                };
                (self.device_name(&candidate.device), verdict)
            })
            .collect();
        let expected = self.profile(&spec.name).map(|it| ExpectedView {
            runs: it.runs,
            wall_ms: it.wall_ms.1,
            memory: it.memory,
            energy_mj: it.energy_mj,
            voted: it.voted,
            waited_ms: it.waited_ms,
        });
        PlanView {
            choice,
            plan,
            rule: self.rule(&course, spec.sla),
            quota: self.costs(spec, health.is_some()),
            health,
            ballot_ms,
            waits_for_ballot: may_wait && ballot_ms.is_some(),
            finish_by_ms: haste(&course, &Times::of(spec)).1,
            peers,
            expected,
            advice: self.advice(spec),
        }
    }

    /// Offers a waiting task to the best peer, if there is one.
    fn place(&mut self, id: TaskId) -> Placing {
        if !self.can_say() {
            return Placing::NoRoom;
        }
        self.announce(id);
        let now = self.now.boot_ms;
        let Some(task) = self.tasks.get(&id) else { return Placing::Waits };
        if task.kept.state != TaskState::Waiting || task.not_before > now || task.has_replicas() {
            return Placing::Waits;
        }
        if self.was_offered_out(id, task) {
            self.give_up(id, Reason::TooManyAttempts(task.current()));
            return Placing::Waits;
        }
        // Nobody takes it any more, and each offer would be an entry in vain.
        if self.is_spent(self.me, task.wire(id), task.spec()) {
            self.give_up(id, Reason::Inadmissible(SPENT.into()));
            return Placing::Waits;
        }
        let (blocked, name) = (self.blocked_for(id, task), task.spec().name.clone());
        self.rely();
        self.learn(&name);
        let Some(task) = self.tasks.get(&id) else { return Placing::Waits };
        let candidates = self.candidates(task.spec(), &task.course, task.kept.on, &blocked);
        if self.is_expired(id) {
            self.give_up(id, Reason::Expired);
            return Placing::Waits;
        }
        // A peer may say so too, and would end the task by that.
        if has_waited_too_long(&task.course, task.spec().created_ms, self.now.wall_ms) {
            self.give_up(id, Reason::NeverEnoughEnergy);
            return Placing::Waits;
        }
        let stand = Stand::of(task, None);
        let mut decision = self.ask_others_first(task, None, &candidates, stand);
        let waits_by_choice = matches!(decision, Decision::Wait { why: Why::CleanerLater, .. });
        if waits_by_choice && self.presses(id, &candidates) {
            let Some(task) = self.tasks.get(&id) else { return Placing::Waits };
            let at_once = self.ask_others_first(task, Some(()), &candidates, stand);
            if let Decision::Run(device, _, numbers) = at_once {
                decision = Decision::Run(device, Why::Crowded, numbers);
            }
        }
        let Some(task) = self.tasks.get(&id) else { return Placing::Waits };
        // The next place that is free is what it waits for then, and no hour: the peers' reasons say so.
        let no_place = matches!(decision, Decision::Wait { why: Why::Busy, .. })
            && self.has_waited(task.spec(), &task.course, stand.left_ms);
        let plan = self.told(&decision, &candidates).filter(|_| !no_place);
        let late = matches!(decision, Decision::Impossible { soonest_ms: Some(_), .. });
        let starved = task.overtaken >= u32::from(self.ledger.governance().rules().max_overtaken);
        let device = match decision {
            Decision::Run(device, ..) | Decision::Move(device, ..) => Some(device),
            // Late is better than never: it is in more of a hurry now than any other. So is what was passed over as often
            // as it may be: for a better place it has waited long enough.
            Decision::Impossible { .. } | Decision::Wait { .. } | Decision::Pause { .. }
                if starved || matches!(decision, Decision::Impossible { .. }) =>
            {
                match self.ask_others_first(task, Some(()), &candidates, stand) {
                    Decision::Run(device, ..) => Some(device),
                    _ => None,
                }
            }
            Decision::Impossible { .. } | Decision::Wait { .. } | Decision::Pause { .. } => None,
        };
        let warn = late && !task.warned;
        let name = task.spec().name.clone();
        if let Some(task) = self.tasks.get_mut(&id) {
            task.warned |= late;
        }
        if let (true, Some(plan)) = (warn, &plan) {
            self.tell(Happening::Warning { text: format!("the task {name}: {plan}") });
        }
        let Some(device) = device else {
            // What is said of one that could run now is for whoever runs it.
            let Some(task) = self.tasks.get(&id) else { return Placing::Waits };
            let why: Vec<(PublicKey, Reason)> = candidates
                .iter()
                .filter_map(|peer| Some((peer.device, peer.permitted.clone().err()?)))
                .collect();
            let next = task.blocked.values().map(|(until, _)| *until).filter(|until| *until > now).min();
            let news = task.why != why || task.plan != plan;
            if let Some(task) = self.tasks.get_mut(&id) {
                task.why = why;
                task.plan = plan;
            }
            if let Some(next) = next {
                self.wake_for(next);
            }
            if news {
                self.tell_task(id);
            }
            // Whom only this one passes over, another may take.
            let passed_over =
                |peer: &Candidate| blocked.get(&peer.device).is_some_and(|(until, _)| *until > now);
            // What was passed over as often as it may be waits for memory, and nothing starts there before it.
            // spec: VOTE-9
            let waits_for_memory = |peer: &Candidate| starved && self.lacks_memory(peer);
            let full = candidates.iter().all(|peer| {
                let lacks_place = !worth_waiting(&peer.permitted) || waits_for_memory(peer);
                peer.free_slots == 0 || lacks_place && !passed_over(peer)
            });
            return if full { Placing::NoRoom } else { Placing::Waits };
        };
        if self.recounted(id) {
            return self.place(id);
        }
        let grant = candidates.iter().find(|peer| peer.device == device).and_then(|peer| peer.grant);
        if let Some(first) = self.goes_first(id, device) {
            return match self.place(first) {
                Placing::Offered => self.place(id),
                _ => Placing::Waits,
            };
        }
        self.passed_over(id, device);
        if let Some(task) = self.tasks.get_mut(&id) {
            task.plan = plan;
        }
        self.offer(id, device, grant);
        Placing::Offered
    }

    /// Was it offered as often as any may be? Those of all its replicas have numbers in one row.
    // spec: DEL-3, NET-4
    pub(crate) fn was_offered_out(&self, id: TaskId, task: &Task) -> bool {
        let whole = self.tasks.get(&task.wire(id)).map_or(0, |whole| whole.kept.tries.len());
        whole.max(task.kept.tries.len()) >= MAX_OFFERS
    }

    /// Owners who gave a task up lately with any of their devices, where that happens again and again.
    // spec: DEL-3
    pub(crate) fn unsteady_owners(&self, task: &Task) -> BTreeSet<PublicKey> {
        task.unsteady_peers(self.now.boot_ms).map(|peer| self.answerable(peer)).collect()
    }

    /// Who answers for what a device does: its owner, or the device itself where it has none.
    pub(crate) fn answerable(&self, device: &PublicKey) -> PublicKey {
        self.ledger.governance().owner(device).map_or(*device, |owner| owner.0)
    }

    /// Asks what becomes of a task. Whoever gave it up lately comes after others that could take it now, if that happens
    /// again and again: else it would be theirs for ever who say the best of their energy.
    // spec: DEL-3
    pub(crate) fn ask_others_first(
        &self,
        task: &Task,
        late: Option<()>,
        candidates: &[Candidate],
        stand: Stand,
    ) -> Decision {
        let ask = |of: &[Candidate]| self.ask(task.spec(), &task.course, late, of, stand);
        let unsteady = self.unsteady_owners(task);
        if unsteady.is_empty() {
            return ask(candidates);
        }
        let mut others = candidates.to_vec();
        // They stay in the list: what this device draws, and its carbon, is what others are measured by.
        for peer in others.iter_mut().filter(|peer| unsteady.contains(&self.answerable(&peer.device))) {
            peer.permitted = Err(Reason::Elsewhere);
        }
        match ask(&others) {
            run @ Decision::Run(..) => run,
            _ => ask(candidates),
        }
    }

    /// Did it wait for its energy until now, and has no time left to wait for a place?
    // spec: SLA-2, VOTE-6
    fn has_waited(&self, spec: &TaskSpec, course: &Course, left_ms: u64) -> bool {
        let latest_ms = Times::of(spec).latest_ms(left_ms);
        course.patience == Patience::UntilLatestStart
            && latest_ms.is_some_and(|latest| self.now.wall_ms >= latest)
    }

    /// What becomes of a task that does not run: the one place where the node asks.
    // spec: PLACE-1, PLACE-2, SLA-1, SLA-2
    pub(crate) fn ask(
        &self,
        spec: &TaskSpec,
        course: &Course,
        late: Option<()>,
        candidates: &[Candidate],
        stand: Stand,
    ) -> Decision {
        let rules = self.ledger.governance().rules();
        let latest_ms = Times::of(spec).latest_ms(stand.left_ms);
        let due = self.has_waited(spec, course, stand.left_ms);
        let (class, finish_by_ms) = match (late, due) {
            (Some(()), _) | (_, true) => (Sla::Urgent, None),
            (None, false) => haste(course, &Times::of(spec)),
        };
        // What lies between the last instruction and the result at home is not computed.
        let finish_by_ms = finish_by_ms.map(|by| by.saturating_sub(ROOM_MS));
        let Stand { runs_on, left_ms, unsaved_ms } = stand;
        // What such tasks hardly ever exceeded is what is planned with; what it may take at most still ends in time.
        let expected_ms = self.profile(&spec.name).map_or(left_ms, |it| it.expected_ms(left_ms));
        let finish_by_ms = finish_by_ms.map(|by| by.saturating_sub(left_ms - expected_ms));
        let left_ms = expected_ms;
        // What it costs is another question, which what was measured answers best. One that runs may be past that already.
        let usual_mj = runs_on.is_none().then(|| self.usual_mj(&spec.name)).flatten();
        // Measured on whichever device: what differs between devices is taken as their watts differ.
        // Against what this device draws, or else what most do not exceed: one that says a great deal would make the work
        // at all others seem nothing beside the way there.
        let known = |peer: &&Candidate| peer.watts > 0;
        let own_watts = candidates.iter().filter(known).find(|peer| peer.own).map(|peer| peer.watts);
        let mut all_watts: Vec<u16> = candidates.iter().filter(known).map(|peer| peer.watts).collect();
        all_watts.sort_unstable();
        let middle = all_watts.get(all_watts.len().saturating_sub(1) / 2).copied();
        let usual_watts = u64::from(own_watts.or(middle).unwrap_or(1).max(1));
        let bytes = spec.inputs.iter().map(|file| file.blob.len).sum::<u64>().saturating_add(spec.module_len);
        // As the accounts count it: what travels, by the energy at home.
        let home = candidates.iter().find(|peer| peer.own);
        let price_mg = |peer: &Candidate| {
            let known = home.and_then(|own| own.path.first()).or_else(|| peer.path.first());
            known.copied().map_or(0, u64::from)
        };
        let moved_uwh = bytes.saturating_mul(TRANSFER_UJ_PER_BYTE) / UJ_PER_UWH;
        let peers: Vec<Peer<'_>> = candidates
            .iter()
            .map(|peer| {
                // Nothing forecasts how much is renewable: what is not enough now is not said to be at any time.
                // spec: SLA-3, PLACE-3
                let renewable = peer
                    .energy
                    .is_some_and(|energy| energy.renewable_percent >= rules.clean_renewable_percent);
                let expected = |hour: usize| match course.energy {
                    Energy::Any => true,
                    Energy::Clean if !renewable => false,
                    Energy::Clean => peer.path.get(hour).is_some_and(|mg| {
                        *mg <= u32::from(rules.clean_g_per_kwh.max(peer.low.unwrap_or(0))) * 1000
                    }),
                    _ => false,
                };
                let later =
                    (1..HORIZON).filter(|hour| expected(*hour)).fold(0, |mask, hour| mask | 1 << hour);
                let (permitted, there, clean) = match &peer.permitted {
                    Ok(()) => (Ok(()), u128::MAX, later | 1),
                    Err(reason) if is_lack_of_energy(reason) => (Ok(()), u128::MAX, later),
                    Err(Reason::NoCapacity) => (Ok(()), !1, later),
                    Err(reason) => (Err(reason.clone()), 0, 0),
                };
                let busy = u64::from(peer.slots.saturating_sub(peer.free_slots)) * CROWDED
                    / u64::from(peer.slots.max(1));
                let own = if peer.own { IN_USE } else { 0 };
                let full = if peer.permitted.is_err() { QUEUED } else { 0 };
                Peer {
                    device: peer.device,
                    permitted,
                    path: &peer.path,
                    there,
                    clean,
                    work_ms: left_ms,
                    // At least something, so that places differ for the shortest, too.
                    work_uwh: match usual_mj {
                        Some(mj) => mj.saturating_mul(1000 * u64::from(peer.watts)) / usual_watts,
                        None => u64::from(peer.watts).saturating_mul(left_ms * 1000),
                    }
                    .div_euclid(UJ_PER_UWH)
                    .max(1),
                    move_ms: if peer.own { 0 } else { bytes / BYTES_PER_MS },
                    move_ug: if peer.own { 0 } else { moved_uwh * price_mg(peer) / 1_000_000 },
                    reliable: self.reliable.get(&peer.device).copied().unwrap_or(1000),
                    load: u16::try_from(busy + own + full).unwrap_or(u16::MAX),
                }
            })
            .collect();
        let id = spec.id();
        let seed = u64::from_be_bytes(*id.0.first_chunk().unwrap_or(&[0; 8]));
        let work = Work { class, finish_by_ms, since_ms: spec.created_ms, runs_on, unsaved_ms, seed };
        match decide(&work, self.now.wall_ms, &peers) {
            Decision::Run(device, Why::Urgent, numbers) if due => {
                Decision::Run(device, Why::Deadline, Numbers { latest_ms, ..numbers })
            }
            decision => decision,
        }
    }

    /// A decision in words, with its numbers.
    // spec: PLACE-3
    pub(crate) fn told(&self, decision: &Decision, candidates: &[Candidate]) -> Option<String> {
        let now = self.now.wall_ms;
        let at = |ms: u64| {
            let minutes = ms / 60_000;
            let days = (minutes / 1440).saturating_sub(now / 86_400_000);
            let day = if days == 0 { String::new() } else { format!(" in {days} d") };
            format!("{:02}:{:02} UTC{day}", minutes / 60 % 24, minutes % 60)
        };
        let grams = |mg: Option<u32>| {
            mg.filter(|mg| *mg < u32::MAX)
                .map_or_else(|| "unknown".to_owned(), |mg| format!("{} g", mg / 1000))
        };
        match decision {
            Decision::Wait { on: Some(on), until_ms: Some(until), why, numbers: Some(numbers) }
                // Where nothing is known the reasons of each peer say all there is.
                if numbers.then_mg_per_kwh < u32::MAX =>
            {
                let Numbers { then_mg_per_kwh, now_mg_per_kwh, latest_ms, .. } = numbers;
                let here =
                    candidates.iter().find(|peer| peer.own).and_then(|peer| peer.path.first().copied());
                let latest = latest_ms
                    .map_or(String::new(), |latest| format!("; it starts by {} at the latest", at(latest)));
                let hour = until - until % HOUR_MS;
                Some(format!(
                    "waits for {}: {} per kWh expected {}, {} there and {} here now ({}){latest}",
                    self.device_name(on),
                    grams(Some(*then_mg_per_kwh)),
                    at(hour),
                    grams(Some(*now_mg_per_kwh)),
                    grams(here),
                    match why {
                        Why::Busy => "it has no free slot",
                        Why::EnergyNotClean => "its energy is not clean enough now",
                        _ => "a later hour is cleaner",
                    }
                ))
            }
            Decision::Run(on, why, numbers) | Decision::Move(on, why, numbers)
                if numbers.now_mg_per_kwh < u32::MAX =>
            {
                let there = grams(Some(numbers.now_mg_per_kwh));
                let here = candidates.iter().find(|peer| peer.own);
                let here = match here {
                    Some(own) if own.device != *on => {
                        format!(" there and {} here", grams(own.path.first().copied()))
                    }
                    _ => String::new(),
                };
                let latest = match numbers.latest_ms.filter(|_| !matches!(why, Why::Urgent | Why::Crowded)) {
                    Some(latest) => format!("; it could have waited until {}", at(latest)),
                    None => String::new(),
                };
                let why = match why {
                    Why::Deadline => "there is no time left to wait",
                    Why::Urgent => "it waits for no energy",
                    Why::Crowded => "not all tasks fit into the cleaner hours",
                    Why::Stays => "nothing is so much cleaner that it should stop",
                    Why::CleanerElsewhere => "it is cleaner there",
                    _ => "no later hour is cleaner",
                };
                Some(format!("{there} per kWh{here} now ({why}){latest}"))
            }
            Decision::Pause { until_ms, why, numbers, .. } if numbers.then_mg_per_kwh < u32::MAX => {
                let latest = numbers.latest_ms;
                let latest =
                    latest.map_or(String::new(), |latest| format!("; it goes on by {} at the latest", at(latest)));
                Some(format!(
                    "waits until {}: {} per kWh expected then, {} there now ({}){latest}",
                    at(until_ms - until_ms % HOUR_MS),
                    grams(Some(numbers.then_mg_per_kwh)),
                    grams(Some(numbers.now_mg_per_kwh)),
                    match why {
                        Why::EnergyNotClean => "its energy is not clean enough now",
                        _ => "a later hour is cleaner",
                    }
                ))
            }
            Decision::Impossible { soonest_ms: Some(soonest), .. } => {
                Some(format!("may end late: by what it may take, the soonest end is {}", at(*soonest)))
            }
            _ => None,
        }
    }

    /// Is this device, with places free and more memory than a task asks for, lent to others up to less than that now?
    fn lacks_memory(&self, peer: &Candidate) -> bool {
        peer.device == self.me && peer.free_slots > 0 && peer.permitted == Err(Reason::NoCapacity)
    }

    /// A task that was passed over as often as it may be, is older than this one and could start on that device.
    // spec: VOTE-9
    fn goes_first(&self, id: TaskId, device: PublicKey) -> Option<TaskId> {
        let now = self.now.boot_ms;
        let me = self.tasks.get(&id)?.spec().created_ms;
        // These stand first in the queue, the oldest first.
        let starved = self.waiting.iter().take_while(|at| at.0 == Reverse(Turn::Starved));
        let older = starved.map(|at| at.4).take_while(|other| {
            self.tasks.get(other).is_some_and(|task| (task.spec().created_ms, *other) < (me, id))
        });
        let fits = |other: &TaskId, task: &Task| {
            let blocked = self.blocked_for(*other, task);
            let candidates = self.candidates(task.spec(), &task.course, task.kept.on, &blocked);
            task.not_before <= now
                && !task.has_replicas()
                && candidates
                    .iter()
                    .any(|peer| peer.device == device && (peer.permitted.is_ok() || self.lacks_memory(peer)))
        };
        // As many as are tried in one turn.
        older.take(PLACE_AT_ONCE).find(|other| self.tasks.get(other).is_some_and(|task| fits(other, task)))
    }

    /// A task starts on a device: older ones that could run there have been passed over once more.
    // spec: VOTE-9
    pub(crate) fn passed_over(&mut self, started: TaskId, device: PublicKey) {
        let now = self.now.boot_ms;
        let Some(at) = self.tasks.get(&started).map(|task| (task.spec().created_ms, started)) else { return };
        let own = device == self.me;
        let energy = self.energy_of(&device);
        let rules = self.ledger.governance().rules();
        let could = |id: TaskId, task: &Task| {
            let open = task.blocked.get(&device).is_none_or(|(until, _)| *until <= now)
                && !task.has_replicas()
                && !self.taken_by_twins(id).contains(&device);
            let start = self.start_of(task.spec(), energy.as_ref(), &device, own);
            open && task.not_before <= now
                && task.kept.on.is_none_or(|on| on == device)
                && may_start(&task.course, &start, rules).is_ok()
        };
        let older = self.waiting_by_age.range(..at).filter_map(|(_, id)| Some((*id, self.tasks.get(id)?)));
        let older: Vec<TaskId> = older.filter(|(id, task)| could(*id, task)).map(|(id, _)| id).collect();
        for id in older {
            if let Some(task) = self.tasks.get_mut(&id) {
                task.overtaken = task.overtaken.saturating_add(1);
            }
            self.sort_task(id);
        }
    }

    /// A start of a task on a device as it stands now.
    pub(crate) fn start_of<'a>(
        &self,
        spec: &TaskSpec,
        energy: Option<&'a EnergyClaim>,
        device: &PublicKey,
        own: bool,
    ) -> Start<'a> {
        Start {
            energy,
            low_g_per_kwh: self.outlook_of(device).and_then(|outlook| outlook.low_g_per_kwh),
            sun: self.has_sun_for(spec, device, crate::energy::Draws::Nothing, None),
            spare: self.has_spare(device, crate::energy::Draws::Nothing, None),
            own,
            // What its owner took back waits for clean energy, whatever they had declared.
            declared_critical: own
                && spec.importance == Some(Importance::Critical)
                && !self.tasks.get(&spec.id()).is_some_and(|task| task.kept.eco),
            now_ms: self.now.wall_ms,
            created_ms: spec.created_ms,
            latest_start_ms: Times::of(spec)
                .latest_ms(spec.limits.duration_ms)
                .filter(|_| !self.has_bug(Misbehaviour::ForgetsDeadlines)),
        }
    }

    /// The attempt is on record, with its number, before anybody hears of it.
    // spec: DEL-4, DEL-11
    pub(crate) fn offer(&mut self, id: TaskId, device: PublicKey, grant: Option<EntryId>) {
        if !self.step_task(id, TaskEvent::Offer) {
            return;
        }
        let Some(attempt) = self.record_try(id, device, grant) else { return };
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let wire = task.wire(id);
        task.heard_at = self.now.boot_ms;
        task.renew_at = self.now.boot_ms;
        task.ahead = None;
        task.ran_ms = 0;
        task.stands.begins(task.last().is_some_and(|last| last.resumed));
        task.progress = None;
        task.why.clear();
        // Nothing in it is of any length, so it is always written.
        let Ok(tip) = self.write(Payload::Delegated { task: wire, attempt, device, grant }, &[]) else {
            return;
        };
        if let Some(last) = self.tasks.get_mut(&id).and_then(Task::last_mut) {
            last.tip_seq = tip.seq;
        }
        self.keep_both(id);
        if let Some(peer) = self.peers.get_mut(&device) {
            peer.free_slots = peer.free_slots.saturating_sub(1);
        }
        self.arm_in(Timer::Task(id), OFFER_MS);
        self.tell_task(id);
        self.send_offer(id);
    }

    pub(crate) fn lease_ms(&self, task: &Task) -> u64 {
        let rules = self.ledger.governance().rules();
        if task.spec().followed {
            // Short, and yet longer than this device needs to see a silence.
            rules.suspect_after_ms * 2
        } else {
            let held = task.stands.held_until().map_or(0, |until| until.saturating_sub(self.now.wall_ms));
            let whole = task.spec().limits.duration_ms.saturating_add(rules.lease_grace_ms);
            whole.saturating_add(held).min(MAX_LEASE_MS)
        }
    }

    fn send_offer(&mut self, id: TaskId) {
        let Some(task) = self.tasks.get(&id) else { return };
        let Some(last) = task.last() else { return };
        let (device, attempt) = (last.device, task.current());
        let Some(tip) = self.ledger.tip_at(&self.me, last.tip_seq) else { return };
        let offer = Offer {
            task: task.kept.task.clone(),
            attempt,
            grant: last.grant,
            lease_ms: self.lease_ms(task),
            tip,
            entries: self.ledger.recent(tip.seq),
            resume: task.kept.resume.filter(|_| last.resumed),
        };
        self.send_task(device, AttemptId { task: id, attempt }, TaskFrame::Offer(Box::new(offer)));
    }

    pub(crate) fn unblock_tasks(&mut self) {
        for (_, id) in &self.waiting_by_age {
            if let Some(task) = self.tasks.get_mut(id) {
                task.blocked.retain(|_, (_, reason)| {
                    !matches!(
                        reason,
                        Reason::NoGrant
                            | Reason::GrantExpired
                            | Reason::GrantRevoked
                            | Reason::NotGranted(_)
                            | Reason::NotAMember
                    )
                });
            }
        }
    }

    // ---- hearing of it ----

    pub(crate) fn heard_task(&mut self, peer: PublicKey, id: AttemptId, frame: TaskFrame) {
        if peer != self.me && !self.is_member(&peer) {
            self.counters.strangers += 1;
            if matches!(frame, TaskFrame::Offer(_)) {
                self.counters.offers_refused += 1;
                self.send_task(peer, id, TaskFrame::Refused(Reason::NotAMember));
            }
            return;
        }
        match frame {
            TaskFrame::Offer(_)
            | TaskFrame::Renew { .. }
            | TaskFrame::Stop(_)
            | TaskFrame::Settled(_)
            | TaskFrame::Reveal
            | TaskFrame::Hold { .. }
            | TaskFrame::GoOn
            | TaskFrame::Status => self.executor_heard(peer, id, frame),
            _ => self.owner_heard(peer, id, frame),
        }
    }

    fn owner_heard(&mut self, peer: PublicKey, id: AttemptId, frame: TaskFrame) {
        let now = self.now.boot_ms;
        let id = self.unwired(id);
        let stale_counts =
            self.has_bug(Misbehaviour::TakesStaleResults) && matches!(frame, TaskFrame::Ended(_));
        let Some(task) = self.tasks.get_mut(&id.task) else {
            // Nobody's task: whoever runs it may forget it.
            self.counters.stale_frames += 1;
            if !matches!(frame, TaskFrame::Lost(_) | TaskFrame::Refused(_)) {
                self.send_task(peer, id, TaskFrame::Stop(Reason::Unknown));
            }
            return;
        };
        if task.try_of(id.attempt).is_none_or(|it| it.device != peer) {
            // A peer speaks of an attempt that was never given to it.
            self.counters.stale_frames += 1;
            return;
        }
        if id.attempt != task.current() && !stale_counts || !task.kept.state.is_out() {
            return self.heard_late(peer, id, frame);
        }
        task.heard_at = now;
        match frame {
            TaskFrame::Accepted => self.accepted(id.task),
            TaskFrame::Refused(reason) => self.refused(id, reason.heard_of_attempt()),
            TaskFrame::Beat(beat) => {
                let phase = beat.phase;
                let first = task.kept.state == TaskState::Offered;
                let held = beat.held.and_then(Reason::heard_of_hold);
                let progress = Progress { phase, permille: beat.permille, note: beat.note, held };
                let changed = task
                    .progress
                    .as_ref()
                    .is_none_or(|before| before.phase != phase || before.held != progress.held);
                task.progress = Some(progress.clone());
                let wire = task.wire(id.task);
                if first {
                    self.accepted(id.task);
                }
                self.tell(Happening::Progress { task: wire, progress });
                if changed {
                    self.tell_task(id.task);
                }
                // What stands still as before is thought about with everything else.
                if changed && phase == Phase::Paused {
                    self.regard_task(id.task);
                }
            }
            TaskFrame::Checkpoint { blob, .. } => {
                if peer == self.me {
                    self.checkpointed(id.task, blob);
                } else {
                    self.saved_there(id.task, blob);
                }
            }
            TaskFrame::Ended(ended) => self.heard_ended(peer, id, ended),
            TaskFrame::Promised(promise) => self.promised(id, promise),
            TaskFrame::Lost(reason) => self.lost(id.task, reason.heard_of_attempt()),
            _ => {}
        }
    }

    pub(crate) fn accepted(&mut self, id: TaskId) {
        if self.step_task(id, TaskEvent::Accept) {
            self.keep_task(id);
            self.arm_in(Timer::Task(id), self.beat_every());
            self.twin_accepted(id);
            self.regard_later();
            self.tell_task(id);
        }
    }

    /// About an attempt that does not count any more.
    // spec: DEL-3, DEL-4, DEL-11
    fn heard_late(&mut self, peer: PublicKey, id: AttemptId, frame: TaskFrame) {
        let ran_within = self.ran_within(id, peer);
        let Some(task) = self.tasks.get_mut(&id.task) else { return };
        let over = task.kept.state == TaskState::Cancelled;
        // A replica whose result is here says more of it: what becomes of it is said when all are compared.
        if task.compares(id.attempt) {
            return;
        }
        match frame {
            TaskFrame::Ended(ended) => {
                let resumed = task.try_of(id.attempt).is_some_and(|it| it.resumed);
                let of = AttemptId { task: task.wire(id.task), ..id };
                let genuine = genuine(&ended, task.spec(), of, peer, resumed, ran_within).is_ok();
                // A check says what the task comes to, whenever it does: nobody need run it once more for that.
                let checks = task.is_twin() && !task.spec().is_replicated();
                if genuine && checks {
                    self.set_fate(id.task, Fate::Open);
                    return self.twin_ended(peer, id, &ended);
                }
                // Of replicas, what is shown before it was promised is no result.
                let genuine = genuine && !task.is_twin();
                let Some(attempt) = task.try_of_mut(id.attempt) else { return };
                let first = !attempt.fate.is_recorded();
                // It may have been recorded, and the word of that lost.
                let done = matches!(attempt.fate, Fate::Done);
                if first && genuine {
                    // What was spent was spent.
                    attempt.fate = Fate::Superseded;
                    self.keep_task(id.task);
                    self.completed(&ended, Effect::Superseded);
                } else if first {
                    self.counters.bad_results += 1;
                }
                let effect = if done { Effect::Done } else { Effect::Superseded };
                self.send_task(peer, id, TaskFrame::Settled(effect));
            }
            TaskFrame::Released(released) => {
                let fate = task.try_of(id.attempt).map(|attempt| &attempt.fate);
                let expected = task.spec().changes_shares() && matches!(fate, Some(Fate::Done));
                if task.kept.released.is_some() || !expected {
                    self.counters.stale_frames += 1;
                    return;
                }
                task.kept.released = Some(released);
                self.keep_task(id.task);
                self.tell_task(id.task);
            }
            TaskFrame::Promised(_) if task.try_of(id.attempt).is_some_and(|it| it.fate.is_recorded()) => {
                // It is on record with what it showed, and the word of that was lost.
                let done = task.try_of(id.attempt).is_some_and(|it| it.fate == Fate::Done);
                let effect = if done { Effect::Done } else { Effect::Superseded };
                self.send_task(peer, id, TaskFrame::Settled(effect));
            }
            TaskFrame::Accepted | TaskFrame::Beat(_) | TaskFrame::Promised(_) => {
                self.counters.stale_frames += 1;
                let reason = if over { Reason::Cancelled } else { Reason::Fenced };
                self.send_task(peer, id, TaskFrame::Stop(reason));
            }
            _ => {}
        }
    }

    /// From when until when an attempt whose result comes now can have run, by whichever clock: two may differ by as much
    /// as the rules allow, and so may the date on which it was given and the clock of who gave it.
    // spec: REP-2, CO2-4
    pub(crate) fn ran_within(&self, id: AttemptId, peer: PublicKey) -> (u64, u64) {
        if peer == self.me {
            // By this clock, however it was set meanwhile: entries are dated ahead for as long as it was.
            return (0, u64::MAX);
        }
        let of = self.tasks.get(&id.task).map_or(id.task, |task| task.wire(id.task));
        let given = self.ledger.facts().tasks().given_ms(&(self.me, of), id.attempt);
        let slack = self.ledger.governance().rules().max_skew_ms.saturating_mul(2);
        (given.unwrap_or(0).saturating_sub(slack), self.now.wall_ms.saturating_add(slack))
    }

    /// Is a result of a time that has not come by this clock? A device that has just started may not have been told the
    /// time yet, and whoever ran the task honestly did it by a better clock: for a while, it is asked again instead of
    /// judged.
    // spec: DEL-4
    fn is_ahead(&mut self, id: AttemptId, ended: &Ended, until_ms: u64) -> bool {
        let now = self.now.boot_ms;
        let Some(task) = self.tasks.get_mut(&id.task) else { return false };
        if ended.statement.energy.pieces.iter().all(|piece| piece.until_ms() <= until_ms) {
            return false;
        }
        let since = *task.ahead.get_or_insert(now);
        now.saturating_sub(since) < CLOCK_MS
    }

    pub(crate) fn completed(&mut self, ended: &Ended, effect: Effect) {
        let completed = Completed { statement: ended.statement.clone(), signature: ended.signature, effect };
        self.say(Payload::Completed(Box::new(completed)), &[]);
    }

    fn refused(&mut self, id: AttemptId, reason: Reason) {
        let now = self.now.boot_ms;
        if !self.step_task(id.task, TaskEvent::Refuse) {
            return;
        }
        let Some(task) = self.tasks.get_mut(&id.task) else { return };
        task.refusals = task.refusals.saturating_add(1);
        // A person's no is no until that person says otherwise to everybody.
        let wait =
            if matches!(reason, Reason::RefusedByOwner(_)) { NEVER_MS } else { back_off(task.refusals) };
        let Some(device) = task.device() else { return };
        let grant = task.last().and_then(|it| it.grant);
        if let Some(grant) = grant.filter(|_| matches!(reason, Reason::GrantExpired | Reason::GrantRevoked)) {
            // It holds for no other task either, by the donor's clock or ledger: each would be an entry in vain.
            self.stale_grants.retain(|_, (until, _)| *until > now);
            self.stale_grants.insert(grant, (now.saturating_add(STALE_GRANT_MS), reason.clone()));
            self.wake_for(now.saturating_add(STALE_GRANT_MS));
        }
        self.set_fate(id.task, Fate::Refused(reason.clone()));
        let Some(task) = self.tasks.get_mut(&id.task) else { return };
        task.plan = None;
        let full = reason == Reason::NoCapacity;
        task.blocked.insert(device, (now.saturating_add(wait), reason));
        if !full {
            self.slot_freed(device);
        }
        if wait < NEVER_MS {
            self.wake_for(now + wait);
        }
        self.keep_both(id.task);
        self.tell_task(id.task);
        self.place_soon();
    }

    fn heard_ended(&mut self, peer: PublicKey, id: AttemptId, ended: Box<Ended>) {
        let anyones = self.has_bug(Misbehaviour::BelievesUnsignedResults);
        let ran_within = self.ran_within(id, peer);
        let Some(task) = self.tasks.get(&id.task) else { return };
        if task.kept.state == TaskState::Fetching {
            return;
        }
        if task.has_replicas() {
            // It was judged when it was shown, and is waited for longer than a peer may be silent.
            return self.fetch_agreed(id.task);
        }
        if self.is_ahead(id, &ended, ran_within.1) {
            return self.twin_is_early(id.task);
        }
        let Some(task) = self.tasks.get_mut(&id.task) else { return };
        if task.is_twin() {
            return self.twin_ended(peer, id, &ended);
        }
        let resumed = task.try_of(id.attempt).is_some_and(|it| it.resumed);
        if let Err(why) = genuine(&ended, task.spec(), id, peer, resumed, ran_within)
            && !(anyones && why.contains("signature"))
        {
            self.counters.bad_results += 1;
            self.send_task(peer, id, TaskFrame::Stop(Reason::BadResult(why.into())));
            return self.lost(id.task, Reason::BadResult(why.into()));
        }
        task.fetching = Some(ended);
        self.step_task(id.task, TaskEvent::End);
        if peer == self.me {
            // Made and kept here.
            self.settle(id.task);
        } else {
            self.arm_in(Timer::Task(id.task), self.beat_every());
            self.fetch_result(id.task);
        }
    }

    pub(crate) fn checkpointed(&mut self, id: TaskId, blob: Blob) {
        let now = self.now.boot_ms;
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if task.is_twin() {
            // What goes on from somebody else's state is no word of its own.
            return self.unneeded(blob.hash);
        }
        task.saved(now);
        let before = task.kept.resume.replace(blob);
        task.in_vain.clear();
        let of = task.device().and_then(|device| self.ledger.facts().registered(&device));
        task.kept.state_of = of.map(|it| it.profile);
        if let Some(before) = before {
            self.unneeded(before.hash);
        }
        self.keep_task(id);
        // What stands still may go on elsewhere now.
        self.regard_task(id);
    }

    /// The one effect: from open to done, on record before anybody hears of it.
    // spec: DEL-4, DEL-11
    pub(crate) fn settle(&mut self, id: TaskId) {
        if !self.step_task(id, TaskEvent::Settle) {
            return;
        }
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let attempt = task.current();
        let Some(ended) = task.fetching.take() else { return };
        let Some(last) = task.last_mut() else { return };
        last.fate = Fate::Done;
        let device = last.device;
        task.kept.result = Some((attempt, ended.receipt.clone(), ended.output));
        let given = bytes_of(task.spec()).saturating_mul(task.went_out(self.me));
        let moved = given.saturating_add(if device == self.me { 0 } else { ended.output.len });
        if let Some(checkpoint) = task.kept.resume.take() {
            self.unneeded(checkpoint.hash);
        }
        self.keep_task(id);
        let statement = ended.statement.clone();
        self.tell_done(id, ended);
        self.replicas_settled(id);
        self.owes_account(&statement, moved);
        self.slot_freed(device);
        self.tell_task(id);
        self.send_task(device, AttemptId { task: id, attempt }, TaskFrame::Settled(Effect::Done));
        self.place_soon();
    }

    pub(crate) fn slot_freed(&mut self, device: PublicKey) {
        if let Some(peer) = self.peers.get_mut(&device)
            && peer.ad.is_some()
        {
            peer.free_slots = peer.free_slots.saturating_add(1);
        }
    }

    /// The attempt that counts came to no end.
    // spec: DEL-3
    pub(crate) fn lost(&mut self, id: TaskId, reason: Reason) {
        self.lost_by(id, reason, false);
    }

    /// `moved`: this device takes it away from there by its own plan, and may bring it back. If a peer's word were enough
    /// for that, it could have the task offered again and again as fast as the line allows.
    pub(crate) fn lost_by(&mut self, id: TaskId, reason: Reason, moved: bool) {
        if self.tasks.get(&id).is_some_and(Task::has_replicas) {
            return self.agreed_unfetched(id, reason);
        }
        let now = self.now.boot_ms;
        let most = self.ledger.governance().rules().max_attempts;
        if !self.step_task(id, TaskEvent::Lose) {
            return;
        }
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.fetching = None;
        task.progress = None;
        let Some(device) = task.device() else { return };
        let with_state = task.last().is_some_and(|last| last.resumed);
        self.resumed_in_vain(id, &reason);
        self.set_fate(id, Fate::Lost(reason.clone()));
        if self.is_too_late(id) {
            self.slot_freed(device);
            return self.twin_failed(id);
        }
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.plan = None;
        if let Some(twin) = &mut task.kept.twin {
            twin.promise = None;
        }
        let begun = task.begun();
        // What went wrong there may go wrong there again: others come first.
        let wait = match reason {
            // It may be another's doing that the state is of no use; without it, it may be asked once more.
            Reason::Inadmissible(_) if with_state => back_off(begun + 6),
            Reason::VetoedByDonor | Reason::BadResult(_) | Reason::Inadmissible(_) => NEVER_MS,
            // Its energy says when it may be asked again.
            _ if moved => 0,
            _ => back_off(begun + 6),
        };
        task.blocked.insert(device, (now.saturating_add(wait), reason.clone()));
        // The first new try comes at once, each further one later.
        let rest = if begun < 2 { 0 } else { back_off(begun) };
        let unsteady = if is_planned(&reason) && !moved { task.given_up(device, now) } else { 0 };
        // It rests no longer than it can wait, but a moment in any case; once it is late, each offer is an entry all the same.
        let latest = Times::of(task.spec()).latest_ms(Stand::of(task, None).left_ms);
        let left = latest.and_then(|latest| latest.checked_sub(self.now.wall_ms));
        let unsteady = unsteady.min(left.map_or(u64::MAX, |left| left.max(UNSTEADY_FIRST_MS)));
        task.not_before = now.saturating_add(rest.max(unsteady));
        let not_before = task.not_before;
        if reason == Reason::NoCapacity {
            // It said so although its ad had a free place: until the next ad nothing else is sent there in vain.
            if let Some(peer) = self.peers.get_mut(&device) {
                peer.free_slots = 0;
            }
        } else {
            self.slot_freed(device);
        }
        if begun >= most && !is_planned(&reason) {
            return self.give_up(id, Reason::TooManyAttempts(begun));
        }
        self.keep_both(id);
        self.tell_task(id);
        self.wake_for(not_before);
        self.place_soon();
    }

    pub(crate) fn give_up(&mut self, id: TaskId, reason: Reason) {
        if self.tasks.get(&id).is_some_and(Task::is_twin) {
            return self.twin_failed(id);
        }
        if !self.step_task(id, TaskEvent::GiveUp) {
            return;
        }
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.kept.failed = Some(reason.clone());
        let attempts = u32::try_from(task.kept.tries.len()).unwrap_or(u32::MAX);
        self.keep_task(id);
        self.say(Payload::Failed { task: id, attempts, reason }, &[]);
        self.tell_task(id);
    }

    // ---- time and connections ----

    /// While this device slept it could hear nothing, which is no peer's silence.
    // spec: DEL-3
    pub(crate) fn owner_woke(&mut self, slept_ms: u64) {
        if slept_ms < self.ledger.governance().rules().suspect_after_ms / 2 {
            return;
        }
        let now = self.now.boot_ms;
        for (_, id) in &self.out {
            if let Some(task) = self.tasks.get_mut(id) {
                task.heard_at = now;
            }
        }
        self.grant_groups();
    }

    pub(crate) fn task_due(&mut self, id: TaskId) {
        let now = self.now.boot_ms;
        let rules = self.ledger.governance().rules();
        let (suspect, grace, every) = (rules.suspect_after_ms, rules.lease_grace_ms, self.beat_every());
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let Some(device) = task.device().filter(|_| task.kept.state.is_out()) else { return };
        // As it is known there, also when it is lost: of a twin that goes then, nobody would know whose it was.
        let attempt = AttemptId { task: task.wire(id), attempt: task.current() };
        let belongs = device == self.me || self.ledger.governance().owner(&device).is_some();
        if !belongs {
            self.lost(id, Reason::NoMembersDevice);
            return self.send_task(device, attempt, TaskFrame::Stop(Reason::Fenced));
        }
        let silent = now.saturating_sub(task.heard_at);
        let patience = if task.kept.state == TaskState::Offered { OFFER_MS.min(suspect) } else { suspect };
        if device != self.me && silent >= patience {
            let there = self.is_connected(&device);
            self.lost(id, if there { Reason::PeerSilent } else { Reason::NotConnected });
            return self.send_task(device, attempt, TaskFrame::Stop(Reason::Fenced));
        }
        // Time in which the peer held it does not count; what is left is bounded, whatever the peer says.
        let held = task.progress.as_ref().is_some_and(|progress| task.stands.is_held(progress));
        // A replica that has promised its result computes no more.
        let running = !held && task.kept.twin.as_ref().is_none_or(|twin| twin.promise.is_none());
        if running && task.kept.state == TaskState::Running {
            task.ran_ms = task.ran_ms.saturating_add(now.saturating_sub(task.renew_at).min(every));
        }
        if task.ran_ms > task.spec().limits.duration_ms.saturating_add(grace) {
            self.lost(id, Reason::Overdue);
            return self.send_task(device, attempt, TaskFrame::Stop(Reason::Overdue));
        }
        task.renew_at = now;
        let lease_ms = match self.tasks.get(&id) {
            Some(task) if task.kept.state != TaskState::Offered => Some(self.lease_ms(task)),
            _ => None,
        };
        let left = patience.saturating_sub(silent).max(1);
        self.arm_in(Timer::Task(id), left.min(every));
        if let Some(lease_ms) = lease_ms {
            self.send_task(device, attempt, TaskFrame::Renew { lease_ms });
        }
    }

    pub(crate) fn tasks_reconnected(&mut self, peer: PublicKey) {
        let mine: Vec<(TaskId, u32, TaskState)> =
            self.out_at(peer).map(|(id, task)| (id, task.current(), task.kept.state)).collect();
        for (id, attempt, state) in mine {
            match state {
                TaskState::Offered => self.send_offer(id),
                _ => self.send_task(peer, AttemptId { task: id, attempt }, TaskFrame::Status),
            }
        }
        self.place_soon();
    }

    pub(crate) fn tasks_disconnected(&mut self, peer: PublicKey) {
        let mine: Vec<TaskId> = self.out_at(peer).map(|(id, _)| id).collect();
        for id in mine {
            self.tell_task(id);
        }
    }

    /// Tasks that this peer has.
    fn out_at(&self, peer: PublicKey) -> impl Iterator<Item = (TaskId, &Task)> {
        let out = self.out.iter().filter_map(|(_, id)| Some((*id, self.tasks.get(id)?)));
        out.filter(move |(_, task)| task.device() == Some(peer))
    }

    // ---- what its owner wants ----

    pub(crate) fn cancel(&mut self, id: TaskId) -> Result<(), CommandError> {
        let Some(task) = self.tasks.get(&id) else { return Err(crate::views::no_task()) };
        let (out, device) = (task.kept.state.is_out(), task.device());
        let attempt = AttemptId { task: id, attempt: task.current() };
        if !self.step_task(id, TaskEvent::Cancel) {
            return Err(error(
                ErrorKind::Conflict,
                "cancel the task: it has ended",
                Some("`mesh task show ID` shows how"),
            ));
        }
        if let Some(task) = self.tasks.get_mut(&id) {
            // Nobody wants its result now: should it come all the same, it goes again.
            // spec: ARC-7
            task.fetching = None;
            if let Some(last) = task.last_mut().filter(|last| last.fate == Fate::Open) {
                last.fate = Fate::Lost(Reason::Cancelled);
            }
        }
        self.stop_twins(id, Reason::Cancelled);
        self.keep_task(id);
        self.say(Payload::Cancelled { task: id }, &[]);
        self.tell_task(id);
        if let (true, Some(device)) = (out, device) {
            self.slot_freed(device);
            self.send_task(device, attempt, TaskFrame::Stop(Reason::Cancelled));
        }
        Ok(())
    }

    /// Ends a delegation: the task comes back to this device and runs here in ECO mode.
    // spec: DEL-6
    pub(crate) fn veto_own(&mut self, id: TaskId, why: String) -> Result<(), CommandError> {
        let Some(task) = self.tasks.get_mut(&id) else { return Err(crate::views::no_task()) };
        let device = task.device().filter(|_| task.kept.state.is_out());
        let Some(device) = device.filter(|device| *device != self.me) else {
            return Err(error(
                ErrorKind::Conflict,
                "veto the task: no other peer has it now",
                Some("`mesh task cancel ID` ends the task itself"),
            ));
        };
        task.kept.on = Some(self.me);
        task.kept.eco = true;
        task.course = course(Sla::Eco, Voice::NoBallot);
        let attempt = AttemptId { task: id, attempt: task.current() };
        self.say(Payload::Vetoed { task: id, attempt: attempt.attempt, why }, &[]);
        self.lost(id, Reason::VetoedByOwner);
        self.send_task(device, attempt, TaskFrame::Stop(Reason::VetoedByOwner));
        Ok(())
    }

    /// A device's owner ended an attempt there, by its log: it may be that the device cannot be reached to say so.
    // spec: DEL-6
    pub(crate) fn heard_veto(&mut self, by: PublicKey, id: AttemptId) {
        let id = self.unwired(id);
        let Some(task) = self.tasks.get_mut(&id.task) else { return };
        if by == self.me || task.try_of(id.attempt).is_none_or(|it| it.device != by) {
            return;
        }
        if id.attempt == task.current() && task.kept.state.is_out() {
            return self.lost(id.task, Reason::VetoedByDonor);
        }
        // It was taken for silent, and might be asked again.
        task.blocked.insert(by, (self.now.boot_ms.saturating_add(NEVER_MS), Reason::VetoedByDonor));
    }

    // ---- questions ----

    /// May this peer have these bytes? Members may have the modules of tasks that are out; inputs and checkpoints go to
    /// whoever has the attempt that counts; outputs to the task's owner.
    // spec: LED-2
    pub fn may_fetch(&self, peer: &PublicKey, blob: &BlobHash) -> bool {
        let out = || self.out.iter().filter_map(|(_, id)| self.tasks.get(id));
        let module = || out().any(|task| BlobHash::from(task.spec().module) == *blob);
        let input = || {
            out().filter(|task| task.device() == Some(*peer)).any(|task| {
                let spec = task.spec();
                let files = spec.inputs.iter().map(|file| file.blob);
                files.chain(spec.stdin).chain(task.kept.resume).any(|held| held.hash == *blob)
            })
        };
        self.is_member(peer) && (input() || self.may_fetch_from_attempts(peer, blob) || module())
    }

    /// Blobs that are still needed here: what something may yet be done with, and results of this device's tasks. All
    /// others can go.
    // spec: ARC-7
    pub fn needed(&self) -> (BTreeSet<BlobHash>, BTreeSet<BlobHash>) {
        (self.each_in_use().collect(), self.each_result().collect())
    }

    /// What a task was given.
    pub fn given_to(&self, task: &TaskId) -> Vec<Blob> {
        self.tasks.get(task).map(|task| given(task.spec()).collect()).unwrap_or_default()
    }

    /// The same of one blob, at no cost but looking.
    pub(crate) fn is_needed(&self, hash: &BlobHash) -> bool {
        self.each_in_use().chain(self.each_result()).any(|needed| needed == *hash)
    }

    /// What nothing can run again has no use for what it was given; a check of its result does.
    fn each_in_use(&self) -> impl Iterator<Item = BlobHash> {
        let runs = |task: &&Task| !task.kept.state.is_over() || task.kept.group.is_some();
        let tasks = self.tasks.values().filter(runs).flat_map(|task| {
            let blobs = given(task.spec()).chain(task.kept.resume);
            let blobs = blobs.chain(task.fetching.as_ref().map(|it| it.output)).chain(task.fetches.saving());
            blobs.map(|blob| blob.hash)
        });
        tasks.chain(self.needed_by_attempts())
    }

    fn each_result(&self) -> impl Iterator<Item = BlobHash> {
        self.tasks.values().filter_map(|task| task.kept.result.as_ref().map(|(_, _, output)| output.hash))
    }

    /// Where a task of this device is in its life, and why.
    pub fn task_state(&self, task: &TaskId) -> Option<(TaskState, String)> {
        let state = self.tasks.get(task)?.kept.state;
        Some((state, self.why(*task)))
    }

    /// Where what a task says can be followed: the attempt that counts.
    pub fn attempt_of(&self, task: &TaskId) -> Option<(AttemptId, PublicKey)> {
        let known = self.tasks.get(task)?;
        let Some(device) = known.device() else { return self.twin_to_follow(task) };
        Some((AttemptId { task: *task, attempt: known.current() }, device))
    }
}

/// What came of trying to place a task.
enum Placing {
    /// A peer was asked.
    Offered,
    /// Nobody can take this one; another may fit.
    Waits,
    /// Nobody can take any.
    NoRoom,
}

/// Would another task fare better there? One without a free slot is not asked about; where there are some, what is there
/// is too little memory for this one.
fn worth_waiting(permitted: &Result<(), Reason>) -> bool {
    !matches!(
        permitted,
        Err(Reason::NotConnected
            | Reason::DonorPaused
            | Reason::DonorFinishing
            | Reason::OutsideHours
            | Reason::OnBattery
            | Reason::BatteryLow { .. }
            | Reason::DeviceBusy { .. }
            | Reason::NoSurplus
            | Reason::UploadUsedUp)
    )
}

/// What a task is given: its inputs and its module.
fn given(spec: &TaskSpec) -> impl Iterator<Item = Blob> {
    let module = Blob { hash: spec.module.into(), len: spec.module_len };
    spec.inputs.iter().map(|file| file.blob).chain(spec.stdin).chain([module])
}

/// Bytes that a peer fetches to run a task.
pub(crate) fn bytes_of(spec: &TaskSpec) -> u64 {
    given(spec).map(|blob| blob.len).fold(0, u64::saturating_add)
}

/// Can there be a reason for a run that it says nothing of others?
fn may_not_compare(receipt: &Receipt, spec: &TaskSpec, resumed: bool) -> bool {
    // No peer asks a task to stop: it is held, or its attempt ends without a result. None has its input streamed.
    use NotComparable::{Inconclusive, Resumed};
    !spec.is_comparable()
        || receipt.not_comparable.iter().any(|why| match why {
            Inconclusive => !receipt.outcome.is_conclusive(),
            Resumed => resumed,
            _ => false,
        })
}

/// Is this what the peer that had the attempt can truthfully say of it?
pub(crate) fn genuine(
    ended: &Ended,
    spec: &TaskSpec,
    id: AttemptId,
    peer: PublicKey,
    resumed: bool,
    (from_ms, until_ms): (u64, u64),
) -> Result<(), &'static str> {
    let receipt = &ended.receipt.receipt;
    let mut pieces = ended.statement.energy.pieces.iter();
    // Nobody compares what went on from a checkpoint, so nobody may say so of what did not.
    let went_on = receipt.resumed_from.is_some() || receipt.usage.fuel_before > 0;
    let checks = [
        (receipt.executor == peer, "another peer signed the receipt"),
        (receipt.task == id.task && receipt.attempt == id.attempt, "the receipt is for another attempt"),
        (receipt.module == spec.module, "another module was run"),
        (receipt.input.hash == spec.input, "it was run on another input"),
        (receipt.args == spec.args && receipt.env == spec.env, "it was run with other arguments"),
        (receipt.limits == spec.limits, "it was run within other limits"),
        (resumed || !went_on, "it went on from a checkpoint that it was not given"),
        (receipt.granted.within(&spec.permissions), "it was given more than it asked for"),
        (receipt.usage.fuel <= spec.limits.fuel, "more fuel was used than there was"),
        (
            ended.statement == Statement::of(&ended.receipt, &spec.nonce, ended.statement.energy.clone()),
            "the public statement is not the receipt's",
        ),
        (
            ended.statement.comparable || may_not_compare(receipt, spec, resumed),
            "two runs of it must agree, and it says not",
        ),
        // Its choice of hours would be one of sun. A piece may well be longer than the run, which stood still in it.
        (
            pieces.all(|piece| from_ms <= piece.from_ms && piece.until_ms() <= until_ms),
            "its energy is of a time when the task was not there",
        ),
        (ended.receipt.verify().is_ok(), "the receipt's signature does not hold"),
        (ended.statement.verify(&ended.signature), "the statement's signature does not hold"),
    ];
    match checks.iter().find(|(holds, _)| !holds) {
        None => Ok(()),
        Some((_, why)) => Err(why),
    }
}

#[cfg(test)]
mod tests;
