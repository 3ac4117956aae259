//! The worker process: within its walls, one task after another, each in a store of its own.

use crate::engine::{self, COMPONENT_COUNTS, CORE_COUNTS, YIELD_FUEL};
use crate::guest::blocks::Blocks;
use crate::guest::clock::{Clock, EPOCH_NS};
use crate::guest::conn::Conn;
use crate::guest::p1::{Fd, Fds, Open};
use crate::guest::random::Random;
use crate::guest::streams::{Output, Stdin};
use crate::guest::vfs::{Content, Kind, NodeId, Quota, ROOT, Region, Vfs};
use crate::guest::{self, Checkpoints, Host, Limiter, Signals, Spent, lock};
use crate::walls::{self, Who};
use crate::wire::{
    self, Finished, FromWorker, HostDir, InEntry, InNode, ModuleKind, Places, Start, StdinKind, ToWorker,
};
use mesh_protocol::outcome::{Outcome, Refusal};
use mesh_protocol::permissions::Access;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use wasmtime::component::{self, Component};
use wasmtime::{Engine, InstancePre, Linker, Module, Store};
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::p2::bindings::CommandPre;

/// How often the executor hears how much fuel is gone, while the guest computes.
const METER_EVERY: Duration = Duration::from_millis(500);

/// Runs as a worker until the executor hangs up; the connection is standard input.
// spec: SBX-9, ARC-5
pub(crate) fn main() -> i32 {
    walls::close_inherited();
    if !walls::die_with_parent() {
        return 1;
    }
    walls::survive_full_files();
    let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3) else { return 1 };
    let mut buffer = Vec::new();
    let Ok(Some((ToWorker::Prepare { dirs }, _))) = wire::receive(&socket, &mut buffer, true) else {
        return 1;
    };
    match prepare(&dirs) {
        Ok((runtime, linked, walls)) => {
            let outcome = runtime.block_on(async {
                let conn = Arc::new(Conn::new(socket)?);
                conn.send(&FromWorker::Ready { walls }).await?;
                serve(&conn, &linked, &dirs).await
            });
            // A thread stuck in the file system must not keep the process.
            runtime.shutdown_background();
            i32::from(outcome.is_err_and(|error| error.kind() != io::ErrorKind::UnexpectedEof))
        }
        Err(error) => {
            let _gone = wire::send(&socket, &FromWorker::Failed(error), &[], true);
            1
        }
    }
}

/// What tasks are linked with. Few tasks are components, so theirs is made when the first one comes.
struct Linked {
    core: (Engine, Linker<Host>),
    component: OnceCell<(Engine, component::Linker<Host>)>,
    host_dirs: bool,
}

impl Linked {
    fn component(&self) -> wasmtime::Result<&(Engine, component::Linker<Host>)> {
        if let Some(linked) = self.component.get() {
            return Ok(linked);
        }
        let engine = engine::component()?;
        let mut linker = component::Linker::new(&engine);
        guest::p2::link(&mut linker, self.host_dirs)?;
        Ok(self.component.get_or_init(|| (engine, linker)))
    }
}

type Prepared = (tokio::runtime::Runtime, Linked, Vec<String>);

fn prepare(dirs: &[HostDir]) -> Result<Prepared, String> {
    let say = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    let engine = engine::core().map_err(|e| say("set up the engine", &e))?;
    let mut core = Linker::new(&engine);
    guest::p1::link(&mut core)
        .and_then(|()| guest::abi::link(&mut core))
        .map_err(|e| say("link WASI", &e))?;
    // Two threads wait for the disk at the most: only folders of this machine need them, and each is one task's.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(2)
        .build()
        .map_err(|e| say("start the runtime", &e))?;
    let walls = walls::enter(Who::Worker(dirs))?;
    let linked = Linked { core: (engine, core), component: OnceCell::new(), host_dirs: !dirs.is_empty() };
    Ok((runtime, linked, walls))
}

/// The compiled module of the last task.
enum Kept {
    Core(InstancePre<Host>),
    Component(Box<CommandPre<Host>>),
}

