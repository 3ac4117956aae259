//! Why a task waits, was refused, paused or stopped: one closed list, the same words everywhere.

use crate::text::sanitise;
use serde::{Deserialize, Serialize};

/// Most bytes of somebody's own words in a reason: two sentences. It travels, and some reasons stand in the ledger.
pub const MAX_WORDS: usize = 280;

/// A reason, with what a person needs to understand it.
// spec: DEL-2, DEL-9
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The peer belongs to another community.
    #[error("it is for another community")]
    OtherCommunity,
    /// A signature is wrong.
    #[error("its signature does not belong to its submitter")]
    BadSignature,
    /// The submitter is no member, or one no longer.
    #[error("its submitter is not a member")]
    NotAMember,
    /// There is no grant for it.
    #[error("no grant lets it run there")]
    NoGrant,
    /// There was a grant.
    #[error("the grant for it has expired")]
    GrantExpired,
    /// There was a grant.
    #[error("the grant for it was revoked")]
    GrantRevoked,
    /// The device does not take tasks of this name.
    #[error("the device takes no tasks of that name")]
    NameNotAccepted,
    /// It wants to touch what the device or the grant does not give.
    #[error("it asks for {0}, which is not granted")]
    NotGranted(String),
    /// The donor's record of the submitter's log ends too early to count.
    #[error("the donor has not seen the submitter's log up to the offer")]
    LogBehind,
    /// The submitter has had their share of the day.
    #[error("the day's quota is used up")]
    OverQuota,
    /// Its votes do not say so.
    #[error("its importance is not what the votes say")]
    ImportanceDisputed,
    /// The energy there is not what its service level wants.
    #[error("the energy there is not clean enough for it")]
    EnergyNotClean,
    /// It wants more than the device or its submitter's tier gives.
    #[error("it asks for {wanted} {what}, and at most {given} are given")]
    TooLarge {
        /// Of what.
        what: String,
        /// What it asks for.
        wanted: u64,
        /// What there is.
        given: u64,
    },
    /// The device is busy.
    #[error("the device has no free slot")]
    NoCapacity,
    /// The device's owner does not share it now.
    #[error("the device is paused by its owner")]
    DonorPaused,
    /// The device ends what it runs and takes no more.
    #[error("the device is finishing and takes no more tasks")]
    DonorFinishing,
    /// An attempt of a higher number is known.
    #[error("a later attempt has been made")]
    Fenced,
    /// The lease ended before it was renewed.
    #[error("its lease ended")]
    LeaseEnded,
    /// The peer is not heard of.
    #[error("the peer was not heard of for too long")]
    PeerSilent,
    /// The connection is gone.
    #[error("the peer is not connected")]
    NotConnected,
    /// What it needs did not arrive.
    #[error("its module or inputs could not be fetched: {0}")]
    NotFetched(String),
    /// It cannot run at all.
    #[error("the sandbox refused it: {0}")]
    Inadmissible(String),
    /// The sandbox, not the task, failed.
    #[error("the sandbox failed: {0}")]
    SandboxFailed(String),
    /// Its result does not hold.
    #[error("its result does not hold: {0}")]
    BadResult(String),
    /// A person ended it.
    #[error("its owner ended the delegation")]
    VetoedByOwner,
    /// A person ended it.
    #[error("the device's owner ended it")]
    VetoedByDonor,
    /// Its owner took it back.
    #[error("its owner cancelled it")]
    Cancelled,
    /// Nobody could take it.
    #[error("no peer that may run it is there")]
    NoPeer,
    /// It was tried as often as allowed.
    #[error("it was tried {0} times")]
    TooManyAttempts(u32),
    /// The peer does not know of it.
    #[error("the peer has no record of it")]
    Unknown,
    /// The disk is full or broken.
    #[error("the peer cannot store anything: {0}")]
    StorageFailed(String),
    /// The device cannot add to its log yet.
    #[error("the device is settling its log after an unclean start, or wrote too much in this hour")]
    LogNotReady,
    /// The process that ran it ended.
    #[error("the device was restarted")]
    Restarted,
    /// Its submitter trusts other members only.
    #[error("its submitter does not trust that member")]
    NotTrusted,
    /// Its submitter, or a veto, named the one device it may run on.
    #[error("it is to run on another device only")]
    Elsewhere,
    /// It has computed for longer than it may.
    #[error("the peer let it run for longer than it may")]
    Overdue,
    /// The members have not decided yet.
    #[error("its ballot is still open")]
    BallotOpen,
    /// Voted unimportant, it had four weeks.
    #[error("in four weeks no peer had enough energy of its own for a task voted NON_CRITICAL")]
    NeverEnoughEnergy,
    /// By the donor's hours.
    #[error("its owner shares the device at other hours")]
    OutsideHours,
    /// By the donor's rule.
    #[error("the device runs on battery, and its owner shares it on mains only")]
    OnBattery,
    /// By the donor's rule.
    #[error("the device's battery is at {percent} %, its owner keeps {floor} %")]
    BatteryLow {
        /// How full it is.
        percent: u8,
        /// How full it stays.
        floor: u8,
    },
    /// By the donor's rule.
    #[error("other programs use {percent} % of the device, its owner shares it up to {most} %")]
    DeviceBusy {
        /// How much others use.
        percent: u8,
        /// Up to how much it is shared.
        most: u8,
    },
    /// By the donor's rule.
    #[error("the device has no surplus of its own sun, and its owner shares nothing else")]
    NoSurplus,
    /// By the donor's rule.
    #[error("the device has uploaded as much today as its owner lets it")]
    UploadUsedUp,
    /// What a task that runs on sun alone waits for.
    #[error("there is no sun for it there now")]
    NoSun,
    /// What a task that runs on wind alone waits for.
    #[error("there is not enough wind for it there now")]
    NoWind,
    /// By its owner's plan.
    #[error("its owner expects cleaner energy later")]
    CleanerLater,
    /// By its owner's plan.
    #[error("it goes on where energy is cleaner")]
    CleanerElsewhere,
    /// Its submitter had set an end to waiting.
    #[error("no peer had the energy that it waits for in time")]
    Expired,
    /// A program of the donor's that is asked about each offer said no.
    #[error("the device's owner refuses it: {0}")]
    RefusedByOwner(String),
    /// It said not now.
    #[error("the device's owner says later: {0}")]
    PutOffByOwner(String),
    /// Replicas run on different owners' peers.
    #[error("that owner's peers run, or ran, another replica of it")]
    SameOwner,
    /// Too few replicas agreed.
    #[error("of its {replicas} replicas {agreed} agreed on one result, and {quorum} had to")]
    NoQuorum {
        /// On the result that most agreed on.
        agreed: u8,
        /// How many had to.
        quorum: u8,
        /// How many there were to be.
        replicas: u8,
    },
    /// Its result is in, or the others' were shown before it had one.
    #[error("the other replicas' results were shown before it had one")]
    TooLate,
    /// Its owner was put out, or took the device back.
    #[error("the device is no member's any more")]
    NoMembersDevice,
    /// Nothing is known against its result, but it could not be had.
    #[error("its result could not be fetched: {0}")]
    ResultNotFetched(String),
    /// It says to be of another time, and the donor has not said yet since when it has it.
    #[error("it was submitted before this device heard of it, which takes a minute to be witnessed")]
    Unwitnessed,
}

