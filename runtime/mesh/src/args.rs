//! What can be typed.

use clap::{Args as ClapArgs, Parser, Subcommand, ValueHint};
use mesh_executor::{HostDir, NamedInput, Share};
use mesh_protocol::manifest::{is_env_key, is_file_name, is_task_name, parse_duration_ms, parse_size};
use mesh_protocol::permissions::Access;
use std::path::{Path, PathBuf};

/// Run small jobs on whatever device has clean energy right now
#[derive(Debug, Parser)]
#[command(
    name = "mesh",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Args {
    /// Say more about what is done
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a task crate that builds, tests and runs
    #[command(
        after_help = "Example:\n  mesh new my-task && cd my-task && cargo test && mesh build -o my-task.wasm"
    )]
    New(New),
    /// Compile a task crate to wasm, and say what it asks for
    #[command(after_help = "Example:\n  mesh build tasks/word-count -o word-count.wasm")]
    Build(Build),
    /// Show what a module is, imports and asks for
    #[command(after_help = "Example:\n  mesh inspect word-count.wasm --json")]
    Inspect(Inspect),
    /// Run a task here, in the sandbox that a stranger's task gets
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<Run>),
    /// Measure a task and propose limits for it
    #[command(after_help = "Example:\n  mesh profile word-count.wasm --input big.txt")]
    Profile(Profile),
    /// Run a task again and compare it with its receipt
    #[command(
        after_help = "Example:\n  mesh verify receipt.json --module word-count.wasm --input big.txt\n\nExit codes: 0 equal, 1 different or not sound, 3 not comparable, 2 wrong command line"
    )]
    Verify(Verify),
    /// Say what this machine has for running tasks, and what it lacks
    Doctor(Doctor),
    /// Print completions for a shell
    #[command(
        after_help = "Example:\n  mesh completions bash > ~/.local/share/bash-completion/completions/mesh"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write man pages into a folder
    Man {
        /// The folder
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
}

/// Examples first, then the codes that scripts look up.
const RUN_EXAMPLES: &str = "\
Examples:
  mesh run --input big.txt word-count.wasm
  mesh run --in photo.png=holiday.png --out small thumbnails.wasm
  mesh run --share logs=/var/log/app:rw log-rotation.wasm
  mesh run --checkpoint state --out picture mandelbrot.wasm
  mesh run --resume state --out picture mandelbrot.wasm

Exit codes: 0..125 the task's own, 126 refused, 127 trapped, 128 out of fuel, 129 timed out, 130 cancelled,
131 out of memory, 132 too much output, 133 the sandbox crashed, 134 mesh itself failed, 141 nobody read its output, 2 wrong command line";

#[derive(Debug, ClapArgs)]
pub(crate) struct New {
    /// Name of the task: lower-case letters, digits and hyphens
    #[arg(value_parser = task_name)]
    pub(crate) name: String,
    /// Use the SDK in this folder instead of a copy
    #[arg(long, value_hint = ValueHint::DirPath)]
    pub(crate) sdk: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Build {
    /// Folder of the crate
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) folder: PathBuf,
    /// Where to put the module; NAME.wasm in the current folder by default
    #[arg(long, short, value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Inspect {
    /// The module
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) module: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a task is given: shared by the verbs that run one.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct Given {
    /// File that the task reads as standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) input: Option<PathBuf>,
    /// File or folder that the task sees as /in/NAME
    #[arg(long = "in", value_name = "NAME=PATH", value_parser = named_input)]
    pub(crate) inputs: Vec<NamedInput>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) given: Given,
    /// Folder for what the task leaves in /out
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    /// Folder of yours that the task works on as /share/NAME: read-only, or with :rw on a copy that is put in place
    /// when it ends well
    #[arg(long = "share", value_name = "NAME=FOLDER[:rw]", value_parser = share)]
    pub(crate) shares: Vec<Share>,
    /// Folder of this machine that the task sees as it is, and may change; add :ro to forbid that
    #[arg(long = "dir", value_name = "HOST[::GUEST]", value_parser = host_dir)]
    pub(crate) dirs: Vec<HostDir>,
    /// Environment variable
    #[arg(long = "env", value_name = "KEY=VALUE", value_parser = env_pair)]
    pub(crate) env: Vec<(String, String)>,
    /// Give the real clock and real randomness; such a run cannot be compared
    #[arg(long)]
    pub(crate) real: bool,
    /// Units of fuel
    #[arg(long, value_name = "UNITS", value_parser = fuel)]
    pub(crate) fuel: Option<u64>,
    /// Longest duration: 500ms, 30s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<u64>,
    /// Most memory: 64MB, 2GB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) memory: Option<u64>,
    /// Most bytes of input
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) input_limit: Option<u64>,
    /// Most bytes to standard output
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) stdout_limit: Option<u64>,
    /// Most bytes to standard error
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) stderr_limit: Option<u64>,
    /// Most bytes in /out
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) out_limit: Option<u64>,
    /// Most files in /out
    #[arg(long, value_name = "COUNT")]
    pub(crate) out_files: Option<u32>,
    /// Write a signed receipt
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) receipt: Option<PathBuf>,
    /// Keep the task's last checkpoint here
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Go on from a checkpoint
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) resume: Option<PathBuf>,
    /// Show no progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// The module, and after it the arguments of the task
    #[arg(
        value_name = "MODULE [ARGS]",
        value_hint = ValueHint::FilePath,
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) command: Vec<String>,
}

