//! What a task is given, gathered from this machine: opened once, counted, hashed as the executing peer will hash it.
// spec: DEL-1, SBX-13

use crate::args::Given;
use crate::failure::{Failure, Result};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use mesh_executor::NamedInput;
use mesh_protocol::digest::{self, TreeEntry, TreeNode};
use mesh_protocol::ids::{BlobHash, Digest, InputHash};
use mesh_protocol::manifest::is_file_name;
use mesh_protocol::task::{Blob, InputFile, MAX_INPUT_FILES};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Seek as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Names our own standard input.
pub(super) const STDIN: &str = "-";
/// Most bytes taken out of a pipe: as much as a task's input may have.
const MAX_PIPED: u64 = 16_000_000_000;
/// Most bytes taken out of a device: what is no terminal has no end, and would fill the disk first.
const MAX_FROM_DEVICE: u64 = 64_000_000;
/// Deepest folder followed: as the executor has it.
const MAX_DEPTH: usize = 32;

/// A file that is given, held open so that what is sent is what was hashed.
pub(super) struct Part {
    pub(super) blob: Blob,
    pub(super) file: File,
    pub(super) from: PathBuf,
}

/// Everything that a task is given.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) stdin: Option<Part>,
    /// By their paths under `/in`.
    pub(super) files: BTreeMap<String, Part>,
}

impl Gathered {
    /// The files as a task names them, sorted by path.
    pub(super) fn inputs(&self) -> Vec<InputFile> {
        self.files.iter().map(|(path, part)| InputFile { path: path.clone(), blob: part.blob }).collect()
    }

    /// Bytes of all together.
    pub(super) fn bytes(&self) -> u64 {
        self.files.values().chain(&self.stdin).fold(0, |sum, part| sum.saturating_add(part.blob.len))
    }

    /// Hash of standard input and files together.
    pub(super) fn hash(&self) -> InputHash {
        // Folders come before what is in them, and names are compared one by one, as a walk over folders does.
        let mut nodes: BTreeMap<Vec<&str>, TreeNode> = BTreeMap::new();
        for (path, part) in &self.files {
            let names: Vec<&str> = path.split('/').collect();
            for depth in 1..names.len() {
                nodes.insert(names[..depth].to_vec(), TreeNode::Dir);
            }
            let node = TreeNode::File { len: part.blob.len, content: Digest(part.blob.hash.0) };
            nodes.insert(names, node);
        }
        let tree: Vec<TreeEntry> =
            nodes.into_iter().map(|(names, node)| TreeEntry { path: names.join("/"), node }).collect();
        let stdin = self.stdin.as_ref().map_or_else(|| digest::bytes(b""), |part| Digest(part.blob.hash.0));
        digest::input(Some(stdin), digest::tree(&tree))
    }
}

/// Gathers what the flags name.
pub(super) fn gather(given: &Given) -> Result<Gathered> {
    let mut gathered = Gathered::default();
    if let Some(from) = &given.input {
        gathered.stdin = match piped(from)? {
            Some(copy) => Some(part(copy, from)?),
            None => match super::open_input(given)? {
                Some(mesh_executor::Stdin::File(file)) => Some(part(file, from)?),
                _ => None,
            },
        };
    }
    for input in &given.inputs {
        gathered.add(input)?;
    }
    Ok(gathered)
}

/// What comes through a pipe, or from our own standard input if that is asked for: copied to a file without a name, since
/// it is read twice, once to be hashed and once to be sent. None if the path leads to a file or a folder.
fn piped(path: &Path) -> Result<Option<File>> {
    let failed = |error: io::Error| Failure::file("read the input", path, &error);
    let mut from = if path == Path::new(STDIN) {
        File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?)
    } else {
        let kind = std::fs::metadata(path).map_err(failed)?.file_type();
        if !kind.is_fifo() && !kind.is_char_device() {
            return Ok(None);
        }
        File::open(path).map_err(failed)?
    };
    let is_device = from.metadata().map_err(failed)?.file_type().is_char_device() && !from.is_terminal();
    let most = if is_device { MAX_FROM_DEVICE } else { MAX_PIPED };
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(|error| Failure::because("draw a name", &error))?;
    let place = std::env::temp_dir().join(format!("mesh-{:016x}", u64::from_le_bytes(number)));
    let kept = |error: io::Error| {
        Failure::file("keep what comes through the pipe in", &place, &error)
            .hint("free some space there, or set TMPDIR to a folder that has some")
    };
    let mut copy =
        File::options().read(true).write(true).create_new(true).mode(0o600).open(&place).map_err(kept)?;
    std::fs::remove_file(&place).map_err(kept)?;
    let len = io::copy(&mut from.by_ref().take(most + 1), &mut copy).map_err(kept)?;
    if len > most {
        return Err(unfit(path, &format!("more than {most} bytes come out of it"))
            .hint("give less: `head -c 1000 FILE | mesh …` gives as much of it as you want"));
    }
    copy.rewind().map_err(kept)?;
    Ok(Some(copy))
}

