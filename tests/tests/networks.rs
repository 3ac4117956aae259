//! Networks as they are: routers that let nobody in, addresses that change, lines that are cut, and strangers who
//! hammer. The peers are real processes; each network is made of Linux namespaces.

use crate::namespaces::{Nat, Space, cable, inside};
use crate::peers::{Client, Peer, endless, hello, sees_slots, short, street};
use crate::support::{BOUND, until};
use mesh_net::{Bounds, Channel, Config, Follow, Net, Provider};
use mesh_protocol::frame::{Frame as _, HelloFrame};
use mesh_protocol::key::PublicKey;
use serde_json::Value;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;

/// Where all of them listen.
const PORT: u16 = 4433;

fn at(net: u8) -> SocketAddr {
    SocketAddr::from(([10, 77, net, 2], PORT))
}

/// A peer in a namespace.
struct Placed {
    peer: Peer,
    _home: TempDir,
}

impl std::ops::Deref for Placed {
    type Target = Peer;
    fn deref(&self) -> &Peer {
        &self.peer
    }
}

fn placed(name: &'static str, space: &Space, more: &[&str]) -> Placed {
    let home = tempfile::tempdir().unwrap();
    let mut peer = Peer::at(name, home.path().to_owned(), space.prefix());
    peer.listen = format!("0.0.0.0:{PORT}");
    peer.up(more);
    Placed { peer, _home: home }
}

/// `GET /v1/net` of a peer in a namespace.
fn net(space: &Space, client: &Client) -> Value {
    let client = client.clone();
    space.enter(move || client.get("/v1/net"))
}

/// How a peer reaches another.
fn way(space: &Space, from: &Client, to: &str) -> Option<Value> {
    let net = net(space, from);
    net["connections"].as_array()?.iter().find(|conn| conn["peer"] == to).cloned()
}

fn key(client: &Client) -> String {
    client.json(&["status"])["device"].as_str().unwrap().to_owned()
}

fn found(founder: &Client, rules: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules).unwrap();
    founder.ok(&["community", "new", "Street", "--rules", file.path().to_str().unwrap()]);
}

fn join(sponsor: &Client, peer: &Client) {
    let ticket = sponsor.ok(&["invite"]);
    peer.ok(&["join", ticket.trim()]);
}

/// A task of `owner` is done by the device of `donor` and nobody else, and its output comes back.
fn does(owner: &Client, donor: &str) {
    let files = tempfile::tempdir().unwrap();
    let device = format!("{donor}-laptop");
    let id = owner.submit(&["--on", &device, &hello(files.path())]);
    let task = owner.waits_for(&id, "done", |task| task["state"] == "done");
    assert_eq!(task["history"].as_array().unwrap().last().unwrap()["device"], device.as_str(), "{task}");
    let out = files.path().join("out");
    owner.ok(&["task", "result", &id, "-o", out.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(out.join("stdout")).unwrap(), "hello from afar\n");
}

// spec: NET-6
#[test]
fn a_donor_behind_a_router_is_reached_over_the_connection_that_it_dialled() {
    if !inside("networks", "a_donor_behind_a_router_is_reached_over_the_connection_that_it_dialled") {
        return;
    }
    let (street, stranger) = (Space::new(), Space::new());
    street.plug(1);
    stranger.plug(3);
    let nat = Nat::new(2, &[at(1)]);
    let (alice, bob) = (placed("alice", &street, &[]), placed("bob", &nat.home, &[]));
    found(&alice, "");
    join(&alice, &bob);
    bob.ok(&["grant", "--user", "alice"]);
    sees_slots(&alice, "bob");
    let way = way(&street, &alice, &key(&bob)).expect("a connection");
    assert_eq!(way["addr"], nat.outside.to_string(), "{way}");
    assert_eq!(way["path"], "direct", "{way}");
    does(&alice, "bob");
    // It is a router that lets nobody in.
    let outside = nat.outside;
    stranger.enter(move || UdpSocket::bind("0.0.0.0:0").unwrap().send_to(&[0xc0; 1200], outside).unwrap());
    until("a stranger's packet to be turned away", BOUND, || {
        (nat.turned_away.load(Ordering::Relaxed) > 0).then_some(())
    });
    does(&alice, "bob");
}

// spec: NET-6
#[test]
fn two_peers_behind_routers_exchange_a_task_through_a_volunteer() {
    if !inside("networks", "two_peers_behind_routers_exchange_a_task_through_a_volunteer") {
        return;
    }
    let street = Space::new();
    street.plug(1);
    let (left, right) = (Nat::new(2, &[at(1)]), Nat::new(3, &[at(1)]));
    let alice = placed("alice", &street, &["--relay", "100MB"]);
    let (bob, carol) = (placed("bob", &left.home, &[]), placed("carol", &right.home, &[]));
    found(&alice, "");
    join(&alice, &bob);
    join(&alice, &carol);
    carol.ok(&["grant", "--user", "bob"]);
    let carols = key(&carol);
    let way = until("bob to reach carol", BOUND, || way(&left.home, &bob, &carols));
    assert_eq!(way["path"], format!("relayed by {}", key(&alice)), "{way}");
    sees_slots(&bob, "carol");
    does(&bob, "carol");
    // Both are told so, and what would be better.
    let peers = bob.json(&["peers"]);
    let told = |device: &str| peers.as_array().unwrap().iter().find(|peer| peer["device"] == device).unwrap();
    assert_eq!(told(&carols)["path"]["relay"], key(&alice), "{peers}");
    assert_eq!(told(&key(&alice))["path"]["addr"], at(1).to_string(), "{peers}");
    let doctor = bob.run(&["doctor"]);
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains("relayed by alice-laptop") && doctor.contains("hint: let UDP port"), "{doctor}");
    let relayed = net(&street, &alice)["refused"]["relay_bytes"].as_u64();
    assert!(relayed > Some(1000), "the volunteer forwarded it: {relayed:?}");
}

