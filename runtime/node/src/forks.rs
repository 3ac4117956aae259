//! Logs with two entries at one place: where they part is found out before anything is said of it.
// spec: LED-5, NET-4

use crate::command::Happening;
use crate::io::Output;
use crate::node::{MAX_DRAFTS_OF_OTHERS, Node, Timer};
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Entry, Payload};

/// How long it is looked for a lower place than the one at which two entries were seen that follow different ones: two
/// comparisons of logs.
const SETTLE_MS: u64 = 10_000;
/// Shortest and longest time between two proofs about one log, if the later one does not halve what counts of it. Each
/// makes everybody fold anew, and whoever has the key can make one for each place.
const AGAIN_MS: (u64, u64) = (10_000, 3_600_000);

/// A log of which two entries at one place were seen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fork {
    /// Since when something is to be looked up.
    since: Option<u64>,
    /// From where on the log was known not to count when this was looked at last.
    end: Option<u64>,
    /// How often that came to be lower, whoever proved it.
    times: u32,
    /// When it may become a little lower still.
    again_at: u64,
}

impl Fork {
    /// The moment at which a fork at `seq` is proven. `parts`: does the log part there, as far as the two entries tell?
    fn due(&mut self, now: u64, (seq, parts): (u64, bool), end: Option<u64>) -> u64 {
        if end.is_some() && self.end != end {
            let wait = AGAIN_MS.0.saturating_mul(1 << self.times.min(16)).min(AGAIN_MS.1);
            self.times = self.times.saturating_add(1);
            self.again_at = now.saturating_add(wait);
        }
        self.end = end;
        let settled = if parts { now } else { self.since.unwrap_or(now).saturating_add(SETTLE_MS) };
        if end.is_none_or(|end| seq <= end / 2) { settled } else { settled.max(self.again_at) }
    }
}

impl Node {
    /// A log has two entries at one place. Whoever brought one of them may have those before it.
    pub(crate) fn suspect_fork(&mut self, author: PublicKey, from: Option<PublicKey>) {
        let now = self.now.boot_ms;
        let Some((_, parts)) = self.ledger.suspected(&author) else { return };
        self.forks.entry(author).or_default().since.get_or_insert(now);
        self.arm_within(Timer::Forks, 0);
        if let Some(from) = from.filter(|_| !parts) {
            self.compare_soon(from);
        }
    }

    /// What proves itself is said again, where the entry that said it does not count any more, or never did: whoever has
    /// the key makes such for each place, and it is said as seldom as what was found out here.
    // spec: LED-3, LED-5, NET-4
    pub(crate) fn suspect_orphans(&mut self) {
        let now = self.now.boot_ms;
        for author in self.ledger.orphaned().collect::<Vec<_>>() {
            self.forks.entry(author).or_default().since.get_or_insert(now);
            self.arm_within(Timer::Forks, 0);
        }
    }

    pub(crate) fn look_up_forks(&mut self) {
        let now = self.now.boot_ms;
        let full = !self.can_say() && self.drafts.len() >= MAX_DRAFTS_OF_OTHERS;
        let spent = !self.has_words_for_others();
        let (mut reads, mut orphans, mut next) = (Vec::new(), Vec::new(), None::<u64>);
        for (author, fork) in &mut self.forks {
            let Some(since) = fork.since else { continue };
            let suspected = self.ledger.suspected(author);
            let orphan = self.ledger.orphan_end(author).map(|end| (end, true));
            let orphan = orphan.filter(|(end, _)| suspected.is_none_or(|(seq, _)| !spent && *end <= seq));
            let Some(place) = orphan.or(suspected) else {
                fork.since = None;
                continue;
            };
            let mut due = fork.due(now, place, self.ledger.known_end(author));
            if full || spent && (fork.end.is_some() || orphan.is_some()) {
                due = due.max(now.saturating_add(AGAIN_MS.0));
            }
            if due > now {
                next = Some(next.map_or(due, |next| next.min(due)));
            } else {
                fork.since = None;
                match orphan {
                    Some(_) => orphans.push(*author),
                    None => reads.push((*author, place.0)),
                }
                tracing::debug!(waited_ms = now.saturating_sub(since), "where a log forks is looked up");
            }
        }
        for (author, seq) in reads {
            self.output(Output::Read { author, seq });
        }
        for author in orphans {
            if let Some(proof) = self.ledger.take_orphan(&author) {
                self.say(proof, &[]);
            }
        }
        if let Some(next) = next {
            self.arm(Timer::Forks, next);
        }
    }

    pub(crate) fn looked_up(&mut self, entry: &Entry) {
        if let Some(proof) = self.ledger.prove_fork(entry) {
            self.counters.forks += 1;
            let author = entry.header().author;
            tracing::warn!(author = %author.short(), seq = entry.header().seq, "a log has two entries at one place");
            self.tell(Happening::Warning {
                text: format!("the device {} wrote two entries at one place of its log; what it says from there on does not count", author.short()),
            });
            self.say(Payload::Forked(Box::new(proof)), &[]);
        } else if entry.header().author == self.me {
            self.take(entry.clone(), None);
            // Others may have handed over some of it meanwhile.
            if self.ledger.len(&self.me) > entry.header().seq {
                self.seek_own_end();
            }
        }
    }
}
