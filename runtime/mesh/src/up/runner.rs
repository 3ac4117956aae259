//! Runs attempts: gathers what each needs, hands it to the sandbox, and tells the node what becomes of it. A thread an
//! attempt, off the network's threads.
// spec: ARC-5, DEL-5

use super::blobs::{Blobs, Keeper, is_damaged};
use super::driver::Arrival;
use super::fetch::Fetcher;
use super::output;
use super::runs::{Files, Live, Runs, Stream, Wish, clear};
use super::{causes, cut, is_at_limits};
use mesh_executor::{
    CollectError, Event, Executor, LoadedModule, NamedInput, Report, Share, StageError, StartError, Stdin,
    Task,
};
use mesh_node::{Input, Metering, Run, RunEvent, Unfetched};
use mesh_protocol::checkpoint::Checkpoint;
use mesh_protocol::digest::{self, TreeEntry, TreeNode};
use mesh_protocol::frame::{AttemptId, MAX_CONFLICT, Released};
use mesh_protocol::ids::{BlobHash, Digest, InputHash, ModuleHash};
use mesh_protocol::key::PublicKey;
use mesh_protocol::limits::MB;
use mesh_protocol::outcome::Outcome;
use mesh_protocol::permissions::Access;
use mesh_protocol::reason::Reason;
use mesh_protocol::receipt::Receipt;
use mesh_protocol::task::{Blob, InputFile, TaskSpec};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Modules kept ready to start. Each is machine code in memory, a megabyte or so; what falls out is in the executor's
/// cache on disk, a few milliseconds away.
const MAX_MODULES: usize = 16;
/// Bytes of it, which no task is charged for: two of the largest.
const MAX_CODE: u64 = 256 * MB;
/// Standard input up to this size is handed over as bytes, which saves the executor reading it twice.
const SMALL_STDIN: u64 = 256 * 1024;
/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// How often, and after what pause, a share is tried to be put in place when that cannot begin or writing fails: a disk that
/// is full now may have room in a while, and after ten minutes its owner should hear of it.
const RELEASE_TRIES: u32 = 10;
const RELEASE_AGAIN: Duration = Duration::from_secs(60);
/// What a task goes on from, where it is to blame: its owner no longer gives it to anybody then.
const STATE: &str = "its checkpoint";
/// Longest text of the sandbox in a reason: it travels in a frame and stands in the ledger.
const MAX_TEXT: usize = 300;

/// Runs attempts.
pub(crate) struct Runner {
    pub(crate) me: PublicKey,
    pub(crate) executor: Executor,
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) inputs: mpsc::Sender<Arrival>,
    pub(crate) runtime: tokio::runtime::Handle,
    /// Holds what lies between; cleared at start.
    pub(crate) scratch: PathBuf,
    /// Folders that tasks may be granted.
    pub(crate) shares: Vec<Share>,
    /// Holds what tasks changed in them until it takes effect.
    pub(crate) releases: PathBuf,
    pub(crate) releasing: Mutex<()>,
    pub(crate) modules: Modules,
    pub(crate) meter: crate::meter::Meter,
}

/// Where in the folder of what waits for its effect an attempt's lies.
fn release_name(attempt: AttemptId) -> String {
    format!("{}-{}", attempt.task, attempt.attempt)
}

/// Takes away what waits for an effect that it will never have: of attempts that are known no more, and of runs of this
/// program beside the peer that were killed.
// spec: DEL-4, ARC-7
pub(super) fn clear_releases(folder: &Path, kept: impl Iterator<Item = AttemptId>) {
    let kept: BTreeSet<String> = kept.map(release_name).collect();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix("run-").and_then(|rest| rest.split('-').next());
        let stays = match process {
            Some(process) => Path::new("/proc").join(process).exists(),
            None => kept.contains(&name),
        };
        if !stays {
            clear(&entry.path());
        }
    }
}

/// Why there is no more to be said of an attempt.
enum Over {
    /// It was told to stop.
    Stopped,
    /// It came to no end.
    Lost(Reason),
}

/// Why what an attempt changed is not in place.
enum Unreleased {
    /// Another try may do.
    Yet(CollectError),
    /// None will.
    Ever(String),
}

impl From<Reason> for Over {
    fn from(reason: Reason) -> Self {
        Self::Lost(reason)
    }
}

fn storage(what: &'static str) -> impl Fn(io::Error) -> Over {
    move |error| Over::Lost(Reason::StorageFailed(cut(&format!("{what}: {}", causes(&error)), MAX_TEXT)))
}

/// The same while a task is made ready: what other work here holds passes, and is no fault of the task's.
// spec: DEL-3
fn ready(what: &'static str) -> impl Fn(io::Error) -> Over {
    move |error| match is_at_limits(&error) {
        true => {
            tracing::info!(why = %causes(&error), "a task was not started");
            Over::Lost(Reason::NoCapacity)
        }
        false => storage(what)(error),
    }
}

fn inadmissible(text: &str) -> Over {
    Over::Lost(Reason::Inadmissible(cut(text, MAX_TEXT)))
}

