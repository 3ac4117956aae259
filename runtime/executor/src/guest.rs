//! What surrounds one guest inside a worker: its files, clock, streams and bounds, and the functions it may call.

pub(crate) mod abi;
pub(crate) mod blocks;
pub(crate) mod clock;
pub(crate) mod conn;
pub(crate) mod p1;
pub(crate) mod p2;
pub(crate) mod random;
pub(crate) mod streams;
pub(crate) mod vfs;

use crate::engine::{HANDLES, STEP_FUEL, TABLE_ELEMENTS, YIELD_FUEL};
use clock::Clock;
use conn::Conn;
use mesh_protocol::limits::Limits;
use mesh_protocol::outcome::{Outcome, Refusal, Stream, TrapKind};
use random::Random;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use streams::{Output, Stdin};
use vfs::Vfs;
use wasmtime::component::ResourceTable;
use wasmtime::{AsContextMut, ResourceLimiter, Trap};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// Locks what only one thread uses at a time; a panic while it was held ends the worker anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything of one guest that host functions need.
pub(crate) struct Host {
    pub(crate) limiter: Limiter,
    pub(crate) limits: Limits,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) meta: Vec<(String, String)>,
    pub(crate) files: Arc<Mutex<Vfs>>,
    pub(crate) clock: Arc<Mutex<Clock>>,
    pub(crate) random: Arc<Mutex<Random>>,
    pub(crate) output: Arc<Output>,
    pub(crate) stdin: Arc<Stdin>,
    pub(crate) conn: Arc<Conn>,
    pub(crate) signals: Arc<Signals>,
    pub(crate) spent: Arc<Spent>,
    /// What the functions of a component share.
    pub(crate) component: Option<Arc<p2::Shared>>,
    pub(crate) checkpoints: Checkpoints,
    /// Descriptors of a core module.
    pub(crate) fds: p1::Fds,
    /// Serves folders of this machine to a core module.
    pub(crate) host_dirs: Option<wasmtime_wasi::p1::WasiP1Ctx>,
    /// Serves a component.
    pub(crate) wasi: Option<WasiCtx>,
    pub(crate) table: ResourceTable,
    pub(crate) places: Vec<(String, vfs::NodeId)>,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.as_mut().expect("set for every component, and only components ask");
        WasiCtxView { ctx, table: &mut self.table }
    }
}

/// What reaches a running guest from outside.
#[derive(Default)]
pub(crate) struct Signals {
    stop: AtomicBool,
    stop_seen: AtomicBool,
    pub(crate) checkpoint_taken: tokio::sync::Notify,
}

impl Signals {
    pub(crate) fn tell_to_stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn should_stop(&self) -> bool {
        let stop = self.stop.load(Ordering::Relaxed);
        if stop {
            self.stop_seen.store(true, Ordering::Relaxed);
        }
        stop
    }

    pub(crate) fn stop_seen(&self) -> bool {
        self.stop_seen.load(Ordering::Relaxed)
    }
}

/// Fuel used by the task, resumed attempts included, as of its last host call.
#[derive(Default)]
pub(crate) struct Spent {
    used: AtomicU64,
    yielded: AtomicU64,
}

