//! What tasks used and saved, as it is shown: of one task, of a user, of a peer, of the whole community.
// spec: CO2-3, CO2-4, API-3

use crate::command::CommandError;
use crate::node::Node;
use mesh_policies::accounting::Sum;
use mesh_policies::quota::month;
use mesh_protocol::energy::How;
use mesh_protocol::factors::Factors;
use mesh_protocol::ids::TaskId;
use mesh_protocol::key::{PublicKey, UserKey};
use mesh_protocol::ledger::Saved;
use serde::Serialize;

/// A start later than this after its submission is a deferred one: choosing a peer takes seconds.
const DEFERRED_MS: u64 = 60_000;
const MJ_PER_WH: f64 = 3_600_000.0;
const UG_PER_KG: f64 = 1e9;

/// What a task that is done used and saved.
// spec: CO2-4
#[derive(Debug, Clone, Serialize)]
pub struct EnergyView {
    /// By the attempt whose result is the task's, in millijoule; none if it is not known.
    pub energy_mj: Option<u64>,
    /// How that is known.
    pub how: How,
    /// By how much it may be wrong, in percent of itself.
    pub uncertainty_percent: u8,
    /// Grid carbon while it ran: the mean of its energy in grams per kWh.
    pub g_per_kwh: Option<u64>,
    /// Renewable share of its energy in hundredths of a percent.
    pub renewable_bp: Option<u64>,
    /// Where it ran.
    pub device: String,
    /// Milliseconds from start to end.
    pub duration_ms: u64,
    /// Most bytes of memory.
    pub peak_memory: u64,
    /// Carbon of all attempts together, in micrograms.
    pub carbon_ug: u64,
    /// Carbon of the same work at once at home, in micrograms; none if it is not known.
    pub baseline_ug: Option<u64>,
    /// What was saved, in parts; none if it is not known.
    pub saved: Option<Saved>,
    /// All parts together.
    pub saved_ug: Option<i64>,
    /// May it still change?
    pub provisional: bool,
    /// Why it is not known, or may change.
    pub why: Option<String>,
    /// The table by which what is unknown counts.
    pub factors: &'static str,
}

/// Of this month.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MonthView {
    /// Tasks done that had waited.
    pub tasks_deferred: u64,
    /// Kilograms of CO2.
    pub carbon_saved: f64,
}

/// What many tasks used and saved.
// spec: API-3
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatsView {
    /// Of whom: a user's or device's name; none for the community.
    pub of: Option<String>,
    /// Tasks done.
    pub tasks_executed: u64,
    /// Kilograms of CO2; negative if it was a loss.
    pub total_carbon_saved: f64,
    /// Watt-hours that were renewable.
    pub energy_used_clean: f64,
    /// Watt-hours that were not.
    pub energy_used_dirty: f64,
    /// Renewable part of all, in percent.
    pub renewable_percent: f64,
    /// Hours from submission to start, the mean over tasks that waited.
    pub average_deferral_time: f64,
    /// This calendar month, in UTC.
    pub this_month: MonthView,
    /// Tasks done of which it is not known what they saved: they count as nothing saved.
    pub tasks_unaccounted: u64,
    /// Attempts whose energy is not known: they are in none of the sums.
    pub attempts_unmeasured: u64,
}

/// Of whom.
#[derive(Debug, Clone, Copy)]
enum Of {
    Everybody,
    User(UserKey),
    Peer(PublicKey),
}

