//! What randomness does a task see?

use std::convert::Infallible;

/// A stream of random bytes.
pub(crate) enum Random {
    /// The output of BLAKE3 keyed with the task's seed, from a position that a checkpoint can name.
    // spec: SBX-13
    Seeded(blake3::OutputReader),
    /// The machine's own.
    Real,
}

impl Random {
    pub(crate) fn seeded(seed: &[u8; 32], position: u64) -> Self {
        let mut reader = blake3::Hasher::new_keyed(seed).finalize_xof();
        reader.set_position(position);
        Self::Seeded(reader)
    }

    /// Bytes drawn so far.
    pub(crate) fn position(&self) -> u64 {
        match self {
            Self::Seeded(reader) => reader.position(),
            Self::Real => 0,
        }
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) -> Result<(), getrandom::Error> {
        match self {
            Self::Seeded(reader) => {
                reader.fill(bytes);
                Ok(())
            }
            Self::Real => getrandom::fill(bytes),
        }
    }
}

/// The same stream for a component, where the engine draws from a generator.
pub(crate) struct Shared(pub(crate) std::sync::Arc<std::sync::Mutex<Random>>);

impl rand::TryRng for Shared {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let mut random = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The system's generator fails only where there is none; a worker that cannot draw must not go on.
        random.fill(bytes).expect("the system gives random bytes");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: SBX-13, SDK-6
    #[test]
    fn a_seed_gives_one_stream_and_a_position_goes_on_in_it() {
        let draw = |random: &mut Random, n| {
            let mut bytes = vec![0; n];
            random.fill(&mut bytes).unwrap();
            bytes
        };
        let mut whole = Random::seeded(&[1; 32], 0);
        let all = draw(&mut whole, 100);
        let mut first = Random::seeded(&[1; 32], 0);
        assert_eq!(draw(&mut first, 33), all[..33]);
        let mut rest = Random::seeded(&[1; 32], first.position());
        assert_eq!(draw(&mut rest, 67), all[33..]);
        assert_ne!(draw(&mut Random::seeded(&[2; 32], 0), 100), all);
    }
}
