//! `mesh demo`: three peers of a community on this machine, with two recorded days of sun, wind and grid.
//!
//! Everything is real but the weather's pace: processes, connections, ledgers, tasks. Carbon is intensity as recorded;
//! what the three own (a roof, a turbine, a battery) is modelled, and said so in the traces.
// spec: CLI-6

mod acts;
mod board;
mod report;

use crate::args::{Demo, values};
use crate::energy::{Trace, now_ms};
use crate::exit_codes;
use crate::failure::{Failure, Result};
use board::Board;
use mesh_protocol::ad::EnergyClaim;
use report::Seen;
use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::cell::RefCell;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Hours played.
pub(super) const HOURS: f64 = 48.0;
/// Between two looks at the peers.
const LOOK: Duration = Duration::from_millis(300);
/// How long a peer may take to start.
const START: Duration = Duration::from_secs(30);
/// Watts of the processor that each of the three is taken to have.
const WATTS: f64 = 15.0;
/// The speed at which the two days take 120 s.
pub(super) const USUAL_SPEED: f64 = 1440.0;
/// Rules of a community that lives two days in two minutes: everybody has a vote at once, ballots are over in seconds,
/// silence is noticed at once, and a member may ask for as much as the examples do.
const RULES: &str = "vote_after_ms = 0
voting_window_ms = 10000
suspect_after_ms = 2000
sponsors = 1
free = { tasks = 0, longest_ms = 3600000, memory_bytes = 1000000000 }
";

/// The three: name, trace, and what they have.
const WHO: [(&str, &str, &str); 3] = [
    ("alice", include_str!("../../demo/alice.csv"), "a roof with solar cells, on a grid of coal"),
    ("bob", include_str!("../../demo/bob.csv"), "a wind turbine"),
    ("carol", include_str!("../../demo/carol.csv"), "a battery, charged around noon"),
];
pub(super) const ALICE: usize = 0;
pub(super) const BOB: usize = 1;
pub(super) const CAROL: usize = 2;

/// A peer on the stage.
struct Peer {
    name: &'static str,
    home: PathBuf,
    trace: Trace,
    more: Vec<String>,
    running: Option<Child>,
}

/// The whole of it; nothing is left behind when it goes.
pub(super) struct Stage {
    folder: PathBuf,
    tasks: PathBuf,
    peers: Vec<Peer>,
    speed: f64,
    began_ms: u64,
    keep: bool,
    stop: Arc<AtomicBool>,
    seen: Seen,
    board: RefCell<Board>,
}

/// An hour of the played time, as people read it.
pub(super) fn clock(hour: f64) -> String {
    let minutes = (hour.max(0.0) * 60.0) as u32;
    format!("day {} {:02}:{:02}", minutes / 1440 + 1, minutes / 60 % 24, minutes % 60)
}

pub(super) fn run(demo: &Demo) -> Result<u8> {
    let tasks = tasks(demo.tasks.as_deref())?;
    let stop = Arc::new(AtomicBool::new(false));
    let ignored = super::ignored_signals();
    let heard = |signal: &i32| ignored & (1 << (signal - 1)) == 0;
    for signal in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(heard) {
        signal_hook::flag::register(signal, stop.clone())
            .map_err(|error| Failure::because("listen for Ctrl-C", &error))?;
    }
    let mut stage = Stage::new(demo, tasks, stop)?;
    let played = stage.found().and_then(|()| acts::play(&mut stage));
    let code = match played {
        Ok(()) => {
            stage.seen.tell(&stage)?;
            if stage.seen.is_unfinished() {
                return Err(Failure::new("finish the demo: not every task was done"));
            }
            exit_codes::OK
        }
        Err(_) if stage.stopped() => exit_codes::CANCELLED,
        Err(error) => {
            stage.keep = true;
            crate::say!("the logs of the peers are in {}", stage.folder.display());
            return Err(error);
        }
    };
    Ok(code)
}

