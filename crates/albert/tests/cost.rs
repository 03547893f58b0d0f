//! What `inference_memory` says beside what is taken.

use albert::Result;
use albert::backend::{Cpu, Precision, Span};
use albert::config::{ModelConfig, Sharing};
use albert::model::{
    Batch, InferenceModel, InferenceSpace, Int8Rows, Parts, Weights, inference_memory,
};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Weights that take no memory of their own.
struct Zeros;

impl Weights for Zeros {
    fn numbers(&self, span: Span) -> Result<Vec<f32>> {
        Ok(vec![0.0; span.len])
    }

    fn bytes(&self, _: Span) -> Result<Option<Int8Rows>> {
        Ok(None)
    }
}

/// One test, as the peak is the process's.
#[test]
fn no_more_is_taken_than_was_said_nor_far_less() {
    let backend = Cpu::detect().unwrap();
    let base = ModelConfig { num_hidden_layers: 2, ..ModelConfig::preset("base").unwrap() };
    let unshared = base.clone().with_sharing(Sharing::Nothing).unwrap();
    let bert = ModelConfig { num_hidden_layers: 4, ..ModelConfig::preset("bert-base").unwrap() };
    for (name, config) in [("base", base), ("unshared", unshared), ("bert", bert)] {
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
            let mut batch = Batch::new();
            for _ in 0..2 {
                batch.push(&config, &[7; 256], &[0; 256]).unwrap();
            }
            let said = inference_memory(&config, precision, batch.tokens());
            MEMORY.reset_peak_usage();
            let before = MEMORY.current_usage();
            let parts = Parts { pooler: true, ..Parts::default() };
            let model =
                InferenceModel::new(&backend, config.clone(), precision, parts, &Zeros).unwrap();
            model.pooled(&batch, &mut InferenceSpace::default());
            let taken = MEMORY.peak_usage() - before;
            println!("{name} {precision:?}: {taken} of {said}");
            assert!(taken <= said, "{name} {precision:?}: {taken} bytes, not {said}");
            // The program itself is counted, and is no part of this.
            let model = said - (48 << 20);
            assert!(taken > model / 2, "{name} {precision:?}: {taken} bytes, far from {said}");
        }
    }
}
