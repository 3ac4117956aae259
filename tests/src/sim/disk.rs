//! A simulated disk: what was committed survives a crash, what was not is gone.
// spec: LED-8

use mesh_protocol::key::PublicKey;
use mesh_protocol::record::{Record, Table};
use std::collections::{BTreeMap, BTreeSet};

/// The disk takes nothing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// What a peer keeps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) entries: BTreeMap<(PublicKey, u64), Vec<u8>>,
    pub(crate) values: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    /// Others' entries that were committed beside something of one's own: the store waits for its journal then, and the
    /// database, in which they stand, follows later. Others have them too, so a power loss may take them.
    lazy: BTreeSet<(PublicKey, u64)>,
    pub(crate) full: bool,
}

impl Disk {
    /// All records take effect together, or none.
    pub(crate) fn commit(&mut self, records: &[Record]) -> Result<(), Full> {
        if self.full {
            return Err(Full);
        }
        let own = records.iter().any(|record| match record {
            Record::Entry { own, .. } => *own,
            Record::Put { .. } | Record::Delete { .. } => true,
            Record::Truncate { .. } => false,
        });
        if !own {
            self.lazy.clear();
        }
        for record in records {
            match record {
                Record::Entry { author, seq, own: mine, bytes } => {
                    self.entries.insert((*author, *seq), bytes.clone());
                    if own && !mine {
                        self.lazy.insert((*author, *seq));
                    }
                }
                Record::Truncate { author, seq } => {
                    self.entries.retain(|(by, at), _| by != author || at < seq);
                    self.lazy.retain(|(by, at)| by != author || at < seq);
                }
                Record::Put { table, key, value } => {
                    self.values.insert((*table, key.clone()), value.clone());
                }
                Record::Delete { table, key } => {
                    self.values.remove(&(*table, key.clone()));
                }
            }
        }
        Ok(())
    }

    /// The power goes: what stood only in the database's cache goes with it. Says how many entries that were.
    pub(crate) fn lose_power(&mut self) -> usize {
        let lost = std::mem::take(&mut self.lazy);
        for key in &lost {
            self.entries.remove(key);
        }
        // A log is kept from its beginning; behind a gap nothing can be read.
        let mut next: BTreeMap<PublicKey, u64> = BTreeMap::new();
        self.entries.retain(|(author, seq), _| {
            let next = next.entry(*author).or_default();
            let follows = *next == *seq;
            *next += u64::from(follows);
            follows
        });
        lost.len()
    }

    pub(crate) fn len_of(&self, author: &PublicKey) -> u64 {
        self.log(author).next_back().map_or(0, |((_, seq), _)| seq + 1)
    }

    pub(crate) fn log(
        &self,
        author: &PublicKey,
    ) -> impl DoubleEndedIterator<Item = (&(PublicKey, u64), &Vec<u8>)> {
        self.entries.range((*author, 0)..=(*author, u64::MAX))
    }

    pub(crate) fn value(&self, table: Table, key: &[u8]) -> Option<&Vec<u8>> {
        self.values.get(&(table, key.to_vec()))
    }
}
