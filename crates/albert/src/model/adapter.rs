//! LoRA (Hu et al. 2022, <https://arxiv.org/abs/2106.09685>): beside a matrix `W [out, in]` that
//! stays as it is, two small ones are trained, `A [r, in]` and `B [out, r]`, and the model computes
//! with `W + s B A`. How adapters lie on disk is not this module's business.
//!
//! In an ALBERT one adapter serves every depth, as the weights do. So the network needs not know of
//! it: the sum stands in its parameters ([`Adapter::apply`]), its backward pass gives the gradient
//! of the sum over all depths, and the gradients of `A` and `B` are two small products of that
//! ([`Adapter::gradients`]). There is no dropout before `A`: it would be one of the input at each
//! depth, and PEFT's default is none.

mod expand;
mod products;
mod targets;

use rand::RngExt;

pub use expand::expand;
pub(crate) use expand::{expanded, shared_name};
pub(crate) use products::merge;
pub(crate) use targets::{candidates, module_of};

use super::TrainingModel;
use super::layout::{Layout, Parameter};
use super::optimizer::{Optimizer, OptimizerKind};
use crate::backend::{AdamStep, Backend, Cpu, Span};
use crate::error::{Error, Result};
use crate::random::Seed;

/// Every linear map of the encoder and the pooler.
pub const ALL_LINEAR: &str = "all-linear";

/// The largest rank that is taken for one.
pub const RANK_MAX: usize = 1 << 12;

/// What an adapter is.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// r: rows of A, columns of B.
    pub rank: usize,
    /// The sum is `W + (alpha / r) B A`.
    pub alpha: f64,
    /// Whether it is `alpha / sqrt(r)` instead (Kalajdzievski 2023).
    pub rank_stabilised: bool,
    /// The maps with an adapter, by the end of Hugging Face's name of the module (`query`,
    /// `attention.dense`), or [`ALL_LINEAR`].
    pub targets: Vec<String>,
    /// Whether each depth has an adapter of its own. The model must then share nothing; [`expand`]
    /// makes one of a model that does.
    pub per_depth: bool,
    /// Whether the pooler is trained, and kept, whole, like the head: for a model that came
    /// without one.
    pub pooler: bool,
}

impl Default for LoraConfig {
    /// Query and value, as PEFT has it for BERT, in rank 8: 24,576 numbers at a width of 768. Alpha
    /// is twice the rank, a common choice.
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 16.0,
            rank_stabilised: false,
            targets: vec!["query".to_owned(), "value".to_owned()],
            per_depth: false,
            pooler: false,
        }
    }
}

impl LoraConfig {
    /// s, which `B A` is multiplied by.
    #[must_use]
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rank_stabilised { rank.sqrt() } else { rank }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// Names the one that cannot be.
    pub fn check(&self) -> Result<()> {
        if !(1..=RANK_MAX).contains(&self.rank) {
            return Err(Error::config(format!(
                "the rank of the adapter is {}: must be from 1 to {RANK_MAX}",
                self.rank
            )));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(Error::config(format!(
                "the alpha of the adapter is {}: must be above 0",
                self.alpha
            )));
        }
        Ok(())
    }
}

/// A matrix of the model and the two beside it.
struct Target {
    parameter: Parameter,
    /// `[out, in]`: what the matrix was, and stays.
    base: Vec<f32>,
    /// `[r, in]` and `[out, r]`, among the values of the adapter.
    a: Span,
    b: Span,
}

/// A tensor that is trained whole.
struct Whole {
    parameter: Parameter,
    /// Among the values of the adapter.
    own: Span,
}

/// What a tensor of an adapter is to the parameter that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `[r, in]`.
    A,
    /// `[out, r]`.
    B,
    /// The parameter itself.
    Whole,
}

/// One tensor of an adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterTensor<'a> {
    /// The parameter of the model that it belongs to.
    pub parameter: &'a Parameter,
    /// What it is to that.
    pub role: Role,
    /// Row-major.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub values: &'a [f32],
}

/// Everything that is trained for a task beside a model that stays as it is: `A` and `B` of each
/// target, and the head for the task whole; with the moments of Adam for them.
pub struct Adapter {
    config: LoraConfig,
    targets: Vec<Target>,
    wholes: Vec<Whole>,
    /// One buffer for all tensors, those of the targets first; the others have its layout.
    values: Vec<f32>,
    gradients: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    /// Steps taken so far.
    pub step: u64,
}

