//! Figures, not tests: `cargo test -p mesh-store --test speed -- --ignored --nocapture`.

use mesh_protocol::key::PublicKey;
use mesh_protocol::record::{Record, Table};
use mesh_store::{DiskStore, Store as _};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

fn entry(author: u64, own: bool, seq: u64) -> Record {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&author.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    let bytes: Vec<_> = (0..350_u64).map(|i| (seq.wrapping_mul(i * i + 7) >> 3) as u8).collect();
    Record::Entry { author: PublicKey(key), seq, own, bytes }
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent| times[(times.len() - 1) * percent / 100];
    println!("{what}: median {:?}, 90 % {:?}, 99 % {:?}", at(50), at(90), at(99));
}

fn timed(count: u64, mut run: impl FnMut(u64)) -> Vec<Duration> {
    let time = |n| {
        let begun = Instant::now();
        run(n);
        begun.elapsed()
    };
    (0..count).map(time).collect()
}

#[test]
#[ignore = "takes a minute and says something only on a quiet machine"]
fn commits() {
    let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let file = File::create(temp.path().join("plain")).expect("a file can be made");
    let plain = timed(500, |n| {
        file.write_all_at(&[1; 400], n * 400).and_then(|()| file.sync_data()).expect("it is written");
    });
    report("plain append and fdatasync", plain);
    let (mut store, _) = DiskStore::open(&temp.path().join("store")).expect("the store opens");
    let mut commit = |records: &[Record]| store.commit(records).expect("the commit succeeds");
    report("one own entry", timed(500, |n| commit(&[entry(1, true, n)])));
    report("one peer's entry", timed(500, |n| commit(&[entry(2, false, n)])));
    let mixed = timed(500, |n| {
        let put = Record::Put { table: Table::Tasks, key: n.to_be_bytes().to_vec(), value: vec![3; 500] };
        commit(&[entry(3, true, n), put, entry(4, false, n)]);
    });
    report("own entry, value, peer's entry", mixed);
    let grouped = timed(200, |n| {
        let group: Vec<_> = (0..50).map(|i| entry(5, true, 50 * n + i)).collect();
        commit(&group);
    });
    report("fifty own entries", grouped);
    println!("{:?}", store.size());
}

#[test]
#[ignore = "takes a minute and says something only on a quiet machine"]
fn a_million_entries() {
    let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let (mut store, _) = DiskStore::open(temp.path()).expect("the store opens");
    let begun = Instant::now();
    for author in 0..1000 {
        let entries: Vec<_> = (0..1000).map(|seq| entry(author, author == 0, seq)).collect();
        store.commit(&entries).expect("the commit succeeds");
    }
    println!("written in {:?}: {:?}", begun.elapsed(), store.size());
    let begun = Instant::now();
    store.close().expect("the store closes");
    println!("closed in {:?}", begun.elapsed());
    let begun = Instant::now();
    let (store, _) = DiskStore::open(temp.path()).expect("the store opens");
    println!("opened and checked in {:?}: {:?}", begun.elapsed(), store.size());
    let (begun, mut count) = (Instant::now(), 0);
    store.load(&mut |_| count += 1).expect("the store loads");
    println!("loaded {count} in {:?}", begun.elapsed());
    assert_eq!(count, 1_000_000);
}
