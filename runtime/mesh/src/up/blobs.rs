//! Bytes by their hash, in a folder: modules, inputs, checkpoints, outputs.
//!
//! A blob lies under `own/` if this device's owner needs it; under `lent/` if an attempt needs it that runs here for
//! somebody, until that attempt is forgotten. One that is needed for both lies in both.
//!
//! What lies under `own/` goes when the node says so, as of a checkpoint that the next one replaced. Everything else there
//! was put there for a task: it is looked again and again whether one has a use for it still ([`Blobs::let_go`]). What was
//! given to a task that has ended, or sent here for one that never came to be, stays for a day, so that it can be run once
//! more; where half of the room is used, for an hour. A result stays as long as its task is remembered, but where room is
//! wanted for a month only.
// spec: DEL-5, ARC-7

use super::holders::Holders;
use super::is_at_limits;
use super::partials::{Coming, Partials};
use super::trash::Trash;
use mesh_protocol::frame::AttemptId;
use mesh_protocol::ids::{BlobHash, from_hex, to_hex};
use mesh_protocol::task::Blob;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// What is lent and belongs to no attempt that is known (its list was lost in a crash) goes after this long. The
/// longest task takes four weeks, and its result may wait a week.
const LOST_AFTER: Duration = Duration::from_secs(35 * 24 * 3600);

/// How long what no task has a use for stays under `own/`, and where room is wanted. The hour is for whoever sends the
/// inputs of a task one after another, and for a result of which the node has not heard yet.
const UNUSED_FOR: (Duration, Duration) = (Duration::from_secs(24 * 3600), Duration::from_secs(3600));
/// How long a result stays where room is wanted: whoever has not fetched it in a month has forgotten it.
const RESULT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// How soon it is looked again for want of room. Each look asks the node about all its tasks.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What tasks have a use for, and their results.
type Needed = (BTreeSet<BlobHash>, BTreeSet<BlobHash>);

/// For whom a blob is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// This device's owner.
    Own,
    /// An attempt that runs here for somebody.
    Attempt(AttemptId),
}

/// How long nothing goes by its age after a start, and after the wall clock was set by more than that.
const STEADY: Duration = Duration::from_secs(10 * 60);
const CLOCK_SET: Duration = Duration::from_secs(60);

/// Bytes of a blob that is being written which are kept in memory: if the same blob is here already, which outputs of
/// few bytes often are, no file is made at all.
const IN_MEMORY: usize = 64 * 1024;

/// The folder.
pub(crate) struct Blobs {
    root: PathBuf,
    most: u64,
    used: AtomicU64,
    names: AtomicU64,
    held: Mutex<Holders>,
    coming: Arc<Partials>,
    trash: Trash,
    /// Says what is needed under `own/`, once there is a node.
    needed: OnceLock<Box<dyn Fn() -> Needed + Send + Sync>>,
    /// What lies under `own/` and was of use again, and when. No file tells: what a task has open is another once its
    /// times are. Held by whoever takes something away by its age.
    renewed: Mutex<BTreeMap<PathBuf, Instant>>,
    clock: Mutex<Clock>,
    /// When it was looked last for want of room.
    looked: Mutex<Option<Instant>>,
}

/// Whether ages by the wall clock can be believed: one that is ahead for a moment, as before it is told the time, would make
/// everything old.
#[derive(Debug)]
struct Clock {
    seen: (SystemTime, Instant),
    since: Instant,
    steady_after: Duration,
}

impl Clock {
    fn new(steady_after: Duration) -> Self {
        Self { seen: (SystemTime::now(), Instant::now()), since: Instant::now(), steady_after }
    }

    /// Has it gone as it should for long enough?
    fn is_steady(&mut self) -> bool {
        let (wall, now) = (SystemTime::now(), Instant::now());
        let expected = self.seen.0 + now.duration_since(self.seen.1);
        let off = wall.duration_since(expected).unwrap_or_else(|behind| behind.duration());
        if off > CLOCK_SET {
            self.since = now;
        }
        self.seen = (wall, now);
        now.duration_since(self.since) >= self.steady_after
    }
}

