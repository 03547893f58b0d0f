//! What a run was told, what it read, what it took and what it ran on.

use albert::backend::{Cpu, Precision};
use albert::finetune::{Reading, StepMetrics};

use super::Report;
use super::html::Html;

/// More labels than this are folded.
const FEW_LABELS: usize = 20;

/// What a model computes with, for people.
pub(super) fn machine(backend: &Cpu, precision: Precision) -> String {
    let told = backend.describe(precision);
    match processor() {
        Some(name) => format!("{told}; {name}"),
        None => format!("{told}; {}", std::env::consts::ARCH),
    }
}

/// The name of the processor, where the system tells it in a file.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

pub(super) fn write(html: &mut Html, report: &Report) {
    html.element("h2", "", "The run");
    write_plain(html, &run(report));
    html.element("h2", "", "Training data");
    match &report.reading {
        Ok(reading) => write_reading(html, reading),
        Err(why) => html.element("p", "", format!("It cannot be counted any more: {why}")),
    }
    html.element("h2", "", "Settings");
    html.element("p", "faint", "as resolved, with the keys of config.toml");
    write_plain(html, &settings(report));
}

/// A table of names and what they are.
fn write_plain(html: &mut Html, rows: &[(String, String)]) {
    html.within("div", "wide", |html| {
        html.within("table", "plain", |html| {
            for (name, value) in rows {
                html.within("tr", "", |html| {
                    html.element("td", "", name);
                    html.element("td", "", value);
                });
            }
        });
    });
    html.raw("\n");
}

fn run(report: &Report) -> Vec<(String, String)> {
    let row = |name: &str, value: String| (name.to_owned(), value);
    let mut rows = vec![
        row("directory", report.directory.display().to_string()),
        row("began with", report.settings.model.display().to_string()),
        row("scored", report.model.display().to_string()),
    ];
    for file in &report.files {
        rows.push(row("on", file.path.display().to_string()));
    }
    rows.push(row("with", report.machine.clone()));
    let last = report.steps.last();
    let seconds = report.evaluations.last().map(|line| line.elapsed_seconds);
    if let Some(last) = last {
        let (step, epoch, tokens) = (last.step, last.epoch, last.tokens);
        rows.push(row("trained", format!("{step} steps, {epoch:.2} epochs, {tokens} tokens")));
        let seconds = seconds.unwrap_or_default().max(last.elapsed_seconds);
        rows.push(row("time", format!("{}, with its evaluations", duration(seconds))));
    }
    if let Some(rate) = tokens_per_second(&report.steps) {
        rows.push(row("speed", format!("{rate:.0} tokens per second of training")));
    }
    rows
}

/// The mean over the whole run, without evaluations.
fn tokens_per_second(steps: &[StepMetrics]) -> Option<f64> {
    let (mut tokens, mut seconds, mut before) = (0.0, 0.0, 0);
    for line in steps {
        let since = line.tokens.saturating_sub(before) as f64;
        if line.tokens_per_second > 0.0 {
            tokens += since;
            seconds += since / line.tokens_per_second;
        }
        before = line.tokens;
    }
    (seconds > 0.0).then(|| tokens / seconds)
}

fn duration(seconds: f64) -> String {
    let all = seconds.round() as u64;
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {seconds} s"),
        _ => format!("{hours} h {minutes} min"),
    }
}

fn write_reading(html: &mut Html, reading: &Reading) {
    let rows = [
        ("examples", reading.examples),
        ("with as many tokens as may be; what was longer is cut", reading.full),
        ("rows that are broken as distributed, and left out", reading.skipped),
        ("questions whose answer no token is part of, and left out", reading.lost),
    ];
    let rows = rows.into_iter().enumerate().filter(|(at, (_, count))| *at == 0 || *count > 0);
    let rows = rows.map(|(_, (name, count))| (name.to_owned(), count.to_string()));
    write_plain(html, &rows.collect::<Vec<_>>());
    if reading.labels.is_empty() {
        return;
    }
    let label = |(name, count): &(String, u64)| vec![name.clone(), count.to_string()];
    let labels: Vec<Vec<String>> = reading.labels.iter().map(label).collect();
    let table = |html: &mut Html| html.table(&["label", "how often"], &labels);
    if labels.len() > FEW_LABELS {
        html.folded(&format!("{} labels", labels.len()), table);
    } else {
        table(html);
    }
}

fn settings(report: &Report) -> Vec<(String, String)> {
    // They were read from such a table.
    let table = toml::Table::try_from(&report.settings).unwrap_or_default();
    let shown = |(key, value): (String, toml::Value)| {
        let value = match value {
            toml::Value::String(text) => text,
            other => other.to_string(),
        };
        (key, value)
    };
    table.into_iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_readable() {
        for (seconds, text) in
            [(3.4, "3 s"), (59.6, "1 min 0 s"), (754.0, "12 min 34 s"), (7_321.0, "2 h 2 min")]
        {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn speed_is_the_mean_over_time() {
        let line = |tokens, tokens_per_second| StepMetrics {
            step: 1,
            epoch: 0.0,
            tokens,
            loss: Some(1.0),
            learning_rate: 0.1,
            grad_norm: 1.0,
            tokens_per_second,
            examples_per_second: 1.0,
            elapsed_seconds: 1.0,
        };
        // 10 seconds, then 30.
        assert_eq!(tokens_per_second(&[line(1000, 100.0), line(4000, 100.0)]), Some(100.0));
        assert_eq!(tokens_per_second(&[line(1000, 100.0), line(2000, 100.0 / 3.0)]), Some(50.0));
        assert_eq!(tokens_per_second(&[]), None);
    }

    #[test]
    fn what_was_read_is_escaped_and_counted() {
        let reading = Reading {
            examples: 7,
            skipped: 2,
            labels: vec![("<b>".to_owned(), 4), ("\"x\"".to_owned(), 3)],
            ..Reading::default()
        };
        let mut html = Html::default();
        write_reading(&mut html, &reading);
        let html = html.as_str();
        for part in
            ["<td>examples</td><td>7</td>", "left out</td><td>2</td>", "&lt;b&gt;</td><td>4"]
        {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(!html.contains("is cut") && !html.contains("<b>"), "{html}");
    }
}
