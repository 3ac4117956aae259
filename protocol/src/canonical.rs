//! One value, one byte string: what is hashed and signed is encoded here and nowhere else.
// spec: ARC-6

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why bytes are not the canonical form of a value.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Nothing was decoded: the bytes are not an encoding of the type.
    #[error("decode: the bytes do not have the expected shape")]
    Shape(#[source] postcard::Error),
    /// Nothing was decoded: bytes follow the value, or it was written in another than the shortest way.
    #[error("decode: the bytes are not in canonical form")]
    NotCanonical,
}

/// The canonical bytes of a value.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Fails only for types without a fixed shape (maps of unknown length, untagged enums); none of ours is one.
    postcard::to_extend(value, Vec::with_capacity(USUAL)).expect("protocol types have a postcard form")
}

/// Appends the canonical bytes of a value.
pub fn append<T: Serialize>(value: &T, bytes: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(value, bytes).expect("protocol types have a postcard form")
}

/// What most values take, so that their bytes are not moved while they grow: an entry's header and a short payload.
const USUAL: usize = 512;

/// The value of canonical bytes. Any other encoding of the same value is refused, so a hash names one value.
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let value: T = postcard::from_bytes(bytes).map_err(DecodeError::Shape)?;
    match postcard::serialize_with_flavor(&value, Expected(bytes)) {
        Ok(()) => Ok(value),
        Err(_) => Err(DecodeError::NotCanonical),
    }
}

/// Compares what is encoded with what is left of this, and keeps none of it.
struct Expected<'a>(&'a [u8]);

impl Flavor for Expected<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0 = self.0.strip_prefix(bytes).ok_or(postcard::Error::SerializeBufferFull)?;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(postcard::Error::SerializeBufferFull) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: ARC-6
    #[test]
    fn other_spellings_are_refused() {
        assert_eq!(encode(&(300u32, "ab")), [0xac, 0x02, 2, b'a', b'b']);
        assert_eq!(decode::<(u32, String)>(&[0xac, 0x02, 2, b'a', b'b']).unwrap(), (300, "ab".into()));
        assert!(matches!(decode::<u32>(&[0x80, 0x00]), Err(DecodeError::NotCanonical)), "overlong varint");
        assert!(matches!(decode::<u32>(&[1, 1]), Err(DecodeError::NotCanonical)), "trailing byte");
        assert!(matches!(decode::<u32>(&[0x80]), Err(DecodeError::Shape(_))), "truncated");
    }
}
