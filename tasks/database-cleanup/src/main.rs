//! Drops deleted, superseded and old records from the tables of a share.
// spec: SDK-5

mod record;
mod table;
#[cfg(test)]
mod tests;
mod time;

use mesh_guest::{Context, Error, Level, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use table::Cleaned;

const SHARE: &str = "db";
/// Made and taken away again, to see whether the share can be written to.
const PROBE: &str = ".database-cleanup.probe";

/// The input.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Params {
    /// Unix seconds: records updated earlier are dropped.
    before: Option<i64>,
}

/// What was done.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    tables: Vec<Cleaned>,
}

#[mesh_guest::task]
fn main(ctx: &mut Context, input: Option<Params>) -> Result<Report> {
    let Params { before } = input.unwrap_or_default();
    let folder = ctx.share(SHARE);
    let names = tables(&folder)?;
    check_writable(&folder)?;
    let mut report = Report::default();
    for (index, name) in names.iter().enumerate() {
        if ctx.should_stop() {
            return Err(Error::stopped(format!("stopped after {index} of {} tables", names.len())));
        }
        ctx.progress(index as f64 / names.len() as f64, name);
        // The first failure ends it: the share is put in place whole or not at all, so the other tables would be in vain.
        let cleaned = table::clean(&folder, name, before)?;
        if cleaned.malformed > 0 {
            ctx.log(Level::Warn, &format!("{name}: {} lines are no records", cleaned.malformed));
        }
        report.tables.push(cleaned);
    }
    ctx.progress(1.0, "done");
    Ok(report)
}

/// The names of the tables, in order. Links and folders are left alone, whatever they are called.
fn tables(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|error| {
        Error::failed(format!("cannot list the share {SHARE}: {error}; run with --share {SHARE}=FOLDER:rw"))
    })?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string()
            && name.ends_with(".ndjson")
            && entry.file_type()?.is_file()
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Fails before any work is done in vain, also when there is nothing to drop today.
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
