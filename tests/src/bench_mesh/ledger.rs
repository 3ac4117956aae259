//! A million entries of a thousand devices: made once, then opened, folded, verified and taken.

use crate::figures::{Figures, Target, note};
use crate::processes::thread_cpu_s;
use mesh_node::ledger::{Ledger, Taken};
use mesh_node::{Capacity, Config, Node, Now};
use mesh_protocol::ids::{Commitment, CommunityId, EntryId, ModuleHash, TaskId};
use mesh_protocol::invite::{DeviceCert, JoinRequest};
use mesh_protocol::key::{PublicKey, SecretKey, Signature, UserKey};
use mesh_protocol::ledger::{
    Completed, Effect, Entry, Founded, Hlc, Payload, Place, Statement, TaskSubmitted, Tip,
};
use mesh_protocol::record::Record;
use mesh_protocol::rules::{Rules, Tier};
use mesh_protocol::task::Sla;
use mesh_store::{DiskStore, Loaded, Store as _, load_beside};
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const ENTRIES: usize = 1_000_000;
const AUTHORS: usize = 1_000;
/// Entries of one commit, and those verified and taken at a time: a few megabytes.
const BATCH: usize = 10_000;
/// Entries whose verification is timed alone.
const VERIFIED: usize = 50_000;
/// When the first entry was written: 2026-01-01.
const BEGIN_MS: u64 = 1_767_225_600_000;
/// Everybody writes one entry in this time, so that the clock rises from round to round.
const ROUND_MS: u64 = 30_000;
/// Changes when the entries made here do, so that those of an earlier version are made anew.
const VERSION: &str = "1";

pub(crate) fn measure(figures: &mut Figures) {
    let folder = made();
    note(
        "1,000,000 signed entries of 1,000 devices of as many members, in time order and with refs; files are warm",
    );
    open(figures, &folder);
    fold(figures, &folder);
    sync(figures, &folder);
}

/// The folder of the ledger, which stays beside the build: making it takes minutes.
fn made() -> PathBuf {
    let build = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
    let folder = build.join("bench-ledger");
    let mark = folder.join("version");
    if fs::read_to_string(&mark).is_ok_and(|version| version == VERSION) {
        return folder;
    }
    let _none_was_there = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    note(&format!("making the ledger once, in {}", folder.display()));
    let began = Instant::now();
    make(&folder);
    fs::write(mark, VERSION).unwrap();
    note(&format!("made in {:.0} s", began.elapsed().as_secs_f64()));
    folder
}

fn device(number: usize) -> SecretKey {
    SecretKey::from_seed(&blake3::derive_key("taskmesh bench device v1", &number.to_le_bytes()))
}

fn user(number: usize) -> SecretKey {
    SecretKey::from_seed(&blake3::derive_key("taskmesh bench user v1", &number.to_le_bytes()))
}

fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Now { boot_ms: 1, wall_ms: u64::try_from(wall.as_millis()).unwrap() }
}

/// A node of the founder's device, as `mesh up` would have it.
fn node() -> Node {
    let config = Config {
        device: device(0),
        user: Some(user(0)),
        user_name: "user-0".into(),
        recovery: user(0).public(),
        device_name: "device-0".into(),
        profile: mesh_executor::profile().id(),
        walls: vec![],
        place: None,
        capacity: Capacity { slots: 1, memory: 1 << 30, longest_ms: 60_000 },
        slot_watts: 10,
        shares: Default::default(),
        accepts: vec![],
        energy: None,
        hook: false,
        addrs: vec![],
        seed: [7; 32],
    };
    Node::new(config, now())
}

