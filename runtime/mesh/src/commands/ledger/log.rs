//! `mesh ledger log`: entries as events that people read.
// spec: LED-6

use super::{open, trouble};
use crate::commands::shown::{count, grams, time, wh};
use crate::exit_codes;
use crate::failure::Result;
use crate::ledger_file::{Entries, Trouble};
use mesh_protocol::energy::Metered;
use mesh_protocol::ids::{EntryId, TaskId};
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::ledger::{Effect, Entry, EntryError, Payload, Rotation};
use mesh_protocol::text::sanitise;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

#[derive(Debug, Serialize)]
struct Event {
    event: &'static str,
    peer: String,
    task: Option<TaskId>,
    data: String,
    time_ms: u64,
    author: PublicKey,
    seq: u64,
    entry: EntryId,
}

/// What things were called by the entries before.
#[derive(Default)]
struct Names {
    devices: BTreeMap<PublicKey, String>,
    users: BTreeMap<UserKey, String>,
    /// Who may replace whose key.
    recovery: BTreeMap<UserKey, PublicKey>,
}

pub(super) fn run(file: Option<&Path>, last: Option<usize>, json: bool) -> Result<u8> {
    // What this peer keeps it verified before; who wrote a file is not known.
    let read = if file.is_some() { Entry::verify } else { Entry::trusted };
    let events = events(Entries::new(open(file)?), read, last);
    let events = events.map_err(|found| trouble(file, "read", found))?;
    if json {
        super::super::print_json(&events)?;
    } else {
        let mut text = line("EVENT", "PEER", "TASK", "DATA", "TIME");
        for event in &events {
            let task = event.task.map_or_else(String::new, |task| task.short());
            text.push_str(&line(event.event, &event.peer, &task, &event.data, &time(event.time_ms)));
        }
        super::super::print(&text)?;
    }
    Ok(exit_codes::OK)
}

fn line(event: &str, peer: &str, task: &str, data: &str, time: &str) -> String {
    // What separates the columns must not stand in them.
    let clean = |text: &str| sanitise(text, false).replace('|', "¦");
    format!("{event:<17} | {:<12} | {task:<10} | {} | {time}\n", clean(peer), clean(data))
}

fn events(
    entries: std::result::Result<Entries<impl std::io::Read>, Trouble>,
    read: impl Fn(&[u8]) -> std::result::Result<Entry, EntryError>,
    last: Option<usize>,
) -> std::result::Result<VecDeque<Event>, Trouble> {
    let mut entries = entries?;
    let (mut names, mut events) = (Names::default(), VecDeque::new());
    while let Some(framed) = entries.next()? {
        let entry = read(&framed.bytes).map_err(|error| framed.bad(error.to_string()))?;
        names.learn(&entry);
        events.push_back(names.event(&entry));
        if last.is_some_and(|last| events.len() > last) {
            events.pop_front();
        }
    }
    Ok(events)
}

impl Names {
    fn learn(&mut self, entry: &Entry) {
        let author = entry.header().author;
        match entry.payload() {
            Payload::Founded(founded) => {
                self.devices.entry(author).or_insert_with(|| founded.device_name.clone());
                self.users.entry(founded.user).or_insert_with(|| founded.user_name.clone());
                self.recovery.entry(founded.user).or_insert(founded.recovery);
            }
            // Whose request it is not must not get to say who may replace their key.
            Payload::Admitted(request) if request.verify(&entry.header().community) => {
                self.recovery.entry(request.user).or_insert(request.recovery);
                self.devices.entry(request.cert.device).or_insert_with(|| request.device_name.clone());
                self.users.entry(request.user).or_insert_with(|| request.user_name.clone());
            }
            Payload::PeerRegistered(peer) => drop(self.devices.insert(author, peer.name.clone())),
            Payload::DeviceAdded(added) => {
                self.devices.entry(added.cert.device).or_insert_with(|| added.name.clone());
            }
            // A key that was somebody's before stays theirs.
            Payload::KeyRotated(it) if self.is_signed(it) => {
                if let Some(name) = self.users.get(&it.user).cloned() {
                    self.users.entry(it.new).or_insert(name);
                }
                if let Some(recovery) = self.recovery.get(&it.user).copied() {
                    self.recovery.entry(it.new).or_insert(recovery);
                }
            }
            _ => {}
        }
    }

