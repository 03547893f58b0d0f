//! Every task through a file in its real format, and files that are wrong.

use std::path::{Path, PathBuf};

use super::*;
use crate::config::Head;
use crate::records::Place;
use crate::scores::Level;

mod users;

/// A file of this name and text, in a directory that is removed at the end.
struct File {
    folder: tempfile::TempDir,
    path: PathBuf,
}

fn file(name: &str, text: &str) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    File { folder, path }
}

fn examples(task: Task, text: &str) -> Vec<Result<Example>> {
    let file = file("data", text);
    read(task, &file.path, &Columns::text_and_label()).unwrap().collect()
}

fn good(task: Task, text: &str) -> Vec<Example> {
    examples(task, text).into_iter().map(Result::unwrap).collect()
}

/// The first error of a file, wherever it comes.
fn error(task: Task, text: &str) -> String {
    let file = file("data", text);
    let examples = match read(task, &file.path, &Columns::text_and_label()) {
        Ok(examples) => examples,
        Err(error) => return error.to_string(),
    };
    match examples.all_with_targets(&file.path) {
        Ok(examples) => panic!("read {} examples without an error", examples.len()),
        Err(error) => error.to_string(),
    }
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

fn pair(first: &str, second: &str) -> Input {
    Input::Pair(first.to_owned(), second.to_owned())
}

fn label(name: &str) -> Option<Target> {
    Some(Target::Label(name.to_owned()))
}

#[test]
fn names_and_facts_of_tasks_hang_together() {
    for task in Task::ALL {
        assert_eq!(Task::parse(task.name()).unwrap(), task);
        assert_eq!(task.best_by(), task.scores()[0]);
        if !task.submissions().is_empty() {
            assert_eq!(task.submissions().len(), task.files(Split::Test).len(), "{}", task.name());
        }
    }
    assert_says(&Task::parse("sst2").unwrap_err().to_string(), &["\"sst2\"", "sst-2", "regress"]);
    assert_eq!(Task::Mnli.labels().unwrap(), ["contradiction", "entailment", "neutral"]);
    assert_eq!(Task::Rte.labels().unwrap(), ["entailment", "not_entailment"]);
    assert_eq!(Task::Race.head(Vec::new()), Head::MultipleChoice);
    assert_eq!(Task::Squad1.head(Vec::new()), Head::QuestionAnswering);
    assert_eq!(Task::StsB.head(Vec::new()).labels().len(), 1);
    assert_eq!(Task::Ner.head(vec!["O".to_owned()]).labels(), ["O"]);
}

#[test]
fn the_recipes_are_those_of_table_14() {
    let recipes = Task::ALL.iter().filter_map(|task| task.recipe()).collect::<Vec<_>>();
    assert_eq!(recipes.len(), 12);
    let sum: u64 = recipes.iter().map(|recipe| recipe.steps + recipe.warmup_steps).sum();
    let steps = [5336, 3598, 20935, 10000, 33112, 14000, 800, 800, 2000, 3649, 8144, 12000];
    let warmup = [320, 214, 1256, 1000, 1986, 1000, 200, 200, 250, 365, 814, 1000];
    assert_eq!(sum, steps.iter().chain(&warmup).sum::<u64>());
    let squad = Task::Squad1.recipe().unwrap();
    assert_eq!((squad.max_length, squad.batch_size, squad.learning_rate), (384, 48, 5e-5));
    assert_eq!(Task::Qqp.recipe().unwrap().dropout, 0.1);
    assert_eq!(Task::Classify.recipe(), None);
}

#[test]
fn cola_has_a_header_in_its_test_file_only() {
    let train = "gj04\t1\t\tOur friends won't buy this.\ngj04\t0\t*\tThey \"drank the pub.\n";
    let train = good(Task::Cola, train);
    assert_eq!(train[0].input, Input::Text("Our friends won't buy this.".to_owned()));
    assert_eq!(train[1].input, Input::Text("They \"drank the pub.".to_owned()));
    assert_eq!((train[0].id.as_str(), &train[1].target), ("0", &label("unacceptable")));
    let test = good(Task::Cola, "index\tsentence\n7\tBill whistled past the house.\n");
    assert_eq!((test[0].id.as_str(), &test[0].target), ("7", &None));
    let message = error(Task::Cola, "gj04\t1\tOnly three columns.\n");
    assert_says(&message, &["data, line 1", "3 fields", "4"]);
}

#[test]
fn a_pair_stands_in_the_columns_of_its_task() {
    let cases = [
        (
            Task::Mrpc,
            "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t70\t71\tHe said \" no\tNo\n",
            pair("He said \" no", "No"),
            label("equivalent"),
        ),
        (
            Task::Qqp,
            "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n9\t1\t2\tWhy?\tHow?\t0\n",
            pair("Why?", "How?"),
            label("not_duplicate"),
        ),
        (
            Task::Mnli,
            "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t\
             sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n\
             0\t31193\t31193n\tgovernment\t( a )\t( b )\t(ROOT a)\t(ROOT b)\tA cat.\tAn animal.\t\
             neutral\tentailment\n",
            pair("A cat.", "An animal."),
            label("entailment"),
        ),
        (
            Task::Qnli,
            "index\tquestion\tsentence\tlabel\n0\tWhen?\tIn 1990.\tentailment\n",
            pair("When?", "In 1990."),
            label("entailment"),
        ),
        (
            Task::Wnli,
            "index\tsentence1\tsentence2\tlabel\r\n0\tIt stuck.\tThe pin stuck.\t1\r\n",
            pair("It stuck.", "The pin stuck."),
            label("entailment"),
        ),
        (
            Task::StsB,
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n\
             0\tmain\tMSR\t2012\t1\tnone\tnone\tA plane.\tAn air plane.\t4.750\n",
            pair("A plane.", "An air plane."),
            Some(Target::Number(4.75)),
        ),
        (
            Task::Ax,
            "index\tsentence1\tsentence2\n3\tThe cat sat.\tThe cat did not sit.\n",
            pair("The cat sat.", "The cat did not sit."),
            None,
        ),
        (
            Task::Ax,
            "Lexical Semantics\tPredicate-Argument Structure\tLogic\tKnowledge\tDomain\tPremise\t\
             Hypothesis\tLabel\n\t\tNegation\t\tArtificial\tIt is.\tIt is not.\tcontradiction\n",
            pair("It is.", "It is not."),
            label("contradiction"),
        ),
    ];
    for (task, text, input, target) in cases {
        let found = good(task, text);
        assert_eq!(found.len(), 1, "{}", task.name());
        assert_eq!((&found[0].input, &found[0].target), (&input, &target), "{}", task.name());
    }
}

#[test]
fn broken_rows_of_qqp_are_left_out_and_counted() {
    let text = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t1\t2\tWhy is\n it so?\tHow?\t0\n\
                5\t1\t2\tWhy?\tHow?\t1\n";
    let file = file("train.tsv", text);
    let mut read = read(Task::Qqp, &file.path, &Columns::text_and_label()).unwrap();
    let found: Vec<Example> = read.by_ref().map(Result::unwrap).collect();
    assert_eq!((found.len(), found[0].id.as_str(), read.skipped()), (1, "5", 2));
    assert!(found[0].place == Place::Line(file.path.display().to_string().into(), 4));
    drop(file.folder);
}

#[test]
fn what_is_wrong_in_a_file_of_glue_is_said() {
    let message = error(Task::Sst2, "text\tlabel\na film\t1\n");
    assert_says(&message, &["data, line 1", "no column \"sentence\"", "text, label"]);
    let message = error(Task::Rte, "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tneutral\n");
    assert_says(
        &message,
        &["data, line 2", "\"neutral\" is unknown", "entailment, not_entailment"],
    );
    let message = error(Task::StsB, "sentence1\tsentence2\tscore\na\tb\thigh\n");
    assert_says(&message, &["line 2", "\"high\"", "a number"]);
    assert_says(&error(Task::Sst2, ""), &["data: there are no examples"]);
    assert_says(&error(Task::Sst2, "sentence\tlabel\n"), &["data: there are no examples"]);
    assert_says(&error(Task::Sst2, "index\tsentence\n0\ta film\n"), &["line 2", "no label"]);
    // After a bad row the next is read, but not after a bad header.
    let rows = examples(Task::Sst2, "sentence\tlabel\na\nb\t1\n");
    assert_eq!(rows.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true]);
    assert_eq!(examples(Task::Sst2, "text\tlabel\na\t1\nb\t1\n").len(), 1);
}

