//! Measures what SBX-15 and SBX-16 promise, in one run, beside plain wasmtime on the same machine.
//!
//! `bench sandbox [--json FILE]`. As `bench plain MODULE` it is what it compares with: the same wasmtime, embedded in
//! a few lines, without fuel, walls, quotas or anything else.
// spec: SBX-15, SBX-16

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot be made has nothing to say"
)]

use mesh_executor::{Config, Event, Executor, LoadedModule, Running, Stdin, Task};
use mesh_protocol::limits::MB;
use mesh_protocol::outcome::Outcome;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use wasmtime::{Engine, Linker, Module, Store};

const TRIVIAL: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

/// Never ends, and never calls the host.
const TIGHT: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#;

/// Waits for input that never comes.
const WAITS: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 64))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 32)))))"#;

/// Sleeps for an hour, a subscription to the monotonic clock.
const SLEEPS: &str = r#"(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 16) (i32.const 1)) (i64.store (i32.const 24) (i64.const 3600000000000))
    (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))"#;

/// Fills 64 MB again and again in single operations, inside which nothing can be interrupted.
const FILLS: &str = r#"(module (memory (export "memory") 1000)
  (func (export "_start") (loop (memory.fill (i32.const 0) (i32.const 7) (i32.const 65000000)) (br 0))))"#;

/// Takes all memory it can get and touches every page of it.
const GROWS: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (local $at i32)
  (block $full (loop $more
    (br_if $full (i32.eq (memory.grow (i32.const 16)) (i32.const -1)))
    (br $more)))
  (loop $touch
    (i32.store8 (local.get $at) (i32.const 1))
    (local.set $at (i32.add (local.get $at) (i32.const 4096)))
    (br_if $touch (i32.lt_u (local.get $at) (i32.mul (memory.size) (i32.const 65536)))))))"#;

/// Computes with whole numbers and with fractions for a few hundred milliseconds.
const COMPUTES: &str = r#"(module (memory (export "memory") 1)
  (func $ints (param $n i32) (result i32) (local $x i32)
    (local.set $x (i32.const 12345))
    (loop $l
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 13))))
      (local.set $x (i32.xor (local.get $x) (i32.shr_u (local.get $x) (i32.const 17))))
      (local.set $x (i32.xor (local.get $x) (i32.shl (local.get $x) (i32.const 5))))
      (i32.store8 (i32.and (local.get $x) (i32.const 0xffff)) (local.get $x))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))
  (func $floats (param $n i32) (result f64) (local $x f64)
    (local.set $x (f64.const 0.5))
    (loop $l
      (local.set $x (f64.sub (f64.mul (f64.mul (f64.const 3.9) (local.get $x)) (f64.sub (f64.const 1) (local.get $x))) (f64.const 1e-9)))
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $x))
  (func (export "_start")
    (drop (call $ints (i32.const 60000000)))
    (drop (call $floats (i32.const 30000000)))))"#;

fn main() {
    if let Some(code) = mesh_executor::subprocess() {
        std::process::exit(code);
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["plain", module] => plain(Path::new(module)),
        ["sandbox"] => sandbox(None),
        ["sandbox", "--json", file] => sandbox(Some(file)),
        _ => {
            eprintln!("usage: bench sandbox [--json FILE]");
            std::process::exit(2);
        }
    }
}

/// What a first program with wasmtime does. A `.cwasm` beside the module is used, as a cache would.
#[expect(unsafe_code, reason = "loads code that this program compiled itself a moment ago")]
fn plain(path: &Path) {
    let engine = Engine::default();
    let compiled = path.with_extension("cwasm");
    let module = if compiled.is_file() {
        // SAFETY: written by this program in the same run.
        unsafe { Module::deserialize_file(&engine, &compiled) }.unwrap()
    } else {
        Module::from_binary(&engine, &std::fs::read(path).unwrap()).unwrap()
    };
    let mut linker: Linker<wasmtime_wasi::p1::WasiP1Ctx> = Linker::new(&engine);
    wasmtime_wasi::p1::add_to_linker_sync(&mut linker, |ctx| ctx).unwrap();
    let ctx = wasmtime_wasi::WasiCtxBuilder::new().inherit_stdio().build_p1();
    let mut store = Store::new(&engine, ctx);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap().call(&mut store, ()).unwrap();
}

struct Figures {
    lines: Vec<(String, String)>,
    json: BTreeMap<String, f64>,
}

impl Figures {
    fn put(&mut self, key: &str, what: &str, value: f64, target: &str) {
        let digits = if value.abs() >= 100.0 { 0 } else { 3 };
        let line = (what.to_owned(), format!("{value:>10.digits$}   {target}"));
        println!("{:<64} {}", line.0, line.1);
        self.lines.push(line);
        self.json.insert(key.into(), value);
    }
}

