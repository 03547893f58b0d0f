//! Labels and numbers of texts and pairs.

use albert::Model;
use albert::config::{Head, Problem};
use albert::evaluate::{Details, Predictions};
use albert::tasks::{Example, Score, Target, Task};

use crate::{
    ROWS, alone, assert_says, best, close, examples, fails, glue, labelled, model, model_times,
    run, text,
};

/// The correlation of Matthews as a covariance of indicators (Gorodkin 2004).
fn matthews(gold: &[usize], predicted: &[usize], classes: usize) -> f64 {
    let covariance = |a: &[usize], b: &[usize]| -> f64 {
        (0..classes)
            .map(|class| {
                let is = |x: &[usize], at: usize| f64::from(u8::from(x[at] == class));
                let n = a.len() as f64;
                let mean = |x: &[usize]| (0..x.len()).map(|at| is(x, at)).sum::<f64>() / n;
                let (ma, mb) = (mean(a), mean(b));
                (0..a.len()).map(|at| (is(a, at) - ma) * (is(b, at) - mb)).sum::<f64>() / n
            })
            .sum()
    };
    covariance(gold, predicted) / (covariance(gold, gold) * covariance(predicted, predicted)).sqrt()
}

fn f1(gold: &[usize], predicted: &[usize], class: usize) -> f64 {
    let count = |test: &dyn Fn(bool, bool) -> bool| {
        let pairs = gold.iter().zip(predicted);
        pairs.filter(|(a, b)| test(**a == class, **b == class)).count() as f64
    };
    let hits = count(&|a, b| a && b);
    2.0 * hits / (2.0 * hits + count(&|a, b| a != b))
}

