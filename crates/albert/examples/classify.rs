//! Labels for texts: `cargo run --release --example classify -- MODEL TEXT...`, where MODEL was
//! fine-tuned for sequence classification.

use albert::{Classifier, Model, TooLong};

fn main() -> albert::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = Model::load(arguments.next().expect("a model"))?;
    let classifier = Classifier::new(&model)?.too_long(TooLong::Truncate);
    let texts: Vec<String> = arguments.collect();
    let inputs: Vec<&str> = texts.iter().map(String::as_str).collect();
    for (text, scores) in texts.iter().zip(classifier.classify(&inputs)?) {
        let (label, score) = scores.best();
        println!("{score:.3} {}  {text}", classifier.labels()[label]);
    }
    Ok(())
}