fn open(figures: &mut Figures, folder: &Path) {
    let mut node = node();
    forget(&folder.join("store"));
    let began = Instant::now();
    let (store, opened) = DiskStore::open(&folder.join("store")).unwrap();
    let read = began.elapsed().as_secs_f64();
    let load = |loaded: Loaded<'_>| match loaded {
        Loaded::Value { table, key, value } => node.restore_value(table, key, value),
        Loaded::Entry { bytes, .. } => node.restore_entry(bytes),
    };
    load_beside(&store, load).unwrap();
    let loaded = began.elapsed().as_secs_f64();
    node.start(now(), opened.unclean);
    let all = began.elapsed().as_secs_f64();
    assert!(!opened.fresh && opened.rebuilt.is_none(), "{opened:?}");
    // Those that it writes when it starts are more.
    assert!(node.ledger().count() >= ENTRIES as u64, "{} entries count", node.ledger().count());
    let size = store.size();
    store.close().unwrap();
    figures.put(
        "ledger_open_1m_s",
        "a million entries: opened with nothing of it in memory, loaded, folded, started (s)",
        all,
        Target::Below(10.0),
    );
    figures.put("ledger_open_store_s", "  of it until the store was open (s)", read, Target::Any);
    figures.put(
        "ledger_open_load_s",
        "  of it to read and fold all, on two cores (s)",
        loaded - read,
        Target::Any,
    );
    figures.put(
        "ledger_disk_mib",
        "  its files (MiB)",
        (size.database + size.journal) as f64 / f64::from(1 << 20),
        Target::Any,
    );
}

/// Has the system let go of what it keeps of these files in memory, as after a start of the machine.
fn forget(folder: &Path) {
    for item in fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            forget(&path);
        } else {
            let file = File::open(&path).unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
    }
}

fn fold(figures: &mut Figures, folder: &Path) {
    let (store, _) = DiskStore::open(&folder.join("store")).unwrap();
    let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(ENTRIES));
    let keep = |loaded: Loaded<'_>| {
        if let Loaded::Entry { bytes: entry, .. } = loaded {
            bytes.extend_from_slice(entry);
            ends.push(bytes.len());
        }
    };
    store.load(&mut { keep }).unwrap();
    store.close().unwrap();
    let mut node = node();
    let (began, cpu) = (Instant::now(), thread_cpu_s());
    let mut start = 0;
    for end in &ends {
        node.restore_entry(&bytes[start..*end]);
        start = *end;
    }
    node.start(now(), false);
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), thread_cpu_s() - cpu);
    figures.put(
        "ledger_fold_per_s",
        "fold of those from memory, read and restored (entries a second)",
        ends.len() as f64 / seconds,
        Target::AtLeast(200000.0),
    );
    let per_cpu = ends.len() as f64 / cpu;
    figures.put(
        "ledger_fold_per_cpu_s",
        "  by the CPU time of its one thread (entries a second)",
        per_cpu,
        Target::Any,
    );
}

fn sync(figures: &mut Figures, folder: &Path) {
    let mut file = BufReader::new(File::open(folder.join("entries")).unwrap());
    let mut batch = || -> Vec<Vec<u8>> {
        let entry = |_| {
            let mut length = [0; 4];
            file.read_exact(&mut length).ok()?;
            let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
            file.read_exact(&mut bytes).unwrap();
            Some(bytes)
        };
        (0..BATCH).map_while(entry).collect()
    };
    let mut ledger = Ledger::default();
    let (mut verified, mut verifying, mut taken, mut taking) = (0, 0.0, 0, 0.0);
    loop {
        let entries = batch();
        if entries.is_empty() {
            break;
        }
        let timed = verified < VERIFIED;
        let began = Instant::now();
        let read: Result<Vec<Entry>, _> = entries
            .iter()
            .map(|bytes| if timed { Entry::verify(bytes) } else { Entry::trusted(bytes) })
            .collect();
        if timed {
            verifying += began.elapsed().as_secs_f64();
            verified += entries.len();
        }
        let read = read.unwrap();
        if taken == 0 {
            ledger.expect(read[0].header().belongs_to());
        }
        let began = Instant::now();
        for entry in read {
            assert!(matches!(ledger.take(entry), Taken::New(_)), "every entry comes after those it names");
            taken += 1;
        }
        taking += began.elapsed().as_secs_f64();
    }
    assert_eq!(taken, ENTRIES);
    let (verify, take) = (verified as f64 / verifying, taken as f64 / taking);
    figures.put(
        "ledger_verify_per_s",
        "verification of entries on one core (entries a second)",
        verify,
        Target::Any,
    );
    figures.put(
        "ledger_take_per_s",
        "taking verified entries into an empty ledger (entries a second)",
        take,
        Target::Any,
    );
    figures.put(
        "ledger_take_vs_verify",
        "  against verification on one core",
        take / verify,
        Target::AtLeast(1.0),
    );
}