async fn serve(conn: &Arc<Conn>, linked: &Linked, dirs: &[HostDir]) -> io::Result<()> {
    let mut buffer = Vec::new();
    let (mut files, mut entries) = (Vec::new(), Vec::new());
    let mut kept: Option<Kept> = None;
    loop {
        let (message, fds) = conn.receive(&mut buffer).await?;
        match message {
            ToWorker::Files => files.extend(fds.into_iter().map(|fd| Arc::new(File::from(fd)))),
            ToWorker::Entries(more) => entries.extend(more),
            ToWorker::Start(start) => {
                let (files, entries) = (std::mem::take(&mut files), std::mem::take(&mut entries));
                let task = Task { conn, linked, dirs, start: *start, fds, files, entries };
                task.run(&mut kept).await?;
            }
            // What belonged to a task that has ended meanwhile.
            ToWorker::Cancel | ToWorker::Stop | ToWorker::Stdin(_) | ToWorker::CheckpointTaken => {}
            ToWorker::Prepare { .. } => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

struct Task<'a> {
    conn: &'a Arc<Conn>,
    linked: &'a Linked,
    dirs: &'a [HostDir],
    start: Start,
    fds: Vec<OwnedFd>,
    files: Vec<Arc<File>>,
    entries: Vec<InEntry>,
}

/// The parts of a furnished host that outlive its guest.
struct Trees {
    files: Arc<Mutex<Vfs>>,
    out: Option<NodeId>,
    shares: Vec<NodeId>,
}

impl Task<'_> {
    async fn run(mut self, kept: &mut Option<Kept>) -> io::Result<()> {
        let cpu_before = cpu_us();
        let conn = self.conn;
        let mut fds = std::mem::take(&mut self.fds).into_iter().map(File::from);
        let loaded = if self.start.same_module {
            kept.take().ok_or_else(|| "there is no module from before".to_owned())
        } else {
            *kept = None;
            fds.next().ok_or_else(|| "no module came".to_owned()).and_then(|file| self.load(file))
        };
        let module = match loaded {
            Ok(module) => module,
            Err(error) => {
                let outcome = Outcome::SandboxCrashed(format!("load the compiled module: {error}"));
                return conn.send(&FromWorker::Finished(Box::new(finished(outcome, cpu_before)))).await;
            }
        };
        let blocks = if self.start.blocks { fds.next() } else { None };
        let stdin = if self.start.stdin == StdinKind::File { fds.next() } else { None };
        let fuel = self.start.limits.fuel;
        let fuel_before = self.start.resume.as_ref().map_or(0, |resume| resume.fuel_used);
        let signals = Arc::new(Signals::default());
        let (host, trees) = match self.furnish(blocks, stdin, signals.clone()) {
            Ok(furnished) => furnished,
            Err(outcome) => {
                *kept = Some(module);
                return conn.send(&FromWorker::Finished(Box::new(finished(outcome, cpu_before)))).await;
            }
        };
        let (output, stdin, spent) = (host.output.clone(), host.stdin.clone(), host.spent.clone());
        let engine = match &module {
            Kept::Core(pre) => pre.module().engine().clone(),
            Kept::Component(pre) => pre.engine().clone(),
        };
        let mut store = Store::new(&engine, host);
        store.limiter(|host| &mut host.limiter);
        let set = store
            .set_fuel(fuel.saturating_sub(fuel_before))
            .and_then(|()| store.fuel_async_yield_interval(Some(YIELD_FUEL)));
        store.set_hostcall_fuel(engine::HOSTCALL_BYTES);

        let ended = {
            let guest = pin!(async {
                set?;
                let result = enter(&module, &mut store, conn).await;
                // What was written before the end is part of the result, however it ended.
                output.flush().await?;
                result
            });
            let metered = pin!(Metered::new(guest, conn, &output, &spent, fuel_before));
            let control = pin!(control(conn, &signals, &stdin));
            tokio::select! {
                biased;
                told = control => match told? { Told::Cancel => None },
                result = metered => Some(result),
            }
        };
        let refused = store.data().limiter.refused;
        let (outcome, detail) = match ended {
            None => {
                output.flush_if_ready();
                (Outcome::Cancelled, String::new())
            }
            Some(result) => guest::outcome(result, refused),
        };
        let left = store.get_fuel().unwrap_or(0);
        let host = store.data();
        let mut end = finished(outcome, cpu_before);
        end.fuel = fuel.saturating_sub(left);
        end.peak_memory = host.limiter.peak;
        end.memory_refused = refused;
        end.saw_stop = signals.stop_seen();
        end.detail = detail.chars().take(500).collect();
        end.reusable = self.dirs.is_empty() && !matches!(end.outcome, Outcome::SandboxCrashed(_));
        end.missed = lock(&trees.files).missed().to_vec();
        for (tree, node) in trees.out.into_iter().map(|node| (1, node)).chain((2..).zip(trees.shares.clone()))
        {
            let list = lock(&trees.files).export(node);
            for entries in wire::parts(list) {
                if !entries.is_empty() {
                    conn.send(&FromWorker::Tree { tree, entries }).await?;
                }
            }
        }
        // Files and memories go before the executor is told, so that nothing of one task is there in the next.
        drop(store);
        drop(trees);
        end.cpu_us = cpu_us().saturating_sub(cpu_before);
        *kept = Some(module);
        conn.send(&FromWorker::Finished(Box::new(end))).await
    }

    #[expect(
        unsafe_code,
        reason = "compiled code is trusted by its nature; the executor made and verified it"
    )]
    fn load(&self, file: File) -> Result<Kept, String> {
        let say = |error: wasmtime::Error| format!("{error:#}");
        match self.start.kind {
            ModuleKind::Core => {
                let (engine, linker) = &self.linked.core;
                // SAFETY: the file is a sealed memory file that the executor filled with code compiled by its own
                // child for this engine and checked against a secret; nobody can change it any more.
                let module = unsafe { Module::deserialize_open_file(engine, file) }.map_err(say)?;
                linker.instantiate_pre(&module).map(Kept::Core).map_err(say)
            }
            ModuleKind::Component => {
                // By position: other workers have the same file, and its place in it.
                let length = file.metadata().map_err(|error| error.to_string())?.len();
                let mut code = vec![0; usize::try_from(length).map_err(|error| error.to_string())?];
                file.read_exact_at(&mut code, 0).map_err(|error| error.to_string())?;
                let (engine, linker) = self.linked.component().map_err(say)?;
                // SAFETY: as above.
                let module = unsafe { Component::deserialize(engine, code) }.map_err(say)?;
                let pre = linker.instantiate_pre(&module).map_err(say)?;
                CommandPre::new(pre).map(|pre| Kept::Component(Box::new(pre))).map_err(say)
            }
        }
    }

    /// Sets the guest's world up: its files, clock, streams and bounds.
    fn furnish(
        &mut self,
        blocks: Option<File>,
        stdin: Option<File>,
        signals: Arc<Signals>,
    ) -> Result<(Host, Trees), Outcome> {
        let start = &mut self.start;
        let limits = start.limits.clone();
        let resume = start.resume.take();
        let crashed = |what: &str| Outcome::SandboxCrashed(what.to_owned());
        let quota = Quota { bytes: limits.out_bytes, files: limits.out_files };
        let mut vfs = Vfs::new(Blocks::new(blocks), quota, EPOCH_NS);
        let mut tree = |parent, name: &str, region| {
            vfs.furnish(parent, name, Kind::Dir(BTreeMap::new()), region, EPOCH_NS)
                .map_err(|_| crashed("set up the task's folders"))
        };
        let out_region =
            if limits.out_bytes > 0 && limits.out_files > 0 { Region::Out } else { Region::Fixed };
        let input = tree(ROOT, "in", Region::Fixed)?;
        let out = tree(ROOT, "out", out_region)?;
        let share_root = tree(ROOT, "share", Region::Fixed)?;
        let mut shares = Vec::new();
        for (number, (name, access)) in (0..).zip(&start.shares) {
            let region = if *access == Access::Rw { Region::Share(number) } else { Region::Fixed };
            shares.push(tree(share_root, name, region)?);
        }
        place(&mut vfs, &self.files, &self.entries, input, out, &shares)?;

        let conn = self.conn.clone();
        let before = resume.as_ref().map_or([0, 0], |resume| [resume.stdout_bytes, resume.stderr_bytes]);
        let output = Output::new(conn.clone(), [limits.stdout_bytes, limits.stderr_bytes], before);
        let clock = if start.real_clock {
            Clock::Real { start: Instant::now() }
        } else {
            let (ahead, fuel_before) = resume.as_ref().map_or((0, 0), |r| (r.clock_ns, r.fuel_used));
            Clock::Virtual { ahead, fuel_before }
        };
        let random = if start.real_random {
            Random::Real
        } else {
            Random::seeded(&start.seed, resume.as_ref().map_or(0, |resume| resume.random_pos))
        };
        let state = match &resume {
            None => None,
            Some(resume) => {
                let (file, offset, len) = resume.state;
                let file = self
                    .files
                    .get(file as usize)
                    .ok_or_else(|| crashed("the checkpoint's state is missing"))?;
                Some((file.clone(), offset, len))
            }
        };
        let places = match start.places {
            Places::Root => vec![("/".to_owned(), ROOT)],
            Places::Apart { input: has_input, output: has_output } => {
                let with = |yes: bool, name: &str, node| yes.then(|| (name.to_owned(), node));
                let shares = (!shares.is_empty()).then(|| ("/share".to_owned(), share_root));
                with(has_input, "/in", input)
                    .into_iter()
                    .chain(with(has_output, "/out", out))
                    .chain(shares)
                    .collect()
            }
        };
        let counts = match start.kind {
            ModuleKind::Core => CORE_COUNTS,
            ModuleKind::Component => COMPONENT_COUNTS,
        };
        let mut host = Host {
            limiter: Limiter::new(limits.memory_bytes, counts),
            args: std::mem::take(&mut start.args),
            env: std::mem::take(&mut start.env),
            meta: std::mem::take(&mut start.meta),
            files: Arc::new(Mutex::new(vfs)),
            clock: Arc::new(Mutex::new(clock)),
            random: Arc::new(Mutex::new(random)),
            output: Arc::new(output),
            stdin: Arc::new(Stdin::new(conn.clone(), start.stdin, stdin)),
            conn,
            signals,
            spent: Arc::default(),
            component: None,
            checkpoints: Checkpoints {
                wanted: start.checkpoints,
                denied: start.shares.iter().any(|(_, access)| *access == Access::Rw),
                saved: 0,
                resume: state,
                out: Some(out),
            },
            fds: Fds::default(),
            host_dirs: None,
            wasi: None,
            table: component::ResourceTable::new(),
            places,
            limits,
        };
        match start.kind {
            ModuleKind::Core => core_fds(&mut host, self.dirs)?,
            ModuleKind::Component => guest::p2::furnish(&mut host, self.dirs, &start.seed)?,
        }
        let trees = Trees { files: host.files.clone(), out: Some(out), shares };
        Ok((host, trees))
    }
}

