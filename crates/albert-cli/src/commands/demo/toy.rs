//! The whole path in a minute: a toy that learns a text by heart which is short enough for that.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use albert::backend::Cpu;
use albert::config::ModelConfig;
use albert::data::{Format, Manifest, PrepareOptions, prepare, split_sentences};
use albert::files::{called, read_lines, write_atomically};
use albert::tokenizer::{Tokenizer, TrainOptions, train};
use albert::train::{Event, Objective, Outcome, Positions, Pretraining, Settings, WeightedStore};
use albert::{LoadOptions, MaskFiller, Model};
use anyhow::{Context, Result, bail};
use indicatif::HumanCount;

use crate::commands::pretrain::stop_on_interrupt;
use crate::output::progress_bar;

/// The pages of this project: the text that is learnt when no other is given.
const PAGES: [&str; 3] = [
    include_str!("../../../../../README.md"),
    include_str!("../../../../../ARCHITECTURE.md"),
    include_str!("../../../../../STYLE.md"),
];

/// What a toy learns by heart in a minute; the rest of a longer text is left out.
const TEXT_BYTES_MAX: usize = 20 << 10;

/// The largest vocabulary that is tried, and the smallest.
const VOCAB_SIZES: (usize, usize) = (3000, 30);

/// Sentences of a step.
const BATCH_SIZE: u64 = 16;

/// How often each sentence is seen, and in how many steps at least.
const EPOCHS: u64 = 250;
const STEPS_MIN: u64 = 400;

/// Tokens of a sentence at most, with the two around it.
const SEQUENCE_LENGTH: usize = 128;

/// Lines that tell of the loss.
const LOSSES: u64 = 12;

/// Questions asked together.
const QUESTIONS: usize = 32;

/// Questions shown, and how many characters of each.
const SHOWN: usize = 12;
const SHOWN_WIDTH: usize = 52;

/// What stands for the hidden word on the screen, and what for the model.
const GAP: &str = "____";
const MASK: &str = "[MASK]";

/// What the toy learns from, and for how long.
pub(super) struct Toy<'a> {
    /// A text; if `None`, the pages of this project.
    pub(super) text: Option<&'a Path>,
    /// Steps of pre-training; if `None`, by the length of the text.
    pub(super) steps: Option<u64>,
}

