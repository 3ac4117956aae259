//! A loss of power: of each file is left what it held when it was last synced, and of each folder the names it had
//! when it was last synced. Unlike after a kill, the system's page cache is gone.

use super::{ME, content, open_on, own, peers, put};
use crate::disk::Bounds;
use crate::files::Files;
use crate::{CommitError, DiskStore, Store as _};
use mesh_protocol::record::Record;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// A file or folder, over renames. The time of birth tells it from an earlier one with the same number.
type Id = (u64, Option<SystemTime>);

fn id(meta: &Metadata) -> Id {
    (meta.ino(), meta.created().ok())
}

/// Files that remember what a loss of power would leave, and that fail on demand.
#[derive(Default)]
struct Rig {
    contents: Mutex<HashMap<Id, Vec<u8>>>,
    names: Mutex<HashMap<Id, Vec<(OsString, Id)>>>,
    /// So many more writes succeed before one stops half-way for want of room; 0 for no fault.
    writes_left: AtomicU32,
    syncs_left: AtomicU32,
    folder_syncs_left: AtomicU32,
}

fn due(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) == Ok(1)
}

impl Files for Rig {
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if due(&self.writes_left) {
            file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, path: &Path, file: &File) -> io::Result<()> {
        // A sync that fails may have brought everything to the disk all the same.
        self.contents.lock().expect("no panic").insert(id(&file.metadata()?), fs::read(path)?);
        if due(&self.syncs_left) { Err(io::Error::other("the disk does not answer")) } else { Ok(()) }
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        if due(&self.folder_syncs_left) {
            return Err(io::Error::other("too many open files"));
        }
        let mut names = Vec::new();
        for file in fs::read_dir(path)? {
            let file = file?;
            names.push((file.file_name(), id(&file.metadata()?)));
        }
        self.names.lock().expect("no panic").insert(id(&fs::metadata(path)?), names);
        Ok(())
    }
}

impl Rig {
    /// Writes what is left of `folder` to `to`.
    fn lose_power(&self, folder: &Path, to: &Path) {
        self.restore(id(&fs::metadata(folder).expect("the folder is there")), to);
    }

    fn restore(&self, folder: Id, to: &Path) {
        fs::create_dir_all(to).expect("a folder can be made");
        let names = self.names.lock().expect("no panic").get(&folder).cloned().unwrap_or_default();
        for (name, id) in names {
            if self.names.lock().expect("no panic").contains_key(&id) {
                self.restore(id, &to.join(name));
            } else {
                let bytes = self.contents.lock().expect("no panic").get(&id).cloned().unwrap_or_default();
                fs::write(to.join(name), bytes).expect("a file can be written");
            }
        }
    }
}

// spec: LED-8
#[test]
fn the_folder_itself_survives_a_loss_of_power() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let (folder, after) = (temp.path().join("root/new/store"), temp.path().join("after"));
    fs::create_dir(temp.path().join("root")).expect("a folder can be made");
    let rig = Arc::new(Rig::default());
    let (mut store, _) = open_on(&folder, rig.clone());
    store.commit(&[own(0, "first")]).expect("the commit succeeds");
    rig.lose_power(&temp.path().join("root"), &after);
    assert_eq!(content(&open_on(&after.join("new/store"), Arc::new(Rig::default())).0), ["me 0: first"]);
}

/// Commits one step after the other and cuts the power after each: all of it must be there.
fn survives_after_each(steps: impl Iterator<Item = Vec<Record>>, bounds: Bounds) {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let (folder, after) = (temp.path().join("store"), temp.path().join("after"));
    let rig = Arc::new(Rig::default());
    let (mut store, opened) = DiskStore::open_with(&folder, rig.clone(), bounds).expect("the store opens");
    assert!(opened.fresh && !opened.unclean);
    for step in steps {
        store.commit(&step).expect("the commit succeeds");
        rig.lose_power(&folder, &after);
        let (left, opened) = open_on(&after, Arc::new(Rig::default()));
        assert_eq!(opened.rebuilt, None);
        assert!(opened.unclean);
        assert_eq!(content(&left), content(&store));
        drop(left);
        fs::remove_dir_all(&after).expect("the folder can be removed");
    }
}

