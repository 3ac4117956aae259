//! The node itself: its parts, its clock, and which part answers what.

use crate::attempts::Attempt;
use crate::command::{ErrorKind, Happening};
use crate::community::Learnt;
use crate::crowd::Crowd;
use crate::energy::{ExpectedFor, Forecasts, History};
use crate::forks::Fork;
use crate::io::{Capacity, Input, Message, Now, Output, SyncReceived};
use crate::ledger::{Ledger, Taken, weighs};
use crate::meet::{Invite, Joining, Peer, Seeking};
use crate::owner::Task;
use crate::random::Random;
use mesh_policies::donor::{Situation, Terms};
use mesh_policies::queue::Place;
use mesh_protocol::ad::{EnergyClaim, Outlook};
use mesh_protocol::canonical;
use mesh_protocol::frame::{AttemptId, HelloFrame, JoinRefusal, SyncFrame, TaskFrame};
use mesh_protocol::ids::{CommunityId, EntryId, ProfileId, TaskId};
use mesh_protocol::key::{PublicKey, SecretKey, UserKey};
use mesh_protocol::ledger::{Entry, EntryError, Pattern, Payload, Tip};
use mesh_protocol::permissions::Access;
use mesh_protocol::reason::Reason;
use mesh_protocol::record::{Record, Table};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

/// What a node is told once.
#[derive(Debug)]
pub struct Config {
    /// Signs everything this peer says.
    pub device: SecretKey,
    /// Signs the admission of devices; only on the devices that have it.
    pub user: Option<SecretKey>,
    /// What the owner is called.
    pub user_name: String,
    /// The only key that can replace the owner's.
    pub recovery: PublicKey,
    /// What the device is called.
    pub device_name: String,
    /// Its engine.
    pub profile: ProfileId,
    /// Walls around its tasks, by name.
    pub walls: Vec<String>,
    /// Latitude and longitude in whole degrees, if it tells.
    pub place: Option<(i16, i16)>,
    /// What it can give to tasks.
    pub capacity: Capacity,
    /// Watts that one busy slot draws; at least 1 and at most [`MAX_WATTS`](mesh_protocol::energy::MAX_WATTS) count.
    pub slot_watts: u16,
    /// Names of others' tasks that it takes at all.
    pub accepts: Vec<Pattern>,
    /// Folders of its owner that tasks may be granted, by name, and what for.
    pub shares: BTreeMap<String, Access>,
    /// Its energy.
    pub energy: Option<EnergyClaim>,
    /// Is each offer of somebody else's put to a program of the owner's?
    // spec: PERM-5
    pub hook: bool,
    /// Where it can be dialled.
    pub addrs: Vec<SocketAddr>,
    /// Where its randomness comes from.
    pub seed: [u8; 32],
}

/// What was refused or dropped, so that it can be seen.
// spec: NET-4
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Frames of strangers that only members may send.
    pub strangers: u64,
    /// Entries that do not count.
    pub entries_ignored: u64,
    /// Ads that were wrong, old or too many.
    pub ads_dropped: u64,
    /// Words of addresses, because there were too many.
    pub hellos_dropped: u64,
    /// Offers refused.
    pub offers_refused: u64,
    /// Results that did not hold.
    pub bad_results: u64,
    /// Frames about attempts that are not the one that counts.
    pub stale_frames: u64,
    /// Requests to join that were refused.
    pub joins_refused: u64,
    /// Forks seen.
    pub forks: u64,
}

/// When something is due. One moment each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Logs are compared with somebody.
    Compare,
    /// This device's ad is told.
    Advertise,
    /// What was seen is witnessed.
    Witness,
    /// A donor's pause ends.
    Donor,
    /// Whoever was asked for this log's length had time to answer.
    Numbering,
    /// Where a log forks is looked up.
    Forks,
    /// A ballot on rules closes.
    Rules,
    /// Tasks that wait are tried again.
    Place,
    /// What runs here may be to stand still, or to go on.
    Hold,
    /// What of this device's tasks runs is thought about again.
    Regard,
    /// The window of a task's ballot closes.
    Ballot(TaskId),
    /// What home's energy would have been is known for a task that is done.
    Account(TaskId),
    /// Something about a task of this device.
    Task(TaskId),
    /// A result that did not come is asked for again.
    Fetch(TaskId),
    /// Something about the twins of a task of this device.
    Group(TaskId),
    /// Something about an attempt that runs here.
    Attempt(AttemptId),
}

/// Does this device share itself?
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Donor {
    /// It takes tasks.
    Taking,
    /// It holds all tasks until then (milliseconds since 1970), or until told otherwise.
    Paused(Option<u64>),
    /// It ends what runs.
    Finishing,
}

/// May this device number new entries of its log?
// spec: LED-5
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// Yes.
    Settled,
    /// After an unclean start others are asked how long the log is; these have answered.
    Asking(BTreeSet<PublicKey>),
}

/// Why a device can write no entry now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silent {
    /// It asks where its log ends; so many have answered.
    Asking(usize),
    /// What made it a member is not here.
    Astray,
    /// Its owner is not a member, or it is not its owner's any more.
    NoMember,
    /// What it wrote last is not here.
    EndLost,
    /// It wrote as much in this hour as the rules allow.
    Spent,
}

