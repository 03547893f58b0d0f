//! Pre-training: settings, schedule, the loop, and the run on disk. Examples come from
//! [`crate::data`], arithmetic from [`crate::model`].

mod events;
mod feed;
mod log;
mod memory;
mod metrics;
mod pretrain;
mod publish;
mod run;
mod schedule;
mod settings;
mod step;

pub use metrics::{EvaluationMetrics, StepMetrics};
pub use pretrain::{Event, Outcome, Pretraining};
pub use run::{Best, Run};
pub use schedule::{BatchSizes, Decay, Schedule};
pub use settings::{
    Objective, OptimizerName, Positions, ScheduleName, Settings, TrainingPrecision, WeightedStore,
};