/// Fills `/in`, `/out` and shares.
fn place(
    vfs: &mut Vfs,
    files: &[Arc<File>],
    entries: &[InEntry],
    input: NodeId,
    out: NodeId,
    shares: &[NodeId],
) -> Result<(), Outcome> {
    let crashed = |what: String| Outcome::SandboxCrashed(format!("furnish the task's files: {what}"));
    for (index, InEntry { tree, path, node, mtime }) in (0..).zip(entries) {
        let (root, region) = match tree {
            0 => (input, Region::Fixed),
            1 => (out, Region::Out),
            n => {
                let share = *n - 2;
                let root = shares.get(usize::from(share)).ok_or_else(|| crashed("no such share".into()))?;
                let region = if vfs.writable(*root).is_ok() { Region::Share(share) } else { Region::Fixed };
                (*root, region)
            }
        };
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut dir = root;
        for part in parent.split('/').filter(|part| !part.is_empty()) {
            dir = vfs.lookup(dir, part).ok_or_else(|| crashed(format!("no folder for {path:?}")))?;
        }
        let (kind, copy) = match node {
            InNode::Dir => (Kind::Dir(BTreeMap::new()), None),
            InNode::Link(target) => (Kind::Link(target.clone()), None),
            InNode::File { file: number, offset, len } => {
                let file =
                    files.get(*number as usize).ok_or_else(|| crashed(format!("no file for {path:?}")))?;
                let base = Content::Base { file: file.clone(), offset: *offset, len: *len, origin: index };
                if region == Region::Out {
                    // What a checkpoint brings back is the task's own from the start.
                    (Kind::File(Content::Blocks { blocks: Vec::new(), len: 0 }), Some((file, *offset, *len)))
                } else {
                    (Kind::File(base), None)
                }
            }
        };
        let id = vfs
            .furnish(dir, name, kind, region, u64::try_from(*mtime).unwrap_or(0))
            .map_err(|errno| crashed(format!("{path:?}: {errno:?}")))?;
        if let Some((file, offset, len)) = copy {
            copy_in(vfs, id, file, offset, len).map_err(|error| crashed(format!("{path:?}: {error}")))?;
        }
    }
    Ok(())
}

