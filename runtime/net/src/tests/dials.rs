//! Reaching a peer by its key.

use super::harness::*;
use crate::{Channel, Config, Event, MdnsConfig, Net, Path, Standing};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

// spec: NET-3
#[tokio::test]
async fn the_dialled_key_is_checked() {
    let (mut a, b, c) = (peer(1).await, peer(2).await, peer(3).await);
    a.net.connect(c.key(), vec![b.addr()]);
    let reason = a.dial_failed().await;
    assert!(reason.contains("another key"), "{reason}");
    assert_eq!(a.net.counters().wrong_keys, 1);
    assert!(a.net.connected().is_empty());
    b.counted(|counters| counters.bad_handshakes == 1).await;
    // The right address, told later, works.
    a.dial(&c);
    a.connected(c.key()).await;
}

// spec: NET-3
#[tokio::test]
async fn another_protocol_is_refused() {
    let b = peer(2).await;
    let raw = Raw::new(3);
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let client = quinn::ClientConfig::new(Arc::new(crypto));
    assert!(raw.endpoint.connect_with(client, b.addr(), "mesh.invalid").unwrap().await.is_err());
    b.counted(|counters| counters.bad_handshakes == 1).await;
}

// spec: NET-5
#[tokio::test]
async fn a_peer_that_restarts_elsewhere_is_reached_again_by_its_key() {
    let (mut a, b) = friends().await;
    let key = b.key();
    b.net.close().await;
    drop(b);
    a.disconnected(key).await;
    let mut again = peer(2).await;
    again.net.set_standing(a.key(), Standing::Member);
    a.net.connect(key, vec![again.addr()]);
    a.connected(key).await;
    again.connected(a.key()).await;
    a.net.send(key, Channel::Sync, Bytes::from_static(b"welcome back")).unwrap();
    assert_eq!(again.frame().await.1, "welcome back");
}

// spec: NET-5
#[tokio::test]
async fn a_peer_that_crashed_and_dials_again_gets_a_new_session_at_once() {
    let mut a = peer(1).await;
    let raw = Raw::new(2);
    a.net.set_standing(raw.key(), Standing::Member);
    let (lost, _hello) = raw.greet(&a).await;
    a.connected(raw.key()).await;
    // The old connection is still alive as far as anyone can tell.
    let mut b = peer(2).await;
    b.net.set_standing(a.key(), Standing::Member);
    b.dial(&a);
    assert!(a.disconnected(raw.key()).await.contains("dialled again"));
    a.connected(b.key()).await;
    b.connected(a.key()).await;
    a.net.send(b.key(), Channel::Gossip, Bytes::from_static(b"to the new one")).unwrap();
    assert_eq!(b.frame().await.1, "to the new one");
    assert!(closed(&lost).await.contains("dialled again"));
}

// spec: NET-5
#[tokio::test]
async fn a_lost_connection_is_dialled_again_at_the_address_it_came_from() {
    let (mut a, mut b) = (peer(1).await, peer(2).await);
    a.net.set_standing(b.key(), Standing::Member);
    b.net.set_standing(a.key(), Standing::Member);
    // b wants a and knows no address of it.
    b.net.connect(a.key(), vec![]);
    assert!(b.dial_failed().await.contains("no address"));
    a.dial(&b);
    b.connected(a.key()).await;
    a.connected(b.key()).await;
    a.net.forget(b.key());
    a.net.disconnect(b.key(), "a test");
    b.disconnected(a.key()).await;
    let dialled = b.until(|e| match e {
        Event::Connected { dialled, .. } => Some(*dialled),
        _ => None,
    });
    assert!(dialled.await);
}

// spec: NET-5
#[tokio::test]
async fn peers_on_one_network_find_each_other() {
    let nearby = |community: &str| {
        let mdns = Some(MdnsConfig { community: community.to_owned() });
        move |config: &mut Config| {
            config.listen = "0.0.0.0:0".parse().unwrap();
            config.mdns = mdns;
        }
    };
    let mut a = peer_with(1, nearby("c0ffee")).await;
    // This one learns later to which community it belongs.
    let b = peer_with(2, |config| config.listen = "0.0.0.0:0".parse().unwrap()).await;
    b.net.find_nearby(&MdnsConfig { community: "c0ffee".to_owned() });
    let _other = peer_with(3, nearby("beef")).await;
    let found = a.until(|e| match e {
        Event::Found { peer, addrs } => Some((*peer, addrs.clone())),
        _ => None,
    });
    let (key, addrs) = found.await;
    assert_eq!(key, b.key());
    a.net.connect(key, addrs);
    a.connected(key).await;
}

