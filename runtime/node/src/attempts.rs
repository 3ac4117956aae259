//! Attempts that this device runs, for its own tasks and others'.

use crate::command::{ErrorKind, Happening, Progress};
use crate::community::Misbehaviour;
use crate::io::{DEFAULT_DISK, HOOK_MS, HookSays, Metering, OfferView, Output, Run, RunEvent};
use crate::node::{Donor, META_DONOR, Node, Timer, error};
use mesh_policies::donor::{self, Situation};
use mesh_policies::importance::may_start;
use mesh_policies::permission::{self, Standing, Wish};
use mesh_policies::{Check, first_failure};
use mesh_protocol::ad::Source;
use mesh_protocol::canonical;
use mesh_protocol::checkpoint;
use mesh_protocol::frame::{AttemptId, Beat, Ended, Offer, Phase, Released, TaskFrame};
use mesh_protocol::ids::{BlobHash, EntryId, TaskId};
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::ledger::{Effect, Entry, Payload, Statement, Tip};
use mesh_protocol::outcome::Outcome;
use mesh_protocol::permissions::Permissions;
use mesh_protocol::reason::Reason;
use mesh_protocol::record::Table;
use mesh_protocol::task::{Blob, TaskSpec};
use serde::{Deserialize, Serialize};

/// How long an offer may wait for the entries it names.
const HOLD_OFFER_MS: u64 = 3_000;
/// Offers that wait so, and attempts kept, results not yet fetched included. Each is a few kilobytes.
const MAX_ATTEMPTS: usize = 10_000;
/// How long the word that a result is settled goes before its record: the two come by different ways, and what is checked
/// first is on record later.
const RECORDED_MS: u64 = 60_000;
/// What was offered and refused is refused for the same reason within this time: to find it out again is dear. Of so many
/// it is remembered.
const REFUSED_MS: u64 = 1_000;
const MAX_REFUSED: usize = 1_024;
/// Offers of one owner that wait so. An honest one sends what its ends of logs rest on along.
const MAX_HELD: usize = 64;

/// Where an attempt is in its life.
// spec: DEL-9
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AttemptState {
    /// The entries that its offer names have not come yet.
    Held,
    /// Taken; its module and inputs are fetched.
    Preparing,
    /// It computes.
    Running,
    /// It is held by the donor, or since this device slept.
    Paused,
    /// It has a result that its owner has not recorded yet.
    Ended,
    /// Its result is the task's: what it changed in this device's shares is put in place.
    Releasing,
    /// It is over; its record is gone.
    Gone,
}

/// What happens to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttemptEvent {
    /// What its offer names has come, and every check passed.
    Accept,
    /// A check failed, or what its offer names did not come in time.
    Refuse,
    /// Its first instruction is next.
    Start,
    /// The donor holds it, or this device slept.
    Pause,
    /// It may go on.
    Resume,
    /// It came to an end.
    End,
    /// It came to no end: the sandbox failed, or what it needs could not be had.
    Lose,
    /// Its owner or the donor ends it, a later attempt is known, or its lease ended.
    Stop,
    /// Its owner has recorded its result as the task's, and it changed a share.
    Release,
    /// Its owner has recorded the result, and nothing is left to put in place; or nobody asked for it in time.
    Settle,
}

impl AttemptState {
    /// Every state.
    pub const ALL: [Self; 7] =
        [Self::Held, Self::Preparing, Self::Running, Self::Paused, Self::Ended, Self::Releasing, Self::Gone];

    /// The state after an event; none where it changes nothing.
    // spec: DEL-9
    pub fn on(self, event: AttemptEvent) -> Option<Self> {
        use AttemptEvent as E;
        Some(match (self, event) {
            (Self::Held, E::Accept) => Self::Preparing,
            (Self::Preparing, E::Start) => Self::Running,
            (Self::Preparing | Self::Running, E::Pause) => Self::Paused,
            (Self::Paused, E::Resume) => Self::Running,
            (Self::Preparing | Self::Running | Self::Paused, E::End) => Self::Ended,
            (Self::Ended, E::Release) => Self::Releasing,
            (Self::Held, E::Refuse)
            | (Self::Preparing | Self::Running | Self::Paused, E::Lose)
            | (Self::Held | Self::Preparing | Self::Running | Self::Paused, E::Stop)
            | (Self::Ended, E::Settle | E::Stop)
            | (Self::Releasing, E::Settle) => Self::Gone,
            _ => return None,
        })
    }

    /// Does it take a slot?
    pub fn is_live(self) -> bool {
        matches!(self, Self::Preparing | Self::Running | Self::Paused)
    }
}

impl AttemptEvent {
    /// Every event.
    pub const ALL: [Self; 10] = [
        Self::Accept,
        Self::Refuse,
        Self::Start,
        Self::Pause,
        Self::Resume,
        Self::End,
        Self::Lose,
        Self::Stop,
        Self::Release,
        Self::Settle,
    ];
}

/// What is kept of an attempt over a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    offer: Offer,
    state: AttemptState,
    ended: Option<Ended>,
    /// When the result goes, fetched or not, in milliseconds since 1970.
    until_ms: u64,
}

/// An attempt.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    kept: Kept,
    pub(crate) owner: PublicKey,
    lease_until: u64,
    beat_at: u64,
    pub(crate) progress: Progress,
    checkpoint: Option<Blob>,
    /// Held since this device slept, until the lease is renewed.
    pub(crate) slept: bool,
    /// What its owner plans with it, and how steady its energy is. Why it is held stands in `progress`.
    pub(crate) stand: crate::holds::Stand,
    /// Was the owner's program asked?
    asked: Asked,
    /// A replica's result that may be shown.
    shown: bool,
    /// Its owner says that the result is settled.
    settled: bool,
}

/// Where a donor's own program stands with an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    No,
    Waiting,
    Accepted,
}

impl Attempt {
    pub(crate) fn state(&self) -> AttemptState {
        self.kept.state
    }

    pub(crate) fn spec(&self) -> &TaskSpec {
        &self.kept.offer.task.spec
    }

    /// Bytes of disk that it may come to need, or that it takes until its owner has its result. `counted`: what is here
    /// of it already is counted with what is kept for this device's own tasks.
    // spec: PERM-5
    fn takes_up(&self, counted: bool) -> u64 {
        let spec = self.spec();
        let given = crate::owner::bytes_of(spec);
        let most = || most_disk(spec, self.kept.offer.resume);
        match (self.state().is_live(), &self.kept.ended) {
            (true, _) if counted => most().saturating_sub(given),
            (true, _) => most(),
            (false, Some(ended)) if !counted => ended.output.len.saturating_add(given),
            (false, _) => 0,
        }
    }
}

