//! Rotates and compresses the logs of a share.
// spec: SDK-5

mod compress;
mod rotate;
#[cfg(test)]
mod tests;

use compress::Compressed;
use mesh_guest::{Context, Error, Result};
use rotate::Log;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::path::Path;

const SHARE: &str = "logs";
/// Made and taken away again, to see whether the share can be written to.
const PROBE: &str = ".log-rotation.probe";
const MOST_KEPT: u32 = 1000;

/// The input.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Params {
    /// Logs of more bytes are rotated.
    max_bytes: u64,
    /// How many rotated ones of each log are kept.
    keep: u32,
}

impl Default for Params {
    fn default() -> Self {
        Self { max_bytes: 10_000_000, keep: 7 }
    }
}

/// What was done.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    rotated: Vec<Rotated>,
    compressed: Vec<Compressed>,
    deleted: Vec<String>,
}

/// A log that begins anew.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Rotated {
    log: String,
    bytes: u64,
}

#[mesh_guest::task]
fn main(ctx: &mut Context, input: Option<Params>) -> Result<Report> {
    let params = input.unwrap_or_default();
    if !(1..=MOST_KEPT).contains(&params.keep) {
        return Err(Error::invalid_input(format!("keep is {}: give 1 to {MOST_KEPT}", params.keep)));
    }
    let folder = ctx.share(SHARE);
    let names = logs(&folder)?;
    check_writable(&folder)?;
    let mut report = Report::default();
    for (index, name) in names.iter().enumerate() {
        if ctx.should_stop() {
            return Err(Error::stopped(format!("stopped after {index} of {} logs", names.len())));
        }
        ctx.progress(index as f64 / names.len() as f64, name);
        // The first failure ends it: the share is put in place whole or not at all, so the other logs would be in vain.
        work(&folder, name, &params, &mut report)
            .map_err(|error| Error::failed(format!("{name}: {error}")))?;
    }
    ctx.progress(1.0, "done");
    Ok(report)
}

/// The names of the logs, in order. Links and folders are left alone, whatever they are called.
fn logs(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|error| {
        Error::failed(format!("cannot list the share {SHARE}: {error}; run with --share {SHARE}=FOLDER:rw"))
    })?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        // A name that is not UTF-8 does not end in ".log" for sure; nobody can ask for it either.
        if let Ok(name) = entry.file_name().into_string()
            && name.ends_with(".log")
            && entry.file_type()?.is_file()
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Fails before any work is done in vain, also when no log is large enough today.
fn check_writable(folder: &Path) -> Result<()> {
    let probe = folder.join(PROBE);
    File::create(&probe).and_then(|_| fs::remove_file(&probe)).map_err(|error| not_writable(&error))
}

fn not_writable(error: &io::Error) -> Error {
    if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
        Error::failed(format!("the share is read-only: run with --share {SHARE}=FOLDER:rw"))
    } else {
        Error::failed(format!("cannot write to the share {SHARE}: {error}"))
    }
}

fn work(folder: &Path, name: &str, params: &Params, report: &mut Report) -> Result<()> {
    let log = Log::new(folder, name);
    let bytes = fs::metadata(log.path())?.len();
    if bytes > params.max_bytes {
        report.deleted.extend(log.rotate(params.keep)?);
        report.rotated.push(Rotated { log: name.to_owned(), bytes });
    }
    // Also what an earlier run had no time for.
    for number in 1..=params.keep {
        report.compressed.extend(compress::compress(&log, number)?);
    }
    report.deleted.extend(log.delete_over(params.keep)?);
    Ok(())
}
