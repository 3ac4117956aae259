//! A rotated log to gzip, with the plain one kept until the compressed one is whole.

use crate::rotate::Log;
use flate2::{Compression, GzBuilder};
use mesh_guest::{Error, Result};
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::path::Path;

/// In a gzip header: made on no system in particular.
const UNKNOWN_SYSTEM: u8 = 255;

/// A rotated log that was compressed.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Compressed {
    file: String,
    bytes: u64,
    compressed_bytes: u64,
}

/// Compresses a rotated log, if there is a plain one with that number.
///
/// # Errors
/// Failed, when a file cannot be read, written or renamed. The plain one is there then, and no half of a compressed one.
pub(crate) fn compress(log: &Log<'_>, number: u32) -> Result<Option<Compressed>> {
    let (plain, gz) = (log.plain(number), log.gz(number));
    if !plain.try_exists()? {
        return Ok(None);
    }
    let half = gz.with_extension("gz.tmp");
    let replaced = replace(&plain, &half, &gz).map_err(|error| {
        // What went wrong first matters more than a file left over, which the next run writes over.
        let _ = fs::remove_file(&half);
        Error::failed(format!("cannot compress {}: {error}", log.plain_name(number)))
    })?;
    let file = format!("{}.gz", log.plain_name(number));
    Ok(replaced.map(|(bytes, compressed_bytes)| Compressed { file, bytes, compressed_bytes }))
}

/// Gives how many bytes were read and written; `None` when the plain one has to stay.
fn replace(plain: &Path, half: &Path, gz: &Path) -> io::Result<Option<(u64, u64)>> {
    let bytes = write(plain, half)?;
    if fs::metadata(plain)?.len() != bytes {
        // Its writer still holds it open: what it writes from now on would be lost.
        fs::remove_file(half)?;
        return Ok(None);
    }
    let compressed_bytes = fs::metadata(half)?.len();
    // If a compressed one is there, an earlier run was interrupted before the next line: it is the same.
    fs::rename(half, gz)?;
    fs::remove_file(plain)?;
    Ok(Some((bytes, compressed_bytes)))
}

/// Gives how many bytes were read. The same bytes make the same file: no name and no time in it.
fn write(plain: &Path, half: &Path) -> io::Result<u64> {
    let mut from = BufReader::with_capacity(64 * 1024, File::open(plain)?);
    let to = BufWriter::with_capacity(64 * 1024, File::create(half)?);
    let mut gz = GzBuilder::new().mtime(0).operating_system(UNKNOWN_SYSTEM).write(to, Compression::default());
    let bytes = io::copy(&mut from, &mut gz)?;
    let file = gz.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(bytes)
}