    /// Peers keep such a word unsigned, too, and it replaces nothing.
    fn is_signed(&self, rotation: &Rotation) -> bool {
        self.recovery.get(&rotation.user).is_some_and(|recovery| rotation.verify(recovery))
    }

    fn device(&self, device: &PublicKey) -> String {
        self.devices.get(device).cloned().unwrap_or_else(|| device.short())
    }

    fn user(&self, user: &UserKey) -> String {
        self.users.get(user).cloned().unwrap_or_else(|| user.0.short())
    }

    fn event(&self, entry: &Entry) -> Event {
        let header = entry.header();
        Event {
            event: entry.payload().kind_name(),
            peer: self.device(&header.author),
            task: task(entry.payload()),
            data: self.data(entry.payload()),
            time_ms: header.hlc.wall_ms(),
            author: header.author,
            seq: header.seq,
            entry: entry.id(),
        }
    }

    fn data(&self, payload: &Payload) -> String {
        match payload {
            Payload::Founded(founded) => format!("{} by {}", founded.name, founded.user_name),
            Payload::Admitted(request) => format!("{} with {}", request.user_name, request.device_name),
            Payload::Expelled { user, why, .. } => format!("{}: {why}", self.user(user)),
            Payload::DeviceAdded(added) => {
                let cert = &added.cert;
                format!(
                    "{} of {}, {} ‰ of the quota",
                    self.device(&cert.device),
                    self.user(&cert.user),
                    cert.share
                )
            }
            Payload::PeerRegistered(peer) => match peer.place {
                Some((lat, lon)) => format!("{} slots at {lat}°, {lon}°", peer.slots),
                None => format!("{} slots", peer.slots),
            },
            Payload::PeerOnline | Payload::PeerOffline | Payload::Cancelled { .. } => String::new(),
            Payload::Granted(grant) => {
                let until =
                    grant.until_ms.map_or_else(String::new, |until| format!(" until {}", time(until)));
                let module =
                    grant.module.map_or_else(String::new, |module| format!(", module {}", module.short()));
                format!(
                    "{} of {} on {}{until}{module}",
                    grant.pattern,
                    self.user(&grant.user),
                    self.device(&grant.device)
                )
            }
            Payload::Revoked { grant } => format!("grant {}", grant.short()),
            Payload::TaskSubmitted(task) => {
                let importance =
                    task.importance.map_or_else(String::new, |level| format!(", {}", word(&level)));
                format!("{}, {}{importance}", task.name, word(&task.sla))
            }
            Payload::Voted { importance, comment, .. } if comment.is_empty() => word(importance),
            Payload::Voted { importance, comment, .. } => format!("{}: {comment}", word(importance)),
            Payload::Consensus { importance, votes, .. } => match importance {
                Some(level) => format!("{} by {}", word(level), count(votes.len() as u64, "vote")),
                None => format!("none by {}", count(votes.len() as u64, "vote")),
            },
            Payload::Delegated { attempt, device, .. } => {
                format!("attempt {attempt} to {}", self.device(device))
            }
            Payload::Accepted { attempt, .. } => format!("attempt {attempt}"),
            Payload::Refused { attempt, reason, .. } => format!("attempt {attempt}: {reason}"),
            Payload::Vetoed { attempt, why, .. } if why.is_empty() => format!("attempt {attempt}"),
            Payload::Vetoed { attempt, why, .. } => format!("attempt {attempt}: {why}"),
            Payload::Completed(completed) => {
                let statement = &completed.statement;
                let effect = if completed.effect == Effect::Done { "done" } else { "superseded" };
                let executor = self.device(&statement.executor);
                let used = used(&statement.energy);
                format!(
                    "attempt {} on {executor}: {effect}, {} ms, {used}",
                    statement.attempt, statement.wall_ms
                )
            }
            Payload::Failed { attempts, reason, .. } => format!("after {attempts} attempts: {reason}"),
            Payload::Contribution { user, unit, amount, month } => {
                format!("{}: {amount} of {unit} in {month}", self.user(user))
            }
            Payload::RulesProposed { why, .. } | Payload::HealthDisputed { why, .. } => why.clone(),
            Payload::ZoneSet { zone } => zone.clone(),
            Payload::HealthFlagged { text, .. } => format!("URGENT on any energy: {text}"),
            Payload::Held { attempt, reason, .. } => match reason {
                Some(reason) => format!("attempt {attempt}: {reason}"),
                None => format!("attempt {attempt} goes on"),
            },
            Payload::Spent(spent) => format!("attempt {}: {}", spent.attempt, used(&spent.energy)),
            Payload::Accounted(account) => match &account.saved {
                Some(saved) => format!("saved {} of CO2", grams(saved.total_ug())),
                None => "what it saved is not known".into(),
            },
            Payload::RulesVoted { proposal, yes } => {
                format!("{} {}", if *yes { "for" } else { "against" }, proposal.short())
            }
            Payload::Witnessed { tips } => count(tips.len() as u64, "log"),
            Payload::KeyRotated(it) => {
                let signed = if self.is_signed(it) {
                    ""
                } else {
                    ", not signed by the new key and the user's recovery key"
                };
                format!("{}: now {}{signed}", self.user(&it.user), it.new.0.short())
            }
            Payload::KeyRevoked(it) => match it.tip {
                Some(tip) => format!("{}: counts up to place {}", self.device(&it.device), tip.seq),
                None => format!("{}: does not count", self.device(&it.device)),
            },
            Payload::Forked(proof) => {
                format!("{} at place {}", self.device(&proof.a.header.author), proof.a.header.seq)
            }
        }
    }
}

