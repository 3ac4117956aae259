//! What is done with what a person asks.
// spec: API-2

use crate::command::{Answer, Command, CommandError, ErrorKind, GrantRequest};
use crate::io::{CommandId, Output};
use crate::names;
use crate::node::{META_TRUST, Node, error};
use mesh_policies::permission::excess;
use mesh_protocol::frame::AttemptId;
use mesh_protocol::ids::{CommunityId, TaskId};
use mesh_protocol::invite::DeviceCert;
use mesh_protocol::key::{PublicKey, SecretKey, UserKey};
use mesh_protocol::ledger::{DeviceAdded, Grant, Pattern, Payload, Revocation, Rotation, Tip};
use mesh_protocol::permissions::Permissions;

/// What helps whoever named none of their own devices.
const OWN_DEVICES: &str = "`mesh device ls` lists yours, with their keys";

impl Node {
    pub(crate) fn command(&mut self, id: CommandId, command: Command) {
        let answer = match command {
            Command::Join { ticket, as_device_of } => match self.join(id, &ticket, as_device_of.as_deref()) {
                Ok(None) => return,
                Ok(Some(answer)) => Ok(answer),
                Err(error) => Err(error),
            },
            command => self.answer(command),
        };
        self.output(Output::Answer(id, answer));
    }

    fn answer(&mut self, command: Command) -> Result<Answer, CommandError> {
        match command {
            Command::Found { name, rules } => self.found(name, *rules),
            Command::Invite { kind, valid_ms, addrs } => self.invite(kind, valid_ms, addrs),
            Command::Join { .. } => Err(error(ErrorKind::Conflict, "join", None)),
            Command::Sponsor { user } => self.sponsor(&user),
            Command::Expel { user, why } => self.expel(&user, why),
            Command::Community => self.community_view().map(|view| Answer::Community(Box::new(view))),
            Command::Grant(request) => self.grant(request),
            Command::Revoke { grant } => self.revoke(&grant),
            Command::RevokeDevice { device } => self.revoke_device(&device),
            Command::ShareQuota { device, permille } => self.share_quota(&device, permille),
            Command::RotateKey(rotation) => self.rotate_key(*rotation),
            Command::Permissions => Ok(Answer::Permissions(self.grant_views())),
            Command::Trust { users } => self.set_trust(users),
            Command::Submit(draft) => {
                names::check_task_name(&draft.name)?;
                let named = draft.on.clone();
                let mut answer = self.submit(*draft)?;
                if let (Answer::Submitted { on, .. }, Some(named)) = (&mut answer, named) {
                    *on = self.find_device(&named).ok().map(|device| self.device_shown(&device));
                }
                Ok(answer)
            }
            Command::Tasks => Ok(Answer::Tasks(self.task_views())),
            Command::Task { task } => {
                let id = self.find_task(&task)?;
                self.task_view(id).map(|view| Answer::Task(Box::new(view))).ok_or_else(crate::views::no_task)
            }
            Command::Cancel { task } => {
                let id = self.find_task(&task)?;
                self.cancel(id).map(|()| Answer::Done)
            }
            Command::Veto { task, why } => self.veto(&task, why),
            Command::Rerun { task } => self.rerun(&task),
            Command::Pause { for_ms } => {
                self.pause_donor(for_ms);
                Ok(Answer::Done)
            }
            Command::Resume => {
                self.resume_donor();
                Ok(Answer::Done)
            }
            Command::Finish => {
                self.finish_donor();
                Ok(Answer::Done)
            }
            Command::Vote { task, importance, comment } => self.vote(&task, importance, comment),
            Command::Dispute { task, why } => self.dispute(&task, why),
            Command::Ballots { task: None } => Ok(Answer::Ballots(self.ballot_views())),
            Command::Ballots { task: Some(task) } => self.ballot_of(&task),
            Command::Quota { user } => {
                self.quota_view(user.as_deref()).map(|view| Answer::Quota(Box::new(view)))
            }
            Command::Reputation { user } => self.reputation_view(user.as_deref()).map(Answer::Reputation),
            Command::Contribute { user, unit, amount, month } => self.contribute(&user, unit, amount, month),
            Command::SetZone { zone } => self.set_zone(zone),
            Command::Propose { rules, why } => self.propose(*rules, why),
            Command::VoteRules { proposal, yes } => self.vote_rules(&proposal, yes),
            Command::Proposals => Ok(Answer::Proposals(self.proposal_views())),
            Command::Stats { user, peer } => {
                self.stats(user.as_deref(), peer.as_deref()).map(|view| Answer::Stats(Box::new(view)))
            }
            Command::Status => Ok(Answer::Status(Box::new(self.status()))),
            Command::Peers => Ok(Answer::Peers(self.peer_views())),
            Command::GoOffline => {
                self.go_offline();
                Ok(Answer::Done)
            }
        }
    }

