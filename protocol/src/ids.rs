//! Names of things: 32-byte hashes, each a type of its own so that none is taken for another.

use std::fmt;
use std::str::FromStr;

/// Why a text is not a 32-byte id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read an id: it needs 64 lower-case hex digits")]
pub struct IdError;

/// Writes bytes as lower-case hex.
pub fn to_hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Reads lower-case hex of exactly `N` bytes. Upper case is refused, so that one value has one spelling.
pub fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], IdError> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return Err(IdError);
    }
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(IdError),
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Ok(bytes)
}

/// Serialises fixed bytes as hex for people and as plain bytes on the wire.
pub(crate) mod hex_or_bytes {
    use super::{from_hex, to_hex};
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::{SerializeTuple, Serializer};

    pub(crate) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(&to_hex(bytes));
        }
        let mut tuple = serializer.serialize_tuple(N)?;
        for byte in bytes {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            return from_hex(&text).map_err(D::Error::custom);
        }
        struct Bytes<const N: usize>;
        impl<'de, const N: usize> serde::de::Visitor<'de> for Bytes<N> {
            type Value = [u8; N];
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{N} bytes")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<[u8; N], A::Error> {
                let mut bytes = [0; N];
                for (index, byte) in bytes.iter_mut().enumerate() {
                    *byte = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(index, &self))?;
                }
                Ok(bytes)
            }
        }
        deserializer.deserialize_tuple(N, Bytes::<N>)
    }
}

/// Orders a tuple of 32 bytes as those bytes, by the first eight of them where they differ, as those of hashes and keys
/// do: a ledger lives in maps of such keys, and comparing them through a call for each took a fifth of reading it.
macro_rules! in_order {
    ($name:ident) => {
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                let first = |[a, b, c, d, e, f, g, h, ..]: &[u8; 32]| {
                    u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])
                };
                first(&self.0).cmp(&first(&other.0)).then_with(|| self.0.cmp(&other.0))
            }
        }
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
    };
}
pub(crate) use in_order;

macro_rules! hash_id {
    ($(#[$doc:meta] $name:ident)*) => {$(
        #[$doc]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub struct $name(#[serde(with = "hex_or_bytes")] pub [u8; 32]);

        in_order!($name);

        impl $name {
            /// All zeros: stands where there is nothing to name.
            pub const ZERO: Self = Self([0; 32]);

            /// The first ten hex digits, for logs and tables.
            pub fn short(&self) -> String {
                to_hex(&self.0[..5])
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_hex(&self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                from_hex(text).map(Self)
            }
        }
    )*};
}

hash_id! {
    /// BLAKE3 of a module's bytes.
    ModuleHash
    /// Hash of who submits what with which input and arguments, and a nonce.
    TaskId
    /// Hash of everything a task is given to read: stdin and named inputs.
    InputHash
    /// Hash of an [`EngineProfile`](crate::profile::EngineProfile).
    ProfileId
    /// Hash of bytes or of a tree of files.
    Digest
    /// Plain BLAKE3 of bytes that peers fetch from each other.
    BlobHash
    /// Hash of a ledger entry's signed header.
    EntryId
    /// Hash of the entry that founded a community.
    CommunityId
    /// Hash of something under a task's own salt: shows to whom knows both, and to nobody else, what it was.
    Commitment
}

impl ModuleHash {
    /// Names a module by its bytes.
    pub fn of(module: &[u8]) -> Self {
        Self(*blake3::hash(module).as_bytes())
    }
}

impl From<ModuleHash> for BlobHash {
    fn from(module: ModuleHash) -> Self {
        Self(module.0)
    }
}

impl Commitment {
    /// Commits to `bytes` under `salt`. Small inputs could be guessed from a plain hash.
    // spec: LED-2
    pub fn new(salt: &[u8; 32], bytes: &[u8]) -> Self {
        Self(*blake3::keyed_hash(salt, bytes).as_bytes())
    }
}

impl TaskId {
    /// The id of a task; `nonce` tells apart submissions that are otherwise the same.
    pub fn new(
        submitter: &crate::key::PublicKey,
        module: &ModuleHash,
        input: &InputHash,
        args: &[String],
        env: &[(String, String)],
        nonce: &[u8; 32],
    ) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("taskmesh task id v1");
        hasher.update(&submitter.0).update(&module.0).update(&input.0).update(nonce);
        // Lengths first, so that ["ab"] and ["a", "b"] differ.
        hasher.update(&(args.len() as u64).to_le_bytes());
        let pairs = env.iter().flat_map(|(key, value)| [key, value]);
        for text in args.iter().chain(pairs) {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The seed of everything random that the task sees.
    // spec: SBX-13
    pub fn random_seed(&self, input: &InputHash) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("taskmesh task randomness v1");
        *hasher.update(&self.0).update(&input.0).finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: LED-3
    #[test]
    fn ids_are_in_the_order_of_their_bytes() {
        let mut ids = Vec::new();
        for at in [0, 7, 8, 31] {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut id = [0x80; 32];
                id[at] = byte;
                ids.push(id);
            }
        }
        for a in &ids {
            for b in &ids {
                assert_eq!(Digest(*a).cmp(&Digest(*b)), a.cmp(b), "{a:?} {b:?}");
                assert_eq!(crate::key::PublicKey(*a) < crate::key::PublicKey(*b), a < b);
            }
        }
    }

    #[test]
    fn hex_has_one_spelling() {
        let id = Digest([0xab; 32]);
        assert_eq!(id.to_string().parse::<Digest>(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse::<Digest>(), Err(IdError));
        assert_eq!("ab".parse::<Digest>(), Err(IdError));
        assert_eq!(format!("{}é", &id.to_string()[..62]).parse::<Digest>(), Err(IdError));
    }

    #[test]
    fn task_ids_tell_arguments_apart() {
        let id = |args: &[&str], env: &[(&str, &str)]| {
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            let env: Vec<_> = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            TaskId::new(
                &crate::key::PublicKey([0; 32]),
                &ModuleHash::ZERO,
                &InputHash::ZERO,
                &args,
                &env,
                &[0; 32],
            )
        };
        assert_ne!(id(&["ab"], &[]), id(&["a", "b"], &[]));
        assert_ne!(id(&["a", "b"], &[]), id(&[], &[("a", "b")]));
        assert_eq!(id(&["a"], &[]), id(&["a"], &[]));
    }
}
