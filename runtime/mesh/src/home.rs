//! Where `mesh` keeps its things on this machine.

use crate::failure::{Failure, Result};
use crate::keys;
use mesh_protocol::key::SecretKey;
use std::fs::{DirBuilder, Metadata};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The environment's name for the one folder that holds everything.
pub(crate) const VARIABLE: &str = "MESH_HOME";

/// What the command line or the environment chose, once for this process: a folder for everything, so that several
/// peers can live on one machine.
static CHOSEN: OnceLock<PathBuf> = OnceLock::new();

/// Takes the folder that `--home` names, or else the environment.
pub(crate) fn choose(folder: Option<&Path>) -> Result<()> {
    let named = folder.map(Path::to_owned);
    let named =
        named.or_else(|| std::env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from));
    if let Some(folder) = named {
        let folder = std::path::absolute(&folder)
            .map_err(|error| Failure::file("find the folder", &folder, &error))?;
        if folder.exists() && !folder.is_dir() {
            return Err(Failure::new(format!(
                "use {} as this peer's folder: it is a file",
                folder.display()
            ))
            .hint("name a folder with --home or MESH_HOME; it is made if it is not there"));
        }
        guarded(&folder)?;
        let _first_choice_stays = CHOSEN.set(folder);
    }
    Ok(())
}

/// Is a folder or file somebody else's, or can others change it? It says who this peer is and which programs it starts,
/// so whoever can write there would rule this user's account. As `ssh` does it: root may, for root can anyhow.
// spec: CLI-7
pub(crate) fn owned(path: &Path, meta: &Metadata) -> Result<()> {
    unsafe_for(rustix::process::geteuid().as_raw(), path, meta)
        .map_or(Ok(()), |(why, hint)| Err(Failure::new(format!("use {why}")).hint(hint)))
}

/// Why a user with this number should not trust it, and what mends it.
pub(crate) fn unsafe_for(user: u32, path: &Path, meta: &Metadata) -> Option<(String, String)> {
    let shown = path.display();
    if meta.uid() != user && meta.uid() != 0 {
        let why = format!("{shown}: it belongs to the user with number {}, and this is {user}", meta.uid());
        return Some((
            why,
            format!("if you trust what is in it: chown {user} {shown}; or name another folder with --home"),
        ));
    }
    let mode = meta.mode() & 0o7777;
    // In a folder that keeps each one's files to themselves nobody changes another's, but anybody can add some.
    (mode & 0o022 != 0).then(|| {
        let why = format!("{shown}: others than its owner can change it (mode {mode:o})");
        (why, format!("look whether all in it is yours, then chmod go-w {shown}"))
    })
}

/// A folder that is there must be this user's alone to change.
fn guarded(folder: &Path) -> Result<()> {
    match std::fs::metadata(folder) {
        Ok(meta) => owned(folder, &meta),
        // It is made, or missed, where it is needed.
        Err(_) => Ok(()),
    }
}

/// A folder named by `variable`, or `below` in the home folder, with our name in it.
fn base(variable: &str, below: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set(variable).or_else(|| set("HOME").map(|home| home.join(below)))?;
    Some(base.join("taskmesh"))
}

/// Where compiled modules are kept.
pub(crate) fn cache() -> Option<PathBuf> {
    let cache = CHOSEN.get().map(|chosen| chosen.join("cache"));
    cache.or_else(|| base("XDG_CACHE_HOME", ".cache")).map(|dir| dir.join("modules"))
}

/// The folders of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Home {
    data: PathBuf,
    cache: Option<PathBuf>,
    config: PathBuf,
}

impl Home {
    /// Where the command line, the environment or this system's custom puts them.
    pub(crate) fn find() -> Result<Self> {
        let data = CHOSEN.get().cloned().or_else(|| base("XDG_DATA_HOME", ".local/share"));
        let data = data.ok_or_else(|| {
            Failure::new("find a folder for this peer: neither HOME nor XDG_DATA_HOME is set")
                .hint("name one with --home, or set HOME")
        })?;
        let config = CHOSEN.get().cloned().or_else(|| base("XDG_CONFIG_HOME", ".config"));
        let config = config.unwrap_or_else(|| data.clone());
        guarded(&data)?;
        guarded(&config)?;
        Ok(Self { data, cache: cache(), config })
    }

    /// Everything below one folder.
    #[cfg(test)]
    pub(crate) fn at(folder: &Path) -> Self {
        let cache = Some(folder.join("cache").join("modules"));
        Self { data: folder.to_owned(), cache, config: folder.to_owned() }
    }

    /// Where keys, ledger and blobs are kept.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Where compiled modules are kept, if there is a place for them.
    pub(crate) fn cache(&self) -> Option<&Path> {
        self.cache.as_deref()
    }

    /// Where its configuration is.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// Makes the data folder, for its user alone.
    pub(crate) fn make(&self) -> Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.data);
        made.map_err(|error| Failure::file("make the folder", &self.data, &error))
    }
}

/// This device's key: made on first use, readable by its user alone. None is made for a device that has lost its own: it
/// would be a stranger to its community without a word.
// spec: NET-1
pub(crate) fn device_key() -> Result<SecretKey> {
    let home = Home::find()?;
    home.make()?;
    match keys::missing(&home)? {
        Some(gone) => Err(gone),
        None => keys::read_or_make(&home, keys::DEVICE),
    }
}

/// The same where it is there, for who only looks.
pub(crate) fn present_device_key() -> Result<Option<SecretKey>> {
    let home = Home::find()?;
    match keys::missing(&home)? {
        Some(gone) => Err(gone),
        None => keys::read(&home, keys::DEVICE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    // spec: CLI-5
    #[test]
    fn a_file_is_no_home() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let said = choose(Some(file.path())).unwrap_err().to_string();
        assert!(said.contains("it is a file") && said.contains("hint:"), "{said}");
    }

    // spec: CLI-7
    #[test]
    fn what_others_can_change_is_not_obeyed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mesh.toml");
        std::fs::write(&file, "").unwrap();
        let me = rustix::process::geteuid().as_raw();
        for (mode, fine) in [(0o600, true), (0o644, true), (0o664, false), (0o602, false)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            let said = owned(&file, &file.metadata().unwrap());
            assert_eq!(said.is_ok(), fine, "{mode:o}");
            if let Err(said) = said {
                let said = said.to_string();
                assert!(said.contains(&format!("{mode:o}")) && said.contains("chmod go-w"), "{said}");
            }
        }
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let meta = file.metadata().unwrap();
        match me {
            // What root owns everybody may use.
            0 => assert_eq!(unsafe_for(1234, &file, &meta), None),
            me => assert!(unsafe_for(me + 1, &file, &meta).unwrap().1.contains("chown")),
        }
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(guarded(folder.path()).unwrap_err().to_string().contains("777"));
    }
}
