//! How logs become equal: gossip pushes, and now and then somebody's ends of logs are compared with one's own.
// spec: LED-4

use crate::io::Output;
use crate::node::{Node, Timer};
use mesh_protocol::frame::{MAX_TIPS, SyncFrame};
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::ledger::{Entry, Payload, Tip};
use std::collections::BTreeSet;

/// How often somebody's logs are compared with one's own. Gossip brings almost everything; this heals what it lost.
const COMPARE_EVERY_MS: u64 = 5_000;
/// How soon after a gap was seen, at most once for each peer in this time.
const COMPARE_SOON_MS: u64 = 50;
/// How often what was seen is witnessed.
pub(crate) const WITNESS_EVERY_MS: u64 = 60_000;
/// How soon, where somebody voted: so that several votes make one entry.
const WITNESS_SOON_MS: u64 = 500;
/// How much later that may be for each member there is, and at most: the first few are heard of before the others speak.
const WITNESS_LATER_MS: (u64, u64) = (50, WITNESS_EVERY_MS);
/// Others whose witness is enough for this device to say nothing. Two are needed; three more may turn out not to count.
const WITNESSES: usize = 5;
/// Logs up to which all tips are told at once. Above, ranges are compared, so that what is said of one entry that somebody
/// lacks grows with the logarithm of the number of logs: sixteen hashes take as much as nine tips.
// spec: LED-4, NET-8
const FEW_LOGS: u64 = 32;
/// Half-bytes of a key after which tips are told, however many there are: beyond, keys were made to collide.
const MAX_PREFIX: usize = 8;
/// Half-bytes of a key that stand for one log: as many as a frame takes.
const ONE_LOG: usize = 16;
/// Entries of a log that are handed over unasked to whoever lacks them. More may be more than they have room for, and they
/// would turn them away each time that logs are compared.
const FEW_ENTRIES: u64 = 16;

fn half_bytes(key: &PublicKey) -> impl Iterator<Item = u8> {
    key.0.iter().flat_map(|byte| [byte >> 4, byte & 15])
}

