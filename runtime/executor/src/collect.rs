//! What a task left, taken out of a file that it wrote and believed nowhere.
// spec: SBX-11

use crate::guest::blocks::{BLOCK, HOLE, read_or_zero};
use crate::release::Held;
use crate::stage::Staged;
use crate::wire::{InEntry, InNode, OutContent, OutNode};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};
use mesh_protocol::checkpoint;
use mesh_protocol::digest::{self, TreeEntry, TreeNode};
use mesh_protocol::ids::Digest;
use mesh_protocol::limits::MAX_LINK_TARGET;
use mesh_protocol::manifest::is_file_name;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most bytes copied at a time.
const CHUNK: usize = 64 * 1024;

/// Why files could not be put in place.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Writing failed; files before this one are in place, this one is not.
    #[error("write {path:?}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What the task worked on a copy of was changed meanwhile. Nothing was put in place; only where putting it in
    /// place had been cut off and what was not yet done was changed then, part of it stays.
    #[error("{0:?} was changed while the task worked on its copy, so nothing of the share was changed")]
    Conflict(PathBuf),
}

#[derive(Debug, Clone)]
enum Source {
    Runs(Vec<(u32, u32)>),
    /// Unchanged: the entry of this number among those handed in.
    Origin(u32),
}

#[derive(Debug, Clone)]
enum Item {
    Dir,
    File { len: u64, source: Source },
    Link(String),
}

/// A tree that a task left, checked: every path plain and under a folder of the tree, every block within the file.
#[derive(Clone)]
pub struct OutTree {
    items: BTreeMap<Vec<String>, Item>,
    blocks: Option<Arc<File>>,
    staged: Arc<Staged>,
}

/// Something that a task left.
pub enum OutEntry<'a> {
    /// A folder.
    Dir,
    /// A file.
    File {
        /// How many bytes it has.
        len: u64,
        /// All of them.
        content: Box<dyn Read + 'a>,
    },
    /// A link, by what the task made it lead to: anything.
    Link(&'a str),
}

impl std::fmt::Debug for OutEntry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dir => f.write_str("Dir"),
            Self::File { len, .. } => f.debug_tuple("File").field(len).finish(),
            Self::Link(target) => f.debug_tuple("Link").field(target).finish(),
        }
    }
}

/// A file's bytes, read one after another; holes read as zeros.
struct Content<'a> {
    tree: &'a OutTree,
    source: &'a Source,
    left: u64,
    /// Bytes read of the whole file, or of the present run of blocks.
    at: u64,
    run: usize,
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.left.min(buffer.len() as u64);
        if most == 0 {
            return Ok(0);
        }
        let count = match self.source {
            Source::Origin(number) => {
                let (file, offset) = self.tree.origin(*number)?;
                file.read_exact_at(&mut buffer[..most as usize], offset + self.at)?;
                self.at += most;
                most
            }
            Source::Runs(runs) => {
                let (first, rest) = loop {
                    let &(first, blocks) = runs.get(self.run).ok_or(io::ErrorKind::UnexpectedEof)?;
                    match (u64::from(blocks) * BLOCK).checked_sub(self.at).filter(|rest| *rest > 0) {
                        Some(rest) => break (first, rest),
                        None => (self.run, self.at) = (self.run + 1, 0),
                    }
                };
                let count = most.min(rest);
                let part = &mut buffer[..count as usize];
                if first == HOLE {
                    part.fill(0);
                } else {
                    let blocks = self.tree.blocks.as_deref().ok_or(io::ErrorKind::NotFound)?;
                    read_or_zero(blocks, part, u64::from(first) * BLOCK + self.at)?;
                }
                self.at += count;
                count
            }
        };
        self.left -= count;
        Ok(count as usize)
    }
}

impl std::fmt::Debug for OutTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.items.keys()).finish()
    }
}

