//! The imports of a component: WASI 0.2 over our own file system, clock, randomness and streams.
//!
//! Every function that a component can put to work is defined here or below and charges fuel; from `wasmtime-wasi`
//! come only what cannot do anything (terminals, sockets that may not be made) and, for the local user's own folders,
//! its hardened file system. Types of the interfaces are those that `wasmtime-wasi` generates.
// spec: SBX-1, SBX-6, SBX-11, SBX-13

mod files;
mod io;
mod streams;

use super::clock::Clock;
use super::random::{Random, Shared as SharedRandom};
use super::{End, Host, MAX_HANDLES, Spent, charge, lock};
use crate::engine::{CALL_FUEL, RANDOM_BYTES};
use crate::wire::HostDir;
use mesh_protocol::outcome::{Outcome, Refusal, Stream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use streams::{Deadline, StandardInput, StandardOutput};
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::{cli, io as wasi_io, sockets};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, subscribe};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

const NS: u64 = 1_000_000_000;

/// What streams and pollables, which never see the store, share with the functions that do.
pub(crate) struct Shared {
    clock: Arc<Mutex<Clock>>,
    spent: Arc<Spent>,
    /// Fuel for what a stream did, to be charged by the function that called it.
    owed: AtomicU64,
    /// The earliest time that somebody found not to have come yet.
    awaited: Mutex<Option<u64>>,
    insecure_seed: (u64, u64),
}

impl Shared {
    fn new(clock: Arc<Mutex<Clock>>, spent: Arc<Spent>, insecure_seed: (u64, u64)) -> Self {
        Self { clock, spent, owed: AtomicU64::new(0), awaited: Mutex::new(None), insecure_seed }
    }

    fn clock(&self) -> Clock {
        *lock(&self.clock)
    }

    fn used(&self) -> u64 {
        self.spent.used()
    }

    fn now(&self) -> u64 {
        self.clock().monotonic(self.used())
    }

    fn wall(&self) -> u64 {
        self.clock().wall(self.used())
    }

    fn owe(&self, fuel: u64) {
        self.owed.fetch_add(fuel, Ordering::Relaxed);
    }

    fn wait_for(&self, at: u64) {
        let mut awaited = lock(&self.awaited);
        *awaited = Some(awaited.map_or(at, |other| other.min(at)));
    }

    /// Forgets what was asked about without waiting for it.
    fn forget_waits(&self) {
        *lock(&self.awaited) = None;
    }

    /// Moves a virtual clock to the earliest time waited for; says whether there was one.
    fn jump(&self) -> bool {
        let awaited = lock(&self.awaited).take();
        if let Some(at) = awaited {
            lock(&self.clock).advance_to(at, self.used());
        }
        awaited.is_some()
    }
}

fn shared(host: &Host) -> wasmtime::Result<Arc<Shared>> {
    host.component
        .clone()
        .ok_or_else(|| End::Misuse("a component's function outside a component".into()).into())
}

/// Defines a function: its fuel, its arguments, and a body that gives the results.
macro_rules! offer {
    ($instance:ident, $name:expr, $fuel:expr, |$store:ident $(, $arg:ident: $ty:ty)* $(,)?| $body:expr) => {
        $instance.func_wrap_async(
            $name,
            |mut store: wasmtime::StoreContextMut<'_, $crate::guest::Host>, ($($arg,)*): ($($ty,)*)| {
                Box::new(async move {
                    let $store = &mut store;
                    $crate::guest::begin(&mut *$store, $fuel).await?;
                    let results: wasmtime::Result<_> = $body;
                    results
                })
            },
        )?
    };
}
use offer;

