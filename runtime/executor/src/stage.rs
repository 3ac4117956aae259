//! What a task may read, gathered from this machine before it starts: opened once, counted, hashed.
//!
//! Paths are resolved here and nowhere later; the worker gets open files and names.

use crate::memory_file;
use crate::wire::{InEntry, InNode};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use mesh_protocol::digest::{self, TreeEntry, TreeNode};
use mesh_protocol::ids::Digest;
use mesh_protocol::manifest::is_file_name;
use mesh_protocol::permissions::Access;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most files and folders handed to one task: each may hold a descriptor in two processes.
pub const MAX_INPUTS: usize = 10_000;
/// Files up to this size are copied into one memory file, so that many small ones hold no descriptor each.
const SMALL: u64 = 256 * 1024;
/// Bytes of small files copied; what comes after is handed over as open files.
const MAX_PACKED: usize = 32 << 20;
/// Most open files handed over.
const MAX_OPEN: usize = 2_000;
/// Deepest folder followed.
const MAX_DEPTH: usize = 32;

/// Why inputs could not be gathered. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A path could not be read.
    #[error("read {path:?}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A name that no task may see.
    #[error("{0:?} cannot be an input's name: it must be a plain file name")]
    Name(String),
    /// Neither a file nor a folder.
    #[error("{0:?} is neither a file nor a folder (links are not followed)")]
    Special(PathBuf),
    /// Other tasks have so many files open that this one has to wait.
    #[error("{0:?} cannot be held open beside what other tasks hold")]
    Full(PathBuf),
    /// They are not what the task was made with.
    #[error("the bytes that are here are not its inputs")]
    Differs,
    /// Too many files, or too deep.
    #[error("{0:?} holds more than {MAX_INPUTS} files, or folders nested deeper than {MAX_DEPTH}")]
    TooMany(PathBuf),
}

/// A file or folder a task sees as `/in/NAME`.
#[derive(Debug, Clone)]
pub struct NamedInput {
    /// Its name there.
    pub name: String,
    /// Where it lies here.
    pub path: PathBuf,
}

/// A folder of this machine's owner that a task works on, as `/share/NAME`: on a copy, put in place afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Its name there.
    pub name: String,
    /// Where it lies here.
    pub path: PathBuf,
    /// May the task change it?
    pub access: Access,
}

/// Everything handed to one task.
#[derive(Default)]
pub(crate) struct Staged {
    pub(crate) files: Vec<Arc<File>>,
    pub(crate) entries: Vec<InEntry>,
    /// Files that are read while the task runs, to tell whether they were changed meanwhile.
    pub(crate) watched: Vec<(Arc<File>, Stamp)>,
    packed: Vec<u8>,
    pub(crate) bytes: u64,
    held: Held,
}

/// Files that all tasks together hold open.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Those of one task.
#[derive(Default)]
struct Held(usize);

