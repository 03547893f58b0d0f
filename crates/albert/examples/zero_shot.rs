//! Labels of one's own: `cargo run --release --example zero_shot -- MODEL TEXT LABEL...`, where
//! MODEL knows entailment.

use albert::predict::DEFAULT_HYPOTHESIS;
use albert::{Model, ZeroShot};

fn main() -> albert::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = Model::load(arguments.next().expect("a model"))?;
    let text = arguments.next().expect("a text");
    let labels: Vec<String> = arguments.collect();
    let zero_shot = ZeroShot::new(&model, &labels, DEFAULT_HYPOTHESIS)?;
    for (label, score) in labels.iter().zip(&zero_shot.classify(&[&text])?[0].0) {
        println!("{score:.3} {label}");
    }
    Ok(())
}
