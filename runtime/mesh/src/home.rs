//! Where `mesh` keeps its things on this machine, and the key it signs with.

use crate::failure::{Failure, Result};
use mesh_protocol::ids::{from_hex, to_hex};
use mesh_protocol::key::SecretKey;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

/// A folder named by `variable`, or `below` in the home folder, with our name in it.
fn base(variable: &str, below: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set(variable).or_else(|| set("HOME").map(|home| home.join(below)))?;
    Some(base.join("taskmesh"))
}

/// Where compiled modules are kept.
pub(crate) fn cache() -> Option<PathBuf> {
    base("XDG_CACHE_HOME", ".cache").map(|dir| dir.join("modules"))
}

/// Where keys are kept.
pub(crate) fn data() -> Option<PathBuf> {
    base("XDG_DATA_HOME", ".local/share")
}

/// This device's key: made on first use, readable by its user alone.
pub(crate) fn device_key() -> Result<SecretKey> {
    let dir = data().ok_or_else(|| {
        Failure::new("find a folder for this device's key: neither HOME nor XDG_DATA_HOME is set")
            .hint("set HOME, or XDG_DATA_HOME to an absolute path")
    })?;
    let path = dir.join("device.key");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(|error| Failure::file("make the folder", &dir, &error))?;
    match File::open(&path) {
        Ok(mut file) => {
            let failed = |error: std::io::Error| Failure::file("read this device's key", &path, &error);
            let mode = file.metadata().map_err(failed)?.mode();
            if mode & 0o077 != 0 {
                return Err(Failure::new(format!("use the key {}: others can read it", path.display()))
                    .hint(format!("chmod 600 {}", path.display())));
            }
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(failed)?;
            let seed = from_hex(text.trim_end()).map_err(|_| {
                Failure::new(format!("read this device's key {}: it is damaged", path.display()))
                    .hint("restore it from a backup, or move it away to get a new one")
            })?;
            Ok(SecretKey::from_seed(&seed))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(|error| Failure::because("draw a key", &error))?;
            let temporary = dir.join(format!("device.key.{}", std::process::id()));
            let written = (|| {
                let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
                file.write_all(to_hex(&seed).as_bytes())?;
                file.sync_all()?;
                // Linked, not moved: whoever comes second must take the first one's key.
                fs::hard_link(&temporary, &path)
            })();
            let _gone = fs::remove_file(&temporary);
            match written {
                Ok(()) => Ok(SecretKey::from_seed(&seed)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => device_key(),
                Err(error) => Err(Failure::file("write this device's key", &path, &error)),
            }
        }
        Err(error) => Err(Failure::file("read this device's key", &path, &error)),
    }
}
