//! The library's one error type: what went wrong, where, and what to do about it.

use std::fmt;
use std::path::Path;

/// The result of everything in this library that a user or a file can make fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of thing went wrong, for callers that react to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Reading or writing a file failed.
    Io,
    /// A file or a text does not have the form it should have.
    Format,
    /// A setting is missing, wrong, or contradicts another.
    Config,
    /// The input is well formed but cannot be used here.
    Input,
    /// A text has more tokens than are read at once.
    TooLong,
    /// The request is understood but not implemented.
    Unsupported,
    /// The arithmetic gave a number that is not finite.
    Diverged,
}

/// An error with a kind and one clear sentence; the cause, if any, is its `source`.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`. The message names the file, line or key, what was found and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// A file that does not have the form it should have.
    pub fn format(path: &Path, message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Format, format!("{}: {message}", path.display()))
    }

    /// A wrong or missing setting.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Input that cannot be used.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// Something understood but not implemented.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// A failed file operation: `doing` completes "while ... PATH", for example "reading".
    pub fn io(doing: &str, path: &Path, source: std::io::Error) -> Self {
        let missing = source.kind() == std::io::ErrorKind::NotFound;
        let words = if missing && matches!(doing, "writing" | "creating") {
            "there is no such directory to put it in".to_owned()
        } else {
            in_words(&source)
        };
        Self {
            kind: ErrorKind::Io,
            message: format!("{doing} {}: {words}", path.display()),
            source: Some(Box::new(source)),
        }
    }

    /// The same error with `source` as its cause.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error, saying which of `count` things it is about, if there are several.
    #[must_use]
    pub(crate) fn about_one_of(mut self, count: usize, what: &str, number: usize) -> Self {
        if count > 1 {
            self.message = format!("{what} {number}: {}", self.message);
        }
        self
    }

    /// The same error with a clause more at the end of its sentence.
    #[must_use]
    pub(crate) fn and(mut self, clause: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(clause);
        self
    }

    /// Whether a file could not be written because there was no room for it.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        use std::io::ErrorKind as Io;
        let source = self.source.as_ref().and_then(|source| source.downcast_ref());
        source.is_some_and(|error: &std::io::Error| {
            matches!(error.kind(), Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge)
        })
    }

    /// What kind of error this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// What an operating system's error means, in words for those who do not know its numbers.
#[must_use]
pub fn in_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind as Io;
    let words = match error.kind() {
        Io::NotFound => "there is no such file or directory",
        Io::PermissionDenied => "permission denied",
        Io::IsADirectory => "this is a directory, where a file is needed",
        Io::NotADirectory => "a part of this path is a file, not a directory",
        Io::AlreadyExists => "this exists already",
        Io::ReadOnlyFilesystem => "the disk is read-only",
        Io::StorageFull => "the disk is full; free some space",
        Io::QuotaExceeded => "your share of the disk is used up; free some space",
        Io::FileTooLarge => "the file would be larger than this system allows",
        _ => {
            let text = error.to_string();
            return text.split(" (os error ").next().unwrap_or_default().to_owned();
        }
    };
    words.to_owned()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn system_errors_have_no_numbers() {
        // ENOENT, EACCES, EISDIR, ENOSPC, EMFILE: the same numbers on every Unix.
        for (number, words) in [
            (2, "no such file"),
            (13, "permission denied"),
            (21, "is a directory"),
            (28, "disk is full"),
            (24, "open files"),
        ] {
            let error = io::Error::from_raw_os_error(number);
            let message = Error::io("reading", Path::new("a/b"), error).to_string();
            assert!(message.starts_with("reading a/b: ") && message.contains(words), "{message}");
            assert!(!message.contains("os error"), "{message}");
        }
        let made = Error::io("reading", Path::new("a"), io::Error::other("torn (os) sheet"));
        assert_eq!(made.to_string(), "reading a: torn (os) sheet");
    }
}
