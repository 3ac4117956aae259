//! Two peers and the one between them.

use super::harness::*;
use crate::wire::{Head, NO, YES};
use crate::{Channel, Event, Path, Standing};
use bytes::Bytes;
use mesh_protocol::key::PublicKey;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

/// Two peers that know each other and a relay, and are connected to it only.
async fn trio(relay_bytes: u64) -> (Peer, Peer, Peer) {
    let (mut a, mut b) = (peer(1).await, peer(2).await);
    let mut relay = peer_with(3, |config| config.relay_bytes = relay_bytes).await;
    a.net.set_standing(b.key(), Standing::Member);
    b.net.set_standing(a.key(), Standing::Member);
    befriend(&mut a, &mut relay).await;
    befriend(&mut b, &mut relay).await;
    (a, b, relay)
}

// spec: NET-6
#[tokio::test]
async fn two_peers_reach_each_other_through_a_third_that_cannot_read() {
    let (mut a, mut b, relay) = trio(10 << 20).await;
    a.net.connect_via(b.key(), relay.key());
    let path = |e: &Event, other| match e {
        Event::Connected { peer, path, dialled, .. } if *peer == other => Some((*path, *dialled)),
        _ => None,
    };
    let (a_key, b_key) = (a.key(), b.key());
    assert_eq!(a.until(|e| path(e, b_key)).await, (Path::Relayed { by: relay.key() }, true));
    assert_eq!(b.until(|e| path(e, a_key)).await, (Path::Relayed { by: relay.key() }, false));
    a.net.send(b_key, Channel::Gossip, Bytes::from_static(b"through")).unwrap();
    assert_eq!(b.frame().await, (Channel::Gossip, Bytes::from_static(b"through")));
    b.net.send(a_key, Channel::Sync, Bytes::from_static(b"and back")).unwrap();
    assert_eq!(a.frame().await, (Channel::Sync, Bytes::from_static(b"and back")));

    // It carries everything, blobs too.
    let dir = tempfile::TempDir::new().unwrap();
    let (offered, into) = (dir.path().join("offered"), dir.path().join("fetched"));
    let bytes = vec![7; 2 << 20];
    std::fs::write(&offered, &bytes).unwrap();
    let hash = *blake3::hash(&bytes).as_bytes();
    b.shelf.blobs.lock().unwrap().insert(hash, offered);
    a.net.fetch(b_key, hash, 4 << 20, &into).await.unwrap();
    assert_eq!(std::fs::read(into).unwrap(), bytes);
    assert!(relay.net.counters().relay_bytes > 2 << 20);

    // When the relay goes, so does the connection.
    relay.net.close().await;
    a.disconnected(b_key).await;
    b.disconnected(a_key).await;
}

// spec: NET-6
#[tokio::test]
async fn a_member_that_both_reach_is_found_without_being_named_and_others_are_asked_in_vain() {
    let (mut a, mut b, relay) = trio(10 << 20).await;
    let mut unwilling = peer(4).await;
    befriend(&mut a, &mut unwilling).await;
    let nobody = std::net::UdpSocket::bind(local()).unwrap();
    a.net.connect(b.key(), vec![nobody.local_addr().unwrap()]);
    b.connected(a.key()).await;
    a.connected(b.key()).await;
    let way = a.net.connected().into_iter().find(|info| info.peer == b.key()).unwrap();
    assert_eq!(way.path, Path::Relayed { by: relay.key() });
    assert!(a.net.unreached().is_empty());
}

// spec: NET-6
#[tokio::test]
async fn a_direct_connection_takes_over_from_a_relayed_one() {
    let (mut a, mut b, relay) = trio(10 << 20).await;
    let (a_key, b_key) = (a.key(), b.key());
    a.net.connect_via(b_key, relay.key());
    a.connected(b_key).await;
    b.connected(a_key).await;
    b.dial(&a);
    eventually(|| {
        let direct = |peer: &Peer, other| {
            peer.net.connected().iter().any(|info| info.peer == other && info.path == Path::Direct)
        };
        direct(&a, b_key) && direct(&b, a_key)
    })
    .await;
    a.net.send(b_key, Channel::Gossip, Bytes::from_static(b"direct")).unwrap();
    assert_eq!(b.frame().await.1, "direct");
}

// spec: NET-6
#[tokio::test]
async fn what_is_under_way_on_a_connection_when_another_takes_over_is_not_cut_off() {
    let (mut a, mut b, relay) = trio(10 << 20).await;
    let (a_key, b_key) = (a.key(), b.key());
    a.net.connect_via(b_key, relay.key());
    a.connected(b_key).await;
    b.connected(a_key).await;
    let (grows, source) = tokio::sync::mpsc::channel(1);
    b.shelf.streams.lock().unwrap().insert(b"log".to_vec(), source);
    let mut followed = a.net.follow(b_key, b"log".to_vec(), 0).await.unwrap();
    a.dial(&b);
    let path = |peer: &Peer, other| {
        let all = peer.net.connected();
        all.into_iter().find(|info| info.peer == other).map(|info| info.path)
    };
    eventually(|| path(&a, b_key) == Some(Path::Direct) && path(&b, a_key) == Some(Path::Direct)).await;
    for n in 0..10_u8 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        grows.send(Bytes::from(vec![n])).await.unwrap();
        assert_eq!(followed.recv().await.expect("it ended").expect("it was cut off"), vec![n]);
    }
    // Once it is quiet, the one that is not used goes.
    drop(grows);
    assert!(followed.recv().await.is_none());
    eventually(|| relay.net.counters().relay_bytes > 0 && a.net.relayed_connections() == 0).await;
}

