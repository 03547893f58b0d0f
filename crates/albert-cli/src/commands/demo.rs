//! `albert demo`

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use albert::config::ModelConfig;
use albert::data::{PrepareOptions, prepare};
use albert::predict::Predictor;
use albert::tokenizer::{Tokenizer, TrainOptions, train};
use albert::train::{Event, Objective, Positions, Pretraining, Settings};
use anyhow::{Context, Result};

use crate::engine::Engine;
use crate::output::progress_bar;

/// The pages of this project: the text that is learnt when no other is given.
const PAGES: [&str; 3] = [
    include_str!("../../../../README.md"),
    include_str!("../../../../ARCHITECTURE.md"),
    include_str!("../../../../STYLE.md"),
];

/// Vocabulary sizes to try: the largest that the text allows is taken.
const VOCAB_SIZES: [usize; 5] = [2000, 1000, 500, 250, 125];

/// Sentences shown at the end.
const SHOWN: usize = 6;

/// Watch a toy model learn a text in about a minute, then fill in its words
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert demo --train
  albert demo --train my_text.txt

The toy goes the whole path in a temporary directory: vocabulary, store, pre-training, words for
masks. It is far too small, and sees far too little, to learn more than a part of the text by heart.")]
pub(crate) struct Arguments {
    /// Train on FILE (plain text, a paragraph a line), or on the pages of this project
    #[arg(long, value_name = "FILE", required = true, num_args = 0..=1)]
    train: Option<PathBuf>,

    /// Steps of pre-training
    #[arg(long, value_name = "N", default_value_t = 2500, value_parser = clap::value_parser!(u64).range(20..))]
    steps: u64,

    #[command(flatten)]
    engine: Engine,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let scratch = tempfile::tempdir().context("making a temporary directory")?;
        let text = scratch.path().join("text.txt");
        match &self.train {
            Some(file) => {
                std::fs::copy(file, &text)
                    .with_context(|| format!("reading {}", file.display()))?;
            }
            None => std::fs::write(&text, plain(&PAGES.join("\n\n")))?,
        }
        let tokenizer = self.learn_vocabulary(&text)?;
        let store = scratch.path().join("store");
        let options = PrepareOptions::default();
        let manifest =
            prepare(std::slice::from_ref(&text), &options, &tokenizer, &store, &mut |_| {})?;
        println!(
            "text: {} sentences, {} tokens, a vocabulary of {}",
            manifest.sentences,
            manifest.tokens,
            tokenizer.vocab_size()
        );
        let model = self.learn_words(&store, &scratch.path().join("run"), &tokenizer)?;
        let sentences: Vec<String> = albert::files::read_text(&text)?
            .lines()
            .flat_map(|line| albert::data::split_sentences(line).map(str::to_owned))
            .collect();
        show(&Predictor::load(&model, &self.engine.backend()?, None)?.0, &sentences)
    }

    fn learn_vocabulary(&self, text: &Path) -> Result<Tokenizer> {
        let mut result = Err(albert::Error::input("no vocabulary size was tried"));
        for vocab_size in VOCAB_SIZES {
            let options = TrainOptions { vocab_size, ..TrainOptions::default() };
            let texts = albert::files::read_lines(vec![text.to_owned()]);
            result = train(&options, texts, &mut |_| {});
            if result.is_ok() {
                break;
            }
        }
        Ok(result?)
    }

    /// Pre-trains and gives the directory of the model.
    fn learn_words(&self, store: &Path, run: &Path, tokenizer: &Tokenizer) -> Result<PathBuf> {
        let settings = Settings {
            data: store.to_owned(),
            steps: self.steps,
            warmup_steps: self.steps / 20,
            batch_size: 16,
            sequence_length: 64,
            max_ngram: 1,
            objective: Objective::None,
            learning_rate: 5e-4,
            positions: Positions::Sinusoidal,
            save_steps: self.steps,
            ..Settings::default()
        };
        let config = ModelConfig {
            vocab_size: tokenizer.vocab_size(),
            embedding_size: 64,
            hidden_size: 128,
            num_hidden_layers: 4,
            intermediate_size: 512,
            max_position_embeddings: 64,
            ..ModelConfig::preset("nano")?
        };
        let training = Pretraining::start(run, settings, config, self.engine.backend()?)?;
        let parameters = training.model().layout().len;
        println!("model: {parameters} parameters, one layer applied four times\n");
        println!("{:>8} {:>10} {:>14}", "step", "loss", "tokens/s");
        let every = (self.steps / 10).max(1);
        let bar = progress_bar(self.steps, "{bar:24} {pos}/{len}, {eta} left");
        training.run(&AtomicBool::new(false), &mut |event| {
            if let Event::Step(metrics) = event {
                bar.set_position(metrics.step);
                if metrics.step.is_multiple_of(every) {
                    let (step, loss) = (metrics.step, metrics.loss);
                    let rate = metrics.tokens_per_second;
                    bar.suspend(|| println!("{step:>8} {loss:>10.3} {rate:>14.0}"));
                }
            }
        })?;
        bar.finish_and_clear();
        Ok(run.join("model"))
    }
}

