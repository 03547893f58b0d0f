//! Options, answers and tags.

use albert::config::Head;
use albert::evaluate::{Details, EvaluationOptions, Predictions, evaluate};
use albert::predict::{Grouping, Question};
use albert::tasks::{Columns, Input, Score, Target, Task};
use albert::{AnswerOptions, Chooser, Model, QuestionAnswerer, Tagger, TooLong};
use serde_json::json;

use crate::{WORDS, asked, assert_says, close, examples, fails, model, read_all, run, squad, text};

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