/// Of what a peer may give a reason to others; each may say what those after it say, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Speaks {
    /// Of nothing: whose task it is comes to that by themselves.
    Nothing,
    /// Of an attempt that it does not take, or gave up.
    Attempts,
    /// Of an attempt that stands still there.
    Holds,
    /// Of itself, as long as it takes nothing.
    Itself,
}

/// Bytes of the words that stay of a reason which was shortened.
const FEW_WORDS: usize = 40;

impl Reason {
    /// What a device that runs others' tasks may say.
    fn speaks(&self) -> Speaks {
        match self {
            Self::VetoedByOwner
            | Self::Cancelled
            | Self::NoPeer
            | Self::TooManyAttempts(_)
            | Self::PeerSilent
            | Self::NotConnected
            | Self::NotTrusted
            | Self::SameOwner
            | Self::NoQuorum { .. }
            | Self::TooLate
            | Self::NoMembersDevice
            | Self::ResultNotFetched(_)
            | Self::Overdue
            | Self::BadResult(_)
            | Self::Expired
            | Self::CleanerElsewhere => Speaks::Nothing,
            Self::OtherCommunity
            | Self::BadSignature
            | Self::NotAMember
            | Self::NoGrant
            | Self::GrantExpired
            | Self::GrantRevoked
            | Self::NameNotAccepted
            | Self::NotGranted(_)
            | Self::LogBehind
            | Self::Unwitnessed
            | Self::Inadmissible(_)
            | Self::OverQuota
            | Self::BallotOpen
            | Self::ImportanceDisputed
            | Self::Elsewhere
            | Self::NeverEnoughEnergy
            | Self::TooLarge { .. }
            | Self::NoCapacity
            | Self::Fenced
            | Self::LogNotReady
            | Self::RefusedByOwner(_)
            | Self::PutOffByOwner(_)
            | Self::Restarted
            | Self::LeaseEnded
            | Self::SandboxFailed(_)
            | Self::VetoedByDonor
            | Self::Unknown
            | Self::StorageFailed(_)
            | Self::NotFetched(_) => Speaks::Attempts,
            Self::EnergyNotClean | Self::NoSun | Self::NoWind | Self::CleanerLater => Speaks::Holds,
            Self::DonorPaused
            | Self::DonorFinishing
            | Self::OutsideHours
            | Self::OnBattery
            | Self::BatteryLow { .. }
            | Self::DeviceBusy { .. }
            | Self::NoSurplus
            | Self::UploadUsedUp => Speaks::Itself,
        }
    }

