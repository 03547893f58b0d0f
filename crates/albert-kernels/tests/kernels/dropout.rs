//! Dropout, against its documented algorithm.

use crate::compare::{assert_same_on_any_threads, awkward_lengths, numbers};
use albert_kernels::{Isa, attention_dropout_index, dropout, dropout_keep};

/// The algorithm as its documentation states it, written again.
fn documented(seed: u64, index: u64, rate: f32) -> bool {
    let golden = 0x9E37_79B9_7F4A_7C15_u64;
    let mut z = seed.wrapping_add((index >> 32).wrapping_mul(golden)).wrapping_add(golden);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    let mix = |mut h: u32| {
        h ^= h >> 16;
        h = h.wrapping_mul(0x7FEB_352D);
        h ^= h >> 15;
        h = h.wrapping_mul(0x846C_A68B);
        h ^ (h >> 16)
    };
    let hash = mix(mix(index as u32 ^ z as u32) ^ (z >> 32) as u32);
    f64::from(hash) >= (f64::from(rate) * 2f64.powi(32)).round()
}

#[test]
fn the_scalar_function_is_the_documented_one() {
    for index in (0..1000).chain([1 << 32, (1 << 32) + 5, u64::MAX]) {
        for seed in [0, 1, u64::MAX, 0x1234_5678_9ABC_DEF0] {
            assert_eq!(dropout_keep(seed, index, 0.3), documented(seed, index, 0.3));
        }
    }
}

#[test]
fn masks_agree_with_the_scalar_function() {
    for isa in Isa::available_f32() {
        for len in awkward_lengths(isa).into_iter().chain([50_000]) {
            let x = numbers(len, 1);
            let mut y = x.clone();
            dropout(isa, 99, 0.1, &mut y);
            let factor = 1.0 / (1.0 - 0.1f32);
            for (i, (x, y)) in x.iter().zip(&y).enumerate() {
                let want = if dropout_keep(99, i as u64, 0.1) { x * factor } else { 0.0 };
                assert_eq!(*y, want);
            }
        }
    }
}

#[test]
fn a_rate_of_zero_changes_nothing() {
    let mut x = numbers(100, 1);
    dropout(Isa::best(), 5, 0.0, &mut x);
    assert_eq!(x, numbers(100, 1));
    assert!((0..1000).all(|i| dropout_keep(5, i, 0.0)));
}

#[test]
fn the_share_dropped_is_the_rate_and_seeds_are_independent() {
    let count = 200_000;
    for rate in [0.1f32, 0.5] {
        let dropped = |seed| (0..count).map(move |i| !dropout_keep(seed, i, rate));
        // Five standard deviations.
        let within = |share: f64, p: f64| {
            (share - p).abs() < 5.0 * (p * (1.0 - p) / f64::from(count as u32)).sqrt()
        };
        let share = |hits: usize| hits as f64 / count as f64;
        let p = f64::from(rate);
        for seed in 0..8 {
            assert!(within(share(dropped(seed).filter(|&x| x).count()), p));
            let both = dropped(seed).zip(dropped(seed + 1)).filter(|&(a, b)| a && b).count();
            assert!(within(share(both), p * p), "neighbouring seeds");
            let runs = dropped(seed).zip(dropped(seed).skip(1)).filter(|&(a, b)| a && b).count();
            assert!(within(share(runs), p * p), "neighbouring elements");
        }
    }
}

#[test]
fn attention_indices_do_not_collide() {
    let mut seen = std::collections::HashSet::new();
    for head in 0..3 {
        for query in 0..7 {
            for key in 0..7 {
                assert!(seen.insert(attention_dropout_index(head, query, 7, key)));
            }
        }
    }
}

#[test]
#[should_panic(expected = "is not in 0..1")]
fn a_rate_of_one_is_refused() {
    dropout(Isa::PORTABLE, 0, 1.0, &mut [1.0]);
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    let x = numbers(100_000, 1);
    assert_same_on_any_threads(|| {
        let mut y = x.clone();
        dropout(Isa::best(), 7, 0.25, &mut y);
        y
    });
}
