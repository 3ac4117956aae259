//! What the members of a community decide among themselves, and what a donor's owner decides alone: three real peers on
//! loopback, driven from the command line as people drive them.

use crate::namespaces::{inside, loopback, put_at};
use crate::peers::{Client, LONG, Peer, endless, found, hello};
use crate::support::{BOUND, until};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Everybody has a vote at once, ballots are short, and a member may ask for as much as a test does.
const BALLOTS: &str = "voting_window_ms = 8000\nvote_after_ms = 0\nmax_overtaken = 3\n\
    free = { tasks = 0, longest_ms = 86400000, memory_bytes = 4000000000 }\n";

/// What takes effect within a second, on a machine on which all other tests run at the same time.
const AT_ONCE_MS: u64 = 10_000;

fn three(first: &[&str], second: &[&str], third: &[&str], rules: &str) -> Vec<Peer> {
    let mut peers: Vec<Peer> = ["alice", "bob", "carol"].map(Peer::new).into();
    for (peer, flags) in peers.iter_mut().zip([first, second, third]) {
        peer.up(flags);
    }
    found(&peers, Some(rules));
    peers
}

impl Client {
    fn ballot(&self, task: &str) -> Value {
        self.json(&["ballots", task])[0].clone()
    }

    /// What the ledger here says of this kind, in its order.
    fn events(&self, kind: &str) -> Vec<Value> {
        let events = self.json(&["ledger", "log"]);
        events.as_array().unwrap().iter().filter(|event| event["event"] == kind).cloned().collect()
    }

    fn event_of(&self, kind: &str, task: &str, words: &str) -> Option<Value> {
        let mut events = self.events(kind).into_iter();
        events.find(|event| event["task"] == task && event["data"].as_str().unwrap().contains(words))
    }

    fn why(&self, task: &str) -> String {
        self.ok(&["task", "why", task])
    }

    fn standing(&self, user: &str) -> Value {
        self.json(&["quota", user])
    }
}

/// Waits until all peers count a ballot alike, and gives how.
fn decided(peers: &[Peer], task: &str) -> Value {
    let views = until(&format!("all to count the ballot on {task}"), BOUND, || {
        let views: Vec<Value> = peers.iter().map(|peer| peer.ballot(task)).collect();
        let same = |field: &str| views.iter().all(|view| view[field] == views[0][field]);
        let all = ["state", "importance", "weights", "percent", "left_out"].into_iter().all(same);
        (all && views[0]["state"] == "decided").then_some(views)
    });
    views[0].clone()
}

/// What somebody's grid, sun or wind gives is what a file says.
struct Feed(PathBuf);

impl Feed {
    fn new(folder: &Path) -> Self {
        let feed = Self(folder.join("feed.json"));
        feed.says(700, 10);
        feed
    }

    fn flag(&self) -> String {
        format!("command:cat {}", self.0.display())
    }