fn copy_in(vfs: &mut Vfs, id: NodeId, file: &File, offset: u64, len: u64) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut chunk = vec![0; 64 * 1024];
    let mut at = 0;
    while at < len {
        let count = (chunk.len() as u64).min(len - at) as usize;
        file.read_exact_at(&mut chunk[..count], offset + at)?;
        vfs.write(id, at, &chunk[..count]).map_err(|errno| io::Error::other(format!("{errno:?}")))?;
        at += count as u64;
    }
    Ok(())
}

/// The descriptors that a core module starts with: folders of this machine first, as runners of WASI have it.
fn core_fds(host: &mut Host, dirs: &[HostDir]) -> Result<(), Outcome> {
    let mut fds = Vec::new();
    if !dirs.is_empty() {
        let mut builder = wasmtime_wasi::WasiCtxBuilder::new();
        for dir in dirs {
            let perms = if dir.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
            builder.preopened_dir(&dir.host, &dir.guest, perms).map_err(|error| {
                Outcome::Refused(Refusal::Request(format!("open the folder {:?}: {error:#}", dir.host)))
            })?;
        }
        let mut ctx = builder.build_p1();
        wasmtime_wasi::WasiView::ctx(&mut ctx).table.set_max_capacity(guest::MAX_HANDLES + dirs.len());
        // Preopened folders have the numbers after the three streams, in order.
        fds.extend((3..).take(dirs.len()).map(Fd::Host));
        host.host_dirs = Some(ctx);
    }
    for (name, node) in &host.places {
        lock(&host.files).hold(*node);
        let place = Some(name.clone());
        fds.push(Fd::Own(Open { node: *node, position: 0, append: false, write: false, place }));
    }
    host.fds = Fds::new(fds);
    Ok(())
}

