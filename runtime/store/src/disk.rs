//! The store of a real peer.

use crate::change::{self, entry_key, is_own, loaded};
use crate::database::{Database, remove_folder, size_of};
use crate::errors::{CloseError, CommitError, Fault, LoadError, OpenError};
use crate::files::{Disk, Files};
use crate::journal::{self, COMPACT_ABOVE, Found, Index, Journal, Unreadable};
use crate::{Loaded, Size, Store};
use mesh_protocol::key::PublicKey;
use mesh_protocol::record::Record;
use std::cell::RefCell;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many databases that were set aside are kept: one to look into, and one more in case that both are of interest.
/// Each may be as large as the database itself.
const KEPT_ASIDE: usize = 2;

/// Below this a database is not worth copying into a fresh one. Sled takes whole segments of 512 KiB and frees
/// lazily, so that a small database is mostly room.
const SHRINK_ABOVE: u64 = 256 << 20;

/// How many times its live bytes a database may take. Sled in good order takes up to three times; the known cases
/// that run away take tens.
const SHRINK_FACTOR: u64 = 5;

/// From which size on files are rewritten.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) compact_above: u64,
    pub(crate) shrink_above: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { compact_above: COMPACT_ABOVE, shrink_above: SHRINK_ABOVE }
    }
}

/// How a store was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// There was nothing: a peer that begins, or one that has lost everything.
    pub fresh: bool,
    /// There is no mark of a clean close that fits what was found: this start follows a crash, or a loss.
    // spec: LED-5
    pub unclean: bool,
    /// The database or the journal had to be made anew from the other.
    pub rebuilt: Option<Rebuilt>,
    /// Bytes of a torn end that were cut off the journal.
    pub torn: u64,
}

/// A database or a journal that was made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// What was wrong.
    pub why: String,
    /// Where the old database was moved, if there was one. Peers' entries are gone from the new one and have to be
    /// fetched.
    pub set_aside: Option<PathBuf>,
}

/// A store in a folder: a `sled` database, and a journal of what only this peer can know.
pub struct DiskStore {
    // Behind a cell since reading, too, must be able to open the database anew after a fault.
    inner: RefCell<Inner>,
    // The last to go: sled's files are closed before another process may open them.
    _lock: File,
}

struct Inner {
    folder: PathBuf,
    files: Arc<dyn Files>,
    bounds: Bounds,
    journal: Journal,
    /// None after a fault, until it could be opened anew.
    database: Option<Database>,
    /// Why it never will be by this process.
    given_up: Option<String>,
}

impl std::fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskStore").finish_non_exhaustive()
    }
}

impl DiskStore {
    /// Opens the store in `folder`, making it if need be. A database that does not open, or that contradicts the
    /// journal, is set aside and made anew.
    // spec: LED-8
    pub fn open(folder: &Path) -> Result<(Self, Opened), OpenError> {
        Self::open_with(folder, Arc::new(Disk), Bounds::default())
    }

