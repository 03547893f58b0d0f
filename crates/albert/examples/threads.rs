//! One model for many threads, as in a server: `cargo run --release --example threads -- MODEL
//! THREADS < texts`. Each thread takes a line, embeds it and prints its first numbers; the weights
//! are in memory once. `Cpu::use_threads(1)` gives each call one core, which is best for throughput.

use std::io::stdin;

use albert::backend::Cpu;
use albert::{Embedder, Model};

fn main() -> albert::Result<()> {
    let mut arguments = std::env::args().skip(1);
    Cpu::use_threads(1)?;
    let model = Model::load(arguments.next().expect("a model"))?;
    let threads: usize = arguments.next().map_or(2, |n| n.parse().expect("a number of threads"));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let embedder = Embedder::new(&model);
            scope.spawn(move || {
                loop {
                    let Some(Ok(line)) = stdin().lines().next() else { return };
                    match embedder.embed(&[line.as_str()]) {
                        Ok(vectors) => println!("{:.3?} {line}", &vectors[0][..4]),
                        Err(error) => eprintln!("{error}"),
                    }
                }
            });
        }
    });
    Ok(())
}