/// One device while the ledger is made.
struct Author {
    key: SecretKey,
    public: PublicKey,
    tip: Option<Tip>,
}

impl Author {
    fn write(&self, community: CommunityId, hlc: Hlc, refs: Vec<Tip>, payload: Payload) -> Entry {
        let (seq, prev) = self.tip.map_or((0, EntryId::ZERO), |tip| (tip.seq + 1, tip.id));
        Entry::write(&self.key, Place { community, seq, prev, refs, hlc }, payload)
    }
}

/// Where the entries go: all of them in time order into one file, and into a store.
struct Sink {
    file: BufWriter<File>,
    store: DiskStore,
    records: Vec<Record>,
    count: usize,
}

impl Sink {
    fn take(&mut self, entry: &Entry, authors: &mut [Author], number: usize) {
        let bytes = entry.bytes();
        self.file.write_all(&u32::try_from(bytes.len()).unwrap().to_le_bytes()).unwrap();
        self.file.write_all(bytes).unwrap();
        let tip = entry.tip();
        // The store is the founder's, whose own entries stand in its journal, too.
        let own = number == 0;
        self.records.push(Record::Entry { author: tip.author, seq: tip.seq, own, bytes: bytes.to_vec() });
        authors[number].tip = Some(tip);
        self.count += 1;
        if self.records.len() == BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.store.commit(&self.records).unwrap();
        self.records.clear();
    }
}

