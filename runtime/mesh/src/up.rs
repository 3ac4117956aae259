//! `mesh up`: the shell around the node. Everything that does IO for a running peer stands below this module.
//!
//! ```text
//! peers -> net -> incoming -> driver -> node          what happens, read and verified, one thing after another
//!                              |  store               what the node promises is made durable
//!                              v
//!                            hands -> net, runner, fetch, blobs, gossip, handle     and only then the rest is done
//! ```
// spec: ARC-3, ARC-5

mod blobs;
mod driver;
mod fetch;
mod handle;
mod hands;
mod holders;
mod hook;
mod incoming;
pub(crate) mod options;
mod outbox;
mod output;
mod partials;
mod provider;
mod reload;
mod remembered;
mod runner;
mod runs;
mod services;
mod situation;
mod trash;

pub(crate) use driver::now;
pub(crate) use handle::Handle;
#[cfg(test)]
pub(crate) use handle::Question;

use crate::api;
use crate::config::Shown;
use crate::energy;
use crate::exit_codes;
use crate::failure::{Failure, Result};
use crate::meter::{Meter, Place, whole_watts};
use blobs::Blobs;
use driver::{Driver, DriverError, Shared};
use fetch::Fetcher;
use hands::Shell;
use incoming::{Incoming, Refused};
use mesh_executor::Executor;
use mesh_gossip::Gossip;
use mesh_net::{Bounds, MdnsConfig, Net};
use mesh_node::{Capacity, Command, DEFAULT_DISK, Forecast, Input, Node};
use mesh_protocol::frame::MAX_FRAME;
use mesh_protocol::ids::CommunityId;
use mesh_protocol::key::PublicKey;
use mesh_store::{DiskStore, Loaded, Opened};
use options::Options;
use remembered::Remembered;
use runner::{Modules, Runner};
use runs::Runs;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// Threads of the network. It mostly waits, and guests and disks have threads of their own.
const NETWORK_THREADS: usize = 2;
/// Threads for what may block: disks, signatures. Each waiting transfer takes one.
const BLOCKING_THREADS: usize = 64;
/// Questions that wait for the node. The API asks one for each of its requests; the next ones wait there.
const MAX_QUESTIONS: usize = 64;
/// Things that happened and that a watcher has not seen yet. One that is further behind misses some and looks anew.
const MAX_HAPPENINGS: usize = 1024;
/// Workers started ahead of time: one for the next task, one for the one after it while the first place is refilled.
const READY_WORKERS: usize = 2;
/// Used workers kept for the same submitter's next task with the same module.
const KEEP_WORKERS: usize = 2;
/// How often it is looked what this device's tasks need no more, and where it can be reached: it asks the node about all of
/// them, and looks at all that is kept for them, which takes a few hundredths of a second.
const HOUSE_EVERY: Duration = Duration::from_secs(60);
/// How long peers have to hear that this one leaves.
const FAREWELL: Duration = Duration::from_millis(100);
/// How long the node has to say it. A full disk must not keep the process from ending.
const LAST_WORD: Duration = Duration::from_secs(2);

