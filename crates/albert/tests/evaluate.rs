//! Models scored on every task through files in the form they are distributed in. The models are
//! small and random; what they say of each example alone, and sums written out here, are what the
//! evaluation is held against.

use std::path::Path;

use albert::backend::{Cpu, Precision};
use albert::checkpoint;
use albert::config::{Head, ModelConfig, Problem};
use albert::evaluate::{Details, Evaluation, EvaluationOptions, Predictions, evaluate};
use albert::model::{Network, Start, TrainingModel};
use albert::predict::{Grouping, Question};
use albert::random::Seed;
use albert::tasks::{Columns, Example, Input, Score, Target, Task, read};
use albert::{
    AnswerOptions, Chooser, Classifier, LoadOptions, Model, QuestionAnswerer, Tagger, TooLong,
};
use serde_json::json;
use tempfile::TempDir;

const WORDS: &str = "who wrote rome in the city cat dog tree sun moon red blue green one two";

/// A model with this head; its weights are large enough that texts differ.
fn model_times(head: Head, scale: f32) -> (TempDir, Model) {
    let directory = tempfile::tempdir().unwrap();
    let words: String = WORDS.split(' ').map(|word| format!("{word}\n")).collect();
    let vocabulary = format!("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n##s\n.\n{words}");
    std::fs::write(directory.path().join("vocab.txt"), vocabulary).unwrap();
    let mut config = ModelConfig::preset("nano").unwrap();
    (config.vocab_size, config.embedding_size, config.hidden_size) = (23, 8, 16);
    (config.num_hidden_layers, config.num_attention_heads, config.intermediate_size) = (1, 2, 16);
    config.max_position_embeddings = 32;
    config.head = Some(head);
    let cpu = Cpu::detect().unwrap();
    let start = Network::initialised(cpu.clone(), config.clone(), Start::new(Seed::new(9)));
    let scaled: Vec<f32> = start.all_parameters().iter().map(|x| scale * x).collect();
    let model = TrainingModel::from_parameters(cpu, config, &scaled);
    checkpoint::save(&model, directory.path()).unwrap();
    let options = LoadOptions { precision: Some(Precision::F32), ..LoadOptions::default() };
    let model = Model::load_with(directory.path(), &options).unwrap();
    (directory, model)
}

fn model(head: Head) -> (TempDir, Model) {
    model_times(head, 20.0)
}

fn labelled(names: &[&str], problem: Problem) -> Head {
    let labels = names.iter().map(|name| (*name).to_owned()).collect();
    Head::SequenceClassification { labels, problem }
}

/// The examples of a file with this text.
fn examples(task: Task, name: &str, text: &str) -> Vec<Example> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    read_all(task, &path, &columns(task))
}

fn columns(task: Task) -> Columns {
    let pair = (task == Task::PairClassify).then(|| "pair".to_owned());
    Columns { pair, separator: Some('|'), ..Columns::text_and_label() }
}

fn read_all(task: Task, path: &Path, columns: &Columns) -> Vec<Example> {
    read(task, path, columns).unwrap().collect::<Result<_, _>>().unwrap()
}

fn run(model: &Model, task: Task, examples: &[Example]) -> Evaluation {
    let mut last = 0;
    let mut progress = |done: usize| {
        assert!(done > last, "progress goes forward");
        last = done;
    };
    let options = EvaluationOptions::default();
    let found = evaluate(model, task, examples, &options, &mut progress).unwrap();
    assert_eq!((found.task, found.examples, last), (task, examples.len(), examples.len()));
    let names: Vec<Score> = found.metrics.iter().map(|metric| metric.score).collect();
    assert_eq!(names, task.scores(), "{}", task.name());
    found
}

fn fails(model: &Model, task: Task, examples: &[Example]) -> String {
    let options = EvaluationOptions::default();
    evaluate(model, task, examples, &options, &mut |_| {}).unwrap_err().to_string()
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(message.contains(part), "no {part:?} in: {message}"));
}

#[track_caller]
fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
}

/// A text of one to twelve words, another for each number.
fn text(number: usize) -> String {
    let words: Vec<&str> = WORDS.split(' ').collect();
    let word = |at: usize| words[(number * 7 + at * at * 3 + at * number) % words.len()];
    (0..=number % 12).map(word).collect::<Vec<_>>().join(" ")
}