impl Toy<'_> {
    pub(super) fn run(&self, backend: Cpu) -> Result<()> {
        let scratch = tempfile::tempdir().context("making a temporary directory")?;
        let (sentences, is_whole) = self.sentences()?;
        let tokenizer = learn_vocabulary(&sentences)?;
        let store = scratch.path().join("store");
        let manifest = store_sentences(&sentences, &tokenizer, &store)?;
        let count = |number: u64| HumanCount(number).to_string();
        writeln!(
            stdout(),
            "text:  {}{} sentences, {} tokens, a vocabulary of {} pieces",
            if is_whole { "" } else { "the first " },
            count(sentences.len() as u64),
            count(manifest.tokens),
            count(tokenizer.vocab_size() as u64)
        )?;
        let by_length = (EPOCHS * manifest.sentences / BATCH_SIZE).max(STEPS_MIN);
        let settings = settings(store, self.steps.unwrap_or(by_length));
        let run = scratch.path().join("run");
        let training =
            Pretraining::start(&run, settings, config(tokenizer.vocab_size())?, backend.clone())?;
        writeln!(
            stdout(),
            "model: {} parameters, one layer applied {} times\n",
            count(training.model().layout().len as u64),
            training.model().config().num_hidden_layers
        )?;
        let outcome = learn_words(training)?;
        let options = LoadOptions { backend: Some(backend), ..LoadOptions::default() };
        let model = Model::load_with(run.join("model"), &options)?;
        let seen = outcome.step * BATCH_SIZE / manifest.sentences;
        report(&ask(&model, &sentences)?, seen, &mut stdout())
    }

    /// The sentences of the text, up to [`TEXT_BYTES_MAX`], and whether they are all.
    fn sentences(&self) -> Result<(Vec<String>, bool)> {
        let Some(file) = self.text else {
            let pages = PAGES.map(plain).concat();
            return first_sentences(pages.lines().map(|line| Ok(line.to_owned())));
        };
        let found = first_sentences(read_lines(vec![file.to_owned()]))?;
        if found.0.is_empty() {
            bail!("there is no text in {}", called(file).display());
        }
        Ok(found)
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

/// Whole sentences of `lines` as long as they fit, but at least a part of the first; and whether
/// that is all of them.
fn first_sentences(
    lines: impl Iterator<Item = albert::Result<String>>,
) -> Result<(Vec<String>, bool)> {
    let mut sentences: Vec<String> = Vec::new();
    let mut room = TEXT_BYTES_MAX;
    for line in lines {
        for sentence in split_sentences(&line?) {
            if sentence.len() > room {
                if sentences.is_empty() {
                    // No character has more than four bytes.
                    sentences.push(sentence.chars().take(TEXT_BYTES_MAX / 4).collect());
                }
                return Ok((sentences, false));
            }
            room -= sentence.len();
            sentences.push(sentence.to_owned());
        }
    }
    Ok((sentences, true))
}

/// The largest vocabulary that the text allows: what is not one piece is harder to learn.
fn learn_vocabulary(sentences: &[String]) -> Result<Tokenizer> {
    let (mut vocab_size, smallest) = VOCAB_SIZES;
    while vocab_size >= smallest {
        let options = TrainOptions { vocab_size, ..TrainOptions::default() };
        let texts = sentences.iter().cloned().map(Ok);
        if let Ok(tokenizer) = train(&options, texts, &mut |_| {}) {
            return Ok(tokenizer);
        }
        vocab_size -= vocab_size / 12;
    }
    bail!("the text has too few words to learn a vocabulary from: give one of a page or more")
}

/// Makes a store in which each sentence is a document of its own, so that in training the toy
/// sees what it will be asked for: one sentence, and nothing beside it.
fn store_sentences(sentences: &[String], tokenizer: &Tokenizer, store: &Path) -> Result<Manifest> {
    let text = store.with_extension("txt");
    write_atomically(&text, |file| file.write_all(sentences.join("\n\n").as_bytes()))?;
    let options = PrepareOptions { format: Some(Format::Sentences), ..PrepareOptions::default() };
    Ok(prepare(&[text], &options, tokenizer, store, &mut |_| {})?)
}

/// A toy is not in danger of learning too much: it predicts twice as many words as a real model
/// does, of short inputs, with a high learning rate.
fn settings(store: PathBuf, steps: u64) -> Settings {
    Settings {
        data: vec![WeightedStore::new(store, 1.0)],
        steps,
        warmup_steps: steps / 20,
        batch_size: Some(BATCH_SIZE),
        sequence_length: SEQUENCE_LENGTH,
        short_probability: 0.0,
        mask_rate: 0.3,
        max_ngram: 1,
        objective: Objective::None,
        learning_rate: 2e-3,
        positions: Positions::Sinusoidal,
        log_steps: (steps / LOSSES).max(1),
        save_steps: steps,
        ..Settings::default()
    }
}

/// A narrow model starts with larger weights, about one over the root of its width.
fn config(vocab_size: usize) -> Result<ModelConfig> {
    Ok(ModelConfig {
        vocab_size,
        embedding_size: 128,
        hidden_size: 128,
        num_hidden_layers: 4,
        intermediate_size: 512,
        max_position_embeddings: SEQUENCE_LENGTH,
        initializer_range: 0.05,
        ..ModelConfig::preset("nano")?
    })
}

/// Pre-trains, and shows how the loss falls.
fn learn_words(training: Pretraining) -> Result<Outcome> {
    let (steps, every) = (training.settings().steps, training.settings().log_steps);
    writeln!(stdout(), "{:>6} {:>7} {:>10}", "step", "loss", "tokens/s")?;
    let bar = progress_bar(steps, "{bar:24} {pos}/{len}, {eta} left");
    let mut first = None;
    let stop = stop_on_interrupt()?;
    let outcome = training.run(&stop, &mut |event| {
        let Event::Step(metrics) = event else { return };
        bar.set_position(metrics.step);
        if metrics.step.is_multiple_of(every) {
            let (loss, rate) = (metrics.loss, metrics.tokens_per_second);
            let length = 40.0 * loss / *first.get_or_insert(loss);
            let stroke = "=".repeat((length as usize).min(60));
            let line = format!("{:>6} {loss:>7.3} {rate:>10.0}  {stroke}", metrics.step);
            // Nobody reads on: nobody will read the end.
            if bar.suspend(|| writeln!(stdout(), "{line}")).is_err() {
                stop.store(true, Ordering::Relaxed);
            }
        }
    })?;
    bar.finish_and_clear();
    Ok(outcome)
}

/// A sentence with one word hidden.
struct Question {
    before: String,
    word: String,
    after: String,
    /// What the model must say.
    ids: Vec<u32>,
    /// What it says.
    guess: String,
    right: bool,
}

impl Question {
    /// Hides the plain word of `sentence` that is nearest to its middle; `None` without one, for
    /// a sentence that the toy has not seen whole, and for one that speaks of masks itself.
    fn new(tokenizer: &Tokenizer, sentence: &str) -> Result<Option<Self>> {
        let words: Vec<&str> = sentence.split_whitespace().collect();
        let is_plain = |word: &str| word.len() > 3 && word.chars().all(char::is_alphabetic);
        let inner = 1..words.len().saturating_sub(1);
        let place = inner
            .filter(|&place| is_plain(words[place]))
            .min_by_key(|place| place.abs_diff(words.len() / 2));
        let (Some(place), 4.., false) = (place, words.len(), sentence.contains(MASK)) else {
            return Ok(None);
        };
        let mut ids = Vec::new();
        tokenizer.encode_ids(sentence, &mut ids)?;
        if ids.len() > SEQUENCE_LENGTH - 2 {
            return Ok(None);
        }
        ids.clear();
        tokenizer.encode_ids(words[place], &mut ids)?;
        Ok(Some(Self {
            before: words[..place].join(" "),
            word: words[place].to_owned(),
            after: words[place + 1..].join(" "),
            ids,
            guess: String::new(),
            right: false,
        }))
    }

    /// The sentence with a mask for each piece of the word.
    fn masked(&self) -> String {
        format!("{} {} {}", self.before, MASK.repeat(self.ids.len()), self.after)
    }

    /// The words around the gap, as many as there is room for.
    fn excerpt(&self) -> String {
        let mut before = self.before.split(' ').rev().peekable();
        let mut after = self.after.split(' ').peekable();
        let mut excerpt = GAP.to_owned();
        // Room for the dots of what is left out on both sides.
        let fits = |excerpt: &str, word: &str| {
            excerpt.chars().count() + word.chars().count() < SHOWN_WIDTH - 4
        };
        loop {
            let earlier = before.next_if(|word| fits(&excerpt, word));
            if let Some(word) = earlier {
                excerpt = format!("{word} {excerpt}");
            }
            let later = after.next_if(|word| fits(&excerpt, word));
            if let Some(word) = later {
                excerpt = format!("{excerpt} {word}");
            }
            if earlier.is_none() && later.is_none() {
                break;
            }
        }
        let dots = |more: bool, text| if more { text } else { "" };
        format!(
            "{}{excerpt}{}",
            dots(before.peek().is_some(), "… "),
            dots(after.peek().is_some(), " …")
        )
    }
}

/// Hides a word in every sentence that has a suitable one, and asks for it.
fn ask(model: &Model, sentences: &[String]) -> Result<Vec<Question>> {
    let (tokenizer, filler) = (model.tokenizer(), MaskFiller::new(model)?);
    let mut questions = Vec::new();
    for sentence in sentences {
        questions.extend(Question::new(tokenizer, sentence)?);
    }
    for group in questions.chunks_mut(QUESTIONS) {
        let texts: Vec<String> = group.iter().map(Question::masked).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for (question, masks) in group.iter_mut().zip(filler.fill(&texts, 1)?) {
            let guess: Vec<u32> = masks.iter().map(|mask| mask.predictions[0].id).collect();
            question.right = guess == question.ids;
            question.guess = tokenizer.decode(&guess, false)?.trim().to_owned();
        }
    }
    Ok(questions)
}

/// Shows some of the questions, and counts all; each sentence was `seen` so many times.
fn report(questions: &[Question], seen: u64, out: &mut impl Write) -> Result<()> {
    if questions.is_empty() {
        let least = "that takes a sentence of four words or more";
        return Ok(writeln!(out, "\nNo word of the text can be asked for: {least}.")?);
    }
    writeln!(out, "\nSentences of the text with a word hidden, and the toy's guess:\n")?;
    let every = questions.len().div_ceil(SHOWN);
    let (mut shown, mut shown_right) = (0, 0);
    for question in questions.iter().step_by(every) {
        let verdict =
            if question.right { "right".into() } else { format!("wrong: {}", question.word) };
        let (excerpt, guess) = (question.excerpt(), &question.guess);
        writeln!(out, "  {excerpt:<SHOWN_WIDTH$}  {guess:<14}  {verdict}")?;
        shown += 1;
        shown_right += usize::from(question.right);
    }
    let (all, right) = (questions.len(), questions.iter().filter(|q| q.right).count());
    write!(out, "\n{shown_right} of these {shown} are right")?;
    if all > shown {
        write!(out, ", and {right} of all {all} that could be asked")?;
    }
    write!(out, ".\nThe toy saw every sentence about {seen} times")?;
    let verdict = if 4 * right >= 3 * all {
        " and has learnt the text by heart; it knows nothing\nelse. A model of the language takes \
         more text: see \"From text to a model\" in README.md."
    } else {
        ", which was not enough to learn the text by heart:\ngive it more --steps, or a shorter \
         text."
    };
    Ok(writeln!(out, "{verdict}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(before: &str, after: &str) -> Question {
        let (word, guess) = (String::new(), String::new());
        let (before, after) = (before.to_owned(), after.to_owned());
        Question { before, word, after, ids: vec![7, 8], guess, right: false }
    }

    #[test]
    fn prose_is_kept_and_marks_are_not() {
        let page =
            "# Title\nSome **bold** words and `code`.\n```\nlet x = 1;\n```\n| a | b |\nMore.";
        assert_eq!(plain(page), "Some bold words and code.\nMore.\n");
    }

    #[test]
    fn the_beginning_of_a_long_text_is_taken() {
        let lines = |line: String| std::iter::repeat_with(move || Ok(line.clone()));
        let sentences = first_sentences(lines("One here. Two there.".into())).unwrap().0;
        assert_eq!(sentences[..3], ["One here.", "Two there.", "One here."]);
        assert_eq!(sentences.concat().len() / 19, TEXT_BYTES_MAX / 19);
        let endless = first_sentences(lines("é".repeat(TEXT_BYTES_MAX))).unwrap();
        assert_eq!(endless, (vec!["é".repeat(TEXT_BYTES_MAX / 4)], false));
        let blank = first_sentences(lines(" \t".into()).take(3)).unwrap();
        assert_eq!(blank, (Vec::new(), true));
    }

    #[test]
    fn the_plain_word_nearest_the_middle_is_hidden() {
        let sentence = "The quick brown fox jumps over the lazy dog, they say.";
        let tokenizer = learn_vocabulary(&[sentence.repeat(9)]).unwrap();
        let question = Question::new(&tokenizer, sentence).unwrap().unwrap();
        assert_eq!(question.word, "over");
        let masks = MASK.repeat(question.ids.len());
        let masked = format!("The quick brown fox jumps {masks} the lazy dog, they say.");
        assert_eq!(question.masked(), masked);
        for none in ["", "Three words only.", "An ox is to be at 1,000 to 2."] {
            assert!(Question::new(&tokenizer, none).unwrap().is_none(), "{none}");
        }
        assert!(Question::new(&tokenizer, &"long word ".repeat(99)).unwrap().is_none());
    }

    #[test]
    fn the_gap_is_shown_with_what_fits_around_it() {
        assert_eq!(question("a b", "c d.").excerpt(), "a b ____ c d.");
        let both = question(&"before ".repeat(9), &"after ".repeat(9)).excerpt();
        assert!(both.starts_with("… before") && both.ends_with("after …"), "{both}");
        let one = question("The", &"after ".repeat(20)).excerpt();
        assert!(one.starts_with("The ____ after"), "{one}");
        assert!(both.chars().count() <= SHOWN_WIDTH && one.chars().count() <= SHOWN_WIDTH);
    }
}
