//! Files that are part of the program. They are read as if they lay in directories whose path begins
//! with [`BUILTIN`], by the same functions as all others, so that no other code knows of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

/// What the path of a built-in directory begins with, as `builtin:nano`.
pub const BUILTIN: &str = "builtin:";

/// Names of files, and their bytes.
type Files = &'static [(&'static str, &'static [u8])];

/// The directories. Each is a whole model in Hugging Face's layout, but its first file of weights,
/// the embeddings, and the tokenizer are the same for all, and here only once
/// (`examples/builtin.rs` makes them).
#[cfg(feature = "builtin")]
static DIRECTORIES: [(&str, Files); 4] = {
    static EMBEDDINGS: &[u8] = include_bytes!("../../builtin/embeddings.safetensors");
    static TOKENIZER: &[u8] = include_bytes!("../../builtin/tokenizer.json");
    static TOKENIZER_CONFIG: &[u8] = include_bytes!("../../builtin/tokenizer_config.json");
    macro_rules! directory {
        ($name:literal) => {{
            static CONFIG: &[u8] = include_bytes!(concat!("../../builtin/", $name, "/config.json"));
            static TABLE: &[u8] =
                include_bytes!(concat!("../../builtin/", $name, "/model.safetensors.index.json"));
            static REST: &[u8] =
                include_bytes!(concat!("../../builtin/", $name, "/rest.safetensors"));
            let files: Files = &[
                ("config.json", CONFIG),
                ("model.safetensors.index.json", TABLE),
                ("model-00001-of-00002.safetensors", EMBEDDINGS),
                ("model-00002-of-00002.safetensors", REST),
                ("tokenizer.json", TOKENIZER),
                ("tokenizer_config.json", TOKENIZER_CONFIG),
            ];
            ($name, files)
        }};
    }
    [
        directory!("nano"),
        directory!("nano-sentiment"),
        directory!("nano-intents"),
        directory!("nano-entities"),
    ]
};

#[cfg(not(feature = "builtin"))]
static DIRECTORIES: [(&str, Files); 0] = [];

/// The bytes of the file at `path`, if it is built in.
pub(super) fn find(path: &Path) -> Option<&'static [u8]> {
    let (directory, name) = path.to_str()?.strip_prefix(BUILTIN)?.split_once('/')?;
    let (_, bytes) = files(directory)?.iter().find(|(file, _)| *file == name)?;
    Some(bytes)
}

/// Whether the directory at `path` is built in.
pub(super) fn is_directory(path: &Path) -> bool {
    names_in(path).is_some()
}

/// The names of the files in the directory at `path`, if it is built in.
pub(super) fn names_in(path: &Path) -> Option<Vec<OsString>> {
    let directory = path.to_str()?.strip_prefix(BUILTIN)?;
    Some(files(directory)?.iter().map(|(name, _)| name.into()).collect())
}

/// Bytes of all that is built in, what is shared counted once.
#[must_use]
pub fn builtin_bytes() -> usize {
    let files = DIRECTORIES.iter().flat_map(|(_, files)| files.iter());
    let once: BTreeMap<*const u8, usize> =
        files.map(|(_, bytes)| (bytes.as_ptr(), bytes.len())).collect();
    once.values().sum()
}

fn files(directory: &str) -> Option<Files> {
    let (_, files) = DIRECTORIES.iter().find(|(name, _)| *name == directory)?;
    Some(files)
}
