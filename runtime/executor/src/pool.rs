//! Workers that wait: started ahead of time, so that a task need not.

use crate::wire::{self, FromWorker, HostDir, ToWorker};
use mesh_protocol::ids::ModuleHash;
use mesh_protocol::key::PublicKey;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The argument that makes a program of ours a worker.
pub(crate) const ARGUMENT: &str = "__worker";

/// A worker process, and our end of the connection to it.
pub(crate) struct Worker {
    pub(crate) child: Child,
    pub(crate) socket: OwnedFd,
    /// The walls it stands within, once it has said so.
    pub(crate) walls: Option<Vec<String>>,
    /// Whose module it ran last, and may run again without loading it.
    pub(crate) last: Option<ReuseKey>,
    /// Tasks it was given so far.
    pub(crate) tasks: u32,
    /// When its last task ended, or it was started.
    idle_since: Instant,
    /// CPU time it had used when its last task was handed over.
    cpu_before: u64,
    /// Is the most that was resident known of its last task alone?
    peak_known: bool,
}

/// Tasks that may be run by one worker in turn: of one submitter, one module, and the same capabilities, which are
/// none of those that leave the sandbox.
// spec: SBX-16
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReuseKey {
    pub(crate) submitter: PublicKey,
    pub(crate) module: ModuleHash,
    pub(crate) granted: mesh_protocol::permissions::Permissions,
}

/// Most tasks of one worker, so that a slow leak cannot grow for ever.
const MAX_TASKS: u32 = 10_000;

/// How long used workers wait beyond those that are kept. Tasks end and begin in bursts, and starting a worker costs
/// many times what a small task does.
// spec: SBX-16
const LINGER: Duration = Duration::from_secs(1);

impl Worker {
    fn of(child: Child, socket: OwnedFd) -> Self {
        Self {
            child,
            socket,
            walls: None,
            last: None,
            tasks: 0,
            idle_since: Instant::now(),
            cpu_before: 0,
            peak_known: true,
        }
    }

    /// Starts a worker that will see `dirs`; it gets ready by itself.
    // spec: SBX-9
    pub(crate) fn start(program: &Path, dirs: Vec<HostDir>) -> io::Result<Self> {
        let (ours, theirs) = wire::pair()?;
        let child = crate::child(program)
            .arg(ARGUMENT)
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C goes to us alone; what becomes of the task is ours to say.
            .process_group(0)
            .spawn()?;
        let this = Self::of(child, ours);
        wire::send(&this.socket, &ToWorker::Prepare { dirs }, &[], true)?;
        Ok(this)
    }

