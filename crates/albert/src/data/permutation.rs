//! A pseudo-random order of `0..n` that needs no memory: a keyed Feistel network over the next
//! power of four, walked until it lands below `n` (Black and Rogaway 2002, *Ciphers with
//! Arbitrary Finite Domains*). For shuffling, not for secrets.

use crate::random::Seed;

/// Four rounds suffice in theory for a random function (Luby and Rackoff); ours is a cheap mix.
const ROUNDS: usize = 8;

/// A bijection of `0..length`.
#[derive(Debug, Clone)]
pub(super) struct Permutation {
    length: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    pub(super) fn new(length: u64, seed: Seed) -> Self {
        let bits = u64::BITS - length.saturating_sub(1).leading_zeros();
        let keys = std::array::from_fn(|round| seed.split("round", round as u64).bits());
        Self { length, half_bits: bits.div_ceil(2).max(1), keys }
    }

    /// The number at `index` in this order.
    pub(super) fn at(&self, index: u64) -> u64 {
        assert!(index < self.length, "index {index} of a permutation of {}", self.length);
        let mut number = index;
        loop {
            // The network covers less than four times `length`: four walks on average at most.
            number = self.network(number);
            if number < self.length {
                return number;
            }
        }
    }

    fn network(&self, number: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (number >> self.half_bits, number & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_once() {
        for length in [1, 2, 3, 4, 5, 16, 17, 1000, 65_536, 65_537] {
            let order = Permutation::new(length, Seed::new(length));
            let mut seen: Vec<u64> = (0..length).map(|index| order.at(index)).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..length), "length {length}");
        }
    }

    #[test]
    fn large_lengths_stay_inside() {
        let order = Permutation::new(u64::MAX, Seed::new(1));
        assert_ne!(order.at(0), order.at(u64::MAX - 1));
        let length = (1 << 40) + 1;
        let order = Permutation::new(length, Seed::new(1));
        assert!((0..1000).all(|index| order.at(index) < length));
    }

    #[test]
    fn another_seed_is_another_order() {
        let orders = [1, 2].map(|seed| Permutation::new(1000, Seed::new(seed)));
        let same = (0..1000).filter(|&index| orders[0].at(index) == orders[1].at(index)).count();
        assert!(same < 10, "{same} of 1000 numbers at the same place");
    }

    /// Where number 0 lands, over many seeds, is uniform: chi-squared with 15 degrees of freedom,
    /// mean 15, variance 30; four standard deviations.
    #[test]
    fn places_are_uniform() {
        let mut counts = [0f64; 16];
        for seed in 0..16_000 {
            counts[Permutation::new(16, Seed::new(seed)).at(3) as usize] += 1.0;
        }
        let chi_squared: f64 = counts.iter().map(|count| (count - 1000.0).powi(2) / 1000.0).sum();
        assert!((chi_squared - 15.0).abs() < 4.0 * 30f64.sqrt(), "chi squared {chi_squared}");
    }
}