impl Node {
    /// Compares with somebody at random, so that nobody can choose whom one hears from.
    pub(crate) fn compare_with_somebody(&mut self) {
        let members: Vec<PublicKey> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.connected && (peer.member || peer.guide))
            .map(|(key, _)| *key)
            .collect();
        let at = self.random.below(members.len() as u64);
        if let Some(peer) = usize::try_from(at).ok().and_then(|at| members.get(at)) {
            self.compare_with(*peer);
            self.seek_donors(*peer);
        }
        let jitter = self.random.below(COMPARE_EVERY_MS / 4);
        self.arm_in(Timer::Compare, COMPARE_EVERY_MS + jitter);
    }

    pub(crate) fn compare_with(&mut self, peer: PublicKey) {
        let now = self.now.boot_ms;
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.compared_at = Some(now);
        }
        let (logs, digest) = self.ledger.digest(&[]);
        self.sync(peer, SyncFrame::Digest { prefix: Vec::new(), logs, digest });
    }

    /// Compares with a peer that seems to know more, but not for each of its entries anew.
    pub(crate) fn compare_soon(&mut self, peer: PublicKey) {
        let now = self.now.boot_ms;
        let just = self.peers.get(&peer).and_then(|peer| peer.compared_at);
        if just.is_none_or(|at| now.saturating_sub(at) >= COMPARE_SOON_MS) {
            self.compare_with(peer);
        } else {
            self.arm_within(Timer::Compare, COMPARE_SOON_MS);
        }
    }

    pub(crate) fn heard_compare(&mut self, peer: PublicKey, frame: SyncFrame) {
        match frame {
            SyncFrame::Digest { prefix, logs, digest } => {
                let (mine, my_digest) = self.ledger.digest(&prefix);
                if my_digest == digest {
                    return self.sync(peer, SyncFrame::Same { prefix });
                }
                if mine.max(logs) <= FEW_LOGS || prefix.len() >= MAX_PREFIX {
                    return self.tell_tips(peer, &prefix);
                }
                for half in 0..16 {
                    let mut longer = prefix.clone();
                    longer.push(half);
                    let (logs, digest) = self.ledger.digest(&longer);
                    self.sync(peer, SyncFrame::Digest { prefix: longer, logs, digest });
                }
            }
            SyncFrame::Same { .. } => {}
            SyncFrame::Tips { prefix, tips } => self.heard_tips(peer, &prefix, &tips),
            SyncFrame::Want(wants) => {
                for (author, from) in wants {
                    let until = self.ledger.len(&author);
                    if from < until {
                        self.output(Output::SendEntries { to: peer, author, from, until });
                    }
                }
            }
            // The driver hands entries over verified.
            SyncFrame::Entries(_) => {}
        }
    }

    fn tell_tips(&mut self, peer: PublicKey, prefix: &[u8]) {
        let tips: Vec<Tip> = self.ledger.tips_within(prefix).take(MAX_TIPS).collect();
        self.sync(peer, SyncFrame::Tips { prefix: prefix.to_vec(), tips });
    }

    fn heard_tips(&mut self, peer: PublicKey, prefix: &[u8], tips: &[Tip]) {
        let mut wants = Vec::new();
        let theirs: BTreeSet<PublicKey> = tips.iter().map(|tip| tip.author).collect();
        for tip in tips {
            let mine = self.ledger.tip(&tip.author);
            let len = self.ledger.len(&tip.author);
            if tip.author == self.me && tip.seq >= len {
                self.lost_own_end();
            }
            match mine {
                Some(mine) if mine == *tip => {}
                // Same length, another end: a fork. Each sends the other its own branch.
                Some(mine) if mine.seq == tip.seq => {
                    self.output(Output::SendEntries {
                        to: peer,
                        author: tip.author,
                        from: mine.seq,
                        until: len,
                    });
                    wants.push((tip.author, mine.seq));
                }
                Some(mine) if mine.seq > tip.seq => {
                    let (author, known) = (tip.author, self.ledger.has(tip));
                    let from = if known { tip.seq + 1 } else { tip.seq };
                    let until = len.min(from.saturating_add(FEW_ENTRIES));
                    // Whoever has room for more asks for it, once told of the end.
                    // spec: LED-4, NET-4
                    if known && until < len {
                        let prefix = half_bytes(&author).take(ONE_LOG).collect();
                        self.sync(peer, SyncFrame::Tips { prefix, tips: vec![mine] });
                        continue;
                    }
                    self.output(Output::SendEntries { to: peer, author, from, until });
                    if !known {
                        wants.push((author, tip.seq));
                    }
                }
                _ => {
                    let cap = self.ledger.governance().cap(&tip.author);
                    if cap.is_none_or(|cap| len < cap) && self.has_room_for(&tip.author) {
                        wants.push((tip.author, len));
                    }
                }
            }
        }
        let lacking: Vec<PublicKey> = self
            .ledger
            .tips_within(prefix)
            .map(|tip| tip.author)
            .filter(|author| !theirs.contains(author))
            .collect();
        // Whoever told as many as fit may have more.
        if tips.len() < MAX_TIPS {
            for author in lacking {
                let until = self.ledger.len(&author);
                self.output(Output::SendEntries { to: peer, author, from: 0, until });
            }
        }
        if !wants.is_empty() {
            self.sync(peer, SyncFrame::Want(wants));
        }
    }

    pub(crate) fn want(&mut self, peer: PublicKey, author: PublicKey, from: u64) {
        self.sync(peer, SyncFrame::Want(vec![(author, from)]));
    }

    pub(crate) fn heard_entries(&mut self, peer: PublicKey, entries: Vec<Entry>) {
        let mut new = false;
        let mut behind = None;
        for entry in entries {
            let (author, seq, prev) = (entry.header().author, entry.header().seq, entry.header().prev);
            let len = self.ledger.len(&author);
            if seq == len && seq > 0 && self.ledger.tip(&author).is_some_and(|tip| tip.id != prev) {
                behind = Some((author, seq));
            }
            new |= self.take(entry, Some(peer));
        }
        // The branch that follows another entry than ours parts somewhere before: step back until it is found.
        if let Some((author, seq)) = behind
            && self.ledger.governance().cap(&author).is_none()
        {
            self.want(peer, author, seq.saturating_sub(64));
        }
        if new {
            // There may be more, of authors that were unknown until now.
            self.compare_soon(peer);
        }
    }

    /// Says which entries of others were seen, so that their dates can be believed.
    // spec: LED-10
    pub(crate) fn witness(&mut self) {
        if self.can_say() {
            let mut tips = Vec::new();
            while tips.len() < mesh_protocol::ledger::MAX_TIPS
                && let Some((_, tip)) = self.unwitnessed.pop_first()
            {
                if !self.is_witnessed(&tip) {
                    tips.push(tip);
                }
            }
            if !tips.is_empty() {
                self.say(Payload::Witnessed { tips: tips.clone() }, &tips);
            }
        }
        let every = if self.unwitnessed.is_empty() { WITNESS_EVERY_MS } else { 1000 };
        self.arm_in(Timer::Witness, every);
    }

    /// Did enough others say that they have seen it? If everybody said so of everything, each submission would make as
    /// many entries as there are peers.
    // spec: LED-10, NET-8
    fn is_witnessed(&self, tip: &Tip) -> bool {
        let governance = self.ledger.governance();
        let author = governance.device(&tip.author).map(|device| device.user);
        let witnesses = self.ledger.witnesses(&tip.author, tip.seq);
        let users = witnesses.keys().filter_map(|device| governance.owner(device));
        users.filter(|user| Some(*user) != author).collect::<BTreeSet<UserKey>>().len() >= WITNESSES
    }

    /// Somebody's entry counts once others say that they have seen it.
    pub(crate) fn witness_soon(&mut self) {
        let members = self.ledger.governance().members().len() as u64;
        let spread = WITNESS_LATER_MS.0.saturating_mul(members).min(WITNESS_LATER_MS.1);
        let later = self.random.below(spread);
        self.arm_within(Timer::Witness, WITNESS_SOON_MS + later);
    }
}
