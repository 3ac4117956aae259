//! What was seen, told as it comes, and all together at the end.

use super::board::{Line, Row};
use super::{HOURS, Stage, WHO, clock};
use crate::commands::shown::{grams, table, wh};
use crate::commands::views::Energy;
use crate::failure::Result;
use mesh_protocol::ad::EnergyClaim;
use mesh_protocol::ledger::Saved;
use mesh_protocol::text::sanitise;
use serde::Deserialize as _;
use serde_json::Value;

/// A task as it was seen.
#[derive(Debug)]
struct Task {
    who: usize,
    id: String,
    title: &'static str,
    sla: &'static str,
    hour: f64,
    said: String,
    /// What it waited for when it waited last, in its peer's words.
    waited: Option<String>,
    /// Where each attempt was first seen at work, and when.
    at_work: Vec<(String, f64)>,
    last: Value,
}

impl Task {
    fn is_over(&self) -> bool {
        matches!(self.last["state"].as_str(), Some("done" | "failed" | "cancelled"))
    }

    fn level(&self) -> String {
        self.sla.to_uppercase().replace('-', "_")
    }

    /// Its account in the ledger, if it is done.
    fn energy(&self) -> Option<Energy> {
        Energy::deserialize(self.last.get("energy")?).ok()
    }
}

/// Everything seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    energy: [Option<EnergyClaim>; 3],
    tasks: Vec<Task>,
    /// The task that was voted on and the one that was there before it.
    ballot: Option<(String, String)>,
}

fn energy(claim: Option<&EnergyClaim>) -> String {
    super::super::shown::energy(claim)
}

/// Energy of several tasks and how much of it was renewable, there and if each had stayed at home.
#[derive(Default)]
struct Share {
    energy_mj: f64,
    together: f64,
    alone: f64,
}

