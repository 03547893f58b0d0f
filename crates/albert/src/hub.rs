//! Models from a hub: which files of a repository are wanted, and the cache that is shared with
//! Hugging Face's own programs. What is in the files is not this module's business.
//!
//! Of the crate `hf-hub` come the addresses and the names of the cache. Its own transfers are not
//! used: they neither check sizes and sums nor take a token from `HF_TOKEN`, and they send it on to
//! the hosts that a hub redirects to.

mod cache;
mod transfer;
mod web;

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::checkpoint::{CONFIG_FILE, WEIGHTS_FILE};
use crate::error::{Error, Result};
use crate::files;
use cache::RepositoryCache;
use web::Web;

/// Files that say how text becomes ids. The first three hold a vocabulary: one of them is enough.
const TOKENIZER_FILES: [&str; 6] = [
    "spiece.model",
    "tokenizer.json",
    "vocab.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];
const VOCABULARIES: &[&str] = TOKENIZER_FILES.split_at(3).0;

/// What the weights may be in, in the order in which `checkpoint` looks for them.
const WEIGHTS: [&str; 4] = [
    WEIGHTS_FILE,
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// What the name of a table of many files of weights ends with.
const SHARDS: &str = ".index.json";

/// The branch that is meant when none is named.
const MAIN: &str = "main";

/// A model on a hub: `name` or `owner/name`, and a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelId {
    name: String,
    revision: String,
}

impl ModelId {
    /// Reads `name`, `owner/name` or either with `@revision`: a branch, a tag or a commit.
    ///
    /// # Errors
    /// Says which part of it is no such thing.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let parts: Vec<&str> = name.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|part| is_repository_name(part)) {
            return Err(Error::input(format!(
                "{text:?} is not the ID of a model, which is NAME or OWNER/NAME of letters, digits, \
                 -, _ and ."
            )));
        }
        if !revision.split('/').all(is_file_name) {
            return Err(Error::input(format!(
                "{text:?}: {revision:?} is not the name of a branch, a tag or a commit"
            )));
        }
        Ok(Self { name: name.to_owned(), revision: revision.to_owned() })
    }

    /// `name` or `owner/name`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The branch, tag or commit.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.revision == MAIN { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

/// Whether a hub lets an owner or a repository be called so.
fn is_repository_name(name: &str) -> bool {
    let ends_well = |name: &str| !name.starts_with(['-', '.']) && !name.ends_with(['-', '.']);
    is_file_name(name)
        && name.len() <= 96
        && ends_well(name)
        && !name.contains("--")
        && !name.contains("..")
        && !name.ends_with(".git")
}

/// Whether a name from a server or a user can be that of a file in a directory of ours, and needs
/// no escapes in a URL.
fn is_file_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.chars().all(allowed)
}

/// Whether a file holds numbers of a model, by its name.
fn is_weights(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

/// Whether a revision is the name of a commit, which never changes.
fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What happens while a model is downloaded.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Another process downloads this file, and is waited for.
    Waiting {
        /// The name in the repository.
        file: &'a str,
    },
    /// A file begins, or goes on from what an earlier attempt left.
    Begins {
        /// The name in the repository.
        file: &'a str,
        /// The size of the whole file.
        bytes: u64,
        /// What is there already.
        position: u64,
    },
    /// So much of the file is there now; less than before if the server cannot go on midway.
    Position(u64),
    /// The file is whole.
    Ends,
}

/// A model in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredModel {
    /// The directory with its files, some of them links.
    pub directory: PathBuf,
    /// The commit that they are of.
    pub commit: String,
    /// The names of the files in `directory` and their sizes in bytes.
    pub files: Vec<(String, u64)>,
}

impl StoredModel {
    /// The size of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Makes a plain directory of the files. Weights get a second name where the file system can,
    /// as nobody edits them in place; the others are copied, so that whoever does edit one leaves
    /// the cache as it is.
    ///
    /// # Errors
    /// A directory that is taken, or a failed file operation; nothing is left behind.
    pub fn copy_to(&self, directory: &Path) -> Result<()> {
        let is_ours = |name: &str| self.files.iter().any(|(file, _)| file == name);
        files::create_directory(directory, is_ours, |partial| {
            for (name, _) in &self.files {
                let (from, to) = (self.directory.join(name), partial.join(name));
                let copied = from.canonicalize().and_then(|blob| {
                    let is_linked = is_weights(name) && std::fs::hard_link(&blob, &to).is_ok();
                    if is_linked { Ok(()) } else { std::fs::copy(&blob, &to).map(|_| ()) }
                });
                copied.map_err(|error| Error::io("copying", &from, error))?;
            }
            Ok(())
        })
    }
}

