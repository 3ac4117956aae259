//! Admitting modules and starting tasks.

use crate::admission::{self, Summary};
use crate::cache::Cache;
use crate::compile::{self, CompileLimits, Compiled};
use crate::memory_file;
use crate::pool::{Pool, ReuseKey, Starter, Worker};
use crate::stage::{NamedInput, Share, StageError, Staged, hash_file};
use crate::supervise::{self, Running, Setup};
use crate::wire::{HostDir, Places, Resume, Start, StdinKind, ToWorker, parts, send};
use mesh_protocol::checkpoint::{Checkpoint, Expected, OutNode};
use mesh_protocol::digest;
use mesh_protocol::ids::{Digest, InputHash, ModuleHash, ProfileId, TaskId};
use mesh_protocol::key::PublicKey;
use mesh_protocol::limits::{Limits, MAX_ARGS, MAX_ARGS_BYTES};
use mesh_protocol::manifest::{Manifest, is_env_key, is_file_name};
use mesh_protocol::outcome::Refusal;
use mesh_protocol::permissions::{Access, Permissions};
use mesh_protocol::receipt::{self, Input, NotComparable, Receipt};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How an executor works.
#[derive(Debug, Clone)]
pub struct Config {
    /// The program that workers and compilers run as; its `main` calls [`crate::subprocess`].
    pub program: PathBuf,
    /// Where compiled modules are kept; nowhere if none.
    pub cache: Option<PathBuf>,
    /// Where the files of running tasks lie, without names.
    pub scratch: PathBuf,
    /// Workers started ahead of time.
    pub ready_workers: usize,
    /// Used workers kept for more tasks of the same submitter and module.
    pub keep_workers: usize,
    /// The same for a second after their last task.
    pub busy_workers: usize,
    /// Bytes of memory that all running tasks may have together.
    pub memory: u64,
    /// What compiling one module may take.
    pub compile: CompileLimits,
}

impl Config {
    /// No cache, no workers ahead of time, and as much memory as 64 of the largest tasks.
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            cache: None,
            scratch: std::env::temp_dir(),
            ready_workers: 0,
            keep_workers: 0,
            busy_workers: 0,
            memory: 64 << 32,
            compile: CompileLimits::default(),
        }
    }
}

/// A module that was admitted and compiled.
#[derive(Debug, Clone)]
pub struct LoadedModule {
    /// BLAKE3 of its bytes.
    pub hash: ModuleHash,
    /// What it is and asks for.
    pub summary: Summary,
    /// Its own request, or a plain program's.
    pub manifest: Manifest,
    /// Machine code, sealed.
    code: Arc<File>,
    /// Bytes of it, which are held in memory.
    code_bytes: u64,
}

impl LoadedModule {
    /// Bytes of memory that its machine code takes for as long as it is held.
    pub fn code_bytes(&self) -> u64 {
        self.code_bytes
    }
}

/// A task's standard input.
#[derive(Default)]
pub enum Stdin {
    /// Nothing to read.
    #[default]
    Empty,
    /// These bytes.
    Bytes(Vec<u8>),
    /// A file, from its beginning.
    File(File),
    /// Read as the task asks for it; its digest is known only afterwards.
    Stream(Box<dyn Read + Send>),
}

impl std::fmt::Debug for Stdin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Bytes(_) => "Bytes",
            Self::File(_) => "File",
            Self::Stream(_) => "Stream",
        })
    }
}

/// One task: what to run, on what, within which bounds.
#[derive(Debug)]
pub struct Task {
    /// What to run.
    pub module: LoadedModule,
    /// Its id where that is settled already; else made of what follows.
    pub id: Option<TaskId>,
    /// Who asked for it.
    pub submitter: PublicKey,
    /// Tells it apart from the same task asked for before.
    pub nonce: [u8; 32],
    /// Which try at it.
    pub attempt: u32,
    /// Arguments after the program's name.
    pub args: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// What its input must come to, where that is settled already.
    pub input: Option<InputHash>,
    /// Standard input.
    pub stdin: Stdin,
    /// What it sees in `/in`.
    pub inputs: Vec<NamedInput>,
    /// What it sees in `/share`.
    pub shares: Vec<Share>,
    /// Folders of this machine it sees as they are: the local user's own grant, never a submitter's.
    pub dirs: Vec<HostDir>,
    /// Bounds in force: the manifest's, narrowed by whoever has a say.
    pub limits: Limits,
    /// What it may touch: the manifest's wish, narrowed by whoever has a say.
    pub granted: Permissions,
    /// Take checkpoints when it saves them.
    pub checkpoints: bool,
    /// Go on from here.
    pub resume: Option<Checkpoint>,
}

