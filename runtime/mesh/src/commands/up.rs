//! `mesh up`: this peer, until it is told to end.
// spec: NET-1, API-1

use crate::args::Up;
use crate::failure::{Failure, Result};
use crate::home::Home;
use crate::keys::Keys;
use crate::up::options::Options;
use mesh_executor::Share;
use mesh_policies::donor::Terms;
use mesh_protocol::ledger::Pattern;

/// Least memory that a peer gives: what the smallest task may have.
const LEAST_MEMORY: u64 = 64 << 20;

pub(super) fn run(up: &Up) -> Result<u8> {
    crate::up::run(options(up, Home::find()?)?)
}

fn options(up: &Up, home: Home) -> Result<Options> {
    let keys = Keys::load(&home)?;
    if !up.api.ip().is_loopback() {
        if !up.api_for_others {
            return Err(Failure::new(format!(
                "listen for this machine's programs on {}: others could reach it",
                up.api
            ))
            .hint("take 127.0.0.1, or add --api-for-others if that is what you want"));
        }
        crate::say!(
            "warning: {} can be reached by other machines, in the clear; whoever has the token rules this peer",
            up.api
        );
    }
    let any = || Pattern::new("*").map(|any| vec![any]).map_err(Failure::new);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(Options {
        listen: up.listen,
        api: up.api,
        slots: up.slots.unwrap_or_else(|| u16::try_from(cores).unwrap_or(u16::MAX)),
        memory: up.memory.unwrap_or_else(half_of_memory),
        longest_ms: up.longest,
        energy: up.energy.clone(),
        watts: up.watts,
        accepts: if up.accepts.is_empty() { any()? } else { up.accepts.clone() },
        shares: shares(&up.shares)?,
        relay_bytes: up.relay,
        mdns: !up.no_mdns,
        terms: terms(up)?,
        place: up.place,
        home,
        keys,
    })
}

// spec: PERM-5
fn terms(up: &Up) -> Result<Terms> {
    let mut hours = vec![Vec::new(); if up.hours.is_empty() { 0 } else { 7 }];
    for (days, span) in &up.hours {
        for day in days {
            if let Some(day) = hours.get_mut(usize::from(*day)) {
                day.push(*span);
            }
        }
    }
    let terms = Terms {
        hours,
        mains_only: up.mains_only,
        battery_floor: up.battery_floor,
        most_load: up.most_load,
        ..Terms::default()
    };
    terms.check().map_err(|why| Failure::new(format!("take the terms of this device: {why}")))?;
    Ok(terms)
}

/// The folders as they really lie, whatever this process's folder is later.
// spec: DEL-4
fn shares(given: &[Share]) -> Result<Vec<Share>> {
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
        shares.push(Share { path, ..share.clone() });
    }
    Ok(shares)
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
        options(&up, home)
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

    // spec: NET-1
    #[test]
    fn nobody_runs_without_keys() {
        let folder = tempfile::tempdir().unwrap();
        let Command::Up(up) = Args::try_parse_from(["mesh", "up"]).unwrap().command else { panic!("not up") };
        assert!(options(&up, Home::at(folder.path())).unwrap_err().to_string().contains("hint: mesh init"));
    }
}
