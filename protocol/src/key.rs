//! Keys and signatures: ed25519, with every kind of message in a domain of its own.

use crate::ids::{hex_or_bytes, in_order, to_hex};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a signature is about. A signature made in one domain means nothing in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// A [`Receipt`](crate::receipt::Receipt).
    Receipt,
    /// A [ledger entry](crate::ledger::Header).
    Entry,
    /// A [task](crate::task::TaskSpec).
    Task,
    /// A user's word for a [device](crate::invite::DeviceCert).
    Device,
    /// A [request to join](crate::invite::JoinRequest).
    Invite,
    /// A [request to become a member's device](crate::invite::DeviceRequest).
    DeviceInvite,
    /// An [ad](crate::ad::Ad).
    Ad,
    /// A receipt's [public part](crate::ledger::Statement).
    Statement,
    /// The [replacement](crate::ledger::Rotation) of a user's key.
    Rotation,
    /// The new key's word that it [takes the place](crate::ledger::Rotation) of that user's.
    Successor,
    /// A device's word [whose](crate::invite::consent) it is.
    Consent,
    /// A user's word that a [request to join](crate::invite::JoinRequest) is theirs.
    Join,
    /// A user's word that a device is theirs [no more](crate::ledger::Revocation).
    Revocation,
    /// A meter's word for a [reading](crate::energy::Reading).
    Meter,
}

impl Domain {
    fn prefix(self) -> &'static [u8] {
        match self {
            Self::Receipt => b"taskmesh/receipt/1\0",
            Self::Entry => b"taskmesh/entry/1\0",
            Self::Task => b"taskmesh/task/1\0",
            Self::Device => b"taskmesh/device/1\0",
            Self::Invite => b"taskmesh/invite/1\0",
            Self::DeviceInvite => b"taskmesh/device-invite/1\0",
            Self::Ad => b"taskmesh/ad/1\0",
            Self::Statement => b"taskmesh/statement/1\0",
            Self::Rotation => b"taskmesh/rotation/1\0",
            Self::Successor => b"taskmesh/successor/1\0",
            Self::Consent => b"taskmesh/consent/1\0",
            Self::Join => b"taskmesh/join/1\0",
            Self::Revocation => b"taskmesh/revocation/1\0",
            Self::Meter => b"taskmesh/meter/1\0",
        }
    }
}

/// A device's or user's public key.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKey(#[serde(with = "hex_or_bytes")] pub [u8; 32]);

in_order!(PublicKey);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}
impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", to_hex(&self.0[..5]))
    }
}

impl PublicKey {
    /// The first ten hex digits, for logs and tables.
    pub fn short(&self) -> String {
        to_hex(&self.0[..5])
    }
}

impl std::str::FromStr for PublicKey {
    type Err = crate::ids::IdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        crate::ids::from_hex(text).map(Self)
    }
}

/// A person's public key. Not a device's, so that neither is taken for the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UserKey(pub PublicKey);

impl fmt::Display for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserKey({})", self.0.short())
    }
}

/// A signature over a message in a [`Domain`].
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature(#[serde(with = "hex_or_bytes")] pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({}…)", to_hex(&self.0[..5]))
    }
}

/// The signature was not made by that key over that message in that domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("verify the signature: it does not belong to this key and content")]
pub struct BadSignature;

/// A key that signs. Never printed.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key grown from 32 random bytes, which are the secret.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The bytes that it was grown from, for the transport, which proves the same identity in its own way.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The key that others know this one by.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message` in `domain`.
    pub fn sign(&self, domain: Domain, message: &[u8]) -> Signature {
        Signature(self.0.sign(&[domain.prefix(), message].concat()).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?})", self.public())
    }
}

impl PublicKey {
    /// Checks a signature strictly: weak keys and malleable signatures are refused.
    pub fn verify(&self, domain: Domain, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| BadSignature)?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(&[domain.prefix(), message].concat(), &signature).map_err(|_| BadSignature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_belongs_to_key_domain_and_message() {
        let key = SecretKey::from_seed(&[7; 32]);
        let signature = key.sign(Domain::Receipt, b"message");
        assert_eq!(key.public().verify(Domain::Receipt, b"message", &signature), Ok(()));
        assert_eq!(key.public().verify(Domain::Receipt, b"massage", &signature), Err(BadSignature));
        let other = SecretKey::from_seed(&[8; 32]).public();
        assert_eq!(other.verify(Domain::Receipt, b"message", &signature), Err(BadSignature));
        // The same bytes signed without the domain's prefix are no receipt.
        let bare = Signature(SigningKey::from_bytes(&[7; 32]).sign(b"message").to_bytes());
        assert_eq!(key.public().verify(Domain::Receipt, b"message", &bare), Err(BadSignature));
    }

    #[test]
    fn weak_keys_verify_nothing() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey(identity).verify(Domain::Receipt, b"", &Signature([0; 64])), Err(BadSignature));
    }
}
