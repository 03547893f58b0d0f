//! `albert tag`

use albert::Tagger;
use albert::predict::{Entity, Grouping};
use albert::records::Record;
use albert::tokenizer::CharacterOffsets;
use anyhow::Result;
use serde_json::{Value, json};

use super::texts::TextColumn;
use crate::engine::ModelFlags;
use crate::input::{Input, arguments};
use crate::model::ENTITIES;
use crate::output::{Output, Show};
use crate::stream::{self, Job, about_tokens};

/// Find names, places, amounts: what a model of entities marks in texts
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert tag --model ner/model \"Ada Lovelace lived in London.\"
  albert tag --model ner/model --input articles.jsonl --text-column body --output entities.jsonl

Texts longer than the model are read whole, in windows that overlap. With --json, one object per text, whose
keys are the columns of CSV; start and end count characters from 0:
  {\"text\", \"entities\": [{\"label\", \"text\", \"start\", \"end\", \"score\"}]}")]
pub(crate) struct Arguments {
    /// The texts
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,

    #[command(flatten)]
    input: Input,

    #[command(flatten)]
    text_column: TextColumn,

    #[command(flatten)]
    model: ModelFlags,

    /// How tokens become entities; those of transformers have the same names
    #[arg(long, value_name = "HOW", value_enum, default_value = "first")]
    grouping: GroupingFlag,

    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum GroupingFlag {
    /// Each token by itself
    None,
    /// Neighbours with the same label, even if that cuts a word
    Simple,
    /// Words, with the label of their first token
    First,
    /// Words, with the label that is likeliest on average
    Average,
    /// Words, with the label of the token that is surest
    Max,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let grouping = match self.grouping {
            GroupingFlag::None => Grouping::None,
            GroupingFlag::Simple => Grouping::Simple,
            GroupingFlag::First => Grouping::First,
            GroupingFlag::Average => Grouping::Average,
            GroupingFlag::Max => Grouping::Max,
        };
        let column = self.text_column.column();
        let source = self.input.open_long(arguments(&self.texts, column.default), &[column])?;
        let tagger = Tagger::new(&self.model.load_or(Some(ENTITIES))?)?.grouping(grouping);
        let answers = self.output.open(Tag::FIELDS)?;
        stream::run(&Tag { tagger }, &source, self.input.on_error, answers)
    }
}

struct Tag {
    tagger: Tagger,
}

impl Job for Tag {
    type Item = String;
    type Answer = Vec<Entity>;

    fn item(&self, record: &Record, columns: &[String]) -> Result<String> {
        Ok(record.text(&columns[0])?.into_owned())
    }

    fn tokens(&self, text: &String) -> usize {
        about_tokens(text)
    }

    fn compute(&self, texts: &[String]) -> Result<Vec<Vec<Entity>>> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        Ok(self.tagger.tag(&texts)?)
    }
}

impl Show<String, Vec<Entity>> for Tag {
    const FIELDS: &'static [&'static str] = &["text", "entities"];

    fn text(&self, text: &String, entities: &Vec<Entity>) -> String {
        let line = |entity: &Entity| {
            let (score, words) = (100.0 * entity.score, &text[entity.start..entity.end]);
            format!("  {score:>6.2} %  {:<12} {words}\n", entity.label)
        };
        format!("{text}\n{}", entities.iter().map(line).collect::<String>())
    }

    fn json(&self, text: &String, entities: &Vec<Entity>) -> Value {
        let characters = CharacterOffsets::new(text);
        let entity = |entity: &Entity| {
            let range = characters.range(entity.start..entity.end);
            json!({
                "label": entity.label,
                "text": text[entity.start..entity.end],
                "start": range.start,
                "end": range.end,
                "score": entity.score,
            })
        };
        json!({"text": text, "entities": entities.iter().map(entity).collect::<Vec<_>>()})
    }
}
