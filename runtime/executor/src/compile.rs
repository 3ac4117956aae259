//! Turns a module into machine code, in a child process that can be killed.
// spec: SBX-6

use crate::admission::{self, Summary};
use crate::engine;
use crate::guest::{self, Host};
use crate::memory_file;
use crate::walls::{self, Who};
use mesh_protocol::limits::MB;
use mesh_protocol::outcome::Refusal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use wasmtime::component::Component;
use wasmtime::{Linker, Module};
use wasmtime_wasi::p2::bindings::CommandPre;

/// How much compiling one module may take.
#[derive(Debug, Clone, Copy)]
pub struct CompileLimits {
    /// Seconds, of the clock and of CPU time.
    pub seconds: u64,
    /// Bytes of address space.
    pub memory: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { seconds: 60, memory: 2 << 30 }
    }
}

/// The argument that makes a program of ours a compiler.
pub(crate) const ARGUMENT: &str = "__compile";

/// Most bytes of machine code: four times what the largest module has, where programs come to two or three times. It
/// lies in memory that no task is charged for.
const MAX_CODE: u64 = 128 * MB;

/// Why there is no machine code.
pub(crate) enum Failure {
    /// It is the module's fault, and would be again.
    Refused(Refusal),
    /// It is this machine's.
    System(&'static str, io::Error),
}

/// What a module asks for, and its machine code.
pub(crate) struct Compiled {
    pub(crate) summary: Summary,
    pub(crate) code: Vec<u8>,
}

/// Runs as a compiler: a module on standard input, the result on standard output.
pub(crate) fn main(arguments: &[String]) -> i32 {
    walls::close_inherited();
    if !walls::die_with_parent() {
        return 2;
    }
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse().ok());
    let (Some(cpu_seconds), Some(address_space)) = (number(0), number(1)) else { return 2 };
    let mut module = Vec::new();
    if io::stdin().read_to_end(&mut module).is_err() {
        return 2;
    }
    let result = match walls::enter(Who::Compiler { address_space, cpu_seconds }) {
        Ok(_) => compile(&module),
        Err(error) => Err(Refusal::Compile(error)),
    };
    let (head, code) = match result {
        Ok(Compiled { summary, code }) => (Ok(summary), code),
        Err(refusal) => (Err(refusal), Vec::new()),
    };
    let Ok(head) = postcard::to_stdvec(&head) else { return 2 };
    let mut out = io::stdout().lock();
    let len = (head.len() as u32).to_le_bytes();
    let written = [&len[..], &head, &code].into_iter().try_for_each(|part| out.write_all(part));
    i32::from(written.and_then(|()| out.flush()).is_err())
}

fn compile(bytes: &[u8]) -> Result<Compiled, Refusal> {
    let summary = admission::examine(bytes)?;
    summary.manifest()?;
    let failed = |error: wasmtime::Error| Refusal::Compile(format!("{error:#}"));
    let unlinked = |error: wasmtime::Error| Refusal::Invalid(format!("{error:#}"));
    let code = if summary.component {
        admission::check_imports(&summary, &|_| true)?;
        let engine = engine::component().map_err(failed)?;
        let component = Component::from_binary(&engine, bytes).map_err(failed)?;
        let mut linker = wasmtime::component::Linker::<Host>::new(&engine);
        guest::p2::link(&mut linker, false).map_err(failed)?;
        CommandPre::new(linker.instantiate_pre(&component).map_err(unlinked)?).map_err(unlinked)?;
        if !runs(&component) {
            return Err(Refusal::Invalid(
                "its wasi:cli/run is not a function without parameters that gives a result".into(),
            ));
        }
        component.serialize()
    } else {
        let engine = engine::core().map_err(failed)?;
        let mut linker = Linker::<Host>::new(&engine);
        guest::p1::link(&mut linker).and_then(|()| guest::abi::link(&mut linker)).map_err(failed)?;
        admission::check_imports(&summary, &|import| {
            import
                .split_once('.')
                .is_some_and(|(module, name)| guest::names(module).any(|known| known == name))
        })?;
        let module = Module::from_binary(&engine, bytes).map_err(failed)?;
        linker.instantiate_pre(&module).map_err(unlinked)?;
        module.serialize()
    };
    let code = code.map_err(failed)?;
    small_enough(code.len() as u64)?;
    Ok(Compiled { summary, code })
}

