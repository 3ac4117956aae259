//! What the node answers, as far as it is shown. The shapes are those of `mesh_node`; a field added there is no error
//! here, so that one version's command line reads the next one's node.
// spec: API-2

use mesh_protocol::ad::EnergyClaim;
use mesh_protocol::frame::Phase;
use mesh_protocol::ids::{CommunityId, EntryId, ModuleHash, TaskId};
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::receipt::SignedReceipt;
use mesh_protocol::rules::Rules;
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Community {
    pub(super) id: CommunityId,
    pub(super) name: String,
    pub(super) rules: Rules,
    pub(super) members: Vec<Member>,
}

#[derive(Deserialize)]
pub(super) struct Member {
    pub(super) user: UserKey,
    pub(super) name: String,
    pub(super) me: bool,
    pub(super) since_ms: u64,
    pub(super) sponsors: Vec<String>,
    pub(super) pending: bool,
    pub(super) expelled: bool,
    pub(super) devices: Vec<Device>,
}

#[derive(Deserialize)]
pub(super) struct Device {
    pub(super) device: PublicKey,
    pub(super) name: String,
    /// Thousandths of the daily quota.
    pub(super) share: u16,
    pub(super) counts_until: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct Grant {
    pub(super) grant: EntryId,
    pub(super) device: String,
    pub(super) user: String,
    pub(super) task: String,
    pub(super) module: Option<ModuleHash>,
    pub(super) until_ms: Option<u64>,
    pub(super) why_not: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Plan {
    pub(super) choice: Option<String>,
    pub(super) plan: Option<String>,
    #[serde(default)]
    pub(super) rule: String,
    #[serde(default)]
    pub(super) quota: String,
    pub(super) health: Option<String>,
    pub(super) ballot_ms: Option<u64>,
    #[serde(default)]
    pub(super) waits_for_ballot: bool,
    #[serde(default)]
    pub(super) finish_by_ms: Option<u64>,
    pub(super) peers: Vec<(String, String)>,
    pub(super) expected: Option<Expected>,
    pub(super) advice: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Expected {
    pub(super) runs: usize,
    pub(super) wall_ms: u64,
    pub(super) memory: u64,
    pub(super) energy_mj: Option<u64>,
    pub(super) waited_ms: u64,
}

#[derive(Deserialize)]
pub(super) struct Task {
    pub(super) task: TaskId,
    pub(super) name: String,
    pub(super) module: ModuleHash,
    pub(super) state: String,
    pub(super) why: String,
    pub(super) created_ms: u64,
    #[serde(default)]
    pub(super) start_by_ms: Option<u64>,
    #[serde(default)]
    pub(super) finish_by_ms: Option<u64>,
    #[serde(default)]
    pub(super) expires_ms: Option<u64>,
    pub(super) attempt: Option<(u32, String)>,
    pub(super) progress: Option<Progress>,
    #[serde(default)]
    pub(super) history: Vec<Attempt>,
    pub(super) result: Option<TaskResult>,
    pub(super) energy: Option<Energy>,
}

#[derive(Deserialize)]
pub(super) struct Energy {
    pub(super) energy_mj: Option<u64>,
    pub(super) how: String,
    pub(super) uncertainty_percent: u8,
    pub(super) g_per_kwh: Option<u64>,
    pub(super) renewable_bp: Option<u64>,
    pub(super) carbon_ug: i64,
    pub(super) baseline_ug: Option<u64>,
    pub(super) saved: Option<mesh_protocol::ledger::Saved>,
    pub(super) saved_ug: Option<i64>,
    pub(super) provisional: bool,
    pub(super) why: Option<String>,
    pub(super) factors: String,
}

impl Task {
    /// Has it ended, one way or another?
    pub(super) fn ended(&self) -> bool {
        matches!(self.state.as_str(), "done" | "failed" | "cancelled")
    }
}

#[derive(Deserialize)]
pub(super) struct Attempt {
    pub(super) attempt: u32,
    pub(super) device: String,
    pub(super) fate: String,
}

#[derive(Deserialize)]
pub(super) struct TaskResult {
    pub(super) attempt: u32,
    pub(super) receipt: SignedReceipt,
}

#[derive(Deserialize)]
pub(super) struct Progress {
    pub(super) phase: Phase,
    pub(super) permille: u16,
    pub(super) note: String,
    #[serde(default)]
    pub(super) held: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Submitted {
    pub(super) task: TaskId,
    pub(super) again: bool,
    #[serde(default)]
    pub(super) warning: Option<String>,
    pub(super) advice: Option<String>,
    pub(super) on: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Status {
    pub(super) device: PublicKey,
    pub(super) name: String,
    pub(super) user: Option<String>,
    pub(super) community: Option<String>,
    pub(super) trouble: Vec<String>,
    pub(super) connected: usize,
    pub(super) energy: Option<EnergyClaim>,
    pub(super) donor: String,
    pub(super) running: Vec<Running>,
    pub(super) tasks: Vec<(String, usize)>,
    pub(super) entries: u64,
}

#[derive(Deserialize)]
pub(super) struct Running {
    pub(super) task: TaskId,
    pub(super) attempt: u32,
    pub(super) name: String,
    pub(super) user: String,
    pub(super) progress: Progress,
}

#[derive(Deserialize)]
pub(super) struct Peer {
    pub(super) device: PublicKey,
    pub(super) name: String,
    pub(super) user: String,
    pub(super) me: bool,
    pub(super) connected: bool,
    pub(super) energy: Option<EnergyClaim>,
    pub(super) free_slots: Option<u16>,
    pub(super) heard_ms: Option<u64>,
    /// Where this peer reaches it: an address, or who relays.
    pub(super) path: Option<Path>,
    /// Why it is not reached, where it was tried.
    pub(super) unreached: Option<String>,
}

/// How a peer is reached.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub(super) enum Path {
    Address { addr: String, rtt_us: u64 },
    Relay { relay: PublicKey, rtt_us: u64 },
}

/// What happens, as far as somebody who follows a task wants to know.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub(super) enum Happening {
    Task {
        task: TaskId,
    },
    Progress {
        task: TaskId,
        progress: Progress,
    },
    /// Some were told too fast for us.
    Missed,
    #[serde(other)]
    Other,
}