    /// Whose device this is does not belong here, or not any more.
    // spec: CLI-5
    pub(crate) fn outside(&self, what: &str) -> CommandError {
        let (why, hint) = match self.community() {
            Some(_) => (self.why_no_more(None), "`mesh status` says how it stands"),
            None => (
                "this device belongs to no community".to_owned(),
                "begin one with `mesh community new NAME`, or join one with `mesh join TICKET`",
            ),
        };
        error(ErrorKind::Conflict, format!("{what}: {why}"), Some(hint))
    }

    /// What wants an entry at once says so while none can be numbered.
    pub(crate) fn ready_to_say(&self) -> Result<(), CommandError> {
        if self.my_user().is_none() {
            return Err(self.outside("do that"));
        }
        let Some(silent) = self.silent() else { return Ok(()) };
        Err(error(
            ErrorKind::Unavailable,
            format!("write to the ledger: {silent}"),
            Some("`mesh status` says how it stands"),
        ))
    }

    fn sponsor(&mut self, user: &str) -> Result<Answer, CommandError> {
        self.ready_to_say()?;
        let governance = self.ledger.governance();
        let waiting: Vec<(UserKey, String)> = governance
            .members()
            .iter()
            .filter(|(_, member)| !member.is_in() && !member.is_expelled())
            .filter(|(key, member)| names::is_meant(*key, &member.name, user))
            .map(|(key, member)| (*key, member.name.clone()))
            .collect();
        let hint = "`mesh members` lists who waits for a sponsor";
        let user = names::one(&waiting, "newcomer", user, hint)?;
        let Some(request) = governance.request_of(|_, key| *key == user) else {
            return Err(error(ErrorKind::NotFound, "vouch: what they asked is not known here", Some(hint)));
        };
        let me = self.my_user();
        if self
            .ledger
            .governance()
            .members()
            .get(&user)
            .is_some_and(|member| member.sponsors.iter().any(|it| Some(*it) == me))
        {
            return Err(error(ErrorKind::Conflict, "vouch: you did so before; another member must", None));
        }
        let entry = self.write(Payload::Admitted(Box::new(request)), &[])?.id;
        Ok(Answer::About { entry, about: self.user_shown(&user) })
    }

    // spec: NET-2
    fn expel(&mut self, user: &str, why: String) -> Result<Answer, CommandError> {
        self.ready_to_say()?;
        let user = self.find_user(user)?;
        if self.ledger.governance().founder() != self.my_user() {
            return Err(error(
                ErrorKind::Forbidden,
                "expel a member: only the founder may",
                Some(
                    "ask the founder: `mesh members` lists everybody; a grant of yours ends with `mesh revoke`",
                ),
            ));
        }
        if Some(user) == self.my_user() {
            return Err(error(
                ErrorKind::Invalid,
                "expel a member: the founder cannot expel themselves",
                None,
            ));
        }
        let tips: Vec<Tip> = self
            .ledger
            .governance()
            .devices()
            .iter()
            .filter(|(_, device)| device.user == user)
            .filter_map(|(device, _)| self.ledger.tip(device))
            .collect();
        if why.trim().is_empty() {
            return Err(error(
                ErrorKind::Invalid,
                "expel a member: no reason was given",
                Some("say with -m why: all members read it, and who is expelled"),
            ));
        }
        let payload = Payload::Expelled { user, tips: tips.clone(), why };
        payload.check().map_err(|why| error(ErrorKind::Invalid, format!("expel a member: {why}"), None))?;
        let entry = self.write(payload, &tips)?.id;
        Ok(Answer::About { entry, about: self.user_shown(&user) })
    }

