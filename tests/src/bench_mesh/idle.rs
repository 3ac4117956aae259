//! A peer that is connected to fifty others and has nothing to do.

use crate::figures::{Figures, Target, note};
use crate::peers::{Peer, until};
use crate::processes::{children, cpu_s, pss_mib, rss_mib};
use serde_json::json;
use std::time::{Duration, Instant};

const OTHERS: usize = 50;
const SETTLE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(20);

pub(crate) fn measure(figures: &mut Figures) {
    note(
        "one peer and fifty more, each a `mesh up` of its own, admitted by ticket as a device and connected to it",
    );
    let folder = tempfile::tempdir().unwrap();
    let hub = Peer::start(folder.path(), "hub", &["--name", "anna"], &[]);
    hub.ok(&["community", "new", "Bench"]);
    let joins = |other: &Peer, by: &Peer, kind: &str| {
        let asked = json!({ "kind": kind, "valid_ms": 3_600_000 }).to_string();
        let ticket = by.http().json("POST", "/v1/invites", asked.as_bytes());
        let asked = json!({ "ticket": ticket["ticket"] }).to_string();
        let joined = other.http().json("POST", "/v1/join", asked.as_bytes());
        assert_eq!(joined["pending"], false, "{joined}");
    };
    // A user may have 32 devices: these are of two.
    let second = Peer::start(folder.path(), "second", &["--name", "bert"], &["--slots", "1"]);
    joins(&second, &hub, "Member");
    let mut others: Vec<Peer> = vec![];
    for number in 1..OTHERS {
        let other =
            Peer::start(folder.path(), &format!("peer-{number}"), &["--device-only"], &["--slots", "1"]);
        joins(&other, if number % 2 == 0 { &hub } else { &second }, "Device");
        others.push(other);
    }
    others.push(second);
    let connected = || hub.get("/v1/status")["connected"].as_u64().unwrap();
    until("all to be connected", || (connected() == OTHERS as u64).then_some(()));
    std::thread::sleep(SETTLE);
    let (before, began) = (cpu_s(hub.pid()), Instant::now());
    std::thread::sleep(IDLE);
    let share = (cpu_s(hub.pid()) - before) / began.elapsed().as_secs_f64() * 100.0;
    assert_eq!(connected(), OTHERS as u64, "all stayed");
    figures.put(
        "idle50_cpu_pct",
        "CPU of a peer with 50 live connections, idle for 20 s (%)",
        share,
        Target::Below(2.0),
    );
    figures.put(
        "idle50_rss_mib",
        "memory of its process (RSS, MiB)",
        rss_mib(hub.pid()),
        Target::Below(95.0),
    );
    figures.put("idle50_pss_mib", "  shared pages in parts (PSS, MiB)", pss_mib(hub.pid()), Target::Any);
    let workers: f64 = children(hub.pid()).into_iter().map(pss_mib).sum();
    figures.put(
        "idle50_workers_pss_mib",
        "  its waiting sandbox workers beside it (PSS, MiB)",
        workers,
        Target::Any,
    );
    drop(others);
}
