//! A process that may open no more files: a child of its own, since it would be in the way of all other tests.

use mesh_protocol::key::PublicKey;
use mesh_protocol::record::{Record, Table};
use mesh_store::{CommitError, DiskStore, Loaded, Store as _};
use std::env;
use std::fs::File;
use std::path::Path;
use std::process::Command;

/// Set for the child: the folder of its store.
const FOLDER: &str = "MESH_FEW_FILES_FOLDER";

fn entry(seq: u64, own: bool) -> Record {
    Record::Entry { author: PublicKey([u8::from(own); 32]), seq, own, bytes: vec![1; 300] }
}

/// So many files are left to it at first, then ever more.
fn hog(free: usize) -> Vec<File> {
    let mut hogs = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hogs.push(file);
    }
    hogs.truncate(hogs.len() - free);
    hogs
}

/// Not a test of its own: what runs with few files.
#[test]
fn child() {
    let Ok(folder) = env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let (mut store, _) = DiskStore::open(folder).expect("the store opens");
    let (mut refused, mut own, mut peers) = (0, 0, 0);
    for free in 0..12 {
        let hogs = hog(free);
        for _ in 0..5 {
            for (seq, is_own) in [(&mut own, true), (&mut peers, false)] {
                match store.commit(&[entry(*seq, is_own)]) {
                    Ok(()) => *seq += 1,
                    Err(CommitError::Lost(error)) => panic!("{free} files: {error:?}"),
                    Err(_) => refused += 1,
                }
            }
        }
        drop(hogs);
        for (seq, is_own) in [(&mut own, true), (&mut peers, false)] {
            store.commit(&[entry(*seq, is_own)]).expect("files can be opened again");
            *seq += 1;
        }
        if free % 2 == 0 {
            drop(store);
            let (again, opened) = DiskStore::open(folder).expect("the store opens");
            assert_eq!(opened.rebuilt, None, "{free} files");
            store = again;
        }
        for (author, count) in [(1, own), (0, peers)] {
            let kept = store.entries(&PublicKey([author; 32]), 0, usize::MAX).expect("it reads");
            assert_eq!(kept.len() as u64, count, "{free} files");
        }
    }
    assert!(refused > 5, "{refused}");
    // A value that is a file of its own: sled never comes back from being refused that.
    let hogs = hog(0);
    let large = |key: u8| Record::Put { table: Table::Tasks, key: vec![key], value: vec![key; 300_000] };
    store.commit(&[large(1)]).expect("the journal has it");
    drop(hogs);
    let error = store.commit(&[large(2)]).expect_err("sled still waits");
    assert!(matches!(error, CommitError::Lost(_)), "{error:?}");
    assert!(store.close().is_err());
    println!("{refused} commits were refused; {own} and {peers} entries were kept");
}

// spec: LED-8
#[test]
fn a_process_that_may_open_no_more_files_loses_nothing_and_ends() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let this = env::current_exe().expect("the test knows its file");
    let script = r#"ulimit -n 200 && exec "$1" --exact child --nocapture"#;
    let out = Command::new("sh").args(["-c", script, "sh"]).arg(this).env(FOLDER, temp.path()).output();
    let out = out.expect("it can be started");
    let text = [out.stdout, out.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(out.status.success() && text.contains("entries were kept"), "{text}");
    let (store, opened) = DiskStore::open(temp.path()).expect("the store opens");
    assert!(opened.unclean && opened.rebuilt.is_none());
    let mut large = Vec::new();
    let load = store.load(&mut |loaded| {
        if let Loaded::Value { key, value, .. } = loaded {
            large.push((key.to_vec(), value.len()));
        }
    });
    load.expect("the store loads");
    assert_eq!(large, [(vec![1], 300_000)]);
}
