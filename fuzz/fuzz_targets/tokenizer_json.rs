//! A `tokenizer.json`, and what may stand beside it.
#![no_main]

use std::sync::LazyLock;

use albert_fuzz::{Desk, parts};
use libfuzzer_sys::fuzz_target;

static DESK: LazyLock<Desk> = LazyLock::new(Desk::new);

fuzz_target!(|input: &[u8]| {
    let [tokenizer, config] = parts(input);
    DESK.lay("tokenizer.json", tokenizer);
    if config.is_empty() {
        DESK.remove("tokenizer_config.json");
    } else {
        DESK.lay("tokenizer_config.json", config);
    }
    DESK.read_tokenizer("tokenizer.json");
});
