//! Makes a machine able to build everything, and knows how its compilers are called.

use crate::foreign;
use crate::run::{Repo, find_program, output_of, run, run_within, say};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Where rustup's server is out of reach it is often not refused but never answered.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);

const TARGETS: [&str; 3] = ["wasm32-wasip1", "wasm32-wasip2", "wasm32-unknown-unknown"];

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_WASI_LIBRARIES: &str = "/usr/lib/wasm32-wasi";
const DEBIAN_RUST: [&str; 5] = ["rustc-web", "rust-web-src", "rust-web-llvm", "wasi-libc", "lld-22"];
/// The version that `rust-web-llvm` brings most of.
const DEBIAN_C: [&str; 4] = ["clang-22", "libclang-rt-22-dev-wasm32", "wasi-libc", "lld-22"];

pub(crate) fn setup(repo: &Repo) -> Result<()> {
    rust(repo)?;
    c(repo)?;
    foreign::setup_assemblyscript(repo);
    Ok(())
}

/// Who compiles Rust to wasm here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Toolchain {
    /// The rustc in the PATH, with the target's libraries.
    Own,
    /// Debian's rustc-web, which builds the libraries from their source.
    Debian,
}

fn toolchain(repo: &Repo, target: &str) -> Option<Toolchain> {
    // Rustup's compiler prints the folder whether or not the target is installed.
    let libraries = output_of(repo.command("rustc").args(["--print", "target-libdir", "--target", target]));
    let installed = libraries.and_then(|folder| std::fs::read_dir(folder).ok()).is_some_and(|mut files| {
        files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
    });
    match installed {
        true => Some(Toolchain::Own),
        false => missing(repo, &DEBIAN_RUST).is_empty().then_some(Toolchain::Debian),
    }
}

/// `cargo SUBCOMMAND` for a wasm target, if this machine can compile for it.
pub(crate) fn cargo_for(repo: &Repo, subcommand: &str, target: &str) -> Option<Command> {
    let toolchain = toolchain(repo, target)?;
    let mut cargo = repo.cargo();
    // Flags meant for this machine's own programs are wrong for wasm.
    cargo
        .args([subcommand, "--target", target])
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS");
    if toolchain == Toolchain::Debian {
        cargo
            .args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features="])
            // Its library sources need features that a stable compiler only grants when told so.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTC", DEBIAN_RUSTC)
            .env_remove("RUSTC_WORKSPACE_WRAPPER");
        if target.contains("wasi") {
            // Debian's compiler comes without the C library that rustup's carries inside.
            let flags = [
                "-Clink-self-contained=no",
                &format!("-Clink-arg={DEBIAN_WASI_LIBRARIES}/crt1-command.o"),
                &format!("-Lnative={DEBIAN_WASI_LIBRARIES}"),
            ];
            cargo.env("RUSTFLAGS", flags.join(" "));
        }
    }
    Some(cargo)
}

fn rust(repo: &Repo) -> Result<()> {
    let lacking =
        || TARGETS.iter().copied().filter(|target| toolchain(repo, target).is_none()).collect::<Vec<_>>();
    let mut targets = lacking();
    if targets.is_empty() {
        say("Rust to wasm: already there");
        return Ok(());
    }

    let mut tried = Vec::new();
    if find_program("rustup").is_some() {
        say(format_args!("Rust to wasm: adding {} with rustup", targets.join(", ")));
        let mut rustup = repo.command("rustup");
        rustup.args(["target", "add"]).args(&targets);
        match run_within(&mut rustup, RUSTUP_LIMIT) {
            Ok(()) => targets = lacking(),
            Err(error) => {
                say(format_args!("Rust to wasm: rustup could not ({error:#})"));
                tried.push(format!("{error:#}"));
            }
        }
    }
    if !targets.is_empty() && find_program("apt-get").is_some() {
        say("Rust to wasm: installing Debian's compiler for wasm");
        match apt_install(repo, &DEBIAN_RUST) {
            Ok(()) => targets = lacking(),
            Err(error) => tried.push(format!("{error:#}")),
        }
    }
    if targets.is_empty() {
        say("Rust to wasm: ready");
        return Ok(());
    }
    if tried.is_empty() {
        tried.push("there is neither rustup nor apt-get".to_owned());
    }
    bail!(
        "no compiler here can build Rust for {}: {}. Type `rustup target add {}`, or on Debian {}",
        targets.join(", "),
        tried.join("; "),
        targets.join(" "),
        by_hand(&DEBIAN_RUST)
    )
}

