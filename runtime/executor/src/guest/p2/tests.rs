use super::*;
use crate::engine;
use crate::guest::blocks::Blocks;
use crate::guest::clock::EPOCH_NS;
use crate::guest::conn::Conn;
use crate::guest::streams::{Output, Stdin};
use crate::guest::vfs::{Errno, Quota, Vfs};
use crate::guest::{Checkpoints, Limiter, Signals};
use crate::wire::{self, StdinKind};
use mesh_protocol::limits::Limits;
use std::os::fd::OwnedFd;
use wasmtime::component::Component;
use wasmtime::{AsContextMut, Engine, Store};
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::bindings::io::poll::HostPollable;

/// A host with nothing in it, and the executor's end of its connection.
fn host(stdin: StdinKind) -> (Host, OwnedFd) {
    let (executor, worker) = wire::pair().unwrap();
    let conn = Arc::new(Conn::new(worker).unwrap());
    let clock = Clock::Virtual { ahead: 0, fuel_before: 0 };
    let limits = Limits::default();
    let mut host = Host {
        limiter: Limiter::new(limits.memory_bytes, engine::COMPONENT_COUNTS),
        args: vec!["task".into()],
        env: Vec::new(),
        meta: Vec::new(),
        files: Arc::new(Mutex::new(Vfs::new(Blocks::new(None), Quota { bytes: 0, files: 0 }, EPOCH_NS))),
        clock: Arc::new(Mutex::new(clock)),
        random: Arc::new(Mutex::new(Random::seeded(&[3; 32], 0))),
        output: Arc::new(Output::new(conn.clone(), [1 << 20, 1 << 20], [0, 0])),
        stdin: Arc::new(Stdin::new(conn.clone(), stdin, None)),
        conn,
        signals: Arc::new(Signals::default()),
        spent: Arc::default(),
        component: None,
        checkpoints: Checkpoints { wanted: false, denied: false, saved: 0, resume: None, out: None },
        fds: crate::guest::p1::Fds::default(),
        host_dirs: None,
        wasi: None,
        table: ResourceTable::new(),
        places: vec![("/".into(), crate::guest::vfs::ROOT)],
        limits,
    };
    furnish(&mut host, &[], &[7; 32]).unwrap();
    (host, executor)
}

fn store(engine: &Engine, host: Host) -> Store<Host> {
    let fuel = host.limits.fuel;
    let mut store = Store::new(engine, host);
    store.set_fuel(fuel).unwrap();
    store.fuel_async_yield_interval(Some(engine::YIELD_FUEL)).unwrap();
    store
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().unwrap()
}

#[test]
fn errors_have_their_names() {
    for (errno, code) in [
        (Errno::RoFs, ErrorCode::ReadOnly),
        (Errno::Perm, ErrorCode::NotPermitted),
        (Errno::NoSpace, ErrorCode::InsufficientSpace),
        (Errno::XDev, ErrorCode::CrossDevice),
        (Errno::NoEntry, ErrorCode::NoEntry),
    ] {
        assert_eq!(ErrorCode::from(errno) as u8, code as u8, "{errno:?}");
    }
}

// spec: SBX-13
#[test]
fn waiting_jumps_to_the_earliest_time_only() {
    let engine = engine::component().unwrap();
    runtime().block_on(async {
        let (host, _executor) = host(StdinKind::Streamed);
        let mut store = store(&engine, host);
        let late = deadline(store.data_mut(), |now| now + 5 * NS).unwrap();
        let soon = deadline(store.data_mut(), |now| now + 2 * NS).unwrap();
        let both = || vec![Resource::new_borrow(late.rep()), Resource::new_borrow(soon.rep())];
        let first = deadline(store.data_mut(), |now| now + NS).unwrap();
        // Only asked, not waited for.
        assert!(!HostPollable::ready(&mut store.data_mut().table, first).await.unwrap());
        let mut context = store.as_context_mut();
        assert_eq!(io::wait(&mut context, both()).await.unwrap(), [1]);
        assert_eq!(shared(context.data()).unwrap().now(), 2 * NS);
        // The one that has come is ready at once, and the clock stands.
        assert_eq!(io::wait(&mut context, both()).await.unwrap(), [1]);
        assert_eq!(shared(context.data()).unwrap().now(), 2 * NS);
        assert_eq!(io::wait(&mut context, vec![Resource::new_borrow(late.rep())]).await.unwrap(), [0]);
        assert_eq!(shared(context.data()).unwrap().now(), 5 * NS);
    });
}

/// Sleeps an hour and returns what the clock says of it. Its imports are older than what is offered.
const SLEEPER: &str = r#"
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.3" (instance $clock
    (alias outer 1 $pollable (type $outer))
    (export "pollable" (type $q (eq $outer)))
    (export "now" (func (result u64)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $q))))))
  (core func $now (canon lower (func $clock "now")))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core module $m
    (import "" "now" (func $now (result i64)))
    (import "" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "" "block" (func $block (param i32)))
    (func (export "run") (result i64)
      (local $start i64)
      (local.set $start (call $now))
      (call $block (call $subscribe (i64.const 3600000000000)))
      (i64.sub (call $now) (local.get $start))))
  (core instance $i (instantiate $m (with "" (instance
    (export "now" (func $now)) (export "subscribe" (func $subscribe)) (export "block" (func $block))))))
  (func (export "run") (result u64) (canon lift (core func $i "run"))))
"#;

// spec: SBX-1, SBX-13
#[test]
fn a_sleep_takes_no_real_time_and_the_same_virtual_time() {
    let engine = engine::component().unwrap();
    let mut linker = Linker::new(&engine);
    link(&mut linker, false).unwrap();
    let component = Component::new(&engine, wat::parse_str(SLEEPER).unwrap()).unwrap();
    let run = || {
        runtime().block_on(async {
            let (host, _executor) = host(StdinKind::Empty);
            let mut store = store(&engine, host);
            let instance = linker.instantiate_async(&mut store, &component).await.unwrap();
            let run = instance.get_typed_func::<(), (u64,)>(&mut store, "run").unwrap();
            let (slept,) = run.call_async(&mut store, ()).await.unwrap();
            (slept, store.get_fuel().unwrap())
        })
    };
    let first = run();
    assert!((3600 * NS..3601 * NS).contains(&first.0), "{first:?}");
    assert_eq!(run(), first);
}

#[test]
fn folders_of_this_machine_link_too() {
    let engine = engine::component().unwrap();
    let mut linker = Linker::<Host>::new(&engine);
    link(&mut linker, true).unwrap();
}
