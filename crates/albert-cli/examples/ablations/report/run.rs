//! What was run: the command, the base model, the recipes, the floor, and every run with what it
//! took.

use std::collections::BTreeSet;

use albert::config::ModelConfig;
use albert::tasks::Task;
use anyhow::Result;

use super::super::experiment::{Experiment, TASKS};
use super::super::plan::{BASE, RANDOM};
use super::super::results::{Results, Scored};
use super::tables::{NOTHING, Values, markdown, millions, of_task, of_tasks, of_text};

/// The title, and how to read the document.
pub(super) fn head(stem: &str) -> String {
    format!(
        "# The paper's ablations in small\n\n\
         <!-- Written by `cargo run -p albert-cli --example ablations -- --output DIR --report-only \
         --document {stem}.md`: all but what stands between the marks of a reading is written \
         again. -->\n\n\
         Tables 3, 4, 5, 11 and 12 of the ALBERT paper (Lan et al. 2020, arXiv 1909.11942) around a \
         model that is much smaller and has seen far less text: one thing is changed at a time, \
         every model sees the same number of tokens, and all are fine-tuned alike. Levels cannot be \
         compared with the paper's, so the differences from the base model (in bold) stand beside \
         the paper's differences from the same row. The columns:\n\n\
         - *masked words*, *sentence order*, *next sentence*: percent right on held-out text.\n\
         - *SST-2*, *MRPC*, *RTE*: accuracy on the development data after the last step of \
         fine-tuning, in percent; *mean*: of the three. The paper's average is over SQuAD 1.1 and \
         2.0, MNLI, SST-2 and RACE.\n\
         - ±: after a score the standard deviation over seeds, after a difference its standard \
         error. Where models were pre-trained with one seed, neither contains what another seed of \
         pre-training would change.\n\n"
    )
}

/// What was run.
pub(super) fn what(results: &Results, base: &ModelConfig) -> Result<String> {
    let Some(experiment) = results.experiment() else {
        return Ok("Nothing has been run yet.\n\n".to_owned());
    };
    let commands = results.commands().join("\n");
    let mut text = format!("```text\n{commands}\n```\n\n");
    text += &base_model(experiment, base);
    text += &pretraining(experiment)?;
    text += &finetuning(experiment)?;
    text += &throughput(results);
    text += &floor(results);
    Ok(text)
}

fn base_model(experiment: &Experiment, base: &ModelConfig) -> String {
    let (data, held) = (&experiment.data, &experiment.eval_data);
    format!(
        "The base model: {} layers of {} that share everything, {} heads, feed-forward {}, \
         embeddings of {}, vocabulary {}, initial weights of standard deviation {}, dropout {}; \
         masked words and sentence order. Trained on {} ({} tokens), scored on {} ({} tokens).\n\n",
        base.num_hidden_layers,
        base.hidden_size,
        base.num_attention_heads,
        base.intermediate_size,
        base.embedding_size,
        base.vocab_size,
        base.initializer_range,
        base.hidden_dropout_prob,
        data.name,
        data.tokens,
        held.name,
        held.tokens
    )
}

fn pretraining(experiment: &Experiment) -> Result<String> {
    let base = experiment.base()?.hidden_size;
    let mut rule = format!(
        "{} at width {base}, at other widths in inverse proportion",
        experiment.learning_rate
    );
    for (width, rate) in &experiment.learning_rates {
        rule += &format!("; {rate} at width {width}");
    }
    Ok(format!(
        "Pre-training: at most {} tokens each, in {} steps, all models alike but for what their \
         table varies. Learning rate: {rule}. Models are scored on {} held-out examples. The \
         recipe:\n\n```toml\n{}```\n\n",
        experiment.tokens,
        experiment.steps()?,
        experiment.eval_examples,
        toml::to_string(&experiment.recipe)?
    ))
}

fn finetuning(experiment: &Experiment) -> Result<String> {
    let mut text =
        "Fine-tuning, with learning rates at the base model's width, at other widths in \
                    inverse proportion"
            .to_owned();
    if let Some(count) = experiment.sst_examples {
        text += &format!("; of SST-2's training data {count} examples");
    }
    text += ":\n\n```toml\n";
    let recipe = |(task, recipe): (&String, &toml::Table)| {
        Ok(format!("[{task}]\n{}", toml::to_string(recipe)?))
    };
    text += &experiment.finetune.iter().map(recipe).collect::<Result<Vec<_>>>()?.join("\n");
    Ok(text + "```\n\n")
}

