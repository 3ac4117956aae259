//! What was seen, told as it comes, and all together at the end.

use super::{Stage, WHO, clock};
use crate::commands::shown::table;
use crate::failure::Result;
use mesh_protocol::ad::EnergyClaim;
use serde_json::Value;

/// Watts by which the work of a core is modelled. It cancels out of everything shown but the total: the same work at
/// another place takes the same.
const WATTS: f64 = 15.0;

/// A task as it was seen.
#[derive(Debug)]
struct Task {
    who: usize,
    id: String,
    title: &'static str,
    sla: &'static str,
    hour: f64,
    said: String,
    /// Where each attempt was first seen at work, and when.
    at_work: Vec<(String, f64)>,
    last: Value,
}

impl Task {
    fn is_over(&self) -> bool {
        matches!(self.last["state"].as_str(), Some("done" | "failed" | "cancelled"))
    }
}

/// Everything seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    energy: [Option<EnergyClaim>; 3],
    tasks: Vec<Task>,
}

fn energy(claim: Option<&EnergyClaim>) -> String {
    super::super::shown::energy(claim)
}

impl Seen {
    pub(super) fn submitted(
        &mut self,
        who: usize,
        id: String,
        title: &'static str,
        sla: &'static str,
        hour: f64,
    ) {
        let (said, at_work, last) = (String::new(), Vec::new(), Value::Null);
        self.tasks.push(Task { who, id, title, sla, hour, said, at_work, last });
    }

    pub(super) fn waits_for_something(&self) -> bool {
        self.tasks.iter().any(|task| !task.is_over())
    }

    pub(super) fn is_unfinished(&self) -> bool {
        self.tasks.iter().any(|task| task.last["state"] != "done")
    }

    pub(super) fn look(&mut self, stage: &Stage) -> Result<()> {
        let hour = stage.hour();
        for (who, (name, ..)) in WHO.iter().enumerate() {
            let now = stage.energy(who, hour);
            let before = std::mem::replace(&mut self.energy[who], now);
            let source = |claim: Option<EnergyClaim>| claim.map(|claim| claim.source);
            if source(before) != source(now) && stage.is_up(who) {
                stage.say(name, &format!("now has {}", energy(now.as_ref())));
            }
        }
        for task in self.tasks.iter_mut().filter(|task| !task.is_over() && stage.is_up(task.who)) {
            let now = stage.json(task.who, &["task", "show", &task.id])?;
            let why = now["why"].as_str().unwrap_or_default().to_owned();
            if let (Some("running" | "fetching" | "done"), Some(at)) =
                (now["state"].as_str(), now["attempt"][1].as_str())
                && task.at_work.len() < now["attempt"][0].as_u64().unwrap_or(0) as usize
            {
                task.at_work.push((at.to_owned(), hour));
            }
            if task.said != why {
                stage.say("", &format!("{:?}: {why}", task.title));
                task.said = why;
            }
            task.last = now;
        }
        Ok(())
    }

    /// What ran where, on which energy, and what that saved.
    pub(super) fn tell(&self, stage: &Stage) -> Result<()> {
        let mut rows = Vec::new();
        let (mut joules, mut grams, mut home_grams, mut renewable) = (0.0, 0.0, 0.0, 0.0);
        let mut home_renewable = 0.0;
        for task in &self.tasks {
            let receipt = &task.last["result"]["receipt"]["receipt"];
            let seconds = receipt["usage"]["cpu_us"].as_f64().unwrap_or(0.0) / 1e6;
            let at = task.at_work.last();
            let there = at.and_then(|(at, hour)| {
                let who = WHO.iter().position(|(name, ..)| name == at)?;
                stage.energy(who, *hour)
            });
            let home = stage.energy(task.who, task.hour);
            let saved = match (there, home) {
                (Some(there), Some(home)) if task.last["state"] == "done" => {
                    let energy = seconds * WATTS;
                    joules += energy;
                    grams += energy * f64::from(there.g_per_kwh);
                    home_grams += energy * f64::from(home.g_per_kwh);
                    renewable += energy * f64::from(there.renewable_percent);
                    home_renewable += energy * f64::from(home.renewable_percent);
                    let part = 1.0 - f64::from(there.g_per_kwh) / f64::from(home.g_per_kwh.max(1));
                    format!("{:.0} %", part * 100.0)
                }
                _ => "-".into(),
            };
            rows.push(vec![
                task.title.to_owned(),
                task.sla.to_uppercase().replace('-', "_"),
                format!("{}, {}", WHO[task.who].0, clock(task.hour)),
                at.map_or_else(|| "-".into(), |(at, hour)| format!("{at}, {}", clock(*hour))),
                task.at_work.len().to_string(),
                home.map_or_else(String::new, |claim| claim.g_per_kwh.to_string()),
                there.map_or_else(String::new, |claim| {
                    format!("{} ({:?})", claim.g_per_kwh, claim.source).to_lowercase()
                }),
                saved,
                task.last["state"].as_str().unwrap_or_default().to_owned(),
            ]);
        }
        let heads = [
            "TASK",
            "LEVEL",
            "SUBMITTED BY",
            "RAN ON",
            "TRIES",
            "g/kWh AT HOME THEN",
            "WHERE IT RAN",
            "SAVED",
            "STATE",
        ];
        crate::commands::print(&format!("\n{}", table(&heads, rows)))?;
        let kwh = joules / 3.6e6;
        let average = |sum: f64| if joules > 0.0 { sum / joules } else { 0.0 };
        let mut text = format!(
            "\nCarbon of these runs: {:.4} g, and {:.4} g if each had started at once at home: {:.0} % saved\n",
            grams / 3.6e6,
            home_grams / 3.6e6,
            (1.0 - average(grams) / average(home_grams).max(1e-9)) * 100.0
        );
        text.push_str(&format!(
            "({:.6} kWh modelled as CPU time x {WATTS} W; transfer, idle peers and lost attempts not counted; intensities as recorded)\n",
            kwh
        ));
        text.push_str(&format!(
            "Renewable share of the work: {:.0} % in the community, {:.0} % had each stayed at home\n",
            average(renewable),
            average(home_renewable)
        ));
        let verified = stage.mesh(super::BOB, &["ledger", "verify"])?;
        text.push_str(&format!(
            "Bob checks the ledger that all of this is in: {}\n",
            verified.lines().next().unwrap_or_default()
        ));
        crate::commands::print(&text)
    }
}