impl std::fmt::Display for Silent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Asking(answered) => write!(
                f,
                "this device has just started and asks other peers where its log ends; {answered} have answered, and it goes on when two, or all there are, have, or after a few seconds if its last run ended in order"
            ),
            Self::Astray => f.write_str(
                "the ledger in which this device came in was lost; it asks the peers that it remembers, and goes on when one of them, or `mesh ledger import` of an export, has brought it back",
            ),
            Self::NoMember => f.write_str(
                "this device's owner is not a member, or its key was revoked; it goes on when the owner is let in again",
            ),
            Self::EndLost => f.write_str(
                "the end of this device's log is not here; it goes on when a peer that has it brings it",
            ),
            Self::Spent => f.write_str(
                "this device has written as many ledger entries in this hour as the rules allow; it goes on when the hour is over",
            ),
        }
    }
}

fn draft_key(number: u64) -> Vec<u8> {
    [META_DRAFT, &number.to_be_bytes()].concat()
}

/// What wants to be said while entries cannot be numbered. More would be lost work, not lost promises.
pub(crate) const MAX_DRAFTS: usize = 10_000;
/// Of these, what it says of others' logs takes no more.
pub(crate) const MAX_DRAFTS_OF_OTHERS: usize = MAX_DRAFTS / 2;

/// Hours' worth of entries that one device may bring at once, whatever dates they bear: a day that it spent by itself.
const HOURS_AT_ONCE: u64 = 24;
/// What is due so often in one turn is due for nothing. It is put off for so long: were it waited for, nothing else here
/// would ever have its turn.
const MOST_FIRED: u32 = 100;
const PUT_OFF_MS: u64 = 1_000;
/// A clock that is this much off from one moment to the next was set; slower ones are steered.
const CLOCK_SET_MS: u64 = 1_000;

/// How long an entry may take to have reached everybody by gossip, by far.
const SPREADS_WITHIN_MS: u64 = 60_000;

/// Entries that a device brought.
#[derive(Default)]
struct Brought {
    all: u64,
    /// Those about who belongs and by which rules.
    governing: u64,
}

/// Entries that one device may bring from `since_ms` to `now_ms` by limits an hour, each with since when it holds, 0 being
/// none: as many as the hours hold and a day's worth beside. None if there is no limit.
fn most_entries(limits: impl Iterator<Item = (u64, u32)>, since_ms: u64, now_ms: u64) -> Option<u64> {
    let (now_ms, mut limits) = (now_ms.max(since_ms), limits.peekable());
    let (mut allowed, mut most) = (0_u64, 0);
    while let Some((from, limit)) = limits.next() {
        let (from, limit) = (from.max(since_ms), u64::from(limit));
        let until = limits.peek().map_or(now_ms, |(next, _)| now_ms.min(*next));
        if until >= from {
            if limit == 0 {
                return None;
            }
            most = limit.max(most);
            allowed = allowed.saturating_add(limit.saturating_mul(until - from) / 3_600_000);
        }
    }
    Some(allowed.saturating_add(most * HOURS_AT_ONCE))
}

