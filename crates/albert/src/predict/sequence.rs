//! What stands between the two ends of a task. Reading an input makes sequences, the model computes
//! sequences of any inputs together, and what it computed makes the answer: three steps, so that a
//! server can compute the inputs of many callers at once and do the rest on other threads.

use std::borrow::Borrow;
use std::ops::Range;

use super::Model;
use crate::error::Result;
use crate::model::{Batch, InferenceSpace, JointScores, Pooling};
use crate::tokenizer::Encoding;

/// Starts, and ends of each, that the joint head is asked for; the original's `start_n_top` and
/// `end_n_top`.
const JOINT_BEAM: usize = 5;

/// What is computed of sequences. Those of one operation can be computed together, whatever tasks
/// and callers they are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The logits of a head on whole sequences: `[outputs]`.
    SequenceLogits,
    /// The logits of a head on tokens: `[tokens, outputs]`.
    TokenLogits,
    /// What the joint head for questions says of the tokens in [`Sequence::rows`].
    JointAnswers,
    /// The logits of the words at [`Sequence::rows`]: `[rows, V]`.
    MaskedWords,
    /// The logits of in order and swapped: `[2]`.
    SentenceOrder,
    /// A vector for the whole sequence: `[H]`.
    Embedding(Pooling),
    /// A vector for each token: `[tokens, H]`.
    HiddenStates,
}

/// A sequence as the model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    ids: Vec<u32>,
    type_ids: Vec<u32>,
    /// The tokens that the operation is about, where it is not about all.
    rows: Vec<u32>,
}

/// What was computed of one sequence.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Numbers, whose shape [`Operation`] says.
    Numbers(Vec<f32>),
    /// Of [`Operation::JointAnswers`].
    Joint(JointScores),
}

impl Sequence {
    pub(super) fn with_rows(encoding: &Encoding, rows: impl IntoIterator<Item = usize>) -> Self {
        Self {
            ids: encoding.ids.clone(),
            type_ids: encoding.type_ids.clone(),
            rows: rows.into_iter().map(|row| row as u32).collect(),
        }
    }

    /// Its tokens, special ones included.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The places of the tokens that the operation is about, where it is not about all.
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        &self.rows
    }
}

impl From<Encoding> for Sequence {
    fn from(encoding: Encoding) -> Self {
        Self { ids: encoding.ids, type_ids: encoding.type_ids, rows: Vec::new() }
    }
}

impl Output {
    /// The numbers.
    ///
    /// # Panics
    /// When it is the output of the joint head.
    #[must_use]
    pub fn numbers(&self) -> &[f32] {
        match self {
            Self::Numbers(numbers) => numbers,
            Self::Joint(_) => panic!("an output of the operation of its task"),
        }
    }

    pub(super) fn joint(&self) -> &JointScores {
        match self {
            Self::Joint(scores) => scores,
            Self::Numbers(_) => panic!("an output of the operation of its task"),
        }
    }
}

/// What a batch takes of a sequence: ids and token types.
pub(crate) trait Ids {
    fn ids(&self) -> (&[u32], &[u32]);
}

impl<T: Ids> Ids for &T {
    fn ids(&self) -> (&[u32], &[u32]) {
        T::ids(self)
    }
}

impl Ids for Encoding {
    fn ids(&self) -> (&[u32], &[u32]) {
        (&self.ids, &self.type_ids)
    }
}

impl Ids for Sequence {
    fn ids(&self) -> (&[u32], &[u32]) {
        (&self.ids, &self.type_ids)
    }
}

impl Model {
    /// The sequence of ids that the caller made himself, special tokens included.
    ///
    /// # Errors
    /// None at all, more than the model has positions, or one that its vocabulary does not have.
    pub fn sequence_of_ids(&self, ids: &[u32]) -> Result<Sequence> {
        let type_ids = vec![0; ids.len()];
        Batch::new().push(self.config(), ids, &type_ids)?;
        Ok(Sequence { ids: ids.to_vec(), type_ids, rows: Vec::new() })
    }

    /// Computes sequences in one batch; gives an output for each, in order. Its bits do not depend
    /// on what else is in the batch.
    ///
    /// # Errors
    /// Sequences of another model that this one cannot read.
    ///
    /// # Panics
    /// When the model lacks what the operation needs.
    pub fn compute<S: Borrow<Sequence>>(
        &self,
        operation: Operation,
        sequences: &[S],
    ) -> Result<Vec<Output>> {
        let mut batch = Batch::new();
        for sequence in sequences {
            let (ids, type_ids) = sequence.borrow().ids();
            batch.push(self.config(), ids, type_ids)?;
        }
        Ok(self.with_space(|space| self.outputs(operation, &batch, sequences, space)))
    }

    /// The same in as many batches as are computed at a time.
    pub(super) fn compute_all(
        &self,
        operation: Operation,
        sequences: &[Sequence],
    ) -> Result<Vec<Output>> {
        self.in_batches(sequences, |batch, range, space| {
            self.outputs(operation, batch, &sequences[range], space)
        })
    }

    pub(super) fn outputs<S: Borrow<Sequence>>(
        &self,
        operation: Operation,
        batch: &Batch,
        sequences: &[S],
        space: &mut InferenceSpace,
    ) -> Vec<Output> {
        let (model, count) = (self.inference(), batch.sequences());
        match operation {
            Operation::SequenceLogits => even(&model.sequence_logits(batch, space), count),
            Operation::SentenceOrder => even(&model.sentence_order(batch, space), count),
            Operation::Embedding(pooling) => even(&model.embed(batch, pooling, space), count),
            Operation::TokenLogits => of_tokens(&model.token_logits(batch, space), batch.starts()),
            Operation::HiddenStates => {
                of_tokens(&model.hidden_states(batch, space), batch.starts())
            }
            Operation::MaskedWords => {
                let rows = |(start, sequence): (&usize, &S)| {
                    let start = *start as u32;
                    sequence.borrow().rows.iter().map(move |row| start + row).collect::<Vec<_>>()
                };
                let rows: Vec<u32> = batch.starts().iter().zip(sequences).flat_map(rows).collect();
                let logits = model.masked_words(batch, &rows, space);
                let mut rest = &logits[..];
                let mut one = |sequence: &S| {
                    let numbers = sequence.borrow().rows.len() * self.config().vocab_size;
                    let own = rest.split_off(..numbers).expect("logits for each row");
                    Output::Numbers(own.to_vec())
                };
                sequences.iter().map(&mut one).collect()
            }
            Operation::JointAnswers => {
                let range = |sequence: &S| {
                    let rows = &sequence.borrow().rows;
                    rows[0] as usize..rows[rows.len() - 1] as usize + 1
                };
                let contexts: Vec<Range<usize>> = sequences.iter().map(range).collect();
                let scores = model.joint_answers(batch, &contexts, JOINT_BEAM, space);
                scores.into_iter().map(Output::Joint).collect()
            }
        }
    }
}

/// As many numbers for each of `count` sequences.
fn even(numbers: &[f32], count: usize) -> Vec<Output> {
    if count == 0 {
        return Vec::new();
    }
    let own = |numbers: &[f32]| Output::Numbers(numbers.to_vec());
    numbers.chunks(numbers.len() / count).map(own).collect()
}

/// As many numbers for each token of sequences that begin at `starts`.
fn of_tokens(numbers: &[f32], starts: &[usize]) -> Vec<Output> {
    let tokens = starts[starts.len() - 1].max(1);
    let each = numbers.len() / tokens;
    let own = |ends: &[usize]| Output::Numbers(numbers[ends[0] * each..ends[1] * each].to_vec());
    starts.windows(2).map(own).collect()
}
