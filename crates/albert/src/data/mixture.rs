//! Draws from several samplers at once: stores with weights, sequences of several lengths.
//!
//! Each of these streams has a share of the tokens. The next example is always of the stream that
//! lacks most of its share so far, so no stream is ever further from it than the longest sequence,
//! and the choice is a function of where the streams stand. Within a stream examples come in the
//! order of its sampler: every chunk of its store once in each of its epochs.

use std::collections::VecDeque;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::sampler::{Example, Sampler};
use crate::error::Result;

/// Numbers of a sampler that are drawn at once, by all threads, ahead of their use.
const AHEAD: u64 = 256;

/// Where a stream stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The sampler's next number.
    pub next: u64,
    /// Tokens drawn so far, special ones included.
    pub tokens: u64,
}

/// How much is drawn at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many examples.
    Examples(u64),
    /// At most so many tokens, special ones included: up to the first example that does not fit,
    /// which is the next to be drawn. At least one example.
    Tokens(u64),
}

/// Several streams of examples, and where each stands.
#[derive(Debug)]
pub struct Mixture {
    streams: Vec<Stream>,
}

#[derive(Debug)]
struct Stream {
    sampler: Sampler,
    /// Of all tokens; the shares of all streams sum to 1.
    share: f64,
    position: Position,
    /// What is drawn ahead, each with its number.
    ahead: VecDeque<(u64, Example)>,
    /// The first number that is not drawn ahead.
    drawn: u64,
}

impl Mixture {
    /// Streams at their beginnings, each with its weight: their shares are as their weights.
    ///
    /// # Panics
    /// Without streams, or when a weight is not above 0.
    #[must_use]
    pub fn new(samplers: Vec<(Sampler, f64)>) -> Self {
        assert!(!samplers.is_empty() && samplers.iter().all(|(_, weight)| *weight > 0.0));
        let sum: f64 = samplers.iter().map(|(_, weight)| weight).sum();
        let stream = |(sampler, weight)| Stream {
            sampler,
            share: weight / sum,
            position: Position::default(),
            ahead: VecDeque::new(),
            drawn: 0,
        };
        Self { streams: samplers.into_iter().map(stream).collect() }
    }

    /// Where the streams stand.
    #[must_use]
    pub fn positions(&self) -> Vec<Position> {
        self.streams.iter().map(|stream| stream.position).collect()
    }

    /// Goes to where the streams once stood.
    ///
    /// # Panics
    /// When there are not as many positions as streams.
    pub fn go_to(&mut self, positions: &[Position]) {
        assert_eq!(positions.len(), self.streams.len(), "a position for each stream");
        for (stream, position) in self.streams.iter_mut().zip(positions) {
            stream.position = *position;
            stream.drawn = position.next;
            stream.ahead.clear();
        }
    }

    /// Goes back to the beginning.
    pub fn rewind(&mut self) {
        self.go_to(&vec![Position::default(); self.streams.len()]);
    }

    /// The sampler of each stream, and its share of the tokens.
    #[cfg(test)]
    pub(super) fn streams(&self) -> impl Iterator<Item = (&Sampler, f64)> {
        self.streams.iter().map(|stream| (&stream.sampler, stream.share))
    }

    /// Draws the next examples.
    ///
    /// # Errors
    /// Those of [`Sampler::example`].
    pub fn draw(&mut self, limit: Limit) -> Result<Vec<Example>> {
        self.draw_while(|examples, tokens, next| match limit {
            Limit::Examples(count) => (examples as u64) < count,
            Limit::Tokens(most) => examples == 0 || (tokens + next) as u64 <= most,
        })
    }

    /// As [`Mixture::draw`], but no further than the first epoch of any stream.
    ///
    /// # Errors
    /// Those of [`Sampler::example`].
    pub fn draw_once(&mut self, count: u64) -> Result<Vec<Example>> {
        let mut examples = Vec::new();
        while (examples.len() as u64) < count {
            let stream = self.next_stream();
            if stream.peek()? >= stream.sampler.slots() {
                break;
            }
            examples.push(stream.take());
        }
        Ok(examples)
    }

    /// Draws while `goes_on` says so of the examples and tokens drawn, and the next one's tokens.
    fn draw_while(
        &mut self,
        goes_on: impl Fn(usize, usize, usize) -> bool,
    ) -> Result<Vec<Example>> {
        let (mut examples, mut tokens) = (Vec::new(), 0);
        loop {
            let stream = self.next_stream();
            stream.peek()?;
            let next = stream.ahead[0].1.input_ids.len();
            if !goes_on(examples.len(), tokens, next) {
                return Ok(examples);
            }
            examples.push(stream.take());
            tokens += next;
        }
    }

    /// The stream that lacks most of its share; of equal ones the first.
    fn next_stream(&mut self) -> &mut Stream {
        let total: u64 = self.streams.iter().map(|stream| stream.position.tokens).sum();
        let lack = |stream: &Stream| stream.share * total as f64 - stream.position.tokens as f64;
        let mut most = 0;
        for (index, stream) in self.streams.iter().enumerate() {
            if lack(stream) > lack(&self.streams[most]) {
                most = index;
            }
        }
        &mut self.streams[most]
    }
}

impl Stream {
    /// Makes sure that the next example is drawn ahead; gives its number.
    fn peek(&mut self) -> Result<u64> {
        while self.ahead.is_empty() {
            let numbers = self.drawn..self.drawn + AHEAD;
            let draw = |number| Ok(self.sampler.example(number)?.map(|example| (number, example)));
            let drawn: Result<Vec<Option<(u64, Example)>>> =
                numbers.clone().into_par_iter().map(draw).collect();
            self.ahead.extend(drawn?.into_iter().flatten());
            self.drawn = numbers.end;
        }
        Ok(self.ahead[0].0)
    }

    /// Takes the example that [`Stream::peek`] has drawn.
    fn take(&mut self) -> Example {
        let (number, example) = self.ahead.pop_front().expect("peek was called");
        self.position.next = number + 1;
        self.position.tokens += example.input_ids.len() as u64;
        example
    }
}
