//! Who this peer is: its keys and names, as files that only their user can read.
// spec: NET-1

use crate::failure::{Failure, Result};
use crate::home::{self, Home};
use crate::passphrase::{self, Lock};
use mesh_protocol::ids::{from_hex, to_hex};
use mesh_protocol::key::{PublicKey, SecretKey};
use mesh_protocol::ledger::is_name;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file of the user's key.
pub(crate) const USER: &str = "user.key";
/// The file of the device's key.
pub(crate) const DEVICE: &str = "device.key";
/// The file of the key that alone replaces the user's; moved away by its user.
pub(crate) const RECOVERY: &str = "recovery.key";
/// The file of names and of the recovery key's public half.
const IDENTITY: &str = "identity.toml";
/// Largest file read as one of these: a key is 64 digits, and names are short.
const MAX: u64 = 4096;

/// Names, and what must be known of a key that is kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// What the owner is called; empty on a device whose owner's key is elsewhere.
    pub(crate) user_name: String,
    /// What the device is called.
    pub(crate) device_name: String,
    /// The only key that can replace the owner's; none on a device whose owner's key is elsewhere.
    pub(crate) recovery: Option<PublicKey>,
}

/// Who this peer is.
#[derive(Debug)]
pub(crate) struct Keys {
    /// The owner's key; none on a device that joins one more of its owner's.
    pub(crate) user: Option<SecretKey>,
    /// This device's key.
    pub(crate) device: SecretKey,
    /// The only key that can replace the owner's; all zeros where the owner's key is elsewhere.
    pub(crate) recovery: PublicKey,
    /// What the owner is called.
    pub(crate) user_name: String,
    /// What the device is called.
    pub(crate) device_name: String,
}

impl Keys {
    /// Reads what `mesh init` made.
    pub(crate) fn load(home: &Home) -> Result<Self> {
        let unknown = || {
            let message = format!("find out who this peer is: {} holds no identity", home.data().display());
            Failure::new(message).hint("mesh init")
        };
        let identity = identity(home)?.ok_or_else(unknown)?;
        if let Some(gone) = missing(home)? {
            return Err(gone);
        }
        let device = read(home, DEVICE)?.ok_or_else(unknown)?;
        let user = read(home, USER)?;
        Ok(Self {
            user,
            device,
            recovery: identity.recovery.unwrap_or(PublicKey([0; 32])),
            user_name: identity.user_name,
            device_name: identity.device_name,
        })
    }
}

/// What a home lacks that was given names, and what can be done: the same for whoever starts it and whoever makes it.
pub(crate) fn missing(home: &Home) -> Result<Option<Failure>> {
    let Some(identity) = identity(home)? else { return Ok(None) };
    let gone = |name: &str| home.data().join(name).symlink_metadata().is_err();
    let failure = |what: &str, name: &str| {
        Failure::new(format!("read {what} {}: it is gone", home.data().join(name).display()))
    };
    Ok(if gone(DEVICE) {
        Some(failure("this device's key", DEVICE).hint(
            "put it back from a backup. If there is none, this device is lost to its community: make another with \
             `mesh init` in a new --home, put this home's user.key there if it is yours, and run `mesh join` there with \
             any member's ticket",
        ))
    } else if gone(USER) && identity.recovery.is_some() {
        Some(failure("the user's key", USER).hint(
            "put it back from a backup; `mesh init --device-only` in another --home joins as a new device",
        ))
    } else {
        None
    })
}

/// Names and recovery key, if this peer was given any.
pub(crate) fn identity(home: &Home) -> Result<Option<Identity>> {
    let path = home.data().join(IDENTITY);
    let Some(text) = read_text(&path, "read this peer's names")? else { return Ok(None) };
    let damaged = |why: &str| {
        Failure::new(format!("read this peer's names {}: {why}", path.display()))
            .hint("write it as `mesh init` did: user_name = \"…\", device_name = \"…\", recovery = \"HEX\"")
    };
    let identity: Identity = toml::from_str(&text).map_err(|error| damaged(error.to_string().trim_end()))?;
    let named = identity.user_name.is_empty() || is_name(&identity.user_name);
    if !named || !is_name(&identity.device_name) {
        return Err(damaged("a name in it is empty, too long or not plain text"));
    }
    Ok(Some(identity))
}

/// Keeps names and recovery key, unless some are kept already.
pub(crate) fn keep_identity(home: &Home, identity: &Identity) -> Result<()> {
    let path = home.data().join(IDENTITY);
    // A name holds no control characters, so it has the same form as a JSON string.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = format!(
        "user_name = {}\ndevice_name = {}\n",
        quoted(&identity.user_name),
        quoted(&identity.device_name)
    );
    if let Some(recovery) = &identity.recovery {
        text.push_str(&format!("recovery = \"{recovery}\"\n"));
    }
    match write_new(&path, text.as_bytes()) {
        Err(error) => Err(Failure::file("write this peer's names", &path, &error)),
        Ok(()) => Ok(()),
    }
}