impl Runner {
    /// Begins an attempt. Returns at once.
    pub(crate) fn run(self: &Arc<Self>, run: Box<Run>) {
        let (this, attempt) = (self.clone(), run.attempt);
        let Some(live) = self.runs.begin(attempt) else {
            return self.tell_later(attempt, RunEvent::Lost(Reason::NoCapacity));
        };
        let thread = std::thread::Builder::new().name("attempt".into()).spawn({
            let live = live.clone();
            move || this.whole(*run, &live)
        });
        if let Err(error) = thread {
            live.ended();
            let failed = || Reason::SandboxFailed(causes(&error));
            let reason = if is_at_limits(&error) { Reason::NoCapacity } else { failed() };
            self.tell_later(attempt, RunEvent::Lost(reason));
        }
    }

    /// Wants something else of an attempt. Returns at once; the node hears when it is so.
    pub(crate) fn want(self: &Arc<Self>, attempt: AttemptId, wish: Wish) {
        let Some(live) = self.runs.get(attempt) else { return };
        live.want(wish);
        let this = self.clone();
        self.runtime.spawn_blocking(move || this.apply(attempt, &live));
    }

    fn apply(&self, attempt: AttemptId, live: &Live) {
        // What was brought about later must not be told first.
        let _in_order = live.telling.lock().unwrap_or_else(PoisonError::into_inner);
        match live.apply() {
            Some(Wish::Run) => self.tell(attempt, RunEvent::Resumed),
            Some(Wish::Hold) => self.tell(attempt, RunEvent::Paused),
            Some(Wish::Stop) | None => {}
        }
    }

