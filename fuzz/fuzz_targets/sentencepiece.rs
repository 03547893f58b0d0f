//! A model of SentencePiece: as it is; more fields after a good one (the last of each counts, and
//! pieces are added); or the normalisation rules of a good one.
#![no_main]

use std::sync::LazyLock;

use albert_fuzz::{Desk, spiece};
use libfuzzer_sys::fuzz_target;

static DESK: LazyLock<Desk> = LazyLock::new(Desk::new);

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let file = match mode % 3 {
        0 => rest.to_vec(),
        1 => [spiece::good(), rest.to_vec()].concat(),
        _ => [spiece::good(), spiece::rules(rest)].concat(),
    };
    DESK.lay("spiece.model", &file);
    DESK.read_tokenizer("spiece.model");
});