/// An error with all its causes.
fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _infallible = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// A text, cut off so that it has at most so many bytes.
fn cut(text: &str, most: usize) -> String {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Does it fail for want of what other work here holds: processes, threads, open files, memory or disk? It passes, and is
/// no fault of the sandbox's.
fn is_at_limits(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let at_limits = [Errno::AGAIN, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOSPC, Errno::DQUOT];
    Errno::from_io_error(error).is_some_and(|errno| at_limits.contains(&errno))
}

/// Runs a peer until it is told to end.
pub(crate) fn run(options: Options) -> Result<u8> {
    crate::descriptors::raise();
    options.home.make()?;
    let data = options.home.data().to_owned();
    let (store, opened) = open_store(&data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(NETWORK_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("network")
        .enable_all()
        .build()
        .map_err(|error| Failure::because("start the network's threads", &error))?;
    let code = runtime.block_on(up(options, &data, store, &opened));
    // A reader of the API that hangs on does not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    code
}

fn open_store(data: &Path) -> Result<(DiskStore, Opened)> {
    let folder = data.join("store");
    let (store, opened) = DiskStore::open(&folder).map_err(|error| {
        let failure = Failure::because("open what this peer keeps", &error);
        match error {
            mesh_store::OpenError::Locked { .. } => {
                failure.hint(format!("`mesh status` tells whether a peer runs on {} already", data.display()))
            }
            mesh_store::OpenError::Folder { .. } => {
                failure.hint("check the rights of the folder and its files, and the room on its disk")
            }
            // What it says of itself is what can be done.
            _ => failure,
        }
    })?;
    if let Some(rebuilt) = &opened.rebuilt {
        let aside = rebuilt.set_aside.as_ref().map(|path| path.display().to_string());
        tracing::warn!(
            why = rebuilt.why,
            ?aside,
            "the store was rebuilt; what only peers knew is fetched from them"
        );
    }
    Ok((store, opened))
}

fn executor(options: &Options, scratch: &Path) -> Result<Executor> {
    let program = mesh_executor::this_program()
        .map_err(|error| Failure::because("find the mesh program itself", &error))?;
    let mut config = mesh_executor::Config::new(program);
    config.cache = options.home.cache().map(Path::to_owned);
    config.scratch = scratch.to_owned();
    config.ready_workers = READY_WORKERS.min(usize::from(options.slots));
    config.keep_workers = KEEP_WORKERS.min(usize::from(options.slots));
    config.busy_workers = options.slots.into();
    config.memory = options.memory;
    Executor::new(config).map_err(|error| {
        Failure::because("start the sandbox", &error).hint("`mesh doctor` checks what the sandbox needs")
    })
}

/// What is announced on the local network: a hash, so that who listens learns no community's id.
fn nearby(community: CommunityId) -> MdnsConfig {
    let hash = blake3::Hasher::new_derive_key("taskmesh mdns v1").update(&community.0).finalize();
    MdnsConfig { community: hash.to_hex().to_string() }
}

/// Opens the socket: where it is told to, else where it was last time, else anywhere.
async fn bind(
    options: &Options,
    remembered: &Remembered,
    provider: Arc<dyn mesh_net::Provider>,
) -> Result<(Net, mpsc::Receiver<mesh_net::Event>)> {
    let everywhere = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let tries = match (options.listen, remembered.port) {
        (Some(listen), _) => vec![listen],
        (None, Some(port)) => vec![everywhere(port), everywhere(0)],
        (None, None) => vec![everywhere(0)],
    };
    let mut failure = None;
    for listen in tries {
        let mut config = mesh_net::Config::new(options.keys.device.seed(), listen);
        // Some of our frames are longer than the transport's own bound: an offer brings all arguments of its task.
        config.bounds = Bounds { frame: MAX_FRAME, ..Bounds::default() };
        config.relay_bytes = options.relay_bytes;
        config.mdns = remembered.community.filter(|_| options.mdns).map(nearby);
        match Net::bind(config, provider.clone()).await {
            Ok(bound) => return Ok(bound),
            Err(error) => {
                tracing::info!(%listen, error = %causes(&error), "this address cannot be listened on");
                failure.get_or_insert(error);
            }
        }
    }
    let failure = failure.map(|error| Failure::because("listen for peers", &error));
    Err(failure
        .unwrap_or_else(|| Failure::new("listen for peers"))
        .hint("name another address with --listen, or leave it out to take any port"))
}

fn node(
    options: Options,
    net: &Net,
    executor: &Executor,
    store: &DiskStore,
    opened: &Opened,
) -> Result<Node> {
    let walls = executor.walls().map_err(|error| {
        Failure::because("start the sandbox", &error).hint("`mesh doctor` checks what the sandbox needs")
    })?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Failure::because("draw randomness", &error))?;
    let (keys, begun) = (options.keys, now());
    let config = mesh_node::Config {
        device: keys.device,
        user: keys.user,
        user_name: keys.user_name,
        recovery: keys.recovery,
        device_name: keys.device_name,
        profile: mesh_executor::profile().id(),
        walls,
        place: options.place,
        capacity: Capacity { slots: options.slots, memory: options.memory, longest_ms: options.longest_ms },
        slot_watts: whole_watts(Place::here(options.watts).watts_per_slot(options.slots)),
        accepts: options.accepts,
        shares: options.shares.iter().map(|share| (share.name.clone(), share.access)).collect(),
        energy: energy::at_once(&options.energy, options.place, now().wall_ms),
        hook: options.hook.is_some(),
        addrs: net.addrs_for_others(),
        seed,
    };
    let mut node = Node::new(config, begun);
    // spec: LED-9
    let restored = mesh_store::load_beside(store, |loaded| match loaded {
        Loaded::Value { table, key, value } => node.restore_value(table, key, value),
        Loaded::Entry { bytes, .. } => node.restore_entry(bytes),
    });
    restored.map_err(|error| Failure::because("read what this peer keeps", &error))?;
    node.start(now(), opened.unclean);
    Ok(node)
}

/// Everything that runs.
struct Peer {
    me: PublicKey,
    net: Net,
    handle: Handle,
    runner: Arc<Runner>,
    services: Arc<dyn api::Services>,
    stop: watch::Sender<bool>,
    driver: std::thread::JoinHandle<std::result::Result<DiskStore, DriverError>>,
    /// The driver has ended.
    ended: oneshot::Receiver<()>,
}

/// Lets go of what is needed no more, again and again, and tells the node how much is left, and where it can be reached
/// when that changes.
// spec: ARC-7, PERM-5, NET-5
fn keep_house(blobs: &Arc<Blobs>, net: Net, arrivals: mpsc::Sender<driver::Arrival>) -> std::io::Result<()> {
    let blobs = Arc::downgrade(blobs);
    let work = move || {
        let (mut told, mut reached) = (0, Vec::new());
        while let Some(blobs) = blobs.upgrade() {
            match blobs.let_go() {
                Ok(left) if left != told => {
                    told = left;
                    if arrivals.blocking_send(Input::Kept(left).into()).is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "what is needed no more could not be looked for"),
            }
            drop(blobs);
            // First of all what has changed since the node was told of them, before the store was read.
            let now = net.addrs_for_others();
            if now != reached {
                reached.clone_from(&now);
                if arrivals.blocking_send(Input::Addrs(now).into()).is_err() {
                    return;
                }
            }
            std::thread::sleep(HOUSE_EVERY);
        }
    };
    std::thread::Builder::new().name("house".into()).spawn(work).map(|_| ())
}

async fn start(options: Options, data: &Path, store: DiskStore, opened: &Opened) -> Result<Peer> {
    let folder = |name: &str| data.join(name);
    let unusable = |name: &'static str| {
        let path = folder(name);
        move |error: std::io::Error| Failure::file("use the folder", &path, &error)
    };
    let most = if options.disk > 0 { options.disk } else { DEFAULT_DISK };
    let blobs = Arc::new(Blobs::open(&folder("blobs"), most).map_err(unusable("blobs"))?);
    let runs = Arc::new(Runs::open(&folder("runs")).map_err(unusable("runs"))?);
    let scratch = folder("scratch");
    runs::clear(&scratch);
    // What a guest leaves half-done is nobody else's to read.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&scratch);
    made.map_err(unusable("scratch"))?;
    let executor = executor(&options, &scratch)?;
    let mut remembered = Remembered::read(data);

    let late: Arc<OnceLock<Shared>> = Arc::default();
    let provider = provider::Store { permits: late.clone(), blobs: blobs.clone(), runs: runs.clone() };
    let (net, events) = bind(&options, &remembered, Arc::new(provider)).await?;
    remembered.port = Some(net.local_addr().port());
    remembered.write(data);

    let (me, mdns, relay_bytes) = (options.keys.device.public(), options.mdns, options.relay_bytes);
    let (watts, hook) = (options.watts, options.hook.clone());
    let shares = options.shares.clone();
    let (config, loader) = (options.config.clone(), options.loader.clone());
    let report = energy::Report::default();
    let slot_watts = Place::here(watts).watts_per_slot(options.slots);
    let (energy, place, memory) = (options.energy.clone(), options.place, options.memory);
    let node = node(options, &net, &executor, &store, opened)?;
    blobs.agree(node.attempts_kept());
    runner::clear_releases(&folder("releases"), node.attempts_kept().map(|(attempt, _)| attempt));
    let shared = Shared::new(node);
    // Set once, here.
    let _set = late.set(shared.clone());
    let asked_node = shared.clone();
    blobs.need_by(move || asked_node.node().needed());

    let (arrivals, arrived) = mpsc::channel(driver::MAX_WAITING);
    keep_house(&blobs, net.clone(), arrivals.clone())
        .map_err(|error| Failure::because("start looking at what is kept", &error))?;
    let (questions, asked) = mpsc::channel(MAX_QUESTIONS);
    let (reads, wanted) = mpsc::channel(MAX_QUESTIONS);
    let (happenings, _) = broadcast::channel(MAX_HAPPENINGS);
    let (stop, stopped) = watch::channel(false);
    let runtime = tokio::runtime::Handle::current();
    let handle = Handle::new(questions, happenings.clone());
    let members = shared.clone();
    let owner = move |peer| members.node().ledger().governance().owner(&peer).map_or(peer, |user| user.0);
    let fetcher = Arc::new(Fetcher::new(net.clone(), blobs.clone(), owner));
    let refused = Arc::new(Refused::default());
    let shown: Arc<std::sync::Mutex<Vec<Shown>>> = Arc::default();
    let runner = Arc::new(Runner {
        me,
        executor,
        blobs: blobs.clone(),
        runs: runs.clone(),
        fetcher: fetcher.clone(),
        inputs: arrivals.clone(),
        runtime: runtime.clone(),
        scratch,
        shares,
        releases: folder("releases"),
        releasing: std::sync::Mutex::default(),
        modules: Modules::default(),
        meter: Meter::new(Place::here(watts)),
    });
    runner.watch_use().map_err(|error| Failure::because("start the meter", &error))?;
    let services = Arc::new(services::Local {
        me,
        node: shared.clone(),
        handle: handle.clone(),
        net: net.clone(),
        blobs: blobs.clone(),
        runs: runs.clone(),
        reads,
        arrivals: arrivals.clone(),
        refused: refused.clone(),
        relay_bytes,
        energy: report.clone(),
        config: shown.clone(),
    });
    let (running, listening) = (Arc::downgrade(&runs), arrivals.clone());
    let begin = energy::Start {
        settings: energy,
        place,
        task_watts: slot_watts,
        memory: folder("energy.json"),
        busy: Box::new(move || running.upgrade().is_some_and(|runs| runs.any_computes())),
        report: report.clone(),
    };
    let energy = energy::watch(begin, move |told| {
        // What is expected comes first: with the reading it says what to do now.
        // spec: EN-5
        let forecast = told.forecast.map(|(hour, g_per_kwh)| Forecast { hour, g_per_kwh });
        let told_of = forecast.is_none_or(|it| listening.blocking_send(Input::Forecast(it).into()).is_ok());
        told_of && {
            let energy = Input::Energy(told.reading.map(Box::new), told.at_ms);
            listening.blocking_send(energy.into()).is_ok()
        }
    })
    .map_err(|error| Failure::because("start reading the energy", &error))?;
    let terms = config.settings.terms().map_err(Failure::new)?;
    let sharing = situation::Wanted::new(terms, config.settings.timezone.clone());
    let take_up = reload::TakeUp {
        wanted: sharing.clone(),
        energy,
        arrivals: arrivals.clone(),
        memory,
        place: Place::here(watts),
    };
    reload::watch(loader, config, shown, take_up)
        .map_err(|error| Failure::because("start looking at the settings", &error))?;
    let members = shared.clone();
    let incoming = Incoming {
        net: net.clone(),
        arrivals: arrivals.clone(),
        refused: refused.clone(),
        verified: Arc::default(),
        is_member: Box::new(move |peer| members.node().ledger().governance().owner(peer).is_some()),
    };
    tokio::spawn(incoming.run(events));
    let uploads = {
        let net = net.clone();
        situation::Uploads::read(data, Box::new(move || net.sent()))
    };
    situation::watch(sharing, report, uploads, arrivals.clone())
        .map_err(|error| Failure::because("start looking at this device", &error))?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Failure::because("draw randomness", &error))?;
    let hook = hook.map(|command| hook::Hook::new(&command, arrivals.clone()));
    let hands = Shell {
        net: net.clone(),
        gossip: Gossip::new(me, seed, tokio::time::Instant::now()),
        runner: runner.clone(),
        runs,
        blobs,
        fetcher,
        happenings,
        arrivals,
        runtime: runtime.clone(),
        ids: driver::Ids::default(),
        open: BTreeMap::new(),
        outbox: outbox::Outbox::default(),
        connected: BTreeSet::new(),
        talks: BTreeMap::new(),
        fetches: BTreeMap::new(),
        refused,
        hook,
        remembered,
        mdns,
        data: data.to_owned(),
    };
    let driver = Driver {
        brain: shared,
        hands,
        store,
        runtime: runtime.clone(),
        arrivals: arrived,
        questions: asked,
        reads: wanted,
        stop: stopped,
    };
    let (done, ended) = oneshot::channel::<()>();
    let driver = std::thread::Builder::new()
        .name("driver".into())
        .spawn(move || {
            // What it calls starts tasks of the network.
            let _inside = runtime.enter();
            let _dropped_at_the_end = done;
            driver.run()
        })
        .map_err(|error| Failure::because("start the driver's thread", &error))?;
    Ok(Peer { me, net, handle, runner, services, stop, driver, ended })
}

