//! A table of weights in several files, and one of these files.
#![no_main]

use std::sync::LazyLock;

use albert_fuzz::{Desk, parts};
use libfuzzer_sys::fuzz_target;

const FIRST: &str = "model-00001-of-00002.safetensors";

static DESK: LazyLock<Desk> = LazyLock::new(|| {
    Desk::with("import/albert", &["config.json", FIRST, "model-00002-of-00002.safetensors"])
});
static SHARD: LazyLock<Vec<u8>> = LazyLock::new(|| albert_fuzz::fixture("import/albert", FIRST));

fuzz_target!(|input: &[u8]| {
    let [table, shard] = parts(input);
    DESK.lay("model.safetensors.index.json", table);
    DESK.lay(FIRST, if shard.is_empty() { &SHARD } else { shard });
    DESK.read_model("");
});