fn part(mut file: File, from: &Path) -> Result<Part> {
    let failed = |error: io::Error| Failure::file("read the input", from, &error);
    let mut hasher = blake3::Hasher::new();
    let len = io::copy(&mut file, &mut hasher).map_err(failed)?;
    let hash = BlobHash(*hasher.finalize().as_bytes());
    Ok(Part { blob: Blob { hash, len }, file, from: from.to_owned() })
}

impl Gathered {
    fn add(&mut self, input: &NamedInput) -> Result<()> {
        let failed = |error: io::Error| Failure::file("read the input", &input.path, &error);
        if self.files.keys().any(|path| path.split('/').next() == Some(input.name.as_str())) {
            return Err(Failure::new(format!("give the input {:?}: it is named twice", input.name))
                .hint("each --in needs a name of its own"));
        }
        if let Some(copy) = piped(&input.path)? {
            self.files.insert(input.name.clone(), part(copy, &input.path)?);
            return Ok(());
        }
        // The path is its user's own and may be a link; what it leads to is taken under the name given.
        let real = input.path.canonicalize().map_err(failed)?;
        let (Some(parent), Some(name)) = (real.parent(), real.file_name().and_then(|name| name.to_str()))
        else {
            return Err(unfit(&real, "it cannot be given as a whole").hint("name a folder in it"));
        };
        let dir = Dir::open_ambient_dir(parent, ambient_authority()).map_err(failed)?;
        self.take(&dir, name, &real, input.name.clone(), 0)
    }

    fn take(&mut self, dir: &Dir, name: &str, from: &Path, path: String, depth: usize) -> Result<()> {
        let failed = |error: io::Error| Failure::file("read the input", from, &error);
        let meta = dir.symlink_metadata(name).map_err(failed)?;
        if meta.is_dir() {
            if depth >= MAX_DEPTH {
                return Err(unfit(from, &format!("folders in it are nested deeper than {MAX_DEPTH}"))
                    .hint("give the inner folder under a name of its own"));
            }
            return self.walk(&dir.open_dir(name).map_err(failed)?, from, &path, depth + 1);
        }
        if meta.is_symlink() {
            return Err(unfit(from, "it is a link, and links are not followed in a folder that is given")
                .hint("put the file itself there, or give it with an --in of its own"));
        }
        if !meta.is_file() {
            return Err(unfit(from, "it is neither a file nor a folder").hint("leave it out"));
        }
        if self.files.len() >= MAX_INPUT_FILES {
            return Err(unfit(from, &format!("a task is given at most {MAX_INPUT_FILES} files"))
                .hint("pack them into one archive, and have the task unpack it"));
        }
        // Not blocking: should it have become a pipe since, opening it must not wait.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags.bits().cast_signed());
        let file = dir.open_with(name, &options).map_err(failed)?.into_std();
        self.files.insert(path, part(file, from)?);
        Ok(())
    }

    fn walk(&mut self, dir: &Dir, from: &Path, path: &str, depth: usize) -> Result<()> {
        let failed = |error: io::Error| Failure::file("read the input", from, &error);
        let mut empty = true;
        for entry in dir.entries().map_err(failed)? {
            empty = false;
            let name = entry.map_err(failed)?.file_name();
            let here = from.join(&name);
            let Some(name) = name.to_str().filter(|name| is_file_name(name)) else {
                return Err(
                    unfit(&here, "its name is not plain text that is the same everywhere").hint("rename it")
                );
            };
            self.take(dir, name, &here, format!("{path}/{name}"), depth)?;
        }
        if empty {
            return Err(unfit(from, "the folder is empty, and a task is given files only")
                .hint("leave it out, or put a file into it"));
        }
        Ok(())
    }
}

