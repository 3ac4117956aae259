//! Peers that are killed again and again, disks that are full, files that lost their end: what was acknowledged is
//! done, and done once.

use crate::namespaces::{inside, small_disk};
use crate::peers::{Client, Peer, found, hello, sees_slots, short, street, wat};
use crate::support::{BOUND, until};
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Effect, Entry, Payload};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How an exported ledger begins.
const MAGIC: &[u8] = b"taskmesh-ledger-1\n";

/// All entries of a community.
pub(crate) struct Ledger(Vec<Entry>);

impl Ledger {
    fn read(bytes: &[u8]) -> Self {
        let mut rest = bytes.strip_prefix(MAGIC).expect("an exported ledger");
        let mut entries = Vec::new();
        loop {
            let (len, after) = rest.split_first_chunk::<4>().expect("a length");
            // After the last comes a hash of everything, which `mesh ledger verify` checks.
            if *len == [0; 4] {
                assert_eq!(after.len(), 32, "a hash");
                break;
            }
            let (entry, after) = after.split_at(u32::from_le_bytes(*len) as usize);
            entries.push(Entry::verify(entry).unwrap());
            rest = after;
        }
        Self(entries)
    }

    /// Tasks that are said to be done.
    fn done(&self) -> BTreeSet<String> {
        let done = |entry: &Entry| match entry.payload() {
            Payload::Completed(it) if it.effect == Effect::Done => Some(it.statement.task.to_string()),
            _ => None,
        };
        self.0.iter().filter_map(done).collect()
    }

    /// A task had its effect once, in the log of the device whose it is.
    // spec: DEL-4, DEL-11
    pub(crate) fn done_once(&self, task: &str, owner: &Client) {
        let done: Vec<(String, u32)> = self
            .0
            .iter()
            .filter_map(|entry| match entry.payload() {
                Payload::Completed(it)
                    if it.effect == Effect::Done && it.statement.task.to_string() == task =>
                {
                    Some((entry.header().author.to_string(), it.statement.attempt))
                }
                _ => None,
            })
            .collect();
        let owner = owner.json(&["status"])["device"].as_str().unwrap().to_owned();
        assert_eq!(done.len(), 1, "the task {task} was done {} times: {:#?}", done.len(), self.about(task));
        assert_eq!(done[0].0, owner, "the task {task} had its effect elsewhere");
    }

    /// All that is said of a task, for a person.
    fn about(&self, task: &str) -> Vec<String> {
        let say = |entry: &Entry| {
            let text = format!("{:?}", entry.payload());
            // As ids are shown there.
            text.contains(&task[..10])
                .then(|| format!("{} {}: {text}", entry.header().author.short(), entry.header().seq))
        };
        self.0.iter().filter_map(say).collect()
    }

    /// No log is forked, and no task's attempts go back.
    // spec: LED-5, DEL-11
    pub(crate) fn in_order(&self) {
        let mut next: BTreeMap<PublicKey, u64> = BTreeMap::new();
        let mut attempts = BTreeMap::new();
        for entry in &self.0 {
            let seq = next.entry(entry.header().author).or_default();
            assert_eq!(entry.header().seq, *seq, "a log has a gap or a fork");
            *seq += 1;
            match entry.payload() {
                Payload::Delegated { task, attempt, .. } => {
                    let last = attempts.insert(*task, *attempt).unwrap_or(0);
                    assert!(*attempt > last, "attempt {attempt} of {task} came after {last}");
                }
                Payload::Forked(proof) => panic!("a fork: {proof:?}"),
                _ => {}
            }
        }
    }
}

/// Waits until all peers hold the same ledger, checks that each finds it sound and saw no fork, and gives it.
// spec: DEL-14, LED-6
pub(crate) fn equal_ledgers(peers: &[Client]) -> Ledger {
    equal_ledgers_with(peers, &[])
}

