//! Runs and transfers: what the sandbox and the blob store of a peer do.

use super::executor::{Job, Phase, Step, Way, blob_of, energy_of, receipt_for, truth};
use super::net::Who;
use super::peer::Role;
use super::world::{Event, World};
use mesh_node::{Input, Metering, Run, RunEvent, Sample, Unfetched, Wanted};
use mesh_protocol::energy::How;
use mesh_protocol::frame::AttemptId;
use mesh_protocol::ids::{BlobHash, Digest};
use mesh_protocol::reason::Reason;
use mesh_protocol::task::Blob;

/// How often a run says how far it is.
const TICK_MS: u64 = 2_000;

impl World {
    fn way(&mut self, who: Who) -> Way {
        const LIES: [Way; 5] = [Way::WrongOutput, Way::OtherTask, Way::TooMuchFuel, Way::Silent, Way::Crash];
        let lies = self.chaos && self.peers[who].role == Role::Liar;
        if lies && self.rng.chance(700) {
            self.count("run that lies");
            return LIES[self.rng.index(LIES.len())];
        }
        if self.chaos && self.rng.chance(self.profile.bad_runs) {
            self.count("run that fails");
            return [Way::NotFetched, Way::Crash, Way::TimeOut][self.rng.index(3)];
        }
        Way::Well
    }

    pub(crate) fn run(&mut self, who: Who, run: Run) {
        let way = self.way(who);
        let longest = run.spec.limits.duration_ms;
        let left = if way == Way::TimeOut {
            longest
        } else {
            self.rng.within(20, self.profile.longest_run.min(longest))
        };
        let attempt = run.attempt;
        let job = Job {
            run,
            way,
            phase: Phase::Preparing,
            left,
            since: self.now,
            hold: false,
            wish: Step::Resume,
            ticks: 0,
            token: 0,
        };
        self.peers[who].executor.jobs.insert(attempt, job);
        let fetching = self.rng.within(5, 1500);
        self.plan(who, attempt, fetching, Step::Start);
    }

    fn plan(&mut self, who: Who, attempt: AttemptId, ms: u64, step: Step) {
        let peer = &self.peers[who];
        let Some(job) = peer.executor.jobs.get(&attempt) else { return };
        let event = Event::Sandbox(who, peer.incarnation, attempt, job.token, step);
        self.after(ms, event);
    }

    /// The node wants something else of a run; it is so a little later.
    pub(crate) fn wish(&mut self, who: Who, attempt: AttemptId, step: Step) {
        let delay = self.rng.within(1, 40);
        let incarnation = self.peers[who].incarnation;
        if let Some(job) = self.peers[who].executor.jobs.get_mut(&attempt) {
            job.wish = step;
        }
        // Whatever the token: a wish outlives what was planned.
        self.after(delay, Event::Sandbox(who, incarnation, attempt, u64::MAX, step));
    }

    pub(crate) fn sandbox(&mut self, who: Who, attempt: AttemptId, token: u64, step: Step) {
        let now = self.now;
        let Some(job) = self.peers[who].executor.jobs.get_mut(&attempt) else { return };
        if token != u64::MAX && token != job.token {
            return;
        }
        // Of several wishes the last one counts, however long each took to be heard.
        let step = if token == u64::MAX { job.wish } else { step };
        match step {
            Step::Start => self.begin(who, attempt),
            Step::Tick => {
                job.ticks += 1;
                let ticks = job.ticks;
                let saves = job.run.spec.limits.checkpoint_bytes > 0 && ticks.is_multiple_of(3);
                let content =
                    Digest(*blake3::hash(&[&attempt.task.0[..], &ticks.to_be_bytes()].concat()).as_bytes());
                self.plan(who, attempt, TICK_MS, Step::Tick);
                if saves {
                    let blob = blob_of(content);
                    self.peers[who].blobs.insert(blob.hash, content);
                    self.arrive(who, Input::Run(attempt, RunEvent::Checkpoint(ticks / 3, blob)));
                }
                let permille = (ticks * 10).min(1000) as u16;
                self.arrive(who, Input::Run(attempt, RunEvent::Progress(permille, "on its way".into())));
            }
            Step::End => self.finish(who, attempt),
            Step::Pause if job.phase == Phase::Running => {
                job.left = job.left.saturating_sub(now.saturating_sub(job.since));
                job.phase = Phase::Paused;
                job.token += 1;
                self.arrive(who, Input::Run(attempt, RunEvent::Paused));
            }
            Step::Pause => job.hold = true,
            Step::Resume if job.phase == Phase::Paused => {
                self.go(who, attempt);
                self.arrive(who, Input::Run(attempt, RunEvent::Resumed));
            }
            Step::Resume => job.hold = false,
            Step::Stop => {
                let started = job.phase != Phase::Preparing;
                self.peers[who].executor.jobs.remove(&attempt);
                let used = started.then(|| self.metered(who, attempt));
                self.arrive(who, Input::Run(attempt, RunEvent::Spent(used)));
            }
        }
    }

    fn go(&mut self, who: Who, attempt: AttemptId) {
        let now = self.now;
        let Some(job) = self.peers[who].executor.jobs.get_mut(&attempt) else { return };
        job.phase = Phase::Running;
        job.since = now;
        job.token += 1;
        let (left, silent) = (job.left, job.way == Way::Silent);
        if !silent {
            self.plan(who, attempt, left, Step::End);
        }
        self.plan(who, attempt, TICK_MS, Step::Tick);
    }