/// Bytes that a task may come to need on the disk of who runs it: what it is given, what it may leave, and what it may
/// save. While it does that, the last two states are kept, and what it has said stands by once more.
// spec: PERM-5
fn most_disk(spec: &TaskSpec, resume: Option<Blob>) -> u64 {
    let limits = &spec.limits;
    let left = [limits.out_bytes, limits.stdout_bytes, limits.stderr_bytes];
    let state = checkpoint::largest(limits);
    let saved = if state > 0 { [state, state, limits.stdout_bytes, limits.stderr_bytes] } else { [0; 4] };
    let given = [crate::owner::bytes_of(spec), resume.map_or(0, |blob| blob.len)];
    given.into_iter().chain(left).chain(saved).fold(0, u64::saturating_add)
}

fn key(id: AttemptId) -> Vec<u8> {
    [&id.task.0[..], &id.attempt.to_be_bytes()].concat()
}

impl Node {
    pub(crate) fn restore_attempt(&mut self, value: &[u8]) -> Option<()> {
        let kept: Kept = canonical::decode(value).ok()?;
        let id = AttemptId { task: kept.offer.task.spec.id(), attempt: kept.offer.attempt };
        let owner = kept.offer.task.spec.submitter;
        self.attempts.insert(id, Attempt::new(kept, owner));
        Some(())
    }

    /// What ran when the last run of this program ended is lost; results wait for their owners.
    pub(crate) fn start_attempts(&mut self) {
        let ids: Vec<AttemptId> = self.attempts.keys().copied().collect();
        for id in ids {
            let Some(attempt) = self.attempts.get(&id) else { continue };
            match attempt.state() {
                AttemptState::Ended => {
                    let at = self.boot_of(attempt.kept.until_ms);
                    self.arm(Timer::Attempt(id), at);
                }
                AttemptState::Releasing => self.output(Output::Release(id)),
                // Its owner learns it when the connection is back, or sees the silence.
                _ => self.lose(id, Reason::Restarted, false),
            }
        }
    }

    /// The attempts that are here still, each with what of it has to stay until its owner has it.
    pub fn attempts_kept(&self) -> impl Iterator<Item = (AttemptId, Option<BlobHash>)> {
        let output = |attempt: &Attempt| attempt.kept.ended.as_ref().map(|ended| ended.output.hash);
        self.attempts.iter().map(move |(id, attempt)| (*id, output(attempt)))
    }

    /// Slots and memory that are free.
    pub(crate) fn room(&self) -> (u16, u64) {
        let live = || self.attempts.values().filter(|attempt| attempt.state().is_live());
        let memory: u64 = live().map(|attempt| attempt.spec().limits.memory_bytes).sum();
        let slots = u16::try_from(live().count()).unwrap_or(u16::MAX);
        (self.config.capacity.slots.saturating_sub(slots), self.config.capacity.memory.saturating_sub(memory))
    }

    /// Moves an attempt along its table.
    fn step(&mut self, id: AttemptId, event: AttemptEvent) -> bool {
        let Some(attempt) = self.attempts.get_mut(&id) else { return false };
        let Some(next) = attempt.kept.state.on(event) else { return false };
        attempt.kept.state = next;
        if next == AttemptState::Gone {
            self.attempts.remove(&id);
            self.disarm(Timer::Attempt(id));
            self.drop_kept(Table::Attempts, key(id));
            self.place_soon();
        }
        true
    }

    fn keep_attempt(&mut self, id: AttemptId) {
        if let Some(value) = self.attempts.get(&id).map(|attempt| canonical::encode(&attempt.kept)) {
            self.keep_bytes(Table::Attempts, key(id), value);
        }
    }

    // ---- from the owner ----

    pub(crate) fn executor_heard(&mut self, peer: PublicKey, id: AttemptId, frame: TaskFrame) {
        match frame {
            TaskFrame::Offer(offer) => self.offered(peer, id, *offer),
            TaskFrame::Renew { lease_ms } => self.renewed(peer, id, lease_ms),
            // What is being put in place is put there to the end.
            TaskFrame::Stop(_) if self.is_releasing(peer, id) => {}
            TaskFrame::Stop(reason) => {
                if self.owns(peer, id) {
                    self.stop_attempt(id);
                    self.output(Output::Forget(id));
                }
                self.send_task(peer, id, TaskFrame::Lost(reason));
            }
            TaskFrame::Settled(effect) if self.owns(peer, id) => self.settled(id, effect),
            TaskFrame::Status => self.tell_status(peer, id),
            TaskFrame::Reveal => self.reveal(peer, id),
            TaskFrame::Hold { for_ms } if self.owns(peer, id) => self.hold_asked(id, Some(for_ms)),
            TaskFrame::GoOn if self.owns(peer, id) => self.hold_asked(id, None),
            _ => {}
        }
    }

    fn is_releasing(&self, peer: PublicKey, id: AttemptId) -> bool {
        let attempt = self.attempts.get(&id).filter(|attempt| attempt.owner == peer);
        attempt.is_some_and(|attempt| attempt.state() == AttemptState::Releasing)
    }

    fn owns(&self, peer: PublicKey, id: AttemptId) -> bool {
        self.attempts.get(&id).is_some_and(|attempt| attempt.owner == peer)
    }

