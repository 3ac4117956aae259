//! Peers as people run them, and their API as a program asks it.

use serde_json::Value;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// Longer than anything here takes: a peer that does not answer within this is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The program that peers are: `mesh` beside this one, so that what is measured is what is shipped.
fn mesh() -> PathBuf {
    match std::env::var_os("MESH_BIN") {
        Some(path) => path.into(),
        None => std::env::current_exe().unwrap().with_file_name("mesh"),
    }
}

/// Looks until there is something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A running peer. Killed when dropped, and by the system if this process dies of anything.
pub(crate) struct Peer {
    home: PathBuf,
    child: Child,
    addr: SocketAddr,
    token: String,
}

impl Peer {
    /// Makes a home below `folder` and starts a peer on it. To be called on the main thread only: the peer ends with
    /// the thread that started it.
    pub(crate) fn start(folder: &Path, name: &str, init: &[&str], up: &[&str]) -> Self {
        let home = folder.join(name);
        fs::create_dir(&home).unwrap();
        run(&home, &[&["init", "--device-name", name], init].concat());
        let log = File::create(home.join("log")).unwrap();
        let mut command = command(&home);
        command.args(["up", "--listen", "127.0.0.1:0", "--no-mdns"]).args(up);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = dies_with_us(&mut command).spawn().unwrap();
        let published = home.join("api.json");
        let api: Value = until(&format!("{name} to be up: {}", home.join("log").display()), || {
            serde_json::from_slice(&fs::read(&published).ok()?).ok()
        });
        let text = |key: &str| api[key].as_str().unwrap();
        Self { addr: text("addr").parse().unwrap(), token: text("token").into(), home, child }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs `mesh` on this peer's home, and gives what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        run(&self.home, args)
    }

    /// A new connection to its API.
    pub(crate) fn http(&self) -> Http {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Http { stream: BufReader::new(stream), addr: self.addr, token: self.token.clone() }
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.http().json("GET", path, b"")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "---- {} said:\n{}",
                self.home.display(),
                fs::read_to_string(self.home.join("log")).unwrap_or_default()
            );
        }
    }
}

fn command(home: &Path) -> Command {
    let mut command = Command::new(mesh());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    if let Some(filter) = std::env::var_os("MESH_LOG") {
        command.env("MESH_LOG", filter);
    }
    command.arg("--home").arg(home);
    command
}

fn run(home: &Path, args: &[&str]) -> String {
    let output = command(home).args(args).stdin(Stdio::null()).output().unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "mesh {args:?}: {}\n{said}{complained}", output.status);
    said.trim().to_owned()
}

#[expect(unsafe_code, reason = "one system call between fork and exec")]
fn dies_with_us(command: &mut Command) -> &mut Command {
    let die = || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        Ok(())
    };
    // SAFETY: it allocates nothing and takes no lock, so it may run in the child of a process with threads.
    unsafe { command.pre_exec(die) }
}

/// One keep-alive connection to an API.
pub(crate) struct Http {
    stream: BufReader<TcpStream>,
    addr: SocketAddr,
    token: String,
}

impl Http {
    pub(crate) fn json(&mut self, method: &str, path: &str, body: &[u8]) -> Value {
        let (status, body) = self.ask(method, path, "application/json", body);
        let text = String::from_utf8_lossy(&body);
        assert_eq!(status, 200, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub(crate) fn ask(&mut self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, Vec<u8>) {
        self.send(method, path, kind, body);
        let (status, length) = self.head();
        let mut body = vec![0; length.unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        (status, body)
    }

    fn send(&mut self, method: &str, path: &str, kind: &str, body: &[u8]) {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.addr,
            self.token,
            body.len()
        );
        self.stream.get_mut().write_all(&[head.as_bytes(), body].concat()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line);
        assert!(read.is_ok_and(|read| read > 0), "the API's connection ended");
        line.trim_end().to_owned()
    }

    /// The status and the length that was announced.
    fn head(&mut self) -> (u16, Option<usize>) {
        let status = self.line().split(' ').nth(1).unwrap().parse().unwrap();
        let mut length = None;
        loop {
            let line = self.line().to_ascii_lowercase();
            if line.is_empty() {
                return (status, length);
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            }
        }
    }
}

/// What became of a task, and when it was seen.
pub(crate) type End = (Instant, String);

enum Slot {
    Ended(End),
    Waits(mpsc::Sender<End>),
}

/// Tasks that a peer's stream of events says have ended.
#[derive(Clone, Default)]
pub(crate) struct Ends(Arc<Mutex<HashMap<String, Slot>>>);

impl Ends {
    /// Listens to the events of a peer for as long as it runs.
    pub(crate) fn of(peer: &Peer) -> Self {
        let ends = Self::default();
        let mut events = peer.http();
        let mut tasks = peer.http();
        events.send("GET", "/v1/events", "text/plain", b"");
        assert_eq!(events.head().0, 200);
        let told = ends.clone();
        std::thread::spawn(move || {
            let mut text: Vec<u8> = Vec::new();
            while let Some(chunk) = chunk(&mut events.stream) {
                let seen = Instant::now();
                text.extend_from_slice(&chunk);
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    told.heard(&line, seen, &mut tasks);
                }
            }
        });
        ends
    }

    fn heard(&self, line: &[u8], seen: Instant, tasks: &mut Http) {
        let Some(data) = line.strip_prefix(b"data:") else { return };
        let event: Value = serde_json::from_slice(data).unwrap_or_default();
        match event["event"].as_str() {
            Some("task") if event["ended"] == true => self.ended(&event, seen),
            // The stream was read too slowly, so what it left out is asked for.
            Some("missed") => {
                let all = tasks.json("GET", "/v1/tasks", b"");
                let ended =
                    |task: &&Value| matches!(task["state"].as_str(), Some("done" | "failed" | "cancelled"));
                for task in all.as_array().into_iter().flatten().filter(ended) {
                    self.ended(task, Instant::now());
                }
            }
            _ => {}
        }
    }

    fn ended(&self, task: &Value, seen: Instant) {
        let text = |key: &str| task[key].as_str().unwrap_or_default().to_owned();
        let (id, end) = (text("task"), (seen, text("state")));
        let mut slots = self.0.lock().unwrap();
        match slots.remove(&id) {
            Some(Slot::Waits(waits)) => drop(waits.send(end)),
            Some(Slot::Ended(before)) => drop(slots.insert(id, Slot::Ended(before))),
            None => drop(slots.insert(id, Slot::Ended(end))),
        }
    }

    /// Waits for the end of a task.
    pub(crate) fn wait(&self, task: &str) -> End {
        let (tell, told) = mpsc::channel();
        {
            let mut slots = self.0.lock().unwrap();
            if let Some(Slot::Ended(end)) = slots.remove(task) {
                return end;
            }
            slots.insert(task.to_owned(), Slot::Waits(tell));
        }
        told.recv_timeout(PATIENCE).expect("the task ends")
    }
}

/// The next chunk of a chunked body.
fn chunk(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let length = usize::from_str_radix(line.trim(), 16).ok().filter(|length| *length > 0)?;
    let mut chunk = vec![0; length + 2];
    stream.read_exact(&mut chunk).ok()?;
    chunk.truncate(length);
    Some(chunk)
}
