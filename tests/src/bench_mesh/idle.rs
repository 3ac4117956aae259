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
    let mut asking = hub.http();
    let ticket = json!({ "kind": "Device", "valid_ms": 3_600_000 }).to_string();
    let others: Vec<Peer> = (0..OTHERS)
        .map(|number| {
            let other =
                Peer::start(folder.path(), &format!("peer-{number}"), &["--device-only"], &["--slots", "1"]);
            let ticket = asking.json("POST", "/v1/invites", ticket.as_bytes());
            let joined = other.http().json(
                "POST",
                "/v1/join",
                json!({ "ticket": ticket["ticket"] }).to_string().as_bytes(),
            );
            assert_eq!(joined["pending"], false, "{joined}");
            other
        })
        .collect();
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
