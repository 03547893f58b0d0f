//! The arithmetic of transformer encoders on the CPU: slices in, slices out.
//!
//! This crate knows nothing of models, files or text. It is the only crate of the workspace
//! that may say `unsafe`; every such block names the condition it relies on and where that
//! condition was checked.
//!
//! # Conventions
//! Matrices are row-major `f32`. `T` is the number of tokens of a flat, unpadded batch, `H` the
//! hidden size; a name that begins with `d` is a gradient. Every function takes an [`Isa`] and
//! asserts the lengths of its slices. Functions run on the threads of the current rayon pool,
//! and give the same bits for any number of threads.

mod activation;
mod attention;
mod dropout;
mod elementwise;
mod embedding;
mod encoder;
mod isa;
mod linear;
mod map;
mod math;
mod norm;
mod operand;
mod optimizer;
mod parallel;
mod peak;
mod product;
mod scratch;
mod simd;
mod softmax;

pub use activation::{Activation, activate, activate_backward, activate_in_place};
pub use attention::{Attention, attention, attention_backward};
pub use dropout::{Dropout, attention_dropout_index, dropout, dropout_keep};
pub use elementwise::{fill, scale, sum_of_squares};
pub use embedding::{
    EmbeddingTables, TokenIds, embed, embed_backward, gather_rows, scatter_add_rows,
};
pub use encoder::{
    AttentionWeights, Encoder, EncoderShape, EncoderSpace, FeedForwardWeights, LinearMap,
    PackedLinear,
};
pub use isa::{ISA_VARIABLE, Isa};
pub use linear::{
    LinearWeights, Output, linear, linear_activated, linear_backward_activated,
    linear_backward_input, linear_backward_params,
};
pub use map::ReadOnlyMap;
pub use norm::{LayerNorm, NormStats, add_layer_norm, layer_norm, layer_norm_backward};
pub use operand::Operand;
pub use optimizer::{Adam, adamw_step, lamb_step};
pub use peak::peak_operations;
pub use product::{Precision, WeightData, quantise_weights};
pub use softmax::softmax_cross_entropy;
