//! Ads: a peer's signed, short-lived word about its energy and capacity. Not in the ledger.

use crate::canonical;
use crate::ids::{CommunityId, ProfileId};
use crate::key::{Domain, PublicKey, SecretKey, Signature};
use serde::{Deserialize, Serialize};

/// Longest time that an ad may hold, in milliseconds: a peer that went away without a word is not counted on for longer.
pub const MAX_HOLDS_MS: u32 = 10 * 60_000;

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
    /// Tasks it could start now.
    pub free_slots: u16,
    /// Memory it could give to tasks now, in bytes.
    pub free_memory: u64,
    /// Longest task it takes, in milliseconds.
    pub longest_ms: u64,
    /// Its engine.
    pub profile: ProfileId,
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
            && self.ad.energy.is_none_or(|energy| energy.renewable_percent <= 100);
        possible && self.ad.device.verify(Domain::Ad, &canonical::encode(&self.ad), &self.signature).is_ok()
    }
}