    /// Reads again and again what runs here use, until this runner is gone.
    // spec: CO2-1
    pub(crate) fn watch_use(self: &Arc<Self>) -> io::Result<()> {
        let this = Arc::downgrade(self);
        let work = move || {
            loop {
                std::thread::sleep(crate::meter::EVERY);
                let Some(this) = this.upgrade() else { return };
                this.tell_use();
                if this.inputs.is_closed() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("meter".into()).spawn(work).map(|_| ())
    }

    fn tell_use(&self) {
        for (attempt, metering) in self.meter.sample(crate::up::now().wall_ms) {
            self.tell(attempt, RunEvent::Metered(metering));
        }
    }

    /// Ends everything that runs.
    pub(crate) fn stop_all(&self) {
        for live in self.runs.all() {
            live.want(Wish::Stop);
            live.apply();
        }
    }

    fn tell(&self, attempt: AttemptId, event: RunEvent) {
        // Fails only when the node is gone, and then nobody asks.
        let _node_gone = self.inputs.blocking_send(Input::Run(attempt, event).into());
    }

    /// From a thread that must not wait for the node.
    fn tell_later(&self, attempt: AttemptId, event: RunEvent) {
        let inputs = self.inputs.clone();
        self.runtime.spawn(async move {
            let _node_gone = inputs.send(Input::Run(attempt, event).into()).await;
        });
    }

    /// An attempt from its beginning to its end.
    fn whole(&self, run: Run, live: &Arc<Live>) {
        let attempt = run.attempt;
        let mut used = None;
        let result = self.attempt(&run, live, &mut used);
        live.ended();
        match result {
            Ok((receipt, output)) if !live.stopped() => {
                let metering = used.unwrap_or_default();
                self.tell(attempt, RunEvent::Ended(receipt, output, metering));
            }
            Err(Over::Lost(reason)) if !live.stopped() => {
                tracing::debug!(task = %attempt.task.short(), attempt = attempt.attempt, %reason, "an attempt was lost");
                self.tell(attempt, RunEvent::Lost(reason));
                self.tell(attempt, RunEvent::Spent(used));
            }
            _ => self.tell(attempt, RunEvent::Spent(used)),
        }
        if self.runs.is_forgotten(attempt) {
            // It was forgotten while it ran, and may have kept something since.
            clear(&live.folder);
            clear(&self.release_folder(attempt));
            self.blobs.forget(attempt);
        }
    }

    /// Leaves what it used, however it ends, once it has started.
    // spec: CO2-1, DEL-13
    fn attempt(
        &self,
        run: &Run,
        live: &Arc<Live>,
        used: &mut Option<Metering>,
    ) -> Result<(Box<Receipt>, Blob), Over> {
        let spec = &run.spec;
        if input_hash(spec).is_none_or(|hash| hash != spec.input) {
            return Err(inadmissible("its inputs are not the ones that its id was made with"));
        }
        let module = self.module(run, live)?;
        let scratch = Scratch(self.scratch.join(format!("{}-{}", run.attempt.task, run.attempt.attempt)));
        let task = self.task(run, live, module, &scratch.0)?;
        let mut files = Files::default();
        if live.stopped() {
            return Err(Over::Stopped);
        }
        let mut running = self.executor.start(task).map_err(|error| {
            if matches!(error, StartError::Stage(StageError::Differs)) {
                self.drop_damaged(run);
            }
            refused(error)
        })?;
        // Its module may compute from here on, and need not let its worker say more. Told before it can be held, so that
        // nobody hears of a pause first.
        self.meter.begin(run.attempt, running.worker_pid(), crate::up::now().wall_ms);
        self.tell(run.attempt, RunEvent::Started);
        live.controlled_by(running.control());
        // What was wanted while it was not there to be told.
        self.apply(run.attempt, live);
        let mut last_progress: Option<Instant> = None;
        let mut saved = Saved { keeper: self.keeper(run), kept: VecDeque::new(), failed: false };
        let mut trouble = None;
        let mut report = None;
        while let Some(event) = running.next() {
            let done = match event {
                Event::Stdout(bytes) => live.write(&mut files, Stream::Stdout, &bytes),
                Event::Stderr(bytes) => live.write(&mut files, Stream::Stderr, &bytes),
                Event::Progress(permille, note) => {
                    if last_progress.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY) {
                        last_progress = Some(Instant::now());
                        self.tell(run.attempt, RunEvent::Progress(permille, note));
                    }
                    Ok(())
                }
                Event::Checkpoint(checkpoint) => {
                    self.checkpoint(run.attempt, checkpoint, &mut saved);
                    Ok(())
                }
                Event::Ended(ended) => {
                    report = Some(ended);
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Err(error) = done {
                // Half an output is none.
                running.control().cancel();
                trouble.get_or_insert(error);
            }
        }
        drop(running);
        let usage = report.as_ref().map(|report| &report.receipt.usage);
        *used = self.meter.end(run.attempt, usage, crate::up::now().wall_ms);
        if let Some(error) = trouble {
            return Err(storage("keep the output")(error));
        }
        let report =
            report.ok_or_else(|| Reason::SandboxFailed("its supervisor ended without a word".into()))?;
        if live.stopped() {
            return Err(Over::Stopped);
        }
        self.ended(run, live, *report)
    }

    fn ended(&self, run: &Run, live: &Live, report: Report) -> Result<(Box<Receipt>, Blob), Over> {
        let keep = storage("keep the output");
        if report.receipt.outcome == Outcome::Exited(0) {
            self.hold_shares(run, &report)?;
        }
        let mut writer = BufWriter::with_capacity(64 * 1024, self.blobs.writer(self.keeper(run)));
        let streams = [Stream::Stdout, Stream::Stderr].map(|stream| live.written(stream));
        output::pack(&mut writer, streams, report.out.as_ref()).map_err(&keep)?;
        let blob = writer.into_inner().map_err(|error| error.into_error()).and_then(|w| w.finish());
        Ok((Box::new(report.receipt), blob.map_err(&keep)?))
    }

    fn release_all(&self, folder: &Path) -> Result<(), Unreleased> {
        // Two that work on one share must not both find it as it was.
        let _one_at_a_time = self.releasing.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |source| Unreleased::Yet(CollectError::Write { path: folder.into(), source });
        let held = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            held => held.map_err(failed)?,
        };
        for entry in held {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            // Its owner may have taken it back at the last start.
            let share = name.to_str().and_then(|name| self.share(name));
            let share = share.filter(|share| share.access == Access::Rw);
            let share = share.ok_or_else(|| {
                Unreleased::Ever(format!("the share {} is not given for writing any more", name.display()))
            })?;
            mesh_executor::release(&entry.path(), &share.path).map_err(|error| match error {
                CollectError::Write { .. } => Unreleased::Yet(error),
                CollectError::Conflict(_) => Unreleased::Ever(causes(&error)),
            })?;
        }
        Ok(())
    }

    /// Where it is kept what an attempt changed in shares: a folder for each, by its name.
    pub(crate) fn release_folder(&self, attempt: AttemptId) -> PathBuf {
        self.releases.join(release_name(attempt))
    }

    /// Keeps what it changed in shares until its owner has taken its result.
    // spec: DEL-4
    fn hold_shares(&self, run: &Run, report: &Report) -> Result<(), Over> {
        for (number, tree, name) in changeable(&report.shares, &run.spec.permissions.shares) {
            let Some((tree, share)) = tree.as_ref().zip(self.share(name)) else { continue };
            let folder = self.release_folder(run.attempt).join(name);
            tree.hold(number, &share.path, &folder).map_err(|error| {
                Over::Lost(Reason::StorageFailed(cut(
                    &format!("keep its share: {}", causes(&error)),
                    MAX_TEXT,
                )))
            })?;
            // The names of the folders above it, too, must be there after a power cut.
            for above in [Some(&*self.releases), self.releases.parent()].into_iter().flatten() {
                File::open(above).and_then(|dir| dir.sync_all()).map_err(storage("keep its share"))?;
            }
        }
        Ok(())
    }

    fn share(&self, name: &str) -> Option<&Share> {
        self.shares.iter().find(|share| share.name == *name)
    }

    /// Puts what an attempt changed in shares in place. Returns at once; the node hears how it ended.
    // spec: DEL-4
    pub(crate) fn release(self: &Arc<Self>, attempt: AttemptId) {
        let this = self.clone();
        self.runtime.spawn(async move {
            let begun = begun(RELEASE_AGAIN, || {
                let this = this.clone();
                let thread = std::thread::Builder::new().name("release".into());
                thread.spawn(move || this.release_now(attempt)).map(|_| ())
            });
            if let Err(error) = begun.await {
                let why = cut(&format!("it could not begin: {}", causes(&error)), MAX_CONFLICT);
                this.tell_later(attempt, RunEvent::Released(Released::Conflict(why)));
            }
        });
    }

    /// In a thread of its own: it waits for the disk.
    fn release_now(&self, attempt: AttemptId) {
        let folder = self.release_folder(attempt);
        let mut tries = 0;
        let released = loop {
            match self.release_all(&folder) {
                Ok(()) => break Released::Released,
                Err(Unreleased::Yet(error)) if tries < RELEASE_TRIES => {
                    tries += 1;
                    tracing::warn!(task = %attempt.task.short(), error = %causes(&error), "a share was not put in place; it is tried again");
                    std::thread::sleep(RELEASE_AGAIN);
                }
                Err(Unreleased::Yet(error)) => {
                    break Released::Conflict(cut(&causes(&error), MAX_CONFLICT));
                }
                Err(Unreleased::Ever(why)) => break Released::Conflict(cut(&why, MAX_CONFLICT)),
            }
        };
        self.tell(attempt, RunEvent::Released(released));
    }

    /// For whom this attempt's blobs are kept: for ourselves if the task is our own.
    fn keeper(&self, run: &Run) -> Keeper {
        if run.owner == self.me { Keeper::Own } else { Keeper::Attempt(run.attempt) }
    }

    fn checkpoint(&self, attempt: AttemptId, checkpoint: Box<Checkpoint>, saved: &mut Saved) {
        let (number, bytes) = (checkpoint.header.seq, checkpoint.encode());
        // Either may be hundreds of megabytes.
        drop(checkpoint);
        let Some(blob) = saved.keep(&self.blobs, &bytes) else { return };
        // What is kept of the work and what is known of its use go together.
        self.tell_use();
        self.tell(attempt, RunEvent::Checkpoint(number, blob));
        saved.let_go(&self.blobs, MAX_SAVED);
    }

    // ---- gathering ----

    /// The path of a blob that the attempt needs, fetched if it is not here.
    fn need(&self, run: &Run, live: &Live, blob: Blob, what: &str) -> Result<PathBuf, Over> {
        let lost = |why: Unfetched| Over::Lost(unfetched(what, &why));
        if run.owner == self.me {
            let path = self.blobs.path(&blob.hash);
            return path.ok_or_else(|| lost(Unfetched::False("it is not kept here any more".into())));
        }
        let keeper = Keeper::Attempt(run.attempt);
        if !is_here(&self.blobs, keeper, &blob, what)? {
            let mut wish = live.wish();
            let fetched = self.runtime.block_on(async {
                tokio::select! {
                    fetched = self.fetcher.need(keeper, blob, run.owner) => Some(fetched),
                    _ = wish.wait_for(|wish| *wish == Wish::Stop) => None,
                }
            });
            fetched.ok_or(Over::Stopped)?.map_err(lost)?;
        }
        let path = self.blobs.path(&blob.hash);
        path.ok_or_else(|| lost(Unfetched::Line("it was taken away meanwhile".into())))
    }

    /// The inputs that are here came as they should: what differs now was lost to this disk, and is fetched again. What is
    /// our owner's own is not ours to throw away.
    fn drop_damaged(&self, run: &Run) {
        let Keeper::Attempt(_) = self.keeper(run) else { return };
        for blob in run.spec.inputs.iter().map(|file| &file.blob).chain(&run.spec.stdin) {
            self.blobs.drop_damaged(&blob.hash);
        }
    }

    /// It came as it should: what differs now was lost to this disk, says nothing of the task, and is fetched again.
    // spec: DEL-5
    fn is_whole(&self, run: &Run, blob: &Blob, bytes: &[u8], what: &str) -> Result<(), Over> {
        if *blake3::hash(bytes).as_bytes() == blob.hash.0 {
            return Ok(());
        }
        if let Keeper::Attempt(_) = self.keeper(run) {
            self.blobs.drop_damaged(&blob.hash);
        }
        Err(Over::Lost(Reason::NotFetched(format!("{what}: the bytes kept here are damaged"))))
    }

    fn module(&self, run: &Run, live: &Live) -> Result<LoadedModule, Over> {
        let hash = run.spec.module;
        if let Some(module) = self.modules.get(&hash) {
            return Ok(module);
        }
        let blob = Blob { hash: hash.into(), len: run.spec.module_len };
        if blob.len > mesh_executor::MAX_MODULE {
            return Err(inadmissible("its module is larger than any may be"));
        }
        let path = self.need(run, live, blob, "its module")?;
        let bytes = fs::read(path).map_err(ready("read the module"))?;
        self.is_whole(run, &blob, &bytes, "its module")?;
        let module = self.executor.load(&bytes).map_err(refused)?;
        self.modules.put(module.clone());
        Ok(module)
    }

    fn task(&self, run: &Run, live: &Live, module: LoadedModule, scratch: &Path) -> Result<Task, Over> {
        let spec = &run.spec;
        let stdin = match spec.stdin {
            None => Stdin::Empty,
            Some(blob) => {
                let path = self.need(run, live, blob, "its standard input")?;
                let file = File::open(path).map_err(ready("read the input"))?;
                if blob.len <= SMALL_STDIN {
                    let mut bytes = Vec::new();
                    file.take(SMALL_STDIN + 1).read_to_end(&mut bytes).map_err(ready("read the input"))?;
                    Stdin::Bytes(bytes)
                } else {
                    Stdin::File(file)
                }
            }
        };
        let inputs = self.inputs(run, live, scratch)?;
        let resume = run.resume.map(|blob| self.resume(run, live, blob)).transpose()?;
        let mut task = Task::new(module);
        task.id = Some(spec.id());
        task.submitter = spec.submitter;
        task.nonce = spec.nonce;
        task.attempt = run.attempt.attempt;
        task.input = Some(spec.input);
        task.args.clone_from(&spec.args);
        task.env = spec.env.iter().cloned().collect();
        task.stdin = stdin;
        task.inputs = inputs;
        task.limits = spec.limits.clone();
        task.granted = spec.permissions.clone();
        for (name, access) in &spec.permissions.shares {
            let share =
                self.share(name).ok_or_else(|| inadmissible(&format!("there is no share {name:?} here")))?;
            task.shares.push(Share { access: *access, ..share.clone() });
        }
        task.checkpoints = spec.limits.checkpoint_bytes > 0;
        task.resume = resume;
        Ok(task)
    }

    fn resume(&self, run: &Run, live: &Live, blob: Blob) -> Result<Checkpoint, Over> {
        if blob.len > mesh_protocol::checkpoint::largest(&run.spec.limits) {
            return Err(inadmissible("its checkpoint is larger than its limits allow"));
        }
        let path = self.need(run, live, blob, STATE)?;
        let bytes = fs::read(path).map_err(ready("read the checkpoint"))?;
        // What is lent comes again; our owner's own does not, and the task begins anew without it.
        let what = if run.owner == self.me { STATE } else { "the state that it goes on from" };
        self.is_whole(run, &blob, &bytes, what)?;
        Checkpoint::decode(&bytes).map_err(|error| inadmissible(&format!("{STATE}: {}", causes(&error))))
    }

    /// Lays the input files out as they are named. A plain file is taken from where it lies; only what lies in folders
    /// needs folders to lie in.
    fn inputs(&self, run: &Run, live: &Live, scratch: &Path) -> Result<Vec<NamedInput>, Over> {
        let lay = ready("lay out the inputs");
        let mut named: BTreeMap<&str, PathBuf> = BTreeMap::new();
        for InputFile { path, blob } in &run.spec.inputs {
            let from = self.need(run, live, *blob, &format!("its input {path:?}"))?;
            let Some((name, _)) = path.split_once('/') else {
                named.insert(path, from);
                continue;
            };
            // Checked with the specification: names joined by `/`, none of them `..`.
            let to = scratch.join("in").join(path);
            if let Some(folder) = to.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(&lay)?;
            }
            // Another file system than the blobs' knows no such links.
            fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(|_| ())).map_err(&lay)?;
            named.entry(name).or_insert_with(|| scratch.join("in").join(name));
        }
        Ok(named.into_iter().map(|(name, path)| NamedInput { name: name.to_owned(), path }).collect())
    }
}

