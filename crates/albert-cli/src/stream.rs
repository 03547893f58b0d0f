//! The one loop of the commands that answer records: batches by a budget of tokens, answers in the
//! order of the records, and what becomes of a record at fault. Memory does not grow with the
//! number of records.

use std::fmt::Display;
use std::io::IsTerminal;

use albert::records::{Place, Record};
use anyhow::{Error, Result, bail};
use indicatif::{HumanCount, ProgressBar};

use crate::input::{OnError, Read, Source};
use crate::output::{Answers, Show, note, progress_bar};

/// Tokens computed together: enough to keep all threads busy, few enough to answer steadily.
const BATCH_TOKENS: usize = 4096;

/// Steps of the progress bar.
const BAR_STEPS: u64 = 1000;

/// What a command does with records.
pub(crate) trait Job {
    /// What it needs of a record.
    type Item;
    /// What it says of one.
    type Answer;

    /// The item of a record, `columns` being what its columns are called there. An error names
    /// the place of the record, as those of [`Record`] do.
    fn item(&self, record: &Record, columns: &[String]) -> Result<Self::Item>;

    /// About how many tokens an item has.
    fn tokens(&self, item: &Self::Item) -> usize;

    /// The answers to some items; an error need not say which of them is at fault.
    fn compute(&self, items: &[Self::Item]) -> Result<Vec<Self::Answer>>;
}

/// Where answers are written.
pub(crate) trait Writer<J: Job> {
    fn write(&mut self, job: &J, item: &J::Item, answer: &J::Answer) -> Result<()>;

    /// Lets readers see what there is so far.
    fn flush(&mut self) -> Result<()>;

    /// Makes the output whole; without this, a file does not appear.
    fn finish(self) -> Result<()>;

    /// Whether a progress bar would stand between answers.
    fn on_terminal(&self) -> bool;
}

impl<J: Job + Show<J::Item, J::Answer>> Writer<J> for Answers {
    fn write(&mut self, job: &J, item: &J::Item, answer: &J::Answer) -> Result<()> {
        Answers::write(self, job, item, answer)
    }

    fn flush(&mut self) -> Result<()> {
        Answers::flush(self)
    }

    fn finish(self) -> Result<()> {
        Answers::finish(self)
    }

    fn on_terminal(&self) -> bool {
        self.on_standard_output() && std::io::stdout().is_terminal()
    }
}

/// About how many tokens a text has: of English, four bytes make one. Others have more, but none
/// more than four times as many, and no text more than a model has positions.
pub(crate) fn about_tokens(text: &str) -> usize {
    text.len() / 4 + 2
}

/// Answers every record of `source`.
///
/// # Errors
/// The first record at fault under [`OnError::Stop`], when those before it have been answered;
/// under [`OnError::Skip`], that none could be answered. A file that cannot be read or written.
pub(crate) fn run<J: Job, W: Writer<J>>(
    job: &J,
    source: &Source,
    on_error: OnError,
    writer: W,
) -> Result<()> {
    let mut stream = Stream { job, writer, on_error, bar: None, answered: 0, failed: 0 };
    loop {
        let window = source.take();
        if window.is_empty() {
            return stream.finish();
        }
        stream.show_progress(source);
        let mut batch = Batch::default();
        for read in window {
            let item = match read {
                Read::Record(record) => {
                    let item = job.item(&record, &source.columns);
                    item.map(|item| (record.place().clone(), item))
                }
                Read::Bad(error) => Err(error.into()),
                Read::Broken(error) => {
                    stream.answer(&mut batch)?;
                    return Err(error.into());
                }
            };
            match item {
                Ok((place, item)) => {
                    let tokens = job.tokens(&item);
                    if !batch.has_room(tokens) {
                        stream.answer(&mut batch)?;
                    }
                    batch.push(place, item, tokens);
                }
                Err(error) => {
                    if on_error == OnError::Stop {
                        stream.answer(&mut batch)?;
                    }
                    stream.fault(error)?;
                }
            }
        }
        stream.answer(&mut batch)?;
    }
}

/// Items that are computed together, and where they come from.
struct Batch<Item> {
    places: Vec<Place>,
    items: Vec<Item>,
    tokens: usize,
}

impl<Item> Default for Batch<Item> {
    fn default() -> Self {
        Self { places: Vec::new(), items: Vec::new(), tokens: 0 }
    }
}

impl<Item> Batch<Item> {
    /// Whether so many tokens fit; one item always does.
    fn has_room(&self, tokens: usize) -> bool {
        self.items.is_empty() || self.tokens + tokens <= BATCH_TOKENS
    }

