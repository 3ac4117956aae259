//! Who belongs to the community, with which devices, and by which rules.
//!
//! Dates are claims: a device that never said anything can date its first word back to any day since it was certified.
//! So nothing that follows here may be better for whoever is earlier. `rules.sponsors` members must vouch, however few
//! there are, and each word adds to the others whenever it is said; the founder alone lets in as many as make a circle
//! of sponsors with the founder, and these words stand in the founder's logs and nobody else's. Thus no date that a
//! member claims lets anybody in on fewer words, or puts anybody out. Nor is a key whoever's claims it first: one that
//! replaces another signs that itself. What rests on the length of a membership asks when others saw it, [`Member::by`].
// spec: NET-1, NET-2, LED-3, LED-10

use mesh_protocol::ids::{CommunityId, EntryId};
use mesh_protocol::invite::{DeviceCert, JoinRequest};
use mesh_protocol::key::{PublicKey, Signature, UserKey};
use mesh_protocol::ledger::{Entry, Hlc, Payload};
use mesh_protocol::rules::{FOUNDERS_OWN, Rules};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Devices that a user may ever certify, those taken back included: each has an allowance of entries in everybody's
/// store. More than a person wears out in ten years.
pub(super) const MAX_DEVICES: usize = 32;

/// Members of whom it matters that they belonged when an entry was written: its author, whom it lets in if it does that, and
/// the two who must have seen it.
const MOST_NEEDED: usize = 4;

/// An entry that something rests on: its date as its author claims it, its author's device, its place there.
pub type Dated = (Hlc, PublicKey, u64);

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Their name.
    pub name: String,
    /// The only key that can replace theirs.
    pub recovery: PublicKey,
    /// When they were admitted, as the last of their sponsors claims.
    pub since: Hlc,
    /// The entry that let them in, as its author's device and its place there.
    pub by: (PublicKey, u64),
    /// Who vouched for them.
    pub sponsors: BTreeSet<UserKey>,
    /// How many must.
    pub needed: usize,
    /// The entry that put them out, if one did.
    pub left: Option<Dated>,
    /// Is the founder's word alone enough for them?
    alone: bool,
    first: (DeviceCert, String),
}

impl Member {
    /// Do they belong now?
    pub fn is_in(&self) -> bool {
        !self.is_expelled() && self.was_admitted()
    }

    /// Do they wait for one more sponsor, with this device?
    pub(crate) fn waits_with(&self, device: &PublicKey) -> bool {
        !self.is_in() && !self.is_expelled() && self.first.0.device == *device
    }

    /// Are they a member no longer?
    pub fn is_expelled(&self) -> bool {
        self.left.is_some()
    }

    /// Did enough members ever vouch for them?
    pub(super) fn was_admitted(&self) -> bool {
        self.sponsors.len() >= self.needed
    }

    /// Did they belong at a moment, by what those who let them in and put them out say of it?
    fn was_in(&self, at: Hlc) -> bool {
        self.was_admitted() && self.since <= at && self.left.is_none_or(|(left, ..)| left > at)
    }

    /// Did nobody but the founder have a say in it?
    pub(super) fn stands_alone(&self) -> bool {
        self.alone || self.needed == 0
    }
}

/// A member's device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Whose.
    pub user: UserKey,
    /// What it was called when it was admitted.
    pub name: String,
    /// Thousandths of the daily quota.
    pub share: u16,
    serial: u32,
    /// When it was certified first.
    since: Hlc,
}

/// Where a log ends that counts no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Cap {
    /// The first place that does not count.
    end: u64,
    /// The first entry that said so.
    by: Dated,
}

/// What follows from the entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct State {
    /// The community's name.
    pub name: String,
    /// Its rules.
    pub rules: Rules,
    founder: Option<UserKey>,
    members: BTreeMap<UserKey, Member>,
    devices: BTreeMap<PublicKey, Device>,
    caps: BTreeMap<PublicKey, Cap>,
    /// Tickets by the device that made use of them: whose word lets one in should not be used up by another's.
    invites: BTreeMap<(PublicKey, PublicKey), UserKey>,
    replaced: BTreeMap<UserKey, UserKey>,
}

#[derive(Debug, Clone)]
struct Said {
    author: PublicKey,
    seq: u64,
    payload: Payload,
    /// Do the signatures inside it hold? Checked once.
    holds: bool,
}

