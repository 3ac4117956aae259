//! What is shown: the same words everywhere.

use crate::command::{
    AttemptView, CommandError, CommunityView, DeviceView, ErrorKind, GrantView, MemberView, PeerView,
    ResultView, RunningView, StatusView, TaskView,
};
use crate::moves::Stand;
use crate::node::{Donor, Node, error};
use crate::owner::{Fate, TaskState};
use mesh_policies::importance::{Times, Voice};
use mesh_policies::quota;
use mesh_protocol::frame::{JoinRefusal, Phase, Released};
use mesh_protocol::ids::TaskId;
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::reason::Reason;
use mesh_protocol::task::Sla;
use std::collections::BTreeMap;

pub(crate) fn no_task() -> CommandError {
    error(
        ErrorKind::NotFound,
        "find the task: there is none of that id",
        Some("`mesh task ls` lists this device's tasks"),
    )
}

pub(crate) fn state_name(state: TaskState) -> &'static str {
    match state {
        TaskState::Waiting => "waiting",
        TaskState::Offered => "offered",
        TaskState::Running => "running",
        TaskState::Fetching => "fetching",
        TaskState::Done => "done",
        TaskState::Failed => "failed",
        TaskState::Cancelled => "cancelled",
    }
}

/// How long, to two units of time.
fn span(ms: u64) -> String {
    let seconds = ms.div_ceil(1000);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

fn fate(fate: &Fate) -> String {
    match fate {
        Fate::Open => "open".into(),
        Fate::Refused(reason) => format!("refused: {reason}"),
        Fate::Lost(reason) => format!("lost: {reason}"),
        Fate::Done => "done".into(),
        Fate::Superseded => "superseded: its result came after a later attempt was made".into(),
        Fate::Agreed => "agreed: it came to the same result as others".into(),
        Fate::Differed => "differed: others agreed on another result".into(),
    }
}

/// Where else a task that stands still can go on.
// spec: DEL-7, DEL-9
fn goes(task: &crate::owner::Task) -> &'static str {
    match (task.course.at_home, task.kept.resume.is_some()) {
        (true, _) => "",
        (false, true) => ", or from its checkpoint on another peer that has what it waits for",
        (false, false) => ", or anew on another peer if waiting would make it late",
    }
}

/// What the owner of a device whose log forked, or that was revoked, is to know and do.
const COUNTS_NO_MORE: &str = "this device counts no more: its log has two entries at one place, or it was \
    revoked; to come back, put this device's user key into a new --home and run `mesh join` there with any member's ticket";

/// What an expelled member is to know. Their key is expelled for good, so no other home and no ticket helps it.
// spec: NET-2
const EXPELLED: &str = "the founder ended your membership, and no device with this user key comes in again; a member can \
    invite you anew, as somebody with new keys: `mesh init` in a new --home, and `mesh join TICKET` there";

impl Node {
    /// Why this device's entries count no more, as far as is known here, and what can be done. `told`: what a member
    /// says of it.
    // spec: NET-2, LED-5
    pub(crate) fn why_no_more(&self, told: Option<JoinRefusal>) -> String {
        let governance = self.ledger.governance();
        let user = governance.device(&self.me).map(|device| device.user);
        match user.and_then(|user| governance.expelled_why(&user)) {
            Some(why) => {
                let founder = governance.founder().map(|it| self.user_shown(&it)).unwrap_or_default();
                format!("{EXPELLED}; {founder} says why: {why:?}")
            }
            None if told == Some(JoinRefusal::Expelled) => EXPELLED.to_owned(),
            None => COUNTS_NO_MORE.to_owned(),
        }
    }

    pub(crate) fn device_name(&self, device: &PublicKey) -> String {
        if let Some(registered) = self.ledger.facts().registered(device) {
            return registered.name.clone();
        }
        match self.ledger.governance().device(device) {
            Some(known) => known.name.clone(),
            None => device.short(),
        }
    }

