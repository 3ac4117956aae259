//! Attacks on the compiled modules that are kept on disk.

use crate::limits::{GOOD, is_good};
use crate::support::{Home, Run, files, tree};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

/// A module that prints what it should not, for whoever swaps it in.
fn impostor(home: &Home) -> PathBuf {
    let text = r#"(module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (data (i32.const 64) "impostor")
      (func (export "_start")
        (i32.store (i32.const 0) (i32.const 64))
        (i32.store (i32.const 4) (i32.const 8))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#;
    home.wat("impostor", text)
}

fn good(home: &Home) -> Run {
    let run = home.run().arg(home.wat("good", GOOD)).go();
    is_good(&run);
    run
}

/// Files that hold compiled code: larger than any key.
fn kept(home: &Home) -> Vec<PathBuf> {
    let mut kept = files(&home.cache());
    kept.retain(|path| path.metadata().is_ok_and(|meta| meta.len() > 1000));
    kept
}

/// The one file that a good run keeps.
fn kept_of_good(home: &Home) -> PathBuf {
    good(home);
    let kept = kept(home);
    assert_eq!(kept.len(), 1, "one run keeps one compiled module in {}: {kept:?}", home.cache().display());
    kept[0].clone()
}

// spec: SBX-12
#[test]
fn what_is_kept_is_private_and_does_not_grow_with_every_run() {
    let home = Home::new();
    let path = kept_of_good(&home);
    let before = tree(&home.cache());
    for _ in 0..3 {
        good(&home);
    }
    assert_eq!(tree(&home.cache()), before);
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o077;
    assert_eq!(mode(&home.cache()), 0, "others can look into the folder");
    assert_eq!(mode(&path), 0, "others can read the code");
}

// Case 58.
// spec: SBX-12
#[test]
fn a_changed_or_cut_file_is_never_loaded_and_made_anew() {
    let home = Home::new();
    let path = kept_of_good(&home);
    let whole = std::fs::read(&path).unwrap();
    let len = whole.len();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let longer = [&whole[..], b"more"].concat();
    let tampered = [0, 8, 31, 32, 33, len / 4, len / 2, len - 1]
        .map(flipped)
        .into_iter()
        .chain([0, 1, 32, 100, len / 2, len - 1].map(|len| whole[..len].to_vec()))
        .chain([longer, vec![0; len], b"\x7fELF".repeat(len / 4)]);
    for bytes in tampered {
        std::fs::write(&path, &bytes).unwrap();
        good(&home);
        assert_ne!(std::fs::read(&path).unwrap(), bytes, "it was left as it is");
        good(&home);
    }
}

// spec: SBX-12
#[test]
fn the_code_of_another_module_is_never_loaded() {
    let home = Home::new();
    let path = kept_of_good(&home);
    let run = home.run().arg(impostor(&home)).go();
    run.exits(0).says("impostor");
    let other = kept(&home).into_iter().find(|other| *other != path).expect("the impostor is kept too");
    std::fs::copy(&other, &path).unwrap();
    good(&home);
    // Of another user's cache, sealed with another key.
    let stranger = Home::new();
    let theirs = kept_of_good(&stranger);
    std::fs::copy(&theirs, &path).unwrap();
    good(&home);
}

// spec: SBX-12
#[test]
fn links_pipes_and_folders_in_place_of_a_file_are_neither_read_nor_written() {
    let home = Home::new();
    let path = kept_of_good(&home);
    home.run().arg(impostor(&home)).go().exits(0);
    let other = kept(&home).into_iter().find(|other| *other != path).expect("the impostor is kept too");
    let bait = home.file("bait", std::fs::read(&other).unwrap());
    std::fs::remove_file(&path).unwrap();
    symlink(&bait, &path).unwrap();
    good(&home);
    assert_eq!(std::fs::read(&bait).unwrap(), std::fs::read(&other).unwrap(), "written through a link");

    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    good(&home);
    std::fs::remove_dir(&path).unwrap();

    // Opening it would wait for a writer that never comes.
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    good(&home);
}

// spec: SBX-12
#[test]
fn a_folder_that_others_can_write_to_is_not_trusted() {
    let home = Home::new();
    let path = kept_of_good(&home);
    home.run().arg(impostor(&home)).go().exits(0);
    let other = kept(&home).into_iter().find(|other| *other != path).expect("the impostor is kept too");
    std::fs::copy(&other, &path).unwrap();
    let folder = path.parent().unwrap().to_owned();
    for mode in [0o777, 0o770, 0o702] {
        let before = std::fs::read(&path).unwrap();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).unwrap();
        good(&home);
        assert_eq!(std::fs::read(&path).unwrap(), before, "a folder with mode {mode:o} was used");
    }
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::set_permissions(home.cache(), PermissionsExt::from_mode(0o777)).unwrap();
    good(&home);
}

// spec: SBX-12
#[test]
fn a_folder_that_is_a_link_or_no_folder_is_not_used() {
    let model = Home::new();
    let path = kept_of_good(&model);
    let folder = path.parent().unwrap().strip_prefix(model.cache()).unwrap().to_owned();

    let home = Home::new();
    let elsewhere = home.path("files/elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let link = home.cache().join(&folder);
    std::fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink(&elsewhere, &link).unwrap();
    good(&home);
    good(&home);
    let planted = tree(&elsewhere);
    assert!(planted.is_empty(), "it went through the link: {planted:?}");

    let home = Home::new();
    std::fs::write(home.cache(), "a file").unwrap();
    good(&home);
    assert_eq!(std::fs::read_to_string(home.cache()).unwrap(), "a file");
}

// spec: SBX-12
#[test]
fn a_folder_that_cannot_be_written_to_costs_time_only() {
    let home = Home::new();
    std::fs::remove_dir(home.path("cache")).unwrap();
    std::fs::write(home.path("cache"), "in the way").unwrap();
    good(&home);
    let home = Home::new();
    // The superuser may write all the same; anybody else gets an error.
    std::fs::set_permissions(home.path("cache"), PermissionsExt::from_mode(0o500)).unwrap();
    good(&home);
    std::fs::set_permissions(home.path("cache"), PermissionsExt::from_mode(0o700)).unwrap();
}

// spec: SBX-12
#[test]
fn a_damaged_key_costs_time_only() {
    let home = Home::new();
    kept_of_good(&home);
    let small: Vec<PathBuf> =
        files(&home.cache()).into_iter().filter(|path| path.metadata().unwrap().len() <= 1000).collect();
    for key in small {
        for bytes in [&b""[..], b"short", &[0; 32]] {
            std::fs::write(&key, bytes).unwrap();
            good(&home);
        }
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o666)).unwrap();
        good(&home);
        let mode = key.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "a key that others can read must not be used");
        std::fs::remove_file(&key).unwrap();
        symlink("/dev/zero", &key).unwrap();
        good(&home);
    }
}

// spec: SBX-12
#[test]
fn many_runs_at_once_with_nothing_kept_do_not_disturb_each_other() {
    let home = Home::new();
    let module = home.wat("good", GOOD);
    let all: Vec<_> = (0..6).map(|_| home.mesh().arg("run").arg(&module).start()).collect();
    let expected = crate::limits::good_result();
    // Helpers and half-written files of one run are no leftovers of another, so they are looked for at the end.
    let runs: Vec<_> = all.into_iter().map(super::support::Running::finish_beside).collect();
    for run in runs {
        run.holds(run.code == Some(0), "it should run").says(&expected);
    }
    good(&home);
    assert_eq!(kept(&home).len(), 1);
}
