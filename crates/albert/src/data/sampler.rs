//! Draws pre-training examples from a store.
//!
//! Example number `i` is a function of the store, the options, the seed and `i` alone: nothing
//! is consumed, so resuming costs nothing and any thread may draw any example. In each epoch
//! every chunk of the store (see [`super::packing`]) occurs once, in an order that is shuffled
//! over the whole store without being kept in memory; masks, split points and swaps are drawn
//! anew. Some numbers have no example: what is numbered is the slots of the store, and not all of
//! them hold a chunk.

use std::ops::Range;
use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::Masking;
use super::encode::word_cut;
use super::masking::{draw_spans, replacement};
use super::packing::{Chunk, ChunkIndex, Packing};
use super::permutation::Permutation;
use super::store::{Shard, Store};
use crate::error::{Error, Result};
use crate::random::Seed;

/// `[CLS]` and two `[SEP]`, and a few words between them.
const SEQUENCE_LENGTH_MIN: usize = 8;

/// What is learnt about two segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentenceObjective {
    /// Sentence order (ALBERT): the chunk is split at a random sentence boundary, and the halves
    /// are swapped (label 1) or not (label 0), each half of the time. A chunk of one sentence is
    /// split at a random word instead: its label is as true as any other. (The original takes
    /// the second segment of such a chunk from another document and calls that swapped.) A chunk
    /// of a single word has one segment and no label.
    Order,
    /// Next sentence (BERT): half of the time the second segment is replaced by sentences of
    /// nearly the same length from a random place of another document (label 1). What they
    /// replace is not seen in this epoch.
    NextSentence,
    /// One segment, no label.
    None,
}

/// How examples are drawn.
#[derive(Debug, Clone, Copy)]
pub struct SampleOptions {
    /// Tokens of an example at most, special ones included.
    pub sequence_length: usize,
    /// The probability that an example has a random shorter target length.
    pub short_probability: f64,
    /// What is learnt about two segments.
    pub objective: SentenceObjective,
    /// What is masked.
    pub masking: Masking,
}

impl SampleOptions {
    /// ALBERT's choices at a sequence length.
    #[must_use]
    pub fn new(sequence_length: usize) -> Self {
        Self {
            sequence_length,
            short_probability: 0.1,
            objective: SentenceObjective::Order,
            masking: Masking::default(),
        }
    }

    fn check(&self, store: &Store) -> Result<()> {
        let Masking { rate, max_ngram, max_predictions } = self.masking;
        if self.sequence_length < SEQUENCE_LENGTH_MIN {
            return Err(Error::config(format!(
                "the sequence length is {}; it must be at least {SEQUENCE_LENGTH_MIN}",
                self.sequence_length
            )));
        }
        if !(0.0..=1.0).contains(&self.short_probability) {
            return Err(Error::config(format!(
                "the probability of short sequences is {}; it must lie between 0 and 1",
                self.short_probability
            )));
        }
        if !(rate > 0.0 && rate < 1.0) || max_ngram == 0 || max_predictions == Some(0) {
            return Err(Error::config(format!(
                "masking {rate} of the tokens in spans of up to {max_ngram} words, at most \
                 {max_predictions:?}: the rate must lie between 0 and 1, the others be at least 1"
            )));
        }
        if self.objective == SentenceObjective::NextSentence && store.manifest().documents < 2 {
            return Err(Error::input(format!(
                "{} holds one document; the next-sentence objective needs two or more (a blank \
                 line between documents), or choose sentence order",
                store.directory().display()
            )));
        }
        Ok(())
    }

    fn packing(&self) -> Packing {
        let (specials, min_sentences) = match self.objective {
            SentenceObjective::None => (2, 1),
            SentenceObjective::Order | SentenceObjective::NextSentence => (3, 2),
        };
        Packing {
            capacity: self.sequence_length - specials,
            short_probability: self.short_probability,
            min_sentences,
        }
    }
}

