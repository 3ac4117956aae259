//! A disk that keeps what was committed and nothing else.

use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::{Entry, Payload};
use mesh_protocol::record::{Record, Table};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) values: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    pub(crate) entries: BTreeMap<(PublicKey, u64), Vec<u8>>,
}

impl Disk {
    pub(crate) fn commit(&mut self, record: Record) {
        match record {
            Record::Entry { author, seq, bytes, .. } => {
                self.entries.insert((author, seq), bytes);
            }
            Record::Truncate { author, seq } => {
                self.entries.retain(|(by, at), _| *by != author || *at < seq);
            }
            Record::Put { table, key, value } => {
                self.values.insert((table, key), value);
            }
            Record::Delete { table, key } => {
                self.values.remove(&(table, key));
            }
        }
    }

    pub(crate) fn said_by<'a>(&'a self, author: &PublicKey) -> impl Iterator<Item = Entry> + 'a {
        let range = (*author, 0)..=(*author, u64::MAX);
        self.entries.range(range).filter_map(|(_, bytes)| Entry::trusted(bytes).ok())
    }

    /// Does a grant of this device's owner, as this disk knows it, let `owner`'s tasks run here at `wall_ms`?
    pub(crate) fn grants(&self, here: &PublicKey, user: &mesh_protocol::key::UserKey, wall_ms: u64) -> bool {
        let said: Vec<Entry> = self.said_by(here).collect();
        let revoked = |id| said.iter().any(|it| matches!(it.payload(), Payload::Revoked { grant } if *grant == id));
        said.iter().any(|entry| match entry.payload() {
            Payload::Granted(grant) => {
                grant.device == *here
                    && grant.user == *user
                    && grant.until_ms.is_none_or(|until| until > wall_ms)
                    && !revoked(entry.id())
            }
            _ => false,
        })
    }
}