async fn up(options: Options, data: &Path, store: DiskStore, opened: &Opened) -> Result<u8> {
    let listener = tokio::net::TcpListener::bind(options.api).await.map_err(|error| {
        Failure::because(format!("listen for this machine's programs on {}", options.api), &error)
            .hint("name another address with --api, or leave it out to take any port")
    })?;
    let api_addr = listener.local_addr().map_err(|error| Failure::because("find the API's port", &error))?;
    let mut signals = Signals::new()?;
    let token = api::token().map_err(|error| Failure::because("draw a token for the API", &error))?;
    let mut peer = start(options, data, store, opened).await?;

    let state = api::State {
        handle: peer.handle.clone(),
        services: peer.services.clone(),
        token: token.as_str().into(),
        remote: !api_addr.ip().is_loopback(),
    };
    let (end_api, api_ends) = oneshot::channel::<()>();
    let serving = tokio::spawn(api::serve(state, listener, async move {
        let _either_way = api_ends.await;
    }));
    let published = match api::publish(data, api_addr, &token) {
        Ok(published) => published,
        Err(error) => {
            // It acts already: whoever has heard of it hears of its end, too.
            let _said_below = end(peer).await;
            serving.abort();
            return Err(Failure::file("say where the API is, in", data, &error));
        }
    };
    let line =
        format!("ready {} listening on {}, API on {api_addr}\n", peer.me.short(), peer.net.local_addr());
    // Nobody has to read it.
    let _nobody_reads = std::io::stdout().write_all(line.as_bytes()).and_then(|()| std::io::stdout().flush());

    tokio::select! {
        () = signals.next() => tracing::info!("told to end"),
        _ = &mut peer.ended => {}
    }
    tokio::spawn(async move {
        signals.next().await;
        // Whoever asks twice means it. The next start takes it for a crash.
        std::process::exit(exit_codes::CANCELLED.into());
    });
    drop(published);
    let ended = end(peer).await;
    // Those who watch hang on as long as they like; the others are answered.
    let _asked_to_end = end_api.send(());
    serving.abort();
    ended
}

