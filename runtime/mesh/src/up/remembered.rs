//! What the transport must know before anything else is read: where it listened last time, and for whom to look on the
//! local network. Losing it costs nothing but time.
// spec: NET-5

use mesh_protocol::ids::CommunityId;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

const FILE: &str = "net.json";

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) port: Option<u16>,
    pub(crate) community: Option<CommunityId>,
}

impl Remembered {
    /// Nothing if it cannot be read.
    pub(crate) fn read(data: &Path) -> Self {
        let read = fs::read(data.join(FILE)).ok();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Keeps it, if that is possible.
    pub(crate) fn write(&self, data: &Path) {
        let (path, temporary) = (data.join(FILE), data.join(format!("{FILE}.new")));
        let written = serde_json::to_vec(self)
            .map_err(std::io::Error::other)
            .and_then(|bytes| private(&temporary)?.write_all(&bytes))
            .and_then(|()| fs::rename(&temporary, &path));
        if let Err(error) = written {
            tracing::info!(path = %path.display(), %error, "where this peer listens could not be remembered");
        }
    }
}

/// A new file for its user alone: it says in which community somebody is.
fn private(path: &Path) -> std::io::Result<fs::File> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // It may be there from before, with the rights that it had.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: NET-5
    #[test]
    fn it_is_the_same_after_a_restart_and_nothing_if_damaged() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Remembered::read(dir.path()), Remembered::default());
        let remembered = Remembered { port: Some(7), community: Some(CommunityId([1; 32])) };
        remembered.write(dir.path());
        let rights = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(rights & 0o777, 0o600);
        assert_eq!(Remembered::read(dir.path()), remembered);
        fs::write(dir.path().join(FILE), b"{").unwrap();
        assert_eq!(Remembered::read(dir.path()), Remembered::default());
    }
}