/// A whole peer as a state machine. It does no IO, reads no clock and draws no randomness but from its seed.
///
/// The contract:
/// 1. [`Node::new`], then [`Node::restore_value`] for every kept value, then [`Node::restore_entry`] for every kept
///    entry in the order of each log, then [`Node::start`].
/// 2. From then on [`Node::handle`] whenever something happens, at least once before [`Node::deadline`] passes
///    (with [`Input::Wake`] if nothing else does). `now` never goes back.
/// 3. After each of `start` and `handle`, drain [`Node::poll`] until it gives none. Several inputs may be handled
///    before their outputs are carried out together. Of what was drained, first make every [`Output::Persist`]
///    durable, as one; then carry out the rest in order. If that fails, nothing else may leave: try again, or end.
/// 4. A peer is sent to only between its `Connected` and `Disconnected`; what is said to one that just went is lost
///    and the node copes.
// spec: ARC-2, ARC-3
pub struct Node {
    pub(crate) config: Config,
    pub(crate) me: PublicKey,
    pub(crate) now: Now,
    pub(crate) ledger: Ledger,
    pub(crate) peers: BTreeMap<PublicKey, Peer>,
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    /// Tasks that wait, in the order in which they start, and again oldest first.
    pub(crate) waiting: BTreeSet<Place>,
    pub(crate) waiting_by_age: BTreeSet<(u64, TaskId)>,
    /// Tasks of this device on which the members may still decide.
    pub(crate) open_ballots: BTreeSet<TaskId>,
    /// What the wall clock shows when the boot clock shows nothing.
    offset: u64,
    /// When a pause ends that began while this program runs, by the boot clock.
    pub(crate) paused_until: Option<u64>,
    /// The others by state, oldest first.
    pub(crate) out: BTreeSet<(u64, TaskId)>,
    pub(crate) over: BTreeSet<(u64, TaskId)>,
    pub(crate) placed_last: Option<Place>,
    pub(crate) crowd: Crowd,
    /// Of what runs, the last that was thought about in this round.
    pub(crate) regarded_last: Option<(u64, TaskId)>,
    pub(crate) attempts: BTreeMap<AttemptId, Attempt>,
    pub(crate) accounts: crate::accounts::Accounts,
    pub(crate) invites: BTreeMap<PublicKey, Invite>,
    pub(crate) joining: Option<Joining>,
    pub(crate) trust: Option<BTreeSet<UserKey>>,
    pub(crate) donor: Donor,
    pub(crate) terms: Terms,
    pub(crate) situation: Situation,
    /// Bytes that are kept here for its own tasks.
    pub(crate) own_bytes: u64,
    /// When its surplus was another one for the last time, by the boot clock.
    pub(crate) surplus_at: u64,
    /// What the owner's terms last said.
    pub(crate) shared: Result<(), Reason>,
    pub(crate) numbering: Numbering,
    /// When it is settled even if nobody has answered.
    pub(crate) numbering_until: Option<u64>,
    /// Peers that said to know more of this log than it does itself, and have yet to show it.
    pub(crate) claimed: BTreeSet<PublicKey>,
    /// How many fetches were begun since the start.
    pub(crate) fetches_begun: u64,
    /// Grants that their donors say to hold no more, and until when they are not offered on.
    pub(crate) stale_grants: BTreeMap<EntryId, (u64, Reason)>,
    /// What was refused here last, when, and why.
    pub(crate) refused: BTreeMap<AttemptId, (Tip, Option<EntryId>, u64, Reason)>,
    /// Logs of which two entries at one place were seen.
    pub(crate) forks: BTreeMap<PublicKey, Fork>,
    /// Devices of members whose entries are dated too far ahead to be taken, and up to when.
    pub(crate) dated_ahead: BTreeMap<PublicKey, u64>,
    /// Members who say that this device counts no more.
    pub(crate) turned_away_by: BTreeMap<PublicKey, JoinRefusal>,
    /// Did it start without what made it a member, and has not come back since?
    pub(crate) went_astray: bool,
    /// What waits to be numbered, in this order; also what a person or a task's step was promised of it is kept.
    pub(crate) drafts: BTreeMap<u64, (Payload, Vec<Tip>)>,
    /// Where those are said to be who are not known as members yet: the word of them may be on its way.
    pub(crate) hearsay: BTreeMap<PublicKey, Vec<SocketAddr>>,
    pub(crate) unwitnessed: BTreeMap<PublicKey, Tip>,
    pub(crate) seeking: Seeking,
    /// Entries of others that were new since this process began.
    taken: BTreeMap<PublicKey, Brought>,
    /// Up to when the ledger was known when it began, in milliseconds since 1970; a newcomer's begins with the community.
    known_until: Option<u64>,
    /// What its energy was, and what is expected of it.
    pub(crate) history: History,
    pub(crate) forecasts: Forecasts,
    pub(crate) outlook: Outlook,
    pub(crate) expected_for: ExpectedFor,
    /// Is its energy read, or does history stand in for that?
    pub(crate) reads: bool,
    /// Since when its energy is so by its source's own word, if that is not now.
    pub(crate) energy_at: Option<u64>,
    /// Since when, by the boot clock, what is known of its energy is dated ahead of now.
    pub(crate) ahead_since: Option<u64>,
    pub(crate) ad_serial: u64,
    pub(crate) random: Random,
    pub(crate) counters: Counters,
    /// How far each peer can be relied on, in thousandths, and when that was found.
    pub(crate) reliable: BTreeMap<PublicKey, u16>,
    pub(crate) relied_at: Option<u64>,
    /// What was learnt of tasks by their names.
    pub(crate) learnt: BTreeMap<String, Learnt>,
    pub(crate) misbehaves: Option<crate::community::Misbehaviour>,
    timers: BTreeMap<Timer, u64>,
    due: BTreeSet<(u64, Timer)>,
    outputs: VecDeque<Output>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("me", &self.me).field("now", &self.now).finish_non_exhaustive()
    }
}

pub(crate) const META_COMMUNITY: &[u8] = b"community";
pub(crate) const META_JOINING: &[u8] = b"joining";
pub(crate) const META_HISTORY: &[u8] = b"history";
pub(crate) const META_FORECASTS: &[u8] = b"forecasts";
pub(crate) const META_TRUST: &[u8] = b"trust";
pub(crate) const META_DONOR: &[u8] = b"donor";
/// With the draft's number, highest byte first.
const META_DRAFT: &[u8] = b"draft/";

