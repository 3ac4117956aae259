//! Where the API is and who may ask: a file that only this user can read, and that its peer keeps locked. What a peer
//! that was killed has left is not locked, and who listens at that address now may be anybody.
// spec: API-1

use mesh_protocol::ids::to_hex;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file's name in the data folder.
pub(crate) const FILE: &str = "api.json";

/// What stands in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Published {
    /// Where the API listens.
    pub(crate) addr: SocketAddr,
    /// Who has this may ask.
    pub(crate) token: String,
    /// The process that serves it.
    pub(crate) pid: u32,
}

/// Takes the file away when the peer ends.
#[derive(Debug)]
pub(crate) struct Unpublish {
    path: PathBuf,
    _locked: File,
}

impl Drop for Unpublish {
    fn drop(&mut self) {
        let _gone = fs::remove_file(&self.path);
    }
}

/// Does the peer that has written this file still run?
pub(crate) fn is_served(file: &File) -> io::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| false),
        Err(fs::TryLockError::WouldBlock) => Ok(true),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// A token that nobody can guess.
pub(crate) fn token() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(to_hex(&bytes))
}

/// Writes the file whole or not at all.
pub(crate) fn publish(data: &Path, addr: SocketAddr, token: &str) -> io::Result<Unpublish> {
    let path = data.join(FILE);
    let temporary = data.join(format!("{FILE}.{}", std::process::id()));
    let text = serde_json::to_string(&Published { addr, token: token.to_owned(), pid: std::process::id() })?;
    let _left_over = fs::remove_file(&temporary);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
    // Before anybody can find it, so that nobody looks at it and is in the way.
    file.try_lock()?;
    file.write_all(text.as_bytes())?;
    fs::rename(&temporary, &path)?;
    Ok(Unpublish { path, _locked: file })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    // spec: API-1
    #[test]
    fn the_file_is_its_owners_alone_and_goes_with_the_peer() {
        let folder = tempfile::tempdir().unwrap();
        let addr = "127.0.0.1:4".parse().unwrap();
        let token = token().unwrap();
        assert_eq!(token.len(), 64);
        let published = publish(folder.path(), addr, &token).unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let read: Published = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!((read.addr, read.token), (addr, token));
        let found = File::open(&path).unwrap();
        assert!(is_served(&found).unwrap() && is_served(&File::open(&path).unwrap()).unwrap());
        // Killed, it leaves the file; the next one writes its own.
        let left = folder.path().join("left");
        fs::rename(&path, &left).unwrap();
        drop(published);
        assert!(!is_served(&found).unwrap() && !is_served(&File::open(&left).unwrap()).unwrap());
        fs::rename(&left, &path).unwrap();
        let published = publish(folder.path(), addr, &super::token().unwrap()).unwrap();
        assert!(is_served(&File::open(&path).unwrap()).unwrap() && !is_served(&found).unwrap());
        drop(published);
        assert!(!path.exists());
    }
}