    pub(crate) fn user_name(&self, user: &UserKey) -> String {
        let user = self.ledger.governance().current(*user);
        match self.ledger.governance().members().get(&user) {
            Some(member) => member.name.clone(),
            None => user.0.short(),
        }
    }

    pub(crate) fn community_view(&self) -> Result<CommunityView, CommandError> {
        let Some(id) = self.community() else {
            return Err(error(
                ErrorKind::NotFound,
                "show the community: this device belongs to none",
                Some("begin one with `mesh community new NAME`, or join one with `mesh join TICKET`"),
            ));
        };
        let circle = self.circle();
        let governance = self.ledger.governance();
        let members = governance.members().iter().map(|(user, member)| MemberView {
            user: *user,
            name: member.name.clone(),
            me: self.my_user() == Some(*user),
            since_ms: member.since.wall_ms(),
            sponsors: member.sponsors.iter().map(|sponsor| self.user_name(sponsor)).collect(),
            pending: !member.is_in() && !member.is_expelled(),
            expelled: member.is_expelled(),
            devices: governance
                .devices()
                .iter()
                .filter(|(_, device)| device.user == *user)
                .map(|(key, _)| DeviceView {
                    device: *key,
                    name: self.device_name(key),
                    share: circle.share(key, circle.day_of(*user, self.now.wall_ms)),
                    counts_until: governance.cap(key),
                })
                .collect(),
        });
        Ok(CommunityView {
            id,
            name: governance.state().name.clone(),
            rules: governance.rules().clone(),
            members: members.collect(),
        })
    }

    pub(crate) fn grant_views(&self) -> Vec<GrantView> {
        let governance = self.ledger.governance();
        let mut views: Vec<GrantView> = self
            .ledger
            .facts()
            .grants()
            .iter()
            .map(|(id, fact)| {
                let owner = governance.owner(&fact.grant.device);
                let by_owner = owner.is_some() && governance.device(&fact.author).map(|it| it.user) == owner;
                let revoked = self
                    .ledger
                    .facts()
                    .revoked_by(id)
                    .any(|by| governance.device(by).is_some_and(|device| Some(device.user) == owner));
                let why_not = match () {
                    () if !by_owner => Some("its author does not own the device".to_owned()),
                    () if revoked => Some(Reason::GrantRevoked.to_string()),
                    () if fact.grant.until_ms.is_some_and(|until| until <= self.now.wall_ms) => {
                        Some(Reason::GrantExpired.to_string())
                    }
                    () => None,
                };
                GrantView {
                    grant: *id,
                    device: self.device_name(&fact.grant.device),
                    user: self.user_name(&fact.grant.user),
                    task: fact.grant.pattern.to_string(),
                    module: fact.grant.module,
                    until_ms: fact.grant.until_ms,
                    valid: why_not.is_none(),
                    why_not,
                }
            })
            .collect();
        views.sort_by(|a, b| (&a.device, &a.user, &a.task).cmp(&(&b.device, &b.user, &b.task)));
        views
    }

    pub(crate) fn task_views(&self) -> Vec<TaskView> {
        // Receipts and histories are shown one by one.
        let short = |view: TaskView| TaskView { history: Vec::new(), result: None, ..view };
        let mut views: Vec<TaskView> =
            self.tasks.keys().filter_map(|id| self.task_view(*id)).map(short).collect();
        views.sort_by_key(|view| std::cmp::Reverse((view.created_ms, view.task)));
        views
    }

