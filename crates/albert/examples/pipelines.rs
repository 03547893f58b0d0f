//! Runs a task of `predict` over lines of JSON, for `scripts/parity/pipelines.py`, which holds the
//! answers against those of `transformers`. Offsets are counted in characters, as there.
//!
//! ```text
//! cargo run --release -p albert --example pipelines -- DIR TASK [KEY=VALUE ...] < in > out
//! cargo run --release -p albert --example pipelines -- spiece.model convert DIR
//! ```
//!
//! | task | a line of input | settings |
//! |---|---|---|
//! | `classify` | `{"text"}` or `{"text", "pair"}` | |
//! | `choose` | `{"pairs": [[first, second], ...]}` | |
//! | `encode` | `{"text"}` or `{"text", "pair"}` | |
//! | `fill` | `{"text"}` | `top_k` |
//! | `tag` | `{"text"}` | `grouping` |
//! | `answer` | `{"question", "context"}` | the fields of `AnswerOptions` |

use std::error::Error;
use std::io::{BufWriter, Write, stdin, stdout};
use std::path::Path;

use albert::backend::Precision;
use albert::model::{Batch, InferenceSpace};
use albert::predict::Answer;
use albert::tokenizer::CharacterOffsets;
use albert::tokenizer::{InputOptions, Tokenizer};
use albert::{
    AnswerOptions, Classifier, Grouping, Input, LoadOptions, MaskFiller, Model, QuestionAnswerer,
    Tagger,
};
use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Lines that are computed together.
const LINES: usize = 64;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, task, settings @ ..] = arguments.as_slice() else {
        return Err("expected: DIR TASK [KEY=VALUE ...]".into());
    };
    if task == "convert" {
        let [directory] = settings else { return Err("expected: FILE convert DIR".into()) };
        return Ok(Tokenizer::load(Path::new(path))?.save(Path::new(directory))?);
    }
    let options = LoadOptions { precision: Some(Precision::F32), ..LoadOptions::default() };
    let run = task_of(&Model::load_with(path, &options)?, task, settings)?;
    let lines: Vec<Value> =
        stdin().lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect::<Result<_>>()?;
    let mut out = BufWriter::new(stdout().lock());
    for lines in lines.chunks(LINES) {
        for answer in run(lines)? {
            writeln!(out, "{answer}")?;
        }
    }
    Ok(out.flush()?)
}

type Run = Box<dyn Fn(&[Value]) -> Result<Vec<Value>>>;

fn task_of(model: &Model, task: &str, settings: &[String]) -> Result<Run> {
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|one| one.split_once('=').ok_or("a setting is KEY=VALUE"))
        .collect::<std::result::Result<_, _>>()?;
    let setting =
        |name: &str| settings.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    Ok(match task {
        "classify" => classify(Classifier::new(model)?),
        "choose" => choose(model.clone()),
        "encode" => encode(model.clone()),
        "fill" => fill(MaskFiller::new(model)?, setting("top_k").unwrap_or("5").parse()?),
        "tag" => {
            let grouping = match setting("grouping") {
                Some("none") => Grouping::None,
                Some("simple") => Grouping::Simple,
                Some("first") | None => Grouping::First,
                Some("average") => Grouping::Average,
                Some("max") => Grouping::Max,
                Some(other) => return Err(format!("no grouping is called {other}").into()),
            };
            tag(Tagger::new(model)?.grouping(grouping))
        }
        "answer" => {
            let mut options = AnswerOptions::default();
            for (key, value) in settings {
                match key {
                    "max_sequence_length" => options.max_sequence_length = Some(value.parse()?),
                    "doc_stride" => options.doc_stride = value.parse()?,
                    "max_question_length" => options.max_question_length = value.parse()?,
                    "max_answer_length" => options.max_answer_length = value.parse()?,
                    "n_best" => options.n_best = value.parse()?,
                    "align_to_words" => options.align_to_words = value.parse()?,
                    "no_answer" => options.no_answer = Some(value.parse()?),
                    _ => return Err(format!("no option is called {key}").into()),
                }
            }
            answer(QuestionAnswerer::new(model)?.options(options)?)
        }
        _ => return Err(format!("no task is called {task}").into()),
    })
}

