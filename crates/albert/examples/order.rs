//! Sentences put in their likeliest order: `cargo run --release --example order -- MODEL TEXT...`.

use albert::{Model, SentenceOrder};

fn main() -> albert::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let order = SentenceOrder::new(&Model::load(arguments.next().expect("a model"))?)?;
    let texts: Vec<String> = arguments.collect();
    let inputs: Vec<&str> = texts.iter().map(String::as_str).collect();
    let ordered = order.order(&[&inputs])?.remove(0);
    println!("{:.3}", ordered.score);
    for place in ordered.places {
        println!("{}", texts[place]);
    }
    Ok(())
}
