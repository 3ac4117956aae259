//! `mesh profile`: measure a task and propose limits.
// spec: SDK-4

use crate::args::Profile;
use crate::exit_codes;
use crate::failure::{Failure, Result};
use mesh_executor::{Event, Stdin, Task};
use mesh_protocol::limits::{Limits, MAX_FUEL, MB};
use mesh_protocol::outcome::Outcome;
use serde::Serialize;

#[derive(Serialize)]
struct Measured {
    outcome: Outcome,
    fuel: u64,
    wall_ms: u64,
    cpu_ms: u64,
    peak_memory: u64,
    peak_resident: u64,
    stdout_bytes: u64,
    stderr_bytes: u64,
    out_bytes: u64,
    out_files: u32,
    proposed: Proposed,
}

/// Limits as they stand in a manifest.
#[derive(Serialize)]
struct Proposed {
    fuel: u64,
    duration: String,
    memory: String,
    stdout: String,
    out: String,
    out_files: u32,
}

/// The next size up with two digits, so that a proposal does not look more exact than one measurement is.
fn round_up(value: u64) -> u64 {
    let mut step = 1;
    while value / step >= 100 {
        step *= 10;
    }
    value.div_ceil(step).saturating_mul(step)
}

fn size(bytes: u64) -> String {
    match bytes {
        0 => "0".into(),
        1..MB => format!("{}kB", round_up(bytes.div_ceil(1000))),
        _ => format!("{}MB", round_up(bytes.div_ceil(MB))),
    }
}

pub(super) fn run(profile: Profile) -> Result<u8> {
    let executor = super::executor()?;
    let module = super::load(&executor, &profile.module)?;
    let mut task = Task::new(module);
    // Wide, so that it is the task that is measured and not its limits; still an end to everything.
    task.limits = Limits {
        fuel: MAX_FUEL,
        duration_ms: 3_600_000,
        memory_bytes: 4_000 * MB,
        input_bytes: 100_000 * MB,
        stdout_bytes: 10_000 * MB,
        stderr_bytes: 1_000 * MB,
        out_bytes: 10_000 * MB,
        out_files: 10_000,
        checkpoint_bytes: task.limits.checkpoint_bytes,
    };
    task.granted.shares = profile.shares.iter().map(|share| (share.name.clone(), share.access)).collect();
    task.args.clone_from(&profile.args);
    task.stdin = super::open_input(&profile.given)?.unwrap_or(Stdin::Empty);
    task.inputs.clone_from(&profile.given.inputs);
    task.shares.clone_from(&profile.shares);
    let mut running = executor.start(task).map_err(|error| super::start_failure(&error))?;
    let mut report = None;
    while let Some(event) = running.next() {
        match event {
            Event::Stderr(bytes) => {
                let text = mesh_protocol::text::sanitise(&String::from_utf8_lossy(&bytes), true);
                let _nobody_listens = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
            }
            Event::Ended(ended) => report = Some(ended),
            _ => {}
        }
    }
    let report =
        report.ok_or_else(|| Failure::new("measure the task: its supervisor ended without a word"))?;
    let (usage, output) = (&report.receipt.usage, &report.receipt.output);
    // Twice what one input took: another may take more, and a limit that is met by chance helps nobody.
    let twice = |value: u64| round_up(value.saturating_mul(2));
    let measured = Measured {
        fuel: usage.fuel,
        wall_ms: usage.wall_ms,
        cpu_ms: usage.cpu_us / 1000,
        peak_memory: usage.peak_memory,
        peak_resident: usage.peak_resident,
        stdout_bytes: output.stdout_bytes,
        stderr_bytes: output.stderr_bytes,
        out_bytes: output.out_bytes,
        out_files: output.out_files,
        proposed: Proposed {
            fuel: twice(usage.fuel).max(1_000_000),
            duration: format!("{}s", twice(usage.wall_ms * 2).div_ceil(1000).max(10)),
            memory: size(round_up(usage.peak_memory + usage.peak_memory / 2).max(MB)),
            stdout: size(twice(output.stdout_bytes).max(MB)),
            out: size(twice(output.out_bytes)),
            out_files: output.out_files.saturating_mul(2),
        },
        outcome: report.outcome.clone(),
    };
    if profile.json {
        super::print_json(&measured)?;
    } else {
        let human = super::human;
        let p = &measured.proposed;
        super::print(&format!(
            "outcome   {}\nfuel      {}\ntime      {} ms ({} ms of CPU)\nmemory    {} (worker {})\noutput    stdout {}, stderr {}, /out {} in {} files\n\nFor task.toml, with room for larger inputs:\n\n[limits]\nfuel = {}\nduration = {:?}\nmemory = {:?}\nstdout = {:?}\nout = {:?}\nout_files = {}\n",
            measured.outcome,
            measured.fuel,
            measured.wall_ms,
            measured.cpu_ms,
            human(measured.peak_memory),
            human(measured.peak_resident),
            human(measured.stdout_bytes),
            human(measured.stderr_bytes),
            human(measured.out_bytes),
            measured.out_files,
            p.fuel,
            p.duration,
            p.memory,
            p.stdout,
            p.out,
            p.out_files,
        ))?;
    }
    match report.outcome {
        Outcome::Exited(0) => Ok(exit_codes::OK),
        outcome => Err(Failure::new(format!("measure the task to its end: it {outcome}"))
            .hint("the figures are of a run that did not end well")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_are_round_and_never_below() {
        assert_eq!((round_up(0), round_up(99), round_up(101), round_up(123_456)), (0, 99, 110, 130_000));
        assert_eq!(
            (size(0), size(1), size(1_500_000), size(123 * MB)),
            ("0".into(), "1kB".into(), "2MB".into(), "130MB".into())
        );
        assert_eq!(round_up(u64::MAX), u64::MAX);
    }
}
