//! Every file in `tasks/hostile/`: with which limits it runs, and how it must end.

use crate::support::{Home, Run, assemble};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What must come of an attack.
enum Ends {
    /// It reaches its end with this code: every step went as it must.
    Exits(i32),
    /// It is stopped by a trap of this kind.
    Traps(&'static str),
    /// It is stopped with this exit code and outcome.
    Stops(i32, &'static str),
    /// It is never started; the reason names this.
    Refused(&'static str),
}

use Ends::{Exits, Refused, Stops, Traps};

struct Attack {
    file: &'static str,
    /// Flags of `mesh run`.
    flags: &'static str,
    ends: Ends,
}

const fn attack(file: &'static str, flags: &'static str, ends: Ends) -> Attack {
    Attack { file, flags, ends }
}

const NO_FUEL: Ends = Stops(128, r#""OutOfFuel""#);
const STDOUT_FULL: Ends = Stops(132, r#"{"OutputExceeded":"Stdout"}"#);
const STDERR_FULL: Ends = Stops(132, r#"{"OutputExceeded":"Stderr"}"#);
const FEW: &str = "--fuel 100000000";
const FEW_OUT: &str = "--fuel 100000000 --out OUT";

/// Numbers of cases are those of the list of attacks that untrusted modules try.
// spec: SBX-4, SBX-5, SBX-6, SBX-8, SBX-11, SBX-13
const ATTACKS: &[Attack] = &[
    // Cases 6 and 7: entry points and imports.
    attack("no-entry", "", Refused("_start")),
    attack("entry-of-another-type", "", Refused("_start")),
    attack("entry-is-no-function", "", Refused("_start")),
    attack("import-unknown", "", Refused("env")),
    attack("import-of-another-type", "", Refused("proc_exit")),
    attack("import-memory", "", Refused("env")),
    attack("no-memory-exported", "", Traps("HostCall")),
    attack("memory-export-is-a-function", "", Traps("HostCall")),
    // Cases 9 to 15: computing for ever, deep stacks, traps.
    attack("loop", FEW, NO_FUEL),
    attack("loop-counting", FEW, NO_FUEL),
    attack("loop-in-start", FEW, NO_FUEL),
    attack("loop-of-free-operators", FEW, NO_FUEL),
    attack("recursion", "", Traps("StackOverflow")),
    attack("recursion-through-host-calls", "", Traps("StackOverflow")),
    attack("recursion-through-a-table", "", Traps("StackOverflow")),
    attack("trap-unreachable", "", Traps("Unreachable")),
    attack("trap-load-out-of-bounds", "", Traps("MemoryOutOfBounds")),
    attack("trap-store-at-the-edge", "", Traps("MemoryOutOfBounds")),
    attack("trap-divide-by-zero", "", Traps("DivisionByZero")),
    attack("trap-divide-overflow", "", Traps("IntegerOverflow")),
    attack("trap-convert-nan", "", Traps("BadConversion")),
    attack("trap-convert-overflow", "", Traps("IntegerOverflow")),
    attack("trap-call-null", "", Traps("IndirectCallToNull")),
    attack("trap-call-of-another-type", "", Traps("BadSignature")),
    attack("trap-call-outside-the-table", "", Traps("TableOutOfBounds")),
    attack("trap-data-out-of-bounds", "", Traps("MemoryOutOfBounds")),
    attack("trap-elements-out-of-bounds", "", Traps("TableOutOfBounds")),
    attack("trap-fill-4-gib", "", Traps("MemoryOutOfBounds")),
    // Cases 16 to 23: memory and tables.
    attack("memory-of-4-gib", "", Refused("memory")),
    attack("memory-grow", "--memory 10MB", Exits(7)),
    attack("memory-grow-then-abort", "--memory 10MB", Stops(131, r#""MemoryExceeded""#)),
    attack("memory-grow-by-everything", FEW, NO_FUEL),
    attack("memory-touch", "--memory 64MB --fuel 1000000000", NO_FUEL),
    attack("memory-fill", "--fuel 1000000000", NO_FUEL),
    attack("memories-50", "", Refused("memories")),
    attack("table-of-10-million", "", Refused("table")),
    attack("table-grow", "", Exits(7)),
    attack("table-fill", FEW, NO_FUEL),
    // Cases 19 to 21: features that are off.
    attack("feature-memory64", "", Refused("memory64")),
    attack("feature-small-pages", "", Refused("page")),
    attack("feature-shared-memory", "", Refused("threads")),
    attack("feature-atomics", "", Refused("threads")),
    attack("feature-garbage-collection", "", Refused("gc")),
    attack("feature-exceptions", "", Refused("exceptions")),
    attack("feature-tail-calls", "", Refused("tail")),
    attack("feature-relaxed-simd", "", Refused("relaxed")),
    attack("feature-wide-arithmetic", "", Refused("wide")),
    attack("feature-stack-switching", "", Refused("stack")),
    // Cases 31 to 38: files.
    attack("out-sparse", "--out OUT", Exits(0)),
    attack("out-fill", "--out OUT --out-limit 1MB", Exits(0)),
    attack("out-many-files", "--out OUT --out-files 500", Exits(7)),
    attack("out-links", "--out OUT --out-files 100", Exits(7)),
    attack("out-links-multiply", "--out OUT --out-limit 1MB", Exits(0)),
    attack("out-link-too-long", "--out OUT", Exits(0)),
    attack("out-deep", "--out OUT", Exits(7)),
    attack("out-deep-and-many", "--out OUT --out-files 10000", Exits(7)),
    attack("hidden-files", "--out OUT --out-limit 1MB", Exits(7)),
    attack("open-100000", "--out OUT", Exits(7)),
    attack("paths", "--out OUT", Exits(0)),
    attack("symlinks", "--out OUT", Exits(0)),
    attack("symlink-swap", "--out OUT", Exits(0)),
    attack("links-in-links", "--out OUT --fuel 20000000", NO_FUEL),
    attack("read-only", "--out OUT --in given=GIVEN", Exits(0)),
    attack("readdir", "--out OUT", Exits(0)),
    attack("removed-folder", "--out OUT", Exits(0)),
    attack("removed-folder-circle", "--out OUT --duration 5s", Exits(0)),
    attack("files-unlike-any", "--out OUT", Exits(0)),
    attack("descriptors", "--out OUT", Exits(0)),
    attack("descriptors-of-the-streams", "", Exits(0)),
    // Cases 39 to 46, 48, 49: host calls.
    attack("iovecs", "", Exits(0)),
    attack("iovecs-of-more-than-4-gib", "", Exits(0)),
    attack("poll-abuse", "", Exits(0)),
    attack("clock-abuse", "", Exits(0)),
    attack("clock-resolution", "--real", Exits(0)),
    attack("sleep-for-ever", "", Exits(0)),
    attack("sleep-long", "", Exits(0)),
    attack("stdin-for-ever", "", Exits(0)),
    attack("spin-clock", FEW, NO_FUEL),
    attack("spin-yield", FEW, NO_FUEL),
    attack("spin-poll", FEW, NO_FUEL),
    attack("spin-random", FEW, NO_FUEL),
    attack("spin-stdin", FEW, NO_FUEL),
    attack("spin-empty-writes", FEW, NO_FUEL),
    attack("spin-readdir", FEW_OUT, NO_FUEL),
    attack("spin-files", FEW_OUT, NO_FUEL),
    attack("flood-stdout", "--stdout-limit 1MB", STDOUT_FULL),
    attack("flood-stderr", "--stderr-limit 1MB", STDERR_FULL),
    attack("flood-by-single-bytes", "--stdout-limit 100kB", STDOUT_FULL),
    attack("flood-in-one-call", "--stdout-limit 1MB", STDOUT_FULL),
    attack("flood-log", "--stderr-limit 1MB", STDERR_FULL),
    attack("flood-progress", "--fuel 10000000", NO_FUEL),
    attack("terminal-escapes", "", Exits(0)),
    attack("random-4-gib", "", Traps("HostCall")),
    attack("random-outside", "", Exits(0)),
    attack("arguments-outside", "", Exits(0)),
    attack("sockets", "--out OUT", Exits(0)),
    attack("signal-to-itself", "", Exits(0)),
    // Case 47: exits.
    attack("exit-in-start", "", Exits(9)),
    attack("exit-with-open-files", "--out OUT", Exits(5)),
    // Case 57, and what `mesh_v1` is given.
    attack("notes", "", Exits(0)),
    attack("pointer-of-note", "", Traps("HostCall")),
    attack("pointer-of-log", "", Traps("HostCall")),
    attack("pointer-of-meta", "", Traps("HostCall")),
    attack("pointer-of-meta-value", "", Traps("HostCall")),
    attack("checkpoint-too-large", "--checkpoint SAVED", Exits(0)),
    attack("checkpoint-outside", "--checkpoint SAVED", Traps("HostCall")),
    attack("checkpoint-flood", "--checkpoint SAVED --fuel 100000000", NO_FUEL),
    // Case 60: what tells one processor from another.
    attack("nan-payload", "", Exits(0)),
];

/// The worker's own code and data, over what its task may use.
const OVERHEAD: u64 = 64 << 20;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tasks/hostile")
}

/// One of the files, assembled.
pub(crate) fn hostile(home: &Home, name: &str) -> PathBuf {
    let text = std::fs::read_to_string(folder().join(name).with_extension("wat"))
        .unwrap_or_else(|error| panic!("read the attack {name}: {error}"));
    home.file(&format!("{name}.wasm"), assemble(name, &text))
}

impl Attack {
    fn run(&self, home: &Home) -> Run {
        let module = hostile(home, self.file);
        let given = home.file("given", "given");
        let mut mesh = home.run();
        for flag in self.flags.split_whitespace() {
            let flag = match flag {
                "OUT" => home.path("files/out").into_os_string(),
                "SAVED" => home.path("files/saved").into_os_string(),
                _ => flag.replace("GIVEN", &given.to_string_lossy()).into(),
            };
            mesh = mesh.arg(flag);
        }
        mesh.arg(module).go()
    }

    // spec: SBX-5, SBX-8
    fn check(&self) {
        let home = Home::new();
        let run = self.run(&home);
        match self.ends {
            Exits(code) => run.exits(code),
            Traps(kind) => run.ends(127, &format!(r#"{{"Trapped":"{kind}"}}"#)).says_error("trapped"),
            Stops(code, outcome) => run.ends(code, outcome),
            Refused(part) => run.refused(part),
        };
        run.holds(!run.stderr.contains("panicked"), "nothing of the host may panic");
        if run.receipt.is_some() {
            let (limit, peak) = (run.number("limits.memory_bytes"), run.number("usage.peak_resident"));
            run.holds(
                peak <= limit + OVERHEAD,
                &format!("the worker may have {limit} + {OVERHEAD} bytes resident, but had {peak}"),
            );
            run.holds(run.number("usage.peak_memory") <= limit, "its memories must stay within the limit");
            run.holds(
                run.number("usage.fuel") <= run.number("limits.fuel"),
                "nor may it use more fuel than it has",
            );
        }
    }
}

/// Runs attacks side by side, and tells of all that failed.
fn check_all(attacks: &[Attack]) {
    let next = AtomicUsize::new(0);
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(attack) = attacks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(panic) = std::panic::catch_unwind(|| attack.check()) {
                        let text = panic.downcast_ref::<String>().map_or("it panicked", String::as_str);
                        failed.lock().unwrap().push(format!("{}: {text}", attack.file));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "{} of {} attacks failed:\n{}",
        failed.len(),
        attacks.len(),
        failed.join("\n\n")
    );
}

#[test]
fn every_attack_ends_as_it_must() {
    // One by name, for whoever looks into it.
    match std::env::var("ATTACK") {
        Ok(name) => {
            ATTACKS.iter().find(|attack| attack.file == name).expect("an attack of this name").check()
        }
        Err(_) => check_all(ATTACKS),
    }
}

#[test]
fn every_file_of_the_folder_is_in_the_table_and_says_what_it_is() {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert_eq!(path.extension().unwrap_or_default(), "wat", "{} is no attack", path.display());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(";; "), "{name} does not say what it tries");
        assemble(&name, &text);
        found.insert(name);
    }
    let listed: BTreeSet<String> = ATTACKS.iter().map(|attack| attack.file.to_owned()).collect();
    assert_eq!(listed.len(), ATTACKS.len(), "a file is listed twice");
    assert_eq!(found, listed);
}

// spec: SBX-6, SBX-8
#[test]
fn what_fits_under_the_limit_of_a_stream_is_delivered_and_no_byte_more() {
    let home = Home::new();
    for (name, limit) in
        [("flood-stdout", 1_000_000), ("flood-by-single-bytes", 123_457), ("flood-in-one-call", 999_999)]
    {
        let run = home.run().arg("--stdout-limit").arg(format!("{limit}B")).arg(hostile(&home, name)).go();
        run.ends(132, r#"{"OutputExceeded":"Stdout"}"#)
            .holds(run.stdout_bytes == limit, &format!("{name}: exactly {limit} bytes should come"))
            .holds(run.number("output.stdout_bytes") == limit, "the receipt should count them");
    }
    let run = home.run().args(["--stderr-limit", "1MB"]).arg(hostile(&home, "flood-stderr")).go();
    run.ends(132, r#"{"OutputExceeded":"Stderr"}"#);
    let dots = run.stderr.bytes().take_while(|&byte| byte == b'.').count();
    run.holds(dots == 1_000_000, &format!("exactly 1000000 bytes should come, not {dots}"));
}

// spec: SBX-11
#[test]
fn escapes_in_notes_never_reach_the_terminal() {
    let home = Home::new();
    let run = home.run().arg(hostile(&home, "terminal-escapes")).go();
    run.exits(0).says_error("logged");
    for steering in ['\x1b', '\x07', '\r', '\u{9b}', '\u{202e}'] {
        run.holds(!run.stderr.contains(steering), &format!("{steering:?} should be stripped"));
    }
    let forged = run.stderr.lines().any(|line| line.starts_with("error: forged"));
    run.holds(!forged, "a line of the guest's log must not look like one of mesh's own");
}

// spec: SBX-2, SBX-11
#[test]
fn what_a_task_prints_is_its_data_and_passes_unchanged() {
    let home = Home::new();
    let module = home.wat(
        "bytes",
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 64) "\1b[31m\00\ff\0d\0a\e2\80\ae")
            (func (export "_start")
              (i32.store (i32.const 0) (i32.const 64))
              (i32.store (i32.const 4) (i32.const 12))
              (drop (call $w (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#,
    );
    let run = home.run().arg(module).go();
    run.exits(0).holds(run.stdout == b"\x1b[31m\x00\xff\r\n\xe2\x80\xae", "stdout is data");
}

// spec: SBX-6, SBX-8
#[test]
fn nothing_beyond_the_quota_reaches_the_disk() {
    let home = Home::new();
    let out = home.path("files/out");
    let sizes = || super::support::files(&out).iter().map(|path| path.metadata().unwrap().len()).sum::<u64>();
    let run = home.run().args(["--out-limit", "1MB", "--out"]).arg(&out).arg(hostile(&home, "out-fill")).go();
    run.exits(0).holds(run.number("output.out_bytes") == 1_000_000, "the quota is usable to its last byte");
    assert_eq!(sizes(), 1_000_000);
    std::fs::remove_dir_all(&out).unwrap();

    let run =
        home.run().args(["--out-files", "500", "--out"]).arg(&out).arg(hostile(&home, "out-many-files")).go();
    run.exits(7).holds(run.number("output.out_files") == 500, "500 files");
    assert_eq!(super::support::tree(&out).len(), 500);
    std::fs::remove_dir_all(&out).unwrap();

    let run = home.run().arg("--out").arg(&out).arg(hostile(&home, "out-sparse")).go();
    run.exits(0);
    assert_eq!(sizes(), 0);
    std::fs::remove_dir_all(&out).unwrap();

    let module = hostile(&home, "out-links-multiply");
    home.run().args(["--out-limit", "1MB", "--out"]).arg(&out).arg(module).go().exits(0);
    let distinct: std::collections::BTreeMap<u64, u64> = super::support::files(&out)
        .iter()
        .map(|path| path.metadata().unwrap())
        .map(|meta| (std::os::unix::fs::MetadataExt::ino(&meta), meta.len()))
        .collect();
    assert!(distinct.values().sum::<u64>() <= 1_000_000, "links became copies: {distinct:?}");
    assert_eq!(super::support::tree(&out), ["f"], "and a link that was refused leaves no name");
    assert_eq!(sizes(), 900_004, "while the file is whole");
}

// spec: SBX-11
#[test]
fn links_in_out_are_collected_as_links_and_never_followed() {
    let home = Home::new();
    let out = home.path("files/out");
    let run = home.run().arg("--out").arg(&out).arg(hostile(&home, "symlinks")).go();
    run.exits(0);
    assert_eq!(std::fs::read(out.join("harmless")).unwrap(), b"harmless");
    for name in ["escape", "up", "here", "loop", "ping", "pong"] {
        // Left out or kept as a link: both are fine, a copy of what it points to is not.
        if let Ok(kind) = out.join(name).symlink_metadata() {
            assert!(kind.is_symlink(), "{name} was followed");
        }
    }
    let beside: Vec<_> =
        super::support::tree(&home.path("files")).into_iter().filter(|n| n.contains("planted")).collect();
    assert!(beside.is_empty(), "{beside:?}");
}

// The folder that `--out` names may hold links of an earlier run, or of somebody else.
// spec: SBX-11
#[test]
fn links_that_stand_in_the_out_folder_before_are_not_written_through() {
    let home = Home::new();
    let out = home.path("files/out");
    std::fs::create_dir(&out).unwrap();
    let victim = home.file("victim", "precious");
    std::os::unix::fs::symlink(&victim, out.join("f")).unwrap();
    std::os::unix::fs::symlink(home.path("files"), out.join("d")).unwrap();
    let module = home.wat(
        "plant",
        r#"(module
            (import "wasi_snapshot_preview1" "path_open"
              (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 64) "out/f" "out/d" "out/d/x")
            (func $put (param $at i32) (param $len i32) (param $skip i32)
              ;; Below the root, or in `/out` as a place of its own: one of the two works.
              (if (call $open (i32.const 3) (i32.const 0) (local.get $at) (local.get $len)
                    (i32.const 1) (i64.const 66) (i64.const 66) (i32.const 0) (i32.const 0)) (then
                (drop (call $open (i32.const 3) (i32.const 0)
                  (i32.add (local.get $at) (i32.const 4)) (i32.sub (local.get $len) (i32.const 4))
                  (i32.const 1) (i64.const 66) (i64.const 66) (i32.const 0) (i32.const 0)))))
              (i32.store (i32.const 8) (i32.const 64))
              (i32.store (i32.const 12) (i32.const 4))
              (drop (call $w (i32.load (i32.const 0)) (i32.const 8) (i32.const 1) (i32.const 16))))
            (func (export "_start")
              (call $put (i32.const 64) (i32.const 5) (i32.const 4))
              (if (call $mkdir (i32.const 3) (i32.const 69) (i32.const 5)) (then
                (drop (call $mkdir (i32.const 3) (i32.const 73) (i32.const 1)))))
              (call $put (i32.const 74) (i32.const 7) (i32.const 4))))"#,
    );
    // Refusing to collect is as good as replacing the links.
    let run = home.run().arg("--out").arg(&out).arg(module).go();
    run.holds(!run.stderr.contains("panicked"), "nothing panics");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious", "written through a link");
    assert!(!home.path("files/x").exists(), "written through a link to a folder");
}