/// A hub and the cache of what came from it.
pub struct Hub {
    cache: PathBuf,
    /// Absent if the network must not be used.
    web: Option<Web>,
}

impl Hub {
    /// As the variables of Hugging Face's programs say: `HF_HUB_CACHE`, `HF_HOME`, `HF_TOKEN`,
    /// `HF_TOKEN_PATH`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`. Nothing is read from the network yet.
    ///
    /// # Errors
    /// A variable or a file of a token that means nothing, or no home directory.
    pub fn from_env() -> Result<Self> {
        let home = || {
            let below = |variable, path: &str| Some(PathBuf::from(set(variable)?).join(path));
            set("HF_HOME")
                .map(PathBuf::from)
                .or_else(|| below("XDG_CACHE_HOME", "huggingface"))
                .or_else(|| Some(env::home_dir()?.join(".cache/huggingface")))
                .ok_or_else(|| Error::config("no home directory for the cache: set HF_HOME"))
        };
        let cache = match set("HF_HUB_CACHE") {
            Some(cache) => cache.into(),
            None => home()?.join("hub"),
        };
        // A link that is read elsewhere must not depend on where it was made.
        let cache = std::path::absolute(&cache).map_err(|e| Error::io("finding", &cache, e))?;
        let offline = set("HF_HUB_OFFLINE").is_some_and(|value| {
            let value = value.to_string_lossy().to_uppercase();
            ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
        });
        if offline {
            return Ok(Self { cache, web: None });
        }
        let token_file = match set("HF_TOKEN_PATH") {
            Some(path) => path.into(),
            None => home()?.join("token"),
        };
        let web = Web::new(&cache, set("HF_ENDPOINT"), set("HF_TOKEN"), &token_file)?;
        Ok(Self { cache, web: Some(web) })
    }

    /// Whether `HF_HUB_OFFLINE` forbids the network.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.web.is_none()
    }

    /// The model as far as the cache knows it, without asking the network whether its branch has
    /// moved on. `None` if anything of it is not there.
    #[must_use]
    pub fn find(&self, id: &ModelId) -> Option<StoredModel> {
        let repository = RepositoryCache::new(&self.cache, id);
        let commit = repository.commit(id.revision())?;
        let directory = repository.snapshot(&commit);
        let names = repository.present(&commit);
        let mut wanted = Wanted::of(&names).ok()?;
        wanted.add_shards(&directory, &names).ok()?;
        let has_vocabulary = VOCABULARIES.iter().any(|name| names.contains(*name));
        (has_vocabulary || repository.is_known_absent(&commit, VOCABULARIES)).then_some(())?;
        stored(directory, commit, wanted.names).ok()
    }

    /// Downloads what is not yet in the cache of the newest commit of the model's revision. Where
    /// the network must not be used, gives what is in the cache.
    ///
    /// # Errors
    /// Says what is not there, not allowed or not reached. What has been downloaded is kept, and
    /// the next call goes on from it.
    pub fn download(&self, id: &ModelId, report: &mut dyn FnMut(Event<'_>)) -> Result<StoredModel> {
        let Some(web) = &self.web else {
            return self.find(id).ok_or_else(|| self.not_in_cache(id));
        };
        let listing = Listing::parse(&web.listing(id)?, id)?;
        let commit = listing.sha;
        let names: BTreeSet<String> = listing.siblings.into_iter().map(|s| s.rfilename).collect();
        let mut wanted = Wanted::of(&names).map_err(|lack| {
            Error::input(format!("{id} is not a model that this program can read: {lack}"))
        })?;
        let repository = RepositoryCache::new(&self.cache, id);
        let directory = repository.snapshot(&commit);
        let mut fetch = |name: &str| transfer::fetch(web, id, &repository, &commit, name, report);
        // Weights come last, so that a model with weights has everything.
        for name in &wanted.names {
            fetch(name)?;
        }
        let single = wanted.names.len();
        wanted.add_shards(&directory, &names)?;
        for name in &wanted.names[single..] {
            fetch(name)?;
        }
        if !VOCABULARIES.iter().any(|name| names.contains(*name)) {
            repository.note_absent(&commit, VOCABULARIES)?;
        }
        repository.set_commit(id.revision(), &commit)?;
        stored(directory, commit, wanted.names)
    }

    fn not_in_cache(&self, id: &ModelId) -> Error {
        Error::input(format!(
            "{id} is not in the cache {}, and HF_HUB_OFFLINE forbids the network; download it \
             without that variable",
            self.cache.display()
        ))
    }
}