/// An entry's place in the order of the fold.
type At = (Hlc, EntryId);

/// Folds the entries that govern, in the order of clock and id.
#[derive(Debug, Clone, Default)]
pub struct Governance {
    said: BTreeMap<At, Said>,
    state: State,
    /// The rules that the members have decided on since the founding.
    adopted: Option<Rules>,
    /// Does the state follow from all that was said?
    settled: bool,
    /// The only entry that was added since, if it stands behind all others.
    last: Option<At>,
    /// Did the last fold begin anew, since something was void?
    restarted: bool,
    /// How often everything was folded.
    #[cfg(test)]
    folds: usize,
    /// How often the last time all that counted was looked through for what is void.
    #[cfg(test)]
    scans: usize,
    /// A bug on purpose.
    ignores_forks: bool,
}

impl Governance {
    /// What follows from the entries.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The rules in force.
    pub fn rules(&self) -> &Rules {
        self.adopted.as_ref().unwrap_or(&self.state.rules)
    }

    /// Were these rules decided on last?
    pub(super) fn has_adopted(&self, rules: &Rules) -> bool {
        self.adopted.as_ref() == Some(rules)
    }

    /// From now on these rules are in force. Says whether others were before.
    pub(super) fn adopt(&mut self, rules: Rules) -> bool {
        let news = *self.rules() != rules;
        self.adopted = Some(rules);
        news
    }

    pub(super) fn ignore_forks(&mut self, ignore: bool) {
        self.ignores_forks = ignore;
    }

    /// All members, those waiting for a sponsor and those expelled included.
    pub fn members(&self) -> &BTreeMap<UserKey, Member> {
        &self.state.members
    }

    /// A member who belongs now.
    pub fn member(&self, user: &UserKey) -> Option<&Member> {
        self.state.members.get(user).filter(|member| member.is_in())
    }

    /// A device of a member who belongs, or belonged: its log is kept.
    pub fn device(&self, device: &PublicKey) -> Option<&Device> {
        self.state.devices.get(device)
    }

    /// The thousandths of its user's daily quota that a device may use: what its certificate says, as far as those
    /// that were certified before it leave so much. A second device is no second quota. `gave_back` says of a device
    /// that counts no more, by the entry that says so, whether what it had is free again: what it used today, nobody
    /// uses again.
    // spec: NET-1, QUOTA-4
    pub fn share(&self, device: &PublicKey, gave_back: impl Fn(Dated) -> bool) -> u16 {
        let Some((user, place)) = self.owner(device).zip(self.device(device).map(|it| (it.since, device)))
        else {
            return 0;
        };
        let before = self
            .state
            .devices
            .iter()
            .filter(|(key, it)| it.user == user && (it.since, *key) < place)
            .filter(|(key, _)| self.state.caps.get(key).is_none_or(|cap| !gave_back(cap.by)));
        let used = before.fold(0, |used: u16, (_, it)| used.saturating_add(it.share).min(1000));
        self.device(device).map_or(0, |it| it.share.min(1000 - used))
    }

    /// All devices whose logs are kept.
    pub fn devices(&self) -> &BTreeMap<PublicKey, Device> {
        &self.state.devices
    }

    /// May a user certify one more device?
    pub(crate) fn has_room_for_device(&self, user: &UserKey) -> bool {
        self.state.has_room_for_device(user)
    }

    /// The owner of a device, if both belong now.
    pub fn owner(&self, device: &PublicKey) -> Option<UserKey> {
        let user = self.state.devices.get(device)?.user;
        let trusted = !self.state.caps.contains_key(device);
        (trusted && self.member(&user).is_some()).then_some(user)
    }

    /// The first entry of a log that does not count, if one does not.
    pub fn cap(&self, device: &PublicKey) -> Option<u64> {
        self.state.caps.get(device).map(|cap| cap.end)
    }

    /// All such.
    pub fn caps(&self) -> Vec<(PublicKey, u64)> {
        self.state.caps.iter().map(|(device, cap)| (*device, cap.end)).collect()
    }