    /// Waits until it stands within its walls.
    pub(crate) fn ready(&mut self) -> io::Result<&[String]> {
        if self.walls.is_none() {
            match wire::receive(&self.socket, &mut Vec::new(), true)? {
                Some((FromWorker::Ready { walls }, _)) => self.walls = Some(walls),
                Some((FromWorker::Failed(error), _)) => return Err(io::Error::other(error)),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(self.walls.as_deref().unwrap_or_default())
    }

    /// What it used up to now is none of the next task's.
    pub(crate) fn begin(&mut self) {
        self.cpu_before = process_cpu_us(self.child.id());
        // Where the kernel cannot forget the highest, that of all its tasks would stand for this one.
        self.peak_known =
            self.tasks == 0 || std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").is_ok();
    }

    /// CPU time since its last task was handed over, as the system counts it. Known until it is waited for.
    pub(crate) fn cpu_us(&self) -> u64 {
        process_cpu_us(self.child.id()).saturating_sub(self.cpu_before)
    }

    /// Most bytes resident since then; 0 where that is not known.
    pub(crate) fn peak_resident(&self) -> u64 {
        if self.peak_known { peak_resident(self.child.id()) } else { 0 }
    }

    pub(crate) fn may_serve_again(&self) -> bool {
        self.tasks < MAX_TASKS
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Nothing it holds is worth a farewell, and a stopped or stuck process hears none.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Starts workers from one thread that lives as long as its executor: a worker ends with the thread that started it.
/// It also lets those go that have waited for too long.
pub(crate) struct Starter(SyncSender<Order>);

enum Order {
    Start(Vec<HostDir>, SyncSender<io::Result<Worker>>),
    /// There are more used workers than are kept.
    Surplus,
}

impl Starter {
    /// Used workers beyond `keep` go once nobody has used them for a while.
    pub(crate) fn new(program: PathBuf, pool: Arc<Pool>, keep: usize) -> io::Result<Self> {
        // One order at a time is worked on; whoever asks waits for it anyway.
        let (sender, orders) = sync_channel::<Order>(1);
        std::thread::Builder::new().name("workers".into()).spawn(move || {
            loop {
                match next(&orders, pool.let_go(keep)) {
                    Ok(Order::Start(dirs, answer)) => {
                        let _nobody_waits = answer.send(Worker::start(&program, dirs));
                    }
                    Ok(Order::Surplus) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        })?;
        Ok(Self(sender))
    }

    pub(crate) fn start(&self, dirs: Vec<HostDir>) -> io::Result<Worker> {
        let (answer, worker) = sync_channel(1);
        let gone = || io::Error::other("the thread that starts workers has ended");
        self.0.send(Order::Start(dirs, answer)).map_err(|_| gone())?;
        worker.recv().map_err(|_| gone())?
    }

    /// Has it look after a pool that has grown beyond what is kept.
    pub(crate) fn surplus(&self) {
        // With an order before it, it looks anyway.
        let _busy = self.0.try_send(Order::Surplus);
    }
}

fn next(orders: &Receiver<Order>, wait: Option<Duration>) -> Result<Order, RecvTimeoutError> {
    match wait {
        Some(wait) => orders.recv_timeout(wait),
        None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

/// Workers nobody uses at the moment.
// spec: SBX-15
#[derive(Default)]
pub(crate) struct Pool {
    fresh: Mutex<Fresh>,
    used: Mutex<Vec<Worker>>,
}

#[derive(Default)]
struct Fresh {
    waiting: Vec<Worker>,
    /// Those being started that will wait.
    coming: usize,
}

/// The place of a worker that is being started, among those that wait; given up if it is not filled.
pub(crate) struct Place<'a> {
    pool: &'a Pool,
    worker: Option<Worker>,
}

impl Place<'_> {
    pub(crate) fn fill(mut self, worker: Worker) {
        self.worker = Some(worker);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut fresh = self.pool.fresh();
        fresh.coming -= 1;
        fresh.waiting.extend(self.worker.take());
    }
}

impl Pool {
    /// A worker that last served the same key, if one waits: the one used last, so that those too many grow old.
    pub(crate) fn take_used(&self, key: &ReuseKey) -> Option<Worker> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let index = used.iter().rposition(|worker| worker.last.as_ref() == Some(key))?;
        Some(used.remove(index))
    }

    fn fresh(&self) -> MutexGuard<'_, Fresh> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take_fresh(&self) -> Option<Worker> {
        self.fresh().waiting.pop()
    }

    pub(crate) fn put_fresh(&self, worker: Worker) {
        self.fresh().waiting.push(worker);
    }

    /// A place for one more fresh worker, unless `most` wait or are on their way: many tasks that end together look at
    /// this at once.
    pub(crate) fn place(&self, most: usize) -> Option<Place<'_>> {
        let mut fresh = self.fresh();
        if fresh.waiting.len() + fresh.coming >= most {
            return None;
        }
        fresh.coming += 1;
        Some(Place { pool: self, worker: None })
    }

    /// Keeps a worker for later, letting the oldest go if there are more than `most`, and gives how many there are.
    pub(crate) fn put_used(&self, mut worker: Worker, most: usize) -> usize {
        if most == 0 || !worker.may_serve_again() {
            return 0;
        }
        worker.idle_since = Instant::now();
        let (count, dropped) = {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.push(worker);
            let dropped = (used.len() > most).then(|| used.remove(0));
            (used.len(), dropped)
        };
        drop(dropped);
        count
    }

    /// Lets used workers beyond `keep` go that have waited for long, and gives when the next one will have; none if there
    /// are no more than that.
    fn let_go(&self, keep: usize) -> Option<Duration> {
        loop {
            let gone = {
                let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
                if used.len() <= keep {
                    return None;
                }
                let idle = used.first()?.idle_since.elapsed();
                if idle < LINGER {
                    return Some(LINGER - idle);
                }
                used.remove(0)
            };
            drop(gone);
        }
    }

    /// Process ids of all that wait.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let fresh = self.fresh();
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.waiting.iter().chain(used.iter()).map(|worker| worker.child.id()).collect()
    }
}

/// Most bytes ever resident in a process.
fn peak_resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib =
        line.and_then(|line| line.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// CPU time of a process so far.
fn process_cpu_us(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; what follows does not.
    let fields: Vec<&str> = stat.rsplit_once(") ").map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    (ticks(11) + ticks(12)) * 1_000_000 / per_second
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that waits as a worker does.
    fn waiting(idle_since: Instant) -> Worker {
        let (socket, theirs) = wire::pair().expect("a pair of sockets");
        let child = std::process::Command::new("cat").stdin(Stdio::from(theirs)).spawn().expect("a process");
        let key = ReuseKey {
            submitter: PublicKey([1; 32]),
            module: ModuleHash([2; 32]),
            granted: mesh_protocol::permissions::Permissions::default(),
        };
        let mut worker = Worker::of(child, socket);
        (worker.last, worker.tasks, worker.idle_since) = (Some(key), 1, idle_since);
        worker
    }

    // spec: SBX-15
    #[test]
    fn workers_on_their_way_count_among_those_that_wait() {
        let pool = Pool::default();
        let (first, second) = (pool.place(2).expect("none waits"), pool.place(2).expect("one is on its way"));
        assert!(pool.place(2).is_none());
        first.fill(waiting(Instant::now()));
        assert!(pool.place(2).is_none());
        drop(second);
        assert!(pool.place(2).is_some(), "it could not be started");
        assert_eq!(pool.pids().len(), 1);
    }

    // spec: SBX-16
    #[test]
    fn used_workers_beyond_those_kept_wait_for_a_burst_and_no_longer() {
        let pool = Pool::default();
        let now = Instant::now();
        for count in 1..=4 {
            assert_eq!(pool.put_used(waiting(now), 4), count);
        }
        assert_eq!(pool.put_used(waiting(now), 4), 4, "the oldest went");
        assert_eq!(pool.put_used(waiting(now), 0), 0);
        let pids = pool.pids();
        assert!(pool.let_go(1).is_some_and(|wait| wait <= LINGER), "they have just ended a task");
        assert_eq!(pool.pids(), pids);
        let long_ago = now.checked_sub(LINGER * 2).expect("this machine has run for longer");
        for worker in &mut *pool.used.lock().expect("nobody failed") {
            worker.idle_since = long_ago;
        }
        assert_eq!(pool.let_go(1), None);
        assert_eq!(pool.pids(), pids[3..], "the one used last stays");
        let key = pool.used.lock().expect("nobody failed")[0].last.clone().expect("it was used");
        assert_eq!(pool.take_used(&key).map(|worker| worker.child.id()), pids.last().copied());
        assert!(pool.take_used(&key).is_none());
    }
}