impl OutTree {
    /// Checks what a worker says its task left, in `/out` or in the share of this number among the trees handed in. An
    /// error is what is wrong with it: such a worker is not to be trusted.
    pub(crate) fn check(
        entries: Vec<(String, OutNode)>,
        blocks: Option<Arc<File>>,
        staged: Arc<Staged>,
        share: Option<u16>,
        max_bytes: u64,
        max_files: usize,
    ) -> Result<Self, &'static str> {
        let stored = match &blocks {
            Some(file) => file.metadata().map_err(|_| "its block file cannot be read")?.len(),
            None => 0,
        };
        let mut items: BTreeMap<Vec<String>, Item> = BTreeMap::new();
        let (mut total, mut origins) = (0u64, BTreeSet::new());
        let mut last: Option<Vec<String>> = None;
        for (path, node) in entries {
            if path.len() > 4096 * 16 {
                return Err("a path is too long");
            }
            let parts: Vec<String> = path.split('/').map(Into::into).collect();
            if !parts.iter().all(|part| is_file_name(part)) || parts.len() > 70 {
                return Err("a path is not plain");
            }
            let item = match node {
                OutNode::More(runs) => {
                    let Some(Item::File { source: Source::Runs(known), .. }) =
                        last.as_ref().filter(|last| **last == parts).and_then(|last| items.get_mut(last))
                    else {
                        return Err("blocks without a file");
                    };
                    known.extend(runs);
                    continue;
                }
                OutNode::Dir => Item::Dir,
                OutNode::Link(target)
                    if (1..=MAX_LINK_TARGET).contains(&target.len()) && !target.contains('\0') =>
                {
                    Item::Link(target)
                }
                OutNode::Link(_) => return Err("a link leads nowhere, or is too long"),
                OutNode::File { len, content: OutContent::Runs(runs) } => {
                    total = total.saturating_add(len);
                    Item::File { len, source: Source::Runs(runs) }
                }
                OutNode::File { len, content: OutContent::Origin(number) } => {
                    // A guest cannot take a file from one tree to another, nor have two of one, so that it counts
                    // against no quota: each that is named here is hashed or copied.
                    let entry = staged.entries.get(number as usize);
                    match entry.filter(|entry| Some(entry.tree) == share).map(|entry| &entry.node) {
                        Some(InNode::File { len: its, .. }) if *its == len => {}
                        _ => return Err("a file of unknown origin"),
                    }
                    if !origins.insert(number) {
                        return Err("one file in two places");
                    }
                    Item::File { len, source: Source::Origin(number) }
                }
            };
            let parent = &parts[..parts.len() - 1];
            if !parent.is_empty() && !matches!(items.get(parent), Some(Item::Dir)) {
                return Err("a path without its folder");
            }
            last = Some(parts.clone());
            if items.insert(parts, item).is_some() {
                return Err("a path twice");
            }
        }
        if total > max_bytes || items.len() > max_files {
            return Err("more than its quota");
        }
        for item in items.values() {
            if let Item::File { len, source: Source::Runs(runs) } = item {
                let count: u64 = runs.iter().map(|&(_, count)| u64::from(count)).sum();
                let inside = runs.iter().all(|&(first, count)| {
                    first == HOLE
                        || (u64::from(first) + u64::from(count)).saturating_sub(1) * BLOCK < stored.max(1)
                });
                if count != len.div_ceil(BLOCK) || !inside {
                    return Err("blocks outside its file");
                }
            }
        }
        Ok(Self { items, blocks, staged })
    }

    /// Files, folders and links in it.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Is there nothing in it?
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.items.values().map(|item| if let Item::File { len, .. } = item { *len } else { 0 }).sum()
    }

    fn entry(&self, number: u32) -> Option<&InEntry> {
        self.staged.entries.get(number as usize)
    }

    /// A file that was handed in, and where its bytes begin there.
    fn origin(&self, number: u32) -> io::Result<(&File, u64)> {
        let Some(InNode::File { file, offset, .. }) = self.entry(number).map(|entry| &entry.node) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        Ok((self.staged.origin(*file).ok_or(io::ErrorKind::NotFound)?, *offset))
    }

    fn content<'a>(&'a self, len: u64, source: &'a Source) -> Content<'a> {
        Content { tree: self, source, left: len, at: 0, run: 0 }
    }

    /// All that is in it by its path, each folder before what is in it, names in order.
    pub fn entries(&self) -> impl Iterator<Item = (String, OutEntry<'_>)> {
        self.items.iter().map(|(path, item)| {
            let entry = match item {
                Item::Dir => OutEntry::Dir,
                Item::File { len, source } => {
                    OutEntry::File { len: *len, content: Box::new(self.content(*len, source)) }
                }
                Item::Link(target) => OutEntry::Link(target),
            };
            (path.join("/"), entry)
        })
    }

    /// The tree's digest.
    pub fn digest(&self) -> io::Result<Digest> {
        let mut entries = Vec::with_capacity(self.items.len());
        for (path, item) in &self.items {
            let node = match item {
                Item::Dir => TreeNode::Dir,
                Item::Link(target) => TreeNode::Link(target.clone()),
                Item::File { len, source } => {
                    let mut hasher = blake3::Hasher::new();
                    hasher.update_reader(self.content(*len, source))?;
                    TreeNode::File { len: *len, content: Digest(*hasher.finalize().as_bytes()) }
                }
            };
            entries.push(TreeEntry { path: path.join("/"), node });
        }
        Ok(digest::tree(&entries))
    }

    /// Its content, for a checkpoint.
    pub(crate) fn contents(&self) -> io::Result<Vec<(String, checkpoint::OutNode)>> {
        let mut list = Vec::with_capacity(self.items.len());
        for (path, item) in &self.items {
            let node = match item {
                Item::Dir => checkpoint::OutNode::Dir,
                Item::Link(target) => checkpoint::OutNode::Link(target.clone()),
                Item::File { len, source } => {
                    let mut bytes = Vec::with_capacity(*len as usize);
                    self.content(*len, source).read_to_end(&mut bytes)?;
                    checkpoint::OutNode::File(bytes)
                }
            };
            list.push((path.join("/"), node));
        }
        Ok(list)
    }

    /// Puts the tree into a folder of this machine: each file whole or not at all, links of the folder never followed.
    /// A link of the task's comes along only if it points to something beside or below it. Says which were left out.
    pub fn write_to(&self, folder: &Path) -> Result<Vec<String>, CollectError> {
        let failed = |path: &Path, source| CollectError::Write { path: path.into(), source };
        std::fs::create_dir_all(folder).map_err(|e| failed(folder, e))?;
        let root = Dir::open_ambient_dir(folder, ambient_authority()).map_err(|e| failed(folder, e))?;
        let mut left_out = Vec::new();
        for (path, item) in &self.items {
            let shown = folder.join(path.join("/"));
            let done = open_parent(&root, path).and_then(|dir| {
                let name = &path[path.len() - 1];
                match item {
                    Item::Dir => match dir.symlink_metadata(name) {
                        Ok(meta) if meta.is_dir() => Ok(()),
                        Ok(_) => {
                            Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else has this name"))
                        }
                        Err(_) => dir.create_dir(name),
                    },
                    Item::File { len, source } => {
                        put_beside(&dir, name, &new_name()?, None, |file| self.write_file(*len, source, file))
                    }
                    Item::Link(target) if points_down(target) => {
                        let _absent = dir.remove_file(name);
                        if dir.symlink(target, name).is_err() {
                            left_out.push(path.join("/"));
                        }
                        Ok(())
                    }
                    Item::Link(_) => {
                        left_out.push(path.join("/"));
                        Ok(())
                    }
                }
            });
            done.map_err(|source| failed(&shown, source))?;
        }
        Ok(left_out)
    }

    /// Holes stay holes, so that a file takes no more room here than its task filled.
    fn write_file(&self, len: u64, source: &Source, file: &mut cap_std::fs::File) -> io::Result<()> {
        let copy = |len, source: &Source, file: &mut cap_std::fs::File| {
            let mut content = BufReader::with_capacity(CHUNK, self.content(len, source));
            io::copy(&mut content, file).map(|_| ())
        };
        let Source::Runs(runs) = source else { return copy(len, source, file) };
        let mut left = len;
        for &(first, blocks) in runs {
            let in_run = (u64::from(blocks) * BLOCK).min(left);
            left -= in_run;
            if first == HOLE {
                file.seek_relative(i64::try_from(in_run).map_err(io::Error::other)?)?;
            } else {
                copy(in_run, &Source::Runs(vec![(first, blocks)]), file)?;
            }
        }
        Ok(())
    }

    /// Keeps what the task changed in its share of this number in the folder `into`, from where
    /// [`release`](crate::release()) puts it in place whenever it may take effect, after a restart too. Whatever was
    /// there goes.
    // spec: DEL-4
    pub fn hold(&self, number: u16, share: &Path, into: &Path) -> Result<(), CollectError> {
        if self.staged.changed() {
            return Err(CollectError::Conflict(share.into()));
        }
        let failed = |source| CollectError::Write { path: into.into(), source };
        let before = self.staged.entries.iter().filter(|entry| entry.tree == 2 + number);
        let mut held = Held::new(into, before).map_err(failed)?;
        for (path, item) in &self.items {
            match item {
                Item::Dir => held.dir(path),
                Item::File { source: Source::Origin(origin), .. }
                    if self
                        .entry(*origin)
                        .is_some_and(|entry| entry.tree == 2 + number && entry.path == path.join("/")) =>
                {
                    held.kept(path);
                }
                Item::File { len, source } => {
                    held.file(path, |file| self.write_file(*len, source, file)).map_err(failed)?;
                }
                // A link could lead anywhere by the time somebody follows it.
                Item::Link(_) => {}
            }
        }
        held.finish().map_err(failed)
    }
}