/// A key, if there is one under this name.
pub(crate) fn read(home: &Home, name: &str) -> Result<Option<SecretKey>> {
    read_at(&home.data().join(name), name)
}

/// The same, of a file that may lie anywhere.
pub(crate) fn read_at(path: &Path, name: &str) -> Result<Option<SecretKey>> {
    let Some(text) = read_text(path, "read the key")? else { return Ok(None) };
    if passphrase::is_sealed(&text) {
        return Ok(Some(SecretKey::from_seed(&passphrase::open(path, name, &text)?)));
    }
    let seed = from_hex(text.trim_end()).map_err(|_| {
        Failure::new(format!("read the key {}: it is damaged", path.display()))
            .hint("put it back from a backup; if there is none, move it away, and `mesh up` says what can be done without it")
    })?;
    Ok(Some(SecretKey::from_seed(&seed)))
}

/// Puts all keys that are here under another passphrase, or under none. All are written before the first takes its place.
// spec: NET-1
pub(crate) fn lock_all(home: &Home, lock: Option<&Lock>) -> Result<Vec<&'static str>> {
    let mut names = Vec::new();
    let mut changed = Vec::new();
    // What is to replace the user's key may count already.
    let next = aside(&home.data().join(USER), NEXT);
    let keys = [USER, DEVICE, RECOVERY].map(|name| (name, home.data().join(name)));
    let all = keys.into_iter().chain([(USER, next.clone())]).try_for_each(|(name, path)| {
        let Some(key) = read_at(&path, name)? else { return Ok(()) };
        if path != next {
            names.push(name);
        }
        let beside = aside(&path, LOCKED);
        changed.push((beside.clone(), path));
        write_aside(&beside, &written(name, &key, lock)?)
    });
    if let Err(failure) = all {
        for (beside, _) in changed {
            let _there_or_not = fs::remove_file(beside);
        }
        return Err(failure);
    }
    for (beside, path) in &changed {
        put(beside, path)?;
    }
    Ok(names)
}

/// A key that takes the place of the one under this name when [`take_place`] is called, under the same passphrase: what
/// an earlier try left behind, or a new one.
pub(crate) fn next(home: &Home, name: &str) -> Result<SecretKey> {
    let path = aside(&home.data().join(name), NEXT);
    // Opening the present one tells the passphrase, if it is under one.
    let present = read(home, name)?;
    // The present one, under whatever lock, is nothing that could take its place: the old key would go on counting.
    if let Some(key) = read_at(&path, name)?
        && present.is_none_or(|present| present.public() != key.public())
    {
        return Ok(key);
    }
    let text = read_text(&home.data().join(name), "read the key")?.unwrap_or_default();
    let lock = Lock::known().filter(|_| passphrase::is_sealed(&text));
    let key = SecretKey::from_seed(&draw()?);
    write_aside(&path, &written(name, &key, lock.as_ref())?)?;
    Ok(key)
}

/// What [`next`] made is the key from now on.
pub(crate) fn take_place(home: &Home, name: &str) -> Result<()> {
    let path = home.data().join(name);
    put(&aside(&path, NEXT), &path)
}

fn put(beside: &Path, path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::rename(beside, path)
        .and_then(|()| File::open(folder)?.sync_all())
        .map_err(|error| Failure::file("put the new key in the place of", path, &error))
}

/// Another key, that is to take its place.
const NEXT: &str = "new";
/// The same key, under another lock.
const LOCKED: &str = "locked";

fn aside(path: &Path, what: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".");
    beside.push(what);
    beside.into()
}

fn written(name: &str, key: &SecretKey, lock: Option<&Lock>) -> Result<String> {
    match lock {
        Some(lock) => lock.seal(name, &key.seed()),
        None => Ok(to_hex(&key.seed())),
    }
}

fn write_aside(beside: &Path, text: &str) -> Result<()> {
    let _left_over = fs::remove_file(beside);
    write_new(beside, text.as_bytes()).map_err(|error| Failure::file("write the key", beside, &error))
}

fn draw() -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Failure::because("draw a key", &error))?;
    Ok(seed)
}

/// A key under this name: the one that is there, or a new one.
pub(crate) fn read_or_make(home: &Home, name: &str) -> Result<SecretKey> {
    read_or_make_under(home, name, None)
}

/// The same; what is not under the passphrase yet is from now on, if there is one.
// spec: NET-1
pub(crate) fn read_or_make_under(home: &Home, name: &str, lock: Option<&Lock>) -> Result<SecretKey> {
    let path = home.data().join(name);
    if let Some(key) = read(home, name)? {
        if lock.is_some() {
            let beside = aside(&path, LOCKED);
            write_aside(&beside, &written(name, &key, lock)?)?;
            put(&beside, &path)?;
        }
        return Ok(key);
    }
    let key = SecretKey::from_seed(&draw()?);
    match write_new(&path, written(name, &key, lock)?.as_bytes()) {
        Ok(()) => Ok(key),
        // Whoever comes second must take the first one's key.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match read(home, name)? {
            Some(key) => Ok(key),
            None => Err(Failure::file("write the key", &path, &error)),
        },
        Err(error) => Err(Failure::file("write the key", &path, &error)),
    }
}

