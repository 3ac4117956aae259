//! Workers that wait: started ahead of time, so that a task need not.

use crate::wire::{self, FromWorker, HostDir, ToWorker};
use mesh_protocol::ids::ModuleHash;
use mesh_protocol::key::PublicKey;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

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

impl Worker {
    /// Starts a worker that will see `dirs`; it gets ready by itself.
    // spec: SBX-9
    pub(crate) fn start(program: &Path, dirs: Vec<HostDir>) -> io::Result<Self> {
        let (ours, theirs) = wire::pair()?;
        let child = Command::new(program)
            .arg(ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C goes to us alone; what becomes of the task is ours to say.
            .process_group(0)
            .spawn()?;
        let this = Self { child, socket: ours, walls: None, last: None, tasks: 0 };
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
pub(crate) struct Starter(SyncSender<Order>);

type Order = (Vec<HostDir>, SyncSender<io::Result<Worker>>);

impl Starter {
    pub(crate) fn new(program: PathBuf) -> io::Result<Self> {
        // One order at a time is worked on; whoever asks waits for it anyway.
        let (sender, orders) = sync_channel::<Order>(1);
        std::thread::Builder::new().name("workers".into()).spawn(move || {
            for (dirs, answer) in orders {
                let _nobody_waits = answer.send(Worker::start(&program, dirs));
            }
        })?;
        Ok(Self(sender))
    }

    pub(crate) fn start(&self, dirs: Vec<HostDir>) -> io::Result<Worker> {
        let (answer, worker) = sync_channel(1);
        let gone = || io::Error::other("the thread that starts workers has ended");
        self.0.send((dirs, answer)).map_err(|_| gone())?;
        worker.recv().map_err(|_| gone())?
    }
}

/// Workers nobody uses at the moment.
// spec: SBX-15
#[derive(Default)]
pub(crate) struct Pool {
    fresh: Mutex<Vec<Worker>>,
    used: Mutex<Vec<Worker>>,
}

impl Pool {
    /// A worker that last served the same key, if one waits.
    pub(crate) fn take_used(&self, key: &ReuseKey) -> Option<Worker> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let index = used.iter().position(|worker| worker.last.as_ref() == Some(key))?;
        Some(used.swap_remove(index))
    }

    pub(crate) fn take_fresh(&self) -> Option<Worker> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(crate) fn put_fresh(&self, worker: Worker) {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }

    /// Keeps a worker for later, letting the oldest go if there are more than `most`.
    pub(crate) fn put_used(&self, worker: Worker, most: usize) {
        if most == 0 || !worker.may_serve_again() {
            return;
        }
        let dropped = {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            used.push(worker);
            (used.len() > most).then(|| used.remove(0))
        };
        drop(dropped);
    }

    pub(crate) fn fresh_count(&self) -> usize {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Process ids of all that wait.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.iter().chain(used.iter()).map(|worker| worker.child.id()).collect()
    }
}
