//! What scores are made of: classes and their confusion, types of entities, schools, shares of
//! answers.

use albert::evaluate::{Details, Evaluation};
use albert::scores::{ClassScores, Confusion, EntityScores, RaceScores, Squad2, SquadShare};

use super::html::{Html, percent, score};

/// More classes than this are no matrix that anybody reads.
const MATRIX_MAX: usize = 20;
/// Pairs of classes, where there are more.
const PAIRS: usize = 30;

/// Writes what there is of an evaluation.
pub(super) fn write(html: &mut Html, evaluation: &Evaluation) {
    match &evaluation.details {
        Details::None => {}
        Details::Classes { confusion, classes } => {
            write_classes(html, "Classes", classes);
            write_confusion(html, confusion, classes);
        }
        Details::Labels(labels) => write_classes(html, "Labels", labels),
        Details::Choices(scores) => write_schools(html, scores),
        Details::Answers(scores) => {
            html.element("h3", "", "Answers");
            let row = vec![
                scores.total.to_string(),
                format!("{:.2} %", scores.f1),
                format!("{:.2} %", scores.exact),
            ];
            html.table(&["questions", "F1", "exact"], &[row]);
        }
        Details::AnswersOrNone(scores) => write_shares(html, scores),
        Details::Entities(all, kinds) => write_entities(html, all, kinds),
    }
}

/// Folds what is long.
fn folded_if(html: &mut Html, long: bool, summary: &str, fill: impl FnOnce(&mut Html)) {
    if long {
        html.folded(summary, fill);
    } else {
        fill(html);
    }
}

fn write_classes(html: &mut Html, title: &str, classes: &[(String, ClassScores)]) {
    html.element("h3", "", title);
    let row = |(name, of): &(String, ClassScores)| {
        let numbers = [of.precision, of.recall, of.f1].map(|value| score(Some(value)));
        [vec![name.clone()], numbers.to_vec(), vec![of.support.to_string()]].concat()
    };
    let rows: Vec<Vec<String>> = classes.iter().map(row).collect();
    let summary = format!("all {} of them", rows.len());
    folded_if(html, rows.len() > MATRIX_MAX, &summary, |html| {
        html.table(&["", "precision", "recall", "F1", "examples"], &rows);
    });
}

fn write_confusion(html: &mut Html, confusion: &Confusion, classes: &[(String, ClassScores)]) {
    html.element("h3", "", "Confusion");
    let names: Vec<&str> = classes.iter().map(|(name, _)| name.as_str()).collect();
    if names.len() > MATRIX_MAX {
        write_confused(html, confusion, &names);
    } else {
        write_matrix(html, confusion, &names);
    }
}

/// The examples of a class, by what was predicted for them.
fn examples_of(confusion: &Confusion, gold: usize) -> u64 {
    (0..confusion.classes()).map(|predicted| confusion.count(gold, predicted)).sum()
}

fn write_matrix(html: &mut Html, confusion: &Confusion, names: &[&str]) {
    let about = "a row for each right class, a column for what was predicted; the darker, the \
                 greater the share of the row";
    html.element("p", "faint", about);
    html.within("div", "wide", |html| {
        html.within("table", "confusion", |html| {
            html.within("tr", "", |html| {
                html.element("th", "", "right \\ predicted");
                names.iter().for_each(|name| html.element("th", "", name));
            });
            for (gold, name) in names.iter().enumerate() {
                let all = examples_of(confusion, gold).max(1);
                html.within("tr", "", |html| {
                    html.element("th", "", name);
                    for predicted in 0..names.len() {
                        let count = confusion.count(gold, predicted);
                        let share = format!("--share:{:.3}", count as f64 / all as f64);
                        let class = if gold == predicted { "hit" } else { "miss" };
                        html.with("td", &[("class", &class), ("style", &share)], |html| {
                            html.text(count);
                        });
                    }
                });
            }
        });
    });
    html.raw("\n");
}

