//! The driver of a node, as its contract says: handle, drain, make durable, and only then let anything leave. A crash may
//! come before the commit and between any two of the things that leave.
// spec: ARC-2, ARC-3

use super::bugs::Bug;
use super::checks;
use super::net::{Channel, Who};
use super::peer::{Busy, CrashPoint, Role, who_at};
use super::world::{Event, World};
use mesh_node::{Happening, Input, Message, Output, RunEvent};
use mesh_protocol::frame::{Frame, MAX_FRAME, Released, SyncFrame};
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::Entry;
use mesh_protocol::record::{Record, Table};

/// Inputs handled before what they promise is made durable together.
const MAX_BATCH: usize = 64;
/// Bytes of entries in one frame.
const PIECE: usize = MAX_FRAME / 2;
/// How long after a failed commit it is tried again, at first and at most.
const RETRY_MS: (u64, u64) = (100, 1000);

impl World {
    /// Something happens to a node.
    pub(crate) fn arrive(&mut self, who: Who, input: Input) {
        if self.peers[who].node.is_none() {
            return;
        }
        self.peers[who].inbox.push_back(input);
        self.turn(who);
    }

    /// Handles what waits, as long as the disk is not behind.
    pub(crate) fn turn(&mut self, who: Who) {
        while self.peers[who].busy.is_none()
            && self.peers[who].node.is_some()
            && !self.peers[who].inbox.is_empty()
            && self.broken.is_none()
        {
            let many = self.peers[who].inbox.len().min(MAX_BATCH);
            let batch: Vec<Input> = self.peers[who].inbox.drain(..many).collect();
            let (mut records, mut rest) = (Vec::new(), Vec::new());
            for input in batch {
                self.handle(who, input, &mut records, &mut rest);
            }
            self.settle(who, records, rest);
        }
        self.arm(who);
    }

    fn handle(&mut self, who: Who, input: Input, records: &mut Vec<Record>, rest: &mut Vec<Output>) {
        let stranger = self.is_strangers(&input);
        if stranger {
            // What is due anyway is not the stranger's doing.
            self.drain(who, Input::Wake, records, rest);
        }
        let before = records.len();
        self.heed(who, &input);
        self.drain(who, input, records, rest);
        if stranger {
            self.must(checks::what_a_stranger_says_leaves_no_trace(&records[before..]));
        }
    }

    fn is_strangers(&self, input: &Input) -> bool {
        let (Input::Gossip(from, _) | Input::Sync(from, _) | Input::Task(from, ..)) = input else {
            return false;
        };
        self.who(from).is_some_and(|who| self.peers[who].role == Role::Stranger)
    }

    fn drain(&mut self, who: Who, input: Input, records: &mut Vec<Record>, rest: &mut Vec<Output>) {
        let now = self.peers[who].clock.at(self.now);
        let Some(node) = self.peers[who].node.as_mut() else { return };
        node.handle(now, input);
        if std::mem::take(&mut self.peers[who].clock_set) {
            self.peers[who].stuck_until = self.peers[who].stuck_until.max(self.now);
        }
        self.collect(who, records, rest);
    }

    fn collect(&mut self, who: Who, records: &mut Vec<Record>, rest: &mut Vec<Output>) {
        let mut outputs = Vec::new();
        if let Some(node) = self.peers[who].node.as_mut() {
            while let Some(output) = node.poll() {
                outputs.push(output);
            }
        }
        for output in outputs {
            self.log.output(&output);
            match output {
                Output::Persist(record) => {
                    self.said(who, &record);
                    if !self.bug.is_some_and(|bug| bug.drops(&record)) {
                        records.push(record);
                    }
                }
                output => {
                    if self.peers[who].is_honest() {
                        self.decided(who, &output);
                    }
                    rest.push(output);
                }
            }
        }
    }

