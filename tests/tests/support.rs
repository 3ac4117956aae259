//! Runs `mesh` as a person would, each time in a home of its own, and looks at what is left over afterwards.

use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, kill_process_group, set_child_subreaper, waitpid,
};
use serde_json::Value;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longest that any run may take: a debug build on a busy machine with room to spare,
/// and still an end for whatever hangs.
pub(crate) const BOUND: Duration = Duration::from_secs(90);

/// Longest that something may take which should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// Most bytes of a stream that are kept for a look; the rest is counted only.
const KEEP: usize = 8 << 20;

/// Looks again and again until `look` finds something, and fails after `bound` with what it waited for.
pub(crate) fn until<T>(what: &str, bound: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < bound, "waited {bound:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A test that failed while it held the lock must not fail the others.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn program() -> PathBuf {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("mesh"));
    let path =
        std::env::var_os("MESH_BIN").map(PathBuf::from).or_else(beside).expect("a place to look for mesh");
    assert!(path.exists(), "no {}: run `cargo build -p mesh` first, or set MESH_BIN", path.display());
    path
}

/// Folders that one test has to itself.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("mesh-test-").tempdir().unwrap();
        for name in ["home", "cache", "config", "data", "state", "run", "tmp", "work", "files"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Where `mesh` keeps compiled modules.
    pub(crate) fn cache(&self) -> PathBuf {
        self.path("cache/taskmesh")
    }

    /// Writes a file for the test's own use.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path("files").join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Assembles a module.
    pub(crate) fn wat(&self, name: &str, text: &str) -> PathBuf {
        self.file(&format!("{name}.wasm"), assemble(name, text))
    }

    pub(crate) fn mesh(&self) -> Mesh<'_> {
        Mesh { home: self, args: Vec::new(), feed: Feed::Nothing, receipt: None }
    }

    /// `mesh run` with a receipt.
    pub(crate) fn run(&self) -> Mesh<'_> {
        let receipt = self.path("files/receipt.json");
        let _old = std::fs::remove_file(&receipt);
        let mut mesh = self.mesh().arg("run").arg("--receipt").arg(&receipt);
        mesh.receipt = Some(receipt);
        mesh
    }
}

pub(crate) fn assemble(name: &str, text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("assemble {name}: {error}"))
}

/// What stands at the other end of stdin.
pub(crate) enum Feed {
    Nothing,
    Bytes(Vec<u8>),
    /// Nothing comes, and it does not end either.
    Silent,
    /// Zeros, for as long as somebody reads.
    Endless,
}

/// A command line.
pub(crate) struct Mesh<'a> {
    home: &'a Home,
    args: Vec<OsString>,
    feed: Feed,
    receipt: Option<PathBuf>,
}

impl<'a> Mesh<'a> {
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<T: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn stdin(mut self, feed: Feed) -> Self {
        self.feed = feed;
        self
    }