impl Share {
    fn cells(&self) -> [String; 2] {
        let percent = |sum: f64| match self.energy_mj > 0.0 {
            true => format!("{:.0} %", sum / self.energy_mj),
            false => "-".into(),
        };
        [percent(self.together), percent(self.alone)]
    }
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
        let (said, waited, at_work, last) = (String::new(), None, Vec::new(), Value::Null);
        self.tasks.push(Task { who, id, title, sla, hour, said, waited, at_work, last });
    }

    /// The ballot that is shown at the end, and the task that was submitted before.
    pub(super) fn ballot_on(&mut self, task: String, before: String) {
        self.ballot = Some((task, before));
    }

    pub(super) fn others_than_owner(&self, id: &str) -> Vec<usize> {
        let owner = self.tasks.iter().find(|task| task.id == id).map(|task| task.who);
        (0..WHO.len()).filter(|who| Some(*who) != owner).collect()
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
            if source(before) != source(now) && stage.is_up(who) && hour < HOURS {
                stage.say(name, &format!("now has {}", energy(now.as_ref())));
            }
        }
        for who in 0..WHO.len() {
            // Also of those that are over: their accounts come later.
            if !stage.is_up(who) || !self.tasks.iter().any(|task| task.who == who) {
                continue;
            }
            let list = stage.json(who, &["task", "ls"])?;
            for task in self.tasks.iter_mut().filter(|task| task.who == who) {
                let now = list.as_array().and_then(|list| list.iter().find(|now| now["task"] == *task.id));
                if let Some(now) = now {
                    task.look(stage, hour, now);
                }
            }
        }
        Ok(())
    }

    /// The table that is drawn anew at each look.
    pub(super) fn board(&self, stage: &Stage) -> (Vec<Row>, Vec<Line>) {
        let hour = stage.hour();
        let at_work = |name: &str| -> String {
            let here = self.tasks.iter().filter(|task| {
                matches!(task.last["state"].as_str(), Some("running" | "fetching"))
                    && task.last["attempt"][1] == *name
            });
            let told = here.map(|task| {
                let percent = task.last["progress"]["permille"].as_u64().unwrap_or(0) / 10;
                format!("{} {percent} %", task.title)
            });
            told.collect::<Vec<_>>().join(", ")
        };
        let peers = WHO.iter().enumerate().map(|(who, (name, ..))| match stage.is_up(who) {
            true => Row {
                peer: (*name).into(),
                energy: energy(stage.energy(who, hour).as_ref()),
                does: at_work(name),
            },
            false => Row { peer: (*name).into(), energy: "no power".into(), does: String::new() },
        });
        let tasks = self.tasks.iter().map(|task| Line {
            task: task.title.into(),
            level: task.level(),
            owner: WHO[task.who].0.into(),
            state: task.last["state"].as_str().unwrap_or("submitted").into(),
            why: task.said.clone(),
        });
        (peers.collect(), tasks.collect())
    }

    /// What ran where, on which energy, and what that saved.
    pub(super) fn tell(&self, stage: &Stage) -> Result<()> {
        let mut text = String::from("\n");
        self.tell_tasks(stage, &mut text);
        self.tell_why(&mut text);
        self.tell_carbon(stage, &mut text);
        self.tell_ballot(stage, &mut text)?;
        let verified = stage.mesh(super::BOB, &["ledger", "verify"])?;
        text.push_str(&format!(
            "\nBob checks the ledger that all of this is in: {}\n",
            verified.lines().next().unwrap_or_default()
        ));
        crate::commands::print(&text)
    }

    fn tell_tasks(&self, stage: &Stage, text: &mut String) {
        let rows = self.tasks.iter().map(|task| {
            let home = stage.energy(task.who, task.hour);
            let account = task.energy();
            let saved = account.as_ref().and_then(|it| {
                let (saved, home) = (it.saved_ug?, it.baseline_ug.filter(|home| *home > 0)?);
                Some(format!("{:.0} %", saved as f64 * 100.0 / home as f64))
            });
            let there = account.as_ref().and_then(|it| it.g_per_kwh).map(|grams| grams.to_string());
            let at = task.at_work.last();
            vec![
                task.title.to_owned(),
                task.level(),
                format!("{}, {}", WHO[task.who].0, clock(task.hour)),
                at.map_or_else(|| "-".into(), |(at, hour)| format!("{at}, {}", clock(*hour))),
                task.at_work.len().to_string(),
                home.map_or_else(String::new, |claim| claim.g_per_kwh.to_string()),
                there.unwrap_or_default(),
                saved.unwrap_or_else(|| "-".into()),
                task.last["state"].as_str().unwrap_or_default().to_owned(),
            ]
        });
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
        text.push_str(&table(&heads, rows));
    }

    /// In the words of the peers themselves.
    fn tell_why(&self, text: &mut String) {
        text.push_str("\nWhat each waited for last, as `mesh task why` said it:\n");
        for task in &self.tasks {
            let waited = task.waited.as_deref().unwrap_or("nothing: it could start at once");
            text.push_str(&format!("  {}: {}\n", task.title, sanitise(waited, false)));
        }
    }

    fn tell_carbon(&self, stage: &Stage, text: &mut String) {
        let accounts = || self.tasks.iter().filter_map(|task| Some((task, task.energy()?)));
        let (mut caused, mut home, mut known, mut energy_mj) = (0i64, 0i64, 0, 0u64);
        let mut saved = Saved::default();
        let mut how = String::new();
        for (_, it) in accounts() {
            energy_mj += it.energy_mj.unwrap_or(0);
            if let (Some(parts), Some(baseline)) = (&it.saved, it.baseline_ug) {
                known += 1;
                caused = caused.saturating_add(it.carbon_ug);
                home = home.saturating_add(i64::try_from(baseline).unwrap_or(i64::MAX));
                saved.when_ug += parts.when_ug;
                saved.where_ug += parts.where_ug;
                saved.hardware_ug += parts.hardware_ug;
                saved.overhead_ug += parts.overhead_ug;
                how = format!("{}, ±{} %", it.how, it.uncertainty_percent);
            }
        }
        let percent = |part: i64| part as f64 * 100.0 / home.max(1) as f64;
        text.push_str(&format!(
            "\nBy the ledger's accounts of {known} of {} tasks: {} of CO2 caused, {} had each started at once at home: {:.0} % saved\n",
            self.tasks.len(),
            grams(caused),
            grams(home),
            percent(saved.total_ug())
        ));
        for (what, part) in [
            ("by when it ran", saved.when_ug),
            ("by where it ran", saved.where_ug),
            ("by the hardware there", saved.hardware_ug),
            ("overhead: transfer and lost attempts", saved.overhead_ug),
        ] {
            text.push_str(&format!("  {what:<38} {:>12}  {:>4.0} %\n", grams(part), percent(part)));
        }
        text.push_str(&format!(
            "(energy {} ({how}; hours pass in seconds, so a processor counts as {} W), idle peers not counted; intensities as recorded)\n\n",
            wh(energy_mj),
            stage.watts()
        ));

        let mut shares: [Share; 3] = Default::default();
        let mut all = Share::default();
        for (task, it) in accounts() {
            let home = stage.energy(task.who, task.hour).map(|claim| f64::from(claim.renewable_percent));
            let (Some(mj), Some(there), Some(home)) = (it.energy_mj, it.renewable_bp, home) else { continue };
            for share in [&mut shares[task.who], &mut all] {
                share.energy_mj += mj as f64;
                share.together += mj as f64 * there as f64 / 100.0;
                share.alone += mj as f64 * home;
            }
        }
        let rows = WHO.iter().map(|(name, ..)| *name).zip(&shares).chain([("together", &all)]);
        let rows = rows.map(|(name, share)| {
            let [together, alone] = share.cells();
            vec![name.to_owned(), together, alone]
        });
        text.push_str(&table(&["TASKS OF", "RENEWABLE IN THE COMMUNITY", "EACH AT ONCE AT HOME"], rows));
    }

    /// The ballot as it stands in Bob's ledger, and what it did.
    // spec: VOTE-8, LED-6
    fn tell_ballot(&self, stage: &Stage, text: &mut String) -> Result<()> {
        let Some((id, before)) = &self.ballot else { return Ok(()) };
        let ran = |id: &str| {
            let task = self.tasks.iter().find(|task| task.id == id)?;
            Some((task.title, task.at_work.first()?.1))
        };
        let log = stage.json(super::BOB, &["ledger", "log"])?;
        let of_it = |event: &&Value| {
            event["task"] == **id && matches!(event["event"].as_str(), Some("vote" | "consensus"))
        };
        text.push_str("\nA ballot, as it stands in Bob's ledger:\n");
        for event in log.as_array().into_iter().flatten().filter(of_it) {
            let cell = |name: &str| sanitise(event[name].as_str().unwrap_or_default(), false);
            text.push_str(&format!("  {:<10} {:<6} {}\n", cell("event"), cell("peer"), cell("data")));
        }
        if let (Some((title, first)), Some((other, second))) = (ran(id), ran(before)) {
            let order = if first <= second { "before" } else { "after" };
            text.push_str(&format!("{title:?} was submitted after {other:?} and ran {order} it\n"));
        }
        Ok(())
    }
}

impl Task {
    fn look(&mut self, stage: &Stage, hour: f64, now: &Value) {
        let why = now["why"].as_str().unwrap_or_default().to_owned();
        if let (Some("running" | "fetching" | "done"), Some(at)) =
            (now["state"].as_str(), now["attempt"][1].as_str())
            && self.at_work.len() < now["attempt"][0].as_u64().unwrap_or(0) as usize
        {
            self.at_work.push((at.to_owned(), hour));
        }
        if now["state"] == "waiting" {
            self.waited = Some(why.clone());
        }
        if self.said != why {
            stage.say("", &format!("{:?}: {why}", self.title));
            self.said = why;
        }
        self.last = now.clone();
    }
}
