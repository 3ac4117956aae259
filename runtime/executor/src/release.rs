//! What a task changed in a share: held beside it until it may take effect, then put in place in steps that may be cut
//! off at any moment and begun again.
// spec: DEL-4, SBX-11

use crate::collect::{CollectError, new_name, open_parent, part_name, put_beside, remove};
use crate::stage::changed_at;
use crate::wire::{InEntry, InNode};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, MetadataExt};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Names in the folder of what is held; the new files lie beside them by number.
const PLAN: &str = "plan";
/// Is there once the originals were found unchanged: from then on the steps are taken to their end.
const BEGUN: &str = "begun";
/// Bytes copied at a time; a piece that is all zeros becomes a hole.
const PIECE: usize = 64 * 1024;

/// A path by its names.
type Steps = Vec<String>;

/// How what is held is to be put in place.
#[derive(Serialize, Deserialize)]
struct Plan {
    /// What the task was handed.
    before: BTreeMap<Steps, Before>,
    /// What it left.
    after: BTreeMap<Steps, After>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Before {
    Dir,
    /// `mtime` as [`changed_at`] has it, its bits as a number without sign.
    File {
        len: u64,
        mtime: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum After {
    Dir,
    /// The file it was handed, as it was.
    Kept,
    /// The held file of this number.
    New(u32),
}

fn parts(path: &str) -> Steps {
    path.split('/').map(Into::into).collect()
}

fn known<'a>(entries: impl Iterator<Item = &'a InEntry>) -> BTreeMap<Steps, Before> {
    let before = entries.filter_map(|entry| {
        let before = match entry.node {
            InNode::Dir => Before::Dir,
            InNode::File { len, .. } => Before::File { len, mtime: entry.mtime.cast_unsigned() },
            InNode::Link(_) => return None,
        };
        Some((parts(&entry.path), before))
    });
    before.collect()
}

/// What is being held.
pub(crate) struct Held {
    folder: PathBuf,
    plan: Plan,
    files: u32,
}

impl Held {
    pub(crate) fn new<'a>(folder: &Path, before: impl Iterator<Item = &'a InEntry>) -> io::Result<Self> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let plan = Plan { before: known(before), after: BTreeMap::new() };
        Ok(Self { folder: folder.into(), plan, files: 0 })
    }

    pub(crate) fn dir(&mut self, path: &[String]) {
        self.plan.after.insert(path.to_vec(), After::Dir);
    }

    pub(crate) fn kept(&mut self, path: &[String]) {
        self.plan.after.insert(path.to_vec(), After::Kept);
    }

    pub(crate) fn file(
        &mut self,
        path: &[String],
        write: impl FnOnce(&mut cap_std::fs::File) -> io::Result<()>,
    ) -> io::Result<()> {
        let dir = Dir::open_ambient_dir(&self.folder, ambient_authority())?;
        put_beside(&dir, &self.files.to_string(), &new_name()?, Some(0o600), write)?;
        self.plan.after.insert(path.to_vec(), After::New(self.files));
        self.files += 1;
        Ok(())
    }

    /// Only with this it counts.
    pub(crate) fn finish(self) -> io::Result<()> {
        let bytes = postcard::to_stdvec(&self.plan).map_err(io::Error::other)?;
        write_durably(&self.folder, PLAN, &bytes)?;
        // The folder's own name, too, must be there after a power cut; those above it are the caller's.
        self.folder.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    }
}

fn write_durably(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let beside = folder.join(format!("{name}.part"));
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&beside, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// Puts what [`OutTree::hold`](crate::OutTree::hold) left in `held` in place in the folder `share`, if nothing that the task was handed has
/// changed since: what has to make room first, then new and changed files, each whole or not at all, then what the task
/// removed. What was cut off goes on when it is called again. Says how many files were written and removed, and takes
/// `held` away; nothing is done if there is no such folder.
///
/// # Errors
/// It is held still, and whoever is told again hears the same: after [`CollectError::Conflict`] the caller takes `held`
/// away once that is known to whom it concerns, after [`CollectError::Write`] another try may do.
// spec: DEL-4
pub fn release(held: &Path, share: &Path) -> Result<(usize, usize), CollectError> {
    let failed = |source| CollectError::Write { path: held.into(), source };
    let bytes = match fs::read(held.join(PLAN)) {
        Ok(bytes) => bytes,
        // Nothing was held, or all of it is in place.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return clear(held).map(|()| (0, 0)),
        Err(error) => return Err(failed(error)),
    };
    let plan: Plan = postcard::from_bytes(&bytes).map_err(|error| failed(io::Error::other(error)))?;
    let begun = held.join(BEGUN).exists();
    if !begun {
        let looked = unchanged(&plan.before, share);
        if !looked.map_err(|source| CollectError::Write { path: share.into(), source })? {
            return Err(CollectError::Conflict(share.into()));
        }
        write_durably(held, BEGUN, b"").map_err(failed)?;
    }
    if begun {
        plan.clear_beside(held, share);
    }
    let done = plan.carry_out(held, share)?;
    clear(held)?;
    Ok(done)
}

/// The plan goes first: without it there is nothing to be done again.
fn clear(held: &Path) -> Result<(), CollectError> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CollectError::Write { path: held.into(), source: error })
        }
        _ => Ok(()),
    };
    gone(fs::remove_file(held.join(PLAN)))?;
    gone(fs::remove_dir_all(held))
}

