//! A file of `torch.save` beside a good config: as it is; the pickle of a zip archive; or what comes
//! after the magic number of the old format.
#![no_main]

use std::sync::LazyLock;

use albert_fuzz::{Desk, wrap};
use libfuzzer_sys::fuzz_target;

static DESK: LazyLock<Desk> = LazyLock::new(|| Desk::with("import/albert", &["config.json"]));

/// The pickles of the magic number, the version and the system.
const OLD: &[u8] = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let storage = [0; 4096];
    let file = match mode % 3 {
        0 => rest.to_vec(),
        1 => wrap::zip(&[
            ("model/data.pkl", rest),
            ("model/byteorder", b"little"),
            ("model/data/0", &storage),
            ("model/data/1", &storage),
            ("model/data/2", &storage[..40]),
        ]),
        _ => [OLD, rest].concat(),
    };
    DESK.lay("model.bin", &file);
    DESK.read_model("model.bin");
});
