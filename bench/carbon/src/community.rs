//! Alice has sun, Bob has wind, Carol has a battery: what share of their energy is renewable together, and alone?
// spec: PLACE-6

use crate::data::Region;
use crate::year::{Donor, Fault, donors, run};
use anyhow::Result;
use mesh_protocol::task::Sla;
use serde_json::{Value, json};
use std::path::Path;

/// Those with a deadline, so that everybody runs all of them wherever it is.
const SLAS: [Sla; 3] = [Sla::Urgent, Sla::High, Sla::Normal];

/// Shares in percent: of each alone, and of all together.
fn shares(members: &[Donor], every_h: usize) -> (Vec<f64>, f64) {
    let alone = |member: &Donor| run(std::slice::from_ref(member), Fault::None, &SLAS, every_h).share();
    (members.iter().map(alone).collect(), run(members, Fault::None, &SLAS, every_h).share())
}

/// Runs a year of it and prints both; gives what the JSON holds, and whether together is above each alone.
pub(crate) fn compare(folder: &Path, regions: &[Region]) -> Result<(Option<Value>, bool)> {
    let wanted = [("DE-LU", 5000.0, 0.0), ("GB", 0.0, 3000.0), ("US-TEX-ERCO", 0.0, 0.0)];
    let Some(mut members) = donors(folder, regions, &wanted)? else {
        println!("\ncommunity: skipped: no weather of DE-LU, GB and US-TEX-ERCO in {}", folder.display());
        return Ok((None, true));
    };
    if let Some(carol) = members.pop() {
        members.push(carol.with_battery());
    }
    let (alone, together) = shares(&members, 1);
    let above = alone.iter().all(|share| *share < together);
    println!("\nrenewable share of a year's URGENT, HIGH and NORMAL tasks; sun, wind and battery modelled");
    for ((name, what), (member, share)) in
        [("Alice", "sun"), ("Bob", "wind"), ("Carol", "battery")].iter().zip(members.iter().zip(&alone))
    {
        println!("{:<44} {share:>10.1} %", format!("{name} alone ({what}, {})", member.name));
    }
    println!("{:<44} {together:>10.1} %", "all three together");
    println!("together above each alone: {}", if above { "PASS" } else { "FAIL" });
    let line = json!({
        "data": "community", "job_h": Value::Null, "deadline_h": Value::Null, "lag_h": 0, "policy": "mesh",
        "saving": Value::Null, "capture": Value::Null, "worst_region": Value::Null, "worst_capture": Value::Null,
        "misses": Value::Null, "segments": Value::Null,
        "renewable_alone_pct": alone, "renewable_together_pct": together,
    });
    Ok((Some(line), above))
}
