//! `vocab.txt`: BERT's basic tokenization and WordPiece, as a `tokenizer.json`.

use serde_json::{Map, Value, json};

use super::pipeline::template;

/// The settings of `tokenizer_config.json` that change the ids; the names are transformers'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BertOptions {
    pub(super) do_lower_case: bool,
    /// As `do_lower_case` if `None`.
    pub(super) strip_accents: Option<bool>,
    pub(super) tokenize_chinese_chars: bool,
}

/// The `tokenizer.json` of a `vocab.txt` with one token a line. The error is a sentence without
/// the file's name.
pub(super) fn from_vocab(text: &str, options: BertOptions) -> Result<Value, String> {
    let vocab: Map<String, Value> =
        text.lines().enumerate().map(|(id, token)| (token.to_string(), json!(id))).collect();
    let id = |token: &str| vocab.get(token).and_then(Value::as_u64).map(|id| id as u32);
    let (Some(cls), Some(sep), Some(_)) = (id("[CLS]"), id("[SEP]"), id("[UNK]")) else {
        return Err("one of the tokens [CLS], [SEP] and [UNK] is missing".into());
    };
    let mut special: Vec<(u32, &str)> = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        .into_iter()
        .filter_map(|token| id(token).map(|id| (id, token)))
        .collect();
    special.sort_unstable();
    let added = special.iter().map(|(id, token)| {
        json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    });
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": options.tokenize_chinese_chars,
            "strip_accents": options.strip_accents,
            "lowercase": options.do_lower_case,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": template((cls, "[CLS]"), (sep, "[SEP]")),
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        },
    }))
}
