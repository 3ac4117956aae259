//! Verbs by which members decide things together.

use super::values;
use clap::{Args, ValueHint};
use mesh_protocol::task::Importance;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Vote {
    /// Anybody's task: its name or the beginning of its id, as `mesh ballots` shows it
    pub(crate) task: String,
    /// critical, high, normal, low or non-critical
    #[arg(value_name = "LEVEL", value_parser = values::importance, required_unless_present = "dispute")]
    pub(crate) importance: Option<Importance>,
    /// Say instead that it is no matter of public health
    #[arg(long, conflicts_with = "importance")]
    pub(crate) dispute: bool,
    /// Why, for all to read
    #[arg(short = 'm', long = "message", value_name = "WHY", default_value = "", value_parser = values::message)]
    pub(crate) why: String,
}

pub(super) const VOTE_EXAMPLES: &str = "\
Examples:
  mesh vote database-backup high -m \"we need clean backups\"
  mesh vote 3f2a non-critical
  mesh vote fire-drill-photos --dispute -m \"holiday photos\"";

#[derive(Debug, Args)]
pub(crate) struct Ballots {
    /// One task's alone
    pub(crate) task: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Quota {
    /// Another member's: a name or the beginning of a key
    #[arg(conflicts_with = "zone")]
    pub(crate) user: Option<String>,
    /// Say that you live in this time zone: your day begins at its midnight
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Reputation {
    /// A member: a name or the beginning of a key; you if nobody is named
    pub(crate) user: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Of a member's tasks: a name or the beginning of a key
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Of tasks that ran on a device: its name or the beginning of its key
    #[arg(long, conflicts_with = "user")]
    pub(crate) peer: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Contribute {
    /// Who contributed: a name or the beginning of a key
    pub(crate) user: String,
    /// Money, in cents
    #[arg(long, value_name = "CENTS", value_parser = values::cents, allow_hyphen_values = true, required_unless_present = "hours", conflicts_with = "hours")]
    pub(crate) money: Option<u64>,
    /// Time, in minutes
    #[arg(long, value_name = "MINUTES", value_parser = values::minutes, allow_hyphen_values = true)]
    pub(crate) hours: Option<u64>,
    /// For which month, as 202611; this one by default
    #[arg(long, value_name = "MONTH", value_parser = values::month, allow_hyphen_values = true)]
    pub(crate) month: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Propose {
    /// The rules, where they differ from those in force
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) rules: PathBuf,
    /// Why, for all to read
    #[arg(short = 'm', long = "message", value_name = "WHY", default_value = "", value_parser = values::message)]
    pub(crate) why: String,
}

#[derive(Debug, Args)]
pub(crate) struct VoteRules {
    /// The proposal: the beginning of its id, as `mesh community proposals` shows it
    pub(crate) proposal: String,
    /// For them, or against
    #[arg(value_parser = ["yes", "no"])]
    pub(crate) answer: String,
}
