//! Where things are, and how other programs are run.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The folders everything else is found from.
pub(crate) struct Repo {
    /// The workspace; also the working directory of every program that is run.
    pub(crate) root: PathBuf,
    /// Where everything is built.
    pub(crate) target: PathBuf,
    /// Where the user typed the command: what paths on the command line are relative to.
    typed_in: PathBuf,
}

impl Repo {
    pub(crate) fn find() -> Result<Self> {
        let typed_in = std::env::current_dir().context("the working directory cannot be read")?;
        // Cargo tells where the crate is now; where it was when it was compiled only helps without cargo.
        let this =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&this).parent().context("xtask/ stands in no workspace")?.to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(target) => typed_in.join(target),
            None => root.join("target"),
        };
        Ok(Self { root, target, typed_in })
    }

    /// A path from the command line.
    pub(crate) fn typed(&self, path: &str) -> PathBuf {
        self.typed_in.join(path)
    }

    /// A path as short as it can be said from the workspace.
    pub(crate) fn short<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    /// A program started in the workspace.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        // Build scripts that watch what cargo told *us* about xtask would run again at every change of command.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&*name);
            }
        }
        command
    }

    /// The cargo that runs us.
    pub(crate) fn cargo(&self) -> Command {
        self.command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }
}

/// Prints a line, also when nobody reads any more.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The command as one would type it.
pub(crate) fn typed_form(command: &Command) -> String {
    let program = Path::new(command.get_program());
    // Cargo names itself by its full path, which nobody types.
    let program = match program.file_name() {
        Some(name) if name == "cargo" => name,
        _ => program.as_os_str(),
    };
    let words = std::iter::once(program).chain(command.get_args()).map(|word| {
        let word = word.to_string_lossy().into_owned();
        let plain = |c: char| c.is_alphanumeric() || "-_=+./:,@%".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn started(command: &Command) -> String {
    format!("`{}` cannot be started; is it installed and in the PATH?", typed_form(command))
}

/// Runs a command with its output shown, and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    say(format_args!("$ {}", typed_form(command)));
    let status = command.stdin(Stdio::null()).status().with_context(|| started(command))?;
    check(command, status)
}

/// [`run`], but stopped when it takes longer than `limit`.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    say(format_args!("$ {}", typed_form(command)));
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::null()).spawn().with_context(|| started(command))?;
    loop {
        if let Some(status) = child.try_wait().with_context(|| started(command))? {
            return check(command, status);
        }
        if begun.elapsed() > limit {
            // It may have ended in between: then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
            bail!("`{}` was stopped after {} s", typed_form(command), limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn check(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    // "exit status: 101" or "signal: 9 (SIGKILL)".
    bail!("`{}` failed ({status}); its own words stand above", typed_form(command))
}

/// What a command prints, or nothing if it is not there or fails.
pub(crate) fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The path of a program, if there is one of that name in the PATH.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(&file))
        .find(|path| path.is_file())
}

/// A span of time in the words of a person.
pub(crate) fn took(begun: Instant) -> String {
    let time = begun.elapsed();
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}
