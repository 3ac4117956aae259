//! Blobs of which a part is here: kept over interruptions and restarts, so that a transfer goes on where it stopped,
//! until they are old or too many.
// spec: DEL-5, ARC-7

use super::blobs::Keeper;
use mesh_protocol::ids::BlobHash;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a part of what this device's owner waits for is kept: a result waits for a week.
const OWN_FOR: Duration = Duration::from_secs(8 * 24 * 3600);
/// And of what somebody else's task needs: whoever was cut off comes back within a day or asks another.
const LENT_FOR: Duration = DAY;
/// How far two clocks may be apart, as those of this machine and of one that keeps its files.
const AHEAD: Duration = Duration::from_secs(3600);
/// Parts that nobody fetches at the moment may take so much of what is given to blobs, and be so many.
const SHARE: u64 = 8;
const MOST: usize = 1024;
/// What the transport keeps beside a file that is not whole, and the whole file itself.
const ENDINGS: [&str; 3] = [".part", ".obao", ""];

/// The folder.
pub(crate) struct Partials {
    folder: PathBuf,
    most: u64,
    names: AtomicU64,
    in_use: Mutex<BTreeSet<String>>,
    /// Was a part left here since it was last looked what is too much?
    left: AtomicBool,
}

/// What lies there under one name.
struct Part {
    name: String,
    age: Duration,
    bytes: u64,
}

impl Partials {
    /// Opens the folder, making it if need be. `most` is what is given to blobs altogether.
    pub(crate) fn open(folder: PathBuf, most: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let this = Self {
            folder,
            most: most / SHARE,
            names: AtomicU64::new(0),
            in_use: Mutex::default(),
            left: AtomicBool::new(false),
        };
        this.sweep()?;
        Ok(this)
    }

