//! What the seed chooses to happen: people's wishes, faults, and the tricks of bad peers. An action names whom it is
//! about by a number that means something only when its time has come; what makes no sense then is skipped and counted.

use super::bugs::Bug;
use super::civic::Civic;
use super::civics::nothing_waits_for_votes_or_energy_at_its_deadline;
use super::model::Ask;
use super::net::{Weather, Who};
use super::peer::{CrashPoint, Role, addr_of, clean, fair};
use super::rng::Rng;
use super::world::{Event, Fault, World};
use mesh_node::{Answer, Command, CommandError, CommandId, Draft, GrantRequest, Input};
use mesh_protocol::ad::{EnergyClaim, Source};
use mesh_protocol::energy::Reading;
use mesh_protocol::ids::{InputHash, ModuleHash, TaskId};
use mesh_protocol::invite::TicketKind;
use mesh_protocol::limits::Limits;
use mesh_protocol::permissions::Permissions;
use mesh_protocol::rules::{Rules, Tier};
use mesh_protocol::task::Sla;

/// How long everybody has to get in before anything goes wrong.
pub(crate) const SETUP_MS: u64 = 30_000;

/// What the seed is like as a whole: not every fault in every run, so that each is also seen alone.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub(crate) peers: usize,
    pub(crate) adversary: Role,
    pub(crate) skew: bool,
    pub(crate) slow_disk: u64,
    pub(crate) bad_runs: u64,
    pub(crate) longest_run: u64,
    pub(crate) chaos_ms: u64,
    pub(crate) power: bool,
    pub(crate) late: bool,
    pub(crate) civic: Option<Civic>,
    /// When it begins, in milliseconds since 1970.
    pub(crate) begins: u64,
    weather: Weather,
    pub(super) actions: Vec<(Kind, u64)>,
    pub(super) many: u64,
}

/// Kinds of action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Submit,
    Cancel,
    VetoOwn,
    VetoHere,
    Grant,
    Revoke,
    Pause,
    Resume,
    Finish,
    Crash,
    CleanRestart,
    Sleep,
    Cut,
    CutOneWay,
    Isolate,
    Disconnect,
    SetClock,
    FillDisk,
    Energy,
    Expel,
    Trick,
    Stranger,
    Storm,
    Vote,
    Contribute,
    MoveZone,
    Propose,
    VoteRules,
    SplitBallot,
    Split,
    Victim,
    Urgency,
    Deadline,
}

/// An action: of which kind, and numbers to choose by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Action {
    pub(crate) kind: Kind,
    pub(crate) who: u64,
    pub(crate) what: u64,
}

/// What is particular about a submission.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish {
    pub(crate) name: Option<&'static str>,
    pub(crate) sla: Option<Sla>,
    /// Milliseconds that it is given beside what it may take.
    pub(crate) within: Option<u64>,
}

