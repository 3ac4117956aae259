//! From `main` to an exit code.

use crate::{Context, Error, Input, Output, Result, io};
use std::process::ExitCode;

/// Reads the input, runs the task, writes its result. The result is written only when there is one; otherwise the
/// message goes to stderr and the exit code is that of the error's kind.
// spec: SDK-1, SBX-2
pub fn run<In: Input, Out: Output>(task: fn(&mut Context, In) -> Result<Out>) -> ExitCode {
    match outcome(task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn outcome<In: Input, Out: Output>(task: fn(&mut Context, In) -> Result<Out>) -> Result<(), Error> {
    let input = In::from_reader(std::io::stdin())?;
    let result = task(&mut Context::new(), input)?;
    io::write(std::io::stdout().lock(), &result.into_bytes()?)
}
