//! What a task is: its name, its kind, its labels, its files and what it is judged by.

use crate::config::{Head, Problem};
use crate::error::{Error, Result};

/// A task to fine-tune for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// GLUE: is a sentence good English?
    Cola,
    /// GLUE: does the writer like the film?
    Sst2,
    /// GLUE: do two sentences say the same?
    Mrpc,
    /// GLUE: how alike are two sentences, from 0 to 5?
    StsB,
    /// GLUE: do two questions ask the same?
    Qqp,
    /// GLUE: does the second sentence follow from the first?
    Mnli,
    /// GLUE: does the sentence answer the question?
    Qnli,
    /// GLUE: does the second text follow from the first?
    Rte,
    /// GLUE: does the sentence with the pronoun replaced follow?
    Wnli,
    /// GLUE: hand-written pairs, on which a model of MNLI is only examined.
    Ax,
    /// SQuAD 1.1 and XQuAD: which part of the text answers the question?
    Squad1,
    /// SQuAD 2.0: the same, or nothing in it.
    Squad2,
    /// RACE: which of the options is right?
    Race,
    /// Entities in sentences, in the columns of CoNLL.
    Ner,
    /// A user's texts, each with one label.
    Classify,
    /// A user's pairs of texts, each with one label.
    PairClassify,
    /// A user's texts, each with any number of labels.
    MultiLabel,
    /// A user's texts or pairs, each with a number.
    Regress,
}

/// What the answer to a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One label.
    Label,
    /// Any number of labels.
    Labels,
    /// A number.
    Number,
    /// One of several options.
    Choice,
    /// A part of the text.
    Answer {
        /// Whether there may be none.
        unanswerable: bool,
    },
    /// A tag for each word.
    Tags,
}

/// A number that a task is judged by. All are better when higher, but for the squared error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Score {
    /// The share of right predictions.
    Accuracy,
    /// F1 of class 1.
    F1,
    /// The mean F1 of the classes.
    MacroF1,
    /// F1 over all labels together.
    MicroF1,
    /// The correlation of Matthews.
    Matthews,
    /// The correlation of Pearson.
    Pearson,
    /// The correlation of Spearman.
    Spearman,
    /// The mean squared error.
    MeanSquaredError,
    /// Answers that are the same, in percent.
    Exact,
    /// F1 of the words of answers, in percent.
    AnswerF1,
    /// The same with the best threshold for saying nothing.
    BestExact,
    /// The same with the best threshold for saying nothing.
    BestF1,
    /// The accuracy on RACE's questions for middle school.
    Middle,
    /// The accuracy on RACE's questions for high school.
    High,
    /// The share of predicted entities that are right.
    EntityPrecision,
    /// The share of entities that were found.
    EntityRecall,
    /// Their harmonic mean.
    EntityF1,
}

impl Score {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::F1 | Self::AnswerF1 => "f1",
            Self::MacroF1 => "macro_f1",
            Self::MicroF1 => "micro_f1",
            Self::Matthews => "matthews",
            Self::Pearson => "pearson",
            Self::Spearman => "spearman",
            Self::MeanSquaredError => "mean_squared_error",
            Self::Exact => "exact",
            Self::BestExact => "best_exact",
            Self::BestF1 => "best_f1",
            Self::Middle => "middle_accuracy",
            Self::High => "high_accuracy",
            Self::EntityPrecision => "entity_precision",
            Self::EntityRecall => "entity_recall",
            Self::EntityF1 => "entity_f1",
        }
    }
}

/// A part of a task's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// To choose by.
    Dev,
    /// To be judged on by others.
    Test,
}