impl Adapter {
    /// An adapter for `network`, whose parameters are those that it starts from: `A` is uniform up
    /// to `1 / sqrt(in)` (Kaiming's, as PEFT draws it), `B` is zero, so that at first nothing is
    /// changed, and the head is as it stands in `network`.
    ///
    /// # Errors
    /// A rank or alpha that cannot be; a target that is no linear map of the model, with a list of
    /// those that there are.
    ///
    /// # Panics
    /// When there should be an adapter for each depth, and the model shares blocks.
    pub fn new(network: &TrainingModel, config: &LoraConfig, seed: Seed) -> Result<Self> {
        config.check()?;
        let (layout, rank) = (network.layout(), config.rank);
        assert!(
            !config.per_depth || layout.attention.len() == layout.applications.len(),
            "an adapter for each depth is one of a model that shares nothing: `expand` it first"
        );
        let wholes = targets::wholes(layout, config.pooler);
        let mut values = Vec::new();
        let mut adapted = Vec::new();
        for parameter in targets::resolve(layout, &config.targets, &wholes)? {
            let [output, input] = parameter.shape[..] else { unreachable!("a matrix") };
            let a = Span { offset: values.len(), len: rank * input };
            let b = Span { offset: values.len() + a.len, len: output * rank };
            let mut generator = seed.split(parameter.name(), 0).generator();
            let bound = 1.0 / (input as f64).sqrt();
            values.extend((0..a.len).map(|_| generator.random_range(-bound..bound) as f32));
            values.resize(values.len() + b.len, 0.0);
            let base = network.parameter(parameter.span);
            adapted.push(Target { parameter: parameter.clone(), base, a, b });
        }
        let mut kept = Vec::new();
        for parameter in wholes {
            let own = Span { offset: values.len(), len: parameter.span.len };
            values.extend(network.parameter(parameter.span));
            kept.push(Whole { parameter: parameter.clone(), own });
        }
        let zeros = || vec![0.0; values.len()];
        let (gradients, first, second) = (zeros(), zeros(), zeros());
        let (config, targets, wholes) = (config.clone(), adapted, kept);
        Ok(Self { config, targets, wholes, values, gradients, first, second, step: 0 })
    }

