//! Breaks the code on purpose, one place after the other, and counts what the tests do not notice.

use crate::run::{Repo, say};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// What is broken of a crate.
struct Set {
    /// The crate's folder, or its name.
    name: &'static str,
    package: &'static str,
    /// One place of so many is broken.
    one_of: u32,
    /// The most percent that may go unnoticed.
    most: u32,
    /// How far it is optimised: more where its tests take longer than building it.
    optimised: &'static str,
    /// Another package whose tests count, and which tests of both; all of its own if none is named.
    also: Option<(&'static str, &'static [&'static str])>,
}

/// A pure state machine shows what it is worth in a community that fails in every way.
// spec: ARC-2
const NODE_TESTS: [&str; 9] =
    ["community", "energy", "fetches", "journey", "moves", "names", "replicas", "states", "simulator"];

const SETS: [Set; 3] = [
    Set { name: "policies", package: "mesh-policies", one_of: 8, most: 5, optimised: "1", also: None },
    Set { name: "protocol", package: "mesh-protocol", one_of: 40, most: 10, optimised: "0", also: None },
    Set {
        name: "node",
        package: "mesh-node",
        one_of: 150,
        most: 10,
        optimised: "1",
        also: Some(("mesh-tests", &NODE_TESTS)),
    },
];

/// A mutant that hangs was noticed; no suite of these crates takes longer than this when nothing else runs.
const SECONDS: &str = "300";

/// `whole`: every place in policies, where everything is decided, instead of a sample. It takes hours.
pub(crate) fn mutants(repo: &Repo, whole: bool) -> Result<()> {
    let mut bad = Vec::new();
    let all = repo.target.join("mutants");
    for Set { name, package, one_of, most, optimised, also } in SETS {
        let folder = all.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let mut cargo = Command::new("cargo");
        // It builds in a copy; what does not differ from crate to crate and from time to time is built once.
        cargo.current_dir(&repo.root).env("CARGO_TARGET_DIR", all.join("build"));
        cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", optimised);
        cargo.args(["mutants", "--jobs", "1", "--timeout", SECONDS, "--package", package, "--output"]);
        // No crate of these has tests in its documents, and looking for them takes as long as a small suite.
        cargo.arg(&folder);
        match also {
            None => _ = cargo.args(["--cargo-arg=--tests"]),
            Some((with, tests)) => {
                // It tries the unbroken code by the tests of its own package alone, where some of these are not.
                let mut whole = Command::new("cargo");
                whole.current_dir(&repo.root).env("CARGO_PROFILE_DEV_OPT_LEVEL", optimised);
                whole.env("CARGO_TARGET_DIR", all.join("build"));
                whole.args(["test", "--package", package, "--package", with, "--lib"]);
                whole.args(tests.iter().map(|test| format!("--test={test}")));
                if !whole.status().context("cargo cannot be started")?.success() {
                    bail!("the tests of {name} fail where nothing is broken");
                }
                cargo.args(["--baseline", "skip", "--test-package", package, "--test-package", with]);
                cargo.arg("--cargo-arg=--lib");
                cargo.args(tests.iter().map(|test| format!("--cargo-arg=--test={test}")));
            }
        }
        if !(whole && name == "policies") {
            // By turns, so that each file has its share in it.
            cargo.args(["--sharding", "round-robin", "--shard", &format!("0/{one_of}")]);
        }
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
