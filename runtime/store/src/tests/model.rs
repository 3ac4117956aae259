//! Random commits against a plain map, with closes, crashes and starts in between.

use super::{content, open};
use crate::{MemoryStore, Store as _};
use mesh_protocol::key::PublicKey;
use mesh_protocol::record::{Record, Table};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Record>),
    Close,
    Drop,
}

fn record() -> impl Strategy<Value = Record> {
    let author = (0..3_u8).prop_map(|n| PublicKey([n; 32]));
    let entry = (author.clone(), 0..6_u64, any::<bool>(), 0..4_u8);
    let truncate = (author, 0..6_u64);
    let table = prop::sample::select(Table::ALL.to_vec());
    let key = prop::collection::vec(any::<u8>(), 0..2);
    prop_oneof![
        4 => entry.prop_map(|(author, seq, own, text)| Record::Entry { author, seq, own, bytes: vec![b'a' + text; 3] }),
        1 => truncate.prop_map(|(author, seq)| Record::Truncate { author, seq }),
        3 => (table.clone(), key.clone(), any::<u8>()).prop_map(|(table, key, value)| Record::Put { table, key, value: vec![value] }),
        1 => (table, key).prop_map(|(table, key)| Record::Delete { table, key }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(record(), 0..5).prop_map(Step::Commit),
        1 => Just(Step::Close),
        1 => Just(Step::Drop),
    ]
}

/// The store as simply as it can be said.
#[derive(Default)]
struct Model {
    values: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    entries: BTreeMap<(PublicKey, u64), Vec<u8>>,
}

impl Model {
    fn commit(&mut self, records: &[Record]) {
        for record in records.iter().cloned() {
            match record {
                Record::Entry { author, seq, bytes, .. } => drop(self.entries.insert((author, seq), bytes)),
                Record::Truncate { author, seq } => {
                    self.entries.retain(|at, _| at.0 != author || at.1 < seq);
                }
                Record::Put { table, key, value } => drop(self.values.insert((table, key), value)),
                Record::Delete { table, key } => drop(self.values.remove(&(table, key))),
            }
        }
    }

    fn content(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for ((table, key), value) in &self.values {
            lines.push(format!(
                "{table:?} {} = {}",
                String::from_utf8_lossy(key),
                String::from_utf8_lossy(value)
            ));
        }
        for ((_, seq), bytes) in &self.entries {
            lines.push(format!("peer {seq}: {}", String::from_utf8_lossy(bytes)));
        }
        lines
    }
}

proptest! {
    // Each case opens a real store some times; this many take a few seconds.
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    // spec: LED-8
    #[test]
    fn a_store_holds_what_a_map_would(steps in prop::collection::vec(step(), 1..20)) {
        let temp = tempfile::tempdir().expect("a folder can be made");
        let (mut store, _) = open(temp.path());
        let (mut model, mut memory) = (Model::default(), MemoryStore::new());
        for step in steps.into_iter().chain([Step::Drop]) {
            match step {
                Step::Commit(records) => {
                    store.commit(&records).expect("the commit succeeds");
                    memory.commit(&records).expect("the commit succeeds");
                    model.commit(&records);
                }
                Step::Close => {
                    store.close().expect("the store closes");
                    let (again, opened) = open(temp.path());
                    prop_assert!(!opened.unclean);
                    store = again;
                }
                Step::Drop => {
                    drop(store);
                    let (again, opened) = open(temp.path());
                    prop_assert!(opened.unclean && opened.rebuilt.is_none() && opened.torn == 0);
                    store = again;
                }
            }
            prop_assert_eq!(content(&store), model.content());
            prop_assert_eq!(content(&memory), model.content());
            prop_assert_eq!(store.size().live, memory.size().live);
            for author in (0..3).map(|n| PublicKey([n; 32])) {
                let entries = store.entries(&author, 1, 7).expect("it reads");
                prop_assert_eq!(&entries, &memory.entries(&author, 1, 7).expect("it reads"));
                let expected = (1..).map_while(|seq| model.entries.get(&(author, seq))).take(2).cloned();
                prop_assert_eq!(entries, expected.collect::<Vec<_>>());
            }
        }
    }
}