    /// As a donor's word of an attempt that it does not take or gave up: what only whose task it is can say is nothing that
    /// is known.
    // spec: DEL-3
    #[must_use]
    pub fn heard_of_attempt(self) -> Self {
        if self.speaks() < Speaks::Attempts { Self::Unknown } else { self }
    }

    /// As a donor's word of why an attempt stands still there, if it may be for that.
    // spec: DEL-7
    #[must_use]
    pub fn heard_of_hold(self) -> Option<Self> {
        Some(self).filter(|reason| reason.speaks() >= Speaks::Holds)
    }

    /// As a donor's word of why it takes nothing now.
    // spec: PERM-5
    #[must_use]
    pub fn heard_of_device(self) -> Self {
        if self.speaks() < Speaks::Itself { Self::DonorPaused } else { self }
    }

    fn words(&self) -> Option<&str> {
        match self {
            Self::NotGranted(words)
            | Self::TooLarge { what: words, .. }
            | Self::NotFetched(words)
            | Self::Inadmissible(words)
            | Self::SandboxFailed(words)
            | Self::BadResult(words)
            | Self::ResultNotFetched(words)
            | Self::StorageFailed(words)
            | Self::RefusedByOwner(words)
            | Self::PutOffByOwner(words) => Some(words),
            _ => None,
        }
    }

    fn words_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::NotGranted(words)
            | Self::TooLarge { what: words, .. }
            | Self::NotFetched(words)
            | Self::Inadmissible(words)
            | Self::SandboxFailed(words)
            | Self::BadResult(words)
            | Self::ResultNotFetched(words)
            | Self::StorageFailed(words)
            | Self::RefusedByOwner(words)
            | Self::PutOffByOwner(words) => Some(words),
            _ => None,
        }
    }

    /// Are the words in it few and plain enough to travel?
    // spec: ARC-7
    pub fn check(&self) -> Result<(), &'static str> {
        let fit =
            self.words().is_none_or(|words| words.len() <= MAX_WORDS && sanitise(words, false) == words);
        if fit { Ok(()) } else { Err("the words of a reason in it are too long or not plain") }
    }

    /// The beginning of its words only, for where very many are kept.
    pub fn shorten(&mut self) {
        if let Some(words) = self.words_mut().filter(|words| words.len() > FEW_WORDS) {
            words.truncate(words.floor_char_boundary(FEW_WORDS));
            words.push('…');
        }
    }

    /// The same reason, its words made plain and cut off where they are too long: errors quote what they stumbled over.
    #[must_use]
    pub fn fit(mut self) -> Self {
        if let Some(words) = self.words_mut() {
            *words = sanitise(words, false);
            words.truncate(words.floor_char_boundary(MAX_WORDS));
        }
        self
    }
}
