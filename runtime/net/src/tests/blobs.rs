//! Files by their hash.

use super::harness::*;
use crate::FetchError;
use crate::wire::{Head, LATER, NO, YES};
use crate::{Bounds, Standing};
use bao_tree::BaoTree;
use bao_tree::io::outboard::PreOrderMemOutboard;
use bao_tree::io::sync::encode_ranges;
use bao_tree::{BlockSize, ChunkRanges};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

struct Files {
    dir: TempDir,
    into: PathBuf,
}

impl Files {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let into = dir.path().join("fetched");
        Self { dir, into }
    }
    fn part(&self) -> PathBuf {
        self.dir.path().join("fetched.part")
    }
    /// Puts a blob on a peer's shelf.
    fn offer(&self, peer: &Peer, bytes: &[u8]) -> [u8; 32] {
        let hash = *blake3::hash(bytes).as_bytes();
        let path = self.dir.path().join(format!("offered-{}", bytes.len()));
        std::fs::write(&path, bytes).unwrap();
        peer.shelf.blobs.lock().unwrap().insert(hash, path);
        hash
    }
}

/// The answer to a blob request, as an honest provider gives it.
fn honest_answer(bytes: &[u8]) -> Vec<u8> {
    let outboard = PreOrderMemOutboard::create(bytes, BlockSize::from_chunk_log(4));
    let mut encoded = [&[YES], &(bytes.len() as u64).to_le_bytes()[..]].concat();
    encode_ranges(bytes, &outboard, &ChunkRanges::all(), &mut encoded).unwrap();
    encoded
}

/// A provider that answers each request in turn with these bytes; true: then waits, as one that hangs.
async fn provider(a: &mut Peer, answers: Vec<(Vec<u8>, bool)>) -> (Raw, tokio::task::JoinHandle<Vec<u64>>) {
    let raw = Raw::new(7);
    a.net.set_standing(raw.key(), Standing::Member);
    let (connection, hello) = raw.greet(a).await;
    a.connected(raw.key()).await;
    let answering = tokio::spawn(async move {
        let _hello = hello;
        let mut asked = Vec::new();
        for (answer, hang) in answers {
            let (mut send, mut recv) = connection.accept_bi().await.unwrap();
            let Head::Blob { from_group, .. } = Head::read(&mut recv).await.unwrap() else { panic!() };
            asked.push(from_group);
            let _ = send.write_all(&answer).await;
            if hang {
                let _ = send.stopped().await;
            }
            let _ = send.finish();
            let _ = send.stopped().await;
        }
        asked
    });
    (raw, answering)
}

#[tokio::test]
async fn a_blob_arrives_whole_whatever_its_size() {
    let (a, b) = friends().await;
    for size in [0, 1, 1024, 16 << 10, (16 << 10) + 1, 1_000_000, 5 << 20] {
        let files = Files::new();
        let bytes = noise(size);
        let hash = files.offer(&b, &bytes);
        let got = a.net.fetch(b.key(), hash, 5 << 20, &files.into).await.unwrap();
        assert_eq!(got, size as u64);
        assert_eq!(std::fs::read(&files.into).unwrap(), bytes);
        assert_eq!(std::fs::read_dir(files.dir.path()).unwrap().count(), 2, "nothing else is left");
    }
}

#[tokio::test]
async fn a_blob_that_is_not_permitted_looks_like_one_that_is_not_there() {
    let (a, b) = friends().await;
    let files = Files::new();
    let gone = files.offer(&b, b"here and gone");
    b.shelf.blobs.lock().unwrap().insert(gone, files.dir.path().join("nowhere"));
    // A file that is not what its name says must not be handed out either.
    let rotten = [5; 32];
    files.offer(&b, b"other bytes");
    b.shelf.blobs.lock().unwrap().insert(rotten, files.dir.path().join("offered-11"));
    for hash in [[4; 32], gone, rotten] {
        let refused = a.net.fetch(b.key(), hash, 100, &files.into).await;
        assert!(matches!(refused, Err(FetchError::NotThere)), "{refused:?}");
    }
    assert_eq!(b.net.counters().not_served, 3);
    assert!(!files.into.exists());
}