// spec: NET-5
#[test]
fn a_peer_whose_address_changes_is_reached_again_by_its_key() {
    if !inside("networks", "a_peer_whose_address_changes_is_reached_again_by_its_key") {
        return;
    }
    let (here, there) = (Space::new(), Space::new());
    here.plug(1);
    there.plug(2);
    let (alice, bob) = (placed("alice", &here, &[]), placed("bob", &there, &[]));
    found(&alice, "");
    join(&alice, &bob);
    bob.ok(&["grant", "--user", "alice"]);
    sees_slots(&alice, "bob");
    let bobs = key(&bob);
    there.renumber(2, 2, 7);
    let moved = format!("10.77.2.7:{PORT}");
    until("bob to be reached where it is now", BOUND, || {
        way(&here, &alice, &bobs).filter(|way| way["addr"] == moved.as_str())
    });
    sees_slots(&alice, "bob");
    does(&alice, "bob");
}

// spec: NET-5, DEL-3, DEL-4, DEL-11, DEL-14, LED-4
#[test]
fn what_both_sides_of_a_cut_did_comes_together_when_it_heals() {
    if !inside("networks", "what_both_sides_of_a_cut_did_comes_together_when_it_heals") {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    let spaces = [Space::new(), Space::new(), Space::new()];
    for (space, net) in spaces.iter().zip(1..) {
        space.plug(net);
    }
    let alice = placed("alice", &spaces[0], &[]);
    let bob = placed("bob", &spaces[1], &[]);
    let carol = placed("carol", &spaces[2], &[]);
    let peers = [&alice, &bob, &carol];
    found(&alice, "suspect_after_ms = 2000\nvoting_window_ms = 0\n");
    join(&alice, &bob);
    join(&alice, &carol);
    bob.ok(&["grant", "--user", "alice"]);
    carol.ok(&["grant", "--user", "alice"]);
    carol.ok(&["grant", "--user", "bob"]);
    sees_slots(&alice, "bob");
    sees_slots(&bob, "carol");

    // One task is under way across the cut, and both sides begin others during it.
    let across = alice.submit(&["--on", "bob-laptop", "--duration", "1h", &endless(files.path())]);
    alice.waits_for(&across, "running", |task| {
        task["state"] == "running" && task["progress"]["phase"] == "running"
    });
    cable(1, false);
    let (hello, short) = (hello(files.path()), short(files.path()));
    let mut tasks = Vec::new();
    for _ in 0..3 {
        for (peer, module, on) in [(&alice, &hello, "alice-laptop"), (&bob, &short, "carol-laptop")] {
            let id = peer.submit(&["--on", on, module]);
            peer.waits_for(&id, "done", |task| task["state"] == "done");
            tasks.push((peer.client(), id));
        }
    }
    let waits = alice.submit(&["--on", "carol-laptop", &hello]);
    tasks.push((alice.client(), waits.clone()));
    // Long enough for the owner to give its attempt up.
    alice
        .waits_for(&across, "given up", |task| task["history"][0]["fate"].as_str().unwrap().contains("lost"));
    assert_ne!(alice.task(&waits)["state"], "done");
    cable(1, true);
    alice.waits_for(&waits, "done", |task| task["state"] == "done");
    alice.ok(&["task", "cancel", &across]);
    until("guests to be gone", BOUND, || peers.iter().all(|peer| peer.runs_now() == 0).then_some(()));
    let ledger = crate::crashes::equal_ledgers(&peers.map(|peer| peer.client()));
    for (peer, id) in &tasks {
        ledger.done_once(id, peer);
    }
    ledger.in_order();
}

/// Has nothing to give.
struct Nothing;

impl Provider for Nothing {
    fn blob(&self, _: PublicKey, _: [u8; 32]) -> Option<PathBuf> {
        None
    }

    fn follow(&self, _: PublicKey, _: &[u8], _: u64) -> Option<Box<dyn Follow>> {
        None
    }
}

/// Somebody whom nobody admitted, and who keeps to no bound.
async fn stranger(number: u8, victim: PublicKey, addr: SocketAddr) -> Net {
    let mut config = Config::new([number; 32], SocketAddr::from(([127, 0, 0, 1], 0)));
    config.bounds = Bounds { frame: 1 << 20, ..Bounds::default() };
    let (net, mut events) = Net::bind(config, Arc::new(Nothing)).await.unwrap();
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    net.connect(victim, vec![addr]);
    net
}

/// Says something as soon as that is possible, again and again.
fn keeps_saying(net: &Net, victim: PublicKey, frame: Vec<u8>) {
    let (net, frame) = (net.clone(), bytes::Bytes::from(frame));
    tokio::spawn(async move {
        loop {
            let _refused = net.send(victim, Channel::Hello, frame.clone());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

// spec: NET-2, NET-4
#[test]
fn strangers_who_hammer_are_refused_and_counted_while_members_go_on() {
    let files = tempfile::tempdir().unwrap();
    let peers = street(&["alice", "bob"]);
    let hello = hello(files.path());
    let victim: PublicKey = key(&peers[1]).parse().unwrap();
    let (addr, other) = (peers[1].addr(), PublicKey([7; 32]));
    let counted = |name: &str| {
        let before = peers[1].get("/v1/net");
        until(&format!("{name} to be counted in {before}"), BOUND, || {
            let net = peers[1].get("/v1/net");
            let count = if name == "frames_refused" { &net[name] } else { &net["refused"][name] };
            (count.as_u64() > Some(0)).then_some(net)
        })
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // One who says what is too long, one who says nonsense, one who says too much, and one who looks for somebody else.
    let _bad: Vec<Net> = runtime.block_on(async {
        let ask = HelloFrame::TipQuery.encode();
        let bad = [
            stranger(1, victim, addr).await,
            stranger(2, victim, addr).await,
            stranger(3, victim, addr).await,
            stranger(4, other, addr).await,
        ];
        keeps_saying(&bad[0], victim, vec![0; 200 << 10]);
        keeps_saying(&bad[1], victim, b"no frame at all".to_vec());
        keeps_saying(&bad[2], victim, ask);
        bad.into()
    });
    for name in ["oversized_frames", "frames_refused", "strangers_frames", "bad_handshakes"] {
        counted(name);
    }
    // More than there is room for.
    let crowd: Vec<Net> = runtime.block_on(async {
        let mut crowd = Vec::new();
        for number in 10..=70 {
            crowd.push(stranger(number, victim, addr).await);
        }
        crowd
    });
    let garbage = UdpSocket::bind("127.0.0.1:0").unwrap();
    for size in 0..1400 {
        garbage.send_to(&vec![0xc3; size], addr).unwrap();
    }
    for _ in 0..5 {
        // The members' work goes on meanwhile.
        let output = peers[0].run(&["submit", "--follow", "--on", "bob-laptop", &hello]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello from afar\n");
    }
    let crowded = counted("strangers_total")["connections"].as_array().unwrap().len();
    drop(crowd);
    runtime.shutdown_background();
    assert!(crowded <= 33, "strangers take no more room than there is for them: {crowded}");
    let output = peers[0].run(&["submit", "--follow", "--on", "bob-laptop", &hello]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
