//! A store without a disk, for tests and simulations, which fails when it is told to.

use crate::change::{self, Kept, entry_key, loaded, weigh};
use crate::{CommitError, LoadError, Loaded, Size, Store};
use mesh_protocol::key::PublicKey;
use mesh_protocol::record::Record;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::ops::RangeInclusive;

/// A store in memory. It keeps what was committed over a [`crash`](MemoryStore::crash), as a disk would.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    kept: Map,
    fault: Option<Fault>,
    crashed: bool,
}

#[derive(Debug, Clone, Default)]
struct Map(BTreeMap<Vec<u8>, Vec<u8>>);

#[derive(Debug, Clone, Copy)]
enum Fault {
    Full,
    Crash { kept: bool },
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next commit fails as on a full disk and does nothing. The one after it succeeds.
    pub fn fail_next_commit(&mut self) {
        self.fault = Some(Fault::Full);
    }

    /// The peer dies in its next commit, which takes effect or not. Nothing more is kept until
    /// [`crash`](MemoryStore::crash) says that it starts again.
    pub fn die_in_next_commit(&mut self, kept: bool) {
        self.fault = Some(Fault::Crash { kept });
    }

    /// The peer starts again after it died: what was committed is there, nothing else, and all faults are gone.
    pub fn crash(&mut self) {
        self.fault = None;
        self.crashed = false;
    }
}

impl Kept for Map {
    type Error = Infallible;

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(key).cloned())
    }

    fn keys(&self, range: RangeInclusive<Vec<u8>>) -> Result<Vec<Vec<u8>>, Infallible> {
        Ok(self.0.range(range).map(|(key, _)| key.clone()).collect())
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, records: &[Record]) -> Result<(), CommitError> {
        change::check(records)?;
        let dead = || CommitError::Journal(io::Error::other("the peer has died"));
        if self.crashed {
            return Err(dead());
        }
        let fault = self.fault.take();
        if let Some(Fault::Full) = fault {
            return Err(CommitError::Full(io::ErrorKind::StorageFull.into()));
        }
        if !matches!(fault, Some(Fault::Crash { kept: false })) {
            let Ok(change) = change::plan(records, &self.kept);
            for (key, value) in change.writes {
                match value {
                    Some(value) => drop(self.kept.0.insert(key, value)),
                    None => drop(self.kept.0.remove(&key)),
                }
            }
        }
        self.crashed = fault.is_some();
        if self.crashed { Err(dead()) } else { Ok(()) }
    }

    fn load(&self, each: &mut dyn FnMut(Loaded<'_>)) -> Result<(), LoadError> {
        self.kept.0.iter().filter_map(|(key, value)| loaded(key, value)).for_each(each);
        Ok(())
    }

    fn entries(&self, author: &PublicKey, from: u64, max_bytes: usize) -> Result<Vec<Vec<u8>>, LoadError> {
        let (mut entries, mut total) = (Vec::new(), 0_usize);
        for (key, value) in self.kept.0.range(entry_key(author, from)..=entry_key(author, u64::MAX)) {
            let Some(Loaded::Entry { seq, bytes, .. }) = loaded(key, value) else { break };
            total = total.saturating_add(bytes.len());
            if seq - from != entries.len() as u64 || !entries.is_empty() && total > max_bytes {
                break;
            }
            entries.push(bytes.to_vec());
        }
        Ok(entries)
    }

    fn size(&self) -> Size {
        let live = self.kept.0.iter().map(|(key, value)| weigh(key, value) as u64).sum();
        Size { database: 0, journal: 0, live }
    }
}