impl Task {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Cola,
        Self::Sst2,
        Self::Mrpc,
        Self::StsB,
        Self::Qqp,
        Self::Mnli,
        Self::Qnli,
        Self::Rte,
        Self::Wnli,
        Self::Ax,
        Self::Squad1,
        Self::Squad2,
        Self::Race,
        Self::Ner,
        Self::Classify,
        Self::PairClassify,
        Self::MultiLabel,
        Self::Regress,
    ];

    /// What users call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cola => "cola",
            Self::Sst2 => "sst-2",
            Self::Mrpc => "mrpc",
            Self::StsB => "sts-b",
            Self::Qqp => "qqp",
            Self::Mnli => "mnli",
            Self::Qnli => "qnli",
            Self::Rte => "rte",
            Self::Wnli => "wnli",
            Self::Ax => "ax",
            Self::Squad1 => "squad1",
            Self::Squad2 => "squad2",
            Self::Race => "race",
            Self::Ner => "ner",
            Self::Classify => "classify",
            Self::PairClassify => "pair-classify",
            Self::MultiLabel => "multi-label",
            Self::Regress => "regress",
        }
    }

    /// The task of a name.
    ///
    /// # Errors
    /// No such task; the message lists them.
    pub fn parse(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|task| task.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::config(format!("there is no task {name:?}; the tasks are: {names}"))
        })
    }

    /// What its answer is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::StsB | Self::Regress => Kind::Number,
            Self::MultiLabel => Kind::Labels,
            Self::Squad1 => Kind::Answer { unanswerable: false },
            Self::Squad2 => Kind::Answer { unanswerable: true },
            Self::Race => Kind::Choice,
            Self::Ner => Kind::Tags,
            _ => Kind::Label,
        }
    }

    /// Whether its texts come from a user's table.
    #[must_use]
    pub fn is_users(self) -> bool {
        matches!(self, Self::Classify | Self::PairClassify | Self::MultiLabel | Self::Regress)
    }

    /// Its labels in the order of the reference (`classifier_utils.py`), by the names that the
    /// models of `transformers` give them, if they are its own and not found in the training data.
    #[must_use]
    pub fn labels(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Mnli | Self::Ax => Some(&["contradiction", "entailment", "neutral"]),
            Self::Qnli | Self::Rte => Some(&["entailment", "not_entailment"]),
            Self::Cola => Some(&["unacceptable", "acceptable"]),
            Self::Sst2 => Some(&["negative", "positive"]),
            Self::Mrpc => Some(&["not_equivalent", "equivalent"]),
            Self::Qqp => Some(&["not_duplicate", "duplicate"]),
            Self::Wnli => Some(&["not_entailment", "entailment"]),
            _ => None,
        }
    }

    /// The same as its files write them, in the same order.
    #[must_use]
    pub fn written_labels(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Cola | Self::Sst2 | Self::Mrpc | Self::Qqp | Self::Wnli => Some(&["0", "1"]),
            _ => self.labels(),
        }
    }

    /// The head that learns it, with these labels. For SQuAD 2.0 that of the reference, start and
    /// end jointly; [`Head::QuestionAnswering`] learns it too, with the first token for "none".
    #[must_use]
    pub fn head(self, labels: Vec<String>) -> Head {
        let sequence = |labels, problem| Head::SequenceClassification { labels, problem };
        match self.kind() {
            Kind::Label => sequence(labels, Problem::SingleLabel),
            Kind::Labels => sequence(labels, Problem::MultiLabel),
            Kind::Number => Head::sequence_classification(1, Problem::Regression),
            Kind::Choice => Head::MultipleChoice,
            Kind::Answer { unanswerable: false } => Head::QuestionAnswering,
            Kind::Answer { unanswerable: true } => Head::JointQuestionAnswering,
            Kind::Tags => Head::TokenClassification { labels },
        }
    }

    /// What it is judged by; the first picks the best model. GLUE's are those of its leaderboard;
    /// the reference picks by the same, and by accuracy where there are two.
    #[must_use]
    pub fn scores(self) -> &'static [Score] {
        match self {
            Self::Cola => &[Score::Matthews, Score::Accuracy],
            Self::Mrpc | Self::Qqp => &[Score::Accuracy, Score::F1],
            Self::Ax => &[Score::Matthews, Score::Accuracy],
            Self::StsB | Self::Regress => {
                &[Score::Pearson, Score::Spearman, Score::MeanSquaredError]
            }
            Self::Squad1 => &[Score::AnswerF1, Score::Exact],
            Self::Squad2 => &[Score::BestF1, Score::BestExact, Score::AnswerF1, Score::Exact],
            Self::Race => &[Score::Accuracy, Score::Middle, Score::High],
            Self::Ner => &[Score::EntityF1, Score::EntityPrecision, Score::EntityRecall],
            Self::Classify | Self::PairClassify => &[Score::Accuracy, Score::MacroF1],
            Self::MultiLabel => &[Score::MicroF1, Score::MacroF1, Score::Accuracy],
            Self::Sst2 | Self::Mnli | Self::Qnli | Self::Rte | Self::Wnli => &[Score::Accuracy],
        }
    }

    /// What picks the best model.
    #[must_use]
    pub fn best_by(self) -> Score {
        self.scores()[0]
    }

    /// The files of a part, below the directory they are distributed in; none where they have no
    /// fixed names. MNLI's matched part comes before the mismatched one.
    #[must_use]
    pub fn files(self, split: Split) -> &'static [&'static str] {
        macro_rules! glue {
            ($directory:literal) => {
                match split {
                    Split::Train => &[concat!($directory, "/train.tsv")],
                    Split::Dev => &[concat!($directory, "/dev.tsv")],
                    Split::Test => &[concat!($directory, "/test.tsv")],
                }
            };
        }
        match (self, split) {
            (Self::Mnli, Split::Dev) => &["MNLI/dev_matched.tsv", "MNLI/dev_mismatched.tsv"],
            (Self::Mnli, Split::Test) => &["MNLI/test_matched.tsv", "MNLI/test_mismatched.tsv"],
            (Self::Mnli, _) => &["MNLI/train.tsv"],
            (Self::Ax, Split::Test) => &["diagnostic/diagnostic.tsv"],
            (Self::Cola, _) => glue!("CoLA"),
            (Self::Sst2, _) => glue!("SST-2"),
            (Self::Mrpc, _) => glue!("MRPC"),
            (Self::StsB, _) => glue!("STS-B"),
            (Self::Qqp, _) => glue!("QQP"),
            (Self::Qnli, _) => glue!("QNLI"),
            (Self::Rte, _) => glue!("RTE"),
            (Self::Wnli, _) => glue!("WNLI"),
            (Self::Squad1, Split::Train) => &["train-v1.1.json"],
            (Self::Squad1, Split::Dev) => &["dev-v1.1.json"],
            (Self::Squad2, Split::Train) => &["train-v2.0.json"],
            (Self::Squad2, Split::Dev) => &["dev-v2.0.json"],
            (Self::Race, Split::Train) => &["RACE/train"],
            (Self::Race, Split::Dev) => &["RACE/dev"],
            (Self::Race, Split::Test) => &["RACE/test"],
            _ => &[],
        }
    }

    /// What GLUE wants a file of predictions for [`files`](Self::files) of [`Split::Test`] to be
    /// called, in the same order.
    #[must_use]
    pub fn submissions(self) -> &'static [&'static str] {
        match self {
            Self::Cola => &["CoLA.tsv"],
            Self::Sst2 => &["SST-2.tsv"],
            Self::Mrpc => &["MRPC.tsv"],
            Self::StsB => &["STS-B.tsv"],
            Self::Qqp => &["QQP.tsv"],
            Self::Mnli => &["MNLI-m.tsv", "MNLI-mm.tsv"],
            Self::Qnli => &["QNLI.tsv"],
            Self::Rte => &["RTE.tsv"],
            Self::Wnli => &["WNLI.tsv"],
            Self::Ax => &["AX.tsv"],
            _ => &[],
        }
    }
}
