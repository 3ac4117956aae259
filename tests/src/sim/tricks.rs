//! What bad peers do. Each is the same node as everybody's with something added to, or taken from, what it says.

use super::actions::Wish;
use super::executor::{Way, receipt_for};
use super::model::Ask;
use super::net::{Channel, Who};
use super::peer::Role;
use super::world::World;
use mesh_node::{Command, GrantRequest, Message, Output, Run};
use mesh_protocol::frame::{AttemptId, Ended, Frame, HelloFrame, Offer, SyncFrame, TaskFrame};
use mesh_protocol::ids::{CommunityId, EntryId, InputHash, ModuleHash, TaskId};
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Effect, Entry, Hlc, Payload, Place, Statement, Tip};
use mesh_protocol::limits::Limits;
use mesh_protocol::permissions::Permissions;
use mesh_protocol::reason::Reason;
use mesh_protocol::task::{Blob, Sla, TaskSpec, VERSION};

/// A grant for every task of a user, for good.
pub(crate) fn anything(user: String) -> GrantRequest {
    GrantRequest { user, device: None, task: "*".into(), module: None, until_ms: None, permissions: None }
}

/// Frames that a replayer remembers.
const MAX_REMEMBERED: usize = 300;

impl World {
    fn adversary(&self) -> Who {
        self.profile.peers - 1
    }

    fn stranger(&self) -> Who {
        self.profile.peers
    }

    /// What an adversary makes of what its node wants done.
    pub(crate) fn twist(&mut self, who: Who, output: Output) -> Vec<Output> {
        if !self.chaos {
            self.keeps_to_itself(who, &output);
            return vec![output];
        }
        match (self.peers[who].role, output) {
            (Role::Mute, Output::Send(_, Message::Task(..))) if self.rng.chance(700) => {
                self.count("frame withheld");
                Vec::new()
            }
            (Role::Forger, Output::Send(to, Message::Task(id, TaskFrame::Ended(mut ended))))
                if self.rng.chance(700) =>
            {
                self.count("signature forged");
                match self.rng.chance(500) {
                    true => ended.signature.0[0] ^= 1,
                    // All else fits: only the receipt itself nobody signed.
                    false => {
                        let nonce = super::kept::attempt_nonce(&self.peers[who].disk, id);
                        ended.receipt.signature.0[0] ^= 1;
                        let energy = ended.statement.energy.clone();
                        ended.statement = Statement::of(&ended.receipt, &nonce.unwrap_or_default(), energy);
                        ended.signature = ended.statement.sign(&self.peers[who].device());
                    }
                }
                vec![Output::Send(to, Message::Task(id, TaskFrame::Ended(ended)))]
            }
            (Role::Copier, Output::Send(to, Message::Task(id, TaskFrame::Promised(_)))) => {
                let Some(other) = self.overheard(who, id.task, false) else {
                    self.count("promise withheld");
                    return Vec::new();
                };
                self.count("promise copied");
                self.model.copied.insert((who, id));
                let promise = TaskFrame::Promised(other.statement.promise());
                vec![Output::Send(to, Message::Task(id, promise))]
            }
            (Role::Copier, Output::Send(to, Message::Task(id, TaskFrame::Ended(mut ended))))
                if self.model.copied.contains(&(who, id)) =>
            {
                if let Some(other) = self.overheard(who, id.task, true) {
                    self.count("result copied");
                    ended.receipt.receipt.output = other.receipt.receipt.output;
                    ended.receipt = ended.receipt.receipt.sign(&self.peers[who].device());
                    ended.statement.output = other.statement.output;
                    ended.signature = ended.statement.sign(&self.peers[who].device());
                }
                vec![Output::Send(to, Message::Task(id, TaskFrame::Ended(ended)))]
            }
            (Role::Hider, output) => self.hide(who, output),
            (_, output) => vec![output],
        }
    }

    /// A copier that has become honest promises what it has: if the copy was never heard, it copied nothing.
    fn keeps_to_itself(&mut self, who: Who, output: &Output) {
        let Output::Send(to, Message::Task(id, TaskFrame::Promised(_))) = output else { return };
        let heard = self.who(to).is_none_or(|to| super::kept::is_promised(&self.peers[to].disk, *id));
        if !heard {
            self.model.copied.remove(&(who, *id));
        }
    }

    /// What another peer has promised for a task, and shown by now if that is asked.
    fn overheard(&self, me: Who, task: TaskId, shown: bool) -> Option<Ended> {
        let others = (0..self.profile.peers).filter(|who| *who != me);
        let results = others.flat_map(|who| {
            let attempts = super::kept::attempts(&self.peers[who].disk, task);
            attempts.filter(move |(id, _)| !shown || self.model.revealed.contains(&(who, *id)))
        });
        results.filter_map(|(_, attempt)| attempt.ended).next()
    }

