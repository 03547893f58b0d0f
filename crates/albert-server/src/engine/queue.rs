//! What waits for one model, and which of it is computed next. Knows no threads and no models.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use albert::predict::{Operation, Output, Sequence};
use tokio::sync::oneshot;

use crate::permit::Permit;

/// A mask counts for so many tokens beside its own: what is computed of it is a word of memory for
/// each piece of the vocabulary.
const TOKENS_OF_MASK: usize = 32;

/// A token whose hidden state is asked for counts for so many: its answer is hundreds of numbers.
const TOKENS_OF_STATE: usize = 8;

/// A caller may take this part of a batch while others wait.
const SHARE_OF_BATCH: usize = 4;

/// What was computed for a call.
#[derive(Debug)]
pub(crate) struct Computed {
    /// What the call asked for.
    pub(crate) sequences: Vec<Sequence>,
    /// An output for each.
    pub(crate) outputs: Vec<Output>,
    /// Held until the answer is made, since outputs take memory too.
    pub(crate) permit: Permit,
    /// From the call to the first batch with something of it.
    pub(crate) waited: Duration,
    /// From there to the last.
    pub(crate) computed: Duration,
}

/// Something went wrong in the computation, which is our fault.
#[derive(Debug, Clone)]
pub(crate) struct Failed(pub(crate) String);

/// Sequences that one request waits for.
pub(super) struct Call {
    pub(super) operation: Operation,
    pub(super) sequences: Vec<Sequence>,
    /// As many as were computed.
    pub(super) outputs: Vec<Output>,
    pub(super) permit: Permit,
    pub(super) reply: oneshot::Sender<Result<Computed, Failed>>,
    pub(super) queued: Instant,
    pub(super) started: Option<Instant>,
}

/// What a sequence counts for in budgets.
pub(crate) fn weight(operation: Operation, sequence: &Sequence) -> usize {
    match operation {
        Operation::MaskedWords => sequence.tokens() + TOKENS_OF_MASK * sequence.rows().len(),
        Operation::HiddenStates => TOKENS_OF_STATE * sequence.tokens(),
        _ => sequence.tokens(),
    }
}

impl Call {
    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// How many of its sequences, `from` one on, fit into `budget`, and what they weigh.
    fn fitting(&self, from: usize, budget: usize) -> (usize, usize) {
        let (mut count, mut sum) = (0, 0);
        for sequence in &self.sequences[from..] {
            let weight = weight(self.operation, sequence);
            if sum + weight > budget {
                break;
            }
            (count, sum) = (count + 1, sum + weight);
        }
        (count, sum)
    }

    /// What it may take at first, of a budget of which so much is left: as many sequences as fit
    /// into its share, or one that is larger.
    fn first_part(&self, share: usize, left: usize, is_first: bool) -> (usize, usize) {
        let (count, sum) = self.fitting(self.outputs.len(), share.min(left));
        if count > 0 {
            return (count, sum);
        }
        let next = weight(self.operation, &self.sequences[self.outputs.len()]);
        if next <= left || is_first { (1, next) } else { (0, 0) }
    }

    /// Answers the caller, who may have left.
    fn reply(self) {
        let now = Instant::now();
        let started = self.started.unwrap_or(now);
        let _ = self.reply.send(Ok(Computed {
            sequences: self.sequences,
            outputs: self.outputs,
            permit: self.permit,
            waited: started - self.queued,
            computed: now - started,
        }));
    }
}

/// Calls of one operation, with how many sequences of each are computed together.
pub(super) struct Batch {
    pub(super) operation: Operation,
    parts: Vec<(Call, usize)>,
}

impl Batch {
    pub(super) fn sequences(&self) -> Vec<&Sequence> {
        let of = |(call, count): &(Call, usize)| {
            let from = call.outputs.len();
            from..from + count
        };
        self.parts.iter().flat_map(|part| &part.0.sequences[of(part)]).collect()
    }

    pub(super) fn calls(&self) -> usize {
        self.parts.len()
    }

    /// Says to all its callers that it failed.
    pub(super) fn fail(self, why: &Failed) {
        for (call, _) in self.parts {
            let _ = call.reply.send(Err(why.clone()));
        }
    }
}

/// Calls in the order in which they are served.
#[derive(Default)]
pub(super) struct Queue {
    calls: VecDeque<Call>,
}

impl Queue {
    pub(super) fn push(&mut self, call: Call) {
        self.calls.push_back(call);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Drops the calls whose callers left; gives how many.
    pub(super) fn forget_abandoned(&mut self) -> usize {
        let before = self.calls.len();
        self.calls.retain(|call| !call.is_abandoned());
        before - self.calls.len()
    }

    /// The next batch: calls of the operation that is first, in their order, each with as much as
    /// fits into its share of the budget, and then with more, as long as there is room. A single
    /// sequence that is larger than the budget is a batch of its own.
    ///
    /// Calls with a rest come back behind all others, see [`Queue::settle`]. So a caller with
    /// thousands of texts delays one with a single text by a batch, not by thousands of texts.
    pub(super) fn take(&mut self, budget: usize) -> Option<Batch> {
        let operation = self.calls.front()?.operation;
        let share = budget / SHARE_OF_BATCH;
        let (mut parts, mut left): (Vec<(Call, usize)>, usize) = (Vec::new(), budget);
        let mut staying = VecDeque::with_capacity(self.calls.len());
        for mut call in self.calls.drain(..) {
            let (count, sum) = if call.operation == operation {
                call.first_part(share, left, parts.is_empty())
            } else {
                (0, 0)
            };
            if count == 0 {
                staying.push_back(call);
                continue;
            }
            left = left.saturating_sub(sum);
            call.started.get_or_insert_with(Instant::now);
            parts.push((call, count));
        }
        self.calls = staying;
        for (call, count) in &mut parts {
            let (more, sum) = call.fitting(call.outputs.len() + *count, left);
            (*count, left) = (*count + more, left - sum);
        }
        Some(Batch { operation, parts })
    }

    /// Gives the outputs of a batch to its calls, and answers those that have all.
    pub(super) fn settle(&mut self, batch: Batch, outputs: Vec<Output>) {
        let mut outputs = outputs.into_iter();
        for (mut call, count) in batch.parts {
            call.outputs.extend(outputs.by_ref().take(count));
            if call.outputs.len() == call.sequences.len() {
                call.reply();
            } else {
                self.calls.push_back(call);
            }
        }
    }
}
