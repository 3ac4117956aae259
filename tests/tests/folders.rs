//! Folders of this machine that a task was given: no path may lead out of them.

use crate::support::{Home, until};
use rustix::process::Signal;
use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const OPEN: &str = r#"(import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (memory (export "memory") 1)"#;

/// Bytes as text of wasm writes them.
fn quoted(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _always = write!(text, "\\{byte:02x}");
        text
    })
}

/// Opens each path below the first folder, in each way, and exits with the number of the first that worked.
fn opens_none(paths: &[&[u8]]) -> String {
    let (mut data, mut code) = (String::new(), String::new());
    for (index, path) in paths.iter().enumerate() {
        let at = 1024 + index * 512;
        let _always = writeln!(data, "(data (i32.const {at}) \"{}\")", quoted(path));
        // To read, to write, making it, cutting it; following links and not.
        for (follow, how, rights) in [(1, 0, 2), (0, 0, 2), (1, 0, 66), (1, 1, 66), (1, 8, 66), (1, 2, 0)] {
            let _always = writeln!(
                code,
                "(if (i32.eqz (call $open (i32.const 3) (i32.const {follow}) (i32.const {at}) (i32.const {})
                   (i32.const {how}) (i64.const {rights}) (i64.const {rights}) (i32.const 0) (i32.const 0)))
                 (then (call $exit (i32.const {}))))",
                path.len(),
                index + 1,
            );
        }
    }
    format!("(module {OPEN} {data} (func (export \"_start\") {code}))")
}

// Cases 33 and 34.
// spec: SBX-3, SBX-11
#[test]
fn no_path_leads_out_of_a_folder_that_a_task_was_given() {
    let home = Home::new();
    let (shared, outside) = (home.path("files/shared"), home.path("files/outside"));
    std::fs::create_dir(&shared).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    std::fs::create_dir(shared.join("deep")).unwrap();
    symlink("../outside", shared.join("to-outside")).unwrap();
    symlink("../outside/secret", shared.join("to-secret")).unwrap();
    symlink(&outside, shared.join("absolute")).unwrap();
    symlink("/", shared.join("root")).unwrap();
    symlink("../to-outside", shared.join("deep/again")).unwrap();
    symlink("loop", shared.join("loop")).unwrap();
    let absolute = outside.join("secret");
    let module = home.wat(
        "escape",
        &opens_none(&[
            b"..",
            b"../outside",
            b"../outside/secret",
            b"deep/../../outside/secret",
            b"./deep/.././../outside/secret",
            b"to-outside",
            b"to-outside/secret",
            b"to-outside/",
            b"to-secret",
            b"absolute/secret",
            b"root/etc/passwd",
            b"deep/again/secret",
            b"loop",
            absolute.as_os_str().as_encoded_bytes(),
            b"//etc/passwd",
            b"/etc/passwd",
            b"to-outside\0",
            b"\xff\xfe/secret",
            b"",
        ]),
    );
    for suffix in ["", ":ro"] {
        let run =
            home.run().arg("--dir").arg(format!("{}::/data{suffix}", shared.display())).arg(&module).go();
        run.exits(0);
    }
    assert_eq!(std::fs::read_to_string(&absolute).unwrap(), "secret");
    assert_eq!(crate::support::tree(&outside), ["secret"]);
}

