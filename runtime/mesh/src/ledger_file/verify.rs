//! Whether an exported ledger holds together, told from the file alone.
//!
//! First what each entry says of itself and of those before it; then, once all are known, whether each of them counts:
//! whether somebody entitled admitted its author; and says what is named and not there.
// spec: LED-1, LED-3, LED-6

use super::{Entries, Fault, Framed, Trouble};
use mesh_node::ledger::{Governance, Ledger};
use mesh_policies::accounting::Sum;
use mesh_protocol::energy::{Piece, source_name};
use mesh_protocol::ids::{CommunityId, EntryId, TaskId};
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Entry, Hlc, Payload, Rotation, Tip};
use serde::Serialize;
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;

/// What was found in a file that holds.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verified {
    /// Which community.
    pub(crate) community: Option<CommunityId>,
    /// What it is called.
    pub(crate) name: String,
    /// How many entries.
    pub(crate) entries: u64,
    /// Of how many devices.
    pub(crate) logs: usize,
    /// Bytes of the file.
    pub(crate) bytes: u64,
    /// The first and the last date, in milliseconds since 1970.
    pub(crate) dates_ms: Option<(u64, u64)>,
    /// Forks that entries prove.
    pub(crate) forks: Vec<Fork>,
    /// Entries that are whole and do not count, since what they say is not signed by whom they name, or replaces no key.
    /// Anybody can write such a thing into a log of their own; it makes nothing else unsound.
    pub(crate) uncounted: Vec<Uncounted>,
    /// What entries name that would count and is not there: it was left out, or never was, since a name may be made up.
    pub(crate) absent: Vec<String>,
    /// What each run used of which energy, and whether each account is what comes out.
    pub(crate) carbon: Vec<Carbon>,
}

/// A word about energy, recomputed.
// spec: CO2-4, EN-6
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Carbon {
    pub(crate) task: TaskId,
    pub(crate) attempt: u32,
    /// Which device says it.
    pub(crate) by: PublicKey,
    /// Its readings, each with where it comes from and whether a meter vouches for it.
    pub(crate) readings: Vec<String>,
    /// Its carbon in micrograms, or of an account what it saved; none if that is not known.
    pub(crate) ug: Option<i64>,
    /// Is it an account that says something else than comes out? What comes out instead.
    pub(crate) wrong: Option<String>,
}

/// An entry that says what it may not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Uncounted {
    /// Whose.
    pub(crate) author: PublicKey,
    /// Where in that log.
    pub(crate) seq: u64,
    /// What is wrong with it.
    pub(crate) why: String,
    /// How many follow it in that log: they do not count either, whatever they say.
    pub(crate) after: u64,
}

/// A log that does not count from some place on.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fork {
    /// Whose.
    pub(crate) author: PublicKey,
    /// From where on.
    pub(crate) seq: u64,
}

/// An entry that stands in a log.
#[derive(Clone, Copy)]
struct Here {
    id: EntryId,
    hlc: Hlc,
    /// Where it stands in the file, and which it is there.
    at: u64,
    number: u64,
    kind: &'static str,
}

