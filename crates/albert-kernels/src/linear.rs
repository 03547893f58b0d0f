//! The linear map of a layer, `y = x W^T + b`, and its three gradients, as matrix products.

use crate::activation::Activation;
use crate::elementwise::add_column_sums;
use crate::gemm::{Epilogue, Matrix, gemm};
use crate::isa::Isa;

/// `y = activation(x W^T + b)` for `x` of `[T, in]`, `weight` of `[out, in]` and `bias` of
/// `[out]`; `pre`, of `[T, out]` as `y`, receives the values before the activation.
///
/// # Panics
/// When lengths disagree.
pub fn linear(
    isa: Isa,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    activation: Activation,
    pre: Option<&mut [f32]>,
    y: &mut [f32],
) {
    let outputs = bias.len();
    assert!(
        outputs > 0 && weight.len().is_multiple_of(outputs),
        "one row of weights for each output"
    );
    let inputs = weight.len() / outputs;
    assert_eq!(y.len() % outputs, 0, "y is whole rows of {outputs}");
    let tokens = y.len() / outputs;
    if let Some(pre) = &pre {
        assert_eq!(pre.len(), y.len(), "pre is as y");
    }
    let (x, w) = (Matrix::new(x, tokens, inputs), Matrix::new(weight, outputs, inputs));
    let epilogue = Epilogue { bias: Some(bias), activation, pre };
    gemm(isa, x, w.transposed(), y, outputs, false, epilogue);
}

/// `dx = dy W`, or `dx += dy W` when `accumulate`, for `tokens` rows of `dx` and `dy`.
///
/// # Panics
/// When lengths disagree.
pub fn linear_backward_input(
    isa: Isa,
    tokens: usize,
    dy: &[f32],
    weight: &[f32],
    dx: &mut [f32],
    accumulate: bool,
) {
    if tokens == 0 {
        return;
    }
    let (outputs, inputs) = (dy.len() / tokens, dx.len() / tokens);
    let (dy, w) = (Matrix::new(dy, tokens, outputs), Matrix::new(weight, outputs, inputs));
    assert_eq!(dx.len(), tokens * inputs, "dx is T by in");
    gemm(isa, dy, w, dx, inputs, accumulate, Epilogue::default());
}

/// `dweight += dy^T x` and `dbias += sum over tokens of dy`.
///
/// # Panics
/// When lengths disagree.
pub fn linear_backward_params(
    isa: Isa,
    tokens: usize,
    x: &[f32],
    dy: &[f32],
    dweight: &mut [f32],
    dbias: &mut [f32],
) {
    let outputs = dbias.len();
    assert_eq!(dy.len(), tokens * outputs, "dy is T by out");
    let inputs = x.len() / tokens.max(1);
    assert_eq!(dweight.len(), if tokens == 0 { dweight.len() } else { outputs * inputs });
    let (x, dy_matrix) = (Matrix::new(x, tokens, inputs), Matrix::new(dy, tokens, outputs));
    gemm(isa, dy_matrix.transposed(), x, dweight, inputs, true, Epilogue::default());
    add_column_sums(isa, dy, dbias);
}