/// The same, once these tasks are said to be done: a peer that died has to ask others for the end of its log before it
/// numbers what it says.
fn equal_ledgers_with(peers: &[Client], tasks: &[String]) -> Ledger {
    let folder = tempfile::tempdir().unwrap();
    let export = |peer: &Client| {
        let path = folder.path().join(peer.name);
        peer.ok(&["ledger", "export", "--overwrite", path.to_str().unwrap()]);
        std::fs::read(path).unwrap()
    };
    let bytes = until("the ledgers to be equal", BOUND, || {
        let all: Vec<Vec<u8>> = peers.iter().map(export).collect();
        let done = Ledger::read(&all[0]).done();
        let complete = tasks.iter().all(|task| done.contains(task));
        (complete && all.iter().all(|bytes| *bytes == all[0])).then(|| all[0].clone())
    });
    for peer in peers {
        peer.ok(&["ledger", "verify"]);
        assert_eq!(peer.json(&["status"])["counters"]["forks"], 0, "{} saw a fork", peer.name);
    }
    Ledger::read(&bytes)
}

/// Random numbers that are the same for the same seed: SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

/// A port below those that the system gives out by itself, so that a peer finds it free again after its death.
fn port(dice: &mut Dice) -> u16 {
    until("a free port", BOUND, || {
        let port = 20_000 + dice.below(10_000) as u16;
        UdpSocket::bind(("127.0.0.1", port)).is_ok().then_some(port)
    })
}

