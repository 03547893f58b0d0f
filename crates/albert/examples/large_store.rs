//! How long a large store takes to open, how much memory drawing from it takes, and how fast
//! examples are drawn.
//!
//! ```sh
//! albert prepare --tokenizer vocab --input part.txt part.txt part.txt … --output real
//! cargo run --release -p albert --example large_store -- multiply real large 24
//! cargo run --release -p albert --example large_store -- draw large 10000
//! ```
//!
//! `multiply` makes a store of so many times the shards of another: each is another name of the
//! same file, so that a store of 50 GB takes the disk of one shard. `draw` prints one line for each
//! sequence length; the process should be a new one, since memory is its highest so far.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use albert::data::{Limit, Mixture, SampleOptions, Sampler, Store};
use albert::random::Seed;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["multiply", from, to, times] => multiply(from.as_ref(), to.as_ref(), times.parse()?),
        ["draw", store, count] => draw(store.as_ref(), count.parse()?),
        _ => {
            Err("usage: large_store multiply STORE NEW TIMES | large_store draw STORE COUNT".into())
        }
    }
}

fn multiply(from: &Path, to: &Path, times: u64) -> Result<(), Box<dyn Error>> {
    fs::create_dir(to)?;
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(from.join("manifest.json"))?)?;
    let shards = manifest["shards"].as_array().ok_or("a manifest has shards")?.clone();
    for copy in 0..times as usize {
        for shard in 0..shards.len() {
            for part in ["ids", "sentences", "documents", "blocks"] {
                let name = |number| format!("{part}-{number:05}.bin");
                let number = copy * shards.len() + shard;
                fs::hard_link(from.join(name(shard)), to.join(name(number)))?;
            }
        }
    }
    for key in ["documents", "sentences", "tokens", "text_bytes"] {
        manifest[key] = (manifest[key].as_u64().ok_or("a manifest has counts")? * times).into();
    }
    manifest["shards"] = (0..times).flat_map(|_| shards.clone()).collect();
    fs::write(to.join("manifest.json"), serde_json::to_vec(&manifest)?)?;
    fs::copy(from.join("word_starts.bin"), to.join("word_starts.bin"))?;
    let tokenizer = to.join("tokenizer");
    fs::create_dir(&tokenizer)?;
    for entry in fs::read_dir(from.join("tokenizer"))? {
        let entry = entry?;
        fs::copy(entry.path(), tokenizer.join(entry.file_name()))?;
    }
    Ok(())
}

fn draw(directory: &Path, count: u64) -> Result<(), Box<dyn Error>> {
    println!("length  opened (s)  first (s)  memory (MiB)  examples/s  tokens/s");
    for length in [64, 128, 512] {
        let started = Instant::now();
        let store = Arc::new(Store::open(directory)?);
        let sampler = Sampler::new(store, SampleOptions::new(length), Seed::new(1))?;
        let mut mixture = Mixture::new(vec![(sampler, 1.0)]);
        let opened = started.elapsed().as_secs_f64();
        mixture.draw(Limit::Examples(1))?;
        let first = started.elapsed().as_secs_f64();
        let started = Instant::now();
        let examples = mixture.draw(Limit::Examples(count))?;
        let seconds = started.elapsed().as_secs_f64();
        let tokens: usize = examples.iter().map(|example| example.input_ids.len()).sum();
        println!(
            "{length:6}  {opened:10.3}  {first:9.3}  {:12.1}  {:10.0}  {:8.0}",
            memory().unwrap_or(f64::NAN),
            count as f64 / seconds,
            tokens as f64 / seconds
        );
    }
    let manifest = Store::open(directory)?.manifest().clone();
    println!(
        "{:.1} GB of ids, {} shards, made of {:.1} GB of text",
        manifest.tokens as f64 * manifest.id_bytes as f64 / 1e9,
        manifest.shards.len(),
        manifest.text_bytes as f64 / 1e9
    );
    Ok(())
}

/// The most memory this process has held, in MiB (`VmHWM`, Linux only).
fn memory() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
}