fn percentile(sorted: &mut [f64], part: f64) -> f64 {
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

/// The program that workers are: `mesh` beside this one, so that what is measured is what is shipped.
fn mesh() -> PathBuf {
    match std::env::var_os("MESH_BIN") {
        Some(path) => path.into(),
        None => std::env::current_exe().unwrap().with_file_name("mesh"),
    }
}

fn executor(ready: usize, keep: usize) -> Executor {
    let mut config = Config::new(mesh());
    config.ready_workers = ready;
    config.keep_workers = keep;
    Executor::new(config).unwrap()
}

fn task(module: &LoadedModule) -> Task {
    Task::new(module.clone())
}

fn until_started(running: &mut Running) {
    loop {
        match running.next().expect("the task starts") {
            Event::Started => return,
            Event::Ended(report) => panic!("ended before it started: {}", report.outcome),
            _ => {}
        }
    }
}

fn run(executor: &Executor, task: Task) -> Box<mesh_executor::Report> {
    executor.start(task).unwrap().wait().unwrap()
}

fn sandbox(json: Option<&str>) {
    let mut figures = Figures { lines: Vec::new(), json: BTreeMap::new() };
    println!("{:<64} {:>10}   {}", "sandbox", "measured", "target");
    starts(&mut figures);
    rates(&mut figures);
    stops(&mut figures);
    memory(&mut figures);
    idle(&mut figures);
    computing(&mut figures);
    whole_process(&mut figures);
    if let Some(file) = json {
        std::fs::write(file, serde_json::to_string_pretty(&figures.json).unwrap() + "\n").unwrap();
        println!("wrote {file}");
    }
}

fn starts(figures: &mut Figures) {
    let executor = executor(1, 1);
    let mut cold: Vec<f64> = (0..10)
        .map(|n| {
            let module = wasm(&TRIVIAL.replace("(module", &format!("(module (@custom \"n\" \"{n}\")")));
            let began = Instant::now();
            let module = executor.load(&module).unwrap();
            until_started(&mut executor.start(task(&module)).unwrap());
            ms(began.elapsed())
        })
        .collect();
    figures.put(
        "cold_start_ms_p50",
        "cold start: admit, compile in a child, start (ms, p50)",
        percentile(&mut cold, 0.5),
        "",
    );
    let module = executor.load(&wasm(TRIVIAL)).unwrap();
    let start = |executor: &Executor, module: &LoadedModule| {
        let began = Instant::now();
        let mut running = executor.start(task(module)).unwrap();
        until_started(&mut running);
        let time = ms(began.elapsed());
        running.wait().unwrap();
        time
    };
    for _ in 0..20 {
        start(&executor, &module);
    }
    let mut warm: Vec<f64> = (0..500).map(|_| start(&executor, &module)).collect();
    figures.put(
        "warm_start_ms_p50",
        "warm start: module compiled, worker waiting (ms, p50)",
        percentile(&mut warm, 0.5),
        "<= 1",
    );
    figures.put("warm_start_ms_p99", "  the same (ms, p99)", percentile(&mut warm, 0.99), "");
    // A worker that waits, but has not seen this module: it is loaded into it first.
    let fresh_only = self::executor(1, 0);
    let module = fresh_only.load(&wasm(TRIVIAL)).unwrap();
    let mut fresh: Vec<f64> = (0..100)
        .map(|_| {
            // The worker gets ready while nothing is asked of it, as it would between tasks.
            while !fresh_only.waiting_workers().iter().all(|pid| sleeps(*pid)) {
                std::thread::yield_now();
            }
            start(&fresh_only, &module)
        })
        .collect();
    figures.put(
        "fresh_start_ms_p50",
        "start in a waiting worker that is new to the module (ms, p50)",
        percentile(&mut fresh, 0.5),
        "<= 1",
    );
}

/// Does a process wait for something, having used its first CPU time?
fn sleeps(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    status.contains("\nSeccomp:\t2") && status.contains("State:\tS") && !stat.is_empty()
}

fn rates(figures: &mut Figures) {
    let rate = |ready: usize, keep: usize, time: Duration| {
        let executor = executor(ready, keep);
        let module = executor.load(&wasm(TRIVIAL)).unwrap();
        let began = Instant::now();
        let counts: Vec<_> = (0..2)
            .map(|_| {
                let (executor, module) = (executor.clone(), module.clone());
                std::thread::spawn(move || {
                    let mut count = 0;
                    while began.elapsed() < time {
                        assert_eq!(run(&executor, task(&module)).outcome, Outcome::Exited(0));
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let total: u32 = counts.into_iter().map(|thread| thread.join().unwrap()).sum();
        f64::from(total) / began.elapsed().as_secs_f64()
    };
    let reused = rate(2, 2, Duration::from_secs(3));
    figures.put("tasks_per_s", "trivial tasks a second, two at a time, workers reused", reused, ">= 500");
    let fresh = rate(2, 0, Duration::from_secs(3));
    figures.put("tasks_per_s_fresh_worker", "  the same with a new worker each", fresh, "");
}

fn stops(figures: &mut Figures) {
    let executor = executor(1, 0);
    let mut worst = 0f64;
    let ways: [(&str, &str, &str, u32); 4] = [
        ("tight", "a tight loop", TIGHT, 100),
        ("host_call", "a host call (reading input that never comes)", WAITS, 100),
        ("sleep", "a sleep", SLEEPS, 100),
        ("bulk", "memory.fill of 64 MB", FILLS, 40),
    ];
    for (key, what, text, times) in ways {
        let module = executor.load(&wasm(text)).unwrap();
        let mut cancels: Vec<f64> = (0..times)
            .map(|n| {
                let mut wanted = task(&module);
                wanted.granted.real_clock = true;
                // A pipe whose other end stays open and silent.
                let (silent, _open) = std::io::pipe().unwrap();
                wanted.stdin = Stdin::Stream(Box::new(silent));
                let mut running = executor.start(wanted).unwrap();
                until_started(&mut running);
                std::thread::sleep(Duration::from_millis(u64::from(n % 7)));
                let began = Instant::now();
                running.control().cancel();
                let report = running.wait().unwrap();
                assert_eq!(report.outcome, Outcome::Cancelled);
                ms(began.elapsed())
            })
            .collect();
        let p50 = percentile(&mut cancels, 0.5);
        let p99 = percentile(&mut cancels, 0.99);
        figures.put(&format!("cancel_{key}_ms_p50"), &format!("cancel in {what} (ms, p50)"), p50, "");
        figures.put(&format!("cancel_{key}_ms_p99"), "  the same (ms, p99)", p99, "<= 100");
        worst = worst.max(p99);
    }
    figures.put("cancel_ms_p99", "cancel, worst of these (ms, p99)", worst, "<= 100");

    let module = executor.load(&wasm(TIGHT)).unwrap();
    let mut running = executor.start(task(&module)).unwrap();
    until_started(&mut running);
    let pid = running.worker_pid();
    let control = running.control();
    let stopped =
        || std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default().contains("State:\tT");
    let mut pauses: Vec<f64> = (0..100)
        .map(|_| {
            let began = Instant::now();
            control.pause();
            while !stopped() {
                std::thread::yield_now();
            }
            let time = ms(began.elapsed());
            control.resume();
            while stopped() {
                std::thread::yield_now();
            }
            time
        })
        .collect();
    figures.put(
        "pause_ms_p99",
        "pause a tight loop until it stands (ms, p99)",
        percentile(&mut pauses, 0.99),
        "<= 100",
    );
}

fn memory(figures: &mut Figures) {
    let executor = executor(1, 0);
    let module = executor.load(&wasm(GROWS)).unwrap();
    let limit = 200 * MB;
    let mut wanted = task(&module);
    wanted.limits.memory_bytes = limit;
    let report = run(&executor, wanted);
    assert_eq!(report.outcome, Outcome::Exited(0));
    let over = (report.receipt.usage.peak_resident as f64 - limit as f64) / f64::from(1 << 20);
    figures.put(
        "rss_over_limit_mib",
        "resident in the worker over a memory limit of 200 MB (MiB)",
        over,
        "<= 64",
    );
}

fn cpu_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / rustix::param::clock_ticks_per_second() as f64
}

fn pss_mib(pid: u32) -> f64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap() / 1024.0
}

/// A process that holds an executor with two waiting workers and does nothing.
fn idle(figures: &mut Figures) {
    let executor = executor(2, 2);
    let module = executor.load(&wasm(TRIVIAL)).unwrap();
    run(&executor, task(&module));
    let mut pids = executor.waiting_workers();
    pids.push(std::process::id());
    while !executor.waiting_workers().iter().all(|pid| sleeps(*pid)) {
        std::thread::yield_now();
    }
    let cpu = |pids: &[u32]| pids.iter().map(|pid| cpu_s(*pid)).sum::<f64>();
    let (before, began) = (cpu(&pids), Instant::now());
    std::thread::sleep(Duration::from_secs(5));
    let share = (cpu(&pids) - before) / began.elapsed().as_secs_f64() * 100.0;
    figures.put("idle_cpu_pct", "CPU of an idle executor and its waiting workers (%)", share, "< 1");
    let resident: f64 = pids.iter().map(|pid| pss_mib(*pid)).sum();
    figures.put(
        "idle_rss_mib",
        "memory of the same, shared pages counted once (PSS, MiB)",
        resident,
        "< 57 (60 MB)",
    );
    figures.put("idle_workers", "  workers among them", (pids.len() - 1) as f64, "");
}

fn computing(figures: &mut Figures) {
    let bytes = wasm(COMPUTES);
    let time = |fuel: bool, nan: bool| {
        let mut config = wasmtime::Config::new();
        config.consume_fuel(fuel).cranelift_nan_canonicalization(nan);
        let engine = Engine::new(&config).unwrap();
        let module = Module::from_binary(&engine, &bytes).unwrap();
        let mut times: Vec<f64> = (0..5)
            .map(|_| {
                let mut store = Store::new(&engine, ());
                if fuel {
                    store.set_fuel(u64::MAX).unwrap();
                }
                let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
                let start = instance.get_typed_func::<(), ()>(&mut store, "_start").unwrap();
                let began = Instant::now();
                start.call(&mut store, ()).unwrap();
                ms(began.elapsed())
            })
            .collect();
        percentile(&mut times, 0.5)
    };
    let (plain, fuel, nan, both) =
        (time(false, false), time(true, false), time(false, true), time(true, true));
    figures.put("fuel_cost_ratio", "computing with fuel against without", fuel / plain, "");
    figures.put("nan_cost_ratio", "computing with canonical NaNs against without", nan / plain, "");
    figures.put("fuel_nan_cost_ratio", "computing with both against with neither", both / plain, "");
    let executor = executor(1, 1);
    let module = executor.load(&bytes).unwrap();
    let mut inside: Vec<f64> = (0..5)
        .map(|_| {
            let mut running = executor.start(task(&module)).unwrap();
            until_started(&mut running);
            let began = Instant::now();
            running.wait().unwrap();
            ms(began.elapsed())
        })
        .collect();
    let inside = percentile(&mut inside, 0.5);
    figures.put(
        "compute_vs_same_flags",
        "computing in the sandbox against plain with both",
        inside / both,
        "<= 1",
    );
}

/// Whole commands, in turn, so that a machine whose speed drifts is as fast for each.
fn whole_process(figures: &mut Figures) {
    let home = tempfile::tempdir().unwrap();
    let module = home.path().join("trivial.wasm");
    std::fs::write(&module, wasm(TRIVIAL)).unwrap();
    let uncompiled = home.path().join("uncompiled.wasm");
    std::fs::write(&uncompiled, wasm(TRIVIAL)).unwrap();
    let engine = Engine::default();
    let code = engine.precompile_module(&wasm(TRIVIAL)).unwrap();
    std::fs::write(module.with_extension("cwasm"), code).unwrap();
    let me = std::env::current_exe().unwrap();
    let measure = |program: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).env("XDG_CACHE_HOME", home.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let began = Instant::now();
        let status = command.status().unwrap();
        assert!(status.success(), "{} {arguments:?}: {status}", program.display());
        ms(began.elapsed())
    };
    let (path, cold) = (module.to_str().unwrap(), uncompiled.to_str().unwrap());
    let mesh = mesh();
    let wasmtime = find("wasmtime");
    let (mut ours, mut plain, mut compiling, mut theirs) = (vec![], vec![], vec![], vec![]);
    for round in 0..42 {
        let times =
            [measure(&mesh, &["run", path]), measure(&me, &["plain", path]), measure(&me, &["plain", cold])];
        let their = wasmtime.as_ref().map(|wasmtime| measure(wasmtime, &["run", path]));
        if round >= 2 {
            ours.push(times[0]);
            plain.push(times[1]);
            compiling.push(times[2]);
            theirs.extend(their);
        }
    }
    let (ours, plain) = (percentile(&mut ours, 0.5), percentile(&mut plain, 0.5));
    figures.put("mesh_run_ms_p50", "mesh run of a trivial cached module, whole process (ms, p50)", ours, "");
    figures.put("plain_ms_p50", "plain embedding of it, compiled before (ms, p50)", plain, "");
    let compiling = percentile(&mut compiling, 0.5);
    figures.put(
        "plain_compiling_ms_p50",
        "plain embedding of it, compiling each time (ms, p50)",
        compiling,
        "",
    );
    figures.put("mesh_run_vs_plain", "mesh run against plain embedding, compiled before", ours / plain, "");
    figures.put(
        "mesh_run_vs_plain_compiling",
        "mesh run against plain embedding, compiling",
        ours / compiling,
        "",
    );
    if theirs.is_empty() {
        println!("{:<64} no `wasmtime` in the path, so it is not compared with", "wasmtime run");
    } else {
        let theirs = percentile(&mut theirs, 0.5);
        figures.put("wasmtime_run_ms_p50", "wasmtime run of it (ms, p50)", theirs, "");
        figures.put("mesh_run_vs_wasmtime", "mesh run against wasmtime run", ours / theirs, "<= 1");
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| path.is_file())
}