/// The pairs of classes that are taken for each other most often; of equals the first.
fn confused(confusion: &Confusion) -> Vec<(u64, usize, usize)> {
    let classes = confusion.classes();
    let mut pairs: Vec<(u64, usize, usize)> = (0..classes)
        .flat_map(|gold| (0..classes).map(move |predicted| (gold, predicted)))
        .filter(|(gold, predicted)| gold != predicted)
        .map(|(gold, predicted)| (confusion.count(gold, predicted), gold, predicted))
        .filter(|(count, ..)| *count > 0)
        .collect();
    pairs.sort_by_key(|(count, gold, predicted)| (std::cmp::Reverse(*count), *gold, *predicted));
    pairs
}

fn write_confused(html: &mut Html, confusion: &Confusion, names: &[&str]) {
    let pairs = confused(confusion);
    let shown = pairs.len().min(PAIRS);
    html.element(
        "p",
        "faint",
        format!("{shown} of {} pairs of classes that were confused, the commonest", pairs.len()),
    );
    let row = |&(count, gold, predicted): &(u64, usize, usize)| {
        let share = count as f64 / examples_of(confusion, gold) as f64;
        vec![names[gold].to_owned(), names[predicted].to_owned(), count.to_string(), percent(share)]
    };
    let rows: Vec<Vec<String>> = pairs[..shown].iter().map(row).collect();
    html.table(&["right", "predicted", "examples", "of the right class"], &rows);
}

fn write_schools(html: &mut Html, scores: &RaceScores) {
    html.element("h3", "", "Schools");
    let row = |name: &str, value| vec![name.to_owned(), score(value)];
    let rows =
        [row("middle", scores.middle), row("high", scores.high), row("all", Some(scores.accuracy))];
    html.table(&["", "accuracy"], &rows);
}

fn write_shares(html: &mut Html, scores: &Squad2) {
    html.element("h3", "", "Answers");
    let row = |(name, share): (&str, SquadShare)| {
        let scores = [share.f1, share.exact].map(|percent| format!("{percent:.2} %"));
        [vec![name.to_owned(), share.total.to_string()], scores.to_vec()].concat()
    };
    let shares = [
        ("all", Some(scores.all)),
        ("that have an answer", scores.has_answer),
        ("that have none", scores.no_answer),
    ];
    let shares = shares.into_iter().filter_map(|(name, share)| Some((name, share?)));
    html.table(&["questions", "", "F1", "exact"], &shares.map(row).collect::<Vec<_>>());
    let Some(best) = scores.best else { return };
    let rows = [
        vec!["F1".to_owned(), format!("{:.2} %", best.f1), format!("{:.4}", best.f1_threshold)],
        vec![
            "exact".to_owned(),
            format!("{:.2} %", best.exact),
            format!("{:.4}", best.exact_threshold),
        ],
    ];
    html.element("p", "faint", "with the thresholds for saying nothing that are best here:");
    html.table(&["", "at best", "threshold"], &rows);
}

