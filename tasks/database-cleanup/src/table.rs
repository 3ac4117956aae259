//! One table: read twice, written once beside itself, replaced in one step.

use crate::record::{self, Record};
use crate::time::Moment;
use mesh_guest::{Error, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

/// Numbers of malformed lines that are told: enough to find the cause.
const TOLD: usize = 10;
const BLOCK: usize = 64 * 1024;

/// What became of a table.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Cleaned {
    pub(crate) table: String,
    /// Records that stay.
    pub(crate) kept: u64,
    /// Records dropped for a later one.
    pub(crate) superseded: u64,
    /// Tombstones dropped.
    pub(crate) deleted: u64,
    /// Records dropped for their age.
    pub(crate) old: u64,
    /// Lines that are no record, and stay.
    pub(crate) malformed: u64,
    /// Numbers of the first such lines, from 1.
    pub(crate) first_malformed: Vec<u64>,
    pub(crate) bytes_before: u64,
    pub(crate) bytes_after: u64,
}

/// The last record of each id: when it was updated, and its line.
type Latest = BTreeMap<String, (Moment, u64)>;

/// Cleans a table. It is not touched when there is nothing to drop.
///
/// # Errors
/// Failed, when it cannot be read or replaced, or changes meanwhile. It is as it was then.
pub(crate) fn clean(folder: &Path, name: &str, before: Option<i64>) -> Result<Cleaned> {
    let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
    let fail = |error: Error| Error::failed(format!("cannot clean {name}: {error}"));
    let (latest, bytes) = latest(&path).map_err(fail)?;
    let cleaned = write(&path, &new, &latest, before).and_then(|cleaned| {
        if cleaned.bytes_after == cleaned.bytes_before {
            fs::remove_file(&new)?;
        } else if bytes != cleaned.bytes_before || fs::metadata(&path)?.len() != bytes {
            // Its program appended a record, which was not weighed in the first reading or not copied in the second.
            return Err(Error::failed("it was written to meanwhile; run the task again while nobody writes"));
        } else {
            fs::rename(&new, &path)?;
        }
        Ok(cleaned)
    });
    match cleaned {
        Ok(cleaned) => Ok(Cleaned { table: name.to_owned(), ..cleaned }),
        Err(error) => {
            // What went wrong first matters more than a file left over, which the next run writes over.
            let _ = fs::remove_file(&new);
            Err(fail(error))
        }
    }
}

/// And how many bytes were read.
fn latest(path: &Path) -> Result<(Latest, u64)> {
    let (mut latest, mut bytes) = (Latest::new(), 0);
    each_line(path, |number, line| {
        bytes += line.len() as u64;
        if let Some(Record { id, updated, .. }) = record::parse(line) {
            let entry = latest.entry(id).or_insert((updated, number));
            *entry = (*entry).max((updated, number));
        }
        Ok(())
    })?;
    Ok((latest, bytes))
}

fn write(path: &Path, new: &Path, latest: &Latest, before: Option<i64>) -> Result<Cleaned> {
    let mut cleaned = Cleaned::default();
    let mut to = BufWriter::with_capacity(BLOCK, File::create(new)?);
    each_line(path, |number, line| {
        cleaned.bytes_before += line.len() as u64;
        match record::parse(line) {
            None => {
                cleaned.malformed += 1;
                if cleaned.first_malformed.len() < TOLD {
                    cleaned.first_malformed.push(number);
                }
            }
            Some(record) => {
                let count = if latest.get(&record.id) != Some(&(record.updated, number)) {
                    &mut cleaned.superseded
                } else if record.deleted {
                    &mut cleaned.deleted
                } else if before.is_some_and(|before| record.updated.seconds < before) {
                    &mut cleaned.old
                } else {
                    cleaned.kept += 1;
                    return keep(&mut to, line, &mut cleaned);
                };
                *count += 1;
                return Ok(());
            }
        }
        keep(&mut to, line, &mut cleaned)
    })?;
    let file = to.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(cleaned)
}

fn keep(to: &mut impl Write, line: &[u8], cleaned: &mut Cleaned) -> Result<()> {
    to.write_all(line)?;
    cleaned.bytes_after += line.len() as u64;
    Ok(())
}

/// Each line with its end, so that what stays stays to the byte; the last one may have none.
fn each_line(path: &Path, mut take: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    let mut from = BufReader::with_capacity(BLOCK, File::open(path)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if from.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        take(number, &line)?;
    }
    Ok(())
}
