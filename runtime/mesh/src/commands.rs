//! One file a verb.

mod assembly;
mod build;
mod community;
mod config;
mod demo;
mod doctor;
mod energy;
mod follow;
mod gather;
mod init;
mod inspect;
mod key;
mod ledger;
mod new;
mod peer;
mod permissions;
mod profile;
mod receipt_file;
mod result;
mod run;
mod screen;
mod shown;
mod submit;
mod task;
mod toolchain;
mod unpack;
mod up;
mod verify;
mod views;

pub(crate) use run::ignored_signals;
pub(crate) use up::cores;

use crate::args::{Args, Command, Device, Given};
use crate::exit_codes;
use crate::failure::{Failure, Result};
use crate::home;
use clap::CommandFactory as _;
use mesh_executor::{Config, Executor, LoadedModule, StartError, Stdin};
use mesh_protocol::invite::TicketKind;
use mesh_protocol::outcome::Refusal;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

pub(crate) fn run(command: Command) -> Result<u8> {
    match command {
        Command::New(new) => new::run(&new),
        Command::Build(build) => build::run(&build),
        Command::Inspect(inspect) => inspect::run(&inspect),
        Command::Run(run) => run::run(&run).map_err(own_failure),
        Command::Profile(profile) => profile::run(profile),
        Command::Verify(verify) => verify::run(verify),
        Command::Doctor(doctor) => doctor::run(&doctor),
        Command::Init(init) => init::run(&init),
        Command::Up(up) => up::run(&up),
        Command::Status(show) => peer::status(&show),
        Command::Energy(show) => energy::run(&show),
        Command::Config(show) => config::run(&show),
        Command::Pause(pause) => peer::pause(&pause),
        Command::Resume => peer::resume(),
        Command::Finish => peer::finish(),
        Command::Community(community) => community::run(&community),
        Command::Invite(invite) => community::invite(&invite, TicketKind::Member),
        Command::Join(join) => community::join(&join),
        Command::Members(members) => community::members(&members),
        Command::Device(Device::Add(invite)) => community::invite(&invite, TicketKind::Device),
        Command::Device(Device::Ls(show)) => community::devices(&show),
        Command::Device(Device::Share { device, percent }) => community::share_quota(&device, percent),
        Command::Device(Device::Revoke { device }) => community::revoke_device(&device),
        Command::Key(key) => key::run(&key),
        Command::Grant(grant) => permissions::grant(&grant),
        Command::Revoke(revoke) => permissions::revoke(&revoke),
        Command::Permissions(show) => permissions::list(&show),
        Command::Trust(trust) => permissions::trust(&trust),
        Command::Vote(vote) => assembly::vote(&vote),
        Command::Ballots(ballots) => assembly::ballots(&ballots),
        Command::Quota(quota) => assembly::quota(&quota),
        Command::Stats(stats) => assembly::stats(&stats),
        Command::Reputation(reputation) => assembly::reputation(&reputation),
        Command::Contribute(contribute) => assembly::contribute(&contribute),
        Command::Peers(show) => peer::peers(&show),
        Command::Submit(submit) => submit::run(&submit).map_err(own_failure),
        Command::Task(task) => task::run(&task),
        Command::Ledger(ledger) => ledger::run(&ledger),
        Command::Demo(demo) => demo::run(&demo),
        Command::Completions { shell } => {
            // Not straight to a reader, who may go away: the library would panic.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "mesh", &mut script);
            print(&String::from_utf8_lossy(&script))?;
            Ok(exit_codes::OK)
        }
        Command::Man { folder } => {
            std::fs::create_dir_all(&folder)
                .map_err(|error| Failure::file("make the folder", &folder, &error))?;
            clap_mangen::generate_to(Args::command(), &folder)
                .map_err(|error| Failure::file("write man pages into", &folder, &error))?;
            Ok(exit_codes::OK)
        }
    }
}

/// Where a task's own code is passed on, the low codes are the task's.
fn own_failure(failure: Failure) -> Failure {
    match failure.exit_code() {
        exit_codes::FAILED => failure.code(exit_codes::OWN_FAILURE),
        _ => failure,
    }
}

/// An empty name is an address of its own, where something else is.
fn unnamed_task() -> Failure {
    Failure::new("find the task: its name is empty")
        .hint("give its name or the beginning of its id; `mesh task ls` and `mesh ballots` list tasks")
}

/// Prints data; a reader that has gone away is no failure.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::because("write the output", &error))
        }
        _ => Ok(()),
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::because("write JSON", &error))?;
    print(&format!("{text}\n"))
}

