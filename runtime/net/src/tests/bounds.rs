//! Bounds that hold before anyone says who they are.

use super::harness::*;
use crate::{Bounds, Channel, Standing, tls};
use bytes::Bytes;
use std::net::UdpSocket;
use std::sync::Arc;

// spec: NET-4
#[tokio::test]
async fn garbage_on_the_port_changes_nothing() {
    let (a, mut b) = friends().await;
    let socket = UdpSocket::bind(local()).unwrap();
    for n in 0..2000_u32 {
        // Every first byte, so every form of header; lengths around a datagram's least.
        let mut bytes = vec![n as u8; 1 + (n as usize * 7) % 1400];
        bytes.iter_mut().enumerate().skip(1).for_each(|(i, byte)| *byte = (i as u32 ^ n) as u8);
        let _ = socket.send_to(&bytes, b.addr());
    }
    a.net.send(b.key(), Channel::Gossip, Bytes::from_static(b"still here")).unwrap();
    assert_eq!(b.frame().await.1, "still here");
    assert_eq!(b.net.connected().len(), 1);
}

// spec: NET-4
#[tokio::test]
async fn a_third_connection_of_one_key_is_refused_and_counted() {
    let b = peer(2).await;
    let raw = Raw::new(3);
    let mut held = Vec::new();
    for _ in 0..5 {
        // They say nothing, so none of them takes the place of another.
        held.push(raw.dial(b.key(), b.addr()).await.unwrap());
    }
    b.counted(|counters| counters.connections_per_peer == 3).await;
    eventually(|| held.iter().filter(|connection| connection.close_reason().is_some()).count() == 3).await;
}

// spec: NET-4
#[tokio::test]
async fn a_prefix_with_enough_connections_is_refused_and_counted() {
    let tight = Bounds { connections_per_prefix: 2, loopback_exempt: false, ..Bounds::default() };
    let mut b = peer_with(2, |config| config.bounds = tight).await;
    let mut held = Vec::new();
    for seed in 3..5 {
        let raw = Raw::new(seed);
        let greeted = raw.greet(&b).await;
        b.connected(raw.key()).await;
        held.push((greeted, raw));
    }
    let raw = Raw::new(5);
    assert!(raw.dial(b.key(), b.addr()).await.is_err());
    assert_eq!(b.net.counters().connections_per_prefix, 1);
    // What this peer dials itself is not bound by it.
    let mut c = peer(6).await;
    befriend(&mut b, &mut c).await;
    held.pop();
    eventually(|| b.net.connected().len() == 2).await;
    assert!(raw.dial(b.key(), b.addr()).await.is_ok());
}

// spec: NET-4
#[tokio::test]
async fn the_table_of_connections_ends() {
    let tight = Bounds { connections_total: 1, ..Bounds::default() };
    let mut b = peer_with(2, |config| config.bounds = tight).await;
    let first = Raw::new(3);
    let _held = first.greet(&b).await;
    b.connected(first.key()).await;
    assert!(Raw::new(4).dial(b.key(), b.addr()).await.is_err());
    assert_eq!(b.net.counters().connections_total, 1);
}

/// A real first packet of a handshake, caught on its way to nowhere.
async fn first_packet(to: &Peer) -> Vec<u8> {
    let nowhere = tokio::net::UdpSocket::bind(local()).await.unwrap();
    let raw = Raw::new(9);
    let client = raw.identity.client(to.key(), Arc::new(tls::transport(&raw.bounds))).unwrap();
    let _connecting = raw.endpoint.connect_with(client, nowhere.local_addr().unwrap(), tls::NAME).unwrap();
    let mut packet = vec![0; 2048];
    let length = nowhere.recv(&mut packet).await.unwrap();
    packet.truncate(length);
    packet
}

// spec: NET-4
#[tokio::test]
async fn a_flood_of_unfinished_handshakes_is_answered_with_retry_and_honest_peers_get_in() {
    let b = peer(2).await;
    let socket = UdpSocket::bind(local()).unwrap();
    for _ in 0..30 {
        socket.send_to(&first_packet(&b).await, b.addr()).unwrap();
    }
    let most = Bounds::default().half_open_before_retry as u64;
    b.counted(|counters| counters.retries_sent >= 30 - most).await;
    let mut a = peer(1).await;
    a.net.set_standing(b.key(), Standing::Member);
    a.dial(&b);
    a.connected(b.key()).await;
    // Its first packet, too, was answered with Retry.
    assert_eq!(b.net.counters().retries_sent, 31 - most);
}
