//! Breaks the code on purpose, one place after the other, and counts what the tests do not notice.

use crate::run::{Repo, say};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// What is broken: a name for it, the options that choose it, and the most percent that may go unnoticed.
const SETS: [(&str, &[&str], u32); 3] = [
    // Where everything is decided, everything is broken.
    ("policies", &["--package", "mesh-policies"], 5),
    // Of the larger crates every fortieth place: the whole takes a day.
    ("protocol", &["--package", "mesh-protocol", "--shard", "0/40"], 10),
    ("node", &["--package", "mesh-node", "--shard", "0/40"], 10),
];

/// A mutant that hangs was noticed; no suite of these crates takes longer than this when nothing else runs.
const SECONDS: &str = "180";

pub(crate) fn mutants(repo: &Repo) -> Result<()> {
    let mut bad = Vec::new();
    for (name, chosen, most) in SETS {
        let folder = repo.target.join("mutants").join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let mut cargo = Command::new("cargo");
        // It builds in a copy with a target folder of its own.
        cargo.current_dir(&repo.root).env_remove("CARGO_TARGET_DIR");
        cargo.args(["mutants", "--jobs", "1", "--timeout", SECONDS, "--output"]).arg(&folder).args(chosen);
        let status = cargo.status().context("cargo cannot be started")?;
        // 2: some were missed, 3: some hung; how many is counted below.
        if !matches!(status.code(), Some(0 | 2 | 3)) {
            bail!(
                "cargo mutants failed; is it installed? `cargo install cargo-mutants --locked` installs it"
            );
        }
        let out = folder.join("mutants.out");
        let (missed, noticed) =
            (count(&out, "missed.txt")?, count(&out, "caught.txt")? + count(&out, "timeout.txt")?);
        if missed + noticed == 0 {
            bail!("nothing of {name} was broken, so nothing is proven");
        }
        let percent = f64::from(missed) * 100.0 / f64::from(missed + noticed);
        say(format_args!("{name}: {noticed} noticed, {missed} not: {percent:.1} %, at most {most} % may be"));
        if missed * 100 > most * (missed + noticed) {
            bad.push(name);
        }
    }
    match bad.as_slice() {
        [] => Ok(()),
        bad => bail!("too much goes unnoticed in {}; missed.txt in target/mutants/ lists it", bad.join(", ")),
    }
}

fn count(folder: &Path, file: &str) -> Result<u32> {
    let path = folder.join(file);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(u32::try_from(text.lines().count())?)
}