async fn enter(module: &Kept, store: &mut Store<Host>, conn: &Conn) -> wasmtime::Result<()> {
    // A module may do all its work while it is instantiated: whoever holds or meters tasks must know of it by then.
    conn.tell(&FromWorker::Started).await?;
    match module {
        Kept::Core(pre) => {
            let instance = pre.instantiate_async(&mut *store).await.map_err(unmade)?;
            let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
            start.call_async(&mut *store, ()).await
        }
        Kept::Component(pre) => {
            let command = pre.instantiate_async(&mut *store).await.map_err(unmade)?;
            match command.wasi_cli_run().call_run(&mut *store).await? {
                Ok(()) => Ok(()),
                Err(()) => Err(guest::End::Exit(1).into()),
            }
        }
    }
}

/// What a guest did in its first instructions is its own; that there was no room for it is this machine's matter. The
/// engine notes where in the guest an error came up, whoever raised it, and that it was in none otherwise.
// spec: SBX-13
fn unmade(error: wasmtime::Error) -> wasmtime::Error {
    if error.is::<wasmtime::Trap>()
        || error.is::<guest::End>()
        || error.is::<wasmtime_wasi::I32Exit>()
        || error.is::<wasmtime::WasmBacktrace>()
    {
        return error;
    }
    guest::End::Unmade(format!("{error:#}")).into()
}