impl Run {
    /// The module's path and the task's arguments. What follows the module is the task's own, whatever it looks like;
    /// what looks like a flag and stands where the module should is none of ours.
    pub(crate) fn split(&self) -> Result<(&Path, &[String]), clap::Error> {
        use clap::CommandFactory as _;
        match self.command.split_first() {
            Some((module, args)) if !module.starts_with('-') => Ok((Path::new(module), args)),
            first => {
                let flag = first.map_or("", |(flag, _)| flag.as_str());
                let what = format!(
                    "unexpected argument '{flag}' found\n\n  tip: `mesh run --help` lists the flags; they stand before the module"
                );
                Err(Args::command().error(clap::error::ErrorKind::UnknownArgument, what))
            }
        }
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Profile {
    #[command(flatten)]
    pub(crate) given: Given,
    /// Folder that the task works on a copy of, as /share/NAME; nothing is put in place
    #[arg(long = "share", value_name = "NAME=FOLDER[:rw]", value_parser = share)]
    pub(crate) shares: Vec<Share>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The module
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) module: PathBuf,
    /// Arguments of the task, after --
    #[arg(last = true)]
    pub(crate) args: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Verify {
    /// The receipt
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) receipt: PathBuf,
    /// The module it names
    #[arg(long, value_hint = ValueHint::FilePath)]
    pub(crate) module: PathBuf,
    #[command(flatten)]
    pub(crate) given: Given,
    /// File with the standard output it names, to be checked too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) stdout: Option<PathBuf>,
    /// Folder with the files it names, to be checked too
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Doctor {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn task_name(text: &str) -> Result<String, String> {
    if is_task_name(text) {
        Ok(text.into())
    } else {
        Err("use 1 to 64 lower-case letters, digits and inner hyphens".into())
    }
}

fn named_input(text: &str) -> Result<NamedInput, String> {
    let (name, path) = text.split_once('=').ok_or("write NAME=PATH, such as photo.png=holiday/1.png")?;
    if !is_file_name(name) {
        return Err(format!(
            "{name:?} cannot be a file's name in /in: use one without / and other than . and .."
        ));
    }
    Ok(NamedInput { name: name.into(), path: path.into() })
}

fn share(text: &str) -> Result<Share, String> {
    let (name, path) = text.split_once('=').ok_or("write NAME=FOLDER or NAME=FOLDER:rw")?;
    if !is_task_name(name) {
        return Err(format!(
            "{name:?} cannot be a share's name: use lower-case letters, digits and inner hyphens"
        ));
    }
    let (path, access) = match (path.strip_suffix(":rw"), path.strip_suffix(":ro")) {
        (Some(path), _) => (path, Access::Rw),
        (None, Some(path)) => (path, Access::Ro),
        (None, None) => (path, Access::Ro),
    };
    Ok(Share { name: name.into(), path: path.into(), access })
}

fn host_dir(text: &str) -> Result<HostDir, String> {
    let (text, writable) = match text.strip_suffix(":ro") {
        Some(text) => (text, false),
        None => (text, true),
    };
    let (host, guest) = text.split_once("::").unwrap_or((text, text));
    if host.is_empty() || guest.is_empty() {
        return Err("write HOST::GUEST, such as data::/data".into());
    }
    Ok(HostDir { host: host.into(), guest: guest.into(), writable })
}

fn env_pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    if !is_env_key(key) {
        return Err(format!("{key:?} cannot be a variable's name: use letters, digits and underscores"));
    }
    Ok((key.into(), value.into()))
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "write a size such as 500kB, 64MB or 2GB".into())
}

fn duration(text: &str) -> Result<u64, String> {
    parse_duration_ms(text).ok_or_else(|| "write a duration such as 500ms, 30s, 10m or 2h".into())
}

fn fuel(text: &str) -> Result<u64, String> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    plain
        .parse()
        .ok()
        .filter(|fuel| *fuel > 0)
        .ok_or_else(|| "write a whole number above 0, such as 1_000_000_000".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    // spec: SBX-3
    #[test]
    fn what_follows_the_module_is_the_tasks_own() {
        let args = Args::try_parse_from(["mesh", "run", "--dir", "a::b", "x.wasm", "--env", "-v", "--", "y"])
            .unwrap();
        let Command::Run(run) = args.command else { panic!("not run") };
        let (module, args) = run.split().unwrap();
        assert_eq!((module, args), (Path::new("x.wasm"), &["--env", "-v", "--", "y"].map(String::from)[..]));
        assert_eq!(run.dirs[0], HostDir { host: "a".into(), guest: "b".into(), writable: true });
    }

    // spec: CLI-5
    #[test]
    fn values_are_checked_where_they_are_typed() {
        let error =
            |args: &[&str]| Args::try_parse_from(["mesh", "run"].iter().chain(args)).unwrap_err().to_string();
        assert!(error(&["--memory", "lots", "x"]).contains("64MB"));
        assert!(error(&["--in", "../x=y", "x"]).contains("/in"));
        assert!(error(&["--in", "x", "x"]).contains("NAME=PATH"));
        assert!(error(&["--env", "1=2", "x"]).contains("variable"));
        assert!(error(&["--fuel", "0", "x"]).contains("above 0"));
        let args = Args::try_parse_from(["mesh", "run", "--fule", "3", "x.wasm"]).unwrap();
        let Command::Run(run) = args.command else { panic!("not run") };
        assert!(run.split().unwrap_err().to_string().contains("--fule"));
    }
}