    pub(crate) fn task_view(&self, id: TaskId) -> Option<TaskView> {
        let task = self.tasks.get(&id).filter(|task| !task.is_twin())?;
        let spec = task.spec();
        let history = task.kept.tries.iter().map(|attempt| AttemptView {
            attempt: attempt.number,
            device: self.device_name(&attempt.device),
            fate: fate(&attempt.fate),
        });
        let result = task.kept.result.as_ref().map(|(attempt, receipt, output)| ResultView {
            attempt: *attempt,
            receipt: receipt.clone(),
            output: *output,
        });
        let times = Times::of(spec);
        Some(TaskView {
            task: id,
            name: spec.name.clone(),
            module: spec.module,
            state: state_name(task.kept.state).to_owned(),
            why: self.why(id),
            created_ms: spec.created_ms,
            start_by_ms: times.latest_ms(times.duration_ms),
            finish_by_ms: times.due_ms(),
            expires_ms: times.expires_ms(),
            attempt: task.device().map(|device| (task.current(), self.device_name(&device))),
            progress: task.progress.clone().filter(|_| task.kept.state.is_out()),
            saved: task.kept.resume.is_some(),
            history: history.collect(),
            result,
            energy: self.energy_view(&id),
        })
    }

    /// What a task waits for, what would change that, and when it is expected to run: one sentence.
    // spec: DEL-9
    pub(crate) fn why(&self, id: TaskId) -> String {
        let Some(task) = self.tasks.get(&id) else { return Reason::Unknown.to_string() };
        if let Some(why) = self.why_replicas(id) {
            return why;
        }
        let at = task.device().map(|device| self.device_name(&device)).unwrap_or_default();
        let gone = task.device().is_some_and(|device| device != self.me && !self.is_connected(&device));
        match task.kept.state {
            TaskState::Waiting => self.why_waiting(task),
            TaskState::Offered if gone => {
                format!(
                    "it was offered to {at}, which is not connected now; if it does not come back within seconds another peer is asked"
                )
            }
            TaskState::Offered => format!("it was offered to {at}, which has a few seconds to answer"),
            TaskState::Running if gone => format!(
                "{at} has it and is not connected now; if it is not heard of for {} s the next attempt starts elsewhere",
                self.ledger.governance().rules().suspect_after_ms / 1000
            ),
            TaskState::Running => match &task.progress {
                Some(progress) if progress.phase == Phase::Paused => {
                    let planned = task.plan.as_ref().map(|plan| format!("; it {plan}")).unwrap_or_default();
                    match &progress.held {
                        Some(Reason::CleanerLater) => {
                            format!("{at} holds it: {}{planned}", Reason::CleanerLater)
                        }
                        Some(held) => {
                            format!("{at} holds it: {held}; it goes on when that ends{}", goes(task))
                        }
                        None => format!(
                            "{at} holds it, since its owner paused it or it slept; it goes on when that ends"
                        ),
                    }
                }
                Some(progress) if progress.phase == Phase::Running => match &task.plan {
                    Some(plan) => format!("{at} runs it: {plan}"),
                    None => format!("{at} runs it"),
                },
                _ => {
                    let plan = task.plan.as_ref().map(|plan| format!(": {plan}")).unwrap_or_default();
                    format!("{at} has taken it and is fetching its module and inputs{plan}")
                }
            },
            TaskState::Fetching => match self.why_unfetched(task) {
                Some(why) => format!("{at} has ended it and keeps its result, which is not here yet: {why}"),
                None => format!("{at} has ended it, and its result is fetched and checked"),
            },
            TaskState::Done => {
                let outcome =
                    task.kept.result.as_ref().map(|(_, receipt, _)| receipt.receipt.outcome.to_string());
                let released = match &task.kept.released {
                    None => String::new(),
                    Some(Released::Released) => "; what it changed in shares there is in place".into(),
                    Some(Released::Conflict(why)) => {
                        format!("; what it changed in shares there was not put in place: {why}")
                    }
                };
                format!("it ended on {at}: {}{released}", outcome.unwrap_or_default())
            }
            TaskState::Failed => {
                let reason = task.kept.failed.as_ref().map(ToString::to_string).unwrap_or_default();
                match task.last().map(|last| fate(&last.fate)) {
                    Some(last) => format!("it failed: {reason}; the last attempt was {last}"),
                    None => format!("it failed: {reason}"),
                }
            }
            TaskState::Cancelled => Reason::Cancelled.to_string(),
        }
    }