impl Task {
    /// A task with what its manifest asks for and no input; only `/out`, no real clock, no shares.
    pub fn new(module: LoadedModule) -> Self {
        let limits = module.manifest.limits.clone();
        let granted = Permissions {
            inputs: module.manifest.permissions.inputs.clone(),
            env: module.manifest.permissions.env.clone(),
            ..Permissions::default()
        };
        Self {
            module,
            id: None,
            submitter: PublicKey([0; 32]),
            nonce: [0; 32],
            attempt: 1,
            args: Vec::new(),
            env: BTreeMap::new(),
            input: None,
            stdin: Stdin::Empty,
            inputs: Vec::new(),
            shares: Vec::new(),
            dirs: Vec::new(),
            limits,
            granted,
            checkpoints: false,
            resume: None,
        }
    }
}

/// Why a task did not start. Nothing of it ran.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The task, its module or its request is refused.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// Its inputs could not be read.
    #[error("gather the task's inputs")]
    Stage(#[source] StageError),
    /// All memory for tasks is in use; try again when one has ended.
    #[error("start the task: {wanted} bytes of memory are wanted, {free} are free")]
    Busy {
        /// What the task may use.
        wanted: u64,
        /// What is left.
        free: u64,
    },
    /// This machine was at its limits; try again later. Said of a module only so often in a row.
    #[error("compile the module: {0}")]
    Overtaxed(String),
    /// This machine failed.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl From<Refusal> for StartError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn system(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

/// Failed modules remembered: each a hash and a reason.
const MAX_FAILED: usize = 1000;

/// How long a module that this machine failed to compile is not tried again, at first, and how often that doubles.
const TROUBLE: Duration = Duration::from_secs(5 * 60);
const MOST_TROUBLE: u32 = 6;

/// Why a module is not compiled again.
#[derive(Clone)]
enum Failed {
    /// It took a compiler down and would do so again.
    ForGood(Refusal),
    /// This machine was at its limits, so many times in a row; soon after it would only add to them.
    Until(Instant, u32, String),
}

/// How long after so many times in a row a module is compiled again: what takes this machine to its limits each time takes
/// whatever else it does there, too.
fn trouble(times: u32) -> Duration {
    TROUBLE.saturating_mul(1 << times.saturating_sub(1).min(MOST_TROUBLE))
}

pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) pool: Arc<Pool>,
    starter: Starter,
    cache: Option<Cache>,
    profile: ProfileId,
    failed: Mutex<BTreeMap<ModuleHash, Failed>>,
    pub(crate) memory_used: Mutex<u64>,
}

/// Runs tasks. Cheap to clone; the last clone to go takes the waiting workers along.
#[derive(Clone)]
pub struct Executor(Arc<Inner>);

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Executor").field(&self.0.config).finish()
    }
}

impl Executor {
    /// Sets up, and starts the workers that are to wait. A cache that cannot be used is done without, with a warning.
    pub fn new(config: Config) -> Result<Self, StartError> {
        let profile = crate::engine::profile().id();
        let cache = config.cache.as_ref().and_then(|dir| {
            crate::engine::code_format()
                .map_err(io::Error::other)
                .and_then(|format| Cache::open(dir, profile, format))
                .inspect_err(|error| {
                    tracing::warn!(dir = %dir.display(), %error, "compiled modules are not kept: the cache folder cannot be used");
                })
                .ok()
        });
        let pool = Arc::new(Pool::default());
        let starter = Starter::new(config.program.clone(), pool.clone(), config.keep_workers)
            .map_err(system("start the thread that starts workers"))?;
        let inner = Inner {
            config,
            pool,
            starter,
            cache,
            profile,
            failed: Mutex::default(),
            memory_used: Mutex::new(0),
        };
        let this = Self(Arc::new(inner));
        for _ in 0..this.0.config.ready_workers {
            this.0.pool.put_fresh(this.0.spawn(Vec::new())?);
        }
        Ok(this)
    }

