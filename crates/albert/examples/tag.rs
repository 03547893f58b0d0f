//! Entities of texts: `cargo run --release --example tag -- MODEL TEXT...`, where MODEL was
//! fine-tuned for token classification.

use albert::{Model, Tagger};

fn main() -> albert::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let tagger = Tagger::new(&Model::load(arguments.next().expect("a model"))?)?;
    let texts: Vec<String> = arguments.collect();
    let inputs: Vec<&str> = texts.iter().map(String::as_str).collect();
    for (text, entities) in texts.iter().zip(tagger.tag(&inputs)?) {
        println!("{text}");
        for entity in entities {
            let words = &text[entity.start..entity.end];
            println!("  {:.3} {} {words}", entity.score, entity.label);
        }
    }
    Ok(())
}