fn write_entities(html: &mut Html, all: &EntityScores, kinds: &[(String, EntityScores)]) {
    html.element("h3", "", "Entities");
    let row = |name: &str, of: &EntityScores| {
        let numbers = [of.precision, of.recall, of.f1].map(|value| score(Some(value)));
        [vec![name.to_owned()], numbers.to_vec(), vec![of.support.to_string()]].concat()
    };
    let kinds = kinds.iter().map(|(name, of)| row(name, of));
    let rows: Vec<Vec<String>> = kinds.chain([row("all", all)]).collect();
    html.table(&["", "precision", "recall", "F1", "entities"], &rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Class `i` of three is predicted as these counts say.
    fn confusion(counts: [[usize; 3]; 3]) -> Confusion {
        let (mut gold, mut predicted) = (Vec::new(), Vec::new());
        for (row, counts) in counts.into_iter().enumerate() {
            for (column, count) in counts.into_iter().enumerate() {
                gold.extend(std::iter::repeat_n(row, count));
                predicted.extend(std::iter::repeat_n(column, count));
            }
        }
        Confusion::new(3, &gold, &predicted).unwrap()
    }

    #[test]
    fn the_matrix_has_all_counts_and_their_shares() {
        let mut html = Html::default();
        write_matrix(&mut html, &confusion([[3, 1, 0], [0, 5, 0], [0, 0, 0]]), &["<a>", "b", "c"]);
        let html = html.as_str();
        assert_eq!(html.matches("<td").count(), 9);
        for cell in [
            "class=\"hit\" style=\"--share:0.750\">3<",
            "class=\"miss\" style=\"--share:0.250\">1<",
            "class=\"hit\" style=\"--share:1.000\">5<",
            "<th>&lt;a&gt;</th>",
        ] {
            assert!(html.contains(cell), "{cell} in {html}");
        }
        assert!(!html.contains("NaN"));
    }

    #[test]
    fn the_most_confused_come_first() {
        let confusion = confusion([[3, 1, 2], [2, 5, 0], [0, 0, 9]]);
        assert_eq!(confused(&confusion), [(2, 0, 2), (2, 1, 0), (1, 0, 1)]);
        let mut html = Html::default();
        write_confused(&mut html, &confusion, &["a", "<b>", "c"]);
        let html = html.as_str();
        assert!(html.contains("3 of 3 pairs"), "{html}");
        assert!(html.contains("<td>&lt;b&gt;</td><td>a</td><td>2</td><td>28.6 %</td>"), "{html}");
    }

    #[test]
    fn shares_of_answers_have_their_thresholds() {
        let share = |exact| SquadShare { exact, f1: 60.0, total: 8 };
        let best = albert::scores::BestThresholds {
            exact: 70.0,
            exact_threshold: -1.5,
            f1: 75.0,
            f1_threshold: 2.25,
        };
        let scores = Squad2 {
            all: share(50.0),
            has_answer: Some(share(40.0)),
            no_answer: None,
            best: Some(best),
        };
        let mut html = Html::default();
        write_shares(&mut html, &scores);
        for part in ["40.00 %", "that have an answer", "-1.5000", "2.2500", "75.00 %"] {
            assert!(html.as_str().contains(part), "{part} in {}", html.as_str());
        }
        assert!(!html.as_str().contains("that have none"));
    }

    #[test]
    fn schools_and_entities_have_their_rows() {
        let mut html = Html::default();
        let scores = RaceScores { accuracy: 0.5, middle: None, high: Some(0.25) };
        write_schools(&mut html, &scores);
        let of = |support| EntityScores { precision: 0.5, recall: 0.25, f1: 1.0 / 3.0, support };
        write_entities(&mut html, &of(9), &[("<PER>".to_owned(), of(4))]);
        for row in [
            "<td>middle</td><td>–</td>",
            "<td>high</td><td>0.2500</td>",
            "<td>all</td><td>0.5000</td></tr>",
            "<td>&lt;PER&gt;</td><td>0.5000</td><td>0.2500</td><td>0.3333</td><td>4</td>",
            "<td>all</td><td>0.5000</td><td>0.2500</td><td>0.3333</td><td>9</td>",
        ] {
            assert!(html.as_str().contains(row), "{row} in {}", html.as_str());
        }
    }

    #[test]
    fn many_classes_are_folded() {
        let class = |at: usize| {
            let scores = ClassScores { precision: 1.0, recall: 1.0, f1: 1.0, support: 2 };
            (format!("class {at}"), scores)
        };
        for (count, folded) in [(MATRIX_MAX, false), (MATRIX_MAX + 1, true)] {
            let mut html = Html::default();
            write_classes(&mut html, "Classes", &(0..count).map(class).collect::<Vec<_>>());
            assert_eq!(html.as_str().contains("<details>"), folded, "{count}");
            assert_eq!(html.as_str().matches("<td>class ").count(), count);
        }
    }
}
