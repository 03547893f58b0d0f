//! Every token once, on sentence boundaries, within the capacity.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::{random_text, store_of};
use crate::data::packing::{Chunk, ChunkIndex, Packing};
use crate::data::store::Store;
use crate::random::Seed;

fn chunks(store: &Arc<Store>, packing: Packing) -> Vec<Chunk> {
    let index = ChunkIndex::new(store, packing, Seed::new(5));
    let chunk = |slot| index.chunk(store, slot).expect("a good store");
    (0..index.slots()).filter_map(chunk).collect()
}

/// The tokens of each document of a shard, and where its sentences end.
fn boundaries(store: &Store, shard: usize) -> (Vec<Range<u32>>, Vec<u32>) {
    let counts = store.manifest().shards[shard];
    let shard = &store.shards()[shard];
    let sentences = |document| {
        let sentences = shard.document_sentences(document).expect("a good store");
        shard.sentences(sentences).expect("a good store")
    };
    let all: Vec<_> = (0..counts.documents).map(sentences).collect();
    let tokens = all.iter().map(|(start, ends)| *start..*ends.last().expect("a sentence"));
    (tokens.collect(), all.iter().flat_map(|(_, ends)| ends.clone()).collect())
}

/// Checks the chunks of a store and returns how many there are.
fn check(store: &Arc<Store>, packing: Packing) -> usize {
    let chunks = chunks(store, packing);
    let ends: Vec<_> = (0..store.shards().len()).map(|shard| boundaries(store, shard)).collect();
    let mut next = (0, 0);
    for chunk in &chunks {
        if chunk.shard != next.0 {
            assert_eq!(next.1, store.manifest().shards[next.0].tokens as u32);
            next = (chunk.shard, 0);
        }
        assert_eq!((chunk.shard, chunk.start), next, "every token once and in order");
        assert!(chunk.end > chunk.start && (chunk.end - chunk.start) as usize <= packing.capacity);
        let inside: Vec<u32> = ends[chunk.shard]
            .1
            .iter()
            .copied()
            .filter(|&end| chunk.start < end && end < chunk.end)
            .collect();
        assert_eq!(chunk.boundaries, inside);
        let document = &ends[chunk.shard].0[chunk.document as usize];
        assert!(document.start <= chunk.start && chunk.end <= document.end);
        next.1 = chunk.end;
    }
    let last = store.manifest().shards.last().expect("a shard").tokens as u32;
    assert_eq!(next, (store.shards().len() - 1, last));
    chunks.len()
}

#[test]
fn every_token_is_in_one_chunk() {
    let text = random_text(10, 150, 2);
    let (_one, whole) = store_of(&text, 1 << 27);
    let (_many, sharded) = store_of(&text, 5_000);
    for short_probability in [0.0, 0.1, 1.0] {
        for (store, capacity) in
            [(&whole, 125), (&whole, 509), (&sharded, 5), (&sharded, 61), (&sharded, 509)]
        {
            let packing = Packing { capacity, short_probability, min_sentences: 2 };
            assert!(check(store, packing) > 10);
        }
    }
}

#[test]
fn chunks_are_full() {
    let (_directory, store) = store_of(&random_text(5, 2000, 2), 1 << 27);
    let packing = Packing { capacity: 509, short_probability: 0.0, min_sentences: 2 };
    let count = check(&store, packing) as u64;
    // Nothing but half a sentence a chunk is given away; a sentence has 36 tokens at most.
    assert!(count <= store.manifest().tokens / (509 - 36) + 10, "{count} chunks");
}

#[test]
fn one_in_ten_has_a_shorter_target() {
    let (_directory, store) = store_of(&random_text(1, 30_000, 2), 1 << 27);
    let packing = Packing { capacity: 125, short_probability: 0.1, min_sentences: 2 };
    let chunks = chunks(&store, packing);
    // A chunk that is not short ends where the next sentence, of 36 tokens at most, no longer
    // fits; a short one ends at a uniform target (from 2 to 125) rounded up to a sentence.
    let short = chunks.iter().filter(|c| c.end - c.start <= 125 - 36).count() as f64;
    let total = chunks.len() as f64;
    assert!(short / total > 0.1 * 0.5 && short / total < 0.1, "{short} of {total}");
    let single = chunks.iter().filter(|c| c.boundaries.is_empty()).count();
    assert!(single <= 8 + chunks.len() / 1000, "{single} of {total} cannot be split");
}

#[test]
fn long_sentences_are_cut_before_words() {
    let (_directory, store) = store_of(&"1+2 3+4+5 ".repeat(3000), 1 << 27);
    let packing = Packing { capacity: 29, short_probability: 0.1, min_sentences: 2 };
    check(&store, packing);
    let starts: HashSet<_> = chunks(&store, packing).iter().map(|chunk| chunk.start).collect();
    let one = super::document(&store, 0);
    let ids = one.ids();
    assert!(starts.iter().all(|&start| super::toy::starts_word(ids[start as usize])));
}