    fn push(&mut self, place: Place, item: Item, tokens: usize) {
        self.places.push(place);
        self.items.push(item);
        self.tokens += tokens;
    }
}

struct Stream<'a, J: Job, W: Writer<J>> {
    job: &'a J,
    writer: W,
    on_error: OnError,
    bar: Option<ProgressBar>,
    answered: u64,
    failed: u64,
}

impl<J: Job, W: Writer<J>> Stream<'_, J, W> {
    /// Answers a batch and empties it.
    fn answer(&mut self, batch: &mut Batch<J::Item>) -> Result<()> {
        let Batch { places, items, .. } = std::mem::take(batch);
        self.answer_all(&places, &items)?;
        self.writer.flush()
    }

    /// Answers some items; if that fails, one half and then the other, so that the item at fault is
    /// named and the others are answered.
    fn answer_all(&mut self, places: &[Place], items: &[J::Item]) -> Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        match self.job.compute(items) {
            Ok(answers) => {
                assert_eq!(answers.len(), items.len(), "a job answers each of its items");
                items.iter().zip(&answers).try_for_each(|(item, answer)| self.write(item, answer))
            }
            Err(error) if items.len() == 1 => {
                self.writer.flush()?;
                self.fault(error.context(places[0].to_string()))
            }
            Err(_) => {
                let half = items.len() / 2;
                self.answer_all(&places[..half], &items[..half])?;
                self.answer_all(&places[half..], &items[half..])
            }
        }
    }

    fn write(&mut self, item: &J::Item, answer: &J::Answer) -> Result<()> {
        self.answered += 1;
        self.writer.write(self.job, item, answer)
    }

    /// A record at fault: the end, or a line on standard error.
    fn fault(&mut self, error: Error) -> Result<()> {
        if self.on_error == OnError::Stop {
            return Err(error);
        }
        self.failed += 1;
        self.note(format_args!("skipped: {}", crate::output::message(&error)));
        Ok(())
    }

    fn note(&self, line: impl Display) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(format_args!("{line}"))),
            None => note(format_args!("{line}")),
        }
    }

    /// A bar, if the length of the input is known and no answers come between.
    fn show_progress(&mut self, source: &Source) {
        let Some(share) = source.share().filter(|_| !self.writer.on_terminal()) else { return };
        let bar = self.bar.get_or_insert_with(|| {
            progress_bar(BAR_STEPS, "{wide_bar} {percent} % {msg}, {eta} left")
        });
        let records = self.answered + self.failed;
        let rate = records as f64 / bar.elapsed().as_secs_f64().max(1e-3);
        bar.set_message(format!("{} records, {rate:.0}/s", HumanCount(records)));
        bar.set_position((share * BAR_STEPS as f64) as u64);
    }

    fn finish(self) -> Result<()> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.failed > 0 {
            let records = self.answered + self.failed;
            if self.answered == 0 {
                bail!("none of {records} records could be answered");
            }
            note(format_args!("{} of {records} records failed", self.failed));
        }
        self.writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers a number with itself, fails for 7, and forgets to answer 0.
    struct Numbers;

    impl Job for Numbers {
        type Item = u32;
        type Answer = u32;

        fn item(&self, _: &Record, _: &[String]) -> Result<u32> {
            Ok(1)
        }

        fn tokens(&self, _: &u32) -> usize {
            1
        }

        fn compute(&self, items: &[u32]) -> Result<Vec<u32>> {
            anyhow::ensure!(!items.contains(&7), "a seven");
            Ok(items.iter().copied().filter(|item| *item != 0).collect())
        }
    }

    impl Writer<Numbers> for &mut Vec<u32> {
        fn write(&mut self, _: &Numbers, _: &u32, answer: &u32) -> Result<()> {
            self.push(*answer);
            Ok(())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }

        fn finish(self) -> Result<()> {
            Ok(())
        }

        fn on_terminal(&self) -> bool {
            false
        }
    }

    fn answers(items: &[u32]) -> Vec<u32> {
        let mut written = Vec::new();
        let (writer, on_error) = (&mut written, OnError::Skip);
        let mut stream =
            Stream { job: &Numbers, writer, on_error, bar: None, answered: 0, failed: 0 };
        let places = vec![Place::Arguments; items.len()];
        stream.answer_all(&places, items).unwrap();
        written
    }

    #[test]
    fn a_batch_is_halved_until_the_fault_is_found() {
        assert_eq!(answers(&[1, 2, 7, 3, 4]), [1, 2, 3, 4]);
    }

    #[test]
    #[should_panic(expected = "a job answers each of its items")]
    fn an_answer_that_is_missing_is_noticed() {
        answers(&[1, 0, 2]);
    }
}