/// What a run used, in words.
fn used(energy: &Metered) -> String {
    match energy.energy_mj() {
        Some(energy_mj) => wh(energy_mj),
        None => "unmeasured".into(),
    }
}

/// A level as the rules write it.
fn word(level: &impl Serialize) -> String {
    serde_json::to_value(level).ok().and_then(|value| Some(value.as_str()?.to_owned())).unwrap_or_default()
}

fn task(payload: &Payload) -> Option<TaskId> {
    match payload {
        Payload::TaskSubmitted(submitted) => Some(submitted.task),
        Payload::Completed(completed) => Some(completed.statement.task),
        Payload::Spent(spent) => Some(spent.task),
        Payload::Accounted(account) => Some(account.task),
        Payload::Voted { task, .. }
        | Payload::Consensus { task, .. }
        | Payload::Delegated { task, .. }
        | Payload::Accepted { task, .. }
        | Payload::Refused { task, .. }
        | Payload::Vetoed { task, .. }
        | Payload::Failed { task, .. }
        | Payload::Cancelled { task }
        | Payload::HealthFlagged { task, .. }
        | Payload::Held { task, .. }
        | Payload::HealthDisputed { task, .. } => Some(*task),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger_file::encode;
    use mesh_protocol::ids::CommunityId;
    use mesh_protocol::key::SecretKey;
    use mesh_protocol::ledger::{Hlc, PeerRegistered, Place};

    // spec: LED-6
    #[test]
    fn events_are_told_by_name_and_in_columns() {
        let key = SecretKey::from_seed(&[1; 32]);
        let mut entries = Vec::new();
        let mut prev = EntryId::ZERO;
        let registered = PeerRegistered {
            name: "lap|top".into(),
            place: Some((52, 13)),
            profile: mesh_protocol::ids::ProfileId::ZERO,
            walls: vec![],
            slots: 2,
        };
        let vetoed = Payload::Vetoed { task: TaskId([7; 32]), attempt: 3, why: "mine".into() };
        for (seq, payload) in (0..).zip([Payload::PeerRegistered(Box::new(registered)), vetoed]) {
            let place =
                Place { community: CommunityId([1; 32]), seq, prev, refs: vec![], hlc: Hlc::at(1000 + seq) };
            let entry = Entry::write(&key, place, payload);
            prev = entry.id();
            entries.push(entry);
        }
        let file = encode(entries.iter().map(Entry::bytes));
        let all = events(Entries::new(&file[..]), Entry::verify, None).unwrap();
        assert_eq!((all.len(), all[1].peer.as_str(), all[1].time_ms), (2, "lap|top", 1001));
        let last = events(Entries::new(&file[..]), Entry::verify, Some(1)).unwrap();
        assert_eq!(
            (last.len(), last[0].data.as_str(), last[0].task),
            (1, "attempt 3: mine", Some(TaskId([7; 32])))
        );
        let shown = line(last[0].event, &last[0].peer, "0707070707", &last[0].data, "now");
        assert_eq!(shown, "vetoed            | lap¦top      | 0707070707 | attempt 3: mine | now\n");
    }

    // spec: LED-6
    #[test]
    fn what_nobody_signed_is_no_event() {
        let key = SecretKey::from_seed(&[1; 32]);
        let place = Place {
            community: CommunityId([1; 32]),
            seq: 0,
            prev: EntryId::ZERO,
            refs: vec![],
            hlc: Hlc::at(1000),
        };
        let entry = Entry::write(&key, place, Payload::PeerOnline);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.ledger");
        std::fs::write(&path, encode([entry.bytes()])).unwrap();
        assert_eq!(run(Some(&path), None, false).unwrap(), exit_codes::OK);
        let mut forged = entry.bytes().to_vec();
        // Before the payload stands its length, and before that the signature.
        let signature = forged.len() - usize::from(entry.header().payload_len) - 20;
        forged[signature] ^= 1;
        std::fs::write(&path, encode([&forged[..]])).unwrap();
        let text = run(Some(&path), None, false).unwrap_err().to_string();
        assert!(text.contains("byte 18, entry 0"), "{text}");
    }

    // spec: LED-6
    #[test]
    fn a_user_keeps_their_name_whoever_says_that_the_key_is_theirs() {
        let key = |number| SecretKey::from_seed(&[number; 32]);
        let user = |number| UserKey(key(number).public());
        let community = CommunityId([1; 32]);
        let mut names = Names::default();
        for (name, of, recovery) in [("mallory", 10, 11), ("carol", 20, 21)] {
            names.users.insert(user(of), name.to_owned());
            names.recovery.insert(user(of), key(recovery).public());
        }
        let mut told = |by, of, new| {
            let rotation = Rotation::sign(&key(by), community, user(of), &key(new), Hlc(1));
            let place = Place { community, seq: 0, prev: EntryId::ZERO, refs: vec![], hlc: Hlc(1) };
            let entry = Entry::write(&key(1), place, Payload::KeyRotated(Box::new(rotation)));
            names.learn(&entry);
            names.event(&entry).data
        };
        assert!(told(11, 10, 20).starts_with("mallory: now"));
        let stolen = told(11, 20, 30);
        assert!(stolen.starts_with("carol: now") && stolen.ends_with("recovery key"), "{stolen}");
        let truly = told(21, 20, 40);
        assert!(truly.starts_with("carol: now") && !truly.contains("not signed"), "{truly}");
        assert!(told(21, 40, 50).starts_with("carol: now"), "whose key it is now");
    }
}
