//! A file of safetensors beside a good config: as it is, or a header with the right length before it
//! and enough data behind.
#![no_main]

use std::sync::LazyLock;

use albert_fuzz::{Desk, wrap};
use libfuzzer_sys::fuzz_target;

static DESK: LazyLock<Desk> = LazyLock::new(|| Desk::with("import/albert", &["config.json"]));

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let file = if mode % 2 == 0 { rest.to_vec() } else { wrap::safetensors(rest) };
    DESK.lay("model.safetensors", &file);
    DESK.read_model("");
});