    /// Everybody's tasks may run where results are forged.
    pub(crate) fn prepare_forger(&mut self) {
        let me = self.adversary();
        if self.peers[me].role != Role::Forger {
            return;
        }
        for who in 0..me {
            let user = self.peers[who].name.clone();
            self.ask(me, Command::Grant(anything(user)), Ask::Other);
        }
    }

    pub(crate) fn remember_frame(&mut self, from: Who, to: Who, channel: Channel, bytes: &[u8]) {
        if self.peers[from].role == Role::Replayer && self.model.frames.len() < MAX_REMEMBERED {
            self.model.frames.push((to, channel, bytes.to_vec()));
        }
    }

    /// The adversary does what it is there for.
    pub(crate) fn trick(&mut self, pick: u64) {
        let me = self.adversary();
        if !self.peers[me].awake() || !self.is_in(me) {
            return self.count("action that made no sense");
        }
        match self.peers[me].role {
            Role::Forker if pick.is_multiple_of(3) => self.go_back(me),
            Role::Forker => self.write_twice(me, pick),
            Role::Thief => self.steal(me, pick),
            Role::Grantless => self.impose(me, pick),
            Role::Replayer => self.replay(me, pick),
            // It has nothing to forge unless somebody wants something done.
            Role::Forger => self.submit((pick >> 4) as usize % me.max(1), pick | 1, &Wish::default()),
            _ => self.cheat(me, pick),
        }
    }

    /// An old copy of the disk takes the place of the disk, and the log goes on from there.
    fn go_back(&mut self, me: Who) {
        match self.peers[me].backup.take() {
            None => self.peers[me].backup = Some(self.peers[me].disk.clone()),
            Some(backup) => {
                let key = self.peers[me].key;
                let len = backup.len_of(&key);
                if self.peers[me].disk.len_of(&key) > len && len > 0 {
                    self.model.forks.insert((key, len));
                    self.count("fork by an old copy of the disk");
                }
                self.peers[me].disk = backup;
                let back = self.rng.within(100, 5_000);
                self.crash(me, back);
                self.peers[me].unclean = false;
            }
        }
    }

    /// Another entry at the last one's place, for somebody else to see.
    fn write_twice(&mut self, me: Who, pick: u64) {
        let key = self.peers[me].key;
        let last =
            self.peers[me].disk.log(&key).next_back().and_then(|(_, bytes)| Entry::trusted(bytes).ok());
        let to = (pick >> 4) as usize % self.adversary();
        let Some(last) = last.filter(|last| last.header().seq > 0 && self.net.is_up(me, to)) else {
            return self.count("action that made no sense");
        };
        let header = last.header();
        let place = Place {
            community: header.community,
            seq: header.seq,
            prev: header.prev,
            refs: header.refs.clone(),
            hlc: Hlc(header.hlc.0 + 1),
        };
        let twin = Entry::write(&self.peers[me].device(), place, Payload::PeerOffline);
        self.model.forks.insert((key, header.seq));
        self.count("fork by a second entry");
        self.post(me, to, Channel::Gossip, twin.bytes().to_vec());
    }

    /// Frames about somebody else's attempt, to its owner or to who runs it.
    fn steal(&mut self, me: Who, pick: u64) {
        let mut known: Vec<(Who, AttemptId, PublicKey)> = Vec::new();
        for ((owner, task), tries) in &self.model.offered {
            known.extend(
                tries.iter().map(|(attempt, at)| (*owner, AttemptId { task: *task, attempt: *attempt }, *at)),
            );
        }
        // The latest are the ones that are still alive.
        let from = known.len().saturating_sub(6);
        let recent = &known[from..];
        let Some((owner, id, device)) = recent.get(pick as usize % recent.len().max(1)).copied() else {
            return self.count("action that made no sense");
        };
        let Some(runs) = self.who(&device) else { return };
        let task = super::kept::task(&self.peers[owner].disk, &id.task);
        let ended = task.map(|task| {
            let run =
                Run { attempt: id, spec: task.task.spec.clone(), owner: self.peers[owner].key, resume: None };
            let receipt = receipt_for(&run, Way::WrongOutput).sign(&self.peers[me].device());
            let statement = Statement::of(&receipt, &task.task.spec.nonce, Default::default());
            let signature = statement.sign(&self.peers[me].device());
            Ended { receipt, statement, signature, output: Blob { hash: ModuleHash([1; 32]).into(), len: 1 } }
        });
        let (to, frame) = match (pick >> 8) % 8 {
            0 => (runs, TaskFrame::Stop(Reason::Cancelled)),
            1 => (runs, TaskFrame::Settled(Effect::Done)),
            2 => (runs, TaskFrame::Renew { lease_ms: u64::MAX / 4 }),
            3 => (runs, TaskFrame::Status),
            4 => (owner, TaskFrame::Lost(Reason::Restarted)),
            5 => (owner, TaskFrame::Accepted),
            6 => (owner, TaskFrame::Refused(Reason::NoGrant)),
            _ => match ended {
                Some(ended) => (owner, TaskFrame::Ended(Box::new(ended))),
                None => return,
            },
        };
        if to != me {
            self.count("frame about somebody else's attempt");
            self.post(me, to, Channel::Task(id), frame.encode());
        }
    }

