//! Entities of a text: a label for each token, and tokens joined into what a user calls a name, a
//! place or an amount. Groups are those of `transformers`' `TokenClassificationPipeline`.

use std::ops::Range;

use super::encode::tokens;
use super::text::{boundary, trim};
use super::windows::best_window;
use super::{Model, Operation, Output, Sequence, largest, softmax};
use crate::config::Head;
use crate::error::{Error, Result};
use crate::tokenizer::{Encoding, InputOptions};

/// The label of what is no entity.
const OUTSIDE: &str = "O";

/// How tokens become entities: the pipeline's `aggregation_strategy`.
///
/// A label `B-X` begins an entity `X`, and `I-X` continues one; a label without such a beginning
/// continues. What a word is depends on the tokenizer: with WordPiece a token and the `##` after
/// it, else what stands between spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grouping {
    /// Each token by itself, with the label as the model has it.
    None,
    /// Neighbours with the same label are one entity, even if that cuts a word.
    Simple,
    /// A word has the label of its first token.
    #[default]
    First,
    /// A word has the label with the largest mean over its tokens.
    Average,
    /// A word has the label of the token that is surest.
    Max,
}

/// A part of a text with a label.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    /// The label, without the `B-` or `I-` where tokens are grouped.
    pub label: String,
    /// Its first byte in the text.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
    /// The probability of the label; the mean over the words, or the tokens with
    /// [`Grouping::Simple`], of which the entity consists.
    pub score: f32,
}

/// A model with a head for token classification.
#[derive(Clone)]
pub struct Tagger {
    model: Model,
    grouping: Grouping,
}

/// A text as tokens, and the windows it is read in.
#[derive(Debug, Clone)]
pub struct ReadText {
    encoding: Encoding,
    windows: Vec<Range<usize>>,
}

/// A token, or a word, on its way to an entity.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    range: Range<usize>,
    /// Whether it continues the word of the token before it.
    continues: bool,
    /// The probability of each label.
    scores: Vec<f32>,
}

/// The word of each token of a sentence, and the windows it is read in.
type WordsInWindows = (Vec<Option<u32>>, Vec<Range<usize>>);

/// A range of the text with its likeliest label.
struct Labelled {
    range: Range<usize>,
    label: usize,
    score: f32,
}

impl Tagger {
    /// Tags with `model`.
    ///
    /// # Errors
    /// A model without such a head, or with fewer than three positions.
    pub fn new(model: &Model) -> Result<Self> {
        let positions = model.config().max_position_embeddings;
        match &model.config().head {
            Some(Head::TokenClassification { .. }) if model.inference().parts().head => {}
            _ => {
                return Err(model.lacks(
                    "labels of words",
                    "one that was fine-tuned for it (ForTokenClassification)",
                ));
            }
        }
        if positions < 3 {
            return Err(Error::input(format!(
                "this model has {positions} positions (max_position_embeddings), which leaves none \
                 for a word between [CLS] and [SEP]"
            )));
        }
        Ok(Self { model: model.clone(), grouping: Grouping::default() })
    }

    /// The same, with tokens joined so.
    #[must_use]
    pub fn grouping(self, grouping: Grouping) -> Self {
        Self { grouping, ..self }
    }