/// A pre-training example, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// `[CLS] A [SEP] B [SEP]`, or `[CLS] A [SEP]`, masked.
    pub input_ids: Vec<u32>,
    /// 0 up to the first `[SEP]`, then 1.
    pub token_type_ids: Vec<u32>,
    /// Indexes of the tokens to predict, rising; empty when the text has no whole word that fits.
    pub masked_positions: Vec<u32>,
    /// The ids that were at these positions.
    pub masked_labels: Vec<u32>,
    /// 0 for in order (or the next segment), 1 for swapped (or a random one); `None` for an
    /// example with one segment.
    pub sentence_label: Option<u32>,
}

/// Draws examples from a store, see the module's documentation.
#[derive(Debug)]
pub struct Sampler {
    store: Arc<Store>,
    options: SampleOptions,
    index: ChunkIndex,
    seed: Seed,
}

impl Sampler {
    /// A sampler over `store`. Reads nothing of it.
    ///
    /// # Errors
    /// Options out of range, or a store that the objective cannot be drawn from.
    pub fn new(store: Arc<Store>, options: SampleOptions, seed: Seed) -> Result<Self> {
        options.check(&store)?;
        let index = ChunkIndex::new(&store, options.packing(), seed.split("packing", 0));
        Ok(Self { store, options, index, seed })
    }

    /// The numbers of an epoch, more than it has examples: epoch `e` is
    /// `e * slots()..(e + 1) * slots()`.
    #[must_use]
    pub fn slots(&self) -> u64 {
        self.index.slots()
    }

    /// The store the examples come from.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The example with number `number`, if there is one.
    ///
    /// # Errors
    /// A failed read, a store with an id outside its vocabulary or with boundaries that cannot be.
    pub fn example(&self, number: u64) -> Result<Option<Example>> {
        let (epoch, index) = (number / self.slots(), number % self.slots());
        let order = Permutation::new(self.slots(), self.seed.split("epoch", epoch));
        let Some(chunk) = self.index.chunk(&self.store, order.at(index))? else { return Ok(None) };
        let mut rng = self.seed.split("example", number).generator();
        let segments = self.draw_segments(&chunk, &mut rng)?;
        Ok(Some(self.lay_out(&segments, &mut rng)))
    }

    fn draw_segments(&self, chunk: &Chunk, rng: &mut ChaCha8Rng) -> Result<Segments> {
        let shard = &self.store.shards()[chunk.shard];
        let mut first = self.read(shard, chunk.start..chunk.end)?;
        let split = match self.options.objective {
            SentenceObjective::None => None,
            SentenceObjective::Order | SentenceObjective::NextSentence => {
                self.draw_split(chunk, &first, rng)
            }
        };
        let Some(split) = split else {
            return Ok(Segments { first, second: None });
        };
        let second = first.split_off(split);
        let is_changed = rng.random_bool(0.5);
        let (first, second) = match self.options.objective {
            SentenceObjective::Order if is_changed => (second, first),
            SentenceObjective::NextSentence if is_changed => {
                let room = self.options.packing().capacity - first.len();
                let second = self.draw_other(chunk, second.len(), room, rng)?;
                (first, second)
            }
            _ => (first, second),
        };
        Ok(Segments { first, second: Some((second, u32::from(is_changed))) })
    }

    /// Where to split the chunk `ids` in two: between sentences, else between words.
    fn draw_split(&self, chunk: &Chunk, ids: &[u32], rng: &mut ChaCha8Rng) -> Option<usize> {
        let boundaries = &chunk.boundaries;
        if !boundaries.is_empty() {
            let boundary = boundaries[rng.random_range(0..boundaries.len())];
            return Some((boundary - chunk.start) as usize);
        }
        let starts: Vec<_> = (1..ids.len()).filter(|&at| self.starts_word(ids[at])).collect();
        (!starts.is_empty()).then(|| starts[rng.random_range(0..starts.len())])
    }

