//! Loading on two cores: one reads the database, the other takes what was read.
// spec: LED-9

use crate::{LoadError, Loaded, Store};
use mesh_protocol::key::PublicKey;
use mesh_protocol::record::Table;
use std::sync::mpsc::sync_channel;

/// Bytes handed over at once: what waking the other thread costs is nothing beside them.
const BATCH: usize = 256 << 10;
/// Batches that wait to be taken. More would only be more memory: whoever is slower sets the pace.
const WAITING: usize = 4;

/// Several things that were kept, copied out of the database.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

/// One of them: its bytes begin where those before it end.
struct Item {
    what: What,
    key: usize,
    value: usize,
}

enum What {
    Value(Table),
    Entry(PublicKey, u64),
}

impl Batch {
    fn push(&mut self, loaded: Loaded<'_>) {
        let (what, key, value) = match loaded {
            Loaded::Value { table, key, value } => (What::Value(table), key, value),
            Loaded::Entry { author, seq, bytes } => (What::Entry(author, seq), &[][..], bytes),
        };
        self.items.push(Item { what, key: key.len(), value: value.len() });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
    }

    fn each(&self, each: &mut impl FnMut(Loaded<'_>)) {
        let mut rest = &self.bytes[..];
        for item in &self.items {
            let (key, after) = rest.split_at(item.key);
            let (value, after) = after.split_at(item.value);
            rest = after;
            each(match item.what {
                What::Value(table) => Loaded::Value { table, key, value },
                What::Entry(author, seq) => Loaded::Entry { author, seq, bytes: value },
            });
        }
    }
}

/// As [`Store::load`], with `each` called on a thread of its own, so that what it does takes no longer than the reading.
pub fn load_beside(store: &dyn Store, mut each: impl FnMut(Loaded<'_>) + Send) -> Result<(), LoadError> {
    std::thread::scope(|scope| {
        let (read, batches) = sync_channel::<Batch>(WAITING);
        let taking = scope.spawn(move || batches.iter().for_each(|batch| batch.each(&mut each)));
        let mut batch = Batch::default();
        let loaded = store.load(&mut |loaded| {
            batch.push(loaded);
            if batch.bytes.len() >= BATCH {
                // It fails only where the other thread has panicked, which is passed on below.
                let _gone = read.send(std::mem::take(&mut batch));
            }
        });
        let _gone = read.send(batch);
        drop(read);
        taking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        loaded
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;
    use mesh_protocol::record::Record;

    // spec: LED-9
    #[test]
    fn everything_comes_in_order_however_many_batches_it_takes() {
        let mut store = MemoryStore::new();
        let author = PublicKey([3; 32]);
        let entries =
            (0..3000u64).map(|seq| Record::Entry { author, seq, own: false, bytes: vec![seq as u8; 400] });
        let value = Record::Put { table: Table::Meta, key: b"name".to_vec(), value: b"value".to_vec() };
        store.commit(&entries.chain([value]).collect::<Vec<_>>()).unwrap();
        let (mut plain, mut beside) = (Vec::new(), Vec::new());
        store.load(&mut |loaded| plain.push(format!("{loaded:?}"))).unwrap();
        load_beside(&store, |loaded| beside.push(format!("{loaded:?}"))).unwrap();
        assert_eq!(plain.len(), 3001);
        assert_eq!(plain, beside);
    }

    #[test]
    #[should_panic(expected = "it cannot be taken")]
    fn a_panic_where_it_is_taken_is_not_lost() {
        let mut store = MemoryStore::new();
        let value = Record::Put { table: Table::Meta, key: vec![1], value: vec![2] };
        store.commit(&[value]).unwrap();
        let _never = load_beside(&store, |_| panic!("it cannot be taken"));
    }
}
