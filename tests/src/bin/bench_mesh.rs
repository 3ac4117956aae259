//! Measures what NET-7, NET-8 and LED-9 promise of the mesh, in one run on one machine.
//!
//! `bench_mesh [--json FILE]`. Peers are the real program with real disks; endpoints and ledgers that stand alone are
//! the program's own crates.
// spec: NET-7, NET-8, LED-9

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot be made has nothing to say"
)]

#[path = "../bench_mesh/figures.rs"]
mod figures;
#[path = "../bench_mesh/growth.rs"]
mod growth;
#[path = "../bench_mesh/idle.rs"]
mod idle;
#[path = "../bench_mesh/ledger.rs"]
mod ledger;
#[path = "../bench_mesh/peers.rs"]
mod peers;
#[path = "../bench_mesh/plain.rs"]
mod plain;
#[path = "../bench_mesh/processes.rs"]
mod processes;
#[path = "../bench_mesh/tasks.rs"]
mod tasks;
#[path = "../bench_mesh/transfer.rs"]
mod transfer;

use figures::Figures;

const USAGE: &str = "usage: bench_mesh [--json FILE] [--only tasks|transfer|idle|ledger|growth]";

/// What is measured, in this order.
const PARTS: [(&str, fn(&mut Figures)); 5] = [
    ("tasks", tasks::measure),
    ("transfer", transfer::measure),
    ("idle", idle::measure),
    ("ledger", ledger::measure),
    ("growth", growth::measure),
];

fn main() {
    let (mut json, mut only) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let place = match argument.as_str() {
            "--json" => &mut json,
            "--only" => &mut only,
            _ => usage(),
        };
        *place = Some(arguments.next().unwrap_or_else(|| usage()));
    }
    let wanted: Vec<_> =
        PARTS.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)).collect();
    if wanted.is_empty() {
        usage();
    }
    let mut figures = Figures::new();
    for (name, measure) in wanted {
        figures.part(name);
        measure(&mut figures);
    }
    figures.sum_up();
    if let Some(file) = json {
        figures.write(&file);
    }
}

fn usage() -> ! {
    eprintln!("{USAGE}");
    std::process::exit(2);
}
