//! What goes wrong, and what people do meanwhile.

use crate::tasks;
use crate::wire::{Channel, Packet};
use crate::world::{Event, World};
use mesh_node::{Command, GrantRequest};
use mesh_protocol::canonical;
use mesh_protocol::frame::{AttemptId, Frame, TaskFrame};
use mesh_protocol::key::SecretKey;
use mesh_protocol::ledger::{Entry, Payload, Place};
use mesh_protocol::reason::Reason;

impl World {
    pub(crate) fn grant(&mut self, on: usize, user: usize, until_ms: Option<u64>) {
        let request = GrantRequest {
            user: self.peers[user].name.into(),
            device: None,
            task: "*".into(),
            module: None,
            until_ms,
            permissions: None,
        };
        self.tell(on, Command::Grant(request));
    }

    fn somebody(&mut self) -> usize {
        self.random.below(self.peers.len() as u64) as usize
    }

    /// Something happens, and the next thing is due soon.
    pub(crate) fn act(&mut self) {
        let after = self.random.between(20, 4_000);
        self.push(after, Event::Act);
        let (a, b) = (self.somebody(), self.somebody());
        match self.random.below(100) {
            0..35 => {
                let (nonce, followed) = (self.random.bytes(), self.random.once_in(2));
                self.count("submitted");
                let draft = tasks::draft(nonce, followed);
                self.tell(a, Command::Submit(Box::new(draft.clone())));
                if self.random.once_in(5) {
                    self.tell(a, Command::Submit(Box::new(draft)));
                }
            }
            35..42 => self.crash(a),
            42..50 if a != b => {
                self.count("partition");
                let ways = match self.random.below(3) {
                    0 => [true, false],
                    1 => [false, true],
                    _ => [true, true],
                };
                self.cut(a, b, ways, 0);
            }
            50..58 => {
                let ends: Vec<(usize, usize)> = self.links.keys().copied().collect();
                for (a, b) in ends {
                    self.cut(a, b, [false, false], 0);
                }
            }
            58..62 => {
                self.count("sleep");
                self.peers[a].asleep_until = self.now + self.random.between(1_000, 120_000);
                for other in 0..self.peers.len() {
                    self.drop_link(a, other, 20_000, 35_000);
                }
            }
            62..65 => {
                self.count("full disk");
                self.peers[a].full ^= true;
            }
            65..70 if a != b => self.grant(a, b, None),
            70..72 if a != b => {
                self.count("grant that expires");
                let until = self.clock(a).wall_ms + self.random.between(1_000, 30_000);
                self.grant(a, b, Some(until));
            }
            72..75 => {
                let me = self.peers[a].key;
                let grants: Vec<Entry> = self.peers[a]
                    .disk
                    .said_by(&me)
                    .filter(|entry| matches!(entry.payload(), Payload::Granted(_)))
                    .collect();
                let at = self.random.below(grants.len() as u64) as usize;
                if let Some(grant) = grants.get(at) {
                    self.count("revocation");
                    self.tell(a, Command::Revoke { grant: grant.id().to_string() });
                }
            }
            75..79 => {
                self.count("cancel");
                if let Some(task) = self.some_task(a) {
                    self.tell(a, Command::Cancel { task });
                }
            }
            79..82 => {
                self.count("veto");
                let here = self.peers[a].jobs.keys().next().map(|id| id.task.to_string());
                if let Some(task) = here.or_else(|| self.some_task(a)) {
                    self.tell(a, Command::Veto { task, why: "hot".into() });
                }
            }
            82..85 => {
                self.count("donor's pause");
                let for_ms = Some(self.random.between(100, 30_000));
                self.tell(a, Command::Pause { for_ms });
            }
            85..87 => {
                self.tell(a, Command::Resume);
            }
            87..91 => self.replay(),
            91..95 if a != b => self.forge(a, b),
            95..97 if a != 0 && a != b => {
                self.peers[a].lies ^= true;
            }
            97 if a != 0 && a != b => self.fork(a, b),
            98 => {
                let skew = self.random.below(60_000) as i64 - 30_000;
                let peer = &mut self.peers[a];
                // A clock is set, forward only: backwards it would have to wait.
                peer.skew_ms = peer.skew_ms.max(skew);
            }
            _ => {}
        }
    }

    fn some_task(&mut self, of: usize) -> Option<String> {
        let me = self.peers[of].key;
        let mine: Vec<String> = self
            .seen
            .acknowledged
            .iter()
            .filter(|(submitter, _)| *submitter == me)
            .map(|(_, task)| task.to_string())
            .collect();
        let at = self.random.below(mine.len() as u64) as usize;
        mine.get(at).cloned()
    }

    /// Something that was said long ago is said again.
    fn replay(&mut self) {
        let at = self.random.below(self.recorded.len() as u64) as usize;
        if let Some((from, to, packet)) = self.recorded.get(at).cloned() {
            self.count("old frame replayed");
            self.send(from, to, packet);
        }
    }

    /// `a` speaks of an attempt that is none of its business.
    fn forge(&mut self, a: usize, b: usize) {
        let ids: Vec<AttemptId> = self.peers.iter().flat_map(|peer| peer.jobs.keys().copied()).collect();
        let at = self.random.below(ids.len() as u64) as usize;
        let Some(id) = ids.get(at).copied() else { return };
        let theirs = self.peers[b].jobs.get(&id).is_some_and(|job| job.run.owner == self.peers[a].key);
        let mine = self.peers[a].jobs.contains_key(&id);
        if theirs || mine {
            return;
        }
        self.count("stolen lease");
        let frame = match self.random.below(5) {
            0 => TaskFrame::Stop(Reason::Cancelled),
            1 => TaskFrame::Settled,
            2 => TaskFrame::Renew { lease_ms: 3_600_000 },
            3 => TaskFrame::Lost(Reason::Unknown),
            _ => TaskFrame::Accepted,
        };
        self.send(a, b, Packet { channel: Channel::Task(id), bytes: frame.encode() });
    }

    /// `a` writes a second entry at a place of its log, and shows it to `b`.
    fn fork(&mut self, a: usize, b: usize) {
        let me = self.peers[a].key;
        let entries: Vec<Entry> = self.peers[a].disk.said_by(&me).collect();
        let at = self.random.between(1, entries.len().max(2) as u64 - 1) as usize;
        let (Some(before), Some(there)) = (entries.get(at - 1), entries.get(at)) else { return };
        let place = Place {
            community: there.header().community,
            seq: there.header().seq,
            prev: before.id(),
            refs: vec![],
            hlc: mesh_protocol::ledger::Hlc(there.header().hlc.0 + 1),
        };
        let secret = SecretKey::from_seed(&self.peers[a].secret);
        let other = Entry::write(&secret, place, Payload::PeerOffline);
        debug_assert!(canonical::encode(other.payload()).len() < 10);
        self.count("fork");
        self.peers[a].honest = false;
        self.seen.forked.insert(me);
        let up = self.links.get(&(a.min(b), a.max(b))).is_some_and(|link| link.up);
        if up {
            self.seen.forks_shown.insert(me);
        }
        self.send(a, b, Packet { channel: Channel::Gossip, bytes: other.bytes().to_vec() });
    }
}
