//! Bounds, and what the store does to stay within them.

use super::{ME, PEER, content, open, own, peers, put};
use crate::disk::Bounds;
use crate::files::Disk;
use crate::{CommitError, DiskStore, MAX_COMMIT, MAX_KEY, MAX_VALUE, MemoryStore, OpenError, Store};
use mesh_protocol::record::{Record, Table};
use std::fs;
use std::sync::Arc;

#[test]
fn a_journal_that_has_grown_is_written_anew() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let bounds = Bounds { compact_above: 20_000, ..Bounds::default() };
    let (mut store, _) = DiskStore::open_with(temp.path(), Arc::new(Disk), bounds).expect("the store opens");
    store.commit(&[own(0, "first"), put("gone", "soon"), peers(0, "entry")]).expect("the commit succeeds");
    store
        .commit(&[Record::Delete { table: Table::Tasks, key: b"gone".to_vec() }])
        .expect("the commit succeeds");
    let value = "x".repeat(1000);
    for n in 0..100 {
        store.commit(&[put("same", &format!("{n}{value}"))]).expect("the commit succeeds");
        assert!(store.size().journal < 22_000);
    }
    let all = content(&store);
    drop(store);
    let (store, opened) = open(temp.path());
    assert_eq!((opened.rebuilt, content(&store)), (None, all));
    drop(store);
    // What only the journal still knows is what counts, without peers' entries.
    fs::remove_dir_all(temp.path().join("db")).expect("the database can be removed");
    assert_eq!(content(&open(temp.path()).0), [format!("Tasks same = 99{value}"), "me 0: first".to_owned()]);
}

#[test]
fn a_database_that_has_run_away_is_copied_into_a_fresh_one() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let (mut store, _) = open(temp.path());
    let value = "x".repeat(4000);
    for round in 0..40 {
        let records: Vec<_> = (0..100).map(|n| peers(n, &format!("{round}{value}"))).collect();
        store.commit(&records).expect("the commit succeeds");
    }
    store
        .commit(&[own(0, "first"), Record::Truncate { author: PEER, seq: 20 }])
        .expect("the commit succeeds");
    let (all, before) = (content(&store), store.size());
    store.close().expect("the store closes");
    let bounds = Bounds { shrink_above: 1 << 20, ..Bounds::default() };
    let (store, opened) = DiskStore::open_with(temp.path(), Arc::new(Disk), bounds).expect("the store opens");
    assert_eq!((opened.unclean, opened.rebuilt), (false, None));
    assert_eq!(content(&store), all);
    assert_eq!(store.size().live, before.live);
    assert!(
        before.database > 2 << 20 && store.size().database < before.database / 2,
        "{before:?} {:?}",
        store.size()
    );
}

// The moments of a cut between the renames, as they are found by the next start.
#[test]
fn a_copy_that_was_cut_off_leaves_the_old_database() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let (mut store, _) = open(temp.path());
    store.commit(&[own(0, "first"), peers(0, "entry")]).expect("the commit succeeds");
    let all = content(&store);
    store.close().expect("the store closes");
    let [db, old, next] = ["db", "db.old", "db.next"].map(|name| temp.path().join(name));
    fs::rename(&db, &old).expect("it can be renamed");
    super::copy_folder(&old, &next);
    let (store, opened) = open(temp.path());
    assert_eq!((opened.unclean, opened.rebuilt, content(&store)), (false, None, all));
    assert!(!old.exists() && !next.exists());
}

// spec: LED-8
#[test]
fn a_second_opener_is_refused() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let (store, _) = open(temp.path());
    let error = DiskStore::open(temp.path()).expect_err("it is open already");
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(error.to_string().contains("stop that one"), "{error}");
    store.close().expect("the store closes");
    open(temp.path());
}

// spec: ARC-7
#[test]
fn what_is_too_large_is_refused_and_changes_nothing() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let (mut store, _) = open(temp.path());
    let stores: [&mut dyn Store; 2] = [&mut store, &mut MemoryStore::new()];
    for store in stores {
        let value = |key, value| Record::Put { table: Table::Meta, key: vec![1; key], value: vec![2; value] };
        store.commit(&[value(MAX_KEY, MAX_VALUE)]).expect("the largest fits");
        let before = content(store);
        let refused = [vec![value(MAX_KEY + 1, 0)], vec![value(0, MAX_VALUE + 1)]];
        for records in refused.into_iter().chain([vec![value(1, MAX_VALUE); MAX_COMMIT / MAX_VALUE]]) {
            assert!(matches!(store.commit(&records), Err(CommitError::TooLarge { .. })));
        }
        assert_eq!(content(store), before);
    }
}

#[test]
fn a_commit_of_the_largest_size_is_one_commit() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let (mut store, _) = open(temp.path());
    let text = "x".repeat(350);
    let many = |author, own| {
        (0..40_000).map(move |seq| (author, own, seq)).map(|(author, own, seq)| Record::Entry {
            author,
            seq,
            own,
            bytes: text.as_bytes().to_vec(),
        })
    };
    store.commit(&many(ME, true).collect::<Vec<_>>()).expect("the commit succeeds");
    store.commit(&many(PEER, false).collect::<Vec<_>>()).expect("the commit succeeds");
    let all = content(&store);
    assert_eq!(all.len(), 80_000);
    drop(store);
    assert_eq!(content(&open(temp.path()).0), all);
}

// spec: LED-5
#[test]
fn only_a_close_makes_a_clean_start() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let start = || {
        let (store, opened) = open(temp.path());
        (store, opened.fresh, opened.unclean)
    };
    let (store, fresh, unclean) = start();
    assert_eq!((fresh, unclean), (true, false));
    drop(store);
    let (store, fresh, unclean) = start();
    assert_eq!((fresh, unclean), (false, true));
    store.close().expect("the store closes");
    let mark = fs::read(temp.path().join("clean")).expect("the mark is readable");
    let (mut store, _, unclean) = start();
    assert!(!unclean);
    store.commit(&[own(0, "first")]).expect("the commit succeeds");
    store.close().expect("the store closes");
    // A mark that was left for another journal says nothing.
    fs::write(temp.path().join("clean"), mark).expect("the mark can be written");
    assert!(start().2);
}

#[test]
fn an_own_entry_that_comes_back_from_a_peer_stays_own() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let (mut store, _) = open(temp.path());
    store.commit(&[own(0, "first")]).expect("the commit succeeds");
    let before = store.size();
    let back = Record::Entry { author: ME, seq: 0, own: false, bytes: b"first".to_vec() };
    store.commit(&[back]).expect("the commit succeeds");
    assert_eq!(store.size().journal, before.journal);
    drop(store);
    fs::remove_dir_all(temp.path().join("db")).expect("the database can be removed");
    assert_eq!(content(&open(temp.path()).0), ["me 0: first"]);
}

#[test]
fn a_memory_store_fails_as_it_is_told() {
    let mut store = MemoryStore::new();
    store.commit(&[own(0, "first")]).expect("the commit succeeds");
    store.fail_next_commit();
    assert!(matches!(store.commit(&[own(1, "second")]), Err(CommitError::Full(_))));
    assert_eq!(content(&store), ["me 0: first"]);
    store.commit(&[own(1, "second")]).expect("the commit succeeds");
    for kept in [false, true] {
        store.die_in_next_commit(kept);
        assert!(store.commit(&[own(2, "third")]).is_err());
        assert!(store.commit(&[own(3, "fourth")]).is_err());
        store.crash();
        assert_eq!(content(&store).len(), 2 + usize::from(kept));
    }
}
