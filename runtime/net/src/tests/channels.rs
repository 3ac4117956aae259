//! Frames on channels.

use super::harness::*;
use crate::wire::{Head, Instance};
use crate::{Bounds, Channel, Event, SendError, Standing};
use bytes::Bytes;
use std::time::{Duration, Instant};

// spec: NET-3
#[tokio::test]
async fn two_peers_connect_and_exchange_frames_in_order() {
    let (mut a, mut b) = friends().await;
    for channel in [Channel::Hello, Channel::Gossip, Channel::Sync, task(1), task(2)] {
        for n in 0..50_u8 {
            a.net.send(b.key(), channel, Bytes::from(vec![n; usize::from(n)])).unwrap();
        }
        for n in 0..50_u8 {
            assert_eq!(b.frame().await, (channel, Bytes::from(vec![n; usize::from(n)])));
        }
    }
    b.net.send(a.key(), Channel::Gossip, Bytes::from_static(b"back")).unwrap();
    assert_eq!(a.frame().await, (Channel::Gossip, Bytes::from_static(b"back")));
    let info = &a.net.connected()[0];
    assert_eq!((info.peer, info.standing, info.addr), (b.key(), Standing::Member, b.addr()));
    assert!(info.bytes_in > 0 && info.bytes_out > 0);
}

#[tokio::test]
async fn a_finished_channel_can_be_used_again() {
    let (a, mut b) = friends().await;
    // More channels than streams: each finished one makes room.
    for n in 0..100_u8 {
        a.net.send(b.key(), task(n), Bytes::from(vec![n])).unwrap();
        a.net.finish(b.key(), task(n));
        assert_eq!(b.frame().await, (task(n), Bytes::from(vec![n])));
    }
    a.net.send(b.key(), task(0), Bytes::from_static(b"again")).unwrap();
    assert_eq!(b.frame().await, (task(0), Bytes::from_static(b"again")));
}

// spec: NET-4
#[tokio::test]
async fn an_oversized_frame_is_not_sent_and_closes_whoever_sends_one() {
    let (a, b) = friends().await;
    let size = Bounds::default().frame + 1;
    let refused = a.net.send(b.key(), Channel::Sync, vec![0; size].into());
    assert_eq!(refused, Err(SendError::TooLarge { size, bound: size - 1 }));

    let raw = Raw::new(3);
    let (connection, mut hello) = raw.greet(&b).await;
    hello.write_all(&(u32::MAX - 1).to_le_bytes()).await.unwrap();
    assert!(closed(&connection).await.contains("a frame beyond the bound"));
    assert_eq!(b.net.counters().oversized_frames, 1);
}

