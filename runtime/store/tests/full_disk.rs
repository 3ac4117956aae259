//! A disk that is full: a small file system of its own, which only this process and its child see.

use mesh_protocol::key::PublicKey;
use mesh_protocol::record::{Record, Table};
use mesh_store::{CommitError, DiskStore, Loaded, Store as _};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Set for the child: where the small file system is.
const FOLDER: &str = "MESH_FULL_FOLDER";

fn content(store: &DiskStore) -> BTreeMap<Vec<u8>, usize> {
    let mut content = BTreeMap::new();
    let load = store.load(&mut |loaded| {
        let (key, len) = match loaded {
            Loaded::Value { key, value, .. } => (key.to_vec(), value.len()),
            Loaded::Entry { author, seq, bytes } => {
                ([author.0.as_slice(), &seq.to_be_bytes()].concat(), bytes.len())
            }
        };
        assert_eq!(content.insert(key, len), None);
    });
    load.expect("the store loads");
    content
}

/// The commits of one kind: of one's own, of a peer, or both in one.
fn records(kind: u8, n: u64) -> Vec<Record> {
    // The last kind is so large that each value is a file of its own.
    let len = if kind == 3 { 150_000 } else { 3000 };
    let own =
        Record::Put { table: Table::Tasks, key: vec![kind, (n / 256) as u8, n as u8], value: vec![1; len] };
    let peers = Record::Entry { author: PublicKey([kind; 32]), seq: n, own: false, bytes: vec![2; 3000] };
    match kind {
        0 | 3 => vec![own],
        1 => vec![peers],
        _ => vec![own, peers],
    }
}

/// Megabytes of the file system at first.
const SMALL: u32 = 12;

/// Not a test of its own: what runs on the small file system.
#[test]
fn child() {
    let Ok(folder) = env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    for kind in 0..4 {
        let (ballast, path) = (folder.join("ballast"), folder.join(format!("store{kind}")));
        fs::write(&ballast, vec![0; 4 << 20]).expect("there is room for this");
        let (mut store, _) = DiskStore::open(&path).expect("the store opens");
        let mut next = 0;
        for round in 0..3 {
            let mut refused = 0;
            // The database takes room in steps, so that a smaller commit may still find some: it is full when it
            // stays full.
            while refused < 5 {
                assert!(next < 20_000, "the disk does not get full");
                match store.commit(&records(kind, next)) {
                    Ok(()) => next += 1,
                    Err(CommitError::Full(_)) => refused += 1,
                    Err(error) => panic!("kind {kind}, commit {next}: {error:?}"),
                }
            }
            assert!(next > if kind == 3 { 2 } else { 100 }, "kind {kind}: only {next}");
            if round == 0 {
                // It goes on in the same process.
                fs::remove_file(&ballast).expect("it can be removed");
            } else {
                drop(store);
                // Room is needed to open, too: that may be refused, but must not destroy anything.
                drop(DiskStore::open(&path));
                resize(folder, SMALL + 4 * round);
                let (again, opened) = DiskStore::open(&path).expect("the store opens");
                assert_eq!(opened.rebuilt, None, "kind {kind}");
                store = again;
            }
            let expected: usize = (0..next).map(|n| records(kind, n).len()).sum();
            let mut extra = content(&store);
            for record in records(kind, next) {
                if let Record::Entry { author, seq, .. } = record {
                    // What a failed commit of a peer's entry left is whole, and harmless.
                    extra.remove(&[author.0.as_slice(), &seq.to_be_bytes()].concat());
                }
            }
            assert_eq!(extra.len(), expected, "kind {kind}");
            store.commit(&records(kind, next)).expect("there is room again");
            next += 1;
        }
        store.close().expect("the store closes");
        fs::remove_dir_all(&path).expect("it can be removed");
        resize(folder, SMALL);
    }
    room_for_the_database_alone(folder);
    println!("the disk was full and is not any more");
}

/// Room for what the database needs, but not for the journal before it: nothing is begun, and nothing is given up.
fn room_for_the_database_alone(folder: &Path) {
    const LEN: u64 = 200_000;
    /// As the database asks for it: a page of such values, and two segments.
    const DATABASE: u64 = 17 * LEN + (1 << 20);
    let (mut store, _) = DiskStore::open(&folder.join("store")).expect("the store opens");
    store.commit(&records(0, 0)).expect("there is room");
    let free = || {
        let disk = rustix::fs::statvfs(folder).expect("it says how much is free");
        disk.f_bavail * disk.f_frsize
    };
    fs::write(folder.join("ballast"), vec![0; (free() - DATABASE - LEN / 2) as usize])
        .expect("there is room");
    assert!((DATABASE..DATABASE + LEN).contains(&free()));
    let large = Record::Put { table: Table::Tasks, key: vec![9], value: vec![1; LEN as usize] };
    assert!(matches!(store.commit(std::slice::from_ref(&large)), Err(CommitError::Full(_))));
    assert!(store.size().live > 0, "the database was given up");
    assert_eq!(content(&store).len(), 1);
    fs::remove_file(folder.join("ballast")).expect("it can be removed");
    store.commit(&[large]).expect("there is room again");
    store.close().expect("the store closes");
}

fn resize(folder: &Path, megabytes: u32) {
    let status =
        Command::new("mount").args(["-o", &format!("remount,size={megabytes}m")]).arg(folder).status();
    assert!(status.expect("mount can be started").success());
}

// spec: LED-8
#[test]
fn a_full_disk_fails_commits_until_there_is_room() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let script = r#"mount -t tmpfs -o size=${SIZE}m none "$1" && exec "$2" --exact child --nocapture"#;
    let own_mounts = |command: &mut Command| {
        let status = command.env(FOLDER, temp.path()).output();
        status.ok().map(|out| (out.status.success(), out))
    };
    let possible =
        own_mounts(Command::new("unshare").args(["-Urm", "mount", "-t", "tmpfs", "none"]).arg(temp.path()));
    if !possible.is_some_and(|(possible, _)| possible) {
        eprintln!("skipped: this system lets no one have mounts of their own");
        return;
    }
    let this = env::current_exe().expect("the test knows its file");
    let mut child = Command::new("unshare");
    child.env("SIZE", SMALL.to_string()).args(["-Urm", "sh", "-c", script, "sh"]).arg(temp.path()).arg(this);
    let (_, out) = own_mounts(&mut child).expect("it can be started");
    let text = [out.stdout, out.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("the disk was full and is not any more"), "{text}");
}