/// A name that nothing has.
pub(crate) fn new_name() -> io::Result<String> {
    let mut number = [0; 6];
    getrandom::fill(&mut number).map_err(io::Error::other)?;
    Ok(part_name(number))
}

/// The name of a file that is being written.
pub(crate) fn part_name(number: [u8; 6]) -> String {
    format!(".{}.part", mesh_protocol::ids::to_hex(&number))
}

/// Writes a file beside, as `temporary`, then moves it into place.
pub(crate) fn put_beside(
    dir: &Dir,
    name: &str,
    temporary: &str,
    mode: Option<u32>,
    write: impl FnOnce(&mut cap_std::fs::File) -> io::Result<()>,
) -> io::Result<()> {
    let (mode, keep_mode) = (mode.unwrap_or(0o666), mode.is_some());
    if dir.symlink_metadata(name).is_ok_and(|meta| meta.is_dir()) {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "a folder has this name"));
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let written = (|| {
        let mut file = dir.open_with(temporary, &options)?;
        if keep_mode {
            // The umask is for what is new.
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        write(&mut file)?;
        let end = file.stream_position()?;
        file.set_len(end)?;
        file.sync_data()?;
        dir.rename(temporary, dir, name)
    })();
    if written.is_err() {
        let _gone = dir.remove_file(temporary);
    }
    written
}