// spec: DEL-5
#[tokio::test]
async fn a_blob_that_cannot_be_read_just_now_is_not_said_to_be_missing() {
    let (a, b) = friends().await;
    let files = Files::new();
    let bytes = noise(100_000);
    let hash = files.offer(&b, &bytes);
    // One that cannot be opened, and one that cannot be read.
    let round = files.dir.path().join("round");
    std::os::unix::fs::symlink(&round, &round).unwrap();
    let sound = b.shelf.blobs.lock().unwrap()[&hash].clone();
    for (path, times) in [(round, 1), (files.dir.path().to_owned(), 2)] {
        b.shelf.blobs.lock().unwrap().insert(hash, path);
        let told = a.net.fetch(b.key(), hash, 100_000, &files.into).await;
        assert!(matches!(told, Err(FetchError::Later)), "{told:?}");
        assert_eq!(b.net.counters().served_later, times);
    }
    assert_eq!(b.net.counters().not_served, 0);
    b.shelf.blobs.lock().unwrap().insert(hash, sound);
    assert_eq!(a.net.fetch(b.key(), hash, 100_000, &files.into).await.unwrap(), 100_000);
}

#[test]
fn what_is_gone_or_broken_is_not_asked_for_again() {
    let answer = |errno| crate::serve::unread(&std::io::Error::from_raw_os_error(errno));
    let [gone, broken, many_open, no_memory] = [2, 5, 24, 12].map(answer);
    assert_eq!((gone, broken), (NO, NO));
    assert_eq!((many_open, no_memory), (LATER, LATER));
}

// spec: NET-4
#[tokio::test]
async fn a_blob_that_is_too_large_is_refused() {
    let (a, b) = friends().await;
    let files = Files::new();
    let hash = files.offer(&b, &noise(100_001));
    let refused = a.net.fetch(b.key(), hash, 100_000, &files.into).await;
    assert!(matches!(refused, Err(FetchError::TooLarge { size: 100_001, max: 100_000 })));
    assert!(!files.into.exists() && !files.part().exists());
}

#[tokio::test]
async fn a_flipped_byte_is_caught_and_what_came_before_it_is_kept() {
    let mut a = peer(1).await;
    let files = Files::new();
    let bytes = noise(3 << 20);
    let mut lie = honest_answer(&bytes);
    let at = lie.len() - 500_000;
    lie[at] ^= 1;
    let (raw, answering) = provider(&mut a, vec![(lie, true)]).await;
    let hash = *blake3::hash(&bytes).as_bytes();
    let start = Instant::now();
    let caught = a.net.fetch(raw.key(), hash, 4 << 20, &files.into).await;
    assert!(matches!(caught, Err(FetchError::Lie)), "{caught:?}");
    assert!(start.elapsed() < Bounds::default().stall, "it waited for more from a liar");
    assert_eq!(a.net.counters().lying_blobs, 1);
    assert!(!files.into.exists());
    answering.await.unwrap();

    // Another provider is asked only for the rest.
    let mut b = peer(2).await;
    befriend(&mut a, &mut b).await;
    files.offer(&b, &bytes);
    a.net.fetch(b.key(), hash, 4 << 20, &files.into).await.unwrap();
    assert_eq!(std::fs::read(&files.into).unwrap(), bytes);
    let info = a.net.connected().into_iter().find(|info| info.peer == b.key()).unwrap();
    assert!(info.bytes_in < 1 << 20, "{} bytes came", info.bytes_in);
}

#[tokio::test]
async fn a_lie_about_the_size_is_caught() {
    let mut a = peer(1).await;
    let bytes = noise(100_000);
    let hash = *blake3::hash(&bytes).as_bytes();
    let mut answers = Vec::new();
    for size in [0_u64, 99_999, 100_001, 1 << 30] {
        let mut lie = honest_answer(&bytes);
        lie[1..9].copy_from_slice(&size.to_le_bytes());
        answers.push((lie, false));
    }
    let (raw, _answering) = provider(&mut a, answers).await;
    for _ in 0..4 {
        let files = Files::new();
        let caught = a.net.fetch(raw.key(), hash, 1 << 30, &files.into).await;
        assert!(matches!(caught, Err(FetchError::Lie | FetchError::Interrupted)), "{caught:?}");
        assert!(!files.into.exists());
    }
}