/// By which name a held file is written in the share before it is moved into place: always the same, so that what was
/// cut off is found when it goes on.
fn beside(held: &Path, number: u32) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("taskmesh held file v1");
    hasher.update(&number.to_le_bytes()).update(held.as_os_str().as_bytes());
    let mut name = [0; 6];
    hasher.finalize_xof().fill(&mut name);
    part_name(name)
}

impl Plan {
    /// Takes away what was being written when it was cut off: it is nothing of the owner's. What cannot be taken away is
    /// in the way of its file, and told then.
    fn clear_beside(&self, held: &Path, share: &Path) {
        let Ok(root) = Dir::open_ambient_dir(share, ambient_authority()) else { return };
        for (path, after) in &self.after {
            if let After::New(number) = after {
                let _absent = open_parent(&root, path).and_then(|dir| dir.remove_file(beside(held, *number)));
            }
        }
    }

    fn carry_out(&self, held: &Path, share: &Path) -> Result<(usize, usize), CollectError> {
        let shown = |path: &Steps| share.join(path.join("/"));
        let failed = |path: &Steps, source| CollectError::Write { path: shown(path), source };
        let root = Dir::open_ambient_dir(share, ambient_authority())
            .map_err(|source| CollectError::Write { path: share.into(), source })?;
        let (mut written, mut removed) = (0, 0);
        let mut gone = BTreeSet::new();
        for (path, before) in
            self.before.iter().rev().filter(|(path, before)| self.in_the_way(path, **before))
        {
            let children = self
                .before
                .keys()
                .any(|below| below.len() > path.len() && below.starts_with(path) && !gone.contains(below));
            if children {
                continue;
            }
            if is_still(&root, path, *before) {
                remove(&root, path).map_err(|source| failed(path, source))?;
            }
            gone.insert(path.clone());
        }
        for (path, after) in &self.after {
            let old = self.before.get(path).filter(|_| !gone.contains(path));
            let name = &path[path.len() - 1];
            match after {
                After::Kept => {}
                After::Dir if old == Some(&Before::Dir) => {}
                After::Dir => {
                    let made = open_parent(&root, path).and_then(|dir| match dir.create_dir(name) {
                        Err(_) if dir.symlink_metadata(name).is_ok_and(|meta| meta.is_dir()) => Ok(()),
                        made => made,
                    });
                    made.map_err(|source| failed(path, source))?;
                }
                After::New(number) => {
                    let from = held.join(number.to_string());
                    let put = open_parent(&root, path).and_then(|dir| {
                        let there = match dir.symlink_metadata(name) {
                            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                            there => Some(there?),
                        };
                        let as_it_was = match there {
                            None => true,
                            Some(_) if old.is_some_and(|old| is_still(&root, path, *old)) => true,
                            // Put there before this was cut off.
                            Some(_) => {
                                return same_bytes(&dir, name, &from).map(|same| same.then_some(false));
                            }
                        };
                        // As private as what it replaces; what is new, for its owner alone.
                        let mode = there.map_or(0o600, |meta| meta.mode() & 0o777);
                        put_beside(&dir, name, &beside(held, *number), Some(mode), |file| copy(&from, file))?;
                        Ok(Some(as_it_was))
                    });
                    match put.map_err(|source| failed(path, source))? {
                        Some(true) => written += 1,
                        Some(false) => {}
                        None => return Err(CollectError::Conflict(shown(path))),
                    }
                }
            }
        }
        for (path, before) in self.before.iter().rev() {
            if !self.after.contains_key(path) && !gone.contains(path) && is_still(&root, path, *before) {
                remove(&root, path).map_err(|source| failed(path, source))?;
                removed += 1;
            }
        }
        // What is in place must outlive a power cut before the plan that could put it there again goes.
        let sync = || Ok(rustix::fs::syncfs(File::open(share)?)?);
        sync().map_err(|source| CollectError::Write { path: share.into(), source })?;
        Ok((written, removed))
    }