    pub(crate) fn open_with(
        folder: &Path,
        files: Arc<dyn Files>,
        bounds: Bounds,
    ) -> Result<(Self, Opened), OpenError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Folder { path, source }
        };
        make_folder(folder, &*files).map_err(at(folder))?;
        let lock = lock(folder)?;
        tidy(folder, &*files).map_err(at(folder))?;
        let mark = take_mark(folder, &*files).map_err(at(folder))?;
        let found = read_journal(folder, &files, bounds)?;
        let torn = found.as_ref().map_or(0, |found| found.torn);
        let whole = found.as_ref().is_some_and(|found| mark == Some(mark_of(&found.journal)));
        let Risen { journal, mut database, fresh, rebuilt } = rise(folder, &files, bounds, found)?;
        if torn > 0 {
            tracing::warn!(bytes = torn, "cut a torn end off the journal");
        }
        if database.size() > bounds.shrink_above.max(SHRINK_FACTOR.saturating_mul(database.live())) {
            database = shrink(folder, &files, database).map_err(OpenError::Database)?;
        }
        let mut inner = Inner {
            folder: folder.to_owned(),
            files,
            bounds,
            journal,
            database: Some(database),
            given_up: None,
        };
        inner.compact_if_bloated();
        let opened =
            Opened { fresh, unclean: !fresh && (!whole || rebuilt.is_some() || torn > 0), rebuilt, torn };
        Ok((Self { inner: RefCell::new(inner), _lock: lock }, opened))
    }

    /// Writes everything out and leaves the mark of a clean close.
    pub fn close(self) -> Result<(), CloseError> {
        let mut inner = self.inner.into_inner();
        inner.database().and_then(Database::flush).map_err(CloseError::Database)?;
        drop(inner.database.take());
        let path = mark_path(&inner.folder);
        let write = || {
            let file = File::create(&path)?;
            inner.files.write(&file, mark_of(&inner.journal).as_bytes(), 0)?;
            inner.files.sync(&path, &file)?;
            inner.files.sync_folder(&inner.folder)
        };
        write().map_err(CloseError::Mark)
    }

    fn read<T>(&self, read: impl FnOnce(&Database) -> Result<T, Fault>) -> Result<T, LoadError> {
        let mut inner = self.inner.borrow_mut();
        let result = inner.database().and_then(|database| read(database));
        if result.is_err() {
            inner.database = None;
        }
        result.map_err(LoadError::Database)
    }
}

impl Store for DiskStore {
    // spec: LED-8, DEL-1
    fn commit(&mut self, records: &[Record]) -> Result<(), CommitError> {
        change::check(records)?;
        self.inner.get_mut().commit(records)
    }

    fn load(&self, each: &mut dyn FnMut(Loaded<'_>)) -> Result<(), LoadError> {
        self.read(|database| {
            database.each(|key, value| {
                loaded(key, value)
                    .map(&mut *each)
                    .ok_or_else(|| Fault::Damaged("a key has no meaning".to_owned()))
            })
        })
    }

    fn entries(&self, author: &PublicKey, from: u64, max_bytes: usize) -> Result<Vec<Vec<u8>>, LoadError> {
        let range = entry_key(author, from)..=entry_key(author, u64::MAX);
        self.read(|database| {
            let (mut entries, mut total) = (Vec::new(), 0_usize);
            database.range(range, |key, value| {
                let Some(Loaded::Entry { seq, bytes, .. }) = loaded(key, value) else { return false };
                total = total.saturating_add(bytes.len());
                let fits = seq - from == entries.len() as u64 && (entries.is_empty() || total <= max_bytes);
                if fits {
                    entries.push(bytes.to_vec());
                }
                fits
            })?;
            Ok(entries)
        })
    }

    fn size(&self) -> Size {
        let inner = self.inner.borrow();
        Size {
            database: size_of(&database_path(&inner.folder)),
            journal: inner.journal.len(),
            live: inner.database.as_ref().map_or(0, Database::live),
        }
    }
}

impl Inner {
    /// The database, opened anew if a fault closed it.
    fn database(&mut self) -> Result<&mut Database, Fault> {
        let database = match self.database.take() {
            Some(database) => database,
            None => self.open_anew()?,
        };
        Ok(self.database.insert(database))
    }

    fn open_anew(&mut self) -> Result<Database, Fault> {
        if let Some(why) = &self.given_up {
            return Err(Fault::Damaged(why.clone()));
        }
        let opened = self.try_open_anew();
        self.given_up = match &opened {
            // Whoever holds in memory what it knew would go on as if it were still kept, so it is not made anew here.
            Err(Fault::Damaged(why)) => Some(why.clone()),
            // What failed before holds it, and does not end.
            Err(Fault::Io(error)) if error.kind() == io::ErrorKind::ResourceBusy => Some(error.to_string()),
            _ => None,
        };
        if let Some(why) = &self.given_up {
            tracing::error!(why, "the database cannot be opened anew by this process");
        }
        opened
    }