    pub(crate) fn start(self) -> Running<'a> {
        adopt();
        let dir = |name| self.home.path(name);
        let mut command = Command::new(program());
        command
            .args(&self.args)
            .env_clear()
            .env("HOME", dir("home"))
            .env("XDG_CACHE_HOME", dir("cache"))
            .env("XDG_CONFIG_HOME", dir("config"))
            .env("XDG_DATA_HOME", dir("data"))
            .env("XDG_STATE_HOME", dir("state"))
            .env("XDG_RUNTIME_DIR", dir("run"))
            .env("TMPDIR", dir("tmp"))
            .env("SECRET_OF_THE_HOST", "must not be seen by any guest")
            .current_dir(dir("work"))
            .stdin(if matches!(self.feed, Feed::Nothing) { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Of its own, so that a run that hangs can be ended with everything it started.
            .process_group(0);
        let mut child = {
            let mut ours = lock(&OURS);
            let child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
            ours.insert(child.id());
            child
        };
        let (ended, ends) = channel();
        let stdout = Stream::read(child.stdout.take(), ended.clone());
        let stderr = Stream::read(child.stderr.take(), ended);
        let held = feed(self.feed, child.stdin.take());
        Running {
            line: format!("{command:?}"),
            home: self.home,
            child,
            held,
            stdout,
            stderr,
            ends,
            receipt: self.receipt,
            began: Instant::now(),
            ended: false,
        }
    }

    /// Runs to its end.
    pub(crate) fn go(self) -> Run {
        self.start().finish()
    }
}

fn feed(feed: Feed, pipe: Option<ChildStdin>) -> Option<ChildStdin> {
    let mut pipe = pipe?;
    match feed {
        Feed::Nothing => {}
        Feed::Silent => return Some(pipe),
        Feed::Bytes(bytes) => {
            // A guest that ends without reading everything closes the pipe: no matter.
            std::thread::spawn(move || pipe.write_all(&bytes).is_ok());
        }
        Feed::Endless => {
            std::thread::spawn(move || while pipe.write_all(&[0; 64 * 1024]).is_ok() {});
        }
    }
    None
}

#[derive(Clone, Default)]
struct Stream(Arc<Mutex<(Vec<u8>, u64)>>);

impl Stream {
    fn read(pipe: Option<impl Read + Send + 'static>, ended: Sender<()>) -> Self {
        let this = Self::default();
        let (stream, mut pipe) = (this.clone(), pipe.expect("every stream is a pipe"));
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let (kept, total) = &mut *lock(&stream.0);
                *total += count as u64;
                let room = KEEP.saturating_sub(kept.len()).min(count);
                kept.extend_from_slice(&buffer[..room]);
            }
            let _nobody_waits = ended.send(());
        });
        this
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0).0).into_owned()
    }
}

/// Starts another program that no other test takes for something left over. Whoever has waited for its end forgets it.
pub(crate) fn run_beside(command: &mut Command) -> Child {
    adopt();
    let mut ours = lock(&OURS);
    let child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    ours.insert(child.id());
    child
}

/// Its end was waited for.
pub(crate) fn forget(id: u32) {
    lock(&OURS).remove(&id);
}

/// Runs another program to its end, beside what the other tests do.
pub(crate) fn beside(command: &mut Command) -> std::process::Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = run_beside(command);
    let id = child.id();
    let output = child.wait_with_output().unwrap();
    forget(id);
    output
}

/// Whoever is left behind by a `mesh` that ended becomes our child, and so is seen.
pub(crate) fn adopt() {
    static ADOPT: Once = Once::new();
    ADOPT.call_once(|| set_child_subreaper(Some(rustix::process::getpid())).unwrap());
}

/// Children that tests started and wait for themselves.
static OURS: Mutex<std::collections::BTreeSet<u32>> = Mutex::new(std::collections::BTreeSet::new());

/// A `mesh` that runs.
pub(crate) struct Running<'a> {
    line: String,
    home: &'a Home,
    child: Child,
    held: Option<ChildStdin>,
    stdout: Stream,
    stderr: Stream,
    ends: Receiver<()>,
    receipt: Option<PathBuf>,
    began: Instant,
    ended: bool,
}