/// Where the example tasks are.
fn tasks(given: Option<&Path>) -> Result<PathBuf> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("tasks"));
    let folder = given.map(Path::to_owned).or_else(beside).unwrap_or_default();
    if folder.join("mandelbrot.wasm").is_file() {
        return Ok(folder);
    }
    Err(Failure::new(format!("find the example tasks: there is no mandelbrot.wasm in {}", folder.display()))
        .hint("build them with `cargo xtask build-tasks --release`, or name their folder with --tasks"))
}

impl Stage {
    fn new(demo: &Demo, tasks: PathBuf, stop: Arc<AtomicBool>) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("mesh-demo-{}", std::process::id()));
        let failed = |error: std::io::Error| Failure::file("make the folder", &folder, &error);
        DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
        let began_ms = now_ms() + 3_000;
        let mut stage = Self {
            folder,
            tasks,
            peers: Vec::new(),
            speed: demo.speed,
            began_ms,
            keep: demo.keep,
            stop,
            seen: Seen::default(),
            board: RefCell::new(Board::new()),
        };
        for (name, trace, _) in WHO {
            let file = stage.file(&format!("{name}.csv"), trace)?;
            let played = format!("{},speed={},at={began_ms}", file.display(), demo.speed);
            let trace = Trace::parse(&played).map_err(Failure::new)?;
            let home = stage.folder.join(name);
            let more = vec!["--energy".into(), format!("trace:{played}")];
            stage.peers.push(Peer { name, home, trace, more, running: None });
        }
        Ok(stage)
    }

    /// Writes a file of the demo's.
    pub(super) fn file(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        let made = path
            .parent()
            .map_or(Ok(()), |folder| DirBuilder::new().recursive(true).mode(0o700).create(folder));
        made.and_then(|()| fs::write(&path, content))
            .map_err(|error| Failure::file("write the file", &path, &error))?;
        Ok(path)
    }

    pub(super) fn module(&self, name: &str) -> String {
        self.tasks.join(format!("{name}.wasm")).display().to_string()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What a processor is taken to draw: it works for seconds while hours pass, so for the energy of those hours.
    fn watts(&self) -> u32 {
        (WATTS * self.speed).clamp(1.0, f64::from(values::MAX_WATTS)) as u32
    }

    /// Hours of the played time.
    pub(super) fn hour(&self) -> f64 {
        (now_ms() as f64 - self.began_ms as f64) * self.speed / 3_600_000.0
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What a peer's energy is by its trace at an hour.
    pub(super) fn energy(&self, who: usize, hour: f64) -> Option<EnergyClaim> {
        let at = self.began_ms as f64 + hour * 3_600_000.0 / self.speed;
        self.peers[who].trace.at(at as u64)
    }

    fn command(&self, who: usize, args: &[&str]) -> Result<Command> {
        let program =
            std::env::current_exe().map_err(|error| Failure::because("find the mesh program", &error))?;
        let mut command = Command::new(program);
        command.env_remove("MESH_HOME").arg("--home").arg(&self.peers[who].home).args(args);
        Ok(command)
    }

    /// Runs a verb as one of the three.
    pub(super) fn mesh(&self, who: usize, args: &[&str]) -> Result<String> {
        let output = self
            .command(who, args)?
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Failure::because("run mesh", &error))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().find(|line| line.starts_with("error:")).unwrap_or("it said nothing");
        Err(Failure::new(format!("`mesh {}` as {}: {line}", args.join(" "), self.peers[who].name)))
    }

    pub(super) fn json(&self, who: usize, args: &[&str]) -> Result<Value> {
        let text = self.mesh(who, &[args, &["--json"]].concat())?;
        serde_json::from_str(&text).map_err(|error| Failure::because("read what mesh printed", &error))
    }

    pub(super) fn say(&self, who: &str, text: &str) {
        let line = format!("{}  {who:<6} {text}", clock(self.hour()));
        let _nobody_reads = self.board.borrow_mut().say(line);
    }

    /// Starts a peer with its energy and what else it has.
    pub(super) fn up(&mut self, who: usize) -> Result<()> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{}.log", self.peers[who].name)))
            .map_err(|error| Failure::because("open a peer's log", &error))?;
        let errors = log.try_clone().map_err(|error| Failure::because("open a peer's log", &error))?;
        let more = self.peers[who].more.clone();
        // For one of Carol's tasks another has to wait.
        let slots = if who == CAROL { "1" } else { "2" };
        let watts = self.watts().to_string();
        let mut args =
            vec!["up", "--listen", "127.0.0.1:0", "--no-mdns", "--slots", slots, "--watts", &watts];
        args.extend(more.iter().map(String::as_str));
        let mut command = self.command(who, &args)?;
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        self.peers[who].running = Some(child.map_err(|error| Failure::because("start a peer", &error))?);
        let begun = Instant::now();
        while self.mesh(who, &["status"]).is_err() {
            let ended =
                self.peers[who].running.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if ended || begun.elapsed() > START || self.stopped() {
                return Err(Failure::new(format!("start {}: it is not up", self.peers[who].name)));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// More flags for a peer, from its next start on.
    pub(super) fn also(&mut self, who: usize, flags: &[&str]) {
        self.peers[who].more.extend(flags.iter().map(|flag| (*flag).to_owned()));
    }

    /// A peer is gone from one moment to the next.
    pub(super) fn kill(&mut self, who: usize) {
        if let Some(mut child) = self.peers[who].running.take() {
            let _gone_already = child.kill();
            let _reaped = child.wait();
        }
    }

    pub(super) fn is_up(&self, who: usize) -> bool {
        self.peers[who].running.is_some()
    }

    /// Three strangers become a community, each letting the others' tasks run.
    fn found(&mut self) -> Result<()> {
        let share = |name: &str, folder: &Path| format!("{name}={}:rw", folder.display());
        let logs = self.path("alices-logs");
        let db = self.path("bobs-db");
        for folder in [&logs, &db] {
            fs::create_dir(folder).map_err(|error| Failure::file("make the folder", folder, &error))?;
        }
        self.also(ALICE, &["--share", &share("logs", &logs)]);
        self.also(BOB, &["--share", &share("db", &db)]);
        for (who, (name, _, has)) in WHO.iter().enumerate() {
            self.mesh(who, &["init", "--name", name, "--device-name", name])?;
            self.up(who)?;
            self.say(name, &format!("is up; has {has}"));
        }
        let rules = self.file("rules.toml", RULES)?;
        self.mesh(ALICE, &["community", "new", "Elm Street", "--rules", &rules.display().to_string()])?;
        for who in [BOB, CAROL] {
            let ticket = self.mesh(ALICE, &["invite"])?;
            self.mesh(who, &["join", &ticket])?;
        }
        for who in [ALICE, BOB, CAROL] {
            for other in [ALICE, BOB, CAROL].into_iter().filter(|other| *other != who) {
                self.mesh(who, &["grant", "--user", WHO[other].0, "--task", "*"])?;
            }
        }
        self.say("", "three members of Elm Street, each lets the others' tasks run; two recorded days begin");
        Ok(())
    }

    /// Looks at everything once, and tells what changed.
    pub(super) fn look(&mut self) -> Result<()> {
        if self.stopped() {
            return Err(Failure::new("go on: it was told to end").code(exit_codes::CANCELLED));
        }
        let begun = Instant::now();
        let mut seen = std::mem::take(&mut self.seen);
        let looked = seen.look(self);
        self.seen = seen;
        looked?;
        let (peers, tasks) = self.seen.board(self);
        let title = format!("{}   Elm Street, played {} times as fast", clock(self.hour()), self.speed);
        self.board.borrow_mut().show(&title, &peers, &tasks)?;
        std::thread::sleep(LOOK.saturating_sub(begun.elapsed()));
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for who in 0..self.peers.len() {
            self.kill(who);
        }
        if !self.keep {
            let _gone_already = fs::remove_dir_all(&self.folder);
        }
    }
}
