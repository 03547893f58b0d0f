//! The learning rate of each step.

/// Linear warm-up from 0, then linear decay to 0 at the last step: the reference's polynomial
/// decay with power 1, which runs from step 0 and is overridden during warm-up
/// (`optimization.py:36`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The rate that warm-up leads to.
    pub learning_rate: f64,
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// Steps of the whole run.
    pub steps: u64,
}

impl Schedule {
    /// The rate of step `step`, counted from 0.
    #[must_use]
    pub fn at(&self, step: u64) -> f64 {
        let fraction = if step < self.warmup_steps {
            step as f64 / self.warmup_steps as f64
        } else {
            1.0 - step.min(self.steps) as f64 / self.steps as f64
        };
        self.learning_rate * fraction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_reference() {
        // The paper's own setting; the values around the end of warm-up are the reference's.
        let schedule = Schedule { learning_rate: 0.00176, warmup_steps: 3125, steps: 125_000 };
        assert_eq!(schedule.at(0), 0.0);
        assert!((schedule.at(3124) - 0.001_759_436_8).abs() < 1e-9);
        assert!((schedule.at(3125) - 0.001_716).abs() < 1e-9);
        assert!((schedule.at(62_500) - 0.000_88).abs() < 1e-12);
        assert_eq!(schedule.at(125_000), 0.0);
    }
}
