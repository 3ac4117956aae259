//! A receipt as a file: JSON with exactly one spelling, so that any changed byte is noticed.
// spec: SBX-14

use crate::failure::{Failure, Result};
use mesh_protocol::receipt::SignedReceipt;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Largest receipt read: arguments and environment are bounded, and all else is small.
const MAX: u64 = 4 << 20;

fn encode(signed: &SignedReceipt) -> Result<String> {
    let text = serde_json::to_string_pretty(signed)
        .map_err(|error| Failure::because("write the receipt", &error))?;
    Ok(text + "\n")
}

/// Writes it whole or not at all.
pub(super) fn write(path: &Path, signed: &SignedReceipt) -> Result<()> {
    write_whole(path, encode(signed)?.as_bytes(), PUBLIC)
        .map_err(|error| Failure::file("write the receipt", path, &error))
}

/// Writes a file beside its place and moves it there, unless it is no file that could be replaced. What stands beside
/// it is new and has a name that nobody could guess, so no link planted there is followed.
pub(super) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if path.symlink_metadata().is_ok_and(|meta| !meta.is_file()) {
        return File::options().write(true).truncate(true).open(path)?.write_all(bytes);
    }
    let temporary = path.with_file_name(part_name()?);
    let written = (|| {
        let mut file = File::options().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _gone = std::fs::remove_file(&temporary);
    }
    written
}

/// What is not whole yet is called so: nobody could guess that.
pub(super) fn part_name() -> std::io::Result<String> {
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(std::io::Error::other)?;
    Ok(format!(".{}.part", mesh_protocol::ids::to_hex(&number)))
}

/// Mode of files that others may read, less the umask.
pub(super) const PUBLIC: u32 = 0o666;
/// Mode of files that hold what a task knows.
pub(super) const PRIVATE: u32 = 0o600;

/// Reads a receipt and checks its form and signature.
pub(super) fn read(path: &Path) -> Result<SignedReceipt> {
    let failed = |error: std::io::Error| Failure::file("read the receipt", path, &error);
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX), &mut text).map_err(failed)?;
    let bad = |why: &str| {
        Failure::new(format!("verify {}: {why}", path.display()))
            .hint("get the receipt again from where it was written")
    };
    let signed: SignedReceipt =
        serde_json::from_str(&text).map_err(|error| bad(&format!("it is not a receipt: {error}")))?;
    if encode(&signed)? != text {
        return Err(bad("it is not spelled as it was written, so it was changed"));
    }
    if signed.receipt.version != mesh_protocol::receipt::VERSION {
        return Err(bad(&format!(
            "it is of version {}, this mesh knows {}",
            signed.receipt.version,
            mesh_protocol::receipt::VERSION
        )));
    }
    signed.verify().map_err(|_| bad("its signature does not fit its content, so it was changed"))?;
    Ok(signed)
}