fn unfit(path: &Path, why: &str) -> Failure {
    Failure::new(format!("give the input {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn given(inputs: &[(&str, PathBuf)]) -> Given {
        let inputs =
            inputs.iter().map(|(name, path)| NamedInput { name: (*name).into(), path: path.clone() });
        Given { input: None, inputs: inputs.collect() }
    }

    fn refused(given: &Given) -> String {
        gather(given).err().unwrap().to_string()
    }

    // spec: DEL-1, SBX-13
    #[test]
    fn the_hash_is_the_one_that_the_executor_makes() {
        let folder = folder(&[("a-b/x", "1"), ("a/x", "2"), ("a/y/z", "3"), ("b", "4")]);
        let at = |name: &str| folder.path().join(name);
        let mut given = given(&[("b", at("b")), ("a", at("a")), ("a-b", at("a-b"))]);
        let tree = mesh_executor::folder_digest(folder.path()).unwrap();
        let gathered = gather(&given).unwrap();
        assert_eq!(gathered.hash(), digest::input(Some(digest::bytes(b"")), tree));
        let paths: Vec<String> = gathered.inputs().into_iter().map(|file| file.path).collect();
        assert_eq!((paths.join(" ").as_str(), gathered.bytes()), ("a-b/x a/x a/y/z b", 4));
        given.input = Some(at("b"));
        let gathered = gather(&given).unwrap();
        assert_eq!(gathered.hash(), digest::input(Some(digest::bytes(b"4")), tree));
        assert_eq!(gathered.bytes(), 5);
    }

    // spec: CLI-2
    #[test]
    fn what_comes_through_a_pipe_is_given_like_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, file) = (folder.path().join("pipe"), folder.path().join("file"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let text = "through the pipe ".repeat(10_000);
        fs::write(&file, &text).unwrap();
        let named = |path: &Path| Given {
            input: None,
            inputs: vec![NamedInput { name: "x".into(), path: path.to_owned() }],
        };
        let standard = |path: &Path| Given { input: Some(path.to_owned()), inputs: vec![] };
        for given in [&named as &dyn Fn(&Path) -> Given, &standard] {
            let (into, bytes) = (pipe.clone(), text.clone());
            let writer = std::thread::spawn(move || fs::write(into, bytes).unwrap());
            let mut gathered = gather(&given(&pipe)).unwrap();
            writer.join().unwrap();
            assert_eq!(gathered.hash(), gather(&given(&file)).unwrap().hash());
            // It can be read again, to be sent.
            let mut part = gathered.files.pop_first().map(|(_, part)| part).or(gathered.stdin).unwrap();
            part.file.rewind().unwrap();
            let mut again = String::new();
            part.file.read_to_string(&mut again).unwrap();
            assert_eq!(again, text);
        }
    }

    // spec: CLI-5
    #[test]
    fn what_has_no_end_is_refused_before_it_fills_the_disk() {
        let zero = Path::new("/dev/zero");
        for given in [Given { input: Some(zero.into()), inputs: vec![] }, given(&[("x", zero.into())])] {
            let text = refused(&given);
            assert!(text.contains("more than 64000000 bytes") && text.contains("head -c"), "{text}");
        }
        let nothing = Given { input: Some("/dev/null".into()), inputs: vec![] };
        assert_eq!(gather(&nothing).unwrap().bytes(), 0);
    }

    // spec: CLI-5, SBX-11
    #[test]
    fn what_cannot_travel_is_refused_with_its_name() {
        let folder = folder(&[("good/x", "1"), ("deep/y", "")]);
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("hollow/inner")).unwrap();
        let text = refused(&given(&[("h", at("hollow"))]));
        assert!(text.contains("hollow/inner: the folder is empty") && text.contains("hint:"), "{text}");
        symlink("/etc/passwd", at("good/link")).unwrap();
        assert!(refused(&given(&[("g", at("good"))])).contains("good/link: it is a link"));
        rustix::fs::mkfifoat(rustix::fs::CWD, at("deep/pipe"), rustix::fs::Mode::RWXU).unwrap();
        assert!(refused(&given(&[("d", at("deep"))])).contains("neither a file nor a folder"));
        assert!(refused(&given(&[("x", at("nowhere"))])).contains("hint: check the path"));
        assert!(refused(&given(&[("x", at("deep/y")), ("x", at("deep/y"))])).contains("named twice"));
        // A link that the user names is theirs.
        symlink(at("deep/y"), at("named")).unwrap();
        assert_eq!(gather(&given(&[("x", at("named"))])).unwrap().files.len(), 1);
        let many: Vec<(String, &str)> = (0..=MAX_INPUT_FILES).map(|n| (format!("many/{n}"), "")).collect();
        for (name, text) in many {
            fs::create_dir_all(at("many")).unwrap();
            fs::write(at(&name), text).unwrap();
        }
        assert!(refused(&given(&[("m", at("many"))])).contains("at most 256 files"));
    }
}
