//! Records, worked out into writes of keys. One ordered key space holds everything, so that one atomic batch can
//! change any of it and one walk loads all of it: table number ‖ key for values, [`ENTRY`] ‖ author ‖ seq (big-endian)
//! for entries.

use crate::{CommitError, Loaded, MAX_COMMIT, MAX_KEY, MAX_VALUE};
use mesh_protocol::key::PublicKey;
use mesh_protocol::record::{Record, Table};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Above all tables, with room for more of them.
const ENTRY: u8 = 0x10;
/// The first byte of an entry's value: did this device write it?
const PEERS: u8 = 0;
const OWN: u8 = 1;

/// Key and new value, or none where the key goes.
pub(crate) type Write<'a> = (&'a [u8], Option<&'a [u8]>);

/// What reading the present state needs.
pub(crate) trait Kept {
    type Error;
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Self::Error>;
    fn keys(&self, range: RangeInclusive<Vec<u8>>) -> Result<Vec<Vec<u8>>, Self::Error>;
}

/// What a commit comes down to.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    pub(crate) weight: Weight,
}

/// What writes do to the sums that are kept.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Weight {
    /// Does any of it concern what only this peer knows?
    pub(crate) own: bool,
    /// Change of the live bytes, all and own.
    pub(crate) live: i64,
    pub(crate) own_live: i64,
}

impl Change {
    pub(crate) fn iter(&self) -> impl Iterator<Item = Write<'_>> {
        self.writes.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }
}

pub(crate) fn entry_key(author: &PublicKey, seq: u64) -> Vec<u8> {
    [&[ENTRY], author.0.as_slice(), &seq.to_be_bytes()].concat()
}

fn value_key(table: Table, key: &[u8]) -> Vec<u8> {
    [&[table as u8], key].concat()
}

/// Is this what only this peer can know? Then it stands in the journal.
pub(crate) fn is_own(key: &[u8], value: &[u8]) -> bool {
    key.first() != Some(&ENTRY) || value.first() == Some(&OWN)
}

pub(crate) fn is_entry(key: &[u8]) -> bool {
    key.first() == Some(&ENTRY)
}

/// Bytes that a key and its value count for.
pub(crate) fn weigh(key: &[u8], value: &[u8]) -> i64 {
    (key.len() + value.len()) as i64
}

/// What stands behind a key, or nothing if no commit writes such a thing.
pub(crate) fn loaded<'a>(key: &'a [u8], value: &'a [u8]) -> Option<Loaded<'a>> {
    let (&kind, rest) = key.split_first()?;
    if kind != ENTRY {
        let table = *Table::ALL.get(usize::from(kind))?;
        return Some(Loaded::Value { table, key: rest, value });
    }
    let (author, seq) = rest.split_first_chunk::<32>()?;
    let (PEERS | OWN, bytes) = value.split_first().map(|(flag, bytes)| (*flag, bytes))? else { return None };
    Some(Loaded::Entry { author: PublicKey(*author), seq: u64::from_be_bytes(seq.try_into().ok()?), bytes })
}

/// The first bound that a commit exceeds.
// spec: ARC-7
pub(crate) fn check(records: &[Record]) -> Result<(), CommitError> {
    let fits = |what, bytes, most| {
        if bytes > most { Err(CommitError::TooLarge { what, bytes, most }) } else { Ok(()) }
    };
    let mut all = 0_usize;
    for record in records {
        let (key, value) = match record {
            Record::Entry { bytes, .. } => (0, bytes.len()),
            Record::Truncate { .. } => (0, 0),
            Record::Put { key, value, .. } => (key.len(), value.len()),
            Record::Delete { key, .. } => (key.len(), 0),
        };
        fits("a key", key, MAX_KEY)?;
        fits("a record", value, MAX_VALUE)?;
        all = all.saturating_add(key + value);
    }
    fits("a commit", all, MAX_COMMIT)
}

/// Works records out against what is kept. What would change nothing is left out.
pub(crate) fn plan<K: Kept>(records: &[Record], kept: &K) -> Result<Change, K::Error> {
    let mut writes = BTreeMap::<Vec<u8>, Option<Vec<u8>>>::new();
    for record in records {
        match record {
            Record::Put { table, key, value } => {
                writes.insert(value_key(*table, key), Some(value.clone()));
            }
            Record::Delete { table, key } => {
                writes.insert(value_key(*table, key), None);
            }
            Record::Entry { author, seq, own, bytes } => {
                let key = entry_key(author, *seq);
                let before = match writes.get(&key) {
                    Some(value) => value.clone(),
                    None => kept.get(&key)?,
                };
                // An own entry that comes back from a peer stays one's own.
                let same =
                    before.is_some_and(|before| before.first() == Some(&OWN) && before[1..] == **bytes);
                let flag = if *own || same { OWN } else { PEERS };
                writes.insert(key, Some([&[flag], bytes.as_slice()].concat()));
            }
            Record::Truncate { author, seq } => {
                let range = entry_key(author, *seq)..=entry_key(author, u64::MAX);
                for (_, value) in writes.range_mut(range.clone()) {
                    *value = None;
                }
                for key in kept.keys(range)? {
                    writes.insert(key, None);
                }
            }
        }
    }
    let mut weight = Weight::default();
    let mut failed = None;
    writes.retain(|key, value| match kept.get(key) {
        Ok(before) => add(&mut weight, key, before.as_deref(), value.as_deref()),
        Err(error) => {
            failed.get_or_insert(error);
            false
        }
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(Change { writes, weight }),
    }
}

/// Adds what one write does. Says whether it does anything.
pub(crate) fn add(weight: &mut Weight, key: &[u8], before: Option<&[u8]>, after: Option<&[u8]>) -> bool {
    if before == after {
        return false;
    }
    for (value, sign) in [(before, -1), (after, 1)] {
        let Some(value) = value else { continue };
        weight.live += sign * weigh(key, value);
        if is_own(key, value) {
            weight.own = true;
            weight.own_live += sign * weigh(key, value);
        }
    }
    true
}
