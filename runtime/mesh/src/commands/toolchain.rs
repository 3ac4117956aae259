//! Which compiler on this machine can make wasm of a task?

use crate::failure::{Failure, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of task crates.
pub(super) const TARGET: &str = "wasm32-wasip1";

/// A way to compile for [`TARGET`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Toolchain {
    /// The Rust compiler in the path has the target's libraries.
    Installed,
    /// Debian's compiler for the web, which builds the libraries from their sources along with the crate.
    Debian {
        /// Its compiler.
        rustc: PathBuf,
    },
}

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LIBC: &str = "/usr/lib/wasm32-wasi";

/// What to type where there is none.
pub(super) const HINT: &str = "rustup target add wasm32-wasip1\n      or, on Debian: apt-get install --no-install-recommends rustc-web rust-web-src rust-web-llvm wasi-libc lld-22";

fn has_target(rustc: &Path) -> bool {
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let Ok(output) = output else { return false };
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let libraries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    output.status.success()
        && libraries.into_iter().any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}

fn has_sources(rustc: &Path) -> bool {
    let output = Command::new(rustc).args(["--print", "sysroot"]).output();
    let Ok(output) = output else { return false };
    let root = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    root.join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file()
}

/// Finds the first way that is open.
pub(super) fn find() -> Result<Toolchain> {
    let rustc = std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
    if has_target(&rustc) {
        return Ok(Toolchain::Installed);
    }
    let debian = Path::new(DEBIAN_RUSTC);
    if Path::new(DEBIAN_LIBC).join("crt1-command.o").is_file() && has_sources(debian) {
        return Ok(Toolchain::Debian { rustc: debian.into() });
    }
    Err(Failure::new(format!(
        "find a compiler for {TARGET}: neither rustc nor Debian's rustc-web has its libraries"
    ))
    .hint(HINT))
}

impl Toolchain {
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Installed => format!("rustc with {TARGET}"),
            Self::Debian { rustc } => {
                format!("Debian's {}, building the libraries from source", rustc.display())
            }
        }
    }

    /// A cargo command that builds for [`TARGET`].
    pub(super) fn cargo_build(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--release", "--target", TARGET]);
        if let Self::Debian { rustc } = self {
            let flags = format!(
                "-Clink-self-contained=no -Clink-arg={DEBIAN_LIBC}/crt1-command.o -Lnative={DEBIAN_LIBC}"
            );
            cargo
                .env("RUSTC", rustc)
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTFLAGS", flags)
                .args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features="]);
        }
        // A toolchain chosen by rustup for whoever called us would be put before the one chosen here.
        cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("RUSTC_WRAPPER");
        cargo
    }
}
