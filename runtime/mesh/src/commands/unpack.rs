//! A task's result out of its archive and into a folder: no link is followed, and nothing gets outside.
// spec: SBX-11, DEL-5

use super::receipt_file::part_name;
use crate::failure::{Failure, Result};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use mesh_protocol::limits::MAX_OUT_FILES;
use mesh_protocol::manifest::is_file_name;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use tar::{Archive, EntryType};

/// Deepest path: as the executor has it, and the folder around it.
const MAX_DEPTH: usize = 72;
/// Longest path or target of a link: seventy names of 255 bytes.
const MAX_NAME: u64 = 32 * 1024;
/// What an archive holds at its top, and nothing else.
const TOP: [&str; 3] = ["stdout", "stderr", "out"];
/// What is put beside it.
pub(super) const RECEIPT: &str = "receipt.json";

/// What was unpacked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unpacked {
    /// Files.
    pub(super) files: usize,
    /// Bytes in them.
    pub(super) bytes: u64,
    /// Links that lead out of `out`, which were left out.
    pub(super) left_out: Vec<String>,
}

/// Fails if something of an earlier result is there already.
pub(super) fn check_free(folder: &Path) -> Result<()> {
    if folder.symlink_metadata().is_ok() && !folder.is_dir() {
        return Err(Failure::new(format!("put the result into {}: it is no folder", folder.display()))
            .hint("name another folder"));
    }
    match TOP
        .iter()
        .chain([&RECEIPT])
        .map(|name| folder.join(name))
        .find(|path| path.symlink_metadata().is_ok())
    {
        None => Ok(()),
        Some(path) => {
            Err(Failure::new(format!("put the result into {}: it is there already", path.display()))
                .hint("name another folder; `mesh task result` replaces files with --overwrite"))
        }
    }
}

/// Unpacks. All of it goes into a new folder first and takes its place once it is whole: what is there already stays unless
/// `overwrite` is set, and in any case where this fails before.
// spec: DEL-5
pub(super) fn unpack(archive: impl Read, folder: &Path, overwrite: bool) -> Result<Unpacked> {
    if !overwrite {
        check_free(folder)?;
    }
    let failed = |error: io::Error| Failure::file("put the result into", folder, &error);
    std::fs::create_dir_all(folder).map_err(failed)?;
    let dir = Dir::open_ambient_dir(folder, ambient_authority()).map_err(failed)?;
    let name = part_name().map_err(failed)?;
    dir.create_dir(&name).map_err(failed)?;
    let put = dir.open_dir(&name).map_err(failed).and_then(|fresh| {
        let unpacked = extract(archive, &fresh)?;
        if !overwrite {
            check_free(folder)?;
        }
        check_fits(&fresh, &dir, "").map_err(failed)??;
        // One of an earlier result must not vouch for this one, and a link there must not lead the new one elsewhere.
        match dir.remove_file(RECEIPT) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        replace(&fresh, &dir).map_err(failed)?;
        Ok(unpacked)
    });
    let _gone = dir.remove_dir_all(&name);
    put
}

/// Does nothing there stand in the way that cannot be replaced?
fn check_fits(fresh: &Dir, dir: &Dir, above: &str) -> io::Result<Result<()>> {
    for entry in fresh.entries()? {
        let entry = entry?;
        let (name, is_dir) = (entry.file_name(), entry.file_type()?.is_dir());
        let there = match dir.symlink_metadata(&name) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            there => there?,
        };
        let path = format!("{above}{}", name.to_string_lossy());
        match (is_dir, there.is_dir()) {
            (false, false) => {}
            (true, true) => {
                let below = check_fits(&fresh.open_dir(&name)?, &dir.open_dir(&name)?, &format!("{path}/"))?;
                if below.is_err() {
                    return Ok(below);
                }
            }
            (true, false) => {
                return Ok(Err(malformed(&format!("it has files below {path:?}, which is no folder there"))));
            }
            (false, true) => {
                return Ok(Err(malformed(&format!("it has a file {path:?}, which is a folder there"))));
            }
        }
    }
    Ok(Ok(()))
}

/// Puts all of a folder into another on the same disk, in the place of files that are there.
fn replace(fresh: &Dir, dir: &Dir) -> io::Result<()> {
    for entry in fresh.entries()? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() && dir.symlink_metadata(&name).is_ok() {
            replace(&fresh.open_dir(&name)?, &dir.open_dir(&name)?)?;
        } else {
            fresh.rename(&name, dir, &name)?;
        }
    }
    Ok(())
}