/// Begins a release, which cannot be begun while this machine is at its limits, as soon as it can be.
// spec: DEL-4
async fn begun(again: Duration, mut begin: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let mut tries = 0;
    loop {
        match begin() {
            Err(error) if tries < RELEASE_TRIES => {
                tries += 1;
                tracing::warn!(%error, "putting a share in place could not begin; it is tried again");
                tokio::time::sleep(again).await;
            }
            begun => return begun,
        }
    }
}

/// Is a blob here that an attempt needs, and kept for it, too? Where its length is not what the specification says, either
/// what is here is damaged, and goes to come again, or the specification is false, and others may need what is here.
// spec: DEL-5
fn is_here(blobs: &Blobs, keeper: Keeper, blob: &Blob, what: &str) -> Result<bool, Over> {
    let keep = ready("keep an input");
    let path = match blobs.share(keeper, &blob.hash).map_err(&keep)? {
        true => blobs.path(&blob.hash),
        false => None,
    };
    let Some(path) = path else { return Ok(false) };
    let len = fs::metadata(&path).map_err(&keep)?.len();
    if len == blob.len {
        return Ok(true);
    }
    if !is_damaged(&path, &blob.hash).map_err(&keep)? {
        return Err(inadmissible(&format!("{what} has {len} bytes and not {}", blob.len)));
    }
    blobs.drop_damaged(&blob.hash);
    Ok(false)
}

