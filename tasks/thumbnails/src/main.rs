//! Makes a small PNG of each picture in `/in`.
// spec: SDK-5

mod shrink;
#[cfg(test)]
mod tests;

use mesh_guest::{Context, Error, Level, Result};
use serde::{Deserialize, Serialize};
use std::fs;

/// Larger ones are no thumbnails, and would not fit the manifest's `out`.
const MOST_SIDE: u32 = 1024;

/// The input.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Params {
    /// Most pixels of a thumbnail's longer side.
    max_side: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self { max_side: 128 }
    }
}

/// What became of one picture.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Done {
    /// It has a thumbnail.
    Made { name: String, width: u32, height: u32, thumb: Thumb },
    /// It has none.
    Broken { name: String, error: String },
}

/// A file in `/out`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Thumb {
    name: String,
    width: u32,
    height: u32,
}

#[mesh_guest::task]
fn main(ctx: &mut Context, input: Option<Params>) -> Result<Vec<Done>> {
    let Params { max_side } = input.unwrap_or_default();
    if !(1..=MOST_SIDE).contains(&max_side) {
        return Err(Error::invalid_input(format!("max_side is {max_side}: give 1 to {MOST_SIDE} pixels")));
    }
    let names = names(ctx)?;
    let mut done = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        if ctx.should_stop() {
            return Err(Error::stopped(format!("stopped after {index} of {} pictures", names.len())));
        }
        ctx.progress(index as f64 / names.len() as f64, name);
        done.push(make(ctx, name, max_side)?);
    }
    ctx.progress(1.0, "done");
    Ok(done)
}

/// The names of the files in `/in`, in order.
fn names(ctx: &Context) -> Result<Vec<String>> {
    let folder = ctx.input_dir();
    let entries = fs::read_dir(folder).map_err(|error| {
        Error::invalid_input(format!(
            "cannot list {}: {error}; give pictures as named inputs",
            folder.display()
        ))
    })?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let name = entry.file_name().into_string();
            names.push(name.map_err(|name| Error::invalid_input(format!("the name {name:?} is not UTF-8")))?);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A picture that cannot be read is told; a thumbnail that cannot be written ends the task, as the next could not be
/// written either.
fn make(ctx: &mut Context, name: &str, max_side: u32) -> Result<Done> {
    let picture = match shrink::shrink(&ctx.input_dir().join(name), max_side) {
        Ok(picture) => picture,
        Err(error) => {
            ctx.log(Level::Warn, &format!("{name}: {error}"));
            return Ok(Done::Broken { name: name.to_owned(), error: error.message().to_owned() });
        }
    };
    let to = format!("{name}.thumb.png");
    picture
        .small
        .save_with_format(ctx.output_dir().join(&to), image::ImageFormat::Png)
        .map_err(|error| Error::failed(format!("cannot write {to}: {error}")))?;
    let thumb = Thumb { name: to, width: picture.small.width(), height: picture.small.height() };
    Ok(Done::Made { name: name.to_owned(), width: picture.width, height: picture.height, thumb })
}
