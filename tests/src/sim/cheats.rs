//! What members do about the community's own affairs, and how some of them cheat.
// spec: VOTE-8, QUOTA-4, LED-10, PERM-6, REP-2

use super::actions::{Action, Kind, Wish};
use super::civics::ROOM_MS;
use super::model::{Ask, Puppet};
use super::net::Who;
use super::peer::{Role, addr_of};
use super::tricks::anything;
use super::world::{Event, World};
use mesh_node::{Command, Input, Output};
use mesh_protocol::frame::{HelloFrame, MAX_TIPS, TaskFrame};
use mesh_protocol::ids::{EntryId, TaskId};
use mesh_protocol::invite::{DeviceCert, DeviceRequest, JoinRequest, Ticket, TicketKind, consent};
use mesh_protocol::key::{PublicKey, SecretKey, Signature, UserKey};
use mesh_protocol::ledger::{Entry, Hlc, Payload, Place};
use mesh_protocol::rules::VotingMethod;
use mesh_protocol::task::{Importance, Sla};
use std::collections::BTreeMap;

/// Further devices of a voter who would like to have more than one vote.
const DEVICES: usize = 10;
/// Keys that a member lets in who would like to be a crowd.
const CROWD: usize = 50;
/// Matters of public health that come all at once.
const FLOOD: u64 = 40;
/// Others that wait meanwhile.
const VICTIMS: u64 = 6;

impl World {
    /// What must be so that the seed's cheater, or its flood, has somebody to ask.
    pub(crate) fn prepare_civics(&mut self) {
        let Some(civic) = self.profile.civic else { return };
        let asks = match self.peers[self.profile.peers - 1].role {
            Role::Spender | Role::Hider | Role::Boaster | Role::Wasteful => Some(self.profile.peers - 1),
            _ => civic.flood.then_some(1),
        };
        let Some(asks) = asks else { return };
        let user = self.peers[asks].name.clone();
        for who in (0..self.profile.peers).filter(|who| *who != asks) {
            self.ask(who, Command::Grant(anything(user.clone())), Ask::Other);
        }
        if civic.flood {
            for number in 0..FLOOD + VICTIMS {
                let wait = 3_000 + self.rng.below(60_000);
                let kind = if number < VICTIMS { Kind::Victim } else { Kind::Urgency };
                let action = Action { kind, who: asks as u64, what: self.rng.next() };
                self.after(wait, Event::Act(action));
            }
        }
    }

    pub(crate) fn civic_act(&mut self, action: Action) {
        let Action { kind, who, what } = action;
        let who = (who % self.profile.peers as u64) as Who;
        let pick = what >> 8;
        if !self.is_in(who) {
            return self.skip();
        }
        match kind {
            Kind::Victim => {
                self.submit(
                    who,
                    pick | 1,
                    &Wish { name: Some("image"), sla: Some(Sla::Normal), ..Wish::default() },
                );
            }
            Kind::Urgency => {
                let wish = Wish { name: Some("hospital-backup"), sla: Some(Sla::Urgent), ..Wish::default() };
                self.submit(who, pick | 1, &wish);
            }
            Kind::Deadline => {
                self.count("submission with a deadline");
                let wish = Wish {
                    name: Some("image"),
                    sla: Some(Sla::Normal),
                    within: Some(ROOM_MS + 1_000 + pick % 40_000),
                };
                self.submit(who, pick | 1, &wish);
            }
            Kind::Vote => match self.some_ballot(who, pick) {
                Some((_, task)) => {
                    self.count("vote");
                    const LEVELS: [Importance; 4] =
                        [Importance::Low, Importance::Normal, Importance::High, Importance::Critical];
                    let importance = LEVELS[(pick >> 8) as usize % 4];
                    let vote = Command::Vote { task: task.to_string(), importance, comment: String::new() };
                    self.ask(who, vote, Ask::Other);
                }
                None => self.skip(),
            },
            Kind::Contribute => {
                self.count("contribution");
                let user = self.peers[who].name.clone();
                let gift = Command::Contribute { user, unit: "money".into(), amount: 500, month: None };
                self.ask(0, gift, Ask::Other);
            }
            Kind::MoveZone => {
                const ZONES: [&str; 4] =
                    ["Europe/Berlin", "Pacific/Auckland", "America/New_York", "Asia/Kathmandu"];
                self.count("move to another time zone");
                let zone = ZONES[pick as usize % 4].to_owned();
                self.ask(who, Command::SetZone { zone }, Ask::Other);
            }
            Kind::Propose => {
                let Some(node) = self.peers[who].node.as_ref() else { return };
                let mut rules = node.ledger().governance().rules().clone();
                rules.voting_method =
                    if pick.is_multiple_of(2) { VotingMethod::Hybrid } else { VotingMethod::OnePerUser };
                rules.consensus_percent = 50 + (pick % 20) as u8;
                self.count("rules proposed");
                let propose = Command::Propose { rules: Box::new(rules), why: "better".into() };
                self.ask(who, propose, Ask::Other);
            }
            Kind::VoteRules => {
                let Some(node) = self.peers[who].node.as_ref() else { return };
                let newest = node.ledger().facts().ballots().proposals().iter();
                let Some((proposal, _)) = newest.max_by_key(|(_, said)| said.hlc) else {
                    return self.skip();
                };
                let vote =
                    Command::VoteRules { proposal: proposal.to_string(), yes: !pick.is_multiple_of(4) };
                self.count("vote on rules");
                self.ask(who, vote, Ask::Other);
            }
            Kind::SplitBallot => {
                // A ballot opens, some vote, and then the one half hears nothing of the other until it is over.
                self.count("ballot in a community that is split");
                let window = self.profile.civic.map_or(0, |civic| civic.window_ms);
                self.submit(who, pick | 1, &Wish { name: None, sla: Some(Sla::Normal), ..Wish::default() });
                let split = Action { kind: Kind::Split, who: who as u64, what };
                self.after(1_500, Event::Act(split));
                for voter in 0..self.profile.peers as u64 {
                    let vote = Action { kind: Kind::Vote, who: voter, what: self.rng.next() << 8 };
                    let wait = 500 + self.rng.below(window);
                    self.after(wait, Event::Act(vote));
                }
            }
            Kind::Split => {
                let ms = self.profile.civic.map_or(0, |civic| civic.window_ms) + pick % 40_000;
                self.split(|at| at == who || (pick >> at) & 1 == 1, ms);
            }
            _ => self.skip(),
        }
    }