const ROWS: usize = 200;

/// The file of a task of GLUE with the label of each number, its columns those of the original.
fn glue(task: Task, label: impl Fn(usize) -> String) -> String {
    let header = match task {
        Task::Cola => None,
        Task::Sst2 => Some("sentence\tlabel"),
        Task::Mrpc => Some("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"),
        Task::StsB => Some(
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
        ),
        Task::Qqp => Some("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"),
        Task::Mnli => Some("index\tsentence1\tsentence2\tlabel1\tgold_label"),
        Task::Qnli => Some("index\tquestion\tsentence\tlabel"),
        Task::Ax => Some("Logic\tPremise\tHypothesis\tLabel"),
        _ => Some("index\tsentence1\tsentence2\tlabel"),
    };
    let mut file = header.map_or_else(String::new, |header| format!("{header}\n"));
    for number in 0..ROWS {
        let (a, b, y) = (text(number), text(number + 31), label(number));
        file += &match task {
            Task::Cola => format!("gj04\t{y}\t\t{a}\n"),
            Task::Sst2 => format!("{a}\t{y}\n"),
            Task::Mrpc => format!("{y}\t1\t2\t{a}\t{b}\n"),
            Task::StsB => format!("{number}\tmain\tMSR\t2012\t1\tnone\tnone\t{a}\t{b}\t{y}\n"),
            Task::Qqp => format!("{number}\t1\t2\t{a}\t{b}\t{y}\n"),
            Task::Mnli => format!("{number}\t{a}\t{b}\tneutral\t{y}\n"),
            Task::Ax => format!("\t{a}\t{b}\t{y}\n"),
            _ => format!("{number}\t{a}\t{b}\t{y}\n"),
        };
    }
    file
}

/// What a classifier gives for each example by itself.
fn alone(model: &Model, examples: &[Example]) -> Vec<Vec<f32>> {
    let classifier = Classifier::new(model).unwrap();
    let of = |example: &Example| match &example.input {
        Input::Text(text) => classifier.classify(&[text.as_str()]).unwrap().remove(0).0,
        Input::Pair(a, b) => classifier.classify(&[(a.as_str(), b.as_str())]).unwrap().remove(0).0,
        other => panic!("{other:?}"),
    };
    examples.iter().map(of).collect()
}

fn best(scores: &[f32]) -> usize {
    (0..scores.len()).rev().max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap()
}

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
        let (_directory, model) = model(labelled(&["1", "0"], Problem::SingleLabel));
        let file = glue(task, |number| (number * number % 3 % 2).to_string());
        let examples = examples(task, "dev.tsv", &file);
        assert_eq!(examples.len(), ROWS);
        check_labels(task, &model, &examples, &["0", "1"], &[1, 0]);
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

#[test]
fn options_of_race_by_school() {
    let (_directory, model) = model(Head::MultipleChoice);
    let directory = tempfile::tempdir().unwrap();
    for (school, count) in [("middle", 6), ("high", 9)] {
        std::fs::create_dir(directory.path().join(school)).unwrap();
        for article in 0..count {
            let questions: Vec<String> = (0..4).map(|at| format!("{} _", text(at))).collect();
            let word = |at: usize| WORDS.split(' ').nth(at % 16).unwrap().to_owned();
            let of = |question: usize| (0..4).map(|at| word(question * 5 + at * 3)).collect();
            let options: Vec<Vec<String>> = (0..4).map(of).collect();
            let body = json!({
                "article": (0..4).map(|at| text(article * 5 + at)).collect::<Vec<_>>().join(" "),
                "questions": questions, "options": options, "answers": ["A", "B", "C", "D"],
                "id": format!("{school}{article}.txt"),
            });
            let path = directory.path().join(school).join(format!("{article}.txt"));
            std::fs::write(path, body.to_string()).unwrap();
        }
    }
    let examples = read_all(Task::Race, directory.path(), &Columns::text_and_label());
    assert_eq!(examples.len(), 60);
    let found = run(&model, Task::Race, &examples);
    let chooser = Chooser::new(&model).unwrap().too_long(TooLong::Truncate);
    let mut right = Vec::new();
    for (at, example) in examples.iter().enumerate() {
        let Input::Choice { context, question, options } = &example.input else { panic!() };
        let one = chooser.choose(&[Question { context, question, options }]).unwrap().remove(0);
        assert_eq!(found.predictions.best(at).0, one.index);
        right.push(example.target == Some(Target::Option(one.index)));
    }
    let share = |of: &[bool]| of.iter().filter(|right| **right).count() as f64 / of.len() as f64;
    close(found.value(Score::Accuracy).unwrap(), share(&right));
    close(found.value(Score::Middle).unwrap(), share(&right[..24]));
    close(found.value(Score::High).unwrap(), share(&right[24..]));
    assert!(right.contains(&true) && right.contains(&false));
    // Of one school alone, the other has no score.
    let found = run(&model, Task::Race, &examples[..24]);
    assert_eq!(found.value(Score::High), None);
    assert_says(&found.notes[0], &["no question is of high school"]);
}

