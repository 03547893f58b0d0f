//! Numbers made smaller: rows of activations to bf16 or to unsigned bytes with a scale and an
//! offset for each row, weights to signed bytes with a scale for each output.

use super::Precision;
use crate::parallel::{self, Shared};
use crate::simd::Words;

/// What the bytes of a row of activations stand for: byte `u` is `scale * u + offset`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RowScale {
    pub(crate) scale: f32,
    pub(crate) offset: f32,
}

/// Largest byte of an activation.
const ACTIVATION_MAX: f32 = 255.0;

/// Largest byte of a weight.
const WEIGHT_MAX: f32 = 127.0;

/// Shares of a row's largest weight at which bytes may saturate; the best for the row is taken.
const CLIPS: [f32; 6] = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75];

/// Writes a row of `f32` as words of `precision`: `x.len()` numbers, a multiple of 16.
///
/// # Safety
/// The words that `x.len()` numbers take are writable at `out`.
#[inline(always)]
pub(crate) unsafe fn convert_row<S: Words>(
    s: S,
    precision: Precision,
    x: &[f32],
    out: *mut u32,
) -> RowScale {
    debug_assert!(x.len().is_multiple_of(16));
    match precision {
        Precision::F32 => {
            // SAFETY: the caller's contract: as many words as numbers.
            unsafe { std::ptr::copy_nonoverlapping(x.as_ptr().cast(), out, x.len()) };
            RowScale::default()
        }
        Precision::Bf16 => {
            let out = out.cast::<u16>();
            for (i, x) in x.chunks_exact(S::LANES).enumerate() {
                // SAFETY: the caller's contract: as many halves as numbers.
                unsafe { s.store_halves(out.add(i * S::LANES), s.to_bf16(s.load(x))) };
            }
            RowScale::default()
        }
        // SAFETY: the caller's contract: as many bytes as numbers.
        Precision::Int8 => unsafe { quantise_row(s, x, out.cast()) },
    }
}

/// Rounds a row to bytes that span what lies between its least and its largest number.
///
/// # Safety
/// `x.len()` bytes are writable at `out`.
#[inline(always)]
unsafe fn quantise_row<S: Words>(s: S, x: &[f32], out: *mut u8) -> RowScale {
    let mut low = s.splat(f32::INFINITY);
    let mut high = s.splat(f32::NEG_INFINITY);
    for x in x.chunks_exact(S::LANES) {
        low = s.min(s.load(x), low);
        high = s.max(s.load(x), high);
    }
    let low = -s.max_lane(s.sub(s.zero(), low));
    let high = s.max_lane(high);
    let scale = (high - low).max(f32::MIN_POSITIVE) / ACTIVATION_MAX;
    let (factor, base) = (s.splat(1.0 / scale), s.splat(low));
    for (i, x) in x.chunks_exact(S::LANES).enumerate() {
        let byte = s.to_i32(s.mul(s.sub(s.load(x), base), factor));
        // SAFETY: the caller's contract.
        unsafe { s.store_bytes(out.add(i * S::LANES), byte) };
    }
    RowScale { scale, offset: low }
}

/// Rounds a row-major matrix of `inputs` columns to bytes, and gives what a unit of each row
/// stands for: the scale, of several, with the least squared error.
///
/// # Panics
/// When the weights are not whole rows.
#[must_use]
pub fn quantise_weights(weight: &[f32], inputs: usize) -> (Vec<i8>, Vec<f32>) {
    let rows = weight.len() / inputs;
    assert_eq!(weight.len(), rows * inputs, "weights are whole rows of {inputs}");
    let (mut bytes, mut scales) = (vec![0; weight.len()], vec![0.0; rows]);
    let (all_bytes, all_scales) = (Shared::new(&mut bytes), Shared::new(&mut scales));
    parallel::for_each(rows, weight.len() > parallel::CHUNK, |i| {
        let range = i * inputs..(i + 1) * inputs;
        // SAFETY: each task has its own row; both are borrowed until the end.
        let (bytes, scale) =
            unsafe { (all_bytes.slice(range.clone()), all_scales.slice(i..i + 1)) };
        scale[0] = quantise_weight_row(&weight[range], bytes);
    });
    (bytes, scales)
}

fn quantise_weight_row(x: &[f32], out: &mut [i8]) -> f32 {
    let largest = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    if largest == 0.0 {
        out.fill(0);
        return 0.0;
    }
    let byte = |x: f32, factor: f32| (x * factor).round_ties_even().clamp(-WEIGHT_MAX, WEIGHT_MAX);
    let error = |scale: f32| {
        let factor = 1.0 / scale;
        x.iter().map(|&x| (byte(x, factor) * scale - x).powi(2)).sum::<f32>()
    };
    let scales = CLIPS.map(|clip| clip * largest / WEIGHT_MAX);
    let best = scales.into_iter().map(|scale| (error(scale), scale));
    let scale = best.min_by(|a, b| a.0.total_cmp(&b.0)).expect("there are several").1;
    for (out, &x) in out.iter_mut().zip(x) {
        *out = byte(x, 1.0 / scale) as i8;
    }
    scale
}
