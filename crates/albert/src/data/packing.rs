//! Which tokens of a store belong to which example: the store cut into chunks of consecutive
//! sentences of one document.
//!
//! The sentences of a shard are taken in blocks of a fixed number. Inside a block, chunks are
//! packed greedily: whole sentences as long as they fit, one after the other, so that **every
//! token lies in exactly one chunk** and nothing is cut off. (The original packs past the target
//! and truncates; without padding there is nothing to gain from that.) With a given probability a
//! chunk has a random shorter target, drawn for each chunk. Only a sentence that alone exceeds
//! the capacity is cut, before a word; its rest starts the next chunk.
//!
//! How many chunks a block has is known only by packing it, and a store has a million blocks. So
//! each block gets **slots**, as many as it can have chunks at most, which its tokens and documents
//! tell: slots are counted without reading the text, and some of them, spread over the whole store
//! by the order they are drawn in, stay empty. A chunk is found by packing its block, which takes
//! microseconds.

use rand::RngExt;

use super::encode::{SENTENCE_TOKENS_MAX, word_cut};
use super::store::{Block, Shard, Store};
use crate::error::Result;
use crate::random::Seed;

/// How chunks are packed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packing {
    /// Tokens of a chunk at most.
    pub(super) capacity: usize,
    /// The probability of a shorter target.
    pub(super) short_probability: f64,
    /// Sentences of a chunk with a shorter target at least, if the capacity and the document
    /// have them: 2 for objectives that need a place to split at.
    pub(super) min_sentences: usize,
}

impl Packing {
    /// The chunks of a block at most, and how many of them may have a shorter target.
    ///
    /// Of the others, those that end neither a document nor the block, which are fewer than its
    /// `documents`, end because the next sentence does not fit: with the next chunk they hold at
    /// least the capacity, so there are 2 for each capacity of tokens at most; or they stand
    /// before a sentence that alone exceeds the capacity, of which there is 1 at most. Where no
    /// sentence exceeds it, each also holds the capacity but for one sentence.
    fn slots(&self, (tokens, documents): (u32, u32)) -> (u64, u64) {
        let (capacity, tokens) = (self.capacity as u64, u64::from(tokens));
        let sentence = SENTENCE_TOKENS_MAX as u64;
        let full = if capacity < sentence {
            (3 * tokens).div_ceil(capacity)
        } else {
            (2 * tokens).div_ceil(capacity).min(tokens.div_ceil(capacity + 1 - sentence))
        };
        let full = full + u64::from(documents);
        // Four standard deviations more than are expected. The rare block in which more would be
        // drawn has full ones instead.
        let expected = self.short_probability * full as f64;
        let short = (expected + 4.0 * expected.sqrt()).ceil() as u64;
        (full + short, short)
    }
}

/// Consecutive tokens of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) shard: usize,
    /// The document of the shard.
    pub(super) document: u64,
    pub(super) start: u32,
    pub(super) end: u32,
    /// The places between two sentences inside the chunk, as tokens of the shard.
    pub(super) boundaries: Vec<u32>,
}

/// Finds every chunk of a store by its slot.
#[derive(Debug)]
pub(super) struct ChunkIndex {
    packing: Packing,
    seed: Seed,
    /// For each block, the slots of the store up to its end.
    slot_ends: Vec<u64>,
    /// For each shard, the number of its first block.
    first_blocks: Vec<usize>,
}

impl ChunkIndex {
    pub(super) fn new(store: &Store, packing: Packing, seed: Seed) -> Self {
        let mut first_blocks = Vec::with_capacity(store.shards().len());
        let (mut slot_ends, mut slots) = (Vec::new(), 0);
        for shard in store.shards() {
            first_blocks.push(slot_ends.len());
            for block in 0..shard.blocks() {
                slots += packing.slots(shard.block_size(block)).0;
                slot_ends.push(slots);
            }
        }
        Self { packing, seed, slot_ends, first_blocks }
    }

    /// The number of slots: at least that of chunks.
    pub(super) fn slots(&self) -> u64 {
        self.slot_ends.last().copied().unwrap_or(0)
    }