    /// The result has had its effect, or never will.
    // spec: DEL-4
    fn settled(&mut self, id: AttemptId, effect: Effect) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let well = attempt
            .kept
            .ended
            .as_ref()
            .is_some_and(|ended| ended.receipt.receipt.outcome == Outcome::Exited(0));
        if effect == Effect::Done && well && attempt.spec().changes_shares() {
            if self.step(id, AttemptEvent::Release) {
                self.keep_attempt(id);
                self.output(Output::Release(id));
            }
        } else if attempt.owner == self.me || self.is_recorded(id) {
            self.forget_result(id);
        } else if let Some(attempt) = self.attempts.get_mut(&id)
            && attempt.state() == AttemptState::Ended
        {
            // Whoever settles it and records nothing could have it that it was never brought.
            // spec: REP-1
            attempt.settled = true;
            self.arm_within(Timer::Attempt(id), RECORDED_MS);
        }
    }

    /// A result has come on record. One that its owner has settled is needed no more: until then it holds a place.
    // spec: DEL-4, ARC-7
    pub(crate) fn came_on_record(&mut self, id: AttemptId) {
        if self.attempts.get(&id).is_some_and(|attempt| attempt.settled) && self.is_recorded(id) {
            self.forget_result(id);
        }
    }

    /// Is the result of an attempt on record, where others see that it was brought?
    fn is_recorded(&self, id: AttemptId) -> bool {
        let Some(attempt) = self.attempts.get(&id) else { return false };
        let result = self.ledger.facts().tasks().result(&(attempt.owner, id.task), id.attempt);
        result.is_some_and(|ran| ran.device == self.me)
    }

    fn forget_result(&mut self, id: AttemptId) {
        let ended = self.attempts.get(&id).is_some_and(|attempt| attempt.state() == AttemptState::Ended);
        if ended && self.step(id, AttemptEvent::Settle) {
            self.output(Output::Forget(id));
        }
    }

    fn released(&mut self, id: AttemptId, released: Released) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let owner = attempt.owner;
        if attempt.state() == AttemptState::Releasing {
            if owner != self.me {
                self.unsettled(id);
            }
            self.step(id, AttemptEvent::Settle);
            self.output(Output::Forget(id));
            let state = match &released {
                Released::Released => "released",
                Released::Conflict(_) => "conflict",
            };
            self.send_task(owner, id, TaskFrame::Released(released));
            self.tell(Happening::Attempt { task: id.task, attempt: id.attempt, state });
        }
    }

    /// All replicas have promised a result: what was promised here is shown.
    // spec: DEL-8
    fn reveal(&mut self, peer: PublicKey, id: AttemptId) {
        if let Some(attempt) = self.attempts.get_mut(&id).filter(|attempt| attempt.owner == peer) {
            attempt.shown |= attempt.state() == AttemptState::Ended;
        }
        self.tell_status(peer, id);
    }

    fn tell_status(&mut self, peer: PublicKey, id: AttemptId) {
        let frame = match self.attempts.get(&id).filter(|attempt| attempt.owner == peer) {
            None => TaskFrame::Lost(Reason::Unknown),
            Some(attempt) => match (attempt.state(), &attempt.kept.ended) {
                (AttemptState::Held, _) => return,
                // spec: DEL-8
                (AttemptState::Ended, Some(ended)) if attempt.spec().is_replicated() && !attempt.shown => {
                    TaskFrame::Promised(ended.statement.promise())
                }
                (AttemptState::Ended, Some(ended)) => TaskFrame::Ended(Box::new(ended.clone())),
                _ => TaskFrame::Accepted,
            },
        };
        self.send_task(peer, id, frame);
    }

    // spec: DEL-2
    fn offered(&mut self, peer: PublicKey, id: AttemptId, mut offer: Offer) {
        let theirs = offer.task.spec.submitter == peer && offer.tip.author == peer;
        if offer.task.spec.id() != id.task || offer.attempt != id.attempt || !theirs {
            self.counters.offers_refused += 1;
            return self.send_task(peer, id, TaskFrame::Refused(Reason::BadSignature));
        }
        if self.attempts.contains_key(&id) {
            // Said again because the answer was lost.
            return self.tell_status(peer, id);
        }
        if self.attempts.len() >= MAX_ATTEMPTS {
            self.counters.offers_refused += 1;
            return self.send_task(peer, id, TaskFrame::Refused(Reason::NoCapacity));
        }
        let mut news = false;
        // They stand in the ledger from here on, and need not be kept with the attempt, too.
        for bytes in &std::mem::take(&mut offer.entries) {
            // Most came with the offers before, or as gossip, and a name is cheaper to check than a signature.
            if Entry::trusted(bytes).is_ok_and(|entry| self.ledger.has(&entry.tip())) {
                continue;
            }
            if let Ok(entry) = Entry::verify(bytes) {
                news |= self.take(entry, Some(peer));
            }
        }
        if let Some(reason) = self.just_refused(id, &offer).filter(|_| !news) {
            self.counters.offers_refused += 1;
            return self.send_task(peer, id, TaskFrame::Refused(reason));
        }
        let there = peer == self.me || self.ledger.has(&offer.tip);
        // What waits for its owner's log takes room, so what can be told without that is told at once.
        if !there {
            let known = offer.grant.is_none_or(|grant| self.ledger.facts().grants().contains_key(&grant));
            let no = match self.check_offer(peer, id, &offer) {
                Err(reason @ (Reason::OtherCommunity | Reason::BadSignature | Reason::NameNotAccepted)) => {
                    Some(reason)
                }
                Err(Reason::NoGrant) if known => Some(Reason::NoGrant),
                _ => (self.held_of(&peer) >= MAX_HELD).then_some(Reason::NoCapacity),
            };
            if let Some(reason) = no {
                self.note_refused(id, (offer.tip, offer.grant), &reason);
                self.counters.offers_refused += 1;
                return self.send_task(peer, id, TaskFrame::Refused(reason));
            }
        }
        let kept = Kept { offer, state: AttemptState::Held, ended: None, until_ms: 0 };
        let tip = kept.offer.tip;
        self.attempts.insert(id, Attempt::new(kept, peer));
        if there {
            self.decide(id);
        } else {
            self.want(peer, tip.author, self.ledger.len(&tip.author));
            self.arm_in(Timer::Attempt(id), HOLD_OFFER_MS);
        }
    }

    /// Why the very same was refused just now.
    // spec: NET-4
    fn just_refused(&self, id: AttemptId, offer: &Offer) -> Option<Reason> {
        let (tip, grant, at, reason) = self.refused.get(&id)?;
        let same = (*tip, *grant) == (offer.tip, offer.grant);
        (same && self.now.boot_ms.saturating_sub(*at) < REFUSED_MS).then(|| reason.clone())
    }

    fn note_refused(&mut self, id: AttemptId, (tip, grant): (Tip, Option<EntryId>), reason: &Reason) {
        let now = self.now.boot_ms;
        if self.refused.len() >= MAX_REFUSED {
            self.refused.retain(|_, (.., at, _)| now.saturating_sub(*at) < REFUSED_MS);
        }
        if self.refused.len() < MAX_REFUSED {
            self.refused.insert(id, (tip, grant, now, reason.clone()));
        }
    }

    /// Offers of a peer that wait for its log.
    fn held_of(&self, peer: &PublicKey) -> usize {
        let held = self.attempts.values().filter(|it| it.owner == *peer && it.state() == AttemptState::Held);
        held.count()
    }

    /// A log has grown: what was held for it is decided.
    pub(crate) fn log_grew(&mut self, tip: &Tip) {
        let ready: Vec<AttemptId> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.state() == AttemptState::Held && attempt.owner == tip.author)
            .filter(|(_, attempt)| self.ledger.has(&attempt.kept.offer.tip))
            .map(|(id, _)| *id)
            .collect();
        for id in ready {
            self.decide(id);
        }
    }

    fn refuse(&mut self, id: AttemptId, reason: Reason) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let (owner, tip, grant) = (attempt.owner, attempt.kept.offer.tip, attempt.kept.offer.grant);
        if owner != self.me {
            self.note_refused(id, (tip, grant), &reason);
        }
        // What strangers and members without a grant want is no matter for the ledger.
        let granted = !matches!(
            reason,
            Reason::OtherCommunity
                | Reason::BadSignature
                | Reason::NotAMember
                | Reason::NoGrant
                | Reason::LogBehind
                | Reason::LogNotReady
                | Reason::Unwitnessed
                | Reason::NoCapacity
        );
        // An entry for an entry: of each attempt that its owner's log gives to this device, one answer.
        let given = self.ledger.has(&tip) && self.may_be_given(id, &tip);
        let answered = self.ledger.facts().tasks().has_answered(&id.task, id.attempt, &self.me);
        self.counters.offers_refused += 1;
        self.step(id, AttemptEvent::Refuse);
        let worth_saying = granted && given && !answered && self.has_words_for_others();
        if worth_saying && owner != self.me && self.can_say() {
            self.say(Payload::Refused { task: id.task, attempt: id.attempt, reason: reason.clone() }, &[]);
        }
        self.send_task(owner, id, TaskFrame::Refused(reason));
    }

    fn decide(&mut self, id: AttemptId) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let (owner, offer) = (attempt.owner, attempt.kept.offer.clone());
        let mut checked = self.check_offer(owner, id, &offer);
        if checked == Err(Reason::Unwitnessed) && self.can_say() && self.has_words_for_others() {
            // For this device's own word nobody needs to wait.
            self.unwitnessed.retain(|_, tip| tip.author != owner || tip.seq > offer.tip.seq);
            self.say(Payload::Witnessed { tips: vec![offer.tip] }, &[offer.tip]);
            checked = self.check_offer(owner, id, &offer);
        }
        if let Err(reason) = checked {
            return self.refuse(id, reason);
        }
        if self.config.hook && owner != self.me && !self.agrees(id, &offer) {
            return;
        }
        self.step(id, AttemptEvent::Accept);
        let lease = offer.lease_ms;
        let now = self.now.boot_ms;
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.lease_until = now.saturating_add(lease);
            attempt.beat_at = now;
        }
        self.keep_attempt(id);
        if owner != self.me {
            self.say(Payload::Accepted { task: id.task, attempt: id.attempt }, &[offer.tip]);
            // spec: HEALTH-1
            let name = &offer.task.spec.name;
            if self.circle().is_health(&owner, &id.task, name) {
                let user = self.user_name(&offer.task.spec.user);
                tracing::warn!(
                    name,
                    user,
                    "a task is taken as a matter of public health, whatever the vote and energy"
                );
                self.tell(Happening::Warning {
                    text: format!(
                        "the task {name} of {user} is taken as a matter of public health; `mesh vote {name} --dispute` says \
                         that it is none"
                    ),
                });
            }
        }
        self.arm_attempt(id);
        self.regard_attempts();
        self.send_task(owner, id, TaskFrame::Accepted);
        let run = Run { attempt: id, spec: offer.task.spec, owner, resume: offer.resume };
        self.output(Output::Run(Box::new(run)));
        self.tell(Happening::Attempt { task: id.task, attempt: id.attempt, state: "preparing" });
    }

    /// Has the owner's program said yes? It is asked if it was not yet.
    // spec: PERM-5
    fn agrees(&mut self, id: AttemptId, offer: &Offer) -> bool {
        let Some(attempt) = self.attempts.get_mut(&id) else { return false };
        let (owner, spec) = (attempt.owner, &offer.task.spec);
        match attempt.asked {
            Asked::Accepted => return true,
            Asked::Waiting => return false,
            Asked::No => attempt.asked = Asked::Waiting,
        }
        let circle = self.circle();
        let view = OfferView {
            attempt: id,
            name: spec.name.clone(),
            user: self.user_name(&spec.user),
            user_key: spec.user,
            device: owner,
            module: spec.module,
            bytes: crate::owner::bytes_of(spec),
            args: spec.args.clone(),
            sla: spec.sla,
            importance: circle.course(&owner, &id.task, &spec.name, spec.sla).rank,
            health: circle.is_health(&owner, &id.task, &spec.name),
            limits: spec.limits.clone(),
            permissions: spec.permissions.clone(),
            created_ms: spec.created_ms,
            resumes: offer.resume.is_some(),
        };
        // Whoever runs it ends it in time; should that fail, this does, before the offer is given up.
        self.arm_in(Timer::Attempt(id), HOOK_MS + 1_000);
        self.output(Output::Ask(Box::new(view)));
        false
    }

    /// The owner's program answered. What was true when it was asked is looked at once more.
    // spec: PERM-5
    pub(crate) fn hook_said(&mut self, id: AttemptId, says: HookSays) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        if attempt.state() != AttemptState::Held || attempt.asked != Asked::Waiting {
            return;
        }
        match says {
            HookSays::Accept => {
                attempt.asked = Asked::Accepted;
                self.disarm(Timer::Attempt(id));
                self.decide(id);
            }
            HookSays::Refuse(why) => self.refuse(id, Reason::RefusedByOwner(why).fit()),
            HookSays::Later(why) => self.refuse(id, Reason::PutOffByOwner(why).fit()),
        }
    }

    /// Is what an offer names the entry that gives this attempt to this device, as far as it is here? By what is named when
    /// it is taken the attempt is the submitter's, and its end in anybody else's log counts against nobody.
    // spec: DEL-2, REP-1
    fn may_be_given(&self, id: AttemptId, tip: &Tip) -> bool {
        let tasks = self.ledger.facts().tasks();
        !self.ledger.has(tip) || tasks.gives(&(tip.author, id.task), id.attempt, &self.me, tip.seq)
    }

    /// Every check that a device makes before it runs anything, in the order of [`Check`].
    // spec: DEL-2, DEL-12, PERM-2
    fn check_offer(&self, owner: PublicKey, id: AttemptId, offer: &Offer) -> Result<(), Reason> {
        let spec = &offer.task.spec;
        let own = owner == self.me;
        let user = self.ledger.governance().owner(&owner);
        let given = match own || self.has_bug(Misbehaviour::SkipsTheGrantCheck) {
            true => None,
            false => self.grant_for(offer.grant, spec),
        };
        let starts = || {
            if self.has_bug(Misbehaviour::IgnoresEnergy) {
                return Ok(());
            }
            let course = self.course_of(owner, id, spec);
            let start = self.start_of(spec, self.config.energy.as_ref(), &self.me, own);
            may_start(&course, &start, self.ledger.governance().rules())
        };
        first_failure(|check| match check {
            Check::Community if Some(spec.community) != self.community() => Err(Reason::OtherCommunity),
            Check::Signature if !offer.task.verify() || spec.check().is_err() => Err(Reason::BadSignature),
            Check::Member if user.is_none() || user != Some(spec.user) => Err(Reason::NotAMember),
            Check::TaskType if !own && !self.config.accepts.iter().any(|names| names.matches(&spec.name)) => {
                Err(Reason::NameNotAccepted)
            }
            Check::Grant => match &given {
                Some(Err(reason)) => Err(reason.clone()),
                Some(Ok(_)) if !self.may_be_given(id, &offer.tip) => Err(Reason::LogBehind),
                _ => self.not_fenced(owner, id, spec.is_replicated()),
            },
            Check::Capabilities => {
                let beyond = match &given {
                    Some(Ok(given)) => permission::excess(&spec.permissions, given),
                    _ => None,
                };
                // What is granted must be there, too.
                let here = Permissions { shares: self.config.shares.clone(), ..spec.permissions.clone() };
                let absent = || {
                    permission::excess(&spec.permissions, &here)
                        .map(|what| format!("{what}, which this device does not have"))
                };
                beyond.or_else(absent).map_or(Ok(()), |what| Err(Reason::NotGranted(what)))
            }
            Check::Quota if !own => self.quota_left(owner, id.task, spec),
            Check::Importance => match starts() {
                Err(Reason::BallotOpen) => Err(Reason::BallotOpen),
                _ if !own && self.is_disputed(&owner, &id.task) => Err(Reason::ImportanceDisputed),
                _ => Ok(()),
            },
            Check::Energy => starts(),
            Check::Capacity => self.has_room(spec, offer.resume),
            // Each that is taken makes it say more: that it is, what it used, since when it knows of it.
            // spec: NET-4
            Check::Donor if !self.can_say() || !own && !self.has_words_for_others() => {
                Err(Reason::LogNotReady)
            }
            Check::Donor => self.shares(),
            _ => Ok(()),
        })
    }

    /// `resume`: the state that it is to go on from.
    pub(crate) fn has_room(&self, spec: &TaskSpec, resume: Option<Blob>) -> Result<(), Reason> {
        let (slots, memory) = self.room();
        let limits = &spec.limits;
        let too_large =
            |what: &str, wanted: u64, given: u64| Reason::TooLarge { what: what.into(), wanted, given };
        if limits.duration_ms > self.config.capacity.longest_ms {
            return Err(too_large("milliseconds", limits.duration_ms, self.config.capacity.longest_ms));
        }
        if limits.memory_bytes > self.config.capacity.memory {
            return Err(too_large("bytes of memory", limits.memory_bytes, self.config.capacity.memory));
        }
        let given = self.terms.disk_bytes;
        // Whoever set no bound gave no more than is kept of blobs.
        let most = if given > 0 { given } else { DEFAULT_DISK };
        let wanted = most_disk(spec, resume);
        if wanted > most {
            return Err(too_large("bytes of disk", wanted, most));
        }
        let own = spec.submitter == self.me;
        let mine = |attempt: &Attempt| attempt.owner == self.me;
        // What those of this device's own tasks were given that run is among what is kept for them.
        let live = self.attempts.values().filter(|attempt| mine(attempt) && attempt.state().is_live());
        let given = live.map(|attempt| crate::owner::bytes_of(attempt.spec()));
        let given = given.fold(crate::owner::bytes_of(spec), u64::saturating_add);
        let kept = if own { self.own_bytes.saturating_sub(given) } else { self.own_bytes };
        let taken = self.attempts.values().map(|attempt| attempt.takes_up(!own && mine(attempt)));
        let taken = taken.fold(kept, u64::saturating_add);
        let left = most.saturating_sub(taken);
        // Said of this task alone: a smaller one may find room.
        if wanted > left {
            return Err(too_large("bytes of disk beside what runs there", wanted, left));
        }
        if slots == 0 || limits.memory_bytes > memory { Err(Reason::NoCapacity) } else { Ok(()) }
    }

    /// Was this attempt, or a later one, or the task's end heard of before?
    // spec: DEL-11
    fn not_fenced(&self, owner: PublicKey, id: AttemptId, replicated: bool) -> Result<(), Reason> {
        // A later attempt may be another replica.
        let later = !replicated
            && self.attempts.range(id..).any(|(other, attempt)| {
                other.task == id.task && (other.attempt > id.attempt) && attempt.owner == owner
            });
        let mine = self.ledger.facts().tasks().has_answered(&id.task, id.attempt, &self.me);
        // On the submitter's own device the submitter's own record says so.
        let fenced = later || (owner != self.me && (self.is_told_over(owner, id, replicated) || mine));
        let fenced = fenced && !self.has_bug(Misbehaviour::RunsFencedAttempts);
        if fenced { Err(Reason::Fenced) } else { Ok(()) }
    }

    /// Does the owner's log say of a later attempt than this one, that this one is ended, or that nobody waits for it any
    /// more?
    fn is_told_over(&self, owner: PublicKey, id: AttemptId, replicated: bool) -> bool {
        let (tasks, key) = (self.ledger.facts().tasks(), (owner, id.task));
        tasks.is_over(&key)
            || tasks.vetoed(&id.task, id.attempt, &owner)
            || tasks.result(&key, id.attempt).is_some()
            || !replicated && tasks.last_attempt(&key).is_some_and(|last| last > id.attempt)
    }

    /// An owner's log says more of a task: what of it runs here and counts no more ends, also while its owner cannot be
    /// reached.
    // spec: DEL-3, DEL-11
    pub(crate) fn fence(&mut self, owner: PublicKey, task: TaskId) {
        if owner == self.me || self.has_bug(Misbehaviour::RunsFencedAttempts) {
            return;
        }
        let of_task =
            self.attempts.range(AttemptId { task, attempt: 0 }..).take_while(|(id, _)| id.task == task);
        let live = of_task.filter(|(_, attempt)| attempt.owner == owner && attempt.state().is_live());
        let over: Vec<AttemptId> = live
            .filter(|(id, attempt)| self.is_told_over(owner, **id, attempt.spec().is_replicated()))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.lose(id, Reason::Fenced, true);
        }
    }

    /// Milliseconds that attempts of a task ran here whose results its owner has not recorded: until then, they are known
    /// here alone.
    // spec: QUOTA-4
    pub(crate) fn unrecorded_ms(&self, owner: PublicKey, task: TaskId, longest_ms: u64) -> u64 {
        let of_task =
            self.attempts.range(AttemptId { task, attempt: 0 }..).take_while(|(id, _)| id.task == task);
        let ran = of_task.filter(|(id, attempt)| attempt.owner == owner && !self.is_recorded(**id));
        let ran = ran.filter_map(|(_, attempt)| Some(attempt.kept.ended.as_ref()?.statement.wall_ms));
        ran.fold(0, |sum, ran_ms| sum.saturating_add(ran_ms.min(longest_ms)))
    }

    /// What the grant that an offer names gives to its task here, now.
    // spec: PERM-1, PERM-4
    fn grant_for(&self, grant: Option<EntryId>, spec: &TaskSpec) -> Option<Result<Permissions, Reason>> {
        let judged = match grant {
            None => Err(Reason::NoGrant),
            Some(grant) => self.judge_grant(&grant, self.me, spec),
        };
        Some(judged)
    }

    /// May this task run on that device under this grant? What it may touch, if so.
    pub(crate) fn judge_grant(
        &self,
        grant: &EntryId,
        device: PublicKey,
        spec: &TaskSpec,
    ) -> Result<Permissions, Reason> {
        let fact = self.ledger.facts().grants().get(grant).ok_or(Reason::NoGrant)?;
        let governance = self.ledger.governance();
        let by_owner = self.is_by_owner(&fact.author, &device);
        let current =
            mesh_protocol::ledger::Grant { user: governance.current(fact.grant.user), ..fact.grant.clone() };
        let revoked = self.is_revoked(grant, &device) && !self.has_bug(Misbehaviour::IgnoresRevocations);
        let standing = Standing { grant: &current, by_owner, revoked };
        let wish = Wish {
            user: spec.user,
            device,
            name: &spec.name,
            module: spec.module,
            permissions: &spec.permissions,
            wall_ms: self.now.wall_ms,
        };
        permission::allows(&standing, &wish).map(|()| permission::given(&current))
    }

    /// Does any grant let this user's tasks run here?
    pub(crate) fn grants_something(&self, user: &UserKey) -> bool {
        let governance = self.ledger.governance();
        if self.my_user() == Some(*user) {
            return true;
        }
        self.ledger.facts().grants().iter().any(|(id, fact)| {
            fact.grant.device == self.me
                && governance.current(fact.grant.user) == *user
                && fact.grant.until_ms.is_none_or(|until| until > self.now.wall_ms)
                && self.is_by_owner(&fact.author, &self.me)
                && !self.is_revoked(id, &self.me)
        })
    }

    /// Grants or members have changed: what may not run any more ends.
    pub(crate) fn permissions_changed(&mut self) {
        let live: Vec<AttemptId> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.state().is_live())
            .map(|(id, _)| *id)
            .collect();
        for id in live {
            self.still_permitted(id);
        }
        self.unblock_tasks();
        self.advertise_soon();
        self.place_soon();
    }

    fn still_permitted(&mut self, id: AttemptId) -> bool {
        let Some(attempt) = self.attempts.get(&id) else { return false };
        if attempt.owner == self.me {
            return true;
        }
        let spec = attempt.spec();
        let judged = match (self.ledger.governance().owner(&attempt.owner), attempt.kept.offer.grant) {
            (Some(user), Some(grant)) if user == spec.user => {
                self.judge_grant(&grant, self.me, spec).map(|_| ())
            }
            (Some(_), _) => Err(Reason::NoGrant),
            (None, _) => Err(Reason::NotAMember),
        };
        match judged {
            Ok(()) => true,
            Err(reason) => {
                self.lose(id, reason, true);
                false
            }
        }
    }

    // spec: DEL-3
    fn renewed(&mut self, peer: PublicKey, id: AttemptId, lease_ms: u64) {
        let now = self.now.boot_ms;
        let Some(attempt) = self.attempts.get_mut(&id).filter(|attempt| attempt.owner == peer) else {
            return self.send_task(peer, id, TaskFrame::Lost(Reason::Unknown));
        };
        if !attempt.state().is_live() {
            return self.tell_status(peer, id);
        }
        attempt.lease_until = now.saturating_add(lease_ms);
        let slept = std::mem::take(&mut attempt.slept);
        let held = attempt.progress.held.is_some();
        if self.still_permitted(id) {
            if slept && !held {
                self.output(Output::Resume(id));
            }
            self.arm_attempt(id);
        }
    }

    fn arm_attempt(&mut self, id: AttemptId) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let beat = attempt.beat_at + self.beat_every();
        // Were a lease that is forgotten waited for, it would be due again at once, and time would stand still.
        let forgets = self.has_bug(Misbehaviour::ForgetsLeases);
        let at = if forgets { beat } else { beat.min(attempt.lease_until) };
        self.arm(Timer::Attempt(id), at);
    }

    /// How often owner and executing peer hear of each other: thrice before either would worry.
    pub(crate) fn beat_every(&self) -> u64 {
        self.ledger.governance().rules().suspect_after_ms / 3
    }

    pub(crate) fn attempt_due(&mut self, id: AttemptId) {
        let now = self.now.boot_ms;
        let Some(attempt) = self.attempts.get(&id) else { return };
        match attempt.state() {
            AttemptState::Held if attempt.asked == Asked::Waiting => {
                self.refuse(id, Reason::RefusedByOwner("their program gave no answer".into()));
            }
            AttemptState::Held => self.refuse(id, Reason::LogBehind),
            AttemptState::Releasing => {}
            AttemptState::Ended => {
                self.unsettled(id);
                self.forget_result(id);
            }
            _ if attempt.lease_until <= now && !self.has_bug(Misbehaviour::ForgetsLeases) => {
                self.lose(id, Reason::LeaseEnded, true);
            }
            _ => {
                self.beat(id);
                self.arm_attempt(id);
            }
        }
    }

    pub(crate) fn beat(&mut self, id: AttemptId) {
        let now = self.now.boot_ms;
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        attempt.beat_at = now;
        let Progress { phase, permille, note, held } = attempt.progress.clone();
        // It may still run in the moment in which it is told to stand still.
        let held = held.filter(|_| phase == Phase::Paused);
        let owner = attempt.owner;
        self.send_task(owner, id, TaskFrame::Beat(Beat { phase, permille, note, held }));
    }

    /// This device slept: a guest whose lease may have been given up stands still until it is renewed.
    // spec: DEL-3
    pub(crate) fn woke(&mut self, slept_ms: u64) {
        let now = self.now.boot_ms;
        let mut hold = Vec::new();
        for (id, attempt) in &mut self.attempts {
            let third = attempt.kept.offer.lease_ms / 3;
            if attempt.state().is_live() && !attempt.slept && slept_ms > third && attempt.lease_until > now {
                attempt.slept = true;
                hold.push(*id);
            }
        }
        for id in hold {
            self.output(Output::Pause(id));
            self.beat(id);
        }
    }

    /// Ends an attempt here and tells its owner why.
    fn lose(&mut self, id: AttemptId, reason: Reason, runs: bool) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let owner = attempt.owner;
        if self.step(id, AttemptEvent::Lose) || self.step(id, AttemptEvent::Stop) {
            if runs {
                self.output(Output::Stop(id));
            }
            self.output(Output::Forget(id));
            self.send_task(owner, id, TaskFrame::Lost(reason));
        }
    }

    /// A result that nobody takes, or that is nowhere on record, was made all the same.
    // spec: DEL-13, REP-1
    fn unsettled(&mut self, id: AttemptId) {
        if self.is_recorded(id) {
            return;
        }
        let Some(attempt) = self.attempts.get(&id) else { return };
        let statement = attempt.kept.ended.as_ref().map(|ended| &ended.statement);
        let used = statement.map(|statement| (statement.energy.clone(), statement.estimated));
        let owner = attempt.owner;
        if let (AttemptState::Ended | AttemptState::Releasing, Some((energy, estimated))) =
            (attempt.state(), used)
        {
            self.say_spent(id, owner, energy, estimated);
        }
    }

    fn stop_attempt(&mut self, id: AttemptId) {
        self.unsettled(id);
        let live = self.attempts.get(&id).is_some_and(|attempt| attempt.state().is_live());
        if self.step(id, AttemptEvent::Stop) && live {
            self.output(Output::Stop(id));
        }
    }

    /// An owner is back: it learns what became of its attempts here.
    pub(crate) fn attempts_reconnected(&mut self, peer: PublicKey) {
        let ended: Vec<AttemptId> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.owner == peer && attempt.state() != AttemptState::Held)
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            match self.attempts.get(&id).map(Attempt::state) {
                Some(AttemptState::Ended) => self.tell_status(peer, id),
                Some(_) => self.beat(id),
                None => {}
            }
        }
    }

    // ---- from the executor ----

    pub(crate) fn ran(&mut self, id: AttemptId, event: RunEvent) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            // It was stopped, and this is the word of what it had used.
            match event {
                RunEvent::Ended(_, _, metering) => self.spent(id, Some(&metering)),
                RunEvent::Spent(Some(metering)) => self.spent(id, Some(&metering)),
                _ => {}
            }
            return;
        };
        match event {
            RunEvent::Started => {
                let owner = attempt.owner;
                self.spends(id, owner, &Metering::default());
                let Some(attempt) = self.attempts.get_mut(&id) else { return };
                if attempt.progress.phase == Phase::Preparing {
                    attempt.progress.phase = Phase::Running;
                }
                let hold = attempt.progress.held.is_some() || attempt.slept;
                self.step(id, AttemptEvent::Start);
                self.computes(id, true);
                if hold {
                    self.output(Output::Pause(id));
                }
                self.beat(id);
                self.tell(Happening::Attempt { task: id.task, attempt: id.attempt, state: "running" });
            }
            RunEvent::Progress(permille, note) => {
                attempt.progress.permille = permille.min(1000);
                attempt.progress.note = note;
                while attempt.progress.note.len() > 256 {
                    attempt.progress.note.pop();
                }
                self.beat(id);
            }
            RunEvent::Checkpoint(number, blob) => {
                attempt.checkpoint = Some(blob);
                let owner = attempt.owner;
                self.send_task(owner, id, TaskFrame::Checkpoint { number, blob });
            }
            RunEvent::Paused => {
                attempt.progress.phase = Phase::Paused;
                self.step(id, AttemptEvent::Pause);
                self.computes(id, false);
                self.beat(id);
                self.tell(Happening::Attempt { task: id.task, attempt: id.attempt, state: "paused" });
            }
            RunEvent::Resumed => {
                attempt.progress.phase = Phase::Running;
                self.step(id, AttemptEvent::Resume);
                self.computes(id, true);
                self.beat(id);
                self.tell(Happening::Attempt { task: id.task, attempt: id.attempt, state: "running" });
            }
            RunEvent::Ended(receipt, output, metering) => match &receipt.outcome {
                Outcome::SandboxCrashed(why) => {
                    let reason = Reason::SandboxFailed(why.clone());
                    self.lose(id, reason, false);
                    self.spent(id, Some(&metering));
                }
                Outcome::Cancelled => {
                    self.lose(id, Reason::SandboxFailed("it was cancelled".into()), false);
                    self.spent(id, Some(&metering));
                }
                _ => self.ended(id, *receipt, output, &metering),
            },
            RunEvent::Metered(metering) => {
                let owner = attempt.owner;
                self.spends(id, owner, &metering);
            }
            RunEvent::Spent(metering) => {
                if let Some(metering) = metering {
                    self.spent(id, Some(&metering));
                }
            }
            RunEvent::Lost(reason) => self.lose(id, reason, false),
            RunEvent::Released(released) => self.released(id, released),
        }
    }

    fn ended(
        &mut self,
        id: AttemptId,
        receipt: mesh_protocol::receipt::Receipt,
        output: Blob,
        metering: &Metering,
    ) {
        let energy = self.metered(metering);
        self.metered_end(id, &receipt.usage, &energy);
        let retain = self.ledger.governance().rules().retain_result_ms;
        let until_ms = self.now.wall_ms.saturating_add(retain);
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let (owner, nonce) = (attempt.owner, attempt.spec().nonce);
        let receipt = receipt.sign(&self.config.device);
        let statement = Statement::of(&receipt, &nonce, energy);
        let signature = statement.sign(&self.config.device);
        let ended = Ended { receipt, statement, signature, output };
        attempt.kept.ended = Some(ended);
        attempt.kept.until_ms = until_ms;
        self.step(id, AttemptEvent::End);
        self.keep_attempt(id);
        self.arm(Timer::Attempt(id), self.now.boot_ms.saturating_add(retain));
        self.tell_status(owner, id);
        self.tell(Happening::Attempt { task: id.task, attempt: id.attempt, state: "ended" });
        self.place_soon();
    }

    // ---- the donor's word ----

    pub(crate) fn live(&self) -> Vec<AttemptId> {
        self.attempts.iter().filter(|(_, attempt)| attempt.state().is_live()).map(|(id, _)| *id).collect()
    }

    // spec: PERM-5
    pub(crate) fn pause_donor(&mut self, for_ms: Option<u64>) {
        let until = for_ms.map(|ms| self.now.wall_ms.saturating_add(ms));
        self.paused_until = for_ms.map(|ms| self.now.boot_ms.saturating_add(ms));
        self.set_donor(Donor::Paused(until));
        match for_ms {
            Some(ms) => self.arm_in(Timer::Donor, ms),
            None => self.disarm(Timer::Donor),
        }
        self.regard_donor();
    }

    /// The wall clock was set. A pause that began while this program runs lasts as long as its owner said, and ends at
    /// another date; one from before ends at its date.
    // spec: PERM-5
    pub(crate) fn reckon_pause(&mut self) {
        match (self.donor, self.paused_until) {
            (Donor::Paused(Some(_)), Some(at)) => {
                let left = at.saturating_sub(self.now.boot_ms);
                self.set_donor(Donor::Paused(Some(self.now.wall_ms.saturating_add(left))));
            }
            (Donor::Paused(Some(until)), None) => self.arm(Timer::Donor, self.boot_of(until)),
            _ => {}
        }
    }

    /// Does the device's owner share it now, with what is not running yet?
    // spec: PERM-5
    pub(crate) fn shares(&self) -> Result<(), Reason> {
        match self.donor {
            Donor::Paused(_) => Err(Reason::DonorPaused),
            Donor::Finishing => Err(Reason::DonorFinishing),
            Donor::Taking => self.shared.clone(),
        }
    }

    /// Watts of own sun that nobody else here uses: by what is told of it, else there is some while the device runs on its
    /// own sun.
    // spec: PERM-5
    fn surplus_watts(&self) -> Option<i64> {
        let told = self.situation.surplus_watts.or_else(|| self.outlook.surplus_watts.map(i64::from));
        told.or_else(|| Some(i64::from(self.config.energy?.source == Source::Solar)))
    }

    /// Holds what runs here, or lets it go on, as the owner's word and terms are now.
    // spec: PERM-5
    pub(crate) fn regard_donor(&mut self) {
        let was_busy = matches!(self.shared, Err(Reason::DeviceBusy { .. }));
        let situation = Situation { surplus_watts: self.surplus_watts(), ..self.situation };
        let terms = donor::shares(&self.terms, &situation, was_busy);
        let changed = terms.is_ok() != self.shared.is_ok();
        self.shared = terms;
        self.regard_attempts();
        if changed {
            self.advertise();
            self.place_soon();
        }
    }

    pub(crate) fn resume_donor(&mut self) {
        self.disarm(Timer::Donor);
        self.set_donor(Donor::Taking);
        self.regard_donor();
        self.place_soon();
    }

    pub(crate) fn finish_donor(&mut self) {
        self.resume_donor();
        self.set_donor(Donor::Finishing);
    }

    fn set_donor(&mut self, donor: Donor) {
        self.donor = donor;
        self.keep(Table::Meta, META_DONOR.to_vec(), &donor);
        self.advertise();
    }

    /// The device's owner ends an attempt of somebody else's task.
    // spec: DEL-6
    pub(crate) fn veto_here(
        &mut self,
        id: AttemptId,
        why: String,
    ) -> Result<(), crate::command::CommandError> {
        if !self.attempts.get(&id).is_some_and(|attempt| attempt.state().is_live()) {
            return Err(error(ErrorKind::Conflict, "veto the task: it does not run here any more", None));
        }
        let about = self.attempts.get(&id).map(|attempt| attempt.kept.offer.tip);
        self.say(Payload::Vetoed { task: id.task, attempt: id.attempt, why }, about.as_slice());
        self.lose(id, Reason::VetoedByDonor, true);
        Ok(())
    }

    // ---- questions ----

    pub(crate) fn may_fetch_from_attempts(&self, peer: &PublicKey, blob: &BlobHash) -> bool {
        self.attempts.values().any(|attempt| {
            let output = attempt.kept.ended.as_ref().map(|ended| ended.output);
            attempt.owner == *peer
                && output.into_iter().chain(attempt.checkpoint).any(|held| held.hash == *blob)
        })
    }

    pub(crate) fn needed_by_attempts(&self) -> impl Iterator<Item = BlobHash> {
        self.attempts.values().flat_map(|attempt| {
            let spec = attempt.spec();
            let output = attempt.kept.ended.as_ref().map(|ended| ended.output);
            let blobs =
                spec.inputs.iter().map(|file| file.blob).chain(spec.stdin).chain(attempt.kept.offer.resume);
            let blobs = blobs.chain(output).chain(attempt.checkpoint).map(|blob| blob.hash);
            blobs.chain([BlobHash::from(spec.module)])
        })
    }

    /// May this peer follow what an attempt here says? Its owner may.
    // spec: DEL-5
    pub fn may_follow(&self, peer: &PublicKey, attempt: AttemptId) -> bool {
        self.owns(*peer, attempt)
    }
}

impl Attempt {
    fn new(kept: Kept, owner: PublicKey) -> Self {
        let progress = Progress { phase: Phase::Preparing, permille: 0, note: String::new(), held: None };
        let stand = crate::holds::Stand::default();
        Self {
            kept,
            owner,
            lease_until: 0,
            beat_at: 0,
            progress,
            checkpoint: None,
            slept: false,
            stand,
            asked: Asked::No,
            shown: false,
            settled: false,
        }
    }
}
