//! Who is taken for whom, and whose files are obeyed, as the program says it.

use crate::peers::{Peer, street};
use crate::support::Home;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

// spec: CLI-7, NET-1
#[test]
fn a_home_that_others_can_change_is_not_obeyed() {
    let peer = Peer::new("alice");
    let home = &peer.home;
    let file = home.join("mesh.toml");
    fs::write(&file, "hook = \"whoami\"\n").unwrap();
    for (path, open, shut) in [(home, 0o777, 0o700), (&file, 0o666, 0o644)] {
        mode(path, open);
        for verb in [["config"], ["up"]] {
            let refused = peer.run(&verb);
            let text = said(&refused);
            assert!(!refused.status.success(), "{verb:?} {}", path.display());
            let named = text.contains(&path.display().to_string()) && text.contains(&format!("{open:o}"));
            assert!(named && text.contains("chmod go-w"), "{text}");
        }
        mode(path, shut);
        peer.ok(&["config"]);
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&file, Some(12_345), None).unwrap();
        let text = said(&peer.run(&["config"]));
        assert!(text.contains("12345") && text.contains("chown"), "{text}");
        std::os::unix::fs::chown(&file, Some(0), None).unwrap();
        std::os::unix::fs::chown(home.join("device.key"), Some(12_345), None).unwrap();
        assert!(said(&peer.run(&["up"])).contains("device.key"));
    }
}

// spec: NET-1, NET-2
#[test]
fn a_device_ticket_in_the_wrong_hands_says_what_it_does() {
    let peers = street(&["alice", "bob"]);
    let made = peers[0].run(&["device", "add"]);
    assert!(said(&made).contains("acts as you"), "{}", said(&made));
    let ticket = String::from_utf8(made.stdout).unwrap();
    let mut mallory = Peer::new("mallory");
    mallory.up(&[]);
    let refused = mallory.run(&["join", ticket.trim()]);
    let text = said(&refused);
    assert!(!refused.status.success() && text.contains("--as-device-of"), "{text}");
    let members = peers[0].json(&["members"]);
    let alice = members.as_array().unwrap().iter().find(|member| member["name"] == "alice").unwrap();
    let key = alice["user"].as_str().unwrap();
    let joined = said(&mallory.run(&["join", ticket.trim(), "--as-device-of", &key[..10]]));
    assert!(joined.contains(&format!("one of alice ({})'s", &key[..10])), "{joined}");
    // What is done is said with name and key, whatever was typed.
    let granted = said(&peers[1].run(&["grant", "--user", key]));
    assert!(granted.contains(&format!("of alice ({})", &key[..10])), "{granted}");
}

// spec: LED-6
#[test]
fn an_export_replaces_nothing_unasked_and_anothers_ledger_is_named() {
    let mut peers = [Peer::new("alice"), Peer::new("bob")];
    let folder = tempfile::tempdir().unwrap();
    for (peer, community) in peers.iter_mut().zip(["Elm", "Oak"]) {
        peer.up(&[]);
        peer.ok(&["community", "new", community]);
    }
    let file = folder.path().join("elm.ledger");
    let path = file.to_str().unwrap();
    peers[0].ok(&["ledger", "export", path]);
    let before = fs::read(&file).unwrap();
    peers[1].refused(&["ledger", "export", path], "--overwrite");
    assert_eq!(fs::read(&file).unwrap(), before);
    let refused = peers[1].run(&["ledger", "import", path]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("another community"), "{}", said(&refused));
    peers[0].ok(&["ledger", "import", path]);
    assert!(peers[0].ok(&["community", "show"]).contains("1 with 1 device\n"));
    for verb in ["show", "why", "logs"] {
        peers[0].refused(&["task", verb, ""], "its name is empty");
    }
    peers[0].refused(&["ballots", ""], "its name is empty");
    peers[0].refused(&["reputation", "nobody"], "mesh members");
    peers[0].refused(&["device", "revoke", "nothing"], "mesh device ls");
}

// spec: SBX-11
#[test]
fn a_files_name_does_not_steer_the_terminal() {
    let home = Home::new();
    let module = home
        .wat("x\u{1b}[31my", r#"(module (memory (export "memory") 1) (func (export "_start") unreachable))"#);
    let run = home.mesh().arg("run").arg(module).go();
    run.holds(run.code == Some(127), "it traps").says_error("y.wasm");
    run.holds(!run.stderr.contains('\u{1b}'), "nothing raw is printed");
}