    fn says(&self, grams: u32, renewable: u32) {
        let text =
            format!(r#"{{"source":"grid","renewable_percent":{renewable},"g_per_kwh":{grams},"valid_s":1}}"#);
        // In one step, so that no half of it is read.
        let next = self.0.with_extension("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, &self.0).unwrap();
    }
}

/// One donor with one slot on a dirty grid; the queue is alice's, and it moves as the three decide.
// spec: VOTE-1, VOTE-3, VOTE-4, VOTE-6, VOTE-8, VOTE-9, HEALTH-1, HEALTH-2, HEALTH-3, LED-6
#[test]
fn votes_move_the_queue() {
    let files = tempfile::tempdir().unwrap();
    let feed = Feed::new(files.path());
    let peers = three(&[], &[], &["--slots", "1", "--energy", &feed.flag()], BALLOTS);
    let [alice, bob, carol] = [0, 1, 2].map(|number| peers[number].client());
    let (hello, endless) = (hello(files.path()), endless(files.path()));
    let submit = |name: &str, module: &str, more: &[&str]| {
        let named = ["--name", name, "--on", "carol-laptop", LONG[0], LONG[1]];
        alice.submit(&[&named, more, &[module]].concat())
    };
    let vote = |who: &Client, task: &str, level: &str, why: &str| {
        who.ok(&["vote", task, level, "-m", why]);
    };
    let first = submit("first", &endless, &["--sla", "urgent"]);
    alice.waits_for(&first, "running: what is urgent waits for no ballot", |task| task["state"] == "running");
    let unheard = submit("unheard", &hello, &[]);
    let plain = submit("plain", &hello, &[]);
    let backup = submit("backup", &hello, &[]);
    assert!(alice.why(&backup).contains("ballot is still open"), "{}", alice.why(&backup));
    until("the others to hear of them", BOUND, || {
        [&bob, &carol].iter().all(|peer| peer.events("task submitted").len() == 4).then_some(())
    });
    vote(&alice, &plain, "normal", "");
    vote(&bob, &plain, "normal", "");
    // Bob changes his mind while he may: with one more vote for LOW nothing could change it.
    vote(&bob, &backup, "low", "later will do");
    vote(&bob, &backup, "high", "we need clean backups");
    vote(&alice, &backup, "low", "");
    vote(&carol, &backup, "high", "");

    let view = decided(&peers, &backup);
    assert_eq!((&view["importance"], &view["percent"]), (&"HIGH".into(), &66.into()), "{view}");
    assert!(view["decided_ms"].as_u64() < view["closes_ms"].as_u64(), "nobody is left who could change it");
    let shown = bob.ok(&["ballots", &backup]);
    assert!(shown.contains("HIGH (66 %)") && shown.contains("bob HIGH: we need clean backups"), "{shown}");
    bob.refused(&["vote", &backup, "low"], "the ballot is closed");
    let view = decided(&peers, &plain);
    assert_eq!((&view["importance"], &view["percent"]), (&"NORMAL".into(), &100.into()), "{view}");
    let told = carol.ok(&["ballots", &plain]);
    assert!(told.contains("very high: all 2 agree"));
    assert!(told.contains("weights") && told.contains("NORMAL 2"), "{told}");
    alice.ok(&["task", "cancel", &first]);
    for task in [&backup, &plain] {
        alice.waits_for(task, "done", |task| task["state"] == "done");
    }

    // Nobody voted on this one: it waits for clean energy, and may still be voted on.
    alice.waits_for(&unheard, "waiting for clean energy", |task| {
        task["why"].as_str().unwrap().contains("not clean enough")
    });
    assert_eq!(bob.ballot(&unheard)["state"], "waits for voters");
    // Of three who each want something else, nobody has their way.
    let split = submit("split", &hello, &[]);
    until("the others to hear of it", BOUND, || {
        [&bob, &carol].iter().all(|peer| peer.run(&["ballots", &split]).status.success()).then_some(())
    });
    vote(&alice, &split, "low", "");
    vote(&bob, &split, "high", "");
    vote(&carol, &split, "critical", "");
    let view = decided(&peers, &split);
    assert_eq!((&view["importance"], &view["percent"]), (&"NORMAL".into(), &33.into()), "{view}");
    alice.waits_for(&split, "done on a dirty grid", |task| task["state"] == "done");

    // What matters to all waits for nobody, and what only sounds like it does.
    let cache = submit("firefox-cache-cleanup", &hello, &[]);
    let hospital = submit("hospital-backup-power-test", &hello, &[]);
    alice.waits_for(&hospital, "done at once", |task| task["state"] == "done");
    assert_eq!(alice.task(&cache)["state"], "waiting");
    assert_eq!(bob.ballot(&cache)["health"], false);
    let said = peers[0].said();
    assert!(said.contains("WARN") && said.contains("public health"), "{said}");
    until("it to be on record", BOUND, || bob.event_of("health", &hospital, "URGENT on any energy"));

    // All three say that it was none.
    let points = || bob.json(&["reputation", "alice"])["sum"].as_i64().unwrap();
    let before = points();
    for who in [&alice, &bob, &carol] {
        who.ok(&["vote", &hospital, "--dispute", "-m", "there is no hospital here"]);
    }
    until("the flag to be taken away everywhere", BOUND, || {
        peers.iter().all(|peer| peer.ballot(&hospital)["dispute_upheld"] == true).then_some(())
    });
    assert!(points() < before, "it shows in its submitter's reputation");
    let shown = carol.ok(&["ballots", &hospital]);
    assert!(shown.contains("the members took the flag of public health away"), "{shown}");

    // The grid is clean: what nobody voted on runs.
    feed.says(100, 70);
    for task in [&unheard, &cache] {
        alice.waits_for(task, "done", |task| task["state"] == "done");
    }
    // All of it stands in everybody's ledger.
    until("the ledgers to be equal", BOUND, || {
        let counts: Vec<u64> = peers.iter().map(|peer| peer.entries()).collect();
        counts.iter().all(|count| *count == counts[0]).then_some(())
    });
    for peer in &peers {
        let started: Vec<Value> =
            peer.events("delegated").iter().map(|event| event["task"].clone()).collect();
        let at = |task: &str| started.iter().position(|it| it == task).unwrap();
        assert!(at(&backup) < at(&plain), "the one voted HIGH overtook it: {started:?}");
        assert!(at(&plain) < at(&unheard), "{started:?}");
        assert_eq!(peer.events("vote").len(), 9);
        assert!(peer.event_of("vote", &backup, "HIGH: we need clean backups").is_some());
        assert!(peer.event_of("consensus", &backup, "HIGH by 3 votes").is_some());
        assert!(peer.event_of("consensus", &split, "NORMAL by 3 votes").is_some());
        assert!(peer.event_of("consensus", &unheard, "").is_none());
        assert_eq!(peer.events("health disputed").len(), 3);
    }
}

/// The way in which votes weigh is itself voted on, and by the way that was in force until then.
// spec: VOTE-2, VOTE-3, LED-3
#[test]
fn every_way_of_weighing_votes_can_be_voted_in_and_out_again() {
    let files = tempfile::tempdir().unwrap();
    let peers = three(&[], &[], &[], BALLOTS);
    let [alice, bob, carol] = [0, 1, 2].map(|number| peers[number].client());
    let module = hello(files.path());
    let hear = |task: &str| {
        until("all to hear of it", BOUND, || {
            peers.iter().all(|peer| peer.run(&["ballots", task]).status.success()).then_some(())
        });
    };
    let rules = |method: &str, more: &str| {
        let now = alice.ok(&["community", "rules"]);
        let kept = now.lines().filter(|line| {
            !line.starts_with("voting_method") && !more.starts_with(line.split(' ').next().unwrap())
        });
        let mut text: String = kept.map(|line| format!("{line}\n")).collect();
        text.push_str(&format!("voting_method = \"{method}\"\n{more}\n"));
        let path = files.path().join(format!("{method}.toml"));
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let propose = |method: &str, more: &str, why: &str| {
        let id = alice.ok(&["community", "propose", &rules(method, more), "-m", why]).trim().to_owned();
        until("all to have witnessed it", BOUND, || {
            let seen = |peer: &Peer| {
                let list = peer.json(&["community", "proposals"]);
                list.as_array().unwrap().iter().any(|it| it["proposal"] == id && it["state"] == "open")
            };
            peers.iter().all(seen).then_some(())
        });
        id
    };
    let in_force = |peer: &Peer, method: &str| peer.json(&["community", "rules"])["voting_method"] == method;
    let switch = |method: &str| {
        let id = propose(method, "", "fairer");
        for who in [&bob, &carol] {
            // The ballot ends as soon as nothing can change it: whoever comes after that is not needed.
            let _late = who.run(&["community", "vote", &id, "yes"]);
        }
        until(&format!("all to go by {method}"), BOUND, || {
            peers.iter().all(|peer| in_force(peer, method)).then_some(())
        });
    };
    // Alice is for LOW, the others are for HIGH.
    let ballot = |name: &str| {
        let task = alice.submit(&["--name", name, &module]);
        hear(&task);
        alice.ok(&["vote", &task, "low"]);
        let _late = bob.run(&["vote", &task, "high"]);
        let _late = carol.run(&["vote", &task, "high"]);
        decided(&peers, &task)
    };
    let weights = |view: &Value| -> Vec<(String, u64)> {
        let pairs = view["weights"].as_array().unwrap().iter();
        pairs.map(|pair| (pair[0].as_str().unwrap().to_owned(), pair[1].as_u64().unwrap())).collect()
    };
    let of = |level: &str, weight: u64| (level.to_owned(), weight);

    // Whoever proposes is for it, and the other two are not.
    let id = propose("one_per_user", "quorum = 2", "more of us");
    for who in [&bob, &carol] {
        who.ok(&["community", "vote", &id, "no"]);
    }
    until("it to be rejected everywhere", BOUND, || {
        peers
            .iter()
            .all(|peer| peer.json(&["community", "proposals"])[0]["state"] == "rejected")
            .then_some(())
    });
    assert!(peers.iter().all(|peer| peer.json(&["community", "rules"])["quorum"] == 1));

    let view = ballot("each-one");
    assert_eq!((weights(&view), &view["importance"]), (vec![of("LOW", 1), of("HIGH", 2)], &"HIGH".into()));

    switch("reputation");
    let points = |user: &str| alice.json(&["reputation", user])["sum"].as_u64().unwrap();
    let both = || points("bob") + points("carol");
    let before = (points("alice"), both());
    let view = ballot("by-word-kept");
    let (low, high) = (weights(&view)[0].1, weights(&view)[1].1);
    // Runs and checks of the tasks before end meanwhile, and count as soon as they are on record.
    let after = (points("alice"), both());
    assert!((before.0..=after.0).contains(&low), "{before:?} {after:?} {view}");
    assert!((before.1..=after.1).contains(&high), "{before:?} {after:?} {view}");

    // A cent and a minute count the same.
    bob.refused(&["contribute", "bob", "--money", "9999"], "only a treasurer may");
    alice.ok(&["contribute", "alice", "--money", "300"]);
    alice.ok(&["contribute", "bob", "--hours", "50"]);
    alice.ok(&["contribute", "bob", "--money", "50"]);
    alice.ok(&["contribute", "carol", "--hours", "100"]);
    switch("stake");
    let view = ballot("by-what-was-given");
    assert_eq!(
        (weights(&view), &view["importance"], &view["percent"]),
        (vec![of("LOW", 300), of("HIGH", 200)], &"LOW".into(), &60.into())
    );

    // Nobody has been there for a month. Fifths for what was given, and three tenths for each task done for another.
    switch("hybrid");
    let view = ballot("by-all-of-it");
    let weighed = weights(&view);
    assert_eq!(weighed[0], of("LOW", 2), "{view}");
    assert!(weighed[1].1 >= 6 && (weighed[1].1 - 6) % 3 == 0, "{view}");

    switch("one_per_user");
    let view = ballot("each-one-again");
    assert_eq!(weights(&view), [of("LOW", 1), of("HIGH", 2)]);
    // Five proposals, of which four came; everybody reads so.
    for peer in &peers {
        assert_eq!(peer.events("rules proposed").len(), 5);
        let list = peer.json(&["community", "proposals"]);
        let adopted = list.as_array().unwrap().iter().filter(|it| it["state"] == "adopted").count();
        assert_eq!(adopted, 4, "{list}");
    }
}

// spec: QUOTA-1, QUOTA-2, QUOTA-3, QUOTA-4, HEALTH-3, CLI-5
#[test]
fn the_eleventh_task_of_a_day_waits_for_a_better_tier() {
    let files = tempfile::tempdir().unwrap();
    let module = hello(files.path());
    let peers = three(&[], &[], &[], "voting_window_ms = 0\nvote_after_ms = 0\n");
    let alice = peers[0].client();
    let ask = |more: &[&str]| {
        let small = ["submit", "--id-only", "--memory", "64MB", "--duration", "1m"];
        alice.run(&[&small[..], more, &[&module]].concat())
    };
    alice.refused(&["submit", "--memory", "200MB", "--duration", "1m", &module], "hint: ");
    for _ in 0..10 {
        assert!(ask(&[]).status.success());
    }
    let eleventh = ask(&[]);
    let said = String::from_utf8_lossy(&eleventh.stderr);
    assert_eq!(eleventh.status.code(), Some(126), "{said}");
    assert!(
        said.contains("10 of 10 tasks of today are used; resets ") && said.contains("hint: `mesh quota`"),
        "{said}"
    );
    for wrong in
        [&["--replicas", "2", "--quorum", "3"][..], &["--replicas", "4"], &["--finish-by", "2020-01-01"]]
    {
        assert_eq!(ask(wrong).status.code(), Some(126), "{wrong:?}");
    }
    let shown = alice.ok(&["quota"]);
    for part in
        ["FREE", "500 cents contributed this month", "tasks of yours completed by others, or 10 votes cast"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // What matters to all has ten more.
    let health = ask(&["--name", "hospital-test"]);
    let said = String::from_utf8_lossy(&health.stderr);
    assert!(
        health.status.success() && said.contains("warning: it goes first as a matter of public health"),
        "{said}"
    );

    alice.ok(&["contribute", "alice", "--money", "499"]);
    let seen = |tier: &str, missing: Option<u64>| {
        let what = format!("all to see alice as {tier}, with {missing:?} cents missing");
        until(&what, BOUND, || {
            let fits = |peer: &Peer| {
                let it = peer.standing("alice");
                let first = it["next"]["missing"][0][0].as_u64();
                it["tier"] == tier && missing.is_none_or(|missing| first == Some(missing))
            };
            peers.iter().all(fits).then_some(())
        });
    };
    seen("FREE", Some(1));
    alice.ok(&["contribute", "alice", "--money", "1"]);
    seen("SUPPORTER", None);
    let view = peers[2].standing("alice");
    assert_eq!(
        (&view["allowed"], &view["used"], &view["left"]),
        (&50.into(), &10.into(), &40.into()),
        "{view}"
    );
    assert!(alice.ok(&["quota"]).contains("for CONTRIBUTOR: "));
    assert!(ask(&[]).status.success());
    assert!(alice.run(&["submit", "--memory", "200MB", "--duration", "30m", &module]).status.success());

    // The day ends at midnight where she lives, on everybody's peer.
    alice.refused(&["quota", "--zone", "Moon/Base"], "Moon/Base");
    alice.ok(&["quota", "--zone", "Asia/Tokyo"]);
    let midnight = alice.standing("alice")["resets_ms"].as_u64().unwrap();
    assert_eq!((midnight / 3_600_000 + 9) % 24, 0, "midnight in Tokyo");
    until("all to know", BOUND, || {
        peers.iter().all(|peer| peer.standing("alice")["resets_ms"] == midnight).then_some(())
    });
}

// spec: VOTE-9
#[test]
fn a_flood_of_critical_tasks_passes_over_nobody_more_often_than_allowed() {
    let files = tempfile::tempdir().unwrap();
    let quiet = BALLOTS.replace("voting_window_ms = 8000", "voting_window_ms = 0");
    let peers = three(&[], &[], &["--slots", "1"], &quiet);
    let alice = &peers[0];
    let (hello, endless) = (hello(files.path()), endless(files.path()));
    let submit = |sla: &str, module: &str| {
        alice.submit(&["--sla", sla, "--on", "carol-laptop", LONG[0], LONG[1], module])
    };
    let first = submit("urgent", &endless);
    alice.waits_for(&first, "running", |task| task["state"] == "running");
    let patient = submit("normal", &hello);
    let flood: Vec<String> = (0..10).map(|_| submit("urgent", &hello)).collect();
    alice.ok(&["task", "cancel", &first]);
    for task in [&patient].into_iter().chain(&flood) {
        alice.waits_for(task, "done", |task| task["state"] == "done");
    }
    let mut started: Vec<String> = Vec::new();
    for event in alice.events("delegated") {
        let task = event["task"].as_str().unwrap().to_owned();
        // One that was refused and offered again starts once.
        if task != first && !started.contains(&task) {
            started.push(task);
        }
    }
    assert_eq!(started.len(), 11);
    assert_eq!(
        started.iter().position(|task| *task == patient),
        Some(3),
        "three passed over it, and no fourth"
    );
}

/// The kernel's lists of supplies and of the processors' time, as a test has them.
struct Machine {
    supplies: PathBuf,
    stat: File,
}

impl Machine {
    fn new(folder: &Path) -> Self {
        let supplies = folder.join("supplies");
        for (name, kind) in [("AC", "Mains"), ("BAT0", "Battery")] {
            fs::create_dir_all(supplies.join(name)).unwrap();
            fs::write(supplies.join(name).join("type"), format!("{kind}\n")).unwrap();
        }
        let path = folder.join("stat");
        let stat = File::create_new(&path).unwrap();
        let machine = Self { supplies, stat };
        machine.power(true, 80);
        machine.clock(0, 0);
        put_at(&machine.supplies, Path::new("/sys/class/power_supply"));
        put_at(&path, Path::new("/proc/stat"));
        machine
    }

    /// In one step each, so that nothing half-written is read.
    fn power(&self, mains: bool, percent: u8) {
        for (name, text) in
            [("AC/online", format!("{}\n", u8::from(mains))), ("BAT0/capacity", format!("{percent}\n"))]
        {
            let next = self.supplies.join("next");
            fs::write(&next, text).unwrap();
            fs::rename(next, self.supplies.join(name)).unwrap();
        }
    }

    /// Ticks since the start in which something ran, and in which nothing did: so many that what these peers use
    /// themselves is nothing beside them.
    fn clock(&self, busy: u64, idle: u64) {
        let text = format!("cpu  {busy:020} 0 0 {idle:020} 0 0 0 0 0 0\n");
        self.stat.write_all_at(text.as_bytes(), 0).unwrap();
    }
}

fn wall_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Waits until a guest stands still for this reason, told in the same words to its owner, on the donor's own device
/// and to everybody.
fn stands_still(owner: &Client, donor: &Peer, all: &Client, task: &str, words: &str, since_ms: u64) {
    owner.waits_for(task, words, |task| {
        task["progress"]["phase"] == "paused" && task["why"].as_str().unwrap().contains(words)
    });
    let status = donor.json(&["status"])["donor"].as_str().unwrap().to_owned();
    assert!(status.contains(words), "{status}");
    let event = until("the ledger to say so", BOUND, || {
        all.events("held")
            .into_iter()
            .rfind(|event| event["task"] == task && event["data"].as_str().unwrap().contains(words))
    });
    // The kernel stopped its process: it is not only said to stand still.
    assert!(donor.helpers().iter().any(|helper| helper.state == 'T'), "{:?}", donor.helpers());
    let took = event["time_ms"].as_u64().unwrap().saturating_sub(since_ms);
    println!("held after {took} ms: {words}");
    assert!(took < AT_ONCE_MS, "{took} ms: {words}");
}

fn goes_on(owner: &Client, donor: &Peer, all: &Client, task: &str, times: usize) {
    owner.waits_for(task, "going on", |task| task["progress"]["phase"] == "running");
    until("the ledger to say that it goes on", BOUND, || {
        let events = all.events("held").into_iter();
        let goes_on =
            |event: &Value| event["task"] == task && event["data"].as_str().unwrap().contains("goes on");
        (events.filter(goes_on).count() == times).then_some(())
    });
    assert!(donor.helpers().iter().all(|helper| helper.state != 'T'), "{:?}", donor.helpers());
}

// spec: PERM-5, DEL-9
#[test]
fn a_donors_word_and_terms_stop_a_guest_that_runs() {
    if !inside("assembly", "a_donors_word_and_terms_stop_a_guest_that_runs") {
        return;
    }
    loopback();
    let files = tempfile::tempdir().unwrap();
    let machine = Machine::new(files.path());
    let quiet = BALLOTS.replace("voting_window_ms = 8000", "voting_window_ms = 0");
    // A device is shared on mains only unless its owner says otherwise.
    let bobs = ["--on-battery", "--battery-floor", "30", "--most-load", "50"];
    let peers = three(&[], &bobs, &[], &quiet);
    let [alice, bob, carol] = [0, 1, 2].map(|number| &peers[number]);
    let module = endless(files.path());
    let on = |device: &str| {
        // It may run nowhere else, so it stays where it is held.
        let task = alice.submit(&["--name", device, "--on", device, LONG[0], LONG[1], &module]);
        alice.waits_for(&task, "running", |task| task["progress"]["phase"] == "running");
        task
    };
    let (at_bob, at_carol) = (on("bob-laptop"), on("carol-laptop"));

    // The plug is pulled, and the battery is low.
    let pulled = wall_ms();
    machine.power(false, 20);
    let floor = "the device's battery is at 20 %, its owner keeps 30 %";
    let battery = "the device runs on battery, and its owner shares it on mains only";
    stands_still(alice, carol, bob, &at_carol, battery, pulled);
    stands_still(alice, bob, carol, &at_bob, floor, pulled);
    machine.power(true, 20);
    goes_on(alice, carol, bob, &at_carol, 1);
    goes_on(alice, bob, carol, &at_bob, 1);

    // Others need the processors, and then no more.
    let (mut busy, mut idle) = (0, 0);
    let mut pass = |percent: u64| {
        busy += percent * 1_000_000;
        idle += (100 - percent) * 1_000_000;
        machine.clock(busy, idle);
    };
    let loaded = wall_ms();
    until("others to use the device", BOUND, || {
        pass(90);
        alice.why(&at_bob).contains("other programs use").then_some(())
    });
    stands_still(alice, bob, carol, &at_bob, "% of the device, its owner shares it up to 50 %", loaded);
    until("them to have enough", BOUND, || {
        pass(10);
        alice.why(&at_bob).contains("runs it").then_some(())
    });
    goes_on(alice, bob, carol, &at_bob, 2);

    // By hand.
    let told = wall_ms();
    carol.ok(&["pause", "2h"]);
    stands_still(alice, carol, bob, &at_carol, "the device is paused by its owner", told);
    let status = carol.ok(&["status"]);
    assert!(
        ["paused for 2 h 0 min", "paused for 1 h 59 min"].iter().any(|it| status.contains(it)),
        "{status}"
    );
    carol.ok(&["resume"]);
    goes_on(alice, carol, bob, &at_carol, 2);

    // What runs may end; nothing else begins.
    bob.ok(&["finish"]);
    let finishing = "the device is finishing and takes no more tasks";
    let next = alice.submit(&["--name", "next", "--on", "bob-laptop", &hello(files.path())]);
    alice.waits_for(&next, finishing, |task| task["why"].as_str().unwrap().contains(finishing));
    assert!(bob.json(&["status"])["donor"].as_str().unwrap().contains(finishing));
    assert_eq!(bob.runs_now(), 1);
    assert_eq!(alice.task(&at_bob)["progress"]["phase"], "running");
    bob.ok(&["resume"]);
    alice.waits_for(&next, "done", |task| task["state"] == "done");
}

/// The donor's clock shows another hour from one moment to the next: its owner travels.
// spec: PERM-5, CLI-7
#[test]
fn a_guest_stands_still_outside_of_its_donors_hours() {
    let files = tempfile::tempdir().unwrap();
    let mut peers: Vec<Peer> = ["alice", "bob"].map(Peer::new).into();
    let minute = u16::try_from(wall_ms() / 60_000 % 1440).unwrap();
    let clock = |minute: u16| format!("{}:{:02}", minute % 1440 / 60, minute % 60);
    // An hour and a half around now, where clocks show the time of Greenwich.
    let hours = format!("mon-sun:{}-{}", clock(minute + 1440 - 90), clock(minute + 90));
    let config = peers[1].home.join("mesh.toml");
    let live_in = |zone: &str| {
        let next = config.with_extension("next");
        fs::write(&next, format!("hours = [\"{hours}\"]\ntimezone = \"{zone}\"\n")).unwrap();
        fs::rename(next, &config).unwrap();
    };
    live_in("Etc/UTC");
    for peer in &mut peers {
        peer.up(&[]);
    }
    found(&peers, None);
    let (alice, bob) = (&peers[0], &peers[1]);
    let id = alice.submit(&["--on", "bob-laptop", LONG[0], LONG[1], &endless(files.path())]);
    alice.waits_for(&id, "running", |task| task["progress"]["phase"] == "running");
    let moved = wall_ms();
    live_in("Etc/GMT-6");
    stands_still(alice, bob, alice, &id, "its owner shares the device at other hours", moved);
    live_in("Etc/UTC");
    goes_on(alice, bob, alice, &id, 1);
}

// spec: PERM-5
#[test]
fn a_program_of_the_donors_has_a_word_on_each_offer() {
    let files = tempfile::tempdir().unwrap();
    let script = files.path().join("ask-me");
    let text = r#"offer=$(cat)
case "$offer" in
    *'"name":"nice"'*'"user":"alice"'*) echo accept ;;
    *'"name":"hang"'*) sleep 600 ;;
    *'"name":"odd"'*) echo '$(touch /tmp/never) maybe' ;;
    *) echo refuse not on my watch ;;
esac
"#;
    fs::write(&script, text).unwrap();
    let mut peers: Vec<Peer> = ["alice", "bob"].map(Peer::new).into();
    peers[0].up(&[]);
    peers[1].up(&["--hook", &format!("sh {}", script.display())]);
    found(&peers, None);
    let (alice, bob) = (&peers[0], &peers[1]);
    let module = hello(files.path());
    let submit = |name: &str| alice.submit(&["--name", name, "--on", "bob-laptop", &module]);
    let nice = submit("nice");
    alice.waits_for(&nice, "done", |task| task["state"] == "done");
    for (name, words) in [
        ("rude", "the device's owner refuses it: not on my watch"),
        ("odd", "the device's owner refuses it: their program said neither accept nor refuse nor later"),
        ("hang", "the device's owner refuses it: their program did not answer within 2 s"),
    ] {
        let id = submit(name);
        let task = alice.waits_for(&id, words, |task| task["why"].as_str().unwrap().contains(words));
        assert_eq!(task["state"], "waiting");
        assert!(bob.event_of("refused", &id, words).is_some());
    }
    // What hung was ended, with what it had started.
    let sleeps = |helper: &crate::support::Process| {
        fs::read_to_string(format!("/proc/{}/cmdline", helper.id)).is_ok_and(|line| line.starts_with("sleep"))
    };
    assert!(!bob.helpers().iter().any(sleeps), "{:?}", bob.helpers());
    // The owner's own tasks are not asked about.
    let own = bob.submit(&["--name", "rude", "--on", "bob-laptop", &module]);
    bob.waits_for(&own, "done", |task| task["state"] == "done");
}

