//! The three products of an adapter. Each element of a result is one chain of operations over the
//! depth, in `f64` and rounded once, so that the number of threads changes nothing.

use rayon::prelude::*;

/// Columns that are summed together: they stay in the cache.
const COLUMNS: usize = 64;

/// `W + s B A` in place of `W [out, in]`, with `A [r, in]` and `B [out, r]`.
pub(crate) fn merge(w: &mut [f32], a: &[f32], b: &[f32], rank: usize, scale: f64) {
    let input = a.len() / rank;
    w.par_chunks_mut(input).zip(b.par_chunks(rank)).for_each(|(w, b)| {
        let mut sum: Vec<f64> = w.iter().map(|&w| f64::from(w)).collect();
        for (&b, a) in b.iter().zip(a.chunks(input)) {
            add_scaled(&mut sum, scale * f64::from(b), a);
        }
        round(&sum, w);
    });
}

/// `dA = s Bᵀ dW`, with `dW [out, in]`.
pub(super) fn d_a(d_a: &mut [f32], b: &[f32], d_w: &[f32], rank: usize, scale: f64) {
    let input = d_a.len() / rank;
    let starts: Vec<usize> = (0..input).step_by(COLUMNS).collect();
    // The sums of a few columns for all rows of A, so that dW is read once.
    let sums: Vec<Vec<f64>> = starts
        .par_iter()
        .map(|&start| {
            let columns = start..input.min(start + COLUMNS);
            let mut sums = vec![0.0; rank * columns.len()];
            for (d_w, b) in d_w.chunks(input).zip(b.chunks(rank)) {
                for (sum, &b) in sums.chunks_mut(columns.len()).zip(b) {
                    add_scaled(sum, f64::from(b), &d_w[columns.clone()]);
                }
            }
            sums.iter_mut().for_each(|sum| *sum *= scale);
            sums
        })
        .collect();
    for (&start, sums) in starts.iter().zip(&sums) {
        let width = sums.len() / rank;
        for (row, sums) in d_a.chunks_mut(input).zip(sums.chunks(width)) {
            round(sums, &mut row[start..start + width]);
        }
    }
}

/// `dB = s dW Aᵀ`, with `dW [out, in]`.
pub(super) fn d_b(d_b: &mut [f32], d_w: &[f32], a: &[f32], rank: usize, scale: f64) {
    let input = a.len() / rank;
    d_b.par_chunks_mut(rank).zip(d_w.par_chunks(input)).for_each(|(d_b, d_w)| {
        for (d_b, a) in d_b.iter_mut().zip(a.chunks(input)) {
            *d_b = (scale * dot(d_w, a)) as f32;
        }
    });
}

fn add_scaled(sum: &mut [f64], factor: f64, x: &[f32]) {
    for (sum, &x) in sum.iter_mut().zip(x) {
        *sum += factor * f64::from(x);
    }
}

fn round(sums: &[f64], out: &mut [f32]) {
    for (out, &sum) in out.iter_mut().zip(sums) {
        *out = sum as f32;
    }
}

/// In eight sums, which the compiler keeps in one register or two.
fn dot(x: &[f32], y: &[f32]) -> f64 {
    let mut sums = [0.0; 8];
    let ((x, rest_x), (y, rest_y)) = (x.as_chunks::<8>(), y.as_chunks::<8>());
    for (x, y) in x.iter().zip(y) {
        for lane in 0..8 {
            sums[lane] += f64::from(x[lane]) * f64::from(y[lane]);
        }
    }
    let rest = rest_x.iter().zip(rest_y).map(|(&x, &y)| f64::from(x) * f64::from(y));
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers, whose products are exact in any order.
    fn whole(len: usize, times: usize) -> Vec<f32> {
        (0..len).map(|at| ((at * times + 3) % 11) as f32 - 5.0).collect()
    }

    /// Sizes that are no multiple of anything, against sums written out.
    #[test]
    fn products_are_what_they_say() {
        let (output, input, rank, scale) = (7, 2 * COLUMNS + 5, 3, 0.5);
        let (w, a, b) = (whole(output * input, 7), whole(rank * input, 5), whole(output * rank, 4));
        let mut sum = w.clone();
        merge(&mut sum, &a, &b, rank, scale);
        let (mut da, mut db) = (vec![f32::NAN; a.len()], vec![f32::NAN; b.len()]);
        d_a(&mut da, &b, &w, rank, scale);
        d_b(&mut db, &w, &a, rank, scale);
        let half = |terms: &mut dyn Iterator<Item = f32>| 0.5 * terms.sum::<f32>();
        for (o, i) in (0..output).flat_map(|o| (0..input).map(move |i| (o, i))) {
            let product = half(&mut (0..rank).map(|k| b[o * rank + k] * a[k * input + i]));
            assert_eq!(sum[o * input + i], w[o * input + i] + product);
        }
        for k in 0..rank {
            for i in 0..input {
                let expected = (0..output).map(|o| b[o * rank + k] * w[o * input + i]);
                assert_eq!(da[k * input + i], half(&mut { expected }));
            }
            for o in 0..output {
                let expected = (0..input).map(|i| w[o * input + i] * a[k * input + i]);
                assert_eq!(db[o * rank + k], half(&mut { expected }));
            }
        }
    }
}
