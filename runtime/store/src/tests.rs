//! What a store keeps, whatever happens to its files.

mod damage;
mod model;
mod power;
mod upkeep;

use crate::disk::Bounds;
use crate::files::{Disk, Files};
use crate::{DiskStore, Loaded, Opened, Store};
use mesh_protocol::key::PublicKey;
use mesh_protocol::record::{Record, Table};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const ME: PublicKey = PublicKey([7; 32]);
const PEER: PublicKey = PublicKey([9; 32]);

fn own(seq: u64, text: &str) -> Record {
    Record::Entry { author: ME, seq, own: true, bytes: text.as_bytes().to_vec() }
}

fn peers(seq: u64, text: &str) -> Record {
    Record::Entry { author: PEER, seq, own: false, bytes: text.as_bytes().to_vec() }
}

fn put(key: &str, value: &str) -> Record {
    Record::Put { table: Table::Tasks, key: key.into(), value: value.into() }
}

fn open(folder: &Path) -> (DiskStore, Opened) {
    open_on(folder, Arc::new(Disk))
}

fn open_on(folder: &Path, files: Arc<dyn Files>) -> (DiskStore, Opened) {
    DiskStore::open_with(folder, files, Bounds::default()).expect("the store opens")
}

/// Everything a store loads, as lines of text. Fails if the order is not the promised one or anything comes twice.
fn content(store: &dyn Store) -> Vec<String> {
    let (mut lines, mut places) = (Vec::new(), Vec::new());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let load = store.load(&mut |loaded| match loaded {
        Loaded::Value { table, key, value } => {
            lines.push(format!("{table:?} {} = {}", text(key), text(value)));
            places.push((Some((table, key.to_vec())), None));
        }
        Loaded::Entry { author, seq, bytes } => {
            let who = if author == ME { "me" } else { "peer" };
            lines.push(format!("{who} {seq}: {}", text(bytes)));
            places.push((None, Some((author, seq))));
        }
    });
    load.expect("the store loads");
    let (values, entries) = places.split_at(places.partition_point(|place| place.0.is_some()));
    assert!(values.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert!(entries.windows(2).all(|pair| pair[0].1 < pair[1].1));
    lines
}

/// What of it only this peer can know.
fn own_content(store: &dyn Store) -> Vec<String> {
    content(store).into_iter().filter(|line| !line.starts_with("peer")).collect()
}

fn files_in(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(folder).expect("the folder is there").flatten();
    let files = files.filter(|file| file.path().is_file());
    files
        .map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(file.path()).expect("the file is readable"))
        })
        .collect()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for (name, bytes) in files_in(from) {
        std::fs::write(to.join(name), bytes).expect("a file can be written");
    }
    for file in std::fs::read_dir(from).expect("the folder is there").flatten() {
        if file.path().is_dir() {
            copy_folder(&file.path(), &to.join(file.file_name()));
        }
    }
}
