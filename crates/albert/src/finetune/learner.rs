//! What learns in a run: a whole model, or an adapter beside a model that stays as it is.

use super::rates::{is_unused, parts, rates};
use super::settings::Settings;
use crate::backend::{Backend, Cpu};
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::model::{Adapter, Layout, LoraConfig, Optimizer, OptimizerState, TrainingModel};
use crate::random::Seed;
use crate::train::MOMENTS;

/// What the optimizer keeps of an adapter, whose values the weights of the model do not tell.
const OF_ADAPTER: [&str; 3] = ["adapter", "first_moment", "second_moment"];

/// A model that is trained, and how.
pub(super) struct Learner {
    pub(super) model: TrainingModel,
    optimizer: Optimizer,
    rule: Rule,
}

/// What is changed by a step.
enum Rule {
    Whole(OptimizerState<Cpu>),
    Beside(Box<Adapter>),
}

impl Learner {
    /// At the beginning. Beside an adapter a pooler that the model came without is trained whole.
    ///
    /// # Errors
    /// Settings that do not fit the model.
    pub(super) fn new(
        mut model: TrainingModel,
        had_pooler: bool,
        settings: &Settings,
    ) -> Result<Self> {
        let layout = model.layout();
        settings.optimizer().check(layout)?;
        let rates = rates(settings, model.config(), layout)?;
        let optimizer = Optimizer { rates: Some(rates), ..settings.optimizer() };
        let rule = match settings.adapter() {
            None => Rule::Whole(OptimizerState::new(&model)),
            Some(config) => {
                Adapter::check_optimizer(&optimizer)?;
                let config =
                    LoraConfig { pooler: parts(model.config()).pooler && !had_pooler, ..config };
                let seed = Seed::new(settings.seed).split("adapter", 0);
                let adapter = Adapter::new(&model, &config, seed)?;
                adapter.apply(&mut model);
                Rule::Beside(Box::new(adapter))
            }
        };
        Ok(Self { model, optimizer, rule })
    }

    /// Checks that what a run begins with is the model that `config` describes.
    ///
    /// # Errors
    /// It is another.
    pub(super) fn check(&self, config: &ModelConfig, settings: &Settings) -> Result<()> {
        if self.model.config() == config { Ok(()) } else { Err(another(settings)) }
    }

    /// The names of the tensors that [`tensors`](Self::tensors) gives, and how long each is: of a
    /// whole model, or of one that is `beside` an adapter.
    pub(super) fn tensors_of(
        beside: Option<&Self>,
        config: &ModelConfig,
    ) -> (&'static [&'static str], usize) {
        match beside.and_then(Self::adapter) {
            None => (&MOMENTS, Layout::new(config).len),
            Some(adapter) => (&OF_ADAPTER, adapter.parameter_count()),
        }
    }

    /// What besides the weights the next step depends on.
    pub(super) fn tensors(&self) -> Vec<(&'static str, Vec<f32>)> {
        match &self.rule {
            Rule::Whole(state) => MOMENTS.into_iter().zip(state.moments(&self.model)).collect(),
            Rule::Beside(adapter) => {
                let [first, second] = adapter.moments();
                let all = [adapter.values(), first, second].map(<[f32]>::to_vec);
                OF_ADAPTER.into_iter().zip(all).collect()
            }
        }
    }

    /// At `step`, where the model and the [`tensors`](Self::tensors) were these; of an adapter,
    /// `beside` what the run began with.
    ///
    /// # Errors
    /// Beside an adapter: a model that is not the one that the adapter was trained beside.
    pub(super) fn at(
        step: u64,
        model: TrainingModel,
        tensors: &[Vec<f32>],
        beside: Option<Self>,
        settings: &Settings,
    ) -> Result<Self> {
        let Some(mut learner) = beside else {
            let mut learner = Self::new(model, true, settings)?;
            if let Rule::Whole(state) = &mut learner.rule {
                state.set_moments(&learner.model, &tensors[0], &tensors[1]);
                state.step = step;
            }
            return Ok(learner);
        };
        if let Rule::Beside(adapter) = &mut learner.rule {
            adapter.set_values(&tensors[0]);
            adapter.set_moments(&tensors[1], &tensors[2]);
            adapter.step = step;
            adapter.apply(&mut learner.model);
        }
        if !is_same(&learner.model, &model) {
            return Err(another(settings));
        }
        Ok(learner)
    }

    /// The global norm of the gradients of what learns, given those of the model.
    pub(super) fn gradient_norm(&mut self, gradients: &<Cpu as Backend>::Buffer) -> f64 {
        match &mut self.rule {
            Rule::Whole(_) => self.model.gradient_norm(&self.optimizer, gradients),
            Rule::Beside(adapter) => {
                adapter.gradients(&self.model, gradients);
                adapter.gradient_norm()
            }
        }
    }

    /// Takes one step; `norm` is the [`gradient_norm`](Self::gradient_norm) of `gradients`.
    pub(super) fn step(
        &mut self,
        learning_rate: f64,
        gradients: &mut <Cpu as Backend>::Buffer,
        norm: f64,
    ) {
        match &mut self.rule {
            Rule::Whole(state) => {
                self.model.optimize(&self.optimizer, learning_rate, gradients, norm, state);
            }
            Rule::Beside(adapter) => {
                adapter.optimize(self.model.backend(), &self.optimizer, learning_rate, norm);
                adapter.apply(&mut self.model);
            }
        }
    }

    /// How many parameters belong to the task.
    pub(super) fn parameters(&self) -> usize {
        let unused = is_unused(self.model.config(), self.model.layout());
        let all = self.model.layout().parameters.iter();
        let used = all.filter(|parameter| !unused(parameter.span.offset));
        used.map(|parameter| parameter.span.len).sum()
    }

    /// How many parameters are trained.
    pub(super) fn trained_parameters(&self) -> usize {
        match &self.rule {
            Rule::Whole(_) => {
                let rates = self.optimizer.rates.as_deref().unwrap_or_default();
                let all = self.model.layout().parameters.iter().zip(rates);
                all.filter(|(_, rate)| **rate > 0.0).map(|(parameter, _)| parameter.span.len).sum()
            }
            Rule::Beside(adapter) => adapter.parameter_count(),
        }
    }

    /// The adapter, if one is trained.
    pub(super) fn adapter(&self) -> Option<&Adapter> {
        match &self.rule {
            Rule::Whole(_) => None,
            Rule::Beside(adapter) => Some(adapter),
        }
    }
}

/// The error of a model that is not the one that a run was started with.
fn another(settings: &Settings) -> Error {
    Error::input(format!(
        "{} is another model than when the run was started: put it back, or start a new run",
        settings.model.display()
    ))
}

/// Whether two models have the same weights in all that a checkpoint of a task holds.
fn is_same(one: &TrainingModel, other: &TrainingModel) -> bool {
    let unused = is_unused(one.config(), one.layout());
    let mut kept =
        one.layout().parameters.iter().filter(|parameter| !unused(parameter.span.offset));
    kept.all(|parameter| one.parameter(parameter.span) == other.parameter(parameter.span))
}