/// Does a link's target lie beside or below the link?
fn points_down(target: &str) -> bool {
    !target.starts_with('/') && target.split('/').all(|part| part != "..")
}

pub(crate) fn remove(root: &Dir, path: &[String]) -> io::Result<()> {
    let (dir, name) = (open_parent(root, path)?, &path[path.len() - 1]);
    if dir.symlink_metadata(name)?.is_dir() { dir.remove_dir(name) } else { dir.remove_file(name) }
}

/// Opens the folder a path lies in, step by step, following no link.
pub(crate) fn open_parent(root: &Dir, path: &[String]) -> io::Result<Dir> {
    let mut dir = root.try_clone()?;
    for part in &path[..path.len() - 1] {
        if dir.symlink_metadata(part)?.is_symlink() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a link stands where a folder should"));
        }
        dir = dir.open_dir(part)?;
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Share;
    use mesh_protocol::permissions::Access;

    // spec: ARC-7
    #[test]
    fn what_was_handed_in_is_left_once_and_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "text").unwrap();
        let mut staged = Staged::new();
        for number in 0..2 {
            let share = Share { name: "x".into(), path: dir.path().into(), access: Access::Rw };
            staged.share(number, &share).unwrap();
        }
        let staged = Arc::new(staged.finish().unwrap());
        let check = |share: Option<u16>, files: &[(&str, u32)]| {
            let entry = |&(path, number): &(&str, u32)| {
                (path.to_owned(), OutNode::File { len: 4, content: OutContent::Origin(number) })
            };
            let entries = files.iter().map(entry).collect();
            OutTree::check(entries, None, staged.clone(), share, 1000, 10).map(|tree| tree.len())
        };
        assert_eq!(check(Some(2), &[("moved", 0)]), Ok(1));
        assert_eq!(check(Some(3), &[("file", 1)]), Ok(1));
        assert_eq!(check(Some(2), &[("file", 0), ("two", 0)]), Err("one file in two places"));
        assert_eq!(check(Some(2), &[("file", 1)]), Err("a file of unknown origin"), "another share's");
        assert_eq!(check(None, &[("file", 0)]), Err("a file of unknown origin"), "none was handed in");
    }
}
