//! Golden values of the originals (scikit-learn 1.9.1, SciPy 1.17.1, seqeval 1.2.2, transformers
//! 4.57), and what has no score.

use super::*;

fn assert_close(found: f64, want: f64) {
    assert!((found - want).abs() <= 1e-12 * want.abs().max(1.0), "{found} is not {want}");
}

#[test]
fn classes_score_as_in_scikit_learn() {
    let gold = [0, 1, 2, 2, 1, 0, 2, 1];
    let scores = Confusion::new(3, &gold, &[0, 2, 2, 2, 1, 0, 0, 1]).unwrap();
    assert_close(scores.accuracy(), 0.75);
    assert_close(scores.macro_f1(), 0.755_555_555_555_555_5);
    assert_close(scores.matthews(), 0.642_857_142_857_142_9);
    assert_close(scores.micro_f1(), 0.75);
    assert_eq!((scores.count(2, 0), scores.count(0, 2), scores.total()), (1, 0, 8));
    let classes = scores.per_class();
    assert_close(classes[0].precision, 2.0 / 3.0);
    assert_close(classes[1].recall, 2.0 / 3.0);
    assert_close(classes[1].f1, 0.8);
    assert_eq!(classes[2].support, 3);
    let binary = Confusion::new(2, &[0, 1, 1, 0, 1], &[0, 1, 0, 1, 1]).unwrap();
    assert_close(binary.binary_f1().unwrap(), 0.666_666_666_666_666_6);
    assert_close(binary.matthews(), 0.166_666_666_666_666_66);
}

#[test]
fn what_is_not_defined_for_classes_is_zero() {
    let constant = Confusion::new(2, &[1, 0, 1], &[1, 1, 1]).unwrap();
    assert_eq!((constant.matthews(), constant.per_class()[0].precision), (0.0, 0.0));
    let absent = Confusion::new(2, &[0, 0], &[0, 0]).unwrap();
    assert_eq!((absent.binary_f1().unwrap(), absent.matthews()), (0.0, 0.0));
    // A class that does not occur is not averaged.
    assert_eq!((absent.macro_f1(), absent.accuracy()), (1.0, 1.0));
}

#[test]
fn labels_score_as_in_scikit_learn() {
    let rows = |rows: [[u8; 3]; 3]| rows.map(|row| row.map(|x| x == 1).to_vec()).to_vec();
    let gold = rows([[1, 0, 1], [0, 0, 0], [1, 1, 0]]);
    let scores = MultiLabel::new(3, &gold, &rows([[1, 0, 0], [0, 0, 0], [1, 0, 1]])).unwrap();
    assert_close(scores.accuracy(), 1.0 / 3.0);
    assert_close(scores.micro_f1(), 0.571_428_571_428_571_4);
    assert_close(scores.macro_f1(), 1.0 / 3.0);
    assert_eq!(scores.per_label()[0].f1, 1.0);
}

#[test]
fn numbers_correlate_as_in_scipy() {
    let (gold, predicted) = ([5.0, 4.75, 0.0, 2.5, 2.5], [4.9, 3.0, 0.5, 3.0, 2.25]);
    assert_close(pearson(&gold, &predicted).unwrap().unwrap(), 0.899_671_323_135_447_7);
    assert_close(spearman(&gold, &predicted).unwrap().unwrap(), 0.921_052_631_578_947_5);
    assert_close(mean_squared_error(&gold, &predicted).unwrap(), 0.727);
    assert_eq!(pearson(&[1.0, 2.0], &[0.3, 0.1]).unwrap(), Some(-1.0));
    assert_eq!(pearson(&[1.0, 2.0, 3.0], &[0.1; 3]).unwrap(), None);
    assert_eq!(spearman(&[0.1; 3], &[1.0, 2.0, 3.0]).unwrap(), None);
    // Squares that overflow.
    assert_close(pearson(&[-5e210, 5e210, 0.0], &[-1.0, 1.0, 0.0]).unwrap().unwrap(), 1.0);
}

#[test]
fn answers_are_normalised_as_python_does() {
    for (answer, normalised) in [
        ("The  Cat's A-team, an\u{a0}e\u{301}!", "cats ateam e\u{301}"),
        // A full-width letter is another one; a combining mark ends a word.
        ("ＡＮ the\u{301} x", "ａｎ \u{301} x"),
        ("ⓐ a ⓐ", "ⓐ ⓐ"),
        ("a\u{200b}the\u{1c}b", "\u{200b} b"),
        ("ΣΑΣ İ", "σας i\u{307}"),
        ("", ""),
        ("The, a; AN.", ""),
    ] {
        assert_eq!(normalise_answer(answer), normalised, "{answer:?}");
    }
    assert!(answer_exact("The Cat", "a cat!") && !answer_exact("the cat", "cats"));
    assert_eq!((answer_f1("the", "a"), answer_f1("the", "cat")), (1.0, 0.0));
}

type Case = (&'static [&'static str], &'static str, Option<f64>);