    /// Where a file becomes a folder or the other way round, the old one has to make room.
    fn in_the_way(&self, path: &Steps, before: Before) -> bool {
        let becomes_other = match self.after.get(path) {
            None => false,
            Some(After::Dir) => before != Before::Dir,
            Some(After::Kept | After::New(_)) => before == Before::Dir,
        };
        let is_file = |above: &[String]| matches!(self.after.get(above), Some(After::Kept | After::New(_)));
        becomes_other || (1..path.len()).any(|len| is_file(&path[..len]))
    }
}

/// Does the share still have what it had there?
fn is_still(root: &Dir, path: &[String], before: Before) -> bool {
    let meta = open_parent(root, path).and_then(|dir| dir.symlink_metadata(&path[path.len() - 1]));
    meta.is_ok_and(|meta| state(&meta) == Some(before))
}

/// What there is, as far as it is compared.
fn state(meta: &Metadata) -> Option<Before> {
    if meta.is_dir() {
        Some(Before::Dir)
    } else {
        let file = || Before::File { len: meta.len(), mtime: changed_at(meta).cast_unsigned() };
        meta.is_file().then(file)
    }
}

/// Does the share hold what it held, and nothing else? Nothing is opened but its folders: a look that held files open
/// or read them would fail with whatever else this machine does. An error says nothing about the share.
fn unchanged(before: &BTreeMap<Steps, Before>, share: &Path) -> io::Result<bool> {
    fn walk(
        dir: &Dir,
        path: &mut Steps,
        before: &BTreeMap<Steps, Before>,
        found: &mut usize,
    ) -> io::Result<bool> {
        for entry in dir.entries()? {
            let name = entry?.file_name();
            let meta = dir.symlink_metadata(&name)?;
            // Links were not handed in, and may come and go.
            if meta.is_symlink() {
                continue;
            }
            let now = state(&meta);
            let Ok(name) = name.into_string() else { return Ok(false) };
            path.push(name);
            if now.is_none() || before.get(path) != now.as_ref() {
                return Ok(false);
            }
            *found += 1;
            let same = now != Some(Before::Dir) || {
                let below = dir.open_dir(&path[path.len() - 1])?;
                walk(&below, path, before, found)?
            };
            if !same {
                return Ok(false);
            }
            path.pop();
        }
        Ok(true)
    }
    let mut found = 0;
    let looked = Dir::open_ambient_dir(share, ambient_authority())
        .and_then(|root| walk(&root, &mut Steps::new(), before, &mut found));
    match looked {
        Ok(same) => Ok(same && found == before.len()),
        // It went, or became something else, while it was looked at.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn same_bytes(dir: &Dir, name: &str, with: &Path) -> io::Result<bool> {
    if !dir.symlink_metadata(name)?.is_file() {
        return Ok(false);
    }
    let (mut one, mut other) = (dir.open(name)?, File::open(with)?);
    let (mut a, mut b) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let (here, there) = (fill(&mut one, &mut a)?, fill(&mut other, &mut b)?);
        if a[..here] != b[..there] {
            return Ok(false);
        }
        if here == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut at = 0;
    while at < buffer.len() {
        match file.read(&mut buffer[at..])? {
            0 => break,
            count => at += count,
        }
    }
    Ok(at)
}

fn copy(from: &Path, file: &mut cap_std::fs::File) -> io::Result<()> {
    let mut from = File::open(from)?;
    let mut buffer = vec![0; PIECE];
    loop {
        match fill(&mut from, &mut buffer)? {
            0 => return Ok(()),
            count if buffer[..count].iter().all(|byte| *byte == 0) => {
                file.seek_relative(i64::try_from(count).map_err(io::Error::other)?)?;
            }
            count => file.write_all(&buffer[..count])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::{Share, Staged};
    use mesh_protocol::permissions::Access;

    /// A folder as a list of names and texts; `None` is a folder.
    fn tree(root: &Path) -> BTreeMap<String, Option<String>> {
        fn walk(root: &Path, prefix: &str, into: &mut BTreeMap<String, Option<String>>) {
            for entry in fs::read_dir(root).unwrap().map(|entry| entry.unwrap()) {
                let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
                if entry.path().is_dir() {
                    walk(&entry.path(), &format!("{name}/"), into);
                    into.insert(name, None);
                } else {
                    into.insert(name, Some(fs::read_to_string(entry.path()).unwrap()));
                }
            }
        }
        let mut all = BTreeMap::new();
        walk(root, "", &mut all);
        all
    }

    /// A share of five things of which one stays, and what a task made of it: one changed, one new, one gone, and a
    /// file and a folder that change places.
    fn held() -> (tempfile::TempDir, PathBuf, PathBuf) {
        held_after(|_| {})
    }

    fn held_after(change: impl FnOnce(&Path)) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (share, held) = (dir.path().join("share"), dir.path().join("held/0"));
        fs::create_dir_all(share.join("folder")).unwrap();
        for (name, text) in [("same", "same"), ("changed", "old"), ("gone", "gone"), ("file", "file")] {
            fs::write(share.join(name), text).unwrap();
        }
        fs::write(share.join("folder/below"), "below").unwrap();
        change(&share);
        let mut staged = Staged::new();
        let as_share = Share { name: "x".into(), path: share.clone(), access: Access::Rw };
        staged.share(0, &as_share).unwrap();
        let mut hold = Held::new(&held, staged.entries.iter()).unwrap();
        let path = |path: &str| parts(path);
        hold.kept(&path("same"));
        hold.file(&path("changed"), |file| file.write_all(b"new")).unwrap();
        hold.dir(&path("file"));
        hold.file(&path("file/inside"), |file| file.write_all(b"inside")).unwrap();
        hold.file(&path("folder"), |file| file.write_all(b"a file now")).unwrap();
        hold.finish().unwrap();
        (dir, share, held)
    }

    fn wanted() -> BTreeMap<String, Option<String>> {
        let files =
            [("same", "same"), ("changed", "new"), ("file/inside", "inside"), ("folder", "a file now")];
        let files = files.map(|(name, text)| (name.to_owned(), Some(text.to_owned())));
        files.into_iter().chain([("file".to_owned(), None)]).collect()
    }

    // spec: DEL-4
    #[test]
    fn what_is_held_is_put_in_place_once() {
        let (_dir, share, held) = held();
        assert_eq!(release(&held, &share).unwrap(), (3, 1));
        assert_eq!(tree(&share), wanted());
        assert!(!held.exists());
        assert_eq!(release(&held, &share).unwrap(), (0, 0), "and then there is nothing to do");
    }

    // spec: DEL-4
    #[test]
    fn what_its_owner_changed_meanwhile_stays() {
        for change in [
            (|share: &Path| fs::write(share.join("changed"), "by its owner").unwrap()) as fn(&Path),
            |share| fs::write(share.join("new"), "by its owner").unwrap(),
            |share| fs::remove_file(share.join("gone")).unwrap(),
            |share| fs::remove_dir_all(share).unwrap(),
        ] {
            let (_dir, share, held) = held();
            change(&share);
            let before = share.exists().then(|| tree(&share));
            let error = release(&held, &share).unwrap_err();
            assert!(matches!(error, CollectError::Conflict(_)), "{error}");
            assert_eq!(share.exists().then(|| tree(&share)), before);
            assert!(matches!(release(&held, &share), Err(CollectError::Conflict(_))), "it stays so");
        }
    }

    /// Every state of the share and of what is held that a cut-off may leave ends as if there had been none.
    // spec: DEL-4
    #[test]
    fn what_was_cut_off_goes_on() {
        let steps: [fn(&Path); 6] = [
            |share| fs::remove_file(share.join("folder/below")).unwrap(),
            |share| fs::remove_dir(share.join("folder")).unwrap(),
            |share| fs::remove_file(share.join("file")).unwrap(),
            |share| fs::write(share.join("changed"), "new").unwrap(),
            |share| {
                fs::create_dir(share.join("file")).unwrap();
                fs::write(share.join("file/inside"), "inside").unwrap();
                fs::write(share.join("folder"), "a file now").unwrap();
            },
            |share| fs::remove_file(share.join("gone")).unwrap(),
        ];
        for done in 0..=steps.len() {
            let (_dir, share, held) = held();
            write_durably(&held, BEGUN, b"").unwrap();
            steps[..done].iter().for_each(|step| step(&share));
            release(&held, &share).unwrap();
            assert_eq!(tree(&share), wanted(), "after {done} steps");
            assert!(!held.exists());
        }
        let (_dir, share, held) = held();
        write_durably(&held, BEGUN, b"").unwrap();
        fs::write(share.join("changed"), "by its owner").unwrap();
        assert!(
            matches!(release(&held, &share), Err(CollectError::Conflict(path)) if path.ends_with("changed"))
        );
        assert_eq!(fs::read_to_string(share.join("changed")).unwrap(), "by its owner");
    }

    // spec: DEL-4
    #[test]
    fn what_was_being_written_when_it_was_cut_off_goes() {
        let (dir, share, held) = held();
        write_durably(&held, BEGUN, b"").unwrap();
        let others = dir.path().join("others");
        fs::write(&others, "theirs").unwrap();
        fs::write(share.join(beside(&held, 0)), "ne").unwrap();
        std::os::unix::fs::symlink(&others, share.join(beside(&held, 2))).unwrap();
        release(&held, &share).unwrap();
        assert_eq!(tree(&share), wanted());
        assert_eq!(fs::read_to_string(&others).unwrap(), "theirs", "no link is followed");
        // It is the name that is used.
        let (_dir, share, held) = self::held();
        write_durably(&held, BEGUN, b"").unwrap();
        let name = share.join(beside(&held, 0));
        fs::create_dir(&name).unwrap();
        assert!(matches!(release(&held, &share), Err(CollectError::Write { .. })));
        fs::remove_dir(&name).unwrap();
        release(&held, &share).unwrap();
        assert_eq!(tree(&share), wanted());
    }

    // spec: DEL-4
    #[test]
    fn files_older_than_1970_are_released_like_others() {
        let (_dir, share, held) = held_after(|share| {
            let old = std::time::UNIX_EPOCH - std::time::Duration::from_millis(1_234_567);
            for name in ["same", "changed", "gone", "file", "folder/below"] {
                File::options().write(true).open(share.join(name)).unwrap().set_modified(old).unwrap();
            }
        });
        assert_eq!(release(&held, &share).unwrap(), (3, 1));
        assert_eq!(tree(&share), wanted());
    }

    // spec: DEL-4
    #[test]
    fn what_this_machine_could_not_look_at_is_no_conflict() {
        let (dir, share, held) = held();
        let unreadable = dir.path().join("x".repeat(300));
        assert!(matches!(release(&held, &unreadable), Err(CollectError::Write { .. })));
        let not_a_folder = share.join("same");
        assert!(matches!(release(&held, &not_a_folder), Err(CollectError::Conflict(_))));
        release(&held, &share).unwrap();
        assert_eq!(tree(&share), wanted());
    }

    /// It would take an hour to read, and longer than anybody's patience to be allowed to hold open.
    // spec: DEL-4
    #[test]
    fn no_file_is_read_to_see_whether_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (share, held) = (dir.path().join("share"), dir.path().join("held/0"));
        fs::create_dir(&share).unwrap();
        let large = File::create(share.join("large")).unwrap();
        let len = 4 << 40;
        large.set_len(len).unwrap();
        std::os::unix::fs::symlink("/", share.join("link")).unwrap();
        let root = Dir::open_ambient_dir(&share, ambient_authority()).unwrap();
        let entry = InEntry {
            tree: 2,
            path: "large".into(),
            node: InNode::File { file: 1, offset: 0, len },
            mtime: changed_at(&root.symlink_metadata("large").unwrap()),
        };
        let mut hold = Held::new(&held, std::iter::once(&entry)).unwrap();
        hold.kept(&parts("large"));
        hold.file(&parts("new"), |file| file.write_all(b"new")).unwrap();
        hold.finish().unwrap();
        assert_eq!(release(&held, &share).unwrap(), (1, 0));
        assert_eq!(fs::read_to_string(share.join("new")).unwrap(), "new");
    }

    // spec: DEL-4
    #[test]
    fn what_is_only_half_held_does_not_count() {
        let (_dir, share, held) = held();
        fs::remove_file(held.join(PLAN)).unwrap();
        let before = tree(&share);
        assert_eq!(release(&held, &share).unwrap(), (0, 0));
        assert_eq!(tree(&share), before);
    }
}
