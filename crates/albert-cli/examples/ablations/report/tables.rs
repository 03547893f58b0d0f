//! The tables of the document: a row for each model, the paper's numbers beside ours.

use albert::tasks::Task;

use super::super::experiment::TASKS;
use super::super::plan::{BASE, Row, Table, TableId};
use super::super::results::{Results, Scored};

/// What stands where nothing was measured.
pub(super) const NOTHING: &str = "–";

/// Values of the same thing with different seeds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Values(pub(super) Vec<f64>);

impl Values {
    pub(super) fn mean(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.iter().sum::<f64>() / self.0.len() as f64)
    }

    /// The variance of what they are drawn from, estimated.
    fn variance(&self) -> Option<f64> {
        let mean = self.mean().filter(|_| self.0.len() > 1)?;
        let squares: f64 = self.0.iter().map(|value| (value - mean).powi(2)).sum();
        Some(squares / (self.0.len() - 1) as f64)
    }

    /// In percent, with the standard deviation where there are several.
    pub(super) fn percent(&self) -> String {
        match (self.mean(), self.variance()) {
            (Some(mean), Some(variance)) => {
                format!("{:.1} ± {:.1}", 100.0 * mean, 100.0 * variance.sqrt())
            }
            (Some(mean), None) => format!("{:.1}", 100.0 * mean),
            (None, _) => NOTHING.to_owned(),
        }
    }

    /// How much more than `other` in points, with the standard error where there are several.
    fn difference(&self, other: &Self) -> String {
        let (Some(mean), Some(base)) = (self.mean(), other.mean()) else {
            return NOTHING.to_owned();
        };
        let points = signed(100.0 * (mean - base));
        let of_mean = |values: &Self| Some(values.variance()? / values.0.len() as f64);
        match (of_mean(self), of_mean(other)) {
            (Some(a), Some(b)) => format!("{points} ± {:.1}", 100.0 * (a + b).sqrt()),
            _ => points,
        }
    }
}

/// A difference in points.
fn signed(points: f64) -> String {
    let text = format!("{points:+.1}").replace('-', "−");
    if text == "−0.0" || text == "+0.0" { "0.0".to_owned() } else { text }
}

/// The accuracies of a run after fine-tuning for a task, by seed of pre-training and fine-tuning.
fn accuracies(results: &Results, run: &str, task: Task) -> Vec<((u64, u64), f64)> {
    let mine = results.finetuned().filter(|line| line.run == run && line.task == task.name());
    let accuracy = mine.filter_map(|line| {
        Some(((line.seed, line.finetune_seed), line.scores.get("accuracy").copied().flatten()?))
    });
    accuracy.collect()
}

/// The same, without the seeds.
pub(super) fn of_task(results: &Results, run: &str, task: Task) -> Values {
    Values(accuracies(results, run, task).into_iter().map(|(_, accuracy)| accuracy).collect())
}

/// The means over the tasks, of the seeds that all tasks have been done with.
pub(super) fn of_tasks(results: &Results, run: &str) -> Values {
    let all = TASKS.map(|(task, _)| accuracies(results, run, task));
    let mean = |seeds: (u64, u64)| -> Option<f64> {
        let of = |task: &Vec<((u64, u64), f64)>| {
            task.iter().find(|(other, _)| *other == seeds).map(|(_, accuracy)| *accuracy)
        };
        let found: Option<Vec<f64>> = all.iter().map(of).collect();
        found.map(|found| found.iter().sum::<f64>() / found.len() as f64)
    };
    Values(all[0].iter().filter_map(|(seeds, _)| mean(*seeds)).collect())
}

/// What a run scored on held-out examples of an objective; its own where none is named.
pub(super) fn of_text(
    results: &Results,
    run: &str,
    objective: &str,
    value: impl Fn(&Scored) -> Option<f64>,
) -> Values {
    let mine = results.scored().filter(|line| line.run == run && line.objective == objective);
    Values(mine.filter_map(value).collect())
}

/// Millions, as the paper counts parameters.
pub(super) fn millions(count: u64) -> String {
    format!("{:.2}M", count as f64 / 1e6)
}

fn parameters(results: &Results, run: &str) -> String {
    let line = results.pretrained().find(|line| line.run == run);
    line.map_or_else(|| NOTHING.to_owned(), |line| millions(line.parameters))
}

/// A column: its heading and a cell for each row.
type Column = (String, Vec<String>);

