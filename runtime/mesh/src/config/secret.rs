//! Where a token is kept: in a file of its owner's alone, or in the environment. Never in `mesh.toml`, on a command line
//! or in what is said.
// spec: EN-1, CLI-7

use super::dotenv;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// Most bytes of a token; the longest that are made are some thousands.
const MAX: u64 = 16 * 1024;

/// Where to find a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// In this file, whole.
    File(PathBuf),
    /// In this variable of the environment, or else in this `.env`.
    Variable(String, PathBuf),
}

impl Secret {
    /// Reads it anew, so that one that was changed is taken up.
    pub(crate) fn read(&self) -> Result<String, String> {
        let token = match self {
            Self::File(path) => {
                let failed = |error| format!("the token cannot be read from {}: {error}", path.display());
                let file = std::fs::File::open(path).map_err(failed)?;
                let mode = file.metadata().map_err(failed)?.permissions().mode();
                if mode & 0o077 != 0 {
                    return Err(format!(
                        "others can read the token in {}: chmod 600 {}",
                        path.display(),
                        path.display()
                    ));
                }
                let mut text = String::new();
                file.take(MAX).read_to_string(&mut text).map_err(failed)?;
                text
            }
            Self::Variable(name, file) => {
                let set = std::env::var(name).ok().or_else(|| {
                    let lines = dotenv::read(file).unwrap_or_default();
                    lines.into_iter().rev().find(|line| line.name == *name).map(|line| line.value)
                });
                set.ok_or_else(|| format!("the token is to be in ${name}, which is not set"))?
            }
        };
        match token.trim() {
            "" => Err("the token is empty".into()),
            token => Ok(token.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

    // spec: EN-1, EN-3
    #[test]
    fn a_token_is_read_anew_from_its_owners_own_file_or_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let secret = Secret::File(path.clone());
        assert!(secret.read().unwrap_err().contains("cannot be read from"));
        std::fs::write(&path, "abc\n").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(secret.read().unwrap_err().contains("chmod 600"));
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(secret.read().unwrap(), "abc");
        std::fs::write(&path, " \n").unwrap();
        assert!(secret.read().unwrap_err().contains("empty"));
        let env = folder.path().join(".env");
        let named = Secret::Variable("SURELY_NOBODY_SETS_THIS".into(), env.clone());
        assert!(named.read().unwrap_err().contains("$SURELY_NOBODY_SETS_THIS, which is not set"));
        std::fs::write(&env, "SURELY_NOBODY_SETS_THIS=def\n").unwrap();
        assert_eq!(named.read().unwrap(), "def");
        assert!(!format!("{secret:?} {named:?}").contains("abc"));
    }
}