    /// The names of the labels, as the model has them.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        self.model.config().head.as_ref().map_or(&[], Head::labels)
    }

    /// The entities of each text, in their order; what has the label `O` is none.
    ///
    /// A text of any length is read whole. What does not fit into the model's positions is read in
    /// windows that overlap and begin with a word, and each token has the label of the window that
    /// shows most of what stands around it, on the side where it shows less.
    ///
    /// # Errors
    /// Only what the pipeline of a `tokenizer.json` may make fail.
    pub fn tag(&self, texts: &[&str]) -> Result<Vec<Vec<Entity>>> {
        let (mut read, mut inputs) = (vec![], vec![]);
        for text in texts {
            let (of_text, sequences) = self.read(text)?;
            read.push(of_text);
            inputs.extend(sequences);
        }
        let outputs = self.model.compute_all(Operation::TokenLogits, &inputs)?;
        let mut rest = &outputs[..];
        let mut tag = |(text, read): (&&str, &ReadText)| {
            let own = rest.split_off(..read.windows.len()).expect("an output for each window");
            self.conclude(text, read, own)
        };
        Ok(texts.iter().zip(&read).map(&mut tag).collect())
    }

    /// What the model reads of one text: a sequence for each window, for
    /// [`Operation::TokenLogits`].
    ///
    /// # Errors
    /// As [`tag`](Self::tag).
    pub fn read(&self, text: &str) -> Result<(ReadText, Vec<Sequence>)> {
        let encoding = tokens(self.model.tokenizer(), text)?;
        let room = self.model.config().max_position_embeddings - 2;
        let windows = windows_of(&encoding.words, room);
        let sequences = self.sequences(&encoding, &windows)?;
        Ok((ReadText { encoding, windows }, sequences))
    }

    /// The entities of a text, from what was computed of its windows.
    #[must_use]
    pub fn conclude(&self, text: &str, read: &ReadText, outputs: &[Output]) -> Vec<Entity> {
        let parts = self.parts(text, read, outputs);
        entities(text, &parts, self.labels(), self.grouping)
    }

    fn sequences(&self, encoding: &Encoding, windows: &[Range<usize>]) -> Result<Vec<Sequence>> {
        let tokenizer = self.model.tokenizer();
        let sequence = |window: &Range<usize>| {
            let part = encoding.slice(window.clone());
            Ok(tokenizer.assemble(part, None, &InputOptions::default())?.into())
        };
        windows.iter().map(sequence).collect()
    }

    /// For each word of sentences that are cut into words, the logits of its first token; `None` of
    /// a word without tokens. Long sentences are read in windows of `max_length` tokens, special
    /// tokens included, which are more than two.
    pub(crate) fn word_logits(
        &self,
        sentences: &[&[String]],
        max_length: usize,
    ) -> Result<Vec<Vec<Option<Vec<f32>>>>> {
        let (tokenizer, labels) = (self.model.tokenizer(), self.labels().len());
        let (mut encodings, mut inputs) = (vec![], vec![]);
        for words in sentences {
            let encoding = tokenizer.encode_words(words)?;
            let windows = windows_of(&encoding.words, max_length - 2);
            inputs.extend(self.sequences(&encoding, &windows)?);
            encodings.push((encoding.words, windows));
        }
        let outputs = self.model.compute_all(Operation::TokenLogits, &inputs)?;
        let mut rest = &outputs[..];
        let mut first_tokens = |(sentence, (words, windows)): (&&[String], WordsInWindows)| {
            let of_sentence = rest.split_off(..windows.len()).expect("an output for each window");
            let mut found = vec![None; sentence.len()];
            for (token, word) in words.iter().enumerate() {
                let word = word.expect("each token is of a word") as usize;
                if found[word].is_none() {
                    let window = best_window(&windows, token, |_| 0);
                    // After the `[CLS]` of the window.
                    let row = (token - windows[window].start + 1) * labels;
                    found[word] = Some(of_sentence[window].numbers()[row..row + labels].to_vec());
                }
            }
            found
        };
        Ok(sentences.iter().zip(encodings).map(&mut first_tokens).collect())
    }

    /// The tokens of a text with their scores, each from the best of the windows it is in.
    fn parts(&self, text: &str, read: &ReadText, outputs: &[Output]) -> Vec<Part> {
        let ReadText { encoding, windows } = read;
        let labels = self.labels().len();
        let is_word_piece = self.model.tokenizer().is_word_piece();
        let part = |token: usize| {
            let window = best_window(windows, token, |_| 0);
            // After the `[CLS]` of the window.
            let row = (token - windows[window].start + 1) * labels;
            let (start, end) = encoding.offsets[token];
            // Some characters are several tokens, which then all stand for the whole of them.
            let overlaps = token > 0 && start < encoding.offsets[token - 1].1;
            let continues = overlaps
                || if is_word_piece {
                    encoding.tokens[token].starts_with("##")
                } else {
                    encoding.ids[token] != self.model.tokenizer().special().unk
                        && continues_word(text, start)
                };
            let scores = softmax(&outputs[window].numbers()[row..row + labels]);
            Part { range: start..end, continues, scores }
        };
        (0..encoding.len()).map(part).collect()
    }
}

