//! `mesh task`: this device's tasks looked after.
// spec: CLI-2, DEL-9

use super::peer::phase;
use super::screen::Passed;
use super::shown::{grams, sheet, table, time, wh};
use super::views::{Energy, Submitted, Task as View};
use super::{human, result};
use crate::args::{Show, Task};
use crate::client::{Client, segment, understand};
use crate::exit_codes;
use crate::failure::{Failure, Result};
use mesh_protocol::text::sanitise;
use serde_json::json;
use std::io;
use std::time::Duration;

/// Silence after which a task that runs has said all that it had to say until now.
const SILENCE: Duration = Duration::from_millis(500);
/// How soon a broken stream is asked for again.
const AGAIN: Duration = Duration::from_millis(500);

pub(super) fn run(task: &Task) -> Result<u8> {
    let named = match task {
        Task::Ls(_) => None,
        Task::Show { task, .. }
        | Task::Why { task, .. }
        | Task::Logs { task, .. }
        | Task::Result { task, .. }
        | Task::Cancel { task }
        | Task::Veto { task, .. }
        | Task::Rerun { task, .. } => Some(task),
    };
    if named.is_some_and(String::is_empty) {
        return Err(super::unnamed_task());
    }
    let client = Client::find()?;
    match task {
        Task::Ls(show) => ls(&client, show),
        Task::Show { task, json } => show(&client, task, *json),
        Task::Why { task, json } => why(&client, task, *json),
        Task::Logs { task, follow, stderr } => logs(&client, task, *follow, *stderr),
        Task::Result { task, output, overwrite } => {
            result::fetch(&client, task, output, *overwrite, false).map(|()| exit_codes::OK)
        }
        Task::Cancel { task } => {
            client.post(&format!("{}/cancel", at(task)), &json!({}))?;
            crate::say!("{task}: cancelled");
            Ok(exit_codes::OK)
        }
        // spec: DEL-6
        Task::Veto { task, why } => {
            client.post(&format!("{}/veto", at(task)), &json!({ "why": why }))?;
            // Another's task is none of this device's list.
            match client.get(&at(task)) {
                Ok(_) => crate::say!(
                    "{task}: vetoed; it stays on this device from now on and waits for clean energy here, as ECO does"
                ),
                Err(_) => crate::say!("{task}: vetoed; its owner has it run elsewhere"),
            }
            Ok(exit_codes::OK)
        }
        Task::Rerun { task, json } => {
            let value = client.post(&format!("{}/rerun", at(task)), &json!({}))?;
            if *json {
                super::print_json(&value)?;
            } else {
                super::print(&format!("{}\n", understand::<Submitted>(value)?.task))?;
            }
            Ok(exit_codes::OK)
        }
    }
}

fn at(task: &str) -> String {
    format!("/v1/tasks/{}", segment(task))
}

fn ls(client: &Client, show: &Show) -> Result<u8> {
    let value = client.get("/v1/tasks")?;
    if show.json {
        super::print_json(&value)?;
        return Ok(exit_codes::OK);
    }
    let tasks: Vec<View> = understand(value)?;
    let rows = tasks.into_iter().map(|task| {
        let progress = task.progress.as_ref().map(|progress| format!(" {} %", progress.permille / 10));
        vec![
            task.task.short(),
            task.name,
            format!("{}{}", task.state, progress.unwrap_or_default()),
            task.attempt.map_or_else(String::new, |(_, device)| device),
            time(task.created_ms),
            task.why,
        ]
    });
    super::print(&table(&["TASK", "NAME", "STATE", "ON", "SUBMITTED", "WHY"], rows))?;
    Ok(exit_codes::OK)
}

fn show(client: &Client, task: &str, as_json: bool) -> Result<u8> {
    let value = client.get(&at(task))?;
    if as_json {
        super::print_json(&value)?;
        return Ok(exit_codes::OK);
    }
    super::print(&shown(&understand(value)?))?;
    Ok(exit_codes::OK)
}

/// What it used and saved.
// spec: CO2-3, CO2-4
fn energy_lines(it: &Energy) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    lines.push(match it.energy_mj {
        Some(mj) => {
            let renewable = it.renewable_bp.unwrap_or(0) as f64 / 100.0;
            let text = format!(
                "{} ({}, ±{} %), {renewable:.1} % renewable, at {} g CO2 per kWh",
                wh(mj),
                it.how,
                it.uncertainty_percent,
                it.g_per_kwh.unwrap_or(0)
            );
            ("energy", text)
        }
        None => ("energy", "unmeasured".to_owned()),
    });
    lines.push(("carbon", format!("{} with all attempts, by {}", grams(it.carbon_ug), it.factors)));
    let provisional = if it.provisional { ", provisional" } else { "" };
    let why = it.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    lines.push(match (&it.saved, it.saved_ug, it.baseline_ug) {
        (Some(saved), Some(all), Some(baseline)) => {
            let parts = format!(
                "when {}, where {}, hardware {}, overhead {}",
                grams(saved.when_ug),
                grams(saved.where_ug),
                grams(saved.hardware_ug),
                grams(saved.overhead_ug)
            );
            let home = i64::try_from(baseline).unwrap_or(i64::MAX);
            ("saved", format!("{} of {} at once at home: {parts}{provisional}{why}", grams(all), grams(home)))
        }
        _ => ("saved", format!("not known{provisional}{why}")),
    });
    lines
}

