//! Scores of numbers: the correlations of Pearson and Spearman, as SciPy has them, and the mean
//! squared error.

use super::check_pairs;
use crate::error::{Error, Result};

/// The correlation of Pearson; `None` where SciPy's `pearsonr` gives NaN: when the numbers of one
/// side are all the same.
///
/// # Errors
/// Fewer than two examples; not one prediction for each; a number that is not finite.
pub fn pearson(gold: &[f64], predicted: &[f64]) -> Result<Option<f64>> {
    check(gold, predicted)?;
    Ok(correlation(gold, predicted))
}

/// The correlation of Spearman: that of Pearson of the ranks, where equal numbers have the mean of
/// theirs; `None` where SciPy's `spearmanr` gives NaN: when the numbers of one side are all the
/// same.
///
/// # Errors
/// Those of [`pearson`].
pub fn spearman(gold: &[f64], predicted: &[f64]) -> Result<Option<f64>> {
    check(gold, predicted)?;
    Ok(correlation(&ranks(gold), &ranks(predicted)))
}

/// The mean of the squared differences.
///
/// # Errors
/// No examples; not one prediction for each; a number that is not finite.
pub fn mean_squared_error(gold: &[f64], predicted: &[f64]) -> Result<f64> {
    check_pairs("examples", gold.len(), predicted.len())?;
    check_finite(gold, predicted)?;
    let squares = gold.iter().zip(predicted).map(|(gold, predicted)| (gold - predicted).powi(2));
    Ok(squares.sum::<f64>() / gold.len() as f64)
}

fn check(gold: &[f64], predicted: &[f64]) -> Result<()> {
    check_pairs("examples", gold.len(), predicted.len())?;
    if gold.len() < 2 {
        return Err(Error::input("a correlation needs at least 2 examples, and there is 1"));
    }
    check_finite(gold, predicted)
}

fn check_finite(gold: &[f64], predicted: &[f64]) -> Result<()> {
    match gold.iter().chain(predicted).find(|number| !number.is_finite()) {
        Some(number) => Err(Error::input(format!("{number} has no place among numbers to score"))),
        None => Ok(()),
    }
}

fn correlation(x: &[f64], y: &[f64]) -> Option<f64> {
    let (x, y) = (direction(x)?, direction(y)?);
    let product: f64 = x.iter().zip(&y).map(|(x, y)| x * y).sum();
    let product = product.clamp(-1.0, 1.0);
    // Two points lie on a line, which SciPy says exactly.
    Some(if x.len() == 2 { product.round() } else { product })
}

/// The numbers less their mean, at length 1; `None` if they are all the same.
fn direction(numbers: &[f64]) -> Option<Vec<f64>> {
    if numbers.iter().all(|number| *number == numbers[0]) {
        return None;
    }
    let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
    let centred: Vec<f64> = numbers.iter().map(|number| number - mean).collect();
    // Their squares may overflow where they do not.
    let largest = centred.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let norm = largest * centred.iter().map(|x| (x / largest).powi(2)).sum::<f64>().sqrt();
    Some(centred.iter().map(|x| x / norm).collect())
}

/// The place of each number in order, from 1; equal ones share the mean of theirs.
fn ranks(numbers: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b]));
    let mut ranks = vec![0.0; numbers.len()];
    let mut start = 0;
    for equal in order.chunk_by(|a, b| numbers[*a] == numbers[*b]) {
        let end = start + equal.len();
        for index in equal {
            ranks[*index] = (start + 1 + end) as f64 / 2.0;
        }
        start = end;
    }
    ranks
}