// Case 35.
// spec: SBX-11
#[test]
fn a_folder_that_becomes_a_link_while_it_is_opened_leads_nowhere() {
    let home = Home::new();
    let (shared, outside) = (home.path("files/shared"), home.path("files/outside"));
    for (dir, text) in [(&shared.join("d"), "harmless"), (&outside, "SECRET")] {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("file"), text).unwrap();
    }
    symlink("../outside", shared.join("link")).unwrap();
    // Reads what it can, and exits with 66 should it ever be the secret.
    let module = home.wat(
        "racer",
        &format!(
            r#"(module {OPEN}
              (data (i32.const 1024) "d/file" "started\n")
              (func (export "_start") (local $n i32)
                (i32.store (i32.const 16) (i32.const 1030))
                (i32.store (i32.const 20) (i32.const 8))
                (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
                (i32.store (i32.const 16) (i32.const 2048))
                (i32.store (i32.const 20) (i32.const 16))
                (loop $again
                  (if (i32.eqz (call $open (i32.const 3) (i32.const 1) (i32.const 1024) (i32.const 6)
                        (i32.const 0) (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 0))) (then
                    (drop (call $read (i32.load (i32.const 0)) (i32.const 16) (i32.const 1) (i32.const 24)))
                    (if (i32.eq (i32.load8_u (i32.const 2048)) (i32.const 83)) (then (call $exit (i32.const 66))))
                    (drop (call $close (i32.load (i32.const 0))))))
                  (local.set $n (i32.add (local.get $n) (i32.const 1)))
                  (br_if $again (i32.lt_u (local.get $n) (i32.const 20000))))))"#
        ),
    );
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                std::fs::rename(shared.join("d"), shared.join("real")).unwrap();
                std::fs::rename(shared.join("link"), shared.join("d")).unwrap();
                std::fs::rename(shared.join("d"), shared.join("link")).unwrap();
                std::fs::rename(shared.join("real"), shared.join("d")).unwrap();
            }
        });
        let dir = format!("{}::/data", shared.display());
        let running = std::panic::catch_unwind(|| home.run().args(["--dir", &dir]).arg(&module).go());
        over.store(true, Ordering::Relaxed);
        running.unwrap().exits(0);
    });
}

// Case 36.
// spec: SBX-10, SBX-11
#[test]
fn a_read_only_folder_cannot_be_changed_by_way_of_a_writable_one() {
    let home = Home::new();
    let (fixed, free) = (home.path("files/fixed"), home.path("files/free"));
    for dir in [&fixed, &free] {
        std::fs::create_dir(dir).unwrap();
        std::fs::write(dir.join("file"), "before").unwrap();
    }
    let text = format!(
        r#"(module
          (import "wasi_snapshot_preview1" "path_link"
            (func $link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "path_symlink" (func $symlink (param i32 i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
          {OPEN}
          (data (i32.const 1024) "file" "hard" "soft" "../fixed/file" "overwritten")
          (func (export "_start")
            ;; 3 is read-only, 4 is not. Whatever works is written to.
            (drop (call $link (i32.const 3) (i32.const 0) (i32.const 1024) (i32.const 4)
              (i32.const 4) (i32.const 1028) (i32.const 4)))
            (drop (call $symlink (i32.const 1036) (i32.const 13) (i32.const 4) (i32.const 1032) (i32.const 4)))
            (call $overwrite (i32.const 4) (i32.const 1028) (i32.const 1))
            (call $overwrite (i32.const 4) (i32.const 1032) (i32.const 1))
            (call $overwrite (i32.const 3) (i32.const 1024) (i32.const 1))
            (call $overwrite (i32.const 3) (i32.const 1024) (i32.const 9))
            (drop (call $unlink (i32.const 3) (i32.const 1024) (i32.const 4)))
            (drop (call $rename (i32.const 4) (i32.const 1024) (i32.const 4) (i32.const 3) (i32.const 1024) (i32.const 4)))
            (drop (call $rename (i32.const 3) (i32.const 1024) (i32.const 4) (i32.const 4) (i32.const 1028) (i32.const 4))))
          (func $overwrite (param $dir i32) (param $at i32) (param $how i32)
            (if (i32.eqz (call $open (local.get $dir) (i32.const 1) (local.get $at) (i32.const 4) (local.get $how)
                  (i64.const 66) (i64.const 66) (i32.const 0) (i32.const 0))) (then
              (i32.store (i32.const 16) (i32.const 1049))
              (i32.store (i32.const 20) (i32.const 11))
              (drop (call $write (i32.load (i32.const 0)) (i32.const 16) (i32.const 1) (i32.const 24)))))))"#
    );
    let module = home.wat("detour", &text);
    let run = home
        .run()
        .arg("--dir")
        .arg(format!("{}::/fixed:ro", fixed.display()))
        .arg("--dir")
        .arg(format!("{}::/free", free.display()))
        .arg(module)
        .go();
    run.holds(matches!(run.code, Some(0..=127)), "it should end by itself");
    assert_eq!(crate::support::tree(&fixed), ["file"], "the read-only folder was changed");
    assert_eq!(
        std::fs::read_to_string(fixed.join("file")).unwrap(),
        "before",
        "a read-only file was changed"
    );
}

// Cases 34 and 36, for shares: the task works on a copy, and what it leaves is put in place.
// spec: SBX-10, SBX-11
#[test]
fn links_in_a_share_are_neither_read_nor_written_through() {
    let home = Home::new();
    let (share, outside) = (home.path("files/share"), home.path("files/outside"));
    std::fs::create_dir(&share).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "SECRET").unwrap();
    std::fs::write(share.join("log"), "a line").unwrap();
    symlink("../outside/secret", share.join("link")).unwrap();
    symlink("../outside", share.join("dir")).unwrap();
    // Prints whatever it can read of the links, and writes to whatever it can open.
    let names = ["share/logs/link", "share/logs/dir/secret", "logs/link", "logs/dir/secret"];
    let code: String = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let at = 1024 + index * 64;
            format!("(call $try (i32.const {at}) (i32.const {}) (i64.const 2)) (call $try (i32.const {at}) (i32.const {}) (i64.const 66))", name.len(), name.len())
        })
        .collect();
    let data: String = names
        .iter()
        .enumerate()
        .map(|(index, name)| format!("(data (i32.const {}) \"{name}\")", 1024 + index * 64))
        .collect();
    let text = format!(
        r#"(module {OPEN} {data} (data (i32.const 512) "overwritten")
          (func (export "_start") {code})
          (func $try (param $at i32) (param $len i32) (param $rights i64)
            (if (i32.eqz (call $open (i32.const 3) (i32.const 1) (local.get $at) (local.get $len) (i32.const 0)
                  (local.get $rights) (local.get $rights) (i32.const 0) (i32.const 0))) (then
              (i32.store (i32.const 16) (i32.const 2048))
              (i32.store (i32.const 20) (i32.const 16))
              (drop (call $read (i32.load (i32.const 0)) (i32.const 16) (i32.const 1) (i32.const 24)))
              (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
              (i32.store (i32.const 16) (i32.const 512))
              (i32.store (i32.const 20) (i32.const 11))
              (drop (call $write (i32.load (i32.const 0)) (i32.const 16) (i32.const 1) (i32.const 24)))))))"#
    );
    let module = home.wat("through", &text);
    for suffix in ["", ":rw"] {
        let run =
            home.run().arg("--share").arg(format!("logs={}{suffix}", share.display())).arg(&module).go();
        run.holds(!run.out().contains("SECRET"), "it read through a link")
            .holds(!run.stderr.contains("panicked"), "nothing panics");
        assert_eq!(
            std::fs::read_to_string(outside.join("secret")).unwrap(),
            "SECRET",
            "it wrote through a link"
        );
        assert_eq!(std::fs::read_to_string(share.join("log")).unwrap(), "a line");
    }
}

