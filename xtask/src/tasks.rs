//! Builds `mesh` and, with it, everything the tests and the demo run in the sandbox.

use crate::foreign;
use crate::run::{Repo, run, say, took};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// How `mesh` itself is built; tasks are always optimised.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Dev,
    Release,
}

/// What was built.
pub(crate) struct Built {
    /// The program `mesh`.
    pub(crate) mesh: PathBuf,
    /// The folder of the wasm modules.
    pub(crate) tasks: PathBuf,
}

/// Builds `mesh`, then all modules.
pub(crate) fn build(repo: &Repo, profile: Profile, force: bool) -> Result<Built> {
    build_with(repo, profile, &["--package", "mesh", "--bin", "mesh"], force)
}

/// [`build`] with other programs built in the same go. Cargo chooses the features of shared dependencies by
/// what is built together: asking for them one after the other would compile the sandbox twice.
pub(crate) fn build_with(repo: &Repo, profile: Profile, what: &[&str], force: bool) -> Result<Built> {
    let begun = Instant::now();
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => "release",
    };
    let mut cargo = repo.cargo();
    cargo.arg("build").args(what);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    run(&mut cargo)?;

    // A `mesh` built elsewhere can stand in, such as an older version that a test is to be run against.
    let mesh = match std::env::var_os("MESH_BIN") {
        Some(mesh) => repo.typed(&mesh.to_string_lossy()),
        None => repo.target.join(folder).join(format!("mesh{}", std::env::consts::EXE_SUFFIX)),
    };
    if !mesh.is_file() {
        bail!("there is no {} after building it; is MESH_BIN set wrongly?", mesh.display());
    }

    let tasks = repo.target.join("tasks");
    std::fs::create_dir_all(&tasks).with_context(|| format!("{} cannot be made", tasks.display()))?;
    let mut fresh = 0;
    let all = task_crates(repo)?;
    for (name, folder) in &all {
        if build_task(repo, &mesh, name, folder, &tasks, force)? {
            fresh += 1;
        }
    }
    foreign::build(repo, &tasks, force)?;
    say(format_args!(
        "{} tasks in {}, {fresh} of them built now ({})",
        all.len(),
        repo.short(&tasks).display(),
        took(begun)
    ));
    Ok(Built { mesh, tasks })
}

/// Names and folders of the crates below `tasks/`. Those a folder deeper carry its name in front: `hostile-NAME`.
fn task_crates(repo: &Repo) -> Result<Vec<(String, PathBuf)>> {
    let mut crates = Vec::new();
    for (name, folder) in folders(&repo.root.join("tasks"))? {
        if folder.join("Cargo.toml").is_file() {
            crates.push((name, folder));
            continue;
        }
        for (inner, folder) in folders(&folder)? {
            if folder.join("Cargo.toml").is_file() {
                crates.push((format!("{name}-{inner}"), folder));
            }
        }
    }
    crates.sort();
    Ok(crates)
}

fn folders(parent: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries =
        std::fs::read_dir(parent).with_context(|| format!("{} cannot be listed", parent.display()))?;
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("{} cannot be listed", parent.display()))?;
        if entry.path().is_dir() {
            folders.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    Ok(folders)
}

/// Says whether there was anything to do.
fn build_task(
    repo: &Repo,
    mesh: &Path,
    name: &str,
    folder: &Path,
    tasks: &Path,
    force: bool,
) -> Result<bool> {
    let module = tasks.join(format!("{name}.wasm"));
    let root = |path: &str| repo.root.join(path);
    let sdk = root("guest-sdk");
    // The interface of guests is all that a task links of the protocol; the manifest is what `mesh build` puts in.
    let (abi, manifest) = (root("protocol/src/abi.rs"), root("protocol/src/manifest.rs"));
    let (lock, workspace) = (root("Cargo.lock"), root("Cargo.toml"));
    if up_to_date(&module, &[folder, &sdk, &abi, &manifest, &lock, &workspace], force) {
        return Ok(false);
    }
    let mut build = repo.command(mesh);
    build.arg("build").arg(repo.short(folder)).arg("-o").arg(repo.short(&module));
    // A folder of its own: Debian's wasm compiler is another one, and each would throw away what the other built.
    run(build.env("CARGO_TARGET_DIR", repo.target.join("wasm")))
        .with_context(|| format!("the task {name} cannot be built"))?;
    if !module.is_file() {
        bail!("`mesh build` was content, but there is no {}", module.display());
    }
    Ok(true)
}

/// Whether a file is newer than all its sources: files, or folders with all that is in them.
pub(crate) fn up_to_date(file: &Path, sources: &[&Path], force: bool) -> bool {
    let Some(built) = modified(file) else { return false };
    // A time that cannot be read counts as newer.
    !force && sources.iter().all(|source| newest(source).is_some_and(|time| time < built))
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// The folder's own time counts too: it tells of files taken away.
fn newest(path: &Path) -> Option<SystemTime> {
    let mut newest = modified(path)?;
    if path.is_dir() {
        for entry in std::fs::read_dir(path).ok()? {
            let entry = entry.ok()?;
            // Somebody may have built the crate alone.
            if entry.file_name() != "target" {
                newest = newest.max(self::newest(&entry.path())?);
            }
        }
    }
    Some(newest)
}
