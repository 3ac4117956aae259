//! Whether an exported ledger holds together, told from the file alone.
// spec: LED-1, LED-6

use super::{Entries, Framed, Trouble};
use mesh_protocol::ids::{CommunityId, EntryId};
use mesh_protocol::key::{Domain, PublicKey, UserKey};
use mesh_protocol::ledger::{Entry, Hlc, Payload, rotation_message};
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
}

/// A log that does not count from some place on.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fork {
    /// Whose.
    pub(crate) author: PublicKey,
    /// From where on.
    pub(crate) seq: u64,
}

/// What is remembered of the entries before.
#[derive(Default)]
struct Before {
    found: Verified,
    last: Option<(Hlc, EntryId)>,
    /// Each log's entries by their places: there are no gaps.
    logs: BTreeMap<PublicKey, Vec<(EntryId, Hlc)>>,
    /// Who may replace whose key.
    recovery: BTreeMap<UserKey, PublicKey>,
}

/// Checks everything: shape, hashes, signatures, chains, references and clocks.
pub(crate) fn verify(file: impl Read) -> Result<Verified, Trouble> {
    let mut entries = Entries::new(file)?;
    let mut before = Before::default();
    while let Some(framed) = entries.next()? {
        let entry = Entry::verify(&framed.bytes).map_err(|error| framed.bad(causes(&error)))?;
        before.take(&entry).map_err(|what| named(&framed, &entry, &what))?;
    }
    let mut found = before.found;
    (found.logs, found.bytes) = (before.logs.len(), entries.bytes());
    Ok(found)
}

fn named(framed: &Framed, entry: &Entry, what: &str) -> Trouble {
    let header = entry.header();
    framed.bad(format!(
        "{what} ({}, place {} in the log of {})",
        entry.payload().kind_name(),
        header.seq,
        header.author.short()
    ))
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
    fn take(&mut self, entry: &Entry) -> Result<(), String> {
        let header = entry.header();
        let community = header.belongs_to();
        if *self.found.community.get_or_insert(community) != community {
            return Err("it belongs to another community".into());
        }
        self.chain(entry)?;
        let here = (header.hlc, entry.id());
        if self.last.is_some_and(|last| last >= here) {
            return Err("it does not stand in the order of clock and id".into());
        }
        self.refs(entry)?;
        self.content(entry, &community)?;
        self.last = Some(here);
        self.logs.entry(header.author).or_default().push((entry.id(), header.hlc));
        self.found.entries += 1;
        let date = header.hlc.wall_ms();
        self.found.dates_ms = Some((self.found.dates_ms.map_or(date, |(first, _)| first), date));
        Ok(())
    }

    fn chain(&self, entry: &Entry) -> Result<(), String> {
        let header = entry.header();
        let log = self.logs.get(&header.author).map_or(&[][..], Vec::as_slice);
        let next = log.len() as u64;
        if let Some((id, _)) = usize::try_from(header.seq).ok().and_then(|seq| log.get(seq)) {
            return Err(match *id == entry.id() {
                true => "it stands there twice".into(),
                false => format!("its author forked the log: {} stands at the same place", id.short()),
            });
        }
        if header.seq > next {
            return Err(format!("the entry at place {next} of the same log is missing before it"));
        }
        match log.last() {
            Some((id, _)) if *id != header.prev => {
                Err(format!("it follows on {}, but {} stands before it", header.prev.short(), id.short()))
            }
            Some((_, hlc)) if *hlc >= header.hlc => {
                Err("its clock is not later than that of the entry before it in its log".into())
            }
            _ => Ok(()),
        }
    }

    fn refs(&self, entry: &Entry) -> Result<(), String> {
        let header = entry.header();
        for tip in &header.refs {
            let place = format!("place {} in the log of {}", tip.seq, tip.author.short());
            let log = self.logs.get(&tip.author);
            let known = log.and_then(|log| log.get(usize::try_from(tip.seq).ok()?));
            match known {
                None => return Err(format!("it names {place}, which is missing before it")),
                Some((id, _)) if *id != tip.id => {
                    return Err(format!(
                        "it names {} at {place}, where {} stands: that log was forked",
                        tip.id.short(),
                        id.short()
                    ));
                }
                Some((_, hlc)) if *hlc >= header.hlc => {
                    return Err(format!("its clock is not later than that of {place}, which it names"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Signatures and proofs within what it says.
    fn content(&mut self, entry: &Entry, community: &CommunityId) -> Result<(), String> {
        let holds = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
        match entry.payload() {
            Payload::Founded(founded) => {
                self.found.name.clone_from(&founded.name);
                self.recovery.insert(founded.user, founded.recovery);
                let own = founded.cert.user == founded.user && founded.cert.device == entry.header().author;
                holds(own && founded.cert.verify(), "the founder's word for the device is not theirs")
            }
            Payload::Admitted(request) => {
                self.recovery.entry(request.user).or_insert(request.recovery);
                holds(request.verify(community), "the request to join in it is not signed by whom it names")
            }
            Payload::DeviceAdded(cert) => holds(
                cert.verify() && cert.community == *community,
                "the word for a device in it is not signed by the user it names",
            ),
            Payload::Completed(completed) => holds(
                completed.statement.verify(&completed.signature),
                "the statement in it is not signed by the peer that it names",
            ),
            Payload::KeyRotated { user, new, signature } => {
                let Some(recovery) = self.recovery.get(user).copied() else {
                    return Err("it replaces the key of a user who was never admitted".into());
                };
                self.recovery.insert(*new, recovery);
                let message = rotation_message(user, new);
                holds(
                    recovery.verify(Domain::Rotation, &message, signature).is_ok(),
                    "it is not signed with the user's recovery key",
                )
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