impl Node {
    /// What a task of this device that is done used and saved.
    pub(crate) fn energy_view(&self, id: &TaskId) -> Option<EnergyView> {
        let balance = self.ledger.facts().tasks().balance(&(self.me, *id))?;
        let (_, done) = balance.done;
        let provisional = self.provisional(id);
        let written = balance.account.map(|account| (account.home.at_once, balance.saved));
        let (at_once, saved) = match (written, &provisional) {
            (Some((at_once, saved)), _) => (Some(at_once), saved),
            (None, Some((account, at_once))) => (Some(*at_once), account.saved),
            (None, None) => (None, None),
        };
        let home = at_once.filter(|sum| sum.unknown_mj == 0 && sum.energy_mj > 0);
        let why = match () {
            () if done.sum.is_none() => Some("the energy of the run is not known"),
            () if !balance.unmeasured.is_empty() => Some("the energy of another attempt is not known"),
            () if home.is_none() => {
                Some("the energy that this device had when the task was submitted is not known")
            }
            () if saved.is_none() => Some("home's and the peer's intensities are not of one kind"),
            () if written.is_none() => Some("at home it would still be running"),
            () if !balance.unsaid.is_empty() => {
                Some("a peer that lost the task has not said yet what it had used")
            }
            () => None,
        };
        Some(EnergyView {
            energy_mj: done.sum.map(|sum| sum.energy_mj),
            how: done.how.0,
            uncertainty_percent: done.how.1,
            g_per_kwh: done.sum.map(|sum| sum.g_per_kwh()),
            renewable_bp: done.sum.map(|sum| sum.renewable_bp()),
            device: self.device_name(&done.device),
            duration_ms: done.wall_ms,
            peak_memory: done.peak_memory,
            carbon_ug: balance.caused.carbon_ug(),
            baseline_ug: home.map(|sum| sum.carbon_ug()),
            saved,
            saved_ug: saved.map(|saved| saved.total_ug()),
            provisional: written.is_none() || !balance.unsaid.is_empty(),
            why: why.map(str::to_owned),
            factors: Factors::default().name(),
        })
    }

    pub(crate) fn stats(&self, user: Option<&str>, peer: Option<&str>) -> Result<StatsView, CommandError> {
        let (of, name) = match (user, peer) {
            (Some(user), _) => {
                let user = self.find_user(user)?;
                (Of::User(user), Some(self.user_shown(&user)))
            }
            (None, Some(peer)) => {
                let device = self.find_device(peer)?;
                (Of::Peer(device), Some(self.device_shown(&device)))
            }
            (None, None) => (Of::Everybody, None),
        };
        Ok(self.stats_of(of, name))
    }

    fn stats_of(&self, of: Of, name: Option<String>) -> StatsView {
        let tasks = self.ledger.facts().tasks();
        let governance = self.ledger.governance();
        let this_month = month(self.now.wall_ms);
        let mut stats = StatsView { of: name, ..StatsView::default() };
        let (mut used, mut saved_ug, mut month_ug) = (Sum::default(), 0i64, 0i64);
        let (mut deferred, mut deferred_ms) = (0u64, 0u64);
        for key in tasks.keys() {
            let theirs = match of {
                Of::Everybody | Of::Peer(_) => true,
                Of::User(user) => governance.owner(&key.0) == Some(user),
            };
            if !theirs {
                continue;
            }
            for (_, device, word) in tasks.attempts(&key) {
                match word.map(|word| word.sum) {
                    _ if matches!(of, Of::Peer(peer) if peer != device) => {}
                    Some(Some(sum)) => used = used.and(sum),
                    Some(None) => stats.attempts_unmeasured += 1,
                    None => {}
                }
            }
            let Some(balance) = tasks.balance(&key) else { continue };
            let done = balance.done.1;
            if matches!(of, Of::Peer(peer) if peer != done.device) {
                continue;
            }
            stats.tasks_executed += 1;
            let saved = balance.saved.map(|saved| saved.total_ug());
            stats.tasks_unaccounted += u64::from(saved.is_none());
            saved_ug = saved_ug.saturating_add(saved.unwrap_or(0));
            let waited = balance.deferred_ms > DEFERRED_MS;
            if waited {
                deferred += 1;
                deferred_ms = deferred_ms.saturating_add(balance.deferred_ms);
            }
            if month(done.at_ms) == this_month {
                stats.this_month.tasks_deferred += u64::from(waited);
                month_ug = month_ug.saturating_add(saved.unwrap_or(0));
            }
        }
        let clean = used.renewable_mj();
        stats.total_carbon_saved = saved_ug as f64 / UG_PER_KG;
        stats.this_month.carbon_saved = month_ug as f64 / UG_PER_KG;
        stats.energy_used_clean = clean as f64 / MJ_PER_WH;
        stats.energy_used_dirty = used.energy_mj.saturating_sub(clean) as f64 / MJ_PER_WH;
        stats.renewable_percent = used.renewable_bp() as f64 / 100.0;
        stats.average_deferral_time = match deferred {
            0 => 0.0,
            _ => deferred_ms as f64 / deferred as f64 / 3_600_000.0,
        };
        stats
    }
}
