//! What changes from step to step: the learning rate and the size of the batch. Both are functions
//! of the step's number alone.

use std::f64::consts::PI;

/// How the learning rate falls after warm-up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decay {
    /// `(1 - step / steps)^power`, as the reference has it (`optimization.py:36`): the decay runs
    /// from step 0 and is overridden during warm-up, so at the end of warm-up the rate drops by
    /// what the decay has lost until then.
    Polynomial {
        /// 1 is linear.
        power: f64,
    },
    /// Half a cosine from the end of warm-up on (Loshchilov and Hutter 2017;
    /// `get_cosine_schedule_with_warmup` of transformers).
    Cosine,
    /// Warm-up, stable, decay: the full rate until so many steps are left, then `1 - sqrt` of the
    /// share of them that is past (Hägele et al. 2024, arXiv 2405.18392, equation 1; the schedule
    /// itself is of Hu et al. 2024, arXiv 2404.06395). A run can be lengthened from any
    /// checkpoint of its stable part.
    Wsd {
        /// Steps of the decay.
        steps: u64,
    },
    /// Stays.
    Constant,
}

/// The learning rate of each step: linear warm-up from 0, then a decay to the last step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The rate that warm-up leads to.
    pub learning_rate: f64,
    /// The rate at the end of the last step; a constant rate has none.
    pub end_learning_rate: f64,
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// How it falls.
    pub decay: Decay,
}

impl Schedule {
    /// The reference's: linear, to 0.
    #[must_use]
    pub fn linear(learning_rate: f64, warmup_steps: u64, steps: u64) -> Self {
        let decay = Decay::Polynomial { power: 1.0 };
        Self { learning_rate, end_learning_rate: 0.0, warmup_steps, steps, decay }
    }

    /// The rate of step `step`, counted from 0.
    #[must_use]
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * (step as f64 / self.warmup_steps as f64);
        }
        let step = step.min(self.steps);
        let fraction = match self.decay {
            Decay::Polynomial { power } => (1.0 - share(step, self.steps)).powf(power),
            Decay::Cosine => {
                let past = share(step - self.warmup_steps, self.steps - self.warmup_steps);
                0.5 * (1.0 + (PI * past).cos())
            }
            Decay::Wsd { steps } => {
                1.0 - share(steps.saturating_sub(self.steps - step), steps).sqrt()
            }
            Decay::Constant => 1.0,
        };
        self.end_learning_rate + (self.learning_rate - self.end_learning_rate) * fraction
    }
}

/// `part / whole`, 1 when the whole is nothing.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// How large the batch of each step is, in sequences or in tokens: grown linearly from `start`,
/// rounded down, during the first steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSizes {
    /// Of step 0, if there is warm-up.
    pub start: u64,
    /// After warm-up.
    pub full: u64,
    /// Steps of warm-up.
    pub warmup_steps: u64,
}

impl BatchSizes {
    /// Of step `step`, counted from 0.
    #[must_use]
    pub fn at(&self, step: u64) -> u64 {
        if step >= self.warmup_steps {
            return self.full;
        }
        let grown = u128::from(self.full - self.start) * u128::from(step);
        self.start + (grown / u128::from(self.warmup_steps)) as u64
    }

    /// Of all steps before `step` together.
    #[must_use]
    pub fn before(&self, step: u64) -> u128 {
        let growing = step.min(self.warmup_steps);
        let grown = floor_sum(growing, self.warmup_steps, self.full - self.start);
        grown
            + u128::from(self.start) * u128::from(growing)
            + u128::from(self.full) * u128::from(step - growing)
    }
}

