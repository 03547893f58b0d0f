//! Which tensors of a model have an adapter, and which are trained whole.

use super::ALL_LINEAR;
use crate::backend::Linear;
use crate::error::{Error, Result};
use crate::model::layout::{Layout, Parameter};

/// The name of the module that a weight or a bias is of.
pub(crate) fn module_of(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(module, _)| module)
}

/// Whether `end` is the last parts of `name`.
fn ends_with(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The matrices that may have an adapter: the linear maps of the encoder, and the pooler.
pub(crate) fn candidates(layout: &Layout) -> Vec<&Parameter> {
    let mut linears: Vec<&Linear> = layout.projection.iter().collect();
    linears.extend(layout.attention.iter().flat_map(|block| [&block.qkv, &block.output]));
    linears.extend(layout.feed_forward.iter().flat_map(|block| [&block.up, &block.down]));
    linears.push(&layout.pooler);
    let within = |parameter: &&Parameter| {
        let offset = parameter.span.offset;
        linears.iter().any(|linear| linear.weight.range().contains(&offset))
    };
    layout.parameters.iter().filter(within).collect()
}

/// The tensors that are trained whole: those of the head, and of the pooler if it is asked for.
pub(super) fn wholes(layout: &Layout, pooler: bool) -> Vec<&Parameter> {
    let of_pooler = layout.pooler.weight.offset..layout.pooler.bias.range().end;
    let head = layout.sentence.bias.range().end;
    let is_whole = |parameter: &&Parameter| {
        let offset = parameter.span.offset;
        offset >= head || pooler && of_pooler.contains(&offset)
    };
    layout.parameters.iter().filter(is_whole).collect()
}

/// The matrices that `targets` name, in the order of the layout, without those of `wholes`, which
/// need no adapter.
pub(super) fn resolve<'a>(
    layout: &'a Layout,
    targets: &[String],
    wholes: &[&Parameter],
) -> Result<Vec<&'a Parameter>> {
    let candidates = candidates(layout);
    let is_named = |target: &String, parameter: &Parameter| {
        target == ALL_LINEAR || ends_with(module_of(parameter.name()), target)
    };
    let is_unknown =
        |target: &&String| !candidates.iter().any(|candidate| is_named(target, candidate));
    if let Some(unknown) = targets.iter().find(is_unknown) {
        return Err(Error::config(format!(
            "\"{unknown}\" is no linear map of this model: an adapter may be beside {} or \
             {ALL_LINEAR}",
            possible(&candidates).join(", ")
        )));
    }
    let is_target = |parameter: &&Parameter| {
        targets.iter().any(|target| is_named(target, parameter)) && !wholes.contains(parameter)
    };
    let found: Vec<&Parameter> = candidates.iter().copied().filter(is_target).collect();
    if found.is_empty() {
        return Err(Error::config(format!(
            "the adapter is beside no linear map: name some of {}",
            possible(&candidates).join(", ")
        )));
    }
    Ok(found)
}

/// What can be named, each once: the names within a block, or within the model.
fn possible<'a>(candidates: &[&'a Parameter]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for candidate in candidates {
        let module = module_of(candidate.name());
        // What stands behind the last number of a group, an inner block or a layer.
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let mut rest = module;
        while let Some(at) = rest.split('.').position(is_number) {
            let skipped: usize = rest.split('.').take(at + 1).map(|part| part.len() + 1).sum();
            rest = &rest[skipped..];
        }
        let name = rest.strip_prefix("albert.").or_else(|| rest.strip_prefix("bert."));
        let name = name.unwrap_or(rest);
        let name = name.strip_prefix("encoder.").unwrap_or(name);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ModelConfig, Sharing};

    fn names(config: &ModelConfig, targets: &[&str]) -> Vec<String> {
        let targets: Vec<String> = targets.iter().map(|&target| target.to_owned()).collect();
        let layout = Layout::new(config);
        let found = resolve(&layout, &targets, &[]).unwrap();
        found.iter().map(|parameter| parameter.name().to_owned()).collect()
    }

    #[test]
    fn targets_are_named_by_their_ends() {
        let albert = ModelConfig::preset("nano").unwrap();
        let block = "albert.encoder.albert_layer_groups.0.albert_layers.0.";
        let of = |part: &str| format!("{block}{part}.weight");
        assert_eq!(names(&albert, &["value", "attention.query"]).len(), 2);
        assert_eq!(names(&albert, &["ffn"]), [of("ffn")]);
        assert_eq!(names(&albert, &["dense"]), [of("attention.dense")]);
        assert_eq!(names(&albert, &["pooler"]), ["albert.pooler.weight"]);
        assert_eq!(names(&albert, &["all-linear"]).len(), 8);
        assert_eq!(names(&albert, &[&of("ffn")[..of("ffn").len() - 7]]), [of("ffn")]);
        let own = albert.with_sharing(Sharing::Nothing).unwrap();
        assert_eq!(names(&own, &["query"]).len(), own.num_hidden_layers);
        let bert = ModelConfig::preset("bert-nano").unwrap();
        let layers = bert.num_hidden_layers;
        // As in PEFT, an end may be that of several.
        assert_eq!(names(&bert, &["output.dense"]).len(), 2 * layers);
        assert_eq!(names(&bert, &["all-linear"]).len(), 6 * layers + 1);
    }

    #[test]
    fn what_is_no_target_is_named_with_what_is() {
        for (preset, expected) in [
            (
                "nano",
                "embedding_hidden_mapping_in, attention.query, attention.key, attention.value, \
                 attention.dense, ffn, ffn_output, pooler or all-linear",
            ),
            (
                "bert-nano",
                "attention.self.query, attention.self.key, attention.self.value, \
                 attention.output.dense, intermediate.dense, output.dense, pooler.dense or \
                 all-linear",
            ),
        ] {
            let layout = Layout::new(&ModelConfig::preset(preset).unwrap());
            for unknown in ["uery", "classifier", "", "LayerNorm"] {
                let error = resolve(&layout, &[unknown.to_owned()], &[]).unwrap_err().to_string();
                assert!(error.contains(&format!("\"{unknown}\"")), "{error}");
                assert!(error.ends_with(expected), "{error}");
            }
            assert!(resolve(&layout, &[], &[]).is_err());
            let whole = wholes(&layout, true);
            assert!(resolve(&layout, &["pooler.dense".to_owned()], &whole).is_err());
        }
    }
}
