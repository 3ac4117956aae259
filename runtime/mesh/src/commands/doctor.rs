//! `mesh doctor`: what this machine has for running tasks, and what it lacks.
// spec: SBX-9, NET-6

use super::toolchain;
use super::views::{Path, Peer};
use crate::args::Doctor;
use crate::client::{Client, understand};
use crate::exit_codes;
use crate::failure::Result;
use crate::home;
use mesh_executor::{Event, Task};
use mesh_protocol::key::PublicKey;
use mesh_protocol::outcome::Outcome;
use mesh_protocol::text::sanitise;
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

#[derive(Serialize)]
struct Finding {
    what: String,
    fine: bool,
    says: String,
    hint: Option<String>,
}

/// How findings about peers begin.
const PEER: &str = "peer ";

/// The smallest program: it ends at once.
const EMPTY_PROGRAM: &[u8] =
    b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\0\x0a\x04\x01\x02\0\x0b";

fn finding(what: impl Into<String>, fine: bool, says: impl Into<String>, hint: &str) -> Finding {
    let hint = (!fine && !hint.is_empty()).then(|| hint.to_owned());
    Finding { what: what.into(), fine, says: says.into(), hint }
}

fn walls(findings: &mut Vec<Finding>) {
    let standing = super::executor().and_then(|executor| {
        let walls = executor.walls().map_err(|error| super::start_failure(&error))?;
        Ok((executor, walls))
    });
    let (executor, walls) = match standing {
        Ok(standing) => standing,
        Err(failure) => {
            findings.push(finding("sandbox", false, failure.to_string(), ""));
            return;
        }
    };
    for wall in mesh_executor::WALLS {
        let stands = walls.iter().any(|name| name == wall);
        let says = if stands {
            "in force"
        } else {
            "not offered by this kernel: tasks run without it, and receipts say so"
        };
        findings.push(finding(
            format!("wall {wall}"),
            stands,
            says,
            "run a Linux kernel of 5.13 or later with it switched on",
        ));
    }
    let ran = executor.load(EMPTY_PROGRAM).and_then(|module| executor.start(Task::new(module)));
    let outcome = ran.map(|mut running| {
        loop {
            match running.next() {
                Some(Event::Ended(report)) => break report.outcome,
                Some(_) => {}
                None => break Outcome::SandboxCrashed("it ended without a word".into()),
            }
        }
    });
    match outcome {
        Ok(Outcome::Exited(0)) => findings.push(finding("sandbox", true, "runs a task", "")),
        Ok(outcome) => findings.push(finding("sandbox", false, outcome.to_string(), "")),
        Err(error) => findings.push(finding("sandbox", false, super::start_failure(&error).to_string(), "")),
    }
}

/// By which path each peer is reached, and what would make a better one. Nothing if no peer runs here.
// spec: NET-6
fn paths(findings: &mut Vec<Finding>) {
    let Ok(client) = Client::find() else { return };
    let asked = client.get("/v1/net").and_then(|net| Ok((net, understand(client.get("/v1/peers")?)?)));
    let (net, peers): (serde_json::Value, Vec<Peer>) = match asked {
        Ok(asked) => asked,
        // A peer that has none is told so by `mesh status`.
        Err(_) => return,
    };
    let listening = net["listening"].as_str().unwrap_or("its address").to_owned();
    let port = listening.rsplit(':').next().unwrap_or_default().to_owned();
    let open =
        format!("let UDP port {port} of your router through to this device, or have the other side do so");
    let names: BTreeMap<PublicKey, String> =
        peers.iter().map(|peer| (peer.device, peer.name.clone())).collect();
    for peer in peers.iter().filter(|peer| !peer.me) {
        let what = sanitise(&format!("{PEER}{}", peer.name), false);
        findings.push(match (&peer.path, &peer.unreached) {
            (Some(Path::Address { .. }), _) => finding(what, true, super::peer::way(peer, &names), ""),
            (Some(Path::Relay { .. }), _) => {
                let says = format!("{}; that peer's daily bytes bound it", super::peer::way(peer, &names));
                finding(what, false, says, &format!("{open}: a direct path is then taken by itself"))
            }
            (None, Some(why)) => finding(
                what,
                false,
                // It may be the other side's own words.
                format!("not reached: {}", sanitise(why, false)),
                &format!(
                    "it needs `mesh up`; where both are behind routers, {open}, or have a member whom both reach run `mesh up --relay 1GB`"
                ),
            ),
            (None, None) => finding(what, false, "not connected", "it needs `mesh up`; it is dialled when its address is told"),
        });
    }
}

pub(super) fn run(doctor: &Doctor) -> Result<u8> {
    let mut findings = Vec::new();
    walls(&mut findings);
    findings.push(match home::cache() {
        None => finding(
            "cache",
            false,
            "there is no place for it",
            "set HOME, or XDG_CACHE_HOME to an absolute path",
        ),
        Some(dir) => match std::fs::metadata(&dir) {
            Ok(meta) => {
                let private = meta.is_dir() && meta.mode() & 0o022 == 0;
                let says = if private { "private" } else { "others can write to it, so it is not used" };
                finding(
                    "cache",
                    private,
                    format!("{}: {says}", dir.display()),
                    &format!("chmod -R go-w {}", dir.display()),
                )
            }
            Err(error) => finding(
                "cache",
                false,
                format!("{}: {error}", dir.display()),
                "make a folder there that you can write to",
            ),
        },
    });
    findings.push(match home::present_device_key() {
        Ok(Some(key)) => finding("key", true, format!("this device is {}", key.public()), ""),
        Ok(None) => finding("key", true, "none yet: `mesh init` makes one", ""),
        Err(failure) => finding("key", false, failure.to_string(), ""),
    });
    findings.push(match toolchain::find() {
        Ok(toolchain) => finding("wasm compiler", true, toolchain.describe(), ""),
        // Needed to build tasks, not to run them.
        Err(_) => {
            finding("wasm compiler", false, "none: tasks can be run, but not built here", toolchain::HINT)
        }
    });
    paths(&mut findings);
    // A peer that is not there is no lack of this machine.
    let counts = |finding: &&Finding| finding.what != "wasm compiler" && !finding.what.starts_with(PEER);
    let fine = findings.iter().filter(counts).all(|finding| finding.fine);
    if doctor.json {
        super::print_json(&findings)?;
    } else {
        let mut text = String::new();
        for Finding { what, fine, says, hint } in &findings {
            let mark = if *fine { "ok  " } else { "LACK" };
            text.push_str(&format!("{mark} {what:<30} {says}\n"));
            if let Some(hint) = hint {
                text.push_str(&format!("     hint: {hint}\n"));
            }
        }
        super::print(&text)?;
    }
    Ok(if fine { exit_codes::OK } else { exit_codes::FAILED })
}
