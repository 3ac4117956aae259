//! How somebody comes in: tickets, requests to join, and a user's word for their devices.
// spec: NET-1, NET-2

use crate::canonical;
use crate::ids::CommunityId;
use crate::key::{Domain, PublicKey, SecretKey, Signature, UserKey};
use crate::ledger::is_name;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A user's word that a device is theirs, and which part of their daily quota it may use. Beside such words a user's own
/// key signs only a request to join, revocations, and that it takes the place of the key before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCert {
    /// In which community; all zeros in the entry that founds it.
    pub community: CommunityId,
    /// Whose device.
    pub user: UserKey,
    /// Which device.
    pub device: PublicKey,
    /// Thousandths of the user's daily quota.
    pub share: u16,
    /// Rises with each word about the same device; the highest counts.
    pub serial: u32,
    /// By the user's key.
    pub signature: Signature,
    /// By the device's, that it is that user's: nobody certifies what is somebody else's.
    pub consent: Signature,
}

/// A device's word that it is `user`'s.
pub fn consent(device: &SecretKey, community: &CommunityId, user: &UserKey) -> Signature {
    device.sign(Domain::Consent, &canonical::encode(&(community, user, device.public())))
}

impl DeviceCert {
    fn message(
        community: &CommunityId,
        user: &UserKey,
        device: &PublicKey,
        share: u16,
        serial: u32,
    ) -> Vec<u8> {
        canonical::encode(&(community, user, device, share, serial))
    }

    /// Signs as the user, for a device that gave its [`consent`].
    pub fn sign(
        key: &SecretKey,
        community: CommunityId,
        device: PublicKey,
        consent: Signature,
        share: u16,
        serial: u32,
    ) -> Self {
        let user = UserKey(key.public());
        let message = Self::message(&community, &user, &device, share, serial);
        let signature = key.sign(Domain::Device, &message);
        Self { community, user, device, share, serial, signature, consent }
    }

    /// The same for a device whose key is at hand.
    pub fn of(key: &SecretKey, community: CommunityId, device: &SecretKey, share: u16, serial: u32) -> Self {
        let consent = consent(device, &community, &UserKey(key.public()));
        Self::sign(key, community, device.public(), consent, share, serial)
    }

    /// Did the user and the device named in it sign it, and does it give no more than there is?
    pub fn verify(&self) -> bool {
        let message = Self::message(&self.community, &self.user, &self.device, self.share, self.serial);
        let theirs = canonical::encode(&(&self.community, &self.user, &self.device));
        self.share <= 1000
            && self.user.0.verify(Domain::Device, &message, &self.signature).is_ok()
            && self.device.verify(Domain::Consent, &theirs, &self.consent).is_ok()
    }
}

/// What somebody asks who holds a ticket. It stands in the ledger once a member vouched for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Who asks: a new member, or a member with a new device.
    pub user: UserKey,
    /// What they are called.
    pub user_name: String,
    /// The only key that can replace the user's.
    pub recovery: PublicKey,
    /// What their device is called.
    pub device_name: String,
    /// The user's word for the device.
    pub cert: DeviceCert,
    /// The ticket's key.
    pub invite: PublicKey,
    /// By the user's key over all of the above: a sponsor who makes a ticket cannot put in another recovery key.
    pub word: Signature,
    /// By the ticket's key over the same.
    pub signature: Signature,
}

impl JoinRequest {
    fn message(&self) -> Vec<u8> {
        canonical::encode(&(
            &self.user,
            &self.user_name,
            &self.recovery,
            &self.device_name,
            &self.cert,
            &self.invite,
        ))
    }

    /// Signs with the user's and the ticket's key.
    pub fn sign(mut self, user: &SecretKey, ticket: &SecretKey) -> Self {
        self.invite = ticket.public();
        self.word = user.sign(Domain::Join, &self.message());
        self.signature = ticket.sign(Domain::Invite, &self.message());
        self
    }

    /// Is it what the ticket's holder asked, for a device that the user vouches for, in this community?
    pub fn verify(&self, community: &CommunityId) -> bool {
        self.cert.community == *community
            && self.cert.user == self.user
            && self.cert.verify()
            && self.user.0.verify(Domain::Join, &self.message(), &self.word).is_ok()
            && self.invite.verify(Domain::Invite, &self.message(), &self.signature).is_ok()
    }

