//! `albert download`

use std::io::Write as _;
use std::path::PathBuf;

use albert::hub::{Hub, ModelId};
use anyhow::Result;
use bytesize::ByteSize;
use serde_json::{Value, json};

use crate::model;

/// Download a model from a hub, or bring it up to date
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  albert download albert/albert-base-v2
  albert download albert/albert-base-v2@main --output albert-base
  HF_TOKEN=hf_... albert download my-company/private-model --json
  albert fill-mask --model albert/albert-base-v2 \"Paris is the [MASK] of France.\"

Fetched are config.json, the files of the tokenizer, and the weights in safetensors or else PyTorch.
They go to the cache that Python's transformers has too, ~/.cache/huggingface/hub unless HF_HOME or
HF_HUB_CACHE names another place. A download that was interrupted goes on where it stopped.

Wherever a command takes a model, it takes an ID too. What is in the cache is used without asking
the network; only this command looks whether a branch has moved on.

HF_TOKEN          for models that are private or have terms to accept
HF_ENDPOINT       the address of another hub
HF_HUB_OFFLINE=1  never use the network, only the cache

With --json, one object: {\"id\", \"revision\", \"commit\", \"path\", \"bytes\", \"files\": [{\"name\",
\"bytes\"}]}")]
pub(crate) struct Arguments {
    /// NAME or OWNER/NAME, and a branch, a tag or a commit if not main
    #[arg(value_name = "ID[@REVISION]")]
    id: String,

    /// Put the files into a directory of their own, which must not exist or be empty; where they
    /// can, weights share their bytes with the cache, and all others are copies
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(crate) fn run(self) -> Result<()> {
        let id = ModelId::parse(&self.id)?;
        if let Some(directory) = &self.output {
            // Before the download rather than after.
            albert::files::refuse_taken(directory)?;
        }
        let found = model::download(&Hub::from_env()?, &id)?;
        let path = match self.output {
            Some(directory) => {
                found.copy_to(&directory)?;
                directory
            }
            None => found.directory.clone(),
        };
        let mut out = std::io::stdout().lock();
        if self.json {
            let file = |(name, bytes): &(String, u64)| json!({"name": name, "bytes": bytes});
            let summary = json!({
                "id": id.name(),
                "revision": id.revision(),
                "commit": found.commit,
                "path": path.display().to_string(),
                "bytes": found.bytes(),
                "files": found.files.iter().map(file).collect::<Vec<Value>>(),
            });
            writeln!(out, "{summary}")?;
        } else {
            let (size, count) = (ByteSize(found.bytes()), found.files.len());
            writeln!(out, "{}\n{} in {count} files", path.display(), size.display().iec())?;
        }
        Ok(())
    }
}