/// The value of a variable, if it has one.
fn set(variable: &str) -> Option<OsString> {
    env::var_os(variable).filter(|value| !value.is_empty())
}

fn stored(directory: PathBuf, commit: String, names: Vec<String>) -> Result<StoredModel> {
    let sized = |name: String| {
        let path = directory.join(&name);
        let found = std::fs::metadata(&path).map_err(|e| Error::io("reading", &path, e))?;
        Ok((name, found.len()))
    };
    let files = names.into_iter().map(sized).collect::<Result<_>>()?;
    Ok(StoredModel { directory, commit, files })
}

/// What a hub says of a revision; the keys that matter here.
#[derive(Deserialize)]
#[serde(expecting = "an object with \"sha\" and \"siblings\"")]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with \"rfilename\"")]
struct Sibling {
    rfilename: String,
}

impl Listing {
    fn parse(bytes: &[u8], id: &ModelId) -> Result<Self> {
        let wrong = |what: &str| {
            Error::input(format!(
                "the hub's answer for {id} is not a list of files: {what}; is HF_ENDPOINT a hub?"
            ))
        };
        let listing: Self =
            serde_json::from_slice(bytes).map_err(|error| wrong(&error.to_string()))?;
        if !is_commit(&listing.sha) {
            return Err(wrong(&format!("{:?} is not the name of a commit", listing.sha)));
        }
        // Most names are nobody's concern, but one that leads elsewhere says what this server is.
        let leaves =
            |name: &str| name.starts_with('/') || name.split(['/', '\\']).any(|part| part == "..");
        match listing.siblings.iter().find(|sibling| leaves(&sibling.rfilename)) {
            Some(evil) => {
                Err(wrong(&format!("the name {:?} leads out of the directory", evil.rfilename)))
            }
            None => Ok(listing),
        }
    }
}

/// The files of a repository that make a model.
struct Wanted {
    /// Tokenizer, config, weights, in this order.
    names: Vec<String>,
}

impl Wanted {
    /// Chooses among `names`, or says what is lacking.
    fn of(names: &BTreeSet<String>) -> std::result::Result<Self, String> {
        if !names.contains(CONFIG_FILE) {
            return Err(format!("it has no {CONFIG_FILE}"));
        }
        let weights = WEIGHTS.into_iter().find(|name| names.contains(*name));
        let weights = weights.ok_or_else(|| format!("it has none of {}", WEIGHTS.join(", ")))?;
        let tokenizer = TOKENIZER_FILES.into_iter().filter(|name| names.contains(*name));
        let names = tokenizer.chain([CONFIG_FILE, weights]).map(str::to_owned).collect();
        Ok(Self { names })
    }

    /// If the weights are a table of files in `directory`, adds those; all must be in `names`.
    fn add_shards(&mut self, directory: &Path, names: &BTreeSet<String>) -> Result<()> {
        let table = self.names.last().filter(|name| name.ends_with(SHARDS));
        let Some(path) = table.map(|table| directory.join(table)) else { return Ok(()) };
        #[derive(Deserialize)]
        #[serde(expecting = "an object with \"weight_map\"")]
        struct Table {
            weight_map: std::collections::BTreeMap<String, String>,
        }
        let table: Table = serde_json::from_str(&files::read_text(&path)?)
            .map_err(|error| Error::format(&path, format!("not a table of weights: {error}")))?;
        let shards: BTreeSet<String> = table.weight_map.into_values().collect();
        for shard in &shards {
            if !is_file_name(shard) {
                let message = format!("{shard:?} is not the name of a file beside it");
                return Err(Error::format(&path, message));
            }
            if !names.contains(shard) {
                let message = format!("names {shard}, which the repository does not have");
                return Err(Error::format(&path, message));
            }
        }
        self.names.extend(shards);
        Ok(())
    }
}