/// Offers what a component of world `wasi:cli/command` may import; with `host_dirs` it sees folders of this machine
/// instead of our own.
pub(crate) fn link(linker: &mut Linker<Host>, host_dirs: bool) -> wasmtime::Result<()> {
    link_cli(linker)?;
    link_clocks(linker)?;
    link_random(linker)?;
    wasi_io::error::add_to_linker::<Host, HasSelf<ResourceTable>>(linker, |host| &mut host.table)?;
    io::link(linker)?;
    // The standard libraries of guests import sockets whether they use them or not; none can be made.
    sockets::network::add_to_linker::<Host, WasiSockets>(linker, &Default::default(), Host::sockets)?;
    sockets::instance_network::add_to_linker::<Host, WasiSockets>(linker, Host::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<Host, WasiSockets>(linker, Host::sockets)?;
    sockets::tcp::add_to_linker::<Host, WasiSockets>(linker, Host::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<Host, WasiSockets>(linker, Host::sockets)?;
    sockets::udp::add_to_linker::<Host, WasiSockets>(linker, Host::sockets)?;
    sockets::udp_create_socket::add_to_linker::<Host, WasiSockets>(linker, Host::sockets)?;
    if host_dirs { files::link_host(linker) } else { files::link(linker) }
}

fn link_cli(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut environment = linker.instance("wasi:cli/environment@0.2.12")?;
    offer!(environment, "get-environment", CALL_FUEL, |store| {
        let env = store.data().env.clone();
        charge(&mut *store, env.iter().map(|(key, value)| (key.len() + value.len()) as u64 + 8).sum())?;
        Ok((env,))
    });
    offer!(environment, "get-arguments", CALL_FUEL, |store| {
        let args = store.data().args.clone();
        charge(&mut *store, args.iter().map(|arg| arg.len() as u64 + 8).sum())?;
        Ok((args,))
    });
    offer!(environment, "initial-cwd", CALL_FUEL, |_store| Ok((None::<String>,)));

    let mut exit = linker.instance("wasi:cli/exit@0.2.12")?;
    offer!(exit, "exit", 0, |_store, status: Result<(), ()>| {
        Err::<(), _>(End::Exit(u32::from(status.is_err())).into())
    });
    offer!(exit, "exit-with-code", 0, |_store, code: u8| Err::<(), _>(End::Exit(code.into()).into()));

    let mut stdin = linker.instance("wasi:cli/stdin@0.2.12")?;
    offer!(stdin, "get-stdin", CALL_FUEL, |store| {
        let host = store.data_mut();
        let stream = StandardInput::new(host.stdin.clone(), host.output.clone(), shared(host)?);
        Ok((host.table.push(Box::new(stream) as DynInputStream)?,))
    });
    let mut stdout = linker.instance("wasi:cli/stdout@0.2.12")?;
    offer!(stdout, "get-stdout", CALL_FUEL, |store| {
        let host = store.data_mut();
        let stream = StandardOutput::new(host.output.clone(), Stream::Stdout);
        Ok((host.table.push(Box::new(stream) as DynOutputStream)?,))
    });
    let mut stderr = linker.instance("wasi:cli/stderr@0.2.12")?;
    offer!(stderr, "get-stderr", CALL_FUEL, |store| {
        let host = store.data_mut();
        let stream = StandardOutput::new(host.output.clone(), Stream::Stderr);
        Ok((host.table.push(Box::new(stream) as DynOutputStream)?,))
    });

    cli::terminal_input::add_to_linker::<Host, WasiCli>(linker, Host::cli)?;
    cli::terminal_output::add_to_linker::<Host, WasiCli>(linker, Host::cli)?;
    cli::terminal_stdin::add_to_linker::<Host, WasiCli>(linker, Host::cli)?;
    cli::terminal_stdout::add_to_linker::<Host, WasiCli>(linker, Host::cli)?;
    cli::terminal_stderr::add_to_linker::<Host, WasiCli>(linker, Host::cli)
}

fn datetime(ns: u64) -> Datetime {
    Datetime { seconds: ns / NS, nanoseconds: (ns % NS) as u32 }
}

fn deadline(host: &mut Host, at: impl FnOnce(u64) -> u64) -> wasmtime::Result<Resource<DynPollable>> {
    let shared = shared(host)?;
    let at = at(shared.now());
    let deadline = host.table.push(Deadline { at, shared })?;
    subscribe(&mut host.table, deadline)
}

// spec: SBX-13
fn link_clocks(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut monotonic = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    offer!(monotonic, "now", CALL_FUEL, |store| Ok((shared(store.data())?.now(),)));
    offer!(monotonic, "resolution", CALL_FUEL, |store| Ok((lock(&store.data().clock).resolution(),)));
    offer!(monotonic, "subscribe-instant", CALL_FUEL, |store, when: u64| {
        Ok((deadline(store.data_mut(), |_| when)?,))
    });
    offer!(monotonic, "subscribe-duration", CALL_FUEL, |store, span: u64| {
        Ok((deadline(store.data_mut(), |now| now.saturating_add(span))?,))
    });

    let mut wall = linker.instance("wasi:clocks/wall-clock@0.2.12")?;
    offer!(wall, "now", CALL_FUEL, |store| Ok((datetime(shared(store.data())?.wall()),)));
    offer!(wall, "resolution", CALL_FUEL, |store| Ok((datetime(lock(&store.data().clock).resolution()),)));
    Ok(())
}

// spec: SBX-6, SBX-13
fn link_random(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    // Both kinds come from one stream: there is no gain in a worse one.
    for (instance, bytes, number) in [
        ("wasi:random/random@0.2.12", "get-random-bytes", "get-random-u64"),
        ("wasi:random/insecure@0.2.12", "get-insecure-random-bytes", "get-insecure-random-u64"),
    ] {
        let mut instance = linker.instance(instance)?;
        offer!(instance, bytes, CALL_FUEL, |store, len: u64| {
            if len > RANDOM_BYTES {
                let what = format!("asked for {len} random bytes at once, at most {RANDOM_BYTES} are given");
                return Err(End::Misuse(what).into());
            }
            charge(&mut *store, len)?;
            let mut drawn = vec![0; len as usize];
            lock(&store.data().random).fill(&mut drawn)?;
            Ok((drawn,))
        });
        offer!(instance, number, CALL_FUEL + 8, |store| {
            let mut drawn = [0; 8];
            lock(&store.data().random).fill(&mut drawn)?;
            Ok((u64::from_le_bytes(drawn),))
        });
    }
    let mut seed = linker.instance("wasi:random/insecure-seed@0.2.12")?;
    offer!(seed, "insecure-seed", CALL_FUEL, |store| Ok((shared(store.data())?.insecure_seed,)));
    Ok(())
}

/// Sets up what those imports serve from.
pub(crate) fn furnish(host: &mut Host, dirs: &[HostDir], seed: &[u8; 32]) -> Result<(), Outcome> {
    let crashed = |what: &str| Outcome::SandboxCrashed(what.to_owned());
    let mut bytes = *blake3::keyed_hash(seed, b"insecure seed").as_bytes();
    if let Random::Real = &*lock(&host.random) {
        getrandom::fill(&mut bytes).map_err(|_| crashed("draw a random seed"))?;
    }
    let half = |at: usize| bytes[at..at + 8].iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    let insecure_seed = (half(0), half(8));

    host.table = ResourceTable::new();
    host.table.set_max_capacity(MAX_HANDLES + dirs.len());
    host.component = Some(Arc::new(Shared::new(host.clock.clone(), host.spent.clone(), insecure_seed)));

    // Everything that this context would serve, but for `dirs`, is shadowed by functions of our own or denied; what
    // is set here makes sure that nothing of this machine shows even so.
    let mut builder = WasiCtxBuilder::new();
    builder
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .secure_random(SharedRandom(host.random.clone()))
        .insecure_random(SharedRandom(host.random.clone()))
        .insecure_random_seed(u128::from(insecure_seed.1) << 64 | u128::from(insecure_seed.0))
        .max_random_size(RANDOM_BYTES);
    for dir in dirs {
        let perms = if dir.writable { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        builder.preopened_dir(&dir.host, &dir.guest, perms).map_err(|error| {
            Outcome::Refused(Refusal::Request(format!("open the folder {:?}: {error:#}", dir.host)))
        })?;
    }
    host.wasi = Some(builder.build());
    Ok(())
}

#[cfg(test)]
mod tests;
