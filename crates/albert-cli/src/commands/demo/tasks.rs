//! The tasks in the box on a few texts each, and on a user's own.
//!
//! The texts were written before the models answered them, and are shown whatever the answer is.

use std::io::Write;
use std::time::{Duration, Instant};

use albert::backend::Cpu;
use albert::predict::{FilledMask, cosine_similarity};
use albert::{Classifier, Embedder, Entity, LoadOptions, MaskFiller, Model, SentenceOrder, Tagger};
use anyhow::Result;

use crate::model::{ENTITIES, INTENTS, NANO, SENTIMENT, builtin_path, builtin_tokenizer};

const MASK: &str = "[MASK]";

/// Sentences with a word hidden, and the word.
const WORDS: [(&str, &str); 8] = [
    ("He was born in New [MASK] City.", "york"),
    ("The United [MASK] of America declared war.", "states"),
    ("The film was directed [MASK] Steven Spielberg.", "by"),
    ("The Second World [MASK] ended in 1945.", "war"),
    ("She was elected to the House of [MASK] in 1998.", "representatives"),
    ("Paris is the [MASK] of France.", "capital"),
    ("The band released their first [MASK] in 1995.", "album"),
    ("The river flows into the Atlantic [MASK].", "ocean"),
];

/// Sentences in their order.
const PAIRS: [(&str, &str); 4] = [
    ("He was born in London in 1820.", "He died there at the age of 76."),
    (
        "The bridge was built by the Romans in the second century.",
        "It was destroyed by a flood, and rebuilt in 1902.",
    ),
    ("The album was recorded in two weeks.", "It sold a million copies in its first year."),
    (
        "A new school was opened in the village in 1954.",
        "Because it had too few pupils, it was closed ten years later.",
    ),
];

/// Opinions, and whether they are good.
const OPINIONS: [(&str, &str); 6] = [
    ("A gripping, beautifully acted film.", "positive"),
    ("Two hours of my life that I will never get back.", "negative"),
    ("The plot is thin, but the cast makes it a joy to watch.", "positive"),
    ("The jokes fall flat and the ending makes no sense.", "negative"),
    ("I have rarely laughed so much in a cinema.", "positive"),
    ("A dull and lifeless remake.", "negative"),
];

/// What customers of a bank write, and what they want.
const REQUESTS: [(&str, &str); 6] = [
    ("My new card still has not arrived, where is it?", "card_arrival"),
    ("I forgot my PIN, how can I get a new one?", "change_pin"),
    ("The machine kept my card!", "card_swallowed"),
    ("Why was I charged twice for the same purchase?", "transaction_charged_twice"),
    ("What is the exchange rate for dollars?", "exchange_rate"),
    ("Somebody stole my phone yesterday.", "lost_or_stolen_phone"),
];

/// Texts with names in them.
const NAMED: [&str; 4] = [
    "Angela Merkel flew to Paris on Monday.",
    "I saw Taylor Swift live in Chicago last night!",
    "Watching Game of Thrones on my new Samsung tablet.",
    "Manchester United play Arsenal this weekend.",
];

/// A question, and texts of which the first says the same.
const QUESTION: &str = "How do I change my password?";
const ANSWERS: [&str; 4] = [
    "How can I set a new password?",
    "How do I close my account?",
    "The weather is nice today.",
    "The empire fell in the fifth century.",
];

/// Words of a text that are hidden in turn.
const HIDDEN_MAX: usize = 24;

/// The models in the box.
pub(super) struct Models {
    pub(super) nano: Model,
    sentiment: Classifier,
    intents: Classifier,
    entities: Tagger,
    loading: Duration,
}

/// How many answers are right, and how many there are.
#[derive(Default)]
struct Tally(usize, usize);

impl Tally {
    fn count(&mut self, right: bool) {
        self.0 += usize::from(right);
        self.1 += 1;
    }
}

impl Models {
    pub(super) fn load(backend: &Cpu) -> Result<Self> {
        let start = Instant::now();
        let options = LoadOptions {
            backend: Some(backend.clone()),
            tokenizer: Some(builtin_tokenizer()?),
            ..LoadOptions::default()
        };
        let load =
            |name: &str| -> Result<Model> { Ok(Model::load_with(builtin_path(name), &options)?) };
        Ok(Self {
            nano: load(NANO)?,
            sentiment: Classifier::new(&load(SENTIMENT)?)?,
            intents: Classifier::new(&load(INTENTS)?)?,
            entities: Tagger::new(&load(ENTITIES)?)?,
            loading: start.elapsed(),
        })
    }