// spec: NET-5
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialling_each_other_at_once_leaves_one_connection_and_loses_no_frame() {
    for round in 0..2_u8 {
        let (mut a, mut b) = (peer(10 + round).await, peer(20 + round).await);
        a.net.set_standing(b.key(), Standing::Member);
        b.net.set_standing(a.key(), Standing::Member);
        a.dial(&b);
        b.dial(&a);
        a.connected(b.key()).await;
        b.connected(a.key()).await;
        for n in 0..100_u8 {
            a.net.send(b.key(), Channel::Sync, Bytes::from(vec![n])).unwrap();
            b.net.send(a.key(), Channel::Sync, Bytes::from(vec![n])).unwrap();
            tokio::task::yield_now().await;
        }
        for n in 0..100_u8 {
            for peer in [&mut a, &mut b] {
                let frame = peer.until(|e| match e {
                    Event::Frame { bytes, .. } => Some(bytes.clone()),
                    Event::Disconnected { reason, .. } => panic!("lost: {reason}"),
                    _ => None,
                });
                assert_eq!(frame.await, vec![n]);
            }
        }
        let one = |peer: &Peer| peer.net.connected().len() == 1;
        assert!(one(&a) && one(&b));
        let open = |peer: &Peer| peer.net.open_connections();
        eventually(|| open(&a) == 1 && open(&b) == 1).await;
        a.net.send(b.key(), Channel::Gossip, Bytes::from_static(b"after")).unwrap();
        assert_eq!(b.frame().await.1, "after");
    }
}

#[tokio::test]
async fn a_failed_dial_is_told_and_forgetting_ends_it() {
    let mut a = peer(1).await;
    a.net.connect(Raw::new(2).key(), vec![]);
    assert!(a.dial_failed().await.contains("no address"));
    assert!(a.dial_failed().await.contains("no address"), "it is tried again");
    a.net.forget(Raw::new(2).key());
    while a.events.try_recv().is_ok() {}
    a.net.connect(a.key(), vec![a.addr()]);
    assert!(tokio::time::timeout(Duration::from_millis(600), a.events.recv()).await.is_err());
}

#[tokio::test]
async fn a_taken_address_cannot_be_bound() {
    let a = peer(1).await;
    let config = Config::new([2; 32], a.addr());
    let shelf = Arc::new(Shelf::default());
    assert!(Net::bind(config, shelf).await.is_err());
    assert!(a.net.addrs().contains(&a.addr()));
}

#[tokio::test]
async fn a_direct_peer_says_so() {
    let (a, _b) = friends().await;
    assert_eq!(a.net.connected()[0].path, Path::Direct);
}

// spec: NET-5
#[tokio::test]
async fn who_lets_a_session_begin_and_closes_it_is_dialled_with_growing_pauses() {
    let (mut a, mut b) = (peer(1).await, peer(2).await);
    a.net.set_standing(b.key(), Standing::Member);
    b.net.set_standing(a.key(), Standing::Member);
    a.dial(&b);
    let (key, start) = (a.key(), Instant::now());
    let mut met = Vec::new();
    while met.len() < 4 {
        b.connected(key).await;
        met.push(start.elapsed());
        b.net.disconnect(key, "a test");
        a.disconnected(b.key()).await;
        // Said again, as anybody on the network can.
        a.dial(&b);
    }
    // A quarter of a second, a half and a whole one, each a quarter less at the least.
    assert!(met[1] < Duration::from_secs(1), "the first time soon: {met:?}");
    assert!(met[3] > Duration::from_millis(1300), "{met:?}");
    // A new address is a reason to hurry.
    let mut moved = peer(2).await;
    let moved_at = Instant::now();
    a.dial(&moved);
    moved.connected(key).await;
    assert!(moved_at.elapsed() < Duration::from_secs(1));
}
