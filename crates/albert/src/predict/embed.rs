//! Vectors for texts, and how alike two are.

use super::{Input, Model, Operation, Output, Sequence, TooLong};
use crate::error::{Error, Result};
use crate::model::Pooling;

/// A model whose hidden states are taken for the meaning of a text. Any model will do; one that was
/// trained for it does better.
#[derive(Clone)]
pub struct Embedder {
    model: Model,
    pooling: Pooling,
    normalized: bool,
    too_long: TooLong,
}

impl Embedder {
    /// Embeds with `model`: the mean over all tokens, scaled to length 1.
    #[must_use]
    pub fn new(model: &Model) -> Self {
        let (pooling, too_long) = (Pooling::default(), TooLong::default());
        Self { model: model.clone(), pooling, normalized: true, too_long }
    }

    /// The same, made of the tokens in another way.
    #[must_use]
    pub fn pooling(self, pooling: Pooling) -> Self {
        Self { pooling, ..self }
    }

    /// The same, scaled to length 1 or not.
    #[must_use]
    pub fn normalized(self, normalized: bool) -> Self {
        Self { normalized, ..self }
    }

    /// The same, with texts that are too long treated so.
    #[must_use]
    pub fn too_long(self, too_long: TooLong) -> Self {
        Self { too_long, ..self }
    }

    /// H: the width of a vector.
    #[must_use]
    pub fn width(&self) -> usize {
        self.model.config().hidden_size
    }

    /// A vector of [`width`](Self::width) numbers for each text or pair.
    ///
    /// # Errors
    /// A text that is too long.
    pub fn embed<'a, I: Into<Input<'a>> + Copy>(&self, inputs: &[I]) -> Result<Vec<Vec<f32>>> {
        let sequences = self.model.read_all(inputs, |input| self.read(input))?;
        let outputs = self.model.compute_all(self.operation(), &sequences)?;
        Ok(outputs.iter().map(|output| self.conclude(output)).collect())
    }

    /// What is computed of what it reads.
    #[must_use]
    pub fn operation(&self) -> Operation {
        Operation::Embedding(self.pooling)
    }

    /// What the model reads of one text or pair.
    ///
    /// # Errors
    /// A text that is too long.
    pub fn read<'a>(&self, input: impl Into<Input<'a>>) -> Result<Sequence> {
        Ok(self.model.encode(input.into(), self.too_long)?.into())
    }

    /// The vector of a text of which `output` was computed.
    #[must_use]
    pub fn conclude(&self, output: &Output) -> Vec<f32> {
        let mut embedding = output.numbers().to_vec();
        if self.normalized {
            normalize(&mut embedding);
        }
        embedding
    }
}

/// Scales a vector to length 1; one of zeros stays.
fn normalize(x: &mut [f32]) {
    let length = dot(x, x).sqrt();
    if length > 0.0 {
        x.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// The cosine of the angle between two vectors, from -1 to 1; 0 if one is all zeros.
///
/// # Errors
/// Vectors of different lengths.
pub fn cosine_similarity(a: &[f32], b: &[f32]) -> Result<f32> {
    if a.len() != b.len() {
        let message =
            format!("vectors of {} and of {} numbers cannot be compared", a.len(), b.len());
        return Err(Error::input(message));
    }
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    Ok(if lengths > 0.0 { (dot(a, b) / lengths).clamp(-1.0, 1.0) as f32 } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines() {
        assert_eq!(cosine_similarity(&[1.0, 0.0], &[0.0, 2.0]).unwrap(), 0.0);
        assert_eq!(cosine_similarity(&[3.0, 4.0], &[6.0, 8.0]).unwrap(), 1.0);
        assert_eq!(cosine_similarity(&[3.0, 4.0], &[-3.0, -4.0]).unwrap(), -1.0);
        assert_eq!(cosine_similarity(&[0.0, 0.0], &[1.0, 1.0]).unwrap(), 0.0);
        assert!(cosine_similarity(&[1.0], &[1.0, 2.0]).is_err());
        let mut x = [3.0, 4.0];
        normalize(&mut x);
        assert_eq!(x, [0.6, 0.8]);
    }
}
