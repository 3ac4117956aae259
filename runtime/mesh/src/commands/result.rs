//! `mesh task result`: what a task left, put into a folder with the receipt that vouches for it.
// spec: DEL-5, SBX-14

use super::receipt_file;
use super::unpack::{RECEIPT, unpack};
use super::views::Task;
use crate::client::{Client, segment};
use crate::failure::Result;
use mesh_protocol::text::sanitise;
use std::io::BufReader;
use std::path::Path;

pub(super) use super::unpack::check_free;

/// Bytes read from the node at a time.
const PIECE: usize = 64 * 1024;

pub(super) fn fetch(client: &Client, task: &str, folder: &Path, overwrite: bool, quiet: bool) -> Result<()> {
    let view: Task = client.read(&format!("/v1/tasks/{}", segment(task)))?;
    // By its id: its name may be another task's by now.
    let download = client.download(&format!("/v1/tasks/{}/output", view.task))?;
    let unpacked = unpack(BufReader::with_capacity(PIECE, download), folder, overwrite)?;
    for path in &unpacked.left_out {
        crate::say!(
            "warning: the link {:?} was left out: it points outside its folder",
            sanitise(path, false)
        );
    }
    if let Some(result) = &view.result {
        receipt_file::write(&folder.join(RECEIPT), &result.receipt)?;
    }
    if !quiet {
        let bytes = super::human(unpacked.bytes);
        crate::say!("put {} files of {bytes} into {}", unpacked.files, folder.display());
    }
    Ok(())
}