/// What an entry names that is not before it.
struct Missing {
    /// Which entry: what it is, where, in whose log.
    by: (&'static str, u64, PublicKey),
    names: Vec<Tip>,
}

/// What is remembered of the entries before.
#[derive(Default)]
struct Before {
    found: Verified,
    last: Option<(Hlc, EntryId)>,
    /// Each log's entries by their places: there are no gaps.
    logs: BTreeMap<PublicKey, Vec<Here>>,
    /// Keys that are to be replaced: who may do so is known at the end.
    rotations: Vec<(PublicKey, u64, Rotation)>,
    missing: Vec<Missing>,
    ledger: Ledger,
    /// Whatever says something of energy, with its author and its place in that log.
    energy: Vec<(PublicKey, u64, Payload)>,
    /// Entries that did not count when their turn came; later ones may change that.
    waiting: Vec<Entry>,
}

/// Checks everything: shape, hashes, signatures, chains, references, clocks, and that every entry counts.
pub(crate) fn verify(file: impl Read) -> Result<Verified, Trouble> {
    let mut entries = Entries::new(file)?;
    let mut before = Before::default();
    while let Some(framed) = entries.next()? {
        let entry = Entry::verify(&framed.bytes).map_err(|error| framed.bad(causes(&error)))?;
        let header = entry.header();
        let name = named(entry.payload().kind_name(), header.seq, &header.author);
        before.take(&framed, entry).map_err(|what| framed.bad(format!("{what} ({name})")))?;
    }
    before.judge().map_err(Trouble::Bad)?;
    let mut found = before.found;
    let counted = before.energy.iter().filter(|(by, seq, _)| *seq < before.ledger.len(by));
    found.carbon = counted.filter_map(|(by, _, said)| carbon(&before.ledger, by, said)).collect();
    (found.logs, found.bytes) = (before.logs.len(), entries.bytes());
    Ok(found)
}

/// Recomputes what an entry says of energy.
// spec: CO2-2, CO2-4, EN-6
fn carbon(ledger: &Ledger, author: &PublicKey, said: &Payload) -> Option<Carbon> {
    let (task, attempt, by) = match said {
        Payload::Completed(it) => (it.statement.task, it.statement.attempt, it.statement.executor),
        Payload::Spent(it) => (it.task, it.attempt, *author),
        Payload::Accounted(it) => (it.task, it.attempt, *author),
        _ => return None,
    };
    let mut carbon = Carbon { task, attempt, by, readings: Vec::new(), ug: None, wrong: None };
    let signed = |ug: u64| i64::try_from(ug).unwrap_or(i64::MAX);
    match said {
        Payload::Completed(it) => {
            carbon.readings = readings(&it.statement.energy.pieces);
            carbon.ug = Sum::metered(&it.statement.energy).map(|sum| signed(sum.carbon_ug()));
        }
        Payload::Spent(it) => {
            carbon.readings = readings(&it.energy.pieces);
            carbon.ug = Sum::metered(&it.energy).map(|sum| signed(sum.carbon_ug()));
        }
        Payload::Accounted(it) => {
            carbon.readings = readings(&it.at_once);
            carbon.ug = it.saved.map(|saved| saved.total_ug());
            carbon.wrong = match ledger.facts().tasks().check(author, it) {
                Ok(saved) if saved == it.saved => None,
                Ok(Some(saved)) => Some(format!("{} micrograms come out", saved.total_ug())),
                Ok(None) => Some("it cannot be known".into()),
                Err(why) => Some(why.into()),
            };
        }
        _ => {}
    }
    Some(carbon)
}

fn readings(pieces: &[Piece]) -> Vec<String> {
    let told = |piece: &Piece| match &piece.reading {
        None => format!("{} mJ of unknown energy", piece.energy_mj),
        Some(it) => {
            let word = match it.attested_by(piece.from_ms, piece.until_ms()) {
                Some(meter) => format!("attested by {}", meter.short()),
                None => "not attested".into(),
            };
            format!(
                "{} mJ of {} at {} g CO2 per kWh, {} % renewable, by {}{}{}, {word}",
                piece.energy_mj,
                source_name(it.claim.source),
                it.claim.g_per_kwh,
                it.claim.renewable_percent,
                it.origin,
                if it.zone.is_empty() { "" } else { " " },
                it.zone
            )
        }
    };
    pieces.iter().map(told).collect()
}

fn named(kind: &str, seq: u64, author: &PublicKey) -> String {
    format!("{kind}, place {seq} in the log of {}", author.short())
}

fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

impl Before {
    fn take(&mut self, framed: &Framed, entry: Entry) -> Result<(), String> {
        let header = entry.header();
        let community = header.belongs_to();
        if *self.found.community.get_or_insert(community) != community {
            return Err("it belongs to another community".into());
        }
        self.chain(&entry)?;
        let place = (header.hlc, entry.id());
        if self.last.is_some_and(|last| last >= place) {
            return Err("it does not stand in the order of clock and id".into());
        }
        self.missing.extend(self.absent(&entry));
        if let Err(why) = self.content(&entry, &community) {
            let (author, seq) = (header.author, header.seq);
            self.found.uncounted.push(Uncounted { author, seq, why, after: 0 });
        }
        self.last = Some(place);
        let (at, number, kind) = (framed.at, framed.number, entry.payload().kind_name());
        let here = Here { id: entry.id(), hlc: header.hlc, at, number, kind };
        self.logs.entry(header.author).or_default().push(here);
        self.found.entries += 1;
        let date = header.hlc.wall_ms();
        self.found.dates_ms = Some((self.found.dates_ms.map_or(date, |(first, _)| first), date));
        self.ledger.expect(community);
        if matches!(entry.payload(), Payload::Completed(_) | Payload::Spent(_) | Payload::Accounted(_)) {
            self.energy.push((header.author, header.seq, entry.payload().clone()));
        }
        self.fold(entry);
        Ok(())
    }

