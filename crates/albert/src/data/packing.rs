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
//! The chunks of a block are a function of the seed and the block's number, so the index of a
//! store is one number per block, and any chunk is found by packing its block again.

use rand::RngExt;
use rayon::prelude::*;

use super::encode::word_cut;
use super::store::{Shard, Store};
use crate::random::Seed;

/// Sentences of a block: about 100,000 tokens, packed again in microseconds.
const BLOCK_SENTENCES: usize = 4096;

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

/// Consecutive tokens of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) shard: usize,
    pub(super) start: u32,
    pub(super) end: u32,
    /// The sentence of the shard that `start` lies in.
    pub(super) first_sentence: usize,
}

impl Chunk {
    /// The places between two sentences inside the chunk, as tokens of the shard.
    pub(super) fn boundaries<'a>(&self, shard: &'a Shard) -> &'a [u32] {
        let ends = &shard.sentence_ends()[self.first_sentence..];
        &ends[..ends.partition_point(|&end| end < self.end)]
    }
}

/// Finds every chunk of a store by its number.
#[derive(Debug)]
pub(super) struct ChunkIndex {
    packing: Packing,
    seed: Seed,
    /// For each block, the chunks of the store up to its end.
    chunk_ends: Vec<u64>,
    /// For each shard, the number of its first block.
    first_blocks: Vec<usize>,
}

impl ChunkIndex {
    pub(super) fn new(store: &Store, packing: Packing, seed: Seed) -> Self {
        let mut first_blocks = Vec::with_capacity(store.shards().len());
        let mut blocks = Vec::new();
        for (shard, files) in store.shards().iter().enumerate() {
            first_blocks.push(blocks.len());
            let count = files.sentence_ends().len().div_ceil(BLOCK_SENTENCES);
            blocks.extend((0..count).map(|block| (shard, block)));
        }
        let mut index = Self { packing, seed, chunk_ends: Vec::new(), first_blocks };
        index.chunk_ends = blocks
            .into_par_iter()
            .map(|(shard, block)| index.pack(store, shard, block).count() as u64)
            .collect();
        let mut total = 0;
        for end in &mut index.chunk_ends {
            total += *end;
            *end = total;
        }
        index
    }

    /// The number of chunks.
    pub(super) fn len(&self) -> u64 {
        self.chunk_ends.last().copied().unwrap_or(0)
    }

    /// Chunk number `number`, below [`ChunkIndex::len`].
    pub(super) fn chunk(&self, store: &Store, number: u64) -> Chunk {
        let block = self.chunk_ends.partition_point(|&end| end <= number);
        let shard = self.first_blocks.partition_point(|&first| first <= block) - 1;
        let before = if block == 0 { 0 } else { self.chunk_ends[block - 1] };
        self.pack(store, shard, block - self.first_blocks[shard])
            .nth((number - before) as usize)
            .expect("packing a block again gives the same chunks")
    }

    fn pack<'a>(&self, store: &'a Store, shard: usize, block: usize) -> Packer<'a> {
        let number = (self.first_blocks[shard] + block) as u64;
        let files = &store.shards()[shard];
        let sentence = block * BLOCK_SENTENCES;
        let end = files.sentence_ends().len().min(sentence + BLOCK_SENTENCES);
        let document = files.document_ends().partition_point(|&end| end as usize <= sentence);
        Packer {
            shard_number: shard,
            shard: files,
            word_starts: store.word_starts(),
            packing: self.packing,
            rng: self.seed.split("block", number).generator(),
            position: files.sentence_start(sentence),
            sentence,
            document,
            block_end: end,
        }
    }
}

/// The chunks of a block, in order.
struct Packer<'a> {
    shard_number: usize,
    shard: &'a Shard,
    word_starts: &'a [bool],
    packing: Packing,
    rng: rand_chacha::ChaCha8Rng,
    /// The next token, inside or at the start of `sentence`.
    position: u32,
    sentence: usize,
    /// The document of `sentence`.
    document: usize,
    /// The sentence the block ends before.
    block_end: usize,
}

impl Iterator for Packer<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if self.sentence == self.block_end {
            return None;
        }
        let (start, first_sentence) = (self.position, self.sentence);
        let document_end = self.shard.document_ends()[self.document] as usize;
        let end = document_end.min(self.block_end);
        let capacity = self.packing.capacity as u32;
        let (target, min_sentences) = self.target();
        for &sentence_end in &self.shard.sentence_ends()[first_sentence..end] {
            let taken = self.sentence - first_sentence;
            let is_enough = self.position - start >= target && taken >= min_sentences;
            if sentence_end - start > capacity || (is_enough && taken > 0) {
                break;
            }
            self.position = sentence_end;
            self.sentence += 1;
        }
        if self.position == start {
            self.position += self.cut_sentence(start);
        }
        self.document += usize::from(self.sentence == document_end);
        Some(Chunk { shard: self.shard_number, start, end: self.position, first_sentence })
    }
}

impl Packer<'_> {
    /// The tokens and the sentences after which a chunk is long enough.
    fn target(&mut self) -> (u32, usize) {
        let Packing { capacity, short_probability, min_sentences } = self.packing;
        if self.rng.random_bool(short_probability) {
            (self.rng.random_range(2..=capacity as u32), min_sentences)
        } else {
            (capacity as u32, 0)
        }
    }

    /// The tokens from `start`, inside a sentence longer than the capacity, that a chunk takes.
    fn cut_sentence(&self, start: u32) -> u32 {
        let capacity = self.packing.capacity;
        let start = start as usize;
        // One more than fits: whether the word ends at the capacity shows in the next token.
        let ids = self.shard.ids(start..start + capacity + 1).to_vec();
        let is_known = |&id: &u32| (id as usize) < self.word_starts.len();
        // A damaged id is reported when its chunk is read; here it only must not stop us.
        let known = ids.iter().take_while(|id| is_known(id)).count();
        word_cut(&ids[..known], capacity, self.word_starts).max(1) as u32
    }
}
