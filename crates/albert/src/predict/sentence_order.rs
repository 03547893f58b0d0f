//! Which of two texts comes first, and in which order several follow each other.

use super::{Model, Operation, Output, Sequence, TooLong, softmax};
use crate::config::Family;
use crate::error::{Error, Result};

/// The two probabilities of a pair; they add up to 1.
///
/// BERT learned something else in their place, whether the second text comes next or from anywhere
/// (Devlin et al. 2019, section 3.1): with a BERT, `swapped` means the latter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OrderScores {
    /// The first text comes before the second.
    pub in_order: f32,
    /// The second comes before the first.
    pub swapped: f32,
}

/// Texts put in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Ordered {
    /// The places of the texts, in their likeliest order.
    pub places: Vec<usize>,
    /// The probability of that order among all.
    pub score: f32,
}

/// More texts than can be tried in every order.
const TEXTS_MAX: usize = 16;

/// A model with a sentence-order head.
#[derive(Clone)]
pub struct SentenceOrder {
    model: Model,
    too_long: TooLong,
}

impl SentenceOrder {
    /// Orders with `model`.
    ///
    /// # Errors
    /// A model without that head.
    pub fn new(model: &Model) -> Result<Self> {
        let parts = model.inference().parts();
        if parts.pooler && parts.sentence_order {
            return Ok(Self { model: model.clone(), too_long: TooLong::Refuse });
        }
        Err(Error::input(
            "this model has no sentence-order head (sop_classifier.*): choose one that was \
             pre-trained for sentence order",
        ))
    }

    /// The same, with texts that are too long treated so.
    #[must_use]
    pub fn too_long(self, too_long: TooLong) -> Self {
        Self { too_long, ..self }
    }

    /// Whether the texts of each pair are in order.
    ///
    /// # Errors
    /// A pair that is too long.
    pub fn pairs(&self, pairs: &[(&str, &str)]) -> Result<Vec<OrderScores>> {
        let outputs = self.outputs(pairs)?;
        Ok(outputs.iter().map(|output| self.conclude_pair(output)).collect())
    }

    fn outputs(&self, pairs: &[(&str, &str)]) -> Result<Vec<Output>> {
        let read = |input| Ok(self.model.encode(input, self.too_long)?.into());
        let sequences = self.model.read_all(pairs, read)?;
        self.model.compute_all(Operation::SentenceOrder, &sequences)
    }

    /// What the model reads of a pair, for [`Operation::SentenceOrder`].
    ///
    /// # Errors
    /// A pair that is too long.
    pub fn read_pair(&self, first: &str, second: &str) -> Result<Sequence> {
        Ok(self.model.encode((first, second).into(), self.too_long)?.into())
    }

    /// Whether a pair is in order, from what was computed of it.
    #[must_use]
    pub fn conclude_pair(&self, output: &Output) -> OrderScores {
        let shares = softmax(output.numbers());
        OrderScores { in_order: shares[0], swapped: shares[1] }
    }

    /// The likeliest order of each list of two or more texts. An order is as likely as the product
    /// of how likely each text is to be followed by the next. Both ways to ask about two texts count
    /// alike, except of a BERT, to which the other way says nothing.
    ///
    /// # Errors
    /// A list of fewer than two texts or more than 16, or with two that are too long together.
    pub fn order(&self, lists: &[&[&str]]) -> Result<Vec<Ordered>> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for (texts, number) in lists.iter().zip(1..) {
            check_count(texts.len())
                .map_err(|error| error.about_one_of(lists.len(), "list", number))?;
            pairs.extend(ways(texts.len()).map(|(a, b)| (texts[a], texts[b])));
        }
        let outputs = self.outputs(&pairs)?;
        let mut rest = &outputs[..];
        let mut order = |texts: &&[&str]| {
            let own = rest.split_off(..ways(texts.len()).count()).expect("an output for each pair");
            self.conclude(texts.len(), own)
        };
        Ok(lists.iter().map(&mut order).collect())
    }

    /// What the model reads of one list: a sequence for each pair, for
    /// [`Operation::SentenceOrder`].
    ///
    /// # Errors
    /// As [`order`](Self::order).
    pub fn read(&self, texts: &[&str]) -> Result<Vec<Sequence>> {
        check_count(texts.len())?;
        ways(texts.len()).map(|(a, b)| self.read_pair(texts[a], texts[b])).collect()
    }

    /// The order of a list of `count` texts, from what was computed of its pairs.
    #[must_use]
    pub fn conclude(&self, count: usize, outputs: &[Output]) -> Ordered {
        let mut follows = vec![vec![0.0f64; count]; count];
        for ((a, b), output) in ways(count).zip(outputs) {
            let margin = f64::from(output.numbers()[0] - output.numbers()[1]);
            if self.model.config().family == Family::Bert {
                follows[a][b] = margin;
            } else {
                follows[a][b] += margin / 2.0;
                follows[b][a] -= margin / 2.0;
            }
        }
        for margin in follows.iter_mut().flatten() {
            // The logarithm of the sigmoid.
            *margin = -(-*margin).exp().ln_1p();
        }
        let (places, score) = likeliest_order(&follows);
        Ordered { places, score }
    }
}

