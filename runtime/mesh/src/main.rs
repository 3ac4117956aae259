//! `mesh`: the command line of Task Mesh.
// spec: CLI-1

/// Says something to the person at the terminal. That nobody listens is no reason to fail. Names of files are chosen by
/// strangers, too, so nothing in it steers the terminal, wherever it came from.
// spec: SBX-11
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let text = mesh_protocol::text::sanitise(&format!($($text)*), true);
        let _nobody_listens = writeln!(std::io::stderr(), "{text}");
    }};
}
pub(crate) use say;

mod api;
mod args;
mod client;
mod commands;
mod config;
mod descriptors;
mod energy;
mod exit_codes;
mod failure;
mod home;
mod keys;
mod ledger_file;
mod meter;
mod passphrase;
mod program;
mod up;

use clap::Parser as _;
use std::process::ExitCode;

/// Help, a version, or what is wrong with the command line. Help that could not be written was not given.
// spec: CLI-5
fn tell(told: &clap::Error) -> ExitCode {
    use std::io::Write as _;
    match told.print().and_then(|()| std::io::stdout().flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            say!(
                "{}",
                failure::Failure::because("write the output", &error).hint("free some space on that disk")
            );
            ExitCode::from(exit_codes::FAILED)
        }
        _ => ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(exit_codes::FAILED)),
    }
}

fn main() -> ExitCode {
    // Workers and compilers are this program started anew; they see nothing of what follows.
    if let Some(code) = mesh_executor::subprocess() {
        return ExitCode::from(u8::try_from(code).unwrap_or(exit_codes::FAILED));
    }
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(told) => return tell(&told),
    };
    let level = if args.verbose { tracing::Level::DEBUG } else { tracing::Level::WARN };
    let ansi = rustix::termios::isatty(std::io::stderr());
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .without_time()
        .with_target(false)
        .init();
    match home::choose(args.home.as_deref()).and_then(|()| commands::run(args.command)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            crate::say!("{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
