//! A process that commits is killed again and again: whatever it had been told was kept must be there.

use mesh_protocol::key::PublicKey;
use mesh_protocol::record::{Record, Table};
use mesh_store::{DiskStore, Loaded, Store as _};
use std::collections::BTreeMap;
use std::env;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Set for the child: the folder of its store.
const FOLDER: &str = "MESH_CRASH_FOLDER";
/// How many kills; a thousand for a release.
const KILLS: &str = "MESH_CRASH_KILLS";

const ME: PublicKey = PublicKey([1; 32]);
const ME_BESIDE: PublicKey = PublicKey([2; 32]);
const PEER: PublicKey = PublicKey([3; 32]);
const PEER_BESIDE: PublicKey = PublicKey([4; 32]);

fn entry(author: PublicKey, own: bool, n: u64) -> Record {
    // Long enough that the files grow and sled cleans up behind itself.
    let bytes = [n.to_be_bytes().as_slice(), &[n as u8; 400]].concat();
    Record::Entry { author, seq: n / 4, own, bytes }
}

fn put(table: Table, key: Vec<u8>, n: u64) -> Record {
    Record::Put { table, key, value: n.to_be_bytes().to_vec() }
}

/// The commit of a number: what is own, what is a peer's, and both together.
fn records(n: u64) -> Vec<Record> {
    match n % 4 {
        0 => vec![entry(ME, true, n)],
        1 => vec![put(Table::Tasks, n.to_be_bytes().to_vec(), n)],
        2 => vec![entry(PEER, false, n)],
        _ => vec![
            entry(PEER_BESIDE, false, n),
            entry(ME_BESIDE, true, n),
            put(Table::Meta, b"last".to_vec(), n),
            Record::Delete { table: Table::Tasks, key: (n - 2).to_be_bytes().to_vec() },
        ],
    }
}

/// How many numbers a store holds. Fails if it holds anything but the commits of all numbers below that.
fn held(store: &DiskStore) -> u64 {
    let mut entries = BTreeMap::<PublicKey, u64>::new();
    let mut values = BTreeMap::new();
    let load = store.load(&mut |loaded| match loaded {
        Loaded::Entry { author, seq, bytes } => {
            let count = entries.entry(author).or_default();
            assert_eq!(seq, *count, "a gap or a double in the log of {author}");
            *count += 1;
            assert_eq!(bytes.len(), 408);
            assert_eq!(bytes[..8], (4 * seq + [0, 3, 2, 3][usize::from(author.0[0] - 1)]).to_be_bytes());
        }
        Loaded::Value { table, key, value } => {
            let value = u64::from_be_bytes(value.try_into().expect("eight bytes"));
            assert_eq!(values.insert((table, key.to_vec()), value), None);
        }
    });
    load.expect("the store loads");
    let count = |author| entries.get(&author).copied().unwrap_or(0);
    let fours = count(ME_BESIDE);
    assert_eq!(count(PEER_BESIDE), fours, "the parts of one commit are there together");
    assert_eq!(
        values.remove(&(Table::Meta, b"last".to_vec())),
        fours.checked_sub(1).map(|fours| 4 * fours + 3)
    );
    let begun = [count(ME) - fours, values.len() as u64, count(PEER) - fours];
    assert!([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]].contains(&begun), "a gap: {begun:?}");
    let key = (4 * fours + 1).to_be_bytes().to_vec();
    assert!(values.iter().all(|(at, &n)| *at == (Table::Tasks, key.clone()) && n == 4 * fours + 1));
    4 * fours + begun.iter().sum::<u64>()
}

/// Not a test of its own: the process that is killed.
#[test]
fn child() {
    let Ok(folder) = env::var(FOLDER) else { return };
    let (mut store, _) = DiskStore::open(Path::new(&folder)).expect("the store opens");
    let mut out = std::io::stdout().lock();
    for n in held(&store).. {
        store.commit(&records(n)).expect("the commit succeeds");
        writeln!(out, "kept {n}").and_then(|()| out.flush()).expect("somebody listens");
    }
}

// spec: LED-5, LED-8, DEL-1
#[test]
fn whatever_was_acknowledged_is_there_after_a_kill() {
    let kills = env::var(KILLS).map_or(60, |kills| kills.parse().expect("a number of kills"));
    let temp = tempfile::tempdir().expect("a folder can be made");
    let folder = temp.path().join("store");
    let random = |n: u64, below: u64| RandomState::new().hash_one(n) % below;
    let (mut acknowledged, mut closed, mut productive) = (0, false, 0);
    for kill in 0..kills {
        // A fresh store now and then, so that its making is cut off, too.
        if random(kill, 12) == 0 {
            let _absent = std::fs::remove_dir_all(&folder);
            (acknowledged, closed) = (0, false);
        }
        let before = acknowledged;
        let mut child = Command::new(env::current_exe().expect("the test knows its file"))
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(FOLDER, &folder)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test starts itself");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut read = |line: std::io::Result<String>| {
            // The test harness begins the first line.
            if let Some((_, n)) = line.expect("it is text").split_once("kept ") {
                acknowledged = acknowledged.max(n.parse::<u64>().expect("a number") + 1);
            }
        };
        if kill % 2 == 0 {
            // At a random moment, from the start of the process on.
            let until = Instant::now() + Duration::from_micros(random(kill, 250_000));
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                std::thread::sleep(left);
            }
        } else {
            // Right behind an acknowledgement.
            lines.by_ref().take(4 + random(kill, 40) as usize).for_each(&mut read);
        }
        child.kill().expect("it can be killed");
        lines.for_each(&mut read);
        let status = child.wait().expect("it ends");
        assert!(!status.success() && status.code().is_none(), "it failed by itself: {status}");

        let (store, opened) = DiskStore::open(&folder).expect("the store opens");
        assert_eq!(opened.rebuilt, None);
        let held = held(&store);
        let untouched = closed && held == before;
        assert!(opened.unclean || opened.fresh || untouched, "a crash was taken for a clean close");
        // The commit under way may have taken effect or not.
        assert!(
            (acknowledged..=acknowledged + 1).contains(&held),
            "kill {kill}: {acknowledged} were acknowledged, {held} are there"
        );
        // Every other start is left to the next child, so that it meets what the kill left.
        closed = kill % 4 < 2;
        if closed {
            store.close().expect("the store closes");
        }
        productive += u64::from(held > before);
        acknowledged = held;
    }
    assert!(productive * 3 > kills, "only {productive} of {kills} children got to a commit");
}
