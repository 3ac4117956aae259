//! Verbs of a device's owner.

use super::values;
use clap::{Args, Subcommand, ValueHint};
use mesh_executor::Share;
use mesh_protocol::ledger::Pattern;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// What you are called; your login name by default
    #[arg(long, value_name = "USER", value_parser = values::name, conflicts_with = "device_only")]
    pub(crate) name: Option<String>,
    /// What this device is called; its host name by default
    #[arg(long, value_name = "NAME", value_parser = values::name)]
    pub(crate) device_name: Option<String>,
    /// Make no user key: this becomes one more device of somebody who has one, by a ticket of `mesh device add`
    #[arg(long)]
    pub(crate) device_only: bool,
    /// Keep the keys under a passphrase, asked for now and at each start; or taken from $MESH_PASSPHRASE, or from the
    /// file that $MESH_PASSPHRASE_FILE names
    #[arg(long)]
    pub(crate) passphrase: bool,
}

pub(super) const INIT_EXAMPLES: &str = "\
Examples:
  mesh init --name alice --device-name laptop
  mesh init --passphrase
  mesh init --device-only --device-name garden-pi
  mesh --home ./bob init --name bob";

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Replace your user key by a new one, by the word of your recovery key
    ///
    /// For when somebody else may have it. You stay who you are: grants, votes and devices are kept. Devices that the thief
    /// added are taken back with `mesh device revoke`.
    #[command(after_help = "Example:\n  mesh key rotate --recovery /media/stick/recovery.key")]
    Rotate {
        /// Where the recovery key is; beside the others by default
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        recovery: Option<PathBuf>,
    },
    /// Put this peer's keys under another passphrase, or under none
    ///
    /// The present one is asked for, or taken as `mesh up` does; the new one is asked for twice, or taken from
    /// $MESH_NEW_PASSPHRASE or the file that $MESH_NEW_PASSPHRASE_FILE names.
    #[command(after_help = "Examples:\n  mesh key passphrase\n  mesh key passphrase --none")]
    Passphrase {
        /// Keep them under none
        #[arg(long)]
        none: bool,
    },
}

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Up {
    /// Address that other peers dial; the port of last time by default
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address that this machine's programs ask; any port of 127.0.0.1 by default
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) api: Option<SocketAddr>,
    /// Let --api be an address that other machines can reach; whoever has the token then rules this peer
    #[arg(long)]
    pub(crate) api_for_others: bool,
    /// Tasks run at once, each on one core at most; as many as there are cores by default
    #[arg(long, value_name = "COUNT", value_parser = values::slots)]
    pub(crate) slots: Option<u16>,
    /// Memory for all tasks together; half of the machine's by default
    #[arg(long, value_name = "SIZE", value_parser = values::shared_memory)]
    pub(crate) memory: Option<u64>,
    /// Longest task taken: 30s, 10m, 2h; 24h by default
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) longest: Option<u64>,
    /// This device's energy: its source (solar, wind, hydro, battery, grid), how much of it is renewable, and grams of
    /// CO2 per kWh, as `solar:90` or `grid:40:300`; or where to read it, as `trace:FILE` or `command:PROGRAM`
    ///
    /// Of a source without grams, what is not renewable counts as the grid there does. Sun counts only while it is up at
    /// --place. A trace is a CSV file with the header time,source,renewable_percent,g_per_kwh; a row holds until the next
    /// one. After the file may stand ,start=TIME (its first time), ,speed=NUMBER (1) and ,at=MILLISECONDS, the moment
    /// since 1970 when it begins to play. A program prints a JSON object with source, renewable_percent, g_per_kwh and,
    /// if it knows, valid_s: for how many seconds that holds (300). More sources, and what they can tell, stand in
    /// mesh.toml: docs/energy-sources.md.
    #[arg(long, value_name = "SOURCE:PERCENT[:G_PER_KWH]", value_parser = values::energy)]
    pub(crate) energy: Option<values::Energy>,
    /// Watts of this device's processor at full load, from which a task's energy is modelled where the processor's own
    /// counters cannot be read; 4 for each of its threads by default
    #[arg(long, value_name = "WATTS", value_parser = values::watts)]
    pub(crate) watts: Option<u32>,
    /// Names of others' tasks taken at all: *, a name, or a beginning and *; repeatable, all by default
    #[arg(long = "accept", value_name = "PATTERN", value_parser = values::pattern)]
    pub(crate) accepts: Vec<Pattern>,
    /// Hours in which this device is shared, such as mon-fri:9:00-17:00 or sat,sun:22:00-6:00; repeatable, always by
    /// default
    #[arg(long = "hours", value_name = "DAYS:FROM-TO", value_parser = values::hours)]
    pub(crate) hours: Vec<values::Hours>,
    /// Share this device also while it runs on battery, which wears it
    #[arg(long)]
    pub(crate) on_battery: bool,
    /// Percent of the battery that stay for you
    #[arg(long, value_name = "PERCENT", value_parser = values::share_of)]
    pub(crate) battery_floor: Option<u8>,
    /// Share this device only while other programs use no more than this much of it; 0 for any
    #[arg(long, value_name = "PERCENT", value_parser = values::share_of)]
    pub(crate) most_load: Option<u8>,
    /// Share this device only while your own sun, wind or water gives more than your household takes
    #[arg(long)]
    pub(crate) surplus_only: bool,
    /// Most bytes of disk that tasks may come to need, all together: what they are given, may save and may leave; 0 for
    /// 64GB
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) disk: Option<u64>,
    /// Most bytes sent in a day, of your own tasks too: after that this device is not shared until midnight; 0 for any
    #[arg(long, value_name = "BYTES_PER_DAY", value_parser = values::size)]
    pub(crate) upload: Option<u64>,
    /// Program of yours that is asked about each offer of somebody else's, as a shell runs it: it reads the offer as JSON
    /// and prints accept, refuse WHY or later WHY, within two seconds
    #[arg(long, value_name = "PROGRAM", value_parser = values::hook)]
    pub(crate) hook: Option<String>,
    /// Folder of yours that tasks may be granted by this name: read-only, or with :rw on a copy that is put in place
    /// once the task's result counts; repeatable
    #[arg(long = "share", value_name = "NAME=FOLDER[:rw]", value_parser = values::share)]
    pub(crate) shares: Vec<Share>,
    /// Bytes a day relayed between peers that cannot reach each other, such as 1GB
    #[arg(long, value_name = "BYTES_PER_DAY", value_parser = values::size)]
    pub(crate) relay: Option<u64>,
    /// Do not look for peers on the local network
    #[arg(long)]
    pub(crate) no_mdns: bool,
    /// Where this device is, in degrees; told to members in whole degrees
    #[arg(long, value_name = "LAT,LON", value_parser = values::place, allow_hyphen_values = true)]
    pub(crate) place: Option<(i16, i16)>,
}

