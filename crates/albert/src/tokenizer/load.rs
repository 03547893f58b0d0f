//! Finding and reading the files of a tokenizer.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::albert::{Albert, Preprocessing};
use super::bert::{BertOptions, from_vocab};
use super::json::Json;
use super::pipeline::SpecialNames;
use super::sentencepiece::SentencePiece;
use super::{Backend, Tokenizer};
use crate::error::{Error, Result};
use crate::files::{self, read_text};

/// The files that are looked for in a directory, in this order: the first that exists is read.
///
/// `spiece.model` comes first since it is exact: a `tokenizer.json` made from it is not, whoever
/// made it.
const FILES: [&str; 3] = ["spiece.model", "tokenizer.json", "vocab.txt"];

/// The settings that stand beside the vocabulary, in the files that transformers writes.
struct Settings {
    /// What is in them.
    files: Vec<Value>,
    /// The path of the one with the switches.
    config: PathBuf,
}

impl Tokenizer {
    /// Reads the tokenizer of a directory, or one file of it.
    ///
    /// In a directory the first of `spiece.model`, `tokenizer.json` and `vocab.txt` that exists
    /// is read, else the only file that ends in `.model`, with the names of special tokens and the settings of lower-casing from
    /// `tokenizer_config.json` and `special_tokens_map.json` if they are there. A file is read by
    /// its extension.
    ///
    /// # Errors
    /// No tokenizer there, or one that cannot be read; the message says what was looked for.
    pub fn load(directory: &Path) -> Result<Self> {
        let (folder, path) = if files::is_file(directory) {
            (directory.parent().unwrap_or(Path::new("")), directory.to_path_buf())
        } else {
            (directory, find(directory)?)
        };
        let settings = Settings::read(folder)?;
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("model") => load_sentencepiece(&path, &settings),
            Some("json") => load_json(&path, &settings),
            Some("txt") => load_vocab(&path, &settings),
            _ => Err(Error::format(
                &path,
                "not the name of a tokenizer file; it should end in .model, .json or .txt",
            )),
        }
    }
}

fn find(directory: &Path) -> Result<PathBuf> {
    if !files::exists(directory) {
        return Err(Error::format(directory, "there is no such file or directory"));
    }
    let usual = FILES.iter().map(|name| directory.join(name)).find(|path| files::is_file(path));
    if let Some(path) = usual {
        return Ok(path);
    }
    // The original releases call theirs `30k-clean.model`.
    let failed = |error| Error::io("reading", directory, error);
    let mut models = Vec::new();
    for name in files::names_in(directory).map_err(failed)? {
        let path = directory.join(name);
        if path.extension().is_some_and(|extension| extension == "model") && files::is_file(&path) {
            models.push(path);
        }
    }
    match &mut models[..] {
        [only] => Ok(std::mem::take(only)),
        [] => Err(Error::format(
            directory,
            format!("no tokenizer here: none of {} exists", FILES.join(", ")),
        )),
        several => Err(Error::format(
            directory,
            format!("{} files end in .model; name one spiece.model", several.len()),
        )),
    }
}

fn load_sentencepiece(path: &Path, settings: &Settings) -> Result<Tokenizer> {
    let bytes = files::read(path).map_err(|error| Error::io("reading", path, error))?;
    let model = SentencePiece::new(&bytes).map_err(|error| Error::format(path, error))?;
    let default = Preprocessing::default();
    let preprocessing = Preprocessing {
        do_lower_case: settings.flag("do_lower_case")?.unwrap_or(default.do_lower_case),
        remove_space: settings.flag("remove_space")?.unwrap_or(default.remove_space),
        keep_accents: settings.flag("keep_accents")?.unwrap_or(default.keep_accents),
    };
    let names =
        settings.special(|token| model.id(token)).map_err(|error| Error::format(path, error))?;
    let order = [&*names.pad, &names.unk, &names.cls, &names.sep, &names.mask];
    let albert = Albert::new(model, bytes, preprocessing, order)
        .map_err(|error| Error::format(path, error))?;
    Tokenizer::new(Backend::Albert(Box::new(albert)), names)
        .map_err(|error| Error::format(path, error))
}

fn load_json(path: &Path, settings: &Settings) -> Result<Tokenizer> {
    let value = parse(path)?;
    from_value(value, settings).map_err(|error| Error::format(path, error))
}

fn load_vocab(path: &Path, settings: &Settings) -> Result<Tokenizer> {
    let text = read_text(path)?;
    let options = BertOptions {
        do_lower_case: settings.flag("do_lower_case")?.unwrap_or(true),
        strip_accents: settings.flag("strip_accents")?,
        tokenize_chinese_chars: settings.flag("tokenize_chinese_chars")?.unwrap_or(true),
    };
    let value = from_vocab(&text, options).map_err(|error| Error::format(path, error))?;
    from_value(value, settings).map_err(|error| Error::format(path, error))
}

fn from_value(value: Value, settings: &Settings) -> Result<Tokenizer> {
    let json = Json::new(value)?;
    let names = settings.special(|token| json.id(token)).map_err(Error::input)?;
    Tokenizer::new(Backend::Json(Box::new(json)), names)
}

fn parse(path: &Path) -> Result<Value> {
    serde_json::from_str(&read_text(path)?)
        .map_err(|error| Error::format(path, format!("not valid JSON: {error}")))
}

impl Settings {
    /// What is in `folder`; earlier files win.
    fn read(folder: &Path) -> Result<Self> {
        let paths =
            ["tokenizer_config.json", "special_tokens_map.json"].map(|name| folder.join(name));
        let found = paths.iter().filter(|path| files::is_file(path));
        let files = found.map(|path| parse(path)).collect::<Result<_>>()?;
        let [config, _] = paths;
        Ok(Self { files, config })
    }

    fn flag(&self, key: &str) -> Result<Option<bool>> {
        let Some(value) =
            self.files.first().map(|config| &config[key]).filter(|value| !value.is_null())
        else {
            return Ok(None);
        };
        value.as_bool().map(Some).ok_or_else(|| {
            Error::format(&self.config, format!("{key} must be true or false, not {value}"))
        })
    }

    /// The names of the special tokens: those in the files, else the usual one that exists.
    fn special(
        &self,
        id: impl Fn(&str) -> Option<u32>,
    ) -> std::result::Result<SpecialNames, String> {
        let name = |role: &str, usual: [&str; 2]| {
            let named = self.files.iter().find_map(|file| {
                let value = &file[format!("{role}_token")];
                value.as_str().or(value["content"].as_str())
            });
            let mut candidates = named.map_or(usual.to_vec(), |name| vec![name]).into_iter();
            let missing = || {
                let wanted = named.map_or(usual.join(" or "), str::to_string);
                format!("the vocabulary has no {role} token ({wanted})")
            };
            candidates.find(|name| id(name).is_some()).map(str::to_string).ok_or_else(missing)
        };
        Ok(SpecialNames {
            pad: name("pad", ["<pad>", "[PAD]"])?,
            unk: name("unk", ["<unk>", "[UNK]"])?,
            cls: name("cls", ["[CLS]", "<s>"])?,
            sep: name("sep", ["[SEP]", "</s>"])?,
            mask: name("mask", ["[MASK]", "<mask>"])?,
        })
    }
}