    /// One of the newest ballots that a peer knows of.
    fn some_ballot(&self, who: Who, pick: u64) -> Option<(PublicKey, TaskId)> {
        let node = self.peers[who].node.as_ref()?;
        let submissions = node.ledger().facts().ballots().submissions();
        let mut known: Vec<(Hlc, PublicKey, TaskId)> =
            submissions.map(|((author, _), (hlc, task))| (*hlc, *author, task.task)).collect();
        known.sort_unstable();
        let newest = &known[known.len().saturating_sub(5)..];
        let (_, author, task) = newest.get(pick as usize % newest.len().max(1))?;
        Some((*author, *task))
    }

    // ---- cheating ----

    /// A cheater's next attempt at it.
    pub(crate) fn cheat(&mut self, me: Who, pick: u64) {
        match self.peers[me].role {
            Role::Spender | Role::Hider => {
                self.count("submission beyond what a day allows, perhaps");
                self.submit(
                    me,
                    pick | 1,
                    &Wish { name: Some("image"), sla: Some(Sla::Urgent), ..Wish::default() },
                );
            }
            Role::Boaster => {
                self.count("submission that claims to be critical");
                self.submit(
                    me,
                    pick | 1,
                    &Wish { name: Some("image"), sla: Some(Sla::Eco), ..Wish::default() },
                );
            }
            Role::Wasteful => {
                self.count("patient task offered on any energy");
                self.submit(
                    me,
                    pick | 1,
                    &Wish { name: Some("image"), sla: Some(Sla::Eco), ..Wish::default() },
                );
            }
            Role::Stuffer | Role::Latecomer | Role::Backdater if self.model.puppets.len() < DEVICES => {
                self.make_puppets(me, TicketKind::Device, DEVICES);
            }
            Role::Host if self.model.puppets.len() < CROWD => {
                self.make_puppets(me, TicketKind::Member, self.model.puppets.len() + 10);
            }
            Role::Stuffer | Role::Host => self.stuff(me, pick),
            Role::Latecomer | Role::Backdater => self.vote_late(me, pick),
            _ => self.skip(),
        }
    }

    fn make_puppets(&mut self, me: Who, kind: TicketKind, upto: usize) {
        for _ in self.model.puppets.len()..upto {
            let invite = Command::Invite { kind, valid_ms: 3_600_000, addrs: vec![addr_of(me)] };
            self.ask(me, invite, Ask::Puppet(kind));
        }
    }

    /// A key that the cheater makes asks the cheater to be let in.
    pub(crate) fn puppet_comes(&mut self, me: Who, kind: TicketKind, ticket: &str) {
        let Ok(ticket) = ticket.parse::<Ticket>() else { return };
        let number = self.model.puppets.len();
        let derive = |what: &str| SecretKey::from_seed(&self.peers[me].derived(&format!("{what} {number}")));
        let (key, user) = (derive("puppet"), derive("puppet's user"));
        let invite = SecretKey::from_seed(&ticket.secret);
        let frame = match kind {
            TicketKind::Device => {
                let word = consent(&key, &ticket.community, &ticket.user);
                let request = DeviceRequest::sign(format!("puppet{number}"), key.public(), word, &invite);
                HelloFrame::JoinDevice(Box::new(request))
            }
            TicketKind::Member => {
                let request = JoinRequest {
                    user: UserKey(user.public()),
                    user_name: format!("puppet{number}"),
                    recovery: user.public(),
                    device_name: "laptop".into(),
                    cert: DeviceCert::of(&user, ticket.community, &key, 1000, 0),
                    invite: PublicKey([0; 32]),
                    word: Signature([0; 64]),
                    signature: Signature([0; 64]),
                };
                HelloFrame::Join(Box::new(request.sign(&user, &invite)))
            }
        };
        self.count("key that a cheater made");
        self.peers[me].inbox.push_back(Input::Hello(key.public(), frame));
        self.model.puppets.push(Puppet { key, next: 0, prev: EntryId::ZERO, hlc: Hlc::default() });
    }

