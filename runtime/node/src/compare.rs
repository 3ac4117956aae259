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

/// Places of a log that are named at once where it is looked for the one at which it forks: of a million entries it is
/// found in five messages.
// spec: LED-4, LED-5
const PLACES: u64 = 16;

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

    /// Says something of one log alone.
    fn tell_places(&mut self, peer: PublicKey, tips: Vec<Tip>) {
        let Some(tip) = tips.first() else { return };
        let prefix = half_bytes(&tip.author).take(ONE_LOG).collect();
        self.sync(peer, SyncFrame::Tips { prefix, tips });
    }

    /// Somebody's log is another one at the place `upto`, and the same up to the place before, if one is named: says what
    /// stands here at places between, until the lowest is found that is different. Of that, each sends the other its own
    /// entry, `both` or only this one. Were each place proven as it is seen, a log of which a thousand entries are
    /// different would take a thousand proofs.
    // spec: LED-4, LED-5
    fn seek_fork(
        &mut self,
        peer: PublicKey,
        author: PublicKey,
        (same, upto): (Option<u64>, u64),
        both: bool,
    ) {
        let first = same.map_or(0, |same| same.saturating_add(1));
        if first >= upto {
            self.output(Output::SendEntries { to: peer, author, from: upto, until: upto.saturating_add(1) });
            if !both {
                return;
            }
        }
        self.name_places(peer, author, same, upto);
    }

    fn name_places(&mut self, peer: PublicKey, author: PublicKey, same: Option<u64>, upto: u64) {
        let first = same.map_or(0, |same| same.saturating_add(1));
        let count = upto.saturating_sub(first).saturating_add(1);
        let named = count.min(PLACES);
        let between = (1..=named).map(|at| first + count.saturating_mul(at) / named - 1);
        let tips = same.into_iter().chain(between).filter_map(|seq| self.ledger.tip_at(&author, seq));
        self.tell_places(peer, tips.collect());
    }

    /// Somebody names places of a log that is another one here.
    fn heard_places(&mut self, peer: PublicKey, author: PublicKey, tips: &[Tip]) {
        let len = self.ledger.len(&author);
        let more = tips.iter().any(|tip| tip.seq >= len);
        if author == self.me && more {
            self.lost_own_end();
        }
        let same = tips.iter().filter(|tip| self.ledger.has(tip)).map(|tip| tip.seq).max();
        let after = tips.iter().map(|tip| tip.seq).filter(|seq| same.is_none_or(|same| *seq > same));
        match (after.filter(|seq| *seq < len).min(), len.checked_sub(1)) {
            // Two are what remains where the place is found.
            (Some(upto), _) => self.seek_fork(peer, author, (same, upto), tips.len() > 2),
            // It may be another one in what is left of the log here.
            (None, Some(last)) if more && same != Some(last) => self.name_places(peer, author, same, last),
            _ => {}
        }
    }

    fn heard_tips(&mut self, peer: PublicKey, prefix: &[u8], tips: &[Tip]) {
        if let [first, _, ..] = tips
            && tips.iter().all(|tip| tip.author == first.author)
        {
            return self.heard_places(peer, first.author, tips);
        }
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
                Some(mine) if mine.seq >= tip.seq => {
                    let author = tip.author;
                    if !self.ledger.has(tip) {
                        self.seek_fork(peer, author, (None, tip.seq), prefix.len() < ONE_LOG);
                        continue;
                    }
                    let from = tip.seq + 1;
                    let until = len.min(from.saturating_add(FEW_ENTRIES));
                    // Whoever has room for more asks for it, once told of the end.
                    // spec: LED-4, NET-4
                    if until < len {
                        self.tell_places(peer, vec![mine]);
                        continue;
                    }
                    self.output(Output::SendEntries { to: peer, author, from, until });
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
        // The branch that follows another entry than ours parts somewhere before.
        if let Some((author, seq)) = behind {
            self.name_places(peer, author, None, seq.saturating_sub(1));
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