// spec: LED-5, LED-8, DEL-1
#[test]
fn what_is_own_survives_a_loss_of_power() {
    let steps = (0..8).map(|n| match n % 4 {
        0 => vec![own(n / 4, "entry")],
        1 => vec![put(&n.to_string(), "value")],
        2 => vec![peers(n, "beside an own one"), put("last", &n.to_string())],
        _ => vec![Record::Truncate { author: ME, seq: 1 }, put("last", "none")],
    });
    survives_after_each(steps, Bounds::default());
}

// spec: LED-8
#[test]
fn peers_entries_survive_a_loss_of_power() {
    let large = "x".repeat(300_000);
    let steps = (0..8).map(|n| match n % 4 {
        // Large enough that sled puts it into a file of its own.
        3 => vec![peers(n, &large)],
        _ => vec![peers(n, "entry"), peers(100 + n, "entry")],
    });
    survives_after_each(steps, Bounds::default());
}

// spec: LED-8
#[test]
fn a_compacted_journal_survives_a_loss_of_power() {
    let value = "x".repeat(3000);
    let steps = (0..12).map(|n| vec![peers(n, "entry"), put("same", &format!("{n}{value}"))]);
    survives_after_each(steps, Bounds { compact_above: 8000, ..Bounds::default() });
}

// spec: LED-8
#[test]
fn a_journal_whose_name_could_not_be_synced_takes_nothing_until_it_is_and_then_loses_nothing() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let (folder, after) = (temp.path().join("store"), temp.path().join("after"));
    let rig = Arc::new(Rig::default());
    let bounds = Bounds { compact_above: 8000, ..Bounds::default() };
    let (mut store, _) = DiskStore::open_with(&folder, rig.clone(), bounds).expect("the store opens");
    let value = "x".repeat(3000);
    let mut again = 0;
    for round in 0..2 {
        rig.folder_syncs_left.store(1, Ordering::SeqCst);
        while rig.folder_syncs_left.load(Ordering::SeqCst) > 0 {
            assert!(again < 20, "it is never compacted");
            again += 1;
            store.commit(&[put("same", &format!("{again}{value}"))]).expect("it is in both journals");
        }
        if round == 1 {
            rig.folder_syncs_left.store(1, Ordering::SeqCst);
            assert!(matches!(store.commit(&[own(round, "not yet")]), Err(CommitError::Journal(_))));
        }
        store.commit(&[own(round, "entry")]).expect("the commit succeeds");
        rig.lose_power(&folder, &after);
        assert_eq!(content(&open_on(&after, Arc::new(Rig::default())).0), content(&store));
        fs::remove_dir_all(&after).expect("the folder can be removed");
    }
    let all = content(&store);
    assert_eq!(all.len(), 3);
    drop(store);
    assert_eq!(content(&open_on(&folder, rig).0), all);
}

// spec: LED-8
#[test]
fn a_start_that_could_not_sync_a_name_leaves_it_to_the_next_one() {
    for damaged in [false, true] {
        let mut failed = 0;
        for nth in 1.. {
            let temp = tempfile::tempdir().expect("a folder can be made");
            let (folder, after) = (temp.path().join("store"), temp.path().join("after"));
            fs::create_dir(&folder).expect("a folder can be made");
            let rig = Arc::new(Rig::default());
            if damaged {
                drop(open_on(&folder, rig.clone()));
                fs::write(folder.join("db/conf"), b"nothing that sled would understand")
                    .expect("the file can be written");
            }
            rig.folder_syncs_left.store(nth, Ordering::SeqCst);
            let first = DiskStore::open_with(&folder, rig.clone(), Bounds::default());
            if rig.folder_syncs_left.swap(0, Ordering::SeqCst) > 0 {
                break;
            }
            failed += usize::from(first.is_err());
            drop(first);
            let (mut store, _) = open_on(&folder, rig.clone());
            store.commit(&[peers(0, "entry")]).expect("the commit succeeds");
            store.commit(&[own(0, "first")]).expect("the commit succeeds");
            rig.lose_power(&folder, &after);
            let left = content(&open_on(&after, Arc::new(Rig::default())).0);
            assert_eq!(left, content(&store), "damaged: {damaged}, the sync number {nth} had failed");
        }
        assert!(failed > 3, "{failed}");
    }
}

