//! Every event, written down before it is applied, and what came of it.

use super::net::Channel;
use super::peer::Peer;
use super::world::Event;
use mesh_node::{Message, Output};
use mesh_protocol::frame::{Frame, HelloFrame, SyncFrame, TaskFrame};
use mesh_protocol::ledger::Entry;
use mesh_protocol::record::Record;
use std::fmt::{Arguments, Write as _};

/// The log of a run.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) lines: Vec<String>,
    hasher: blake3::Hasher,
    /// Print lines as they come.
    print: bool,
    /// Say in words what travels. Reading everything once more just for that takes longer than all the rest.
    words: bool,
}

impl Log {
    pub(crate) fn new(print: bool, words: bool) -> Self {
        Self { lines: Vec::new(), hasher: blake3::Hasher::new(), print, words }
    }

    fn line(&mut self, line: String) {
        self.hasher.update(line.as_bytes());
        self.hasher.update(b"\n");
        if self.print {
            println!("{line}");
        }
        self.lines.push(line);
    }

    pub(crate) fn event(&mut self, now: u64, peers: &[Peer], event: &Event) {
        let mut line = format!("{:>9.3} ", now as f64 / 1000.0);
        match event {
            Event::Arrive(packet) if !self.words => {
                let (from, to) = (&peers[packet.from].name, &peers[packet.to].name);
                let hash = blake3::hash(&packet.bytes).to_hex();
                let _infallible = write!(line, "{to} <- {from}: {:?} {}", packet.channel, &hash[..10]);
            }
            event => describe(&mut line, peers, event),
        }
        self.line(line);
    }

    /// What a node wants done.
    pub(crate) fn output(&mut self, output: &Output) {
        let line = match output {
            Output::Persist(Record::Entry { author, seq, .. }) if !self.words => {
                format!("            -> keep {}/{seq}", author.short())
            }
            output => format!("            -> {}", brief(output)),
        };
        self.line(line);
    }

    pub(crate) fn effect(&mut self, what: Arguments<'_>) {
        self.line(format!("            == {what}"));
    }

    /// Equal for equal runs.
    pub(crate) fn hash(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }
}

fn describe(line: &mut String, peers: &[Peer], event: &Event) {
    let name = |who: usize| peers.get(who).map_or("?", |peer| peer.name.as_str());
    let _infallible = match event {
        Event::Start(who) => write!(line, "{} starts", name(*who)),
        Event::Due(who, task, _) => write!(line, "{}'s task {task} is due", name(*who)),
        Event::Wake(who, _) => write!(line, "{} wakes", name(*who)),
        Event::Arrive(packet) => {
            let what = match packet.channel {
                Channel::Hello => HelloFrame::decode(&packet.bytes).map(|it| hello_name(&it).to_owned()),
                Channel::Sync => SyncFrame::decode(&packet.bytes).map(|it| sync_name(&it)),
                Channel::Task(id) => TaskFrame::decode(&packet.bytes)
                    .map(|it| format!("{} {}/{}", frame_name(&it), id.task.short(), id.attempt)),
                Channel::Gossip => {
                    Ok(Entry::trusted(&packet.bytes).map_or_else(|_| "?".into(), |it| entry_name(&it)))
                }
            };
            let what = what.unwrap_or_else(|error| error.to_string());
            write!(line, "{} <- {}: {what}", name(packet.to), name(packet.from))
        }
        Event::Down { at, other, .. } => write!(line, "{} may lose {}", name(*at), name(*other)),
        Event::Idle { from, to, .. } => {
            write!(line, "{} may have heard nothing of {}", name(*to), name(*from))
        }
        Event::Dial { from, to, .. } => write!(line, "{} dials {}", name(*from), name(*to)),
        Event::Commit(who, _) => write!(line, "{} commits", name(*who)),
        Event::Sandbox(who, _, id, _, step) => {
            write!(line, "{} sandbox {step:?} {}/{}", name(*who), id.task.short(), id.attempt)
        }
        Event::Fetched { who, attempt, from, .. } => {
            let task = attempt.task.short();
            write!(line, "{} fetches of {} for {task}/{}", name(*who), name(*from), attempt.attempt)
        }
        Event::Join(who) => write!(line, "{} wants in", name(*who)),
        Event::Act(action) => write!(line, "action {action:?}"),
        Event::End(fault) => write!(line, "ends {fault:?}"),
    };
}