impl std::fmt::Debug for Blobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blobs").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Blobs {
    /// Opens the folder, making it if need be, and clears away what an earlier run left half done. At most `most` bytes
    /// are kept in it.
    pub(crate) fn open(root: &Path, most: u64) -> io::Result<Self> {
        let folder = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        for area in ["own", "lent"] {
            let area = root.join(area);
            folder(&area)?;
            // All at once, so that a blob's own folder never has to be made durable.
            for byte in 0..=u8::MAX {
                folder(&area.join(to_hex(&[byte])))?;
            }
            sync_folder(&area)?;
        }
        let partial = root.join("partial");
        if partial.is_dir() {
            fs::remove_dir_all(&partial)?;
        }
        folder(&partial)?;
        sync_folder(root)?;
        let held = Holders::open(root)?;
        let this = Self {
            root: root.to_owned(),
            most,
            used: AtomicU64::new(0),
            names: AtomicU64::new(0),
            held: Mutex::new(held),
            coming: Arc::new(Partials::open(root.join("coming"), most)?),
            trash: Trash::open(root.join("trash"))?,
            needed: OnceLock::new(),
            renewed: Mutex::default(),
            clock: Mutex::new(Clock::new(STEADY)),
            looked: Mutex::default(),
        };
        this.count()?;
        Ok(this)
    }

    /// Adds up what is there, and takes away what is lent to nobody.
    fn count(&self) -> io::Result<()> {
        let mut used = 0;
        for area in ["own", "lent"] {
            for folder in fs::read_dir(self.root.join(area))? {
                for file in fs::read_dir(folder?.path())? {
                    let file = file?;
                    let meta = file.metadata()?;
                    let hash = file.file_name().to_str().and_then(|name| from_hex(name).ok()).map(BlobHash);
                    let known = hash.is_some_and(|hash| self.held().needs(&hash));
                    let old =
                        || meta.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > LOST_AFTER));
                    if hash.is_none() || (area == "lent" && !known && old()) {
                        tracing::debug!(path = %file.path().display(), "took away a blob that is lent to nobody");
                        fs::remove_file(file.path())?;
                    } else {
                        used += meta.len();
                    }
                }
            }
        }
        self.used.store(used, Ordering::Relaxed);
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Holders> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, area: &str, hash: &BlobHash) -> PathBuf {
        let name = hash.to_string();
        self.root.join(area).join(&name[..2]).join(name)
    }

    fn place_for(&self, keeper: Keeper, hash: &BlobHash) -> PathBuf {
        self.place(if keeper == Keeper::Own { "own" } else { "lent" }, hash)
    }

    /// Where a blob lies, if it is here.
    pub(crate) fn path(&self, hash: &BlobHash) -> Option<PathBuf> {
        ["own", "lent"].into_iter().map(|area| self.place(area, hash)).find(|path| path.is_file())
    }

    /// Bytes in the folder.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Remembers that an attempt needs these, before any of them is looked for.
    pub(crate) fn hold(&self, attempt: AttemptId, hashes: &[BlobHash]) -> io::Result<()> {
        self.held().hold(attempt, hashes)
    }

    /// An attempt is over and forgotten: what was lent for it alone goes.
    pub(crate) fn forget(&self, attempt: AttemptId) {
        let mut held = self.held();
        for hash in held.forget(attempt) {
            self.remove(&self.place("lent", &hash));
        }
    }

    /// Only these attempts are left, and the outputs that are here of those that ended: what a crash took from the list,
    /// or left in it, is mended.
    // spec: DEL-5, ARC-7
    pub(crate) fn agree(&self, kept: impl Iterator<Item = (AttemptId, Option<BlobHash>)>) {
        let kept: BTreeMap<AttemptId, Option<BlobHash>> = kept.collect();
        // Before any goes: the same blob may be of both kinds.
        for (attempt, output) in &kept {
            if let Some(hash) = output.filter(|hash| self.place("lent", hash).is_file())
                && let Err(error) = self.hold(*attempt, &[hash])
            {
                tracing::warn!(%error, "that a result is needed is not written down yet");
            }
        }
        let gone: Vec<AttemptId> = self.held().attempts().filter(|it| !kept.contains_key(it)).collect();
        gone.into_iter().for_each(|attempt| self.forget(attempt));
    }

    /// An attempt needs one of its blobs no more.
    pub(crate) fn release(&self, attempt: AttemptId, hash: &BlobHash) {
        let mut held = self.held();
        if held.release(attempt, hash) {
            self.remove(&self.place("lent", hash));
        }
    }

    /// This device's owner needs it no more.
    pub(crate) fn unneeded(&self, hash: &BlobHash) {
        self.remove(&self.place("own", hash));
    }

    /// From here on it is known what is needed under `own/`.
    pub(crate) fn need_by(&self, needed: impl Fn() -> Needed + Send + Sync + 'static) {
        let _once = self.needed.set(Box::new(needed));
    }

    /// Takes away what this device's owner needs no more. Says how many bytes are left under `own/`.
    // spec: ARC-7
    pub(crate) fn let_go(&self) -> io::Result<u64> {
        let may_go = self.clock.lock().unwrap_or_else(PoisonError::into_inner).is_steady();
        let needed = self.needed.get().map(|needed| needed());
        let scarce = self.used() > self.most / 2;
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.retain(|_, at| at.elapsed() <= RESULT_FOR);
        drop(renewed);
        let mut left = 0;
        for folder in fs::read_dir(self.root.join("own"))? {
            for file in fs::read_dir(folder?.path())? {
                let path = file?.path();
                let name = path.file_name().and_then(|name| name.to_str());
                let hash = name.and_then(|name| from_hex(name).ok()).map(BlobHash);
                let longest = match (&needed, hash) {
                    (Some((in_use, results)), Some(hash)) if !in_use.contains(&hash) => {
                        match (results.contains(&hash), scarce) {
                            (true, true) => RESULT_FOR,
                            (true, false) => Duration::MAX,
                            (false, true) => UNUSED_FOR.1,
                            (false, false) => UNUSED_FOR.0,
                        }
                    }
                    _ => Duration::MAX,
                };
                let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
                let Ok(meta) = fs::metadata(&path) else { continue };
                let used = renewed.get(&path).is_some_and(|at| at.elapsed() <= longest);
                if may_go && !used && meta.modified()?.elapsed().is_ok_and(|age| age > longest) {
                    renewed.remove(&path);
                    self.remove(&path);
                } else {
                    left += meta.len();
                }
            }
        }
        Ok(left)
    }

    /// What lies under `own/` is of use from now on: the node may not know of it yet. False if it is there no more.
    fn renew(&self, path: &Path) -> bool {
        let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        let there = path.is_file();
        if there {
            renewed.insert(path.to_owned(), Instant::now());
        }
        there
    }

    /// Takes away what is lent of a blob if it is not what it is called by, so that it comes again. Others may need it,
    /// so that nothing counts here but its hash.
    pub(crate) fn drop_damaged(&self, hash: &BlobHash) {
        let place = self.place("lent", hash);
        if place.is_file() && is_damaged(&place, hash).is_ok_and(|damaged| damaged) {
            tracing::warn!(path = %place.display(), "a blob is damaged; it is fetched again");
            self.remove(&place);
        }
    }

    fn remove(&self, path: &Path) {
        let len = fs::metadata(path).map_or(0, |meta| meta.len());
        match self.trash.throw(path) {
            Ok(()) => drop(self.used.fetch_sub(len, Ordering::Relaxed)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(path = %path.display(), %error, "a blob could not be taken away"),
        }
    }

    /// A name for a file that becomes a blob once it is whole.
    pub(crate) fn partial(&self) -> PathBuf {
        self.root.join("partial").join(self.names.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// The place where a blob is fetched to, with what is there of it.
    pub(crate) fn coming(&self, keeper: Keeper, hash: &BlobHash) -> Coming {
        self.coming.take(keeper, hash)
    }

    /// Begins to write a blob.
    pub(crate) fn writer(&self, keeper: Keeper) -> Writer<'_> {
        Writer { blobs: self, keeper, bytes: Vec::new(), file: None, hasher: blake3::Hasher::new(), len: 0 }
    }

    /// Keeps bytes.
    pub(crate) fn put(&self, keeper: Keeper, bytes: &[u8]) -> io::Result<Blob> {
        let mut writer = self.writer(keeper);
        writer.write_all(bytes)?;
        writer.finish()
    }

    /// Takes in a whole file made under [`Blobs::partial`] or [`Blobs::coming`], whose hash is known. `lasting`: it is
    /// durable when this returns; else it is there after a crash only if that comes late enough.
    pub(crate) fn adopt(
        &self,
        keeper: Keeper,
        partial: &Path,
        hash: BlobHash,
        lasting: bool,
    ) -> io::Result<Blob> {
        self.held_or_not(keeper, &hash, || self.adopt_held(keeper, partial, hash, lasting))
    }

    /// What an attempt could not keep is not held for it. What it held before stays: it may be here as it should be.
    // spec: ARC-7
    fn held_or_not<T>(
        &self,
        keeper: Keeper,
        hash: &BlobHash,
        keep: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let Keeper::Attempt(attempt) = keeper else { return keep() };
        let before = self.held().holds(attempt, hash);
        keep().inspect_err(|_| {
            if !before {
                self.release(attempt, hash);
            }
        })
    }

    fn adopt_held(&self, keeper: Keeper, partial: &Path, hash: BlobHash, lasting: bool) -> io::Result<Blob> {
        let len = fs::metadata(partial)?.len();
        if self.is_kept(keeper, &hash, len, lasting)? {
            fs::remove_file(partial)?;
            return Ok(Blob { hash, len });
        }
        if lasting {
            File::open(partial)?.sync_data()?;
        }
        let place = self.place_for(keeper, &hash);
        let there = fs::metadata(&place).ok().filter(fs::Metadata::is_file);
        let before = there.as_ref().map_or(0, fs::Metadata::len);
        self.room(len.saturating_sub(before))?;
        fs::rename(partial, &place)?;
        if keeper == Keeper::Own {
            // It may have lain here half done for days.
            self.renew(&place);
        }
        self.used.fetch_add(len, Ordering::Relaxed);
        self.used.fetch_sub(before, Ordering::Relaxed);
        if there.is_some() {
            tracing::warn!(path = %place.display(), "a blob was damaged; it came again and took its place");
            self.mend_beside(&place, &hash, len)?;
        }
        if lasting {
            sync_parent(&place)?;
        }
        Ok(Blob { hash, len })
    }

    /// Keeps, for one more, a blob that is here as it should be. False if it is not: the disk may have lost some of it
    /// since, and who sends it again would mend it.
    fn is_kept(&self, keeper: Keeper, hash: &BlobHash, len: u64, lasting: bool) -> io::Result<bool> {
        if let Keeper::Attempt(attempt) = keeper {
            self.hold(attempt, &[*hash])?;
        }
        let place = self.place_for(keeper, hash);
        if !is_sound(&place, hash, len) || (keeper == Keeper::Own && !self.renew(&place)) {
            return Ok(false);
        }
        if lasting {
            // It may have come without being made to last.
            File::open(&place)?.sync_data()?;
            sync_parent(&place)?;
        }
        Ok(true)
    }

    /// The same blob may be kept for the other side, as the same damaged file.
    fn mend_beside(&self, sound: &Path, hash: &BlobHash, len: u64) -> io::Result<()> {
        for other in ["own", "lent"].map(|area| self.place(area, hash)) {
            if other != sound && other.is_file() && !is_sound(&other, hash, len) {
                let before = fs::metadata(&other)?.len();
                let beside = self.partial();
                fs::hard_link(sound, &beside)?;
                fs::rename(&beside, &other)?;
                self.used.fetch_add(len, Ordering::Relaxed);
                self.used.fetch_sub(before, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Keeps, for another too, a blob that is here. False if it is not.
    pub(crate) fn share(&self, keeper: Keeper, hash: &BlobHash) -> io::Result<bool> {
        if let Keeper::Attempt(attempt) = keeper {
            self.hold(attempt, &[*hash])?;
        }
        let place = self.place_for(keeper, hash);
        if place.is_file() && (keeper != Keeper::Own || self.renew(&place)) {
            return Ok(true);
        }
        let Some(other) = self.path(hash) else { return Ok(false) };
        let linked = fs::hard_link(&other, &place);
        match linked {
            Ok(()) => {
                self.used.fetch_add(fs::metadata(&place)?.len(), Ordering::Relaxed);
                if keeper == Keeper::Own {
                    // It may have been lent for days.
                    self.renew(&place);
                    File::open(&place)?.sync_data()?;
                    sync_parent(&place)?;
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
            // The other side took it away at this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Is there room for so many bytes more?
    pub(super) fn room(&self, more: u64) -> io::Result<()> {
        let full = || self.used().saturating_add(more) > self.most;
        if full() && self.may_look() {
            self.let_go()?;
        }
        if full() {
            let text =
                format!("{} bytes are kept for tasks here, which is all the room given to them", self.used());
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, text));
        }
        Ok(())
    }

    fn may_look(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let may = looked.is_none_or(|at| at.elapsed() >= LOOK_AGAIN);
        if may {
            *looked = Some(Instant::now());
        }
        may
    }
}

/// Does a file hold what it is called by?
pub(super) fn is_sound(path: &Path, hash: &BlobHash, len: u64) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.len() == len) && hash_of(path).is_ok_and(|it| it == *hash)
}

/// Does a file hold something else than what it is called by, or nothing that can be read? What is not read for want of
/// what other work here holds may be sound.
pub(super) fn is_damaged(path: &Path, hash: &BlobHash) -> io::Result<bool> {
    match hash_of(path) {
        Err(error) if is_at_limits(&error) => Err(error),
        read => Ok(read.ok() != Some(*hash)),
    }
}

fn hash_of(path: &Path) -> io::Result<BlobHash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(BlobHash(*hasher.finalize().as_bytes()))
}

pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A file that goes unless it was taken in.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _taken_in = fs::remove_file(&self.0);
    }
}

/// A blob that is being written. Dropped, it leaves nothing.
pub(crate) struct Writer<'a> {
    blobs: &'a Blobs,
    keeper: Keeper,
    /// What is not in the file.
    bytes: Vec<u8>,
    file: Option<(File, Partial)>,
    hasher: blake3::Hasher,
    len: u64,
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.blobs.room(self.len.saturating_add(bytes.len() as u64))?;
        if self.bytes.len() + bytes.len() > IN_MEMORY {
            self.spill()?;
        }
        let count = match &mut self.file {
            Some((file, _)) => file.write(bytes)?,
            None => self.bytes.write(bytes)?,
        };
        self.hasher.update(&bytes[..count]);
        self.len += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer<'_> {
    /// Puts into the file what is in memory, and gives its path.
    fn spill(&mut self) -> io::Result<PathBuf> {
        let (mut file, partial) = match self.file.take() {
            Some(file) => file,
            None => {
                let path = self.blobs.partial();
                let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
                (file, Partial(path))
            }
        };
        file.write_all(&self.bytes)?;
        self.bytes.clear();
        let path = partial.0.clone();
        self.file = Some((file, partial));
        Ok(path)
    }

    /// The blob is whole, and durable when this returns.
    pub(crate) fn finish(mut self) -> io::Result<Blob> {
        let hash = BlobHash(*self.hasher.finalize().as_bytes());
        let (blobs, keeper) = (self.blobs, self.keeper);
        blobs.held_or_not(keeper, &hash, || {
            if self.file.is_none() && blobs.is_kept(keeper, &hash, self.len, true)? {
                return Ok(Blob { hash, len: self.len });
            }
            blobs.adopt(keeper, &self.spill()?, hash, true)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::ids::TaskId;

    fn attempt(number: u32) -> AttemptId {
        AttemptId { task: TaskId([7; 32]), attempt: number }
    }

    fn open(dir: &tempfile::TempDir) -> Blobs {
        Blobs::open(dir.path(), 1000).unwrap()
    }

    #[test]
    fn what_is_put_is_there_under_its_hash_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let blob = open(&dir).put(Keeper::Own, b"sun").unwrap();
        assert_eq!(blob, Blob { hash: BlobHash(*blake3::hash(b"sun").as_bytes()), len: 3 });
        let blobs = open(&dir);
        assert_eq!(fs::read(blobs.path(&blob.hash).unwrap()).unwrap(), b"sun");
        assert_eq!(blobs.used(), 3);
        assert_eq!(blobs.put(Keeper::Own, b"sun").unwrap(), blob);
        assert_eq!(blobs.used(), 3, "the same bytes take no room twice");
    }

    // spec: DEL-5
    #[test]
    fn a_damaged_blob_is_mended_by_sending_it_again() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = open(&dir);
        let blob = blobs.put(Keeper::Own, b"sunshine").unwrap();
        assert!(blobs.share(Keeper::Attempt(attempt(1)), &blob.hash).unwrap());
        for damaged in [&b"sunsh"[..], b"sunshinE", b""] {
            fs::write(blobs.path(&blob.hash).unwrap(), damaged).unwrap();
            let blobs = open(&dir);
            assert_eq!(blobs.put(Keeper::Own, b"sunshine").unwrap(), blob);
            for area in ["own", "lent"] {
                assert_eq!(fs::read(blobs.place(area, &blob.hash)).unwrap(), b"sunshine", "{area}");
            }
            assert_eq!(blobs.used(), 16);
        }
    }

    // spec: DEL-5
    #[test]
    fn of_what_is_lent_the_damaged_goes_to_come_again() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = open(&dir);
        let sound = blobs.put(Keeper::Attempt(attempt(1)), b"sun").unwrap();
        let lent = blobs.put(Keeper::Attempt(attempt(1)), b"rain").unwrap();
        let own = blobs.put(Keeper::Own, b"wind").unwrap();
        for blob in [&lent, &own] {
            fs::write(blobs.path(&blob.hash).unwrap(), b"mist").unwrap();
        }
        for blob in [&sound, &lent, &own] {
            blobs.drop_damaged(&blob.hash);
        }
        assert!(blobs.path(&sound.hash).is_some() && blobs.path(&own.hash).is_some());
        assert!(blobs.path(&lent.hash).is_none());
        assert_eq!(blobs.used(), 7);
    }

    #[test]
    fn half_a_blob_is_gone_when_dropped_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let partials = || fs::read_dir(dir.path().join("partial")).unwrap().count();
        let blobs = Blobs::open(dir.path(), 1 << 20).unwrap();
        let half = || {
            let mut writer = blobs.writer(Keeper::Own);
            writer.write_all(&[1; IN_MEMORY]).unwrap();
            assert_eq!(partials(), 0, "what is small needs no file yet");
            writer.write_all(b"2").unwrap();
            assert_eq!(partials(), 1);
            writer
        };
        drop(half());
        assert_eq!(partials(), 0);
        std::mem::forget(half());
        assert_eq!(partials(), 1, "as after a crash");
        drop(open(&dir));
        assert_eq!(partials(), 0);
    }

    // spec: DEL-5
    #[test]
    fn a_lent_blob_goes_with_the_last_attempt_that_needs_it() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = open(&dir);
        let blob = blobs.put(Keeper::Attempt(attempt(1)), b"wind").unwrap();
        assert!(blobs.share(Keeper::Attempt(attempt(2)), &blob.hash).unwrap());
        blobs.forget(attempt(1));
        assert!(blobs.path(&blob.hash).is_some());
        drop(blobs);
        let blobs = open(&dir);
        blobs.unneeded(&blob.hash);
        assert!(blobs.path(&blob.hash).is_some(), "the owner has no say in what is lent");
        blobs.forget(attempt(2));
        assert_eq!((blobs.path(&blob.hash), blobs.used()), (None, 0));
        drop(blobs);
        assert!(!open(&dir).held().needs(&blob.hash));
    }

    #[test]
    fn what_the_owner_needs_stays_when_an_attempt_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = open(&dir);
        let blob = blobs.put(Keeper::Own, b"water").unwrap();
        assert!(blobs.share(Keeper::Attempt(attempt(1)), &blob.hash).unwrap());
        blobs.forget(attempt(1));
        assert!(blobs.path(&blob.hash).is_some());
        blobs.unneeded(&blob.hash);
        assert_eq!(blobs.path(&blob.hash), None);
        assert!(!blobs.share(Keeper::Own, &blob.hash).unwrap());
    }

    // spec: DEL-5, ARC-7
    #[test]
    fn after_a_crash_a_result_that_waits_is_needed_and_what_is_over_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = open(&dir);
        let result = blobs.put(Keeper::Attempt(attempt(1)), b"result").unwrap().hash;
        let module = blobs.put(Keeper::Attempt(attempt(2)), b"module").unwrap().hash;
        blobs.put(Keeper::Attempt(attempt(2)), b"result").unwrap();
        drop(blobs);
        // What was said of the first did not reach the disk; that the second is over did not either.
        let list = dir.path().join("holders");
        let text = fs::read_to_string(&list).unwrap();
        let second: String = text.split_inclusive('\n').filter(|line| line.contains("-2 ")).collect();
        fs::write(&list, second).unwrap();
        let blobs = open(&dir);
        let elsewhere = Some(BlobHash([9; 32]));
        blobs.agree([(attempt(1), Some(result)), (attempt(3), elsewhere)].into_iter());
        assert!(blobs.path(&result).is_some() && blobs.path(&module).is_none());
        drop(blobs);
        let blobs = open(&dir);
        assert!(blobs.held().needs(&result) && !blobs.held().needs(&module));
        blobs.forget(attempt(1));
        assert_eq!(blobs.path(&result), None);
    }

    // spec: ARC-7
    #[test]
    fn what_could_not_be_kept_is_not_held_and_what_was_held_before_is() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = open(&dir);
        let keeper = Keeper::Attempt(attempt(1));
        let sun = blobs.put(keeper, b"sun").unwrap().hash;
        let rain = BlobHash(*blake3::hash(b"rain").as_bytes());
        // There is nothing to write it into.
        fs::remove_dir(dir.path().join("partial")).unwrap();
        assert!(blobs.put(keeper, b"rain").is_err());
        assert!(!blobs.held().needs(&rain), "it would be for as long as the attempt runs");
        fs::write(blobs.path(&sun).unwrap(), b"su").unwrap();
        assert!(blobs.put(keeper, b"sun").is_err());
        assert!(blobs.held().needs(&sun) && blobs.path(&sun).is_some());
    }

    fn ages(blobs: &Blobs, hash: &BlobHash, by: Duration) {
        blobs.renewed.lock().unwrap().clear();
        let file = File::open(blobs.path(hash).unwrap()).unwrap();
        file.set_modified(SystemTime::now() - by).unwrap();
    }

    // spec: ARC-7
    #[test]
    fn what_no_task_has_a_use_for_goes_after_a_day_and_sooner_where_room_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = open(&dir);
        *blobs.clock.lock().unwrap() = Clock::new(Duration::ZERO);
        let put = |byte: u8| blobs.put(Keeper::Own, &[byte; 100]).unwrap().hash;
        let [used, result, ended, refused] = [1, 2, 3, 4].map(put);
        let (minute, month) = (Duration::from_secs(60), 30 * UNUSED_FOR.0);
        let aged = |age: Duration| [used, result, ended].iter().for_each(|hash| ages(&blobs, hash, age));
        let here = || [used, result, ended, refused].map(|hash| blobs.path(&hash).is_some());
        aged(2 * month);
        assert_eq!(blobs.let_go().unwrap(), 400, "nobody knows yet what is needed");
        blobs.need_by(move || (BTreeSet::from([used]), BTreeSet::from([result])));
        aged(UNUSED_FOR.0 - minute);
        assert_eq!(blobs.let_go().unwrap(), 400, "it may be run once more");
        aged(UNUSED_FOR.0 + minute);
        assert_eq!(blobs.let_go().unwrap(), 300);
        assert_eq!(here(), [true, true, false, true]);
        // Sent once more: by that it is of use again.
        ages(&blobs, &refused, 2 * UNUSED_FOR.0);
        let times = || fs::metadata(blobs.path(&refused).unwrap()).unwrap().modified().unwrap();
        let before = times();
        put(4);
        assert_eq!(times(), before, "a task may have it open, and goes by that");
        blobs.let_go().unwrap();
        assert_eq!(here(), [true, true, false, true]);
        // More than half of the room is used.
        put(5);
        ages(&blobs, &refused, UNUSED_FOR.1 + minute);
        ages(&blobs, &result, month - minute);
        blobs.put(Keeper::Attempt(attempt(1)), &[6; 200]).unwrap();
        blobs.let_go().unwrap();
        assert_eq!((here(), blobs.used()), ([true, true, false, false], 500));
        ages(&blobs, &result, month + minute);
        blobs.put(Keeper::Attempt(attempt(1)), &[7; 450]).unwrap();
        assert!(blobs.path(&result).is_some(), "there is room");
        blobs.put(Keeper::Attempt(attempt(1)), &[8; 100]).unwrap();
        assert_eq!(here(), [true, false, false, false], "what is wanted now goes before what nobody fetched");
        assert!(blobs.put(Keeper::Own, &[9; 200]).is_err());
    }

    // spec: ARC-7
    #[test]
    fn what_was_lent_for_days_and_is_kept_for_oneself_is_of_use_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = open(&dir);
        *blobs.clock.lock().unwrap() = Clock::new(Duration::ZERO);
        blobs.need_by(|| (BTreeSet::new(), BTreeSet::new()));
        let hash = blobs.put(Keeper::Attempt(attempt(1)), &[1; 100]).unwrap().hash;
        ages(&blobs, &hash, 2 * UNUSED_FOR.0);
        assert!(blobs.share(Keeper::Own, &hash).unwrap());
        assert_eq!(blobs.let_go().unwrap(), 100, "its task may be submitted any moment");
        ages(&blobs, &hash, 2 * UNUSED_FOR.0);
        assert_eq!(blobs.let_go().unwrap(), 0);
    }

    // spec: ARC-7
    #[test]
    fn nothing_is_old_by_a_clock_that_was_set_or_that_nobody_has_seen_go() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = open(&dir);
        let hash = blobs.put(Keeper::Own, &[1; 100]).unwrap().hash;
        blobs.need_by(|| (BTreeSet::new(), BTreeSet::new()));
        ages(&blobs, &hash, 2 * UNUSED_FOR.0);
        assert_eq!(blobs.let_go().unwrap(), 100, "it has just begun");
        let (now, at) = (SystemTime::now(), Instant::now());
        let hour_ago = at.checked_sub(Duration::from_secs(3600)).unwrap();
        let clock = |set: Duration| Clock { seen: (now - set, at), since: hour_ago, steady_after: STEADY };
        *blobs.clock.lock().unwrap() = clock(2 * CLOCK_SET);
        assert_eq!(blobs.let_go().unwrap(), 100, "it was set");
        assert_eq!(blobs.let_go().unwrap(), 100, "just before");
        *blobs.clock.lock().unwrap() = clock(Duration::ZERO);
        assert_eq!(blobs.let_go().unwrap(), 0);
    }

    // spec: ARC-7
    #[test]
    fn there_is_a_bound_on_all_together() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = open(&dir);
        let first = blobs.put(Keeper::Own, &[1; 900]).unwrap();
        let error = blobs.put(Keeper::Own, &[2; 101]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        blobs.unneeded(&first.hash);
        blobs.put(Keeper::Own, &[2; 101]).unwrap();
    }
}
