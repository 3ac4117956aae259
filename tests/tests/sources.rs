//! A peer that is told things in files and variables, and reads its energy from a service: real processes, a real server on
//! loopback.

use crate::peers::{Peer, endless, found, hello};
use crate::support::{BOUND, until};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

const TOKEN: &str = "a-long-lived-token";

/// Home Assistant, as far as it is asked here: entities by name, for whoever has the token.
fn home_assistant(entities: Arc<Mutex<Value>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let wanted = format!("authorization: bearer {TOKEN}");
            let known = head.iter().any(|line| line.to_lowercase() == wanted);
            let name = first.split(' ').nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            let entity = entities.lock().unwrap()[name].clone();
            let (status, body) = match (known, entity) {
                (false, _) => ("401 Unauthorized", "401: Unauthorized".to_owned()),
                (true, Value::Null) => {
                    ("404 Not Found", json!({ "message": "Entity not found." }).to_string())
                }
                (true, state) => (
                    "200 OK",
                    json!({ "state": state.to_string(), "attributes": { "unit_of_measurement": "kW" } })
                        .to_string(),
                ),
            };
            // Whoever asked may have been told to look elsewhere meanwhile.
            let _gone = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    addr
}

fn write(path: &Path, text: &str) {
    // In one step, so that no half of it is read.
    let next = path.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(&next, path).unwrap();
}

fn set(peer: &Peer, key: &str) -> (String, String) {
    let config = peer.json(&["config"]);
    let value =
        config["values"].as_array().unwrap().iter().find(|value| value["key"] == key).unwrap().clone();
    (value["value"].as_str().unwrap().into(), value["from"].as_str().unwrap().into())
}

fn source(addr: SocketAddr, entity: &str, field: &str) -> String {
    format!(
        "[[energy.source]]\nname = \"{entity}\"\nkind = \"http\"\nurl = \"http://{addr}/api/states/{entity}\"\n\
         token_file = \"token\"\nevery = \"1s\"\n\
         fields = {{ {field} = {{ path = \"/state\", unit = \"/attributes/unit_of_measurement\" }} }}\n"
    )
}

/// What a home makes beyond what it takes decides, and says so; a sensor that is gone leaves the grid; the token stays
/// where it is.
// spec: EN-1, EN-3, SLA-4, CLI-7
#[test]
fn energy_is_read_from_home_assistant() {
    let entities = Arc::new(Mutex::new(json!({ "pv": 3.5, "house": 0.4 })));
    let addr = home_assistant(entities.clone());
    let mut alice = Peer::new("alice");
    let file = alice.home.join("mesh.toml");
    let word = "[energy]\ntype = \"grid\"\npercent_clean = 20\ng_per_kwh = 555\n";
    let both = format!(
        "{word}\n{}\n{}",
        source(addr, "pv", "solar_watts"),
        source(addr, "house", "household_watts")
    );
    write(&file, &both);
    let token = alice.home.join("token");
    alice.up(&[]);
    let energy = |what: &str, look: &dyn Fn(&Value) -> bool| {
        until(what, BOUND, || Some(alice.json(&["energy"])).filter(look))
    };
    // Nothing waits for a credential that is missing.
    let view = energy("the missing token to be said", &|view| {
        view["degraded"].to_string().contains("the token cannot be read from")
    });
    assert_eq!((&view["energy"]["g_per_kwh"], &view["energy"]["basis"]), (&json!(555), &json!("fixed")));
    std::fs::write(&token, TOKEN).unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let view = energy("the sun to be read", &|view| view["energy"]["basis"] == "surplus");
    assert_eq!((&view["surplus_watts"], &view["energy"]["source"]), (&json!(3100), &json!("solar")));
    assert_eq!(
        (&view["degraded"], &view["sources"][0]["values"]["solar_watts"]),
        (&json!([]), &json!(3500.0))
    );
    until("the node to know", BOUND, || (alice.json(&["status"])["energy"]["g_per_kwh"] == 41).then_some(()));
    entities.lock().unwrap()["pv"] = json!(0.1);
    let view = energy("the cloud", &|view| view["energy"]["basis"] == "fixed");
    assert_eq!(view["surplus_watts"], -300);
    // A sensor that is gone is said, and the rest goes on.
    entities.lock().unwrap().as_object_mut().unwrap().remove("pv");
    let view = energy("the missing sensor to be said", &|view| view["degraded"].to_string().contains("404"));
    assert!(view["sources"][1]["trouble"].is_null(), "{view}");
    let shown = alice.ok(&["energy"]);
    assert!(shown.contains("grid, 20 % renewable, 555 g/kWh") && shown.contains("status 404"), "{shown}");
    for text in [alice.ok(&["energy", "--json"]), alice.ok(&["config", "--json"]), alice.said()] {
        assert!(!text.contains(TOKEN), "{text}");
    }
}