    /// Every task on its texts.
    pub(super) fn show(&self, out: &mut impl Write) -> Result<()> {
        let start = Instant::now();
        let mut tally = Tally::default();
        let mut text = Vec::new();
        self.show_words(&mut tally, &mut text)?;
        self.show_order(&mut tally, &mut text)?;
        show_labels("Sentiment", &self.sentiment, &OPINIONS, &mut tally, &mut text)?;
        show_labels(
            "What a bank's customer wants (77 labels)",
            &self.intents,
            &REQUESTS,
            &mut tally,
            &mut text,
        )?;
        self.show_entities(&NAMED, &mut text)?;
        self.show_similar(&mut text)?;
        let elapsed = start.elapsed();
        out.write_all(&text)?;
        let Tally(right, all) = tally;
        writeln!(
            out,
            "{right} of the {all} answers that can be right or wrong are right. Loading took {} ms, \
             all answers {} ms.\n",
            self.loading.as_millis(),
            elapsed.as_millis()
        )?;
        Ok(())
    }

    fn show_words(&self, tally: &mut Tally, out: &mut impl Write) -> Result<()> {
        heading(out, "A hidden word")?;
        let filler = MaskFiller::new(&self.nano)?;
        let texts = WORDS.map(|(text, _)| text);
        for ((text, word), masks) in WORDS.iter().zip(filler.fill(&texts, 3)?) {
            let right = bare(&masks[0].predictions[0].token) == *word;
            tally.count(right);
            let verdict = if right { String::new() } else { format!("   (it was: {word})") };
            writeln!(
                out,
                "  {}\n      {}{verdict}",
                text.replace(MASK, "____"),
                guesses(&masks[0])
            )?;
        }
        Ok(writeln!(out)?)
    }

    fn show_order(&self, tally: &mut Tally, out: &mut impl Write) -> Result<()> {
        heading(out, "Which sentence comes first? (They are shown in their order)")?;
        let scores = SentenceOrder::new(&self.nano)?.pairs(&PAIRS)?;
        for ((first, second), score) in PAIRS.iter().zip(scores) {
            let right = score.in_order > score.swapped;
            tally.count(right);
            let answer = if right { "in order" } else { "swapped" };
            let share = 100.0 * score.in_order.max(score.swapped);
            writeln!(out, "  {answer:<9}{share:>4.0} %{}  {first}", mark(right))?;
            writeln!(out, "{:20}{second}", "")?;
        }
        Ok(writeln!(out)?)
    }

    fn show_entities(&self, texts: &[&str], out: &mut impl Write) -> Result<()> {
        heading(out, "Names")?;
        for (text, entities) in texts.iter().zip(self.entities.tag(texts)?) {
            writeln!(out, "  {}", marked(text, &entities))?;
        }
        Ok(writeln!(out)?)
    }

    fn show_similar(&self, out: &mut impl Write) -> Result<()> {
        heading(out, "Which text is most alike?")?;
        let embedder = Embedder::new(&self.nano);
        let question = embedder.embed(&[QUESTION])?;
        writeln!(out, "  {QUESTION}")?;
        let mut scores = Vec::new();
        for (text, vector) in ANSWERS.iter().zip(embedder.embed(&ANSWERS)?) {
            scores.push((cosine_similarity(&question[0], &vector)?, text));
        }
        scores.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (score, text) in scores {
            writeln!(out, "    {score:>6.3}  {text}")?;
        }
        Ok(writeln!(out)?)
    }

