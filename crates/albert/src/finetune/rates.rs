//! How fast each tensor learns: layer-wise and head learning rates, and what is frozen.

use super::settings::Settings;
use crate::checkpoint::Parts;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::model::{Layout, Parameter};

/// The parts of a model that training for a task needs. The heads of pre-training are not among
/// them, nor is the pooler where the head reads tokens: `transformers` has neither in such models.
pub(super) fn parts(config: &ModelConfig) -> Parts {
    let pooler = config.head.as_ref().is_some_and(|head| !head.is_of_tokens());
    let exits = config.exits() > 0;
    Parts { pooler, masked_words: false, sentence_order: false, head: true, exits }
}

/// A factor of the learning rate for each tensor of `layout`, in its order; 0 for what stays.
///
/// # Errors
/// A name in `freeze` that no tensor has; nothing that learns.
pub(super) fn rates(
    settings: &Settings,
    config: &ModelConfig,
    layout: &Layout,
) -> Result<Vec<f64>> {
    let of_head = match settings.head_learning_rate {
        Some(rate) if settings.learning_rate > 0.0 => rate / settings.learning_rate,
        Some(_) => {
            let message = "head-learning-rate is given as a share of learning-rate, which is 0";
            return Err(Error::config(message));
        }
        None => 1.0,
    };
    let unused = is_unused(config, layout);
    let mut rates: Vec<f64> = Vec::with_capacity(layout.parameters.len());
    for parameter in &layout.parameters {
        let offset = parameter.span.offset;
        rates.push(if unused(offset) {
            0.0
        } else if is_head(layout, offset) {
            of_head
        } else {
            settings.layer_decay.powi(below_the_last(layout, offset))
        });
    }
    for name in &settings.freeze {
        let frozen: Vec<usize> = (0..rates.len())
            .filter(|index| is_of(layout, &layout.parameters[*index], name))
            .collect();
        if frozen.is_empty() {
            return Err(Error::config(format!(
                "freeze names {name:?}, which is no part of the model: give embeddings, encoder, \
                 pooler, or a part of the names of its tensors"
            )));
        }
        frozen.into_iter().for_each(|index| rates[index] = 0.0);
    }
    if rates.iter().all(|rate| *rate == 0.0) {
        return Err(Error::config("freeze names every tensor: nothing would learn"));
    }
    Ok(rates)
}

/// Which places of the layout are of parts that the task does not need.
pub(super) fn is_unused(config: &ModelConfig, layout: &Layout) -> impl Fn(usize) -> bool {
    let pooler = layout.pooler.weight.offset..layout.transform.weight.offset;
    let pretraining = layout.transform.weight.offset..layout.sentence.bias.range().end;
    let has_pooler = parts(config).pooler;
    move |offset| (!has_pooler && pooler.contains(&offset)) || pretraining.contains(&offset)
}

fn is_head(layout: &Layout, offset: usize) -> bool {
    offset >= layout.sentence.bias.range().end
}

/// Whether `parameter` belongs to the part of the model that `name` says.
fn is_of(layout: &Layout, parameter: &Parameter, name: &str) -> bool {
    let offset = parameter.span.offset;
    let encoder = layout.attention[0].qkv.weight.offset;
    match name {
        "embeddings" => offset < encoder,
        "encoder" => (encoder..layout.pooler.weight.offset).contains(&offset),
        "pooler" => (layout.pooler.weight.offset..layout.transform.weight.offset).contains(&offset),
        part => !part.is_empty() && parameter.names.iter().any(|name| name.contains(part)),
    }
}

