//! Test modules that are no Task Mesh tasks: plain WASI programs in other languages, and a component.
// spec: SBX-1

use crate::run::{Repo, find_program, output_of, run, run_within, say};
use crate::setup::{self, cargo_for, is_ci};
use crate::tasks::up_to_date;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The compiler is 15 MB to download.
const NPM_LIMIT: Duration = Duration::from_secs(180);
/// The oldest node that the pinned AssemblyScript compiler runs on.
const NODE_AT_LEAST: u32 = 20;

/// Builds all of them into `tasks`.
pub(crate) fn build(repo: &Repo, tasks: &Path, force: bool) -> Result<()> {
    c(repo, tasks, force)?;
    assemblyscript(repo, tasks, force)?;
    component(repo, tasks, force)
}

fn fixtures(repo: &Repo, folder: &str) -> PathBuf {
    repo.root.join("xtask/fixtures").join(folder)
}

/// The sources of one language: their paths and the module that each becomes, `c/hello.c` becoming `c-hello.wasm`.
fn modules(folder: &Path, extension: &str, tasks: &Path, prefix: &str) -> Result<Vec<(PathBuf, PathBuf)>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("{} cannot be listed", folder.display()))?;
    let mut modules = Vec::new();
    for entry in entries {
        let source = entry.with_context(|| format!("{} cannot be listed", folder.display()))?.path();
        if source.extension().is_some_and(|found| found == extension) {
            let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            modules.push((source, tasks.join(format!("{prefix}-{name}.wasm"))));
        }
    }
    modules.sort();
    Ok(modules)
}

/// A clang that compiles C to WASI programs, with its flags; only the source and `-o` are missing.
pub(crate) fn clang(repo: &Repo) -> Option<Command> {
    // Debian's C library calls itself wasm32-wasi, a name that new versions of clang warn about.
    let debian = ["--target=wasm32-wasi", "--sysroot=/usr", "-Wno-deprecated"].map(OsString::from).to_vec();
    let mut candidates: Vec<(OsString, Vec<OsString>)> = Vec::new();
    if let Some(sdk) = std::env::var_os("WASI_SDK_PATH") {
        candidates.push((Path::new(&sdk).join("bin/clang").into(), vec!["--target=wasm32-wasip1".into()]));
    }
    candidates.push(("clang-22".into(), debian.clone()));
    candidates.push(("clang".into(), debian));

    let command = |(program, flags): &(OsString, Vec<OsString>)| {
        let mut clang = repo.command(program);
        clang.args(flags).args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-s"]);
        clang
    };
    candidates.iter().find(|candidate| setup::compiles(repo, &mut command(candidate))).map(command)
}

fn c(repo: &Repo, tasks: &Path, force: bool) -> Result<()> {
    for (source, module) in modules(&fixtures(repo, "c"), "c", tasks, "c")? {
        if up_to_date(&module, &[&source], force) {
            continue;
        }
        let Some(mut clang) = clang(repo) else {
            return skip("C", "no clang here compiles to wasm; `cargo xtask setup` installs one");
        };
        run(clang.arg(repo.short(&source)).arg("-o").arg(repo.short(&module)))?;
    }
    Ok(())
}

/// Someone who works on the sandbox may lack a compiler, but what CI checks is always the whole.
fn skip(language: &str, why: &str) -> Result<()> {
    if is_ci() {
        bail!("the {language} test modules cannot be built: {why}");
    }
    say(format_args!("The {language} test modules are skipped: {why}"));
    Ok(())
}

const ASC: &str = "node_modules/assemblyscript/bin/asc.js";
const WASI_SHIM: &str = "node_modules/@assemblyscript/wasi-shim/asconfig.json";

fn npm_folder(repo: &Repo) -> PathBuf {
    repo.target.join("npm")
}

/// Optional: where there is no node, there is one test module less.
pub(crate) fn setup_assemblyscript(repo: &Repo) {
    match install_asc(repo) {
        Ok(true) => say("AssemblyScript: ready"),
        Ok(false) => say("AssemblyScript: already there"),
        Err(error) => say(format_args!("AssemblyScript: its test module is skipped: {error:#}")),
    }
}

/// Says whether there was anything to do.
fn install_asc(repo: &Repo) -> Result<bool> {
    let version = output_of(repo.command("node").arg("--version")).context("there is no node")?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < NODE_AT_LEAST) {
        bail!("node is {version}, and {NODE_AT_LEAST} or later is needed");
    }
    find_program("npm").context("there is no npm")?;

    let pinned = fixtures(repo, "assemblyscript");
    let folder = npm_folder(repo);
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let mut changed = !folder.join(ASC).is_file();
    for name in ["package.json", "package-lock.json"] {
        let (from, to) = (pinned.join(name), folder.join(name));
        let wanted = std::fs::read(&from).with_context(|| format!("{} cannot be read", from.display()))?;
        if std::fs::read(&to).is_ok_and(|found| found == wanted) {
            continue;
        }
        changed = true;
        std::fs::write(&to, wanted).with_context(|| format!("{} cannot be written", to.display()))?;
    }
    if !changed {
        return Ok(false);
    }
    say("AssemblyScript: installing its compiler with npm");
    // No package of ours needs its install scripts, so nobody's get to run.
    let mut ci = repo.command("npm");
    ci.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]).arg(&folder);
    let installed = run_within(&mut ci, NPM_LIMIT);
    if installed.is_err() {
        // Half an installation must not look like a whole one the next time.
        let _ = std::fs::remove_dir_all(&folder);
    }
    installed.map(|()| true)
}

fn assemblyscript(repo: &Repo, tasks: &Path, force: bool) -> Result<()> {
    let folder = npm_folder(repo);
    for (source, module) in modules(&fixtures(repo, "assemblyscript"), "ts", tasks, "as")? {
        if up_to_date(&module, &[&source], force) {
            continue;
        }
        if !folder.join(ASC).is_file() {
            say(
                "The AssemblyScript test module is skipped: its compiler is not there; see `cargo xtask setup`",
            );
            return Ok(());
        }
        // The compiler looks for its configuration below the working directory only.
        let mut node = repo.command("node");
        node.current_dir(&folder).arg(ASC).arg(&source).args([
            "--config",
            WASI_SHIM,
            "-O",
            "--noAssert",
            "-o",
        ]);
        run(node.arg(&module))?;
    }
    Ok(())
}

fn component(repo: &Repo, tasks: &Path, force: bool) -> Result<()> {
    let folder = fixtures(repo, "component");
    let module = tasks.join("component.wasm");
    if up_to_date(&module, &[&folder], force) {
        return Ok(());
    }
    const TARGET: &str = "wasm32-wasip2";
    let Some(mut cargo) = cargo_for(repo, "build", TARGET) else {
        return skip(
            "component",
            "no Rust compiler here has the target wasm32-wasip2; see `cargo xtask setup`",
        );
    };
    let target = repo.target.join("component");
    let manifest = folder.join("Cargo.toml");
    run(cargo
        .args(["--release", "--locked", "--manifest-path"])
        .arg(repo.short(&manifest))
        .arg("--target-dir")
        .arg(repo.short(&target)))?;
    let built = target.join(TARGET).join("release/component.wasm");
    // Copying takes over neither time, so the next run sees a module newer than its sources.
    std::fs::copy(&built, &module)
        .with_context(|| format!("{} cannot be copied to {}", built.display(), module.display()))?;
    Ok(())
}