impl Held {
    /// Half of what this process may open is for everything else that it does.
    // spec: ARC-7
    fn one_more(&mut self) -> bool {
        let most =
            rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX) / 2;
        let more = |held: usize| ((held as u64) < most).then_some(held + 1);
        let taken = HELD.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        self.0 += usize::from(taken);
        taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// What tells whether a file was changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(u64, i64, i64, u64);

impl Stamp {
    pub(crate) fn of(meta: &Metadata) -> Self {
        Self(meta.size(), meta.mtime(), meta.mtime_nsec(), meta.ino())
    }
}

/// When something was last changed, in nanoseconds since 1970, negative before. What lies further off than that can say
/// is at its ends.
pub(crate) fn changed_at(meta: &cap_std::fs::Metadata) -> i64 {
    use cap_std::fs::MetadataExt as _;
    let ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

/// Number of the memory file of small files; it is made last, but its number must be known before.
const PACK: u32 = 0;

impl Staged {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a tree of this machine under `tree`; says what it consists of, for its hash. Links are left out of shares
    /// and refused in inputs, so that no one path means two things.
    fn walk(
        &mut self,
        tree: u16,
        dir: &Dir,
        at: &Path,
        prefix: &str,
        depth: usize,
        hash: &mut Option<Vec<TreeEntry>>,
    ) -> Result<(), StageError> {
        let read = |source| StageError::Read { path: at.into(), source };
        let mut names = Vec::new();
        for entry in dir.entries().map_err(read)? {
            let name = entry.map_err(read)?.file_name();
            names.push(name.into_string().map_err(|name| StageError::Name(name.to_string_lossy().into()))?);
            if names.len() > MAX_INPUTS {
                return Err(StageError::TooMany(at.into()));
            }
        }
        names.sort();
        for name in names {
            let here = at.join(&name);
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            self.add(tree, dir, &name, &here, &path, depth, hash)?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one step of a recursive walk")]
    fn add(
        &mut self,
        tree: u16,
        dir: &Dir,
        name: &str,
        here: &Path,
        path: &str,
        depth: usize,
        hash: &mut Option<Vec<TreeEntry>>,
    ) -> Result<(), StageError> {
        let read = |source| StageError::Read { path: here.into(), source };
        if !is_file_name(name) {
            return Err(StageError::Name(name.into()));
        }
        if self.entries.len() >= MAX_INPUTS || depth > MAX_DEPTH {
            return Err(StageError::TooMany(here.into()));
        }
        let meta = dir.symlink_metadata(name).map_err(read)?;
        let mtime = if tree >= 2 {
            changed_at(&meta)
        } else {
            // spec: SBX-13
            crate::guest::clock::EPOCH_NS.cast_signed()
        };
        if meta.is_dir() {
            self.entries.push(InEntry { tree, path: path.into(), node: InNode::Dir, mtime });
            if let Some(hash) = hash {
                hash.push(TreeEntry { path: path.into(), node: TreeNode::Dir });
            }
            let below = dir.open_dir(name).map_err(read)?;
            return self.walk(tree, &below, here, path, depth + 1, hash);
        }
        if meta.is_symlink() && tree >= 2 {
            return Ok(());
        }
        if !meta.is_file() {
            return Err(StageError::Special(here.into()));
        }
        // Not blocking: should it have become a pipe since, opening it must not wait.
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32);
        let file = dir.open_with(name, &options).map_err(read)?.into_std();
        let (node, content) = self.take(file, here)?;
        if let (Some(hash), InNode::File { len, .. }) = (hash, &node) {
            hash.push(TreeEntry { path: path.into(), node: TreeNode::File { len: *len, content } });
        }
        self.entries.push(InEntry { tree, path: path.into(), node, mtime });
        Ok(())
    }

    /// Takes a file in: copied if small, else held open and watched.
    fn take(&mut self, file: File, here: &Path) -> Result<(InNode, Digest), StageError> {
        let failed = |source| StageError::Read { path: here.into(), source };
        let meta = file.metadata().map_err(failed)?;
        let len = meta.len();
        self.bytes += len;
        if len <= SMALL && self.packed.len() + len as usize <= MAX_PACKED {
            let offset = self.packed.len() as u64;
            let read = (&file).take(SMALL + 1).read_to_end(&mut self.packed).map_err(failed)? as u64;
            if read != len {
                return Err(failed(io::Error::other("it changed while it was read")));
            }
            let content = digest::bytes(&self.packed[offset as usize..]);
            return Ok((InNode::File { file: PACK, offset, len }, content));
        }
        if self.files.len() >= MAX_OPEN {
            return Err(failed(io::Error::other("too many large files")));
        }
        if !self.held.one_more() {
            return Err(StageError::Full(here.into()));
        }
        let content = hash_file(&file, len).map_err(failed)?;
        let file = Arc::new(file);
        self.files.push(file.clone());
        self.watched.push((file, Stamp::of(&meta)));
        Ok((InNode::File { file: self.files.len() as u32, offset: 0, len }, content))
    }

    /// Adds named inputs; gives the digest of their tree.
    pub(crate) fn inputs(&mut self, inputs: &[NamedInput]) -> Result<Digest, StageError> {
        let mut sorted: Vec<&NamedInput> = inputs.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        let mut hash = Some(Vec::new());
        for input in sorted {
            let read = |source| StageError::Read { path: input.path.clone(), source };
            // The path is its user's own and may be a link; what it leads to is taken under the name given.
            let real = input.path.canonicalize().map_err(read)?;
            let name = real.file_name().and_then(|name| name.to_str());
            let (parent, name) = (real.parent(), name.ok_or_else(|| StageError::Special(real.clone()))?);
            let parent = parent.ok_or_else(|| StageError::Special(real.clone()))?;
            let dir = Dir::open_ambient_dir(parent, ambient_authority()).map_err(read)?;
            if !is_file_name(&input.name) {
                return Err(StageError::Name(input.name.clone()));
            }
            self.add(0, &dir, name, &real, &input.name, 0, &mut hash)?;
        }
        Ok(digest::tree(&hash.unwrap_or_default()))
    }

    /// Adds a share's folder as tree `2 + number`.
    pub(crate) fn share(&mut self, number: u16, share: &Share) -> Result<(), StageError> {
        let read = |source| StageError::Read { path: share.path.clone(), source };
        let dir = Dir::open_ambient_dir(&share.path, ambient_authority()).map_err(read)?;
        self.walk(2 + number, &dir, &share.path, "", 0, &mut None)
    }

    /// Adds bytes of our own, as a checkpoint's state; gives where they lie.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> (u32, u64, u64) {
        let offset = self.packed.len() as u64;
        self.packed.extend_from_slice(bytes);
        (PACK, offset, bytes.len() as u64)
    }

    /// All files in the order of their numbers, the one of small files first.
    pub(crate) fn finish(mut self) -> io::Result<Self> {
        let pack = memory_file("inputs", &self.packed)?;
        self.packed = Vec::new();
        self.files.insert(0, Arc::new(pack));
        Ok(self)
    }

    /// Has any file handed over been changed since?
    pub(crate) fn changed(&self) -> bool {
        self.watched
            .iter()
            .any(|(file, stamp)| file.metadata().map_or(true, |meta| Stamp::of(&meta) != *stamp))
    }

    /// A file handed over, by its number, for copying it on.
    pub(crate) fn origin(&self, number: u32) -> Option<&File> {
        self.files.get(number as usize).map(|file| &**file)
    }
}

/// The digest of a folder's content, as a receipt has it for `/out`.
pub fn folder_digest(path: &Path) -> Result<Digest, StageError> {
    let read = |source| StageError::Read { path: path.into(), source };
    let dir = Dir::open_ambient_dir(path, ambient_authority()).map_err(read)?;
    let mut hash = Some(Vec::new());
    Staged::new().walk(0, &dir, path, "", 0, &mut hash)?;
    Ok(digest::tree(&hash.unwrap_or_default()))
}

/// BLAKE3 of a file's first `len` bytes.
pub(crate) fn hash_file(file: &File, len: u64) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; 1 << 20];
    let mut at = 0;
    while at < len {
        let count = (chunk.len() as u64).min(len - at) as usize;
        file.read_exact_at(&mut chunk[..count], at)?;
        hasher.update(&chunk[..count]);
        at += count as u64;
    }
    Ok(Digest(*hasher.finalize().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    // spec: SBX-13
    #[test]
    fn the_digest_of_inputs_knows_names_and_bytes_only() {
        let stage = |files: &[(&str, &str)]| {
            let dir = tempfile::tempdir().unwrap();
            for (name, text) in files {
                fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
                fs::write(dir.path().join(name), text).unwrap();
            }
            let mut staged = Staged::new();
            staged.inputs(&[NamedInput { name: "data".into(), path: dir.path().into() }]).unwrap()
        };
        let one = stage(&[("a", "1"), ("d/b", "2")]);
        assert_eq!(one, stage(&[("d/b", "2"), ("a", "1")]), "whatever order they were made in");
        assert_ne!(one, stage(&[("a", "1"), ("d/b", "3")]));
        assert_ne!(one, stage(&[("a", "1"), ("d/c", "2")]));
    }

    // spec: SBX-11
    #[test]
    fn no_link_is_followed_and_no_pipe_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("link")).unwrap();
        let error = |dir: &Path| {
            let input = NamedInput { name: "data".into(), path: dir.into() };
            Staged::new().inputs(&[input]).unwrap_err().to_string()
        };
        assert!(error(dir.path()).contains("neither a file nor a folder"));
        fs::remove_file(dir.path().join("link")).unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        assert!(error(dir.path()).contains("neither a file nor a folder"));
    }
}