    /// What it is.
    #[must_use]
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// Numbers that are trained.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.values.len()
    }

    /// Writes `W + s B A` of every target, and the tensors that are trained whole, into `network`.
    ///
    /// # Panics
    /// When it is not of the shape of the model that the adapter was made for.
    pub fn apply(&self, network: &mut TrainingModel) {
        self.expect_of(network);
        for Target { parameter, base, a, b } in &self.targets {
            let mut sum = base.clone();
            let (a, b) = (&self.values[a.range()], &self.values[b.range()]);
            merge(&mut sum, a, b, self.config.rank, self.config.scale());
            network.set_parameters(parameter.span.offset, &sum);
        }
        for Whole { parameter, own } in &self.wholes {
            network.set_parameters(parameter.span.offset, &self.values[own.range()]);
        }
    }

    /// Puts the weights of the targets back as they were before [`apply`](Self::apply), to the bit.
    ///
    /// # Panics
    /// As [`apply`](Self::apply).
    pub fn remove(&self, network: &mut TrainingModel) {
        self.expect_of(network);
        for Target { parameter, base, .. } in &self.targets {
            network.set_parameters(parameter.span.offset, base);
        }
    }

    /// Makes the gradients of the adapter's tensors, `dA = s Bᵀ dW` and `dB = s dW Aᵀ`, of those of
    /// the model that it was applied to.
    ///
    /// # Panics
    /// As [`apply`](Self::apply).
    pub fn gradients(&mut self, network: &TrainingModel, of_model: &<Cpu as Backend>::Buffer) {
        self.expect_of(network);
        let (rank, scale) = (self.config.rank, self.config.scale());
        for Target { parameter, a, b, .. } in &self.targets {
            let d_w = &of_model[parameter.span.range()];
            let both = &mut self.gradients[a.offset..b.range().end];
            let (d_a, d_b) = both.split_at_mut(a.len);
            products::d_a(d_a, &self.values[b.range()], d_w, rank, scale);
            products::d_b(d_b, d_w, &self.values[a.range()], rank, scale);
        }
        for Whole { parameter, own } in &self.wholes {
            self.gradients[own.range()].copy_from_slice(&of_model[parameter.span.range()]);
        }
    }

    /// The sum of the squares of all gradients.
    #[must_use]
    pub fn squared_norm(&self) -> f64 {
        self.gradients.iter().map(|&g| f64::from(g) * f64::from(g)).sum()
    }

    /// The global norm of the gradients.
    #[must_use]
    pub fn gradient_norm(&self) -> f64 {
        self.squared_norm().sqrt()
    }

    /// Multiplies all gradients by `factor`.
    pub fn scale(&mut self, factor: f64) {
        for gradient in &mut self.gradients {
            *gradient = (f64::from(*gradient) * factor) as f32;
        }
    }

    /// The gradients, in the order of [`values`](Self::values).
    #[must_use]
    pub fn gradient_values(&self) -> &[f32] {
        &self.gradients
    }

    /// Checks that an adapter can be trained with `optimizer`.
    ///
    /// # Errors
    /// LAMB: a matrix that starts at zero would have its updates scaled by its norm.
    pub fn check_optimizer(optimizer: &Optimizer) -> Result<()> {
        if optimizer.kind == OptimizerKind::AdamW {
            return Ok(());
        }
        Err(Error::config(
            "an adapter is not trained with LAMB, which scales the updates of a tensor by its \
             norm, and B starts at zero: choose AdamW",
        ))
    }

    /// Clips the gradients and takes one step with `learning_rate`; `norm` is their
    /// [`gradient_norm`](Self::gradient_norm). The model has what comes of it after
    /// [`apply`](Self::apply).
    ///
    /// # Panics
    /// When `optimizer` does not pass [`check_optimizer`](Self::check_optimizer).
    pub fn optimize(
        &mut self,
        backend: &Cpu,
        optimizer: &Optimizer,
        learning_rate: f64,
        norm: f64,
    ) {
        assert_eq!(optimizer.kind, OptimizerKind::AdamW, "adapters are trained with AdamW");
        if optimizer.clip_norm > 0.0 && norm > optimizer.clip_norm {
            self.scale(optimizer.clip_norm / norm);
        }
        self.step += 1;
        let matrices = self
            .targets
            .iter()
            .flat_map(|target| [(&target.parameter, target.a), (&target.parameter, target.b)]);
        let wholes = self.wholes.iter().map(|whole| (&whole.parameter, whole.own));
        for (parameter, span) in matrices.chain(wholes) {
            let excluded = optimizer.no_decay.iter().any(|part| parameter.has_in_name(part));
            let step = AdamStep {
                learning_rate,
                beta1: optimizer.beta1,
                beta2: optimizer.beta2,
                eps: optimizer.eps,
                weight_decay: if excluded { 0.0 } else { optimizer.weight_decay },
                bias_correction_step: optimizer.bias_correction.then_some(self.step),
                layer_adaptation: false,
            };
            let (values, gradients) = (&mut self.values, &self.gradients);
            backend.adam(&step, span, values, gradients, &mut self.first, &mut self.second);
        }
    }

    /// The values of all tensors one after the other, for saving.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Puts back saved values.
    ///
    /// # Panics
    /// When there are not as many as the adapter has.
    pub fn set_values(&mut self, values: &[f32]) {
        self.values.copy_from_slice(values);
    }

    /// The first and second moments, for saving.
    #[must_use]
    pub fn moments(&self) -> [&[f32]; 2] {
        [&self.first, &self.second]
    }

    /// Puts back saved moments.
    ///
    /// # Panics
    /// When there are not as many as the adapter has values.
    pub fn set_moments(&mut self, first: &[f32], second: &[f32]) {
        self.first.copy_from_slice(first);
        self.second.copy_from_slice(second);
    }

    /// Every tensor, in the order of [`values`](Self::values).
    pub fn tensors(&self) -> impl Iterator<Item = AdapterTensor<'_>> {
        let rank = self.config.rank;
        let tensor = |parameter, role, shape, span: &Span| {
            let values = &self.values[span.range()];
            AdapterTensor { parameter, role, shape, values }
        };
        let matrices = self.targets.iter().flat_map(move |Target { parameter, a, b, .. }| {
            let of_a = tensor(parameter, Role::A, vec![rank, parameter.shape[1]], a);
            [of_a, tensor(parameter, Role::B, vec![parameter.shape[0], rank], b)]
        });
        let whole = move |Whole { parameter, own }: &'_ Whole| (parameter.shape.clone(), *own);
        let wholes = self.wholes.iter().map(move |kept| {
            let (shape, own) = whole(kept);
            tensor(&kept.parameter, Role::Whole, shape, &own)
        });
        matrices.chain(wholes)
    }

    fn expect_of(&self, network: &TrainingModel) {
        let has = |layout: &Layout, own: &Parameter| {
            let found = layout.parameters.binary_search_by_key(&own.span.offset, |p| p.span.offset);
            found.is_ok_and(|at| layout.parameters[at] == *own)
        };
        let own = self.targets.iter().map(|target| &target.parameter);
        let mut own = own.chain(self.wholes.iter().map(|whole| &whole.parameter));
        assert!(own.all(|own| has(network.layout(), own)), "an adapter of another model");
    }
}