    /// Starts one more worker to wait, so that it gets ready while something else is done.
    pub fn warm_up(&self) -> Result<(), StartError> {
        self.0.pool.put_fresh(self.0.spawn(Vec::new())?);
        Ok(())
    }

    /// The walls that a worker stands within on this machine.
    pub fn walls(&self) -> Result<Vec<String>, StartError> {
        let mut worker = self.0.spawn(Vec::new())?;
        worker.ready().map(<[String]>::to_vec).map_err(system("start a worker"))
    }

    /// Process ids of the workers that wait.
    pub fn waiting_workers(&self) -> Vec<u32> {
        self.0.pool.pids()
    }

    /// Admits a module: from the cache, or checked and compiled in a child.
    // spec: SBX-1, SBX-12
    pub fn load(&self, bytes: &[u8]) -> Result<LoadedModule, StartError> {
        admission::recognise(bytes)?;
        let hash = ModuleHash::of(bytes);
        let kept = self.0.cache.as_ref().and_then(|cache| cache.get(&hash));
        let compiled = match kept {
            Some(compiled) => compiled,
            None => self.compile(&hash, bytes)?,
        };
        let manifest = compiled.summary.manifest()?;
        let code = memory_file("code", &compiled.code).map_err(system("hold the compiled module"))?;
        let code_bytes = compiled.code.len() as u64;
        Ok(LoadedModule { hash, summary: compiled.summary, manifest, code: Arc::new(code), code_bytes })
    }

    fn compile(&self, hash: &ModuleHash, bytes: &[u8]) -> Result<Compiled, StartError> {
        let failed = || self.0.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = failed().get(hash).cloned();
        let before = match known {
            Some(Failed::ForGood(refusal)) => return Err(refusal.into()),
            Some(Failed::Until(until, _, why)) if Instant::now() < until => {
                return Err(StartError::Overtaxed(why));
            }
            Some(Failed::Until(_, times, _)) => times,
            None => 0,
        };
        let remember = |why: Failed| {
            let mut failed = failed();
            if failed.len() >= MAX_FAILED && !failed.contains_key(hash) {
                failed.pop_first();
            }
            failed.insert(*hash, why);
        };
        match compile::in_child(&self.0.config.program, bytes, self.0.config.compile) {
            Ok(compiled) => {
                failed().remove(hash);
                if let Some(cache) = &self.0.cache
                    && let Err(error) = cache.put(hash, &compiled)
                {
                    tracing::warn!(%error, "a compiled module could not be kept");
                }
                Ok(compiled)
            }
            Err(compile::Failure::Refused(refusal)) => {
                remember(Failed::ForGood(refusal.clone()));
                Err(refusal.into())
            }
            Err(compile::Failure::Overtaxed(why)) => {
                let times = before.saturating_add(1);
                remember(Failed::Until(Instant::now() + trouble(times), times, why.clone()));
                Err(StartError::Overtaxed(why))
            }
            Err(compile::Failure::System(what, source)) => Err(StartError::System { what, source }),
        }
    }