impl Spent {
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// Takes fuel for what a host call does, so that no call is cheaper for the guest than for the host.
// spec: SBX-4
pub(crate) fn charge(mut store: impl AsContextMut<Data = Host>, fuel: u64) -> wasmtime::Result<()> {
    let mut store = store.as_context_mut();
    let left = store.get_fuel()?;
    let rest = left.saturating_sub(fuel);
    store.set_fuel(rest)?;
    let host = store.data();
    host.spent.used.store(host.limits.fuel.saturating_sub(rest), Ordering::Relaxed);
    if fuel > left { Err(Trap::OutOfFuel.into()) } else { Ok(()) }
}

/// Begins a host call: takes its fuel, and lets go of the thread when it is time.
// spec: SBX-7
pub(crate) async fn begin(mut store: impl AsContextMut<Data = Host>, fuel: u64) -> wasmtime::Result<()> {
    // The names that the call before looked at are paid for now that their number is known.
    let steps = lock(&store.as_context().data().files).take_steps();
    charge(store.as_context_mut(), fuel.saturating_add(steps.saturating_mul(STEP_FUEL)))?;
    // Setting the fuel starts the engine's own interval anew, so a guest that calls all the time would never be
    // interrupted by it.
    let spent = &store.as_context().data().spent;
    if spent.used().saturating_sub(spent.yielded.load(Ordering::Relaxed)) >= YIELD_FUEL {
        spent.yielded.store(spent.used(), Ordering::Relaxed);
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Saving, and what this run goes on from.
pub(crate) struct Checkpoints {
    /// Does anybody take them?
    pub(crate) wanted: bool,
    /// Is there something of which a checkpoint could not hold all: a writable share?
    pub(crate) denied: bool,
    pub(crate) saved: u32,
    /// The state to go on from: a file, where in it, and how long.
    pub(crate) resume: Option<(Arc<File>, u64, u64)>,
    pub(crate) out: Option<vfs::NodeId>,
}

/// Ends a guest from within a host function.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("exit with status {0}")]
    Exit(u32),
    #[error("wrote more than allowed to {0}")]
    OutputExceeded(Stream),
    #[error("{0}")]
    Misuse(String),
    #[error("set the task up: {0}")]
    Unmade(String),
    #[error("the machine has no memory left: {0}")]
    HostMemory(String),
    #[error("talk to the executor")]
    Disconnected(#[source] std::io::Error),
}

/// Bounds all memories and tables of a task together.
// spec: SBX-5
pub(crate) struct Limiter {
    limit: u64,
    memories: u64,
    elements: u64,
    pub(crate) peak: u64,
    pub(crate) refused: bool,
    counts: (usize, usize, usize),
}

/// Bytes that a table element takes on a 64-bit machine.
const ELEMENT_BYTES: u64 = 8;

impl Limiter {
    pub(crate) fn new(limit: u64, counts: (usize, usize, usize)) -> Self {
        Self { limit, memories: 0, elements: 0, peak: 0, refused: false, counts }
    }

    fn total(&self) -> u64 {
        self.memories + self.elements * ELEMENT_BYTES
    }

    fn admit(&mut self, extra: u64) -> bool {
        let fits = self.total().saturating_add(extra) <= self.limit;
        self.refused |= !fits;
        fits
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        max: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let extra = desired.saturating_sub(current) as u64;
        // Beyond its own declared maximum no module can grow, whatever the limit.
        if max.is_some_and(|max| desired > max) || !self.admit(extra) {
            return Ok(false);
        }
        self.memories += extra;
        self.peak = self.peak.max(self.total());
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        // Permitted by the limit and still not to be had: the machine is short of memory, and another peer would not
        // be. That is no result.
        Err(End::HostMemory(error.to_string()).into())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        max: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let extra = desired.saturating_sub(current) as u64;
        let within_type = max.is_none_or(|max| desired <= max);
        if self.elements + extra > TABLE_ELEMENTS as u64 || !within_type || !self.admit(extra * ELEMENT_BYTES)
        {
            return Ok(false);
        }
        self.elements += extra;
        self.peak = self.peak.max(self.total());
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.counts.0
    }

    fn tables(&self) -> usize {
        self.counts.1
    }

    fn memories(&self) -> usize {
        self.counts.2
    }
}

/// Names of the functions that a core module may import from `module`.
pub(crate) fn names(module: &str) -> impl Iterator<Item = &'static str> {
    let list: &[&str] = match module {
        p1::MODULE => &p1::NAMES,
        mesh_protocol::abi::MODULE => &abi::NAMES,
        _ => &[],
    };
    list.iter().copied()
}

/// Most entries in a guest's tables of descriptors and handles.
pub(crate) const MAX_HANDLES: usize = HANDLES;

/// Says how a guest ended, from what its entry function returned.
// spec: SBX-4, SBX-8
pub(crate) fn outcome(result: wasmtime::Result<()>, memory_refused: bool) -> (Outcome, String) {
    let Err(error) = result else { return (Outcome::Exited(0), String::new()) };
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return exited(u32::try_from(exit.0).unwrap_or(u32::MAX));
    }
    match error.downcast_ref::<End>() {
        Some(&End::Exit(code)) => return exited(code),
        Some(&End::OutputExceeded(stream)) => return (Outcome::OutputExceeded(stream), String::new()),
        Some(End::Misuse(what)) => return (Outcome::Trapped(TrapKind::HostCall), what.clone()),
        // The limiter said no, which is the same everywhere; or the system did.
        Some(End::Unmade(_)) if memory_refused => return (Outcome::MemoryExceeded, String::new()),
        Some(End::Unmade(why)) if why.contains("resource limit exceeded") => {
            return (Outcome::Refused(Refusal::Invalid(why.clone())), String::new());
        }
        Some(end @ (End::HostMemory(_) | End::Unmade(_))) => {
            return (Outcome::SandboxCrashed(end.to_string()), String::new());
        }
        Some(End::Disconnected(error)) => return (Outcome::SandboxCrashed(error.to_string()), String::new()),
        None => {}
    }
    let detail = format!("{error:#}");
    let Some(trap) = error.downcast_ref::<Trap>() else {
        // Not a trap of the engine: a host call that refused what it was given, or an instantiation that failed.
        return (Outcome::Trapped(TrapKind::HostCall), detail);
    };
    let kind = match trap {
        Trap::OutOfFuel => return (Outcome::OutOfFuel, String::new()),
        Trap::StackOverflow => TrapKind::StackOverflow,
        Trap::MemoryOutOfBounds | Trap::HeapMisaligned => TrapKind::MemoryOutOfBounds,
        Trap::TableOutOfBounds => TrapKind::TableOutOfBounds,
        Trap::IndirectCallToNull => TrapKind::IndirectCallToNull,
        Trap::BadSignature => TrapKind::BadSignature,
        Trap::IntegerOverflow => TrapKind::IntegerOverflow,
        Trap::IntegerDivisionByZero => TrapKind::DivisionByZero,
        Trap::BadConversionToInteger => TrapKind::BadConversion,
        Trap::UnreachableCodeReached => TrapKind::Unreachable,
        _ => TrapKind::Other,
    };
    if memory_refused && kind == TrapKind::Unreachable {
        // A guest that was refused memory and then aborts gave up for want of memory.
        return (Outcome::MemoryExceeded, detail);
    }
    (Outcome::Trapped(kind), detail)
}

/// The highest status that is the guest's to give; what lies above belongs to the host.
const MAX_EXIT: u32 = 125;

fn exited(code: u32) -> (Outcome, String) {
    match code {
        0..=MAX_EXIT => (Outcome::Exited(code), String::new()),
        _ => (Outcome::Trapped(TrapKind::BadExitStatus), format!("exit status {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SBX-5
    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut limiter = Limiter::new(200_000, (1, 4, 2));
        assert!(limiter.memory_growing(0, 65_536, None).unwrap());
        assert!(limiter.memory_growing(0, 65_536, None).unwrap(), "a second memory");
        assert!(limiter.table_growing(0, 8_000, None).unwrap());
        assert!(!limiter.table_growing(8_000, 16_000, None).unwrap());
        assert!(!limiter.memory_growing(65_536, 131_072, None).unwrap());
        assert!(limiter.refused);
        assert_eq!(limiter.peak, 2 * 65_536 + 64_000);
    }
}
