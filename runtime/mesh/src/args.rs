//! What can be typed.

mod assembly;
mod community;
mod peer;
mod tasks;
pub(crate) mod values;

pub(crate) use assembly::{Ballots, Contribute, Propose, Quota, Reputation, Stats, Vote, VoteRules};
pub(crate) use community::{Community, Device, Grant, Invite, Join, Members, MembersVerb, Revoke, Trust};
pub(crate) use peer::{Demo, Init, Key, Pause, Show, Up};
pub(crate) use tasks::{Ledger, Submit, Task};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueHint};
use mesh_executor::{HostDir, NamedInput, Share};
use std::path::{Path, PathBuf};
use values::{duration, env_pair, fuel, host_dir, named_input, share, size, task_name};

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
    /// Keep keys, data and cache below this folder, so that several peers can live on one machine; also $MESH_HOME
    #[arg(long, global = true, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub(crate) home: Option<PathBuf>,
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
    /// Make this device's and your own keys
    #[command(after_help = peer::INIT_EXAMPLES)]
    Init(Init),
    /// Replace your user key, or put this peer's keys under another passphrase
    #[command(subcommand, arg_required_else_help = true)]
    Key(Key),
    /// Run this peer
    #[command(after_help = peer::UP_EXAMPLES)]
    Up(Box<Up>),
    /// Say how this peer is
    #[command(after_help = "Example:\n  mesh status --json")]
    Status(Show),
    /// Show this device's energy, where it is read, and what is the matter with it
    #[command(after_help = "Example:\n  mesh energy --json")]
    Energy(Show),
    /// Show what this peer is told, and where each value came from
    #[command(after_help = "Example:\n  mesh config --json")]
    Config(Show),
    /// Hold all tasks here and take no more
    #[command(after_help = "Examples:\n  mesh pause 2h\n  mesh pause")]
    Pause(Pause),
    /// Go on after `mesh pause` or `mesh finish`
    #[command(after_help = "Example:\n  mesh resume")]
    Resume,
    /// End what runs here and take no more
    #[command(after_help = "Example:\n  mesh finish")]
    Finish,
    /// Begin a community, or show the one this peer belongs to
    #[command(subcommand, arg_required_else_help = true)]
    Community(Community),
    /// Make a ticket that lets one person in
    #[command(after_help = "Example:\n  mesh invite --for 7d")]
    Invite(Invite),
    /// Join a community with a ticket
    #[command(after_help = "Examples:\n  mesh join mesh1…\n  ssh alice mesh invite | mesh join -")]
    Join(Join),
    /// List members; vouch for one, or end a membership
    #[command(after_help = "Examples:\n  mesh members\n  mesh members sponsor carol")]
    Members(Members),
    /// Bring in one more device of yours, or take one back that is lost
    #[command(subcommand, arg_required_else_help = true)]
    Device(Device),
    /// Let a member's tasks run on your device
    #[command(after_help = community::GRANT_EXAMPLES)]
    Grant(Grant),
    /// End a grant
    #[command(after_help = "Example:\n  mesh revoke 3f2a")]
    Revoke(Revoke),
    /// List all grants
    #[command(after_help = "Example:\n  mesh permissions --json")]
    Permissions(Show),
    /// Say whose devices your tasks may go to
    #[command(after_help = "Examples:\n  mesh trust\n  mesh trust alice bob\n  mesh trust --all")]
    Trust(Trust),
    /// Say how important somebody's task is
    #[command(after_help = assembly::VOTE_EXAMPLES)]
    Vote(Vote),
    /// Show what members vote on, and what they decided
    #[command(after_help = "Examples:\n  mesh ballots\n  mesh ballots database-backup --json")]
    Ballots(Ballots),
    /// Show how many tasks you may still submit today, and what would give you more
    #[command(after_help = "Examples:\n  mesh quota\n  mesh quota alice\n  mesh quota --zone Europe/Berlin")]
    Quota(Quota),
    /// Show a member's reputation and what it is made of
    #[command(after_help = "Example:\n  mesh reputation alice")]
    Reputation(Reputation),
    /// Show how much energy tasks used, and how much carbon they saved
    #[command(
        after_help = "Examples:\n  mesh stats\n  mesh stats --user alice\n  mesh stats --peer garden-pi --json"
    )]
    Stats(Stats),
    /// Record what a member contributed; only a treasurer may
    #[command(
        after_help = "Examples:\n  mesh contribute alice --money 500\n  mesh contribute bob --hours 90 --month 202611"
    )]
    Contribute(Contribute),
    /// List all peers
    #[command(after_help = "Example:\n  mesh peers --json")]
    Peers(Show),
    /// Have a task run where energy is clean
    #[command(after_help = tasks::SUBMIT_EXAMPLES)]
    Submit(Box<Submit>),
    /// Look after this device's tasks
    #[command(subcommand, arg_required_else_help = true)]
    Task(Task),
    /// Read, check and move the ledger
    #[command(subcommand, arg_required_else_help = true)]
    Ledger(Ledger),
    /// Show a community of three at work on this machine, over two recorded days of sun, wind and grid
    #[command(after_help = peer::DEMO_EXAMPLES)]
    Demo(Demo),
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    // spec: CLI-1
    #[test]
    fn every_verb_that_takes_something_has_an_example() {
        fn look(command: &clap::Command) {
            let verbs: Vec<_> = command.get_subcommands().collect();
            let takes = command.get_arguments().any(|argument| argument.get_id() != "json");
            if verbs.is_empty() && takes && !matches!(command.get_name(), "doctor" | "man") {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{}", command.get_name());
            }
            verbs.into_iter().for_each(look);
        }
        look(&Args::command());
    }

    // spec: CLI-1
    #[test]
    fn every_list_and_show_has_json() {
        let lists = [
            &["status"][..],
            &["energy"],
            &["config"],
            &["peers"],
            &["members"],
            &["permissions"],
            &["trust"],
            &["community", "show"],
            &["community", "rules"],
            &["community", "proposals"],
            &["ballots"],
            &["quota"],
            &["reputation"],
            &["stats"],
            &["task", "ls"],
            &["task", "show", "x"],
            &["task", "why", "x"],
            &["ledger", "log"],
            &["ledger", "verify"],
        ];
        for list in lists {
            let typed = ["mesh"].iter().chain(list).chain(&["--json"]);
            assert!(Args::try_parse_from(typed).is_ok(), "{list:?}");
        }
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
