//! `mesh up`: this peer, until it is told to end.
// spec: NET-1, API-1

use crate::args::Up;
use crate::config::{Config, Loader};
use crate::failure::{Failure, Result};
use crate::home::Home;
use crate::keys::Keys;
use crate::up::options::Options;
use mesh_executor::Share;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Least memory that a peer gives: what the smallest task may have.
const LEAST_MEMORY: u64 = 64 << 20;

pub(super) fn run(up: &Up) -> Result<u8> {
    clock_is_sane(SystemTime::now())?;
    let home = Home::find()?;
    crate::up::run(options(Loader::new(home.clone(), Some(up)), home)?)
}

/// Dates before 1970 and after 9999 can be written nowhere, so what is signed now could not be dated.
fn clock_is_sane(now: SystemTime) -> Result<()> {
    /// Seconds from 1970 to the year 9999.
    const LAST: u64 = 253_370_764_800;
    match now.duration_since(UNIX_EPOCH).ok().filter(|since| since.as_secs() < LAST) {
        Some(_) => Ok(()),
        None => {
            Err(Failure::new("start this peer: this machine's clock shows a year before 1970 or after 9998")
                .hint("set the clock, as with `timedatectl set-ntp true`, and start again"))
        }
    }
}

fn options(loader: Loader, home: Home) -> Result<Options> {
    let config = loader.load()?;
    let mut keys = Keys::load(&home)?;
    let settings = config.settings.clone();
    expected(&config, &keys)?;
    if let Some(name) = settings.peer_name {
        keys.device_name = name;
    }
    if !settings.api.ip().is_loopback() {
        if !settings.api_for_others {
            return Err(Failure::new(format!(
                "listen for this machine's programs on {}: others could reach it",
                settings.api
            ))
            .hint("take 127.0.0.1, or add --api-for-others if that is what you want"));
        }
        crate::say!(
            "warning: {} can be reached by other machines, in the clear; whoever has the token rules this peer",
            settings.api
        );
    }
    Ok(Options {
        listen: settings.listen,
        api: settings.api,
        slots: settings.slots.unwrap_or_else(cores),
        memory: settings.memory.unwrap_or_else(half_of_memory),
        longest_ms: settings.longest_ms,
        energy: config.settings.energy(),
        watts: settings.watts,
        accepts: settings.accepts,
        shares: shares(&settings.shares, &home)?,
        relay_bytes: settings.relay,
        mdns: settings.mdns,
        hook: settings.hook,
        disk: settings.disk,
        place: settings.place,
        config,
        loader,
        home,
        keys,
    })
}

/// One task for each core.
pub(crate) fn cores() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(cores).unwrap_or(u16::MAX)
}

/// Is this the device that its owner means?
// spec: CLI-7
fn expected(config: &Config, keys: &Keys) -> Result<()> {
    let device = keys.device.public().to_string();
    match &config.settings.peer_id {
        Some(id) if !device.starts_with(id.as_str()) => {
            let from = config.origin("peer_id");
            Err(Failure::new(format!("start this peer: its key is {device}, and {from} says {id}"))
                .hint("name the home of that device with --home, or correct peer_id"))
        }
        _ => Ok(()),
    }
}

/// The folders as they really lie, whatever this process's folder is later.
// spec: DEL-4
fn shares(given: &[Share], home: &Home) -> Result<Vec<Share>> {
    let kept =
        [("keys", Some(home.config())), ("keys", Some(home.data())), ("compiled modules", home.cache())];
    let kept = kept.map(|(what, folder)| (what, folder.map(resolved)));
    let mut shares: Vec<Share> = Vec::new();
    for share in given {
        if shares.iter().any(|other| other.name == share.name) {
            return Err(Failure::new(format!("share a folder: two are named {:?}", share.name))
                .hint("give each --share a name of its own"));
        }
        let path = share
            .path
            .canonicalize()
            .map_err(|error| Failure::file("share the folder", &share.path, &error))?;
        if !path.is_dir() {
            return Err(Failure::new(format!("share {}: it is not a folder", path.display()))
                .hint("name a folder with --share NAME=FOLDER"));
        }
        // Whoever reads there has this device's keys, and whoever writes there is this device.
        let own = kept
            .iter()
            .find(|(_, own)| own.as_ref().is_some_and(|own| path.starts_with(own) || own.starts_with(&path)));
        if let Some((what, _)) = own {
            return Err(Failure::new(format!("share {}: this peer's own {what} lie there", path.display()))
                .hint("name a folder that has nothing of the peer's in it, nor lies within its --home"));
        }
        shares.push(Share { path, ..share.clone() });
    }
    Ok(shares)
}