    // spec: PERM-1
    fn grant(&mut self, request: GrantRequest) -> Result<Answer, CommandError> {
        self.ready_to_say()?;
        let user = self.find_user(&request.user)?;
        let device = match &request.device {
            None => self.me,
            Some(device) => self.find_device(device)?,
        };
        let owner = self.ledger.governance().owner(&device);
        if owner != self.my_user() {
            return Err(error(
                ErrorKind::Forbidden,
                "grant: that device is somebody else's",
                Some("only a device's owner lets tasks run there"),
            ));
        }
        let pattern = Pattern::new(&request.task).map_err(|why| {
            error(
                ErrorKind::Invalid,
                format!("grant {:?}: {why}", request.task),
                Some("write *, a name, or a beginning and *, such as 'database-*'"),
            )
        })?;
        if request.until_ms.is_some_and(|until| until <= self.now.wall_ms) {
            return Err(error(
                ErrorKind::Invalid,
                "grant: the end of the grant lies in the past",
                Some("give a later date with --until, or none"),
            ));
        }
        let permissions = request.permissions.unwrap_or_default();
        if request.module.is_none()
            && let Some(what) = excess(&permissions, &Permissions::default())
        {
            return Err(error(
                ErrorKind::Invalid,
                format!("grant {what}: a task's name is only a label that its submitter chose"),
                Some("pin the code with --module"),
            ));
        }
        let grant =
            Grant { device, user, pattern, module: request.module, until_ms: request.until_ms, permissions };
        let entry = self.write(Payload::Granted(Box::new(grant)), &[])?.id;
        self.permissions_changed();
        Ok(Answer::About { entry, about: self.user_shown(&user) })
    }

    fn revoke(&mut self, text: &str) -> Result<Answer, CommandError> {
        self.ready_to_say()?;
        let governance = self.ledger.governance();
        let mine = self.my_user();
        let found: Vec<_> = self
            .ledger
            .facts()
            .grants()
            .iter()
            .filter(|(id, _)| !text.is_empty() && id.to_string().starts_with(text))
            .map(|(id, fact)| (*id, governance.owner(&fact.grant.device)))
            .collect();
        let grant = match found.as_slice() {
            [] => {
                return Err(error(
                    ErrorKind::NotFound,
                    format!("revoke {text:?}: there is no such grant"),
                    Some("`mesh permissions` lists them"),
                ));
            }
            [(grant, owner)] if *owner == mine => *grant,
            [_] => {
                return Err(error(
                    ErrorKind::Forbidden,
                    "revoke: the grant is for somebody else's device",
                    None,
                ));
            }
            _ => {
                return Err(error(
                    ErrorKind::Ambiguous,
                    format!("revoke {text:?}: that begins more than one grant"),
                    Some("give more of its id"),
                ));
            }
        };
        let tip = self.write(Payload::Revoked { grant }, &[])?;
        self.permissions_changed();
        Ok(Answer::Entry(tip.id))
    }

    /// The user's key, if it is here and still stands for them.
    // spec: NET-1
    pub(crate) fn user_key(&self, what: &str) -> Result<&SecretKey, CommandError> {
        let stands = |key: &&SecretKey| Some(UserKey(key.public())) == self.my_user();
        match &self.config.user {
            None => Err(error(
                ErrorKind::Forbidden,
                format!("{what}: the user key is not on this device"),
                Some("run it on the device on which `mesh init` made the user key"),
            )),
            Some(key) => Some(key).filter(stands).ok_or_else(|| {
                error(
                    ErrorKind::Forbidden,
                    format!("{what}: the user key that this device started with was replaced"),
                    Some("`mesh key rotate` puts the new key in place; then start `mesh up` anew"),
                )
            }),
        }
    }