/// Unpacks into a folder in which there is nothing.
fn extract(archive: impl Read, dir: &Dir) -> Result<Unpacked> {
    let mut unpacked = Unpacked::default();
    let mut archive = Archive::new(archive);
    let mut count = 0;
    // Names too long for a header come in records of their own before it. They are read here and not by the library,
    // which would take as many bytes for a name as it is told.
    let (mut long_path, mut long_target) = (None, None);
    for entry in archive.entries().map_err(read)?.raw(true) {
        let mut entry = entry.map_err(read)?;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => long_path = Some(long_name(&mut entry)?),
            EntryType::GNULongLink => long_target = Some(long_name(&mut entry)?),
            _ => {
                count += 1;
                if count > MAX_OUT_FILES as usize + TOP.len() {
                    return Err(malformed("it holds more files than a task may leave"));
                }
                let path = match long_path.take() {
                    Some(path) => path,
                    None => text(entry.path_bytes().into_owned())?,
                };
                let target = match (long_target.take(), entry.link_name_bytes()) {
                    (Some(target), _) => target,
                    (None, Some(target)) => text(target.into_owned())?,
                    (None, None) => String::new(),
                };
                let parts = parts(&path)?;
                let mut place = Place { root: dir, parts: &parts, path: &path };
                match kind {
                    EntryType::Directory => place.folder()?,
                    EntryType::Regular => {
                        unpacked.bytes += place.file(&mut entry)?;
                        unpacked.files += 1;
                    }
                    EntryType::Symlink if stays_within(&parts, &target) => place.link(&target)?,
                    EntryType::Symlink => unpacked.left_out.push(path),
                    _ => return Err(malformed("it holds something that is no file, folder or link")),
                }
            }
        }
    }
    Ok(unpacked)
}

fn read(error: io::Error) -> Failure {
    Failure::because("read the result", &error).hint("try again; the node keeps it")
}

fn malformed(why: &str) -> Failure {
    Failure::new(format!("unpack the result: {why}"))
}

fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| malformed("a name in it is not UTF-8"))
}

fn long_name(entry: &mut impl Read) -> Result<String> {
    let mut name = Vec::new();
    entry.take(MAX_NAME + 1).read_to_end(&mut name).map_err(read)?;
    if name.len() as u64 > MAX_NAME {
        return Err(malformed("a name in it is too long"));
    }
    while name.last() == Some(&0) {
        name.pop();
    }
    text(name)
}

/// The names of a path: plain ones, below one of the three at the top.
fn parts(path: &str) -> Result<Vec<&str>> {
    let parts: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
    let place = matches!(parts[..], ["stdout" | "stderr"] | ["out", ..]);
    if !place || parts.len() > MAX_DEPTH || !parts.iter().all(|part| is_file_name(part)) {
        return Err(malformed(&format!("{path:?} is no path in a result")));
    }
    Ok(parts)
}

/// Does a link at this place lead to somewhere in `out`? It may go up first, through real folders, and down afterwards,
/// through links that were judged alike; never up after down, since what is up from there is a link's business.
fn stays_within(parts: &[&str], target: &str) -> bool {
    let names: Vec<&str> = target.split('/').collect();
    let ups = names.iter().take_while(|name| **name == "..").count();
    let inside = parts.first() == Some(&"out") && parts.len() >= 2;
    inside && ups <= parts.len().saturating_sub(2) && names[ups..].iter().all(|name| is_file_name(name))
}

/// Where one entry goes.
struct Place<'a> {
    root: &'a Dir,
    parts: &'a [&'a str],
    path: &'a str,
}

