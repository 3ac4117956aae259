//! Streams that grow.

use super::harness::*;
use crate::{Bounds, FollowError};
use bytes::Bytes;
use tokio::sync::mpsc;

async fn piece(
    follow: &mut mpsc::Receiver<Result<Bytes, FollowError>>,
) -> Option<Result<Bytes, FollowError>> {
    tokio::time::timeout(PATIENCE, follow.recv()).await.expect("nothing came")
}

#[tokio::test]
async fn a_growing_stream_is_followed_to_its_end() {
    let (a, b) = friends().await;
    let (grow, source) = mpsc::channel(4);
    b.shelf.streams.lock().unwrap().insert(b"log".to_vec(), source);
    let mut follow = a.net.follow(b.key(), b"log".to_vec(), 0).await.unwrap();
    for n in 0..5_u8 {
        // Each piece arrives before the next exists.
        grow.send(Bytes::from(vec![n; 10])).await.unwrap();
        assert_eq!(piece(&mut follow).await, Some(Ok(Bytes::from(vec![n; 10]))));
    }
    // Larger than a frame: in parts.
    let large = Bytes::from(vec![9; 200_000]);
    grow.send(large.clone()).await.unwrap();
    let mut got = Vec::new();
    while got.len() < large.len() {
        got.extend_from_slice(&piece(&mut follow).await.unwrap().unwrap());
    }
    assert_eq!(got, large);
    drop(grow);
    assert_eq!(piece(&mut follow).await, None);
}

#[tokio::test]
async fn a_follow_that_breaks_says_so_and_one_that_is_not_there_is_refused() {
    let (a, b) = friends().await;
    let refused = a.net.follow(b.key(), b"other".to_vec(), 0).await;
    assert_eq!(refused.unwrap_err(), FollowError::NotThere);
    assert_eq!(a.net.follow(b.key(), vec![0; 1025], 0).await.unwrap_err(), FollowError::NameTooLong);
    let (grow, source) = mpsc::channel(4);
    b.shelf.streams.lock().unwrap().insert(b"log".to_vec(), source);
    let mut follow = a.net.follow(b.key(), b"log".to_vec(), 0).await.unwrap();
    grow.send(Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(piece(&mut follow).await, Some(Ok(Bytes::from_static(b"x"))));
    b.net.close().await;
    assert_eq!(piece(&mut follow).await, Some(Err(FollowError::Lost)));
    assert_eq!(piece(&mut follow).await, None);
    eventually(|| grow.is_closed()).await;
}

#[tokio::test]
async fn a_reader_that_goes_away_or_stands_still_stops_the_source() {
    let (a, b) = friends().await;
    let (grow, source) = mpsc::channel(1);
    b.shelf.streams.lock().unwrap().insert(b"log".to_vec(), source);
    let follow = a.net.follow(b.key(), b"log".to_vec(), 0).await.unwrap();
    // Nobody reads: the windows and queues fill, and the source is no longer asked.
    let mut sent = 0_usize;
    let brief = std::time::Duration::from_millis(500);
    while let Ok(sending) = tokio::time::timeout(brief, grow.send(Bytes::from(vec![0; 60_000]))).await {
        sending.unwrap();
        sent += 60_000;
        assert!(sent < 32 << 20, "there is no bound");
    }
    drop(follow);
    eventually(|| grow.is_closed()).await;
}

// spec: DEL-5, NET-4
#[tokio::test]
async fn whatever_is_followed_results_can_be_fetched() {
    let (a, b) = friends().await;
    let bounds = Bounds::default();
    let mut grows = Vec::new();
    let all: Vec<Vec<u8>> = (0..bounds.requests).map(|n| n.to_le_bytes().to_vec()).collect();
    for what in &all {
        let (grow, source) = mpsc::channel(1);
        b.shelf.streams.lock().unwrap().insert(what.clone(), source);
        grows.push(grow);
    }
    let mut follows = tokio::task::JoinSet::new();
    for what in all {
        let (net, key) = (a.net.clone(), b.key());
        follows.spawn(async move { net.follow(key, what, 0).await.unwrap() });
    }
    let mut held = Vec::new();
    for _ in 0..bounds.follows {
        held.push(follows.join_next().await.unwrap().unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("result");
    std::fs::write(&path, b"a result").unwrap();
    let hash = *blake3::hash(b"a result").as_bytes();
    b.shelf.blobs.lock().unwrap().insert(hash, path);
    let into = dir.path().join("fetched");
    tokio::time::timeout(PATIENCE / 3, a.net.fetch(b.key(), hash, 100, &into)).await.unwrap().unwrap();
    // The others wait for a place, and get it.
    assert!(follows.try_join_next().is_none());
    held.clear();
    while follows.join_next().await.is_some() {}
}

#[tokio::test]
async fn who_waits_to_follow_hears_that_the_peer_is_gone() {
    let mut a = peer_with(1, |config| config.bounds.follows = 1).await;
    let mut b = peer(2).await;
    befriend(&mut a, &mut b).await;
    let (_grow, source) = mpsc::channel(1);
    b.shelf.streams.lock().unwrap().insert(b"log".to_vec(), source);
    let _follow = a.net.follow(b.key(), b"log".to_vec(), 0).await.unwrap();
    let second = a.net.follow(b.key(), b"log".to_vec(), 0);
    let (second, ()) = tokio::join!(second, async { b.net.close().await });
    assert_eq!(second.unwrap_err(), FollowError::Lost);
}