    // spec: NET-1, LED-3
    fn revoke_device(&mut self, text: &str) -> Result<Answer, CommandError> {
        self.ready_to_say()?;
        let device = self
            .find_device(text)
            .map_err(|failed| CommandError { hint: failed.hint.map(|_| OWN_DEVICES.into()), ..failed })?;
        if self.ledger.governance().owner(&device) != self.my_user() {
            return Err(error(
                ErrorKind::Forbidden,
                "revoke the device: it is somebody else's",
                Some(OWN_DEVICES),
            ));
        }
        if device == self.me {
            return Err(error(
                ErrorKind::Invalid,
                "revoke the device: it is this one, which would take back its own word",
                Some("do it on another device that has your user key"),
            ));
        }
        let community = self.community().unwrap_or(CommunityId::ZERO);
        // What was seen of it until now stays.
        let tip = self.ledger.tip(&device);
        let key = self.user_key("revoke the device")?;
        let revocation = Revocation::sign(key, community, device, tip);
        let about: Vec<Tip> = tip.into_iter().collect();
        let entry = self.write(Payload::KeyRevoked(Box::new(revocation)), &about)?.id;
        Ok(Answer::About { entry, about: self.device_shown(&device) })
    }

    // spec: NET-1, QUOTA-4
    fn share_quota(&mut self, text: &str, permille: u16) -> Result<Answer, CommandError> {
        const WHAT: &str = "share the quota out";
        self.ready_to_say()?;
        let device = self
            .find_device(text)
            .map_err(|failed| CommandError { hint: failed.hint.map(|_| OWN_DEVICES.into()), ..failed })?;
        let governance = self.ledger.governance();
        if governance.owner(&device).is_none() || governance.owner(&device) != self.my_user() {
            let why = format!("{WHAT}: it is somebody else's device, or counts no longer");
            return Err(error(ErrorKind::Forbidden, why, Some(OWN_DEVICES)));
        }
        if device == self.me {
            let why = format!("{WHAT}: this device has what it gives to no other");
            return Err(error(ErrorKind::Invalid, why, Some("name another one of yours")));
        }
        let key = self.user_key(WHAT)?;
        let circle = self.circle();
        let day = self.my_user().map(|user| circle.day_of(user, self.now.wall_ms)).unwrap_or_default();
        let given = |device: &PublicKey| circle.share(device, day);
        let both = given(&self.me).saturating_add(given(&device));
        let Some(left) = both.checked_sub(permille) else {
            let why = format!("{WHAT}: this device and that one have {} % together", f64::from(both) / 10.0);
            return Err(error(ErrorKind::Invalid, why, Some("`mesh device ls` shows who has what")));
        };
        let community = self.community().unwrap_or(CommunityId::ZERO);
        let theirs = governance.consent_of(&device, &community);
        // This device's key is at hand.
        let own = governance.next_serial(&self.me);
        let (Some((consent, serial)), Some(own)) = (theirs, own) else {
            let why = format!("{WHAT}: that device was certified by a user key that was replaced since");
            return Err(error(ErrorKind::Conflict, why, Some("bring it in anew: `mesh device add`")));
        };
        let name =
            |device: &PublicKey| governance.device(device).map(|it| it.name.clone()).unwrap_or_default();
        let less = DeviceAdded {
            cert: DeviceCert::of(key, community, &self.config.device, left, own),
            name: name(&self.me),
        };
        let more = DeviceAdded {
            cert: DeviceCert::sign(key, community, device, consent, permille, serial),
            name: name(&device),
        };
        self.write(Payload::DeviceAdded(Box::new(less)), &[])?;
        let entry = self.write(Payload::DeviceAdded(Box::new(more)), &[])?.id;
        Ok(Answer::About { entry, about: self.device_shown(&device) })
    }

