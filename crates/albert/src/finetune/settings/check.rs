//! What the values of the settings may be.

use super::{ClassWeights, Settings};
use crate::error::{Error, Result};
use crate::tasks::{Columns, Kind, Task};
use crate::train::ScheduleName;

/// More than any run has.
const EPOCHS_MAX: f64 = 1e6;

impl Settings {
    /// Checks the values that neither the model nor the readers of files check.
    ///
    /// # Errors
    /// Names the setting, its value and what it could be.
    pub fn validate(&self) -> Result<()> {
        let kind = self.task()?.kind();
        if self.train.is_empty() {
            return Err(Error::config("nothing to learn from: give a file with --train"));
        }
        self.check_counts()?;
        self.check_numbers()?;
        self.check_choices()?;
        self.check_adapter()?;
        self.check_table()?;
        self.check_dev()?;
        let classes = matches!(kind, Kind::Label | Kind::Tags);
        if self.class_weights.is_some() && !classes {
            let task = &self.task;
            return Err(Error::config(format!(
                "class-weights are for tasks with one label for each text or word, and {task} has \
                 none"
            )));
        }
        if let Some(ClassWeights::Each(weights)) = &self.class_weights
            && let Some((label, weight)) =
                weights.iter().find(|(_, weight)| !(weight.is_finite() && **weight >= 0.0))
        {
            return Err(Error::config(format!(
                "the class weight of {label:?} is {weight}: must be a number from 0 up"
            )));
        }
        if let (Some(warmup), Some(steps)) = (self.warmup_steps, self.steps)
            && warmup > steps
        {
            return Err(Error::config(format!(
                "warmup-steps is {warmup}: must be at most the number of steps, {steps}"
            )));
        }
        Ok(())
    }

    /// What is asked of development data where there is none.
    fn check_dev(&self) -> Result<()> {
        let of_dev =
            [("patience", self.patience.is_some()), ("eval-steps", self.eval_steps.is_some())];
        match of_dev.iter().find(|(_, given)| *given && self.dev.is_empty()) {
            None => Ok(()),
            Some((name, _)) => Err(Error::config(format!(
                "{name} is about scores on development data: give a file with --dev"
            ))),
        }
    }

    /// What is said of tables where there is none, and pairs where there are single texts.
    fn check_table(&self) -> Result<()> {
        let task = self.task()?;
        let usual = Columns::text_and_label();
        let of_table = [
            ("text-column", self.text_column != usual.text),
            ("pair-column", self.pair_column.is_some()),
            ("label-column", Some(&self.label_column) != usual.label.as_ref()),
            ("label-separator", self.label_separator.is_some()),
            ("input-format", self.input_format.is_some()),
            ("no-header", !self.header),
        ];
        let given = of_table.iter().find(|(_, given)| *given);
        if let Some((name, _)) = given.filter(|_| !task.is_users()) {
            return Err(Error::config(format!(
                "{name} is about the tables of users, and the files of the task {} have columns of \
                 their own: leave it out",
                task.name()
            )));
        }
        if self.pair_column.is_some() && matches!(task, Task::Classify | Task::MultiLabel) {
            return Err(Error::config(format!(
                "pair-column: the task {} is of single texts; of pairs are pair-classify and \
                 regress",
                task.name()
            )));
        }
        if self.label_separator.is_some() && task.kind() != Kind::Labels {
            return Err(Error::config(format!(
                "label-separator: a text of the task {} has one label; several have those of \
                 multi-label",
                task.name()
            )));
        }
        Ok(())
    }

    /// What is said of an adapter without one, and what an adapter does not go with.
    fn check_adapter(&self) -> Result<()> {
        let of_adapter = [
            ("rank", self.rank.is_some()),
            ("alpha", self.alpha.is_some()),
            ("adapter-targets", self.adapter_targets.is_some()),
            ("adapter-per-depth", self.adapter_per_depth),
        ];
        let without = [
            ("head-learning-rate", self.head_learning_rate.is_some()),
            ("layer-decay", self.layer_decay != 1.0),
            ("freeze", !self.freeze.is_empty()),
        ];
        let is_given = |(_, given): &&(&str, bool)| *given;
        match self.adapter() {
            None => match of_adapter.iter().find(is_given) {
                Some((name, _)) => {
                    let message = format!("{name} is of an adapter: give adapter = \"lora\" too");
                    Err(Error::config(message))
                }
                None => Ok(()),
            },
            Some(adapter) => {
                if let Some((name, _)) = without.iter().find(is_given) {
                    return Err(Error::config(format!(
                        "{name} does not go with an adapter, beside which all of the model stays \
                         as it is"
                    )));
                }
                adapter.check()
            }
        }
    }

    fn check_counts(&self) -> Result<()> {
        for (name, value) in [
            ("steps", self.steps.unwrap_or(1)),
            ("batch-size", self.batch_size.unwrap_or(1)),
            ("batch-tokens", self.batch_tokens.unwrap_or(1)),
            ("log-steps", self.log_steps),
            ("eval-steps", self.eval_steps.unwrap_or(1)),
            ("save-steps", self.save_steps.unwrap_or(1)),
            ("patience", self.patience.unwrap_or(1)),
            ("doc-stride", self.doc_stride as u64),
            ("max-question-length", self.max_question_length as u64),
            ("keep", self.keep as u64),
        ] {
            if value == 0 {
                return Err(Error::config(format!("{name} is 0: must be at least 1")));
            }
        }
        if self.max_length < 4 {
            let length = self.max_length;
            let message = format!("max-length is {length}: must be at least 4");
            return Err(Error::config(message));
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<()> {
        let numbers = [
            ("learning-rate", self.learning_rate),
            ("head-learning-rate", self.head_learning_rate.unwrap_or(0.0)),
            ("epsilon", self.epsilon),
            ("weight-decay", self.weight_decay),
            ("clip-norm", self.clip_norm),
        ];
        for (name, value) in numbers {
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
        let share = self.warmup_share.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::config(format!("warmup-share is {share}: must be from 0 to 1")));
        }
        let epochs = self.epochs.unwrap_or(1.0);
        if !(epochs > 0.0 && epochs <= EPOCHS_MAX) {
            return Err(Error::config(format!(
                "epochs is {epochs}: must be above 0, and at most {EPOCHS_MAX}"
            )));
        }
        let decay = self.layer_decay;
        if !(decay > 0.0 && decay <= 1.0) {
            let message = format!("layer-decay is {decay}: must be above 0, and at most 1");
            return Err(Error::config(message));
        }
        Ok(())
    }

    /// Of every two that exclude each other there must be one.
    fn check_choices(&self) -> Result<()> {
        for (names, given) in [
            (["epochs", "steps"], [self.epochs.is_some(), self.steps.is_some()]),
            (
                ["batch-size", "batch-tokens"],
                [self.batch_size.is_some(), self.batch_tokens.is_some()],
            ),
            (
                ["warmup-steps", "warmup-share"],
                [self.warmup_steps.is_some(), self.warmup_share.is_some()],
            ),
        ] {
            let [first, second] = names;
            match given {
                [true, true] => {
                    let message = format!("{first} and {second} are given: give one of the two");
                    return Err(Error::config(message));
                }
                [false, false] => {
                    return Err(Error::config(format!("give {first} or {second}")));
                }
                _ => {}
            }
        }
        match self.schedule {
            ScheduleName::Linear | ScheduleName::Cosine | ScheduleName::Constant => Ok(()),
            _ => Err(Error::config("the schedule of fine-tuning is linear, cosine or constant")),
        }
    }
}