/// What is sent is counted: an output of a megabyte, with what carries it, uses a cap of a megabyte up.
// spec: PERM-5
#[test]
fn a_donor_sends_no_more_in_a_day_than_its_owner_lets_it() {
    let files = tempfile::tempdir().unwrap();
    let mut peers: Vec<Peer> = ["alice", "bob"].map(Peer::new).into();
    peers[0].up(&[]);
    peers[1].up(&["--upload", "1MB"]);
    found(&peers, None);
    let loud = crate::peers::wat(
        files.path(),
        "loud",
        "(local $n i32) (loop $l (call $say) (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $l (i32.lt_s (local.get $n) (i32.const 64000))))",
    );
    let words = "the device has uploaded as much today as its owner lets it";
    {
        let alice = &peers[0];
        let first = alice.submit(&["--on", "bob-laptop", &loud]);
        alice.waits_for(&first, "done: what was made is delivered", |task| task["state"] == "done");
        // What went out is counted each second.
        until("bob to have counted it", BOUND, || {
            peers[1].json(&["status"])["donor"].as_str()?.contains(words).then_some(())
        });
        let next = alice.submit(&["--name", "next", "--on", "bob-laptop", &hello(files.path())]);
        alice.waits_for(&next, words, |task| task["why"].as_str().unwrap().contains(words));
    }
    // A restart is no new day.
    peers[1].stop();
    peers[1].up(&["--upload", "1MB"]);
    let (alice, bob) = (&peers[0], &peers[1]);
    until("bob to say so", BOUND, || bob.json(&["status"])["donor"].as_str()?.contains(words).then_some(()));
    alice.waits_for("next", words, |task| task["why"].as_str().unwrap().contains(words));
    peers[1].stop();
    peers[1].up(&["--upload", "1GB"]);
    peers[0].waits_for("next", "done", |task| task["state"] == "done");
}
