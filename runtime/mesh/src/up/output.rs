//! A task's output as one blob: a tar archive of `stdout`, `stderr` and everything in `/out`, which says nothing but
//! what the task made. Whoever receives one believes the receipt and not the archive.
// spec: DEL-5, SBX-11

use mesh_executor::{OutEntry, OutTree};
use mesh_protocol::digest::{self, TreeEntry, TreeNode};
use mesh_protocol::ids::Digest;
use mesh_protocol::limits::Limits;
use mesh_protocol::manifest::is_file_name;
use mesh_protocol::receipt::{Output, Receipt};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use tar::{Builder, EntryType, Header};

/// Deepest folder of `/out`: as the executor has it.
const MAX_DEPTH: usize = 70;
/// Longest target of a link: as the executor has it.
const MAX_TARGET: usize = 4096;
/// Most bytes that an entry takes beside its content: its header, padding, and records of their own for a path of 70
/// names of 255 bytes and for a link's target.
const MAX_BESIDE: u64 = 32 * 1024;

/// Why an archive is not a task's output.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutputError {
    /// It cannot be read as an archive.
    #[error("read the output")]
    Read(#[source] io::Error),
    /// It holds something that no output holds.
    #[error("read the output: {0}")]
    Malformed(&'static str),
    /// A part is not what the receipt says.
    #[error("the output's {0} is not the one in the receipt")]
    Differs(&'static str),
    /// The receipt speaks of more than the task was allowed.
    #[error("the receipt's {0} is beyond the task's limit")]
    BeyondLimit(&'static str),
}

/// Most bytes that the archive of an output may have.
pub(crate) fn most_bytes(output: &Output) -> u64 {
    let content = [output.stdout_bytes, output.stderr_bytes, output.out_bytes];
    let entries = u64::from(output.out_files) + 3;
    content.into_iter().fold(entries * MAX_BESIDE, u64::saturating_add)
}

/// Does the receipt keep within the limits that it names?
pub(crate) fn within(output: &Output, limits: &Limits) -> Result<(), OutputError> {
    let parts = [
        (output.stdout_bytes <= limits.stdout_bytes, "stdout"),
        (output.stderr_bytes <= limits.stderr_bytes, "stderr"),
        (output.out_bytes <= limits.out_bytes, "size of /out"),
        (output.out_files <= limits.out_files, "number of files in /out"),
    ];
    match parts.iter().find(|(fits, _)| !fits) {
        Some((_, part)) => Err(OutputError::BeyondLimit(part)),
        None => Ok(()),
    }
}

fn header(kind: EntryType, len: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(len);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    // Everything else is zero: the same output is the same archive, whoever made it.
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Writes the archive. `streams` are the files of standard output and standard error, where they are not empty.
pub(crate) fn pack(into: impl Write, streams: [Option<PathBuf>; 2], out: Option<&OutTree>) -> io::Result<()> {
    let mut tar = Builder::new(into);
    for (name, path) in ["stdout", "stderr"].into_iter().zip(streams) {
        let Some(path) = path else {
            tar.append_data(&mut header(EntryType::Regular, 0), name, io::empty())?;
            continue;
        };
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        tar.append_data(&mut header(EntryType::Regular, len), name, file.take(len))?;
    }
    for (path, entry) in out.into_iter().flat_map(OutTree::entries) {
        append(&mut tar, &format!("out/{path}"), entry)?;
    }
    tar.finish()
}

/// Adds what a task left, as its receipt has it: a link is here only what it says, and whoever unpacks it judges it.
fn append(tar: &mut Builder<impl Write>, path: &str, entry: OutEntry<'_>) -> io::Result<()> {
    match entry {
        OutEntry::Dir => tar.append_data(&mut header(EntryType::Directory, 0), path, io::empty()),
        OutEntry::File { len, content } => {
            tar.append_data(&mut header(EntryType::Regular, len), path, content)
        }
        OutEntry::Link(target) => {
            let mut link = header(EntryType::Symlink, 0);
            // The library would write a shorter target that leads to the same, which is another link.
            if link.set_link_name_literal(target).is_err() {
                let mut long = header(EntryType::GNULongLink, target.len() as u64 + 1);
                long.set_path("././@LongLink")?;
                long.set_cksum();
                tar.append(&long, target.as_bytes().chain(&[0][..]))?;
            }
            tar.append_data(&mut link, path, io::empty())
        }
    }
}

/// Checks an archive against a receipt: that it holds this output and nothing else.
// spec: DEL-4
pub(crate) fn check(archive: impl Read, receipt: &Receipt) -> Result<(), OutputError> {
    let said = &receipt.output;
    within(said, &receipt.limits)?;
    let mut streams = Vec::new();
    let mut tree: Vec<TreeEntry> = Vec::new();
    let mut last: Vec<String> = Vec::new();
    let mut folders: Vec<String> = Vec::new();
    let mut bytes = 0u64;
    walk(archive, u64::from(said.out_files) + 2, &mut |path, node, content| {
        let Some(("out", path)) = path.split_once('/') else {
            let (name, most) = match streams.len() {
                0 => ("stdout", said.stdout_bytes),
                1 => ("stderr", said.stderr_bytes),
                _ => return Err(OutputError::Malformed("it holds something beside stdout, stderr and /out")),
            };
            let (Kind::File(len), true) = (&node, path == name) else {
                return Err(OutputError::Malformed("it does not begin with stdout and stderr"));
            };
            if *len != most {
                return Err(OutputError::Differs(name));
            }
            streams.push(hash(content)?);
            return Ok(());
        };
        if streams.len() != 2 {
            return Err(OutputError::Malformed("it does not begin with stdout and stderr"));
        }
        let parts: Vec<String> = path.split('/').map(Into::into).collect();
        if !parts.iter().all(|part| is_file_name(part)) || parts.len() > MAX_DEPTH {
            return Err(OutputError::Malformed("a path in it is not plain"));
        }
        if parts <= last {
            return Err(OutputError::Malformed("its files are not in order"));
        }
        // In this order the folder of a path is the last one at its depth.
        folders.truncate(parts.len() - 1);
        if folders[..] != parts[..parts.len() - 1] {
            return Err(OutputError::Malformed("a path in it lies in no folder"));
        }
        let node = match node {
            Kind::Dir => {
                folders.clone_from(&parts);
                TreeNode::Dir
            }
            Kind::Link(target) => TreeNode::Link(target),
            Kind::File(len) => {
                bytes = bytes.saturating_add(len);
                if bytes > said.out_bytes {
                    return Err(OutputError::Differs("size of /out"));
                }
                TreeNode::File { len, content: hash(content)? }
            }
        };
        tree.push(TreeEntry { path: path.to_owned(), node });
        last = parts;
        Ok(())
    })?;
    let same = |same: bool, part| if same { Ok(()) } else { Err(OutputError::Differs(part)) };
    same(streams.first() == Some(&said.stdout), "stdout")?;
    same(streams.get(1) == Some(&said.stderr), "stderr")?;
    same(bytes == said.out_bytes, "size of /out")?;
    same(tree.len() as u64 == u64::from(said.out_files), "number of files in /out")?;
    same(digest::tree(&tree) == said.out, "/out")
}

enum Kind {
    Dir,
    File(u64),
    Link(String),
}

/// Takes an entry: its path, what it is, and its bytes.
type Each<'a> = dyn FnMut(&str, Kind, &mut dyn Read) -> Result<(), OutputError> + 'a;

/// Hands on every entry, at most `most`.
fn walk(archive: impl Read, most: u64, each: &mut Each<'_>) -> Result<(), OutputError> {
    const NOT_UTF8: OutputError = OutputError::Malformed("a name in it is not UTF-8");
    let mut archive = tar::Archive::new(archive);
    let mut count = 0;
    // Names too long for a header come in records of their own before it. They are read here and not by the library,
    // which would take as many bytes for a name as it is told.
    let (mut long_path, mut long_target) = (None, None);
    for entry in archive.entries().map_err(OutputError::Read)?.raw(true) {
        let mut entry = entry.map_err(OutputError::Read)?;
        let kind = entry.header().entry_type();
        let long = match kind {
            EntryType::GNULongName => &mut long_path,
            EntryType::GNULongLink => &mut long_target,
            _ => &mut None,
        };
        if kind == EntryType::GNULongName || kind == EntryType::GNULongLink {
            if entry.size() > MAX_BESIDE || long.is_some() {
                return Err(OutputError::Malformed("a name in it is too long"));
            }
            let mut name = Vec::new();
            entry.read_to_end(&mut name).map_err(OutputError::Read)?;
            while name.last() == Some(&0) {
                name.pop();
            }
            *long = Some(String::from_utf8(name).map_err(|_| NOT_UTF8)?);
            continue;
        }
        count += 1;
        if count > most {
            return Err(OutputError::Malformed("it holds more entries than the receipt says"));
        }
        let mut path = match long_path.take() {
            Some(path) => path,
            None => String::from_utf8(entry.path_bytes().into_owned()).map_err(|_| NOT_UTF8)?,
        };
        let kind = match kind {
            EntryType::Regular => Kind::File(entry.size()),
            EntryType::Directory => Kind::Dir,
            EntryType::Symlink => {
                let target = match (long_target.take(), entry.link_name_bytes()) {
                    (Some(target), _) => target,
                    (None, Some(target)) => String::from_utf8(target.into_owned()).map_err(|_| NOT_UTF8)?,
                    (None, None) => String::new(),
                };
                if target.is_empty() || target.len() > MAX_TARGET {
                    return Err(OutputError::Malformed("a link in it leads nowhere"));
                }
                Kind::Link(target)
            }
            _ => return Err(OutputError::Malformed("it holds something that is no file, folder or link")),
        };
        if long_target.is_some() || (!matches!(kind, Kind::File(_)) && entry.size() != 0) {
            return Err(OutputError::Malformed("a header in it makes no sense"));
        }
        if matches!(kind, Kind::Dir) && path.ends_with('/') {
            path.pop();
        }
        each(&path, kind, &mut entry)?;
    }
    Ok(())
}

fn hash(content: &mut dyn Read) -> Result<Digest, OutputError> {
    let mut hasher = blake3::Hasher::new();
    io::copy(content, &mut hasher).map_err(OutputError::Read)?;
    Ok(Digest(*hasher.finalize().as_bytes()))
}

/// Hands on one of the streams (0: stdout, 1: stderr) of an archive that was checked, from an offset on.
pub(crate) fn stream(archive: impl Read, stream: u8, from: u64, mut into: impl Write) -> io::Result<u64> {
    let mut archive = tar::Archive::new(archive);
    let entry = archive.entries()?.nth(usize::from(stream));
    let mut entry = entry.ok_or(io::ErrorKind::NotFound)??;
    io::copy(&mut entry.by_ref().take(from), &mut io::sink())?;
    io::copy(&mut entry, &mut into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::ids::{InputHash, ModuleHash, TaskId};
    use mesh_protocol::key::PublicKey;
    use mesh_protocol::outcome::Outcome;
    use mesh_protocol::permissions::Permissions;
    use mesh_protocol::receipt::{Input, Usage};

    /// `/out` with a folder, files, links to wherever a task may make them lead, and paths and targets longer than a
    /// header holds.
    fn out() -> (Vec<(&'static str, &'static [u8])>, Vec<TreeEntry>) {
        let long: &str = Box::leak(format!("a/{}", "n".repeat(150)).into_boxed_str());
        let files = vec![
            ("a/b", b"bytes".as_slice()),
            (long, b"".as_slice()),
            ("a-", b"sorted by names, not by characters".as_slice()),
        ];
        let file = |path: &str, bytes: &[u8]| {
            let node = TreeNode::File { len: bytes.len() as u64, content: digest::bytes(bytes) };
            TreeEntry { path: path.into(), node }
        };
        let mut tree = vec![TreeEntry { path: "a".into(), node: TreeNode::Dir }];
        tree.extend(files.iter().map(|(path, bytes)| file(path, bytes)));
        let targets = ["a/b", "../a/../c", "../../../etc/passwd", "./a//b/.", "a/"].map(str::to_owned);
        let long = ["x".repeat(100), "x".repeat(101), "../".repeat(340)];
        for (number, target) in (0..).zip(targets.into_iter().chain(long)) {
            tree.push(TreeEntry { path: format!("c{number}"), node: TreeNode::Link(target) });
        }
        (files, tree)
    }

    fn receipt(tree: &[TreeEntry]) -> Receipt {
        let bytes = |node: &TreeNode| if let TreeNode::File { len, .. } = node { *len } else { 0 };
        Receipt {
            version: 1,
            task: TaskId::ZERO,
            attempt: 1,
            module: ModuleHash::ZERO,
            name: "x".into(),
            args: vec![],
            env: vec![],
            input: Input { hash: InputHash::ZERO, stdin: None, streamed: false, named: Digest::ZERO },
            limits: Limits::default(),
            granted: Permissions::default(),
            profile: mesh_executor::profile(),
            walls: vec![],
            out_bound: "metered".into(),
            outcome: Outcome::Exited(0),
            usage: Usage::default(),
            output: Output {
                stdout_bytes: 2,
                stdout: digest::bytes(b"so"),
                stderr_bytes: 1,
                stderr: digest::bytes(b"e"),
                out_bytes: tree.iter().map(|entry| bytes(&entry.node)).sum(),
                out_files: tree.len() as u32,
                out: digest::tree(tree),
            },
            not_comparable: vec![],
            resumed_from: None,
            last_checkpoint: None,
            executor: PublicKey([0; 32]),
        }
    }

    fn archive(files: &[(&str, &[u8])], tree: &[TreeEntry]) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        for (name, bytes) in [("stdout", b"so".as_slice()), ("stderr", b"e")] {
            tar.append_data(&mut header(EntryType::Regular, bytes.len() as u64), name, bytes).unwrap();
        }
        let mut files = files.iter();
        for entry in tree {
            let node = match &entry.node {
                TreeNode::Dir => OutEntry::Dir,
                TreeNode::Link(target) => OutEntry::Link(target),
                TreeNode::File { len, .. } => {
                    OutEntry::File { len: *len, content: Box::new(files.next().unwrap().1) }
                }
            };
            append(&mut tar, &format!("out/{}", entry.path), node).unwrap();
        }
        tar.into_inner().unwrap()
    }

    // spec: DEL-4
    #[test]
    fn an_output_is_what_its_receipt_says_and_a_changed_one_is_not() {
        let (files, tree) = out();
        let (whole, receipt) = (archive(&files, &tree), receipt(&tree));
        check(&whole[..], &receipt).unwrap();
        assert!(whole.len() as u64 <= most_bytes(&receipt.output));
        let mut changed = whole.clone();
        let mut found = 0;
        for content in [b"so".as_slice(), b"bytes", b"sorted by names"] {
            let at = whole.windows(content.len()).position(|part| part == content).unwrap();
            for byte in at..at + content.len() {
                changed[byte] ^= 1;
                assert!(check(&changed[..], &receipt).is_err(), "byte {byte}");
                changed[byte] ^= 1;
                found += 1;
            }
        }
        assert_eq!(found, 22);
        assert!(check(&whole[..whole.len() / 2], &receipt).is_err(), "cut off");
        let mut read = Vec::new();
        stream(&whole[..], 0, 1, &mut read).unwrap();
        stream(&whole[..], 1, 0, &mut read).unwrap();
        assert_eq!(read, b"oe");
    }

    // spec: SBX-11
    #[test]
    fn archives_that_no_task_makes_are_refused() {
        let entry = |tar: &mut Builder<Vec<u8>>, kind, path: &str, target: Option<&str>, bytes: &[u8]| {
            let mut header = header(kind, bytes.len() as u64);
            // Written as it is: the library would refuse some of these names.
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
            if let Some(target) = target {
                header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
            }
            header.set_cksum();
            tar.append(&header, bytes).unwrap();
        };
        let refused = |extra: &dyn Fn(&mut Builder<Vec<u8>>)| {
            let mut tar = Builder::new(Vec::new());
            entry(&mut tar, EntryType::Regular, "stdout", None, b"so");
            entry(&mut tar, EntryType::Regular, "stderr", None, b"e");
            extra(&mut tar);
            let bytes = tar.into_inner().unwrap();
            let mut receipt = receipt(&[]);
            receipt.output.out_files = 2;
            receipt.output.out_bytes = 100;
            check(&bytes[..], &receipt).unwrap_err().to_string()
        };
        let plain = "read the output: a path in it is not plain";
        assert_eq!(refused(&|tar| entry(tar, EntryType::Regular, "out/../x", None, b"")), plain);
        assert_eq!(refused(&|tar| entry(tar, EntryType::Regular, "out//x", None, b"")), plain);
        assert!(refused(&|tar| entry(tar, EntryType::Regular, "/x", None, b"")).contains("beside"));
        assert!(
            refused(&|tar| entry(tar, EntryType::Regular, "out/a/b", None, b"")).contains("in no folder")
        );
        assert!(
            refused(&|tar| entry(tar, EntryType::Link, "out/a", Some("stdout"), b"")).contains("no file")
        );
        assert!(refused(&|tar| entry(tar, EntryType::Char, "out/a", None, b"")).contains("no file"));
        assert!(
            refused(&|tar| entry(tar, EntryType::XHeader, "out/a", None, b"9 a=b\n")).contains("no file")
        );
        assert!(refused(&|tar| entry(tar, EntryType::Symlink, "out/a", None, b"")).contains("leads nowhere"));
        assert!(
            refused(&|tar| entry(tar, EntryType::GNULongName, "x", None, &[b'a'; 40_000]))
                .contains("too long")
        );
        assert!(
            refused(&|tar| {
                for name in ["out/a", "out/b", "out/c"] {
                    entry(tar, EntryType::Regular, name, None, b"");
                }
            })
            .contains("more entries")
        );
        assert!(
            refused(&|tar| {
                entry(tar, EntryType::Regular, "out/b", None, b"");
                entry(tar, EntryType::Regular, "out/a", None, b"");
            })
            .contains("not in order")
        );
        assert!(
            refused(&|tar| entry(tar, EntryType::Regular, "out/a", None, &[0; 101])).contains("size of /out")
        );
        assert!(refused(&|_| {}).contains("/out"), "what the receipt names must be there");
    }

    #[test]
    fn a_receipt_beyond_its_own_limits_is_refused() {
        let mut receipt = receipt(&[]);
        receipt.limits.stdout_bytes = 1;
        let error = check(&[][..], &receipt).unwrap_err().to_string();
        assert_eq!(error, "the receipt's stdout is beyond the task's limit");
    }
}
