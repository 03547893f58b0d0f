//! The columns of CoNLL: a word on each line, first the word and last its tag, an empty line after
//! a sentence. So are CoNLL-2003, WNUT-17 and most files of entities.

use std::path::Path;
use std::sync::Arc;

use super::{Example, Examples, Input, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::files::read_lines;
use crate::records::Place;

/// What stands before a document in CoNLL-2003.
const DOCUMENT: &str = "-DOCSTART-";

struct Sentences<L> {
    lines: L,
    name: Arc<str>,
    line: u64,
    sentences: u64,
    done: bool,
}

pub(super) fn read(path: &Path) -> Result<Examples> {
    // Opened here so that a file that is not there is an error at once.
    drop(std::fs::File::open(path).map_err(|error| Error::io("reading", path, error))?);
    let lines = read_lines(vec![path.to_owned()]);
    let name = path.display().to_string().into();
    Ok(Examples::new(Sentences { lines, name, line: 0, sentences: 0, done: false }))
}

/// The words so far, their tags, and how many columns there are.
#[derive(Default)]
struct Sentence {
    words: Vec<String>,
    tags: Vec<String>,
    columns: usize,
}

impl<L: Iterator<Item = Result<String>>> Sentences<L> {
    fn advance(&mut self) -> Result<Option<Example>> {
        let mut sentence = Sentence::default();
        let mut problem = None;
        let mut start = 0;
        for line in self.lines.by_ref() {
            let line = line.inspect_err(|_| self.done = true)?;
            self.line += 1;
            if line.trim().is_empty() || line.starts_with(DOCUMENT) {
                if sentence.words.is_empty() && problem.is_none() {
                    continue;
                }
                return self.finish(sentence, start, problem);
            }
            let place = Place::Line(Arc::clone(&self.name), self.line);
            if sentence.words.is_empty() {
                start = self.line;
            }
            // After an error the rest of the sentence is read over.
            let added = sentence.add(&line, &place);
            problem = problem.or(added.err());
        }
        self.done = true;
        if sentence.words.is_empty() && problem.is_none() {
            return Ok(None);
        }
        self.finish(sentence, start, problem)
    }

    fn finish(
        &mut self,
        sentence: Sentence,
        start: u64,
        problem: Option<Error>,
    ) -> Result<Option<Example>> {
        let id = self.sentences.to_string();
        self.sentences += 1;
        match problem {
            Some(error) => Err(error),
            None => Ok(Some(Example {
                id,
                place: Place::Line(Arc::clone(&self.name), start),
                level: None,
                target: (sentence.columns > 1).then_some(Target::Tags(sentence.tags)),
                input: Input::Words(sentence.words),
            })),
        }
    }
}

impl Sentence {
    fn add(&mut self, line: &str, place: &Place) -> Result<()> {
        let separators: &[char] = if line.contains('\t') { &['\t'] } else { &[' '] };
        let fields: Vec<&str> =
            line.split(separators).map(str::trim).filter(|field| !field.is_empty()).collect();
        let wrong =
            |reason: String| Err(Error::new(ErrorKind::Format, format!("{place}: {reason}")));
        let (first, last) = (fields[0], fields[fields.len() - 1]);
        if self.words.is_empty() {
            self.columns = fields.len();
        } else if fields.len() != self.columns {
            return wrong(format!(
                "{} columns, where this sentence began with {}: expected a word first and its tag \
                 last, and an empty line after each sentence",
                fields.len(),
                self.columns
            ));
        }
        self.words.push(first.to_owned());
        if self.columns > 1 {
            if !is_tag(last) {
                return wrong(format!(
                    "the last column holds {last:?}, where a tag is needed: O, or one of the \
                     letters B I E S L U, a hyphen and a type, as B-person"
                ));
            }
            self.tags.push(last.to_owned());
        }
        Ok(())
    }
}

/// Whether this is a tag of IOB1, IOB2, IOE, IOBES or BILOU.
fn is_tag(tag: &str) -> bool {
    let mut letters = tag.chars();
    match (letters.next(), letters.next()) {
        (Some('O'), None) => true,
        (Some('B' | 'I' | 'E' | 'S' | 'L' | 'U'), Some('-')) => letters.next().is_some(),
        _ => false,
    }
}

impl<L: Iterator<Item = Result<String>>> Iterator for Sentences<L> {
    type Item = Result<Example>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done { None } else { self.advance().transpose() }
    }
}