    /// Starts a task.
    // spec: SBX-10
    pub fn start(&self, task: Task) -> Result<Running, StartError> {
        check(&task)?;
        let Task { module, limits, granted, .. } = task;
        let dirs = absolute(task.dirs)?;
        let reserve = Reserved::take(&self.0, limits.memory_bytes)?;

        let mut staged = Staged::new();
        let named = staged.inputs(&task.inputs).map_err(StartError::Stage)?;
        let (stdin_kind, stdin_file, stdin_digest, stream) = match task.stdin {
            Stdin::Empty => (StdinKind::Empty, None, Some(digest::bytes(b"")), None),
            Stdin::Bytes(bytes) if bytes.is_empty() => {
                (StdinKind::Empty, None, Some(digest::bytes(b"")), None)
            }
            Stdin::Bytes(bytes) => {
                staged.bytes += bytes.len() as u64;
                let file = memory_file("stdin", &bytes).map_err(system("hold the input"))?;
                (StdinKind::File, Some(Arc::new(file)), Some(digest::bytes(&bytes)), None)
            }
            Stdin::File(file) => {
                let meta = file.metadata().map_err(system("read the input"))?;
                staged.bytes += meta.len();
                let digest = hash_file(&file, meta.len()).map_err(system("read the input"))?;
                let file = Arc::new(file);
                staged.watched.push((file.clone(), crate::stage::Stamp::of(&meta)));
                (StdinKind::File, Some(file), Some(digest), None)
            }
            Stdin::Stream(stream) => (StdinKind::Streamed, None, None, Some(stream)),
        };
        if staged.bytes > limits.input_bytes {
            return Err(Refusal::InputTooLarge { actual: staged.bytes, limit: limits.input_bytes }.into());
        }
        let env: Vec<(String, String)> = task.env.into_iter().collect();
        let input_hash = digest::input(stdin_digest, named);
        if task.input.is_some_and(|settled| settled != input_hash) {
            return Err(StartError::Stage(StageError::Differs));
        }
        let id = task.id.unwrap_or_else(|| {
            TaskId::new(&task.submitter, &module.hash, &input_hash, &task.args, &env, &task.nonce)
        });

        let mut stream = stream;
        if let Some(checkpoint) = &task.resume {
            let expected = Expected {
                task: &id,
                module: &module.hash,
                input: &input_hash,
                profile: &self.0.profile,
                limits: &limits,
            };
            checkpoint.check(&expected).map_err(|error| Refusal::Checkpoint(error.to_string()))?;
            restage(&mut staged, checkpoint);
            stream = stream.map(|stream| same_beginning(stream, checkpoint)).transpose()?;
        }
        for (number, share) in (0..).zip(&task.shares) {
            staged.share(number, share).map_err(StartError::Stage)?;
        }
        let resume = task.resume.as_ref().map(|checkpoint| Resume {
            fuel_used: checkpoint.header.fuel_used,
            clock_ns: checkpoint.header.clock_ns,
            random_pos: checkpoint.header.random_pos,
            stdout_bytes: checkpoint.stdout.len() as u64,
            stderr_bytes: checkpoint.stderr.len() as u64,
            state: staged.bytes(&checkpoint.state),
        });
        let staged = Arc::new(staged.finish().map_err(system("hold the inputs"))?);

        let mut not_comparable = Vec::new();
        let mut mark = |yes: bool, why| {
            if yes {
                not_comparable.push(why);
            }
        };
        mark(granted.real_clock, NotComparable::RealClock);
        mark(granted.real_random, NotComparable::RealRandom);
        mark(!granted.http.is_empty(), NotComparable::Network);
        mark(!task.shares.is_empty() || !dirs.is_empty(), NotComparable::Shares);
        mark(task.resume.is_some(), NotComparable::Resumed);

        // Another run must come to the same, whichever try it is.
        // spec: SBX-13, DEL-8
        let told_attempt = if not_comparable.is_empty() { 1 } else { task.attempt };
        let key = (task.shares.is_empty() && dirs.is_empty() && granted.http.is_empty()).then(|| ReuseKey {
            submitter: task.submitter,
            module: module.hash,
            granted: granted.clone(),
        });
        let writable = task.shares.iter().any(|share| share.access == Access::Rw);
        let wants_blocks = (limits.out_bytes > 0 && limits.out_files > 0) || writable;
        let blocks = if wants_blocks {
            let file =
                scratch_file(&self.0.config.scratch).map_err(system("make room for the task's files"))?;
            Some(Arc::new(file))
        } else {
            None
        };
        // Not the file's name, which could make the same task say something else elsewhere.
        let mut args = vec![format!("{}.wasm", module.manifest.name)];
        args.extend(task.args.iter().cloned());
        // A program that knows nothing of tasks and is given no files sees none, as with any runner of WASI programs.
        // spec: SBX-3
        let output = limits.out_bytes > 0 && limits.out_files > 0;
        let given = output || !task.inputs.is_empty() || !task.shares.is_empty();
        let places = if dirs.is_empty() && (given || module.summary.manifest.is_some()) {
            Places::Root
        } else {
            Places::Apart { input: !task.inputs.is_empty(), output }
        };
        let start = Start {
            kind: module.summary.kind(),
            same_module: false,
            args,
            env: env.clone(),
            limits: limits.clone(),
            seed: id.random_seed(&input_hash),
            stdin: stdin_kind,
            blocks: blocks.is_some(),
            places,
            shares: task.shares.iter().map(|share| (share.name.clone(), share.access)).collect(),
            real_clock: granted.real_clock,
            real_random: granted.real_random,
            meta: vec![
                ("task_id".into(), id.to_string()),
                ("attempt".into(), told_attempt.to_string()),
                ("name".into(), module.manifest.name.clone()),
                ("memory_bytes".into(), limits.memory_bytes.to_string()),
                ("fuel".into(), limits.fuel.to_string()),
            ],
            checkpoints: task.checkpoints,
            resume,
        };
        let entries = parts(staged.entries.clone());
        let largest = file_limit(&limits, blocks.is_some(), staged.entries.len(), &dirs);
        let hand_over = |worker: &mut Worker| -> Result<Vec<String>, StartError> {
            let mut walls = worker.ready().map(<[String]>::to_vec).map_err(system("start a worker"))?;
            worker.begin();
            if !bound(worker, &limits, largest) {
                walls.retain(|wall| wall != "rlimits");
            }
            let talk = system("talk to the worker");
            if staged.files.len() > 1 || !staged.entries.is_empty() || start.resume.is_some() {
                for files in staged.files.chunks(crate::wire::MAX_FDS) {
                    let fds: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
                    send(&worker.socket, &ToWorker::Files, &fds, true).map_err(&talk)?;
                }
                for entries in &entries {
                    send(&worker.socket, &ToWorker::Entries(entries.clone()), &[], true).map_err(&talk)?;
                }
            }
            let same_module = key.is_some() && worker.last == key;
            let code = (!same_module).then(|| module.code.as_fd());
            let fds: Vec<_> =
                [code, blocks.as_ref().map(|f| f.as_fd()), stdin_file.as_ref().map(|f| f.as_fd())]
                    .into_iter()
                    .flatten()
                    .collect();
            let start = Start { same_module, ..start.clone() };
            send(&worker.socket, &ToWorker::Start(Box::new(start)), &fds, true).map_err(&talk)?;
            Ok(walls)
        };
        let mut worker = self.0.worker(key.as_ref(), &dirs)?;
        let walls = match hand_over(&mut worker) {
            Ok(walls) => walls,
            // One that waited may have died meanwhile, or been taken by the kernel when memory was short.
            Err(error) => {
                tracing::debug!(%error, "a worker could not be given its task; a new one is started");
                worker = self.0.spawn(dirs)?;
                hand_over(&mut worker)?
            }
        };
        worker.last = key;
        worker.tasks += 1;

        let receipt = Receipt {
            version: receipt::VERSION,
            task: id,
            attempt: task.attempt,
            module: module.hash,
            name: module.manifest.name.clone(),
            args: task.args,
            env,
            input: Input {
                hash: input_hash,
                stdin: stdin_digest,
                streamed: stdin_kind == StdinKind::Streamed,
                named,
            },
            limits,
            granted,
            profile: crate::engine::profile(),
            walls,
            out_bound: "metered".into(),
            outcome: mesh_protocol::outcome::Outcome::Cancelled,
            usage: receipt::Usage::default(),
            output: receipt::Output {
                stdout_bytes: 0,
                stdout: Digest::ZERO,
                stderr_bytes: 0,
                stderr: Digest::ZERO,
                out_bytes: 0,
                out_files: 0,
                out: Digest::ZERO,
            },
            not_comparable,
            resumed_from: task.resume.as_ref().map(|c| (c.header.seq, c.header.hash())),
            last_checkpoint: None,
            executor: PublicKey([0; 32]),
        };
        let setup = Setup {
            worker,
            receipt,
            stream,
            blocks,
            staged,
            shares: task.shares.len(),
            resume: task.resume,
            keep_checkpoints: task.checkpoints,
            wants_files: module.summary.imports.iter().any(|name| name.ends_with("path_open")),
            executor: self.0.clone(),
            _reserved: reserve,
        };
        supervise::start(setup).map_err(system("watch over the task"))
    }
}