#[tokio::test]
async fn an_interrupted_fetch_goes_on_where_it_stopped() {
    let quick = Bounds { stall: Duration::from_millis(300), ..Bounds::default() };
    let mut a = peer_with(1, |config| config.bounds = quick).await;
    let files = Files::new();
    let bytes = noise(3 << 20);
    let hash = *blake3::hash(&bytes).as_bytes();
    let whole = honest_answer(&bytes);
    let half = whole[..whole.len() / 2].to_vec();
    let no = vec![0];
    let (raw, answering) =
        provider(&mut a, vec![(half.clone(), true), (half, false), (no.clone(), false), (no, false)]).await;
    // Stands still in the middle.
    let stopped = a.net.fetch(raw.key(), hash, 4 << 20, &files.into).await;
    assert!(matches!(stopped, Err(FetchError::Interrupted)), "{stopped:?}");
    // The second answer starts over where the rest was asked for, so it proves nothing; what was there stays.
    let caught = a.net.fetch(raw.key(), hash, 4 << 20, &files.into).await;
    assert!(matches!(caught, Err(FetchError::Lie)), "{caught:?}");
    let refused = a.net.fetch(raw.key(), hash, 4 << 20, &files.into).await;
    assert!(matches!(refused, Err(FetchError::NotThere)), "{refused:?}");
    // A byte that rotted on our own disk is not trusted: the fetch goes back to before it.
    let mut kept = std::fs::read(files.part()).unwrap();
    kept[100_000] ^= 1;
    std::fs::write(files.part(), kept).unwrap();
    assert!(a.net.fetch(raw.key(), hash, 4 << 20, &files.into).await.is_err());
    let asked = answering.await.unwrap();
    let groups = BaoTree::new(bytes.len() as u64, BlockSize::from_chunk_log(4)).blocks();
    assert_eq!(asked[0], 0);
    assert!(asked[1] >= groups / 2 - 2 && asked[1] < groups, "{asked:?} of {groups}");
    assert_eq!((asked[2], asked[3]), (asked[1], 100_000 / (16 << 10)));

    let mut b = peer(2).await;
    befriend(&mut a, &mut b).await;
    files.offer(&b, &bytes);
    a.net.fetch(b.key(), hash, 4 << 20, &files.into).await.unwrap();
    assert_eq!(std::fs::read(&files.into).unwrap(), bytes);
}

#[tokio::test]
async fn a_dropped_fetch_resumes_and_two_at_once_do_not_mix() {
    let mut a = peer(1).await;
    let files = Files::new();
    let bytes = noise(3 << 20);
    let hash = *blake3::hash(&bytes).as_bytes();
    let whole = honest_answer(&bytes);
    let half = whole[..whole.len() / 2].to_vec();
    let (raw, answering) = provider(&mut a, vec![(half, true), (vec![0], false)]).await;
    {
        let fetch = a.net.fetch(raw.key(), hash, 4 << 20, &files.into);
        let busy = async {
            eventually(|| std::fs::metadata(files.part()).is_ok_and(|meta| meta.len() > 0)).await;
            a.net.fetch(raw.key(), hash, 4 << 20, &files.into).await
        };
        tokio::select! {
            done = fetch => panic!("{done:?}"),
            busy = busy => assert!(matches!(busy, Err(FetchError::Busy)), "{busy:?}"),
        }
    }
    // The dropped fetch's thread may still be writing; until it is done, the file is not free.
    let refused = loop {
        match a.net.fetch(raw.key(), hash, 4 << 20, &files.into).await {
            Err(FetchError::Busy) => tokio::task::yield_now().await,
            other => break other,
        }
    };
    assert!(matches!(refused, Err(FetchError::NotThere)), "{refused:?}");
    assert!(answering.await.unwrap()[1] > 0);
}

