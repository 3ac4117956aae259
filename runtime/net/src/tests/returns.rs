//! Peers that die without a word and come back, again and again.

use super::harness::*;
use crate::wire::{Head, Instance};
use crate::{Channel, Config, Event, Net, Standing};
use bytes::Bytes;
use mesh_protocol::key::PublicKey;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Well below the idle timeout: who comes back does not wait until its former connections are given up.
const SOON: Duration = Duration::from_secs(15);

/// A peer in a runtime of its own, so that it can end in the middle of everything, as with its process.
struct Mortal {
    net: Net,
    met: mpsc::UnboundedReceiver<Event>,
    kill: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Mortal {
    /// Listens there, and dials whom it is told to.
    async fn born(seed: u8, listen: SocketAddr, friends: Vec<(PublicKey, SocketAddr)>) -> Self {
        let (ready, bound) = oneshot::channel();
        let (told, met) = mpsc::unbounded_channel();
        let (kill, killed) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let config = Config::new([seed; 32], listen);
                let (net, mut events) = Net::bind(config, Arc::new(Shelf::default())).await.unwrap();
                for (friend, addr) in friends {
                    net.set_standing(friend, Standing::Member);
                    net.connect(friend, vec![addr]);
                }
                let _told = ready.send(net);
                tokio::spawn(async move {
                    while let Some(event) = events.recv().await {
                        let _nobody_looks = told.send(event);
                    }
                });
                let _killed = killed.await;
            });
            // Whatever was to be sent is not: there is nobody left to send it.
        });
        Self { net: bound.await.unwrap(), met, kill, thread }
    }

    async fn connected(&mut self, other: PublicKey) {
        let wait = async {
            while let Some(event) = self.met.recv().await {
                if matches!(event, Event::Connected { peer, .. } if peer == other) {
                    return;
                }
            }
        };
        tokio::time::timeout(SOON, wait).await.expect("it never got in");
    }

    fn die(self) {
        self.kill.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// It has a session with a run of that peer that takes what it sends.
async fn talks(one: &mut Peer, other: PublicKey, mortal: &mut Mortal) {
    let wait = async {
        loop {
            // Until both mean the same session, what is said may go to one that is dead.
            let _none_yet = one.net.send(other, Channel::Hello, Bytes::from_static(b"you there?"));
            match tokio::time::timeout(Duration::from_millis(50), mortal.met.recv()).await {
                Ok(Some(Event::Frame { .. })) => return,
                Ok(None) => panic!("it died"),
                _ => {}
            }
        }
    };
    tokio::time::timeout(SOON, wait).await.expect("they never talked");
}

/// Kills one of two peers that dial each other, at different moments, and brings it back.
async fn returns(seeds: (u8, u8), same_port: bool) {
    let mut bob = peer(seeds.0).await;
    let mut listen = local();
    for round in 0..12 {
        let mut alice = Mortal::born(seeds.1, listen, vec![(bob.key(), bob.addr())]).await;
        if same_port {
            listen = alice.net.local_addr();
        }
        let key = alice.net.key();
        bob.net.set_standing(key, Standing::Member);
        bob.net.connect(key, vec![alice.net.local_addr()]);
        if round % 3 < 2 {
            alice.connected(bob.key()).await;
        }
        if round % 3 == 0 {
            talks(&mut bob, key, &mut alice).await;
        }
        alice.die();
        while bob.events.try_recv().is_ok() {}
    }
}

// spec: NET-5
#[tokio::test]
async fn who_dies_and_comes_back_at_once_gets_in_however_often() {
    for seeds in [(1, 2), (2, 1)] {
        returns(seeds, true).await;
        returns(seeds, false).await;
    }
}

// spec: NET-5
#[tokio::test]
async fn who_lost_a_session_that_still_stands_here_gets_a_new_one_at_once() {
    let mut a = peer(1).await;
    let raw = Raw::new(2);
    a.net.set_standing(raw.key(), Standing::Member);
    let (lost, _hello) = raw.greet(&a).await;
    a.connected(raw.key()).await;
    // The same run, which has ended a session with this peer.
    let again = raw.dial(a.key(), a.addr()).await.unwrap();
    let mut hello = again.open_uni().await.unwrap();
    let instance = Instance { run: [9; 12], session: 1 };
    hello.write_all(&Head::Hello { instance }.encode()).await.unwrap();
    a.disconnected(raw.key()).await;
    a.connected(raw.key()).await;
    assert!(closed(&lost).await.contains("dialled again"));
    assert!(again.close_reason().is_none());
}