    fn in_use(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place where a blob is fetched to, with what is there of it. While one fetch has it, another of the same blob
    /// gets a place of its own, which goes with it: nobody waits for a peer that was asked by somebody else.
    pub(crate) fn take(self: &Arc<Self>, keeper: Keeper, hash: &BlobHash) -> Coming {
        // Most blobs come whole, and leave nothing to look for.
        if self.left.swap(false, Ordering::Relaxed)
            && let Err(error) = self.sweep()
        {
            tracing::warn!(%error, "parts of blobs could not be looked through");
        }
        let area = if keeper == Keeper::Own { "own" } else { "lent" };
        let name = format!("{area}-{hash}");
        let first = self.in_use().insert(name.clone());
        let name = match first {
            true => name,
            false => {
                let name = format!("once-{}", self.names.fetch_add(1, Ordering::Relaxed));
                self.in_use().insert(name.clone());
                name
            }
        };
        Coming { path: self.folder.join(&name), partials: self.clone(), name, keep: first }
    }

    fn parts(&self) -> io::Result<Vec<Part>> {
        let mut parts: BTreeMap<String, (Option<SystemTime>, u64)> = BTreeMap::new();
        for file in fs::read_dir(&self.folder)? {
            let file = file?;
            // It may have been taken in meanwhile.
            let (Ok(meta), Ok(name)) = (file.metadata(), file.file_name().into_string()) else { continue };
            let name = name.strip_suffix(".part").or_else(|| name.strip_suffix(".obao")).unwrap_or(&name);
            let part = parts.entry(name.to_owned()).or_default();
            part.0 = part.0.max(meta.modified().ok());
            // A file that is partly there is as long as it will be, and has holes.
            part.1 += meta.blocks() * 512;
        }
        // What was written while the clock was ahead is old: were it new, it would be so for as long, and everything else
        // would go for it.
        let age = |at: SystemTime| match at.elapsed() {
            Ok(age) => age,
            Err(ahead) if ahead.duration() < AHEAD => Duration::ZERO,
            Err(_) => Duration::MAX,
        };
        let age = |at: Option<SystemTime>| at.map_or(Duration::MAX, age);
        Ok(parts.into_iter().map(|(name, (at, bytes))| Part { name, age: age(at), bytes }).collect())
    }

    /// Takes away what is old or too much, the oldest first.
    fn sweep(&self) -> io::Result<()> {
        let mut idle = self.parts()?;
        let in_use = self.in_use();
        idle.retain(|part| !in_use.contains(&part.name));
        idle.sort_by_key(|part| part.age);
        let (mut bytes, mut count) = (0u64, 0);
        for part in idle {
            let longest = match part.name.split_once('-') {
                Some(("own", _)) => OWN_FOR,
                Some(("lent", _)) => LENT_FOR,
                _ => Duration::ZERO,
            };
            bytes = bytes.saturating_add(part.bytes);
            count += 1;
            if part.age >= longest || bytes > self.most || count > MOST {
                remove(&self.folder.join(&part.name));
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) {
    for ending in ENDINGS {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        let _not_there = fs::remove_file(name);
    }
}

/// A blob on its way. Dropped, what came of it stays.
pub(crate) struct Coming {
    path: PathBuf,
    partials: Arc<Partials>,
    name: String,
    keep: bool,
}

impl Coming {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What came is of no use, or was taken in.
    pub(crate) fn clear(mut self) {
        self.keep = false;
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        match self.keep {
            true => self.partials.left.store(true, Ordering::Relaxed),
            false => remove(&self.path),
        }
        self.partials.in_use().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::frame::AttemptId;
    use mesh_protocol::ids::TaskId;
    use std::fs::File;

    const LENT: Keeper = Keeper::Attempt(AttemptId { task: TaskId([7; 32]), attempt: 1 });

    fn open(dir: &tempfile::TempDir, most: u64) -> Arc<Partials> {
        Arc::new(Partials::open(dir.path().to_owned(), most).unwrap())
    }

    fn part(coming: &Coming) -> PathBuf {
        coming.path().with_extension("part")
    }

    fn aged(path: &Path, age: Duration) {
        File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
    }

    // spec: DEL-5
    #[test]
    fn a_part_stays_until_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (BlobHash([1; 32]), BlobHash([2; 32]));
        for (keeper, longest) in [(Keeper::Own, OWN_FOR), (LENT, LENT_FOR)] {
            let partials = open(&dir, 1 << 30);
            for (hash, age) in [(old, longest), (new, longest - Duration::from_secs(60))] {
                let coming = partials.take(keeper, &hash);
                fs::write(part(&coming), b"half").unwrap();
                aged(&part(&coming), age);
            }
            let partials = open(&dir, 1 << 30);
            assert!(!part(&partials.take(keeper, &old)).exists());
            let coming = partials.take(keeper, &new);
            assert!(part(&coming).exists());
            coming.clear();
            assert!(!part(&partials.take(keeper, &new)).exists());
        }
    }

    // spec: DEL-5, ARC-7
    #[test]
    fn a_part_from_a_time_that_is_still_to_come_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let partials = open(&dir, 1 << 30);
        let coming = [1, 2, 3].map(|n| partials.take(Keeper::Own, &BlobHash([n; 32])));
        for coming in &coming {
            fs::write(part(coming), b"half").unwrap();
        }
        for (coming, ahead) in coming.iter().zip([30 * DAY, AHEAD / 2]) {
            let file = File::options().write(true).open(part(coming)).unwrap();
            file.set_modified(SystemTime::now() + ahead).unwrap();
        }
        let paths = coming.each_ref().map(part);
        drop(coming);
        drop(open(&dir, 1 << 30));
        assert_eq!(paths.map(|path| path.exists()), [false, true, true]);
    }

    // spec: DEL-5
    #[test]
    fn no_two_fetches_write_to_one_place() {
        let dir = tempfile::tempdir().unwrap();
        let partials = open(&dir, 1 << 30);
        let hash = BlobHash([1; 32]);
        let (first, second) = (partials.take(Keeper::Own, &hash), partials.take(Keeper::Own, &hash));
        let lent = partials.take(LENT, &hash);
        assert!(first.path() != second.path() && first.path() != lent.path());
        for coming in [&first, &second] {
            fs::write(part(coming), b"half").unwrap();
        }
        let (kept, gone) = (part(&first), part(&second));
        drop((first, second));
        assert!(kept.exists() && !gone.exists());
        assert_eq!(part(&partials.take(Keeper::Own, &hash)), kept);
    }

    // spec: ARC-7
    #[test]
    fn of_too_much_the_oldest_goes_and_never_what_is_being_fetched() {
        let dir = tempfile::tempdir().unwrap();
        let partials = open(&dir, 8 * 20_000);
        let mut paths = Vec::new();
        let oldest = partials.take(Keeper::Own, &BlobHash([9; 32]));
        fs::write(part(&oldest), [1; 8192]).unwrap();
        aged(&part(&oldest), DAY);
        for (number, hours) in [(0, 3), (1, 1), (2, 2)] {
            let coming = partials.take(Keeper::Own, &BlobHash([number; 32]));
            fs::write(part(&coming), [1; 8192]).unwrap();
            aged(&part(&coming), Duration::from_secs(hours * 3600));
            paths.push(part(&coming));
        }
        drop(partials.take(Keeper::Own, &BlobHash([8; 32])));
        assert_eq!(paths.iter().map(|path| path.exists()).collect::<Vec<_>>(), [false, true, true]);
        assert!(part(&oldest).exists());
    }
}