    /// A device's consent to be its user's, which further certificates need as the first one did, and the number that
    /// the next one has. None where its certificate was by a key that was replaced since.
    pub(crate) fn consent_of(&self, device: &PublicKey, community: &CommunityId) -> Option<(Signature, u32)> {
        let known = self.device(device)?;
        let consent = self.said.values().find_map(|said| {
            let cert = match &said.payload {
                Payload::Admitted(request) => &request.cert,
                Payload::DeviceAdded(added) => &added.cert,
                _ => return None,
            };
            let fits = cert.device == *device && cert.user == known.user && cert.community == *community;
            fits.then_some(cert.consent)
        });
        Some((consent?, self.next_serial(device)?))
    }

    /// The number that a device's next certificate has.
    pub(crate) fn next_serial(&self, device: &PublicKey) -> Option<u32> {
        self.device(device)?.serial.checked_add(1)
    }

    /// How many belonged when an entry was written, by its own date: nobody writes before they are certified. No more than
    /// can make a difference are counted, since this is asked for each of many entries.
    // spec: LED-10
    pub(crate) fn members_at(&self, author: &PublicKey, own: Hlc) -> usize {
        let at = self.device(author).map_or(own, |device| own.max(device.since));
        self.state.members.values().filter(|member| member.was_in(at)).take(MOST_NEEDED).count()
    }

    /// The founder.
    pub fn founder(&self) -> Option<UserKey> {
        self.state.founder
    }

    /// What somebody who waits for a sponsor asked, if one fits.
    pub fn request_of(&self, fits: impl Fn(&Member, &UserKey) -> bool) -> Option<JoinRequest> {
        let (user, _) = self.state.members.iter().find(|(user, member)| fits(member, user))?;
        self.said.values().find_map(|said| match &said.payload {
            Payload::Admitted(request) if request.user == *user && said.holds => Some((**request).clone()),
            _ => None,
        })
    }

    /// Why somebody was expelled, as it was said, if they were.
    pub(crate) fn expelled_why(&self, user: &UserKey) -> Option<&str> {
        self.state.members.get(user).filter(|member| member.is_expelled())?;
        self.said.values().find_map(|said| match &said.payload {
            Payload::Expelled { user: of, why, .. } if self.current(*of) == *user => Some(why.as_str()),
            _ => None,
        })
    }

    /// The key that stands for a user now: another, if theirs was replaced.
    pub fn current(&self, user: UserKey) -> UserKey {
        self.state.current(user)
    }

    /// Adds an entry without folding, until [`Self::refold`].
    pub(super) fn add_later(&mut self, entry: &Entry) {
        let header = entry.header();
        let payload = entry.payload().clone();
        let ignored = self.ignores_forks && matches!(payload, Payload::Forked(_));
        let holds = is_signed(&payload, entry) && !ignored;
        let said = Said { author: header.author, seq: header.seq, payload, holds };
        let at = (header.hlc, entry.id());
        let is_last = self.said.last_key_value().is_none_or(|(last, _)| *last < at);
        self.last = (self.settled && is_last).then_some(at);
        self.said.insert(at, said);
        self.settled = false;
    }

    /// Takes the only new entry, if it stands behind all others: what comes before it is folded as it was. Says whether
    /// that is all there is to it; else everything has to be folded anew.
    // spec: LED-3
    fn step_last(&mut self) -> bool {
        let Some(at) = self.last.take() else { return false };
        let Some(said) = self.said.get(&at) else { return false };
        // In a fold that begins anew it may cap something each time round, also what is capped in the end anyway.
        if said.payload.caps() && self.restarted {
            return false;
        }
        let (step, author, seq) = (self.state.step(at.0, said), said.author, said.seq);
        // What it capped makes void what went before; and what does not count itself is not kept.
        step != Step::Capped && seq < self.end(&author)
    }

    /// Does the state follow from all that was said?
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// How many entries of a device's log count, as far as is known: none of a device that nobody admitted.
    pub(super) fn end(&self, device: &PublicKey) -> u64 {
        match self.device(device) {
            Some(_) => self.cap(device).unwrap_or(u64::MAX),
            None => 0,
        }
    }

