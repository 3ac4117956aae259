//! Where `mesh` keeps its things on this machine.

use crate::failure::{Failure, Result};
use crate::keys;
use mesh_protocol::key::SecretKey;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
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
        let _first_choice_stays = CHOSEN.set(folder);
    }
    Ok(())
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

/// This device's key: made on first use, readable by its user alone.
pub(crate) fn device_key() -> Result<SecretKey> {
    let home = Home::find()?;
    home.make()?;
    keys::read_or_make(&home, keys::DEVICE)
}