fn read_text(path: &Path, what: &str) -> Result<Option<String>> {
    let failed = |error: io::Error| Failure::file(what, path, &error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(Failure::new(format!("{what} {}: it is no file", path.display()))
            .hint("move away what lies there, and put the file back from a backup"));
    }
    home::owned(path, &meta)?;
    if meta.mode() & 0o077 != 0 {
        return Err(Failure::new(format!("use {}: others can read or change it", path.display()))
            .hint(format!("chmod 600 {}", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(MAX).read_to_end(&mut bytes).map_err(failed)?;
    String::from_utf8(bytes).map(Some).map_err(|_| {
        Failure::new(format!("{what} {}: it is damaged, for it holds what is no text", path.display()))
            .hint("put it back from a backup")
    })
}

/// Writes a file whole, for its user alone; never over one that is there.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(io::Error::other)?;
    let temporary = path.with_file_name(format!(".{}.part", to_hex(&number)));
    let written = (|| {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // Linked, not moved: what is there stays.
        fs::hard_link(&temporary, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    })();
    let _gone = fs::remove_file(&temporary);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity_of(recovery: Option<PublicKey>) -> Identity {
        let user_name = if recovery.is_some() { "Ada \"the first\"".into() } else { String::new() };
        Identity { user_name, device_name: "back\\slash 🌞".into(), recovery }
    }

    // spec: NET-1
    #[test]
    fn keys_are_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        assert!(Keys::load(&home).unwrap_err().to_string().contains("hint: mesh init"));
        let made = read_or_make(&home, DEVICE).unwrap();
        assert_eq!(read_or_make(&home, DEVICE).unwrap().public(), made.public());
        let path = folder.path().join(DEVICE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(write_new(&path, b"x").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left over");

        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(&path, mode).unwrap();
        assert!(read(&home, DEVICE).unwrap_err().to_string().contains("chmod 600"));
    }

    // spec: NET-1
    #[test]
    fn a_new_key_waits_aside_until_it_takes_the_others_place() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        let old = read_or_make(&home, USER).unwrap().public();
        let new = next(&home, USER).unwrap().public();
        assert_ne!(old, new);
        assert_eq!(next(&home, USER).unwrap().public(), new, "a try that was cut off goes on with the same");
        assert_eq!(read(&home, USER).unwrap().unwrap().public(), old);
        take_place(&home, USER).unwrap();
        assert_eq!(read(&home, USER).unwrap().unwrap().public(), new);
        assert_eq!(fs::metadata(folder.path().join(USER)).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left over");
    }

    // spec: NET-1
    #[test]
    fn a_passphrase_that_was_half_changed_is_no_new_key() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        let old = read_or_make(&home, USER).unwrap();
        read_or_make(&home, DEVICE).unwrap();
        // As it was left behind once, and as it is where something lies in the way.
        write_new(&folder.path().join("user.key.new"), to_hex(&old.seed()).as_bytes()).unwrap();
        fs::create_dir(folder.path().join("device.key.locked")).unwrap();
        lock_all(&home, None).unwrap_err();
        assert!(!folder.path().join("user.key.locked").exists(), "what is in the clear does not stay there");
        let new = next(&home, USER).unwrap().public();
        assert_ne!(new, old.public());
        // The new one may count already: it is locked with the others.
        fs::remove_dir(folder.path().join("device.key.locked")).unwrap();
        assert_eq!(lock_all(&home, None).unwrap(), [USER, DEVICE]);
        assert_eq!(next(&home, USER).unwrap().public(), new);
        take_place(&home, USER).unwrap();
        assert_eq!(read(&home, USER).unwrap().unwrap().public(), new);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left over");
    }

    // spec: NET-1
    #[test]
    fn what_was_kept_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        let user = read_or_make(&home, USER).unwrap();
        let recovery = read_or_make(&home, RECOVERY).unwrap().public();
        read_or_make(&home, DEVICE).unwrap();
        keep_identity(&home, &identity_of(Some(recovery))).unwrap();
        assert!(keep_identity(&home, &identity_of(None)).is_err());
        // Its user took it to a safe place.
        fs::remove_file(folder.path().join(RECOVERY)).unwrap();
        let keys = Keys::load(&home).unwrap();
        assert_eq!(keys.user.unwrap().public(), user.public());
        assert_eq!((keys.recovery, keys.user_name.as_str()), (recovery, "Ada \"the first\""));
        assert_eq!(keys.device_name, "back\\slash 🌞");
        fs::remove_file(folder.path().join(USER)).unwrap();
        assert!(Keys::load(&home).unwrap_err().to_string().contains("it is gone"));
    }

    // spec: NET-1
    #[test]
    fn a_device_may_be_without_its_owners_key() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        read_or_make(&home, DEVICE).unwrap();
        keep_identity(&home, &identity_of(None)).unwrap();
        let keys = Keys::load(&home).unwrap();
        assert!(keys.user.is_none() && keys.user_name.is_empty());
    }
}
