//! Drops deleted, superseded and old records from the tables of a share.
// spec: SDK-5

mod record;
mod table;
#[cfg(test)]
mod tests;
mod time;

use mesh_guest::{Context, Error, Level, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use table::Cleaned;

const SHARE: &str = "db";

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
    failed: Vec<Failed>,
}

/// A table that is as it was.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Failed {
    table: String,
    error: String,
}

#[mesh_guest::task]
fn main(ctx: &mut Context, input: Option<Params>) -> Result<Report> {
    let Params { before } = input.unwrap_or_default();
    let folder = ctx.share(SHARE);
    let names = tables(&folder)?;
    let mut report = Report::default();
    for (index, name) in names.iter().enumerate() {
        if ctx.should_stop() {
            return Err(Error::stopped(format!("stopped after {index} of {} tables", names.len())));
        }
        ctx.progress(index as f64 / names.len() as f64, name);
        match table::clean(&folder, name, before) {
            Ok(cleaned) => {
                if cleaned.malformed > 0 {
                    ctx.log(Level::Warn, &format!("{name}: {} lines are no records", cleaned.malformed));
                }
                report.tables.push(cleaned);
            }
            Err(error) => {
                ctx.log(Level::Error, &format!("{name}: {error}"));
                report.failed.push(Failed { table: name.clone(), error: error.message().to_owned() });
            }
        }
    }
    ctx.progress(1.0, "done");
    Ok(report)
}

/// The names of the tables, in order. Links and folders are left alone, whatever they are called.
fn tables(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|error| {
        Error::failed(format!(
            "cannot list the share {SHARE}: {error}; ask its donor to share a folder as {SHARE}=rw"
        ))
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
