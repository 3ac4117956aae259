//! Networks and disks of a test's own, in Linux namespaces.
//!
//! A test that needs them runs once more, in a process of its own with fresh network and mount namespaces: what it
//! builds goes with that process, whoever kills it. Needs root or user namespaces, and `unshare`, `nsenter` and `ip`.

use crate::support::{BOUND, beside, forget, run_beside, until};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Set inside.
const INSIDE: &str = "MESH_TEST_NAMESPACE";

/// Words that are there whether or not the test's output is captured.
fn loudly(text: &str) {
    let _nobody_reads = writeln!(std::io::stderr(), "{text}");
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount"]);
    command
}

/// True inside of namespaces where the test may do as it likes. Outside it runs the test named `test` of `module`
/// inside, and gives false afterwards. Where none can be made, it says so and why, and gives false.
pub(crate) fn inside(module: &str, test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let tried =
        Command::new("unshare").arg("--version").stdout(Stdio::null()).status().map_err(|e| e.to_string());
    let tried = tried.and_then(|_| {
        let output = beside(unshare().args(["sh", "-c", "ip link set lo up && mount -t tmpfs none /mnt"]));
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    });
    if let Err(why) = tried {
        loudly(&format!("\nSKIPPED {module}::{test}: namespaces cannot be made here: {}\n", why.trim()));
        return false;
    }
    let program = std::env::current_exe().unwrap();
    let name = format!("{module}::{test}");
    let mut command = unshare();
    command.arg(program).args(["--exact", &name, "--nocapture"]).env(INSIDE, "1");
    let output = beside(&mut command);
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "inside of the namespaces:\n{said}\n{complained}"
    );
    print!("{said}{complained}");
    false
}

