//! Scores for `scripts/parity/scores.py`, which holds them against the programs they come from:
//! a JSON object on each line of standard input, and one with its scores on standard output.

use std::io::{BufRead as _, Write as _};

use albert::scores::{self, Answered, ClassScores, Confusion, EntityScores, MultiLabel};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line?)?;
        let found = score(&case).unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(output, "{found}")?;
    }
    Ok(output.flush()?)
}

fn score(case: &Value) -> Result<Value, Failure> {
    match case["score"].as_str().unwrap_or_default() {
        "classes" => classes(case),
        "labels" => labels(case),
        "numbers" => numbers(case),
        "words" => words(case),
        "squad1" => squad1(case),
        "squad2" => squad2(case),
        "entities" => entities(case),
        other => Err(format!("there is no score {other:?}").into()),
    }
}

fn field<T: serde::de::DeserializeOwned>(case: &Value, name: &str) -> Result<T, Failure> {
    Ok(serde_json::from_value(case[name].clone())?)
}

fn of_classes(scores: &[ClassScores]) -> Value {
    scores.iter().map(|s| json!([s.precision, s.recall, s.f1, s.support])).collect()
}

fn classes(case: &Value) -> Result<Value, Failure> {
    let (gold, predicted): (Vec<usize>, Vec<usize>) =
        (field(case, "gold")?, field(case, "predicted")?);
    let count = field(case, "classes")?;
    let confusion = Confusion::new(count, &gold, &predicted)?;
    let row = |gold| (0..count).map(|predicted| confusion.count(gold, predicted)).collect();
    let rows: Vec<Vec<u64>> = (0..count).map(row).collect();
    Ok(json!({
        "accuracy": confusion.accuracy(),
        "binary_f1": confusion.binary_f1().ok(),
        "macro_f1": confusion.macro_f1(),
        "micro_f1": confusion.micro_f1(),
        "matthews": confusion.matthews(),
        "per_class": of_classes(&confusion.per_class()),
        "confusion": rows,
    }))
}

fn labels(case: &Value) -> Result<Value, Failure> {
    let scores = MultiLabel::new(
        field(case, "labels")?,
        &field::<Vec<Vec<bool>>>(case, "gold")?,
        &field::<Vec<Vec<bool>>>(case, "predicted")?,
    )?;
    Ok(json!({
        "accuracy": scores.accuracy(),
        "macro_f1": scores.macro_f1(),
        "micro_f1": scores.micro_f1(),
        "per_class": of_classes(&scores.per_label()),
    }))
}

fn numbers(case: &Value) -> Result<Value, Failure> {
    let (gold, predicted): (Vec<f64>, Vec<f64>) = (field(case, "gold")?, field(case, "predicted")?);
    Ok(json!({
        "pearson": scores::pearson(&gold, &predicted)?,
        "spearman": scores::spearman(&gold, &predicted)?,
        "mean_squared_error": scores::mean_squared_error(&gold, &predicted)?,
    }))
}

fn words(case: &Value) -> Result<Value, Failure> {
    let (gold, predicted): (String, String) = (field(case, "gold")?, field(case, "predicted")?);
    Ok(json!({
        "normalised": scores::normalise_answer(&gold),
        "exact": scores::answer_exact(&gold, &predicted),
        "f1": scores::answer_f1(&gold, &predicted),
    }))
}

/// The answers to a question, the prediction, and how sure it is that there is no answer.
type Question = (Vec<String>, String, Option<f64>);

fn answered(question: &Question) -> Answered<'_> {
    Answered { gold: &question.0, prediction: &question.1, no_answer: question.2 }
}

fn squad1(case: &Value) -> Result<Value, Failure> {
    let questions: Vec<Question> = field(case, "questions")?;
    let scores = scores::squad1(&questions.iter().map(answered).collect::<Vec<_>>())?;
    Ok(json!({ "exact": scores.exact, "f1": scores.f1 }))
}

fn squad2(case: &Value) -> Result<Value, Failure> {
    let questions: Vec<Question> = field(case, "questions")?;
    let questions: Vec<_> = questions.iter().map(answered).collect();
    let scores = scores::squad2(&questions, field(case, "threshold")?)?;
    let shares =
        [("", Some(scores.all)), ("HasAns_", scores.has_answer), ("NoAns_", scores.no_answer)];
    let mut found = serde_json::Map::new();
    for (prefix, share) in shares {
        if let Some(share) = share {
            found.insert(format!("{prefix}exact"), json!(share.exact));
            found.insert(format!("{prefix}f1"), json!(share.f1));
            found.insert(format!("{prefix}total"), json!(share.total));
        }
    }
    if let Some(best) = scores.best {
        found.insert("best_exact".into(), json!(best.exact));
        found.insert("best_exact_thresh".into(), json!(best.exact_threshold));
        found.insert("best_f1".into(), json!(best.f1));
        found.insert("best_f1_thresh".into(), json!(best.f1_threshold));
    }
    Ok(Value::Object(found))
}

fn entities(case: &Value) -> Result<Value, Failure> {
    let (all, kinds) = scores::entity_scores(
        &field::<Vec<Vec<String>>>(case, "gold")?,
        &field::<Vec<Vec<String>>>(case, "predicted")?,
    )?;
    let list = |s: &EntityScores| json!([s.precision, s.recall, s.f1, s.support]);
    let kinds: serde_json::Map<_, _> =
        kinds.iter().map(|(kind, s)| (kind.clone(), list(s))).collect();
    Ok(json!({ "all": list(&all), "kinds": kinds }))
}
