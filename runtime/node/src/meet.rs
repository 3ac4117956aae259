//! Who is there: peers that come and go, how somebody gets in, and what each device offers now.

use crate::command::{Answer, ErrorKind, Happening};
use crate::io::{CommandId, Output};
use crate::names;
use crate::node::{META_COMMUNITY, META_JOINING, Node, Numbering, Timer, error};
use mesh_protocol::ad::{Ad, SignedAd};
use mesh_protocol::canonical;
use mesh_protocol::frame::{
    HelloFrame, JoinAnswer, JoinRefusal, MAX_ADDRS, MAX_PEERS, MAX_SOUGHT, PeerAddrs, VERSION,
};
use mesh_protocol::ids::{CommunityId, EntryId};
use mesh_protocol::invite::{DeviceCert, DeviceRequest, JoinRequest, Ticket, TicketKind, consent};
use mesh_protocol::key::{PublicKey, SecretKey, Signature, UserKey};
use mesh_protocol::ledger::{DeviceAdded, Payload, PeerRegistered, Tip, check_new_name};
use mesh_protocol::reason::Reason;
use mesh_protocol::record::Table;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// How long an ad holds.
const AD_HOLDS_MS: u32 = 60_000;
/// How often an ad is told anew: twice while it holds.
const ADVERTISE_EVERY_MS: u64 = 20_000;
/// How long after a change an ad is told, so that several changes make one.
const ADVERTISE_SOON_MS: u64 = 200;
/// Peers dialled at start and as others tell of them. Gossip keeps about five links; a few more survive some losses.
const MAX_DIALLED: usize = 12;
/// So long after its end a ticket is kept by which somebody has asked.
const ASKED_MS: u64 = 7 * 24 * 3_600_000;
/// Peers beside them that are dialled since they let this user's tasks run: a quarter of what a transport holds. They
/// offer themselves, and take tasks, over a connection alone.
const MAX_DONORS: usize = 64;
/// Peers whose addresses are remembered.
const MAX_REMEMBERED: usize = 1024;
/// A peer that was not reached is left alone for this long where others can be tried.
const RETRY_MS: u64 = 600_000;
/// Shortest and longest time between two questions where such peers are: one that is away for weeks costs nothing.
const SEEK_EVERY_MS: (u64, u64) = (5_000, 600_000);
/// Words of where it and others are that a peer may say in a minute; it greets once and tells of each that comes.
const MAX_TOLD: u16 = 120;
/// Told of, and not known as members. 64: far more than come in within the seconds that an entry takes to arrive; told
/// again at the next greeting.
const MAX_HEARSAY: usize = 64;
/// Invites open at once.
const MAX_INVITES: usize = 256;
/// How long others have to say how long this device's log is.
const NUMBERING_MS: u64 = 2_000;
/// How long that is waited for where nothing says that anything was lost.
const CLEAN_ASK_MS: u64 = 5_000;
/// Peers that must have said it, or all that are known, if fewer.
const NUMBERING_PEERS: usize = 2;

/// What is known of a peer beyond the ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    pub(crate) connected: bool,
    pub(crate) member: bool,
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) ad: Option<Heard>,
    /// Slots that this device thinks are free there.
    pub(crate) free_slots: u16,
    pub(crate) heard_at: Option<u64>,
    ads_since: u64,
    ads: u16,
    /// What it told of itself and others in this minute.
    told_since: u64,
    told: u16,
    /// Where it is connected now, if that is an address.
    reached: Option<SocketAddr>,
    pub(crate) compared_at: Option<u64>,
    /// Does this device want to be connected to it?
    dialled: bool,
    /// Asked for a ledger that was lost, though nothing that is left of it makes a member of anybody.
    pub(crate) guide: bool,
    /// When it was dialled in vain.
    unreached_at: Option<u64>,
}

/// When it is asked next where donors are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seeking {
    at: u64,
    wait_ms: u64,
}

/// An ad and when it came.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) ad: Ad,
    pub(crate) at: u64,
}

/// A ticket that was given out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Invite {
    pub(crate) key: PublicKey,
    kind: TicketKind,
    until_ms: u64,
    used_by: Option<PublicKey>,
    /// Whom it let in with that, if that is known. It stands last, see [`Node::restore_invite`].
    used_for: Option<UserKey>,
}

/// A wish to get in.
#[derive(Debug, Clone)]
pub(crate) struct Joining {
    ticket: Ticket,
    command: Option<CommandId>,
    admitted: bool,
    awaits: Awaits,
}

/// What a wish to get in waits for, as far as its sponsor said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Awaits {
    /// An answer.
    Answer,
    /// The word of one more member.
    Vouching,
    /// That its sponsor can write entries again.
    Sponsor,
    /// The ledger in which it is let in.
    Ledger,
}

impl Node {
    pub(crate) fn restore_invite(&mut self, value: &[u8]) -> Option<()> {
        // What was kept before it was known for whom a ticket was used ends without that.
        let invite: Invite =
            canonical::decode(value).or_else(|_| canonical::decode(&[value, &[0]].concat())).ok()?;
        self.invites.insert(invite.key, invite);
        Some(())
    }

    pub(crate) fn restore_peer(&mut self, value: &[u8]) -> Option<()> {
        let known: PeerAddrs = canonical::decode(value).ok()?;
        self.peers.entry(known.peer).or_default().addrs = known.addrs;
        Some(())
    }

    // ---- starting ----

    pub(crate) fn start_meeting(&mut self) {
        let known: Vec<PublicKey> = self.peers.keys().copied().collect();
        for peer in known {
            let member = self.is_member(&peer);
            let Some(entry) = self.peers.get_mut(&peer) else { continue };
            entry.member = member;
        }
        self.went_astray = self.is_astray();
        if self.went_astray {
            tracing::warn!(
                "the ledger in which this device came in is gone: those that it remembers are asked for it"
            );
        }
        match self.joining.as_ref().filter(|_| self.my_user().is_none()).map(|it| it.ticket.clone()) {
            Some(ticket) => self.output(Output::Dial(ticket.sponsor, ticket.addrs)),
            None => _ = self.forget_joining(),
        }
        self.dial_some();
        self.come_online();
    }

    /// A wish to get in that its sponsor has heard: whoever waits for one more may be off for days meanwhile.
    // spec: NET-2
    pub(crate) fn restore_joining(&mut self, value: &[u8]) -> Option<()> {
        // What was kept before it was known what it waits for ends without that.
        let alone = |_| canonical::decode(value).map(|ticket| (ticket, Awaits::Answer));
        let (ticket, awaits) = canonical::decode(value).or_else(alone).ok()?;
        self.joining = Some(Joining { ticket, command: None, admitted: false, awaits });
        Some(())
    }

    /// Its sponsor has heard the wish to get in. Gives who asked for it, if they still wait for an answer.
    fn keep_joining(&mut self, awaits: Awaits) -> Option<(CommandId, String)> {
        let joining = self.joining.as_mut()?;
        joining.awaits = awaits;
        joining.admitted = awaits == Awaits::Ledger;
        let command = if joining.admitted { None } else { joining.command.take() };
        let ticket = joining.ticket.clone();
        self.keep(Table::Meta, META_JOINING.to_vec(), &(&ticket, awaits));
        Some((command?, ticket.name))
    }