// spec: NET-4
#[tokio::test]
async fn devices_of_one_owner_share_their_places_and_who_finds_none_is_told_at_once() {
    let (mut a, mut c) = (peer(1).await, peer(3).await);
    let mut b = peer_with(2, |config| {
        config.bounds.served_per_owner = 1;
        config.bounds.serve_wait = Duration::from_millis(50);
    })
    .await;
    befriend(&mut a, &mut b).await;
    befriend(&mut c, &mut b).await;
    let files = Files::new();
    let hash = files.offer(&b, &noise(3 << 20));
    let holder = Raw::new(7);
    b.shelf.owners.lock().unwrap().extend([(holder.key(), a.key())]);
    b.net.set_standing(holder.key(), Standing::Member);
    let (connection, _hello) = holder.greet(&b).await;
    b.connected(holder.key()).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(&Head::Blob { hash, from_group: 0 }.encode()).await.unwrap();
    // It takes the place, and reads no more of the answer.
    assert_eq!(recv.read_u8().await.unwrap(), YES);
    let start = Instant::now();
    let told = a.net.fetch(b.key(), hash, 4 << 20, &files.into).await;
    assert!(matches!(told, Err(FetchError::Later)), "{told:?}");
    assert!(start.elapsed() < Bounds::default().stall, "it was left without a word");
    assert_eq!(b.net.counters().served_later, 1);
    assert_eq!(c.net.fetch(b.key(), hash, 4 << 20, &files.into).await.unwrap(), 3 << 20);
    connection.close(0_u32.into(), b"");
    b.disconnected(holder.key()).await;
    let again = || a.net.fetch(b.key(), hash, 4 << 20, &files.into);
    while let Err(FetchError::Later) = again().await {}
    assert_eq!(again().await.unwrap(), 3 << 20);
}

/// A file that takes a while to hash.
fn large(files: &Files, peer: &Peer) -> [u8; 32] {
    files.offer(peer, &noise(64 << 20))
}

// spec: NET-4
#[tokio::test]
async fn a_file_is_hashed_once_for_all_who_ask_and_they_come_again_meanwhile() {
    let mut b = peer_with(2, |config| config.bounds.serve_wait = Duration::from_millis(5)).await;
    let (mut a, mut c) = (peer(1).await, peer(3).await);
    befriend(&mut a, &mut b).await;
    befriend(&mut c, &mut b).await;
    let (files, others) = (Files::new(), Files::new());
    let hash = large(&files, &b);
    let (first, second) = tokio::join!(
        a.net.fetch(b.key(), hash, 64 << 20, &files.into),
        c.net.fetch(b.key(), hash, 64 << 20, &others.into)
    );
    assert!(matches!(first, Err(FetchError::Later)), "{first:?}");
    assert!(matches!(second, Err(FetchError::Later)), "{second:?}");
    for (peer, files) in [(&a, &files), (&c, &others)] {
        while let Err(FetchError::Later) = peer.net.fetch(b.key(), hash, 64 << 20, &files.into).await {}
        assert_eq!(*blake3::hash(&std::fs::read(&files.into).unwrap()).as_bytes(), hash);
    }
    assert_eq!(b.net.hashed(), 1);
}

// spec: NET-4
#[tokio::test]
async fn who_asks_and_goes_away_keeps_its_place_until_the_file_is_hashed() {
    let mut b = peer_with(2, |config| {
        config.bounds.served_per_owner = 1;
        config.bounds.serve_wait = Duration::from_millis(5);
    })
    .await;
    let raw = Raw::new(7);
    b.net.set_standing(raw.key(), Standing::Member);
    let (connection, _hello) = raw.greet(&b).await;
    b.connected(raw.key()).await;
    let files = Files::new();
    let (hash, small) = (large(&files, &b), files.offer(&b, b"small"));
    let ask = async |hash: [u8; 32]| {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(&Head::Blob { hash, from_group: 0 }.encode()).await.unwrap();
        (send, recv)
    };
    let (_send, mut recv) = ask(hash).await;
    eventually(|| b.net.hashed() == 1).await;
    recv.stop(0_u32.into()).unwrap();
    let mut answers = Vec::new();
    while answers.last() != Some(&YES) {
        let (_send, mut recv) = ask(small).await;
        answers.push(recv.read_u8().await.unwrap());
    }
    assert_eq!(answers[0], LATER, "{answers:?}");
    assert_eq!(b.net.hashed(), 2);
}