/// The prose of a Markdown page: no headings, tables, code or marks.
fn plain(page: &str) -> String {
    let mut in_code = false;
    let mut prose = String::new();
    for line in page.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if !in_code && !line.starts_with(['#', '|']) {
            prose.extend(line.chars().filter(|c| !matches!(c, '*' | '`')));
            prose.push('\n');
        }
    }
    prose
}

/// Masks the middle word of some sentences and prints what the model puts there.
fn show(predictor: &Predictor, sentences: &[String]) -> Result<()> {
    let suitable: Vec<(String, &str)> =
        sentences.iter().filter_map(|sentence| masked(sentence)).collect();
    println!("\nsentences of the text, one word masked:");
    let every = (suitable.len() / SHOWN).max(1);
    for (text, word) in suitable.iter().step_by(every).take(SHOWN) {
        let masks = predictor.fill_masks(&[text], 3)?;
        let guesses: Vec<String> = masks[0][0]
            .predictions
            .iter()
            .map(|p| format!("{} ({:.0} %)", p.token.replace('\u{2581}', ""), 100.0 * p.score))
            .collect();
        println!("  {text}\n      {}    [was: {word}]", guesses.join(", "));
    }
    println!("\nA toy that saw these sentences and little else: a real model needs real text.");
    Ok(())
}

/// A short sentence with the plain word nearest its middle replaced by a mask, and that word.
fn masked(sentence: &str) -> Option<(String, &str)> {
    let words: Vec<&str> = sentence.split_whitespace().collect();
    if !(6..=20).contains(&words.len()) {
        return None;
    }
    let is_plain = |word: &str| word.len() > 3 && word.chars().all(|c| c.is_ascii_lowercase());
    let middle = words.len() / 2;
    let place = (middle..words.len() - 1).find(|i| is_plain(words[*i]))?;
    let mut masked = words.clone();
    masked[place] = "[MASK]";
    Some((masked.join(" "), words[place]))
}

#[cfg(test)]
mod tests {
    use super::{masked, plain};

    #[test]
    fn prose_is_kept_and_marks_are_not() {
        let page =
            "# Title\nSome **bold** words and `code`.\n```\nlet x = 1;\n```\n| a | b |\nMore.";
        assert_eq!(plain(page), "Some bold words and code.\nMore.\n");
    }

    #[test]
    fn one_plain_word_is_masked() {
        let (text, word) = masked("The quick brown fox jumps over it.").unwrap();
        assert_eq!((text.as_str(), word), ("The quick brown fox [MASK] over it.", "jumps"));
        assert_eq!(masked("Too short."), None);
    }
}
