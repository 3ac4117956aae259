//! The sandbox: one untrusted task in, one outcome out. Knows no peers.
//!
//! [`Executor`] admits a module, compiles it in a child that can be killed, and runs each task in a worker process
//! behind walls. A program that uses it calls [`subprocess`] first thing in `main`, since workers and compilers are
//! that same program started anew.
//!
//! ```no_run
//! use mesh_executor::{Config, Event, Executor, Task};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     if let Some(code) = mesh_executor::subprocess() {
//!         std::process::exit(code);
//!     }
//!     let executor = Executor::new(Config::new(mesh_executor::this_program()?))?;
//!     let module = executor.load(&std::fs::read("task.wasm")?)?;
//!     let mut running = executor.start(Task::new(module))?;
//!     while let Some(event) = running.next() {
//!         if let Event::Ended(report) = event {
//!             println!("{}", report.outcome);
//!         }
//!     }
//!     Ok(())
//! }
//! ```

mod admission;
mod cache;
mod collect;
mod compile;
mod engine;
mod guest;
mod pool;
mod release;
mod run;
mod stage;
mod supervise;
mod walls;
mod wire;
mod worker;

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use admission::{MAX_MODULE, Summary, examine, recognise};
pub use collect::{CollectError, OutEntry, OutTree};
pub use compile::CompileLimits;
pub use engine::profile;
pub use release::release;
pub use run::{Config, Executor, LoadedModule, StartError, Stdin, Task};
pub use stage::{MAX_INPUTS, NamedInput, Share, StageError, folder_digest};
pub use supervise::{Control, Event, Report, Running};
pub use walls::ALL as WALLS;
pub use wire::HostDir;

/// Decoders of what a worker or a peer may have forged, for fuzzing.
#[doc(hidden)]
pub mod fuzz {
    /// Decodes a message of a worker.
    pub fn from_worker(bytes: &[u8]) -> bool {
        crate::wire::decode::<crate::wire::FromWorker>(bytes).is_ok()
    }

    /// Decodes a message to a worker.
    pub fn to_worker(bytes: &[u8]) -> bool {
        crate::wire::decode::<crate::wire::ToWorker>(bytes).is_ok()
    }
}

/// The program that runs at this moment, for [`Config::new`]: itself, and not what lies at its path, which an update may
/// have put there since. Workers of another release would be of another engine than their receipts say.
// spec: SBX-13
pub fn this_program() -> std::io::Result<PathBuf> {
    // Still ours in a child that is about to become it.
    const ITSELF: &str = "/proc/self/exe";
    if std::fs::symlink_metadata(ITSELF).is_ok() { Ok(ITSELF.into()) } else { std::env::current_exe() }
}

/// What starts a child of ours: under our own name, whatever the path of its program, and with nothing of our environment.
fn child(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    if let Some(name) = std::env::args_os().next() {
        command.arg0(name);
    }
    command
}

/// Runs as a worker or compiler if this process was started as one, and says with which code to exit.
pub fn subprocess() -> Option<i32> {
    subprocess_of(std::env::args_os())
}

/// Lists of processes have a name of the file that was started, which says nothing where it was found by what runs.
fn show_as(name: &OsStr) {
    use std::os::unix::ffi::OsStrExt as _;
    let name = Path::new(name).file_name().and_then(|name| CString::new(name.as_bytes()).ok());
    if let Some(name) = name {
        let _as_it_is = rustix::thread::set_name(&name);
    }
}

/// What a person types, and the name that the program was started by, need not be text.
fn subprocess_of(arguments: impl Iterator<Item = OsString>) -> Option<i32> {
    let mut arguments = arguments;
    let name = arguments.next()?;
    match arguments.next()?.to_str()? {
        pool::ARGUMENT => {
            show_as(&name);
            Some(worker::main())
        }
        compile::ARGUMENT => {
            show_as(&name);
            let rest: Vec<String> = arguments.map(|it| it.to_string_lossy().into_owned()).collect();
            Some(compile::main(&rest))
        }
        _ => None,
    }
}

/// A file in memory that nobody can change any more.
fn memory_file(name: &str, bytes: &[u8]) -> std::io::Result<std::fs::File> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(fd);
    if bytes.is_empty() {
        // Left open for someone to fill.
        return Ok(file);
    }
    std::io::Write::write_all(&mut file, bytes)?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    std::io::Seek::rewind(&mut file)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    // spec: CLI-5
    #[test]
    fn what_is_typed_need_not_be_text() {
        let odd = || OsString::from_vec(b"caf\xe9.wasm".to_vec());
        for typed in [vec![], vec![odd()], vec![odd(), odd()], vec!["mesh".into(), "up".into(), odd()]] {
            assert_eq!(subprocess_of(typed.into_iter()), None);
        }
    }
}