impl Profile {
    pub(crate) fn draw(seed: u64, rng: &mut Rng) -> Self {
        use Kind as K;
        const ADVERSARIES: [Role; 7] = [
            Role::Liar,
            Role::Forker,
            Role::Thief,
            Role::Grantless,
            Role::Replayer,
            Role::Mute,
            Role::Copier,
        ];
        let peers = rng.within(3, 7) as usize;
        let adversary =
            if rng.chance(450) { ADVERSARIES[rng.index(ADVERSARIES.len())] } else { Role::Honest };
        // From a stream of its own, so that all other seeds stay what they were.
        let forges = adversary == Role::Liar && Rng::new(seed ^ 0x00f0_96e4_0000_0000).chance(500);
        let adversary = if forges { Role::Forger } else { adversary };
        let always = [(K::Submit, 30), (K::Grant, 12), (K::Cancel, 3)];
        let sometimes = [
            (K::Revoke, 5),
            (K::VetoOwn, 3),
            (K::VetoHere, 3),
            (K::Pause, 3),
            (K::Resume, 3),
            (K::Finish, 1),
            (K::Crash, 12),
            (K::CleanRestart, 3),
            (K::Sleep, 4),
            (K::Cut, 4),
            (K::CutOneWay, 4),
            (K::Isolate, 3),
            (K::Disconnect, 6),
            (K::SetClock, 3),
            (K::FillDisk, 3),
            (K::Energy, 8),
            (K::Expel, 1),
            (K::Stranger, 4),
            (K::Storm, 3),
        ];
        let mut actions = always.to_vec();
        actions.extend(sometimes.into_iter().filter(|_| rng.chance(600)));
        if adversary != Role::Honest {
            actions.push((K::Trick, 30));
        }
        let mut profile = Self {
            peers,
            adversary,
            skew: rng.chance(500),
            slow_disk: if rng.chance(500) { 300 } else { 0 },
            bad_runs: if rng.chance(400) { 150 } else { 0 },
            longest_run: [500, 5_000, 40_000, 90_000][rng.index(4)],
            chaos_ms: rng.within(60_000, 200_000),
            power: rng.chance(300),
            late: rng.chance(300),
            weather: Weather {
                delay: [1, 10, 80][rng.index(3)],
                jitter: [0, 10, 200][rng.index(3)],
                loss: [0, 0, 5, 20][rng.index(4)],
                doubling: [0, 0, 10, 30][rng.index(4)],
            },
            actions,
            many: rng.within(15, 60),
            civic: None,
            begins: super::clock::BEGINS,
        };
        let mut begins = profile.begins;
        profile.civic = Civic::draw(seed, &mut profile, &mut begins);
        profile.begins = begins;
        profile
    }

    /// The community's rules.
    fn rules(&self) -> Rules {
        // As many tasks as the faults want, by whomever.
        let free = Tier { tasks: 0, ..Rules::default().free };
        self.civic.map_or_else(|| Rules { free, ..Rules::default() }, |civic| civic.rules())
    }

    /// How often a waiting task may be passed over.
    pub(crate) fn max_overtaken(&self) -> u32 {
        self.rules().max_overtaken.into()
    }
}

impl World {
    /// A community begins, and everybody is invited.
    pub(crate) fn set_up(&mut self) {
        for who in 0..self.peers.len() {
            self.peers[who].energy = Some(self.usual_energy(who));
            self.at(who as u64, Event::Start(who));
        }
        let late = self.profile.late && self.profile.peers > 3;
        for who in 1..self.profile.peers {
            let at = if late && who + 1 == self.profile.peers {
                SETUP_MS + self.rng.below(self.profile.chaos_ms)
            } else {
                1_000 + who as u64 * 1_500
            };
            self.at(at, Event::Join(who));
        }
    }

    pub(crate) fn found(&mut self) {
        let mut rules = self.profile.rules();
        match self.bug {
            Some(Bug::OneSponsorIsEnough) => rules.sponsors = 1,
            Some(Bug::LetsTasksStarve) => rules.max_overtaken = 1000,
            _ => {}
        }
        self.ask(0, Command::Found { name: "Street".into(), rules: Box::new(rules) }, Ask::Other);
    }

    /// A peer's energy when nothing is the matter: clean enough for all, and in a community that votes not so clean that
    /// nobody need be asked.
    fn usual_energy(&self, who: Who) -> EnergyClaim {
        match self.profile.civic {
            Some(civic) if civic.window_ms > 0 && self.peers[who].role != Role::Nightsun => fair(),
            _ => clean(),
        }
    }

    /// Gets nearer to being a member, one step at a time; whatever fails is tried again.
    pub(crate) fn join(&mut self, who: Who) {
        let user = self.peers[who].user();
        let Some(node) = self.peers[who].node.as_ref() else {
            return self.after(2_000, Event::Join(who));
        };
        if node.ledger().governance().member(&user).is_some() {
            return;
        }
        if node.ledger().governance().members().get(&user).is_some_and(|member| member.is_expelled()) {
            return;
        }
        match self.peers[who].ticket.clone() {
            None => {
                let invite = Command::Invite {
                    kind: TicketKind::Member,
                    valid_ms: 24 * 3_600_000,
                    addrs: vec![addr_of(0)],
                };
                self.ask(0, invite, Ask::Invite(who));
            }
            Some(ticket) => {
                let name = self.peers[who].name.clone();
                for sponsor in 1..self.profile.peers.min(3) {
                    self.ask(sponsor, Command::Sponsor { user: name.clone() }, Ask::Other);
                }
                self.ask(who, Command::Join { ticket, as_device_of: None }, Ask::Join);
            }
        }
        let wait = if self.now < SETUP_MS { 700 } else { 5_000 };
        self.after(wait, Event::Join(who));
    }