/// Of what a worker left of each share, with its number and name, what the task was given for writing. A worker that was
/// taken over may say of the others what it likes. They stand in a task in their names' order.
// spec: DEL-4, SBX-10
fn changeable<'a, T>(
    trees: &'a [T],
    shares: &'a BTreeMap<String, Access>,
) -> impl Iterator<Item = (u16, &'a T, &'a str)> {
    let numbered = (0..).zip(trees.iter().zip(shares));
    let given = numbered.filter(|(_, (_, (_, access)))| **access == Access::Rw);
    given.map(|(number, (tree, (name, _)))| (number, tree, name.as_str()))
}

/// The hash of all that a task may read, as its specification names it; none if two inputs stand in each other's way.
pub(crate) fn input_hash(spec: &TaskSpec) -> Option<InputHash> {
    let mut nodes: BTreeMap<Vec<&str>, TreeNode> = BTreeMap::new();
    for file in &spec.inputs {
        let parts: Vec<&str> = file.path.split('/').collect();
        for depth in 1..parts.len() {
            let folder = nodes.entry(parts[..depth].to_vec()).or_insert(TreeNode::Dir);
            if *folder != TreeNode::Dir {
                return None;
            }
        }
        let node = TreeNode::File { len: file.blob.len, content: Digest(file.blob.hash.0) };
        if nodes.insert(parts, node).is_some() {
            return None;
        }
    }
    let entries: Vec<TreeEntry> =
        nodes.into_iter().map(|(parts, node)| TreeEntry { path: parts.join("/"), node }).collect();
    let stdin = spec.stdin.map_or_else(|| digest::bytes(b""), |blob| Digest(blob.hash.0));
    Some(digest::input(Some(stdin), digest::tree(&entries)))
}

