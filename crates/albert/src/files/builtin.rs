//! Files that are part of the program. They are read as if they lay in directories whose path begins
//! with [`BUILTIN`], by the same functions as all others, so that no other code knows of them.

use std::ffi::OsString;
use std::path::Path;

/// What the path of a built-in directory begins with, as `builtin:nano`.
pub const BUILTIN: &str = "builtin:";

/// The directories with their files.
type Directories = &'static [(&'static str, &'static [(&'static str, &'static [u8])])];

#[cfg(not(feature = "builtin"))]
static DIRECTORIES: Directories = &[];

#[cfg(feature = "builtin")]
static DIRECTORIES: Directories = {
    macro_rules! directory {
        ($name:literal: $($file:literal)*) => {
            ($name, &[$(
                ($file, include_bytes!(concat!("../../builtin/", $name, "/", $file))),
            )*])
        };
    }
    &[
        directory!("nano": "config.json" "model.safetensors" "tokenizer.json" "tokenizer_config.json"),
    ]
};

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

fn files(directory: &str) -> Option<&'static [(&'static str, &'static [u8])]> {
    let (_, files) = DIRECTORIES.iter().find(|(name, _)| *name == directory)?;
    Some(files)
}