/// Refuses lists that cannot be put in order.
fn check_count(count: usize) -> Result<()> {
    if (2..=TEXTS_MAX).contains(&count) {
        return Ok(());
    }
    Err(Error::input(format!("from 2 to {TEXTS_MAX} texts can be put in order, not {count}")))
}

/// Every pair of two of `count` places.
fn ways(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |a| (0..count).map(move |b| (a, b))).filter(|(a, b)| a != b)
}

/// The order with the largest sum of `follows[a][b]` over neighbours `a, b`, and its share of the
/// exponentials of all orders' sums (Held and Karp 1962).
fn likeliest_order(follows: &[Vec<f64>]) -> (Vec<usize>, f32) {
    let count = follows.len();
    let sets = 1usize << count;
    // For each set of texts that came so far, and which came last: the best sum, what came before,
    // and the logarithm of the sum over all ways.
    let mut best = vec![(f64::NEG_INFINITY, count); sets * count];
    let mut total = vec![f64::NEG_INFINITY; sets * count];
    for first in 0..count {
        best[(1 << first) * count + first] = (0.0, count);
        total[(1 << first) * count + first] = 0.0;
    }
    for set in 1..sets {
        for last in (0..count).filter(|last| set & (1 << last) != 0) {
            let (from, sum) = (best[set * count + last].0, total[set * count + last]);
            for next in (0..count).filter(|next| set & (1 << next) == 0) {
                let at = (set | 1 << next) * count + next;
                let step = follows[last][next];
                if from + step > best[at].0 {
                    best[at] = (from + step, last);
                }
                total[at] = log_add(total[at], sum + step);
            }
        }
    }
    let all = &total[(sets - 1) * count..];
    let sum = all.iter().fold(f64::NEG_INFINITY, |sum, &x| log_add(sum, x));
    let ends = (0..count).map(|last| (best[(sets - 1) * count + last].0, last));
    let (top, mut last) = ends.fold((f64::NEG_INFINITY, 0), |a, b| if b.0 > a.0 { b } else { a });
    let (mut order, mut set) = (Vec::with_capacity(count), sets - 1);
    while last < count {
        order.push(last);
        (set, last) = (set & !(1 << last), best[set * count + last].1);
    }
    order.reverse();
    (order, (top - sum).exp() as f32)
}

/// `ln(e^a + e^b)`.
fn log_add(a: f64, b: f64) -> f64 {
    let (high, low) = (a.max(b), a.min(b));
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every order, one after the other.
    fn orders(rest: Vec<usize>) -> Vec<Vec<usize>> {
        if rest.is_empty() {
            return vec![vec![]];
        }
        let without = |at: usize| {
            let mut others = rest.clone();
            let first = others.remove(at);
            orders(others).into_iter().map(move |order| [vec![first], order].concat())
        };
        (0..rest.len()).flat_map(without).collect()
    }

    #[test]
    fn the_best_of_all_orders_is_found_and_its_share() {
        for count in 2..7 {
            let follows: Vec<Vec<f64>> = (0..count)
                .map(|a| {
                    (0..count).map(|b| -(((a * 7 + b * 5 + a * b) % 11) as f64) / 3.0).collect()
                })
                .collect();
            let sum = |order: &[usize]| -> f64 {
                order.windows(2).map(|pair| follows[pair[0]][pair[1]]).sum()
            };
            let all: Vec<f64> = orders((0..count).collect()).iter().map(|o| sum(o)).collect();
            let top = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let (order, share) = likeliest_order(&follows);
            assert_eq!(order.len(), count);
            assert!((sum(&order) - top).abs() < 1e-12);
            let expected = top.exp() / all.iter().map(|x| x.exp()).sum::<f64>();
            assert!((f64::from(share) - expected).abs() < 1e-6, "{share} {expected}");
        }
    }
}