    fn begin(&mut self, who: Who, attempt: AttemptId) {
        let Some(job) = self.peers[who].executor.jobs.get(&attempt) else { return };
        let (owner, module, bad) = (job.run.owner, job.run.spec.module, job.way == Way::NotFetched);
        let me = self.peers[who].key;
        let fetched = owner == me
            || self.who(&owner).is_some_and(|owner| {
                self.net.is_whole(who, owner)
                    && self.net.is_open(who, owner)
                    && self.peers[owner].awake()
                    && self.peers[owner]
                        .node
                        .as_ref()
                        .is_some_and(|node| node.may_fetch(&me, &BlobHash::from(module)))
            });
        if bad || !fetched {
            self.count("run whose module was not fetched");
            self.peers[who].executor.jobs.remove(&attempt);
            let why = Reason::NotFetched("its module: simulated".into());
            return self.arrive(who, Input::Run(attempt, RunEvent::Lost(why)));
        }
        self.count("run started");
        self.go(who, attempt);
        let incarnation = self.peers[who].incarnation;
        self.arrive(who, Input::Run(attempt, RunEvent::Started));
        if self.lives(who, incarnation)
            && self.peers[who].executor.jobs.get(&attempt).is_some_and(|job| job.hold)
        {
            if let Some(job) = self.peers[who].executor.jobs.get_mut(&attempt) {
                job.wish = Step::Pause;
            }
            self.sandbox(who, attempt, u64::MAX, Step::Pause);
        }
    }

    fn finish(&mut self, who: Who, attempt: AttemptId) {
        let Some(job) = self.peers[who].executor.jobs.remove(&attempt) else { return };
        self.count("run ended");
        let content = truth(&job.run);
        let blob = blob_of(content);
        self.peers[who].blobs.insert(blob.hash, content);
        let receipt = receipt_for(&job.run, job.way);
        let used = self.metered(who, attempt);
        self.model.produced.insert((who, attempt));
        self.arrive(who, Input::Run(attempt, RunEvent::Ended(Box::new(receipt), blob, used)));
    }

    /// What a run used, made up so that no two are alike; told by the sandbox once.
    // spec: DEL-13
    fn metered(&mut self, who: Who, attempt: AttemptId) -> Metering {
        let energy_mj = energy_of(who, attempt);
        self.model.metered.insert((who, attempt), energy_mj);
        let from_ms = self.peers[who].clock.at(self.now).wall_ms.saturating_sub(1000);
        let samples = vec![Sample { from_ms, ms: 1000, energy_mj }];
        Metering { how: How::Measured, uncertainty_percent: 10, samples, estimated: false }
    }

    /// A machine that sleeps computes nothing: what its runs would have done comes that much later.
    pub(crate) fn oversleep(&mut self, who: Who, ms: u64) {
        let jobs: Vec<AttemptId> = self.peers[who].executor.jobs.keys().copied().collect();
        for attempt in jobs {
            let now = self.now;
            let Some(job) = self.peers[who].executor.jobs.get_mut(&attempt) else { continue };
            if job.phase != Phase::Running {
                continue;
            }
            job.left = job.left.saturating_sub(now.saturating_sub(job.since));
            job.since = now + ms;
            job.token += 1;
            let (left, silent) = (job.left, job.way == Way::Silent);
            if !silent {
                self.plan(who, attempt, ms + left + 1, Step::End);
            }
            self.plan(who, attempt, ms + TICK_MS, Step::Tick);
        }
    }

    pub(crate) fn fetched(
        &mut self,
        who: Who,
        number: u64,
        attempt: AttemptId,
        blob: Blob,
        from: Who,
        wanted: Wanted,
    ) {
        let me = self.peers[who].key;
        if self.peers[who].fetching.get(&number) != Some(&(attempt, self.peers[who].incarnation)) {
            return self.count("transfer that was ended");
        }
        let there = self.net.is_whole(who, from) && self.net.is_open(who, from) && self.peers[from].awake();
        if !there && self.net.is_up(who, from) {
            // A transfer stands still as long as its connection is not given up.
            let incarnation = self.peers[who].incarnation;
            return self.after(500, Event::Fetched { who, incarnation, number, attempt, blob, from, wanted });
        }
        let may = self.peers[from].node.as_ref().is_some_and(|node| node.may_fetch(&me, &blob.hash));
        let result = match self.peers[from].blobs.get(&blob.hash).copied() {
            _ if !there => Err(Unfetched::Line("the connection is gone".to_owned())),
            _ if self.peers[who].disk.full => Err(Unfetched::NoRoom("the disk is full".to_owned())),
            _ if !may => Err(Unfetched::Withheld),
            None => Err(Unfetched::Withheld),
            Some(content) if matches!(&wanted, Wanted::Output(receipt) if receipt.output.out != content) => {
                Err(Unfetched::False("the output is not what the receipt says: /out differs".to_owned()))
            }
            Some(content) => {
                self.peers[who].blobs.insert(blob.hash, content);
                Ok(())
            }
        };
        self.peers[who].fetching.remove(&number);
        if result.is_err() {
            self.count("transfer that failed");
        }
        self.arrive(who, Input::Fetched(number, attempt, blob.hash, result));
    }
}