    /// Lays out what will happen.
    pub(crate) fn let_loose(&mut self) {
        self.chaos = true;
        self.net.weather = self.profile.weather;
        let kinds = self.profile.actions.clone();
        let total: u64 = kinds.iter().map(|(_, weight)| weight).sum();
        // Something to go wrong with.
        for at in 0..self.profile.peers as u64 {
            for kind in [Kind::Grant, Kind::Grant, Kind::Submit] {
                let action = Action { kind, who: at, what: self.rng.next() };
                let wait = self.rng.below(3_000);
                self.after(wait, Event::Act(action));
            }
        }
        self.prepare_civics();
        self.prepare_forger();
        for _ in 0..self.profile.many {
            let mut at = self.rng.below(total);
            let kind = kinds.iter().find(|(_, weight)| {
                let here = at < *weight;
                at = at.saturating_sub(*weight);
                here
            });
            let Some((kind, _)) = kind else { continue };
            let action = Action { kind: *kind, who: self.rng.next(), what: self.rng.next() };
            let when = self.rng.below(self.profile.chaos_ms);
            self.after(when, Event::Act(action));
        }
    }

    pub(crate) fn skip(&mut self) {
        self.count("action that made no sense");
    }

    pub(crate) fn act(&mut self, action: Action) {
        let Action { kind, who, what } = action;
        // What one action leads to later comes to nothing when everything has healed.
        if !self.chaos {
            return;
        }
        let who = (who % self.profile.peers as u64) as Who;
        let other = (who + 1 + (what % (self.profile.peers as u64 - 1)) as usize) % self.profile.peers;
        let pick = what >> 8;
        match kind {
            Kind::Submit => self.submit(who, pick, &Wish::default()),
            Kind::Cancel => self.about_a_task(who, pick, |task| Command::Cancel { task }),
            Kind::VetoOwn => self.about_a_task(who, pick, |task| Command::Veto { task, why: "no".into() }),
            Kind::VetoHere => {
                let jobs: Vec<_> = self.peers[who].executor.jobs.keys().map(|id| id.task).collect();
                match jobs.get(pick as usize % jobs.len().max(1)) {
                    Some(task) => {
                        let veto = Command::Veto { task: task.to_string(), why: "mine".into() };
                        self.count("veto by a donor");
                        self.ask(who, veto, Ask::Other);
                    }
                    None => self.skip(),
                }
            }
            Kind::Grant => {
                let wall = self.peers[who].clock.at(self.now).wall_ms;
                let until_ms = pick.is_multiple_of(4).then(|| wall + 5_000 + pick % 60_000);
                let task = if pick.is_multiple_of(5) { "word-*" } else { "*" };
                let request = GrantRequest {
                    user: self.peers[other].name.clone(),
                    device: None,
                    task: task.into(),
                    module: None,
                    until_ms,
                    permissions: None,
                };
                self.count(if until_ms.is_some() { "grant that ends" } else { "grant" });
                self.ask(who, Command::Grant(request), Ask::Other);
            }
            Kind::Revoke => {
                let grants: Vec<String> = self.model.words.get(&who).map_or_else(Vec::new, |word| {
                    word.grants
                        .keys()
                        .filter(|id| !word.revoked.contains(id))
                        .map(ToString::to_string)
                        .collect()
                });
                match grants.get(pick as usize % grants.len().max(1)) {
                    Some(grant) => {
                        self.count("revoke");
                        self.ask(who, Command::Revoke { grant: grant.clone() }, Ask::Other);
                    }
                    None => self.skip(),
                }
            }
            Kind::Pause => {
                self.count("donor pauses");
                let for_ms = pick.is_multiple_of(2).then_some(1_000 + pick % 40_000);
                self.ask(who, Command::Pause { for_ms }, Ask::Other);
            }
            Kind::Resume => self.ask(who, Command::Resume, Ask::Other),
            Kind::Finish => {
                self.count("donor finishes");
                self.ask(who, Command::Finish, Ask::Other);
            }
            Kind::Energy => {
                let coal = EnergyClaim { source: Source::Grid, renewable_percent: 5, g_per_kwh: 700 };
                if self.peers[who].role == Role::Nightsun {
                    return self.skip();
                }
                let bound = EnergyClaim { source: Source::Grid, renewable_percent: 60, g_per_kwh: 150 };
                let usual = self.usual_energy(who);
                let energy = [None, Some(coal), Some(usual), Some(bound), Some(coal)][pick as usize % 5];
                self.count("energy changes");
                if self.peers[who].awake() {
                    self.arrive(
                        who,
                        Input::Energy(energy.map(|claim| Box::new(Reading::of(claim, "simulated"))), None),
                    );
                }
            }
            Kind::Expel if other != 0 && self.profile.peers > 3 && self.model.expelled.is_empty() => {
                self.count("expulsion");
                let user = self.peers[other].name.clone();
                if self.peers[0].awake() && self.is_in(other) {
                    self.model.expelled.insert(other);
                    self.ask(0, Command::Expel { user, why: "enough".into() }, Ask::Other);
                }
            }
            Kind::Expel => self.skip(),
            Kind::Trick => self.trick(pick),
            Kind::Stranger => self.stranger_speaks(other, pick),
            Kind::Vote
            | Kind::Contribute
            | Kind::MoveZone
            | Kind::Propose
            | Kind::VoteRules
            | Kind::SplitBallot
            | Kind::Split
            | Kind::Victim
            | Kind::Urgency
            | Kind::Deadline => self.civic_act(action),
            _ => self.fault(kind, who, other, pick),
        }
    }

