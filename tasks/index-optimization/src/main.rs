//! Builds an inverted index of the texts in `/in`, and merges the indexes that lie there into it.
// spec: SDK-5

mod build;
mod segment;
#[cfg(test)]
mod tests;

use build::Builder;
use mesh_guest::{Context, Error, Level, Result};
use segment::Segment;
use serde::{Deserialize, Serialize};
use std::fs;

/// Bytes of text between two checkpoints.
const CHECKPOINT_EVERY: usize = 8_000_000;

/// The input.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Params {
    /// Names of documents to leave out.
    delete: Vec<String>,
}

/// What was made, and of what.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Stats {
    documents: usize,
    terms: usize,
    postings: u64,
    tokens: u64,
    bytes: usize,
    segments: usize,
    texts: usize,
    replaced: usize,
    deleted: usize,
}

#[mesh_guest::task]
fn main(ctx: &mut Context, input: Option<Params>) -> Result<Stats> {
    let params = input.unwrap_or_default();
    let names = names(ctx)?;
    let mut builder = match ctx.restore::<Builder>()? {
        Some(builder) => builder.fits(&names)?,
        None => Builder::new(names.clone()),
    };

    let mut unsaved = 0;
    for (index, name) in names.iter().enumerate().skip(builder.done()) {
        ctx.progress(index as f64 / names.len() as f64, name);
        if ctx.should_stop() {
            save(ctx, &builder);
            return Err(Error::stopped(format!("stopped after {index} of {} inputs", names.len())));
        }
        let path = ctx.input_dir().join(name);
        let bytes = fs::read(&path).map_err(|error| Error::failed(format!("cannot read {name}: {error}")))?;
        if is_segment(name) {
            let segment = Segment::decode(&bytes).map_err(|error| {
                Error::invalid_input(format!("{name} is not an index of this task: {error}"))
            })?;
            builder.add_segment(segment)?;
        } else {
            builder.add_text(name, &String::from_utf8_lossy(&bytes))?;
        }
        unsaved += bytes.len();
        if is_segment(name) || unsaved >= CHECKPOINT_EVERY {
            save(ctx, &builder);
            unsaved = 0;
        }
    }

    ctx.progress(1.0, "writing");
    let (segment, counts) = builder.finish(&params.delete)?;
    let bytes = segment.encode();
    let texts = names.iter().filter(|name| !is_segment(name)).count();
    let stats = Stats {
        documents: segment.documents.len(),
        terms: segment.terms.len(),
        postings: segment.terms.iter().map(|term| term.postings.len() as u64).sum(),
        // An index may claim any number.
        tokens: segment.documents.iter().fold(0, |sum, document| sum.saturating_add(document.tokens)),
        bytes: bytes.len(),
        segments: names.len() - texts,
        texts,
        replaced: counts.replaced,
        deleted: counts.deleted,
    };
    fs::write(ctx.output_dir().join("index.bin"), bytes)?;
    fs::write(ctx.output_dir().join("index.json"), serde_json::to_vec(&stats)?)?;
    Ok(stats)
}

fn is_segment(name: &str) -> bool {
    name.ends_with(".idx")
}

/// A state that is too large to save does not stop the work.
fn save(ctx: &mut Context, builder: &Builder) {
    if let Err(error) = ctx.checkpoint(builder) {
        ctx.log(Level::Warn, error.message());
    }
}

/// The names of the files in `/in`: indexes before texts, so that a text replaces what is older.
fn names(ctx: &Context) -> Result<Vec<String>> {
    let folder = ctx.input_dir();
    let entries = fs::read_dir(folder).map_err(|error| {
        let say = format!("cannot list {}: {error}; give texts or indexes as named inputs", folder.display());
        Error::invalid_input(say)
    })?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let name = entry.file_name().into_string();
            names.push(name.map_err(|name| Error::invalid_input(format!("the name {name:?} is not UTF-8")))?);
        }
    }
    names.sort_unstable_by(|a, b| is_segment(b).cmp(&is_segment(a)).then(a.cmp(b)));
    Ok(names)
}