/// The sum of `floor(factor * i / divisor)` for `i` below `count`, in logarithmic time: whole
/// multiples are taken out, and what is left is the count of lattice points under a line, which is
/// the same sum with the axes exchanged.
fn floor_sum(count: u64, divisor: u64, factor: u64) -> u128 {
    let (mut n, mut m, mut a) = (u128::from(count), u128::from(divisor), u128::from(factor));
    let (mut b, mut sum) = (0, 0);
    while n > 0 {
        sum += n * (n - 1) / 2 * (a / m) + n * (b / m);
        (a, b) = (a % m, b % m);
        let top = a * n + b;
        (n, m, a, b) = (top / m, a, m, top % m);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(decay: Decay, end_learning_rate: f64) -> Schedule {
        Schedule { end_learning_rate, decay, ..Schedule::linear(1.0, 4, 20) }
    }

    #[test]
    fn follows_the_reference() {
        // The paper's own setting; the values around the end of warm-up are the reference's.
        let schedule = Schedule::linear(0.00176, 3125, 125_000);
        assert_eq!(schedule.at(0), 0.0);
        assert!((schedule.at(3124) - 0.001_759_436_8).abs() < 1e-9);
        assert!((schedule.at(3125) - 0.001_716).abs() < 1e-9);
        assert!((schedule.at(62_500) - 0.000_88).abs() < 1e-12);
        assert_eq!(schedule.at(125_000), 0.0);
    }

    /// To the last bit, so that runs go on as they were begun.
    #[test]
    fn linear_is_a_product() {
        let (rate, steps) = (0.00176, 12_500);
        let schedule = Schedule::linear(rate, 600, steps);
        for step in 0..600 {
            assert_eq!(schedule.at(step), rate * (step as f64 / 600.0));
        }
        for step in 600..=steps {
            assert_eq!(schedule.at(step), rate * (1.0 - step as f64 / steps as f64));
        }
    }

    /// Steps 0 to 20 of transformers 5, with 4 of warm-up and rate 1.
    #[test]
    fn follows_transformers() {
        let warmup = [0.0, 0.25, 0.5, 0.75];
        // get_cosine_schedule_with_warmup(optimizer, 4, 20)
        let cosine = [
            1.0,
            0.990_392_640_201_615_2,
            0.961_939_766_255_643_4,
            0.915_734_806_151_272_7,
            0.853_553_390_593_273_7,
            0.777_785_116_509_801_1,
            0.691_341_716_182_544_9,
            0.597_545_161_008_064_2,
            0.5,
            0.402_454_838_991_935_9,
            0.308_658_283_817_454_85,
            0.222_214_883_490_199_02,
            0.146_446_609_406_726_27,
            0.084_265_193_848_727_33,
            0.038_060_233_744_356_63,
            0.009_607_359_798_384_785,
            0.0,
        ];
        // get_wsd_schedule(optimizer, num_warmup_steps=4, num_decay_steps=8,
        // num_training_steps=20, min_lr_ratio=0.1, decay_type="1-sqrt")
        let wsd = [
            1.0,
            1.0,
            1.0,
            1.0,
            1.0,
            1.0,
            1.0,
            1.0,
            1.0,
            0.681_801_948_466_053_7,
            0.55,
            0.448_864_807_873_785,
            0.363_603_896_932_107_2,
            0.288_487_526_462_114_6,
            0.220_577_136_594_005_27,
            0.158_127_087_975_863_22,
            0.1,
        ];
        // get_cosine_with_min_lr_schedule_with_warmup(optimizer, 4, 20, min_lr_rate=0.1)
        let raised = cosine.map(|rate| 0.1 + 0.9 * rate);
        for (schedule, expected) in [
            (schedule(Decay::Cosine, 0.0), cosine),
            (schedule(Decay::Cosine, 0.1), raised),
            (schedule(Decay::Wsd { steps: 8 }, 0.1), wsd),
            (schedule(Decay::Constant, 0.0), [1.0; 17]),
        ] {
            for (step, expected) in warmup.iter().chain(&expected).enumerate() {
                let rate = schedule.at(step as u64);
                assert!((rate - expected).abs() < 1e-14, "{schedule:?}, {step}: {rate}");
            }
        }
    }

    /// get_polynomial_decay_schedule_with_warmup(optimizer, 0, 20, lr_end=0.1, power=2.0): without
    /// warm-up the two mean the same.
    #[test]
    fn polynomial_follows_transformers() {
        let polynomial = Decay::Polynomial { power: 2.0 };
        let schedule = Schedule { warmup_steps: 0, ..schedule(polynomial, 0.1) };
        for (step, expected) in
            [(0, 1.0), (1, 0.912_25), (5, 0.606_25), (10, 0.325), (19, 0.102_25), (20, 0.1)]
        {
            assert!((schedule.at(step) - expected).abs() < 1e-14, "{step}: {}", schedule.at(step));
        }
    }

    #[test]
    fn no_schedule_jumps_or_rises_or_goes_below_its_end() {
        let (steps, warmup) = (100_000, 1000);
        let constant = (Decay::Constant, 1e-3);
        for (decay, end) in [
            (Decay::Cosine, 0.0),
            (Decay::Cosine, 1e-4),
            (Decay::Wsd { steps: 20_000 }, 0.0),
            (Decay::Wsd { steps: 99_000 }, 1e-4),
            (Decay::Polynomial { power: 1.0 }, 1e-4),
            (Decay::Polynomial { power: 2.0 }, 0.0),
            constant,
        ] {
            let schedule =
                Schedule { end_learning_rate: end, decay, ..Schedule::linear(1e-3, warmup, steps) };
            let rate = |step| schedule.at(step);
            assert!((0..=steps).all(|step| (0.0..=1e-3).contains(&rate(step))), "{decay:?}");
            assert!((warmup..steps).all(|step| rate(step + 1) <= rate(step)), "{decay:?}");
            assert!((warmup..=steps).all(|step| rate(step) >= end), "{decay:?}");
            assert_eq!((rate(steps), rate(steps + 7)), (end, end), "{decay:?}");
            // The steepest of all is the first step of 1 - sqrt.
            let steepest = 1e-3 * (1.0f64 / 20_000.0).sqrt() + 1e-15;
            let jump = 1e-3 - rate(warmup);
            match decay {
                // What the reference's decay has lost during warm-up.
                Decay::Polynomial { power } => {
                    let lost = (1e-3 - end) * (1.0 - 0.99f64.powf(power));
                    assert!((jump - lost).abs() < 1e-15, "{decay:?}: {jump}");
                }
                _ => assert_eq!(jump, 0.0, "{decay:?}"),
            }
            let step_down = |step| rate(step) - rate(step + 1);
            assert!((warmup..steps).all(|step| step_down(step) <= steepest), "{decay:?}");
        }
    }

    #[test]
    fn batches_grow_and_are_counted() {
        for (start, full, warmup_steps) in
            [(1, 1, 0), (8, 64, 7), (8, 64, 1000), (1, 4096, 333), (64, 64, 5), (5, 6, 1)]
        {
            let sizes = BatchSizes { start, full, warmup_steps };
            let mut sum = 0;
            for step in 0..2000 {
                assert_eq!(sizes.before(step), sum, "{sizes:?} before {step}");
                let size = sizes.at(step);
                assert!((start..=full).contains(&size) && size <= sizes.at(step + 1));
                sum += u128::from(size);
            }
            assert_eq!(sizes.at(warmup_steps), full);
            if warmup_steps > 0 {
                assert_eq!(sizes.at(0), start);
            }
        }
        // Half of the mean, over a warm-up of which nobody could walk all the steps.
        let sizes = BatchSizes { start: 0, full: 1 << 20, warmup_steps: 1 << 40 };
        assert_eq!(sizes.before(1 << 40), ((1 << 40) - (1 << 20)) * (1 << 19));
    }
}
