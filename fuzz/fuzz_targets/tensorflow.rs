//! A checkpoint of TensorFlow: the table and the numbers, as they are; with the table's checksums
//! made right; or a block of the table in a table that is whole.
#![no_main]

use std::sync::LazyLock;

use albert_fuzz::{Desk, parts, wrap};
use libfuzzer_sys::fuzz_target;

static DESK: LazyLock<Desk> =
    LazyLock::new(|| Desk::with("import/albert/tf", &["albert_config.json"]));

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let [table, numbers] = parts(rest);
    let mut table = match mode % 4 {
        0 | 1 => table.to_vec(),
        2 => wrap::table(table, 0),
        _ => wrap::table(table, 1),
    };
    if mode % 4 == 1 {
        wrap::repair(&mut table);
    }
    DESK.lay("m.index", &table);
    DESK.lay("m.data-00000-of-00001", numbers);
    DESK.read_model("m");
});
