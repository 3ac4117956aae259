//! What files does a task see? A file system of our own, in which only names and bytes exist that the task may have.
//!
//! `/in`, `/out` and `/share` never touch a path of this machine: names live in memory, bytes in files that the
//! executor opened. So no path can lead out, listings are sorted, numbers and times are the same on every peer, and
//! quotas hold because there is no other way to write.
// spec: SBX-6, SBX-11, SBX-13

use super::blocks::{BLOCK, Blocks, HOLE};
use mesh_protocol::limits::{MAX_LINK_TARGET, MAX_TREE_DEPTH, MAX_TREE_PATH};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Longest path, as on common systems.
pub(crate) const MAX_PATH: usize = 4096;
/// Longest name.
const MAX_NAME: usize = 255;
/// Most links followed in one path.
const MAX_LINKS: usize = 40;
/// Most names looked at for one path, links included: each costs the host something.
const MAX_STEPS: u64 = 10_000;

/// Why an operation on a file failed, with the number WASI p1 gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Errno {
    BadFd = 8,
    Busy = 10,
    Exist = 20,
    Fault = 21,
    FileTooBig = 22,
    IllegalBytes = 25,
    Invalid = 28,
    Io = 29,
    IsDir = 31,
    Loop = 32,
    MFile = 33,
    NameTooLong = 37,
    NoEntry = 44,
    NoSpace = 51,
    NotDir = 54,
    NotEmpty = 55,
    NotSock = 57,
    NotSup = 58,
    Overflow = 61,
    Perm = 63,
    Range = 68,
    RoFs = 69,
    SPipe = 70,
    XDev = 75,
}

pub(crate) type Result<T> = std::result::Result<T, Errno>;

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::FileTooLarge
            | std::io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Io,
        }
    }
}

/// A node's place in the table.
pub(crate) type NodeId = usize;

/// Which part of the tree a node belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Region {
    /// The root and everything handed in: read-only.
    Fixed,
    /// `/out`.
    Out,
    /// A writable share, by its number.
    Share(u16),
}

/// What stands in a node.
pub(crate) enum Kind {
    Dir(BTreeMap<String, NodeId>),
    File(Content),
    Link(String),
}

/// Where a file's bytes are.
pub(crate) enum Content {
    /// In a file handed in, from an offset on. Never written to: a change copies it first.
    /// `origin` is the executor's number for the file.
    Base { file: Arc<File>, offset: u64, len: u64, origin: u32 },
    /// In blocks of our own.
    Blocks { blocks: Vec<u32>, len: u64 },
}

impl Content {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Base { len, .. } | Self::Blocks { len, .. } => *len,
        }
    }
}

struct Node {
    ino: u64,
    kind: Kind,
    parent: NodeId,
    /// Bytes of its name.
    name_len: usize,
    /// Does its name count against the quota? What was handed in does not.
    counted: bool,
    region: Region,
    nlink: u64,
    open: u32,
    atim: u64,
    mtim: u64,
    ctim: u64,
}

/// What can be known of a node. Times in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) ino: u64,
    pub(crate) filetype: FileType,
    pub(crate) nlink: u64,
    pub(crate) size: u64,
    pub(crate) atim: u64,
    pub(crate) mtim: u64,
    pub(crate) ctim: u64,
}

/// Kind of a node, with the number WASI p1 gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FileType {
    Dir = 3,
    File = 4,
    Link = 7,
}

/// How to open.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OpenHow {
    pub(crate) follow: bool,
    pub(crate) create: bool,
    pub(crate) exclusive: bool,
    pub(crate) truncate: bool,
    pub(crate) directory: bool,
    pub(crate) write: bool,
}

/// How much may be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    pub(crate) bytes: u64,
    pub(crate) files: u32,
}

/// The whole tree of one task.
pub(crate) struct Vfs {
    nodes: Vec<Option<Node>>,
    free: Vec<NodeId>,
    next_ino: u64,
    blocks: Blocks,
    quota: Quota,
    bytes: u64,
    files: u32,
    /// The virtual clock's reading, set before operations that stamp times.
    now: u64,
    /// First names looked for under `/`, `/in` and `/share` and not found: told to the user afterwards.
    missed: Vec<String>,
    /// Names looked at since this was last asked, to be paid for.
    steps: u64,
}

/// Most names kept in [`Vfs::missed`]: enough for a hint, too few to fill memory.
const MAX_MISSED: usize = 8;

