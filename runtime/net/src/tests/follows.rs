//! Streams that grow.

use super::harness::*;
use crate::FollowError;
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
