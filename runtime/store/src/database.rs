//! The `sled` database: one tree, so that one batch changes any of it atomically, and one walk loads all of it.
//!
//! What sled 0.34.7 does not do by itself, and is done here:
//! * On Linux its `flush` ends in `sync_file_range`, which brings neither the file's length nor the disk's own cache
//!   to rest: [`Database::flush`] adds the `fdatasync`.
//! * Items above 128 KiB become files of their own, which it never syncs, nor the folders it makes.
//! * After one failed write a `Db` refuses everything for good: it is dropped and opened anew.
//! * Cut off in writing a snapshot, it leaves half a file that it takes for the newest one at the next start, and then
//!   calls the whole database corrupt: [`remove_half_snapshots`].
//! * A page above 128 KiB whose file cannot be written, as on a full disk, leaves it waiting for ever for a write that
//!   never ends, also where it is dropped: [`Database::has_room`] keeps it from most of that, and what has failed is
//!   dropped on a thread of its own.
//! * It panics where it finds what it did not expect: each call that meets file content is wrapped by [`guarded`].
// spec: LED-8

use crate::change::{Kept, Weight, Write, add, is_entry, is_own, loaded, weigh};
use crate::errors::Fault;
use crate::files::Files;
use crate::journal::Index;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::mem::ManuallyDrop;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// Behind every other key: the last commit of the journal that is in here, and the sum of keys and values.
const STAMP: &[u8] = &[0xff];

/// What sled may hold in memory. A peer is a guest on its donor's device and should idle below 100 MB (NET-7).
const CACHE: u64 = 64 << 20;

/// How long a database that this process has just let go may stay locked: sled's threads end a little later than
/// the `Db`, after their last write. A write takes no ten seconds on a disk that is of any use.
const RELEASE: Duration = Duration::from_secs(10);

/// How long one that has failed is waited for. It has little to do, or never ends.
const LET_GO: Duration = Duration::from_secs(3);

/// Bytes that are copied in one batch. Sled holds a batch in memory.
const COPY: i64 = 1 << 20;

/// The most that is read ahead, and how much at once. 4 GiB is more than any peer's memory keeps for it.
const READ_AHEAD: u64 = 4 << 30;
const READ_STEP: usize = 2 << 20;

/// Most items of a page: at one more it is split. From a few KiB each on, they make a file of their own, which a change
/// to any of them writes anew.
const PAGE: u64 = 17;
/// Smaller ones do not.
const LARGE: usize = 4 << 10;
/// What it takes beside what is written: two segments of its file.
const SLACK: u64 = 1 << 20;

pub(crate) struct Database {
    // None only while it is dropped.
    db: Option<sled::Db>,
    /// Something of it has failed.
    failed: Cell<bool>,
    path: PathBuf,
    files: Arc<dyn Files>,
    /// A second handle on sled's file, to sync it by.
    data: File,
    /// Files of large items that are on the disk.
    settled: BTreeSet<OsString>,
    applied: u64,
    live: u64,
}

impl From<sled::Error> for Fault {
    fn from(error: sled::Error) -> Self {
        use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
        match error {
            // A file that ends early or is not there is damage; whatever else the system says may pass.
            sled::Error::Io(error) if ![InvalidData, NotFound, UnexpectedEof].contains(&error.kind()) => {
                Self::Io(error)
            }
            error => Self::Damaged(error.to_string()),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Runs what may meet damaged files inside sled.
// Sled asserts and unwraps on what it reads, and a peer must come up with a damaged database. Unwinding is sound to
// catch here: sled's locks do not poison, and the caller drops the `Db` after any fault, so that no broken state is
// looked at again. What it does not cover is a panic on one of sled's own threads; those catch it themselves.
fn guarded<T>(run: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(Fault::Damaged(format!("sled panicked: {text}")))
    })
}

impl Database {
    /// Opens what [`Database::create`] made.
    pub(crate) fn open(path: &Path, files: Arc<dyn Files>) -> Result<Self, Fault> {
        let mut database = Self::start(path, files)?;
        let stamp = database.ask(|db| Ok(db.get(STAMP)?))?;
        let stamp = stamp.ok_or_else(|| Fault::Damaged("its stamp is missing".to_owned()))?;
        let (Some((applied, live)), 16) = (stamp.split_first_chunk::<8>(), stamp.len()) else {
            return Err(Fault::Damaged("its stamp has no meaning".to_owned()));
        };
        database.applied = u64::from_be_bytes(*applied);
        database.live = live.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        Ok(database)
    }