fn text<'a>(line: &'a Value, key: &str) -> Result<&'a str> {
    Ok(line[key].as_str().ok_or_else(|| format!("a line has no {key}"))?)
}

fn classify(classifier: Classifier) -> Run {
    Box::new(move |lines| {
        let input = |line| Ok(Input { first: text(line, "text")?, second: line["pair"].as_str() });
        let inputs: Vec<Input<'_>> = lines.iter().map(input).collect::<Result<_>>()?;
        Ok(classifier.classify(&inputs)?.into_iter().map(|scores| json!(scores.0)).collect())
    })
}

fn choose(model: Model) -> Run {
    Box::new(move |lines| {
        let one = |line: &Value| {
            let mut batch = Batch::new();
            for pair in line["pairs"].as_array().ok_or("a line has no pairs")? {
                let (first, second) = (pair[0].as_str(), pair[1].as_str());
                let first = first.ok_or("a pair has no text")?;
                let input =
                    model.tokenizer().encode_input(first, second, &InputOptions::default())?;
                batch.push(model.config(), &input.ids, &input.type_ids)?;
            }
            let space = &mut InferenceSpace::default();
            Ok(json!(model.inference().sequence_logits(&batch, space)))
        };
        lines.iter().map(one).collect()
    })
}

fn encode(model: Model) -> Run {
    Box::new(move |lines| {
        let options = InputOptions { special_tokens_in_text: true, ..InputOptions::default() };
        let one = |line: &Value| {
            let (first, second) = (text(line, "text")?, line["pair"].as_str());
            Ok(json!(model.tokenizer().encode_input(first, second, &options)?.ids))
        };
        lines.iter().map(one).collect()
    })
}

fn fill(filler: MaskFiller, top_k: usize) -> Run {
    Box::new(move |lines| {
        let texts = lines.iter().map(|line| text(line, "text")).collect::<Result<Vec<_>>>()?;
        let word = |word: &albert::predict::Prediction| json!({"token": word.token, "id": word.id, "score": word.score});
        let mask = |mask: &albert::predict::FilledMask| -> Value {
            mask.predictions.iter().map(word).collect()
        };
        let filled = filler.fill(&texts, top_k)?;
        Ok(filled.iter().map(|masks| masks.iter().map(mask).collect()).collect())
    })
}

fn tag(tagger: Tagger) -> Run {
    Box::new(move |lines| {
        let texts = lines.iter().map(|line| text(line, "text")).collect::<Result<Vec<_>>>()?;
        let tagged = tagger.tag(&texts)?;
        let of_text = |(text, entities): (&&str, &Vec<albert::predict::Entity>)| -> Value {
            let characters = CharacterOffsets::new(text);
            let entity = |entity: &albert::predict::Entity| {
                let range = characters.range(entity.start..entity.end);
                json!({"label": entity.label, "start": range.start, "end": range.end,
                       "score": entity.score})
            };
            entities.iter().map(entity).collect()
        };
        Ok(texts.iter().zip(&tagged).map(of_text).collect())
    })
}

fn answer(answerer: QuestionAnswerer) -> Run {
    Box::new(move |lines| {
        let pair = |line| Ok((text(line, "question")?, text(line, "context")?));
        let pairs = lines.iter().map(pair).collect::<Result<Vec<_>>>()?;
        let answers = answerer.answer(&pairs)?;
        let one = |(&(_, context), answers): (&(&str, &str), &albert::predict::Answers)| {
            let characters = CharacterOffsets::new(context);
            let answer = |answer: &Answer| {
                let range = characters.range(answer.start..answer.end);
                json!({"answer": answer.text(context), "start": range.start, "end": range.end,
                       "score": answer.score})
            };
            json!({
                "best": answers.best.as_ref().map(answer),
                "no_answer_score": answers.no_answer_score,
                "candidates": answers.candidates.iter().map(answer).collect::<Vec<_>>(),
            })
        };
        Ok(pairs.iter().zip(&answers).map(one).collect())
    })
}
