//! Scores that were published of the sizes, each with its source. Only what a source says is here;
//! nothing was measured by us.

use serde_json::{Value, json};

/// A row of a published table: the development sets of five tasks.
pub(super) struct Published {
    /// The presets that it is of.
    presets: &'static [&'static str],
    /// How long it was trained.
    pub(super) training: &'static str,
    /// Parameters in millions, where the source says.
    pub(super) millions: Option<u32>,
    /// F1 and exact match.
    pub(super) squad1: (f64, f64),
    pub(super) squad2: (f64, f64),
    pub(super) mnli: f64,
    pub(super) sst2: f64,
    pub(super) race: f64,
    /// Of the five, F1 and exact match averaged first.
    pub(super) mean: f64,
    /// Tokens per second of training beside BERT-large's, on equal machines.
    pub(super) training_speed: Option<f64>,
    pub(super) source: Source,
}

/// Where a row is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Lan et al. 2020, Table 2: all models with the same data and as many steps.
    Table2,
    /// Table 6: as much time for both.
    Table6,
    /// The README of the authors' repository.
    Readme,
}

impl Source {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Table2 => "ALBERT paper, Table 2",
            Self::Table6 => "ALBERT paper, Table 6",
            Self::Readme => "README of google-research/albert",
        }
    }

    pub(super) fn short_name(self) -> &'static str {
        match self {
            Self::Table2 => "Table 2",
            Self::Table6 => "Table 6",
            Self::Readme => "README",
        }
    }
}

/// The scores in the order in which all the tables have them: SQuAD 1.1, SQuAD 2.0, MNLI, SST-2,
/// RACE, mean.
type Scores = [f64; 8];

const fn row(
    source: Source,
    presets: &'static [&'static str],
    training: &'static str,
    scores: Scores,
) -> Published {
    let [f1, em, f2, em2, mnli, sst2, race, mean] = scores;
    Published {
        presets,
        training,
        millions: None,
        squad1: (f1, em),
        squad2: (f2, em2),
        mnli,
        sst2,
        race,
        mean,
        training_speed: None,
        source,
    }
}

/// A row of Table 2, which has two columns more.
const fn table_2(
    presets: &'static [&'static str],
    millions: u32,
    scores: Scores,
    training_speed: f64,
) -> Published {
    let training = if presets.len() == 1 { "125k steps" } else { "125k steps (v1)" };
    let (millions, training_speed) = (Some(millions), Some(training_speed));
    Published { millions, training_speed, ..row(Source::Table2, presets, training, scores) }
}

/// A version of the released models.
const fn readme(
    presets: &'static [&'static str],
    training: &'static str,
    scores: Scores,
) -> Published {
    row(Source::Readme, presets, training, scores)
}

use Source::Table6;

/// All rows. Of the first versions but xxlarge's the README has the numbers of Table 2.
#[rustfmt::skip]
const ROWS: [Published; 13] = [
    table_2(&["bert-base"], 108, [90.4, 83.2, 80.4, 77.6, 84.5, 92.8, 68.2, 82.3], 4.7),
    table_2(&["bert-large"], 334, [92.2, 85.5, 85.0, 82.2, 86.6, 93.0, 73.9, 85.2], 1.0),
    table_2(&["base", "base-v2", "base-v1"], 12, [89.3, 82.3, 80.0, 77.1, 81.6, 90.3, 64.0, 80.1], 5.6),
    table_2(&["large", "large-v2", "large-v1"], 18, [90.6, 83.9, 82.3, 79.4, 83.5, 91.7, 68.5, 82.4], 1.7),
    table_2(&["xlarge", "xlarge-v2", "xlarge-v1"], 60, [92.5, 86.1, 86.1, 83.1, 86.4, 92.4, 74.8, 85.5], 0.6),
    table_2(&["xxlarge", "xxlarge-v2", "xxlarge-v1"], 235, [94.1, 88.3, 88.1, 85.1, 88.0, 95.2, 82.3, 88.7], 0.3),
    row(Table6, &["bert-large"], "400k steps, 34 h", [93.5, 87.4, 86.9, 84.3, 87.8, 94.6, 77.3, 87.2]),
    row(Table6, &["xxlarge", "xxlarge-v2", "xxlarge-v1"], "125k steps, 32 h", [94.0, 88.1, 88.3, 85.3, 87.8, 95.4, 82.5, 88.7]),
    readme(&["base", "base-v2"], "10M steps (v2)", [90.2, 83.2, 82.1, 79.3, 84.6, 92.9, 66.8, 82.3]),
    readme(&["large", "large-v2"], "3M steps (v2)", [91.8, 85.2, 84.9, 81.8, 86.5, 94.9, 75.2, 85.7]),
    readme(&["xlarge", "xlarge-v2"], "3M steps (v2)", [92.9, 86.4, 87.9, 84.1, 87.9, 95.4, 80.7, 87.9]),
    readme(&["xxlarge", "xxlarge-v2"], "3M steps (v2)", [94.6, 89.1, 89.8, 86.9, 90.6, 96.8, 86.8, 90.9]),
    readme(&["xxlarge-v1"], "1.5M steps (v1)", [94.8, 89.3, 90.2, 87.4, 90.8, 96.9, 86.5, 91.0]),
];

/// What was published of a preset.
pub(super) fn of_preset(name: &str) -> Vec<&'static Published> {
    ROWS.iter().filter(|row| row.presets.contains(&name)).collect()
}

impl Published {
    pub(super) fn to_json(&self) -> Value {
        let squad = |(f1, exact): (f64, f64)| json!({"f1": f1, "exact_match": exact});
        json!({
            "source": self.source.name(),
            "training": self.training,
            "parameters": self.millions.map(|millions| u64::from(millions) * 1_000_000),
            "squad_1.1": squad(self.squad1),
            "squad_2.0": squad(self.squad2),
            "mnli": self.mnli,
            "sst-2": self.sst2,
            "race": self.race,
            "mean": self.mean,
            "training_speed": self.training_speed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use albert::config::ModelConfig;

    /// A slip of the pen in one of the numbers would show, unless it is a small one: five numbers have the mean to
    /// a tenth.
    #[test]
    fn the_means_are_those_of_the_rows() {
        for row in &ROWS {
            let both = |(f1, exact): (f64, f64)| (f1 + exact) / 2.0;
            let tasks = [both(row.squad1), both(row.squad2), row.mnli, row.sst2, row.race];
            let mean = tasks.iter().sum::<f64>() / 5.0;
            assert!((mean - row.mean).abs() < 0.051, "{:?}: {mean}, {}", row.presets, row.mean);
        }
    }

    #[test]
    fn rows_are_of_presets() {
        for row in &ROWS {
            for preset in row.presets {
                ModelConfig::preset(preset).unwrap();
            }
        }
        assert_eq!(of_preset("base").len(), 2);
        assert!(of_preset("nano").is_empty() && of_preset("bert-xlarge").is_empty());
    }
}
