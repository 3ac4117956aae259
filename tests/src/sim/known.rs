//! Entries that were read before. Equal bytes read alike, and a community passes each entry on many times: only the first
//! time its signature is verified.

use mesh_protocol::ledger::Entry;
use std::collections::BTreeMap;

/// Entries by the hash of their bytes.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<[u8; 32], Entry>);

impl Known {
    /// The entry of these bytes, if they are one and its signature holds.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Option<Entry> {
        let hash = *blake3::hash(bytes).as_bytes();
        if let Some(entry) = self.0.get(&hash) {
            return Some(entry.clone());
        }
        let entry = Entry::verify(bytes).ok()?;
        self.0.insert(hash, entry.clone());
        Some(entry)
    }
}