impl Inner {
    fn spawn(&self, dirs: Vec<HostDir>) -> Result<Worker, StartError> {
        self.starter.start(dirs).map_err(system("start a worker"))
    }

    fn worker(&self, key: Option<&ReuseKey>, dirs: &[HostDir]) -> Result<Worker, StartError> {
        if !dirs.is_empty() {
            return self.spawn(dirs.to_vec());
        }
        if let Some(worker) = key.and_then(|key| self.pool.take_used(key)) {
            return Ok(worker);
        }
        match self.pool.take_fresh() {
            Some(worker) => Ok(worker),
            None => self.spawn(Vec::new()),
        }
    }

    /// Keeps a worker for the next task of its kind.
    pub(crate) fn keep(&self, worker: Worker) {
        let Config { keep_workers: keep, busy_workers: busy, .. } = self.config;
        if self.pool.put_used(worker, busy.max(keep)) > keep {
            self.starter.surplus();
        }
    }

    /// Starts workers until as many wait as should.
    pub(crate) fn refill(&self) {
        while let Some(place) = self.pool.place(self.config.ready_workers) {
            match self.spawn(Vec::new()) {
                Ok(worker) => place.fill(worker),
                Err(error) => {
                    tracing::warn!(%error, "no worker could be started ahead of time");
                    return;
                }
            }
        }
    }
}

