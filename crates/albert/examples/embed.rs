//! The texts that are most like the first: `cargo run --release --example embed -- MODEL TEXT...`.

use albert::predict::cosine_similarity;
use albert::{Embedder, Model};

fn main() -> albert::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = Model::load(arguments.next().expect("a model"))?;
    let texts: Vec<String> = arguments.collect();
    let inputs: Vec<&str> = texts.iter().map(String::as_str).collect();
    let vectors = Embedder::new(&model).embed(&inputs)?;
    let mut ranked = Vec::new();
    for (text, vector) in texts.iter().zip(&vectors).skip(1) {
        ranked.push((cosine_similarity(&vectors[0], vector)?, text));
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (score, text) in ranked {
        println!("{score:.3} {text}");
    }
    Ok(())
}