impl Place<'_> {
    fn failed(&self, error: &io::Error) -> Failure {
        let failure = Failure::because(format!("write {:?} of the result", self.path), error);
        match error.kind() {
            ErrorKind::StorageFull => failure.hint("free some space on that disk"),
            _ => failure,
        }
    }

    /// Opens the folder of these names, made if it is not there; none of them may be a link.
    fn open(&self, parts: &[&str]) -> Result<Dir> {
        let mut dir = self.root.try_clone().map_err(|error| self.failed(&error))?;
        for part in parts {
            match dir.create_dir(part) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(self.failed(&error)),
                _ => {}
            }
            let meta = dir.symlink_metadata(part).map_err(|error| self.failed(&error))?;
            if !meta.is_dir() {
                return Err(malformed(&format!(
                    "{:?} would lie below {part:?}, which is no folder",
                    self.path
                )));
            }
            // Were it made a link at this moment, it could still not lead out of the folder.
            dir = dir.open_dir(part).map_err(|error| self.failed(&error))?;
        }
        Ok(dir)
    }

    fn folder(&mut self) -> Result<()> {
        self.open(self.parts).map(|_| ())
    }

    /// The folder it goes to and its name there.
    fn place(&self) -> Result<(Dir, &str)> {
        let (name, folders) = self.parts.split_last().ok_or_else(|| malformed("a path in it is empty"))?;
        Ok((self.open(folders)?, name))
    }

    fn file(&mut self, content: &mut impl Read) -> Result<u64> {
        let (dir, name) = self.place()?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let mut file = dir.open_with(name, &options).map_err(|error| self.failed(&error))?;
        io::copy(content, &mut file).map_err(|error| self.failed(&error))
    }

    fn link(&mut self, target: &str) -> Result<()> {
        let (dir, name) = self.place()?;
        dir.symlink(target, name).map_err(|error| self.failed(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tar::{Builder, Header};

    type Tar = Builder<Vec<u8>>;

    /// Writes an entry as it is told, whatever the library would say to it.
    fn raw(tar: &mut Tar, kind: EntryType, path: &str, target: &str, content: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        tar.append(&header, content).unwrap();
    }

    fn file(tar: &mut Tar, path: &str, content: &str) {
        raw(tar, EntryType::Regular, path, "", content.as_bytes());
    }

    fn link(tar: &mut Tar, path: &str, target: &str) {
        raw(tar, EntryType::Symlink, path, target, b"");
    }

    fn archive(fill: impl FnOnce(&mut Tar)) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        fill(&mut tar);
        tar.into_inner().unwrap()
    }

    /// Unpacks into a folder within a folder, and shows that nothing came into the outer one.
    fn unpacked(fill: impl FnOnce(&mut Tar)) -> (tempfile::TempDir, Result<Unpacked>) {
        let outer = tempfile::tempdir().unwrap();
        let result = unpack(&archive(fill)[..], &outer.path().join("to"), false);
        let names: Vec<_> =
            fs::read_dir(outer.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["to"]);
        (outer, result)
    }

    fn refused(fill: impl FnOnce(&mut Tar)) -> String {
        unpacked(fill).1.unwrap_err().to_string()
    }

    // spec: DEL-5
    #[test]
    fn a_result_is_put_in_place() {
        let long = format!("out/{}/{}", "d".repeat(90), "f".repeat(90));
        let (outer, result) = unpacked(|tar| {
            file(tar, "stdout", "hello");
            file(tar, "stderr", "");
            raw(tar, EntryType::Directory, "out/empty/", "", b"");
            file(tar, "out/a/b", "1");
            link(tar, "out/a/c", "../empty");
            let mut header = Header::new_gnu();
            header.set_size(1);
            tar.append_data(&mut header, &long, &b"2"[..]).unwrap();
        });
        assert_eq!(result.unwrap(), Unpacked { files: 4, bytes: 7, left_out: vec![] });
        let at = |path: &str| outer.path().join("to").join(path);
        assert_eq!(fs::read_to_string(at("stdout")).unwrap(), "hello");
        assert_eq!(fs::read_to_string(at(&long)).unwrap(), "2");
        assert!(at("out/a/c").is_dir() && at("out/a/c").is_symlink());
    }

    // spec: SBX-11
    #[test]
    fn nothing_gets_out_of_the_folder() {
        for path in ["../x", "/tmp/x", "out/../../x", "out/./x", "out//x", "x", "", "out/a\\b", "stdout/x"] {
            let text = refused(|tar| file(tar, path, "evil"));
            assert!(text.contains("is no path in a result"), "{path}: {text}");
        }
        for kind in
            [EntryType::Link, EntryType::Char, EntryType::Block, EntryType::Fifo, EntryType::GNUSparse]
        {
            let text = refused(|tar| raw(tar, kind, "out/x", "/etc/passwd", b""));
            assert!(
                text.contains("no file, folder or link") || text.contains("read the result"),
                "{kind:?}: {text}"
            );
        }
        let text = refused(|tar| {
            raw(tar, EntryType::Directory, "out/b", "", b"");
            link(tar, "out/a", "b");
            file(tar, "out/a/x", "through a link");
        });
        assert!(text.contains("which is no folder"), "{text}");
        assert!(
            refused(|tar| raw(tar, EntryType::GNULongName, "x", "", &[b'a'; 40_000])).contains("too long")
        );
    }

    // spec: SBX-11
    #[test]
    fn links_that_lead_out_are_left_out() {
        let (outer, result) = unpacked(|tar| {
            for (path, target) in [
                ("out/1", "/etc/passwd"),
                ("out/2", "../stdout"),
                ("out/d/3", "../../x"),
                ("out/d/4", "a/../../../x"),
                ("out/5", ""),
                ("stdout", "x"),
                ("out", "x"),
            ] {
                link(tar, path, target);
            }
            link(tar, "out/d/6", "../7");
        });
        assert_eq!(result.unwrap().left_out.len(), 7);
        assert!(outer.path().join("to/out/d/6").is_symlink());
        assert_eq!(fs::read_dir(outer.path().join("to/out")).unwrap().count(), 1);
    }

    #[test]
    fn what_is_there_stays_unless_it_may_go() {
        let outer = tempfile::tempdir().unwrap();
        let secret = outer.path().join("secret");
        fs::write(&secret, "mine").unwrap();
        let to = outer.path().join("to");
        fs::create_dir(&to).unwrap();
        std::os::unix::fs::symlink(&secret, to.join(RECEIPT)).unwrap();
        assert!(check_free(&to).unwrap_err().to_string().contains(RECEIPT));
        assert!(unpack(&archive(|_| {})[..], &to, true).is_ok() && !to.join(RECEIPT).is_symlink());
        std::os::unix::fs::symlink(&secret, to.join("stdout")).unwrap();
        let tar = archive(|tar| file(tar, "stdout", "new"));
        let text = unpack(&tar[..], &to, false).unwrap_err().to_string();
        assert!(text.contains("there already") && text.contains("--overwrite"), "{text}");
        unpack(&tar[..], &to, true).unwrap();
        assert_eq!(fs::read_to_string(&secret).unwrap(), "mine", "the link went, not what it led to");
        assert_eq!(fs::read_to_string(to.join("stdout")).unwrap(), "new");
        fs::remove_file(to.join("stdout")).unwrap();
        std::os::unix::fs::symlink(outer.path(), to.join("out")).unwrap();
        let tar = archive(|tar| file(tar, "out/secret", "evil"));
        assert!(unpack(&tar[..], &to, true).unwrap_err().to_string().contains("which is no folder"));
        assert_eq!(fs::read_to_string(&secret).unwrap(), "mine");
    }

    #[test]
    fn an_archive_that_is_cut_off_is_no_result() {
        let outer = tempfile::tempdir().unwrap();
        let tar = archive(|tar| file(tar, "stdout", &"x".repeat(2000)));
        assert!(unpack(&tar[..1024], &outer.path().join("to"), false).is_err());
        unpack(&tar[..], &outer.path().join("to"), false).unwrap();
    }

    // spec: DEL-5
    #[test]
    fn what_was_there_before_stays_where_the_new_does_not_come() {
        let outer = tempfile::tempdir().unwrap();
        let to = outer.path().join("to");
        let result = |word: &str| {
            archive(|tar| {
                file(tar, "stdout", word);
                file(tar, "out/a/b", word);
                file(tar, "out/c", &word.repeat(2000));
            })
        };
        unpack(&result("old")[..], &to, false).unwrap();
        fs::write(to.join(RECEIPT), "of the old").unwrap();
        fs::write(to.join("out/mine"), "mine").unwrap();
        let read = |path: &str| fs::read_to_string(to.join(path)).unwrap();
        let tar = result("new");
        let in_the_way = archive(|tar| {
            file(tar, "stdout", "new");
            file(tar, "out/a", "new");
        });
        for bytes in [&tar[..700], &tar[..3000], &in_the_way[..]] {
            assert!(unpack(bytes, &to, true).is_err());
            let there = (read("stdout"), read("out/a/b"), read(RECEIPT));
            assert_eq!(there, ("old".into(), "old".into(), "of the old".into()), "{}", bytes.len());
        }
        unpack(&tar[..], &to, true).unwrap();
        assert_eq!(
            (read("stdout"), read("out/a/b"), read("out/mine")),
            ("new".into(), "new".into(), "mine".into())
        );
        assert_eq!(read("out/c").len(), 6000);
        let mut names: Vec<_> = fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["out", "stdout"], "the old receipt vouches for nothing, and nothing is left over");
    }
}
