//! The ledger: one append-only log per device, every entry signed by that device.
//!
//! The header is what is signed; the payload stands beside it and may one day be pruned, the header stays. An entry's
//! id is the hash of its header, so it names the payload too.
// spec: LED-1

mod payload;

pub use payload::*;

use crate::canonical::{self, DecodeError};
use crate::ids::{CommunityId, Digest, EntryId};
use crate::key::{BadSignature, Domain, PublicKey, SecretKey, Signature};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Version of [`Header`]'s shape.
pub const VERSION: u8 = 1;
/// Most bytes of a payload: it travels in gossip, and everybody keeps it.
pub const MAX_PAYLOAD: usize = 4096;
/// Most tips of other logs that one entry names. More than a peer usually hears of between two entries of its own; the
/// next entry names the rest.
pub const MAX_REFS: usize = 8;
/// Most bytes of an entry as it travels: a payload, eight refs, and the rest of the header with room to spare.
pub const MAX_ENTRY: usize = MAX_PAYLOAD + 1024;

/// A hybrid logical clock: milliseconds since 1970 above, a counter in the low 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The first reading of a millisecond.
    pub fn at(wall_ms: u64) -> Self {
        Self(wall_ms.min(u64::MAX >> 16) << 16)
    }

    /// Its milliseconds since 1970.
    pub fn wall_ms(self) -> u64 {
        self.0 >> 16
    }

    /// The next reading: at least the wall clock, and later than `self`.
    #[must_use]
    pub fn next(self, wall_ms: u64) -> Self {
        Self::at(wall_ms).max(Self(self.0.saturating_add(1)))
    }
}

/// The end of a log as somebody knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tip {
    /// Whose log.
    pub author: PublicKey,
    /// The last entry's place in it.
    pub seq: u64,
    /// The last entry's id. Heights alone would hide forks.
    pub id: EntryId,
}

/// What an author signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub version: u8,
    /// The community, or all zeros in the entry that founds one.
    pub community: CommunityId,
    /// The device that writes this log.
    pub author: PublicKey,
    /// Its place in the log, from 0.
    pub seq: u64,
    /// The entry before it, or all zeros.
    pub prev: EntryId,
    /// Tips of other logs that the author had seen and not yet named.
    pub refs: Vec<Tip>,
    /// When, by the author's clock; later than `prev` and all of `refs`.
    pub hlc: Hlc,
    /// [`Payload::kind`].
    pub kind: u8,
    /// Bytes of the payload.
    pub payload_len: u16,
    /// Hash of the payload.
    pub payload_hash: Digest,
}

impl Header {
    /// The entry's name.
    pub fn id(&self) -> EntryId {
        Self::id_of(&canonical::encode(self))
    }

    fn id_of(bytes: &[u8]) -> EntryId {
        let mut hasher = blake3::Hasher::new_derive_key("taskmesh ledger entry v1");
        EntryId(*hasher.update(bytes).finalize().as_bytes())
    }

    /// The community that this entry belongs to: the one it founds, if it founds one.
    pub fn belongs_to(&self) -> CommunityId {
        if self.community == CommunityId::ZERO { CommunityId(self.id().0) } else { self.community }
    }
}

/// A header and its author's signature: enough to prove a fork.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHeader {
    /// What was signed.
    pub header: Header,
    /// By its author.
    pub signature: Signature,
}

impl SignedHeader {
    /// Did the author named in it sign it?
    pub fn verify(&self) -> Result<(), BadSignature> {
        self.header.author.verify(Domain::Entry, &canonical::encode(&self.header), &self.signature)
    }
}

/// Bytes of an entry that follow its header's.
fn after_header(payload: &[u8]) -> usize {
    let length = if payload.len() < 0x80 { 1 } else { 2 };
    size_of::<Signature>() + length + payload.len()
}

#[derive(Serialize, Deserialize)]
struct Wire {
    signed: SignedHeader,
    // The same bytes as without it, in one piece.
    #[serde(with = "serde_bytes")]
    payload: Vec<u8>,
}

/// Why bytes are no entry. Nothing of them was taken.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Longer than any entry.
    #[error("read a ledger entry: it has {0} bytes, at most {MAX_ENTRY} are allowed")]
    TooLong(usize),
    /// Not an entry's bytes.
    #[error("read a ledger entry")]
    Decode(#[source] DecodeError),
    /// Written by another version of the program.
    #[error("read a ledger entry: it has version {0}, this program knows {VERSION}")]
    Version(u8),
    /// Header and payload do not belong together.
    #[error("read a ledger entry: its payload is not the one that was signed")]
    Payload,
    /// The payload is not of its kind.
    #[error("read a ledger entry of kind {kind}")]
    Kind {
        /// The header's kind.
        kind: u8,
        /// What is wrong with the payload.
        #[source]
        source: DecodeError,
    },
    /// A bound inside it is broken.
    #[error("read a ledger entry: {0}")]
    Bounds(&'static str),
    /// Somebody else signed it, or it was changed.
    #[error("read a ledger entry")]
    Signature(#[source] BadSignature),
}

/// An entry whose signature, hashes and shape were checked. There is no other way to get one than to write or verify
/// it, so whoever holds one need not check again.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    signed: SignedHeader,
    payload: Payload,
    bytes: Vec<u8>,
    id: EntryId,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.header();
        write!(f, "Entry({:?}/{} {:?})", header.author, header.seq, self.payload)
    }
}