fn shown(view: &View) -> String {
    let mut lines = vec![
        ("task", view.task.to_string()),
        ("name", view.name.clone()),
        ("module", view.module.to_string()),
        ("submitted", time(view.created_ms)),
        ("state", view.state.clone()),
        ("why", view.why.clone()),
    ];
    // spec: SLA-1
    let starts = view.start_by_ms.map(|by| ("starts by", time(by)));
    let ends = view.finish_by_ms.map(|by| ("done by", time(by)));
    let given_up = view.expires_ms.map(|by| ("given up", time(by)));
    lines.extend(starts.into_iter().chain(ends).chain(given_up));
    if let Some((attempt, device)) = &view.attempt {
        lines.push(("attempt", format!("{attempt} on {device}")));
    }
    if let Some(progress) = &view.progress {
        let text = format!("{} {} % {}", phase(progress.phase), progress.permille / 10, progress.note);
        lines.push(("progress", text));
    }
    if let Some(result) = &view.result {
        let receipt = &result.receipt.receipt;
        let (usage, output) = (&receipt.usage, &receipt.output);
        lines.push(("outcome", format!("{} (attempt {})", receipt.outcome, result.attempt)));
        lines.push((
            "used",
            format!(
                "{} ms, {} ms of CPU, {} of memory, {} units of fuel",
                usage.wall_ms,
                usage.cpu_us / 1000,
                human(usage.peak_memory),
                usage.fuel
            ),
        ));
        lines.push((
            "left",
            format!(
                "stdout {}, stderr {}, {} files of {}",
                human(output.stdout_bytes),
                human(output.stderr_bytes),
                output.out_files,
                human(output.out_bytes)
            ),
        ));
    }
    if let Some(energy) = &view.energy {
        lines.extend(energy_lines(energy));
    }
    let mut text = sheet(&lines);
    if !view.history.is_empty() {
        let rows = view
            .history
            .iter()
            .map(|attempt| vec![attempt.attempt.to_string(), attempt.device.clone(), attempt.fate.clone()]);
        text.push('\n');
        text.push_str(&table(&["ATTEMPT", "ON", "FATE"], rows));
    }
    text
}

// spec: DEL-9
fn why(client: &Client, task: &str, as_json: bool) -> Result<u8> {
    let view: View = client.read(&at(task))?;
    if as_json {
        super::print_json(&json!({ "task": view.task, "state": view.state, "why": view.why }))?;
    } else {
        super::print(&format!("{}: {}\n", view.state, sanitise(&view.why, false)))?;
    }
    Ok(exit_codes::OK)
}

// spec: DEL-5
fn logs(client: &Client, task: &str, follow: bool, stderr: bool) -> Result<u8> {
    let which = if stderr { "stderr" } else { "stdout" };
    let view: View = client.read(&at(task))?;
    let (id, ended) = (view.task, view.ended());
    let patience = (!follow && !ended).then_some(SILENCE);
    let mut out = Passed::new(io::stdout());
    let mut from = 0u64;
    loop {
        let mut stream = client.download(&format!("/v1/tasks/{id}/logs?stream={which}&from={from}"))?;
        let broken = loop {
            match stream.next(patience) {
                Ok(Some(bytes)) => {
                    from += bytes.len() as u64;
                    match out.write(&bytes) {
                        Ok(()) => {}
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                            return Ok(exit_codes::READER_GONE);
                        }
                        Err(error) => return Err(Failure::because("write the task's output", &error)),
                    }
                }
                Ok(None) => return Ok(exit_codes::OK),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    crate::say!("note: it has not ended; -f follows it");
                    return Ok(exit_codes::OK);
                }
                Err(error) => break error,
            }
        };
        if !follow {
            return Err(Failure::because("read the task's output", &broken).hint("try again"));
        }
        // Where the node is gone for good, asking again says so.
        std::thread::sleep(AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_node::{AttemptView, Progress, TaskView};
    use mesh_protocol::frame::Phase;
    use mesh_protocol::ids::{ModuleHash, TaskId};

    // spec: API-2, SBX-11
    #[test]
    fn a_task_is_shown_as_the_node_tells_it() {
        let told = TaskView {
            task: TaskId([1; 32]),
            name: "tidy".into(),
            module: ModuleHash([2; 32]),
            state: "running".into(),
            why: "bob\x1b[31m runs it".into(),
            created_ms: 0,
            start_by_ms: Some(1_000),
            finish_by_ms: Some(61_000),
            expires_ms: None,
            attempt: Some((2, "bob".into())),
            progress: Some(Progress {
                phase: Phase::Running,
                permille: 420,
                note: "half".into(),
                held: None,
            }),
            saved: true,
            history: vec![AttemptView { attempt: 1, device: "carol".into(), fate: "refused: busy".into() }],
            result: None,
            energy: None,
        };
        let view: View = understand(serde_json::to_value(&told).unwrap()).unwrap();
        assert!(!view.ended());
        let text = shown(&view);
        assert!(text.contains("running 42 % half") && text.contains("2 on bob"), "{text}");
        assert!(text.contains("done by") && text.contains("starts by"), "{text}");
        assert!(text.contains("carol") && !text.contains('\x1b'), "{text}");
    }
}
