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
use mesh_protocol::manifest::is_file_name;
use std::collections::BTreeMap;
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

    fn put_file(&self, dir: &Dir, name: &str, item: &Item, mode: Option<u32>) -> io::Result<()> {
        put_beside(dir, name, mode, |file| self.write_file(item, file))
    }

    /// Holes stay holes, so that a file takes no more room here than its task filled.
    fn write_file(&self, item: &Item, file: &mut cap_std::fs::File) -> io::Result<()> {
        self.read(item, &mut |piece| match piece {
            Piece::Bytes(bytes) => file.write_all(bytes),
            Piece::Zeros(count) => file.seek_relative(i64::try_from(count).map_err(io::Error::other)?),
        })
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
                Item::File { .. } => held.file(path, |file| self.write_file(item, file)).map_err(failed)?,
                // A link could lead anywhere by the time somebody follows it.
                Item::Link(_) => {}
            }
        }
        held.finish().map_err(failed)
    }
}

/// Writes a file beside, then moves it into place.
pub(crate) fn put_beside(
    dir: &Dir,
    name: &str,
    mode: Option<u32>,
    write: impl FnOnce(&mut cap_std::fs::File) -> io::Result<()>,
) -> io::Result<()> {
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
        write(&mut file)?;
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
