//! What is on disk, looked at without making a model of it: every tensor as it is stored, and what is
//! missing, not understood or wrong.

use std::path::{Path, PathBuf};

use super::int8::kept_as_bytes;
use super::source::{Format, Source};
use super::{Opened, Parts, part_ranges, present_parts};
use crate::backend::Precision;
use crate::config::ModelConfig;
use crate::error::Result;
use crate::files;
use crate::model::{Layout, Parameter};

/// A tensor as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTensor {
    /// The name that it has here: Hugging Face's, if it is known.
    pub name: String,
    /// Row-major, outputs before inputs.
    pub shape: Vec<usize>,
    /// The type of its elements, as safetensors calls it.
    pub dtype: &'static str,
    /// Which file it is in.
    pub file: PathBuf,
}

/// A model on disk.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The description.
    pub config: ModelConfig,
    /// The format of its weights; `None` if there are none.
    pub format: Option<Format>,
    /// Everything that is stored, by name.
    pub tensors: Vec<StoredTensor>,
    /// The parts that are whole.
    pub parts: Parts,
    /// The names of parameters that are not there although others of their part are.
    pub missing: Vec<String>,
    /// All that is not there.
    absent: Vec<String>,
    /// The names of tensors that belong to no part of the model.
    pub unexpected: Vec<String>,
    /// The names of what only served training.
    pub training: Vec<String>,
    /// One sentence per key of the config that was not understood.
    pub warnings: Vec<String>,
}

/// Looks at the model at `path`, which may be all that [`super::load`] takes, and reads all of its
/// numbers once.
///
/// # Errors
/// As [`super::load`], except that the weights may be missing.
pub fn inspect(path: &Path) -> Result<Inspection> {
    let source = Source::find(path)?;
    if !files::exists(&source.main_file()) {
        let parsed = source.config()?;
        let inspection = Inspection::of_config(parsed.config);
        return Ok(Inspection { warnings: parsed.warnings, ..inspection });
    }
    let Opened { config, tensors, warnings } = Opened::new(&source)?;
    let mut inspection = Inspection { warnings, ..Inspection::of_config(config) };
    let layout = Layout::new(&inspection.config);
    tensors.check_size(&layout)?;
    for parameter in &layout.parameters {
        tensors.read(parameter)?;
    }
    let absent = tensors.absent(&layout);
    inspection.parts = present_parts(&tensors, &layout, &absent)?;
    let names = |parameters: &[&Parameter]| -> Vec<String> {
        parameters.iter().map(|parameter| parameter.name().to_owned()).collect()
    };
    inspection.absent = names(&absent);
    let wholly: Vec<_> = part_ranges(&layout)
        .into_iter()
        .filter(|range| {
            let mut of_part = layout.parameters.iter().filter(|p| range.contains(&p.span.offset));
            of_part.all(|parameter| absent.contains(&parameter))
        })
        .collect();
    let is_wholly = |p: &&Parameter| wholly.iter().any(|range| range.contains(&p.span.offset));
    let missing: Vec<&Parameter> = absent.into_iter().filter(|p| !is_wholly(p)).collect();
    inspection.missing = names(&missing);
    inspection.unexpected = tensors.unexpected(inspection.config.family, &layout)?;
    inspection.format = Some(source.format());
    let stored = tensors.named.iter().map(|(name, tensor)| StoredTensor {
        name: name.clone(),
        shape: tensor.shape.clone(),
        dtype: tensor.number.name(),
        file: tensors.files[tensor.file].path.clone(),
    });
    inspection.tensors = stored.collect();
    inspection.training = tensors.skipped;
    Ok(inspection)
}

impl Inspection {
    /// What there is to say of a model that is not on disk.
    #[must_use]
    pub fn of_config(config: ModelConfig) -> Self {
        Self {
            config,
            format: None,
            tensors: Vec::new(),
            parts: Parts::default(),
            missing: Vec::new(),
            absent: Vec::new(),
            unexpected: Vec::new(),
            training: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The parameters, each counted once, that are there: all of the config without weights.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.sum(&Layout::new(&self.config), |parameter| parameter.span.len)
    }

    /// Bytes of these parameters in `precision`, as this program keeps them: in int8 the matrices
    /// are bytes with a scale for each row, and the rest is `f32`.
    #[must_use]
    pub fn bytes(&self, precision: Precision) -> usize {
        let layout = Layout::new(&self.config);
        let is_matrix = kept_as_bytes(&layout);
        self.sum(&layout, |parameter| match precision {
            Precision::Bf16 => parameter.span.len.saturating_mul(2),
            Precision::Int8 if is_matrix(parameter) => parameter.span.len + 4 * parameter.shape[0],
            Precision::F32 | Precision::Int8 => parameter.span.len.saturating_mul(4),
        })
    }

    fn sum(&self, layout: &Layout, of: impl Fn(&Parameter) -> usize) -> usize {
        let is_there =
            |parameter: &&Parameter| !self.absent.iter().any(|absent| absent == parameter.name());
        // A config may describe more than can be counted.
        layout.parameters.iter().filter(is_there).map(of).fold(0, usize::saturating_add)
    }
}
