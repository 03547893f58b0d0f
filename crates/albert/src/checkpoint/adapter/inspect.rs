//! What an adapter is, looked at without the model that it belongs to.

use std::path::Path;

use super::{MATRICES, StoredAdapter};
use crate::checkpoint::StoredTensor;
use crate::config::Head;
use crate::error::Result;

/// An adapter on disk.
#[derive(Debug, Clone)]
pub struct AdapterInspection {
    /// r.
    pub rank: usize,
    /// What is written as its alpha.
    pub alpha: f64,
    /// What `B A` is multiplied by.
    pub scale: f64,
    /// The modules with matrices beside them, by their whole names.
    pub targets: Vec<String>,
    /// The tensors that it has whole.
    pub wholes: Vec<String>,
    /// The head, if its `config.json` says which.
    pub head: Option<Head>,
    /// The name or path of the model that it was trained on, if it is said.
    pub base: Option<String>,
    /// Everything that is stored, by name without `base_model.model.`.
    pub tensors: Vec<StoredTensor>,
    /// Numbers of all tensors.
    pub parameters: usize,
    /// The size of the file with them.
    pub bytes: u64,
    /// One sentence per key that was not understood.
    pub warnings: Vec<String>,
}

/// Looks at the adapter in `directory`, and reads all of its numbers once.
///
/// # Errors
/// A file that is missing, damaged, or of an adapter that cannot be used here.
pub fn inspect_adapter(directory: &Path) -> Result<AdapterInspection> {
    let StoredAdapter { config, tensors, head, warnings, .. } = StoredAdapter::open(directory)?;
    let mut inspection = AdapterInspection {
        rank: config.rank,
        alpha: config.alpha,
        scale: config.scale,
        targets: Vec::new(),
        wholes: Vec::new(),
        head,
        base: config.base,
        tensors: Vec::new(),
        parameters: 0,
        bytes: tensors.files.iter().map(|file| file.map.len() as u64).sum(),
        warnings,
    };
    for (name, tensor) in &tensors.named {
        inspection.parameters += tensors.values(name, tensor, &tensor.shape)?.len();
        match MATRICES.map(|matrix| name.strip_suffix(matrix)) {
            [Some(module), _] => inspection.targets.push(module.to_owned()),
            [None, Some(_)] => {}
            [None, None] => inspection.wholes.push(name.clone()),
        }
        inspection.tensors.push(StoredTensor {
            name: name.clone(),
            shape: tensor.shape.clone(),
            dtype: tensor.number.name(),
            file: tensors.files[tensor.file].path.clone(),
        });
    }
    Ok(inspection)
}