// spec: NET-6
#[tokio::test]
async fn who_does_not_volunteer_does_not_relay() {
    let (mut a, b, relay) = trio(0).await;
    a.net.connect_via(b.key(), relay.key());
    assert!(a.dial_failed().await.contains("the relay refused"));
    assert_eq!(relay.net.counters().relay_refused, 1);
}

// spec: NET-6
#[tokio::test]
async fn only_members_are_relayed_to() {
    let (mut a, b, relay) = trio(10 << 20).await;
    relay.net.set_standing(b.key(), Standing::Stranger);
    a.net.connect_via(b.key(), relay.key());
    assert!(a.dial_failed().await.contains("the relay refused"));
}

// spec: NET-6
#[tokio::test]
async fn the_days_bytes_end_a_relayed_connection() {
    let (mut a, mut b, relay) = trio(200_000).await;
    a.net.connect_via(b.key(), relay.key());
    a.connected(b.key()).await;
    b.connected(a.key()).await;
    for _ in 0..10 {
        a.net.send(b.key(), Channel::Sync, Bytes::from(vec![0; 50_000])).unwrap();
    }
    a.disconnected(b.key()).await;
    b.disconnected(a.key()).await;
    let counters = relay.net.counters();
    assert!(counters.relay_capped >= 1 && counters.relay_bytes <= 200_000, "{counters:?}");
}

// spec: NET-4
#[tokio::test]
async fn one_relay_brings_few_that_nobody_knows_at_a_time() {
    let mut b = peer(2).await;
    let relay = Raw::new(3);
    b.net.set_standing(relay.key(), Standing::Member);
    let (connection, _hello) = relay.greet(&b).await;
    b.connected(relay.key()).await;
    let mut brought = Vec::new();
    for n in 0..6 {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        let from = Raw::new(10 + n).key();
        send.write_all(&Head::Relayed { from }.encode()).await.unwrap();
        brought.push((send, recv));
    }
    let mut answers = Vec::new();
    for (_, recv) in &mut brought {
        answers.push(recv.read_u8().await.unwrap());
    }
    answers.sort_unstable();
    assert_eq!(answers, [NO, NO, YES, YES, YES, YES]);
    assert_eq!(b.net.counters().arrivals_refused, 2);
}

// spec: NET-4, NET-6
#[tokio::test]
async fn a_relay_brings_any_number_of_members() {
    let mut relay = peer_with(3, |config| config.relay_bytes = 10 << 20).await;
    let mut b = peer_with(2, |config| config.bounds.arriving_per_relay = 1).await;
    befriend(&mut b, &mut relay).await;
    let mut others = Vec::new();
    for seed in 10..14 {
        let mut other = peer(seed).await;
        befriend(&mut other, &mut relay).await;
        other.net.set_standing(b.key(), Standing::Member);
        b.net.set_standing(other.key(), Standing::Member);
        others.push(other);
    }
    for other in &others {
        other.net.connect_via(b.key(), relay.key());
    }
    for other in &mut others {
        other.connected(b.key()).await;
    }
    eventually(|| b.net.connected().len() == 5).await;
    assert_eq!(b.net.counters().arrivals_refused, 0);
}

/// What a relay says to those that ask to be forwarded to a peer, one after another, whose streams stay open.
async fn asks(relay: &Peer, by: &[&Raw], to: &Peer) -> Vec<(u8, quinn::RecvStream)> {
    let mut answers = Vec::new();
    for raw in by {
        relay.net.set_standing(raw.key(), Standing::Member);
        let (connection, _hello) = raw.greet(relay).await;
        eventually(|| relay.net.connected().iter().any(|info| info.peer == raw.key())).await;
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&Head::Relay { to: to.key() }.encode()).await.unwrap();
        answers.push((recv.read_u8().await.unwrap(), recv));
        std::mem::forget((send, connection));
    }
    answers
}

// spec: NET-4, NET-6
#[tokio::test]
async fn all_devices_of_a_member_share_the_places_at_a_relay() {
    let mut b = peer(2).await;
    let mut relay = peer_with(3, |config| {
        config.relay_bytes = 10 << 20;
        config.bounds.circuits_per_owner = 1;
    })
    .await;
    befriend(&mut b, &mut relay).await;
    let [one, two, other] = [10, 11, 12].map(Raw::new);
    let owner = PublicKey([9; 32]);
    relay.shelf.owners.lock().unwrap().extend([(one.key(), owner), (two.key(), owner)]);
    let answers = asks(&relay, &[&one, &two, &other], &b).await;
    let said: Vec<u8> = answers.iter().map(|(said, _)| *said).collect();
    assert_eq!(said, [YES, NO, YES]);
    // Whose relay it is has all of them.
    let [mine, too] = [13, 14].map(Raw::new);
    let me = relay.key();
    relay.shelf.owners.lock().unwrap().extend([(mine.key(), me), (too.key(), me)]);
    let answers = asks(&relay, &[&mine, &too], &b).await;
    assert!(answers.iter().all(|(said, _)| *said == YES));
}

// spec: NET-4, NET-6
#[tokio::test]
async fn a_relayed_connection_on_which_nothing_is_said_gives_its_place_back() {
    let mut b = peer(2).await;
    let mut relay = peer_with(3, |config| {
        config.relay_bytes = 10 << 20;
        config.bounds.stall = Duration::from_millis(500);
    })
    .await;
    befriend(&mut b, &mut relay).await;
    let silent = Raw::new(10);
    let mut answers = asks(&relay, &[&silent], &b).await;
    let (said, mut recv) = answers.pop().unwrap();
    assert_eq!(said, YES);
    let end = tokio::time::timeout(Duration::from_secs(4), recv.read_u8()).await;
    assert!(end.expect("it ends").is_err());
}
