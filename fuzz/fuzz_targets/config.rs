//! A config beside good weights.
#![no_main]

use std::sync::LazyLock;

use albert_fuzz::Desk;
use libfuzzer_sys::fuzz_target;

static DESK: LazyLock<Desk> = LazyLock::new(|| Desk::with("import/albert", &["model.safetensors"]));

fuzz_target!(|input: &[u8]| {
    DESK.lay("config.json", input);
    DESK.read_model("");
});