impl Running<'_> {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(pid(self.child.id()), signal).unwrap();
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes to the stdin that was silent so far.
    pub(crate) fn give(&mut self, bytes: &[u8]) {
        self.held.as_mut().expect("a silent stdin").write_all(bytes).unwrap();
    }

    /// Ends it and whatever it started, whether that hears of it or not.
    fn kill(&mut self) {
        let helpers = self.helpers();
        let _gone = kill_process_group(pid(self.child.id()), Signal::KILL);
        let _gone = self.child.wait();
        for helper in helpers {
            let _gone = kill_process(pid(helper.id), Signal::KILL);
        }
        self.ended = true;
    }

    fn fail(&mut self, what: &str) -> ! {
        self.kill();
        panic!(
            "{what}\n  command: {}\n  after: {:?}\n  stdout: {}\n  stderr: {}",
            self.line,
            self.began.elapsed(),
            shorten(&self.stdout.text()),
            shorten(&self.stderr.text()),
        );
    }

    /// Waits until the guest has said so on stdout: from then on it is known to be where the test wants it.
    pub(crate) fn says(&mut self, text: &str) {
        let start = Instant::now();
        while !self.stdout.text().contains(text) {
            if self.child.try_wait().unwrap().is_some() && !self.stdout.text().contains(text) {
                self.fail(&format!("it ended without saying {text:?}"));
            }
            if start.elapsed() > BOUND / 3 {
                self.fail(&format!("it never said {text:?}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Processes of this run but `mesh` itself.
    pub(crate) fn helpers(&self) -> Vec<Process> {
        family(self.child.id())
    }

    /// Waits for its end, and checks that nothing of it is left over.
    // spec: SBX-8
    pub(crate) fn finish(self) -> Run {
        let home = self.home;
        let run = self.finish_beside();
        run.leaves_nothing(home);
        run
    }

    /// Waits for its end, while others still work in the same home.
    pub(crate) fn finish_beside(mut self) -> Run {
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if self.began.elapsed() > BOUND => {
                    let helpers = self.helpers();
                    self.fail(&format!("it did not end within {BOUND:?}; its helpers: {helpers:#?}"));
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let took = self.began.elapsed();
        self.held = None;
        for _ in 0..2 {
            if self.ends.recv_timeout(Duration::from_secs(10)).is_err() {
                let holders = strays();
                self.fail(&format!("mesh ended, but something still holds its output open: {holders:#?}"));
            }
        }
        self.ended = true;
        lock(&OURS).remove(&self.child.id());
        let (stdout, stdout_bytes) = lock(&self.stdout.0).clone();
        let receipt = self.receipt.as_ref().and_then(|path| std::fs::read(path).ok());
        Run {
            line: self.line.clone(),
            code: status.code(),
            signal: status.signal(),
            stdout,
            stdout_bytes,
            stderr: self.stderr.text(),
            stderr_bytes: lock(&self.stderr.0).1,
            receipt: receipt.map(|bytes| serde_json::from_slice(&bytes).expect("the receipt is JSON")),
            took,
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.kill();
        }
        lock(&OURS).remove(&self.child.id());
    }
}

/// How a `mesh` ended.
pub(crate) struct Run {
    line: String,
    pub(crate) code: Option<i32>,
    signal: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stdout_bytes: u64,
    pub(crate) stderr: String,
    pub(crate) stderr_bytes: u64,
    pub(crate) receipt: Option<Value>,
    pub(crate) took: Duration,
}

impl Run {
    /// Fails with everything there is to know.
    pub(crate) fn fail(&self, what: &str) -> ! {
        panic!(
            "{what}\n  command: {}\n  code: {:?} signal: {:?} after {:?}\n  outcome: {}\n  stdout ({} bytes): {}\n  \
             stderr ({} bytes): {}",
            self.line,
            self.code,
            self.signal,
            self.took,
            self.receipt
                .as_ref()
                .map_or_else(|| "no receipt".into(), |r| r["receipt"]["outcome"].to_string()),
            self.stdout_bytes,
            shorten(&self.out()),
            self.stderr_bytes,
            shorten(&self.stderr),
        )
    }

    pub(crate) fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub(crate) fn holds(&self, truth: bool, what: &str) -> &Self {
        if !truth {
            self.fail(what);
        }
        self
    }

    /// Ended with this exit code and, as the receipt has it, this outcome.
    pub(crate) fn ends(&self, code: i32, outcome: &str) -> &Self {
        self.holds(self.code == Some(code), &format!("it should end with {code} and {outcome}"));
        let outcome: Value = serde_json::from_str(outcome).expect("the expected outcome is JSON");
        self.holds(*self.field("outcome") == outcome, &format!("its receipt should say {outcome}"))
    }

    pub(crate) fn exits(&self, code: i32) -> &Self {
        self.ends(code, &format!(r#"{{"Exited":{code}}}"#))
    }

    /// Was not started, with a reason that names `part`.
    // spec: SBX-1, SBX-8
    pub(crate) fn refused(&self, part: &str) -> &Self {
        self.holds(self.code == Some(126), "it should be refused")
            .holds(self.receipt.is_none(), "what was never started has no receipt")
            .says_error("refused")
            .says_error(part)
            .holds(self.stdout_bytes == 0, "a refused module says nothing")
    }

    pub(crate) fn says(&self, part: &str) -> &Self {
        self.holds(self.out().contains(part), &format!("stdout should contain {part:?}"))
    }

    pub(crate) fn says_error(&self, part: &str) -> &Self {
        let found = self.stderr.to_lowercase().contains(&part.to_lowercase());
        self.holds(found, &format!("stderr should contain {part:?}"))
    }

    /// A field of the receipt, by a path of names with dots.
    pub(crate) fn field(&self, path: &str) -> &Value {
        let Some(receipt) = &self.receipt else { self.fail("there should be a receipt") };
        path.split('.').fold(&receipt["receipt"], |value, name| &value[name])
    }

    pub(crate) fn number(&self, path: &str) -> u64 {
        self.field(path).as_u64().unwrap_or_else(|| self.fail(&format!("{path} should be a number")))
    }

    // spec: SBX-8
    fn leaves_nothing(&self, home: &Home) {
        let start = Instant::now();
        loop {
            let strays = strays();
            if strays.is_empty() {
                break;
            }
            if start.elapsed() > SOON {
                // One test failing for them is enough.
                for stray in &strays {
                    let _gone = kill_process(pid(stray.id), Signal::KILL);
                }
                self.fail(&format!("processes are left over: {strays:#?}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        for place in ["tmp", "work", "run"] {
            let left = tree(&home.path(place));
            self.holds(left.is_empty(), &format!("files are left over in {place}: {left:?}"));
        }
        let half: Vec<_> =
            tree(&home.path("cache")).into_iter().filter(|name| name.contains("tmp")).collect();
        self.holds(half.is_empty(), &format!("half-written files are left over in the cache: {half:?}"));
    }
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(1500).collect();
    if short.len() < text.len() {
        let _always = write!(short, " … ({} bytes in all)", text.len());
    }
    short
}

/// Everything below a folder, by its path in there, sorted.
pub(crate) fn tree(root: &Path) -> Vec<String> {
    fn add(root: &Path, dir: &Path, list: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            list.push(path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned());
            // What a link points to is not in the folder.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                add(root, &path, list);
            }
        }
    }
    let mut list = Vec::new();
    add(root, root, &mut list);
    list.sort();
    list
}

/// Files below a folder, with their bytes.
pub(crate) fn files(root: &Path) -> Vec<PathBuf> {
    tree(root).iter().map(|name| root.join(name)).filter(|path| path.is_file()).collect()
}

/// A process as the kernel tells of it.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) state: char,
    parent: u32,
    /// What it was started with.
    pub(crate) line: String,
    /// Ticks of the processor's time, those in the kernel included.
    pub(crate) ticks: u64,
    /// When it began, so that another one with the same number is known from it.
    pub(crate) since: u64,
}

fn pid(id: u32) -> Pid {
    i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id")
}

pub(crate) fn process(id: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name may hold anything, even parentheses: what counts stands after the last.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let ticks: Vec<u64> = fields.by_ref().skip(9).take(2).filter_map(|field| field.parse().ok()).collect();
    let since = fields.nth(6)?.parse().ok()?;
    let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    Some(Process { id, state, parent, line, ticks: ticks.iter().sum(), since })
}

/// Processes below one, however far, but not those that have ended.
pub(crate) fn family(root: u32) -> Vec<Process> {
    let all = processes();
    let mut family = HashSet::from([root]);
    // Children may stand before their parents in the list.
    for _ in 0..4 {
        family.extend(all.iter().filter(|p| family.contains(&p.parent)).map(|p| p.id).collect::<Vec<_>>());
    }
    all.into_iter().filter(|p| p.id != root && family.contains(&p.id) && p.state != 'Z').collect()
}

fn processes() -> Vec<Process> {
    let ids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    ids.filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// Processes that a `mesh` left behind. Those that have ended are cleared away; whatever another test's run leaves
/// for a moment is waited for like its own.
fn strays() -> Vec<Process> {
    let ours = lock(&OURS);
    let me = std::process::id();
    let mut strays: Vec<Process> =
        processes().into_iter().filter(|p| p.parent == me && !ours.contains(&p.id)).collect();
    strays.retain(|stray| stray.state != 'Z' || waitpid(Some(pid(stray.id)), WaitOptions::NOHANG).is_err());
    strays
}