    /// Sentences from a random one on, of a random document other than the chunk's: as near to
    /// `aim` tokens as they come, at most `room`.
    fn draw_other(
        &self,
        chunk: &Chunk,
        aim: usize,
        room: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<u32>> {
        let own = self.store.first_document(chunk.shard) + chunk.document;
        let other = rng.random_range(0..self.store.manifest().documents - 1);
        let (shard, document) = self.store.locate_document(other + u64::from(other >= own));
        let sentences = shard.document_sentences(document)?;
        let sentence = rng.random_range(sentences.clone());
        // A sentence has a token at least: no more than these fit.
        let (start, ends) =
            shard.sentences(sentence..sentences.end.min(sentence + room as u64 + 1))?;
        let lengths = ends.iter().map(|&end| (end - start) as usize);
        let fitting = lengths.take_while(|&length| length <= room);
        if let Some(length) = fitting.min_by_key(|length| length.abs_diff(aim)) {
            return self.read(shard, start..start + length as u32);
        }
        let mut ids = self.read(shard, start..ends[0])?;
        ids.truncate(word_cut(&ids, room, self.store.word_starts()));
        Ok(ids)
    }

    fn read(&self, shard: &Shard, tokens: Range<u32>) -> Result<Vec<u32>> {
        let ids = shard.ids(tokens)?;
        let vocab_size = self.store.manifest().vocab_size;
        match ids.iter().find(|&&id| id as usize >= vocab_size) {
            None => Ok(ids),
            Some(id) => Err(Error::format(
                shard.ids_path(),
                format_args!(
                    "damaged: id {id} lies outside the vocabulary of {vocab_size}; \
                     copy the store again, or prepare the text again"
                ),
            )),
        }
    }

    fn lay_out(&self, segments: &Segments, rng: &mut ChaCha8Rng) -> Example {
        let special = &self.store.manifest().special_ids;
        let mut input_ids = vec![special.cls];
        input_ids.extend_from_slice(&segments.first);
        input_ids.push(special.sep);
        let mut token_type_ids = vec![0; input_ids.len()];
        let mut words = self.words(&segments.first, 1);
        if let Some((second, _)) = &segments.second {
            words.extend(self.words(second, input_ids.len()));
            input_ids.extend_from_slice(second);
            input_ids.push(special.sep);
            token_type_ids.resize(input_ids.len(), 1);
        }
        let masked_positions = self.draw_positions(&words, input_ids.len(), rng);
        let mut masked_labels = Vec::with_capacity(masked_positions.len());
        for &position in &masked_positions {
            let id = &mut input_ids[position as usize];
            masked_labels.push(*id);
            *id = replacement(*id, special, self.store.manifest().vocab_size, rng);
        }
        let sentence_label = segments.second.as_ref().map(|&(_, label)| label);
        Example { input_ids, token_type_ids, masked_positions, masked_labels, sentence_label }
    }

    fn draw_positions(
        &self,
        words: &[Range<usize>],
        length: usize,
        rng: &mut ChaCha8Rng,
    ) -> Vec<u32> {
        let masking = &self.options.masking;
        let spans = draw_spans(words, masking.budget(length), masking.max_ngram, rng);
        let mut positions: Vec<u32> = spans
            .iter()
            .flat_map(|span| &words[span.word..span.word + span.length])
            .flat_map(|word| word.start as u32..word.end as u32)
            .collect();
        positions.sort_unstable();
        positions
    }

    /// The words of a segment that starts at token `offset` of the sequence. A piece that begins
    /// the segment begins a word; special ids, the unknown one included, belong to none: they are
    /// never to be predicted.
    fn words(&self, segment: &[u32], offset: usize) -> Vec<Range<usize>> {
        let special = &self.store.manifest().special_ids;
        let mut words: Vec<Range<usize>> = Vec::new();
        for (position, &id) in (offset..).zip(segment) {
            match words.last_mut() {
                _ if special.contains(id) => {}
                Some(word) if word.end == position && !self.starts_word(id) => word.end += 1,
                _ => words.push(position..position + 1),
            }
        }
        words
    }

    fn starts_word(&self, id: u32) -> bool {
        self.store.word_starts()[id as usize]
    }
}

/// The text of an example.
struct Segments {
    first: Vec<u32>,
    /// With the sentence label.
    second: Option<(Vec<u32>, u32)>,
}
