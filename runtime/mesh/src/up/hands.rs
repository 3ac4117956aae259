//! What the node wants done, carried out: frames sent, attempts run, blobs fetched, answers given.

use super::blobs::Blobs;
use super::driver::{self, Arrival, Hands, Ids};
use super::fetch::Fetcher;
use super::handle::Question;
use super::hook::Hook;
use super::incoming::Refused;
use super::outbox::{self, Line, Outbox, Sent};
use super::remembered::Remembered;
use super::runner::Runner;
use super::runs::{Runs, Wish};
use bytes::Bytes;
use mesh_gossip::{Effect, Gossip, Heard};
use mesh_net::{Channel, Net, SendError, Standing};
use mesh_node::{Answer, CommandError, CommandId, Happening, Input, Message, Now, Output};
use mesh_protocol::frame::{AttemptId, Frame, TaskFrame};
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::Entry;
use mesh_store::Store;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;

/// Questions whose answers take time (a join waits for its sponsor). More wait only if nobody waits for them any more,
/// and those are cleared out.
const MAX_OPEN: usize = 1024;

type Asker = oneshot::Sender<Result<Answer, CommandError>>;

/// The hands of a running peer.
pub(crate) struct Shell {
    pub(crate) net: Net,
    pub(crate) gossip: Gossip,
    pub(crate) runner: Arc<Runner>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) happenings: broadcast::Sender<Happening>,
    pub(crate) arrivals: mpsc::Sender<Arrival>,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) ids: Ids,
    pub(crate) open: BTreeMap<CommandId, Asker>,
    pub(crate) outbox: Outbox,
    /// Peers that can be sent to. Bounded by the transport.
    pub(crate) connected: BTreeSet<PublicKey>,
    /// Attempts that a stream is open for, and with whom. Each is one that the node knows.
    pub(crate) talks: BTreeMap<AttemptId, PublicKey>,
    /// What is being fetched, for which attempt. Each ends when its sender goes. The node asks for one at a time of each
    /// attempt.
    pub(crate) fetches: BTreeMap<u64, (AttemptId, oneshot::Sender<()>)>,
    pub(crate) refused: Arc<Refused>,
    /// The owner's program that is asked about offers, if there is one.
    pub(crate) hook: Option<Hook>,
    pub(crate) remembered: Remembered,
    /// Does it look for peers on the local network?
    pub(crate) mdns: bool,
    pub(crate) data: PathBuf,
}

impl Line for Net {
    fn send(&self, peer: PublicKey, channel: Channel, bytes: Bytes) -> Sent {
        match Self::send(self, peer, channel, bytes) {
            Ok(()) => Sent::Yes,
            Err(SendError::QueueFull) => Sent::Full,
            Err(error @ SendError::TooLarge { .. }) => {
                // Every frame of ours is bounded below what the transport takes.
                tracing::error!(peer = %peer.short(), %error, "a frame could not be sent");
                Sent::Gone
            }
            Err(error) => {
                tracing::debug!(peer = %peer.short(), %error, "a frame was not sent");
                Sent::Gone
            }
        }
    }
}

fn channel_of(attempt: AttemptId) -> Channel {
    Channel::Task { task: attempt.task.0, attempt: attempt.attempt }
}

impl Shell {
    fn say(&mut self, to: PublicKey, message: &Message) {
        let (channel, bytes) = match message {
            Message::Hello(frame) => (Channel::Hello, frame.encode()),
            Message::Sync(frame) => (Channel::Sync, frame.encode()),
            Message::Task(attempt, frame) => (channel_of(*attempt), frame.encode()),
        };
        tracing::trace!(peer = %to.short(), ?message, "say");
        if !self.outbox.say(&self.net, to, channel, bytes.into()) {
            self.outbox.drop_peer(&to);
            self.net.disconnect(to, "it does not take what it is sent");
        }
        if let Message::Task(attempt, frame) = message {
            match frame {
                // Nothing is said after these.
                TaskFrame::Refused(_) | TaskFrame::Lost(_) | TaskFrame::Settled(_) | TaskFrame::Stop(_) => {
                    self.talks.remove(attempt);
                    self.net.finish(to, channel);
                }
                _ => drop(self.talks.insert(*attempt, to)),
            }
        }
    }

    fn hang_up(&mut self, attempt: AttemptId) {
        if let Some(peer) = self.talks.remove(&attempt) {
            self.net.finish(peer, channel_of(attempt));
        }
    }

    /// What gossip wants done.
    fn effects(&mut self, effects: Vec<Effect>, then: &mut VecDeque<Input>) {
        for effect in effects {
            match effect {
                // What finds no room is lost, and comes with the comparison of logs.
                Effect::Send(to, bytes) => {
                    let _lossy = Line::send(&self.net, to, Channel::Gossip, bytes);
                }
                Effect::Entry(from, entry) => then.push_back(Input::Gossip(from, entry)),
            }
        }
    }

    fn tell(&self, happening: Happening) {
        // Nobody has to listen.
        let _nobody_listens = self.happenings.send(happening);
    }
}