// spec: SBX-9, SBX-10
#[test]
fn a_worker_has_no_file_of_this_machine_open_but_what_it_needs() {
    let home = Home::new();
    let secret = home.file("secret", "secret");
    let mut running =
        home.run().arg("--out").arg(home.path("files/out")).arg(crate::limits::busy(&home, "")).start();
    running.says("started");
    let helpers = running.helpers();
    assert!(!helpers.is_empty(), "a task has a process of its own");
    for helper in &helpers {
        let environment = std::fs::read(format!("/proc/{}/environ", helper.id)).unwrap_or_default();
        assert!(
            environment.is_empty(),
            "{helper:?} has the environment {:?}",
            String::from_utf8_lossy(&environment)
        );
        for entry in std::fs::read_dir(format!("/proc/{}/fd", helper.id)).into_iter().flatten().flatten() {
            let Ok(target) = std::fs::read_link(entry.path()) else { continue };
            let name = target.to_string_lossy();
            let harmless = name == "/dev/null"
                || ["socket:", "pipe:", "anon_inode:", "/memfd:"].iter().any(|kind| name.starts_with(kind))
                // A file without a name, which holds what the task writes.
                || name.ends_with(" (deleted)");
            assert!(harmless, "{helper:?} has {name} open");
            assert_ne!(target, secret);
        }
    }
    let status = until("what the kernel says of the worker", Duration::from_secs(5), || {
        helpers.iter().find_map(|helper| std::fs::read_to_string(format!("/proc/{}/status", helper.id)).ok())
    });
    assert!(status.contains("NoNewPrivs:\t1"), "a worker can gain privileges:\n{status}");
    running.signal(Signal::INT);
    running.finish().ends(130, r#""Cancelled""#);
}