impl Node {
    /// A node that knows nothing yet.
    pub fn new(config: Config, now: Now) -> Self {
        Self {
            me: config.device.public(),
            now,
            ledger: Ledger::default(),
            peers: BTreeMap::new(),
            tasks: BTreeMap::new(),
            waiting: BTreeSet::new(),
            waiting_by_age: BTreeSet::new(),
            open_ballots: BTreeSet::new(),
            offset: now.wall_ms.wrapping_sub(now.boot_ms),
            paused_until: None,
            out: BTreeSet::new(),
            over: BTreeSet::new(),
            placed_last: None,
            crowd: Crowd::default(),
            regarded_last: None,
            attempts: BTreeMap::new(),
            accounts: crate::accounts::Accounts::default(),
            invites: BTreeMap::new(),
            joining: None,
            trust: None,
            donor: Donor::Taking,
            terms: Terms::default(),
            situation: Situation::default(),
            own_bytes: 0,
            surplus_at: 0,
            shared: Ok(()),
            numbering: Numbering::Settled,
            numbering_until: None,
            claimed: BTreeSet::new(),
            forks: BTreeMap::new(),
            dated_ahead: BTreeMap::new(),
            fetches_begun: 0,
            stale_grants: BTreeMap::new(),
            refused: BTreeMap::new(),
            went_astray: false,
            turned_away_by: BTreeMap::new(),
            drafts: BTreeMap::new(),
            hearsay: BTreeMap::new(),
            unwitnessed: BTreeMap::new(),
            seeking: Seeking::default(),
            taken: BTreeMap::new(),
            known_until: None,
            history: History::default(),
            forecasts: Forecasts::default(),
            outlook: Outlook::default(),
            expected_for: None,
            reads: config.energy.is_some(),
            energy_at: None,
            ahead_since: None,
            // Ads are compared by serial across restarts.
            ad_serial: now.wall_ms,
            random: Random::new(&config.seed),
            counters: Counters::default(),
            reliable: BTreeMap::new(),
            relied_at: None,
            learnt: BTreeMap::new(),
            misbehaves: None,
            timers: BTreeMap::new(),
            due: BTreeSet::new(),
            outputs: VecDeque::new(),
            config,
        }
    }

    /// Takes a kept value. What cannot be read is left out with a warning: a later version may have written it.
    pub fn restore_value(&mut self, table: Table, key: &[u8], value: &[u8]) {
        let known = match table {
            Table::Meta => self.restore_meta(key, value),
            Table::Tasks => self.restore_task(value),
            Table::Attempts => self.restore_attempt(value),
            Table::Invites => self.restore_invite(value),
            Table::Peers => self.restore_peer(value),
        };
        if known.is_none() {
            tracing::warn!(?table, "a kept value could not be read and was left out");
        }
    }