/// Why an attempt is lost that misses something. What this device has no room for says nothing of the task, and what the
/// line is to blame for says nothing of the state that should have come.
// spec: DEL-3, DEL-7
fn unfetched(what: &str, why: &Unfetched) -> Reason {
    let what = match why {
        Unfetched::NoRoom(_) => {
            tracing::warn!(what, %why, "a task was not started");
            return Reason::NoCapacity;
        }
        Unfetched::Line(_) if what == STATE => "the state that it goes on from",
        _ => what,
    };
    Reason::NotFetched(cut(&format!("{what}: {why}"), MAX_TEXT))
}

fn refused(error: StartError) -> Over {
    let text = cut(&causes(&error), MAX_TEXT);
    Over::Lost(match error {
        StartError::Refused(_) => Reason::Inadmissible(text),
        StartError::Busy { .. } | StartError::Overtaxed(_) | StartError::Stage(StageError::Full(_)) => {
            tracing::info!(why = text, "a task was not started");
            Reason::NoCapacity
        }
        StartError::System { ref source, .. } | StartError::Stage(StageError::Read { ref source, .. })
            if is_at_limits(source) =>
        {
            tracing::info!(why = text, "a task was not started");
            Reason::NoCapacity
        }
        StartError::Stage(_) => Reason::NotFetched(text),
        StartError::System { .. } => Reason::SandboxFailed(text),
    })
}

/// Was there no room for it: on the disk, or in what is given to tasks of it?
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What an attempt has saved of its state.
struct Saved {
    keeper: Keeper,
    /// The oldest first.
    kept: VecDeque<BlobHash>,
    /// The last was not kept, and that was told.
    failed: bool,
}

/// States kept of an attempt. The one before the last may be on its way to the owner.
const MAX_SAVED: usize = 2;

impl Saved {
    /// Keeps one more. None if that fails: the last stays, and the work goes on. Where there is no room, the one before the
    /// last makes it: each that is not kept is work that would have to be done again.
    // spec: DEL-7
    fn keep(&mut self, blobs: &Blobs, checkpoint: &[u8]) -> Option<Blob> {
        let mut kept = blobs.put(self.keeper, checkpoint);
        if kept.as_ref().is_err_and(is_full) && self.let_go(blobs, 1) {
            kept = blobs.put(self.keeper, checkpoint);
        }
        match kept {
            Ok(blob) => {
                self.failed = false;
                self.kept.push_back(blob.hash);
                Some(blob)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    tracing::warn!(error = %causes(&error), "a task's state was not kept; it goes on without");
                }
                None
            }
        }
    }

    /// Lets go of the oldest if there are more than so many. Did it?
    fn let_go(&mut self, blobs: &Blobs, most: usize) -> bool {
        let old = (self.kept.len() > most).then(|| self.kept.pop_front()).flatten();
        if let (Keeper::Attempt(attempt), Some(old)) = (self.keeper, old)
            && !self.kept.contains(&old)
        {
            blobs.release(attempt, &old);
        }
        old.is_some()
    }
}

/// A folder that goes with what is in it.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        clear(&self.0);
    }
}

/// The modules used last, ready to start.
#[derive(Default)]
pub(crate) struct Modules(Mutex<VecDeque<LoadedModule>>);