    fn try_open_anew(&mut self) -> Result<Database, Fault> {
        self.journal.settle()?;
        let again = |error: OpenError| match error {
            OpenError::Database(fault) => fault,
            OpenError::Folder { source, .. } => Fault::Io(source),
            error => Fault::Damaged(error.to_string()),
        };
        let found = read_journal(&self.folder, &self.files, self.bounds).map_err(again)?;
        let found = found.filter(|found| found.journal.last() == self.journal.last());
        let found = found.ok_or_else(|| Fault::Damaged("the journal has changed under it".to_owned()))?;
        let database = standing(&self.folder, &self.files, Some(&found))?;
        if database.applied() != found.journal.last() {
            return Err(Fault::Damaged("it knows more than the journal".to_owned()));
        }
        self.journal = found.journal;
        Ok(database)
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), CommitError> {
        let planned = self.database().and_then(|database| change::plan(records, database));
        let change = planned.map_err(|fault| self.fault(fault))?;
        if change.writes.is_empty() {
            return Ok(());
        }
        // Asked before anything was written, it is as well as before, and what is kept can still be read.
        let journal = if change.weight.own { journal::room_for(change.iter()) } else { 0 };
        self.database()
            .and_then(|database| database.has_room(change.iter(), journal))
            .map_err(CommitError::database)?;
        if !change.weight.own {
            let write = |database: &mut Database| {
                database.write(change.iter(), change.weight, database.applied())?;
                database.flush()
            };
            return self.database().and_then(write).map_err(|fault| self.fault(fault));
        }
        let number =
            self.journal.append(change.iter(), change.weight.own_live).map_err(CommitError::journal)?;
        // It is durable now. If the database cannot take it, it gets it from the journal when it is opened anew.
        let written =
            self.database().and_then(|database| database.write(change.iter(), change.weight, number));
        if let Err(fault) = written {
            tracing::warn!(%fault, "the database lags behind the journal until it can be opened anew");
            self.database = None;
        }
        self.compact_if_bloated();
        Ok(())
    }

    /// Nothing is done with a database that had a fault but opening it anew.
    fn fault(&mut self, fault: Fault) -> CommitError {
        self.database = None;
        match self.given_up {
            Some(_) => CommitError::Lost(fault),
            None => CommitError::database(fault),
        }
    }

