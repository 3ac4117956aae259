//! Ads: a peer's signed, short-lived word about its energy and capacity. Not in the ledger.

use crate::canonical;
use crate::ids::{CommunityId, ProfileId};
use crate::key::{Domain, PublicKey, SecretKey, Signature};
use crate::reason::Reason;
use serde::{Deserialize, Serialize};

/// Longest time that an ad may hold, in milliseconds: a peer that went away without a word is not counted on for longer.
pub const MAX_HOLDS_MS: u32 = 10 * 60_000;

/// Most hours of an outlook: what forecasts cover, and what placement looks ahead.
pub const MAX_OUTLOOK: usize = 96;
/// Milliseconds of an hour.
pub const HOUR_MS: u64 = 3_600_000;

/// Where a device's energy comes from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Its own sun.
    Solar,
    /// Its own wind.
    Wind,
    /// Its own water.
    Hydro,
    /// A battery.
    Battery,
    /// The grid.
    Grid,
}

/// A claim about a device's energy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnergyClaim {
    /// Where it comes from.
    pub source: Source,
    /// How much of it is renewable, in percent.
    pub renewable_percent: u8,
    /// Grams of CO2 per kWh.
    pub g_per_kwh: u16,
}

/// What a device expects of its energy, and what its guests draw.
// spec: PLACE-1, NET-4
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// The first hour of the path, since 1970.
    pub hour: u32,
    /// Grams of CO2 per kWh expected of that hour and those after it, at most [`MAX_OUTLOOK`]; empty if it does not
    /// know.
    pub g_per_kwh: Vec<u16>,
    /// What the cleanest 30 % of its last 30 days' hours did not exceed, in g/kWh; none while it knows too few.
    pub low_g_per_kwh: Option<u16>,
    /// Watts of its own generation that its household does not use; none if it does not know.
    pub surplus_watts: Option<u32>,
    /// Watts that one busy slot draws.
    pub slot_watts: u16,
}

impl Outlook {
    /// mg CO2/kWh by the hour from `now_ms` on; empty where nothing is expected of now any more.
    pub fn path(&self, now_ms: u64) -> Vec<u32> {
        let passed = (now_ms / HOUR_MS).checked_sub(u64::from(self.hour));
        let passed = passed.and_then(|passed| usize::try_from(passed).ok()).unwrap_or(usize::MAX);
        self.g_per_kwh.iter().skip(passed).map(|grams| u32::from(*grams) * 1000).collect()
    }
}

/// What a device has and offers now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ad {
    /// In which community.
    pub community: CommunityId,
    /// Which device.
    pub device: PublicKey,
    /// Rises with each ad; an older one is never taken after a newer.
    pub serial: u64,
    /// Milliseconds for which it holds, from receipt.
    pub holds_ms: u32,
    /// Its energy; none if it does not know.
    pub energy: Option<EnergyClaim>,
    /// What it expects of it.
    pub outlook: Outlook,
    /// Tasks it could start now.
    pub free_slots: u16,
    /// Memory it could give to tasks now, in bytes.
    pub free_memory: u64,
    /// Longest task it takes, in milliseconds.
    pub longest_ms: u64,
    /// Its engine.
    pub profile: ProfileId,
    /// Why its owner does not share it now; none if they do.
    pub closed: Option<Reason>,
}

/// An ad with its device's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedAd {
    /// What is claimed.
    pub ad: Ad,
    /// By the device.
    pub signature: Signature,
}

impl Ad {
    /// Signs as the device.
    pub fn sign(self, key: &SecretKey) -> SignedAd {
        let signature = key.sign(Domain::Ad, &canonical::encode(&self));
        SignedAd { ad: self, signature }
    }
}

impl SignedAd {
    /// Did the device named in it sign it, and does it claim what can be?
    pub fn verify(&self) -> bool {
        let possible = self.ad.holds_ms <= MAX_HOLDS_MS
            && self.ad.outlook.g_per_kwh.len() <= MAX_OUTLOOK
            && self.ad.energy.is_none_or(|energy| energy.renewable_percent <= 100)
            && self.ad.closed.as_ref().is_none_or(|why| why.check().is_ok());
        possible && self.ad.device.verify(Domain::Ad, &canonical::encode(&self.ad), &self.signature).is_ok()
    }
}