    /// Adds it to the ledger as a peer would.
    fn fold(&mut self, entry: Entry) {
        let tip = entry.tip();
        let _judged_at_the_end = self.ledger.take(entry.clone());
        if !self.ledger.has(&tip) {
            self.waiting.push(entry);
        }
    }

    fn here(&self, tip: &Tip) -> Option<&Here> {
        self.log(&tip.author, tip.seq)
    }

    fn log(&self, author: &PublicKey, seq: u64) -> Option<&Here> {
        self.logs.get(author)?.get(usize::try_from(seq).ok()?)
    }

    fn chain(&self, entry: &Entry) -> Result<(), String> {
        let header = entry.header();
        let log = self.logs.get(&header.author).map_or(&[][..], Vec::as_slice);
        let next = log.len() as u64;
        if let Some(here) = self.here(&entry.tip()) {
            return Err(match here.id == entry.id() {
                true => "it stands there twice".into(),
                false => format!("its author forked the log: {} stands at the same place", here.id.short()),
            });
        }
        if header.seq > next {
            return Err(format!("the entry at place {next} of the same log is missing before it"));
        }
        match log.last() {
            Some(last) if last.id != header.prev => Err(format!(
                "it follows on {}, but {} stands before it",
                header.prev.short(),
                last.id.short()
            )),
            Some(last) if last.hlc >= header.hlc => {
                Err("its clock is not later than that of the entry before it in its log".into())
            }
            _ => Ok(()),
        }
    }

    fn is_here(&self, tip: &Tip) -> bool {
        self.here(tip).is_some_and(|here| here.id == tip.id)
    }

    /// What it names and is not before it. All of it: which of these would count is known at the end.
    fn absent(&self, entry: &Entry) -> Option<Missing> {
        let header = entry.header();
        let witnessed = match entry.payload() {
            Payload::Witnessed { tips } => &tips[..],
            _ => &[],
        };
        let named = header.refs.iter().chain(witnessed);
        let names: Vec<Tip> = named.filter(|tip| !self.is_here(tip)).copied().collect();
        let by = (entry.payload().kind_name(), header.seq, header.author);
        (!names.is_empty()).then_some(Missing { by, names })
    }

    /// The last of what each entry names that would count and is not there, in words. Names decide nothing, but show what
    /// was left out.
    fn left_out(&self) -> Vec<String> {
        let governance = self.ledger.governance();
        let counts = |tip: &Tip| {
            governance.device(&tip.author).is_some()
                && governance.cap(&tip.author).is_none_or(|cap| tip.seq < cap)
        };
        let told = |Missing { by: (kind, seq, author), names }: &Missing| {
            let absent = names.iter().rev().find(|tip| counts(tip) && !self.is_here(tip))?;
            let by = named(kind, *seq, author);
            Some(match self.here(absent) {
                None => {
                    format!("place {} in the log of {}, which {by} names", absent.seq, absent.author.short())
                }
                Some(here) => format!(
                    "{} at place {} in the log of {}, which {by} names: {} stands there",
                    absent.id.short(),
                    absent.seq,
                    absent.author.short(),
                    here.id.short()
                ),
            })
        };
        self.missing.iter().filter_map(told).collect()
    }

    /// Completes what is said of entries that do not count.
    fn uncounted(&self) -> Vec<Uncounted> {
        let governance = self.ledger.governance();
        let kept = self.rotations.iter().filter(|(author, seq, _)| *seq < self.ledger.len(author));
        let rotated = kept.filter_map(|(author, seq, rotation)| {
            let why = came_to_nothing(governance, rotation)?.to_owned();
            Some(Uncounted { author: *author, seq: *seq, why, after: 0 })
        });
        let all = self.found.uncounted.iter().cloned().chain(rotated);
        // What comes after the first that peers do not take is told with it.
        let mut first: Vec<Uncounted> = all.filter(|it| it.seq <= self.ledger.len(&it.author)).collect();
        for it in &mut first {
            if it.seq == self.ledger.len(&it.author) {
                let log = self.logs.get(&it.author).map_or(0, Vec::len) as u64;
                it.after = log.saturating_sub(it.seq.saturating_add(1));
            }
        }
        first.sort_by_key(|it| self.log(&it.author, it.seq).map(|here| here.at));
        first
    }