/// A folder as it really lies, or would if it were there: whoever may write where it is missing can make it.
fn resolved(folder: &Path) -> PathBuf {
    match (folder.canonicalize(), folder.parent(), folder.file_name()) {
        (Ok(real), ..) => real,
        (Err(_), Some(above), Some(name)) => resolved(above).join(name),
        _ => folder.to_owned(),
    }
}

fn half_of_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    (total(&text).unwrap_or(0) / 2).max(LEAST_MEMORY)
}

/// Bytes of memory by the kernel's own table, which counts in units of 1024.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use crate::keys::{self, Identity};
    use clap::Parser as _;

    fn typed(args: &[&str]) -> Result<Options> {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        keys::read_or_make(&home, keys::DEVICE).unwrap();
        let identity = Identity { user_name: String::new(), device_name: "pi".into(), recovery: None };
        keys::keep_identity(&home, &identity).unwrap();
        let args = Args::try_parse_from(["mesh", "up"].iter().chain(args)).unwrap();
        let Command::Up(up) = args.command else { panic!("not up") };
        options(Loader::new(home.clone(), Some(&up)), home)
    }

    #[test]
    fn a_peer_has_sound_defaults() {
        let options = typed(&[]).unwrap();
        assert!(options.listen.is_none() && options.api.ip().is_loopback() && options.mdns);
        assert!(options.slots >= 1 && options.memory >= LEAST_MEMORY);
        assert_eq!((options.longest_ms, options.relay_bytes), (24 * 3_600_000, 0));
        assert!(options.accepts[0].matches("anything"));
        let options =
            typed(&["--accept", "db-*", "--place", "-33.9,151.2", "--no-mdns", "--relay", "1GB"]).unwrap();
        assert!(options.accepts.len() == 1 && !options.accepts[0].matches("x") && !options.mdns);
        assert_eq!((options.place, options.relay_bytes), (Some((-34, 151)), 1_000_000_000));
        assert_eq!(total("MemFree: 1 kB\nMemTotal:    16 kB\n"), Some(16_384));
    }

    // spec: API-1
    #[test]
    fn other_machines_reach_the_api_only_if_told_twice() {
        assert!(typed(&["--api", "0.0.0.0:80"]).unwrap_err().to_string().contains("--api-for-others"));
        assert!(typed(&["--api", "0.0.0.0:80", "--api-for-others"]).is_ok());
    }

    // spec: DEL-4, SBX-10
    #[test]
    fn no_share_holds_where_the_peers_own_files_are_or_will_be() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let (above, other) = (real.join("above"), real.join("other"));
        std::fs::create_dir_all(&above).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        // It is looked for by a link, as a home folder may be.
        let link = real.join("link");
        std::os::unix::fs::symlink(&above, &link).unwrap();
        let home = Home::at(&link.join("taskmesh"));
        let share = |path: &Path| {
            let given = Share {
                name: "s".into(),
                path: path.to_owned(),
                access: mesh_protocol::permissions::Access::Rw,
            };
            shares(&[given], &home).map(|_| ()).map_err(|error| error.to_string())
        };
        assert!(share(&above).unwrap_err().contains("own keys lie there"));
        assert_eq!(share(&other), Ok(()));
        assert!(!above.join("taskmesh").exists());
        assert_eq!(resolved(&link.join("a/b")), above.join("a/b"));
    }

    // spec: CLI-5
    #[test]
    fn a_clock_that_has_no_date_is_refused() {
        use std::time::Duration;
        assert!(clock_is_sane(SystemTime::now()).is_ok());
        for wrong in [UNIX_EPOCH - Duration::from_secs(1), UNIX_EPOCH + Duration::from_secs(260_000_000_000)]
        {
            assert!(clock_is_sane(wrong).unwrap_err().to_string().contains("clock"));
        }
    }

    // spec: NET-1
    #[test]
    fn nobody_runs_without_keys() {
        let folder = tempfile::tempdir().unwrap();
        let Command::Up(up) = Args::try_parse_from(["mesh", "up"]).unwrap().command else { panic!("not up") };
        let home = Home::at(folder.path());
        let refused = options(Loader::new(home.clone(), Some(&up)), home).unwrap_err();
        assert!(refused.to_string().contains("hint: mesh init"));
    }
}