    fn fault(&mut self, kind: Kind, who: Who, other: Who, pick: u64) {
        match kind {
            Kind::Crash => {
                if self.peers[who].node.is_none() {
                    return self.skip();
                }
                match pick % 4 {
                    0 => {
                        self.count("crash at rest");
                        self.crash(who, 50 + pick % 20_000);
                    }
                    1 => self.peers[who].crash = Some(CrashPoint::BeforeCommit),
                    2 => self.peers[who].crash = Some(CrashPoint::After(0)),
                    _ => self.peers[who].crash = Some(CrashPoint::After(1 + (pick % 6) as u32)),
                }
            }
            Kind::CleanRestart => {
                if !self.peers[who].awake() {
                    return self.skip();
                }
                self.ask(who, Command::GoOffline, Ask::Other);
                if self.peers[who].busy.is_none() && self.peers[who].node.is_some() {
                    self.count("restart in order");
                    for other in self.net.ends_of(who) {
                        self.disconnect(who, other);
                    }
                    if self.peers[who].busy.is_none() {
                        self.crash(who, 100 + pick % 10_000);
                        self.peers[who].unclean = false;
                    }
                }
            }
            Kind::Sleep if self.peers[who].awake() => {
                self.count("sleep");
                let ms = if pick.is_multiple_of(3) { 60_000 + pick % 200_000 } else { 1_000 + pick % 30_000 };
                self.oversleep(who, ms);
                self.peers[who].asleep_until = Some(self.now + ms);
                self.peers[who].stuck_until = self.now + ms + 1;
                for other in self.net.ends_of(who) {
                    if let Some(conn) = self.net.conn(who, other).map(|conn| conn.id)
                        && ms > super::net::IDLE_MS
                    {
                        self.after(super::net::IDLE_MS, Event::Down { at: other, other: who, conn });
                        self.after(ms + 2, Event::Down { at: who, other, conn });
                    }
                }
                self.after(ms, Event::End(Fault::Asleep(who)));
            }
            Kind::Cut | Kind::CutOneWay => {
                self.count(if kind == Kind::Cut { "partition of two" } else { "one-way partition" });
                let ms = 500 + pick % 70_000;
                self.cut(who, other);
                self.after(ms, Event::End(Fault::Blocked(who, other)));
                if kind == Kind::Cut {
                    self.cut(other, who);
                    self.after(ms, Event::End(Fault::Blocked(other, who)));
                }
            }
            Kind::Isolate => {
                self.count("partition of a group");
                let ms = 1_000 + pick % 90_000;
                self.split(|at| at == who || (pick >> at) & 1 == 1, ms);
            }
            Kind::Disconnect => {
                self.count("disconnect");
                self.disconnect(who, other);
            }
            Kind::SetClock => {
                self.count("wall clock set");
                self.peers[who].clock.skew_ms = (pick % 100_000) as i64 - 50_000;
                self.peers[who].clock_set = true;
            }
            Kind::FillDisk => {
                self.count("full disk");
                self.peers[who].disk.full = true;
                self.after(200 + pick % 15_000, Event::End(Fault::FullDisk(who)));
            }
            Kind::Storm => {
                self.count("storm");
                self.net.weather = Weather { delay: 200, jitter: 2_000, loss: 60, doubling: 60 };
                self.after(2_000 + pick % 20_000, Event::End(Fault::Weather));
            }
            _ => self.skip(),
        }
    }