    /// Makes a database at `path`, which must not exist. It appears there whole or not at all.
    pub(crate) fn create(
        path: &Path,
        files: &Arc<dyn Files>,
        fill: impl FnOnce(&mut Self) -> Result<(), Fault>,
    ) -> Result<Self, Fault> {
        let beside = path.with_extension("new");
        remove_folder(&beside)?;
        let mut database = Self::start(&beside, files.clone())?;
        fill(&mut database)?;
        database.write(std::iter::empty(), Weight::default(), database.applied)?;
        database.flush()?;
        drop(database);
        fs::rename(&beside, path)?;
        files.sync_folder(path.parent().unwrap_or(path))?;
        Self::open(path, files.clone())
    }

    fn start(path: &Path, files: Arc<dyn Files>) -> Result<Self, Fault> {
        wait_until_released(&path.join("db"))?;
        remove_half_snapshots(path)?;
        read_ahead(&path.join("db"));
        let config = sled::Config::new().path(path).cache_capacity(CACHE);
        let db = guarded(|| Ok(config.open()?))?;
        let data = File::open(path.join("db"))?;
        let mut database = Self {
            db: Some(db),
            failed: Cell::new(false),
            path: path.to_owned(),
            files,
            data,
            settled: BTreeSet::new(),
            applied: 0,
            live: 0,
        };
        database.settle()?;
        Ok(database)
    }

    /// Has sled do something.
    fn ask<T>(&self, run: impl FnOnce(&sled::Db) -> Result<T, Fault>) -> Result<T, Fault> {
        let db = self.db.as_ref().ok_or_else(|| Fault::Damaged("it was let go".to_owned()))?;
        let done = guarded(|| run(db));
        self.failed.set(self.failed.get() || done.is_err());
        done
    }