pub(super) const UP_EXAMPLES: &str = "\
Examples:
  mesh up
  mesh up --energy solar:90 --place 52.5,13.4 --accept 'database-*' --accept word-count
  mesh up --listen 0.0.0.0:4433 --slots 2 --memory 1GB --longest 1h --relay 1GB
  mesh up --hours mon-fri:18:00-8:00 --battery-floor 40 --most-load 30 --upload 2GB --disk 20GB
  mesh up --surplus-only --hook ./ask-me.sh

It runs until Ctrl-C. Nobody's tasks but your own run here without `mesh grant`. What is not said here is read from
mesh.toml, .env and the environment: `mesh config` shows it.";

/// A list or a thing shown.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// For how long: 30m, 2h, 1d; until `mesh resume` by default
    #[arg(value_name = "FOR", value_parser = values::span, allow_hyphen_values = true)]
    pub(crate) span: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How many times faster than it was the recorded time is played: 1440 is an hour in 2.5 seconds
    #[arg(long, value_name = "FACTOR", default_value = "1440", value_parser = values::speed)]
    pub(crate) speed: f64,
    /// Folder of the example tasks
    #[arg(long, value_name = "FOLDER")]
    pub(crate) tasks: Option<PathBuf>,
    /// Leave the peers' folders and logs behind
    #[arg(long)]
    pub(crate) keep: bool,
}

pub(super) const DEMO_EXAMPLES: &str = "\
Examples:
  mesh demo
  mesh demo --speed 600

Three real peers on loopback, with real tasks. Ctrl-C ends it; nothing is left behind.";