    // spec: NET-1
    fn rotate_key(&mut self, rotation: Rotation) -> Result<Answer, CommandError> {
        self.ready_to_say()?;
        let governance = self.ledger.governance();
        let refused =
            |why: &str, hint| Err(error(ErrorKind::Invalid, format!("replace the user key: {why}"), hint));
        if Some(rotation.community) != self.community() || Some(rotation.user) != self.my_user() {
            return refused("that is for another community or another user", None);
        }
        if !rotation.is_agreed() {
            return refused("it is not signed by the new key", None);
        }
        let recovery = governance.member(&rotation.user).map(|member| member.recovery);
        if !recovery.is_some_and(|recovery| rotation.verify(&recovery)) {
            return refused(
                "it is not signed by the recovery key that was registered when this user was let in",
                Some("name that key's file with --recovery"),
            );
        }
        if governance.members().contains_key(&rotation.new)
            || governance.current(rotation.new) != rotation.new
        {
            return refused("the new key is or was a member's", Some("try again: it takes a new key"));
        }
        let tip = self.write(Payload::KeyRotated(Box::new(rotation)), &[])?;
        Ok(Answer::Entry(tip.id))
    }

    // spec: PERM-3
    fn set_trust(&mut self, users: Option<Vec<String>>) -> Result<Answer, CommandError> {
        if let Some(users) = users {
            let keys: Result<_, _> = users.iter().map(|user| self.find_user(user)).collect();
            self.trust = if users.is_empty() { None } else { Some(keys?) };
            let trust = self.trust.clone();
            self.keep(mesh_protocol::record::Table::Meta, META_TRUST.to_vec(), &trust);
            self.place_soon();
        }
        let names = self.trust.as_ref().map(|trust| trust.iter().map(|user| self.user_shown(user)).collect());
        Ok(Answer::Trust(names))
    }

    // spec: DEL-6
    fn veto(&mut self, text: &str, why: String) -> Result<Answer, CommandError> {
        Payload::Vetoed { task: TaskId::ZERO, attempt: 1, why: why.clone() }
            .check()
            .map_err(|what| error(ErrorKind::Invalid, format!("veto: {what}"), None))?;
        if let Ok(id) = self.find_task(text) {
            return self.veto_own(id, why).map(|()| Answer::Done);
        }
        let here: Vec<AttemptId> = self
            .attempts
            .iter()
            .filter(|(id, attempt)| {
                attempt.state().is_live() && names::is_meant(&id.task, &attempt.spec().name, text)
            })
            .map(|(id, _)| *id)
            .collect();
        match here.as_slice() {
            [] => Err(error(
                ErrorKind::NotFound,
                format!("veto {text:?}: it is neither a task of this device nor does it run here"),
                Some("`mesh task ls` and `mesh status` list them"),
            )),
            [id] => self.veto_here(*id, why).map(|()| Answer::Done),
            _ => Err(error(
                ErrorKind::Ambiguous,
                format!("veto {text:?}: that means more than one task"),
                Some("give more of its id"),
            )),
        }
    }

    fn rerun(&mut self, text: &str) -> Result<Answer, CommandError> {
        let id = self.find_task(text)?;
        let Some(task) = self.tasks.get(&id) else { return Err(crate::views::no_task()) };
        let (mut spec, on, health) = (task.spec().clone(), task.kept.on, task.kept.health.clone());
        spec.nonce = self.random.bytes();
        // What was to be done by a moment is to be done as long after its submission again.
        let later = self.now.wall_ms.saturating_sub(spec.created_ms);
        let again = |by: &mut u64| *by = by.saturating_add(later);
        spec.start_by_ms.iter_mut().chain(&mut spec.finish_by_ms).for_each(again);
        spec.created_ms = self.now.wall_ms;
        let task = spec.id();
        self.may_submit(&spec, spec.replicas, health.is_some()).map_err(|reason| {
            let why = self.refusal(&reason, health.is_some());
            error(ErrorKind::Forbidden, format!("submit: {why}"), Some("`mesh quota` shows what is left"))
        })?;
        self.accept_task(spec, on, health);
        let warning = self.late_from_the_start(task);
        Ok(Answer::Submitted { task, again: false, warning, advice: None, on: None })
    }
}
