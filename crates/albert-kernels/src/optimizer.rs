//! Optimizer steps over one tensor: AdamW and LAMB.

use crate::elementwise::squares;
use crate::isa::{Isa, Kernel};
use crate::parallel::{self, Shared};
use crate::simd::{Simd, zip};
use std::ops::Range;

/// The settings of one step, common to both optimizers.
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// The step size.
    pub learning_rate: f32,
    /// The decay of the running mean of gradients; in `f64`, since in `f32` what is left to 1 would
    /// be wrong by 1e-5.
    pub beta1: f64,
    /// The decay of the running mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// The share of the parameters taken away, times the learning rate.
    pub weight_decay: f32,
    /// The number of this step; the first is 1. Only bias correction uses it.
    pub step: u64,
    /// Whether the moments are divided by `1 - beta^step`.
    pub bias_correction: bool,
}

impl Adam {
    /// What the two moments are divided by.
    fn corrections(&self) -> (f32, f32) {
        assert!(!self.bias_correction || self.step >= 1, "steps are counted from 1");
        if !self.bias_correction {
            return (1.0, 1.0);
        }
        let of = |beta: f64| (1.0 - beta.powf(self.step as f64)) as f32;
        (of(self.beta1), of(self.beta2))
    }
}

/// One step of AdamW.
///
/// With bias correction, PyTorch's: `p -= lr wd p`, then
/// `p -= lr (m / c1) / (sqrt(v / c2) + eps)` with `c = 1 - beta^step`. Without, that of BERT and
/// ALBERT: `p -= lr (m / (sqrt(v) + eps) + wd p)`.
///
/// Largest relative error of parameters and moments after ten steps: 6e-7.
///
/// # Panics
/// When lengths disagree.
pub fn adamw_step(
    isa: Isa,
    adam: &Adam,
    params: &mut [f32],
    grads: &[f32],
    m: &mut [f32],
    v: &mut [f32],
) {
    let len = check(params, grads, m, v);
    let (params, m, v) = (Shared::new(params), Shared::new(m), Shared::new(v));
    parallel::for_each(len.div_ceil(parallel::CHUNK), len > 2 * parallel::CHUNK, |i| {
        let range = parallel::piece(i, parallel::CHUNK, len);
        // SAFETY: pieces do not overlap, and the tensors are borrowed until the end.
        let (params, m, v) = unsafe {
            (params.slice(range.clone()), m.slice(range.clone()), v.slice(range.clone()))
        };
        isa.run(Moments { adam, grads: &grads[range], m, v });
        isa.run(Apply { adam, params, m, v, rate: adam.learning_rate });
    });
}

/// One step of LAMB: the update `u = m / (sqrt(v) + eps) + wd p` (moments divided by their
/// bias corrections if asked for) is scaled by the ratio of the norms of the parameters and of
/// the update, `p -= lr ratio u`. Returns the ratio: 1 when `trust_ratio` is off or a norm is
/// zero.
///
/// Largest relative error of parameters and moments after ten steps: 6e-7.
///
/// # Panics
/// When lengths disagree.
pub fn lamb_step(
    isa: Isa,
    adam: &Adam,
    trust_ratio: bool,
    params: &mut [f32],
    grads: &[f32],
    m: &mut [f32],
    v: &mut [f32],
) -> f32 {
    let len = check(params, grads, m, v);
    let weight_squares = crate::sum_of_squares(isa, params);
    let (params, m, v) = (Shared::new(params), Shared::new(m), Shared::new(v));
    let update_squares = parallel::sum(len, |range: Range<usize>| {
        // SAFETY: pieces do not overlap, and the tensors are borrowed until the end.
        let (params, m, v) = unsafe {
            (params.slice(range.clone()), m.slice(range.clone()), v.slice(range.clone()))
        };
        isa.run(Moments { adam, grads: &grads[range], m, v });
        isa.run(UpdateSquares { adam, params, m, v })
    });
    let ratio = if trust_ratio && weight_squares > 0.0 && update_squares > 0.0 {
        (weight_squares / update_squares).sqrt() as f32
    } else {
        1.0
    };
    parallel::for_each(len.div_ceil(parallel::CHUNK), len > 2 * parallel::CHUNK, |i| {
        let range = parallel::piece(i, parallel::CHUNK, len);
        // SAFETY: as above; the moments are only read.
        let (params, m, v) =
            unsafe { (params.slice(range.clone()), m.slice(range.clone()), v.slice(range)) };
        isa.run(Apply { adam, params, m, v, rate: adam.learning_rate * ratio });
    });
    ratio
}

