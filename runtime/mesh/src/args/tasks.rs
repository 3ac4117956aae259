//! Verbs of a submitter.

use super::peer::Show;
use super::{Given, values};
use clap::{Args, Subcommand, ValueHint};
use mesh_protocol::task::{Importance, MAX_REPLICAS, Sla};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// The module; read from standard input if it is `-`
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) module: PathBuf,
    /// Arguments of the task; after -- if they look like flags
    pub(crate) args: Vec<String>,
    #[command(flatten)]
    pub(crate) given: Given,
    /// What the task is called; what its manifest says by default
    #[arg(long, value_parser = values::task_name)]
    pub(crate) name: Option<String>,
    /// Environment variable
    #[arg(long = "env", value_name = "KEY=VALUE", value_parser = values::env_pair)]
    pub(crate) env: Vec<(String, String)>,
    /// Your patience: urgent, high, normal, eco, solar-only, wind-only
    #[arg(long, value_name = "LEVEL", default_value = "normal", value_parser = values::sla)]
    pub(crate) sla: Sla,
    /// How important it is: critical, high, normal, low, non-critical
    #[arg(long, value_name = "LEVEL", value_parser = values::importance)]
    pub(crate) importance: Option<Importance>,
    /// By when it is to be done, instead of as its level says: 18:30, 6h from now, a date or a moment; with eco, solar-only
    /// and wind-only, when it is given up if it has not started
    #[arg(long, value_name = "TIME", value_parser = values::deadline)]
    pub(crate) finish_by: Option<u64>,
    /// By when it is to have started
    #[arg(long, value_name = "TIME", value_parser = values::deadline)]
    pub(crate) start_by: Option<u64>,
    /// Longest duration: 30s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = values::duration, allow_hyphen_values = true)]
    pub(crate) duration: Option<u64>,
    /// Most memory: 64MB, 2GB
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) memory: Option<u64>,
    /// Only on this peer: its name or the beginning of its key
    #[arg(long, value_name = "PEER")]
    pub(crate) on: Option<String>,
    /// Run it on peers of so many different owners, each of whom must not know the others' results
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_REPLICAS)))]
    pub(crate) replicas: u8,
    /// How many of them must agree; more than half by default
    #[arg(long, value_name = "COUNT", requires = "replicas", value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_REPLICAS)))]
    pub(crate) quorum: Option<u8>,
    /// The same key with the same module, input and arguments is the same task, however often it is submitted
    #[arg(long, value_name = "KEY", value_parser = values::key)]
    pub(crate) idempotency_key: Option<String>,
    /// Stay: its output as it comes, and its exit code
    #[arg(long, conflicts_with_all = ["wait", "detach", "id_only", "dry_run"])]
    pub(crate) follow: bool,
    /// Stay until it ends, and end with its exit code
    #[arg(long, conflicts_with_all = ["detach", "dry_run"])]
    pub(crate) wait: bool,
    /// Go at once; the default
    #[arg(long)]
    pub(crate) detach: bool,
    /// Print nothing but the task's whole id
    #[arg(long, conflicts_with_all = ["dry_run", "json"])]
    pub(crate) id_only: bool,
    /// Only say who could run it
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Folder for its result, with --follow or --wait
    #[arg(long, short, value_name = "FOLDER", value_hint = ValueHint::DirPath, conflicts_with_all = ["detach", "dry_run"])]
    pub(crate) output: Option<PathBuf>,
    /// Show no progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// As JSON
    #[arg(long, conflicts_with = "follow")]
    pub(crate) json: bool,
}

pub(super) const SUBMIT_EXAMPLES: &str = "\
Examples:
  mesh submit word-count.wasm --input big.txt --follow
  mesh submit thumbnails.wasm --in photos=holiday --sla eco --wait -o small
  mesh submit report.wasm --name weekly -- --year 2026
  id=$(mesh submit mandelbrot.wasm --id-only) && mesh task logs -f $id
  mesh submit word-count.wasm --replicas 3 --quorum 2
  mesh submit word-count.wasm --dry-run
  mesh submit report.wasm --finish-by 18:30

