//! What a larger community costs each of its peers, and its ledger.

use mesh_node::ledger::{Ledger, Taken};
use mesh_protocol::ids::Digest;
use mesh_protocol::key::PublicKey;
use mesh_protocol::ledger::Entry;
use mesh_protocol::record::Record;
use mesh_store::{DiskStore, Loaded, Store as _, load_beside};
use mesh_tests::sim::scale::{Class, Grown, Size, grow, written};

/// A community in which everybody is there.
fn all(devices: usize) -> Grown {
    grow(Size { devices, live: devices }, 1)
}

fn all_went_well(grown: &Grown) {
    assert!(grown.equal, "everybody has every entry: {grown:#?}");
    assert_eq!(grown.spread.count, grown.written, "every entry reached everybody: {grown:#?}");
    assert!(grown.tasks.0 >= 30 && grown.tasks.1 == grown.tasks.0, "every task ended: {grown:#?}");
    assert_eq!(grown.placed.count, grown.tasks.0, "at another peer: {grown:#?}");
}

// spec: NET-8
#[test]
fn from_ten_to_a_hundred_peers_idle_traffic_doubles_at_most() {
    let (ten, hundred) = (all(10), all(100));
    all_went_well(&ten);
    all_went_well(&hundred);
    // The logarithm of 100 is twice that of 10.
    assert!(hundred.idle.upkeep <= 2.0 * ten.idle.upkeep, "{ten:#?} {hundred:#?}");
    assert!(hundred.idle.busiest <= 3.0 * ten.idle.busiest, "nobody has it all: {ten:#?} {hundred:#?}");
    // While there is work an entry comes more than once now and then; how often, the bench says. Ten times as many peers
    // would make it ten times as much if each said everything to all.
    assert!(hundred.busy.upkeep <= 6.0 * ten.busy.upkeep, "{ten:#?} {hundred:#?}");
    // What is left out has a size of its own: it must not hide anything.
    assert!(hundred.busy.of[&Class::Ads] <= ten.busy.of[&Class::Ads] * 2.0, "{ten:#?} {hundred:#?}");
    // Five witness a submission, or a few more: not a hundred.
    assert!(hundred.written <= 3 * ten.written, "{ten:#?} {hundred:#?}");
}

// spec: NET-8
#[test]
fn equal_seeds_grow_equal_communities() {
    assert_eq!(all(10), all(10));
}

/// What two peers must have alike.
fn state(ledger: &Ledger) -> (u64, Digest, Digest) {
    (ledger.count(), ledger.digest(&[]).1, ledger.state_digest())
}

// spec: LED-9
#[test]
fn a_ledger_that_is_opened_and_one_that_is_synced_are_the_ledger_that_was_written() {
    let (ledger, entries) = written(Size { devices: 150, live: 150 });
    let me = Entry::verify(&entries[0]).expect("it was signed").header().author;
    let folder = tempfile::tempdir().expect("a folder");

    // Opened: from the disk, read on one thread and folded on another.
    let (mut store, _) = DiskStore::open(folder.path()).expect("a store");
    let record = |bytes: &Vec<u8>| {
        let entry = Entry::trusted(bytes).expect("an entry");
        Record::Entry {
            author: entry.header().author,
            seq: entry.header().seq,
            own: false,
            bytes: bytes.clone(),
        }
    };
    for part in entries.chunks(100) {
        store.commit(&part.iter().map(record).collect::<Vec<_>>()).expect("room on the disk");
    }
    store.close().expect("it was written out");
    let (store, _) = DiskStore::open(folder.path()).expect("the store");
    let mut opened = Ledger::default();
    let restore = |loaded: Loaded<'_>| {
        if let Loaded::Entry { bytes, .. } = loaded {
            opened.restore(&Entry::trusted(bytes).expect("an entry"));
        }
    };
    load_beside(&store, restore).expect("what was written");
    opened.restored(&me);
    assert_eq!(state(&opened), state(&ledger));

    // Synced to an empty peer: verified apart from each other, taken log by log, whichever log comes first.
    let mut logs: Vec<&[Vec<u8>]> = entries.chunk_by(|a, b| author(a) == author(b)).collect();
    logs.reverse();
    let verified: Vec<Entry> = std::thread::scope(|scope| {
        let verify = |part: &[&[Vec<u8>]]| -> Vec<Entry> {
            part.iter().copied().flatten().map(|bytes| Entry::verify(bytes).expect("it was signed")).collect()
        };
        let threads: Vec<_> = logs.chunks(40).map(|part| scope.spawn(move || verify(part))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it ends")).collect()
    });
    let mut synced = Ledger::default();
    synced.expect(ledger.community().expect("it was founded"));
    for entry in verified {
        assert!(!matches!(synced.take(entry), Taken::Ignored(_) | Taken::Fork(..)));
    }
    assert_eq!(state(&synced), state(&ledger));

    // Nothing gets in on the way that was not signed.
    let mut forged = entries[entries.len() / 2].clone();
    let middle = forged.len() / 2;
    forged[middle] ^= 1;
    assert!(Entry::verify(&forged).is_err());
}

fn author(bytes: &[u8]) -> PublicKey {
    Entry::trusted(bytes).expect("an entry").header().author
}