    fn compact_if_bloated(&mut self) {
        if !self.journal.is_bloated() {
            return;
        }
        let before = self.journal.len();
        // The journal forgets deletions and peers' entries: the database must not need them any more.
        let flushed = self.database().and_then(Database::flush);
        let compacted = match flushed {
            Ok(()) => self.journal.compact(&self.folder),
            Err(fault) => {
                tracing::warn!(%fault, "failed to write out the database before compacting the journal");
                self.database = None;
                return;
            }
        };
        match compacted {
            Ok(()) => tracing::debug!(before, after = self.journal.len(), "compacted the journal"),
            Err(error) => tracing::warn!(?error, "failed to compact the journal; it goes on growing"),
        }
    }
}

struct Risen {
    journal: Journal,
    database: Database,
    fresh: bool,
    rebuilt: Option<Rebuilt>,
}

fn read_journal(folder: &Path, files: &Arc<dyn Files>, bounds: Bounds) -> Result<Option<Found>, OpenError> {
    Journal::open(folder, files.clone(), bounds.compact_above).map_err(|error| unreadable(folder, error))
}

fn unreadable(folder: &Path, error: Unreadable) -> OpenError {
    let path = Journal::path_in(folder);
    match error {
        Unreadable::Io(source) => OpenError::Folder { path, source },
        Unreadable::Damaged { offset, why } => OpenError::JournalDamaged { path, offset, why },
    }
}

/// Brings the database to where the journal is, or makes one of them anew from the other.
// spec: LED-8
fn rise(
    folder: &Path,
    files: &Arc<dyn Files>,
    bounds: Bounds,
    found: Option<Found>,
) -> Result<Risen, OpenError> {
    let path = database_path(folder);
    let journal_from = |database: &Database| {
        Journal::create(folder, files.clone(), bounds.compact_above, database.applied(), |draft| {
            database.each(|key, value| if is_own(key, value) { Ok(draft.push(key, value)?) } else { Ok(()) })
        })
    };
    let exists = path.try_exists().map_err(|source| OpenError::Folder { path: path.clone(), source })?;
    let standing = standing(folder, files, found.as_ref());
    match (found, standing) {
        (Some(found), Ok(database)) if database.applied() == found.journal.last() => {
            Ok(Risen { journal: found.journal, database, fresh: false, rebuilt: None })
        }
        (found, Ok(database)) => {
            // A start that was cut off before its journal was there left an empty database.
            let fresh = found.is_none() && database.live() == 0 && database.applied() == 0;
            let why =
                if found.is_some() { "the journal had lost its end" } else { "the journal was missing" };
            let rebuilt = (!fresh).then(|| Rebuilt { why: why.to_owned(), set_aside: None });
            if !fresh {
                tracing::warn!("{why}: writing it anew from the database");
            }
            let journal = journal_from(&database).map_err(OpenError::Database)?;
            Ok(Risen { journal, database, fresh, rebuilt })
        }
        (found, Err(Fault::Damaged(why))) => {
            let fresh = found.is_none() && !exists;
            let set_aside = if exists {
                Some(set_aside(folder).map_err(|source| OpenError::Folder { path: path.clone(), source })?)
            } else {
                None
            };
            if !fresh {
                tracing::warn!(
                    why, set_aside = ?set_aside, "the database cannot be used: making it anew from the journal; peers' entries have to be fetched again"
                );
            }
            let database = Database::create(&path, files, |database| match &found {
                Some(found) => rebuild(database, found),
                None => Ok(()),
            });
            let database = database.map_err(OpenError::Database)?;
            let journal = match found {
                Some(found) => found.journal,
                None => journal_from(&database).map_err(OpenError::Database)?,
            };
            let rebuilt = (!fresh).then_some(Rebuilt { why, set_aside });
            Ok(Risen { journal, database, fresh, rebuilt })
        }
        (_, Err(fault)) => Err(OpenError::Database(fault)),
    }
}

/// The database as it stands, brought to where the journal is.
fn standing(folder: &Path, files: &Arc<dyn Files>, found: Option<&Found>) -> Result<Database, Fault> {
    let path = database_path(folder);
    if !path.try_exists()? {
        return Err(Fault::Damaged("the database is missing".to_owned()));
    }
    let database = Database::open(&path, files.clone())?;
    match found {
        Some(found) if database.applied() <= found.journal.last() => catch_up(database, found),
        Some(found) => database.checked_ahead(&found.index),
        None => database.checked_ahead(&Index::new()),
    }
}

/// Does in the database what only the journal has, which is synced first, and compares the two.
fn catch_up(mut database: Database, found: &Found) -> Result<Database, Fault> {
    let applied = database.applied();
    if applied < found.base {
        return Err(Fault::Damaged("it is older than the beginning of the journal".to_owned()));
    }
    found.journal.walk(found.base, |number, _, writes| {
        if number > applied { database.replay(writes, number) } else { Ok(()) }
    })?;
    database.check(&found.index)?;
    Ok(database)
}

/// Fills an empty database from the journal. Peers' entries that happen to stand there would be islands.
fn rebuild(database: &mut Database, found: &Found) -> Result<(), Fault> {
    found.journal.walk(found.base, |number, _, writes| {
        let own = writes.iter().map(|&(key, value)| (key, value.filter(|value| is_own(key, value))));
        database.replay(&own.collect::<Vec<_>>(), number)
    })?;
    Ok(())
}

impl From<Unreadable> for Fault {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Io(error) => Self::Io(error),
            // It was read whole a moment ago.
            Unreadable::Damaged { why, .. } => Self::Io(io::Error::other(why)),
        }
    }
}

