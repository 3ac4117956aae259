//! Torn ends, flipped bytes, missing files.

use super::{ME, PEER, content, copy_folder, files_in, open, own, own_content, peers, put};
use crate::{DiskStore, OpenError, Store as _};
use std::fs;
use std::path::Path;

/// A store that was closed cleanly after three commits, the last of which is the journal's last frame.
fn make(folder: &Path) -> Vec<String> {
    let (mut store, _) = open(folder);
    for n in 0..40 {
        store.commit(&[peers(n, "entry of a peer")]).expect("the commit succeeds");
    }
    store.commit(&[own(0, "first"), put("a", "1")]).expect("the commit succeeds");
    store.commit(&[own(1, "second"), put("b", "2")]).expect("the commit succeeds");
    store.commit(&[own(2, "third"), put("a", "3")]).expect("the commit succeeds");
    let content = own_content(&store);
    store.close().expect("the store closes");
    content
}

const WITHOUT_LAST: [&str; 4] = ["Tasks a = 1", "Tasks b = 2", "me 0: first", "me 1: second"];

/// Where the last frame of a journal begins.
fn last_frame(journal: &[u8]) -> usize {
    let mut at = 28;
    loop {
        let len: [u8; 4] = journal[at..at + 4].try_into().expect("four bytes");
        let next = at + 16 + u32::from_le_bytes(len) as usize;
        if next == journal.len() {
            return at;
        }
        at = next;
    }
}

/// Opens a store with this journal, once beside its database and once without any.
fn open_with_journal(made: &Path, journal: &[u8], mut check: impl FnMut(&Path, bool)) {
    for with_database in [true, false] {
        let temp = tempfile::tempdir().expect("a folder can be made");
        let folder = temp.path().join("store");
        if with_database {
            copy_folder(made, &folder);
        } else {
            fs::create_dir(&folder).expect("a folder can be made");
        }
        fs::write(folder.join("journal"), journal).expect("the journal can be written");
        check(&folder, with_database);
    }
}

// spec: LED-8
#[test]
fn a_torn_last_frame_is_cut_off_and_the_database_still_knows_what_was_in_it() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let all = make(temp.path());
    let journal = files_in(temp.path())["journal"].clone();
    let begin = last_frame(&journal);
    for end in begin..journal.len() {
        open_with_journal(temp.path(), &journal[..end], |folder, with_database| {
            let (store, opened) = open(folder);
            assert_eq!(opened.torn, (end - begin) as u64);
            assert!(opened.unclean && opened.rebuilt.is_some());
            if with_database {
                assert_eq!(own_content(&store), all);
            } else {
                assert_eq!(content(&store), WITHOUT_LAST);
            }
            drop(store);
            assert_eq!(own_content(&open(folder).0).len(), if with_database { 5 } else { 4 });
        });
    }
}

// spec: LED-8
#[test]
fn a_changed_last_frame_is_cut_off() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let all = make(temp.path());
    let journal = files_in(temp.path())["journal"].clone();
    for at in last_frame(&journal)..journal.len() {
        let mut journal = journal.clone();
        journal[at] ^= 1 << (at % 8);
        open_with_journal(temp.path(), &journal, |folder, with_database| {
            let (store, opened) = open(folder);
            assert!(opened.torn > 0 && opened.unclean);
            assert!(if with_database { own_content(&store) == all } else { content(&store) == WITHOUT_LAST });
        });
    }
}

// spec: LED-5, LED-8
#[test]
fn damage_before_the_last_frame_is_an_error_that_names_the_place_and_changes_nothing() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let all = make(temp.path());
    let journal = files_in(temp.path())["journal"].clone();
    for at in 0..last_frame(&journal) {
        let mut damaged = journal.clone();
        damaged[at] ^= 1 << (at % 8);
        open_with_journal(temp.path(), &damaged, |folder, _| {
            let error = DiskStore::open(folder).expect_err("a damaged journal is not believed");
            let OpenError::JournalDamaged { offset, .. } = &error else { panic!("{error:?}") };
            assert!(*offset <= at as u64 && (at < 28) == (*offset == 0));
            assert!(error.to_string().contains(&format!("damaged at byte {offset} ")));
            assert_eq!(files_in(folder)["journal"], damaged);
        });
    }
    // Moved away by a person, it is written anew from the database.
    fs::remove_file(temp.path().join("journal")).expect("the journal can be removed");
    let (store, opened) = open(temp.path());
    assert!(
        opened.unclean && !opened.fresh && opened.rebuilt.is_some_and(|rebuilt| rebuilt.set_aside.is_none())
    );
    assert_eq!(own_content(&store), all);
    drop(store);
    fs::remove_dir_all(temp.path().join("db")).expect("the database can be removed");
    assert_eq!(own_content(&open(temp.path()).0), all);
}

// spec: LED-8
#[test]
fn an_empty_journal_is_none_and_is_written_anew() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let all = make(temp.path());
    fs::write(temp.path().join("journal"), "").expect("the journal can be emptied");
    let (store, opened) = open(temp.path());
    assert!(opened.unclean && !opened.fresh && opened.rebuilt.is_some());
    assert_eq!(own_content(&store), all);
    drop(store);
    assert_eq!(own_content(&open(temp.path()).0), all);
}