    /// Every key that the cheater has votes on what is open.
    fn stuff(&mut self, me: Who, pick: u64) {
        let Some((_, task)) = self.some_ballot(me, pick) else { return self.skip() };
        let wall = self.peers[me].clock.at(self.now).wall_ms;
        for puppet in 0..self.model.puppets.len() {
            self.puppet_votes(me, puppet, task, Importance::Critical, wall);
        }
    }

    /// A vote, and another, on what was decided long ago: as of now, or as of when it was open.
    fn vote_late(&mut self, me: Who, pick: u64) {
        let Some(civic) = self.profile.civic else { return };
        // Later than any difference of dates that anybody overlooks.
        let late = civic.window_ms + 2 * civic.skew_ms + 3_000;
        let closed: Vec<(TaskId, u64)> = self
            .model
            .opened
            .iter()
            .filter(|(_, opened)| **opened + late <= self.now)
            .map(|((_, task), opened)| (*task, *opened))
            .collect();
        let Some((task, opened)) = closed.get(pick as usize % closed.len().max(1)).copied() else {
            return self.skip();
        };
        let since =
            if self.peers[me].role == Role::Latecomer { self.now } else { opened + civic.window_ms / 2 };
        let date = self.peers[me].clock.at(since).wall_ms;
        // A log goes on from date to date, so dating back takes one that has not said anything later.
        let fresh = self.model.puppets.iter().position(|puppet| puppet.hlc < Hlc::at(date));
        let Some(puppet) = fresh else { return self.skip() };
        self.puppet_votes(me, puppet, task, Importance::Critical, date);
        self.puppet_votes(me, puppet, task, Importance::Low, date);
    }

    /// An entry by a key that no node has.
    fn puppet_votes(&mut self, me: Who, puppet: usize, task: TaskId, importance: Importance, date: u64) {
        let Some(node) = self.peers[me].node.as_ref() else { return };
        let Some(community) = node.community() else { return };
        let Some(puppet) = self.model.puppets.get_mut(puppet) else { return };
        let hlc = puppet.hlc.next(date);
        let place = Place { community, seq: puppet.next, prev: puppet.prev, refs: vec![], hlc };
        let vote = Payload::Voted { task, importance, comment: String::new() };
        let entry = Entry::write(&puppet.key, place, vote);
        (puppet.next, puppet.prev, puppet.hlc) = (puppet.next + 1, entry.id(), hlc);
        self.model.born.insert(entry.id(), self.now);
        self.count("vote by a key that a cheater made");
        let friend = self.peers[0].key;
        self.arrive(me, Input::Gossip(friend, Box::new(entry.clone())));
        self.flood(me, entry.bytes(), None);
    }

    /// Where a donor could read what was asked of others already, it is left out.
    pub(crate) fn hide(&mut self, me: Who, output: Output) -> Vec<Output> {
        use mesh_node::Message;
        let key = self.peers[me].key;
        match output {
            Output::Spread(entry) if entry.header().author == key && self.rng.chance(700) => {
                self.count("entry hidden");
                Vec::new()
            }
            Output::SendEntries { author, .. } if author == key && self.rng.chance(500) => {
                self.count("entries hidden");
                Vec::new()
            }
            Output::Send(to, Message::Task(id, TaskFrame::Offer(mut offer))) if self.rng.chance(500) => {
                let older = offer.tip.seq.saturating_sub(self.rng.within(1, MAX_TIPS as u64));
                let stored = self.peers[me].disk.entries.get(&(key, older));
                if let Some(entry) = stored.and_then(|bytes| Entry::trusted(bytes).ok()) {
                    self.count("offer that names an older end of its log");
                    offer.tip = entry.tip();
                    offer.entries.clear();
                }
                vec![Output::Send(to, Message::Task(id, TaskFrame::Offer(offer)))]
            }
            output => vec![output],
        }
    }

    /// Weights that a peer of the simulator knows nothing of come from nowhere: the members are the peers.
    pub(crate) fn users(&self) -> BTreeMap<UserKey, Who> {
        (0..self.profile.peers).map(|who| (self.peers[who].user(), who)).collect()
    }
}