    /// Folds until nothing is left that does not count: a log that was cut off says nothing, so what it said is not
    /// folded either, and every peer folds the same, whether it ever had the rest of that log or not. Gives what proves
    /// itself, went with it and no other entry makes good.
    pub(super) fn settle(&mut self) -> Vec<Payload> {
        let mut gone = Vec::new();
        if self.step_last() {
            self.settled = true;
            return gone;
        }
        loop {
            self.refold();
            let ends: BTreeMap<PublicKey, u64> =
                self.said.values().map(|said| (said.author, self.end(&said.author))).collect();
            let before = self.said.len();
            self.said.retain(|_, said| {
                let stays = ends.get(&said.author).is_some_and(|end| said.seq < *end);
                if !stays && end_by(&said.payload).is_some() {
                    gone.push(said.payload.clone());
                }
                stays
            });
            if self.said.len() == before {
                self.settled = true;
                gone.retain(|payload| self.is_news(payload));
                return gone;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn folds(&self) -> (usize, usize) {
        (self.folds, self.scans)
    }

    /// What follows if everything is folded anew.
    #[cfg(test)]
    pub(super) fn folded_anew(&self) -> State {
        let mut anew = Self { last: None, settled: false, ..self.clone() };
        anew.settle();
        anew.state
    }

    /// Does a proof hold that caps a log which is not capped so far yet?
    pub(super) fn is_news(&self, payload: &Payload) -> bool {
        // Once is enough: what rests on the very thing it takes back says nothing, however often it is said.
        if self.said.values().any(|said| said.payload == *payload) {
            return false;
        }
        let caps = |device: &PublicKey, end: u64| self.cap(device).is_none_or(|cap| cap > end);
        match payload {
            Payload::Forked(proof) => proof
                .verify()
                .is_some_and(|(author, seq)| self.device(&author).is_some() && caps(&author, seq)),
            Payload::KeyRevoked(it) => {
                let theirs = self.device(&it.device).is_some_and(|device| device.user == it.user);
                theirs && it.verify() && caps(&it.device, it.end())
            }
            _ => false,
        }
    }

    fn refold(&mut self) {
        #[cfg(test)]
        {
            (self.folds, self.scans) = (self.folds + 1, 0);
        }
        // An expulsion beats what is concurrent with it, also what stands before it here: such entries are void, and
        // the fold starts again without them. What beats the very entries that it rests on itself does not hold, nor
        // does what was beaten by something that is void: the first says nothing then, and what it beat counts. Each
        // round makes at least one more void, or one more say nothing, so it ends.
        let mut void: BTreeMap<At, At> = BTreeMap::new();
        let mut idle: BTreeSet<At> = BTreeSet::new();
        'again: loop {
            let mut state = State::default();
            let mut counted: BTreeMap<&At, &Said> = BTreeMap::new();
            for (at, said) in &self.said {
                if void.contains_key(at) || idle.contains(at) {
                    continue;
                }
                let step = state.step(at.0, said);
                if step == Step::Idle {
                    continue;
                }
                counted.insert(at, said);
                // Said again, it beats nothing that it had not beaten before.
                if step == Step::Capped {
                    #[cfg(test)]
                    {
                        self.scans += 1;
                    }
                    let beaten = counted.iter().filter(|(_, said)| !state.counts(said));
                    let beaten: Vec<At> = beaten.map(|(at, _)| **at).collect();
                    if !beaten.is_empty() {
                        void.extend(beaten.into_iter().map(|beaten| (beaten, *at)));
                        continue 'again;
                    }
                }
            }
            let unfounded: BTreeSet<At> =
                void.values().filter(|by| !counted.contains_key(by)).copied().collect();
            if unfounded.is_empty() {
                self.state = state;
                self.restarted = !void.is_empty() || !idle.is_empty();
                return;
            }
            void.retain(|_, by| !unfounded.contains(by));
            idle.extend(unfounded);
        }
    }
}

/// What an entry does to the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It does not count.
    Idle,
    /// It counts.
    Counted,
    /// It counts, and some log ends earlier by it.
    Capped,
}

impl Step {
    fn counted(counts: bool) -> Self {
        if counts { Self::Counted } else { Self::Idle }
    }