// spec: LED-8
#[test]
fn what_is_committed_after_a_database_was_made_anew_survives_a_loss_of_power() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let (folder, after) = (temp.path().join("store"), temp.path().join("after"));
    let rig = Arc::new(Rig::default());
    let (mut store, _) = open_on(&folder, rig.clone());
    let entries: Vec<_> = (0..300).map(|n| peers(n, &"x".repeat(4000))).collect();
    store.commit(&entries).expect("the commit succeeds");
    store
        .commit(&[own(0, "first"), Record::Truncate { author: super::PEER, seq: 1 }])
        .expect("the commit succeeds");
    store.close().expect("the store closes");
    let mut steps = ["copied", "rebuilt"].into_iter();
    let mut survives = |bounds, seq| {
        let (mut store, opened) =
            DiskStore::open_with(&folder, rig.clone(), bounds).expect("the store opens");
        store.commit(&[peers(seq, "committed since")]).expect("the commit succeeds");
        rig.lose_power(&folder, &after);
        let (left, _) = open_on(&after, Arc::new(Rig::default()));
        assert_eq!(content(&left), content(&store), "{:?}", steps.next());
        fs::remove_dir_all(&after).expect("the folder can be removed");
        (opened.rebuilt.is_some(), store.size().database)
    };
    let before = crate::database::size_of(&folder.join("db"));
    let (rebuilt, size) = survives(Bounds { shrink_above: 1 << 20, ..Bounds::default() }, 1);
    assert!(!rebuilt && size < before);
    fs::write(folder.join("db/conf"), b"nothing that sled would understand")
        .expect("the file can be written");
    assert!(survives(Bounds::default(), 2).0);
}

// spec: LED-5
#[test]
fn the_clean_mark_survives_a_loss_of_power_and_so_does_its_removal() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let [folder, closed, opened_again] = ["store", "closed", "opened"].map(|name| temp.path().join(name));
    let rig = Arc::new(Rig::default());
    let (mut store, _) = open_on(&folder, rig.clone());
    store.commit(&[own(0, "entry")]).expect("the commit succeeds");
    store.close().expect("the store closes");
    rig.lose_power(&folder, &closed);
    assert!(!open_on(&closed, Arc::new(Rig::default())).1.unclean);
    let (_store, opened) = open_on(&folder, rig.clone());
    assert!(!opened.unclean);
    rig.lose_power(&folder, &opened_again);
    assert!(open_on(&opened_again, Arc::new(Rig::default())).1.unclean);
}

// spec: LED-8
#[test]
fn a_commit_that_fails_in_the_journal_does_nothing_and_the_next_succeeds() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let (folder, after) = (temp.path().join("store"), temp.path().join("after"));
    let rig = Arc::new(Rig::default());
    let (mut store, _) = open_on(&folder, rig.clone());
    store.commit(&[own(0, "first")]).expect("the commit succeeds");
    let size = store.size().journal;

    rig.writes_left.store(1, Ordering::SeqCst);
    assert!(matches!(store.commit(&[own(1, "no room")]), Err(CommitError::Full(_))));
    rig.syncs_left.store(1, Ordering::SeqCst);
    assert!(matches!(store.commit(&[own(1, "not synced")]), Err(CommitError::Journal(_))));
    rig.lose_power(&folder, &after);
    assert_eq!(content(&open_on(&after, Arc::new(Rig::default())).0), ["me 0: first"]);
    fs::remove_dir_all(&after).expect("the folder can be removed");
    assert_eq!(content(&store), ["me 0: first"]);
    assert_eq!(
        (store.size().journal, fs::read(folder.join("journal")).map(|bytes| bytes.len() as u64).ok()),
        (size, Some(size))
    );

    store.commit(&[own(1, "second")]).expect("the commit succeeds");
    rig.lose_power(&folder, &after);
    assert_eq!(content(&open_on(&after, Arc::new(Rig::default())).0), ["me 0: first", "me 1: second"]);
}