    /// The chunk of slot `slot`, below [`ChunkIndex::slots`], unless it is empty.
    pub(super) fn chunk(&self, store: &Store, slot: u64) -> Result<Option<Chunk>> {
        let block = self.slot_ends.partition_point(|&end| end <= slot);
        let shard = self.first_blocks.partition_point(|&first| first <= block) - 1;
        let before = if block == 0 { 0 } else { self.slot_ends[block - 1] };
        let files = &store.shards()[shard];
        let local = block - self.first_blocks[shard];
        let boundaries = files.block(local)?;
        let packer = Packer {
            shard: files,
            word_starts: store.word_starts(),
            packing: self.packing,
            short_left: self.packing.slots(files.block_size(local)).1,
            rng: self.seed.split("block", block as u64).generator(),
            position: boundaries.start,
            sentence: 0,
            document: 0,
            block: boundaries,
            ids: Vec::new(),
        };
        packer.find(shard, slot - before)
    }
}

/// Packs a block, chunk by chunk.
struct Packer<'a> {
    shard: &'a Shard,
    word_starts: &'a [bool],
    packing: Packing,
    /// Chunks that may still have a shorter target.
    short_left: u64,
    rng: rand_chacha::ChaCha8Rng,
    block: Block,
    /// The next token of the shard, inside or at the start of `sentence`.
    position: u32,
    /// Of the block.
    sentence: usize,
    /// The document of `sentence`, counted from the block's first.
    document: usize,
    /// Those of the block, if a sentence was cut: one read for all there are.
    ids: Vec<u32>,
}

impl Packer<'_> {
    /// Chunk `number` of the block, if it has so many.
    fn find(mut self, shard: usize, number: u64) -> Result<Option<Chunk>> {
        for _ in 0..number {
            if self.sentence == self.block.sentence_ends.len() {
                return Ok(None);
            }
            self.pack()?;
        }
        if self.sentence == self.block.sentence_ends.len() {
            return Ok(None);
        }
        let document = u64::from(self.block.first_document) + self.document as u64;
        let (start, first) = (self.position, self.sentence);
        self.pack()?;
        let end = self.position;
        let inside = self.block.sentence_ends[first..].iter().copied();
        let boundaries = inside.take_while(|&boundary| boundary < end).collect();
        Ok(Some(Chunk { shard, document, start, end, boundaries }))
    }

    /// Goes to the end of the next chunk.
    fn pack(&mut self) -> Result<()> {
        let (start, first_sentence) = (self.position, self.sentence);
        let document_end = self.block.document_ends[self.document];
        let end = document_end.min(self.block.sentence_ends.len());
        let capacity = self.packing.capacity as u32;
        let (target, min_sentences) = self.target();
        for &sentence_end in &self.block.sentence_ends[first_sentence..end] {
            let taken = self.sentence - first_sentence;
            let is_enough = self.position - start >= target && taken >= min_sentences;
            if sentence_end - start > capacity || (is_enough && taken > 0) {
                break;
            }
            self.position = sentence_end;
            self.sentence += 1;
        }
        if self.position == start {
            self.position += self.cut_sentence(start)?;
        }
        self.document += usize::from(self.sentence == document_end);
        Ok(())
    }

    /// The tokens and the sentences after which a chunk is long enough.
    fn target(&mut self) -> (u32, usize) {
        let Packing { capacity, short_probability, min_sentences } = self.packing;
        if self.rng.random_bool(short_probability) && self.short_left > 0 {
            self.short_left -= 1;
            (self.rng.random_range(2..=capacity as u32), min_sentences)
        } else {
            (capacity as u32, 0)
        }
    }

    /// The tokens from `start`, inside a sentence longer than the capacity, that a chunk takes.
    fn cut_sentence(&mut self, start: u32) -> Result<u32> {
        let ends = &self.block.sentence_ends;
        if self.ids.is_empty() {
            self.ids = self.shard.ids(self.block.start..ends[ends.len() - 1])?;
        }
        let at = |token: u32| (token - self.block.start) as usize;
        let ids = &self.ids[at(start)..at(ends[self.sentence])];
        let is_known = |&id: &u32| (id as usize) < self.word_starts.len();
        // A damaged id is reported when its chunk is read; here it only must not stop us.
        let known = ids.iter().take_while(|id| is_known(id)).count();
        Ok(word_cut(&ids[..known], self.packing.capacity, self.word_starts).max(1) as u32)
    }
}