/// Holds the evaluation of one label against what the model says of each example alone. `names` are
/// the labels in the order of the task, `outputs` the model's outputs for them.
fn check_labels(
    task: Task,
    model: &Model,
    examples: &[Example],
    names: &[&str],
    outputs: &[usize],
) {
    let found = run(model, task, examples);
    let gold: Vec<usize> = examples
        .iter()
        .map(|example| match &example.target {
            Some(Target::Label(label)) => names.iter().position(|name| name == label).unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    let rows: Vec<Vec<f32>> = alone(model, examples)
        .into_iter()
        .map(|row| outputs.iter().map(|&output| row[output]).collect())
        .collect();
    let predicted: Vec<usize> = rows.iter().map(|row| best(row)).collect();
    assert!(predicted.iter().any(|at| *at != predicted[0]), "the model tells texts apart");
    let hits = gold.iter().zip(&predicted).filter(|(a, b)| a == b).count();
    let classes: Vec<usize> = (0..names.len()).collect();
    let present = |class: &&usize| gold.contains(class) || predicted.contains(class);
    let all_f1: Vec<f64> =
        classes.iter().filter(present).map(|&class| f1(&gold, &predicted, class)).collect();
    for metric in &found.metrics {
        close(
            metric.value.unwrap(),
            match metric.score {
                Score::Accuracy => hits as f64 / gold.len() as f64,
                Score::F1 => f1(&gold, &predicted, 1),
                Score::MacroF1 => all_f1.iter().sum::<f64>() / all_f1.len() as f64,
                Score::Matthews => matthews(&gold, &predicted, names.len()),
                other => panic!("{}", other.name()),
            },
        );
    }
    let losses: Vec<f64> =
        rows.iter().zip(&gold).map(|(row, &gold)| -f64::from(row[gold]).ln()).collect();
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    assert!((found.loss.unwrap() / mean - 1.0).abs() < 1e-3, "{:?} {mean}", found.loss);
    let worst = found.worst(3)[0];
    assert!(losses.iter().all(|loss| *loss <= losses[worst] + 1e-3));
    let Predictions::Labels { names: found_names, .. } = &found.predictions else { panic!() };
    assert_eq!(found_names, names);
    for (at, row) in rows.iter().enumerate() {
        assert_eq!(found.predictions.names_of(at), [names[predicted[at]]]);
        for (a, b) in found.predictions.probabilities(at).iter().zip(row) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }
    let Details::Classes { confusion, classes } = &found.details else { panic!() };
    let both = gold.iter().zip(&predicted).filter(|(a, b)| (**a, **b) == (0, 1)).count();
    assert_eq!(confusion.count(0, 1), both as u64);
    assert_eq!(classes[1].0, names[1]);
    assert_eq!(classes[1].1.support, gold.iter().filter(|gold| **gold == 1).count() as u64);
}

#[test]
fn tasks_of_two_labels() {
    for task in [Task::Cola, Task::Sst2, Task::Mrpc, Task::Qqp, Task::Wnli] {
        // The model's outputs are in another order than the task's.
        let names = task.labels().unwrap();
        let reversed = [names[1], names[0]];
        // As its files write them, and by their names.
        for own in [["1", "0"], reversed] {
            let (_directory, model) = model(labelled(&own, Problem::SingleLabel));
            let file = glue(task, |number| (number * number % 3 % 2).to_string());
            let examples = examples(task, "dev.tsv", &file);
            assert_eq!(examples.len(), ROWS);
            check_labels(task, &model, &examples, names, &[1, 0]);
        }
    }
}

#[test]
fn tasks_of_entailment() {
    for task in [Task::Qnli, Task::Rte] {
        let names = ["entailment", "not_entailment"];
        let (_directory, model) = model(labelled(&names, Problem::SingleLabel));
        let file = glue(task, |number| names[number % 3 % 2].to_owned());
        check_labels(task, &model, &examples(task, "dev.tsv", &file), &names, &[0, 1]);
    }
    let names = ["contradiction", "entailment", "neutral"];
    let own = ["ENTAILMENT", "NEUTRAL", "CONTRADICTION"];
    let (_directory, model) = model(labelled(&own, Problem::SingleLabel));
    for task in [Task::Mnli, Task::Ax] {
        let file = glue(task, |number| names[number * 5 % 3].to_owned());
        check_labels(task, &model, &examples(task, "dev.tsv", &file), &names, &[2, 0, 1]);
    }
}

#[test]
fn users_labels() {
    let names = ["bad", "fair", "good", "never"];
    let (_directory, model) = model(labelled(&names, Problem::SingleLabel));
    let rows = |pair: bool| {
        let mut file = if pair { "text,pair,label\n" } else { "text,label\n" }.to_owned();
        for number in 0..ROWS {
            let other = if pair { format!("{},", text(number + 3)) } else { String::new() };
            file += &format!("{},{other}{}\n", text(number), names[number % 3]);
        }
        file
    };
    for task in [Task::Classify, Task::PairClassify] {
        let file = rows(task == Task::PairClassify);
        check_labels(task, &model, &examples(task, "d.csv", &file), &names, &[0, 1, 2, 3]);
    }
    let unknown = examples(Task::Classify, "d.csv", "text,label\nrome,good\ncat,odd\n");
    let message = fails(&model, Task::Classify, &unknown);
    assert_says(&message, &["d.csv, line 3", "\"odd\" is unknown", "bad, fair, good, never"]);
}

#[test]
fn any_number_of_labels() {
    let names = ["x", "y", "z"];
    let (_directory, model) = model(labelled(&names, Problem::MultiLabel));
    let sets = ["", "x", "y|z", "x|y|z", "z"];
    let rows: String = (0..ROWS).map(|at| format!("{},{}\n", text(at), sets[at * 3 % 5])).collect();
    let examples = examples(Task::MultiLabel, "d.csv", &format!("text,label\n{rows}"));
    let found = run(&model, Task::MultiLabel, &examples);
    let (mut tallies, mut whole, mut loss) = ([[0.0; 3]; 3], 0.0, 0.0);
    for (at, (scores, example)) in alone(&model, &examples).iter().zip(&examples).enumerate() {
        let Some(Target::Labels(gold)) = &example.target else { panic!() };
        let predicted = found.predictions.names_of(at);
        let mut right = true;
        for (label, name) in names.iter().enumerate() {
            let (holds, said) = (gold.iter().any(|gold| gold == name), scores[label] >= 0.5);
            assert_eq!(predicted.contains(name), said);
            tallies[label][0] += f64::from(u8::from(holds && said));
            tallies[label][1] += f64::from(u8::from(said));
            tallies[label][2] += f64::from(u8::from(holds));
            right &= holds == said;
            let p = f64::from(if holds { scores[label] } else { 1.0 - scores[label] });
            loss -= p.ln() / (3.0 * ROWS as f64);
        }
        whole += f64::from(u8::from(right)) / ROWS as f64;
    }
    let f1 = |t: [f64; 3]| 2.0 * t[0] / (t[1] + t[2]);
    let sum = |column: usize| tallies.iter().map(|tally| tally[column]).sum::<f64>();
    close(found.value(Score::MicroF1).unwrap(), f1([sum(0), sum(1), sum(2)]));
    close(found.value(Score::MacroF1).unwrap(), tallies.map(f1).iter().sum::<f64>() / 3.0);
    close(found.value(Score::Accuracy).unwrap(), whole);
    assert!((found.loss.unwrap() / loss - 1.0).abs() < 1e-2, "{:?} {loss}", found.loss);
    let Details::Labels(labels) = &found.details else { panic!() };
    close(labels[2].1.recall, tallies[2][0] / tallies[2][2]);
}

fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let sum = |f: &dyn Fn(usize) -> f64| (0..a.len()).map(f).sum::<f64>();
    let (sa, sb) = (sum(&|at| a[at]), sum(&|at| b[at]));
    let above = n * sum(&|at| a[at] * b[at]) - sa * sb;
    let square = |x: &[f64], s: f64| n * x.iter().map(|x| x * x).sum::<f64>() - s * s;
    above / (square(a, sa) * square(b, sb)).sqrt()
}

fn ranks(numbers: &[f64]) -> Vec<f64> {
    let rank = |x: &f64| {
        let below = numbers.iter().filter(|y| *y < x).count() as f64;
        let equal = numbers.iter().filter(|y| *y == x).count() as f64;
        below + (equal + 1.0) / 2.0
    };
    numbers.iter().map(rank).collect()
}

#[test]
fn numbers_and_correlations_that_are_not_defined() {
    let head = || Head::sequence_classification(1, Problem::Regression);
    let (_directory, regression) = model(head());
    let rows: String = (0..ROWS).map(|at| format!("{}\t{}\n", text(at), at % 17)).collect();
    let table = examples(Task::Regress, "d.tsv", &format!("text\tlabel\n{rows}"));
    let file = glue(Task::StsB, |number| format!("{}.{}", number % 5, number % 3));
    for (task, examples) in
        [(Task::StsB, examples(Task::StsB, "dev.tsv", &file)), (Task::Regress, table)]
    {
        let found = run(&regression, task, &examples);
        let Predictions::Numbers(numbers) = &found.predictions else { panic!() };
        let gold: Vec<f64> = examples
            .iter()
            .map(|example| match example.target {
                Some(Target::Number(number)) => number,
                _ => panic!(),
            })
            .collect();
        for (number, alone) in numbers.iter().zip(alone(&regression, &examples)) {
            assert!((number - f64::from(alone[0])).abs() < 1e-3, "{number} {alone:?}");
        }
        close(found.value(Score::Pearson).unwrap(), pearson(&gold, numbers));
        let spearman = pearson(&ranks(&gold), &ranks(numbers));
        close(found.value(Score::Spearman).unwrap(), spearman);
        let squares: f64 = gold.iter().zip(numbers).map(|(a, b)| (a - b).powi(2)).sum();
        let squared = found.value(Score::MeanSquaredError).unwrap();
        assert!((squared * ROWS as f64 / squares - 1.0).abs() < 1e-9);
        assert_eq!(found.loss, Some(squared));
        assert!(found.notes.is_empty());
        // The same number for every text.
        let (_directory, constant) = model_times(head(), 0.0);
        let found = run(&constant, task, &examples);
        assert_eq!((found.value(Score::Pearson), found.value(Score::Spearman)), (None, None));
        assert!(found.value(Score::MeanSquaredError).is_some());
        assert_says(&found.notes[0], &["not defined", "all predictions are the same"]);
        let found = run(&constant, task, &examples[..1]);
        assert_eq!(found.value(Score::Pearson), None);
        assert_says(&found.notes[0], &["needs two"]);
    }
}