/// How many applications of a block come after the last that uses the tensor; all of them after
/// the embeddings. The pooler and the heads stand above all.
fn below_the_last(layout: &Layout, offset: usize) -> i32 {
    let depth = layout.applications.len();
    let ends = |blocks: Vec<(usize, usize)>| {
        blocks.iter().position(|(start, end)| (*start..*end).contains(&offset))
    };
    let attention = layout.attention.iter();
    let attention =
        ends(attention.map(|b| (b.qkv.weight.offset, b.norm.beta.range().end)).collect());
    let feed_forward = layout.feed_forward.iter();
    let feed_forward =
        ends(feed_forward.map(|b| (b.up.weight.offset, b.norm.beta.range().end)).collect());
    let last = layout.applications.iter().rposition(|(a, f)| {
        attention.is_some_and(|block| block == *a) || feed_forward.is_some_and(|block| block == *f)
    });
    match last {
        Some(last) => (depth - 1 - last) as i32,
        None if offset < layout.attention[0].qkv.weight.offset => depth as i32,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Head, Sharing};
    use crate::tasks::Task;

    fn config(sharing: Sharing, head: Head) -> ModelConfig {
        let nano = ModelConfig::preset("nano").unwrap().with_sharing(sharing).unwrap();
        ModelConfig {
            num_hidden_layers: 3,
            num_hidden_groups: if sharing == Sharing::All { 1 } else { 3 },
            head: Some(head),
            ..nano
        }
    }

    fn named(config: &ModelConfig, settings: &Settings) -> Vec<(String, f64)> {
        let layout = Layout::new(config);
        let rates = rates(settings, config, &layout).unwrap();
        let names = layout.parameters.iter().map(|parameter| parameter.name().to_owned());
        names.zip(rates).collect()
    }

    fn rate(of: &[(String, f64)], part: &str) -> f64 {
        let found: Vec<f64> =
            of.iter().filter(|(name, _)| name.contains(part)).map(|(_, rate)| *rate).collect();
        assert!(
            !found.is_empty() && found.iter().all(|rate| *rate == found[0]),
            "{part} {found:?}"
        );
        found[0]
    }

    #[test]
    fn what_a_task_does_not_need_does_not_learn() {
        let labels = vec!["O".to_owned(), "B-X".to_owned()];
        let tags = config(Sharing::All, Head::TokenClassification { labels });
        let settings = Settings::for_task(Task::Ner, &tags);
        let of = named(&tags, &settings);
        for part in ["pooler", "predictions", "sop_classifier"] {
            assert_eq!(rate(&of, part), 0.0, "{part}");
        }
        for part in ["word_embeddings", "query", "full_layer", "classifier.weight"] {
            let of: Vec<_> = of.iter().filter(|(n, _)| !n.starts_with("sop")).cloned().collect();
            assert_eq!(rate(&of, part), 1.0, "{part}");
        }
        let choice = config(Sharing::All, Head::MultipleChoice);
        assert_eq!(rate(&named(&choice, &settings), "pooler"), 1.0);
    }

    #[test]
    fn layers_learn_slower_the_lower_they_are() {
        let config = config(Sharing::Nothing, Head::MultipleChoice);
        let mut settings = Settings::for_task(Task::Race, &config);
        settings.layer_decay = 0.5;
        settings.head_learning_rate = Some(settings.learning_rate * 4.0);
        let of = named(&config, &settings);
        for (part, expected) in [
            ("embeddings", 0.125),
            ("groups.0", 0.25),
            ("groups.1", 0.5),
            ("groups.2", 1.0),
            ("pooler", 1.0),
        ] {
            assert_eq!(rate(&of, part), expected, "{part}");
        }
        let head: Vec<_> =
            of.iter().filter(|(n, _)| n.starts_with("classifier")).cloned().collect();
        assert_eq!(rate(&head, "classifier"), 4.0);
        let shared = super::tests::config(Sharing::All, Head::MultipleChoice);
        assert_eq!(rate(&named(&shared, &settings), "groups.0"), 1.0);
    }

    #[test]
    fn what_is_frozen_is_found_by_name() {
        let config = config(Sharing::All, Head::MultipleChoice);
        let layout = Layout::new(&config);
        let mut settings = Settings::for_task(Task::Race, &config);
        settings.freeze = ["embeddings", "encoder", "pooler.weight"].map(str::to_owned).to_vec();
        let of = named(&config, &settings);
        let learning: Vec<&str> =
            of.iter().filter(|(_, rate)| *rate > 0.0).map(|(name, _)| name.as_str()).collect();
        assert_eq!(learning, ["albert.pooler.bias", "classifier.weight", "classifier.bias"]);
        settings.freeze.push("layer.7".to_owned());
        let message = rates(&settings, &config, &layout).unwrap_err().to_string();
        assert!(message.contains("layer.7"), "{message}");
        settings.freeze = ["", "a", "e"].map(str::to_owned).to_vec();
        assert!(rates(&settings, &config, &layout).is_err());
        settings.freeze.remove(0);
        let message = rates(&settings, &config, &layout).unwrap_err().to_string();
        assert!(message.contains("nothing would learn"), "{message}");
    }
}