/// A table of the document.
pub(super) fn of(table: &Table, results: &Results) -> String {
    let mut columns: Vec<Column> = Vec::new();
    let mut add = |title: &str, cell: &dyn Fn(&Row) -> String| {
        columns.push((title.to_owned(), table.rows.iter().map(cell).collect()));
    };
    let masked = |line: &Scored| line.mlm_accuracy;
    let sentence = |line: &Scored| line.sentence_accuracy;
    add("model", &|row| row.label.clone());
    add("parameters", &|row| parameters(results, &row.run));
    if table.id == TableId::Table5 {
        add("masked words, own examples", &|row| {
            of_text(results, &row.run, own_objective(&row.run), masked).percent()
        });
        add("masked words, one segment", &|row| {
            of_text(results, &row.run, "none", masked).percent()
        });
        add("next sentence", &|row| of_text(results, &row.run, "next", sentence).percent());
    } else {
        add("masked words", &|row| of_text(results, &row.run, "order", masked).percent());
    }
    add("sentence order", &|row| of_text(results, &row.run, "order", sentence).percent());
    for (task, _) in TASKS {
        let title = task.name().to_uppercase();
        add(&title, &|row| of_task(results, &row.run, task).percent());
    }
    let base = of_tasks(results, BASE);
    add("mean", &|row| of_tasks(results, &row.run).percent());
    add("difference", &|row| match row.run.as_str() {
        BASE => base.mean().map_or_else(|| NOTHING.to_owned(), |_| signed(0.0)),
        run => of_tasks(results, run).difference(&base),
    });
    columns.extend(of_paper(table));
    let is_base: Vec<bool> = table.rows.iter().map(|row| row.run == BASE).collect();
    markdown(&columns, &is_base)
}

/// The objective that a run is trained for, by its name.
fn own_objective(run: &str) -> &'static str {
    match run {
        "objective-next" => "next",
        "objective-none" => "none",
        _ => "order",
    }
}

/// The columns of the paper that have numbers.
fn of_paper(table: &Table) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    let mut add = |title: &str, cell: &dyn Fn(&Row) -> Option<String>| {
        let cells: Vec<Option<String>> = table.rows.iter().map(cell).collect();
        if cells.iter().any(Option::is_some) {
            let text = |cell: Option<String>| cell.unwrap_or_else(|| NOTHING.to_owned());
            columns.push((format!("paper: {title}"), cells.into_iter().map(text).collect()));
        }
    };
    let number = |value: f64| format!("{value:.1}");
    if table.rows.iter().any(|row| row.label != row.paper.label) {
        add("model", &|row| Some(row.paper.label.to_owned()));
    }
    add("parameters", &|row| Some(format!("{}M", row.paper.parameters)));
    for (at, title) in ["masked words", "next sentence", "sentence order"].into_iter().enumerate() {
        add(title, &|row| row.paper.intrinsic.map(|values| number(values[at])));
    }
    add("SST-2", &|row| row.paper.sst_2.map(number));
    add("average", &|row| Some(number(row.paper.average)));
    let base = table.rows.iter().find(|row| row.run == BASE).map(|row| row.paper.average);
    add("difference", &|row| Some(signed(row.paper.average - base?)));
    columns
}

/// Columns as Markdown; rows that are marked are bold.
pub(super) fn markdown(columns: &[Column], bold: &[bool]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(columns.iter().map(|(title, _)| title.clone()).collect());
    text += &line(
        (0..columns.len()).map(|at| if at == 0 { "---" } else { "---:" }.to_owned()).collect(),
    );
    for (row, is_bold) in bold.iter().enumerate() {
        let cell = |(_, cells): &Column| {
            if *is_bold { format!("**{}**", cells[row]) } else { cells[row].clone() }
        };
        text += &line(columns.iter().map(cell).collect());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_a_mean_a_spread_and_a_difference() {
        let values = |values: &[f64]| Values(values.to_vec());
        assert_eq!(values(&[0.8]).percent(), "80.0");
        assert_eq!(values(&[]).percent(), NOTHING);
        // Variance 4e-4 / 3; of a mean of four a quarter of it, of a difference twice that.
        let four = values(&[0.81, 0.81, 0.79, 0.79]);
        assert_eq!(four.percent(), "80.0 ± 1.2");
        assert_eq!(four.difference(&values(&[0.83, 0.83, 0.81, 0.81])), "−2.0 ± 0.8");
        assert_eq!(four.difference(&values(&[0.75])), "+5.0");
        assert_eq!(four.difference(&values(&[])), NOTHING);
        assert_eq!(signed(-0.04), "0.0");
    }

    #[test]
    fn markdown_has_a_row_for_each_model() {
        let columns = vec![
            ("model".to_owned(), vec!["a".to_owned(), "b".to_owned()]),
            ("x".to_owned(), vec!["1".to_owned(), "2".to_owned()]),
        ];
        assert_eq!(
            markdown(&columns, &[false, true]),
            "| model | x |\n| --- | ---: |\n| a | 1 |\n| **b** | **2** |\n"
        );
    }
}
