//! Randomness from a seed.

/// A stream of random numbers; equal seeds give equal streams.
pub(crate) struct Random(blake3::OutputReader);

impl Random {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        Self(blake3::Hasher::new_derive_key("taskmesh node randomness v1").update(seed).finalize_xof())
    }

    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill(&mut bytes);
        bytes
    }

    /// A number from 0 up to and without `end`; 0 if there is none.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes).checked_rem(end).unwrap_or(0)
    }
}
