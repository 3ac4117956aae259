//! What somebody nobody knows can do: greet, and no more.

use super::harness::*;
use crate::wire::Head;
use crate::{Bounds, Channel, SendError, Standing};
use bytes::Bytes;
use std::time::Duration;

// spec: NET-2
#[tokio::test]
async fn a_stranger_may_greet_and_what_else_it_sends_waits_until_it_is_a_member() {
    let (mut a, mut b) = (peer(1).await, peer(2).await);
    // a takes b for a member; b does not know a.
    a.net.set_standing(b.key(), Standing::Member);
    a.dial(&b);
    a.connected(b.key()).await;
    b.connected(a.key()).await;
    a.net.send(b.key(), Channel::Gossip, Bytes::from_static(b"secret")).unwrap();
    a.net.send(b.key(), Channel::Hello, Bytes::from_static(b"let me in")).unwrap();
    assert_eq!(b.frame().await, (Channel::Hello, Bytes::from_static(b"let me in")));
    assert_eq!(b.net.send(a.key(), Channel::Gossip, Bytes::new()), Err(SendError::Stranger));
    b.net.send(a.key(), Channel::Hello, Bytes::from_static(b"who are you")).unwrap();
    assert_eq!(a.frame().await, (Channel::Hello, Bytes::from_static(b"who are you")));
    assert!(b.events.try_recv().is_err(), "something came through");

    b.net.set_standing(a.key(), Standing::Member);
    assert_eq!(b.frame().await, (Channel::Gossip, Bytes::from_static(b"secret")));
    b.net.set_standing(a.key(), Standing::Stranger);
    assert!(a.disconnected(b.key()).await.contains("no longer a member"));
}

// spec: NET-2
#[tokio::test]
async fn a_stranger_that_opens_another_channel_is_closed_and_counted() {
    let b = peer(2).await;
    let raw = Raw::new(3);
    let connection = raw.dial(b.key(), b.addr()).await.unwrap();
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(&Head::Gossip.encode()).await.unwrap();
    assert!(closed(&connection).await.contains("did not greet first"));
    assert_eq!(b.net.counters().strangers_streams, 1);

    // The same after a greeting that is over.
    let (connection, mut hello) = raw.greet(&b).await;
    hello.finish().unwrap();
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(&Head::Sync.encode()).await.unwrap();
    assert!(closed(&connection).await.contains("this is for members"));
    assert_eq!(b.net.counters().strangers_streams, 2);
}

// spec: NET-2
#[tokio::test]
async fn a_stranger_has_no_second_stream_and_can_ask_for_nothing() {
    let mut b = peer(2).await;
    let raw = Raw::new(3);
    let (connection, mut hello) = raw.greet(&b).await;
    b.connected(raw.key()).await;
    write_frame(&mut hello, b"hello").await.unwrap();
    assert_eq!(b.frame().await.1, "hello");
    let brief = Duration::from_millis(200);
    assert!(tokio::time::timeout(brief, connection.open_uni()).await.is_err());
    assert!(tokio::time::timeout(brief, connection.open_bi()).await.is_err());
    b.net.set_standing(raw.key(), Standing::Member);
    assert!(tokio::time::timeout(PATIENCE, connection.open_bi()).await.unwrap().is_ok());
}

// spec: NET-4
#[tokio::test]
async fn a_stranger_may_not_stay() {
    let quick = Bounds { stranger_stay: Duration::from_millis(100), ..Bounds::default() };
    let mut b = peer_with(2, |config| config.bounds = quick).await;
    let (raw, friend) = (Raw::new(3), Raw::new(4));
    b.net.set_standing(friend.key(), Standing::Member);
    let (staying, _hello) = friend.greet(&b).await;
    b.connected(friend.key()).await;
    let (connection, _hello) = raw.greet(&b).await;
    assert!(closed(&connection).await.contains("still a stranger"));
    assert_eq!(b.net.counters().strangers_timed_out, 1);
    assert!(staying.close_reason().is_none());
}

// spec: NET-4
#[tokio::test]
async fn strangers_are_few_and_slow() {
    let tight = Bounds { strangers_total: 1, stranger_frames: 3, ..Bounds::default() };
    let mut b = peer_with(2, |config| config.bounds = tight).await;
    let (first, second) = (Raw::new(3), Raw::new(4));
    let (connection, mut hello) = first.greet(&b).await;
    b.connected(first.key()).await;
    let (refused, _hello) = second.greet(&b).await;
    assert!(closed(&refused).await.contains("too many strangers"));
    assert_eq!(b.net.counters().strangers_total, 1);
    // A member's place is not a stranger's.
    b.net.set_standing(second.key(), Standing::Member);
    let (_member, _hello) = second.greet(&b).await;
    b.connected(second.key()).await;

    for _ in 0..100 {
        if write_frame(&mut hello, b"x").await.is_err() {
            break;
        }
    }
    assert!(closed(&connection).await.contains("too many frames"));
    assert_eq!(b.net.counters().strangers_frames, 1);
}

// spec: NET-4
#[tokio::test]
async fn a_stranger_sends_no_faster_on_many_streams_than_on_one() {
    let tight = Bounds { stranger_frames: 3, ..Bounds::default() };
    let mut b = peer_with(2, |config| config.bounds = tight).await;
    let raw = Raw::new(3);
    let (connection, mut hello) = raw.greet(&b).await;
    b.connected(raw.key()).await;
    let sending = async {
        for _ in 0..20 {
            write_frame(&mut hello, b"x").await?;
            write_frame(&mut hello, b"x").await?;
            hello.finish()?;
            hello = connection.open_uni().await?;
            hello.write_all(&Head::Hello { instance: crate::wire::Instance::default() }.encode()).await?;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    assert!(sending.await.is_err(), "all of it was taken");
    assert!(closed(&connection).await.contains("too many frames"));
    assert_eq!(b.net.counters().strangers_frames, 1);
}