fn squad(context: &str, question: &str) -> String {
    format!(
        "{{\"version\": \"v2.0\", \"data\": [{{\"title\": \"T\", \"paragraphs\": [{{\"context\": \
         {}, \"qas\": [{question}]}}]}}]}}",
        serde_json::Value::from(context)
    )
}

#[test]
fn an_answer_is_a_part_of_its_text() {
    let answers = r#"{"id": "q1", "question": "Who?", "answers":
        [{"text": "Zoë Ü.", "answer_start": 3}, {"text": "Ü.  is", "answer_start": 7}]}"#;
    let context = "é 🎉Zoë Ü. is\nhere";
    let found = good(Task::Squad1, &squad(context, answers));
    let Some(Target::Answers(answers)) = &found[0].target else { panic!("answers") };
    assert_eq!(&context[answers[0].bytes.clone()], "Zoë Ü.");
    // White space may differ.
    assert_eq!((answers[1].text.as_str(), &context[answers[1].bytes.clone()]), ("Ü.  is", "Ü. is"));
    let nothing = r#"{"id": "q2", "question": "Who?", "answers": [], "is_impossible": true,
        "plausible_answers": [{"text": "x", "answer_start": 99}]}"#;
    let found = good(Task::Squad2, &squad("x", nothing));
    assert_eq!((found[0].id.as_str(), &found[0].target), ("q2", &Some(Target::Answers(vec![]))));
    let test = r#"{"id": "q3", "question": "Who?"}"#;
    assert_eq!(good(Task::Squad1, &squad("x", test))[0].target, None);
}

