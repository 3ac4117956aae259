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
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use wasmtime::component::Component;
use wasmtime::{Linker, Module};
use wasmtime_wasi::p2::bindings::CommandPre;

/// How much compiling one module may take.
#[derive(Debug, Clone, Copy)]
pub struct CompileLimits {
    /// Seconds of CPU time; by the clock twice as many, since what else runs here is not the module's doing.
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
    /// It is this machine's, after much work; it may do better when it has less to do.
    Overtaxed(String),
}

/// What a compiler answers; the outer error is its machine's.
type Answer<T> = Result<Result<T, Refusal>, String>;

/// What a module asks for, and its machine code.
pub(crate) struct Compiled {
    pub(crate) summary: Summary,
    pub(crate) code: Vec<u8>,
}

/// Runs as a compiler: a module on standard input, the result on standard output.
pub(crate) fn main(arguments: &[String]) -> i32 {
    walls::close_inherited();
    walls::survive_full_files();
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
        Ok(_) => Ok(compile(&module)),
        Err(error) => Err(error),
    };
    let (head, code): (Answer<Summary>, _) = match result {
        Ok(Ok(Compiled { summary, code })) => (Ok(Ok(summary)), code),
        Ok(Err(refusal)) => (Ok(Err(refusal)), Vec::new()),
        Err(error) => (Err(error), Vec::new()),
    };
    let Ok(head) = postcard::to_stdvec(&head) else { return 2 };
    let mut out = io::stdout().lock();
    let len = (head.len() as u32).to_le_bytes();
    let written = [&len[..], &head, &code].into_iter().try_for_each(|part| out.write_all(part));
    i32::from(written.and_then(|()| out.flush()).is_err())
}

pub(crate) fn compile(bytes: &[u8]) -> Result<Compiled, Refusal> {
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
    let waited = wait(&child, Duration::from_secs(limits.seconds.saturating_mul(2)));
    if !matches!(waited, Ok(true)) {
        let _gone = child.kill();
    }
    let status = child.wait().map_err(|error| io("wait for the compiler", error))?;
    if !waited.map_err(|error| io("wait for the compiler", error))? {
        return Err(Failure::Overtaxed(format!(
            "in {} s the compiler did not get the {} s of CPU time that it may take",
            limits.seconds.saturating_mul(2),
            limits.seconds
        )));
    }
    if let Some(failure) = unanswered(status, limits) {
        return Err(failure);
    }
    let answer = read_result(output).map_err(|error| io("read the compiler's answer", error))?;
    let answer = answer.map_err(|error| io("set the compiler up", io::Error::other(error)))?;
    answer.map_err(Failure::Refused)
}

/// The exit code of a program of ours that panicked.
const PANICKED: i32 = 101;

/// Whose fault is it that a compiler ended without an answer? None if it gave one.
// spec: SBX-6
fn unanswered(status: ExitStatus, limits: CompileLimits) -> Option<Failure> {
    let refused = |why: String| Some(Failure::Refused(Refusal::Compile(why)));
    match (status.signal().map(Signal::from_named_raw), status.code()) {
        (Some(Some(Signal::XCPU)), _) => {
            refused(format!("it took more than {} s of CPU time", limits.seconds))
        }
        // Nothing that a module does to its compiler ends so. Others do: the kernel when memory is short.
        (Some(Some(Signal::KILL | Signal::TERM)), _) => Some(Failure::Overtaxed(
            "the compiler was killed, most likely because this machine was short of memory".into(),
        )),
        (Some(_), _) => refused(format!(
            "the compiler died, most likely because it needed more than {} MB of memory",
            limits.memory / MB
        )),
        (None, Some(0)) => None,
        (None, Some(PANICKED)) => refused("the compiler failed".into()),
        (None, _) => {
            Some(Failure::System("run the compiler", io::Error::other(format!("it ended with {status}"))))
        }
    }
}

/// Waits for a child's end; false if it did not come in time.
fn wait(child: &Child, limit: Duration) -> io::Result<bool> {
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

fn read_result(mut output: File) -> io::Result<Answer<Compiled>> {
    output.rewind()?;
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes)?;
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "it is not in the expected form");
    let (len, rest) = bytes.split_first_chunk::<4>().ok_or_else(bad)?;
    let (head, code) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(bad)?;
    let head: Answer<Summary> = postcard::from_bytes(head).map_err(|_| bad())?;
    Ok(head.map(|head| head.map(|summary| Compiled { summary, code: code.to_vec() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SBX-6
    #[test]
    fn only_what_a_module_does_again_is_its_fault() {
        let fault = |raw| unanswered(ExitStatus::from_raw(raw), CompileLimits::default());
        let signal = |signal: Signal| fault(signal.as_raw());
        assert!(fault(0).is_none());
        for ended in [signal(Signal::XCPU), signal(Signal::ABORT), signal(Signal::SEGV), fault(PANICKED << 8)]
        {
            assert!(matches!(ended, Some(Failure::Refused(_))));
        }
        assert!(matches!(signal(Signal::KILL), Some(Failure::Overtaxed(_))));
        for code in [1, 2] {
            assert!(matches!(fault(code << 8), Some(Failure::System(..))));
        }
    }

    // spec: ARC-7
    #[test]
    fn machine_code_that_nobody_could_hold_is_refused_by_its_size() {
        assert!(small_enough(MAX_CODE).is_ok());
        let refusal = small_enough(MAX_CODE + 1).expect_err("a byte too many").to_string();
        assert!(refusal.contains("its machine code takes 129 MB; at most 128 are held"), "{refusal}");
    }
}
