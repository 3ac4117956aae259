//! Proves that the pure crates touch nothing outside: built for a target without an operating system, they import nothing.
// spec: ARC-1

use crate::run::{Repo, run, say};
use crate::setup::{cargo_for, is_ci};
use crate::wasm;
use anyhow::{Context, Result, bail};

/// Packages and their folders. Those that are not written yet are checked once they are there.
const PURE: [(&str, &str); 3] =
    [("mesh-protocol", "protocol"), ("mesh-policies", "policies"), ("mesh-node", "runtime/node")];
const TARGET: &str = "wasm32-unknown-unknown";
/// With all of a crate inside there are megabytes. Less than this means that the linker kept nothing to look at.
const LEAST_BYTES: usize = 50_000;

pub(crate) fn check(repo: &Repo) -> Result<()> {
    for (package, _) in PURE.iter().filter(|(_, folder)| repo.root.join(folder).join("Cargo.toml").is_file())
    {
        let Some(mut cargo) = cargo_for(repo, "rustc", TARGET) else {
            let why = format!("no Rust compiler here has the target {TARGET}; see `cargo xtask setup`");
            if is_ci() {
                bail!("that the pure crates import nothing cannot be checked: {why}");
            }
            say(format_args!("Not checked that the pure crates import nothing: {why}"));
            return Ok(());
        };
        // Nobody runs the result, so nothing is optimised: it is only there to be looked at.
        cargo.args([
            "--config",
            "profile.dev.package.\"*\".opt-level=0",
            "--config",
            "profile.dev.debug=false",
        ]);
        cargo.args(["--package", package, "--lib", "--crate-type", "cdylib", "--target-dir"]);
        let target = repo.target.join("pure");
        cargo.arg(repo.short(&target));
        // Nothing is called from outside, so compiler and linker would drop it all, imports included.
        run(cargo.args(["--", "-Clink-dead-code", "-Clink-arg=--no-gc-sections"]))?;

        let file = target.join(TARGET).join("debug").join(format!("{}.wasm", package.replace('-', "_")));
        let module = std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        if module.len() < LEAST_BYTES {
            bail!(
                "{} is nearly empty: that it imports nothing proves nothing about {package}",
                file.display()
            );
        }
        let imports = wasm::imports(&module).with_context(|| format!("{} cannot be read", file.display()))?;
        if !imports.is_empty() {
            bail!(
                "{package} must be pure, but needs {} from outside; see which of its dependencies does that with \
                 `cargo tree --package {package} --edges normal --target {TARGET}`",
                imports.join(", ")
            );
        }
        say(format_args!("{package} is pure: {} kB of wasm and no import", module.len() / 1000));
    }
    Ok(())
}