fn make(folder: &Path) {
    let (store, _) = DiskStore::open(&folder.join("store")).unwrap();
    let file = BufWriter::new(File::create(folder.join("entries")).unwrap());
    let mut sink = Sink { file, store, records: Vec::new(), count: 0 };
    let mut authors: Vec<Author> = (0..AUTHORS)
        .map(|number| {
            let key = device(number);
            Author { public: key.public(), key, tip: None }
        })
        .collect();
    let community = admit(&mut sink, &mut authors);
    let mut round = 0;
    while sink.count < ENTRIES {
        let wanted = (ENTRIES - sink.count).min(AUTHORS);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let numbers: Vec<usize> = (0..wanted).collect();
        let read = &authors;
        let entries: Vec<Entry> = std::thread::scope(|scope| {
            let write = |numbers: &[usize]| -> Vec<Entry> {
                numbers.iter().map(|number| work(read, community, round, *number)).collect()
            };
            let threads: Vec<_> =
                numbers.chunks(wanted.div_ceil(cores)).map(|part| scope.spawn(move || write(part))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        for (number, entry) in entries.iter().enumerate() {
            sink.take(entry, &mut authors, number);
        }
        round += 1;
    }
    sink.flush();
    sink.file.flush().unwrap();
    sink.store.close().unwrap();
}

/// The founder begins, and two members vouch for everybody else, as the rules want it.
fn admit(sink: &mut Sink, authors: &mut [Author]) -> CommunityId {
    let free = Tier { tasks: 0, ..Rules::default().free };
    let rules = Rules { entries_per_hour: 0, voting_window_ms: 0, free, ..Rules::default() };
    let founded = Founded {
        name: "Bench".into(),
        rules,
        user: UserKey(user(0).public()),
        user_name: "user-0".into(),
        recovery: user(0).public(),
        device_name: "device-0".into(),
        cert: DeviceCert::of(&user(0), CommunityId::ZERO, &authors[0].key, 1000, 0),
    };
    let first = Hlc::at(BEGIN_MS);
    let founding = authors[0].write(CommunityId::ZERO, first, vec![], Payload::Founded(Box::new(founded)));
    let community = founding.header().belongs_to();
    sink.take(&founding, authors, 0);
    for number in 1..authors.len() {
        let user = user(number);
        let request = JoinRequest {
            user: UserKey(user.public()),
            user_name: format!("user-{number}"),
            recovery: user.public(),
            device_name: format!("device-{number}"),
            cert: DeviceCert::of(&user, community, &authors[number].key, 1000, 0),
            invite: user.public(),
            word: Signature([0; 64]),
            signature: Signature([0; 64]),
        };
        let ticket = SecretKey::from_seed(&blake3::derive_key("taskmesh bench ticket v1", &user.seed()));
        let vouched = Payload::Admitted(Box::new(request.sign(&user, &ticket)));
        let at = BEGIN_MS + 2 * number as u64;
        let entry = authors[0].write(community, Hlc::at(at), vec![], vouched.clone());
        sink.take(&entry, authors, 0);
        if number > 2 {
            let refs = authors[0].tip.into_iter().collect();
            let entry = authors[1].write(community, Hlc::at(at + 1), refs, vouched);
            sink.take(&entry, authors, 1);
        }
    }
    community
}

fn task(number: usize, turn: usize) -> TaskId {
    TaskId(*blake3::hash(format!("{number} {turn}").as_bytes()).as_bytes())
}

/// The next entry of a device: each submits tasks that its neighbour runs, and witnesses some others' logs.
fn work(authors: &[Author], community: CommunityId, round: usize, number: usize) -> Entry {
    let count = authors.len();
    let (me, turn) = (&authors[number], round / 5);
    let (next, before) = ((number + 1) % count, (number + count - 1) % count);
    let tip = |number: usize| authors[number].tip.filter(|tip| tip.author != me.public);
    let somebody = |step: usize| tip((number + 1 + (round * 31 + step * 7) % (count - 1)) % count);
    let commitment = |what: &str| Commitment::new(&[9; 32], what.as_bytes());
    let mut refs: Vec<Tip> = tip(if round % 5 == 2 { before } else { next }).into_iter().collect();
    let payload = match round % 5 {
        0 => Payload::TaskSubmitted(Box::new(TaskSubmitted {
            task: task(number, turn),
            name: "trivial".into(),
            module: ModuleHash([5; 32]),
            input: commitment("input"),
            duration_ms: 60_000,
            memory_bytes: 100_000_000,
            sla: Sla::Normal,
            importance: None,
            replicas: 1,
        })),
        1 => Payload::Delegated {
            task: task(number, turn),
            attempt: 1,
            device: authors[next].public,
            grant: Some(EntryId([6; 32])),
        },
        2 => Payload::Accepted { task: task(before, turn), attempt: 1 },
        3 => {
            let statement = Statement {
                task: task(number, turn),
                attempt: 1,
                executor: authors[next].public,
                module: ModuleHash([5; 32]),
                profile: mesh_executor::profile().id(),
                outcome: 0,
                fuel: 1000,
                fuel_before: 0,
                cpu_us: 300,
                wall_ms: 1,
                peak_memory: 65_536,
                energy: mesh_protocol::energy::Metered::default(),
                estimated: false,
                output: commitment("output"),
                receipt: commitment("receipt"),
                comparable: true,
            };
            let signature = statement.sign(&authors[next].key);
            Payload::Completed(Box::new(Completed { statement, signature, effect: Effect::Done }))
        }
        _ => {
            let mut tips: Vec<Tip> = (0..4).filter_map(somebody).collect();
            tips.sort_unstable();
            tips.dedup();
            refs.extend(tips.first().filter(|tip| !refs.contains(tip)));
            Payload::Witnessed { tips }
        }
    };
    let hlc = Hlc::at(BEGIN_MS + (round as u64 + 1) * ROUND_MS);
    me.write(community, hlc, refs, payload)
}
