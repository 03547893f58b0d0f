//! A `vocab.txt`, and what may stand beside it.
#![no_main]

use std::sync::LazyLock;

use albert_fuzz::{Desk, parts};
use libfuzzer_sys::fuzz_target;

static DESK: LazyLock<Desk> = LazyLock::new(Desk::new);

fuzz_target!(|input: &[u8]| {
    let [vocab, config, special] = parts(input);
    DESK.lay("vocab.txt", vocab);
    for (name, bytes) in [("tokenizer_config.json", config), ("special_tokens_map.json", special)] {
        if bytes.is_empty() {
            DESK.remove(name);
        } else {
            DESK.lay(name, bytes);
        }
    }
    DESK.read_tokenizer("vocab.txt");
});