impl Modules {
    fn list(&self) -> MutexGuard<'_, VecDeque<LoadedModule>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, hash: &ModuleHash) -> Option<LoadedModule> {
        let mut list = self.list();
        let at = list.iter().position(|module| module.hash == *hash)?;
        let module = list.remove(at)?;
        list.push_front(module.clone());
        Some(module)
    }

    fn put(&self, module: LoadedModule) {
        let mut list = self.list();
        list.retain(|known| known.hash != module.hash);
        list.push_front(module);
        bound(&mut list, LoadedModule::code_bytes);
    }
}

/// Lets go of what was used longest ago.
// spec: ARC-7
fn bound<T>(list: &mut VecDeque<T>, bytes: impl Fn(&T) -> u64) {
    while list.len() > MAX_MODULES || list.iter().map(&bytes).sum::<u64>() > MAX_CODE {
        list.pop_back();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use mesh_protocol::ids::CommunityId;
    use mesh_protocol::key::UserKey;
    use mesh_protocol::limits::Limits;
    use mesh_protocol::permissions::Permissions;
    use mesh_protocol::task::Sla;

    pub(in crate::up) fn spec(inputs: &[(&str, &[u8])]) -> TaskSpec {
        let blob = |bytes: &[u8]| Blob { hash: BlobHash(digest::bytes(bytes).0), len: bytes.len() as u64 };
        let inputs = inputs.iter().map(|(path, bytes)| InputFile { path: (*path).into(), blob: blob(bytes) });
        TaskSpec {
            version: mesh_protocol::task::VERSION,
            community: CommunityId::ZERO,
            submitter: PublicKey([1; 32]),
            user: UserKey(PublicKey([2; 32])),
            nonce: [0; 32],
            name: "x".into(),
            module: ModuleHash::ZERO,
            module_len: 0,
            args: vec![],
            env: vec![],
            stdin: Some(blob(b"stdin")),
            inputs: inputs.collect(),
            input: InputHash::ZERO,
            limits: Limits::default(),
            permissions: Permissions::default(),
            sla: Sla::Normal,
            importance: None,
            followed: false,
            created_ms: 0,
            start_by_ms: None,
            finish_by_ms: None,
            replicas: 1,
            quorum: 1,
        }
    }

    // spec: DEL-4, ARC-7
    #[test]
    fn what_waits_for_no_effect_any_more_goes_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let attempt = |number| AttemptId { task: mesh_protocol::ids::TaskId([7; 32]), attempt: number };
        let mut dead = std::process::Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let [kept, over] = [1, 2].map(|number| release_name(attempt(number)));
        let [lives, died] = [std::process::id(), dead.id()].map(|id| format!("run-{id}-1"));
        for name in [&kept, &over, &lives, &died] {
            fs::create_dir_all(dir.path().join(name).join("share/below")).unwrap();
        }
        clear_releases(dir.path(), [attempt(1)].into_iter());
        let there = |name: &String| dir.path().join(name).exists();
        assert_eq!([&kept, &over, &lives, &died].map(there), [true, false, true, false]);
    }

    // spec: DEL-7
    #[test]
    fn a_state_that_finds_no_room_takes_that_of_the_one_before_the_last_and_leaves_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), 2500).unwrap();
        let attempt = AttemptId { task: mesh_protocol::ids::TaskId([3; 32]), attempt: 1 };
        let keeper = Keeper::Attempt(attempt);
        let mut saved = Saved { keeper, kept: VecDeque::new(), failed: false };
        let mut save = |byte, len| {
            let blob = saved.keep(&blobs, &vec![byte; len])?;
            saved.let_go(&blobs, MAX_SAVED);
            Some(blob.hash)
        };
        let here = |hash| blobs.path(&hash).is_some();
        let (first, second) = (save(1, 1000).unwrap(), save(2, 1000).unwrap());
        let third = save(3, 1000).unwrap();
        assert_eq!([first, second, third].map(here), [false, true, true]);
        assert_eq!(save(4, 2000), None);
        assert_eq!([second, third].map(here), [false, true], "there was a try");
        assert_eq!(save(4, 2000), None);
        assert!(here(third), "the last is what it would go on from");
        let fifth = save(5, 1000).unwrap();
        assert_eq!([third, fifth].map(here), [true, true]);
        // What one attempt held is not left held by what it could not keep.
        blobs.forget(attempt);
        assert_eq!(blobs.used(), 0);
    }

    // spec: DEL-4
    #[tokio::test]
    async fn a_release_that_cannot_begin_is_tried_again_and_in_the_end_told_of() {
        for (failures, begins) in [(0, true), (3, true), (RELEASE_TRIES, true), (RELEASE_TRIES + 1, false)] {
            let mut tries = 0;
            let begun = begun(Duration::ZERO, || {
                tries += 1;
                if tries <= failures { Err(rustix::io::Errno::AGAIN.into()) } else { Ok(()) }
            });
            assert_eq!(begun.await.is_ok(), begins, "{failures}");
            assert_eq!(tries, 1 + failures.min(RELEASE_TRIES));
        }
    }

    // spec: DEL-5
    #[test]
    fn who_lies_about_a_blobs_length_takes_it_from_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), 1000).unwrap();
        let [first, second] = [1, 2].map(|byte| {
            Keeper::Attempt(AttemptId { task: mesh_protocol::ids::TaskId([byte; 32]), attempt: 1 })
        });
        let result = blobs.put(first, b"sunshine").unwrap();
        for len in [0, 7, 9] {
            let lie = is_here(&blobs, second, &Blob { len, ..result }, "its input \"a\"");
            let Err(Over::Lost(reason)) = lie else { panic!("it is believed") };
            assert_eq!(reason, Reason::Inadmissible(format!("its input \"a\" has 8 bytes and not {len}")));
            blobs.drop_damaged(&result.hash);
        }
        assert!(matches!(is_here(&blobs, second, &result, "it"), Ok(true)));
        fs::write(blobs.path(&result.hash).unwrap(), b"sunsh").unwrap();
        assert!(matches!(is_here(&blobs, second, &result, "it"), Ok(false)));
        assert_eq!(blobs.path(&result.hash), None, "what is damaged goes to come again");
    }

    // spec: DEL-3, DEL-7
    #[test]
    fn a_full_disk_or_a_broken_line_is_not_laid_at_the_states_door() {
        let told = |what, why| unfetched(what, &why);
        let full = || Unfetched::NoRoom("it is full".into());
        assert_eq!(
            (told(STATE, full()), told("its module", full())),
            (Reason::NoCapacity, Reason::NoCapacity)
        );
        let blames = |reason: Reason| matches!(reason, Reason::NotFetched(words) if words.contains(STATE));
        assert!(!blames(told(STATE, Unfetched::Line("it broke".into()))));
        // What its owner does not have, nobody can go on from.
        assert!(blames(told(STATE, Unfetched::Withheld)));
        assert!(blames(told(STATE, Unfetched::False("it is too short".into()))));
        let words = "its module: it broke".to_owned();
        assert_eq!(told("its module", Unfetched::Line("it broke".into())), Reason::NotFetched(words));
    }

    // spec: DEL-4
    #[test]
    fn what_is_said_of_a_share_that_was_given_for_reading_is_not_kept() {
        let access = [("a", Access::Ro), ("b", Access::Rw), ("c", Access::Ro), ("d", Access::Rw)];
        let shares = access.map(|(name, access)| (name.to_owned(), access)).into();
        let held: Vec<_> = changeable(&['a', 'b', 'c', 'd'], &shares).collect();
        assert_eq!(held, [(1, &'b', "b"), (3, &'d', "d")]);
    }

    #[test]
    fn what_passes_on_this_machine_fails_no_task() {
        use rustix::io::Errno;
        let system = |errno: Errno| StartError::System { what: "x", source: errno.into() };
        let read = |source| StartError::Stage(StageError::Read { path: "x".into(), source });
        let reason = |error| match refused(error) {
            Over::Lost(reason) => reason,
            Over::Stopped => panic!("nobody stopped it"),
        };
        for errno in [Errno::AGAIN, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOSPC] {
            assert_eq!(reason(system(errno)), Reason::NoCapacity, "{errno}");
            assert_eq!(reason(read(errno.into())), Reason::NoCapacity, "{errno}");
        }
        assert!(matches!(reason(system(Errno::PERM)), Reason::SandboxFailed(_)));
        assert!(matches!(reason(read(Errno::NOENT.into())), Reason::NotFetched(_)));
        assert!(matches!(reason(read(io::Error::other("it changed"))), Reason::NotFetched(_)));
    }

    // spec: ARC-7
    #[test]
    fn modules_are_kept_by_number_and_by_what_they_weigh() {
        let kept = |sizes: &[u64]| {
            let mut list: VecDeque<u64> = sizes.iter().copied().collect();
            bound(&mut list, |bytes| *bytes);
            list.len()
        };
        assert_eq!(kept(&[MB; 16]), 16);
        assert_eq!(kept(&[MB; 17]), 16);
        assert_eq!(kept(&[128 * MB, 128 * MB]), 2);
        assert_eq!(kept(&[1, 128 * MB, 128 * MB]), 2, "the one used last stays");
        assert_eq!(kept(&[]), 0);
    }

    /// What the executor hashes are files and folders; here there are only names and hashes.
    #[test]
    fn the_input_hash_of_a_specification_is_that_of_its_files() {
        let files: &[(&str, &[u8])] = &[("a-b/x", b"1"), ("a/x", b"2"), ("a/y/z", b"3"), ("b", b"4")];
        let dir = tempfile::tempdir().unwrap();
        for (path, bytes) in files {
            fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
            fs::write(dir.path().join(path), bytes).unwrap();
        }
        let tree = mesh_executor::folder_digest(dir.path()).unwrap();
        assert_eq!(input_hash(&spec(files)), Some(digest::input(Some(digest::bytes(b"stdin")), tree)));
        assert_eq!(input_hash(&spec(&[("a", b"1"), ("a/b", b"2")])), None, "a file cannot be a folder too");
    }
}