    fn capped(lower: bool) -> Self {
        if lower { Self::Capped } else { Self::Counted }
    }
}

trait Caps {
    fn caps(&self) -> bool;
}

impl Caps for Payload {
    fn caps(&self) -> bool {
        matches!(self, Self::Expelled { .. } | Self::KeyRevoked(_) | Self::Forked(_))
    }
}

/// The device whose log ends by what holds whoever passes it on, and where.
pub(super) fn end_by(payload: &Payload) -> Option<(PublicKey, u64)> {
    match payload {
        Payload::Forked(proof) => Some((proof.a.header.author, proof.a.header.seq)),
        Payload::KeyRevoked(it) => Some((it.device, it.end())),
        _ => None,
    }
}

/// Is what an entry says signed by whom it names, as far as that can be told from the entry alone?
pub(super) fn is_signed(payload: &Payload, entry: &Entry) -> bool {
    let header = entry.header();
    match payload {
        Payload::Founded(founded) => {
            founded.cert.verify()
                && founded.cert.user == founded.user
                && founded.cert.device == header.author
                && header.seq == 0
        }
        Payload::Admitted(request) => request.verify(&header.community),
        Payload::DeviceAdded(added) => added.cert.verify() && added.cert.community == header.community,
        // Nobody saws off the branch they sit on: a device that takes itself back would take these words back as well.
        Payload::KeyRevoked(it) => {
            it.verify() && it.community == header.community && it.device != header.author
        }
        Payload::KeyRotated(it) => {
            it.community == header.community && it.from <= header.hlc && it.is_agreed()
        }
        Payload::Forked(proof) => {
            proof.verify().is_some_and(|_| proof.a.header.belongs_to() == header.community)
        }
        Payload::Completed(completed) => completed.statement.verify(&completed.signature),
        _ => true,
    }
}

impl State {
    fn current(&self, mut user: UserKey) -> UserKey {
        // Each replacement's key is new, so there are no circles; the bound is for the reader.
        for _ in 0..self.replaced.len() {
            match self.replaced.get(&user) {
                Some(new) => user = *new,
                None => break,
            }
        }
        user
    }

    /// Is it before the place from which on its log does not count?
    fn counts(&self, said: &Said) -> bool {
        self.caps.get(&said.author).is_none_or(|cap| said.seq < cap.end)
    }

    /// The user who speaks, if their word counts at this place of the order.
    fn speaker(&self, said: &Said) -> Option<UserKey> {
        let device = self.devices.get(&said.author)?;
        (self.counts(said) && self.members.get(&device.user)?.is_in()).then_some(device.user)
    }

    /// Says whether a log ends earlier than before.
    fn cap(&mut self, device: PublicKey, end: u64, by: Dated) -> bool {
        let before = self.caps.get(&device).map(|cap| cap.end);
        let cap = self.caps.entry(device).or_insert(Cap { end, by });
        cap.end = cap.end.min(end);
        before.is_none_or(|before| end < before)
    }

    /// May a user certify one more device?
    fn has_room_for_device(&self, user: &UserKey) -> bool {
        self.devices.values().filter(|it| it.user == *user).count() < MAX_DEVICES
    }

    fn certify(&mut self, at: Hlc, cert: &DeviceCert, name: &str) {
        let known = self.devices.get(&cert.device);
        if known.is_some_and(|known| known.user != cert.user || known.serial >= cert.serial) {
            return;
        }
        if known.is_none() && !self.has_room_for_device(&cert.user) {
            return;
        }
        let name = known.map_or_else(|| name.to_owned(), |known| known.name.clone());
        let since = known.map_or(at, |known| known.since);
        let device = Device { user: cert.user, name, share: cert.share, serial: cert.serial, since };
        self.devices.insert(cert.device, device);
    }

    /// Takes one entry.
    fn step(&mut self, at: Hlc, said: &Said) -> Step {
        if !said.holds {
            return Step::Idle;
        }
        match &said.payload {
            Payload::Founded(founded) => {
                if self.founder.is_some() {
                    return Step::Idle;
                }
                self.name.clone_from(&founded.name);
                self.rules = founded.rules.clone();
                self.founder = Some(founded.user);
                let member = Member {
                    name: founded.user_name.clone(),
                    recovery: founded.recovery,
                    since: at,
                    by: (said.author, said.seq),
                    sponsors: BTreeSet::new(),
                    needed: 0,
                    left: None,
                    alone: false,
                    first: (founded.cert.clone(), founded.device_name.clone()),
                };
                self.members.insert(founded.user, member);
                self.certify(at, &founded.cert, &founded.device_name);
                Step::Counted
            }
            // It proves itself, so whoever's log is kept may say it.
            Payload::Forked(proof) => {
                let kept = self.devices.contains_key(&said.author) && self.counts(said);
                if !kept {
                    return Step::Idle;
                }
                let (author, seq) = (proof.a.header.author, proof.a.header.seq);
                Step::capped(self.cap(author, seq, (at, said.author, said.seq)))
            }
            // So does this, by the key of the user whose device it is.
            Payload::KeyRevoked(it) => {
                let kept = self.devices.contains_key(&said.author) && self.counts(said);
                let theirs = self.devices.get(&it.device).is_some_and(|device| device.user == it.user);
                if !kept || !theirs {
                    return Step::Idle;
                }
                Step::capped(self.cap(it.device, it.end(), (at, said.author, said.seq)))
            }
            payload => match self.speaker(said) {
                Some(speaker) => self.spoken(at, said, speaker, payload),
                None => Step::Idle,
            },
        }
    }

