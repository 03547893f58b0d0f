//! Lists the files of `page`, so that each of them is in the program.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=page");
    let page =
        Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo says where it is")).join("page");
    let mut names: Vec<String> = fs::read_dir(&page)
        .expect("page is a directory")
        .map(|entry| entry.expect("page can be read").file_name().into_string().expect("UTF-8"))
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort_unstable();
    let mut table = String::from("&[\n");
    for name in &names {
        let path = page.join(name);
        let _ = writeln!(table, "    ({name:?}, include_bytes!({path:?}).as_slice()),");
    }
    table += "]\n";
    let out = Path::new(&env::var("OUT_DIR").expect("cargo says where to write")).join("page.rs");
    fs::write(out, table).expect("OUT_DIR can be written");
}