/// The entities that the tokens of a text make.
fn entities(text: &str, parts: &[Part], labels: &[String], grouping: Grouping) -> Vec<Entity> {
    let words = match grouping {
        Grouping::None | Grouping::Simple => parts.iter().map(Part::labelled).collect(),
        grouping => words(parts, grouping),
    };
    let entity = |words: &[Labelled]| {
        let name = labels[words[0].label].as_str();
        let label = match grouping {
            Grouping::None => name,
            _ => name.split_once('-').map_or(name, |(_, tag)| tag),
        };
        let sum: f64 = words.iter().map(|word| f64::from(word.score)).sum();
        let range = words[0].range.start..words[words.len() - 1].range.end;
        let Range { start, end } = trim(text, range);
        let score = (sum / words.len() as f64) as f32;
        Entity { label: label.to_owned(), start, end, score }
    };
    let joins = |a: &Labelled, b: &Labelled| {
        grouping != Grouping::None && continues_entity(&labels[a.label], &labels[b.label])
    };
    let all = words.chunk_by(joins).map(entity);
    // The mark of a space may be a token of its own, which is nothing to a user.
    all.filter(|entity| entity.label != OUTSIDE && entity.start < entity.end).collect()
}

impl Part {
    fn labelled(&self) -> Labelled {
        let (label, score) = largest(&self.scores);
        Labelled { range: self.range.clone(), label, score }
    }
}

/// Whether the character at byte `start` continues the word before it: neither it nor the one
/// before it is a space. So punctuation belongs to the word it is written to; the pipeline's rule
/// for tokenizers that do not mark what continues a word. It knows one kind of space, we all.
fn continues_word(text: &str, start: usize) -> bool {
    let (before, rest) = text.split_at(boundary(text, start));
    let is_within = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
    is_within(before.chars().next_back()) && rest.chars().next().is_none_or(|c| !c.is_whitespace())
}

/// Words of tokens, each with one label.
fn words(parts: &[Part], grouping: Grouping) -> Vec<Labelled> {
    let word = |parts: &[Part]| {
        let Labelled { label, score, .. } = match grouping {
            Grouping::Max => parts
                .iter()
                .map(Part::labelled)
                .reduce(|best, next| if next.score > best.score { next } else { best }),
            Grouping::Average => Some(average(parts).labelled()),
            _ => parts.first().map(Part::labelled),
        }
        .expect("a word has a token");
        let range = parts[0].range.start..parts[parts.len() - 1].range.end;
        Labelled { range, label, score }
    };
    parts.chunk_by(|_, next| next.continues).map(word).collect()
}

/// The mean of the scores of each label.
fn average(parts: &[Part]) -> Part {
    let mean = |label: usize| {
        let sum: f64 = parts.iter().map(|part| f64::from(part.scores[label])).sum();
        (sum / parts.len() as f64) as f32
    };
    let scores = (0..parts[0].scores.len()).map(mean).collect();
    Part { scores, ..parts[0].clone() }
}

/// Whether what has the label `next` goes on with the entity of the label `last` before it.
fn continues_entity(last: &str, next: &str) -> bool {
    let tag = |label: &str| -> (bool, String) {
        let cut = label.strip_prefix("B-").map(|tag| (true, tag));
        let cut = cut.or_else(|| label.strip_prefix("I-").map(|tag| (false, tag)));
        cut.map_or((false, label.to_owned()), |(begins, tag)| (begins, tag.to_owned()))
    };
    let ((_, last), (begins, next)) = (tag(last), tag(next));
    !begins && last == next
}

