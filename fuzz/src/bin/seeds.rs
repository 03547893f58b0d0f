//! Writes what the fuzzer starts from: `seeds CORPUS`.

fn main() {
    let corpus = std::env::args_os().nth(1).expect("the directory of the corpora");
    albert_fuzz::seeds::write(corpus.as_ref());
}