#[test]
fn what_is_wrong_in_a_file_of_squad_is_said() {
    let at = |offset: u64| {
        let answer = format!("[{{\"text\": \"cat\", \"answer_start\": {offset}}}]");
        let question = format!("{{\"id\": \"q9\", \"question\": \"?\", \"answers\": {answer}}}");
        error(Task::Squad1, &squad("a cat sat", &question))
    };
    assert_says(&at(3), &["question \"q9\"", "\"cat\"", "offset 3", "\"at \""]);
    assert_says(&at(99), &["question \"q9\"", "offset 99"]);
    let nothing = r#"{"id": "q2", "question": "Who?", "answers": [], "is_impossible": true}"#;
    assert_says(&error(Task::Squad1, &squad("x", nothing)), &["\"q2\"", "squad2"]);
    let nothing = r#"{"id": "q2", "question": "Who?", "answers": []}"#;
    assert_says(&error(Task::Squad2, &squad("x", nothing)), &["\"q2\"", "is_impossible"]);
    assert_says(&error(Task::Squad2, "[1]"), &["data: not a file of SQuAD"]);
    assert_says(&error(Task::Squad2, "{\"data\": []}"), &["no examples"]);
}

const ARTICLE: &str = r#"{"answers": ["B", "A"], "options": [["x", "y", "z", "w"], ["1", "2", "3", "4"]],
    "questions": ["It is _ .", "How many?"], "article": "Long ago.", "id": "high1.txt"}"#;

#[test]
fn race_is_read_from_its_directories() {
    let file = file("dev/high/1.txt", ARTICLE);
    let middle = file.folder.path().join("dev/middle");
    std::fs::create_dir_all(&middle).unwrap();
    let line = ARTICLE.replace('\n', " ").replace("high1", "middle1");
    std::fs::write(middle.join("all.txt"), format!("{line}\n{line}\n")).unwrap();
    std::fs::write(middle.join("1.txt"), "is in all.txt already").unwrap();
    let columns = Columns::text_and_label();
    let found: Vec<Example> = read(Task::Race, &file.folder.path().join("dev"), &columns)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let ids: Vec<&str> = found.iter().map(|example| example.id.as_str()).collect();
    assert_eq!(ids[..2], ["middle1.txt-0", "middle1.txt-1"]);
    assert_eq!(ids[4..], ["high1.txt-0", "high1.txt-1"]);
    assert_eq!(found[4].target, Some(Target::Option(1)));
    assert_eq!((found[0].level, found[4].level), (Some(Level::Middle), Some(Level::High)));
    let Input::Choice { question, options, .. } = &found[5].input else { panic!("a choice") };
    assert_eq!((question.as_str(), options[3].as_str()), ("How many?", "4"));
    // One school alone.
    let high = read(Task::Race, &file.folder.path().join("dev/high"), &columns).unwrap();
    assert_eq!(high.count(), 2);
}