/// The windows, of at most `room` tokens each, over a text whose tokens belong to these words.
/// They overlap by a quarter of `room` or more and begin with a word, unless a word is longer than
/// the rest of the window.
fn windows_of(words: &[Option<u32>], room: usize) -> Vec<Range<usize>> {
    let begins = |token: &usize| *token == 0 || words[*token] != words[*token - 1];
    let (mut windows, mut start) = (vec![], 0);
    while words.len() - start > room {
        windows.push(start..start + room);
        let latest = start + (room - room / 4).max(1);
        let last = words.len() - room;
        // The last window reaches as far back as it can.
        let reaching = (last..=latest).find(begins);
        let start_after = || (start + 1..=latest).rev().find(begins);
        start = reaching.or_else(start_after).unwrap_or(latest.min(last));
    }
    windows.push(start..words.len());
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "microsoft company in Rome, Paris it";

    fn labels() -> Vec<String> {
        ["O", "B-ENT", "I-ENT", "I-NAME", "LOC"].map(str::to_owned).to_vec()
    }

    fn parts() -> Vec<Part> {
        let part = |&(start, end, continues, scores): &(usize, usize, bool, [f32; 5])| Part {
            range: start..end,
            continues,
            scores: scores.to_vec(),
        };
        [
            (0, 5, false, [0.1, 0.6, 0.1, 0.1, 0.1]),
            (5, 9, true, [0.05, 0.05, 0.1, 0.7, 0.1]),
            (10, 13, false, [0.2, 0.1, 0.5, 0.1, 0.1]),
            (13, 17, true, [0.9, 0.0, 0.1, 0.0, 0.0]),
            (18, 20, false, [0.6, 0.1, 0.1, 0.1, 0.1]),
            (21, 25, false, [0.1, 0.1, 0.1, 0.1, 0.6]),
            (25, 26, true, [0.4, 0.1, 0.1, 0.1, 0.3]),
            (27, 32, false, [0.1, 0.1, 0.1, 0.2, 0.5]),
            (33, 35, false, [0.1, 0.5, 0.2, 0.1, 0.1]),
        ]
        .iter()
        .map(part)
        .collect()
    }

    /// What `TokenClassificationPipeline.aggregate` of transformers 4.57 makes of the same scores.
    #[test]
    fn groups_as_in_transformers() {
        let last = ("ENT", 33, 35, 0.5);
        for (grouping, expected) in [
            (
                Grouping::None,
                vec![
                    ("B-ENT", 0, 5, 0.6),
                    ("I-NAME", 5, 9, 0.7),
                    ("I-ENT", 10, 13, 0.5),
                    ("LOC", 21, 25, 0.6),
                    ("LOC", 27, 32, 0.5),
                    ("B-ENT", 33, 35, 0.5),
                ],
            ),
            (
                Grouping::Simple,
                vec![
                    ("ENT", 0, 5, 0.6),
                    ("NAME", 5, 9, 0.7),
                    ("ENT", 10, 13, 0.5),
                    ("LOC", 21, 25, 0.6),
                    ("LOC", 27, 32, 0.5),
                    last,
                ],
            ),
            (Grouping::First, vec![("ENT", 0, 17, 0.55), ("LOC", 21, 32, 0.55), last]),
            (Grouping::Average, vec![("NAME", 0, 9, 0.4), ("LOC", 21, 32, 0.475), last]),
            (Grouping::Max, vec![("NAME", 0, 9, 0.7), ("LOC", 21, 32, 0.55), last]),
        ] {
            let found = entities(TEXT, &parts(), &labels(), grouping);
            let ranges: Vec<_> = found.iter().map(|e| (e.label.as_str(), e.start, e.end)).collect();
            let wanted: Vec<_> = expected.iter().map(|e| (e.0, e.1, e.2)).collect();
            assert_eq!(ranges, wanted, "{grouping:?}");
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found.score - expected.3).abs() < 1e-6, "{grouping:?}: {found:?}");
            }
        }
    }

    #[test]
    fn nothing_has_no_entities() {
        for grouping in [Grouping::None, Grouping::Simple, Grouping::First, Grouping::Average] {
            assert_eq!(entities("", &[], &labels(), grouping), []);
        }
        // A token that is a space alone.
        let space = Part { range: 1..2, continues: false, scores: vec![0.0, 1.0, 0.0, 0.0, 0.0] };
        assert_eq!(entities("a b", &[space], &labels(), Grouping::None), []);
    }

    #[test]
    fn labels_continue_as_in_transformers() {
        for (last, next, continues) in [
            ("B-X", "I-X", true),
            ("I-X", "B-X", false),
            ("B-X", "B-X", false),
            ("I-X", "I-Y", false),
            ("X", "I-X", true),
            ("X", "X", true),
            ("O", "O", true),
            ("O", "B-O", false),
        ] {
            assert_eq!(continues_entity(last, next), continues, "{last} {next}");
        }
    }

    #[test]
    fn words_stand_between_spaces() {
        let text = "a b,\u{a0}cé\nd";
        let starts: Vec<usize> = text.char_indices().map(|(start, _)| start).collect();
        let continues: Vec<bool> =
            starts.iter().map(|&start| continues_word(text, start)).collect();
        //               a      ' '    b      ,     nbsp   c      é     \n     d
        let expected = [false, false, false, true, false, false, true, false, false];
        assert_eq!(continues, expected);
        assert!(continues_word("ab", 2));
    }

    /// Words of one to `longest` tokens.
    fn text(tokens: usize, longest: u32) -> Vec<Option<u32>> {
        let lengths = (0u32..).map(|word| word * 7 % longest + 1);
        let words =
            (0..).zip(lengths).flat_map(|(word, length)| (0..length).map(move |_| Some(word)));
        words.take(tokens).collect()
    }

    #[test]
    fn every_token_is_in_a_window_and_no_word_is_cut() {
        for (tokens, longest, room) in
            [(0, 1, 5), (5, 2, 5), (6, 2, 5), (1000, 4, 30), (999, 1, 7), (100_000, 12, 510)]
        {
            let words = text(tokens, longest);
            let windows = windows_of(&words, room);
            assert_eq!(windows[0].start, 0);
            assert_eq!(windows[windows.len() - 1].end, tokens);
            assert!(windows.iter().all(|window| window.len() <= room));
            for pair in windows.windows(2) {
                assert!(pair[1].start + room / 4 <= pair[0].end, "{pair:?}");
                assert!(pair[0].start < pair[1].start && pair[0].end < pair[1].end.max(1));
                assert_ne!(words[pair[1].start], words[pair[1].start - 1], "{pair:?}");
            }
            // A token that is not at an end of the text has at least so much around it.
            for token in room / 8..tokens.saturating_sub(room / 8) {
                let window = &windows[best_window(&windows, token, |_| 0)];
                let poorer = (token - window.start).min(window.end - 1 - token);
                assert!(poorer + longest as usize >= room / 8, "{token} in {window:?}");
            }
        }
    }

    #[test]
    fn a_word_longer_than_a_window_is_read_all_the_same() {
        let words = vec![Some(0); 5000];
        let windows = windows_of(&words, 100);
        assert_eq!(windows.len(), 67);
        assert_eq!((windows[1].clone(), windows[66].clone()), (75..175, 4900..5000));
        assert_eq!(windows_of(&words[..3], 1), [0..1, 1..2, 2..3]);
    }

    #[test]
    fn the_window_with_most_around_a_token_is_best() {
        let windows = [0..10, 4..14, 8..18];
        let best: Vec<usize> = (0..18).map(|token| best_window(&windows, token, |_| 0)).collect();
        assert_eq!(best, [0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2]);
    }
}
