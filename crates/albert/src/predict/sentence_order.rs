//! Which of two texts comes first.

use super::{Predictor, softmax};
use crate::error::{Error, Result};
use crate::tokenizer::Encoding;

/// The two probabilities of a pair; they add up to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OrderScores {
    /// The first text comes before the second.
    pub in_order: f32,
    /// The second comes before the first.
    pub swapped: f32,
}

impl Predictor {
    /// Whether the texts of each pair are in order.
    ///
    /// # Errors
    /// A pair longer than the model's positions, or a model without the sentence-order head.
    pub fn sentence_order(&self, pairs: &[(&str, &str)]) -> Result<Vec<OrderScores>> {
        if !(self.model.parts().pooler && self.model.parts().sentence_order) {
            return Err(Error::input(
                "this model has no sentence-order head (sop_classifier.*): choose one that was \
                 pre-trained for sentence order",
            ));
        }
        let encodings: Result<Vec<Encoding>> =
            pairs.iter().map(|(first, second)| self.encode(first, Some(second))).collect();
        let batch = self.batch(&encodings?)?;
        let logits = self.with_space(|space| self.model.sentence_order(&batch, space));
        let scores = |logits: &[f32]| {
            let shares = softmax(logits);
            OrderScores { in_order: shares[0], swapped: shares[1] }
        };
        Ok(logits.chunks(2).map(scores).collect())
    }
}