    fn restore_meta(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            META_COMMUNITY => self.ledger.expect(canonical::decode(value).ok()?),
            META_JOINING => self.restore_joining(value)?,
            META_HISTORY => self.history = canonical::decode(value).ok()?,
            META_FORECASTS => self.forecasts = canonical::decode(value).ok()?,
            META_TRUST => self.trust = canonical::decode(value).ok()?,
            META_DONOR => self.donor = canonical::decode(value).ok()?,
            _ => {
                if let Some(number) = key.strip_prefix(META_DRAFT) {
                    let number = u64::from_be_bytes(number.try_into().ok()?);
                    self.drafts.insert(number, canonical::decode(value).ok()?);
                } else {
                    self.restore_accounts(key, value)?;
                }
            }
        }
        Some(())
    }

    /// Takes a kept entry. Its signature was verified before it was kept.
    pub fn restore_entry(&mut self, bytes: &[u8]) {
        match Entry::trusted(bytes) {
            Ok(entry) => self.ledger.restore(&entry),
            Err(error) => tracing::warn!(%error, "a kept entry could not be read and was left out"),
        }
    }

    /// Takes over what another peer knows of the ledger, in place of all its entries: a thousand peers in one process
    /// need not fold the same entries a thousand times, and share what is most of them.
    pub fn restore_ledger(&mut self, ledger: Ledger) {
        self.ledger = ledger;
    }

    /// Begins, once all is restored. `unclean`: the last run did not end in order, so the end of this device's log may
    /// be lost.
    pub fn start(&mut self, now: Now, unclean: bool) {
        self.now = now;
        self.ledger.restored(&self.me);
        self.unwitnessed = self.ledger.unseen_by(&self.me);
        self.adopt_rules();
        self.known_until = (self.ledger.count() > 0).then(|| self.ledger.clock().wall_ms());
        if let Some(community) = self.ledger.community() {
            self.outputs.push_back(Output::Belongs(community));
        }
        self.start_numbering(unclean);
        self.start_meeting();
        self.regard_energy();
        self.start_accounts();
        self.start_attempts();
        self.start_tasks();
        self.say_drafts();
        if let Donor::Paused(Some(until)) = self.donor {
            self.arm(Timer::Donor, self.boot_of(until));
        }
        let first = self.random.below(1000);
        self.arm_in(Timer::Compare, first);
        // Where all start at once, they do not all witness at once.
        let first = self.random.below(crate::compare::WITNESS_EVERY_MS);
        self.arm_in(Timer::Witness, first);
    }

    /// Something happens.
    pub fn handle(&mut self, now: Now, input: Input) {
        let slept = now.boot_ms.saturating_sub(self.now.boot_ms);
        self.now = Now { boot_ms: now.boot_ms.max(self.now.boot_ms), wall_ms: now.wall_ms };
        self.woke(slept);
        self.owner_woke(slept);
        self.look_at_the_clock();
        match input {
            Input::Connected { peer, addr } => self.connected(peer, addr),
            Input::Disconnected { peer } => self.disconnected(peer),
            Input::Unreachable { peer, why } => self.unreachable(peer, &why),
            Input::Hello(peer, frame) => self.heard_hello(peer, frame),
            Input::Gossip(peer, entry) => {
                if self.is_member(&peer) {
                    self.take(*entry, Some(peer));
                } else {
                    self.counters.strangers += 1;
                }
            }
            Input::Sync(peer, received) => self.heard_sync(peer, received),
            Input::Task(peer, attempt, frame) => self.heard_task(peer, attempt, frame),
            Input::Command(id, command) => self.command(id, *command),
            Input::Run(attempt, event) => self.ran(attempt, event),
            Input::Fetched(number, attempt, hash, result) => self.fetched(number, attempt, hash, result),
            Input::Stored(entry) => self.looked_up(&entry),
            Input::Energy(reading, at_ms) => {
                self.energy_read(reading.map(|reading| *reading), at_ms);
            }
            Input::Forecast(forecast) => {
                self.forecast_is(forecast);
                self.advertise_soon();
                self.place_soon();
                self.regard_soon();
            }
            Input::Capacity(capacity) => {
                self.config.capacity = capacity;
                self.advertise_soon();
                self.place_soon();
            }
            Input::SlotWatts(watts) => self.slot_draws(watts),
            Input::Accepts(names) => self.config.accepts = names,
            Input::Terms(terms) => {
                self.terms = *terms;
                self.regard_donor();
            }
            Input::Addrs(addrs) => self.moved(addrs),
            Input::Kept(bytes) => self.own_bytes = bytes,
            Input::Situation(situation) => {
                self.situation_is(situation);
            }
            Input::Hook(attempt, says) => self.hook_said(attempt, says),
            Input::Wake => {}
        }
        self.fire();
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The moment (of [`Now::boot_ms`]) at which something is due.
    pub fn deadline(&self) -> Option<u64> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The community, once it is settled.
    pub fn community(&self) -> Option<CommunityId> {
        self.ledger.community()
    }

    /// The ledger.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The ends of all logs that count.
    pub fn logs(&self) -> Vec<Tip> {
        self.ledger.tips().collect()
    }

    /// This device's energy.
    pub fn energy(&self) -> Option<EnergyClaim> {
        self.config.energy
    }

    /// What this device expects of its energy.
    pub fn outlook(&self) -> &Outlook {
        &self.outlook
    }

    /// What was refused or dropped.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many entries of the author of one that was spread are passed on in an hour; none if this one is not: what no
    /// member's device wrote, what stands in another's place, and what was here already for longer than it takes to go
    /// round. The ledger judges what it takes only after it went on to others.
    // spec: NET-4, LED-4
    pub fn passes_on(&self, entry: &Entry) -> Option<u64> {
        let header = entry.header();
        let rules = self.ledger.governance().rules();
        if Some(header.community) != self.community() || !self.is_member(&header.author) {
            return None;
        }
        if self.ledger.has(&entry.tip()) {
            let round = rules.max_skew_ms.saturating_add(SPREADS_WITHIN_MS);
            let goes_round = header.hlc.wall_ms().saturating_add(round) >= self.now.wall_ms;
            return goes_round.then_some(u64::MAX);
        }
        let limit = u64::from(rules.entries_per_hour);
        let most = if limit == 0 { u64::MAX } else { limit };
        (header.seq >= self.ledger.len(&header.author)).then_some(most)
    }

    pub(crate) fn is_member(&self, peer: &PublicKey) -> bool {
        self.ledger.governance().owner(peer).is_some()
    }

    /// The owner of this device, once they are a member.
    pub(crate) fn my_user(&self) -> Option<UserKey> {
        self.ledger.governance().owner(&self.me)
    }

    // ---- time ----

    /// The wall clock was set: what waits for a date waits for another moment now. A device that starts before it is told
    /// the time would else close its ballots hours late.
    fn look_at_the_clock(&mut self) {
        let offset = self.now.wall_ms.wrapping_sub(self.now.boot_ms);
        if offset.wrapping_sub(self.offset).min(self.offset.wrapping_sub(offset)) <= CLOCK_SET_MS {
            return;
        }
        self.offset = offset;
        // Also of what runs already: its members' word is said when its ballot closes.
        let mut ballots: BTreeSet<TaskId> = self.open_ballots.iter().copied().chain(self.running()).collect();
        let close = |timer: &Timer| if let Timer::Ballot(task) = timer { Some(*task) } else { None };
        ballots.extend(self.timers.keys().filter_map(close));
        for ballot in ballots {
            self.requeue(ballot);
        }
        // Whoever had a result to show could not know that it was late.
        self.grant_groups();
        if self.timers.contains_key(&Timer::Rules) {
            self.arm_in(Timer::Rules, 0);
        }
        self.reckon_pause();
        // What is due by a date may run on other energy than what is not.
        self.regard_attempts();
        self.place_soon();
        self.regard_soon();
    }

    /// The moment of the boot clock at which the wall clock will show `wall_ms`.
    pub(crate) fn boot_of(&self, wall_ms: u64) -> u64 {
        self.now.boot_ms + wall_ms.saturating_sub(self.now.wall_ms)
    }

    pub(crate) fn arm(&mut self, timer: Timer, at: u64) {
        if let Some(before) = self.timers.insert(timer, at) {
            self.due.remove(&(before, timer));
        }
        self.due.insert((at, timer));
    }

    pub(crate) fn arm_in(&mut self, timer: Timer, ms: u64) {
        self.arm(timer, self.now.boot_ms.saturating_add(ms));
    }

    /// Is it due within so many milliseconds?
    pub(crate) fn is_due_within(&self, timer: Timer, ms: u64) -> bool {
        let at = self.now.boot_ms.saturating_add(ms);
        self.timers.get(&timer).is_some_and(|due| *due <= at)
    }

    /// Like [`Self::arm_in`], unless it is due earlier already.
    pub(crate) fn arm_within(&mut self, timer: Timer, ms: u64) {
        if !self.is_due_within(timer, ms) {
            self.arm_in(timer, ms);
        }
    }

    pub(crate) fn disarm(&mut self, timer: Timer) {
        if let Some(at) = self.timers.remove(&timer) {
            self.due.remove(&(at, timer));
        }
    }

    // spec: NET-4
    fn fire(&mut self) {
        let mut fired: BTreeMap<Timer, u32> = BTreeMap::new();
        while let Some(&(at, timer)) = self.due.first() {
            if at > self.now.boot_ms {
                break;
            }
            self.disarm(timer);
            let times = fired.entry(timer).or_default();
            *times += 1;
            if *times > MOST_FIRED {
                tracing::warn!(?timer, "something was due again and again, and is put off");
                self.arm_in(timer, PUT_OFF_MS);
                continue;
            }
            match timer {
                Timer::Compare => self.compare_with_somebody(),
                Timer::Advertise => self.advertise(),
                Timer::Witness => self.witness(),
                Timer::Donor => self.resume_donor(),
                Timer::Numbering => self.ask_for_numbering(),
                Timer::Forks => self.look_up_forks(),
                Timer::Rules => self.adopt_rules(),
                Timer::Ballot(task) => self.requeue(task),
                Timer::Place => self.place_waiting(),
                Timer::Hold => self.regard_attempts(),
                Timer::Regard => self.regard_running(),
                Timer::Account(task) => self.account_due(task),
                Timer::Task(task) => self.task_due(task),
                Timer::Fetch(task) => self.fetch_due(task),
                Timer::Group(task) => self.group_due(task),
                Timer::Attempt(attempt) => self.attempt_due(attempt),
            }
        }
        // The hour in which too much was written may be over, or the end of the log be back.
        self.say_drafts();
    }

    // ---- out ----

    pub(crate) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn tell(&mut self, happening: Happening) {
        self.outputs.push_back(Output::Tell(happening));
    }

    pub(crate) fn keep(&mut self, table: Table, key: Vec<u8>, value: &impl Serialize) {
        self.keep_bytes(table, key, canonical::encode(value));
    }

    pub(crate) fn keep_bytes(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.outputs.push_back(Output::Persist(Record::Put { table, key, value }));
    }

    pub(crate) fn drop_kept(&mut self, table: Table, key: Vec<u8>) {
        self.outputs.push_back(Output::Persist(Record::Delete { table, key }));
    }

    pub(crate) fn is_connected(&self, peer: &PublicKey) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.connected)
    }

    pub(crate) fn hello(&mut self, peer: PublicKey, frame: HelloFrame) {
        self.outputs.push_back(Output::Send(peer, Message::Hello(frame)));
    }

    pub(crate) fn sync(&mut self, peer: PublicKey, frame: SyncFrame) {
        self.outputs.push_back(Output::Send(peer, Message::Sync(frame)));
    }

    /// Sends about an attempt. To this very device it comes as if it had travelled.
    pub(crate) fn send_task(&mut self, peer: PublicKey, attempt: AttemptId, frame: TaskFrame) {
        let attempt = self.wired(attempt);
        if peer == self.me {
            self.heard_task(peer, attempt, frame);
        } else if self.is_connected(&peer) {
            self.outputs.push_back(Output::Send(peer, Message::Task(attempt, frame)));
        }
    }

    // ---- the own log ----

    /// May an entry be numbered now?
    // spec: LED-5, NET-4
    pub(crate) fn can_say(&self) -> bool {
        self.silent().is_none()
    }

    /// Why no entry can be numbered now, if none can.
    // spec: LED-5, NET-4, DEL-9
    pub(crate) fn silent(&self) -> Option<Silent> {
        if self.is_astray() && self.joining.is_none() {
            return Some(Silent::Astray);
        }
        if let Numbering::Asking(answered) = &self.numbering {
            return Some(Silent::Asking(answered.len()));
        }
        if self.my_user().is_none() {
            return Some(Silent::NoMember);
        }
        if !self.ledger.is_whole(&self.me) {
            return Some(Silent::EndLost);
        }
        (self.entries_left() == 0).then_some(Silent::Spent)
    }

    /// Entries that others still take of this device in this hour.
    pub(crate) fn entries_left(&self) -> u64 {
        let limit = u64::from(self.ledger.governance().rules().entries_per_hour);
        if limit == 0 {
            return u64::MAX;
        }
        self.ledger.room_in_hour(&self.me, self.now.wall_ms, limit)
    }

    /// May others make it say something? Nobody's talk may use up what this device itself may say: half of that is its own.
    // spec: NET-4
    pub(crate) fn has_words_for_others(&self) -> bool {
        let half = u64::from(self.ledger.governance().rules().entries_per_hour) / 2;
        self.entries_left() > half
    }

    /// Writes an entry, or keeps it as a draft while it cannot be numbered.
    // spec: LED-5, DEL-14
    pub(crate) fn say(&mut self, payload: Payload, about: &[Tip]) -> Option<Tip> {
        if !self.can_say() {
            let of_others = matches!(payload, Payload::Forked(_) | Payload::Witnessed { .. });
            let most = if of_others { MAX_DRAFTS_OF_OTHERS } else { MAX_DRAFTS };
            if self.drafts.len() < most {
                let number = self.drafts.last_key_value().map_or(0, |(last, _)| last + 1);
                // A start says these anew.
                let passing = matches!(
                    payload,
                    Payload::PeerRegistered(_)
                        | Payload::PeerOnline
                        | Payload::PeerOffline
                        | Payload::Witnessed { .. }
                );
                let draft = (payload, about.to_vec());
                if !passing {
                    self.keep(Table::Meta, draft_key(number), &draft);
                }
                self.drafts.insert(number, draft);
            }
            return None;
        }
        if self.is_on_record(&payload) {
            return None;
        }
        self.write(payload, about).ok()
    }

    /// Is a result on record already? A device that lost the end of what it kept comes to it once more, when others have
    /// brought back the end of its log. And a fork that somebody else has proven meanwhile, there or before, is not proven
    /// again; nor is a key revoked that is.
    // spec: DEL-4, DEL-11, LED-5
    fn is_on_record(&self, payload: &Payload) -> bool {
        match payload {
            Payload::Completed(it) => {
                let key = (self.me, it.statement.task);
                self.ledger.facts().tasks().result(&key, it.statement.attempt).is_some()
            }
            Payload::Forked(_) | Payload::KeyRevoked(_) => !self.ledger.is_news(payload),
            _ => false,
        }
    }

    /// Writes an entry, unless others would not take it.
    pub(crate) fn write(
        &mut self,
        payload: Payload,
        about: &[Tip],
    ) -> Result<Tip, crate::command::CommandError> {
        let kind = payload.kind_name();
        let written = self.ledger.write(&self.config.device, self.now.wall_ms, payload, about);
        let entry = written.map_err(|why| {
            tracing::error!(kind, %why, "an entry of this device is one that nobody would take, and was not written");
            let why = match why {
                EntryError::Bounds(why) => why.to_owned(),
                other => other.to_string(),
            };
            error(ErrorKind::Invalid, format!("write the ledger entry `{kind}`: {why}"), None)
        })?;
        let record = Record::Entry {
            author: self.me,
            seq: entry.header().seq,
            own: true,
            bytes: entry.bytes().to_vec(),
        };
        self.output(Output::Persist(record));
        let tip = entry.tip();
        self.tell(Happening::Entry { entry: entry.id(), kind: entry.payload().kind_name() });
        let governs = entry.payload().governs();
        self.said_here(&entry);
        self.output(Output::Spread(Box::new(entry)));
        if governs {
            self.governed();
        }
        Ok(tip)
    }

    /// Says what had to wait.
    pub(crate) fn say_drafts(&mut self) {
        if self.went_astray && self.can_say() {
            self.went_astray = false;
            self.come_online();
        }
        while !self.drafts.is_empty()
            && self.can_say()
            && let Some((number, (payload, about))) = self.drafts.pop_first()
        {
            if !self.is_on_record(&payload) {
                // What cannot be written is left out with a warning.
                let _told = self.write(payload, &about);
            }
            self.drop_kept(Table::Meta, draft_key(number));
        }
    }

    // ---- others' logs ----

    /// May `author` still bring something new? Dates are claims, so entries are counted as they come: as many as the hours
    /// hold since this peer knew of everything, by the rules of each hour, and those of a day beside. More is taken later,
    /// as time goes on; nothing is refused for good, since the log would end there. Of entries about who belongs and by
    /// which rules there may be a fourth as many, since each has all others folded anew.
    // spec: NET-4, LED-10
    pub(crate) fn has_room_for(&self, author: &PublicKey) -> bool {
        let (Some(since), Some(taken)) = (self.known_until, self.taken.get(author)) else { return true };
        let fit = |allowed: u64| taken.all < allowed && taken.governing < allowed.div_ceil(4);
        *author == self.me || self.room_since(since).is_none_or(fit)
    }

    /// Entries that one device may have brought since then; none if there is no limit.
    fn room_since(&self, since_ms: u64) -> Option<u64> {
        let history = self.ledger.rules_history();
        let limits = history.iter().map(|(from, rules)| (*from, rules.entries_per_hour));
        let founding = (0, self.ledger.governance().rules().entries_per_hour);
        most_entries(limits.chain(history.is_empty().then_some(founding)), since_ms, self.now.wall_ms)
    }

    /// Takes an entry from a peer. Says whether it was new.
    pub(crate) fn take(&mut self, entry: Entry, from: Option<PublicKey>) -> bool {
        // A clock far ahead would take everybody's along.
        let ahead = entry.header().hlc.wall_ms().saturating_sub(self.now.wall_ms);
        let rules = self.ledger.governance().rules();
        if ahead > rules.max_skew_ms && self.ledger.count() > 0 {
            self.counters.entries_ignored += 1;
            let author = entry.header().author;
            if self.ledger.governance().device(&author).is_some() {
                self.dated_ahead.insert(author, entry.header().hlc.wall_ms());
            }
            return false;
        }
        if !self.has_room_for(&entry.header().author) {
            self.counters.entries_ignored += 1;
            return false;
        }
        match self.ledger.take(entry) {
            Taken::New(entries) => {
                for entry in &entries {
                    let header = entry.header();
                    self.known_until.get_or_insert_with(|| header.hlc.wall_ms());
                    let taken = self.taken.entry(header.author).or_default();
                    taken.all += 1;
                    taken.governing += u64::from(entry.payload().governs());
                    self.entry_is_new(entry);
                }
                true
            }
            Taken::Known => false,
            Taken::Waits => {
                if let Some(from) = from {
                    self.compare_soon(from);
                }
                false
            }
            Taken::Ignored(why) => {
                self.counters.entries_ignored += 1;
                tracing::debug!(why, "an entry was left out");
                self.suspect_orphans();
                false
            }
            Taken::Fork(author, _) => {
                self.suspect_fork(author, from);
                false
            }
        }
    }

    fn entry_is_new(&mut self, entry: &Entry) {
        let header = entry.header();
        let own = header.author == self.me;
        let record =
            Record::Entry { author: header.author, seq: header.seq, own, bytes: entry.bytes().to_vec() };
        self.output(Output::Persist(record));
        self.tell(Happening::Entry { entry: entry.id(), kind: entry.payload().kind_name() });
        match entry.payload() {
            payload if weighs(payload) => {
                self.unwitnessed.insert(header.author, entry.tip());
                // Ballots may be short, and a vote counts once others have seen it.
                if !matches!(entry.payload(), Payload::TaskSubmitted(_)) && self.has_words_for_others() {
                    self.witness_soon();
                }
            }
            Payload::Granted(grant) if self.my_user() == Some(grant.user) => {
                self.granted_to_me(&header.author, &grant.device);
            }
            Payload::Granted(grant) if grant.device == self.me => self.advertise_soon(),
            Payload::Revoked { .. } => self.permissions_changed(),
            _ => {}
        }
        self.said_here(entry);
        if entry.payload().governs() {
            self.governed();
        }
        self.log_grew(&entry.tip());
    }

    /// Who belongs, or by which rules, may have changed.
    pub(crate) fn governed(&mut self) {
        for (author, seq) in self.ledger.cuts() {
            // This device never forgets what it said, lest it say something else in its place.
            if author != self.me {
                self.output(Output::Persist(Record::Truncate { author, seq }));
            }
        }
        // It may learn so from the proof itself.
        let capped = self.ledger.governance().cap(&self.me).is_some();
        if capped && self.turned_away_by.insert(self.me, JoinRefusal::Device).is_none() {
            self.tell(Happening::Warning { text: self.why_no_more(None) });
        }
        match self.ledger.facts().ballots().proposals().is_empty() {
            true => self.adopt_rules(),
            false => self.count_rules_soon(),
        }
        self.standings_changed();
        self.permissions_changed();
        self.seek_own_end();
        self.suspect_orphans();
    }

    /// Its own end is not here, though its store never lets go of it: those that admitted it were not known at the
    /// start, lost with the power as only others' entries are. Now that they are back, so is what it said.
    // spec: LED-5, LED-8
    pub(crate) fn seek_own_end(&mut self) {
        if self.my_user().is_some() && !self.ledger.is_whole(&self.me) {
            self.output(Output::Read { author: self.me, seq: self.ledger.len(&self.me) });
        }
    }

    pub(crate) fn heard_sync(&mut self, peer: PublicKey, received: SyncReceived) {
        // What this device's owner has at hand may hold the very entries that make it a member again.
        // spec: LED-6, LED-8
        let imported = peer == self.me && self.is_astray();
        if !self.is_member(&peer) && !self.awaits_entries_of(&peer) && !imported {
            self.counters.strangers += 1;
            return;
        }
        match received {
            SyncReceived::Frame(frame) => self.heard_compare(peer, frame),
            SyncReceived::Entries(entries) => self.heard_entries(peer, entries),
        }
    }
}