#[test]
fn what_is_wrong_in_race_is_said() {
    let first = |article: &str| {
        let file = file("high/1.txt", article);
        let mut found = read(Task::Race, file.folder.path(), &Columns::text_and_label()).unwrap();
        found.find_map(Result::err).expect("an error").to_string()
    };
    assert_says(&first(&ARTICLE.replace("\"B\"", "\"E\"")), &["1.txt", "question 1", "\"E\"", "4"]);
    assert_says(&first(&ARTICLE.replace("\"B\", ", "")), &["1.txt", "2 questions", "1 answers"]);
    assert_says(&first("{}"), &["1.txt", "not an article of RACE"]);
    let empty = tempfile::tempdir().unwrap();
    let error = read(Task::Race, empty.path(), &Columns::text_and_label()).err().unwrap();
    assert_says(&error.to_string(), &["middle and high"]);
}

#[test]
fn sentences_of_conll_have_the_word_first_and_the_tag_last() {
    let text = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n\n\
                Peter NNP B-NP S-PER\n-DOCSTART- -X- -X- O\n\nHa UH U-X U-PER\n";
    let found = good(Task::Ner, text);
    let words = ["EU", "rejects"].map(str::to_owned).to_vec();
    assert_eq!(found[0].input, Input::Words(words));
    let tags = ["B-ORG", "O"].map(str::to_owned).to_vec();
    assert_eq!(found[0].target, Some(Target::Tags(tags)));
    assert_eq!((found.len(), found[2].id.as_str()), (3, "2"));
    assert_eq!(good(Task::Ner, "a\nb\n\nc")[1].target, None);
    let tabs = good(Task::Ner, "\u{feff}New York\tB-LOC\r\n.\tO\r\n\r\n");
    assert_eq!(tabs[0].input, Input::Words(vec!["New York".to_owned(), ".".to_owned()]));

    assert_says(&error(Task::Ner, "a O\nb\n"), &["data, line 2", "1 columns", "2"]);
    assert_says(
        &error(Task::Ner, "a\tO\nb\tperson\n"),
        &["data, line 2", "\"person\"", "B-person"],
    );
    assert_says(&error(Task::Ner, "\n\n"), &["no examples"]);
    let found = examples(Task::Ner, "a O\nb X\nc O\n\nd O\n");
    assert_eq!(found.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true]);
}

fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
    }
    path.exists().then_some(path)
}

#[test]
fn the_real_files_are_read_whole() {
    let cases = [
        (Task::Sst2, "glue/SST-2/train.tsv", 67_349),
        (Task::Sst2, "glue/SST-2/dev.tsv", 872),
        (Task::Mrpc, "glue/MRPC/train.tsv", 3_668),
        (Task::Mrpc, "glue/MRPC/dev.tsv", 408),
        (Task::Rte, "glue/RTE/train.tsv", 2_490),
        (Task::Rte, "glue/RTE/dev.tsv", 277),
        (Task::StsB, "glue/STS-B/train.tsv", 5_749),
        (Task::StsB, "glue/STS-B/dev.tsv", 1_500),
        (Task::Ner, "ner/wnut17/wnut17train.conll", 3_394),
        (Task::Ner, "ner/wnut17/emerging.dev.conll", 1_009),
        (Task::Ner, "ner/wnut17/emerging.test.annotated", 1_287),
        (Task::Squad1, "qa/squad1_train_subset.json", 3_547),
        (Task::Squad1, "qa/xquad_en.json", 1_190),
        (Task::Squad2, "qa/squad2_train_part.json", 3_708),
        (Task::Squad2, "qa/squad2_dev_part.json", 2_370),
    ];
    for (task, name, count) in cases {
        let Some(path) = shared(name) else { continue };
        let examples = read(task, &path, &Columns::text_and_label()).unwrap();
        let examples = examples.all_with_targets(&path).unwrap();
        assert_eq!(examples.len(), count, "{name}");
        let mut census = Census::new(task);
        examples.iter().for_each(|example| census.add(example).unwrap());
        census.check().unwrap();
    }
    for (task, name, count) in [
        (Task::Sst2, "glue/SST-2/test.tsv", 1_821),
        (Task::Mrpc, "glue/MRPC/test.tsv", 1_725),
        (Task::Rte, "glue/RTE/test.tsv", 3_000),
        (Task::StsB, "glue/STS-B/test.tsv", 1_379),
    ] {
        let Some(path) = shared(name) else { continue };
        let examples = read(task, &path, &Columns::text_and_label()).unwrap();
        let examples: Vec<Example> = examples.map(Result::unwrap).collect();
        assert_eq!(examples.len(), count, "{name}");
        assert!(examples.iter().all(|example| example.target.is_none()), "{name}");
    }
}
