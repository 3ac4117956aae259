//! `mesh status`, `peers`, `pause`, `resume`, `finish`: this peer and the others.
// spec: CLI-2

use super::shown::{ago, energy, sheet, table, time};
use super::views::{Path, Peer, Status};
use crate::args::{Pause, Show};
use crate::client::{Client, understand};
use crate::exit_codes;
use crate::failure::Result;
use mesh_protocol::frame::Phase;
use mesh_protocol::key::PublicKey;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) fn status(show: &Show) -> Result<u8> {
    let value = Client::find()?.get("/v1/status")?;
    if show.json {
        super::print_json(&value)?;
        return Ok(exit_codes::OK);
    }
    let status: Status = understand(value)?;
    let mut lines = vec![
        ("device", format!("{} ({})", status.name, status.device.short())),
        ("owner", status.user.unwrap_or_else(|| "not a member".into())),
        ("community", status.community.unwrap_or_else(|| "none".into())),
        ("peers", format!("{} connected", status.connected)),
        ("energy", energy(status.energy.as_ref())),
        ("donor", status.donor),
        ("ledger", format!("{} {}", status.entries, if status.entries == 1 { "entry" } else { "entries" })),
    ];
    let tasks: Vec<String> = status.tasks.iter().map(|(state, count)| format!("{count} {state}")).collect();
    lines.push(("tasks", if tasks.is_empty() { "none".into() } else { tasks.join(", ") }));
    for running in &status.running {
        let progress = &running.progress;
        let text = format!(
            "{} {} of {}, attempt {}: {} {} % {}",
            running.task.short(),
            running.name,
            running.user,
            running.attempt,
            phase(progress.phase),
            progress.permille / 10,
            // While it stands still there is nothing that the task could say itself.
            progress.held.as_ref().unwrap_or(&progress.note)
        );
        lines.push(("runs", text));
    }
    lines.extend(status.trouble.into_iter().map(|trouble| ("trouble", trouble)));
    super::print(&sheet(&lines))?;
    Ok(exit_codes::OK)
}

/// What an attempt does, in a word.
pub(super) fn phase(phase: Phase) -> String {
    format!("{phase:?}").to_lowercase()
}

pub(super) fn peers(show: &Show) -> Result<u8> {
    let value = Client::find()?.get("/v1/peers")?;
    if show.json {
        super::print_json(&value)?;
        return Ok(exit_codes::OK);
    }
    let peers: Vec<Peer> = understand(value)?;
    let names: BTreeMap<PublicKey, String> =
        peers.iter().map(|peer| (peer.device, peer.name.clone())).collect();
    let rows = peers.into_iter().map(|peer| {
        let path = way(&peer, &names);
        let there = match (peer.me, peer.connected) {
            (true, _) => "this one".to_owned(),
            (false, true) => "connected".to_owned(),
            (false, false) => match peer.heard_ms {
                Some(ms) => format!("heard {}", ago(ms)),
                None => "not heard".to_owned(),
            },
        };
        let slots = peer.free_slots.map_or_else(|| "unknown".to_owned(), |slots| slots.to_string());
        vec![peer.name, peer.user, there, path, energy(peer.energy.as_ref()), slots, peer.device.short()]
    });
    super::print(&table(&["PEER", "OWNER", "THERE", "PATH", "ENERGY", "FREE SLOTS", "KEY"], rows))?;
    Ok(exit_codes::OK)
}

/// By which path a peer is reached, in a few words.
// spec: NET-6
pub(super) fn way(peer: &Peer, names: &BTreeMap<PublicKey, String>) -> String {
    match &peer.path {
        Some(Path::Address { addr, rtt_us }) => format!("{addr}, {}", milliseconds(*rtt_us)),
        Some(Path::Relay { relay, rtt_us }) => {
            let by = names.get(relay).cloned().unwrap_or_else(|| relay.short());
            format!("relayed by {by}, {}", milliseconds(*rtt_us))
        }
        None if peer.me => String::new(),
        None if peer.unreached.is_some() => "none: `mesh doctor` says why".to_owned(),
        None => "none".to_owned(),
    }
}

fn milliseconds(us: u64) -> String {
    format!("{}.{} ms", us / 1000, us % 1000 / 100)
}

// spec: PERM-5
pub(super) fn pause(pause: &Pause) -> Result<u8> {
    Client::find()?.post("/v1/pause", &json!({ "for_ms": pause.span }))?;
    match pause.span {
        Some(span) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            crate::say!("paused until {}; `mesh resume` ends it sooner", time(now.saturating_add(span)));
        }
        None => crate::say!("paused; `mesh resume` ends it"),
    }
    Ok(exit_codes::OK)
}

pub(super) fn resume() -> Result<u8> {
    Client::find()?.post("/v1/resume", &json!({}))?;
    crate::say!("this device takes tasks again");
    Ok(exit_codes::OK)
}

pub(super) fn finish() -> Result<u8> {
    Client::find()?.post("/v1/finish", &json!({}))?;
    crate::say!("what runs here ends, and nothing more is taken; `mesh resume` ends that");
    Ok(exit_codes::OK)
}
