//! Attention, forward and backward, against formulas in f64.

use crate::compare::{assert_close, assert_same_on_any_threads, numbers};
use albert_kernels::{
    Attention, Dropout, Isa, Operand, Precision, attention, attention_backward,
    attention_dropout_index, dropout_keep,
};

/// Sequence starts, heads, head size.
const CASES: [(&[usize], usize, usize); 10] = [
    (&[0], 2, 4),
    (&[0, 1], 1, 1),
    (&[0, 1, 2, 2, 5], 2, 26),
    (&[0, 7, 40], 3, 32),
    (&[0, 16, 33], 2, 64),
    (&[0, 64, 129, 194], 1, 128),
    (&[0, 150], 2, 26),
    (&[0, 300], 1, 7),
    (&[0, 33, 98, 100, 180], 3, 13),
    (&[0, 512, 513, 641], 1, 64),
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

/// Largest relative errors: of the context, of the logarithms, and of each part of the gradient.
struct Limits {
    context: f64,
    log_sums: f64,
    d_qkv: f64,
    /// Of a gradient that is zero, absolute.
    zero: f32,
}

fn limits(precision: Precision) -> Limits {
    match precision {
        Precision::F32 => Limits { context: 5e-7, log_sums: 1e-7, d_qkv: 6e-7, zero: 1e-6 },
        _ => Limits { context: 3e-3, log_sums: 1e-7, d_qkv: 5e-3, zero: 1e-2 },
    }
}

/// Rows of `width` numbers, rounded.
fn operand(isa: Isa, precision: Precision, x: &[f32], width: usize) -> Operand {
    let mut operand = Operand::new(precision);
    operand.reserve(x.len() / width, width);
    operand.round(isa, x);
    operand
}

/// What attention and its backward pass give for some inputs.
struct Results {
    /// The inputs, as they are after rounding.
    qkv: Vec<f32>,
    d_context: Vec<f32>,
    context: Vec<f32>,
    log_sums: Vec<f32>,
    d_qkv: Vec<f32>,
}

fn run(
    isa: Isa,
    precision: Precision,
    shape: &Attention<'_>,
    qkv: &[f32],
    d_context: &[f32],
) -> Results {
    let (tokens, h) = (*shape.sequence_starts.last().unwrap(), shape.heads * shape.head_size);
    let qkv = operand(isa, precision, qkv, 3 * h);
    let d_context = operand(isa, precision, d_context, h);
    // What is not written shows.
    let unwritten = vec![f32::NAN; tokens * 3 * h];
    let mut context = operand(isa, precision, &unwritten[..tokens * h], h);
    let mut log_sums = vec![f32::NAN; shape.heads * tokens];
    attention(isa, shape, &qkv, &mut context, Some(&mut log_sums));
    let mut again = operand(isa, precision, &unwritten[..tokens * h], h);
    attention(isa, shape, &qkv, &mut again, None);
    assert_eq!(context.to_f32(tokens), again.to_f32(tokens));
    let mut d_qkv = operand(isa, precision, &unwritten, 3 * h);
    attention_backward(isa, shape, &qkv, &context, &log_sums, &d_context, &mut d_qkv);
    Results {
        qkv: qkv.to_f32(tokens),
        d_context: d_context.to_f32(tokens),
        context: context.to_f32(tokens),
        log_sums,
        d_qkv: d_qkv.to_f32(tokens),
    }
}

fn check(isa: Isa, precision: Precision, shape: &Attention<'_>) {
    let (tokens, h) = (*shape.sequence_starts.last().unwrap(), shape.heads * shape.head_size);
    let qkv: Vec<f32> = numbers(tokens * 3 * h, 1).iter().map(|x| 2.0 * x).collect();
    let results = run(isa, precision, shape, &qkv, &numbers(tokens * h, 2));
    let truth = truth(shape, &results.qkv, &results.d_context);
    let limits = limits(precision);
    let what = format!(
        "{} {:?} heads {} size {}",
        precision.name(),
        shape.sequence_starts,
        shape.heads,
        shape.head_size
    );
    assert_close(isa, &format!("context {what}"), &results.context, &truth.ctx, limits.context);
    assert_close(isa, &format!("sums {what}"), &results.log_sums, &truth.lse, limits.log_sums);
    for part in 0..3 {
        let pick = |i: &usize| i % (3 * h) / h == part;
        let places: Vec<usize> = (0..results.d_qkv.len()).filter(pick).collect();
        let got: Vec<f32> = places.iter().map(|&i| results.d_qkv[i]).collect();
        let want: Vec<f64> = places.iter().map(|&i| truth.dqkv[i]).collect();
        // With one key the softmax is constant: the gradients of queries and keys are zero up
        // to rounding, and have no relative error.
        let single = shape.sequence_starts.windows(2).all(|w| w[1] - w[0] <= 1);
        if part == 2 || !single {
            assert_close(isa, &format!("d_qkv {part} {what}"), &got, &want, limits.d_qkv);
        } else {
            assert!(got.iter().all(|x| x.abs() < limits.zero), "{} {what}: {got:?}", isa.name());
        }
    }
}

fn check_all(dropout: Option<Dropout>) {
    for precision in [Precision::F32, Precision::Bf16] {
        for isa in Isa::available() {
            for (sequence_starts, heads, head_size) in CASES {
                check(isa, precision, &Attention { sequence_starts, heads, head_size, dropout });
            }
        }
    }
}

#[test]
fn values_and_gradients() {
    check_all(None);
}

#[test]
fn values_and_gradients_with_dropout() {
    check_all(Some(Dropout { seed: 77, rate: 0.2 }));
}

#[test]
fn a_sequence_does_not_see_its_neighbours() {
    let (heads, head_size, h) = (2, 16, 32);
    let (qkv, d_context) = (numbers(150 * 3 * h, 1), numbers(150 * h, 2));
    let all = Attention { sequence_starts: &[0, 20, 115, 150], heads, head_size, dropout: None };
    let alone = Attention { sequence_starts: &[0, 95], ..all };
    for precision in [Precision::F32, Precision::Bf16] {
        for isa in Isa::available() {
            let a = run(isa, precision, &all, &qkv, &d_context);
            let rows = |width: usize| 20 * width..115 * width;
            let b = run(isa, precision, &alone, &qkv[rows(3 * h)], &d_context[rows(h)]);
            assert_eq!(a.context[rows(h)], b.context);
            assert_eq!(a.d_qkv[rows(3 * h)], b.d_qkv);
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    let (tokens, h) = (150, 96);
    let (qkv, d_context) = (numbers(tokens * 3 * h, 1), numbers(tokens * h, 2));
    let dropout = Some(Dropout { seed: 7, rate: 0.1 });
    let shape = Attention { sequence_starts: &[0, 70, 71, 150], heads: 3, head_size: 32, dropout };
    for precision in [Precision::F32, Precision::Bf16] {
        for isa in Isa::available() {
            assert_same_on_any_threads(|| {
                let results = run(isa, precision, &shape, &qkv, &d_context);
                [results.context, results.log_sums, results.d_qkv].concat()
            });
        }
    }
}

#[test]
#[should_panic(expected = "the context has the precision of qkv")]
fn operands_of_two_precisions_are_refused() {
    let shape = Attention { sequence_starts: &[0, 1], heads: 1, head_size: 1, dropout: None };
    let isa = Isa::PORTABLE;
    let qkv = operand(isa, Precision::F32, &[0.0; 3], 3);
    let mut context = operand(isa, Precision::Bf16, &[0.0], 1);
    attention(isa, &shape, &qkv, &mut context, None);
}