/// The machines, and how fast they were.
fn throughput(results: &Results) -> String {
    let trained = results.pretrained().filter(|line| line.run != RANDOM);
    let machines: BTreeSet<&str> = trained.map(|line| line.machine.as_str()).collect();
    if machines.is_empty() {
        return String::new();
    }
    let machines: Vec<&str> = machines.into_iter().collect();
    format!(
        "Computed with {}. The tokens per second below are medians, of a machine that had other \
         work at the same time: they say what was run, not how fast it is.\n\n",
        machines.join("; ")
    )
}

/// The base model beside its initial weights, and beside knowing nothing but the labels.
fn floor(results: &Results) -> String {
    let rows = [
        ("base model", Some(BASE)),
        ("its initial weights, fine-tuned alike", Some(RANDOM)),
        ("always the commonest label", None),
    ];
    let mut columns = vec![("model".to_owned(), rows.map(|(label, _)| label.to_owned()).to_vec())];
    let mut add = |title: String, cell: &dyn Fn(Option<&str>) -> Values| {
        columns.push((title, rows.iter().map(|(_, run)| cell(*run).percent()).collect()));
    };
    let text = |run: Option<&str>, value: fn(&Scored) -> Option<f64>| {
        run.map(|run| of_text(results, run, "order", value)).unwrap_or_default()
    };
    add("masked words".into(), &|run| text(run, |line| line.mlm_accuracy));
    add("sentence order".into(), &|run| text(run, |line| line.sentence_accuracy));
    for (task, _) in TASKS {
        add(task.name().to_uppercase(), &|run| match run {
            Some(run) => of_task(results, run, task),
            None => Values(commonest(results, task).into_iter().collect()),
        });
    }
    add("mean".into(), &|run| match run {
        Some(run) => of_tasks(results, run),
        None => {
            let shares: Option<Vec<f64>> =
                TASKS.iter().map(|(task, _)| commonest(results, *task)).collect();
            Values(Values(shares.unwrap_or_default()).mean().into_iter().collect())
        }
    });
    format!("What fine-tuning does without pre-training:\n\n{}\n", markdown(&columns, &[false; 3]))
}

/// The share of the commonest label in the development data of a task.
fn commonest(results: &Results, task: Task) -> Option<f64> {
    results.finetuned().find(|line| line.task == task.name()).map(|line| line.commonest_label)
}

/// Every run of pre-training, and what diverged.
pub(super) fn every(results: &Results) -> String {
    let runs: Vec<_> = results.pretrained().filter(|line| line.run != RANDOM).collect();
    let mut columns = Vec::new();
    let mut add = |title: &str, cell: &dyn Fn(usize) -> String| {
        columns.push((title.to_owned(), (0..runs.len()).map(cell).collect::<Vec<String>>()));
    };
    add("run", &|at| runs[at].run.clone());
    add("seed", &|at| runs[at].seed.to_string());
    add("parameters", &|at| millions(runs[at].parameters));
    add("learning rate", &|at| runs[at].learning_rate.to_string());
    add("steps", &|at| runs[at].steps.to_string());
    add("tokens", &|at| runs[at].tokens.to_string());
    add("last held-out loss", &|at| {
        let loss = runs[at].curve.last().and_then(|point| point.mlm_loss);
        loss.map_or_else(|| NOTHING.to_owned(), |loss| format!("{loss:.3}"))
    });
    add("tokens/s", &|at| {
        runs[at].tokens_per_second.map_or_else(|| NOTHING.to_owned(), |speed| format!("{speed:.0}"))
    });
    add("minutes", &|at| format!("{:.1}", runs[at].seconds / 60.0));
    let mut text = markdown(&columns, &vec![false; runs.len()]);
    for line in results.diverged() {
        let what = match &line.finetuning {
            Some((task, seed)) => format!("fine-tuning for {task}, seed {seed}"),
            None => "pre-training".to_owned(),
        };
        text += &format!("\n{} of {}, seed {}: {}.\n", what, line.run, line.seed, line.message);
    }
    text
}