/// Ends in order: says so to the others, stops what runs, and leaves the store with the mark of a clean close.
async fn end(peer: Peer) -> Result<u8> {
    let offline = tokio::time::timeout(LAST_WORD, peer.handle.ask(Command::GoOffline)).await;
    if !matches!(offline, Ok(Ok(_))) {
        tracing::info!("the others could not be told that this peer goes offline");
    }
    let runner = peer.runner.clone();
    let _stopped = tokio::task::spawn_blocking(move || runner.stop_all()).await;
    if !peer.net.connected().is_empty() {
        tokio::time::sleep(FAREWELL).await;
    }
    peer.stop.send_replace(true);
    let driver = peer.driver;
    let joined = tokio::task::spawn_blocking(move || driver.join()).await;
    peer.net.close().await;
    let store = match joined {
        Ok(Ok(Ok(store))) => store,
        Ok(Ok(Err(error))) => {
            let hint = match &error {
                DriverError::Commit(mesh_store::CommitError::TooLarge { .. }) => {
                    "this is a fault of this program: please report it with the lines above"
                }
                DriverError::Commit(mesh_store::CommitError::Lost(_)) => {
                    "start it again; a damaged database is made anew then, and what peers know is fetched from them"
                }
                _ => "free some space on the disk that holds its --home, and start it again",
            };
            return Err(Failure::because("go on", &error).hint(hint));
        }
        Ok(Err(_)) | Err(_) => return Err(Failure::new("go on: the node's thread has failed")),
    };
    let closed = tokio::task::spawn_blocking(move || store.close()).await;
    match closed {
        Ok(Ok(())) => Ok(exit_codes::OK),
        Ok(Err(error)) => Err(Failure::because("close what this peer keeps", &error)
            .hint("nothing that was promised is lost; the next start checks it")),
        Err(error) => Err(Failure::because("close what this peer keeps", &error)),
    }
}

/// Ctrl-C, the system's request to end, and the terminal's end.
///
/// What was ignored before we came, as by nohup, stays ignored.
struct Signals([Option<Signal>; 3]);

impl Signals {
    fn new() -> Result<Self> {
        let ignored = crate::commands::ignored_signals();
        let listen = |kind: SignalKind| {
            let heard = ignored & (1 << (kind.as_raw_value() - 1)) == 0;
            let listening = heard.then(|| signal(kind)).transpose();
            listening.map_err(|error| Failure::because("listen for Ctrl-C", &error))
        };
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            () = received(interrupt) => {}
            () = received(terminate) => {}
            () = received(hangup) => {}
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