    /// Fails where the disk has too little room for these writes and so many bytes that something else takes before, when
    /// sled has not begun with any.
    pub(crate) fn has_room<'a>(
        &self,
        writes: impl Iterator<Item = Write<'a>>,
        before: u64,
    ) -> Result<(), Fault> {
        let page = |len: usize| if len > LARGE { PAGE * len as u64 } else { len as u64 };
        let needed = writes.map(|(_, value)| page(value.map_or(0, <[u8]>::len))).sum::<u64>();
        // Not every file system says how much there is.
        let disk = rustix::fs::fstatvfs(&self.data).ok().filter(|disk| disk.f_blocks > 0);
        if disk.is_some_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < needed + before + SLACK) {
            return Err(Fault::Io(io::ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    /// The last commit of the journal that is in here.
    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    pub(crate) fn live(&self) -> u64 {
        self.live
    }

    pub(crate) fn size(&self) -> u64 {
        size_of(&self.path)
    }

    /// Brings it up to the journal's commit `applied`. Not durable before [`Database::flush`].
    pub(crate) fn replay(&mut self, writes: &[Write<'_>], applied: u64) -> Result<(), Fault> {
        let mut weight = Weight::default();
        for (key, value) in writes {
            add(&mut weight, key, self.get(key)?.as_deref(), *value);
        }
        self.write(writes.iter().copied(), weight, applied)
    }

    /// Does all writes together. Not durable before [`Database::flush`].
    pub(crate) fn write<'a>(
        &mut self,
        writes: impl Iterator<Item = Write<'a>>,
        weight: Weight,
        applied: u64,
    ) -> Result<(), Fault> {
        let writes: Vec<_> = writes.collect();
        // What waits in sled may not fit either, so that it may never let go.
        self.has_room(writes.iter().copied(), 0).inspect_err(|_| self.failed.set(true))?;
        let live = self.live.saturating_add_signed(weight.live);
        let mut batch = sled::Batch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        batch.insert(STAMP, [applied.to_be_bytes(), live.to_be_bytes()].concat());
        self.ask(|db| Ok(db.apply_batch(batch)?))?;
        (self.applied, self.live) = (applied, live);
        Ok(())
    }

    /// Everything written so far is durable when this returns.
    // spec: LED-8
    pub(crate) fn flush(&mut self) -> Result<(), Fault> {
        self.ask(|db| Ok(db.flush()?))?;
        self.settle_blobs()?;
        self.files.sync(&self.path.join("db"), &self.data)?;
        Ok(())
    }

    /// Brings to rest what sled writes when it opens.
    fn settle(&mut self) -> Result<(), Fault> {
        for file in fs::read_dir(&self.path)? {
            let file = file?;
            if file.file_type()?.is_file() {
                self.files.sync(&file.path(), &File::open(file.path())?)?;
            }
        }
        self.settle_blobs()?;
        self.files.sync_folder(&self.path.join("blobs"))?;
        Ok(self.files.sync_folder(&self.path)?)
    }

    fn settle_blobs(&mut self) -> Result<(), Fault> {
        let folder = self.path.join("blobs");
        let mut present = BTreeSet::new();
        let mut fresh = false;
        for blob in fs::read_dir(&folder)? {
            let name = blob?.file_name();
            if !self.settled.contains(&name) {
                fresh = true;
                let path = folder.join(&name);
                match File::open(&path) {
                    Ok(file) => self.files.sync(&path, &file)?,
                    // Sled removes a blob when nothing needs it any more, on its own threads.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            present.insert(name);
        }
        if fresh {
            self.files.sync_folder(&folder)?;
        }
        self.settled = present;
        Ok(())
    }

    /// Calls `each` with every key and value, in order of keys.
    pub(crate) fn each(&self, mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Fault>) -> Result<(), Fault> {
        self.ask(|db| {
            for item in db.iter() {
                let (key, value) = item?;
                if key != STAMP {
                    each(&key, &value)?;
                }
            }
            Ok(())
        })
    }

    /// Calls `each` with keys and values of a range until it returns false.
    pub(crate) fn range(
        &self,
        range: RangeInclusive<Vec<u8>>,
        mut each: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), Fault> {
        self.ask(|db| {
            for item in db.range(range) {
                let (key, value) = item?;
                if !each(&key, &value) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Walks through all of it: every page must be readable, and what is one's own must be what the journal says.
    pub(crate) fn check(&mut self, index: &Index) -> Result<(), Fault> {
        let differs = |what: &str| Err(Fault::Damaged(format!("it contradicts the journal: {what}")));
        let mut live = 0;
        let mut expected = index.iter().peekable();
        self.each(|key, value| {
            if loaded(key, value).is_none() {
                return Err(Fault::Damaged("it holds what no commit wrote".to_owned()));
            }
            live += weigh(key, value) as u64;
            match expected.next_if(|(own, _)| own.as_slice() <= key) {
                Some((own, _)) if own.as_slice() < key => differs("a record is missing"),
                Some((_, place)) if !place.holds(value) => differs("a record has another content"),
                None if is_own(key, value) => differs("a record is too many"),
                _ => Ok(()),
            }
        })?;
        if expected.next().is_some() {
            return differs("a record is missing");
        }
        self.live = live;
        Ok(())
    }

    /// As [`Database::check`], where the journal has lost its last records: no own entry that it still knows may be
    /// missing.
    pub(crate) fn checked_ahead(mut self, index: &Index) -> Result<Self, Fault> {
        let mut entries = index.iter().filter(|(key, _)| is_entry(key)).peekable();
        let lost = || Fault::Damaged("it contradicts the journal: an entry is missing".to_owned());
        let mut live = 0;
        self.each(|key, value| {
            live += weigh(key, value) as u64;
            match entries.next_if(|(own, _)| own.as_slice() <= key) {
                Some((own, place)) if own.as_slice() < key || !place.holds(value) => Err(lost()),
                _ if loaded(key, value).is_none() => Err(lost()),
                _ => Ok(()),
            }
        })?;
        if entries.next().is_some() {
            return Err(lost());
        }
        self.live = live;
        Ok(self)
    }

    /// Copies everything from another database.
    pub(crate) fn copy(&mut self, from: &Self) -> Result<(), Fault> {
        let (mut writes, mut weight) = (Vec::new(), Weight::default());
        from.each(|key, value| {
            add(&mut weight, key, None, Some(value));
            writes.push((key.to_vec(), value.to_vec()));
            if weight.live >= COPY {
                self.put(&writes, weight)?;
                (writes, weight) = (Vec::new(), Weight::default());
            }
            Ok(())
        })?;
        self.put(&writes, weight)?;
        self.applied = from.applied;
        Ok(())
    }

    fn put(&mut self, writes: &[(Vec<u8>, Vec<u8>)], weight: Weight) -> Result<(), Fault> {
        let writes = writes.iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice())));
        self.write(writes, weight, self.applied)
    }
}

/// Has the system read the file from its start while sled opens: sled asks for each page by itself, in the order of keys
/// and not in that of the file, and a disk that nobody has read from yet answers that far more slowly than a walk.
// spec: LED-9
fn read_ahead(data: &Path) {
    // A database that is made now has no file yet, and one that cannot be read is sled's to complain of.
    let Ok(file) = File::open(data) else { return };
    let read = move || {
        let length = file.metadata().map_or(0, |meta| meta.len()).min(READ_AHEAD);
        for at in (0..length).step_by(READ_STEP) {
            let step = std::num::NonZeroU64::new(READ_STEP as u64);
            if rustix::fs::fadvise(&file, at, step, rustix::fs::Advice::WillNeed).is_err() {
                return;
            }
        }
    };
    // It is a help and no more: without a thread, the database opens all the same.
    let _no_thread = std::thread::Builder::new().name("read ahead".to_owned()).spawn(read);
}

impl Drop for Database {
    fn drop(&mut self) {
        let db = self.db.take();
        if self.failed.get() {
            // It may never come back. Without a thread, it stays until the process ends.
            let db = ManuallyDrop::new(db);
            let (done, gone) = sync_channel::<()>(0);
            let let_go = move || {
                drop(ManuallyDrop::into_inner(db));
                drop(done);
            };
            let _no_thread = std::thread::Builder::new().name("let go".to_owned()).spawn(let_go);
            // What it still does, it does to whatever has its name then.
            let _never_said = gone.recv_timeout(LET_GO);
        }
    }
}

impl Kept for Database {
    type Error = Fault;

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.ask(|db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    fn keys(&self, range: RangeInclusive<Vec<u8>>) -> Result<Vec<Vec<u8>>, Fault> {
        let mut keys = Vec::new();
        self.range(range, |key, _| {
            keys.push(key.to_vec());
            true
        })?;
        Ok(keys)
    }
}

/// Bytes of all files of a database.
pub(crate) fn size_of(path: &Path) -> u64 {
    let files = |path: &Path| {
        let files = fs::read_dir(path).into_iter().flatten().flatten();
        files
            .filter_map(|file| file.metadata().ok().filter(fs::Metadata::is_file))
            .map(|meta| meta.len())
            .sum::<u64>()
    };
    files(path) + files(&path.join("blobs"))
}

pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A snapshot counts from when it has its final name, and the one before it is there until then.
fn remove_half_snapshots(path: &Path) -> io::Result<()> {
    let files = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for file in files {
        let file = file?;
        if file
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with("snap.") && name.ends_with(".generating"))
        {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// The store's own lock keeps other processes away, so whoever still holds sled's lock is about to let go.
fn wait_until_released(data: &Path) -> io::Result<()> {
    let file = match File::open(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return file.unlock(),
            Err(fs::TryLockError::Error(error)) => return Err(error),
            Err(fs::TryLockError::WouldBlock) if begun.elapsed() > RELEASE => {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "it is locked, and has been for long",
                ));
            }
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}