    fn spoken(&mut self, at: Hlc, said: &Said, speaker: UserKey, payload: &Payload) -> Step {
        match payload {
            Payload::Admitted(request) => {
                let ticket = (said.author, request.invite);
                let used = self.invites.get(&ticket).is_some_and(|user| *user != request.user);
                // Whoever replaced a key does not come in a second time by the old one.
                let replaced = self.replaced.contains_key(&request.user);
                if used || replaced || speaker == request.user {
                    return Step::Idle;
                }
                self.invites.insert(ticket, request.user);
                let founders_own =
                    self.members.values().filter(|member| member.alone && !member.is_expelled());
                let alone = self.founder == Some(speaker) && founders_own.count() < FOUNDERS_OWN;
                let needed = usize::from(self.rules.sponsors);
                let member = self.members.entry(request.user).or_insert_with(|| Member {
                    name: request.user_name.clone(),
                    recovery: request.recovery,
                    since: at,
                    by: (said.author, said.seq),
                    sponsors: BTreeSet::new(),
                    needed,
                    left: None,
                    alone: false,
                    first: (request.cert.clone(), request.device_name.clone()),
                });
                if member.is_expelled() {
                    return Step::Idle;
                }
                // Asked of the founder's words alone, so that nobody else's date changes the answer.
                let were_in = member.is_in();
                if alone {
                    (member.alone, member.needed) = (true, member.needed.min(1));
                }
                if were_in {
                    return Step::counted(alone);
                }
                member.sponsors.insert(speaker);
                if member.is_in() {
                    (member.since, member.by) = (at, (said.author, said.seq));
                    let (cert, name) = member.first.clone();
                    self.certify(at, &cert, &name);
                }
                Step::Counted
            }
            Payload::DeviceAdded(added) => {
                let belongs = self.members.get(&added.cert.user).is_some_and(Member::is_in);
                if belongs {
                    self.certify(at, &added.cert, &added.name);
                }
                Step::counted(belongs)
            }
            Payload::Expelled { user, tips, .. } => {
                // Replacing one's key is no way out.
                let user = &self.current(*user);
                if self.founder != Some(speaker) || *user == speaker {
                    return Step::Idle;
                }
                let Some(member) = self.members.get_mut(user) else { return Step::Idle };
                member.left.get_or_insert((at, said.author, said.seq));
                let devices: Vec<PublicKey> = self
                    .devices
                    .iter()
                    .filter(|(_, device)| device.user == *user)
                    .map(|(key, _)| *key)
                    .collect();
                let mut lower = false;
                for device in devices {
                    let last = tips.iter().find(|tip| tip.author == device);
                    let end = last.map_or(0, |tip| tip.seq.saturating_add(1));
                    lower |= self.cap(device, end, (at, said.author, said.seq));
                }
                Step::capped(lower)
            }
            Payload::KeyRotated(rotation) => {
                let (user, new) = (&rotation.user, &rotation.new);
                let Some(member) = self.members.get(user).filter(|member| member.is_in()) else {
                    return Step::Idle;
                };
                if self.members.contains_key(new)
                    || self.replaced.contains_key(new)
                    || !rotation.verify(&member.recovery)
                {
                    return Step::Idle;
                }
                if let Some(member) = self.members.remove(user) {
                    self.members.insert(*new, member);
                }
                // They stay one sponsor, whichever of their keys vouched.
                for member in self.members.values_mut() {
                    if member.sponsors.remove(user) {
                        member.sponsors.insert(*new);
                    }
                }
                self.replaced.insert(*user, *new);
                for device in self.devices.values_mut().filter(|device| device.user == *user) {
                    device.user = *new;
                }
                if self.founder == Some(*user) {
                    self.founder = Some(*new);
                }
                Step::Counted
            }
            // Votes on rules are counted where ballots are.
            _ => Step::Counted,
        }
    }
}
