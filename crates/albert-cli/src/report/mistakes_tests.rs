//! Tests of the mistakes of each kind of task.

use std::sync::Arc;

use albert::evaluate::Details;
use albert::records::Place;
use albert::tasks::{Answer, Task};

use super::*;

fn example(line: u64, input: Input, target: Target) -> Example {
    let place = Place::Line("a\"<b>.csv".into(), line);
    Example { id: line.to_string(), place, level: None, input, target: Some(target) }
}

fn text(line: u64, text: &str, target: Target) -> Example {
    example(line, Input::Text(text.to_owned()), target)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn written(task: Task, predictions: Predictions, mistakes: &[f32], examples: &[Example]) -> String {
    let evaluation = Evaluation {
        task,
        examples: examples.len(),
        metrics: Vec::new(),
        loss: None,
        predictions,
        details: Details::None,
        mistakes: mistakes.to_vec(),
        notes: Vec::new(),
    };
    let mut html = Html::default();
    write(&mut html, &evaluation, examples);
    html.as_str().to_owned()
}

fn assert_has(html: &str, parts: &[&str]) {
    for part in parts {
        assert!(html.contains(part), "{part} in {html}");
    }
}

#[test]
fn labels_that_are_wrong_come_worst_first() {
    let label = |name: &str| Target::Label(name.to_owned());
    let examples = [
        text(2, "fine", label("yes")),
        text(3, "<script>bad</script>", label("<no>")),
        text(4, "worse", label("<no>")),
    ];
    let probabilities = vec![0.25, 0.75, 0.375, 0.625, 0.0625, 0.9375];
    let predictions = Predictions::Labels { names: names(&["<no>", "yes"]), probabilities };
    let html = written(Task::Classify, predictions, &[0.288, 0.981, 2.773], &examples);
    assert_has(
        &html,
        &[
            "2 of 3 are wrong; the 2 worst, by the loss",
            "a&quot;&lt;b&gt;.csv, line 4; loss 2.773",
            "&lt;script&gt;bad&lt;/script&gt;",
            "<b class=\"right\">&lt;no&gt; (6.2 %)</b>; predicted: <b class=\"wrong\">yes (93.8 %)",
        ],
    );
    assert!(html.find("worse").unwrap() < html.find("&lt;script").unwrap());
    assert!(!html.contains("fine") && !html.contains("<script"), "{html}");
}

#[test]
fn no_more_than_thirty_are_shown() {
    let examples: Vec<Example> = (0..40).map(|line| text(line, "t", Target::Number(1.0))).collect();
    let mistakes: Vec<f32> = (0..40).map(|at| at as f32).collect();
    let html = written(Task::Regress, Predictions::Numbers(vec![0.5; 40]), &mistakes, &examples);
    assert_eq!(html.matches("<article").count(), SHOWN);
    assert_has(
        &html,
        &["39 of 40 differ", "line 39; difference 39.000", "right: <b class=\"right\">1</b>"],
    );
    assert!(!html.contains("line 9;"), "the least wrong");
}

#[test]
fn sets_of_labels_are_wrong_by_what_is_in_them() {
    let labels = |all: &[&str]| Target::Labels(names(all));
    let examples = [text(1, "one", labels(&["b", "a"])), text(2, "two", labels(&[]))];
    let predictions = Predictions::LabelSets {
        names: names(&["a", "b"]),
        probabilities: vec![0.75, 0.75, 0.25, 0.5],
        threshold: 0.5,
    };
    let html = written(Task::MultiLabel, predictions, &[0.3, 0.5], &examples);
    assert_has(
        &html,
        &["1 of 2 have a label", ">none</b>; predicted: <b class=\"wrong\">b (50.0 %)"],
    );
    assert!(!html.contains(">one<"), "{html}");
}

#[test]
fn options_show_the_right_and_the_chosen() {
    let input = Input::Choice {
        context: Arc::from("<p>"),
        question: "Who?".to_owned(),
        options: names(&["Ann", "B&B", "Cy"]),
    };
    let examples = [example(1, input, Target::Option(2))];
    let predictions = Predictions::Options(vec![vec![0.25, 0.5, 0.25]]);
    let html = written(Task::Race, predictions, &[1.386], &examples);
    assert_has(
        &html,
        &[
            "&lt;p&gt;",
            "<li>B&amp;B (50.0 %) <b class=\"wrong\">predicted</b></li>",
            "<li>Cy (25.0 %) <b class=\"right\">right</b></li>",
        ],
    );
}

#[test]
fn answers_are_marked_in_their_context() {
    let context: Arc<str> = Arc::from("Ann is in Rome & Bob is in Oslo.");
    let ask = |line, answers| {
        let question = "Where is \"Bob\"?".to_owned();
        example(line, Input::Question { context: Arc::clone(&context), question }, answers)
    };
    let oslo = Answer { text: "Oslo".to_owned(), bytes: 27..31 };
    let examples = [ask(1, Target::Answers(vec![oslo])), ask(2, Target::Answers(vec![]))];
    let answer = |text: &str, probability| PredictedAnswer {
        text: text.to_owned(),
        probability,
        null_odds: Some(-1.25),
        candidates: Vec::new(),
    };
    let predictions = Predictions::Answers(vec![answer("Rome", 0.5), answer("Bob", 0.25)]);
    let html = written(Task::Squad2, predictions, &[0.5, 0.25], &examples);
    assert_has(
        &html,
        &[
            "2 of 2 are not quite right",
            "Ann is in <mark class=\"wrong\">Rome</mark> &amp; Bob is in \
             <mark class=\"right\">Oslo</mark>.",
            "Where is &quot;Bob&quot;?",
            "right: <b class=\"right\">Oslo</b>; predicted: <b class=\"wrong\">Rome (50.0 %); odds \
             of none -1.25</b>",
            "right: <b class=\"right\">no answer</b>; predicted: <b class=\"wrong\">Bob (25.0 %)",
        ],
    );
}

#[test]
fn wrong_words_are_marked_with_both_tags() {
    let words = Input::Words(names(&["<Ann>", "met", "Bob"]));
    let gold = Target::Tags(names(&["B-PER", "O", "B-PER"]));
    let predictions =
        Predictions::Tags { names: names(&["O", "B-PER"]), tags: vec![vec![1, 0, 0]] };
    let html = written(Task::Ner, predictions, &[3.5], &[example(7, words, gold)]);
    assert_has(
        &html,
        &[
            "<mark class=\"right\">&lt;Ann&gt;<small>B-PER</small></mark> met \
             <mark class=\"wrong\">Bob<small>B-PER → O</small></mark>",
            "1 of 1 have a wrong tag",
        ],
    );
}

#[test]
fn nothing_wrong_is_nothing_to_show() {
    let examples = [text(1, "t", Target::Label("a".to_owned()))];
    let predictions = Predictions::Labels { names: names(&["a"]), probabilities: vec![1.0] };
    let html = written(Task::Classify, predictions.clone(), &[0.0], &examples);
    assert!(html.contains("0 of 1 are wrong</p>") && !html.contains("<article"), "{html}");
    assert_eq!(written(Task::Classify, predictions, &[], &examples), "");
}
