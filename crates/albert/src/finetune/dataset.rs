//! The examples of a task as numbers: all in memory, in few allocations, so that a million of them
//! take little more than their tokens.

use std::fmt::Write as _;
use std::ops::Range;

use sha2::{Digest as _, Sha256};

use crate::config::ModelConfig;
use crate::error::Result;
use crate::model::{Batch, IGNORED, JointTarget, TaskTargets};
use crate::tokenizer::Encoding;

/// What there is to learn, of all sequences in their order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answers {
    /// The class of each sequence.
    Classes(Vec<u32>),
    /// The class of each token; [`IGNORED`] where nothing is asked.
    Tokens(Vec<u32>),
    /// So many truth values of each sequence.
    Several(usize, Vec<bool>),
    /// The number of each sequence.
    Numbers(Vec<f64>),
    /// The right option of each unit.
    Options(Vec<u32>),
    /// The tokens, counted from the sequence's first, where the answer starts and ends.
    Spans(Vec<(u32, u32)>),
    /// Of each sequence, for the joint head.
    Joint(Vec<JointTarget>),
}

impl Answers {
    /// Appends those of another of the same kind.
    ///
    /// # Panics
    /// When they are of another kind.
    pub(super) fn extend(&mut self, more: Self) {
        match (self, more) {
            (Self::Classes(all), Self::Classes(more))
            | (Self::Tokens(all), Self::Tokens(more))
            | (Self::Options(all), Self::Options(more)) => all.extend(more),
            (Self::Several(width, all), Self::Several(of_more, more)) if *width == of_more => {
                all.extend(more);
            }
            (Self::Numbers(all), Self::Numbers(more)) => all.extend(more),
            (Self::Spans(all), Self::Spans(more)) => all.extend(more),
            (Self::Joint(all), Self::Joint(more)) => all.extend(more),
            _ => panic!("answers of one kind"),
        }
    }
}

/// Sequences, in units that are drawn as a whole: the options of a choice are one, else every
/// sequence is.
#[derive(Debug, Clone)]
pub(super) struct Dataset {
    ids: Vec<u32>,
    /// Where each sequence begins in `ids`, and their end.
    starts: Vec<usize>,
    /// Of each sequence: its tokens of type 0, which come before those of type 1.
    firsts: Vec<u32>,
    /// The first sequence of each unit, and their end.
    units: Vec<usize>,
    answers: Answers,
}

/// A hash of what is written.
struct Hash(Sha256);

impl std::fmt::Write for Hash {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.update(text);
        Ok(())
    }
}

impl Dataset {
    /// Nothing yet; `answers` is empty and says of which kind they will be.
    pub(super) fn new(answers: Answers) -> Self {
        Self { ids: vec![], starts: vec![0], firsts: vec![], units: vec![0], answers }
    }

    /// Appends a unit and what is to be learned of it.
    pub(super) fn push(&mut self, sequences: &[Encoding], answers: Answers) {
        for sequence in sequences {
            self.ids.extend_from_slice(&sequence.ids);
            self.starts.push(self.ids.len());
            let firsts = sequence.type_ids.iter().take_while(|id| **id == 0).count();
            self.firsts.push(firsts as u32);
        }
        self.units.push(self.firsts.len());
        self.answers.extend(answers);
    }

    /// How many units there are.
    pub(super) fn len(&self) -> usize {
        self.units.len() - 1
    }

    /// Tokens of all of them.
    pub(super) fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Tokens of a unit.
    pub(super) fn length(&self, unit: usize) -> usize {
        self.starts[self.units[unit + 1]] - self.starts[self.units[unit]]
    }

    /// Tokens of the longest unit.
    pub(super) fn longest(&self) -> usize {
        (0..self.len()).map(|unit| self.length(unit)).max().unwrap_or(0)
    }