    /// Does every entry count? And is there all that is named and would? The other branch of a proven fork need not be, nor
    /// the last words of somebody who was expelled meanwhile.
    fn judge(&mut self) -> Result<(), Fault> {
        loop {
            let waiting = std::mem::take(&mut self.waiting);
            let before = waiting.len();
            waiting.into_iter().for_each(|entry| self.fold(entry));
            if self.waiting.len() == before {
                break;
            }
        }
        let governance = self.ledger.governance();
        // A log counts up to some place, so the first entry beyond it is the one to name.
        let beyond = self.logs.iter().filter_map(|(author, log)| {
            let seq = self.ledger.len(author);
            // Peers take a log up to what it may not say.
            if self.found.uncounted.iter().any(|it| it.author == *author && it.seq == seq) {
                return None;
            }
            Some((author, seq, log.get(usize::try_from(seq).ok()?)?))
        });
        let Some((author, seq, here)) = beyond.min_by_key(|(_, _, here)| here.at) else {
            // A proof in an entry that does not count is said again by whoever sees it, and holds from then on.
            self.found.forks.retain(|fork| governance.cap(&fork.author).is_some_and(|cap| cap <= fork.seq));
            self.found.absent = self.left_out();
            self.found.uncounted = self.uncounted();
            return Ok(());
        };
        let why = if governance.founder().is_none() {
            "the entry that founds the community is missing".to_owned()
        } else if governance.cap(author).is_some_and(|cap| seq >= cap) {
            "its author's log does not count this far".to_owned()
        } else if governance.device(author).is_none() {
            "its author is no device of anybody who was admitted".to_owned()
        } else {
            "what it rests on does not count".to_owned()
        };
        let what = format!("{why} ({})", named(here.kind, seq, author));
        Err(Fault { at: here.at, entry: Some(here.number), what })
    }

    /// Signatures and proofs within what it says.
    fn content(&mut self, entry: &Entry, community: &CommunityId) -> Result<(), String> {
        let holds = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        match entry.payload() {
            Payload::Founded(founded) => {
                self.found.name.clone_from(&founded.name);
                let own = founded.cert.user == founded.user && founded.cert.device == entry.header().author;
                holds(own && founded.cert.verify(), "the founder's word for the device is not theirs")
            }
            Payload::Admitted(request) => {
                holds(request.verify(community), "the request to join in it is not signed by whom it names")
            }
            Payload::DeviceAdded(added) => holds(
                added.cert.verify() && added.cert.community == *community,
                "the word for a device in it is not signed by the user and the device it names",
            ),
            Payload::Completed(completed) => holds(
                completed.statement.verify(&completed.signature),
                "the statement in it is not signed by the peer that it names",
            ),
            Payload::KeyRevoked(it) => holds(
                it.verify() && it.community == *community,
                "the revocation in it is not signed by the user it names",
            ),
            Payload::KeyRotated(it) => {
                let header = entry.header();
                self.rotations.push((header.author, header.seq, (**it).clone()));
                holds(
                    it.community == *community && it.from <= header.hlc,
                    "the new key in it is for another community, or for later",
                )?;
                holds(it.is_agreed(), "the new key in it did not sign that it takes the old one's place")
            }
            Payload::Forked(proof) => {
                let (author, seq) = proof.verify().ok_or("its proof of a fork proves none")?;
                self.found.forks.push(Fork { author, seq });
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Why a key was not replaced, though an entry says so and peers keep it.
fn came_to_nothing(governance: &Governance, rotation: &Rotation) -> Option<&'static str> {
    let current = governance.current(rotation.user);
    let Some(member) = governance.members().get(&current) else {
        return Some("it replaces the key of a user who was never admitted");
    };
    if !rotation.verify(&member.recovery) {
        return Some("it is not signed with the user's recovery key");
    }
    let replaced = rotation.user != rotation.new && current == governance.current(rotation.new);
    (!replaced)
        .then_some("it replaces no key: the old one was good no more, or the new one was known already")
}
