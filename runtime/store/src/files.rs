//! The few file operations on which durability hangs, behind a trait so that a test can fail them or lose what was
//! not synced.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub(crate) trait Files: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// The file's content survives a loss of power.
    // File::sync_data is fdatasync: it includes the length, as far as reading needs it.
    fn sync(&self, _path: &Path, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// The names in a folder survive a loss of power.
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// The real thing.
pub(crate) struct Disk;

impl Files for Disk {}