    fn why_waiting(&self, task: &crate::owner::Task) -> String {
        if let Some(silent) = self.silent() {
            return silent.to_string();
        }
        // What is behind others that find no room is not thought about each time, and its plan may be one of before its time
        // was over.
        // spec: SLA-2
        let latest = Times::of(task.spec()).latest_ms(Stand::of(task, None).left_ms);
        let in_time = latest.is_none_or(|latest| self.now.wall_ms < latest);
        let plan = task.plan.as_ref().filter(|_| in_time || task.warned);
        if let Some(plan) = plan.filter(|_| task.why.is_empty()) {
            return plan.clone();
        }
        if task.why.is_empty() {
            return "a peer for it is being chosen".into();
        }
        // The same reason of several peers is said once.
        let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (device, reason) in &task.why {
            let name = if *device == self.me { "this device".to_owned() } else { self.device_name(device) };
            reasons.entry(self.in_words(task, device, reason)).or_default().push(name);
        }
        let list: Vec<String> =
            reasons.into_iter().map(|(reason, names)| format!("{}: {reason}", names.join(", "))).collect();
        let silent = if task.is_eco() {
            "; you vetoed it, so it runs on this device only, and when its energy is clean"
        } else if self.lacks_votes(task) {
            "; nobody voted on it, or too few did, so it waits for clean energy as ECO does"
        } else if task.why.iter().all(|(device, _)| *device == self.me) && !self.has_donors() {
            "; nobody lets your tasks run elsewhere yet: a member does with `mesh grant --user NAME`"
        } else {
            ""
        };
        match plan {
            Some(plan) => format!("{plan} (others now: {}){silent}", list.join("; ")),
            None => {
                format!("no peer can take it now ({}){silent}; it starts as soon as one can", list.join("; "))
            }
        }
    }

    /// A reason why a device does not take a waiting task, with what is known of it here.
    fn in_words(&self, task: &crate::owner::Task, device: &PublicKey, reason: &Reason) -> String {
        match reason {
            // spec: VOTE-1
            Reason::BallotOpen => match self.ballot_closes(task.spec().id()) {
                Some(at) => format!("{reason}, until {} at the latest", quota::utc(at)),
                None => reason.to_string(),
            },
            // spec: EN-3
            Reason::EnergyNotClean if self.energy_of(device).is_none() => {
                "its energy is unknown, and what is unknown does not count as clean".to_owned()
            }
            _ => reason.to_string(),
        }
    }

    /// Is it less urgent than its submitter asked for since its ballot closed without enough voters?
    // spec: VOTE-4
    fn lacks_votes(&self, task: &crate::owner::Task) -> bool {
        let spec = task.spec();
        let voice = || self.circle().voice(&self.me, &spec.id(), &spec.name);
        matches!(spec.sla, Sla::High | Sla::Normal) && !task.is_eco() && voice() == Voice::Silent
    }

    /// Whose clock is, or was, wrong.
    // spec: LED-10
    fn clock_trouble(&self) -> Vec<String> {
        let (now, skew) = (self.now.wall_ms, self.ledger.governance().rules().max_skew_ms);
        let minutes = |at: u64| at.saturating_sub(now).div_ceil(60_000);
        let mut trouble = Vec::new();
        let own = self.ledger.clock().wall_ms();
        if own > now.saturating_add(skew) {
            trouble.push(format!(
                "this device's log is dated {} min ahead of its clock, which was wrong when it wrote, or is now: the \
                 others take nothing that it says before then; set the clock right and wait, or come back with a new \
                 device: `mesh device add` on another one of yours, and `mesh device revoke` this one",
                minutes(own)
            ));
        }
        for (device, at) in self.dated_ahead.iter().filter(|(_, at)| **at > now.saturating_add(skew)) {
            trouble.push(format!(
                "what {} writes is dated {} min ahead of this device's clock, and is not taken before then: one of the \
                 two clocks is wrong",
                self.device_name(device),
                minutes(*at)
            ));
        }
        trouble
    }

