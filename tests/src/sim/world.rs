//! The simulated world: one queue of events, one thread, and time that jumps to the next of them.

use super::actions::{Action, Profile};
use super::bugs::Bug;
use super::checks::Broken;
use super::clock::Clock;
use super::executor::Step;
use super::model::{Ask, Model};
use super::net::{Net, Packet, Weather, Who};
use super::peer::{Peer, Role};
use super::rng::Rng;
use mesh_node::{Command, CommandId, Input, Node, Wanted};
use mesh_protocol::frame::AttemptId;
use mesh_protocol::ids::TaskId;
use mesh_protocol::key::PublicKey;
use mesh_protocol::record::Record;
use mesh_protocol::task::Blob;
use std::collections::BTreeMap;

/// What happens.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The process begins.
    Start(Who),
    /// Something is due in the node.
    Wake(Who, u64),
    /// A packet arrives.
    Arrive(Packet),
    /// An end of a connection is given up.
    Down { at: Who, other: Who, conn: u64 },
    /// Nothing has passed in this direction for too long, unless it was opened since.
    Idle { from: Who, to: Who, since: u64 },
    /// A peer dials another.
    Dial { from: Who, to: Who, incarnation: u64, tries: u32 },
    /// The disk is done, or is tried again.
    Commit(Who, u64),
    /// The sandbox goes on.
    Sandbox(Who, u64, AttemptId, u64, Step),
    /// A blob was transferred, or not.
    Fetched {
        who: Who,
        incarnation: u64,
        number: u64,
        attempt: AttemptId,
        blob: Blob,
        from: Who,
        wanted: Wanted,
    },
    /// Somebody who is invited tries to get in.
    Join(Who),
    /// A task was to be done by this moment of its owner's clock.
    Due(Who, TaskId, u64),
    /// Something that the seed chose.
    Act(Action),
    /// A fault ends.
    End(Fault),
}

/// Faults that last.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Blocked(Who, Who),
    FullDisk(Who),
    Asleep(Who),
    Weather,
}

