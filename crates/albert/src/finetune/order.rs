//! In which order a run sees its examples: the batches of each epoch, as a function of the seed and
//! the epoch alone.

use rand::seq::SliceRandom as _;

use super::dataset::Dataset;
use crate::random::Seed;

/// How large a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchSize {
    /// So many units.
    Units(usize),
    /// As many as have at most so many tokens together, and at least one.
    Tokens(usize),
}

/// How batches are cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    pub(super) size: BatchSize,
    /// Of the order, if it is not that of the files.
    pub(super) shuffle: Option<Seed>,
}

impl Order {
    /// The batches of an epoch. The last may be smaller than the others.
    pub(super) fn batches(&self, data: &Dataset, epoch: u64) -> Vec<Vec<u32>> {
        let mut units: Vec<u32> = (0..data.len() as u32).collect();
        if let Some(seed) = self.shuffle {
            units.shuffle(&mut seed.split("epoch", epoch).generator());
        }
        match self.size {
            BatchSize::Units(size) => units.chunks(size).map(<[u32]>::to_vec).collect(),
            BatchSize::Tokens(limit) => by_tokens(data, &units, limit),
        }
    }

    /// How many batches `epochs` have, the last of which may be a part of one.
    pub(super) fn steps(&self, data: &Dataset, epochs: f64) -> u64 {
        let whole = epochs.floor() as u64;
        let part = epochs - epochs.floor();
        let of = |epoch: u64| match self.size {
            BatchSize::Units(size) => data.len().div_ceil(size) as u64,
            BatchSize::Tokens(_) => self.batches(data, epoch).len() as u64,
        };
        let of_part = if part > 0.0 { (part * of(whole) as f64).ceil() as u64 } else { 0 };
        (0..whole).map(of).sum::<u64>() + of_part
    }
}

fn by_tokens(data: &Dataset, units: &[u32], limit: usize) -> Vec<Vec<u32>> {
    let (mut batches, mut tokens) = (Vec::<Vec<u32>>::new(), 0);
    for &unit in units {
        let length = data.length(unit as usize);
        match batches.last_mut() {
            Some(batch) if tokens + length <= limit => {
                batch.push(unit);
                tokens += length;
            }
            _ => {
                batches.push(vec![unit]);
                tokens = length;
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::super::dataset::Answers;
    use super::*;
    use crate::tokenizer::Encoding;

    fn data(lengths: &[usize]) -> Dataset {
        let mut data = Dataset::new(Answers::Classes(vec![]));
        for &length in lengths {
            let encoding =
                Encoding { ids: vec![7; length], type_ids: vec![0; length], ..Encoding::default() };
            data.push(&[encoding], Answers::Classes(vec![0]));
        }
        data
    }

    fn order(size: BatchSize, seed: Option<u64>) -> Order {
        Order { size, shuffle: seed.map(Seed::new) }
    }

    #[test]
    fn every_example_comes_once_in_an_epoch() {
        let data = data(&[3; 103]);
        let shuffled = order(BatchSize::Units(10), Some(1));
        let first = shuffled.batches(&data, 0);
        assert_eq!((first.len(), first[10].len()), (11, 3));
        let mut all = first.concat();
        assert_ne!(all, (0..103).collect::<Vec<u32>>());
        assert_ne!(first, shuffled.batches(&data, 1));
        assert_eq!(first, shuffled.batches(&data, 0));
        assert_ne!(first, order(BatchSize::Units(10), Some(2)).batches(&data, 0));
        all.sort_unstable();
        assert_eq!(all, (0..103).collect::<Vec<u32>>());
        let as_it_is = order(BatchSize::Units(10), None).batches(&data, 3).concat();
        assert_eq!(as_it_is, (0..103).collect::<Vec<u32>>());
    }

    #[test]
    fn tokens_fill_a_batch_and_long_examples_stand_alone() {
        let data = data(&[4, 5, 6, 50, 2, 2]);
        let batches = order(BatchSize::Tokens(10), None).batches(&data, 0);
        assert_eq!(batches, [vec![0, 1], vec![2], vec![3], vec![4, 5]]);
    }

    #[test]
    fn steps_are_those_of_the_batches() {
        let data = data(&[4, 5, 6, 50, 2, 2]);
        for size in [BatchSize::Tokens(10), BatchSize::Units(4)] {
            let order = order(size, Some(9));
            let of = |epoch| order.batches(&data, epoch).len() as u64;
            assert_eq!(order.steps(&data, 3.0), of(0) + of(1) + of(2));
            assert_eq!(order.steps(&data, 1.5), of(0) + of(1).div_ceil(2));
            assert_eq!(order.steps(&data, 0.1), 1);
        }
    }
}