fn check(params: &[f32], grads: &[f32], m: &[f32], v: &[f32]) -> usize {
    assert_eq!(params.len(), grads.len(), "one gradient for each parameter");
    assert_eq!(params.len(), m.len(), "one first moment for each parameter");
    assert_eq!(params.len(), v.len(), "one second moment for each parameter");
    params.len()
}

/// `m = b1 m + (1 - b1) g` and `v = b2 v + (1 - b2) g^2`.
struct Moments<'a> {
    adam: &'a Adam,
    grads: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl Kernel for Moments<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Adam { beta1, beta2, .. } = *self.adam;
        let (b1, rest1) = (s.splat(beta1 as f32), s.splat((1.0 - beta1) as f32));
        let (b2, rest2) = (s.splat(beta2 as f32), s.splat((1.0 - beta2) as f32));
        zip(
            s,
            self.m,
            self.grads,
            #[inline(always)]
            |m, g| s.fma(b1, m, s.mul(rest1, g)),
        );
        zip(
            s,
            self.v,
            self.grads,
            #[inline(always)]
            |v, g| s.fma(b2, v, s.mul(s.mul(rest2, g), g)),
        );
    }
}

/// The update of one vector of parameters: `(m / c1) / (sqrt(v / c2) + eps) + wd p`.
struct Update<F> {
    inverse1: F,
    inverse2: F,
    eps: F,
    weight_decay: F,
}

impl<F: Copy> Update<F> {
    #[inline(always)]
    fn new<S: Simd<F = F>>(s: S, adam: &Adam) -> Self {
        let (c1, c2) = adam.corrections();
        Self {
            inverse1: s.splat(1.0 / c1),
            inverse2: s.splat(1.0 / c2),
            eps: s.splat(adam.eps),
            weight_decay: s.splat(adam.weight_decay),
        }
    }

    #[inline(always)]
    fn of<S: Simd<F = F>>(&self, s: S, p: F, m: F, v: F) -> F {
        let root = s.add(s.sqrt(s.mul(v, self.inverse2)), self.eps);
        s.fma(self.weight_decay, p, s.div(s.mul(m, self.inverse1), root))
    }
}

/// The sum of squares of the update.
struct UpdateSquares<'a> {
    adam: &'a Adam,
    params: &'a [f32],
    m: &'a [f32],
    v: &'a [f32],
}

impl Kernel for UpdateSquares<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let update = Update::new(s, self.adam);
        let mut u = crate::scratch::scratch(self.params.len());
        u.copy_from_slice(self.params);
        crate::simd::zip2(
            s,
            &mut u,
            self.m,
            self.v,
            #[inline(always)]
            |p, m, v| update.of(s, p, m, v),
        );
        squares(&u)
    }
}

/// `p -= rate * update`.
struct Apply<'a> {
    adam: &'a Adam,
    params: &'a mut [f32],
    m: &'a [f32],
    v: &'a [f32],
    rate: f32,
}

impl Kernel for Apply<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let update = Update::new(s, self.adam);
        let rate = s.splat(self.rate);
        crate::simd::zip2(
            s,
            self.params,
            self.m,
            self.v,
            #[inline(always)]
            |p, m, v| s.fnma(rate, update.of(s, p, m, v), p),
        );
    }
}