/// Everything.
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    counter: u64,
    pub(crate) events: u64,
    pub(crate) peers: Vec<Peer>,
    index: BTreeMap<PublicKey, Who>,
    pub(crate) net: Net,
    pub(crate) model: Model,
    pub(crate) profile: Profile,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) bug: Option<Bug>,
    pub(crate) broken: Option<Broken>,
    /// Do things go wrong now?
    pub(crate) chaos: bool,
    pub(crate) log: super::log::Log,
    pub(crate) known: super::known::Known,
    commands: u64,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>, log: super::log::Log) -> Self {
        let mut rng = Rng::new(seed);
        let profile = Profile::draw(seed, &mut rng);
        let mut peers = Vec::new();
        for who in 0..profile.peers + 1 {
            let role = if who == profile.peers {
                Role::Stranger
            } else if who + 1 == profile.peers {
                profile.adversary
            } else {
                Role::Honest
            };
            let clock = Clock::new(&mut rng, profile.skew, profile.begins);
            peers.push(Peer::new(who, rng.bytes(), role, clock));
        }
        let index = peers.iter().enumerate().map(|(who, peer)| (peer.key, who)).collect();
        Self {
            rng,
            now: 0,
            queue: BTreeMap::new(),
            counter: 0,
            events: 0,
            peers,
            index,
            net: Net::new(Weather::calm()),
            model: Model::default(),
            profile,
            counts: BTreeMap::new(),
            bug,
            broken: None,
            chaos: false,
            log,
            known: super::known::Known::default(),
            commands: 0,
        }
    }

    pub(crate) fn who(&self, key: &PublicKey) -> Option<Who> {
        self.index.get(key).copied()
    }

    pub(crate) fn name(&self, key: &PublicKey) -> String {
        self.who(key).map_or_else(|| key.short(), |who| self.peers[who].name.clone())
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(crate) fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now + ms, event);
    }

    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.counter += 1;
        self.queue.insert((at.max(self.now), self.counter), event);
    }

    /// Holds what must hold, or ends the run.
    pub(crate) fn must(&mut self, verdict: Result<(), Broken>) {
        if let Err(broken) = verdict
            && self.broken.is_none()
        {
            self.log.effect(format_args!("BROKEN {}: {}", broken.check, broken.what));
            self.broken = Some(broken);
        }
    }

    /// Goes on until then, or until something is broken.
    pub(crate) fn run_until(&mut self, end: u64) {
        while self.broken.is_none()
            && let Some(first) = self.queue.first_entry().filter(|first| first.key().0 <= end)
        {
            let ((at, _), event) = first.remove_entry();
            self.now = self.now.max(at);
            self.events += 1;
            self.apply(event);
        }
        self.now = self.now.max(end);
    }

    fn apply(&mut self, event: Event) {
        if let Some(until) = self.sleeper(&event) {
            return self.at(until + 1, event);
        }
        self.log.event(self.now, &self.peers, &event);
        let touched = match event {
            Event::Start(who) => {
                self.start(who);
                Some(who)
            }
            Event::Wake(who, incarnation) => {
                let expected = self.peers[who].wake_at.is_some_and(|at| at <= self.now);
                if self.lives(who, incarnation) && expected {
                    self.peers[who].wake_at = None;
                    let boot = self.peers[who].clock.boot(self.now);
                    let due = self.peers[who].node.as_ref().and_then(Node::deadline);
                    if due.is_some_and(|at| at <= boot) {
                        self.arrive(who, Input::Wake);
                    } else {
                        self.arm(who);
                    }
                }
                Some(who)
            }
            Event::Arrive(packet) => {
                let to = packet.to;
                self.deliver(packet);
                Some(to)
            }
            Event::Down { at, other, conn } => {
                self.down(at, other, conn);
                Some(at)
            }
            Event::Idle { from, to, since } => {
                self.idle(from, to, since);
                None
            }
            Event::Dial { from, to, incarnation, tries } => {
                if self.lives(from, incarnation) {
                    self.dial(from, to, tries);
                }
                Some(from)
            }
            Event::Commit(who, incarnation) => {
                if self.lives(who, incarnation) {
                    self.commit(who);
                    self.turn(who);
                }
                Some(who)
            }
            Event::Sandbox(who, incarnation, attempt, token, step) => {
                if self.lives(who, incarnation) {
                    self.sandbox(who, attempt, token, step);
                }
                Some(who)
            }
            Event::Fetched { who, incarnation, number, attempt, blob, from, wanted } => {
                if self.lives(who, incarnation) {
                    self.fetched(who, number, attempt, blob, from, wanted);
                }
                Some(who)
            }
            Event::Join(who) => {
                self.join(who);
                Some(who)
            }
            Event::Due(who, task, by) => {
                self.due(who, task, by);
                Some(who)
            }
            Event::Act(action) => {
                self.act(action);
                None
            }
            Event::End(fault) => {
                self.end(fault);
                None
            }
        };
        match touched {
            Some(who) => self.check_peer(who),
            None => (0..self.peers.len()).for_each(|who| self.check_peer(who)),
        }
    }

    /// Until when the one that this happens to sleeps, if it does.
    fn sleeper(&self, event: &Event) -> Option<u64> {
        let who = match event {
            Event::Wake(who, _)
            | Event::Commit(who, _)
            | Event::Sandbox(who, ..)
            | Event::Fetched { who, .. }
            | Event::Down { at: who, .. }
            | Event::Join(who)
            | Event::Due(who, ..)
            | Event::Dial { from: who, .. } => *who,
            Event::Arrive(packet) => packet.to,
            Event::Start(_) | Event::Idle { .. } | Event::Act(_) | Event::End(_) => return None,
        };
        self.peers[who].asleep_until
    }

    pub(crate) fn lives(&self, who: Who, incarnation: u64) -> bool {
        self.peers[who].incarnation == incarnation && self.peers[who].node.is_some()
    }

    // ---- processes ----

    fn start(&mut self, who: Who) {
        if self.peers[who].node.is_some() {
            return;
        }
        let now = self.peers[who].clock.at(self.now);
        let peer = &mut self.peers[who];
        peer.started_at = self.now;
        let mut node = Node::new(peer.config(who, self.profile.begins), now);
        let bug = self.bug.filter(|_| peer.is_honest()).and_then(Bug::misbehaviour);
        if let Some(how) = bug.or_else(|| peer.misbehaviour()) {
            node.misbehave(how);
        }
        for ((table, key), value) in &peer.disk.values {
            node.restore_value(*table, key, value);
        }
        for bytes in peer.disk.entries.values() {
            node.restore_entry(bytes);
        }
        let unclean = peer.unclean && self.bug != Some(Bug::ReusesSequenceNumbers);
        node.start(now, unclean);
        peer.node = Some(node);
        peer.unclean = true;
        self.model.restored(who, &self.peers[who], &mut self.known);
        self.settle(who, Vec::new(), Vec::new());
        self.turn(who);
    }

    /// The process is gone at once, and with it everything that was not committed.
    pub(crate) fn crash(&mut self, who: Who, back_in: u64) {
        self.kill(who);
        self.after(back_in, Event::Start(who));
    }

    pub(crate) fn kill(&mut self, who: Who) {
        for other in self.net.ends_of(who) {
            self.net.end(who, other);
            // Nobody says goodbye: the other side finds out.
            if let Some(conn) = self.net.conn(who, other).map(|conn| conn.id) {
                let silence = self.rng.within(10, super::net::IDLE_MS);
                self.after(silence, Event::Down { at: other, other: who, conn });
            }
        }
        self.tear(who);
        if self.profile.power && self.chaos && self.rng.chance(500) {
            let lost = self.peers[who].disk.lose_power();
            self.count(if lost > 0 { "power loss that took entries" } else { "power loss" });
        }
        self.peers[who].forget_process();
        self.model.crashed(who);
    }

    /// A person or program asks the node.
    pub(crate) fn ask(&mut self, who: Who, command: Command, ask: Ask) {
        if !self.peers[who].awake() {
            return;
        }
        self.commands += 1;
        let id = CommandId(self.commands);
        self.model.asked.insert(id, (who, ask));
        self.arrive(who, Input::Command(id, Box::new(command)));
    }

    /// Something is not kept any more, or never was: what else a check reads is brought up to date.
    pub(crate) fn said(&mut self, who: Who, record: &Record) {
        if let Record::Entry { bytes, .. } = record
            && let Some(entry) = self.known.read(bytes)
        {
            let key = self.peers[who].key;
            self.model.said(who, &entry, &key);
        }
    }
}