    /// What a device waits for that asked to join.
    // spec: NET-2, CLI-5
    pub(crate) fn joining_trouble(&self) -> Option<String> {
        let joining = self.joining.as_ref()?;
        let name = &joining.ticket.name;
        Some(match joining.awaits {
            Awaits::Answer => {
                format!("this device asks to join {name:?}: who made its ticket has not answered yet")
            }
            Awaits::Vouching => format!(
                "this device asked to join {name:?}, where one more member must vouch with `mesh members sponsor {}`",
                self.config.user_name
            ),
            Awaits::Sponsor => {
                format!(
                    "this device asked to join {name:?}: its sponsor cannot let it in yet, and is asked again"
                )
            }
            Awaits::Ledger => {
                format!(
                    "this device was let into {name:?}, and waits for the ledger from who made its ticket"
                )
            }
        })
    }

    fn forget_joining(&mut self) -> Option<Joining> {
        let joining = self.joining.take()?;
        self.drop_kept(Table::Meta, META_JOINING.to_vec());
        Some(joining)
    }

    /// Is what made this device a member not here? Others' entries may go with the power, or with a database that does not
    /// open; then the ledger names nobody any more with whom to compare it. Those that were remembered are asked: what
    /// they bring proves itself, and whoever has nothing can tell them nothing.
    // spec: LED-8, NET-5
    pub(crate) fn is_astray(&self) -> bool {
        self.community().is_some() && self.ledger.governance().device(&self.me).is_none()
    }

    /// Is a peer one to be connected to: a member, or one that may be as far as a device knows that went astray?
    fn is_sought(&self, key: &PublicKey, peer: &Peer) -> bool {
        peer.member || self.is_astray() && self.ledger.governance().device(key).is_none()
    }

    pub(crate) fn come_online(&mut self) {
        if self.my_user().is_none() {
            return;
        }
        let mut name = self.config.device_name.clone();
        name.truncate(name.floor_char_boundary(mesh_protocol::ledger::MAX_NAME));
        let registered = PeerRegistered {
            name,
            place: self.config.place,
            profile: self.config.profile,
            walls: self.config.walls.clone(),
            slots: self.config.capacity.slots,
        };
        if self.ledger.facts().registered(&self.me) != Some(&registered) {
            self.say(Payload::PeerRegistered(Box::new(registered)), &[]);
        }
        self.say(Payload::PeerOnline, &[]);
        self.arm_in(Timer::Advertise, ADVERTISE_SOON_MS);
    }

    /// Whose a peer is; where nothing here says that, itself.
    fn whose(&self, peer: &PublicKey) -> Result<UserKey, PublicKey> {
        self.ledger.governance().owner(peer).ok_or(*peer)
    }

    /// Is there a connection to a peer that counts as one, or is one to come? Strangers may connect as they like.
    fn is_linked(&self, key: &PublicKey, peer: &Peer) -> bool {
        let counts = peer.dialled || peer.connected && (peer.member || peer.guide);
        counts && self.is_sought(key, peer)
    }

    /// Dials as many as are wanted. Whom is left to chance, lest all dial the same; those that were not reached come
    /// last. As long as there are fewer users than are wanted, devices of others are dialled, however many of one's
    /// are there: whoever has many would else be all that somebody hears.
    // spec: NET-5, NET-8
    pub(crate) fn dial_some(&mut self) {
        let donors = self.donors();
        let (mut linked, mut there, mut users) = (0, 0, BTreeSet::new());
        let (mut open, mut again) = (Vec::new(), Vec::new());
        for (key, peer) in &self.peers {
            let donor = donors.contains(key);
            if self.is_linked(key, peer) {
                linked += 1;
                users.insert(self.whose(key));
                there += usize::from(donor);
                if !peer.connected {
                    // Where it is may be news.
                    again.push((*key, peer.addrs.clone()));
                }
            } else if self.is_open(key, peer) && *key != self.me {
                open.push((*key, donor, peer.unreached_at));
            }
        }
        for (peer, addrs) in again {
            self.output(Output::Dial(peer, addrs));
        }
        let mut more = MAX_DONORS.saturating_sub(there);
        let mut others = MAX_DIALLED.saturating_sub(linked);
        self.shuffle(&mut open);
        let mut firsts = users.clone();
        let firsts: BTreeSet<PublicKey> =
            open.iter().filter(|(key, ..)| firsts.insert(self.whose(key))).map(|(key, ..)| *key).collect();
        open.sort_by_key(|(key, donor, unreached)| (!donor, *unreached, !firsts.contains(key)));
        for (peer, donor, _) in open {
            let whose = self.whose(&peer);
            let is_new = users.len() < MAX_DIALLED && !users.contains(&whose);
            if donor && more > 0 {
                more -= 1;
            } else if !is_new && others == 0 {
                continue;
            }
            others = others.saturating_sub(1);
            users.insert(whose);
            let Some(known) = self.peers.get_mut(&peer) else { continue };
            known.dialled = true;
            let addrs = known.addrs.clone();
            self.output(Output::Dial(peer, addrs));
        }
    }

