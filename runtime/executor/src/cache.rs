//! Compiled modules kept on disk: private to the user, verified before use, made anew on any doubt.
//!
//! Machine code that is loaded is trusted, so a file counts only if it carries the code this key made: BLAKE3 keyed
//! with a secret that stands beside it with mode 0600. Whoever can write here as this user can do anything anyway.
// spec: SBX-12

use crate::admission::Summary;
use crate::compile::Compiled;
use mesh_protocol::ids::{Digest, ModuleHash, ProfileId};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat, renameat, unlinkat};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Most bytes kept; the oldest go first.
const MAX_BYTES: u64 = 1 << 30;

/// A folder of compiled modules.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    handle: OwnedFd,
    secret: [u8; 32],
    /// For what its code is made. A module that is kept for something else is compiled again, and lies beside.
    made_for: Digest,
}

impl Cache {
    /// Opens the folder, making it if need be. Refuses one that others could write to.
    pub(crate) fn open(dir: &Path, profile: ProfileId, format: Digest) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle: OwnedFd = rustix::fs::open(dir, flags, Mode::empty())
            .map_err(|_| io::Error::other("it is not a folder of its own (a link?)"))?;
        let meta = File::from(handle.try_clone()?).metadata()?;
        if meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("it belongs to another user"));
        }
        if meta.mode() & 0o022 != 0 {
            return Err(io::Error::other("others may write to it; take that right away with chmod go-w"));
        }
        let secret = secret(&handle)?;
        let made_for =
            Digest(*blake3::Hasher::new().update(&profile.0).update(&format.0).finalize().as_bytes());
        Ok(Self { dir: dir.into(), handle, secret, made_for })
    }

    fn name(&self, module: &ModuleHash) -> String {
        format!("{module}-{}.code", self.made_for.short())
    }

    fn seal(&self, module: &ModuleHash, body: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        *hasher.update(&module.0).update(&self.made_for.0).update(body).finalize().as_bytes()
    }

    /// What is kept of a module, if all of it is as it was written.
    pub(crate) fn get(&self, module: &ModuleHash) -> Option<Compiled> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat(&self.handle, self.name(module), flags, Mode::empty()).ok()?;
        let mut file = File::from(file);
        let meta = file.metadata().ok()?;
        if !meta.is_file() || meta.len() > MAX_BYTES {
            return None;
        }
        let mut bytes = Vec::with_capacity(meta.len() as usize);
        file.read_to_end(&mut bytes).ok()?;
        let (seal, body) = bytes.split_first_chunk::<32>()?;
        // Compared as hashes, in constant time.
        if blake3::Hash::from(self.seal(module, body)) != blake3::Hash::from(*seal) {
            tracing::warn!(module = %module.short(), "a kept compiled module was changed; compiling it anew");
            return None;
        }
        let (summary, code) = postcard::take_from_bytes::<Summary>(body).ok()?;
        Some(Compiled { summary, code: code.to_vec() })
    }

    /// Keeps a module: written without a name or beside, then put into place, so that a reader sees all of it or nothing,
    /// and whoever is killed meanwhile leaves nothing.
    pub(crate) fn put(&self, module: &ModuleHash, compiled: &Compiled) -> io::Result<()> {
        let summary = postcard::to_stdvec(&compiled.summary).map_err(io::Error::other)?;
        let body = [summary, compiled.code.clone()].concat();
        let seal = self.seal(module, &body);
        let fill = |path: &str, flags: OFlags| {
            let flags = OFlags::WRONLY | OFlags::CLOEXEC | flags;
            let mut file = File::from(openat(&self.handle, path, flags, Mode::from_raw_mode(0o600))?);
            file.write_all(&seal)?;
            file.write_all(&body)?;
            io::Result::Ok(file)
        };
        let linked = fill(".", OFlags::TMPFILE).and_then(|file| {
            let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
            Ok(linkat(CWD, itself, &self.handle, self.name(module), AtFlags::SYMLINK_FOLLOW)?)
        });
        // Not every file system has files without a name, and one that is there, and was changed, has to give way.
        if linked.is_err() {
            let mut number = [0; 8];
            getrandom::fill(&mut number).map_err(io::Error::other)?;
            let temporary = format!("{}.tmp", mesh_protocol::ids::to_hex(&number));
            let written = fill(&temporary, OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW)
                .and_then(|_| Ok(renameat(&self.handle, &temporary, &self.handle, self.name(module))?));
            if written.is_err() {
                let _gone = unlinkat(&self.handle, &temporary, AtFlags::empty());
            }
            written?;
        }
        self.evict()
    }

    fn evict(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if meta.is_file() && (name.ends_with(".code") || name.ends_with(".tmp")) {
                files.push((meta.modified()?, meta.len(), entry.path()));
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, len, _)| len).sum();
        for (_, len, path) in files {
            if total <= MAX_BYTES {
                break;
            }
            fs::remove_file(path)?;
            total -= len;
        }
        Ok(())
    }
}