pub(crate) const ROOT: NodeId = 0;

enum Step {
    Found(NodeId),
    /// The last name does not exist; this is where it would go.
    Absent {
        dir: NodeId,
        name: String,
    },
}

struct Walked {
    step: Step,
    /// The folder and name of the last step, unless the path ended in `.` or `..` or is the start itself.
    last: Option<(NodeId, String)>,
    wants_dir: bool,
}

impl Vfs {
    pub(crate) fn new(blocks: Blocks, quota: Quota, epoch: u64) -> Self {
        let mut this = Self {
            nodes: Vec::new(),
            free: Vec::new(),
            next_ino: 1,
            blocks,
            quota,
            bytes: 0,
            files: 0,
            now: epoch,
            missed: Vec::new(),
            steps: 0,
        };
        this.insert(Kind::Dir(BTreeMap::new()), ROOT, Region::Fixed, epoch);
        this
    }

    pub(crate) fn set_now(&mut self, now: u64) {
        self.now = now;
    }

    pub(crate) fn take_steps(&mut self) -> u64 {
        std::mem::take(&mut self.steps)
    }

    pub(crate) fn missed(&self) -> &[String] {
        &self.missed
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes[id].as_ref().expect("a node id is held only while its node lives")
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id].as_mut().expect("a node id is held only while its node lives")
    }

    pub(crate) fn kind(&self, id: NodeId) -> &Kind {
        &self.node(id).kind
    }

    fn insert(&mut self, kind: Kind, parent: NodeId, region: Region, time: u64) -> NodeId {
        let (ino, now) = (self.next_ino, time);
        self.next_ino += 1;
        let node = Node {
            ino,
            kind,
            parent,
            name_len: 0,
            counted: true,
            region,
            nlink: 1,
            open: 0,
            atim: now,
            mtim: now,
            ctim: now,
        };
        match self.free.pop() {
            Some(id) => {
                self.nodes[id] = Some(node);
                id
            }
            None => {
                self.nodes.push(Some(node));
                self.nodes.len() - 1
            }
        }
    }

    /// Puts a node into the tree while it is furnished, before the task runs. Only what lies in `/out` counts against
    /// the quota.
    pub(crate) fn furnish(
        &mut self,
        dir: NodeId,
        name: &str,
        kind: Kind,
        region: Region,
        mtim: u64,
    ) -> Result<NodeId> {
        check_name(name)?;
        if region == Region::Out && dir != ROOT {
            self.files += 1;
        }
        let id = self.insert(kind, dir, region, mtim);
        self.node_mut(id).name_len = name.len();
        self.node_mut(id).counted = region == Region::Out;
        match &mut self.node_mut(dir).kind {
            Kind::Dir(entries) if !entries.contains_key(name) => entries.insert(name.into(), id),
            Kind::Dir(_) => return Err(Errno::Exist),
            Kind::File(_) | Kind::Link(_) => return Err(Errno::NotDir),
        };
        Ok(id)
    }

    fn entries(&self, dir: NodeId) -> Result<&BTreeMap<String, NodeId>> {
        match &self.node(dir).kind {
            Kind::Dir(entries) => Ok(entries),
            Kind::File(_) | Kind::Link(_) => Err(Errno::NotDir),
        }
    }

    fn entries_mut(&mut self, dir: NodeId) -> &mut BTreeMap<String, NodeId> {
        match &mut self.node_mut(dir).kind {
            Kind::Dir(entries) => entries,
            Kind::File(_) | Kind::Link(_) => unreachable!("callers resolved this node as a folder"),
        }
    }

    /// Follows `path` from the folder `start`, which it cannot leave.
    fn walk(&mut self, start: NodeId, path: &str, follow: bool) -> Result<Walked> {
        if path.is_empty() {
            return Err(Errno::NoEntry);
        }
        if path.len() > MAX_PATH {
            return Err(Errno::NameTooLong);
        }
        if path.contains('\0') {
            return Err(Errno::Invalid);
        }
        if path.starts_with('/') {
            return Err(Errno::Perm);
        }
        let trailing_slash = path.ends_with('/');
        let mut todo: Vec<String> = path.split('/').rev().filter(|c| !c.is_empty()).map(Into::into).collect();
        let mut wants_dir = trailing_slash || matches!(todo.first().map(String::as_str), Some("." | ".."));
        let (mut here, mut links, mut last) = (start, 0, None);
        let mut steps = 0;
        while let Some(name) = todo.pop() {
            steps += 1;
            self.steps += 1;
            if steps > MAX_STEPS {
                return Err(Errno::Loop);
            }
            let entries = self.entries(here)?;
            match name.as_str() {
                "." => last = None,
                ".." => {
                    if here == start {
                        return Err(Errno::Perm);
                    }
                    here = self.node(here).parent;
                    last = None;
                }
                _ => {
                    if name.len() > MAX_NAME {
                        return Err(Errno::NameTooLong);
                    }
                    let Some(&next) = entries.get(&name) else {
                        self.note_missed(here, &name);
                        return if todo.is_empty() {
                            let step = Step::Absent { dir: here, name: name.clone() };
                            Ok(Walked { step, last: Some((here, name)), wants_dir })
                        } else {
                            Err(Errno::NoEntry)
                        };
                    };
                    if let Kind::Link(target) = &self.node(next).kind
                        && (follow || !todo.is_empty() || trailing_slash)
                    {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(Errno::Loop);
                        }
                        if target.starts_with('/') {
                            return Err(Errno::Perm);
                        }
                        if todo.is_empty() && target.ends_with('/') {
                            wants_dir = true;
                        }
                        let parts: Vec<String> =
                            target.split('/').rev().filter(|c| !c.is_empty()).map(Into::into).collect();
                        if todo.len() + parts.len() > MAX_PATH {
                            return Err(Errno::NameTooLong);
                        }
                        todo.extend(parts);
                        last = None;
                    } else {
                        last = Some((here, name));
                        here = next;
                    }
                }
            }
        }
        Ok(Walked { step: Step::Found(here), last, wants_dir })
    }

    fn note_missed(&mut self, dir: NodeId, name: &str) {
        let place = match dir {
            ROOT => String::new(),
            _ if self.node(dir).parent == ROOT && self.node(dir).region != Region::Out => {
                let above = self.entries(ROOT).ok().and_then(|e| e.iter().find(|&(_, &id)| id == dir));
                above.map_or_else(String::new, |(name, _)| format!("/{name}"))
            }
            _ => return,
        };
        let path = format!("{place}/{name}");
        if self.missed.len() < MAX_MISSED && !self.missed.contains(&path) {
            self.missed.push(path);
        }
    }

    fn find(&mut self, start: NodeId, path: &str, follow: bool) -> Result<NodeId> {
        let walked = self.walk(start, path, follow)?;
        match walked.step {
            Step::Absent { .. } => Err(Errno::NoEntry),
            Step::Found(id) if walked.wants_dir && !self.is_dir(id) => Err(Errno::NotDir),
            Step::Found(id) => Ok(id),
        }
    }

    pub(crate) fn is_dir(&self, id: NodeId) -> bool {
        matches!(self.node(id).kind, Kind::Dir(_))
    }

    pub(crate) fn writable(&self, id: NodeId) -> Result<()> {
        if self.node(id).region == Region::Fixed { Err(Errno::RoFs) } else { Ok(()) }
    }

    /// A folder that was removed while it was open holds nothing and takes nothing.
    fn alive(&self, dir: NodeId) -> Result<()> {
        if self.node(dir).nlink > 0 { Ok(()) } else { Err(Errno::NoEntry) }
    }

    /// Folders above a name in `dir`, and the bytes of a path to it, slashes included.
    fn depth(&self, mut dir: NodeId) -> (usize, usize) {
        let (mut depth, mut bytes) = (0, 0);
        while dir != ROOT {
            let node = self.node(dir);
            depth += 1;
            bytes += node.name_len + 1;
            dir = node.parent;
        }
        (depth, bytes)
    }

    fn count_file(&mut self) -> Result<()> {
        if self.files >= self.quota.files {
            return Err(Errno::NoSpace);
        }
        self.files += 1;
        Ok(())
    }

    fn change(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.node_mut(id);
        node.mtim = now;
        node.ctim = now;
    }

    fn add(&mut self, dir: NodeId, name: String, kind: Kind) -> Result<NodeId> {
        self.writable(dir)?;
        self.alive(dir)?;
        check_name(&name)?;
        let (depth, path) = self.depth(dir);
        if depth >= MAX_TREE_DEPTH || path + name.len() > MAX_TREE_PATH {
            return Err(Errno::NameTooLong);
        }
        self.count_file()?;
        let region = self.node(dir).region;
        let id = self.insert(kind, dir, region, self.now);
        self.node_mut(id).name_len = name.len();
        self.entries_mut(dir).insert(name, id);
        self.change(dir);
        Ok(id)
    }

    /// Opens a node and holds it until [`Vfs::close`].
    pub(crate) fn open(&mut self, start: NodeId, path: &str, how: OpenHow) -> Result<NodeId> {
        let walked = self.walk(start, path, how.follow && !(how.create && how.exclusive))?;
        let id = match walked.step {
            Step::Found(_) if how.create && how.exclusive => return Err(Errno::Exist),
            Step::Found(id) => id,
            Step::Absent { .. } if !how.create => return Err(Errno::NoEntry),
            Step::Absent { .. } if walked.wants_dir => return Err(Errno::IsDir),
            Step::Absent { .. } if how.directory => return Err(Errno::Invalid),
            Step::Absent { dir, name } => {
                self.add(dir, name, Kind::File(Content::Blocks { blocks: Vec::new(), len: 0 }))?
            }
        };
        match &self.node(id).kind {
            Kind::Link(_) => return Err(Errno::Loop),
            Kind::File(_) if walked.wants_dir || how.directory => return Err(Errno::NotDir),
            Kind::Dir(_) if how.truncate || (how.create && !how.directory) => return Err(Errno::IsDir),
            Kind::Dir(_) if how.create => return Err(Errno::Invalid),
            Kind::File(_) if how.write || how.truncate => self.writable(id)?,
            Kind::File(_) | Kind::Dir(_) => {}
        }
        if how.truncate {
            self.set_size(id, 0)?;
        }
        self.hold(id);
        Ok(id)
    }

    pub(crate) fn hold(&mut self, id: NodeId) {
        self.node_mut(id).open += 1;
    }

    /// Lets go of a node that [`Vfs::open`] or [`Vfs::hold`] held.
    pub(crate) fn close(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        node.open = node.open.saturating_sub(1);
        self.drop_if_unused(id);
    }

    fn drop_if_unused(&mut self, id: NodeId) {
        let node = self.node(id);
        if node.nlink > 0 || node.open > 0 {
            return;
        }
        if let Some(Node { kind: Kind::File(Content::Blocks { blocks, len }), .. }) = self.nodes[id].take() {
            self.bytes -= len;
            self.blocks.take_back(blocks);
        }
        self.free.push(id);
    }

    fn unlink_node(&mut self, dir: NodeId, name: &str, id: NodeId) {
        self.entries_mut(dir).remove(name);
        self.change(dir);
        let now = self.now;
        let node = self.node_mut(id);
        node.nlink -= 1;
        node.ctim = now;
        // What was above it may go before it does.
        node.parent = ROOT;
        if std::mem::take(&mut node.counted) {
            self.files -= 1;
        }
        self.drop_if_unused(id);
    }

    pub(crate) fn stat(&self, id: NodeId) -> Stat {
        let node = self.node(id);
        let (filetype, size) = match &node.kind {
            Kind::Dir(_) => (FileType::Dir, 0),
            Kind::File(content) => (FileType::File, content.len()),
            Kind::Link(target) => (FileType::Link, target.len() as u64),
        };
        let Node { ino, nlink, atim, mtim, ctim, .. } = *node;
        Stat { ino, filetype, nlink, size, atim, mtim, ctim }
    }

    pub(crate) fn stat_at(&mut self, start: NodeId, path: &str, follow: bool) -> Result<Stat> {
        let id = self.find(start, path, follow)?;
        Ok(self.stat(id))
    }

    pub(crate) fn set_times(&mut self, id: NodeId, atim: Option<u64>, mtim: Option<u64>) -> Result<()> {
        self.writable(id)?;
        let now = self.now;
        let node = self.node_mut(id);
        node.atim = atim.unwrap_or(node.atim);
        node.mtim = mtim.unwrap_or(node.mtim);
        node.ctim = now;
        Ok(())
    }

    pub(crate) fn set_times_at(
        &mut self,
        start: NodeId,
        path: &str,
        follow: bool,
        atim: Option<u64>,
        mtim: Option<u64>,
    ) -> Result<()> {
        let id = self.find(start, path, follow)?;
        self.set_times(id, atim, mtim)
    }

    pub(crate) fn create_dir(&mut self, start: NodeId, path: &str) -> Result<()> {
        match self.walk(start, path, false)?.step {
            Step::Found(_) => Err(Errno::Exist),
            Step::Absent { dir, name } => self.add(dir, name, Kind::Dir(BTreeMap::new())).map(|_| ()),
        }
    }

    pub(crate) fn remove_dir(&mut self, start: NodeId, path: &str) -> Result<()> {
        let walked = self.walk(start, path, false)?;
        let Step::Found(id) = walked.step else { return Err(Errno::NoEntry) };
        let entries = self.entries(id)?;
        let Some((dir, name)) = walked.last else { return Err(Errno::Invalid) };
        if !entries.is_empty() {
            return Err(Errno::NotEmpty);
        }
        // `/out` itself and a share's folder are places, not content.
        self.writable(dir)?;
        self.unlink_node(dir, &name, id);
        Ok(())
    }

    pub(crate) fn unlink(&mut self, start: NodeId, path: &str) -> Result<()> {
        let walked = self.walk(start, path, false)?;
        let Step::Found(id) = walked.step else { return Err(Errno::NoEntry) };
        if self.is_dir(id) {
            return Err(Errno::IsDir);
        }
        if walked.wants_dir {
            return Err(Errno::NotDir);
        }
        let Some((dir, name)) = walked.last else { return Err(Errno::Invalid) };
        self.writable(dir)?;
        self.unlink_node(dir, &name, id);
        Ok(())
    }

    pub(crate) fn symlink(&mut self, target: &str, start: NodeId, path: &str) -> Result<()> {
        if target.is_empty() {
            return Err(Errno::NoEntry);
        }
        if target.len() > MAX_LINK_TARGET {
            return Err(Errno::NameTooLong);
        }
        // A link that starts at the root could mean another file on every machine that collects it.
        if target.starts_with('/') {
            return Err(Errno::Perm);
        }
        if target.contains('\0') {
            return Err(Errno::Invalid);
        }
        let walked = self.walk(start, path, false)?;
        match walked.step {
            Step::Found(_) => Err(Errno::Exist),
            Step::Absent { .. } if walked.wants_dir => Err(Errno::NoEntry),
            Step::Absent { dir, name } => self.add(dir, name, Kind::Link(target.into())).map(|_| ()),
        }
    }

    pub(crate) fn readlink(&mut self, start: NodeId, path: &str) -> Result<String> {
        let id = self.find(start, path, false)?;
        match &self.node(id).kind {
            Kind::Link(target) => Ok(target.clone()),
            Kind::Dir(_) | Kind::File(_) => Err(Errno::Invalid),
        }
    }

    /// Two names for one file would be two files wherever they are collected, of twice the bytes; as on file systems
    /// without hard links, there are none.
    pub(crate) fn link(
        &mut self,
        from: NodeId,
        old: &str,
        follow: bool,
        to: NodeId,
        new: &str,
    ) -> Result<()> {
        let id = self.find(from, old, follow)?;
        self.writable(id)?;
        match self.walk(to, new, false)?.step {
            Step::Found(_) => Err(Errno::Exist),
            Step::Absent { dir, .. } => self.writable(dir).and(Err(Errno::Perm)),
        }
    }

    pub(crate) fn rename(&mut self, from: NodeId, old: &str, to: NodeId, new: &str) -> Result<()> {
        let source = self.walk(from, old, false)?;
        let Step::Found(id) = source.step else { return Err(Errno::NoEntry) };
        if source.wants_dir && !self.is_dir(id) {
            return Err(Errno::NotDir);
        }
        let Some((old_dir, old_name)) = source.last else { return Err(Errno::Busy) };
        let target = self.walk(to, new, false)?;
        let Some((new_dir, new_name)) = target.last else { return Err(Errno::Busy) };
        self.writable(old_dir)?;
        self.writable(new_dir)?;
        self.alive(new_dir)?;
        check_name(&new_name)?;
        if self.node(old_dir).region != self.node(new_dir).region {
            return Err(Errno::XDev);
        }
        let moves_dir = self.is_dir(id);
        if target.wants_dir && !moves_dir {
            return Err(Errno::NotDir);
        }
        if moves_dir {
            let mut above = new_dir;
            while above != ROOT {
                if above == id {
                    return Err(Errno::Invalid);
                }
                above = self.node(above).parent;
            }
        }
        // What moves is walked to its last name.
        let mut names = 0;
        let ((above, path), (below, longest)) = (self.depth(new_dir), self.height(id, &mut names));
        self.steps += names;
        if above + below >= MAX_TREE_DEPTH || path + new_name.len() + longest > MAX_TREE_PATH {
            return Err(Errno::NameTooLong);
        }
        if let Step::Found(replaced) = target.step {
            if replaced == id {
                return Ok(());
            }
            match (&self.node(replaced).kind, moves_dir) {
                (Kind::Dir(_), false) => return Err(Errno::IsDir),
                (Kind::File(_) | Kind::Link(_), true) => return Err(Errno::NotDir),
                (Kind::Dir(entries), true) if !entries.is_empty() => return Err(Errno::NotEmpty),
                _ => self.unlink_node(new_dir, &new_name, replaced),
            }
        }
        self.entries_mut(old_dir).remove(&old_name);
        self.node_mut(id).name_len = new_name.len();
        self.entries_mut(new_dir).insert(new_name, id);
        self.node_mut(id).parent = new_dir;
        self.change(old_dir);
        self.change(new_dir);
        Ok(())
    }

    /// How far the deepest name below `id` is from it, in folders and in bytes of path. Adds up the names looked at.
    fn height(&self, id: NodeId, names: &mut u64) -> (usize, usize) {
        let Kind::Dir(entries) = &self.node(id).kind else { return (0, 0) };
        *names += entries.len() as u64;
        let deepest = |(depth, bytes): (usize, usize), (name, &child): (&String, &NodeId)| {
            let below = self.height(child, names);
            (depth.max(1 + below.0), bytes.max(1 + name.len() + below.1))
        };
        entries.iter().fold((1, 0), deepest)
    }

    /// Names in a folder, sorted, from the `skip`th on.
    pub(crate) fn list(&self, dir: NodeId, skip: usize) -> Result<impl Iterator<Item = (&str, Stat)>> {
        Ok(self.entries(dir)?.iter().skip(skip).map(|(name, &id)| (name.as_str(), self.stat(id))))
    }

    pub(crate) fn parent(&self, dir: NodeId) -> NodeId {
        self.node(dir).parent
    }

    pub(crate) fn read(&mut self, id: NodeId, offset: u64, bytes: &mut [u8]) -> Result<usize> {
        let Kind::File(content) = &self.node(id).kind else { return Err(Errno::IsDir) };
        let left = content.len().saturating_sub(offset);
        let count = (bytes.len() as u64).min(left) as usize;
        match content {
            Content::Base { file, offset: base, .. } => {
                // A file that shrank while the task read it is an error, not a shorter file: its length was promised.
                file.read_exact_at(&mut bytes[..count], base + offset)?;
            }
            Content::Blocks { blocks, .. } => self.blocks.read(blocks, offset, &mut bytes[..count])?,
        }
        Ok(count)
    }

    /// Makes the file's content ours to change, of length `len`.
    fn own(&mut self, id: NodeId, len: u64) -> Result<()> {
        self.writable(id)?;
        let node = self.nodes[id].as_mut().expect("a node id is held only while its node lives");
        let Kind::File(content) = &mut node.kind else { return Err(Errno::IsDir) };
        if len > u64::from(HOLE - 1) * BLOCK {
            return Err(Errno::FileTooBig);
        }
        let had = match content {
            Content::Blocks { len, .. } => *len,
            Content::Base { .. } => 0,
        };
        let total = self.bytes - had + len;
        if total > self.quota.bytes && len > content.len() {
            return Err(Errno::NoSpace);
        }
        if let Content::Base { file, offset, len: base_len, .. } = content {
            // Of a file that is cut off, only what stays is copied.
            let keep = len.min(*base_len);
            if keep > self.quota.bytes - (self.bytes - had).min(self.quota.bytes) {
                return Err(Errno::NoSpace);
            }
            let mut blocks = vec![HOLE; keep.div_ceil(BLOCK) as usize];
            self.steps += blocks.len() as u64 * 5;
            let mut chunk = vec![0; 64 * 1024];
            let mut at = 0;
            while at < keep {
                let count = (chunk.len() as u64).min(keep - at) as usize;
                file.read_exact_at(&mut chunk[..count], *offset + at)?;
                self.blocks.write(&mut blocks, at, &chunk[..count])?;
                at += count as u64;
            }
            *content = Content::Blocks { blocks, len: keep };
        }
        let Content::Blocks { blocks, len: old } = content else { unreachable!("made so above") };
        let wanted = len.div_ceil(BLOCK) as usize;
        // A file is hashed by its length, holes too, when its task is long done; it is paid for here. What was copied
        // above is paid for there.
        self.steps += wanted.abs_diff(blocks.len()) as u64 * 5;
        if wanted < blocks.len() {
            self.blocks.take_back(blocks.drain(wanted..));
        } else {
            blocks.resize(wanted, HOLE);
        }
        if len < *old && !len.is_multiple_of(BLOCK) {
            // What was cut off must read as zeros if the file grows again.
            let rest = vec![0; (BLOCK - len % BLOCK) as usize];
            if blocks[wanted - 1] != HOLE {
                self.blocks.write(blocks, len, &rest)?;
            }
        }
        *old = len;
        self.bytes = total;
        Ok(())
    }

    pub(crate) fn write(&mut self, id: NodeId, offset: u64, bytes: &[u8]) -> Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let old = match &self.node(id).kind {
            Kind::File(content) => content.len(),
            Kind::Dir(_) | Kind::Link(_) => return Err(Errno::IsDir),
        };
        let end = offset.checked_add(bytes.len() as u64).ok_or(Errno::FileTooBig)?;
        self.own(id, end.max(old))?;
        let node = self.nodes[id].as_mut().expect("a node id is held only while its node lives");
        let Kind::File(Content::Blocks { blocks, .. }) = &mut node.kind else { unreachable!("owned above") };
        self.blocks.write(blocks, offset, bytes)?;
        self.change(id);
        Ok(bytes.len())
    }

    pub(crate) fn set_size(&mut self, id: NodeId, len: u64) -> Result<()> {
        self.own(id, len)?;
        self.change(id);
        Ok(())
    }

    /// Everything below `dir`, sorted, each folder before what is in it.
    pub(crate) fn export(&self, dir: NodeId) -> Vec<(String, crate::wire::OutNode)> {
        let mut list = Vec::new();
        self.export_into(dir, "", &mut list);
        list
    }

    fn export_into(&self, dir: NodeId, path: &str, list: &mut Vec<(String, crate::wire::OutNode)>) {
        use crate::wire::{OutContent, OutNode};
        let Kind::Dir(entries) = &self.node(dir).kind else { return };
        for (name, &id) in entries {
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let node = match &self.node(id).kind {
                Kind::Dir(_) => OutNode::Dir,
                Kind::Link(target) => OutNode::Link(target.clone()),
                Kind::File(Content::Base { len, origin, .. }) => {
                    OutNode::File { len: *len, content: OutContent::Origin(*origin) }
                }
                Kind::File(Content::Blocks { blocks, len }) => {
                    let runs = runs(blocks);
                    let mut chunks = runs.chunks(MAX_RUNS);
                    let content = OutContent::Runs(chunks.next().unwrap_or_default().to_vec());
                    list.push((path.clone(), OutNode::File { len: *len, content }));
                    list.extend(chunks.map(|more| (path.clone(), OutNode::More(more.to_vec()))));
                    continue;
                }
            };
            list.push((path.clone(), node));
            self.export_into(id, &path, list);
        }
    }

    pub(crate) fn lookup(&self, dir: NodeId, name: &str) -> Option<NodeId> {
        self.entries(dir).ok()?.get(name).copied()
    }

    /// Bytes and names in use.
    #[cfg(test)]
    pub(crate) fn used(&self) -> (u64, u32) {
        (self.bytes, self.files)
    }
}

/// Most runs of blocks in one entry, so that an entry fits into a message: ten bytes each at the most.
pub(crate) const MAX_RUNS: usize = 4096;

/// Blocks as runs of (first, count); a run of holes has [`HOLE`] as its first.
fn runs(blocks: &[u32]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &block in blocks {
        match runs.last_mut() {
            Some((first, count))
                if (*first == HOLE && block == HOLE) || (*first != HOLE && block == *first + *count) =>
            {
                *count += 1;
            }
            _ => runs.push((block, 1)),
        }
    }
    runs
}

fn check_name(name: &str) -> Result<()> {
    if name.len() > MAX_NAME {
        return Err(Errno::NameTooLong);
    }
    // Names that other systems read as something else never leave a task.
    if !mesh_protocol::manifest::is_file_name(name) {
        return Err(Errno::Invalid);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
