//! AdamW and LAMB, against formulas in f64.

use crate::compare::{assert_close, assert_same_on_any_threads, awkward_lengths, exact, numbers};
use albert_kernels::{Adam, Isa, adamw_step, lamb_step};

fn settings(bias_correction: bool) -> Adam {
    Adam {
        learning_rate: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-6,
        weight_decay: 0.1,
        step: 1,
        bias_correction,
    }
}

/// One tensor in `f64`.
struct Truth {
    p: Vec<f64>,
    m: Vec<f64>,
    v: Vec<f64>,
}

impl Truth {
    fn new(p: &[f32]) -> Self {
        Self { p: exact(p), m: vec![0.0; p.len()], v: vec![0.0; p.len()] }
    }

    fn moments(&mut self, a: &Adam, g: &[f32]) {
        let (b1, b2) = (a.beta1, a.beta2);
        for (i, &g) in g.iter().enumerate() {
            let g = f64::from(g);
            self.m[i] = b1 * self.m[i] + (1.0 - b1) * g;
            self.v[i] = b2 * self.v[i] + (1.0 - b2) * g * g;
        }
    }

    /// As in `torch.optim.AdamW`: decay first, then the step.
    fn torch(&mut self, a: &Adam, g: &[f32]) {
        self.moments(a, g);
        let (lr, wd) = (f64::from(a.learning_rate), f64::from(a.weight_decay));
        let c1 = 1.0 - a.beta1.powi(a.step as i32);
        let c2 = 1.0 - a.beta2.powi(a.step as i32);
        for i in 0..g.len() {
            self.p[i] -= lr * wd * self.p[i];
            let root = self.v[i].sqrt() / c2.sqrt() + f64::from(a.eps);
            self.p[i] -= lr / c1 * self.m[i] / root;
        }
    }

    /// As in BERT's `optimization.py`, and LAMB where `trust` is set.
    fn bert(&mut self, a: &Adam, g: &[f32], trust: bool) {
        self.moments(a, g);
        let u: Vec<f64> = (0..g.len())
            .map(|i| {
                self.m[i] / (self.v[i].sqrt() + f64::from(a.eps))
                    + f64::from(a.weight_decay) * self.p[i]
            })
            .collect();
        let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        let (w, n) = (norm(&self.p), norm(&u));
        let ratio = if trust && w > 0.0 && n > 0.0 { w / n } else { 1.0 };
        for i in 0..g.len() {
            self.p[i] -= f64::from(a.learning_rate) * ratio * u[i];
        }
    }
}

type Step = (
    &'static str,
    bool,
    fn(Isa, &Adam, &mut [f32], &[f32], &mut [f32], &mut [f32]),
    fn(&mut Truth, &Adam, &[f32]),
);

const STEPS: [Step; 4] = [
    ("torch adamw", true, |i, a, p, g, m, v| adamw_step(i, a, p, g, m, v), |t, a, g| t.torch(a, g)),
    (
        "bert adamw",
        false,
        |i, a, p, g, m, v| adamw_step(i, a, p, g, m, v),
        |t, a, g| {
            t.bert(a, g, false);
        },
    ),
    (
        "lamb",
        false,
        |i, a, p, g, m, v| {
            lamb_step(i, a, true, p, g, m, v);
        },
        |t, a, g| {
            t.bert(a, g, true);
        },
    ),
    (
        "lamb without ratio",
        false,
        |i, a, p, g, m, v| {
            lamb_step(i, a, false, p, g, m, v);
        },
        |t, a, g| t.bert(a, g, false),
    ),
];

#[test]
fn ten_steps_of_each() {
    for isa in Isa::available_f32() {
        for (name, correction, step, truth_step) in STEPS {
            for len in awkward_lengths(isa) {
                let mut p = numbers(len, 1);
                let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
                let mut truth = Truth::new(&p);
                let mut adam = settings(correction);
                for i in 1..=10 {
                    adam.step = i;
                    let g = numbers(len, 10 + i);
                    step(isa, &adam, &mut p, &g, &mut m, &mut v);
                    truth_step(&mut truth, &adam, &g);
                }
                assert_close(isa, &format!("{name} {len}"), &p, &truth.p, 6e-7);
                assert_close(isa, "m", &m, &truth.m, 6e-7);
                assert_close(isa, "v", &v, &truth.v, 6e-7);
            }
        }
    }
}

#[test]
fn the_ratio_of_lamb_is_one_when_a_norm_is_zero() {
    let adam = Adam { weight_decay: 0.0, ..settings(false) };
    let (mut p, mut m, mut v) = ([0.0; 5], [0.0; 5], [0.0; 5]);
    let ratio = lamb_step(Isa::best(), &adam, true, &mut p, &[1.0; 5], &mut m, &mut v);
    assert_eq!(ratio, 1.0);
    assert!(p.iter().all(|&p| p < 0.0));
    let (mut p, mut m, mut v) = ([1.0; 5], [0.0; 5], [0.0; 5]);
    let ratio = lamb_step(Isa::best(), &adam, true, &mut p, &[0.0; 5], &mut m, &mut v);
    assert_eq!((ratio, p), (1.0, [1.0; 5]));
}

#[test]
fn the_bits_do_not_depend_on_threads() {
    let (p, g) = (numbers(100_000, 1), numbers(100_000, 2));
    for isa in Isa::available_f32() {
        assert_same_on_any_threads(|| {
            let (mut p, mut m, mut v) = (p.clone(), vec![0.0; g.len()], vec![0.0; g.len()]);
            let ratio = lamb_step(isa, &settings(false), true, &mut p, &g, &mut m, &mut v);
            adamw_step(isa, &settings(true), &mut p, &g, &mut m, &mut v);
            [p, m, v, vec![ratio]].concat()
        });
    }
}
