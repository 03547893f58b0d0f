//! Optimizer steps over the table of parameters: LAMB and AdamW, with clipping by global norm.

use super::layout::{Layout, Parameter};
use super::network::Network;
use crate::backend::{AdamStep, Backend, Span};
use crate::error::{Error, Result};

/// Which optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptimizerKind {
    /// Layer-wise adaptive moments (You et al. 2020): each tensor's update is scaled by the ratio
    /// of the norms of the tensor and of the update, without a limit on the ratio, as the
    /// reference code has it (`lamb_optimizer.py`).
    Lamb,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    AdamW,
}

/// The constants of an optimizer.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimizer {
    /// Which.
    pub kind: OptimizerKind,
    /// Whether the moments are divided by `1 - beta^step`. `torch.optim.AdamW` and the paper of
    /// LAMB do; the reference code's LAMB does not, and AdamW without it is the
    /// `AdamWeightDecayOptimizer` of BERT and ALBERT (`optimization.py`).
    pub bias_correction: bool,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Except for what is in `no_decay`.
    pub weight_decay: f64,
    /// Parts of names ([`Parameter::has_in_name`](super::Parameter::has_in_name)) of tensors that are neither decayed nor, by
    /// LAMB, adapted.
    pub no_decay: Vec<String>,
    /// Gradients are scaled down to this global norm; 0 leaves them.
    pub clip_norm: f64,
    /// A factor of the learning rate for each tensor of the layout, in its order. A tensor with 0
    /// stays as it is: it is not decayed either, and its gradient counts for no norm. `None`
    /// trains all alike.
    pub rates: Option<Vec<f64>>,
}

impl Optimizer {
    /// The constants of the reference code (`lamb_optimizer.py`, `optimization.py`), with bias
    /// correction for AdamW.
    #[must_use]
    pub fn new(kind: OptimizerKind) -> Self {
        Self {
            kind,
            bias_correction: kind == OptimizerKind::AdamW,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-6,
            weight_decay: 0.01,
            no_decay: vec!["bias".to_owned(), "LayerNorm".to_owned()],
            clip_norm: 1.0,
            rates: None,
        }
    }

    /// The tensors that learn, each with its factor of the learning rate.
    fn trained<'a>(&'a self, layout: &'a Layout) -> impl Iterator<Item = (&'a Parameter, f64)> {
        let rate = |index: usize| self.rates.as_ref().map_or(1.0, |rates| rates[index]);
        let all = layout.parameters.iter().enumerate();
        all.map(move |(index, parameter)| (parameter, rate(index))).filter(|(_, rate)| *rate != 0.0)
    }

    /// Checks that every part of a name in `no_decay` occurs in the name of a tensor.
    ///
    /// # Errors
    /// Names the part that does not.
    pub fn check(&self, layout: &Layout) -> Result<()> {
        let is_used =
            |part: &String| layout.parameters.iter().any(|parameter| parameter.has_in_name(part));
        match self.no_decay.iter().find(|part| part.is_empty() || !is_used(part)) {
            None => Ok(()),
            Some(part) => Err(Error::config(format!(
                "no-decay names \"{part}\", which is part of the name of no tensor of the \
                 model: leave it out, or write it as it is in the names of the model's file"
            ))),
        }
    }
}

/// The moments of all parameters, in their layout, and the steps taken.
pub struct OptimizerState<B: Backend> {
    pub(super) first: B::Buffer,
    pub(super) second: B::Buffer,
    /// Steps taken so far.
    pub step: u64,
}

impl<B: Backend> OptimizerState<B> {
    /// No steps taken.
    #[must_use]
    pub fn new(network: &Network<B>) -> Self {
        let len = network.layout().len;
        let zeros = || network.backend().zeros(len);
        Self { first: zeros(), second: zeros(), step: 0 }
    }

    /// The first and second moments, for saving.
    pub fn moments(&self, network: &Network<B>) -> [Vec<B::Real>; 2] {
        let all = Span { offset: 0, len: network.layout().len };
        [&self.first, &self.second].map(|moments| network.backend().download(moments, all))
    }

    /// Puts back saved moments.
    pub fn set_moments(&mut self, network: &Network<B>, first: &[B::Real], second: &[B::Real]) {
        network.backend().upload(first, &mut self.first, 0);
        network.backend().upload(second, &mut self.second, 0);
    }
}

impl<B: Backend> Network<B> {
    /// The global norm of `gradients`, of the tensors that `optimizer` trains.
    #[must_use]
    pub fn gradient_norm(&self, optimizer: &Optimizer, gradients: &B::Buffer) -> f64 {
        let squares = |(parameter, _): (&Parameter, f64)| {
            self.backend().sum_of_squares(gradients, parameter.span)
        };
        optimizer.trained(self.layout()).map(squares).sum::<f64>().sqrt()
    }

    /// Clips `gradients` and takes one step with `learning_rate`. `norm` is their
    /// [`gradient_norm`](Self::gradient_norm).
    pub fn optimize(
        &mut self,
        optimizer: &Optimizer,
        learning_rate: f64,
        gradients: &mut B::Buffer,
        norm: f64,
        state: &mut OptimizerState<B>,
    ) {
        if optimizer.clip_norm > 0.0 && norm > optimizer.clip_norm {
            self.backend().scale(gradients, optimizer.clip_norm / norm);
        }
        state.step += 1;
        let lamb = optimizer.kind == OptimizerKind::Lamb;
        let (backend, layout, parameters) = self.parts_mut();
        for (parameter, rate) in optimizer.trained(layout) {
            let excluded = optimizer.no_decay.iter().any(|part| parameter.has_in_name(part));
            let step = AdamStep {
                learning_rate: rate * learning_rate,
                beta1: optimizer.beta1,
                beta2: optimizer.beta2,
                eps: optimizer.eps,
                weight_decay: if excluded { 0.0 } else { optimizer.weight_decay },
                bias_correction_step: optimizer.bias_correction.then_some(state.step),
                layer_adaptation: lamb && !excluded,
            };
            let OptimizerState { first, second, .. } = state;
            backend.adam(&step, parameter.span, parameters, gradients, first, second);
        }
    }
}
