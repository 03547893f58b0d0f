//! What the values of the settings may be.

use super::{Positions, ScheduleName, Settings, WeightedStore};
use crate::error::{Error, Result};

/// More steps, or more sequences in a step, than any run has: products of the two stay exact.
const STEPS_MAX: u64 = 1 << 40;
const BATCH_SIZE_MAX: u64 = 1 << 20;
const BATCH_TOKENS_MAX: u64 = 1 << 32;

impl Settings {
    /// Checks the values that neither the sampler nor the model checks.
    ///
    /// # Errors
    /// Names the setting, its value and what it could be.
    pub fn validate(&self) -> Result<()> {
        let at_most = [
            ("steps", self.steps, STEPS_MAX),
            ("batch-size", self.batch_size.unwrap_or(1), BATCH_SIZE_MAX),
            ("batch-tokens", self.batch_tokens.unwrap_or(1), BATCH_TOKENS_MAX),
            ("log-steps", self.log_steps, u64::MAX),
            ("eval-steps", self.eval_steps, u64::MAX),
            ("eval-examples", self.eval_examples, u64::MAX),
            ("save-steps", self.save_steps, u64::MAX),
            ("max-ngram", self.max_ngram as u64, u64::MAX),
            ("keep", self.keep as u64, u64::MAX),
        ];
        for (name, value, limit) in at_most {
            if value == 0 {
                return Err(Error::config(format!("{name} is 0: must be at least 1")));
            }
            if value > limit {
                return Err(Error::config(format!("{name} is {value}: must be at most {limit}")));
            }
        }
        let not_negative = [
            ("learning-rate", self.learning_rate),
            ("end-learning-rate", self.end_learning_rate),
            ("epsilon", self.epsilon),
            ("weight-decay", self.weight_decay),
            ("clip-norm", self.clip_norm),
        ];
        for (name, value) in not_negative {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::config(format!(
                    "{name} is {value}: must be a number from 0 up"
                )));
            }
        }
        for (name, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&value) {
                return Err(Error::config(format!("{name} is {value}: must be in [0, 1)")));
            }
        }
        if !(self.mask_rate > 0.0 && self.mask_rate < 1.0) {
            let rate = self.mask_rate;
            return Err(Error::config(format!("mask-rate is {rate}: must be between 0 and 1")));
        }
        if self.model.is_some() && self.positions != Positions::Normal {
            return Err(Error::config(
                "positions says how position embeddings start, and here they are the model's: \
                 leave it out",
            ));
        }
        self.check_stores()?;
        self.check_lengths()?;
        self.check_schedule()?;
        self.check_batch()?;
        self.check_batch_warmup()
    }

    fn check_stores(&self) -> Result<()> {
        if self.data.is_empty() {
            return Err(Error::config(
                "no text to train on: give a store with --data (albert prepare makes one)",
            ));
        }
        for (index, WeightedStore { path, weight, .. }) in self.data.iter().enumerate() {
            let path = path.display();
            if !(weight.is_finite() && *weight > 0.0) {
                return Err(Error::config(format!(
                    "the weight of {path} is {weight}: must be a number above 0"
                )));
            }
            if self.data[..index].iter().any(|other| other.path == self.data[index].path) {
                return Err(Error::config(format!(
                    "{path} is given twice: give it once, with a larger weight"
                )));
            }
        }
        Ok(())
    }

    fn check_lengths(&self) -> Result<()> {
        for (index, (length, share)) in self.length_mix.iter().enumerate() {
            if !(share.is_finite() && *share > 0.0) {
                return Err(Error::config(format!(
                    "length-mix: the share of length {length} is {share}: must be a number above 0"
                )));
            }
            if self.length_mix[..index].iter().any(|(other, _)| other == length) {
                return Err(Error::config(format!("length-mix names length {length} twice")));
            }
        }
        match self.length_mix.iter().map(|(length, _)| *length).max() {
            Some(longest) if longest != self.sequence_length => Err(Error::config(format!(
                "sequence-length is {}, and the longest of length-mix {longest}: give one of the \
                 two, or the same length",
                self.sequence_length
            ))),
            _ => Ok(()),
        }
    }

    fn check_batch(&self) -> Result<()> {
        match (self.batch_size, self.batch_tokens) {
            (Some(size), Some(tokens)) => Err(Error::config(format!(
                "batch-size and batch-tokens are given, {size} and {tokens}: a batch is counted \
                 in sequences or in tokens, so give one of the two"
            ))),
            (_, Some(tokens)) if tokens < self.sequence_length as u64 => {
                Err(Error::config(format!(
                    "batch-tokens is {tokens}: must hold a sequence, sequence-length is {}",
                    self.sequence_length
                )))
            }
            _ => Ok(()),
        }
    }

    fn check_schedule(&self) -> Result<()> {
        let Self { steps, warmup_steps, learning_rate, end_learning_rate, .. } = *self;
        if warmup_steps >= steps {
            return Err(Error::config(format!(
                "warmup-steps is {warmup_steps}: must be below the number of steps, {steps}"
            )));
        }
        if end_learning_rate > learning_rate {
            return Err(Error::config(format!(
                "end-learning-rate is {end_learning_rate}: must be at most learning-rate, \
                 {learning_rate}"
            )));
        }
        if self.schedule == ScheduleName::Constant && end_learning_rate != 0.0 {
            return Err(Error::config(format!(
                "end-learning-rate is {end_learning_rate}, but the constant schedule stays at \
                 learning-rate: leave it out, or choose another schedule"
            )));
        }
        match (self.schedule == ScheduleName::Polynomial, self.power) {
            (true, None) => {
                return Err(Error::config("the polynomial schedule needs a power: give power"));
            }
            (false, Some(_)) => {
                return Err(Error::config("power: only schedule polynomial has it"));
            }
            (true, Some(power)) if !(power.is_finite() && power > 0.0) => {
                return Err(Error::config(format!("power is {power}: must be a number above 0")));
            }
            _ => {}
        }
        match (self.schedule == ScheduleName::Wsd, self.decay_steps) {
            (true, None) => Err(Error::config("the wsd schedule needs decay-steps")),
            (false, Some(_)) => Err(Error::config("decay-steps: only schedule wsd has them")),
            (true, Some(decay)) if decay == 0 || decay > steps - warmup_steps => {
                Err(Error::config(format!(
                    "decay-steps is {decay}: must be from 1 to the steps after warm-up, {}",
                    steps - warmup_steps
                )))
            }
            _ => Ok(()),
        }
    }

    fn check_batch_warmup(&self) -> Result<()> {
        let full = self.batch_sizes().full;
        let least = if self.batch_tokens.is_some() { self.sequence_length as u64 } else { 1 };
        match (self.batch_warmup_steps, self.batch_warmup_start) {
            (0, None) => Ok(()),
            (0, Some(_)) => Err(Error::config(
                "batch-warmup-start is given, but batch-warmup-steps is 0: give both or neither",
            )),
            (_, None) => Err(Error::config(
                "batch-warmup-steps is given without batch-warmup-start, the size of the first \
                 batch: give both or neither",
            )),
            (_, Some(start)) if !(least..=full).contains(&start) => Err(Error::config(format!(
                "batch-warmup-start is {start}: must be from {least} to the size of the batch, \
                 {full}"
            ))),
            (steps, _) if steps > STEPS_MAX => Err(Error::config(format!(
                "batch-warmup-steps is {steps}: must be at most {STEPS_MAX}"
            ))),
            _ => Ok(()),
        }
    }
}
