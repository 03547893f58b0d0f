//! Every token once, on sentence boundaries, within the capacity.

use std::collections::HashSet;
use std::sync::Arc;

use super::{random_text, store_of};
use crate::data::packing::{Chunk, ChunkIndex, Packing};
use crate::data::store::Store;
use crate::random::Seed;

fn chunks(store: &Arc<Store>, packing: Packing) -> Vec<Chunk> {
    let index = ChunkIndex::new(store, packing, Seed::new(5));
    (0..index.len()).map(|number| index.chunk(store, number)).collect()
}

/// The ends strictly inside a chunk.
fn between<'a>(ends: &'a [u32], chunk: &Chunk) -> &'a [u32] {
    let first = ends.partition_point(|&end| end <= chunk.start);
    &ends[first..ends.partition_point(|&end| end < chunk.end)]
}

/// Checks the chunks of a store and returns how many there are.
fn check(store: &Arc<Store>, packing: Packing) -> usize {
    let chunks = chunks(store, packing);
    let mut next = (0, 0);
    for chunk in &chunks {
        let shard = &store.shards()[chunk.shard];
        if chunk.shard != next.0 {
            assert_eq!(next.1, store.manifest().shards[next.0].tokens as u32);
            next = (chunk.shard, 0);
        }
        assert_eq!((chunk.shard, chunk.start), next, "every token once and in order");
        assert!(chunk.end > chunk.start && (chunk.end - chunk.start) as usize <= packing.capacity);
        let ends = shard.sentence_ends();
        assert!(ends[chunk.first_sentence] > chunk.start);
        assert!(shard.sentence_start(chunk.first_sentence) <= chunk.start);
        let inside = between(ends, chunk);
        assert_eq!(chunk.boundaries(shard), inside);
        let document_ends = shard.document_ends();
        let tokens = |end: &u32| shard.sentence_start(*end as usize);
        let document = document_ends.partition_point(|end| tokens(end) <= chunk.start);
        assert!(tokens(&document_ends[document]) >= chunk.end, "a chunk of two documents");
        next.1 = chunk.end;
    }
    let last = store.manifest().shards.last().expect("a shard").tokens as u32;
    assert_eq!(next, (store.shards().len() - 1, last));
    chunks.len()
}

#[test]
fn every_token_is_in_one_chunk() {
    let text = random_text(40, 150, 2);
    let (_one, whole) = store_of(&text, 1 << 27);
    let (_many, sharded) = store_of(&text, 5_000);
    for short_probability in [0.0, 0.1, 1.0] {
        for (store, capacity) in
            [(&whole, 125), (&whole, 509), (&sharded, 5), (&sharded, 61), (&sharded, 509)]
        {
            let packing = Packing { capacity, short_probability, min_sentences: 2 };
            assert!(check(store, packing) > 40);
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
    let single = chunks.iter().filter(|c| c.boundaries(&store.shards()[0]).is_empty()).count();
    assert!(single <= 8 + chunks.len() / 1000, "{single} of {total} cannot be split");
}

#[test]
fn long_sentences_are_cut_before_words() {
    let (_directory, store) = store_of(&"1+2 3+4+5 ".repeat(3000), 1 << 27);
    let packing = Packing { capacity: 29, short_probability: 0.1, min_sentences: 2 };
    check(&store, packing);
    let starts: HashSet<_> = chunks(&store, packing).iter().map(|chunk| chunk.start).collect();
    let ids = store.document(0).expect("one document").ids().to_vec();
    assert!(starts.iter().all(|&start| super::toy::starts_word(ids[start as usize])));
}