    /// Every task on a text of a user's own.
    pub(super) fn read(&self, text: &str, out: &mut impl Write) -> Result<()> {
        let filler = MaskFiller::new(&self.nano)?;
        if text.contains(MASK) {
            heading(out, "The hidden word")?;
            for mask in &filler.fill(&[text], 5)?[0] {
                writeln!(out, "  {}", guesses(mask))?;
            }
            return Ok(());
        }
        show_best("Sentiment", &self.sentiment, text, 2, out)?;
        show_best("What a bank's customer wants", &self.intents, text, 3, out)?;
        self.show_entities(&[text], out)?;
        let sentences: Vec<&str> = albert::data::split_sentences(text).collect();
        if let [first, second, ..] = sentences[..] {
            heading(out, "Are the first two sentences in order?")?;
            let score = SentenceOrder::new(&self.nano)?.pairs(&[(first, second)])?[0];
            writeln!(out, "  {:>4.0} %  yes\n", 100.0 * score.in_order)?;
        }
        self.show_hidden(&filler, text, out)
    }

    /// Hides each word in turn, and shows what the model would have put there.
    fn show_hidden(&self, filler: &MaskFiller, text: &str, out: &mut impl Write) -> Result<()> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let places: Vec<usize> =
            (0..words.len()).filter(|&at| !core(words[at]).is_empty()).take(HIDDEN_MAX).collect();
        if places.is_empty() {
            return Ok(());
        }
        heading(out, "Each word hidden in turn, and the model's guesses")?;
        let hide = |&at: &usize| {
            let mut words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            let word = &words[at];
            words[at] = word.replacen(core(word), MASK, 1);
            words.join(" ")
        };
        let texts: Vec<String> = places.iter().map(hide).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for (at, masks) in places.iter().zip(filler.fill(&texts, 3)?) {
            let word = core(words[*at]);
            let right = bare(&masks[0].predictions[0].token) == word.to_lowercase();
            let verdict = if right { "*" } else { " " };
            writeln!(out, " {verdict}{word:<16} {}", guesses(&masks[0]))?;
        }
        if words.len() > HIDDEN_MAX {
            writeln!(out, "  (the first {HIDDEN_MAX} words)")?;
        }
        Ok(())
    }
}

fn heading(out: &mut impl Write, text: &str) -> Result<()> {
    Ok(writeln!(out, "{text}")?)
}

fn mark(right: bool) -> &'static str {
    if right { " " } else { "!" }
}

/// A piece without the mark of a beginning word.
fn bare(token: &str) -> &str {
    token.strip_prefix('\u{2581}').unwrap_or(token)
}

/// A word without the punctuation around it.
fn core(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

fn guesses(mask: &FilledMask) -> String {
    let guess = |p: &albert::Prediction| format!("{} {:.0} %", bare(&p.token), 100.0 * p.score);
    mask.predictions.iter().map(guess).collect::<Vec<_>>().join(", ")
}

/// The text with its entities in brackets.
fn marked(text: &str, entities: &[Entity]) -> String {
    let mut marked = String::new();
    let mut end = 0;
    for entity in entities {
        marked += &text[end..entity.start];
        marked += &format!("[{}: {}]", &text[entity.start..entity.end], entity.label);
        end = entity.end;
    }
    marked + &text[end..]
}

/// The label of each text, and whether it is the one that it should be.
fn show_labels(
    title: &str,
    classifier: &Classifier,
    texts: &[(&str, &str)],
    tally: &mut Tally,
    out: &mut impl Write,
) -> Result<()> {
    heading(out, title)?;
    let inputs: Vec<&str> = texts.iter().map(|(text, _)| *text).collect();
    let labels = classifier.labels();
    let answers: Vec<(usize, f32)> =
        classifier.classify(&inputs)?.iter().map(albert::Scores::best).collect();
    let width = answers.iter().map(|(label, _)| labels[*label].len()).max().unwrap_or(0);
    for ((text, expected), (label, score)) in texts.iter().zip(answers) {
        let label = &labels[label];
        let right = label == expected;
        tally.count(right);
        let verdict = if right { String::new() } else { format!("   (rather {expected})") };
        writeln!(out, "  {label:<width$} {:>4.0} %  {text}{verdict}", 100.0 * score)?;
    }
    Ok(writeln!(out)?)
}

/// The likeliest labels of one text.
fn show_best(
    title: &str,
    classifier: &Classifier,
    text: &str,
    count: usize,
    out: &mut impl Write,
) -> Result<()> {
    heading(out, title)?;
    let scores = &classifier.classify(&[text])?[0].0;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    for label in order.into_iter().take(count) {
        writeln!(out, "  {:>4.0} %  {}", 100.0 * scores[label], classifier.labels()[label])?;
    }
    Ok(writeln!(out)?)
}