// spec: LED-8
#[test]
fn nothing_is_committed_before_a_failed_append_is_taken_back() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let rig = Arc::new(Rig::default());
    let (mut store, _) = open_on(temp.path(), rig.clone());
    store.commit(&[own(0, "first")]).expect("the commit succeeds");
    // The write fails, then the sync of the truncated file.
    rig.writes_left.store(1, Ordering::SeqCst);
    rig.syncs_left.store(1, Ordering::SeqCst);
    assert!(store.commit(&[own(1, "no room")]).is_err());
    rig.syncs_left.store(1, Ordering::SeqCst);
    assert!(store.commit(&[own(1, "still not")]).is_err());
    store.commit(&[own(1, "second")]).expect("the commit succeeds");
    drop(store);
    assert_eq!(content(&open_on(temp.path(), rig).0), ["me 0: first", "me 1: second"]);
}

// spec: LED-8
#[test]
fn a_failed_sync_of_the_database_fails_the_commit_and_the_next_one_opens_it_anew() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let rig = Arc::new(Rig::default());
    let (mut store, _) = open_on(temp.path(), rig.clone());
    store.commit(&[own(0, "first")]).expect("the commit succeeds");
    rig.syncs_left.store(1, Ordering::SeqCst);
    assert!(matches!(store.commit(&[peers(0, "entry")]), Err(CommitError::Database(_))));
    store.commit(&[own(1, "second")]).expect("the commit succeeds");
    store.commit(&[peers(0, "entry")]).expect("the commit succeeds");
    assert_eq!(content(&store), ["me 0: first", "me 1: second", "peer 0: entry"]);
}

// spec: LED-8
#[test]
fn a_database_that_is_damaged_while_it_is_open_ends_the_process_and_is_made_anew_by_the_next() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let rig = Arc::new(Rig::default());
    let (mut store, _) = open_on(temp.path(), rig.clone());
    store.commit(&[own(0, "first"), peers(0, "entry")]).expect("the commit succeeds");
    // The next one closes the database, and when it is to be opened anew it is no database any more.
    rig.syncs_left.store(1, Ordering::SeqCst);
    assert!(matches!(store.commit(&[peers(1, "entry")]), Err(CommitError::Database(_))));
    let conf = temp.path().join("db/conf");
    let sound = fs::read(&conf).expect("the file is readable");
    fs::write(&conf, b"nothing that sled would understand").expect("the file can be written");
    assert!(matches!(store.commit(&[peers(1, "entry")]), Err(CommitError::Lost(_))));
    // Not even if it came back: what was handled since may count on what it did not take.
    fs::write(&conf, sound).expect("the file can be written");
    assert!(matches!(store.commit(&[own(1, "second")]), Err(CommitError::Lost(_))));
    assert!(store.entries(&super::PEER, 0, 100).is_err());
    assert!(!temp.path().join("db.broken-1").exists());
    fs::write(&conf, b"nothing that sled would understand").expect("the file can be written");
    assert!(store.close().is_err());
    let (store, opened) = open_on(temp.path(), rig);
    assert!(opened.unclean && opened.rebuilt.is_some_and(|rebuilt| rebuilt.set_aside.is_some()));
    assert_eq!(content(&store), ["me 0: first"]);
}