/// The kinds of error as they are made most.
pub(crate) fn error(
    kind: ErrorKind,
    message: impl Into<String>,
    hint: Option<&str>,
) -> crate::command::CommandError {
    crate::command::CommandError { kind, message: message.into(), hint: hint.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::most_entries;

    // spec: NET-4
    #[test]
    fn what_was_written_under_rules_that_allowed_more_is_taken_by_those_of_its_time() {
        const HOUR: u64 = 3_600_000;
        let room = |limits: &[(u64, u32)], since, now| most_entries(limits.iter().copied(), since, now);
        assert_eq!(room(&[(0, 5)], 0, 0), Some(120), "a day's worth at once");
        assert_eq!(room(&[(0, 5)], 10 * HOUR, 9 * HOUR), Some(120), "a clock that went back");
        assert_eq!(room(&[(0, 5)], 10 * HOUR, 12 * HOUR + HOUR / 2), Some(132));
        let lowered = [(0, 600), (1000 * HOUR, 100)];
        assert_eq!(room(&lowered, 0, 1010 * HOUR), Some(600_000 + 1000 + 14_400), "a newcomer");
        assert_eq!(room(&lowered, 1001 * HOUR, 1010 * HOUR), Some(900 + 2400), "who was there since");
        let freed = [(0, 600), (1000 * HOUR, 0), (1001 * HOUR, 1)];
        assert_eq!(room(&freed, 0, 999 * HOUR), Some(599_400 + 14_400), "not yet");
        assert_eq!(room(&freed, 0, 2000 * HOUR), None);
        assert_eq!(room(&freed, 1002 * HOUR, 1003 * HOUR), Some(25));
    }
}
