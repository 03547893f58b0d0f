//! One turn of rten: `rten-bench JOB.json` reads what `worker.py` reads and prints the same lines.
//!
//! Measures an ONNX model on token ids that are given; knows no tokenizer and draws nothing.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, ValueOrView};
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, Tensor};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Job {
    model: PathBuf,
    threads: usize,
    /// Each set is measured for at least so long, and at least so many times.
    seconds: f64,
    iterations: usize,
    /// Print what the model computes instead of how long it takes.
    check: bool,
    sets: Vec<Set>,
}

/// Batches that are timed together.
#[derive(Deserialize)]
struct Set {
    shape: String,
    batches: Vec<Batch>,
}

/// Sequences of one length: [sequences][tokens].
#[derive(Deserialize)]
struct Batch {
    ids: Vec<Vec<i32>>,
    /// 0 where a token is padding; no padding if absent.
    mask: Option<Vec<Vec<i32>>>,
}

struct Peer {
    model: Model,
    /// Token ids, token types, attention mask.
    inputs: [NodeId; 3],
    /// Last hidden state, pooler output.
    outputs: [NodeId; 2],
    pool: Arc<ThreadPool>,
}

type Inputs = [NdTensor<i32, 2>; 3];

impl Peer {
    fn load(path: &Path, threads: usize) -> Result<Self> {
        let model = ModelOptions::with_all_ops()
            .prepack_weights(true)
            .load_file(path)
            .with_context(|| format!("{}: cannot load the model", path.display()))?;
        let node = |name| model.node_id(name);
        let inputs = [node("input_ids")?, node("token_type_ids")?, node("attention_mask")?];
        let outputs = [node("last_hidden_state")?, node("pooler_output")?];
        let pool = Arc::new(ThreadPool::with_num_threads(threads));
        Ok(Self { model, inputs, outputs, pool })
    }

    /// Hidden states and pooler output of a batch.
    fn run(&self, inputs: &Inputs) -> Result<[rten::Value; 2]> {
        let given = self.inputs.iter().zip(inputs);
        let given = given.map(|(node, values)| (*node, ValueOrView::from(values.view()))).collect();
        let options = RunOptions::default().with_thread_pool(Some(self.pool.clone()));
        Ok(self.model.run_n(given, self.outputs, Some(options))?)
    }

    fn pass(&self, batches: &[Inputs]) -> Result<f64> {
        let start = Instant::now();
        for batch in batches {
            std::hint::black_box(self.run(batch)?);
        }
        Ok(start.elapsed().as_secs_f64())
    }

    /// Milliseconds of one pass over the batches: the median, after a quarter of the time to
    /// warm up.
    fn time(&self, batches: &[Inputs], job: &Job) -> Result<f64> {
        let mut warm = self.pass(batches)?;
        while warm < job.seconds / 4.0 {
            warm += self.pass(batches)?;
        }
        let (mut seconds, mut total) = (Vec::new(), 0.0);
        while total < job.seconds || seconds.len() < job.iterations {
            seconds.push(self.pass(batches)?);
            total += seconds[seconds.len() - 1];
        }
        Ok(1e3 * median(seconds))
    }

    fn check(&self, batches: &[Inputs]) -> Result<Vec<Value>> {
        let values = |value: rten::Value| -> Result<Vec<f32>> {
            Ok(Tensor::<f32>::try_from(value)?.to_vec())
        };
        let outputs = batches.iter().map(|batch| {
            let [hidden, pooler] = self.run(batch)?;
            Ok(json!({"hidden": values(hidden)?, "pooler": values(pooler)?}))
        });
        outputs.collect()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

fn inputs(batch: &Batch) -> Result<Inputs> {
    let tokens = batch.ids.first().map_or(0, Vec::len);
    let shape = [batch.ids.len(), tokens];
    let tensor = |rows: &[Vec<i32>]| {
        ensure!(rows.iter().all(|row| row.len() == tokens), "the rows of a batch differ in length");
        Ok(NdTensor::from_data(shape, rows.concat()))
    };
    let ones = || Ok(NdTensor::full(shape, 1));
    let mask = batch.mask.as_ref().map_or_else(ones, |mask| tensor(mask))?;
    Ok([tensor(&batch.ids)?, NdTensor::zeros(shape), mask])
}

fn measure(peer: &Peer, set: &Set, job: &Job) -> Result<Value> {
    let batches = set.batches.iter().map(inputs).collect::<Result<Vec<_>>>()?;
    Ok(if job.check {
        json!({"shape": set.shape, "outputs": peer.check(&batches)?})
    } else {
        json!({"shape": set.shape, "milliseconds": peer.time(&batches, job)?})
    })
}

fn main() -> Result<()> {
    let path = std::env::args().nth(1).context("usage: rten-bench JOB.json")?;
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let job: Job = serde_json::from_str(&text).with_context(|| path.clone())?;
    let peer = Peer::load(&job.model, job.threads)?;
    for set in &job.sets {
        let line = measure(&peer, set, &job)
            .unwrap_or_else(|error| json!({"shape": set.shape, "error": format!("{error:#}")}));
        writeln!(stdout(), "{line}")?;
    }
    Ok(())
}