// spec: NET-4
#[tokio::test]
async fn a_full_queue_refuses_and_a_blocked_channel_blocks_no_other() {
    let mut a = peer(1).await;
    let raw = Raw::new(2);
    a.net.set_standing(raw.key(), Standing::Member);
    let (connection, _hello) = raw.greet(&a).await;
    a.connected(raw.key()).await;

    // The raw peer reads nothing of the task's stream, so this ends with its window and the queue full.
    let frame = Bytes::from(vec![7; Bounds::default().frame]);
    let refused = async {
        loop {
            match a.net.send(raw.key(), task(1), frame.clone()) {
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => return error,
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, refused).await.unwrap(), SendError::QueueFull);
    assert!(a.net.counters().queue_full > 0);

    a.net.send(raw.key(), Channel::Gossip, Bytes::from_static(b"through")).unwrap();
    a.net.send(raw.key(), task(2), Bytes::from_static(b"through")).unwrap();
    let mut through = Vec::new();
    while through.len() < 2 {
        let mut stream =
            tokio::time::timeout(PATIENCE, connection.accept_uni()).await.expect("blocked").unwrap();
        match Head::read(&mut stream).await.unwrap().channel().unwrap() {
            channel if channel == Channel::Gossip || channel == task(2) => {
                let frame = crate::wire::read_frame(&mut stream, 64).await.unwrap().unwrap();
                assert_eq!(frame, Bytes::from_static(b"through"));
                through.push((channel, stream));
            }
            // Kept, unread: dropping it would refuse it.
            _ => std::mem::forget(stream),
        }
    }
}

#[tokio::test]
async fn a_lost_session_says_so_and_takes_nothing_more() {
    let (mut a, b) = friends().await;
    let key = b.key();
    a.net.forget(key);
    b.net.close().await;
    assert!(a.disconnected(key).await.contains("goodbye"));
    eventually(|| a.net.connected().is_empty()).await;
    assert_eq!(a.net.send(key, Channel::Hello, Bytes::new()), Err(SendError::NotConnected));
}

#[tokio::test]
async fn dropping_the_last_handle_closes_everything() {
    let (a, mut b) = friends().await;
    let key = a.key();
    b.net.forget(key);
    drop(a);
    assert!(b.disconnected(key).await.contains("gone"));
}

#[tokio::test]
async fn frames_queued_before_an_orderly_disconnect_arrive_before_its_event() {
    let (a, mut b) = friends().await;
    let key = a.key();
    for n in 0..10_u8 {
        a.net.send(b.key(), Channel::Sync, Bytes::from(vec![n])).unwrap();
    }
    for n in 0..10_u8 {
        assert_eq!(b.frame().await.1, vec![n]);
    }
    a.net.forget(b.key());
    a.net.disconnect(b.key(), "enough");
    let last = b.until(|e| match e {
        Event::Frame { .. } => Some(None),
        Event::Disconnected { peer, reason } if *peer == key => Some(Some(reason.clone())),
        _ => None,
    });
    assert!(last.await.expect("a frame too many").contains("enough"));
}

// spec: NET-4
#[tokio::test]
async fn as_many_attempts_run_between_two_members_as_there_can_be_places() {
    let (a, mut b) = friends().await;
    let attempt = |attempt| Channel::Task { task: [7; 32], attempt };
    // None is finished, so each keeps its stream.
    for n in 0..1024 {
        a.net.send(b.key(), attempt(n), Bytes::from_static(b"offer")).unwrap();
    }
    let mut came = std::collections::BTreeSet::new();
    while came.len() < 1024 {
        came.insert(b.frame().await.0);
    }
    // Others take their places, though what is given back is told only now and then.
    for n in 0..2048 {
        a.net.finish(b.key(), attempt(n));
        a.net.send(b.key(), attempt(1024 + n), Bytes::from_static(b"offer")).unwrap();
        assert_eq!(b.frame().await.0, attempt(1024 + n));
    }
}

// spec: NET-4
#[tokio::test]
async fn who_begins_frames_and_ends_none_is_closed_and_counted() {
    let mut b = peer_with(2, |config| config.bounds.unfinished = 200 << 10).await;
    let raw = Raw::new(3);
    b.net.set_standing(raw.key(), Standing::Member);
    let (connection, _hello) = raw.greet(&b).await;
    b.connected(raw.key()).await;
    let frame = vec![0; 60 << 10];
    let begin = async |channel: Channel| {
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(&Head::of(channel, Instance::default()).encode()).await.unwrap();
        stream.write_all(&u32::try_from(frame.len()).unwrap().to_le_bytes()).await.unwrap();
        stream.write_all(&frame[1..]).await.unwrap();
        stream
    };
    let mut streams = Vec::new();
    for n in 0..3 {
        streams.push(begin(task(n)).await);
    }
    // What ends makes room.
    for n in 3..6 {
        let mut ended = streams.remove(0);
        ended.write_all(&[0]).await.unwrap();
        assert_eq!(b.frame().await, (task(n - 3), frame.clone().into()));
        streams.push(begin(task(n)).await);
    }
    assert!(connection.close_reason().is_none());
    streams.push(begin(task(6)).await);
    assert!(closed(&connection).await.contains("too many unfinished frames"));
    assert_eq!(b.net.counters().unfinished_frames, 1);
}

// spec: NET-4
#[tokio::test]
async fn frames_that_the_caller_does_not_take_hold_their_senders_up_and_are_all_told() {
    let mut b = peer_with(2, |config| config.bounds.events = 1).await;
    let mut a = peer(1).await;
    befriend(&mut a, &mut b).await;
    let frame = Bytes::from(vec![7; Bounds::default().frame]);
    let attempt = |attempt| Channel::Task { task: [7; 32], attempt };
    let (mut sent, mut since) = (0, Instant::now());
    while sent < 1200 && since.elapsed() < Duration::from_secs(1) {
        match a.net.send(b.key(), attempt(sent), frame.clone()) {
            Ok(()) => (sent, since) = (sent + 1, Instant::now()),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    // More than may be unfinished at once, and less than a reader for each channel could hold.
    assert!((300..1000).contains(&sent), "{sent} went out");
    for _ in 0..sent {
        assert_eq!(b.frame().await.1, frame);
    }
    assert_eq!(b.net.counters().unfinished_frames, 0);
}

// spec: NET-4
#[tokio::test]
async fn a_peer_with_many_channels_has_one_place_among_those_that_wait() {
    let mut b = peer_with(2, |config| config.bounds.events = 1).await;
    let (mut many, mut one) = (peer(1).await, peer(3).await);
    befriend(&mut many, &mut b).await;
    befriend(&mut one, &mut b).await;
    for attempt in 0..100 {
        let channel = Channel::Task { task: [7; 32], attempt };
        many.net.send(b.key(), channel, Bytes::from_static(b"many")).unwrap();
    }
    // One is told, the others wait.
    eventually(|| b.net.untold(many.key()) == 99 * 4).await;
    one.net.send(b.key(), task(1), Bytes::from_static(b"one")).unwrap();
    eventually(|| b.net.untold(one.key()) == 3).await;
    let mut before = 0;
    while b.frame().await.1 != "one" {
        before += 1;
    }
    assert!(before <= 3, "{before} came first");
}

// spec: NET-4
#[tokio::test]
async fn channels_that_a_peer_takes_no_stream_for_are_counted_though_they_are_finished() {
    let mut a = peer_with(1, |config| config.bounds.channels_per_peer = 40).await;
    let raw = Raw::new(2);
    a.net.set_standing(raw.key(), Standing::Member);
    // It gives 32 streams and takes none back.
    let (_connection, _hello) = raw.greet(&a).await;
    a.connected(raw.key()).await;
    let say = |attempt| {
        let channel = Channel::Task { task: [7; 32], attempt };
        let said = a.net.send(raw.key(), channel, Bytes::from_static(b"lost"));
        a.net.finish(raw.key(), channel);
        said
    };
    let mut refused = 0;
    for n in 0..1000 {
        refused += usize::from(say(n) == Err(SendError::QueueFull));
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    // One stream is the hello's; the other 31 are written to.
    assert_eq!(refused, 1000 - 31 - 40);
    a.net.send(raw.key(), Channel::Sync, Bytes::from_static(b"still")).unwrap();
}