fn with_answered<T>(cases: &[Case], of: impl FnOnce(&[Answered<'_>]) -> T) -> T {
    let gold: Vec<Vec<String>> =
        cases.iter().map(|(gold, ..)| gold.iter().map(|&text| text.to_owned()).collect()).collect();
    let questions: Vec<Answered<'_>> = cases
        .iter()
        .zip(&gold)
        .map(|(case, gold)| Answered { gold, prediction: case.1, no_answer: case.2 })
        .collect();
    of(&questions)
}

const CASES: [Case; 6] = [
    (&["The Cat"], "a cat!", Some(0.2)),
    (&["two dogs", "dogs"], "three dogs", Some(0.2)),
    (&[], "", Some(0.9)),
    (&[], "bird", Some(-0.5)),
    (&["İstanbul"], "", Some(0.9)),
    (&["the"], "", Some(0.1)),
];

#[test]
fn squad_scores_as_its_scripts_do() {
    for threshold in [Some(0.5), None] {
        let scores = with_answered(&CASES, |questions| squad2(questions, threshold)).unwrap();
        let share = |share: SquadShare| (share.exact, share.total);
        assert_eq!(share(scores.all), (50.0, 6));
        assert_eq!(share(scores.has_answer.unwrap()), (50.0, 4));
        assert_eq!(share(scores.no_answer.unwrap()), (50.0, 2));
        assert_close(scores.all.f1, 61.111_111_111_111_11);
        assert_close(scores.has_answer.unwrap().f1, 66.666_666_666_666_66);
        let best = scores.best.unwrap();
        assert_eq!((best.exact, best.exact_threshold, best.f1_threshold), (50.0, 0.2, 0.2));
        assert_close(best.f1, 61.111_111_111_111_11);
    }
    // The answer "the" has no words: F1 is 0 in the first version, and 1 in the second.
    let first = with_answered(&[CASES[0], CASES[5]], squad1).unwrap();
    assert_eq!((first.exact, first.f1, first.total), (100.0, 50.0, 2));
    let taken_back = with_answered(&CASES, |questions| squad2(questions, Some(-1.0))).unwrap();
    assert_eq!((taken_back.all.exact, taken_back.has_answer.unwrap().f1), (100.0 * 2.0 / 6.0, 0.0));
}

#[test]
fn entities_are_read_as_by_seqeval() {
    let rows = |rows: [&str; 2]| -> Vec<Vec<String>> {
        rows.iter().map(|row| row.split(' ').map(str::to_owned).collect()).collect()
    };
    let gold = rows(["B-PER I-PER O B-LOC", "I-LOC I-PER E-PER S-ORG O"]);
    let predicted = rows(["B-PER I-PER O B-PER", "I-LOC B-PER I-PER I-ORG O"]);
    let found: Vec<_> = entities(&gold[1]).into_iter().map(|e| (e.kind, e.start, e.end)).collect();
    assert_eq!(found, [("LOC", 0, 1), ("PER", 1, 3), ("ORG", 3, 4)]);
    let (all, kinds) = entity_scores(&gold, &predicted).unwrap();
    assert_close(all.precision, 0.8);
    assert_close(all.recall, 0.8);
    assert_close(all.f1, 0.8);
    assert_eq!(all.support, 5);
    let names: Vec<&str> = kinds.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["LOC", "ORG", "PER"]);
    assert_close(kinds[0].1.f1, 2.0 / 3.0);
    assert_close(kinds[2].1.precision, 2.0 / 3.0);
    // BILOU is IOBES with other letters.
    let bilou = entities(&["B-x", "L-x", "U-x", "U-x"]).len();
    assert_eq!((bilou, entities(&["B-x", "E-x", "S-x", "S-x"]).len()), (3, 3));
    let nothing = rows(["O O", "O"]);
    let (all, kinds) = entity_scores(&nothing, &nothing).unwrap();
    assert_eq!((all.f1, kinds.len()), (0.0, 0));
}

#[test]
fn race_is_scored_by_level() {
    let levels = [Some(Level::Middle), Some(Level::High), Some(Level::High), Some(Level::High)];
    let scores = race(&[0, 1, 2, 3], &[0, 1, 0, 0], &levels).unwrap();
    assert_eq!((scores.accuracy, scores.middle, scores.high), (0.5, Some(1.0), Some(1.0 / 3.0)));
    assert_eq!(race(&[0], &[0], &[None]).unwrap().middle, None);
}

#[test]
fn what_has_no_score_is_an_error() {
    let says = |error: Error, part: &str| {
        assert!(error.to_string().contains(part), "{error} does not say {part:?}");
    };
    says(Confusion::new(2, &[], &[]).unwrap_err(), "empty");
    says(Confusion::new(2, &[0], &[0, 1]).unwrap_err(), "2 predictions for 1");
    says(Confusion::new(2, &[0], &[2]).unwrap_err(), "class 2");
    says(Confusion::new(3, &[0], &[2]).unwrap().binary_f1().unwrap_err(), "macro");
    says(MultiLabel::new(2, &[vec![true]], &[vec![true]]).unwrap_err(), "1 labels");
    says(pearson(&[1.0], &[1.0]).unwrap_err(), "at least 2");
    says(spearman(&[1.0, f64::NAN], &[1.0, 2.0]).unwrap_err(), "NaN");
    says(mean_squared_error(&[], &[]).unwrap_err(), "empty");
    says(squad1(&[]).unwrap_err(), "empty");
    says(with_answered(&CASES, squad1).unwrap_err(), "question 3");
    says(with_answered(&[(&[], "", None)], |q| squad2(q, Some(1.0))).unwrap_err(), "0 of 1");
    says(with_answered(&[CASES[0], (&[], "", None)], |q| squad2(q, None)).unwrap_err(), "1 of 2");
    says(
        with_answered(&[(&[], "", Some(f64::NAN))], |q| squad2(q, None)).unwrap_err(),
        "not a number",
    );
    let (long, short) = ([vec!["O", "O"]], [vec!["O"]]);
    says(entity_scores(&long, &short).unwrap_err(), "sentence 1");
    says(entity_scores::<&str>(&[], &[]).unwrap_err(), "empty");
    says(race(&[0], &[0], &[]).unwrap_err(), "0 levels");
}