fn hello_name(frame: &HelloFrame) -> &'static str {
    match frame {
        HelloFrame::Hello { .. } => "hello",
        HelloFrame::Join(_) => "join",
        HelloFrame::JoinDevice(_) => "join device",
        HelloFrame::JoinAnswer(_) => "join answer",
        HelloFrame::Ad(_) => "ad",
        HelloFrame::Peers(_) => "peers",
        HelloFrame::TipQuery => "tip query",
        HelloFrame::TipAnswer(_) => "tip answer",
        HelloFrame::Seek(_) => "seek",
    }
}

fn sync_name(frame: &SyncFrame) -> String {
    match frame {
        SyncFrame::Digest { logs, .. } => format!("digest of {logs}"),
        SyncFrame::Same { .. } => "same".into(),
        SyncFrame::Tips { tips, .. } => format!("{} tips", tips.len()),
        SyncFrame::Want(wants) => {
            let wants = wants.iter().map(|(author, from)| format!("{}/{from}", author.short()));
            format!("wants {}", wants.collect::<Vec<_>>().join(" "))
        }
        SyncFrame::Entries(entries) => format!("{} entries", entries.len()),
    }
}

pub(crate) fn frame_name(frame: &TaskFrame) -> String {
    match frame {
        TaskFrame::Offer(_) => "offer".into(),
        TaskFrame::Accepted => "accepted".into(),
        TaskFrame::Refused(reason) => format!("refused: {reason}"),
        TaskFrame::Renew { .. } => "renew".into(),
        TaskFrame::Beat(beat) => format!("beat {:?}", beat.phase),
        TaskFrame::Checkpoint { number, .. } => format!("checkpoint {number}"),
        TaskFrame::Ended(_) => "ended".into(),
        TaskFrame::Lost(reason) => format!("lost: {reason}"),
        TaskFrame::Stop(reason) => format!("stop: {reason}"),
        TaskFrame::Settled(effect) => format!("settled, {effect:?}"),
        TaskFrame::Released(released) => format!("{released:?}"),
        TaskFrame::Status => "status?".into(),
        TaskFrame::Hold { for_ms } => format!("hold for {for_ms} ms"),
        TaskFrame::GoOn => "go on".into(),
        TaskFrame::Promised(_) => "promised".into(),
        TaskFrame::Reveal => "reveal".into(),
    }
}

fn entry_name(entry: &Entry) -> String {
    format!("{}/{} {}", entry.header().author.short(), entry.header().seq, entry.payload().kind_name())
}

/// An output in a few words.
pub(crate) fn brief(output: &Output) -> String {
    match output {
        Output::Persist(Record::Entry { bytes, .. }) => {
            format!("keep {}", Entry::trusted(bytes).map_or_else(|_| "?".into(), |entry| entry_name(&entry)))
        }
        Output::Persist(Record::Put { table, .. }) => format!("keep a value of {table:?}"),
        Output::Persist(Record::Delete { table, .. }) => format!("forget a value of {table:?}"),
        Output::Persist(Record::Truncate { author, seq }) => format!("cut {} at {seq}", author.short()),
        Output::Send(to, message) => {
            let what = match message {
                Message::Hello(frame) => hello_name(frame).to_owned(),
                Message::Sync(frame) => sync_name(frame),
                Message::Task(id, frame) => {
                    format!("{} {}/{}", frame_name(frame), id.task.short(), id.attempt)
                }
            };
            format!("to {}: {what}", to.short())
        }
        Output::Spread(entry) => format!("spread {}", entry_name(entry)),
        Output::SendEntries { to, author, from, until } => {
            format!("to {}: {}/{from}..{until}", to.short(), author.short())
        }
        Output::Run(run) => format!("run {}/{}", run.attempt.task.short(), run.attempt.attempt),
        Output::Answer(_, Ok(answer)) => {
            let text = format!("{answer:?}");
            format!("answer {}", text.chars().take(100).collect::<String>())
        }
        Output::Answer(_, Err(error)) => format!("answer: {error}"),
        other => {
            let text = format!("{other:?}");
            text.chars().take(160).collect()
        }
    }
}
