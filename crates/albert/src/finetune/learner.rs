//! What learns in a run: a whole model, or an adapter beside a model that stays as it is.

use super::rates::{is_unused, parts, rates};
use super::settings::Settings;
use crate::backend::{Backend, Cpu};
use crate::error::{Error, Result};
use crate::model::{Adapter, LoraConfig, Optimizer, OptimizerState, TrainingModel};
use crate::random::Seed;

/// What the optimizer keeps of a whole model, by the names in its file.
const MOMENTS: [&str; 2] = ["first_moment", "second_moment"];
/// The same of an adapter, whose values the weights of the model do not tell.
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

    /// The names of the tensors that [`tensors`](Self::tensors) gives, and how long each is.
    pub(super) fn tensor_names(&self) -> (&'static [&'static str], usize) {
        match &self.rule {
            Rule::Whole(_) => (&MOMENTS, self.model.layout().len),
            Rule::Beside(adapter) => (&OF_ADAPTER, adapter.parameter_count()),
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

    /// Goes on from `step`, where the model and the [`tensors`](Self::tensors) were these.
    ///
    /// # Errors
    /// Beside an adapter: a model that is not the one that the adapter was trained beside.
    pub(super) fn go_to(
        &mut self,
        model: TrainingModel,
        tensors: &[Vec<f32>],
        step: u64,
        settings: &Settings,
    ) -> Result<()> {
        match &mut self.rule {
            Rule::Whole(state) => {
                state.set_moments(&model, &tensors[0], &tensors[1]);
                state.step = step;
                self.model = model;
            }
            Rule::Beside(adapter) => {
                adapter.set_values(&tensors[0]);
                adapter.set_moments(&tensors[1], &tensors[2]);
                adapter.step = step;
                adapter.apply(&mut self.model);
                if !is_same(&self.model, &model) {
                    return Err(Error::input(format!(
                        "{} is another model than when the run was started: put it back, or start \
                         a new run",
                        settings.model.display()
                    )));
                }
            }
        }
        Ok(())
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

/// Whether two models have the same weights in all that a checkpoint of a task holds.
fn is_same(one: &TrainingModel, other: &TrainingModel) -> bool {
    let unused = is_unused(one.config(), one.layout());
    let mut kept =
        one.layout().parameters.iter().filter(|parameter| !unused(parameter.span.offset));
    kept.all(|parameter| one.parameter(parameter.span) == other.parameter(parameter.span))
}