    /// Between those of a group and all others nothing passes for a while.
    pub(crate) fn split(&mut self, group: impl Fn(Who) -> bool, ms: u64) {
        for a in 0..self.profile.peers {
            for b in 0..self.profile.peers {
                if group(a) != group(b) {
                    self.cut(a, b);
                    self.after(ms, Event::End(Fault::Blocked(a, b)));
                }
            }
        }
    }

    pub(crate) fn end(&mut self, fault: Fault) {
        match fault {
            Fault::Blocked(from, to) => self.mend(from, to),
            Fault::FullDisk(who) => self.peers[who].disk.full = false,
            Fault::Asleep(who) => {
                if self.peers[who].asleep_until.is_some_and(|until| until <= self.now) {
                    self.peers[who].asleep_until = None;
                }
            }
            Fault::Weather => {
                self.net.weather = if self.chaos { self.profile.weather } else { Weather::calm() };
            }
        }
    }

    pub(crate) fn is_in(&self, who: Who) -> bool {
        let user = self.peers[who].user();
        let node = self.peers[who].node.as_ref();
        node.is_some_and(|node| node.ledger().governance().member(&user).is_some())
    }

    fn about_a_task(&mut self, who: Who, pick: u64, command: impl Fn(String) -> Command) {
        let mine: Vec<TaskId> = self
            .model
            .acknowledged
            .range((who, TaskId([0; 32]))..=(who, TaskId([0xff; 32])))
            .map(|(_, task)| *task)
            .collect();
        match mine.get(pick as usize % mine.len().max(1)) {
            Some(task) => {
                let command = command(task.to_string());
                self.count(if matches!(command, Command::Cancel { .. }) {
                    "cancel"
                } else {
                    "veto by an owner"
                });
                self.ask(who, command, Ask::Other);
            }
            None => self.skip(),
        }
    }

