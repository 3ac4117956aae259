//! `mesh init`: who this peer is.
// spec: NET-1

use super::shown::sheet;
use crate::args::Init;
use crate::exit_codes;
use crate::failure::{Failure, Result};
use crate::home::Home;
use crate::keys::{self, DEVICE, Identity, RECOVERY, USER};
use crate::passphrase::Lock;
use mesh_protocol::ledger::{check_new_name, reads_like_a_key};

pub(super) fn run(init: &Init) -> Result<u8> {
    make(init, &Home::find()?)
}

fn make(init: &Init, home: &Home) -> Result<u8> {
    if keys::identity(home)?.is_some() {
        // Whoever comes here since `mesh up` missed a key would be sent back and forth.
        if let Some(gone) = keys::missing(home)? {
            return Err(gone);
        }
        let message = format!("make keys: {} holds an identity already", home.data().display());
        return Err(Failure::new(message).hint("go on with `mesh up`, or name another folder with --home"));
    }
    let device_name = match &init.device_name {
        Some(name) => name.clone(),
        None => host_name().ok_or_else(|| unnamed("device", "--device-name"))?,
    };
    let user_name = match (&init.name, init.device_only) {
        (_, true) => String::new(),
        (Some(name), false) => name.clone(),
        (None, false) => login_name().ok_or_else(|| unnamed("user", "--name"))?,
    };
    home.make()?;
    let lock = if init.passphrase { Some(Lock::make()?) } else { None };
    let lock = lock.as_ref();
    let mut lines = vec![("folder", home.data().display().to_string())];
    let mut recovery = None;
    if !init.device_only {
        let user = keys::read_or_make_under(home, USER, lock)?;
        recovery = Some(keys::read_or_make_under(home, RECOVERY, lock)?.public());
        lines.push(("user", user_name.clone()));
        lines.push(("user key", user.public().to_string()));
    }
    let device = keys::read_or_make_under(home, DEVICE, lock)?;
    lines.push(("device", device_name.clone()));
    lines.push(("device key", device.public().to_string()));
    lines.extend(recovery.map(|key| ("recovery key", key.to_string())));
    // Last: whatever went wrong before, the same command goes on from there.
    keys::keep_identity(home, &Identity { user_name, device_name, recovery })?;
    super::print(&sheet(&lines))?;
    if init.device_only {
        crate::say!("next: `mesh up`, and `mesh join TICKET` with a ticket of `mesh device add`");
    } else {
        let path = home.data().join(RECOVERY);
        crate::say!(
            "Move {} to a safe place off this machine: it alone can replace your user key.",
            path.display()
        );
        crate::say!("next: `mesh up`, and `mesh community new NAME` or `mesh join TICKET`");
    }
    Ok(exit_codes::OK)
}

fn unnamed(what: &str, flag: &str) -> Failure {
    Failure::new(format!("name this {what}: the system has no name for it that fits"))
        .hint(format!("give one with {flag}"))
}

fn login_name() -> Option<String> {
    ["USER", "LOGNAME"]
        .iter()
        .find_map(|variable| std::env::var(variable).ok())
        .filter(|name| check_new_name(name).is_ok())
}

fn host_name() -> Option<String> {
    named_after(std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim())
}

/// Containers are called by digits alone, which would be taken for a key.
fn named_after(host: &str) -> Option<String> {
    let name = if reads_like_a_key(host) { format!("host-{host}") } else { host.to_owned() };
    Some(name).filter(|name| check_new_name(name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Keys;
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    fn init(device_only: bool) -> Init {
        let name = (!device_only).then(|| "alice".to_owned());
        Init { name, device_name: Some("laptop".into()), device_only, passphrase: false }
    }

    // spec: NET-1
    #[test]
    fn keys_are_made_once_and_an_older_device_key_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("new"));
        home.make().unwrap();
        let device = keys::read_or_make(&home, DEVICE).unwrap().public();
        make(&init(false), &home).unwrap();
        let loaded = Keys::load(&home).unwrap();
        assert_eq!((loaded.device.public(), loaded.user_name.as_str()), (device, "alice"));
        for name in [USER, DEVICE, RECOVERY, "identity.toml"] {
            assert_eq!(fs::metadata(home.data().join(name)).unwrap().mode() & 0o777, 0o600, "{name}");
        }
        let before = fs::read(home.data().join(USER)).unwrap();
        assert!(make(&init(false), &home).unwrap_err().to_string().contains("already"));
        assert_eq!(fs::read(home.data().join(USER)).unwrap(), before);
    }

    // spec: NET-2
    #[test]
    fn a_container_is_called_by_more_than_its_digits() {
        assert_eq!(named_after("3f2a9b8c7d6e").unwrap(), "host-3f2a9b8c7d6e");
        assert_eq!(named_after("garden-pi").unwrap(), "garden-pi");
        assert_eq!(named_after("a\u{200b}b"), None);
    }

    // spec: CLI-5
    #[test]
    fn a_home_whose_device_key_is_gone_is_not_sent_in_circles() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        make(&init(false), &home).unwrap();
        fs::remove_file(home.data().join(DEVICE)).unwrap();
        let up = Keys::load(&home).unwrap_err().to_string();
        let again = make(&init(false), &home).unwrap_err().to_string();
        assert_eq!(up, again);
        assert!(
            up.contains("device.key") && up.contains("backup") && !up.contains("hint: mesh init"),
            "{up}"
        );
    }

    // spec: NET-1
    #[test]
    fn one_more_device_has_no_user_key() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        make(&init(true), &home).unwrap();
        assert!(Keys::load(&home).unwrap().user.is_none());
        assert!(!home.data().join(USER).exists() && !home.data().join(RECOVERY).exists());
    }
}