With --follow and --wait, exit codes as of `mesh run`: 0..125 the task's own, 126 refused, 127 trapped, 128 out of fuel,
129 timed out, 130 cancelled, 131 out of memory, 132 too much output, 133 the sandbox crashed, 134 mesh itself failed,
135 no peer brought it to an end, 136 the node is not running, 138 detached (Ctrl-C), 141 nobody read its output.
Otherwise: 0 submitted, 126 refused, 134 failed, 136 the node is not running. 2 wrong command line";

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// List this device's tasks, newest first
    #[command(after_help = "Example:\n  mesh task ls --json")]
    Ls(Show),
    /// Show a task, its attempts and its result
    #[command(after_help = "Example:\n  mesh task show 3f2a --json")]
    Show {
        /// Its name or the beginning of its id
        task: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what a task waits for and what would change that
    #[command(after_help = "Example:\n  mesh task why 3f2a")]
    Why {
        /// Its name or the beginning of its id
        task: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what a task has written
    #[command(after_help = "Examples:\n  mesh task logs 3f2a\n  mesh task logs -f --stderr 3f2a")]
    Logs {
        /// Its name or the beginning of its id
        task: String,
        /// Go on until it ends
        #[arg(long, short)]
        follow: bool,
        /// Its standard error instead of its standard output
        #[arg(long)]
        stderr: bool,
    },
    /// Put a task's result into a folder: stdout, stderr, out/ and receipt.json
    #[command(
        after_help = "Examples:\n  mesh task result 3f2a -o result\n  mesh verify result/receipt.json --module word-count.wasm --input big.txt --stdout result/stdout"
    )]
    Result {
        /// Its name or the beginning of its id
        task: String,
        /// The folder; made if it is not there
        #[arg(long, short, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
        output: PathBuf,
        /// Replace files that are there, once the new ones are
        #[arg(long)]
        overwrite: bool,
    },
    /// Take a task back
    #[command(after_help = "Example:\n  mesh task cancel 3f2a")]
    Cancel {
        /// Its name or the beginning of its id
        task: String,
    },
    /// End a delegation: your own task comes back here, another's goes elsewhere
    #[command(after_help = "Example:\n  mesh task veto 3f2a -m \"I need my machine\"")]
    Veto {
        /// Its name or the beginning of its id
        task: String,
        /// Why, for all to read
        #[arg(short = 'm', long = "message", value_name = "WHY", default_value = "", value_parser = values::message)]
        why: String,
    },
    /// Submit the same once more
    #[command(after_help = "Example:\n  mesh task rerun 3f2a")]
    Rerun {
        /// Its name or the beginning of its id
        task: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// Show events: event, peer, task, data, time
    #[command(
        after_help = "Examples:\n  mesh ledger log --last 20\n  mesh ledger log elm-street.ledger --json"
    )]
    Log {
        /// An exported ledger; the node's own by default
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// Only the last so many
        #[arg(long, value_name = "COUNT", value_parser = values::last, allow_hyphen_values = true)]
        last: Option<usize>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Check every hash, signature, chain and clock; names the first bad byte
    #[command(
        after_help = "Examples:\n  mesh ledger verify elm-street.ledger\n  mesh ledger verify\n\nExit codes: 0 sound, 1 not sound, 136 the node is not running, 2 wrong command line"
    )]
    Verify {
        /// An exported ledger, checked without a node; the node's own by default
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// Recompute what runs caused and tasks saved, and show each reading, its origin and whether it is attested
        #[arg(long)]
        carbon: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Write all entries into a file
    #[command(after_help = "Example:\n  mesh ledger export elm-street.ledger")]
    Export {
        /// The file; standard output by default
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        /// Replace the file if it is there
        #[arg(long)]
        overwrite: bool,
    },
    /// Take entries from a file, as if a peer had sent them
    #[command(after_help = "Example:\n  mesh ledger import elm-street.ledger")]
    Import {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}
