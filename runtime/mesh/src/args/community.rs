//! Verbs of a member.

use super::assembly::{Propose, VoteRules};
use super::peer::Show;
use super::values;
use clap::{Args, Subcommand, ValueHint};
use mesh_protocol::permissions::Access;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Community {
    /// Begin a community
    #[command(
        after_help = "Examples:\n  mesh community new \"Elm Street\"\n  mesh community new \"Elm Street\" --rules rules.toml\n\n`mesh community rules` prints rules in the form of such a file."
    )]
    New {
        /// Its name
        #[arg(value_parser = values::name)]
        name: String,
        /// Its rules, where they differ from the defaults
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        rules: Option<PathBuf>,
    },
    /// Show its name, its size and who is in it
    #[command(after_help = "Example:\n  mesh community show --json")]
    Show(Show),
    /// Show its rules, as TOML
    #[command(after_help = "Example:\n  mesh community rules > rules.toml")]
    Rules(Show),
    /// Propose other rules, for the members to vote on
    #[command(
        after_help = "Example:\n  mesh community rules > rules.toml\n  mesh community propose rules.toml -m \"longer ballots\""
    )]
    Propose(Propose),
    /// Vote on proposed rules
    #[command(after_help = "Example:\n  mesh community vote 3f2a yes")]
    Vote(VoteRules),
    /// List the rules that were proposed, and what became of them
    Proposals(Show),
}

#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// For how long the ticket holds: 30m, 24h, 7d
    #[arg(long = "for", value_name = "TIME", default_value = "24h", value_parser = values::span)]
    pub(crate) span: u64,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// The ticket; read from standard input if it is `-`
    pub(crate) ticket: String,
    /// With a ticket of `mesh device add`, where this home has a user key of its own: let this device become one of the
    /// user's whose key begins so, and act in their name
    #[arg(long, value_name = "KEY")]
    pub(crate) as_device_of: Option<String>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Members {
    #[command(flatten)]
    pub(crate) show: Show,
    #[command(subcommand)]
    pub(crate) verb: Option<MembersVerb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MembersVerb {
    /// Vouch for somebody who waits for one more sponsor
    #[command(after_help = "Example:\n  mesh members sponsor carol")]
    Sponsor {
        /// Their name or the beginning of their key
        who: String,
    },
    /// End a membership; only the founder may
    #[command(after_help = "Example:\n  mesh members expel mallory -m \"sells our sun\"")]
    Expel {
        /// Their name or the beginning of their key
        who: String,
        /// Why, for all to read
        #[arg(short = 'm', long = "message", value_name = "WHY", value_parser = values::reason)]
        why: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Device {
    /// Make a ticket for one more device of yours
    #[command(
        after_help = "Example:\n  mesh device add\nand on the new device:\n  mesh init --device-only && mesh up &\n  mesh join TICKET"
    )]
    Add(Invite),
    /// List your devices
    #[command(after_help = "Example:\n  mesh device ls --json")]
    Ls(Show),
    /// Let a device of yours have a part of your daily quota, from this one's
    #[command(after_help = "Example:\n  mesh device share garden-pi 30")]
    Share {
        /// Its name or the beginning of its key
        device: String,
        /// How much of the whole quota, in percent
        #[arg(value_parser = values::share_of)]
        percent: u8,
    },
    /// Say that a device is yours no more: what it says from now on counts for nobody
    #[command(after_help = "Example:\n  mesh device revoke garden-pi")]
    Revoke {
        /// Its name or the beginning of its key
        device: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Grant {
    /// Whose tasks: a name or the beginning of a key
    #[arg(long, value_name = "USER")]
    pub(crate) user: String,
    /// Which tasks: *, a name, or a beginning and *
    #[arg(long, value_name = "PATTERN", default_value = "*", value_parser = values::some_pattern)]
    pub(crate) task: String,
    /// On which of your devices; this one by default
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<String>,
    /// Until when: a date (that day included), a moment, or for so long
    #[arg(long, value_name = "DATE|DURATION", value_parser = values::moment)]
    pub(crate) until: Option<u64>,
    /// Only this code: a module's hash or the module itself
    #[arg(long, value_name = "HASH|FILE", value_hint = ValueHint::FilePath)]
    pub(crate) module: Option<String>,
    /// Share of this device that such tasks may use: read-only, or with rw on a copy that is put in place afterwards
    #[arg(long = "share", value_name = "NAME=ro|rw", value_parser = values::granted_share, requires = "module")]
    pub(crate) shares: Vec<(String, Access)>,
    /// Let them see the real clock
    #[arg(long, requires = "module")]
    pub(crate) real_clock: bool,
    /// Give them real randomness
    #[arg(long, requires = "module")]
    pub(crate) real_random: bool,
}

pub(super) const GRANT_EXAMPLES: &str = "\
Examples:
  mesh grant --user alice
  mesh grant --user alice --task database-cleanup --until 2027-02-20
  mesh grant --user bob --task 'log-*' --until 30d --module log-rotation.wasm --share logs=rw

A task's name is only a label that its submitter chose: shares, the real clock and real randomness need --module.";

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The grant: the beginning of its id, as `mesh permissions` shows it
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// Members whose devices your tasks may go to, and no others
    #[arg(value_name = "USER", conflicts_with = "all")]
    pub(crate) users: Vec<String>,
    /// All members again
    #[arg(long)]
    pub(crate) all: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}
