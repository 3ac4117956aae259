//! The task, natively.
// spec: SDK-5

use super::*;
use flate2::read::GzDecoder;
use mesh_guest::ErrorKind;
use mesh_guest::testing::{Folder, TestRun};
use std::collections::BTreeMap;
use std::io::Read;

fn rotate(folder: &Folder, max_bytes: u64, keep: u32) -> Report {
    try_rotate(folder, max_bytes, keep).unwrap()
}

fn try_rotate(folder: &Folder, max_bytes: u64, keep: u32) -> Result<Report> {
    let run =
        TestRun::new().share("logs", folder.path()).run(|ctx| task(ctx, Some(Params { max_bytes, keep })));
    run.result
}

/// The files of a folder, the compressed ones unpacked.
fn texts(folder: &Folder) -> BTreeMap<String, String> {
    let text = |(name, bytes): (String, Vec<u8>)| {
        let mut text = String::new();
        if name.ends_with(".gz") {
            GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        } else {
            text = String::from_utf8(bytes).unwrap();
        }
        (name, text)
    };
    folder.files().into_iter().map(text).collect()
}

fn expect(folder: &Folder, want: &[(&str, &str)]) {
    let want: BTreeMap<String, String> =
        want.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    assert_eq!(texts(folder), want);
}

#[test]
fn large_logs_are_rotated_and_others_left() {
    let folder = Folder::new();
    folder.write("a.log", "one two three");
    folder.write("b.log", "small");
    folder.write("notes.txt", "a text that is long enough");
    let report = rotate(&folder, 10, 3);
    assert_eq!(report.rotated, [Rotated { log: "a.log".into(), bytes: 13 }]);
    assert_eq!(report.compressed.len(), 1);
    assert!(report.deleted.is_empty());
    expect(
        &folder,
        &[
            ("a.log", ""),
            ("a.log.1.gz", "one two three"),
            ("b.log", "small"),
            ("notes.txt", "a text that is long enough"),
        ],
    );
    assert_eq!(rotate(&folder, 10, 3), Report::default(), "nothing is left to do");
}

#[test]
fn the_oldest_is_deleted() {
    let folder = Folder::new();
    for text in ["first", "second", "third", "fourth"] {
        folder.write("a.log", text);
        rotate(&folder, 0, 2);
    }
    expect(&folder, &[("a.log", ""), ("a.log.1.gz", "fourth"), ("a.log.2.gz", "third")]);
}

#[test]
fn keeping_fewer_than_before_deletes_the_rest() {
    let folder = Folder::new();
    for text in ["1", "2", "3", "4"] {
        folder.write("a.log", text);
        rotate(&folder, 0, 9);
    }
    folder.write("a.log.backup", "not ours");
    folder.write("a.log.04", "not ours");
    let report = rotate(&folder, 0, 2);
    assert_eq!(report.deleted, ["a.log.3.gz", "a.log.4.gz"]);
    let want = [
        ("a.log", ""),
        ("a.log.04", "not ours"),
        ("a.log.1.gz", "4"),
        ("a.log.2.gz", "3"),
        ("a.log.backup", "not ours"),
    ];
    expect(&folder, &want);
}

#[test]
fn the_same_log_makes_the_same_bytes() {
    let make = || {
        let folder = Folder::new();
        folder.write("a.log", "line\n".repeat(10_000));
        rotate(&folder, 1, 1);
        folder.files().remove("a.log.1.gz").unwrap()
    };
    let bytes = make();
    assert_eq!(bytes, make());
    assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
}