impl Entry {
    /// Writes and signs the entry after `prev` of the key's own log.
    ///
    /// What [`Payload::check`] refuses is refused here: an entry that others do not take would end the log for good.
    pub fn try_write(key: &SecretKey, place: Place, payload: Payload) -> Result<Self, EntryError> {
        payload.check().map_err(EntryError::Bounds)?;
        if place.refs.len() > MAX_REFS {
            return Err(EntryError::Bounds("it names more tips of other logs than one entry may"));
        }
        Ok(Self::write(key, place, payload))
    }

    /// Writes and signs an entry without looking at what it says. Whoever reads it does look.
    pub fn write(key: &SecretKey, place: Place, payload: Payload) -> Self {
        let body = canonical::encode(&payload);
        let header = Header {
            version: VERSION,
            community: place.community,
            author: key.public(),
            seq: place.seq,
            prev: place.prev,
            refs: place.refs,
            hlc: place.hlc,
            kind: payload.kind(),
            payload_len: u16::try_from(body.len()).unwrap_or(u16::MAX),
            payload_hash: Digest(*blake3::hash(&body).as_bytes()),
        };
        let signature = key.sign(Domain::Entry, &canonical::encode(&header));
        let id = header.id();
        let wire = Wire { signed: SignedHeader { header, signature }, payload: body };
        let bytes = canonical::encode(&wire);
        Self { signed: wire.signed, payload, bytes, id }
    }

    /// Reads an entry and checks all that can be checked without any other.
    pub fn verify(bytes: &[u8]) -> Result<Self, EntryError> {
        let entry = Self::trusted(bytes)?;
        entry.signed.verify().map_err(EntryError::Signature)?;
        Ok(entry)
    }

    /// Reads an entry whose signature was verified before it was stored; checks everything but the signature.
    pub fn trusted(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY {
            return Err(EntryError::TooLong(bytes.len()));
        }
        let wire: Wire = canonical::decode(bytes).map_err(EntryError::Decode)?;
        let header = &wire.signed.header;
        if header.version != VERSION {
            return Err(EntryError::Version(header.version));
        }
        if header.refs.len() > MAX_REFS {
            return Err(EntryError::Bounds("it names more tips of other logs than one entry may"));
        }
        if wire.payload.len() > MAX_PAYLOAD {
            return Err(EntryError::Bounds("its payload is too long"));
        }
        if (header.seq == 0) != (header.prev == EntryId::ZERO) {
            return Err(EntryError::Bounds("only the first entry of a log has none before it"));
        }
        if header.payload_len as usize != wire.payload.len()
            || header.payload_hash.0 != *blake3::hash(&wire.payload).as_bytes()
        {
            return Err(EntryError::Payload);
        }
        let kind = header.kind;
        let payload: Payload =
            canonical::decode(&wire.payload).map_err(|source| EntryError::Kind { kind, source })?;
        if payload.kind() != kind {
            return Err(EntryError::Bounds("its kind is not its payload's"));
        }
        if (header.community == CommunityId::ZERO) != matches!(payload, Payload::Founded(_)) {
            return Err(EntryError::Bounds("only the entry that founds a community belongs to none"));
        }
        payload.check().map_err(EntryError::Bounds)?;
        // In canonical form the header's bytes are those before the signature, the payload's length and the payload.
        let after = after_header(&wire.payload);
        let id = Header::id_of(bytes.get(..bytes.len().saturating_sub(after)).unwrap_or_default());
        Ok(Self { signed: wire.signed, payload, bytes: bytes.to_vec(), id })
    }

    /// Its name.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// What was signed.
    pub fn header(&self) -> &Header {
        &self.signed.header
    }

    /// What was signed, with the signature.
    pub fn signed(&self) -> &SignedHeader {
        &self.signed
    }

    /// What it says.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// As it travels and is stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The end of its author's log if this is the last entry.
    pub fn tip(&self) -> Tip {
        Tip { author: self.header().author, seq: self.header().seq, id: self.id }
    }
}

/// Where an entry is to stand.
#[derive(Debug, Clone)]
pub struct Place {
    /// The community, or all zeros to found one.
    pub community: CommunityId,
    /// The place in the log.
    pub seq: u64,
    /// The entry before.
    pub prev: EntryId,
    /// Tips of other logs seen since.
    pub refs: Vec<Tip>,
    /// When.
    pub hlc: Hlc,
}

/// Two signed headers of one author at one place of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkProof {
    /// One of them: the one with the smaller id.
    pub a: SignedHeader,
    /// The other.
    pub b: SignedHeader,
}

impl ForkProof {
    /// Proves that the author of two entries forked its log, if it did.
    // spec: LED-5
    pub fn of(a: &SignedHeader, b: &SignedHeader) -> Option<Self> {
        let (x, y) = (&a.header, &b.header);
        let forked =
            x.author == y.author && x.seq == y.seq && x.belongs_to() == y.belongs_to() && x.id() != y.id();
        let ordered = if x.id() < y.id() { (a, b) } else { (b, a) };
        forked.then(|| Self { a: ordered.0.clone(), b: ordered.1.clone() })
    }

    /// The log and the place from which on it does not count, if this proves a fork.
    pub fn verify(&self) -> Option<(PublicKey, u64)> {
        let same = Self::of(&self.a, &self.b)? == *self;
        let signed = self.a.verify().is_ok() && self.b.verify().is_ok();
        (same && signed).then_some((self.a.header.author, self.a.header.seq))
    }
}