/// Copies a database that has run away in size into a fresh one. If that fails, the old one serves on.
fn shrink(folder: &Path, files: &Arc<dyn Files>, database: Database) -> Result<Database, Fault> {
    let [path, next, old] = ["db", "db.next", "db.old"].map(|name| folder.join(name));
    let before = database.size();
    match Database::create(&next, files, |fresh| fresh.copy(&database)) {
        Ok(fresh) => drop(fresh),
        Err(fault) => {
            tracing::warn!(%fault, bytes = before, "failed to copy the oversized database into a fresh one");
            remove_folder(&next)?;
            return Ok(database);
        }
    }
    drop(database);
    // Cut off between the two, the next start takes the old one back.
    fs::rename(&path, &old)?;
    fs::rename(&next, &path)?;
    files.sync_folder(folder)?;
    remove_folder(&old)?;
    let database = Database::open(&path, files.clone())?;
    tracing::info!(before, after = database.size(), "copied the oversized database into a fresh one");
    Ok(database)
}

fn database_path(folder: &Path) -> PathBuf {
    folder.join("db")
}

/// Makes the folder, and those it is in, so that they survive a loss of power.
fn make_folder(folder: &Path, files: &dyn Files) -> io::Result<()> {
    let named = folder.ancestors().take_while(|path| !path.as_os_str().is_empty());
    let missing: Vec<_> = named.take_while(|path| !path.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for made in missing {
        let within = made.parent().filter(|path| !path.as_os_str().is_empty());
        files.sync_folder(within.unwrap_or_else(|| Path::new(".")))?;
    }
    Ok(())
}

/// Removes what earlier starts may have left half done.
fn tidy(folder: &Path, files: &dyn Files) -> io::Result<()> {
    let [path, old] = ["db", "db.old"].map(|name| folder.join(name));
    if !path.try_exists()? && old.try_exists()? {
        fs::rename(&old, &path)?;
    }
    // An earlier start may have ended between a rename and its way to the disk. Whatever follows counts on the names.
    files.sync_folder(folder)?;
    for name in ["db.old", "db.next", "db.new"] {
        remove_folder(&folder.join(name))?;
    }
    Journal::tidy(folder)
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|source| OpenError::Folder { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::Locked { path }),
        Err(fs::TryLockError::Error(source)) => Err(OpenError::Folder { path, source }),
    }
}

/// Moves the database to a name of its own, and removes the oldest of those that were moved before.
fn set_aside(folder: &Path) -> io::Result<PathBuf> {
    let mut numbers = Vec::new();
    for file in fs::read_dir(folder)? {
        let name = file?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("db.broken-")?.parse::<u64>().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    let named = |number: u64| folder.join(format!("db.broken-{number}"));
    let aside = named(numbers.last().map_or(1, |last| last.saturating_add(1)));
    fs::rename(database_path(folder), &aside)?;
    for &number in numbers.iter().rev().skip(KEPT_ASIDE - 1) {
        remove_folder(&named(number))?;
    }
    Ok(aside)
}

fn mark_path(folder: &Path) -> PathBuf {
    folder.join("clean")
}

/// What the mark says, so that a mark fits only the journal it was left for.
fn mark_of(journal: &Journal) -> String {
    format!("closed after commit {} at byte {}\n", journal.last(), journal.len())
}

/// Reads the mark and removes it: from now on every end but a close is a crash.
// spec: LED-5
fn take_mark(folder: &Path, files: &dyn Files) -> io::Result<Option<String>> {
    let path = mark_path(folder);
    let mark = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    fs::remove_file(&path)?;
    files.sync_folder(folder)?;
    Ok(String::from_utf8(mark).ok())
}
