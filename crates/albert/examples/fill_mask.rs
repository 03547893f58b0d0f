//! Words for the gaps: `cargo run --release --example fill_mask -- MODEL TEXT...`, where the texts
//! have `[MASK]` in them.

use albert::{MaskFiller, Model};

fn main() -> albert::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let filler = MaskFiller::new(&Model::load(arguments.next().expect("a model"))?)?;
    let texts: Vec<String> = arguments.collect();
    let inputs: Vec<&str> = texts.iter().map(String::as_str).collect();
    for (text, masks) in texts.iter().zip(filler.fill(&inputs, 3)?) {
        println!("{text}");
        for mask in masks {
            let words = mask.predictions.iter().map(|p| format!("{} {:.3}", p.token, p.score));
            println!("  {}", words.collect::<Vec<_>>().join(", "));
        }
    }
    Ok(())
}
