//! Peers as people run them: real processes, real QUIC, real disks, each with a home of its own.

use crate::support::{
    BOUND, Process, SOON, adopt, assemble, beside, family, process, program, run_beside, until,
};
use rustix::process::Signal;
use serde_json::Value;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// Where a peer lives, and how its command line is reached. Cheap to clone, so that another thread can ask the peer
/// while it is killed and started.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) name: &'static str,
    pub(crate) home: PathBuf,
    /// What stands before `mesh`: nothing, or what brings it into a namespace.
    pub(crate) prefix: Vec<OsString>,
}

impl Client {
    fn command(&self) -> Command {
        self.command_of(program())
    }

    fn command_of(&self, program: PathBuf) -> Command {
        let mesh = program.into_os_string();
        let mut words = self.prefix.iter().chain([&mesh]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.arg("--home").arg(&self.home);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        beside(self.command().args(args))
    }

    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "{}: mesh {args:?}: {}\n{}{}",
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Fails, and says this on stderr.
    pub(crate) fn refused(&self, args: &[&str], part: &str) {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(part), "{}: mesh {args:?}: {said}", self.name);
        assert!(said.contains("error: "), "{said}");
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("mesh {args:?}: {error}: {text}"))
    }

    pub(crate) fn submit(&self, args: &[&str]) -> String {
        self.ok(&[&["submit", "--id-only"], args].concat()).trim().to_owned()
    }

    pub(crate) fn task(&self, id: &str) -> Value {
        self.json(&["task", "show", id])
    }

    pub(crate) fn waits_for(&self, id: &str, what: &str, look: impl Fn(&Value) -> bool) -> Value {
        until(&format!("the task of {} to be {what}", self.name), BOUND, || {
            let task = self.task(id);
            look(&task).then_some(task)
        })
    }

    pub(crate) fn runs_now(&self) -> usize {
        self.json(&["status"])["running"].as_array().map_or(0, Vec::len)
    }

    pub(crate) fn entries(&self) -> u64 {
        self.json(&["status"])["entries"].as_u64().unwrap()
    }

    /// What an address of the API answers.
    pub(crate) fn get(&self, path: &str) -> Value {
        self.ask("GET", path, "text/plain", b"")
    }

    /// What the API answers to this.
    pub(crate) fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Value {
        let api: Value = serde_json::from_slice(&std::fs::read(self.home.join("api.json")).unwrap()).unwrap();
        let (addr, token) = (api["addr"].as_str().unwrap(), api["token"].as_str().unwrap());
        let mut stream = TcpStream::connect(addr).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer}"));
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }
}

/// A peer with a home of its own.
pub(crate) struct Peer {
    client: Client,
    _home: Option<TempDir>,
    /// Logs stay outside its home, whose disk may be full.
    logs: TempDir,
    pub(crate) listen: String,
    running: Option<Child>,
    starts: usize,
}

impl std::ops::Deref for Peer {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("mesh-street-").tempdir().unwrap()
}

impl Peer {
    pub(crate) fn new(name: &'static str) -> Self {
        let home = folder();
        let path = home.path().to_owned();
        let mut peer = Self::at(name, path, Vec::new());
        peer._home = Some(home);
        peer
    }

    /// One more device of somebody's, by this name, that waits for their ticket.
    pub(crate) fn device(name: &'static str) -> Self {
        let home = folder();
        let client = Client { name, home: home.path().to_owned(), prefix: Vec::new() };
        let mut peer = Self::made(client, &["--device-only", "--device-name", name]);
        peer._home = Some(home);
        peer
    }

    /// A peer whose home is this folder and that is reached by way of these words.
    pub(crate) fn at(name: &'static str, home: PathBuf, prefix: Vec<OsString>) -> Self {
        let device = format!("{name}-laptop");
        Self::made(Client { name, home, prefix }, &["--name", name, "--device-name", &device])
    }

    fn made(client: Client, names: &[&str]) -> Self {
        client.ok(&[&["init"], names].concat());
        let listen = "127.0.0.1:0".to_owned();
        Self { client, _home: None, logs: folder(), listen, running: None, starts: 0 }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.logs.path().join(format!("log-{}", self.starts))
    }

