//! The model: parameters, forward and backward, heads and losses, optimizer steps. It knows
//! numbers, not text: token ids come in, tensors and losses go out.

pub(crate) mod adapter;
mod batch;
mod cost;
mod heads;
mod inference;
mod initialise;
mod layout;
mod memory;
mod network;
mod optimizer;
mod task;
mod task_exits;
mod task_joint;
mod task_loss;
mod workspace;

pub use adapter::{ALL_LINEAR, Adapter, AdapterTensor, LoraConfig, RANK_MAX, Role, expand};
pub use batch::{Batch, Targets};
pub use cost::{Operations, inference_memory};
pub use heads::{Losses, Outputs, Scales};
pub use inference::{
    ExitPolicy, Exited, InferenceModel, InferenceSpace, Int8Rows, JointScores, JointStart, Parts,
    Pooling, Weights,
};
pub use initialise::{PositionStart, Start, append_initial};
pub use layout::{AttentionBlock, FeedForwardBlock, HeadLayout, JointLayout, Layout, Parameter};
pub use memory::{Plan, TrainingMemory, default_tokens_per_batch};
pub use network::Network;
pub use optimizer::{Optimizer, OptimizerKind, OptimizerState};
pub use task_joint::JointTarget;
pub use task_loss::{IGNORED, TaskLoss, TaskTargets};
pub use workspace::Workspace;

use crate::backend::Cpu;

/// The model that is trained.
pub type TrainingModel = Network<Cpu>;