/// Memory promised to a running task, given back when it ends.
pub(crate) struct Reserved(Arc<Inner>, u64);

impl Reserved {
    fn take(inner: &Arc<Inner>, bytes: u64) -> Result<Self, StartError> {
        let mut used = inner.memory_used.lock().unwrap_or_else(PoisonError::into_inner);
        let free = inner.config.memory.saturating_sub(*used);
        if bytes > free {
            return Err(StartError::Busy { wanted: bytes, free });
        }
        *used += bytes;
        Ok(Self(inner.clone(), bytes))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        *self.0.memory_used.lock().unwrap_or_else(PoisonError::into_inner) -= self.1;
    }
}

/// Refuses what lies out of bounds or beyond the grant, before anything is read or started.
fn check(task: &Task) -> Result<(), Refusal> {
    let request = |text: String| Err(Refusal::Request(text));
    let Task { limits, granted, module, .. } = task;
    if let Some((name, range)) = limits.out_of_range() {
        return request(format!("the limit `{name}` must be {range}"));
    }
    if module.summary.first_memory > limits.memory_bytes {
        return Err(Refusal::MemoryTooLarge {
            actual: module.summary.first_memory,
            limit: limits.memory_bytes,
        });
    }
    let texts = task.args.iter().chain(task.env.keys()).chain(task.env.values());
    let (mut count, mut bytes) = (0, 0);
    for text in texts {
        count += 1;
        bytes += text.len() + 1;
        if text.contains('\0') {
            return request("an argument or environment variable holds a zero byte".into());
        }
    }
    if count > MAX_ARGS || bytes > MAX_ARGS_BYTES {
        return request(format!(
            "at most {MAX_ARGS} arguments and variables of {MAX_ARGS_BYTES} bytes in all are given to a task"
        ));
    }
    if let Some(key) = task.env.keys().find(|key| !is_env_key(key)) {
        return request(format!("{key:?} cannot be the name of an environment variable"));
    }
    let not_granted = |what: String, line: String| {
        let place = "[permissions] in the task's task.toml".into();
        Err(Refusal::NotGranted { what, line, place })
    };
    if let Some(key) = task.env.keys().find(|key| !granted.env.contains(key)) {
        return not_granted(format!("the environment variable {key}"), format!("env = [{key:?}]"));
    }
    for input in &task.inputs {
        if !is_file_name(&input.name) {
            return request(format!(
                "{:?} cannot be an input's name: it must be a plain file name",
                input.name
            ));
        }
        if !granted.inputs.contains(&input.name) {
            return not_granted(
                format!("the input {:?}", input.name),
                format!("inputs = [{:?}]", input.name),
            );
        }
    }
    for share in &task.shares {
        let access = if share.access == Access::Rw { "rw" } else { "ro" };
        if granted.shares.get(&share.name).is_none_or(|allowed| *allowed < share.access) {
            let line = format!("shares = {{ {} = {access:?} }}", share.name);
            return not_granted(format!("the share {:?} ({access})", share.name), line);
        }
    }
    if let Some(host) = granted.http.first() {
        return request(format!("this executor gives no task the network; HTTP to {host} cannot be granted"));
    }
    let mut names: Vec<&str> = task.inputs.iter().map(|input| input.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return request(format!("the input {:?} is given twice", twice[0]));
    }
    if module.summary.component
        && !task.dirs.is_empty()
        && (!task.inputs.is_empty() || !task.shares.is_empty())
    {
        return request(
            "a component is given either folders of this machine or inputs and shares, not both".into(),
        );
    }
    if let Some(dir) = task.dirs.iter().find(|dir| !std::path::Path::new(&dir.host).is_dir()) {
        return request(format!("{:?} is not a folder", dir.host));
    }
    Ok(())
}

