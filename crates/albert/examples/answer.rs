//! The answer to a question: `cargo run --release --example answer -- MODEL QUESTION < context`,
//! where MODEL was fine-tuned for questions. The context may be of any length.

use albert::{AnswerOptions, Model, QuestionAnswerer};

fn main() -> albert::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = Model::load(arguments.next().expect("a model"))?;
    let question = arguments.next().expect("a question");
    let context = std::io::read_to_string(std::io::stdin()).expect("a text on standard input");
    // With `no_answer`, a model of SQuAD 2.0 may say that there is none.
    let options = AnswerOptions { n_best: 3, no_answer: Some(0.0), ..AnswerOptions::default() };
    let answerer = QuestionAnswerer::new(&model)?.options(options)?;
    let answers = answerer.answer(&[(&question, &context)])?.remove(0);
    match &answers.best {
        Some(best) => println!("{}", best.text(&context)),
        None => println!("no answer"),
    }
    for candidate in &answers.candidates {
        println!("  {:.3} {}", candidate.score, candidate.text(&context));
    }
    Ok(())
}
