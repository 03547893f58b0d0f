//! The files of a tokenizer that we write: `tokenizer.json` with the text pipeline of a trained
//! vocabulary, and the `tokenizer_config.json` that makes transformers use it as it is.

use serde_json::{Value, json};

/// The special pieces, in the order of their ids from 0, as in ALBERT's vocabulary.
pub(super) const SPECIAL: [&str; 5] = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"];

/// The pieces that are always a token of their own, with the ids that follow.
pub(super) const ATOMIC: [&str; 8] = ["(", ")", "\"", "-", ".", "–", "£", "€"];

/// How text is normalised before it is cut into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Normalization {
    /// Whether letters are made lower case.
    pub lowercase: bool,
    /// Whether accents (the combining marks U+0300 to U+036F) are removed.
    pub strip_accents: bool,
}

impl Default for Normalization {
    /// As ALBERT: lower case, no accents.
    fn default() -> Self {
        Self { lowercase: true, strip_accents: true }
    }
}

impl Normalization {
    /// The `normalizer` of `tokenizer.json`. Every step works inside words, so that words can be
    /// encoded on their own.
    pub(super) fn to_json(self) -> Value {
        let mut steps = vec![
            // SentencePiece's rule nmt_nfkc: what is dropped, and what becomes a space.
            replace_pattern(r"[\x00-\x08\x0E-\x1F\x7F-\u009F\u00AD]+", ""),
            replace_pattern(r"[\s\u200B-\u200F\u2028\u2029\u2581\uFEFF\uFFFD]+", " "),
            replace_text("``", "\""),
            replace_text("''", "\""),
        ];
        if self.strip_accents {
            steps.push(json!({"type": "NFKD"}));
            steps.push(replace_pattern(r"[\u0300-\u036F]+", ""));
        }
        if self.lowercase {
            steps.push(json!({"type": "Lowercase"}));
        }
        steps.push(json!({"type": "NFKC"}));
        steps.push(replace_pattern(r"\s+", " "));
        // Spaces on the left stay: after a special token they tell a new word from punctuation.
        steps.push(json!({"type": "Strip", "strip_left": false, "strip_right": true}));
        json!({"type": "Sequence", "normalizers": steps})
    }

    /// All there are.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let flags = [(true, true), (true, false), (false, true), (false, false)];
        flags.into_iter().map(|(lowercase, strip_accents)| Self { lowercase, strip_accents })
    }
}

/// A normalizer that removes spaces at both ends.
pub(super) fn strip() -> Value {
    json!({"type": "Strip", "strip_left": true, "strip_right": true})
}

/// A normalizer that replaces what a regular expression matches.
pub(super) fn replace_pattern(pattern: &str, content: &str) -> Value {
    json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": content})
}

/// A normalizer that replaces a text.
pub(super) fn replace_text(text: &str, content: &str) -> Value {
    json!({"type": "Replace", "pattern": {"String": text}, "content": content})
}

/// The `pre_tokenizer` of a trained vocabulary: words with a `▁` before them; the atomic pieces,
/// other punctuation and runs of digits on their own.
pub(super) fn pre_tokenizer() -> Value {
    let atomic = r#"["()\-.–£€]"#;
    let digits = r"▁?\p{N}+";
    let other_punctuation = r#"▁?(?!["()\-.–£€▁])[\p{P}\p{S}]"#;
    let isolated = json!({
        "type": "Split",
        "pattern": {"Regex": format!("{atomic}|{digits}|{other_punctuation}")},
        "behavior": "Isolated",
        "invert": false,
    });
    json!({"type": "Sequence", "pretokenizers": [metaspace(Prepend::First), isolated]})
}

/// Where words get a `▁` that have no space before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prepend {
    /// At the beginning of a text only, so that `[MASK].` is a mask and a point.
    First,
    /// After each special token as well, as the published models have it.
    Always,
}

/// Words with a `▁` before them; also the decoder.
pub(super) fn metaspace(prepend: Prepend) -> Value {
    let scheme = if prepend == Prepend::First { "first" } else { "always" };
    json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true})
}

/// `added_tokens`: the special tokens with their ids.
pub(super) fn added_tokens(special: &[(u32, &str)], mask: &str) -> Value {
    let token = |&(id, content): &(u32, &str)| {
        // The mask takes the place of a word, so it takes the space before it as well.
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": content == mask,
            "rstrip": false, "normalized": false, "special": true,
        })
    };
    special.iter().map(token).collect()
}

/// `post_processor`: `[CLS] A [SEP]` and `[CLS] A [SEP] B [SEP]`, given the names and ids of the
/// two special tokens.
pub(super) fn template(cls: (u32, &str), sep: (u32, &str)) -> Value {
    let special = |token: (u32, &str), type_id: u32| json!({"SpecialToken": {"id": token.1, "type_id": type_id}});
    let text = |name: &str, type_id: u32| json!({"Sequence": {"id": name, "type_id": type_id}});
    let ids = |(id, name): (u32, &str)| json!({"id": name, "ids": [id], "tokens": [name]});
    json!({
        "type": "TemplateProcessing",
        "single": [special(cls, 0), text("A", 0), special(sep, 0)],
        "pair": [special(cls, 0), text("A", 0), special(sep, 0), text("B", 1), special(sep, 1)],
        "special_tokens": {cls.1: ids(cls), sep.1: ids(sep)},
    })
}

/// `tokenizer.json` of a vocabulary trained here. `pieces` follow the special and atomic ones.
pub(super) fn trained(normalization: Normalization, pieces: &[(String, f64)]) -> Value {
    let special: Vec<(u32, &str)> = (0..).zip(SPECIAL).collect();
    let fixed = SPECIAL.iter().chain(&ATOMIC).map(|piece| json!([piece, 0.0]));
    let learned = pieces.iter().map(|(piece, score)| json!([piece, score]));
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens(&special, SPECIAL[4]),
        "normalizer": normalization.to_json(),
        "pre_tokenizer": pre_tokenizer(),
        "post_processor": template((2, SPECIAL[2]), (3, SPECIAL[3])),
        "decoder": metaspace(Prepend::First),
        "model": {
            "type": "Unigram",
            "unk_id": 1,
            "vocab": fixed.chain(learned).collect::<Vec<_>>(),
            "byte_fallback": false,
        },
    })
}

/// The names of the special tokens, as `tokenizer_config.json` has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SpecialNames {
    pub(super) pad: String,
    pub(super) unk: String,
    pub(super) cls: String,
    pub(super) sep: String,
    pub(super) mask: String,
}

impl Default for SpecialNames {
    fn default() -> Self {
        let [pad, unk, cls, sep, mask] = SPECIAL.map(str::to_string);
        Self { pad, unk, cls, sep, mask }
    }
}

/// `tokenizer_config.json`. The class is the one that reads `tokenizer.json` and changes nothing:
/// with `AlbertTokenizer`, transformers 5 would build another pipeline. `settings` are added.
pub(super) fn tokenizer_config(
    names: &SpecialNames,
    mask_takes_space: bool,
    settings: &[(&str, bool)],
) -> Value {
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": names.pad,
        "unk_token": names.unk,
        "cls_token": names.cls,
        "sep_token": names.sep,
        "mask_token": {
            "__type": "AddedToken", "content": names.mask, "single_word": false,
            "lstrip": mask_takes_space, "rstrip": false, "normalized": false, "special": true,
        },
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        "clean_up_tokenization_spaces": false,
    });
    for &(key, value) in settings {
        config[key] = json!(value);
    }
    config
}