fn sh(command: &mut Command) {
    let output = beside(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A disk of this many bytes at a folder.
pub(crate) fn small_disk(at: &std::path::Path, bytes: u64) {
    sh(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=700"), "none"]).arg(at));
}

/// From now on a folder or file is found at another's path.
pub(crate) fn put_at(what: &std::path::Path, at: &std::path::Path) {
    sh(Command::new("mount").arg("--bind").arg(what).arg(at));
}

/// This machine reaches itself.
pub(crate) fn loopback() {
    ip("link set lo up");
}

fn ip(words: &str) {
    sh(Command::new("ip").args(words.split(' ')));
}

/// A network namespace.
pub(crate) struct Space {
    holder: Child,
}

impl Drop for Space {
    fn drop(&mut self) {
        let _gone = self.holder.kill();
        let _gone = self.holder.wait();
        forget(self.holder.id());
    }
}

impl Space {
    pub(crate) fn new() -> Self {
        let holder =
            run_beside(Command::new("unshare").args(["--net", "sleep", "infinity"]).stdin(Stdio::null()));
        let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
        let space = Self { holder };
        until("a namespace", BOUND, || {
            let theirs = std::fs::read_link(space.file()).ok()?;
            (theirs != ours).then_some(())
        });
        space.ip("link set lo up");
        space
    }

    fn file(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// What brings a program into it.
    pub(crate) fn prefix(&self) -> Vec<OsString> {
        vec!["nsenter".into(), format!("--net={}", self.file()).into(), "--".into()]
    }

    pub(crate) fn ip(&self, words: &str) {
        let prefix = self.prefix();
        sh(Command::new(&prefix[0]).args(&prefix[1..]).arg("ip").args(words.split(' ')));
    }

    /// Does something in it: sockets made there stay there.
    pub(crate) fn enter<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> T {
        let file = File::open(self.file()).unwrap();
        let inside = std::thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            act()
        });
        inside.join().unwrap()
    }

    /// A cable to the internet, which is the namespace of the test itself: there 10.77.NET.1, here 10.77.NET.2.
    pub(crate) fn plug(&self, net: u8) {
        loopback();
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        ip(&format!("link add hub{net} type veth peer name net0 netns {}", self.holder.id()));
        ip(&format!("addr add 10.77.{net}.1/24 dev hub{net}"));
        ip(&format!("link set hub{net} up"));
        self.move_to(net, 2);
        self.ip("link set net0 up");
        self.ip(&format!("route add default via 10.77.{net}.1"));
    }

    fn move_to(&self, net: u8, host: u8) {
        self.ip(&format!("addr add 10.77.{net}.{host}/24 dev net0"));
    }

    /// It is somewhere else at once.
    pub(crate) fn renumber(&self, net: u8, from: u8, to: u8) {
        self.ip(&format!("addr del 10.77.{net}.{from}/24 dev net0"));
        self.move_to(net, to);
        self.ip(&format!("route replace default via 10.77.{net}.1"));
    }
}

/// Pulls a cable out of the hub, or puts it back.
pub(crate) fn cable(net: u8, plugged: bool) {
    ip(&format!("link set hub{net} {}", if plugged { "up" } else { "down" }));
}

/// A home router as most are: whoever is behind it reaches everybody, and is reached only by whom it spoke to, at the
/// address of the router. Each address outside that is to be reached is named beforehand, since this router is a pair
/// of sockets a piece and no part of a kernel.
pub(crate) struct Nat {
    /// Where those behind it live.
    pub(crate) home: Space,
    /// Between the two.
    _inner: Space,
    _outer: Space,
    /// Where they seem to be.
    pub(crate) outside: SocketAddr,
    /// Packets of those who were not spoken to.
    pub(crate) turned_away: Arc<AtomicU64>,
}

impl Nat {
    /// At 10.77.NET.2, with a home of 192.168.NET.2 behind it.
    pub(crate) fn new(net: u8, reached: &[SocketAddr]) -> Self {
        let (home, inner, outer) = (Space::new(), Space::new(), Space::new());
        outer.plug(net);
        home.ip(&format!("link add net0 type veth peer name door netns {}", inner.holder.id()));
        home.ip(&format!("addr add 192.168.{net}.2/24 dev net0"));
        home.ip("link set net0 up");
        inner.ip(&format!("addr add 192.168.{net}.1/24 dev door"));
        inner.ip("link set door up");
        home.ip(&format!("route add default via 192.168.{net}.1"));
        // Whatever is sent to somebody outside is taken up here.
        inner.ip("route add local 10.77.0.0/16 dev lo");

        let outside = SocketAddr::from((Ipv4Addr::new(10, 77, net, 2), 40_000));
        let public = Arc::new(outer.enter(move || UdpSocket::bind(outside).unwrap()));
        let spoken_to = Arc::new(Mutex::new(HashSet::new()));
        let behind: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let mut faces = Vec::new();
        for far in reached.iter().copied() {
            let face = Arc::new(inner.enter(move || UdpSocket::bind(far).unwrap()));
            faces.push((far, face.clone()));
            let (public, spoken_to, behind) = (public.clone(), spoken_to.clone(), behind.clone());
            std::thread::spawn(move || {
                let mut packet = vec![0; 1 << 16];
                loop {
                    // An answer that nobody takes is told as an error; the next packet may be taken.
                    let Ok((len, from)) = face.recv_from(&mut packet) else { continue };
                    *behind.lock().unwrap() = Some(from);
                    spoken_to.lock().unwrap().insert(far);
                    let _lost = public.send_to(&packet[..len], far);
                }
            });
        }
        let turned_away = Arc::new(AtomicU64::new(0));
        let count = turned_away.clone();
        std::thread::spawn(move || {
            let mut packet = vec![0; 1 << 16];
            loop {
                let Ok((len, from)) = public.recv_from(&mut packet) else { continue };
                let to = *behind.lock().unwrap();
                let known = spoken_to.lock().unwrap().contains(&from);
                match (faces.iter().find(|(far, _)| *far == from), to) {
                    (Some((_, face)), Some(to)) if known => drop(face.send_to(&packet[..len], to)),
                    _ => drop(count.fetch_add(1, Ordering::Relaxed)),
                }
            }
        });
        Self { home, _inner: inner, _outer: outer, outside, turned_away }
    }
}