    /// Makes durable what is promised, now or when the disk is ready.
    pub(crate) fn settle(&mut self, who: Who, mut records: Vec<Record>, mut rest: Vec<Output>) {
        self.collect(who, &mut records, &mut rest);
        if records.is_empty() && rest.is_empty() {
            return;
        }
        let promises = !records.is_empty();
        if promises && self.peers[who].crash == Some(CrashPoint::BeforeCommit) {
            self.count("crash before a commit");
            let back = self.rng.within(50, 20_000);
            return self.crash(who, back);
        }
        if self.bug == Some(Bug::SendsBeforeItPersists) {
            let early = std::mem::take(&mut rest);
            for output in early {
                self.release(who, output, &records);
            }
        }
        self.peers[who].busy = Some(Busy { records, rest, tries: 0 });
        let slow =
            if promises && self.rng.chance(self.profile.slow_disk) { self.rng.within(1, 12) } else { 0 };
        if slow == 0 {
            self.commit(who);
        } else {
            let incarnation = self.peers[who].incarnation;
            self.after(slow, Event::Commit(who, incarnation));
        }
    }

    /// Tries to make a round's records durable, and lets the rest leave if that went well.
    pub(crate) fn commit(&mut self, who: Who) {
        let Some(mut busy) = self.peers[who].busy.take() else { return };
        if !busy.records.is_empty() && self.peers[who].disk.commit(&busy.records).is_err() {
            self.count("commit refused by a full disk");
            let wait = RETRY_MS.0.saturating_mul(1 << busy.tries.min(10)).min(RETRY_MS.1);
            busy.tries += 1;
            // A sleep may hold it back for longer.
            self.peers[who].stuck_until = self.peers[who].stuck_until.max(self.now + wait);
            self.peers[who].busy = Some(busy);
            let incarnation = self.peers[who].incarnation;
            return self.after(wait, Event::Commit(who, incarnation));
        }
        if !busy.records.is_empty() {
            self.committed(who, &busy.records);
        }
        let crash = match self.peers[who].crash {
            Some(CrashPoint::After(outputs)) if !busy.records.is_empty() => Some(outputs),
            _ => None,
        };
        let Busy { records, rest, .. } = busy;
        // All of a round leaves before the next begins, also what a connection that is closed by it brings.
        self.peers[who].busy = Some(Busy { records: Vec::new(), rest: Vec::new(), tries: 0 });
        // What is spread comes last, as the shell does it.
        let (spread, rest): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|output| matches!(output, Output::Spread(_)));
        let incarnation = self.peers[who].incarnation;
        for (number, output) in rest.into_iter().chain(spread).enumerate() {
            if crash == Some(number as u32) {
                self.count(if number == 0 { "crash after a commit" } else { "crash between two sends" });
                let back = self.rng.within(50, 20_000);
                return self.crash(who, back);
            }
            if self.broken.is_some() || !self.lives(who, incarnation) {
                return;
            }
            self.release(who, output, &records);
        }
        if self.lives(who, incarnation) {
            self.peers[who].busy = None;
        }
    }

    /// Something leaves the process: what it rests on must be durable.
    fn release(&mut self, who: Who, output: Output, records: &[Record]) {
        if self.peers[who].is_honest() {
            self.leaves(who, &output, records);
            self.carry_out(who, output);
        } else {
            for output in self.twist(who, output) {
                self.carry_out(who, output);
            }
        }
    }

    /// What the driver's hands do.
    fn carry_out(&mut self, who: Who, output: Output) {
        match output {
            Output::Persist(_) | Output::Belongs(_) => {}
            Output::Send(to, message) => {
                let Some(to) = self.who(&to) else { return };
                let (channel, bytes) = match message {
                    Message::Hello(frame) => (Channel::Hello, frame.encode()),
                    Message::Sync(frame) => (Channel::Sync, frame.encode()),
                    Message::Task(attempt, frame) => (Channel::Task(attempt), frame.encode()),
                };
                self.post(who, to, channel, bytes);
            }
            Output::Spread(entry) => {
                self.peers[who].seen.insert(entry.id());
                self.flood(who, entry.bytes(), None);
            }
            Output::SendEntries { to, author, from, until } => {
                self.send_entries(who, to, author, from, until)
            }
            Output::Read { author, seq } => {
                let stored = self.peers[who].disk.entries.get(&(author, seq));
                if let Some(entry) = stored.and_then(|bytes| Entry::trusted(bytes).ok()) {
                    self.peers[who].inbox.push_back(Input::Stored(Box::new(entry)));
                }
            }
            Output::Run(run) => self.run(who, *run),
            Output::Pause(attempt) => self.wish(who, attempt, super::executor::Step::Pause),
            Output::Resume(attempt) => self.wish(who, attempt, super::executor::Step::Resume),
            Output::Stop(attempt) => self.wish(who, attempt, super::executor::Step::Stop),
            Output::Fetch { number, attempt, blob, from, wanted } => {
                let Some(from) = self.who(&from) else { return };
                let incarnation = self.peers[who].incarnation;
                let takes = self.rng.within(5, 300);
                self.peers[who].fetching.insert(number, (attempt, incarnation));
                self.after(takes, Event::Fetched { who, incarnation, number, attempt, blob, from, wanted });
            }
            Output::Unfetch(attempt) => self.peers[who].fetching.retain(|_, (of, _)| *of != attempt),
            Output::Release(attempt) => {
                let done = Input::Run(attempt, RunEvent::Released(Released::Released));
                self.peers[who].inbox.push_back(done);
            }
            // Nobody here has such a program.
            Output::Forget(_) | Output::Ask(_) => {}
            Output::Dial(peer, addrs) => {
                let Some(to) = self.who(&peer) else { return };
                if addrs.iter().any(|addr| who_at(addr) == Some(to)) && self.peers[who].wanted.insert(to) {
                    let incarnation = self.peers[who].incarnation;
                    self.after(1, Event::Dial { from: who, to, incarnation, tries: 0 });
                }
            }
            Output::Standing(peer, member) => {
                let Some(other) = self.who(&peer) else { return };
                if member && self.net.is_up(who, other) {
                    self.peers[who].there.insert(other);
                } else {
                    self.peers[who].there.remove(&other);
                }
            }
            Output::Close(peer, _) => {
                let Some(other) = self.who(&peer) else { return };
                self.peers[who].wanted.remove(&other);
                self.disconnect(who, other);
            }
            Output::Answer(id, answer) => self.answered(who, id, answer),
            Output::Tell(Happening::Task { task, state, .. }) => {
                self.model.told.insert((who, task), state);
            }
            Output::Tell(_) => {}
        }
    }

    fn send_entries(&mut self, who: Who, to: PublicKey, author: PublicKey, from: u64, until: u64) {
        let Some(to) = self.who(&to) else { return };
        let mut piece: Vec<Vec<u8>> = Vec::new();
        let mut pieces = Vec::new();
        let mut bytes = 0;
        for ((_, seq), entry) in self.peers[who].disk.log(&author) {
            if (from..until).contains(seq) {
                if bytes + entry.len() > PIECE {
                    pieces.push(std::mem::take(&mut piece));
                    bytes = 0;
                }
                bytes += entry.len();
                piece.push(entry.clone());
            }
        }
        pieces.push(piece);
        for entries in pieces.into_iter().filter(|entries| !entries.is_empty()) {
            self.post(who, to, Channel::Sync, SyncFrame::Entries(entries).encode());
        }
    }

    /// Makes sure that the node is woken when something is due.
    pub(crate) fn arm(&mut self, who: Who) {
        let peer = &self.peers[who];
        let Some(due) = peer.node.as_ref().and_then(mesh_node::Node::deadline) else { return };
        let at = peer.clock.when(due).max(self.now + 1);
        if peer.wake_at.is_none_or(|before| before > at) {
            let incarnation = peer.incarnation;
            self.peers[who].wake_at = Some(at);
            self.at(at, Event::Wake(who, incarnation));
        }
    }
}

impl Bug {
    fn drops(self, record: &Record) -> bool {
        match self {
            Self::LosesTheSubmission => matches!(record, Record::Put { table: Table::Tasks, .. }),
            Self::LosesTheAttempt => matches!(record, Record::Put { table: Table::Attempts, .. }),
            Self::LosesOwnEntries => matches!(record, Record::Entry { own: true, .. }),
            _ => false,
        }
    }
}