enum Told {
    Cancel,
}

/// Listens to the executor while the guest runs.
async fn control(conn: &Conn, signals: &Signals, stdin: &Stdin) -> io::Result<Told> {
    let mut buffer = Vec::new();
    loop {
        let (message, _) = conn.receive(&mut buffer).await?;
        match message {
            ToWorker::Cancel => return Ok(Told::Cancel),
            ToWorker::Stop => signals.tell_to_stop(),
            ToWorker::Stdin(bytes) => stdin.arrived(bytes),
            ToWorker::CheckpointTaken => signals.checkpoint_taken.notify_waiters(),
            ToWorker::Files | ToWorker::Entries(_) | ToWorker::Start(_) | ToWorker::Prepare { .. } => {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}

fn cpu_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

fn finished(outcome: Outcome, cpu_before: u64) -> Finished {
    Finished {
        outcome,
        fuel: 0,
        peak_memory: 0,
        memory_refused: false,
        cpu_us: cpu_us().saturating_sub(cpu_before),
        saw_stop: false,
        missed: Vec::new(),
        reusable: false,
        detail: String::new(),
    }
}

/// Notes whether a future woke itself while it was polled: so a guest lets go of the thread after each
/// [`YIELD_FUEL`], unlike one that waits for something.
struct Noticing {
    woken: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

impl Wake for Noticing {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        if let Some(outer) = &*lock(&self.outer) {
            outer.wake_by_ref();
        }
    }
}

/// Runs the guest, sends on what it wrote whenever it lets go of the thread, and tells how much fuel is gone.
struct Metered<'a, F> {
    guest: F,
    conn: &'a Conn,
    output: &'a Output,
    noticing: Arc<Noticing>,
    spent: &'a Spent,
    /// As of the last host call, and since then by the times the guest let go of the thread.
    known: u64,
    fuel: u64,
    told: Instant,
}

impl<'a, F> Metered<'a, F> {
    fn new(guest: F, conn: &'a Conn, output: &'a Output, spent: &'a Spent, fuel: u64) -> Self {
        let noticing = Arc::new(Noticing { woken: AtomicBool::new(false), outer: Mutex::new(None) });
        Self { guest, conn, output, noticing, spent, known: 0, fuel, told: Instant::now() }
    }
}

impl<F: Future + Unpin> Future for Metered<'_, F> {
    type Output = F::Output;

    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        {
            let mut outer = lock(&this.noticing.outer);
            if !outer.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                *outer = Some(context.waker().clone());
            }
        }
        this.noticing.woken.store(false, Ordering::Relaxed);
        let waker = Waker::from(this.noticing.clone());
        let result = std::pin::Pin::new(&mut this.guest).poll(&mut Context::from_waker(&waker));
        if result.is_pending() {
            this.output.flush_if_ready();
            let used = this.spent.used();
            let computes = this.noticing.woken.load(Ordering::Relaxed);
            let called = used != this.known;
            if called {
                (this.known, this.fuel) = (used, this.fuel.max(used));
            } else if computes {
                this.fuel += YIELD_FUEL;
            }
            if (computes || called) && this.told.elapsed() >= METER_EVERY {
                this.told = Instant::now();
                let _full = this.conn.try_send(&FromWorker::Meter { fuel: this.fuel });
            }
        }
        result
    }
}
