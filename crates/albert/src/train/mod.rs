//! Pre-training: settings, schedule, the loop, and the run on disk. Examples come from
//! [`crate::data`], arithmetic from [`crate::model`].

mod events;
mod feed;
mod log;
mod memory;
mod metrics;
mod pretrain;
mod progress;
mod publish;
mod run;
mod schedule;
mod settings;
mod step;

pub(crate) use log::{Log, METRICS_FILE};
pub use memory::available_memory;
pub(crate) use memory::{MemoryAsked, plan};
pub use metrics::{EvaluationMetrics, StepMetrics};
pub use pretrain::{Event, Outcome, Pretraining};
pub use progress::Best;
pub use run::Run;
pub(crate) use run::{
    Content, MOMENTS, Restored, STATE_FILE, State, Wanted, WriteAdapter, check_finite,
};
pub use schedule::{BatchSizes, Decay, Schedule};
pub(crate) use settings::parse;
pub use settings::{
    Objective, OptimizerName, Positions, ScheduleName, Settings, TrainingPrecision, WeightedStore,
};
