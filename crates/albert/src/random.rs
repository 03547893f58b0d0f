//! All randomness: one seed, split by name and number, so that what is drawn for one purpose
//! never depends on how much was drawn for another.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A seed that can be split. Two streams with different names or numbers are independent, and a
/// stream depends on nothing but the seed, the names and the numbers on the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The root of all streams of a run.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Sha256::digest(seed.to_le_bytes()).into())
    }

    /// The stream called `name`, number `index`.
    #[must_use]
    pub fn split(&self, name: &str, index: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(index.to_le_bytes());
        hash.update(name.as_bytes());
        Self(hash.finalize().into())
    }

    /// A generator that starts at this seed.
    #[must_use]
    pub fn generator(&self) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.0)
    }

    /// Sixty-four bits of this seed, for counter-based generators (dropout).
    #[must_use]
    pub fn bits(&self) -> u64 {
        u64::from_le_bytes(self.0[..8].try_into().expect("a seed has 32 bytes"))
    }
}
