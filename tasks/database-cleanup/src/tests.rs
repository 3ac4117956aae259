//! The task, natively.
// spec: SDK-5

use super::*;
use mesh_guest::ErrorKind;
use mesh_guest::testing::{Folder, TestRun};

fn clean(folder: &Folder, before: Option<i64>) -> Report {
    try_clean(folder, before).unwrap()
}

fn try_clean(folder: &Folder, before: Option<i64>) -> Result<Report> {
    TestRun::new().share("db", folder.path()).run(|ctx| task(ctx, Some(Params { before }))).result
}

const TABLE: &str = r#"{"id":"a","updated":100,"v":1}
{"id":"b","updated":"1970-01-01T00:02:00Z","v":1}
{"id":"a","updated":200,"v":2}
broken {
{"id":"c","updated":50}
{"id":"b","updated":300,"deleted":true}
{"id":"d","updated":400,"v":"late"}
{"id":"d","updated":390,"v":"written later, but older"}
{"id":1,"updated":500}
{"id":"1","updated":500}
{"id":"e","upd"#;

#[test]
fn superseded_deleted_and_old_records_go() {
    let folder = Folder::new();
    folder.write("users.ndjson", TABLE);
    folder.write("users.txt", TABLE);
    let report = clean(&folder, Some(60));
    let after = concat!(
        "{\"id\":\"a\",\"updated\":200,\"v\":2}\n",
        "broken {\n",
        "{\"id\":\"d\",\"updated\":400,\"v\":\"late\"}\n",
        "{\"id\":1,\"updated\":500}\n",
        "{\"id\":\"1\",\"updated\":500}\n",
        "{\"id\":\"e\",\"upd",
    );
    assert_eq!(String::from_utf8_lossy(&folder.files()["users.ndjson"]), after);
    assert_eq!(folder.files()["users.txt"], TABLE.as_bytes());
    assert_eq!(folder.files().len(), 2);
    let want = Cleaned {
        table: "users.ndjson".into(),
        kept: 4,
        superseded: 3,
        deleted: 1,
        old: 1,
        malformed: 2,
        first_malformed: vec![4, 11],
        bytes_before: TABLE.len() as u64,
        bytes_after: after.len() as u64,
    };
    assert_eq!(report, Report { tables: vec![want] });
}

#[test]
fn cleaning_twice_changes_nothing() {
    let folder = Folder::new();
    folder.write("t.ndjson", TABLE);
    clean(&folder, None);
    let once = folder.files();
    let report = clean(&folder, None);
    assert_eq!(folder.files(), once);
    let cleaned = &report.tables[0];
    assert_eq!(cleaned.bytes_before, cleaned.bytes_after);
    assert_eq!((cleaned.superseded, cleaned.deleted, cleaned.old), (0, 0, 0));
}

#[test]
fn of_equal_times_the_later_line_stays() {
    let folder = Folder::new();
    folder.write("t.ndjson", "{\"id\":1,\"updated\":5,\"v\":1}\n{\"id\":1,\"updated\":5,\"v\":2}\n");
    clean(&folder, None);
    assert_eq!(folder.files()["t.ndjson"], b"{\"id\":1,\"updated\":5,\"v\":2}\n");
}

#[test]
fn what_a_killed_run_left_is_written_over() {
    let folder = Folder::new();
    folder.write("t.ndjson", TABLE);
    folder.write("t.ndjson.new", "x".repeat(5000));
    clean(&folder, None);
    assert_eq!(folder.files().len(), 1);
    assert!(folder.files()["t.ndjson"].len() < TABLE.len());
}

/// Against a plain model, on tables made at random.
#[test]
fn the_last_record_of_each_id_stays_in_its_place() {
    let mut seed = 1_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..50 {
        let records: Vec<(u64, u64, bool)> =
            (0..random(60)).map(|_| (random(8), random(20), random(4) == 0)).collect();
        let line = |(id, updated, deleted): (u64, u64, bool)| {
            format!("{{\"id\":{id},\"updated\":{updated},\"deleted\":{deleted}}}\n")
        };
        let before = random(20);
        let stays = |index: usize| {
            let (id, updated, deleted) = records[index];
            let later = |(other, record): (usize, &(u64, u64, bool))| {
                record.0 == id && (record.1, other) > (updated, index)
            };
            !deleted && updated >= before && !records.iter().enumerate().any(later)
        };
        let want: String =
            (0..records.len()).filter(|&index| stays(index)).map(|index| line(records[index])).collect();
        let folder = Folder::new();
        folder.write("t.ndjson", records.iter().map(|&record| line(record)).collect::<String>());
        clean(&folder, Some(before as i64));
        assert_eq!(String::from_utf8_lossy(&folder.files()["t.ndjson"]), want);
    }
}

#[test]
fn a_table_that_cannot_be_replaced_fails_the_task() {
    let folder = Folder::new();
    folder.write("a.ndjson", TABLE);
    fs::create_dir(folder.path().join("a.ndjson.new")).unwrap();
    folder.write("b.ndjson", TABLE);
    let error = try_clean(&folder, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed, "exit code 1");
    assert!(error.message().starts_with("cannot clean a.ndjson: "), "{error}");
    assert_eq!(folder.files()["a.ndjson"], TABLE.as_bytes());
    assert_eq!(folder.files()["b.ndjson"], TABLE.as_bytes());
}

/// What is written to `/dev/full` meets a full disk, also for root.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_fails_the_task_and_leaves_the_table() {
    let folder = Folder::new();
    folder.write("t.ndjson", TABLE);
    std::os::unix::fs::symlink("/dev/full", folder.path().join("t.ndjson.new")).unwrap();
    let error = try_clean(&folder, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed, "exit code 1");
    assert!(error.message().starts_with("cannot clean t.ndjson: "), "{error}");
    assert!(error.message().contains("No space left"), "{error}");
    assert_eq!(folder.files().len(), 1, "no half of a table");
    assert_eq!(folder.files()["t.ndjson"], TABLE.as_bytes());
}

#[test]
fn a_share_that_cannot_be_written_is_told_before_any_work() {
    let error = not_writable(&io::ErrorKind::ReadOnlyFilesystem.into());
    assert_eq!(error.kind(), ErrorKind::Failed, "exit code 1");
    assert_eq!(error.message(), "the share is read-only: run with --share db=FOLDER:rw");
    let folder = Folder::new();
    folder.write("t.ndjson", TABLE);
    fs::create_dir(folder.path().join(PROBE)).unwrap();
    let error = try_clean(&folder, None).unwrap_err();
    assert!(error.message().starts_with("cannot write to the share db: "), "{error}");
    assert_eq!(folder.files()["t.ndjson"], TABLE.as_bytes());
}

#[test]
fn a_missing_share_says_who_can_help() {
    let error = TestRun::new().run(|ctx| task(ctx, None)).result.unwrap_err();
    assert!(error.message().contains("--share db=FOLDER:rw"), "{error}");
}
