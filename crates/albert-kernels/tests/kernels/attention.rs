//! Attention, forward and backward, against formulas in f64.

use crate::compare::{assert_close, assert_same_on_any_threads, numbers};
use albert_kernels::{
    Attention, AttentionDropout, Isa, attention, attention_backward, attention_dropout_index,
    dropout_keep,
};

/// Sequence starts, heads, head size.
const CASES: [(&[usize], usize, usize); 8] = [
    (&[0], 2, 4),
    (&[0, 1], 1, 1),
    (&[0, 1, 2, 2, 5], 2, 26),
    (&[0, 7, 40], 3, 32),
    (&[0, 16, 33], 2, 64),
    (&[0, 64, 129, 194], 1, 128),
    (&[0, 150], 2, 26),
    (&[0, 300], 1, 7),
];

struct Truth {
    ctx: Vec<f64>,
    lse: Vec<f64>,
    dqkv: Vec<f64>,
}

/// Softmax attention by its formulas, with the gradient for `dctx`.
fn truth(shape: &Attention<'_>, qkv: &[f32], dctx: &[f32]) -> Truth {
    let (tokens, d) = (*shape.sequence_starts.last().unwrap(), shape.head_size);
    let h = shape.heads * d;
    let x = |t: usize, part: usize, head: usize, i: usize| {
        f64::from(qkv[t * 3 * h + part * h + head * d + i])
    };
    let scale = 1.0 / (d as f64).sqrt();
    let mut out = Truth {
        ctx: vec![0.0; tokens * h],
        lse: vec![0.0; shape.heads * tokens],
        dqkv: vec![0.0; tokens * 3 * h],
    };
    for (sequence, head) in shape
        .sequence_starts
        .windows(2)
        .flat_map(|w| (0..shape.heads).map(move |head| (w[0]..w[1], head)))
    {
        for q in sequence.clone() {
            let scores: Vec<f64> = sequence
                .clone()
                .map(|k| scale * (0..d).map(|i| x(q, 0, head, i) * x(k, 1, head, i)).sum::<f64>())
                .collect();
            let sum: f64 = scores.iter().map(|s| s.exp()).sum();
            out.lse[head * tokens + q] = sum.ln();
            let p: Vec<f64> = scores.iter().map(|s| s.exp() / sum).collect();
            let factor: Vec<f64> = (0..p.len())
                .map(|k| {
                    let Some(dropout) = shape.dropout else { return 1.0 };
                    let index = attention_dropout_index(head, q, tokens, k);
                    let keep = dropout_keep(dropout.seed, index, dropout.rate);
                    if keep { 1.0 / (1.0 - f64::from(dropout.rate)) } else { 0.0 }
                })
                .collect();
            let dout = |i: usize| f64::from(dctx[q * h + head * d + i]);
            let mut dp = vec![0.0; p.len()];
            for (j, k) in sequence.clone().enumerate() {
                for i in 0..d {
                    out.ctx[q * h + head * d + i] += p[j] * factor[j] * x(k, 2, head, i);
                    out.dqkv[k * 3 * h + 2 * h + head * d + i] += p[j] * factor[j] * dout(i);
                    dp[j] += factor[j] * x(k, 2, head, i) * dout(i);
                }
            }
            let mean: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
            for (j, k) in sequence.clone().enumerate() {
                let ds = p[j] * (dp[j] - mean) * scale;
                for i in 0..d {
                    out.dqkv[q * 3 * h + head * d + i] += ds * x(k, 1, head, i);
                    out.dqkv[k * 3 * h + h + head * d + i] += ds * x(q, 0, head, i);
                }
            }
        }
    }
    out
}

