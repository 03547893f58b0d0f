//! Fine-tuning: a trained encoder learns a task from examples. The loop, its settings, and its run
//! on disk; scores come from [`crate::evaluate`].

mod dataset;
mod feed;
mod learner;
mod material;
mod metrics;
mod order;
mod progress;
mod rates;
mod settings;
mod start;
mod training;

pub use feed::Reading;
pub use material::reading;
pub use metrics::{EvaluationMetrics, FileScores, StepMetrics, evaluations};
pub use progress::{Best, best};
pub use settings::{Balanced, ClassWeights, Settings};
pub use training::{Event, Finetuning, Outcome};