    pub(crate) fn status(&self) -> StatusView {
        let mut states: BTreeMap<&str, usize> = BTreeMap::new();
        for task in self.tasks.values().filter(|task| !task.is_twin()) {
            *states.entry(state_name(task.kept.state)).or_default() += 1;
        }
        let mut trouble = Vec::new();
        if let Some(joining) = self.joining_trouble() {
            trouble.push(joining);
        } else if self.community().is_none() {
            trouble.push("this device belongs to no community".to_owned());
        } else if let Some(silent) = self.silent() {
            trouble.push(silent.to_string());
        }
        if let Some(cap) = self.ledger.governance().cap(&self.me) {
            trouble.push(format!("{} (from entry {cap} on)", self.why_no_more(None)));
        } else if let Some(told) = self.turned_away_by.values().next() {
            let (why, count) = (self.why_no_more(Some(*told)), self.turned_away_by.len());
            let say = if count == 1 { "member says" } else { "members say" };
            trouble.push(format!("{why} ({count} {say} so)"));
        }
        trouble.extend(self.clock_trouble());
        let donor = match self.donor {
            Donor::Taking => match &self.shared {
                Ok(()) => "takes tasks".to_owned(),
                Err(reason) => format!("paused: {reason}"),
            },
            Donor::Paused(None) => format!("paused until `mesh resume`: {}", Reason::DonorPaused),
            Donor::Paused(Some(until)) => {
                let left = span(until.saturating_sub(self.now.wall_ms));
                format!("paused for {left} more: {}", Reason::DonorPaused)
            }
            Donor::Finishing => format!("finishing until `mesh resume`: {}", Reason::DonorFinishing),
        };
        let running =
            self.attempts.iter().filter(|(_, attempt)| attempt.state().is_live()).map(|(id, attempt)| {
                RunningView {
                    task: id.task,
                    attempt: id.attempt,
                    name: attempt.spec().name.clone(),
                    user: self.user_name(&attempt.spec().user),
                    progress: attempt.progress.clone(),
                }
            });
        StatusView {
            device: self.me,
            name: self.config.device_name.clone(),
            user: self.my_user().map(|user| self.user_name(&user)),
            community: self.community().map(|_| self.ledger.governance().state().name.clone()),
            trouble,
            connected: self.peers.values().filter(|peer| peer.connected && peer.member).count(),
            energy: self.config.energy,
            donor,
            running: running.collect(),
            tasks: states.into_iter().map(|(state, count)| (state.to_owned(), count)).collect(),
            entries: self.ledger.count(),
            counters: self.counters.clone(),
        }
    }

    pub(crate) fn peer_views(&self) -> Vec<PeerView> {
        let governance = self.ledger.governance();
        let devices = governance.devices().iter().filter(|(key, _)| governance.owner(key).is_some());
        devices
            .map(|(key, device)| {
                let me = *key == self.me;
                let peer = self.peers.get(key);
                let ad = self.ad_of(key);
                PeerView {
                    device: *key,
                    name: self.device_name(key),
                    user: self.user_name(&device.user),
                    me,
                    connected: me || peer.is_some_and(|peer| peer.connected),
                    energy: if me { self.config.energy } else { ad.and_then(|ad| ad.energy) },
                    free_slots: if me {
                        Some(self.room().0)
                    } else {
                        ad.map(|_| peer.map_or(0, |peer| peer.free_slots))
                    },
                    heard_ms: peer
                        .and_then(|peer| peer.heard_at)
                        .map(|at| self.now.boot_ms.saturating_sub(at)),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: CLI-1
    #[test]
    fn how_long_is_said_in_units_that_people_count_in() {
        assert_eq!(span(59_001), "60 s");
        assert_eq!(span(86_400_000), "24 h 0 min");
        assert_eq!(span(86_400_000_000), "1000 d 0 h");
        assert_eq!((span(180_000), span(10_800_000)), ("3 min".into(), "3 h 0 min".into()));
    }
}