    /// What it said since it was started last.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    pub(crate) fn up(&mut self, more: &[&str]) {
        self.up_in(&[], more);
    }

    /// The same, with these variables in its environment.
    pub(crate) fn up_in(&mut self, variables: &[(&str, &Path)], more: &[&str]) {
        self.up_from(program(), variables, more);
    }

    /// The same, from a program of its own.
    pub(crate) fn up_from(&mut self, program: PathBuf, variables: &[(&str, &Path)], more: &[&str]) {
        self.starts += 1;
        let log = std::fs::File::create(self.log()).unwrap();
        let mut command = self.command_of(program);
        command.args(["up", "--listen", &self.listen, "--no-mdns"]).args(more);
        command.envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.running = Some(run_beside(&mut command));
        let name = self.name;
        until(&format!("{name} to be up"), BOUND, || {
            let said = self.said();
            let ended = self.running.as_mut().expect("it was started").try_wait().unwrap();
            assert!(ended.is_none() || said.contains("ready "), "{name} ended: {said}");
            said.contains("ready ").then_some(())
        });
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        let said = self.said();
        let addr = said.split("listening on ").nth(1).and_then(|rest| rest.split([',', ' ', '\n']).next());
        addr.and_then(|addr| addr.parse().ok()).unwrap_or_else(|| panic!("no address: {said}"))
    }

    /// The process dies as in a power cut, and with it whatever it had started.
    // spec: SBX-8
    pub(crate) fn kill(&mut self) {
        let mut child = self.running.take().expect("it runs");
        let helpers = family(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        crate::support::forget(child.id());
        self.outlived_by_none(&helpers);
    }

    /// The process is told to end, and does.
    pub(crate) fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    pub(crate) fn end(&mut self, signal: Signal) {
        let mut child = self.running.take().expect("it runs");
        let helpers = family(child.id());
        let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
        let status = until(&format!("{} to end", self.name), BOUND, || child.try_wait().unwrap());
        assert!(status.success(), "{} ended with {status}: {}", self.name, self.said());
        crate::support::forget(child.id());
        self.outlived_by_none(&helpers);
    }

    /// What it has started.
    pub(crate) fn helpers(&self) -> Vec<Process> {
        family(self.running.as_ref().expect("it runs").id())
    }

    fn outlived_by_none(&self, helpers: &[Process]) {
        let lives = |helper: &Process| {
            process(helper.id).is_some_and(|now| now.since == helper.since && now.state != 'Z')
        };
        let mut left = Vec::new();
        let start = std::time::Instant::now();
        while start.elapsed() < SOON {
            left = helpers.iter().filter(|helper| lives(helper)).collect();
            if left.is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("{} is gone, and these are not: {left:#?}", self.name);
    }

    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command();
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        run_beside(&mut command)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.take() {
            let _gone = child.kill();
            let _gone = child.wait();
            crate::support::forget(child.id());
        }
        let logs = (1..=self.starts).map(|start| self.logs.path().join(format!("log-{start}")));
        for log in logs {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            if std::thread::panicking() {
                eprintln!("---- {} said:\n{said}", self.name);
            } else {
                assert!(!said.contains("ERROR") && !said.contains("panicked"), "{}: {said}", self.name);
            }
        }
    }
}

/// Peers of one community; the first founded it, and the others let its tasks run.
pub(crate) fn street(names: &[&'static str]) -> Vec<Peer> {
    let mut peers: Vec<Peer> = names.iter().map(|name| Peer::new(name)).collect();
    for peer in &mut peers {
        peer.up(&[]);
    }
    found(&peers, None);
    peers
}

/// Makes a community of peers that run.
pub(crate) fn found(peers: &[Peer], rules: Option<&str>) {
    adopt();
    // Nobody votes, and a member may ask for as much as a test does.
    let free =
        "voting_window_ms = 0\nfree = { tasks = 0, longest_ms = 86400000, memory_bytes = 4000000000 }\n";
    let file = folder();
    let path = file.path().join("rules.toml");
    std::fs::write(&path, rules.unwrap_or(free)).unwrap();
    peers[0].ok(&["community", "new", "Street", "--rules", path.to_str().unwrap()]);
    for peer in &peers[1..] {
        let ticket = peers[0].ok(&["invite"]);
        peer.ok(&["join", ticket.trim()]);
        peer.ok(&["grant", "--user", peers[0].name]);
    }
    for peer in &peers[1..] {
        sees_slots(&peers[0], peer.name);
    }
}

/// Waits until a peer knows that another one has room for a task of its owner.
pub(crate) fn sees_slots(peer: &Client, other: &str) {
    let there = |peer: &Value| peer["connected"] == true && peer["free_slots"].as_u64() > Some(0);
    until(&format!("{} to see {other} with free slots", peer.name), BOUND, || {
        let seen = peer.json(&["peers"]);
        seen.as_array()?.iter().any(|peer| peer["user"] == other && there(peer)).then_some(())
    });
}

/// Assembles a module that can say hello and wait for what is given to it.
pub(crate) fn wat(folder: &Path, name: &str, body: &str) -> String {
    let text = format!(
        r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 100) "hello from afar\n")
        (func $say
            (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 16))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
        (func $count (param $n i64)
            (loop $l
                (local.set $n (i64.sub (local.get $n) (i64.const 1)))
                (br_if $l (i64.gt_s (local.get $n) (i64.const 0)))))
        (func (export "_start") {body}))"#
    );
    let path = folder.join(format!("{name}.wasm"));
    std::fs::write(&path, assemble(name, &text)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Says hello and ends.
pub(crate) fn hello(folder: &Path) -> String {
    wat(folder, "hello", "(call $say)")
}

/// Computes for about a tenth of a second, and says hello.
pub(crate) fn short(folder: &Path) -> String {
    wat(folder, "short", "(call $count (i64.const 100000000)) (call $say)")
}

/// Says hello and computes for far longer than any test.
pub(crate) fn endless(folder: &Path) -> String {
    wat(folder, "endless", "(call $say) (loop $l (br $l))")
}

/// What lets a task compute for long.
pub(crate) const LONG: [&str; 2] = ["--duration", "1h"];