/// An executor for one command: compiled modules are kept, workers start on demand.
fn executor() -> Result<Executor> {
    crate::descriptors::raise();
    let program = mesh_executor::this_program()
        .map_err(|error| Failure::because("find the mesh program itself", &error))?;
    let mut config = Config::new(program);
    config.cache = home::cache();
    Executor::new(config).map_err(|error| start_failure(&error))
}

/// Reads a module's bytes. A file that is far too large is not read whole.
fn read_module(path: &Path) -> Result<Vec<u8>> {
    let failed = |error: io::Error| Failure::file("read the module", path, &error);
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if meta.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into())
            .hint("name the .wasm file in that folder, or build it with `mesh build`"));
    }
    let mut bytes = Vec::new();
    file.take(mesh_executor::MAX_MODULE + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn load(executor: &Executor, path: &Path) -> Result<LoadedModule> {
    let bytes = read_module(path)?;
    executor.load(&bytes).map_err(|error| load_failure(path, &error))
}

fn load_failure(path: &Path, error: &StartError) -> Failure {
    let failure = start_failure(error);
    match error {
        StartError::Refused(refusal) => {
            let failure = Failure::new(format!("load {}: refused: {refusal}", path.display()))
                .code(exit_codes::REFUSED);
            match refusal_hint(refusal) {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        }
        StartError::Stage(_)
        | StartError::Busy { .. }
        | StartError::Overtaxed(_)
        | StartError::System { .. } => failure,
    }
}

/// What would mend a refusal.
fn refusal_hint(refusal: &Refusal) -> Option<String> {
    Some(match refusal {
        Refusal::NotWasm(_) => "a task is a WebAssembly module; `mesh build` makes one of a task crate".into(),
        Refusal::UnknownImports(_) => {
            "build it for WASI (target wasm32-wasip1, or wasm32-wasip2 as a command); `mesh inspect` lists all imports".into()
        }
        Refusal::Feature(_) => "build it without that feature; tasks run the same on every peer only with common ones".into(),
        Refusal::TooLarge { .. } => "split the program, or build it with optimisation".into(),
        Refusal::Manifest(_) => "correct task.toml and build the task again".into(),
        Refusal::NotGranted { line, place, .. } => format!("add to {place}: {line}"),
        Refusal::InputTooLarge { .. } => "give less, or raise --input-limit".into(),
        Refusal::MemoryTooLarge { actual, .. } => {
            format!("--memory {}MB, or the same as [limits] memory in its task.toml", actual.div_ceil(1_000_000))
        }
        Refusal::Checkpoint(_) => "give the same module, input, arguments and environment as before, or start afresh without --resume".into(),
        Refusal::Invalid(_) | Refusal::Compile(_) | Refusal::Request(_) => return None,
    })
}

fn start_failure(error: &StartError) -> Failure {
    match error {
        StartError::Refused(refusal) => {
            let failure =
                Failure::new(format!("start the task: refused: {refusal}")).code(exit_codes::REFUSED);
            match refusal_hint(refusal) {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        }
        StartError::Stage(_) => {
            Failure::because("start the task", error).hint("check the paths given with --in and --share")
        }
        StartError::Busy { .. } => {
            Failure::because("start the task", error).hint("try again when a task has ended")
        }
        StartError::Overtaxed(_) => {
            Failure::because("start the task", error).hint("try again when this machine has less to do")
        }
        StartError::System { source, .. } => {
            let failure = Failure::because("start the task", error);
            match source.kind() {
                io::ErrorKind::StorageFull => {
                    failure.hint("free some space, or set TMPDIR to a folder on another disk")
                }
                io::ErrorKind::PermissionDenied => {
                    failure.hint("check that TMPDIR names a folder you can write to")
                }
                _ => failure,
            }
        }
    }
}

/// Opens what is given as standard input, if a file is.
fn open_input(given: &Given) -> Result<Option<Stdin>> {
    let Some(path) = &given.input else { return Ok(None) };
    let failed = |error: io::Error| Failure::file("read the input", path, &error);
    // Not blocking, so that a pipe without a writer is refused instead of waited for.
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let file =
        rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(|error| failed(error.into()))?;
    let file = File::from(file);
    let meta = file.metadata().map_err(failed)?;
    if meta.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()).hint("give a folder with --in NAME=FOLDER"));
    }
    if !meta.is_file() {
        return Err(Failure::new(format!("read the input {}: it is not a regular file", path.display()))
            .hint("pipe it in instead, without --input"));
    }
    Ok(Some(Stdin::File(file)))
}

/// A module's file name, as the program's own name.
fn program_name(path: &Path) -> String {
    path.file_name().map_or_else(|| "task.wasm".into(), |name| name.to_string_lossy().into_owned())
}

/// Bytes in a form that people read.
fn human(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        10_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}
