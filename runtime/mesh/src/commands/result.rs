//! `mesh task result`: what a task left, put into a folder.
// spec: DEL-5

use super::unpack::unpack;
use crate::client::{Client, segment};
use crate::failure::Result;
use mesh_protocol::text::sanitise;
use std::io::BufReader;
use std::path::Path;

pub(super) use super::unpack::check_free;

/// Bytes read from the node at a time.
const PIECE: usize = 64 * 1024;

pub(super) fn fetch(client: &Client, task: &str, folder: &Path, overwrite: bool, quiet: bool) -> Result<()> {
    let download = client.download(&format!("/v1/tasks/{}/output", segment(task)))?;
    let unpacked = unpack(BufReader::with_capacity(PIECE, download), folder, overwrite)?;
    for path in &unpacked.left_out {
        crate::say!(
            "warning: the link {:?} was left out: it points outside its folder",
            sanitise(path, false)
        );
    }
    if !quiet {
        let bytes = super::human(unpacked.bytes);
        crate::say!("put {} files of {bytes} into {}", unpacked.files, folder.display());
    }
    Ok(())
}
