//! The stores of a run, as written in its settings: one path, or a list with weights.

use std::path::PathBuf;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

/// A store, and how much of it there is to be.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table { path, weight }")]
pub struct WeightedStore {
    /// The directory of the store.
    pub path: PathBuf,
    /// The tokens drawn from the stores are as their weights; 1 if not given.
    #[serde(default = "one")]
    pub weight: f64,
    /// What the store holds, noted when a run starts.
    #[serde(default)]
    pub fingerprint: String,
}

impl WeightedStore {
    /// A store whose fingerprint is not known yet.
    #[must_use]
    pub fn new(path: PathBuf, weight: f64) -> Self {
        Self { path, weight, fingerprint: String::new() }
    }
}

fn one() -> f64 {
    1.0
}

/// Reads a path, or a list of stores.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<WeightedStore>, D::Error> {
    deserializer.deserialize_any(OneOrMany)
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Vec<WeightedStore>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a path or a list of { path, weight }")
    }

    fn visit_str<E>(self, path: &str) -> Result<Self::Value, E> {
        Ok(vec![WeightedStore::new(path.into(), 1.0)])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, stores: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(stores))
    }
}