/// Every state that an interruption between two steps of rotating `new` over `2`, `1` can leave.
#[test]
fn whatever_an_interrupted_run_left_nothing_is_lost() {
    let gz = |text: &str| {
        let folder = Folder::new();
        folder.write("x.log", text);
        rotate(&folder, 0, 1);
        folder.files().remove("x.log.1.gz").unwrap()
    };
    let (one, two, new) = (gz("1"), gz("2"), gz("new"));
    let states: [&[(&str, &[u8])]; 7] = [
        &[("a.log", b"new"), ("a.log.2.gz", &one), ("a.log.1.gz", &two)],
        &[("a.log", b"new"), ("a.log.3.gz", &one), ("a.log.1.gz", &two)],
        &[("a.log", b"new"), ("a.log.3.gz", &one), ("a.log.2.gz", &two)],
        &[("a.log", b""), ("a.log.3.gz", &one), ("a.log.2.gz", &two), ("a.log.1", b"new")],
        &[
            ("a.log", b""),
            ("a.log.3.gz", &one),
            ("a.log.2.gz", &two),
            ("a.log.1", b"new"),
            ("a.log.1.gz.tmp", b"ne"),
        ],
        &[
            ("a.log", b""),
            ("a.log.3.gz", &one),
            ("a.log.2.gz", &two),
            ("a.log.1", b"new"),
            ("a.log.1.gz", &new),
        ],
        &[("a.log", b""), ("a.log.3.gz", &one), ("a.log.2.gz", &two), ("a.log.1.gz", &new)],
    ];
    for state in states {
        let folder = Folder::new();
        for (name, bytes) in state {
            folder.write(name, bytes);
        }
        rotate(&folder, 0, 3);
        expect(&folder, &[("a.log", ""), ("a.log.1.gz", "new"), ("a.log.2.gz", "2"), ("a.log.3.gz", "1")]);
    }
}

#[test]
fn one_log_that_fails_fails_the_task() {
    let folder = Folder::new();
    folder.write("a.log", "long enough");
    fs::create_dir(folder.path().join("a.log.1")).unwrap();
    folder.write("a.log.1/inside", "x");
    folder.write("b.log", "long enough");
    let error = try_rotate(&folder, 1, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed, "exit code 1");
    assert!(error.message().starts_with("a.log: cannot delete a.log.1: "), "{error}");
    expect(&folder, &[("a.log", "long enough"), ("a.log.1/inside", "x"), ("b.log", "long enough")]);
}

/// What is written to `/dev/full` meets a full disk, also for root.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_fails_the_task_and_leaves_no_half_file() {
    let folder = Folder::new();
    folder.write("a.log", "long enough");
    std::os::unix::fs::symlink("/dev/full", folder.path().join("a.log.1.gz.tmp")).unwrap();
    let error = try_rotate(&folder, 1, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed, "exit code 1");
    assert!(error.message().starts_with("a.log: cannot compress a.log.1: "), "{error}");
    assert!(error.message().contains("No space left"), "{error}");
    expect(&folder, &[("a.log", ""), ("a.log.1", "long enough")]);
}

#[test]
fn a_share_that_cannot_be_written_is_told_before_any_work() {
    let error = not_writable(&io::ErrorKind::ReadOnlyFilesystem.into());
    assert_eq!(error.kind(), ErrorKind::Failed, "exit code 1");
    assert_eq!(error.message(), "the share is read-only: run with --share logs=FOLDER:rw");
    let folder = Folder::new();
    folder.write("a.log", "long enough");
    fs::create_dir(folder.path().join(PROBE)).unwrap();
    for max_bytes in [1, 1000] {
        let error = try_rotate(&folder, max_bytes, 1).unwrap_err();
        assert!(error.message().starts_with("cannot write to the share logs: "), "{error}");
        expect(&folder, &[("a.log", "long enough")]);
    }
}

#[test]
fn a_missing_share_and_a_wrong_number_are_told() {
    let error = TestRun::new().run(|ctx| task(ctx, None)).result.unwrap_err();
    assert!(error.message().contains("--share logs=FOLDER:rw"), "{error}");
    for keep in [0, 1001] {
        let run = TestRun::new().run(|ctx| task(ctx, Some(Params { max_bytes: 1, keep })));
        assert_eq!(run.result.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