#[test]
fn a_piece_of_a_value_is_not_taken_for_a_frame_of_another_journal() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    make(&temp.path().join("other"));
    let other = files_in(&temp.path().join("other"))["journal"].clone();
    let folder = temp.path().join("store");
    let (mut store, _) = open(&folder);
    store.commit(&[own(0, "first")]).expect("the commit succeeds");
    let value = Vec::from(&other[28..]);
    let table = mesh_protocol::record::Table::Peers;
    let record = mesh_protocol::record::Record::Put { table, key: b"key".to_vec(), value };
    store.commit(&[record]).expect("the commit succeeds");
    drop(store);
    let mut journal = files_in(&folder)["journal"].clone();
    let begin = last_frame(&journal);
    journal[begin] ^= 1;
    fs::write(folder.join("journal"), &journal).expect("the journal can be written");
    assert_eq!(open(&folder).1.torn, (journal.len() - begin) as u64);
}

/// A generator that needs no seed from outside, so that a failure repeats.
fn scatter(n: u64) -> u64 {
    let mut x = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 31;
    x.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (x >> 17)
}

// spec: LED-8
#[test]
fn whatever_happens_to_the_database_files_what_is_own_is_there() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let made = temp.path().join("made");
    let all = make(&made);
    let names: Vec<_> = files_in(&made.join("db")).into_keys().collect();
    assert!(names.len() >= 3, "{names:?}");
    let mut rebuilt = 0;
    for n in 0..120 {
        let folder = temp.path().join("damaged");
        copy_folder(&made, &folder);
        let file = folder.join("db").join(&names[n as usize % names.len()]);
        let mut bytes = fs::read(&file).expect("the file is readable");
        // Most of sled's file is empty: half of the changes go to where there is something.
        let used = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0) + 1;
        let range = if n % 2 == 0 { used } else { bytes.len() } as u64;
        match n % 10 {
            9 => bytes.truncate((scatter(n) % range) as usize),
            8 => (0..64).for_each(|i| bytes[(scatter(n + 1000 * i) % range) as usize] ^= 0xff),
            _ => bytes[(scatter(n) % range) as usize] ^= 1 << (n % 8),
        }
        fs::write(&file, bytes).expect("the file can be written");
        let (mut store, opened) = open(&folder);
        rebuilt += usize::from(opened.rebuilt.is_some());
        assert_eq!(own_content(&store), all, "change {n} of {}", file.display());
        store.commit(&[own(3, "fourth"), peers(100, "entry")]).expect("the commit succeeds");
        store.close().expect("the store closes");
        assert_eq!(own_content(&open(&folder).0).len(), all.len() + 1);
        fs::remove_dir_all(&folder).expect("the folder can be removed");
    }
    assert!(rebuilt > 20, "the changes met nothing: {rebuilt}");
}

// spec: LED-8
#[test]
fn a_database_that_does_not_open_is_set_aside_and_only_the_newest_are_kept() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let all = make(temp.path());
    for n in 1..=4 {
        let conf = temp.path().join("db/conf");
        fs::write(&conf, b"nothing that sled would understand").expect("the file can be written");
        let (store, opened) = open(temp.path());
        let rebuilt = opened.rebuilt.expect("it was rebuilt");
        assert_eq!(rebuilt.set_aside, Some(temp.path().join(format!("db.broken-{n}"))));
        assert!(opened.unclean && !rebuilt.why.is_empty());
        assert_eq!(content(&store), all);
        store.close().expect("the store closes");
    }
    let kept = |n: u32| temp.path().join(format!("db.broken-{n}")).exists();
    assert_eq!([1, 2, 3, 4].map(kept), [false, false, true, true]);
}

// What a start leaves behind that is killed, or finds the disk full, while sled writes its snapshot.
#[test]
fn half_a_snapshot_does_no_harm() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    make(temp.path());
    let all = content(&open(temp.path()).0);
    fs::write(temp.path().join("db/snap.7FFFFFFFFFFFFFFF.generating"), [0; 10])
        .expect("the file can be written");
    let (store, opened) = open(temp.path());
    assert_eq!((opened.rebuilt, content(&store)), (None, all));
}

// spec: LED-8
#[test]
fn a_database_that_contradicts_the_journal_is_set_aside() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let [one, other] = ["one", "other"].map(|name| temp.path().join(name));
    let all = make(&one);
    let (mut store, _) = open(&other);
    for n in 0..3 {
        store.commit(&[own(n, "something else")]).expect("the commit succeeds");
    }
    store.close().expect("the store closes");
    fs::remove_dir_all(one.join("db")).expect("the database can be removed");
    copy_folder(&other.join("db"), &one.join("db"));
    let (store, opened) = open(&one);
    assert!(opened.rebuilt.is_some_and(|rebuilt| rebuilt.why.contains("contradicts")));
    assert_eq!(content(&store), all);
}

// spec: LED-5
#[test]
fn an_older_database_is_brought_up_quietly() {
    let temp = tempfile::tempdir().expect("a folder can be made");
    let (folder, older) = (temp.path().join("store"), temp.path().join("older"));
    let (mut store, _) = open(&folder);
    store.commit(&[own(0, "first"), peers(0, "entry")]).expect("the commit succeeds");
    store.close().expect("the store closes");
    copy_folder(&folder.join("db"), &older);
    let (mut store, _) = open(&folder);
    store.commit(&[own(1, "second"), peers(1, "entry")]).expect("the commit succeeds");
    let all = content(&store);
    drop(store);
    fs::remove_dir_all(folder.join("db")).expect("the database can be removed");
    copy_folder(&older, &folder.join("db"));
    let (store, opened) = open(&folder);
    assert_eq!((opened.rebuilt, opened.unclean), (None, true));
    assert_eq!(content(&store), all);
    assert_eq!(store.entries(&ME, 0, 100).expect("it reads"), [b"first".to_vec(), b"second".to_vec()]);
    assert_eq!(store.entries(&PEER, 0, 5).expect("it reads"), [b"entry".to_vec()]);
}