    pub(crate) fn submit(&mut self, who: Who, pick: u64, wish: &Wish) {
        if !self.is_in(who) {
            return self.skip();
        }
        let again = pick.is_multiple_of(7);
        // One key for several submissions: they are one task.
        let mut nonce = [(pick % 3) as u8; 32];
        if !again {
            nonce[..8].copy_from_slice(&pick.to_le_bytes());
        }
        let followed = pick.is_multiple_of(2);
        self.count(if followed { "submit followed" } else { "submit detached" });
        let on = (pick.is_multiple_of(11) && wish.name.is_none())
            .then(|| format!("{}-laptop", self.peers[0].name));
        let wall = self.peers[who].clock.at(self.now).wall_ms;
        // What may take long has its deadline when everything is over.
        let duration_ms = if wish.within.is_some() { 20_000 } else { 120_000 };
        let finish_by_ms = wish.within.map(|ms| wall + duration_ms + ms);
        let usual = if pick.is_multiple_of(3) { "word-count" } else { "image" };
        let plain = on.is_none() && wish.name.is_none() && wish.sla.is_none();
        let replicas = if plain && pick.is_multiple_of(7) { 3 } else { 1 };
        if replicas > 1 {
            self.count("submit replicated");
        }
        let draft = Draft {
            description: String::new(),
            name: wish.name.unwrap_or(usual).into(),
            module: ModuleHash([7; 32]),
            module_len: 100,
            args: vec![],
            env: vec![],
            stdin: None,
            inputs: vec![],
            input: InputHash([8; 32]),
            limits: Limits {
                duration_ms,
                checkpoint_bytes: if (pick / 5).is_multiple_of(2) { 1_000_000 } else { 0 },
                ..Limits::default()
            },
            permissions: Permissions::default(),
            // Replicas wait for each other until the last moment, and here nobody waits for days.
            sla: match (wish.sla, replicas) {
                (Some(sla), _) => sla,
                (None, 1) => [Sla::Normal, Sla::Normal, Sla::High, Sla::Urgent, Sla::Eco][pick as usize % 5],
                (None, _) => Sla::Urgent,
            },
            importance: None,
            followed,
            start_by_ms: None,
            finish_by_ms,
            nonce,
            on,
            dry_run: false,
            replicas,
            quorum: replicas / 2 + 1,
        };
        self.ask(who, Command::Submit(Box::new(draft)), Ask::Submit(finish_by_ms));
    }

    /// A command was answered.
    pub(crate) fn answered(&mut self, who: Who, id: CommandId, answer: Result<Answer, CommandError>) {
        let Some((_, ask)) = self.model.asked.remove(&id) else { return };
        match (ask, answer) {
            (Ask::Invite(guest), Ok(Answer::Ticket(ticket))) => self.peers[guest].ticket = Some(ticket),
            // Its maker crashed before it was kept, perhaps: a new one is asked for.
            (Ask::Join, Err(error)) if error.to_string().contains("ticket") => self.peers[who].ticket = None,
            (Ask::Submit(finish_by_ms), Ok(Answer::Submitted { task, again, .. })) => {
                self.count(if again { "submitted again" } else { "submission acknowledged" });
                if self.peers[who].is_honest() {
                    self.model.acknowledged.insert((who, task));
                    if let Some(by) = finish_by_ms.filter(|_| !again) {
                        let wall = self.peers[who].clock.at(self.now).wall_ms;
                        self.after(by.saturating_sub(wall), Event::Due(who, task, by));
                    }
                }
            }
            (Ask::Deadline(task), Ok(Answer::Task(view))) => {
                let verdict = nothing_waits_for_votes_or_energy_at_its_deadline(self, who, task, &view);
                self.must(verdict);
            }
            (Ask::Puppet(kind), Ok(Answer::Ticket(ticket))) => self.puppet_comes(who, kind, &ticket),
            (Ask::View(task), Ok(Answer::Task(view))) => {
                self.model.views.insert((who, task), (view.state, view.why));
            }
            _ => {}
        }
    }

    /// Undoes what the journal would keep, for the bug that trusts its log.
    pub(crate) fn tear(&mut self, who: Who) {
        if self.bug != Some(Bug::ReusesSequenceNumbers) {
            return;
        }
        let key = self.peers[who].key;
        let last = self.peers[who].disk.len_of(&key);
        if last > 2 {
            self.peers[who].disk.entries.remove(&(key, last - 1));
        }
    }
}

impl Weather {
    /// A fine day.
    pub(crate) fn calm() -> Self {
        Self { delay: 2, jitter: 5, loss: 0, doubling: 0 }
    }
}
