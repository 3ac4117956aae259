//! Renames that can stop anywhere without losing a log.

use mesh_guest::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// A log and its rotated ones, `NAME.1` the newest, each plain, compressed, or (after an interruption) both.
#[derive(Debug)]
pub(crate) struct Log<'a> {
    folder: &'a Path,
    name: &'a str,
}

impl<'a> Log<'a> {
    pub(crate) fn new(folder: &'a Path, name: &'a str) -> Self {
        Self { folder, name }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(self.name)
    }

    pub(crate) fn plain_name(&self, number: u32) -> String {
        format!("{}.{number}", self.name)
    }

    pub(crate) fn plain(&self, number: u32) -> PathBuf {
        self.folder.join(self.plain_name(number))
    }

    pub(crate) fn gz(&self, number: u32) -> PathBuf {
        self.folder.join(format!("{}.{number}.gz", self.name))
    }

    fn taken(&self, number: u32) -> Result<bool> {
        Ok(self.plain(number).try_exists()? || self.gz(number).try_exists()?)
    }

    /// Makes room at 1, moves the log there and begins a new one. Gives the names of the files deleted.
    pub(crate) fn rotate(&self, keep: u32) -> Result<Vec<String>> {
        // An interruption leaves a gap in the row. Moving up to the first gap only, a second run deletes nothing that the
        // first had not to.
        let mut gap = keep;
        for number in 1..=keep {
            if !self.taken(number)? {
                gap = number;
                break;
            }
        }
        let deleted = self.delete(gap)?;
        for number in (1..gap).rev() {
            // The compressed one first: alone it is whole, and a plain one left behind is only a second copy of it.
            self.rename(&self.gz(number), &self.gz(number + 1))?;
            self.rename(&self.plain(number), &self.plain(number + 1))?;
        }
        self.rename(&self.path(), &self.plain(1))?;
        // Not truncated, should its writer have begun a new one by now.
        let new = fs::OpenOptions::new().append(true).create(true).open(self.path());
        new.map_err(|error| Error::failed(format!("cannot begin a new {}: {error}", self.name)))?;
        Ok(deleted)
    }

    /// Deletes rotated ones over `keep`, left from a time when more were kept.
    pub(crate) fn delete_over(&self, keep: u32) -> Result<Vec<String>> {
        let mut over = Vec::new();
        for entry in fs::read_dir(self.folder)? {
            let file = entry?.file_name();
            let number = file.to_str().and_then(|file| self.number(file));
            over.extend(number.filter(|&number| number > keep));
        }
        over.sort_unstable();
        over.dedup();
        let mut deleted = Vec::new();
        for number in over {
            deleted.extend(self.delete(number)?);
        }
        Ok(deleted)
    }

    /// The number of a rotated one, of exactly the form that this task writes.
    fn number(&self, file: &str) -> Option<u32> {
        let rest = file.strip_prefix(self.name)?.strip_prefix('.')?;
        let digits = rest.strip_suffix(".gz").unwrap_or(rest);
        let number = digits.parse::<u32>().ok()?;
        (number.to_string() == digits).then_some(number)
    }

    fn delete(&self, number: u32) -> Result<Vec<String>> {
        let mut deleted = Vec::new();
        for path in [self.plain(number), self.gz(number)] {
            if path.try_exists()? {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                fs::remove_file(&path)
                    .map_err(|error| Error::failed(format!("cannot delete {name}: {error}")))?;
                deleted.push(name);
            }
        }
        Ok(deleted)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        if !from.try_exists()? {
            return Ok(());
        }
        fs::rename(from, to).map_err(|error| {
            Error::failed(format!("cannot rename {} to {}: {error}", from.display(), to.display()))
        })
    }
}