/// A file of SQuAD with these (context, question, answer), of which an empty answer is none.
fn squad(asked: &[(String, String, String)], with_answers: bool) -> String {
    let paragraph = |(at, (context, question, answer)): (usize, &(String, String, String))| {
        let mut qa = json!({"id": format!("q{at}"), "question": question});
        if with_answers {
            let start = context.find(answer.as_str()).unwrap();
            let given = json!({"text": answer, "answer_start": start});
            qa["answers"] = if answer.is_empty() { json!([]) } else { json!([given]) };
            qa["is_impossible"] = json!(answer.is_empty());
        }
        json!({"context": context, "qas": [qa]})
    };
    let paragraphs: Vec<_> = asked.iter().enumerate().map(paragraph).collect();
    json!({"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}).to_string()
}

/// Contexts longer and shorter than the model reads at once, with a question about each.
fn asked(count: usize) -> Vec<(String, String, String)> {
    let context =
        |at: usize| (0..1 + at % 7).map(|more| text(at * 11 + more * 5)).collect::<Vec<_>>();
    let one =
        |at: usize| (context(at).join(" "), format!("who wrote {}", text(at % 4)), String::new());
    (0..count).map(one).collect()
}

/// The best answer to each question alone, and whether there is none at the threshold 0.
fn answers(model: &Model, asked: &[(String, String, String)]) -> Vec<(String, bool)> {
    let options = AnswerOptions {
        align_to_words: false,
        no_answer: Some(0.0),
        n_best: 20,
        ..AnswerOptions::default()
    };
    let answerer = QuestionAnswerer::new(model).unwrap().options(options).unwrap();
    let one = |(context, question, _): &(String, String, String)| {
        let found = answerer.answer(&[(question.as_str(), context.as_str())]).unwrap().remove(0);
        (found.candidates[0].text(context).to_owned(), found.best.is_none())
    };
    asked.iter().map(one).collect()
}

#[test]
fn answers_of_squad() {
    let (_directory, model) = model(Head::QuestionAnswering);
    let mut asked = asked(40);
    let said = answers(&model, &asked);
    for (at, ((context, _, answer), (said, _))) in asked.iter_mut().zip(&said).enumerate() {
        // Every third is right; every third has its first word only; the rest is all of the context.
        *answer = match at % 3 {
            0 => said.clone(),
            1 => said.split(' ').next().unwrap().to_owned(),
            _ => context.clone(),
        };
    }
    let normal = |text: &str| -> Vec<String> {
        text.split(' ').filter(|word| *word != "the").map(str::to_owned).collect()
    };
    let (mut exact, mut f1) = (0.0, 0.0);
    for ((_, _, gold), (said, _)) in asked.iter().zip(&said) {
        let (gold, mut said) = (normal(gold), normal(said));
        exact += f64::from(u8::from(gold == said));
        let words = said.len() + gold.len();
        let common = gold.iter().filter(|word| {
            said.iter().position(|said| said == *word).map(|at| said.remove(at)).is_some()
        });
        let common = common.count();
        f1 += if words == 0 { 1.0 } else { 2.0 * common as f64 / words as f64 };
    }
    let examples = examples(Task::Squad1, "d.json", &squad(&asked, true));
    let found = run(&model, Task::Squad1, &examples);
    close(found.value(Score::Exact).unwrap(), exact / 40.0);
    close(found.value(Score::AnswerF1).unwrap(), f1 / 40.0);
    let Predictions::Answers(predicted) = &found.predictions else { panic!() };
    for (predicted, (said, _)) in predicted.iter().zip(&said) {
        assert_eq!(&predicted.text, said);
        assert_eq!((&predicted.candidates[0].text, predicted.null_odds), (said, None));
        let sum: f64 = predicted.candidates.iter().map(|best| best.probability).sum();
        close(sum, 1.0);
    }
    assert_eq!(found.loss, None);
    assert!(found.mistakes.iter().all(|mistake| (0.0..=1.0).contains(mistake)));
}

#[test]
fn answers_or_none_with_both_heads_and_their_thresholds() {
    for head in [Head::QuestionAnswering, Head::JointQuestionAnswering] {
        let (_directory, model) = model(head);
        let mut asked = asked(60);
        let said = answers(&model, &asked);
        for (at, ((context, _, answer), (said, _))) in asked.iter_mut().zip(&said).enumerate() {
            *answer = [said.as_str(), "", context][at % 3].to_owned();
        }
        let examples = examples(Task::Squad2, "d.json", &squad(&asked, true));
        let found = run(&model, Task::Squad2, &examples);
        let Predictions::Answers(predicted) = &found.predictions else { panic!() };
        let right = asked.iter().zip(predicted).filter(|((_, _, gold), predicted)| {
            let (gold, said) = (gold.replace("the", " "), predicted.text.replace("the", " "));
            gold.split_whitespace().eq(said.split_whitespace())
        });
        close(found.value(Score::Exact).unwrap(), right.count() as f64 / 60.0);
        for (predicted, (said, none)) in predicted.iter().zip(&said) {
            assert_eq!(predicted.text.is_empty(), *none);
            assert_eq!(predicted.null_odds.unwrap() > 0.0, *none);
            assert_eq!(&predicted.candidates[0].text, said);
        }
        assert_says(&found.notes[0], &["tuned on these very questions"]);
        // With the threshold that was found, the best scores are those that there are.
        let Details::AnswersOrNone(scores) = &found.details else { panic!() };
        let best = scores.best.unwrap();
        assert!(best.f1 >= scores.all.f1 && best.exact >= scores.all.exact);
        for (threshold, score, of_best) in [
            (best.f1_threshold, Score::AnswerF1, best.f1),
            (best.exact_threshold, Score::Exact, best.exact),
        ] {
            let options =
                EvaluationOptions { null_threshold: threshold, ..EvaluationOptions::default() };
            let tuned = evaluate(&model, Task::Squad2, &examples, &options, &mut |_| {}).unwrap();
            close(tuned.value(score).unwrap(), of_best / 100.0);
            close(tuned.value(Score::BestF1).unwrap(), best.f1 / 100.0);
        }
    }
}

#[test]
fn tags_of_words_of_sentences_of_any_length() {
    let labels = ["O", "B-X", "B-Y"].map(str::to_owned).to_vec();
    let (_directory, model) = model(Head::TokenClassification { labels: labels.clone() });
    let tagger = Tagger::new(&model).unwrap().grouping(Grouping::None);
    let mut file = String::new();
    let (mut hits, mut predicted, mut gold) = (0.0, 0.0, 0.0);
    let mut all_said = Vec::new();
    for number in 0..40 {
        let texts: Vec<String> = (0..=number % 9).map(|more| text(number + more * 13)).collect();
        let joined = texts.join(" ");
        let sentence: Vec<&str> = joined.split(' ').collect();
        let found = tagger.tag(&[&joined]).unwrap().remove(0);
        let mut at = 0;
        let mut tags = Vec::new();
        for (index, word) in sentence.iter().enumerate() {
            let entity = found.iter().find(|entity| entity.start == at);
            let said = entity.map_or("O", |entity| &entity.label);
            let right = if index % 4 == 1 { "B-X" } else { said };
            hits += f64::from(u8::from(said == right && said != "O"));
            predicted += f64::from(u8::from(said != "O"));
            gold += f64::from(u8::from(right != "O"));
            file += &format!("{word}\t-X-\t{right}\n");
            tags.push(said.to_owned());
            at += word.len() + 1;
        }
        file += "\n";
        all_said.push(tags);
    }
    let read = examples(Task::Ner, "d.conll", &file);
    let found = run(&model, Task::Ner, &read);
    for (at, said) in all_said.iter().enumerate() {
        assert_eq!(&found.predictions.names_of(at), said, "sentence {at}");
    }
    assert!(hits > 0.0 && hits < gold && hits < predicted);
    close(found.value(Score::EntityPrecision).unwrap(), hits / predicted);
    close(found.value(Score::EntityRecall).unwrap(), hits / gold);
    close(found.value(Score::EntityF1).unwrap(), 2.0 * hits / (gold + predicted));
    let Details::Entities(_, kinds) = &found.details else { panic!() };
    let support: u64 = kinds.iter().map(|(_, scores)| scores.support).sum();
    assert_eq!(support as f64, gold);
    // Words that the tokenizer makes nothing of are outside; tags of another letter are compared.
    let odd = examples(Task::Ner, "d.conll", "\u{7}\tO\nrome\tI-X\n\u{8}\tO\n");
    let tags = run(&model, Task::Ner, &odd).predictions.names_of(0).join(" ");
    assert!(tags.starts_with("O ") && tags.ends_with(" O"), "{tags}");
    let message = fails(&model, Task::Ner, &examples(Task::Ner, "d.conll", "\nrome B-Z\n"));
    assert_says(&message, &["d.conll, line 2", "\"B-Z\"", "O, B-X, B-Y"]);
}

#[test]
fn examples_without_targets_are_predicted_and_not_scored() {
    let (_directory, classifier) = model(labelled(&["0", "1"], Problem::SingleLabel));
    let file = "index\tsentence\n7\trome in the city\n9\tcat\n";
    let read = examples(Task::Sst2, "test.tsv", file);
    let options = EvaluationOptions::default();
    let found = evaluate(&classifier, Task::Sst2, &read, &options, &mut |_| {}).unwrap();
    assert!(found.metrics.is_empty() && found.mistakes.is_empty() && found.worst(5).is_empty());
    assert_eq!((found.loss, &found.details), (None, &Details::None));
    for (at, scores) in alone(&classifier, &read).iter().enumerate() {
        assert_eq!(found.predictions.best(at).0, best(scores));
    }
    let (_directory, answerer) = model(Head::QuestionAnswering);
    let read = examples(Task::Squad2, "test.json", &squad(&asked(3), false));
    let found = evaluate(&answerer, Task::Squad2, &read, &options, &mut |_| {}).unwrap();
    assert!(found.metrics.is_empty());
    // Some with and some without are a mistake in the file.
    let mut mixed = examples(Task::Sst2, "d.tsv", "sentence\tlabel\na\t1\nb\t0\n");
    mixed[1].target = None;
    assert_says(&fails(&classifier, Task::Sst2, &mixed), &["line 3", "no label"]);
    assert_says(&fails(&classifier, Task::Sst2, &[]), &["no examples"]);
}

#[test]
fn labels_without_names_are_numbers_and_others_are_refused() {
    let nameless = |count| Head::sequence_classification(count, Problem::SingleLabel);
    let (_directory, two) = model(nameless(2));
    let file = glue(Task::Rte, |at| ["entailment", "not_entailment"][at % 2].to_owned());
    let rte = examples(Task::Rte, "dev.tsv", &file);
    let found = run(&two, Task::Rte, &rte);
    assert_says(&found.notes[0], &["LABEL_0 to LABEL_1", "entailment, not_entailment"]);
    let first = best(&alone(&two, &rte[..1])[0]);
    assert_eq!(found.predictions.names_of(0), [["entailment", "not_entailment"][first]]);
    let (_directory, three) = model(nameless(3));
    assert_says(&fails(&three, Task::Rte, &rte), &["LABEL_2", "not_entailment", "rte"]);
    // A user's labels are numbers, or must be called as the model calls them.
    let numbers = examples(Task::Classify, "d.csv", "text,label\nrome,2\ncat,0\n");
    assert_says(&run(&three, Task::Classify, &numbers).notes[0], &["0, 1, 2"]);
    let words = examples(Task::Classify, "d.csv", "text,label\nrome,good\n");
    assert_says(&fails(&three, Task::Classify, &words), &["line 2", "\"good\"", "LABEL_0"]);
    let (_directory, polar) = model(labelled(&["NEGATIVE", "POSITIVE"], Problem::SingleLabel));
    let sst = examples(Task::Sst2, "d.tsv", "sentence\tlabel\nrome\t1\n");
    assert_says(&fails(&polar, Task::Sst2, &sst), &["NEGATIVE, POSITIVE", "0, 1", "sst-2"]);
}

#[test]
fn heads_that_do_not_fit_are_refused() {
    let labels = || examples(Task::Sst2, "d.tsv", "sentence\tlabel\nrome\t1\n");
    let (_directory, answerer) = model(Head::QuestionAnswering);
    let message = fails(&answerer, Task::Sst2, &labels());
    assert_says(&message, &["sst-2", "question answering", "ForSequenceClassification"]);
    let (_directory, several) = model(labelled(&["0", "1"], Problem::MultiLabel));
    assert_says(&fails(&several, Task::Sst2, &labels()), &["single_label", "multi_label"]);
    let sts = examples(Task::StsB, "d.tsv", "sentence1\tsentence2\tscore\na\tb\t3\n");
    assert_says(&fails(&several, Task::StsB, &sts), &["one output", "has 2"]);
    for (task, file) in [
        (Task::Ner, "rome O\n".to_owned()),
        (Task::Squad1, squad(&[("rome".into(), "who".into(), "rome".into())], true)),
    ] {
        let message = fails(&several, task, &examples(task, "d", &file));
        assert_says(&message, &["sequence classification", "choose one that was fine-tuned"]);
    }
    // Examples of another task than is said.
    assert_says(
        &fails(&several, Task::MultiLabel, &labels()),
        &["line 2", "no example of the task"],
    );
}

#[test]
fn options_that_cannot_be_are_refused() {
    let (_directory, model) = model(labelled(&["0", "1"], Problem::SingleLabel));
    let examples = examples(Task::Sst2, "d.tsv", "sentence\tlabel\nrome\t1\n");
    let fails = |options: EvaluationOptions| {
        evaluate(&model, Task::Sst2, &examples, &options, &mut |_| {}).unwrap_err().to_string()
    };
    let base = EvaluationOptions::default;
    let said = fails(EvaluationOptions { max_length: Some(33), ..base() });
    assert_says(&said, &["33", "32 positions"]);
    assert_says(&fails(EvaluationOptions { max_length: Some(3), ..base() }), &["no room"]);
    assert_says(&fails(EvaluationOptions { doc_stride: 0, ..base() }), &["doc_stride is 0"]);
    let said = fails(EvaluationOptions { null_threshold: f64::NAN, ..base() });
    assert_says(&said, &["not a number"]);
}

#[test]
fn a_model_in_memory_is_evaluated_like_a_file() {
    let (directory, model) = model(labelled(&["0", "1"], Problem::SingleLabel));
    let cpu = Cpu::detect().unwrap();
    let precision = Some(Precision::F32);
    let loaded = checkpoint::load_for_inference(directory.path(), &cpu, precision).unwrap();
    let tokenizer = albert::tokenizer::Tokenizer::load(directory.path()).unwrap();
    let parts = Model::from_parts(loaded.model, tokenizer).unwrap();
    let file = glue(Task::Sst2, |number| (number % 2).to_string());
    let examples = examples(Task::Sst2, "dev.tsv", &file);
    assert_eq!(run(&parts, Task::Sst2, &examples), run(&model, Task::Sst2, &examples));
    let other = tempfile::tempdir().unwrap();
    let long: String = (0..40).map(|at| format!("w{at}\n")).collect();
    let vocabulary = format!("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n{long}");
    std::fs::write(other.path().join("vocab.txt"), vocabulary).unwrap();
    let tokenizer = albert::tokenizer::Tokenizer::load(other.path()).unwrap();
    let loaded = checkpoint::load_for_inference(directory.path(), &cpu, precision).unwrap();
    let error = Model::from_parts(loaded.model, tokenizer).err().unwrap().to_string();
    assert_says(&error, &["45 ids", "vocabulary of 23"]);
}
