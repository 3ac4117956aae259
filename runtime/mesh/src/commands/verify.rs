//! `mesh verify`: run a task again and compare it with its receipt.
// spec: SBX-14

use super::receipt_file;
use crate::args::Verify;
use crate::exit_codes;
use crate::failure::{Failure, Result};
use mesh_executor::{Event, NamedInput, Stdin, Task};
use mesh_protocol::digest;
use mesh_protocol::ids::{Digest, ModuleHash};
use mesh_protocol::receipt::Receipt;
use serde::Serialize;
use std::fs::File;
use std::path::Path;

#[derive(Serialize)]
struct Verdict {
    verdict: &'static str,
    because: Vec<String>,
}

pub(super) fn run(verify: Verify) -> Result<u8> {
    crate::descriptors::raise();
    let signed = receipt_file::read(&verify.receipt)?;
    let receipt = &signed.receipt;
    let mut different = Vec::new();
    let bytes = super::read_module(&verify.module)?;
    let module = ModuleHash::of(&bytes);
    if module != receipt.module {
        different.push(format!("module: {} in the receipt, {module} here", receipt.module));
        return tell(&verify, "different", different, exit_codes::FAILED);
    }
    if let Some(path) = &verify.stdout {
        let file = File::open(path).map_err(|error| Failure::file("read the output", path, &error))?;
        let digest = digest_of(file).map_err(|error| Failure::file("read the output", path, &error))?;
        note(&mut different, "given stdout", &receipt.output.stdout, &digest);
    }
    if let Some(path) = &verify.out {
        let digest = folder_digest(path)?;
        note(&mut different, "given /out", &receipt.output.out, &digest);
    }
    if !receipt.not_comparable.is_empty() {
        let because = receipt.not_comparable.iter().map(ToString::to_string).chain(different).collect();
        return tell(&verify, "not comparable", because, exit_codes::NOT_COMPARABLE);
    }
    let here = mesh_executor::profile();
    if here != receipt.profile {
        let because =
            vec![format!("engine profile: {} in the receipt, {} here", receipt.profile.engine, here.engine)];
        return tell(&verify, "not comparable", because, exit_codes::NOT_COMPARABLE);
    }
    let again = run_again(&verify, receipt, &bytes)?;
    if again.input.named != receipt.input.named {
        different.push("named inputs: not those of the receipt".into());
    }
    if again.input.stdin != receipt.input.stdin {
        different.push("input: not that of the receipt".into());
    }
    if different.is_empty() && !again.not_comparable.is_empty() {
        let because = again.not_comparable.iter().map(|why| format!("this time {why}")).collect();
        return tell(&verify, "not comparable", because, exit_codes::NOT_COMPARABLE);
    }
    different.extend(receipt.differences(&again));
    if different.is_empty() {
        tell(&verify, "equal", Vec::new(), exit_codes::OK)
    } else {
        tell(&verify, "different", different, exit_codes::FAILED)
    }
}

fn note(different: &mut Vec<String>, what: &str, said: &Digest, is: &Digest) {
    if said != is {
        different.push(format!("{what}: {said} in the receipt, {is} here"));
    }
}

fn digest_of(mut file: File) -> std::io::Result<Digest> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes)?;
    Ok(digest::bytes(&bytes))
}

fn folder_digest(path: &Path) -> Result<Digest> {
    mesh_executor::folder_digest(path)
        .map_err(|error| Failure::because(format!("read the folder {}", path.display()), &error))
}

fn run_again(verify: &Verify, receipt: &Receipt, module: &[u8]) -> Result<Receipt> {
    let executor = super::executor()?;
    let module = executor.load(module).map_err(|error| super::load_failure(&verify.module, &error))?;
    let mut task = Task::new(module);
    task.limits = receipt.limits.clone();
    task.id = Some(receipt.task);
    task.attempt = receipt.attempt;
    // Only what every peer could give alike was granted to a comparable run.
    task.granted = receipt.granted.clone();
    task.args.clone_from(&receipt.args);
    task.env = receipt.env.iter().cloned().collect();
    task.inputs = verify
        .given
        .inputs
        .iter()
        .map(|i| NamedInput { name: i.name.clone(), path: i.path.clone() })
        .collect();
    task.stdin = match (super::open_input(&verify.given)?, receipt.input.streamed) {
        // What was streamed then is streamed now: its digest was not known at the start, so nothing depends on it.
        (Some(Stdin::File(file)), true) => Stdin::Stream(Box::new(file)),
        (Some(stdin), _) => stdin,
        (None, true) => Stdin::Stream(Box::new(std::io::empty())),
        (None, false) => Stdin::Empty,
    };
    let mut running = executor.start(task).map_err(|error| super::start_failure(&error))?;
    while let Some(event) = running.next() {
        if let Event::Ended(report) = event {
            return Ok(report.receipt);
        }
    }
    Err(Failure::new("run the task again: its supervisor ended without a word"))
}

fn tell(verify: &Verify, verdict: &'static str, because: Vec<String>, code: u8) -> Result<u8> {
    if verify.json {
        super::print_json(&Verdict { verdict, because })?;
    } else {
        let lines: String = because.iter().map(|line| format!("  {line}\n")).collect();
        super::print(&format!("{verdict}\n{lines}"))?;
    }
    Ok(code)
}