// spec: ARC-7
fn small_enough(bytes: u64) -> Result<(), Refusal> {
    if bytes <= MAX_CODE {
        return Ok(());
    }
    Err(Refusal::Compile(format!(
        "its machine code takes {} MB; at most {} are held",
        bytes.div_ceil(MB),
        MAX_CODE / MB
    )))
}

/// Does it export `run: func() -> result`?
fn runs(component: &Component) -> bool {
    use wasmtime::component::types::{ComponentItem, Type};
    let engine = component.engine();
    component.component_type().exports(engine).any(|(name, item)| {
        let ComponentItem::ComponentInstance(instance) = item.ty else { return false };
        let Some(run) = instance.get_export(engine, "run") else { return false };
        let ComponentItem::ComponentFunc(run) = run.ty else { return false };
        let plain =
            |ty: Type| matches!(ty, Type::Result(result) if result.ok().is_none() && result.err().is_none());
        name.starts_with("wasi:cli/run@0.2.")
            && run.params().len() == 0
            && run.results().len() == 1
            && run.results().all(plain)
    })
}

/// Compiles in a child process of `program`.
pub(crate) fn in_child(program: &Path, module: &[u8], limits: CompileLimits) -> Result<Compiled, Failure> {
    let io = Failure::System;
    let refused = |why: String| Err(Failure::Refused(Refusal::Compile(why)));
    let input =
        memory_file("module", module).map_err(|error| io("hand the module to the compiler", error))?;
    let output = memory_file("code", &[]).map_err(|error| io("make room for the code", error))?;
    let shared = output.try_clone().map_err(|error| io("make room for the code", error))?;
    let mut child = crate::child(program)
        .args([ARGUMENT, &limits.seconds.to_string(), &limits.memory.to_string()])
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(shared))
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| io("start the compiler", error))?;
    let in_time = wait(&child, Duration::from_secs(limits.seconds)).unwrap_or(false);
    if !in_time {
        let _gone = child.kill();
    }
    let status = child.wait().map_err(|error| io("wait for the compiler", error))?;
    let cpu_limit = rustix::process::Signal::XCPU.as_raw();
    match (in_time, status.signal()) {
        (false, _) => refused(format!("it took longer than {} s", limits.seconds)),
        (true, Some(signal)) if signal == cpu_limit => {
            refused(format!("it took more than {} s of CPU time", limits.seconds))
        }
        (true, Some(_)) => refused(format!(
            "the compiler died, most likely because it needed more than {} MB of memory",
            limits.memory / MB
        )),
        (true, None) if !status.success() => refused("the compiler failed".into()),
        (true, None) => {
            let answer = read_result(output).map_err(|error| io("read the compiler's answer", error))?;
            answer.map_err(Failure::Refused)
        }
    }
}

fn wait(child: &std::process::Child, limit: Duration) -> io::Result<bool> {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout =
            rustix::event::Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn read_result(mut output: File) -> io::Result<Result<Compiled, Refusal>> {
    output.rewind()?;
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes)?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "it is not in the expected form");
    let (len, rest) = bytes.split_first_chunk::<4>().ok_or_else(bad)?;
    let (head, code) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(bad)?;
    let head: Result<Summary, Refusal> = postcard::from_bytes(head).map_err(|_| bad())?;
    Ok(head.map(|summary| Compiled { summary, code: code.to_vec() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: ARC-7
    #[test]
    fn machine_code_that_nobody_could_hold_is_refused_by_its_size() {
        assert!(small_enough(MAX_CODE).is_ok());
        let refusal = small_enough(MAX_CODE + 1).expect_err("a byte too many").to_string();
        assert!(refusal.contains("its machine code takes 129 MB; at most 128 are held"), "{refusal}");
    }
}