/// A change of the file is taken up while the peer runs, what cannot be waits for a restart, what is wrong leaves all as it
/// was; the environment and flags go over it.
// spec: CLI-7, PERM-5
#[test]
fn settings_change_while_the_peer_runs() {
    let home = tempfile::tempdir().unwrap();
    let words = ["env", "MESH_CURRENT_ENERGY_PERCENT_CLEAN=70", "MESH_MAX_TASK_DURATION_MS=3600000"];
    let prefix = words.iter().map(OsString::from).collect();
    // Without a type, the share says nothing, so the file comes first.
    let file = home.path().join("mesh.toml");
    write(&file, "[energy]\ntype = \"wind\"\n");
    let mut alice = Peer::at("alice", home.path().to_owned(), prefix);
    assert_eq!(
        set(&alice, "energy.percent_clean"),
        ("70".into(), "$MESH_CURRENT_ENERGY_PERCENT_CLEAN".into())
    );
    assert_eq!(alice.json(&["config"])["running"], false);
    alice.up(&["--longest", "30m"]);
    found(std::slice::from_ref(&alice), None);
    let grams = || alice.json(&["status"])["energy"]["g_per_kwh"].clone();
    // 0.7 × 11 + 0.3 × 480.
    until("the wind", BOUND, || (grams() == 152).then_some(()));
    assert_eq!(set(&alice, "max_task_duration"), ("30m".into(), "--longest".into()));
    assert_eq!(set(&alice, "energy.type"), ("wind".into(), "mesh.toml:2".into()));
    assert_eq!(alice.json(&["config"])["running"], true);

    write(&file, "enabled = false\nmdns = true\n\n[energy]\ntype = \"hydro\"\nzone_g_per_kwh = 100\n");
    until("the water", BOUND, || (grams() == 47).then_some(()));
    until("the rest", BOUND, || (set(&alice, "enabled").0 == "false").then_some(()));
    let donor = || alice.json(&["status"])["donor"].as_str().unwrap().to_owned();
    until("the node to share nothing", BOUND, || donor().contains("paused").then_some(()));
    let files = tempfile::tempdir().unwrap();
    let id = alice.submit(&[&hello(files.path())]);
    alice.waits_for(&id, "held", |task| task["why"].as_str().unwrap().contains("paused by its owner"));

    // Wrong is wrong, and changes nothing.
    write(&file, "enabled = true\n[energy]\ntpye = \"solar\"\n");
    until("the wrong line to be said", BOUND, || {
        let said = alice.said();
        (said.contains("mesh.toml, line 3") && said.contains("did you mean type?")).then_some(())
    });
    assert_eq!((set(&alice, "enabled").0.as_str(), grams()), ("false", json!(47)));
    write(&file, "relay = \"1GB\"\n[energy]\ntype = \"hydro\"\n");
    alice.waits_for(&id, "done", |task| task["state"] == "done");
    let config = alice.json(&["config"]);
    let relay = config["values"].as_array().unwrap().iter().find(|value| value["key"] == "relay").unwrap();
    assert_eq!((&relay["value"], &relay["after_restart"]), (&json!("0"), &json!("1000000000")));
    assert!(alice.said().contains("these take effect after a restart"), "{}", alice.said());
    alice.refused(&["up", "--place", "nowhere"], "LATITUDE,LONGITUDE");
    write(&file, "peer_id = \"0000\"\n[energy]\ntype = \"hydro\"\n");
    alice.refused(&["up"], "mesh.toml:1 says 0000");
}

/// A laptop that runs on battery takes nothing, and one that loses its mains holds what runs there.
// spec: EN-4, PERM-5
#[test]
fn a_laptop_that_loses_its_mains_holds_its_guests() {
    let home = tempfile::tempdir().unwrap();
    let supplies = tempfile::tempdir().unwrap();
    for (name, files) in [
        ("AC", &[("type", "Mains"), ("online", "1")][..]),
        (
            "BAT0",
            &[
                ("type", "Battery"),
                ("status", "Full"),
                ("energy_now", "50000000"),
                ("energy_full", "50000000"),
            ],
        ),
    ] {
        std::fs::create_dir(supplies.path().join(name)).unwrap();
        for (file, text) in files {
            std::fs::write(supplies.path().join(name).join(file), text).unwrap();
        }
    }
    let mains = |online: &str| write(&supplies.path().join("AC/online"), online);
    let variable = format!("MESH_POWER_SUPPLIES={}", supplies.path().display());
    let mut alice = Peer::at("alice", home.path().to_owned(), vec!["env".into(), variable.into()]);
    write(
        &home.path().join("mesh.toml"),
        &format!(
            "[energy]\ntype = \"grid\"\npercent_clean = 50\ng_per_kwh = 400\n\n[[energy.source]]\nkind = \"power-supply\"\n\
             folder = \"{}\"\nevery = \"1s\"\n",
            supplies.path().display()
        ),
    );
    alice.up(&[]);
    found(std::slice::from_ref(&alice), None);
    let files = tempfile::tempdir().unwrap();
    let id = alice.submit(&[&endless(files.path())]);
    alice.waits_for(&id, "running", |task| task["state"] == "running");
    mains("0");
    let held = |task: &Value| task["why"].as_str().unwrap().contains("runs on battery");
    alice.waits_for(&id, "held", held);
    // What it was charged with nobody saw, so that it counts as the dirtiest.
    until("the battery to be what there is", BOUND, || {
        let view = alice.json(&["energy"]);
        (view["energy"]["basis"] == "battery" && view["energy"]["g_per_kwh"] == 820).then_some(())
    });
    mains("1");
    alice.waits_for(&id, "going on", |task| !held(task));
    alice.ok(&["task", "cancel", &id]);
}
