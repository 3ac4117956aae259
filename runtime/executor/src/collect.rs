//! What a task left, taken out of a file that it wrote and believed nowhere.
// spec: SBX-11

use crate::guest::blocks::{BLOCK, HOLE, read_or_zero};
use crate::stage::Staged;
use crate::wire::{InEntry, InNode, OutContent, OutNode};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};
use mesh_protocol::checkpoint;
use mesh_protocol::digest::{self, TreeEntry, TreeNode};
use mesh_protocol::ids::Digest;
use mesh_protocol::manifest::is_file_name;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most bytes read at a time.
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
    /// A file that the task worked on was changed meanwhile; nothing was put in place.
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

impl std::fmt::Debug for OutTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.items.keys()).finish()
    }
}

impl OutTree {
    /// Checks what a worker says its task left. An error is what is wrong with it: such a worker is not to be trusted.
    pub(crate) fn check(
        entries: Vec<(String, OutNode)>,
        blocks: Option<Arc<File>>,
        staged: Arc<Staged>,
        max_bytes: u64,
        max_files: usize,
    ) -> Result<Self, &'static str> {
        let stored = match &blocks {
            Some(file) => file.metadata().map_err(|_| "its block file cannot be read")?.len(),
            None => 0,
        };
        let mut items: BTreeMap<Vec<String>, Item> = BTreeMap::new();
        let mut total = 0u64;
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
                OutNode::Link(target) if target.len() <= 4096 && !target.contains('\0') => Item::Link(target),
                OutNode::Link(_) => return Err("a link is too long"),
                OutNode::File { len, content: OutContent::Runs(runs) } => {
                    total = total.saturating_add(len);
                    Item::File { len, source: Source::Runs(runs) }
                }
                OutNode::File { len, content: OutContent::Origin(number) } => {
                    match staged.entries.get(number as usize).map(|entry| &entry.node) {
                        Some(InNode::File { len: its, .. }) if *its == len => {}
                        _ => return Err("a file of unknown origin"),
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

    /// Hands a file's bytes on, in order; the zeros of holes as [`Piece::Zeros`].
    fn read(&self, item: &Item, sink: &mut dyn FnMut(Piece<'_>) -> io::Result<()>) -> io::Result<()> {
        let Item::File { len, source } = item else { return Ok(()) };
        let mut buffer = vec![0; CHUNK.min((*len).max(1) as usize)];
        let mut left = *len;
        match source {
            Source::Origin(number) => {
                let Some(InNode::File { file, offset, .. }) = self.entry(*number).map(|entry| &entry.node)
                else {
                    return Err(io::ErrorKind::NotFound.into());
                };
                let file = self.staged.origin(*file).ok_or(io::ErrorKind::NotFound)?;
                let mut at = *offset;
                while left > 0 {
                    let count = left.min(buffer.len() as u64) as usize;
                    file.read_exact_at(&mut buffer[..count], at)?;
                    sink(Piece::Bytes(&buffer[..count]))?;
                    at += count as u64;
                    left -= count as u64;
                }
            }
            Source::Runs(runs) => {
                for &(first, blocks) in runs {
                    let mut in_run = (u64::from(blocks) * BLOCK).min(left);
                    left -= in_run;
                    if first == HOLE {
                        sink(Piece::Zeros(in_run))?;
                        continue;
                    }
                    let mut at = u64::from(first) * BLOCK;
                    while in_run > 0 {
                        let count = in_run.min(buffer.len() as u64) as usize;
                        let blocks = self.blocks.as_deref().ok_or(io::ErrorKind::NotFound)?;
                        read_or_zero(blocks, &mut buffer[..count], at)?;
                        sink(Piece::Bytes(&buffer[..count]))?;
                        at += count as u64;
                        in_run -= count as u64;
                    }
                }
            }
        }
        Ok(())
    }

    /// The tree's digest.
    pub fn digest(&self) -> io::Result<Digest> {
        let mut entries = Vec::with_capacity(self.items.len());
        for (path, item) in &self.items {
            let node = match item {
                Item::Dir => TreeNode::Dir,
                Item::Link(target) => TreeNode::Link(target.clone()),
                Item::File { len, .. } => {
                    let mut hasher = blake3::Hasher::new();
                    self.read(item, &mut |piece| {
                        piece.each(&mut |bytes| {
                            hasher.update(bytes);
                        });
                        Ok(())
                    })?;
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
                Item::File { len, .. } => {
                    let mut bytes = Vec::with_capacity(*len as usize);
                    self.read(item, &mut |piece| {
                        piece.each(&mut |part| bytes.extend_from_slice(part));
                        Ok(())
                    })?;
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
                    Item::File { .. } => self.put_file(&dir, name, item, None),
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

    /// Writes beside, then moves into place.
    fn put_file(&self, dir: &Dir, name: &str, item: &Item, mode: Option<u32>) -> io::Result<()> {
        let (mode, keep_mode) = (mode.unwrap_or(0o666), mode.is_some());
        if dir.symlink_metadata(name).is_ok_and(|meta| meta.is_dir()) {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "a folder has this name"));
        }
        let mut number = [0; 6];
        getrandom::fill(&mut number).map_err(io::Error::other)?;
        let temporary = format!(".{}.part", mesh_protocol::ids::to_hex(&number));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let written = (|| {
            let mut file = dir.open_with(&temporary, &options)?;
            if keep_mode {
                // The umask is for what is new.
                file.set_permissions(Permissions::from_mode(mode))?;
            }
            // Holes stay holes, so that a file takes no more room here than its task filled.
            self.read(item, &mut |piece| match piece {
                Piece::Bytes(bytes) => file.write_all(bytes),
                Piece::Zeros(count) => file.seek_relative(i64::try_from(count).map_err(io::Error::other)?),
            })?;
            let end = file.stream_position()?;
            file.set_len(end)?;
            file.sync_data()?;
            dir.rename(&temporary, dir, name)
        })();
        if written.is_err() {
            let _gone = dir.remove_file(&temporary);
        }
        written
    }

    /// Puts a share's changes in place, if nothing it was handed has changed since: new and changed files first, each
    /// whole or not at all, then what the task removed. Says how many files were written and removed.
    pub fn release(&self, number: u16, folder: &Path) -> Result<(usize, usize), CollectError> {
        let failed = |path: &Path, source| CollectError::Write { path: path.into(), source };
        let tree = 2 + number;
        let before: BTreeMap<Vec<String>, &InEntry> = self
            .staged
            .entries
            .iter()
            .filter(|entry| entry.tree == tree)
            .map(|entry| (entry.path.split('/').map(Into::into).collect(), entry))
            .collect();
        let mut now = Staged::new();
        let share = crate::stage::Share {
            name: String::new(),
            path: folder.into(),
            access: mesh_protocol::permissions::Access::Ro,
        };
        let unchanged = now.share(number, &share).is_ok()
            && now.entries.len() == before.len()
            && now.entries.iter().all(|entry| {
                let parts: Vec<String> = entry.path.split('/').map(Into::into).collect();
                before.get(&parts).is_some_and(|old| old.same(entry))
            });
        if !unchanged || self.staged.changed() {
            return Err(CollectError::Conflict(folder.into()));
        }
        let root = Dir::open_ambient_dir(folder, ambient_authority()).map_err(|e| failed(folder, e))?;
        let (mut written, mut removed) = (0, 0);
        // Where a file becomes a folder or the other way round, the old one has to make room.
        let in_the_way = |path: &Vec<String>, entry: &InEntry| {
            let becomes_other = match (self.items.get(path), &entry.node) {
                (None, _)
                | (Some(Item::Dir), InNode::Dir)
                | (Some(Item::File { .. }), InNode::File { .. }) => false,
                (Some(_), _) => true,
            };
            let below_file =
                (1..path.len()).any(|len| matches!(self.items.get(&path[..len]), Some(Item::File { .. })));
            becomes_other || below_file
        };
        let mut gone = BTreeSet::new();
        for (path, entry) in before.iter().rev() {
            let children = || {
                before
                    .keys()
                    .any(|below| below.len() > path.len() && below.starts_with(path) && !gone.contains(below))
            };
            if !in_the_way(path, entry) || children() {
                continue;
            }
            remove(&root, path).map_err(|source| failed(&folder.join(path.join("/")), source))?;
            gone.insert(path.clone());
        }
        for (path, item) in &self.items {
            let shown = folder.join(path.join("/"));
            let old = before.get(path).filter(|_| !gone.contains(path)).map(|entry| &entry.node);
            let done = open_parent(&root, path).and_then(|dir| {
                let name = &path[path.len() - 1];
                match (item, old) {
                    (Item::Dir, Some(InNode::Dir)) => Ok(()),
                    (Item::Dir, _) => dir.create_dir(name),
                    (Item::File { source: Source::Origin(number), .. }, Some(_))
                        if self.entry(*number).is_some_and(|entry| entry.path == path.join("/")) =>
                    {
                        Ok(())
                    }
                    (Item::File { .. }, _) => {
                        written += 1;
                        // As private as what it replaces; what is new, for its owner alone.
                        let mode = dir.symlink_metadata(name).map_or(0o600, |meta| meta.mode() & 0o777);
                        self.put_file(&dir, name, item, Some(mode))
                    }
                    (Item::Link(_), _) => Ok(()),
                }
            });
            done.map_err(|source| failed(&shown, source))?;
        }
        for path in
            before.keys().rev().filter(|path| !self.items.contains_key(*path) && !gone.contains(*path))
        {
            remove(&root, path).map_err(|source| failed(&folder.join(path.join("/")), source))?;
            removed += 1;
        }
        Ok((written, removed))
    }
}

/// A part of a file.
enum Piece<'a> {
    Bytes(&'a [u8]),
    /// So many zeros that were never written.
    Zeros(u64),
}

impl Piece<'_> {
    /// Hands on its bytes, zeros too.
    fn each(&self, sink: &mut dyn FnMut(&[u8])) {
        match self {
            Self::Bytes(bytes) => sink(bytes),
            Self::Zeros(count) => {
                let zeros = [0; 4096];
                let mut left = *count;
                while left > 0 {
                    let part = left.min(zeros.len() as u64);
                    sink(&zeros[..part as usize]);
                    left -= part;
                }
            }
        }
    }
}

/// Does a link's target lie beside or below the link?
fn points_down(target: &str) -> bool {
    !target.starts_with('/') && target.split('/').all(|part| part != "..")
}

fn remove(root: &Dir, path: &[String]) -> io::Result<()> {
    let (dir, name) = (open_parent(root, path)?, &path[path.len() - 1]);
    if dir.symlink_metadata(name)?.is_dir() { dir.remove_dir(name) } else { dir.remove_file(name) }
}

/// Opens the folder a path lies in, step by step, following no link.
fn open_parent(root: &Dir, path: &[String]) -> io::Result<Dir> {
    let mut dir = root.try_clone()?;
    for part in &path[..path.len() - 1] {
        if dir.symlink_metadata(part)?.is_symlink() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a link stands where a folder should"));
        }
        dir = dir.open_dir(part)?;
    }
    Ok(dir)
}
