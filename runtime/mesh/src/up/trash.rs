//! What is not needed any more leaves its place at once, and the disk a little later: deleting gigabytes takes seconds,
//! which whoever says so may not have.
// spec: ARC-5

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::time::{SystemTime, UNIX_EPOCH};

/// Things that wait to be deleted. Each is a path; whoever throws more away deletes them himself.
const MAX_WAITING: usize = 1024;

/// A folder of what is being deleted.
pub(crate) struct Trash {
    folder: PathBuf,
    names: AtomicU64,
    deletes: SyncSender<PathBuf>,
}

impl Trash {
    /// Opens the folder, making it if need be. What an earlier run has not deleted goes now.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let left = fs::read_dir(&folder)?.map(|entry| entry.map(|it| it.path()));
        let left = left.collect::<io::Result<Vec<PathBuf>>>()?;
        let (deletes, thrown) = mpsc::sync_channel::<PathBuf>(MAX_WAITING);
        std::thread::Builder::new().name("trash".into()).spawn(move || {
            for path in left.into_iter().chain(thrown) {
                if let Err(error) = delete(&path) {
                    tracing::warn!(path = %path.display(), %error, "what was thrown away could not be deleted");
                }
            }
        })?;
        // No name of an earlier run's.
        let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let names = AtomicU64::new(u64::try_from(begun).unwrap_or(0));
        Ok(Self { folder, names, deletes })
    }

    /// Takes a file or a folder away.
    pub(crate) fn throw(&self, path: &Path) -> io::Result<()> {
        let to = self.folder.join(self.names.fetch_add(1, Ordering::Relaxed).to_string());
        match fs::rename(path, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            // It lies on another disk, say.
            Err(_) => delete(path),
            Ok(()) => self.deletes.try_send(to.clone()).or_else(|_| delete(&to)),
        }
    }
}

fn delete(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn empties(folder: &Path) -> bool {
        let until = Instant::now() + Duration::from_secs(30);
        while fs::read_dir(folder).unwrap().next().is_some() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        fs::read_dir(folder).unwrap().next().is_none()
    }

    // spec: ARC-5
    #[test]
    fn what_is_thrown_away_is_gone_from_its_place_at_once_and_from_the_disk_soon() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, many) = (dir.path().join("trash"), dir.path().join("many"));
        // An earlier run's.
        fs::create_dir_all(folder.join("0/below")).unwrap();
        let trash = Trash::open(folder.clone()).unwrap();
        for round in 0..3 {
            fs::create_dir_all(many.join("below")).unwrap();
            fs::write(many.join("below/file"), [round]).unwrap();
            trash.throw(&many).unwrap();
            assert!(!many.exists());
        }
        fs::write(&many, b"one file").unwrap();
        trash.throw(&many).unwrap();
        assert_eq!(trash.throw(&many).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(empties(&folder));
    }
}
