//! Every operation on every instruction set of this processor, against plain `f64` arithmetic
//! written here, at awkward sizes. `SHOW_ERRORS=1` with `--nocapture` prints the errors.

mod activations;
mod attention;
mod compare;
mod dropout;
mod elementwise;
mod embedding;
mod encoder;
#[cfg(target_os = "linux")]
mod guard;
mod norm;
mod optimizer;
mod softmax;