impl Hands for Shell {
    fn saw(&mut self, input: &Input) {
        tracing::trace!(?input, "handle");
        match input {
            Input::Connected { peer, .. } => drop(self.connected.insert(*peer)),
            Input::Disconnected { peer } => {
                self.connected.remove(peer);
                self.outbox.drop_peer(peer);
                self.talks.retain(|_, with| with != peer);
                // It can ask nothing of others at this moment.
                let _effects = self.gossip.down(*peer, Instant::now());
            }
            Input::Fetched(number, ..) => drop(self.fetches.remove(number)),
            // The other side has said its last word.
            Input::Task(peer, attempt, TaskFrame::Refused(_) | TaskFrame::Lost(_))
                if self.talks.get(attempt) == Some(peer) =>
            {
                self.hang_up(*attempt);
            }
            _ => {}
        }
    }

    fn heard(&mut self, peer: PublicKey, heard: Heard, per_hour: Option<u64>, then: &mut VecDeque<Input>) {
        let effects = self.gossip.hear(peer, heard, per_hour, Instant::now());
        self.refused.gossip.store(self.gossip.dropped(), Ordering::Relaxed);
        self.effects(effects, then);
    }

    fn carry_out(&mut self, output: Output, store: &dyn Store, then: &mut VecDeque<Input>) {
        match output {
            // The driver has done it.
            Output::Persist(_) => {}
            Output::Send(to, message) => self.say(to, &message),
            Output::Spread(entry) => {
                let effects = self.gossip.spread(&entry, Instant::now());
                self.effects(effects, then);
            }
            Output::SendEntries { to, author, from, until } => {
                self.outbox.send_log(to, author, from, until);
            }
            Output::Read { author, seq } => match store.entries(&author, seq, 1) {
                Ok(entries) => {
                    let entry = entries.first().and_then(|bytes| Entry::trusted(bytes).ok());
                    then.extend(entry.map(|entry| Input::Stored(Box::new(entry))));
                }
                Err(error) => {
                    tracing::warn!(error = %super::causes(&error), "an entry could not be read");
                }
            },
            Output::Run(run) => self.runner.run(run),
            Output::Ask(offer) => then.extend(self.hook.as_ref().and_then(|hook| hook.ask(*offer))),
            Output::Pause(attempt) => self.runner.want(attempt, Wish::Hold),
            Output::Resume(attempt) => self.runner.want(attempt, Wish::Run),
            Output::Stop(attempt) => self.runner.want(attempt, Wish::Stop),
            Output::Fetch { number, attempt, blob, from, wanted } => {
                let (fetcher, arrivals) = (self.fetcher.clone(), self.arrivals.clone());
                let (end, ended) = oneshot::channel();
                self.fetches.insert(number, (attempt, end));
                self.runtime.spawn(async move {
                    if let Some(result) = fetcher.fetch(blob, from, wanted, ended).await {
                        let fetched = Input::Fetched(number, attempt, blob.hash, result);
                        let _node_gone = arrivals.send(fetched.into()).await;
                    }
                });
            }
            Output::Unfetch(attempt) => self.fetches.retain(|_, (of, _)| *of != attempt),
            Output::Release(attempt) => self.runner.release(attempt),
            Output::Forget(attempt) => {
                self.runs.clear(&self.runner.release_folder(attempt));
                self.hang_up(attempt);
                self.runs.forget(attempt);
                self.blobs.forget(attempt);
            }
            Output::Dial(peer, addrs) => self.net.connect(peer, addrs),
            Output::Standing(peer, member) => {
                let standing = if member { Standing::Member } else { Standing::Stranger };
                self.net.set_standing(peer, standing);
                let now = Instant::now();
                let effects = match member && self.connected.contains(&peer) {
                    true => self.gossip.up(peer, now),
                    false => self.gossip.down(peer, now),
                };
                self.effects(effects, then);
            }
            Output::Close(peer, why) => {
                self.net.forget(peer);
                self.net.disconnect(peer, &why);
            }
            Output::Belongs(community) => {
                tracing::info!(community = %community.short(), "this peer belongs to a community");
                if self.remembered.community != Some(community) {
                    self.remembered.community = Some(community);
                    self.remembered.write(&self.data);
                }
                // spec: NET-5
                if self.mdns {
                    self.net.find_nearby(&super::nearby(community));
                }
                let effects = self.gossip.belongs(community, Instant::now());
                self.effects(effects, then);
            }
            Output::Answer(id, answer) => {
                if let Some(asker) = self.open.remove(&id) {
                    let _nobody_waits = asker.send(answer);
                }
            }
            Output::Tell(Happening::Unneeded(hash)) => self.blobs.unneeded(&hash),
            Output::Tell(happening) => self.tell(happening),
        }
    }

    fn asked(&mut self, question: Question) -> Input {
        if self.open.len() >= MAX_OPEN {
            self.open.retain(|_, asker| !asker.is_closed());
        }
        let id = self.ids.next();
        self.open.insert(id, question.answer);
        Input::Command(id, Box::new(question.command))
    }

    fn go_on(&mut self, store: &dyn Store, then: &mut VecDeque<Input>) -> Option<Instant> {
        let now = Instant::now();
        let effects = self.gossip.wake(now);
        self.effects(effects, then);
        let waits = self.outbox.go_on(&self.net, store);
        self.gossip.deadline().into_iter().chain(waits.then(|| now + outbox::AGAIN)).min()
    }

    fn cannot_keep(&mut self, why: &str, first: bool) {
        if first {
            self.tell(Happening::Warning { text: format!("nothing can be kept, so nothing goes on: {why}") });
        }
    }

    fn can_keep_again(&mut self) {
        self.tell(Happening::Warning { text: "things can be kept again; going on".into() });
    }

    fn now(&self) -> Now {
        driver::now()
    }
}