    /// Can a peer be dialled that is not yet?
    fn is_open(&self, key: &PublicKey, peer: &Peer) -> bool {
        !peer.connected && !peer.dialled && self.is_sought(key, peer) && !peer.addrs.is_empty()
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            let with = self.random.below(at as u64 + 1);
            list.swap(at, usize::try_from(with).unwrap_or(at));
        }
    }

    /// Devices of others that let this user's tasks run.
    fn donors(&self) -> BTreeSet<PublicKey> {
        let governance = self.ledger.governance();
        let Some(me) = self.my_user() else { return BTreeSet::new() };
        let grants = self.ledger.facts().grants().iter();
        let mine = grants.filter(|(id, fact)| {
            governance.current(fact.grant.user) == me
                && fact.grant.device != self.me
                && fact.grant.until_ms.is_none_or(|until| until > self.now.wall_ms)
                && self.is_by_owner(&fact.author, &fact.grant.device)
                && !self.is_revoked(id, &fact.grant.device)
        });
        mine.map(|(_, fact)| fact.grant.device).collect()
    }

    pub(crate) fn has_donors(&self) -> bool {
        !self.donors().is_empty()
    }

    /// Anybody can write a grant for anybody's device; who takes it for a donor would dial it before all others.
    // spec: PERM-1, NET-8
    pub(crate) fn is_by_owner(&self, author: &PublicKey, device: &PublicKey) -> bool {
        let governance = self.ledger.governance();
        let owner = governance.owner(device);
        owner.is_some() && governance.device(author).map(|it| it.user) == owner
    }

    pub(crate) fn is_revoked(&self, grant: &EntryId, device: &PublicKey) -> bool {
        let governance = self.ledger.governance();
        let owner = governance.owner(device);
        let mut by = self.ledger.facts().revoked_by(grant);
        by.any(|by| governance.device(by).is_some_and(|device| Some(device.user) == owner))
    }

    /// Somebody lets this user's tasks run.
    pub(crate) fn granted_to_me(&mut self, author: &PublicKey, device: &PublicKey) {
        if !self.is_by_owner(author, device) {
            return;
        }
        self.place_soon();
        self.seek_soon();
        let open = |peer: &Peer| !peer.connected && !peer.dialled && !peer.addrs.is_empty();
        if self.peers.get(device).is_some_and(open) {
            self.dial_some();
        }
    }

    /// Asks somebody where those are that let this user's tasks run, if it is not known.
    // spec: NET-5, NET-8
    pub(crate) fn seek_donors(&mut self, asked: PublicKey) {
        let now = self.now.boot_ms;
        if now < self.seeking.at {
            return;
        }
        let known = |peer: &PublicKey| self.peers.get(peer).is_some_and(|it| !it.addrs.is_empty());
        let mut lost: Vec<PublicKey> = self.donors().into_iter().filter(|peer| !known(peer)).collect();
        let wait = self.seeking.wait_ms.saturating_mul(2).clamp(SEEK_EVERY_MS.0, SEEK_EVERY_MS.1);
        self.seeking = Seeking { at: now + SEEK_EVERY_MS.0, wait_ms: 0 };
        if lost.is_empty() {
            return;
        }
        self.seeking = Seeking { at: now + wait, wait_ms: wait };
        self.shuffle(&mut lost);
        lost.truncate(MAX_SOUGHT);
        self.hello(asked, HelloFrame::Seek(lost));
    }

    /// Somebody new may be there to be asked, or to be asked for.
    pub(crate) fn seek_soon(&mut self) {
        self.seeking = Seeking::default();
    }

    // ---- coming and going ----

    pub(crate) fn connected(&mut self, peer: PublicKey, addr: SocketAddr) {
        let member = self.is_member(&peer);
        let now = self.now.boot_ms;
        let unknown = self.is_astray() && self.ledger.governance().device(&peer).is_none();
        let entry = self.peers.entry(peer).or_default();
        entry.guide = unknown && !entry.addrs.is_empty();
        let guide = entry.guide;
        entry.connected = true;
        entry.reached = Some(addr);
        entry.unreached_at = None;
        entry.member = member;
        entry.heard_at = Some(now);
        entry.compared_at = None;
        let sponsor =
            self.joining.as_ref().filter(|joining| joining.ticket.sponsor == peer && !joining.admitted);
        if let Some(request) = sponsor.map(|joining| joining.ticket.clone()) {
            self.ask_to_join(peer, &request);
        }
        if member {
            if self.remember(peer, vec![addr], false) {
                self.introduce(peer);
            }
            self.greet(peer);
        } else if guide {
            self.output(Output::Standing(peer, true));
            self.compare_with(peer);
        } else if self.ledger.governance().device(&peer).is_some() {
            self.turn_away(peer);
        }
    }

    /// A device that counts no more would not find out: nobody tells it anything else.
    // spec: LED-5
    fn turn_away(&mut self, peer: PublicKey) {
        let governance = self.ledger.governance();
        let user = governance.device(&peer).map(|device| device.user);
        let member = user.and_then(|user| governance.members().get(&user));
        let refusal = match member.is_some_and(|member| member.is_expelled()) {
            true => JoinRefusal::Expelled,
            false => JoinRefusal::Device,
        };
        self.hello(peer, HelloFrame::JoinAnswer(JoinAnswer::Refused(refusal)));
    }

    /// A member says that this device counts no more. It is their word alone, so it is told and nothing follows.
    fn turned_away(&mut self, by: PublicKey, refusal: JoinRefusal) {
        if !self.is_member(&by) || self.joining.is_some() {
            return;
        }
        if self.turned_away_by.is_empty() {
            self.tell(Happening::Warning { text: self.why_no_more(Some(refusal)) });
        }
        self.turned_away_by.insert(by, refusal);
    }

    /// What a member is told first.
    fn greet(&mut self, peer: PublicKey) {
        self.output(Output::Standing(peer, true));
        self.say_where(peer);
        if matches!(self.numbering, Numbering::Asking(_)) {
            self.hello(peer, HelloFrame::TipQuery);
        }
        let mut others: Vec<PublicKey> = self
            .peers
            .iter()
            .filter(|(key, other)| **key != peer && other.member && !other.addrs.is_empty())
            .map(|(key, _)| *key)
            .collect();
        // Everybody tells of others, so that whoever hears several knows of many.
        self.shuffle(&mut others);
        others.truncate(MAX_PEERS);
        self.tell_peers(peer, &others);
        self.compare_with(peer);
        self.advertise_to(peer);
        self.tell(Happening::Peer { device: peer, connected: true });
        self.attempts_reconnected(peer);
        self.tasks_reconnected(peer);
    }

    fn say_where(&mut self, peer: PublicKey) {
        let community = self.community().unwrap_or(CommunityId::ZERO);
        let addrs = self.config.addrs.iter().take(MAX_ADDRS).copied().collect();
        self.hello(peer, HelloFrame::Hello { version: VERSION, community, addrs });
    }

    /// This device is reached elsewhere now: those who are still there hear of it.
    // spec: NET-5
    pub(crate) fn moved(&mut self, addrs: Vec<SocketAddr>) {
        if self.config.addrs == addrs {
            return;
        }
        self.config.addrs = addrs;
        let there = self.peers.iter().filter(|(_, peer)| peer.connected && peer.member);
        let there: Vec<PublicKey> = there.map(|(key, _)| *key).collect();
        for peer in there {
            self.say_where(peer);
        }
    }

    /// Tells a peer where others are, as far as that is known.
    fn tell_peers(&mut self, peer: PublicKey, others: &[PublicKey]) {
        let known = |key: &PublicKey| Some((*key, self.peers.get(key).filter(|it| it.member)?));
        let told: Vec<PeerAddrs> = others
            .iter()
            .filter_map(known)
            .filter(|(_, other)| !other.addrs.is_empty())
            .map(|(peer, other)| PeerAddrs { peer, addrs: other.addrs.clone() })
            .collect();
        if !told.is_empty() {
            self.hello(peer, HelloFrame::Peers(told));
        }
    }

    pub(crate) fn disconnected(&mut self, peer: PublicKey) {
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        entry.connected = false;
        entry.reached = None;
        // What it offered, it offered over this connection.
        entry.ad = None;
        let guide = std::mem::take(&mut entry.guide);
        if entry.member {
            self.tell(Happening::Peer { device: peer, connected: false });
        }
        let known = self.is_member(&peer) || (guide && self.is_astray());
        if !known {
            self.peers.remove(&peer);
        }
        self.tasks_disconnected(peer);
        if let Numbering::Asking(_) = self.numbering {
            self.arm_within(Timer::Numbering, NUMBERING_MS);
        }
    }

    /// Who belongs may have changed: strangers become members and members strangers.
    pub(crate) fn standings_changed(&mut self) {
        self.finish_joining();
        let astray = self.is_astray();
        let connected: Vec<(PublicKey, bool, bool)> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.connected)
            .map(|(key, peer)| (*key, peer.member, peer.guide))
            .collect();
        for (key, was, guide) in connected {
            let is = self.is_member(&key);
            // Whoever guided this device back, and is no member, is a stranger again.
            if was == is && (!guide || astray) {
                continue;
            }
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.member = is;
                peer.guide = false;
            }
            if is {
                self.output(Output::Standing(key, true));
                // Whoever waited for one more sponsor learns it here.
                self.hello(key, HelloFrame::JoinAnswer(JoinAnswer::Admitted(EntryId::ZERO)));
                self.greet(key);
            } else {
                self.turn_away(key);
                self.output(Output::Standing(key, false));
                self.output(Output::Close(key, "not a member any more".into()));
            }
        }
        for (key, peer) in &mut self.peers {
            peer.member = self.ledger.governance().owner(key).is_some();
        }
        // spec: NET-5
        let known: Vec<PublicKey> =
            self.hearsay.keys().copied().filter(|peer| self.is_member(peer)).collect();
        let news = !known.is_empty();
        for peer in known {
            let addrs = self.hearsay.remove(&peer).unwrap_or_default();
            self.remember(peer, addrs, false);
        }
        if news {
            self.dial_some();
        }
    }

    pub(crate) fn heard_hello(&mut self, peer: PublicKey, frame: HelloFrame) {
        let member = self.is_member(&peer);
        // Whoever lets this device in tells of others before the entries are here that make a member of anybody.
        // spec: NET-5
        let lets_in = matches!(frame, HelloFrame::Peers(_)) && self.lets_in(&peer);
        let now = self.now.boot_ms;
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.heard_at = Some(now);
        }
        let tells = matches!(frame, HelloFrame::Hello { .. } | HelloFrame::Peers(_) | HelloFrame::Seek(_));
        if tells && (member || lets_in) && self.tells_too_much(peer) {
            self.counters.hellos_dropped += 1;
            return;
        }
        match frame {
            HelloFrame::Hello { version, community, addrs } => {
                if !member {
                    return;
                }
                if version != VERSION {
                    tracing::warn!(peer = %peer.short(), version, "a peer runs another version of the protocol");
                }
                self.turned_away_by.remove(&peer);
                // A peer knows its own addresses, and not always the one by which others reach it.
                let reached = self.peers.get(&peer).and_then(|known| known.reached);
                let addrs = reached.into_iter().chain(addrs).collect();
                if Some(community) == self.community() && self.remember(peer, addrs, true) {
                    self.introduce(peer);
                }
            }
            HelloFrame::Join(request) => self.asked_to_admit(peer, *request),
            HelloFrame::JoinDevice(request) => self.asked_to_certify(peer, &request),
            HelloFrame::JoinAnswer(answer) => self.join_answered(peer, answer),
            _ if !(member || lets_in) => self.counters.strangers += 1,
            HelloFrame::Ad(ad) => self.heard_ad(peer, *ad),
            HelloFrame::Peers(peers) => self.heard_of(peers),
            HelloFrame::TipQuery => {
                let tip = self.ledger.tip(&peer);
                self.hello(peer, HelloFrame::TipAnswer(tip));
            }
            HelloFrame::TipAnswer(tip) => self.heard_own_tip(peer, tip),
            HelloFrame::Seek(sought) => self.tell_peers(peer, &sought),
        }
    }

    /// Each word of an address may be new, and then it is kept, and passed on to everybody who is connected.
    // spec: NET-4
    fn tells_too_much(&mut self, peer: PublicKey) -> bool {
        let now = self.now.boot_ms;
        let Some(entry) = self.peers.get_mut(&peer) else { return false };
        if now.saturating_sub(entry.told_since) >= 60_000 {
            (entry.told_since, entry.told) = (now, 0);
        }
        entry.told = entry.told.saturating_add(1);
        entry.told > MAX_TOLD
    }

    /// Members are told of, or who will turn out to be.
    fn heard_of(&mut self, peers: Vec<PeerAddrs>) {
        let me = self.me;
        for told in peers.into_iter().filter(|told| told.peer != me) {
            if self.is_member(&told.peer) {
                self.remember(told.peer, told.addrs, false);
            } else {
                self.hearsay.insert(told.peer, told.addrs);
                if self.hearsay.len() > MAX_HEARSAY {
                    self.hearsay.pop_first();
                }
            }
        }
        self.dial_some();
    }

    /// Is this the sponsor by whose ticket this device comes in, or somebody who helps it back?
    fn lets_in(&self, peer: &PublicKey) -> bool {
        self.joining.as_ref().is_some_and(|joining| joining.ticket.sponsor == *peer) || self.is_guide(peer)
    }

    fn is_guide(&self, peer: &PublicKey) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.guide)
    }

    /// Tells the others where a peer says it is, so that two who came in by this one meet.
    // spec: NET-5
    fn introduce(&mut self, peer: PublicKey) {
        let Some(addrs) = self.peers.get(&peer).map(|known| known.addrs.clone()) else { return };
        let told = HelloFrame::Peers(vec![PeerAddrs { peer, addrs }]);
        let there = self.peers.iter().filter(|(key, other)| other.connected && other.member && **key != peer);
        let others: Vec<PublicKey> = there.map(|(key, _)| *key).collect();
        for other in others {
            self.hello(other, told.clone());
        }
    }

    /// Remembers where a peer was reached, over restarts too. `all`: these are all it has. Says whether that is new.
    // spec: NET-5
    fn remember(&mut self, peer: PublicKey, addrs: Vec<SocketAddr>, all: bool) -> bool {
        if self.peers.len() >= MAX_REMEMBERED
            && !self.peers.contains_key(&peer)
            && !(self.donors().contains(&peer) && self.forget_somebody())
        {
            return false;
        }
        let entry = self.peers.entry(peer).or_default();
        entry.member = true;
        let mut merged: Vec<SocketAddr> = Vec::new();
        let before = if all { &[][..] } else { &entry.addrs[..] };
        for addr in addrs.iter().chain(before) {
            // Where nobody listens nobody can be reached.
            if addr.port() != 0
                && !addr.ip().is_unspecified()
                && !merged.contains(addr)
                && merged.len() < MAX_ADDRS
            {
                merged.push(*addr);
            }
        }
        if merged.is_empty() || merged == entry.addrs {
            return false;
        }
        entry.addrs.clone_from(&merged);
        self.keep(Table::Peers, peer.0.to_vec(), &PeerAddrs { peer, addrs: merged });
        true
    }

    /// Makes room for a peer that is needed. Says whether there was anybody who is not.
    fn forget_somebody(&mut self) -> bool {
        let donors = self.donors();
        let unneeded =
            |(key, peer): &(&PublicKey, &Peer)| !peer.connected && !peer.dialled && !donors.contains(*key);
        let mut unneeded: Vec<PublicKey> = self.peers.iter().filter(unneeded).map(|(key, _)| *key).collect();
        self.shuffle(&mut unneeded);
        let Some(gone) = unneeded.first() else { return false };
        self.peers.remove(gone);
        self.drop_kept(Table::Peers, gone.0.to_vec());
        true
    }

    // ---- numbering the own log ----

    pub(crate) fn start_numbering(&mut self, unclean: bool) {
        let others = self.ledger.governance().devices().keys().any(|device| *device != self.me);
        // A log that nobody admitted is there for all that.
        let has_log = self.ledger.len(&self.me) > 0 || !self.ledger.is_whole(&self.me);
        if (others || self.is_astray()) && has_log {
            // Also after a clean end the store may be an old copy of itself. That is rare, so it is asked for, and not
            // waited for longer than a few seconds.
            self.ask_from_now((!unclean).then_some(CLEAN_ASK_MS));
        }
    }

    fn ask_from_now(&mut self, at_most_ms: Option<u64>) {
        self.numbering = Numbering::Asking(BTreeSet::new());
        self.numbering_until = at_most_ms.map(|ms| self.now.boot_ms + ms);
        self.claimed.clear();
        self.arm_in(Timer::Numbering, NUMBERING_MS);
    }

    /// Somebody says that this device had a log before, though its store holds none of it: it came in again with an
    /// old key. A claim alone never stops a device that has its log.
    // spec: LED-5
    pub(crate) fn lost_own_end(&mut self) {
        if self.numbering == Numbering::Settled && self.ledger.len(&self.me) == 0 {
            tracing::warn!("other peers know a log of this device, and its own store holds none");
            self.ask_from_now(Some(CLEAN_ASK_MS));
        }
    }

    /// Asks everybody connected how long this device's log is.
    pub(crate) fn ask_for_numbering(&mut self) {
        let Numbering::Asking(answered) = &self.numbering else { return };
        // How many there are to be asked is not known yet.
        if self.is_astray() {
            return self.arm_in(Timer::Numbering, NUMBERING_MS);
        }
        if self.numbering_until.is_some_and(|until| until <= self.now.boot_ms) {
            return self.numbering_settled();
        }
        // Fewer answers may be needed by now: somebody who was asked is a member no longer.
        if answered.len() >= self.answers_needed() {
            return self.numbering_settled();
        }
        let ask: Vec<PublicKey> = self
            .peers
            .iter()
            .filter(|(key, peer)| peer.connected && peer.member && !answered.contains(key))
            .map(|(key, _)| *key)
            .collect();
        for peer in ask {
            self.hello(peer, HelloFrame::TipQuery);
        }
        self.arm_in(Timer::Numbering, NUMBERING_MS);
    }

    // spec: LED-5
    fn heard_own_tip(&mut self, peer: PublicKey, tip: Option<Tip>) {
        let mine = self.ledger.tip(&self.me);
        if let Some(tip) = tip
            && tip.author == self.me
            && mine.is_none_or(|mine| mine.seq < tip.seq)
        {
            // It knows more of this log than this device: its end was lost, and comes back from there. Whoever says so
            // again without showing the entries has none.
            let from = mine.map_or(0, |mine| mine.seq + 1);
            self.lost_own_end();
            self.want(peer, self.me, from);
            if self.claimed.insert(peer) {
                self.arm_within(Timer::Numbering, NUMBERING_MS);
                return;
            }
        }
        let needed = self.answers_needed();
        let Numbering::Asking(answered) = &mut self.numbering else { return };
        answered.insert(peer);
        if answered.len() >= needed {
            self.numbering_settled();
        }
    }

    /// Two, or all others there are, if fewer.
    fn answers_needed(&self) -> usize {
        let devices = self.ledger.governance().devices().keys();
        let others = devices.filter(|device| **device != self.me && self.is_member(device));
        NUMBERING_PEERS.min(others.count())
    }

    fn numbering_settled(&mut self) {
        self.numbering = Numbering::Settled;
        self.numbering_until = None;
        self.disarm(Timer::Numbering);
        self.say_drafts();
        self.place_soon();
    }

    // ---- getting in ----

    pub(crate) fn found(
        &mut self,
        name: String,
        rules: mesh_protocol::rules::Rules,
    ) -> Result<Answer, crate::command::CommandError> {
        if self.community().is_some() {
            return Err(error(
                ErrorKind::Conflict,
                "found a community: this device belongs to one already",
                Some("use another --home for another community"),
            ));
        }
        let Some(user) = &self.config.user else {
            return Err(error(
                ErrorKind::Forbidden,
                "found a community: this device has no user key",
                Some("run `mesh init` first"),
            ));
        };
        rules.check().map_err(|why| error(ErrorKind::Invalid, format!("found a community: {why}"), None))?;
        let cert = DeviceCert::of(user, CommunityId::ZERO, &self.config.device, 1000, 0);
        let founded = mesh_protocol::ledger::Founded {
            name,
            rules,
            user: UserKey(user.public()),
            user_name: self.config.user_name.clone(),
            recovery: self.config.recovery,
            device_name: self.config.device_name.clone(),
            cert,
        };
        let fresh = [&founded.name, &founded.user_name, &founded.device_name];
        for name in fresh {
            check_new_name(name).map_err(|why| {
                let hint =
                    "run `mesh init` with other names in a new --home, or name the community otherwise";
                error(ErrorKind::Invalid, format!("found a community: the name {name:?}: {why}"), Some(hint))
            })?;
        }
        let payload = Payload::Founded(Box::new(founded));
        payload
            .check()
            .map_err(|why| error(ErrorKind::Invalid, format!("found a community: {why}"), None))?;
        // Whoever waited elsewhere waits there no longer.
        if let Some(joining) = self.forget_joining() {
            let sponsor = joining.ticket.sponsor;
            if let Some(command) = joining.command {
                let gone = error(ErrorKind::Conflict, "join: a community was founded here meanwhile", None);
                self.output(Output::Answer(command, Err(gone)));
            }
            self.output(Output::Close(sponsor, "another community was founded".into()));
        }
        self.write(payload, &[])?;
        let Some(community) = self.community() else {
            return Err(error(ErrorKind::Invalid, "found a community", None));
        };
        self.keep(Table::Meta, META_COMMUNITY.to_vec(), &community);
        self.output(Output::Belongs(community));
        self.come_online();
        Ok(Answer::Founded(community))
    }

    pub(crate) fn invite(
        &mut self,
        kind: TicketKind,
        valid_ms: u64,
        addrs: Vec<SocketAddr>,
    ) -> Result<Answer, crate::command::CommandError> {
        let (Some(community), Some(user)) = (self.community(), self.my_user()) else {
            return Err(self.outside("make a ticket"));
        };
        if kind == TicketKind::Device {
            self.user_key("make a ticket for a device")?;
        }
        let now = self.now.wall_ms;
        let governance = self.ledger.governance();
        // By its ticket whoever still waits for one more sponsor asks again.
        let waits = |by: PublicKey| governance.members().values().any(|member| member.waits_with(&by));
        // Or whoever asked while nothing could be said here.
        let asked =
            |by: PublicKey, until_ms: u64| !self.is_member(&by) && until_ms.saturating_add(ASKED_MS) > now;
        let kept = |it: &Invite| it.used_by.is_some_and(|by| waits(by) || asked(by, it.until_ms));
        let old = self.invites.values().filter(|it| it.until_ms <= now && !kept(it));
        let old: Vec<PublicKey> = old.map(|invite| invite.key).collect();
        for key in old {
            self.invites.remove(&key);
            self.drop_kept(Table::Invites, key.0.to_vec());
        }
        if self.invites.len() >= MAX_INVITES {
            return Err(error(
                ErrorKind::Unavailable,
                format!("make a ticket: {MAX_INVITES} are open"),
                Some("wait until some have expired"),
            ));
        }
        let secret = self.random.bytes();
        let key = SecretKey::from_seed(&secret).public();
        let until_ms = now.saturating_add(valid_ms);
        let invite = Invite { key, kind, until_ms, used_by: None, used_for: None };
        self.keep(Table::Invites, key.0.to_vec(), &invite);
        self.invites.insert(key, invite);
        let name = self.ledger.governance().state().name.clone();
        let addrs = addrs.into_iter().take(MAX_ADDRS).collect();
        let ticket = Ticket { kind, community, name, secret, sponsor: self.me, user, addrs, until_ms };
        Ok(Answer::Ticket(ticket.to_string()))
    }

    pub(crate) fn join(
        &mut self,
        id: CommandId,
        text: &str,
        as_device_of: Option<&str>,
    ) -> Result<Option<Answer>, crate::command::CommandError> {
        let ticket: Ticket = text.parse().map_err(|reason: mesh_protocol::invite::TicketError| {
            error(ErrorKind::Invalid, reason.to_string(), Some("ask the member who made it for a new one"))
        })?;
        if self.community() == Some(ticket.community)
            && self.my_user().is_some()
            && self.is_member(&ticket.sponsor)
        {
            return Ok(Some(self.look_for_sponsor(&ticket)));
        }
        if let Some(community) = self.community()
            && (community != ticket.community || self.my_user().is_some())
        {
            return Err(error(
                ErrorKind::Conflict,
                "join: this device belongs to a community already",
                Some("use another --home for another community"),
            ));
        }
        if ticket.until_ms <= self.now.wall_ms {
            return Err(error(ErrorKind::Invalid, "join: the ticket has expired", Some("ask for a new one")));
        }
        if ticket.addrs.is_empty() {
            return Err(error(
                ErrorKind::Invalid,
                "join: the ticket says nowhere to dial",
                Some("ask for a new one from a peer that can be reached"),
            ));
        }
        if ticket.kind == TicketKind::Member && self.config.user.is_none() {
            return Err(error(
                ErrorKind::Forbidden,
                "join: this device has no user key",
                Some("run `mesh init` first"),
            ));
        }
        if let Some(as_device_of) = as_device_of {
            if ticket.kind != TicketKind::Device || !names::begins(&ticket.user, as_device_of) {
                return Err(error(
                    ErrorKind::Invalid,
                    format!(
                        "join as a device of {as_device_of:?}: the ticket is none for a device of theirs"
                    ),
                    Some(
                        "ask them for a ticket of `mesh device add`, and give at least four digits of their user key",
                    ),
                ));
            }
        } else if ticket.kind == TicketKind::Device
            && self.config.user.as_ref().is_some_and(|user| UserKey(user.public()) != ticket.user)
        {
            // Whoever takes it for an invitation would run everything in another's name, and obey them.
            let whose: String = ticket.user.to_string().chars().take(10).collect();
            return Err(error(
                ErrorKind::Conflict,
                format!(
                    "join: this ticket would make this device one of another user's, whose key begins with {whose}; it \
                     would act in their name, and this home has a user key of its own"
                ),
                Some(&format!(
                    "to become a member yourself, ask for a ticket of `mesh invite`; if it is to be their device, add \
                     --as-device-of {whose}"
                )),
            ));
        }
        let sponsor = ticket.sponsor;
        let addrs = ticket.addrs.clone();
        if let Some(Joining { command: Some(before), .. }) = self.forget_joining() {
            let gone = error(ErrorKind::Conflict, "join: another ticket was given meanwhile", None);
            self.output(Output::Answer(before, Err(gone)));
        }
        self.joining = Some(Joining {
            ticket: ticket.clone(),
            command: Some(id),
            admitted: false,
            awaits: Awaits::Answer,
        });
        if self.is_connected(&sponsor) {
            self.ask_to_join(sponsor, &ticket);
        } else {
            self.output(Output::Dial(sponsor, addrs));
        }
        Ok(None)
    }

    /// Whoever belongs already learns from a ticket where its maker is now: where all have moved while they were off, nobody
    /// would find anybody again.
    // spec: NET-5
    fn look_for_sponsor(&mut self, ticket: &Ticket) -> Answer {
        let sponsor = ticket.sponsor;
        if sponsor != self.me && !self.is_connected(&sponsor) {
            // Nobody signs a ticket's words: what was known of old stays behind them.
            self.remember(sponsor, ticket.addrs.clone(), false);
            if let Some(known) = self.peers.get_mut(&sponsor) {
                known.dialled = true;
                let addrs = known.addrs.clone();
                self.output(Output::Dial(sponsor, addrs));
            }
        }
        Answer::Joined { community: self.ledger.governance().state().name.clone(), pending: false, of: None }
    }

    fn ask_to_join(&mut self, sponsor: PublicKey, ticket: &Ticket) {
        let key = SecretKey::from_seed(&ticket.secret);
        let device_name = self.config.device_name.clone();
        let frame = match (&self.config.user, ticket.kind) {
            (Some(user), TicketKind::Member) => {
                let request = JoinRequest {
                    user: UserKey(user.public()),
                    user_name: self.config.user_name.clone(),
                    recovery: self.config.recovery,
                    device_name,
                    cert: DeviceCert::of(user, ticket.community, &self.config.device, 1000, 0),
                    invite: key.public(),
                    word: Signature([0; 64]),
                    signature: Signature([0; 64]),
                };
                HelloFrame::Join(Box::new(request.sign(user, &key)))
            }
            _ => {
                let word = consent(&self.config.device, &ticket.community, &ticket.user);
                HelloFrame::JoinDevice(Box::new(DeviceRequest::sign(device_name, self.me, word, &key)))
            }
        };
        self.hello(sponsor, frame);
    }

    /// Nobody answers where the ticket says: whoever joins should know, and can try again.
    // spec: CLI-5
    pub(crate) fn unreachable(&mut self, peer: PublicKey, why: &str) {
        self.not_reached(peer);
        let Some(joining) = &mut self.joining else { return };
        if joining.ticket.sponsor != peer || joining.admitted {
            return;
        }
        let Some(command) = joining.command.take() else { return };
        _ = self.forget_joining();
        let hint = "check that the member who made the ticket has `mesh up` running and can be reached from here, then try again";
        let refused = error(
            ErrorKind::Unavailable,
            format!("join: the peer that made the ticket was not reached: {why}"),
            Some(hint),
        );
        self.output(Output::Answer(command, Err(refused)));
        self.output(Output::Close(peer, "not reached".into()));
    }

    /// Where there are others, they are tried instead, of a donor other donors; the last one known is dialled until it is
    /// there.
    // spec: NET-5
    fn not_reached(&mut self, peer: PublicKey) {
        let now = self.now.boot_ms;
        let Some(known) = self.peers.get_mut(&peer).filter(|known| known.dialled && !known.connected) else {
            return;
        };
        known.unreached_at = Some(now);
        let (me, donors) = (self.me, self.donors());
        let linked = self.peers.iter().filter(|(key, other)| **key != peer && self.is_linked(key, other));
        let users: BTreeSet<_> = linked.map(|(key, _)| self.whose(key)).collect();
        let again = users.contains(&self.whose(&peer));
        // Where more donors are known than are dialled at once, those that are not there make way for others. The only
        // device of its user makes way for no further one of somebody who is there.
        let donor = donors.contains(&peer);
        let other = self.peers.iter().any(|(key, other)| {
            let free = self.is_open(key, other) && (!donor || donors.contains(key));
            let wanted = free && *key != me && (again || !users.contains(&self.whose(key)));
            wanted && other.unreached_at.is_none_or(|at| now.saturating_sub(at) >= RETRY_MS)
        });
        if !other {
            return;
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            known.dialled = false;
        }
        self.output(Output::Close(peer, "another is dialled".into()));
        self.dial_some();
    }

    /// Is this the sponsor from whom the first entries come, or somebody who may bring them back?
    pub(crate) fn awaits_entries_of(&self, peer: &PublicKey) -> bool {
        self.joining.as_ref().is_some_and(|joining| joining.admitted && joining.ticket.sponsor == *peer)
            || self.is_guide(peer)
    }

    fn join_answered(&mut self, peer: PublicKey, answer: JoinAnswer) {
        if let JoinAnswer::Refused(refusal @ (JoinRefusal::Device | JoinRefusal::Expelled)) = answer {
            self.turned_away(peer, refusal);
        }
        let Some(joining) = &mut self.joining else { return };
        if joining.ticket.sponsor != peer || joining.admitted {
            return;
        }
        match answer {
            JoinAnswer::Admitted(_) | JoinAnswer::Device(_) => {
                self.ledger.expect(joining.ticket.community);
                _ = self.keep_joining(Awaits::Ledger);
                self.output(Output::Standing(peer, true));
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.member = true;
                }
                self.compare_with(peer);
            }
            JoinAnswer::Pending | JoinAnswer::NotYet => {
                let vouching = answer == JoinAnswer::Pending && joining.ticket.kind == TicketKind::Member;
                let awaits = if vouching { Awaits::Vouching } else { Awaits::Sponsor };
                if let Some((command, community)) = self.keep_joining(awaits) {
                    let pending = Answer::Joined { community, pending: true, of: None };
                    self.output(Output::Answer(command, Ok(pending)));
                }
            }
            JoinAnswer::Refused(refusal) => {
                let (command, community) = (joining.command.take(), joining.ticket.name.clone());
                _ = self.forget_joining();
                if let Some(command) = command {
                    let refused = error(ErrorKind::Forbidden, format!("join: {refusal}"), None);
                    self.output(Output::Answer(command, Err(refused)));
                }
                self.tell(Happening::Joined { community, refused: Some(refusal.to_string()) });
                self.output(Output::Close(peer, "not admitted".into()));
            }
        }
    }

    /// Ends the wish to get in once this device's owner is a member here.
    fn finish_joining(&mut self) {
        if self.my_user().is_none() {
            return;
        }
        let Some(joining) = self.forget_joining() else { return };
        let community = joining.ticket.name.clone();
        self.keep(Table::Meta, META_COMMUNITY.to_vec(), &joining.ticket.community);
        self.output(Output::Belongs(joining.ticket.community));
        if let Some(command) = joining.command {
            let device = joining.ticket.kind == TicketKind::Device;
            let of = self.my_user().filter(|_| device).map(|user| self.user_shown(&user));
            let joined = Answer::Joined { community: community.clone(), pending: false, of };
            self.output(Output::Answer(command, Ok(joined)));
        }
        self.tell(Happening::Joined { community, refused: None });
        let sponsor = joining.ticket.sponsor;
        if let Some(peer) = self.peers.get_mut(&sponsor) {
            // Greeted as a member below.
            peer.member = false;
        }
        self.remember_later(sponsor, joining.ticket.addrs);
        self.come_online();
    }

    fn remember_later(&mut self, peer: PublicKey, addrs: Vec<SocketAddr>) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.addrs.clone_from(&addrs);
        }
        self.keep(Table::Peers, peer.0.to_vec(), &PeerAddrs { peer, addrs });
    }

    fn check_ticket(
        &mut self,
        invite: &PublicKey,
        kind: TicketKind,
        device: PublicKey,
        user: Option<UserKey>,
    ) -> Result<(), JoinRefusal> {
        let now = self.now.wall_ms;
        // Whose ledger was lost may have it again.
        if self.my_user().is_none() && !self.is_astray() {
            return Err(JoinRefusal::NotEntitled);
        }
        let known = self.invites.get(invite).filter(|invite| invite.kind == kind);
        let known = known.ok_or(JoinRefusal::UnknownTicket)?;
        match known.used_by {
            Some(used) if used != device => Err(JoinRefusal::Used),
            // Each new key of whoever has it would be an entry in this device's log.
            // spec: NET-2, NET-4
            Some(_) if known.used_for.is_some() && known.used_for != user => Err(JoinRefusal::Used),
            None if known.until_ms <= now => Err(JoinRefusal::Expired),
            _ => Ok(()),
        }
    }

    fn use_ticket(&mut self, invite: PublicKey, device: PublicKey, user: Option<UserKey>) {
        if let Some(known) = self.invites.get_mut(&invite) {
            (known.used_by, known.used_for) = (Some(device), user);
            let known = known.clone();
            self.keep(Table::Invites, invite.0.to_vec(), &known);
        }
    }

    // spec: NET-2
    fn asked_to_admit(&mut self, peer: PublicKey, request: JoinRequest) {
        let answer = self.admit(peer, request).unwrap_or_else(|refusal| {
            self.counters.joins_refused += 1;
            JoinAnswer::Refused(refusal)
        });
        self.hello(peer, HelloFrame::JoinAnswer(answer));
    }

    fn admit(&mut self, peer: PublicKey, request: JoinRequest) -> Result<JoinAnswer, JoinRefusal> {
        let community = self.community().ok_or(JoinRefusal::UnknownTicket)?;
        // Before its signatures: strangers may ask as often as they like, and looking costs nothing.
        self.check_ticket(&request.invite, TicketKind::Member, peer, Some(request.user))?;
        if request.cert.device != peer || !request.verify(&community) {
            return Err(JoinRefusal::Invalid);
        }
        if Payload::Admitted(Box::new(request.clone())).check().is_err() {
            return Err(JoinRefusal::Invalid);
        }
        let user = request.user;
        let governance = self.ledger.governance();
        let known = governance.members().get(&user);
        if known.is_some_and(|member| member.is_expelled()) {
            return Err(JoinRefusal::Expelled);
        }
        // Whoever replaced a key does not come in a second time by the old one, and it would be said in vain.
        if governance.current(user) != user {
            return Err(JoinRefusal::NotEntitled);
        }
        let with_it = self.ledger.governance().device(&peer).is_some();
        // Who is in already keeps the name they have.
        let names = (known.is_none().then_some(&request.user_name)).into_iter();
        if names.chain((!with_it).then_some(&request.device_name)).any(|name| check_new_name(name).is_err()) {
            return Err(JoinRefusal::Name);
        }
        let vouched =
            known.is_some_and(|member| self.my_user().is_some_and(|me| member.sponsors.contains(&me)));
        let is_in = self.ledger.governance().member(&user).is_some();
        if is_in && !with_it && !self.ledger.governance().has_room_for_device(&user) {
            return Err(JoinRefusal::NotEntitled);
        }
        // A member who comes with another device has lost the first, or would rather not carry a ticket from it.
        // spec: NET-1, LED-5
        let payload = match (is_in, vouched) {
            (true, _) if !with_it => Some(Payload::DeviceAdded(Box::new(DeviceAdded {
                cert: request.cert.clone(),
                name: request.device_name.clone(),
            }))),
            (false, false) => Some(Payload::Admitted(Box::new(request.clone()))),
            _ => None,
        };
        let mut entry = EntryId::ZERO;
        if let Some(payload) = payload {
            // Whoever asks again, when this can be said, asks by the same ticket.
            self.use_ticket(request.invite, peer, Some(user));
            if !self.can_say() {
                return Ok(JoinAnswer::NotYet);
            }
            entry = self.write(payload, &[]).map_err(|_| JoinRefusal::Invalid)?.id;
        }
        // A key whose log was cut does not come in again by asking.
        if is_in && !self.is_member(&peer) {
            return Err(JoinRefusal::Device);
        }
        match self.ledger.governance().member(&user) {
            Some(_) => Ok(JoinAnswer::Admitted(entry)),
            None => Ok(JoinAnswer::Pending),
        }
    }

    fn asked_to_certify(&mut self, peer: PublicKey, request: &DeviceRequest) {
        let answer = self.certify(peer, request).unwrap_or_else(|refusal| {
            self.counters.joins_refused += 1;
            JoinAnswer::Refused(refusal)
        });
        self.hello(peer, HelloFrame::JoinAnswer(answer));
    }

    // spec: NET-1
    fn certify(&mut self, peer: PublicKey, request: &DeviceRequest) -> Result<JoinAnswer, JoinRefusal> {
        let community = self.community().ok_or(JoinRefusal::UnknownTicket)?;
        self.check_ticket(&request.invite, TicketKind::Device, peer, None)?;
        if request.device != peer || !request.verify() || request.check().is_err() {
            return Err(JoinRefusal::Invalid);
        }
        if self.is_astray() {
            self.use_ticket(request.invite, peer, None);
            return Ok(JoinAnswer::NotYet);
        }
        if self.ledger.governance().device(&peer).is_some_and(|device| Some(device.user) != self.my_user()) {
            return Err(JoinRefusal::Invalid);
        }
        let Ok(user) = self.user_key("certify a device") else { return Err(JoinRefusal::NotEntitled) };
        // By default the first device has the whole quota; a further one has none of its own.
        let cert = DeviceCert::sign(user, community, peer, request.consent, 0, 0);
        if !cert.verify() {
            return Err(JoinRefusal::Invalid);
        }
        let known = self.ledger.governance().device(&peer).is_some();
        if !known && check_new_name(&request.device_name).is_err() {
            return Err(JoinRefusal::Name);
        }
        if !known && !self.ledger.governance().has_room_for_device(&cert.user) {
            return Err(JoinRefusal::NotEntitled);
        }
        if !known {
            self.use_ticket(request.invite, peer, None);
        }
        if !self.can_say() {
            return Ok(JoinAnswer::NotYet);
        }
        if !known {
            let added = DeviceAdded { cert: cert.clone(), name: request.device_name.clone() };
            self.say(Payload::DeviceAdded(Box::new(added)), &[]);
        }
        Ok(JoinAnswer::Device(Box::new(cert)))
    }

    // ---- ads ----

    pub(crate) fn advertise_soon(&mut self) {
        self.arm_within(Timer::Advertise, ADVERTISE_SOON_MS);
    }

    pub(crate) fn advertise(&mut self) {
        // Also where nobody is told: what stands in for a reading is another one in each hour.
        self.regard_energy();
        let members: Vec<PublicKey> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.connected && peer.member)
            .map(|(key, _)| *key)
            .collect();
        for peer in members {
            self.advertise_to(peer);
        }
        self.arm_in(Timer::Advertise, ADVERTISE_EVERY_MS);
    }

    /// Tells a peer what this device offers, if its owner's tasks may run here.
    // spec: NET-8
    fn advertise_to(&mut self, peer: PublicKey) {
        let Some(user) = self.ledger.governance().owner(&peer) else { return };
        if !self.grants_something(&user) {
            return;
        }
        let ad = self.ad();
        self.hello(peer, HelloFrame::Ad(Box::new(ad.sign(&self.config.device))));
    }

    fn ad(&mut self) -> Ad {
        self.ad_serial += 1;
        self.regard_energy();
        let (free_slots, free_memory) = self.room();
        Ad {
            community: self.community().unwrap_or(CommunityId::ZERO),
            device: self.me,
            serial: self.ad_serial,
            holds_ms: AD_HOLDS_MS,
            energy: self.config.energy,
            outlook: self.outlook.clone(),
            // It takes none while only its own half of the hour is left to say anything of.
            free_slots: if self.shares().is_ok() && self.has_words_for_others() { free_slots } else { 0 },
            free_memory,
            longest_ms: self.config.capacity.longest_ms,
            profile: self.config.profile,
            closed: self.shares().err(),
        }
    }

    // spec: NET-4
    fn heard_ad(&mut self, peer: PublicKey, signed: SignedAd) {
        let most = self.ledger.governance().rules().ads_per_minute;
        let (now, community) = (self.now.boot_ms, self.community());
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        if now.saturating_sub(entry.ads_since) >= 60_000 {
            entry.ads_since = now;
            entry.ads = 0;
        }
        entry.ads = entry.ads.saturating_add(1);
        let old = entry.ad.as_ref().is_some_and(|heard| heard.ad.serial >= signed.ad.serial);
        // A few more than the rule, for those that greet and grants that come at once.
        let many = entry.ads > most.saturating_add(8);
        let ad = &signed.ad;
        if old || many || ad.device != peer || Some(ad.community) != community || !signed.verify() {
            self.counters.ads_dropped += 1;
            return;
        }
        let other = |heard: &Heard| heard.ad.energy != ad.energy || heard.ad.outlook != ad.outlook;
        let news = entry.ad.as_ref().is_none_or(other) || (entry.free_slots == 0 && ad.free_slots > 0);
        entry.free_slots = ad.free_slots;
        let closed = signed.ad.closed.map(Reason::heard_of_device);
        entry.ad = Some(Heard { ad: Ad { closed, ..signed.ad }, at: now });
        self.place_soon();
        if news {
            self.regard_soon();
        }
    }

    /// A peer's ad, while it holds.
    pub(crate) fn ad_of(&self, peer: &PublicKey) -> Option<&Ad> {
        let heard = self.peers.get(peer)?.ad.as_ref()?;
        (self.now.boot_ms <= heard.at + u64::from(heard.ad.holds_ms)).then_some(&heard.ad)
    }

    /// Says goodbye.
    pub(crate) fn go_offline(&mut self) {
        if self.can_say() {
            self.say(Payload::PeerOffline, &[]);
        }
    }
}
