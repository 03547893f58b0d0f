//! The report of several runs that differ in nothing but their seeds.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use albert::files::write_atomically;
use anyhow::Result;

use super::html::{Html, score};
use super::{FILE, name_of};

/// All that is told of several runs.
pub(crate) struct Runs {
    /// The seed of each run, the name of its directory, and the step whose scores are told.
    pub(crate) seeds: Vec<(u64, String, Option<u64>)>,
    pub(crate) rows: Vec<Row>,
}

/// One score on one file.
pub(crate) struct Row {
    pub(crate) file: String,
    pub(crate) name: String,
    pub(crate) median: Option<f64>,
    pub(crate) least: Option<f64>,
    pub(crate) greatest: Option<f64>,
    /// Of each run.
    pub(crate) runs: Vec<Option<f64>>,
}

/// Writes the report of the runs below `directory`.
pub(crate) fn write_runs(directory: &Path, runs: &Runs) -> Result<()> {
    let title = name_of(&directory.canonicalize().unwrap_or_else(|_| directory.to_owned()));
    let page = page(&title, runs, |run| directory.join(run).join(FILE).exists());
    let path = directory.join(FILE);
    Ok(write_atomically(&path, |file| file.write_all(page.as_bytes()))?)
}

/// `has_report` says whether the run of a directory has a report that can be gone to.
fn page(title: &str, runs: &Runs, has_report: impl Fn(&str) -> bool) -> String {
    let mut html = Html::default();
    let count = runs.seeds.len();
    html.element("h1", "", format!("{title}: {count} runs"));
    html.element(
        "p",
        "faint",
        "the same but for their seeds; scores of the best checkpoint of each",
    );
    html.element("h2", "", "Scores");
    let row = |row: &Row| {
        let spread = row.greatest.zip(row.least).map(|(greatest, least)| greatest - least);
        let numbers = [row.median, row.least, row.greatest, spread].map(score);
        [vec![format!("{}, {}", row.name, row.file)], numbers.to_vec()].concat()
    };
    let rows: Vec<Vec<String>> = runs.rows.iter().map(row).collect();
    html.table(&["", "median", "least", "greatest", "spread"], &rows);
    html.element("h2", "", "Runs");
    write_seeds(&mut html, runs, has_report);
    Html::page(title, html)
}

fn write_seeds(html: &mut Html, runs: &Runs, has_report: impl Fn(&str) -> bool) {
    let mut files: BTreeMap<&str, usize> = BTreeMap::new();
    runs.rows.iter().for_each(|row| *files.entry(&row.file).or_default() += 1);
    html.wide_table(|html| {
        html.within("tr", "", |html| {
            html.raw("<th>seed</th><th>step</th>");
            for row in &runs.rows {
                let name = match files.len() {
                    1 => row.name.clone(),
                    _ => format!("{}, {}", row.name, row.file),
                };
                html.element("th", "", name);
            }
        });
        for (at, (seed, directory, step)) in runs.seeds.iter().enumerate() {
            html.within("tr", "", |html| {
                html.within("td", "", |html| {
                    if has_report(directory) {
                        let place = format!("{directory}/{FILE}");
                        html.with("a", &[("href", &place)], |html| html.text(seed));
                    } else {
                        html.text(seed);
                    }
                });
                html.element(
                    "td",
                    "",
                    step.map_or_else(|| "–".to_owned(), |step| step.to_string()),
                );
                for row in &runs.rows {
                    html.element("td", "", score(row.runs.get(at).copied().flatten()));
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_told_with_their_spread_and_links() {
        let row = Row {
            file: "<dev>.csv".to_owned(),
            name: "accuracy".to_owned(),
            median: Some(0.7),
            least: Some(0.5),
            greatest: Some(0.75),
            runs: vec![Some(0.5), Some(0.75), None],
        };
        let seeds = [(7, Some(30)), (8, Some(20)), (9, None)];
        let seeds = seeds.map(|(seed, step)| (seed, format!("seed-{seed}"), step)).to_vec();
        let page = page("r & d", &Runs { seeds, rows: vec![row] }, |run| run != "seed-9");
        for part in [
            "<h1>r &amp; d: 3 runs</h1>",
            "accuracy, &lt;dev&gt;.csv</td><td>0.7000</td><td>0.5000</td><td>0.7500</td><td>0.2500",
            "<a href=\"seed-7/report.html\">7</a></td><td>30</td><td>0.5000</td>",
            "<td>9</td><td>–</td><td>–</td>",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }
}
