//! The first batches of each model, which make what later ones find made: memory as large as a batch
//! needs, packed words, pages of the weights in RAM.

use std::sync::Arc;

use albert::predict::{MaskFiller, Operation, Sequence};
use albert::{Pooling, Result};

use crate::app::{App, Phase};
use crate::served::{Served, Task};

/// Computes a whole batch with each model; then the server is ready.
pub(crate) async fn warm_up(app: Arc<App>) {
    for served in app.models.all() {
        if let Err(why) = warm(&app, served).await {
            tracing::error!(model = served.name, "the warm-up failed: {why}");
        }
    }
    app.enter(Phase::Ready);
    tracing::info!("ready");
}

async fn warm(app: &App, served: &Served) -> std::result::Result<(), String> {
    let mut work = vec![(Operation::Embedding(Pooling::Mean), batch(app, served))];
    if served.tasks.contains(&Task::FillMask) {
        work.push((Operation::MaskedWords, a_mask(served)));
    }
    for (operation, sequences) in work {
        let sequences = sequences.map_err(|error| error.to_string())?;
        let full = |_| "there is no room for it".to_owned();
        let permit = app.engine.acquire(served.index, 1).map_err(full)?;
        let computed = app.engine.compute(served.index, operation, sequences, permit).await;
        computed.map_err(|failed| failed.0)?;
    }
    Ok(())
}

/// As many sequences, as long as can be, as make a batch.
fn batch(app: &App, served: &Served) -> Result<Vec<Sequence>> {
    let tokens = app.settings.limits.batch_tokens;
    let length = served.positions().min(tokens).max(1);
    let sequence =
        served.model.sequence_of_ids(&vec![served.model.tokenizer().special().cls; length])?;
    Ok(vec![sequence; (tokens / length).max(1)])
}

fn a_mask(served: &Served) -> Result<Vec<Sequence>> {
    let tokenizer = served.model.tokenizer();
    let mask = tokenizer.token(tokenizer.special().mask).unwrap_or_default();
    Ok(vec![MaskFiller::new(&served.model)?.read(&mask)?])
}
