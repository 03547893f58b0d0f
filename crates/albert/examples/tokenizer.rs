//! Saves a tokenizer in the form that transformers reads, and says how fast it is.
//!
//! ```text
//! cargo run --release --example tokenizer -- TOKENIZER OUTPUT_DIR TEXT_FILE
//! ```

use std::path::Path;
use std::time::Instant;

use albert::Result;
use albert::files::read_lines;
use albert::tokenizer::Tokenizer;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tokenizer, output, text] = arguments.as_slice() else {
        eprintln!("usage: tokenizer TOKENIZER OUTPUT_DIR TEXT_FILE");
        std::process::exit(2);
    };
    let tokenizer = Tokenizer::load(Path::new(tokenizer))?;
    tokenizer.save(Path::new(output))?;
    let lines = read_lines(vec![text.into()]).collect::<Result<Vec<_>>>()?;
    for pass in ["first", "second"] {
        let mut ids = Vec::new();
        let start = Instant::now();
        for line in &lines {
            tokenizer.encode_ids(line, &mut ids)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        let megabytes = lines.iter().map(String::len).sum::<usize>() as f64 / 1e6;
        println!("{pass} pass: {} ids, {:.1} MB/s on one thread", ids.len(), megabytes / seconds);
    }
    Ok(())
}
