//! Initial weights: truncated normal for matrices, zero biases, unit norms (reference,
//! `modeling.py:442`).

use rand::RngExt;

use super::layout::{Layout, Parameter};
use crate::backend::Real;
use crate::config::ModelConfig;
use crate::random::Seed;

/// How the position embeddings start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PositionStart {
    /// Like every other table: truncated normal, as the reference.
    #[default]
    Normal,
    /// As sinusoids (Vaswani et al. 2017, section 3.5) of the same size. A neighbour is then the
    /// same rotation away at every position, which is found sooner than position by position; they
    /// are trained like any parameter.
    Sinusoidal,
}

/// What the initial values of a model depend on besides its config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Of all that is random.
    pub seed: Seed,
    /// How the position embeddings start.
    pub positions: PositionStart,
}

impl Start {
    /// As the reference starts.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self { seed, positions: PositionStart::Normal }
    }
}

/// The height of the waves, in standard deviations of the other tables: √2 in round figures, so
/// that both have the same mean square.
const WAVE_HEIGHT: f64 = 1.41;

/// The values of all parameters in the order of `layout`. Each tensor has its own stream, named
/// after it, so that models which share more or less start from the same values.
pub(super) fn initial_parameters<R: Real>(
    config: &ModelConfig,
    layout: &Layout,
    start: Start,
) -> Vec<R> {
    let mut values = Vec::with_capacity(layout.len);
    for parameter in &layout.parameters {
        append_initial(parameter, config, start, &mut values);
    }
    values
}

/// Appends the initial values of one tensor to `values`.
pub fn append_initial<R: Real>(
    parameter: &Parameter,
    config: &ModelConfig,
    start: Start,
    values: &mut Vec<R>,
) {
    let (len, deviation) = (parameter.span.len, config.initializer_range);
    if parameter.shape.len() == 1 {
        let unit = parameter.has_in_name("LayerNorm") && !parameter.name().ends_with("bias");
        values.extend(std::iter::repeat_n(R::from_f64(f64::from(u8::from(unit))), len));
        return;
    }
    let is_positions = parameter.name().ends_with("position_embeddings.weight");
    if is_positions && start.positions == PositionStart::Sinusoidal {
        let wave = |at| WAVE_HEIGHT * wave(at / parameter.shape[1], at, parameter.shape[1]);
        values.extend((0..len).map(|at| R::from_f64(deviation * wave(at))));
        return;
    }
    let mut generator = start.seed.split(parameter.name(), 0).generator();
    values.extend((0..len).map(|_| R::from_f64(deviation * truncated_normal(&mut generator))));
}

/// Column `at % width` of the sinusoids at `position`: sines and cosines in turn, of wave lengths
/// from 2π to 20,000π.
fn wave(position: usize, at: usize, width: usize) -> f64 {
    let column = at % width;
    let angle = position as f64 / 10_000f64.powf((column / 2 * 2) as f64 / width as f64);
    if column.is_multiple_of(2) { angle.sin() } else { angle.cos() }
}

/// A standard normal value no further than two deviations from 0, by Box and Muller's method.
fn truncated_normal(generator: &mut impl rand::Rng) -> f64 {
    loop {
        // In (0, 1], so that the logarithm is finite.
        let radius = (-2.0 * (1.0 - generator.random::<f64>()).ln()).sqrt();
        let value = radius * (std::f64::consts::TAU * generator.random::<f64>()).cos();
        if value.abs() <= 2.0 {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_truncated_normal_moments() {
        let mut generator = Seed::new(1).generator();
        let draws: Vec<f64> = (0..100_000).map(|_| truncated_normal(&mut generator)).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / 1e5;
        assert!(draws.iter().all(|x| x.abs() <= 2.0));
        // The standard normal truncated at two deviations has variance 0.7737.
        assert!(mean.abs() < 0.01 && (variance - 0.7737).abs() < 0.01, "{mean} {variance}");
    }

    #[test]
    fn norms_start_at_one_and_biases_at_zero() {
        let config = ModelConfig::preset("nano").unwrap();
        let layout = Layout::new(&config);
        let values = initial_parameters::<f32>(&config, &layout, Start::new(Seed::new(3)));
        for parameter in &layout.parameters {
            let tensor = &values[parameter.span.range()];
            let name = parameter.name();
            if name.ends_with("bias") {
                assert!(tensor.iter().all(|x| *x == 0.0), "{name}");
            } else if name.contains("LayerNorm") || name.contains("layer_norm") {
                assert!(tensor.iter().all(|x| *x == 1.0), "{name}");
            } else {
                let peak = tensor.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
                assert!(peak > 0.03 && peak <= 0.04, "{name}: {peak}");
            }
        }
    }

    #[test]
    fn sinusoids_are_as_large_as_the_other_tables() {
        let config = ModelConfig::preset("nano").unwrap();
        let layout = Layout::new(&config);
        let start = Start { seed: Seed::new(3), positions: PositionStart::Sinusoidal };
        let values = initial_parameters::<f64>(&config, &layout, start);
        let table = &values[layout.embeddings.position.range()];
        let mean_square = table.iter().map(|x| x * x).sum::<f64>() / table.len() as f64;
        assert!((mean_square.sqrt() / config.initializer_range - 1.0).abs() < 0.01);
        assert_eq!(table[..2], [0.0, 1.41 * 0.02]);
        // Everything else is as it was.
        let normal = initial_parameters::<f64>(&config, &layout, Start::new(Seed::new(3)));
        let word = layout.embeddings.word.range();
        assert_eq!(values[word.clone()], normal[word]);
    }
}