/// The folder's secret, made on first use. One that others could have read or written is made anew, and with it
/// everything kept.
fn secret(dir: &OwnedFd) -> io::Result<[u8; 32]> {
    const NAME: &str = "key";
    for _ in 0..3 {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        if let Ok(file) = openat(dir, NAME, flags, Mode::empty()) {
            let mut file = File::from(file);
            let meta = file.metadata()?;
            let mut secret = [0; 32];
            let ours = meta.uid() == rustix::process::geteuid().as_raw();
            if meta.is_file() && ours && meta.mode() & 0o077 == 0 && meta.len() == 32 {
                file.read_exact(&mut secret)?;
                return Ok(secret);
            }
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        let temporary = format!("key-{}.tmp", mesh_protocol::ids::to_hex(&secret[..8]));
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(dir, &temporary, flags, Mode::from_raw_mode(0o600))?);
        let moved = file.write_all(&secret).and_then(|()| Ok(renameat(dir, &temporary, dir, NAME)?));
        if let Err(error) = moved {
            let _gone = unlinkat(dir, &temporary, AtFlags::empty());
            return Err(error);
        }
        // Another process may have put its own in place since: read what stands there now.
    }
    Err(io::Error::other("its key cannot be kept private"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(code: &[u8]) -> Compiled {
        let summary = Summary {
            bytes: 1,
            component: false,
            imports: vec!["a.b".into()],
            functions: 1,
            first_memory: 0,
            manifest: None,
        };
        Compiled { summary, code: code.to_vec() }
    }

    // spec: SBX-12
    #[test]
    fn only_what_was_put_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), ProfileId([1; 32]), Digest([1; 32])).unwrap();
        let (a, b) = (ModuleHash([1; 32]), ModuleHash([2; 32]));
        cache.put(&a, &compiled(b"code of a")).unwrap();
        cache.put(&b, &compiled(b"code of b")).unwrap();
        assert_eq!(cache.get(&a).unwrap().code, b"code of a");
        let path = dir.path().join(cache.name(&a));
        let good = fs::read(&path).unwrap();
        for index in 0..good.len() {
            let mut changed = good.clone();
            changed[index] ^= 1;
            fs::write(&path, &changed).unwrap();
            assert!(cache.get(&a).is_none(), "byte {index}");
            fs::write(&path, &good[..index]).unwrap();
            assert!(cache.get(&a).is_none(), "cut at {index}");
        }
        cache.put(&a, &compiled(b"code of a")).unwrap();
        assert_eq!(cache.get(&a).unwrap().code, b"code of a", "what was changed gives way");
        fs::copy(dir.path().join(cache.name(&b)), &path).unwrap();
        assert!(cache.get(&a).is_none(), "another module's code");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(dir.path().join(cache.name(&b)), &path).unwrap();
        assert!(cache.get(&a).is_none(), "a link");
        cache.put(&a, &compiled(b"code of a")).unwrap();
        assert!(cache.get(&a).is_some() && cache.get(&b).is_some(), "nothing is written through a link");
        let names =
            fs::read_dir(dir.path()).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        assert_eq!(names, [cache.name(&a), cache.name(&b), "key".into()], "nothing lies beside");
        let open = |profile, format| {
            Cache::open(dir.path(), ProfileId([profile; 32]), Digest([format; 32])).unwrap()
        };
        assert!(open(9, 1).get(&b).is_none(), "another engine");
        assert!(open(1, 9).get(&b).is_none(), "another processor");
        assert!(open(1, 1).get(&b).is_some(), "a later process");
        open(1, 9).put(&b, &compiled(b"for another processor")).unwrap();
        assert_eq!(open(1, 9).get(&b).unwrap().code, b"for another processor");
        assert_eq!(open(1, 1).get(&b).unwrap().code, compiled(b"code of b").code, "each has its own");
    }

    // spec: SBX-12
    #[test]
    fn a_folder_that_others_can_write_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Cache::open(dir.path(), ProfileId::ZERO, Digest::ZERO).is_err());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(Cache::open(&link, ProfileId::ZERO, Digest::ZERO).is_err());
    }
}