/// Workers stand in the root folder, so paths must not depend on where we stand.
fn absolute(dirs: Vec<HostDir>) -> Result<Vec<HostDir>, StartError> {
    let one = |mut dir: HostDir| {
        let path = std::fs::canonicalize(&dir.host).map_err(system("find a folder given with --dir"))?;
        dir.host = path
            .into_os_string()
            .into_string()
            .map_err(|path| Refusal::Request(format!("the folder {path:?} has a name that is not UTF-8")))?;
        Ok(dir)
    };
    dirs.into_iter().map(one).collect()
}

/// What was streamed to the task before it saved must be what is streamed to it now, which its hash cannot tell.
// spec: SDK-6
fn same_beginning(
    mut stream: Box<dyn Read + Send>,
    checkpoint: &Checkpoint,
) -> Result<Box<dyn Read + Send>, StartError> {
    let header = &checkpoint.header;
    if header.stdin_read > mesh_protocol::limits::MAX_CHECKPOINT {
        return Err(Refusal::Checkpoint(
            "more was streamed to it than can be compared; give the input as a file".into(),
        )
        .into());
    }
    let mut beginning = Vec::new();
    stream.by_ref().take(header.stdin_read).read_to_end(&mut beginning).map_err(system("read the input"))?;
    if beginning.len() as u64 != header.stdin_read || digest::bytes(&beginning) != header.stdin {
        return Err(Refusal::Checkpoint("it belongs to another input".into()).into());
    }
    Ok(Box::new(io::Cursor::new(beginning).chain(stream)))
}

/// Hands a checkpoint's `/out` in again.
fn restage(staged: &mut Staged, checkpoint: &Checkpoint) {
    use crate::wire::{InEntry, InNode};
    for (path, node) in &checkpoint.out {
        let node = match node {
            OutNode::Dir => InNode::Dir,
            OutNode::Link(target) => InNode::Link(target.clone()),
            OutNode::File(bytes) => {
                let (file, offset, len) = staged.bytes(bytes);
                InNode::File { file, offset, len }
            }
        };
        let mtime = crate::guest::clock::EPOCH_NS.cast_signed();
        staged.entries.push(InEntry { tree: 1, path: path.clone(), node, mtime });
    }
}

/// Most bytes of a file that the engine makes for itself: the first content of a component's memory, which may be twice
/// as long as the data in its module.
const ENGINE_FILE: u64 = 2 * admission::MAX_MODULE + (1 << 20);

/// Most bytes of any file that a worker writes; none where it works in folders of this machine, which are unmetered.
fn file_limit(limits: &Limits, blocks: bool, handed_in: usize, dirs: &[HostDir]) -> Option<u64> {
    if dirs.iter().any(|dir| dir.writable) {
        return None;
    }
    // A block is the least that a file takes: one of its own, one handed in and rewritten, and one that has lost its
    // name and is open.
    let files = u64::from(limits.out_files) + (handed_in + crate::engine::HANDLES) as u64;
    let file = if blocks { limits.out_bytes + files * crate::guest::blocks::BLOCK } else { 0 };
    Some(file.max(ENGINE_FILE))
}

/// Bounds from outside what even a worker that was taken over could write and hold; false if it cannot be bounded.
// spec: SBX-9
fn bound(worker: &Worker, limits: &Limits, file: Option<u64>) -> bool {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    // Room for the engine, its stacks and its module; the guest's own memory is bounded by its limiter before this.
    let data = limits.memory_bytes + (256 << 20);
    let mut bounded = true;
    for (resource, value) in [(Resource::Fsize, file), (Resource::Data, Some(data))] {
        // A worker is bound anew for each task, and what it has from us it may be given again, but no more.
        let maximum = getrlimit(resource).maximum;
        let limit = Rlimit { current: value.into_iter().chain(maximum).min(), maximum };
        let pid = Pid::from_child(&worker.child);
        if let Err(error) = prlimit(Some(pid), resource, limit) {
            tracing::warn!(%error, "a worker's resource limit could not be set");
            bounded = false;
        }
    }
    bounded
}

/// A file without a name.
pub(crate) fn scratch_file(dir: &std::path::Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    match open(dir, OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => Ok(File::from(fd)),
        // File systems without it: memory, which has no name either.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::NOENT) => {
            memory_file("files", &[])
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