/// Submits one task after the other, each until it is acknowledged, whatever happens to the peer meanwhile.
fn submits(peer: &Client, modules: &[String; 2], dice: &mut Dice, stop: &AtomicBool) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for count in 0.. {
        let key = format!("task-{count}");
        let module = &modules[usize::from(count % 3 == 2)];
        // The same key each time: whether or not the peer took it before it died, it is one task.
        while !stop.load(Ordering::Relaxed) {
            let output = peer.run(&["submit", "--id-only", "--idempotency-key", &key, module]);
            if output.status.success() {
                acknowledged.push(String::from_utf8_lossy(&output.stdout).trim().to_owned());
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // No more than three small devices get done.
        std::thread::sleep(Duration::from_millis(dice.below(250)));
    }
    acknowledged
}

// spec: DEL-1, DEL-3, DEL-4, DEL-10, DEL-11, DEL-14, LED-5, LED-8
#[test]
fn whoever_is_killed_and_when_what_was_acknowledged_is_done_once() {
    let kills = number("MESH_CRASH_KILLS", 16);
    let random = std::process::id().into();
    let seed = number("MESH_CRASH_SEED", random);
    println!("{kills} kills, MESH_CRASH_SEED={seed}");
    let mut dice = Dice(seed);
    let mut peers: Vec<Peer> = ["alice", "bob", "carol"].map(Peer::new).into();
    for peer in &mut peers {
        peer.listen = format!("127.0.0.1:{}", port(&mut dice));
        peer.up(&[]);
    }
    let rules = "suspect_after_ms = 1000\nvoting_window_ms = 0\nentries_per_hour = 0\nmax_attempts = 100\nads_per_minute = 600\nfree = { tasks = 0, longest_ms = 600000, memory_bytes = 100000000 }\n";
    found(&peers, Some(rules));

    let files = tempfile::tempdir().unwrap();
    let modules = [hello(files.path()), short(files.path())];
    let stop = Arc::new(AtomicBool::new(false));
    let submitter = {
        let (alice, stop, mut dice) = (peers[0].client(), stop.clone(), Dice(seed ^ 1));
        std::thread::spawn(move || submits(&alice, &modules, &mut dice, &stop))
    };
    let began = Instant::now();
    let mut killed = 0;
    while killed < kills {
        std::thread::sleep(Duration::from_millis(dice.below(1200)));
        assert!(!submitter.is_finished(), "the submitter gave up");
        // The submitter, one who runs its tasks, or both.
        let helper = 1 + dice.below(2) as usize;
        let victims: &[usize] = match dice.below(3) {
            0 => &[0],
            1 => &[helper],
            _ => &[0, helper],
        };
        for victim in victims {
            peers[*victim].kill();
            killed += 1;
        }
        std::thread::sleep(Duration::from_millis(dice.below(400)));
        for victim in victims {
            peers[*victim].up(&[]);
        }
    }
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    let acknowledged = submitter.join().unwrap();
    let distinct: BTreeSet<&String> = acknowledged.iter().collect();
    assert_eq!(distinct.len(), acknowledged.len(), "different keys are different tasks");
    assert!(!acknowledged.is_empty(), "nothing was ever submitted");

    // At rest nothing is left open, neither of these nor of those that nobody heard the acknowledgement of.
    let clients: Vec<Client> = peers.iter().map(Peer::client).collect();
    let rest = Instant::now();
    let mut left = (usize::MAX, Instant::now());
    loop {
        let tasks = peers[0].json(&["task", "ls"]);
        let tasks = tasks.as_array().unwrap();
        let known = |id: &&String| tasks.iter().any(|task| task["task"] == id.as_str());
        assert!(
            acknowledged.iter().all(|id| known(&id)),
            "a task that was acknowledged is not known any more"
        );
        let open: Vec<&str> = tasks
            .iter()
            .filter(|task| task["state"] != "done")
            .filter_map(|task| task["task"].as_str())
            .collect();
        if open.is_empty() {
            break;
        }
        if open.len() < left.0 {
            left = (open.len(), Instant::now());
        }
        if left.1.elapsed() > BOUND {
            let open: Vec<String> = open.iter().take(5).map(|id| peers[0].task(id).to_string()).collect();
            panic!("not done at rest, {} in all: {open:#?}", left.0);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let ledger = equal_ledgers_with(&clients, &acknowledged);
    ledger.in_order();
    for id in &acknowledged {
        ledger.done_once(id, &peers[0]);
    }
    for peer in &mut peers {
        peer.stop();
    }
    println!(
        "{killed} kills in {took:.1?}, at rest {:.1?} later, {} tasks",
        rest.elapsed(),
        acknowledged.len()
    );
}

/// Takes all room that is left on a disk.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = File::create(&path).unwrap();
    for size in [1 << 16, 512, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
    path
}

// spec: LED-8, DEL-1, DEL-10, CLI-5
#[test]
fn a_full_disk_refuses_with_a_reason_and_loses_nothing() {
    if !inside("crashes", "a_full_disk_refuses_with_a_reason_and_loses_nothing") {
        return;
    }
    let (home, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    small_disk(home.path(), 48 << 20);
    std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap();
    let alice = Peer::at("alice", home.path().to_owned(), Vec::new());
    let mut peers = vec![alice, Peer::new("bob")];
    for peer in &mut peers {
        peer.up(&[]);
    }
    found(&peers, None);
    let module = hello(files.path());
    let done = |peer: &Client, id: &str| peer.waits_for(id, "done", |task| task["state"] == "done");
    let before = peers[0].submit(&[&module]);
    done(&peers[0], &before);

    let filler = fill(home.path());
    // What it needs is there already, so these cost some bytes each: it takes some, and then no more.
    let mut taken = vec![before];
    let mut refusal = None;
    for count in 0..2000 {
        let key = format!("task-{count}");
        let output = peers[0].run(&["submit", "--id-only", "--idempotency-key", &key, &module]);
        if output.status.success() {
            taken.push(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        } else {
            refusal = Some((key, String::from_utf8_lossy(&output.stderr).into_owned()));
            break;
        }
    }
    let (key, refusal) = refusal.expect("a full disk takes nothing");
    assert!(refusal.contains("error: ") && refusal.contains("hint: "), "{refusal}");
    assert!(["space", "disk", "kept"].iter().any(|word| refusal.to_lowercase().contains(word)), "{refusal}");
    std::fs::remove_file(filler).unwrap();

    // It goes on by itself.
    taken.push(until("a task to be taken again", BOUND, || {
        let output = peers[0].run(&["submit", "--id-only", "--idempotency-key", &key, &module]);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }));
    for id in &taken {
        done(&peers[0], id);
    }
    // And what was said to be kept is kept.
    peers[0].kill();
    peers[0].up(&[]);
    let listed = peers[0].json(&["task", "ls"]);
    let listed: Vec<&str> =
        listed.as_array().unwrap().iter().filter_map(|task| task["task"].as_str()).collect();
    assert!(taken.iter().all(|id| listed.contains(&id.as_str())), "{taken:?} {listed:?}");
    let ledger = equal_ledgers_with(&peers.iter().map(Peer::client).collect::<Vec<_>>(), &taken);
    ledger.in_order();
    for id in &taken {
        ledger.done_once(id, &peers[0]);
    }
}

/// What may happen to a store's files besides a crash.
#[derive(Debug, Clone, Copy)]
enum Damage {
    TornJournal,
    Garbage,
    Both,
    NoJournal,
}

fn spoil(store: &Path, damage: Damage) {
    let journal = store.join("journal");
    if matches!(damage, Damage::TornJournal | Damage::Both) {
        let file = OpenOptions::new().write(true).open(&journal).unwrap();
        file.set_len(file.metadata().unwrap().len() - 3).unwrap();
    }
    if matches!(damage, Damage::NoJournal) {
        std::fs::remove_file(&journal).unwrap();
    }
    if matches!(damage, Damage::Garbage | Damage::Both) {
        let spoilt = crate::support::files(&store.join("db"));
        assert!(!spoilt.is_empty(), "{}", crate::support::tree(store).join(" "));
        for path in spoilt {
            let len = std::fs::metadata(&path).unwrap().len();
            std::fs::write(&path, vec![0xa5; len.try_into().unwrap()]).unwrap();
        }
    }
}

// spec: LED-5, LED-8, DEL-14
#[test]
fn a_store_that_lost_its_end_is_rebuilt_loudly_and_its_log_is_not_forked() {
    let files = tempfile::tempdir().unwrap();
    let mut peers = street(&["alice", "bob", "carol"]);
    let module = hello(files.path());
    let mut tasks = Vec::new();
    for damage in [Damage::TornJournal, Damage::Garbage, Damage::NoJournal, Damage::Both] {
        let id = peers[0].submit(&[&module]);
        peers[0].waits_for(&id, "done", |task| task["state"] == "done");
        // The last thing that is said is known to others, and is what the file loses.
        peers[0].ok(&["grant", "--user", "bob", "--task", "nothing"]);
        equal_ledgers(&peers.iter().map(Peer::client).collect::<Vec<_>>());
        peers[0].kill();
        spoil(&peers[0].home.join("store"), damage);
        peers[0].up(&[]);
        let said = peers[0].said();
        assert!(
            said.contains("WARN") && (said.contains("rebuilt") || said.contains("torn")),
            "{damage:?}: {said}"
        );
        sees_slots(&peers[0], "bob");
        sees_slots(&peers[0], "carol");
        tasks.push(id);
        let id = peers[0].submit(&[&module]);
        peers[0].waits_for(&id, "done", |task| task["state"] == "done");
        tasks.push(id);
        let ledger = equal_ledgers_with(&peers.iter().map(Peer::client).collect::<Vec<_>>(), &tasks);
        ledger.in_order();
        for id in &tasks {
            ledger.done_once(id, &peers[0]);
        }
    }
}

// spec: DEL-4, DEL-5, DEL-9
#[test]
fn a_result_for_which_its_owner_has_no_room_waits_where_it_was_made() {
    let files = tempfile::tempdir().unwrap();
    let mut peers: Vec<Peer> = ["alice", "bob"].map(Peer::new).into();
    peers[0].up(&["--disk", "1MB"]);
    peers[1].up(&[]);
    found(&peers, None);
    let once = "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
        (i32.store (i32.const 200) (i32.add (i32.load (i32.const 200)) (i32.const 1)))
        (br_if $l (i32.lt_u (i32.load (i32.const 200)) (i32.const 50)))";
    let body = format!(
        "(i32.store (i32.const 0) (i32.const 1000)) (i32.store (i32.const 4) (i32.const 60000)) (loop $l {once})"
    );
    let wordy = wat(files.path(), "wordy", &body);
    let id = peers[0].submit(&["--on", "bob-laptop", &wordy]);
    peers[0].waits_for(&id, "no room", |task| {
        let why = task["why"].as_str().unwrap();
        why.contains("keeps its result, which is not here yet: this device cannot keep it")
            && why.contains("asked for again")
    });
    peers[0].stop();
    peers[0].up(&[]);
    let task = peers[0].waits_for(&id, "done", |task| task["state"] == "done");
    assert_eq!(task["history"].as_array().unwrap().len(), 1, "{task}");
    let out = files.path().join("out");
    peers[0].ok(&["task", "result", &id, "-o", out.to_str().unwrap()]);
    assert_eq!(std::fs::metadata(out.join("stdout")).unwrap().len(), 3_000_000);
}