    /// What says whether it is the same data: a hash of its tokens, its units and their answers.
    pub(super) fn fingerprint(&self) -> String {
        let mut hash = Hash(Sha256::new());
        self.ids.iter().for_each(|id| hash.0.update(id.to_le_bytes()));
        self.units.iter().for_each(|unit| hash.0.update(unit.to_le_bytes()));
        // Their text in pieces, which may be longer than they are.
        write!(hash, "{:?}", self.answers).expect("a hash takes everything");
        hash.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// How many examples there are of each class.
    pub(super) fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        if let Answers::Classes(of_all) | Answers::Tokens(of_all) = &self.answers {
            for &class in of_all.iter().filter(|class| **class != IGNORED) {
                counts[class as usize] += 1;
            }
        }
        counts
    }

    /// Lays out `units` for the model, in parts of at most `limit` tokens or of one unit, with
    /// these weights of classes.
    pub(super) fn parts(
        &self,
        config: &ModelConfig,
        units: &[u32],
        limit: usize,
        weights: Option<&[f64]>,
    ) -> Result<Vec<(Batch, TaskTargets)>> {
        let mut parts = Vec::new();
        let mut rest = units;
        while !rest.is_empty() {
            let mut tokens = 0;
            let mut fits = |unit: &u32| {
                tokens += self.length(*unit as usize);
                tokens <= limit
            };
            let count = rest.iter().take_while(|unit| fits(unit)).count().max(1);
            let (part, others) = rest.split_at(count);
            parts.push(self.part(config, part, weights)?);
            rest = others;
        }
        Ok(parts)
    }

    fn part(
        &self,
        config: &ModelConfig,
        units: &[u32],
        weights: Option<&[f64]>,
    ) -> Result<(Batch, TaskTargets)> {
        let mut batch = Batch::new();
        for sequence in units.iter().flat_map(|unit| self.sequences(*unit)) {
            let ids = &self.ids[self.starts[sequence]..self.starts[sequence + 1]];
            let firsts = self.firsts[sequence] as usize;
            let types: Vec<u32> = (0..ids.len()).map(|token| u32::from(token >= firsts)).collect();
            batch.push(config, ids, &types)?;
        }
        Ok((batch, self.targets(units, weights)))
    }

    fn sequences(&self, unit: u32) -> Range<usize> {
        self.units[unit as usize]..self.units[unit as usize + 1]
    }

    fn targets(&self, units: &[u32], weights: Option<&[f64]>) -> TaskTargets {
        let sequences = || units.iter().flat_map(|unit| self.sequences(*unit));
        let weights = weights.map(<[f64]>::to_vec);
        match &self.answers {
            Answers::Classes(all) => {
                TaskTargets::Classes(sequences().map(|sequence| all[sequence]).collect(), weights)
            }
            Answers::Tokens(all) => {
                let of = |sequence: usize| &all[self.starts[sequence]..self.starts[sequence + 1]];
                TaskTargets::Classes(sequences().flat_map(of).copied().collect(), weights)
            }
            Answers::Several(width, all) => {
                let of = |sequence: usize| &all[width * sequence..width * (sequence + 1)];
                let number = |holds: &bool| f64::from(u8::from(*holds));
                TaskTargets::Several(sequences().flat_map(of).map(number).collect())
            }
            Answers::Numbers(all) => {
                TaskTargets::Numbers(sequences().map(|sequence| all[sequence]).collect())
            }
            Answers::Options(all) => TaskTargets::Choices(
                units
                    .iter()
                    .map(|unit| (self.sequences(*unit).len(), all[*unit as usize] as usize))
                    .collect(),
            ),
            Answers::Spans(all) => {
                let span = |sequence: usize| {
                    let (start, end) = all[sequence];
                    (start as usize, end as usize)
                };
                TaskTargets::Spans(sequences().map(span).collect())
            }
            Answers::Joint(all) => {
                TaskTargets::Joint(sequences().map(|sequence| all[sequence].clone()).collect())
            }
        }
    }
}
