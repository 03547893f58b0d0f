//! Sentences whose words have tags, scored by the entities that the tags name.

use std::collections::HashSet;

use super::run::{Run, Scored, cross_entropy, finite, misfit};
use super::{Details, Evaluation, Predictions};
use crate::error::{Error, ErrorKind, Result};
use crate::predict::{Tagger, largest};
use crate::scores::{entities, entity_scores};
use crate::tasks::{Example, Input, Score, Target};

/// The tag of a word that is no part of an entity.
const OUTSIDE: &str = "O";

/// The predicted tag of each word of a sentence, and what its gold tags cost.
struct Tagged {
    tags: Vec<u32>,
    /// Of words whose gold tag the model knows: the sum and the greatest loss, and how many.
    sum: f64,
    greatest: f64,
    counted: u64,
}

pub(super) fn tags(run: &mut Run<'_>) -> Result<Evaluation> {
    let tagger = Tagger::new(run.model)?;
    let mut names = tagger.labels().to_vec();
    if run.scored {
        check_kinds(run, &names)?;
    }
    // Of words that the tokenizer makes nothing of.
    let outside = names.iter().position(|name| name == OUTSIDE).unwrap_or(names.len());
    if outside == names.len() {
        names.push(OUTSIDE.to_owned());
    }
    let (max_length, known) = (run.encode_options().max_length, names.clone());
    let tagged = run.in_order(|examples| {
        let mut sentences: Vec<&[String]> = Vec::with_capacity(examples.len());
        for example in examples {
            let Input::Words(words) = &example.input else {
                return Err(misfit(example, "a sentence that is cut into words"));
            };
            sentences.push(words);
        }
        let logits = tagger.word_logits(&sentences, max_length)?;
        let tagged = examples.iter().zip(logits);
        tagged.map(|(example, words)| tag(example, &words, &known, outside)).collect()
    })?;
    let scored = run.scored.then(|| score(run, &tagged, &names)).transpose()?;
    let tags = tagged.into_iter().map(|sentence| sentence.tags).collect();
    Ok(run.finish(Predictions::Tags { names, tags }, scored))
}

/// Refuses entities of a type that the model has no tag of. The letter before the type may be
/// another than the model's: which letters occur depends on the sentences and the scheme.
fn check_kinds(run: &Run<'_>, names: &[String]) -> Result<()> {
    let kinds: HashSet<&str> = names.iter().map(|name| kind(name)).collect();
    for example in run.examples {
        let Some(Target::Tags(tags)) = &example.target else {
            return Err(misfit(example, "a tag for each word"));
        };
        if let Some(tag) = tags.iter().find(|tag| *tag != OUTSIDE && !kinds.contains(kind(tag))) {
            let message = format!(
                "{}: the tag {tag:?} is of a type that the model does not know; its tags are: {}",
                example.place,
                names.join(", ")
            );
            return Err(Error::new(ErrorKind::Format, message));
        }
    }
    Ok(())
}

/// What a tag is about.
fn kind(tag: &str) -> &str {
    tag.split_once('-').map_or(tag, |(_, kind)| kind)
}

/// The tags of a sentence, given the logits of each word's first token.
fn tag(
    example: &Example,
    words: &[Option<Vec<f32>>],
    names: &[String],
    outside: usize,
) -> Result<Tagged> {
    let gold = match &example.target {
        Some(Target::Tags(tags)) if tags.len() == words.len() => Some(tags),
        Some(_) => return Err(misfit(example, "a tag for each word")),
        None => None,
    };
    let mut tagged = Tagged { tags: vec![], sum: 0.0, greatest: 0.0, counted: 0 };
    for (word, logits) in words.iter().enumerate() {
        let Some(logits) = logits else {
            tagged.tags.push(outside as u32);
            continue;
        };
        finite(example, logits)?;
        tagged.tags.push(largest(logits).0 as u32);
        let gold = gold.and_then(|gold| names.iter().position(|name| *name == gold[word]));
        if let Some(gold) = gold.filter(|&gold| gold < logits.len()) {
            let loss = cross_entropy(logits, gold);
            tagged.sum += loss;
            tagged.greatest = tagged.greatest.max(loss);
            tagged.counted += 1;
        }
    }
    Ok(tagged)
}

fn score(run: &mut Run<'_>, tagged: &[Tagged], names: &[String]) -> Result<Scored> {
    let gold = run.examples.iter().map(|example| match &example.target {
        Some(Target::Tags(tags)) => tags.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    });
    let gold: Vec<Vec<&str>> = gold.collect();
    let predicted = tagged.iter().map(|sentence| {
        let tags = sentence.tags.iter().map(|&tag| names[tag as usize].as_str());
        tags.collect::<Vec<&str>>()
    });
    let (all, kinds) = entity_scores(&gold, &predicted.collect::<Vec<_>>())?;
    if gold.iter().all(|tags| entities(tags).is_empty()) {
        run.notes.push("no word of these sentences is in an entity".to_owned());
    }
    let value = |&score: &Score| {
        Some(match score {
            Score::EntityPrecision => all.precision,
            Score::EntityRecall => all.recall,
            _ => all.f1,
        })
    };
    let counted: u64 = tagged.iter().map(|sentence| sentence.counted).sum();
    let sum: f64 = tagged.iter().map(|sentence| sentence.sum).sum();
    Ok(Scored {
        values: run.task.scores().iter().map(value).collect(),
        details: Details::Entities(all, kinds),
        loss: (counted > 0).then(|| sum / counted as f64),
        mistakes: tagged.iter().map(|sentence| sentence.greatest as f32).collect(),
    })
}
