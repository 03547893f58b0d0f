//! The linear map of a layer, `y = x Wᵀ + b`, and its three gradients, in training.
//!
//! Weights change with every step, so they are packed once a step, in the two layouts that the
//! forward pass and the gradient of the input read ([`LinearWeights`]). The gradient of the weights
//! multiplies two matrices of activations along the tokens; both are packed for it, piece by piece.
//!
//! All products are those of [`crate::product`]: one chain for each element, cut at depths that
//! depend on sizes alone, so that bits do not depend on the number of threads.

mod gradient;
mod multiply;
#[cfg(test)]
mod tests;

pub use gradient::linear_backward_params;
pub use multiply::Output;

use multiply::{Epilogue, multiply};

use crate::activation::Activation;
use crate::isa::Isa;
use crate::operand::Operand;
use crate::product::{Precision, Weights};

/// The weights of a linear map, packed for the forward pass and for the gradient of its input.
pub struct LinearWeights {
    forward: Weights,
    backward: Weights,
}

impl LinearWeights {
    /// Packs `weight`, row-major with a row of `inputs` numbers for each output.
    ///
    /// # Panics
    /// When the weights are not whole rows.
    #[must_use]
    pub fn new(isa: Isa, precision: Precision, weight: &[f32], inputs: usize) -> Self {
        let outputs = weight.len() / inputs;
        let mut rounded = Operand::new(precision);
        rounded.reserve(outputs, inputs);
        rounded.round(isa, weight);
        Self {
            forward: Weights::of_rows(isa, &rounded, outputs),
            backward: Weights::across_rows(isa, &rounded, outputs),
        }
    }

    /// Columns of `x`.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.forward.inputs
    }

    /// Columns of `y`.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.forward.outputs
    }

    /// Bytes of memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.forward.bytes() + self.backward.bytes()
    }
}

/// `y = x Wᵀ + b` for the first `rows` rows of `x`, of as many columns as the map has inputs.
///
/// # Panics
/// When sizes or precisions disagree.
pub fn linear(
    isa: Isa,
    weights: &LinearWeights,
    bias: &[f32],
    x: &Operand,
    rows: usize,
    y: Output<'_>,
) {
    let epilogue = Epilogue { bias: Some(bias), ..Epilogue::default() };
    multiply(isa, &weights.forward, x, rows, epilogue, y);
}

/// `pre = x Wᵀ + b` and `y = activation(pre)`.
///
/// # Panics
/// When sizes or precisions disagree.
pub fn linear_activated(
    isa: Isa,
    weights: &LinearWeights,
    bias: &[f32],
    activation: Activation,
    x: &Operand,
    rows: usize,
    pre: &mut Operand,
    y: Output<'_>,
) {
    let epilogue = Epilogue { bias: Some(bias), activated: Some((activation, pre)), slope: None };
    multiply(isa, &weights.forward, x, rows, epilogue, y);
}

/// `dx = dy W`.
///
/// # Panics
/// When sizes or precisions disagree.
pub fn linear_backward_input(
    isa: Isa,
    weights: &LinearWeights,
    dy: &Operand,
    rows: usize,
    dx: Output<'_>,
) {
    multiply(isa, &weights.backward, dy, rows, Epilogue::default(), dx);
}

/// `dx = dy W ∘ activation'(pre)`, where `x = activation(pre)`.
///
/// # Panics
/// When sizes or precisions disagree.
pub fn linear_backward_activated(
    isa: Isa,
    weights: &LinearWeights,
    dy: &Operand,
    activation: Activation,
    pre: &Operand,
    rows: usize,
    dx: Output<'_>,
) {
    let epilogue = Epilogue { slope: Some((activation, pre)), ..Epilogue::default() };
    multiply(isa, &weights.backward, dy, rows, epilogue, dx);
}