// spec: NET-4, DEL-5
#[tokio::test]
async fn who_sends_next_to_nothing_is_given_up_as_slow_and_what_came_is_kept() {
    let mut a = peer_with(1, |config| config.bounds.stall = Duration::from_millis(300)).await;
    let raw = Raw::new(7);
    a.net.set_standing(raw.key(), Standing::Member);
    let (connection, _hello) = raw.greet(&a).await;
    a.connected(raw.key()).await;
    let bytes = noise(3 << 20);
    let whole = honest_answer(&bytes);
    let trickling = tokio::spawn(async move {
        let (mut send, _recv) = connection.accept_bi().await.unwrap();
        let (first, rest) = whole.split_at(2 << 20);
        send.write_all(first).await.unwrap();
        // Something comes all the time.
        for byte in rest.chunks(1) {
            if send.write_all(byte).await.is_err() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    });
    let files = Files::new();
    let hash = *blake3::hash(&bytes).as_bytes();
    let given_up = a.net.fetch(raw.key(), hash, 4 << 20, &files.into).await;
    assert!(matches!(given_up, Err(FetchError::Slow)), "{given_up:?}");
    assert!(trickling.await.unwrap(), "it is told to stop");
    assert_eq!(a.net.counters().lying_blobs, 0);
    let kept = crate::Net::progress(&files.into);
    assert!(kept > 1 << 20 && files.part().exists(), "{kept} bytes are kept");
}

// spec: NET-4
#[tokio::test]
async fn who_takes_not_even_the_length_of_a_blob_keeps_no_place() {
    let mut b = peer_with(2, |config| {
        config.bounds.served_at_once = 1;
        config.bounds.stall = Duration::from_millis(300);
    })
    .await;
    let raw = Raw::new(7);
    b.net.set_standing(raw.key(), Standing::Member);
    let instance = crate::wire::Instance { run: [9; 12], session: 0 };
    let greeting = Head::Hello { instance }.encode();
    // Room for a greeting, which is not read, and for less than the length of a blob.
    let mut transport = crate::tls::transport(&raw.bounds);
    transport.receive_window((greeting.len() as u32 + 4).into());
    let client = raw.identity.client(b.key(), std::sync::Arc::new(transport)).unwrap();
    let connection = raw.endpoint.connect_with(client, b.addr(), crate::tls::NAME).unwrap().await.unwrap();
    let mut hello = connection.open_uni().await.unwrap();
    hello.write_all(&greeting).await.unwrap();
    b.connected(raw.key()).await;
    let files = Files::new();
    let bytes = noise(1 << 20);
    let hash = files.offer(&b, &bytes);
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(&Head::Blob { hash, from_group: 0 }.encode()).await.unwrap();
    eventually(|| b.net.hashed() == 1).await;
    // The only place is free again for somebody else.
    let mut a = peer(1).await;
    befriend(&mut a, &mut b).await;
    let other = Files::new();
    a.net.fetch(b.key(), hash, 4 << 20, &other.into).await.unwrap();
    assert_eq!(std::fs::read(&other.into).unwrap(), bytes);
}

/// A 5 MiB blob against the same bytes on one plain stream of the same connection. Prints; asserts only what holds
/// on any machine, since this one is busy with other tests.
// spec: NET-7
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run alone"]
async fn a_module_arrives_at_the_speed_of_a_plain_stream() {
    let size = 5 << 20;
    let (a, b) = friends().await;
    let files = Files::new();
    let hash = files.offer(&b, &noise(size));
    let (mut blob, mut plain) = (Vec::new(), Vec::new());
    let (server, client) = (Raw::new(5), Raw::new(6));
    let mut transport = crate::tls::transport(&Bounds::default());
    transport.receive_window((8_u32 << 20).into());
    let config = server.identity.server(std::sync::Arc::new(transport)).unwrap();
    server.endpoint.set_server_config(Some(config));
    let connecting = client.dial(server.key(), server.endpoint.local_addr().unwrap());
    let accepting = async { server.endpoint.accept().await.unwrap().await.unwrap() };
    let (ours, theirs) = tokio::join!(connecting, accepting);
    let ours = ours.unwrap();
    for _ in 0..20 {
        let start = Instant::now();
        a.net.fetch(b.key(), hash, size as u64, &files.into).await.unwrap();
        blob.push(start.elapsed());

        let bytes = bytes::Bytes::from(noise(size));
        let start = Instant::now();
        let sending = tokio::spawn({
            let ours = ours.clone();
            async move {
                let mut stream = ours.open_uni().await.unwrap();
                stream.write_chunk(bytes).await.unwrap();
                stream.finish().unwrap();
            }
        });
        let mut stream = theirs.accept_uni().await.unwrap();
        while stream.read_chunk(64 << 10, true).await.unwrap().is_some() {}
        plain.push(start.elapsed());
        sending.await.unwrap();
    }
    blob.sort();
    plain.sort();
    let rate = |times: &[Duration]| size as f64 / times[times.len() / 2].as_secs_f64() / 1e6;
    println!("blob {:.0} MB/s, plain {:.0} MB/s", rate(&blob), rate(&plain));
}
