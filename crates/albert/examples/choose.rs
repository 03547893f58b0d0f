//! The best of several options: `cargo run --release --example choose -- MODEL CONTEXT QUESTION
//! OPTION...`, where MODEL was fine-tuned for multiple choice.

use albert::predict::Question;
use albert::{Chooser, Model};

fn main() -> albert::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let chooser = Chooser::new(&Model::load(arguments.next().expect("a model"))?)?;
    let context = arguments.next().expect("a context");
    let question = arguments.next().expect("a question");
    let options: Vec<String> = arguments.collect();
    let question = Question { context: &context, question: &question, options: &options };
    let choice = chooser.choose(&[question])?.remove(0);
    for (option, score) in options.iter().zip(&choice.scores) {
        println!("{score:.3} {option}");
    }
    println!("{}", options[choice.index]);
    Ok(())
}