    fn offer_by(&self, me: Who, grant: Option<EntryId>, pick: u64) -> Option<(AttemptId, TaskFrame)> {
        let peer = &self.peers[me];
        let key = peer.key;
        let tip = peer.disk.log(&key).next_back().and_then(|(_, bytes)| Entry::trusted(bytes).ok());
        let tip = tip.map_or(Tip { author: key, seq: 0, id: EntryId::ZERO }, |entry| entry.tip());
        let community = peer.node.as_ref().and_then(mesh_node::Node::community).unwrap_or(CommunityId::ZERO);
        let mut nonce = [9; 32];
        nonce[..8].copy_from_slice(&pick.to_le_bytes());
        let spec = TaskSpec {
            version: VERSION,
            community,
            submitter: key,
            user: peer.user(),
            nonce,
            name: "imposed".into(),
            module: ModuleHash([7; 32]),
            module_len: 100,
            args: vec![],
            env: vec![],
            stdin: None,
            inputs: vec![],
            input: InputHash([8; 32]),
            limits: Limits::default(),
            permissions: Permissions::default(),
            sla: Sla::Urgent,
            importance: None,
            followed: true,
            created_ms: 0,
            start_by_ms: None,
            finish_by_ms: None,
            replicas: 1,
            quorum: 1,
        };
        let id = AttemptId { task: spec.id(), attempt: 1 };
        let task = spec.sign(&peer.device());
        let offer = Offer { task, attempt: 1, grant, lease_ms: 60_000, tip, entries: vec![], resume: None };
        Some((id, TaskFrame::Offer(Box::new(offer))))
    }

    /// A task for somebody who never granted it, on somebody else's grant or on none.
    fn impose(&mut self, me: Who, pick: u64) {
        let to = (pick >> 4) as usize % me.max(1);
        let grants: Vec<EntryId> =
            self.model.words.values().flat_map(|word| word.grants.keys().copied()).collect();
        let grant = grants.get(pick as usize % (grants.len() + 1)).copied();
        if let Some((id, frame)) = self.offer_by(me, grant, pick) {
            self.count("offer without a grant of its own");
            self.post(me, to, Channel::Task(id), frame.encode());
        }
    }

    fn replay(&mut self, me: Who, pick: u64) {
        let frames = &self.model.frames;
        let Some((to, channel, bytes)) = frames.get(pick as usize % frames.len().max(1)).cloned() else {
            return self.count("action that made no sense");
        };
        self.count("old frame replayed");
        self.post(me, to, channel, bytes);
    }

    /// Somebody who was never admitted says whatever there is to say.
    pub(crate) fn stranger_speaks(&mut self, to: Who, pick: u64) {
        let me = self.stranger();
        if !self.net.is_whole(me, to) {
            if !self.peers[to].awake() || self.peers[me].node.is_none() {
                return self.count("action that made no sense");
            }
            self.connect(me, to);
        }
        self.count("stranger speaks");
        let key = self.peers[to].key;
        let community = self.peers[0].node.as_ref().and_then(mesh_node::Node::community);
        let community = community.unwrap_or(CommunityId([3; 32]));
        let place = Place { community, seq: 0, prev: EntryId::ZERO, refs: vec![], hlc: Hlc::at(1) };
        let own = Entry::write(&self.peers[me].device(), place, Payload::PeerOnline);
        let (channel, bytes) = match pick % 8 {
            0 => (Channel::Sync, SyncFrame::Want(vec![(key, 0)]).encode()),
            1 => (Channel::Sync, SyncFrame::Tips { prefix: vec![], tips: vec![] }.encode()),
            2 => (Channel::Sync, SyncFrame::Entries(vec![own.bytes().to_vec()]).encode()),
            3 => (Channel::Gossip, own.bytes().to_vec()),
            4 => (Channel::Hello, HelloFrame::TipQuery.encode()),
            5 => {
                // A true entry, but not for a stranger to bring.
                let known = self.peers[0].disk.entries.values().next_back().cloned().unwrap_or_default();
                (Channel::Gossip, known)
            }
            6 => (Channel::Hello, HelloFrame::Peers(vec![]).encode()),
            _ => match self.offer_by(me, None, pick) {
                Some((id, frame)) => (Channel::Task(id), frame.encode()),
                None => return,
            },
        };
        self.post(me, to, channel, bytes);
    }
}
