//! The text of a run: its stores, opened and checked against each other and the model.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::settings::{Settings, WeightedStore};
use crate::config::ModelConfig;
use crate::data::{Limit, Mixture, Sampler, Store};
use crate::error::{Error, Result};
use crate::random::Seed;

/// Examples that are drawn before anything else: what cannot be drawn must not start a run. Their
/// mean length is taken for that of all.
const FIRST_EXAMPLES: u64 = 256;

/// What a run is trained and evaluated on.
pub(super) struct Feed {
    /// Each store in each length, in the order of the settings.
    pub(super) train: Mixture,
    /// In the same lengths.
    pub(super) eval: Option<Mixture>,
    stores: Vec<Arc<Store>>,
    /// Tokens of an example, about.
    mean_length: f64,
}

impl Feed {
    /// Opens the stores of `settings`, which are valid. All must be of one tokenizer, and of the
    /// vocabulary of `config`.
    pub(super) fn open(settings: &Settings, config: &ModelConfig) -> Result<Self> {
        let stores = settings.data.iter().map(|data| Ok(Arc::new(Store::open(&data.path)?)));
        let stores: Vec<Arc<Store>> = stores.collect::<Result<_>>()?;
        for store in &stores[1..] {
            check_same_tokenizer(store, &stores[0])?;
        }
        check_model(settings, config, &stores[0])?;
        let weighted: Vec<(Arc<Store>, f64)> =
            stores.iter().cloned().zip(settings.data.iter().map(|data| data.weight)).collect();
        let mut train =
            mixture(&weighted, settings, Seed::new(settings.seed).split("examples", 0))?;
        let eval = match &settings.eval_data {
            None => None,
            Some(path) => {
                let store = Arc::new(Store::open(path)?);
                store.check_tokenizer(&stores[0].manifest().tokenizer_fingerprint)?;
                // The seed is a constant, so that every run is evaluated on the same examples.
                Some(mixture(&[(store, 1.0)], settings, Seed::new(0).split("evaluation", 0))?)
            }
        };
        let first = train.draw(Limit::Examples(FIRST_EXAMPLES))?;
        train.rewind();
        let tokens: usize = first.iter().map(|example| example.input_ids.len()).sum();
        Ok(Self { train, eval, stores, mean_length: tokens as f64 / first.len() as f64 })
    }

    /// About how often the whole run of `settings` goes through each store.
    pub(super) fn passes(&self, settings: &Settings) -> Vec<(PathBuf, f64)> {
        let sizes = settings.batch_sizes().before(settings.steps) as f64;
        let by_tokens = settings.batch_tokens.is_some();
        let tokens = if by_tokens { sizes } else { sizes * self.mean_length };
        // `[CLS]` and two `[SEP]` of each example are not of the text.
        let text = tokens * (1.0 - 3.0 / self.mean_length);
        let weights: f64 = settings.data.iter().map(|data| data.weight).sum();
        let pass = |(data, store): (&WeightedStore, &Arc<Store>)| {
            let times = text * data.weight / weights / store.manifest().tokens as f64;
            (data.path.clone(), times)
        };
        settings.data.iter().zip(&self.stores).map(pass).collect()
    }

    /// A store to train on: all have the same tokenizer.
    pub(super) fn store(&self) -> &Store {
        &self.stores[0]
    }

    /// Notes what the stores hold.
    pub(super) fn note_fingerprints(&self, settings: &mut Settings) {
        for (data, store) in settings.data.iter_mut().zip(&self.stores) {
            data.fingerprint = store.fingerprint();
        }
    }

    /// Checks that the stores hold what was noted when the run in `directory` was started.
    pub(super) fn check_fingerprints(&self, settings: &Settings, directory: &Path) -> Result<()> {
        let mut both = settings.data.iter().zip(&self.stores);
        match both.find(|(data, store)| data.fingerprint != store.fingerprint()) {
            None => Ok(()),
            Some((data, _)) => Err(Error::input(format!(
                "the store {} holds other text than when {} was started: put the old one back, or \
                 start a new run",
                data.path.display(),
                directory.display()
            ))),
        }
    }
}

/// Every store in every length, with its share of the tokens.
fn mixture(stores: &[(Arc<Store>, f64)], settings: &Settings, seed: Seed) -> Result<Mixture> {
    let mut samplers = Vec::new();
    for (index, (store, weight)) in stores.iter().enumerate() {
        for (length, share) in settings.lengths() {
            let seed = seed.split("store", index as u64).split("length", length as u64);
            let sampler = Sampler::new(Arc::clone(store), settings.sample_options(length), seed)?;
            samplers.push((sampler, weight * share));
        }
    }
    Ok(Mixture::new(samplers))
}

fn check_same_tokenizer(store: &Store, first: &Store) -> Result<()> {
    if store.manifest().tokenizer_fingerprint == first.manifest().tokenizer_fingerprint {
        return Ok(());
    }
    Err(Error::input(format!(
        "{} and {} were prepared with different tokenizers: prepare the text of one again with \
         the tokenizer of the other ({})",
        first.directory().display(),
        store.directory().display(),
        first.tokenizer_directory().display()
    )))
}

fn check_model(settings: &Settings, config: &ModelConfig, store: &Store) -> Result<()> {
    let vocab_size = store.manifest().vocab_size;
    if vocab_size != config.vocab_size {
        return Err(Error::config(format!(
            "the model has vocab_size {}, and the store {} was made with a vocabulary of \
             {vocab_size}: set vocab_size to {vocab_size}, or prepare the text with the model's \
             tokenizer",
            config.vocab_size,
            store.directory().display()
        )));
    }
    if settings.sequence_length > config.max_position_embeddings {
        return Err(Error::config(format!(
            "sequence-length is {}, and the model has {} positions (max_position_embeddings): \
             choose a shorter sequence",
            settings.sequence_length, config.max_position_embeddings
        )));
    }
    Ok(())
}