fn check(isa: Isa, shape: &Attention<'_>) {
    let (tokens, h) = (*shape.sequence_starts.last().unwrap(), shape.heads * shape.head_size);
    let qkv: Vec<f32> = numbers(tokens * 3 * h, 1).iter().map(|x| 2.0 * x).collect();
    let dctx = numbers(tokens * h, 2);
    let truth = truth(shape, &qkv, &dctx);
    let (mut ctx, mut lse) = (vec![f32::NAN; tokens * h], vec![f32::NAN; shape.heads * tokens]);
    attention(isa, shape, &qkv, &mut ctx, Some(&mut lse));
    let what =
        format!("{:?} heads {} size {}", shape.sequence_starts, shape.heads, shape.head_size);
    assert_close(isa, &format!("ctx {what}"), &ctx, &truth.ctx, 5e-7);
    assert_close(isa, "lse", &lse, &truth.lse, 1e-7);
    let mut again = vec![f32::NAN; tokens * h];
    attention(isa, shape, &qkv, &mut again, None);
    assert_eq!(ctx, again);
    let mut dqkv = vec![f32::NAN; tokens * 3 * h];
    attention_backward(isa, shape, &qkv, &ctx, &lse, &dctx, &mut dqkv);
    for part in 0..3 {
        let pick = |i: &usize| i % (3 * h) / h == part;
        let got: Vec<f32> = (0..dqkv.len()).filter(pick).map(|i| dqkv[i]).collect();
        let want: Vec<f64> = (0..dqkv.len()).filter(pick).map(|i| truth.dqkv[i]).collect();
        // With one key the softmax is constant: the gradients of queries and keys are zero up
        // to rounding, and have no relative error.
        let single = shape.sequence_starts.windows(2).all(|w| w[1] - w[0] <= 1);
        if part == 2 || !single {
            assert_close(isa, &format!("dqkv part {part} {what}"), &got, &want, 6e-7);
        } else {
            assert!(got.iter().all(|x| x.abs() < 1e-6));
        }
    }
}

#[test]
fn values_and_gradients() {
    for isa in Isa::available_f32() {
        for (sequence_starts, heads, head_size) in CASES {
            check(isa, &Attention { sequence_starts, heads, head_size, dropout: None });
        }
    }
}

#[test]
fn values_and_gradients_with_dropout() {
    let dropout = Some(AttentionDropout { seed: 77, rate: 0.2 });
    for isa in Isa::available_f32() {
        for (sequence_starts, heads, head_size) in CASES {
            check(isa, &Attention { sequence_starts, heads, head_size, dropout });
        }
    }
}

#[test]
fn a_sequence_does_not_see_its_neighbours() {
    let (heads, head_size) = (2, 16);
    let qkv = numbers(50 * 3 * 32, 1);
    for isa in Isa::available_f32() {
        let whole = Attention { sequence_starts: &[0, 20, 50], heads, head_size, dropout: None };
        let alone = Attention { sequence_starts: &[0, 30], ..whole };
        let (mut a, mut b) = (vec![0.0; 50 * 32], vec![0.0; 30 * 32]);
        attention(isa, &whole, &qkv, &mut a, None);
        attention(isa, &alone, &qkv[20 * 96..], &mut b, None);
        assert_eq!(a[20 * 32..], b);
    }
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    let (tokens, h) = (150, 96);
    let (qkv, dctx) = (numbers(tokens * 3 * h, 1), numbers(tokens * h, 2));
    let dropout = Some(AttentionDropout { seed: 7, rate: 0.1 });
    let shape = Attention { sequence_starts: &[0, 70, 71, 150], heads: 3, head_size: 32, dropout };
    for isa in Isa::available_f32() {
        assert_same_on_any_threads(|| {
            let (mut ctx, mut lse) = (vec![0.0; tokens * h], vec![0.0; 3 * tokens]);
            attention(isa, &shape, &qkv, &mut ctx, Some(&mut lse));
            let mut dqkv = vec![0.0; tokens * 3 * h];
            attention_backward(isa, &shape, &qkv, &ctx, &lse, &dctx, &mut dqkv);
            [ctx, lse, dqkv].concat()
        });
    }
}