fn c(repo: &Repo) -> Result<()> {
    if foreign::clang(repo).is_some() {
        say("C to wasm: already there");
        return Ok(());
    }
    if find_program("apt-get").is_none() {
        say("C to wasm: skipped. The C test modules need WASI_SDK_PATH to name a WASI SDK");
        return Ok(());
    }
    say("C to wasm: installing Debian's clang");
    apt_install(repo, &DEBIAN_C)
        .and_then(|()| foreign::clang(repo).context("clang-22 is installed, but does not compile C to wasm"))
        .with_context(|| format!("the C test modules need a compiler; type {}", by_hand(&DEBIAN_C)))?;
    say("C to wasm: ready");
    Ok(())
}

/// Those of the packages that are not installed.
fn missing<'a>(repo: &Repo, packages: &[&'a str]) -> Vec<&'a str> {
    let installed = |package: &&str| {
        let mut query = repo.command("dpkg-query");
        query.args(["--show", "--showformat=${db:Status-Status}", package]);
        output_of(&mut query).as_deref() == Some("installed")
    };
    packages.iter().copied().filter(|package| !installed(package)).collect()
}

fn by_hand(packages: &[&str]) -> String {
    format!("`sudo apt-get install -y --no-install-recommends {}`", packages.join(" "))
}

fn apt_install(repo: &Repo, packages: &[&str]) -> Result<()> {
    let missing = missing(repo, packages);
    if missing.is_empty() {
        return Ok(());
    }
    let root = output_of(repo.command("id").arg("-u")).as_deref() == Some("0");
    if !root && find_program("sudo").is_none() {
        bail!("installing packages takes root, and there is no sudo");
    }
    let apt = || {
        let mut apt = repo.command(if root { "env" } else { "sudo" });
        if !root {
            apt.arg("env");
        }
        // A configuration question would wait for an answer for ever; another apt may just be running. Mirrors are
        // given up on by apt itself: what sudo started is not ours to stop.
        apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        apt.args(["-oDPkg::Lock::Timeout=120", "-oAcquire::http::Timeout=30", "-oAcquire::Retries=2"]);
        apt
    };
    let update = || run(apt().arg("update"));
    let install = || run(apt().args(["install", "-y", "--no-install-recommends"]).args(&missing));

    let known = output_of(repo.command("apt-cache").arg("show").args(&missing)).is_some();
    if !known {
        update()?;
    }
    let installed = match install() {
        // A list that is too old names versions that the mirror no longer has.
        Err(_) if known => update().and_then(|()| install()),
        done => done,
    };
    installed.context("the packages cannot be installed")
}

/// Whether a failure to build an optional test module is a failure.
pub(crate) fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value != "false" && value != "0" && !value.is_empty())
}

/// Whether `clang` makes a wasm file of a program that uses the C library.
pub(crate) fn compiles(repo: &Repo, clang: &mut Command) -> bool {
    let folder = repo.target.join("xtask");
    let source = folder.join("probe.c");
    let program = "#include <stdio.h>\nint main(void) { return printf(\"%f\", 1.0) < 0; }\n";
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&source, program));
    written.is_ok()
        && output_of(clang.arg(Path::new(&source)).arg("-o").arg(folder.join("probe.wasm"))).is_some()
}