    /// Are its inner bounds kept?
    // spec: ARC-7
    pub fn check(&self) -> Result<(), &'static str> {
        if is_name(&self.user_name) && is_name(&self.device_name) {
            Ok(())
        } else {
            Err("a name in it is empty, too long or not plain text")
        }
    }
}

/// A device that asks to be one more of a member's. The member's own node answers it with a [`DeviceCert`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// What the device is called.
    pub device_name: String,
    /// The device.
    pub device: PublicKey,
    /// Its word that it is the user's who made the ticket.
    pub consent: Signature,
    /// The ticket's key.
    pub invite: PublicKey,
    /// By the ticket's key over all of the above.
    pub signature: Signature,
}

impl DeviceRequest {
    fn message(&self) -> Vec<u8> {
        canonical::encode(&(&self.device_name, &self.device, &self.consent, &self.invite))
    }

    /// Signs with the ticket's key.
    pub fn sign(device_name: String, device: PublicKey, consent: Signature, ticket: &SecretKey) -> Self {
        let signature = Signature([0; 64]);
        let mut this = Self { device_name, device, consent, invite: ticket.public(), signature };
        this.signature = ticket.sign(Domain::DeviceInvite, &this.message());
        this
    }

    /// Is it what the ticket's holder asked?
    pub fn verify(&self) -> bool {
        self.invite.verify(Domain::DeviceInvite, &self.message(), &self.signature).is_ok()
    }

    /// Are its inner bounds kept?
    // spec: ARC-7
    pub fn check(&self) -> Result<(), &'static str> {
        if is_name(&self.device_name) {
            Ok(())
        } else {
            Err("a name in it is empty, too long or not plain text")
        }
    }
}

/// What a ticket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TicketKind {
    /// A new member.
    Member,
    /// One more device of the member who made it.
    Device,
}

/// Lets one holder ask to join, once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// What it is for.
    pub kind: TicketKind,
    /// Which community.
    pub community: CommunityId,
    /// What it is called.
    pub name: String,
    /// The secret that proves that one holds the ticket.
    pub secret: [u8; 32],
    /// Who made it and where they can be reached.
    pub sponsor: PublicKey,
    /// Whose device that is.
    pub user: UserKey,
    /// Where to dial.
    pub addrs: Vec<SocketAddr>,
    /// Until when, in milliseconds since 1970.
    pub until_ms: u64,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("community", &self.community).finish_non_exhaustive()
    }
}

/// Why a text is no ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Something else altogether.
    #[error("read the ticket: it must start with {PREFIX:?}")]
    NotATicket,
    /// Cut off or mistyped.
    #[error("read the ticket: it is damaged; copy it whole, without line breaks")]
    Damaged,
}

const PREFIX: &str = "mesh1";
/// Most addresses in a ticket: one for each way to a device that has two networks, old and new addresses and a relay.
const MAX_ADDRS: usize = 16;

impl std::fmt::Display for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = canonical::encode(self);
        // Four bytes of a hash tell a typing mistake from a wrong ticket.
        let check = blake3::hash(&bytes);
        write!(f, "{PREFIX}{}{}", crate::ids::to_hex(&bytes), crate::ids::to_hex(&check.as_bytes()[..4]))
    }
}

impl std::str::FromStr for Ticket {
    type Err = TicketError;
    fn from_str(text: &str) -> Result<Self, TicketError> {
        let digits = text.trim().strip_prefix(PREFIX).ok_or(TicketError::NotATicket)?;
        // A ticket with sixteen addresses has fewer than a thousand bytes.
        if digits.len() > 4096 || !digits.len().is_multiple_of(2) {
            return Err(TicketError::Damaged);
        }
        let bytes: Vec<u8> = digits
            .as_bytes()
            .chunks_exact(2)
            .map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| crate::ids::from_hex::<1>(pair).ok()))
            .map(|byte| byte.map(|[byte]| byte))
            .collect::<Option<_>>()
            .ok_or(TicketError::Damaged)?;
        let (body, check) = bytes.split_last_chunk::<4>().ok_or(TicketError::Damaged)?;
        if blake3::hash(body).as_bytes()[..4] != check[..] {
            return Err(TicketError::Damaged);
        }
        let ticket: Self = canonical::decode(body).map_err(|_| TicketError::Damaged)?;
        if ticket.addrs.len() > MAX_ADDRS || !is_name(&ticket.name) {
            return Err(TicketError::Damaged);
        }
        Ok(ticket)
    }
}
